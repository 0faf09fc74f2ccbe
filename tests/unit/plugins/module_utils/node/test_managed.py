# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine says that we wrote on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.manifest import MANIFEST
from ansible_collections.bulwark.node.plugins.module_utils.node.managed import facts


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


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 2}', "\x00"])
def test_what_is_no_manifest_is_told_and_not_taken_for_nothing(tmp_path: Path, text: str) -> None:
    found = facts(host(tmp_path, text))
    assert found["objects"] is None
    assert found["reason"].startswith(f"{MANIFEST}: is not a manifest of schema 1")
