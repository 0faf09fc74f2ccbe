# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter as a template uses it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.bulwark.node.plugins.filter.assess import FilterModule
from ansible_collections.bulwark.node.tests.unit.plugins.plugin_utils.conftest import FIVE, node

FACTS = node(thp="always")["ansible_facts"]["bulwark"]
assess = FilterModule().filters()["assess"]


def test_the_findings_of_one_host_are_returned() -> None:
    found = assess(FACTS, [FIVE], name="n1", groups=["web"])
    assert [each["control"] for each in found if each["status"] == "fail"] == ["thp-direct-compaction"]
    waiver = {"control": "thp-direct-compaction", "reason": "x", "expires": "9999-12-31"}
    assert "fail" not in [each["status"] for each in assess(FACTS, [FIVE], waivers=[waiver])]


@pytest.mark.parametrize(
    ("facts", "options", "message"),
    [
        (None, {}, "was given no facts of schema 1; expected ansible_facts.bulwark"),
        ({"a": 1}, {}, "was given no facts of schema 1; expected ansible_facts.bulwark"),
        ({**FACTS, "schema": 2}, {}, "was given no facts of schema 1; expected ansible_facts.bulwark"),
        (FACTS, {"baselines": 3}, "baselines: is 3; expected a list of names and paths"),
        (FACTS, {"groups": 3}, "groups: is 3; expected a list of names"),
        (
            FACTS,
            {"waivers": [{"control": ["a"], "reason": "x", "expires": "9999-12-31"}]},
            "waivers[0]: control: is ['a']",
        ),
        (FACTS, {"baselines": ["none"]}, "baselines: has 'none'; expected auto"),
        (FACTS, {"params": {"x": 1}}, "params: has 'x'"),
        (FACTS, {"waivers": [1]}, "waivers[0]: is 1; expected control, reason and expires"),
        ({**FACTS, "x": {1: 1}}, {}, "has a key of type int; expected a string"),
    ],
)
def test_bad_input_is_named(facts: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(AnsibleFilterError) as caught:
        assess(facts, **options)
    assert message in str(caught.value)
    assert str(caught.value).startswith("bulwark.node.assess: ")
