# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook cloud_nat on nodes that are actors and a compute API on loopback, by the real ansible."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.tests.fakes.actors import Run, Stage
from ansible_collections.bulwark.node.tests.fakes.compute_api import FakeCompute, nat

PLACE = "projects/a-project/regions/europe-west3/addresses"
LINK = f"https://www.googleapis.com/compute/v1/{PLACE}"
GATEWAY = {"cloud_nat_region": "europe-west3", "cloud_nat_router": "a-router", "cloud_nat_name": "a-nat"}
GIVEN = {
    "cloud_nat_measure": "given",
    "cloud_nat_concurrent": 700,
    "cloud_nat_new_per_second": 20,
    "cloud_nat_nodes": 40,
}
NEW = [f"{PLACE}/nat-2", f"{PLACE}/nat-3", f"{PLACE}/nat-4"]


def flows(concurrent: int, ports: int, rate: float = 0.0) -> dict[str, Any]:
    row = {"protocol": "tcp", "address": "203.0.113.10", "port": 443, "concurrent": concurrent, "ports": ports}
    return {
        "changed": False,
        "source": "netfilter",
        "reason": None,
        "left_out": 0,
        "destinations": [{**row, "new_per_second": rate, "time_wait": 0, "unreplied": 0}],
    }


BUSY, IDLE = flows(700, 3100, 20.0), flows(5, 5)
BLIND = {"changed": False, "source": "none", "reason": "it is {{ 7 * 7 }}", "destinations": None}


@pytest.fixture
def compute() -> Iterator[FakeCompute]:
    with FakeCompute() as server:
        server.add(
            nat(natIpAllocateOption="MANUAL_ONLY", natIps=[f"{LINK}/nat-1"], logConfig={"enable": True}), nat("another")
        )
        yield server


@pytest.fixture
def stage(tmp_path: Path, compute: FakeCompute) -> Stage:
    made = Stage(tmp_path)
    made.environment = {
        "GCP_PROJECT": "a-project",
        "GCP_AUTH_KIND": "accesstoken",
        "GCP_ACCESS_TOKEN": "given-token",
        "GCP_API_ENDPOINT": compute.url,
        "GCP_MONITORING_ENDPOINT": compute.url,
    }
    return made


def play(stage: Stage, *arguments: str, **variables: Any) -> Run:
    run = stage.play("cloud_nat", *arguments, **{**GATEWAY, **variables})
    assert "given-token" not in run.said
    assert "Traceback" not in run.said
    return run


def told(run: Run) -> dict[str, Any]:
    """The plan as it was shown."""
    found: dict[str, Any] = json.JSONDecoder().raw_decode(run.said.partition('"cloud_nat_result": ')[2])[0]
    return found


def changed(run: Run) -> int:
    return sum(map(int, re.findall(r"changed=(\d+)", run.said)))


def test_nodes_are_watched_and_a_plan_is_shown_and_printed_for_another_tool(stage: Stage, compute: FakeCompute) -> None:
    for name, answer in (("a", IDLE), ("b", BUSY), ("c", BLIND)):
        stage.actor(name, {"nat_flows_info": answer})
    run = play(stage, cloud_nat_nodes="40", cloud_nat_new_addresses=NEW, cloud_nat_emit="gcloud", cloud_nat_apply=True)
    assert (run.rc, changed(run), compute.calls("patch")) == (0, 0, [])
    made = told(run)
    assert made["load"]["busiest"] == {"name": "b", "protocol": "tcp", "destination": "203.0.113.10:443", "ports": 3100}
    # Text of a node is no template here.
    assert made["load"]["unmeasured"] == [{"name": "c", "reason": "it is {{ 7 * 7 }}"}]
    assert (made["plan"]["min_ports_per_vm"], made["plan"]["addresses"], made["new_addresses"]) == (4096, 3, 2)
    assert made["plan"]["now"]["verdict"] == "short"
    assert [each["target"] for each in made["changes"]] == ["nat_ips", "min_ports_per_vm"]
    assert "--min-ports-per-vm=4096" in made["emitted"]
    assert [each["consent"] for each in made["blocked"]] == [
        "cloud_nat_allow_unmeasured",
        "cloud_nat_allow_new_addresses",
    ]
    assert made["applied"] is False
    # The gateway's own timeouts are what nodes are told.
    assert re.search(r"time_wait\W+120", stage.called("a", "nat_flows_info"))


def test_a_plan_is_applied_with_each_consent_once(stage: Stage, compute: FakeCompute) -> None:
    stage.actor("a", {})
    variables = {**GIVEN, "cloud_nat_new_addresses": NEW, "cloud_nat_apply": "true"}
    found = copy.deepcopy(compute.nats())
    other = {**found, "a-nat": {**found["a-nat"], "udpIdleTimeoutSec": 60}}
    compute.meanwhile("routers.get", lambda: compute.change(*other.values()), nth=2)
    refused = play(stage, **variables)
    assert refused.rc == 2
    assert "Somebody changed the gateway while it was measured: run this again." in refused.said
    compute.change(*found.values())
    assert "Nothing was changed. it has 1 of the 3 addresses that it takes" in refused.said
    assert "(cloud_nat_allow_new_addresses allows it)" in refused.said
    variables["cloud_nat_allow_new_addresses"] = "true"
    checked = play(stage, "--check", **variables)
    assert (checked.rc, changed(checked), compute.calls("patch")) == (0, 1, [])
    done = play(stage, **variables)
    assert (done.rc, changed(done)) == (0, 1)
    kept = compute.nats()
    assert kept["a-nat"]["minPortsPerVm"] == 4096
    assert [each.rpartition("/")[2] for each in kept["a-nat"]["natIps"]] == ["nat-1", "nat-2", "nat-3"]
    assert (kept["a-nat"]["logConfig"], kept["another"]) == ({"enable": True}, nat("another"))
    again = play(stage, **variables)
    assert (again.rc, changed(again), told(again)["settings"], len(compute.calls("patch"))) == (0, 0, {}, 1)
    assert stage.calls("a") == []


def test_what_disrupts_takes_its_own_consent(stage: Stage, compute: FakeCompute) -> None:
    stage.actor("a", {})
    run = play(stage, **{**GIVEN, "cloud_nat_nodes": 10, "cloud_nat_dynamic": True, "cloud_nat_apply": True})
    assert "enable_dynamic_port_allocation" in [each["target"] for each in told(run)["disruptive"]]
    assert (run.rc, compute.calls("patch")) == (2, [])


def test_nobody_to_watch_fails(stage: Stage, compute: FakeCompute) -> None:
    stage.actor("a", {})
    run = play(stage, cloud_nat_hosts="nobody")
    assert run.rc == 2
    assert "Nothing was measured. The pattern nobody (cloud_nat_hosts) matches no host" in run.said
    assert compute.requests == []
