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
    assert facts(host(tmp_path)) == {"objects": [], "unknown": [], "drifted": [], "reason": None}


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
    assert (found["objects"], found["unknown"], found["drifted"]) == (None, None, None)
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
    assert found["unknown"] == [path]
    assert found["reason"] == f"{MANIFEST} does not know {path}: what was there before is lost"
    (tmp_path / path[1:]).write_text("# theirs\n")
    assert facts(Host(str(tmp_path)))["reason"] is None


def test_a_file_that_the_manifest_knows_is_named_once(tmp_path: Path) -> None:
    path = "/etc/security/limits.d/95-bulwark.conf"
    (tmp_path / path[1:]).parent.mkdir(parents=True)
    (tmp_path / path[1:]).write_text(f"{HEADER}.\n")
    assert facts(host(tmp_path, {"schema": 1, "files": {path: {"before": None, "by": "rlimit"}}})) == {
        "objects": [{"kind": "files", "object": path, "by": "rlimit"}],
        "unknown": [],
        "drifted": [],
        "reason": None,
    }


BOOT = "5e3cf2a1-9f5d-4f5e-8a5b-7f1e9d2c3b4a"
MTU = "/sys/class/net/br0/mtu"
THP_FILE = "/etc/tmpfiles.d/10-bulwark-transparent-hugepages.conf"
ENABLED = "/sys/kernel/mm/transparent_hugepage/enabled"


def drifted(root: Path, written: dict[str, str], **manifest: Any) -> list[tuple[str, str, str]]:
    """(object, module, detail) of what has changed on a machine with these files."""
    for path, text in {"/proc/sys/kernel/random/boot_id": f"{BOOT}\n", **written}.items():
        (root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        (root / path[1:]).write_text(text)
    found = facts(host(root, {"schema": 1, **manifest}))
    return [(each["object"], each["by"], each["detail"]) for each in found["drifted"]]


def mtu(after: str, boot: str = BOOT) -> dict[str, Any]:
    return {MTU: {"before": "1500", "by": "bridge_mtu", "after": after, "boot": boot}}


@pytest.mark.parametrize(
    ("found", "entry", "detail"),
    [
        ("9000", mtu("9000"), None),
        ("1500", mtu("9000"), "it was set to 9000 and is 1500"),
        # A timer may put the one before back.
        ("1500", mtu("1500 9000"), None),
        ("1400", mtu("1500 9000"), "it was set to 9000 and is 1400"),
        # What was set in an earlier boot is gone with it.
        ("1500", mtu("9000", boot="another"), None),
        ("1500", {MTU: {"before": "1500", "by": "bridge_mtu"}}, None),
    ],
)
def test_an_mtu_that_another_has_set_since_is_named(
    tmp_path: Path, found: str, entry: dict[str, Any], detail: str | None
) -> None:
    expected = [(MTU, "bridge_mtu", detail)] if detail else []
    assert drifted(tmp_path, {MTU: f"{found}\n"}, kernel=entry) == expected


def test_a_link_that_is_gone_has_not_changed(tmp_path: Path) -> None:
    assert drifted(tmp_path, {}, kernel=mtu("9000")) == []


@pytest.mark.parametrize(
    ("line", "found", "detail"),
    [
        (f"w! {ENABLED} - - - - madvise", "always [madvise] never", None),
        (f"w! {ENABLED} - - - - madvise", "[always] madvise never", f"{THP_FILE} sets it to madvise and it is always"),
        # This kernel has none of it.
        ("w! /sys/kernel/mm/transparent_hugepage/hugepages-8kB/enabled - - - - never", "[always] never", None),
    ],
)
def test_an_attribute_that_is_not_as_our_file_sets_it_is_named(
    tmp_path: Path, line: str, found: str, detail: str | None
) -> None:
    files = {THP_FILE: f"{HEADER}.\n{line}\n", ENABLED: f"{found}\n"}
    known = {THP_FILE: {"before": None, "by": "transparent_hugepages"}}
    assert drifted(tmp_path, files, files=known) == ([(ENABLED, "transparent_hugepages", detail)] if detail else [])


def test_a_file_of_ours_that_is_gone_or_anothers_is_named_and_one_that_we_edited_is_not(tmp_path: Path) -> None:
    new = {"before": None, "by": "rlimit"}
    text = {"text": "x", "mode": "0644", "uid": 0, "gid": 0}
    entries = {
        "/etc/sysctl.d/90-bulwark-rlimit.conf": new,
        "/etc/security/limits.d/95-bulwark-rlimit.conf": new,
        "/etc/kernel/cmdline": {"before": None, "by": "kernel_args"},
        "/etc/kernel/bulwark-kernel-args": {"before": None, "by": "kernel_args"},
        "/boot/loader/entries/x.conf": {"before": text, "by": "kernel_args"},
    }
    files = {"/etc/security/limits.d/95-bulwark-rlimit.conf": "# theirs\n", "/etc/kernel/cmdline": "quiet\n"}
    assert drifted(tmp_path, files, files=entries) == [
        ("/etc/kernel/bulwark-kernel-args", "kernel_args", "it was removed"),
        ("/etc/security/limits.d/95-bulwark-rlimit.conf", "rlimit", "it does not begin as ours any more"),
        ("/etc/sysctl.d/90-bulwark-rlimit.conf", "rlimit", "it was removed"),
    ]


def test_every_file_that_the_modules_write_below_etc_has_its_place() -> None:
    code = Path(__file__).parents[5] / "plugins/module_utils/node"
    texts = [path.read_text() for path in code.glob("*.py") if path.name != "managed.py"]
    paths = {path for text in texts for path in re.findall(r'"(/etc/[^"\n{}]*bulwark[^"\n{}]*)"', text)}
    names = {name for text in texts for name in re.findall(r'"([^"/\n{}]*bulwark-[^"/\n{}]*)"', text)}
    assert (len(paths) > 8, len(names) > 2) == (True, True)
    assert [path for path in paths if not any(fnmatchcase(path, f"{place[0]}/{place[1]}") for place in PLACES)] == []
    assert [name for name in names if not any(name in pattern for _folder, pattern, _by in PLACES)] == []
