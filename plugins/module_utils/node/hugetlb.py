# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel says about hugepages: pools per size and NUMA node, memory, mounts, boot arguments.

Sources: hugetlbpage.rst, ABI/testing/sysfs-kernel-mm-hugepages, and what set_max_huge_pages() does with a write.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import cgroups, hugetlb_cgroup, kubelet, numa
from ansible_collections.bulwark.node.plugins.module_utils.node.meminfo import meminfo
from ansible_collections.bulwark.node.plugins.module_utils.node.mounts import mounts
from ansible_collections.bulwark.node.plugins.module_utils.node.request import PASSIVE, Request
from ansible_collections.bulwark.node.plugins.module_utils.node.system import command_line
from ansible_collections.bulwark.node.plugins.module_utils.units import format_size, parse_size

__all__ = [
    "CHANGED",
    "CHANGED_SINCE_START",
    "HugetlbMount",
    "NodeMemory",
    "NodePool",
    "Pool",
    "Pools",
    "attribute_folder",
    "boot_args",
    "facts",
    "observe",
    "read_pool",
    "restart_needed",
]

POOLS = "/sys/kernel/mm/hugepages"
CHANGED = "/run/bulwark-hugepages-changed"
"""The module's note of its last change of a pool, for the kernel keeps none: the seconds after boot, and in lines of
``attribute pages`` what the pools were before it, and so when the kubelet started."""
CHANGED_SINCE_START = "the hugepages module changed a pool after the kubelet started"
# What the kubelet writes where it means no limit is 1 << 62, which cgroup v1 rounds to whole pages.
_UNLIMITED = 1 << 60


@dataclass(frozen=True)
class NodePool:
    """The pages of one size on one NUMA node; ``total`` counts surplus pages too, as in sysfs."""

    node: int
    total: int
    free: int
    surplus: int

    @property
    def persistent(self) -> int:
        """The pages that a write to nr_hugepages sets."""
        return self.total - self.surplus


@dataclass(frozen=True)
class Pool:
    """The pages of one size (in bytes) on the whole machine."""

    size: int
    total: int
    free: int
    reserved: int
    surplus: int
    overcommit: int
    nodes: tuple[NodePool, ...]

    @property
    def persistent(self) -> int:
        """The pages that a write to nr_hugepages sets."""
        return self.total - self.surplus

    @property
    def in_use(self) -> int:
        """Pages that are mapped or promised: the pool cannot shrink below."""
        return self.total - self.free + self.reserved

    def floor(self, node: int | None) -> int:
        """The least number of persistent pages, of the machine or of one node, that turns no page into a surplus one."""
        if node is None:
            return self.in_use
        part = self.node(node)
        # The kernel keeps no reservations per node: what the other nodes' free pages do not cover falls on this one.
        elsewhere = (self.free - part.free) - (self.surplus - part.surplus)
        return part.total - part.free + max(0, self.reserved - elsewhere)

    def node(self, number: int) -> NodePool:
        """The pool's part on one node. Raises KeyError."""
        for part in self.nodes:
            if part.node == number:
                return part
        raise KeyError(number)

    def facts(self) -> dict[str, Any]:
        """As in docs/schemas.md: counts are pages."""
        return {
            "size": format_size(self.size),
            "size_bytes": self.size,
            "total": self.total,
            "free": self.free,
            "reserved": self.reserved,
            "surplus": self.surplus,
            "overcommit": self.overcommit,
            "unclaimed": self.free - self.reserved,
            "nodes": [{"node": n.node, "total": n.total, "free": n.free, "surplus": n.surplus} for n in self.nodes],
        }


@dataclass(frozen=True)
class NodeMemory:
    """One NUMA node's memory in bytes. ``running``: what is neither free, nor page cache, nor in a hugepage pool."""

    node: int
    total: int
    running: int


@dataclass(frozen=True)
class HugetlbMount:
    """A mounted hugetlbfs; ``size`` in bytes, None where the mount does not tell."""

    path: str
    size: int | None


@dataclass(frozen=True)
class BootArg:
    """One ``hugepages=`` of the kernel command line with the size it binds to; ``nodes`` for the form ``0:4,1:4``."""

    size: int
    count: int | None
    nodes: dict[str, int] | None

    @property
    def counts(self) -> list[tuple[int | None, int]]:
        """(node or None, pages) of each number that it has."""
        if self.nodes is not None:
            return [(int(node), count) for node, count in self.nodes.items()]
        return [(None, self.count or 0)]

    def facts(self) -> dict[str, Any]:
        """{size, size_bytes, count, nodes}."""
        return {"size": format_size(self.size), "size_bytes": self.size, "count": self.count, "nodes": self.nodes}


@dataclass(frozen=True)
class Pools:
    """Everything of the kernel's side, once observed."""

    default_size: int | None
    pools: tuple[Pool, ...]
    memory: tuple[NodeMemory, ...]
    mounts: tuple[HugetlbMount, ...]
    boot_args: tuple[BootArg, ...]
    cgroup: hugetlb_cgroup.Readiness
    kubelet_unit: str | None
    restart_needed: bool | None
    restart_reason: str | None
    seen: str = ""
    """The page counts when the kubelet started, as far as the note of CHANGED tells, else those of now."""
    granted: Mapping[int, int] | None = None
    """Pages by size that the kubelet gave to all pods together, which is what it found at its start; None where its cgroup does not tell."""

    def pool(self, size: int) -> Pool:
        """The pool of one size. Raises KeyError."""
        for pool in self.pools:
            if pool.size == size:
                return pool
        raise KeyError(size)

    def facts(self) -> dict[str, Any]:
        """The subset ``hugepages`` of the facts without ``next_boot``, as in docs/schemas.md."""
        memory = sum(node.total for node in self.memory)
        idle = sum(pool.size * max(0, pool.free - pool.reserved) for pool in self.pools)
        return {
            "default_size_bytes": self.default_size,
            "pools": [pool.facts() for pool in self.pools],
            "pool_bytes": sum(pool.size * pool.total for pool in self.pools),
            "memory_total_bytes": memory,
            "idle_bytes": idle,
            "idle_percent": round(100 * idle / memory, 1) if memory else None,
            "mounts": [
                {"path": m.path, "size_bytes": m.size, "size": None if m.size is None else format_size(m.size)}
                for m in self.mounts
            ],
            "boot_args": [argument.facts() for argument in self.boot_args],
            "boot_unmet": list(_boot_unmet(self)),
            "cgroup": self.cgroup.facts(),
            "kubelet": {
                "running": self.kubelet_unit is not None,
                "unit": self.kubelet_unit,
                "restart_needed": self.restart_needed,
                "reason": self.restart_reason,
            },
            "reason": None if self.pools else "this kernel offers no hugepages",
        }


def facts(host: Host, request: Request = PASSIVE) -> dict[str, Any]:
    """The subset ``hugepages``."""
    from ansible_collections.bulwark.node.plugins.module_utils.node import hugepages_persist

    kernel = observe(host)
    return {**kernel.facts(), **hugepages_persist.next_boot(host, kernel)}


def observe(host: Host) -> Pools:
    """Read it all: files alone, nothing is forked and nothing changes."""
    pools = tuple(read_pool(host, size) for size in _sizes(host))
    memory = _memory(host)
    default = meminfo(host).get("Hugepagesize")
    agent = kubelet.find(host)
    noted = _noted_since(host.read(CHANGED), agent.started_at) if agent else None
    seen = _page_counts(pools) if noted is None else noted
    granted = _granted(host, [pool.size for pool in pools]) if agent else None
    needed, reason = restart_needed(pools, seen, granted) if agent else (False, "no kubelet is running")
    return Pools(
        default_size=default,
        pools=pools,
        memory=memory,
        mounts=_mounts(host, default),
        boot_args=boot_args(command_line(host), default, [pool.size for pool in pools]),
        cgroup=hugetlb_cgroup.readiness(host, [pool.size for pool in pools]),
        kubelet_unit=agent.unit if agent else None,
        restart_needed=needed,
        restart_reason=reason,
        seen=seen,
        granted=granted,
    )


def attribute_folder(size: int, node: int | None) -> str:
    """The sysfs folder of a pool: the whole machine's, or one node's."""
    name = f"hugepages-{size // 1024}kB"
    return f"{POOLS}/{name}" if node is None else f"{numa.NODES}/node{node}/hugepages/{name}"


def read_pool(host: Host, size: int) -> Pool:
    """One pool as it is now."""
    folder = attribute_folder(size, None)
    nodes = []
    for node in numa.numbers(host):
        part = attribute_folder(size, node)
        # A node without memory has no pools.
        if host.exists(part):
            nodes.append(NodePool(node, *(_count(host, part, name) for name in ("nr", "free", "surplus"))))
    return Pool(
        size=size,
        total=_count(host, folder, "nr"),
        free=_count(host, folder, "free"),
        reserved=_count(host, folder, "resv"),
        surplus=_count(host, folder, "surplus"),
        overcommit=_count(host, folder, "nr_overcommit"),
        nodes=tuple(nodes),
    )


def _sizes(host: Host) -> list[int]:
    names = (re.fullmatch(r"hugepages-([0-9]{1,12})kB", name) for name in host.names(POOLS))
    return sorted(int(match.group(1)) * 1024 for match in names if match)


def _count(host: Host, folder: str, name: str) -> int:
    path = f"{folder}/{name}_hugepages"
    value = host.integer(path)
    if value is None:
        raise HostError(path, "does not exist, though its folder does")
    return value


def _memory(host: Host) -> tuple[NodeMemory, ...]:
    numbers = numa.numbers(host)
    if len(numbers) < 2:
        # The machine's own file: a node's counts less where the kernel initialises memory late (deferred_init).
        return (_node_memory(host, "/proc/meminfo", numbers[0] if numbers else 0, None),)
    return tuple(_node_memory(host, f"{numa.NODES}/node{node}/meminfo", node, node) for node in numbers)


def _node_memory(host: Host, path: str, number: int, pools_of: int | None) -> NodeMemory:
    row = meminfo(host, path)
    if "MemTotal" not in row or "MemFree" not in row:
        raise HostError(path, "lacks the line MemTotal or MemFree")
    # FilePages of a node is Cached + Buffers of the machine. Shared memory counts there too, but cannot be dropped.
    files = row.get("FilePages", row.get("Cached", 0) + row.get("Buffers", 0))
    droppable = max(0, files - row.get("Shmem", 0)) + row.get("SReclaimable", 0)
    used = row["MemTotal"] - row["MemFree"] - droppable - _pooled(host, pools_of)
    return NodeMemory(number, row["MemTotal"], max(0, used))


def _pooled(host: Host, node: int | None) -> int:
    """Bytes in all pools of a node."""
    folders = [(size, attribute_folder(size, node)) for size in _sizes(host)]
    return sum(size * _count(host, folder, "nr") for size, folder in folders if host.exists(folder))


def _mounts(host: Host, default: int | None) -> tuple[HugetlbMount, ...]:
    found = []
    for mount in mounts(host):
        if mount.fstype == "hugetlbfs":
            text = next((option.partition("=")[2] for option in mount.options if option.startswith("pagesize=")), None)
            try:
                size = default if text is None else parse_size(text)
            except ValueError:
                size = None
            found.append(HugetlbMount(mount.path, size))
    return tuple(found)


def boot_args(tokens: Iterable[str], default: int | None, sizes: list[int]) -> tuple[BootArg, ...]:
    """The groups of the command line, as hugepages_setup() and hugepagesz_setup() in mm/hugetlb.c bind them.

    A ``hugepages=`` belongs to the ``hugepagesz=`` or ``default_hugepagesz=`` before it, a leading one to the default
    size. The first one after a size that the kernel does not have, or that was given before, is ignored, and so is a
    second one for the same size in a row.
    """
    found: list[BootArg] = []
    seen: set[int] = set()
    named: int | None = None
    valid, current, last = True, default, 0
    for token in tokens:
        if token == "--":
            break  # what follows is for init
        name, value = token.partition("=")[::2]
        name, value = name.replace("-", "_"), value.strip('"')
        if name in ("hugepagesz", "default_hugepagesz"):
            size = _boot_size(value)
            if name == "default_hugepagesz":
                valid = size in sizes and named is None
                named = size if valid else named
                current = size if valid and size not in seen else current
            else:
                # Once each, but for the default size as long as no number followed it.
                valid = size in sizes and (size not in seen or (size == named and size not in [a.size for a in found]))
                current = size if valid else current
            seen |= {size} if valid else set()
        elif name == "hugepages":
            slot = (current or 0) if seen else -1
            argument = _boot_count(current, value) if valid and current and slot != last else None
            if argument:
                found.append(argument)
                last = slot
            valid = True
    return tuple(found)


def _boot_size(value: str) -> int:
    try:
        return parse_size(value)
    except ValueError:
        return 0


def _boot_count(size: int, value: str) -> BootArg | None:
    """``4``, or ``0:4,1:4`` for two nodes; None where it is neither."""
    nodes = re.match(r"[0-9]{1,5}:[0-9]{1,15}(?:,[0-9]{1,5}:[0-9]{1,15})*", value)
    if nodes:
        pairs = (pair.split(":") for pair in nodes.group().split(","))
        return BootArg(size, None, {node: int(count) for node, count in pairs})
    count = re.match(r"[0-9]{1,15}(?![0-9:])", value)
    return BootArg(size, int(count.group()), None) if count else None


def restart_needed(
    pools: tuple[Pool, ...], seen: str, granted: Mapping[int, int] | None = None
) -> tuple[bool | None, str | None]:
    """Whether the kubelet's idea of the pools is older than the pools: it reads them at start alone (kubernetes#99483)."""
    stale = [pool for pool in pools if granted and granted[pool.size] not in (pool.total, pool.persistent)]
    if granted and stale:
        told = (f"{granted[pool.size]} pages of {format_size(pool.size)}, the pool has {pool.total}" for pool in stale)
        return True, f"the kubelet found {'; and '.join(told)}"
    if seen.split() != _page_counts(pools).split():
        return True, CHANGED_SINCE_START
    if granted is not None:
        return False, "the kubelet's cgroup allows all pods together as many pages as the pools have"
    if not any(pool.total for pool in pools):
        return None, "no pool has pages now; whether one had when the kubelet started cannot be told from the node"
    return None, "the kernel keeps no time of a pool's last change; compare the Node's capacity with the pools"


def _granted(host: Host, sizes: Iterable[int]) -> dict[int, int] | None:
    """The pages of each size that the cgroup of all pods may have; None where it does not say so of each size.

    With ``enforceNodeAllocatable: [pods]``, its default, the kubelet writes what it found to that cgroup at each start
    (getCgroupConfig() in pkg/kubelet/cm/node_container_manager_linux.go), and hugepages cannot be reserved.
    """
    tree = cgroups.tree(host, "hugetlb")
    pods = cgroups.kubepods(host, tree.root) if tree else []
    if tree is None or len(pods) != 1:
        return None
    name = "max" if tree.version == "v2" else "limit_in_bytes"
    found = {}
    for size in sizes:
        text = host.read(f"{tree.root}/{pods[0][0]}/hugetlb.{format_size(size)}B.{name}") or ""
        if not re.fullmatch(r"[0-9]{1,20}\s*", text, re.ASCII) or int(text) >= _UNLIMITED:
            return None
        found[size] = int(text) // size
    return found


def _boot_unmet(kernel: Pools) -> Iterator[dict[str, Any]]:
    """The numbers of the command line that the pools fall short of: {pool, size, size_bytes, node, asked, found}.

    Pages from the boot are persistent, so that surplus ones do not count. Of a size the first number is the one that counts
    (mm/hugetlb.c: "specified twice, ignoring").
    """
    pools = {pool.size: pool for pool in kernel.pools}
    first = {argument.size: argument for argument in reversed(kernel.boot_args)}
    for size, argument in sorted(first.items()):
        for node, asked in argument.counts:
            found = _persistent(pools.get(size), node)
            if found < asked:
                text = format_size(size)
                place = text if node is None else f"{text} on node {node}"
                row = {"size": text, "size_bytes": size, "node": node}
                yield {"pool": place, **row, "asked": asked, "found": found}


def _persistent(pool: Pool | None, node: int | None) -> int:
    if pool is None:
        return 0
    # A kernel without NUMA lists no nodes, and all its memory is node 0's.
    if node is None or (node == 0 and not pool.nodes):
        return pool.persistent
    return next((part.persistent for part in pool.nodes if part.node == node), 0)


def _page_counts(pools: Iterable[Pool]) -> str:
    """How many pages each pool has, as the note of CHANGED holds it."""
    counts = [
        (attribute_folder(pool.size, None if node is None else node.node), (node or pool).total)
        for pool in pools
        for node in (None, *pool.nodes)
    ]
    return "".join(f"{folder}/nr_hugepages {total}\n" for folder, total in counts)


def _noted_since(text: str | None, started_at: float) -> str | None:
    """The page counts of a note of CHANGED that is younger than a kubelet; None where it is older, or none."""
    time, counts = (text or "").partition("\n")[::2]
    young = re.fullmatch(r"[0-9]{1,12}(?:\.[0-9]+)?", time.strip()) and float(time) > started_at
    return counts if young else None
