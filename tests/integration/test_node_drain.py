# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module node_drain, run by the real ansible beside a fake API server whose kubelets take real time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.tests.fakes.kube_api import FakeKube
from ansible_collections.bulwark.node.tests.fakes.kube_cluster import Cluster, Kubelets

from .conftest import Module


@pytest.fixture
def kube(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKube]:
    """Three nodes, and pods that take half a second to end."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with FakeKube() as server:
        server.store.prompt = True
        cluster = Cluster(server.store)
        for name in ("a", "b", "spare"):
            cluster.node(name)
        cluster.deployment("web", ["a", "a", "b"], "spare")
        with Kubelets(server.store, 0.5):
            yield server


def options(kube: FakeKube, **more: Any) -> dict[str, Any]:
    return {"host": kube.url, "api_key": "cluster-admin", "state": "drained", "nodes": ["a"], **more}


def unschedulable(kube: FakeKube) -> list[str]:
    return [node["metadata"]["name"] for node in kube.store.all("nodes") if node["spec"].get("unschedulable")]


def test_check_then_run_then_again_and_open(kube: FakeKube, module: Module) -> None:
    version = kube.store.version
    ahead = module("node_drain", options(kube), check=True)
    assert (ahead.failed, ahead["changed"], kube.store.version) == (False, True, version)
    ran = module("node_drain", options(kube))
    assert (ran.failed, ran["changed"], ran["finished"]) == (False, True, True)
    assert {pod["name"]: pod["state"] for pod in ran["pods"]} == {"web-0": "gone", "web-1": "gone"}
    assert unschedulable(kube) == ["a"]
    for check in (True, False):
        assert module("node_drain", options(kube), check=check)["changed"] is False
    assert module("node_drain", options(kube, state="uncordoned"))["changed"] is True
    assert unschedulable(kube) == []


def test_slices_are_one_task_that_says_what_it_waits_for(kube: FakeKube, module: Module) -> None:
    Cluster(kube.store).budget("web", {"app": "web"}, maxUnavailable=1)
    ran = module("node_drain", options(kube, slice=2))
    assert (ran.failed, ran["finished"], ran["changed"]) == (False, True, True)
    assert "node_drain: a: pods left: 1, " in ran.output
    assert " waits for budget: The disruption budget web needs " in ran.output
    assert [(pod["state"], pod["verdict"], pod["budget"]) for pod in ran["pods"]] == [("gone", "slow", "web")] * 2
    # The dry runs of the first slice, and no more.
    assert len([each for each in kube.requests if "dryRun" in each.query]) == 2
    assert max(pod["attempts"] for pod in ran["pods"]) >= 2


def test_what_cannot_be_drained_fails_and_tells_all(kube: FakeKube, module: Module) -> None:
    Cluster(kube.store).budget("web", {"app": "web"}, minAvailable=3)
    for check in (True, False):
        ran = module("node_drain", options(kube), check=check)
        assert ran.failed
        assert (
            "node_drain: this cannot come to its end, and nothing was evicted: a: default/web-0: budget web"
            in ran["msg"]
        )
        assert [pod["verdict"] for pod in ran["pods"]] == ["impossible"] * 2
    assert unschedulable(kube) == []


def test_killed_in_the_middle_and_taken_up_again(kube: FakeKube, module: Module) -> None:
    Cluster(kube.store).budget("web", {"app": "web"}, maxUnavailable=1)
    ansible = [str(Path(sys.executable).parent / "ansible"), "localhost", "-c", "local", "-i", "localhost,"]
    arguments = ["-e", f"ansible_python_interpreter={sys.executable}", "-m", "bulwark.node.node_drain"]
    running = subprocess.Popen(
        [*ansible, *arguments, "-a", json.dumps(options(kube))],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        end = time.monotonic() + 60
        while len(kube.store.all("pods")) < 4 and time.monotonic() < end:
            time.sleep(0.02)
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    assert unschedulable(kube) == ["a"]
    ran = module("node_drain", options(kube))
    assert (ran.failed, ran["finished"]) == (False, True)
    assert [pod for pod in kube.store.all("pods") if pod["spec"]["nodeName"] == "a"] == []
    assert module("node_drain", options(kube, state="uncordoned"))["changed"] is True


def test_the_lock_is_renewed_meanwhile_and_without_it_nothing_goes(kube: FakeKube, module: Module) -> None:
    cluster = Cluster(kube.store)
    cluster.deployment("db", ["a", "a", "a"], "spare")
    cluster.budget("db", {"app": "db"}, maxUnavailable=1)
    server = {"host": kube.url, "api_key": "cluster-admin", "backend": "lease"}
    held = {"node": "a", "run_id": "ours", "ttl": 10, "backend": "lease"}
    assert module("reboot_lock", {**server, **held})["held"] is True
    kube.requests.clear()
    ran = module("node_drain", options(kube, slice=2, lock=held))
    assert (ran.failed, ran["finished"]) == (False, True)
    # At first, and after a third of its time.
    assert len([each for each in kube.requests if each.path.endswith("/leases/bulwark-reboot")]) >= 2
    assert module("node_drain", options(kube, state="uncordoned"))["changed"] is True
    assert module("reboot_lock", {**server, "node": "a", "run_id": "theirs", "takeover": True})["held"] is True
    cluster.deployment("api", ["a"], "spare")
    ran = module("node_drain", options(kube, slice=2, lock=held))
    assert ran.failed
    assert "node_drain: the lock could not be renewed, and nothing was begun: reboot_lock: " in ran["msg"]
    assert [pod["metadata"]["name"] for pod in kube.store.all("pods") if pod["spec"]["nodeName"] == "a"] == ["api-0"]
    assert unschedulable(kube) == []
