# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report on a terminal: its rows, their order and their tones, and hostile text that does no harm."""

from __future__ import annotations

import json
import unicodedata

import pytest

from ansible_collections.bulwark.node.plugins.plugin_utils import report
from ansible_collections.bulwark.node.plugins.plugin_utils.report_table import escape, table
from ansible_collections.bulwark.node.tests.unit.plugins.plugin_utils.conftest import (
    BROKEN,
    DOWN,
    build,
    built,
    node,
    text,
)


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


def test_of_one_host_what_passes_is_a_row_too() -> None:
    lines = text(built(a=node()))
    assert [line.split()[2] for line in lines[1:5]] == ["pass", "pass", "pass", "pass"]
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
    tones = {line.text.split()[2]: line.tone for line in reversed(table(made, 200)[1:8])}
    assert tones == {"unreachable": "unreachable", "failed": "bad", "fail": "bad", "unknown": "warn"}
    assert [line.tone for line in table(built(a=node()), 200)[1:5]] == ["good", "good", "good", "good"]


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
    made = build({hostile: DOWN, "b": {**DOWN, "msg": hostile}, "c": node(restart=True, reason=hostile, errors=errors)})
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
    assert escape(given) == shown


@pytest.mark.parametrize(("length", "shown"), [(400, "x" * 400), (401, "x" * 400 + "...")])
def test_a_long_reason_is_cut_in_the_table_and_whole_in_the_report(length: int, shown: str) -> None:
    made = built(a={"failed": True, "msg": "x" * length})
    assert text(made, 1000)[1].split()[-1] == shown
    assert made["hosts"]["a"]["reason"] == "x" * length
