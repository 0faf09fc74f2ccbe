# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A gateway beside its load: what changes, what is kept, and what takes a consent."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.bulwark.node.plugins.filter import nat_load
from ansible_collections.bulwark.node.plugins.filter.nat_plan import FilterModule
from ansible_collections.bulwark.node.tests.fakes.gateways import LOAD, PLACE, info
from ansible_collections.bulwark.node.tests.unit.plugins.plugin_utils.test_report_html import paths, put

nat_plan = FilterModule().filters()["nat_plan"]


def sources(made: dict[str, Any]) -> dict[str, Any]:
    return {each["source"]: each["consent"] for each in made["blocked"]}


def test_a_gateway_that_is_too_small_gets_ports_and_addresses() -> None:
    named = [
        f"https://www.googleapis.com/compute/v1/{PLACE}/nat-1",
        f"{PLACE}/nat-7",
        f"{PLACE}/nat-8",
        f"{PLACE}/nat-9",
    ]
    made = nat_plan(info(), LOAD, nodes=40, new_addresses=named)
    assert made["gateway"] == {"project": "a-project", "region": "europe-west3", "router": "a-router", "name": "a-nat"}
    assert made["settings"] == {
        "min_ports_per_vm": 4096,
        "nat_ips": [f"{PLACE}/nat-1", f"{PLACE}/nat-7", f"{PLACE}/nat-8"],
    }
    assert (made["new_addresses"], made["plan"]["addresses"], made["plan"]["now"]["verdict"]) == (2, 3, "short")
    assert sources(made) == {"new_addresses": "cloud_nat_allow_new_addresses"}


def test_addresses_that_nobody_named_are_in_the_way() -> None:
    made = nat_plan(info(), LOAD, nodes=40, new_addresses=[f"{PLACE}/nat-7"])
    assert sources(made) == {"new_addresses": "cloud_nat_allow_new_addresses", "addresses": None}


def test_a_gateway_that_adds_addresses_by_itself_takes_the_same_consent() -> None:
    made = nat_plan(info(None), LOAD, nodes=40)
    assert made["settings"] == {"min_ports_per_vm": 4096}
    assert (made["new_addresses"], sources(made)) == (1, {"new_addresses": "cloud_nat_allow_new_addresses"})
    assert nat_plan(info(None), LOAD, nodes=20)["blocked"] == []
    unknown = info(None)
    unknown["nats"][0]["addresses"] = None
    assert sources(nat_plan(unknown, LOAD, nodes=1)) == {"new_addresses": "cloud_nat_allow_new_addresses"}


def test_an_address_that_is_drained_is_none() -> None:
    given = info(None)
    given["nats"][0]["addresses"][0]["draining"] = True
    assert nat_plan(given, LOAD, nodes=20)["new_addresses"] == 1


def test_what_is_enough_is_left_alone() -> None:
    made = nat_plan(info(3, min_ports_per_vm=4096), LOAD, nodes=40)
    assert (made["settings"], made["blocked"], made["plan"]["now"]["verdict"]) == ({}, [], "enough")


def test_what_has_dropped_packets_is_short_whatever_was_measured() -> None:
    enough = info(3, min_ports_per_vm=4096)
    made = nat_plan(enough, {**LOAD, "dropped_packets": 7}, nodes=40)
    assert made["plan"]["now"]["verdict"] == "short"
    assert nat_plan(enough, {**LOAD, "dropped_packets": 0}, nodes=40)["plan"]["now"]["verdict"] == "enough"


@pytest.mark.parametrize(
    "named",
    [
        # As -e NAME=VALUE and a survey of AWX hand it.
        "nat-1, nat-2,nat-2",
        ["nat-1", "nat-2", "regions/europe-west3/addresses/nat-2"],
        [f"https://www.googleapis.com/compute/v1/{PLACE}/{name}" for name in ("nat-1", "nat-2")],
    ],
)
def test_an_address_is_new_once_however_it_is_named(named: Any) -> None:
    made = nat_plan(info(1, min_ports_per_vm=4096), LOAD, nodes=30, new_addresses=named)
    assert made["settings"] == {"nat_ips": [f"{PLACE}/nat-1", f"{PLACE}/nat-2"]}
    assert nat_plan(info(1, min_ports_per_vm=4096), LOAD, nodes=30, new_addresses=["nat-1"])["settings"] == {}
    assert nat_plan(info(1, min_ports_per_vm=4096), LOAD, nodes=30, new_addresses="")["settings"] == {}


@pytest.mark.parametrize("named", [7, [7], {"nat-2": 1}, [""]])
def test_what_names_no_addresses_is_refused(named: Any) -> None:
    with pytest.raises(AnsibleFilterError, match="new_addresses: is "):
        nat_plan(info(1), LOAD, nodes=30, new_addresses=named)


def test_more_than_enough_is_kept_and_takes_its_addresses() -> None:
    made = nat_plan(info(1, min_ports_per_vm=32768), LOAD, nodes=4, new_addresses=[f"{PLACE}/nat-{n}" for n in (5, 6)])
    assert made["settings"] == {"nat_ips": [f"{PLACE}/nat-1", f"{PLACE}/nat-5", f"{PLACE}/nat-6"]}
    assert made["plan"]["addresses"] == 3


def test_dynamic_allocation_stays_and_grows() -> None:
    dynamic = {"enable_dynamic_port_allocation": True, "min_ports_per_vm": 256, "max_ports_per_vm": 1024}
    made = nat_plan(info(3, **dynamic), LOAD, nodes=40)
    assert made["settings"] == {"max_ports_per_vm": 4096}
    assert made["plan"]["now"]["ports_per_vm"] == 1024
    # Another kind of allocation has other numbers.
    made = nat_plan(info(3, **dynamic), LOAD, nodes=40, dynamic=False)
    assert made["settings"] == {"enable_dynamic_port_allocation": False, "min_ports_per_vm": 4096}
    made = nat_plan(info(3, min_ports_per_vm=8192), LOAD, nodes=40, dynamic=True)
    assert made["settings"] == {
        "enable_dynamic_port_allocation": True,
        "min_ports_per_vm": 128,
        "max_ports_per_vm": 4096,
    }


def test_dynamic_allocation_and_endpoint_independent_mapping_exclude_each_other() -> None:
    made = nat_plan(info(3, enable_endpoint_independent_mapping=True), LOAD, nodes=40, dynamic=True)
    assert sources(made) == {"endpoint_independent_mapping": None}


def test_without_a_number_those_that_are_there_are_planned_for() -> None:
    made = nat_plan(info(3, min_ports_per_vm=4096), LOAD)
    assert (made["load"]["nodes"], made["load"]["nodes_known"]) == (12, False)
    assert nat_plan(info(3, endpoints=None), LOAD)["load"]["nodes"] == 3


def test_where_the_api_does_not_say_the_longest_time_wait_counts() -> None:
    assert nat_plan(info(3, tcp_time_wait_timeout_sec=None), LOAD)["load"]["time_wait_s"] == 120
    assert nat_plan(info(3, tcp_time_wait_timeout_sec=30), LOAD)["plan"]["need"] == 1625


def test_who_was_not_measured_is_in_the_way() -> None:
    made = nat_plan(info(3), {**LOAD, "unmeasured": [{"name": "n9", "reason": "it is down"}]}, nodes=40)
    assert sources(made) == {"unmeasured": "cloud_nat_allow_unmeasured"}
    assert "n9 (it is down)" in made["blocked"][0]["detail"]


def test_without_a_measurement_there_is_no_plan() -> None:
    empty = {**LOAD, "measured": 0, "concurrent": None, "new_per_second": None, "typical": None, "busiest": None}
    made = nat_plan(info(), empty)
    assert (made["plan"], made["settings"], sources(made)) == (None, {}, {"load": None})


def test_what_no_vm_can_have_is_in_the_way() -> None:
    assert "limit" in sources(nat_plan(info(3), {**LOAD, "concurrent": 90000}))


def test_another_owner_is_named_where_something_would_change() -> None:
    owner = {"tool": "terraform", "evidence": "its description\x1b[2J"}
    made = nat_plan(info(3, owner=owner), LOAD, nodes=40)
    assert sources(made) == {"owner": None}
    assert "terraform (its description\\x1b[2J)" in made["blocked"][0]["detail"]
    assert nat_plan(info(3, owner=owner, min_ports_per_vm=4096), LOAD, nodes=40)["blocked"] == []


@pytest.mark.parametrize(
    ("given", "load", "message"),
    [
        (None, LOAD, "was given no result"),
        ({"nats": []}, LOAD, "was given no result"),
        ({"nats": [1]}, LOAD, "nat: is 1; expected a dictionary"),
        (info(type="PRIVATE"), LOAD, "a-nat is a private one"),
        (info(min_ports_per_vm=None), LOAD, "min_ports_per_vm is missing"),
        (info(min_ports_per_vm="64\x1b"), LOAD, "min_ports_per_vm: is '64\\x1b'"),
        ({**info(), "router": None}, LOAD, "router: is None"),
        (info(), None, "load: is None; expected a dictionary"),
        (info(), {**LOAD, "concurrent": -1}, "concurrent: is -1"),
    ],
)
def test_bad_input_is_named(given: Any, load: Any, message: str) -> None:
    with pytest.raises(AnsibleFilterError) as caught:
        nat_plan(given, load)
    assert str(caught.value).startswith("bulwark.node.nat_plan: ")
    assert message in str(caught.value)


@pytest.mark.parametrize("value", [None, True, -1, 1.5, "x\x1b", [], [None], {}, {"a": []}, 1 << 63, [[1]]])
def test_whatever_a_module_returned_it_is_a_plan_or_a_named_error(value: Any) -> None:
    vm = {"name": "v1", "mapped": True, "usage": {"port_usage": {"TCP": 7}, "new_per_second": {"TCP": 1.0}}}
    given = info(owner={"tool": "terraform", "evidence": "x"})
    given["nats"][0] |= {"usage": {"dropped_packets": {"OUT_OF_RESOURCES": 1}}, "vms": [vm]}
    measure = nat_load.FilterModule().filters()["nat_load"]
    for path in paths(given):
        with contextlib.suppress(AnsibleFilterError):
            nat_plan(put(given, path, value), LOAD, nodes=40)
    for path in paths(given["nats"][0]):
        with contextlib.suppress(AnsibleFilterError):
            nat_plan(given, measure(put(given["nats"][0], path, value), "monitoring"), nodes=40)
    for path in paths(LOAD):
        with contextlib.suppress(AnsibleFilterError):
            nat_plan(info(), put(LOAD, path, value), nodes=40)
