# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine says that we wrote on it."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.manifest import HEADER, MANIFEST
from ansible_collections.bulwark.node.plugins.module_utils.node.managed import PLACES, facts


def host(root: Path, manifest: Any = None) -> Host:
    if manifest is not None:
        (root / MANIFEST[1:]).parent.mkdir(parents=True)
        (root / MANIFEST[1:]).write_text(manifest if isinstance(manifest, str) else json.dumps(manifest))
    return Host(str(root))


def test_without_a_manifest_nothing_is_managed(tmp_path: Path) -> None:
    assert facts(host(tmp_path)) == {"objects": [], "reason": None}


def test_objects_are_named_without_what_was_there_before(tmp_path: Path) -> None:
    before = {"text": "password: secret", "mode": "0600", "uid": 0, "gid": 0}
    found = facts(
        host(
            tmp_path,
            {
                "schema": 1,
                "kernel": {"/sys/b": {"before": "1", "by": "hugepages"}, "/sys/a": {"before": "2", "by": "rlimit"}},
                "files": {"/etc/theirs": {"before": before, "by": "kernel_args"}},
            },
        )
    )
    assert found["objects"] == [
        {"kind": "files", "object": "/etc/theirs", "by": "kernel_args"},
        {"kind": "kernel", "object": "/sys/a", "by": "rlimit"},
        {"kind": "kernel", "object": "/sys/b", "by": "hugepages"},
    ]
    assert "secret" not in str(found)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 0}', '{"schema": "2"}', "\x00"])
def test_what_is_no_manifest_is_told_and_not_taken_for_nothing(tmp_path: Path, text: str) -> None:
    found = facts(host(tmp_path, text))
    assert found["objects"] is None
    assert found["reason"].startswith(f"{MANIFEST}: is not a manifest of schema 1")


@pytest.mark.parametrize(("folder", "name", "by"), PLACES)
def test_a_file_of_ours_that_the_manifest_does_not_know_is_named(
    tmp_path: Path, folder: str, name: str, by: str
) -> None:
    path = f"{folder}/{name.replace('*', 'x')}"
    (tmp_path / path[1:]).parent.mkdir(parents=True)
    (tmp_path / path[1:]).write_text(f"#!/bin/sh\n{HEADER}.\n")
    (tmp_path / folder[1:] / "fifo.conf").mkdir()
    found = facts(host(tmp_path, {"schema": 1, "kernel": {"/sys/a": {"before": "2", "by": "rlimit"}}}))
    assert {"kind": "files", "object": path, "by": by} in found["objects"]
    assert len(found["objects"]) == 2
    assert found["reason"] == f"{MANIFEST} does not know {path}: what was there before is lost"
    (tmp_path / path[1:]).write_text("# theirs\n")
    assert facts(Host(str(tmp_path)))["reason"] is None


def test_a_file_that_the_manifest_knows_is_named_once(tmp_path: Path) -> None:
    path = "/etc/security/limits.d/95-bulwark.conf"
    (tmp_path / path[1:]).parent.mkdir(parents=True)
    (tmp_path / path[1:]).write_text(f"{HEADER}.\n")
    assert facts(host(tmp_path, {"schema": 1, "files": {path: {"before": None, "by": "rlimit"}}})) == {
        "objects": [{"kind": "files", "object": path, "by": "rlimit"}],
        "reason": None,
    }


def test_every_file_that_the_modules_write_below_etc_has_its_place() -> None:
    code = Path(__file__).parents[5] / "plugins/module_utils/node"
    texts = [path.read_text() for path in code.glob("*.py") if path.name != "managed.py"]
    paths = {path for text in texts for path in re.findall(r'"(/etc/[^"\n{}]*bulwark[^"\n{}]*)"', text)}
    names = {name for text in texts for name in re.findall(r'"([^"/\n{}]*bulwark-[^"/\n{}]*)"', text)}
    assert (len(paths) > 8, len(names) > 2) == (True, True)
    assert [path for path in paths if not any(fnmatchcase(path, f"{place[0]}/{place[1]}") for place in PLACES)] == []
    assert [name for name in names if not any(name in pattern for _folder, pattern, _by in PLACES)] == []
