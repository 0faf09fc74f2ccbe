# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who replaces, resets or removes a node that is slow to come back, or that a drain has emptied.

Each kind is looked for where its objects are, and let off where it is told to leave this node alone. What a cloud does
to its node pools no cluster knows: there the labels of the nodes are all that is seen.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Callable

from ansible_collections.bulwark.node.plugins.module_utils.kube.annotations import DO_NOT_DISRUPT
from ansible_collections.bulwark.node.plugins.module_utils.kube.client import Object, Resource
from ansible_collections.bulwark.node.plugins.module_utils.kube.objects import (
    annotations_of,
    field_of,
    labels_of,
    mapping,
    name_of,
    namespace_of,
    printable,
    text,
)
from ansible_collections.bulwark.node.plugins.module_utils.kube.selectors import Selector, of_object
from ansible_collections.bulwark.node.plugins.module_utils.reboot.gate import Reason, Subject

__all__ = ["KINDS", "Remediators", "resources"]

CLUSTER_API = "cluster.x-k8s.io"
OPENSHIFT = "machine.openshift.io"
METAL3 = "metal3.io"
KARPENTER = "karpenter.sh"
MEDIK8S = "remediation.medik8s.io"

_CHECKS = "machinehealthchecks"
_MACHINES = "machines"
# By kind, what is listed: (group, plural).
_LISTED: Mapping[str, tuple[tuple[str, str], ...]] = {
    "cluster_api": ((CLUSTER_API, _CHECKS), (CLUSTER_API, _MACHINES)),
    "openshift": ((OPENSHIFT, _CHECKS), (OPENSHIFT, _MACHINES)),
    "metal3": ((METAL3, "baremetalhosts"),),
    "medik8s": ((MEDIK8S, "nodehealthchecks"),),
    "karpenter": ((KARPENTER, "nodeclaims"),),
}
# Both kinds of MachineHealthCheck are paused by this, and Machines of the first: cluster-api's api/core/common_types.go.
_PAUSED = "cluster.x-k8s.io/paused"
_SKIPPED = "cluster.x-k8s.io/skip-remediation"
# Where a Node says which Machine it is.
_CAPI_MACHINE = "cluster.x-k8s.io/machine"
_CAPI_NAMESPACE = "cluster.x-k8s.io/cluster-namespace"
_OPENSHIFT_MACHINE = "machine.openshift.io/machine"
# medik8s/common, pkg/labels: on Nodes.
_EXCLUDED = "remediation.medik8s.io/exclude-from-remediation"
# A power cycle that was asked for, alone or with a suffix; baremetal-operator's docs/api.md.
_METAL3_REBOOT = "reboot.metal3.io"
_KARPENTER_LABELS = ("karpenter.sh/nodepool", "karpenter.sh/provisioner-name")


@dataclass(frozen=True)
class _Cloud:
    """What a cloud does to its nodes; ``labels`` are on the nodes that it may do it to."""

    labels: tuple[str, ...]
    does: str
    remedy: str


_CLOUDS: Mapping[str, _Cloud] = {
    "gke": _Cloud(
        ("cloud.google.com/gke-nodepool",),
        "GKE's node auto-repair recreates a node that is not Ready for about 10 minutes",
        "turn it off (gcloud container node-pools update --no-enable-autorepair)",
    ),
    "eks": _Cloud(
        ("eks.amazonaws.com/nodegroup", "eks.amazonaws.com/compute-type"),
        "EKS replaces a node that fails its instance's checks, or with node auto repair is not Ready for 30 minutes",
        "suspend the auto scaling group's ReplaceUnhealthy, and turn node auto repair off",
    ),
    "aks": _Cloud(
        ("kubernetes.azure.com/agentpool",),
        "AKS restarts, reimages and redeploys a node that is not Ready for 10 minutes",
        "see that it is back before that",
    ),
}
KINDS = (*_LISTED, *_CLOUDS)


def resources(
    groups: Mapping[str, Sequence[str]], accepted: Collection[str]
) -> dict[tuple[str, str], Sequence[Resource]]:
    """What to list in a cluster with these API groups, in each version that it may be in, but for the kinds that are accepted."""
    wanted = (each for kind, listed in _LISTED.items() if kind not in accepted for each in listed)
    return {
        (group, plural): [Resource(group, version, plural) for version in groups[group]]
        for group, plural in wanted
        if group in groups
    }


@dataclass(frozen=True)
class Remediators:
    """The objects of a cluster that say so, by (group, plural); of what this server does not have there are none."""

    objects: Mapping[tuple[str, str], Sequence[Object]]
    accepted: frozenset[str] = frozenset()

    def reasons(self, node: Object) -> list[Reason]:
        """Each remediator that would act on this node and was not accepted."""
        rules: Mapping[str, Callable[[Object], Iterator[Reason]]] = {
            "cluster_api": self._cluster_api,
            "openshift": self._openshift,
            "metal3": self._metal3,
            "medik8s": self._medik8s,
            "karpenter": self._karpenter,
        }
        found = [reason for kind, rule in rules.items() if kind not in self.accepted for reason in rule(node)]
        have = labels_of(node)
        for kind, cloud in _CLOUDS.items():
            label = next((each for each in cloud.labels if each in have), None)
            if label and kind not in self.accepted:
                pool = f"it is of {label}={printable(have[label])}"
                found.append(_reason(kind, f"{cloud.does}, and {pool}", cloud.remedy))
        return found

    def _cluster_api(self, node: Object) -> Iterator[Reason]:
        own = annotations_of(node)
        machine = self._machine(CLUSTER_API, (own.get(_CAPI_NAMESPACE, ""), own.get(_CAPI_MACHINE, "")), node)
        if machine is None:
            if own.get(_CAPI_MACHINE):
                what = f"it is Machine {printable(own[_CAPI_MACHINE])} of another, the management cluster, whose"
                what += " MachineHealthChecks are not seen from here"
                yield _reason("cluster_api", what, f"annotate that Machine there with {_SKIPPED}")
            return
        if not {_PAUSED, _SKIPPED} & set(annotations_of(machine)):
            remedy = f"annotate Machine {_full(machine)} with {_SKIPPED}"
            yield from self._checked("cluster_api", CLUSTER_API, machine, remedy)

    def _openshift(self, node: Object) -> Iterator[Reason]:
        namespace, _slash, name = annotations_of(node).get(_OPENSHIFT_MACHINE, "").rpartition("/")
        machine = self._machine(OPENSHIFT, (namespace, name), node)
        if machine is not None:
            yield from self._checked("openshift", OPENSHIFT, machine, f"annotate it with {_PAUSED}")

    def _checked(self, kind: str, group: str, machine: Object, remedy: str) -> Iterator[Reason]:
        """A reason for each MachineHealthCheck that selects a Machine."""
        for check, selector in self._health_checks[group]:
            cluster = text(check, "spec", "clusterName")
            elsewhere = cluster and text(machine, "spec", "clusterName") != cluster
            if namespace_of(check) == namespace_of(machine) and not elsewhere and selector.matches(labels_of(machine)):
                what = (
                    f"MachineHealthCheck {_full(check)} replaces Machine {_full(machine)} when it is not Ready for long"
                )
                yield _reason(kind, what, remedy, check, "MachineHealthCheck")

    def _medik8s(self, node: Object) -> Iterator[Reason]:
        if labels_of(node).get(_EXCLUDED) == "true":
            return
        for check, selector in self._node_health_checks:
            if selector.matches(labels_of(node)):
                what = f"NodeHealthCheck {_full(check)} remediates it when it is not Ready for long"
                remedy = f"label the Node with {_EXCLUDED}=true"
                yield _reason("medik8s", what, remedy, check, "NodeHealthCheck")

    def _metal3(self, node: Object) -> Iterator[Reason]:
        provider = text(node, "spec", "providerID")
        for host, asked in self._power_cycled:
            uid = text(host, "metadata", "uid")
            named = name_of(host) and f"/{namespace_of(host)}/{name_of(host)}/" in f"{provider}/"
            if named or (uid and uid in provider):
                what = f"BareMetalHost {_full(host)} has {printable(asked)}, by which Metal3 powers it off and on"
                yield _reason("metal3", what, "wait until that is over", host, "BareMetalHost")

    def _karpenter(self, node: Object) -> Iterator[Reason]:
        have = labels_of(node)
        pool = next((have[each] for each in _KARPENTER_LABELS if each in have), None)
        claim = self._claims.get(name_of(node))
        if (pool is None and claim is None) or _undisturbed(node) or (claim is not None and _undisturbed(claim)):
            return
        what = f"Karpenter removes nodes that are empty, as a drain makes it, and it is of NodePool {printable(pool or '?')}"
        yield _reason("karpenter", what, f"annotate the Node with {DO_NOT_DISRUPT}=true")

    def _machine(self, group: str, named: tuple[str, str], node: Object) -> Object | None:
        """The Machine of a node: the one that the node names, else the one that names the node."""
        found = self._machines[group].get(named) if named[1] else None
        return found or (None if named[1] else self._by_node[group].get(name_of(node)))

    @cached_property
    def _machines(self) -> Mapping[str, Mapping[tuple[str, str], Object]]:
        return {
            group: {(namespace_of(item), name_of(item)): item for item in self.objects.get((group, _MACHINES), ())}
            for group in (CLUSTER_API, OPENSHIFT)
        }

    @cached_property
    def _by_node(self) -> Mapping[str, Mapping[str, Object]]:
        return {
            group: {text(item, "status", "nodeRef", "name"): item for item in machines.values()}
            for group, machines in self._machines.items()
        }

    @cached_property
    def _health_checks(self) -> Mapping[str, Sequence[tuple[Object, Selector]]]:
        """Those that are not paused."""
        return {
            group: [
                (item, of_object(field_of(item, "spec", "selector")))
                for item in self.objects.get((group, _CHECKS), ())
                if _PAUSED not in annotations_of(item)
            ]
            for group in (CLUSTER_API, OPENSHIFT)
        }

    @cached_property
    def _node_health_checks(self) -> Sequence[tuple[Object, Selector]]:
        return [
            (item, of_object(field_of(item, "spec", "selector")))
            for item in self.objects.get((MEDIK8S, "nodehealthchecks"), ())
            if not field_of(item, "spec", "pauseRequests")
        ]

    @cached_property
    def _power_cycled(self) -> Sequence[tuple[Object, str]]:
        """Hosts with the annotation that asks for it."""
        return [
            (host, key)
            for host in self.objects.get((METAL3, "baremetalhosts"), ())
            for key in annotations_of(host)
            if key.partition("/")[0] == _METAL3_REBOOT
        ]

    @cached_property
    def _claims(self) -> Mapping[str, Object]:
        return {text(item, "status", "nodeName"): item for item in self.objects.get((KARPENTER, "nodeclaims"), ())}


def _undisturbed(item: Any) -> bool:
    return mapping(item, "metadata", "annotations").get(DO_NOT_DISRUPT) == "true"


def _full(item: Object) -> str:
    """``namespace/name`` for a sentence."""
    return printable("/".join(filter(None, (namespace_of(item), name_of(item)))))


def _reason(kind: str, what: str, remedy: str, item: Object | None = None, api_kind: str = "") -> Reason:
    subject = Subject(api_kind, printable(name_of(item)), printable(namespace_of(item)) or None) if item else None
    detail = f"{what}; {remedy}, or accept it (accepted_remediators: {kind})"
    return Reason("remediators", detail, subject=subject)
