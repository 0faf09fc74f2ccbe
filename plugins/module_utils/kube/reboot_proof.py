# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a node is back from its reboot: with another boot id, Ready, and with the DaemonSet pods that it had."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError
from ansible_collections.bulwark.node.plugins.module_utils.kube.client import (
    DAEMON_SETS,
    NODES,
    PODS,
    Client,
    KubeError,
    Object,
)
from ansible_collections.bulwark.node.plugins.module_utils.kube.objects import (
    field_of,
    instant,
    labels_of,
    mapping,
    mappings,
    name_of,
    namespace_of,
    printable,
    text,
)
from ansible_collections.bulwark.node.plugins.module_utils.kube.reboot_record import Record, own
from ansible_collections.bulwark.node.plugins.module_utils.kube.selectors import of_object

__all__ = ["Look", "Pod", "Wait", "daemon_pods", "look", "unanswered", "wants"]

_PAUSE = 2.0


@dataclass(frozen=True)
class Look:
    """What one look at a node has shown; ``missing`` are {what, detail}, none where all is as it was.

    ``left`` are DaemonSets that are not waited for, {name, reason}; ``node`` is None where nobody answered.
    """

    missing: Sequence[Mapping[str, str]]
    node: Object | None = None
    boot_id: str = ""
    ready_since: str | None = None
    pods: Sequence[str] = ()
    left: Sequence[Mapping[str, str]] = ()

    def proof(self) -> dict[str, Any] | None:
        """It as a result; None where something is missing."""
        if self.missing:
            return None
        return {
            "boot_id": self.boot_id,
            "ready_since": self.ready_since,
            "pods": list(self.pods),
            "left": [dict(each) for each in self.left],
        }


@dataclass(frozen=True)
class Pod:
    """A pod of a DaemonSet on the node; ``since`` when it is, or is not, Ready, as the API has it."""

    name: str
    ready: bool
    since: str | None


def daemon_pods(client: Client, node: str) -> dict[str, list[Pod]]:
    """The pods of DaemonSets on a node that stay there, by ``namespace/name`` of the DaemonSet. Raises KubeError."""
    found: dict[str, list[Pod]] = {}
    for item in client.list(PODS, field_selector=f"spec.nodeName={node}"):
        owner = _daemon_set_of(item)
        if owner and not text(item, "metadata", "deletionTimestamp"):
            found.setdefault(f"{namespace_of(item)}/{owner}", []).append(Pod(name_of(item), *_ready(item)))
    return found


def unanswered(error: KubeError) -> Look:
    """What is known where nobody answered."""
    return Look([_lacks("api", str(error))])


def _ready(item: Object) -> tuple[bool, str | None]:
    """Whether a node or pod is Ready, and since when, as it says itself."""
    for each in mappings(item, "status", "conditions"):
        if each.get("type") == "Ready":
            since = text(each, "lastTransitionTime")
            return each.get("status") == "True", since if instant(since) else None
    return False, None


def _daemon_set_of(pod: Object) -> str | None:
    for owner in mappings(pod, "metadata", "ownerReferences"):
        # Of other APIs' kinds of this name nobody here can ask whether they still want the node.
        if owner.get("controller") is True and text(owner, "kind") == "DaemonSet":
            return text(owner, "name") if text(owner, "apiVersion").startswith("apps/") else None
    return None


def look(client: Client, name: str, run: str, boot_id: str) -> Look:
    """Look once. Raises KubeError, and BulwarkError where the node has no record of this run, or has not been rebooted."""
    node = client.get(NODES, name)
    record = own(node, run)
    if boot_id == record.boot_id:
        raise BulwarkError(f"{name}: boot_id: got {boot_id!r}, which it had before: the machine has not been rebooted")
    known = text(node, "status", "nodeInfo", "bootID")
    ready, since = _ready(node)
    missing = []
    if known != boot_id:
        missing.append(_lacks("boot_id", f"the machine has {boot_id}, the Node {printable(known) or 'none'}"))
    if not ready:
        missing.append(_lacks("ready", "the Node is not Ready"))
    # Until its kubelet has reported, what its pods say is of before.
    if missing or not record.pods:
        return Look(missing, node, known, since)
    return _of_pods(client, node, record, Look(missing, node, known, since))


def _of_pods(client: Client, node: Object, record: Record, before: Look) -> Look:
    """The look with what the DaemonSet pods are like."""
    there = daemon_pods(client, name_of(node))
    missing, left, back = list[Mapping[str, str]](), list[Mapping[str, str]](), list[str]()
    for name, since in sorted(record.pods.items()):
        lacks = _lack(there.get(name, ()), since)
        reason = _unwanted(client, name, node) if lacks else None
        if reason:
            left.append({"name": name, "reason": reason})
        elif lacks:
            missing.append(_lacks("pod", f"DaemonSet {name}: {lacks}"))
        else:
            back.append(name)
    return replace(before, missing=missing, pods=back, left=left)


def _lack(pods: Iterable[Pod], since: str | None) -> str | None:
    """What the pods of a DaemonSet lack, of which one was Ready ``since`` before the reboot.

    What is Ready since then is what the API server remembers: it is not told that a node went down, and its kubelet reports
    the pods after the node. No pod is Ready all through a reboot.
    """
    states = [(pod, pod.ready and (since is None or pod.since != since)) for pod in pods]
    if any(good for pod, good in states):
        return None
    if not states:
        return "no pod of it is on the node"
    pod = states[0][0]
    return f"pod {printable(pod.name)} " + ("was not reported since the reboot" if pod.ready else "is not Ready")


def _unwanted(client: Client, name: str, node: Object) -> str | None:
    """Why a DaemonSet puts no pod on the node any more; None where it does."""
    namespace, _slash, plain = name.partition("/")
    daemon_set = client.find(DAEMON_SETS, plain, namespace)
    if daemon_set is None or text(daemon_set, "metadata", "deletionTimestamp"):
        return "it is gone"
    return None if wants(daemon_set, node) else "it does not select the node any more"


def wants(daemon_set: Mapping[str, Any], node: Mapping[str, Any]) -> bool:
    """Whether a DaemonSet selects a node, by its name, labels and required affinity (``nodeShouldRunDaemonPod``).

    Not by taints: those of a node that comes up go again, and its pods come back then.
    """
    spec = mapping(daemon_set, "spec", "template", "spec")
    labels, fields = labels_of(node), {"metadata.name": name_of(node)}
    if text(spec, "nodeName") not in ("", name_of(node)):
        return False
    if any(labels.get(key) != value for key, value in mapping(spec, "nodeSelector").items()):
        return False
    path = ("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
    if field_of(spec, *path) is None:
        return True
    # Of the terms one is enough; an empty one takes nothing.
    return any(
        (term.get("matchExpressions") or term.get("matchFields"))
        and of_object({"matchExpressions": term.get("matchExpressions")}).matches(labels)
        and of_object({"matchExpressions": term.get("matchFields")}).matches(fields)
        for term in mappings(spec, *path, "nodeSelectorTerms")
    )


@dataclass
class Wait:
    """What is waited for: ``stable_for`` seconds in which nothing is missing, of which ``held`` were seen by calls before this.

    ``held`` is None where something was missing, or nobody has looked yet.
    """

    client: Client
    name: str
    run: str
    boot_id: str
    stable_for: int
    held: float | None = None

    def until(self, seconds: float) -> tuple[Look, bool]:
        """Look until it is proved or the time is over, once at least; which of them, and what was seen last.

        Raises BulwarkError as ``look``, and KubeError where the node is gone, or where each look was refused: an
        API server that comes up refuses all for some moments, until it knows its roles.
        """
        clock = self.client.clock
        end = clock.monotonic() + seconds
        since = None if self.held is None else clock.monotonic() - self.held
        refused = True
        while True:
            with self.client.within(max(1.0, end - clock.monotonic())):
                found, refusal = self._look()
            now = clock.monotonic()
            since = None if found.missing else now if since is None else since
            self.held = None if since is None else now - since
            refused = refused and refusal is not None
            if self.held is not None and self.held >= self.stable_for:
                return found, True
            if now >= end:
                if refusal and refused:
                    raise refusal
                return self._unstable(found), False
            clock.sleep(min(_PAUSE, end - now))

    def _look(self) -> tuple[Look, KubeError | None]:
        """What one look shows, and what it was refused with: while nobody answers, that is what is missing."""
        try:
            return look(self.client, self.name, self.run, self.boot_id), None
        except KubeError as error:
            if error.reason == "NotFound":
                raise
            return unanswered(error), error if error.refused else None

    def _unstable(self, found: Look) -> Look:
        if self.held is None:
            return found
        return replace(found, missing=[_lacks("stable", f"this has held for {int(self.held)} of {self.stable_for} s")])


def _lacks(what: str, detail: str) -> dict[str, str]:
    return {"what": what, "detail": detail}
