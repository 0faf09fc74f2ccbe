# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The subset ``sysctls``: numbers as numbers, and a reason for each that is not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import sysctls
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import lay


def facts(tree: Path, files: dict[str, str], links: dict[str, str] | None = None) -> dict[str, Any]:
    lay(
        tree,
        {"files": {f"/proc/sys/{path}": text for path, text in files.items()}, "links": links or {}, "folders": []},
    )
    return sysctls.facts(Host(root=str(tree)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1),
        ("-1", -1),
        ("9223372036854775807", 9223372036854775807),
        ("32768\t60999", "32768 60999"),
        ("", ""),
        ("\u0663", "\u0663"),
        ("1 \x1b[31m", "1 \x1b[31m"),
        ("9" * 30, "9" * 30),
    ],
)
def test_one_number_is_a_number_and_all_else_is_text(tree: Path, text: str, expected: int | str) -> None:
    assert facts(tree, {"vm/swappiness": text})["vm.swappiness"] == expected


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("net.bridge.bridge-nf-call-iptables", "br_netfilter is not loaded"),
        ("net.netfilter.nf_conntrack_max", "nf_conntrack is not loaded"),
        ("net.ipv6.conf.all.forwarding", "this kernel runs without IPv6"),
        ("kernel.keys.root_maxkeys", "this kernel has no such setting"),
    ],
)
def test_what_is_not_there_is_null_with_its_reason(tree: Path, name: str, reason: str) -> None:
    found = facts(tree, {"net/ipv4/ip_forward": "1"})
    assert found[name] is None
    assert {"name": name, "reason": reason} in found["reasons"]
    assert found["net.ipv4.ip_forward"] == 1
    assert [each["name"] for each in found["reasons"]] == [each for each in sysctls.NAMES if found[each] is None]


def test_what_may_not_be_read_costs_itself_alone(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Host.read

    def refuse(host: Host, path: str, limit: int = 4096) -> str | None:
        if path == "/proc/sys/vm/swappiness":
            raise HostError(path, "cannot read: EACCES (Permission denied)", "EACCES")
        return real(host, path, limit)

    monkeypatch.setattr(Host, "read", refuse)
    found = facts(tree, {"vm/swappiness": "60", "vm/panic_on_oom": "0"})
    assert (found["vm.swappiness"], found["vm.panic_on_oom"]) == (None, 0)
    why = "/proc/sys/vm/swappiness: cannot read: EACCES (Permission denied)"
    assert {"name": "vm.swappiness", "reason": why} in found["reasons"]


def test_those_of_another_network_namespace_are_not_the_machines(tree: Path) -> None:
    links = {"/proc/1/ns/net": "net:[4026531840]", "/proc/self/ns/net": "net:[4026532177]"}
    found = facts(tree, {"net/ipv4/ip_forward": "1", "vm/swappiness": "60"}, links)
    assert (found["net.ipv4.ip_forward"], found["vm.swappiness"]) == (None, 60)
    why = "this run is in another network namespace than the machine"
    assert {"name": "net.ipv4.ip_forward", "reason": why} in found["reasons"]


def test_all_that_decides_for_kubernetes_is_there() -> None:
    assert {
        "net.ipv4.ip_forward",
        "net.ipv6.conf.all.forwarding",
        "net.bridge.bridge-nf-call-iptables",
        "net.bridge.bridge-nf-call-ip6tables",
        "fs.inotify.max_user_instances",
        "fs.inotify.max_user_watches",
        "fs.file-max",
        "net.netfilter.nf_conntrack_max",
        "vm.overcommit_memory",
        "vm.panic_on_oom",
        "vm.max_map_count",
        "vm.swappiness",
        "kernel.panic",
        "kernel.panic_on_oops",
        "kernel.pid_max",
        "net.core.somaxconn",
    } <= set(sysctls.NAMES)
    assert list(sysctls.NAMES) == sorted(set(sysctls.NAMES))


BRIDGE = "net/bridge/bridge-nf-call-iptables"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"net/ipv4/ip_forward": "1", BRIDGE: "1"}, True),
        ({"net/ipv4/ip_forward": "1", BRIDGE: "0"}, False),
        ({"net/ipv4/ip_forward": "1"}, False),  # br_netfilter is not loaded
        ({"net/ipv4/ip_forward": "1", "net/bridge/other": "1"}, None),
        ({}, None),
    ],
)
def test_iptables_sees_bridges_only_where_the_module_is_there_and_asked(
    tree: Path, files: dict[str, str], expected: bool | None
) -> None:
    assert facts(tree, files)["bridge_netfilter"] is expected


@pytest.mark.parametrize(
    ("span", "kept", "expected"),
    [
        ("32768\t60999", None, 0),
        ("32768\t60999", "", 0),
        ("1024\t65535", "", 2768),
        ("1024\t65535", "30000-32767", 0),
        ("1024\t65535", "10250,30000-30009,32767", 2757),
        ("30001\t30001", "", 1),
        ("31000\t60999", "1-65535", 0),
    ],
)
def test_node_ports_that_the_kernel_may_take_are_counted(
    tree: Path, span: str, kept: str | None, expected: int
) -> None:
    files = {"net/ipv4/ip_local_port_range": span}
    files |= {} if kept is None else {"net/ipv4/ip_local_reserved_ports": kept}
    found = facts(tree, files)["node_ports"]
    assert found == {"first": 30000, "last": 32767, "ephemeral": expected, "reason": None}


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "there is no net.ipv4.ip_local_port_range"),
        (
            {"net/ipv4/ip_local_port_range": "many"},
            "net.ipv4.ip_local_port_range or ip_local_reserved_ports is no list of ports",
        ),
        (
            {"net/ipv4/ip_local_port_range": "1 2", "net/ipv4/ip_local_reserved_ports": "9-1"},
            "net.ipv4.ip_local_port_range or ip_local_reserved_ports is no list of ports",
        ),
    ],
)
def test_what_is_no_list_of_ports_is_not_known(tree: Path, files: dict[str, str], reason: str) -> None:
    found = facts(tree, files)["node_ports"]
    assert (found["ephemeral"], found["reason"]) == (None, reason)


def test_what_they_come_to_is_not_told_of_another_network_namespace(tree: Path) -> None:
    links = {"/proc/1/ns/net": "net:[4026531840]", "/proc/self/ns/net": "net:[4026532177]"}
    found = facts(tree, {"net/ipv4/ip_forward": "1", "net/ipv4/ip_local_port_range": "1 2"}, links)
    assert (found["bridge_netfilter"], found["node_ports"]["ephemeral"]) == (None, None)
    assert found["node_ports"]["reason"] == "this run is in another network namespace than the machine"
