# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Node says of its reboot, and how each state of it is written. Pure: a node in, a node out.

All that a later run has to know of one that was killed is in one annotation, and each state is one write: there is nothing
between two states.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Callable

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError
from ansible_collections.bulwark.node.plugins.module_utils.kube import cordon
from ansible_collections.bulwark.node.plugins.module_utils.kube.annotations import (
    DRAIN,
    KURED_NEEDED,
    KURED_REBOOTING,
    QUARANTINED,
    REBOOTED,
    REBOOTING,
)
from ansible_collections.bulwark.node.plugins.module_utils.kube.events import Happened
from ansible_collections.bulwark.node.plugins.module_utils.kube.objects import (
    annotations_of,
    field_of,
    instant,
    labels_of,
    mapping,
    mappings,
    name_of,
    printable,
    text,
)
from ansible_collections.bulwark.node.plugins.module_utils.reboot.run_id import RUN_ID

__all__ = [
    "CHANGES",
    "Quarantine",
    "Record",
    "Step",
    "own",
    "quarantine_of",
    "record_of",
    "seen",
    "what_happened",
]

Object = dict[str, Any]

_EFFECT = "PreferNoSchedule"
# Namespace and name; they become parts of a path.
_DAEMON_SET = re.compile(r"[a-z0-9][-a-z0-9]*/[a-z0-9][-a-z0-9.]*", re.ASCII)
# Characters of a reason.
_LONGEST = 500


@dataclass(frozen=True)
class Record:
    """By which run a node is rebooted, and since when (RFC 3339).

    ``boot_id`` is that of before; ``pods`` the DaemonSets, ``namespace/name``, that had a Ready pod there then, each with since
    when that was Ready (as the API had it; None where it did not say); ``proven`` the boot id that was proved since.
    ``cordoned``: somebody had cordoned it then, whoever that was, and meant it to stay so.
    """

    run: str
    at: str
    boot_id: str
    pods: Mapping[str, str | None] = field(default_factory=dict)
    proven: str | None = None
    cordoned: bool = False

    def __str__(self) -> str:
        """``{"run": "…", "at": "2026-01-02T03:04:05Z", "boot_id": "…", "pods": {…}, "proven": null, "cordoned": false}``."""
        return json.dumps({**vars(self), "pods": dict(self.pods)})

    def facts(self) -> dict[str, Any]:
        """It as a result: of the pods their names alone."""
        return {
            "run": self.run,
            "at": self.at,
            "boot_id": self.boot_id,
            "pods": sorted(self.pods),
            "proven": self.proven,
            "cordoned": self.cordoned,
        }


@dataclass(frozen=True)
class Quarantine:
    """Which run quarantined a node, when and why. Of one that nobody can read ``reason`` alone, which is its text."""

    run: str | None
    at: str | None
    reason: str

    def facts(self) -> dict[str, Any]:
        """It as a result, and as the annotation has it."""
        return {"run": self.run, "at": self.at, "reason": self.reason}


@dataclass(frozen=True)
class Step:
    """Who changes what: the run, the server's time, and the options. ``taint`` is key and value, None for none.

    ``ready`` is what a new record has for pods.
    """

    run: str
    now: dt.datetime
    boot_id: str | None = None
    ready: Mapping[str, str | None] = field(default_factory=dict)
    reason: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotate: bool = False
    taint: tuple[str, str] | None = None
    lift_quarantine: bool = False
    machine_id: str | None = None

    @property
    def stamp(self) -> str:
        """The time as the API writes it."""
        return self.now.strftime("%Y-%m-%dT%H:%M:%SZ")


def record_of(node: Mapping[str, Any]) -> Record | None:
    """The record of a node's reboot, None without one. Raises BulwarkError where it cannot be read: nobody knows then what it is in."""
    written = annotations_of(node).get(REBOOTING)
    if written is None:
        return None
    found = _object(written)
    record = Record(
        text(found, "run"),
        text(found, "at"),
        text(found, "boot_id"),
        mapping(found, "pods"),
        field_of(found, "proven"),
        field_of(found, "cordoned"),
    )
    if not (_is_id(record.run) and _is_id(record.boot_id) and instant(record.at) and _are_known(record)):
        raise BulwarkError(
            f"{name_of(node)}: annotation {REBOOTING}: got {printable(written)!r}, expected the record of a reboot as this"
            " collection writes it. In which state the node is nobody knows: look at it, uncordon it where that is right, and"
            f" remove the annotation: kubectl annotate node {name_of(node)} {REBOOTING}-"
        )
    return record


def quarantine_of(node: Mapping[str, Any]) -> Quarantine | None:
    """The quarantine of a node, None without. One that cannot be read is one all the same."""
    written = annotations_of(node).get(QUARANTINED)
    if written is None:
        return None
    found = _object(written)
    run, at, reason = (text(found, key) for key in ("run", "at", "reason"))
    if not (run and instant(at)):
        return Quarantine(None, None, printable(written, _LONGEST))
    return Quarantine(printable(run), at, printable(reason, _LONGEST))


def _mine(node: Mapping[str, Any], run: str) -> Record | None:
    """The record of this run, None without any. Raises BulwarkError where it is of another."""
    record = record_of(node)
    if record is not None and record.run != run:
        raise BulwarkError(
            f"{name_of(node)}: run {record.run} took its reboot over at {record.at}, and it is not for run {run} to end any more"
        )
    return record


def _object(written: str) -> Any:
    """The JSON of an annotation; None where it is none."""
    try:
        return json.loads(written)
    except (ValueError, RecursionError):
        return None


def _is_id(given: Any) -> bool:
    """Of runs and of boots: both are written in the same letters."""
    return isinstance(given, str) and RUN_ID.fullmatch(given) is not None


def _are_known(record: Record) -> bool:
    """Whether what a record has of pods, and of a proof, can be."""
    pods = all(_DAEMON_SET.fullmatch(name) and (since is None or instant(since)) for name, since in record.pods.items())
    return pods and (record.proven is None or _is_id(record.proven)) and isinstance(record.cordoned, bool)


def own(node: Mapping[str, Any], run: str) -> Record:
    """The record of this run. Raises BulwarkError without one."""
    record = _mine(node, run)
    if record is None:
        raise BulwarkError(
            f"{name_of(node)}: it has no record of a reboot, which tells what it was like before: call state=begun before the"
            " reboot, and leave the record there until state=ended"
        )
    return record


def pending(node: Object, step: Step) -> Object:
    """It is to be rebooted some time. Raises BulwarkError as all states do where its record cannot be read."""
    record_of(node)
    return _tainted(_labelled(node, step), step, wanted=True)


def begun(node: Object, step: Step) -> Object:
    """It is being rebooted by this run: anew, or as another run left it."""
    record = record_of(node)
    quarantine = quarantine_of(node)
    _check_machine(node, step)
    if quarantine and not step.lift_quarantine:
        raise _quarantined(node, quarantine)
    if record is None:
        # What a killed drain left cordoned is meant to be opened again.
        kept = cordon.is_cordoned(node) and cordon.record(node, DRAIN) is None
        record = Record(step.run, step.stamp, _own_boot(node, step), step.ready, cordoned=kept)
    elif record.run != step.run:
        # Until it is rebooted, what is Ready there now is from before the reboot too.
        ready = step.ready if step.boot_id == record.boot_id else {}
        record = replace(record, run=step.run, at=step.stamp, pods={**record.pods, **ready})
    wanted: dict[str, str | None] = {QUARANTINED: None}
    if record != record_of(node):
        wanted[REBOOTING] = str(record)
    # As kured: both are of the moment in which it began.
    if step.annotate and KURED_REBOOTING not in annotations_of(node):
        wanted |= dict.fromkeys((KURED_REBOOTING, KURED_NEEDED), step.stamp)
    return _tainted(_labelled(_annotated(node, wanted), step), step, wanted=True)


def proven(node: Object, step: Step) -> Object:
    """It is back. Raises BulwarkError without a record of this run."""
    record = own(node, step.run)
    if record.proven == step.boot_id:
        return _labelled(node, step)
    return _labelled(_annotated(node, {REBOOTING: str(replace(record, proven=step.boot_id))}), step)


def ended(node: Object, step: Step) -> Object:
    """Its reboot is over, and it proved itself."""
    record = _mine(node, step.run)
    if record is None:
        return _cleared(node, step)
    quarantine = quarantine_of(node)
    if quarantine:
        raise _quarantined(node, quarantine)
    if record.proven is None:
        raise BulwarkError(
            f"{name_of(node)}: its reboot is not proved, so it cannot end: call state=proven before, or state=abandoned where it was"
            " not rebooted"
        )
    return _labelled(_cleared(_annotated(node, {REBOOTING: None, REBOOTED: step.stamp}), step), step)


def abandoned(node: Object, step: Step) -> Object:
    """It was not rebooted, and is not going to be."""
    record = _mine(node, step.run)
    if record is None:
        return _cleared(node, step)
    now = text(node, "status", "nodeInfo", "bootID")
    if now and now != record.boot_id:
        raise BulwarkError(
            f"{name_of(node)}: its boot id was {record.boot_id} and is {printable(now)}, so it was rebooted: prove it by state=proven,"
            " or call state=quarantined"
        )
    return _labelled(_cleared(_annotated(node, {REBOOTING: None}), step), step)


def quarantined(node: Object, step: Step) -> Object:
    """It is not to be used, and no other node is to be rebooted, before somebody has looked at it. The first reason stays."""
    _mine(node, step.run)
    closed = cordon.cordoned(node, cordon.Record(step.run, step.now))
    if quarantine_of(node) is None:
        why = Quarantine(step.run, step.stamp, printable(step.reason, _LONGEST))
        closed = _annotated(closed, {QUARANTINED: json.dumps(why.facts())})
    return _labelled(closed, step)


CHANGES: Mapping[str, Callable[[Object, Step], Object]] = {
    "pending": pending,
    "begun": begun,
    "proven": proven,
    "ended": ended,
    "abandoned": abandoned,
    "quarantined": quarantined,
}


def seen(node: Mapping[str, Any], step: Step) -> dict[str, Any]:
    """What of a node this is about, without times, which differ from run to run: for a diff, and whether something changed."""
    record, quarantine = record_of(node), quarantine_of(node)
    known = annotations_of(node)
    found: dict[str, Any] = {
        "rebooting": {**record.facts(), "at": None} if record else None,
        "quarantined": quarantine.reason if quarantine else None,
        "unschedulable": cordon.is_cordoned(node),
        "labels": {key: labels_of(node).get(key) for key in sorted(step.labels)},
    }
    if step.annotate:
        found["annotations"] = sorted({KURED_REBOOTING, KURED_NEEDED} & set(known))
    if step.taint:
        values = [text(each, "value") for each in mappings(node, "spec", "taints") if _is_taint(each, step.taint[0])]
        found["taint"] = f"{step.taint[0]}={values[0]}:{_EFFECT}" if values else None
    return found


def what_happened(before: Mapping[str, Any], after: Mapping[str, Any], step: Step, state: str) -> Happened | None:
    """What the event of a change tells; None where what the node says of its reboot is as it was."""
    run = step.run
    old, new = record_of(before), record_of(after)
    was, quarantine = quarantine_of(before), quarantine_of(after)
    if quarantine and not was:
        return Happened("RebootQuarantined", f"Run {run} quarantined the node: {quarantine.reason}", warning=True)
    if old == new and was == quarantine:
        return None
    if old is None or new is None:
        return _begins_or_ends(old, new, step, state)
    if new.proven != old.proven:
        return Happened(
            "RebootProven", f"Run {run} proved that the node was rebooted, and is back with boot id {new.proven}"
        )
    lifted = ", and lifted its quarantine" if was else ""
    return Happened("RebootResumed", f"Run {run} took up the reboot that run {old.run} recorded at {old.at}{lifted}")


def _begins_or_ends(old: Record | None, new: Record | None, step: Step, state: str) -> Happened | None:
    run = step.run
    if new is not None:
        return Happened("RebootBegun", f"Run {run} began to reboot the node, which has boot id {new.boot_id}")
    if old is None:
        return None
    if state == "ended":
        return Happened("RebootEnded", f"Run {run} ended the reboot of the node, which has boot id {old.proven}")
    why = f": {step.reason}" if step.reason else ""
    return Happened("RebootAbandoned", f"Run {run} does not reboot the node{why}")


def _quarantined(node: Mapping[str, Any], quarantine: Quarantine) -> BulwarkError:
    by = f" by run {quarantine.run} at {quarantine.at}" if quarantine.run else ""
    return BulwarkError(
        f"{name_of(node)}: it was quarantined{by}: {quarantine.reason}. See what it is like, then call state=begun with"
        f" lift_quarantine, or: kubectl annotate node {name_of(node)} {QUARANTINED}-"
    )


def _check_machine(node: Mapping[str, Any], step: Step) -> None:
    """Raise BulwarkError where the Node is another machine's; one whose id nobody gave, or that has none, passes."""
    known = text(node, "status", "nodeInfo", "machineID")
    if step.machine_id and known and known.lower() != step.machine_id.lower():
        raise BulwarkError(
            f"{name_of(node)}: machine_id: got {step.machine_id!r}, and the Node's is {printable(known)!r}: they are two machines"
        )


def _own_boot(node: Mapping[str, Any], step: Step) -> str:
    """The boot id of the machine, which has to be the node's: else they are two, or the node has been rebooted just now."""
    known = text(node, "status", "nodeInfo", "bootID")
    if known != step.boot_id:
        raise BulwarkError(
            f"{name_of(node)}: boot_id: got {step.boot_id!r}, and the Node's is {printable(known)!r}: check that host and Node are one"
            " machine, and that its kubelet has reported since its last boot"
        )
    return known


def _cleared(node: Object, step: Step) -> Object:
    """Without what only shows that it is to be rebooted."""
    return _tainted(_annotated(node, {KURED_REBOOTING: None} if step.annotate else {}), step, wanted=False)


def _annotated(node: Object, wanted: Mapping[str, str | None]) -> Object:
    return _with(node, "annotations", wanted)


def _labelled(node: Object, step: Step) -> Object:
    return _with(node, "labels", step.labels)


def _with(node: Object, key: str, wanted: Mapping[str, str | None]) -> Object:
    """A node with other annotations or labels; None takes one away."""
    before = dict(mapping(node, "metadata", key))
    after = {name: value for name, value in {**before, **wanted}.items() if value is not None}
    return node if after == before else {**node, "metadata": {**node["metadata"], key: after}}


def _tainted(node: Object, step: Step, wanted: bool) -> Object:
    """A node with the taint, or without; others stay where they are."""
    if step.taint is None:
        return node
    key, value = step.taint
    before = mappings(node, "spec", "taints")
    taint = {"key": key, "effect": _EFFECT, **({"value": value} if value else {})}
    after = [each for each in before if not _is_taint(each, key)]
    if wanted:
        # Where it is there already, it keeps its place.
        if any(_is_taint(each, key) and text(each, "value") == value for each in before):
            return node
        after.append(taint)
    return node if after == before else {**node, "spec": {**node["spec"], "taints": after}}


def _is_taint(taint: Mapping[str, Any], key: str) -> bool:
    """Key and effect tell taints apart (NodeSpec.taints)."""
    return text(taint, "key") == key and text(taint, "effect") == _EFFECT
