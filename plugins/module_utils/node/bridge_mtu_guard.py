# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the machine would still be reached: before the links that carry it are changed, and before the timer is cancelled. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError, OptionError
from ansible_collections.bulwark.node.plugins.module_utils.node import bridge_mtu_verdict
from ansible_collections.bulwark.node.plugins.module_utils.node.bridge_mtu_options import Desired
from ansible_collections.bulwark.node.plugins.module_utils.node.bridge_mtu_plan import Goal
from ansible_collections.bulwark.node.plugins.module_utils.node.bridge_mtu_state import (
    State,
    carrying,
    goals_of,
    unmet,
)

__all__ = ["check_connection", "check_pending", "check_probe", "tell"]

_NO_FRESH = {
    "none": ("this run comes by no connection of ssh", "run this by ssh"),
    "shared": (
        "ssh gives the same connection again after a reset of it",
        "let each have its own: no ControlMaster of another program's, and no proxy that shares one",
    ),
}
# What is there when a timer is gone, by whether the old MTUs are.
_GONE = {
    True: "the old MTUs are back, and nothing is persisted. Look for a link on the way to the controller that does not carry the new "
    "ones, or set revert_after to more",
    False: "its MTUs are there: a run confirmed them, and its answer was lost. Run this again",
}


def check_pending(state: State, desired: Desired, here: str | None) -> None:
    """Raise where a timer is armed that this run does not confirm, or where it proves nothing; ``here``: its connection."""
    pending = state.pending
    if desired.confirm is None:
        if pending:
            raise BulwarkError(
                f"an earlier run's timer puts the old MTUs back in {state.seconds} s, for nobody confirmed the new ones: run "
                "this again then"
            )
        return
    changed = unmet(goals_of(state, desired))
    if pending is None or pending.token != desired.confirm:
        raise BulwarkError(f"confirm: no timer of that token is armed any more, and {_GONE[bool(changed)]}")
    if pending.connection is not None and here is None:
        raise BulwarkError("confirm: it cannot be told by which connection this run came: it takes a fresh one")
    if pending.connection is not None and pending.connection == here:
        raise BulwarkError(
            "confirm: this is the connection that set the MTUs, and proves nothing: it takes a fresh one"
        )
    if changed:
        # Before the timer is cancelled: it puts all of them back, and nobody else would.
        link = changed[0].link
        raise BulwarkError(
            f"confirm: {link.name} no longer has the MTU {changed[0].mtu} but {link.mtu}: the timer puts all of them back. "
            "Look who else sets it"
        )
    if state.probe and not state.probe["passed"]:
        raise BulwarkError(
            f"confirm: {bridge_mtu_verdict.silent(state.probe).reason}: the timer puts the old MTUs back"
        )
    if pending.connection is None and not state.probe:
        raise BulwarkError("confirm: no connection of ssh armed this timer: it takes a probe, and none is given")


def check_probe(desired: Desired, goals: Mapping[int, Goal], through: int | None) -> None:
    """Raise OptionError where the link to the probe's address is none of those that are set."""
    if desired.probe and goals and through not in goals:
        names = ", ".join(goal.link.name for goal in goals.values())
        raise OptionError("probe", desired.probe, f"an address that is reached through one of these links: {names}")


def check_connection(state: State, desired: Desired, here: str | None, through: int | None) -> None:
    """Raise where a link would be changed that carries the machine, without consent or without a proof of it afterwards.

    ``here`` is this run's connection, ``through`` the link to the probe's address.
    """
    goals = goals_of(state, desired)
    if unmet(goals) and desired.fresh_connection != "none" and here is None:
        raise BulwarkError(
            "SSH_CONNECTION: this run came by ssh, but neither the login shell nor a process above the module has it: "
            "it is not known which links carry the connection, and so none is changed. Let a ForceCommand or a wrapper "
            "of the shell keep that variable, or run this on the machine itself, with ansible_connection=local"
        )
    cut = carrying(state, goals)
    if cut and not desired.allow_management_link:
        goal = cut[0]
        raise BulwarkError(
            f"{goal.option}: {goal.link.name} carries {state.carriers[goal.link.index]}: if an MTU of {goal.mtu} fails there, "
            "the machine is lost. With allow_management_link a timer on it puts the old MTUs back, unless a fresh connection "
            "comes through"
        )
    if cut and desired.fresh_connection != "possible":
        _check_proof(state, desired, cut, through)


def _check_proof(state: State, desired: Desired, cut: Sequence[Goal], through: int | None) -> None:
    """Without a fresh connection a probe proves, and one beyond a link that carries the machine."""
    names = ", ".join(goal.link.name for goal in cut)
    if desired.probe is None:
        found, instead = _NO_FRESH[desired.fresh_connection]
        raise OptionError(
            "allow_management_link",
            True,
            f"a probe beside it: {cut[0].link.name} carries {state.carriers[cut[0].link.index]}, and {found}, so that nothing "
            f"would show that the machine is still reached. Set probe to an address beyond {names}, or {instead}",
        )
    lowers = {link.index: link.lower for link in state.links}
    passed: set[int | None] = {None}
    while through not in passed:
        if any(goal.link.index == through for goal in cut):
            return
        passed.add(through)
        through = lowers.get(through or 0)
    raise OptionError("probe", desired.probe, f"an address that is reached through what carries the machine: {names}")


def tell(error: BulwarkError, state: State, desired: Desired) -> None:
    """Say on the error what is live, where a timer is to change that, or was."""
    if state.pending or desired.confirm is not None:
        error.details["after"] = state.facts()
