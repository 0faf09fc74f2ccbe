# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules reboot_lock and reboot_lock_info, run by the real ansible beside an API server on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.tests.fakes import kured
from ansible_collections.bulwark.node.tests.fakes.kube_api import FakeKube, User
from ansible_collections.bulwark.node.tests.fakes.kured import ANNOTATION
from ansible_collections.bulwark.node.tests.hosts.adhoc import Ran

from .conftest import Module

TOKEN = "a-token-that-nobody-shall-see"
PLACE = f"DaemonSet kube-system/kured, annotation {ANNOTATION}"


@pytest.fixture
def kube(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKube]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with FakeKube() as server:
        server.tokens[TOKEN] = server.tokens["cluster-admin"]
        for name in ("a", "b", "c"):
            server.store.add("nodes", {"metadata": {"name": name}})
        yield server


class Runs:
    """The module on one server, as one run after another."""

    def __init__(self, module: Module, kube: FakeKube) -> None:
        self.module, self.kube = module, kube

    def __call__(self, run: str, node: str, state: str = "held", check: bool = False, **options: Any) -> Ran:
        named = {"run_id": run, "node": node, "state": state, "host": self.kube.url, "api_key": TOKEN}
        return self.module("reboot_lock", {**named, **options}, check=check)

    def info(self, **options: Any) -> Ran:
        return self.module("reboot_lock_info", {"host": self.kube.url, "api_key": TOKEN, **options})


@pytest.fixture
def runs(module: Module, kube: FakeKube) -> Runs:
    return Runs(module, kube)


def annotation(kube: FakeKube) -> str | None:
    (item,) = kube.store.all("daemonsets.apps")
    text: str | None = item["metadata"]["annotations"].get(ANNOTATION)
    return text


def test_beside_kured_it_is_taken_renewed_refused_and_released(kube: FakeKube, runs: Runs) -> None:
    kube.store.add("daemonsets.apps", kured.daemon_set("--concurrency=2"))
    told = runs("r1", "a", check=True, concurrency=1)
    assert (told["changed"], told["held"], annotation(kube)) == (True, True, None)
    ran = runs("r1", "a", concurrency=1)
    assert (ran["changed"], ran["renewed"], ran["backend"], ran["place"]) == (True, False, "kured", PLACE)
    for each in (told, ran):
        assert '+            "id": "ansible:r1:a",' in each.output
    text = annotation(kube)
    assert text is not None
    assert [taken.node for taken in kured.multiple(text)] == ["ansible:r1:a", "ansible-reserved:2"]
    for check in (True, False):
        again = runs("r1", "a", check=check, concurrency=1)
        assert (again["changed"], again["renewed"], again["held"]) == (False, True, True)
    refused = runs("r2", "b", check=True, concurrency=1)
    assert (refused.failed, refused["changed"], refused["held"]) == (True, False, False)
    assert refused["msg"] == f"reboot_lock: {PLACE}: not taken for b: {refused['reason']}"
    assert [(each["node"], each["ours"]) for each in refused["holders"]] == [("a", False)]
    found = runs.info(run_id="r1", node="a")
    assert (found["held"], found["concurrency"], found["holders"]) == (True, 2, ran["holders"])
    assert runs("r1", "a", "absent", check=True)["changed"]
    released = runs("r1", "a", "absent")
    assert (released["changed"], released["held"], released["holders"], annotation(kube)) == (True, False, [], None)
    assert not runs("r1", "a", "absent")["changed"]
    assert TOKEN not in released.output + refused.output + found.output


def test_a_value_that_stops_kured_is_told_and_repaired_only_by_force(kube: FakeKube, runs: Runs) -> None:
    broken = '{"nodeID":"n1","created":"2026-01-02T03:04:05Z","TTL":1.8e12}'
    kube.store.add("daemonsets.apps", kured.daemon_set())
    kube.store.edit("daemonsets.apps", "kube-system", "kured", {"metadata": {"annotations": {ANNOTATION: broken}}})
    found = runs.info(run_id="r", node="a")
    assert (found["holders"], found["held"]) == (None, None)
    assert "a number is 1800000000000.0, which kured does not take" in found["reason"]
    assert runs("r", "a").failed
    assert not runs("r", "a", "absent")["changed"]
    assert annotation(kube) == broken
    assert runs("r", "a", "absent", force=True)["changed"]
    assert annotation(kube) is None


def test_without_kured_it_is_a_lease_and_without_a_cluster_a_file(
    kube: FakeKube, runs: Runs, module: Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = runs("r", "a", lease={"name": "reboots"})
    assert (ran["backend"], ran["place"]) == ("lease", "Lease kube-system/reboots")
    (lease,) = kube.store.all("leases.coordination.k8s.io")
    assert lease["spec"]["holderIdentity"] == "ansible:r:a"
    assert runs("r", "a", backend="kured").failed
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    path = str(tmp_path / "lock.json")
    ran = module("reboot_lock", {"run_id": "r", "node": "a", "path": path})
    assert (ran["backend"], ran["place"], ran["changed"]) == ("file", path, True)
    assert module("reboot_lock_info", {"run_id": "r", "path": path})["holders"] == ran["holders"]


def test_what_cannot_be_asked_is_never_taken_for_no_kured(kube: FakeKube, runs: Runs) -> None:
    kube.tokens[TOKEN] = User("ci")
    refused = runs("r", "a")
    assert refused.failed
    assert refused["msg"].startswith("reboot_lock: list daemonsets.apps as ci: 403")
    assert refused["rbac_rule"] == {"apiGroups": ["apps"], "resources": ["daemonsets"], "verbs": ["list"]}
    found = runs.info()
    assert (found.failed, found["backend"], found["holders"]) == (False, None, None)
    assert "403" in found["reason"]


def test_a_wrong_option_fails_the_task_by_its_path(module: Module) -> None:
    ran = module("reboot_lock", {"run_id": "a:b", "node": "a"})
    assert ran.failed
    assert ran["msg"].startswith("reboot_lock: run_id: got 'a:b', expected letters")


def test_a_kubeconfig_s_secrets_are_shown_at_no_verbosity(
    module: Module, kube: FakeKube, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "ci"}}],
        "clusters": [{"name": "here", "cluster": {"server": kube.url}}],
        "users": [{"name": "ci", "user": {"token": TOKEN}}],
    }
    monkeypatch.setenv("ANSIBLE_VERBOSITY", "3")
    told = module("reboot_lock_info", {"kubeconfig": kubeconfig})
    assert told["place"] == "Lease kube-system/bulwark-reboot"
    assert "current-context" in told.output
    # Ansible itself shows how it was called.
    assert TOKEN not in str(told.result)
