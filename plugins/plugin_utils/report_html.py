# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes report.html of the report: one page that needs no network, and no script to be read. Pure, but for reading the template.

The hosts are not trusted. Each text is escaped by Jinja, and before that by ``escape()``, which shows what a reader would
not see. The page's policy lets no style and no script in but the two whose hashes it names.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jinja2
from markupsafe import Markup

from ansible_collections.bulwark.node.plugins.plugin_utils import outcomes, report_nat
from ansible_collections.bulwark.node.plugins.plugin_utils.findings import SEVERITIES, STATUSES
from ansible_collections.bulwark.node.plugins.plugin_utils.report_drawings import draw, glance, size
from ansible_collections.bulwark.node.plugins.plugin_utils.report_table import escape

__all__ = ["render"]

_ROLE = Path(__file__).resolve().parents[2] / "roles" / "audit"
# What a reader can bear; report.json has the whole.
_MAX_TEXT = 2000
_MAX_NAME = 200
_MAX_LINES = 200
_MAX_ROWS = 12
_MAX_COLUMNS = 8
_MAX_CHANGES = 200
# In the map a verdict is a letter as well as a colour; a failure has that of its severity.
_LETTERS = {"error": "!", "unknown": "?", "waived": "W", "not_applicable": "-", "pass": "✓"}
_QUIET = ("pass", "not_applicable")
# Of every inventory, and so no group to choose by.
_GROUPS_OF_ALL = ("all", "ungrouped")
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
_ORDER: dict[str, int] = {severity: rank for rank, severity in enumerate(SEVERITIES)}


@dataclass
class _Control:
    """A control over all hosts: ``counts`` per status, ``hosts`` where it is neither passed nor not applicable."""

    key: str
    id: str
    title: str
    severity: str
    source: str
    references: list[tuple[str, bool]]
    why: str | None = None
    remedy: str | None = None
    playbook: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STATUSES, 0))
    hosts: list[dict[str, Any]] = field(default_factory=list)

    @property
    def loud(self) -> bool:
        return any(count for status, count in self.counts.items() if status not in _QUIET)

    @property
    def rank(self) -> tuple[Any, ...]:
        counts = self.counts
        return (not counts["fail"], _ORDER.get(self.severity, 9), -counts["fail"], -counts["error"], self.id)


def render(report: Mapping[str, Any]) -> str:
    """The text of report.html for a report of the shape of docs/schemas.md; facts of another shape cost their drawing alone."""
    styles, script = (_asset(name) for name in ("report.css", "report.js"))
    policy = (
        f"default-src 'none'; style-src '{_hash(styles)}'; script-src '{_hash(script)}'; base-uri 'none'; "
        "form-action 'none'; require-trusted-types-for 'script'"
    )
    page = _template().render(page=_page(report), styles=Markup(styles), script=Markup(script), policy=policy)
    # The lines between elements would be as many nodes as there are elements. Text has no bare < and >.
    page = re.sub(r">\n\s*<", "><", page)
    # A lone surrogate, which JSON may hold, is no text that a file can.
    return page.encode("utf-8", "backslashreplace").decode()


@functools.cache
def _asset(name: str) -> str:
    return (_ROLE / "files" / name).read_text(encoding="utf-8").strip()


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_ROLE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(size=size, words=_words)
    return environment.get_template("report.html.j2")


def _visible(value: Any) -> Any:
    """What the template prints: text of bearable length, in which all that is there is seen."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    if len(value) > _MAX_TEXT:
        return f"{escape(value[:_MAX_TEXT])}… ({len(value) - _MAX_TEXT} more characters)"
    return escape(value)


def _words(name: str) -> str:
    """A status as words: ``not_applicable`` is ``not applicable``."""
    return name.replace("_", " ")


def _page(report: Mapping[str, Any]) -> dict[str, Any]:
    hosts, controls = _audited(report)
    gateways = report_nat.rows(report.get("cloud_nat"))
    for control in controls.values():
        control.hosts.sort(key=lambda host: STATUSES.index(host["status"]))
    ordered = sorted(controls.values(), key=lambda control: control.rank)
    loud, quiet = [each for each in ordered if each.loud], [each for each in ordered if not each.loud]
    for host in hosts:
        host["cells"] = [_cell(host["by_control"].get(control.key), control) for control in loud]
    groups = {
        group: str(number) for number, group in enumerate(sorted({each for host in hosts for each in host["groups"]}))
    }
    for host in hosts:
        host["group_numbers"] = " ".join(groups[group] for group in host["groups"])
    return {
        "generated": _time(report["generated"]),
        "hosts": hosts,
        "loud": loud,
        "quiet": quiet,
        "groups": list(groups),
        "severities": SEVERITIES,
        "statuses": STATUSES,
        "letters": _LETTERS,
        "by_severity": report["summary"]["findings"]["fail_by_severity"],
        "by_status": report["summary"]["findings"]["by_status"],
        "strip": _strip(report["summary"]["findings"]["fail_by_severity"]),
        "headline": "; ".join(filter(None, (report_nat.headline(gateways), _headline(hosts)))),
        "host_counts": _host_counts(hosts),
        "run": _run(hosts, report["summary"]),
        "compared": _compared(report.get("compared"), hosts),
        "gateways": gateways,
    }


def _time(text: str | None) -> str:
    """A time of the report as people write it; the older report may have none."""
    return (text or "an older report").replace("T", " ").replace("Z", " UTC")


def _audited(report: Mapping[str, Any]) -> tuple[list[dict[str, Any]], dict[str, _Control]]:
    """The hosts, the worst first, and the controls by id."""
    controls: dict[str, _Control] = {}
    hosts = []
    for number, (name, row) in enumerate(report["hosts"].items()):
        anchor = f"host-{name}" if _PLAIN.fullmatch(name) else f"odd-{number}"
        hosts.append(_host(name, row, anchor, controls))
    hosts.sort(key=lambda host: host["rank"])
    return hosts, controls


def _host(name: str, row: Mapping[str, Any], anchor: str, controls: dict[str, _Control]) -> dict[str, Any]:
    facts = row.get("facts") if isinstance(row.get("facts"), Mapping) else None
    outcome = row.get("outcome")
    host: dict[str, Any] = {
        "name": name[:_MAX_NAME],
        "anchor": anchor,
        "status": row["status"],
        "reason": row["reason"],
        "groups": [group for group in row.get("groups") or [] if group not in _GROUPS_OF_ALL],
        "pool": row.get("pool"),
        "outcome": None if outcome is None else _outcome(outcome),
        "by_control": {},
        "loud": [],
        "passed": [],
        "not_applicable": {},
        "fails": dict.fromkeys(SEVERITIES, 0),
        "drawings": [],
        "glance": [],
        "errors": [],
    }
    for finding in row["findings"]:
        _judged(host, finding, _control(finding, controls))
    host["loud"].sort(key=lambda finding: (STATUSES.index(finding["status"]), _ORDER.get(finding["severity"], 9)))
    if facts is not None:
        host["drawings"], host["glance"], host["errors"] = draw(facts), glance(facts), _errors(facts)
    host["rank"] = _rank(host)
    return host


def _rank(host: Mapping[str, Any]) -> tuple[Any, ...]:
    """Sorts the worst first: what could not be looked at, what the run harmed, then by failures."""
    lost = {"unreachable": 0, "failed": 1, "ok": 2, "not_begun": 3}.get(host["status"], 1)
    harmed = host["outcome"] is not None and host["outcome"]["status"] in outcomes.BAD
    return (lost, not harmed, [-count for count in host["fails"].values()], -len(host["loud"]), host["name"])


def _errors(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    errors = facts.get("errors")
    return [
        (str(error.get("subset")), str(error.get("reason")))
        for error in (errors if isinstance(errors, list) else [])
        if isinstance(error, Mapping)
    ]


def _control(finding: Mapping[str, Any], controls: dict[str, _Control]) -> _Control:
    name = str(finding["control"])
    known = controls.get(name)
    if known is None:
        known = controls[name] = _Control(
            key=str(len(controls)),
            id=name,
            title=str(finding["title"]),
            severity=str(finding["severity"]),
            source=str(finding.get("source") or ""),
            references=[_reference(text) for text in finding.get("references") or []],
        )
    # Where it passes, there is nothing to do, and a finding does not say what.
    known.why = known.why or finding.get("why")
    known.remedy = known.remedy or finding.get("remedy")
    known.playbook = known.playbook or _lines(finding.get("playbook"))
    return known


def _judged(host: dict[str, Any], finding: Mapping[str, Any], control: _Control) -> None:
    status, severity = finding["status"], finding["severity"]
    control.counts[status] += 1
    if status == "pass":
        host["passed"].append(control.id)
    elif status == "not_applicable":
        host["not_applicable"].setdefault(finding["reason"] or "", []).append(control.id)
    else:
        shown = {
            "anchor": f"{host['anchor']}--{control.id if _PLAIN.fullmatch(control.id) else control.key}",
            "control": control,
            "severity": severity,
            "status": status,
            "reason": finding["reason"],
            "why": finding.get("why"),
            "remedy": finding.get("remedy"),
            "playbook": _lines(finding.get("playbook")),
            "waiver": finding.get("waiver"),
            "pending": finding.get("pending"),
            "evidence": _evidence(finding.get("evidence")),
        }
        host["loud"].append(shown)
        control.hosts.append({"name": host["name"], "anchor": shown["anchor"], "status": status})
    if status == "fail":
        host["fails"][severity] += 1
    host["by_control"][control.key] = (status, severity, host["loud"][-1]["anchor"] if status not in _QUIET else None)


def _cell(found: tuple[str, str, str | None] | None, control: _Control) -> dict[str, Any]:
    """A cell of the map; empty where the host was not judged by this control."""
    if found is None:
        return {"kind": "none", "letter": "", "href": None, "title": "not judged"}
    status, severity, anchor = found
    failed = status == "fail"
    return {
        "kind": severity if failed else status,
        "letter": severity[:1].upper() if failed else _LETTERS[status],
        "href": anchor,
        "title": f"{control.id}: {severity + ', ' if failed else ''}{_words(status)}",
    }


def _reference(text: Any) -> tuple[str, bool]:
    """A reference, and whether it may be a link."""
    url = str(text)
    try:
        parts = urlsplit(url)
        safe = parts.scheme == "https" and bool(parts.hostname) and url.isascii() and url.isprintable()
    except ValueError:
        safe = False
    return url, safe and not re.search(r"[\s\"'<>\\`]", url)


def _lines(text: Any) -> list[str]:
    lines = text.splitlines() if isinstance(text, str) else []
    return [*lines[:_MAX_LINES], *([f"# … {len(lines) - _MAX_LINES} more lines"] if len(lines) > _MAX_LINES else [])]


def _evidence(evidence: Any) -> list[tuple[str, str, Any]]:
    """(name, kind, value) of each: kind ``text``, or ``table`` with {columns, rows, more}."""
    if not isinstance(evidence, Mapping):
        return []
    return [(str(key), *_evident(str(key), value)) for key, value in evidence.items()]


def _evident(key: str, value: Any) -> tuple[str, Any]:
    if isinstance(value, list) and value and all(isinstance(row, Mapping) and row for row in value):
        columns = list(dict.fromkeys(str(name) for row in value[:_MAX_ROWS] for name in row))[:_MAX_COLUMNS]
        rows = [[_scalar(name, row.get(name)) for name in columns] for row in value[:_MAX_ROWS]]
        return "table", {"columns": columns, "rows": rows, "more": len(value[_MAX_ROWS:])}
    if isinstance(value, list) and not any(isinstance(item, (list, Mapping)) for item in value):
        texts = [_scalar(key, item) for item in value[:_MAX_LINES]]
        return "text", ", ".join(texts) + (f" and {len(value) - _MAX_LINES} more" if len(value) > _MAX_LINES else "")
    return "text", _scalar(key, value)


def _scalar(key: str, value: Any) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        # Python refuses to write a number of very many digits.
        if value.bit_length() > 256:
            return f"a number of {value.bit_length()} bits"
        return f"{size(value)} ({value})" if key.endswith("bytes") and abs(value) >= 1024 else str(value)
    if isinstance(value, (list, Mapping)):
        return json.dumps(value, ensure_ascii=False)[: _MAX_TEXT * 2]
    return str(value)


def _strip(by_severity: Mapping[str, int]) -> list[dict[str, Any]]:
    """The failures as parts of one bar."""
    whole = sum(by_severity.values())
    parts, at = [], 0.0
    for severity in SEVERITIES:
        width = 100 * by_severity[severity] / whole if whole else 0
        if width:
            parts.append({"name": severity, "x": round(at, 2), "width": round(width, 2)})
        at += width
    return parts


def _headline(hosts: Sequence[Mapping[str, Any]]) -> str:
    total = len(hosts)
    failing = [host for host in hosts if any(host["fails"].values())]
    urgent = [host for host in failing if host["fails"]["critical"] or host["fails"]["high"]]
    lost = sum(host["status"] in ("unreachable", "failed") for host in hosts)
    if urgent:
        text = f"{_of(urgent, total)} need{'s' if len(urgent) == 1 else ''} attention"
    elif failing:
        text = f"Nothing urgent; {_of(failing, total)} can be better"
    elif lost == total:
        return f"None of {_plural(total, 'host')} could be audited" if total else "There is no host"
    else:
        unsure = sum(finding["status"] in ("unknown", "error") for host in hosts for finding in host["loud"])
        what = f"Nothing is known to fail, {_plural(unsure, 'control')} unknown," if unsure else "Nothing fails"
        text = f"{what} on {hosts[0]['name'] if total == 1 else _plural(total - lost, 'host')}"
    return f"{text}, {lost} could not be audited" if lost else text


def _of(hosts: Sequence[Mapping[str, Any]], total: int) -> str:
    return str(hosts[0]["name"]) if total == 1 else f"{len(hosts)} of {total} hosts"


def _plural(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _host_counts(hosts: Sequence[Mapping[str, Any]]) -> list[tuple[str, int]]:
    """How many hosts there are of each kind, kinds without one left out."""
    kinds = {"fail": 0, "nothing fails": 0, "unreachable": 0, "failed": 0, "not begun": 0}
    for host in hosts:
        if host["status"] == "ok":
            kinds["fail" if any(host["fails"].values()) else "nothing fails"] += 1
        else:
            kinds[_words(host["status"])] += 1
    return [(kind, count) for kind, count in kinds.items() if count]


def _outcome(outcome: Mapping[str, Any]) -> dict[str, Any]:
    """An outcome as docs/schemas.md has it, with what it says in lists for the template; lists that are empty are left out."""
    changes = [
        (str(domain["name"]), change)
        for domain in outcome.get("domains") or []
        for change in domain.get("changes") or []
    ]
    lists = [
        ("worse", "bad", [_moved(entry) for entry in outcome["worse"]]),
        ("not as asked", "bad", [_unmet(entry) for entry in outcome["unmet"]]),
        ("remains", "bad", [(entry.get("object"), entry.get("by")) for entry in outcome["remains"]]),
        ("not undone", "bad", [(entry.get("what"), entry.get("reason")) for entry in outcome["not_undone"]]),
        ("fixed", "good", [_moved(entry) for entry in outcome["fixed"]]),
        ("restart needed", "warn", [(entry.get("unit"), entry.get("reason")) for entry in outcome["restart_required"]]),
        ("disruptive", "warn", [(entry.get("target"), entry.get("reason")) for entry in outcome["disruptive"]]),
        ("given back", "good", [(entry.get("object"), entry.get("by")) for entry in outcome["given_back"]]),
        ("changed", "good", [(name, _change(change)) for name, change in changes]),
        ("warnings", "warn", [(warning, None) for warning in outcome["warnings"]]),
    ]
    return {
        "status": outcome["status"],
        "reason": outcome["reason"],
        "bad": outcome["status"] in outcomes.BAD,
        "reboot_required": outcome["reboot_required"],
        "restarts": len(outcome["restart_required"]),
        "fixed": outcome["fixed"],
        "worse": outcome["worse"],
        "lists": [
            {"name": name, "tone": tone, "rows": rows[:_MAX_CHANGES], "more": len(rows[_MAX_CHANGES:])}
            for name, tone, rows in lists
            if rows
        ],
    }


def _moved(entry: Mapping[str, Any]) -> tuple[Any, str]:
    moved = f"{_words(str(entry.get('before')))} → {_words(str(entry.get('after')))}"
    accepted = ", accepted" if entry.get("accepted") else ""
    return entry.get("control"), f"{moved}{accepted}{': ' + str(entry['reason']) if entry.get('reason') else ''}"


def _unmet(entry: Mapping[str, Any]) -> tuple[str, str]:
    asked = f"asked for {_scalar('', entry.get('wanted'))}, got {_scalar('', entry.get('got'))}"
    said = ". ".join(str(entry[key]).rstrip(".") for key in ("reason", "remedy") if entry.get(key))
    return f"{entry.get('domain')} {entry.get('target')}", f"{asked}: {said}" if said else asked


def _change(change: Mapping[str, Any]) -> str:
    values = [change.get("before"), change.get("after")]
    moved = "" if values == [None, None] else f": {_scalar('', values[0])} → {_scalar('', values[1])}"
    return f"{change.get('kind')} {change.get('target')}{moved}"


def _run(hosts: Iterable[Mapping[str, Any]], summary: Mapping[str, Any]) -> dict[str, Any] | None:
    """What came of a run that changes hosts; None where the report is on an audit."""
    if "outcomes" not in summary:
        return None
    done = [host for host in hosts if host["outcome"] is not None]
    return {
        "outcomes": [(status, count) for status, count in summary["outcomes"].items() if count],
        "reboots": sum(bool(host["outcome"]["reboot_required"]) for host in done),
        "restarts": sum(bool(host["outcome"]["restarts"]) for host in done),
        **{key: [_step(host, entry) for host in done for entry in host["outcome"][key]] for key in ("worse", "fixed")},
    }


def _compared(compared: Mapping[str, Any] | None, hosts: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """What got worse and what was fixed since an older report; None where there is none to compare with."""
    if compared is None:
        return None
    known = {host["name"]: host for host in hosts}
    return {
        "generated": _time(compared["generated"]),
        "path": compared.get("path"),
        "hosts": [(f"{what} hosts", compared[what][:_MAX_LINES]) for what in ("new", "gone") if compared.get(what)],
        **{
            key: [
                _step(known.get(str(entry.get("host"))[:_MAX_NAME]), entry, str(entry.get("host")))
                for entry in compared[key]
            ]
            for key in ("worse", "fixed")
        },
    }


def _step(host: Mapping[str, Any] | None, entry: Mapping[str, Any], name: str | None = None) -> dict[str, Any]:
    control, text = _moved(entry)
    return {
        "host": name or (host["name"] if host else ""),
        "anchor": host["anchor"] if host else None,
        "control": control,
        "severity": entry.get("severity"),
        "text": text,
    }
