# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drains beside those of a real kubectl on the same fake clusters: the same pods go, the same are refused."""

from __future__ import annotations

import datetime
import itertools
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError
from ansible_collections.bulwark.node.plugins.module_utils.kube.client import connect
from ansible_collections.bulwark.node.plugins.module_utils.kube.node_drain import NODE_DRAIN_SPEC, act
from ansible_collections.bulwark.node.tests.fakes import certificates as fake_certificates
from ansible_collections.bulwark.node.tests.fakes.certificates import Certificates
from ansible_collections.bulwark.node.tests.fakes.kube_api import FakeKube
from ansible_collections.bulwark.node.tests.fakes.kube_cluster import Cluster, Kubelets

Kubectl = Callable[..., "subprocess.CompletedProcess[str]"]
Build = Callable[[Cluster], object]

# By a part of kubectl's message: our cause. What it has of each, it lists behind a colon.
_REFUSED = {
    "cannot delete DaemonSet-managed": "daemonset",
    "cannot delete .*local storage": "emptydir",
    "cannot delete .*(?:no controller|not managed by)": "unmanaged",
    'daemonsets.apps "gone" not found': "daemonset",
}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Without TLS kubectl gives nobody its token."""
    return fake_certificates.make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def kubectl(certificates: Certificates, tmp_path: Path) -> Kubectl:
    """``kubectl drain`` of a fake; without the program the test is skipped."""
    path = shutil.which("kubectl")
    if path is None:
        pytest.skip("there is no kubectl here (on Debian in the package kubernetes-client)")

    def run(kube: FakeKube, *arguments: str) -> subprocess.CompletedProcess[str]:
        # Not HOME: there may be a kubeconfig.
        environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
        server = ("--server", kube.url, "--certificate-authority", certificates.authority, "--token", "cluster-admin")
        cache = ("--cache-dir", str(tmp_path / "cache"))
        command = [path, *server, *cache, "drain", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)

    return run


def ours(kube: FakeKube, certificates: Certificates, check: bool = False, **params: Any) -> dict[str, Any]:
    """What the module returns, failed or not."""
    given = {name: spec.get("default") for name, spec in NODE_DRAIN_SPEC.items()}
    client = connect({"host": kube.url, "api_key": "cluster-admin", "ca_cert": certificates.authority})
    try:
        return act(client, {**given, "state": "drained", **params}, check, {})
    except BulwarkError as error:
        return error.details


# One pod each, of all that the filters look at.
OWNERS = {
    "set": ("ReplicaSet", "web"),
    "daemon": ("DaemonSet", "cni"),
    "orphan": ("DaemonSet", "gone"),
    "bare": None,
}
CASES = [
    *itertools.product(OWNERS, ("disk", "cache"), ("Running", "Succeeded"), ("api",)),
    *itertools.product(("bare", "daemon"), ("cache",), ("Running", "Pending"), ("mirror",)),
]


def every_pod(cluster: Cluster) -> list[str]:
    """A node for each of the cases, with one pod of the same name. Return the names."""
    cluster.daemon_set("cni", "default")
    names = []
    for owner, volume, phase, origin in CASES:
        name = f"{owner}-{volume}-{phase.lower()}-{origin}"
        names.append(name)
        cluster.store.add("nodes", {"metadata": {"name": name}, "spec": {}, "status": {}})
        cluster.pod(
            name,
            name,
            OWNERS[owner],
            phase=phase,
            volumes=[{"name": "x", "emptyDir": {}}] if volume == "cache" else [],
            annotations={"kubernetes.io/config.mirror": "x"} if origin == "mirror" else {},
        )
    return names


@pytest.mark.parametrize(
    ("force", "emptydir", "daemons"),
    [(False, False, False), (True, False, False), (False, True, True), (True, True, True)],
)
def test_each_kind_of_pod_meets_the_same_filter(
    kubectl: Kubectl, certificates: Certificates, force: bool, emptydir: bool, daemons: bool
) -> None:
    flags = {"--force": force, "--delete-emptydir-data": emptydir, "--ignore-daemonsets": daemons}
    with FakeKube(tls=certificates.server) as kube:
        names = every_pod(Cluster(kube.store))
        given = [flag for flag, wanted in flags.items() if wanted]
        # One by one: kubectl before 1.22 says no more once a node of several is refused.
        runs = [kubectl(kube, "--dry-run=client", name, *given) for name in names]
        consents = {"force": force, "delete_emptydir_data": emptydir, "ignore_daemonsets": daemons}
        result = ours(kube, certificates, check=True, nodes=names, **consents)
    theirs = dict.fromkeys(names, "leave")
    theirs.update(
        dict.fromkeys(
            re.findall(r"^evicting pod default/(\S+) \(dry run\)", "".join(run.stdout for run in runs), re.MULTILINE),
            "evict",
        )
    )
    refusals = "".join(run.stderr for run in runs)
    for part, cause in _REFUSED.items():
        for found in re.findall(rf"{part}[^:\n]*: (default/[^\n\]]+)", refusals):
            theirs.update({name: cause for name in re.findall(r"default/([a-z-]+)", found) if theirs[name] != "evict"})
    mine = {
        row["name"]: row["action"] if row["action"] != "refuse" else _cause(row["reason"]) for row in result["pods"]
    }
    assert mine == theirs
    # Refused are some, unless all is allowed.
    assert ({"evict", "leave"} < set(theirs.values())) is not (force and emptydir and daemons)


def _cause(reason: str) -> str:
    return next(
        cause
        for text, cause in {"DaemonSet": "daemonset", "emptyDir": "emptydir", "": "unmanaged"}.items()
        if text in reason
    )


def gone(cluster: Cluster) -> None:
    cluster.deployment("web", ["a", "a", "b"], "b")
    cluster.daemon_set("cni")
    cluster.pod("cni-a", "a", ("DaemonSet", "cni"), "kube-system")


def reused(cluster: Cluster) -> None:
    cluster.stateful_set("db", "a", "a", tolerations=[{"operator": "Exists"}])


def two_budgets(cluster: Cluster) -> None:
    gone(cluster)
    cluster.pod("x", "a", labels={"app": "x"})
    for name in ("one", "two"):
        cluster.budget(name, {"app": "x"}, maxUnavailable=1)


def closed_at_first(cluster: Cluster) -> None:
    cluster.deployment("web", ["a", "a", "b"], "b")
    cluster.budget("web", {"app": "web"}, maxUnavailable=1)


def never(cluster: Cluster) -> None:
    gone(cluster)
    cluster.pod("x", "a", labels={"app": "x"})
    cluster.budget("x", {"app": "x"}, minAvailable=1)


def refused(cluster: Cluster) -> None:
    gone(cluster)
    cluster.pod("cache", "a", volumes=[{"name": "x", "emptyDir": {}}])


def long_gone(cluster: Cluster) -> None:
    cluster.store.now = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=1000)
    gone(cluster)
    cluster.pod("stuck", "a", finalizers=["example.org/x"])
    cluster.store.delete(cluster.store.resources["pods"], "default", "stuck", {"gracePeriodSeconds": 0})
    # By kubectl's clock.
    cluster.store.now = datetime.datetime.now(datetime.timezone.utc)


@pytest.mark.parametrize(
    ("build", "flags", "params", "well", "stay"),
    [
        (gone, [], {}, True, ["cni-a"]),
        (gone, ["--disable-eviction"], {"disable_eviction": True}, True, ["cni-a"]),
        (reused, [], {}, True, ["db-0"]),
        (two_budgets, [], {"preflight": "report"}, False, ["cni-a", "x"]),
        (closed_at_first, [], {}, True, []),
        (never, ["--timeout=3s"], {"preflight": "report", "timeout": 3}, False, ["cni-a", "x"]),
        (refused, [], {}, False, ["cache", "cni-a", "web-0", "web-1"]),
        (refused, ["--delete-emptydir-data"], {"delete_emptydir_data": True}, True, ["cni-a"]),
        (
            long_gone,
            ["--skip-wait-for-delete-timeout=60"],
            {"skip_wait_for_delete_timeout": 60},
            True,
            ["cni-a", "stuck"],
        ),
    ],
)
def test_the_same_pods_go(
    kubectl: Kubectl,
    certificates: Certificates,
    build: Build,
    flags: list[str],
    params: dict[str, Any],
    well: bool,
    stay: list[str],
) -> None:
    left, ended = [], []
    for mine in (False, True):
        with FakeKube(tls=certificates.server) as kube:
            kube.store.prompt = True
            cluster = Cluster(kube.store)
            for name in ("a", "b"):
                cluster.node(name)
            build(cluster)
            with Kubelets(kube.store, 0.1):
                if mine:
                    (node,) = ours(kube, certificates, nodes=["a"], run_id="run", **params)["nodes"]
                    ended.append(node["state"] == "drained")
                else:
                    ended.append(kubectl(kube, "a", "--ignore-daemonsets", *flags).returncode == 0)
            on_it = [pod for pod in kube.store.all("pods") if pod["spec"]["nodeName"] == "a"]
            left.append(sorted(pod["metadata"]["name"] for pod in on_it))
    assert ended == [well, well]
    assert left == [stay, stay]
