# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What rebooting one node would do to the others: how many are down, since when, and who is left. Pure.

A ``Pool`` is made once for any number of nodes that are asked about: what all of them need of it is counted once.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

from ansible_collections.bulwark.node.plugins.module_utils.errors import OptionError
from ansible_collections.bulwark.node.plugins.module_utils.reboot.gate import Reason, Subject, shown

__all__ = [
    "Allowance",
    "NodeState",
    "Pool",
    "allowance",
    "quorum_reasons",
    "sole_reasons",
    "spacing_reasons",
    "unavailable_reasons",
]

_NAMED = 10
_CONSENT = "Set allow_outage where its absence is acceptable"


@dataclass(frozen=True)
class NodeState:
    """One node. ``tainted``: it takes no ordinary pod even in its best state; ``returned``: when it last came up.

    ``unclear``: when it was last rebooted cannot be read.
    """

    name: str
    ready: bool = True
    cordoned: bool = False
    rebooting: bool = False
    tainted: bool = False
    control_plane: bool = False
    returned: dt.datetime | None = None
    unclear: bool = False

    @property
    def down(self) -> bool:
        """Whether it is unavailable already."""
        return not self.ready or self.cordoned or self.rebooting

    @property
    def serves(self) -> bool:
        """Whether what runs on it runs: a cordon stops nothing."""
        return self.ready and not self.rebooting

    def why(self) -> str:
        """``b is NotReady and cordoned``."""
        words = (("NotReady", not self.ready), ("cordoned", self.cordoned), ("being rebooted", self.rebooting))
        return f"{self.name} is {' and '.join(word for word, holds in words if holds)}"


@dataclass(frozen=True)
class Pool:
    """Nodes that are counted together, each name once."""

    nodes: tuple[NodeState, ...]

    @cached_property
    def by_name(self) -> Mapping[str, NodeState]:
        """The nodes by their names."""
        return {node.name: node for node in self.nodes}

    @cached_property
    def down(self) -> Mapping[str, str]:
        """Those that are down, by name, each with why."""
        return {node.name: node.why() for node in sorted(self.nodes, key=lambda node: node.name) if node.down}

    @cached_property
    def up(self) -> frozenset[str]:
        """The names of those that are not down."""
        return frozenset(node.name for node in self.nodes if not node.down)

    @cached_property
    def serving(self) -> frozenset[str]:
        """The names of those on which runs what runs there."""
        return frozenset(node.name for node in self.nodes if node.serves)

    @cached_property
    def schedulable(self) -> Pool:
        """Those that take ordinary pods in their best state."""
        return Pool(tuple(node for node in self.nodes if not node.tainted))

    @cached_property
    def control_plane(self) -> Pool:
        """Those of the control plane."""
        return Pool(tuple(node for node in self.nodes if node.control_plane))

    @cached_property
    def unclear(self) -> Sequence[str]:
        """The names of those of which it cannot be read when they were last rebooted."""
        return sorted(node.name for node in self.nodes if node.unclear)

    @cached_property
    def latest(self) -> NodeState | None:
        """Which came up last; None where that is known of none."""
        up = [(node.returned, node.name, node) for node in self.nodes if node.returned]
        return max(up, key=lambda each: each[:2])[2] if up else None


@dataclass(frozen=True)
class Allowance:
    """How many may be down: a number, or a share in percent."""

    number: int
    percent: bool = False

    def of(self, total: int) -> int:
        """Of ``total``; a share is rounded down, to one at least, as a MachineConfigPool's."""
        return max(1, total * self.number // 100) if self.percent else self.number

    def __str__(self) -> str:
        """As it was written."""
        return f"{self.number}%" if self.percent else str(self.number)


def allowance(option: str, text: str) -> Allowance:
    """``1`` or ``10%``. Raises OptionError."""
    found = re.fullmatch(r"([1-9]\d{0,5})(%?)", text, re.ASCII)
    if not found or (found[2] and int(found[1]) > 100):
        raise OptionError(option, text, "a number from 1 on, or a share from 1% to 100%")
    return Allowance(int(found[1]), bool(found[2]))


def unavailable_reasons(pool: Pool, name: str, allowed: Allowance) -> list[Reason]:
    """Whether too many of the pool would be down with this node, which counts once, down already or not."""
    others, total = len(pool.down) - (name in pool.down), len(pool.nodes)
    if others + 1 <= allowed.of(total):
        return []
    share = f" ({allowed})" if allowed.percent else ""
    detail = f"with {name}, {others + 1} of {total} nodes would be down, and {allowed.of(total)} may be{share}"
    listed = _listed((why for other, why in pool.down.items() if other != name), others)
    return [Reason("max_unavailable", f"{detail}: {listed}")]


def spacing_reasons(pool: Pool, seconds: int, now: dt.datetime) -> list[Reason]:
    """Whether a node of the pool came up less than ``seconds`` ago, or it cannot be told."""
    unclear, latest, reasons = pool.unclear, pool.latest, []
    if unclear:
        detail = f"when it was rebooted cannot be read of {_listed(unclear, len(unclear))}"
        subject = None if unclear[1:] else Subject("Node", unclear[0])
        reasons.append(Reason("spacing", detail, error=True, subject=subject))
    if latest is None or latest.returned is None:
        return reasons
    until = latest.returned + dt.timedelta(seconds=seconds)
    if until > now:
        detail = f"{latest.name} came up at {shown(latest.returned)}, and {seconds} seconds have to pass after that"
        subject = Subject("Node", latest.name)
        reasons.append(Reason("spacing", f"{detail}, until {shown(until)}", until, subject=subject))
    return reasons


def sole_reasons(pool: Pool, node: NodeState, allow_outage: bool) -> list[Reason]:
    """Whether without this node no node is left for pods, or none of the control plane.

    ``allow_outage`` takes it where it is the only one that there is, not where others are merely down: they come back.
    """
    reasons = []
    if not node.tainted:
        reasons += _sole(pool.schedulable, pool.schedulable.up, node, "for pods", allow_outage)
    if node.control_plane:
        reasons += _sole(pool.control_plane, pool.control_plane.serving, node, "of the control plane", allow_outage)
    return reasons


def quorum_reasons(members: Mapping[str, bool], name: str, allow_outage: bool) -> list[Reason]:
    """Whether etcd would lose its quorum; ``members`` are nodes, each with whether its member is healthy.

    Of n members n // 2 + 1 have to be left (https://etcd.io/docs/latest/faq/#why-an-odd-number-of-cluster-members).
    ``allow_outage`` takes it where there are one or two, which never stand the loss of one.
    """
    if name not in members:
        return []
    total, needed = len(members), len(members) // 2 + 1
    sick = sorted(other for other, healthy in members.items() if not healthy and other != name)
    left = total - len(sick) - 1
    if left >= needed or (allow_outage and total <= 2 and not sick):
        return []
    detail = f"without {name}, {left} of {total} members of etcd would be left, and its quorum is {needed}"
    if sick:
        return [Reason("etcd", f"{detail}: no healthy member is seen on {_listed(sick, len(sick))}")]
    return [Reason("etcd", f"{detail}. {_CONSENT}")]


def _sole(pool: Pool, up: frozenset[str], node: NodeState, what: str, allow_outage: bool) -> list[Reason]:
    """``up`` are those of the pool that would do; of thousands of nodes each is asked about."""
    if len(up) > (node.name in up):
        return []
    others = len(pool.nodes) - 1
    if others:
        listed = _listed((why for name, why in pool.down.items() if name != node.name), others)
        return [Reason("last_node", f"no other node {what} is up: {listed}")]
    return [] if allow_outage else [Reason("last_node", f"{node.name} is the only node {what}. {_CONSENT}")]


def _listed(texts: Iterable[str], total: int) -> str:
    """The first of them: of thousands of nodes each may be asked about while thousands are down."""
    more = f" and {total - _NAMED} more" if total > _NAMED else ""
    return ", ".join(islice(texts, _NAMED)) + more
