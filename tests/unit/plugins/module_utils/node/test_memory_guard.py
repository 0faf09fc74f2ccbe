# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sum that keeps memory for what runs: per NUMA node, with a kubelet's reservations or without."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.node import hugetlb, hugetlb_resize, memory_guard
from ansible_collections.bulwark.node.plugins.module_utils.node.memory_guard import Reserve
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import Machine

MIB, GIB = 1 << 20, 1 << 30
DEFAULT = "4 GiB or 10 %, whichever is more"


@pytest.mark.parametrize(
    ("tree", "kept"),
    [
        ("cgroup-v2-systemd", Reserve(4 * GIB, DEFAULT)),
        ("two-numa-nodes", Reserve(128 * GIB // 10, DEFAULT)),
        # The flag's 1 GiB, not the file's 8; 512 MiB for the system; 5 % of 32 GiB.
        (
            "kubelet-cgroup-v1",
            Reserve(GIB + 512 * MIB + 32 * GIB * 5 // 100, "the kubelet's reservations and eviction threshold"),
        ),
        ("kubelet-cgroup-v2", Reserve(GIB + 100 * MIB, "the kubelet's reservations and eviction threshold")),
        (
            "k3s-cgroup-v2",
            Reserve(4 * GIB, f"{DEFAULT}; k3s hides its command line, and no unit k3s.service shows it"),
        ),
    ],
)
def test_the_reserve_is_the_kubelets_or_the_default(machine: Machine, tree: str, kept: Reserve) -> None:
    host = machine(tree)
    total = sum(node.total for node in hugetlb.observe(host).memory)
    assert memory_guard.reserve(host, total) == kept


def grown(kernel: hugetlb.Pools, size: int, node: int | None, count: int) -> hugetlb.Pools:
    pools = (hugetlb_resize.resized(pool, node, count) if pool.size == size else pool for pool in kernel.pools)
    return replace(kernel, pools=tuple(pools))


# Node 0: 65536 MiB; 55000000 KiB free, 512 MiB of page cache, 256 pages of 2M and 4 of 1G: 6704.75 MiB run.
@pytest.mark.parametrize(("reserve", "count"), [(0, 56), (8 * GIB, 52), (64 * GIB, 24)])
def test_each_node_keeps_its_own_memory_and_its_share_of_the_reserve(
    machine: Machine, reserve: int, count: int
) -> None:
    kernel = hugetlb.observe(machine("two-numa-nodes"))
    assert memory_guard.excess([kernel], grown(kernel, GIB, 0, count), Reserve(reserve, "x")) is None
    excess = memory_guard.excess([kernel], grown(kernel, GIB, 0, count + 1), Reserve(reserve, "x"))
    assert excess is not None
    assert excess.node == 0
    assert excess.sum.startswith("node 0 has 65536 MiB")


def test_the_sum_adds_up(machine: Machine) -> None:
    kernel = hugetlb.observe(machine("two-numa-nodes"))
    found = memory_guard.excess([kernel], grown(kernel, GIB, 1, 60), Reserve(8 * GIB, "memory_reserve"))
    assert found is not None
    total, pooled, running, kept, excess = map(int, re.findall(r"([0-9]+) MiB", found.sum))
    assert found.sum.startswith("node 1 has 65536 MiB of memory; the pools would take 61952 MiB, ")
    assert "is kept for the system (memory_reserve)" in found.sum
    assert (total, pooled, kept) == (65536, 60 * 1024 + 512, 4096)
    assert abs(pooled + running + kept - total - excess) <= 1


def test_a_pool_that_does_not_grow_is_no_matter_however_little_is_left(machine: Machine) -> None:
    kernel = hugetlb.observe(machine("two-numa-nodes"))
    for after in (kernel, grown(kernel, GIB, 0, 3)):
        assert memory_guard.excess([kernel], after, Reserve(500 * GIB, "x")) is None
    more = grown(kernel, GIB, 0, 5)
    assert memory_guard.excess([kernel], more, Reserve(500 * GIB, "x")) is not None
    assert memory_guard.excess([kernel, more], more, Reserve(500 * GIB, "x")) is None


def test_pages_that_move_from_one_size_to_another_need_no_more_memory(machine: Machine) -> None:
    kernel = hugetlb.observe(machine("two-numa-nodes"))
    after = grown(grown(kernel, 2 * MIB, 0, 0), GIB, 0, 4)
    assert memory_guard.excess([kernel], after, Reserve(500 * GIB, "x")) is None


def test_memory_that_can_be_dropped_is_not_in_use(machine: Machine) -> None:
    meminfo = "MemTotal: 1000 kB\nMemFree: 100 kB\nBuffers: 20 kB\nCached: 300 kB\nShmem: 50 kB\nSReclaimable: 30 kB"
    (memory,) = hugetlb.observe(machine("no-hugepages", {"/proc/meminfo": meminfo})).memory
    assert (memory.total, memory.running) == (1000 << 10, (1000 - 100 - 20 - 250 - 30) << 10)
