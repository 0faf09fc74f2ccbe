# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether hugepages reach the pods: the hugetlb files in the kubelet's control groups."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import cgroups
from ansible_collections.bulwark.node.plugins.module_utils.units import format_size

__all__ = ["Readiness", "readiness"]


def _qos_groups(path: str, driver: str) -> list[str]:
    """The group of all pods and those of two QoS classes, which the kubelet writes at its start; pods lie below."""
    if driver == "cgroupfs":
        return [path, f"{path}/burstable", f"{path}/besteffort"]
    name = path.rpartition("/")[2].removesuffix(".slice")
    return [path, f"{path}/{name}-burstable.slice", f"{path}/{name}-besteffort.slice"]


_QOS_GROUPS = [group for path, driver in cgroups.ALL_PODS for group in _qos_groups(path, driver)]


@dataclass(frozen=True)
class Readiness:
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


def readiness(host: Host, sizes: Iterable[int]) -> Readiness:
    """Look for each page size's limit file where the kubelet will write it.

    The kubelet lists the sizes from sysfs and writes a limit for each into its QoS cgroups at start; it fails where a
    directory or a file is missing (kubernetes#84854, #92933). On a hybrid machine with the controller in the unified
    tree it finds no hugepages at all (kubernetes#59158).
    """
    kind = cgroups.version(host)
    if kind is None:
        return Readiness(None, None, "no cgroup file system is mounted", ())
    names = [f"{format_size(size)}B" for size in sorted(sizes)]
    if not names:
        return Readiness(None, kind, "this kernel has no hugepages", ())
    if kind == "v2":
        return _ready_v2(host, names)
    return _ready_v1(host, kind, names)


def _ready_v1(host: Host, kind: str, names: list[str]) -> Readiness:
    hugetlb, other = cgroups.tree(host, "hugetlb"), cgroups.tree(host, "memory")
    if hugetlb is None or hugetlb.version != "v1":
        row = re.search(r"^hugetlb\s+([0-9]+)\s+[0-9]+\s+([01])$", host.read("/proc/cgroups") or "", re.MULTILINE)
        if row is None or row.group(2) == "0":
            reason = "this kernel has no hugetlb controller, or it is disabled (cgroup_disable=hugetlb)"
        elif kind == "hybrid":
            reason = "the hugetlb controller is in the unified tree while others are v1: the kubelet then reports no hugepages"
        else:
            reason = "the hugetlb controller is not mounted"
        return Readiness(False, kind, reason, ())
    missing: list[str] = []
    for group in _QOS_GROUPS:
        if host.exists(f"{hugetlb.root}/{group}"):
            files = [f"{hugetlb.root}/{group}/hugetlb.{name}.limit_in_bytes" for name in names]
            missing.extend(path for path in files if not host.exists(path))
        elif other is not None and host.exists(f"{other.root}/{group}"):
            missing.append(f"{hugetlb.root}/{group}")
    return _verdict(kind, missing)


def _ready_v2(host: Host, names: list[str]) -> Readiness:
    hugetlb = cgroups.tree(host, "hugetlb")
    if hugetlb is None:
        reason = "this kernel has no hugetlb controller, or it is disabled (cgroup_disable=hugetlb)"
        return Readiness(False, "v2", reason, ())
    groups = [f"{hugetlb.root}/{group}" for group in _QOS_GROUPS]
    files = [f"{group}/hugetlb.{name}.max" for group in groups if host.exists(group) for name in names]
    return _verdict("v2", [path for path in files if not host.exists(path)])


def _verdict(kind: str, missing: list[str]) -> Readiness:
    if not missing:
        return Readiness(True, kind, None, ())
    what = (
        "the hugetlb controller is not delegated to them"
        if kind == "v2"
        else "an interrupted start left them incomplete"
    )
    return Readiness(False, kind, f"the kubelet's cgroups lack hugetlb files: {what}", tuple(missing))
