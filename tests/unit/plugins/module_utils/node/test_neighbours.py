# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The subset ``neighbours``: entries of the whole table, and what each CPU counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import neighbours
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import lay

STAT = "/proc/net/stat/arp_cache"
STAT6 = "/proc/net/stat/ndisc_cache"
MAX = "/proc/sys/net/ipv4/neigh/default/gc_thresh3"
MAX6 = "/proc/sys/net/ipv6/neigh/default/gc_thresh3"
# Linux 6.1 with two CPUs: each row repeats the entries, what it counts is its own. Two spaces stand here and there.
TEXT = (
    "entries  allocs   destroys hash_grows lookups  hits     res_failed rcv_probes_mcast rcv_probes_ucast periodic_gc_runs"
    " forced_gc_runs unresolved_discards table_fulls\n"
    "00000100 00000010 0000000f 00000002   00000000 00000000 00000000   00000000         00000000         00000000"
    "         00000001       00000000            00000002   \n"
    "00000100 0000001a 00000003 00000000   00000000 00000000 00000000   00000000         00000000         00000000"
    "         00000000       00000000            0000000a   \n"
)
OLD = "entries allocs\n00000100 00000010\n00000100 00000010\n"


def facts(tree: Path, files: dict[str, str], links: dict[str, str] | None = None) -> dict[str, Any]:
    lay(tree, {"files": files, "links": links or {}, "folders": []})
    return neighbours.facts(Host(root=str(tree)))


def test_entries_are_the_tables_and_overflows_those_of_all_cpus(tree: Path) -> None:
    assert facts(tree, {STAT: TEXT, MAX: "1024", STAT6: TEXT, MAX6: "512"}) == {
        "ipv4": {"entries": 256, "max": 1024, "fullness": 0.25, "overflows": 12, "reason": None},
        "ipv6": {"entries": 256, "max": 512, "fullness": 0.5, "overflows": 12, "reason": None},
    }


def test_a_kernel_that_does_not_count_overflows_says_so(tree: Path) -> None:
    found = facts(tree, {STAT: OLD, MAX: "1024"})["ipv4"]
    assert (found["entries"], found["overflows"], found["reason"]) == (
        256,
        None,
        "overflows: this kernel does not count them",
    )


@pytest.mark.parametrize(
    ("files", "most", "reason"),
    [
        ({}, None, "there is no gc_thresh3 of ipv4 here"),
        ({MAX: "1024"}, 1024, f"{STAT}: does not exist, or has no row of numbers"),
        ({MAX: "1024", STAT: "entries\n"}, 1024, f"{STAT}: does not exist, or has no row of numbers"),
        ({MAX: "1024", STAT: "entries\nmany\n"}, 1024, f"{STAT}: does not exist, or has no row of numbers"),
        ({MAX: "1024", STAT: "allocs\n1\n"}, 1024, f"{STAT}: does not exist, or has no row of numbers"),
    ],
)
def test_what_is_not_there_has_a_reason(tree: Path, files: dict[str, str], most: int | None, reason: str) -> None:
    found = facts(tree, files)["ipv4"]
    assert found["reason"].startswith(reason)
    assert [found[key] for key in ("entries", "max", "fullness", "overflows")] == [None, most, None, None]


def test_the_bounds_of_another_network_namespace_are_not_the_machines(tree: Path) -> None:
    links = {"/proc/1/ns/net": "net:[4026531840]", "/proc/self/ns/net": "net:[4026532177]"}
    found = facts(tree, {STAT: TEXT, MAX: "1024"}, links)["ipv4"]
    assert (found["max"], found["reason"]) == (None, "this run is in another network namespace than the machine")
