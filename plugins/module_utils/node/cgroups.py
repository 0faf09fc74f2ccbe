# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Control groups: which version this machine runs, and what of it reaches the pods."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node.mounts import mounts
from ansible_collections.bulwark.node.plugins.module_utils.node.request import PASSIVE, Request

__all__ = [
    "ALL_PODS",
    "Tree",
    "facts",
    "kubepods",
    "pressure",
    "tasks_max",
    "tree",
    "version",
]

_ROOT = "/sys/fs/cgroup"
# All pods, with the driver that names them so: the kubelet's default place, then that of kind (--cgroup-root=/kubelet).
ALL_PODS = (
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
    return [(path, driver) for path, driver in ALL_PODS if host.exists(f"{root}/{path}")]


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


def _pids(host: Host, path: str | None) -> dict[str, Any]:
    """How many tasks all pods have and may have, and the whole machine, by the rule of the kubelet's ``pid.available``.

    Each ``fullness`` is the share that is taken; without a limit of the pods' own, the machine's is theirs.
    """
    tasks = re.match(r"(?:\S+ ){3}[0-9]+/([0-9]{1,10}) ", host.read("/proc/loadavg") or "")
    machine_current, machine_max = int(tasks.group(1)) if tasks else None, tasks_max(host)
    current, limit = _pids_of_pods(host, path)
    return {
        "current": current,
        "max": limit,
        "fullness": _share(current, machine_max if limit == "unlimited" else limit),
        "machine_current": machine_current,
        "machine_max": machine_max,
        "machine_fullness": _share(machine_current, machine_max),
    }


def tasks_max(host: Host) -> int | None:
    """The most tasks that the machine can have, None where a ceiling is not known."""
    ceilings = [host.integer(f"/proc/sys/kernel/{name}") for name in ("pid_max", "threads-max")]
    return None if None in ceilings else min(filter(None, ceilings), default=None)


def _pids_of_pods(host: Host, path: str | None) -> tuple[int | None, int | str | None]:
    pids = tree(host, "pids")
    if pids is None or path is None:
        return None, None
    most = (host.read(f"{pids.root}/{path}/pids.max") or "").strip()
    limit = int(most) if most.isdecimal() else "unlimited" if most == "max" else None
    return host.integer(f"{pids.root}/{path}/pids.current"), limit


def _share(part: int | None, whole: int | str | None) -> float | None:
    return round(part / whole, 4) if part is not None and isinstance(whole, int) and whole else None
