# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module node_drain slice by slice until the drain is done, and shows the pods that are left meanwhile."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.bulwark.node.plugins.module_utils.kube.client import ARGUMENT_SPEC

__all__ = ["ActionModule"]

_SLICE = 20
"""Seconds. AWX takes a job that says nothing for minutes for a dead one, and so do people."""
_TIMEOUT = 1800
_PAUSE = 5.0
_SHOWN = 10
"""How many pods one message names."""
_LOCK_MODULE = "bulwark.node.reboot_lock"
_TTL = 300
_SERVER = [name for option, spec in ARGUMENT_SPEC.items() for name in (option, *spec.get("aliases", ()))]
_UNFINISHED = "The drain is not over: the nodes are cordoned, and the next run takes it up"
_JOB = ("awx_job_id", "tower_job_id")

display = Display()


class ActionModule(ActionBase):
    """The action of ``bulwark.node.node_drain``."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """What one call would have returned that goes on for as long as it takes."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = self._arguments(task_vars or {})
        end = time.monotonic() + _number(arguments.get("timeout"), _TIMEOUT)
        lock = _Lock.of(arguments)
        so_far: dict[str, Any] | None = None
        while True:
            if lock and lock.is_due() and (refused := self._renew(lock, task_vars)):
                return {**result, **self._stopped(lock, so_far, refused, arguments, task_vars)}
            ran = self._execute_module(module_args=arguments, task_vars=task_vars)
            if so_far and _unanswered(ran):
                # A call that begins needs an answer; the drain as a whole has its timeout for that.
                if time.monotonic() < end:
                    display.display(f"node_drain: no answer, and on it goes: {ran.get('msg')}")
                    time.sleep(_PAUSE)
                    continue
                ran["msg"] = f"{ran.get('msg')}. {_UNFINISHED}"
            so_far = _merged(so_far, ran)
            if ran.get("failed") or ran.get("finished", True):
                return {**result, **so_far}
            # Who ended the drain meanwhile, or took it over, is not to be overruled.
            arguments["continues"] = True
            for line in _progress(ran):
                display.display(line)

    def _renew(self, lock: _Lock, task_vars: dict[str, Any] | None) -> dict[str, Any] | None:
        """Renew the lock, and what the module of it said where that is not ours any more.

        Where nobody answered it is still ours, until its own time is over, and that is tried again after the next slice;
        but at first, when nothing is begun, nobody has said that it is.
        """
        if self._task.check_mode:
            return None
        ran: dict[str, Any] = self._execute_module(_LOCK_MODULE, lock.arguments, task_vars=task_vars)
        if not ran.get("failed"):
            lock.renewed()
        elif not _unanswered(ran) or lock.is_over():
            return ran
        return None

    def _stopped(
        self,
        lock: _Lock,
        so_far: dict[str, Any] | None,
        refused: Mapping[str, Any],
        arguments: Mapping[str, Any],
        task_vars: dict[str, Any] | None,
    ) -> dict[str, Any]:
        """Without the lock nothing goes on; what the drain began is left as its option says."""
        said = (
            "is lost, and no pod was evicted from then on"
            if lock.known
            else "could not be renewed, and nothing was begun"
        )
        told = f"node_drain: the lock {said}: {refused.get('msg')}"
        ended: dict[str, Any] = {**(so_far or {"changed": False}), "finished": True, "failed": True, "msg": told}
        if so_far and arguments.get("on_failure", "uncordon") == "uncordon":
            opened = self._execute_module(module_args={**arguments, "state": "uncordoned"}, task_vars=task_vars)
            nodes = {node["name"]: node for node in opened.get("nodes", ())}
            keys = ("cordoned", "cordoned_by", "run_id")
            ended["nodes"] = [
                {**node, "state": "stopped", **{key: nodes[node["name"]][key] for key in keys if node["name"] in nodes}}
                for node in so_far["nodes"]
            ]
            if opened.get("failed"):
                ended["msg"] = f"{told}. {_UNFINISHED}: {opened.get('msg')}"
        return ended

    def _arguments(self, task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """The task's, with what ties its slices together, and AWX's job."""
        given = dict(self._task.args)
        job = next((str(task_vars[name]) for name in _JOB if task_vars.get(name)), None)
        return {
            **given,
            "slice": min(_number(given.get("slice"), _SLICE), _SLICE),
            "run_id": given.get("run_id") or uuid.uuid4().hex,
            "job_id": given.get("job_id") or job,
        }


@dataclass
class _Lock:
    """A lock that this run holds: how to renew it, and until when it is held if nobody does.

    ``known``: whether it was ever told that it does.
    """

    arguments: dict[str, Any]
    ttl: int
    since: float
    known: bool = False

    @classmethod
    def of(cls, arguments: dict[str, Any]) -> _Lock | None:
        """Take the option O(lock) out of the module's arguments; None without it."""
        given = arguments.pop("lock", None)
        if not given:
            return None
        if not isinstance(given, Mapping):
            raise AnsibleActionFail(
                f"node_drain: lock: got {given!r}, expected the options of bulwark.node.reboot_lock"
            )
        server = {name: arguments[name] for name in _SERVER if arguments.get(name) is not None}
        ttl, least = _number(given.get("ttl"), _TTL), 3 * arguments["slice"]
        if ttl < least:
            # It is renewed between the slices alone.
            raise AnsibleActionFail(
                f"node_drain: lock.ttl: got {ttl}, expected at least {least} seconds, three times the slice"
            )
        return cls({**server, **given, "state": "held"}, ttl, time.monotonic() - ttl / 3)

    def is_due(self) -> bool:
        """Whether a third of its time is over; at first, for nobody knows when it was taken."""
        return time.monotonic() >= self.since + self.ttl / 3

    def is_over(self) -> bool:
        return not self.known or time.monotonic() >= self.since + self.ttl

    def renewed(self) -> None:
        self.since, self.known = time.monotonic(), True


def _number(given: Any, default: int) -> int:
    """An option as far as it is a number; what it is not the module says."""
    try:
        return int(given)
    except (TypeError, ValueError):
        return default


def _unanswered(ran: Mapping[str, Any]) -> bool:
    """Whether a call failed as nobody answered it, or nobody sound: an error of the client, without a status or with 429 or 5xx."""
    status = ran.get("status")
    return bool(ran.get("failed")) and "verb" in ran and (status is None or status == 429 or status >= 500)


def _merged(before: dict[str, Any] | None, ran: dict[str, Any]) -> dict[str, Any]:
    """Of several slices one result: what the first foresaw, how the last ended, and how long all of it took."""
    if before is None:
        return ran
    if "pods" not in ran:
        return {**before, **ran, "changed": before["changed"] or bool(ran.get("changed"))}
    rows = {row["uid"]: row for row in ran["pods"]}
    pods = [_pod(row, rows.pop(row["uid"], None)) for row in before["pods"]] + list(rows.values())
    order = [node["name"] for node in ran["nodes"]]
    verdicts = {node["name"]: node["verdict"] for node in before["nodes"]}
    return {
        **ran,
        "changed": before["changed"] or ran["changed"],
        "pods": sorted(pods, key=lambda row: (order.index(row["node"]), row["namespace"], row["name"])),
        "nodes": [{**node, "verdict": verdicts[node["name"]]} for node in ran["nodes"]],
        "diff": {"before": before["diff"]["before"], "after": ran["diff"]["after"]},
    }


def _pod(before: Mapping[str, Any], now: Mapping[str, Any] | None) -> dict[str, Any]:
    """A pod over two slices; what is not there any more is gone."""
    if now is None:
        gone = before["state"] in ("there", "leaving")
        return {**before, **({"state": "gone", "waits_for": None} if gone else {})}
    if before["state"] in ("gone", "left"):
        return dict(before)
    return {
        **before,
        "state": now["state"],
        "waits_for": now["waits_for"],
        "waited": round(before["waited"] + now["waited"], 1),
        "attempts": before["attempts"] + now["attempts"],
    }


def _progress(ran: Mapping[str, Any]) -> Iterator[str]:
    """A line for each node that is not done, and one for each of the first pods that are left on it."""
    for node in ran["nodes"]:
        if not node["pods_left"]:
            continue
        left = [row for row in ran["pods"] if row["node"] == node["name"] and row["waits_for"]]
        yield f"node_drain: {node['name']}: pods left: {node['pods_left']}, seconds of the timeout: {ran['seconds_left']}"
        for row in left[:_SHOWN]:
            waits = row["waits_for"]
            yield f"  {row['namespace']}/{row['name']} waits for {waits['kind']}: {waits['detail']}"
        if len(left) > _SHOWN:
            yield f"  and {len(left) - _SHOWN} more"
