# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the audit's report of what the hosts' facts tasks returned, as data, as a table and as a file.

All but write() is pure. The hosts are not trusted: whatever a node put into its facts, the report is made, the other
hosts are in it, and neither a terminal nor a JSON reader is harmed.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import tempfile
import textwrap
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Literal

from ansible_collections.bulwark.node.plugins.plugin_utils.findings import SEVERITIES, STATUSES, judge

__all__ = ["SCHEMA", "Line", "PlainError", "Tone", "build", "dumps", "escape", "hosts_of", "plain", "table", "write"]

SCHEMA = 1
FACTS_SCHEMA = 1

# For a terminal: what colour a line has, if it has one.
Tone = Literal["bad", "warn", "unreachable", "good", "quiet", "plain"]

# Findings name weaknesses of machines: the owner writes; the group (a CI job, a collector) reads; nobody else.
_FILE_MODE = 0o640
_DIR_MODE = 0o750

# Facts are five levels deep. What is much deeper is made to exhaust the stack of whoever walks it.
_MAX_DEPTH = 50
# A reason is a sentence or two; what is longer is cut in the table and whole in report.json.
_MAX_CELL = 400
_MIN_WHY = 30
_GAP = 2


class PlainError(ValueError):
    """A value cannot be JSON; the message says what is wrong with it."""


@dataclass(frozen=True)
class Line:
    """One line for a terminal, without its newline and safe to print."""

    text: str
    tone: Tone = "plain"


@dataclass(frozen=True)
class _Row:
    """A row of the table, its texts escaped. ``rank`` sorts the worst first."""

    rank: tuple[int, int]
    host: str
    severity: str
    status: str
    control: str
    why: str
    tone: Tone


def plain(value: Any, depth: int = _MAX_DEPTH) -> Any:
    """A copy in dict, list, str, int, float, bool and None alone, whatever subclasses Ansible's tagging made of them.

    Numbers that JSON lacks (NaN, Infinity) become None. Raises PlainError on what is nested deeper than ``depth`` and on
    values that JSON has no form for.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        # str() of a tagged string may be a tagged string; this slot always gives the built-in type.
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if depth <= 0:
        raise PlainError("is nested too deeply")
    if isinstance(value, Mapping):
        return {_key(key): plain(item, depth - 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, depth - 1) for item in value]
    raise PlainError(f"holds a value of type {type(value).__name__}, which JSON has no form for")


def _key(key: Any) -> str:
    if isinstance(key, str):
        return str.__str__(key)
    raise PlainError(f"has a key of type {type(key).__name__}; expected a string")


def build(results: Mapping[str, Any], generated: datetime) -> dict[str, Any]:
    """The report on the results that ``bulwark.node.node_facts`` gave, per host name; ``generated`` has a time zone.

    A host without a usable result is in the report with its reason, without facts and without findings.
    """
    hosts = {host: _host(results[host]) for host in sorted(results)}
    return {
        "schema": SCHEMA,
        "generated": generated.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "hosts": hosts,
        "summary": _summary(hosts),
    }


def hosts_of(report: Mapping[str, Any], status: str) -> list[str]:
    """The sorted names of the hosts whose status is ``ok``, ``unreachable`` or ``failed``."""
    return sorted(name for name, host in report["hosts"].items() if host["status"] == status)


def _host(result: Any) -> dict[str, Any]:
    try:
        status, reason, facts = _outcome(plain(result))
    except PlainError as exc:
        status, reason, facts = "failed", f"the result {exc}", None
    findings = [dict(finding) for finding in judge(facts)] if facts is not None else []
    return {"status": status, "reason": reason, "facts": facts, "findings": findings}


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
    """Why a task failed: its msg, and where the module never ran, the last line of what the node said instead."""
    msg = result.get("msg")
    # ansible-core 2.19 begins so what 2.16 says without it.
    text = msg.strip().removeprefix("Task failed: ") if isinstance(msg, str) else ""
    said = result.get("module_stderr") or result.get("module_stdout")
    lines = [line.strip() for line in said.splitlines()] if isinstance(said, str) else []
    # ssh's own last word says nothing about the module.
    lines = [line for line in lines if line and not line.startswith("Shared connection to ")]
    if lines and lines[-1] not in text:
        text = f"{text} ({lines[-1]})" if text else lines[-1]
    return text or otherwise


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


def escape(text: str) -> str:
    """``text`` on one line of visible characters: what a terminal acts on is shown as its escape, ``\\x1b``, ``\\n``, ``\\u202e``.

    That is every control, format (bidi, zero width), surrogate, private and unassigned character, each space but the
    ASCII one, and marks that stack on their neighbours.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char
        if char.isprintable() and unicodedata.category(char) not in {"Mn", "Me"}
        else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def table(report: Mapping[str, Any], width: int) -> list[Line]:
    """The report for people: a row per thing to know, worst first, in lines of at most ``width`` columns (at least 40).

    Passed and not applicable findings are rows where the report is on one host, and a number where it is on more.
    """
    width = max(width, 40)
    rows = sorted(_rows(report), key=lambda row: (row.rank, row.control, row.host))
    lines = [*_layout(rows, width), Line("")] if rows else []
    lines += _remedies(report, width)
    return lines + [Line(part) for part in _wrap(_totals(report["summary"]), width)]


def _rows(report: Mapping[str, Any]) -> Iterator[_Row]:
    quiet = {"pass", "not_applicable"} if len(report["hosts"]) > 1 else set()
    for name, host in report["hosts"].items():
        if host["status"] != "ok":
            tone: Tone = "unreachable" if host["status"] == "unreachable" else "bad"
            rank = (0, 0) if host["status"] == "unreachable" else (0, 1)
            yield _Row(rank, _cell(name), "-", host["status"], "-", _cell(host["reason"]), tone)
            continue
        errors = host["facts"].get("errors")
        for error in errors if isinstance(errors, list) else []:
            if isinstance(error, dict):
                why = f"the facts subset {error.get('subset')} failed: {error.get('reason')}"
                yield _Row((2, 0), _cell(name), "-", "error", "-", _cell(why), "warn")
        for finding in host["findings"]:
            status, severity = finding["status"], finding["severity"]
            if status not in quiet:
                rank = (1 + STATUSES.index(status), SEVERITIES.index(severity))
                why = _cell(finding["reason"] or finding["title"])
                yield _Row(
                    rank, _cell(name), severity, _LABEL.get(status, status), finding["control"], why, _tone(finding)
                )


_LABEL = {"not_applicable": "n/a"}


def _tone(finding: Mapping[str, Any]) -> Tone:
    if finding["status"] == "fail":
        return "bad" if finding["severity"] in {"critical", "high"} else "warn"
    if finding["status"] == "pass":
        return "good"
    return "quiet" if finding["status"] in {"waived", "not_applicable"} else "warn"


def _layout(rows: list[_Row], width: int) -> Iterator[Line]:
    """Header and rows. Where ``width`` leaves no room for a column of its own, the reason stands below its row."""
    head = _Row((0, 0), "HOST", "SEVERITY", "STATUS", "CONTROL", "WHY", "plain")
    cells = [(row.host, row.severity, row.status, row.control) for row in (head, *rows)]
    wide = [max(_columns(row[i]) for row in cells) for i in range(4)]
    # The names give way to the reasons, the host's first: a control's id is what people search for.
    wide[0] = min(wide[0], max(width // 4, 8))
    wide[3] = min(wide[3], max(width - sum(wide[:3]) - 3 * _GAP, 4))
    used = sum(wide) + 4 * _GAP
    beside = width - used >= _MIN_WHY
    for row, row_cells in zip((head, *rows), cells, strict=True):
        start = (" " * _GAP).join(_fit(cell, columns) for cell, columns in zip(row_cells, wide, strict=True))
        if row is head:
            yield Line((start + " " * _GAP + head.why if beside else start).rstrip())
        elif beside:
            for i, part in enumerate(_wrap(row.why, width - used)):
                yield Line((start if i == 0 else " " * (used - _GAP)) + " " * _GAP + part, row.tone)
        else:
            yield Line(start.rstrip(), row.tone)
            yield from (Line("    " + part, row.tone) for part in _wrap(row.why, width - 4))


def _remedies(report: Mapping[str, Any], width: int) -> list[Line]:
    """What to do, said once for all hosts that it would help, worst first."""
    hosts: dict[tuple[int, str, str], set[str]] = {}
    for name, host in report["hosts"].items():
        for finding in host["findings"]:
            if finding["status"] == "fail" and finding["remedy"]:
                key = (SEVERITIES.index(finding["severity"]), finding["control"], finding["remedy"])
                hosts.setdefault(key, set()).add(name)
    if not hosts:
        return []
    lines = [Line("WHAT TO DO")]
    for (_rank, control, remedy), found in sorted(hosts.items()):
        names = sorted(found)
        on = _cell(names[0]) if len(names) == 1 else f"{len(names)} hosts"
        lines.append(Line(_fit(f"{control} ({on})", width).rstrip()))
        lines += [Line("    " + part) for part in _wrap(escape(remedy), width - 4)]
    return [*lines, Line("")]


def _totals(summary: Mapping[str, Any]) -> str:
    by_status = summary["findings"]["by_status"]
    severities = [f"{count} {name}" for name, count in summary["findings"]["fail_by_severity"].items() if count]
    parts = []
    for status in STATUSES:
        if by_status[status]:
            detail = f" ({', '.join(severities)})" if status == "fail" else ""
            parts.append(f"{by_status[status]} {status.replace('_', ' ')}{detail}")
    hosts = f"{summary['hosts']} host" + ("" if summary["hosts"] == 1 else "s")
    away = [f"{summary[key]} {key}" for key in ("unreachable", "failed") if summary[key]]
    return f"{hosts}{': ' if away else ''}{', '.join(away)}; findings: {', '.join(parts) or 'none'}"


def _cell(text: Any) -> str:
    """``text`` escaped and cut to a length that a reader can bear."""
    # Cut first: escaping makes up to ten characters of one.
    short = str(text)[: _MAX_CELL + 1]
    return escape(short) if len(short) <= _MAX_CELL else escape(short[:_MAX_CELL]) + "..."


def _columns(text: str) -> int:
    """Terminal columns of escaped text: two for an East Asian wide character."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def _fit(text: str, columns: int) -> str:
    """``text`` in exactly ``columns`` columns, padded or cut with dots."""
    if _columns(text) <= columns:
        return text + " " * (columns - _columns(text))
    while text and _columns(text) > columns - 2:
        text = text[:-1]
    return text + ".." + " " * (columns - 2 - _columns(text))


def _wrap(text: str, columns: int) -> list[str]:
    # textwrap counts characters: where one may take two columns, half as many fit for sure.
    wide = columns if _columns(text) == len(text) else columns // 2
    return textwrap.wrap(text, wide, break_on_hyphens=False) or [""]


def dumps(report: Mapping[str, Any]) -> str:
    """The text of report.json: sorted, indented, ASCII alone (so that a terminal shows it unharmed), ending in a newline."""
    return json.dumps(report, indent=2, sort_keys=True, ensure_ascii=True, allow_nan=False) + "\n"


def write(path: str, text: str) -> None:
    """Replaces the file at ``path`` by one with ``text``, mode 0640, and makes its folder (0750) where there is none.

    A reader sees the old file or the new one, never a half; a symlink at ``path`` is replaced, not followed. Raises
    OSError and leaves no temporary file.
    """
    folder = os.path.dirname(path)
    os.makedirs(folder, _DIR_MODE, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{os.path.basename(path)}.", dir=folder)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as stream:
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
