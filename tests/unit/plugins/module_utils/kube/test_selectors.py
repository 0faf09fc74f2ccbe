# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Label selectors, beside those of the fake API server, which has a reader of its own."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import OptionError
from ansible_collections.bulwark.node.plugins.module_utils.kube import selectors
from ansible_collections.bulwark.node.tests.fakes import kube_selectors

LABELS = [{}, {"app": "web"}, {"app": "db", "tier": "x"}, {"app": "", "canary": "yes"}, {"tier": "x/y"}]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "app",
        "!app",
        "app=web",
        "app==web",
        "app = web",
        "app!=web",
        "app in (web, db)",
        "app notin (web)",
        "app=,canary",
        "tier,app=db",
        " !canary , app in (db) ",
    ],
)
def test_a_text_takes_what_the_api_server_takes_by_it(text: str) -> None:
    wanted = [kube_selectors.labels(text)({"metadata": {"labels": labels}}) for labels in LABELS]
    assert [selectors.matches(selectors.parse("s", text), labels) for labels in LABELS] == wanted


@pytest.mark.parametrize("text", ["a===b", "a in b", "a in (b", ",", "a,,b", "-a", "a=b c", "a>1"])
def test_what_is_no_selector_is_refused_with_the_option(text: str) -> None:
    with pytest.raises(OptionError, match=r"rules\[0\]\.selector: got"):
        selectors.parse("rules[0].selector", text)


@pytest.mark.parametrize(
    ("selector", "taken"),
    [
        (None, []),
        ({}, LABELS),
        ({"matchLabels": {"app": "web"}}, [LABELS[1]]),
        ({"matchExpressions": [{"key": "app", "operator": "Exists"}]}, LABELS[1:4]),
        ({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, [LABELS[0], LABELS[4]]),
        (
            {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web", "db"]}]},
            [LABELS[0], *LABELS[3:]],
        ),
        ({"matchLabels": {"app": "db"}, "matchExpressions": [{"key": "tier", "operator": "In", "values": ["y"]}]}, []),
        ({"matchExpressions": [{"key": "app", "operator": "Gt", "values": ["1"]}]}, []),
    ],
)
def test_a_label_selector_of_an_object(selector: Any, taken: list[dict[str, str]]) -> None:
    assert [labels for labels in LABELS if selectors.matches(selector, labels)] == taken
