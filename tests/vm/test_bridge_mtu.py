# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module bridge_mtu on a kernel that has bonds, VLANs and ipvlans, beside ip(8)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import Module
from .machine import Vm

# br0 stands on a bond of two and has a VLAN, which is the port of br1; on that stand a VLAN and, with an MTU of its own, an ipvlan.
MAKE = """
modprobe -a bonding dummy 8021q ipvlan
ip link add d0 type dummy
ip link add d1 type dummy
ip link add bond0 type bond mode active-backup
ip link set d0 master bond0
ip link set d1 master bond0
ip link add br0 type bridge
ip link set bond0 master br0
ip link add link br0 name br0.5 type vlan id 5
ip link add br1 type bridge
ip link set br0.5 master br1
ip link add link br1 name br1.7 type vlan id 7
ip link add link br1 name ip1 type ipvlan
for link in d0 d1 bond0 br0 br0.5 br1 br1.7 ip1; do ip link set $link up; done
ip address add 192.0.2.1/24 dev br1
ip address add 2001:db8::1/64 dev br1 nodad
ip route add 198.51.100.0/24 via 192.0.2.9
ip route add blackhole 203.0.113.0/24
ip link set ip1 mtu 1300
"""
LINKS = ["br0", "br0.5", "br1", "br1.7", "bond0", "d0", "d1", "ip1"]
SHOW = (
    "for what in 'link show' address 'route show table all' '-6 route show table all'; do ip -j $what; echo; done; "
    "ls /var/lib/bulwark 2>/dev/null || true"
)


@pytest.fixture
def stack(vm: Vm) -> Iterator[Vm]:
    vm.run("sh", "-ec", MAKE)
    try:
        yield vm
    finally:
        vm.run(
            "sh",
            "-c",
            f"for link in {' '.join(reversed(LINKS))}; do ip link delete $link; done; ip route flush type blackhole",
        )
        vm.run("rm", "-f", "/run/bulwark-bridge-pins.json")
        # For the other tests the machine is as it booted.
        vm.run("modprobe", "--remove", "--all", "bonding", "dummy", "8021q", "ipvlan", "macsec", "tun", check=False)


def everything(vm: Vm) -> list[Any]:
    """Links, addresses and routes, without what a bridge does by itself; and what we remember."""
    changing = ("operstate", "flags", "address")
    answers = vm.run("sh", "-c", SHOW).stdout.splitlines()
    rows = [json.loads(text) for text in answers if text.startswith("[")]
    assert len(rows) == 4, answers
    links = [[{key: value for key, value in row.items() if key not in changing} for row in found] for found in rows]
    return [links, [text for text in answers if "manifest" in text]]


def mtus(vm: Vm) -> dict[str, int]:
    rows = json.loads(vm.run("ip", "-j", "link").stdout)
    return {row["ifname"]: row["mtu"] for row in rows if row["ifname"] in LINKS}


def options(mtu: int = 9000, **more: Any) -> dict[str, Any]:
    """Without persist: nobody manages these links."""
    return {"bridges": [{"name": "br0", "mtu": mtu, **more}], "persist": False}


ALL: dict[str, Any] = {"ports": ["all"], "uppers": ["all"]}


def test_what_ip_does(stack: Vm) -> None:
    """What docs/comparison.md says of this kernel: it clamps a VLAN for good, and an ipvlan forgets its own MTU."""

    def ip_sets(link: str, mtu: int) -> str:
        return stack.run("ip", "link", "set", link, "mtu", str(mtu), check=False).stderr

    assert "Numerical result out of range" in ip_sets("br0.5", 9000)
    assert [ip_sets(link, mtu) for link, mtu in (("br0", 1400), ("br0", 1500))] == ["", ""]
    assert (mtus(stack)["br0.5"], mtus(stack)["br1.7"]) == (1400, 1400)
    assert [ip_sets(link, mtu) for link, mtu in (("br0", 9000), ("br0.5", 9000))] == ["", ""]
    assert (mtus(stack)["br1"], mtus(stack)["ip1"]) == (9000, 9000)
    assert ip_sets("br0.5", 1500) == ""
    assert (mtus(stack)["br1"], mtus(stack)["ip1"]) == (1500, 1500)


def test_a_bond_gives_its_slaves_the_mtu_a_vlan_is_never_clamped_and_absent_gives_all_back(
    stack: Vm, module: Module
) -> None:
    first, before = mtus(stack), everything(stack)
    assert first == {**dict.fromkeys(LINKS, 1500), "ip1": 1300}

    # What the kernel would clamp for good, and what it would refuse, is refused before anything is set.
    for given, expected in (
        (
            options(1400, ports=["bond0"]),
            "expected 1500 or more: br0.5 stands on br0 with an MTU of 1500. Name it in uppers",
        ),
        (options(1400, **ALL), "expected 1500 or more: br1.7 stands on br1, which follows br0.5, with an MTU of 1500"),
        (options(65536, **ALL), "expected 68 to 65535"),
        (options(9000, uppers=["br1.7"]), "expected a link on br0: br0.5"),
    ):
        refused = module("bridge_mtu", given, check="1500" in expected)
        assert refused.failed
        assert expected in refused["msg"]
    assert everything(stack) == before

    # Raised: the bond takes its slaves along, br1 its ipvlan; the VLAN of br1 stays, for nobody named it.
    foretold, done = module("bridge_mtu", options(**ALL), check=True), module("bridge_mtu", options(**ALL))
    assert not done.failed, done.output
    for key in ("before", "after", "changes", "disruptive", "unmet"):
        assert foretold[key] == done[key], key
    assert [change["target"] for change in done["changes"]] == ["bond0", "br0", "br0.5"]
    assert done.warns("br1: it is not pinned, and follows br0.5 from 1500 to 9000")
    assert mtus(stack) == {**dict.fromkeys(LINKS, 9000), "br1.7": 1500}
    for check in (True, False):
        again = module("bridge_mtu", options(**ALL), check)
        assert (again["changed"], again["changes"]) == (False, [])

    # A port of 1500 that comes does not pull it down. ip(8) alone would have left it so.
    stack.run("sh", "-ec", "ip link add d2 type dummy; ip link set d2 master br0")
    assert mtus(stack)["br0"] == 9000
    stack.run("ip", "link", "delete", "d2")

    # Lowered, as far as what follows allows: the VLAN of br1 has 1500.
    lowered = module("bridge_mtu", options(1600, **ALL))
    assert not lowered.failed, lowered.output
    assert [change["target"] for change in lowered["changes"]] == ["br0.5", "br0", "bond0"]
    assert mtus(stack) == {**dict.fromkeys(LINKS, 1600), "br1.7": 1500}

    absent = {"state": "absent", "persist": False}
    foretold, done = module("bridge_mtu", absent, check=True), module("bridge_mtu", absent)
    assert not done.failed, done.output
    assert (foretold["changes"], foretold["after"]) == (done["changes"], done["after"])
    assert mtus(stack) == first
    assert everything(stack) == before
    assert not module("bridge_mtu", absent)["changed"]


def test_bounds_of_slaves_and_what_else_would_be_lost_is_refused_and_what_the_kernel_refuses_is_undone(
    stack: Vm, module: Module
) -> None:
    # A tap takes 65521, as a slave as well; a macsec needs 32 bytes of what it stands on, and is clamped with it.
    stack.run("sh", "-ec", "modprobe tun; ip tuntap add d2 mode tap; ip link set d2 master bond0")
    stack.run("sh", "-ec", "modprobe macsec; ip link add link br0 name sec0 type macsec; ip link set d1 mtu 1600")
    try:
        before = everything(stack)
        for given, expected in (
            (options(65530, ports=["bond0"]), "expected 68 to 65521, which the driver of d2 takes"),
            (options(1450, uppers=["br0.5"]), "expected 1500 or more: sec0 stands on br0 with an MTU of 1468"),
            (options(9000, uppers=["br0.5", "sec0"]), "expected at most 8968: sec0 stands on br0"),
        ):
            refused = module("bridge_mtu", given)
            assert refused.failed
            assert expected in refused["msg"]
        assert everything(stack) == before

        # A slave has its own MTU until its bond is set: absent gives it that back, and so does a failure.
        stack.run("ip", "link", "delete", "sec0")
        before = everything(stack)
        done = module("bridge_mtu", options(ports=["bond0"]))
        assert not done.failed, done.output
        assert [change["target"] for change in done["changes"]] == ["bond0", "br0"]
        assert {mtus(stack)[name] for name in ("br0", "bond0", "d0", "d1")} == {9000}
        done = module("bridge_mtu", {"state": "absent", "bridges": [{"name": "br0"}], "persist": False})
        assert not done.failed, done.output
        assert everything(stack) == before
        assert mtus(stack)["d1"] == 1600
        # The address is one that nobody has, behind br0: the probe fails, and all is put back.
        stack.run("ip", "address", "add", "192.0.2.129/25", "dev", "br0")
        before = everything(stack)
        failed = module("bridge_mtu", {**options(ports=["bond0"]), "probe": "192.0.2.130"})
        assert failed.failed
        assert "no packet of 9000 bytes comes back from 192.0.2.130" in failed["msg"]
        # It has been pinned since the run before.
        assert failed["not_undone"] == []
        assert everything(stack) == before
    finally:
        stack.run("sh", "-c", "ip link delete sec0; ip link delete d2")
