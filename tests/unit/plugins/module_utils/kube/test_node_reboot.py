# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a reboot in a fake cluster: its states, who may go on with it, and what a killed run leaves."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError
from ansible_collections.bulwark.node.plugins.module_utils.kube.annotations import QUARANTINED, REBOOTED, REBOOTING
from ansible_collections.bulwark.node.plugins.module_utils.kube.client import Client
from ansible_collections.bulwark.node.plugins.module_utils.kube.node_reboot import NODE_REBOOT_SPEC, act
from ansible_collections.bulwark.node.tests.fakes import kube_objects
from ansible_collections.bulwark.node.tests.fakes.kube_api import FakeKube
from ansible_collections.bulwark.node.tests.fakes.kube_cluster import Cluster
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.kube.conftest import connected
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.kube.test_node_drain import ClusterTime

BEFORE, AFTER = "boot-of-a", "boot-2"


class Node:
    """Node a of a fake cluster, with a pod of DaemonSet kube-system/cni, and the module called for it."""

    def __init__(self, kube: FakeKube) -> None:
        self.kube = kube
        self.time = ClusterTime(kube)
        self.client: Client = connected(kube, self.time)
        self.cluster = Cluster(kube.store)
        kube.store.add("nodes", kube_objects.node("a"))
        self.cluster.daemon_set("cni")
        self.cluster.pod("cni-a", "a", ("DaemonSet", "cni"), "kube-system")
        self.pod("cni-a", True, "2026-01-01T00:00:00Z")

    def pod(self, name: str, ready: bool, since: str) -> None:
        """What its kubelet reports of a pod."""
        status = {"conditions": [kube_objects.condition("Ready", ready, since)]}
        self.kube.store.edit("pods", "kube-system", name, {"status": status})

    def boots(self, boot_id: str = AFTER, pods: bool = True) -> None:
        """It reboots, and its kubelet reports."""
        status = {"nodeInfo": {"bootID": boot_id}, "conditions": [kube_objects.condition("Ready")]}
        self.kube.store.edit("nodes", "", "a", {"status": status})
        if pods:
            self.pod("cni-a", True, self.kube.store.stamp())

    def __call__(self, state: str, check: bool = False, run: str = "run-1", **params: Any) -> dict[str, Any]:
        given = {name: spec.get("default") for name, spec in NODE_REBOOT_SPEC.items()}
        return act(self.client, {**given, "state": state, "name": "a", "run_id": run, **params}, check)

    def failing(self, *args: Any, **params: Any) -> BulwarkError:
        with pytest.raises(BulwarkError) as caught:
            self(*args, **params)
        return caught.value

    @property
    def item(self) -> dict[str, Any]:
        (found,) = self.kube.store.all("nodes")
        return found

    def annotation(self, name: str) -> Any:
        text = self.item["metadata"]["annotations"].get(name)
        return json.loads(text) if text and text.startswith("{") else text

    def events(self) -> list[tuple[str, str]]:
        return [(each["reason"], each["message"]) for each in self.kube.store.all("events")]


@pytest.fixture
def node(kube: FakeKube) -> Node:
    return Node(kube)


def test_a_reboot_from_its_begin_to_its_end(node: Node) -> None:
    begun = node("begun", boot_id=BEFORE)
    assert (begun["changed"], begun["resumed"], begun["rebooted"]) == (True, False, False)
    assert begun["ready_pods"] == begun["record"]["pods"] == ["kube-system/cni"]
    assert node.annotation(REBOOTING) == {
        "run": "run-1",
        "at": "2026-01-02T03:04:05Z",
        "boot_id": BEFORE,
        "pods": {"kube-system/cni": "2026-01-01T00:00:00Z"},
        "proven": None,
    }
    node.boots()
    proven = node("proven", boot_id=AFTER)
    assert (proven["changed"], proven["finished"], proven["missing"]) == (True, True, [])
    assert proven["proof"] == {
        "boot_id": AFTER,
        "ready_since": "2026-01-01T00:00:00Z",
        "pods": ["kube-system/cni"],
        "left": [],
    }
    ended = node("ended")
    assert (ended["changed"], ended["record"]) == (True, None)
    assert (node.annotation(REBOOTING), node.annotation(REBOOTED)) == (None, "2026-01-02T03:04:05Z")
    assert [reason for reason, message in node.events()].sort() == ["RebootBegun", "RebootEnded", "RebootProven"].sort()


def test_another_run_takes_it_up_where_it_was_left(node: Node) -> None:
    node("begun", boot_id=BEFORE)
    node.boots()
    node.pod("cni-a", False, "2026-01-02T00:00:00Z")
    taken = node("begun", run="run-2", boot_id=AFTER)
    assert (taken["changed"], taken["resumed"], taken["rebooted"], taken["ready_pods"]) == (True, True, True, [])
    assert (taken["record"]["run"], taken["record"]["boot_id"], taken["record"]["pods"]) == (
        "run-2",
        BEFORE,
        ["kube-system/cni"],
    )
    assert "run run-2 took its reboot over" in str(node.failing("ended"))


def test_a_node_that_does_not_come_back_is_told_of_and_quarantined(node: Node) -> None:
    node("begun", boot_id=BEFORE)
    error = node.failing("proven", boot_id=AFTER, timeout=20)
    assert str(error) == "a: not proved within 20 s that it is back: the machine has boot-2, the Node boot-of-a"
    assert error.details["missing"] == [{"what": "boot_id", "detail": "the machine has boot-2, the Node boot-of-a"}]
    node("quarantined", reason="it did not come back")
    assert node.item["spec"]["unschedulable"] is True
    assert node.annotation(QUARANTINED)["reason"] == "it did not come back"
    assert "quarantined by run run-1" in str(node.failing("begun", run="run-2", boot_id=BEFORE))
    lifted = node("begun", run="run-2", boot_id=BEFORE, lift_quarantine=True)
    assert (lifted["resumed"], lifted["rebooted"], lifted["quarantine"]) == (True, False, None)
