# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections that processes of the machine hold, its pods' among them: what conntrack has to know, if it sees their packets at all.

A data plane of eBPF may pass netfilter by, and nothing in conntrack would tell. Source: proc_net(5), get_tcp4_sock().
"""

from __future__ import annotations

import ipaddress
import re
import struct
from collections import Counter
from collections.abc import Iterator
from typing import Callable

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import netns

__all__ = ["Destination", "held"]

Destination = tuple[bytes, int]
_ESTABLISHED, _LISTEN = "01", "0A"
_SOCKET = re.compile(
    r" *[0-9]+: ([0-9A-F]{8,32}):([0-9A-F]{4}) ([0-9A-F]{8,32}):([0-9A-F]{4}) ([0-9A-F]{2}) ", re.ASCII
)
# Enough to tell whether packets are seen; each file of a namespace costs the kernel a walk over all sockets.
_NAMESPACES = 64
_HELD = 4096


def held(host: Host, outside: Callable[[bytes], bool]) -> Counter[Destination]:
    """How many established connections over TCP were made to each destination that is ``outside``, by its address and port.

    Of up to 64 network namespaces: all that processes are in, or ours alone where it is not the machine's own. What may not be
    seen is left out.
    """
    found: Counter[Destination] = Counter()
    for pid in _one_of_each_namespace(host):
        for file in ("tcp", "tcp6"):
            try:
                found.update(_made(host, f"/proc/{pid}/net/{file}", outside))
            except HostError:
                continue
            if sum(found.values()) >= _HELD:
                return found
    return found


def _one_of_each_namespace(host: Host) -> list[str]:
    """A process in each network namespace, ours first."""
    found = {host.link_target("/proc/self/ns/net"): "self"}
    if netns.foreign(host):
        return list(found.values())
    for name in host.names("/proc"):
        if name.isdecimal() and name.isascii() and len(found) < _NAMESPACES:
            try:
                namespace = host.link_target(f"/proc/{name}/ns/net")
            except HostError:
                continue
            if namespace:
                found.setdefault(namespace, name)
    return list(found.values())


def _made(host: Host, path: str, outside: Callable[[bytes], bool]) -> Iterator[Destination]:
    """Where the connections of one table go that began here: their port is not one that is listened on."""
    listened: set[str] = set()
    made: list[tuple[str, bytes, int]] = []
    for line in host.lines(path):
        match = _SOCKET.match(line)
        if match and match[5] == _LISTEN:
            listened.add(match[2])
        elif match and match[5] == _ESTABLISHED and len(made) < _HELD:
            made.append((match[2], _packed(match[3]), int(match[4], 16)))
    return ((peer, port) for own, peer, port in made if own not in listened and outside(peer))


def _packed(text: str) -> bytes:
    """An address: words of 32 bits as the machine's own numbers. One of IPv4 in a socket of IPv6 is one of IPv4."""
    words = [int(text[at : at + 8], 16) for at in range(0, len(text) // 8 * 8, 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    mapped = ipaddress.IPv6Address(packed).ipv4_mapped if len(packed) == 16 else None
    return mapped.packed if mapped else packed
