# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules for Cloud NAT, run by the real ansible, beside compute, Cloud Monitoring and token servers on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.tests.fakes.compute_api import ROUTER, FakeCompute, nat
from ansible_collections.bulwark.node.tests.fakes.google_monitoring import Series
from ansible_collections.bulwark.node.tests.fakes.google_tokens import ACCOUNT

from .conftest import Module

TOKEN = "ya29.a-token-that-nobody-shall-see"
WHERE = {"project": "a-project", "region": "europe-west3", "router": "a-router"}


@pytest.fixture
def compute(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCompute]:
    """Compute with a router of two NATs, and an environment without anybody's account and proxy."""
    for name in [*os.environ]:
        if name.startswith(("GCP_", "GCE_", "GOOGLE_", "CLOUDSDK_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    with FakeCompute() as server:
        server.add(nat("other", minPortsPerVm=256), nat())
        server.tokens.taken[TOKEN] = "accesstoken"
        yield server


def reach(compute: FakeCompute) -> dict[str, Any]:
    return {**WHERE, "api_endpoint": compute.url, "monitoring_endpoint": compute.url}


def by_token(compute: FakeCompute, **options: Any) -> dict[str, Any]:
    return {**reach(compute), "auth_kind": "accesstoken", "access_token": TOKEN, **options}


def test_a_check_is_what_the_run_does_and_a_second_run_changes_nothing(module: Module, compute: FakeCompute) -> None:
    options = by_token(
        compute, name="a-nat", min_ports_per_vm=128, log_config={"enable": True, "filter": "ERRORS_ONLY"}
    )
    before = json.dumps(compute.routers)
    ahead = module("gcp_compute_router_nat", options, check=True)
    assert json.dumps(compute.routers) == before
    done = module("gcp_compute_router_nat", options)
    again = module("gcp_compute_router_nat", options)
    assert [ran["changed"] for ran in (ahead, done, again)] == [True, True, False]
    assert (ahead["changes"], ahead["before"], ahead["after"]) == (done["changes"], done["before"], done["after"])
    # --diff shows both sides of each field.
    for ran in (ahead, done):
        assert '-    "min_ports_per_vm": 64,' in ran.output
        assert '+    "min_ports_per_vm": 128,' in ran.output
    assert "min_ports_per_vm" not in again.output.partition(" => ")[0]
    assert compute.nats()["other"] == nat("other", minPortsPerVm=256)
    assert compute.nats()["a-nat"]["logConfig"] == {"enable": True, "filter": "ERRORS_ONLY"}


def test_a_nat_is_made_and_deleted_with_consent(module: Module, compute: FakeCompute) -> None:
    ranges = "ALL_SUBNETWORKS_ALL_IP_RANGES"
    made = by_token(compute, name="new", nat_ip_allocate_option="AUTO_ONLY", source_subnetwork_ip_ranges_to_nat=ranges)
    assert module("gcp_compute_router_nat", made)["changes"][0]["kind"] == "create"
    gone = by_token(compute, name="new", state="absent")
    for check in (True, False):
        ran = module("gcp_compute_router_nat", gone, check=check)
        assert (ran.failed, ran["changed"], ran["disruptive"][0]["target"]) == (True, False, "state")
        assert ran["msg"].startswith("gcp_compute_router_nat: new: this would disrupt: state: all connections")
    assert module("gcp_compute_router_nat", {**gone, "allow_disruption": True})["after"] is None
    assert set(compute.nats()) == {"other", "a-nat"}


def test_a_writer_who_was_faster_is_not_overwritten_and_an_owner_is_warned_of(
    module: Module, compute: FakeCompute
) -> None:
    compute.routers[ROUTER]["description"] = "Managed by Terraform"

    def written() -> None:
        compute.routers[ROUTER]["nats"][0]["minPortsPerVm"] = 512

    compute.meanwhile("routers.get", written, nth=2)
    ran = module("gcp_compute_router_nat", by_token(compute, name="a-nat", udp_idle_timeout_sec=60))
    assert (ran["changed"], ran["owner"]["tool"]) == (True, "terraform")
    assert ran.warns("the router is managed by terraform")
    assert compute.nats()["other"]["minPortsPerVm"] == 512


def test_what_the_api_refuses_fails_the_task_without_a_traceback(module: Module, compute: FakeCompute) -> None:
    compute.denied = {"compute.routers.patch"}
    ran = module("gcp_compute_router_nat", by_token(compute, name="a-nat", udp_idle_timeout_sec=60))
    assert (ran.failed, ran["changed"], ran["status"], ran["reason"]) == (True, False, 403, "forbidden")
    assert "has the right compute.routers.patch" in ran["msg"]
    ran = module("gcp_compute_router_nat", by_token(compute, name="a-nat", min_ports_per_vm=1))
    assert ran["msg"] == (
        "gcp_compute_router_nat: min_ports_per_vm: got 1, expected from 2 to 57344, or with dynamic port allocation to 32768"
    )


@pytest.mark.parametrize("check", [False, True])
def test_what_is_in_force_and_used_is_told_and_nothing_is_changed(
    module: Module, compute: FakeCompute, check: bool
) -> None:
    ports = {"sourceVirtualIp": "10.0.0.2", "numTotalNatPorts": 64}
    compute.mappings[ROUTER] = [{"instanceName": "vm", "interfaceNatMappings": [ports]}]
    labels = {"router_id": "4810412398423984", "nat_gateway_name": "a-nat", "ip_protocol": "TCP"}
    series = Series("compute.googleapis.com/nat/port_usage", labels, "1", name="vm", points={300: 61})
    compute.monitoring.series = [series]
    ran = module("gcp_compute_router_nat_info", by_token(compute, name="a-nat"), check=check)
    assert ran["changed"] is False
    (found,) = ran["nats"]
    assert (found["effective"]["min_ports_per_vm"], found["vms"][0]["ports"]) == (64, 64)
    assert found["vms"][0]["usage"]["port_usage"] == {"TCP": 61}
    assert {request.method for request in compute.requests} == {"GET"}


def verbose(name: str, options: dict[str, Any], environment: dict[str, str]) -> str:
    """All that ansible prints at -vvv of one run on this machine."""
    ansible = [
        str(Path(sys.executable).parent / "ansible"),
        "localhost",
        "-c",
        "local",
        "-i",
        "localhost,",
        "-vvv",
        "--diff",
    ]
    arguments = [
        "-e",
        f"ansible_python_interpreter={sys.executable}",
        "-m",
        f"bulwark.node.{name}",
        "-a",
        json.dumps(options),
    ]
    done = subprocess.run(
        [*ansible, *arguments],
        capture_output=True,
        text=True,
        timeout=180,
        env={**os.environ, **environment},
        check=False,
    )
    output = done.stdout + done.stderr
    assert "Traceback" not in output
    # The parameters are shown, so that what is missing was hidden.
    assert '"module_args"' in output
    return output


@pytest.mark.parametrize("form", ["dictionary", "text", "machineaccount", "application", "environment"])
def test_each_kind_of_credentials_gets_a_token_and_nothing_secret_is_shown(
    compute: FakeCompute, tmp_path: Path, form: str
) -> None:
    key = compute.tokens.service_account
    (tmp_path / "key.json").write_text(json.dumps(key))
    file = str(tmp_path / "key.json")
    kinds: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
        "dictionary": ({"auth_kind": "serviceaccount", "service_account_contents": key}, {}),
        "text": ({"auth_kind": "serviceaccount", "service_account_contents": json.dumps(key)}, {}),
        "machineaccount": (
            {"auth_kind": "machineaccount"},
            {"GCE_METADATA_HOST": compute.address, "GCE_METADATA_IP": compute.address},
        ),
        "application": ({"auth_kind": "application"}, {"GOOGLE_APPLICATION_CREDENTIALS": file}),
        "environment": ({}, {"GCP_AUTH_KIND": "accesstoken", "GCP_ACCESS_TOKEN": TOKEN}),
    }
    options, environment = kinds[form]
    output = verbose("gcp_compute_router_nat_info", {**reach(compute), **options, "usage_window": 0}, environment)
    assert "SUCCESS" in output
    # Of the key only what is secret is hidden.
    assert '"project": "a-project"' in output
    given = compute.requests[-1].headers["authorization"].removeprefix("Bearer ")
    assert compute.tokens.taken[given] == ("accesstoken" if form == "environment" else ACCOUNT)
    line = key["private_key"].splitlines()[1]
    assert [secret for secret in (*compute.tokens.taken, line, key["private_key_id"]) if secret in output] == []


@pytest.mark.parametrize("wrong", [{"nosuch": 1}, {"timeout": 0}])
def test_a_wrong_option_shows_no_secret_either(compute: FakeCompute, wrong: dict[str, Any]) -> None:
    key = compute.tokens.service_account
    options = {
        **reach(compute),
        "auth_kind": "serviceaccount",
        "service_account_contents": key,
        "name": "a-nat",
        **wrong,
    }
    output = verbose("gcp_compute_router_nat", options, {})
    assert "FAILED" in output
    assert key["private_key"].splitlines()[1] not in output
    assert key["private_key_id"] not in output
    assert compute.requests == []
