# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The subset sysctls on this very machine, beside sysctl(8)."""

from __future__ import annotations

import subprocess

from .conftest import Module, tool


def test_settings_are_those_of_sysctl(module: Module) -> None:
    sysctl = tool("sysctl")
    facts = module("node_facts", {"gather_subset": ["sysctls"]})["ansible_facts"]["bulwark"]
    assert facts["errors"] == []
    reasons = {each["name"]: each["reason"] for each in facts["sysctls"]["reasons"]}
    # What they come to has no dot in its name.
    found = {name: value for name, value in facts["sysctls"].items() if "." in name}
    theirs = {}
    for name in found:
        done = subprocess.run([sysctl, "-n", name], capture_output=True, text=True, timeout=10, check=False)
        # Several numbers stand with tabs between them; ours have a space.
        theirs[name] = " ".join(done.stdout.split()) if done.returncode == 0 else None
    assert {name: None if value is None else str(value) for name, value in found.items()} == theirs
    assert set(reasons) == {name for name, value in theirs.items() if value is None}
    assert isinstance(found["vm.swappiness"], int)
