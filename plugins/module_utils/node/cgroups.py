# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Control groups: which version this machine runs, what of it reaches the pods, and whether hugepages do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node.request import PASSIVE, Request
from ansible_collections.bulwark.node.plugins.module_utils.units import format_size

__all__ = [
    "HugetlbReadiness",
    "Mount",
    "Tree",
    "facts",
    "hugetlb_readiness",
    "kubepods",
    "mounts",
    "pressure",
    "tree",
    "unescaped",
    "version",
]

_ROOT = "/sys/fs/cgroup"
# The kubelet's own cgroups, by the cgroupfs and the systemd driver. Pods lie below; these are the ones it writes at start.
_KUBEPODS = (
    "kubepods",
    "kubepods/burstable",
    "kubepods/besteffort",
    "kubepods.slice",
    "kubepods.slice/kubepods-burstable.slice",
    "kubepods.slice/kubepods-besteffort.slice",
)
# All pods, with the driver that names them so: the kubelet's default place, then that of kind (--cgroup-root=/kubelet).
_ALL_PODS = (
    ("kubepods.slice", "systemd"),
    ("kubepods", "cgroupfs"),
    ("kubelet.slice/kubelet-kubepods.slice", "systemd"),
    ("kubelet/kubepods", "cgroupfs"),
)
_AVERAGES = ("avg10", "avg60", "avg300")


@dataclass(frozen=True)
class Tree:
    """Where a controller's hierarchy is mounted. ``whole``: its root is the machine's, not a container's part of it."""

    root: str
    version: str
    whole: bool


@dataclass(frozen=True)
class Mount:
    """A line of /proc/mounts."""

    source: str
    path: str
    fstype: str
    options: tuple[str, ...]


@dataclass(frozen=True)
class HugetlbReadiness:
    """Whether the kubelet can hand hugepages to pods; None where that cannot be told, ``reason`` says why not.

    ``missing`` are the files that its next start would fail on.
    """

    ready: bool | None
    version: str | None
    reason: str | None
    missing: tuple[str, ...]

    def facts(self) -> dict[str, Any]:
        """{ready, version, reason, missing[]}."""
        return {"ready": self.ready, "version": self.version, "reason": self.reason, "missing": list(self.missing)}


def mounts(host: Host) -> list[Mount]:
    """What is mounted, in the kernel's order; escapes (``\\040``) decoded."""
    found = []
    # Not splitlines(): the kernel escapes the newline in a path, but none of the other characters that end a line there.
    for line in (host.read("/proc/mounts", limit=64 << 20) or "").split("\n"):
        fields = [unescaped(field) for field in line.split(" ")]
        if len(fields) >= 4:
            found.append(Mount(fields[0], fields[1], fields[2], tuple(fields[3].split(","))))
    return found


def unescaped(field: str) -> str:
    """A field of /proc/mounts or /proc/swaps, where the kernel writes space, tab, newline and backslash as ``\\040``."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), field)


def version(host: Host) -> str | None:
    """``v2`` (one tree), ``v1``, ``hybrid`` (both), or None where no cgroup is mounted."""
    trees = [mount for mount in mounts(host) if mount.fstype in ("cgroup", "cgroup2")]
    kinds = {mount.fstype for mount in trees}
    # What the kubelet asks; a named v1 tree beside it, as for containers that run systemd, changes nothing.
    if kinds == {"cgroup2"} or any(m.path == _ROOT and m.fstype == "cgroup2" for m in trees):
        return "v2"
    if kinds == {"cgroup"}:
        return "v1"
    return "hybrid" if kinds else None


def tree(host: Host, controller: str) -> Tree | None:
    """The hierarchy that has this controller, or None where none is mounted. See cgroup-v1/cgroups.rst and cgroup-v2.rst."""
    for mount in mounts(host):
        if mount.fstype == "cgroup" and controller in mount.options:
            return Tree(mount.path, "v1", host.exists(f"{mount.path}/release_agent"))
        if mount.fstype == "cgroup2" and controller in _words(host, f"{mount.path}/cgroup.controllers"):
            return Tree(mount.path, "v2", not host.exists(f"{mount.path}/cgroup.events"))
    return None


def kubepods(host: Host, root: str) -> list[tuple[str, str]]:
    """(path below the root, driver) of each group of all pods. Two are left by a change of the kubelet's driver."""
    return [(path, driver) for path, driver in _ALL_PODS if host.exists(f"{root}/{path}")]


def facts(host: Host, request: Request = PASSIVE) -> dict[str, Any]:
    """The subset ``cgroups``. ``delegated`` is None without v2; a ``max`` of pids is an int or ``unlimited``."""
    memory = tree(host, "memory") or tree(host, "cpu")
    pods = kubepods(host, memory.root) if memory else []
    path = pods[0][0] if pods else None
    reason = None
    if memory is None:
        reason = "no cgroup file system with the controller memory or cpu is mounted"
    elif not memory.whole:
        reason = f"{memory.root} is a container's part of the tree: the kubelet's cgroups cannot be seen"
    elif len(pods) > 1:
        reason = f"the cgroups of two drivers are there: {' and '.join(path for path, dummy in pods)}"
    seen = memory is not None and (memory.whole or path is not None)
    return {
        "version": version(host),
        "controllers": _controllers(host),
        "delegated": _delegated(host, path),
        "kubepods": {
            "present": path is not None if seen else None,
            "path": path,
            "driver": pods[0][1] if len(pods) == 1 else None,
        },
        "pids": _pids(host, path),
        "psi": pressure(host, "/proc/pressure/cpu")["reason"] is None,
        "reason": reason,
    }


def pressure(host: Host, path: str) -> dict[str, Any]:
    """A file of pressure stall information: {some, full: {avg10, avg60, avg300 in percent, total_s} or None, reason}."""
    try:
        text = host.read(path)
    except HostError as error:
        if error.code != "EOPNOTSUPP":
            raise
        return {"some": None, "full": None, "reason": "pressure stall information is off: boot with psi=1"}
    lines: dict[str, Any] = {"some": None, "full": None, "reason": None}
    if text is None:
        return {**lines, "reason": "this kernel has no pressure stall information"}
    for line in text.splitlines():
        kind, *pairs = line.split()
        values = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        if kind in lines and {*_AVERAGES, "total"} <= set(values):
            averages = {name: float(values[name]) for name in _AVERAGES}
            lines[kind] = {**averages, "total_s": int(values["total"]) / 1_000_000}
    return lines


def _words(host: Host, path: str) -> list[str]:
    return (host.read(path) or "").split()


def _controllers(host: Host) -> list[dict[str, Any]]:
    """What /proc/cgroups lists, and those of v2 that it lacks on a kernel without their v1 (6.15 on)."""
    rows = re.findall(r"^([a-z_]+)\t([0-9]+)\t[0-9]+\t([01])$", host.read("/proc/cgroups") or "", re.MULTILINE)
    found = {
        name: {"name": name, "hierarchy": int(number), "enabled": enabled == "1"} for name, number, enabled in rows
    }
    for mount in mounts(host):
        if mount.fstype == "cgroup2":
            for name in _words(host, f"{mount.path}/cgroup.controllers"):
                found.setdefault(name, {"name": name, "hierarchy": 0, "enabled": True})
    return list(found.values())


def _delegated(host: Host, path: str | None) -> list[str] | None:
    """The controllers that pods have; where there are none yet, those that the root hands down."""
    root = next((mount.path for mount in mounts(host) if mount.fstype == "cgroup2"), None)
    if root is None or version(host) != "v2":
        return None
    return _words(host, f"{root}/{path}/cgroup.controllers" if path else f"{root}/cgroup.subtree_control")


def _pids(host: Host, path: str | None) -> dict[str, int | str | None]:
    """How many tasks all pods have and may have."""
    pids = tree(host, "pids")
    if pids is None or path is None:
        return {"current": None, "max": None}
    most = (host.read(f"{pids.root}/{path}/pids.max") or "").strip()
    limit = int(most) if most.isdecimal() else "unlimited" if most == "max" else None
    return {"current": host.integer(f"{pids.root}/{path}/pids.current"), "max": limit}


def hugetlb_readiness(host: Host, sizes: Iterable[int]) -> HugetlbReadiness:
    """Look for each page size's limit file where the kubelet will write it.

    The kubelet lists the sizes from sysfs and writes a limit for each into its QoS cgroups at start; it fails where a
    directory or a file is missing (kubernetes#84854, #92933). On a hybrid machine with the controller in the unified
    tree it finds no hugepages at all (kubernetes#59158).
    """
    kind = version(host)
    if kind is None:
        return HugetlbReadiness(None, None, "no cgroup file system is mounted", ())
    names = [f"{format_size(size)}B" for size in sorted(sizes)]
    if not names:
        return HugetlbReadiness(None, kind, "this kernel has no hugepages", ())
    if kind == "v2":
        return _ready_v2(host, names)
    return _ready_v1(host, kind, names)


def _ready_v1(host: Host, kind: str, names: list[str]) -> HugetlbReadiness:
    trees = [mount for mount in mounts(host) if mount.fstype == "cgroup"]
    hugetlb = next((mount.path for mount in trees if "hugetlb" in mount.options), None)
    if hugetlb is None:
        row = re.search(r"^hugetlb\s+([0-9]+)\s+[0-9]+\s+([01])$", host.read("/proc/cgroups") or "", re.MULTILINE)
        if row is None or row.group(2) == "0":
            reason = "this kernel has no hugetlb controller, or it is disabled (cgroup_disable=hugetlb)"
        elif kind == "hybrid":
            reason = "the hugetlb controller is in the unified tree while others are v1: the kubelet then reports no hugepages"
        else:
            reason = "the hugetlb controller is not mounted"
        return HugetlbReadiness(False, kind, reason, ())
    other = next((mount.path for mount in trees if "memory" in mount.options), None)
    missing: list[str] = []
    for group in _KUBEPODS:
        if host.exists(f"{hugetlb}/{group}"):
            files = [f"{hugetlb}/{group}/hugetlb.{name}.limit_in_bytes" for name in names]
            missing.extend(path for path in files if not host.exists(path))
        elif other is not None and host.exists(f"{other}/{group}"):
            missing.append(f"{hugetlb}/{group}")
    return _verdict(kind, missing)


def _ready_v2(host: Host, names: list[str]) -> HugetlbReadiness:
    root = next(mount.path for mount in mounts(host) if mount.fstype == "cgroup2")
    if "hugetlb" not in (host.read(f"{root}/cgroup.controllers") or "").split():
        reason = "this kernel has no hugetlb controller, or it is disabled (cgroup_disable=hugetlb)"
        return HugetlbReadiness(False, "v2", reason, ())
    return _verdict("v2", list(_missing_v2(host, root, names)))


def _missing_v2(host: Host, root: str, names: list[str]) -> Iterator[str]:
    for group in _KUBEPODS:
        if host.exists(f"{root}/{group}"):
            files = [f"{root}/{group}/hugetlb.{name}.max" for name in names]
            yield from (path for path in files if not host.exists(path))


def _verdict(kind: str, missing: list[str]) -> HugetlbReadiness:
    if not missing:
        return HugetlbReadiness(True, kind, None, ())
    what = (
        "the hugetlb controller is not delegated to them"
        if kind == "v2"
        else "an interrupted start left them incomplete"
    )
    return HugetlbReadiness(False, kind, f"the kubelet's cgroups lack hugetlb files: {what}", tuple(missing))
