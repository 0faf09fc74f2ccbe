# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What came of a run that changes hosts: what it did, what it fixed, what remains and why, and what got worse.

Pure. The hosts are not trusted: what is not of the type that docs/schemas.md has is left out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["BAD", "STATUSES", "Run", "Status", "compare", "messages", "outcome"]

Status = Literal["unreachable", "failed", "worse", "remains", "begun", "not_begun", "changed", "unchanged"]

# Worst first.
STATUSES: tuple[Status, ...] = (
    "unreachable",
    "failed",
    "worse",
    "remains",
    "begun",
    "not_begun",
    "changed",
    "unchanged",
)
BAD: frozenset[str] = frozenset({"unreachable", "failed", "worse", "remains"})
"""What makes the run fail, so that no further host is begun."""

_FAULTS = ("fail", "error")
_LIGHT = ("low", "info")
# Their text, which may be long or another's, is in the files themselves.
_TEXTS = ("file", "edit")
# What restart_required calls the manager, which need not be restarted to read the files of units again.
_MANAGER = "systemd"
_SERVICES = {"kubelet": "the kubelet", "runtime": "the container runtime"}


@dataclass(frozen=True)
class Run:
    """A run that changes hosts. Not ``ended`` are hosts being changed; ``accepted`` are controls that may get worse, per host.

    An ``undo`` makes controls worse by its nature, and fails where something of ours remains.
    """

    before: Mapping[str, Any]
    outcomes: Mapping[str, Any] = field(default_factory=dict)
    ended: bool = True
    accepted: Mapping[str, Collection[str]] = field(default_factory=dict)
    undo: bool = False
    check: bool = False


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What was fixed and what got worse between two audits of a host, {control, severity, before, after, reason} each.

    Fixed is what failed and now passes: what failed and no longer applies, as the kubelet died, is not. Worse is what was
    neither fail nor error and now is, and, named ``facts.<subset>``, a subset of the facts that can no longer be read, and,
    named ``facts.<subset>.running``, a kubelet or container runtime that runs no more.
    """
    old = {finding["control"]: finding["status"] for finding in before["findings"]}
    fixed, worse = [], []
    for finding in after["findings"]:
        was, now = old.get(finding["control"]), finding["status"]
        entry = _moved(finding["control"], finding["severity"], was, now, finding["reason"])
        if was == "fail" and now == "pass":
            fixed.append(entry)
        elif was is not None and was not in _FAULTS and now in _FAULTS:
            worse.append(entry)
    for subset, facts in sorted((before["facts"] or {}).items()):
        if facts is not None and (after["facts"] or {}).get(subset, facts) is None:
            reason = f"the facts subset {subset} can no longer be read"
            worse.append(_moved(f"facts.{subset}", None, "pass", "error", reason))
    old_services, services = _services(before), _services(after)
    for name, what in _SERVICES.items():
        if old_services[name] is True and services[name] is False:
            reason = f"{what} ran before, and does not now"
            worse.append(_moved(f"facts.{name}.running", None, "pass", "fail", reason))
    return fixed, worse


def _moved(control: str, severity: str | None, before: str | None, after: str, reason: str | None) -> dict[str, Any]:
    return {"control": control, "severity": severity, "before": before, "after": after, "reason": reason}


def _borne(after: Mapping[str, Any] | None) -> set[str]:
    """The controls that stop no run: those that only wait for a restart or a reboot, gauges, and light ones."""
    findings = after["findings"] if after is not None else []
    return {each["control"] for each in findings if each["pending"] or each["gauge"] or each["severity"] in _LIGHT}


def _forgotten(warnings: Iterable[str]) -> Iterator[str]:
    """What went out of the manifest and did not go back, as the domains say it (manifest.forgotten)."""
    for warning in warnings:
        names, sentence, _reason = warning.partition(": forgotten, not given back: ")
        if sentence:
            yield from re.sub(r"^[a-z_]+(\[[0-9]+\])?: ", "", names).split(", ")


def _services(row: Mapping[str, Any]) -> dict[str, bool | None]:
    """Whether the kubelet and the container runtime run, by a host's facts; None where these do not tell."""
    facts = row["facts"] or {}
    hugepages = facts.get("hugepages")
    places = {
        "kubelet": [facts.get("kubelet"), hugepages.get("kubelet") if isinstance(hugepages, Mapping) else None],
        "runtime": [facts.get("runtime")],
    }
    told = {
        name: [part["running"] for part in parts if isinstance(part, Mapping) and isinstance(part.get("running"), bool)]
        for name, parts in places.items()
    }
    return {name: any(found) if found else None for name, found in told.items()}


def outcome(
    run: Run,
    host: str,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
    result: Mapping[str, Any],
    said: str,
) -> dict[str, Any]:
    """What came of one host: its audits before and after (rows of the report, None where there was none), and its result.

    ``result`` is the plain result of ``bulwark.node.settings``, empty where there is none, with ``restarts``, what was
    restarted since; ``said`` is its message.
    """
    audited = before is not None and after is not None and before["status"] == after["status"] == "ok"
    fixed, worse = compare(before, after) if audited and before and after else ([], [])
    domains = [domain for name, part in _parts(result) for domain in [_domain(name, part)]]
    domains += [_named(name, "not_begun") for name in _texts(result.get("not_begun"))]
    parts = [part for _name, part in _parts(result)]
    remains = _objects(after) if run.undo and after is not None else None
    accepted = {*run.accepted.get(host, ()), *_borne(after)}
    restarted = list(_restarted(result))
    forgotten = set(_forgotten(_texts(result.get("warnings"))))
    needed = _distinct(parts, "restart_required")
    found: dict[str, Any] = {
        "check": run.check,
        "changed": any(part.get("changed") is True for part in parts)
        or result.get("changed") is True
        or restarted != [],
        "domains": domains,
        "fixed": [] if run.undo else fixed,
        "worse": [{**entry, "accepted": run.undo or entry["control"] in accepted} for entry in worse],
        "unmet": [
            {"domain": name, **{key: entry.get(key) for key in ("target", "wanted", "got", "reason", "remedy")}}
            for name, part in _parts(result)
            for entry in _dicts(part.get("unmet"))
        ],
        "not_undone": [entry for part in parts for entry in _dicts(part.get("not_undone"))],
        "reboot_required": any(part.get("reboot_required") is True for part in parts),
        "restart_required": [entry for entry in needed if entry.get("unit") not in restarted],
        "disruptive": _distinct(parts, "disruptive")
        + [_restart(entry) for entry in needed if entry.get("unit") in restarted],
        "warnings": list(dict.fromkeys(_texts(result.get("warnings")))),
        "given_back": [
            entry
            for entry in _objects(before) or []
            if entry not in (remains or []) and entry["object"] not in forgotten
        ]
        if remains is not None
        else [],
        "remains": remains or [],
    }
    status, reason = _status(run, before, after, result, said, found)
    return {"status": status, "reason": reason, **found}


def _status(
    run: Run,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
    result: Mapping[str, Any],
    said: str,
    found: Mapping[str, Any],
) -> tuple[Status, str | None]:
    if before is None:
        return ("failed", said) if result else ("not_begun", "the run has not come to this host")
    if not result:
        if before["status"] != "ok":
            return before["status"], before["reason"]
        if not run.ended:
            return "begun", "the run has begun with this host, and not ended"
        return "failed", "nothing is known of what was done here"
    if result.get("unreachable"):
        return "unreachable", said
    if result.get("failed") or "failed" in [domain["status"] for domain in found["domains"]]:
        return "failed", said
    if run.check:
        return ("changed" if found["changed"] else "unchanged"), None
    if after is None or after["status"] != "ok":
        why = after["reason"] if after is not None else "nobody looked"
        return ("failed" if run.undo else "worse"), f"its facts can no longer be read: {why}"
    worse = [entry["control"] for entry in found["worse"] if not entry["accepted"]]
    if worse:
        return "worse", ", ".join(worse)
    if run.undo:
        return _undone(after, found)
    return ("changed" if found["changed"] else "unchanged"), None


def _undone(after: Mapping[str, Any], found: Mapping[str, Any]) -> tuple[Status, str | None]:
    """Whether all went back. Where nobody can tell, it did not."""
    if _objects(after) is None:
        return "remains", f"what was written here is not known: {_unreadable(after)}"
    if found["remains"]:
        names = ", ".join(f"{entry['object']} ({entry['by']})" for entry in found["remains"])
        return "remains", f"not given back: {names}"
    return ("changed" if found["changed"] else "unchanged"), None


def _unreadable(row: Mapping[str, Any]) -> str:
    """Why a host's facts do not say what is managed there."""
    managed = (row["facts"] or {}).get("managed")
    reason = managed.get("reason") if isinstance(managed, Mapping) else None
    return reason if isinstance(reason, str) else "the facts subset managed was not gathered"


def messages(result: Mapping[str, Any]) -> list[str]:
    """What the domains said that failed."""
    return [part["msg"] for _name, part in _parts(result) if part.get("failed") and isinstance(part.get("msg"), str)]


def _restarted(result: Mapping[str, Any]) -> Iterator[str]:
    """The units that were restarted after the settings, in check mode would be; ``systemd`` where it read its files again."""
    restarts = result.get("restarts")
    if not isinstance(restarts, Mapping):
        return
    reload, units = restarts.get("reload"), restarts.get("units")
    if isinstance(reload, Mapping) and reload and _was_done(reload):
        yield _MANAGER
    for entry in _dicts(units.get("results")) if isinstance(units, Mapping) else []:
        if isinstance(entry.get("item"), str) and _was_done(entry):
            yield entry["item"]


def _was_done(task: Mapping[str, Any]) -> bool:
    return not any(task.get(key) for key in ("failed", "skipped", "unreachable"))


def _restart(needed: Mapping[str, Any]) -> dict[str, Any]:
    what = "it reads its files again" if needed["unit"] == _MANAGER else "it is restarted"
    return {"target": needed["unit"], "reason": f"{what}: {needed.get('reason') or 'to see the new state'}"}


def _objects(row: Mapping[str, Any] | None) -> list[dict[str, Any]] | None:
    """What is ours on a host, {kind, object, by} each, by its facts; None where they do not tell."""
    managed = (row["facts"] or {}).get("managed") if row is not None else None
    objects = managed.get("objects") if isinstance(managed, Mapping) else None
    if not isinstance(objects, list):
        return None
    rows = [{key: entry.get(key) for key in ("kind", "object", "by")} for entry in _dicts(objects)]
    return [row for row in rows if all(isinstance(value, str) for value in row.values())]


def _parts(result: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The result of each domain under the name of its option: ``kvm``, ``rlimits[0]``."""
    domains = result.get("domains")
    found: list[tuple[str, Mapping[str, Any]]] = []
    for name, part in domains.items() if isinstance(domains, Mapping) else ():
        if isinstance(part, Mapping):
            found.append((name, part))
        else:
            found += [(f"{name}[{index}]", each) for index, each in enumerate(_dicts(part))]
    return found


def _domain(name: str, part: Mapping[str, Any]) -> dict[str, Any]:
    status = "failed" if part.get("failed") else "changed" if part.get("changed") is True else "unchanged"
    changes = [_change(change) for change in _dicts(part.get("changes"))] if status == "changed" else []
    msg = part.get("msg")
    return {**_named(name, status), "reason": msg if isinstance(msg, str) else None, "changes": changes}


def _named(name: str, status: str) -> dict[str, Any]:
    return {"name": name, "status": status, "reason": None, "changes": []}


def _change(change: Mapping[str, Any]) -> dict[str, Any]:
    values = {
        key: None if change.get("kind") in _TEXTS or not isinstance(change.get(key), (str, int, float)) else change[key]
        for key in ("before", "after")
    }
    return {"kind": change.get("kind"), "target": change.get("target"), **values}


def _distinct(parts: list[Mapping[str, Any]], key: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for part in parts:
        found += [entry for entry in _dicts(part.get(key)) if entry not in found]
    return found


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _texts(value: Any) -> list[str]:
    return [entry for entry in value if isinstance(entry, str)] if isinstance(value, list) else []
