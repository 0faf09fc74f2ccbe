# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is seen of the links, and what each of them shall have: pure."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.node import bridge_mtu_plan, bridges
from ansible_collections.bulwark.node.plugins.module_utils.node.bridge_mtu_firsts import First
from ansible_collections.bulwark.node.plugins.module_utils.node.bridge_mtu_options import Desired
from ansible_collections.bulwark.node.plugins.module_utils.node.bridge_mtu_persist import Persisted
from ansible_collections.bulwark.node.plugins.module_utils.node.bridge_mtu_plan import Goal
from ansible_collections.bulwark.node.plugins.module_utils.node.links import Link
from ansible_collections.bulwark.node.plugins.module_utils.node.network import Network
from ansible_collections.bulwark.node.plugins.module_utils.node.revert import Pending

__all__ = ["State", "carrying", "drawn", "goals_of", "is_to_pin", "lasting", "left_alone", "names_of", "unmet"]


@dataclass(frozen=True)
class State:
    """The links and what must not change with them.

    ``shown``: the bridges that the facts are about, ``carriers``: why a link must not fail, ``pinned``: those that we pinned
    since boot, all by index. ``firsts``: the MTUs from before us, by name. ``pending``: an armed timer, which acts in
    ``seconds``. ``probe``: what came of the probe, None where none was asked for or the MTUs are not there yet.
    """

    links: tuple[Link, ...]
    shown: tuple[int, ...]
    network: Network
    carriers: Mapping[int, str]
    pinned: frozenset[int]
    firsts: Mapping[str, First]
    persisted: Persisted
    pending: Pending | None
    seconds: int
    probe: Mapping[str, Any] | None

    @property
    def known_pinned(self) -> frozenset[int]:
        """The indexes of the bridges that are known to be pinned, by whomever."""
        return bridge_mtu_plan.pinned_ones(self.links, self.pinned)

    def facts(self) -> dict[str, Any]:
        """{bridges[]: as the subset of that name has them, revert: {token, seconds, links[]} of an armed timer, probe}."""
        found = [
            bridges.shape(link, self.links, link.index in self.pinned)
            for link in self.links
            if link.index in self.shown
        ]
        return {"bridges": found, "revert": self._revert(self.pending) if self.pending else None, "probe": self.probe}

    def _revert(self, pending: Pending) -> dict[str, Any]:
        """What the timer will do, and what of it is yet to be done."""
        by_folder = {posixpath.basename(link.folder): link for link in self.links}
        found = [(by_folder[name], old) for name, old in pending.mtus if name in by_folder]
        shown = [{"name": link.name, "mtu": link.mtu, "old": old} for link, old in found]
        return {"token": pending.token, "seconds": self.seconds, "links": shown}

    def files(self) -> Mapping[str, str | None]:
        """What the managers of the links read at boot."""
        return self.persisted.files


def is_to_pin(desired: Desired, name: str) -> bool:
    return desired.present and any(wanted.pin and wanted.name == name for wanted in desired.bridges or ())


def goals_of(state: State, desired: Desired) -> dict[int, Goal]:
    """What each link shall have; with state absent what it had before us."""
    if desired.present:
        return bridge_mtu_plan.goals(state.links, desired.bridges or (), state.known_pinned)
    names = names_of(state, desired)
    found = _firsts(state, names)
    # What they had drawn with them goes back as well.
    return {**found, **_firsts(state, {goal.link.name for goal in drawn(state, found).values()})}


def _firsts(state: State, names: Collection[str]) -> dict[int, Goal]:
    return {
        link.index: Goal(link, state.firsts[link.name].mtu, "state")
        for link in state.links
        if link.name in names and link.name in state.firsts and state.firsts[link.name].is_ours(link.mtu)
    }


def drawn(state: State, goals: Mapping[int, Goal]) -> dict[int, Goal]:
    return bridge_mtu_plan.drawn(state.links, goals, state.known_pinned)


def names_of(state: State, desired: Desired) -> set[str]:
    """With state absent: the links whose settings of ours go. Of a named bridge all that it stands on, and that stands on it."""
    if desired.bridges is None:
        return {*state.firsts, *state.persisted.names}
    found: set[str] = set()
    for wanted in desired.bridges:
        found.add(wanted.name)
        bridge = next((link for link in state.links if link.name == wanted.name), None)
        waiting = bridge_mtu_plan.ports(state.links, bridge) if bridge else []
        found.update(link.name for link in (bridge_mtu_plan.uppers(state.links, bridge) if bridge else []))
        while waiting:
            port = waiting.pop()
            found.add(port.name)
            waiting += [link for link in state.links if link.index == port.lower and link.name not in found]
    return found


def left_alone(state: State, desired: Desired) -> list[str]:
    """With state absent: the links that somebody set since, who is not to lose that."""
    if desired.present:
        return []
    names = names_of(state, desired)
    return [
        f"{link.name} is left at an MTU of {link.mtu}, for that is not the one that was set here: somebody set it since. "
        f"It had {state.firsts[link.name].mtu} before"
        for link in state.links
        if link.name in names & set(state.firsts) and not state.firsts[link.name].is_ours(link.mtu)
    ]


def lasting(state: State, goals: Mapping[int, Goal]) -> list[Goal]:
    """The goals to persist: also what an earlier run raised below them, which is as it shall be, and so no goal any more."""
    by_index = {link.index: link for link in state.links}
    found = dict(goals)
    for goal in goals.values():
        lower = by_index.get(goal.link.lower or 0)
        while lower and lower.index not in found and lower.name in state.firsts:
            found[lower.index] = Goal(lower, lower.mtu or 0, goal.option)
            lower = by_index.get(lower.lower or 0)
    return list(found.values())


def unmet(goals: Mapping[int, Goal]) -> list[Goal]:
    """The goals that are not met, those of bridges that only follow included."""
    return [goal for goal in goals.values() if goal.link.mtu != goal.mtu]


def carrying(state: State, goals: Mapping[int, Goal]) -> list[Goal]:
    """The goals that change a link which must not fail."""
    return [goal for goal in unmet(goals) if goal.link.index in state.carriers]
