# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The load of a gateway, by what nodes or Cloud Monitoring told: the busiest counts, and who could not tell is no zero."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.bulwark.node.plugins.filter.nat_load import FilterModule

nat_load = FilterModule().filters()["nat_load"]
NONE = {"source": "none", "reason": "nf_conntrack is not loaded", "destinations": None, "left_out": None}


def row(ports: int, concurrent: int = 10, rate: float | None = 0.0, protocol: str = "tcp") -> dict[str, Any]:
    return {
        "protocol": protocol,
        "address": "203.0.113.10",
        "port": 443,
        "concurrent": concurrent,
        "new_per_second": rate,
        "time_wait": 0,
        "unreplied": 0,
        "ports": ports,
    }


def node(*rows: dict[str, Any], reason: str | None = None, left_out: int = 0) -> dict[str, Any]:
    return {"source": "netfilter", "reason": reason, "destinations": list(rows), "left_out": left_out}


def vm(name: str, held: Any, new: Any, mapped: bool = True) -> dict[str, Any]:
    return {"name": name, "mapped": mapped, "usage": {"port_usage": held, "new_per_second": new}, "usage_reason": None}


def nat(*vms: Any, dropped: Any = None) -> dict[str, Any]:
    return {"name": "a-nat", "usage": {"dropped_packets": dropped}, "usage_reason": None, "vms": list(vms)}


def test_the_busiest_destination_of_the_busiest_node_counts() -> None:
    load = nat_load({"n1": node(row(3100, 700, 20.0), row(90)), "n2": node(row(50)), "n3": node()})
    assert (load["concurrent"], load["new_per_second"], load["typical"]) == (700, 20.0, 50)
    assert load["busiest"] == {"name": "n1", "protocol": "tcp", "destination": "203.0.113.10:443", "ports": 3100}
    assert (load["measured"], load["unmeasured"], load["less"]) == (3, [], [])


def test_what_was_closed_before_the_window_counts_as_a_rate() -> None:
    assert nat_load({"n1": node(row(610, 10, 1.0))}, time_wait_s=120)["new_per_second"] == 5.0


def test_over_udp_nothing_waits() -> None:
    assert nat_load({"n1": node(row(90, 90, 3.0, "udp"))})["new_per_second"] == 0


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (NONE, "nf_conntrack is not loaded"),
        ({}, "the host left the play before"),
        (None, "the host left the play before"),
        ({"unreachable": True, "msg": "no route\x1b[2J"}, "no route\\x1b[2J"),
        (node(row(10), left_out=3), "too many connections to remember"),
        (node(row(10, rate=None)), "it looked once"),
        ({"source": "netfilter", "destinations": "x"}, "no list of destinations"),
        (node({"protocol": "icmp"}), "no protocol"),
        (node(row(-1)), "ports is -1; expected a number"),
        (node({**row(1), "concurrent": "9" * 50}), "concurrent is '999"),
        (node({**row(1), "concurrent": True}), "concurrent is True"),
    ],
)
def test_a_node_that_cannot_tell_is_named_and_no_zero(result: Any, reason: str) -> None:
    load = nat_load({"n1": result})
    assert [each["name"] for each in load["unmeasured"]] == ["n1"]
    assert reason in load["unmeasured"][0]["reason"]
    assert (load["concurrent"], load["new_per_second"], load["typical"], load["busiest"]) == (None, None, None, None)
    # The others count all the same.
    assert nat_load({"n1": result, "n2": node(row(50))})["typical"] == 50


def test_less_than_the_truth_is_handed_on() -> None:
    load = nat_load({"n1": node(row(1), reason="conntrack is full")})
    assert load["less"] == [{"name": "n1", "reason": "conntrack is full"}]


def test_cloud_monitoring_tells_the_busiest_vm() -> None:
    load = nat_load(
        nat(
            vm("v1", {"TCP": 700, "UDP": 3}, {"TCP": 20.5}), vm("v2", {"UDP": 40}, {}), dropped={"OUT_OF_RESOURCES": 7}
        ),
        source="monitoring",
        time_wait_s=30,
    )
    assert (load["concurrent"], load["new_per_second"], load["dropped_packets"]) == (700, 20.5, 7)
    assert [(each["name"], each["reason"].partition(":")[0]) for each in load["less"]] == [
        ("a-nat", "7 packets were dropped for want of ports")
    ]
    assert load["busiest"] == {"name": "v1", "protocol": "tcp", "destination": None, "ports": 1315}


def test_a_vm_that_is_gone_is_not_missed() -> None:
    gone = {"name": "v2", "mapped": False, "usage": None, "usage_reason": "x"}
    load = nat_load(nat(vm("v1", {"TCP": 7}, {"TCP": 0}), gone), source="monitoring")
    assert (load["measured"], load["unmeasured"]) == (1, [])


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"name": "a-nat", "usage": None, "usage_reason": "monitoring.timeSeries.list was refused"}, "was refused"),
        (nat(), "no figure of any VM"),
        (nat(vm("v1", {"TCP": 7}, {})), "no figure of its new connections"),
        (nat(vm("v1", {}, {})), "no figure of its ports"),
        (nat(vm("v1", {"TCP": "x"}, {"TCP": 1})), "TCP is 'x'"),
        (nat({"name": "v1", "mapped": True, "usage": None, "usage_reason": "not seen"}), "not seen"),
        (nat("v1"), "is no VM"),
    ],
)
def test_what_cloud_monitoring_cannot_tell_is_no_zero(told: Any, reason: str) -> None:
    load = nat_load(told, source="monitoring")
    assert load["concurrent"] is None
    assert reason in load["unmeasured"][0]["reason"]


@pytest.mark.parametrize(
    ("told", "options"),
    [({}, {"source": "x"}), ({}, {"time_wait_s": 0}), ([], {}), ("x", {"source": "monitoring"})],
)
def test_bad_input_is_refused(told: Any, options: dict[str, Any]) -> None:
    with pytest.raises(AnsibleFilterError, match=r"bulwark\.node\.nat_load: "):
        nat_load(told, **options)
