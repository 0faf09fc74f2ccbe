# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module node_drain: cordons, drains and uncordons nodes, in one go or in slices that the cluster's state ties together."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Callable, NoReturn

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError, OptionError
from ansible_collections.bulwark.node.plugins.module_utils.kube import cordon, pods
from ansible_collections.bulwark.node.plugins.module_utils.kube.annotations import CORDON, DRAIN
from ansible_collections.bulwark.node.plugins.module_utils.kube.budgets import show, worst
from ansible_collections.bulwark.node.plugins.module_utils.kube.client import NODES, Client, KubeError, Object
from ansible_collections.bulwark.node.plugins.module_utils.kube.drain import DRAIN_SPEC, Options, parse_options
from ansible_collections.bulwark.node.plugins.module_utils.kube.drainer import Drainer, Tracked
from ansible_collections.bulwark.node.plugins.module_utils.kube.eviction import Remover, eviction_version
from ansible_collections.bulwark.node.plugins.module_utils.kube.preflight import (
    REMOVED,
    Own,
    Planned,
    pods_of,
    preflight,
)

__all__ = ["NODE_DRAIN_SPEC", "act"]

NODE_DRAIN_SPEC: dict[str, Any] = {
    "state": {"type": "str", "choices": ["cordoned", "drained", "uncordoned"], "required": True},
    "nodes": {"type": "list", "elements": "str", "required": True},
    "run_id": {"type": "str"},
    "job_id": {"type": "str"},
    "timeout": {"type": "int", "default": 1800},
    "slice": {"type": "int", "default": 20},
    "continues": {"type": "bool", "default": False},
    "preflight": {"type": "str", "choices": ["enforce", "report"], "default": "enforce"},
    "on_failure": {"type": "str", "choices": ["uncordon", "keep"], "default": "uncordon"},
    "parallel": {"type": "int", "default": 10},
    # For the action plugin, which takes it out.
    "lock": {"type": "dict"},
    **DRAIN_SPEC,
}

_SHOWN = 5
"""How many pods an error's text names; the result has them all."""


def act(
    client: Client,
    params: Mapping[str, Any],
    check: bool,
    environment: Mapping[str, str],
) -> dict[str, Any]:
    """What the module returns. ``params`` as NODE_DRAIN_SPEC; ``environment`` may name the pod that we run in.

    Raises BulwarkError; one of a drain that did not come to its end has all that is returned as its details.
    """
    options = parse_options(params)
    for name in ("timeout", "slice", "parallel"):
        if params[name] < 1:
            raise OptionError(name, params[name], "1 or more")
    if options.delete_after is not None and options.delete_after >= params["timeout"]:
        raise OptionError("delete_after", options.delete_after, f"less than timeout, which is {params['timeout']}")
    if not params["nodes"]:
        raise OptionError("nodes", [], "at least one node")
    for index, name in enumerate(params["nodes"]):
        if not name or name.strip(".") == "" or "/" in name or "%" in name:
            raise OptionError(f"nodes[{index}]", name, "the name of a Node")
    names = list(dict.fromkeys(params["nodes"]))
    found = {name: client.get(NODES, name) for name in names}

    def now() -> datetime.datetime:
        # The server's, as the times of its pods are; ours may be another, and each run's another again.
        return datetime.datetime.fromtimestamp(client.now(), datetime.timezone.utc)

    mine = cordon.Record(params["run_id"] or uuid.uuid4().hex, now())
    if params["state"] == "drained":
        with ThreadPoolExecutor(params["parallel"]) as pool:
            return _Drain(client, params, options, pool, found, mine, now).act(check, environment)
    return _change(client, params["state"], found, mine, params["continues"], check)


def _change(
    client: Client, state: str, found: Mapping[str, Object], mine: cordon.Record, continues: bool, check: bool
) -> dict[str, Any]:
    """Cordon or uncordon alone; uncordon, where it ``continues`` a drain, what that run drains alone.

    Raises KubeError, whose details have the nodes that were changed until then.
    """
    after = dict(found)
    run = mine.run if continues else None
    for name, node in found.items():
        try:
            if state == "cordoned":
                after[name] = cordon.cordoned(node, mine) if check else cordon.cordon(client, name, mine)
            else:
                after[name] = cordon.uncordoned(node, run) if check else cordon.uncordon(client, name, run)
        except KubeError as error:
            error.details.update(_changed(state, found, after))
            raise
    return _changed(state, found, after)


def _changed(state: str, found: Mapping[str, Object], after: Mapping[str, Object]) -> dict[str, Any]:
    nodes = []
    for name, node in after.items():
        closed = cordon.is_cordoned(node)
        reason = "others cordoned it, and may uncordon it" if closed and state == "uncordoned" else None
        nodes.append(_node(name, node, "cordoned" if closed else "schedulable", reason))
    before = {name: _shown(node, ()) for name, node in found.items()}
    then = {name: _shown(node, ()) for name, node in after.items()}
    return {
        "changed": before != then,
        "finished": True,
        "nodes": nodes,
        "pods": [],
        "seconds_left": None,
        "diff": {"before": {"nodes": before}, "after": {"nodes": then}},
    }


@dataclass
class _Drain:
    """One call for ``state: drained``."""

    client: Client
    params: Mapping[str, Any]
    options: Options
    pool: ThreadPoolExecutor
    found: Mapping[str, Object]
    mine: cordon.Record
    now: Callable[[], datetime.datetime]
    bound: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    deferred: dict[str, str] = field(default_factory=dict)
    plan: list[Planned] = field(default_factory=list)
    after: dict[str, Object] = field(default_factory=dict)
    drainer: Drainer | None = None
    started: datetime.datetime | None = None
    # By node: why it is not drained.
    failed: dict[str, str] = field(default_factory=dict)

    def act(self, check: bool, environment: Mapping[str, str]) -> dict[str, Any]:
        """Pre-flight, cordon, drain, and what is to be done at the end of each."""
        self.after = dict(self.found)
        try:
            return self.go(check, environment)
        except KubeError as error:
            # Who did not answer may yet, and is asked again by the next call.
            if not self.params["continues"] or not error.refused:
                raise
            self.failed.update(dict.fromkeys(self.targets, str(error)))
            self.stop_failed(check, "the drain was stopped")

    def go(self, check: bool, environment: Mapping[str, str]) -> dict[str, Any]:
        """What ``act`` does, as far as the server lets it."""
        self.bound = pods_of(self.client, self.pool, list(self.found))
        own = Own.of(environment, self.params["job_id"])
        for name, each in self.bound.items():
            for pod in filter(own.is_pod, each):
                self.deferred[name] = f"pod {pods.named(pod)} on it runs this very job"
        if self.params["continues"]:
            self.failed = {name: lost for name in self.targets if (lost := self.lost(self.found[name]))}
        if self.failed:
            self.stop_failed(check, "the drain is not this run's any more, and no pod is evicted from now on")
        remover = Remover(self.client, eviction_version(self.client))
        if not self.resumed or check:
            there = {name: self.bound[name] for name in self.targets}
            self.plan = preflight(remover, self.pool, self.options, there, self.now())
            self.judge()
        elif opened := [name for name in self.targets if not cordon.is_cordoned(self.found[name])]:
            self.failed.update(dict.fromkeys(opened, "somebody uncordoned it meanwhile"))
            self.stop_failed(False, "the drain was stopped")
        if self.failed:
            self.stop_failed(check, "this cannot come to its end, and nothing was evicted")
        if check:
            self.after.update({name: cordon.cordoned(self.found[name], self.mine) for name in self.targets})
            return self.result(finished=True, check=True)
        # Until a node is cordoned something may still come to it, and so it is looked at again.
        closed = all(cordon.is_cordoned(self.found[name]) for name in self.targets)
        if not self.resumed and closed and not any(each.decision.action in (*REMOVED, "wait") for each in self.plan):
            for name in self.targets:
                cordon.cordon(self.client, name, self.mine)
                self.after[name] = cordon.stop(self.client, name)
            return self.result(finished=True)
        return self.drain(remover)

    @property
    def targets(self) -> list[str]:
        return [name for name in self.found if name not in self.deferred]

    @property
    def resumed(self) -> bool:
        """Whether this very run began the drain of each of the nodes, in a call before this."""
        return bool(self.targets) and all(cordon.drains(self.found[name], self.mine.run) for name in self.targets)

    def lost(self, node: Object) -> str | None:
        """Why a node whose drain this run began is not its own any more, None where it is."""
        other = cordon.record(node, DRAIN)
        if other and other.run != self.mine.run:
            return f"run {other.run} drains it now"
        return None if cordon.is_cordoned(node) else "somebody uncordoned it, or replaced it"

    def is_abandoned(self, node: Object) -> bool:
        """Whether a run that is no more left it in the middle of a drain: this one, or one whose time is over.

        All else that is cordoned by this collection is meant to be: by ``state: cordoned``, or to be rebooted.
        """
        other = cordon.record(node, DRAIN)
        return other is not None and (other.run == self.mine.run or self.left(other.at) == 0)

    def judge(self) -> None:
        """Which nodes cannot be drained; what the filters refuse no ``preflight`` lets pass."""
        for each in self.plan:
            if each.decision.action == "refuse" or (
                self.params["preflight"] == "enforce" and each.verdict.verdict == "impossible"
            ):
                self.failed.setdefault(each.node, f"{pods.named(each.pod)}: {each.verdict.reason}")

    def drain(self, remover: Remover) -> dict[str, Any]:
        """Cordon where that is not done yet, and drain until the end of the slice."""
        clock = self.client.clock
        end = clock.monotonic() + self.params["slice"]
        try:
            for name in self.targets:
                self.after[name] = cordon.start(self.client, name, self.mine)
            records = [cordon.record(self.after[name], DRAIN) or self.mine for name in self.targets]
            self.started = started = min(record.at for record in records)
            self.drainer = Drainer(remover, self.pool, self.options, self.targets, started, self.now)
            limit = clock.monotonic() + self.left(started)
            finished = self.drainer.run(min(end, limit))
        except KubeError as error:
            self.failed.update(dict.fromkeys(self.targets, str(error)))
            self.stop_failed(False, "the drain was stopped")
        for each in self.drainer.tracked.values():
            if each.state == "failed":
                self.failed.setdefault(each.node, _why(each))
        if not finished and clock.monotonic() >= limit:
            for each in self.drainer.left():
                self.failed.setdefault(each.node, _why(each))
            if self.drainer.silent:
                self.failed.update(dict.fromkeys(self.targets, self.drainer.silent))
            self.stop_failed(False, f"not drained within {self.params['timeout']} s")
        if finished and self.failed:
            self.stop_failed(False, "some pods cannot be evicted")
        try:
            for name in self.targets if finished else ():
                self.after[name] = cordon.stop(self.client, name, self.mine.run)
        except KubeError as error:
            error.details.update(self.result(finished=False))
            raise
        return self.result(finished)

    def left(self, started: datetime.datetime) -> float:
        """Seconds until the time of the whole drain is over."""
        timeout: int = self.params["timeout"]
        return max(0.0, timeout - (self.now() - started).total_seconds())

    def stop_failed(self, check: bool, what: str) -> NoReturn:
        """Leave the nodes as ``on_failure`` says, and raise the BulwarkError of it."""
        notes = []
        # What it began it ends, unless another has taken that over meanwhile.
        begun = bool(self.started or self.params["continues"])
        run = self.mine.run if begun else None
        for name in self.targets:
            if not begun and not self.is_abandoned(self.after[name]):
                continue
            ours = self.params["on_failure"] == "uncordon"
            node = self.after[name]
            try:
                if check:
                    self.after[name] = cordon.uncordoned(node) if ours else node
                else:
                    change = cordon.uncordon if ours else cordon.stop
                    self.after[name] = change(self.client, name, run)
            except KubeError as error:
                notes.append(f"{name} is still cordoned by this run, and the next uncordons it: {error}")
        text = "; ".join(f"{name}: {reason}" for name, reason in list(self.failed.items())[:_SHOWN])
        more = f", and {len(self.failed) - _SHOWN} nodes more" if len(self.failed) > _SHOWN else ""
        raise BulwarkError(". ".join([f"{what}: {text}{more}", *notes]), self.result(finished=True, check=check))

    def result(self, finished: bool, check: bool = False) -> dict[str, Any]:
        """Everything, in the order of the nodes, and of namespaces and names."""
        tracked = self.drainer.tracked if self.drainer else {}
        planned = {pods.uid(each.pod): each for each in self.plan}
        rows = [
            _pod(node, pod, planned.get(pods.uid(pod)), tracked.get(pods.uid(pod)), self.client.clock.monotonic())
            for node, pod in self.all_pods()
            if node not in self.deferred
        ]
        for row in rows:
            if check and not self.failed and row["verdict"] != "impossible":
                row["state"] = {**dict.fromkeys(REMOVED, "gone"), "wait": "left"}.get(row["action"], row["state"])
        nodes = [self.node(name, rows, finished) for name in self.found]
        before = {name: _shown(self.found[name], self.to_go(rows, name)) for name in self.found}
        after = {
            name: _shown(
                self.after[name],
                self.to_go([row for row in rows if row["state"] != "gone"], name),
            )
            for name in self.found
        }
        return {
            "changed": before != after or bool(self.drainer and self.drainer.changed),
            "finished": finished,
            "nodes": nodes,
            "pods": rows,
            "seconds_left": int(self.left(self.started)) if self.started else None,
            "diff": {"before": {"nodes": before}, "after": {"nodes": after}},
        }

    def all_pods(self) -> Sequence[tuple[str, Mapping[str, Any]]]:
        """With their nodes, those that came later among them."""
        found: list[tuple[str, Mapping[str, Any]]] = [(node, pod) for node, each in self.bound.items() for pod in each]
        known = {pods.uid(pod) for node, pod in found}
        later = self.drainer.tracked.items() if self.drainer else ()
        found += [(each.node, each.pod) for uid, each in later if uid not in known]
        order = list(self.found)
        return sorted(found, key=lambda pair: (order.index(pair[0]), pods.key(pair[1])))

    @staticmethod
    def to_go(rows: Sequence[Mapping[str, Any]], node: str) -> list[str]:
        """Names of the node's pods that are to be ended."""
        return [f"{row['namespace']}/{row['name']}" for row in rows if row["node"] == node and row["action"] in REMOVED]

    def node(self, name: str, rows: Sequence[Mapping[str, Any]], finished: bool) -> dict[str, Any]:
        if name in self.deferred:
            return _node(name, self.after[name], "deferred", self.deferred[name])
        mine = [row for row in rows if row["node"] == name]
        left = [row for row in mine if row["state"] in ("there", "leaving") and row["action"] not in ("leave", None)]
        verdict = worst(row["verdict"] for row in mine if row["verdict"]) if self.plan or not mine else None
        if name in self.failed:
            return _node(name, self.after[name], "failed", self.failed[name], verdict, len(left))
        state = "stopped" if self.failed else "drained" if finished and not left else "draining"
        return _node(name, self.after[name], state, None, verdict, len(left))


def _node(
    name: str, node: Object, state: str, reason: str | None, verdict: str | None = None, left: int | None = None
) -> dict[str, Any]:
    ours = cordon.is_ours(node)
    by = "bulwark.node" if ours else "other"
    record = cordon.record(node, CORDON) if ours else None
    return {
        "name": name,
        "state": state,
        "reason": reason,
        "verdict": verdict,
        "cordoned": cordon.is_cordoned(node),
        "cordoned_by": by if cordon.is_cordoned(node) else None,
        "run_id": record.run if record else None,
        "pods_left": left,
    }


def _pod(
    node: str, pod: Mapping[str, Any], planned: Planned | None, tracked: Tracked | None, now: float
) -> dict[str, Any]:
    decision = tracked.decision if tracked else planned.decision if planned else None
    verdict = planned.verdict if planned else None
    judged = verdict is not None and decision is not None and decision.action != "leave"
    owner = pods.controller(pod)
    namespace, name = pods.key(pod)
    return {
        "node": node,
        "namespace": namespace,
        "name": name,
        "uid": pods.uid(pod),
        "owner": {"kind": owner["kind"], "name": owner["name"]} if owner else None,
        "action": decision.action if decision else "leave",
        "reason": (verdict.reason if verdict and judged else None) or (decision.reason if decision else None),
        "verdict": verdict.verdict if verdict and judged else None,
        "budget": verdict.budget if verdict else None,
        "budget_owner": dict(verdict.owner) if verdict and verdict.owner else None,
        "command": (verdict.command if verdict else None) or show("pod", namespace, name),
        "notes": list(planned.decision.notes if planned else decision.notes if decision else ()),
        "state": {"open": "there"}.get(tracked.state, tracked.state) if tracked else "there",
        "waits_for": dict(tracked.waits_for) if tracked and tracked.waits_for else None,
        "waited": round((tracked.ended or now) - tracked.since, 1) if tracked else 0.0,
        "attempts": tracked.attempts if tracked else 0,
    }


def _why(each: Tracked) -> str:
    waits = each.waits_for or {"kind": "nothing", "detail": "it was not tried"}
    return f"{pods.named(each.pod)}: {waits['kind']}: {waits['detail']}"


def _shown(node: Object, to_go: Sequence[str]) -> dict[str, Any]:
    """What a diff has of a node."""
    return {"unschedulable": cordon.is_cordoned(node), "ours": cordon.is_ours(node), "pods": list(to_go)}
