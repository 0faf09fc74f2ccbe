# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock in a file: what is written, when nothing is, and that a killed writer leaves a whole text."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.reboot.lock import Claim, Lock
from ansible_collections.bulwark.node.plugins.module_utils.reboot.lock_file import FileStore

NOW = 1767323045.0
PATH = "/var/lib/bulwark/reboot-lock.json"


def lock_of(tree: Path, node: str = "a", run: str = "r", now: float = NOW, **claim: Any) -> Lock:
    return Lock(FileStore(Host(str(tree)), PATH, clock=lambda: now), Claim(run, node, **claim))


def folder(tree: Path) -> list[str]:
    return sorted(str(path.relative_to(tree)) for path in tree.rglob("*") if not path.is_dir())


def test_it_is_taken_renewed_and_released(tmp_path: Path) -> None:
    assert lock_of(tmp_path).acquire().held
    refused = lock_of(tmp_path, "b", "s").acquire()
    assert refused.after.reason == "1 of 1 hold it: 'ansible:r:a' (until 2026-01-02T03:09:05Z)"
    assert lock_of(tmp_path, now=NOW + 299).acquire().renewed
    assert lock_of(tmp_path, "b", "s", NOW + 598).acquire().held is False
    assert lock_of(tmp_path, "b", "s", NOW + 599).acquire().held
    assert not lock_of(tmp_path).release().changed
    assert lock_of(tmp_path, "b", "s").release().changed
    assert folder(tmp_path) == ["var/lib/bulwark/reboot-lock.json.lock"]


def test_where_nothing_is_to_be_written_nothing_is_made(tmp_path: Path) -> None:
    assert lock_of(tmp_path).acquire(check=True).changed
    assert not lock_of(tmp_path).release().changed
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_ours_alone(tmp_path: Path) -> None:
    lock_of(tmp_path).acquire()
    assert stat.S_IMODE((tmp_path / "var/lib/bulwark").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / PATH[1:]).stat().st_mode) == 0o644


def test_a_text_that_nobody_can_read_is_held_and_repaired_only_by_force(tmp_path: Path) -> None:
    file = tmp_path / PATH[1:]
    file.parent.mkdir(parents=True)
    file.write_bytes(b"\xff{")
    assert "its holder is unknown" in str(lock_of(tmp_path).acquire().after.reason)
    assert file.read_bytes() == b"\xff{"
    assert lock_of(tmp_path, force=True).acquire().held


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock_of(tmp_path).acquire()
    before = (tmp_path / PATH[1:]).read_bytes()

    def full(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(HostError, match="ENOSPC"):
        lock_of(tmp_path, now=NOW + 1).renew()
    monkeypatch.undo()
    assert (tmp_path / PATH[1:]).read_bytes() == before
    assert folder(tmp_path) == ["var/lib/bulwark/reboot-lock.json", "var/lib/bulwark/reboot-lock.json.lock"]


def test_who_came_between_the_look_and_the_lock_is_not_overwritten(tmp_path: Path) -> None:
    lock = lock_of(tmp_path)
    host = lock.store.host  # type: ignore[attr-defined]
    locked = host.locked

    def late(path: str, seconds: float) -> Any:
        host.locked = locked
        assert lock_of(tmp_path, "b", "s").acquire().held
        return locked(path, seconds)

    host.locked = late
    refused = lock.acquire()
    assert (refused.held, refused.changed) == (False, False)
