# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The addresses and routes of our network namespace, and which links carry the machine's connection to the world.

Sources: rtnetlink(7), linux/rtnetlink.h, linux/nexthop.h, ip-nexthop(8), sshd(8) on SSH_CONNECTION.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Union

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import netlink
from ansible_collections.bulwark.node.plugins.module_utils.node.links import Link

__all__ = ["Address", "Network", "Route", "carriers", "connection", "link_to", "observe"]

_GETADDR, _GETROUTE, _GETNEXTHOP = 22, 26, 106
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_DST, _RTA_SRC, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY = 1, 2, 4, 5, 6
_RTA_MULTIPATH, _RTA_TABLE, _RTA_NH_ID = 9, 15, 30
_NHA_ID, _NHA_GROUP, _NHA_OIF, _NHA_GATEWAY = 1, 2, 5, 6
_NHMSG = _MEMBER = 8  # bytes of nhmsg, and of nexthop_grp, which begins with the number of its member
_IFADDRMSG = 8  # bytes
_RTMSG = struct.Struct("=BBBBBBBBI")  # family, dst_len, src_len, tos, table, protocol, scope, type, flags
_RTNEXTHOP = struct.Struct("=HBBi")  # length, flags, hops, index
_UNICAST, _CLONED = 1, 0x200
_SINKS = {6: "blackhole", 7: "unreachable", 8: "prohibit", 9: "throw"}  # RTN_*
_LASTING = (2, 3, 4, 16)  # RTPROT_KERNEL, BOOT, STATIC and DHCP
_FAMILIES = {2: 4, 10: 16}  # AF_INET and AF_INET6, and the bytes of an address
_ANCESTORS = 64

IP = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
_Object = Mapping[int, bytes]


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
    """A unicast route through ``index``, 0 where that cannot be told. ``destination`` None is the default route."""

    index: int
    family: int
    table: int
    destination: str | None
    gateway: str | None
    metric: int


@dataclass(frozen=True)
class Network:
    """What must be the same before and after. ``sinks`` are routes that lead nowhere, as ``blackhole 10.0.0.0/8 table 254``.

    They are those of the kernel, of administrators and of network managers: routing daemons come and go with theirs as they like.
    """

    addresses: frozenset[Address]
    routes: frozenset[Route]
    sinks: frozenset[str] = frozenset()


def observe(host: Host) -> Network:
    """All addresses, and the routes of all tables. Empty in a tree."""
    addresses = netlink.dump(host, netlink.ROUTE, _GETADDR, bytes(_IFADDRMSG))
    routes = netlink.dump(host, netlink.ROUTE, _GETROUTE, bytes(_RTMSG.size))
    return Network(
        frozenset(_addresses(addresses or b"")),
        frozenset(_routes(host, routes or b"")),
        frozenset(_sinks(routes or b"")),
    )


def connection(host: Host) -> str | None:
    """``client port server port`` of the ssh connection that we were started by, None where there is none.

    sudo and su clear our own environment; a process above them keeps it.
    """
    pid = os.getpid()
    for _dummy in range(_ANCESTORS):
        environment = stat = ""
        # Of another user's process it is not readable, and the next one's may be.
        with contextlib.suppress(HostError):
            environment = host.read(f"/proc/{pid}/environ") or ""
        with contextlib.suppress(HostError):
            stat = host.read(f"/proc/{pid}/stat") or ""
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
        # The kernel names one of many next hops, and another flow takes another one.
        tops.update(dict.fromkeys(_back(network.routes, client), "this connection"))
        found = link_to(host, client, server)
        if found:
            tops[found] = "this connection"
    untold = tops.pop(0, None)
    names = {link.index: link.name for link in links}
    why: dict[int, str] = {}
    for top, reason in tops.items():
        for index in _with_lowers(links, top):
            above = "" if index == top else f" below {names.get(top, top)}"
            why.setdefault(index, f"{reason}{above}")
    if untold:
        for link in links:
            why.setdefault(link.index, f"{untold} through a next hop that cannot be told")
    return why


def _back(routes: Iterable[Route], client: str) -> set[int]:
    """The links of all routes to an address, of each table the longest: a rule may choose any. Default routes are not among them."""
    address = _ip(client)
    # Each link has a route to fe80::/64.
    if address is None or address.is_link_local:
        return set()
    lengths: dict[int, int] = {}
    found: dict[int, set[int]] = {}
    for route in routes:
        to = ipaddress.ip_network(route.destination) if route.destination else None
        if to is None or to.version != address.version or address not in to:
            continue
        if to.prefixlen > lengths.get(route.table, -1):
            lengths[route.table], found[route.table] = to.prefixlen, set()
        if to.prefixlen == lengths[route.table]:
            found[route.table].add(route.index)
    return set().union(*found.values())


def _with_lowers(links: Sequence[Link], top: int) -> list[int]:
    """A link and all that it stands on: its lower link, its ports or slaves, and by a pair of veth another bridge with its own."""
    masters = {link.index: link.master for link in links}
    found, waiting = [], [top]
    while waiting:
        index = waiting.pop()
        if index not in found:
            found.append(index)
            waiting += [link.index for link in links if link.master == index]
            for link in links:
                if link.index == index:
                    below = (link.lower, link.peer, masters.get(link.peer or 0))
                    waiting += [each for each in below if each]
    return found


def _ip(text: str) -> IP | None:
    """sshd writes an IPv4 client of an IPv6 socket in its own form, and a link-local one with its zone."""
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def link_to(host: Host, text: str, source: str = "") -> int | None:
    """The link by which the kernel would send to an address, from ``source`` where it is one; None where it has no route there."""
    address, ours = _ip(text), _ip(source)
    if address is None:
        return None
    to = netlink.attribute(_RTA_DST, address.packed)
    bodies = [_getroute(address) + to]
    # A rule of policy routing may ask for it. The kernel refuses one that it does not have.
    if ours and ours.version == address.version:
        bodies.insert(0, _getroute(address, address.max_prefixlen) + to + netlink.attribute(_RTA_SRC, ours.packed))
    for body in bodies:
        with contextlib.suppress(HostError):
            for message in netlink.messages(netlink.request(host, netlink.ROUTE, _GETROUTE, body)):
                return netlink.number(netlink.attributes(message, _RTMSG.size).get(_RTA_OIF))
    return None


def _getroute(address: IP, source_length: int = 0) -> bytes:
    return _RTMSG.pack(2 if address.version == 4 else 10, address.max_prefixlen, source_length, 0, 0, 0, 0, 0, 0)


def _addresses(answer: bytes) -> Iterator[Address]:
    for message in netlink.messages(answer):
        if len(message) < _IFADDRMSG:
            continue
        found = netlink.attributes(message, _IFADDRMSG)
        # Of a point-to-point link IFA_ADDRESS is the other end.
        packed = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS)
        if packed and len(packed) == _FAMILIES.get(message[0]):
            yield Address(netlink.number(message[4:8]) or 0, f"{ipaddress.ip_address(packed)}/{message[1]}")


def _routes(host: Host, answer: bytes) -> Iterator[Route]:
    objects: Mapping[int, _Object] | None = None
    for message in netlink.messages(answer):
        if len(message) < _RTMSG.size:
            continue
        family, length, table, kind, flags = (*(message[at] for at in (0, 1, 4, 7)), netlink.number(message[8:12]) or 0)
        if family not in _FAMILIES or kind != _UNICAST or flags & _CLONED:
            continue
        found = netlink.attributes(message, _RTMSG.size)
        network = _text(found.get(_RTA_DST))
        destination = f"{network}/{length}" if network else None
        hops = list(_hops(found))
        number = netlink.number(found.get(_RTA_NH_ID))
        # With net.ipv4.nexthop_compat_mode=0 a route names no more than that.
        if number and not hops:
            objects = _next_hops(host) if objects is None else objects
            hops = _resolved(objects, number)
        for index, gateway in hops:
            yield Route(
                index,
                family,
                netlink.number(found.get(_RTA_TABLE)) or table,
                destination,
                gateway,
                netlink.number(found.get(_RTA_PRIORITY)) or 0,
            )


def _sinks(answer: bytes) -> Iterator[str]:
    for message in netlink.messages(answer):
        if len(message) < _RTMSG.size:
            continue
        family, length, table, protocol, kind = (message[at] for at in (0, 1, 4, 5, 7))
        if family in _FAMILIES and kind in _SINKS and protocol in _LASTING:
            found = netlink.attributes(message, _RTMSG.size)
            network = _text(found.get(_RTA_DST)) or ("0.0.0.0" if family == socket.AF_INET else "::")
            yield f"{_SINKS[kind]} {network}/{length} table {netlink.number(found.get(_RTA_TABLE)) or table}"


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


def _next_hops(host: Host) -> dict[int, _Object]:
    """The attributes of each next-hop object by its number; empty where the kernel does not tell."""
    try:
        answer = netlink.dump(host, netlink.ROUTE, _GETNEXTHOP, bytes(_NHMSG)) or b""
        found = [netlink.attributes(message, _NHMSG) for message in netlink.messages(answer)]
    except HostError:
        return {}
    return {netlink.number(each.get(_NHA_ID)) or 0: each for each in found}


def _resolved(objects: Mapping[int, _Object], number: int) -> list[tuple[int, str | None]]:
    """(link, gateway) of each next hop of an object, which may be a group; the link is 0 where that cannot be told."""
    group = objects.get(number, {}).get(_NHA_GROUP, b"")
    # A group has no group in it.
    members = [netlink.number(group[at : at + 4]) or 0 for at in range(0, len(group), _MEMBER)] or [number]
    hops = [objects.get(member, {}) for member in members]
    return [(netlink.number(hop.get(_NHA_OIF)) or 0, _text(hop.get(_NHA_GATEWAY))) for hop in hops]


def _text(packed: bytes | None) -> str | None:
    return str(ipaddress.ip_address(packed)) if packed and len(packed) in _FAMILIES.values() else None
