# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why the kernel gave fewer hugepages than it was asked for, and what helps; and before it is asked, whether it may."""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.bulwark.node.plugins.module_utils.converge import Change, Unmet
from ansible_collections.bulwark.node.plugins.module_utils.node import buddyinfo, hugetlb, hugetlb_resize
from ansible_collections.bulwark.node.plugins.module_utils.node.hugetlb import Pool, Pools
from ansible_collections.bulwark.node.plugins.module_utils.units import format_size

__all__ = ["boot_arguments", "explain", "may_fall_short", "new_surplus"]


def boot_arguments(size: int, node: int | None, count: int) -> str:
    """What to boot with for the same pool."""
    return f"hugepagesz={format_size(size)} hugepages={count if node is None else f'{node}:{count}'}"


def explain(
    option: str, change: Change, pool: Pool, free_blocks: Mapping[int, tuple[int, ...]], counters: Mapping[str, int]
) -> Unmet:
    """Each node's share of the pool, and the free blocks that could become such pages."""
    size, node = hugetlb_resize.parse_attribute(change.target)
    totals = {part.node: part.total for part in pool.nodes}
    nodes, found, block = [], [], size
    for number, blocks in sorted(free_blocks.items()):
        if node in (None, number):
            free, block = buddyinfo.largest_blocks(blocks, size)
            nodes.append({"node": number, "total": totals.get(number), "free_blocks": free, "block_bytes": block})
            found.append(f"{free} on node {number}")
    got = pool.persistent if node is None else pool.node(node).persistent
    where = "" if node is None else f" on node {node}"
    if block < size:
        cause = f"no contiguous {format_size(size)} is left (free blocks of {format_size(block)}: {', '.join(found)})"
    else:
        cause = f"memory is fragmented or in use (free blocks of that order: {', '.join(found) or 'unknown'})"
    return Unmet(
        target=f"{option}.count",
        wanted=change.after,
        got=got,
        reason=f"asked for {change.after} pages of {format_size(size)}{where}, the kernel gave {got}; {cause}",
        remedy=f"Boot with {boot_arguments(size, node, change.after)}, or free memory on the node.",
        evidence={"path": change.target, "nodes": nodes, "kernel_counters": dict(counters)},
    )


def may_fall_short(before: Pools, after: Pools, free_blocks: Mapping[int, tuple[int, ...]]) -> list[str]:
    """Growth for which there is no free block of the right order now; compaction may still find some."""
    found = []
    for old, new in zip(before.pools, after.pools):
        growth = {p.node: p.total - o.total for o, p in zip(old.nodes, new.nodes)} or {0: new.total - old.total}
        for node, pages in growth.items():
            free, block = buddyinfo.largest_blocks(free_blocks.get(node, ()), new.size)
            available = free * block // new.size
            if pages > max(0, available):
                most = "at the most " if block < new.size else ""
                found.append(
                    f"may fall short: {pages} more page{'' if pages == 1 else 's'} of {format_size(new.size)} on node "
                    f"{node}, where free blocks make {most}{available} without compaction"
                )
    return found


def new_surplus(before: Pools, after: Pools) -> list[Unmet]:
    """Pages that were in use when the pool shrank, though none was when it was checked."""
    return [
        Unmet(
            f"{hugetlb.attribute_folder(new.size, None)}/surplus_hugepages",
            old.surplus,
            new.surplus,
            "pages came into use while the pool shrank",
            "Run it again, or set allow_surplus to true.",
        )
        for old, new in zip(before.pools, after.pools)
        if new.surplus > old.surplus and new.persistent < old.persistent
    ]
