# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether hugepages reach the pods, over trees of both cgroup versions."""

from __future__ import annotations

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.node import hugetlb_cgroup
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import Machine

SIZES = (2 << 20, 1 << 30)
V1, V2 = "/sys/fs/cgroup/hugetlb", "/sys/fs/cgroup"
INTERRUPTED = "the kubelet's cgroups lack hugetlb files: an interrupted start left them incomplete"
UNDELEGATED = "the kubelet's cgroups lack hugetlb files: the hugetlb controller is not delegated to them"


@pytest.mark.parametrize(
    ("tree", "ready", "version", "reason", "missing"),
    [
        ("cgroup-v2-systemd", True, "v2", None, []),
        (
            "debian12-hybrid",
            False,
            "hybrid",
            "the hugetlb controller is in the unified tree while others are v1: the kubelet then reports no hugepages",
            [],
        ),
        (
            "kubelet-cgroup-v1",
            False,
            "v1",
            INTERRUPTED,
            [f"{V1}/kubepods/burstable/hugetlb.1GB.limit_in_bytes", f"{V1}/kubepods/besteffort"],
        ),
        (
            "kubepods-slice-v1",
            False,
            "v1",
            INTERRUPTED,
            [
                f"{V1}/kubepods.slice/hugetlb.1GB.limit_in_bytes",
                f"{V1}/kubepods.slice/kubepods-burstable.slice/hugetlb.1GB.limit_in_bytes",
                f"{V1}/kubepods.slice/kubepods-besteffort.slice",
            ],
        ),
        (
            "kubelet-cgroup-v2",
            False,
            "v2",
            UNDELEGATED,
            [
                f"{V2}/kubepods.slice/kubepods-{qos}.slice/hugetlb.{size}.max"
                for qos in ("burstable", "besteffort")
                for size in ("2MB", "1GB")
            ],
        ),
        (
            "k3s-cgroup-v2",
            False,
            "v2",
            UNDELEGATED,
            [
                f"{V2}/{group}/hugetlb.{size}.max"
                for group in ("kubepods", "kubepods/burstable", "kubepods/besteffort")
                for size in ("2MB", "1GB")
            ],
        ),
        ("no-hugepages", None, None, "no cgroup file system is mounted", []),
    ],
)
def test_hugepages_reach_the_pods_or_what_is_missing_is_named(
    machine: Machine, tree: str, ready: bool | None, version: str | None, reason: str | None, missing: list[str]
) -> None:
    facts = hugetlb_cgroup.readiness(machine(tree), SIZES).facts()
    assert facts == {"ready": ready, "version": version, "reason": reason, "missing": missing}


def test_a_controller_is_named_by_gb_mb_and_kb_as_the_kernel_does(machine: Machine) -> None:
    host = machine("k3s-cgroup-v2")
    sizes = (64 << 10, 32 << 20, 512 << 20, 16 << 30)
    missing = hugetlb_cgroup.readiness(host, sizes).missing[:4]
    assert [path.split(".")[1] for path in missing] == ["64KB", "32MB", "512MB", "16GB"]


@pytest.mark.parametrize(
    ("files", "without", "reason"),
    [
        ({}, ["/proc/cgroups"], "this kernel has no hugetlb controller, or it is disabled"),
        ({"/proc/cgroups": "hugetlb\t9\t1\t0"}, [], "this kernel has no hugetlb controller, or it is disabled"),
        ({"/proc/cgroups": "hugetlb\t0\t1\t1"}, [], "the hugetlb controller is not mounted"),
    ],
)
def test_a_v1_machine_without_the_controller_says_why(
    machine: Machine, files: dict[str, str], without: list[str], reason: str
) -> None:
    mounts = {"/proc/mounts": "cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0"}
    readiness = hugetlb_cgroup.readiness(machine("kubelet-cgroup-v1", {**mounts, **files}, without), SIZES)
    assert readiness.ready is False
    assert readiness.reason is not None
    assert readiness.reason.startswith(reason)


def test_a_v2_machine_without_the_controller_says_why(machine: Machine) -> None:
    host = machine("cgroup-v2-systemd", {"/sys/fs/cgroup/cgroup.controllers": "cpu memory"})
    assert "no hugetlb controller" in (hugetlb_cgroup.readiness(host, SIZES).reason or "")
    assert hugetlb_cgroup.readiness(host, ()).reason == "this kernel has no hugepages"


def test_the_groups_of_a_kubelet_below_another_group_count(machine: Machine) -> None:
    host = machine(
        "cgroup-v2-systemd", {"/sys/fs/cgroup/kubelet.slice/kubelet-kubepods.slice/cgroup.controllers": "cpu"}
    )
    assert hugetlb_cgroup.readiness(host, SIZES).missing == (
        "/sys/fs/cgroup/kubelet.slice/kubelet-kubepods.slice/hugetlb.2MB.max",
        "/sys/fs/cgroup/kubelet.slice/kubelet-kubepods.slice/hugetlb.1GB.max",
    )
