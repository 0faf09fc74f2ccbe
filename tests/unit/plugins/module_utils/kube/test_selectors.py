# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Label selectors, beside those of the fake API server, which is held to a real one's answers."""

from __future__ import annotations

import random
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import OptionError
from ansible_collections.bulwark.node.plugins.module_utils.kube.selectors import of_object, parse
from ansible_collections.bulwark.node.tests.fakes import kube_selectors

LABELS = [{}, {"a": ""}, {"a": "1"}, {"a": "2", "b/c": "x"}, {"b/c": "x", "d": "y"}, {"a": "9", "d": ""}]


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("", [0, 1, 2, 3, 4, 5]),
        ("a", [1, 2, 3, 5]),
        ("!a", [0, 4]),
        ("a=1", [2]),
        ("a==1", [2]),
        ("a=", [1]),
        # What is not there is not equal either.
        ("a!=1", [0, 1, 3, 4, 5]),
        ("a in (1,2)", [2, 3]),
        ("a in (1,)", [1, 2]),
        ("a in ()", [1]),
        ("a notin (1,2)", [0, 1, 4, 5]),
        ("a > 1", [3, 5]),
        ("a<2", [2]),
        (" b/c = x , !d ", [3]),
        ("in", []),
    ],
)
def test_a_selector_takes_what_kubectl_would(text: str, taken: list[int]) -> None:
    selector = parse("pool", text)
    assert [index for index, each in enumerate(LABELS) if selector.matches(each)] == taken
    assert selector.text == text.strip()


@pytest.mark.parametrize(
    "text",
    [
        *("==", "a===b", "a=b,", ",a", "a,,b", "a b", "a=b c", "!a=b", "a in", "a in b", "a in (b", "a in (b c)"),
        *(
            "a>x",
            "a>",
            "a=ä",
            "ä",
            "-a",
            "a/b/c",
            "/a",
            "A/b",
            "a=" + "x" * 64,
            "x" * 64,
            "a\x00",
            "(",
            "a=b)",
            "a=$(id)",
        ),
    ],
)
def test_what_is_no_selector_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match=r"pool: got .* expected a label selector such as"):
        parse("pool", text)


def test_selectors_at_random_are_read_as_the_api_server_reads_them() -> None:
    chance = random.Random(8)
    signs = ("=", "==", "!=", " in ", " notin ", "", "!")
    for _round in range(3000):
        terms = []
        for _term in range(chance.randint(1, 3)):
            key, sign = chance.choice(("a", "b/c", "d")), chance.choice(signs)
            values = [chance.choice(("1", "2", "x", "y")) for _value in range(chance.randint(1, 2))]
            terms.append(
                f"!{key}"
                if sign == "!"
                else key + sign + (f"({','.join(values)})" if "in" in sign else values[0] * bool(sign))
            )
        text = ",".join(terms)
        ours, theirs = parse("pool", text), kube_selectors.labels(text)
        for have in LABELS:
            assert ours.matches(have) == theirs({"metadata": {"labels": have}}), (text, have)


@pytest.mark.parametrize(
    ("selector", "taken"),
    [
        (None, [0, 1, 2, 3, 4, 5]),
        ({}, [0, 1, 2, 3, 4, 5]),
        ({"matchLabels": {"a": "1"}}, [2]),
        ({"matchLabels": {"a": "2", "b/c": "x"}}, [3]),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "9"]}]}, [2, 5]),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, [0, 1, 3, 4, 5]),
        ({"matchExpressions": [{"key": "d", "operator": "Exists"}], "matchLabels": {"a": "9"}}, [5]),
        ({"matchExpressions": [{"key": "d", "operator": "DoesNotExist"}]}, [0, 1, 2, 3]),
        # What a newer release may bring, and what none does: it must not go unseen.
        ({"matchExpressions": [{"key": "d", "operator": "Near"}, None, 3]}, [0, 1, 2, 3, 4, 5]),
        ({"matchLabels": [1], "matchExpressions": {"a": 1}}, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_a_selector_of_an_object_takes_what_its_controller_does(selector: Any, taken: list[int]) -> None:
    found = of_object(selector)
    assert [index for index, each in enumerate(LABELS) if found.matches(each)] == taken
