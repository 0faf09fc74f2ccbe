# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plan of the reboots of a large cluster costs: seconds, the processor's seconds, memory, and each of them per node.

usage: reboot_plan.py [NODES ...]      20 pods on each; prints figures, asserts nothing

The module is run as Ansible runs it, in a process of its own, and asks a server in this one, which makes up its pages as it goes. All rules
are on. What grows faster than the nodes shows in the last column.
"""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ansible_collections.bulwark.node.plugins.modules import reboot_plan_info

PODS = 20
PAGE = 500
# What nobody reads of it makes up most of an object.
MANAGED = [{"manager": "kubelet", "operation": "Update", "fieldsV1": {f"f:field-{i}": {} for i in range(90)}}]
IMAGES = [{"names": [f"registry.example.org/team/app-{i}@sha256:{i:064x}"], "sizeBytes": i} for i in range(50)]
SIZES = [1250, 2500, 5000]


@dataclass
class Cluster:
    """Of so many nodes; in the worst state all are down, and of none it can be read when it was rebooted."""

    nodes: int
    worst: bool

    def node(self, number: int) -> dict[str, Any]:
        worker = number >= 5
        labels = {"topology.kubernetes.io/zone": f"zone-{number % 3}", "pool": str(number % 7)}
        return {
            "metadata": {
                "name": f"n{number:05}",
                "uid": f"node-{number}",
                "labels": labels if worker else {**labels, "node-role.kubernetes.io/control-plane": ""},
                "annotations": {"bulwark.node/rebooted": "?" if self.worst else "2026-01-01T00:00:00Z"},
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "managedFields": MANAGED,
            },
            "spec": {"unschedulable": self.worst or number % 50 == 9},
            "status": {
                "conditions": [{"type": "Ready", "status": str(not self.worst)}],
                "nodeInfo": {"bootID": f"b{number}", "machineID": f"m{number}"},
                "images": IMAGES,
            },
        }

    def pod(self, number: int) -> dict[str, Any]:
        return {
            "metadata": {
                "name": f"web-{number}",
                "namespace": f"team-{number % 40}",
                "uid": f"pod-{number}",
                "labels": {"app": "db" if number % 1000 == 7 else "web", "tier": str(number % 9)},
                "managedFields": MANAGED,
            },
            "spec": {
                "nodeName": f"n{number % self.nodes:05}",
                "containers": [
                    {"name": "c", "image": "x", "env": [{"name": f"V{i}", "value": "x"} for i in range(40)]}
                ],
            },
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
        }

    def etcd(self, number: int) -> dict[str, Any]:
        pod = self.pod(number)
        pod["metadata"]["labels"] = {"component": "etcd"}
        return pod

    def machine(self, number: int) -> dict[str, Any]:
        named = {"name": f"machine-{number}", "namespace": "machines", "uid": f"machine-{number}"}
        return {"metadata": named, "spec": {}, "status": {"nodeRef": {"name": f"n{number:05}"}}}

    def check(self, number: int) -> dict[str, Any]:
        named = {"name": f"check-{number}", "namespace": "machines", "uid": f"check-{number}"}
        return {"metadata": named, "spec": {"selector": {"matchLabels": {"nowhere": str(number)}}}}

    def lease(self, number: int) -> dict[str, Any]:
        named = {"name": f"node-n{number:05}", "namespace": "medik8s-leases", "uid": f"lease-{number}"}
        return {"metadata": named, "spec": {"renewTime": "2026-01-01T00:00:00.000000Z", "leaseDurationSeconds": 60}}

    def lists(self) -> dict[str, tuple[int, Callable[[int], dict[str, Any]]]]:
        """By the path of a list, how many it has and what they are."""
        capi = "/apis/cluster.x-k8s.io/v1beta2"
        return {
            "/api/v1/nodes": (self.nodes, self.node),
            "/api/v1/pods": (self.nodes * PODS, self.pod),
            "/api/v1/namespaces/kube-system/pods": (5, self.etcd),
            f"{capi}/machines": (self.nodes, self.machine),
            f"{capi}/machinehealthchecks": (20, self.check),
            "/apis/coordination.k8s.io/v1/namespaces/medik8s-leases/leases": (self.nodes, self.lease),
        }


class Handler(http.server.BaseHTTPRequestHandler):
    """Lists, page by page."""

    protocol_version = "HTTP/1.1"
    cluster: ClassVar[Cluster]

    def do_GET(self) -> None:
        path, _mark, query = self.path.partition("?")
        self.answer(self.groups() if path == "/apis" else self.page(path, dict(urllib.parse.parse_qsl(query))))

    def page(self, path: str, query: dict[str, str]) -> dict[str, Any]:
        total, make = self.cluster.lists().get(path, (0, self.cluster.node))
        start = int(query.get("continue", 0))
        end = min(total, start + PAGE)
        metadata = {"continue": str(end)} if end < total else {}
        return {"kind": "List", "metadata": metadata, "items": [make(number) for number in range(start, end)]}

    def groups(self) -> dict[str, Any]:
        found = (("cluster.x-k8s.io", "v1beta2"), ("remediation.medik8s.io", "v1alpha1"))
        return {
            "kind": "APIGroupList",
            "groups": [{"name": name, "versions": [{"version": version}]} for name, version in found],
        }

    def answer(self, found: dict[str, Any]) -> None:
        body = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: Any) -> None:
        pass


def options(url: str, nodes: int) -> dict[str, Any]:
    """All rules on, all nodes to be rebooted."""
    rows = [
        {"name": f"n{number:05}", "required": True, "since": 1795000000 + number, "boot_id": f"b{number}"}
        for number in range(nodes)
    ]
    limits = {"blocking_pod_selectors": ["app=db"], "safe_to_evict": True, "max_unavailable": "10%", "spacing": 60}
    return {"host": url, "api_key": "x", "nodes": rows, "limits": limits, "concurrency": 50}


def measured(nodes: int, worst: bool) -> tuple[float, float, float, dict[str, Any]]:
    """Seconds, the processor's seconds and MB of one run of the module, and its result."""
    Handler.cluster = Cluster(nodes, worst)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, tempfile.TemporaryDirectory() as folder:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        given, told = Path(folder, "given"), Path(folder, "told")
        asked = options(f"http://127.0.0.1:{server.server_address[1]}", nodes)
        given.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": asked}))
        command = [sys.executable, "-m", reboot_plan_info.__name__, str(given)]
        with told.open("wb") as out:
            started = time.perf_counter()
            child = subprocess.Popen(command, stdout=out, env={**os.environ, "no_proxy": "127.0.0.1"})
            _pid, status, used = os.wait4(child.pid, 0)
            taken = time.perf_counter() - started
            child.returncode = os.waitstatus_to_exitcode(status)
        server.shutdown()
        text = told.read_text()
        if child.returncode:
            sys.exit(f"the module failed: {text[-2000:]}")
        return taken, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, json.loads(text)


def main() -> None:
    """Measure each size, well and in the worst state."""
    for worst in (False, True):
        print(f"a plan of all nodes, {'all of them down' if worst else 'one of fifty down'}")
        for nodes in [int(each) for each in sys.argv[1:]] or SIZES:
            taken, worked, memory, found = measured(nodes, worst)
            placed = sum(len(batch["nodes"]) for batch in found["batches"])
            print(
                f"  {nodes:6} nodes {nodes * PODS:7} pods  {taken:6.1f} s  processor {worked:5.1f} s  {memory:5.0f} MB"
                f"  {placed} in {len(found['batches'])} batches  {1000 * worked / nodes:.2f} ms a node"
            )


if __name__ == "__main__":
    main()
