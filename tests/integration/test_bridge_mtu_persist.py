# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What bridge_mtu persists, held to what real machines make of it when they boot: systemd-networkd, netplan and ifupdown."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest

from ansible_collections.bulwark.node.tests.hosts.adhoc import Ran, call
from ansible_collections.bulwark.node.tests.hosts.machine import Machine, MachineError, Site, until

NETWORKD = {
    "/etc/systemd/network/20-br0.netdev": "[NetDev]\nName=br0\nKind=bridge\n",
    "/etc/systemd/network/20-br0.network": "[Match]\nName=br0\n\n[Network]\nAddress=192.0.2.1/24\nConfigureWithoutCarrier=yes\n",
    "/etc/systemd/network/20-port0.netdev": "[NetDev]\nName=port0\nKind=veth\n\n[Peer]\nName=far0\n",
    "/etc/systemd/network/20-port0.network": "[Match]\nName=port0\n\n[Network]\nBridge=br0\n",
}
# The port of the bridge has no stanza of its own, and comes up after it.
INTERFACES = """\
auto lo
iface lo inet loopback

auto br0
iface br0 inet static
    address 192.0.2.1/24
    bridge_ports port0
    bridge_fd 0
    pre-up ip link add port0 type veth peer name far0
    post-down ip link delete port0
    post-down ip link delete br0
"""
NETPLAN = """\
network:
  version: 2
  renderer: networkd
  bridges:
    br0:
      addresses: [192.0.2.1/24]
      interfaces: [port0]
      mtu: 1400
  ethernets:
    port0: {mtu: 1400}
"""
# NetworkManager has br0, ifupdown2 has br1.
OTHERS = {
    "/etc/NetworkManager/conf.d/10-test.conf": "[keyfile]\nunmanaged-devices=interface-name:host0,interface-name:*1\n",
    "/etc/NetworkManager/system-connections/br0.nmconnection": """\
[connection]
id=br0
type=bridge
interface-name=br0

[ipv4]
method=manual
addresses=192.0.2.1/29

[ipv6]
method=disabled
""",
    "/etc/network/interfaces": """\
auto lo
iface lo inet loopback

auto br1
iface br1 inet static
    address 192.0.2.9/29
    bridge-ports port1
    pre-up ip link add port1 type veth peer name far1

auto port1
iface port1 inet manual
""",
}
DROPIN = "/etc/systemd/network/{}.network.d/90-bulwark-bridge-mtu.conf"
UNIT = "/etc/systemd/system/bulwark-bridge-mtu-br0.service"
WANTS = "/etc/systemd/system/multi-user.target.wants/bulwark-bridge-mtu-br0.service"
HOOK = "/etc/network/if-up.d/zz-bulwark-bridge-mtu"
OPTIONS: dict[str, Any] = {"bridges": [{"name": "br0", "mtu": 9000, "ports": ["all"]}]}

Make = Callable[..., Machine]


@pytest.fixture
def booted(site: Site) -> Iterator[Make]:
    """``booted("12", files)``: a machine that found these files when it booted."""
    made: list[Machine] = []

    def make(version: str, files: dict[str, str], links: Sequence[str] = ("br0", "port0")) -> Machine:
        machine = site.machine(version, f"mtu{len(site.machines)}")
        made.append(machine)
        for path, text in files.items():
            machine.write(path, text.replace("{address}", machine.address))
            machine.path(path).chmod(0o600 if path.endswith(".nmconnection") else 0o644)
        machine.start()
        machine.wait()
        assert until(lambda: set(mtus(machine)) >= {*links}, 20), machine.run("ip", "link").stdout
        return machine

    yield make
    for machine in made:
        machine.close()


def mtus(machine: Machine) -> dict[str, int]:
    return {link["ifname"]: link["mtu"] for link in json.loads(machine.run("ip", "-json", "link").stdout)}


def bridge_mtu(machine: Machine, options: dict[str, Any], check: bool = False) -> Ran:
    inventory = machine.site.folder / f"{machine.name}.ini"
    inventory.write_text(f"{machine.inventory()}\n")
    return call("bridge_mtu", options, (machine.name, "-i", str(inventory)), check)


def etc(machine: Machine) -> dict[str, tuple[int, int, int, bytes]]:
    """Mode, owner and content of all that is in /etc."""
    found = {}
    top = machine.path("/etc")
    for path in [top, *top.rglob("*")]:
        status = path.lstat()
        content = os.readlink(path).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(top))] = (status.st_mode, status.st_uid, status.st_gid, content)
    return found


def different(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return sorted(path for path in {*before, *after} if before.get(path) != after.get(path))


def settled(machine: Machine, wanted: dict[str, int]) -> None:
    """Wait until the links have these MTUs."""
    assert until(lambda: {name: mtus(machine).get(name) for name in wanted} == wanted, 20), (
        machine.run("ip", "-details", "link").stdout
        + machine.run("journalctl", "-b", "-u", "bulwark-bridge-mtu-*", "-u", "systemd-networkd", check=False).stdout
    )


def holds(machine: Machine, mtu: int, other: int = 1500) -> bool:
    """Whether the bridge keeps its MTU when a port with another one comes."""
    machine.run("ip", "link", "add", "small0", "type", "veth", "peer", "name", "small1")
    try:
        machine.run("ip", "link", "set", "small0", "mtu", str(other), "master", "br0")
        return mtus(machine)["br0"] == mtu
    finally:
        machine.run("ip", "link", "delete", "small0")


def reboot(machine: Machine) -> None:
    machine.reboot()
    with suppress(MachineError):
        machine.run("systemctl", "is-system-running", "--wait")


def lives_through_boots(machine: Machine, files: set[str]) -> None:
    """Check, apply, check and apply; a reboot; and back: the life of a setting."""
    first, etc_first = mtus(machine), etc(machine)
    assert (first["br0"], first["port0"]) != (9000, 9000)
    predicted = bridge_mtu(machine, OPTIONS, check=True)
    assert not predicted.failed, predicted["msg"]
    assert (mtus(machine), different(etc_first, etc(machine))) == (first, [])
    done = bridge_mtu(machine, OPTIONS)
    assert not done.failed, done["msg"]
    assert (predicted["changes"], predicted["after"]) == (done["changes"], done["after"])
    assert all(f"+++ after: {path}\n" in ran.output for ran in (predicted, done) for path in files - {WANTS})
    wanted = {"br0": 9000, "port0": 9000}
    settled(machine, wanted)
    written = {path for path in different(etc_first, etc(machine)) if not path.endswith(".network.d")}
    assert {f"/etc/{path}" for path in written} == files
    etc_set = etc(machine)
    for check in (True, False):
        assert not bridge_mtu(machine, OPTIONS, check=check)["changed"]
    for _boot in range(2):
        reboot(machine)
        settled(machine, wanted)
        assert holds(machine, 9000)
        again = bridge_mtu(machine, OPTIONS)
        assert (again["changed"], again["changes"]) == (False, [])
        assert again["after"]["bridges"][0]["pinned"] is True
    assert machine.run("systemctl", "is-system-running", check=False).stdout.strip() == "running"
    assert different(etc_set, etc(machine)) == []
    gone = bridge_mtu(machine, {"state": "absent"})
    assert not gone.failed, gone["msg"]
    assert gone["changed"]
    assert different(etc_first, etc(machine)) == []
    reboot(machine)
    settled(machine, {name: first[name] for name in wanted})
    assert not machine.path("/var/lib/bulwark").exists()
    assert not bridge_mtu(machine, {"state": "absent"})["changed"]


@pytest.mark.parametrize("version", ["11", "12", "13"])
def test_networkd_sets_and_pins_at_each_boot(booted: Make, version: str) -> None:
    lives_through_boots(booted(version, NETWORKD), {DROPIN.format("20-br0"), DROPIN.format("20-port0"), UNIT, WANTS})


@pytest.mark.parametrize("version", ["11", "13"])
def test_a_bridge_is_pinned_at_the_mtu_that_it_would_have_anyway(booted: Make, version: str) -> None:
    machine = booted(version, NETWORKD)
    done = bridge_mtu(machine, {"bridges": [{"name": "br0", "mtu": 1500}]})
    assert not done.failed, done["msg"]
    reboot(machine)
    assert holds(machine, 1500, 1400)
    machine.run("rm", WANTS)
    reboot(machine)
    assert not holds(machine, 1500, 1400)


def test_a_later_drop_in_of_networkd_is_refused_and_an_earlier_one_named(booted: Make) -> None:
    later, earlier = (DROPIN.format("20-port0").replace("90-bulwark", name) for name in ("95-site", "10-site"))
    text = "[Link]\nMTUBytes=1400\n"
    machine = booted("12", {**NETWORKD, later: text, earlier: text})
    before = etc(machine)
    refused = bridge_mtu(machine, OPTIONS)
    assert refused.failed
    assert f"{later} sets the MTU of port0 to 1400 and wins over" in refused["msg"]
    assert different(before, etc(machine)) == []
    machine.run("rm", later)
    folder, links = "/etc/systemd/network", mtus(machine)
    machine.run("mount", "--bind", folder, folder)
    machine.run("mount", "-o", "remount,bind,ro", folder)
    for check in (True, False):
        refused = bridge_mtu(machine, OPTIONS, check)
        assert refused.failed
        assert "mounted read-only (EROFS)" in refused["msg"]
    machine.run("umount", folder)
    assert mtus(machine) == links
    done = bridge_mtu(machine, OPTIONS)
    assert not done.failed, done["msg"]
    assert done.warns(f"{earlier} sets the MTU of port0 to 1400; {DROPIN.format('20-port0')} wins over it at boot")
    reboot(machine)
    settled(machine, {"br0": 9000, "port0": 9000})


def test_netplan_on_networkd_gets_the_drop_ins_of_the_files_that_it_makes(booted: Make) -> None:
    netdev = "/etc/systemd/network/20-port0.netdev"
    machine = booted("12+ifupdown", {netdev: NETWORKD[netdev], "/etc/netplan/50-site.yaml": NETPLAN})
    settled(machine, {"br0": 1400, "port0": 1400})
    done = bridge_mtu(machine, OPTIONS, check=True)
    assert done.warns("/run/systemd/network/10-netplan-br0.network sets the MTU of br0 to 1400;")
    lives_through_boots(machine, {DROPIN.format("10-netplan-br0"), DROPIN.format("10-netplan-port0"), UNIT, WANTS})


def test_what_carries_ssh_is_persisted_once_a_fresh_connection_came_through(booted: Make) -> None:
    files = {**NETWORKD, "/etc/systemd/network/10-host0.network": "[Match]\nName=host0\n\n[Network]\nBridge=br0\n"}
    files["/etc/systemd/network/20-br0.network"] = "[Match]\nName=br0\n\n[Network]\nAddress={address}/24\n"
    machine = booted("12", files)
    before = etc(machine)
    options = {"bridges": [{"name": "br0", "mtu": 1400, "ports": ["host0"]}], "allow_management_link": True}
    done = bridge_mtu(machine, options)
    assert not done.failed, done["msg"]
    assert done["after"]["revert"] is None
    reboot(machine)
    settled(machine, {"br0": 1400, "host0": 1400, "port0": 1500})
    assert not bridge_mtu(machine, options)["changed"]
    gone = bridge_mtu(machine, {"state": "absent", "allow_management_link": True})
    assert not gone.failed, gone["msg"]
    assert mtus(machine)["br0"] == mtus(machine)["host0"] == 1500
    assert different(before, etc(machine)) == []


def test_ifupdown_sets_and_pins_at_each_boot_and_a_bridge_that_it_makes_anew(booted: Make) -> None:
    machine = booted("12+ifupdown", {"/etc/network/interfaces": INTERFACES})
    lives_through_boots(machine, {HOOK})
    done = bridge_mtu(machine, OPTIONS)
    assert not done.failed, done["msg"]
    assert machine.path(HOOK).stat().st_mode & 0o777 == 0o755
    machine.run("ifdown", "br0")
    assert "br0" not in mtus(machine)
    machine.run("ifup", "br0")
    assert mtus(machine)["br0"] == mtus(machine)["port0"] == 9000
    assert holds(machine, 9000)
    assert not bridge_mtu(machine, OPTIONS)["changed"]


def test_networkmanager_and_ifupdown2_are_refused_with_lines_that_serve(booted: Make) -> None:
    machine = booted("12+networkmanager", OTHERS, ("br0", "br1"))
    device = "cat /run/NetworkManager/devices/$(cat /sys/class/net/br0/ifindex)"
    assert until(lambda: "connection-uuid=" in machine.run("sh", "-c", device, check=False).stdout, 20)
    # ifupdown2 adds the ports after the bridge.
    port = "/sys/class/net/br1/brif/port1"
    assert until(lambda: machine.run("test", "-e", port, check=False).returncode == 0, 20)
    before = etc(machine)
    refused = [
        bridge_mtu(machine, {"bridges": [{"name": name, "mtu": 9000, "ports": ["all"]}]})["msg"]
        for name in ("br0", "br1")
    ]
    assert different(before, etc(machine)) == []
    assert "br0: NetworkManager has it" in refused[0]
    assert "br1, port1: ifupdown2 has it" in refused[1]
    for command in re.findall(r"run: (nmcli [^;]+)", refused[0]):
        machine.run(*command.split())
    machine.run("nmcli", "connection", "up", "br0")
    interfaces = machine.path("/etc/network/interfaces")
    for line, stanza in re.findall(r"put the line (mtu 9000) below (iface \w+) in /etc/network/interfaces", refused[1]):
        interfaces.write_text(
            re.sub(rf"^{stanza} .*$", rf"\g<0>\n    {line}", interfaces.read_text(), flags=re.MULTILINE)
        )
    # It writes to sysfs, which is read-only in such a machine: of the links' folder not any more. It has no other links than its own.
    folder = "/sys/devices/virtual/net"
    machine.run("mount", "--bind", folder, folder)
    machine.run("mount", "-o", "remount,rw", folder)
    machine.run("ifreload", "-a")
    settled(machine, {"br0": 9000, "br1": 9000, "port1": 9000})


@pytest.mark.parametrize("persist", [True, False])
def test_a_bridge_that_nobody_sets_up_at_boot_is_set_but_not_persisted(booted: Make, persist: bool) -> None:
    machine = booted("12", NETWORKD)
    machine.run("ip", "link", "add", "hand0", "type", "bridge")
    before = etc(machine)
    done = bridge_mtu(machine, {"bridges": [{"name": "hand0", "mtu": 9000}], "persist": persist})
    assert done.failed is persist
    if persist:
        assert "hand0: neither systemd-networkd, NetworkManager nor ifupdown has it" in done["msg"]
        assert "Set persist to false" in done["msg"]
    assert mtus(machine)["hand0"] == (1500 if persist else 9000)
    assert different(before, etc(machine)) == []
