# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections to the outside: which count, for how long, and when conntrack is no witness. Tables of conntrack, and looks that follow one another."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError, OptionError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import (
    conntrack_flows,
    nat_flows,
    nat_witnesses,
    netlink,
)
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.dumps import DONE, message
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.test_netlink import FakeSocket

DEFAULTS = {name: each.get("default") for name, each in nat_flows.ARGUMENT_SPEC.items()}
NODE, POD, WEB = "10.0.0.2", "10.4.1.9", "203.0.113.10"
TIMEOUTS = {
    "tcp_timeout_time_wait": 120,
    "tcp_timeout_close": 10,
    "tcp_timeout_established": 86400,
    "tcp_timeout_syn_sent": 120,
    "tcp_timeout_syn_recv": 60,
    "tcp_timeout_unacknowledged": 300,
    "tcp_timeout_max_retrans": 300,
    "udp_timeout": 30,
    "udp_timeout_stream": 120,
    "max": 262144,
}


def tcp(
    source: str = f"{POD}:40000",
    to: str = f"{WEB}:443",
    state: str = "ESTABLISHED",
    left: int = 86399,
    peer: str | None = None,
    flag: str = "",
) -> str:
    """A connection as the kernel writes it: ``peer`` sends the replies."""
    (own, own_port), (address, port) = source.rsplit(":", 1), to.rsplit(":", 1)
    other, other_port = (peer or to).rsplit(":", 1)
    return (
        f"ipv4     2 tcp      6 {left} {state} src={own} dst={address} sport={own_port} dport={port} {flag}"
        f"src={other} dst={NODE} sport={other_port} dport={own_port} [ASSURED] mark=0 zone=0 use=2"
    )


def udp(source: str = f"{POD}:5000", to: str = f"{WEB}:53", left: int = 29, replied: bool = False) -> str:
    line = tcp(source, to, "", left, flag="" if replied else "[UNREPLIED] ")
    return line.replace("tcp      6", "udp      17").replace(f" {left}  src", f" {left} src")


def held(*peers: str, listen: int = 0) -> str:
    """/proc/net/tcp with established connections to ``peers``."""
    rows = [f"   0: 00000000:{listen:04X} 00000000:0000 0A 00000000:00000000"] if listen else []
    for number, peer in enumerate(peers):
        address, port = peer.rsplit(":", 1)
        word = struct.unpack("=I", socket.inet_aton(address))[0]
        own = listen or 40000 + number
        rows.append(f"   {number + 1}: 0200000A:{own:04X} {word:08X}:{int(port):04X} 01 00000000:00000000")
    return "\n".join(["  sl  local_address rem_address   st", *rows, ""])


class Node:
    """A machine whose conntrack holds ``looks``, one after the other; its clock runs while somebody sleeps."""

    def __init__(self, root: Path, *looks: list[str], **sysctls: int) -> None:
        self.root, self.looks, self.now = root, [list(look) for look in looks], 100.0
        for name, value in {**TIMEOUTS, "count": 7, **sysctls}.items():
            self.write(f"/proc/sys/net/netfilter/nf_conntrack_{name}", str(value))
        self.write(
            "/proc/net/fib_trie",
            f"Local:\n  +-- 0.0.0.0/0 3\n     |-- {NODE}\n        /32 host LOCAL\n     |-- {WEB}\n",
        )
        self.show(self.looks[0])

    def write(self, path: str, text: str) -> None:
        target = self.root / path[1:]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def show(self, lines: list[str]) -> None:
        self.write("/proc/net/nf_conntrack", "".join(f"{line}\n" for line in lines))

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.looks = self.looks[1:] or self.looks
        self.show(self.looks[0])

    def measured(self, **options: Any) -> dict[str, Any]:
        chosen = nat_flows.asked({**DEFAULTS, "window": 0, **options})
        return nat_flows.measured(Host(root=str(self.root)), chosen, lambda: self.now, self.sleep)

    def first(self, **options: Any) -> dict[str, Any]:
        found: dict[str, Any] = self.measured(**options)["destinations"][0]
        return found


Make = Callable[..., Node]


@pytest.fixture
def node(tree: Path) -> Make:
    return lambda *looks, **sysctls: Node(tree, *looks, **sysctls)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("window", -1), ("window", 3601), ("window", 3), ("interval", 0), ("interval", 11), ("time_wait", 0)),
        *(("established_idle", 0), ("transitory_idle", 0), ("udp_idle", 3601), ("top", 0), ("top", 1001)),
        *(("exclude", ["10.0.0.0/33"]), ("exclude", ["10.0.0.1/8"]), ("exclude", ["\x1b[2J"])),
    ],
)
def test_a_wrong_option_is_refused_by_its_name(option: str, value: Any) -> None:
    with pytest.raises(OptionError, match=rf"^{option}"):
        nat_flows.asked({**DEFAULTS, option: value})


def test_connections_are_counted_by_where_they_go(node: Make) -> None:
    lines = [tcp(f"{POD}:{port}") for port in range(40000, 40003)] + [tcp(f"{NODE}:1", f"{WEB}:80"), udp()]
    found = node(lines).measured()
    assert [(row["protocol"], row["address"], row["port"], row["concurrent"]) for row in found["destinations"]] == [
        ("tcp", WEB, 443, 3),
        ("tcp", WEB, 80, 1),
        ("udp", WEB, 53, 1),
    ]
    assert (found["source"], found["method"], found["connections"], found["destinations_seen"]) == (
        "netfilter",
        "proc",
        5,
        3,
    )


def test_the_destination_is_who_replies(node: Make) -> None:
    row = node([tcp(to="198.51.100.7:80", peer=f"{WEB}:8080")]).first()
    assert (row["address"], row["port"]) == (WEB, 8080)
    # A virtual address that leads to a pod leads nowhere outside.
    assert node([tcp(to="198.51.100.7:80", peer=f"{POD}:8080")]).measured()["destinations"] == []


@pytest.mark.parametrize(
    "to",
    [
        *("10.1.2.3", "172.31.0.1", "192.168.7.7", "169.254.169.254", "127.0.0.1", "100.64.0.1", "199.36.153.10"),
        *("224.0.0.1", "240.0.0.1", "198.18.0.1", "192.0.0.8", "0.0.0.0", NODE),
    ],
)
def test_what_is_not_translated_does_not_count(node: Make, to: str) -> None:
    assert node([tcp(to=f"{to}:443")]).measured()["destinations"] == []


def test_what_comes_from_outside_does_not_count(node: Make) -> None:
    # A client's connection to a service of the node, and traffic between two others.
    assert node([tcp("198.51.100.9:5", f"{NODE}:443"), tcp("198.51.100.9:5")]).measured()["destinations"] == []


def test_named_ranges_are_inside(node: Make) -> None:
    machine = node([tcp(), tcp("198.51.100.9:5", "203.0.114.1:443")])
    assert [row["address"] for row in machine.measured()["destinations"]] == [WEB]
    found = machine.measured(exclude=["203.0.113.0/24", "198.51.100.0/24"])
    assert [row["address"] for row in found["destinations"]] == ["203.0.114.1"]


def test_of_ipv6_only_nat64_counts(node: Make) -> None:
    def flow(to: str) -> str:
        return tcp("fd00::9:40000", f"{to}:443").replace("ipv4     2", "ipv6     10")

    machine = node([flow("64:ff9b::cb00:710a"), flow("2001:db8::1"), flow("64:ff9b:1::1")])
    assert [row["address"] for row in machine.measured()["destinations"]] == ["64:ff9b::cb00:710a"]


@pytest.mark.parametrize(
    ("line", "concurrent", "time_wait"),
    [
        (tcp(state="TIME_WAIT", left=100), 0, 1),
        # Closed for 31 seconds.
        (tcp(state="TIME_WAIT", left=89), None, None),
        (tcp(state="CLOSE", left=9), 0, 1),
        (tcp(state="FIN_WAIT", left=100), 1, 0),
        (tcp(state="CLOSE_WAIT", left=1), 1, 0),
        (tcp(state="LAST_ACK", left=1), 1, 0),
        (tcp(left=86400 - 1199), 1, 0),
        # Idle for twenty minutes: the gateway has forgotten it, conntrack has it for a day.
        (tcp(left=86400 - 1200), None, None),
        # Not idle: data on the way was not acknowledged, for which the kernel counts down from 300.
        (tcp(left=299), 1, 0),
        (tcp(state="SYN_SENT", left=91, flag="[UNREPLIED] "), 1, 0),
        (tcp(state="SYN_SENT", left=90, flag="[UNREPLIED] "), None, None),
        (tcp(state="SYN_RECV", left=31), 1, 0),
        (tcp(state="SYN_RECV", left=30), None, None),
        (udp(left=1), 1, 0),
        (udp(left=91, replied=True), 1, 0),
        (udp(left=90, replied=True), None, None),
        # The kernel tells neither its time nor its state.
        (tcp(flag="").replace("86399 ESTABLISHED ", "").replace("[ASSURED]", "[OFFLOAD]"), 1, 0),
    ],
)
def test_a_connection_counts_as_long_as_the_gateway_holds_it(
    node: Make, line: str, concurrent: int | None, time_wait: int | None
) -> None:
    rows = node([line]).measured(time_wait=30)["destinations"]
    assert [(row["concurrent"], row["time_wait"]) for row in rows] == (
        [] if concurrent is None else [(concurrent, time_wait)]
    )


def test_syns_without_an_answer_are_told(node: Make) -> None:
    lines = [tcp(f"{POD}:{port}", state="SYN_SENT", left=119, flag="[UNREPLIED] ") for port in range(4)]
    row = node([*lines, tcp(f"{POD}:9", state="SYN_SENT", left=119)]).first()
    assert (row["concurrent"], row["unreplied"]) == (5, 4)


def test_new_connections_are_those_that_the_look_before_did_not_have(node: Make) -> None:
    first = [tcp(f"{POD}:1"), tcp(f"{POD}:2", state="TIME_WAIT", left=60)]
    second = [
        tcp(f"{POD}:1", state="TIME_WAIT", left=119),  # closed
        tcp(f"{POD}:2"),  # the same ports again: new
        tcp(f"{POD}:3"),  # new
        tcp(f"{POD}:4", state="TIME_WAIT", left=118),  # came and went in between: new
    ]
    found = node(first, second).measured(window=2, interval=2)
    row = found["destinations"][0]
    assert (found["looks"], found["window"], row["new_per_second"]) == (2, 2.0, 1.5)
    # Two live and 1.5 a second for 120 seconds, which is more than the most at a time.
    assert (row["concurrent"], row["time_wait"], row["ports"]) == (2, 2, 182)


def test_the_most_at_a_time_counts_where_it_is_more_than_the_rate(node: Make) -> None:
    many = [tcp(f"{POD}:{port}", state="TIME_WAIT", left=100) for port in range(50)]
    found = node([*many, tcp()], [tcp()], []).measured(window=10)
    row = found["destinations"][0]
    assert (found["looks"], row["concurrent"], row["time_wait"], row["new_per_second"], row["ports"]) == (
        3,
        1,
        50,
        0.0,
        51,
    )


def test_over_udp_no_port_waits(node: Make) -> None:
    row = node([udp()], [udp(), udp(f"{POD}:1")]).first(window=5)
    assert (row["new_per_second"], row["ports"]) == (0.2, 2)


def test_one_look_tells_no_rate(node: Make) -> None:
    found = node([tcp()]).measured()
    assert (found["window"], found["looks"], found["destinations"][0]["new_per_second"]) == (0.0, 1, None)
    assert found["reason"] == "new_per_second: there was one look alone (window: 0)"


def test_a_slow_look_takes_the_next_one_with_it(node: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = node([tcp()])
    real = nat_flows._look

    def slow(*given: Any) -> Any:
        machine.now += 7
        return real(*given)

    monkeypatch.setattr(nat_flows, "_look", slow)
    found = machine.measured(window=30, interval=5)
    assert found["looks"] < 7
    assert found["window"] <= 30


def test_the_busiest_come_first_and_only_so_many(node: Make) -> None:
    lines = [tcp(f"{POD}:{port}", f"{WEB}:{port % 7 + 1}") for port in range(20)]
    found = node(lines).measured(top=2)
    assert [(row["port"], row["ports"]) for row in found["destinations"]] == [(1, 3), (2, 3)]
    assert found["destinations_seen"] == 7


def test_the_same_in_two_zones_is_one(node: Make) -> None:
    assert node([tcp(), tcp().replace("zone=0", "zone=7")]).first()["concurrent"] == 1


def test_what_cannot_be_remembered_is_said(node: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nat_flows, "_REMEMBERED", 3)
    lines = [tcp(f"{POD}:{port}") for port in range(5)] + [tcp(to="203.0.113.11:1")]
    found = node(lines, lines).measured(window=5)
    assert (found["left_out"], found["destinations_seen"]) == (3, 1)
    # What is counted is not made less, but the rate is not known.
    assert (found["destinations"][0]["concurrent"], found["destinations"][0]["new_per_second"]) == (5, None)
    assert "3 connections beyond 3 at a time were left out" in found["reason"]


def nothing(found: dict[str, Any]) -> str:
    """Why nothing could be told: no number is there that could be taken for one."""
    assert found["source"] == "none"
    assert {found[name] for name in found if name not in ("source", "reason", "witnesses")} == {None}
    return str(found["reason"])


def test_without_conntrack_there_is_no_zero(tree: Path) -> None:
    found = nat_flows.measured(Host(root=str(tree)), nat_flows.asked(DEFAULTS))
    assert nothing(found) == "nf_conntrack is not loaded: nothing here follows connections"


def test_a_kernel_that_does_not_tell_has_no_zero(node: Make) -> None:
    machine = node([tcp()])
    (machine.root / "proc/net/nf_conntrack").unlink()
    assert "CONFIG_NF_CONNTRACK_PROCFS" in nothing(machine.measured())


def test_an_empty_conntrack_is_no_zero(node: Make) -> None:
    assert "no connection at all" in nothing(node([]).measured())


def test_a_count_that_is_no_number_is_no_zero(node: Make) -> None:
    machine = node([tcp()])
    machine.write("/proc/sys/net/netfilter/nf_conntrack_count", "lots\x1b[2J")
    assert "expected a number" in nothing(machine.measured())


def test_a_table_that_may_not_be_read_is_no_zero(node: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(host: Host, by: str) -> Any:
        raise HostError.from_os("/proc/net/nf_conntrack", "read", PermissionError(13, ""))

    monkeypatch.setattr(conntrack_flows, "flows", refuse)
    assert nothing(node([tcp()]).measured()).endswith("(Permission denied): run this as root, with become")


def test_connections_that_conntrack_does_not_know_make_it_no_witness(node: Make) -> None:
    machine = node([tcp()])
    machine.write("/proc/self/net/tcp", held(f"{WEB}:443", f"{WEB}:8443"))
    found = machine.measured()
    assert "does not know 1 of 2 connections" in nothing(found)
    assert found["witnesses"] == {"held": 2, "missing": 1}


def test_a_few_that_it_does_not_know_are_said(node: Make) -> None:
    machine = node([tcp(f"{POD}:{port}") for port in range(4)])
    machine.write("/proc/self/net/tcp", held(*[f"{WEB}:443"] * 5))
    found = machine.measured()
    assert (found["source"], found["witnesses"]) == ("netfilter", {"held": 5, "missing": 1})
    assert "does not know 1 of 5" in found["reason"]


def test_a_witness_asked_for_the_address_before_it_was_translated(node: Make) -> None:
    machine = node([tcp(to="198.51.100.7:80", peer=f"{WEB}:8080")])
    machine.write("/proc/self/net/tcp", held("198.51.100.7:80"))
    assert machine.measured()["witnesses"] == {"held": 1, "missing": 0}


def test_who_was_called_and_who_calls_inside_is_no_witness(node: Make) -> None:
    machine = node([tcp()])
    machine.write("/proc/self/net/tcp", held(f"{WEB}:5000", listen=443))
    machine.write("/proc/self/net/tcp6", held("10.1.1.1:443"))
    assert machine.measured()["witnesses"] == {"held": 0, "missing": 0}


def test_pods_are_witnesses_in_their_namespaces(node: Make) -> None:
    machine = node([tcp()])
    for pid, namespace, peer in (("1", 1, WEB), ("77", 2, "203.0.113.66"), ("78", 2, "203.0.113.77")):
        machine.write(f"/proc/{pid}/net/tcp", held(f"{peer}:443"))
        (machine.root / f"proc/{pid}/ns").mkdir()
        (machine.root / f"proc/{pid}/ns/net").symlink_to(f"net:[{namespace}]")
    (machine.root / "proc/self").symlink_to("1")
    # One process a namespace is enough.
    assert machine.measured()["witnesses"] == {"held": 2, "missing": 1}


def test_a_witness_over_ipv6_may_speak_ipv4(tree: Path) -> None:
    words = struct.unpack("=4I", socket.inet_pton(socket.AF_INET6, f"::ffff:{WEB}"))
    (tree / "proc/self/net").mkdir(parents=True)
    local = "0" * 32
    peer = "".join(f"{word:08X}" for word in words)
    (tree / "proc/self/net/tcp6").write_text(f"   0: {local}:0001 {peer}:01BB 01 0\n junk\n   1: 00:0\n")
    found = nat_witnesses.held(Host(root=str(tree)), nat_flows.Ranges([], []).outside)
    assert found == {(socket.inet_aton(WEB), 443): 1}


def test_cilium_without_a_pod_in_conntrack_is_no_witness(node: Make) -> None:
    machine = node([tcp(f"{NODE}:1")])
    assert machine.measured()["source"] == "netfilter"
    (machine.root / "sys/class/net/cilium_host").mkdir(parents=True)
    assert "Dataplane V2" in nothing(machine.measured())
    machine.show([tcp()])
    assert machine.measured()["source"] == "netfilter"


def test_what_is_less_than_the_truth_is_said(node: Make) -> None:
    reason = node([tcp()], [tcp()], tcp_timeout_time_wait=60, count=262144).measured(window=5)["reason"]
    assert "conntrack forgets a closed connection after 60 seconds" in reason
    assert "conntrack is full (262144 of 262144)" in reason


def test_hostile_lines_are_left_out(node: Make) -> None:
    hostile = [
        "",
        "ipv4 2 tcp 6 1 ESTABLISHED src=1.2.3.4",
        tcp(f"{POD}:1", "999.1.1.1:1"),
        tcp(f"{POD}:1").replace(f"src={POD}", "src=\x1b[2J{{7*7}}"),
        tcp().replace("ESTABLISHED", "\u202eDEHSILBATSE"),
        "x" * 200_000,
        tcp().replace("tcp      6", "sctp     132"),
    ]
    found = node([*hostile, tcp(f"{POD}:2")]).measured()
    assert [row["concurrent"] for row in found["destinations"]] == [1]


def test_any_text_is_survived(node: Make) -> None:
    draw = random.Random(11)
    line = tcp()
    for _dummy in range(300):
        at, to = sorted(draw.randrange(len(line)) for _end in range(2))
        broken = line[:at] + "".join(chr(draw.randrange(1, 0x250)) for _char in range(draw.randrange(9))) + line[to:]
        machine = node([broken, tcp(f"{POD}:7")])
        assert machine.measured()["source"] == "netfilter"


def _tuple(number: int, protocol: int, addresses: dict[int, bytes], ports: tuple[int, int]) -> bytes:
    inner = b"".join(netlink.attribute(kind, packed) for kind, packed in addresses.items())
    transport = netlink.attribute(1, bytes([protocol])) + b"".join(
        netlink.attribute(kind, port.to_bytes(2, "big")) for kind, port in zip((2, 3), ports, strict=True)
    )
    return netlink.attribute(number | 0x8000, netlink.attribute(0x8001, inner) + netlink.attribute(0x8002, transport))


def _entry(protocol: int = 6, state: int = 3, status: int = 0xE, left: int = 86399) -> bytes:
    """A connection as ctnetlink tells it, with an attribute that nobody knows."""
    pod, node, web = (socket.inet_aton(each) for each in (POD, NODE, WEB))
    info = netlink.attribute(0x8004, netlink.attribute(0x8001, netlink.attribute(1, bytes([state]))))
    body = (
        _tuple(1, protocol, {1: pod, 2: web}, (40000, 443))
        + _tuple(2, protocol, {1: web, 2: node}, (443, 40000))
        + netlink.attribute(3, status.to_bytes(4, "big"))
        + (info if protocol == 6 else b"")
        + netlink.attribute(7, left.to_bytes(4, "big"))
        + netlink.attribute(99, b"new")
    )
    return message(0x100, bytes(4) + body, {})


def _asked(monkeypatch: pytest.MonkeyPatch, *blocks: bytes) -> list[conntrack_flows.Flow]:
    fake = FakeSocket(list(blocks))
    monkeypatch.setattr(socket, "socket", lambda *rest: fake)
    found = list(conntrack_flows.flows(Host(), conntrack_flows.CTNETLINK))
    assert fake.sent == [struct.pack("=IHHII", 20, 0x101, 0x301, 1, 0) + bytes(4)]
    return found


def test_ctnetlink_tells_the_same(monkeypatch: pytest.MonkeyPatch, node: Make) -> None:
    lines = [tcp(), udp(f"{POD}:40000", f"{WEB}:443", left=5), tcp(state="SYN_SENT", left=100, flag="[UNREPLIED] ")]
    host = Host(root=str(node(lines).root))
    told = _asked(
        monkeypatch, _entry() + _entry(17, status=8, left=5), _entry(state=1, status=8, left=100) + _entry(132) + DONE
    )
    assert told == list(conntrack_flows.flows(host, conntrack_flows.PROC))


def test_ctnetlink_tells_no_time_of_what_is_offloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    (flow,) = _asked(monkeypatch, _entry(status=0xE | 1 << 14) + DONE)
    assert (flow.state, flow.remaining) == (None, None)


def test_any_bytes_of_ctnetlink_are_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(12)
    for _dummy in range(200):
        broken = bytearray(_entry())
        for _change in range(draw.randrange(1, 6)):
            broken[draw.randrange(16, len(broken))] = draw.randrange(256)
        for flow in _asked(monkeypatch, bytes(broken) + DONE):
            nat_flows.Ranges([], []).outside(flow.peer[0])


def test_a_refusal_of_ctnetlink_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HostError, match="EPERM"):
        _asked(monkeypatch, struct.pack("=IHHIIi", 20, 2, 0, 1, 0, -1))


def test_ctnetlink_is_asked_where_it_is_loaded_or_may_be(monkeypatch: pytest.MonkeyPatch, tree: Path) -> None:
    there = set[str]()
    monkeypatch.setattr(Host, "exists", lambda host, path: path in there)
    assert conntrack_flows.method(Host(), False) is None
    there.add("/proc/net/nf_conntrack")
    assert conntrack_flows.method(Host(), False) == "proc"
    assert conntrack_flows.method(Host(), True) == "ctnetlink"
    assert conntrack_flows.method(Host(root=str(tree)), True) == "proc"
    there.add("/sys/module/nf_conntrack_netlink")
    assert conntrack_flows.method(Host(), False) == "ctnetlink"
