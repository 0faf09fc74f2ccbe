# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module node_drain slice by slice until the drain is done, and shows the pods that are left meanwhile."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.bulwark.node.plugins.plugin_utils.slices import SlicedAction

__all__ = ["ActionModule"]

_SHOWN = 10
"""How many pods one message names."""
_JOB = ("awx_job_id", "tower_job_id")


class ActionModule(SlicedAction):
    """The action of ``bulwark.node.node_drain``."""

    MODULE = "node_drain"
    UNFINISHED = "The drain is not over: the nodes are cordoned, and the next run takes it up"
    LOST = "no pod was evicted from then on"

    def arguments(self, task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """With what ties the slices together, and AWX's job."""
        given = super().arguments(task_vars)
        job = next((str(task_vars[name]) for name in _JOB if task_vars.get(name)), None)
        return {
            **given,
            "run_id": given.get("run_id") or uuid.uuid4().hex,
            "job_id": given.get("job_id") or job,
        }

    def follow(self, arguments: dict[str, Any], so_far: Mapping[str, Any], ago: float) -> None:
        """Who ended the drain meanwhile, or took it over, is not to be overruled."""
        arguments["continues"] = True

    def stopped(
        self, over: dict[str, Any], arguments: Mapping[str, Any], task_vars: dict[str, Any] | None
    ) -> dict[str, Any]:
        """What the drain began is left as its option says."""
        if arguments.get("on_failure", "uncordon") != "uncordon":
            return over
        opened = self._execute_module(module_args={**arguments, "state": "uncordoned"}, task_vars=task_vars)
        nodes = {node["name"]: node for node in opened.get("nodes", ())}
        keys = ("cordoned", "cordoned_by", "run_id")
        over["nodes"] = [
            {**node, "state": "stopped", **{key: nodes[node["name"]][key] for key in keys if node["name"] in nodes}}
            for node in over["nodes"]
        ]
        if opened.get("failed"):
            over["msg"] = f"{over['msg']}. {self.UNFINISHED}: {opened.get('msg')}"
        return over

    def merged(self, before: dict[str, Any] | None, ran: dict[str, Any]) -> dict[str, Any]:
        """What the first foresaw, how the last ended, and how long all of it took."""
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

    def progress(self, ran: Mapping[str, Any]) -> Iterator[str]:
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
