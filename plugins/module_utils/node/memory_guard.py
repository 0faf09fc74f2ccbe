# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory is given to hugepages only where what runs and what the system needs still fits, on each NUMA node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import kubelet, kubelet_config
from ansible_collections.bulwark.node.plugins.module_utils.node.hugetlb import Pools

__all__ = ["Excess", "Reserve", "excess", "reserve"]

_RESERVE_BYTES = 4 << 30
_RESERVE_SHARE = 10  # percent of MemTotal


@dataclass(frozen=True)
class Reserve:
    """Bytes of the whole machine that pools must leave, and where the number comes from."""

    size: int
    source: str


def reserve(host: Host, total: int) -> Reserve:
    """The kubelet's reservations and eviction threshold; without a kubelet, or where they cannot be told, 4 GiB or 10 %."""
    fallback = max(_RESERVE_BYTES, total * _RESERVE_SHARE // 100)
    agent = kubelet.find(host)
    if agent is None:
        return Reserve(fallback, "4 GiB or 10 %, whichever is more")
    kept = kubelet_config.reservation(kubelet_config.read(host, agent), total)
    if kept.size is None:
        return Reserve(fallback, f"4 GiB or 10 %, whichever is more; {kept.reason}")
    return Reserve(kept.size, "the kubelet's reservations and eviction threshold")


@dataclass(frozen=True)
class Excess:
    """More than a NUMA node has to give: ``sum`` is what makes it, as a sentence without its full stop."""

    node: int
    sum: str


def excess(before: Sequence[Pools], after: Pools, kept: Reserve) -> Excess | None:
    """The first node whose pools grow beyond all of ``before`` and leave too little. A node keeps its share of the reserve."""
    total = sum(node.total for node in after.memory)
    for memory in after.memory:
        pooled = _pooled(after, memory.node)
        if pooled <= max(_pooled(pools, memory.node) for pools in before):
            continue
        share = kept.size * memory.total // total
        missing = pooled + memory.running + share - memory.total
        if missing > 0:
            return Excess(
                memory.node,
                f"node {memory.node} has {_mib(memory.total)} of memory; the pools would take {_mib(pooled)}, "
                f"{_mib(memory.running)} is in use by what runs, and {_mib(share)} is kept for the system ({kept.source}): "
                f"{_mib(missing)} too much",
            )
    return None


def _pooled(kernel: Pools, node: int) -> int:
    return sum(
        pool.size * (next((part.total for part in pool.nodes if part.node == node), 0) if pool.nodes else pool.total)
        for pool in kernel.pools
    )


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.0f} MiB"
