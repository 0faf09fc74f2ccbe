# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module node_reboot, run by the real ansible beside a fake API server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.tests.fakes import kube_objects
from ansible_collections.bulwark.node.tests.fakes.kube_api import FakeKube
from ansible_collections.bulwark.node.tests.fakes.kube_cluster import Cluster

from .conftest import Module

LONG_AGO = "2026-01-01T00:00:00Z"


@pytest.fixture
def kube(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKube]:
    """A node with a pod of a DaemonSet."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with FakeKube() as server:
        server.store.add("nodes", kube_objects.node("a"))
        Cluster(server.store).pod("cni-a", "a", ("DaemonSet", "cni"), "kube-system")
        report(server, True, LONG_AGO)
        Cluster(server.store).daemon_set("cni")
        yield server


def report(kube: FakeKube, ready: bool, since: str) -> None:
    status = {"conditions": [kube_objects.condition("Ready", ready, since)]}
    kube.store.edit("pods", "kube-system", "cni-a", {"status": status})


def reboot(kube: FakeKube) -> None:
    """The Node has another boot id, and its pod is not Ready yet."""
    kube.store.edit("nodes", "", "a", {"status": {"nodeInfo": {"bootID": "boot-2"}}})
    report(kube, False, kube.store.stamp())


def options(kube: FakeKube, state: str, run: str = "ours", **more: Any) -> dict[str, Any]:
    return {"host": kube.url, "api_key": "cluster-admin", "state": state, "name": "a", "run_id": run, **more}


def ours(kube: FakeKube) -> list[str]:
    (node,) = kube.store.all("nodes")
    return sorted(name for name in node["metadata"]["annotations"] if name.startswith("bulwark"))


def test_check_then_run_then_again_and_proved_in_slices_under_the_lock(kube: FakeKube, module: Module) -> None:
    begin = options(kube, "begun", boot_id="boot-of-a", taint="reboot=soon")
    version = kube.store.version
    assert module("node_reboot", begin, check=True)["changed"] is True
    assert kube.store.version == version
    assert module("node_reboot", begin)["record"]["pods"] == ["kube-system/cni"]
    assert module("node_reboot", begin)["changed"] is False
    reboot(kube)
    server = {"host": kube.url, "api_key": "cluster-admin"}
    held = {"node": "a", "run_id": "ours", "ttl": 10, "backend": "lease"}
    assert module("reboot_lock", {**server, **held})["held"] is True
    kube.requests.clear()
    back = threading.Timer(6, report, (kube, True, "2026-01-02T04:00:00Z"))
    back.start()
    ran = module("node_reboot", options(kube, "proven", boot_id="boot-2", stable_for=2, slice=2, lock=held))
    back.join()
    assert (ran.failed, ran["changed"], ran["finished"]) == (False, True, True)
    assert (ran["proof"]["boot_id"], ran["proof"]["pods"]) == ("boot-2", ["kube-system/cni"])
    assert ran["held"] >= 2
    assert "node_reboot: a: not proved yet, seconds of the timeout: 17" in ran.output
    assert "  pod: DaemonSet kube-system/cni: pod cni-a is not Ready" in ran.output
    # At first, and after a third of its time.
    assert len([each for each in kube.requests if each.path.endswith("/leases/bulwark-reboot")]) >= 2
    ended = module("node_reboot", options(kube, "ended", taint="reboot"))
    assert (ended["changed"], ours(kube)) == (True, ["bulwark.node/rebooted"])
    assert sorted(each["reason"] for each in kube.store.all("events")) == ["RebootBegun", "RebootEnded", "RebootProven"]


def test_what_is_refused_and_what_is_only_warned_of(kube: FakeKube, module: Module) -> None:
    kube.fault(path="/events", times=9, status=403, reason="Forbidden")
    assert (
        "the event RebootBegun was not written"
        in module("node_reboot", options(kube, "begun", boot_id="boot-of-a")).output
    )
    ran = module("node_reboot", options(kube, "ended"))
    assert ran.failed
    assert ran["msg"].startswith("node_reboot: a: its reboot is not proved, so it cannot end")
    ran = module("node_reboot", options(kube, "proven", boot_id="boot-2", timeout=2))
    assert (ran.failed, ran["missing"]) == (
        True,
        [{"what": "boot_id", "detail": "the machine has boot-2, the Node boot-of-a"}],
    )
    assert ours(kube) == ["bulwark.node/rebooting"]


def test_killed_while_it_waits_and_taken_up_by_another_run(kube: FakeKube, module: Module) -> None:
    assert module("node_reboot", options(kube, "begun", boot_id="boot-of-a"))["changed"] is True
    reboot(kube)
    ansible = [str(Path(sys.executable).parent / "ansible"), "localhost", "-c", "local", "-i", "localhost,"]
    arguments = ["-e", f"ansible_python_interpreter={sys.executable}", "-m", "bulwark.node.node_reboot"]
    kube.requests.clear()
    running = subprocess.Popen(
        [*ansible, *arguments, "-a", json.dumps(options(kube, "proven", boot_id="boot-2"))],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        end = time.monotonic() + 60
        while not kube.requests and time.monotonic() < end:
            time.sleep(0.02)
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    taken = module("node_reboot", options(kube, "begun", run="next", boot_id="boot-2"))
    assert (taken["resumed"], taken["rebooted"], taken["record"]["boot_id"]) == (True, True, "boot-of-a")
    report(kube, True, kube.store.stamp())
    assert module("node_reboot", options(kube, "proven", run="next", boot_id="boot-2"))["finished"] is True
    assert module("node_reboot", options(kube, "ended", run="next"))["changed"] is True
    assert ours(kube) == ["bulwark.node/rebooted"]
