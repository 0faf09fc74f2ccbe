# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The subset ``conntrack``: the columns by name, netlink where there is no file, and no module loaded when passive."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import conntrack
from ansible_collections.bulwark.node.plugins.module_utils.node.request import Request
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import lay
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.dumps import (
    DONE,
    GET_STATS_CPU,
    answer,
    message,
)

COUNT = "/proc/sys/net/netfilter/nf_conntrack_count"
MAX = "/proc/sys/net/netfilter/nf_conntrack_max"
STAT = "/proc/net/stat/nf_conntrack"
UPTIME = "/proc/uptime"
MODULE = "/sys/module/nf_conntrack_netlink"
# As Linux 6.18 prints it, the numbers by hand. Two spaces stand here and there.
NEW = (
    "entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop icmp_error"
    "  expect_new expect_create expect_delete search_restart\n"
    "00000011  00000001 00000000 00000000 00000000 00000000 00000000 00000000 00000000 0000000a 00000002 00000000"
    " 00000000  00000000 00000000 00000000 00000000\n"
    "00000011  00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000006 00000001 000000ff"
    " 00000000  00000000 00000000 00000000 00000000\n"
)
# Before 5.10: another column first, and none of it in the same place.
OLD = (
    "entries  searched found new invalid ignore delete delete_list insert insert_failed drop early_drop icmp_error\n"
    "00000011  00ffffff 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000003 00000000 00000001 0\n"
)


def facts(tree: Path, files: dict[str, str], active: bool = False, folders: tuple[str, ...] = ()) -> dict[str, Any]:
    lay(tree, {"files": files, "links": {}, "folders": folders})
    return conntrack.facts(Host(root=str(tree)), Request(active=active))


def stats(**counters: int) -> bytes:
    numbers = {"insert_failed": 9, "drop": 10, "early_drop": 11}
    return message(0x104, bytes(4), {numbers[name]: struct.pack(">I", value) for name, value in counters.items()})


@pytest.mark.parametrize(
    ("text", "counters"),
    [
        (NEW, {"insert_failed": 16, "drop": 3, "early_drop": 255}),
        (OLD, {"insert_failed": 3, "drop": 0, "early_drop": 1}),
        ("early_drop drop insert_failed\n1 2 3\n1 2 3\n", {"insert_failed": 6, "drop": 4, "early_drop": 2}),
    ],
)
def test_the_columns_are_read_by_their_names_and_summed_over_the_cpus(
    tree: Path, text: str, counters: dict[str, int]
) -> None:
    assert facts(tree, {COUNT: "65536", MAX: "262144", STAT: text, UPTIME: "7200.00 1.0"}) == {
        "loaded": True,
        "count": 65536,
        "max": 262144,
        "fullness": 0.25,
        **counters,
        "insert_failed_per_hour": counters["insert_failed"] / 2,
        "lost_per_hour": (counters["drop"] + counters["early_drop"]) / 2,
        "reason": None,
    }


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("insert_failed drop\n1 2\n", "has the columns 'insert_failed drop', without insert_failed, drop, early_drop"),
        ("insert_failed drop early_drop\n1 x 3\n", "expected a row of numbers for each CPU"),
        ("insert_failed drop early_drop\n", "has the columns"),
    ],
)
def test_a_file_that_says_something_else_is_no_number(tree: Path, text: str, reason: str) -> None:
    found = facts(tree, {COUNT: "1", MAX: "2", STAT: text})
    assert (found["count"], found["fullness"], found["drop"]) == (1, 0.5, None)
    assert found["reason"].startswith(f"counters: {STAT}: ")
    assert reason in found["reason"]


def test_an_empty_file_is_no_number(tree: Path) -> None:
    assert "has the columns ''" in facts(tree, {COUNT: "1", MAX: "2", STAT: "\n"})["reason"]


def test_a_kernel_that_tracks_nothing_says_so_and_is_asked_nothing(monkeypatch: pytest.MonkeyPatch, tree: Path) -> None:
    asked = answer(monkeypatch, {})
    found = facts(tree, {}, active=True)
    assert (found.pop("loaded"), found.pop("reason")) == (False, "nf_conntrack is not loaded")
    assert set(found.values()) == {None}
    assert asked == []


def test_no_limit_is_no_fullness(tree: Path) -> None:
    found = facts(tree, {COUNT: "5", MAX: "0", STAT: NEW})
    assert (found["fullness"], found["reason"]) == (None, "fullness: nf_conntrack_max is 0, no limit")


@pytest.mark.parametrize(("active", "folders"), [(False, (MODULE,)), (True, ()), (True, (MODULE,))])
def test_without_the_file_netlink_tells(
    monkeypatch: pytest.MonkeyPatch, tree: Path, active: bool, folders: tuple[str, ...]
) -> None:
    dump = stats(insert_failed=5, drop=1, early_drop=0) + stats(insert_failed=300, drop=0, early_drop=2) + DONE
    asked = answer(monkeypatch, {GET_STATS_CPU: dump})
    found = facts(tree, {COUNT: "1", MAX: "2"}, active, folders)
    assert asked == [(12, 0x104, bytes(4))]
    assert {name: found[name] for name in ("insert_failed", "drop", "early_drop", "reason")} == {
        "insert_failed": 305,
        "drop": 1,
        "early_drop": 2,
        "reason": None,
    }


def test_what_the_kernel_said_by_netlink_is_read(monkeypatch: pytest.MonkeyPatch, tree: Path) -> None:
    answer(monkeypatch)
    found = facts(tree, {COUNT: "1", MAX: "2"}, folders=(MODULE,))
    assert (found["insert_failed"], found["drop"], found["early_drop"]) == (0, 0, 0)


def test_a_passive_run_loads_no_module(monkeypatch: pytest.MonkeyPatch, tree: Path) -> None:
    asked = answer(monkeypatch, {})
    found = facts(tree, {COUNT: "1", MAX: "2"})
    assert asked == []
    assert (found["count"], found["drop"]) == (1, None)
    assert "nf_conntrack_netlink is not loaded" in found["reason"]


def test_the_numbers_of_another_network_namespace_are_not_the_machines(tree: Path) -> None:
    links = {"/proc/1/ns/net": "net:[4026531840]", "/proc/self/ns/net": "net:[4026532177]"}
    lay(tree, {"files": {COUNT: "1", MAX: "2", STAT: NEW}, "links": links, "folders": []})
    found = conntrack.facts(Host(root=str(tree)))
    assert found.pop("reason") == "this run is in another network namespace than the machine"
    assert set(found.values()) == {None}


@pytest.mark.parametrize(("uptime", "rate"), [("60.00 1.0", 16.0), ("36000.00 1.0", 1.6), ("soon", None)])
def test_rates_are_those_since_boot_and_the_first_hour_is_a_whole_one(
    tree: Path, uptime: str, rate: float | None
) -> None:
    assert facts(tree, {COUNT: "1", MAX: "2", STAT: NEW, UPTIME: uptime})["insert_failed_per_hour"] == rate


def test_without_counters_there_are_no_rates(tree: Path) -> None:
    found = facts(tree, {COUNT: "1", MAX: "2", UPTIME: "7200.00 1.0"})
    assert (found["insert_failed_per_hour"], found["lost_per_hour"]) == (None, None)
