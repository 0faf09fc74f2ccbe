# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What gcp_compute_router_nat_info tells is what the filters plan with: the shape of the one is that of the others."""

from __future__ import annotations

from typing import Any

from ansible_collections.bulwark.node.plugins.filter import nat_load, nat_plan
from ansible_collections.bulwark.node.plugins.module_utils.gcp.client import ARGUMENT_SPEC, Client
from ansible_collections.bulwark.node.plugins.module_utils.gcp.nat_info import NAT_INFO_SPEC, look
from ansible_collections.bulwark.node.tests.fakes.compute_api import ROUTER, FakeCompute, nat

from .conftest import Params, checked
from .test_nat_info import BASE, DROPPED, NEW, USAGE, mapping, series

TCP = {"ip_protocol": "TCP"}


def planned(compute: FakeCompute, client: Client, reach: Params, **options: Any) -> dict[str, Any]:
    where = {"region": "europe-west3", "router": "a-router", "name": "a-nat"}
    info = look(client, checked({**ARGUMENT_SPEC, **NAT_INFO_SPEC}, {**reach, **where}))
    wait = info["nats"][0]["effective"]["tcp_time_wait_timeout_sec"]
    load = nat_load.FilterModule().filters()["nat_load"](info["nats"][0], "monitoring", wait)
    made: dict[str, Any] = nat_plan.FilterModule().filters()["nat_plan"](info, load, **options)
    return made


def test_a_gateway_is_planned_by_what_cloud_monitoring_knows(
    compute: FakeCompute, client: Client, reach: Params
) -> None:
    compute.add(nat(natIpAllocateOption="MANUAL_ONLY", natIps=[f"{BASE}/addresses/x"]))
    compute.status[ROUTER] = {"natStatus": [{"name": "a-nat", "numVmEndpointsWithNatMappings": 2}]}
    compute.mappings[ROUTER] = [mapping("vm-1", 1024), mapping("vm-2", 1024)]
    compute.monitoring.series = [
        series(USAGE, "1", {100: 700}, "vm-1", **TCP),
        series(NEW, "1", {100: 1200}, "vm-1", **TCP),
        series(DROPPED, "1", {100: 7}, "vm-1", reason="OUT_OF_RESOURCES", **TCP),
        series(USAGE, "2", {100: 30}, "vm-2", **TCP),
    ]
    made = planned(compute, client, reach, nodes=40, new_addresses=[f"{BASE}/addresses/y", f"{BASE}/addresses/z"])
    assert made["gateway"] == {
        "project": "a-project",
        "region": "europe-west3",
        "router": "a-router",
        "name": "a-nat",
    }
    assert made["load"]["busiest"] == {"name": "vm-1", "protocol": "tcp", "destination": None, "ports": 3100}
    assert (made["load"]["dropped_packets"], made["plan"]["need"]) == (7, 3875)
    assert [each["name"] for each in made["load"]["unmeasured"]] == ["vm-2"]
    assert made["settings"] == {
        "min_ports_per_vm": 4096,
        "nat_ips": [f"{BASE}/addresses/{name}" for name in "xyz"],
    }
    assert made["plan"]["now"]["breaks_at"]["nodes"] == 64


def test_without_the_right_to_cloud_monitoring_nothing_is_planned(
    compute: FakeCompute, client: Client, reach: Params
) -> None:
    compute.add(nat())
    compute.denied.add("monitoring.projects.timeSeries.list")
    made = planned(compute, client, reach)
    assert made["plan"] is None
    assert [each["source"] for each in made["blocked"]] == ["unmeasured", "load"]
