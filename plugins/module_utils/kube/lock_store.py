# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the lock is kept in a cluster: kured's annotation, or a Lease of our own; each by compare-and-swap.

The clock is the API server's. All holders are in one object, so that their number is decided by one write.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from dataclasses import dataclass
from typing import Callable

from ansible_collections.bulwark.node.plugins.module_utils.kube.annotations import HOLDERS
from ansible_collections.bulwark.node.plugins.module_utils.kube.client import (
    DAEMON_SETS,
    LEASES,
    NODES,
    Client,
    Object,
)
from ansible_collections.bulwark.node.plugins.module_utils.kube.kured import Kured
from ansible_collections.bulwark.node.plugins.module_utils.reboot.lock import (
    CORDONED,
    GONE,
    NOT_READY,
    READY,
    Sight,
)
from ansible_collections.bulwark.node.plugins.module_utils.reboot.lock_value import NANO, Entry, decode, encode, moment

__all__ = ["KuredStore", "LeaseStore"]

# RFC 1123, as Kubernetes has it of a node: what is none is no node that could be gone.
_NODE_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*", re.ASCII)
_INT32 = (1 << 31) - 1
# 9999-12-31T23:59:59Z
_LAST = 253402300799 * NANO


@dataclass
class KuredStore:
    """kured's annotation on its DaemonSet. The right to ``get`` and ``patch`` it suffices."""

    client: Client
    kured: Kured
    backend: str = "kured"

    @property
    def owners(self) -> int:
        """kured's concurrency."""
        return self.kured.concurrency

    @property
    def place(self) -> str:
        """The DaemonSet and the annotation."""
        return f"DaemonSet {self.kured.namespace}/{self.kured.name}, annotation {self.kured.annotation}"

    def look(self) -> Sight:
        """What the annotation has. Raises KubeError."""
        return self._sight(self.client.get(DAEMON_SETS, self.kured.name, self.kured.namespace))

    def swap(self, change: Callable[[Sight], str | None]) -> None:
        """Write another text by a PATCH that carries the version which was read. Raises KubeError."""

        def mutate(item: Object) -> Object:
            sight = self._sight(item)
            text = change(sight)
            if text is None:
                item["metadata"].get("annotations", {}).pop(self.kured.annotation, None)
            elif text != sight.text:
                item["metadata"].setdefault("annotations", {})[self.kured.annotation] = text
            return item

        self.client.change(DAEMON_SETS, self.kured.name, mutate, self.kured.namespace)

    def state(self, node: str) -> str | None:
        """What the node of this name is like. Raises KubeError."""
        return _node_state(self.client, node)

    def _sight(self, item: Object) -> Sight:
        annotations = item["metadata"].get("annotations") or {}
        return Sight(annotations.get(self.kured.annotation), _now(self.client))


@dataclass
class LeaseStore:
    """A Lease of our own. It takes the right to ``get``, ``create`` and ``patch`` it."""

    client: Client
    namespace: str
    name: str
    backend: str = "lease"
    owners: None = None

    @property
    def place(self) -> str:
        """The Lease."""
        return f"Lease {self.namespace}/{self.name}"

    def look(self) -> Sight:
        """What the Lease has. Raises KubeError."""
        return self._sight(self._get())

    def swap(self, change: Callable[[Sight], str | None]) -> None:
        """Write another text by a PATCH that carries the version which was read; the first makes the Lease. Raises KubeError."""

        def mutate(item: Object | None) -> Object | None:
            sight = self._sight(item)
            text = change(sight)
            return None if text == sight.text else self._holding(item, text)

        def put(wanted: Object) -> Object:
            if "resourceVersion" not in wanted["metadata"]:
                return self.client.create(LEASES, wanted, self.namespace)
            patch = {"metadata": wanted["metadata"], "spec": wanted["spec"]}
            return self.client.patch(LEASES, self.name, patch, self.namespace)

        self.client.update(self._get, mutate, put)

    def state(self, node: str) -> str | None:
        """What the node of this name is like. Raises KubeError."""
        return _node_state(self.client, node)

    def _get(self) -> Object | None:
        return self.client.find(LEASES, self.name, self.namespace)

    def _sight(self, item: Object | None) -> Sight:
        annotations = (item or {}).get("metadata", {}).get("annotations") or {}
        text = annotations.get(HOLDERS) or _foreign((item or {}).get("spec") or {})
        return Sight(text, _now(self.client))

    def _holding(self, item: Object | None, text: str | None) -> Object:
        """What to write: the holders, and for all who read Leases the one that ends last."""
        metadata: Object = {"name": self.name, "annotations": {HOLDERS: text}}
        if item is not None:
            metadata["resourceVersion"] = item["metadata"]["resourceVersion"]
        entries = decode(text).entries
        spec: Object = dict.fromkeys(("holderIdentity", "leaseDurationSeconds", "acquireTime", "renewTime"))
        if entries:
            last = max(entries, key=lambda entry: entry.ends)
            seconds = math.inf if last.ttl <= 0 else -(-last.ttl // NANO)
            spec["holderIdentity"] = last.id
            spec["leaseDurationSeconds"] = int(min(max(seconds, 1), _INT32))
            spec["acquireTime"] = spec["renewTime"] = _micro_time(last.created)
        return {"metadata": metadata, "spec": spec}


def _node_state(client: Client, name: str) -> str | None:
    """What the node of this name is like; None where no node can have it. Raises KubeError."""
    if not _NODE_NAME.fullmatch(name):
        return None
    node = client.find(NODES, name)
    if node is None:
        return GONE
    if (node.get("spec") or {}).get("unschedulable"):
        return CORDONED
    conditions = (node.get("status") or {}).get("conditions") or []
    ready = any(item.get("type") == "Ready" and item.get("status") == "True" for item in conditions)
    return READY if ready else NOT_READY


def _now(client: Client) -> int:
    return int(client.now() * 1000) * 10**6


def _foreign(spec: Object) -> str | None:
    """The text for a holder that another wrote, who knows of a Lease's spec alone; None where there is none."""
    if not spec.get("holderIdentity"):
        return None
    # Without a time of its renewal it never ends.
    created, ttl = 0, 0
    if spec.get("renewTime"):
        created, ttl = moment(spec["renewTime"]), (spec.get("leaseDurationSeconds") or 0) * NANO
    return encode([Entry.new(str(spec["holderIdentity"]), created, ttl)], 1, fill=False)


def _micro_time(created: int) -> str:
    """MicroTime of the API, which takes six decimals and no others; years that it or a datetime has not are cut off."""
    seconds, rest = divmod(min(max(created, 0), _LAST), NANO)
    return f"{dt.datetime.fromtimestamp(seconds, dt.timezone.utc):%Y-%m-%dT%H:%M:%S}.{rest // 1000:06d}Z"
