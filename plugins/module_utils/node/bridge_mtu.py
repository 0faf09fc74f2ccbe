# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The MTU of bridges, their ports and what stands on them: set in an order that loses no frame, pinned, and persisted.

See bridge_mtu_link.py for what pins a bridge, bridge_mtu_plan.py for what the kernel refuses.
"""

from __future__ import annotations

import posixpath
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.converge import (
    Change,
    Params,
    Undos,
    Verdict,
    other_value,
)
from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError, HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.manifest import Manifest
from ansible_collections.bulwark.node.plugins.module_utils.node import (
    bridge_mtu_drawn,
    bridge_mtu_elsewhere,
    bridge_mtu_firsts,
    bridge_mtu_guard,
    bridge_mtu_options,
    bridge_mtu_persist,
    bridge_mtu_plan,
    bridge_mtu_state,
    bridge_mtu_verdict,
    bridge_pins,
    links,
    network,
    revert,
)
from ansible_collections.bulwark.node.plugins.module_utils.node.bridge_mtu_link import Setting
from ansible_collections.bulwark.node.plugins.module_utils.node.bridge_mtu_options import (
    ARGUMENT_SPEC,
    OLD_MTUS,
    PIN,
    Desired,
)
from ansible_collections.bulwark.node.plugins.module_utils.node.bridge_mtu_state import State

__all__ = ["ARGUMENT_SPEC", "BridgeMtu"]

_SETTLES = 1.0
"""Seconds after which the links are looked at again: by then a network manager that disagrees has set its own."""


class BridgeMtu:
    """The domain of the module ``bridge_mtu``."""

    name = "bridge_mtu"

    def __init__(self, host: Host) -> None:
        self._host = host
        self._manifest = Manifest(host, self.name)
        # By whom we were started may be another user, who says what he likes.
        self._own_connection = bridge_mtu_options.ssh_connection(network.connection(host))
        self._looks: list[State] = []
        self._touched: set[int] = set()
        self._armed = False
        self._unseen: str | None = None
        """Which network namespaces could not be looked at, and why."""

    @property
    def _start(self) -> State:
        """The first look, of which the plan was made: a bridge that followed its ports must not be recorded with theirs."""
        return self._looks[0]

    def _connection(self, desired: Desired) -> str | None:
        """The connection that this run came by: sudo and its like may have hidden it from us, but not from the login shell."""
        return self._own_connection or desired.ssh_connection

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
        persisted = bridge_mtu_persist.observe(host, found)
        firsts = bridge_mtu_firsts.read(self._manifest.mine("kernel"), host.boot_id(), persisted.mtus)
        names = set(firsts) if desired.bridges is None else {wanted.name for wanted in desired.bridges}
        shown = tuple(link.index for link in found if link.kind == "bridge" and link.name in names)
        pending = revert.pending(host)
        state = State(
            links=found,
            shown=self._start.shown if self._looks else shown,
            network=now,
            carriers=network.carriers(host, found, now, self._connection(desired)),
            pinned=bridge_pins.read(host),
            firsts=firsts,
            persisted=persisted,
            pending=pending,
            seconds=pending.seconds(host) if pending else 0,
            probe=None,
        )
        self._looks.append(state)
        return replace(state, probe=self._probe(desired.probe, state, desired)) if desired.probe else state

    def check(self, state: State, desired: Desired) -> None:
        """Bounds, what stands on the links, the machine's own connection, and who persists it."""
        try:
            bridge_mtu_guard.check_pending(state, desired, self._connection(desired))
            self._check(state, desired)
        except BulwarkError as error:
            bridge_mtu_guard.tell(error, state, desired)
            raise

    def _check(self, state: State, desired: Desired) -> None:
        goals = bridge_mtu_state.goals_of(state, desired)
        with_ipv6 = {address.index for address in state.network.addresses if address.ip.version == 6}
        drawn = bridge_mtu_state.drawn(state, goals)
        bridge_mtu_plan.check(state.links, goals, drawn, with_ipv6)
        self._unseen = bridge_mtu_elsewhere.check(self._host, [*goals.values(), *drawn.values()])
        through = network.link_to(self._host, desired.probe) if desired.probe else None
        bridge_mtu_guard.check_probe(desired, goals, through)
        bridge_mtu_guard.check_connection(state, desired, self._connection(desired), through)
        self._manifest.check(self.plan(state, desired))
        if desired.present and desired.persist:
            state.persisted.check(bridge_mtu_state.lasting(state, goals))

    def plan(self, state: State, desired: Desired) -> list[Change]:
        """The links in an order that loses nothing, then pins, files, and the end of the timer."""
        goals = bridge_mtu_state.goals_of(state, desired)
        changes = [
            Change("mtu", goal.link.name, goal.link.mtu, goal.mtu)
            for goal in bridge_mtu_plan.in_order(state.links, goals)
        ]
        pinned = state.known_pinned
        changes += [Change("pin", goal.link.name, False, True) for goal in bridge_mtu_plan.unpinned(goals, pinned)]
        if not desired.present:
            mtus = {link.name: link.mtu for link in state.links}
            names = bridge_mtu_state.names_of(state, desired)
            # What is as it was, is gone, or has another's MTU by now, has nothing to be given back.
            changes += [
                Change("forget", name, first.mtu, None)
                for name, first in sorted(state.firsts.items())
                if name in names and (mtus.get(name, first.mtu) == first.mtu or not first.is_ours(mtus[name]))
            ]
            changes += state.persisted.remove(names)
        elif desired.persist:
            changes += state.persisted.plan(bridge_mtu_state.lasting(state, goals))
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
        set_to = {change.target: change.after for change in changes if change.kind == "mtu"}
        return replace(
            state,
            links=settled,
            pinned=pinned,
            firsts={
                name: first
                for name, first in state.firsts.items()
                if name not in back and set_to.get(name) != first.mtu
            },
            persisted=state.persisted.predict(changes),
            pending=timer,
        )

    def settle(self, desired: Desired) -> None:
        """Entries that a run left which was killed go with the rest, but not before a timer is cancelled that may need them."""
        if not desired.present and not self._armed:
            self._manifest.settle()

    def apply(self, change: Change, desired: Desired, undos: Undos) -> None:
        """One link, one pin, one file, or the end of the timer."""
        if change.kind == "timer":
            self._cancel(undos)
            return
        try:
            if change.kind == "forget":
                self._manifest.forget("kernel", [bridge_mtu_firsts.path(change.target)], undos)
            elif change.kind in ("mtu", "pin"):
                if not self._touched:
                    self._arm(desired, undos)
                    self._keep(desired, undos)
                self._set(change, desired, undos)
            elif not self._armed:
                # Behind an armed timer nothing is persisted: that waits for the fresh connection.
                bridge_mtu_persist.apply(self._manifest, change, undos)
        except BulwarkError as error:
            # The timer is as it was.
            bridge_mtu_guard.tell(error, self._start, desired)
            raise

    def judge(self, before: State, after: State, left: Sequence[Change], desired: Desired) -> Verdict:
        """An MTU that did not stay, an address or route that was lost, a probe that fails: all fail the run."""
        goals = bridge_mtu_state.goals_of(before, desired)
        waiting = after.pending is not None and desired.confirm is None
        followers = {goal.link.name for goal in goals.values() if goal.follows}
        unmet = [
            bridge_mtu_verdict.stays(change) if change.target in followers else other_value(change)
            for change in left
            if not (waiting and change.kind not in ("mtu", "pin"))
        ]
        drawn = bridge_mtu_state.drawn(before, goals)
        unmet += bridge_mtu_verdict.lost(before.network, after.network, {**goals, **drawn})
        unmet += bridge_mtu_verdict.shrunk(before.links, after.links, goals, drawn)
        if after.probe and not after.probe["passed"]:
            unmet.append(bridge_mtu_verdict.silent(after.probe))
        changed = bridge_mtu_state.unmet(goals)
        pinning = bridge_mtu_plan.unpinned(goals, before.known_pinned)
        return Verdict(
            unmet=tuple(unmet),
            warnings=(
                *bridge_mtu_verdict.warnings(after.links, goals.values(), bool(changed)),
                *bridge_mtu_verdict.of_others(goals, drawn, self._unseen),
                *after.persisted.warnings(goals.values(), desired),
                *bridge_mtu_state.left_alone(before, desired),
                *(() if desired.present or self._armed else self._manifest.estranged()),
            ),
            disruptive=tuple(bridge_mtu_verdict.disruptive(before.carriers, [*changed, *drawn.values()], pinning)),
            failed=bool(unmet),
        )

    # changes

    def _arm(self, desired: Desired, undos: Undos) -> None:
        """The way back for a machine that can no longer be reached, before the first link is touched."""
        state = self._start
        goals = bridge_mtu_state.goals_of(state, desired)
        if not bridge_mtu_state.carrying(state, goals):
            return
        steps = bridge_mtu_plan.in_order(state.links, goals)
        late = bridge_mtu_drawn.last(state.links, goals, bridge_mtu_state.drawn(state, goals))
        firsts = [*(goal.link for goal in reversed(steps)), *late]
        mtus = [(posixpath.basename(link.folder), link.mtu or 0) for link in firsts]
        undos.push("the timer", self._disarm)
        proof = self._connection(desired) if desired.fresh_connection == "possible" else None
        revert.arm(self._host, mtus, desired.revert_after, proof)
        self._armed = True

    def _keep(self, desired: Desired, undos: Undos) -> None:
        """The way back of what the kernel changes with the links, pushed before theirs: it comes after it."""
        state = self._start
        goals = bridge_mtu_state.goals_of(state, desired)
        drawn = bridge_mtu_state.drawn(state, goals)
        recorded = self._manifest if desired.present else None
        low = bridge_mtu_elsewhere.lowered([*goals.values(), *drawn.values()])

        def elsewhere() -> None:
            if self._unseen and self._touched.intersection(low):
                raise BulwarkError(
                    f"it may have been made smaller, and stays so. It could not be looked at: {self._unseen}"
                )

        if self._unseen:
            undos.push("what stands on the links in other network namespaces", elsewhere)
        bridge_mtu_drawn.keep(self._host, recorded, state.links, goals, drawn, state.firsts, undos)

    def _disarm(self) -> None:
        """Once every link is back: else the timer stays, and tries it again."""
        now = {link.index: link.mtu for link in links.observe(self._host)}
        touched = [link for link in self._start.links if link.index in self._touched]
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

        undos.push(OLD_MTUS, put_back)
        if armed is None or not revert.cancel(self._host, armed):
            raise BulwarkError(
                "the timer was faster than this connection: the old MTUs are back, and nothing is persisted"
            )

    def _set(self, change: Change, desired: Desired, undos: Undos) -> None:
        """Set one link, or pin one bridge, which is to set it as well."""
        before = next(link for link in self._start.links if link.name == change.target)
        found = {link.index: link for link in links.observe(self._host)}
        link = found.get(before.index)
        if link is None or link.name != change.target:
            raise HostError(change.target, "is gone: somebody removed the link meanwhile", "ENODEV")
        mtu = int(change.after if change.kind == "mtu" else before.mtu or 0)
        steps = [mtu]
        if link.mtu == mtu:
            # The same value is no change, and pins nothing.
            steps = (
                [bridge_mtu_plan.detour(link, mtu, list(found.values())), mtu]
                if bridge_mtu_state.is_to_pin(desired, link.name)
                else []
            )
        setting = Setting(self._host, before, steps)
        first, boot = self._start.firsts.get(link.name), self._host.boot_id()
        self._touched.add(link.index)
        if link.kind == "bridge" and link.index not in self._start.known_pinned:
            undos.push(PIN.format(link.name), setting.undo_pin)
        self._manifest.change(
            "kernel",
            [bridge_mtu_firsts.path(link.name)],
            setting.read,
            setting.write,
            setting.undo,
            undos,
            # Giving it back is no other value of ours: where that is cut short, the next run goes on.
            more=bridge_mtu_firsts.noted(first, before.mtu, mtu, boot) if desired.present else None,
            # What a timer may set again must not be forgotten before that is cancelled.
            keep=self._armed,
        )

    def _probe(self, address: str, state: State, desired: Desired) -> dict[str, Any] | None:
        """What comes of the probe, once the links have what they shall have."""
        from ansible_collections.bulwark.node.plugins.module_utils.node import icmp_probe

        # Of the first look: with state absent the manifest no longer tells afterwards.
        wanted = {index: goal.mtu for index, goal in bridge_mtu_state.goals_of(self._start, desired).items()}
        if not wanted or any(link.mtu != wanted.get(link.index, link.mtu) for link in state.links):
            return None
        index = network.link_to(self._host, address)
        if index in wanted:
            return icmp_probe.probe(address, wanted[index])
        lost = {"address": address, "size": max(wanted.values()), "passed": False, "path_mtu": None}
        return {**lost, "hop": None, "hop_address": None}
