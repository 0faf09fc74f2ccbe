# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Baselines: files of controls, ours in ``roles/audit/files/baselines`` and those that users add. docs/baselines.md has their form."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import yaml
from ansible.module_utils.basic import missing_required_lib

from ansible_collections.bulwark.node.plugins.module_utils.node.subsets import SUBSETS
from ansible_collections.bulwark.node.plugins.plugin_utils.expressions import (
    HAS_JMESPATH,
    ROOTS,
    Expression,
    ExpressionError,
    names,
)
from ansible_collections.bulwark.node.plugins.plugin_utils.findings import SEVERITIES, Severity
from ansible_collections.bulwark.node.plugins.plugin_utils.plain import PlainError, plain

__all__ = ["AUTO", "OURS", "Baseline", "BaselineError", "Baselines", "Control", "load"]

AUTO = "auto"
"""Instead of a name: those of ours that the facts of a host ask for."""
OURS = os.path.join(os.path.dirname(__file__), "..", "..", "roles", "audit", "files", "baselines")

_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_NAME = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*")
_PLACE = re.compile(r"\{([^{}]*)\}")
_MAX_SIZE = 1 << 20

_TEXTS = ("title", "why", "applies_to", "reason", "remedy", "playbook")
_EXPRESSIONS = ("when", "expect", "evidence", "value")
_CONTROL = {"title", "why", "severity", "expect", "evidence", "remedy", "references"}
_FLEET = {"title", "why", "severity", "value", "remedy", "references"}
_OPTIONAL = {"id", "when", "applies_to", "reason", "playbook", "pending", "gauge"}
_FACTS = ("schema", "gathered_at", "errors", *SUBSETS)
_KEYS = {"title", "includes", "detect", "params", "controls", "fleet"}


class BaselineError(ValueError):
    """A baseline, or an option about baselines, is not as it must be; the message names the file, the control and the key."""


@dataclass(frozen=True)
class Control:
    """One rule. ``id`` is permanent: waivers and dashboards hold on to it. ``title`` says what is so on a good node.

    ``expect`` judges a host by itself, ``value`` (of a fleet control) must be alike on all hosts of a pool; one is None.
    """

    id: str
    title: str
    why: str
    severity: Severity
    remedy: str
    references: tuple[str, ...]
    source: str
    when: Expression | None = None
    expect: Expression | None = None
    evidence: Expression | None = None
    value: Expression | None = None
    applies_to: str | None = None
    reason: str | None = None
    playbook: str | None = None
    pending: bool = False
    """Whether what fails waits for a restart or a reboot that our modules ask for: no run is stopped for it."""
    gauge: bool = False
    """Whether it tells how busy or full the machine is, which none of our modules changes: no run is stopped for it."""


@dataclass(frozen=True)
class Param:
    """What users tune: its default, and the bounds of a number, None where there is none."""

    default: Any
    min: float | None = None
    max: float | None = None


@dataclass(frozen=True)
class Baseline:
    """A file. ``params`` are what users tune; ``detect`` says whether it is for a host, None always."""

    name: str
    title: str
    includes: tuple[str, ...] = ()
    detect: Expression | None = None
    params: Mapping[str, Param] = field(default_factory=dict)
    controls: tuple[Control, ...] = ()


@dataclass(frozen=True)
class Baselines:
    """Those of a run: ``named`` are taken for each host, ``detected`` where its facts ask for them. ``known`` are these.

    ``every`` are all of ours beside: one variable of all hosts may tune and waive what not every host is judged by.
    """

    named: tuple[str, ...]
    detected: tuple[str, ...]
    known: Mapping[str, Baseline]
    every: Mapping[str, Baseline]

    @property
    def params(self) -> dict[str, Param]:
        """All that can be tuned."""
        return {name: param for baseline in self.every.values() for name, param in baseline.params.items()}

    @property
    def ids(self) -> frozenset[str]:
        """All controls that can be waived."""
        return frozenset(control.id for baseline in self.every.values() for control in baseline.controls)

    def controls(self, facts: Any, params: Any, host: Any) -> tuple[Control, ...]:
        """What one host is judged by. A baseline that may be meant, as its facts do not tell, is taken."""
        asked = [
            name
            for name in self.detected
            if (detect := self.known[name].detect) is None or detect.ask(facts, params, host).value is not False
        ]
        chosen = dict.fromkeys(name for first in (*self.named, *asked) for name in self._with_included(first))
        return tuple(control for name in self.known if name in chosen for control in self.known[name].controls)

    def _with_included(self, name: str) -> Iterator[str]:
        yield name
        for each in self.known[name].includes:
            yield from self._with_included(each)


@functools.lru_cache(maxsize=32)
def load(entries: tuple[str, ...], folder: str) -> Baselines:
    """The baselines of ``audit_baselines``: names of ours, ``auto``, and paths of files, relative ones below ``folder``.

    A file's control whose id is known changes only the keys that it has; any other is a new one. Raises BaselineError.
    """
    if not HAS_JMESPATH:
        raise BaselineError(missing_required_lib("jmespath", reason="to judge facts"))
    ours = _ours()
    files = [entry for entry in entries if _is_path(entry)]
    for entry in entries:
        if entry != AUTO and entry not in ours and entry not in files:
            raise BaselineError(
                f"baselines: has {entry!r}; expected {AUTO}, one of {', '.join(ours)}, or the path of a file that ends in .yml"
            )
    named = [entry for entry in entries if entry in ours]
    detected = list(ours) if AUTO in entries else []
    known = {name: ours[name] for name in ours if AUTO in entries or name in _closure(named, ours)}
    for entry in files:
        path = os.path.join(folder, entry)
        text = _text(path)
        # What goes with it can be changed in it.
        included = _closure(map(str, _list(path, "includes", text.get("includes"))), ours)
        known.update((name, ours[name]) for name in ours if name in included and name not in known)
        every = {**ours, **known}
        tunable = {*_params(path, text), *(name for baseline in every.values() for name in baseline.params)}
        overriding, own = _read(path, path, text, known, tunable)
        known = {name: _overridden(baseline, overriding) for name, baseline in known.items()}
        # Two files of one name are two baselines.
        known[path] = own
        (detected if own.detect else named).append(path)
    return Baselines(tuple(named), tuple(detected), known, {**ours, **known})


@functools.lru_cache(maxsize=1)
def _ours() -> dict[str, Baseline]:
    # What goes with others comes first.
    texts = {stem: _text(_path(stem)) for stem in sorted(_stems(), key=lambda stem: (stem != "common", stem))}
    tunable = {name for stem, text in texts.items() for name in _params(_path(stem), text)}
    return {stem: _read(_path(stem), f"bulwark.node/{stem}", text, {}, tunable)[1] for stem, text in texts.items()}


def _path(stem: str) -> str:
    return os.path.join(OURS, f"{stem}.yml")


def _is_path(entry: str) -> bool:
    return os.sep in entry or entry.endswith((".yml", ".yaml"))


def _closure(entries: Iterable[str], ours: Mapping[str, Baseline]) -> set[str]:
    found: set[str] = set()
    left = list(entries)
    while left:
        name = left.pop()
        if name not in found and name in ours:
            found.add(name)
            left += ours[name].includes
    return found


def _overridden(baseline: Baseline, overriding: Mapping[str, Mapping[str, Any]]) -> Baseline:
    return replace(
        baseline,
        controls=tuple(replace(control, **overriding.get(control.id, {})) for control in baseline.controls),
    )


def _read(
    path: str, source: str, text: Mapping[str, Any], known: Mapping[str, Baseline], tunable: Collection[str]
) -> tuple[dict[str, dict[str, Any]], Baseline]:
    """What a file changes of controls that are known, by their ids, and the baseline that it is itself."""
    name = os.path.basename(path).rpartition(".")[0]
    _keys(path, text, _KEYS)
    taken = {control.id: control for baseline in known.values() for control in baseline.controls}
    overriding: dict[str, dict[str, Any]] = {}
    own: dict[str, Control] = {}
    for section, needed in (("controls", _CONTROL), ("fleet", _FLEET)):
        for index, row in enumerate(_list(path, section, text.get(section))):
            where = f"{path}: {section}[{index}]"
            fields = _fields(where, row, needed, tunable)
            identity = fields.pop("id")
            where = f"{where} ({identity})"
            if identity in own or identity in overriding:
                raise BaselineError(f"{where}: the file has this id twice")
            if identity in taken:
                if (taken[identity].value is None) != (section == "controls"):
                    raise BaselineError(
                        f"{where}: belongs to {'controls' if taken[identity].value is None else 'fleet'}"
                    )
                _places(where, replace(taken[identity], **fields))
                overriding[identity] = fields
                continue
            missing = sorted(needed - set(fields))
            if missing:
                raise BaselineError(
                    f"{where}: has no {', '.join(missing)}; only a control that is known may leave keys out"
                )
            own[identity] = _places(where, Control(id=identity, source=source, **fields))
    includes = tuple(_list(path, "includes", text.get("includes")))
    for include in includes:
        if include not in _stems():
            raise BaselineError(f"{path}: includes: has {include!r}; expected one of {', '.join(_stems())}")
    detect = _expression(f"{path}: detect", text["detect"], tunable) if "detect" in text else None
    title = str(text.get("title") or name)
    return overriding, Baseline(name, title, includes, detect, _params(path, text), tuple(own.values()))


def _stems() -> list[str]:
    return sorted(name[: -len(".yml")] for name in os.listdir(OURS) if name.endswith(".yml"))


def _text(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as stream:
            content = stream.read(_MAX_SIZE + 1)
    except OSError as exc:
        raise BaselineError(f"{path}: cannot be read: {exc.strerror}; expected a file with controls") from exc
    if len(content) > _MAX_SIZE:
        raise BaselineError(f"{path}: is larger than {_MAX_SIZE >> 20} MiB; expected a file with controls")
    try:
        # The C loader, where there is one, reads our files in a tenth of the time.
        text = yaml.load(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        mark = getattr(exc, "problem_mark", None)
        at = f"line {mark.line + 1}, column {mark.column + 1}: {getattr(exc, 'problem', '')}" if mark else str(exc)
        raise BaselineError(f"{path}: is no YAML: {at}") from exc
    if not isinstance(text, dict):
        raise BaselineError(f"{path}: is {_kind(text)}; expected a dictionary with controls")
    return text


def _params(path: str, text: Mapping[str, Any]) -> dict[str, Param]:
    return {name: _param(path, name, value) for name, value in _mapping(path, "params", text.get("params")).items()}


def _param(path: str, name: Any, value: Any) -> Param:
    where = f"{path}: params: {name}"
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BaselineError(f"{where}: is no name; expected lower case letters, digits and _")
    if not isinstance(value, dict) or "default" not in value:
        raise BaselineError(f"{where}: is {_kind(value)}; expected a dictionary with default and description")
    _keys(where, value, {"default", "description", "min", "max"})
    for key in ("min", "max"):
        if key in value and (not isinstance(value[key], (int, float)) or isinstance(value[key], bool)):
            raise BaselineError(f"{where}: {key}: is {_kind(value[key])}; expected a number")
    try:
        return Param(plain(value["default"]), value.get("min"), value.get("max"))
    except PlainError as exc:
        raise BaselineError(f"{where}: default: {exc}") from exc


def _fields(where: str, row: Any, needed: set[str], tunable: Collection[str]) -> dict[str, Any]:
    """The keys that a control has, each checked by itself."""
    if not isinstance(row, dict):
        raise BaselineError(f"{where}: is {_kind(row)}; expected a dictionary")
    identity = row.get("id")
    if not isinstance(identity, str) or not _ID.fullmatch(identity):
        raise BaselineError(f"{where}: id: is {identity!r}; expected lower case letters, digits and single hyphens")
    where = f"{where} ({identity})"
    _keys(where, row, needed | _OPTIONAL)
    fields: dict[str, Any] = {}
    for key, value in row.items():
        at = f"{where}: {key}"
        if key in _EXPRESSIONS:
            fields[key] = _expression(at, value, tunable)
        elif key in _TEXTS or key == "id":
            fields[key] = _sentence(at, value)
        elif key in ("pending", "gauge"):
            if not isinstance(value, bool):
                raise BaselineError(f"{at}: is {_kind(value)}; expected true or false")
            fields[key] = value
        elif key == "severity":
            if value not in SEVERITIES:
                raise BaselineError(f"{at}: is {value!r}; expected one of {', '.join(SEVERITIES)}")
            fields[key] = value
        else:
            fields[key] = tuple(_sentence(f"{at}[{i}]", each) for i, each in enumerate(_list(where, key, value)))
    return fields


def _places(where: str, control: Control) -> Control:
    """The control, whose reason names nothing that its evidence has not."""
    if control.evidence is not None:
        if control.evidence.tree["type"] != "multi_select_dict":
            raise BaselineError(f"{where}: evidence: is {control.evidence.text!r}; expected {{name: expression, ...}}")
        told = [pair["value"] for pair in control.evidence.tree["children"]]
        for name in _PLACE.findall(control.reason or ""):
            if name not in told:
                raise BaselineError(
                    f"{where}: reason: names {{{name}}}; expected one of its evidence: {', '.join(told)}"
                )
    return control


def _expression(where: str, value: Any, tunable: Collection[str]) -> Expression:
    text = _sentence(where, value)
    try:
        made = Expression(text)
    except ExpressionError as exc:
        raise BaselineError(f"{where}: {exc}: {text!r}") from exc
    strangers = sorted(_strangers(made.tree))
    if strangers:
        raise BaselineError(f"{where}: reads {strangers[0]}: {text!r}; a path begins with {', '.join(ROOTS)}")
    for name in names(made.tree, "facts"):
        if name not in _FACTS:
            raise BaselineError(f"{where}: reads facts.{name}: {text!r}; expected one of {', '.join(_FACTS)}")
    for name in names(made.tree, "params"):
        if name not in tunable:
            raise BaselineError(f"{where}: reads params.{name}: {text!r}; no baseline has a parameter of that name")
    return made


def _strangers(node: dict[str, Any]) -> Iterator[str]:
    """What a path begins with outside of a row, and is no root."""
    kind, children = node["type"], [child for child in node.get("children", []) if isinstance(child, dict)]
    if kind == "field":
        yield str(node["value"])
    # All but the first of these reads of what the first gave.
    inner = kind in ("subexpression", "index_expression", "pipe", "projection", "value_projection", "filter_projection")
    for child in children[:1] if inner else [] if kind == "expref" else children:
        yield from _strangers(child)


def _sentence(where: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise BaselineError(f"{where}: is {_kind(value)}; expected a text")
    return value.strip()


def _keys(where: str, row: Mapping[Any, Any], known: Iterable[str]) -> None:
    for key in row:
        if key not in known:
            raise BaselineError(f"{where}: has the key {key!r}; expected some of {', '.join(sorted(known))}")


def _list(where: str, key: str, value: Any) -> Sequence[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise BaselineError(f"{where}: {key}: is {_kind(value)}; expected a list")
    return value


def _mapping(where: str, key: str, value: Any) -> Mapping[Any, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BaselineError(f"{where}: {key}: is {_kind(value)}; expected a dictionary")
    return value


def _kind(value: Any) -> str:
    kinds = {dict: "a dictionary", list: "a list", type(None): "empty", bool: "true or false"}
    return kinds.get(type(value)) or ("an empty text" if value == "" else repr(value))
