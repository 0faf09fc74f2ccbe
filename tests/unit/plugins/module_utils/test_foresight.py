# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that sees what is going to be written: read, listed and stated as if it were there, and nothing is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.converge import Change, Params, Planned, Undos, Verdict
from ansible_collections.bulwark.node.plugins.module_utils.foresight import Foresight
from ansible_collections.bulwark.node.plugins.module_utils.manifest import HEADER, MANIFEST, Manifest


class State:
    def __init__(self, files: dict[str, str | None]) -> None:
        self._files = files

    def facts(self) -> dict[str, Any]:
        return {}

    def files(self) -> dict[str, str | None]:
        return self._files


class Domain:
    """Whose changes are given."""

    name = "sample"

    def desired(self, params: Params) -> None:
        raise NotImplementedError

    def observe(self, desired: None) -> State:
        raise NotImplementedError

    def check(self, state: State, desired: None) -> None:
        raise NotImplementedError

    def plan(self, state: State, desired: None) -> list[Change]:
        raise NotImplementedError

    def apply(self, change: Change, desired: None, undos: Undos) -> None:
        raise NotImplementedError

    def judge(self, before: State, after: State, left: Any, desired: None) -> Verdict:
        raise NotImplementedError

    def settle(self, desired: None) -> None:
        raise NotImplementedError

    def predict(self, state: State, changes: Any) -> State:
        return State(
            {**state.files(), **{change.target: change.after for change in changes if change.kind != "attribute"}}
        )


def plan(*changes: Change) -> Planned[State, None]:
    before = State({change.target: change.before for change in changes if change.kind != "attribute"})
    return Planned(Domain(), None, before, changes)


@pytest.fixture
def host(tmp_path: Path) -> Foresight:
    for path, text in {"etc/a.d/old": "old\n", "etc/a.d/edited": "1\n", "sys/value": "[one] two\n"}.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return Foresight(str(tmp_path))


NEW = f"{HEADER}\nnew\n"


def test_what_will_be_written_is_read_listed_and_there(host: Foresight) -> None:
    host.add(plan(Change("file", "/etc/a.d/new", None, NEW), Change("edit", "/etc/a.d/edited", "1\n", "2\n")))
    assert (host.read("/etc/a.d/new"), host.read("/etc/a.d/edited")) == (NEW, "2\n")
    assert host.names("/etc/a.d") == ["edited", "new", "old"]
    assert (host.is_file("/etc/a.d/new"), host.exists("/etc/a.d/new")) == (True, True)
    assert not Path(f"{host.root}/etc/a.d/new").exists()
    assert Path(f"{host.root}/etc/a.d/edited").read_text() == "1\n"


def test_what_will_be_removed_is_gone(host: Foresight) -> None:
    host.add(plan(Change("file", "/etc/a.d/old", "old\n", None)))
    assert (host.read("/etc/a.d/old"), host.exists("/etc/a.d/old"), host.is_file("/etc/a.d/old")) == (
        None,
        False,
        False,
    )
    assert host.names("/etc/a.d") == ["edited"]
    assert Path(f"{host.root}/etc/a.d/old").exists()


def test_a_file_in_a_new_folder_makes_the_folder(host: Foresight) -> None:
    host.add(plan(Change("file", "/etc/b/c.d/new", None, NEW)))
    assert (host.exists("/etc/b"), host.exists("/etc/b/c.d"), host.is_file("/etc/b/c.d")) == (True, True, False)
    assert (host.folders("/etc"), host.folders("/etc/b"), host.folders("/etc/b/c.d")) == (["a.d", "b"], ["c.d"], [])
    assert (host.names("/etc"), host.names("/etc/b/c.d")) == (["a.d", "b"], ["new"])
    assert not host.exists("/etc/x")


def test_what_one_removes_and_the_next_writes_is_there(host: Foresight) -> None:
    host.add(plan(Change("file", "/etc/a.d/old", "old\n", None)))
    host.add(plan(Change("file", "/etc/a.d/old", None, NEW)))
    assert (host.names("/etc/a.d"), host.read("/etc/a.d/old")) == (["edited", "old"], NEW)


def test_an_attribute_has_its_new_value(host: Foresight) -> None:
    host.add(plan(Change("attribute", "/sys/value", "one", "two")))
    assert Manifest(host, "other").attribute("/sys/value") == "two"
    assert Manifest(host, "other").entries()["kernel"] == {"/sys/value": {"before": "one", "by": "sample"}}


def test_the_manifest_knows_what_will_be_written_with_what_was_there_first(host: Foresight) -> None:
    host.add(plan(Change("file", "/etc/a.d/new", None, NEW), Change("edit", "/etc/a.d/edited", "1\n", "2\n")))
    host.add(plan(Change("edit", "/etc/a.d/edited", "2\n", "3\n")))
    files = Manifest(host, "other").entries()["files"]
    assert (files["/etc/a.d/new"]["before"], files["/etc/a.d/edited"]["before"]["text"]) == (None, "1\n")
    assert not Manifest(host, "other").lost("/etc/a.d/new", host.read("/etc/a.d/new"))
    assert not Path(f"{host.root}{MANIFEST}").exists()


def test_a_plan_without_changes_leaves_all_as_it_is(host: Foresight) -> None:
    host.add(plan())
    assert host.read(MANIFEST) is None
    assert host.names("/etc/a.d") == ["edited", "old"]
