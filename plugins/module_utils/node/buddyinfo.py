# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What free memory could become larger pages, and why it did not: /proc/buddyinfo and /proc/vmstat."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

from ansible_collections.bulwark.node.plugins.module_utils.host import Host

__all__ = ["failures", "free_blocks", "grown", "is_gigantic", "largest_blocks"]

_PAGE = os.sysconf("SC_PAGE_SIZE")


def free_blocks(host: Host) -> dict[int, tuple[int, ...]]:
    """Per node, the number of free blocks of 2^order pages, summed over its zones; see proc_buddyinfo(5)."""
    found: dict[int, list[int]] = {}
    rows = re.findall(
        r"^Node ([0-9]+), zone\s+\S+((?:\s+[0-9]+)+)\s*$", host.read("/proc/buddyinfo") or "", re.MULTILINE
    )
    for node, counts in rows:
        numbers = [int(count) for count in counts.split()]
        sums = found.setdefault(int(node), [0] * len(numbers))
        found[int(node)] = [a + b for a, b in zip(sums, numbers)]
    return {node: tuple(counts) for node, counts in found.items()}


def largest_blocks(counts: Sequence[int], size: int) -> tuple[int, int]:
    """(free blocks, bytes of one): of the size asked for, or of the largest that the kernel keeps."""
    order = min((size // _PAGE).bit_length() - 1, max(0, len(counts) - 1))
    return sum(count << (i - order) for i, count in enumerate(counts) if i >= order), _PAGE << order


def is_gigantic(blocks: Mapping[int, Sequence[int]], size: int) -> bool:
    """Whether pages of this size are larger than any block that the kernel keeps; False where that is not known."""
    return bool(blocks) and all(largest_blocks(counts, size)[1] < size for counts in blocks.values())


def failures(host: Host) -> dict[str, int]:
    """The kernel's counters of failed allocations and compactions; see /proc/vmstat."""
    names = "htlb_buddy_alloc_fail|compact_fail"
    return {
        name: int(value)
        for name, value in re.findall(rf"^({names}) ([0-9]+)$", host.read("/proc/vmstat") or "", re.MULTILINE)
    }


def grown(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """By how much each counter grew."""
    return {name: after[name] - before.get(name, 0) for name in after}
