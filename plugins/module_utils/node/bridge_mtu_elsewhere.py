# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Links in other network namespaces that stand on ours, such as the macvlans of pods: only from over there is it told on what.

A thread of its own goes there, so that this process stays where it is whatever happens. Sources: setns(2), network_namespaces(7),
proc_pid_mountinfo(5), rtnl_net_getid() in net/core/net_namespace.c.
"""

from __future__ import annotations

import os
import shlex
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError, HostError, OptionError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import links
from ansible_collections.bulwark.node.plugins.module_utils.node.bridge_mtu_options import IPV6_MINIMUM
from ansible_collections.bulwark.node.plugins.module_utils.node.bridge_mtu_plan import MIRROR, SHRINK, Goal
from ansible_collections.bulwark.node.plugins.module_utils.node.links import Link
from ansible_collections.bulwark.node.plugins.module_utils.node.mounts import unescaped

__all__ = ["check", "lowered"]

_SELF = "/proc/self/ns/net"
_CLONE_NEWNET = 0x40000000
_SHOWN = 3


@dataclass(frozen=True)
class _Namespace:
    """``path`` leads to it, ``name`` is for the user. ``reason``: why it cannot be looked at, None where it can."""

    path: str
    name: str
    reason: str | None = None


def lowered(goals: Iterable[Goal]) -> dict[int, Goal]:
    """What becomes smaller, by index."""
    return {goal.link.index: goal for goal in goals if goal.mtu < (goal.link.mtu or 0)}


def check(host: Host, goals: Iterable[Goal]) -> str | None:
    """Raise OptionError for the first that would make a link elsewhere smaller for good.

    Returns which namespaces could not be looked at, and why; None where all were, or nothing becomes smaller.
    """
    low = lowered(goals)
    if not low or host.root:
        return None
    found, hidden = _standing(host)
    for link, namespace in found:
        _check(link, namespace, low)
    more = f" and {len(hidden) - _SHOWN} more" if len(hidden) > _SHOWN else ""
    return "; ".join(hidden[:_SHOWN]) + more if hidden else None


def _check(link: Link, namespace: _Namespace, low: Mapping[int, Goal]) -> None:
    goal, mtu = low.get(link.lower or 0), link.mtu or 0
    if goal is None:
        return
    room = goal.mtu - link.overhead
    where = f"{link.name} in the network namespace {namespace.name} stands on {goal.link.name}"
    if link.kind in SHRINK and mtu > room:
        raise OptionError(
            goal.option,
            goal.mtu,
            f"{mtu + link.overhead} or more: {where} with an MTU of {mtu}, and would be made smaller for good. Make it smaller there "
            f"first: nsenter --net={shlex.quote(namespace.path)} ip link set {shlex.quote(link.name)} mtu {room}",
        )
    if link.kind in MIRROR and room < IPV6_MINIMUM <= mtu:
        raise OptionError(
            goal.option, goal.mtu, f"{IPV6_MINIMUM} or more: {where}, gets its MTU, and would lose IPv6 for good"
        )


def _standing(host: Host) -> tuple[list[tuple[Link, _Namespace]], list[str]]:
    """What stands on a link elsewhere, with where it is; and what could not be looked at."""
    found: list[tuple[Link, _Namespace]] = []
    hidden: list[str] = []
    home = host.open(_SELF)
    if home is None:
        return [], ["/proc is not there"]

    def look() -> None:
        for namespace in namespaces:
            reason = namespace.reason
            try:
                descriptor = None if reason else host.open(namespace.path)
                # Else it has ended.
                if descriptor is not None:
                    try:
                        _enter(descriptor)
                    finally:
                        os.close(descriptor)
                    found.extend((link, namespace) for link in links.standing_on(host, home))
            except (BulwarkError, OSError, ImportError, AttributeError) as error:
                reason = str(error)
            if reason:
                hidden.append(f"{namespace.name}: {reason}")

    try:
        namespaces = list(_namespaces(host))
        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        thread.join()
    finally:
        os.close(home)
    return found, hidden


def _namespaces(host: Host) -> Iterator[_Namespace]:
    """All other ones that have a name here or a process, each once. What only an open file holds is not seen."""
    seen = {host.link_target(_SELF)}
    for line in (host.read("/proc/self/mountinfo", limit=64 << 20) or "").split("\n"):
        fields = line.split(" ")
        if len(fields) > 4 and fields[3].startswith("net:[") and fields[3] not in seen:
            seen.add(fields[3])
            yield _Namespace(unescaped(fields[4]), unescaped(fields[4]))
    for pid in filter(str.isdecimal, host.names("/proc")):
        path, reason = f"/proc/{pid}/ns/net", None
        try:
            target = host.link_target(path)
        except HostError as error:
            target, reason = None, str(error)
        if reason or (target and target not in seen):
            seen.add(target)
            comm = (host.read(f"/proc/{pid}/comm") or "").strip()
            yield _Namespace(path, f"of process {pid} ({comm})", reason)


def _enter(descriptor: int) -> None:
    """setns(2), of the calling thread alone, which Python has from 3.12 on. Raises OSError."""
    import ctypes

    if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
