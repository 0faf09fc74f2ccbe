# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The drain itself: evicts what is to go, waits until it is gone, and can be left and taken up at any moment.

What it knows it has from the cluster: a pod is gone once its uid is on none of the node's pods, whatever became of who
evicted it. The nodes' pods are listed as a whole, not asked one by one.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Callable

from ansible_collections.bulwark.node.plugins.module_utils.kube import pods
from ansible_collections.bulwark.node.plugins.module_utils.kube.client import KubeError
from ansible_collections.bulwark.node.plugins.module_utils.kube.drain import Decision, Options, decide
from ansible_collections.bulwark.node.plugins.module_utils.kube.eviction import Remover
from ansible_collections.bulwark.node.plugins.module_utils.kube.pods import Object
from ansible_collections.bulwark.node.plugins.module_utils.kube.preflight import REMOVED, DaemonSets, pods_of
from ansible_collections.bulwark.node.plugins.module_utils.kube.refusals import Refusal, refusal

__all__ = ["Drainer", "Tracked"]

_SHORTEST, _LONGEST = 0.25, 2.0
# How long one look may take before it counts as unanswered.
_PATIENCE = 15.0
# A look costs the server what it costs us to wait for it: at most a fifth of the time is spent looking.
_SHARE = 4.0
_SOON = 1.0
_ENDED = ("gone", "left", "failed")


@dataclass
class Tracked:
    """A pod that is to go. ``state``: open, leaving, gone, left (there, and not waited for
    any more) or failed; times by the client's clock.

    ``waits_for`` is {kind, detail}: a kind of Refusal, or ``termination`` or ``completion``.
    """

    node: str
    pod: Object
    decision: Decision
    since: float
    state: str = "open"
    due: float = 0.0
    attempts: int = 0
    waits_for: Mapping[str, str] | None = None
    ended: float | None = None

    def end(self, state: str, now: float) -> None:
        self.state, self.ended = state, now
        if state != "failed":
            self.waits_for = None


class Drainer:
    """Drains nodes that are cordoned. ``started``: when the drain began, by the wall clock; ``now`` gives that."""

    def __init__(
        self,
        remover: Remover,
        pool: ThreadPoolExecutor,
        options: Options,
        nodes: Sequence[str],
        started: datetime.datetime,
        now: Callable[[], datetime.datetime],
    ) -> None:
        self.tracked: dict[str, Tracked] = {}
        self.silent: str | None = None
        """What the server last did instead of answering; None while it answers."""
        self.changed = False
        self._remover = remover
        self._clock = remover.client.clock
        self._pool = pool
        self._options = options
        self._nodes = nodes
        self._started = started
        self._now = now
        self._daemon_sets = DaemonSets(remover.client)
        self._busy_until = 0.0
        self._pause = _SHORTEST
        self._looked = False

    def run(self, end: float) -> bool:
        """Drain until ``end`` of the client's clock; whether all is done that can be. Raises KubeError where we may not."""
        while True:
            began = self._clock.monotonic()
            moved = self._look(end)
            if not self.silent and not self.left():
                return True
            if self._clock.monotonic() >= end:
                return False
            # What was not answered has been waited for already.
            cost = 0.0 if self.silent else self._clock.monotonic() - began
            if not self.silent:
                moved = self._evict(end) or moved
            self._rest(moved, cost, end)

    def left(self) -> list[Tracked]:
        """Pods that are still to go."""
        return [each for each in self.tracked.values() if each.state not in _ENDED]

    def _look(self, end: float) -> bool:
        """See what is on the nodes; whether something happened there."""
        client, seconds = self._remover.client, max(1.0, min(_PATIENCE, end - self._clock.monotonic()))
        try:
            found = pods_of(client, self._pool, self._nodes, seconds)
            with client.within(seconds):
                missing = self._daemon_sets.missing(pod for each in found.values() for pod in each)
        except KubeError as error:
            said = refusal(error)
            if said.kind not in ("unreachable", "busy", "error"):
                raise
            self.silent = said.text
            return False
        self.silent = None
        before = {uid: each.state for uid, each in self.tracked.items()}
        now = self._clock.monotonic()
        there = {pods.uid(pod): (node, pod) for node, each in found.items() for pod in each}
        for uid, each in self.tracked.items():
            if uid not in there and each.state not in _ENDED:
                each.end("gone", now)
        for uid, (node, pod) in there.items():
            self._see(uid, node, pod, missing)
        self._looked = True
        return before != {uid: each.state for uid, each in self.tracked.items()}

    def _see(self, uid: str, node: str, pod: Object, missing: set[tuple[str, str]]) -> None:
        """One pod that is on a node."""
        now = self._clock.monotonic()
        known = self.tracked.get(uid)
        if known and known.state in _ENDED:
            return
        decision = decide(pod, self._options, missing, self._now())
        if decision.action == "leave" or (not known and self._came_back(pod)):
            # What was waited for has ended; what is long past its end is waited for no more.
            if known:
                known.end("left", now)
            return
        if not known:
            known = self.tracked[uid] = Tracked(node, pod, decision, now)
        known.pod = pod
        if decision.action == "refuse" and known.state == "open" and "deletionTimestamp" not in pod["metadata"]:
            known.waits_for = {"kind": decision.cause or "refused", "detail": decision.reason or ""}
            known.end("failed", now)
        elif decision.action == "wait":
            known.waits_for = {"kind": "completion", "detail": "it is left to end by itself"}
        elif "deletionTimestamp" in pod["metadata"] and not (known.state == "open" and _takes_longer(known)):
            known.state = "leaving"
            known.waits_for = {"kind": "termination", "detail": _termination(pod)}

    def _came_back(self, pod: Object) -> bool:
        """Whether it was put on the cordoned node since: it would be for ever."""
        created = pods.moment(pod["metadata"]["creationTimestamp"])
        return pods.returns_to_cordon(pod) and (self._looked or created > self._started)

    def _evict(self, end: float) -> bool:
        """Send away all whose time has come, several at a time; whether any goes."""
        now = self._clock.monotonic()
        due = [
            each
            for each in self.tracked.values()
            if each.state == "open" and each.decision.action in REMOVED and each.due <= now
        ]
        answers = list(self._pool.map(lambda each: self._remove(each, end), due))
        for each, (tried, answer) in zip(due, answers):
            if tried and not isinstance(answer, KubeError):
                self._take(each, answer)
        # Not before what the others did is known.
        for _tried, answer in answers:
            if isinstance(answer, KubeError):
                raise answer
        return any(tried and answer is None for tried, answer in answers)

    def _remove(self, each: Tracked, end: float) -> tuple[bool, Refusal | KubeError | None]:
        """In a thread of the pool: whether it was tried, and what came of it; a KubeError stops the drain."""
        now = self._clock.monotonic()
        if now >= end or now < self._busy_until:
            return False, None
        with self._remover.client.within(max(1.0, min(_PATIENCE, end - now))):
            try:
                answer = self._remover.remove(each.pod, self._action(each), each.decision.grace)
            except KubeError as error:
                return True, error
        if answer and answer.kind == "busy" and answer.after:
            # The server asks all of us to slow down.
            self._busy_until = self._clock.monotonic() + answer.after
        return True, answer

    def _action(self, each: Tracked) -> str:
        """Deletion in place of eviction once its time has come, where there is consent."""
        late = self._options.delete_after is not None and self._until_deletion() <= 0
        return "delete" if late else each.decision.action

    def _until_deletion(self) -> float:
        """Seconds until what was not evicted is deleted; 0 where that time has come, and where there is no consent to it."""
        after = self._options.delete_after or 0
        return max(0.0, after - (self._now() - self._started).total_seconds())

    def _take(self, each: Tracked, answer: Refusal | None) -> None:
        """What came of a try."""
        now = self._clock.monotonic()
        each.attempts += 1
        if answer is None:
            self.changed = True
            each.state = "leaving"
            each.waits_for = {"kind": "termination", "detail": _termination(each.pod)}
        elif answer.kind == "gone":
            each.end("gone", now)
        else:
            each.waits_for = {"kind": answer.kind, "detail": answer.text}
            if answer.after is None and (each.decision.action != "evict" or self._until_deletion() <= 0):
                each.end("failed", now)
            elif answer.after is None:
                # No eviction will do, but there is consent to delete it then.
                each.due = now + self._until_deletion()
            else:
                each.due = now + max(answer.after, _SOON)

    def _rest(self, moved: bool, cost: float, end: float) -> None:
        """Until the next look: soon while something happens, else more and more seldom, and never more than it costs."""
        self._pause = _SHORTEST if moved else min(_LONGEST, self._pause * 2)
        now = self._clock.monotonic()
        until = now + max(self._pause, min(_SHARE * cost, _PATIENCE))
        due = [each.due for each in self.tracked.values() if each.state == "open" and each.decision.action in REMOVED]
        soonest = max(min(due, default=until), self._busy_until)
        self._clock.sleep(max(0.0, min(until, max(soonest, now + _SHORTEST), end) - now))


def _takes_longer(each: Tracked) -> bool:
    """Whether a pod that somebody deletes has more grace than we are to give it; kubectl evicts it once more too."""
    given = each.pod["metadata"].get("deletionGracePeriodSeconds") or 0
    return each.decision.grace is not None and each.attempts == 0 and given > each.decision.grace


def _termination(pod: Object) -> str:
    """What a pod that is being deleted waits for."""
    finalizers: Iterable[str] = pod["metadata"].get("finalizers") or ()
    if names := ", ".join(finalizers):
        return f"its finalizers ({names})"
    seconds = pod["metadata"].get("deletionGracePeriodSeconds", pod["spec"].get("terminationGracePeriodSeconds", 30))
    return f"its containers to stop, which may take {seconds} s"
