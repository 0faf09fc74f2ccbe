# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the audit's report of what the hosts' facts tasks returned, as data and as a file; report_table.py shows it.

All but write() is pure. The hosts are not trusted: whatever a node put into its facts, the report is made, the other
hosts are in it, and no JSON reader is harmed.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timezone
from typing import Any

from ansible_collections.bulwark.node.plugins.plugin_utils import outcomes
from ansible_collections.bulwark.node.plugins.plugin_utils.assess import (
    FACTS_SCHEMA,
    Subject,
    assess,
    assess_fleet,
    subject,
)
from ansible_collections.bulwark.node.plugins.plugin_utils.baseline import AUTO, load
from ansible_collections.bulwark.node.plugins.plugin_utils.findings import SEVERITIES, STATUSES
from ansible_collections.bulwark.node.plugins.plugin_utils.outcomes import Run
from ansible_collections.bulwark.node.plugins.plugin_utils.plain import PlainError, plain

__all__ = [
    "SCHEMA",
    "ReportError",
    "assembled",
    "build",
    "came_to",
    "compared",
    "done_before",
    "dumps",
    "failing",
    "hosts_of",
    "rows",
    "write",
]

SCHEMA = 1

# Findings name weaknesses of machines: the owner writes; the group (a CI job, a collector) reads; nobody else.
_FILE_MODE = 0o640
_DIR_MODE = 0o750

# What ssh, bash and their locales say of themselves.
_SAYS_NOTHING = ("Shared connection to ", "Warning: ", "WARNING: ", "** ", "bash: warning: ")


class ReportError(ValueError):
    """A report is not as it must be; the message says what is wrong with it."""


def build(
    results: Mapping[str, Any],
    generated: datetime,
    run: Run | None = None,
    subjects: Mapping[str, Subject] | None = None,
    refused: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The report on the results that ``bulwark.node.node_facts`` gave, per host name; ``generated`` has a time zone.

    A host without a usable result is in the report with its reason, without facts and without findings. With ``run`` the
    results are those after it, and each host has an ``outcome``. A host that ``subjects`` lacks is judged by what its facts
    ask for; one that ``refused`` has is none to judge, for the reason there.
    """
    return assembled(rows(results, generated, run, subjects, refused), generated, run, subjects)


def rows(
    results: Mapping[str, Any],
    generated: datetime,
    run: Run | None = None,
    subjects: Mapping[str, Subject] | None = None,
    refused: Mapping[str, str] | None = None,
) -> dict[str, dict[str, Any]]:
    """What build() has of each host by itself: all but what a comparison with its peers finds."""
    today = generated.astimezone(timezone.utc).date()
    judges = {host: _Judge(_subject(host, subjects), today, (refused or {}).get(host)) for host in sorted(results)}
    return {
        host: judge.row(results[host]) if run is None else _changed(run, host, results[host], judge)
        for host, judge in judges.items()
    }


def assembled(
    found: Mapping[str, dict[str, Any]],
    generated: datetime,
    run: Run | None = None,
    subjects: Mapping[str, Subject] | None = None,
    peers: bool = True,
) -> dict[str, Any]:
    """The report of these rows; with ``peers`` the hosts are compared with one another, which looks at all of their facts."""
    now = generated.astimezone(timezone.utc)
    hosts = {name: found[name] for name in sorted(found)}
    known = {
        name: (row["facts"], _subject(name, subjects))
        for name, row in hosts.items()
        if peers and row["facts"] is not None
    }
    for host, findings in assess_fleet(known, now.date()).items():
        # Beside what a run did to the host itself, which a difference from its peers is not.
        hosts[host] = {**hosts[host], "findings": [*hosts[host]["findings"], *findings]}
    return {
        "schema": SCHEMA,
        "generated": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "hosts": hosts,
        "summary": _summary(hosts) if run is None else {**_summary(hosts), **_sums(hosts)},
        "compared": None,
        "cloud_nat": [],
    }


def _subject(host: str, subjects: Mapping[str, Subject] | None) -> Subject:
    return (subjects or {}).get(host) or subject(host, load((AUTO,), ""))


def done_before(older: Any, hosts: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The rows of those hosts that a report of this run, which is not over, has already done with."""
    known = older.get("hosts") if isinstance(older, dict) and older.get("schema") == SCHEMA else None
    found = {host: known.get(host) for host in hosts} if isinstance(known, dict) else {}
    return {host: row for host, row in found.items() if isinstance(row, dict) and _is_done(row)}


def _is_done(row: Mapping[str, Any]) -> bool:
    outcome = row.get("outcome")
    return (
        set(row) == {"status", "reason", "groups", "pool", "facts", "findings", "outcome"}
        and isinstance(outcome, dict)
        and outcome.get("status") in {*outcomes.STATUSES} - {"begun", "not_begun"}
    )


def compared(made: Mapping[str, Any], older: Any, path: str) -> dict[str, Any]:
    """What got worse and what was fixed since an older report, which was read from ``path``. Raises ReportError."""
    if not isinstance(older, dict) or older.get("schema") != SCHEMA or not isinstance(older.get("hosts"), dict):
        raise ReportError(f"{path} is no report of schema {SCHEMA}")
    then = {name: row for name, row in older["hosts"].items() if _is_row(row)}
    worse: list[dict[str, Any]] = []
    fixed: list[dict[str, Any]] = []
    for name, row in made["hosts"].items():
        if row["status"] != "ok" or name not in then:
            continue
        for found, entries in zip((fixed, worse), outcomes.compare(then[name], row), strict=True):
            found += [{"host": name, **entry} for entry in entries]
    return {
        "path": path,
        "generated": generated if isinstance(generated := older.get("generated"), str) else "an older report",
        "worse": worse,
        "fixed": fixed,
        "new": sorted(set(made["hosts"]) - set(older["hosts"])),
        "gone": sorted(set(older["hosts"]) - set(made["hosts"])),
    }


def _is_row(row: Any) -> bool:
    """Whether a host of an older report has what outcomes.compare reads."""
    return (
        isinstance(row, dict)
        and row.get("status") == "ok"
        and isinstance(row.get("facts"), dict)
        and isinstance(row.get("findings"), list)
        and all(isinstance(each, dict) and isinstance(each.get("control"), str) for each in row["findings"])
        and all(isinstance(each.get("status"), str) for each in row["findings"])
    )


def failing(report: Mapping[str, Any], least: str) -> dict[str, list[str]]:
    """The controls that fail with this severity or a worse one, or could not be judged for an error, by host, for those that have any."""
    enough = SEVERITIES[: SEVERITIES.index(least) + 1]
    found = {
        name: [
            each["control"]
            for each in host["findings"]
            if each["status"] in ("fail", "error") and each["severity"] in enough
        ]
        for name, host in report["hosts"].items()
    }
    return {name: controls for name, controls in found.items() if controls}


def came_to(report: Mapping[str, Any], status: str) -> list[str]:
    """The sorted names of the hosts whose outcome has this status."""
    return sorted(name for name, host in report["hosts"].items() if host["outcome"]["status"] == status)


def hosts_of(report: Mapping[str, Any], status: str) -> list[str]:
    """The sorted names of the hosts whose status is ``ok``, ``unreachable`` or ``failed``."""
    return sorted(name for name, host in report["hosts"].items() if host["status"] == status)


@dataclass(frozen=True)
class _Judge:
    """Makes a host's row of the report, by what this host is judged by."""

    subject: Subject
    today: date
    refused: str | None

    def row(self, result: Any) -> dict[str, Any]:
        if self.refused is not None:
            return self.made("failed", self.refused, None, [])
        try:
            status, reason, facts = _outcome(plain(result))
        except PlainError as exc:
            status, reason, facts = "failed", f"the result {exc}", None
        findings = [dict(finding) for finding in assess(facts, self.subject, self.today)] if facts is not None else []
        return self.made(status, reason, facts, findings)

    def made(
        self, status: str, reason: str | None, facts: dict[str, Any] | None, findings: list[dict[str, Any]]
    ) -> dict[str, Any]:
        return {
            "status": status,
            "reason": reason,
            "groups": list(self.subject.groups),
            "pool": self.subject.pool,
            "facts": facts,
            "findings": findings,
        }


def _changed(run: Run, host: str, result: Any, judge: _Judge) -> dict[str, Any]:
    """A host of a run: its audit from after it, or where there is none that from before."""
    before = judge.row(run.before[host]) if run.before.get(host) else None
    # In check mode nobody looks again.
    looked = bool(result) and not (isinstance(result, Mapping) and result.get("skipped"))
    after = judge.row(result) if looked else None
    done, said = _done(run.outcomes.get(host))
    outcome = outcomes.outcome(run, host, before, after, done, said)
    if before is None and after is None:
        status = "failed" if outcome["status"] == "failed" else "not_begun"
        audit = judge.made(status, outcome["reason"], None, [])
    else:
        audit = after or before or {}
    return {**audit, "outcome": outcome}


def _done(result: Any) -> tuple[dict[str, Any], str]:
    """What a host's settings task returned as plain types, empty where it did not run, and what it said."""
    try:
        done = plain(result or {})
    except PlainError as exc:
        return {"failed": True}, f"the result {exc}"
    if not isinstance(done, dict):
        return {"failed": True}, f"the result is of type {type(done).__name__}; expected a dictionary"
    said = [_message(done, "")]
    if isinstance(done.get("failed_task"), str):
        said = [f"{done['failed_task']}: {said[0] or 'it gave no reason'}"]
    said += [text for text in outcomes.messages(done) if text not in said[0]]
    otherwise = "the host could not be reached" if done.get("unreachable") else "the module failed and gave no reason"
    return done, "; ".join(filter(None, said)) or otherwise


def _outcome(result: Any) -> tuple[str, str | None, dict[str, Any] | None]:
    """Status, reason (None on ok) and facts (None unless ok) of what one host's facts task returned."""
    if not result:
        return (
            "failed",
            "no facts: the host left the play before the audit, as a task before it failed or could not reach it",
            None,
        )
    if not isinstance(result, dict):
        return "failed", f"the result is of type {type(result).__name__}; expected a dictionary", None
    # Unreachable comes first: ansible-core marks some of those results failed as well.
    if result.get("unreachable"):
        return "unreachable", _message(result, "the host could not be reached"), None
    if result.get("failed"):
        return "failed", _message(result, "the facts module failed and gave no reason"), None
    if result.get("skipped"):
        return "failed", _message(result, "the facts task was skipped"), None
    ansible_facts = result.get("ansible_facts")
    facts = ansible_facts.get("bulwark") if isinstance(ansible_facts, dict) else None
    if not isinstance(facts, dict):
        return "failed", "the result has no ansible_facts.bulwark; expected what bulwark.node.node_facts returns", None
    if facts.get("schema") != FACTS_SCHEMA:
        return (
            "failed",
            f"the facts have schema {facts.get('schema')!r}; this release judges schema {FACTS_SCHEMA}",
            None,
        )
    return "ok", None, facts


def _message(result: Mapping[str, Any], otherwise: str) -> str:
    """Why a task failed: its msg, where the module never ran what the node said instead, and of a loop which items failed and why."""
    items = result.get("results")
    failed = [each for each in items if isinstance(each, dict) and _lost(each)] if isinstance(items, list) else []
    if failed:
        return "; ".join(
            f"{each.get('item')}: {_state(each) or _message(each, 'it gave no reason')}" for each in failed
        )
    msg = result.get("msg")
    # ansible-core 2.19 begins so what 2.16 says without it.
    text = msg.strip().removeprefix("Task failed: ") if isinstance(msg, str) else ""
    # Of a terminal of its own (ssh -tt) the node's errors are in its output.
    said = _said(result.get("module_stderr")) or _said(result.get("module_stdout"))
    if said and said not in text:
        text = f"{text} ({said})" if text else said
    return text or otherwise


def _lost(result: Mapping[str, Any]) -> bool:
    return bool(result.get("failed") or result.get("unreachable"))


def _state(result: Mapping[str, Any]) -> str | None:
    """What a task that failed by its failed_when alone found a unit to be: ansible-core has no message for that."""
    status = result.get("status") if result.get("failed_when_result") else None
    state = status.get("ActiveState") if isinstance(status, dict) else None
    return f"it is {state} after its restart" if isinstance(state, str) else None


def _said(output: Any) -> str | None:
    """The one line that says most of what a node printed in a module's place; None where no line says anything.

    A shell, a loader and a broken shim of Python begin with the cause and go on with advice; Python ends with it.
    """
    lines = [line.strip() for line in output.splitlines()] if isinstance(output, str) else []
    lines = [line for line in lines if line and not line.startswith(_SAYS_NOTHING)]
    if not lines:
        return None
    return lines[-1] if any(line.startswith("Traceback (") for line in lines) else lines[0]


def _summary(hosts: Mapping[str, Any]) -> dict[str, Any]:
    by_status = dict.fromkeys(STATUSES, 0)
    fail_by_severity = dict.fromkeys(SEVERITIES, 0)
    for host in hosts.values():
        for finding in host["findings"]:
            by_status[finding["status"]] += 1
            if finding["status"] == "fail":
                fail_by_severity[finding["severity"]] += 1
    return {
        "hosts": len(hosts),
        "unreachable": sum(host["status"] == "unreachable" for host in hosts.values()),
        "failed": sum(host["status"] == "failed" for host in hosts.values()),
        "findings": {"by_status": by_status, "fail_by_severity": fail_by_severity},
    }


def _sums(hosts: Mapping[str, Any]) -> dict[str, Any]:
    found = [host["outcome"] for host in hosts.values()]
    return {
        "outcomes": {status: sum(each["status"] == status for each in found) for status in outcomes.STATUSES},
        "fixed": sum(len(each["fixed"]) for each in found),
        "worse": sum(len(each["worse"]) for each in found),
    }


def dumps(report: Mapping[str, Any]) -> str:
    """The text of report.json: sorted, ASCII alone (so that a terminal shows it unharmed), a line per host, ending in a newline.

    With an indent json leaves its encoder in C, and takes five times as long.
    """
    lines = {key: _json(value) for key, value in report.items() if key != "hosts"}
    hosts = ",\n".join(f"    {_json(name)}: {_json(row)}" for name, row in sorted(report["hosts"].items()))
    lines["hosts"] = f"{{\n{hosts}\n  }}"
    return "{\n" + ",\n".join(f"  {_json(key)}: {text}" for key, text in sorted(lines.items())) + "\n}\n"


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=True, allow_nan=False)


def write(path: str, text: str) -> None:
    """Replaces the file at ``path`` by one with ``text``, mode 0640, and makes its folder (0750) where there is none.

    A reader sees the old file or the new one, never a half; a symlink at ``path`` is replaced, not followed. Raises
    OSError and leaves no temporary file.
    """
    folder = os.path.dirname(path)
    os.makedirs(folder, _DIR_MODE, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{os.path.basename(path)}.", dir=folder)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(text)
            stream.flush()
            os.fchmod(stream.fileno(), _FILE_MODE)
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    # The rename is on disk only when the folder is.
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
