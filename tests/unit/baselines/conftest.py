# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cases for the controls of our baselines: ``<baseline>.yml`` beside this file, one row for each control.

A row has ``control``, and beside it patches of the facts of docs/schemas.md: ``pass``, ``fail`` with the ``reason`` as it is
shown, ``unknown``, and ``not_applicable`` where the control has a ``when``; ``params`` where it takes
other ones, which ``not_applicable`` has not. A patch is
{path: value}; a path's key that has dots is in double quotes: ``sysctls."net.ipv4.ip_forward"``, ``image_fs[0].current``.
Of a fleet control two hosts have ``pass``, a third one of the same pool ``fail``, and a fourth one ``unknown``.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.bulwark.node.plugins.plugin_utils import assess, baseline
from ansible_collections.bulwark.node.plugins.plugin_utils.assess import Subject
from ansible_collections.bulwark.node.plugins.plugin_utils.baseline import Baseline, Control
from ansible_collections.bulwark.node.plugins.plugin_utils.findings import Finding

ROOT = Path(__file__).parents[3]
FOLDER = Path(__file__).parent
TODAY = date(2026, 11, 21)
KINDS = ("pass", "fail", "unknown")
_STEP = re.compile(r'"([^"]+)"|\[([0-9]+)\]|([^."\[\]]+)')


def names() -> list[str]:
    """Our baselines."""
    return sorted(path.stem for path in Path(baseline.OURS).glob("*.yml"))


def of(name: str) -> Baseline:
    return baseline.load((name,), "").known[name]


def controls() -> list[tuple[str, Control]]:
    """(baseline, control) of all."""
    return [(name, control) for name in names() for control in of(name).controls]


def cases(name: str) -> list[dict[str, Any]]:
    """The rows of one baseline; none where there is no file."""
    path = FOLDER / f"{name}.yml"
    rows: list[dict[str, Any]] = (yaml.safe_load(path.read_text(encoding="utf-8")) or []) if path.exists() else []
    return rows


def example() -> dict[str, Any]:
    """The facts of docs/schemas.md, of a node that could be read as a whole."""
    text = (ROOT / "docs" / "schemas.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- example: facts -->\n```json\n(.*?)```", text, re.DOTALL)
    assert found
    facts: dict[str, Any] = {**json.loads(found.group(1)), "errors": []}
    return facts


def patched(patch: Mapping[str, Any] | None) -> dict[str, Any]:
    """The example with other values. Each path must lead to what is there: a typo is no patch."""
    facts = example()
    for path, value in (patch or {}).items():
        *above, last = [_key(match) for match in _STEP.finditer(path)]
        target: Any = facts
        for step in above:
            assert isinstance(target, (dict, list)), f"{path}: {step} is below what is no object"
            target = target[step]
        assert isinstance(target, list) or last in target, f"{path}: the example in docs/schemas.md has no {last}"
        target[last] = copy.deepcopy(value)
    return facts


def judged(
    name: str, control: str, patch: Mapping[str, Any] | None, params: Mapping[str, Any] | None = None
) -> Finding:
    """What a control of a baseline says of the patched facts."""
    found = assess.assess(patched(patch), _subject(name, params), TODAY)
    return next(finding for finding in found if finding["control"] == control)


def judged_pool(
    name: str, control: str, patches: Mapping[str, Any], params: Mapping[str, Any] | None = None
) -> dict[str, Finding]:
    """What a fleet control says of each host of a pool, by the host's name."""
    hosts = {host: (patched(patch), _subject(name, params)) for host, patch in patches.items()}
    found = assess.assess_fleet(hosts, TODAY)
    return {host: next(each for each in rows if each["control"] == control) for host, rows in found.items()}


def _subject(name: str, params: Mapping[str, Any] | None) -> Subject:
    return assess.subject("node1", baseline.load((name,), ""), groups=["workers"], params=params)


def _key(match: re.Match[str]) -> Any:
    quoted, index, plain = match.groups()
    return int(index) if index is not None else quoted or plain
