# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who gets the lock: decisions over a store in memory, beside a kured that follows its own algorithm."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.reboot.lock import (
    CORDONED,
    GONE,
    NOT_READY,
    READY,
    Claim,
    Lock,
    LockLostError,
    Outcome,
    Sight,
    holders,
)
from ansible_collections.bulwark.node.plugins.module_utils.reboot.lock_value import NANO, decode, moment
from ansible_collections.bulwark.node.tests.fakes import kured
from ansible_collections.bulwark.node.tests.fakes.kured import Kured

START = moment("2026-01-02T03:04:05Z")


@dataclass
class Memory:
    """A store whose time is the test's. ``meanwhile`` are writes that come between a look and the write after it."""

    owners: int | None = None
    text: str | None = None
    seconds: int = 0
    states: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    meanwhile: list[Callable[[], None]] = field(default_factory=list)
    writes: int = 0
    backend: str = "memory"
    place: str = "the store"

    @property
    def now(self) -> int:
        return START + self.seconds * NANO

    def look(self) -> Sight:
        return Sight(self.text, self.now)

    def swap(self, change: Callable[[Sight], str | None]) -> None:
        while True:
            seen = self.text
            wanted = change(self.look())
            if wanted == seen:
                return
            if self.meanwhile:
                self.meanwhile.pop(0)()
            if self.text == seen:
                self.text, self.writes = wanted, self.writes + 1
                return

    def state(self, node: str) -> str | None:
        self.asked.append(node)
        return self.states.get(node, READY)

    def lock(self, node: str, run: str = "r", **claim: Any) -> Lock:
        return Lock(self, Claim(run, node, **claim), monotonic=lambda: float(self.seconds))

    def take(self, node: str, run: str = "r", **claim: Any) -> Outcome:
        return self.lock(node, run, **claim).acquire()

    def kured(self, node: str, ttl: int = 0) -> bool:
        """The kured of this node tries to take it."""
        acquired, self.text = Kured(node, self.owners or 1, ttl * NANO).acquire(self.text, self.now)
        return acquired

    @property
    def ids(self) -> list[str]:
        return [entry.id for entry in decode(self.text, single=self.owners == 1).entries]


def test_a_free_lock_is_taken_renewed_and_released() -> None:
    store = Memory(owners=1)
    first = store.take("a")
    assert (first.held, first.changed, first.renewed, first.after.reason) == (True, True, False, None)
    store.seconds = 100
    again = store.take("a")
    assert (again.held, again.changed, again.renewed) == (True, False, True)
    assert decode(store.text).entries[0].created == store.now
    done = store.lock("a").release()
    assert (done.held, done.changed, store.text) == (False, True, None)
    assert not store.lock("a").release().changed


def test_another_ttl_is_a_change() -> None:
    store = Memory()
    store.take("a")
    assert store.take("a", ttl=3600).changed
    assert not store.take("a", ttl=3600).changed


@pytest.mark.parametrize("owners", [None, 1])
def test_who_holds_it_is_named_to_whom_it_is_refused(owners: int | None) -> None:
    store = Memory(owners)
    store.take("a")
    before = store.text
    refused = store.take("b", "s")
    assert refused.after.reason == "1 of 1 hold it: 'ansible:r:a' (until 2026-01-02T03:09:05Z)"
    assert (refused.held, refused.changed, store.text) == (False, False, before)


def test_a_run_holds_it_for_each_node_by_itself() -> None:
    store = Memory()
    assert store.take("a", limit=2).held
    assert store.take("b", limit=2).held
    assert not store.take("c", limit=2).held
    store.lock("a").release()
    assert store.ids == ["ansible:r:b"]
    assert store.take("c", limit=2).held


def test_two_runs_never_hold_it_for_one_node() -> None:
    store = Memory()
    store.take("a", limit=3)
    refused = store.take("a", "s", limit=3)
    assert refused.after.reason == "it is held for this node already: 'ansible:r:a' (until 2026-01-02T03:09:05Z)"
    taken = store.take("a", "s", limit=3, takeover=True)
    assert ([entry.id for entry in taken.after.dropped], store.ids) == (["ansible:r:a"], ["ansible:s:a"])


@pytest.mark.parametrize(
    ("state", "taken"), [(READY, True), (GONE, True), (CORDONED, False), (NOT_READY, False), (None, True)]
)
def test_what_has_ended_is_taken_over_unless_its_node_is_still_down(state: str, taken: bool) -> None:
    store = Memory(states={"a": state})
    store.take("a")
    store.seconds = 299
    assert not store.take("b", "s").held
    assert store.asked == []
    store.seconds = 300
    ran = store.take("b", "s")
    assert (ran.held, store.ids) == (taken, ["ansible:s:b"] if taken else ["ansible:r:a"])
    if not taken:
        wanted = f"1 of 1 hold it: 'ansible:r:a' (expired, but its node is {state}; takeover=true takes it)"
        assert ran.after.reason == wanted
        assert store.take("b", "s", takeover=True).held


def test_what_has_ended_for_a_node_that_is_down_counts() -> None:
    store = Memory(states={"a": CORDONED})
    store.take("a", limit=2)
    store.seconds = 300
    assert store.take("b", "s", limit=2).held
    assert store.ids == ["ansible:r:a", "ansible:s:b"]
    assert not store.take("c", "s", limit=2).held


def test_what_has_ended_is_renewed_only_where_others_leave_room() -> None:
    store = Memory(states={"a": CORDONED})
    store.take("a", limit=2)
    store.seconds = 300
    store.take("b", "s", limit=2)
    assert not store.take("a", limit=1).held
    assert store.take("a", limit=2).held


def test_the_same_node_is_taken_up_again_whatever_it_is_like() -> None:
    store = Memory(states={"a": CORDONED})
    store.take("a")
    store.seconds = 300
    assert store.take("a", "s").held
    assert (store.ids, store.asked) == (["ansible:s:a"], [])


def test_a_run_whose_node_is_gone_still_holds_it_but_kured_does_not() -> None:
    store = Memory(owners=1, states={"a": GONE})
    store.take("a")
    assert not store.take("b", "s").held
    store = Memory(owners=1, states={"a": GONE})
    assert store.kured("a")
    assert store.take("b", "s").held


def test_without_kured_a_name_that_is_no_node_is_not_taken_for_a_kured_that_is_gone() -> None:
    store = Memory(owners=2, states={"operator-7f": GONE})
    store.kured("operator-7f")
    store.owners = None
    assert not store.take("b").held
    assert store.asked == []


def test_a_kured_whose_concurrency_became_one_is_left_its_lock_and_no_deadlock() -> None:
    store = Memory(owners=2)
    assert store.kured("n1")
    assert store.take("a", limit=2).held
    store.owners = 1
    assert store.lock("a").release().changed
    assert store.ids == ["n1"]
    assert not store.kured("n2")
    assert Kured("n1").release(store.text) is None


def test_what_names_nobody_and_has_ended_goes() -> None:
    store = Memory(owners=1)
    store.kured("", 60)
    assert "names nobody" in str(store.take("a").after.reason)
    store.seconds = 60
    taken = store.take("a")
    assert (taken.held, [entry.id for entry in taken.after.dropped], store.asked) == (True, [""], [])


def test_a_kured_that_never_ends_is_waited_for() -> None:
    store = Memory(owners=1)
    store.kured("n1")
    store.seconds = 1 << 31
    assert store.take("a").after.reason == "1 of 1 hold it: 'n1' (without end)"
    refused = store.take("n1", takeover=True)
    assert refused.after.reason == "it is held for this node already: 'n1' (without end)"
    assert store.take("n1", force=True).held


@pytest.mark.parametrize("owners", [1, 3])
def test_kured_is_kept_out_while_it_is_held_and_gets_it_then(owners: int) -> None:
    store = Memory(owners=owners)
    store.take("a", limit=1)
    assert not store.kured("n1")
    store.lock("a").release()
    assert store.kured("n1")
    store.text = None
    store.take("a")
    store.seconds = 300
    assert store.kured("n1")


def test_beside_a_kured_that_holds_a_slot_only_the_others_are_taken() -> None:
    store = Memory(owners=3)
    assert store.kured("n1")
    assert not store.take("a", limit=1).held
    assert store.take("a", limit=3).held
    assert not store.kured("n2")
    assert store.take("b", limit=3).held
    assert not store.take("c", limit=3).held
    kept = decode(store.text).entries[0].raw
    for node in ("a", "b"):
        store.lock(node).release()
    assert store.text == json.dumps({"maxOwners": 3, "locks": [kept]}, separators=(",", ":"))
    # kured finds itself, as it must to release it.
    assert Kured("n1", 3).release(store.text) == '{"maxOwners":3,"locks":[]}'


def test_a_slot_that_kured_gave_back_is_filled_by_the_next_renewal() -> None:
    store = Memory(owners=3)
    store.kured("n1")
    lock = store.lock("a", limit=3)
    lock.acquire()
    store.text = Kured("n1", 3).release(store.text)
    lock.renew()
    assert not store.kured("n2")


def test_a_renewal_needs_no_slot() -> None:
    store = Memory()
    store.take("a", limit=2)
    store.take("b", limit=2)
    assert store.take("a", limit=1).renewed


def test_a_single_value_is_free_to_a_kured_that_takes_several_and_so_to_us() -> None:
    store = Memory(owners=1)
    store.kured("n1")
    store.owners = 2
    assert store.kured("n2")
    store.owners, store.text = 1, None
    store.kured("n1")
    store.owners = 2
    assert store.take("a").held


STUCK = '{"maxOwners":2,"locks":[]}'


@pytest.mark.parametrize("text", [STUCK, '{"nodeID":"n1","created":"","TTL":0}', "no JSON"])
def test_a_value_that_stops_kured_is_held_by_nobody_knows_whom_and_repaired_only_by_force(text: str) -> None:
    store = Memory(owners=1, text=text)
    if text != STUCK:
        with pytest.raises(kured.KuredError):
            store.kured("n1")
    else:
        assert not store.kured("n1")
    for refused in (store.take("a"), store.take("a", takeover=True), store.lock("a").release()):
        assert (refused.held, refused.changed, store.text) == (False, False, text)
    forced = store.lock("a", force=True)
    assert (forced.acquire(check=True).changed, store.text) == (True, text)
    assert forced.acquire().changed
    assert store.ids == ["ansible:r:a"]
    store.text = text
    assert forced.release().changed
    assert store.kured("n1")


def test_force_is_about_the_node_that_is_named_alone() -> None:
    store = Memory(owners=3)
    store.kured("n1")
    store.kured("n2")
    store.take("n3", "s", limit=3)
    done = store.lock("n1", force=True).release()
    assert ([entry.id for entry in done.after.dropped], store.ids) == (["n1"], ["n2", "ansible:s:n3"])
    assert not store.take("n4", force=True).held
    assert store.lock("n3", force=True).release().changed
    assert store.ids == ["n2"]


@pytest.mark.parametrize("state", ["held", "absent"])
def test_a_check_tells_what_the_run_does_and_does_nothing(state: str) -> None:
    store = Memory(owners=2, text=None if state == "held" else Memory(owners=2).text)
    if state == "absent":
        store.take("a")
    before, lock = store.text, store.lock("a")
    do = lock.acquire if state == "held" else lock.release
    told = do(check=True)
    assert (store.text, lock.left) == (before, 0)
    done = do()
    assert (told.changed, told.diff, told.held) == (done.changed, done.diff, done.held)
    assert done.changed
    assert not do(check=True).changed
    assert not do().changed


def test_the_diff_has_no_time_and_no_reserved_slot() -> None:
    store = Memory(owners=2)
    shown = {"id": "ansible:r:a", "node": "a", "ttl": 300, "expired": False}
    assert store.take("a").diff == {"before": {"holders": []}, "after": {"holders": [shown]}}
    store.seconds = 10
    assert store.take("a").diff == {"before": {"holders": [shown]}, "after": {"holders": [shown]}}


def test_who_comes_in_between_is_not_overwritten() -> None:
    store = Memory()
    store.meanwhile.append(lambda: setattr(store, "text", other.text))
    other = Memory()
    other.take("b", "s")
    refused = store.take("a")
    assert (refused.held, refused.changed, store.ids) == (False, False, ["ansible:s:b"])


@pytest.mark.parametrize("spoilt", [False, True])
def test_a_write_whose_answer_was_lost_is_known_again(spoilt: bool) -> None:
    store = Memory()
    lock = store.lock("a", limit=2)

    def lost() -> None:
        # What the server did: our write, and where spoilt another's after it.
        twin = Memory()
        twin.take("a", limit=2)
        if spoilt:
            twin.take("b", "s", limit=2)
        store.text = twin.text

    store.meanwhile.append(lost)
    taken = lock.acquire()
    assert (taken.held, taken.changed, taken.renewed) == (True, True, False)
    assert (store.writes, store.ids) == (0, ["ansible:r:a", "ansible:s:b"][: 1 + spoilt])


@pytest.mark.parametrize("what", ["acquire", "release"])
def test_what_a_write_removed_whose_answer_was_lost_is_told(what: str) -> None:
    store = Memory()
    store.take("b", "s")
    store.seconds = 300
    lock = store.lock("b", force=True)

    def lost() -> None:
        twin = Memory(text=store.text, seconds=300)
        getattr(twin.lock("b", force=True), what)()
        store.text = twin.text

    store.meanwhile.append(lost)
    done = getattr(lock, what)()
    assert ([entry.id for entry in done.after.dropped], done.changed) == (["ansible:s:b"], True)


def test_a_lost_lock_is_not_renewed() -> None:
    store = Memory()
    lock = store.lock("a")
    lock.acquire()
    store.seconds = 300
    assert store.take("b", "s").held
    with pytest.raises(LockLostError, match="the store: ansible:r:a does not hold the lock any more: 1 of 1 hold it"):
        lock.renew()
    assert store.ids == ["ansible:s:b"]
    store.lock("b", "s").release()
    with pytest.raises(LockLostError, match="any more: it was removed"):
        lock.renew()
    assert store.ids == []


def test_what_has_ended_and_nobody_took_is_renewed_within_the_limit() -> None:
    store = Memory(owners=3)
    lock = store.lock("a", limit=1)
    lock.acquire()
    store.seconds = 300
    assert lock.left == 0
    assert lock.renew().held
    # kured gave back a slot and took another beside one of ours that had ended.
    store.seconds = 600
    store.text = Kured("n1", 4).acquire(store.text, store.now - NANO)[1]
    assert store.ids == ["ansible:r:a", "n1"]
    with pytest.raises(LockLostError, match="1 of 1 hold it: 'n1'"):
        lock.renew()


@pytest.mark.parametrize("what", ["acquire", "renew"])
def test_what_took_longer_to_write_than_it_lasts_is_not_held(what: str) -> None:
    store = Memory()
    lock = store.lock("a", ttl=10)
    if what == "renew":
        lock.acquire()
        store.seconds = 1
    store.meanwhile.append(lambda: setattr(store, "seconds", store.seconds + 10))
    with pytest.raises(LockLostError, match="it took longer than the ttl of 10 seconds"):
        getattr(lock, what)()


def test_a_step_that_waits_renews_at_a_third_and_knows_how_long_it_is_safe() -> None:
    store = Memory()
    lock = store.lock("a", ttl=300)
    assert lock.left == 0
    lock.acquire()
    # A second less: the clock of a server has whole seconds.
    assert lock.left == 299
    store.seconds = 98
    assert lock.renew_when_due() is None
    store.seconds = 99
    renewed = lock.renew_when_due()
    assert renewed is not None
    assert (renewed.changed, renewed.renewed, lock.left) == (False, True, 299)
    assert lock.renew(3600).changed
    assert lock.left == 3599
    store.seconds += 900
    assert lock.renew_when_due() is None
    lock.release()
    assert lock.left == 0


def test_results_are_in_seconds_and_never_is_null() -> None:
    store = Memory(owners=3)
    store.kured("n1")
    store.kured("n2", ttl=1)
    store.seconds = 1
    found = holders(decode(store.text).entries, store.now, "r")
    epoch = START // NANO
    assert found == [
        {"id": "n1", "node": "n1", "created": epoch, "ttl": None, "expires": None, "expired": False, "ours": False},
        {"id": "n2", "node": "n2", "created": epoch, "ttl": 1, "expires": epoch + 1, "expired": True, "ours": False},
    ]


@pytest.mark.parametrize("owners", [None, 1, 2, 3])
@pytest.mark.parametrize("seed", range(8))
def test_never_more_than_the_limit_hold_it_and_nothing_that_lives_is_lost(owners: int | None, seed: int) -> None:
    """Some thousand steps of three runs, four nodes and their kureds at random, time and nodes changing in between."""
    chance = random.Random(seed)
    store = Memory(owners)
    limit = owners or chance.randrange(1, 4)
    nodes = ["n1", "n2", "n3", "n4"]
    for _step in range(400):
        store.seconds += chance.choice([0, 0, 1, 5, 40])
        store.states = {node: chance.choice([READY, READY, CORDONED, NOT_READY]) for node in nodes}
        before = {entry.id for entry in decode(store.text, owners == 1).entries if not entry.expired(store.now)}
        node, run = chance.choice(nodes), chance.choice("rst")
        lock = Lock(store, Claim(run, node, chance.choice([10, 60]), limit))
        what = chance.choice(["held", "held", "absent", "kured", "unkured"])
        gave_up: set[str] = set()
        if what == "held":
            lock.acquire()
        elif what == "absent":
            lock.release()
            gave_up = {lock.claim.id}
        elif owners is not None and what == "kured" and node not in before:
            store.kured(node, ttl=chance.choice([20, 60]))
        elif owners is not None and node in before:
            store.text, gave_up = Kured(node, owners).release(store.text), {node}
        entries = decode(store.text, owners == 1).entries
        live = [entry for entry in entries if not entry.expired(store.now)]
        assert len(live) <= limit
        assert before - gave_up <= {entry.id for entry in live}
        if owners is not None and store.text is not None:
            assert len(kured.multiple(store.text)) <= owners
            if owners == 1:
                kured.single(store.text)


def test_a_claim_is_not_changed_by_what_it_is_asked_for() -> None:
    store = Memory()
    claim = Claim("r", "a")
    lock = Lock(store, claim)
    lock.acquire()
    lock.renew(60)
    assert (claim.ttl, lock.claim) == (300, replace(claim, ttl=60))
