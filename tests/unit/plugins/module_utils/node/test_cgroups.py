# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Control groups: the version, and what of them reaches the pods."""

from __future__ import annotations

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.node import cgroups
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import Machine


@pytest.mark.parametrize(
    ("mounts", "version"),
    [
        ("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0", "v2"),
        ("cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0", "v1"),
        ("cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0", "hybrid"),
        # What containers with systemd inside want on a v2 machine; the kubelet looks at /sys/fs/cgroup alone.
        ("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\ncgroup /sys/fs/cgroup/systemd cgroup rw,name=systemd 0 0", "v2"),
        ("tmpfs /sys/fs/cgroup tmpfs rw 0 0", None),
        ("", None),
    ],
)
def test_the_version_is_what_is_mounted(machine: Machine, mounts: str, version: str | None) -> None:
    assert cgroups.version(machine("no-hugepages", {"/proc/mounts": mounts})) == version


ON_V2 = {
    "/proc/mounts": "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0",
    "/sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory hugetlb pids",
    "/sys/fs/cgroup/cgroup.subtree_control": "cpu memory pids",
}
PODS_V2 = {
    "/sys/fs/cgroup/kubepods.slice/cgroup.controllers": "cpu memory hugetlb pids",
    "/sys/fs/cgroup/kubepods.slice/pids.current": "412",
    "/sys/fs/cgroup/kubepods.slice/pids.max": "115213",
}


def test_the_facts_of_a_captured_hybrid_machine(machine: Machine) -> None:
    found = cgroups.facts(machine("debian12-memory"))
    controllers = {controller.pop("name"): tuple(controller.values()) for controller in found.pop("controllers")}
    assert len(controllers) == 12
    assert (controllers["memory"], controllers["hugetlb"]) == ((4, True), (0, True))
    pids = found.pop("pids")
    assert (pids["current"], pids["max"], pids["fullness"]) == (None, None, None)
    assert found == {
        "version": "hybrid",
        "delegated": None,
        "kubepods": {"present": False, "path": None, "driver": None},
        "psi": True,
        "reason": None,
    }


def test_what_reaches_the_pods_on_v2(machine: Machine) -> None:
    found = cgroups.facts(machine("no-hugepages", {**ON_V2, **PODS_V2}))
    assert found["kubepods"] == {"present": True, "path": "kubepods.slice", "driver": "systemd"}
    assert found["delegated"] == ["cpu", "memory", "hugetlb", "pids"]
    assert (found["pids"]["current"], found["pids"]["max"], found["pids"]["fullness"]) == (412, 115213, 0.0036)
    assert (found["psi"], found["reason"]) == (False, None)
    # Without pods, what the root hands down.
    assert cgroups.facts(machine("no-hugepages", ON_V2))["delegated"] == ["cpu", "memory", "pids"]


def test_a_kernel_that_lists_no_v2_controllers_still_has_them(machine: Machine) -> None:
    files = {**ON_V2, "/proc/cgroups": "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t0\t9\t1\ndevices\t0\t9\t0"}
    found = cgroups.facts(machine("no-hugepages", files))["controllers"]
    assert found[:2] == [
        {"name": "cpu", "hierarchy": 0, "enabled": True},
        {"name": "devices", "hierarchy": 0, "enabled": False},
    ]
    assert {"name": "memory", "hierarchy": 0, "enabled": True} in found[2:]


@pytest.mark.parametrize(
    ("folder", "driver"),
    [
        ("kubepods", "cgroupfs"),
        ("kubelet.slice/kubelet-kubepods.slice", "systemd"),
        ("kubelet/kubepods", "cgroupfs"),
    ],
)
def test_the_driver_is_told_by_the_name(machine: Machine, folder: str, driver: str) -> None:
    path = f"/sys/fs/cgroup/memory/{folder}/tasks"
    pids = {f"/sys/fs/cgroup/pids/{folder}/pids.max": "max", f"/sys/fs/cgroup/pids/{folder}/pids.current": "7"}
    found = cgroups.facts(machine("debian12-memory", {path: "", **pids}))
    assert found["kubepods"] == {"present": True, "path": folder, "driver": driver}
    assert (found["pids"]["current"], found["pids"]["max"]) == (7, "unlimited")


@pytest.mark.parametrize(
    ("files", "present", "reason"),
    [
        ({"/proc/mounts": ""}, None, "no cgroup file system with the controller memory or cpu is mounted"),
        (
            {**ON_V2, "/sys/fs/cgroup/cgroup.events": ""},
            None,
            "/sys/fs/cgroup is a container's part of the tree: the kubelet's cgroups cannot be seen",
        ),
        (
            {**ON_V2, **PODS_V2, "/sys/fs/cgroup/kubepods/cgroup.procs": ""},
            True,
            "the cgroups of two drivers are there: kubepods.slice and kubepods",
        ),
    ],
)
def test_what_cannot_be_told_of_pods_has_a_reason(
    machine: Machine, files: dict[str, str], present: bool | None, reason: str
) -> None:
    found = cgroups.facts(machine("no-hugepages", files))
    assert found["kubepods"]["present"] is present
    assert (found["kubepods"]["driver"], found["reason"]) == (None, reason)


PID_MAX, THREADS_MAX = "/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"


@pytest.mark.parametrize(
    ("files", "current", "most", "fullness"),
    [
        # The smaller ceiling counts, and tasks are the second number of the fourth word.
        ({PID_MAX: "32768", THREADS_MAX: "192731", "/proc/loadavg": "0.1 0.2 0.3 5/16384 99"}, 16384, 32768, 0.5),
        ({PID_MAX: "4194304", THREADS_MAX: "1000", "/proc/loadavg": "0.1 0.2 0.3 5/250 99"}, 250, 1000, 0.25),
        ({PID_MAX: "32768", "/proc/loadavg": "0.1 0.2 0.3 5/250 99"}, 250, None, None),
        ({PID_MAX: "32768", THREADS_MAX: "1000"}, None, 1000, None),
        ({PID_MAX: "32768", THREADS_MAX: "1000", "/proc/loadavg": "nonsense"}, None, 1000, None),
    ],
)
def test_the_tasks_of_the_machine_beside_what_it_can_have(
    machine: Machine, files: dict[str, str], current: int | None, most: int | None, fullness: float | None
) -> None:
    pids = cgroups.facts(machine("no-hugepages", files))["pids"]
    assert (pids["machine_current"], pids["machine_max"], pids["machine_fullness"]) == (current, most, fullness)


def test_pods_without_a_limit_have_what_the_machine_has(machine: Machine) -> None:
    files = {**ON_V2, **PODS_V2, PID_MAX: "824", THREADS_MAX: "9000", "/sys/fs/cgroup/kubepods.slice/pids.max": "max"}
    assert cgroups.facts(machine("no-hugepages", files))["pids"]["fullness"] == 0.5
