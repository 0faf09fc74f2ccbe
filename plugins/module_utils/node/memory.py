# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory as the kernel, free(1) and the kubelet count it, swap and pressure. All sizes are bytes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import cgroups
from ansible_collections.bulwark.node.plugins.module_utils.node.meminfo import meminfo
from ansible_collections.bulwark.node.plugins.module_utils.node.mounts import unescaped
from ansible_collections.bulwark.node.plugins.module_utils.node.request import PASSIVE, Request

__all__ = ["as_the_kubelet", "facts"]

_BLOCKS = "/sys/devices/system/memory"


def facts(host: Host, request: Request = PASSIVE) -> dict[str, Any]:
    """The subset ``memory``. Raises HostError where /proc/meminfo has no line of the machine's memory."""
    lines = meminfo(host)
    if not {"MemTotal", "MemFree"} <= set(lines):
        raise HostError("/proc/meminfo", "lacks the line MemTotal or MemFree")
    return {
        "installed_bytes": _installed(host),
        "meminfo": lines,
        "free": _free(lines),
        "kubelet": as_the_kubelet(host, lines),
        "swap": {
            "total": lines.get("SwapTotal"),
            "free": lines.get("SwapFree"),
            "used_percent": _percent(lines.get("SwapTotal"), lines.get("SwapFree")),
            "devices": _swaps(host),
        },
        "pressure": cgroups.pressure(host, "/proc/pressure/memory"),
    }


def _installed(host: Host) -> int | None:
    """The memory that the kernel manages in blocks: exact, and so alike on machines that are; None without hotplug of memory.

    MemTotal lacks what the kernel took for itself, a little more or less at each boot. Source: memory-hotplug.rst.
    """
    size = re.fullmatch(r"([0-9a-f]{1,16})\s*", host.read(f"{_BLOCKS}/block_size_bytes", 64) or "")
    count = sum(1 for name in host.names(_BLOCKS) if re.fullmatch(r"memory[0-9]+", name))
    return int(size.group(1), 16) * count if size and count else None


def _percent(total: int | None, free: int | None) -> float | None:
    """What of it is not free, in percent; 0 where there is nothing. None where that is not known."""
    if total is None or free is None:
        return None
    return round(100 * (total - free) / total, 1) if total else 0.0


def _free(lines: Mapping[str, int]) -> dict[str, Any]:
    """The table of ``free -b``, procps 4: what is used is what is not available, a pool of hugepages too."""
    total, free = lines["MemTotal"], lines["MemFree"]
    available = lines.get("MemAvailable", free)
    # procps' own word on the files that a container's lxcfs makes up.
    if available > total:
        available = free
    return {
        "mem": {
            "total": total,
            "used": total - available,
            "free": free,
            "shared": lines.get("Shmem", 0),
            "buff_cache": sum(lines.get(name, 0) for name in ("Buffers", "Cached", "SReclaimable")),
            "available": available,
        },
        "swap": {
            "total": lines.get("SwapTotal", 0),
            "used": lines.get("SwapTotal", 0) - lines.get("SwapFree", 0),
            "free": lines.get("SwapFree", 0),
        },
    }


def as_the_kubelet(host: Host, lines: Mapping[str, int]) -> dict[str, Any]:
    """What the kubelet's eviction compares with ``memory.available``, by cAdvisor's rule for the root cgroup.

    Of the page cache only the inactive part counts as free. The kubelet's number leaves out that pools of hugepages
    are taken as well, hence the corrected one.
    """
    working_set, reason = _working_set(host)
    available = None if working_set is None else max(0, lines["MemTotal"] - working_set)
    pools = lines.get("Hugetlb", None if "HugePages_Total" in lines else 0)
    if available is not None and pools is None:
        reason = "/proc/meminfo has no line Hugetlb: the size of all hugepage pools is not known"
    return {
        "working_set_bytes": working_set,
        "available_bytes": available,
        "available_corrected_bytes": None if available is None or pools is None else max(0, available - pools),
        "reason": reason,
    }


def _working_set(host: Host) -> tuple[int | None, str | None]:
    tree = cgroups.tree(host, "memory")
    if tree is None:
        return None, "no cgroup file system with the controller memory is mounted"
    if not tree.whole:
        return None, f"{tree.root} is a container's part of the tree, not the machine's"
    rows = re.findall(r"^([a-z_]+) ([0-9]{1,20})$", host.read(f"{tree.root}/memory.stat") or "", re.MULTILINE)
    stat = {name: int(number) for name, number in rows}
    if tree.version == "v1":
        usage, inactive = host.integer(f"{tree.root}/memory.usage_in_bytes"), stat.get("total_inactive_file")
    else:
        # The root has no memory.current.
        usage = stat["anon"] + stat["file"] if {"anon", "file"} <= set(stat) else None
        inactive = stat.get("inactive_file")
    if usage is None or inactive is None:
        return None, f"{tree.root} does not tell how much memory is in use"
    return max(0, usage - inactive), None


def _swaps(host: Host) -> list[dict[str, Any]]:
    """/proc/swaps, sizes in bytes."""
    found = []
    for line in (host.read("/proc/swaps") or "").split("\n")[1:]:
        fields = line.split()
        if len(fields) == 5 and all(re.fullmatch(r"-?[0-9]{1,20}", field) for field in fields[2:]):
            size, used, priority = map(int, fields[2:])
            found.append(
                {
                    "path": unescaped(fields[0]),
                    "type": fields[1],
                    "size_bytes": size * 1024,
                    "used_bytes": used * 1024,
                    "priority": priority,
                }
            )
    return found
