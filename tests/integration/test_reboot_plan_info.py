# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module reboot_plan_info, run by the real ansible beside a cluster on loopback."""

from __future__ import annotations

import pytest

from ansible_collections.bulwark.node.tests.fakes.kube_api import FakeKube, User
from ansible_collections.bulwark.node.tests.fakes.kube_objects import node, pod

from .conftest import Module

TOKEN = "a-token-that-nobody-shall-see"
CONTROL = {"node-role.kubernetes.io/control-plane": ""}
REBOOTING = {"bulwark.node/rebooting": '{"run": "r1", "at": "2026-11-21T12:00:00Z", "boot_id": "x", "pods": []}'}


def zone(name: str) -> dict[str, str]:
    return {"topology.kubernetes.io/zone": name}


@pytest.mark.parametrize("check", [False, True])
def test_a_cluster_is_planned_in_one_task_and_nothing_is_changed(module: Module, check: bool) -> None:
    with FakeKube() as kube:
        for name in ("w1", "w2", "w3"):
            kube.store.add("nodes", node(name, labels=zone("a")))
        kube.store.add("nodes", node("w4", labels=zone("b"), annotations=REBOOTING))
        for name in ("m1", "m2", "m3"):
            kube.store.add("nodes", node(name, labels=CONTROL))
            kube.store.add("pods", pod(f"etcd-{name}", name, "kube-system", labels={"component": "etcd"}))
        kube.store.add("pods", pod("x", "w3", labels={"app": "db"}))
        before = kube.store.version
        asked = {
            "host": kube.url,
            "api_key": "cluster-admin",
            "nodes": [
                *({"name": name, "required": True, "since": 1795100000} for name in ("m1", "w2", "w3")),
                {"name": "w1", "host": "w1.example.org", "required": True, "since": 1795000000},
                {"name": "w4", "required": False},
                {"name": "m2", "required": None},
                {"name": "m3", "error": "Connection refused"},
                {"name": "gone", "required": True},
            ],
            "limits": {"blocking_pod_selectors": ["app=db"], "max_unavailable": "2"},
            "concurrency": 3,
        }
        ran = module("reboot_plan_info", asked, check=check)
        assert kube.store.version == before
        assert {request.method for request in kube.requests} == {"GET"}
    assert (ran["changed"], ran["open"], ran["reasons"]) == (False, True, [])
    assert [(each["nodes"], each["hosts"], each["interrupted"], each["may_begin"]) for each in ran["batches"]] == [
        (["w4"], ["w4"], True, True),
        (["w1", "w2"], ["w1.example.org", "w2"], False, True),
        (["m1"], ["m1"], False, True),
    ]
    assert {each["name"]: each["state"] for each in ran["nodes"] if each["batch"] is None} == {
        "w3": "blocked",
        "m2": "unknown",
        "m3": "not_asked",
        "gone": "absent",
    }
    assert ran["down"] == [{"name": "w4", "why": "w4 is being rebooted"}]
    assert ran["table"][0] == "4 of 8 nodes are to be rebooted; batches: 3"


def test_a_cluster_that_refuses_is_a_reason_and_does_not_fail_the_task(module: Module) -> None:
    with FakeKube() as kube:
        kube.tokens[TOKEN] = User("nobody")
        ran = module(
            "reboot_plan_info", {"host": kube.url, "api_key": TOKEN, "nodes": [{"name": "a", "required": True}]}
        )
    assert (ran.failed, ran["open"], ran["batches"]) == (False, False, [])
    assert ran["nodes"][0]["state"] == "blocked"
    assert 'User "nobody" cannot list' in ran["reasons"][0]["detail"]
    assert TOKEN not in ran.output


def test_a_wrong_option_fails_before_anything_is_asked(module: Module) -> None:
    with FakeKube() as kube:
        at = {"host": kube.url, "api_key": "cluster-admin"}
        ran = module("reboot_plan_info", {**at, "nodes": [{"name": "a"}, {"name": "b"}, {"name": "a"}]})
        assert ran["msg"] == "reboot_plan_info: nodes[2].name: got 'a', expected one of its own: nodes[0] has it too"
        ran = module("reboot_plan_info", {**at, "nodes": [], "concurrency": 0})
        assert ran["msg"] == "reboot_plan_info: concurrency: got 0, expected a number of nodes, from 1 to 1000"
        assert kube.requests == []
