# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report as data and as a file, made of what hosts returned, hostile hosts among them."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.plugin_utils import plain, report
from ansible_collections.bulwark.node.tests.unit.plugins.plugin_utils.conftest import (
    BROKEN,
    DOWN,
    build,
    built,
    node,
    text,
)


def nested(depth: int) -> Any:
    made: Any = []
    while depth:
        made, depth = [made], depth - 1
    return made


SHIM = """pyenv: python3.9: command not found

The `python3.9' command exists in these Python versions:
  3.9.18

Note: See 'pyenv help global' for tips on allowing both
      python2 and python3 to be found.
"""


class Tagged(str):
    """Stands for the string types by which Ansible remembers where a value came from."""

    __slots__ = ()


class TaggedDict(dict[str, Any]):
    """Stands for Ansible's own dictionaries."""


def test_plain_leaves_nothing_but_what_json_has() -> None:
    value = plain.plain(
        TaggedDict({Tagged("a"): [Tagged("b"), (1, 2.5, True, None)], "n": float("nan"), "i": float("-inf")})
    )
    assert value == {"a": ["b", [1, 2.5, True, None]], "n": None, "i": None}
    assert {each.__class__ for each in (value, *value, value["a"], value["a"][0])} == {dict, list, str}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": {1}}, "holds a value of type set"),
        ({1: "a"}, "has a key of type int; expected a string"),
        (b"a", "holds a value of type bytes"),
    ],
)
def test_plain_names_what_json_lacks(value: Any, message: str) -> None:
    with pytest.raises(plain.PlainError, match=message):
        plain.plain(value)


def test_plain_ends_at_a_depth() -> None:
    deep = nested(10000)
    with pytest.raises(plain.PlainError, match="is nested too deeply"):
        plain.plain(deep)


@pytest.mark.parametrize(
    ("result", "status", "reason"),
    [
        (node(), "ok", None),
        (DOWN, "unreachable", "Failed to connect to the host via ssh: Connection refused"),
        ({**DOWN, "failed": True}, "unreachable", "Failed to connect to the host via ssh: Connection refused"),
        ({**DOWN, "msg": "Task failed: Failed to connect"}, "unreachable", "Failed to connect"),
        ({"unreachable": True}, "unreachable", "the host could not be reached"),
        (BROKEN, "failed", "The module failed.\nSee stderr (/bin/sh: python: not found)"),
        (
            {**BROKEN, "module_stderr": "no python\r\nShared connection to 192.0.2.1 closed.\r\n"},
            "failed",
            "The module failed.\nSee stderr (no python)",
        ),
        # A shim whose advice ends in half a sentence.
        (
            {**BROKEN, "module_stderr": SHIM},
            "failed",
            "The module failed.\nSee stderr (pyenv: python3.9: command not found)",
        ),
        # A terminal of its own: what ssh says is all that is on stderr.
        (
            {**BROKEN, "module_stderr": "Shared connection to h closed.\r\n", "module_stdout": "\r\nno python\r\n"},
            "failed",
            "The module failed.\nSee stderr (no python)",
        ),
        (
            {
                **BROKEN,
                "module_stderr": "Warning: Permanently added 'h' to the list\nTraceback (most recent call last):\n  x\nE: y\n",
            },
            "failed",
            "The module failed.\nSee stderr (E: y)",
        ),
        ({"failed": True, "msg": "gather_subset: x"}, "failed", "gather_subset: x"),
        ({"failed": True, "msg": ["x"]}, "failed", "the facts module failed and gave no reason"),
        ({"skipped": True, "skip_reason": "x"}, "failed", "the facts task was skipped"),
        (
            {},
            "failed",
            "no facts: the host left the play before the audit, as a task before it failed or could not reach it",
        ),
        (
            None,
            "failed",
            "no facts: the host left the play before the audit, as a task before it failed or could not reach it",
        ),
        ("x", "failed", "the result is of type str; expected a dictionary"),
        (
            {"ansible_facts": {}},
            "failed",
            "the result has no ansible_facts.bulwark; expected what bulwark.node.node_facts returns",
        ),
        (
            {"ansible_facts": {"bulwark": []}},
            "failed",
            "the result has no ansible_facts.bulwark; expected what bulwark.node.node_facts returns",
        ),
        (
            {"ansible_facts": {"bulwark": {"schema": 2}}},
            "failed",
            "the facts have schema 2; this release judges schema 1",
        ),
        (
            {"ansible_facts": {"bulwark": {"schema": 1, "x": {1}}}},
            "failed",
            "the result holds a value of type set, which JSON has no form for",
        ),
    ],
)
def test_a_host_is_ok_unreachable_or_failed_with_its_reason(result: Any, status: str, reason: str | None) -> None:
    host = built(a=result)["hosts"]["a"]
    assert (host["status"], host["reason"]) == (status, reason)
    assert (host["facts"] is not None) == (status == "ok")
    assert len(host["findings"]) == (5 if status == "ok" else 0)


def test_the_report_counts_hosts_and_findings() -> None:
    made = built(b=node(thp="always", restart=True), a=DOWN, c=BROKEN, d=node(transparent_hugepages=None))
    assert made["schema"] == 1
    assert made["generated"] == "2026-03-01T12:05:07Z"
    assert list(made["hosts"]) == ["a", "b", "c", "d"]
    assert made["summary"] == {
        "hosts": 4,
        "unreachable": 1,
        "failed": 1,
        "findings": {
            "by_status": {"fail": 2, "error": 0, "unknown": 1, "waived": 0, "not_applicable": 2, "pass": 5},
            "fail_by_severity": {"critical": 0, "high": 1, "medium": 1, "low": 0, "info": 0},
        },
    }
    assert report.hosts_of(made, "unreachable") == ["a"]
    assert report.hosts_of(made, "failed") == ["c"]


def test_one_hostile_host_costs_no_other() -> None:
    deep = nested(10000)
    hosts = built(a=node(), b=node(x=deep), c=node(errors="x", hugepages={"pools": [{"unclaimed": "x"}]}))["hosts"]
    assert [host["status"] for host in hosts.values()] == ["ok", "failed", "ok"]
    assert hosts["b"]["reason"] == "the result is nested too deeply"
    assert {finding["status"] for finding in hosts["c"]["findings"]} == {"error", "unknown", "pass"}


def test_the_same_results_in_another_order_make_the_same_report() -> None:
    results = {"b": node(thp="always"), "a": DOWN, "c": BROKEN}
    turned = dict(reversed(results.items()))
    assert report.dumps(build(results)) == report.dumps(build(turned))
    assert text(build(results)) == text(build(turned))


def test_facts_in_another_order_make_the_same_file() -> None:
    facts = node()["ansible_facts"]["bulwark"]
    turned = dict(reversed(facts.items()))
    made, other = (built(a={"ansible_facts": {"bulwark": each}}) for each in (facts, turned))
    assert report.dumps(made) == report.dumps(other)


def test_write_makes_folder_and_file_for_owner_and_group(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "report.json"
    report.write(str(path), "{}\n")
    assert path.read_text() == "{}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert stat.S_IMODE(path.parent.stat().st_mode) & 0o007 == 0
    assert os.listdir(path.parent) == ["report.json"]


def test_write_keeps_the_mode_of_a_folder_that_was_there(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    report.write(str(tmp_path / "report.json"), "{}\n")
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_write_replaces_a_symlink_and_leaves_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "report.json").symlink_to("victim")
    report.write(str(tmp_path / "report.json"), "{}\n")
    assert (tmp_path / "victim").read_text() == "precious"
    assert not (tmp_path / "report.json").is_symlink()


@pytest.mark.parametrize("call", ["fsync", "fchmod", "replace"])
def test_a_failed_write_leaves_the_old_report_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    (tmp_path / "report.json").write_text("old")

    def full(*_args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space left"):
        report.write(str(tmp_path / "report.json"), "new")
    assert (tmp_path / "report.json").read_text() == "old"
    assert os.listdir(tmp_path) == ["report.json"]


def test_what_is_renamed_is_on_disk_already(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def watch(name: str) -> None:
        real = getattr(os, name)

        def called(*args: Any) -> None:
            calls.append(name)
            real(*args)

        monkeypatch.setattr(os, name, called)

    watch("fsync")
    watch("replace")
    report.write(str(tmp_path / "report.json"), "{}\n")
    assert calls == ["fsync", "replace", "fsync"]
