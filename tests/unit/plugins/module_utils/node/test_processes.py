# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes by name, and the units that they run in."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.node import processes
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import Machine


def files(pid: int, name: str, **more: str) -> dict[str, Any]:
    """The files of one process."""
    stat = f"{pid} ({name}) S 1 {pid} {pid} 0 -1 4194560 1 0 0 0 10 5 0 0 20 0 20 0 4000 100 200"
    status = f"Name:\t{name}\nUid:\t0\t0\t0\t0\nNSpid:\t{pid}"
    texts = {"comm": name, "stat": stat, "status": status, "cgroup": "0::/system.slice/x.service", **more}
    return {f"/proc/{pid}/{file}": text for file, text in texts.items()}


def test_processes_come_in_the_order_of_their_numbers(machine: Machine) -> None:
    tree = machine(
        "no-hugepages", {**files(1000, "sshd"), **files(99, "sshd"), **files(5, "bash"), "/proc/12x/comm": "sshd"}
    )
    assert [process.pid for process in processes.named(tree, ["sshd", "containerd"])] == [99, 1000]


def test_a_longer_name_is_the_one_that_the_kernel_cut(machine: Machine) -> None:
    tree = machine("no-hugepages", files(7, "qemu-system-x86"))
    assert [process.name for process in processes.named(tree, ["qemu-system-x86_64"])] == ["qemu-system-x86"]


@pytest.mark.parametrize("options", ["rw,hidepid=invisible", "rw,nosuid,hidepid=2,gid=4", "rw,hidepid=ptraceable"])
def test_hidden_processes_are_an_error_not_their_absence(machine: Machine, options: str) -> None:
    mounts = {"/proc/mounts": f"proc /proc proc {options} 0 0"}
    hidden = machine("no-hugepages", {**mounts, **files(7, "sshd")})
    shutil.rmtree(f"{hidden.root}/proc/1", ignore_errors=True)
    with pytest.raises(HostError, match="hidepid"):
        processes.named(hidden, ["kubelet"])
    # Who sees the first one sees all: root, and the group that is let in.
    seen = machine("no-hugepages", {**mounts, **files(1, "systemd")})
    assert processes.named(seen, ["kubelet"]) == []


def test_a_process_tells_of_itself(machine: Machine) -> None:
    (found,) = processes.named(machine("no-hugepages", files(7, "sshd", cmdline="sshd\0-D\0\0")), ["sshd"])
    assert (found.uid, found.parent, found.started_at, found.unit) == (0, 1, 40.0, "x.service")
    assert found.arguments == ("sshd", "-D", "")
    assert found.is_system


def test_a_hostile_name_changes_nothing_else(machine: Machine) -> None:
    name = "a) S 9 (\n\x1b[31m"
    (found,) = processes.named(machine("no-hugepages", files(7, name)), [name])
    assert (found.name, found.parent, found.started_at) == (name, 1, 40.0)


@pytest.mark.parametrize(
    "status",
    ["Uid:\t1000\t0\t0\t0\nNSpid:\t7", "Uid:\t0\t0\t0\t0\nNSpid:\t7\t1", "", "Name:\tUid:\t0\t\nUid:\t5\t0\t0\t0"],
)
def test_another_user_s_or_a_container_s_process_is_not_the_system_s(machine: Machine, status: str) -> None:
    (found,) = processes.named(machine("no-hugepages", files(7, "kubelet", status=status)), ["kubelet"])
    assert not found.is_system


def test_one_that_has_ended_meanwhile_knows_nothing(machine: Machine) -> None:
    (found,) = processes.named(machine("no-hugepages", {"/proc/7/comm": "sshd"}), ["sshd"])
    assert (found.uid, found.parent, found.started_at, found.unit, found.arguments) == (None, None, None, None, ())


@pytest.mark.parametrize(
    ("cgroup", "unit"),
    [
        ("0::/system.slice/containerd.service", "containerd.service"),
        ("0::/system.slice/system-db.slice/db@main\\x2done.service", "db@main\\x2done.service"),
        ("0::/system.slice/k3s.service/init", "k3s.service"),
        ("0::/system.slice/gone.service (deleted)", "gone.service"),
        ("0::/user.slice/user-0.slice/session-1.scope", "session-1.scope"),
        ("0::/user.slice/user-0.slice/user@0.service/app.slice/x.service", "user@0.service"),
        ("0::/kubepods.slice/kubepods-podaa.slice/cri-containerd-1.scope", "cri-containerd-1.scope"),
        ("0::/system.slice/_memory.service", "memory.service"),
        ("0::/../../system.slice/x.service", "x.service"),
        ("9:name=systemd:/system.slice/a.service\n4:memory:/system.slice/b.service\n0::/", "a.service"),
        ("4:memory:/system.slice/b.service\n0::/system.slice/a.service", "a.service"),
        ("0::/kubepods/burstable/podaa/cc", None),
        ("0::/system.slice/a b.service", None),
        ("0::/", None),
        ("", None),
    ],
)
def test_the_unit_is_the_first_below_the_slices(machine: Machine, cgroup: str, unit: str | None) -> None:
    (found,) = processes.named(machine("no-hugepages", files(7, "sshd", cgroup=cgroup)), ["sshd"])
    assert found.unit == unit
