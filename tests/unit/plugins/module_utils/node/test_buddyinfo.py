# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Free blocks and counters of the kernel."""

from __future__ import annotations

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.node import buddyinfo
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import Machine

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


def test_the_blocks_of_a_nodes_zones_are_summed(machine: Machine) -> None:
    assert buddyinfo.free_blocks(machine("cgroup-v2-systemd")) == {0: (901, 401, 101, 20, 5, 3, 2, 1, 2, 8, 1403)}
    assert sorted(buddyinfo.free_blocks(machine("two-numa-nodes"))) == [0, 1]
    assert len(buddyinfo.free_blocks(machine("debian12-hybrid"))[0]) == 11


@pytest.mark.parametrize("text", ["", "garbage", "Node x, zone Normal 1 2", "Node 0, zone", "Node 0, zone Normal 1 x"])
def test_garbage_is_no_block(machine: Machine, text: str) -> None:
    assert buddyinfo.free_blocks(machine("no-hugepages", {"/proc/buddyinfo": text})) == {}


@pytest.mark.parametrize(
    ("page", "counts", "size", "found"),
    [
        (4 * KIB, [0] * 9 + [3, 2], 2 * MIB, (7, 2 * MIB)),
        (4 * KIB, [9] * 9 + [0, 0], 2 * MIB, (0, 2 * MIB)),
        (4 * KIB, [0] * 9 + [3, 2], GIB, (2, 4 * MIB)),  # larger than any block: the largest
        (4 * KIB, [], 2 * MIB, (0, 4 * KIB)),
        (64 * KIB, [7] * 13 + [16], 512 * MIB, (16, 512 * MIB)),
        (64 * KIB, [7] * 5 + [1, 1] + [0] * 7, 2 * MIB, (3, 2 * MIB)),
    ],
)
def test_larger_blocks_count_for_what_they_hold(
    monkeypatch: pytest.MonkeyPatch, page: int, counts: list[int], size: int, found: tuple[int, int]
) -> None:
    monkeypatch.setattr(buddyinfo, "_PAGE", page)
    assert buddyinfo.largest_blocks(counts, size) == found


def test_counters_are_read_by_name_and_compared(machine: Machine) -> None:
    vmstat = "htlb_buddy_alloc_fail 9\nhtlb_buddy_alloc_fail_more 1\ncompact_fail x\nthp_fault 4"
    after = buddyinfo.failures(machine("no-hugepages", {"/proc/vmstat": vmstat}))
    assert after == {"htlb_buddy_alloc_fail": 9}
    before = buddyinfo.failures(machine("no-hugepages"))
    assert before == {"htlb_buddy_alloc_fail": 7, "compact_fail": 3}
    assert buddyinfo.grown(before, after) == {"htlb_buddy_alloc_fail": 2}
    assert buddyinfo.grown({}, after) == {"htlb_buddy_alloc_fail": 9}
