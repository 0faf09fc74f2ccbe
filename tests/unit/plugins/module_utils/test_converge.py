# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The loop, over a machine of four named numbers that takes only what it can."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.converge import (
    Change,
    Params,
    Result,
    Undos,
    Unmet,
    Verdict,
    converge,
)
from ansible_collections.bulwark.node.plugins.module_utils.errors import (
    BulwarkError,
    HostError,
    Interrupted,
    OptionError,
    UnmetError,
)

Numbers = Mapping[str, int]


@dataclass(frozen=True)
class State:
    """The numbers, and one file that holds their sum."""

    numbers: Numbers

    def facts(self) -> dict[str, Any]:
        return dict(self.numbers)

    def files(self) -> Mapping[str, str | None]:
        total = sum(self.numbers.values())
        return {"/b": f"{total}\n" if total else None, "/a": f"{self.numbers.get('a', 0)}\n"}


@dataclass
class Machine:
    """``limits`` is the most that a number becomes; ``faults`` is called before the change of a number is made."""

    numbers: dict[str, int]
    limits: Numbers = field(default_factory=dict)
    faults: Mapping[str, Callable[[], None]] = field(default_factory=dict)
    undo_faults: dict[str, list[BaseException]] = field(default_factory=dict)
    forbidden: bool = False
    fails: bool = True
    log: list[str] = field(default_factory=list)

    name = "numbers"

    def desired(self, params: Params) -> Numbers:
        if any(value < 0 for value in params.values()):
            raise OptionError("a", -1, "0 or more")
        return params

    def observe(self, desired: Numbers) -> State:
        self.log.append("observe")
        return State(dict(self.numbers))

    def check(self, state: State, desired: Numbers) -> None:
        self.log.append("check")
        if self.forbidden:
            raise BulwarkError("numbers: forbidden here")

    def plan(self, state: State, desired: Numbers) -> list[Change]:
        return [
            Change("number", name, state.numbers[name], value)
            for name, value in sorted(desired.items())
            if state.numbers[name] != value
        ]

    def predict(self, state: State, changes: Sequence[Change]) -> State:
        return State({**state.numbers, **{change.target: change.after for change in changes}})

    def apply(self, change: Change, desired: Numbers, undos: Undos) -> None:
        name, old = change.target, self.numbers[change.target]
        undos.push(name, lambda: self._undo(name, old))
        self.log.append(f"apply {name}")
        self.numbers[name] = min(change.after, self.limits.get(name, change.after))
        if name in self.faults:
            self.faults[name]()

    def _undo(self, name: str, old: int) -> None:
        self.log.append(f"undo {name}")
        if self.undo_faults.get(name):
            raise self.undo_faults[name].pop(0)
        self.numbers[name] = old

    def judge(self, before: State, after: State, left: Sequence[Change], desired: Numbers) -> Verdict:
        unmet = tuple(
            Unmet(c.target, c.after, c.before, f"the machine gave {c.before} of {c.after}", "Ask for less.")
            for c in left
        )
        return Verdict(unmet, warnings=("w",), restart_required=({"unit": "u"},), failed=bool(unmet) and self.fails)

    def settle(self, desired: Numbers) -> None:
        self.log.append("settle")


ZERO = {"a": 0, "b": 0, "c": 0, "d": 0}
WANTED = {"a": 1, "b": 2, "c": 3}


def _raise(error: BaseException) -> Callable[[], None]:
    def fault() -> None:
        raise error

    return fault


def test_a_run_observes_checks_applies_in_order_and_verifies() -> None:
    machine = Machine(dict(ZERO))
    result = converge(machine, WANTED, check=False)
    assert machine.log == ["observe", "check", "apply a", "apply b", "apply c", "observe", "settle"]
    assert machine.numbers == {**ZERO, **WANTED}
    assert result.changed is True
    assert (result.before, result.after) == (ZERO, {**ZERO, **WANTED})


def test_check_mode_applies_nothing_and_predicts_what_the_run_then_does() -> None:
    machine = Machine(dict(ZERO))
    predicted = converge(machine, WANTED, check=True)
    assert machine.log == ["observe", "check"]
    assert machine.numbers == ZERO
    assert predicted == converge(machine, WANTED, check=False)


@pytest.mark.parametrize("check", [True, False])
def test_a_second_run_is_unchanged_and_applies_nothing(check: bool) -> None:
    machine = Machine(dict(ZERO))
    converge(machine, WANTED, check=False)
    machine.log.clear()
    result = converge(machine, WANTED, check=check)
    assert (result.changed, result.changes, result.diff) == (False, (), ())
    assert result.before == result.after
    assert machine.log == (["observe", "check"] if check else ["observe", "check", "settle"])


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    ("wanted", "forbidden", "error"), [({"a": -1}, False, OptionError), (WANTED, True, BulwarkError)]
)
def test_what_is_refused_is_refused_before_the_first_write_and_in_check_mode(
    check: bool, wanted: Numbers, forbidden: bool, error: type[BulwarkError]
) -> None:
    machine = Machine(dict(ZERO), forbidden=forbidden)
    with pytest.raises(error):
        converge(machine, wanted, check)
    assert machine.numbers == ZERO
    assert not [line for line in machine.log if line.startswith("apply")]


def test_what_the_machine_does_not_give_fails_by_name_and_all_goes_back() -> None:
    machine = Machine(dict(ZERO), limits={"b": 1, "c": 0})
    with pytest.raises(UnmetError) as caught:
        converge(machine, WANTED, check=False)
    assert str(caught.value) == ("b: the machine gave 1 of 2. Ask for less. c: the machine gave 0 of 3. Ask for less.")
    assert [(item["target"], item["wanted"], item["got"]) for item in caught.value.details["unmet"]] == [
        ("b", 2, 1),
        ("c", 3, 0),
    ]
    assert caught.value.details["undone"] == ["c", "b", "a"]
    assert caught.value.details["not_undone"] == []
    assert machine.numbers == ZERO


def test_a_shortfall_that_is_allowed_is_listed_and_stays() -> None:
    machine = Machine(dict(ZERO), limits={"b": 1}, fails=False)
    result = converge(machine, WANTED, check=False)
    assert result.changed is True
    assert [item.target for item in result.verdict.unmet] == ["b"]
    assert machine.numbers == {"a": 1, "b": 1, "c": 3, "d": 0}


def test_what_the_machine_refuses_twice_is_no_change_the_second_time() -> None:
    machine = Machine(dict(ZERO), limits={"b": 1}, fails=False)
    converge(machine, WANTED, check=False)
    again = converge(machine, WANTED, check=False)
    assert (again.changed, again.diff) == (False, ())
    assert [item.target for item in again.verdict.unmet] == ["b"]
    machine.limits = {"b": 2}
    assert converge(machine, WANTED, check=False).changed is True


def test_a_change_beside_a_refused_one_is_a_change() -> None:
    machine = Machine({**ZERO, "b": 1}, limits={"b": 1}, fails=False)
    assert converge(machine, {"a": 1, "b": 2}, check=False).changed is True


@pytest.mark.parametrize(
    "error", [HostError("/x", "gone", "EIO"), Interrupted("stopped by SIGTERM"), BulwarkError("x")]
)
def test_an_error_half_way_undoes_in_reverse_what_was_begun(error: BulwarkError) -> None:
    machine = Machine(dict(ZERO), faults={"b": _raise(error)})
    with pytest.raises(type(error)) as caught:
        converge(machine, WANTED, check=False)
    assert caught.value is error
    assert machine.log[2:] == ["apply a", "apply b", "undo b", "undo a"]
    assert error.details["undone"] == ["b", "a"]
    assert error.details["not_undone"] == []
    assert machine.numbers == ZERO


@pytest.mark.parametrize("error", [KeyError("bug"), SystemExit(1), KeyboardInterrupt()])
def test_a_bug_or_an_exit_undoes_as_well_and_keeps_its_own_type(error: BaseException) -> None:
    machine = Machine(dict(ZERO), faults={"c": _raise(error)})
    with pytest.raises(type(error)):
        converge(machine, WANTED, check=False)
    assert machine.numbers == ZERO


@pytest.mark.parametrize(
    "failure", [HostError("/b", "is stuck"), KeyError("bug"), OSError(5, "EIO"), ValueError("bad")]
)
def test_an_undo_that_fails_is_named_and_does_not_stop_the_others(failure: Exception) -> None:
    machine = Machine(dict(ZERO), faults={"c": _raise(HostError("/c", "gone"))}, undo_faults={"b": [failure]})
    with pytest.raises(HostError) as caught:
        converge(machine, WANTED, check=False)
    assert machine.log[-3:] == ["undo c", "undo b", "undo a"]
    assert caught.value.details["undone"] == ["c", "a"]
    (left,) = caught.value.details["not_undone"]
    assert left["what"] == "b"
    assert left["reason"] == (str(failure) if isinstance(failure, BulwarkError) else repr(failure))
    assert machine.numbers == {**ZERO, "b": 2}


def test_what_a_bug_leaves_behind_is_named_too() -> None:
    bug = KeyError("bug")
    machine = Machine(dict(ZERO), faults={"b": _raise(bug)}, undo_faults={"a": [HostError("/a", "is stuck")]})
    with pytest.raises(BulwarkError, match=r"^internal error: KeyError\('bug'\)$") as caught:
        converge(machine, WANTED, check=False)
    assert caught.value.__cause__ is bug
    assert caught.value.details == {"undone": ["b"], "not_undone": [{"what": "a", "reason": "/a: is stuck"}]}


def test_a_signal_in_the_middle_of_an_undo_does_not_cut_the_undoing_short() -> None:
    error = HostError("/c", "gone")
    machine = Machine(dict(ZERO), faults={"c": _raise(error)}, undo_faults={"b": [Interrupted("stopped")]})
    with pytest.raises(HostError) as caught:
        converge(machine, WANTED, check=False)
    assert machine.log[-4:] == ["undo c", "undo b", "undo b", "undo a"]
    assert caught.value.details["undone"] == ["c", "b", "a"]
    assert machine.numbers == ZERO


def test_a_signal_between_two_undos_does_not_cut_the_undoing_short(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Undos.run
    signals = [Interrupted("stopped")]

    def interrupted(undos: Undos) -> Any:
        for step in run(undos):
            yield step
            if signals:
                raise signals.pop()

    monkeypatch.setattr(Undos, "run", interrupted)
    machine = Machine(dict(ZERO), faults={"c": _raise(HostError("/c", "gone"))})
    with pytest.raises(HostError) as caught:
        converge(machine, WANTED, check=False)
    assert caught.value.details["undone"] == ["c", "b", "a"]
    assert machine.numbers == ZERO


@pytest.mark.parametrize("method", ["observe", "plan", "judge", "facts"])
def test_a_failure_after_the_last_change_undoes_as_well(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    machine = Machine(dict(ZERO))
    owner = State if method == "facts" else Machine
    real = getattr(owner, method)

    def fail_at_the_end(self: Any, *args: Any) -> Any:
        if machine.numbers["c"]:
            raise Interrupted("stopped by SIGTERM")
        return real(self, *args)

    monkeypatch.setattr(owner, method, fail_at_the_end)
    with pytest.raises(Interrupted) as caught:
        converge(machine, WANTED, check=False)
    assert machine.numbers == ZERO
    assert caught.value.details["undone"] == ["c", "b", "a"]


def test_an_undo_pushed_before_its_change_is_run_once_in_reverse_and_the_stack_is_then_empty() -> None:
    order: list[str] = []
    undos = Undos()
    undos.push("one", lambda: order.append("one"))
    undos.push("two", lambda: order.append("two"))
    assert list(undos.run()) == [("two", None), ("one", None)]
    assert order == ["two", "one"]
    assert list(undos.run()) == []


def test_the_diff_is_the_facts_and_then_each_file_by_its_path() -> None:
    results = [converge(Machine(dict(reversed(ZERO.items()))), WANTED, check=True) for _dummy in range(2)]
    assert results[0].diff == results[1].diff
    facts, first, second = results[0].diff
    assert facts == {"before": ZERO, "after": {**ZERO, **WANTED}}
    assert first == {"before_header": "/a", "after_header": "/a", "before": "0\n", "after": "1\n"}
    assert second == {"before_header": "/dev/null", "after_header": "/b", "before": "", "after": "6\n"}
    back = converge(Machine({**ZERO, **WANTED}), ZERO, check=True).diff[2]
    assert back == {"before_header": "/b", "after_header": "/dev/null", "before": "6\n", "after": ""}


def test_a_file_that_does_not_change_is_not_in_the_diff() -> None:
    diff = converge(Machine(dict(ZERO)), {"d": 4}, check=True).diff
    assert [entry.get("after_header") for entry in diff] == [None, "/b"]


def test_the_result_is_plain_data_with_every_key_but_the_warnings_which_ansible_takes_apart() -> None:
    result: Result = converge(Machine(dict(ZERO), limits={"a": 0}, fails=False), {"a": 1}, check=False)
    assert result.verdict.warnings == ("w",)
    assert result.as_dict() == {
        "changed": False,
        "before": ZERO,
        "after": ZERO,
        "changes": [{"kind": "number", "target": "a", "before": 0, "after": 1}],
        "unmet": [
            {
                "target": "a",
                "wanted": 1,
                "got": 0,
                "reason": "the machine gave 0 of 1",
                "remedy": "Ask for less.",
                "evidence": {},
            }
        ],
        "reboot_required": False,
        "restart_required": [{"unit": "u"}],
        "disruptive": [],
    }
