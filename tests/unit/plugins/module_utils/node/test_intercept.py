# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Interception of traffic: what is tried, and what the answers of the tools mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.host import Completed, Host
from ansible_collections.bulwark.node.plugins.module_utils.node import intercept
from ansible_collections.bulwark.node.plugins.module_utils.node.request import PASSIVE, Request
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import Machine

ACTIVE = Request(active=True)
NAMES = ("redirect", "tproxy", "socket_match")
IPTABLES, NFT = "/usr/sbin/iptables", "/usr/sbin/nft"


def running(
    machine: Machine, tools: list[str], answer: Callable[[list[str]], Completed]
) -> tuple[Host, list[list[str]]]:
    """A machine with these tools, and the commands that it was given."""
    commands: list[list[str]] = []

    def run(command: list[str]) -> Completed:
        commands.append(command)
        return answer(command)

    host = machine("no-hugepages", dict.fromkeys(tools, ""))
    return Host(host.root, run), commands


def fine(command: list[str]) -> Completed:
    return Completed(0, "", "")


def test_passive_tries_nothing(machine: Machine) -> None:
    host, commands = running(machine, [IPTABLES, NFT], fine)
    facts = intercept.facts(host, PASSIVE)
    assert facts == {
        **dict.fromkeys(NAMES),
        "tried": [],
        "reason": "a rule is only inserted when probe is active",
    }
    assert commands == []


def test_active_tries_each_rule_in_a_namespace_of_its_own(machine: Machine) -> None:
    host, commands = running(machine, [IPTABLES, NFT], fine)
    facts = intercept.facts(host, ACTIVE)
    assert {name: facts[name] for name in NAMES} == dict.fromkeys(NAMES, True)
    assert [(each["name"], each["tool"]) for each in facts["tried"]] == [
        (name, tool) for name in NAMES for tool in ("iptables", "nft")
    ]
    assert len(commands) == 1 + 6
    assert all(command[:3] == ["unshare", "--net", "--"] for command in commands)
    # The lock of iptables is a file of the whole machine.
    assert all("XTABLES_LOCKFILE=/dev/null" in command for command in commands if "iptables" in command)
    # Whoever holds it does not hold us.
    waits = [command[command.index("-w") + 1] for command in commands if "iptables" in command]
    assert waits == ["5"] * 3


def _refuse(words: tuple[str, ...]) -> Callable[[list[str]], Completed]:
    def answer(command: list[str]) -> Completed:
        refused = any(word in part for word in words for part in command)
        return Completed(1, "", "No such file or directory\n") if refused else Completed(0, "", "")

    return answer


@pytest.mark.parametrize(
    ("tools", "refused", "expected"),
    [
        ([IPTABLES, NFT], ("TPROXY", "tproxy"), (True, False, True)),
        # EL10: the modules of iptables are not installed, and nft does it.
        ([IPTABLES, NFT], ("iptables",), (True, True, True)),
        ([IPTABLES], ("iptables",), (False, False, False)),
        ([NFT], ("socket transparent",), (True, True, False)),
        (["/sbin/nft"], (), (True, True, True)),
    ],
)
def test_one_tool_that_can_is_enough(
    machine: Machine, tools: list[str], refused: tuple[str, ...], expected: tuple[bool, ...]
) -> None:
    host = running(machine, tools, _refuse(refused))[0]
    facts = intercept.facts(host, ACTIVE)
    assert tuple(facts[name] for name in NAMES) == expected
    said: list[Any] = [each["detail"] for each in facts["tried"] if not each["works"]]
    assert set(said) <= {"returned 1 and said: No such file or directory"}
    assert facts["reason"] is None


@pytest.mark.parametrize(
    ("tools", "refused", "reason"),
    [
        ([], (), "this machine has neither iptables nor nft"),
        (
            [NFT],
            ("unshare",),
            "no network namespace can be made: returned 1 and said: No such file or directory",
        ),
    ],
)
def test_what_cannot_be_tried_is_unknown(
    machine: Machine, tools: list[str], refused: tuple[str, ...], reason: str
) -> None:
    host = running(machine, tools, _refuse(refused))[0]
    facts = intercept.facts(host, ACTIVE)
    assert facts == {**dict.fromkeys(NAMES), "tried": [], "reason": reason}
