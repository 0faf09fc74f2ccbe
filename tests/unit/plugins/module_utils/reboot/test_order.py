# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""In which order nodes are rebooted and which of them at once: tables, and what holds of any cluster."""

from __future__ import annotations

import datetime as dt
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.bulwark.node.plugins.module_utils.reboot.fleet import (
    Allowance,
    NodeState,
    Pool,
    sole_reasons,
    unavailable_reasons,
)
from ansible_collections.bulwark.node.plugins.module_utils.reboot.order import Candidate, Room, batches


def day(number: int) -> dt.datetime:
    return dt.datetime(2026, 1, number, tzinfo=dt.timezone.utc)


def ordered(*candidates: Candidate, **room: Any) -> list[tuple[str, ...]]:
    """The batches of candidates among whom nobody is missed: somebody else is up."""
    up = frozenset({"spare", *(each.name for each in candidates)})
    return [batch.names for batch in batches(candidates, Room(**{"up": up, **room}))]


@pytest.mark.parametrize(
    ("candidates", "expected"),
    [
        pytest.param([], "", id="nobody"),
        pytest.param([Candidate("b"), Candidate("a")], "ab", id="by name"),
        pytest.param([Candidate("a", since=2), Candidate("b", since=1), Candidate("c")], "bac", id="longest pending"),
        pytest.param([Candidate("a", since=1), Candidate("b", since=0)], "ba", id="since the epoch itself"),
        pytest.param(
            [Candidate("a", created=day(2)), Candidate("b", created=day(1)), Candidate("c")], "bac", id="oldest"
        ),
        pytest.param(
            [Candidate("a", since=1, created=day(2)), Candidate("b", since=2, created=day(1))], "ab", id="both"
        ),
        pytest.param([Candidate("a", "y", since=1), Candidate("b", "x", since=2)], "ba", id="zone by zone"),
        pytest.param([Candidate("a", "y"), Candidate("b")], "ba", id="without a zone"),
        pytest.param([Candidate("a", alone=True, since=1), Candidate("b", "z", since=2)], "ba", id="workers first"),
        pytest.param(
            [Candidate("a"), Candidate("b", "z", alone=True, interrupted=True)], "ba", id="interrupted before all"
        ),
        pytest.param(
            [
                Candidate("a", interrupted=True),
                Candidate("b", interrupted=True, begun=day(2)),
                Candidate("c", interrupted=True, begun=day(1)),
            ],
            "cba",
            id="the first that was begun",
        ),
    ],
)
def test_one_after_the_other_they_come_in_this_order(candidates: list[Candidate], expected: str) -> None:
    assert ordered(*candidates) == [(name,) for name in expected]


A, B, C, D = (Candidate(name) for name in "abcd")


@pytest.mark.parametrize(
    ("candidates", "room", "expected"),
    [
        pytest.param([A, B, C], {"most": 2}, ["ab", "c"], id="no more than asked for"),
        pytest.param([A, B, C], {"most": 9, "free": 2}, ["ab", "c"], id="no more than may be down"),
        pytest.param([A, B, C], {"most": 9, "free": 0}, ["a", "b", "c"], id="none may: each waits alone"),
        pytest.param([A, B, C], {"most": 9, "free": -3}, ["a", "b", "c"], id="too many are down"),
        pytest.param([A, B, C], {"most": 9, "free": 1, "down": frozenset("ab")}, ["abc"], id="who is down is no loss"),
        pytest.param([A, B], {"most": 9, "free": 0, "down": frozenset("ab")}, ["ab"], id="nobody more goes down"),
        pytest.param([A, B, C], {"most": 9, "up": frozenset("abc")}, ["ab", "c"], id="somebody is left"),
        pytest.param([A, B, C], {"most": 9, "up": frozenset("c")}, ["ab", "c"], id="the last one goes alone"),
        pytest.param([A, B, C], {"most": 9, "up": frozenset()}, ["abc"], id="nobody takes pods"),
        pytest.param([A, Candidate("b", "y"), Candidate("c", "y")], {"most": 9}, ["a", "bc"], id="zones do not mix"),
        pytest.param(
            [A, Candidate("b", alone=True), Candidate("c", alone=True)], {"most": 9}, ["a", "b", "c"], id="alone"
        ),
        pytest.param(
            [A, B, Candidate("c", interrupted=True), Candidate("d", interrupted=True)],
            {"most": 9},
            ["c", "d", "ab"],
            id="interrupted",
        ),
    ],
)
def test_a_batch_is_what_may_be_down_at_once(
    candidates: list[Candidate], room: dict[str, Any], expected: list[str]
) -> None:
    assert ordered(*candidates, **room) == [tuple(names) for names in expected]


def test_batches_are_counted_and_tell_which_were_interrupted() -> None:
    found = batches([A, Candidate("b", interrupted=True)], Room(up=frozenset("abc")))
    assert [(each.number, each.names, each.interrupted) for each in found] == [(1, ("b",), True), (2, ("a",), False)]


def test_room_is_what_is_left_of_the_pool_that_is_counted() -> None:
    nodes = [NodeState("a", ready=False), NodeState("b", cordoned=True), NodeState("c"), NodeState("d", tainted=True)]
    everyone, counted = Pool(tuple(nodes)), Pool(tuple(nodes[:3]))
    room = Room.of(7, everyone, counted, Allowance(3))
    assert room == Room(7, 1, frozenset("ab"), frozenset("c"))
    assert Room.of(7, everyone, counted, None).free is None


# Whatever the cluster

_TIMES = st.one_of(st.none(), st.integers(1, 4).map(day))


@st.composite
def clusters(draw: st.DrawFn) -> tuple[Pool, list[Candidate]]:
    """Some nodes, and those of them that are to be rebooted."""
    states, candidates = [], []
    for number in range(draw(st.integers(1, 9))):
        flags = st.booleans()
        state = NodeState(
            f"n{number}",
            draw(st.sampled_from([True, True, True, False])),
            draw(st.sampled_from([False, False, False, True])),
            tainted=draw(flags),
            control_plane=draw(st.sampled_from([False, False, True])),
        )
        states.append(state)
        if draw(flags):
            since, alone = (
                draw(st.one_of(st.none(), st.integers(0, 2))),
                state.control_plane or draw(st.sampled_from([False, False, True])),
            )
            candidates.append(
                Candidate(
                    state.name,
                    draw(st.sampled_from(["", "x", "y"])),
                    alone,
                    since,
                    draw(_TIMES),
                    draw(st.sampled_from([False, False, False, True])),
                    draw(_TIMES),
                )
            )
    return Pool(tuple(states)), candidates


@settings(max_examples=150)
@given(clusters(), st.integers(1, 4), st.integers(1, 5), st.randoms(use_true_random=False))
def test_of_any_cluster_no_batch_takes_more_than_may_go(
    cluster: tuple[Pool, list[Candidate]], most: int, allowed: int, chance: random.Random
) -> None:
    pool, candidates = cluster
    by_name = {each.name: each for each in candidates}
    room = Room.of(most, pool, pool, Allowance(allowed))
    found = batches(candidates, room)
    # Each is in exactly one, whatever order they came in.
    assert sorted(name for batch in found for name in batch.names) == sorted(by_name)
    shuffled = list(candidates)
    chance.shuffle(shuffled)
    assert batches(shuffled, room) == found
    assert [batch.number for batch in found] == [*range(1, len(found) + 1)]
    for batch in found:
        members = [by_name[name] for name in batch.names]
        assert len(members) <= most
        assert len({each.zone for each in members}) == 1
        if any(each.alone or each.interrupted for each in members):
            assert len(members) == 1
        # What a gate says of each of them is so with all the others of the batch down too.
        let = [name for name in batch.names if not unavailable_reasons(pool, name, Allowance(allowed))]
        if let:
            assert len({*pool.down, *batch.names}) <= allowed
        for name in batch.names:
            others = frozenset(batch.names) - {name}
            left = Pool(tuple(state if state.name not in others else _away(state) for state in pool.nodes))
            if not sole_reasons(pool, pool.by_name[name], False):
                assert not sole_reasons(left, left.by_name[name], False)
    ranks = [(not by_name[batch.names[0]].interrupted, by_name[batch.names[0]].alone) for batch in found]
    workers = [rank for rank in ranks if rank[0]]
    assert [first for first, _alone in ranks] == sorted(first for first, _alone in ranks)
    assert workers == sorted(workers)


def _away(state: NodeState) -> NodeState:
    return NodeState(state.name, False, tainted=state.tainted, control_plane=state.control_plane)


def test_thousands_take_one_look_at_each() -> None:
    candidates = [Candidate(f"n{number:05}", str(number % 3), since=-number) for number in range(5000)]
    everyone = frozenset(each.name for each in candidates)
    found = batches(candidates, Room(most=40, free=50, up=everyone))
    assert [len(batch.names) for batch in found].count(40) == 5000 // 3 // 40 * 3
