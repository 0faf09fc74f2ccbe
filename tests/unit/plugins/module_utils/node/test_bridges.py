# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The subset ``bridges``: the MTU that counts, what proves a pin, ports of guests and pods, and what stands on a bridge."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import bridges
from ansible_collections.bulwark.node.plugins.module_utils.node.links import Link
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.dumps import DONE, GETLINK, answer, link


@pytest.mark.parametrize(
    ("mtu", "ports", "expected", "words"),
    [
        (1500, [1500], None, "smallest of its ports"),
        (1400, [1500, 1400], None, "smallest of its ports"),
        (1500, [1500, 1400], True, "1500, while the smallest of its ports is 1400"),
        (9000, [1500], True, "9000, while the smallest of its ports is 1500"),
        (1400, [1500, 9000], True, "1400, while the smallest of its ports is 1500"),
        (1500, [], None, "no ports, and the MTU of a new bridge"),
        (9000, [], None, "an MTU of 9000 was set by hand, or was that of the last port"),
        (None, [1500], None, "not known"),
    ],
)
def test_a_difference_proves_a_pin_and_nothing_disproves_it(
    mtu: int | None, ports: list[int], expected: bool | None, words: str
) -> None:
    verdict, reason = bridges.pinned(mtu, ports)
    assert verdict is expected
    assert words in reason


def test_a_captured_dump(monkeypatch: pytest.MonkeyPatch, tree: Path) -> None:
    answer(monkeypatch)
    assert bridges.facts(Host(root=str(tree))) == [
        {
            "name": "br0",
            "mtu": 1600,
            "effective_mtu": 1400,
            "pinned": True,
            "pinned_reason": "its MTU is 1600, while the smallest of its ports is 1400: it does not follow them",
            "ports": [
                {"name": "vnet0", "mtu": 1500, "kind": "veth", "dynamic": True},
                {"name": "tap0", "mtu": 1400, "kind": "tun", "dynamic": True},
            ],
            "widest_mtu": 1600,
            "narrow": [],
            "narrow_dynamic": ["vnet0", "tap0"],
            "mismatched": ["vnet0", "tap0"],
            "vlan_filtering": False,
            "stp": False,
            "uppers": [{"name": "vxlan5", "mtu": 1450, "kind": "vxlan"}],
        },
        {
            "name": "br1",
            "mtu": 9000,
            "effective_mtu": None,
            "pinned": None,
            "pinned_reason": "it has no ports: an MTU of 9000 was set by hand, or was that of the last port",
            "ports": [],
            "widest_mtu": 9000,
            "narrow": [],
            "narrow_dynamic": [],
            "mismatched": [],
            "vlan_filtering": False,
            "stp": True,
            "uppers": [],
        },
        {
            "name": "\\xff\\xfe",
            "mtu": 1500,
            "effective_mtu": None,
            "pinned": None,
            "pinned_reason": "it has no ports, and the MTU of a new bridge",
            "ports": [],
            "widest_mtu": 1500,
            "narrow": [],
            "narrow_dynamic": [],
            "mismatched": [],
            "vlan_filtering": False,
            "stp": False,
            "uppers": [],
        },
    ]


@pytest.mark.parametrize(
    ("message", "dynamic"),
    [
        *((link(3, name, b"veth", master=2), True) for name in (b"vnet12", b"veth1a2b", b"cali0ef24", b"lxc_health")),
        (link(3, b"tap4f", b"tun", master=2), True),
        (link(3, b"guest", b"tun", master=2), True),
        (link(3, b"pod", b"veth", lower=2, netnsid=0, master=2), True),
        (link(3, b"eth0", master=2), False),
        (link(3, b"bond0", b"bond", master=2), False),
        (link(3, b"br0-ovs", b"veth", lower=4, master=2), False),
        (link(3, b"veth", b"veth", lower=4, master=2), False),
    ],
)
def test_ports_of_guests_and_pods_are_dynamic(
    monkeypatch: pytest.MonkeyPatch, tree: Path, message: bytes, dynamic: bool
) -> None:
    answer(monkeypatch, {GETLINK: link(2, b"br0", b"bridge") + message + DONE})
    (found,) = bridges.facts(Host(root=str(tree)))
    assert [port["dynamic"] for port in found["ports"]] == [dynamic]


@pytest.mark.parametrize(
    ("bridge_mtu", "port_mtu", "mismatched"),
    [(1500, 1500, []), (1500, 9000, ["eth0"]), (1500, None, []), (None, 1500, [])],
)
def test_an_mtu_that_nobody_told_is_no_mismatch(
    bridge_mtu: int | None, port_mtu: int | None, mismatched: list[str]
) -> None:
    bridge = Link(2, "br0", "br0", "bridge", bridge_mtu, None, None, None, None)
    port = Link(3, "eth0", "eth0", None, port_mtu, None, None, 2, None)
    assert bridges.shape(bridge, [bridge, port], by_us=False)["mismatched"] == mismatched


def test_what_stands_on_a_bridge_and_what_it_is_part_of(monkeypatch: pytest.MonkeyPatch, tree: Path) -> None:
    dump = [
        link(2, b"br0", b"bridge", mtu=9000, master=6),
        link(3, b"eth0", mtu=9000, master=2),
        link(4, b"br0.5", b"vlan", mtu=1500, lower=2),
        link(5, b"mac0", b"macvlan", mtu=9000, lower=2),
        link(6, b"vrf0", b"vrf", mtu=65575),
        # Another namespace's number 2, and the other end of a pair.
        link(7, b"mac1", b"macvlan", lower=2, netnsid=0),
        link(8, b"pair", b"veth", lower=2),
        # Open vSwitch is no bridge of the kernel, and neither is a bond.
        link(9, b"ovs-system", b"openvswitch"),
        link(10, b"bond0", b"bond"),
    ]
    answer(monkeypatch, {GETLINK: b"".join(dump) + DONE})
    (found,) = bridges.facts(Host(root=str(tree)))
    assert [upper["name"] for upper in found["uppers"]] == ["br0.5", "mac0", "vrf0"]
    assert (found["pinned"], found["mismatched"], found["effective_mtu"]) == (None, [], 9000)
    assert [port["name"] for port in found["ports"]] == ["eth0"]


@pytest.mark.parametrize(
    ("mtus", "widest", "narrow", "narrow_dynamic"),
    [
        ((9000, 9000, 9000), 9000, [], []),
        # What the host itself sends is lost too where a port takes less.
        ((9000, 1500, 9000), 9000, ["eth0"], []),
        ((1500, 9000, 1500), 9000, [], ["vnet0"]),
        ((1500, 1500, 1400), 1500, [], ["vnet0"]),
        ((1400, 9000, 9000), 9000, [], []),
    ],
)
def test_ports_that_drop_what_others_send(
    monkeypatch: pytest.MonkeyPatch,
    tree: Path,
    mtus: tuple[int, int, int],
    widest: int,
    narrow: list[str],
    narrow_dynamic: list[str],
) -> None:
    bridge, uplink, guest = mtus
    dump = [
        link(2, b"br0", b"bridge", mtu=bridge, master=6),
        link(3, b"eth0", mtu=uplink, master=2),
        link(4, b"vnet0", b"tun", mtu=guest, master=2),
        # Nothing that the bridge's ports have to carry.
        link(6, b"vrf0", b"vrf", mtu=65575),
    ]
    answer(monkeypatch, {GETLINK: b"".join(dump) + DONE})
    (found,) = bridges.facts(Host(root=str(tree)))
    assert found["widest_mtu"] == widest
    assert (found["narrow"], found["narrow_dynamic"]) == (narrow, narrow_dynamic)
