# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judges what node_facts returned for each host, shows it and writes report.json. Runs on the controller alone."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

from ansible import constants as C  # noqa: N812
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.bulwark.node.plugins.plugin_utils import outcomes, report, report_html, report_junit
from ansible_collections.bulwark.node.plugins.plugin_utils.assess import Subject, subject
from ansible_collections.bulwark.node.plugins.plugin_utils.baseline import AUTO, BaselineError, load
from ansible_collections.bulwark.node.plugins.plugin_utils.findings import SEVERITIES
from ansible_collections.bulwark.node.plugins.plugin_utils.outcomes import Run
from ansible_collections.bulwark.node.plugins.plugin_utils.plain import PlainError, plain
from ansible_collections.bulwark.node.plugins.plugin_utils.registered import Registered
from ansible_collections.bulwark.node.plugins.plugin_utils.report_table import Tone, escape, table

__all__ = ["ActionModule"]

ARGUMENT_SPEC: dict[str, Any] = {
    "results": {"type": "dict"},
    "dir": {"type": "path", "required": True},
    "before": {"type": "dict"},
    "outcomes": {"type": "dict"},
    "ended": {"type": "bool", "default": True},
    "accept_worse": {"type": "dict", "default": {}},
    "undo": {"type": "bool", "default": False},
    "hosts": {"type": "dict", "default": {}},
    "registered": {
        "type": "dict",
        "options": {
            "results": {"type": "str", "required": True},
            "before": {"type": "str"},
            "outcomes": {"type": "str"},
            "accept_worse": {"type": "str"},
            "hosts": {"type": "str"},
        },
    },
    "compare": {"type": "path"},
    "cloud_nat": {"type": "list", "elements": "dict", "default": []},
    "fail_on": {"type": "str", "choices": ["never", *SEVERITIES], "default": "never"},
}

_EITHER = [("results", "registered")]
_HOST = {"groups", "pool", "baselines", "params", "waivers"}
# The data last: who finds it new finds the others new as well.
_FILES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "junit.xml": report_junit.dumps,
    "report.html": report_html.render,
    "report.json": report.dumps,
}
# Of a fleet's unreachable hosts the message names some; the result lists them all.
_MAX_NAMED = 10
_MAX_REASON = 300

display = Display()


class _ReportError(Exception):
    """The task cannot be done; the message names the option, what is wrong with its value and what was expected."""


class ActionModule(ActionBase):
    """The action of ``bulwark.node.report``. It needs no connection, so the host that it is said to run on may be down."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Result as RETURN of the module documents it, in which failed and msg tell of bad options and a failed write."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        args = self.validate_argument_spec(
            argument_spec=ARGUMENT_SPEC, required_one_of=_EITHER, mutually_exclusive=_EITHER
        )[1]
        try:
            folder = _folder(args["dir"])
            play = Registered(args["registered"], task_vars or {}) if args["registered"] else None
            # In check mode nothing was written.
            done = play.done(folder) if play is not None and not self._task.check_mode else {}
            if play is not None:
                args = {**args, **play.options(done)}
            results = _results(args["results"])
            run = _run(args, self._task.check_mode)
            older = _older(args["compare"])
            told = _told(args["hosts"])
            subjects, refused = _subjects(told, results, done)
            now = datetime.now(timezone.utc)
            rows = {**done, **report.rows(results, now, run, subjects, refused)}
            over = _is_over(rows, run)
            if over and play is not None and done:
                told.update(_told(play.of(done).get("hosts", {})))
                subjects.update(_subjects(told, done, done)[0])
            made = report.assembled(rows, now, run, subjects, over)
            if older is not None:
                made["compared"] = report.compared(made, older, args["compare"])
            made["cloud_nat"] = _gateways(args["cloud_nat"])
            if over:
                _warn_of_waivers(told, subjects)
            # While hosts are being changed, the file alone is kept true.
            if run is None or run.ended:
                batch = (task_vars or {}).get("ansible_play_batch") if run else None
                for line in table(made if over else _shown(made, batch), _width()):
                    display.display(line.text, color=_colour(line.tone))
            if not self._task.check_mode:
                _write(folder, made, over)
        except (_ReportError, BaselineError, report.ReportError) as exc:
            # Not AnsibleActionFail: core 2.16 announces an exception on top of the message.
            return {**result, "failed": True, "msg": f"report: {exc}"}

        # The time of the report is part of it, so that no two are the same.
        result.update(changed=True, path=os.path.join(folder, "report.json"), summary=made["summary"])
        if run is not None:
            return {**result, **_verdict(made, run)}
        unreachable, failed = report.hosts_of(made, "unreachable"), report.hosts_of(made, "failed")
        failing = report.failing(made, args["fail_on"]) if args["fail_on"] != "never" else {}
        result.update(
            hosts_unreachable=unreachable, hosts_failed=failed, hosts_failing=sorted(failing), compared=made["compared"]
        )
        if unreachable or failed or failing:
            result.update(failed=True, msg=_message(len(results), unreachable, failed, failing, args["fail_on"]))
        return result


def _results(value: Any) -> dict[str, Any]:
    if not value:
        raise _ReportError(
            "results: is empty; expected a dictionary of at least one host's name and what node_facts returned for it"
        )
    return _hosts("results", value, "node_facts")


def _hosts(option: str, value: Any, module: str) -> dict[str, Any]:
    # Ansible's tagged strings must not become keys of the report.
    hosts = {str.__str__(host) if isinstance(host, str) else host: result for host, result in value.items()}
    for host, result in hosts.items():
        if not isinstance(host, str) or not host:
            raise _ReportError(f"{option}: has the key {host!r}; expected the name of a host")
        if result is not None and not isinstance(result, Mapping):
            raise _ReportError(
                f"{option}: {escape(host)!r} is no dictionary; expected the registered result of {module}"
            )
    return hosts


def _run(args: Mapping[str, Any], check: bool) -> Run | None:
    """The run that the report is on; None where it is on an audit."""
    if args["before"] is None:
        if args["outcomes"] is not None:
            raise _ReportError("outcomes: needs before; expected also what node_facts returned before the change")
        return None
    return Run(
        before=_hosts("before", args["before"], "node_facts"),
        outcomes=_hosts("outcomes", args["outcomes"] or {}, "settings"),
        ended=args["ended"],
        accepted={str(host): _controls(host, value) for host, value in args["accept_worse"].items()},
        undo=args["undo"],
        check=check,
    )


def _controls(host: Any, value: Any) -> list[str]:
    """Names of controls: a list, or as -e NAME=VALUE gives it, text with commas."""
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _ReportError(f"accept_worse: {escape(str(host))!r} has {value!r}; expected a list of controls")
    return [str.__str__(name).strip() for name in names]


def _is_over(rows: Mapping[str, Any], run: Run | None) -> bool:
    """Whether no host is begun after this report: there is none, or something is bad."""
    if run is None:
        return True
    statuses = {row["outcome"]["status"] for row in rows.values()}
    return run.ended and ("not_begun" not in statuses or bool(statuses & outcomes.BAD))


def _shown(made: Mapping[str, Any], batch: Any) -> Mapping[str, Any]:
    """Of a run that goes on, the hosts of this batch: those before were shown, those after have nothing to show."""
    if not isinstance(batch, list):
        return made
    return {**made, "hosts": {name: host for name, host in made["hosts"].items() if name in batch}}


def _bad(made: Mapping[str, Any]) -> list[str]:
    return [status for status in outcomes.STATUSES if status in outcomes.BAD and report.came_to(made, status)]


def _verdict(made: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """The hosts by what came of them, and where that is bad, the failure."""
    came = {f"hosts_{status}": report.came_to(made, status) for status in outcomes.STATUSES}
    bad = _bad(made) if run.ended else []
    if not bad:
        return came
    hosts = made["hosts"]
    why = {name: f"{name} ({str(host['outcome']['reason'])[:_MAX_REASON]})" for name, host in hosts.items()}
    parts = [f"{status}: {_named([why[name] for name in came[f'hosts_{status}']])}" for status in bad]
    if came["hosts_not_begun"]:
        parts.append(f"not begun: {_named(came['hosts_not_begun'])}")
    number = sum(len(came[f"hosts_{status}"]) for status in bad)
    what = "are not as they were" if run.undo else "are not as they should be"
    return {**came, "failed": True, "msg": f"{number} of {len(hosts)} hosts {what}; {'; '.join(parts)}"}


def _folder(value: str) -> str:
    if not value:
        raise _ReportError("dir: is empty; expected a folder on the controller")
    folder = os.path.abspath(str.__str__(value))
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise _ReportError(f"dir: {folder} is no folder; expected a folder, or a path where one can be made")
    return folder


def _write(folder: str, made: Mapping[str, Any], over: bool) -> None:
    """Write the files; while a run goes on that of the data alone, in which another batch costs a part of what a page does."""
    shown = "report.html" if over else "report.json"
    # All of them are made before one is written.
    for name, text in {name: make(made) for name, make in _FILES.items() if over or name == shown}.items():
        path = os.path.join(folder, name)
        try:
            report.write(path, text)
            if not over:
                # Those that are there are of an earlier run.
                for other in set(_FILES) - {shown}:
                    path = os.path.join(folder, other)
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(path)
        except OSError as exc:
            raise _ReportError(
                f"dir: cannot write {path}: {exc.strerror}; expected a folder that the user who runs ansible may write to, or may make"
            ) from exc
    display.display(f"Report: {escape(os.path.join(folder, shown))}")


def _gateways(given: Any) -> list[Any]:
    try:
        found = plain(given)
    except PlainError as exc:
        raise _ReportError(f"cloud_nat: {exc}") from exc
    for number, each in enumerate(found):
        if not isinstance(each.get("gateway"), dict) or not isinstance(each.get("load"), dict):
            raise _ReportError(
                f"cloud_nat[{number}]: has no gateway and no load; expected cloud_nat_result of role cloud_nat"
            )
    return list(found)


def _older(path: str | None) -> Any:
    """An older report; None where none was asked for."""
    if path is None:
        return None
    try:
        with open(path, encoding="utf-8") as stream:
            return json.load(stream)
    except OSError as exc:
        raise _ReportError(f"compare: cannot read {path}: {exc.strerror}; expected an older report.json") from exc
    except (ValueError, RecursionError) as exc:
        raise _ReportError(f"compare: {path} is no JSON; expected an older report.json") from exc


def _told(given: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of hosts, in plain types."""
    try:
        return dict(plain(dict(given)))
    except PlainError as exc:
        raise _ReportError(f"hosts: {exc}") from exc


def _subjects(
    told: Mapping[str, Any], names: Iterable[str], others: Collection[str]
) -> tuple[dict[str, Subject], dict[str, str]]:
    """Who of these hosts is judged by what, and why some are not: one host's typo costs no other its report.

    Raises BaselineError where all are refused, and there are no others.
    """
    subjects, refused = {}, {}
    for name in names:
        try:
            subjects[name] = _subject(name, told.get(name) or {})
        except BaselineError as exc:
            refused[name] = str(exc)
    if not subjects and not others:
        name, reason = next(iter(refused.items()))
        raise BaselineError(f"{escape(name)}: {reason}")
    return subjects, refused


def _subject(name: str, about: Any) -> Subject:
    if not isinstance(about, dict) or set(about) - _HOST:
        raise BaselineError(f"hosts: has {about!r}; expected some of {', '.join(sorted(_HOST))}")
    baselines = about.get("baselines") or [AUTO]
    if not isinstance(baselines, list) or not all(isinstance(each, str) for each in baselines):
        raise BaselineError(f"baselines: is {baselines!r}; expected a list of names and paths")
    return subject(
        name,
        load(tuple(baselines), os.getcwd()),
        about.get("groups") or (),
        about.get("pool"),
        about.get("params"),
        about.get("waivers") or (),
    )


def _warn_of_waivers(told: Mapping[str, Any], subjects: Mapping[str, Subject]) -> None:
    """Tell of waivers that are for nobody of this run: who wrote them believes otherwise."""
    names = {*subjects, *(group for who in subjects.values() for group in who.groups)}
    rows = [row for name in subjects for row in (told.get(name) or {}).get("waivers") or []]
    strangers = {
        f"{row['control']}: {', '.join(map(str, row['hosts']))}"
        for row in rows
        if row.get("hosts") and not names & set(map(str, row["hosts"]))
    }
    for stranger in sorted(strangers):
        display.warning(f"waivers: nobody of this run is, or is in, what a waiver names: {escape(stranger)}")


def _width() -> int:
    """Columns of the terminal. COLUMNS counts before what Display found, for the output of CI jobs and AWX is no terminal."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isascii() and columns.isdecimal() and len(columns) <= 4:
        return int(columns)
    # Display measures before ansible forks; a worker's own stdout is not the terminal.
    found: int | None = display.columns
    return found or 79


def _colour(tone: Tone) -> str | None:
    colours: dict[Tone, str] = {
        "bad": C.COLOR_ERROR,
        "warn": C.COLOR_WARN,
        "unreachable": C.COLOR_UNREACHABLE,
        "good": C.COLOR_OK,
        "quiet": C.COLOR_SKIP,
    }
    return colours.get(tone)


def _message(
    total: int, unreachable: list[str], failed: list[str], failing: Mapping[str, list[str]], least: str
) -> str:
    parts = [
        f"{what}: {_named(hosts)}" for what, hosts in (("unreachable", unreachable), ("no facts from", failed)) if hosts
    ]
    said = []
    if parts:
        said.append(f"{len(unreachable) + len(failed)} of {total} hosts could not be audited; {'; '.join(parts)}")
    if failing:
        named = _named([f"{host} ({', '.join(controls)})" for host, controls in sorted(failing.items())])
        said.append(f"{len(failing)} of {total} hosts have findings of severity {least} or worse: {named}")
    return ". ".join(said)


def _named(texts: list[str]) -> str:
    named = ", ".join(escape(text) for text in texts[:_MAX_NAMED])
    return f"{named} and {len(texts) - _MAX_NAMED} more" if len(texts) > _MAX_NAMED else named
