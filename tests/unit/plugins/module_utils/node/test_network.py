# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses, routes, and which links carry the machine: built dumps, the kernel's answers, and environments of ancestors."""

from __future__ import annotations

import os
import random
import struct
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import netlink, network
from ansible_collections.bulwark.node.plugins.module_utils.node.links import Link
from ansible_collections.bulwark.node.plugins.module_utils.node.network import Address, Network, Route
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.dumps import (
    DONE,
    GETADDR,
    GETROUTE,
    address,
    answer,
    captured,
    message,
    number,
    route,
)

PEER = message(20, struct.pack("=BBBBI", 2, 32, 0, 0, 5), {1: b"\xc0\x00\x02\x09", 2: b"\xc0\x00\x02\x02"})


GETNEXTHOP = 106


def observed(
    monkeypatch: pytest.MonkeyPatch, addresses: bytes = b"", routes: bytes = b"", objects: bytes = b""
) -> Network:
    answer(monkeypatch, {GETADDR: addresses + DONE, GETROUTE: routes + DONE, GETNEXTHOP: objects + DONE})
    return network.observe(Host())


def test_addresses_are_those_of_the_link_and_not_of_its_other_end(monkeypatch: pytest.MonkeyPatch) -> None:
    dump = address(2, "192.0.2.2/24") + address(2, "2001:db8::2/64") + PEER
    # Of another family, of a wrong length, and cut off.
    dump += message(20, struct.pack("=BBBBI", 7, 8, 0, 0, 5), {1: b"\1\2\3\4"})
    dump += message(20, struct.pack("=BBBBI", 10, 8, 0, 0, 5), {1: b"\1\2\3\4"}) + message(20, b"\2", {})
    assert observed(monkeypatch, dump).addresses == {
        Address(2, "192.0.2.2/24"),
        Address(2, "2001:db8::2/64"),
        Address(5, "192.0.2.2/32"),
    }


def hop(index: int, gateway: bytes | None = None) -> bytes:
    inner = netlink.attribute(5, gateway) if gateway else b""
    return struct.pack("=HBBi", 8 + len(inner), 0, 0, index) + inner


def raw(attributes: dict[int, bytes], family: int = 2, kind: int = 1, flags: int = 0, length: int = 0) -> bytes:
    return message(24, struct.pack("=BBBBBBBBI", family, length, 0, 0, 254, 3, 0, kind, flags), attributes)


def test_routes_of_all_tables_and_of_many_hops(monkeypatch: pytest.MonkeyPatch) -> None:
    dump = (
        route(2, gateway="192.0.2.1")
        + route(2, "198.51.100.0/24", table=1000, gateway="192.0.2.1")
        + route(3, "2001:db8:1::/48", gateway="2001:db8::1")
        + raw({9: hop(4, b"\xc0\x00\x02\x01") + hop(5), 6: number(7)})
    )
    assert observed(monkeypatch, b"", dump).routes == {
        Route(2, 2, 254, None, "192.0.2.1", 0),
        Route(2, 2, 1000, "198.51.100.0/24", "192.0.2.1", 0),
        Route(3, 10, 254, "2001:db8:1::/48", "2001:db8::1", 0),
        Route(4, 2, 254, None, "192.0.2.1", 7),
        Route(5, 2, 254, None, None, 7),
    }


@pytest.mark.parametrize(
    "dump",
    [
        raw({4: number(2)}, kind=2),  # local
        raw({4: number(2)}, kind=6),  # a blackhole
        raw({4: number(2)}, flags=0x200),  # cached
        raw({4: number(2)}, family=129),
        raw({}),
        raw({9: struct.pack("=HBBi", 3, 0, 0, 4)}),  # a hop that is shorter than itself
        message(24, b"\2", {}),
    ],
)
def test_what_is_no_unicast_route_is_left_out(monkeypatch: pytest.MonkeyPatch, dump: bytes) -> None:
    assert observed(monkeypatch, b"", dump).routes == frozenset()


@pytest.mark.parametrize(
    ("kind", "protocol", "family", "expected"),
    [
        (6, 4, 2, {"blackhole 198.51.100.0/24 table 254"}),
        (7, 2, 2, {"unreachable 198.51.100.0/24 table 254"}),
        (8, 3, 2, {"prohibit 198.51.100.0/24 table 254"}),
        (9, 16, 2, {"throw 198.51.100.0/24 table 254"}),
        (6, 12, 2, set()),  # BIRD's, which takes it away when it likes
        (6, 4, 129, set()),
        (1, 4, 2, set()),
        (2, 4, 2, set()),
    ],
)
def test_routes_that_lead_nowhere_are_apart_and_those_of_daemons_left_out(
    monkeypatch: pytest.MonkeyPatch, kind: int, protocol: int, family: int, expected: set[str]
) -> None:
    head = struct.pack("=BBBBBBBBI", family, 24, 0, 0, 254, protocol, 0, kind, 0)
    assert observed(monkeypatch, b"", message(24, head, {1: b"\xc6\x33\x64\x00"})).sinks == expected


def test_a_default_route_that_leads_nowhere_carries_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = observed(monkeypatch, b"", raw({15: number(1000)}, kind=7, family=10) + raw({}, kind=6))
    assert found.sinks == {"unreachable ::/0 table 1000", "blackhole 0.0.0.0/0 table 254"}
    assert network.carriers(Host("/srv"), [], found, None) == {}


def next_hop(attributes: dict[int, bytes]) -> bytes:
    return message(104, bytes(8), attributes)


NEXT_HOPS = (
    next_hop({1: number(7), 5: number(4), 6: b"\xc0\x00\x02\x01"})
    + next_hop({1: number(8), 5: number(5)})
    + next_hop({1: number(9), 2: b"".join(struct.pack("=IBBH", each, 0, 0, 0) for each in (7, 8))})
)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({30: number(7)}, {(4, "192.0.2.1")}),
        ({30: number(9)}, {(4, "192.0.2.1"), (5, None)}),
        # As the kernel tells it by default.
        ({30: number(7), 4: number(6)}, {(6, None)}),
        ({30: number(99)}, {(0, None)}),
    ],
)
def test_a_route_through_a_next_hop_object_goes_through_its_links(
    monkeypatch: pytest.MonkeyPatch, attributes: dict[int, bytes], expected: set[Any]
) -> None:
    found = observed(monkeypatch, b"", raw(attributes), NEXT_HOPS).routes
    assert {(each.index, each.gateway) for each in found} == expected
    assert all(each.destination is None for each in found)


def test_next_hop_objects_are_asked_for_once_and_only_where_a_route_needs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for routes, times in ((raw({30: number(7), 4: number(6)}), 0), (raw({30: number(7)}) + raw({30: number(8)}), 1)):
        asked = answer(monkeypatch, {GETADDR: DONE, GETROUTE: routes + DONE, GETNEXTHOP: NEXT_HOPS + DONE})
        network.observe(Host())
        assert [kind for _protocol, kind, _body in asked].count(GETNEXTHOP) == times


def test_next_hop_objects_that_the_kernel_does_not_tell_leave_the_link_open(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = message(2, struct.pack("=i", -95), {})
    answer(monkeypatch, {GETADDR: DONE, GETROUTE: raw({30: number(7)}) + DONE, GETNEXTHOP: refused})
    assert network.observe(Host()).routes == {Route(0, 2, 254, None, None, 0)}


def test_the_routes_of_a_captured_dump_are_those_that_a_link_carries(monkeypatch: pytest.MonkeyPatch) -> None:
    found = observed(monkeypatch, b"", captured()["routes"])
    assert {each.family for each in found.routes} <= {2, 10}
    assert all(each.index > 0 for each in found.routes)


def test_any_bytes_end_without_an_error_that_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(7)
    content = route(2, "198.51.100.0/24", gateway="192.0.2.1") + raw({9: hop(4, b"\xc0\x00\x02\x01") + hop(5)})
    content += address(2, "192.0.2.2/24") + raw({30: number(9)}) + NEXT_HOPS
    for _dummy in range(2000):
        noisy = bytearray(content)
        for place in chance.sample(range(16, len(noisy)), 3):
            noisy[place] = chance.randrange(256)
        try:
            observed(monkeypatch, bytes(noisy), bytes(noisy), bytes(noisy))
        except HostError:
            continue


# --- the connection


def process(tree: Path, pid: int, parent: int, environ: str | bytes = "", name: str = "python3") -> None:
    folder = tree / "proc" / str(pid)
    folder.mkdir(parents=True)
    (folder / "environ").write_bytes(environ.encode() if isinstance(environ, str) else environ)
    (folder / "stat").write_text(f"{pid} ({name}) S {parent} 1 1 0")


SSH = "198.51.100.9 50000 192.0.2.2 22"


def test_the_connection_is_that_of_our_own_environment_or_of_an_ancestors(tree: Path) -> None:
    process(tree, os.getpid(), 30, "PATH=/bin\0XSSH_CONNECTION=no\0")
    # sudo clears it, and a process may name itself as it likes.
    process(tree, 30, 20, b"A=\xff\0", name="s) R 1 (u")
    process(tree, 20, 1, f"SSH_CONNECTION={SSH}\0")
    assert network.connection(Host(str(tree))) == SSH
    (tree / "proc" / str(os.getpid()) / "environ").write_text("SSH_CONNECTION=::1 1 ::1 22\0")
    assert network.connection(Host(str(tree))) == "::1 1 ::1 22"


@pytest.mark.parametrize(
    "environ",
    ["", "SSH_CONNECTION=", "SSH_CONNECTION=a b c d", "SSH_CONNECTION=a 1 b 22 more", "SSH_CONNECTION=a \u0661 b 22"],
)
def test_what_is_no_connection_is_none(tree: Path, environ: str) -> None:
    process(tree, os.getpid(), 1, environ)
    assert network.connection(Host(str(tree))) is None


def test_an_environment_that_cannot_be_read_does_not_end_the_search(tree: Path) -> None:
    process(tree, os.getpid(), 30)
    process(tree, 30, 1, f"SSH_CONNECTION={SSH}\0")
    environ = tree / "proc" / str(os.getpid()) / "environ"
    environ.unlink()
    environ.mkdir()  # not even by root
    assert network.connection(Host(str(tree))) == SSH


def test_a_process_that_is_gone_or_its_own_parent_ends_the_search(tree: Path) -> None:
    assert network.connection(Host(str(tree))) is None
    process(tree, os.getpid(), os.getpid())
    assert network.connection(Host(str(tree))) is None


# --- what carries it


def link(index: int, name: str, **more: Any) -> Link:
    return Link(
        **{
            "index": index,
            "name": name,
            "folder": f"/sys/class/net/{name}",
            "kind": None,
            "mtu": 1500,
            "min_mtu": 68,
            "max_mtu": 65535,
            "master": None,
            "lower": None,
            **more,
        }
    )


# br0.5 on br0, of bond0, of eth0 and eth1; eth2 alone.
LINKS = [
    link(1, "br0.5", lower=2),
    link(2, "br0"),
    link(3, "bond0", master=2),
    link(4, "eth0", master=3),
    link(5, "eth1", master=3),
    link(6, "eth2"),
]
DEFAULT = Route(1, 2, 254, None, "192.0.2.1", 0)


def carriers(
    monkeypatch: pytest.MonkeyPatch,
    routes: list[Route],
    addresses: list[Address],
    ssh: str | None,
    back: int | None = None,
) -> dict[str, str]:
    monkeypatch.setattr(network, "link_to", lambda host, text, source: back)
    found = network.carriers(Host(), LINKS, Network(frozenset(addresses), frozenset(routes)), ssh)
    return {each.name: found[each.index] for each in LINKS if each.index in found}


def test_what_has_a_default_route_and_all_below_it_carry_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    below = dict.fromkeys(["br0", "bond0", "eth0", "eth1"], "a default route below br0.5")
    assert carriers(monkeypatch, [DEFAULT], [], None) == {"br0.5": "a default route", **below}
    policy = Route(6, 10, 1000, None, "2001:db8::1", 0)
    assert carriers(monkeypatch, [policy], [], None) == {"eth2": "a default route"}
    assert carriers(monkeypatch, [Route(6, 2, 254, "10.0.0.0/8", None, 0)], [], None) == {}


@pytest.mark.parametrize(
    ("ssh", "own"),
    [
        (SSH, "192.0.2.2/24"),
        ("::ffff:198.51.100.9 50000 ::ffff:192.0.2.2 22", "192.0.2.2/24"),
        ("fe80::1%br0 50000 fe80::2%br0 22", "fe80::2/64"),
        ("2001:DB8::9 50000 2001:db8:0::2 22", "2001:db8::2/64"),
    ],
)
def test_what_has_the_connections_own_address_carries_it(monkeypatch: pytest.MonkeyPatch, ssh: str, own: str) -> None:
    found = carriers(monkeypatch, [], [Address(6, own), Address(2, "203.0.113.1/24")], ssh)
    assert found == {"eth2": "this connection"}


def test_what_leads_back_to_its_client_carries_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    below = dict.fromkeys(["bond0", "eth0", "eth1"], "this connection below br0")
    assert carriers(monkeypatch, [], [], SSH, back=2) == {"br0": "this connection", **below}
    # The nearer reason is told.
    assert carriers(monkeypatch, [Route(6, 2, 254, None, None, 0)], [], SSH, back=6) == {"eth2": "this connection"}


def test_a_default_route_through_what_cannot_be_told_may_be_any_link(monkeypatch: pytest.MonkeyPatch) -> None:
    untold = Route(0, 2, 254, None, None, 0)
    every = dict.fromkeys([each.name for each in LINKS], "a default route through a next hop that cannot be told")
    assert carriers(monkeypatch, [untold], [], None) == every
    known = Route(6, 2, 254, None, None, 0)
    assert carriers(monkeypatch, [untold, known], [], None) == {**every, "eth2": "a default route"}


def test_all_next_hops_of_the_longest_route_to_the_client_carry_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def via(index: int, destination: str | None, table: int = 254) -> Route:
        return Route(index, 2, table, destination, None, 0)

    wide, two = via(3, "198.51.0.0/16"), [via(4, "198.51.100.0/24"), via(5, "198.51.100.0/24")]
    both = dict.fromkeys(["eth0", "eth1"], "this connection")
    assert carriers(monkeypatch, [wide, *two], [], SSH, back=4) == both
    assert carriers(monkeypatch, [*two, wide], [], SSH, back=4) == both
    # A rule may choose another table.
    assert carriers(monkeypatch, [*two, via(6, "198.51.0.0/16", 1000)], [], SSH) == {**both, "eth2": "this connection"}
    others = [via(6, "203.0.113.0/24"), Route(6, 10, 254, "2001:db8::/32", None, 0)]
    assert carriers(monkeypatch, others, [], SSH) == {}
    # A route to it is on each link.
    local = Route(6, 10, 254, "fe80::/64", None, 0)
    assert carriers(monkeypatch, [local], [], "fe80::1%br0 50000 fe80::2%br0 22") == {}


def test_a_pair_of_veth_leads_to_the_bridge_at_its_other_end() -> None:
    pair = [
        link(1, "vmbr0"),
        link(2, "fwpr1", kind="veth", master=1, peer=3),
        link(3, "fwln1", kind="veth", master=4, peer=2),
        link(4, "fwbr1"),
        link(5, "eth0", master=4),
        link(6, "veth6", kind="veth", peer=7),
        link(7, "veth7", kind="veth", peer=6),
        link(8, "br8"),
    ]
    found = network.carriers(Host(), pair, Network(frozenset(), frozenset({DEFAULT})), None)
    assert found == {1: "a default route", **dict.fromkeys([2, 3, 4, 5], "a default route below vmbr0")}
    top = Route(6, 2, 254, None, None, 0)
    assert set(network.carriers(Host(), pair, Network(frozenset(), frozenset({top})), None)) == {6, 7}


@pytest.mark.parametrize("ssh", ["x 1 y 22", "UNKNOWN 65535 UNKNOWN 65535"])
def test_a_connection_without_addresses_is_carried_by_nothing_that_is_known(
    monkeypatch: pytest.MonkeyPatch, ssh: str
) -> None:
    found = network.carriers(Host(), LINKS, Network(frozenset({Address(6, "192.0.2.2/24")}), frozenset()), ssh)
    assert found == {}


def test_the_link_to_an_address_is_asked_of_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def request(host: object, protocol: int, kind: int, body: bytes) -> bytes:
        asked.append(netlink.attributes(body, 12)[1])
        if body[0] == 10:
            raise HostError("netlink", "the kernel says: Network is unreachable (ENETUNREACH)", "ENETUNREACH")
        return route(6, "198.51.100.9/32")

    monkeypatch.setattr(netlink, "request", request)
    assert network.link_to(Host(), "198.51.100.9") == 6
    assert network.link_to(Host(), "::ffff:198.51.100.9") == 6
    assert network.link_to(Host(), "2001:db8::9") is None
    assert network.link_to(Host(), "no address") is None
    assert asked[:2] == [b"\xc6\x33\x64\x09"] * 2
    monkeypatch.setattr(netlink, "request", lambda *rest: b"")
    assert network.link_to(Host(), "198.51.100.9") is None


def test_the_kernel_is_asked_for_the_way_back_from_the_servers_address(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, bytes | None]] = []

    def request(host: object, protocol: int, kind: int, body: bytes) -> bytes:
        source = netlink.attributes(body, 12).get(2)
        asked.append((body[2], source))
        if source == b"\xcb\x00\x71\x01":
            raise HostError("netlink", "the kernel says: Invalid argument (EINVAL)", "EINVAL")
        return route(6 if source else 5, "198.51.100.9/32")

    monkeypatch.setattr(netlink, "request", request)
    assert network.link_to(Host(), "198.51.100.9", "::ffff:192.0.2.2") == 6
    assert network.link_to(Host(), "2001:db8::9", "2001:db8::2") == 6
    assert asked == [(32, b"\xc0\x00\x02\x02"), (128, bytes.fromhex("20010db8000000000000000000000002"))]
    # It has none, one of another family, and one that is not its own.
    for source in ("", "2001:db8::2", "203.0.113.1"):
        assert network.link_to(Host(), "198.51.100.9", source) == 5
    assert asked[-1] == (0, None)
    found = network.carriers(Host(), LINKS, Network(frozenset(), frozenset()), SSH)
    assert found == {6: "this connection"}
