# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must agree between the files of the collection, and no linter compares."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.bulwark.node.tests.tools import generate

ROOT = Path(__file__).parents[1]
MODULES = sorted(file.stem for file in (ROOT / "plugins/modules").glob("*.py"))


def members(group: str) -> set[str]:
    """Return the modules of an action group, those of the groups that it extends included."""
    found: set[str] = set()
    for entry in yaml.safe_load((ROOT / "meta/runtime.yml").read_text())["action_groups"][group]:
        if isinstance(entry, str):
            found.add(entry)
        else:
            for other in entry["metadata"]["extend_group"]:
                found |= members(other.removeprefix("bulwark.node."))
    return found


def documentation(module: str) -> dict[str, Any]:
    """Return the DOCUMENTATION of a module."""
    for node in ast.parse((ROOT / f"plugins/modules/{module}.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "DOCUMENTATION":
            return dict(yaml.safe_load(ast.literal_eval(node.value)))
    raise LookupError(f"{module} has no DOCUMENTATION")


def test_the_group_all_holds_every_module_and_nothing_else() -> None:
    assert members("all") == set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_documents_its_action_groups(module: str) -> None:
    fragment = "actiongroup_node" if module in members("node") else "actiongroup_all"
    assert f"bulwark.node.attributes.{fragment}" in documentation(module)["extends_documentation_fragment"]


@pytest.mark.parametrize("module", MODULES)
def test_the_readme_links_to_every_module(module: str) -> None:
    assert f"[`{module}`](plugins/" in (ROOT / "README.md").read_text()


def test_the_readme_links_to_nothing_that_is_missing() -> None:
    links = re.findall(r"\]\(([^):#]+)\)", (ROOT / "README.md").read_text())
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_map_of_the_architecture_has_every_file_of_the_modules_code() -> None:
    named = set(re.findall(r"\b\w+\.py\b", (ROOT / "docs/architecture.md").read_text()))
    assert {file.name for file in (ROOT / "plugins/module_utils").rglob("*.py")} - named == set()


def test_what_is_generated_is_as_it_would_be_generated_now() -> None:
    stale = [str(file.relative_to(ROOT)) for file, text in generate.generated() if file.read_text() != text]
    assert stale == [], "run `make generate`, and edit what they are made of, not them"


def test_the_readme_links_to_every_role() -> None:
    readme = (ROOT / "README.md").read_text()
    assert [role.name for role in (ROOT / "roles").iterdir() if f"](roles/{role.name})" not in readme] == []
