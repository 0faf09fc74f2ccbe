# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Label selectors, judged here, so that objects are asked for once whatever the number of selectors.

Both spellings, by apimachinery's rules (its pkg/labels/selector.go and pkg/apis/meta/v1/helpers.go): the text of
``kubectl -l`` and the LabelSelector of an object.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.errors import OptionError
from ansible_collections.bulwark.node.plugins.module_utils.kube.objects import field_of, mappings, text

__all__ = ["Requirement", "Selector", "of_object", "parse"]

_NAME = r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_DOMAIN = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*"
_KEY = re.compile(rf"(?:(?=[^/]{{1,253}}/){_DOMAIN}/)?{_NAME}", re.ASCII)
_VALUE = re.compile(rf"(?:{_NAME})?", re.ASCII)
_TOKEN = re.compile(r"\s*(==|!=|[=!(),<>]|[^\s=!(),<>]+)")
_SIGNS = {"=": "In", "==": "In", "!=": "NotIn", "<": "Lt", ">": "Gt"}
_EXPECTED = "a label selector such as app=web,tier!=test,env in (a,b),!beta"


@dataclass(frozen=True)
class Requirement:
    """One term. What it is not told to know (an operator of a newer release) matches, as nothing must be overlooked."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether labels meet it; a label that is not there meets ``NotIn`` too."""
        value = labels.get(self.key)
        if self.operator == "In":
            return value in self.values
        if self.operator == "NotIn":
            return value not in self.values
        if self.operator == "Exists":
            return value is not None
        if self.operator == "DoesNotExist":
            return value is None
        if self.operator in ("Lt", "Gt"):
            return self._compares(value)
        return True

    def _compares(self, value: str | None) -> bool:
        numbers = [value or "", *self.values]
        # Not int() alone, which takes 1_000 too.
        if not all(each.isascii() and each.isdecimal() for each in numbers):
            return False
        have, bound = map(int, numbers)
        return have < bound if self.operator == "Lt" else have > bound


@dataclass(frozen=True)
class Selector:
    """All of its requirements have to be met; without any it takes everything. ``text`` is how it was written, in one line."""

    requirements: tuple[Requirement, ...]
    text: str = ""

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether it takes an object with these labels."""
        return all(each.matches(labels) for each in self.requirements)


def parse(option: str, selector: str) -> Selector:
    """A selector as ``kubectl -l`` takes it. Raises OptionError."""
    tokens = _TOKEN.findall(selector)
    if "".join(tokens) != "".join(selector.split()):
        raise OptionError(option, selector, _EXPECTED)
    requirements: list[Requirement] = []
    try:
        while tokens:
            requirements.append(_requirement(tokens))
            if tokens and (tokens.pop(0) != "," or not tokens):
                raise _BadSelectorError
    except (_BadSelectorError, IndexError):
        raise OptionError(option, selector, _EXPECTED) from None
    return Selector(tuple(requirements), " ".join(selector.split()))


def of_object(selector: Any) -> Selector:
    """A LabelSelector as an object has it (``matchLabels``, ``matchExpressions``)."""
    equal = field_of(selector, "matchLabels")
    terms = [
        Requirement(key, "In", frozenset({value}))
        for key, value in (equal.items() if isinstance(equal, Mapping) else ())
        if isinstance(value, str)
    ]
    for term in mappings(selector, "matchExpressions"):
        values = field_of(term, "values")
        strings = (
            frozenset(each for each in values if isinstance(each, str)) if isinstance(values, list) else frozenset()
        )
        terms.append(Requirement(text(term, "key"), text(term, "operator"), strings))
    return Selector(tuple(terms))


class _BadSelectorError(Exception):
    """The text is no selector."""


def _requirement(tokens: list[str]) -> Requirement:
    if tokens[0] == "!":
        tokens.pop(0)
        return Requirement(_word(tokens, _KEY), "DoesNotExist")
    key = _word(tokens, _KEY)
    if not tokens or tokens[0] == ",":
        return Requirement(key, "Exists")
    sign = tokens.pop(0)
    if sign in ("in", "notin"):
        return Requirement(key, "In" if sign == "in" else "NotIn", _values(tokens))
    if sign not in _SIGNS:
        raise _BadSelectorError
    value = "" if not tokens or tokens[0] == "," else _word(tokens, _VALUE)
    if sign in ("<", ">") and not value.isdecimal():
        raise _BadSelectorError
    return Requirement(key, _SIGNS[sign], frozenset({value}))


def _values(tokens: list[str]) -> frozenset[str]:
    """``(a,b)``; nothing before a comma is the empty value."""
    if tokens.pop(0) != "(":
        raise _BadSelectorError
    values: set[str] = set()
    while True:
        values.add("" if tokens[0] in (",", ")") else _word(tokens, _VALUE))
        following = tokens.pop(0)
        if following == ")":
            return frozenset(values)
        if following != ",":
            raise _BadSelectorError


def _word(tokens: list[str], form: re.Pattern[str]) -> str:
    word = tokens.pop(0)
    if not form.fullmatch(word):
        raise _BadSelectorError
    return word
