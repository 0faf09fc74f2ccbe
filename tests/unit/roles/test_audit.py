# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written about the audit in more than one place says the same in each: meta/argument_specs.yml is the source."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.bulwark.node.plugins.modules import report
from ansible_collections.bulwark.node.plugins.plugin_utils.findings import CONTROLS

ROLE = Path(__file__).parents[3] / "roles" / "audit"


def options() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text())
    found: dict[str, Any] = loaded["argument_specs"]["main"]["options"]
    return found


def table(header: str) -> list[list[str]]:
    """The cells of the README's table whose first column is headed ``header``, code marks taken off."""
    text = (ROLE / "README.md").read_text()
    rows = text.partition(f"| {header} |")[2].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip().replace("`", "") for cell in row.strip("|").split("|")] for row in rows]


def test_the_defaults_are_those_of_the_specification() -> None:
    defaults = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
    assert defaults == {name: option["default"] for name, option in options().items()}


def test_the_readme_lists_the_variables_of_the_specification() -> None:
    expected = []
    for name, option in options().items():
        default = option["default"]
        kind = f"list of {option['elements']}" if option["type"] == "list" else option["type"]
        description = re.sub(r"[A-Z]\(([^)]*?#module:)?([^)]*)\)", r"\2", " ".join(option["description"]))
        expected.append([name, kind, f"[{', '.join(default)}]" if isinstance(default, list) else default, description])
    # The README says whose gather_subset it is in words.
    found = [[cell.replace(" of bulwark.node.node_facts", "") for cell in row] for row in table("variable")]
    assert found == expected


def test_every_control_is_in_the_readme_with_its_severity_and_in_the_modules_documentation() -> None:
    assert [row[:2] for row in table("control")] == [[control.id, control.severity] for control in CONTROLS]
    assert re.findall(r"V\(([a-z]+(?:-[a-z]+)+)\)", report.DOCUMENTATION) == [control.id for control in CONTROLS]
