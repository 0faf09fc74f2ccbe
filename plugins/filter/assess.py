# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter ``bulwark.node.assess``; assess.yml documents it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.bulwark.node.plugins.plugin_utils.assess import FACTS_SCHEMA, assess, subject
from ansible_collections.bulwark.node.plugins.plugin_utils.baseline import load
from ansible_collections.bulwark.node.plugins.plugin_utils.plain import plain
from ansible_collections.bulwark.node.plugins.plugin_utils.text_only import text_only

__all__ = ["FilterModule"]


def _assess(
    facts: Any,
    baselines: Sequence[str] = ("auto",),
    params: Mapping[str, Any] | None = None,
    waivers: Sequence[Any] = (),
    name: str = "",
    groups: Sequence[str] = (),
) -> Any:
    try:
        known = plain(facts)
        if not isinstance(known, dict) or known.get("schema") != FACTS_SCHEMA:
            raise ValueError(
                f"was given no facts of schema {FACTS_SCHEMA}; expected ansible_facts.bulwark of bulwark.node.node_facts"
            )
        chosen = load(_names(plain(baselines)), os.getcwd())
        who = subject(plain(name), chosen, plain(groups), None, plain(params or {}), plain(waivers))
        return text_only(list(assess(known, who, datetime.now(timezone.utc).date())))
    except ValueError as exc:
        raise AnsibleFilterError(f"bulwark.node.assess: {exc}") from exc


def _names(baselines: Any) -> tuple[str, ...]:
    if not isinstance(baselines, list) or not all(isinstance(each, str) for each in baselines):
        raise ValueError(f"baselines: is {baselines!r}; expected a list of names and paths")
    return tuple(baselines)


class FilterModule:
    """Filters on what a node says of itself."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """By the names that users give them."""
        return {"assess": _assess}
