# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observe, plan, apply, verify: the one loop that carries every node setting.

A domain says what it wants, what it sees and how one change is made; ``converge`` does the rest. It neither exits nor
knows Ansible: ``module.run`` does that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Callable, Generic, Protocol, TypeVar

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError, Interrupted, UnmetError

__all__ = [
    "Change",
    "Domain",
    "Params",
    "Planned",
    "Result",
    "State",
    "Undos",
    "Unmet",
    "Verdict",
    "converge",
    "other_value",
    "planned",
    "unmet_error",
]

Params = Mapping[str, Any]

_LOOK = "Look who else writes it."


@dataclass(frozen=True)
class Change:
    """One step: ``kind`` names the function that applies it, ``target`` what it acts on; None is "not there"."""

    kind: str
    target: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Unmet:
    """A wanted state that the machine did not take: ``target`` is the option or the object, ``evidence`` the numbers behind it.

    ``reason`` is the cause as a sentence without its full stop, ``remedy`` one with it.
    """

    target: str
    wanted: Any
    got: Any
    reason: str
    remedy: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


def other_value(change: Change) -> Unmet:
    """A change that was made, and after which the machine holds another value. No text of a file is repeated."""
    if change.kind in ("file", "edit"):
        return Unmet(change.target, None, None, "its text was written, and another one read back", _LOOK)
    reason = f"{change.after!r} was written and {change.before!r} read back"
    return Unmet(change.target, change.after, change.before, reason, _LOOK)


@dataclass(frozen=True)
class Verdict:
    """What a domain says of the outcome, real or predicted. With ``failed`` an unmet state fails the run and is undone."""

    unmet: tuple[Unmet, ...] = ()
    warnings: tuple[str, ...] = ()
    reboot_required: bool = False
    restart_required: tuple[Mapping[str, str], ...] = ()
    disruptive: tuple[Mapping[str, str], ...] = ()
    failed: bool = False


class State(Protocol):
    """A frozen observation."""

    def facts(self) -> dict[str, Any]:
        """The part that is a fact, as ``node_facts`` gives it."""

    def files(self) -> Mapping[str, str | None]:
        """What is persisted: the text of each file that the domain may write, None where there is no such file."""


S = TypeVar("S", bound=State)
D = TypeVar("D")


class Undos:
    """The way back. An undo is pushed *before* its change is made, so that a change cut short is undone as well."""

    def __init__(self) -> None:
        self._stack: list[tuple[str, Callable[[], None]]] = []

    def push(self, what: str, undo: Callable[[], None]) -> None:
        """``what`` names the object for the user; ``undo`` must be harmless where the change was never made, and twice."""
        self._stack.append((what, undo))

    def run(self) -> Iterator[tuple[str, str | None]]:
        """Undo all, the last first: what was undone, with an error's text where it could not be. None stops another."""
        while self._stack:
            what, undo = self._stack[-1]
            reason = None
            try:
                undo()
            except Interrupted:
                # The first signal came in the middle of an undo; no second one can. The undo is still on the stack.
                continue
            except BulwarkError as error:
                reason = str(error)
            except Exception as error:  # noqa: BLE001 - a bug in one undo must not cost the others
                reason = repr(error)
            self._stack.pop()
            yield what, reason


class Domain(Protocol, Generic[S, D]):
    """One kind of node setting."""

    name: str

    def desired(self, params: Params) -> D:
        """The options, checked against each other and in normal units. Raises OptionError."""

    def observe(self, desired: D) -> S:
        """What the kernel says and what is persisted, of the named objects.

        What was asked for is a part of it as far as ``predict`` and ``State.facts`` take it, which are not given ``desired``.
        """

    def check(self, state: S, desired: D) -> None:
        """Raise where this machine forbids the wanted state: bounds, memory, owners. Before the first write, and in check mode."""

    def plan(self, state: S, desired: D) -> list[Change]:
        """The ordered changes from the state to the desired one: pure, total, empty where there is nothing to do."""

    def predict(self, state: S, changes: Sequence[Change]) -> S:
        """The state after the changes: pure."""

    def apply(self, change: Change, desired: D, undos: Undos) -> None:
        """Make one change, its undo pushed first. Raises BulwarkError."""

    def judge(self, before: S, after: S, left: Sequence[Change], desired: D) -> Verdict:
        """What to say of ``after``, where the changes in ``left`` are still wanted: pure."""

    def settle(self, desired: D) -> None:
        """Bring up to date what is recorded beside the machine's state, and is no change of it. The last step of a run."""


@dataclass(frozen=True)
class Result:
    """The outcome of a run, or of a check; see docs/schemas.md."""

    changed: bool
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    changes: tuple[Change, ...]
    verdict: Verdict
    diff: tuple[Mapping[str, Any], ...]

    def as_dict(self) -> dict[str, Any]:
        """The module's return values, without the diff and the warnings, which Ansible takes apart."""
        values = asdict(self.verdict)
        del values["failed"], values["warnings"]
        return {
            "changed": self.changed,
            "before": self.before,
            "after": self.after,
            "changes": [asdict(change) for change in self.changes],
            **{key: list(value) if isinstance(value, tuple) else value for key, value in values.items()},
        }


@dataclass(frozen=True)
class Planned(Generic[S, D]):
    """What a domain has found, and would do about it. Nothing is written yet."""

    domain: Domain[S, D]
    desired: D
    before: S
    changes: Sequence[Change]

    def predicted(self) -> S:
        """The state that the changes lead to."""
        return self.domain.predict(self.before, self.changes)

    def foretold(self) -> Result:
        """What the run would say."""
        after = self.predicted()
        left = self.domain.plan(after, self.desired)
        return _result(self, after, left, self.domain.judge(self.before, after, left, self.desired))

    def carried_out(self) -> Result:
        """Make the changes, look again, and judge. On any error all is undone; the error carries ``undone`` and ``not_undone``."""
        domain, desired, undos = self.domain, self.desired, Undos()
        try:
            for change in self.changes:
                domain.apply(change, desired, undos)
            after = domain.observe(desired) if self.changes else self.before
            left = domain.plan(after, desired)
            verdict = domain.judge(self.before, after, left, desired)
            if verdict.failed:
                raise unmet_error(verdict.unmet)
            domain.settle(desired)
            return _result(self, after, left, verdict)
        except BaseException as error:
            _roll_back(error, undos)
            raise


def planned(domain: Domain[S, D], params: Params) -> Planned[S, D]:
    """Observe and plan. Raises where the options are wrong, or this machine forbids what they ask for."""
    desired = domain.desired(params)
    before = domain.observe(desired)
    domain.check(before, desired)
    return Planned(domain, desired, before, domain.plan(before, desired))


def converge(domain: Domain[S, D], params: Params, check: bool) -> Result:
    """Bring the machine to the state that ``params`` ask for, or with ``check`` say what that would do.

    *Changed* means that the plan is another one afterwards: a page that the kernel refuses twice is no change the second
    time.
    """
    plan = planned(domain, params)
    return plan.foretold() if check else plan.carried_out()


def _result(plan: Planned[Any, Any], after: State, left: Sequence[Change], verdict: Verdict) -> Result:
    old, new = plan.before.facts(), after.facts()
    changed = list(plan.changes) != list(left)
    diff = _diff(plan.before, after, old, new) if changed else ()
    return Result(changed, old, new, tuple(plan.changes), verdict, diff)


def _diff(before: State, after: State, old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """The kernel's side as one diff, and one for each file whose text differs."""
    diffs: list[Mapping[str, Any]] = [{"before": old, "after": new}] if old != new else []
    old_files, new_files = before.files(), after.files()
    diffs.extend(
        {
            "before_header": path if old_files.get(path) is not None else "/dev/null",
            "after_header": path if new_files.get(path) is not None else "/dev/null",
            "before": old_files.get(path) or "",
            "after": new_files.get(path) or "",
        }
        for path in sorted({*old_files, *new_files})
        if old_files.get(path) != new_files.get(path)
    )
    return tuple(diffs)


def unmet_error(unmet: Sequence[Unmet]) -> UnmetError:
    """The error of a run that fails for what the machine did not take."""
    text = " ".join(f"{item.target}: {item.reason}. {item.remedy}" for item in unmet)
    return UnmetError(text, {"unmet": [asdict(item) for item in unmet]})


def _roll_back(error: BaseException, undos: Undos) -> None:
    """Undo what was done, and say on the error which parts of it are undone and which are not.

    An error that is none of ours can say nothing: where something is not undone, a BulwarkError takes its place.
    """
    undone: dict[str, None] = {}
    not_undone: list[dict[str, str]] = []

    def undo_all() -> None:
        for what, failure in undos.run():
            if failure is None:
                undone[what] = None
            else:
                not_undone.append({"what": what, "reason": failure})

    try:
        undo_all()
    except Interrupted:
        # The one signal came between two undos.
        undo_all()
    if isinstance(error, BulwarkError):
        error.details.update(undone=list(undone), not_undone=not_undone)
    elif not_undone:
        details = {"undone": list(undone), "not_undone": not_undone}
        raise BulwarkError(f"internal error: {error!r}", details) from error
