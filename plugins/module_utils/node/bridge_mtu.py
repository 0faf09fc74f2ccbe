# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The MTU of bridges, their ports and what stands on them: set in an order that loses no frame, pinned, and persisted.

Sources: net/bridge/br_if.c and br_device.c for what pins a bridge; see bridge_mtu_plan.py for what the kernel refuses.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.converge import (
    Change,
    Params,
    Undos,
    Unmet,
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
    bridge_pins,
    bridges,
    icmp_probe,
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
_CNI = {"Cilium": "cilium_host", "Calico": "cali"}


@dataclass(frozen=True)
class State:
    """The links and what must not change with them. ``firsts``: the MTUs from before us, by name.

    ``carriers``: why a link must not fail, by index. ``pinned``: the bridges that we pinned since boot.
    ``probe``: what came of the probe, None where none was asked for or the MTUs are not there yet.
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
        """{bridges[]: as the subset of that name has them, revert: {token, seconds} of an armed timer, probe}."""
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
        self._before: dict[str, int] = {}
        """The MTUs of the first look, by path: a bridge that followed its ports must not be recorded with theirs."""
        self._touched: dict[str, Link] = {}
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
            path[len(_NET) + 1 : -len("/mtu")]: int(entry["before"])
            for path, entry in self._manifest.entries()["kernel"].items()
            if entry["by"] == self.name
        }
        names = set(firsts) if desired.bridges is None else {wanted.name for wanted in desired.bridges}
        state = State(
            links=found,
            shown=tuple(link.index for link in found if link.kind == "bridge" and link.name in names),
            network=now,
            carriers=network.carriers(host, found, now, self._connection),
            pinned=bridge_pins.read(host),
            firsts=firsts,
            persisted=bridge_mtu_persist.observe(host, found),
            pending=revert.pending(host),
            probe=None,
        )
        if not self._before:
            self._before = {f"{_NET}/{link.name}/mtu": link.mtu for link in found if link.mtu is not None}
        if desired.probe:
            goals = _goals(state, desired)
            if not bridge_mtu_plan.in_order(found, goals):
                return replace(state, probe=self._probe(state, desired.probe, goals))
        return state

    def check(self, state: State, desired: Desired) -> None:
        """Bounds, what stands on the links, the machine's own connection, and who persists it."""
        self._check_pending(state, desired)
        goals = _goals(state, desired)
        with_ipv6 = {address.index for address in state.network.addresses if address.ip.version == 6}
        bridge_mtu_plan.check(state.links, goals, with_ipv6)
        self._check_probe(state, desired, goals)
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
            state.persisted.check(goals.values())

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
                f"confirm: no timer of that token is armed: it was faster, the old MTUs are back after {desired.revert_after} s, "
                "and nothing is persisted. The new MTUs do not carry a connection from the controller"
            )
        elif pending.connection is not None and pending.connection == self._connection:
            raise BulwarkError(
                "confirm: this is the connection that set the MTUs, and proves nothing: it takes a fresh one"
            )

    def plan(self, state: State, desired: Desired) -> list[Change]:
        """The links in an order that loses nothing, then pins, files, and the end of the timer."""
        goals = _goals(state, desired)
        changes = [
            Change("mtu", goal.link.name, goal.link.mtu, goal.mtu)
            for goal in bridge_mtu_plan.in_order(state.links, goals)
        ]
        changes += [
            Change("pin", goal.link.name, False, True)
            for goal in goals.values()
            if goal.pin and goal.link.mtu == goal.mtu and not _is_pinned(state, goal.link)
        ]
        if not desired.present:
            changes += state.persisted.remove(_names(state, desired))
        elif desired.persist:
            changes += state.persisted.plan(goals.values())
        if desired.confirm is not None and state.pending:
            changes.append(Change("timer", "revert", desired.confirm, None))
        return changes

    def predict(self, state: State, changes: Sequence[Change]) -> State:
        """The state after the changes: a bridge that is not set follows its ports."""
        index = {link.name: link.index for link in state.links}
        mtus = {index[change.target]: change.after for change in changes if change.kind == "mtu"}
        pinned = {index[change.target] for change in changes if change.kind in ("mtu", "pin")}
        pinned &= {link.index for link in state.links if link.kind == "bridge"}
        settled = bridge_mtu_plan.settle(state.links, mtus, state.pinned | pinned)
        timer = None if any(change.kind == "timer" for change in changes) else state.pending
        return replace(
            state,
            links=settled,
            pinned=state.pinned | pinned,
            persisted=state.persisted.predict(changes),
            pending=timer,
        )

    def apply(self, change: Change, desired: Desired, undos: Undos) -> None:
        """One link, one pin, one file, or the end of the timer."""
        if change.kind == "timer":
            self._cancel(undos)
        elif change.kind in ("mtu", "pin"):
            if not self._touched:
                self._arm(desired, undos)
            self._set(change, desired, undos)
        elif not self._armed:
            # Behind an armed timer nothing is persisted: that waits for the fresh connection.
            bridge_mtu_persist.apply(self._host, self._manifest, change, undos)

    def judge(self, before: State, after: State, left: Sequence[Change], desired: Desired) -> Verdict:
        """An MTU that did not stay, an address or route that was lost, a probe that fails: all fail the run."""
        goals = _goals(before, desired)
        waiting = after.pending is not None and desired.confirm is None
        unmet = [other_value(change) for change in left if not (waiting and change.kind in ("file", "timer"))]
        unmet += _lost(before, after, goals)
        if after.probe and not after.probe["passed"]:
            unmet.append(_silent(after.probe, desired))
        changed = [goal for goal in goals.values() if goal.link.mtu != goal.mtu]
        return Verdict(
            unmet=tuple(unmet),
            warnings=(*_warnings(after, goals, changed), *after.persisted.warnings(goals.values(), desired)),
            disruptive=tuple(_disruptive(before, changed)),
            failed=bool(unmet),
        )

    # changes

    def _arm(self, desired: Desired, undos: Undos) -> None:
        """The way back for a machine that can no longer be reached, before the first link is touched."""
        state = self.observe(desired)
        goals = _goals(state, desired)
        if not _carrying(state, goals):
            return
        steps = bridge_mtu_plan.in_order(state.links, goals)
        mtus = [(goal.link.name, goal.link.mtu or 0) for goal in reversed(steps)]
        undos.push("the timer", lambda: self._disarm())
        revert.arm(self._host, mtus, desired.revert_after, self._connection)
        self._armed = True

    def _disarm(self) -> None:
        pending = revert.pending(self._host)
        if pending:
            revert.cancel(self._host, pending)

    def _cancel(self, undos: Undos) -> None:
        pending = revert.pending(self._host)
        if pending is None or not revert.cancel(self._host, pending):
            raise BulwarkError(
                "the timer was faster than this connection: the old MTUs are back, and nothing is persisted"
            )

    def _set(self, change: Change, desired: Desired, undos: Undos) -> None:
        found = links.observe(self._host)
        link = next((link for link in found if link.name == change.target), None)
        if link is None:
            raise HostError(change.target, "is gone: somebody removed the link meanwhile", "ENODEV")
        mtu: int = change.after if change.kind == "mtu" else self._before[f"{_NET}/{link.name}/mtu"]
        path = f"{_NET}/{link.name}/mtu"
        self._touched[path] = link
        pins = link.kind == "bridge"
        if pins and link.index not in bridge_pins.read(self._host):
            undos.push(f"the pin of {link.name}", lambda: _stays_pinned(self._host, link))

        def read(name: str) -> str:
            return str(links.read_mtu(self._host, self._touched[name].index))

        first = {path: str(self._before[path])}

        def set_mtu() -> None:
            first.clear()
            if pins and links.read_mtu(self._host, link.index) == mtu:
                # The same value is no change, and pins nothing.
                links.set_mtu(self._host, link, bridge_mtu_plan.detour(link, mtu, found, ()))
            links.set_mtu(self._host, link, mtu)
            if pins:
                bridge_pins.add(self._host, link.index, link.name)

        self._manifest.change(
            "kernel",
            [path],
            lambda name: first.get(name) or read(name),
            set_mtu,
            lambda: links.set_mtu(self._host, link, self._before[path]),
            undos,
        )

    def _check_probe(self, state: State, desired: Desired, goals: Mapping[int, Goal]) -> None:
        if desired.probe is not None and network.link_to(self._host, desired.probe) not in goals:
            names = ", ".join(goal.link.name for goal in goals.values())
            raise OptionError("probe", desired.probe, f"an address that is reached through one of these links: {names}")

    def _probe(self, state: State, address: str, goals: Mapping[int, Goal]) -> dict[str, Any] | None:
        index = network.link_to(self._host, address)
        return icmp_probe.probe(address, goals[index].mtu) if index and index in goals else None


def _stays_pinned(host: Host, link: Link) -> None:
    if link.index in bridge_pins.read(host):
        raise BulwarkError(f"{link.name} stays pinned: the kernel does not forget it while the bridge lives")


def _goals(state: State, desired: Desired) -> dict[int, Goal]:
    """What each link shall have; with state absent what it had before us."""
    if desired.present:
        return bridge_mtu_plan.goals(state.links, desired.bridges or ())
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


def _is_pinned(state: State, link: Link) -> bool:
    own = [port.mtu for port in bridge_mtu_plan.ports(state.links, link) if port.mtu is not None]
    return link.index in state.pinned or bridges.pinned(link.mtu, own)[0] is True


def _carrying(state: State, goals: Mapping[int, Goal]) -> list[Goal]:
    """The goals that change a link which must not fail."""
    return [goal for goal in goals.values() if goal.link.mtu != goal.mtu and goal.link.index in state.carriers]


def _lost(before: State, after: State, goals: Mapping[int, Goal]) -> list[Unmet]:
    """Addresses and routes of the links that we touched, which are no longer there."""
    names = {goal.link.index: goal.link.name for goal in goals.values()}
    addresses = [each for each in before.network.addresses - after.network.addresses if each.index in names]
    routes = [each for each in before.network.routes - after.network.routes if each.index in names]
    remedy = "The kernel or a network manager removed it. Look who else configures the link."
    return [
        *(
            Unmet(names[each.index], each.text, None, f"the address {each.text} was lost with the change", remedy)
            for each in sorted(addresses, key=lambda each: each.text)
        ),
        *(
            Unmet(
                names[each.index],
                each.destination or "default",
                None,
                f"the route to {each.destination or 'everywhere'} was lost with the change",
                remedy,
            )
            for each in sorted(routes, key=lambda each: each.destination or "")
        ),
    ]


def _silent(probe: Mapping[str, Any], desired: Desired) -> Unmet:
    hop = (
        f"at hop {probe['hop']} ({probe['hop_address'] or 'it does not answer'})"
        if probe["hop"]
        else "somewhere on the way"
    )
    return Unmet(
        "probe",
        probe["size"],
        probe["path_mtu"],
        f"no packet of {probe['size']} bytes comes back from {probe['address']}: it is lost {hop}",
        "Raise the MTU there first, or ask for a smaller one.",
        dict(probe),
    )


def _warnings(state: State, goals: Mapping[int, Goal], changed: Sequence[Goal]) -> list[str]:
    """Ports and links above that keep another MTU, and pods that do."""
    found = []
    for goal in goals.values():
        if goal.link.kind != "bridge":
            continue
        own = [port for port in bridge_mtu_plan.ports(state.links, goal.link) if (port.mtu or goal.mtu) < goal.mtu]
        for words, some in (
            ("ports of guests and pods keep", [port for port in own if bridges.dynamic(port)]),
            ("ports keep", [port for port in own if not bridges.dynamic(port)]),
        ):
            if some:
                names = ", ".join(f"{port.name} ({port.mtu})" for port in some[:20])
                found.append(
                    f"{goal.link.name}: these {words} a smaller MTU than {goal.mtu}, and larger frames are dropped there "
                    f"without a word: {names}"
                )
    for product, name in _CNI.items():
        if changed and any(link.name.startswith(name) for link in state.links):
            found.append(f"the pods of {product} that are there keep the MTU that they were made with: replace them")
    return found


def _disruptive(state: State, changed: Sequence[Goal]) -> list[dict[str, str]]:
    found = []
    for goal in changed:
        carries = state.carriers.get(goal.link.index)
        if carries:
            found.append({"what": goal.link.name, "reason": f"it carries {carries}"})
        elif goal.link.kind is None:
            found.append({"what": goal.link.name, "reason": "its driver may reset the link to change the MTU"})
    return found
