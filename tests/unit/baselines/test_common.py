# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controls of every machine that have more sides than one case of each kind shows."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulwark.node.tests.unit.baselines.conftest import judged

MISSING = ["/sys/fs/cgroup/kubepods.slice/hugetlb.1GB.max"]
NOT_DELEGATED = {"hugepages.cgroup": {"ready": False, "version": "v2", "reason": "not delegated", "missing": MISSING}}
NO_CONTROLLER = {"hugepages.cgroup": {"ready": False, "version": "v1", "reason": "not mounted", "missing": []}}
STOPPED = {"hugepages.kubelet.running": False}
NO_PAGES = {"hugepages.pool_bytes": 0}
THP_ALWAYS = {"transparent_hugepages.defrag": "always", "transparent_hugepages.always_for": ["2M"]}


@pytest.mark.parametrize(
    ("control", "patch", "status", "reason"),
    [
        ("hugepages-cgroup-ready", {**NOT_DELEGATED, **NO_PAGES}, "fail", "the next start of the kubelet fails"),
        # The kubelet that this very fault stops: its cgroups tell that this is a node.
        (
            "hugepages-cgroup-ready",
            {**NOT_DELEGATED, **STOPPED},
            "fail",
            "does not run and cannot start: not delegated",
        ),
        (
            "hugepages-cgroup-ready",
            NO_CONTROLLER,
            "fail",
            "starts without hugepages, though there are pages: not mounted",
        ),
        ("hugepages-cgroup-ready", {**NO_CONTROLLER, **NO_PAGES}, "not_applicable", "nodes with a kubelet"),
        ("hugepages-cgroup-ready", {**NO_CONTROLLER, **STOPPED}, "not_applicable", "nodes with a kubelet"),
        ("hugepages-cgroup-ready", {"hugepages.pools": []}, "not_applicable", "whose kernel has hugepages"),
        ("hugepages-cgroup-ready", {"hugepages.cgroup.ready": "yes"}, "error", "gave yes; expected true or false"),
        ("hugepages-kubelet-restart", NO_PAGES, "not_applicable", "with hugepages"),
        (
            "hugepages-kubelet-restart",
            {**NO_PAGES, "hugepages.kubelet.restart_needed": True, "hugepages.kubelet.reason": "8 pages, none now"},
            "fail",
            "8 pages, none now",
        ),
        ("hugepages-kubelet-restart", STOPPED, "not_applicable", "with a kubelet"),
        ("hugepages-boot-args-met", {"hugepages.boot_args": None}, "unknown", "hugepages.boot_args is not known"),
        ("hugepages-idle-memory", {"hugepages.idle_percent": 10.1}, "fail", "10.1 % of memory"),
        ("hugepages-idle-memory", NO_PAGES, "not_applicable", "pages in their pools"),
        ("hugepages-idle-memory", {"hugepages.idle_percent": 80.0, "host.uptime_s": 60}, "not_applicable", "an hour"),
        ("hugepages-idle-memory", {"host": None}, "unknown", "the facts subset host failed"),
        ("thp-direct-compaction", THP_ALWAYS, "fail", "every page fault may stall"),
        ("thp-direct-compaction", {**THP_ALWAYS, "transparent_hugepages.defrag": "defer+madvise"}, "pass", ""),
        # A kernel without them has none to wait for; where defrag alone is not told, it may be always.
        (
            "thp-direct-compaction",
            {"transparent_hugepages.defrag": None, "transparent_hugepages.always_for": []},
            "pass",
            "",
        ),
        ("memory-eviction-possible", {"kubelet.memory_eviction.begins_bytes": 0}, "not_applicable", "kubelet evicts"),
        ("memory-eviction-possible", {"kubelet.running": False}, "not_applicable", "kubelet evicts"),
        # Names of links and daemons come from the node: a row's own null costs no verdict that does not hang on it.
        ("link-mtu-fits", {"links[0].mtu": None}, "pass", ""),
        ("passthrough-iommu", {"pci.devices[0].driver": None}, "not_applicable", "devices for guests"),
        ("kernel-args-made", {"kernel_args": None}, "unknown", "the facts subset kernel_args failed"),
        ("managed-as-written", {"managed.drifted": [], "managed.unknown": []}, "pass", ""),
        ("rlimits-nofile-bounded", {"rlimits.processes[0].limits.nofile.soft": "unlimited"}, "fail", "has unlimited"),
        # What was set lately may wait for its restart or reboot: a run that hardens does not make a host worse.
        ("kernel-args-pending", {"kernel_args.entry_days": 0}, "pass", ""),
        ("kernel-args-pending", {"kernel_args.entry_days": None}, "unknown", "kernel_args.entry_days is not known"),
        ("rlimits-as-configured", {"rlimits.processes[0].differs[0].days": 0}, "pass", ""),
        ("rlimits-as-configured", {"rlimits.processes[0].differs[0].days": None}, "unknown", "days is not known"),
        ("rlimits-nofile-bounded", {"rlimits.processes": []}, "not_applicable", "containerd, CRI-O or Docker"),
    ],
)
def test_a_control_of_every_machine(control: str, patch: dict[str, Any], status: str, reason: str) -> None:
    finding = judged("common", control, patch)
    assert (finding["status"], reason in (finding["reason"] or "")) == (status, True), finding["reason"]


@pytest.mark.parametrize(
    ("params", "status"),
    [({}, "not_applicable"), ({"passthrough": True}, "fail")],
)
def test_who_plans_to_pass_devices_through_is_told_before(params: dict[str, Any], status: str) -> None:
    checks = [{"name": "iommu_groups", "status": "fail", "detail": "no group", "profiles": ["passthrough"]}]
    assert judged("common", "passthrough-iommu", {"kvm.checks": checks}, params)["status"] == status


def test_a_kubelet_that_counts_hugepages_itself_is_not_judged() -> None:
    params = {"kubelet_counts_hugepages": True}
    assert judged("common", "memory-eviction-possible", {}, params)["status"] == "not_applicable"
