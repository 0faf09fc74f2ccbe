# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of a router's NATs: status, addresses, ports of all VMs, what they used, and why something is not known."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError, OptionError
from ansible_collections.bulwark.node.plugins.module_utils.gcp.client import ARGUMENT_SPEC, Client
from ansible_collections.bulwark.node.plugins.module_utils.gcp.nat_info import NAT_INFO_SPEC, look
from ansible_collections.bulwark.node.tests.fakes.compute_api import ROUTER, FakeCompute, nat
from ansible_collections.bulwark.node.tests.fakes.google_monitoring import Series

from .conftest import Params, checked

Look = Callable[..., dict[str, Any]]
BASE = ROUTER.partition("/routers/")[0]
USAGE = "compute.googleapis.com/nat/port_usage"
ALLOCATED = "compute.googleapis.com/nat/allocated_ports"
NEW = "compute.googleapis.com/nat/new_connections_count"
DROPPED = "compute.googleapis.com/nat/dropped_sent_packets_count"


@pytest.fixture
def info(client: Client, reach: Params) -> Look:
    def looked(**options: Any) -> dict[str, Any]:
        where = {"region": "europe-west3", "router": "a-router"}
        return look(client, checked({**ARGUMENT_SPEC, **NAT_INFO_SPEC}, {**reach, **where, **options}))

    return looked


@pytest.fixture(autouse=True)
def _fill(compute: FakeCompute) -> None:
    compute.add(
        nat(natIpAllocateOption="MANUAL_ONLY", natIps=[f"{BASE}/addresses/x"], drainNatIps=[f"{BASE}/addresses/y"]),
        nat("b-nat"),
        description="for the nodes",
    )
    status = {"minExtraNatIpsNeeded": 1, "numVmEndpointsWithNatMappings": 2}
    manual = {
        "userAllocatedNatIps": ["203.0.113.1"],
        "userAllocatedNatIpResources": [f"https://www.googleapis.com/compute/v1/{BASE}/addresses/x"],
        "drainUserAllocatedNatIps": ["203.0.113.2"],
    }
    compute.status[ROUTER] = {"natStatus": [{"name": "a-nat", **status, **manual}, {"name": "b-nat"}]}
    mappings = [("203.0.113.2", "IN_USE"), ("203.0.113.1", "UNUSED")]
    infos = [{"natIp": address, "usage": usage, "mode": "MANUAL"} for address, usage in mappings]
    compute.addresses[ROUTER] = [{"natName": "a-nat", "natIpInfoMappings": infos}]


def mapping(name: str, *ports: int, nat_name: str = "a-nat", ip: str = "10.0.0.2") -> dict[str, Any]:
    """A VM with a range for each number of ports: the primary address, then alias ranges."""
    ranges = [
        {
            "sourceVirtualIp": ip,
            "sourceAliasIpRange": f"10.4.{number}.0/24" if number else "",
            "numTotalNatPorts": count,
            "natIpPortRanges": [f"203.0.113.1:{1024 + number * 512}-{1535 + number * 512}"],
        }
        for number, count in enumerate(ports)
    ]
    return {"instanceName": name, "interfaceNatMappings": ranges, "nat": nat_name}


def series(metric: str, instance: str, points: dict[int, int], name: str | None = None, **more: Any) -> Series:
    """Values of one VM, by how many seconds ago."""
    where = {key: more.pop(key) for key in ("zone", "project") if key in more}
    labels = {"router_id": "4810412398423984", "nat_gateway_name": "a-nat", "nat_project_number": "1", **more}
    return Series(metric, labels, instance, name=name, points=points, **where)


def test_all_of_a_router_is_told(info: Look) -> None:
    found = info()
    assert found["changed"] is False
    assert found["router"] == {
        "project": "a-project",
        "region": "europe-west3",
        "name": "a-router",
        "id": "4810412398423984",
        "network": "projects/a-project/global/networks/default",
        "description": "for the nodes",
        "owner": None,
    }
    first, second = found["nats"]
    assert (first["name"], second["name"]) == ("a-nat", "b-nat")
    assert first["effective"]["nat_ips"] == [f"{BASE}/addresses/x"]
    assert first["effective"]["tcp_time_wait_timeout_sec"] == 120
    assert (first["status"], second["status"]) == (
        {"min_extra_nat_ips_needed": 1, "vm_endpoints": 2},
        {"min_extra_nat_ips_needed": 0, "vm_endpoints": 0},
    )
    assert "min_ports_per_vm" in first["defaulted"]
    assert "nat_ips" not in first["defaulted"]
    assert (first["alias_ranges"], first["vms"], second["addresses"]) == (True, [], [])
    json.dumps(found)


def test_addresses_are_told_with_what_they_do(info: Look) -> None:
    assert info(name="a-nat")["nats"][0]["addresses"] == [
        {
            "address": "203.0.113.1",
            "mode": "MANUAL",
            "in_use": False,
            "draining": False,
            "resource": f"{BASE}/addresses/x",
        },
        {"address": "203.0.113.2", "mode": "MANUAL", "in_use": True, "draining": True, "resource": None},
    ]


def test_the_ports_of_each_vm_are_told_from_all_pages(info: Look, compute: FakeCompute) -> None:
    compute.page = 2
    compute.mappings[ROUTER] = [mapping(f"vm-{number}", 512, 512) for number in range(5)] + [
        mapping("c", 64, nat_name="b-nat")
    ]
    first, second = info()["nats"]
    assert [(vm["name"], vm["ports"], vm["mapped"]) for vm in first["vms"]] == [
        (f"vm-{n}", 1024, True) for n in range(5)
    ]
    assert [vm["name"] for vm in second["vms"]] == ["c"]
    assert first["vms"][0]["ranges"][1] == {
        "source_virtual_ip": "10.0.0.2",
        "source_alias_ip_range": "10.4.1.0/24",
        "ports": 512,
        "drain_ports": 0,
        "nat_ips": ["203.0.113.1"],
        "rules": [],
    }
    assert len(compute.calls("getNatMappingInfo")) == 4


def test_what_a_vm_used_is_told_beside_what_it_was_allotted(info: Look, compute: FakeCompute) -> None:
    compute.mappings[ROUTER] = [mapping("vm-1", 64), mapping("vm-2", 64)]
    tcp, udp = {"ip_protocol": "TCP"}, {"ip_protocol": "UDP"}
    compute.monitoring.series = [
        series(USAGE, "1", {30: 5, 600: 61}, "vm-1", **tcp),
        series(USAGE, "1", {30: 2}, "vm-1", **udp),
        series(USAGE, "1", {7200: 4000}, "vm-1", **tcp),
        series(USAGE, "2", {30: 9}, "vm-2", **tcp),
        series(USAGE, "2", {30: 60}, "vm-2", **{**tcp, "nat_gateway_name": "b-nat"}),
        series(USAGE, "2", {30: 60}, "vm-2", **{**tcp, "router_id": "1"}),
        series(ALLOCATED, "1", {30: 32, 90: 64}, "vm-1", nat_ip="203.0.113.1"),
        series(ALLOCATED, "1", {30: 64}, "vm-1", nat_ip="203.0.113.2"),
        series(NEW, "1", {30: 60, 45: 60, 600: 300}, "vm-1", **tcp),
        series(DROPPED, "1", {30: 2, 600: 3}, "vm-1", ip_protocol="TCP", reason="OUT_OF_RESOURCES"),
        series(DROPPED, "2", {30: 1}, "vm-2", ip_protocol="UDP", reason="OUT_OF_RESOURCES"),
    ]
    compute.monitoring.page = 1
    first, second = info()["nats"]
    assert first["vms"][0]["usage"] == {
        "zone": "europe-west3-a",
        "instance_id": "1",
        "port_usage": {"TCP": 61, "UDP": 2},
        "allocated_ports": 128,
        "new_per_second": {"TCP": 5.0},
        "dropped_packets": {"OUT_OF_RESOURCES": 5},
    }
    assert first["vms"][1]["usage"]["allocated_ports"] is None
    # Of this router alone.
    assert first["vms"][1]["usage"]["port_usage"] == {"TCP": 9}
    assert first["usage"] == {
        "window_s": 3600,
        "port_usage": {"TCP": 61, "UDP": 2},
        "busiest_vm": "vm-1",
        "new_per_second": {"TCP": 5.0},
        "dropped_packets": {"OUT_OF_RESOURCES": 6},
        "vms": 2,
    }
    assert (second["usage"]["port_usage"], second["vms"][0]["mapped"]) == ({"TCP": 60}, False)
    assert info(usage_window=86400, name="a-nat")["nats"][0]["usage"]["port_usage"]["TCP"] == 4000


def test_a_vm_that_is_gone_counts_and_one_that_was_made_anew_is_one(info: Look, compute: FakeCompute) -> None:
    compute.mappings[ROUTER] = [mapping("vm-1", 64), mapping("quiet", 64)]
    tcp = {"ip_protocol": "TCP"}
    compute.monitoring.series = [
        series(USAGE, "1", {3000: 50}, "vm-1", **tcp),
        series(USAGE, "2", {30: 5}, "vm-1", **tcp),
        series(ALLOCATED, "2", {30: 64}, "vm-1"),
        series(USAGE, "3", {3000: 60}, None, **tcp),
    ]
    (first, *_rest) = info()["nats"]
    gone, quiet, anew = first["vms"]
    assert (gone["name"], gone["mapped"], gone["ports"], gone["usage"]["port_usage"]) == ("3", False, 0, {"TCP": 60})
    assert (anew["usage"]["instance_id"], anew["usage"]["port_usage"]) == ("2", {"TCP": 50})
    assert (quiet["usage"], quiet["usage_reason"]) == (None, "Cloud Monitoring has no figure of it in this window")
    assert first["usage"]["busiest_vm"] == "3"


def test_vms_of_one_name_in_two_zones_are_not_mixed(info: Look, compute: FakeCompute) -> None:
    compute.mappings[ROUTER] = [mapping("vm", 64), mapping("vm", 64, ip="10.0.0.3")]
    compute.monitoring.series = [
        series(USAGE, number, {30: 5}, "vm", ip_protocol="TCP", zone=f"europe-west3-{zone}")
        for number, zone in (("1", "a"), ("2", "b"))
    ]
    for vm in info(name="a-nat")["nats"][0]["vms"]:
        assert (vm["usage"], vm["usage_reason"]) == (
            None,
            "there are several VMs of this name, or there were: europe-west3-a, europe-west3-b",
        )
    # Of which of both it is, one figure does not say.
    del compute.monitoring.series[1]
    assert [vm["usage"] for vm in info(name="a-nat")["nats"][0]["vms"]] == [None, None]


def test_the_metrics_of_a_shared_vpc_are_in_another_project(info: Look, compute: FakeCompute) -> None:
    compute.monitoring.series = [series(USAGE, "1", {30: 5}, "vm", ip_protocol="TCP", project="a-service")]
    assert info()["nats"][0]["usage"]["vms"] == 0
    assert info(metrics_project="a-service")["nats"][0]["usage"]["vms"] == 1


@pytest.mark.parametrize(
    ("call", "value", "reason"),
    [
        ("compute.routers.getRouterStatus", "status", "status_reason"),
        ("compute.routers.getNatIpInfo", "addresses", "addresses_reason"),
        ("compute.routers.getNatMappingInfo", "vms", "vms_reason"),
        ("monitoring.projects.timeSeries.list", "usage", "usage_reason"),
    ],
)
def test_what_may_not_be_asked_is_null_with_the_reason(
    info: Look, compute: FakeCompute, call: str, value: str, reason: str
) -> None:
    compute.mappings[ROUTER] = [mapping("vm", 64)]
    compute.denied = {call}
    found = info()["nats"][0]
    assert found[value] is None
    assert "403 forbidden: Required" in found[reason]
    others = {"status", "addresses", "vms", "usage"} - {value}
    assert all(found[other] is not None and found[f"{other}_reason"] is None for other in others)
    if value == "usage":
        assert (found["vms"][0]["usage"], found["vms"][0]["usage_reason"]) == (None, found["usage_reason"])


def test_what_is_not_whole_is_not_told(info: Look, compute: FakeCompute) -> None:
    compute.monitoring.unreachable = ["projects/a-project/locations/europe-west3"]
    found = info()["nats"][0]
    assert found["usage"] is None
    assert "the answer is not whole" in found["usage_reason"]


def test_what_is_not_asked_for_costs_no_request(info: Look, compute: FakeCompute) -> None:
    found = info(mappings=False, usage_window=0)["nats"][0]
    assert [found[f"{part}_reason"] for part in ("vms", "usage")] == ["not asked for", "not asked for"]
    assert [request.call for request in compute.requests] == [
        f"compute.routers.{call}" for call in ("get", "getRouterStatus", "getNatIpInfo")
    ]


def test_a_nat_that_is_not_there_fails_by_name(info: Look) -> None:
    with pytest.raises(BulwarkError, match=r"a-router: has no NAT other; it has a-nat, b-nat$"):
        info(name="other")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"usage_window": 59}, "usage_window: got 59"),
        ({"usage_window": -1}, "usage_window: got -1"),
        ({"usage_window": 3628801}, "usage_window: got"),
        ({"name": "A"}, "name: got 'A'"),
        ({"metrics_project": "a/b"}, "^metrics_project: got 'a/b'"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_asked(
    info: Look, compute: FakeCompute, options: Params, text: str
) -> None:
    with pytest.raises(OptionError, match=text):
        info(**options)
    assert compute.requests == []


def test_texts_of_the_api_are_shown_without_control_characters(info: Look, compute: FakeCompute) -> None:
    compute.mappings[ROUTER] = [mapping("vm\x1b[31m", 64)]
    compute.routers[ROUTER]["description"] = "a\nb"
    found = info()
    assert found["router"]["description"] == "a b"
    assert found["nats"][0]["vms"][0]["name"] == "vm [31m"
