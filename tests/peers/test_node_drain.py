# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drains beside those of kubernetes.core.k8s_drain on the same fake clusters: the same pods go, and its defects are not ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError
from ansible_collections.bulwark.node.plugins.module_utils.kube.client import connect
from ansible_collections.bulwark.node.plugins.module_utils.kube.node_drain import NODE_DRAIN_SPEC, act
from ansible_collections.bulwark.node.tests.fakes import certificates
from ansible_collections.bulwark.node.tests.fakes.kube_api import FakeKube
from ansible_collections.bulwark.node.tests.fakes.kube_cluster import Cluster, Kubelets, owner_of

PEERS = Path(__file__).parents[2] / ".venv-peers/bin"
pytestmark = pytest.mark.skipif(not (PEERS / "ansible").exists(), reason="make peers makes the environment for it")
Build = Callable[[Cluster], object]


@dataclass(frozen=True)
class Ended:
    """How a drain of the node a ended: whether well, what is on it then, whether it is cordoned, and what was evicted or deleted how."""

    well: bool
    stay: list[str]
    cordoned: bool
    bodies: list[dict[str, Any]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> certificates.Certificates:
    return certificates.make(tmp_path_factory.mktemp("certificates"))


def theirs(kube: FakeKube, authority: str, home: Path, **options: Any) -> bool:
    """Drain by k8s_drain, which is told to wait; whether it says that it did."""
    asked = {"host": kube.url, "api_key": "cluster-admin", "ca_cert": authority, "name": "a", "state": "drain"}
    waits = {"ignore_daemonsets": True, "wait_timeout": 5, "wait_sleep": 1}
    given = json.dumps({**asked, "delete_options": {**waits, **options}})
    here = ["localhost", "-c", "local", "-i", "localhost,", "-e", f"ansible_python_interpreter={sys.executable}"]
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "no_proxy": "127.0.0.1"}
    command = [str(PEERS / "ansible"), *here, "-m", "kubernetes.core.k8s_drain", "-a", given]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)
    assert " => " in done.stdout, done.stdout + done.stderr
    return done.returncode == 0


def ours(kube: FakeKube, authority: str, **options: Any) -> bool:
    """Drain by the module, and whether the node is drained."""
    given = {name: spec.get("default") for name, spec in NODE_DRAIN_SPEC.items()}
    given |= {"state": "drained", "nodes": ["a"], "run_id": "run", "timeout": 15, **options}
    try:
        client = connect({"host": kube.url, "api_key": "cluster-admin", "ca_cert": authority})
        return bool(act(client, given, False, {})["nodes"][0]["state"] == "drained")
    except BulwarkError:
        return False


def both(
    made: certificates.Certificates, home: Path, build: Build, peer: dict[str, Any], mine: dict[str, Any]
) -> tuple[Ended, Ended]:
    """Theirs and ours, each in a cluster of its own that was built alike."""
    ended = []
    for drain in (
        lambda kube: theirs(kube, made.authority, home, **peer),
        lambda kube: ours(kube, made.authority, **mine),
    ):
        with FakeKube(tls=made.server) as kube:
            kube.store.prompt = True
            cluster = Cluster(kube.store)
            for name in ("a", "b"):
                cluster.node(name)
            build(cluster)
            with Kubelets(kube.store, 0.1):
                well = drain(kube)
            (node,) = [each for each in kube.store.all("nodes") if each["metadata"]["name"] == "a"]
            on_it = [each["metadata"]["name"] for each in kube.store.all("pods") if each["spec"]["nodeName"] == "a"]
            asked = [each for each in kube.requests if each.method in ("POST", "DELETE") and "dryRun" not in each.query]
            bodies = [each.body for each in asked if "/pods/" in each.path and isinstance(each.body, dict)]
            ended.append(Ended(well, sorted(on_it), bool(node["spec"].get("unschedulable")), bodies))
    return ended[0], ended[1]


def web(cluster: Cluster, **pod: Any) -> None:
    cluster.deployment("web", ["a", "a", "b"], "b", **pod)
    cluster.daemon_set("cni")
    cluster.pod("cni-a", "a", ("DaemonSet", "cni"), "kube-system")


def cache(cluster: Cluster) -> None:
    web(cluster)
    cluster.pod("cache", "a", volumes=[{"name": "x", "emptyDir": {}}])


def bare(cluster: Cluster) -> None:
    web(cluster)
    cluster.pod("bare", "a", None)


@pytest.mark.parametrize(
    ("build", "peer", "mine", "well", "stay"),
    [
        (web, {}, {}, True, ["cni-a"]),
        (web, {"disable_eviction": True}, {"disable_eviction": True}, True, ["cni-a"]),
        (cache, {}, {}, False, ["cache", "cni-a", "web-0", "web-1"]),
        (cache, {"delete_emptydir_data": True}, {"delete_emptydir_data": True}, True, ["cni-a"]),
        (bare, {}, {}, False, ["bare", "cni-a", "web-0", "web-1"]),
        (bare, {"force": True}, {"force": True}, True, ["cni-a"]),
    ],
)
def test_the_same_pods_go_and_the_same_are_refused(
    made: certificates.Certificates,
    tmp_path: Path,
    build: Build,
    peer: dict[str, Any],
    mine: dict[str, Any],
    well: bool,
    stay: list[str],
) -> None:
    first, second = both(made, tmp_path, build, peer, mine)
    assert ((first.well, first.stay), (second.well, second.stay)) == ((well, stay), (well, stay))


def closed_at_first(cluster: Cluster) -> None:
    cluster.deployment("web", ["a", "a", "b"], "b")
    cluster.budget("web", {"app": "web"}, maxUnavailable=1)


def bare_cache(cluster: Cluster) -> None:
    cluster.pod("bare", "a", None, volumes=[{"name": "x", "emptyDir": {}}])


def owned(cluster: Cluster) -> None:
    """By something that is no controller, and so would not bring it back."""
    cluster.pod("owned", "a", None)
    owner = {**owner_of("ReplicaSet", "web"), "controller": False}
    cluster.store.edit("pods", "default", "owned", {"metadata": {"ownerReferences": [owner]}})


def endless(cluster: Cluster) -> None:
    cluster.pod("endless", "a", finalizers=["example.org/x"])


@pytest.mark.parametrize(
    ("build", "peer", "mine", "theirs_then", "ours_then"),
    [
        # The first 429 is the end of it (kubernetes.core#474).
        (closed_at_first, {}, {}, (False, 1), (True, 0)),
        # A pod that nobody brings back goes with its emptyDir, without force.
        (bare_cache, {"delete_emptydir_data": True}, {"delete_emptydir_data": True}, (True, 0), (False, 1)),
        # Whatever is an owner counts as a controller.
        (owned, {}, {}, (True, 0), (False, 1)),
        # What is not gone in time is a success (with a warning).
        (endless, {"wait_timeout": 2}, {"timeout": 2}, (True, 1), (False, 1)),
    ],
)
def test_its_defects_are_not_ours(
    made: certificates.Certificates,
    tmp_path: Path,
    build: Build,
    peer: dict[str, Any],
    mine: dict[str, Any],
    theirs_then: tuple[bool, int],
    ours_then: tuple[bool, int],
) -> None:
    first, second = both(made, tmp_path, build, peer, mine)
    assert ((first.well, len(first.stay)), (second.well, len(second.stay))) == (theirs_then, ours_then)
    # What fails is not left cordoned by us.
    assert second.cordoned is second.well


def test_a_grace_of_no_seconds_is_sent_and_so_is_the_uid(made: certificates.Certificates, tmp_path: Path) -> None:
    first, second = both(
        made, tmp_path, lambda cluster: cluster.pod("x", "a"), {"terminate_grace_period": 0}, {"grace_period": 0}
    )
    (their_body,), (our_body,) = first.bodies, second.bodies
    assert "gracePeriodSeconds" not in (their_body.get("deleteOptions") or {})
    assert "preconditions" not in (their_body.get("deleteOptions") or {})
    assert our_body["deleteOptions"]["gracePeriodSeconds"] == 0
    assert our_body["deleteOptions"]["preconditions"]["uid"]
