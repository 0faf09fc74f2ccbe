# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action of node_drain: slices of its module become one result, and what is left is shown between them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.bulwark.node.plugins.action import node_drain
from ansible_collections.bulwark.node.plugins.plugin_utils import slices

UNANSWERED = {"failed": True, "verb": "get", "status": None, "msg": "no answer", "changed": False}


def pod(name: str, state: str, waited: float = 1.0, waits: str | None = None, node: str = "a") -> dict[str, Any]:
    return {
        "node": node,
        "namespace": "default",
        "name": name,
        "uid": name,
        "state": state,
        "waits_for": {"kind": waits, "detail": "said"} if waits else None,
        "waited": waited,
        "attempts": 1,
        "verdict": "slow" if waited else None,
    }


def ran(pods: list[dict[str, Any]], finished: bool, verdict: str | None = None, **more: Any) -> dict[str, Any]:
    left = sum(each["state"] in ("there", "leaving") for each in pods)
    node = {"name": "a", "verdict": verdict, "pods_left": left, "state": "drained" if finished else "draining"}
    names = [each["name"] for each in pods if each["state"] != "gone"]
    return {
        "changed": True,
        "finished": finished,
        "pods": pods,
        "nodes": [node],
        "seconds_left": 90,
        "diff": {"before": {"first": finished}, "after": {"pods": names}},
        **more,
    }


class Stage:
    """An action whose module gives the results that are handed in, one a call."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, args: dict[str, Any], *results: dict[str, Any]) -> None:
        self.asked: list[dict[str, Any]] = []
        self.renewals: list[tuple[float, dict[str, Any]]] = []
        self.lock: list[dict[str, Any]] = []
        self.shown: list[str] = []
        self.time = 0.0
        left = list(results)
        action: Any = node_drain.ActionModule.__new__(node_drain.ActionModule)
        self.action = action
        action._task = SimpleNamespace(args=args, check_mode=False)

        def execute(
            _self: Any, module_name: str | None = None, module_args: Any = None, task_vars: Any = None
        ) -> dict[str, Any]:
            if module_name:
                assert module_name == "bulwark.node.reboot_lock"
                self.renewals.append((self.time, module_args))
                return self.lock.pop(0) if self.lock else {"changed": False}
            self.asked.append(dict(module_args))
            self.time += module_args["slice"]
            return left.pop(0) if len(left) > 1 else left[0]

        def sleep(seconds: float) -> None:
            self.time += seconds

        monkeypatch.setattr(ActionBase, "run", lambda *args, **kwargs: {})
        monkeypatch.setattr(ActionBase, "_execute_module", execute)
        monkeypatch.setattr(slices, "time", SimpleNamespace(sleep=sleep, monotonic=lambda: self.time))
        monkeypatch.setattr(slices.display, "display", self.shown.append)

    def run(self, **task_vars: Any) -> dict[str, Any]:
        found: dict[str, Any] = self.action.run(task_vars=task_vars)
        return found


def test_slices_have_one_run_and_become_one_result(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(
        monkeypatch,
        {"state": "drained"},
        ran([pod("x", "leaving", 20.0, "termination"), pod("y", "there", 20.0, "budget")], False, "slow"),
        ran([pod("y", "there", 20.5, "budget"), pod("late", "leaving", 2.0, "termination")], False),
        ran([pod("y", "gone", 3.0)], True),
    )
    found = stage.run(awx_job_id=7)
    assert {each["run_id"] for each in stage.asked} == {stage.asked[0]["run_id"]}
    assert [(each["slice"], each["job_id"]) for each in stage.asked] == [(20, "7")] * 3
    assert [
        (each["name"], each["state"], each["waited"], each["attempts"], each["waits_for"]) for each in found["pods"]
    ] == [
        ("late", "gone", 2.0, 1, None),
        ("x", "gone", 20.0, 1, None),
        ("y", "gone", 43.5, 3, None),
    ]
    assert ["continues" in each for each in stage.asked] == [False, True, True]
    assert found["nodes"][0]["verdict"] == "slow"
    assert found["diff"] == {"before": {"first": False}, "after": {"pods": []}}
    assert stage.shown[:3] == [
        "node_drain: a: pods left: 2, seconds of the timeout: 90",
        "  default/x waits for termination: said",
        "  default/y waits for budget: said",
    ]


def test_of_many_pods_some_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [pod(f"p{number:02}", "there", 1.0, "budget") for number in range(25)]
    stage = Stage(monkeypatch, {}, ran(many, False), ran([], True))
    stage.run()
    assert len(stage.shown) == 12
    assert stage.shown[-1] == "  and 15 more"


@pytest.mark.parametrize(("given", "used"), [(None, 20), (5, 5), ("7", 7), (60, 20), ("soon", 20)])
def test_a_slice_is_at_most_twenty_seconds(monkeypatch: pytest.MonkeyPatch, given: Any, used: int) -> None:
    stage = Stage(monkeypatch, {"slice": given, "run_id": "mine"}, ran([], True))
    stage.run()
    assert (stage.asked[0]["slice"], stage.asked[0]["run_id"], stage.asked[0]["job_id"]) == (used, "mine", None)


def test_no_answer_between_slices_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(
        monkeypatch,
        {"timeout": 100},
        ran([pod("x", "leaving", 20.0, "termination")], False),
        UNANSWERED,
        {**UNANSWERED, "status": 503},
        ran([], True),
    )
    found = stage.run()
    assert (found.get("failed"), found["pods"][0]["state"]) == (None, "gone")
    assert len(stage.asked) == 4


@pytest.mark.parametrize(
    "first", [UNANSWERED, {**UNANSWERED, "status": 403}, {"failed": True, "msg": "x: got y", "changed": False}]
)
def test_what_fails_at_once_fails(monkeypatch: pytest.MonkeyPatch, first: dict[str, Any]) -> None:
    stage = Stage(monkeypatch, {}, first)
    assert stage.run() == first
    assert len(stage.asked) == 1


def test_no_answer_for_good_ends_with_the_timeout_and_what_was_known(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, {"timeout": 60}, ran([pod("x", "there", 1.0, "budget")], False), dict(UNANSWERED))
    found = stage.run()
    assert (found["failed"], found["msg"], [each["name"] for each in found["pods"]]) == (
        True,
        "no answer. The drain is not over: the nodes are cordoned, and the next run takes it up",
        ["x"],
    )
    assert len(stage.asked) == 3


def test_a_refused_right_in_the_middle_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, {}, ran([], False), {**UNANSWERED, "status": 403})
    found = stage.run()
    # The first slice has changed something.
    assert (found["failed"], found["changed"]) == (True, True)
    assert len(stage.asked) == 2


LOCK = {"node": "a", "run_id": "7", "ttl": 90}
GOING = [ran([pod("x", "there", 20.0, "budget")], False) for _slice in range(5)]


def test_the_lock_is_renewed_at_a_third_of_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    args = {"state": "drained", "kubeconfig": "k", "verify_ssl": False, "lock": LOCK}
    stage = Stage(monkeypatch, args, *GOING, ran([], True))
    assert stage.run().get("failed") is None
    assert [at for at, _arguments in stage.renewals] == [0, 40, 80]
    assert stage.renewals[0][1] == {"kubeconfig": "k", "verify_ssl": False, **LOCK, "state": "held"}
    assert "lock" not in stage.asked[0]
    assert args["lock"] == LOCK


@pytest.mark.parametrize(("args", "least"), [({}, 60), ({"slice": 30}, 60), ({"slice": 4}, 12)])
def test_a_lock_that_ends_within_a_slice_is_refused(
    monkeypatch: pytest.MonkeyPatch, args: dict[str, Any], least: int
) -> None:
    stage = Stage(monkeypatch, {**args, "lock": {**LOCK, "ttl": least - 1}}, ran([], True))
    with pytest.raises(AnsibleActionFail, match=f"^node_drain: lock.ttl: got {least - 1}, expected at least {least} "):
        stage.run()
    assert stage.asked == []


def test_a_worker_whose_run_was_killed_ends_with_its_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, {"lock": LOCK}, *GOING)
    parents = iter([100, 100, 1])
    monkeypatch.setattr(slices, "os", SimpleNamespace(getppid=lambda: next(parents)))
    with pytest.raises(AnsibleActionFail, match="the run that this is part of was killed"):
        stage.run()
    assert (len(stage.asked), len(stage.renewals)) == (1, 1)


def test_a_check_renews_no_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, {"lock": LOCK}, ran([], True))
    stage.action._task.check_mode = True
    stage.run()
    assert stage.renewals == []


@pytest.mark.parametrize(("on_failure", "asked"), [("uncordon", 3), ("keep", 2)])
def test_without_the_lock_nothing_goes_on(monkeypatch: pytest.MonkeyPatch, on_failure: str, asked: int) -> None:
    opened = {"name": "a", "cordoned": False, "cordoned_by": None, "run_id": None}
    stage = Stage(
        monkeypatch,
        {"lock": LOCK, "on_failure": on_failure},
        *GOING[:2],
        {"changed": True, "nodes": [opened], "pods": [], "finished": True},
    )
    stage.lock = [{"changed": False}, {"failed": True, "msg": "held by another"}]
    found = stage.run()
    assert (found["failed"], found["changed"], [each["name"] for each in found["pods"]]) == (True, True, ["x"])
    assert found["msg"] == "node_drain: the lock is lost, and no pod was evicted from then on: held by another"
    assert len(stage.asked) == asked
    if on_failure == "uncordon":
        # What a successor drains by now is not opened.
        assert (stage.asked[-1]["state"], stage.asked[-1]["continues"]) == ("uncordoned", True)
        assert (found["nodes"][0]["state"], found["nodes"][0]["cordoned"]) == ("stopped", False)


@pytest.mark.parametrize("said", [{"failed": True, "msg": "held by another"}, UNANSWERED])
def test_a_lock_that_nobody_says_is_ours_at_first_lets_nothing_begin(
    monkeypatch: pytest.MonkeyPatch, said: dict[str, Any]
) -> None:
    stage = Stage(monkeypatch, {"lock": LOCK}, ran([], True))
    stage.lock = [said]
    found = stage.run()
    assert (found["failed"], found["changed"], stage.asked) == (True, False, [])
    assert found["msg"] == f"node_drain: the lock could not be renewed, and nothing was begun: {said['msg']}"


def test_a_lock_that_nobody_answers_for_is_held_until_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, {"lock": LOCK, "on_failure": "keep"}, *GOING, ran([], True))
    stage.lock = [{"changed": False}, *([UNANSWERED] * 9)]
    found = stage.run()
    assert found["failed"] is True
    assert [at for at, _arguments in stage.renewals] == [0, 40, 60, 80, 100]
