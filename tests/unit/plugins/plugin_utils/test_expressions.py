# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Expressions over facts: where a path begins, what a null does, and what is refused with its place."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.plugin_utils.expressions import Answer, Expression, ExpressionError

FACTS = {
    "none": None,
    "nulls": [None],
    "empty": [],
    "three": 3,
    "huge": [10**400],
    "text": "s",
    "yes": True,
    "no": False,
    "host": {"k": 1},
    "rows": [{"x": 1, "host": "h"}, {"x": None, "host": "i"}, {"x": 5, "host": None}],
    "full": [{"x": 1}, {"x": 5}],
    "map": {"a": {"k": 1}, "b": {"k": None}},
}
PARAMS = {"two": 2}
HOST = {"name": "n", "groups": ["web"]}


def ask(text: str) -> Answer:
    return Expression(text).ask(FACTS, PARAMS, HOST)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("facts.three > params.two", True),
        ("facts.full[?x > params.two].x", [5]),
        ("contains(facts.full[].x, params.two)", False),
        ("contains(host.groups, 'web')", True),
        ("facts.host.k", 1),
        ("facts.full[*].{n: x, of: host.name}", [{"n": 1, "of": "n"}, {"n": 5, "of": "n"}]),
        ("facts.rows[?x == `null`] | [0].host", "i"),
        ("facts.full[?x == `5`] | length(@) == params.two", False),
        ("max_by(facts.full, &x).x", 5),
        ("facts.full[-1].x", 5),
        ("facts.full[:1] | [0].x", 1),
        ("length(facts.full[])", 2),
    ],
)
def test_roots_are_where_a_path_begins(text: str, value: Any) -> None:
    assert ask(text) == Answer(value)


@pytest.mark.parametrize(
    ("text", "null"),
    [
        ("facts.none", "facts.none"),
        ("facts.none == `1`", "facts.none"),
        ("facts.none != `1`", "facts.none"),
        ("facts.none == facts.away", "facts.none"),
        ("`1` > facts.none", "facts.none"),
        ("!(facts.none)", "facts.none"),
        ("!(facts.none.below)", "facts.none.below"),
        ("facts.yes && facts.none", "facts.none"),
        ("facts.none && facts.yes", "facts.none"),
        ("facts.no || facts.none", "facts.none"),
        ("length(facts.none) == `0`", "facts.none"),
        ("contains(facts.none, 'x')", "facts.none"),
        ("length(facts.rows[?x < `0`]) == `0`", "facts.rows[].x"),
        ("length(facts.rows[?!(x > `0`)]) == `0`", "facts.rows[].x"),
        ("length(facts.rows[?x]) == `2`", "facts.rows[].x"),
        ("length(facts.rows[?x && `true`]) == `2`", "facts.rows[].x"),
        ("max(facts.rows[].x) < `9`", "facts.rows[].x"),
        ("!contains(facts.rows[*].x, `7`)", "facts.rows[].x"),
        ("!contains(facts.map.*.k, `7`)", "facts.map[].k"),
        ("!contains(facts.nulls, 'bad')", "facts.nulls"),
        ("!contains(`[1]`, facts.none)", "facts.none"),
        ("!contains(values(facts.map.b), 'bad')", "facts.map.b"),
        ("!contains(map(&x, facts.rows), `7`)", "facts.rows"),
        ("!contains([facts.none, facts.three], 'bad')", "facts.none"),
        ("to_string(facts.none) != 'bad'", "facts.none"),
        ("to_string(facts.nulls) != 'bad'", "facts.nulls"),
        ("[facts.none] != ['bad']", "facts.none"),
        ("facts.nulls != `[]`", "facts.nulls"),
        ("!(facts.none || facts.empty)", "facts.none"),
        ("(facts.none == `1`) != (facts.away == `1`)", "facts.none"),
        ("length(facts.rows[?x == `9`]) == `1`", "facts.rows[].x"),
        ("facts.none.below == `null`", "facts.none.below"),
        ("max(facts.nulls) > `1`", "facts.nulls"),
        ("max_by(facts.rows, &x).x > `9`", "facts.rows"),
        ("join(',', facts.nulls) == ''", "facts.nulls"),
        ("length(facts.none[*]) == `0`", "facts.none"),
        ("length(facts.none[]) == `0`", "facts.none"),
        ("(facts.none > `1`) == (facts.away > `1`)", "facts.none"),
        ("facts.full[?x == `1`] | [0].away == `1`", "[0].away"),
    ],
)
def test_what_is_not_known_never_passes(text: str, null: str) -> None:
    answer = ask(text)
    assert answer.value is None
    assert answer.error is None
    assert answer.nulls[0] == null


@pytest.mark.parametrize(
    "text",
    [
        "facts.no && facts.none",
        "facts.none && facts.no",
        "length(facts.rows[*].x) == `2`",
        "!contains(facts.rows[*].x, `5`)",
        "length(facts.rows[?x > `2`]) == `0`",
        "facts.none == `1` && facts.no",
        "facts.three < `1` && facts.none > `1`",
    ],
)
def test_what_is_false_whatever_the_null_stands_for_is_false(text: str) -> None:
    assert ask(text).value is False


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("facts.none == `null`", True),
        ("`null` != facts.none", False),
        ("facts.three != `null`", True),
        ("(facts.none || `7`) == `7`", True),
        ("not_null(facts.none, `7`) == `7`", True),
        ("type(facts.none) == 'null'", True),
        ("length(facts.rows[?x != `null`]) == `2`", True),
        ("(facts.none || facts.text) == 's'", True),
        ("(facts.none || `false`) == `false`", True),
    ],
)
def test_who_says_what_null_means_is_believed(text: str, value: Any) -> None:
    assert ask(text).value is value


VALUES: list[Any] = [True, False, "bad", "", [], ["bad"], 1]
ATOMS = [
    *("facts.a", "facts.b", "facts.a == facts.b", "!(facts.a)", "facts.a == `true`", "facts.a != 'bad'"),
    *(
        "length(facts.l[?@ == `true`]) == `1`",
        "length(facts.l[?@]) == `0`",
        "contains(facts.l, 'bad')",
        "facts.l == ['bad']",
    ),
    *("contains([facts.a, facts.b], 'bad')", "contains(map(&@, facts.l), 'bad')", "contains(reverse(facts.l), 'bad')"),
    *(
        "contains(values(facts), 'bad')",
        "to_string(facts.a) == 'bad'",
        "[facts.a] == ['bad']",
        "{x: facts.a} == {x: 'bad'}",
    ),
    *("length(facts.r[?x || y]) == `0`", "contains(facts.r[*].x, 'bad')", "sort(facts.l) == ['bad']"),
]


@pytest.mark.parametrize("first", ATOMS)
def test_no_value_of_a_null_unmakes_an_answer(first: str) -> None:
    """Every small expression, every place of a null: what it gives, true or false, it gives whatever the null stands for."""
    pairs = [f"({first}) {op} ({other})" for other in ATOMS for op in ("&&", "||", "==", "!=")]
    for text in [first, *pairs, *(f"!({pair})" for pair in pairs)]:
        expression = Expression(text)
        for a, b in ((None, "bad"), (None, False), (None, []), ("bad", None), (True, None), (None, None)):
            answer = expression.ask(_facts(a, b), {}, {}).value
            if not isinstance(answer, bool):
                continue
            for x, y in itertools.product(VALUES if a is None else [a], VALUES if b is None else [b]):
                told = expression.ask(_facts(x, y), {}, {}).value
                # Of another type than the rest takes, it may be an error.
                assert told in (answer, None) or not isinstance(told, bool), (text, (a, b), (x, y))


def _facts(a: Any, b: Any) -> dict[str, Any]:
    return {"a": a, "b": b, "l": [a, b], "r": [{"x": a, "y": b}]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("length(facts.three)", "length() was given a value of type number; expected string or array or object"),
        ("facts.text > `1`", "facts.text and 1 are compared by size; expected two numbers"),
        ("contains(facts.text, `5`)", "contains() was given what it does not take: "),
        ("ceil(to_number('inf'))", "ceil() was given what it does not take: cannot convert float infinity to integer"),
        ("avg(facts.huge)", "avg() was given what it does not take: "),
        ("facts.yes > `1`", "facts.yes and 1 are compared by size; expected two numbers"),
    ],
)
def test_facts_of_another_type_are_an_error_and_no_null(text: str, message: str) -> None:
    answer = ask(text)
    assert (answer.value, answer.nulls) == (None, ())
    assert (answer.error or "").startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        (" ", "is empty"),
        ("facts..a", "at character 7: '.' was not expected"),
        ("facts.a ==", "at character 11: something is missing at the end"),
        ("facts['a", "at character 7: Unclosed ' delimiter"),
        ("facts.a # b", "at character 9: Unknown token #"),
        ("lenght(facts.a)", "calls the function lenght(), which is none of abs, avg"),
        ("length()", "calls length() with 0 arguments; expected 1"),
        ("length(facts.a, facts.b)", "calls length() with 2 arguments; expected 1"),
        ("facts.x[?length() > `1`]", "calls length() with 0 arguments"),
        ("!facts.a", "negates facts alone; write !(facts.a)"),
        ("&facts.a", "has & outside of a function's arguments"),
        ("facts.l[::0]", "has a slice whose step is 0"),
        ("||".join(["facts"] * 101), "is nested too deeply"),
        ("x" * 4001, "has 4001 characters; expected at most 4000"),
        ("(" * 2000 + "a" + ")" * 1999, "is nested too deeply"),
    ],
)
def test_what_is_no_expression_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        Expression(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{a: facts.none, b: facts.three}", {"a": None, "b": 3}),
        ("{low: facts.rows[?x < `2`].x}", {"low": [1]}),
        ("{n: length(facts.none)}", None),
        ("{n: facts.text > `1`}", None),
    ],
)
def test_evidence_is_shown_as_it_is(text: str, value: Any) -> None:
    assert Expression(text).show(FACTS, PARAMS, HOST) == value


def test_facts_that_are_nested_too_deeply_are_an_error() -> None:
    deep: Any = None
    for _number in range(3000):
        deep = [deep]
    assert (
        Expression("facts.a == facts.b").ask({"a": deep, "b": [deep]}, {}, {}).error
        == "the facts are nested too deeply"
    )


def test_facts_that_are_nested_too_deeply_are_an_error_and_shown_as_nothing() -> None:
    deep: Any = "bottom"
    for _level in range(100_000):
        deep = [deep]
    expression = Expression("facts.deep == facts.deep")
    assert expression.ask({"deep": deep}, {}, {}) == Answer(None, error="the facts are nested too deeply")
    assert expression.show({"deep": deep}, {}, {}) is None
