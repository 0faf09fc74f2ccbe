# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report as data, as a table and as a file, made of what hosts returned, hostile hosts among them."""

from __future__ import annotations

import errno
import json
import os
import stat
import unicodedata
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.plugin_utils import report

NOW = datetime(2026, 3, 1, 13, 5, 7, 999, tzinfo=timezone(timedelta(hours=1)))
MIB = 1 << 20


def node(*, thp: str = "madvise", restart: bool = False, reason: str | None = None, **more: Any) -> dict[str, Any]:
    """What node_facts returns: of five controls three pass, boot arguments do not apply; ``thp`` and ``restart`` make failures."""
    pools = [{"size": "2M", "size_bytes": 2 * MIB, "total": 9, "surplus": 0, "unclaimed": 0, "nodes": []}]
    hugepages = {
        "pools": pools,
        "memory_total_bytes": 1 << 36,
        "boot_args": [],
        "cgroup": {"ready": True, "version": "v2", "reason": None, "missing": []},
        "kubelet": {"running": True, "restart_needed": restart, "reason": reason},
    }
    facts = {
        "schema": 1,
        "errors": [],
        "host": {"uptime_s": 1},
        "hugepages": hugepages,
        "transparent_hugepages": {"enabled": thp, "defrag": thp, "sizes": []},
        **more,
    }
    return {"changed": False, "ansible_facts": {"bulwark": facts}}


DOWN = {"unreachable": True, "changed": False, "msg": "Failed to connect to the host via ssh: Connection refused"}
BROKEN = {
    "failed": True,
    "msg": "The module failed.\nSee stderr",
    "module_stderr": "/bin/sh: python: not found\n",
    "rc": 127,
}


def built(**hosts: Any) -> dict[str, Any]:
    return report.build(hosts, NOW)


def text(made: dict[str, Any], width: int = 200) -> list[str]:
    return [line.text for line in report.table(made, width)]


def nested(depth: int) -> Any:
    made: Any = []
    while depth:
        made, depth = [made], depth - 1
    return made


class Tagged(str):
    """Stands for the string types by which Ansible remembers where a value came from."""

    __slots__ = ()


class TaggedDict(dict[str, Any]):
    """Stands for Ansible's own dictionaries."""


def test_plain_leaves_nothing_but_what_json_has() -> None:
    value = report.plain(
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
    with pytest.raises(report.PlainError, match=message):
        report.plain(value)


def test_plain_ends_at_a_depth() -> None:
    deep = nested(10000)
    with pytest.raises(report.PlainError, match="is nested too deeply"):
        report.plain(deep)


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


def test_the_worst_comes_first() -> None:
    made = built(
        a=node(thp="always"),
        b=node(restart=True),
        c=DOWN,
        d=BROKEN,
        e=node(errors=[{"subset": "host", "reason": "r"}], hugepages=None),
    )
    rows = [line.split()[:3] for line in text(made)[1:]]
    assert rows[: rows.index([])] == [
        ["c", "-", "unreachable"],
        ["d", "-", "failed"],
        ["b", "high", "fail"],
        ["a", "medium", "fail"],
        ["e", "-", "error"],
        ["e", "high", "unknown"],
        ["e", "high", "unknown"],
        ["e", "medium", "unknown"],
        ["e", "low", "unknown"],
    ]


def test_of_one_host_all_findings_are_rows() -> None:
    lines = text(built(a=node()))
    assert [line.split()[2] for line in lines[1:6]] == ["n/a", "pass", "pass", "pass", "pass"]
    assert lines[-1] == "1 host; findings: 1 not applicable, 4 pass"


def test_of_several_hosts_passes_are_a_number() -> None:
    assert text(built(a=node(), b=node())) == ["2 hosts; findings: 2 not applicable, 8 pass"]


def test_the_whole_table() -> None:
    assert text(built(web1=node(restart=True, reason="2M: 9 pages, 5 when it started"), web2=DOWN), width=100) == [
        "HOST  SEVERITY  STATUS       CONTROL                    WHY",
        "web2  -         unreachable  -                          Failed to connect to the host via ssh:",
        "                                                        Connection refused",
        "web1  high      fail         hugepages-kubelet-restart  2M: 9 pages, 5 when it started",
        "",
        "WHAT TO DO",
        "hugepages-kubelet-restart (web1)",
        "    Drain the node and restart its kubelet. Set pools with bulwark.node.hugepages and persist: true,",
        "    which fills them before the kubelet starts at each boot; its restart_required names the kubelet",
        "    whenever a change calls for a restart.",
        "",
        "2 hosts: 1 unreachable; findings: 1 fail (1 high), 1 not applicable, 3 pass",
    ]


def test_without_room_the_reason_stands_below_its_row() -> None:
    lines = text(built(web1=node(restart=True, reason="2M: 9 pages, 5 when it started"), web2=node()), width=60)
    assert lines[:3] == [
        "HOST  SEVERITY  STATUS  CONTROL",
        "web1  high      fail    hugepages-kubelet-restart",
        "    2M: 9 pages, 5 when it started",
    ]


def test_what_to_do_is_said_once_for_all_hosts() -> None:
    lines = text(built(a=node(thp="always"), b=node(thp="always", restart=True)))
    assert [line for line in lines if line.endswith(")") and " (" in line and not line.startswith(("a", "b"))] == [
        "hugepages-kubelet-restart (b)",
        "thp-direct-compaction (2 hosts)",
    ]


def test_rows_have_the_tone_of_what_they_say() -> None:
    made = built(a=node(thp="always", restart=True), b=DOWN, c=BROKEN, d=node(hugepages=None))
    tones = {line.text.split()[2]: line.tone for line in reversed(report.table(made, 200)[1:8])}
    assert tones == {"unreachable": "unreachable", "failed": "bad", "fail": "bad", "unknown": "warn"}
    assert [line.tone for line in report.table(built(a=node()), 200)[1:6]] == ["quiet", "good", "good", "good", "good"]


HOSTILE = {
    "colour": "\x1b[31mred\x1b[0m",
    "title": "\x1b]0;owned\x07",
    "c1": "\x9b2J",
    "newline": "good\nnode1  -  pass",
    "return": "bad\rgood",
    "backspace": "bad\b\b\bgood",
    "bidi": "\u202egnp.exe",
    "isolate": "\u2066x\u2069",
    "zero width": "a\u200bb\ufeffc",
    "line separator": "a\u2028b\u2029c\x85d",
    "stacked": "a" + "\u0301" * 50,
    "surrogate": "\udc9b",
    "tags": "\U000e0041",
    "spaces": "a\u00a0b\u3000c",
    "template": "{{ 1/0 }}",
    "wide": "\u6f22" * 300,
    "long": "x" * 100000,
}


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("width", [0, 40, 79, 132, 1000])
def test_hostile_text_harms_no_terminal_and_no_layout(hostile: str, width: int) -> None:
    errors = [{"subset": hostile, "reason": hostile}, hostile]
    made = report.build(
        {hostile: DOWN, "b": {**DOWN, "msg": hostile}, "c": node(restart=True, reason=hostile, errors=errors)}, NOW
    )
    lines = text(made, width)
    for line in lines:
        assert line.isprintable()
        assert not {unicodedata.category(char) for char in line} & {"Mn", "Me"}
        assert sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in line) <= max(width, 40)
    assert len(lines) < 120
    assert json.loads(report.dumps(made)) == made
    assert report.dumps(made).isascii()
    assert not set(report.dumps(made)) & set(map(chr, [*range(10), *range(11, 32), 127]))


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("plain text, caf\u00e9", "plain text, caf\u00e9"),
        ("\x1b[0m", "\\x1b[0m"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\u202e", "\\u202e"),
        ("\udc9b", "\\udc9b"),
        ("e\u0301", "e\\u0301"),
    ],
)
def test_escape_shows_what_a_terminal_would_act_on(given: str, shown: str) -> None:
    assert report.escape(given) == shown


def test_one_hostile_host_costs_no_other() -> None:
    deep = nested(10000)
    hosts = built(a=node(), b=node(x=deep), c=node(errors="x", hugepages=[]))["hosts"]
    assert [host["status"] for host in hosts.values()] == ["ok", "failed", "ok"]
    assert hosts["b"]["reason"] == "the result is nested too deeply"
    assert {finding["status"] for finding in hosts["c"]["findings"]} == {"error", "pass"}


def test_the_same_results_in_another_order_make_the_same_report() -> None:
    results = {"b": node(thp="always"), "a": DOWN, "c": BROKEN}
    turned = dict(reversed(results.items()))
    assert report.dumps(report.build(results, NOW)) == report.dumps(report.build(turned, NOW))
    assert text(report.build(results, NOW)) == text(report.build(turned, NOW))


def test_facts_in_another_order_make_the_same_file() -> None:
    facts = node()["ansible_facts"]["bulwark"]
    turned = dict(reversed(facts.items()))
    made, other = (built(a={"ansible_facts": {"bulwark": each}}) for each in (facts, turned))
    assert report.dumps(made) == report.dumps(other)


@pytest.mark.parametrize(("length", "shown"), [(400, "x" * 400), (401, "x" * 400 + "...")])
def test_a_long_reason_is_cut_in_the_table_and_whole_in_the_report(length: int, shown: str) -> None:
    made = built(a={"failed": True, "msg": "x" * length})
    assert text(made, 1000)[1].split()[-1] == shown
    assert made["hosts"]["a"]["reason"] == "x" * length


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
