# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner of Cloud NAT: Google's published examples, and what holds for each load."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.bulwark.node.plugins.filter.nat_ports import FilterModule
from ansible_collections.bulwark.node.plugins.plugin_utils import nat_ports as planner

nat_ports = FilterModule().filters()["nat_ports"]
BASE = {"nodes": 40, "concurrent": 700, "new_per_second": 20}

LOADS = st.fixed_dictionaries(
    {
        "nodes": st.integers(1, 20000),
        "concurrent": st.integers(0, 90000),
        "new_per_second": st.one_of(st.integers(0, 500), st.floats(0, 500).map(lambda number: round(number, 3))),
        "time_wait_s": st.integers(1, 600),
        "headroom": st.one_of(st.just(1.25), st.floats(1, 4).map(lambda number: round(number, 2))),
        "alias_ranges": st.booleans(),
        "dynamic": st.booleans(),
        "typical": st.one_of(st.none(), st.integers(0, 90000)),
    }
)


@pytest.mark.parametrize(("addresses", "ports", "served"), [(1, 64, 1008), (2, 64, 2016), (1, 4096, 15)])
def test_googles_examples_hold(addresses: int, ports: int, served: int) -> None:
    assert planner.vms(addresses, ports) == served
    assert planner.addresses_for(served, ports) == addresses
    assert planner.addresses_for(served + 1, ports) == addresses + 1
    # The same as a plan: a load that takes just as many ports.
    made = nat_ports({"nodes": served, "concurrent": ports, "headroom": 1, "alias_ranges": False})
    assert (made["min_ports_per_vm"], made["addresses"], made["vms_per_address"]) == (ports, addresses, 64512 // ports)


@pytest.mark.parametrize(
    ("load", "ports", "addresses", "cap"),
    [
        (BASE, 4096, 3, 34.13),
        ({**BASE, "time_wait_s": 30}, 2048, 2, 68.27),
        ({"nodes": 1, "concurrent": 0, "alias_ranges": False}, 64, 1, 0.53),
        ({"nodes": 1, "concurrent": 0}, 1024, 1, 8.53),
        ({"nodes": 1, "concurrent": 0, "time_wait_s": 30}, 1024, 1, 34.13),
        ({"nodes": 1, "concurrent": 1024, "headroom": 1}, 1024, 1, 8.53),
        # A tenth of 10240 is 1024, which that of the double next to it is not.
        ({"nodes": 1, "concurrent": 0, "new_per_second": 0.1, "time_wait_s": 10240, "headroom": 1}, 1024, 1, 0.1),
        ({"nodes": 63, "concurrent": 1}, 1024, 1, 8.53),
        ({"nodes": 64, "concurrent": 1}, 1024, 2, 8.53),
        # The field ends at 57344, of which the API makes the next power of two.
        ({"nodes": 2, "concurrent": 40000, "headroom": 1}, 57344, 3, 477.87),
    ],
)
def test_a_static_plan(load: dict[str, Any], ports: int, addresses: int, cap: float) -> None:
    made = nat_ports(load)
    assert made["max_ports_per_vm"] is None
    assert (made["min_ports_per_vm"], made["addresses"], made["churn_cap_per_second"]) == (ports, addresses, cap)


@pytest.mark.parametrize(
    ("load", "least", "most", "addresses"),
    [
        ({}, 2048, 4096, 3),
        ({"typical": 20}, 32, 4096, 3),
        ({"typical": 100}, 128, 4096, 3),
        # VMs that are all alike: what is dynamic is headroom.
        ({"typical": 3100}, 4096, 8192, 3),
        ({"concurrent": 0, "new_per_second": 0}, 32, 64, 1),
        ({"concurrent": 60000, "new_per_second": 0, "headroom": 1}, 32768, 65536, 41),
    ],
)
def test_a_dynamic_plan(load: dict[str, Any], least: int, most: int, addresses: int) -> None:
    made = nat_ports({**BASE, "dynamic": True, **load})
    assert (made["min_ports_per_vm"], made["max_ports_per_vm"], made["addresses"]) == (least, most, addresses)


@pytest.mark.parametrize(("dynamic", "most"), [(False, 57344), (True, 65536)])
def test_what_no_vm_can_have_is_said(dynamic: bool, most: int) -> None:
    made = nat_ports({"nodes": 1, "concurrent": 70000, "dynamic": dynamic})
    assert made["feasible"] is False
    assert (made["max_ports_per_vm"] or made["min_ports_per_vm"]) == most
    assert [each["source"] for each in made["reasons"]].count("limit") == 1


@settings(max_examples=80)
@given(LOADS)
def test_a_plan_holds_what_it_is_for_and_the_api_takes_it(load: dict[str, Any]) -> None:
    made = nat_ports(load)
    least, most = made["min_ports_per_vm"], made["max_ports_per_vm"]
    if load["dynamic"]:
        assert least.bit_count() == most.bit_count() == 1
        assert 32 <= least <= 32768
        assert 64 <= most <= 65536
        assert least < most
    else:
        assert most is None
        assert 64 <= least <= 57344
        assert least >= 1024 or not load["alias_ranges"]
    assert made["feasible"] == (made["need"] <= (65536 if load["dynamic"] else 57344))
    if made["feasible"]:
        assert (most or least) >= made["need"]
        # As it is planned, it does not break.
        now = {"min_ports_per_vm": least, "max_ports_per_vm": most, "addresses": made["addresses"]}
        judged = nat_ports(load, now)["now"]
        assert judged["verdict"] == "enough"
        assert judged["breaks_at"]["nodes"] > load["nodes"]


@settings(max_examples=80)
@given(
    LOADS,
    st.sampled_from(["nodes", "concurrent", "new_per_second", "time_wait_s", "headroom", "typical"]),
    st.integers(1, 3000),
)
def test_more_never_takes_fewer(load: dict[str, Any], name: str, more: int) -> None:
    if load[name] is None:
        return
    greater = {**load, name: min(load[name] + more, 100) if name == "headroom" else load[name] + more}
    one, other = nat_ports(load), nat_ports(greater)
    assert other["min_ports_per_vm"] >= one["min_ports_per_vm"]
    assert (other["max_ports_per_vm"] or 0) >= (one["max_ports_per_vm"] or 0)
    assert other["addresses"] >= one["addresses"]
    assert other["vms_per_address"] <= one["vms_per_address"]
    assert not other["feasible"] or one["feasible"]


@settings(max_examples=80)
@given(LOADS, st.integers(2, 57344), st.integers(64, 65536), st.one_of(st.none(), st.integers(0, 100)))
def test_a_gateway_breaks_where_it_is_said(load: dict[str, Any], least: int, most: int, addresses: int | None) -> None:
    now = {"min_ports_per_vm": least, "max_ports_per_vm": most, "addresses": addresses}
    judged = nat_ports(load, now)["now"]
    at = judged["breaks_at"]

    def verdict(**changed: Any) -> str:
        return str(nat_ports({**load, "headroom": 1, **changed}, now)["now"]["verdict"])

    if at["concurrent"] > 1:
        assert verdict(concurrent=at["concurrent"], nodes=1) == "short"
    if at["nodes"] is not None and 0 < at["nodes"] <= 1_000_000:
        assert verdict(nodes=at["nodes"]) == "short"
    if judged["verdict"] == "enough":
        assert verdict() == "enough"


@pytest.mark.parametrize(
    ("now", "verdict", "at"),
    [
        ({"min_ports_per_vm": 64, "addresses": 1}, "short", {"concurrent": 1, "new_per_second": 2.7, "nodes": 64}),
        (
            {"min_ports_per_vm": 4096, "addresses": 3},
            "enough",
            {"concurrent": 1697, "new_per_second": 28.3, "nodes": 48},
        ),
        # What is reserved is a power of two: 4096.
        (
            {"min_ports_per_vm": 3200, "addresses": None},
            "enough",
            {"concurrent": 1697, "new_per_second": 28.3, "nodes": None},
        ),
        (
            {"min_ports_per_vm": 4096, "addresses": 2},
            "short",
            {"concurrent": 1697, "new_per_second": 28.3, "nodes": 32},
        ),
    ],
)
def test_a_gateway_is_judged(now: dict[str, Any], verdict: str, at: dict[str, Any]) -> None:
    judged = nat_ports(BASE, now)["now"]
    assert (judged["verdict"], judged["breaks_at"]) == (verdict, at)


def test_a_gateway_without_its_headroom_is_tight() -> None:
    load = {"nodes": 10, "concurrent": 3400}
    assert nat_ports(load, {"min_ports_per_vm": 4096})["now"]["verdict"] == "tight"
    dynamic = {"min_ports_per_vm": 64, "max_ports_per_vm": 65536, "addresses": 1}
    assert nat_ports({**load, "dynamic": True}, dynamic)["now"]["verdict"] == "tight"


def test_a_load_of_nothing_may_grow_without_bound() -> None:
    judged = nat_ports({"nodes": 1, "concurrent": 0}, {"min_ports_per_vm": 64})["now"]
    assert (judged["verdict"], judged["load_factor"]) == ("enough", None)


@pytest.mark.parametrize(
    ("load", "message"),
    [
        (None, "was given None; expected a dictionary"),
        ({}, "nodes: is None; expected a whole number from 1"),
        ({**BASE, "nodes": 0}, "nodes: is 0; expected a whole number from 1"),
        ({**BASE, "nodes": True}, "nodes: is True; expected"),
        ({**BASE, "concurrent": "many"}, "concurrent: is 'many'; expected a whole number"),
        ({**BASE, "concurrent": None}, "concurrent: is None; expected"),
        ({**BASE, "new_per_second": "1/0"}, "new_per_second: is '1/0'; expected a number"),
        ({**BASE, "new_per_second": -1}, "new_per_second: is -1; expected a number from 0"),
        ({**BASE, "headroom": 0.9}, "headroom: is 0.9; expected a number from 1"),
        ({**BASE, "headroom": []}, "headroom: is []; expected a number from 1"),
        ({**BASE, "time_wait_s": 0}, "time_wait_s: is 0; expected"),
        ({**BASE, "dynamic": "yes"}, "dynamic: is 'yes'; expected true or false"),
        ({**BASE, "port": 1}, "port: is not known; expected some of alias_ranges"),
    ],
)
def test_bad_input_is_named(load: Any, message: str) -> None:
    with pytest.raises(AnsibleFilterError) as caught:
        nat_ports(load)
    assert str(caught.value).startswith("bulwark.node.nat_ports: ")
    assert message in str(caught.value)


@pytest.mark.parametrize("now", [3, {}, {"min_ports_per_vm": 0}, {"min_ports_per_vm": 64, "addresses": -1}])
def test_a_gateway_that_is_none_is_refused(now: Any) -> None:
    with pytest.raises(AnsibleFilterError, match="now"):
        nat_ports(BASE, now)
