# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was set is read back, and then no change; and whatever an API answers, there is a result or an error of ours."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError
from ansible_collections.bulwark.node.plugins.module_utils.gcp.client import ARGUMENT_SPEC, Client, Place
from ansible_collections.bulwark.node.plugins.module_utils.gcp.credentials import credentials
from ansible_collections.bulwark.node.plugins.module_utils.gcp.errors import Answer
from ansible_collections.bulwark.node.plugins.module_utils.gcp.nat_info import NAT_INFO_SPEC, look
from ansible_collections.bulwark.node.plugins.module_utils.gcp.nat_plan import desired, plan
from ansible_collections.bulwark.node.plugins.module_utils.gcp.router_nat import NAT_SPEC, act
from ansible_collections.bulwark.node.plugins.module_utils.gcp.routers import Router
from ansible_collections.bulwark.node.tests.fakes import compute_nat
from ansible_collections.bulwark.node.tests.fakes.compute_api import ROUTER, nat

from .conftest import WHERE, Time, checked

PLACE = Place("a-project", "europe-west3", "a-router")
BASE = PLACE.region_path
REACH = {"project": "a-project", "auth_kind": "accesstoken", "access_token": "given-token"}
POWERS = st.integers(5, 15).map(lambda power: 1 << power)
NAMES = st.sampled_from(["x", "y", "z", f"https://compute.googleapis.com/compute/v1/{BASE}/addresses/w"])
SECONDS = st.integers(1, 7200)
ENDPOINTS = st.lists(st.sampled_from(["ENDPOINT_TYPE_VM", "ENDPOINT_TYPE_SWG"]), min_size=1, unique=True)
TIMEOUTS = ("udp_idle", "icmp_idle", "tcp_established_idle", "tcp_transitory_idle", "tcp_time_wait")


@st.composite
def twice(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options for one NAT, one after the other. What the first uses may drain by the second."""
    kind = draw(st.sampled_from(["PUBLIC", "PRIVATE"]))
    fixed = {"type": kind, "endpoint_types": draw(ENDPOINTS)}
    first, second = ({**draw(options(kind)), **fixed} for _number in range(2))
    left = sorted(set(first.get("nat_ips", ())) - set(second.get("nat_ips", ())))
    if left and "nat_ips" in second and draw(st.booleans()):
        second["drain_nat_ips"] = left[:1]
    return first, second


@st.composite
def options(draw: st.DrawFn, kind: str) -> dict[str, Any]:
    """Options that go together, for a NAT that may be there or not: all fields but those that another NAT would be."""
    found: dict[str, Any] = {f"{name}_timeout_sec": draw(SECONDS) for name in TIMEOUTS if draw(st.booleans())}
    found["drain"] = draw(st.booleans())
    dynamic = draw(st.booleans())
    least = draw(POWERS if dynamic else st.integers(2, 57344))
    found.update(min_ports_per_vm=least, enable_dynamic_port_allocation=dynamic)
    if dynamic:
        found["max_ports_per_vm"] = draw(st.sampled_from([1 << power for power in range(6, 17) if 1 << power > least]))
    found["enable_endpoint_independent_mapping"] = not dynamic and draw(st.booleans())
    if kind == "PUBLIC":
        found["nat_ip_allocate_option"] = draw(st.sampled_from(["AUTO_ONLY", "MANUAL_ONLY"]))
        if found["nat_ip_allocate_option"] == "MANUAL_ONLY":
            found["nat_ips"] = draw(st.lists(NAMES, min_size=1, unique=True))
        elif draw(st.booleans()):
            found["auto_network_tier"] = draw(st.sampled_from(["PREMIUM", "STANDARD"]))
    if found["enable_endpoint_independent_mapping"]:
        found["rules"] = []
    else:
        suffix, some = ("ips", NAMES) if kind == "PUBLIC" else ("ranges", st.sampled_from(["s", "t", "u"]))
        action = st.fixed_dictionaries({f"source_nat_active_{suffix}": st.lists(some, min_size=1, unique=True)})
        rule = st.fixed_dictionaries(
            {"rule_number": st.integers(0, 3) | st.just(65000), "match": st.sampled_from("xy"), "action": action},
            optional={"description": st.sampled_from(["", "for y"])},
        )
        found["rules"] = draw(st.lists(rule, max_size=3, unique_by=lambda each: each["rule_number"]))
    found["source_subnetwork_ip_ranges_to_nat"] = draw(
        st.sampled_from(
            ["ALL_SUBNETWORKS_ALL_IP_RANGES", "ALL_SUBNETWORKS_ALL_PRIMARY_IP_RANGES", "LIST_OF_SUBNETWORKS"]
        )
    )
    if found["source_subnetwork_ip_ranges_to_nat"] == "LIST_OF_SUBNETWORKS":
        ranges = st.sampled_from(
            [
                {},
                {"source_ip_ranges_to_nat": ["PRIMARY_IP_RANGE"]},
                {"source_ip_ranges_to_nat": ["LIST_OF_SECONDARY_IP_RANGES"], "secondary_ip_range_names": ["pods"]},
                {
                    "source_ip_ranges_to_nat": ["PRIMARY_IP_RANGE", "LIST_OF_SECONDARY_IP_RANGES"],
                    "secondary_ip_range_names": ["pods", "more"],
                },
            ]
        )
        names = draw(st.lists(st.sampled_from(["s", "t", "u"]), min_size=1, unique=True))
        found["subnetworks"] = [{"name": name, **draw(ranges)} for name in names]
    if draw(st.booleans()):
        filters = st.sampled_from(["ALL", "ERRORS_ONLY", "TRANSLATIONS_ONLY"])
        found["log_config"] = {"enable": draw(st.booleans()), "filter": draw(filters)}
    return found


def seen(kept: Mapping[str, Any], style: str) -> Router:
    """A router as compute gives it that keeps these NATs."""
    how = style == "forgetful", style == "talkative"
    return Router({}, {name: compute_nat.shown(item, 120, *how) for name, item in kept.items()})


@settings(max_examples=60)
@given(asked=twice(), style=st.sampled_from(["plain", "forgetful", "talkative"]))
def test_what_was_set_is_read_back_and_no_change_again(
    asked: tuple[dict[str, Any], dict[str, Any]], style: str
) -> None:
    other = nat("other", minPortsPerVm=256, futureKey=1)
    kept: dict[str, Any] = {"other": other}
    for options in asked:
        wanted = desired(checked({**ARGUMENT_SPEC, **NAT_SPEC}, {**REACH, **WHERE, **options}), PLACE)
        router = seen(kept, style)
        found = plan(router, wanted, PLACE)
        after = compute_nat.merged({}, {"nats": found.nats(router)})["nats"]
        now = {item["name"]: item for item in after}
        assert [why for name, item in now.items() for why in compute_nat.refusals(item, kept.get(name))] == []
        kept = now
        again = plan(seen(kept, style), wanted, PLACE)
        assert (again.changes, again.disruptive) == ([], [])
        assert found.after is not None
        told = {"tcp_time_wait_timeout_sec": 120, "auto_network_tier": "PREMIUM" if style == "talkative" else None}
        unknown = {name: value for name, value in told.items() if found.after[name] is None}
        assert again.before == {**found.after, **unknown}
        # What the server says of defaults goes back to it.
        said = compute_nat.shown(other, 120, False, style == "talkative")
        assert kept["other"] == {key: value for key, value in said.items() if key in kept["other"]}
        assert set(other) <= set(kept["other"])


# What each call answers that is well; the last part of its path names it.
WELL: Mapping[str, Any] = {
    "a-router": {
        "name": "a-router",
        "id": "7",
        "description": "by Terraform",
        "nats": [
            {
                **nat(minPortsPerVm=64, logConfig={"enable": True}, natIps=["x"], drainNatIps=["y"]),
                "rules": [{"ruleNumber": 1, "match": "x", "action": {"sourceNatActiveIps": ["x"]}}],
                "subnetworks": [{"name": "s", "sourceIpRangesToNat": ["ALL_IP_RANGES"]}],
            },
            nat("other", futureKey=[None]),
        ],
    },
    "wait": {"name": "operation-1", "status": "DONE", "error": {"errors": [{"code": "X", "message": "y"}]}},
    "operations": {
        "items": [{"name": "operation-2", "targetLink": ROUTER, "user": "x", "insertTime": "2026-11-21T10:00:00Z"}]
    },
    "getRouterStatus": {
        "result": {"natStatus": [{"name": "a-nat", "userAllocatedNatIps": ["x"], "minExtraNatIpsNeeded": 1}]}
    },
    "getNatIpInfo": {
        "result": [{"natName": "a-nat", "natIpInfoMappings": [{"natIp": "x", "mode": "AUTO", "usage": "IN_USE"}]}]
    },
    "getNatMappingInfo": {
        "result": [
            {
                "instanceName": "vm",
                "interfaceNatMappings": [
                    {"numTotalNatPorts": 64, "natIpPortRanges": ["x:1-2"], "ruleMappings": [{"ruleNumber": 1}]}
                ],
            }
        ]
    },
    "timeSeries": {
        "timeSeries": [
            {
                "metric": {"labels": {"nat_gateway_name": "a-nat", "ip_protocol": "TCP", "reason": "X"}},
                "resource": {"labels": {"zone": "z", "instance_id": "1"}},
                "metadata": {"systemLabels": {"name": "vm"}},
                "points": [{"value": {"int64Value": "5"}}, {"value": {"doubleValue": 1.5}}],
            }
        ]
    },
}
TEXTS = st.sampled_from(["a-nat", "a-router", "DONE", "RUNNING", "\x1b[2J\n", "1", "x" * 5000])
SCALARS = st.none() | st.booleans() | st.integers(-5, 1 << 70) | st.floats() | TEXTS
VALUES: st.SearchStrategy[Any] = (
    SCALARS
    | st.lists(SCALARS, max_size=2)
    | st.dictionaries(TEXTS, SCALARS, max_size=2)
    | st.just([{}])
    | st.just([[{}]])
)
# Of which answer which part, by the number of its key at each depth, is another value then.
CHANGES = st.tuples(st.integers(0, len(WELL) - 1), st.lists(st.integers(0, 9), max_size=9), VALUES)
ERRORS = st.tuples(st.sampled_from([204, 302, 400, 401, 403, 404, 409, 412, 429, 500]), VALUES | st.binary(max_size=9))


def with_another(value: Any, path: list[int], other: Any) -> Any:
    """A value with another one at a path, which may end early."""
    if path and isinstance(value, dict) and value:
        key = list(value)[path[0] % len(value)]
        return {**value, key: with_another(value[key], path[1:], other)}
    if path and isinstance(value, list) and value:
        index = path[0] % len(value)
        return [*value[:index], with_another(value[index], path[1:], other), *value[index + 1 :]]
    return other


class Fuzzed:
    """A server whose answers are wrong somewhere; and after so many requests something else altogether."""

    def __init__(self, changes: list[tuple[int, list[int], Any]], errors: dict[int, tuple[int, Any]]) -> None:
        self._answers = dict(WELL)
        for which, path, other in changes:
            name = list(WELL)[which]
            self._answers[name] = with_another(self._answers[name], path, other)
        self._errors = errors
        self._asked = 0

    def send(self, method: str, url: str, headers: Mapping[str, str], body: Any, timeout: float) -> Answer:
        self._asked += 1
        name = "wait" if method == "PATCH" else url.partition("?")[0].rpartition("/")[2]
        status, answer = self._errors.get(self._asked, (200, self._answers[name]))
        return Answer(
            status, {"retry-after": "1"}, answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        )


@settings(max_examples=200)
@given(changes=st.lists(CHANGES, max_size=3), errors=st.dictionaries(st.integers(1, 9), ERRORS, max_size=2))
def test_whatever_an_api_answers_is_a_result_or_an_error_of_ours(
    changes: list[tuple[int, list[int], Any]], errors: dict[int, tuple[int, Any]]
) -> None:
    for params, run in RUNS:
        sender = Fuzzed(changes, errors)
        client = Client(ACCOUNT, sender, "https://api", "https://api", 30.0, clock=Time().clock())
        try:
            found = run(client, params)
        except BulwarkError as error:
            found = {**error.details, "msg": str(error)}
        assert [text for text in texts(found) if not text.isprintable()] == []
        # As the module returns it.
        json.dumps(found)


def texts(value: Any) -> Iterator[str]:
    """Each text of a result."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from (key, *texts(each))
    elif isinstance(value, list):
        for each in value:
            yield from texts(each)
    elif isinstance(value, str):
        yield value


ACT = checked({**ARGUMENT_SPEC, **NAT_SPEC}, {**REACH, **WHERE, "min_ports_per_vm": 128})
ACCOUNT = credentials(ACT)
RUNS = (
    (ACT, lambda client, params: act(client, params, False)),
    (checked({**ARGUMENT_SPEC, **NAT_INFO_SPEC}, {**REACH, **WHERE}), look),
)
