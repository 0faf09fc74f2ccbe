# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of YAML that configuration files of nodes are written in. What is not understood is refused, never guessed.

A node's Python has no YAML library for sure. This reads block mappings and sequences, flow collections on one line, plain and
quoted scalars, comments, and JSON. It refuses anchors and aliases, tags, block scalars, merge keys, several documents,
a key given twice, and plain scalars that YAML 1.1 and 1.2 take for different things (``0x1f``, ``12:30``, ``1e3``).
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

__all__ = ["parse"]

_MAX_DEPTH = 20
# Also what ends a line to some readers only.
_UNPRINTABLE = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_KEY = re.compile(r"""([A-Za-z_][\w./+-]*|"(?:[^"\\]|\\.)*"|'(?:[^']|'')*')\s*:(?:\s+|$)""", re.ASCII)
_QUOTED = re.compile(r""""(?:[^"\\]|\\.)*"|'(?:[^']|'')*'""")
_PLAIN = re.compile(r"(?:[^\s,\[\]{}#&*!|>'\"%@`?:-]|[-:](?=[^\s,\[\]{}]))(?:[^\s:#]|:(?=\S)|(?<=\S)#|[ ]+(?![\s#]))*")
_FLOW_PLAIN = re.compile(
    r"(?:[^\s,\[\]{}#&*!|>'\"%@`?:-]|-(?=[^\s,\[\]{}]))(?:[^\s,\[\]{}:#?]|:(?=[^\s,\[\]{}])|(?<=\S)#|[ ]+(?![\s#,\]}:]))*"
)
_FLOW_KEY = re.compile(r"""([A-Za-z_][\w./+-]*|"(?:[^"\\]|\\.)*"|'(?:[^']|'')*')\s*:\s+""", re.ASCII)
_BOOLEANS = {
    **dict.fromkeys(("true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"), True),
    **dict.fromkeys(("false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"), False),
}
_NULLS = ("~", "null", "Null", "NULL")
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})", re.ASCII)
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]{0,14})\.[0-9]{1,15}", re.ASCII)
# A number, a date or a time of day to one version of YAML or another, or to no other reader what it is to this one.
_AMBIGUOUS = re.compile(
    r"[-+]?0[xXoObB][0-9a-fA-F_]+"
    r"|[-+]?(?:[0-9][0-9_]*)?\.?[0-9_]*(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?[0-9][0-9_]*(?::[0-9]{1,2})+(?:\.[0-9_]*)?"
    r"|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt ].*)?"
    r"|[-+]?\.(?:inf|Inf|INF|nan|NaN|NAN)|[yYnN=]",
    re.ASCII,
)


class _Line:
    """A line that is neither empty nor a comment."""

    __slots__ = ("indent", "number", "text")

    def __init__(self, number: int, indent: int, text: str) -> None:
        self.number, self.indent, self.text = number, indent, text


def parse(text: str) -> Any:
    """The plain value that a text stands for: dict, list, str, int, float, bool or None. Raises ValueError with the line."""
    text = text.replace("\r\n", "\n")
    if _UNPRINTABLE.search(text):
        raise ValueError("holds control characters")
    if text.lstrip().startswith("{"):
        return _json(text)
    reader = _Reader(_lines(text))
    if not reader.lines:
        return None
    value = reader.block(reader.lines[0].indent, 0)
    if reader.at < len(reader.lines):
        reader.refuse("is indented otherwise than what it belongs to")
    return value


def _lines(text: str) -> list[_Line]:
    found: list[_Line] = []
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip(" ")
        if not stripped or stripped.startswith("#"):
            continue
        if "\t" in line:
            raise ValueError(f"line {number}: holds a tab")
        if re.fullmatch(r"---(?:\s+#.*)?", line.rstrip()) and not found:
            continue
        if re.match(r"(?:---|\.\.\.)(?:\s|$)|%", line):
            raise ValueError(f"line {number}: directives and several documents are not read")
        found.append(_Line(number, len(line) - len(line.lstrip(" ")), stripped))
    return found


class _Reader:
    """The lines, and the one that is read next."""

    def __init__(self, lines: list[_Line]) -> None:
        self.lines, self.at = lines, 0

    def refuse(self, what: str, at: int | None = None) -> NoReturn:
        # Without the line itself: it may hold a secret.
        line = self.lines[min(self.at if at is None else at, len(self.lines) - 1)]
        raise ValueError(f"line {line.number}: {what}")

    def block(self, indent: int, depth: int) -> Any:
        """The collection, or the lone scalar, whose lines begin at that column."""
        if depth > _MAX_DEPTH:
            self.refuse("is nested too deep")
        line = self.lines[self.at]
        if _is_item(line.text):
            return self._sequence(indent, depth)
        if _KEY.match(line.text):
            return self._mapping(indent, depth)
        self.at += 1
        return self._scalar(line.text, self.at - 1)

    def _next(self, indent: int) -> _Line | None:
        """The line that goes on with a collection at that column."""
        if self.at < len(self.lines) and self.lines[self.at].indent == indent:
            return self.lines[self.at]
        return None

    def _mapping(self, indent: int, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while (line := self._next(indent)) and not _is_item(line.text):
            match = _KEY.match(line.text)
            if match is None:
                self.refuse("is no key with a value")
            key = self._key(match.group(1))
            if key in found:
                self.refuse("gives a key a second time")
            found[key] = self._value(line.text[match.end() :], indent, depth, same_column=True)
        return found

    def _sequence(self, indent: int, depth: int) -> list[Any]:
        found: list[Any] = []
        while (line := self._next(indent)) and _is_item(line.text):
            rest = line.text[1:].lstrip(" ")
            if rest and (_is_item(rest) or _KEY.match(rest)):
                # A collection that begins on the dash's own line.
                line.indent, line.text = indent + len(line.text) - len(rest), rest
                found.append(self.block(line.indent, depth + 1))
            else:
                found.append(self._value(rest, indent, depth, same_column=False))
        return found

    def _value(self, rest: str, indent: int, depth: int, same_column: bool) -> Any:
        """What stands behind a key or a dash, or in the lines below; a sequence may stand at its key's own column."""
        self.at += 1
        if rest and not rest.startswith("#"):
            return self._scalar(rest, self.at - 1)
        if self.at < len(self.lines):
            below = self.lines[self.at]
            if below.indent > indent or (same_column and below.indent == indent and _is_item(below.text)):
                return self.block(below.indent, depth + 1)
        return None

    def _key(self, text: str) -> str:
        key = _unquoted(text) if text[0] in "\"'" else _resolved(text)
        if not isinstance(key, str):
            self.refuse("is no string as a key")
        return key

    def _scalar(self, text: str, at: int) -> Any:
        try:
            value, end = _flow(text, 0, 0) if text[0] in "[{" else _lone(text)
        except ValueError as error:
            self.refuse(str(error), at)
        if not re.fullmatch(r"\s*(?:(?<=\s)#.*)?", text[end:]):
            self.refuse("is not understood", at)
        if self.at < len(self.lines) and self.lines[self.at].indent > self.lines[at].indent:
            self.refuse("goes on below a value", at)
        return value


def _is_item(text: str) -> bool:
    return text == "-" or text.startswith("- ")


def _lone(text: str) -> tuple[Any, int]:
    """A scalar in block context, and where it ends."""
    if text[0] in "\"'":
        match = _QUOTED.match(text)
        if match:
            return _unquoted(match.group()), match.end()
    else:
        match = _PLAIN.match(text)
        if match:
            return _resolved(match.group()), match.end()
    raise ValueError("is not understood")


def _flow(text: str, at: int, depth: int) -> tuple[Any, int]:
    """A value in flow context that begins at a position, and where it ends."""
    if depth > _MAX_DEPTH:
        raise ValueError("is nested too deep")
    if text[at : at + 1] in ("[", "{"):
        return _flow_collection(text, at, depth)
    pattern = _QUOTED if text[at : at + 1] in ('"', "'") else _FLOW_PLAIN
    match = pattern.match(text, at)
    if match is None:
        raise ValueError("is not understood")
    plain = match.group()
    return (_unquoted(plain) if pattern is _QUOTED else _resolved(plain)), match.end()


def _flow_collection(text: str, at: int, depth: int) -> tuple[Any, int]:
    mapping = text[at] == "{"
    items: list[Any] = []
    pairs: dict[str, Any] = {}
    at = _skip(text, at + 1)
    while text[at : at + 1] not in ("]", "}"):
        if mapping:
            match = _FLOW_KEY.match(text, at)
            key = match and (_unquoted(match[1]) if match[1][0] in "\"'" else _resolved(match[1]))
            if match is None or not isinstance(key, str) or key in pairs:
                raise ValueError("is not understood")
            pairs[key], at = _flow(text, match.end(), depth + 1)
        else:
            value, at = _flow(text, at, depth + 1)
            items.append(value)
        at = _skip(text, at)
        if text[at : at + 1] == ",":
            at = _skip(text, at + 1)
        elif text[at : at + 1] not in ("]", "}"):
            raise ValueError("is not understood, or does not end on its line")
    if text[at] != ("}" if mapping else "]"):
        raise ValueError("is not understood")
    return (pairs if mapping else items), at + 1


def _skip(text: str, at: int) -> int:
    while text[at : at + 1] == " ":
        at += 1
    return at


def _unquoted(text: str) -> str:
    if text[0] == "'":
        return text[1:-1].replace("''", "'")
    try:
        # JSON's escapes mean the same in YAML; YAML's others are refused.
        return str(json.loads(text))
    except ValueError:
        raise ValueError("holds an escape that is not read") from None


def _resolved(text: str) -> Any:
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if text in _NULLS:
        return None
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _AMBIGUOUS.fullmatch(text):
        raise ValueError("is a string to some readers and a number to others")
    return text


def _json(text: str) -> Any:
    def integer(digits: str) -> int:
        if len(digits) > 19:
            raise ValueError("holds a number of more than 19 digits")
        return int(digits)

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, dummy in pairs}) < len(pairs):
            raise ValueError("gives a key a second time")
        return dict(pairs)

    def constant(name: str) -> NoReturn:
        raise ValueError(f"{name} is no JSON")

    try:
        return json.loads(text, parse_int=integer, object_pairs_hook=once, parse_constant=constant)
    except RecursionError:
        raise ValueError("is nested too deep") from None
