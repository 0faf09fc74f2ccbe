# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The frame of node_facts: what a gather_subset means, and that a broken subset costs no other."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import OptionError
from ansible_collections.bulwark.node.plugins.module_utils.node import subsets, system
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import (
    TREES,
    Machine,
    load,
    snapshot,
)

ALL = list(subsets.SUBSETS)
NAMES = sorted(path.stem for path in TREES.glob("*.yml"))
# Other trees hold the files of one subset alone.
WHOLE = [name for name in NAMES if {"/proc/meminfo", "/proc/uptime", "/proc/mounts"} <= set(load(name)["files"])]


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ([], ALL),
        (["all"], ALL),
        (["host"], ["host"]),
        (["hugepages", "host", "host"], ["host", "hugepages"]),
        (["!host"], [name for name in ALL if name != "host"]),
        (["all", "!host"], [name for name in ALL if name != "host"]),
        (["host", "!host"], []),
        (["!all"], []),
        (["!all", "host"], ["host"]),
        (["all", "!all"], ALL),
    ],
)
def test_subsets_are_selected_in_their_own_order(wanted: list[str], names: list[str]) -> None:
    assert subsets.select(wanted) == names


@pytest.mark.parametrize("item", ["hosts", "", "!", "!hosts", "ALL", "min"])
def test_an_unknown_subset_is_refused_by_its_place_and_name(item: str) -> None:
    with pytest.raises(OptionError) as caught:
        subsets.select(["host", item])
    assert caught.value.details["option"] == "gather_subset[1]"
    assert caught.value.details["value"] == item


def test_a_subset_of_another_name_is_not_taken_for_one_of_ours(machine: Machine) -> None:
    facts = subsets.gather(machine(WHOLE[0]), ["thp"])
    assert facts["thp"] is None
    assert "no subset has the name thp" in facts["errors"][0]["reason"]


@pytest.mark.parametrize("tree", WHOLE)
def test_gathering_all_of_a_tree_has_no_error_and_changes_nothing(machine: Machine, tree: str) -> None:
    host = machine(tree)
    before = snapshot(host)
    facts = subsets.gather(host, ALL)
    assert facts["errors"] == []
    assert (facts["schema"], list(facts)) == (1, ["schema", "gathered_at", "errors", *ALL])
    assert snapshot(host) == before
    assert (host.log, host.commands) == ([], [])


@pytest.mark.parametrize("tree", NAMES)
def test_a_tree_says_what_it_is_and_where_it_is_from(tree: str) -> None:
    content = load(tree)
    assert set(content) == {"origin", "about", "files", "links", "folders"}
    assert content["origin"] in ("captured", "hand-built")
    assert all(path.startswith("/") for path in (*content["files"], *content["links"], *content["folders"]))


def test_a_broken_subset_is_none_and_its_error_says_why_while_the_others_are_there(machine: Machine) -> None:
    host = machine("cgroup-v2-systemd", {"/proc/uptime": "x"})
    facts = subsets.gather(host, ALL)
    assert facts["host"] is None
    assert facts["errors"] == [{"subset": "host", "reason": "/proc/uptime: holds 'x\\n', expected seconds"}]
    assert facts["hugepages"]["default_size_bytes"] == 2 << 20
    assert facts["transparent_hugepages"]["enabled"] == "madvise"


def test_an_error_that_nobody_foresaw_costs_its_own_subset_alone(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(system, "facts", broken)
    facts = subsets.gather(machine("cgroup-v2-systemd"), ALL)
    assert facts["errors"] == [{"subset": "host", "reason": "unexpected ZeroDivisionError: oh"}]
    assert facts["hugepages"] is not None
