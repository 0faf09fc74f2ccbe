# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module bridge_mtu on the real kernel, in network namespaces that are thrown away, beside ip(8)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.tests.hosts.machine import until

from .conftest import IPV6, Module, Namespace, tool

MANIFEST = Path("/var/lib/bulwark/manifest.json")
PINS = Path("/run/bulwark-bridge-pins.json")
PORTS = ["p0", "p1", "p2", "p3"]
MODULE = "ansible_collections.bulwark.node.plugins.modules.bridge_mtu"

pytestmark = pytest.mark.usefixtures("kernel")

# Echoes of one size at a steady pace, and how many of them came back. A late one counts.
FLOOD = """
import socket, struct, sys, time
address, size, count, pause = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
channel = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
channel.setblocking(False)
back = set()
def receive():
    while True:
        try:
            packet = channel.recv(65535)[20:]
        except BlockingIOError:
            return
        kind, code, total, identifier, number = struct.unpack_from("!BBHHH", packet)
        if (kind, identifier) == (0, 4711):
            back.add(number)
def packet(number):
    head = struct.pack("!BBHHH", 8, 0, 0, 4711, number)
    words = struct.unpack("!4H", head)
    total = sum(words)
    total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!BBHHH", 8, 0, ~total & 0xFFFF, 4711, number) + bytes(size - 28)
for number in range(count):
    channel.sendto(packet(number), (address, 0))
    receive()
    time.sleep(pause)
end = time.monotonic() + 2
while len(back) < count and time.monotonic() < end:
    receive()
    time.sleep(0.01)
print(count - len(back))
"""


@pytest.fixture
def net(namespace: Namespace) -> Iterator[Namespace]:
    """A bridge br0 with four ports, up; what a run remembers of it is removed at the end."""
    namespace.run("ip", "link", "add", "br0", "type", "bridge")
    namespace.run("ip", "address", "add", "192.0.2.1/24", "dev", "br0")
    if IPV6:
        namespace.run("ip", "address", "add", "2001:db8::1/64", "dev", "br0", "nodad")
    for port in PORTS:
        namespace.run("ip", "link", "add", port, "type", "veth", "peer", "name", f"{port}x")
        namespace.run("ip", "link", "set", f"{port}x", "up", "mtu", "9000")
        namespace.run("ip", "link", "set", port, "up", "master", "br0")
    namespace.run("ip", "link", "set", "br0", "up")
    namespace.run("ip", "route", "add", "198.51.100.0/24", "via", "192.0.2.9")
    try:
        yield namespace
    finally:
        for path in (MANIFEST, PINS, *Path("/run").glob("bulwark-revert*")):
            path.unlink(missing_ok=True)
        if MANIFEST.parent.exists():
            MANIFEST.parent.rmdir()


def options(mtu: int = 9000, ports: list[str] | None = None, **more: Any) -> dict[str, Any]:
    """Without persist: nobody manages the links of a namespace."""
    entry = {"name": "br0", "mtu": mtu, "ports": PORTS if ports is None else ports}
    entry |= {key: more.pop(key) for key in ("pin", "uppers") if key in more}
    return {"bridges": [entry], "persist": False, **more}


def absent() -> dict[str, Any]:
    return {"state": "absent", "persist": False}


def mtus(net: Namespace) -> dict[str, int]:
    return {row["ifname"]: row["mtu"] for row in net.json("ip", "-j", "link")}


def everything(net: Namespace) -> list[Any]:
    """Links, addresses and routes as ip(8) has them, without what the time changes."""
    found = []
    for command in (
        ("-d", "link"),
        ("address",),
        ("route", "show", "table", "all"),
        ("-6", "route", "show", "table", "all"),
    ):
        rows = net.json("ip", "-j", *command)
        # The address of a bridge is that of a port, the timers are those of STP and of learning.
        found.append(
            [{key: value for key, value in row.items() if key not in ("linkinfo", "operstate")} for row in rows]
        )
    return found


def settled(net: Namespace) -> None:
    """Wait until the addresses that the kernel makes are no longer tentative."""
    assert until(lambda: "tentative" not in net.run("ip", "address"), timeout=10)


def is_pinned(net: Namespace) -> bool:
    """By what the kernel does: whether the bridge stays where it is when a port of another MTU comes, which goes again."""
    before = mtus(net)["br0"]
    net.run("ip", "link", "add", "extra", "mtu", "1300", "type", "veth", "peer", "name", "extrax")
    net.run("ip", "link", "set", "extra", "master", "br0")
    after = mtus(net)["br0"]
    net.run("ip", "link", "delete", "extra")
    return before == after


@contextmanager
def watched(net: Namespace) -> Iterator[list[str]]:
    """Every change of a link meanwhile, as ``ip monitor`` has it."""
    lines: list[str] = []
    command = [tool("ip"), "-n", net.name, "-o", "monitor", "link"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as monitor:
        assert monitor.stdout is not None
        net.run("ip", "link", "set", "p0", "txqueuelen", "999")
        assert "p0" in monitor.stdout.readline()
        try:
            yield lines
        finally:
            net.run("ip", "link", "add", "theend", "type", "bridge")
            net.run("ip", "link", "delete", "theend")
            for line in monitor.stdout:
                if "theend" in line:
                    break
                lines.append(line)
            monitor.terminate()


@pytest.mark.parametrize("mtu", [9000, 1400])
def test_check_predicts_the_run_which_takes_no_link_down_and_absent_puts_all_back(
    module: Module, net: Namespace, mtu: int
) -> None:
    settled(net)
    before = everything(net)
    predicted = module("bridge_mtu", options(mtu), check=True, inside=net.inside)
    assert not predicted.failed, predicted["msg"]
    assert (predicted["changed"], everything(net)) == (True, before)
    with watched(net) as lines:
        done = module("bridge_mtu", options(mtu), inside=net.inside)
    assert not done.failed, done["msg"]
    for key in ("before", "after", "changes", "disruptive", "unmet"):
        assert predicted[key] == done[key], key
    names = ["br0", *PORTS]
    order = [*PORTS, "br0"] if mtu == 9000 else ["br0", *PORTS]
    assert [change["target"] for change in done["changes"]] == order
    assert {name: mtus(net)[name] for name in names} == dict.fromkeys(names, mtu)
    assert lines
    for line in lines:
        flags = line.partition("<")[2].partition(">")[0].split(",")
        assert {"UP", "LOWER_UP"} <= set(flags), line
    shown = done["after"]["bridges"][0]
    facts = module("node_facts", {"gather_subset": ["bridges"]}, inside=net.inside)["ansible_facts"]["bulwark"][
        "bridges"
    ]
    assert facts == [shown]
    assert (shown["pinned"], shown["pinned_reason"]) == (True, "bulwark.node pinned it")
    assert is_pinned(net)
    for check in (True, False):
        assert not module("bridge_mtu", options(mtu), check=check, inside=net.inside)["changed"]
    foretold = module("bridge_mtu", absent(), check=True, inside=net.inside)
    real = module("bridge_mtu", absent(), inside=net.inside)
    for key in ("before", "after", "changes"):
        assert foretold[key] == real[key], key
    assert not module("bridge_mtu", absent(), inside=net.inside)["changed"]
    assert without_queue(everything(net)) == without_queue(before)
    assert not MANIFEST.exists()


def without_queue(found: list[Any]) -> str:
    return json.dumps(found).replace('"txqlen": 999', '"txqlen": 1000')


def test_the_same_value_pins_by_a_true_change_and_a_false_pin_never_does(module: Module, net: Namespace) -> None:
    net.run("ip", "link", "set", "br0", "mtu", "1500")
    assert not is_pinned(net), "ip link set pinned by the same value"
    assert not module("bridge_mtu", options(1500, [], pin=False), inside=net.inside)["changed"]
    done = module("bridge_mtu", options(9000, pin=False), inside=net.inside)
    assert not done.failed, done["msg"]
    assert mtus(net)["br0"] == 9000
    assert not is_pinned(net)
    assert module("bridge_mtu", options(9000), check=True, inside=net.inside)["changed"]
    assert not is_pinned(net)
    done = module("bridge_mtu", options(9000), inside=net.inside)
    assert [(change["kind"], change["target"]) for change in done["changes"]] == [("pin", "br0")]
    assert is_pinned(net)


def test_a_port_that_comes_later_changes_nothing_and_is_named(module: Module, net: Namespace) -> None:
    assert module("bridge_mtu", options(), inside=net.inside)["changed"]
    net.run("ip", "tuntap", "add", "tap0", "mode", "tap")
    net.run("ip", "link", "set", "tap0", "master", "br0")
    assert mtus(net)["br0"] == 9000
    again = module("bridge_mtu", options(), inside=net.inside)
    assert not again["changed"]
    assert again.warns("these ports of guests and pods keep a smaller MTU than 9000")
    assert again.warns("tap0 (1500)")
    assert not module("bridge_mtu", options(ports=["all"]), inside=net.inside)["changed"]
    # A tap takes 65521, which the kernel tells.
    refused = module("bridge_mtu", options(65535, ["tap0"]), inside=net.inside)
    assert "bridges[0].ports: got 65535, expected 68 to 65521, which the driver of tap0 takes" in refused["msg"]
    assert module("bridge_mtu", options(ports=["tap0"]), inside=net.inside)["changed"]
    assert mtus(net)["tap0"] == 9000


def test_the_last_of_five_ports_refuses_and_everything_is_as_before(module: Module, net: Namespace) -> None:
    """A vxlan that is of IPv6 and does not say so: netlink has no address to show, and it takes 70 bytes and not 50."""
    if not IPV6:
        pytest.skip("hardware: this kernel has no IPv6")
    net.run("ip", "link", "add", "under", "type", "bridge")
    net.run("ip", "link", "set", "under", "mtu", "9050", "up")
    net.run("ip", "link", "add", "z4", "type", "vxlan", "id", "5", "dev", "under", "local", "::", "dstport", "4789")
    net.run("ip", "link", "set", "z4", "mtu", "1500", "up", "master", "br0")
    settled(net)
    before = everything(net)
    failed = module("bridge_mtu", options(ports=[*PORTS, "z4"]), inside=net.inside)
    assert failed.failed
    assert "z4: cannot get an MTU of 9000: " in failed["msg"]
    assert "EINVAL" in failed["msg"]
    assert (failed["changed"], failed["not_undone"]) == (False, [])
    assert {f"/sys/class/net/{port}/mtu" for port in PORTS} <= set(failed["undone"])
    assert everything(net) == before
    assert not is_pinned(net)
    assert not MANIFEST.exists()
    # One that says so is refused before anything is set.
    net.run("ip", "link", "delete", "z4")
    net.run(
        "ip", "link", "add", "z4", "type", "vxlan", "id", "5", "dev", "under", "remote", "fd01::2", "dstport", "4789"
    )
    net.run("ip", "link", "set", "z4", "mtu", "1500", "up", "master", "br0")
    refused = module("bridge_mtu", options(ports=[*PORTS, "z4"]), check=True, inside=net.inside)
    assert "expected at most 8980: z4 stands on under, whose MTU is 9050, and adds 70 bytes" in refused["msg"]
    done = module("bridge_mtu", options(8980, [*PORTS, "z4"]), inside=net.inside)
    assert not done.failed, done["msg"]


@pytest.mark.parametrize("kind", ["vlan", "macvlan"])
def test_what_stands_on_the_bridge_grows_after_it_and_is_never_clamped(
    module: Module, net: Namespace, kind: str
) -> None:
    arguments = {"vlan": ["type", "vlan", "id", "5"], "macvlan": ["type", "macvlan", "mode", "bridge"]}[kind]
    net.run("ip", "link", "add", "link", "br0", "name", "top", *arguments, check=False)
    if "top" not in mtus(net):
        pytest.skip(f"hardware: this kernel has no links of the kind {kind}")
    net.run("ip", "address", "add", "203.0.113.1/24", "dev", "top")
    net.run("ip", "link", "set", "top", "up")
    for check in (True, False):
        refused = module("bridge_mtu", options(1400), check=check, inside=net.inside)
        assert (
            "bridges[0].mtu: got 1400, expected 1500 or more: top stands on br0 with an MTU of 1500" in refused["msg"]
        )
    # By a detour below it would be clamped for good.
    assert module("bridge_mtu", options(1500, []), inside=net.inside)["changed"]
    assert mtus(net)["top"] == 1500
    for mtu in (9000, 1400):
        done = module("bridge_mtu", options(mtu, uppers=["top"]), inside=net.inside)
        assert not done.failed, done["msg"]
        assert {mtus(net)[name] for name in ("top", "br0", *PORTS)} == {mtu}
    assert module("bridge_mtu", absent(), inside=net.inside)["changed"]
    assert {mtus(net)[name] for name in ("top", "br0", *PORTS)} == {1500}


def test_a_bridge_that_follows_is_checked_and_goes_back_with_what_it_stands_on(module: Module, net: Namespace) -> None:
    """br1 has a macvlan of br0 as its port, and a macvlan on it: both would be clamped with them, for good."""
    net.run("ip", "link", "add", "link", "br0", "name", "mv0", "type", "macvlan", "mode", "bridge")
    net.run("ip", "link", "add", "br1", "type", "bridge")
    net.run("ip", "link", "set", "mv0", "up", "master", "br1")
    net.run("ip", "link", "set", "br1", "up")
    net.run("ip", "link", "add", "link", "br1", "name", "mv1", "type", "macvlan", "mode", "bridge")
    if IPV6:
        net.run("ip", "address", "add", "2001:db8:1::1/64", "dev", "br1", "nodad")
    settled(net)
    before = everything(net)
    for check in (True, False):
        refused = module("bridge_mtu", options(1400, uppers=["mv0"]), check=check, inside=net.inside)
        assert "expected 1500 or more: mv1 stands on br1, which follows mv0, with an MTU of 1500" in refused["msg"]
    assert everything(net) == before
    done = module("bridge_mtu", options(uppers=["mv0"]), inside=net.inside)
    assert not done.failed, done["msg"]
    assert done.warns("br1: it is not pinned, and follows mv0 from 1500 to 9000")
    assert (mtus(net)["br1"], mtus(net)["mv1"]) == (9000, 1500)
    assert module("bridge_mtu", absent(), inside=net.inside)["changed"]
    assert everything(net) == before
    assert not MANIFEST.exists()


@pytest.mark.parametrize("named", [True, False])
def test_what_a_container_has_on_the_bridge_is_never_clamped(module: Module, net: Namespace, named: bool) -> None:
    """It is found by the name of its network namespace, or by a process in it, whoever made the link."""
    pod = Namespace(f"{net.name}pod")
    subprocess.run(["ip", "netns", "add", pod.name], check=True)
    process = None
    try:
        net.run(
            "ip", "link", "add", "link", "br0", "name", "mv0", "netns", pod.name, "type", "macvlan", "mode", "bridge"
        )
        where = f"/run/netns/{pod.name}"
        if not named:
            process = subprocess.Popen(["ip", "netns", "exec", pod.name, "sleep", "300"])
            assert until(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n", timeout=10)
            subprocess.run(["ip", "netns", "del", pod.name], check=True)
            where = f"of process {process.pid} (sleep)"
        enter = ["nsenter", f"--net=/proc/{process.pid}/ns/net"] if process else ["ip", "netns", "exec", pod.name]

        def mtu() -> int:
            shown = subprocess.run([*enter, "ip", "-j", "link", "show", "mv0"], check=True, capture_output=True)
            return int(json.loads(shown.stdout)[0]["mtu"])

        for check in (True, False):
            refused = module("bridge_mtu", options(1400), check=check, inside=net.inside)
            expected = f"expected 1500 or more: mv0 in the network namespace {where} stands on br0 with an MTU of 1500"
            assert expected in refused["msg"]
        assert (mtu(), mtus(net)["br0"]) == (1500, 1500)
        for given in (options(1500), options(9000)):
            assert not module("bridge_mtu", given, inside=net.inside).failed
            assert mtu() == 1500
        subprocess.run([*enter, "ip", "link", "set", "mv0", "mtu", "1400"], check=True)
        done = module("bridge_mtu", options(1400), inside=net.inside)
        assert not done.failed, done["msg"]
        assert (mtu(), mtus(net)["br0"]) == (1400, 1400)
    finally:
        if process:
            process.kill()
            process.wait(10)
        else:
            subprocess.run(["ip", "netns", "del", pod.name], check=True)


def test_an_mtu_below_ipv6_is_refused_and_its_addresses_are_intact(module: Module, net: Namespace) -> None:
    if not IPV6:
        pytest.skip("hardware: this kernel has no IPv6")
    settled(net)
    before = everything(net)
    for check in (True, False):
        refused = module("bridge_mtu", options(1279), check=check, inside=net.inside)
        assert "expected 1280 or more: br0 has IPv6 addresses" in refused["msg"]
    assert everything(net) == before
    done = module("bridge_mtu", options(1280), inside=net.inside)
    assert not done.failed, done["msg"]
    assert without_mtu(everything(net)) == without_mtu(before)


def without_mtu(found: Any) -> Any:
    if isinstance(found, list):
        return [without_mtu(each) for each in found]
    if isinstance(found, dict):
        return {key: without_mtu(value) for key, value in found.items() if key != "mtu"}
    return found


# --- packets


@pytest.fixture
def ends(net: Namespace) -> Iterator[tuple[Namespace, Namespace]]:
    """Two namespaces behind p0 and p1, with 192.0.2.2 and 192.0.2.3."""
    made = []
    try:
        for number, port in enumerate(PORTS[:2]):
            end = Namespace(f"{net.name}e{number}")
            subprocess.run(["ip", "netns", "add", end.name], check=True)
            made.append(end)
            net.run("ip", "link", "set", f"{port}x", "netns", end.name)
            end.run("ip", "address", "add", f"192.0.2.{number + 2}/24", "dev", f"{port}x")
            end.run("ip", "link", "set", f"{port}x", "up")
        yield made[0], made[1]
    finally:
        for end in made:
            subprocess.run(["ip", "netns", "del", end.name], check=True)


@pytest.mark.parametrize(("first", "then"), [(1500, 9000), (9000, 1500)])
def test_no_packet_that_fits_is_lost_while_the_mtu_changes(
    module: Module, net: Namespace, ends: tuple[Namespace, Namespace], first: int, then: int
) -> None:
    assert not module("bridge_mtu", options(first), inside=net.inside).failed
    flood = [sys.executable, "-c", FLOOD, "192.0.2.3", "1500", "6000", "0.001"]
    with subprocess.Popen(["ip", "netns", "exec", ends[0].name, *flood], stdout=subprocess.PIPE, text=True) as sender:
        done = module("bridge_mtu", options(then), inside=net.inside)
        assert sender.poll() is None, "the flood was over before the change was"
        lost = sender.communicate(timeout=60)[0]
    assert not done.failed, done["msg"]
    assert mtus(net)["br0"] == then
    assert lost == "0\n"


# --- the probe


@pytest.fixture
def path(net: Namespace) -> Iterator[Callable[..., list[Namespace]]]:
    """``path(9000, 1500)``: behind p0 a router for each link but the last, whose end is the host; the links have those MTUs.

    Hop n has 10.0.n.2, and the host is the last one. Its namespaces come back.
    """
    made: list[Namespace] = []

    def build(*mtus: int) -> list[Namespace]:
        here, link = net, "p0x"
        for hop, mtu in enumerate(mtus):
            there = Namespace(f"{net.name}h{hop}")
            subprocess.run(["ip", "netns", "add", there.name], check=True)
            made.append(there)
            if hop:
                link = f"h{hop}"
                here.run("ip", "link", "add", f"{link}up", "type", "veth", "peer", "name", link)
                here.run("ip", "address", "add", f"10.0.{hop}.1/24", "dev", f"{link}up")
                here.run("ip", "link", "set", f"{link}up", "up", "mtu", str(mtu))
                for later in range(hop + 1, len(mtus)):
                    here.run("ip", "route", "add", f"10.0.{later}.0/24", "via", f"10.0.{hop}.2")
                here.run("sysctl", "-q", "net.ipv4.ip_forward=1")
            here.run("ip", "link", "set", link, "netns", there.name)
            there.run("ip", "address", "add", f"10.0.{hop}.2/24", "dev", link)
            there.run("ip", "link", "set", link, "up", "mtu", str(mtu))
            if hop:
                there.run("ip", "route", "add", "default", "via", f"10.0.{hop}.1")
            here = there
        net.run("ip", "address", "add", "10.0.0.1/24", "dev", "br0")
        net.run("ip", "route", "add", "10.0.0.0/16", "via", "10.0.0.2")
        return made

    try:
        yield build
    finally:
        for each in made:
            subprocess.run(["ip", "netns", "del", each.name], check=True)


@pytest.mark.parametrize(
    ("links", "hop", "address", "path_mtu"),
    [
        ((9000, 9000, 9000), None, None, None),
        # The second router says what would fit.
        ((9000, 9000, 1500), 3, "10.0.2.2", 1500),
        ((9000, 1500, 9000), 2, "10.0.1.2", 1500),
        # A veth drops what its other end is too small for, and says nothing.
        ((1500, 9000, 9000), 1, "10.0.0.2", None),
    ],
)
def test_a_probe_names_the_hop_that_large_packets_do_not_reach(
    module: Module,
    net: Namespace,
    path: Callable[..., list[Namespace]],
    links: tuple[int, ...],
    hop: int | None,
    address: str | None,
    path_mtu: int | None,
) -> None:
    path(*links)
    before = mtus(net)
    done = module("bridge_mtu", options(probe="10.0.2.2"), inside=net.inside)
    if hop is None:
        assert not done.failed, done["msg"]
        assert done["after"]["probe"]["passed"]
        assert done["before"]["probe"] is None
        return
    assert done.failed
    evidence = done["unmet"][0]["evidence"]
    assert (evidence["hop"], evidence["hop_address"], evidence["path_mtu"]) == (hop, address, path_mtu)
    assert f"it is lost at hop {hop} ({address})" in done["msg"]
    assert mtus(net) == before


# --- the way back, without systemd: another network namespace has none


def direct(net: Namespace, given: dict[str, Any]) -> subprocess.Popen[str]:
    """The module itself, without its action plugin: nobody comes back to confirm."""
    command = ["ip", "netns", "exec", net.name, sys.executable, "-m", MODULE]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": given}))
    process.stdin.close()
    process.stdin = None
    return process


@pytest.fixture
def routed(net: Namespace) -> Namespace:
    net.run("ip", "route", "add", "default", "via", "192.0.2.254")
    settled(net)
    return net


CONSENT: dict[str, Any] = {"allow_management_link": True, "revert_after": 10}
# Without a connection of ssh that is what proves.
PROBE: dict[str, Any] = {**CONSENT, "probe": "192.0.2.2"}
# As the action plugin says it where there is one.
BY_SSH = {**CONSENT, "fresh_connection": "possible", "ssh_connection": "192.0.2.9 50000 192.0.2.1 22"}


def test_the_link_of_the_default_route_takes_consent_and_a_local_run_a_probe(
    module: Module, routed: Namespace, ends: tuple[Namespace, Namespace]
) -> None:
    for check in (True, False):
        refused = module("bridge_mtu", options(), check=check, inside=routed.inside)
        assert "bridges[0].mtu: br0 carries a default route" in refused["msg"]
        refused = module(
            "bridge_mtu", options(1500, ["p0"]) | {"bridges": [{"name": "br0", "mtu": 1400}]}, check, routed.inside
        )
        assert "br0 carries a default route" in refused["msg"]
    before = mtus(routed)
    for check in (True, False):
        refused = module("bridge_mtu", options(**CONSENT), check=check, inside=routed.inside)
        assert (
            "allow_management_link: got True, expected a probe beside it: br0 carries a default route" in refused["msg"]
        )
        assert "this run comes by no connection of ssh" in refused["msg"]
    assert (mtus(routed), MANIFEST.exists(), is_pinned(routed)) == (before, False, False)
    predicted = module("bridge_mtu", options(**PROBE), check=True, inside=routed.inside)
    done = module("bridge_mtu", options(**PROBE), inside=routed.inside)
    assert not done.failed, done["msg"]
    for key in ("before", "changes", "disruptive", "changed"):
        assert predicted[key] == done[key], key
    assert done["after"]["probe"]["passed"]
    assert predicted["after"] == {**done["after"], "probe": None}
    assert {item["target"] for item in done["disruptive"]} == {"br0", *PORTS}
    assert not list(Path("/run").glob("bulwark-revert*"))
    assert not module("bridge_mtu", options(**PROBE), inside=routed.inside)["changed"]
    assert "expected a probe beside it" in module("bridge_mtu", absent() | CONSENT, inside=routed.inside)["msg"]
    gone = module("bridge_mtu", absent() | PROBE, inside=routed.inside)
    assert (gone["changed"], gone["after"]["revert"]) == (True, None)
    assert not MANIFEST.exists()


def test_a_probe_that_does_not_answer_is_no_proof_and_all_goes_back(
    module: Module, routed: Namespace, ends: tuple[Namespace, Namespace]
) -> None:
    ends[0].run("ip", "link", "set", "p0x", "mtu", "1500")
    before = mtus(routed)
    failed = module("bridge_mtu", options(**PROBE), inside=routed.inside)
    assert "probe: no packet of 9000 bytes comes back from 192.0.2.2" in failed["msg"]
    assert mtus(routed) == before
    assert not list(Path("/run").glob("bulwark-revert*"))


def test_absent_leaves_what_somebody_set_since(module: Module, net: Namespace) -> None:
    assert module("bridge_mtu", options(), inside=net.inside)["changed"]
    net.run("ip", "link", "set", "p1", "mtu", "4000")
    foretold = module("bridge_mtu", absent(), check=True, inside=net.inside)
    real = module("bridge_mtu", absent(), inside=net.inside)
    for key in ("before", "after", "changes"):
        assert foretold[key] == real[key], key
    for done in (foretold, real):
        assert done.warns("p1 is left at an MTU of 4000")
    assert {name: mtus(net)[name] for name in ("br0", *PORTS)} == {**dict.fromkeys(("br0", *PORTS), 1500), "p1": 4000}
    assert not MANIFEST.exists()


@pytest.mark.parametrize("killed", [False, True])
def test_nobody_confirms_and_the_machine_puts_all_back_by_itself(routed: Namespace, killed: bool) -> None:
    before = everything(routed)
    with direct(routed, options(**BY_SSH)) as process:
        if killed:
            assert until(lambda: {mtus(routed)[name] for name in ("br0", *PORTS)} == {9000}, timeout=30)
            process.send_signal(signal.SIGKILL)
            process.wait(10)
        else:
            assert process.stdout is not None
            answer = json.loads(process.stdout.read())
            assert answer["after"]["revert"]["token"] in next(Path("/run").glob("bulwark-revert-*.sh")).name
    assert mtus(routed)["br0"] == 9000
    assert until(lambda: everything(routed) == before, timeout=20)
    assert until(lambda: not list(Path("/run").glob("bulwark-revert*")), timeout=5)


def test_a_late_confirmation_is_refused_and_an_early_one_ends_the_timer(
    routed: Namespace, ends: tuple[Namespace, Namespace]
) -> None:
    def ran(**more: Any) -> dict[str, Any]:
        with direct(routed, options(**PROBE, **more)) as process:
            assert process.stdout is not None
            found: dict[str, Any] = json.loads(process.stdout.read())
            return found

    token = ran()["after"]["revert"]["token"]
    early = ran(confirm=token)
    assert (early["changed"], early["after"]["revert"]) == (True, None)
    time.sleep(11)
    assert mtus(routed)["br0"] == 9000
    assert "no timer of that token is armed" in ran(confirm=token)["msg"]
    assert "no timer of that token is armed" in ran(confirm=token)["msg"]
    assert not list(Path("/run").glob("bulwark-revert*"))


def test_a_bridge_of_a_hostile_name_is_set_and_put_back(module: Module, routed: Namespace) -> None:
    name = b"a'\xff\x1b`id`;"
    routed.run("ip", "link", "add", "name", name, "type", "bridge")
    routed.run("ip", "link", "set", name, "up")
    routed.run("ip", "route", "add", "default", "dev", name, "metric", "5")
    shown = name.decode("utf-8", "backslashreplace")
    index = next(row["ifindex"] for row in routed.json("ip", "-j", "link") if os.fsencode(row["ifname"]) == name)

    def mtu() -> int:
        return next(int(row["mtu"]) for row in routed.json("ip", "-j", "link") if row["ifindex"] == index)

    given = {"bridges": [{"name": shown, "mtu": 1400}], "persist": False, **BY_SSH}
    with direct(routed, given) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.read())["after"]["bridges"][0]["mtu"] == 1400
    assert mtu() == 1400
    assert until(lambda: mtu() == 1500, timeout=20)
    assert until(lambda: not list(Path("/run").glob("bulwark-revert*")), timeout=5)
