# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads fields of objects as they came from a server, of which nothing is taken for granted: not a key, not a type."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping
from typing import Any

__all__ = [
    "annotations_of",
    "field_of",
    "from_json",
    "instant",
    "labels_of",
    "mapping",
    "mappings",
    "name_of",
    "namespace_of",
    "printable",
    "text",
]

_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)", re.ASCII)
_LENGTH = 200
_FIRST_YEAR, _LAST_YEAR = 1970, 9000


def field_of(item: Any, *path: str) -> Any:
    """What is at ``path``; None where it, or anything on the way to it, is not there."""
    for step in path:
        item = item.get(step) if isinstance(item, Mapping) else None
    return item


def text(item: Any, *path: str) -> str:
    """The string at ``path``; empty where there is none."""
    found = field_of(item, *path)
    return found if isinstance(found, str) else ""


def mapping(item: Any, *path: str) -> Mapping[str, Any]:
    """The object at ``path``; empty where there is none."""
    found = field_of(item, *path)
    return found if isinstance(found, Mapping) else {}


def mappings(item: Any, *path: str) -> list[Mapping[str, Any]]:
    """The objects of the list at ``path``; what is none is left out."""
    found = field_of(item, *path)
    return [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []


def name_of(item: Any) -> str:
    """``metadata.name``."""
    return text(item, "metadata", "name")


def namespace_of(item: Any) -> str:
    """``metadata.namespace``; empty of what is in none."""
    return text(item, "metadata", "namespace")


def labels_of(item: Any) -> dict[str, str]:
    """``metadata.labels``."""
    return _strings(item, "labels")


def annotations_of(item: Any) -> dict[str, str]:
    """``metadata.annotations``."""
    return _strings(item, "annotations")


def instant(value: Any) -> dt.datetime | None:
    """A time as the API writes it (RFC 3339), in UTC, nanoseconds cut off; None where it is none, or in no year to count with."""
    found = _RFC3339.fullmatch(value) if isinstance(value, str) else None
    if not found:
        return None
    moment, fraction, zone = found.groups()
    try:
        parsed = dt.datetime.fromisoformat(moment + zone.replace("Z", "+00:00")).astimezone(dt.timezone.utc)
    except (ValueError, OverflowError):
        return None
    # Durations are added to it.
    if not _FIRST_YEAR <= parsed.year <= _LAST_YEAR:
        return None
    return parsed.replace(microsecond=int((fraction or "0").ljust(6, "0")[:6]))


def from_json(value: str) -> Mapping[str, Any]:
    """The JSON object that an annotation holds; empty where it is none."""
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, Mapping) else {}


def printable(value: object, length: int = _LENGTH) -> str:
    """Text of a cluster for a sentence: one line, no control characters, cut off at ``length``."""
    shown = "".join(each if each.isprintable() else " " for each in str(value)[: length + 1]).strip()
    return shown if len(shown) <= length else f"{shown[:length]}…"


def _strings(item: Any, key: str) -> dict[str, str]:
    return {name: value for name, value in mapping(item, "metadata", key).items() if isinstance(value, str)}
