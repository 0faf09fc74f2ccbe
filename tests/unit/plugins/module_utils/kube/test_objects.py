# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects of which nothing is taken for granted."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.kube.objects import (
    annotations_of,
    field_of,
    instant,
    labels_of,
    mapping,
    mappings,
    name_of,
    printable,
    text,
)


@pytest.mark.parametrize(
    "item", [None, 1, "x", [], {}, {"metadata": None}, {"metadata": "x"}, {"metadata": {"name": 1}}]
)
def test_what_is_not_there_is_empty(item: Any) -> None:
    assert (name_of(item), labels_of(item), annotations_of(item)) == ("", {}, {})
    assert (text(item, "a", "b"), field_of(item, "a", "b"), mapping(item, "a"), mappings(item, "a")) == (
        "",
        None,
        {},
        [],
    )


def test_of_what_is_there_the_wrong_types_are_left_out() -> None:
    item: Any = {"metadata": {"labels": {"a": "b", "c": None, "d": 1}}, "list": [{"a": 1}, None, "x", [], {}]}
    assert labels_of(item) == {"a": "b"}
    assert mappings(item, "list") == [{"a": 1}, {}]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-11-21T13:00:00Z", "2026-11-21T13:00:00+00:00"),
        ("2026-11-21T13:00:00.123456Z", "2026-11-21T13:00:00.123456+00:00"),
        ("2026-11-21T13:00:00.123456789Z", "2026-11-21T13:00:00.123456+00:00"),
        ("2026-11-21T13:00:00.5+02:00", "2026-11-21T11:00:00.500000+00:00"),
        *((value, None) for value in ("", "now", "2026-11-21", "2026-11-21 13:00:00Z", "2026-11-21T13:00:00", None, 5)),
        *(
            (value, None)
            for value in (
                "2026-13-21T13:00:00Z",
                "0001-01-01T00:00:00+23:00",
                "9999-12-31T23:59:59Z",
                "0001-01-01T00:00:00Z",
                "2026-11-21T13:00:00+99:00",
            )
        ),
    ],
)
def test_times_are_those_of_the_api(value: Any, expected: str | None) -> None:
    assert instant(value) == (None if expected is None else dt.datetime.fromisoformat(expected))


def test_text_of_a_cluster_is_one_short_line() -> None:
    assert printable("a\nb\x1b[31m\u202ec") == "a b [31m c"
    assert printable("x" * 300) == "x" * 200 + "…"
    assert printable(None) == "None"
