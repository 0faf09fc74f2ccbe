# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What in a cluster is in the way of rebooting a node. Pure but for ``look``: a snapshot in, reasons out."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.errors import OptionError
from ansible_collections.bulwark.node.plugins.module_utils.kube.annotations import PAUSED, QUARANTINED, SAFE_TO_EVICT
from ansible_collections.bulwark.node.plugins.module_utils.kube.client import Client, Object
from ansible_collections.bulwark.node.plugins.module_utils.kube.objects import (
    annotations_of,
    field_of,
    from_json,
    instant,
    labels_of,
    name_of,
    namespace_of,
    printable,
    text,
)
from ansible_collections.bulwark.node.plugins.module_utils.kube.remediators import KINDS
from ansible_collections.bulwark.node.plugins.module_utils.kube.selectors import Selector, parse
from ansible_collections.bulwark.node.plugins.module_utils.kube.snapshot import (
    MEDIK8S_LEASES,
    Snapshot,
    Wanted,
    may_be_member,
    take,
)
from ansible_collections.bulwark.node.plugins.module_utils.reboot.fleet import (
    Allowance,
    allowance,
    quorum_reasons,
    sole_reasons,
    spacing_reasons,
    unavailable_reasons,
)
from ansible_collections.bulwark.node.plugins.module_utils.reboot.gate import Reason, Subject, at_most, shown

__all__ = [
    "IDENTITY_SPEC",
    "LIMITS_SPEC",
    "NODE_SPEC",
    "Limits",
    "budget_reasons",
    "identity",
    "limits",
    "look",
    "obstacles",
    "of_node",
]

# Which node it is, and what has to be so of any.
IDENTITY_SPEC: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "boot_id": {"type": "str"},
    "machine_id": {"type": "str"},
}
LIMITS_SPEC: dict[str, Any] = {
    "blocking_pod_selectors": {"type": "list", "elements": "str", "default": []},
    "safe_to_evict": {"type": "bool", "default": False},
    "max_unavailable": {"type": "str"},
    "spacing": {"type": "int", "default": 0},
    "pool": {"type": "str"},
    "pause_annotation": {"type": "str", "default": PAUSED},
    "accepted_remediators": {"type": "list", "elements": "str", "default": [], "choices": list(KINDS)},
    "etcd": {"type": "str", "default": "stacked", "choices": ["stacked", "control_plane", "external"]},
    "allow_outage": {"type": "bool", "default": False},
    "failure_budget": {"type": "int", "default": 0},
    "lift_quarantine": {"type": "bool", "default": False},
}
NODE_SPEC: dict[str, Any] = {**IDENTITY_SPEC, **LIMITS_SPEC}

# A DNS subdomain, as validation.ValidateNodeName has it.
_NODE_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*", re.ASCII)
_ANNOTATION = re.compile(r"(?:[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_WEEK = 604800
# Options, and where status.nodeInfo has the same.
_IDENTITY = {"boot_id": "bootID", "machine_id": "machineID"}
_FINISHED = ("Succeeded", "Failed")
_NAMES_SHOWN = 5


@dataclass(frozen=True)
class Limits:
    """LIMITS_SPEC, checked. ``identity`` is what ``status.nodeInfo`` has to say; ``option``: where they were given."""

    option: str
    identity: Mapping[str, str]
    selectors: tuple[Selector, ...]
    safe_to_evict: bool
    max_unavailable: Allowance | None
    spacing: int
    pool: Selector
    pause_annotation: str
    accepted: tuple[str, ...]
    etcd: str
    allow_outage: bool
    failure_budget: int
    lift_quarantine: bool

    def wanted(self, node: str | None) -> Wanted:
        """What to ask a cluster for, about one node or (None) all."""
        pods = self._stops if self.selectors or self.safe_to_evict else None
        return Wanted(node, pods, self.etcd == "stacked", self.accepted)

    def _stops(self, pod: Object) -> bool:
        return any(_of_pod(pod, self))


def identity(option: str, values: Mapping[str, Any]) -> Mapping[str, str]:
    """What ``status.nodeInfo`` has to say of a node by the options of IDENTITY_SPEC, given below ``option``. Raises OptionError."""
    if not _NODE_NAME.fullmatch(values["name"]):
        raise OptionError(
            f"{option}.name", values["name"], "the name of a Node: lower-case letters, digits, '-' and '.'"
        )
    for name in _IDENTITY:
        _not_empty(f"{option}.{name}", values[name], "what the machine says")
    return {key: values[name].strip() for name, key in _IDENTITY.items() if values[name] is not None}


def _not_empty(option: str, value: str | None, what: str) -> None:
    """A variable that came out empty: nothing would be compared, or all nodes counted."""
    if value is not None and not value.strip():
        raise OptionError(option, value, f"{what}, or no such option")


def limits(option: str, values: Mapping[str, Any]) -> Limits:
    """The options of NODE_SPEC, or of LIMITS_SPEC for any node, given below ``option``. Raises OptionError."""
    whose = identity(option, values) if "name" in values else {}
    if not 0 <= values["spacing"] <= _WEEK:
        raise OptionError(f"{option}.spacing", values["spacing"], f"seconds, from 0 to {_WEEK} (a week)")
    if not _ANNOTATION.fullmatch(values["pause_annotation"]):
        raise OptionError(f"{option}.pause_annotation", values["pause_annotation"], f"an annotation such as {PAUSED}")
    _not_empty(f"{option}.pool", values["pool"], "a label selector")
    if values["failure_budget"] < 0:
        raise OptionError(f"{option}.failure_budget", values["failure_budget"], "a number of nodes, from 0 on")
    return Limits(
        option=option,
        identity=whose,
        selectors=tuple(
            _selector(f"{option}.blocking_pod_selectors[{index}]", each)
            for index, each in enumerate(values["blocking_pod_selectors"])
        ),
        safe_to_evict=values["safe_to_evict"],
        max_unavailable=(
            None
            if values["max_unavailable"] is None
            else allowance(f"{option}.max_unavailable", values["max_unavailable"])
        ),
        spacing=values["spacing"],
        pool=parse(f"{option}.pool", values["pool"] or ""),
        pause_annotation=values["pause_annotation"],
        accepted=tuple(values["accepted_remediators"]),
        etcd=values["etcd"],
        allow_outage=values["allow_outage"],
        failure_budget=values["failure_budget"],
        lift_quarantine=values["lift_quarantine"],
    )


def _selector(option: str, written: str) -> Selector:
    found = parse(option, written)
    if not found.requirements:
        raise OptionError(
            option, written, "a selector of some pods: an empty one takes all, and no node is without any"
        )
    return found


def look(client: Client, name: str, wanted: Limits, now: dt.datetime) -> list[Reason]:
    """Ask the cluster, and give all that is in the way of this node; what could not be asked is too."""
    snapshot = take(client, wanted.wanted(name))
    return [*snapshot.errors, *obstacles(snapshot, name, wanted, now)]


def obstacles(snapshot: Snapshot, name: str, wanted: Limits, now: dt.datetime) -> list[Reason]:
    """All that is in the way of rebooting a node now, as far as the snapshot has it (its errors are not among them)."""
    found = of_node(snapshot, name, wanted, now)
    # Who did not prove itself is one of those who used up the budget.
    return found if name in snapshot.quarantined else [*budget_reasons(snapshot, wanted), *found]


def budget_reasons(snapshot: Snapshot, wanted: Limits) -> list[Reason]:
    """Whether so many nodes did not prove themselves after their reboots that no other is to be rebooted."""
    failed = sorted(snapshot.quarantined)
    if len(failed) <= wanted.failure_budget:
        return []
    first = printable(failed[0])
    detail = (
        f"{len(failed)} of {len(snapshot.names)} nodes failed to prove themselves after their reboots ({_some(failed)}), and"
        f" {wanted.failure_budget} may. See what is wrong with {first}, then let it go on (lift_quarantine), or take its"
        f" annotation {QUARANTINED} away"
    )
    return [Reason("failure_budget", detail, subject=Subject("Node", first))]


def of_node(snapshot: Snapshot, name: str, wanted: Limits, now: dt.datetime) -> list[Reason]:
    """``obstacles`` but for what is in the way of all nodes alike."""
    found = list(_pods(snapshot, name, wanted))
    found += _lease(snapshot, name, now)
    if snapshot.nodes is None:
        return found
    node = snapshot.nodes.get(name)
    if node is None:
        return [_missing(snapshot, name), *found]
    return [
        *_identity(node, wanted),
        *_quarantined(node, wanted),
        *_paused(node, wanted),
        *found,
        *_counted(snapshot, name, wanted, now),
        *_left(snapshot, name, wanted),
        *snapshot.remediators.reasons(node),
    ]


def _missing(snapshot: Snapshot, name: str) -> Reason:
    have = snapshot.names
    some = _some(have)
    detail = f'there is no Node "{name}" at {snapshot.server}, which has {len(have)}{some and f": {some}"}'
    return Reason("node", f"{detail}. Check its name, and that it is this cluster", error=True)


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(printable, names[:_NAMES_SHOWN])) + (", …" if names[_NAMES_SHOWN:] else "")


def _identity(node: Object, wanted: Limits) -> Iterator[Reason]:
    """A Node of that name may be another machine's, of another cluster or of one that was made anew."""
    for key, expected in wanted.identity.items():
        have = text(node, "status", "nodeInfo", key).strip()
        if have.lower() != expected.lower():
            what = f"has {key} {printable(have) or 'unknown'}, and the machine {printable(expected)}"
            detail = f'the Node "{_subject(node).name}" {what}: they are not one, or the Node is not up to date'
            yield Reason("node", detail, error=True, subject=_subject(node))


def _quarantined(node: Object, wanted: Limits) -> Iterator[Reason]:
    value = annotations_of(node).get(QUARANTINED)
    if value is None or wanted.lift_quarantine:
        return
    found = from_json(value)
    why = ", ".join(f"{key} {printable(found[key])}" for key in ("run", "at", "reason") if key in found)
    detail = (
        f"{_subject(node).name} did not prove itself after a reboot: {why or printable(value) or 'nobody says why'}"
    )
    remedy = f"See what is wrong, then set {wanted.option}.lift_quarantine, or take its annotation {QUARANTINED} away"
    yield Reason("quarantine", f"{detail}. {remedy}", subject=_subject(node))


def _paused(node: Object, wanted: Limits) -> Iterator[Reason]:
    value = annotations_of(node).get(wanted.pause_annotation)
    # Tools that set theirs to true set it to false to go on (FLUO's reboot-paused).
    if value is not None and value.strip().lower() != "false":
        why = f": {printable(value)}" if value.strip() else ""
        detail = f"{_subject(node).name} is paused by its annotation {wanted.pause_annotation}{why}"
        yield Reason("pause", detail, subject=_subject(node))


def _subject(node: Object) -> Subject:
    return Subject("Node", printable(name_of(node)))


def _pods(snapshot: Snapshot, name: str, wanted: Limits) -> list[Reason]:
    """kured's --blocking-pod-selector: unfinished pods of the node, in any namespace; and those that may not be moved."""
    found = (reason for pod in snapshot.pods.get(name, ()) for reason in _of_pod(pod, wanted))
    return at_most("pods", sorted(found, key=lambda reason: reason.detail), "reasons")


def _of_pod(pod: Object, wanted: Limits) -> Iterator[Reason]:
    if text(pod, "status", "phase") in _FINISHED:
        return
    have = labels_of(pod)
    whys = [f"is selected by {selector.text}" for selector in wanted.selectors if selector.matches(have)]
    if wanted.safe_to_evict and annotations_of(pod).get(SAFE_TO_EVICT) == "false":
        whys.append(f"has {SAFE_TO_EVICT}=false")
    for why in whys:
        namespace, name = printable(namespace_of(pod)), printable(name_of(pod))
        detail = f"pod {namespace}/{name} runs here and {why}"
        yield Reason("pods", detail, subject=Subject("Pod", name, namespace))


def _lease(snapshot: Snapshot, name: str, now: dt.datetime) -> Iterator[Reason]:
    """medik8s' Lease of the node (common/pkg/lease), whoever holds it: we take none. One that was renewed in the future counts."""
    lease = snapshot.leases.get(f"node-{name}")
    renewed, seconds = field_of(lease, "spec", "renewTime"), field_of(lease, "spec", "leaseDurationSeconds")
    if renewed is None or seconds is None:
        return
    subject = Subject("Lease", f"node-{name}", MEDIK8S_LEASES)
    begin = instant(renewed)
    if begin is None or not isinstance(seconds, int) or not 0 <= seconds < 2**31:
        what = f"its renewTime is {printable(renewed)}, its leaseDurationSeconds {printable(seconds)}"
        yield Reason("medik8s_lease", f"the Lease node-{name} cannot be read: {what}", error=True, subject=subject)
        return
    until = begin + dt.timedelta(seconds=seconds)
    if until >= now:
        holder = printable(text(lease, "spec", "holderIdentity")) or "somebody"
        detail = f"{holder} holds the Lease {MEDIK8S_LEASES}/node-{name} until {shown(until)}"
        yield Reason("medik8s_lease", detail, until, subject=subject)


def _counted(snapshot: Snapshot, name: str, wanted: Limits, now: dt.datetime) -> Iterator[Reason]:
    """How many of the pool are down, and when one of it came up."""
    if wanted.max_unavailable is None and not wanted.spacing:
        return
    pool = snapshot.pool(wanted.pool)
    if name not in pool.by_name:
        # Of which nodes it would be one too many is not known.
        source = "spacing" if wanted.max_unavailable is None else "max_unavailable"
        detail = f"{name} is not in the pool that is counted ({wanted.pool.text}). Check {wanted.option}.pool"
        yield Reason(source, detail, error=True)
    elif wanted.max_unavailable is not None:
        yield from unavailable_reasons(pool, name, wanted.max_unavailable)
    if wanted.spacing:
        yield from spacing_reasons(pool, wanted.spacing, now)


def _left(snapshot: Snapshot, name: str, wanted: Limits) -> Sequence[Reason]:
    """Whether anything would be left: nodes for pods, a control plane, a quorum of etcd."""
    state = snapshot.states[name]
    found = sole_reasons(snapshot.all, state, wanted.allow_outage)
    if wanted.etcd == "external" or not may_be_member((snapshot.nodes or {}).get(name)):
        return found
    if wanted.etcd == "control_plane":
        return [*found, *quorum_reasons(snapshot.controllers, name, wanted.allow_outage)]
    # Not asked for, or refused, which is an error of the snapshot's.
    if snapshot.etcd is None:
        return found
    if not snapshot.members:
        detail = "no member of etcd is seen (pods of component=etcd in kube-system, nodes labelled for it)"
        remedy = (
            f"Set {wanted.option}.etcd to external where it runs elsewhere, to control_plane where it runs on each of those"
            " nodes"
        )
        return [*found, Reason("etcd", f"{detail}, so that its quorum is unknown. {remedy}")]
    return [*found, *quorum_reasons(snapshot.members, name, wanted.allow_outage)]
