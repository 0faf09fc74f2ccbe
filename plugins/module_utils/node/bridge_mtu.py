# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The MTU of bridges, their ports and what stands on them: set in an order that loses no frame, pinned, and persisted.

Sources: net/bridge/br_if.c and br_device.c for what pins a bridge; see bridge_mtu_plan.py for what the kernel refuses.
"""

from __future__ import annotations

import posixpath
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.converge import (
    Change,
    Params,
    Undos,
    Verdict,
    other_value,
)
from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError, HostError, OptionError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.manifest import Manifest
from ansible_collections.bulwark.node.plugins.module_utils.node import (
    bridge_mtu_options,
    bridge_mtu_persist,
    bridge_mtu_plan,
    bridge_mtu_verdict,
    bridge_pins,
    bridges,
    links,
    network,
    revert,
)
from ansible_collections.bulwark.node.plugins.module_utils.node.bridge_mtu_options import ARGUMENT_SPEC, Desired
from ansible_collections.bulwark.node.plugins.module_utils.node.bridge_mtu_persist import Persisted
from ansible_collections.bulwark.node.plugins.module_utils.node.bridge_mtu_plan import Goal
from ansible_collections.bulwark.node.plugins.module_utils.node.links import Link
from ansible_collections.bulwark.node.plugins.module_utils.node.network import Network
from ansible_collections.bulwark.node.plugins.module_utils.node.revert import Pending

__all__ = ["ARGUMENT_SPEC", "BridgeMtu"]

_NET = "/sys/class/net"
_SETTLES = 1.0
"""Seconds after which the links are looked at again: by then a network manager that disagrees has set its own."""


@dataclass(frozen=True)
class State:
    """The links and what must not change with them.

    ``shown``: the bridges that the facts are about, ``carriers``: why a link must not fail, ``pinned``: those that we pinned
    since boot, all by index. ``firsts``: the MTUs from before us, by name. ``probe``: what came of the probe, None where none
    was asked for or the MTUs are not there yet.
    """

    links: tuple[Link, ...]
    shown: tuple[int, ...]
    network: Network
    carriers: Mapping[int, str]
    pinned: frozenset[int]
    firsts: Mapping[str, int]
    persisted: Persisted
    pending: Pending | None
    probe: Mapping[str, Any] | None

    def facts(self) -> dict[str, Any]:
        """{bridges[]: as the subset of that name has them, revert: {token} of an armed timer, probe}."""
        found = [
            bridges.shape(link, self.links, link.index in self.pinned)
            for link in self.links
            if link.index in self.shown
        ]
        return {
            "bridges": found,
            "revert": {"token": self.pending.token} if self.pending else None,
            "probe": self.probe,
        }

    def files(self) -> Mapping[str, str | None]:
        """What the managers of the links read at boot."""
        return self.persisted.files


class BridgeMtu:
    """The domain of the module ``bridge_mtu``."""

    name = "bridge_mtu"

    def __init__(self, host: Host) -> None:
        self._host = host
        self._manifest = Manifest(host, self.name)
        self._connection = network.connection(host)
        self._looks: list[State] = []
        """Of these the first one counts: a bridge that followed its ports must not be recorded with theirs."""
        self._touched: set[int] = set()
        self._armed = False

    def desired(self, params: Params) -> Desired:
        """The options; raises OptionError."""
        return bridge_mtu_options.desired(params)

    def observe(self, desired: Desired) -> State:
        """The links, addresses and routes, and what is persisted; after changes, when a manager had time to object."""
        if self._touched:
            time.sleep(_SETTLES)
        host = self._host
        found = tuple(links.observe(host))
        now = network.observe(host)
        firsts = {
            match[1]: int(entry["before"])
            for path, entry in self._manifest.entries()["kernel"].items()
            if (match := re.fullmatch(f"{_NET}/(.+)/mtu", path, re.DOTALL))
            and entry["by"] == self.name
            and entry["before"].isdecimal()
        }
        names = set(firsts) if desired.bridges is None else {wanted.name for wanted in desired.bridges}
        shown = tuple(link.index for link in found if link.kind == "bridge" and link.name in names)
        state = State(
            links=found,
            shown=self._looks[0].shown if self._looks else shown,
            network=now,
            carriers=network.carriers(host, found, now, self._connection),
            pinned=bridge_pins.read(host),
            firsts=firsts,
            persisted=bridge_mtu_persist.observe(host, found),
            pending=revert.pending(host),
            probe=None,
        )
        self._looks.append(state)
        if desired.probe:
            goals = _goals(state, desired)
            if not _open(goals):
                return replace(state, probe=self._probe(desired.probe, goals))
        return state

    def check(self, state: State, desired: Desired) -> None:
        """Bounds, what stands on the links, the machine's own connection, and who persists it."""
        self._check_pending(state, desired)
        goals = _goals(state, desired)
        with_ipv6 = {address.index for address in state.network.addresses if address.ip.version == 6}
        bridge_mtu_plan.check(state.links, goals, with_ipv6)
        self._check_probe(desired, goals)
        cut = _carrying(state, goals)
        if cut and not desired.allow_management_link:
            goal = cut[0]
            raise BulwarkError(
                f"{goal.option}: {goal.link.name} carries {state.carriers[goal.link.index]}: if an MTU of {goal.mtu} fails there, "
                "the machine is lost. With allow_management_link a timer on it puts the old MTUs back, unless a fresh connection "
                "comes through"
            )
        changes = self.plan(state, desired)
        self._manifest.check(changes)
        if desired.present and desired.persist:
            state.persisted.check(_lasting(state, goals))

    def _check_pending(self, state: State, desired: Desired) -> None:
        pending = state.pending
        if desired.confirm is None:
            if pending:
                left = max(0, round(pending.deadline - self._host.uptime()))
                raise BulwarkError(
                    f"an earlier run's timer puts the old MTUs back in {left} s, for nobody confirmed the new ones: run this "
                    "again then"
                )
        elif pending is None or pending.token != desired.confirm:
            raise BulwarkError(
                f"confirm: no timer of that token is armed. No fresh connection came in {desired.revert_after} s, so that the old "
                "MTUs are back, and nothing is persisted. Look for a link on the way to the controller that does not carry them, "
                "or set revert_after to more"
            )
        elif pending.connection is not None and pending.connection == self._connection:
            raise BulwarkError(
                "confirm: this is the connection that set the MTUs, and proves nothing: it takes a fresh one"
            )
        elif changed := _open(_goals(state, desired)):
            # Before the timer is cancelled: it puts all of them back, and nobody else would.
            link = changed[0].link
            raise BulwarkError(
                f"confirm: {link.name} no longer has the MTU {changed[0].mtu} but {link.mtu}: the timer puts all of them back. "
                "Look who else sets it"
            )
        elif state.probe and not state.probe["passed"]:
            raise BulwarkError(
                f"confirm: {bridge_mtu_verdict.silent(state.probe).reason}: the timer puts the old MTUs back"
            )

    def plan(self, state: State, desired: Desired) -> list[Change]:
        """The links in an order that loses nothing, then pins, files, and the end of the timer."""
        goals = _goals(state, desired)
        changes = [
            Change("mtu", goal.link.name, goal.link.mtu, goal.mtu)
            for goal in bridge_mtu_plan.in_order(state.links, goals)
        ]
        pinned = bridge_mtu_plan.pinned_ones(state.links, state.pinned)
        changes += [
            Change("pin", goal.link.name, False, True)
            for goal in goals.values()
            if goal.pin and goal.link.mtu == goal.mtu and goal.link.index not in pinned
        ]
        if not desired.present:
            mtus = {link.name: link.mtu for link in state.links}
            # What is as it was, or is gone, has nothing to be given back.
            firsts = [(name, first) for name, first in state.firsts.items() if name in _names(state, desired)]
            changes += [Change("forget", name, mtu, None) for name, mtu in sorted(firsts) if mtus.get(name, mtu) == mtu]
            changes += state.persisted.remove(_names(state, desired))
        elif desired.persist:
            changes += state.persisted.plan(_lasting(state, goals))
        if desired.confirm is not None and state.pending:
            changes.append(Change("timer", "revert", desired.confirm, None))
        return changes

    def predict(self, state: State, changes: Sequence[Change]) -> State:
        """The state after the changes: a bridge that is not set follows its ports."""
        index = {link.name: link.index for link in state.links}
        now = {link.index: link.mtu or 0 for link in state.links}
        mtus = {index[change.target]: change.after for change in changes if change.kind == "mtu"}
        mtus.update({index[change.target]: now[index[change.target]] for change in changes if change.kind == "pin"})
        pinned = state.pinned | {link.index for link in state.links if link.kind == "bridge" and link.index in mtus}
        settled = bridge_mtu_plan.settle(state.links, mtus, bridge_mtu_plan.pinned_ones(state.links, pinned))
        timer = None if any(change.kind == "timer" for change in changes) else state.pending
        back = {change.target for change in changes if change.kind == "forget"}
        back |= {change.target for change in changes if change.after == state.firsts.get(change.target, -1)}
        return replace(
            state,
            links=settled,
            pinned=pinned,
            firsts={name: mtu for name, mtu in state.firsts.items() if name not in back},
            persisted=state.persisted.predict(changes),
            pending=timer,
        )

    def apply(self, change: Change, desired: Desired, undos: Undos) -> None:
        """One link, one pin, one file, or the end of the timer."""
        if change.kind == "timer":
            self._cancel(undos)
        elif change.kind == "forget":
            path, first = _path(change.target), str(change.before)
            self._manifest.change("kernel", [path], lambda name: first, lambda: None, lambda: None, undos)
        elif change.kind in ("mtu", "pin"):
            if not self._touched:
                self._arm(desired, undos)
            self._set(change, desired, undos)
        elif not self._armed:
            # Behind an armed timer nothing is persisted: that waits for the fresh connection.
            bridge_mtu_persist.apply(self._manifest, change, undos)

    def judge(self, before: State, after: State, left: Sequence[Change], desired: Desired) -> Verdict:
        """An MTU that did not stay, an address or route that was lost, a probe that fails: all fail the run."""
        goals = _goals(before, desired)
        waiting = after.pending is not None and desired.confirm is None
        followers = {goal.link.name for goal in goals.values() if goal.follows}
        unmet = [
            bridge_mtu_verdict.stays(change) if change.target in followers else other_value(change)
            for change in left
            if not (waiting and change.kind not in ("mtu", "pin"))
        ]
        unmet += bridge_mtu_verdict.lost(before.network, after.network, goals)
        if after.probe and not after.probe["passed"]:
            unmet.append(bridge_mtu_verdict.silent(after.probe))
        changed = _open(goals)
        known = bridge_mtu_plan.pinned_ones(before.links, before.pinned)
        pinning = [goal for goal in goals.values() if goal.pin and goal not in changed and goal.link.index not in known]
        return Verdict(
            unmet=tuple(unmet),
            warnings=(
                *bridge_mtu_verdict.warnings(after.links, goals.values(), bool(changed)),
                *after.persisted.warnings(goals.values(), desired),
            ),
            disruptive=tuple(bridge_mtu_verdict.disruptive(before.carriers, changed, pinning)),
            failed=bool(unmet),
        )

    def settle(self, desired: Desired) -> None:
        """Nothing: first MTUs that need not be kept are changes of their own, for an armed timer may bring them back."""

    # changes

    def _arm(self, desired: Desired, undos: Undos) -> None:
        """The way back for a machine that can no longer be reached, before the first link is touched."""
        state = self._looks[0]
        goals = _goals(state, desired)
        if not _carrying(state, goals):
            return
        steps = bridge_mtu_plan.in_order(state.links, goals)
        mtus = [(posixpath.basename(goal.link.folder), goal.link.mtu or 0) for goal in reversed(steps)]
        undos.push("the timer", self._disarm)
        revert.arm(self._host, mtus, desired.revert_after, self._connection)
        self._armed = True

    def _disarm(self) -> None:
        """Once every link is back: else the timer stays, and tries it again."""
        now = {link.index: link.mtu for link in links.observe(self._host)}
        touched = [link for link in self._looks[0].links if link.index in self._touched]
        left = [link.name for link in touched if now.get(link.index, link.mtu) != link.mtu]
        if left:
            raise BulwarkError(f"it stays armed, and tries again to put back {', '.join(left)}")
        pending = revert.pending(self._host)
        if pending:
            revert.cancel(self._host, pending)

    def _cancel(self, undos: Undos) -> None:
        armed = revert.pending(self._host)
        script = self._host.read_bytes(armed.script) if armed else None

        def put_back() -> None:
            if armed and script and not revert.pending(self._host):
                revert.act(self._host, armed, script)

        undos.push("the old MTUs", put_back)
        if armed is None or not revert.cancel(self._host, armed):
            raise BulwarkError(
                "the timer was faster than this connection: the old MTUs are back, and nothing is persisted"
            )

    def _set(self, change: Change, desired: Desired, undos: Undos) -> None:
        found = links.observe(self._host)
        link = next((link for link in found if link.name == change.target), None)
        before = self._first(change.target)
        if link is None or link.index != before.index:
            raise HostError(change.target, "is gone: somebody removed the link meanwhile", "ENODEV")
        old, path = before.mtu or 0, _path(change.target)
        mtu: int = change.after if change.kind == "mtu" else old
        self._touched.add(link.index)
        newly_pinned = False

        def stays_pinned() -> None:
            if newly_pinned:
                raise BulwarkError(f"{link.name} stays pinned: the kernel does not forget it while the bridge lives")

        if link.kind == "bridge" and not self._was_pinned(link):
            undos.push(f"the pin of {link.name}", stays_pinned)
        told: str | None = str(old)
        followed: int | None = old

        def set_mtu() -> None:
            nonlocal told, followed, newly_pinned
            followed = links.read_mtu(self._host, link.index)
            # What a timer may set again must not be forgotten before that is cancelled.
            told = "unconfirmed" if self._armed else None
            steps = [mtu]
            if followed == mtu:
                # The same value is no change, and pins nothing.
                steps = [bridge_mtu_plan.detour(link, mtu, found), mtu] if _is_to_pin(desired, link.name) else []
            for step in steps:
                links.set_mtu(self._host, link, step)
                newly_pinned = True
            if steps and link.kind == "bridge":
                bridge_pins.add(self._host, link.index, link.name)

        def put_back() -> None:
            nonlocal told, newly_pinned
            told = str(old)
            if link.kind == "bridge" and not newly_pinned and links.read_mtu(self._host, link.index) == followed:
                # It follows its ports, and goes back with them: to be set would pin it.
                return
            told = None
            links.set_mtu(self._host, link, old)
            newly_pinned = True

        self._manifest.change(
            "kernel",
            [path],
            lambda dummy: told or str(links.read_mtu(self._host, link.index)),
            set_mtu,
            put_back,
            undos,
        )

    def _first(self, name: str) -> Link:
        """A link as it was at the first look, of which the plan was made."""
        return next(link for link in self._looks[0].links if link.name == name)

    def _was_pinned(self, link: Link) -> bool:
        return link.index in bridge_mtu_plan.pinned_ones(self._looks[0].links, self._looks[0].pinned)

    def _check_probe(self, desired: Desired, goals: Mapping[int, Goal]) -> None:
        if desired.probe is not None and network.link_to(self._host, desired.probe) not in goals:
            names = ", ".join(goal.link.name for goal in goals.values())
            raise OptionError("probe", desired.probe, f"an address that is reached through one of these links: {names}")

    def _probe(self, address: str, goals: Mapping[int, Goal]) -> dict[str, Any] | None:
        from ansible_collections.bulwark.node.plugins.module_utils.node import icmp_probe

        index = network.link_to(self._host, address)
        return icmp_probe.probe(address, goals[index].mtu) if index and index in goals else None


def _path(name: str) -> str:
    return f"{_NET}/{name}/mtu"


def _is_to_pin(desired: Desired, name: str) -> bool:
    return desired.present and any(wanted.pin and wanted.name == name for wanted in desired.bridges or ())


def _goals(state: State, desired: Desired) -> dict[int, Goal]:
    """What each link shall have; with state absent what it had before us."""
    if desired.present:
        pinned = bridge_mtu_plan.pinned_ones(state.links, state.pinned)
        return bridge_mtu_plan.goals(state.links, desired.bridges or (), pinned)
    names = _names(state, desired)
    return {
        link.index: Goal(link, state.firsts[link.name], "state")
        for link in state.links
        if link.name in names and link.name in state.firsts
    }


def _names(state: State, desired: Desired) -> set[str]:
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


def _lasting(state: State, goals: Mapping[int, Goal]) -> list[Goal]:
    """The goals to persist: also what an earlier run raised below them, which is as it shall be, and so no goal any more."""
    by_index = {link.index: link for link in state.links}
    found = dict(goals)
    for goal in goals.values():
        lower = by_index.get(goal.link.lower or 0)
        while lower and lower.index not in found and lower.name in state.firsts:
            found[lower.index] = Goal(lower, lower.mtu or 0, goal.option)
            lower = by_index.get(lower.lower or 0)
    return list(found.values())


def _open(goals: Mapping[int, Goal]) -> list[Goal]:
    """The goals that are not met, those of bridges that only follow included."""
    return [goal for goal in goals.values() if goal.link.mtu != goal.mtu]


def _carrying(state: State, goals: Mapping[int, Goal]) -> list[Goal]:
    """The goals that change a link which must not fail."""
    return [goal for goal in _open(goals) if goal.link.index in state.carriers]
