# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connections that conntrack follows, one by one as the kernel tells them: by ctnetlink, or by /proc/net/nf_conntrack.

Sources: linux/netfilter/nfnetlink_conntrack.h, nf_conntrack_common.h, nf_conntrack_tcp.h, ct_seq_show() in nf_conntrack_standalone.c.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import NamedTuple

from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import netlink

__all__ = ["CTNETLINK", "PROC", "Flow", "flows", "method"]

CTNETLINK, PROC = "ctnetlink", "proc"
_PROC = "/proc/net/nf_conntrack"
# NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET, and nfgenmsg: family (all), version, resource id.
_GET = 0x101
_NFGENMSG = bytes(4)
_ORIGINAL, _REPLY, _STATUS, _PROTOINFO, _TIMEOUT = 1, 2, 3, 4, 7
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_ADDRESSES = ((1, 2), (3, 4))  # CTA_IP_V4_SRC and _DST, CTA_IP_V6_SRC and _DST
_PROTO_NUMBER, _SOURCE_PORT, _TO_PORT = 1, 2, 3
_PROTOINFO_TCP, _TCP_STATE = 1, 1
_SEEN_REPLY, _OFFLOAD = 1 << 1, 1 << 14
_PROTOCOLS = {6: "tcp", 17: "udp"}
# tcp_conntrack_names[]
_STATES = (
    *("NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT"),
    *("CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE", "SYN_SENT2"),
)
_TUPLE = r"src=(\S{2,45}) dst=(\S{2,45}) sport=([0-9]{1,5}) dport=([0-9]{1,5}) "
_LINE = re.compile(
    rf"ipv[46] +[0-9]+ (tcp|udp) +[0-9]+ (?:([0-9]{{1,10}}) )?(?:([A-Z_0-9]{{1,20}}) )?{_TUPLE}(.*?){_TUPLE}", re.ASCII
)


class Flow(NamedTuple):
    """One connection over TCP or UDP. Addresses are packed, ports are numbers."""

    protocol: str
    source: bytes
    """Who began it."""
    source_port: int
    asked: tuple[bytes, int]
    """Where it was sent to."""
    peer: tuple[bytes, int]
    """Where it went: who sends the replies, whatever a rule made of ``asked``."""
    state: str | None
    """That of TCP by conntrack's name; None for UDP, and where the connection is offloaded."""
    remaining: int | None
    """Seconds until conntrack forgets it, unless another packet comes; None where it is offloaded."""
    replied: bool


def method(host: Host, active: bool) -> str | None:
    """How this kernel tells its connections; None where it does not.

    The first question by ctnetlink makes the kernel load nf_conntrack_netlink: ``active`` allows that.
    """
    if not host.root and (active or host.exists("/sys/module/nf_conntrack_netlink")):
        return CTNETLINK
    return PROC if host.exists(_PROC) else None


def flows(host: Host, by: str) -> Iterator[Flow]:
    """All connections over TCP and UDP. One that comes or goes meanwhile may be missing, or come twice. Raises HostError."""
    return _from_netlink() if by == CTNETLINK else _from_proc(host)


def _from_netlink() -> Iterator[Flow]:
    for message in netlink.stream(netlink.NETFILTER, _GET, _NFGENMSG):
        found = netlink.attributes(message, len(_NFGENMSG))
        there, back = _tuple(found.get(_ORIGINAL)), _tuple(found.get(_REPLY))
        if there is None or back is None:
            continue
        protocol, source, source_port, asked = there
        status = int.from_bytes(found.get(_STATUS, b""), "big")
        state = netlink.attributes(netlink.attributes(found.get(_PROTOINFO, b"")).get(_PROTOINFO_TCP, b"")).get(
            _TCP_STATE
        )
        left = found.get(_TIMEOUT)
        offloaded = bool(status & _OFFLOAD)
        yield Flow(
            protocol,
            source,
            source_port,
            asked,
            (back[1], back[2]),
            _STATES[state[0]] if state and state[0] < len(_STATES) and not offloaded else None,
            int.from_bytes(left, "big") if left and not offloaded else None,
            bool(status & _SEEN_REPLY),
        )


def _tuple(content: bytes | None) -> tuple[str, bytes, int, tuple[bytes, int]] | None:
    """(protocol, source, its port, (destination, its port)) of a connection over TCP or UDP, None of another."""
    parts = netlink.attributes(content or b"")
    transport = netlink.attributes(parts.get(_TUPLE_PROTO, b""))
    protocol = _PROTOCOLS.get(int.from_bytes(transport.get(_PROTO_NUMBER, b""), "big"))
    if protocol is None:
        return None
    addresses = netlink.attributes(parts.get(_TUPLE_IP, b""))
    for source, to in _ADDRESSES:
        if source in addresses and to in addresses:
            ports = [int.from_bytes(transport.get(port, b""), "big") for port in (_SOURCE_PORT, _TO_PORT)]
            return protocol, addresses[source], ports[0], (addresses[to], ports[1])
    return None


def _from_proc(host: Host) -> Iterator[Flow]:
    for line in host.lines(_PROC):
        found = _LINE.match(line)
        if not found:
            continue
        protocol, left, state, source, to, source_port, port, between, peer, _own, peer_port, _own_port = found.groups()
        try:
            packed = [ipaddress.ip_address(each).packed for each in (source, to, peer)]
        except ValueError:
            continue
        yield Flow(
            protocol,
            packed[0],
            int(source_port),
            (packed[1], int(port)),
            (packed[2], int(peer_port)),
            state,
            int(left) if left else None,
            "[UNREPLIED]" not in between,
        )
