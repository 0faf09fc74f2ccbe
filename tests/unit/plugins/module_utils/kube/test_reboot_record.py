# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each state writes on a Node, what it refuses, and which event tells of it. Nothing is asked here."""

from __future__ import annotations

import copy
import datetime as dt
import json
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError
from ansible_collections.bulwark.node.plugins.module_utils.kube import reboot_record as records
from ansible_collections.bulwark.node.plugins.module_utils.kube.annotations import (
    CORDON,
    DRAIN,
    KURED_NEEDED,
    KURED_REBOOTING,
    QUARANTINED,
    REBOOTED,
    REBOOTING,
)
from ansible_collections.bulwark.node.plugins.module_utils.kube.reboot_record import CHANGES, Record, Step
from ansible_collections.bulwark.node.tests.fakes import kube_objects

NOW = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.timezone.utc)
AT = "2026-01-02T03:04:05Z"
EARLIER = "2026-01-01T00:00:00Z"
RECORD = json.dumps({"run": "theirs", "at": EARLIER})
CNI = {"kube-system/cni": EARLIER}
MINE = Record("ours", EARLIER, "boot-of-a", CNI)
THEIRS = Record("theirs", EARLIER, "boot-of-a", CNI)
PROVEN = Record("ours", EARLIER, "boot-0", CNI, "boot-of-a")
QUARANTINE = {"run": "theirs", "at": EARLIER, "reason": "it did not come back"}
TAINT = {"key": "example.org/reboot", "value": "soon", "effect": "PreferNoSchedule"}
OTHER = {"key": "example.org/reboot", "effect": "NoSchedule"}


def node(record: Record | str | None = None, quarantine: Any = None, **spec: Any) -> dict[str, Any]:
    annotations = {"example.org/kept": "yes"}
    if record is not None:
        annotations[REBOOTING] = str(record)
    if quarantine is not None:
        annotations[QUARANTINED] = quarantine if isinstance(quarantine, str) else json.dumps(quarantine)
    return kube_objects.node("a", annotations=annotations, **spec)


def step(**given: Any) -> Step:
    return Step(**{"run": "ours", "now": NOW, "boot_id": "boot-of-a", "ready": {"kube-system/proxy": AT}, **given})


def changed(state: str, item: dict[str, Any], **given: Any) -> dict[str, Any]:
    """The node after a state, which a second time is no change and leaves what it was given alone."""
    before = copy.deepcopy(item)
    after = CHANGES[state](item, step(**given))
    assert item == before
    again = step(**{**given, "now": NOW + dt.timedelta(hours=1)})
    assert CHANGES[state](copy.deepcopy(after), again) == after
    return after


def written(item: dict[str, Any]) -> dict[str, Any]:
    return {name: text for name, text in item["metadata"]["annotations"].items() if name != "example.org/kept"}


def refused(state: str, item: dict[str, Any], **given: Any) -> str:
    before = copy.deepcopy(item)
    with pytest.raises(BulwarkError) as caught:
        CHANGES[state](item, step(**given))
    assert item == before
    return str(caught.value)


def test_a_record_is_read_as_it_was_written() -> None:
    for each in (MINE, PROVEN, Record("r", AT, "b", {"a/b": None})):
        assert records.record_of(node(each)) == each
    assert records.record_of(node()) is None
    assert json.loads(str(PROVEN)) == {
        "run": "ours",
        "at": EARLIER,
        "boot_id": "boot-0",
        "pods": CNI,
        "proven": "boot-of-a",
        "cordoned": False,
    }


GOOD = json.loads(str(MINE))


@pytest.mark.parametrize(
    "written",
    [
        "",
        "{",
        "[]",
        "null",
        "7",
        "[" * 5000,
        *(
            json.dumps({**GOOD, key: value})
            for key, value in [
                ("run", ""),
                ("run", 7),
                ("run", "a\nb"),
                ("run", "x" * 129),
                ("at", "now"),
                ("at", 7),
                ("boot_id", None),
                ("boot_id", "\x1b[2J"),
                ("pods", {"cni": None}),
                ("pods", {"../nodes/a": None}),
                ("pods", {"kube-system/a/b": None}),
                ("pods", {"kube-system/cni": "soon"}),
                ("pods", {"kube-system/cni": 7}),
                ("proven", ["boot"]),
                ("proven", ""),
            ]
        ),
    ],
)
def test_what_is_no_record_of_ours_is_refused_with_what_removes_it(written: str) -> None:
    for state in CHANGES:
        text = refused(state, node(written))
        assert text.startswith("a: annotation bulwark.node/rebooting: got '")
        assert text.endswith("kubectl annotate node a bulwark.node/rebooting-")
        assert text.isprintable()


@pytest.mark.parametrize("written", ["", "{", '{"run": 7}', "\x1b[2J"])
def test_a_quarantine_that_cannot_be_read_is_one_all_the_same(written: str) -> None:
    found = records.quarantine_of(node(quarantine=written))
    assert found
    assert (found.run, found.at) == (None, None)
    assert "a: it was quarantined: " in refused("begun", node(quarantine=written))


def test_a_fresh_record_has_what_the_node_is_like_now() -> None:
    found = written(changed("begun", node()))
    assert json.loads(found[REBOOTING]) == {
        "run": "ours",
        "at": AT,
        "boot_id": "boot-of-a",
        "pods": {"kube-system/proxy": AT},
        "proven": None,
        "cordoned": False,
    }


@pytest.mark.parametrize(
    ("marks", "expected"),
    [
        ({}, True),
        # By this collection, and meant: state=cordoned.
        ({CORDON: RECORD}, True),
        # A drain was killed.
        ({CORDON: RECORD, DRAIN: RECORD}, False),
    ],
)
def test_a_fresh_record_knows_who_is_to_stay_cordoned(marks: dict[str, str], expected: bool) -> None:
    item = node(unschedulable=True)
    item["metadata"]["annotations"] |= marks
    found = records.record_of(changed("begun", item))
    assert found is not None
    assert found.cordoned is expected


def test_a_record_of_another_machine_is_not_taken_over() -> None:
    item = node(THEIRS)
    item["status"]["nodeInfo"]["machineID"] = "8f2f0d2c6f0b4f3c9c0c5a3d6e1b7a42"
    assert "they are two machines" in refused("begun", item, machine_id="another")
    for same in ("8F2F0d2c6f0b4f3c9c0c5a3d6e1b7a42", None):
        assert changed("begun", item, machine_id=same)


@pytest.mark.parametrize(
    ("boot_id", "pods"),
    [
        ("boot-2", CNI),
        # Nothing has happened since but that time went by.
        ("boot-of-a", {**CNI, "kube-system/proxy": AT}),
    ],
)
def test_a_record_that_is_taken_over_keeps_what_the_node_was_like(boot_id: str, pods: dict[str, str]) -> None:
    after = changed("begun", node(THEIRS), boot_id=boot_id)
    assert records.record_of(after) == Record("ours", AT, "boot-of-a", pods)
    known = records.record_of(changed("begun", node(Record("theirs", EARLIER, "boot-0", CNI, "boot-of-a"))))
    assert known
    assert (known.boot_id, known.proven) == ("boot-0", "boot-of-a")


def test_one_s_own_record_stays_as_it_is() -> None:
    assert changed("begun", node(MINE), boot_id="boot-2", ready={}) == node(MINE)


def test_a_machine_that_is_not_the_node_begins_nothing() -> None:
    text = refused("begun", node(), boot_id="boot-of-b")
    assert text.startswith(
        "a: boot_id: got 'boot-of-b', and the Node's is 'boot-of-a': check that host and Node are one"
    )


def test_a_quarantine_is_lifted_when_that_is_said() -> None:
    text = refused("begun", node(THEIRS, QUARANTINE))
    assert text == (
        f"a: it was quarantined by run theirs at {EARLIER}: it did not come back. See what it is like, then call state=begun with"
        " lift_quarantine, or: kubectl annotate node a bulwark.node/quarantined-"
    )
    after = changed("begun", node(THEIRS, QUARANTINE), lift_quarantine=True)
    assert set(written(after)) == {REBOOTING}


def test_a_proof_is_noted_and_ends_the_reboot() -> None:
    after = changed("proven", node(MINE), boot_id="boot-2")
    assert records.record_of(after) == Record("ours", EARLIER, "boot-of-a", CNI, "boot-2")
    assert written(changed("ended", after)) == {REBOOTED: AT}
    assert "it has no record of a reboot" in refused("proven", node())
    assert "its reboot is not proved, so it cannot end" in refused("ended", node(MINE))
    assert "it was quarantined by run theirs" in refused("ended", node(PROVEN, QUARANTINE))


def test_what_was_not_rebooted_is_abandoned_and_what_was_is_not() -> None:
    assert written(changed("abandoned", node(MINE))) == {}
    assert "its boot id was boot-0 and is boot-of-a, so it was rebooted" in refused("abandoned", node(PROVEN))
    unknown = node(MINE)
    unknown["status"]["nodeInfo"]["bootID"] = ""
    assert written(changed("abandoned", unknown)) == {}


@pytest.mark.parametrize("state", ["proven", "ended", "abandoned", "quarantined"])
def test_what_another_run_took_over_is_left_to_it(state: str) -> None:
    assert f"a: run theirs took its reboot over at {EARLIER}" in refused(state, node(THEIRS))


@pytest.mark.parametrize("state", ["ended", "abandoned"])
def test_what_has_no_record_is_over_already(state: str) -> None:
    assert changed(state, node(), labels={"example.org/x": "y"}) == node()
    rest = node(taints=[OTHER, TAINT])
    assert changed(state, rest, taint=("example.org/reboot", "soon")) == node(taints=[OTHER])


def test_a_quarantine_cordons_as_ours_and_the_first_reason_stays() -> None:
    after = changed("quarantined", node(MINE), reason="it is not Ready")
    found = written(after)
    assert json.loads(found[QUARANTINED]) == {"run": "ours", "at": AT, "reason": "it is not Ready"}
    assert (after["spec"]["unschedulable"], json.loads(found[CORDON])) == (True, {"run": "ours", "at": AT})
    assert found[REBOOTING] == str(MINE)
    assert changed("quarantined", after, reason="another") == after
    closed = changed("quarantined", node(MINE, unschedulable=True), reason="it is not Ready")
    assert CORDON not in written(closed)
    assert written(changed("quarantined", node(), reason="it is not Ready"))[QUARANTINED]


@pytest.mark.parametrize(
    ("taints", "wanted"),
    [
        ([], [TAINT]),
        ([OTHER], [OTHER, TAINT]),
        ([TAINT, OTHER], [TAINT, OTHER]),
        ([{**TAINT, "value": "old"}, OTHER], [OTHER, TAINT]),
    ],
)
@pytest.mark.parametrize("state", ["pending", "begun"])
def test_the_taint_comes_beside_others(state: str, taints: list[Any], wanted: list[Any]) -> None:
    after = changed(state, node(taints=taints), taint=("example.org/reboot", "soon"))
    assert after["spec"]["taints"] == wanted
    assert (state == "begun") == (REBOOTING in written(after))
    assert "unschedulable" not in after["spec"]


@pytest.mark.parametrize(("state", "record"), [("ended", PROVEN), ("abandoned", MINE)])
def test_the_taint_goes_with_the_record_and_others_stay(state: str, record: Record) -> None:
    after = changed(state, node(record, taints=[TAINT, OTHER]), taint=("example.org/reboot", ""))
    assert after["spec"]["taints"] == [OTHER]
    assert changed(state, node(record, taints=[TAINT, OTHER]))["spec"]["taints"] == [TAINT, OTHER]


def test_annotations_of_kured_come_together_and_the_one_goes_again() -> None:
    after = changed("begun", node(), annotate=True)
    assert {KURED_NEEDED: AT, KURED_REBOOTING: AT}.items() <= written(after).items()
    theirs = node()
    theirs["metadata"]["annotations"] |= {KURED_REBOOTING: EARLIER}
    assert written(changed("begun", theirs, annotate=True))[KURED_REBOOTING] == EARLIER
    assert KURED_NEEDED not in written(changed("begun", theirs, annotate=True))
    for annotate in (True, False):
        gone = changed("abandoned", after, annotate=annotate)
        assert (KURED_REBOOTING in written(gone), KURED_NEEDED in written(gone)) == (not annotate, True)


@pytest.mark.parametrize("state", list(CHANGES))
def test_labels_are_set_in_each_state(state: str) -> None:
    record = {"pending": None, "ended": PROVEN}.get(state, MINE)
    after = changed(state, node(record, labels={"example.org/old": "1"}), labels={"example.org/new": "2"}, reason="x")
    assert after["metadata"]["labels"] == {"example.org/old": "1", "example.org/new": "2"}


@pytest.mark.parametrize(
    ("state", "item", "given", "reason", "said"),
    [
        ("pending", node(), {"taint": ("t", "")}, None, ""),
        ("begun", node(), {}, "RebootBegun", "Run ours began to reboot the node, which has boot id boot-of-a"),
        ("begun", node(MINE), {}, None, ""),
        ("begun", node(MINE), {"labels": {"l": "v"}}, None, ""),
        (
            "begun",
            node(THEIRS),
            {},
            "RebootResumed",
            f"Run ours took up the reboot that run theirs recorded at {EARLIER}",
        ),
        (
            "begun",
            node(MINE, QUARANTINE),
            {"lift_quarantine": True},
            "RebootResumed",
            f"Run ours took up the reboot that run ours recorded at {EARLIER}, and lifted its quarantine",
        ),
        ("begun", node(quarantine=QUARANTINE), {"lift_quarantine": True}, "RebootBegun", "Run ours began to reboot"),
        (
            "proven",
            node(MINE),
            {"boot_id": "boot-2"},
            "RebootProven",
            "Run ours proved that the node was rebooted, and is back with boot id boot-2",
        ),
        ("proven", node(PROVEN), {}, None, ""),
        (
            "ended",
            node(PROVEN),
            {},
            "RebootEnded",
            "Run ours ended the reboot of the node, which has boot id boot-of-a",
        ),
        ("ended", node(), {}, None, ""),
        ("abandoned", node(MINE), {}, "RebootAbandoned", "Run ours does not reboot the node"),
        (
            "abandoned",
            node(MINE),
            {"reason": "the gate is shut"},
            "RebootAbandoned",
            "Run ours does not reboot the node: the gate is shut",
        ),
        ("abandoned", node(taints=[TAINT]), {"taint": ("example.org/reboot", "")}, None, ""),
        ("quarantined", node(MINE), {"reason": "why"}, "RebootQuarantined", "Run ours quarantined the node: why"),
        ("quarantined", node(MINE, QUARANTINE), {"reason": "why"}, None, ""),
    ],
)
def test_each_change_of_the_state_is_told(
    state: str, item: dict[str, Any], given: dict[str, Any], reason: str | None, said: str
) -> None:
    happened = records.what_happened(item, changed(state, item, **given), step(**given), state)
    assert (happened.reason if happened else None) == reason
    if happened:
        assert happened.message.startswith(said)
        assert happened.warning is (reason == "RebootQuarantined")


def test_what_is_seen_has_no_times_and_what_was_asked_for_alone() -> None:
    given = step(annotate=True, taint=("example.org/reboot", ""), labels={"l": "v"})
    after = changed("begun", node(), annotate=True, taint=("example.org/reboot", ""), labels={"l": "v"})
    assert records.seen(after, given) == {
        "rebooting": {
            "run": "ours",
            "at": None,
            "boot_id": "boot-of-a",
            "pods": ["kube-system/proxy"],
            "proven": None,
            "cordoned": False,
        },
        "quarantined": None,
        "unschedulable": False,
        "labels": {"l": "v"},
        "annotations": [KURED_NEEDED, KURED_REBOOTING],
        "taint": "example.org/reboot=:PreferNoSchedule",
    }
    assert records.seen(node(), step()) == {
        "rebooting": None,
        "quarantined": None,
        "unschedulable": False,
        "labels": {},
    }
