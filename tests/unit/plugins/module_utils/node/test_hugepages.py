# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The domain ``hugepages`` on trees whose kernel answers to writes: options, bounds, owners, shortfalls, undoing."""

from __future__ import annotations

import itertools
import json
import os
import random
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.converge import Result, converge
from ansible_collections.bulwark.node.plugins.module_utils.dropin import SYSCTL as SYSCTL_FORMAT
from ansible_collections.bulwark.node.plugins.module_utils.dropin import TMPFILES
from ansible_collections.bulwark.node.plugins.module_utils.errors import (
    BulwarkError,
    HostError,
    OptionError,
    OwnerError,
    UnmetError,
)
from ansible_collections.bulwark.node.plugins.module_utils.manifest import HEADER
from ansible_collections.bulwark.node.plugins.module_utils.node import hugetlb, hugetlb_resize
from ansible_collections.bulwark.node.plugins.module_utils.node.hugepages import Hugepages
from ansible_collections.bulwark.node.plugins.module_utils.node.hugetlb_cgroup import Readiness
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import (
    CHANGED,
    MANIFEST,
    FakeKernel,
    Machine,
    WriteFault,
    different,
    failure,
    snapshot,
)

MIB, GIB = 1 << 20, 1 << 30
SYSTEMD, NUMA, PLAIN = "cgroup-v2-systemd", "two-numa-nodes", "debian12-hybrid"
OURS = "/etc/tmpfiles.d/10-bulwark-hugepages.conf"
SYSCTL = "/etc/sysctl.d/90-bulwark-hugepages.conf"
UNIT = "/etc/systemd/system/dev-hugepages1G.mount"
LINK = "/etc/systemd/system/sysinit.target.wants/dev-hugepages1G.mount"
POOL_2M = "/sys/kernel/mm/hugepages/hugepages-2048kB"
POOL_1G = "/sys/kernel/mm/hugepages/hugepages-1048576kB"


SIXTEEN = "/sys/kernel/mm/hugepages/hugepages-16384kB"


def lines(host: FakeKernel) -> dict[str, str]:
    """What our file sets."""
    return dict(TMPFILES.settings(host.read(OURS) or ""))


def node_pool(node: int, kilobytes: int) -> str:
    return f"/sys/devices/system/node/node{node}/hugepages/hugepages-{kilobytes}kB"


def entry(
    size: str, count: int | None = None, node: int | None = None, overcommit: int | None = None
) -> dict[str, Any]:
    return {"size": size, "count": count, "node": node, "overcommit": overcommit}


def params(*pools: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "pools": list(pools) or None,
        "persist": True,
        "on_shortfall": "fail",
        "allow_surplus": False,
        "compact": True,
        "timeout": 60,
        "memory_reserve": None,
        "state": "present",
        **more,
    }


def run(host: FakeKernel, *pools: Mapping[str, Any], check: bool = False, **more: Any) -> Result:
    return converge(Hugepages(host), params(*pools, **more), check)


def pool_of(result: Result, size: str) -> dict[str, Any]:
    found: dict[str, Any] = next(pool for pool in result.after["pools"] if pool["size"] == size)
    return found


# options


@pytest.mark.parametrize(
    ("given", "option", "value", "expected"),
    [
        (params(), "pools", None, "at least one pool"),
        (params(pools=[]), "pools", [], "at least one pool"),
        (params(state="absent", pools=[]), "pools", [], "at least one pool"),
        (params(entry("2M", 1), timeout=-1), "timeout", -1, "0 seconds or more"),
        (params(entry("2M", 1), memory_reserve="much"), "memory_reserve", "much", "a size such as"),
        (params(entry("two", 1)), "pools[0].size", "two", "a size such as"),
        (params(entry("2M", -1)), "pools[0].count", -1, "0 or more"),
        (params(entry("2M", 1, node=-1)), "pools[0].node", -1, "0 or more"),
        (params(entry("2M", overcommit=-4)), "pools[0].overcommit", -4, "0 or more"),
        (params(entry("2M", 1, 0, 5)), "pools[0].overcommit", 5, "no node beside it"),
        (params(entry("2M")), "pools[0].count", None, "a number of pages"),
        (params(entry("2M", 1), entry("2048kB", 2)), "pools[1]", "2M", "pools[0] names"),
        (params(entry("2M", 1, 0), entry("2M", 2, 0)), "pools[1]", "2M", "pools[0] names"),
        (params(entry("2M", 1, 0), entry("2M", 2)), "pools[1]", "2M", "not both"),
        (params(entry("2M", 1), entry("2M", 2, 1)), "pools[1]", "2M", "not both"),
        (params(entry("2M", 1, None, 1), entry("2M", overcommit=2)), "pools[1].overcommit", 2, "pools[0] names"),
        (params(entry("2M", 5), state="absent"), "pools[0].count", 5, "no number beside state absent"),
        (params(entry("2M", overcommit=5), state="absent"), "pools[0].count", 5, "no number beside state absent"),
        (params(entry("4M", 1)), "pools[0].size", "4M", "a size of this kernel: 2M, 1G"),
        (params(entry("1000", 1)), "pools[0].size", "1000", "a size of this kernel: 2M, 1G"),
        (params(entry("2M", 1, node=7)), "pools[0].node", 7, "a NUMA node of this machine: 0"),
    ],
)
def test_a_refused_option_is_named_with_its_value_and_what_is_expected(
    machine: Machine, given: dict[str, Any], option: str, value: object, expected: str
) -> None:
    host = machine(SYSTEMD)
    before = snapshot(host)
    with pytest.raises(OptionError) as caught:
        converge(Hugepages(host), given, check=False)
    assert caught.value.details["option"] == option
    assert caught.value.details["value"] == value
    assert expected in caught.value.details["expected"]
    assert all(str(part) in str(caught.value) for part in (option, expected))
    assert snapshot(host) == before


def test_a_kernel_without_hugepages_offers_none(machine: Machine) -> None:
    with pytest.raises(OptionError, match="no hugepages at all"):
        run(machine("no-hugepages"), entry("2M", 1))


# the loop


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "one size": (SYSTEMD, params(entry("2M", 100))),
    "two sizes, overcommit and a mount": (SYSTEMD, params(entry("2M", 100, None, 20), entry("1G", 2))),
    "without systemd": (PLAIN, params(entry("2M", 8))),
    "not persisted": (PLAIN, params(entry("2M", 8), entry("1G", 1), persist=False)),
    "per node, shrinking and growing": (NUMA, params(entry("2M", 100, 0), entry("2M", 300, 1), entry("1G", 3, 1))),
    "shrinking spread over nodes": (NUMA, params(entry("2M", 262))),
    "below use, where surplus is allowed": (NUMA, params(entry("2M", 100), allow_surplus=True)),
    "beside a kubelet": ("kubelet-cgroup-v2", params(entry("2M", 128))),
    "absent, named": (NUMA, params(entry("1G", node=0), entry("2M"), state="absent", allow_surplus=True)),
    "64K pages": ("arm64-64k-pages", params(entry("512M", 5), entry("64K", 100))),
}


@pytest.mark.parametrize("case", CASES)
def test_check_mode_changes_nothing_and_foretells_the_run_which_a_second_run_leaves_alone(
    machine: Machine, case: str
) -> None:
    tree, given = CASES[case]
    host = machine(tree)
    untouched = snapshot(host)
    foretold = converge(Hugepages(host), given, check=True)
    assert snapshot(host) == untouched
    assert host.log == []
    real = converge(Hugepages(host), given, check=False)
    assert (real.changed, foretold.changed) == (True, True)
    assert foretold.after == real.after == hugetlb.observe(host).facts()
    assert foretold.changes == real.changes
    assert foretold.diff == real.diff
    assert foretold.verdict.restart_required == real.verdict.restart_required
    assert real.verdict.unmet == ()
    applied = snapshot(host)
    for check in (True, False):
        again = converge(Hugepages(host), given, check)
        assert (again.changed, again.changes, again.diff) == (False, (), ())
    assert snapshot(host) == applied


def test_the_plan_shrinks_first_then_grows_the_largest_pages_then_overcommits(machine: Machine) -> None:
    host = machine(NUMA)
    wanted = (entry("2M", 300, 1, None), entry("1G", 3, 1), entry("2M", 100, 0), entry("2M", overcommit=2))
    changes = run(host, *wanted, check=True, persist=False).changes
    assert [(change.kind, change.target, change.before, change.after) for change in changes] == [
        ("pool", f"{node_pool(0, 2048)}/nr_hugepages", 256, 100),
        ("pool", f"{node_pool(1, 1048576)}/nr_hugepages", 2, 3),
        ("pool", f"{node_pool(1, 2048)}/nr_hugepages", 256, 300),
        ("overcommit", f"{POOL_2M}/nr_overcommit_hugepages", 0, 2),
    ]


def random_kernel(dice: random.Random) -> hugetlb.Pools:
    pools = []
    for size in (2 * MIB, GIB):
        nodes = []
        for node in range(dice.choice((0, 1, 2, 3))):
            total = dice.randint(0, 9)
            nodes.append(hugetlb.NodePool(node, total, dice.randint(0, total), dice.randint(0, total)))
        total = sum(part.total for part in nodes) if nodes else dice.randint(0, 9)
        free = sum(part.free for part in nodes) if nodes else dice.randint(0, total)
        surplus = sum(part.surplus for part in nodes) if nodes else dice.randint(0, total)
        pools.append(hugetlb.Pool(size, total, free, dice.randint(0, free), surplus, dice.randint(0, 3), tuple(nodes)))
    memory = (hugetlb.NodeMemory(0, GIB << 10, 0),)
    cgroup = Readiness(None, None, None, ())
    return hugetlb.Pools(
        2 * MIB, tuple(pools), memory, (), (), cgroup, dice.choice((None, "kubelet.service")), None, None
    )


def test_nothing_is_left_to_plan_once_a_plan_is_carried_out_whatever_the_machine(machine: Machine) -> None:
    dice = random.Random(1)
    host = machine(SYSTEMD)
    domain = Hugepages(host)
    seen = domain.observe(domain.desired(params(entry("2M", 1))))
    for _dummy in range(400):
        kernel = random_kernel(dice)
        persisted = replace(seen.persisted, dropin=dice.choice((TMPFILES, SYSCTL_FORMAT)))
        state = replace(seen, kernel=kernel, persisted=persisted)
        pools = []
        for pool in kernel.pools:
            if dice.random() < 0.5:
                pools.append(entry(str(pool.size), dice.randint(0, 9), None, dice.choice((None, 2))))
            else:
                pools += [entry(str(pool.size), dice.randint(0, 9), part.node) for part in pool.nodes]
        absent = dice.random() < 0.2 or not pools
        options = {"persist": dice.random() < 0.5, "allow_surplus": dice.random() < 0.5}
        desired = domain.desired(params(state="absent") if absent else params(*pools, **options))
        changes = domain.plan(state, desired)
        after = domain.predict(state, changes)
        assert domain.plan(state, desired) == changes, "plan is pure"
        assert domain.plan(after, desired) == [], (kernel, pools, changes)
        for old, new in zip(kernel.pools, after.kernel.pools):
            assert new.in_use == old.in_use, "a write takes no page from who uses it"
            assert new.total == (sum(part.total for part in new.nodes) if new.nodes else new.total)
        domain.judge(state, after, [], desired)


def test_the_prediction_is_what_the_kernel_does_with_any_write(machine: Machine) -> None:
    dice = random.Random(2)
    host = machine(NUMA)
    size = 2 * MIB
    for _dummy in range(100):
        fake = host.pools[size]
        for numbers in fake.nodes.values():
            total = dice.randint(0, 12)
            numbers[:] = [total, dice.randint(0, total), 0]
        # Without surplus, of which the kernel's choice of a node is not told.
        fake.reserved = dice.randint(0, fake.sum(1))
        host.flush()
        before = hugetlb.read_pool(host, size)
        node, count = dice.choice((None, 0, 1)), dice.randint(0, 20)
        host.write(f"{hugetlb.attribute_folder(size, node)}/nr_hugepages", str(count))
        assert hugetlb_resize.resized(before, node, count) == hugetlb.read_pool(host, size), (before, node, count)


# pages in use


@pytest.mark.parametrize(
    ("wanted", "option", "least"),
    [
        # 512 pages, 300 free, 50 of them reserved: 262 in all, 56 on node 0 and 156 on node 1.
        ([entry("2M", 261)], "pools[0].count", 262),
        ([entry("2M", 55, 0)], "pools[0].count", 56),
        ([entry("2M", 155, 1)], "pools[0].count", 156),
        # Each alone would do: together they leave nothing for the reservations.
        ([entry("2M", 56, 0), entry("2M", 156, 1)], "pools[1].count", 206),
        ([entry("1G", 0, 1)], "pools[0].count", 2),
    ],
)
def test_a_pool_never_shrinks_below_its_pages_in_use_and_reserved(
    machine: Machine, wanted: list[dict[str, Any]], option: str, least: int
) -> None:
    host = machine(NUMA)
    with pytest.raises(OptionError, match=f"{least} or more") as caught:
        run(host, *wanted)
    assert caught.value.details["option"] == option
    assert host.log == []
    # The bound itself is taken, and makes no surplus.
    index = int(option[6])
    wanted[index] = {**wanted[index], "count": least}
    size = wanted[index]["size"]
    assert pool_of(run(host, *wanted), size)["surplus"] == 0


def test_pages_in_use_become_surplus_where_that_is_allowed(machine: Machine) -> None:
    host = machine(NUMA)
    result = run(host, entry("2M", 100), allow_surplus=True)
    assert {key: pool_of(result, "2M")[key] for key in ("total", "free", "surplus", "reserved")} == {
        "total": 262,
        "free": 50,
        "surplus": 162,
        "reserved": 50,
    }


def test_pages_that_come_into_use_meanwhile_fail_the_run_and_are_no_surplus_afterwards(machine: Machine) -> None:
    host = machine(NUMA)

    class Busy(Hugepages):
        def check(self, *arguments: Any) -> None:
            super().check(*arguments)
            host.pools[2 * MIB].nodes[0][1] -= 150
            host.flush()

    with pytest.raises(UnmetError, match="pages came into use while the pool shrank"):
        converge(Busy(host), params(entry("2M", 270), persist=False), check=False)
    pool = hugetlb.read_pool(host, 2 * MIB)
    assert (pool.persistent, pool.surplus) == (512, 0)


# memory


def test_memory_that_others_need_is_not_given_away_and_the_sum_is_told(machine: Machine) -> None:
    host = machine(SYSTEMD)
    # 16384 MiB, of which 4096 are neither free nor cache, less 1024 of cache; 4096 are kept.
    with pytest.raises(BulwarkError) as caught:
        run(host, entry("1G", 10))
    assert str(caught.value) == (
        "pools[0].count: asked for 10 pages of 1G: node 0 has 16384 MiB of memory; the pools would take 10240 MiB, 3072 MiB is in use by what runs, and "
        "4096 MiB is kept for the system (4 GiB or 10 %, whichever is more): 1024 MiB too much. "
        "9 would fit; ask for fewer pages, or set memory_reserve"
    )
    assert host.log == []
    assert run(host, entry("1G", 9)).changed


def test_memory_reserve_takes_the_place_of_the_default(machine: Machine) -> None:
    with pytest.raises(
        BulwarkError, match=r"12288 MiB, 3072 MiB .* 2048 MiB is kept for the system \(memory_reserve\)"
    ):
        run(machine(SYSTEMD), entry("1G", 12), memory_reserve="2G")
    assert run(machine(SYSTEMD), entry("1G", 11), memory_reserve="2G").changed


def test_the_next_boot_is_held_to_the_same_sum(machine: Machine) -> None:
    mine = f"{HEADER}\nw! {POOL_1G}/nr_hugepages - - - - 8\n"
    host = machine(SYSTEMD, {OURS: mine})
    assert run(host, entry("2M", 512), check=True).changed
    with pytest.raises(BulwarkError) as caught:
        run(host, entry("2M", 2048))
    assert str(caught.value) == (
        "pools[0].count: asked for 2048 pages of 2M: at the next boot, with all that is set then, node 0 has 16384 MiB of "
        "memory; the pools would take 12288 MiB, 3072 MiB is in use by what runs, and 4096 MiB is kept for the system "
        "(4 GiB or 10 %, whichever is more): 3072 MiB too much. 512 would fit; ask for fewer pages, or set memory_reserve"
    )
    assert host.log == []
    assert run(host, entry("2M", 2048), persist=False).changed


@pytest.mark.parametrize(
    "files",
    [
        {"/proc/cmdline": "hugepagesz=1G hugepages=8"},
        {"/proc/cmdline": "hugepagesz=1G hugepages=0:8"},
        {"/etc/tmpfiles.d/90-late.conf": f"w {POOL_1G}/nr_hugepages - - - - 8"},
    ],
)
def test_the_next_boot_counts_what_others_set(machine: Machine, files: dict[str, str]) -> None:
    with pytest.raises(BulwarkError, match=r"at the next boot.* 3072 MiB too much"):
        run(machine(SYSTEMD, files), entry("2M", 2048))
    assert run(machine(SYSTEMD, files), entry("2M", 2048), entry("1G", 1)).changed, "ours replaces it"


def test_what_is_there_already_may_be_persisted_however_little_is_left(machine: Machine) -> None:
    host = machine(NUMA)
    assert run(host, entry("2M", 512), memory_reserve="500G").changed


# on demand


def test_overcommit_is_bounded_refused_for_gigantic_pages_and_its_sum_is_told(machine: Machine) -> None:
    host = machine(SYSTEMD)
    with pytest.raises(OptionError, match="0 to 8192: the machine's memory"):
        run(host, entry("2M", overcommit=8193), check=True)
    with pytest.raises(OptionError, match="none: this kernel gives pages of 1G by count alone"):
        run(host, entry("1G", 1, None, 1), check=True)
    assert run(host, entry("1G", 1, None, 0), check=True).changed, "it is 0 already"
    (warning,) = run(host, entry("2M", overcommit=8192), check=True).verdict.warnings
    assert warning.startswith("with all 8192 overcommitted pages of 2M, node 0 has 16384 MiB")
    assert run(host, entry("2M", overcommit=100)).verdict.warnings == ()


def test_a_newer_kernel_is_asked_and_its_refusal_is_explained(machine: Machine) -> None:
    host = machine(SYSTEMD, {"/proc/sys/kernel/osrelease": "7.0.0"})
    host.refuses = {f"{POOL_1G}/nr_overcommit_hugepages": "EINVAL"}
    with pytest.raises(
        HostError, match=r"refuses 1 \(EINVAL\): this kernel may give pages of that size by count alone"
    ):
        run(host, entry("1G", overcommit=1))


# what is bound to fail


@pytest.mark.parametrize("check", [True, False])
def test_a_file_at_our_path_that_is_not_ours_is_refused(machine: Machine, check: bool) -> None:
    host = machine(SYSTEMD, {OURS: "# mine\nd /run/else\n"})
    before = snapshot(host)
    with pytest.raises(OwnerError, match=f"{OURS} is there and is not ours"):
        run(host, entry("2M", 8), check=check)
    assert snapshot(host) == before


def test_a_masked_file_a_broken_manifest_and_a_read_only_folder_are_told_in_check_mode(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    masked = machine(SYSTEMD)
    Path(masked.root + OURS).parent.mkdir(parents=True, exist_ok=True)
    Path(masked.root + OURS).symlink_to("/dev/null")
    with pytest.raises(HostError, match="outside of its folder; refused"):
        run(masked, entry("2M", 8), check=True)
    with pytest.raises(HostError, match="is not a manifest"):
        run(machine(SYSTEMD, {MANIFEST: "garbage"}), entry("2M", 8), check=True)
    host = machine(SYSTEMD)
    run(host, entry("2M", 8))
    read_only = type("Status", (), {"f_flag": os.ST_RDONLY})()
    monkeypatch.setattr(host, "statvfs", lambda path: read_only)
    assert not run(host, entry("2M", 8), check=True).changed, "nothing is to be written"
    with pytest.raises(HostError, match=r"mounted read-only \(EROFS\); mount it writable"):
        run(host, entry("2M", 9), check=True)


def test_folders_and_fifos_in_a_drop_in_folder_are_nothing(machine: Machine) -> None:
    host = machine(SYSTEMD)
    for folder in ("/etc/sysctl.d", "/etc/tmpfiles.d"):
        Path(f"{host.root}{folder}/x.conf").mkdir(parents=True)
        os.mkfifo(f"{host.root}{folder}/y.conf")
    assert run(host, entry("2M", 8)).verdict.warnings == ()


def test_a_mount_that_is_in_use_is_told_with_a_remedy(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    host = machine(SYSTEMD)
    run(host, entry("1G", 1))

    def busy(command: list[str]) -> None:
        raise HostError.from_command(command, "returned 32 and said: umount: /dev/hugepages1G: target is busy.")

    monkeypatch.setattr(host, "run", busy)
    with pytest.raises(HostError, match=r"it is in use\. Stop what has files open there, which fuser -vm"):
        run(host, state="absent")


# persisting


def test_under_systemd_pools_are_persisted_by_tmpfiles_at_boot_alone(machine: Machine) -> None:
    host = machine(NUMA)
    run(host, entry("2M", 300, 0), entry("2M", 256, 1), entry("1G", 6), entry("2M", overcommit=3))
    written = [line for line in (host.read(OURS) or "").splitlines() if not line.startswith("#")]
    assert written == [
        f"w! {node_pool(0, 2048)}/nr_hugepages - - - - 300",
        f"w! {node_pool(1, 2048)}/nr_hugepages - - - - 256",
        f"w! {POOL_1G}/nr_hugepages - - - - 6",
        f"w! {POOL_2M}/nr_overcommit_hugepages - - - - 3",
    ]
    assert host.read(SYSCTL) is None


def test_without_systemd_the_default_size_is_persisted_by_sysctl(machine: Machine) -> None:
    host = machine(PLAIN)
    run(host, entry("2M", 8, None, 2))
    assert (host.read(SYSCTL) or "").splitlines()[1:] == ["vm.nr_hugepages = 8", "vm.nr_overcommit_hugepages = 2"]
    assert host.commands == []


@pytest.mark.parametrize("wanted", [entry("1G", 1), entry("2M", 1, node=0)])
def test_what_sysctl_cannot_hold_is_refused_without_systemd_with_what_to_boot_with(
    machine: Machine, wanted: dict[str, Any]
) -> None:
    count = "1" if wanted["node"] is None else "0:1"
    with pytest.raises(BulwarkError, match=f"pools.0.: .*Boot|boot with hugepagesz={wanted['size']} hugepages={count}"):
        run(machine(PLAIN), wanted)


def test_a_later_run_keeps_the_lines_of_other_pools_and_replaces_those_that_contradict(machine: Machine) -> None:
    host = machine(NUMA)
    run(host, entry("2M", 512), entry("1G", 4, 0))
    run(host, entry("2M", 300, 0))
    assert lines(host) == {
        f"{node_pool(0, 1048576)}/nr_hugepages": "4",
        f"{node_pool(0, 2048)}/nr_hugepages": "300",
        f"{node_pool(1, 2048)}/nr_hugepages": "256",
    }
    run(host, entry("1G", 6))
    assert lines(host) == {
        f"{node_pool(0, 2048)}/nr_hugepages": "300",
        f"{node_pool(1, 2048)}/nr_hugepages": "256",
        f"{POOL_1G}/nr_hugepages": "6",
    }


def test_one_node_of_a_total_leaves_to_the_others_what_they_have(machine: Machine) -> None:
    host = machine(NUMA)
    run(host, entry("2M", 512))
    run(host, entry("2M", node=0), state="absent", allow_surplus=True)
    assert lines(host) == {f"{node_pool(1, 2048)}/nr_hugepages": "256"}


def test_without_systemd_no_node_is_taken_from_the_total(machine: Machine) -> None:
    host = machine(PLAIN)
    run(host, entry("2M", 8))
    with pytest.raises(BulwarkError, match=r"pools\[0\].node: .* sets the total of pages of 2M"):
        run(host, entry("2M", node=0), state="absent")


def test_not_to_persist_warns_of_what_an_earlier_run_persisted_otherwise(machine: Machine) -> None:
    host = machine(SYSTEMD)
    run(host, entry("2M", 10))
    text = host.read(OURS)
    result = run(host, entry("2M", 20), persist=False)
    assert result.verdict.warnings == (f"{OURS} still sets {POOL_2M}/nr_hugepages to 10 at the next boot",)
    assert host.read(OURS) == text
    assert run(host, entry("2M", 10), persist=False).verdict.warnings == ()


def test_others_are_named_where_we_persist_nothing(machine: Machine) -> None:
    host = machine("rivals")
    database = "/etc/sysctl.d/50-database.conf sets vm.nr_hugepages to 16, which may count at the next boot"
    assert run(host, entry("2M", 8), persist=False).verdict.warnings == (database,)
    assert run(host, state="absent").verdict.warnings == (database,)
    assert run(host, entry("1G"), state="absent").verdict.warnings == (
        f"/etc/tmpfiles.d/05-early.conf sets {POOL_1G}/nr_hugepages to 2, which counts at the next boot",
    )


def test_a_loser_is_not_named_where_our_line_stays(machine: Machine) -> None:
    host = machine(SYSTEMD, {"/usr/lib/tmpfiles.d/90-pages.conf": f"w {POOL_2M}/nr_hugepages - - - - 4"})
    run(host, entry("2M", 8))
    assert run(host, entry("2M", 9), persist=False).verdict.warnings == (
        f"{OURS} still sets {POOL_2M}/nr_hugepages to 8 at the next boot",
    )


def test_what_tuned_adds_to_the_command_line_is_an_owner_that_loses(machine: Machine) -> None:
    profile = "/etc/tuned/our-virtual-host/tuned.conf"
    host = machine("tuned", {profile: "[bootloader]\ncmdline_huge=+hugepagesz=1G hugepages=4"})
    assert run(host, entry("1G", 1)).verdict.warnings == (
        f"{profile} sets {POOL_1G}/nr_hugepages to 4; {OURS} wins over it at boot",
    )


def test_a_lost_manifest_is_told_once_and_our_own_file_is_nothing_to_go_back_to(machine: Machine) -> None:
    host = machine(SYSTEMD)
    run(host, entry("2M", 8))
    host.remove(MANIFEST)
    (warning,) = run(host, entry("2M", 9)).verdict.warnings
    assert f"cannot be given back: {POOL_2M}/nr_hugepages (8)" in warning
    assert json.loads(host.read(MANIFEST) or "")["files"] == {OURS: {"before": None, "by": "hugepages"}}
    assert run(host, entry("2M", 10)).verdict.warnings == ()


# owners


def test_a_sysctl_of_somebody_else_is_named_and_never_fought(machine: Machine) -> None:
    host = machine("rivals")
    with pytest.raises(OwnerError, match=r"/etc/sysctl.d/50-database.conf sets vm.nr_hugepages to 16 and may win"):
        run(host, entry("2M", 8))
    assert host.log == []
    assert run(host, entry("2M", 16)).changed, "the same number is no rival"
    with pytest.raises(OwnerError, match="50-database"):
        run(host, entry("2M", 16, node=0))
    assert run(host, entry("2M", 8), persist=False).changed


def test_an_earlier_tmpfile_of_somebody_else_wins_and_is_refused(machine: Machine) -> None:
    with pytest.raises(OwnerError, match=r"/etc/tmpfiles.d/05-early.conf sets .*1048576kB/nr_hugepages to 2 and wins"):
        run(machine("rivals"), entry("1G", 1))


def test_an_owner_of_another_number_is_no_rival(machine: Machine) -> None:
    host = machine("rivals", {"/etc/sysctl.d/60-over.conf": "vm.nr_overcommit_hugepages = 3"})
    assert run(host, entry("2M", 16)).verdict.warnings == ()
    numa = machine(NUMA, {"/etc/tmpfiles.d/05-node1.conf": f"w {node_pool(1, 2048)}/nr_hugepages - - - - 4"})
    assert run(numa, entry("2M", 300, 0)).verdict.warnings == ()
    with pytest.raises(OwnerError, match="05-node1"):
        run(numa, entry("2M", 600))


def test_only_the_last_of_the_others_sysctls_counts(machine: Machine) -> None:
    host = machine("rivals", {"/etc/sysctl.d/70-last.conf": "vm.nr_hugepages = 8"})
    assert run(host, entry("2M", 8)).changed


def test_a_tmpfile_that_comes_after_ours_loses_and_is_a_warning(machine: Machine) -> None:
    late = "/usr/lib/tmpfiles.d/90-pages.conf"
    host = machine(SYSTEMD, {late: f"w {POOL_2M}/nr_hugepages - - - - 4"})
    assert run(host, entry("2M", 8)).verdict.warnings == (
        f"{late} sets {POOL_2M}/nr_hugepages to 4; {OURS} wins over it at boot",
    )


@pytest.mark.parametrize("wanted", [entry("2M", 8), entry("1G", 1)])
def test_a_running_tuned_owns_what_its_profile_sets(machine: Machine, wanted: dict[str, Any]) -> None:
    with pytest.raises(OwnerError, match=r"/etc/tuned/our-virtual-host/tuned.conf sets"):
        run(machine("tuned"), wanted)
    stopped = machine("tuned", without=["/run/tuned"])
    assert run(stopped, wanted).verdict.warnings == ()
    (warning,) = run(machine("tuned"), wanted, persist=False).verdict.warnings
    assert warning.startswith("/etc/tuned/our-virtual-host/tuned.conf sets")


# mounts


def test_another_size_is_mounted_now_and_by_a_unit_at_boot(machine: Machine) -> None:
    host = machine(SYSTEMD)
    result = run(host, entry("1G", 2))
    options = "pagesize=1G,nosuid,nodev"
    assert host.commands == [["mount", "-t", "hugetlbfs", "-o", options, "hugetlbfs", "/dev/hugepages1G"]]
    unit = host.read(UNIT) or ""
    assert f"What=hugetlbfs\nWhere=/dev/hugepages1G\nType=hugetlbfs\nOptions={options}\n" in unit
    assert host.link_target(LINK) == "../dev-hugepages1G.mount"
    assert {"path": "/dev/hugepages1G", "size_bytes": GIB, "size": "1G"} in result.after["mounts"]
    assert [diff["after_header"] for diff in result.diff[1:]] == [UNIT, OURS]


@pytest.mark.parametrize("pages", [entry("2M", 1), entry("1G", 0)])
def test_the_default_size_and_a_size_without_pages_need_no_mount(machine: Machine, pages: dict[str, Any]) -> None:
    host = machine(SYSTEMD)
    run(host, pages)
    assert (host.commands, host.read(UNIT)) == ([], None)


def test_a_mount_of_somebody_else_serves_but_a_pods_volume_does_not(machine: Machine) -> None:
    host = machine(NUMA)
    run(host, entry("1G", 8))
    assert (host.commands, host.read(UNIT)) == ([], None)
    volume = "hugetlbfs /var/lib/kubelet/pods/1/volumes/x hugetlbfs rw,pagesize=1024M 0 0\n"
    pod = machine(SYSTEMD, {"/proc/mounts": volume})
    run(pod, entry("1G", 1))
    assert pod.read(UNIT) is not None


def test_a_unit_of_that_name_that_is_not_ours_is_left_alone(machine: Machine) -> None:
    host = machine(SYSTEMD, {UNIT: "[Mount]\n"})
    run(host, entry("1G", 1))
    run(host, state="absent")
    assert host.read(UNIT) == "[Mount]\n"


def test_a_unit_that_was_changed_by_hand_is_named_and_its_link_stays_with_it(machine: Machine) -> None:
    host = machine(SYSTEMD)
    run(host, entry("1G", 2))
    host.replace(UNIT, b"[Mount]\n")
    (said,) = run(host, state="absent").verdict.warnings
    assert said.startswith(f"{UNIT}: forgotten, not given back: it was changed by hand")
    assert (host.read(UNIT), host.link_target(LINK) is None, host.exists(MANIFEST)) == ("[Mount]\n", False, False)
    assert run(host, state="absent").verdict.warnings == ()


# state: absent


@pytest.mark.parametrize("named", [True, False])
def test_absent_gives_the_machine_back_as_it_was(machine: Machine, named: bool) -> None:
    host = machine(SYSTEMD, without=["/etc/tmpfiles.d"])
    Path(host.root, "etc/tmpfiles.d").rmdir()
    Path(host.root, "etc/tmpfiles.d").mkdir()
    before = snapshot(host, but=[CHANGED])
    run(host, entry("2M", 100, None, 5), entry("1G", 2))
    assert host.exists(MANIFEST)
    run(host, *([entry("2M"), entry("1G")] if named else []), state="absent")
    assert different(before, snapshot(host, but=[CHANGED])) <= {"/var", "/var/lib"}
    assert host.commands[-1] == ["umount", "/dev/hugepages1G"]
    assert not run(host, state="absent").changed


def test_absent_settles_what_a_killed_run_recorded_and_never_wrote(machine: Machine) -> None:
    host = machine(SYSTEMD)
    run(host, entry("2M", 100, None, 5), entry("1G", 2), persist=False)
    manifest = (host.read(MANIFEST) or "").encode()
    run(host, state="absent")
    host.make_folder("/var/lib/bulwark")
    host.replace(MANIFEST, manifest)
    assert not run(host, state="absent", check=True).changed
    assert host.exists(MANIFEST)
    assert not run(host, state="absent").changed
    assert not host.exists(MANIFEST)


def test_absent_takes_back_only_the_numbers_that_were_persisted(machine: Machine) -> None:
    host = machine(NUMA)
    run(host, entry("2M", overcommit=7))
    result = run(host, state="absent")
    assert (pool_of(result, "2M")["total"], pool_of(result, "2M")["overcommit"]) == (512, 0)


def test_absent_gives_back_what_the_manifest_alone_knows(machine: Machine) -> None:
    host = machine(SYSTEMD)
    before = snapshot(host, but=[CHANGED])
    run(host, entry("2M", 100, None, 5), entry("1G", 2), persist=False)
    assert run(host, state="absent").changed
    assert different(before, snapshot(host, but=[CHANGED])) <= {"/var", "/var/lib"}
    assert not run(host, state="absent").changed


@pytest.mark.parametrize("persist", [True, False])
def test_absent_gives_back_the_counts_from_before_node_by_node(machine: Machine, persist: bool) -> None:
    host = machine(NUMA)
    host.set_max_huge_pages(2 * MIB, 300, 1)
    host.flush()
    before = snapshot(host, but=[CHANGED])
    run(host, entry("2M", 700), persist=persist)
    run(host, entry("2M", 280, 1), persist=persist, allow_surplus=True)
    predicted = run(host, state="absent", check=True)
    result = run(host, state="absent")
    assert result.changes == predicted.changes
    assert result.after == predicted.after
    assert different(before, snapshot(host, but=[CHANGED])) <= {"/var", "/var/lib"}
    assert not run(host, state="absent").changed


def test_absent_leaves_pages_alone_that_came_after_a_boot_and_forgets_what_was_before(machine: Machine) -> None:
    host = machine(SYSTEMD)
    host.set_max_huge_pages(2 * MIB, 32, None)
    host.flush()
    run(host, entry("2M", 100), persist=False)
    host.remove(CHANGED)
    host.set_max_huge_pages(2 * MIB, 64, None)
    host.flush()
    result = run(host, state="absent")
    assert (result.changed, host.exists(MANIFEST)) == (False, False)
    (said,) = result.verdict.warnings
    assert said.startswith(
        f"{node_pool(0, 2048)}/nr_hugepages: forgotten, not given back: a boot has made the pools anew"
    )


def test_pools_that_our_file_made_anew_at_boot_are_given_back(machine: Machine) -> None:
    host = machine(SYSTEMD)
    run(host, entry("2M", 100))
    host.remove(CHANGED)
    result = run(host, state="absent")
    assert (pool_of(result, "2M")["total"], result.verdict.warnings) == (0, ())


@pytest.mark.parametrize("lost", [[OURS], [UNIT], [UNIT, LINK], [OURS, UNIT, LINK]], ids="+".join)
def test_absent_takes_back_mounts_whatever_was_removed_by_hand(machine: Machine, lost: list[str]) -> None:
    host = machine(SYSTEMD)
    before = snapshot(host, but=[CHANGED])
    run(host, entry("1G", 2))
    for path in lost:
        host.remove(path)
    assert run(host, state="absent").changed
    assert host.commands[-1] == ["umount", "/dev/hugepages1G"]
    assert different(before, snapshot(host, but=[CHANGED])) <= {"/var", "/var/lib"}
    assert not run(host, state="absent").changed


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("tree", [SYSTEMD, PLAIN])
def test_absent_without_a_manifest_gives_up_our_pages_for_good(machine: Machine, tree: str, named: bool) -> None:
    host, pools = machine(tree), [entry("2M")] if named else []
    run(host, entry("2M", 100, None, 5))
    host.remove(MANIFEST)
    predicted = run(host, *pools, state="absent", check=True)
    result = run(host, *pools, state="absent")
    assert (result.changes, result.verdict.unmet) == (predicted.changes, ())
    for found in (result, run(host, state="absent", check=True), run(host, state="absent")):
        assert (pool_of(found, "2M")["total"], pool_of(found, "2M")["overcommit"]) == (0, 0)
    assert not host.exists(MANIFEST)


def test_absent_that_fails_without_a_manifest_puts_our_pages_back(machine: Machine) -> None:
    for number in itertools.count(1):
        host = machine(SYSTEMD)
        run(host, entry("2M", 100, None, 5))
        host.remove(MANIFEST)
        before, done = snapshot(host), len(host.log)
        host.fault = WriteFault(done + number)
        error = failure(partial(converge, Hugepages(host), params(state="absent"), check=False))
        if error is None:
            break
        assert error.details["not_undone"] == []
        assert different(before, snapshot(host)) <= MADE_BY_US, host.log[-1]
    assert number > 4


def test_absent_takes_back_a_size_that_the_kernel_no_longer_offers(machine: Machine) -> None:
    host = machine(SYSTEMD, {OURS: f"{HEADER}\nw! {SIXTEEN}/nr_hugepages - - - - 4"})
    run(host, state="absent")
    assert host.read(OURS) is None


def test_the_manifest_keeps_what_was_there_before_us(machine: Machine) -> None:
    host = machine(NUMA)
    run(host, entry("2M", 300, 0))
    run(host, entry("2M", 310, 0))
    kernel = json.loads(host.read(MANIFEST) or "")["kernel"]
    assert kernel == {f"{node_pool(0, 2048)}/nr_hugepages": {"before": "256", "by": "hugepages"}}


# shortfalls


def short(machine: Machine, room: int = 612, compaction: int = 0) -> FakeKernel:
    host = machine(NUMA, {"/proc/vmstat": "htlb_buddy_alloc_fail 7\ncompact_fail 3"})
    host.room, host.compaction = {(2 * MIB, 1): room}, compaction
    return host


def test_a_shortfall_is_explained_and_undone_and_nothing_is_persisted(machine: Machine) -> None:
    host = short(machine)
    before = snapshot(host)
    with pytest.raises(UnmetError) as caught:
        run(host, entry("2M", 300, 0), entry("2M", 1024, 1))
    (unmet,) = caught.value.details["unmet"]
    assert unmet == {
        "target": "pools[1].count",
        "wanted": 1024,
        "got": 612,
        "reason": "asked for 1024 pages of 2M on node 1, the kernel gave 612; "
        "memory is fragmented or in use (free blocks of that order: 30 on node 1)",
        "remedy": "Boot with hugepagesz=2M hugepages=1:1024, or free memory on the node.",
        "evidence": {
            "path": f"{node_pool(1, 2048)}/nr_hugepages",
            "nodes": [{"node": 1, "total": 612, "free_blocks": 30, "block_bytes": 2 * MIB}],
            "kernel_counters": {"htlb_buddy_alloc_fail": 0, "compact_fail": 0},
        },
    }
    assert unmet["reason"] in str(caught.value)
    assert f"{node_pool(0, 2048)}/nr_hugepages" in caught.value.details["undone"]
    assert caught.value.details["not_undone"] == []
    assert different(before, snapshot(host)) <= {"/var", "/var/lib"}


def test_a_page_larger_than_any_block_is_explained_by_the_largest_blocks(machine: Machine) -> None:
    host = machine(NUMA)
    host.room = {(GIB, 0): 4, (GIB, 1): 2}
    with pytest.raises(
        UnmetError, match=r"no contiguous 1G is left \(free blocks of 4M: 1000 on node 0, 10 on node 1\)"
    ):
        run(host, entry("1G", 12), timeout=0)


def test_what_the_kernel_gives_is_kept_persisted_and_warned_of_on_request(machine: Machine) -> None:
    host = short(machine)
    result = run(host, entry("2M", 1024, 1), on_shortfall="warn")
    assert [unmet.got for unmet in result.verdict.unmet] == [612]
    assert len(result.verdict.warnings) == 1
    assert result.verdict.warnings[0].startswith("pools[0].count: asked for 1024 pages of 2M on node 1")
    assert (result.changed, result.verdict.reboot_required) == (True, False)
    assert "- - - - 1024\n" in (host.read(OURS) or "")
    Path(host.root, "proc/uptime").write_text("6000.00 1.00\n", encoding="utf-8")
    state = snapshot(host)
    again = run(host, entry("2M", 1024, 1), on_shortfall="warn")
    assert (again.changed, len(again.verdict.unmet)) == (False, 1)
    assert snapshot(host) == state, "a refused page is no change of which a kubelet must know"


def test_a_shortfall_asks_for_a_reboot_on_request(machine: Machine) -> None:
    result = run(short(machine), entry("2M", 1024, 1), on_shortfall="reboot")
    assert result.verdict.reboot_required
    (warning,) = result.verdict.warnings
    assert warning.startswith("pools[0].count: asked for 1024 pages of 2M on node 1")
    assert not run(short(machine), entry("2M", 600, 1), on_shortfall="reboot").verdict.reboot_required


def test_no_reboot_is_asked_for_once_one_was_tried_and_none_for_what_is_not_persisted(machine: Machine) -> None:
    host = short(machine)
    assert run(host, entry("2M", 1024, 1), on_shortfall="reboot").verdict.reboot_required
    assert run(host, entry("2M", 1024, 1), on_shortfall="reboot").verdict.reboot_required, "no boot came between"
    Path(host.root, "proc/stat").write_text("btime 99999999999\n", encoding="utf-8")
    again = run(host, entry("2M", 1024, 1), on_shortfall="reboot").verdict
    assert not again.reboot_required
    assert "another one is not asked for" in again.warnings[0]
    assert run(host, entry("2M", 2048, 1), on_shortfall="reboot").verdict.reboot_required, "another number"
    with pytest.raises(OptionError, match="on_shortfall: got 'reboot', expected persist beside it"):
        run(host, entry("2M", 1024, 1), on_shortfall="reboot", persist=False)


def test_a_kernel_that_gives_such_pages_at_boot_alone_falls_short_like_any_other(machine: Machine) -> None:
    host = machine(SYSTEMD)
    host.refuses = {f"{POOL_1G}/nr_hugepages": "EINVAL"}
    result = run(host, entry("1G", 2), on_shortfall="reboot")
    assert (result.verdict.reboot_required, result.verdict.unmet[0].got) == (True, 0)
    host.refuses = {f"{POOL_1G}/nr_hugepages": "EACCES"}
    with pytest.raises(HostError, match="EACCES"):
        run(host, entry("1G", 2), on_shortfall="reboot")


@pytest.mark.parametrize(
    ("more", "compaction", "rounds"),
    [
        ({}, 0, 2),  # fruitless twice: it ends
        ({}, 200, 3),  # 612, 812, 1012, 1024: it goes on while it helps
        ({"compact": False}, 200, 0),
        ({"timeout": 0}, 200, 0),
    ],
)
def test_memory_is_compacted_as_long_as_that_helps(
    machine: Machine, more: dict[str, Any], compaction: int, rounds: int
) -> None:
    host = short(machine, compaction=compaction)
    result = run(host, entry("2M", 1024, 1), on_shortfall="warn", **more)
    compacted = [what for what in host.log if what[1].endswith("compact")]
    assert compacted == [("write", "/sys/devices/system/node/node1/compact")] * rounds
    assert pool_of(result, "2M")["nodes"][1]["total"] == min(1024, 612 + rounds * compaction)


def test_the_whole_machine_is_compacted_for_a_pool_of_all_nodes(machine: Machine) -> None:
    host = short(machine)
    host.room[2 * MIB, 0] = 256
    run(host, entry("2M", 2000), on_shortfall="warn")
    assert [what[1] for what in host.log if "compact" in what[1]] == ["/proc/sys/vm/compact_memory"] * 2


def test_check_mode_says_where_the_kernel_may_fall_short(machine: Machine) -> None:
    host = machine(NUMA)
    # Node 0: 40 blocks of 2M and 1000 of 4M; node 1: 10 and 10 of them.
    assert run(host, entry("2M", 256 + 2040, 0), check=True).verdict.warnings == ()
    assert run(host, entry("2M", 256 + 2041, 0), entry("1G", 3, 1), check=True).verdict.warnings == (
        "may fall short: 2041 more pages of 2M on node 0, where free blocks make 2040 without compaction",
        "may fall short: 1 more page of 1G on node 1, where free blocks make at the most 0 without compaction",
    )


# the kubelet


def test_the_kubelet_is_named_for_a_restart_once_a_pool_has_changed_under_it(machine: Machine) -> None:
    host = machine("kubelet-cgroup-v1")
    was = host.pools[2 * MIB].sum(0)
    assert run(host, entry("2M", 64), persist=False, check=True).verdict.restart_required == ()
    result = run(host, entry("2M", 128))
    (restart,) = result.verdict.restart_required
    assert restart == {"unit": "kubelet.service", "reason": hugetlb.CHANGED_SINCE_START}
    assert (host.read(CHANGED) or "").splitlines()[:2] == ["5000.0", f"{POOL_2M}/nr_hugepages {was}"]
    run(host, entry("2M", 100))
    foretold = run(host, entry("2M", was), check=True)
    again = run(host, entry("2M", was))
    assert foretold.after == again.after
    assert again.verdict.restart_required == (), "the pools are what they were when the kubelet started"
    assert again.after["kubelet"]["restart_needed"] is None
    assert run(machine(SYSTEMD), entry("2M", 1)).verdict.restart_required == ()


# faults


FAULTY: dict[str, tuple[str, dict[str, Any]]] = {
    "systemd": (SYSTEMD, params(entry("2M", 10, None, 2), entry("1G", 1))),
    "nodes": (NUMA, params(entry("2M", 400, 0), entry("1G", 5, 0), entry("2M", 200, 1))),
    "plain": (PLAIN, params(entry("2M", 10))),
    "kubelet": ("kubelet-cgroup-v2", params(entry("2M", 0), state="absent")),
}
MADE_BY_US = {"/var", "/var/lib", "/var/lib/bulwark"}


@pytest.mark.parametrize(("after", "on"), [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("case", FAULTY)
def test_whichever_write_fails_the_machine_is_as_before_or_the_rest_is_named(
    machine: Machine, case: str, after: bool, on: bool
) -> None:
    tree, given = FAULTY[case]
    for number in itertools.count(1):
        host = machine(tree)
        before = snapshot(host)
        host.fault = WriteFault(number, after, on)
        error = failure(partial(converge, Hugepages(host), given, check=False))
        if error is None:
            assert number > len(host.log), f"write {number} failed unnoticed: {host.log[number - 1]}"
            break
        where = (number, host.log[number - 1], error.details)
        left = different(before, snapshot(host)) - MADE_BY_US
        named = " ".join(item["what"] for item in error.details["not_undone"])
        if named:
            # It keeps the entries of what could not be undone.
            left.discard(MANIFEST)
        assert on or after or not named, where
        assert all(_named(path, named) for path in left), (left, where)
    assert number > 4


def _named(path: str, named: str) -> bool:
    """Whether a path, or the pool or folder that it belongs to, is among what was named."""
    if path.startswith("/sys/"):
        return path.rpartition("/hugepages-")[2].split("/")[0] in named
    return path in named or (path == "/proc/mounts" and "/dev/hugepages1G" in named)


def test_an_undo_that_the_kernel_refuses_is_named(machine: Machine) -> None:
    host = machine(NUMA)
    domain = Hugepages(host)
    apply = domain.apply

    def greedy(change: Any, *rest: Any) -> None:
        if change.kind == "file":
            # Somebody took the memory meanwhile.
            host.room = {(2 * MIB, 0): 100, (2 * MIB, 1): 256}
            raise HostError(OURS, "no space")
        apply(change, *rest)

    domain.apply = greedy  # type: ignore[method-assign, assignment]
    with pytest.raises(HostError) as caught:
        converge(domain, params(entry("2M", 100, 0)), check=False)
    (item,) = (item for item in caught.value.details["not_undone"] if item["what"] != MANIFEST)
    assert item["what"] == f"{node_pool(0, 2048)}/nr_hugepages"
    assert "had 512 pages and now has 356; the kernel did not take them back" in item["reason"]


def test_an_undo_is_checked_without_numa_as_well(machine: Machine) -> None:
    host = machine(PLAIN, without=["/sys/devices"])
    host.pools[2 * MIB].nodes[0] = [8, 8, 0]
    host.flush()
    before = hugetlb.read_pool(host, 2 * MIB)
    host.pools[2 * MIB].nodes[0] = [2, 2, 0]
    host.flush()
    host.room = {(2 * MIB, 0): 2}
    with pytest.raises(HostError, match="had 8 pages and now has 2"):
        Hugepages(host)._restore(before)


@pytest.mark.parametrize("undo", ["first_line", "line"])
def test_a_file_changed_by_hand_is_named_and_not_taken_for_ours(machine: Machine, undo: str) -> None:
    host = machine(SYSTEMD)
    before = snapshot(host, but=[CHANGED])
    run(host, entry("2M", 100))
    text, line = host.read(OURS) or "", "w! /sys/module/other/parameters/x - - - - 7\nd /run/other 0755\n"
    theirs = text.split("\n", 1)[1] if undo == "first_line" else line
    host.replace(OURS, (theirs if undo == "first_line" else text + line).encode())
    if undo == "line":
        assert run(host, entry("2M", 90)).changed
        assert (host.read(OURS) or "").endswith(line)
    foretold = run(host, state="absent", check=True)
    done = run(host, state="absent")
    assert (done.changes, done.after, done.diff) == (foretold.changes, foretold.after, foretold.diff)
    assert done.verdict == foretold.verdict
    (said,) = [text for text in done.verdict.warnings if text.startswith(OURS)]
    assert ("changed by hand" if undo == "first_line" else "keeps the lines") in said
    assert host.read(OURS) == theirs
    assert different(before, snapshot(host, but=[CHANGED])) - {OURS} <= {"/var", "/var/lib"}
    assert not run(host, state="absent").changed
