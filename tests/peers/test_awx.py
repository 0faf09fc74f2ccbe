# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What our configuration of AWX is held to is what the modules of awx.awx say, as the package ansible has them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_recorded_options_are_those_of_awx() -> None:
    recorded = json.loads((ROOT / "tests/unit/extensions/awx_modules.json").read_text())
    said = subprocess.run(
        [ROOT / ".venv-peers/bin/python", ROOT / "tests/tools/awx_options.py", *recorded["modules"]],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert json.loads(said) == recorded
