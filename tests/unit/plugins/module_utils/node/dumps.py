# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Netlink without a kernel: dumps that were captured (tests/unit/dumps) or are built here, given to whoever asks."""

from __future__ import annotations

import functools
import ipaddress
import struct
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.bulwark.node.plugins.module_utils.node import netlink

DUMPS = Path(__file__).parents[3] / "dumps"
DONE = struct.pack("=IHHIIi", 20, 3, 2, 1, 0, 0)
GETLINK, GETADDR, GETROUTE, GET_STATS_CPU = 18, 22, 26, 0x104
_FAMILIES = {4: 2, 6: 10}


@functools.cache
def captured() -> dict[str, Any]:
    """The dumps of a network namespace, and what ip(8) said of it."""
    found: dict[str, Any] = yaml.safe_load((DUMPS / "namespace.yml").read_text(encoding="utf-8"))
    return found


def answer(monkeypatch: pytest.MonkeyPatch, dumps: dict[int, bytes] | None = None) -> list[tuple[int, int, bytes]]:
    """Let the kernel answer with these dumps, by the type of the request; with those captured where none are given.

    What was asked comes back, as it is asked: (protocol, type, body).
    """
    asked = []

    def dump(host: object, protocol: int, kind: int, body: bytes) -> bytes:
        asked.append((protocol, kind, body))
        if dumps is not None:
            return dumps[kind]
        names = {
            GETLINK: "links",
            GET_STATS_CPU: "conntrack",
            GETROUTE: "blackholes" if body[7:8] == b"\6" else "routes",
        }
        content: bytes = captured()[names[kind]]
        return content

    monkeypatch.setattr(netlink, "dump", dump)
    return asked


def message(kind: int, body: bytes, attributes: dict[int, bytes], flags: int = 2) -> bytes:
    """One message of a dump."""
    payload = body + b"".join(netlink.attribute(number, value) for number, value in attributes.items())
    return struct.pack("=IHHII", 16 + len(payload), kind, flags, 1, 0) + payload


def number(value: int) -> bytes:
    """An attribute's number of four bytes."""
    return struct.pack("=I", value)


def link(
    index: int, name: bytes, kind: bytes | None = None, data: dict[int, bytes] | None = None, **more: Any
) -> bytes:
    """A message of RTM_NEWLINK. ``more``: mtu, lower, master, netnsid, low and high, or bounds=False for a kernel that tells none."""
    found = {3: name + b"\0", 4: number(more.get("mtu", 1500))}
    found |= {at: number(more[key]) for key, at in (("lower", 5), ("master", 10), ("netnsid", 37)) if key in more}
    if more.get("bounds", True):
        found |= {50: number(more.get("low", 68)), 51: number(more.get("high", 65535))}
    if kind is not None:
        inner = b"".join(netlink.attribute(at, value) for at, value in (data or {}).items())
        # NLA_F_NESTED, as some kernels set it.
        found[18 | 0x8000] = netlink.attribute(1, kind + b"\0") + netlink.attribute(2, inner)
    return message(16, struct.pack("=BBHiII", 0, 0, 1, index, 0, 0), found)


def address(index: int, text: str) -> bytes:
    """A message of RTM_NEWADDR."""
    found = ipaddress.ip_interface(text)
    head = struct.pack("=BBBBI", _FAMILIES[found.version], found.network.prefixlen, 0, 0, index)
    return message(20, head, {1: found.ip.packed})


def route(index: int, destination: str | None = None, table: int = 254, gateway: str | None = None) -> bytes:
    """A message of RTM_NEWROUTE; without a destination it is the default route of version 4."""
    found = ipaddress.ip_network(destination or "0.0.0.0/0")
    head = struct.pack("=BBBBBBBBI", _FAMILIES[found.version], found.prefixlen, 0, 0, min(table, 252), 3, 0, 1, 0)
    attributes = {1: found.network_address.packed} if destination else {}
    attributes |= {15: number(table), 4: number(index)}
    return message(24, head, attributes | ({5: ipaddress.ip_address(gateway).packed} if gateway else {}))
