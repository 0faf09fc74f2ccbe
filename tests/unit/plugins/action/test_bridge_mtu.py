# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin on a stand-in for Ansible's connection: one run or two, and what becomes of both results."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure

from ansible_collections.bulwark.node.plugins.action import bridge_mtu

CONSENT: dict[str, Any] = {"bridges": [{"name": "br0", "mtu": 9000}], "allow_management_link": True}
DOWN = AnsibleConnectionFailure("Connection timed out")


def facts(mtu: int, token: str | None = None) -> dict[str, Any]:
    return {"bridges": [{"name": "br0", "mtu": mtu}], "revert": {"token": token} if token else None, "probe": None}


def answer(before: dict[str, Any], after: dict[str, Any], *kinds: str, **more: Any) -> dict[str, Any]:
    return {
        "changed": bool(kinds),
        "before": before,
        "after": after,
        "changes": [{"kind": kind} for kind in kinds],
        "diff": [{"before": before, "after": after}],
        "disruptive": [],
        **more,
    }


FIRST = answer(facts(1500), facts(9000, "7"), "mtu", "file", disruptive=[{"what": "br0"}], warnings=["one"])
FILE = {"before_header": "/dev/null", "after_header": "/etc/x", "before": "", "after": "x"}
SECOND = answer(facts(9000, "7"), facts(9000), "file", "timer", warnings=["one", "two"])
SECOND["diff"].append(FILE)


class Wire:
    """A connection, and what the module says on it, one answer or failure to each run. ``log``: what was done in turn."""

    transport = "ssh"

    def __init__(self, *answers: dict[str, Any] | Exception, sample: int = 64 << 10) -> None:
        self.answers, self.sample = list(answers), sample
        self.log: list[Any] = []
        self.now = 0.0
        self._shell = SimpleNamespace(tmpdir=None)

    def reset(self) -> None:
        self.log.append("reset")

    def execute(self, module_args: dict[str, Any] | None = None, task_vars: Any = None) -> dict[str, Any]:
        self.log.append((module_args or {}).get("confirm", "run"))
        said = self.answers.pop(0)
        if isinstance(said, Exception):
            raise said
        return said

    def command(self, text: str, sudoable: bool) -> dict[str, Any]:
        self.log.append("sample")
        return {"rc": 0, "stdout": " 0a" * self.sample + "\n", "stderr": "", "sudoable": sudoable}

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def run(monkeypatch: pytest.MonkeyPatch, wire: Wire, check: bool = False, **args: Any) -> dict[str, Any]:
    task: Any = SimpleNamespace(args=args, async_val=0, check_mode=check, action="bulwark.node.bridge_mtu")
    connection: Any = wire
    unused: Any = None
    action: Any = bridge_mtu.ActionModule(task, connection, unused, unused, unused, unused)
    action._execute_module, action._low_level_execute_command = wire.execute, wire.command
    monkeypatch.setattr(time, "sleep", wire.sleep)
    monkeypatch.setattr(time, "monotonic", lambda: wire.now)
    result: dict[str, Any] = action.run(None, {})
    return result


@pytest.mark.parametrize(
    ("first", "check"),
    [
        (answer(facts(1500), facts(9000), "mtu"), False),
        (FIRST, True),
        ({"failed": True, "msg": "no"}, False),
        ({"failed": True, "msg": "no", "after": facts(9000, "7")}, False),
        ({"unreachable": True}, False),
    ],
)
def test_without_an_armed_timer_there_is_one_run(
    monkeypatch: pytest.MonkeyPatch, first: dict[str, Any], check: bool
) -> None:
    wire = Wire(first)
    assert run(monkeypatch, wire, check, **CONSENT) == first
    assert wire.log == ["run"]


def test_a_timer_is_cancelled_on_a_new_connection_that_carries_large_packets(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire(FIRST, SECOND)
    result = run(monkeypatch, wire, **CONSENT)
    assert wire.log == ["run", "reset", "sample", "7"]
    assert result == {
        "changed": True,
        "before": facts(1500),
        "after": facts(9000),
        "changes": [{"kind": "mtu"}, {"kind": "file"}],
        "disruptive": [{"what": "br0"}],
        "diff": [{"before": facts(1500), "after": facts(9000)}, FILE],
        "warnings": ["one", "two"],
    }


def test_on_this_machine_there_is_no_connection_to_be_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire(FIRST, SECOND)
    wire.transport = "local"
    assert run(monkeypatch, wire, **CONSENT)["changed"]
    assert wire.log == ["run", "7"]


@pytest.mark.parametrize(("given", "tries"), [({}, 61), ({"revert_after": 10}, 6), ({"revert_after": "20"}, 11)])
def test_it_is_tried_until_the_timer_has_acted(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], tries: int
) -> None:
    wire = Wire(FIRST, *[DOWN] * 100)
    result = run(monkeypatch, wire, **CONSENT, **given)
    assert wire.log.count("7") == tries + 1
    assert result["failed"]
    assert not result["changed"]
    assert "the timer on the machine puts the old MTUs back, and nothing is persisted" in result["msg"]
    assert result["msg"].endswith("Connection timed out")


def test_a_try_that_fails_is_no_end_while_there_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire(FIRST, DOWN, SECOND)
    assert run(monkeypatch, wire, **CONSENT)["after"] == facts(9000)
    assert wire.log == ["run", "reset", "sample", "7", "reset", "sample", "7"]


def test_a_connection_that_loses_large_packets_cancels_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire(FIRST, sample=1000)
    result = run(monkeypatch, wire, **CONSENT)
    assert result["failed"]
    assert "of 65536 bytes not all came back" in result["msg"]
    assert "7" not in wire.log


@pytest.mark.parametrize("not_undone", [[], [{"what": "the pin of br0", "reason": "it stays"}]])
def test_a_second_run_that_fails_is_the_result(monkeypatch: pytest.MonkeyPatch, not_undone: list[Any]) -> None:
    failed = {
        "failed": True,
        "msg": "confirm: no timer of that token is armed",
        "changed": True,
        "not_undone": not_undone,
    }
    result = run(monkeypatch, Wire(FIRST, failed), **CONSENT)
    assert (result["failed"], result["changed"]) == (True, bool(not_undone))
    assert result["msg"] == failed["msg"]


@pytest.mark.parametrize(
    ("args", "check", "told"), [(CONSENT, False, True), (CONSENT, True, False), ({"bridges": []}, False, False)]
)
def test_a_connection_that_is_lost_in_the_first_run_says_what_the_machine_does(
    monkeypatch: pytest.MonkeyPatch, args: dict[str, Any], check: bool, told: bool
) -> None:
    with pytest.raises(AnsibleConnectionFailure) as caught:
        run(monkeypatch, Wire(DOWN), check, **args)
    assert ("puts the old MTUs back" in str(caught.value)) == told
