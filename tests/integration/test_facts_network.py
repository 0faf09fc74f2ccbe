# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The subsets links, bridges, routes and conntrack, beside ip(8), sysfs, conntrack(8) and networkctl(1).

Links, bridges and routes are made in a network namespace that is thrown away.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.tests.hosts.machine import Machine, until

from .conftest import IPV6, Module, Namespace, facts_over_ssh, tool

CALI = "cali0ef24b1a2c9"
# What the kernel takes for a name: all but "/", ":" and white space.
HOSTILE = (b'a"b', b"x\x1b[31m", b"$(id)", b"`id`;", b"{{7*7}}", b"\xff\xfe", b"[x],", b"--help", "\u202eevil".encode())
COUNTERS = """
import json
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import conntrack
from ansible_collections.bulwark.node.plugins.module_utils.node.request import Request
print(json.dumps([conntrack._from_proc(Host()), conntrack._from_netlink(Host(), Request(active=True))]))
"""


def gathered(module: Module, subset: str, inside: str = "", probe: str = "passive") -> Any:
    options = {"gather_subset": [subset], "probe": probe}
    facts = module("node_facts", options, inside=inside)["ansible_facts"]["bulwark"]
    assert facts["errors"] == []
    return facts[subset]


def shown(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def as_ip_says(rows: list[dict[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """Kind, MTU, bounds and master by name, of ``ip -d -j link``."""
    return {
        shown(row["ifname"]): (
            row.get("linkinfo", {}).get("info_kind"),
            row["mtu"],
            row["min_mtu"],
            # 0 is no bound, which is null here.
            row["max_mtu"] or None,
            shown(row["master"]) if "master" in row else None,
        )
        for row in rows
    }


def as_we_say(links: list[dict[str, Any]]) -> dict[str, tuple[Any, ...]]:
    keys = ("kind", "mtu", "min_mtu", "max_mtu", "master")
    return {link["name"]: tuple(link[key] for key in keys) for link in links}


def lowers(namespace: Namespace, name: str) -> set[str]:
    """What a link stands on by sysfs, without its ports."""
    lines = namespace.run("sh", "-c", f"ls -d /sys/class/net/{name}/lower_* /sys/class/net/{name}/brif/*", check=False)
    found = {line.rsplit("/", 1)[1] for line in lines.split()}
    return {entry[6:] for entry in found if entry.startswith("lower_") and entry[6:] not in found}


def test_the_links_of_this_machine_are_those_of_ip_and_sysfs(module: Module) -> None:
    rows = json.loads(subprocess.run([tool("ip"), "-d", "-j", "link"], capture_output=True, check=True).stdout)
    links = gathered(module, "links")
    assert as_we_say(links) == as_ip_says(rows)
    for link in links:
        driver = Path("/sys/class/net", link["name"], "device/driver")
        assert link["driver"] == (driver.resolve().name if driver.exists() else None)


def test_links_of_many_kinds_and_hostile_names_are_those_of_ip(module: Module, namespace: Namespace) -> None:
    ip = ("ip", "link", "add")
    namespace.run(*ip, "br0", "type", "bridge")
    namespace.run(*ip, "veth0", "type", "veth", "peer", "name", "veth1")
    namespace.run("ip", "link", "set", "veth0", "master", "br0", "mtu", "9000")
    namespace.run(*ip, "vxlan5", "type", "vxlan", "id", "5", "dev", "br0", "dstport", "4789")
    namespace.run("ip", "tuntap", "add", "tap0", "mode", "tap")
    namespace.run("ip", "link", "set", "tap0", "mtu", "1400", "master", "br0")
    for name in HOSTILE:
        # No dummy and no ifb: their modules come with links of the machine's own, which would stay.
        namespace.run(*ip, "name", name, "type", "bridge")
    links = gathered(module, "links", namespace.inside)
    assert as_we_say(links) == as_ip_says(namespace.json("ip", "-d", "-j", "link"))
    assert {name.decode("utf-8", "backslashreplace") for name in HOSTILE} <= {link["name"] for link in links}
    for link in links:
        if link["name"] in ("br0", "veth0", "veth1", "vxlan5", "tap0"):
            assert {link["lower"]} - {None} == lowers(namespace, link["name"])
    # The state of managers is by the numbers of another namespace's links, where it may be seen.
    assert {link["manager"] for link in links} == {None}


def test_a_vlan_stands_on_its_link(module: Module, namespace: Namespace) -> None:
    namespace.run("ip", "link", "add", "br0", "type", "bridge")
    namespace.run("ip", "link", "add", "link", "br0", "name", "br0.5", "type", "vlan", "id", "5", check=False)
    if not any(row["ifname"] == "br0.5" for row in namespace.json("ip", "-j", "link")):
        pytest.skip("hardware: this kernel is built without VLANs")
    links = {link["name"]: link for link in gathered(module, "links", namespace.inside)}
    assert (links["br0.5"]["kind"], links["br0.5"]["lower"]) == ("vlan", "br0")
    (bridge,) = gathered(module, "bridges", namespace.inside)
    assert bridge["uppers"] == [{"name": "br0.5", "mtu": 1500, "kind": "vlan"}]


def test_a_bridge_is_pinned_by_hand_and_that_is_seen_while_it_differs(module: Module, namespace: Namespace) -> None:
    def bridge() -> dict[str, Any]:
        (found,) = gathered(module, "bridges", namespace.inside)
        row, ports = namespace.json("ip", "-d", "-j", "link", "show", "br0")[0], namespace.json("ip", "-j", "link")
        theirs = {port["ifname"]: port["mtu"] for port in ports if port.get("master") == "br0"}
        assert {port["name"]: port["mtu"] for port in found["ports"]} == theirs
        assert found["mtu"] == row["mtu"]
        assert found["effective_mtu"] == min(theirs.values(), default=None)
        assert found["mismatched"] == [name for name, mtu in theirs.items() if mtu != row["mtu"]]
        data = row["linkinfo"]["info_data"]
        assert (found["stp"], found["vlan_filtering"]) == (bool(data["stp_state"]), bool(data["vlan_filtering"]))
        verdict: dict[str, Any] = found
        return verdict

    def mtu(name: str, value: int) -> None:
        namespace.run("ip", "link", "set", name, "mtu", str(value))

    namespace.run("ip", "link", "add", "br0", "type", "bridge", "stp_state", "1")
    assert (bridge()["pinned"], bridge()["ports"]) == (None, [])
    namespace.run("ip", "link", "add", "eth7", "type", "veth", "peer", "name", "far")
    mtu("eth7", 1400)
    namespace.run("ip", "link", "set", "eth7", "master", "br0")
    # Not pinned, the kernel makes it follow: no difference, and no proof.
    assert (bridge()["mtu"], bridge()["pinned"]) == (1400, None)
    mtu("eth7", 1300)
    assert (bridge()["mtu"], bridge()["pinned"]) == (1300, None)
    mtu("br0", 1301)
    assert bridge()["pinned"] is True
    mtu("br0", 1300)
    # It still is, but the kernel tells nobody.
    assert bridge()["pinned"] is None
    mtu("eth7", 1500)
    found = bridge()
    assert (found["mtu"], found["pinned"], found["effective_mtu"], found["mismatched"]) == (1300, True, 1500, ["eth7"])
    assert found["ports"] == [{"name": "eth7", "mtu": 1500, "kind": "veth", "dynamic": False}]
    namespace.run("ip", "link", "add", "vxlan5", "type", "vxlan", "id", "5", "dev", "br0", "dstport", "4789")
    uppers = namespace.run("sh", "-c", "ls -d /sys/class/net/br0/upper_*").split()
    assert [f"/sys/class/net/br0/upper_{upper['name']}" for upper in bridge()["uppers"]] == uppers


def test_a_port_that_leads_into_a_pod_is_dynamic(module: Module, namespace: Namespace) -> None:
    namespace.run("ip", "link", "add", "br0", "type", "bridge")
    namespace.run("ip", "link", "add", "p0", "type", "veth", "peer", "name", "p1")
    namespace.run("ip", "link", "set", "p0", "master", "br0")
    (bridge,) = gathered(module, "bridges", namespace.inside)
    assert [port["dynamic"] for port in bridge["ports"]] == [False]
    pod = f"{namespace.name}pod"
    subprocess.run(["ip", "netns", "add", pod], check=True)
    try:
        namespace.run("ip", "link", "set", "p1", "netns", pod)
        (bridge,) = gathered(module, "bridges", namespace.inside)
        assert [port["dynamic"] for port in bridge["ports"]] == [True]
    finally:
        subprocess.run(["ip", "netns", "del", pod], check=True)


def with_results(namespace: Namespace, folder: Path) -> str:
    """For ``module``: in the namespace, with these CNI results in the place of the machine's."""
    return (
        f"mount -t tmpfs tmpfs /var/lib\nmkdir -p /var/lib/cni\ncp -r {folder} /var/lib/cni/results\n{namespace.inside}"
    )


def test_blackholes_and_the_pods_that_they_swallow_are_those_of_ip(
    module: Module, namespace: Namespace, tmp_path: Path
) -> None:
    namespace.run("ip", "link", "add", CALI, "type", "veth", "peer", "name", "pod")
    for name in (CALI, "pod"):
        namespace.run("ip", "link", "set", name, "up")
    for route in (
        "blackhole 10.244.1.0/26 proto 80",
        "blackhole 10.244.2.0/26 proto bird",
        "blackhole 10.244.9.0/26",
        "blackhole 10.9.0.0/26 proto 80 table 100",
        f"10.244.1.5 dev {CALI}",
        f"10.244.1.6 dev {CALI} table 100",
    ):
        namespace.run("ip", "route", "add", *route.split())
    addresses, families = ["10.244.1.5", "10.244.1.6", "10.244.2.7"], ["-4"]
    if IPV6:
        for route in ("blackhole fd00:1::/122 proto 80", f"fd00:1::5 dev {CALI}"):
            namespace.run("ip", "-6", "route", "add", *route.split())
        addresses += ["fd00:1::5", "fd00:1::6"]
        families.append("-6")
    results = tmp_path / "results"
    results.mkdir()
    for address in addresses:
        kept = {
            "kind": "cniCacheV1",
            "cniArgs": [["K8S_POD_NAMESPACE", "default"], ["K8S_POD_NAME", f"pod-{address}"]],
            "result": {
                "interfaces": [{"name": CALI}],
                "ips": [{"address": f"{address}/32" if "." in address else address}],
            },
        }
        (results / f"k8s-pod-network-{address}-eth0").write_text(json.dumps(kept))

    facts = gathered(module, "routes", with_results(namespace, results))
    assert facts["reason"] is None
    rows = [
        row
        for family in families
        for row in namespace.json("ip", "-N", "-d", "-j", family, "route", "show", "type", "blackhole")
    ]
    theirs = [(row["dst"], int(row["protocol"])) for row in rows if row["protocol"] in ("12", "80")]
    assert [(row["destination"], row["protocol"]) for row in facts["blackholes"]] == theirs
    assert len(theirs) == 1 + len(families)

    def reached(address: str) -> bool:
        answer = namespace.run("ip", "-j", "route", "get", address, check=False)
        return bool(answer.strip()) and json.loads(answer)[0].get("dev") == CALI

    assert {row["address"] for row in facts["swallowed"]} == {each for each in addresses if not reached(each)}
    assert {
        "address": "10.244.1.6",
        "interface": CALI,
        "pod": "default/pod-10.244.1.6",
        "blackhole": "10.244.1.0/26",
    } in facts["swallowed"]


def test_routes_without_calico_are_nobodys_blackholes(module: Module, namespace: Namespace) -> None:
    namespace.run("ip", "route", "add", "blackhole", "10.9.0.0/16")
    facts = gathered(module, "routes", namespace.inside)
    assert facts == {"blackholes": [], "swallowed": [], "reason": None}


def theirs(namespace: Namespace) -> dict[str, int]:
    """The sums of the columns of ``conntrack -S``."""
    rows = [dict(word.split("=") for word in line.split()) for line in namespace.run("conntrack", "-S").splitlines()]
    return {name: sum(int(row[name]) for row in rows) for name in ("insert_failed", "drop", "early_drop")}


@pytest.fixture
def limit(namespace: Namespace) -> Iterator[Path]:
    """The limit of all namespaces, which is put back. New connections are dropped while it is low."""
    tool("conntrack")
    tool("iptables")
    # It is there once the kernel tracks connections at all.
    namespace.run("iptables", "-A", "OUTPUT", "-m", "conntrack", "--ctstate", "NEW", "-j", "ACCEPT")
    path = Path("/proc/sys/net/netfilter/nf_conntrack_max")
    if not path.exists():
        pytest.skip("hardware: this kernel tracks no connections")
    before = path.read_text()
    yield path
    path.write_text(before)


def test_conntrack_loses_what_the_tool_says_it_lost(module: Module, namespace: Namespace, limit: Path) -> None:
    send = (
        "import socket\ns = socket.socket(type=socket.SOCK_DGRAM)\n"
        "for port in range(2000, 2100):\n"
        "  try: s.sendto(b'x', ('127.0.0.1', port))\n"
        "  except OSError: pass\n"
    )
    before = limit.read_text()
    limit.write_text("20")
    try:
        namespace.run(sys.executable, "-c", send)
    finally:
        limit.write_text(before)
    # The tool makes the kernel load nf_conntrack_netlink, without which a kernel may tell nothing.
    counters = theirs(namespace)
    facts = gathered(module, "conntrack", namespace.inside)
    assert counters["drop"] > 0
    assert {name: facts[name] for name in counters} == counters
    assert facts["reason"] is None
    assert facts["max"] == int(namespace.run("sysctl", "-n", "net.netfilter.nf_conntrack_max"))
    # Entries end meanwhile.
    assert facts["count"] >= int(namespace.run("conntrack", "-C")) > 0
    assert facts["fullness"] == pytest.approx(facts["count"] / facts["max"], abs=0.0001)
    # By netlink, and by the file in /proc where the kernel has it.
    by_file = counters if Path("/proc/net/stat/nf_conntrack").exists() else None
    assert json.loads(namespace.run(sys.executable, "-c", COUNTERS)) == [by_file, counters]


def test_links_of_networkd_have_it_as_manager(machines: dict[str, Machine]) -> None:
    def told(machine: Machine) -> dict[str, str | None]:
        rows = map(str.split, machine.run("networkctl", "--no-legend", "--no-pager", "list").stdout.splitlines())
        return {row[1]: "systemd-networkd" if row[4] == "configured" else None for row in rows}

    def is_configured(machine: Machine) -> bool:
        return "systemd-networkd" in told(machine).values()

    for machine in machines.values():
        # A moment after the boot it is still at it.
        assert until(functools.partial(is_configured, machine), timeout=20)
        expected = told(machine)
        assert {link["name"]: link["manager"] for link in facts_over_ssh(machine, "links")} == expected
