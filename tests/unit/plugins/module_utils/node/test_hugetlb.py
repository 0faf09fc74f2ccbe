# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel says about hugepages: exact facts of each tree, and how the kernel binds its boot arguments."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.node import hugetlb, hugetlb_resize
from ansible_collections.bulwark.node.plugins.module_utils.units import format_size, parse_size
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import CHANGED, Machine

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
UNKNOWN = "the kernel keeps no time of a pool's last change; compare the Node's capacity with the pools"
NO_KUBELET = {"running": False, "unit": None, "restart_needed": False, "reason": "no kubelet is running"}
READY = {"ready": True, "version": "v2", "reason": None, "missing": []}


def pool(size: str, total: int = 0, free: int | None = None, nodes: Any = None, **more: int) -> dict[str, Any]:
    """A pool's facts; ``nodes`` as {node: (total, free)}, by default all on node 0."""
    free = total if free is None else free
    numbers = {"total": total, "free": free, "reserved": 0, "surplus": 0, "overcommit": 0, **more}
    parts = nodes if nodes is not None else {0: (total, free)}
    return {
        "size": size,
        "size_bytes": parse_size(size),
        **numbers,
        "unclaimed": free - numbers["reserved"],
        "nodes": [{"node": n, "total": t, "free": f, "surplus": 0} for n, (t, f) in parts.items()],
    }


def mount(path: str, size: str | None) -> dict[str, Any]:
    return {"path": path, "size": size, "size_bytes": None if size is None else parse_size(size)}


def arg(size: str, count: int | None, nodes: dict[str, int] | None = None) -> dict[str, Any]:
    return {"size": size, "size_bytes": parse_size(size), "count": count, "nodes": nodes}


def facts(memory: int, *pools: dict[str, Any], at_boot: Any = (), **more: Any) -> dict[str, Any]:
    """``at_boot``: {size: pages after the next boot} of those that get others than they have."""
    idle = sum(each["size_bytes"] * each["unclaimed"] for each in pools)
    return {
        "default_size_bytes": 2 * MIB,
        "pools": list(pools),
        "pool_bytes": sum(each["size_bytes"] * each["total"] for each in pools),
        "memory_total_bytes": memory,
        "idle_bytes": idle,
        "idle_percent": round(100 * idle / memory, 1),
        "boot_unmet": [],
        "next_boot": [
            {
                "size": each["size"],
                "size_bytes": each["size_bytes"],
                "now": each["total"],
                "total": dict(at_boot).get(each["size"], each["total"]),
            }
            for each in pools
        ],
        "next_boot_reason": None,
        "mounts": [mount("/dev/hugepages", "2M")],
        "boot_args": [],
        "cgroup": READY,
        "kubelet": NO_KUBELET,
        "reason": None,
        **more,
    }


FACTS = {
    "cgroup-v2-systemd": facts(16 * GIB, pool("2M"), pool("1G")),
    "rivals": facts(16 * GIB, pool("2M"), pool("1G"), at_boot={"2M": 16, "1G": 2}),
    "tuned": facts(16 * GIB, pool("2M"), pool("1G"), at_boot={"2M": 100, "1G": 2}),
    "two-numa-nodes": facts(
        128 * GIB,
        pool("2M", 512, 300, {0: (256, 200), 1: (256, 100)}, reserved=50),
        pool("1G", 6, 3, {0: (4, 3), 1: (2, 0)}),
        mounts=[mount("/dev/hugepages", "2M"), mount("/mnt/huge1g", "1G")],
        boot_args=[arg("1G", None, {"0": 4, "1": 2}), arg("2M", 512)],
    ),
    "arm64-64k-pages": facts(
        64 * GIB,
        pool("64K"),
        pool("2M"),
        pool("32M", 2, 1),
        pool("512M", 3),
        pool("1G", 1),
        default_size_bytes=512 * MIB,
        mounts=[mount("/dev/hugepages", "512M")],
        boot_args=[arg("512M", 3), arg("1G", 1), arg("32M", 2)],
    ),
    "no-hugepages": facts(
        GIB,
        default_size_bytes=None,
        mounts=[],
        cgroup={"ready": None, "version": None, "reason": "no cgroup file system is mounted", "missing": []},
        reason="this kernel offers no hugepages",
    ),
    "hostile": facts(
        16 * GIB,
        pool("2M"),
        mounts=[mount("/mnt/a b\nc\\d", "2M"), mount("/mnt/odd", None)],
        kubelet={
            "running": True,
            "unit": "rke2-server.service",
            "restart_needed": None,
            "reason": "no pool has pages now; whether one had when the kubelet started cannot be told from the node",
        },
    ),
    "kubelet-cgroup-v1": facts(
        32 * GIB,
        pool("2M", 64),
        pool("1G"),
        at_boot={"2M": 0},
        cgroup={
            "ready": False,
            "version": "v1",
            "reason": "the kubelet's cgroups lack hugetlb files: an interrupted start left them incomplete",
            "missing": [
                "/sys/fs/cgroup/hugetlb/kubepods/burstable/hugetlb.1GB.limit_in_bytes",
                "/sys/fs/cgroup/hugetlb/kubepods/besteffort",
            ],
        },
        kubelet={"running": True, "unit": "kubelet.service", "restart_needed": None, "reason": UNKNOWN},
    ),
    "debian12-hybrid": facts(
        24684096 * KIB,
        pool("2M"),
        pool("1G"),
        mounts=[],
        cgroup={
            "ready": False,
            "version": "hybrid",
            "reason": "the hugetlb controller is in the unified tree while others are v1: the kubelet then reports no hugepages",
            "missing": [],
        },
    ),
}


@pytest.mark.parametrize("tree", FACTS)
def test_the_facts_of_a_tree(machine: Machine, tree: str) -> None:
    assert hugetlb.facts(machine(tree)) == FACTS[tree]


@pytest.mark.parametrize(
    ("tree", "note", "needed", "reason"),
    [
        ("kubelet-cgroup-v2", "4000.50", True, hugetlb.CHANGED_SINCE_START),
        ("kubelet-cgroup-v2", "2999.99", None, UNKNOWN),
        ("kubelet-cgroup-v2", "later", None, UNKNOWN),
        ("kubelet-cgroup-v2", "9" * 400, None, UNKNOWN),
        ("cgroup-v2-systemd", "4000", False, "no kubelet is running"),
    ],
)
def test_a_kubelet_that_started_before_the_last_change_needs_a_restart(
    machine: Machine, tree: str, note: str, needed: bool | None, reason: str
) -> None:
    kubelet = hugetlb.facts(machine(tree, {CHANGED: note}))["kubelet"]
    assert (kubelet["restart_needed"], kubelet["reason"]) == (needed, reason)


PODS = "/sys/fs/cgroup/kubepods.slice"


@pytest.mark.parametrize(
    ("limits", "needed", "reason"),
    [
        # 64 pages of 2M, none of 1G: what the pools have.
        (("134217728", "0"), False, "the kubelet's cgroup allows all pods together as many pages as the pools have"),
        (("67108864", "0"), True, "the kubelet found 32 pages of 2M, the pool has 64"),
        (
            ("0", "2147483648"),
            True,
            "the kubelet found 0 pages of 2M, the pool has 64; and 2 pages of 1G, the pool has 0",
        ),
        # Not what the kubelet writes there: it was told to enforce nothing, or the controller does not reach the pods.
        (("max", "0"), None, UNKNOWN),
        (("134217728", "4611686018427387904"), None, UNKNOWN),
        (("134217728", None), None, UNKNOWN),
        (("x", "0"), None, UNKNOWN),
    ],
)
def test_the_cgroup_of_all_pods_tells_which_pools_the_kubelet_found(
    machine: Machine, limits: tuple[str, str | None], needed: bool | None, reason: str
) -> None:
    paths = (f"{PODS}/hugetlb.2MB.max", f"{PODS}/hugetlb.1GB.max")
    files = {CHANGED: "1\n", **{path: text for path, text in zip(paths, limits) if text is not None}}
    gone = [path for path, text in zip(paths, limits) if text is None]
    kubelet = hugetlb.facts(machine("kubelet-cgroup-v2", files, gone))["kubelet"]
    assert (kubelet["restart_needed"], kubelet["reason"]) == (needed, reason)


def test_surplus_pages_are_none_that_a_kubelet_has_to_know(machine: Machine) -> None:
    pool = "/sys/kernel/mm/hugepages/hugepages-2048kB"
    files = {f"{PODS}/hugetlb.2MB.max": "125829120", f"{PODS}/hugetlb.1GB.max": "0", f"{pool}/surplus_hugepages": "4"}
    kubelet = hugetlb.facts(machine("kubelet-cgroup-v2", {CHANGED: "1\n", **files}))["kubelet"]
    assert kubelet["restart_needed"] is False


def row(pool: str, asked: int, found: int, node: int | None = None) -> dict[str, Any]:
    size = pool.split(" ")[0]
    return {"pool": pool, "size": size, "size_bytes": parse_size(size), "node": node, "asked": asked, "found": found}


@pytest.mark.parametrize(
    ("cmdline", "unmet"),
    [
        ("hugepagesz=1G hugepages=6 hugepagesz=2M hugepages=512", []),
        ("hugepagesz=1G hugepages=5", []),
        ("hugepagesz=1G hugepages=0", []),
        ("hugepagesz=1G hugepages=8", [row("1G", 8, 6)]),
        (
            "hugepagesz=1G hugepages=9 hugepagesz=2M hugepages=600",
            [row("2M", 600, 512), row("1G", 9, 6)],
        ),
        ("hugepagesz=1G hugepages=0:4,1:2", []),
        ("hugepagesz=1G hugepages=1:5,0:3", [row("1G on node 1", 5, 2, 1)]),
        ("hugepagesz=1G hugepages=3:1", [row("1G on node 3", 1, 0, 3)]),
        # Of a size the first number counts.
        ("hugepages=600 hugepagesz=2M hugepages=5", [row("2M", 600, 512)]),
        # A size that this kernel does not have is no size for the kernel, which ignores its number.
        ("hugepagesz=16G hugepages=4", []),
    ],
)
def test_pages_of_the_command_line_that_the_pools_do_not_have(machine: Machine, cmdline: str, unmet: Any) -> None:
    assert hugetlb.facts(machine("two-numa-nodes", {"/proc/cmdline": cmdline}))["boot_unmet"] == unmet


def test_surplus_pages_are_none_that_the_boot_made(machine: Machine) -> None:
    pool = "/sys/kernel/mm/hugepages/hugepages-1048576kB"
    host = machine("two-numa-nodes", {"/proc/cmdline": "hugepagesz=1G hugepages=6", f"{pool}/surplus_hugepages": "1"})
    assert hugetlb.facts(host)["boot_unmet"] == [row("1G", 6, 5)]


def test_a_kernel_without_numa_has_all_its_pages_on_node_0(machine: Machine) -> None:
    files = {"/proc/cmdline": "hugepagesz=1G hugepages=0:6"}
    host = machine("two-numa-nodes", files, ["/sys/devices/system/node"])
    assert hugetlb.facts(host)["boot_unmet"] == []


def after_boot(host: Any) -> tuple[Any, str | None]:
    found = hugetlb.facts(host)
    rows = found["next_boot"]
    return rows and {each["size"]: (each["now"], each["total"]) for each in rows}, found["next_boot_reason"]


SYSFS = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, {"2M": (512, 512), "1G": (6, 6)}),
        ({"/proc/cmdline": "quiet"}, {"2M": (512, 0), "1G": (6, 0)}),
        ({"/etc/tmpfiles.d/x.conf": f"w {SYSFS} - - - - 77"}, {"2M": (512, 77), "1G": (6, 6)}),
        ({"/etc/sysctl.d/x.conf": "vm.nr_hugepages = 78"}, {"2M": (512, 78), "1G": (6, 6)}),
        # Ours comes before another of the same kind, by its number.
        (
            {
                "/etc/tmpfiles.d/10-bulwark-hugepages.conf": f"# Written by the bulwark.node collection\nw! {SYSFS} - - - - 512",
                "/etc/tmpfiles.d/50-x.conf": f"w {SYSFS} - - - - 77",
            },
            {"2M": (512, 512), "1G": (6, 6)},
        ),
    ],
)
def test_what_the_next_boot_makes_of_the_pools(machine: Machine, files: dict[str, str], expected: Any) -> None:
    assert after_boot(machine("two-numa-nodes", files)) == (expected, None)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (
            {"/etc/systemd/system/hugepages-setup.service": "[Service]"},
            "/etc/systemd/system/hugepages-setup.service may set them",
        ),
        # A package's unit, which was enabled.
        (
            {"/etc/systemd/system/sysinit.target.wants/hugetlb-gigantic-pages.service": ""},
            "/etc/systemd/system/sysinit.target.wants/hugetlb-gigantic-pages.service may set them",
        ),
        ({"/etc/rc.d/rc.local": f"echo 8 > {SYSFS}"}, "/etc/rc.d/rc.local may set them"),
        (
            {
                "/etc/tmpfiles.d/10-bulwark-hugepages.conf": f"# Written by the bulwark.node collection\nw! {SYSFS} - - - - 512",
                "/etc/sysctl.d/x.conf": "vm.nr_hugepages = 78",
            },
            f"/etc/tmpfiles.d/10-bulwark-hugepages.conf sets {SYSFS} to 512 and /etc/sysctl.d/x.conf sets vm.nr_hugepages to 78: "
            "either may be the last",
        ),
    ],
)
def test_where_files_do_not_tell_what_a_boot_makes_of_the_pools(
    machine: Machine, files: dict[str, str], reason: str
) -> None:
    assert after_boot(machine("two-numa-nodes", files)) == (None, reason)


# The kernel of the tree: 2M (default), 1G.
@pytest.mark.parametrize(
    ("cmdline", "bound"),
    [
        ("hugepages=5", [("2M", 5)]),
        ("hugepagesz=1G hugepages=2 hugepagesz=2M hugepages=7", [("1G", 2), ("2M", 7)]),
        ("hugepages=5 hugepagesz=1G hugepages=2", [("2M", 5), ("1G", 2)]),
        # It binds to default_hugepagesz= as well: parsed_hstate in mm/hugetlb.c.
        ("hugepagesz=1G hugepages=2 default_hugepagesz=2M hugepages=7", [("1G", 2), ("2M", 7)]),
        ("default_hugepagesz=2M hugepages=7", [("2M", 7)]),
        ("default-hugepagesz=2M hugepages=7", [("2M", 7)]),
        ("default_hugepagesz=2M hugepagesz=2M hugepages=7", [("2M", 7)]),
        ("default_hugepagesz=2M hugepages=7 hugepagesz=2M hugepages=8", [("2M", 7)]),
        ("default_hugepagesz=2M default_hugepagesz=2M hugepages=7", []),
        # After a size that is none, or was given, the next count is ignored, and it alone.
        ("hugepagesz=3M hugepages=5", []),
        ("hugepagesz=x hugepages=5 hugepagesz=1G hugepages=1", [("1G", 1)]),
        ("hugepagesz=1G hugepages=1 hugepagesz=1G hugepages=9", [("1G", 1)]),
        ("hugepagesz=3M hugepages=5 hugepages=6", [("2M", 6)]),
        # A second count for the same size is ignored.
        ("hugepages=5 hugepages=6", [("2M", 5)]),
        ("hugepagesz=1G hugepages=1 hugepages=9", [("1G", 1)]),
        ("hugepagesz=1G hugepages=0:1,1:2", [("1G", {"0": 1, "1": 2})]),
        ("hugepages=0:1", [("2M", {"0": 1})]),
        ("hugepages=lots hugepages=3", [("2M", 3)]),
        ("hugepages=", []),
        ("hugepages", []),
        ("hugepages=4pages", [("2M", 4)]),
        ("hugepagesz=1048576K hugepages=1", [("1G", 1)]),
        ('hugepages="5"', [("2M", 5)]),
        ("quiet -- hugepages=5", []),
        ("nohugepages=5 xhugepagesz=1G", []),
        ("", []),
    ],
)
def test_a_count_binds_to_the_size_before_it_as_in_the_kernel(
    machine: Machine, cmdline: str, bound: list[tuple[str, int | dict[str, int]]]
) -> None:
    arguments = hugetlb.observe(machine("cgroup-v2-systemd", {"/proc/cmdline": cmdline})).boot_args
    assert [(format_size(a.size), a.nodes if a.count is None else a.count) for a in arguments] == bound


@pytest.mark.parametrize("content", ["", "many", "-", "1 2", b"\xff", "9" * 30])
def test_a_pool_file_that_holds_no_number_is_an_error_that_names_it(machine: Machine, content: Any) -> None:
    path = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages"
    host = machine("cgroup-v2-systemd")
    with open(f"{host.root}{path}", "wb") as file:
        file.write(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(HostError, match=path):
        hugetlb.observe(host)


def test_a_node_without_memory_has_no_pool(machine: Machine) -> None:
    gone = "/sys/devices/system/node/node1/hugepages"
    kernel = hugetlb.observe(machine("two-numa-nodes", without=[gone]))
    assert [part.node for part in kernel.pool(2 * MIB).nodes] == [0]


@pytest.mark.parametrize("meminfo", ["", "MemTotal: 5 kB", "MemFree: 5 kB", "\x00"])
def test_a_meminfo_without_its_lines_is_an_error(machine: Machine, meminfo: str) -> None:
    with pytest.raises(HostError, match=r"/proc/meminfo"):
        hugetlb.observe(machine("no-hugepages", {"/proc/meminfo": meminfo}))


def on_one(total: int, free: int, reserved: int = 0, surplus: int = 0) -> hugetlb.Pool:
    return hugetlb.Pool(2 * MIB, total, free, reserved, surplus, 0, ())


# (total, free, reserved, surplus) before and after a count is written, as set_max_huge_pages() has it.
@pytest.mark.parametrize(
    ("before", "count", "total", "free", "surplus"),
    [
        ((4, 4), 10, 10, 10, 0),
        ((10, 4), 6, 6, 0, 0),
        ((10, 4), 2, 6, 0, 4),
        ((10, 4, 3), 2, 9, 3, 7),
        ((6, 0, 0, 6), 4, 6, 0, 2),  # surplus pages are taken before new ones
        ((6, 0, 0, 6), 8, 8, 2, 0),
        ((10, 4, 0, 2), 0, 8, 2, 8),  # free pages among the surplus stay
        ((0, 0), 0, 0, 0, 0),
    ],
)
def test_a_write_makes_of_a_pool_what_the_kernel_makes_of_it(
    before: tuple[int, ...], count: int, total: int, free: int, surplus: int
) -> None:
    pool = hugetlb_resize.resized(on_one(*before), None, count)
    assert (pool.total, pool.free, pool.surplus, pool.persistent) == (total, free, surplus, count)


def test_shrinking_the_machine_takes_the_free_pages_wherever_they_are(machine: Machine) -> None:
    pool = hugetlb.observe(machine("two-numa-nodes")).pool(GIB)
    assert [(part.total, part.surplus) for part in hugetlb_resize.resized(pool, None, 3).nodes] == [(1, 0), (2, 0)]


def test_the_floor_of_a_node_holds_what_reservations_the_others_cannot(machine: Machine) -> None:
    pool = hugetlb.observe(machine("two-numa-nodes")).pool(2 * MIB)
    assert [pool.floor(node) for node in (None, 0, 1)] == [262, 56, 156]
    crowded = replace(pool, reserved=150)
    assert [crowded.floor(node) for node in (None, 0, 1)] == [362, 106, 156]


@pytest.mark.parametrize("path", ["/etc/passwd", "/sys/kernel/mm/hugepages/hugepages-2kB/free_hugepages", ""])
def test_only_an_attribute_of_a_pool_is_parsed(path: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(path)}$"):
        hugetlb_resize.parse_attribute(path)
