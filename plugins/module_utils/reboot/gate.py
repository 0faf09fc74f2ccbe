# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a reboot may begin now: every reason against it at once, and when the windows let it. Pure: all comes in as values.

Whatever asks something else (alerts, pods, nodes) hands in its own reasons; what could not be asked is one too.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.reboot.window import HORIZON, Window, next_fit, open_until

__all__ = ["Gate", "Reason", "Subject", "at_most", "decide", "shown"]

_FORESIGHT = dt.timedelta(days=7)
_NAMED = 100


@dataclass(frozen=True)
class Subject:
    """What is in the way, as Kubernetes names it; ``namespace`` is None of what is in none."""

    kind: str
    name: str
    namespace: str | None = None

    def as_dict(self) -> dict[str, str | None]:
        """For the result."""
        return {"kind": self.kind, "namespace": self.namespace, "name": self.name}


@dataclass(frozen=True)
class Reason:
    """Why not now. ``until`` is when it goes by itself, None where that is not known; ``error``: it could not be asked.

    ``subject`` is the one object that is in the way; None where it is none, or several.
    """

    source: str
    detail: str
    until: dt.datetime | None = None
    error: bool = False
    subject: Subject | None = None

    def as_dict(self) -> dict[str, Any]:
        """For the result; ``until`` in seconds since the epoch."""
        return {
            "source": self.source,
            "detail": self.detail,
            "until": _epoch(self.until),
            "error": self.error,
            "object": self.subject.as_dict() if self.subject else None,
        }


@dataclass(frozen=True)
class Gate:
    """What came of it. ``next_opening`` is what the windows say alone: this moment where they are open, or there are none.

    ``closes`` is when the open windows close; None where none is open, there are none, or it is more than a week until then.
    """

    moment: dt.datetime
    reasons: tuple[Reason, ...]
    next_opening: dt.datetime | None
    closes: dt.datetime | None

    @property
    def open(self) -> bool:
        """Whether nothing is in the way."""
        return not self.reasons

    def as_dict(self) -> dict[str, Any]:
        """The result of the module; times are seconds since the epoch."""
        return {
            "open": self.open,
            "reasons": [each.as_dict() for each in self.reasons],
            "next_opening": _epoch(self.next_opening),
            "closes": _epoch(self.closes),
            "checked_at": _epoch(self.moment),
        }


def decide(
    moment: dt.datetime, windows: Sequence[Window], duration: dt.timedelta, others: Sequence[Reason] = ()
) -> Gate:
    """The gate at a moment, for a reboot that takes ``duration`` (0: it need not fit), and what is in the way beside windows."""
    if not windows:
        return Gate(moment, tuple(others), moment, None)
    opening = next_fit(windows, moment, duration)
    limit = moment + _FORESIGHT
    closes = open_until(windows, moment, limit)
    shut = () if opening == moment else (_shut(moment, closes, opening, duration),)
    return Gate(moment, (*shut, *others), opening, closes if moment < closes < limit else None)


def at_most(source: str, reasons: Sequence[Reason], what: str) -> list[Reason]:
    """The first hundred reasons, and one that says how many more of ``what`` there are."""
    if len(reasons) <= _NAMED:
        return list(reasons)
    return [*reasons[:_NAMED], Reason(source, f"{len(reasons) - _NAMED} {what} more")]


def shown(moment: dt.datetime) -> str:
    """A moment for a sentence: ``2026-11-23T21:00:00Z``."""
    return f"{moment.astimezone(dt.timezone.utc):%Y-%m-%dT%H:%M:%SZ}"


def _shut(moment: dt.datetime, closes: dt.datetime, opening: dt.datetime | None, duration: dt.timedelta) -> Reason:
    seconds = int(duration.total_seconds())
    if closes > moment:
        left = int((closes - moment).total_seconds())
        what = f"the window closes in {left} seconds, at {shown(closes)}, and the reboot is given {seconds}"
    else:
        what = "no window is open"
    fitting = f" that has {seconds} seconds" if seconds else ""
    if opening is None:
        return Reason("windows", f"{what}; none{fitting} opens within {HORIZON.days} days")
    return Reason("windows", f"{what}; the next{fitting} opens at {shown(opening)}", opening)


def _epoch(moment: dt.datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())
