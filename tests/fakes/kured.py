# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""kured at its lock, by its own algorithm and in its own words (kured 1.23, internal/daemonsetlock).

Written from kured's source and Go's encoding/json, apart from the collection's own reading, which is held to it.
Moments are nanoseconds since the epoch.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["ANNOTATION", "Kured", "KuredError", "Taken", "daemon_set", "expired", "multiple", "single"]

ANNOTATION = "weave.works/kured-node-lock"
Object = dict[str, Any]
_LAYOUT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)


class KuredError(Exception):
    """kured cannot read the value, logs that, and never gets the lock."""


@dataclass(frozen=True)
class Taken:
    """A LockAnnotationValue."""

    node: str = ""
    unschedulable: bool = False
    created: int = -62135596800 * 10**9
    ttl: int = 0

    def json(self) -> Object:
        seconds, rest = divmod(self.created, 10**9)
        text = f"{dt.datetime(1970, 1, 1) + dt.timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S}"
        fraction = f".{rest:09d}".rstrip("0") if rest else ""
        return {
            "nodeID": self.node,
            "metadata": {"unschedulable": self.unschedulable},
            "created": f"{text}{fraction}Z",
            "TTL": self.ttl,
        }


def expired(taken: Taken, now: int) -> bool:
    return taken.ttl > 0 and now - taken.created >= taken.ttl


def single(text: str) -> Taken:
    """What a kured with a concurrency of 1 reads. Raises KuredError."""
    return _lock(_parse(text))


def multiple(text: str) -> list[Taken]:
    """What a kured with a greater concurrency reads. Raises KuredError."""
    found = _struct(_parse(text), {"maxowners": _int, "locks": _list})
    return [_lock(each) for each in found.get("locks", [])]


def _parse(text: str) -> Any:
    def refuse(text: str) -> Any:
        raise KuredError(text)

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise KuredError(str(error)) from None


def _lock(value: Any) -> Taken:
    found = _struct(value, {"nodeid": _str, "metadata": _metadata, "created": _time, "ttl": _int})
    given = {"nodeid": "node", "metadata": "unschedulable", "created": "created", "ttl": "ttl"}
    return Taken(**{given[key]: each for key, each in found.items()})


def _struct(value: Any, fields: dict[str, Callable[[Any], Any]]) -> Object:
    """Field names in any case, the last of several, null leaves the zero value, and other fields are ignored."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise KuredError(f"cannot unmarshal {value!r} into a struct")
    found = {}
    for key, each in value.items():
        if key.lower() in fields and each is not None:
            found[key.lower()] = fields[key.lower()](each)
    return found


def _int(value: Any) -> int:
    # true is no int, a float never one, whatever its value.
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
        raise KuredError(f"cannot unmarshal {value!r} into an int64")
    return value


def _str(value: Any) -> str:
    if not isinstance(value, str):
        raise KuredError(f"cannot unmarshal {value!r} into a string")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise KuredError(f"cannot unmarshal {value!r} into a slice")
    return value


def _metadata(value: Any) -> bool:
    def boolean(value: Any) -> bool:
        if not isinstance(value, bool):
            raise KuredError(f"cannot unmarshal {value!r} into a bool")
        return value

    return bool(_struct(value, {"unschedulable": boolean}).get("unschedulable", False))


def _time(value: Any) -> int:
    found = _LAYOUT.fullmatch(_str(value))
    if not found:
        raise KuredError(f"cannot parse {value!r}")
    try:
        seconds = dt.datetime.strptime(found[1] + found[3].replace("Z", "+0000"), "%Y-%m-%dT%H:%M:%S%z")
    except ValueError as error:
        raise KuredError(str(error)) from None
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
    whole = (seconds - epoch) // dt.timedelta(seconds=1)
    return whole * 10**9 + int((found[2] or ".0")[1:10].ljust(9, "0"))


@dataclass
class Kured:
    """The kured of one node. ``acquire`` and ``release`` make the next text of the old one (None: no annotation)."""

    node: str
    concurrency: int = 1
    ttl: int = 0

    def acquire(self, text: str | None, now: int) -> tuple[bool, str | None]:
        """Whether it has the lock, once this text is written. Raises KuredError."""
        mine = Taken(self.node, False, now, self.ttl)
        if self.concurrency <= 1:
            if text is not None:
                held = single(text)
                if not expired(held, now):
                    return held.node == self.node, text
            return True, _dump(mine.json())
        held_by = multiple(text) if text is not None else []
        if len(held_by) >= self.concurrency:
            kept = [taken for taken in held_by if not expired(taken, now)]
            if len(kept) == len(held_by):
                return False, text
            held_by = kept
        return True, self._dump([*held_by, mine])

    def release(self, text: str | None) -> str | None:
        """Raises KuredError where it does not hold the lock."""
        if text is None:
            return None
        if self.concurrency <= 1:
            if single(text).node != self.node:
                raise KuredError("not lock holder")
            return None
        held_by = multiple(text)
        index = next((number for number, taken in enumerate(held_by) if taken.node == self.node), None)
        if index is None:
            raise KuredError("lock not held")
        return self._dump(held_by[:index] + held_by[index + 1 :])

    def _dump(self, locks: list[Taken]) -> str:
        return _dump({"maxOwners": self.concurrency, "locks": [taken.json() for taken in locks]})


def _dump(value: Object) -> str:
    return json.dumps(value, separators=(",", ":"))


def daemon_set(*arguments: str, name: str = "kured", namespace: str = "kube-system", **container: Any) -> Object:
    """kured's DaemonSet, with these arguments."""
    image = {"name": "kured", "image": "ghcr.io/kubereboot/kured:1.23.0", "command": ["/usr/bin/kured"]}
    spec = {"containers": [{**image, "args": list(arguments), **container}]}
    labels = {"name": "kured"}
    return {
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }
