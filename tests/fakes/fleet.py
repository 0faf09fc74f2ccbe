# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reports on fleets that nobody has: the facts of docs/schemas.md varied, and findings on them; the same each time."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.bulwark.node.plugins.plugin_utils import outcomes
from ansible_collections.bulwark.node.plugins.plugin_utils.baseline import AUTO, Control, load
from ansible_collections.bulwark.node.plugins.plugin_utils.findings import SEVERITIES, STATUSES
from ansible_collections.bulwark.node.tests.unit.test_schemas import example

__all__ = ["changed", "compared", "fleet", "gateways", "host", "summed"]

_GIB = 1 << 30
# What may fail here, and the reason. What these controls are and what to do about them, the baselines say.
_FAULTS = {
    "kubelet-running": "systemd is to start a kubelet at boot, and none runs; known to stop one: unknown",
    "kvm-available": "EBUSY (Device or resource busy): another hypervisor holds the CPU's virtualization",
    "kubelet-state-starts": "the next start of the kubelet fails on /var/lib/kubelet/memory_manager_state: node 0 has another size",
    "kubelet-swap-off": "2.0 GiB of swap is on (/dev/vda3), and failSwapOn is true (set by default)",
    "hugepages-kubelet-restart": "the hugepages module changed a pool after the kubelet started",
    "bridge-mtu-drops": "MTU: br0 9000 (vnet0 1500)",
    "conntrack-headroom": "241172 of 262144 entries are in use, a part of 0.92; expected at most 0.8",
    "runtime-nofile-enough": "open files of a container: containerd 1024, expected at least 65536",
    "thp-direct-compaction": "every page fault may stall in direct compaction: transparent hugepages are on for all memory with defrag=always",
    "reboot-not-pending": "pending for 41 days, expected at most 30: 6.1.0-31-amd64 is installed, 6.1.0-28-amd64 is running",
    "kernel-args-made": "isolcpus=2-7 is configured, and the entry that is booted next is without it",
    "inotify-limits": "128 instances, expected at least 1024",
    "fleet-kernel": "6.1.0-31-amd64, while most of the pool run 6.1.0-28-amd64",
    "hugepages-idle-memory": "4.0 GiB (16 % of memory) is locked in hugepages that nobody uses or reserved: 4 of 1G",
    "bridge-mtu-pinned": "not known to be pinned: br0",
    "kernel-cfs-throttling": "4.19.0-26-amd64 is older than 5.4, and may throttle containers below their limit",
}
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
        "cloud_nat": [],
        "hosts": hosts,
        "summary": summed(hosts),
    }


def gateways() -> list[dict[str, Any]]:
    """Gateways of each verdict, as the role cloud_nat leaves them."""
    short = example("cloud_nat")
    enough, unknown = copy.deepcopy(short), copy.deepcopy(short)
    enough["gateway"]["name"] = "another-nat"
    enough["load"]["dropped_packets"] = 7
    now = {"ports_per_vm": 4096, "addresses": None, "verdict": "enough", "load_factor": 1.32}
    enough["plan"]["now"] = {**now, "breaks_at": {"concurrent": 1697, "new_per_second": 28.3, "nodes": None}}
    unmeasured = [{"name": "web-01", "reason": "nf_conntrack is not loaded: nothing here follows connections"}]
    unknown |= {"plan": None, "settings": {}, "changes": []}
    unknown["load"] |= {"concurrent": None, "new_per_second": None, "busiest": None, "unmeasured": unmeasured}
    disruptive = [{"target": "max_ports_per_vm", "reason": "changing it resets connections"}]
    tight = {**copy.deepcopy(enough), "applied": True, "disruptive": disruptive}
    tight["plan"]["now"]["verdict"] = "tight"
    return [short, enough, unknown, tight]


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
    args = facts["kernel_args"]
    if chance.random() < 0.4:
        args["configured"].append("isolcpus=2-7")
    else:
        args["next_boot"] = [*running]
        args["configured"] = ["quiet", "hugepagesz=1G", f"hugepages={asked}"]
    args["lost_at_boot"] = [token for token in running if token not in args["next_boot"]]
    args["new_at_boot"] = [token for token in args["next_boot"] if token not in running]
    args["not_made"] = [token for token in args["configured"] if token not in args["next_boot"]]
    after = {"1G": 8 if args["new_at_boot"] else asked, "2M": pools[1]["total"]}
    facts["hugepages"]["next_boot"] = [
        {"size": pool["size"], "size_bytes": pool["size_bytes"], "now": pool["total"], "total": after[pool["size"]]}
        for pool in pools
    ]
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
    """One for each control of our baselines."""
    controls = {each.id: each for baseline in load((AUTO,), "").known.values() for each in baseline.controls}
    assert set(_FAULTS) <= set(controls)
    for position, control in enumerate(controls.values()):
        status = "not_applicable" if (position + worse) % 7 == 0 else "pass"
        if control.id in _FAULTS:
            drawn = chance.random() * 100
            fails = worse * {"critical": 0.7, "high": 3, "medium": 4, "low": 5, "info": 2}[control.severity]
            status = "fail" if drawn < fails else "waived" if drawn > 98.5 else "unknown" if drawn > 96.5 else "pass"
        yield _finding(control, status, facts)


def _finding(control: Control, status: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    told = status in ("fail", "waived")
    reasons = {
        "pass": None,
        "unknown": "the fact was not gathered: EACCES (Permission denied)",
        "not_applicable": "for nodes with a kubelet",
    }
    return {
        "control": control.id,
        "title": control.title,
        "severity": control.severity,
        "status": status,
        "evidence": {
            "kernel": facts["host"]["kernel_release"],
            "available_bytes": facts["memory"]["kubelet"]["available_bytes"],
            "pools": [{key: pool[key] for key in ("size", "total", "free")} for pool in facts["hugepages"]["pools"]],
        },
        "reason": reasons.get(status, _FAULTS.get(control.id)),
        "why": control.why if told else None,
        "remedy": control.remedy if told else None,
        "playbook": control.playbook if told else None,
        "references": list(control.references),
        "source": control.source,
        "waiver": {"reason": "the machine is replaced in spring", "expires": "2027-03-31"}
        if status == "waived"
        else None,
        "pending": control.pending,
        "gauge": control.gauge,
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
        for finding in [each for each in row["findings"] if each["control"] in _FAULTS][:4]:
            entry = {"host": name, **{key: finding[key] for key in ("control", "severity", "reason")}}
            if finding["status"] == "fail":
                worse.append({**entry, "before": "pass", "after": "fail"})
            elif finding["status"] == "pass":
                fixed.append({**entry, "before": "fail", "after": "pass"})
    made = {"path": "last-week/report.json", "generated": "2026-11-14T02:05:00Z", "worse": worse, "fixed": fixed[:5]}
    made.update(new=list(report["hosts"])[:1], gone=["old-01.dc1.example"])
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
