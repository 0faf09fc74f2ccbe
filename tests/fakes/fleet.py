# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reports on fleets that nobody has: the facts of docs/schemas.md varied, and findings on them; the same each time."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.bulwark.node.plugins.plugin_utils import outcomes
from ansible_collections.bulwark.node.plugins.plugin_utils.findings import SEVERITIES, STATUSES
from ansible_collections.bulwark.node.tests.unit.test_schemas import example

__all__ = ["changed", "compared", "fleet", "host", "summed"]

_GIB = 1 << 30
# id, severity, title, reason where it fails, why, what to do, lines of a playbook.
_CONTROLS: tuple[tuple[str, str, str, str, str, str, str | None], ...] = (
    (
        "kubelet-memory-state",
        "critical",
        "The kubelet's memory manager starts with what the machine has",
        "node 0: the file says 67430772736 bytes of memory, the machine has 67430768640 bytes",
        "With the policy Static the kubelet refuses to start where its state file disagrees with the machine: the node is lost at its next restart.",
        "Drain the node, remove the state file and restart the kubelet.",
        "- name: Let the memory manager begin anew\n  ansible.builtin.file:\n    path: /var/lib/kubelet/memory_manager_state\n    state: absent\n",
    ),
    (
        "routes-swallowed",
        "critical",
        "No address of a pod lies in a blackhole route",
        "10.244.1.7 (default/web-0) lies in the blackhole 10.244.1.0/26",
        "Packets to such a pod vanish without an answer, and no event says so.",
        "Release the block in the network plugin's IPAM, then delete the route.",
        None,
    ),
    (
        "kubelet-swap-off",
        "high",
        "No swap is on that the kubelet forbids",
        "2.0 GiB of swap is on",
        "A kubelet with failSwapOn does not start again while swap is on: the node goes with the next reboot.",
        "Turn swap off, and take it out of /etc/fstab.",
        "- name: Turn swap off\n  ansible.builtin.command: swapoff --all\n"
        "- name: Keep it off\n  ansible.posix.mount:\n    path: none\n    src: /dev/vda3\n    fstype: swap\n    state: absent\n",
    ),
    (
        "hugepages-kubelet-restart",
        "high",
        "The hugepage pools are those that the kubelet saw when it started",
        "the hugepages module changed a pool after the kubelet started",
        "The kubelet reads the pools once. Pages taken away later are still promised to pods, which then die of SIGBUS.",
        "Drain the node and restart its kubelet.",
        "- bulwark.node.hugepages:\n    pools:\n      - {size: 1G, count: 8, node: 0}\n    persist: true\n",
    ),
    (
        "bridge-mtu-fits",
        "high",
        "Each port of a bridge has the bridge's MTU",
        "br0 has MTU 9000, and its port vnet0 1500",
        "A bridge drops what is too long for a port, with no message to the sender: connections hang with the first full packet.",
        "Set one MTU on the bridge and on its ports.",
        "- bulwark.node.bridge_mtu:\n    bridges:\n      - {name: br0, mtu: 9000, ports: true}\n",
    ),
    (
        "kvm-device-ready",
        "high",
        "KVM makes virtual machines",
        "EBUSY: another hypervisor holds the CPU's virtualization",
        "Guests fall back to emulation, twenty times slower, or do not start.",
        "Unload the other hypervisor, or enable virtualization in the firmware.",
        "- bulwark.node.kvm:\n    require: qemu\n",
    ),
    (
        "conntrack-room",
        "high",
        "The table of connections has room",
        "91 % of 262144 entries are taken",
        "A full table drops new connections of every pod on the node.",
        "Raise net.netfilter.nf_conntrack_max.",
        "- ansible.posix.sysctl:\n    name: net.netfilter.nf_conntrack_max\n    value: '524288'\n",
    ),
    (
        "image-fs-below-gc",
        "medium",
        "The image file system is below the threshold of garbage collection",
        "88 % is used, images are deleted from 85 %",
        "The kubelet deletes images while it is above, and evicts pods when there are none left to delete.",
        "Give the file system room, or lower the thresholds deliberately.",
        None,
    ),
    (
        "rlimit-nofile-runtime",
        "medium",
        "The container runtime may open as many files as the kernel allows one process",
        "containerd may open 1024 files",
        "Containers inherit the limit, and databases fail with 'too many open files'.",
        "Set LimitNOFILE of the runtime's unit.",
        "- bulwark.node.rlimit:\n    unit: containerd.service\n    limit: nofile\n    soft: 1048576\n    hard: 1048576\n",
    ),
    (
        "thp-direct-compaction",
        "medium",
        "Page faults do not wait for compaction to make transparent hugepages",
        "every page fault may stall in direct compaction: THP is on for all memory with defrag=always",
        "Latency of every process grows by the time that the kernel takes to find a free huge page.",
        "Set defrag to defer+madvise.",
        "- bulwark.node.transparent_hugepages:\n    defrag: defer+madvise\n",
    ),
    (
        "reboot-pending",
        "medium",
        "No reboot is pending",
        "6.1.0-31-amd64 is installed, 6.1.0-28-amd64 is running",
        "The installed fixes of the kernel are not those that run.",
        "Reboot the node when it is its turn.",
        None,
    ),
    (
        "kernel-args-next-boot",
        "medium",
        "The next boot has the arguments that are configured",
        "isolcpus=2-7 is configured, and not in the boot entry",
        "What was tuned is lost by a reboot that nobody connects with it.",
        "Write the boot loader's configuration.",
        "- bulwark.node.kernel_args:\n    args: [isolcpus=2-7]\n",
    ),
    (
        "hugepages-idle-memory",
        "low",
        "Less than a tenth of the memory lies idle in hugepage pools",
        "4.0 GiB (16 % of memory) is locked in hugepages that nobody uses or reserved: 4 of 1G",
        "That memory serves nothing else, not even the page cache.",
        "Shrink the pools with bulwark.node.hugepages.",
        None,
    ),
    (
        "inotify-instances",
        "low",
        "There are enough inotify instances",
        "128 instances for a user, 1024 are wanted",
        "Log collectors and the kubelet fail with 'too many open files', although files are few.",
        "Raise fs.inotify.max_user_instances.",
        "- ansible.posix.sysctl:\n    name: fs.inotify.max_user_instances\n    value: '8192'\n",
    ),
    (
        "fleet-kernel",
        "info",
        "All nodes of a pool run the same kernel",
        "6.1.0-31-amd64, while most of the pool run 6.1.0-28-amd64",
        "A fault that one node alone has is hard to find.",
        "Bring the pool to one kernel.",
        None,
    ),
)
_MORE = [
    "cgroup-driver",
    "cgroup-v2",
    "cgroup-delegation",
    "pids-room",
    "oom-kills-pods",
    "psi-on",
    "runtime-cgroup-driver",
    "runtime-socket",
    "runtime-hugetlb",
    "kubelet-config-current",
    "kubelet-reserved",
    "kubelet-eviction",
    "kubelet-pod-pids",
    "kubelet-max-pods",
    "cpu-manager-state",
    "memory-available",
    "time-synchronized",
    "time-offset",
    "ip-forward",
    "bridge-netfilter",
    "rp-filter",
    "neighbour-table",
    "port-range",
    "conntrack-insert",
    "aio-max",
    "max-map-count",
    "panic-on-oops",
    "panic-reboots",
    "overcommit",
    "rt-runtime",
    "user-namespaces",
    "keyring-room",
    "nr-open",
    "file-max",
    "threads-max",
    "kvm-nested",
    "kvm-vhost-net",
    "iommu-groups",
    "sriov-functions-made",
    "fleet-microcode",
    "fleet-cpu-model",
    "fleet-cgroup-driver",
    "hugepages-boot-args",
    "hugepages-cgroup-ready",
    "link-manager",
]
_POOLS = (("web", 2), ("db", 3), ("batch", 4), ("kvm", 6), ("control", 1))


def fleet(number: int, seed: int = 7) -> dict[str, Any]:
    """A report of an audit of so many hosts, as report.json has it."""
    chance = random.Random(seed)
    hosts = {}
    for index in range(number):
        pool, worse = _POOLS[index % len(_POOLS)]
        hosts[f"{pool}-{index // len(_POOLS) + 1:02}.dc{1 + index % 2}.example"] = host(index, pool, worse, chance)
    return {
        "schema": 1,
        "generated": "2026-11-21T02:05:00Z",
        "compared": None,
        "hosts": hosts,
        "summary": summed(hosts),
    }


def host(index: int, pool: str, worse: int, chance: random.Random) -> dict[str, Any]:
    """A host of a report; of 40 one is unreachable and one failed, and one of 9 lacks a subset."""
    row = {"groups": ["all", pool, f"dc{1 + index % 2}"], "pool": pool, "facts": None, "findings": []}
    if index % 40 == 17:
        return {**row, "status": "unreachable", "reason": "Failed to connect to the host via ssh: Connection refused"}
    if index % 40 == 33:
        return {**row, "status": "failed", "reason": "The module failed (/bin/sh: 1: python3: not found)"}
    facts = _facts(index, chance)
    return {**row, "status": "ok", "reason": None, "facts": facts, "findings": list(_findings(facts, worse, chance))}


def _facts(index: int, chance: random.Random) -> dict[str, Any]:
    facts: dict[str, Any] = copy.deepcopy(example("facts"))
    facts["errors"] = []
    facts["host"]["uptime_s"] = chance.randrange(3600, 90 * 86400)
    _numa(facts, chance.choice((1, 2, 2, 4)), chance)
    _memory(facts, chance)
    facts["image_fs"][0]["gc_percent"] = chance.randrange(20, 95)
    if index % 3 == 0:
        _mismatch(facts)
    else:
        facts["bridges"][0]["ports"] = [_port(f"vnet{i}", 9000) for i in range(3)]
        reason = "its MTU is that of its ports: whether it follows them, the kernel does not tell"
        facts["bridges"][0].update(mismatched=[], effective_mtu=9000, pinned=None, pinned_reason=reason)
    if index % 4 == 1:
        detail = "EBUSY (Device or resource busy): another hypervisor holds the CPU's virtualization"
        facts["kvm"].update(verdict="unavailable", proven=["open", "api"], reasons=[{"source": "vm", "detail": detail}])
    elif index % 4 == 2:
        detail = "no virtual machine was made: set probe to active"
        facts["kvm"].update(verdict="unproven", proven=["open", "api"], reasons=[{"source": "vm", "detail": detail}])
    if index % 9 == 5:
        facts["bridges"] = None
        facts["errors"] = [{"subset": "bridges", "reason": "netlink: no answer: EPERM (Operation not permitted)"}]
    _processes(facts, chance)
    return facts


def _numa(facts: dict[str, Any], nodes: int, chance: random.Random) -> None:
    """Pools of 1G and 2M pages over so many nodes, and a network card with virtual functions on each."""
    pools: list[dict[str, Any]] = []
    for name, page, most in (("1G", _GIB, 8), ("2M", 2 << 20, 2048)):
        rows = []
        for number in range(nodes):
            total = chance.randrange(0, most + 1)
            rows.append({"node": number, "total": total, "free": chance.randrange(0, total + 1), "surplus": 0})
        sums = {key: sum(row[key] for row in rows) for key in ("total", "free", "surplus")}
        reserved = chance.randrange(0, sums["free"] + 1) // 2
        more = {"reserved": reserved, "overcommit": 0, "unclaimed": sums["free"] - reserved, "nodes": rows}
        pools.append({"size": name, "size_bytes": page, **sums, **more})
    asked = pools[0]["total"]
    facts["hugepages"].update(pools=pools, pool_bytes=sum(pool["total"] * pool["size_bytes"] for pool in pools))
    facts["hugepages"]["boot_args"] = [{"size": "1G", "size_bytes": _GIB, "count": asked, "nodes": None}]
    running = [
        f"hugepages={asked}" if token.startswith("hugepages=") else token for token in facts["kernel_args"]["next_boot"]
    ]
    facts["kernel_args"]["running"] = ["BOOT_IMAGE=/boot/vmlinuz-6.1.0-28-amd64", *running]
    if chance.random() < 0.4:
        facts["kernel_args"]["configured"].append("isolcpus=2-7")
    else:
        facts["kernel_args"]["next_boot"] = [*running]
        facts["kernel_args"]["configured"] = ["quiet", "hugepagesz=1G", f"hugepages={asked}"]
    card = facts["pci"]["devices"][0]
    addresses = [f"0000:{0x3B + 0x20 * number:02x}:00.0" for number in range(nodes)]
    facts["pci"]["devices"] = [{**card, "address": each, "numa_node": i} for i, each in enumerate(addresses)]
    facts["pci"]["sriov"] = [
        {"address": each, "totalvfs": 64, "numvfs": chance.choice((0, 8, 16, 64)), "vfs": []} for each in addresses
    ]


def _memory(facts: dict[str, Any], chance: random.Random) -> None:
    """Memory that adds up: what is used, and the pools, which free counts as used."""
    pool = facts["hugepages"]["pool_bytes"]
    total = pool + chance.choice((32, 64, 128)) * _GIB
    working = chance.randrange(2 * _GIB, (total - pool) * 7 // 10)
    cache = chance.randrange(_GIB, (total - pool - working) // 2)
    available = total - pool - working
    memory = facts["memory"]
    memory["free"]["mem"].update(
        total=total, used=total - available, free=available - cache, buff_cache=cache, available=available
    )
    memory["kubelet"].update(
        working_set_bytes=working, available_bytes=total - working, available_corrected_bytes=total - working - pool
    )
    facts["hugepages"]["memory_total_bytes"] = total


def _port(name: str, mtu: int) -> dict[str, Any]:
    return {"name": name, "mtu": mtu, "kind": "tun", "dynamic": True}


def _mismatch(facts: dict[str, Any]) -> None:
    bridge = facts["bridges"][0]
    bridge["ports"] = [_port("bond0.100", 9000), _port("vnet0", 1500), _port("vnet1", 9000), _port("vnet2", 1500)]
    bridge.update(mismatched=["vnet0", "vnet2"], effective_mtu=1500)


def _processes(facts: dict[str, Any], chance: random.Random) -> None:
    process = facts["rlimits"]["processes"][0]
    process["limits"]["nofile"]["soft"] = chance.choice((1024, 65536, 1048576))
    kubelet = copy.deepcopy(process)
    kubelet.update(name="kubelet", pid=901, unit="kubelet.service", differs=[])
    kubelet["limits"]["nofile"] = {"soft": 1000000, "hard": chance.choice((1000000, 1073741816)), "source": "unit"}
    facts["rlimits"]["processes"].append(kubelet)


def _findings(facts: Mapping[str, Any], worse: int, chance: random.Random) -> Iterable[dict[str, Any]]:
    for name, severity, title, reason, why, remedy, playbook in _CONTROLS:
        drawn = chance.random() * 100
        fails = worse * {"critical": 0.7, "high": 3, "medium": 4, "low": 5, "info": 2}[severity]
        status = "fail" if drawn < fails else "waived" if drawn > 98.5 else "unknown" if drawn > 96.5 else "pass"
        yield _finding(name, severity, title, status, reason, (why, remedy, playbook), facts)
    for position, name in enumerate(_MORE):
        status = "not_applicable" if (position + worse) % 7 == 0 else "pass"
        title = f"{name.replace('-', ' ').capitalize()} is as it should be"
        yield _finding(
            name, SEVERITIES[1 + position % 4], title, status, "for nodes with a kubelet", ("", "", None), facts
        )


def _finding(
    name: str,
    severity: str,
    title: str,
    status: str,
    reason: str,
    texts: tuple[str, str, str | None],
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    told = status in ("fail", "waived")
    why, remedy, playbook = texts if told else (None, None, None)
    unknown = "the fact was not gathered: EACCES (Permission denied)"
    return {
        "control": name,
        "title": title,
        "severity": severity,
        "status": status,
        "evidence": {
            "kernel": facts["host"]["kernel_release"],
            "available_bytes": facts["memory"]["kubelet"]["available_bytes"],
            "pools": [{key: pool[key] for key in ("size", "total", "free")} for pool in facts["hugepages"]["pools"]],
        },
        "reason": None if status == "pass" else unknown if status == "unknown" else reason,
        "why": why,
        "remedy": remedy,
        "playbook": playbook,
        "references": [
            "https://github.com/kubernetes/kubernetes/issues/99483",
            "https://docs.kernel.org/admin-guide/mm/hugetlbpage.html",
        ],
        "source": "bulwark.node/kubernetes_node",
        "waiver": {"reason": "the machine is replaced in spring", "expires": "2027-03-31"}
        if status == "waived"
        else None,
    }


def summed(hosts: Mapping[str, Any]) -> dict[str, Any]:
    """The summary of these hosts."""
    findings = [finding for row in hosts.values() for finding in row["findings"]]
    return {
        "hosts": len(hosts),
        **{status: sum(row["status"] == status for row in hosts.values()) for status in ("unreachable", "failed")},
        "findings": {
            "by_status": {status: sum(each["status"] == status for each in findings) for status in STATUSES},
            "fail_by_severity": {
                severity: sum(each["status"] == "fail" and each["severity"] == severity for each in findings)
                for severity in SEVERITIES
            },
        },
    }


def compared(report: Mapping[str, Any]) -> dict[str, Any]:
    """The report with what changed since an older one: what its first hosts fail is new, what they pass was fixed."""
    worse, fixed = [], []
    for name, row in list(report["hosts"].items())[:6]:
        for finding in row["findings"][:4]:
            entry = {"host": name, **{key: finding[key] for key in ("control", "severity", "reason")}}
            if finding["status"] == "fail":
                worse.append({**entry, "before": "pass", "after": "fail"})
            elif finding["status"] == "pass":
                fixed.append({**entry, "before": "fail", "after": "pass"})
    made = {"with": "2026-11-14T02:05:00Z", "path": "last-week/report.json", "worse": worse, "fixed": fixed[:5]}
    return {**report, "compared": made}


def changed(report: Mapping[str, Any]) -> dict[str, Any]:
    """The report as that of a run that changes hosts: each with an outcome, each status once in a round."""
    hosts = {}
    for index, (name, row) in enumerate(report["hosts"].items()):
        outcome = copy.deepcopy(example("outcome"))
        outcome["status"] = outcomes.STATUSES[index % len(outcomes.STATUSES)]
        outcome["reboot_required"] = index % 3 == 0
        if outcome["status"] in ("unchanged", "not_begun"):
            empty = (
                "domains",
                "fixed",
                "worse",
                "unmet",
                "not_undone",
                "restart_required",
                "disruptive",
                "warnings",
                "remains",
            )
            outcome.update(reason=None, changed=False, **{key: [] for key in empty})
        hosts[name] = {**row, "outcome": outcome}
    found = [row["outcome"] for row in hosts.values()]
    sums = {
        "outcomes": {status: sum(each["status"] == status for each in found) for status in outcomes.STATUSES},
        "fixed": sum(len(each["fixed"]) for each in found),
        "worse": sum(len(each["worse"]) for each in found),
    }
    return {**report, "hosts": hosts, "summary": {**report["summary"], **sums}}
