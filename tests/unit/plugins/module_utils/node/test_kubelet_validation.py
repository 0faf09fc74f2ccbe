# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kubelet refuses of its configuration: each case is a start that fails in every release."""

from __future__ import annotations

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.node import kubelet_facts
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import Files, Machine

CONFIG = "/var/lib/kubelet/config.yaml"
ARGUMENTS = {"/proc/901/cmdline": f"/usr/bin/kubelet\0--config={CONFIG}\0"}
SWAP = {"/proc/swaps": "Filename Type Size Used Priority\n/dev/vda3 partition 1 0 -2\n/swap file 1 0 -3\n"}
V1 = {"/proc/mounts": "cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0"}
PANIC = {f"/proc/sys/kernel/{name}": value for name, value in (("panic", "0"), ("panic_on_oops", "1"))}
SOFT = "evictionSoft: {memory.available: 1Gi}\n"


def conflicts(machine: Machine, document: str, files: Files) -> list[dict[str, str]] | None:
    host = machine("kubeadm-containerd", {**ARGUMENTS, CONFIG: document, **files})
    found: list[dict[str, str]] | None = kubelet_facts.facts(host)["config_conflicts"]
    return found


@pytest.mark.parametrize(
    ("document", "files"),
    [
        ("", {}),
        ("imageGCHighThresholdPercent: 50\nimageGCLowThresholdPercent: 49\n", {}),
        (SOFT + "evictionSoftGracePeriod: {memory.available: 1m}\n", {}),
        ("evictionHard: {memory.available: 0%, nodefs.available: 100%}\n", {}),
        ("cpuManagerPolicy: static\nreservedSystemCPUs: 0-1\n", {}),
        ("cpuManagerPolicy: static\nkubeReserved: {cpu: 500m}\n", {}),
        ("cpuManagerPolicy: static\nsystemReserved: {cpu: '1'}\n", {}),
        ("failSwapOn: false\n", SWAP),
        ("", {"/proc/swaps": "Filename Type Size Used Priority\n"}),
        # Unset, it depends on the release.
        ("", V1),
        ("failCgroupV1: false\n", V1),
        ("", PANIC),
        ("topologyManagerPolicy: single-numa-node\ntopologyManagerScope: pod\n", {}),
    ],
)
def test_what_the_kubelet_takes_is_no_conflict(machine: Machine, document: str, files: Files) -> None:
    assert conflicts(machine, document, files) == []


@pytest.mark.parametrize(
    ("document", "files", "field", "reason"),
    [
        (
            "imageGCLowThresholdPercent: 85\n",
            {},
            "imageGCLowThresholdPercent",
            "is 85, and must be below imageGCHighThresholdPercent, 85",
        ),
        ("imageGCHighThresholdPercent: 101\n", {}, "imageGCHighThresholdPercent", "is 101, expected 0 to 100"),
        ("maxPods: -1\n", {}, "maxPods", "is -1, expected none below 0"),
        (
            "topologyManagerPolicy: best\n",
            {},
            "topologyManagerPolicy",
            "is 'best', expected one of none, best-effort, restricted, single-numa-node",
        ),
        ("cpuManagerPolicy: Static\n", {}, "cpuManagerPolicy", "is 'Static', expected one of none, static"),
        ("memoryManagerPolicy: static\n", {}, "memoryManagerPolicy", "is 'static', expected one of None, Static"),
        (SOFT, {}, "evictionSoftGracePeriod", "lacks memory.available, which evictionSoft has"),
        (
            "evictionHard: {memory.available: '0'}\n",
            {},
            "evictionHard",
            "memory.available is '0', expected a size above 0, or 0% to 100%",
        ),
        (
            "evictionHard: {nodefs.available: 120%}\n",
            {},
            "evictionHard",
            "nodefs.available is '120%', expected a size above 0, or 0% to 100%",
        ),
        (
            "cpuManagerPolicy: static\nkubeReserved: {memory: 1Gi, cpu: '0'}\n",
            {},
            "cpuManagerPolicy",
            "is static, which needs a CPU in kubeReserved, systemReserved or reservedSystemCPUs",
        ),
        (
            "systemReserved: {memory: 64Gi}\n",
            {},
            "kubeReserved",
            f"{(64 << 30) + (100 << 20)} bytes of memory are reserved, the machine has {32 << 30}",
        ),
        ("", SWAP, "failSwapOn", "is true, and swap is on: /dev/vda3, /swap"),
        ("failCgroupV1: true\n", V1, "failCgroupV1", "is true, and the machine runs cgroup v1"),
        (
            "protectKernelDefaults: true\n",
            PANIC,
            "protectKernelDefaults",
            "is true, and kernel.panic is 0, expected 10",
        ),
    ],
)
def test_what_it_refuses_is_named_with_its_field(
    machine: Machine, document: str, files: Files, field: str, reason: str
) -> None:
    assert conflicts(machine, document, files) == [{"field": field, "reason": reason}]


def test_a_configuration_that_cannot_be_read_is_no_conflict_but_unknown(machine: Machine) -> None:
    assert conflicts(machine, "maxPods: [\n", {}) is None
    assert kubelet_facts.facts(machine("no-hugepages"))["config_conflicts"] is None


@pytest.mark.parametrize(
    ("document", "files", "expected"),
    [
        (
            "maxPods: 110\npodPidsLimit: 1024\n",
            {"/proc/sys/kernel/pid_max": "32768", "/proc/sys/kernel/threads-max": "100000"},
            {"most": 112640, "machine_max": 32768, "ratio": 3.438, "reason": None},
        ),
        (
            "maxPods: 110\npodPidsLimit: 1024\n",
            {},
            {"most": 112640, "machine_max": None, "ratio": None, "reason": None},
        ),
        ("", {}, {"most": None, "machine_max": None, "ratio": None, "reason": "podPidsLimit sets no limit"}),
    ],
)
def test_the_limits_of_all_pods_beside_the_machine(
    machine: Machine, document: str, files: Files, expected: dict[str, object]
) -> None:
    host = machine("kubeadm-containerd", {**ARGUMENTS, CONFIG: document, **files})
    assert kubelet_facts.facts(host)["pod_pids"] == expected


def test_nodefs_is_the_file_system_of_the_kubelets_folder(machine: Machine) -> None:
    found = kubelet_facts.facts(machine("kubeadm-containerd"))["node_fs"]
    assert (found["path"], found["mountpoint"], found["device"]) == ("/var/lib/kubelet", "/var", "/dev/vda2")
    assert (found["eviction_percent"], found["inodes_eviction_percent"]) == (10.0, 5.0)
    assert found["headroom_percent"] == pytest.approx(found["available_percent"] - 10, abs=0.01)
    assert kubelet_facts.facts(machine("no-hugepages"))["node_fs"] is None
