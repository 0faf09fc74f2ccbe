# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action of node_reboot: slices of its module become one wait, under the lock."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible.plugins.action import ActionBase

from ansible_collections.bulwark.node.plugins.action import node_reboot
from ansible_collections.bulwark.node.plugins.plugin_utils import slices

LOCK = {"node": "a", "run_id": "7", "ttl": 90}
LOST = {"failed": True, "msg": "held by another"}
UNANSWERED = {"failed": True, "verb": "get", "status": None, "msg": "no answer", "changed": False}
OUT_OF_RANGE = {"failed": True, "msg": "stable_for: got -1", "changed": False}


def ran(finished: bool, *missing: str, held: float | None = None, **more: Any) -> dict[str, Any]:
    lacks = [{"what": "pod", "detail": each} for each in missing]
    return {
        "changed": finished,
        "finished": finished,
        "name": "a",
        "missing": lacks,
        "held": held,
        "seconds_left": 90,
        **more,
    }


class Stage:
    """An action whose module gives the results that are handed in, one a call of 20 seconds, a second after the lock's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, args: dict[str, Any], *results: dict[str, Any]) -> None:
        self.asked: list[dict[str, Any]] = []
        self.renewals: list[float] = []
        self.lock: list[dict[str, Any]] = []
        self.shown: list[str] = []
        self.time = 0.0
        self.results = list(results)
        action: Any = node_reboot.ActionModule.__new__(node_reboot.ActionModule)
        self.action = action
        action._task = SimpleNamespace(args=args, check_mode=False)
        clock = SimpleNamespace(sleep=self.pass_by, monotonic=lambda: self.time)
        monkeypatch.setattr(ActionBase, "run", lambda *args, **kwargs: {})
        monkeypatch.setattr(ActionBase, "_execute_module", lambda _self, *args, **given: self.execute(*args, **given))
        for module in (slices, node_reboot):
            monkeypatch.setattr(module, "time", clock)
        monkeypatch.setattr(slices.display, "display", self.shown.append)

    def pass_by(self, seconds: float) -> None:
        self.time += seconds

    def execute(self, module_name: str | None = None, module_args: Any = None, task_vars: Any = None) -> Any:
        if module_name:
            self.renewals.append(self.time)
            self.pass_by(1)
            return self.lock.pop(0) if self.lock else {"changed": False}
        self.asked.append(dict(module_args))
        self.pass_by(module_args["slice"])
        return self.results.pop(0)

    def run(self) -> dict[str, Any]:
        found: dict[str, Any] = self.action.run(task_vars={})
        return found


def test_slices_share_one_timeout_and_what_has_held(monkeypatch: pytest.MonkeyPatch) -> None:
    slices_of = [ran(False, "cni"), ran(False, held=12.0), ran(False, held=33.0), ran(True, held=50.0)]
    stage = Stage(monkeypatch, {"state": "proven", "lock": LOCK, "stable_for": 50}, *slices_of)
    found = stage.run()
    assert (found["finished"], found["changed"], found.get("failed")) == (True, True, None)
    # The lock is renewed at first and after a third of its time, which takes a second.
    assert stage.renewals == [0, 41]
    assert [(each.get("waited"), each.get("held")) for each in stage.asked] == [
        (None, None),
        (21.0, None),
        (42.0, 13.0),
        (62.0, 33.0),
    ]
    assert "lock" not in stage.asked[0]
    assert stage.shown == [
        *["node_reboot: a: not proved yet, seconds of the timeout: 90", "  pod: cni"],
        *["node_reboot: a: not proved yet, seconds of the timeout: 90"] * 2,
    ]


def test_of_much_that_is_missing_some_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, {}, ran(False, *map(str, range(25))), ran(True))
    stage.run()
    assert (len(stage.shown), stage.shown[-1]) == (12, "  and 15 more")


def test_without_the_lock_it_is_not_waited_any_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, {"lock": LOCK}, ran(False, "cni"), ran(False, "cni"), ran(True))
    stage.lock = [{"changed": False}, LOST]
    found = stage.run()
    assert (found["failed"], found["finished"], found["missing"][0]["detail"]) == (True, True, "cni")
    assert found["msg"] == "node_reboot: the lock is lost, and the reboot is not this run's any more: held by another"
    assert len(stage.asked) == 2


def test_a_lock_that_is_not_ours_lets_nothing_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, {"lock": LOCK, "state": "begun"}, ran(True))
    stage.lock = [LOST]
    found = stage.run()
    assert (found["failed"], found["changed"], stage.asked) == (True, False, [])
    assert found["msg"] == "node_reboot: the lock could not be renewed, and nothing was begun: held by another"


@pytest.mark.parametrize(("state", "asked"), [("proven", 6), ("begun", 0)])
def test_a_lock_that_nobody_answers_for_is_nobody_elses(
    monkeypatch: pytest.MonkeyPatch, state: str, asked: int
) -> None:
    """The server may be on the very node: then it is away for longer than the lock's own time."""
    stage = Stage(monkeypatch, {"state": state, "lock": LOCK, "timeout": 900}, *[ran(False, "cni")] * 5, ran(True))
    stage.lock = [dict(UNANSWERED)] * 20
    assert stage.run().get("failed") is (None if asked else True)
    assert len(stage.asked) == asked


def test_no_answer_between_slices_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, {"timeout": 300}, ran(False, held=20.0), dict(UNANSWERED), ran(True))
    assert stage.run().get("failed") is None
    assert [each.get("waited") for each in stage.asked] == [None, 20.0, 45.0]


@pytest.mark.parametrize("state", ["proven", "ended", "abandoned", "quarantined"])
def test_no_answer_about_a_reboot_that_is_under_way_is_waited_for(monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    stage = Stage(monkeypatch, {"state": state}, dict(UNANSWERED), {**UNANSWERED, "status": 503}, ran(True))
    assert (stage.run().get("failed"), len(stage.asked)) == (None, 3)
    stage = Stage(monkeypatch, {"state": state, "timeout": 30}, dict(UNANSWERED), dict(UNANSWERED))
    found = stage.run()
    assert (found["failed"], found["msg"].partition(". ")[2][:24]) == (True, "The reboot is not over: ")


@pytest.mark.parametrize(
    ("state", "first"),
    [("pending", UNANSWERED), ("begun", UNANSWERED), ("ended", {**UNANSWERED, "status": 403}), ("ended", OUT_OF_RANGE)],
)
def test_what_fails_at_once_fails(monkeypatch: pytest.MonkeyPatch, state: str, first: dict[str, Any]) -> None:
    stage = Stage(monkeypatch, {"state": state}, dict(first))
    assert stage.run() == first
