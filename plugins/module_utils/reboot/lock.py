# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock under which machines reboot: who may take it, and taking it by compare-and-swap wherever it is kept.

``acquire`` and ``release`` are pure decisions over the entries; ``Lock`` carries them out on a ``Store``. Expiry is by the
stored TTL and the clock of the store, which is the same for all who ask it.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Protocol

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError
from ansible_collections.bulwark.node.plugins.module_utils.reboot.lock_value import (
    NANO,
    Entry,
    Value,
    decode,
    encode,
    identity,
)

__all__ = [
    "CORDONED",
    "GONE",
    "NOT_READY",
    "READY",
    "Claim",
    "Decision",
    "Lock",
    "LockLostError",
    "Outcome",
    "Sight",
    "Store",
    "acquire",
    "holders",
    "release",
    "unreadable",
]

# What a node is found to be; None where that cannot be known.
GONE, CORDONED, NOT_READY, READY = "gone", "cordoned", "NotReady", "ready"
NodeState = Callable[[str], "str | None"]

# Seconds: what the header Date, a store's clock, leaves out.
_RESOLUTION = 1
_REPAIR = "Nobody can take it as it is; force=true removes it"


class LockLostError(BulwarkError):
    """The lock is no more ours: it expired and another took it, or it was removed."""


@dataclass(frozen=True)
class Claim:
    """Who asks, and for what: ``ttl`` in seconds, ``limit`` how many may hold it at once.

    ``takeover``: whoever held it is known not to go on: an expired entry goes whatever its node is like, and that of
    another run for the same node at once. ``force``: any entry for that node goes, and a value that nobody can read.
    """

    run: str
    node: str
    ttl: int = 300
    limit: int = 1
    takeover: bool = False
    force: bool = False

    @property
    def id(self) -> str:
        """The id of its entry."""
        return identity(self.run, self.node)


@dataclass(frozen=True)
class Decision:
    """Who holds the lock then: ``entries`` are those of the value itself where nothing is to be written.

    ``dropped`` are others' entries that go; ``reason`` is why it was not taken, None where it was.
    ``broken``: what was there could not be read and goes too.
    """

    entries: tuple[Entry, ...]
    dropped: tuple[Entry, ...] = ()
    reason: str | None = None
    broken: bool = False


@dataclass(frozen=True)
class Sight:
    """What a store holds (None: nothing) at ``now``, nanoseconds since the epoch by the store's clock."""

    text: str | None
    now: int


class Store(Protocol):
    """Where a lock is kept."""

    @property
    def backend(self) -> str:
        """``kured``, ``lease`` or ``file``."""

    @property
    def owners(self) -> int | None:
        """kured's concurrency; None where there is no kured."""

    @property
    def place(self) -> str:
        """What it is, in words."""

    def look(self) -> Sight:
        """What is there."""

    def swap(self, change: Callable[[Sight], str | None]) -> None:
        """Write what ``change`` makes of what is there, if that is another text, and only if nobody wrote meanwhile; else anew."""

    def state(self, node: str) -> str | None:
        """What the node of this name is like."""


def acquire(value: Value, claim: Claim, now: int, state: NodeState, kured: bool = False) -> Decision:
    """Take the lock, or renew it where it is held by this run for this node.

    ``state`` is asked where it matters alone; ``kured``: entries that are not ours are of the kured on their node.
    """
    fresh = Entry.new(claim.id, now, claim.ttl * NANO)
    if value.problem is not None:
        if claim.force:
            return Decision((fresh,), broken=True)
        return Decision((), reason=unreadable(value.problem))
    mine = [entry for entry in value.entries if entry.id == claim.id]
    if mine and not mine[0].expired(now):
        # Whatever became of the limit: it is held.
        return Decision(tuple(fresh if entry is mine[0] else entry for entry in value.entries))
    others = [entry for entry in value.entries if entry.id != claim.id]
    against = {index: _against(entry, claim, now, state, kured) for index, entry in enumerate(others)}
    stay = [entry for index, entry in enumerate(others) if against[index]]
    reasons = "; ".join(reason for reason in against.values() if reason)
    if any(entry.node == claim.node for entry in stay):
        return Decision(value.entries, reason=f"it is held for this node already: {reasons}")
    if len(stay) >= claim.limit:
        return Decision(value.entries, reason=f"{len(stay)} of {claim.limit} hold it: {reasons}")
    return Decision((*stay, fresh), tuple(entry for index, entry in enumerate(others) if not against[index]))


def release(value: Value, claim: Claim) -> Decision:
    """Give the lock up where this run holds it for this node; with ``force`` whoever holds it for the node."""
    if value.problem is not None:
        return Decision((), broken=claim.force)
    gone = [entry for entry in value.entries if entry.id != claim.id and claim.force and _named(entry, claim)]
    stay = [entry for entry in value.entries if entry.id != claim.id and entry not in gone]
    return Decision(value.entries if len(stay) == len(value.entries) else tuple(stay), tuple(gone))


def _named(entry: Entry, claim: Claim) -> bool:
    """Whether ``force`` is about this entry: one for the node, or one that names nobody, which nobody can release."""
    return entry.node in (claim.node, None)


def _against(entry: Entry, claim: Claim, now: int, state: NodeState, kured: bool) -> str | None:
    """Why another's entry stays; None where it goes."""
    if claim.force and _named(entry, claim):
        return None
    if entry.node is None and not entry.expired(now):
        return f"an entry that names nobody, as kured with a concurrency of 1 reads what it wrote with more. {_REPAIR}"
    same = entry.node == claim.node
    if entry.expired(now):
        # Of the same node: what is cordoned or down is what was asked for.
        found = None if same or claim.takeover or entry.node is None else state(entry.node)
        if found in (CORDONED, NOT_READY):
            return f"{entry.id!r} (expired, but its node is {found}; takeover=true takes it)"
        return None
    if entry.run is not None and same and claim.takeover:
        return None
    # The holder of kured's ran on the node that is gone; a run of ours did not.
    if entry.run is None and kured and state(str(entry.node)) == GONE:
        return None
    return f"{entry.id!r} ({_until(entry.ends)})"


@dataclass(frozen=True)
class Outcome:
    """What was there (``before``), what is there now, or would be, at ``now``, and why the lock was not taken.

    ``renewed``: this run held it before. ``changed``: the holders or their TTLs are others; to renew alone is no change.
    """

    before: Value
    after: Decision
    now: int
    claim: Claim

    @property
    def held(self) -> bool:
        """Whether this run holds the lock for this node."""
        return any(entry.id == self.claim.id and not entry.expired(self.now) for entry in self.after.entries)

    @property
    def changed(self) -> bool:
        """Whether it is another lock than before."""
        told = [sorted(map(str, self._told(entries))) for entries in (self.before.entries, self.after.entries)]
        return self.after.broken or told[0] != told[1]

    @property
    def renewed(self) -> bool:
        """Whether it was held before, and is."""
        return self.held and any(
            entry.id == self.claim.id and not entry.expired(self.now) for entry in self.before.entries
        )

    @property
    def diff(self) -> dict[str, Any]:
        """For ``--diff``."""
        before, after = self._told(self.before.entries), self._told(self.after.entries)
        return {"before": {"holders": before}, "after": {"holders": after}}

    def _told(self, entries: Sequence[Entry]) -> list[dict[str, Any]]:
        """The holders for a diff, without what each renewal changes."""
        return [
            {"id": each["id"], "node": each["node"], "ttl": each["ttl"], "expired": each["expired"]}
            for each in holders(entries, self.now, self.claim.run)
        ]


@dataclass(frozen=True)
class _Try:
    """One look at the store: what was seen at ``now``, what was decided, and the text that this makes."""

    value: Value
    decision: Decision
    text: str | None
    now: int


@dataclass
class Lock:
    """A lock in a store, for one claim. Methods raise what the store raises.

    ``renew_when_due`` is for steps that wait: it may be called as often as they like. Where the store cannot be asked they
    may go on while ``left`` is more than 0. Before a step that cannot renew, ``renew(ttl)`` with its timeout and a margin.
    A Lock for a claim that another process took renews it as well.
    """

    store: Store
    claim: Claim
    monotonic: Callable[[], float] = time.monotonic
    _since: float | None = field(default=None, init=False)

    def acquire(self, check: bool = False) -> Outcome:
        """Take it, or renew it; ``reason`` says why not. ``check`` tells what would come of it. Raises LockLostError."""
        began = self.monotonic()
        outcome = self._apply(lambda value, now: self._acquired(self.claim, value, now), check)
        if outcome.held and not check:
            self._hold(self.claim, began)
        return outcome

    def renew(self, ttl: int | None = None) -> Outcome:
        """Hold it for another ``ttl`` seconds, from now on as long each time. Raises LockLostError."""
        claim = self.claim if ttl is None else replace(self.claim, ttl=ttl)

        def again(value: Value, now: int) -> Decision:
            decision = self._acquired(claim, value, now)
            if decision.reason or claim.id not in [entry.id for entry in value.entries]:
                raise LockLostError(
                    f"{self.store.place}: {claim.id} does not hold the lock any more: {decision.reason or 'it was removed'}."
                    " Stop what it was held for, and take it anew"
                )
            return decision

        began = self.monotonic()
        outcome = self._apply(again, False)
        self._hold(claim, began)
        return outcome

    def renew_when_due(self) -> Outcome | None:
        """Renew it where a third of its TTL is over; None where it is not. Raises LockLostError."""
        return self.renew() if self.left <= self.claim.ttl * 2 / 3 else None

    @property
    def left(self) -> float:
        """Seconds for which it is surely held, by this machine's clock of elapsed time; 0 where it was not taken here."""
        if self._since is None:
            return 0.0
        return max(0.0, self._since + self.claim.ttl - _RESOLUTION - self.monotonic())

    def release(self, check: bool = False) -> Outcome:
        """Give it up; what another holds stays, unless the claim says ``force``."""
        outcome = self._apply(lambda value, _now: release(value, self.claim), check)
        if not check:
            self._since = None
        return outcome

    def _acquired(self, claim: Claim, value: Value, now: int) -> Decision:
        return acquire(value, claim, now, self.store.state, self.store.owners is not None)

    def _hold(self, claim: Claim, began: float) -> None:
        """Note what is held since ``began`` at the latest. Raises LockLostError where that is over already."""
        self.claim, self._since = claim, began
        if not self.left:
            raise LockLostError(
                f"{self.store.place}: it took longer than the ttl of {claim.ttl} seconds to write that {claim.id} holds the"
                " lock, which so ended meanwhile. Try again, with a longer ttl"
            )

    def _apply(self, decide: Callable[[Value, int], Decision], check: bool) -> Outcome:
        """Decide on what is there, and write it."""
        tries: list[_Try] = []

        def change(sight: Sight) -> str | None:
            # Our own write, whose answer was lost.
            if tries and sight.text == tries[-1].text:
                return sight.text
            value = self._decode(sight)
            decision = decide(value, sight.now)
            tries.append(_Try(value, decision, self._encode(value, decision, sight.text), sight.now))
            return tries[-1].text

        if check:
            change(self.store.look())
        else:
            self.store.swap(change)
        first, last = tries[0].value, tries[-1]
        # Of our own entry the first look tells: a later one may be after a write of ours that was overwritten since.
        before = [entry for entry in last.value.entries if entry.id != self.claim.id]
        before += [entry for entry in first.entries if entry.id == self.claim.id]
        return Outcome(Value(tuple(before), last.value.problem), last.decision, last.now, self.claim)

    def _decode(self, sight: Sight) -> Value:
        return decode(sight.text, single=self.store.owners == 1)

    def _encode(self, value: Value, decision: Decision, text: str | None) -> str | None:
        """The text of a decision: that which is there where the very entries stay, whoever wrote it."""
        if not decision.broken and (value.problem is not None or decision.entries is value.entries):
            return text
        return encode(decision.entries, self.store.owners or self.claim.limit, fill=self.store.owners is not None)


def holders(entries: Sequence[Entry], now: int, run: str | None) -> list[dict[str, Any]]:
    """The entries as results of the modules have them; times are seconds since the epoch, ``ours``: of this run."""
    return [
        {
            "id": entry.id,
            "node": entry.node,
            "created": entry.created // NANO,
            "ttl": None if entry.ttl <= 0 else -(-entry.ttl // NANO),
            "expires": None if entry.ttl <= 0 else (entry.created + entry.ttl) // NANO,
            "expired": entry.expired(now),
            "ours": run is not None and entry.run == run,
        }
        for entry in entries
    ]


def unreadable(problem: str) -> str:
    """Why a lock is not taken whose text nobody can read."""
    return f"its holder is unknown, for it cannot be read: {problem}. {_REPAIR}"


def _until(ends: float) -> str:
    try:
        return f"until {dt.datetime.fromtimestamp(ends // NANO, dt.timezone.utc):%Y-%m-%dT%H:%M:%SZ}"
    except (OverflowError, ValueError, OSError):
        return "without end"
