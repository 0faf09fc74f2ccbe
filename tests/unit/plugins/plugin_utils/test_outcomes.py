# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the report says of a run that changes hosts: tables of what hosts returned, hostile hosts among them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.plugin_utils import outcomes, report
from ansible_collections.bulwark.node.plugins.plugin_utils.assess import subject
from ansible_collections.bulwark.node.plugins.plugin_utils.baseline import load
from ansible_collections.bulwark.node.plugins.plugin_utils.outcomes import Run
from ansible_collections.bulwark.node.tests.unit.plugins.plugin_utils.conftest import (
    BROKEN,
    DOWN,
    FIVE,
    NOW,
    build,
    node,
    text,
)
from ansible_collections.bulwark.node.tests.unit.plugins.plugin_utils.test_report_table import HOSTILE

GOOD = node()
BAD = node(thp="always")
THP = "thp-direct-compaction"
FILE = {"kind": "file", "target": "/etc/x", "before": None, "after": "a secret\n"}
POOL = {"kind": "pool", "target": "/sys/pool", "before": 0, "after": 8}
DONE: dict[str, Any] = {
    "changed": True,
    "domains": {
        "hugepages": {"changed": True, "changes": [POOL, FILE], "unmet": [], "reboot_required": False},
        "rlimits": [{"changed": False, "changes": []}, {"changed": True, "changes": [FILE]}],
    },
}
SAME = {"changed": False, "domains": {"kvm": {"changed": False, "changes": []}}}
REFUSED = {
    "failed": True,
    "changed": False,
    "msg": "settings: kvm: no",
    "domains": {"kvm": {"failed": True, "msg": "kvm: no"}},
}
REFUSED_TO_CONNECT = str(DOWN["msg"])
LOST = f"its facts can no longer be read: {REFUSED_TO_CONNECT}"
SKIPPED = {"skipped": True, "changed": False}


RUNTIME = node(runtime={"running": True})
DEAD = node(kubelet={"running": False})
DEAD["ansible_facts"]["bulwark"]["hugepages"]["kubelet"]["running"] = False
WELL = {"item": "b.service", "changed": True, "failed": False}
LOOP = {
    "failed": True,
    "failed_task": "Restart",
    "msg": "One or more items failed",
    "results": [{"item": "a.service", "failed": True, "msg": "no start"}, WELL],
}
FAILED_WHEN = {"failed_when_result": True, "msg": "Unknown error.", "status": {"ActiveState": "failed"}}
DIED = {
    "failed": True,
    "failed_task": "Look",
    "results": [{"item": "a.service", "failed": True, **FAILED_WHEN}, WELL],
}


def ours(*objects: str) -> dict[str, Any]:
    return node(
        managed={"objects": [{"kind": "files", "object": each, "by": "rlimit"} for each in objects], "reason": None}
    )


def came(before: Any, result: Any, after: Any, **options: Any) -> dict[str, Any]:
    """The report on one host."""
    given = {"before": {"a": before}, "outcomes": {"a": result}, **options}
    row: dict[str, Any] = build({"a": after}, Run(**given))["hosts"]["a"]
    return row


CASES: dict[str, tuple[Any, Any, Any, dict[str, Any], str, str, str | None]] = {
    # before, result, after, options, status of the outcome, status of the host, reason
    "changed": (GOOD, DONE, GOOD, {}, "changed", "ok", None),
    "unchanged": (GOOD, SAME, GOOD, {}, "unchanged", "ok", None),
    "fixed": (BAD, DONE, GOOD, {}, "changed", "ok", None),
    "still bad": (BAD, DONE, BAD, {}, "changed", "ok", None),
    "worse": (GOOD, DONE, BAD, {}, "worse", "ok", THP),
    "worse, accepted": (GOOD, DONE, BAD, {"accepted": {"a": [THP]}}, "changed", "ok", None),
    "another accepted": (GOOD, DONE, BAD, {"accepted": {"a": ["x"]}}, "worse", "ok", THP),
    "accepted of another host": (GOOD, DONE, BAD, {"accepted": {"b": [THP]}}, "worse", "ok", THP),
    "no kubelet any more": (node(restart=True), DONE, DEAD, {}, "worse", "ok", "facts.kubelet.running"),
    "no kubelet any more, accepted": (
        *(GOOD, DONE, DEAD, {"accepted": {"a": ["facts.kubelet.running"]}}, "changed", "ok", None),
    ),
    "no runtime any more": (
        RUNTIME,
        DONE,
        node(runtime={"running": False}),
        {},
        "worse",
        "ok",
        "facts.runtime.running",
    ),
    "a runtime that nobody can tell of": (RUNTIME, DONE, GOOD, {}, "changed", "ok", None),
    "a unit that did not start": (GOOD, {**DONE, **LOOP}, GOOD, {}, "failed", "ok", "Restart: a.service: no start"),
    "a unit that died": (
        GOOD,
        {**DONE, **DIED},
        GOOD,
        {},
        "failed",
        "ok",
        "Look: a.service: it is failed after its restart",
    ),
    "worse by undo": (
        ours(),
        DONE,
        {**BAD, **node(thp="always", managed={"objects": []})},
        {"undo": True},
        "changed",
        "ok",
        None,
    ),
    "unknown to fail": (node(transparent_hugepages=None), DONE, BAD, {}, "worse", "ok", THP),
    "pass to unknown": (
        *(GOOD, DONE, node(transparent_hugepages=None), {}, "worse", "ok", "facts.transparent_hugepages"),
    ),
    "no facts any more": (
        *(GOOD, DONE, BROKEN, {}, "worse", "failed"),
        "its facts can no longer be read: The module failed.\nSee stderr (/bin/sh: python: not found)",
    ),
    "lost": (GOOD, DONE, DOWN, {}, "worse", "unreachable", LOST),
    "nobody looked": (GOOD, DONE, SKIPPED, {}, "worse", "ok", "its facts can no longer be read: nobody looked"),
    "refused": (GOOD, REFUSED, GOOD, {}, "failed", "ok", "settings: kvm: no"),
    "refused and worse": (GOOD, REFUSED, BAD, {}, "failed", "ok", "settings: kvm: no"),
    "lost in the middle": (GOOD, DOWN, DOWN, {}, "unreachable", "unreachable", REFUSED_TO_CONNECT),
    "handler failed": (
        *(GOOD, {**DONE, "failed": True, "failed_task": "Restart", "msg": "no unit"}, GOOD, {}, "failed", "ok"),
        "Restart: no unit",
    ),
    "failed in silence": (
        *(GOOD, {"failed": True, "failed_task": "Restart"}, GOOD, {}, "failed", "ok", "Restart: it gave no reason"),
    ),
    "unreachable before": (DOWN, {}, SKIPPED, {}, "unreachable", "unreachable", REFUSED_TO_CONNECT),
    "no facts before": (
        *(BROKEN, {}, SKIPPED, {}, "failed", "failed"),
        "The module failed.\nSee stderr (/bin/sh: python: not found)",
    ),
    "not begun": ({}, {}, {}, {}, "not_begun", "not_begun", "the run has not come to this host"),
    "begun": (GOOD, {}, {}, {"ended": False}, "begun", "ok", "the run has begun with this host, and not ended"),
    "nothing known": (GOOD, {}, GOOD, {}, "failed", "ok", "nothing is known of what was done here"),
    "foretold": (GOOD, DONE, SKIPPED, {"check": True}, "changed", "ok", None),
    "undone": (ours("/etc/x"), DONE, ours(), {"undo": True}, "changed", "ok", None),
    "undone and lost": (
        *(ours("/etc/x"), DONE, DOWN, {"undo": True}, "failed", "unreachable"),
        LOST,
    ),
    "remains": (
        *(ours("/etc/x", "/etc/y"), DONE, ours("/etc/y"), {"undo": True}, "remains", "ok"),
        "not given back: /etc/y (rlimit)",
    ),
    "not known what remains": (
        *(ours("/etc/x"), DONE, node(managed={"objects": None, "reason": "EACCES"}), {"undo": True}, "remains", "ok"),
        "what was written here is not known: EACCES",
    ),
    "not gathered what remains": (
        *(GOOD, DONE, GOOD, {"undo": True}, "remains", "ok"),
        "what was written here is not known: the facts subset managed was not gathered",
    ),
    "what a check of an undo leaves": (
        ours("/etc/x"),
        DONE,
        SKIPPED,
        {"undo": True, "check": True},
        "changed",
        "ok",
        None,
    ),
}


@pytest.mark.parametrize(
    ("before", "result", "after", "options", "outcome", "host", "reason"), CASES.values(), ids=CASES
)
def test_the_status_of_a_host(
    before: Any, result: Any, after: Any, options: dict[str, Any], outcome: str, host: str, reason: str | None
) -> None:
    row = came(before, result, after, **options)
    assert (row["outcome"]["status"], row["status"], row["outcome"]["reason"]) == (outcome, host, reason)


def test_what_was_done_is_listed_by_domain_and_no_text_of_a_file_is_repeated() -> None:
    outcome = came(GOOD, {**DONE, "not_begun": ["kvm"]}, GOOD)["outcome"]
    file = {**FILE, "after": None}
    assert outcome["domains"] == [
        {"name": "hugepages", "status": "changed", "reason": None, "changes": [POOL, file]},
        {"name": "rlimits[0]", "status": "unchanged", "reason": None, "changes": []},
        {"name": "rlimits[1]", "status": "changed", "reason": None, "changes": [file]},
        {"name": "kvm", "status": "not_begun", "reason": None, "changes": []},
    ]
    assert outcome["changed"] is True
    assert "secret" not in str(outcome)


STATUSES = ["pass", "fail", "error", "unknown", "waived", "not_applicable"]


@pytest.mark.parametrize("before", STATUSES)
@pytest.mark.parametrize("after", STATUSES)
def test_what_is_fixed_and_what_is_worse(before: str, after: str) -> None:
    audits = [
        {"facts": {}, "findings": [{"control": "x", "severity": "low", "status": status, "reason": "why"}]}
        for status in (before, after)
    ]
    entry = {"control": "x", "severity": "low", "before": before, "after": after, "reason": "why"}
    fixed = [entry] if before == "fail" and after == "pass" else []
    worse = [entry] if before not in ("fail", "error") and after in ("fail", "error") else []
    assert outcomes.compare(*audits) == (fixed, worse)


def test_a_new_control_is_neither_fixed_nor_worse() -> None:
    new = {"facts": {}, "findings": [{"control": "x", "severity": "low", "status": "fail", "reason": ""}]}
    assert outcomes.compare({"facts": {}, "findings": []}, new) == ([], [])


@pytest.mark.parametrize(
    ("keys", "status"),
    [("severity: low", "changed"), ("pending: true", "changed"), ("gauge: true", "changed"), ("title: x", "worse")],
)
def test_what_is_light_or_waits_for_a_restart_stops_no_run_and_is_named(tmp_path: Path, keys: str, status: str) -> None:
    (tmp_path / "own.yml").write_text(f"controls: [{{id: {THP}, {keys}}}]")
    who = subject("a", load((FIVE, "own.yml"), str(tmp_path)))
    run = Run(before={"a": GOOD}, outcomes={"a": DONE})
    outcome = report.build({"a": BAD}, NOW, run, {"a": who})["hosts"]["a"]["outcome"]
    assert outcome["status"] == status
    assert [(each["control"], each["accepted"]) for each in outcome["worse"]] == [(THP, status == "changed")]


def test_what_is_still_needed_is_joined() -> None:
    part = {
        "reboot_required": True,
        "restart_required": [{"unit": "kubelet.service", "reason": "pools"}],
        "unmet": [{"target": "pools[0]", "wanted": 9, "got": 3, "reason": "short", "remedy": "Boot.", "evidence": {}}],
    }
    result = {"changed": True, "domains": {"hugepages": part, "rlimits": [part]}, "warnings": ["w", "w"]}
    outcome = came(GOOD, result, GOOD)["outcome"]
    assert outcome["reboot_required"] is True
    assert outcome["restart_required"] == [{"unit": "kubelet.service", "reason": "pools"}]
    assert [entry["domain"] for entry in outcome["unmet"]] == ["hugepages", "rlimits[0]"]
    assert outcome["warnings"] == ["w"]


@pytest.mark.parametrize("check", [False, True])
def test_what_was_restarted_is_no_longer_needed_and_is_a_disruption(check: bool) -> None:
    units = ["a.service", "b.service", "c.service", "systemd"]
    part = {"changed": False, "restart_required": [{"unit": unit, "reason": "why"} for unit in units]}
    lost = {"item": "b.service", "failed": True, "msg": "no"}
    skipped = {"item": "c.service", "skipped": True}
    restarts = {"reload": {"changed": False}, "units": {"results": [{**WELL, "item": "a.service"}, lost, skipped]}}
    result = {"changed": False, "domains": {"rlimits": [part]}, "restarts": restarts}
    outcome = came(GOOD, result, GOOD, check=check)["outcome"]
    assert [entry["unit"] for entry in outcome["restart_required"]] == ["b.service", "c.service"]
    assert outcome["disruptive"] == [
        {"target": "a.service", "reason": "it is restarted: why"},
        {"target": "systemd", "reason": "it reads its files again: why"},
    ]
    assert (outcome["changed"], outcome["status"]) == (True, "changed")


@pytest.mark.parametrize(
    "restarts", [None, {}, {"reload": {}, "units": {}}, {"reload": {"skipped": True}, "units": {"results": []}}]
)
def test_without_a_restart_all_is_still_needed(restarts: Any) -> None:
    part = {"changed": False, "restart_required": [{"unit": "systemd", "reason": "why"}]}
    outcome = came(GOOD, {"changed": False, "domains": {"kvm": part}, "restarts": restarts}, GOOD)["outcome"]
    assert (outcome["changed"], outcome["disruptive"]) == (False, [])
    assert outcome["restart_required"] == part["restart_required"]


@pytest.mark.parametrize("prefix", ["", "transparent_hugepages: ", "rlimits[10]: "])
def test_what_was_forgotten_was_not_given_back(prefix: str) -> None:
    warnings = [f"{prefix}/etc/x, /etc/z: forgotten, not given back: it was changed by hand", "/etc/y: something else"]
    before = ours("/etc/x", "/etc/y", "/etc/z")
    outcome = came(before, {**DONE, "warnings": warnings}, ours(), undo=True)["outcome"]
    assert [entry["object"] for entry in outcome["given_back"]] == ["/etc/y"]


def test_undo_tells_what_was_given_back() -> None:
    outcome = came(ours("/etc/x", "/etc/y"), DONE, ours("/etc/y"), undo=True)["outcome"]
    assert [entry["object"] for entry in outcome["given_back"]] == ["/etc/x"]
    assert [entry["object"] for entry in outcome["remains"]] == ["/etc/y"]


def test_the_summary_counts_outcomes_and_controls() -> None:
    run = Run(before={"a": BAD, "b": GOOD, "c": DOWN}, outcomes={"a": DONE, "b": DONE})
    made = build({"a": GOOD, "b": BAD, "c": {}, "d": {}}, run)
    counted = {status: number for status, number in made["summary"]["outcomes"].items() if number}
    assert counted == {"changed": 1, "worse": 1, "unreachable": 1, "not_begun": 1}
    assert (made["summary"]["fixed"], made["summary"]["worse"]) == (1, 1)
    assert report.came_to(made, "worse") == ["b"]
    assert text(made)[-1].endswith(
        "; outcomes: 1 unreachable, 1 worse, 1 not begun, 1 changed; controls: 1 fixed, 1 worse"
    )


def rows(made: dict[str, Any]) -> list[tuple[str, ...]]:
    """(host, status, control, why) of each row that is not a mere finding."""
    lines = [line.split(None, 4) for line in text(made, 400) if line]
    labels = {
        "changed",
        "worse",
        "fixed",
        "unreachable",
        "warning",
        "restart",
        "reboot",
        "unmet",
        "accepted",
        "remains",
    }
    return [(row[0], row[2], row[3], row[4]) for row in lines if len(row) == 5 and row[2] in labels]


def test_the_table_says_what_is_to_be_done_above_what_was_done() -> None:
    result = {
        **DONE,
        "warnings": ["tuned sets it too"],
        "domains": {
            **DONE["domains"],
            "kvm": {"reboot_required": True, "restart_required": [{"unit": "u", "reason": "r"}]},
        },
    }
    run = Run(before={"a": BAD, "b": GOOD, "c": DOWN}, outcomes={"a": result, "b": SAME})
    assert rows(build({"a": GOOD, "b": BAD, "c": {}}, run)) == [
        ("c", "unreachable", "-", REFUSED_TO_CONNECT),
        (
            "b",
            "worse",
            THP,
            "was pass: every page fault may stall in direct compaction: THP is on for all memory (all sizes) with defrag=always",
        ),
        ("a", "reboot", "-", "what was set takes a reboot"),
        ("a", "restart", "u", "r"),
        ("a", "warning", "-", "tuned sets it too"),
        ("a", "fixed", THP, "was fail, is pass"),
        ("a", "changed", "-", "hugepages: /sys/pool 0 -> 8, /etc/x; rlimits[1]: /etc/x"),
    ]


def hostile_results(hostile: str) -> list[Any]:
    part = {
        "changed": True,
        "changes": [{"kind": hostile, "target": hostile, "before": hostile, "after": [hostile]}, hostile],
        "unmet": [{"target": hostile, "reason": hostile, "remedy": hostile}, {}, hostile],
        "restart_required": [{"unit": hostile, "reason": hostile}, {"unit": {"a": hostile}}, hostile],
        "disruptive": [{"target": hostile, "reason": hostile}, {}],
        "not_undone": [{"what": hostile, "reason": hostile}, {}],
    }
    return [
        {
            "changed": hostile,
            "domains": {hostile: part, "rlimits": [part, hostile]},
            "warnings": [hostile, {}],
            "not_begun": [hostile],
        },
        {"failed": True, "msg": hostile, "domains": {hostile: {"failed": True, "msg": hostile}}},
        {"failed": True, "msg": {"a": hostile}, "failed_task": hostile, "domains": [hostile]},
        {"unreachable": True, "msg": hostile},
        {"domains": hostile, "warnings": hostile, "not_begun": hostile},
    ]


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("undo", [False, True])
@pytest.mark.parametrize("number", range(5))
def test_hostile_results_harm_neither_terminal_nor_report(hostile: str, undo: bool, number: int) -> None:
    managed = {"objects": [{"kind": hostile, "object": hostile, "by": [hostile]}, hostile], "reason": hostile}
    run = Run(
        before={"a": node(managed={"objects": [{"object": 5}], "reason": None}), "b": GOOD},
        outcomes={"a": hostile_results(hostile)[number], "b": SAME},
        undo=undo,
    )
    made = build({"a": node(managed=managed), "b": GOOD}, run)
    assert report.dumps(made).isascii()
    for width in (40, 79, 200):
        lines = text(made, width)
        assert "".join(lines).isprintable()
    assert any(line.startswith("b") for line in text(made)) or undo
