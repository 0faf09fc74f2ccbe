# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The text of a lock: read as kured reads it, written so that both of kured's decoders take it. Pure.

Sources: kured's internal/daemonsetlock, and Go's encoding/json and time, by which it reads. A single lock (kured's
``--concurrency`` of 1) is ``{"nodeID", "metadata", "created", "TTL"}``, a multiple one ``{"maxOwners", "locks": [of these]}``.
Ours is both at once. Leases and files hold the same text.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable, NoReturn

__all__ = ["NANO", "Entry", "Value", "decode", "encode", "identity", "moment"]

NANO = 10**9
"""Nanoseconds in a second: times are whole nanoseconds, as kured's are."""

_OURS = "ansible"
# Takes a slot of kured's and is no holder: no node and no run can have this name.
_RESERVED = "ansible-reserved:"
_INT64 = 1 << 63
_DAY = 86400
_EPOCH = dt.date(1970, 1, 1).toordinal()
# Go's zero time, which is what it makes of an object without ``created``.
_ZERO = (1 - _EPOCH) * _DAY * NANO
_RFC3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})T([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9])(?:\.([0-9]+))?"
    r"(?:Z|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))",
    re.ASCII,
)


@dataclass(frozen=True)
class Entry:
    """One holder. ``created`` is nanoseconds since the epoch, ``ttl`` nanoseconds, of which 0 and less never end.

    ``raw`` is the object as it was read: that of another is written back as it is.
    """

    id: str
    created: int
    ttl: int
    raw: Mapping[str, Any]

    @classmethod
    def new(cls, holder: str, created: int, ttl: int) -> Entry:
        """An entry of ours."""
        raw = {"nodeID": holder, "metadata": {"unschedulable": False}, "created": _rfc3339(created), "TTL": ttl}
        return cls(holder, created, ttl, raw)

    @property
    def ends(self) -> float:
        """When it expires: nanoseconds since the epoch, or infinity."""
        return self.created + self.ttl if self.ttl > 0 else math.inf

    def expired(self, now: int) -> bool:
        """By kured's rule, at this moment of the reader's clock."""
        return self.ends <= now

    @property
    def run(self) -> str | None:
        """The run that holds it; None where that is no run of ours but kured, or nobody knows who."""
        parts = self.id.split(":", 2)
        return parts[1] if len(parts) == 3 and parts[0] == _OURS else None

    @property
    def node(self) -> str | None:
        """The node that it is held for: kured's id is the node's name. None where it names none."""
        return (self.id.split(":", 2)[2] if self.run is not None else self.id) or None


@dataclass(frozen=True)
class Value:
    """What a text says. ``problem`` is why nobody can read it, who holds the lock then being unknown."""

    entries: tuple[Entry, ...]
    problem: str | None = None


def identity(run: str, node: str) -> str:
    """The id under which a run holds the lock for a node. Never the node's name: kured there would take it for its own."""
    return f"{_OURS}:{run}:{node}"


def decode(text: str | None, single: bool = False) -> Value:
    """What a text says to a kured whose concurrency is 1 (``single``) or more; None is a lock that nobody ever took.

    Where we wrote it, its entries are all of ours in either case.
    """
    if text is None:
        return Value(())
    try:
        # Go takes no NaN; the depth that it takes is 10,000.
        parsed = json.loads(text, parse_constant=_refuse_constant)
        if single:
            head = _entry(parsed)
            if head.run is None or not _members("the value", parsed, {"locks": bool}).get("locks"):
                return Value((head,))
        locks = _members("the value", parsed, {"maxowners": _integer, "locks": _list}).get("locks", [])
        entries = [_entry(each) for each in locks]
    except (ValueError, RecursionError) as error:
        return Value((), str(error))
    return Value(tuple(entry for entry in entries if not entry.id.startswith(_RESERVED)))


def encode(entries: Sequence[Entry], owners: int, fill: bool) -> str | None:
    """The text of these entries; None where there are none, which both of kured's decoders take for free.

    In both formats where one is ours or kured is single. ``owners`` is the concurrency. ``fill``: while any of ours is
    held, kured finds no free slot, and so exactly that many are taken; not one more, for kured's count would never come
    below its concurrency again.
    """
    if not entries:
        return None
    value: dict[str, Any] = {}
    locks = [dict(entry.raw) for entry in entries]
    ours = [entry for entry in entries if entry.run is not None]
    # Without ours too where kured has become single: from a list alone it reads a holder without a name, who never ends.
    if ours or (fill and owners == 1):
        last = max(ours or entries, key=lambda entry: entry.ends)
        value = {**last.raw}
    if ours:
        free = range(len(entries) + 1, owners + 1) if fill else ()
        locks += [{**last.raw, "nodeID": f"{_RESERVED}{slot}"} for slot in free]
    return json.dumps({**value, "maxOwners": owners, "locks": locks}, separators=(",", ":"))


def moment(text: str) -> int:
    """Nanoseconds since the epoch of a time as Go's time.Time takes it from JSON (RFC 3339, strictly). Raises ValueError."""
    found = _RFC3339.fullmatch(text)
    if found is None:
        raise ValueError(f"created is {text[:60]!r}, no time of RFC 3339")
    day, hour, minute, second, fraction, sign, off_hour, off_minute = found.groups()
    # By hand: a datetime has neither nanoseconds nor the year before 1 that an offset may lead to.
    seconds = (dt.date.fromisoformat(day).toordinal() - _EPOCH) * _DAY
    seconds += int(hour) * 3600 + int(minute) * 60 + int(second)
    offset = (int(off_hour or 0) * 60 + int(off_minute or 0)) * 60
    seconds += offset if sign == "-" else -offset
    return seconds * NANO + int((fraction or "")[:9].ljust(9, "0"))


def _rfc3339(moment: int) -> str:
    seconds, rest = divmod(moment, NANO)
    clock = dt.datetime.fromtimestamp(seconds, dt.timezone.utc)
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{clock:%Y-%m-%dT%H:%M:%S}{fraction}Z"


def _entry(value: object) -> Entry:
    """One lock, as Go decodes it: what is not there, or null, is zero. Raises ValueError."""
    found = _members("a lock", value, {"nodeid": _text, "metadata": _metadata, "created": _created, "ttl": _integer})
    raw = value if isinstance(value, dict) else {}
    return Entry(found.get("nodeid", ""), found.get("created", _ZERO), found.get("ttl", 0), raw)


def _members(what: str, value: object, readers: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
    """The members of an object: Go knows their names in any case, takes the last of several, and leaves null alone."""
    found = {} if value is None else _typed(what, value, dict)
    return {
        name: readers[name](each)
        for key, each in found.items()
        if (name := key.casefold()) in readers and each is not None
    }


def _text(value: object) -> str:
    return str(_typed("nodeID", value, str))


def _created(value: object) -> int:
    return moment(_typed("created", value, str))


def _metadata(value: object) -> object:
    return _members("metadata", value, {"unschedulable": lambda each: _typed("unschedulable", each, bool)})


def _integer(value: object) -> int:
    number: int = _typed("a number", value, int)
    if not -_INT64 <= number < _INT64:
        raise ValueError(f"{number} is a number of more than 64 bits")
    return number


def _list(value: object) -> list[Any]:
    return list(_typed("locks", value, list))


def _typed(what: str, value: Any, wanted: type) -> Any:
    """The value where JSON has it as this type: a float of whole numbers is no integer to Go, nor a text of digits."""
    # True is an int to Python.
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        raise ValueError(f"{what} is {json.dumps(value)[:60]}, which kured does not take")
    return value


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")
