# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The five controls over hand-made facts: one good node, and what each change of a fact makes of a verdict."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.plugin_utils.findings import CONTROLS, SEVERITIES, STATUSES, judge

MIB = 1 << 20
GIB = 1 << 30
CGROUP, RESTART, BOOT, IDLE, THP = (control.id for control in CONTROLS)


def pool(size: str, size_bytes: int, total: int, unclaimed: int = 0, **more: Any) -> dict[str, Any]:
    """A pool of ``total`` pages, half of them on each of two NUMA nodes."""
    return {
        "size": size,
        "size_bytes": size_bytes,
        "total": total,
        "free": unclaimed,
        "reserved": 0,
        "surplus": 0,
        "overcommit": 0,
        "unclaimed": unclaimed,
        "nodes": [{"node": node, "total": total // 2, "free": 0, "surplus": 0} for node in (0, 1)],
        **more,
    }


def boot_arg(
    count: int | None, nodes: dict[str, int] | None = None, size: str = "1G", size_bytes: int = GIB
) -> dict[str, Any]:
    return {"size": size, "size_bytes": size_bytes, "count": count, "nodes": nodes}


def facts(**changes: Any) -> dict[str, Any]:
    """A Kubernetes node on which every control passes, changed: ``hugepages__kubelet__running=None`` sets that one fact."""
    made: dict[str, Any] = {
        "schema": 1,
        "gathered_at": 1790000000,
        "errors": [],
        "host": {"uptime_s": 86400},
        "hugepages": {
            "default_size_bytes": 2 * MIB,
            "pools": [pool("2M", 2 * MIB, 512, unclaimed=8), pool("1G", GIB, 8)],
            "pool_bytes": 9 * GIB,
            "memory_total_bytes": 64 * GIB,
            "mounts": [],
            "boot_args": [boot_arg(8)],
            "cgroup": {"ready": True, "version": "v2", "reason": None, "missing": []},
            "kubelet": {"running": True, "restart_needed": False, "reason": None},
            "reason": None,
        },
        "transparent_hugepages": {
            "enabled": "madvise",
            "defrag": "madvise",
            "shmem_enabled": "never",
            "khugepaged": {},
            "sizes": [],
            "reason": None,
        },
    }
    for address, value in changes.items():
        *parents, last = address.split("__")
        target = made
        for parent in parents:
            target = target[parent]
        target[last] = value
    return made


def verdict(control: str, **changes: Any) -> tuple[str, str]:
    """Status and reason that ``control`` has on the changed node."""
    finding = next(finding for finding in judge(facts(**changes)) if finding["control"] == control)
    return finding["status"], finding["reason"] or ""


NOT_DELEGATED = {
    "hugepages__cgroup": {
        "ready": False,
        "version": "v2",
        "reason": "not delegated",
        "missing": ["/sys/fs/cgroup/kubepods.slice/hugetlb.1GB.max", "/sys/fs/cgroup/kubepods.slice/hugetlb.2MB.max"],
    }
}
NO_CONTROLLER = {"hugepages__cgroup": {"ready": False, "version": "v1", "reason": "not mounted", "missing": []}}
HYBRID = {"hugepages__cgroup": {**NO_CONTROLLER["hugepages__cgroup"], "version": "hybrid"}}
NO_CONTROLLER_V2 = {"hugepages__cgroup": {**NO_CONTROLLER["hugepages__cgroup"], "version": "v2"}}
EMPTY_POOLS = {"hugepages__pools": [pool("2M", 2 * MIB, 0), pool("1G", GIB, 0)]}
SMALL_1G = {"hugepages__pools": [pool("2M", 2 * MIB, 512), pool("1G", GIB, 6)]}
IDLE_8G = {"hugepages__pools": [pool("2M", 2 * MIB, 4096, unclaimed=4096)]}
THP_ALWAYS = {"transparent_hugepages__enabled": "always", "transparent_hugepages__defrag": "always"}


def thp_sizes(**enabled: str | None) -> dict[str, Any]:
    return {
        "transparent_hugepages__sizes": [
            {"size": size, "size_bytes": 0, "enabled": value, "shmem_enabled": value and "inherit"}
            for size, value in enabled.items()
        ]
    }


@pytest.mark.parametrize("control", [CGROUP, RESTART, BOOT, IDLE, THP])
def test_a_good_node_passes_every_control(control: str) -> None:
    assert verdict(control) == ("pass", "")


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        (
            NOT_DELEGATED,
            "fail",
            "next start of the kubelet fails: not delegated (/sys/fs/cgroup/kubepods.slice/hugetlb.1GB.max and 1 more)",
        ),
        ({**NOT_DELEGATED, **EMPTY_POOLS}, "fail", "next start of the kubelet fails"),
        (
            {**NOT_DELEGATED, "hugepages__kubelet__running": False},
            "fail",
            "does not run and cannot start: not delegated",
        ),
        ({**NOT_DELEGATED, "hugepages__kubelet__running": None}, "fail", "cannot start"),
        (NO_CONTROLLER, "fail", "starts without hugepages, though there are pages: not mounted"),
        ({**NO_CONTROLLER, **EMPTY_POOLS}, "not_applicable", "no pool has a page that pods could miss; not mounted"),
        ({**NO_CONTROLLER, "hugepages__kubelet__running": False}, "not_applicable", "no kubelet runs"),
        ({**NO_CONTROLLER, "hugepages__kubelet__running": None}, "unknown", "hugepages.kubelet.running is not known"),
        ({"hugepages__kubelet__running": False}, "not_applicable", "no kubelet runs"),
        ({"hugepages__kubelet__running": None}, "unknown", "hugepages.kubelet.running is not known"),
        (EMPTY_POOLS, "pass", ""),
        ({"hugepages__pools": []}, "not_applicable", "the kernel offers no hugepage size"),
        (
            {"hugepages__pools": None, "hugepages__reason": "no sysfs"},
            "unknown",
            "hugepages.pools is not known: no sysfs",
        ),
        (
            {"hugepages__cgroup__ready": None, "hugepages__cgroup__reason": "no cgroup mounted"},
            "unknown",
            "no cgroup mounted",
        ),
        ({"hugepages__cgroup": None}, "unknown", "hugepages.cgroup is not known"),
        ({"hugepages__cgroup__ready": "yes"}, "error", "hugepages.cgroup.ready is of type str; expected true or false"),
    ],
)
def test_the_hugetlb_cgroup_that_the_next_kubelet_start_needs(
    changes: dict[str, Any], status: str, reason: str
) -> None:
    found = verdict(CGROUP, **changes)
    assert found[0] == status
    assert reason in found[1]


@pytest.mark.parametrize(
    ("changes", "first", "never"),
    [
        (NO_CONTROLLER, "Mount the hugetlb controller beside the other v1 ones", "unified"),
        (NO_CONTROLLER_V2, "Boot without cgroup_disable=hugetlb", "mount"),
        (HYBRID, "Boot with cgroup v2 alone", "Mount"),
    ],
)
def test_a_missing_controller_is_put_right_as_its_cgroup_version_wants(
    changes: dict[str, Any], first: str, never: str
) -> None:
    remedy = next(finding for finding in judge(facts(**changes)) if finding["control"] == CGROUP)["remedy"]
    assert remedy is not None
    assert remedy.startswith(first)
    assert never not in remedy
    assert "cgroup_disable=hugetlb" in remedy


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        (
            {"restart_needed": True, "reason": "2M: 512 pages, 256 when it started"},
            "fail",
            "2M: 512 pages, 256 when it started",
        ),
        ({"restart_needed": True}, "fail", "changed after the kubelet started"),
        (
            {"restart_needed": None, "reason": "no record of the start"},
            "unknown",
            "restart_needed is not known: no record of the start",
        ),
        ({"running": None}, "unknown", "running is not known"),
        ({"running": False, "restart_needed": None}, "not_applicable", "no kubelet runs"),
        ({"running": 1}, "error", "hugepages.kubelet.running is of type int"),
    ],
)
def test_a_pool_that_changed_under_the_running_kubelet(changes: dict[str, Any], status: str, reason: str) -> None:
    found = verdict(RESTART, **{f"hugepages__kubelet__{key}": value for key, value in changes.items()})
    assert found[0] == status
    assert reason in found[1]


def test_without_hugepages_no_kubelet_restart_is_judged() -> None:
    assert verdict(RESTART, hugepages__pools=[], hugepages__kubelet=None)[0] == "not_applicable"


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        (SMALL_1G, "fail", "1G: the kernel command line asks for 8 pages, the pool has 6"),
        ({"hugepages__boot_args": []}, "not_applicable", "asks for no hugepages"),
        ({"hugepages__boot_args": None}, "unknown", "hugepages.boot_args is not known"),
        ({"hugepages__boot_args": [boot_arg(None)]}, "not_applicable", "asks for no hugepages"),
        ({"hugepages__boot_args": [boot_arg(0)]}, "not_applicable", "asks for no hugepages"),
        # hugepagesz=1G alone, then with a count, then again: the kernel takes the first count.
        ({"hugepages__boot_args": [boot_arg(None), boot_arg(8), boot_arg(99)]}, "pass", ""),
        ({"hugepages__boot_args": [boot_arg(7)]}, "pass", ""),
        ({"hugepages__boot_args": [boot_arg(None, {"0": 4, "1": 4})]}, "pass", ""),
        (
            {"hugepages__boot_args": [boot_arg(None, {"1": 5, "0": 3})]},
            "fail",
            "1G on node 1: the kernel command line asks for 5 pages, the pool has 4",
        ),
        (
            {"hugepages__boot_args": [boot_arg(None, {"3": 1})]},
            "fail",
            "1G on node 3: the kernel command line asks for 1 pages, the pool has 0",
        ),
        (
            {"hugepages__boot_args": [boot_arg(None, {"x": 1})]},
            "error",
            "has the key 'x'; expected the number of a NUMA node",
        ),
        (
            {"hugepages__boot_args": [boot_arg(4, size="16G", size_bytes=16 * GIB)]},
            "fail",
            "16G: the kernel command line asks for 4 pages, the pool has 0",
        ),
        # Surplus pages go when nobody uses them, so they are none that the boot made.
        ({"hugepages__pools": [pool("1G", GIB, 8, surplus=1)]}, "fail", "the pool has 7"),
        (
            {"hugepages__pools": [{**pool("1G", GIB, 8), "total": None}]},
            "unknown",
            "hugepages.pools[0].total is not known",
        ),
        (
            {"hugepages__pools": [{**pool("1G", GIB, 8), "total": True}]},
            "error",
            "hugepages.pools[0].total is of type bool",
        ),
        # A kernel without NUMA lists no nodes.
        (
            {"hugepages__boot_args": [boot_arg(None, {"0": 8})], "hugepages__pools": [pool("1G", GIB, 8, nodes=[])]},
            "pass",
            "",
        ),
    ],
)
def test_pages_that_the_kernel_command_line_asks_for(changes: dict[str, Any], status: str, reason: str) -> None:
    found = verdict(BOOT, **changes)
    assert found[0] == status
    assert reason in found[1]


def test_every_pool_short_of_its_boot_arguments_is_named() -> None:
    args = [boot_arg(9), boot_arg(600, size="2M", size_bytes=2 * MIB)]
    assert verdict(BOOT, hugepages__boot_args=args)[1] == (
        "2M: the kernel command line asks for 600 pages, the pool has 512; 1G: the kernel command line asks for 9 pages, the pool has 8"
    )


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        (IDLE_8G, "fail", "8.0 GiB (12 % of memory) is locked in hugepages that nobody uses or reserved: 4096 of 2M"),
        ({**IDLE_8G, "hugepages__memory_total_bytes": 80 * GIB}, "pass", ""),
        ({**IDLE_8G, "hugepages__memory_total_bytes": 80 * GIB - 1}, "fail", "10 % of memory"),
        ({**IDLE_8G, "hugepages__memory_total_bytes": 0}, "fail", "more than all memory"),
        ({**IDLE_8G, "hugepages__memory_total_bytes": None}, "unknown", "hugepages.memory_total_bytes is not known"),
        ({**IDLE_8G, "host__uptime_s": 3599}, "unknown", "booted 59 minutes ago"),
        ({**IDLE_8G, "host__uptime_s": 3600}, "fail", "8.0 GiB"),
        ({**IDLE_8G, "host": None}, "fail", "8.0 GiB"),
        ({"host__uptime_s": 60}, "pass", ""),
        (EMPTY_POOLS, "not_applicable", "no pool has a page"),
        ({"hugepages__pools": []}, "not_applicable", "no pool has a page"),
        (
            {"hugepages__pools": [{**pool("1G", GIB, 8), "total": None}]},
            "unknown",
            "hugepages.pools[0].total is not known",
        ),
        (
            {"hugepages__pools": [{**pool("1G", GIB, 8), "unclaimed": None}]},
            "unknown",
            "hugepages.pools[0].unclaimed is not known",
        ),
        (
            {"hugepages__pools": [pool("1G", GIB, 8, unclaimed=-1)]},
            "error",
            "hugepages.pools[0].unclaimed is out of range",
        ),
        (
            {"hugepages__pools": [pool("1G", GIB, 8, unclaimed=1 << 64)]},
            "error",
            "hugepages.pools[0].unclaimed is out of range",
        ),
    ],
)
def test_memory_idle_in_the_pools(changes: dict[str, Any], status: str, reason: str) -> None:
    found = verdict(IDLE, **changes)
    assert found[0] == status
    assert reason in found[1]


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        (THP_ALWAYS, "fail", "THP is on for all memory (all sizes) with defrag=always"),
        ({"transparent_hugepages__enabled": "always"}, "pass", ""),
        ({"transparent_hugepages__defrag": "always"}, "pass", ""),
        ({**THP_ALWAYS, "transparent_hugepages__enabled": "never"}, "pass", ""),
        ({**THP_ALWAYS, "transparent_hugepages__defrag": "defer+madvise"}, "pass", ""),
        ({**THP_ALWAYS, **thp_sizes(k64="never", M2="inherit")}, "fail", "(M2)"),
        ({**THP_ALWAYS, **thp_sizes(k64="never", M2="madvise")}, "pass", ""),
        (
            {**THP_ALWAYS, "transparent_hugepages__enabled": "never", **thp_sizes(k64="always", M2="inherit")},
            "fail",
            "(k64)",
        ),
        ({**THP_ALWAYS, **thp_sizes(k64=None, M2="never")}, "unknown", "enabled could not be read for k64"),
        ({**THP_ALWAYS, **thp_sizes(k64=None, M2="always")}, "fail", "(M2)"),
        (
            {"transparent_hugepages__enabled": None, "transparent_hugepages__reason": "no such file"},
            "unknown",
            "enabled is not known: no such file",
        ),
        ({"transparent_hugepages__defrag": None}, "unknown", "transparent_hugepages.defrag is not known"),
        ({"transparent_hugepages__sizes": "x"}, "error", "transparent_hugepages.sizes is of type str; expected a list"),
    ],
)
def test_page_faults_that_wait_for_compaction(changes: dict[str, Any], status: str, reason: str) -> None:
    found = verdict(THP, **changes)
    assert found[0] == status
    assert reason in found[1]


def test_a_thp_size_for_shared_memory_alone_is_none_for_page_faults() -> None:
    sizes = thp_sizes(K8=None, M2="madvise")
    sizes["transparent_hugepages__sizes"][0]["shmem_enabled"] = "never"
    assert verdict(THP, **THP_ALWAYS, **sizes) == ("pass", "")


@pytest.mark.parametrize("subset", ["hugepages", "transparent_hugepages"])
def test_a_failed_subset_is_unknown_with_the_nodes_own_reason(subset: str) -> None:
    errors = [{"subset": "host", "reason": "other"}, {"subset": subset, "reason": "it broke"}]
    findings = judge(facts(**{subset: None, "errors": errors}))
    concerned = [finding for finding in findings if finding["control"].startswith("thp") == (subset != "hugepages")]
    assert {(finding["status"], finding["reason"]) for finding in concerned} == {
        ("unknown", f"the facts subset {subset} failed: it broke")
    }
    assert {finding["status"] for finding in findings if finding not in concerned} == {"pass"}


def test_a_subset_that_was_not_gathered_is_unknown() -> None:
    assert {(finding["status"], finding["reason"]) for finding in judge({"schema": 1})} == {
        ("unknown", "the facts subset hugepages was not gathered"),
        ("unknown", "the facts subset transparent_hugepages was not gathered"),
    }


def test_a_malformed_fact_costs_no_other_control() -> None:
    statuses = {finding["control"]: finding["status"] for finding in judge(facts(hugepages__boot_args=["x"]))}
    assert statuses == {CGROUP: "pass", RESTART: "pass", BOOT: "error", IDLE: "pass", THP: "pass"}


@pytest.mark.parametrize(
    ("changes", "failing"),
    [
        (NOT_DELEGATED, CGROUP),
        ({"hugepages__kubelet__restart_needed": True}, RESTART),
        (SMALL_1G, BOOT),
        (IDLE_8G, IDLE),
        (THP_ALWAYS, THP),
    ],
)
def test_each_failure_has_a_reason_and_a_remedy_and_nothing_else_has_one(changes: dict[str, Any], failing: str) -> None:
    for finding in judge(facts(**changes)):
        if finding["control"] == failing:
            assert finding["status"] == "fail"
            assert finding["reason"]
            assert finding["remedy"]
        assert finding["remedy"] is None or finding["status"] == "fail"
        assert (finding["reason"] is None) == (finding["status"] == "pass")


def test_v1_and_v2_have_their_own_remedies() -> None:
    v2 = judge(facts(**NOT_DELEGATED))[0]["remedy"]
    v1 = judge(facts(hugepages__cgroup={**NOT_DELEGATED["hugepages__cgroup"], "version": "v1"}))[0]["remedy"]
    assert v2 is not None
    assert v1 is not None
    assert "subtree_control" in v2
    assert "subtree_control" not in v1


def test_the_controls_ids_and_severities_are_those_that_others_hold_on_to() -> None:
    assert {control.id: control.severity for control in CONTROLS} == {
        "hugepages-cgroup-ready": "high",
        "hugepages-kubelet-restart": "high",
        "hugepages-boot-args-met": "medium",
        "hugepages-idle-memory": "low",
        "thp-direct-compaction": "medium",
    }


def test_a_finding_has_the_form_of_the_schema() -> None:
    for finding in judge(facts(**THP_ALWAYS)):
        assert set(finding) == {
            "control",
            "title",
            "severity",
            "status",
            "evidence",
            "reason",
            "remedy",
            "references",
            "source",
        }
        assert finding["severity"] in SEVERITIES
        assert finding["status"] in STATUSES
        assert finding["source"] == "bulwark.node"
        assert all(reference.startswith("https://") for reference in finding["references"])
        assert json.loads(json.dumps(finding)) == finding


def _addresses(value: Any, address: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [address, *(found for key, child in children for found in _addresses(child, (*address, key)))]


GARBAGE: list[Any] = [
    None,
    True,
    -1,
    10**4000,
    1e400,
    float("nan"),
    float("-inf"),
    "\x1b[2J",
    "",
    [],
    [None],
    [[]],
    {},
    {"": {}},
    {"9" * 5000: 1},
]


def test_no_garbage_in_any_place_of_the_facts_raises() -> None:
    boot_args = [boot_arg(99), boot_arg(None, {"0": 1}, "2M", 2 * MIB)]
    # Failing where they can: the messages are made of the facts.
    good = facts(
        hugepages__boot_args=boot_args, hugepages__memory_total_bytes=MIB, **THP_ALWAYS, **thp_sizes(M2="inherit")
    )
    places = [place for place in _addresses(good) if place]
    assert len(places) > 50
    for place in places:
        for garbage in GARBAGE:
            broken = copy.deepcopy(good)
            target: Any = broken
            for key in place[:-1]:
                target = target[key]
            target[place[-1]] = garbage
            assert [finding["control"] for finding in judge(broken)] == [CGROUP, RESTART, BOOT, IDLE, THP]
