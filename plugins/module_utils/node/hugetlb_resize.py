# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a write to a pool's attributes does, told before it is made: set_max_huge_pages() in mm/hugetlb.c."""

from __future__ import annotations

import re
from dataclasses import replace

from ansible_collections.bulwark.node.plugins.module_utils.node.hugetlb import NodePool, Pool

__all__ = ["ATTRIBUTE", "parse_attribute", "resized"]

ATTRIBUTE = re.compile(r".*?(?:/node([0-9]+)/hugepages)?/hugepages-([0-9]+)kB/nr(?:_overcommit)?_hugepages")


def parse_attribute(path: str) -> tuple[int, int | None]:
    """(size in bytes, node or None) of a pool's sysfs attribute."""
    match = ATTRIBUTE.fullmatch(path)
    if match is None:
        raise ValueError(path)
    return int(match.group(2)) * 1024, None if match.group(1) is None else int(match.group(1))


def resized(pool: Pool, node: int | None, count: int) -> Pool:
    """The pool after ``count`` was written to nr_hugepages, of one node or of the machine: set_max_huge_pages() in mm/hugetlb.c.

    It takes surplus pages first, then new ones. When it shrinks, free pages go while in all the machine's pages in use and
    reserved stay; the rest becomes surplus. Where the kernel has the choice of a node, pages are taken to spread evenly.
    """
    # Without NUMA all pages are on one node.
    nodes = pool.nodes or (NodePool(0, pool.total, pool.free, pool.surplus),)
    parts = {part.node: part for part in nodes if node in (None, part.node)}
    if node is not None:
        count += pool.persistent - parts[node].persistent
    missing, floor = max(0, count - pool.persistent), max(count, pool.in_use)
    promoted = _dealt(missing, {part.node: part.surplus for part in parts.values()})
    added = _dealt(missing - sum(promoted.values()), dict.fromkeys(parts, missing))
    freed = _dealt(max(0, pool.persistent - floor), {part.node: part.free for part in parts.values()})
    rest = max(0, pool.persistent - sum(freed.values()) - count)
    demoted = _dealt(rest, {part.node: part.persistent - freed[part.node] for part in parts.values()})
    after = []
    for part in nodes:
        if part.node in parts:
            more = added[part.node] - freed[part.node]
            surplus = part.surplus + demoted[part.node] - promoted[part.node]
            after.append(replace(part, total=part.total + more, free=part.free + more, surplus=surplus))
        else:
            after.append(part)
    grown = sum(added.values()) - sum(freed.values())
    surplus = pool.surplus + sum(demoted.values()) - sum(promoted.values())
    return replace(
        pool,
        total=pool.total + grown,
        free=pool.free + grown,
        surplus=surplus,
        nodes=tuple(after) if pool.nodes else (),
    )


def _dealt(pages: int, room: dict[int, int]) -> dict[int, int]:
    """``pages`` dealt to the nodes in turn, as the kernel goes round them, to none more than its room."""
    dealt = dict.fromkeys(room, 0)
    while pages > 0 and (open_nodes := [node for node in sorted(room) if dealt[node] < room[node]]):
        step = max(1, pages // len(open_nodes))
        for node in open_nodes:
            share = min(step, room[node] - dealt[node], pages)
            dealt[node] += share
            pages -= share
    return dealt
