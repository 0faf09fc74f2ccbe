# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fields of a NAT as values: what is in force, what goes together, what a change breaks, and what is sent."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import OptionError
from ansible_collections.bulwark.node.plugins.module_utils.gcp import nat_fields
from ansible_collections.bulwark.node.plugins.module_utils.gcp.client import ARGUMENT_SPEC, Place
from ansible_collections.bulwark.node.plugins.module_utils.gcp.errors import GcpError
from ansible_collections.bulwark.node.plugins.module_utils.gcp.nat_disruptions import owner
from ansible_collections.bulwark.node.plugins.module_utils.gcp.nat_emit import emit
from ansible_collections.bulwark.node.plugins.module_utils.gcp.nat_forms import link
from ansible_collections.bulwark.node.plugins.module_utils.gcp.nat_plan import Plan, desired, plan
from ansible_collections.bulwark.node.plugins.module_utils.gcp.router_nat import NAT_SPEC
from ansible_collections.bulwark.node.plugins.module_utils.gcp.routers import Router, values_of
from ansible_collections.bulwark.node.tests.fakes.compute_api import nat

from .conftest import WHERE, checked

PLACE = Place("a-project", "europe-west3", "a-router")
BASE = PLACE.region_path
HOST = "https://www.googleapis.com/compute/v1/"
OTHER = "https://compute.googleapis.com/compute/v1/"
MANUAL = {"natIpAllocateOption": "MANUAL_ONLY"}
ACTION = {"source_nat_active_ips": ["x"]}
RULE = {
    "ruleNumber": 1,
    "match": "destination.ip == '192.0.2.1'",
    "action": {"sourceNatActiveIps": ["projects/a-project/regions/europe-west3/addresses/x"]},
}
CEL = "destination.ip == '192.0.2.1'"


def addresses(*names: str) -> list[str]:
    return [f"{BASE}/addresses/{name}" for name in names]


def planned(item: dict[str, Any] | None, **options: Any) -> Plan:
    """What is planned for a router with this NAT, and another one."""
    reach = {"project": "a-project", "auth_kind": "application"}
    params = checked({**ARGUMENT_SPEC, **NAT_SPEC}, {**reach, **WHERE, **options})
    nats = {each["name"]: each for each in (item, nat("b-nat")) if each}
    return plan(Router({}, nats), desired(params, PLACE), PLACE)


def sent(plan: Plan) -> dict[str, Any]:
    """What is sent of it beyond what any NAT has."""
    assert plan.item is not None
    return {key: value for key, value in plan.item.items() if nat().get(key) != value}


def changed(plan: Plan) -> dict[str, tuple[Any, Any]]:
    return {each["target"]: (each["before"], each["after"]) for each in plan.changes}


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (f"{HOST}{BASE}/addresses/a", f"{BASE}/addresses/a"),
        (f"https://compute.googleapis.com/compute/beta/{BASE}/addresses/a", f"{BASE}/addresses/a"),
        ("a", f"{BASE}/addresses/a"),
        ("regions/other/addresses/a", "projects/a-project/regions/other/addresses/a"),
        ("projects/p/regions/r/addresses/a", "projects/p/regions/r/addresses/a"),
        ("https://elsewhere/a", "https://elsewhere/a"),
        ("", ""),
    ],
)
def test_links_are_compared_by_their_paths(text: str, path: str) -> None:
    assert link(text, BASE, "addresses") == path


# What is in force


def test_defaults_that_are_left_out_are_in_force() -> None:
    found = values_of(nat(), PLACE)
    assert {name: found[name] for name in ("type", "min_ports_per_vm", "max_ports_per_vm", "log_config")} == {
        "type": "PUBLIC",
        "min_ports_per_vm": 64,
        "max_ports_per_vm": None,
        "log_config": {"enable": False, "filter": "ALL"},
    }
    assert [found[name] for name in nat_fields.TIMEOUTS] == [30, 30, 1200, 30, None]
    assert set(found) == {sub.option for sub in nat_fields.NAT.subs}
    assert nat_fields.defaulted(nat(udpIdleTimeoutSec=30))[-1] == "type"
    assert "udp_idle_timeout_sec" not in nat_fields.defaulted(nat(udpIdleTimeoutSec=30))


@pytest.mark.parametrize(
    ("fields", "least", "most"),
    [
        ({}, 64, None),
        ({"maxPortsPerVm": 128}, 64, None),
        ({"enableDynamicPortAllocation": True}, 32, 65536),
        ({"enableDynamicPortAllocation": True, "minPortsPerVm": 64, "maxPortsPerVm": 128}, 64, 128),
    ],
)
def test_ports_depend_on_how_they_are_allotted(fields: dict[str, Any], least: int, most: int | None) -> None:
    found = values_of(nat(**fields), PLACE)
    assert (found["min_ports_per_vm"], found["max_ports_per_vm"]) == (least, most)


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({}, None),
        ({"effectiveTcpTimeWaitTimeoutSec": 30}, 30),
        ({"effectiveTcpTimeWaitTimeoutSec": 120}, 120),
        ({"tcpTimeWaitTimeoutSec": 60, "effectiveTcpTimeWaitTimeoutSec": 120}, 60),
    ],
)
def test_time_wait_is_what_the_server_says_and_nothing_where_it_does_not(
    fields: dict[str, Any], seconds: int | None
) -> None:
    assert values_of(nat(**fields), PLACE)["tcp_time_wait_timeout_sec"] == seconds


@pytest.mark.parametrize(
    ("ranges", "subnetworks", "expected"),
    [
        ("ALL_SUBNETWORKS_ALL_IP_RANGES", [], True),
        ("ALL_SUBNETWORKS_ALL_PRIMARY_IP_RANGES", [], False),
        ("LIST_OF_SUBNETWORKS", [{"name": "a"}], True),
        ("LIST_OF_SUBNETWORKS", [{"name": "a", "sourceIpRangesToNat": ["PRIMARY_IP_RANGE"]}], False),
        ("LIST_OF_SUBNETWORKS", [{"name": "a", "sourceIpRangesToNat": ["LIST_OF_SECONDARY_IP_RANGES"]}], True),
    ],
)
def test_pods_count_where_alias_ranges_are_translated(ranges: str, subnetworks: Any, expected: bool) -> None:
    item = nat(sourceSubnetworkIpRangesToNat=ranges, subnetworks=subnetworks)
    assert nat_fields.has_alias_ranges(values_of(item, PLACE)) is expected


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"minPortsPerVm": "64"}, "minPortsPerVm"),
        ({"minPortsPerVm": True}, "minPortsPerVm"),
        ({"natIps": "x"}, "natIps"),
        ({"natIps": [1]}, "natIps"),
        ({"logConfig": []}, "logConfig"),
        ({"logConfig": {"enable": 1}}, "logConfig.enable"),
        ({"rules": [{"match": "x"}]}, "rules.ruleNumber"),
        ({"rules": [{"ruleNumber": 1, "action": {"sourceNatActiveIps": {}}}]}, "rules.action.sourceNatActiveIps"),
        ({"subnetworks": [7]}, "subnetworks.name"),
        ({"effectiveTcpTimeWaitTimeoutSec": "30"}, "effectiveTcpTimeWaitTimeoutSec"),
    ],
)
def test_a_field_of_no_form_of_the_api_is_named(fields: dict[str, Any], where: str) -> None:
    with pytest.raises(GcpError, match=rf"answered nats\[a-nat\]\.{where} in no form of the API"):
        values_of(nat(**fields), PLACE)


# What goes together, before anything is asked


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"name": "A"}, "name: got 'A'"),
        ({"min_ports_per_vm": 1}, "min_ports_per_vm: got 1, expected from 2 to 57344"),
        ({"min_ports_per_vm": 57345}, "min_ports_per_vm: got 57345"),
        (
            {"min_ports_per_vm": 100, "enable_dynamic_port_allocation": True},
            "min_ports_per_vm: got 100, expected a power of two",
        ),
        (
            {"min_ports_per_vm": 16, "enable_dynamic_port_allocation": True},
            "min_ports_per_vm: got 16, expected a power of two",
        ),
        (
            {"min_ports_per_vm": 65536, "enable_dynamic_port_allocation": True},
            "min_ports_per_vm: got 65536, expected a power of two from 32 to 32768",
        ),
        ({"max_ports_per_vm": 131072}, "max_ports_per_vm: got 131072, expected a power of two from 64 to 65536"),
        ({"max_ports_per_vm": 100}, "max_ports_per_vm: got 100, expected a power of two"),
        ({"max_ports_per_vm": 32}, "max_ports_per_vm: got 32"),
        ({"max_ports_per_vm": 131072}, "max_ports_per_vm: got 131072"),
        (
            {"min_ports_per_vm": 128, "max_ports_per_vm": 128},
            "max_ports_per_vm: got 128, expected more than min_ports_per_vm",
        ),
        (
            {"max_ports_per_vm": 128, "enable_dynamic_port_allocation": False},
            "max_ports_per_vm: got 128, expected none without",
        ),
        (
            {"enable_dynamic_port_allocation": True, "enable_endpoint_independent_mapping": True},
            "enable_dynamic_port_allocation: got 'set', expected none with enable_endpoint_independent_mapping",
        ),
        (
            {"enable_endpoint_independent_mapping": True, "rules": [{"rule_number": 1, "match": "x", "action": {}}]},
            "rules: got 'set'",
        ),
        ({"udp_idle_timeout_sec": 0}, "udp_idle_timeout_sec: got 0, expected seconds"),
        (
            {"nat_ip_allocate_option": "AUTO_ONLY", "nat_ips": ["x"]},
            "nat_ips: got .*none with nat_ip_allocate_option AUTO_ONLY",
        ),
        ({"nat_ip_allocate_option": "AUTO_ONLY", "drain_nat_ips": ["x"]}, "drain_nat_ips: got"),
        (
            {"nat_ips": ["x", "y"], "drain_nat_ips": ["y"]},
            "drain_nat_ips: got .*addresses/y'., expected addresses that are not in nat_ips",
        ),
        (
            {"type": "PRIVATE", "nat_ip_allocate_option": "AUTO_ONLY"},
            "nat_ip_allocate_option: got 'AUTO_ONLY', expected none with type PRIVATE",
        ),
        (
            {"source_subnetwork_ip_ranges_to_nat": "ALL_SUBNETWORKS_ALL_IP_RANGES", "subnetworks": [{"name": "a"}]},
            "subnetworks: got",
        ),
        (
            {"subnetworks": [{"name": "a"}, {"name": f"{HOST}{BASE}/subnetworks/a"}]},
            "subnetworks: got .*each name once",
        ),
        (
            {"subnetworks": [{"name": "a", "source_ip_ranges_to_nat": ["ALL_IP_RANGES", "PRIMARY_IP_RANGE"]}]},
            "source_ip_ranges_to_nat: got .*one value, or PRIMARY_IP_RANGE with LIST_OF_SECONDARY_IP_RANGES",
        ),
        ({"subnetworks": [{"name": "a", "secondary_ip_range_names": ["pods"]}]}, "secondary_ip_range_names: got"),
        (
            {"subnetworks": [{"name": "a", "source_ip_ranges_to_nat": ["LIST_OF_SECONDARY_IP_RANGES"]}]},
            "secondary_ip_range_names: got",
        ),
        ({"rules": [{"rule_number": 65001, "match": "x", "action": {}}]}, r"rules\[\].rule_number: got 65001"),
        (
            {"rules": [{"rule_number": 1, "match": "x", "action": {}}] * 2},
            r"rules: got \[1\], expected each rule_number once",
        ),
        (
            {"rules": [{"rule_number": 1, "match": "x", "action": {**ACTION, "source_nat_drain_ips": ["x"]}}]},
            r"rules\[1\].action.source_nat_drain_ips: got .*not active as well",
        ),
        (
            {"type": "PRIVATE", "rules": [{"rule_number": 1, "match": "x", "action": ACTION}]},
            "source_nat_active_ips: got .*none with type PRIVATE",
        ),
        ({"rules": [{"rule_number": 1, "match": "", "action": ACTION}]}, r"rules\[1\].match: got '', expected an expr"),
        ({"rules": [{"rule_number": 1, "match": "x", "action": {}}]}, r"rules\[1\].action: got 'nothing active'"),
        # The address is no name of it.
        ({"nat_ips": ["203.0.113.5"]}, "nat_ips: got .*203.0.113.5', expected the name of one of the addresses"),
        ({"drain_nat_ips": [""]}, "drain_nat_ips: got '', expected the name"),
        ({"nat_ips": ["projects/p/global/addresses/x"]}, "nat_ips: got .*the name of one of the addresses"),
        ({"subnetworks": [{"name": "10.0.0.0/24"}]}, r"subnetworks\[\].name: got .*one of the subnetworks"),
        (
            {"rules": [{"rule_number": 1, "match": "x", "action": {"source_nat_active_ips": ["203.0.113.5"]}}]},
            r"rules\[1\].action.source_nat_active_ips: got",
        ),
        ({"reset": ["min_ports_per_vm"], "min_ports_per_vm": 64}, "reset: min_ports_per_vm: got 'set as well'"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=f"^.*{text}"):
        planned(None, **options)


@pytest.mark.parametrize(
    ("item", "options", "text"),
    [
        (None, {}, "nat_ip_allocate_option: is missing"),
        (None, {"nat_ip_allocate_option": "AUTO_ONLY"}, "source_subnetwork_ip_ranges_to_nat: is missing"),
        (nat(), {"nat_ips": ["x"]}, "nat_ips: got .*none with nat_ip_allocate_option AUTO_ONLY"),
        (nat(), {"nat_ip_allocate_option": "MANUAL_ONLY"}, "nat_ips: got .*at least one address"),
        (nat(natIps=["x"], **MANUAL), {"nat_ips": []}, "nat_ips: got .*at least one address"),
        (nat(natIps=addresses("x"), **MANUAL), {"drain_nat_ips": ["x"]}, "at least one address"),
        (nat(), {"max_ports_per_vm": 128}, "max_ports_per_vm: got 128, expected none without enable_dynamic"),
        (
            nat(minPortsPerVm=100),
            {"enable_dynamic_port_allocation": True},
            "min_ports_per_vm: got 100, expected a power of two",
        ),
        (
            nat(enableEndpointIndependentMapping=True),
            {"enable_dynamic_port_allocation": True},
            "enable_dynamic_port_allocation: got",
        ),
        (nat(enableDynamicPortAllocation=True, maxPortsPerVm=64), {"min_ports_per_vm": 64}, "max_ports_per_vm: got 64"),
        (nat(), {"source_subnetwork_ip_ranges_to_nat": "LIST_OF_SUBNETWORKS"}, "subnetworks: got .*at least one"),
        (nat(), {"type": "PRIVATE"}, "type: got 'PRIVATE', expected PUBLIC, which no change"),
        (nat(), {"endpoint_types": ["ENDPOINT_TYPE_SWG"]}, "endpoint_types: got"),
        (
            None,
            {"nat_ip_allocate_option": "MANUAL_ONLY", "nat_ips": ["x"], "drain_nat_ips": ["y"]},
            "drain_nat_ips: got 'set', expected none for a NAT that is new",
        ),
        (
            None,
            {
                "nat_ip_allocate_option": "AUTO_ONLY",
                "rules": [{"rule_number": 1, "match": CEL, "action": {**ACTION, "source_nat_drain_ips": ["y"]}}],
            },
            "drain_nat_ips: got 'set', expected none for a NAT that is new",
        ),
        (nat(natIps=addresses("x"), **MANUAL), {"drain_nat_ips": ["y"]}, "drain_nat_ips: got .*/y'., .* the NAT has"),
    ],
)
def test_what_would_not_go_together_with_the_rest_is_refused(item: Any, options: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        planned(item, **options)


# What is sent


def test_setting_what_is_in_force_by_default_is_no_change_and_not_sent() -> None:
    options = {
        "min_ports_per_vm": 64,
        "tcp_time_wait_timeout_sec": 120,
        "log_config": {"enable": False},
        "type": "PUBLIC",
    }
    item = nat(effectiveTcpTimeWaitTimeoutSec=120)
    found = planned(item, **options)
    assert (found.changes, sent(found)) == ([], {})
    assert sent(planned(item, udp_idle_timeout_sec=60, **options)) == {"udpIdleTimeoutSec": 60}


def test_a_default_that_would_be_another_one_is_sent() -> None:
    found = planned(nat(), enable_dynamic_port_allocation=True, min_ports_per_vm=64)
    assert sent(found) == {"enableDynamicPortAllocation": True, "minPortsPerVm": 64}


def test_what_is_not_known_is_kept_in_every_depth() -> None:
    rule = {"ruleNumber": 1, "match": "x", "future": 1, "action": {"sourceNatActiveIps": addresses("x"), "later": 2}}
    item = nat(name="a-nat", rules=[rule], someday=[1], subnetworks=[], logConfig={"enable": True, "more": 3})
    options = {
        "rules": [{"rule_number": 1, "match": "y", "action": {"source_nat_active_ips": ["x"]}}],
        "log_config": {"filter": "ALL"},
    }
    found = planned(item, **options, udp_idle_timeout_sec=60)
    assert sent(found) == {
        "udpIdleTimeoutSec": 60,
        "rules": [{**rule, "match": "y"}],
        "someday": [1],
        "subnetworks": [],
        "logConfig": {"enable": True, "more": 3},
    }


def test_a_link_is_sent_as_it_came() -> None:
    item = nat(natIps=[f"{OTHER}{each}" for each in addresses("x", "y")], **MANUAL)
    found = planned(item, nat_ips=["y", "x", "z"])
    assert sent(found)["natIps"] == [f"{OTHER}{each}" for each in addresses("x", "y")] + [f"{HOST}{addresses('z')[0]}"]
    assert planned(item, nat_ips=["y", "x"]).changes == []


def test_siblings_are_sent_as_they_came_in_their_places() -> None:
    nats = {name: nat(name, future=name, effectiveTcpTimeWaitTimeoutSec=30) for name in ("a", "a-nat", "z")}
    params = checked(
        {**ARGUMENT_SPEC, **NAT_SPEC},
        {"project": "a-project", "auth_kind": "application", **WHERE, "min_ports_per_vm": 128},
    )
    router = Router({}, nats)
    found = plan(router, desired(params, PLACE), PLACE).nats(router)
    assert found == [nat("a", future="a"), nat("a-nat", future="a-nat", minPortsPerVm=128), nat("z", future="z")]


def test_a_reset_leaves_the_field_out() -> None:
    item = nat(minPortsPerVm=32, udpIdleTimeoutSec=30, tcpTimeWaitTimeoutSec=60, effectiveTcpTimeWaitTimeoutSec=60)
    found = planned(item, reset=["min_ports_per_vm", "udp_idle_timeout_sec", "tcp_time_wait_timeout_sec", "log_config"])
    assert sent(found) == {}
    # What is the default already is none, whoever said it.
    assert changed(found) == {"min_ports_per_vm": (32, 64), "tcp_time_wait_timeout_sec": (60, None)}
    assert {each["kind"] for each in found.changes} == {"reset"}
    assert planned(nat(effectiveTcpTimeWaitTimeoutSec=30), reset=["tcp_time_wait_timeout_sec"]).changes == []


@pytest.mark.parametrize(
    ("item", "options", "left"),
    [
        (nat(natIps=addresses("x"), drainNatIps=addresses("y"), **MANUAL), {"nat_ip_allocate_option": "AUTO_ONLY"}, {}),
        (
            nat(natIps=addresses("x"), drainNatIps=addresses("y"), **MANUAL),
            {"nat_ip_allocate_option": "AUTO_ONLY", "nat_ips": []},
            {},
        ),
        (
            nat(autoNetworkTier="PREMIUM"),
            {"nat_ip_allocate_option": "MANUAL_ONLY", "nat_ips": ["x"]},
            {**MANUAL, "natIps": [f"{HOST}{BASE}/addresses/x"]},
        ),
        (
            nat(enableDynamicPortAllocation=True, maxPortsPerVm=128),
            {"enable_dynamic_port_allocation": False},
            {"enableDynamicPortAllocation": False},
        ),
        (nat(enableDynamicPortAllocation=True, maxPortsPerVm=128), {"reset": ["enable_dynamic_port_allocation"]}, {}),
        (
            nat(sourceSubnetworkIpRangesToNat="LIST_OF_SUBNETWORKS", subnetworks=[{"name": "x"}]),
            {"source_subnetwork_ip_ranges_to_nat": "ALL_SUBNETWORKS_ALL_IP_RANGES"},
            {},
        ),
    ],
)
def test_what_loses_its_meaning_is_left_out(item: Any, options: dict[str, Any], left: dict[str, Any]) -> None:
    assert sent(planned(item, **options)) == left


# Draining


@pytest.mark.parametrize(
    ("options", "active", "draining"),
    [
        ({"nat_ips": ["x"]}, ["x"], ["old", "y"]),
        ({"nat_ips": ["x", "z"]}, ["x", "z"], ["old", "y"]),
        ({"nat_ips": ["x", "y", "old"]}, ["x", "y", "old"], []),
        ({"drain_nat_ips": ["old", "y"]}, ["x"], ["old", "y"]),
        ({"drain_nat_ips": []}, ["x", "y"], []),
        ({"nat_ips": ["x"], "drain_nat_ips": ["y"]}, ["x"], ["y"]),
        ({"nat_ips": ["x"], "drain": False}, ["x"], ["old"]),
        ({"reset": ["drain_nat_ips"]}, ["x", "y"], []),
    ],
)
def test_addresses_drain_in_the_change_that_takes_them_away(
    options: dict[str, Any], active: list[str], draining: list[str]
) -> None:
    item = nat(natIps=addresses("x", "y"), drainNatIps=addresses("old"), **MANUAL)
    found = planned(item, **options)
    assert found.after is not None
    assert found.after["nat_ips"] == sorted(addresses(*active))
    assert found.after["drain_nat_ips"] == sorted(addresses(*draining))
    assert planned({**(found.item or {})}, **options).changes == []


def test_addresses_of_rules_drain_too() -> None:
    rules = [{"ruleNumber": 1, "match": CEL, "action": {"sourceNatActiveIps": addresses("x", "y")}}]
    item = nat(natIps=addresses("z"), rules=rules, **MANUAL)
    options = {"rules": [{"rule_number": 1, "match": CEL, "action": {"source_nat_active_ips": ["y"]}}]}
    found = planned(item, **options)
    action = {"sourceNatActiveIps": addresses("y"), "sourceNatDrainIps": [f"{HOST}{BASE}/addresses/x"]}
    assert sent(found)["rules"] == [{"ruleNumber": 1, "match": CEL, "action": action}]
    assert found.disruptive == []
    assert planned(found.item, **options).changes == []
    assert [each["target"] for each in planned(item, drain=False, **options).disruptive] == [
        "rules[1].action.source_nat_active_ips"
    ]


# What it breaks

SUBNETWORK = {
    "name": f"{BASE}/subnetworks/s",
    "sourceIpRangesToNat": ["PRIMARY_IP_RANGE", "LIST_OF_SECONDARY_IP_RANGES"],
    "secondaryIpRangeNames": ["pods", "more"],
}
LISTED = nat(sourceSubnetworkIpRangesToNat="LIST_OF_SUBNETWORKS", subnetworks=[SUBNETWORK])
DYNAMIC = nat(enableDynamicPortAllocation=True)


def subnetwork(**fields: Any) -> dict[str, Any]:
    return {"subnetworks": [{"name": "s", **fields}]}


@pytest.mark.parametrize(
    ("item", "options", "targets"),
    [
        (nat(), {"min_ports_per_vm": 128}, []),
        (nat(minPortsPerVm=128), {"min_ports_per_vm": 64}, ["min_ports_per_vm"]),
        (nat(minPortsPerVm=128), {"reset": ["min_ports_per_vm"]}, ["min_ports_per_vm"]),
        # What is allotted is rounded up: it is 64 both times.
        (nat(), {"min_ports_per_vm": 50}, []),
        (nat(), {"enable_dynamic_port_allocation": True}, ["enable_dynamic_port_allocation"]),
        (DYNAMIC, {"enable_dynamic_port_allocation": False}, ["enable_dynamic_port_allocation"]),
        (DYNAMIC, {"min_ports_per_vm": 64}, ["min_ports_per_vm"]),
        (DYNAMIC, {"max_ports_per_vm": 64}, ["max_ports_per_vm"]),
        (nat(), {"enable_endpoint_independent_mapping": True}, []),
        (nat(), {"nat_ip_allocate_option": "MANUAL_ONLY", "nat_ips": ["x"]}, ["nat_ip_allocate_option"]),
        (nat(), {"auto_network_tier": "STANDARD"}, ["auto_network_tier"]),
        (nat(natIps=addresses("x", "y"), **MANUAL), {"nat_ips": ["x", "z"]}, []),
        (nat(natIps=addresses("x", "y"), **MANUAL), {"nat_ips": ["x", "z"], "drain": False}, ["nat_ips"]),
        (nat(natIps=addresses("x"), drainNatIps=addresses("y"), **MANUAL), {"drain_nat_ips": []}, ["drain_nat_ips"]),
        (nat(natIps=addresses("x"), drainNatIps=addresses("y"), **MANUAL), {"nat_ips": ["x", "y"]}, []),
        (nat(rules=[{"ruleNumber": 1, "match": CEL}]), {"rules": []}, ["rules[1]"]),
        (nat(), {"rules": [{"rule_number": 1, "match": CEL, "action": ACTION}]}, ["rules[1]"]),
        (nat(rules=[RULE]), {"rules": [{"rule_number": 1, "match": "x", "action": ACTION}]}, ["rules[1].match"]),
        (nat(rules=[RULE]), {"rules": [{"rule_number": 1, "match": CEL, "action": ACTION, "description": "x"}]}, []),
        (
            nat(type="PRIVATE", rules=[{**RULE, "action": {"sourceNatActiveRanges": [f"{BASE}/subnetworks/s"]}}]),
            {
                "drain": False,
                "rules": [{"rule_number": 1, "match": CEL, "action": {"source_nat_active_ranges": ["t"]}}],
            },
            ["rules[1].action.source_nat_active_ranges"],
        ),
        (
            nat(),
            {"source_subnetwork_ip_ranges_to_nat": "ALL_SUBNETWORKS_ALL_PRIMARY_IP_RANGES"},
            ["source_subnetwork_ip_ranges_to_nat"],
        ),
        (LISTED, {"source_subnetwork_ip_ranges_to_nat": "ALL_SUBNETWORKS_ALL_IP_RANGES"}, []),
        (LISTED, {"subnetworks": [{"name": "t"}]}, ["subnetworks"]),
        (LISTED, subnetwork(), []),
        (LISTED, subnetwork(source_ip_ranges_to_nat=["PRIMARY_IP_RANGE"]), ["subnetworks"]),
        (
            LISTED,
            subnetwork(
                source_ip_ranges_to_nat=["PRIMARY_IP_RANGE", "LIST_OF_SECONDARY_IP_RANGES"],
                secondary_ip_range_names=["pods"],
            ),
            ["subnetworks"],
        ),
        (nat(), {"state": "absent"}, ["state"]),
        (None, {"state": "absent"}, []),
        (nat(), {"udp_idle_timeout_sec": 10, "tcp_established_idle_timeout_sec": 60}, []),
        (
            None,
            {
                "nat_ip_allocate_option": "AUTO_ONLY",
                "source_subnetwork_ip_ranges_to_nat": "ALL_SUBNETWORKS_ALL_IP_RANGES",
            },
            [],
        ),
    ],
)
def test_what_closes_connections_is_listed(item: Any, options: dict[str, Any], targets: list[str]) -> None:
    assert [each["target"] for each in planned(item, **options).disruptive] == targets


@pytest.mark.parametrize(
    ("description", "tool"),
    [
        ("", None),
        (None, None),
        (7, None),
        ("for the nodes", None),
        ("Managed by Terraform", "terraform"),
        ("goog-terraform-provisioned=true", "terraform"),
        ("managed-by-cnrm: true", "config_connector"),
        ("made by Config Connector", "config_connector"),
    ],
)
def test_an_owner_is_told_by_the_description(description: Any, tool: str | None) -> None:
    found = owner(description)
    assert (found and found["tool"]) == tool
    assert found is None or found["evidence"].isprintable()


# In the language of others


def test_a_change_as_commands_of_gcloud() -> None:
    item = nat(natIps=addresses("x", "y"), minPortsPerVm=32, autoNetworkTier="PREMIUM", **MANUAL)
    found = planned(
        item,
        nat_ips=["x"],
        reset=["min_ports_per_vm", "auto_network_tier"],
        enable_endpoint_independent_mapping=True,
        log_config={"enable": True},
    )
    assert emit("gcloud", found, PLACE) == (
        "gcloud compute routers nats update a-nat --router=a-router --region=europe-west3 --project=a-project --nat-external-ip-pool=x "
        "--nat-external-drain-ip-pool=y --clear-min-ports-per-vm --enable-endpoint-independent-mapping --enable-logging --log-filter=ALL\n"
        "# gcloud has no flag to reset auto_network_tier.\n"
    )


def test_a_new_nat_and_its_rules_as_commands_of_gcloud() -> None:
    options = {
        "nat_ip_allocate_option": "MANUAL_ONLY",
        "nat_ips": ["x", "projects/other/regions/europe-west3/addresses/z"],
        "source_subnetwork_ip_ranges_to_nat": "LIST_OF_SUBNETWORKS",
        "subnetworks": [
            {"name": "s"},
            {
                "name": "t",
                "source_ip_ranges_to_nat": ["PRIMARY_IP_RANGE", "LIST_OF_SECONDARY_IP_RANGES"],
                "secondary_ip_range_names": ["pods"],
            },
        ],
        "rules": [{"rule_number": 1, "match": CEL, "action": ACTION}],
    }
    at = "--router=a-router --region=europe-west3 --project=a-project"
    assert emit("gcloud", planned(None, **options), PLACE) == (
        f"gcloud compute routers nats create a-nat {at} "
        "--nat-external-ip-pool=x,projects/other/regions/europe-west3/addresses/z --nat-custom-subnet-ip-ranges=s:ALL,t,t:pods\n"
        f"gcloud compute routers nats rules create 1 --nat=a-nat {at} "
        "'--match=destination.ip == '\"'\"'192.0.2.1'\"'\"'' --source-nat-active-ips=x\n"
    )


def test_rules_as_commands_of_gcloud() -> None:
    rules = [
        {"ruleNumber": number, "match": CEL, "action": {"sourceNatActiveIps": addresses("x")}} for number in (1, 2)
    ]
    found = planned(
        nat(rules=rules), rules=[{"rule_number": 2, "match": CEL, "action": {"source_nat_active_ips": ["y"]}}]
    )
    lines = emit("gcloud", found, PLACE).splitlines()
    assert [line.split()[4:7] for line in lines] == [["rules", "delete", "1"], ["rules", "update", "2"]]
    assert lines[1].endswith(" --source-nat-active-ips=y --source-nat-drain-ips=x")


def test_what_drains_no_more_and_a_description_as_commands_of_gcloud() -> None:
    action = {"sourceNatActiveIps": addresses("x"), "sourceNatDrainIps": addresses("y")}
    rule = {"rule_number": 2, "match": CEL, "action": ACTION}
    item = nat(rules=[{"ruleNumber": 2, "match": CEL, "action": action}])
    ended = {**rule, "action": {**ACTION, "source_nat_drain_ips": []}}
    assert emit("gcloud", planned(item, rules=[ended]), PLACE).endswith(
        " --source-nat-active-ips=x --clear-source-nat-drain-ips\n"
    )
    remark = "# gcloud has no flag for the description of rule 2.\n"
    assert emit("gcloud", planned(item, rules=[{**rule, "description": "x"}]), PLACE) == remark


def test_the_end_of_a_nat_in_both_languages() -> None:
    found = planned(nat(), state="absent")
    assert emit("gcloud", found, PLACE).startswith("gcloud compute routers nats delete a-nat --router=a-router")
    assert (
        emit("hcl", found, PLACE)
        == f'# Remove resource "google_compute_router_nat" "a_nat" ({PLACE.path}, NAT a-nat).\n'
    )


def test_terraform_keeps_the_time_wait_that_is_in_force() -> None:
    item = nat(effectiveTcpTimeWaitTimeoutSec=30, nat64Subnetworks=[{"name": "x"}])
    lines = emit("hcl", planned(item, min_ports_per_vm=128), PLACE).splitlines()
    assert lines[0] == "# Keep what this does not show: nat64Subnetworks."
    assert "  tcp_time_wait_timeout_sec = 30" in lines
    found = planned({**item, "tcpTimeWaitTimeoutSec": 30}, reset=["tcp_time_wait_timeout_sec"])
    assert "# Terraform sets tcp_time_wait_timeout_sec to 120 where it is not given" in emit("hcl", found, PLACE)


def test_a_nat_as_a_resource_of_terraform() -> None:
    rules = [{"rule_number": 1, "match": '"${x}" %{y}', "action": ACTION}]
    item = {**LISTED, "effectiveTcpTimeWaitTimeoutSec": 120}
    found = planned(item, min_ports_per_vm=128, log_config={"enable": True}, rules=rules)
    assert (
        emit("hcl", found, PLACE)
        == f"""\
resource "google_compute_router_nat" "a_nat" {{
  name = "a-nat"
  project = "a-project"
  region = "europe-west3"
  router = "a-router"
  nat_ip_allocate_option = "AUTO_ONLY"
  source_subnetwork_ip_ranges_to_nat = "LIST_OF_SUBNETWORKS"
  subnetwork {{
    name = "{BASE}/subnetworks/s"
    source_ip_ranges_to_nat = ["LIST_OF_SECONDARY_IP_RANGES", "PRIMARY_IP_RANGE"]
    secondary_ip_range_names = ["more", "pods"]
  }}
  min_ports_per_vm = 128
  tcp_time_wait_timeout_sec = 120
  log_config {{
    enable = true
    filter = "ALL"
  }}
  rules {{
    rule_number = 1
    match = "\\"$${{x}}\\" %%{{y}}"
    action {{
      source_nat_active_ips = ["{BASE}/addresses/x"]
    }}
  }}
}}
"""
    )
