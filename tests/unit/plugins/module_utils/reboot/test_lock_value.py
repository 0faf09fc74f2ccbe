# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The text of a lock, held to kured's own decoders: what kured writes and what broke it, and what we write."""

from __future__ import annotations

import json
import random

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.reboot.lock_value import (
    NANO,
    Entry,
    decode,
    encode,
    identity,
    moment,
)
from ansible_collections.bulwark.node.tests.fakes import kured
from ansible_collections.bulwark.node.tests.fakes.kured import KuredError, Taken

NOW = moment("2026-01-02T03:04:05Z")
N1 = '{"nodeID":"n1","metadata":{"unschedulable":false},"created":"2026-01-02T03:04:05.12Z","TTL":1800000000000}'
ZERO = moment("0001-01-01T00:00:00Z")


def lock(**members: object) -> str:
    return json.dumps({**json.loads(N1), **members})


# What is read from a text with a concurrency of 1 and with a greater one: (id, created, ttl) of each, None where nobody can read it.
READ = [(f"n{number}", NOW + 120_000_000, 1800 * NANO) for number in (1, 2)]
BROKEN = None
VALUES = {
    "single": (N1, READ[:1], []),
    "multiple": (f'{{"maxOwners":2,"locks":[{N1}]}}', [("", ZERO, 0)], READ[:1]),
    "all released": ('{"maxOwners":2,"locks":[]}', [("", ZERO, 0)], []),
    "two": (f'{{"maxOwners":2,"locks":[{N1},{N1.replace("n1", "n2")}]}}', [("", ZERO, 0)], READ),
    "locks null": ('{"maxOwners":2,"locks":null}', [("", ZERO, 0)], []),
    "a lock null": ('{"maxOwners":2,"locks":[null]}', [("", ZERO, 0)], [("", ZERO, 0)]),
    "null": ("null", [("", ZERO, 0)], []),
    "foreign keys": (lock(by="x", metadata={"unschedulable": True, "x": 1}), READ[:1], []),
    "other case": (N1.replace("nodeID", "NODEID").replace("TTL", "ttl"), READ[:1], []),
    "long s": ('{"lock\u017f":[' + N1 + "]}", [("", ZERO, 0)], READ[:1]),
    "null members": (lock(metadata=None, TTL=None), [("n1", NOW + 120_000_000, 0)], []),
    "no TTL": (lock(TTL=0), [("n1", NOW + 120_000_000, 0)], []),
    "offset": (lock(created="2026-01-02T05:04:05.12+02:00"), READ[:1], []),
    "before the year 1": (lock(created="0001-01-01T00:00:00+01:00"), [("n1", ZERO - 3600 * NANO, 1800 * NANO)], []),
    "twelve digits": (lock(created="2026-01-02T03:04:05.120000000999Z"), READ[:1], []),
    "float TTL": (lock(TTL=1.8e12), BROKEN, []),
    "whole float TTL": (N1.replace("1800000000000", "1800000000000.0"), BROKEN, []),
    "string TTL": (lock(TTL="30m"), BROKEN, []),
    "TTL of 65 bits": (lock(TTL=2**63), BROKEN, []),
    "TTL true": (lock(TTL=True), BROKEN, []),
    "created empty": (lock(created=""), BROKEN, []),
    "created without zone": (lock(created="2026-01-02T03:04:05"), BROKEN, []),
    "created with a space": (lock(created="2026-01-02 03:04:05Z"), BROKEN, []),
    "created with a comma": (lock(created="2026-01-02T03:04:05,12Z"), BROKEN, []),
    "created in small letters": (lock(created="2026-01-02t03:04:05z"), BROKEN, []),
    "no such day": (lock(created="2026-02-30T03:04:05Z"), BROKEN, []),
    "leap second": (lock(created="2026-01-02T23:59:60Z"), BROKEN, []),
    "offset of a day": (lock(created="2026-01-02T03:04:05+24:00"), BROKEN, []),
    "created a number": (lock(created=1), BROKEN, []),
    "nodeID a number": (lock(nodeID=1), BROKEN, []),
    "metadata a list": (lock(metadata=[]), BROKEN, []),
    "unschedulable a text": (lock(metadata={"unschedulable": "false"}), BROKEN, []),
    "a broken lock among others": (f'{{"locks":[{N1},{{"TTL":1e3}}]}}', [("", ZERO, 0)], BROKEN),
    "maxOwners a text": ('{"maxOwners":"2","locks":[]}', [("", ZERO, 0)], BROKEN),
    "maxOwners a float": ('{"maxOwners":2.0}', [("", ZERO, 0)], BROKEN),
    "locks an object": ('{"locks":{}}', [("", ZERO, 0)], BROKEN),
    "a list": ("[]", BROKEN, BROKEN),
    "a text": ('"n1"', BROKEN, BROKEN),
    "empty": ("", BROKEN, BROKEN),
    "cut off": (N1[:-1], BROKEN, BROKEN),
    "yaml": ("nodeID: n1", BROKEN, BROKEN),
    "not a number": (lock(x=float("nan")), BROKEN, BROKEN),
    "deep": ("[" * 200_000, BROKEN, BROKEN),
}


def seen(text: str, one: bool) -> list[tuple[str, int, int]] | None:
    value = decode(text, single=one)
    return None if value.problem is not None else [(entry.id, entry.created, entry.ttl) for entry in value.entries]


def by_kured(text: str, one: bool) -> list[tuple[str, int, int]] | None:
    try:
        found = [kured.single(text)] if one else kured.multiple(text)
    except KuredError:
        return None
    return [(taken.node, taken.created, taken.ttl) for taken in found]


@pytest.mark.parametrize("name", VALUES)
def test_a_value_is_read_as_kured_reads_it(name: str) -> None:
    text, alone, among = VALUES[name]
    assert (seen(text, True), seen(text, False)) == (alone, among)
    if name not in ("before the year 1", "long s"):  # which the decoder of the tests does not know
        assert (by_kured(text, True), by_kured(text, False)) == (alone, among)


def test_no_annotation_is_a_free_lock() -> None:
    assert decode(None) == decode(None, single=True)
    assert decode(None).entries == ()


def test_random_values_are_read_as_kured_reads_them() -> None:
    chance = random.Random(20260102)
    pieces = ["null", "1", "1.5", '""', '"n1"', "{}", "[]", "true", '"2026-01-02T03:04:05Z"', "-5", N1, "9" * 30]
    names = ["nodeID", "nodeid", "metadata", "created", "TTL", "ttl", "maxOwners", "locks", "x"]
    for _round in range(3000):
        given = chance.choices(names, k=chance.randrange(5))
        text = "{" + ",".join(f'"{name}":{chance.choice(pieces)}' for name in dict.fromkeys(given)) + "}"
        if chance.random() < 0.5:
            text = f'{{"locks":[{text},{N1}]}}'
        for one in (True, False):
            assert seen(text, one) == by_kured(text, one), text


def entry(run: str, node: str, seconds: int = 300, at: int = NOW) -> Entry:
    return Entry.new(identity(run, node), at, seconds * NANO)


def foreign(node: str) -> Entry:
    return decode(f'{{"locks":[{N1.replace("n1", node)}]}}').entries[0]


def test_ours_is_read_by_both_decoders_of_kured() -> None:
    text = encode([entry("r", "a")], 1, fill=True)
    assert text is not None
    assert kured.single(text) == Taken("ansible:r:a", False, NOW, 300 * NANO)
    assert kured.multiple(text) == [kured.single(text)]
    assert decode(text, single=True) == decode(text, single=False)


@pytest.mark.parametrize("owners", [1, 2, 3, 7])
def test_kured_finds_no_free_slot_while_any_of_ours_is_held_and_never_too_many(owners: int) -> None:
    held: list[Entry] = []
    for number in range(owners):
        held.append(entry("r", f"a{number}", 300 + number))
        text = encode(held, owners, fill=True)
        assert text is not None
        locks = kured.multiple(text)
        assert len(locks) == owners == len({taken.node for taken in locks})
        # What is not a holder ends with the last of them.
        assert {taken.ttl for taken in locks[len(held) :]} <= {(300 + number) * NANO}
        assert kured.single(text).node == held[-1].id
        assert [each.id for each in decode(text).entries] == [each.id for each in held]
        for concurrency in (1, owners):
            assert kured.Kured("n9", concurrency).acquire(text, NOW) == (False, text)


def test_entries_of_kured_are_written_back_as_they_were_and_never_as_ours() -> None:
    odd = decode('{"locks":[{"nodeid":"n1","created":"2026-01-02T05:04:05+02:00","metadata":{"x":[1.5]}}]}').entries[0]
    text = encode([odd, entry("r", "a")], 3, fill=True)
    assert text is not None
    assert json.loads(text)["locks"][0] == odd.raw
    assert [taken.node for taken in kured.multiple(text)] == ["n1", "ansible:r:a", "ansible-reserved:3"]
    assert kured.single(text).node == "ansible:r:a"


def test_without_any_of_ours_it_is_what_kured_itself_leaves() -> None:
    assert encode([foreign("n1")], 2, fill=True) == f'{{"maxOwners":2,"locks":[{N1}]}}'
    assert encode([], 2, fill=True) is None


def test_more_holders_than_kured_now_allows_are_kept_and_nothing_is_added() -> None:
    text = encode([foreign("n1"), foreign("n2"), entry("r", "a")], 2, fill=True)
    assert text is not None
    assert [taken.node for taken in kured.multiple(text)] == ["n1", "n2", "ansible:r:a"]


def test_without_kured_nothing_is_reserved() -> None:
    text = encode([entry("r", "a")], 5, fill=False)
    assert text is not None
    assert len(json.loads(text)["locks"]) == 1


def test_what_we_wrote_is_read_whole_whatever_kured_was_told_since() -> None:
    text = encode([entry("r", "a"), foreign("n1"), entry("r", "b", 400)], 4, fill=True)
    names = ["ansible:r:a", "n1", "ansible:r:b"]
    assert [[each.id for each in decode(text, single=one).entries] for one in (True, False)] == [names, names]


@pytest.mark.parametrize("more", ["", ',"locks":null', ',"locks":[]'])
def test_ours_without_its_list_is_held_all_the_same(more: str) -> None:
    text = N1.replace("n1", "ansible:r:a")[:-1] + more + "}"
    assert seen(text, True) == by_kured(text, True) == [("ansible:r:a", NOW + 120_000_000, 1800 * NANO)]


def test_an_id_names_the_run_and_the_node() -> None:
    named = entry("4711", "2001:db8::1")
    assert (named.run, named.node) == ("4711", "2001:db8::1")
    others = [foreign(name) for name in ("n1", "", "ansible", "ansible:x")]
    assert [(each.run, each.node) for each in others] == [
        (None, "n1"),
        (None, None),
        (None, "ansible"),
        (None, "ansible:x"),
    ]


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [(0, "05Z"), (120_000_000, "05.12Z"), (1, "05.000000001Z"), (999_999_999, "05.999999999Z")],
)
def test_times_are_written_as_go_writes_them(nanoseconds: int, text: str) -> None:
    created = entry("r", "a", at=NOW + nanoseconds).raw["created"]
    assert created == f"2026-01-02T03:04:{text}"
    assert moment(created) == NOW + nanoseconds
    assert Taken("", False, NOW + nanoseconds).json()["created"] == created


def test_an_entry_ends_by_its_own_ttl() -> None:
    held = entry("r", "a", 300)
    assert [held.expired(NOW + seconds * NANO) for seconds in (-5, 0, 299, 300)] == [False, False, False, True]
    assert not Entry.new("x", NOW, 0).expired(1 << 80)
    assert not Entry.new("x", NOW, -1).expired(1 << 80)
    assert [kured.expired(Taken("", False, NOW, 300 * NANO), NOW + s * NANO) for s in (299, 300)] == [False, True]
