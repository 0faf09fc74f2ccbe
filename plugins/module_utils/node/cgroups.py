# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Control groups: which version this machine runs, and whether hugepages reach the pods through them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.units import format_size

__all__ = ["HugetlbReadiness", "Mount", "hugetlb_readiness", "mounts", "version"]

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
        fields = [
            re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), field) for field in line.split(" ")
        ]
        if len(fields) >= 4:
            found.append(Mount(fields[0], fields[1], fields[2], tuple(fields[3].split(","))))
    return found


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
