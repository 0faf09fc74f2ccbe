# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a node takes to be drained whose pods take half a second each to end, beside kubectl and kubernetes.core.k8s_drain.

usage: node_drain.py PEERS [PODS ...]      PEERS is the bin of an environment with the package ``ansible``

Each is a whole command, from its start to its end, against a fake API server of its own by TLS. Ours shows that the pods are gone; so
is k8s_drain told to wait. Prints seconds and ratios, asserts nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible_collections.bulwark.node.tests.fakes import certificates
from ansible_collections.bulwark.node.tests.fakes.kube_api import FakeKube
from ansible_collections.bulwark.node.tests.fakes.kube_cluster import Cluster, Kubelets

AIM = 0.25
SECONDS = 0.5


def ways(peers: Path, url: str, authority: str, home: Path) -> Iterator[tuple[str, list[str]]]:
    """Each way to drain the node a, as a command."""
    here = ["localhost", "-c", "local", "-i", "localhost,", "-e", f"ansible_python_interpreter={sys.executable}"]
    asked: dict[str, Any] = {"host": url, "api_key": "cluster-admin", "ca_cert": authority}
    if kubectl := shutil.which("kubectl"):
        server = ["--server", url, "--certificate-authority", authority, "--token", "cluster-admin"]
        yield "kubectl", [kubectl, *server, "--cache-dir", str(home / "cache"), "drain", "a"]
    if (peers / "ansible").exists():
        options = {**asked, "name": "a", "state": "drain", "delete_options": {"wait_timeout": 600, "wait_sleep": 1}}
        yield "k8s_drain", [str(peers / "ansible"), *here, "-m", "kubernetes.core.k8s_drain", "-a", json.dumps(options)]
    options = {**asked, "state": "drained", "nodes": ["a"]}
    ansible = str(Path(sys.executable).parent / "ansible")
    yield "ours", [ansible, *here, "-m", "bulwark.node.node_drain", "-a", json.dumps(options)]


def measured(
    way: str, peers: Path, pods: int, home: Path, found: certificates.Certificates
) -> tuple[float, int] | None:
    """Seconds and requests of one drain of so many pods; None where that way is not here."""
    with FakeKube(tls=found.server) as kube, Kubelets(kube.store, SECONDS):
        cluster = Cluster(kube.store)
        cluster.node("a")
        for number in range(pods):
            cluster.pod(f"web-{number:03}", "a", labels={"app": "web"})
        command = dict(ways(peers, kube.url, found.authority, home)).get(way)
        if command is None:
            return None
        environment = {"HOME": str(home), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "no_proxy": "127.0.0.1"}
        started = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, env=environment, check=False)
        taken = time.perf_counter() - started
        if done.returncode != 0 or kube.store.all("pods"):
            sys.exit(f"{way} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return taken, len(kube.requests)


def main() -> None:
    """Drain once by each way: a drain is seconds long, and hardly two are alike."""
    peers = Path(sys.argv[1])
    for pods in [int(each) for each in sys.argv[2:]] or [100, 500]:
        print(f"a node with {pods} pods, each {SECONDS} s to go")
        times: dict[str, float] = {}
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder)
            found = certificates.make(home)
            for way in ("kubectl", "k8s_drain", "ours"):
                if (ran := measured(way, peers, pods, home, found)) is None:
                    print(f"  {way:10} not measured, it is not here")
                    continue
                times[way] = ran[0]
                print(f"  {way:10} {ran[0]:6.1f} s   {ran[1]} requests")
        if "kubectl" in times:
            print(f"  ours = {times['ours'] / times['kubectl']:.2f} x kubectl (aim: {AIM:.2f} or less)")


if __name__ == "__main__":
    main()
