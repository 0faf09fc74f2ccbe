# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judges the facts of one node (``ansible_facts.bulwark``, schema 1) and returns findings.

Pure: no file, no clock, no Ansible. A fact that is null gives ``unknown``, never ``pass``; a fact of another type
than the schema has gives ``error`` for the controls that need it and costs no other control.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

__all__ = ["CONTROLS", "SEVERITIES", "STATUSES", "Control", "Finding", "Severity", "Status", "Verdict", "judge"]

Severity = Literal["critical", "high", "medium", "low", "info"]
Status = Literal["fail", "error", "unknown", "waived", "not_applicable", "pass"]

# Both worst first: the order of every table and summary.
SEVERITIES: tuple[Severity, ...] = ("critical", "high", "medium", "low", "info")
STATUSES: tuple[Status, ...] = ("fail", "error", "unknown", "waived", "not_applicable", "pass")

_SOURCE = "bulwark.node"
# A pool sized for what runs leaves little over; a tenth of the machine is more than slack.
_IDLE_SHARE = 0.10
# What claims the pages (kubelet's pods, libvirt's guests) starts after the pool is filled.
_SETTLED_AFTER_S = 3600
_NODE = re.compile(r"[0-9]{1,6}", re.ASCII)

_EXPECTED: dict[type[Any], str] = {
    Mapping: "a dictionary",
    list: "a list",
    str: "a string",
    int: "a whole number from 0 to 2^64 - 1",
    bool: "true or false",
}

_HUGETLBPAGE = "https://docs.kernel.org/admin-guide/mm/hugetlbpage.html"
_TRANSHUGE = "https://docs.kernel.org/admin-guide/mm/transhuge.html"
_KERNEL_PARAMETERS = "https://docs.kernel.org/admin-guide/kernel-parameters.html"
_K8S_HUGEPAGES = "https://kubernetes.io/docs/tasks/manage-hugepages/scheduling-hugepages/"
_K8S_ISSUE = "https://github.com/kubernetes/kubernetes/issues/"

_DELEGATE_V2 = (
    "Before the kubelet starts again, write +hugetlb to cgroup.subtree_control of each cgroup from the root down to the"
    " parent of kubepods, and let a unit do so at each boot before the kubelet's: systemd passes hugetlb to no slice."
)
_COMPLETE_V1 = (
    "Before the kubelet starts again, make the missing kubepods folders in the hugetlb hierarchy; or, with no pod running,"
    " remove the kubepods folders of all controllers, and the kubelet makes them anew."
)
# Where the controller is missing as a whole, by the cgroup version: what is most likely comes first.
_UNLESS_DISABLED = "Where the kernel does not offer it, take cgroup_disable=hugetlb off its command line."
_ENABLE = {
    "v1": f"Mount the hugetlb controller beside the other v1 ones, and restart the kubelet. {_UNLESS_DISABLED}",
    "v2": "Boot without cgroup_disable=hugetlb on the kernel command line, and with a kernel that has CONFIG_CGROUP_HUGETLB.",
    "hybrid": "Boot with cgroup v2 alone (systemd.unified_cgroup_hierarchy=1); or mount the hugetlb controller beside the other v1"
    f" ones, and restart the kubelet. {_UNLESS_DISABLED}",
}


class Finding(TypedDict):
    """One control's verdict on one node, as report.json holds it. ``reason`` is null on pass, ``remedy`` on all but fail."""

    control: str
    title: str
    severity: Severity
    status: Status
    evidence: dict[str, Any]
    reason: str | None
    remedy: str | None
    references: list[str]
    source: str


@dataclass(frozen=True)
class Verdict:
    """What a control says of one node: ``evidence`` are the facts that it rests on, ``remedy`` is of fail alone."""

    status: Status
    reason: str | None = None
    evidence: dict[str, Any] = field(default_factory=dict)
    remedy: str | None = None


@dataclass(frozen=True)
class Control:
    """One rule. ``id`` is permanent: waivers and dashboards hold on to it. ``title`` says what is so on a good node."""

    id: str
    title: str
    severity: Severity
    references: tuple[str, ...]
    verdict: Callable[[Mapping[str, Any]], Verdict]


class _UnknownError(Exception):
    """A fact that the verdict needs is null or was not gathered; the message says which and why."""


class _MalformedError(Exception):
    """A fact has another type than the schema says; the message names it, what it is and what was expected."""


def judge(facts: Mapping[str, Any]) -> list[Finding]:
    """All findings on one node's facts, one per control, in the order of CONTROLS. Raises nothing on any facts."""
    return [_finding(control, facts) for control in CONTROLS]


def _finding(control: Control, facts: Mapping[str, Any]) -> Finding:
    try:
        verdict = control.verdict(facts)
    except _UnknownError as exc:
        verdict = Verdict("unknown", str(exc))
    except _MalformedError as exc:
        verdict = Verdict("error", str(exc))
    return {
        "control": control.id,
        "title": control.title,
        "severity": control.severity,
        "status": verdict.status,
        "evidence": verdict.evidence,
        "reason": verdict.reason,
        "remedy": verdict.remedy,
        "references": list(control.references),
        "source": _SOURCE,
    }


def _subset(facts: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A subset of the facts; _UnknownError where it failed (with the node's own reason) or was not gathered."""
    if name not in facts:
        raise _UnknownError(f"the facts subset {name} was not gathered")
    value = facts[name]
    if value is not None:
        subset: Mapping[str, Any] = _typed(value, Mapping, name)
        return subset
    errors = facts.get("errors")
    for error in errors if isinstance(errors, list) else ():
        if isinstance(error, Mapping) and error.get("subset") == name:
            raise _UnknownError(f"the facts subset {name} failed: {error.get('reason')}")
    raise _UnknownError(f"the facts subset {name} failed")


def _get(parent: Mapping[str, Any], key: str, kind: type[Any], where: str) -> Any:
    """``parent[key]``, which must be of ``kind``; _UnknownError on null or absent, with the reason beside it if there is one."""
    value = parent.get(key)
    if value is not None:
        return _typed(value, kind, f"{where}.{key}")
    reason = parent.get("reason")
    because = f": {reason}" if isinstance(reason, str) and reason else ""
    raise _UnknownError(f"{where}.{key} is not known{because}")


def _typed(value: Any, kind: type[Any], where: str) -> Any:
    """``value`` if it is of ``kind``, else _MalformedError. A number is one of the kernel's: 0 to 2^64 - 1."""
    # bool is an int in Python, and true pages are no number of pages.
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise _MalformedError(f"the fact {where} is of type {type(value).__name__}; expected {_EXPECTED[kind]}")
    if kind is int and not 0 <= value < 1 << 64:
        raise _MalformedError(f"the fact {where} is out of range; expected {_EXPECTED[kind]}")
    return value


def _rows(parent: Mapping[str, Any], key: str, where: str) -> list[tuple[str, Mapping[str, Any]]]:
    """The dictionaries in the list ``parent[key]``, each with its own address for messages."""
    rows = _get(parent, key, list, where)
    return [(f"{where}.{key}[{i}]", _typed(row, Mapping, f"{where}.{key}[{i}]")) for i, row in enumerate(rows)]


def _cgroup_ready(facts: Mapping[str, Any]) -> Verdict:
    """Whether the next kubelet start finds, for each page size of sysfs, the hugetlb file that it writes a limit to.

    The kubelet writes to every size the kernel offers, also those whose pool is empty, and does not start where it cannot.
    A kubelet that is stopped by this very fault does not run, so "no kubelet" alone is no excuse: a kubepods cgroup among
    what is missing shows that this is a Kubernetes node. Where the controller as a whole is missing, the kubelet starts
    without it and offers no hugepages (kubernetes#59158, #93012): a fault only where there are pages to offer.
    """
    hugepages = _subset(facts, "hugepages")
    pools = _rows(hugepages, "pools", "hugepages")
    if not pools:
        return Verdict("not_applicable", "the kernel offers no hugepage size")
    cgroup = _get(hugepages, "cgroup", Mapping, "hugepages")
    kubelet = _get(hugepages, "kubelet", Mapping, "hugepages")
    missing = [str(path) for path in _get(cgroup, "missing", list, "hugepages.cgroup")]
    ready, version, running = cgroup.get("ready"), cgroup.get("version"), kubelet.get("running")
    evidence = {"ready": ready, "version": version, "missing": missing, "kubelet_running": running}
    was_node = ready is False and any("kubepods" in path for path in missing)
    if not was_node and not _get(kubelet, "running", bool, "hugepages.kubelet"):
        return Verdict("not_applicable", "no kubelet runs on this host", evidence)
    if _get(cgroup, "ready", bool, "hugepages.cgroup"):
        return Verdict("pass", None, evidence)
    cause = str(cgroup.get("reason") or "the hugetlb cgroup is not ready")
    if missing:
        effect = "the next start of the kubelet fails" if running else "the kubelet does not run and cannot start"
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        remedy = _DELEGATE_V2 if version == "v2" else _COMPLETE_V1
        return Verdict("fail", f"{effect}: {cause} ({missing[0]}{more})", evidence, remedy)
    if not any(_get(pool, "total", int, where) for where, pool in pools):
        return Verdict("not_applicable", f"no pool has a page that pods could miss; {cause}", evidence)
    return Verdict(
        "fail",
        f"the kubelet starts without hugepages, though there are pages: {cause}",
        evidence,
        _ENABLE.get(str(version), _ENABLE["v1"]),
    )


def _kubelet_restart(facts: Mapping[str, Any]) -> Verdict:
    """Whether the pools are still those that the kubelet saw when it started.

    The kubelet reads the pools once. Pages taken away later are still promised to pods, which then die of SIGBUS; pages
    added later are not scheduled (kubernetes#99483).
    """
    hugepages = _subset(facts, "hugepages")
    if not _rows(hugepages, "pools", "hugepages"):
        return Verdict("not_applicable", "the kernel offers no hugepage size")
    kubelet = _get(hugepages, "kubelet", Mapping, "hugepages")
    if not _get(kubelet, "running", bool, "hugepages.kubelet"):
        return Verdict("not_applicable", "no kubelet runs on this host")
    evidence = {"restart_needed": kubelet.get("restart_needed")}
    if not _get(kubelet, "restart_needed", bool, "hugepages.kubelet"):
        return Verdict("pass", None, evidence)
    return Verdict(
        "fail",
        str(kubelet.get("reason") or "a hugepage pool changed after the kubelet started"),
        evidence,
        "Drain the node and restart its kubelet. Set pools with bulwark.node.hugepages and persist: true, which fills them before the"
        " kubelet starts at each boot; its restart_required names the kubelet whenever a change calls for a restart.",
    )


def _boot_args_met(facts: Mapping[str, Any]) -> Verdict:
    """Whether each pool has the pages that hugepages= on the kernel command line asked for, on each NUMA node it named.

    Pages from the boot are persistent, so surplus pages do not count.
    """
    hugepages = _subset(facts, "hugepages")
    asked = _asked_at_boot(hugepages)
    if not asked:
        return Verdict("not_applicable", "the kernel command line asks for no hugepages")
    pools = {_get(pool, "size_bytes", int, at): (at, pool) for at, pool in _rows(hugepages, "pools", "hugepages")}
    rows: list[dict[str, Any]] = []
    for ask in asked:
        at, pool = pools.get(ask.size_bytes, ("", None))
        found = 0 if pool is None else _persistent(pool, ask.node, at)
        rows.append({"size": ask.size, "node": ask.node, "asked": ask.pages, "found": found})
    short = [row for row in rows if row["found"] < row["asked"]]
    if not short:
        return Verdict("pass", None, {"boot_args": rows})
    reason = "; ".join(
        f"{row['size']}{'' if row['node'] is None else ' on node ' + str(row['node'])}: the kernel command line asks for"
        f" {row['asked']} pages, the pool has {row['found']}"
        for row in short
    )
    return Verdict(
        "fail",
        reason,
        {"boot_args": rows},
        "Ask bulwark.node.hugepages for these pages: it compacts memory, tries again and explains what is left short. Where"
        " the smaller pool is what you want, take the pages off the kernel command line, or the next boot asks again.",
    )


@dataclass(frozen=True, order=True)
class _Asked:
    """Pages that the command line asks for on one NUMA node, or on all together where ``node`` is None."""

    size_bytes: int
    size: str
    node: int | None
    pages: int


def _asked_at_boot(hugepages: Mapping[str, Any]) -> list[_Asked]:
    """What the command line asks for, zero pages left out, by size and node.

    As in the kernel, the first count given for a size is the one that counts (mm/hugetlb.c: "specified twice, ignoring").
    """
    asked: list[_Asked] = []
    seen: set[int] = set()
    for where, arg in _rows(hugepages, "boot_args", "hugepages"):
        count, nodes = arg.get("count"), arg.get("nodes")
        size_bytes: int = _get(arg, "size_bytes", int, where)
        if (count is None and nodes is None) or size_bytes in seen:
            continue
        seen.add(size_bytes)
        size: str = _get(arg, "size", str, where)
        if nodes is None:
            asked.append(_Asked(size_bytes, size, None, _typed(count, int, f"{where}.count")))
            continue
        for node, pages in _typed(nodes, Mapping, f"{where}.nodes").items():
            if not _NODE.fullmatch(str(node)):
                raise _MalformedError(
                    f"the fact {where}.nodes has the key {node!r}; expected the number of a NUMA node"
                )
            asked.append(_Asked(size_bytes, size, int(node), _typed(pages, int, f"{where}.nodes.{node}")))
    return sorted(ask for ask in asked if ask.pages > 0)


def _persistent(pool: Mapping[str, Any], node: int | None, where: str) -> int:
    """Pages of a pool, on one NUMA node or (None) on all, that stay when nobody uses them: total - surplus."""
    if node is not None:
        rows = {_get(row, "node", int, at): (at, row) for at, row in _rows(pool, "nodes", where)}
        # A kernel without NUMA lists no nodes, and all its memory is node 0's.
        if rows or node != 0:
            where, pool = rows.get(node, (where, {"total": 0, "surplus": 0}))
    total: int = _get(pool, "total", int, where)
    surplus: int = _get(pool, "surplus", int, where)
    return total - surplus


def _idle_memory(facts: Mapping[str, Any]) -> Verdict:
    """Whether less than a tenth of the memory is locked in pool pages that nobody uses and nobody reserved.

    That memory serves nothing else, not even the page cache. A snapshot: a pool kept for guests to come is idle too, which
    is why the control is of low severity, and why the hour after a boot is not judged.
    """
    hugepages = _subset(facts, "hugepages")
    pools = _rows(hugepages, "pools", "hugepages")
    if not any(_get(pool, "total", int, where) for where, pool in pools):
        return Verdict("not_applicable", "no pool has a page")
    idle_pools = [
        {
            "size": _get(pool, "size", str, where),
            "unclaimed": unclaimed,
            "bytes": unclaimed * _get(pool, "size_bytes", int, where),
        }
        for where, pool in pools
        if (unclaimed := _get(pool, "unclaimed", int, where)) > 0
    ]
    memory = _get(hugepages, "memory_total_bytes", int, "hugepages")
    idle = sum(row["bytes"] for row in idle_pools)
    evidence = {
        "idle_bytes": idle,
        "memory_total_bytes": memory,
        "threshold_percent": round(_IDLE_SHARE * 100),
        "pools": idle_pools,
    }
    if idle <= memory * _IDLE_SHARE:
        return Verdict("pass", None, evidence)
    host = facts.get("host")
    uptime = host.get("uptime_s") if isinstance(host, Mapping) else None
    if isinstance(uptime, (int, float)) and 0 <= uptime < _SETTLED_AFTER_S:
        return Verdict(
            "unknown", f"booted {int(uptime // 60)} minutes ago: what uses the pools may not have started", evidence
        )
    sizes = ", ".join(f"{row['unclaimed']} of {row['size']}" for row in idle_pools)
    share = f"{100 * idle / memory:.0f} % of memory" if memory > 0 else "more than all memory"
    return Verdict(
        "fail",
        f"{idle / 2**30:.1f} GiB ({share}) is locked in hugepages that nobody uses or reserved: {sizes}",
        evidence,
        "Shrink the pools with bulwark.node.hugepages, which never goes below the pages in use. Where they wait for pods or guests"
        " that are yet to come, leave them.",
    )


def _direct_compaction(facts: Mapping[str, Any]) -> Verdict:
    """Whether page faults of every process wait for compaction: THP for all memory (enabled=always) with defrag=always.

    A kernel with a setting per size (6.8 and later) uses the global one only for sizes that say inherit. Memory that a
    process marked by madvise() may wait: the process asked for it. Shared memory (shmem_enabled) is not judged.
    """
    thp = _subset(facts, "transparent_hugepages")
    enabled = _get(thp, "enabled", str, "transparent_hugepages")
    defrag = _get(thp, "defrag", str, "transparent_hugepages")
    always, unread = _sizes_always(thp, enabled)
    evidence = {"enabled": enabled, "defrag": defrag, "always_for": always}
    if defrag != "always" or (not always and not unread):
        return Verdict("pass", None, evidence)
    if not always:
        return Verdict("unknown", f"defrag is always, and enabled could not be read for {', '.join(unread)}", evidence)
    return Verdict(
        "fail",
        f"every page fault may stall in direct compaction: THP is on for all memory ({', '.join(always)}) with defrag=always",
        evidence,
        "Set defrag to defer+madvise or madvise with bulwark.node.transparent_hugepages: only memory that asks for hugepages then"
        " waits for one. Or set enabled to madvise.",
    )


def _sizes_always(thp: Mapping[str, Any], enabled: str) -> tuple[list[str], list[str]]:
    """The THP sizes that are always on, and those whose setting is null; without settings per size, ``all sizes`` stands for the one."""
    sizes = thp.get("sizes")
    if not sizes:
        return (["all sizes"] if enabled == "always" else [], [])
    always: list[str] = []
    unread: list[str] = []
    for where, row in _rows(thp, "sizes", "transparent_hugepages"):
        size = _get(row, "size", str, where)
        own = row.get("enabled")
        if own is None:
            # The smallest size is for shared memory alone; a size with neither setting was not read.
            if row.get("shmem_enabled") is None:
                unread.append(size)
        elif own == "always" or (own == "inherit" and enabled == "always"):
            always.append(size)
    return always, unread


CONTROLS: tuple[Control, ...] = (
    Control(
        "hugepages-cgroup-ready",
        "The hugetlb cgroup is ready for the next start of the kubelet",
        "high",
        (_K8S_ISSUE + "84854", _K8S_ISSUE + "92933", "https://github.com/systemd/systemd/issues/14662"),
        _cgroup_ready,
    ),
    Control(
        "hugepages-kubelet-restart",
        "The hugepage pools are those that the kubelet saw when it started",
        "high",
        (_K8S_ISSUE + "99483", _K8S_HUGEPAGES),
        _kubelet_restart,
    ),
    Control(
        "hugepages-boot-args-met",
        "The hugepage pools have the pages that the kernel command line asks for",
        "medium",
        (_HUGETLBPAGE, _KERNEL_PARAMETERS),
        _boot_args_met,
    ),
    Control(
        "hugepages-idle-memory",
        "Less than a tenth of the memory lies idle in hugepage pools",
        "low",
        (_HUGETLBPAGE,),
        _idle_memory,
    ),
    Control(
        "thp-direct-compaction",
        "Page faults do not wait for compaction to make transparent hugepages",
        "medium",
        (_TRANSHUGE,),
        _direct_compaction,
    ),
)
