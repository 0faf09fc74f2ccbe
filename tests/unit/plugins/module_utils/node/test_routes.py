# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The subset ``routes``: Calico's blackholes of a captured dump, and which pods of this node fall into one."""

from __future__ import annotations

import json
import socket
import struct
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import routes
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import lay
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.dumps import (
    DONE,
    GETROUTE,
    answer,
    message,
    number,
)

CALI = "cali0ef24b1a2c9"
RESULTS = "/var/lib/cni/results"
UNKNOWN = "the pods of this node are not known: there is no /var/lib/cni/results"
BLACKHOLES = [
    {"destination": "10.244.1.0/26", "protocol": 80},
    {"destination": "10.244.2.0/26", "protocol": 12},
    {"destination": "10.244.3.7/32", "protocol": 80},
    {"destination": "fd00:1::/122", "protocol": 80},
]


def result(*addresses: str, link: str = CALI, **more: Any) -> str:
    """What libcni keeps of one link of a pod. Source: libcni's cachedInfo; hand-built."""
    kept: dict[str, Any] = {
        "kind": "cniCacheV1",
        "containerId": "0f1e",
        "ifName": "eth0",
        "networkName": "k8s-pod-network",
        "cniArgs": [["IgnoreUnknown", "1"], ["K8S_POD_NAMESPACE", "default"], ["K8S_POD_NAME", "web-0"]],
        "result": {
            "cniVersion": "0.3.1",
            "interfaces": [{"name": link}],
            "ips": [{"version": "4", "address": address} for address in addresses],
        },
    }
    return json.dumps({**kept, **more})


def machine(tree: Path, *results: str, links: tuple[str, ...] = (CALI,)) -> Host:
    files = {f"{RESULTS}/k8s-pod-network-{number}-eth0": text for number, text in enumerate(results)}
    lay(tree, {"files": files, "links": {}, "folders": [f"/sys/class/net/{link}" for link in links]})
    return Host(root=str(tree))


def lost(address: str, blackhole: str, pod: str | None = "default/web-0") -> dict[str, Any]:
    return {"address": address, "interface": CALI, "pod": pod, "blackhole": blackhole}


def test_calicos_blackholes_are_told_and_those_of_others_are_not(monkeypatch: pytest.MonkeyPatch, tree: Path) -> None:
    asked = answer(monkeypatch)
    assert routes.facts(machine(tree)) == {"blackholes": BLACKHOLES, "swallowed": None, "reason": UNKNOWN}
    # rtmsg: all families, the main table, RTN_BLACKHOLE.
    assert asked == [(0, 26, bytes([0, 0, 0, 0, 254, 0, 0, 6, 0, 0, 0, 0]))]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        # 10.244.1.5, 10.244.3.7 and fd00:1::5 have a route to the pod's link; that of 10.244.1.9 is in another table.
        ("10.244.1.5/32", []),
        ("10.244.1.6/32", [lost("10.244.1.6", "10.244.1.0/26")]),
        ("10.244.1.9/32", [lost("10.244.1.9", "10.244.1.0/26")]),
        ("10.244.2.63/26", [lost("10.244.2.63", "10.244.2.0/26")]),
        # As long as the blackhole, but first by its metric.
        ("10.244.3.7/32", []),
        # No block of Calico's, though a blackhole.
        ("10.9.0.1/32", []),
        ("192.0.2.77/32", []),
        ("fd00:1::5/128", []),
        ("fd00:1::6/128", [lost("fd00:1::6", "fd00:1::/122")]),
        ("fd00:2::6/128", []),
    ],
)
def test_a_pod_without_its_longer_route_is_swallowed(
    monkeypatch: pytest.MonkeyPatch, tree: Path, address: str, expected: list[dict[str, Any]]
) -> None:
    answer(monkeypatch)
    facts = routes.facts(machine(tree, result(address)))
    assert facts == {"blackholes": BLACKHOLES, "swallowed": expected, "reason": None}


def route(destination: str, kind: int = 6, protocol: int = 80, metric: int = 0, table: int = 254) -> bytes:
    address, length = destination.split("/")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    body = struct.pack("=BBBBBBBBI", family, int(length), 0, 0, min(table, 252), protocol, 0, kind, 0)
    found = {1: socket.inet_pton(family, address), 6: number(metric), 15: number(table)}
    if length == "0":
        del found[1]
    return message(24, body, found)


@pytest.mark.parametrize(
    ("table", "swallowed"),
    [
        ([route("10.244.1.0/26")], True),
        ([route("10.244.1.0/26"), route("0.0.0.0/0", kind=1)], True),
        ([route("10.244.1.0/26"), route("10.244.1.0/24", kind=1)], True),
        ([route("10.244.1.0/26"), route("10.244.1.8/29", kind=1)], False),
        ([route("10.244.1.0/26"), route("10.244.1.9/32", kind=2)], False),
        ([route("10.244.1.0/26"), route("10.244.1.9/32", kind=1, table=1000)], True),
        ([route("10.244.1.9/32"), route("10.244.1.9/32", kind=1, metric=1)], True),
        ([route("10.244.1.9/32", metric=1), route("10.244.1.9/32", kind=1)], False),
        ([route("10.244.1.9/32"), route("10.244.1.9/32", kind=1)], False),
        # A shorter block does not matter where a blackhole of somebody else takes the packet.
        ([route("10.244.1.0/26"), route("10.244.1.9/32", protocol=4)], False),
    ],
)
def test_the_longest_route_counts_and_of_these_the_first_by_metric(
    monkeypatch: pytest.MonkeyPatch, tree: Path, table: list[bytes], swallowed: bool
) -> None:
    answer(monkeypatch, {GETROUTE: b"".join(table) + DONE})
    facts = routes.facts(machine(tree, result("10.244.1.9/32")))
    assert bool(facts["swallowed"]) is swallowed


@pytest.mark.parametrize(
    ("text", "pod"),
    [
        # Older plugins of Calico give the link on the node a sandbox; the pod's own end comes with it.
        (
            result(
                result={
                    "interfaces": [{"name": "eth0"}, {"name": CALI, "sandbox": "eth0"}],
                    "ips": [{"address": "10.244.1.9/32"}],
                }
            ),
            "default/web-0",
        ),
        (result("10.244.1.9/32", cniArgs=None), None),
        (result("10.244.1.9/32", cniArgs=[["K8S_POD_NAME", "web-0"]]), None),
        (result("10.244.1.9/32", cniArgs=[["K8S_POD_NAMESPACE", "\x1b[2J"], ["K8S_POD_NAME", 7]]), "\x1b[2J/7"),
    ],
)
def test_a_pod_is_named_where_the_plugin_was_told(
    monkeypatch: pytest.MonkeyPatch, tree: Path, text: str, pod: str | None
) -> None:
    answer(monkeypatch)
    expected = [lost("10.244.1.9", "10.244.1.0/26", pod)]
    assert routes.facts(machine(tree, text))["swallowed"] == expected


@pytest.mark.parametrize(
    "text",
    [
        # What a crash left: the pod's link is gone.
        result("10.244.1.9/32", link="cali00000000000"),
        result("10.244.1.9/32", link="../net/cali0ef24b1a2c9"),
        result("10.244.1.9/32", link="eth0"),
        result("10.244.1.9/32", result={"ips": [{"address": "10.244.1.9/32"}]}),
        result("10.244.1.9/32", result=None),
        result("10.244.1.9/32", cniArgs=[["a"]]),
        result("10.244.1.999/32"),
        result("x"),
        "",
        "[]",
        "null",
        '{"result": ',
        "[" * 5000,
    ],
)
def test_a_result_that_says_nothing_of_a_pod_here_is_left_out(
    monkeypatch: pytest.MonkeyPatch, tree: Path, text: str
) -> None:
    answer(monkeypatch)
    facts = routes.facts(machine(tree, text, links=(CALI, "eth0")))
    assert facts == {"blackholes": BLACKHOLES, "swallowed": [], "reason": None}


def test_results_that_may_not_be_read_leave_the_swallowed_unknown(monkeypatch: pytest.MonkeyPatch, tree: Path) -> None:
    def refuse(host: Host, path: str) -> list[str]:
        raise HostError(path, "cannot list: EACCES (Permission denied)", "EACCES")

    answer(monkeypatch)
    host = machine(tree)
    monkeypatch.setattr(Host, "names", refuse)
    facts = routes.facts(host)
    reason = f"the pods of this node cannot be read: {RESULTS}: cannot list: EACCES (Permission denied)"
    assert (facts["blackholes"], facts["swallowed"], facts["reason"]) == (BLACKHOLES, None, reason)


def test_a_node_without_blackholes_swallows_nothing_and_its_pods_are_not_read(
    monkeypatch: pytest.MonkeyPatch, tree: Path
) -> None:
    asked = answer(monkeypatch, {GETROUTE: route("0.0.0.0/0", kind=1) + route("10.9.0.0/16", protocol=3) + DONE})
    assert routes.facts(machine(tree)) == {"blackholes": [], "swallowed": [], "reason": None}
    assert len(asked) == 1


def test_a_tree_has_no_routes(tree: Path) -> None:
    reason = "without netlink the kernel does not tell its routes"
    assert routes.facts(machine(tree)) == {"blackholes": None, "swallowed": None, "reason": reason}
