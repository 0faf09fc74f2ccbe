# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user installs: the tarball that ``make build`` made in dist/, away from this checkout, and as Galaxy judges it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
VERSION = yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]
TARBALL = ROOT / "dist" / f"bulwark-node-{VERSION}.tar.gz"
# All that is needed at run time, and what ansible-galaxy knows a collection by.
NEEDED = {"meta", "plugins", "roles", "playbooks", "MANIFEST.json", "FILES.json"}
HERE = ["-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}"]


def run(folder: Path, tool: str, *arguments: str, tools: Path = Path(sys.executable).parent) -> str:
    """What a tool prints that runs in ``folder``, with that as its home and its collections in it."""
    environment = {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "HOME": str(folder),
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_COLLECTIONS_PATH": str(folder),
        "ANSIBLE_NOCOLOR": "1",
    }
    done = subprocess.run(
        [tools / tool, *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The tarball installed below ``tmp_path``, less what no user needs at run time."""
    # Forced, for ansible-galaxy finds the checkout in site-packages.
    run(tmp_path, "ansible-galaxy", "collection", "install", "--offline", "--force", "-p", str(tmp_path), str(TARBALL))
    folder = tmp_path / "ansible_collections/bulwark/node"
    for path in folder.iterdir():
        if path.name not in NEEDED:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return folder


def test_the_tarball_holds_what_git_knows_and_nothing_that_was_made() -> None:
    with tarfile.open(TARBALL) as tarball:
        names = {member.name for member in tarball if member.isfile()} - {"MANIFEST.json", "FILES.json"}
    git = ["git", "ls-files", "-coz", "--exclude-standard"]
    known = subprocess.run(git, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert names <= set(known.split("\0"))
    assert not [name for name in names if re.search(r"(^|/)(\.|__pycache__|output|dist)|\.pyc$", name)]
    needed = [*(ROOT / "plugins/modules").glob("*.py"), *(ROOT / "extensions").rglob("*.yml")]
    assert {str(path.relative_to(ROOT)) for path in needed} <= names


def test_the_installed_collection_gathers_facts_and_audits(tmp_path: Path, installed: Path) -> None:
    listed = run(tmp_path, "ansible-galaxy", "collection", "list", "--format", "json", "bulwark.node")
    assert json.loads(listed)[str(tmp_path / "ansible_collections")]["bulwark.node"]["version"] == VERSION
    facts = run(tmp_path, "ansible", "localhost", "-vvv", *HERE, "-m", "bulwark.node.node_facts")
    assert f"Using module file {installed}/plugins/modules/node_facts.py" in facts
    assert '"schema": 1' in facts
    audit = run(tmp_path, "ansible-playbook", "-vvv", *HERE, "bulwark.node.audit")
    assert f"1 plays in {installed}/playbooks/audit.yml" in audit
    assert str(ROOT / "plugins") not in facts + audit
    host = json.loads((tmp_path / "bulwark-report/report.json").read_text())["hosts"]["localhost"]
    assert (host["status"], host["facts"]["errors"]) == ("ok", [])


@pytest.mark.parametrize(
    "definition",
    sorted((ROOT / "extensions/awx/ee").glob("*/execution-environment.yml")),
    ids=lambda path: path.parent.name,
)
def test_an_execution_environment_is_built_of_the_tarball(tmp_path: Path, definition: Path) -> None:
    run(tmp_path, "ansible-builder", "create", "--file", str(definition), "--context", str(tmp_path))
    assert (tmp_path / "_build/collections" / TARBALL.name).read_bytes() == TARBALL.read_bytes()
    wanted = yaml.safe_load((tmp_path / "_build/requirements.yml").read_text())
    assert wanted == {"collections": [{"name": f"/build/{TARBALL.name}", "type": "file"}]}
    made = next(tmp_path.glob("*file")).read_text()
    assert made.index(f"COPY _build/collections/{TARBALL.name} /build/") < made.index(
        "ansible-galaxy collection install"
    )


def test_an_execution_environment_gets_the_libraries_and_none_of_the_tests_packages(tmp_path: Path) -> None:
    with tarfile.open(TARBALL) as tarball:
        tarball.extractall(tmp_path / "ansible_collections/bulwark/node", filter="data")
    found = yaml.safe_load(run(tmp_path, "ansible-builder", "introspect", str(tmp_path)))
    wanted = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    assert [line.partition("  #")[0] for line in found["python"]] == wanted
    # bindep leaves out the lines of a profile that nobody asks for.
    assert [line for line in found["system"] if "[test " not in line] == []


def test_galaxy_would_import_it(tmp_path: Path) -> None:
    # In an environment of its own, for it pins attrs. It says what is wrong, and exits 0.
    tools = ROOT / ".venv-importer/bin"
    said = run(tmp_path, "python", "-m", "galaxy_importer.main", str(TARBALL), tools=tools)
    assert "Importer processing completed successfully" in said
    assert "...ansible-lint run complete" in said
    assert [line for line in said.splitlines() if re.match(r"(WARNING|ERROR|CRITICAL|Traceback)", line)] == []
    result = json.loads((tmp_path / "importer_result.json").read_text())
    contents = result["docs_blob"]["contents"]
    # Roles have the names of modules.
    documented = {item["content_name"]: item for item in contents if item["content_type"] == "module"}
    for module in (ROOT / "plugins/modules").glob("*.py"):
        assert documented[module.stem]["doc_strings"]["doc"]["description"]
