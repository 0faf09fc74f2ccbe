# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel tells and takes by netlink alone. Sources: netlink(7), rtnetlink(7), linux/netlink.h.

The standard library has the socket; pyroute2 takes a quarter of a second to import, and is on no node by default.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import sys
from collections.abc import Iterator
from typing import NamedTuple

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host

__all__ = ["NETFILTER", "ROUTE", "attribute", "attributes", "dump", "messages", "number", "request", "stream"]

ROUTE, NETFILTER = 0, 12
_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_REQUEST_DUMP = 0x1 | 0x300
_REQUEST_ACK = 0x1 | 0x4
_INTERRUPTED = 0x10
_ERROR, _DONE = 2, 3
_TYPE_MASK = 0x3FFF  # above are NLA_F_NESTED and NLA_F_NET_BYTEORDER
_SOL_NETLINK, _CAP_ACK, _EXT_ACK, _STRICT_CHECK = 270, 10, 11, 12
_HAS_WORDS, _WORDS = 0x200, 1  # NLM_F_ACK_TLVS, NLMSGERR_ATTR_MSG
_BUFFER = 256 << 10
_LIMIT = 256 << 20
_ATTEMPTS = 5
_SECONDS = 10


def dump(host: Host, protocol: int, kind: int, body: bytes) -> bytes | None:
    """The kernel's whole answer to one dump request, as it came; None in a tree, which has no kernel.

    Raises HostError where the kernel refuses, or the answer changed each time while it was read.
    """
    if host.root:
        return None
    try:
        answer, attempts = None, 0
        while answer is None and attempts < _ATTEMPTS:
            attempts += 1
            with _asked(protocol, kind, body) as channel:
                answer = _receive(channel)
    except OSError as error:
        raise HostError.from_os("netlink", "ask the kernel", error) from error
    if answer is not None:
        return answer
    raise HostError("netlink", f"what the kernel tells changed {_ATTEMPTS} times while it was read; try again")


def stream(protocol: int, kind: int, body: bytes) -> Iterator[bytes]:
    """The payload of each message of a dump as it comes, so that none is too large: a table that lives, and is never whole anyway.

    Raises HostError where the kernel refuses.
    """
    try:
        with _asked(protocol, kind, body) as channel:
            for block in _blocks(channel):
                yield from messages(block)
                if any(message.kind in (_ERROR, _DONE) for message in _split(block)):
                    return
    except OSError as error:
        raise HostError.from_os("netlink", "ask the kernel", error) from error


@contextlib.contextmanager
def _asked(protocol: int, kind: int, body: bytes) -> Iterator[socket.socket]:
    """A socket from which the answer to a dump request can be read."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol) as channel:
        channel.settimeout(_SECONDS)
        # Then the kernel filters by what the body says (4.20). An older one gives all.
        with contextlib.suppress(OSError):
            channel.setsockopt(_SOL_NETLINK, _STRICT_CHECK, 1)
        channel.sendto(_HEADER.pack(_HEADER.size + len(body), kind, _REQUEST_DUMP, 1, 0) + body, (0, 0))
        yield channel


def request(host: Host, protocol: int, kind: int, body: bytes) -> bytes:
    """Ask for one thing, or for a change: the kernel's answer as it came, empty in a tree.

    Raises HostError with the kernel's own words where it refuses; its ``code`` is the symbolic errno.
    """
    if host.root:
        return b""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol) as channel:
            channel.settimeout(_SECONDS)
            for option in (_CAP_ACK, _EXT_ACK):
                with contextlib.suppress(OSError):
                    channel.setsockopt(_SOL_NETLINK, option, 1)
            channel.sendto(_HEADER.pack(_HEADER.size + len(body), kind, _REQUEST_ACK, 1, 0) + body, (0, 0))
            answer = _receive(channel) or b""
    except OSError as error:
        raise HostError.from_os("netlink", "ask the kernel", error) from error
    for message in _split(answer):
        code = -int.from_bytes(message.payload[:4], sys.byteorder, signed=True) if message.kind == _ERROR else 0
        if code > 0:
            more = attributes(message.payload, 4 + _HEADER.size) if message.flags & _HAS_WORDS else {}
            words = more.get(_WORDS, b"").rstrip(b"\0").decode("utf-8", "replace") or os.strerror(code)
            name = errno.errorcode.get(code)
            raise HostError("netlink", f"the kernel says: {words} ({name or code})", name)
    return answer


def _receive(channel: socket.socket) -> bytes | None:
    """All of one answer, its end included; None where the kernel says that it is torn (NLM_F_DUMP_INTR)."""
    answer = bytearray()
    whole = True
    for block in _blocks(channel):
        answer += block
        for message in _split(block):
            whole = whole and not message.flags & _INTERRUPTED
            if message.kind in (_ERROR, _DONE):
                return bytes(answer) if whole else None
        if len(answer) > _LIMIT:
            break
    raise HostError("netlink", f"the answer has more than {_LIMIT} bytes")


def _blocks(channel: socket.socket) -> Iterator[bytes]:
    """What the kernel sends, without end."""
    while True:
        received = channel.recvmsg(_BUFFER)
        block, flags, sender = received[0], received[2], received[3]
        if flags & socket.MSG_TRUNC:
            raise HostError("netlink", f"a message has more than {_BUFFER} bytes")
        # Another process could send to us; the kernel has port 0.
        if sender[0] == 0:
            yield block


class _Message(NamedTuple):
    kind: int
    flags: int
    payload: bytes


def _split(answer: bytes) -> Iterator[_Message]:
    """The messages one after the other; what is cut off at the end is left out."""
    at = 0
    while at + _HEADER.size <= len(answer):
        length, kind, flags = _HEADER.unpack_from(answer, at)[:3]
        if not _HEADER.size <= length <= len(answer) - at:
            return
        yield _Message(kind, flags, answer[at + _HEADER.size : at + length])
        at += length + 3 & ~3


def messages(answer: bytes) -> Iterator[bytes]:
    """The payload of each message of a dump. Raises HostError where the kernel's answer was an error."""
    for message in _split(answer):
        if message.kind in (_ERROR, _DONE):
            code = -int.from_bytes(message.payload[:4], sys.byteorder, signed=True)
            if code > 0:
                raise HostError.from_os("netlink", "ask the kernel", OSError(code, ""))
            return
        yield message.payload


def attributes(payload: bytes, start: int = 0) -> dict[int, bytes]:
    """The attributes of a message behind its own ``start`` bytes, or those inside of another attribute, by number."""
    found = {}
    while start + 4 <= len(payload):
        length, kind = struct.unpack_from("=HH", payload, start)
        if not 4 <= length <= len(payload) - start:
            break
        found[kind & _TYPE_MASK] = payload[start + 4 : start + length]
        start += length + 3 & ~3
    return found


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute of a request."""
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def number(value: bytes | None) -> int | None:
    """An attribute's unsigned number in the machine's order of bytes; None where there is no such attribute."""
    return int.from_bytes(value, sys.byteorder) if value else None
