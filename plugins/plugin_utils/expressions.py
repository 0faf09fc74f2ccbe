# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""JMESPath (https://jmespath.org/specification.html) over a host's facts, with two rules of our own. Pure.

``facts``, ``params`` and ``host`` are the roots wherever a path begins, within a filter or a function's argument too; a
row's own key of such a name is ``@.host``.

Nulls are honest. JMESPath takes ``null > 5`` for null, drops such a row from a filter, and calls ``!null`` true, so that
what is not known would pass. Here each question that a null leaves open (a comparison, a negation, a filter's condition,
``contains`` in a list with nulls) is answered both ways, all of them in all combinations: ``Answer.value`` is false where
every one gives false, and null otherwise, never true. Functions give no answer for a null, and projections keep it. Three
things say what null means, and leave nothing open: ``x == `null``` where what x is a part of is known, ``x || y`` with a y that
is known, or a literal, and the functions ``not_null`` and ``type``.
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
# These take a null for what it is.
_ABOUT_NULL = ("not_null", "type")
# Longer and deeper than any that is written by hand. What evaluates a tree recurses, on a stack that others have used already.
_MAX_LENGTH = 4000
_MAX_DEPTH = 100
# Of seven open questions or more, nobody needs to know more than that they are open.
_MAX_TRIES = 64


class ExpressionError(ValueError):
    """An expression that is none; the message says where in it and why."""


class _WrongTypeError(Exception):
    """A function was given what it does not take, in an expression that is right in itself."""


class _NullError(Exception):
    """What was asked has no answer for a null; the message is its path."""


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
        try:
            parsed = _parsed(text)
            if _depth(parsed) > _MAX_DEPTH:
                raise ExpressionError("is nested too deeply")
            self.tree = _rooted(parsed, leading=True)
            _check(self.tree)
        except RecursionError as exc:
            raise ExpressionError("is nested too deeply") from exc

    def ask(self, facts: Any, params: Any, host: Any) -> Answer:
        """The answer for one host. Raises nothing on any plain data."""
        roots = {"facts": facts, "params": params, "host": host}
        try:
            first = _Interpreter(roots)
            value = first.visit(self.tree, roots)
            if not first.nulls:
                return Answer(value, (first.null_in(self.tree, roots),) if value is None else ())
            answer = None if value is not False else self._whatever(roots, first.guesses)
        except _NullError as exc:
            return Answer(None, (str(exc),))
        except _WrongTypeError as exc:
            return Answer(None, error=str(exc))
        except RecursionError:
            return Answer(None, error="the facts are nested too deeply")
        return Answer(answer, tuple(dict.fromkeys(first.nulls)))

    def _whatever(self, roots: dict[str, Any], guesses: list[bool]) -> bool | None:
        """False where it is false by every answer to every open question; which ones are open may hang on the others."""
        for _number in range(_MAX_TRIES):
            while guesses and guesses[-1]:
                guesses.pop()
            if not guesses:
                return False
            interpreter = _Interpreter(roots, [*guesses[:-1], True])
            if interpreter.visit(self.tree, roots) is not False:
                return None
            guesses = interpreter.guesses
        return None

    def show(self, facts: Any, params: Any, host: Any) -> Any:
        """What it gives for people to look at: a null is a null, and where it gives nothing, null."""
        roots = {"facts": facts, "params": params, "host": host}
        try:
            return _Interpreter(roots, strict=False).visit(self.tree, roots)
        except (_NullError, _WrongTypeError, RecursionError):
            return None


class _Interpreter(TreeInterpreter):
    """Evaluates a tree. ``guesses`` are the answers to open questions, in their order; those beyond are false."""

    def __init__(self, roots: dict[str, Any], guesses: list[bool] | None = None, strict: bool = True) -> None:
        super().__init__()
        self.roots = roots
        self.strict = strict
        self.guesses = guesses or []
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
        # A literal is a default. Else what is known to be nothing says nothing of what is not known.
        return None if first is None and self._is_false(second) and right["type"] != "literal" else second

    def visit_and_expression(self, node: dict[str, Any], value: Any) -> Any:
        first = self.visit(node["children"][0], value)
        if first is not None and self._is_false(first):
            return first
        second = self.visit(node["children"][1], value)
        return None if first is None and self._is_true(second) else second

    def visit_comparator(self, node: dict[str, Any], value: Any) -> Any:
        sides = node["children"]
        left, right = (self.visit(side, value) for side in sides)
        compare = self.COMPARATOR_FUNC[node["value"]]
        if node["value"] in self._EQUALITY_OPS:
            if _NULL in sides:
                side = sides[1] if sides[0] == _NULL else sides[0]
                lost = left is None and right is None and self._is_lost(side, value)
                return self._open(side) if lost else compare(left, right)
            for side, found in zip(sides, (left, right), strict=True):
                if _has_null(found):
                    return self._open(self._culprit(side, value))
            return compare(left, right)
        for side, found in zip(sides, (left, right), strict=True):
            if found is None:
                return self._open(self._culprit(side, value))
        if not _is_number(left) or not _is_number(right):
            raise _WrongTypeError(f"{path(sides[0])} and {path(sides[1])} are compared by size; expected two numbers")
        return compare(left, right)

    def visit_not_expression(self, node: dict[str, Any], value: Any) -> Any:
        (child,) = node["children"]
        found = self.visit(child, value)
        if found is None:
            return self._open(self._culprit(child, value))
        return self._is_false(found)

    def visit_function_expression(self, node: dict[str, Any], value: Any) -> Any:
        name, children = node["value"], node["children"]
        given = [self.visit(child, value) for child in children]
        if self.strict and name not in _ABOUT_NULL:
            for child, found in zip(children, given, strict=True):
                if found is None or (name == "to_string" and _has_null(found)):
                    raise _NullError(self._named(self._culprit(child, value)))
        try:
            answer = self._functions.call_function(name, given)
        except (exceptions.JMESPathError, TypeError, ValueError, ArithmeticError) as exc:
            null = [child for child, found in zip(children, given, strict=True) if _has_null(found)]
            if null:
                raise _NullError(self._named(null[0])) from exc
            raise _WrongTypeError(f"{name}() was given {_said(exc)}") from exc
        if name == "contains" and answer is False and _has_null(given[0]):
            return self._open(children[0])
        return answer

    def visit_filter_projection(self, node: dict[str, Any], value: Any) -> Any:
        left, right, condition = node["children"]
        base = self.visit(left, value)
        if not isinstance(base, list):
            return None
        kept = []
        self.within.append(_rows(left))
        for row in base:
            holds = self.visit(condition, row)
            if self._is_true(self._open(self._culprit(condition, row)) if holds is None else holds):
                kept.append(row)
        self.within.pop()
        return self._projected(kept, left, right)

    def visit_projection(self, node: dict[str, Any], value: Any) -> Any:
        left, right = node["children"]
        base = self.visit(left, value)
        return self._projected(base, left, right) if isinstance(base, list) else None

    def visit_value_projection(self, node: dict[str, Any], value: Any) -> Any:
        left, right = node["children"]
        base = self.visit(left, value)
        return self._projected(list(base.values()), left, right) if isinstance(base, dict) else None

    def null_in(self, node: dict[str, Any], value: Any) -> str:
        """The path of what made a part of a tree null."""
        return self._named(self._culprit(node, value))

    def _projected(self, rows: list[Any], left: dict[str, Any], right: dict[str, Any]) -> list[Any]:
        """As JMESPath has it, but that a null stays: a list without it would be another list."""
        self.within.append(_rows(left))
        found = [self.visit(right, row) for row in rows]
        self.within.pop()
        return found if self.strict else [item for item in found if item is not None]

    def _is_lost(self, node: dict[str, Any], value: Any) -> bool:
        """Whether a null is so because what it would be a part of is null itself."""
        if node["type"] != "subexpression":
            return False
        return self.visit({**node, "children": node["children"][:-1]}, value) is None

    def _open(self, node: dict[str, Any]) -> bool:
        """The answer to a question that a null leaves open."""
        if len(self.nulls) == len(self.guesses):
            self.guesses.append(False)
        self.nulls.append(self._named(node))
        return self.guesses[len(self.nulls) - 1]

    def _culprit(self, node: dict[str, Any], value: Any) -> dict[str, Any]:
        """Of a part of a tree that is null, the part that made it so. Asks no question anew."""
        if node["type"] not in ("and_expression", "or_expression"):
            return node
        asked = self.nulls, self.guesses
        self.nulls, self.guesses = [], []
        try:
            null = [child for child in node["children"] if self.visit(child, value) is None]
        finally:
            self.nulls, self.guesses = asked
        return self._culprit(null[0], value) if null else node

    def _named(self, node: dict[str, Any]) -> str:
        name = path(node)
        if not _begins_at_a_root(node):
            name = ".".join(filter(None, [*map(path, self.within), name]))
        return name.removesuffix("[]")


def _rows(left: dict[str, Any]) -> dict[str, Any]:
    return {"type": "rows", "children": [left]}


def _has_null(value: Any) -> bool:
    if isinstance(value, (list, dict)):
        return any(map(_has_null, value.values() if isinstance(value, dict) else value))
    return value is None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _said(exc: Exception) -> str:
    if isinstance(exc, exceptions.JMESPathTypeError):
        return f"a value of type {exc.actual_type}; expected {' or '.join(exc.expected_types)}"
    return f"what it does not take: {exc or type(exc).__name__}"


def _begins_at_a_root(node: dict[str, Any]) -> bool:
    children = node.get("children", [])
    return node["type"] == "root" or bool(children and isinstance(children[0], dict) and _begins_at_a_root(children[0]))


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
    read = [child for child in children if isinstance(child, dict) and child["type"] != "expref"]
    return path(read[0]) if read else ""


def names(tree: dict[str, Any], root: str) -> Iterator[str]:
    """The names that an expression reads directly below a root: ``swap`` of ``params.swap``."""
    children = [child for child in tree.get("children", []) if isinstance(child, dict)]
    if tree["type"] == "subexpression" and children[0] == {"type": "root", "value": root, "children": []}:
        yield str(_leftmost(children[1]).get("value"))
    for child in children:
        yield from names(child, root)


def _leftmost(node: dict[str, Any]) -> dict[str, Any]:
    children = node.get("children", [])
    return _leftmost(children[0]) if children and isinstance(children[0], dict) else node


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
    return tree


def _depth(tree: dict[str, Any]) -> int:
    """How many levels a tree has."""
    depth, level = 0, [tree]
    while level:
        level = [child for node in level for child in node.get("children", []) if isinstance(child, dict)]
        depth += 1
    return depth


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


def _check(node: dict[str, Any], argument: bool = False) -> None:
    """Raise ExpressionError on functions that there are not or that take another number of arguments, and on what gives nothing."""
    if node["type"] == "expref" and not argument:
        raise ExpressionError("has & outside of a function's arguments")
    if node["type"] == "slice" and node["children"][2] == 0:
        raise ExpressionError("has a slice whose step is 0")
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
        _check(child, argument=node["type"] == "function_expression")
