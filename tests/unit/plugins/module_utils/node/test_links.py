# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The subset ``links``: what a captured dump says, held to ip(8); each kind by hand; and sysfs where there is no netlink."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import links, netlink
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import lay
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.dumps import (
    DONE,
    GETLINK,
    answer,
    captured,
    link,
    message,
    number,
)

UNMANAGED = "manager: neither systemd-networkd, NetworkManager nor ifupdown has it"
BY_NETLINK_ALONE = "min_mtu, max_mtu: told by netlink alone"


def machine(tree: Path, files: dict[str, str] | None = None, symlinks: dict[str, str] | None = None) -> Host:
    lay(tree, {"files": files or {}, "links": symlinks or {}, "folders": []})
    return Host(root=str(tree))


def test_a_captured_dump_says_what_ip_said(monkeypatch: pytest.MonkeyPatch, tree: Path) -> None:
    answer(monkeypatch)
    found = links.observe(machine(tree))
    names = {link.index: link.name for link in found}

    def as_number(value: bool | None) -> int | None:
        return None if value is None else int(value)

    shown = [
        [
            each.name,
            each.kind,
            each.mtu,
            each.min_mtu,
            each.max_mtu or 0,
            names.get(each.master or 0),
            as_number(each.stp),
            as_number(each.vlan_filtering),
        ]
        for each in found
    ]
    assert sorted(shown, key=str) == sorted(captured()["ip_link"], key=str)


def test_the_facts_of_a_captured_dump(monkeypatch: pytest.MonkeyPatch, tree: Path) -> None:
    answer(monkeypatch)
    found = {each["name"]: each for each in links.facts(machine(tree))}
    plain: dict[str, Any] = {
        "min_mtu": 68,
        "max_mtu": 65535,
        "master": None,
        "lower": None,
        "fits_lower": None,
        "driver": None,
        "rp_filter": None,
        "manager": None,
    }
    plain |= {"reason": UNMANAGED}
    assert found["lo"] == {**plain, "name": "lo", "kind": None, "mtu": 65536, "min_mtu": 0, "max_mtu": None}
    assert found["vnet0"] == {**plain, "name": "vnet0", "kind": "veth", "mtu": 1500, "master": "br0"}
    assert found["vxlan5"] == {
        **plain,
        "name": "vxlan5",
        "kind": "vxlan",
        "mtu": 1450,
        "lower": "br0",
        "fits_lower": True,
    }
    # Its other end is in another network namespace, and nothing that it stands on.
    assert found["cali0ef24b1a2c9"] == {**plain, "name": "cali0ef24b1a2c9", "kind": "veth", "mtu": 1500}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (link(9, b"bond0.5", b"vlan", lower=2), {"kind": "vlan", "lower": 2, "peer": None}),
        (link(9, b"v", b"veth", lower=2), {"lower": None, "elsewhere": False, "peer": 2}),
        (link(9, b"v", b"netkit", lower=2), {"lower": None, "peer": 2}),
        (link(9, b"v", b"veth", lower=2, netnsid=0), {"lower": None, "elsewhere": True, "peer": None}),
        (link(9, b"v", b"veth"), {"lower": None, "peer": None}),
        (link(9, b"v", b"macvlan", lower=2, netnsid=0), {"lower": None, "elsewhere": True}),
        (link(9, b"sit0", b"sit", lower=0), {"lower": None}),
        (link(9, b"x", b"vxlan", {3: number(4)}), {"lower": 4}),
        (link(9, b"x", b"vxlan"), {"lower": None}),
        (link(9, b"b", b"bridge", {5: number(2), 7: b"\1"}), {"stp": True, "vlan_filtering": True}),
        (link(9, b"b", b"bridge", {5: number(0)}), {"stp": False, "vlan_filtering": None}),
        # The numbers of another kind mean other things.
        (link(9, b"v", b"vlan", {5: number(2), 7: b"\1"}), {"stp": None, "vlan_filtering": None}),
        (
            link(9, b"e", bounds=False),
            {"kind": None, "min_mtu": None, "max_mtu": None, "untold": ("min_mtu", "max_mtu")},
        ),
        (link(9, b"s", master=3), {"master": 3}),
        (link(9, b"\xffx"), {"name": "\\xffx", "folder": "/sys/class/net/\udcffx"}),
        (link(9, b"x\x1b[31m\xc2\x85%s`"), {"name": "x\x1b[31m\x85%s`"}),
    ],
)
def test_each_kind_of_link(
    monkeypatch: pytest.MonkeyPatch, tree: Path, message: bytes, expected: dict[str, Any]
) -> None:
    answer(monkeypatch, {GETLINK: message + DONE})
    (found,) = links.observe(machine(tree))
    assert {name: getattr(found, name) for name in expected} == expected
    assert found.index == 9


def test_a_lower_link_of_another_namespace_is_none_and_the_reason_says_so(
    monkeypatch: pytest.MonkeyPatch, tree: Path
) -> None:
    # The number 1 is lo here, and something else there.
    dump = link(1, b"lo") + link(9, b"m", b"macvlan", lower=1, netnsid=0) + DONE
    answer(monkeypatch, {GETLINK: dump})
    found = links.facts(machine(tree))[1]
    assert (found["lower"], found["reason"]) == (None, f"lower: it is in another network namespace; {UNMANAGED}")


def test_an_old_kernel_does_not_tell_the_bounds_and_the_reason_says_so(
    monkeypatch: pytest.MonkeyPatch, tree: Path
) -> None:
    answer(monkeypatch, {GETLINK: link(2, b"eth0", bounds=False) + DONE})
    (found,) = links.facts(machine(tree))
    assert (found["min_mtu"], found["max_mtu"], found["reason"]) == (None, None, f"{BY_NETLINK_ALONE}; {UNMANAGED}")


def test_hardware_has_its_driver(monkeypatch: pytest.MonkeyPatch, tree: Path) -> None:
    answer(monkeypatch, {GETLINK: link(2, b"eth0") + link(3, b"br0", b"bridge") + DONE})
    drivers = {
        "/sys/class/net/eth0/device/driver": "../../../../bus/pci/drivers/mlx5_core",
        "/sys/class/net/br0/device/driver": "../x",
    }
    assert [each["driver"] for each in links.facts(machine(tree, symlinks=drivers))] == ["mlx5_core", None]


def test_a_name_that_is_no_text_still_leads_to_its_folder(monkeypatch: pytest.MonkeyPatch, tree: Path) -> None:
    answer(monkeypatch, {GETLINK: link(2, b"e\xff") + DONE})
    host = machine(tree, symlinks={"/sys/class/net/e\udcff/device/driver": "../e1000e"})
    assert [(each["name"], each["driver"]) for each in links.facts(host)] == [("e\\xff", "e1000e")]


def sysfs(index: int, name: str, mtu: int, devtype: str = "", **more: str) -> dict[str, str]:
    folder = f"/sys/class/net/{name}"
    event = (f"DEVTYPE={devtype}\n" if devtype else "") + f"INTERFACE={name}\nIFINDEX={index}"
    files = {f"{folder}/ifindex": str(index), f"{folder}/mtu": str(mtu), f"{folder}/uevent": event}
    return {**files, **{f"{folder}/{path.replace('__', '/')}": text for path, text in more.items()}}


def test_a_tree_tells_by_sysfs_what_it_can_and_says_what_it_cannot(tree: Path) -> None:
    host = machine(
        tree,
        {
            "/sys/class/net/bonding_masters": "bond0",
            **sysfs(1, "lo", 65536),
            **sysfs(2, "eth0", 9000, device__vendor="0x15b3"),
            **sysfs(3, "bond0", 9000, "bond"),
            **sysfs(4, "bond0.100", 1500, "vlan"),
            **sysfs(5, "br0", 1500, "bridge", bridge__stp_state="0", bridge__vlan_filtering="1"),
            **sysfs(6, "veth1", 1500),
            **sysfs(7, "x\x1b[31m", 1500),
        },
        {
            "/sys/class/net/eth0/device/driver": "../../bus/pci/drivers/mlx5_core",
            "/sys/class/net/eth0/master": "../bond0",
            "/sys/class/net/bond0/lower_eth0": "../eth0",
            "/sys/class/net/bond0.100/lower_bond0": "../bond0",
            "/sys/class/net/bond0.100/master": "../br0",
            "/sys/class/net/br0/lower_bond0.100": "../bond0.100",
        },
    )
    keys = ("name", "kind", "mtu", "master", "lower", "driver")
    assert [tuple(each[key] for key in keys) for each in links.facts(host)] == [
        ("lo", None, 65536, None, None, None),
        ("eth0", None, 9000, "bond0", None, "mlx5_core"),
        ("bond0", "bond", 9000, None, None, None),
        ("bond0.100", "vlan", 1500, "br0", "bond0", None),
        ("br0", "bridge", 1500, None, None, None),
        ("veth1", None, 1500, None, None, None),
        ("x\x1b[31m", None, 1500, None, None, None),
    ]
    reasons = {each["name"]: each["reason"] for each in links.facts(host)}
    assert reasons["eth0"] == f"{BY_NETLINK_ALONE}; {UNMANAGED}"
    assert reasons["veth1"] == f"kind, {BY_NETLINK_ALONE}; {UNMANAGED}"
    assert [(each.stp, each.vlan_filtering) for each in links.observe(host) if each.kind == "bridge"] == [(False, True)]


def test_a_machine_without_links_has_none(tree: Path) -> None:
    assert links.facts(machine(tree)) == []


@pytest.mark.parametrize(
    ("data", "expected"), [({}, 50), ({3: number(1)}, 50), ({16: bytes(16)}, 70), ({3: number(1), 17: bytes(16)}, 70)]
)
def test_a_vxlan_adds_more_over_ipv6(
    monkeypatch: pytest.MonkeyPatch, tree: Path, data: dict[int, bytes], expected: int
) -> None:
    dump = link(1, b"eth0") + link(2, b"vxlan5", b"vxlan", data)
    answer(monkeypatch, {GETLINK: dump + DONE})
    assert [each.overhead for each in links.observe(machine(tree))] == [0, expected]


def test_a_macsec_adds_its_check_value_as_well(monkeypatch: pytest.MonkeyPatch, tree: Path) -> None:
    answer(monkeypatch, {GETLINK: link(1, b"eth0") + link(2, b"sec0", b"macsec", {3: b"\x10"}, lower=1) + DONE})
    assert [found.overhead for found in links.observe(Host(str(tree)))] == [0, 32]


@pytest.mark.parametrize(("told", "expected"), [(0, [("net1", 4)]), (1, [("far", 4)]), (-1, []), (None, [])])
def test_what_stands_on_links_elsewhere_is_told_by_the_number_of_their_namespace(
    monkeypatch: pytest.MonkeyPatch, tree: Path, told: int | None, expected: list[tuple[str, int]]
) -> None:
    dump = (
        link(1, b"lo")
        + link(2, b"eth0", b"veth", lower=9, netnsid=0)
        + link(3, b"net1", b"macvlan", lower=4, netnsid=0)
        + link(5, b"net2", b"macvlan", lower=3)
        + link(6, b"far", b"vlan", lower=4, netnsid=1)
    )
    answer(monkeypatch, {GETLINK: dump + DONE})
    asked = []

    def request(host: object, protocol: int, kind: int, body: bytes) -> bytes:
        asked.append((kind, body))
        return message(88, bytes(4), {} if told is None else {1: struct.pack("=i", told)}) + DONE

    monkeypatch.setattr(netlink, "request", request)
    found = links.standing_on(Host(str(tree)), 17)
    assert [(each.name, each.lower) for each in found] == expected
    assert asked == [(90, bytes(4) + struct.pack("=HHI", 8, 3, 17))]


def test_an_mtu_is_set_by_index_and_a_refusal_names_the_link(monkeypatch: pytest.MonkeyPatch, tree: Path) -> None:
    asked: list[tuple[int, int, bytes]] = []

    def request(host: object, protocol: int, kind: int, body: bytes) -> bytes:
        asked.append((protocol, kind, body))
        if len(asked) > 1:
            raise HostError("netlink", "the kernel says: mtu less than device minimum (EINVAL)", "EINVAL")
        return b""

    monkeypatch.setattr(netlink, "request", request)
    answer(monkeypatch, {GETLINK: link(7, b"eth0", mtu=9000) + DONE})
    host = machine(tree)
    (eth0,) = links.observe(host)
    links.set_mtu(host, eth0, 9000)
    assert asked == [(0, 19, struct.pack("=BxHiII", 0, 0, 7, 0, 0) + struct.pack("=HHI", 8, 4, 9000))]
    with pytest.raises(HostError) as caught:
        links.set_mtu(host, eth0, 67)
    assert str(caught.value) == "eth0: cannot get an MTU of 67: mtu less than device minimum (EINVAL)"
    assert caught.value.code == "EINVAL"
    assert (links.read_mtu(host, 7), links.read_mtu(host, 8)) == (9000, None)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"all": "0", "eth0": "1"}, 1),
        ({"all": "2", "eth0": "1"}, 2),
        ({"all": "0", "eth0": "0"}, 0),
        ({"eth0": "1"}, None),
        ({"all": "1"}, None),
    ],
)
def test_of_rp_filter_the_larger_one_counts(
    monkeypatch: pytest.MonkeyPatch, tree: Path, files: dict[str, str], expected: int | None
) -> None:
    answer(monkeypatch, {GETLINK: link(2, b"eth0") + DONE})
    host = machine(tree, {f"/proc/sys/net/ipv4/conf/{name}/rp_filter": text for name, text in files.items()})
    assert [each["rp_filter"] for each in links.facts(host)] == [expected]


@pytest.mark.parametrize(
    ("kind", "mtu", "fits"),
    [(b"vlan", 1500, True), (b"vlan", 1504, False), (b"vxlan", 1450, True), (b"vxlan", 1451, False)],
)
def test_frames_with_their_headers_are_held_to_the_link_below(
    monkeypatch: pytest.MonkeyPatch, tree: Path, kind: bytes, mtu: int, fits: bool
) -> None:
    upper = link(3, b"x", kind, {3: number(2)}, mtu=mtu, lower=2)
    answer(monkeypatch, {GETLINK: link(2, b"eth0", mtu=1500) + upper + DONE})
    found = {each["name"]: each["fits_lower"] for each in links.facts(machine(tree))}
    assert found == {"eth0": None, "x": fits}
