# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of TOML that the container runtimes' configuration is written in. What is not understood is refused, never guessed.

Python has had a TOML library since 3.11 alone, and nodes run older ones. This reads tables, dotted keys, strings on one
line, numbers, booleans, arrays and inline tables. It refuses arrays of tables, strings over several lines, dates, and a
key or table given twice.
"""

from __future__ import annotations

import json
import re
from typing import Any

__all__ = ["parse"]

_MAX_DEPTH = 20
_UNPRINTABLE = re.compile("[\0-\x08\x0b-\x1f\x7f]")
_SPACE = re.compile(r"[ \t]*")
_GAP = re.compile(r"(?:[ \t\n]+|#[^\n]*)*")
_LINE_END = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|\Z)")
_KEY = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\[^/\n])*"|'[^'\n]*'""", re.ASCII)
_STRING = re.compile(r"""(?!\"\"\"|''')(?:"(?:[^"\\\n]|\\[^/\n])*"|'[^'\n]*')""")
_WORD = re.compile(r"[A-Za-z0-9_.+:-]+", re.ASCII)
_INTEGER = re.compile(r"[+-]?(?:0|[1-9](?:_?[0-9]){0,17})", re.ASCII)
_FLOAT = re.compile(r"[+-]?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,18})?(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)


def parse(text: str) -> dict[str, Any]:
    """The tables of a text. Raises ValueError with the line."""
    text = text.replace("\r\n", "\n")
    if _UNPRINTABLE.search(text):
        raise ValueError("holds control characters")
    return _Reader(text).document()


class _Reader:
    """The text, and how far it is read."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.headed: set[tuple[str, ...]] = set()
        # By identity: inline tables, which are complete, and those of dotted keys, which belong to their section.
        self.inlined: set[int] = set()
        self.dotted: set[int] = set()

    def document(self) -> dict[str, Any]:
        root: dict[str, Any] = {}
        current = root
        while self.take(_GAP) is not None and self.at < len(self.text):
            if self.text[self.at] == "[":
                current = self.header(root)
            else:
                self.pair(current, 0)
            if self.take(_LINE_END) is None:
                raise self.refused("is not understood")
        return root

    def header(self, root: dict[str, Any]) -> dict[str, Any]:
        self.at += 1
        if self.text.startswith("[", self.at):
            raise self.refused("arrays of tables are not read")
        keys = self.keys()
        self.expect("]")
        if tuple(keys) in self.headed:
            raise self.refused("gives a table a second time")
        self.headed.add(tuple(keys))
        table = root
        for key in keys:
            table = table.setdefault(key, {})
            if not isinstance(table, dict) or id(table) in self.inlined:
                raise self.refused("adds to what is complete")
        if id(table) in self.dotted:
            raise self.refused("gives a table a second time")
        return table

    def pair(self, table: dict[str, Any], depth: int) -> None:
        keys = self.keys()
        self.expect("=")
        self.take(_SPACE)
        for key in keys[:-1]:
            if key not in table:
                table[key] = {}
                self.dotted.add(id(table[key]))
            table = table[key]
            if id(table) not in self.dotted:
                raise self.refused("adds to what is complete")
        if keys[-1] in table:
            raise self.refused("gives a key a second time")
        table[keys[-1]] = self.value(depth)

    def keys(self) -> list[str]:
        found = []
        while True:
            self.take(_SPACE)
            part = self.take(_KEY)
            if part is None:
                raise self.refused("is no key")
            found.append(self.string(part) if part[0] in "\"'" else part)
            self.take(_SPACE)
            if not self.text.startswith(".", self.at):
                return found
            self.at += 1

    def value(self, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise self.refused("is nested too deep")
        start = self.text[self.at : self.at + 1]
        if start == "[":
            return self.array(depth)
        if start == "{":
            return self.inline(depth)
        quoted = self.take(_STRING)
        if quoted is not None:
            return self.string(quoted)
        word = self.take(_WORD) or ""
        if word in ("true", "false"):
            return word == "true"
        if _INTEGER.fullmatch(word):
            return int(word.replace("_", ""))
        if _FLOAT.fullmatch(word):
            return float(word)
        raise self.refused("is no value that is read")

    def array(self, depth: int) -> list[Any]:
        found: list[Any] = []
        self.at += 1
        self.take(_GAP)
        while not self.text.startswith("]", self.at):
            found.append(self.value(depth + 1))
            self.take(_GAP)
            if not self.text.startswith("]", self.at):
                self.expect(",")
                self.take(_GAP)
        self.at += 1
        return found

    def inline(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        self.inlined.add(id(found))
        self.at += 1
        self.take(_SPACE)
        if not self.text.startswith("}", self.at):
            while True:
                self.pair(found, depth + 1)
                self.take(_SPACE)
                if not self.text.startswith(",", self.at):
                    break
                self.at += 1
        self.expect("}")
        return found

    def string(self, quoted: str) -> str:
        if quoted[0] == "'":
            return quoted[1:-1]
        try:
            # JSON's escapes mean the same in TOML, which lacks the slash's; TOML's others are refused.
            value = str(json.loads(quoted.replace("\t", "\\t")))
            value.encode()
        except ValueError:
            raise self.refused("holds an escape that is not read") from None
        return value

    def expect(self, sign: str) -> None:
        if not self.text.startswith(sign, self.at):
            raise self.refused(f"lacks a {sign}")
        self.at += 1

    def take(self, pattern: re.Pattern[str]) -> str | None:
        match = pattern.match(self.text, self.at)
        if match is None:
            return None
        self.at = match.end()
        return match.group()

    def refused(self, what: str) -> ValueError:
        # Without the line itself: it may hold a secret.
        return ValueError(f"line {self.text.count(chr(10), 0, self.at) + 1}: {what}")
