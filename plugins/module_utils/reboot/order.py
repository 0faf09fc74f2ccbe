# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""In which order nodes are rebooted, and which of them at once. Pure.

A batch is of one zone. Who is of the control plane, or has a member of etcd, is alone in its batch and comes last, so that what
holds for one node (somebody is left, the quorum of etcd) holds for the batch.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.reboot.fleet import Allowance, Pool

__all__ = ["Batch", "Candidate", "Room", "batches"]

_LATE = dt.datetime.max.replace(tzinfo=dt.timezone.utc)


@dataclass(frozen=True)
class Candidate:
    """A node that is to be rebooted.

    ``alone``: it is of the control plane, or has a member of etcd; ``since``: when a reboot was first asked for, in seconds
    since the epoch; ``interrupted``: a run began with it and did not end; ``begun``: when.
    """

    name: str
    zone: str = ""
    alone: bool = False
    since: int | None = None
    created: dt.datetime | None = None
    interrupted: bool = False
    begun: dt.datetime | None = None

    @property
    def key(self) -> tuple[Any, ...]:
        """What it is sorted by: no two are alike, for names are not."""
        begun = not self.interrupted, (self.interrupted and self.begun) or _LATE
        waits = self.since is None, self.since or 0
        return (*begun, self.alone, self.zone, *waits, self.created or _LATE, self.name)


@dataclass(frozen=True)
class Batch:
    """Nodes that are rebooted at once; ``number`` counts from 1."""

    number: int
    names: tuple[str, ...]
    interrupted: bool = False


@dataclass(frozen=True)
class Room:
    """How much may be taken at once: ``most`` nodes, ``free`` of those that are not ``down``, and not all of ``up``.

    ``free`` is None where nothing is counted, ``down`` who of the pool that is counted is down already, ``up`` who is there for pods.
    """

    most: int = 1
    free: int | None = None
    down: frozenset[str] = frozenset()
    up: frozenset[str] = frozenset()

    @classmethod
    def of(cls, most: int, everyone: Pool, counted: Pool, allowed: Allowance | None) -> Room:
        """Of a cluster; ``counted`` is the pool of which ``allowed`` may be down, None: any number."""
        return cls(
            most,
            None if allowed is None else allowed.of(len(counted.nodes)) - len(counted.down),
            frozenset(counted.down),
            everyone.schedulable.up,
        )


@dataclass
class _Open:
    """A batch while nodes are added."""

    room: Room
    members: list[Candidate] = field(default_factory=list)
    taken: int = 0
    emptied: int = 0

    def fits(self, other: Candidate) -> bool:
        """Whether one more may be taken with those that are in it; the first always may, for of one node its gate judges."""
        if not self.members:
            return True
        first, room = self.members[0], self.room
        if len(self.members) >= room.most or first.alone or other.alone or first.zone != other.zone:
            return False
        if first.interrupted or other.interrupted:
            return False
        taken, emptied = self.taken + self._takes(other), self.emptied + (other.name in room.up)
        return (room.free is None or taken <= room.free) and (not emptied or emptied < len(room.up))

    def add(self, other: Candidate) -> None:
        self.members.append(other)
        self.taken += self._takes(other)
        self.emptied += other.name in self.room.up

    def _takes(self, other: Candidate) -> bool:
        return other.name not in self.room.down


def batches(candidates: Iterable[Candidate], room: Room) -> Sequence[Batch]:
    """Every candidate in one batch.

    First those with which a run began, the earliest first; then workers before the control plane, zone by zone; of a zone first whoever has
    waited longest, then the oldest node.
    """
    found: list[_Open] = []
    for each in sorted(candidates, key=lambda candidate: candidate.key):
        if not found or not found[-1].fits(each):
            found.append(_Open(room))
        found[-1].add(each)
    return [
        Batch(number, tuple(each.name for each in batch.members), batch.members[0].interrupted)
        for number, batch in enumerate(found, 1)
    ]
