# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What to say of links whose MTU was changed: what was lost, what keeps another MTU, what may be felt. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.converge import Change, Unmet
from ansible_collections.bulwark.node.plugins.module_utils.node import (
    bridge_mtu_elsewhere,
    bridge_mtu_plan,
    bridges,
)
from ansible_collections.bulwark.node.plugins.module_utils.node.bridge_mtu_plan import Goal
from ansible_collections.bulwark.node.plugins.module_utils.node.links import Link
from ansible_collections.bulwark.node.plugins.module_utils.node.network import Network

__all__ = ["disruptive", "lost", "of_others", "shrunk", "silent", "stays", "warnings"]

_CNI = {"Cilium": "cilium_host", "Calico": "cali"}


def lost(before: Network, after: Network, goals: Mapping[int, Goal]) -> list[Unmet]:
    """Addresses and routes of the links that changed, which are no longer there; and those routes that are of no link."""
    names = {goal.link.index: goal.link.name for goal in goals.values()}
    addresses = [each for each in before.addresses - after.addresses if each.index in names]
    names[0] = "a next hop that cannot be told"
    routes = [each for each in before.routes - after.routes if each.index in names]
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
        *(
            Unmet(text, text, None, f"the route {text} was lost with the change", remedy)
            for text in sorted(before.sinks - after.sinks)
        ),
    ]


def shrunk(
    before: Sequence[Link], after: Sequence[Link], goals: Mapping[int, Goal], drawn: Mapping[int, Goal]
) -> list[Unmet]:
    """What stands on the links and was made smaller, which was not foreseen."""
    now = {link.index: link.mtu for link in after}
    found = []
    for link in bridge_mtu_plan.hanging(before, [*goals, *drawn]):
        expected = drawn[link.index].mtu if link.index in drawn else link.mtu or 0
        got = now.get(link.index)
        if link.index not in goals and got is not None and got < expected:
            reason = f"it stands on a link that was set, and was made smaller with it: it has {got} and not {expected}"
            found.append(Unmet(link.name, expected, got, reason, "Look who else writes it."))
    return found


def stays(change: Change) -> Unmet:
    """A bridge that did not follow its ports."""
    return Unmet(
        change.target,
        change.after,
        change.before,
        f"it has no port that is smaller than {change.after}, and stays at {change.before}: it was pinned",
        "Set pin to true: a bridge that is pinned cannot be unpinned while it lives.",
    )


def silent(probe: Mapping[str, Any]) -> Unmet:
    """A probe that did not pass."""
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


def warnings(links: Sequence[Link], goals: Iterable[Goal], changed: bool) -> list[str]:
    """Ports that keep a smaller MTU, and pods that do."""
    found = []
    for goal in goals:
        if goal.link.kind != "bridge":
            continue
        own = [port for port in bridge_mtu_plan.ports(links, goal.link) if (port.mtu or goal.mtu) < goal.mtu]
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
        if changed and any(link.name.startswith(name) for link in links):
            found.append(f"the pods of {product} that are there keep the MTU that they were made with: replace them")
    return found


def of_others(goals: Mapping[int, Goal], drawn: Mapping[int, Goal], unseen: str | None) -> list[str]:
    """Bridges that nobody named and that follow, and links in network namespaces that could not be looked at (``unseen``)."""
    found = [
        f"{goal.link.name}: it is not pinned, and follows {goal.drawn_by} from {goal.link.mtu} to {goal.mtu}"
        for goal in drawn.values()
        if goal.link.kind == "bridge"
    ]
    if unseen:
        names = ", ".join(
            goal.link.name for goal in bridge_mtu_elsewhere.lowered([*goals.values(), *drawn.values()]).values()
        )
        found.append(
            f"{names}: what stands on it in these network namespaces could not be seen, and is made smaller with it for good: "
            f"{unseen}"
        )
    return found


def disruptive(carriers: Mapping[int, str], changed: Iterable[Goal], pinning: Iterable[Goal]) -> list[dict[str, str]]:
    """The links whose change may be felt; ``carriers``: why a link must not fail, by its index. ``pinning``: what is only pinned."""
    found = []
    for goal in changed:
        carries = carriers.get(goal.link.index)
        if carries:
            found.append({"target": goal.link.name, "reason": f"it carries {carries}"})
        elif goal.link.kind is None:
            found.append({"target": goal.link.name, "reason": "its driver may reset the link to change the MTU"})
    for goal in pinning:
        if carries := carriers.get(goal.link.index):
            reason = f"it carries {carries}, and has another MTU for a moment, which pins it"
            found.append({"target": goal.link.name, "reason": reason})
    return found
