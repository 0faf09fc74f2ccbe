# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The probe on a made-up path: hops that answer, that are silent, that say what fits, and what is another's."""

from __future__ import annotations

import ipaddress
import select
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.node import icmp_probe

HEADER = {4: 20, 6: 40}


@dataclass
class Path:
    """The links to an address, of these MTUs: behind each but the last is a router, which may be silent (of its number)."""

    mtus: list[int]
    version: int = 4
    silent: set[int] = field(default_factory=set)
    black_holes: set[int] = field(default_factory=set)
    """Routers that forward nothing that is too large, and do not say so."""
    noise: list[bytes] = field(default_factory=list)
    lost: int = 0
    """So many of the first packets."""
    sent: list[tuple[int, int]] = field(default_factory=list)
    options: list[tuple[int, int, int]] = field(default_factory=list)
    hops: int = 64

    def address(self, hop: int) -> str:
        return f"10.0.{hop}.2" if self.version == 4 else f"2001:db8:{hop}::2"

    # as a socket

    def __enter__(self) -> Path:
        return self

    def __exit__(self, *rest: object) -> None:
        return None

    def setsockopt(self, level: int, option: int, value: int) -> None:
        self.options.append((level, option, value))
        if option in (socket.IP_TTL, socket.IPV6_UNICAST_HOPS):
            self.hops = value

    def sendto(self, packet: bytes, target: tuple[str, int]) -> None:
        size = len(packet) + HEADER[self.version]
        self.sent.append((size, self.hops))
        self.waiting: list[tuple[bytes, str]] = [(noise, "203.0.113.66") for noise in self.noise]
        if size > self.mtus[0]:
            raise OSError(90, "Message too long")
        if self.lost:
            self.lost -= 1
            return
        said = self._forward(packet, size)
        if said:
            self.waiting.append(said)

    def _forward(self, packet: bytes, size: int) -> tuple[bytes, str] | None:
        for hop, mtu in enumerate(self.mtus, 1):
            if hop > 1 and size > mtu:
                router = hop - 1
                return (
                    None
                    if router in self.silent | self.black_holes
                    else (self._too_big(packet, mtu), self.address(router))
                )
            if hop == len(self.mtus):
                return (self._reply(packet), self.address(hop)) if hop not in self.silent else None
            if hop == self.hops:
                return None if hop in self.silent else (self._exceeded(packet), self.address(hop))
        return None

    def _reply(self, packet: bytes) -> bytes:
        return self._with_header(bytes([0 if self.version == 4 else 129]) + packet[1:])

    def _too_big(self, packet: bytes, mtu: int) -> bytes:
        head = struct.pack("!BBHHH", 3, 4, 0, 0, mtu) if self.version == 4 else struct.pack("!BBHI", 2, 0, 0, mtu)
        return self._with_header(head + self._with_header(packet, True)[:500])

    def _exceeded(self, packet: bytes) -> bytes:
        head = struct.pack("!BBHHH", 11 if self.version == 4 else 3, 0, 0, 0, 0)
        return self._with_header(head + self._with_header(packet, True)[:500])

    def _with_header(self, message: bytes, inner: bool = False) -> bytes:
        """Of version 6 a raw socket gives the header of what is quoted alone."""
        if self.version == 4:
            return b"\x45" + bytes(19) + message
        return bytes(40) + message if inner else message

    def recvfrom(self, size: int) -> tuple[bytes, tuple[Any, ...]]:
        packet, sender = self.waiting.pop(0)
        return packet, (sender, 0)


def probe(monkeypatch: pytest.MonkeyPatch, path: Path, size: int = 9000) -> dict[str, Any]:
    monkeypatch.setattr(socket, "socket", lambda *rest: path)
    monkeypatch.setattr(select, "select", lambda r, w, x, seconds: (r if path.waiting else [], [], []))
    return icmp_probe.probe(path.address(len(path.mtus)), size)


def result(path: Path, **more: Any) -> dict[str, Any]:
    found = {"address": path.address(len(path.mtus)), "size": 9000, "passed": False, "path_mtu": None}
    return {**found, "hop": None, "hop_address": None, **more}


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    ("mtus", "more", "expected"),
    [
        ([9000, 9000, 9000], {}, {"passed": True}),
        ([9000], {}, {"passed": True}),
        ([9000, 9000], {"lost": 2}, {"passed": True}),
        ([9000, 9000, 1500], {}, {"hop": 3, "path_mtu": 1500}),
        ([9000, 1500, 9000], {}, {"hop": 2, "path_mtu": 1500}),
        ([9000, 1500, 9000], {"black_holes": {1}}, {"hop": 2}),
        # The one behind it is the next that can be asked.
        ([9000, 1500, 9000, 9000], {"black_holes": {1}, "silent": {2}}, {"hop": 3}),
        # Nobody answers: it is not said to be the size.
        ([9000, 9000], {"silent": {1, 2}}, {}),
        ([9000, 9000], {"lost": 99}, {}),
        # The first link itself takes no more.
        ([1500, 9000], {}, {"hop": 1}),
    ],
)
def test_the_hop_that_large_packets_do_not_reach_is_named(
    monkeypatch: pytest.MonkeyPatch, version: int, mtus: list[int], more: dict[str, Any], expected: dict[str, Any]
) -> None:
    path = Path(mtus, version, **more)
    if "hop" in expected:
        expected = {**expected, "hop_address": path.address(expected["hop"])}
    assert probe(monkeypatch, path) == result(path, **expected)
    assert {size for size, _hops in path.sent} <= {9000, 64}
    assert len(path.sent) < 50


def test_it_is_never_fragmented_and_has_the_size_with_its_header(monkeypatch: pytest.MonkeyPatch) -> None:
    for version, expected in ((4, (0, 10, 3)), (6, (41, 23, 3))):
        path = Path([9000], version)
        assert probe(monkeypatch, path)["passed"]
        assert path.options[0] == expected
        assert path.sent == [(9000, 64)]


def test_what_is_anothers_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def v4(message: bytes) -> bytes:
        return b"\x45" + bytes(19) + message

    noise = [
        *(b"", b"\x4f", v4(b""), v4(bytes(7))),
        v4(struct.pack("!BBHHH", 0, 0, 0, 1, 1)),
        v4(struct.pack("!BBHHH", 3, 4, 0, 0, 1400)),
        v4(struct.pack("!BBHHH", 3, 4, 0, 0, 1400) + v4(struct.pack("!BBHHH", 8, 0, 0, 1, 1))),
        v4(struct.pack("!BBHHH", 11, 0, 0, 0, 0) + b"\x4f"),
    ]
    path = Path([9000, 9000], noise=noise)
    assert probe(monkeypatch, path) == result(path, passed=True)
    path = Path([9000, 9000], noise=noise, lost=99)
    assert probe(monkeypatch, path) == result(path)


def test_a_flood_of_others_does_not_hold_it_up(monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path([9000, 9000], noise=[b"\x45" + bytes(27)] * 5, lost=99)
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def recvfrom(size: int) -> tuple[bytes, tuple[Any, ...]]:
        now[0] += 0.01
        return path.waiting[0][0], ("203.0.113.66", 0)

    monkeypatch.setattr(path, "recvfrom", recvfrom)
    assert probe(monkeypatch, path) == result(path)
    assert now[0] < 60


def test_a_checksum_is_that_of_rfc_1071() -> None:
    packet = bytes.fromhex("0800000012340001") + b"abc"
    filled = packet[:2] + struct.pack("!H", icmp_probe._checksum(packet)) + packet[4:]
    assert icmp_probe._checksum(filled) == 0


def test_without_raw_sockets_it_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*rest: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(socket, "socket", refuse)
    address = str(ipaddress.ip_address("192.0.2.1"))
    with pytest.raises(HostError, match=r"192\.0\.2\.1: cannot be probed: EPERM"):
        icmp_probe.probe(address, 9000)
