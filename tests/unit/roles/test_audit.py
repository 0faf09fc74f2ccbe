# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written about the audit's controls in more than one place says the same in each."""

from __future__ import annotations

import re
from pathlib import Path

from ansible_collections.bulwark.node.plugins.modules import report
from ansible_collections.bulwark.node.plugins.plugin_utils.findings import CONTROLS

ROLE = Path(__file__).parents[3] / "roles" / "audit"


def table(header: str) -> list[list[str]]:
    """The cells of the README's table whose first column is headed ``header``, code marks taken off."""
    text = (ROLE / "README.md").read_text()
    rows = text.partition(f"| {header} |")[2].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip().replace("`", "") for cell in row.strip("|").split("|")] for row in rows]


def test_every_control_is_in_the_readme_with_its_severity_and_in_the_modules_documentation() -> None:
    assert [row[:2] for row in table("control")] == [[control.id, control.severity] for control in CONTROLS]
    assert re.findall(r"V\(([a-z]+(?:-[a-z]+)+)\)", report.DOCUMENTATION) == [control.id for control in CONTROLS]
