# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which links get which MTU, in which order, and what the kernel would refuse: pure, over the links as they are.

Sources: dev_validate_mtu() in net/core/dev.c, vlan_device_event() and vlan_dev_change_mtu() in net/8021q, br_mtu_auto_adjust()
in net/bridge/br_if.c, bond_change_mtu() in drivers/net/bonding, vxlan_change_mtu() in drivers/net/vxlan, ipvlan_device_event() in
drivers/net/ipvlan, macsec_notify() in drivers/net/macsec.c.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError, OptionError
from ansible_collections.bulwark.node.plugins.module_utils.node import bridges
from ansible_collections.bulwark.node.plugins.module_utils.node.bridge_mtu_options import ALL, IPV6_MINIMUM, Wanted
from ansible_collections.bulwark.node.plugins.module_utils.node.links import Link

__all__ = [
    "MIRROR",
    "SHRINK",
    "Goal",
    "check",
    "detour",
    "drawn",
    "given",
    "goals",
    "hanging",
    "in_order",
    "pinned_ones",
    "ports",
    "settle",
    "unpinned",
    "uppers",
]

SHRINK = ("vlan", "macvlan", "macvtap", "macsec")
"""Kinds that the kernel makes smaller with what they stand on, and never larger again."""
MIRROR = ("ipvlan", "ipvtap")
"""Kinds that it gives the MTU of what they stand on whenever that is set."""
_BOUND_TO_LOWER = (*SHRINK, *MIRROR)
# They give their slaves their own MTU.
_BONDS = ("bond", "team")


@dataclass(frozen=True)
class Goal:
    """The MTU that a link shall have, and the option that asks for it.

    ``pin``: it is a bridge that shall keep it. ``follows``: it is one that comes to it by its ports, and is not set.
    ``drawn_by``: the name of the link with which this one merely changes, though nobody asked for it.
    """

    link: Link
    mtu: int
    option: str
    pin: bool = False
    follows: bool = False
    drawn_by: str | None = None

    @property
    def pins(self) -> bool:
        """Whether it is a bridge that the change pins: also where it is raised for what stands on it, which sets it."""
        return self.pin or (self.link.kind == "bridge" and not self.option.endswith(".mtu"))


def ports(links: Sequence[Link], bridge: Link) -> list[Link]:
    """The ports of a bridge."""
    return [link for link in links if link.master == bridge.index]


def uppers(links: Sequence[Link], lower: Link) -> list[Link]:
    """What stands on a link: VLANs and their like."""
    return [link for link in links if link.lower == lower.index and link.index != lower.index]


def goals(links: Sequence[Link], wanted: Sequence[Wanted], pinned: Collection[int]) -> dict[int, Goal]:
    """The goals by the links' indexes; ``pinned`` are the bridges that are known to be.

    Raises OptionError where a name is none, or two bridges disagree on a link.
    """
    found: dict[int, Goal] = {}
    for each in wanted:
        bridge = _bridge(links, each)
        mtu = each.mtu or 0
        own = ports(links, bridge)
        chosen = _chosen(f"{each.option}.ports", each.ports, own, bridge, "a port of")
        # Nobody names all of those that come and go: they are somebody's guests and pods.
        asked = [port for port in chosen if not (each.ports == (ALL,) and bridges.dynamic(port))]
        above = _chosen(f"{each.option}.uppers", each.uppers, uppers(links, bridge), bridge, "a link on")
        _add(found, Goal(bridge, mtu, f"{each.option}.mtu", each.pin))
        for port in asked:
            _add(found, Goal(port, mtu, f"{each.option}.ports"))
        # A tunnel cannot have the same.
        for upper in (upper for upper in above if not (each.uppers == (ALL,) and upper.overhead)):
            _add(found, Goal(upper, mtu, f"{each.option}.uppers"))
    named = frozenset(found)
    for goal in list(found.values()):
        _raise_lowers(links, goal, found, named)
    return {index: replace(goal, follows=_follows(links, goal, found, pinned)) for index, goal in found.items()}


def _bridge(links: Sequence[Link], wanted: Wanted) -> Link:
    named = next((link for link in links if link.name == wanted.name), None)
    if named and named.kind == "bridge":
        return named
    if named and (named.kind == "openvswitch" or any(link.name == "ovs-system" for link in links)):
        raise BulwarkError(
            f"{wanted.option}.name: {wanted.name} is a bridge of Open vSwitch, which follows its ports by rules of its own. "
            f"Run: ovs-vsctl set interface {wanted.name} mtu_request={wanted.mtu}"
        )
    known = ", ".join(link.name for link in links if link.kind == "bridge") or "none"
    raise OptionError(f"{wanted.option}.name", wanted.name, f"a bridge of this machine: {known}")


def _chosen(option: str, names: Collection[str], offered: Sequence[Link], bridge: Link, what: str) -> list[Link]:
    if tuple(names) == (ALL,):
        return list(offered)
    known = {link.name: link for link in offered}
    for name in names:
        if name not in known:
            raise OptionError(option, name, f"{what} {bridge.name}: {', '.join(known) or 'none'}")
    return [known[name] for name in names]


def _add(found: dict[int, Goal], goal: Goal) -> None:
    earlier = found.setdefault(goal.link.index, goal)
    if earlier.mtu != goal.mtu:
        raise OptionError(goal.option, goal.mtu, f"{earlier.mtu} for {goal.link.name}, as {earlier.option} has it")


def _raise_lowers(links: Sequence[Link], goal: Goal, found: dict[int, Goal], named: Collection[int]) -> None:
    """A VLAN is never larger than what it stands on: that grows with it, and is never made smaller for it."""
    lower = _by_index(links, goal.link.lower) if goal.link.kind in _BOUND_TO_LOWER else None
    if lower is None:
        return
    known, room = found.get(lower.index), goal.mtu + goal.link.overhead
    if max(lower.mtu or 0, known.mtu if known else 0) < room and lower.index not in named:
        found[lower.index] = Goal(lower, room, goal.option)
        _raise_lowers(links, found[lower.index], found, named)


def _follows(links: Sequence[Link], goal: Goal, found: Mapping[int, Goal], pinned: Collection[int]) -> bool:
    """Whether a bridge that shall not be pinned comes to its MTU by its ports: to set it would pin it."""
    if goal.pin or not goal.option.endswith(".mtu"):
        return False
    if goal.link.mtu == goal.mtu or goal.link.index in pinned:
        return False
    own = ports(links, goal.link)
    smallest = min((found[port.index].mtu if port.index in found else port.mtu or 0 for port in own), default=None)
    if smallest != goal.mtu:
        option = f"{goal.option.rpartition('.')[0]}.pin"
        raise OptionError(
            option,
            False,
            f"true, or ports of which the smallest is {goal.mtu}: {goal.link.name} would follow {smallest}",
        )
    return True


def in_order(links: Sequence[Link], wanted: Mapping[int, Goal]) -> list[Goal]:
    """The goals that are not met: first what shrinks, from the top, then what grows, from the bottom.

    So no link is ever larger than what carries its frames. Last comes what is ``given`` the MTU of another, which is set before.
    """
    open_goals = [goal for goal in wanted.values() if goal.link.mtu != goal.mtu and not goal.follows]
    late = [goal for goal in open_goals if given(links, goal.link)]
    shrinking = [goal for goal in open_goals if goal not in late and (goal.link.mtu or 0) > goal.mtu]
    growing = [goal for goal in open_goals if goal not in late and (goal.link.mtu or 0) < goal.mtu]
    return [
        *sorted(shrinking, key=lambda goal: (-_height(links, goal.link), goal.link.index)),
        *sorted(growing, key=lambda goal: (_height(links, goal.link), goal.link.index)),
        *sorted(late, key=lambda goal: (_height(links, goal.link), goal.link.index)),
    ]


def unpinned(wanted: Mapping[int, Goal], pinned: Collection[int]) -> list[Goal]:
    """The bridges that have the MTU, and are to be pinned at it."""
    return [
        goal for goal in wanted.values() if goal.pin and goal.link.mtu == goal.mtu and goal.link.index not in pinned
    ]


def given(links: Sequence[Link], link: Link) -> bool:
    """Whether a link gets the MTU of another one whenever that is set: what mirrors it, and a slave of a bond."""
    master = _by_index(links, link.master)
    return link.kind in MIRROR or (master is not None and master.kind in _BONDS)


def _height(links: Sequence[Link], link: Link, seen: tuple[int, ...] = ()) -> int:
    """How many links lie below the one, at most."""
    if link.index in seen:
        return 0
    below = [other for other in links if other.index == link.lower or other.master == link.index]
    return max((1 + _height(links, other, (*seen, link.index)) for other in below), default=0)


def settle(links: Sequence[Link], mtus: Mapping[int, int], pinned: Collection[int]) -> tuple[Link, ...]:
    """The links after these MTUs were set, in this order: a bridge that nobody set and that is not ``pinned`` follows its ports."""
    settled = _settled(links, mtus, pinned)
    return tuple(replace(link, mtu=settled[link.index][0]) if link.index in settled else link for link in links)


def drawn(links: Sequence[Link], wanted: Mapping[int, Goal], pinned: Collection[int]) -> dict[int, Goal]:
    """What merely changes with the goals that are not met, and with pins, by index: nobody asked for it."""
    steps = {goal.link.index: goal.mtu for goal in (*in_order(links, wanted), *unpinned(wanted, pinned))}
    settled = _settled(links, steps, pinned)
    found = {}
    for link in links:
        mtu, cause = settled.get(link.index, (link.mtu, 0))
        if mtu is not None and mtu != link.mtu and link.index not in wanted:
            found[link.index] = Goal(link, mtu, wanted[cause].option, drawn_by=wanted[cause].link.name)
    return found


def hanging(links: Sequence[Link], indexes: Collection[int]) -> list[Link]:
    """What stands on these, or is a slave of one, and so on, from the bottom: with them the kernel may change it. Bridges are not among it."""
    bonds = [link.index for link in links if link.kind in _BONDS]
    found: dict[int, Link] = {}
    waiting = list(indexes)
    while waiting:
        at = waiting.pop()
        for link in links:
            if link.index not in found and at in (link.lower, link.master if link.master in bonds else None):
                found[link.index] = link
                waiting.append(link.index)
    return sorted(found.values(), key=lambda link: (_height(links, link), link.index))


def _settled(links: Sequence[Link], mtus: Mapping[int, int], pinned: Collection[int]) -> dict[int, tuple[int, int]]:
    """(MTU, index of the link that was set for it) of all that is set, and that the kernel then changes; by index."""
    now = {link.index: link.mtu or 0 for link in links}
    found = {}
    for cause, asked in mtus.items():
        seen: set[int] = set()
        waiting = [(cause, asked)]
        while waiting:
            at, mtu = waiting.pop(0)
            # Masters and lower links may be told in a circle.
            if at not in seen:
                seen.add(at)
                now[at] = mtu
                found[at] = (mtu, cause)
                waiting += _changed_with(links, at, now, {*pinned, *mtus})
    return found


def _changed_with(
    links: Sequence[Link], at: int, now: Mapping[int, int], held: Collection[int]
) -> Iterator[tuple[int, int]]:
    """(index, MTU) of what the kernel changes when a link has changed; ``held`` are the bridges that do not follow."""
    link = _by_index(links, at)
    if link is None:
        return
    for upper in uppers(links, link):
        room = now[at] - upper.overhead
        if upper.kind in MIRROR or (upper.kind in SHRINK and now[upper.index] > room):
            yield upper.index, room
    if link.kind in _BONDS:
        yield from ((slave.index, now[at]) for slave in ports(links, link))
    master = _by_index(links, link.master)
    if master and master.kind == "bridge" and master.index not in held:
        smallest = min((now[port.index] for port in ports(links, master) if port.mtu), default=now[master.index])
        if smallest != now[master.index]:
            yield master.index, smallest


def pinned_ones(links: Sequence[Link], recorded: Collection[int]) -> frozenset[int]:
    """The bridges that are known to be pinned: by our record, or by an MTU that is not the smallest of their ports."""
    return frozenset(
        link.index
        for link in links
        if link.kind == "bridge"
        and (
            link.index in recorded
            or bridges.pinned(link.mtu, [port.mtu for port in ports(links, link) if port.mtu is not None])[0]
        )
    )


def check(
    links: Sequence[Link], wanted: Mapping[int, Goal], also: Mapping[int, Goal], with_ipv6: Collection[int]
) -> None:
    """Raise for the first change that the kernel would refuse, or answer with a loss that cannot be made good.

    ``also``: what is ``drawn``, ``with_ipv6``: the indexes of the links with an IPv6 address.
    """
    for goal in (goal for goal in wanted.values() if goal.link.mtu != goal.mtu):
        _check_bounds(goal, with_ipv6)
        _check_lower(links, goal, wanted)
        _check_uppers(links, goal, wanted)
    for goal in also.values():
        _check_bounds(goal, with_ipv6)
        _check_uppers(links, goal, wanted)
    for goal in wanted.values():
        if goal.pins:
            detour(goal.link, goal.mtu, links)


def _check_bounds(goal: Goal, with_ipv6: Collection[int]) -> None:
    link = goal.link
    low, high = link.min_mtu or 0, link.max_mtu
    if goal.mtu < low or (high is not None and goal.mtu > high):
        bounds = f"{low} to {high}" if high is not None else f"{low} or more"
        raise OptionError(goal.option, goal.mtu, f"{bounds}, which the driver of {link.name} takes")
    if goal.mtu < IPV6_MINIMUM <= (link.mtu or 0) and link.index in with_ipv6:
        raise OptionError(
            goal.option,
            goal.mtu,
            f"{IPV6_MINIMUM} or more: {_named(goal)} has IPv6 addresses, which the kernel would remove for good",
        )


def _named(goal: Goal) -> str:
    return f"{goal.link.name}, which follows {goal.drawn_by}," if goal.drawn_by else goal.link.name


def _check_lower(links: Sequence[Link], goal: Goal, wanted: Mapping[int, Goal]) -> None:
    lower = _by_index(links, goal.link.lower)
    if lower is None or lower.mtu is None:
        return
    room = wanted[lower.index].mtu if lower.index in wanted else lower.mtu
    most = room - goal.link.overhead
    if (goal.link.kind in _BOUND_TO_LOWER or goal.link.overhead) and goal.mtu > most:
        stands = f"stands on {lower.name}, whose MTU is {'to be ' if lower.index in wanted else ''}{room}"
        adds = f", and adds {goal.link.overhead} bytes to each frame" if goal.link.overhead else ""
        raise OptionError(goal.option, goal.mtu, f"at most {most}: {goal.link.name} {stands}{adds}")


def _check_uppers(links: Sequence[Link], goal: Goal, wanted: Mapping[int, Goal]) -> None:
    """The kernel makes what stands on a link smaller with it, and never larger again."""
    for upper in uppers(links, goal.link):
        mtu, room = upper.mtu or 0, goal.mtu - upper.overhead
        # Of one that is set as well it is known whether it fits: _check_lower().
        is_set = upper.index in wanted and wanted[upper.index].mtu != mtu
        if upper.kind in SHRINK and mtu > room and not is_set:
            helps = "Make it smaller" if goal.drawn_by else "Name it in uppers, or make it smaller"
            raise OptionError(
                goal.option,
                goal.mtu,
                f"{mtu + upper.overhead} or more: {upper.name} stands on {_named(goal)} with an MTU of {mtu}. {helps} first: "
                f"ip link set {upper.name} mtu {room}",
            )


def detour(link: Link, mtu: int, links: Sequence[Link]) -> int:
    """The other MTU by which a bridge that has the wanted one is pinned: the kernel takes the same value for no change.

    One more, for one less would shrink what stands on it for good. Raises BulwarkError where there is none.
    """
    if link.max_mtu is None or mtu < min(link.max_mtu, 65535):
        return mtu + 1
    if any(upper.kind in SHRINK and (upper.mtu or 0) + upper.overhead >= mtu for upper in uppers(links, link)):
        raise BulwarkError(
            f"{link.name}: cannot be pinned at its largest MTU, {mtu}, while links of that size stand on it"
        )
    return mtu - 1


def _by_index(links: Sequence[Link], index: int | None) -> Link | None:
    return next((link for link in links if index and link.index == index), None)
