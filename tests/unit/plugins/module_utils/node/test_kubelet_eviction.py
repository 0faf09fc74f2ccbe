# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Thresholds of eviction: which come first, and what is left until they are met."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.node import kubelet_eviction
from ansible_collections.bulwark.node.plugins.module_utils.node.kubelet_config import Config, Setting
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import Machine

GIB = 1 << 30
STAT = {
    "/proc/mounts": "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0",
    "/sys/fs/cgroup/cgroup.controllers": "memory",
    "/proc/meminfo": f"MemTotal: {8 * GIB >> 10} kB\nMemFree: 1 kB\nHugetlb: 0 kB",
    "/sys/fs/cgroup/memory.stat": f"anon {5 * GIB}\nfile {2 * GIB}\ninactive_file {1 * GIB}",
}


def config(reason: str | None = None, **maps: dict[str, str]) -> Config:
    return Config(
        maps={key: {name: Setting(text, "flag") for name, text in texts.items()} for key, texts in maps.items()},
        reason=reason,
    )


@pytest.mark.parametrize(
    ("hard", "soft", "contradicts"),
    [
        ("100Mi", "1Gi", False),
        ("1Gi", "100Mi", True),
        ("1Gi", "1024Mi", True),  # the hard one is met in the same moment
        ("10%", "15%", False),
        ("10%", "5%", True),
        # Of 8 GiB.
        ("10%", "500Mi", True),
        ("10%", "2Gi", False),
        ("100%", "1Mi", False),  # switched off
        ("100Mi", "0%", False),
        ("lots", "1Gi", None),
    ],
)
def test_a_soft_threshold_that_is_not_above_the_hard_one_contradicts_it(
    hard: str, soft: str, contradicts: bool | None
) -> None:
    made = config(evictionHard={"memory.available": hard}, evictionSoft={"memory.available": soft})
    assert kubelet_eviction.evictions(made, 8 * GIB) == [
        {"signal": "memory.available", "hard": hard, "soft": soft, "contradicts": contradicts}
    ]


def test_a_share_and_a_size_of_a_file_system_cannot_be_compared() -> None:
    made = config(evictionHard={"nodefs.available": "10%"}, evictionSoft={"nodefs.available": "5Gi"})
    assert [each["contradicts"] for each in kubelet_eviction.evictions(made, GIB) or ()] == [None]


def test_a_signal_with_one_threshold_contradicts_nothing() -> None:
    made = config(evictionHard={"nodefs.available": "10%"}, evictionSoft={"imagefs.available": "5Gi"})
    assert kubelet_eviction.evictions(made, GIB) == [
        {"signal": "imagefs.available", "hard": None, "soft": "5Gi", "contradicts": False},
        {"signal": "nodefs.available", "hard": "10%", "soft": None, "contradicts": False},
    ]


def test_without_the_configuration_nothing_is_claimed(machine: Machine) -> None:
    unread = config(reason="line 3: holds a tab", evictionHard={"memory.available": "1Gi"})
    found = {"capacity_bytes": 1000, "available_percent": 50.0, "inodes": 100, "inodes_free_percent": 10.0}
    assert kubelet_eviction.evictions(unread, GIB) is None
    assert set(kubelet_eviction.headroom(unread, "nodefs", found).values()) == {None}
    left = kubelet_eviction.memory_headroom(machine("no-hugepages", STAT), unread)
    assert (left["begins_bytes"], left["headroom_bytes"], left["reason"]) == (None, None, "line 3: holds a tab")


@pytest.mark.parametrize(
    ("hard", "expected"),
    [
        ({"nodefs.available": "10%", "nodefs.inodesFree": "5%"}, (10.0, 40.0, 5.0, 5.0)),
        ({"nodefs.available": "100", "nodefs.inodesFree": "20"}, (10.0, 40.0, 20.0, -10.0)),
        ({"nodefs.available": "60%"}, (60.0, -10.0, 0.0, 10.0)),
        ({"nodefs.available": "0%"}, (0.0, 50.0, 0.0, 10.0)),
        ({"imagefs.available": "15%"}, (0.0, 50.0, 0.0, 10.0)),
        ({"nodefs.available": "lots"}, (None, None, 0.0, 10.0)),
    ],
)
def test_what_is_left_of_a_file_system(hard: dict[str, str], expected: tuple[float | None, ...]) -> None:
    found = {"capacity_bytes": 1000, "available_percent": 50.0, "inodes": 100, "inodes_free_percent": 10.0}
    shown = kubelet_eviction.headroom(config(evictionHard=hard), "nodefs", found)
    keys = ("eviction_percent", "headroom_percent", "inodes_eviction_percent", "inodes_headroom_percent")
    assert tuple(shown[key] for key in keys) == expected


def test_a_file_system_without_inodes_has_nothing_left_of_them() -> None:
    found: dict[str, Any] = {
        "capacity_bytes": 0,
        "available_percent": None,
        "inodes": None,
        "inodes_free_percent": None,
    }
    hard = {"nodefs.available": "10%", "nodefs.inodesFree": "5%"}
    assert set(kubelet_eviction.headroom(config(evictionHard=hard), "nodefs", found).values()) == {None}


@pytest.mark.parametrize(
    ("hard", "soft", "begins", "percent"),
    [
        ({"memory.available": "1Gi"}, {}, GIB, 12.5),
        ({"memory.available": "1Gi"}, {"memory.available": "2Gi"}, 2 * GIB, 0.0),
        ({"memory.available": "50%"}, {}, 4 * GIB, -25.0),
        ({}, {}, 0, 25.0),
    ],
)
def test_what_is_left_of_memory_until_the_first_threshold(
    machine: Machine, hard: dict[str, str], soft: dict[str, str], begins: int, percent: float
) -> None:
    # 5 + 2 - 1 GiB of 8 are the working set.
    made = config(evictionHard=hard, evictionSoft=soft)
    left = kubelet_eviction.memory_headroom(machine("no-hugepages", STAT), made)
    assert (left["begins_bytes"], left["available_bytes"]) == (begins, 2 * GIB)
    assert (left["headroom_bytes"], left["headroom_percent"], left["reason"]) == (2 * GIB - begins, percent, None)


def test_a_machine_that_does_not_tell_its_working_set_has_a_reason(machine: Machine) -> None:
    left = kubelet_eviction.memory_headroom(machine("no-hugepages", {**STAT, "/proc/mounts": ""}), config())
    assert left["headroom_bytes"] is None
    assert left["reason"] == "no cgroup file system with the controller memory is mounted"
