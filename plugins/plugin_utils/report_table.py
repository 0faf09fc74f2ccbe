# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows the audit's report on a terminal. The hosts are not trusted: whatever they said, no terminal is harmed. Pure."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ansible_collections.bulwark.node.plugins.plugin_utils import report_nat
from ansible_collections.bulwark.node.plugins.plugin_utils.findings import SEVERITIES, STATUSES

__all__ = ["Line", "Tone", "escape", "table"]

# For a terminal: what colour a line has, if it has one.
Tone = Literal["bad", "warn", "unreachable", "good", "quiet", "plain"]

# A reason is a sentence or two; what is longer is cut in the table and whole in report.json.
_MAX_CELL = 400
_MIN_WHY = 30
_GAP = 2


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

    What is not applicable is a number, and where the report is on more than one host so is what passed.
    """
    width = max(width, 40)
    rows = sorted([*_rows(report), *_compared_rows(report)], key=lambda row: (row.rank, row.control, row.host))
    lines = [*_layout(rows, width), Line("")] if rows else []
    lines += _remedies(report, width) + _gateways(report, width)
    gateways = report_nat.totals(report.get("cloud_nat"))
    told = _totals(report["summary"]) + gateways + _compared_totals(report["compared"])
    return lines + [Line(part) for part in _wrap(told, width)]


def _rows(report: Mapping[str, Any]) -> Iterator[_Row]:
    several = len(report["hosts"]) > 1
    quiet = {"not_applicable", *(["pass"] if several else [])}
    for name, host in report["hosts"].items():
        if "outcome" in host:
            yield from _outcome_rows(name, host, several)
        if host["status"] == "not_begun":
            continue
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
# Rows of a run, between the findings that fail and those that pass: what is to be done is above what was done.
_RANKS: dict[str, tuple[tuple[int, int], Tone]] = {
    "failed": ((0, 1), "bad"),
    "unreachable": ((0, 0), "unreachable"),
    "worse": ((0, 2), "bad"),
    "remains": ((0, 3), "bad"),
    "not undone": ((0, 4), "bad"),
    "unmet": ((2, 1), "warn"),
    "accepted": ((2, 2), "warn"),
    "reboot": ((2, 3), "warn"),
    "restart": ((2, 4), "warn"),
    "disruptive": ((2, 5), "warn"),
    "warning": ((2, 6), "warn"),
    "begun": ((8, 0), "quiet"),
    "not begun": ((8, 1), "quiet"),
    "fixed": ((8, 2), "good"),
    "given back": ((8, 3), "good"),
    "changed": ((8, 4), "good"),
    "to change": ((8, 5), "good"),
    "unchanged": ((8, 6), "quiet"),
}


def _compared_rows(report: Mapping[str, Any]) -> Iterator[_Row]:
    """What is other than in an older report."""
    for label in ("worse", "fixed"):
        rank, tone = _RANKS[label]
        for entry in (report["compared"] or {}).get(label, []):
            why = f"was {entry['before']} on {report['compared']['generated']}"
            why += f": {entry['reason']}" if entry["reason"] else ""
            yield _Row(
                rank, _cell(entry["host"]), entry["severity"] or "-", label, _cell(entry["control"]), _cell(why), tone
            )


def _outcome_rows(name: str, host: Mapping[str, Any], several: bool) -> Iterator[_Row]:
    outcome, severities = host["outcome"], {finding["control"]: finding["severity"] for finding in host["findings"]}
    for label, about, why in _told(host, several):
        rank, tone = _RANKS[label]
        yield _Row(rank, _cell(name), severities.get(str(about), "-"), label, _cell(about or "-"), _cell(why), tone)
    if outcome["status"] in ("begun", "not_begun", "unchanged"):
        label = outcome["status"].replace("_", " ")
        rank, tone = _RANKS[label]
        yield _Row(rank, _cell(name), "-", label, "-", _cell(outcome["reason"] or "nothing was to be done"), tone)


def _told(host: Mapping[str, Any], several: bool) -> Iterator[tuple[str, Any, str]]:
    """(label, about what, why) of each thing to know of a host's outcome."""
    outcome = host["outcome"]
    status = outcome["status"]
    # Where there are no facts, the audit's own row says why.
    if status in ("unreachable", "failed") and host["status"] == "ok":
        yield status, None, outcome["reason"]
    if status == "worse" and not outcome["worse"]:
        yield status, None, outcome["reason"]
    if status == "remains" and not outcome["remains"]:
        yield status, None, outcome["reason"]
    for entry in outcome["worse"]:
        yield (
            "accepted" if entry["accepted"] else "worse",
            entry["control"],
            f"was {entry['before']}: {entry['reason']}",
        )
    for entry in outcome["remains"]:
        yield "remains", entry["by"], f"{entry['object']} is not as it was before this collection"
    for entry in outcome["not_undone"]:
        yield "not undone", None, f"{entry.get('what')}: {entry.get('reason')}"
    for entry in outcome["unmet"]:
        yield "unmet", entry["domain"], f"{entry['target']}: {entry['reason']}. {entry['remedy'] or ''}"
    if outcome["reboot_required"]:
        yield "reboot", None, "what was set takes a reboot"
    for entry in outcome["restart_required"]:
        yield "restart", entry.get("unit"), str(entry.get("reason") or "to see the new state")
    for entry in outcome["disruptive"]:
        yield "disruptive", entry.get("target"), str(entry.get("reason"))
    for text in outcome["warnings"]:
        yield "warning", None, text
    for entry in outcome["fixed"]:
        yield "fixed", entry["control"], f"was {entry['before']}, is {entry['after']}"
    if outcome["given_back"]:
        yield "given back", None, ", ".join(str(entry["object"]) for entry in outcome["given_back"])
    changed = {each["name"]: ", ".join(map(_change, each["changes"])) for each in outcome["domains"] if each["changes"]}
    label = "to change" if outcome["check"] else "changed"
    if several and changed:
        yield label, None, "; ".join(f"{domain}: {what}" for domain, what in changed.items())
    elif changed:
        yield from ((label, domain, what) for domain, what in changed.items())


def _change(change: Mapping[str, Any]) -> str:
    values = [change["before"], change["after"]]
    told = "" if values == [None, None] else " {} -> {}".format(*("-" if value is None else value for value in values))
    return f"{change['target']}{told}"


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


def _gateways(report: Mapping[str, Any], width: int) -> list[Line]:
    """Cloud NAT gateways: what they have against what they need."""
    found = report_nat.lines(report.get("cloud_nat"))
    if not found:
        return []
    told = [(tone, part) for tone, text in found for part in _wrap(_cell(text), width - 4)]
    return [Line("CLOUD NAT"), *(Line(f"    {part}", tone) for tone, part in told), Line("")]


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
    return (
        f"{hosts}{': ' if away else ''}{', '.join(away)}; findings: {', '.join(parts) or 'none'}{_run_totals(summary)}"
    )


def _compared_totals(compared: Mapping[str, Any] | None) -> str:
    if compared is None:
        return ""
    return f"; since {escape(compared['generated'])}: {len(compared['worse'])} worse, {len(compared['fixed'])} fixed"


def _run_totals(summary: Mapping[str, Any]) -> str:
    if "outcomes" not in summary:
        return ""
    came = [f"{count} {status.replace('_', ' ')}" for status, count in summary["outcomes"].items() if count]
    return f"; outcomes: {', '.join(came)}; controls: {summary['fixed']} fixed, {summary['worse']} worse"


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
