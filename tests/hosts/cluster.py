# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster in real time: a fake API server whose nodes are machines, and all who act there beside the collection.

    machine = site.machine("12", "one")
    install_agent(machine)
    machine.start()
    with LiveCluster(site.gateway, {"one": machine, "two": None}) as cluster:
        …
        assert cluster.most_down() == 1

What is real: the machines, their boots and boot ids, what their agents report over the network, and the seconds. What is
played here: the node controller (no heartbeat: Ready=Unknown), kubelets for pods, ReplicaSets, and all of a node that is
None. Each change of the cluster is judged as it comes, so that no moment is missed.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.kube.annotations import HOLDERS
from ansible_collections.bulwark.node.tests.fakes import kured
from ansible_collections.bulwark.node.tests.fakes.kube_api import FakeKube
from ansible_collections.bulwark.node.tests.fakes.kube_cluster import Cluster
from ansible_collections.bulwark.node.tests.fakes.kube_objects import node, pod
from ansible_collections.bulwark.node.tests.fakes.kube_rules import Object

from . import agent
from .machine import Machine
from .remote import MachineError, until

__all__ = ["Boot", "LiveCluster", "Moment", "install_agent"]

_AGENT = "/opt/node-agent/agent.py"
_JOB = "/etc/node-agent.json"
_UNIT = "/etc/systemd/system/node-agent.service"
# Its heartbeat must not wait for what else the processors do.
_AGENT_UNIT = f"""\
[Unit]
After=systemd-networkd.service

[Service]
ExecStart=/usr/bin/python3 -u {_AGENT} {_JOB}
Restart=always
RestartSec=1
Nice=-10

[Install]
WantedBy=multi-user.target
"""
_TOKEN = "cluster-admin"
_NODE_LEASES = "kube-node-lease"
_RESERVED = "ansible-reserved:"


def install_agent(machine: Machine) -> None:
    """Have a machine that is off report from its next boot on what it is, once it is part of a cluster."""
    machine.write(_AGENT, Path(agent.__file__).read_text())
    machine.write(_UNIT, _AGENT_UNIT)
    wants = machine.path("/etc/systemd/system/multi-user.target.wants")
    wants.mkdir(exist_ok=True)
    (wants / "node-agent.service").symlink_to(_UNIT)


@dataclass(frozen=True)
class Moment:
    """What the cluster was like after a change.

    ``down`` are the nodes that are cordoned or not Ready, ``holders`` the nodes for which the lock was held, each once for
    each entry that had not expired, or None where nobody can read it.
    """

    down: frozenset[str]
    cordoned: frozenset[str]
    holders: tuple[str, ...] | None


@dataclass(frozen=True)
class Boot:
    """A node had another boot id, and what it was like then: ``pods`` are those that no DaemonSet has."""

    node: str
    boot_id: str
    cordoned: bool
    locked: bool
    pods: tuple[str, ...]


class LiveCluster:
    """``kube`` is its server and ``make`` makes what is in it; ``moments`` and ``boots`` is what became of it since all were Ready.

    ``grace``: seconds without a heartbeat after which a node is Ready=Unknown. ``pods_after``: seconds from Ready on after
    which the pods of a node that booted are Ready again, but for those added to ``stuck``: they stay as they are. ``daemon_sets`` are those beside
    kube-proxy; each has a pod on each node.
    """

    def __init__(
        self,
        address: str,
        nodes: Mapping[str, Machine | None],
        daemon_sets: Sequence[Object] = (),
        grace: float = 4,
        pods_after: float = 1,
    ) -> None:
        self.kube = FakeKube(address=address)
        self.store = self.kube.store
        self.make = Cluster(self.store)
        self.machines = {name: machine for name, machine in nodes.items() if machine is not None}
        self.moments: list[Moment] = []
        self.boots: list[Boot] = []
        self.stuck: set[str] = set()
        self._names, self._grace, self._pods_after = tuple(nodes), grace, pods_after
        self._daemon_sets = daemon_sets
        self._ahead = dt.timedelta()
        self._seen = 0
        # By node: the version of its Lease, and when that was new.
        self._beats: dict[str, tuple[str, float]] = {}
        # By node: since when it is Ready in this boot; None while it is not.
        self._ready_since: dict[str, float | None] = {}
        self._boot_ids: dict[str, str] = {}
        self._nodes: dict[str, Object] = {}
        self._lock: str | None = None
        self._away = False
        self._stop = threading.Event()
        self._errors: list[BaseException] = []

    def __enter__(self) -> LiveCluster:
        self.store.prompt = True
        self.store.now = self._now()
        self.store.add("namespaces", {"metadata": {"name": _NODE_LEASES}})
        self.make.daemon_set("kube-proxy")
        for daemon_set in self._daemon_sets:
            self.store.add("daemonsets.apps", daemon_set)
        for name in self._names:
            self._add(name)
        self.kube.__enter__()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        for name, machine in self.machines.items():
            job = {"url": self.kube.url, "token": _TOKEN, "node": name}
            machine.write(_JOB, json.dumps(job))
        if not self.wait_ready(*self._names):
            self.__exit__()
            raise MachineError(f"not all of {', '.join(self._names)} became Ready: {self._errors}")
        with self.store.lock:
            # All that led here is seen before it is forgotten.
            self._look()
            self.moments, self.boots = self.moments[-1:], []
        return self

    def __exit__(self, *exc: object) -> None:
        for machine in self.machines.values():
            with contextlib.suppress(OSError):
                machine.path(_JOB).unlink(missing_ok=True)
        self._stop.set()
        self._thread.join()
        self.kube.__exit__()
        if self._errors:
            raise self._errors[0]

    # --- what tests ask

    def node(self, name: str) -> Object:
        return self.store.get(self.store.resources["nodes"], "", name)

    def cordoned(self) -> set[str]:
        return {each["metadata"]["name"] for each in self.store.all("nodes") if each["spec"].get("unschedulable")}

    def annotations(self, name: str) -> dict[str, str]:
        """Those of a Node that are not Kubernetes' own."""
        found = self.node(name)["metadata"].get("annotations") or {}
        return {key: text for key, text in found.items() if not key.startswith("node.alpha.kubernetes.io/")}

    def holders(self) -> tuple[str, ...] | None:
        """For which nodes the lock is held now."""
        with self.store.lock:
            return self._holders()

    def is_ready(self, name: str) -> bool:
        """Whether the node is Ready and its pods run."""
        with self.store.lock:
            pods = [each for each in self.store.all("pods") if each["spec"].get("nodeName") == name]
            stuck = self.stuck
            return _ready(self.node(name)) and all(_ready(each) or each["metadata"]["name"] in stuck for each in pods)

    def wait_ready(self, *names: str, timeout: float = 60) -> bool:
        return until(lambda: bool(self._errors) or all(map(self.is_ready, names)), timeout, 0.05) and not self._errors

    def most_down(self, *but: str) -> int:
        """How many nodes were down at once at worst, ``but`` those that somebody else had taken down."""
        with self.store.lock:
            return max(len(moment.down - set(but)) for moment in self.moments)

    def most_holders(self) -> int:
        with self.store.lock:
            return max(len(moment.holders or ()) for moment in self.moments)

    def reboots(self, name: str) -> int:
        with self.store.lock:
            return len([boot for boot in self.boots if boot.node == name])

    # --- what tests do

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """The API server refuses connections meanwhile; who judges by heartbeats knows."""
        with self.store.lock:
            self._away = True
        with self.kube.away():
            yield
        with self.store.lock:
            self._away = False

    def jump(self, seconds: float) -> None:
        """Let the cluster's clock go forward: what expires by it does."""
        with self.store.lock:
            self._ahead += dt.timedelta(seconds=seconds)
            self._look()

    # --- all who act there

    def _add(self, name: str) -> None:
        self.store.add("nodes", node(name, ready=name not in self.machines))
        for daemon_set in self.store.all("daemonsets.apps"):
            metadata = daemon_set["metadata"]
            owner = {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": metadata["name"], "uid": metadata["uid"]}
            self.store.add(
                "pods",
                pod(
                    f"{metadata['name']}-{name}",
                    name,
                    metadata["namespace"],
                    labels={"app": metadata["name"]},
                    ownerReferences=[{**owner, "controller": True}],
                ),
            )

    def _now(self) -> dt.datetime:
        return dt.datetime.now(dt.timezone.utc) + self._ahead

    def _run(self) -> None:
        try:
            while not self._stop.wait(0.2):
                with self.store.lock:
                    self._look()
        except BaseException as error:  # noqa: BLE001 -- the test's thread raises it
            self._errors.append(error)

    def _look(self) -> None:
        for name in self.machines:
            self._judge_heartbeat(name)
            self._run_pods(name)
        self.store.advance((self._now() - self.store.now).total_seconds())
        fresh, self._seen = self.store.events[self._seen :], len(self.store.events)
        for _version, kind, resource, item in fresh:
            self._observe(resource.kind, item, gone=kind == "DELETED")

    def _judge_heartbeat(self, name: str) -> None:
        """The node controller: it goes by its own clock, and by nothing that was written while nobody could write."""
        now = time.monotonic()
        leases = [each for each in self.store.all("leases.coordination.k8s.io") if each["metadata"]["name"] == name]
        version = leases[0]["metadata"]["resourceVersion"] if leases else ""
        seen, since = self._beats.get(name, ("", now))
        if seen != version or self._away:
            since = now
        self._beats[name] = version, since
        conditions = self.node(name)["status"]["conditions"]
        ready = next(each for each in conditions if each["type"] == "Ready")
        if now - since > self._grace and ready["status"] != "Unknown":
            others = [each for each in conditions if each is not ready]
            unknown = {**ready, "status": "Unknown", "reason": "NodeStatusUnknown"}
            unknown["lastTransitionTime"] = self.store.stamp()
            self.store.edit("nodes", "", name, {"status": {"conditions": [*others, unknown]}})

    def _run_pods(self, name: str) -> None:
        """The kubelet: nothing runs and nothing ends on a node that is down, and after a boot all starts anew."""
        found, now = self.node(name), time.monotonic()
        boot_id = found["status"]["nodeInfo"]["bootID"]
        up = _ready(found) and self._boot_ids.get(name, boot_id) == boot_id
        self._boot_ids[name] = boot_id
        since = self._ready_since[name] = (self._ready_since.get(name) or now) if up else None
        (self.store.no_kubelet.discard if up else self.store.no_kubelet.add)(name)
        if since is not None and now - since < self._pods_after:
            return
        for each in self.store.all("pods"):
            metadata = each["metadata"]
            runs = up and (metadata["name"] not in self.stuck or _ready(each))
            if each["spec"].get("nodeName") == name and _ready(each) != runs:
                conditions = [{"type": "Ready", "status": str(runs), "lastTransitionTime": self.store.stamp()}]
                self.store.edit("pods", metadata["namespace"], metadata["name"], {"status": {"conditions": conditions}})

    # --- who watches

    def _observe(self, kind: str, item: Object, gone: bool) -> None:
        metadata = item["metadata"]
        annotations = metadata.get("annotations") or {}
        if kind == "Node":
            before = self._nodes.get(metadata["name"])
            self._nodes[metadata["name"]] = item
            if before and _boot_id(before) != _boot_id(item):
                self._booted(item)
        elif kind == "DaemonSet" and metadata["name"] == "kured":
            self._lock = annotations.get(kured.ANNOTATION)
        elif kind == "Lease" and metadata["namespace"] != _NODE_LEASES:
            self._lock = None if gone else annotations.get(HOLDERS)
        else:
            return
        cordoned = frozenset(name for name, each in self._nodes.items() if each["spec"].get("unschedulable"))
        unready = frozenset(name for name, each in self._nodes.items() if not _ready(each))
        moment = Moment(cordoned | unready, cordoned, self._holders())
        if moment not in self.moments[-1:]:
            self.moments.append(moment)

    def _booted(self, item: Object) -> None:
        name = item["metadata"]["name"]
        pods = [each for each in self.store.all("pods") if each["spec"].get("nodeName") == name]
        owners = {each["metadata"]["name"]: each["metadata"].get("ownerReferences") or [{}] for each in pods}
        others = tuple(each for each, owned in owners.items() if owned[0].get("kind") != "DaemonSet")
        cordoned = bool(item["spec"].get("unschedulable"))
        self.boots.append(Boot(name, _boot_id(item), cordoned, name in (self._holders() or ()), others))

    def _holders(self) -> tuple[str, ...] | None:
        if self._lock is None:
            return ()
        try:
            taken = kured.multiple(self._lock) or [kured.single(self._lock)]
        except kured.KuredError:
            return None
        now = int(self.store.now.timestamp() * 10**9)
        ids = [each.node for each in taken if each.node and not kured.expired(each, now)]
        return tuple(sorted(each.split(":", 2)[-1] for each in ids if not each.startswith(_RESERVED)))


def _boot_id(item: Object) -> str:
    return str(item["status"]["nodeInfo"]["bootID"])


def _ready(item: Mapping[str, Any]) -> bool:
    conditions = item["status"].get("conditions") or []
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
