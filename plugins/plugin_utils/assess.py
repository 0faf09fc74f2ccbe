# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judges the facts of hosts (``ansible_facts.bulwark``, schema 1) by baselines. Pure: no file, no clock, no Ansible.

A fact that is null gives ``unknown``, never ``pass``; one of another type than a control expects gives ``error`` for that
control and costs no other.
"""

from __future__ import annotations

import difflib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from ansible_collections.bulwark.node.plugins.plugin_utils.baseline import BaselineError, Baselines, Control, Param
from ansible_collections.bulwark.node.plugins.plugin_utils.expressions import Answer, Expression
from ansible_collections.bulwark.node.plugins.plugin_utils.findings import Finding, Status, Waiver

__all__ = ["FACTS_SCHEMA", "Subject", "assess", "assess_fleet", "subject"]

FACTS_SCHEMA = 1
"""The facts that these controls are about."""

_PLACE = re.compile(r"\{([^{}]*)\}")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_WAIVER = {"control", "reason", "expires", "hosts"}
_UNITS = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
# Of a list in a sentence; all of it is in the evidence.
_MAX_LISTED = 5


@dataclass(frozen=True)
class Subject:
    """Who is judged, and by what. ``pool`` names the hosts that must be alike."""

    name: str
    baselines: Baselines
    groups: tuple[str, ...] = ()
    pool: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    waivers: Mapping[str, Waiver] = field(default_factory=dict)

    @property
    def host(self) -> dict[str, Any]:
        """What expressions see as ``host``."""
        return {"name": self.name, "groups": list(self.groups), "baselines": list(self.baselines.named)}


def subject(
    name: str,
    baselines: Baselines,
    groups: Sequence[str] = (),
    pool: str | None = None,
    params: Mapping[str, Any] | None = None,
    waivers: Sequence[Any] = (),
) -> Subject:
    """A host with its options checked: each of ``params`` is one that a baseline has, each waiver has control, reason and expires.

    Raises BaselineError, which names the option and the value.
    """
    for option, value, kind, expected in (
        ("groups", groups, (list, tuple), "a list of names"),
        ("pool", pool, (str, type(None)), "a name"),
        ("params", params or {}, dict, "a dictionary of parameters"),
        ("waivers", waivers, (list, tuple), "a list of waivers"),
    ):
        if not isinstance(value, kind):
            raise BaselineError(f"{option}: is {value!r}; expected {expected}")
    known = tuple(sorted(map(str, groups)))
    return Subject(
        name=name,
        baselines=baselines,
        groups=known,
        pool=pool or "+".join(known),
        params=_params(baselines, params or {}),
        waivers=dict(_waivers(baselines, waivers, {name, *known})),
    )


def _params(baselines: Baselines, given: Mapping[str, Any]) -> dict[str, Any]:
    params = baselines.params
    for name, value in given.items():
        if name not in params:
            near = difflib.get_close_matches(str(name), params, 1)
            raise BaselineError(
                f"params: has {name!r}, which no baseline has{'; did you mean ' + near[0] if near else ''}"
            )
        _check_param(name, value, params[name])
    return {**{name: param.default for name, param in params.items()}, **given}


def _check_param(name: str, value: Any, param: Param) -> None:
    wanted = (int, float) if isinstance(param.default, (int, float)) else type(param.default)
    if not isinstance(value, wanted) or isinstance(value, bool) != isinstance(param.default, bool):
        raise BaselineError(f"params: {name}: is {value!r}; expected a value like its default, {param.default!r}")
    least, most = param.min, param.max
    if (least is not None and value < least) or (most is not None and value > most):
        bounds = " and ".join(
            f"at {word} {bound}" for word, bound in (("least", least), ("most", most)) if bound is not None
        )
        raise BaselineError(f"params: {name}: is {value!r}; expected a number of {bounds}")


def _waivers(baselines: Baselines, given: Sequence[Any], names: set[str]) -> Iterator[tuple[str, Waiver]]:
    """Those that hold for a host of one of these names, by control; the last that is given for a control counts."""
    for index, row in enumerate(given):
        where = f"waivers[{index}]"
        if not isinstance(row, Mapping) or set(row) - _WAIVER or not {"control", "reason", "expires"} <= set(row):
            raise BaselineError(f"{where}: is {row!r}; expected control, reason and expires, and hosts if not for all")
        if row["control"] not in list(baselines.ids):
            near = difflib.get_close_matches(str(row["control"]), baselines.ids, 1)
            more = f"; did you mean {near[0]}" if near else ""
            raise BaselineError(f"{where}: control: is {row['control']!r}; no baseline has a control of that id{more}")
        reason, hosts = row["reason"], row.get("hosts")
        if not isinstance(reason, str) or not reason.strip():
            raise BaselineError(f"{where}: reason: is {reason!r}; expected why this is borne")
        if hosts is not None and not isinstance(hosts, list):
            raise BaselineError(f"{where}: hosts: is {hosts!r}; expected a list of names of hosts and groups")
        if not _is_day(row["expires"]):
            raise BaselineError(
                f"{where}: expires: is {row['expires']!r}; expected the last day on which it holds, as 2026-12-31"
            )
        if hosts is None or names & set(map(str, hosts)):
            yield row["control"], {"reason": reason.strip(), "expires": row["expires"]}


def _is_day(text: Any) -> bool:
    if not isinstance(text, str) or not _DAY.fullmatch(text):
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def assess(facts: Mapping[str, Any], who: Subject, today: date) -> list[Finding]:
    """All findings on one host's facts but those of fleet controls, in the order of the baselines. Raises nothing on plain facts."""
    controls = who.baselines.controls(facts, who.params, who.host)
    return [
        _made(control, _applies(control, facts, who) or _judged(control, control.expect, facts, who), who, today)
        for control in controls
        if control.expect is not None
    ]


def assess_fleet(hosts: Mapping[str, tuple[Mapping[str, Any], Subject]], today: date) -> dict[str, list[Finding]]:
    """The findings of fleet controls, by host: where it differs from most of its pool."""
    found: dict[str, list[Finding]] = {name: [] for name in hosts}
    pools: dict[str, list[str]] = {}
    for name, (_facts, who) in hosts.items():
        pools.setdefault(who.pool, []).append(name)
    for pool, members in pools.items():
        asked: dict[str, dict[str, tuple[Control, Any]]] = {}
        for name in members:
            facts, who = hosts[name]
            for control in who.baselines.controls(facts, who.params, who.host):
                if control.value is not None:
                    verdict = _applies(control, facts, who) or _value(control.value, facts, who)
                    asked.setdefault(control.id, {})[name] = (control, verdict)
        for verdicts in asked.values():
            counts = Counter(verdict for _control, verdict in verdicts.values() if isinstance(verdict, _Value))
            for name, (control, verdict) in verdicts.items():
                if isinstance(verdict, _Value):
                    verdict = _beside(verdict, counts, pool)
                found[name].append(_made(control, verdict, hosts[name][1], today))
    return found


@dataclass(frozen=True)
class _Verdict:
    status: Status
    reason: str | None = None
    evidence: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Value:
    """What a fleet control found on one host, equal where its JSON is; ``name`` is that of the fact that it is."""

    value: Any = field(compare=False)
    name: str = field(compare=False)
    text: str


def _applies(control: Control, facts: Mapping[str, Any], who: Subject) -> _Verdict | None:
    """None where the control is for such a host."""
    if control.when is None:
        return None
    answer = control.when.ask(facts, who.params, who.host)
    if answer.value is True:
        return None
    if answer.value is False:
        return _Verdict("not_applicable", f"it is for {control.applies_to or 'hosts where ' + control.when.text}")
    return _undecided("when", answer, facts)


def _judged(control: Control, expect: Expression, facts: Mapping[str, Any], who: Subject) -> _Verdict:
    answer = expect.ask(facts, who.params, who.host)
    shown = control.evidence.show(facts, who.params, who.host) if control.evidence else None
    evidence = shown if isinstance(shown, dict) else {}
    if answer.value is True:
        return _Verdict("pass", None, evidence)
    if answer.value is False:
        return _Verdict("fail", _reason(control, evidence), evidence)
    verdict = _undecided("expect", answer, facts)
    return _Verdict(verdict.status, verdict.reason, evidence)


def _value(expression: Expression, facts: Mapping[str, Any], who: Subject) -> _Value | _Verdict:
    answer = expression.ask(facts, who.params, who.host)
    if answer.value is None:
        return _undecided("value", answer, facts)
    return _Value(answer.value, expression.text.rpartition(".")[2], json.dumps(answer.value, sort_keys=True))


def _beside(own: _Value, counts: Counter[_Value], pool: str) -> _Verdict:
    """How one host stands beside those of its pool whose value is known, itself among them."""
    hosts = counts.total()
    if hosts < 2:
        return _Verdict("not_applicable", "no other host of its pool is known to compare it with", {"pool": pool})
    most = max(counts.values())
    first = counts.most_common(1)[0][0]
    agreed = first.value if 2 * most > hosts else None
    evidence = {"value": own.value, "common": agreed, "alike": counts[own], "hosts": hosts, "pool": pool}
    if 2 * most <= hosts:
        reason = f"no value is common to most of the {hosts} hosts of its pool; here it is {_said(own.value, own.name)}"
        return _Verdict("fail", reason, evidence)
    if own == first:
        return _Verdict("pass", None, evidence)
    reason = f"{_difference(own.value, agreed, own.name)} on {most} of the {hosts} hosts of its pool"
    return _Verdict("fail", reason, evidence)


def _difference(own: Any, common: Any, name: str) -> str:
    if not isinstance(own, list) or not isinstance(common, list):
        return f"it is {_said(own, name)} here, and {_said(common, name)}"
    lacks = [each for each in common if each not in own]
    more = [each for each in own if each not in common]
    told = [f"{what} {_said(each)}" for what, each in (("lacks", lacks), ("has also", more)) if each]
    return f"it {' and '.join(told) or 'has another order'}, unlike"


def _undecided(key: str, answer: Answer, facts: Mapping[str, Any]) -> _Verdict:
    """Unknown where a null is to blame, else an error of the control or of the facts' types."""
    if answer.error is not None:
        return _Verdict("error", f"{key}: {answer.error}")
    if answer.nulls:
        return _Verdict("unknown", _because(answer.nulls[0], facts))
    return _Verdict("error", f"{key}: gave {_said(answer.value)}; expected true or false")


def _because(path: str, facts: Mapping[str, Any]) -> str:
    """Why a path is null, as the node told it: the reason of the subset that failed, or the one beside the value."""
    root, *steps = path.split(".")
    if root != "facts" or not steps:
        return f"{path} is not known"
    subset = steps[0].partition("[")[0]
    if subset not in facts:
        return f"the facts subset {subset} was not gathered"
    if facts[subset] is None:
        errors = facts.get("errors")
        told = (
            [e.get("reason") for e in errors if isinstance(e, dict) and e.get("subset") == subset]
            if isinstance(errors, list)
            else []
        )
        return f"the facts subset {subset} failed{': ' + str(told[0]) if told and told[0] else ''}"
    reason: str | None = None
    value: Any = facts
    for step in steps:
        if not isinstance(value, Mapping):
            break
        key = step.partition("[")[0]
        own = [value.get(name) for name in (f"{key}_reason", "reason")]
        reason = next((text for text in own if isinstance(text, str) and text), reason)
        value = value.get(key)
    name = path.removeprefix("facts.").removesuffix("[]")
    return f"{name} is not known{': ' + reason if reason else ''}"


def _made(control: Control, verdict: _Verdict, who: Subject, today: date) -> Finding:
    """The finding, waived where somebody bears it. A waiver that has expired is named, and holds no more."""
    waiver = who.waivers.get(control.id) if verdict.status == "fail" else None
    status, reason = verdict.status, verdict.reason
    if waiver is not None:
        if today <= date.fromisoformat(waiver["expires"]):
            status = "waived"
        else:
            reason = f"{reason}; its waiver expired on {waiver['expires']}"
    told = status in ("fail", "waived")
    return {
        "control": control.id,
        "title": control.title,
        "severity": control.severity,
        "status": status,
        "evidence": verdict.evidence,
        "reason": reason,
        "why": control.why if told else None,
        "remedy": control.remedy if told else None,
        "playbook": control.playbook if told else None,
        "references": list(control.references),
        "source": control.source,
        "waiver": waiver,
        "pending": control.pending,
        "gauge": control.gauge,
    }


def _reason(control: Control, evidence: Mapping[str, Any]) -> str:
    if control.reason is None:
        told = ", ".join(f"{name} is {_said(value, name)}" for name, value in evidence.items())
        return f"not so: {control.title}{' (' + told + ')' if told else ''}"
    return _PLACE.sub(lambda match: _said(evidence.get(match[1]), match[1]), control.reason)


def _said(value: Any, name: str = "") -> str:
    """A value in a sentence; a number whose name ends in _bytes with its unit."""
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "true" if value else "false"
    if name.endswith("_bytes") and isinstance(value, (int, float)):
        size, unit = next((each for each in _UNITS if abs(value) >= each[0]), (1, "bytes"))
        return f"{value / size:.1f} {unit}" if size > 1 else f"{value} bytes"
    if isinstance(value, list):
        more = f" and {len(value) - _MAX_LISTED} more" if len(value) > _MAX_LISTED else ""
        return ", ".join(_said(each, name) for each in value[:_MAX_LISTED]) + more if value else "none"
    if isinstance(value, Mapping):
        return " ".join(f"{key} {_said(each, str(key))}" for key, each in value.items())
    return str(value)
