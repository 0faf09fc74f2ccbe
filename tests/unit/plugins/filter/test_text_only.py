# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a filter tells of a node's or an API's text is a template to no core, wherever it came from: hostvars bring no mark along."""

from __future__ import annotations

from typing import Any

import pytest
from ansible import template
from ansible.parsing.dataloader import DataLoader

from ansible_collections.bulwark.node.plugins.filter import assess, nat_load, nat_plan

EVIL = "{{ 6 * 7 }}"
ROUTER = {"router": {"name": EVIL}, "nats": [{"effective": {"min_ports_per_vm": 64}}]}


def is_text(told: Any) -> bool:
    """Whether a variable with this value gives it as it is."""
    variable = getattr(template, "trust_as_template", str)("{{ told }}")
    return bool(template.Templar(DataLoader(), variables={"told": told}).template(variable) == told)


def test_why_a_host_was_not_measured_is_no_template() -> None:
    told = nat_load.FilterModule().filters()["nat_load"]({"a": {"source": "none", "reason": EVIL}})
    assert EVIL in told["unmeasured"][0]["reason"]
    assert is_text(told)


def test_nothing_in_a_plan_is_a_template() -> None:
    told = nat_plan.FilterModule().filters()["nat_plan"](ROUTER, {"unmeasured": [{"name": EVIL}]})
    assert EVIL in told["blocked"][0]["detail"]
    assert told["gateway"]["router"] == EVIL
    assert is_text(told)


def test_no_evidence_is_a_template(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assess, "assess", lambda *_given: [{"evidence": {"link": EVIL}}])
    told = assess.FilterModule().filters()["assess"]({"schema": 1})
    assert told == [{"evidence": {"link": EVIL}}]
    assert is_text(told)
