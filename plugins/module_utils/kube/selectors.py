# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Label selectors, as the API's objects have them and as people write them for kubectl.

https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Callable

from ansible_collections.bulwark.node.plugins.module_utils.errors import OptionError

__all__ = ["matches", "parse"]

Selector = Mapping[str, Any]

_KEY = r"[A-Za-z0-9](?:[-A-Za-z0-9_./]*[A-Za-z0-9])?"
_VALUE = r"[-A-Za-z0-9_.]*"
_TERM = re.compile(
    rf"\s*(?:(?P<absent>!)\s*(?P<no>{_KEY})"
    rf"|(?P<set>{_KEY})\s+(?P<how>in|notin)\s*\((?P<values>[^()]*)\)"
    rf"|(?P<key>{_KEY})\s*(?:(?P<sign>==|=|!=)\s*(?P<value>{_VALUE}))?)\s*(?:,|$)"
)
_TESTS: Mapping[str, Callable[[str | None, list[str]], bool]] = {
    "In": lambda value, values: value in values,
    "NotIn": lambda value, values: value not in values,
    "Exists": lambda value, values: value is not None,
    "DoesNotExist": lambda value, values: value is None,
}


def matches(selector: Selector | None, labels: Mapping[str, str] | None) -> bool:
    """Whether a LabelSelector takes these labels: {} takes all, None takes none, and so does what is no selector."""
    if selector is None:
        return False
    have = labels or {}
    if any(have.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(
        term.get("operator") in _TESTS and _TESTS[term["operator"]](have.get(term["key"]), term.get("values") or [])
        for term in selector.get("matchExpressions") or ()
    )


def parse(option: str, text: str) -> Selector:
    """The LabelSelector of ``a=b,c!=d,e in (f,g),h,!i``; an empty text takes all. Raises OptionError."""
    terms: list[dict[str, Any]] = []
    at = 0
    while at < len(text.rstrip()):
        found = _TERM.match(text, at)
        if not found:
            raise OptionError(option, text, "a label selector such as app=web,tier!=cache,env in (a,b),canary,!legacy")
        terms.append(_term(found))
        at = found.end()
    return {"matchExpressions": terms}


def _term(found: re.Match[str]) -> dict[str, Any]:
    if found["absent"]:
        return {"key": found["no"], "operator": "DoesNotExist"}
    if found["set"]:
        values = [value.strip() for value in found["values"].split(",")]
        return {"key": found["set"], "operator": "In" if found["how"] == "in" else "NotIn", "values": values}
    if not found["sign"]:
        return {"key": found["key"], "operator": "Exists"}
    return {"key": found["key"], "operator": "NotIn" if found["sign"] == "!=" else "In", "values": [found["value"]]}
