# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""JMESPath (https://jmespath.org/specification.html) over a host's facts, with two rules of our own. Pure.

``facts``, ``params`` and ``host`` are the roots wherever a path begins, within a filter or a function's argument too; a
row's own key of such a name is ``@.host``.

Nulls are honest. JMESPath takes ``null > 5`` for null, drops such a row from a filter, and calls ``!null`` true, so that
what is not known would pass. Here each null that is compared, negated, filtered by, projected or given to a function is
noted in ``Answer.nulls``, and tried as true and as false: ``Answer.value`` is null where that makes a difference. Who
compares with the literal ``null``, or names a default by ``|| `0```, has said what null means, and nothing is noted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

try:
    from jmespath import exceptions
    from jmespath.functions import Functions
    from jmespath.parser import Parser
    from jmespath.visitor import TreeInterpreter
except ImportError:
    HAS_JMESPATH = False
    TreeInterpreter = object  # type: ignore[misc, assignment]
else:
    HAS_JMESPATH = True

__all__ = ["HAS_JMESPATH", "ROOTS", "Answer", "Expression", "ExpressionError", "names"]

ROOTS = ("facts", "params", "host")

_PROJECTIONS = ("projection", "value_projection", "filter_projection")
_NULL: dict[str, Any] = {"type": "literal", "value": None, "children": []}
# Deeper than any that is written by hand; the parser itself recurses.
_MAX_LENGTH = 4000


class ExpressionError(ValueError):
    """An expression that is none; the message says where in it and why."""


class _WrongTypeError(Exception):
    """A function was given what it does not take, in an expression that is right in itself."""


class _NullError(Exception):
    """A function that takes no null was given one; the message is its path."""


@dataclass(frozen=True)
class Answer:
    """``value`` is what the expression gives; ``nulls`` are the paths that were null and mattered, ``error`` why there is none."""

    value: Any
    nulls: tuple[str, ...] = ()
    error: str | None = None


class Expression:
    """A JMESPath expression, made once and asked for each host. Raises ExpressionError."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tree = _rooted(_parsed(text), leading=True)
        _check(self.tree)

    def ask(self, facts: Any, params: Any, host: Any) -> Answer:
        """The answer for one host. Raises nothing on any plain data."""
        roots = {"facts": facts, "params": params, "host": host}
        try:
            pessimist = _Interpreter(roots, assumed=False)
            value = pessimist.visit(self.tree, roots)
            if not pessimist.nulls:
                return Answer(value, (pessimist.null_in(self.tree, roots),) if value is None else ())
            other = _Interpreter(roots, assumed=True).visit(self.tree, roots)
        except _NullError as exc:
            return Answer(None, (str(exc),))
        except _WrongTypeError as exc:
            return Answer(None, error=str(exc))
        except RecursionError:
            return Answer(None, error="the facts are nested too deeply")
        nulls = tuple(dict.fromkeys(pessimist.nulls))
        # What holds under both assumptions may hold for a third: false is believed, true is not.
        return Answer(False if value is False and other is False else None, nulls)

    def show(self, facts: Any, params: Any, host: Any) -> Any:
        """What it gives for people to look at: a null is a null, and where it gives nothing, null."""
        roots = {"facts": facts, "params": params, "host": host}
        try:
            return _Interpreter(roots, assumed=False).visit(self.tree, roots)
        except (_NullError, _WrongTypeError, RecursionError):
            return None


class _Interpreter(TreeInterpreter):
    """Evaluates a tree, and notes each null that decides something, for which it takes ``assumed``."""

    def __init__(self, roots: dict[str, Any], assumed: bool) -> None:
        super().__init__()
        self.roots = roots
        self.assumed = assumed
        self.nulls: list[str] = []
        self.within: list[dict[str, Any]] = []

    def visit_root(self, node: dict[str, Any], _value: Any) -> Any:
        return self.roots[node["value"]]

    def visit_subexpression(self, node: dict[str, Any], value: Any) -> Any:
        found, steps = value, len(self.within)
        for child in node["children"]:
            found = self.visit(child, found)
            self.within.append(child)
        del self.within[steps:]
        return found

    def visit_or_expression(self, node: dict[str, Any], value: Any) -> Any:
        left, right = node["children"]
        first = self.visit(left, value)
        if self._is_true(first):
            return first
        second = self.visit(right, value)
        # A literal is a default. Else this is a question with two answers, of which one is not known.
        if first is None and second is False and right["type"] != "literal":
            return self._unknown(left)
        return second

    def visit_comparator(self, node: dict[str, Any], value: Any) -> Any:
        sides = node["children"]
        if node["value"] in self._EQUALITY_OPS and _NULL in sides:
            return super().visit_comparator(node, value)
        for side in sides:
            if self.visit(side, value) is None:
                return self._unknown(side)
        try:
            found = super().visit_comparator(node, value)
        except TypeError:
            found = None
        if found is None:
            raise _WrongTypeError(f"{path(sides[0])} and {path(sides[1])} are compared by size; expected two numbers")
        return found

    def visit_not_expression(self, node: dict[str, Any], value: Any) -> Any:
        if self.visit(node["children"][0], value) is None:
            return self._unknown(node["children"][0])
        return super().visit_not_expression(node, value)

    def visit_function_expression(self, node: dict[str, Any], value: Any) -> Any:
        try:
            return super().visit_function_expression(node, value)
        except exceptions.JMESPathTypeError as exc:
            for child in node["children"]:
                if child["type"] != "expref" and self.visit(child, value) is None:
                    raise _NullError(self._named(child)) from exc
            raise _WrongTypeError(
                f"{node['value']}() was given a value of type {exc.actual_type}; expected {' or '.join(exc.expected_types)}"
            ) from exc

    def visit_filter_projection(self, node: dict[str, Any], value: Any) -> Any:
        base = self.visit(node["children"][0], value)
        if not isinstance(base, list):
            return None
        left, right, condition = node["children"]
        kept = []
        self.within.append({"type": "rows", "children": [left]})
        for row in base:
            holds = self.visit(condition, row)
            if self._is_true(self._unknown(self._culprit(condition, row)) if holds is None else holds):
                kept.append(row)
        self.within.pop()
        return self._projected(kept, left, right)

    def visit_projection(self, node: dict[str, Any], value: Any) -> Any:
        base = self.visit(node["children"][0], value)
        return self._projected(base, *node["children"][:2]) if isinstance(base, list) else None

    def visit_value_projection(self, node: dict[str, Any], value: Any) -> Any:
        base = self.visit(node["children"][0], value)
        return self._projected(list(base.values()), *node["children"][:2]) if isinstance(base, dict) else None

    def null_in(self, node: dict[str, Any], value: Any) -> str:
        """The path of what made a part of a tree null."""
        return self._named(self._culprit(node, value))

    def _projected(self, rows: list[Any], left: dict[str, Any], right: dict[str, Any]) -> list[Any]:
        """As JMESPath has it without nulls, each of which is noted."""
        found = []
        self.within.append({"type": "rows", "children": [left]})
        for row in rows:
            item = self.visit(right, row)
            if item is None:
                self._unknown(right)
            else:
                found.append(item)
        self.within.pop()
        return found

    def _unknown(self, node: dict[str, Any]) -> bool:
        self.nulls.append(self._named(node))
        return self.assumed

    def _culprit(self, node: dict[str, Any], value: Any) -> dict[str, Any]:
        if node["type"] in ("and_expression", "or_expression"):
            for child in node["children"]:
                if self.visit(child, value) is None:
                    return self._culprit(child, value)
        return node

    def _named(self, node: dict[str, Any]) -> str:
        name = path(node)
        full = name if name.split(".")[0] in ROOTS else ".".join(filter(None, [*map(path, self.within), name]))
        return full.removesuffix("[]")


def path(node: dict[str, Any]) -> str:
    """The path that a part of a tree reads, for messages: that of its first null in doubt."""
    kind, children = node["type"], node.get("children", [])
    if kind in ("root", "field"):
        return str(node["value"])
    if kind == "subexpression":
        return ".".join(filter(None, map(path, children)))
    if kind == "index_expression":
        return "".join(map(path, children))
    if kind == "rows":
        return f"{path(children[0])}[]"
    if kind == "index":
        return f"[{node['value']}]"
    if kind in _PROJECTIONS:
        right = path(children[1])
        return f"{path(children[0])}[]{'.' + right if right else ''}"
    if kind == "literal":
        return str(node["value"])
    return path(children[0]) if children and isinstance(children[0], dict) else ""


def names(tree: dict[str, Any], root: str) -> Iterator[str]:
    """The names that an expression reads directly below a root: ``swap`` of ``params.swap``."""
    children = [child for child in tree.get("children", []) if isinstance(child, dict)]
    if tree["type"] == "subexpression" and children[0] == {"type": "root", "value": root, "children": []}:
        yield str(children[1].get("value"))
    for child in children:
        yield from names(child, root)


def _parsed(text: str) -> dict[str, Any]:
    if not text.strip():
        raise ExpressionError("is empty")
    if len(text) > _MAX_LENGTH:
        raise ExpressionError(f"has {len(text)} characters; expected at most {_MAX_LENGTH}")
    try:
        tree: dict[str, Any] = Parser().parse(text).parsed
    except exceptions.LexerError as exc:
        raise ExpressionError(f"at character {exc.lexer_position + 1}: {exc.message}") from exc
    except exceptions.IncompleteExpressionError as exc:
        raise ExpressionError(f"at character {len(text) + 1}: something is missing at the end") from exc
    except exceptions.ParseError as exc:
        raise ExpressionError(f"at character {exc.lex_position + 1}: {exc.token_value!r} was not expected") from exc
    except RecursionError as exc:
        raise ExpressionError("is nested too deeply") from exc
    return tree


def _rooted(node: dict[str, Any], leading: bool) -> dict[str, Any]:
    """The tree in which each root at the beginning of a path is a node of its own kind."""
    kind, children = node["type"], node.get("children", [])
    if kind == "field":
        return {**node, "type": "root"} if leading and node["value"] in ROOTS else node
    if kind == "slice":
        return node
    # Of these the second goes on from what the first gave.
    chained = kind in ("subexpression", "index_expression", *_PROJECTIONS)
    flags = [
        leading and index == 0 if chained and index < 2 else leading if kind == "flatten" else True
        for index in range(len(children))
    ]
    return {**node, "children": [_rooted(child, flag) for child, flag in zip(children, flags, strict=True)]}


def _check(node: dict[str, Any]) -> None:
    """Raise ExpressionError on functions that there are not, or that take another number of arguments."""
    children = [child for child in node.get("children", []) if isinstance(child, dict)]
    if node["type"] == "function_expression":
        known = Functions.FUNCTION_TABLE.get(node["value"])
        if known is None:
            raise ExpressionError(
                f"calls the function {node['value']}(), which is none of {', '.join(sorted(Functions.FUNCTION_TABLE))}"
            )
        least, signature = len(known["signature"]), known["signature"]
        variadic = bool(signature and signature[-1].get("variadic"))
        if len(children) < least or (len(children) > least and not variadic):
            raise ExpressionError(
                f"calls {node['value']}() with {len(children)} arguments; expected {least}{' or more' if variadic else ''}"
            )
    # `!` binds tighter than a dot, which nobody expects.
    if node["type"] == "subexpression" and children[0]["type"] == "not_expression":
        raise ExpressionError(f"negates {path(children[0])} alone; write !({path(node)})")
    for child in children:
        _check(child)
