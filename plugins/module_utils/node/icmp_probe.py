# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether packets of one size reach an address and come back, unfragmented, and at which hop they are lost where not.

ICMP echoes of our own, a few dozen at most. Sources: RFC 792, RFC 1191, RFC 4443, ip(7) on IP_PMTUDISC_PROBE.
"""

from __future__ import annotations

import ipaddress
import os
import select
import socket
import struct
import time
from typing import Any, NamedTuple

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError

__all__ = ["probe"]

_ATTEMPTS = 3
_SECONDS = 1.0
_HOPS = 16
_SMALL = 64  # bytes of a packet that no link is too small for
_ECHO = struct.Struct("!BBHHH")  # type, code, checksum, identifier, sequence
_PMTUDISC_PROBE = 3


class _Family(NamedTuple):
    """The numbers of one version of IP and of its ICMP."""

    family: int
    protocol: int
    header: int
    """Bytes of an IP header, without options."""
    level: int
    mtu_discover: int
    hop_limit: int
    request: int
    reply: int
    too_big: int
    exceeded: int


_V4 = _Family(socket.AF_INET, socket.IPPROTO_ICMP, 20, socket.IPPROTO_IP, 10, socket.IP_TTL, 8, 0, 3, 11)
_V6 = _Family(
    socket.AF_INET6, socket.IPPROTO_ICMPV6, 40, socket.IPPROTO_IPV6, 23, socket.IPV6_UNICAST_HOPS, 128, 129, 2, 3
)


class _Answer(NamedTuple):
    """Who answered: ``reply`` is the address itself. ``mtu``: what a router said would fit, None where it said nothing."""

    sender: str
    reply: bool
    mtu: int | None


def probe(address: str, size: int) -> dict[str, Any]:
    """{address, size, passed, path_mtu, hop, hop_address}: ``size`` in bytes with the IP header.

    Where it does not pass: ``hop`` is the first that packets of this size do not reach (1: the first router), while small
    ones do; ``path_mtu`` what a router said. None where that cannot be told. Raises HostError without raw sockets.
    """
    numbers = _V4 if ipaddress.ip_address(address).version == 4 else _V6
    found: dict[str, Any] = {"address": address, "size": size, "passed": False, "path_mtu": None}
    found.update(hop=None, hop_address=None)
    try:
        with socket.socket(numbers.family, socket.SOCK_RAW, numbers.protocol) as channel:
            channel.setsockopt(numbers.level, numbers.mtu_discover, _PMTUDISC_PROBE)
            prober = _Prober(channel, numbers, address)
            answers = [answer for answer in prober.several(size) if answer]
            found["passed"] = any(answer.reply for answer in answers)
            found["path_mtu"] = next((answer.mtu for answer in answers if answer.mtu), None)
            if not found["passed"] and any(prober.several(_SMALL)):
                found["hop"], found["hop_address"] = prober.where(size)
    except OSError as error:
        raise HostError.from_os(address, "be probed", error) from error
    return found


class _Prober:
    def __init__(self, channel: socket.socket, numbers: _Family, address: str) -> None:
        self._channel, self._numbers, self._address = channel, numbers, address
        self._identifier = os.getpid() & 0xFFFF
        self._sequence = 0

    def several(self, size: int) -> list[_Answer | None]:
        """The answers up to the first reply of the address."""
        answers: list[_Answer | None] = []
        for _dummy in range(_ATTEMPTS):
            answers.append(self.once(size))
            if answers[-1] and answers[-1].reply:
                break
        return answers

    def where(self, size: int) -> tuple[int | None, str | None]:
        """(hop, address): the first hop that answers to small packets and to none of this size."""
        for hop in range(1, _HOPS + 1):
            large = self.once(size, hop)
            if large is None or large.mtu:
                small = self.once(_SMALL, hop)
                if small:
                    return hop, small.sender
            elif large.reply:
                break
        return None, None

    def once(self, size: int, hops: int = 64) -> _Answer | None:
        """One echo: the answer, None where none comes in time, or the packet is too large for the first link."""
        self._sequence += 1
        body = bytes(size - self._numbers.header - _ECHO.size)
        self._channel.setsockopt(self._numbers.level, self._numbers.hop_limit, hops)
        try:
            self._channel.sendto(self._packet(body), (self._address, 0))
        except OSError:
            return None
        deadline = time.monotonic() + _SECONDS
        # A flood of others' packets shall not hold it up.
        while (left := deadline - time.monotonic()) > 0 and select.select([self._channel], [], [], left)[0]:
            packet, sender = self._channel.recvfrom(65535)[:2]
            answer = self._understand(packet, str(sender[0]))
            if answer:
                return answer
        return None

    def _packet(self, body: bytes) -> bytes:
        head = _ECHO.pack(self._numbers.request, 0, 0, self._identifier, self._sequence)
        # For version 6 the kernel fills it in.
        total = _checksum(head + body) if self._numbers is _V4 else 0
        return _ECHO.pack(self._numbers.request, 0, total, self._identifier, self._sequence) + body

    def _understand(self, packet: bytes, sender: str) -> _Answer | None:
        """An answer to the last echo, None for what is another's."""
        numbers = self._numbers
        # Of version 4 a raw socket gets the IP header too.
        message = packet[(packet[0] & 0xF) * 4 :] if numbers is _V4 and packet else packet
        if len(message) < _ECHO.size:
            return None
        kind, code, _sum, identifier, sequence = _ECHO.unpack_from(message)
        ours = (self._identifier, self._sequence)
        if kind == numbers.reply and (identifier, sequence) == ours:
            return _Answer(sender, True, None)
        inner = message[_ECHO.size :]
        start = (inner[0] & 0xF) * 4 if numbers is _V4 and inner else numbers.header
        if kind not in (numbers.too_big, numbers.exceeded) or len(inner) < start + _ECHO.size:
            return None
        if _ECHO.unpack_from(inner, start)[3:] != ours:
            return None
        if kind == numbers.exceeded:
            return _Answer(sender, False, None)
        if numbers is _V4:
            return _Answer(sender, False, sequence) if code == 4 else None
        return _Answer(sender, False, identifier << 16 | sequence)


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
