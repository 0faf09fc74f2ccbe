# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Label and field selectors as kube-apiserver reads them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["SelectorError", "fields", "labels", "matches"]

Test = Callable[[Mapping[str, Any]], bool]

_TOKEN = re.compile(r"\s*(==|!=|[=!(),]|[^\s=!(),]+)")
# Beside the name and namespace that each kind has (SelectableFields of its registry).
_FIELDS = {
    "Pod": {
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    },
    "Node": {"spec.unschedulable"},
    "Namespace": {"status.phase"},
}


class SelectorError(Exception):
    """The selector is refused; the text is the server's message."""


def fields(text: str, kind: str) -> Test:
    """A test of an object by ``a=b,c!=d``."""
    terms = []
    for term in filter(None, text.split(",")):
        name, sign, value = re.split(r"(!=|==|=)", term, maxsplit=1)
        if name not in _FIELDS.get(kind, set()) | {"metadata.name", "metadata.namespace"}:
            raise SelectorError(f"field label not supported: {name}")
        terms.append((name.split("."), sign != "!=", value))

    def value_at(item: Any, path: list[str]) -> str:
        for step in path:
            item = item.get(step, "") if isinstance(item, Mapping) else ""
        # NodeToSelectableFields of pkg/registry/core/node/strategy.go writes out what the object leaves out.
        item = bool(item) if path == ["spec", "unschedulable"] else item
        return str(item).lower() if isinstance(item, bool) else str(item)

    return lambda item: all((value_at(item, path) == value) is equal for path, equal, value in terms)


def labels(text: str) -> Test:
    """A test of an object's labels by ``a=b,c!=d,e in (f,g),h,!i``."""
    tokens = _TOKEN.findall(text)
    requirements: list[Test] = []
    while tokens:
        requirements.append(_requirement(tokens))
        if tokens and tokens.pop(0) != ",":
            raise SelectorError("unable to parse requirement: found trailing text, expected: ',' or 'end of string'")
    return lambda item: all(test(item.get("metadata", {}).get("labels") or {}) for test in requirements)


def _requirement(tokens: list[str]) -> Test:
    if tokens[0] == "!":
        tokens.pop(0)
        absent = _word(tokens)
        return lambda have: absent not in have
    key = _word(tokens)
    if not tokens or tokens[0] == ",":
        return lambda have: key in have
    operator = tokens.pop(0)
    if operator in ("in", "notin"):
        values = _values(tokens)
        return lambda have: (have.get(key) in values) is (operator == "in")
    if operator not in ("=", "==", "!="):
        raise SelectorError(f"unable to parse requirement: found '{operator}', expected: in, notin, =, ==, !=, gt, lt")
    value = "" if not tokens or tokens[0] == "," else _word(tokens)
    return lambda have: (have.get(key) == value) is (operator != "!=")


def _word(tokens: list[str]) -> str:
    word = tokens.pop(0) if tokens else ""
    if word in ("", "=", "==", "!=", "!", "(", ")", ","):
        raise SelectorError(f"unable to parse requirement: found '{word}', expected: identifier")
    return word


def _values(tokens: list[str]) -> set[str]:
    if not tokens or tokens.pop(0) != "(":
        raise SelectorError("unable to parse requirement: found no '(', expected: '('")
    values = set()
    while tokens and (token := tokens.pop(0)) != ")":
        if token != ",":
            values.add(token)
    return values


def matches(selector: Mapping[str, Any], have: Mapping[str, str]) -> bool:
    """Whether a LabelSelector (``matchLabels``, ``matchExpressions``) takes these labels; an empty one takes all."""
    if any(have.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    tests: dict[str, Callable[[str, list[str]], bool]] = {
        "In": lambda key, values: have.get(key) in values,
        "NotIn": lambda key, values: have.get(key) not in values,
        "Exists": lambda key, values: key in have,
        "DoesNotExist": lambda key, values: key not in have,
    }
    return all(
        tests[term["operator"]](term["key"], term.get("values") or [])
        for term in selector.get("matchExpressions") or []
    )
