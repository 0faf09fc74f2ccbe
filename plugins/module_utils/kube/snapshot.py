# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a cluster counts when a node is to be rebooted, asked for once, of one node or of all."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Callable

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError
from ansible_collections.bulwark.node.plugins.module_utils.kube import annotations as names
from ansible_collections.bulwark.node.plugins.module_utils.kube.client import (
    LEASES,
    NODES,
    PODS,
    Client,
    NotFound,
    Object,
    Resource,
)
from ansible_collections.bulwark.node.plugins.module_utils.kube.objects import (
    annotations_of,
    field_of,
    instant,
    labels_of,
    mapping,
    mappings,
    name_of,
    printable,
    text,
)
from ansible_collections.bulwark.node.plugins.module_utils.kube.remediators import Remediators, resources
from ansible_collections.bulwark.node.plugins.module_utils.kube.selectors import Selector
from ansible_collections.bulwark.node.plugins.module_utils.reboot.fleet import NodeState, Pool
from ansible_collections.bulwark.node.plugins.module_utils.reboot.gate import Reason

__all__ = ["MEDIK8S_LEASES", "Snapshot", "Wanted", "is_ready", "may_be_member", "state_of", "take"]

MEDIK8S_LEASES = "medik8s-leases"
_ETCD_NAMESPACE = "kube-system"
_ETCD_PODS = "component=etcd"
# For a hundred thousand pods. Each request has an end of its own, so that a server that is gone does not take as long.
_ALL_SECONDS = 600.0
# What is read of a Node or Pod. The rest is most of it: images, containers, who manages which field.
_SPEC = ("nodeName", "providerID", "taints", "unschedulable")
_STATUS = ("conditions", "nodeInfo", "phase")
# Taints that say of a node how it is, not whom it is for.
_PASSING_TAINTS = "node.kubernetes.io/"


@dataclass(frozen=True)
class Wanted:
    """What to ask for beside the nodes. ``node``: of this one alone; None: of all. ``pods``: which of them; None: none."""

    node: str | None = None
    pods: Callable[[Object], bool] | None = None
    etcd: bool = False
    accepted: Collection[str] = ()


@dataclass
class Snapshot:
    """A cluster at one moment. What could not be asked is None or empty, and a reason in ``errors``.

    ``healed`` are nodes that are taken for up, proved and uncordoned (if the cordon is ours): what comes after them is foretold.
    """

    server: str
    nodes: Mapping[str, Object] | None = None
    pods: Mapping[str, Sequence[Object]] = field(default_factory=dict)  # by their node
    etcd: Mapping[str, Object] | None = None  # its pods, by their node; None: not asked for
    remediators: Remediators = field(default_factory=lambda: Remediators({}))
    leases: Mapping[str, Object] = field(default_factory=dict)  # of medik8s, by their name
    errors: list[Reason] = field(default_factory=list)
    healed: frozenset[str] = frozenset()

    @cached_property
    def names(self) -> Sequence[str]:
        """The nodes' names in their order."""
        return sorted(self.nodes or {})

    @cached_property
    def quarantined(self) -> Collection[str]:
        """Nodes that did not prove themselves after a reboot."""
        return {
            name
            for name, node in (self.nodes or {}).items()
            if names.QUARANTINED in annotations_of(node) and name not in self.healed
        }

    @cached_property
    def states(self) -> Mapping[str, NodeState]:
        """Each node as far as others are concerned."""
        return {
            name: _healed(node) if name in self.healed else state_of(node) for name, node in (self.nodes or {}).items()
        }

    @cached_property
    def all(self) -> Pool:
        """All nodes."""
        return Pool(tuple(self.states.values()))

    def pool(self, selector: Selector) -> Pool:
        """The nodes that a selector takes."""
        if selector not in self._pools:
            chosen = (
                self.states[name] for name, node in (self.nodes or {}).items() if selector.matches(labels_of(node))
            )
            self._pools[selector] = Pool(tuple(chosen))
        return self._pools[selector]

    @cached_property
    def _pools(self) -> dict[Selector, Pool]:
        return {}

    @cached_property
    def members(self) -> Mapping[str, bool]:
        """Nodes with a member of etcd, each with whether it is healthy; empty where no member is seen.

        Where nodes are labelled for etcd (k3s, RKE2) those are the members, else the control plane, as soon as any pod
        of etcd is seen: who of them lacks one has a member that is down, for all that can be seen.
        """
        labelled = {name for name, node in (self.nodes or {}).items() if names.ETCD in labels_of(node)}
        pods = self.etcd or {}
        if not labelled and not pods:
            return {}
        found = {*pods, *(labelled or self.all.control_plane.by_name)}
        return {
            name: self._serves(name) and (not pods or name in self.healed or is_ready(pods.get(name))) for name in found
        }

    @cached_property
    def controllers(self) -> Mapping[str, bool]:
        """The nodes of the control plane, each with whether it is up."""
        return {node.name: node.serves for node in self.all.control_plane.nodes}

    def _serves(self, name: str) -> bool:
        return name in self.states and self.states[name].serves


def take(client: Client, wanted: Wanted) -> Snapshot:
    """Ask for all of it; each part that fails is an error in the snapshot, and the others are asked for all the same."""
    found = Snapshot(client.sender.server)
    node = wanted.node
    with client.within(client.deadline if wanted.node else _ALL_SECONDS):
        with _blamed("node", found):
            found.nodes = {name: _kept(each) for each in client.list(NODES) if (name := name_of(each))}
        if found.nodes is None and wanted.node is None:
            # All else is about nodes.
            return found
        if wanted.pods:
            with _blamed("pods", found):
                selector = f"spec.nodeName={node}" if node else ""
                found.pods = _by_node(map(_kept, filter(wanted.pods, client.list(PODS, field_selector=selector))))
        if wanted.etcd and may_be_member((found.nodes or {}).get(node or "")):
            with _blamed("etcd", found):
                pods = _by_node(client.list(PODS, _ETCD_NAMESPACE, label_selector=_ETCD_PODS))
                found.etcd = {name: each[0] for name, each in pods.items()}
        with _blamed("remediators", found):
            _extensions(client, wanted, found)
    return found


def _kept(item: Object) -> Object:
    """What is read of a Node or Pod: there may be a hundred thousand."""
    return {
        "metadata": {key: value for key, value in mapping(item, "metadata").items() if key != "managedFields"},
        "spec": {key: field_of(item, "spec", key) for key in _SPEC},
        "status": {key: field_of(item, "status", key) for key in _STATUS},
    }


def _extensions(client: Client, wanted: Wanted, found: Snapshot) -> None:
    """What only the clusters have that have the API for it. Raises KubeError where that cannot be told."""
    groups = client.groups()
    objects: dict[tuple[str, str], Sequence[Object]] = {}
    for key, versions in resources(groups, wanted.accepted).items():
        with _blamed("remediators", found):
            objects[key] = _in_any(client, versions)
    found.remediators = Remediators(objects, frozenset(wanted.accepted))
    if any(group.endswith(".medik8s.io") for group in groups):
        with _blamed("medik8s_lease", found):
            if wanted.node is None:
                found.leases = {name_of(lease): lease for lease in client.list(LEASES, MEDIK8S_LEASES)}
            elif lease := client.find(LEASES, f"node-{wanted.node}", MEDIK8S_LEASES):
                found.leases = {name_of(lease): lease}


def _in_any(client: Client, versions: Sequence[Resource]) -> list[Object]:
    """The objects in the first of the versions that has the resource; none has it where a part of the group is installed."""
    for resource in versions:
        with contextlib.suppress(NotFound):
            return list(client.list(resource))
    return []


@contextlib.contextmanager
def _blamed(source: str, found: Snapshot) -> Iterator[None]:
    """Whatever the server refuses in the block is a reason."""
    try:
        yield
    except BulwarkError as error:
        found.errors.append(Reason(source, str(error), error=True))


def may_be_member(node: Object | None) -> bool:
    """Whether a node may have a member of etcd: it is of the control plane, or labelled for it; None: nobody knows."""
    return node is None or any(label in labels_of(node) for label in (*names.CONTROL_PLANE, names.ETCD))


def state_of(node: Object) -> NodeState:
    """What a Node says of itself. One without a condition ``Ready`` is not ready."""
    own, have = annotations_of(node), labels_of(node)
    taints = mappings(node, "spec", "taints")
    ready = _condition(node, "Ready")
    rebooted = own.get(names.REBOOTED)
    returned = [instant(rebooted)]
    if text(ready, "status") == "True":
        returned.append(instant(field_of(ready, "lastTransitionTime")))
    return NodeState(
        name=printable(name_of(node), 253),
        ready=text(ready, "status") == "True",
        cordoned=bool(field_of(node, "spec", "unschedulable")),
        rebooting=names.REBOOTING in own or names.KURED_REBOOTING in own,
        tainted=any(
            text(taint, "effect") in ("NoSchedule", "NoExecute") and not text(taint, "key").startswith(_PASSING_TAINTS)
            for taint in taints
        ),
        control_plane=any(label in have for label in names.CONTROL_PLANE),
        returned=max(filter(None, returned), default=None),
        unclear=rebooted is not None and instant(rebooted) is None,
    )


def _healed(node: Object) -> NodeState:
    state = state_of(node)
    ours = names.CORDON in annotations_of(node)
    return replace(state, ready=True, rebooting=False, cordoned=state.cordoned and not ours)


def is_ready(item: Object | None) -> bool:
    """Whether the condition ``Ready`` of a Node or Pod is True."""
    return text(_condition(item, "Ready"), "status") == "True"


def _condition(item: Object | None, kind: str) -> Object:
    conditions = mappings(item, "status", "conditions")
    return next((dict(each) for each in conditions if text(each, "type") == kind), {})


def _by_node(pods: Iterator[Object]) -> dict[str, list[Object]]:
    found: dict[str, list[Object]] = {}
    for pod in pods:
        found.setdefault(text(pod, "spec", "nodeName"), []).append(pod)
    return found
