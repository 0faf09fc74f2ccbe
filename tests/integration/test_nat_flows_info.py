# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""nat_flows_info on flows that are made for real: a pod, its node and the world outside, each a network namespace of its own.

The node sends the pod's packets on under its own address, and what goes to a virtual address to another one. The playbook cloud_nat plans for them.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.tests.fakes.compute_api import FakeCompute, nat

from .conftest import Module, Namespace, new_namespace, tool

WEB, VIRTUAL, SILENT = "203.0.113.10", "198.51.100.7", "203.0.113.77"
RULES = f"""
table ip nat {{
  chain to {{ type nat hook prerouting priority -100; ip daddr {VIRTUAL} tcp dport 80 dnat to {WEB}:8080; }}
  chain own {{ type nat hook output priority -100; ip daddr {VIRTUAL} tcp dport 80 dnat to {WEB}:8080; }}
  chain from {{ type nat hook postrouting priority 100; ip saddr 10.77.1.0/24 oifname "uplink" masquerade; }}
}}
"""
WORLD = f"""
import socket, threading
servers = [socket.create_server(("{WEB}", port), backlog=1000) for port in (8080, 443)]
inside = socket.create_server(("10.77.0.2", 443), backlog=100)
print("ready", flush=True)
while True:
    servers[1].accept()[0].close()
"""
POD = f"""
import socket, sys
held = [socket.create_connection(("{VIRTUAL}", 80), timeout=10) for _ in range(200)]
held += [socket.create_connection(("10.77.0.2", 443), timeout=10) for _ in range(5)]
for number in range(3):
    syn = socket.socket()
    syn.setblocking(False)
    syn.connect_ex(("{SILENT}", 443))
    held.append(syn)
datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagram.sendto(b"x", ("{WEB}", 53))
print("ready", flush=True)
sys.stdin.read()
"""
CHURN = f"""
import socket, time
print("ready", flush=True)
while True:
    time.sleep(0.005)
    with socket.create_connection(("{WEB}", 443), timeout=10) as connection:
        connection.recv(1)
"""
HOLD = f"""
import socket, sys
held = [socket.create_connection(("{WEB}", port), timeout=10) for port in [443, *[8080] * 8]]
held[0].recv(1)
print("ready", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def running(where: Namespace, script: str) -> Iterator[None]:
    """A program in a namespace, once it says that it is ready; it ends with the block."""
    command = ["ip", "netns", "exec", where.name, sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        try:
            assert program.stdout is not None
            assert program.stdout.readline() == "ready\n"
            yield
        finally:
            program.kill()


def wire(one: Namespace, link: str, address: str, other: Namespace, peer: str, peer_address: str) -> None:
    one.run("ip", "link", "add", link, "type", "veth", "peer", "name", peer, "netns", other.name)
    for where, name, ours in ((one, link, address), (other, peer, peer_address)):
        where.run("ip", "address", "add", f"{ours}/24", "dev", name)
        where.run("ip", "link", "set", name, "up")


@pytest.fixture
def world(namespace: Namespace) -> Iterator[Namespace]:
    """The world outside of the node ``namespace``, and its servers."""
    tool("nft")
    with new_namespace("w") as made:
        wire(namespace, "uplink", "10.77.0.1", made, "node", "10.77.0.2")
        made.run("ip", "address", "add", f"{WEB}/32", "dev", "lo")
        namespace.run("ip", "route", "add", "default", "via", "10.77.0.2")
        namespace.run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
        with running(made, WORLD):
            yield made


@pytest.fixture
def pod(namespace: Namespace, world: Namespace) -> Iterator[Namespace]:
    """A pod whose packets the node translates."""
    namespace.run("nft", RULES)
    with new_namespace("p") as made:
        wire(namespace, "cali", "10.77.1.1", made, "eth", "10.77.1.2")
        made.run("ip", "route", "add", "default", "via", "10.77.1.1")
        yield made


def measured(module: Module, node: Namespace, **options: Any) -> Any:
    found = module("nat_flows_info", {"window": 0, **options}, inside=node.inside)
    assert found["changed"] is False
    return found


@pytest.mark.parametrize(("probe", "method"), [("passive", "proc"), ("active", "ctnetlink")])
def test_a_pods_connections_are_counted_behind_dnat_and_snat(
    module: Module, namespace: Namespace, pod: Namespace, probe: str, method: str
) -> None:
    with running(pod, POD):
        found = measured(module, namespace, probe=probe)
        told = namespace.run(tool("conntrack"), "-L", "-p", "tcp", "--reply-src", WEB, "--reply-port-src", "8080")
    assert found["source"] == "netfilter"
    # A machine that has nf_conntrack_netlink loaded is asked by it in any case.
    assert found["method"] in (method, "ctnetlink")
    rows = {(row["protocol"], row["address"], row["port"]): row for row in found["destinations"]}
    assert {key: (row["concurrent"], row["unreplied"]) for key, row in rows.items()} == {
        ("tcp", WEB, 8080): (200, 0),
        ("tcp", SILENT, 443): (3, 3),
        ("udp", WEB, 53): (1, 0),
    }
    assert found["destinations"][0]["ports"] == len(told.splitlines()) == 200


def test_what_comes_and_goes_is_counted(module: Module, namespace: Namespace, pod: Namespace) -> None:
    with running(pod, CHURN):
        found = measured(module, namespace, window=2, interval=1, time_wait=120)
    assert found["looks"] >= 2
    row = found["destinations"][0]
    assert (row["address"], row["port"]) == (WEB, 443)
    assert row["new_per_second"] > 0
    assert row["time_wait"] > 0
    assert row["ports"] >= row["new_per_second"] * 120


def test_what_rules_leave_out_of_conntrack_is_no_zero(module: Module, namespace: Namespace, world: Namespace) -> None:
    # The rules of the pod have conntrack follow connections at all, and those of raw leave most of them out.
    namespace.run("nft", RULES)
    namespace.run(
        "nft", "table ip raw { chain own { type filter hook output priority -300; tcp dport 8080 notrack; }; }"
    )
    with running(namespace, HOLD):
        found = measured(module, namespace)
    assert (found["source"], found["destinations"]) == ("none", None)
    assert found["witnesses"] == {"held": 8, "missing": 8}


def test_a_network_that_nothing_follows_is_no_zero(module: Module, namespace: Namespace, world: Namespace) -> None:
    with running(namespace, HOLD):
        found = measured(module, namespace)
    assert (found["source"], found["destinations"]) == ("none", None)
    assert found["reason"].startswith("conntrack follows no connection at all")


def test_a_wrong_option_fails_before_anybody_waits(module: Module) -> None:
    found = module("nat_flows_info", {"window": 3600, "exclude": ["x\x1b[2J"]})
    assert found.failed
    assert found["msg"].startswith("nat_flows_info: exclude[0]: got ")


def test_the_playbook_plans_for_what_a_node_holds(tmp_path: Path, namespace: Namespace, pod: Namespace) -> None:
    inventory = ""
    for name, where in (("node", namespace), ("blind", pod)):
        python = tmp_path / f"{name}-python"
        python.write_text(f'#!/bin/sh\nexec ip netns exec {where.name} {sys.executable} "$@"\n')
        python.chmod(0o755)
        inventory += f"{name} ansible_connection=local ansible_python_interpreter={python}\n"
    (tmp_path / "hosts").write_text(inventory)
    given = {"region": "europe-west3", "router": "a-router", "name": "a-nat", "window": 5, "nodes": 300}
    variables = json.dumps({f"cloud_nat_{key}": value for key, value in given.items()} | {"cloud_nat_headroom": 6})
    command = [
        str(Path(sys.executable).parent / "ansible-playbook"),
        "bulwark.node.cloud_nat",
        "-i",
        "hosts",
        "-e",
        variables,
    ]
    with FakeCompute() as compute, running(pod, POD):
        compute.add(nat())
        account = {"AUTH_KIND": "accesstoken", "ACCESS_TOKEN": "given-token", "API_ENDPOINT": compute.url}
        environment = {
            **os.environ,
            **{f"GCP_{key}": value for key, value in {"PROJECT": "a-project", **account}.items()},
        }
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=180, check=False
        )
        print(done.stdout, done.stderr)
        assert compute.calls("patch") == []
    assert done.returncode == 0
    told = json.JSONDecoder().raw_decode(done.stdout.partition('"cloud_nat_result": ')[2])[0]
    assert told["load"]["busiest"] == {"name": "node", "protocol": "tcp", "destination": f"{WEB}:8080", "ports": 200}
    assert [each["name"] for each in told["load"]["unmeasured"]] == ["blind"]
    assert (told["plan"]["need"], told["plan"]["min_ports_per_vm"], told["plan"]["addresses"]) == (1200, 2048, 10)
    assert [each["target"] for each in told["changes"]] == ["min_ports_per_vm"]
