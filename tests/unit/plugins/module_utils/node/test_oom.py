# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was killed for want of memory, on the machine and in its pods."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.node import oom
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import Machine

V1 = "/sys/fs/cgroup/memory"
V2 = "/sys/fs/cgroup"
ON_V2 = {"/proc/mounts": "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0", f"{V2}/cgroup.controllers": "memory"}
POD = "kubepods.slice/kubepods-podaa.slice"
HOSTILE = "cri-containerd-\x1b[31m;$(reboot).scope"


def test_the_machine_s_own_count(machine: Machine) -> None:
    assert oom.facts(machine("debian12-memory", {"/proc/vmstat": "oom_kill 7\noom_killer 9"})) == {
        "kills": 7,
        "outside_pods": None,
        "pods": {"kills": None, "kills_per_day": None, "reason": "this machine has no cgroup of all pods"},
        "cgroups": [],
        "reason": None,
    }


def test_a_kernel_that_does_not_count(machine: Machine) -> None:
    found = oom.facts(machine("no-hugepages", {"/proc/vmstat": "pgfault 1"}))
    assert (found["kills"], found["reason"]) == (
        None,
        "/proc/vmstat has no oom_kill: Linux 4.13 is the first that counts",
    )


def test_on_v2_the_group_of_all_pods_counts_those_that_are_gone(machine: Machine) -> None:
    files = {
        **ON_V2,
        f"{V2}/kubepods.slice/memory.events": "low 0\noom 9\noom_kill 12\noom_group_kill 0",
        f"{V2}/kubepods.slice/memory.events.local": "oom_kill 0",
        f"{V2}/{POD}/memory.events": "oom_kill 5",
        f"{V2}/{POD}/memory.events.local": "oom_kill 0",
        f"{V2}/{POD}/cri-containerd-1.scope/memory.events.local": "oom_kill 2",
        f"{V2}/{POD}/cri-containerd-2.scope/memory.events.local": "oom_kill 3",
        f"{V2}/{POD}/cri-containerd-3.scope/memory.events.local": "oom_kill 0",
    }
    found = oom.facts(machine("no-hugepages", files))
    assert found["pods"] == {"kills": 12, "kills_per_day": 12.0, "reason": None}
    assert found["cgroups"] == [
        {"path": f"{POD}/cri-containerd-2.scope", "kills": 3},
        {"path": f"{POD}/cri-containerd-1.scope", "kills": 2},
    ]


def test_before_linux_5_2_the_lowest_groups_are_listed(machine: Machine) -> None:
    files = {
        **ON_V2,
        f"{V2}/kubepods/memory.events": "oom_kill 4",
        f"{V2}/kubepods/podbb/memory.events": "oom_kill 4",
        f"{V2}/kubepods/podbb/cc/memory.events": "oom_kill 4",
    }
    found = oom.facts(machine("no-hugepages", files))
    assert found["cgroups"] == [{"path": "kubepods/podbb/cc", "kills": 4}]


def test_on_v1_the_groups_that_exist_are_added_up(machine: Machine) -> None:
    files = {
        f"{V1}/kubepods/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 0",
        f"{V1}/kubepods/burstable/podbb/cc/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2",
        f"{V1}/kubepods/besteffort/poddd/ee/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1",
        f"{V1}/other/memory.oom_control": "oom_kill 50",
    }
    found = oom.facts(machine("debian12-memory", files))
    assert found["pods"]["kills"] == 3
    assert found["pods"]["reason"].startswith("on cgroup v1 only the groups that still exist are counted")
    assert [group["path"] for group in found["cgroups"]] == [
        "kubepods/burstable/podbb/cc",
        "kubepods/besteffort/poddd/ee",
    ]


def test_many_and_hostile_groups_are_bounded(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oom, "_VISITED", 60)
    files: dict[str, Any] = {f"{V1}/kubepods/pod{n:03}/memory.oom_control": f"oom_kill {n}" for n in range(90)}
    files[f"{V1}/kubepods/{HOSTILE}/memory.oom_control"] = "oom_kill 5\noom_kill x"
    found = oom.facts(machine("debian12-memory", files))
    assert len(found["cgroups"]) == 50
    assert found["cgroups"][0]["kills"] == 58
    assert found["reason"] == "of the groups of pods the first 60 were looked at"


@pytest.mark.parametrize(
    ("uptime", "vmstat", "outside", "per_day"),
    [
        ("864000.00 1.0", "oom_kill 50", 10, 4.0),
        # Less than a day counts for one: two kills in the first minute are no thousands.
        ("60.00 1.0", "oom_kill 40", 0, 40.0),
        ("864000.00 1.0", "pgfault 1", None, 4.0),
    ],
)
def test_kills_outside_of_pods_and_per_day(
    machine: Machine, uptime: str, vmstat: str, outside: int | None, per_day: float
) -> None:
    files = {**ON_V2, f"{V2}/kubepods.slice/memory.events": "oom_kill 40", "/proc/vmstat": vmstat}
    found = oom.facts(machine("no-hugepages", {**files, "/proc/uptime": uptime}))
    assert (found["outside_pods"], found["pods"]["kills_per_day"]) == (outside, per_day)


def test_on_v1_it_is_not_known_whether_a_pod_that_is_gone_was_hit(machine: Machine) -> None:
    files = {f"{V1}/kubepods/memory.oom_control": "oom_kill 1", "/proc/vmstat": "oom_kill 7"}
    assert oom.facts(machine("debian12-memory", files))["outside_pods"] is None
