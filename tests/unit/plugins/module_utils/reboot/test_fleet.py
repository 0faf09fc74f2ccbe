# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What rebooting one node does to the others: shares, spacing, who is left, and quorums."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import OptionError
from ansible_collections.bulwark.node.plugins.module_utils.reboot.fleet import (
    Allowance,
    NodeState,
    Pool,
    allowance,
    quorum_reasons,
    sole_reasons,
    spacing_reasons,
    unavailable_reasons,
)
from ansible_collections.bulwark.node.plugins.module_utils.reboot.gate import Subject

NOW = dt.datetime(2026, 11, 21, 13, 0, tzinfo=dt.timezone.utc)
DOWN: dict[str, dict[str, Any]] = {
    "NotReady": {"ready": False},
    "cordoned": {"cordoned": True},
    "being rebooted": {"rebooting": True},
}


def pool(count: int, **down: dict[str, Any]) -> Pool:
    """Nodes n0, n1 and so on, some of them otherwise than up."""
    return Pool(tuple(NodeState(name, **down.get(name, {})) for name in (f"n{number}" for number in range(count))))


@pytest.mark.parametrize(
    ("text", "total", "expected"),
    [
        ("1", 1, 1),
        ("3", 2, 3),
        # Down, but to one at least.
        ("10%", 9, 1),
        ("10%", 19, 1),
        ("10%", 20, 2),
        ("33%", 10, 3),
        ("1%", 1, 1),
        ("100%", 7, 7),
    ],
)
def test_a_share_is_rounded_down_to_one_at_least(text: str, total: int, expected: int) -> None:
    found = allowance("node.max_unavailable", text)
    assert (found.of(total), str(found)) == (expected, text)


@pytest.mark.parametrize("text", ["", "0", "0%", "101%", "-1", "1.5", "10 %", "ten", "\u0661", "1\n"])
def test_what_is_no_number_and_no_share_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match="a number from 1 on, or a share from 1% to 100%"):
        allowance("node.max_unavailable", text)


@pytest.mark.parametrize("state", DOWN)
def test_what_is_down_already_counts_whatever_made_it_so(state: str) -> None:
    found = pool(10, n3=DOWN[state])
    (reason,) = unavailable_reasons(found, "n0", Allowance(1))
    assert reason.detail == f"with n0, 2 of 10 nodes would be down, and 1 may be: n3 is {state}"
    assert (reason.source, reason.error, reason.until) == ("max_unavailable", False, None)
    assert unavailable_reasons(found, "n0", Allowance(2)) == []


def test_the_node_itself_counts_once_down_already_or_not() -> None:
    for state in ({}, *DOWN.values()):
        assert unavailable_reasons(pool(3, n0=state), "n0", Allowance(1)) == []
    assert unavailable_reasons(pool(3, n0=DOWN["NotReady"], n1=DOWN["NotReady"]), "n0", Allowance(1)) != []


def test_a_share_is_named_with_what_it_comes_to_and_the_list_is_cut() -> None:
    (reason,) = unavailable_reasons(
        Pool(tuple(NodeState(f"n{n:02}", ready=False) for n in range(20))), "n00", Allowance(10, True)
    )
    assert "20 of 20 nodes would be down, and 2 may be (10%): n01 is NotReady, n02" in reason.detail
    assert reason.detail.endswith("n10 is NotReady and 9 more")


@pytest.mark.parametrize(
    ("ago", "waits"), [(None, None), (0, 600), (1, 599), (599, 1), (600, None), (6000, None), (-60, 660)]
)
def test_some_time_has_to_pass_after_a_node_came_up(ago: int | None, waits: int | None) -> None:
    returned = None if ago is None else NOW - dt.timedelta(seconds=ago)
    found = Pool((NodeState("a", returned=NOW - dt.timedelta(days=1)), NodeState("b", returned=returned)))
    reasons = spacing_reasons(found, 600, NOW)
    assert [reason.until for reason in reasons] == ([] if waits is None else [NOW + dt.timedelta(seconds=waits)])
    for reason in reasons:
        assert reason.subject == Subject("Node", "b")
        assert "600 seconds have to pass after that" in reason.detail


def test_without_a_known_return_nothing_is_waited_for() -> None:
    assert spacing_reasons(pool(3), 600, NOW) == []


WORKER: dict[str, Any] = {}
CONTROLLER: dict[str, Any] = {"tainted": True, "control_plane": True}
BOTH: dict[str, Any] = {"control_plane": True}


@pytest.mark.parametrize(
    ("nodes", "without_consent", "with_consent"),
    [
        ([BOTH], ["only node for pods", "only node of the control plane"], []),
        ([WORKER], ["only node for pods"], []),
        ([WORKER, WORKER], [], []),
        # Who is tainted takes no pod of the other.
        ([WORKER, CONTROLLER], ["only node for pods"], []),
        ([CONTROLLER, WORKER], ["only node of the control plane"], []),
        ([CONTROLLER, CONTROLLER], [], []),
        ([BOTH, BOTH], [], []),
        # Others that are merely down come back: no consent helps.
        ([WORKER, {"ready": False}], ["no other node for pods is up: n1 is NotReady"], ["no other node for pods"]),
        ([WORKER, {"cordoned": True}], ["no other node for pods is up: n1 is cordoned"], ["no other node for pods"]),
        (
            [CONTROLLER, {**CONTROLLER, "rebooting": True}],
            ["no other node of the control plane is up: n1 is being rebooted"],
            ["no other node of the control plane"],
        ),
        # A cordon does not stop the API server.
        ([CONTROLLER, {**CONTROLLER, "cordoned": True}], [], []),
    ],
)
def test_somebody_has_to_be_left(
    nodes: list[dict[str, Any]], without_consent: list[str], with_consent: list[str]
) -> None:
    found = pool(len(nodes), **{f"n{number}": state for number, state in enumerate(nodes)})
    for consent, expected in ((False, without_consent), (True, with_consent)):
        reasons = sole_reasons(found, found.by_name["n0"], consent)
        assert [reason.source for reason in reasons] == ["last_node"] * len(expected)
        for reason, text in zip(reasons, expected):
            assert text in reason.detail
            assert ("Set allow_outage" in reason.detail) is ("only node" in text)


@pytest.mark.parametrize(
    ("healthy", "sick", "blocks", "consent_helps"),
    [
        (1, 0, True, True),
        (2, 0, True, True),
        (1, 1, True, False),
        (3, 0, False, False),
        (2, 1, True, False),
        (4, 0, False, False),
        (3, 1, True, False),
        (5, 0, False, False),
        (4, 1, False, False),
        (3, 2, True, False),
        (7, 0, False, False),
        (5, 2, False, False),
        (4, 3, True, False),
    ],
)
def test_a_quorum_is_left_after_the_loss(healthy: int, sick: int, blocks: bool, consent_helps: bool) -> None:
    members = {f"n{number}": number < healthy for number in range(healthy + sick)}
    assert bool(quorum_reasons(members, "n0", False)) is blocks
    assert bool(quorum_reasons(members, "n0", True)) is (blocks and not consent_helps)
    # Its definition: what is left after the loss is a majority of all.
    assert blocks is not (healthy - 1 > len(members) / 2)


def test_a_sick_member_that_is_rebooted_is_no_further_loss() -> None:
    assert quorum_reasons({"a": False, "b": True, "c": True}, "a", False) == []
    (reason,) = quorum_reasons({"a": True, "b": False, "c": True}, "a", False)
    assert reason.detail == (
        "without a, 1 of 3 members of etcd would be left, and its quorum is 2: no healthy member is seen on b"
    )


def test_who_is_no_member_costs_no_quorum() -> None:
    assert quorum_reasons({"a": True}, "worker", False) == []
