# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory as the kernel, free(1) and the kubelet count it; swap and pressure."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.node import memory
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import Machine

KIB = 1024
V1_STAT = "/sys/fs/cgroup/memory/memory.stat"
V2 = "/sys/fs/cgroup"
MEMINFO = "MemTotal: 1000 kB\nMemFree: 400 kB\n"
ON_V2 = {
    "/proc/mounts": "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0",
    f"{V2}/cgroup.controllers": "cpu memory pids",
    f"{V2}/memory.stat": "anon 300000\nfile 200000\nkernel 90000\ninactive_file 150000",
    "/proc/meminfo": f"{MEMINFO}Hugetlb: 100 kB",
}


def kubelet(machine: Machine, files: dict[str, Any], tree: str = "no-hugepages") -> dict[str, Any]:
    found: dict[str, Any] = memory.facts(machine(tree, files))["kubelet"]
    return found


def test_each_line_of_meminfo_is_there_in_bytes(machine: Machine) -> None:
    lines = memory.facts(machine("debian12-memory"))["meminfo"]
    assert lines["MemTotal"] == 24684096 * KIB
    assert lines["Active(anon)"] == 2188 * KIB
    assert (lines["HugePages_Total"], lines["Hugepagesize"]) == (0, 2048 * KIB)
    assert len(lines) == len((machine("debian12-memory").read("/proc/meminfo") or "").splitlines())


@pytest.mark.parametrize(
    ("text", "used", "available"),
    [
        ("MemAvailable: 700 kB", 300, 700),
        # lxcfs and old kernels.
        ("MemAvailable: 2000 kB", 600, 400),
        ("", 600, 400),
    ],
)
def test_used_is_what_is_not_available(machine: Machine, text: str, used: int, available: int) -> None:
    found = memory.facts(machine("no-hugepages", {"/proc/meminfo": f"{MEMINFO}{text}"}))["free"]["mem"]
    assert (found["used"], found["available"]) == (used * KIB, available * KIB)


def test_buffers_page_cache_and_reclaimable_slabs_are_one_column(machine: Machine) -> None:
    text = f"{MEMINFO}Buffers: 1 kB\nCached: 20 kB\nSReclaimable: 300 kB\nKReclaimable: 5000 kB\nShmem: 7 kB"
    found = memory.facts(machine("no-hugepages", {"/proc/meminfo": text}))["free"]["mem"]
    assert (found["buff_cache"], found["shared"]) == (321 * KIB, 7 * KIB)


def test_on_v1_the_working_set_is_the_usage_without_the_inactive_page_cache(machine: Machine) -> None:
    files = {
        V1_STAT: "inactive_file 1\ntotal_inactive_file 4000000",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes": "10000000",
    }
    found = kubelet(machine, files, "debian12-memory")
    total = 24684096 * KIB
    assert (found["working_set_bytes"], found["available_bytes"]) == (6000000, total - 6000000)
    assert found["available_corrected_bytes"] == total - 6000000
    assert found["reason"] is None


def test_on_v2_the_root_is_anonymous_memory_and_files(machine: Machine) -> None:
    found = kubelet(machine, ON_V2)
    assert found["working_set_bytes"] == 350000
    assert found["available_bytes"] == 1000 * KIB - 350000
    assert found["available_corrected_bytes"] == 900 * KIB - 350000


def test_the_working_set_is_never_below_zero(machine: Machine) -> None:
    stat = {f"{V2}/memory.stat": "anon 1\nfile 1\ninactive_file 500"}
    assert kubelet(machine, {**ON_V2, **stat})["working_set_bytes"] == 0


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"/proc/mounts": ""}, "no cgroup file system with the controller memory is mounted"),
        ({f"{V2}/cgroup.controllers": "cpu"}, "no cgroup file system with the controller memory is mounted"),
        ({f"{V2}/cgroup.events": "populated 1"}, f"{V2} is a container's part of the tree, not the machine's"),
        ({f"{V2}/memory.stat": "anon 1"}, f"{V2} does not tell how much memory is in use"),
    ],
)
def test_what_the_kubelet_would_count_is_unknown_with_a_reason(machine: Machine, files: Any, reason: str) -> None:
    found = kubelet(machine, {**ON_V2, **files})
    assert set(found.values()) == {None, reason}


def test_without_the_size_of_all_pools_there_is_no_corrected_number(machine: Machine) -> None:
    text = f"{MEMINFO}HugePages_Total: 8\nHugepagesize: 2048 kB"
    found = kubelet(machine, {**ON_V2, "/proc/meminfo": text})
    assert found["available_bytes"] is not None
    assert found["available_corrected_bytes"] is None
    assert found["reason"] == "/proc/meminfo has no line Hugetlb: the size of all hugepage pools is not known"
    # A kernel without hugepages has no pools to leave out.
    found = kubelet(machine, {**ON_V2, "/proc/meminfo": MEMINFO})
    assert found["available_corrected_bytes"] == found["available_bytes"]


def test_swap_devices_with_hostile_names(machine: Machine) -> None:
    header = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
    text = (
        f"{header}/dev/vda3                               partition\t2097148\t\t12\t\t-2\n"
        "/sw\\040ap\\012x                            file\t\t1024\t\t0\t\t10\nnonsense\n"
    )
    devices = memory.facts(machine("debian12-memory", {"/proc/swaps": text}))["swap"]["devices"]
    assert devices == [
        {"path": "/dev/vda3", "type": "partition", "size_bytes": 2147479552, "used_bytes": 12288, "priority": -2},
        {"path": "/sw ap\nx", "type": "file", "size_bytes": 1048576, "used_bytes": 0, "priority": 10},
    ]


def test_pressure_is_in_percent_and_seconds(machine: Machine) -> None:
    text = "some avg10=1.50 avg60=0.12 avg300=0.05 total=12504131\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5"
    found = memory.facts(machine("debian12-memory", {"/proc/pressure/memory": text}))["pressure"]
    assert found["some"] == {"avg10": 1.5, "avg60": 0.12, "avg300": 0.05, "total_s": 12.504131}
    assert (found["full"]["total_s"], found["reason"]) == (0.000005, None)


def test_a_kernel_without_pressure_says_so(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    host = machine("no-hugepages", {"/proc/meminfo": MEMINFO})
    assert memory.facts(host)["pressure"] == {
        "some": None,
        "full": None,
        "reason": "this kernel has no pressure stall information",
    }
    read = host.read

    def off(path: str, limit: int = 1 << 20) -> str | None:
        if path == "/proc/pressure/memory":
            raise HostError(path, "cannot read: EOPNOTSUPP (Operation not supported)", "EOPNOTSUPP")
        return read(path, limit)

    monkeypatch.setattr(host, "read", off)
    assert memory.facts(host)["pressure"]["reason"] == "pressure stall information is off: boot with psi=1"


def test_a_meminfo_without_memory_is_an_error(machine: Machine) -> None:
    with pytest.raises(HostError, match="lacks the line MemTotal or MemFree"):
        memory.facts(machine("no-hugepages", {"/proc/meminfo": "nothing"}))


@pytest.mark.parametrize(
    ("lines", "percent"),
    [
        ("SwapTotal: 8388608 kB\nSwapFree: 1048576 kB", 87.5),
        ("SwapTotal: 8388608 kB\nSwapFree: 8388608 kB", 0.0),
        ("SwapTotal: 0 kB\nSwapFree: 0 kB", 0.0),
        ("", None),
    ],
)
def test_how_much_of_the_swap_is_used(machine: Machine, lines: str, percent: float | None) -> None:
    text = f"MemTotal: 1048576 kB\nMemFree: 1024 kB\n{lines}"
    assert memory.facts(machine("debian12-memory", {"/proc/meminfo": text}))["swap"]["used_percent"] == percent


@pytest.mark.parametrize(
    ("size", "blocks", "installed"),
    [
        ("8000000", 4, 512 << 20),
        ("80000000", 2, 4 << 30),
        ("", 2, None),
        ("x", 2, None),
        ("8000000", 0, None),
    ],
)
def test_the_memory_in_blocks_is_that_of_the_machine(
    machine: Machine, size: str, blocks: int, installed: int | None
) -> None:
    folder = "/sys/devices/system/memory"
    files = {f"{folder}/memory{number}/state": "online" for number in range(blocks)}
    host = machine("debian12-memory", {f"{folder}/block_size_bytes": size, f"{folder}/probe": "", **files})
    assert memory.facts(host)["installed_bytes"] == installed
