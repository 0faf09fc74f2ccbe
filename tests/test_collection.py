# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must agree between the files of the collection, and no linter compares."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from ansible_collections.bulwark.node.plugins.module_utils import settings
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


def test_the_group_all_holds_every_module_and_nothing_else() -> None:
    assert members("all") == set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_documents_its_action_groups(module: str) -> None:
    group = next((group for group in ("node", "kubernetes", "gcp") if module in members(group)), "all")
    assert (
        f"bulwark.node.attributes.actiongroup_{group}"
        in generate.documentation(module)["extends_documentation_fragment"]
    )


@pytest.mark.parametrize("module", MODULES)
def test_the_readme_links_to_every_module(module: str) -> None:
    assert f"[`{module}`](plugins/" in (ROOT / "README.md").read_text()


def test_the_readme_links_to_every_inventory_plugin() -> None:
    plugins = [file.stem for file in (ROOT / "plugins/inventory").glob("*.py")]
    readme = (ROOT / "README.md").read_text()
    assert [name for name in plugins if f"[`{name}`](" not in readme] == []


def test_the_readme_links_to_nothing_that_is_missing() -> None:
    links = re.findall(r"\]\(([^):#]+)\)", (ROOT / "README.md").read_text())
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("folder", ["module_utils", "plugin_utils", "action", "filter", "inventory", "doc_fragments"])
def test_the_map_of_the_architecture_has_every_file_of_the_plugins_and_no_other(folder: str) -> None:
    shown = re.search(
        rf"^  {folder}/(.*\n(?:(?:   .*)?\n)*)", (ROOT / "docs/architecture.md").read_text(), re.MULTILINE
    )
    assert shown
    named = re.findall(r"\b\w+\.py\b", shown.group(1))
    assert sorted(named) == sorted(file.name for file in (ROOT / "plugins" / folder).rglob("*.py"))


def test_each_file_that_is_kept_for_one_boot_is_documented() -> None:
    shapes = (ROOT / "docs/schemas.md").read_text()
    sources = "".join(file.read_text() for file in (ROOT / "plugins/module_utils").rglob("*.py"))
    names = set(re.findall(r"/run/bulwark[\w.-]*", sources))
    assert len(names) > 4
    assert {name for name in names if not re.search(rf"\| `{re.escape(name)}[^/]*` \|", shapes)} == set()


def test_each_file_of_ours_in_a_folder_of_others_is_named_by_its_module_and_listed() -> None:
    sources = "".join(file.read_text() for file in (ROOT / "plugins/module_utils").rglob("*.py"))
    names = re.findall(r"\b((?:[0-9]{2}|zz)-bulwark[^\s\"'`]*)\"", sources)
    assert len(names) > 9
    table = (ROOT / "docs/architecture.md").read_text().partition("## Names of our files")[2].partition("\n## ")[0]
    listed = re.findall(r"\b((?:[0-9]{2}|zz)-bulwark[\w.-]*)`", table)
    assert set(names) == set(listed)
    modules = {name.partition("-bulwark-")[2].partition(".")[0].replace("-", "_") for name in names}
    assert modules <= set(MODULES)


def test_undo_takes_back_each_kind_of_setting() -> None:
    (play,) = yaml.safe_load((ROOT / "playbooks/undo.yml").read_text())
    tasks = {
        name: options for task in play["tasks"] for name, options in task.items() if name.startswith("bulwark.node.")
    }
    given = {**tasks["bulwark.node.settings"], "bridges": tasks["bulwark.node.bridge_mtu"]}
    assert set(given) == set(settings.ARGUMENT_SPEC)
    for name, options in given.items():
        assert [each["state"] for each in (options if isinstance(options, list) else [options])] == ["absent"], name


def test_what_is_generated_is_as_it_would_be_generated_now() -> None:
    stale = [str(file.relative_to(ROOT)) for file, text in generate.generated() if file.read_text() != text]
    assert stale == [], "run `make generate`, and edit what they are made of, not them"


def test_the_readme_links_to_every_role() -> None:
    readme = (ROOT / "README.md").read_text()
    assert [role.name for role in (ROOT / "roles").iterdir() if f"](roles/{role.name})" not in readme] == []
