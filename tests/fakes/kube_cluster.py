# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clusters to drain: nodes, pods of controllers that bring them back, budgets, webhooks, and a kubelet that takes real time."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.bulwark.node.tests.fakes.kube_rules import Object, Problem
from ansible_collections.bulwark.node.tests.fakes.kube_store import Store

__all__ = ["Cluster", "Kubelets", "denied"]

_API_VERSIONS = {
    "ReplicaSet": "apps/v1",
    "StatefulSet": "apps/v1",
    "DaemonSet": "apps/v1",
    "Job": "batch/v1",
    "VirtualMachineInstance": "kubevirt.io/v1",
    "CephCluster": "ceph.rook.io/v1",
    "InstanceManager": "longhorn.io/v1beta2",
}


def owner_of(kind: str, name: str) -> Object:
    """An owner reference that is the controller; its uid follows from the name."""
    return {
        "apiVersion": _API_VERSIONS[kind],
        "kind": kind,
        "name": name,
        "uid": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{kind}/{name}")),
        "controller": True,
    }


def denied(webhook: str, text: str, code: int = 429, reason: str | None = None) -> Problem:
    """What kube-apiserver makes of a webhook's denial (ToStatusErr)."""
    return Problem(code, reason, f'admission webhook "{webhook}" denied the request: {text}')


@dataclass
class Cluster:
    """What tests build in a store."""

    store: Store
    count: int = 0
    # By controller: how many pods it wants, where new ones go, and how they look.
    wanted: dict[tuple[str, str], tuple[int, str, Mapping[str, Any]]] = field(default_factory=dict)

    def node(self, name: str, **spec: Any) -> None:
        ready = {"conditions": [{"type": "Ready", "status": "True"}]}
        self.store.add("nodes", {"metadata": {"name": name}, "spec": spec, "status": ready})
        self.store.settle()

    def pod(
        self,
        name: str,
        node: str,
        owner: tuple[str, str] | None = ("ReplicaSet", "web"),
        namespace: str = "default",
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        ready: bool = True,
        phase: str = "Running",
        grace: int = 1,
        volumes: Sequence[Mapping[str, Any]] = (),
        tolerations: Sequence[Mapping[str, Any]] = (),
        finalizers: Sequence[str] = (),
    ) -> Object:
        """One pod, as it is after its start; an owner is (kind, name)."""
        metadata: Object = {"name": name, "namespace": namespace}
        given = {"labels": labels, "annotations": annotations, "finalizers": list(finalizers)}
        metadata.update({key: value for key, value in given.items() if value})
        if owner:
            metadata["ownerReferences"] = [owner_of(*owner)]
        spec: Object = {
            "nodeName": node,
            "containers": [{"name": "c", "image": "x:1"}],
            "terminationGracePeriodSeconds": grace,
        }
        spec.update(
            {key: list(value) for key, value in {"volumes": volumes, "tolerations": tolerations}.items() if value}
        )
        conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
        return self.store.add(
            "pods", {"metadata": metadata, "spec": spec, "status": {"phase": phase, "conditions": conditions}}
        )

    def daemon_set(self, name: str, namespace: str = "kube-system") -> None:
        template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "x:1"}]}}
        spec = {"selector": {"matchLabels": {"app": name}}, "template": template}
        self.store.add("daemonsets.apps", {"metadata": {"name": name, "namespace": namespace}, "spec": spec})

    def budget(
        self,
        name: str,
        labels: Mapping[str, str] | None = None,
        namespace: str = "default",
        owner: tuple[str, str] | None = None,
        **spec: Any,
    ) -> None:
        """A budget over pods of these labels, and its status."""
        metadata: Object = {"name": name, "namespace": namespace}
        if owner:
            metadata["ownerReferences"] = [owner_of(*owner)]
        body = {"selector": {"matchLabels": dict(labels or {})}, **spec}
        self.store.add("poddisruptionbudgets.policy", {"metadata": metadata, "spec": body})
        self.store.settle()

    def deployment(self, name: str, nodes: Sequence[str], spare: str, **pod: Any) -> None:
        """A pod on each of these nodes, and a controller that replaces them on ``spare``."""
        for number, node in enumerate(nodes):
            self.pod(f"{name}-{number}", node, ("ReplicaSet", name), labels={"app": name}, **pod)
        self.wanted["ReplicaSet", name] = (len(nodes), spare, pod)
        if self._replace not in self.store.controllers:
            self.store.controllers.append(self._replace)

    def stateful_set(self, name: str, node: str, spare: str, **pod: Any) -> None:
        """One pod, whose next has its name."""
        self.pod(f"{name}-0", node, ("StatefulSet", name), labels={"app": name}, **pod)
        self.wanted["StatefulSet", name] = (1, spare, pod)
        if self._replace not in self.store.controllers:
            self.store.controllers.append(self._replace)

    def _replace(self, store: Store) -> None:
        """ReplicaSets replace what is being deleted, StatefulSets what is gone."""
        there = store.all("pods")
        for (kind, name), (count, spare, pod) in self.wanted.items():
            uid = owner_of(kind, name)["uid"]
            mine = [
                each for each in there if uid in [owner["uid"] for owner in each["metadata"].get("ownerReferences", [])]
            ]
            if kind == "ReplicaSet":
                mine = [each for each in mine if "deletionTimestamp" not in each["metadata"]]
            for _missing in range(count - len(mine)):
                self.count += 1
                new = f"{name}-0" if kind == "StatefulSet" else f"{name}-new{self.count}"
                self.pod(new, spare, (kind, name), labels={"app": name}, **pod)

    def names(self, node: str) -> list[str]:
        """Names of the pods that are on a node and stay."""
        return [
            each["metadata"]["name"]
            for each in self.store.all("pods")
            if each["spec"]["nodeName"] == node and "deletionTimestamp" not in each["metadata"]
        ]


@dataclass
class Kubelets:
    """End what is being deleted after so many seconds of the real clock, for what cannot be given a clock (kubectl)."""

    store: Store
    seconds: float
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Kubelets:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        seen, ends = 0, list[tuple[float, str, str, str]]()
        while not self._stop.wait(0.02):
            with self.store.lock:
                fresh, seen = self.store.events[seen:], len(self.store.events)
            for _version, kind, resource, item in fresh:
                metadata = item["metadata"]
                if resource.kind == "Pod" and kind == "MODIFIED" and "deletionTimestamp" in metadata:
                    ends.append(
                        (time.monotonic() + self.seconds, metadata["namespace"], metadata["name"], metadata["uid"])
                    )
            due = [each for each in ends if each[0] <= time.monotonic()]
            ends = [each for each in ends if each not in due]
            for _end, namespace, name, uid in due:
                self._finish(namespace, name, uid)
            if due:
                self.store.settle()

    def _finish(self, namespace: str, name: str, uid: str) -> None:
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": uid}}
        try:
            self.store.delete(self.store.resources["pods"], namespace, name, options)
        except Problem:
            return  # it is gone already
