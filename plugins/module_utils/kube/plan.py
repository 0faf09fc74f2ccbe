# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of all reboots of a cluster: what is to become of each node, in which order, and what is in the way. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.errors import OptionError
from ansible_collections.bulwark.node.plugins.module_utils.kube.annotations import QUARANTINED, REBOOTING
from ansible_collections.bulwark.node.plugins.module_utils.kube.objects import (
    annotations_of,
    field_of,
    from_json,
    instant,
    labels_of,
    printable,
)
from ansible_collections.bulwark.node.plugins.module_utils.kube.obstacles import (
    IDENTITY_SPEC,
    Limits,
    budget_reasons,
    identity,
    of_node,
)
from ansible_collections.bulwark.node.plugins.module_utils.kube.snapshot import Snapshot, may_be_member
from ansible_collections.bulwark.node.plugins.module_utils.reboot.gate import Reason
from ansible_collections.bulwark.node.plugins.module_utils.reboot.order import Batch, Candidate, Room, batches

__all__ = ["NODES_SPEC", "ZONE", "HostState", "Plan", "Planned", "hosts", "plan"]

ZONE = "topology.kubernetes.io/zone"
NODES_SPEC: dict[str, Any] = {
    **IDENTITY_SPEC,
    "host": {"type": "str"},
    "required": {"type": "bool"},
    "since": {"type": "int"},
    "blocked": {"type": "list", "elements": "str", "default": []},
    "error": {"type": "str"},
}

_ZONE_LENGTH = 63
# What holds for all nodes that are counted together, and goes by itself: who is in its way keeps its place.
_PASSING = ("max_unavailable", "spacing")
_IN_BATCHES = ("interrupted", "planned")
_UNLISTED = Reason("node", "the nodes of the cluster could not be asked", error=True)


@dataclass(frozen=True)
class HostState:
    """What a host said of itself: ``required`` None where it could not tell; ``error``: why it could not be asked, or empty."""

    name: str
    host: str
    required: bool | None
    since: int | None
    identity: Mapping[str, str]
    blocked: Sequence[str]
    error: str


def hosts(option: str, rows: Sequence[Mapping[str, Any]]) -> list[HostState]:
    """The options of NODES_SPEC, each given below ``option``. Raises OptionError."""
    found: list[HostState] = []
    names: dict[tuple[str, str], int] = {}
    for index, row in enumerate(rows):
        path = f"{option}[{index}]"
        whose = identity(path, row)
        each = HostState(
            name=row["name"],
            host=row["host"] or row["name"],
            required=row["required"],
            since=row["since"],
            identity=whose,
            blocked=tuple(filter(None, map(str.strip, row["blocked"]))),
            error=(row["error"] or "").strip(),
        )
        for key in (("name", each.name), ("host", each.host)):
            first = names.setdefault(key, index)
            if first != index:
                raise OptionError(f"{path}.{key[0]}", key[1], f"one of its own: {option}[{first}] has it too")
        found.append(each)
    return found


@dataclass(frozen=True)
class Planned:
    """What is to become of a node: ``state`` as the module documents it, ``created`` and ``begun`` for its place."""

    asked: HostState
    state: str
    reasons: Sequence[Reason]
    zone: str = ""
    control_plane: bool = False
    created: dt.datetime | None = None
    begun: dt.datetime | None = None

    @property
    def candidate(self) -> Candidate:
        """What of it decides on its place."""
        since, interrupted = self.asked.since, self.state == "interrupted"
        return Candidate(self.asked.name, self.zone, self.control_plane, since, self.created, interrupted, self.begun)

    def as_dict(self, batch: int | None) -> dict[str, Any]:
        """For the result."""
        return {
            "name": self.asked.name,
            "host": self.asked.host,
            "required": self.asked.required,
            "state": self.state,
            "batch": batch,
            "zone": self.zone or None,
            "control_plane": self.control_plane,
            "since": self.asked.since,
            "reasons": [reason.as_dict() for reason in self.reasons],
        }


@dataclass(frozen=True)
class Plan:
    """The nodes by their names; ``reasons`` are in the way of all; ``down`` is who is down now, with why."""

    nodes: Mapping[str, Planned]
    batches: Sequence[Batch]
    reasons: Sequence[Reason]
    down: Mapping[str, str]

    def as_dict(self, is_open: bool) -> dict[str, Any]:
        """The result; ``is_open``: whether nothing is in the way of all."""
        numbers = {name: batch.number for batch in self.batches for name in batch.names}
        rest = sorted(name for name in self.nodes if name not in numbers)
        return {
            "nodes": [self.nodes[name].as_dict(numbers.get(name)) for name in (*numbers, *rest)],
            "batches": [self._batch(batch, is_open) for batch in self.batches],
            "down": [{"name": name, "why": why} for name, why in self.down.items()],
        }

    def _batch(self, batch: Batch, is_open: bool) -> dict[str, Any]:
        members = [self.nodes[name] for name in batch.names]
        return {
            "number": batch.number,
            "nodes": list(batch.names),
            "hosts": [each.asked.host for each in members],
            "interrupted": batch.interrupted,
            "may_begin": batch.interrupted or (is_open and not any(each.reasons for each in members)),
        }


def plan(
    snapshot: Snapshot, asked: Sequence[HostState], wanted: Limits, most: int, zone_label: str, now: dt.datetime
) -> Plan:
    """The plan for these hosts; ``most`` of them at once.

    What was interrupted is ended before anything else begins: all that comes after is planned as if that had been done.
    """
    known = snapshot.nodes or {}
    states = {each.name: _state(annotations_of(known.get(each.name)), each, wanted) for each in asked}
    resumed = frozenset(name for name, state in states.items() if state == "interrupted")
    later = replace(snapshot, healed=resumed)
    nodes = {each.name: _planned(later, each, wanted, zone_label, now) for each in asked}
    room = Room.of(most, later.all, later.pool(wanted.pool), wanted.max_unavailable)
    return Plan(
        nodes,
        batches((each.candidate for each in nodes.values() if each.state in _IN_BATCHES), room),
        [*(error for error in snapshot.errors if error.source != "etcd"), *budget_reasons(later, wanted)],
        snapshot.all.down,
    )


def _state(own: Mapping[str, str], asked: HostState, wanted: Limits) -> str:
    """Of a node with these annotations; what is in its way is not known yet."""
    if QUARANTINED in own and not wanted.lift_quarantine:
        return "quarantined"
    if asked.error:
        return "not_asked"
    if REBOOTING in own:
        return "interrupted"
    if asked.required is None:
        return "unknown"
    return "planned" if asked.required else "not_required"


def _planned(snapshot: Snapshot, asked: HostState, wanted: Limits, zone_label: str, now: dt.datetime) -> Planned:
    node = (snapshot.nodes or {}).get(asked.name)
    own = annotations_of(node)
    state = _state(own, asked, wanted)
    if snapshot.nodes is None:
        return Planned(asked, "blocked" if state == "planned" else state, [*_of_host(asked), _UNLISTED])
    if node is None:
        state = "absent"
    member = node is not None and (may_be_member(node) or asked.name in snapshot.members)
    reasons: list[Reason] = []
    if state != "not_required":
        errors = [error for error in snapshot.errors if member and error.source == "etcd"]
        whose = replace(wanted, identity=asked.identity)
        reasons = [*_of_host(asked), *errors, *of_node(snapshot, asked.name, whose, now)]
    if state == "planned" and any(reason.error or reason.source not in _PASSING for reason in reasons):
        state = "blocked"
    return Planned(
        asked,
        state,
        reasons,
        printable(labels_of(node).get(zone_label, ""), _ZONE_LENGTH),
        member,
        instant(field_of(node, "metadata", "creationTimestamp")),
        instant(from_json(own.get(REBOOTING, "")).get("at")),
    )


def _of_host(asked: HostState) -> Iterator[Reason]:
    """What the machine itself has against it."""
    if asked.error:
        yield Reason("host", f"{asked.host} could not be asked: {printable(asked.error)}", error=True)
    elif asked.required is None:
        yield Reason("host", f"{asked.host} could not tell whether it needs a reboot", error=True)
    for text in asked.blocked:
        yield Reason("host", f"{asked.host} must not be rebooted now: {printable(text)}")
