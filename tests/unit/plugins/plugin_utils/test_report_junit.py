# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report as JUnit's XML."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from ansible_collections.bulwark.node.plugins.plugin_utils import report_junit
from ansible_collections.bulwark.node.tests.unit.plugins.plugin_utils.conftest import DOWN, built, node
from ansible_collections.bulwark.node.tests.unit.plugins.plugin_utils.test_report_table import HOSTILE


def test_each_host_is_a_suite_and_each_control_a_case() -> None:
    made = built(a=node(thp="always", x=1), b=DOWN)
    root = ElementTree.fromstring(report_junit.dumps(made))
    assert (root.get("tests"), root.get("failures"), root.get("errors"), root.get("skipped")) == ("6", "1", "1", "1")
    first, second = root
    assert [case.get("name") for case in first] == [each["control"] for each in made["hosts"]["a"]["findings"]]
    (failure,) = first.iter("failure")
    assert (failure.get("type"), (failure.text or "").splitlines()[0]) == ("medium fail", "They stall.")
    assert (failure.get("message") or "").startswith("every page fault may stall")
    (error,) = second.iter("error")
    assert (error.get("type"), error.get("message")) == (
        "unreachable",
        "Failed to connect to the host via ssh: Connection refused",
    )


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_is_text(hostile: str) -> None:
    made = built(**{hostile: {**DOWN, "msg": hostile}, "b": node(restart=True, reason=f"]]><x/>{hostile}")})
    text = report_junit.dumps(made)
    assert text.isascii()
    root = ElementTree.fromstring(text)
    assert {element.tag for element in root.iter()} <= {
        "testsuites",
        "testsuite",
        "testcase",
        "failure",
        "error",
        "skipped",
    }
