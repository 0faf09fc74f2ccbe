# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The addresses and routes of our network namespace, and which links carry the machine's connection to the world.

Sources: rtnetlink(7), linux/rtnetlink.h, sshd(8) on SSH_CONNECTION.
"""

from __future__ import annotations

import ipaddress
import os
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Union

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import netlink
from ansible_collections.bulwark.node.plugins.module_utils.node.links import Link

__all__ = ["Address", "Network", "Route", "carriers", "connection", "link_to", "observe"]

_GETADDR, _GETROUTE = 22, 26
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_MULTIPATH, _RTA_TABLE = 1, 4, 5, 6, 9, 15
_IFADDRMSG = 8  # bytes
_RTMSG = struct.Struct("=BBBBBBBBI")  # family, dst_len, src_len, tos, table, protocol, scope, type, flags
_RTNEXTHOP = struct.Struct("=HBBi")  # length, flags, hops, index
_UNICAST, _CLONED = 1, 0x200
_FAMILIES = {2: 4, 10: 16}  # AF_INET and AF_INET6, and the bytes of an address
_ANCESTORS = 64

IP = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


@dataclass(frozen=True)
class Address:
    """An address on the link ``index``, as ``192.0.2.1/24``."""

    index: int
    text: str

    @property
    def ip(self) -> IP:
        """Without its prefix."""
        return ipaddress.ip_interface(self.text).ip


@dataclass(frozen=True)
class Route:
    """A unicast route through ``index``. ``destination`` None is the default route."""

    index: int
    family: int
    table: int
    destination: str | None
    gateway: str | None
    metric: int


@dataclass(frozen=True)
class Network:
    """What must be the same before and after."""

    addresses: frozenset[Address]
    routes: frozenset[Route]


def observe(host: Host) -> Network:
    """All addresses, and the unicast routes of all tables. Empty in a tree."""
    addresses = netlink.dump(host, netlink.ROUTE, _GETADDR, bytes(_IFADDRMSG))
    routes = netlink.dump(host, netlink.ROUTE, _GETROUTE, bytes(_RTMSG.size))
    return Network(frozenset(_addresses(addresses or b"")), frozenset(_routes(routes or b"")))


def connection(host: Host) -> str | None:
    """``client port server port`` of the ssh connection that we were started by, None where there is none.

    sudo and su clear our own environment; a process above them keeps it.
    """
    pid = os.getpid()
    for _dummy in range(_ANCESTORS):
        try:
            environment = host.read(f"/proc/{pid}/environ") or ""
            stat = host.read(f"/proc/{pid}/stat") or ""
        except HostError:
            return None
        for entry in environment.split("\0"):
            if re.fullmatch(r"SSH_CONNECTION=\S+ [0-9]+ \S+ [0-9]+", entry, re.ASCII):
                return entry.partition("=")[2]
        words = stat.rpartition(")")[2].split()
        pid = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
        if pid <= 1:
            return None
    return None


def carriers(host: Host, links: Sequence[Link], network: Network, ssh: str | None) -> dict[int, str]:
    """Why a link must not fail, by its index: it carries the connection ``ssh``, or a default route, or stands below one that does."""
    # Of a policy's table as well: it may be the way back to the controller.
    tops = {route.index: "a default route" for route in network.routes if route.destination is None}
    if ssh:
        client, _port, server = ssh.split()[:3]
        ours = _ip(server)
        tops.update({each.index: "this connection" for each in network.addresses if ours and each.ip == ours})
        found = link_to(host, client)
        if found:
            tops[found] = "this connection"
    names = {link.index: link.name for link in links}
    why: dict[int, str] = {}
    for top, reason in tops.items():
        for index in _with_lowers(links, top):
            above = "" if index == top else f" below {names.get(top, top)}"
            why.setdefault(index, f"{reason}{above}")
    return why


def _with_lowers(links: Sequence[Link], top: int) -> list[int]:
    """A link and all that it stands on: its lower link, its ports or slaves."""
    found, waiting = [], [top]
    while waiting:
        index = waiting.pop()
        if index not in found:
            found.append(index)
            waiting += [link.index for link in links if link.master == index]
            waiting += [link.lower for link in links if link.index == index and link.lower]
    return found


def _ip(text: str) -> IP | None:
    """sshd writes an IPv4 client of an IPv6 socket in its own form, and a link-local one with its zone."""
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def link_to(host: Host, text: str) -> int | None:
    """The link by which the kernel would send to an address; None where it has no route there."""
    address = _ip(text)
    if address is None:
        return None
    family = 2 if address.version == 4 else 10
    body = _RTMSG.pack(family, address.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    try:
        answer = netlink.request(host, netlink.ROUTE, _GETROUTE, body + netlink.attribute(_RTA_DST, address.packed))
    except HostError:
        return None
    for message in netlink.messages(answer):
        return netlink.number(netlink.attributes(message, _RTMSG.size).get(_RTA_OIF))
    return None


def _addresses(answer: bytes) -> Iterator[Address]:
    for message in netlink.messages(answer):
        if len(message) < _IFADDRMSG:
            continue
        found = netlink.attributes(message, _IFADDRMSG)
        # Of a point-to-point link IFA_ADDRESS is the other end.
        packed = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS)
        if packed and len(packed) == _FAMILIES.get(message[0]):
            yield Address(netlink.number(message[4:8]) or 0, f"{ipaddress.ip_address(packed)}/{message[1]}")


def _routes(answer: bytes) -> Iterator[Route]:
    for message in netlink.messages(answer):
        if len(message) < _RTMSG.size:
            continue
        family, length, table, kind, flags = (*(message[at] for at in (0, 1, 4, 7)), netlink.number(message[8:12]) or 0)
        if family not in _FAMILIES or kind != _UNICAST or flags & _CLONED:
            continue
        found = netlink.attributes(message, _RTMSG.size)
        network = _text(found.get(_RTA_DST))
        destination = f"{network}/{length}" if network else None
        for index, gateway in _hops(found):
            yield Route(
                index,
                family,
                netlink.number(found.get(_RTA_TABLE)) or table,
                destination,
                gateway,
                netlink.number(found.get(_RTA_PRIORITY)) or 0,
            )


def _hops(found: dict[int, bytes]) -> Iterator[tuple[int, str | None]]:
    """(link, gateway) of a route, or of each of its next hops."""
    if index := netlink.number(found.get(_RTA_OIF)):
        yield index, _text(found.get(_RTA_GATEWAY))
    several, at = found.get(_RTA_MULTIPATH, b""), 0
    while at + _RTNEXTHOP.size <= len(several):
        length, _flags, _hop_count, index = _RTNEXTHOP.unpack_from(several, at)
        if length < _RTNEXTHOP.size:
            return
        inner = netlink.attributes(several[at : at + length], _RTNEXTHOP.size)
        yield index, _text(inner.get(_RTA_GATEWAY))
        at += length + 3 & ~3


def _text(packed: bytes | None) -> str | None:
    return str(ipaddress.ip_address(packed)) if packed and len(packed) in _FAMILIES.values() else None
