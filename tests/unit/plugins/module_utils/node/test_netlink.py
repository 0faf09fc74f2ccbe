# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Netlink dumps: messages and attributes of any bytes, refusals, and answers that change while they are read."""

from __future__ import annotations

import random
import socket
import struct
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import netlink
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.dumps import DONE, captured, message

ERROR = struct.pack("=IHHIIi", 20, 2, 0, 1, 0, -13)


class FakeSocket:
    """A kernel that gives these blocks, one to each call; ``senders`` are their ports."""

    def __init__(self, blocks: list[bytes], senders: list[int] | None = None, flags: int = 0) -> None:
        self.blocks, self.senders, self.flags = list(blocks), list(senders or [0] * len(blocks)), flags
        self.sent: list[bytes] = []

    def __enter__(self) -> FakeSocket:
        return self

    def __exit__(self, *rest: object) -> None:
        return None

    def settimeout(self, seconds: float) -> None:
        assert seconds > 0

    def setsockopt(self, *rest: object) -> None:
        raise OSError(92, "Protocol not available")

    def sendto(self, request: bytes, address: tuple[int, int]) -> None:
        assert address == (0, 0)
        self.sent.append(request)

    def recvmsg(self, size: int) -> tuple[bytes, list[object], int, tuple[int, int]]:
        return self.blocks.pop(0), [], self.flags, (self.senders.pop(0), 0)


def kernel(monkeypatch: pytest.MonkeyPatch, fake: FakeSocket) -> FakeSocket:
    monkeypatch.setattr(socket, "socket", lambda *rest: fake)
    return fake


def part(content: bytes, flags: int = 2) -> bytes:
    return message(16, content, {}, flags)


def test_a_tree_has_no_netlink(tree: Path) -> None:
    assert netlink.dump(Host(root=str(tree)), netlink.ROUTE, 18, b"") is None


def test_a_dump_is_asked_for_once_and_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = kernel(monkeypatch, FakeSocket([part(b"aaaa"), part(b"bbbb") + part(b"cc"), DONE, part(b"late")]))
    answer = netlink.dump(Host(), netlink.ROUTE, 18, b"body")
    assert fake.sent == [struct.pack("=IHHII", 20, 18, 0x301, 1, 0) + b"body"]
    # Of the padding a message has none in its length.
    assert [bytes(payload) for payload in netlink.messages(answer or b"")] == [b"aaaa", b"bbbb", b"cc"]


def test_what_another_process_sends_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel(monkeypatch, FakeSocket([part(b"evil"), part(b"aaaa") + DONE], senders=[4711, 0]))
    assert list(netlink.messages(netlink.dump(Host(), netlink.ROUTE, 18, b"") or b"")) == [b"aaaa"]


def test_a_dump_that_changed_while_it_was_read_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    torn = part(b"torn", flags=0x12) + DONE
    fake = kernel(monkeypatch, FakeSocket([torn, torn, part(b"good") + DONE]))
    assert list(netlink.messages(netlink.dump(Host(), netlink.ROUTE, 18, b"") or b"")) == [b"good"]
    assert len(fake.sent) == 3


def test_a_dump_that_never_holds_still_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel(monkeypatch, FakeSocket([part(b"torn", flags=0x12) + DONE] * 9))
    with pytest.raises(HostError, match="changed 5 times while it was read"):
        netlink.dump(Host(), netlink.ROUTE, 18, b"")


def test_a_cut_message_is_an_error_and_not_half_a_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel(monkeypatch, FakeSocket([part(b"aaaa")], flags=socket.MSG_TRUNC))
    with pytest.raises(HostError, match="a message has more than"):
        netlink.dump(Host(), netlink.ROUTE, 18, b"")


@pytest.mark.parametrize("error", [TimeoutError("timed out"), PermissionError(1, "no"), OSError(93, "no protocol")])
def test_a_socket_that_fails_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    def refuse(*rest: object) -> None:
        raise error

    monkeypatch.setattr(socket, "socket", refuse)
    with pytest.raises(HostError, match="netlink: cannot ask the kernel: "):
        netlink.dump(Host(), netlink.NETFILTER, 18, b"")


@pytest.mark.parametrize("last", [ERROR, struct.pack("=IHHIIi", 20, 3, 2, 1, 0, -13)])
def test_the_kernels_refusal_is_an_error_by_its_name(last: bytes) -> None:
    with pytest.raises(HostError) as caught:
        list(netlink.messages(part(b"aaaa") + last))
    assert caught.value.code == "EACCES"


def test_attributes_come_by_number_without_their_flags() -> None:
    payload = b"head" + netlink.attribute(3, b"abc") + netlink.attribute(0x8012, b"") + netlink.attribute(7, b"x")
    assert netlink.attributes(payload, 4) == {3: b"abc", 18: b"", 7: b"x"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, None), (b"", None), (b"\1", 1), (struct.pack("=H", 515), 515), (struct.pack("=I", 9), 9)],
)
def test_numbers_are_of_any_width(value: bytes | None, expected: int | None) -> None:
    assert netlink.number(value) == expected


@pytest.mark.parametrize("name", ["links", "routes", "conntrack"])
def test_any_bytes_end_without_an_error_that_is_not_ours(name: str) -> None:
    chance = random.Random(7)
    content: bytes = captured()[name][:4000]

    def read(answer: bytes) -> Any:
        try:
            return [netlink.attributes(payload, 16) for payload in netlink.messages(answer)]
        except HostError:
            return []

    for at in range(0, len(content), 7):
        read(content[:at])
        noisy = bytearray(content)
        for place in chance.sample(range(len(noisy)), 20):
            noisy[place] = chance.randrange(256)
        read(bytes(noisy))


# --- requests: one answer, one refusal


def request(monkeypatch: pytest.MonkeyPatch, *blocks: bytes) -> tuple[FakeSocket, bytes]:
    fake = kernel(monkeypatch, FakeSocket(list(blocks)))
    return fake, netlink.request(Host(), netlink.ROUTE, 19, b"body")


ACK = struct.pack("=IHHIIi", 36, 2, 0, 1, 0, 0) + bytes(16)


def refusal(code: int, words: bytes | None = None) -> bytes:
    """NLMSG_ERROR with the header of what was asked, and with the kernel's words where it has some."""
    head = struct.pack("=i", -code) + bytes(16)
    return message(2, head, {1: words} if words else {}, 0x200 if words else 0)


def test_a_tree_takes_no_request(tree: Path) -> None:
    assert netlink.request(Host(root=str(tree)), netlink.ROUTE, 19, b"") == b""


def test_a_request_is_acknowledged_and_its_answer_comes_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    fake, answer = request(monkeypatch, part(b"aaaa", 0), ACK)
    assert fake.sent == [struct.pack("=IHHII", 20, 19, 0x5, 1, 0) + b"body"]
    assert list(netlink.messages(answer)) == [b"aaaa"]
    assert list(netlink.messages(request(monkeypatch, ACK)[1])) == []


@pytest.mark.parametrize(
    ("last", "said", "code"),
    [
        (refusal(22, b"mtu greater than device maximum\0"), "mtu greater than device maximum (EINVAL)", "EINVAL"),
        (refusal(34), "Numerical result out of range (ERANGE)", "ERANGE"),
        (refusal(524), "Unknown error 524 (524)", None),
        (refusal(1, b"\xff\x1b"), "\ufffd\x1b (EPERM)", "EPERM"),
    ],
)
def test_a_refused_request_has_the_kernels_words(
    monkeypatch: pytest.MonkeyPatch, last: bytes, said: str, code: str | None
) -> None:
    with pytest.raises(HostError) as caught:
        request(monkeypatch, last)
    assert (str(caught.value), caught.value.code) == (f"netlink: the kernel says: {said}", code)


def test_a_request_that_gets_no_answer_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def wait(size: int) -> None:
        raise TimeoutError("timed out")

    fake = kernel(monkeypatch, FakeSocket([]))
    monkeypatch.setattr(fake, "recvmsg", wait)
    with pytest.raises(HostError, match="netlink: cannot ask the kernel"):
        netlink.request(Host(), netlink.ROUTE, 19, b"")
