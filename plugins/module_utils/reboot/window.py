# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Maintenance windows: whether one is open at a moment, for how long yet, and when it opens next.

A window is open whenever the clock of its zone shows a time in it. So an hour that a zone leaves out in spring is in no
window, and one that comes twice in autumn is in it twice. Only a ``duration`` is real seconds.
Days and times are spelled as kured spells them (its internal/timewindow): the second of ``end`` is in the window, and
days are tested on the current day, unless ``day_semantics`` says that they are those on which a window starts.
"""

from __future__ import annotations

import datetime as dt
import os
import re
import zoneinfo
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.errors import OptionError
from ansible_collections.bulwark.node.plugins.module_utils.reboot.recurrence import Rule, parse_rule

__all__ = ["HORIZON", "WINDOW_SPEC", "Window", "next_fit", "open_until", "parse_window", "parse_windows"]

WINDOW_SPEC: dict[str, Any] = {
    "days": {"type": "list", "elements": "str"},
    "start": {"type": "str"},
    "end": {"type": "str"},
    "duration": {"type": "int"},
    "time_zone": {"type": "str", "default": "UTC"},
    "day_semantics": {"type": "str", "choices": ["current", "start"]},
    "rrule": {"type": "str"},
    "exclude": {"type": "list", "elements": "str", "default": []},
}

HORIZON = dt.timedelta(days=731)
"""How far an opening is looked for."""

_DAY_SECONDS = 86400
_MAX_DURATION = 7 * _DAY_SECONDS
_DAY = dt.timedelta(days=1)
_SECOND = dt.timedelta(seconds=1)
_DAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_TIME = re.compile(r"([0-9]{1,2})(?::([0-9]{2})(?::([0-9]{2}))?)?\s*([ap]m)?", re.ASCII | re.IGNORECASE)
_RANGE = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:\.\.([0-9]{4}-[0-9]{2}-[0-9]{2}))?", re.ASCII)


@dataclass(frozen=True)
class Window:
    """One window. All moments that go in must have a zone (ValueError); those that come out are in UTC.

    ``start`` and ``end`` are seconds of the clock after midnight, ``end`` the first that is no more in it; where it is not
    after ``start`` the window goes through midnight. ``end`` is None where ``duration`` says the length.
    ``by_start``: days are those on which it starts, which ``duration`` and ``rule`` always mean. ``excluded`` are ranges of
    dates, both ends in them: the window is closed on them, and none starts.
    """

    zone: dt.tzinfo
    days: frozenset[int]
    start: int
    end: int | None
    duration: dt.timedelta | None
    by_start: bool
    rule: Rule | None
    excluded: tuple[tuple[dt.date, dt.date], ...]

    def contains(self, moment: dt.datetime) -> bool:
        """Whether it is open at this moment."""
        moment = _utc(moment)
        clock = moment.astimezone(self.zone)
        today = clock.date()
        if self._is_excluded(today):
            return False
        if self.end is None:
            return any(opened <= moment < closed for opened, closed in self._runs(today, today))
        seconds = clock.hour * 3600 + clock.minute * 60 + clock.second
        late, early = seconds >= self.start, seconds < self.end
        if self.start < self.end:
            return late and early and self._has(today)
        if self.by_start:
            return (late and self._has(today)) or (early and self._has(today - _DAY))
        return (late or early) and self._has(today)

    def open_until(self, moment: dt.datetime, limit: dt.datetime) -> dt.datetime:
        """When it closes, or ``limit`` where it is open until then; the moment itself where it is not open."""
        low, limit = _utc(moment), _utc(limit)
        if not self.contains(low):
            return low
        while low < limit:
            for cut in self._cuts(low):
                if cut >= limit:
                    return limit
                if not self.contains(cut):
                    return cut
            low += _DAY
        return limit

    def fits(self, moment: dt.datetime, duration: dt.timedelta) -> bool:
        """Whether it is open at this moment, and stays so as long as that."""
        end = _utc(moment) + duration
        return self.contains(moment) and self.open_until(moment, end) >= end

    def next_opening(self, moment: dt.datetime) -> dt.datetime | None:
        """The first moment from this one on at which it is open; None where there is none within HORIZON."""
        low = _utc(moment)
        if self.contains(low):
            return low
        end = low + HORIZON
        while low < end:
            if self._may_open(low):
                opening = next((cut for cut in self._cuts(low) if self.contains(cut)), None)
                if opening is not None:
                    return opening
            low += _DAY
        return None

    def _has(self, day: dt.date) -> bool:
        """Whether the window has this day of its own."""
        if self._is_excluded(day):
            return False
        return self.rule.occurs(day) if self.rule else day.weekday() in self.days

    def _is_excluded(self, day: dt.date) -> bool:
        return any(first <= day <= last for first, last in self.excluded)

    def _runs(self, first: dt.date, last: dt.date) -> Iterable[tuple[dt.datetime, dt.datetime]]:
        """The openings and closings by duration that may touch these days of the clock."""
        if self.duration is not None:
            # A day of the clock may be an hour shorter than one of seconds, or be left out.
            day = first - (self.duration.days + 2) * _DAY
            while day <= last:
                if self._has(day):
                    opened = _moment(self.zone, day, self.start)
                    yield opened, opened + self.duration
                day += _DAY

    def _may_open(self, low: dt.datetime) -> bool:
        """Whether any day that reaches into the 24 hours after ``low`` is the window's: what costs little to be asked."""
        today = low.astimezone(self.zone).date()
        back = 2 + (self.duration.days if self.duration else 0)
        return any(self._has(today + number * _DAY) for number in range(-back, 3))

    def _cuts(self, low: dt.datetime) -> list[dt.datetime]:
        """The moments in the 24 hours after ``low`` at which it may open or close; in between it does neither."""
        high = low + _DAY
        first = low.astimezone(self.zone).date() - _DAY
        last = high.astimezone(self.zone).date() + _DAY
        found = {moment for run in self._runs(first, last) for moment in run}
        if low.astimezone(self.zone).utcoffset() != high.astimezone(self.zone).utcoffset():
            found.add(_jump(self.zone, low, high))
        clocks = {0, self.start, *(() if self.end is None else (self.end % _DAY_SECONDS,))}
        day = first
        while day <= last:
            for clock in clocks:
                found.update(_both(self.zone, day, clock))
            day += _DAY
        return sorted(cut for cut in found if low < cut <= high)


def open_until(windows: Sequence[Window], moment: dt.datetime, limit: dt.datetime) -> dt.datetime:
    """When all of the windows are closed first, or ``limit``; from one straight into the next is open."""
    reached = _utc(moment)
    while True:
        further = max((window.open_until(reached, limit) for window in windows), default=reached)
        if further <= reached:
            return reached
        reached = further


def next_fit(windows: Sequence[Window], moment: dt.datetime, duration: dt.timedelta) -> dt.datetime | None:
    """The first moment from this one on from which ``duration`` is in the windows; None where there is none within HORIZON."""
    reached, end = _utc(moment), _utc(moment) + HORIZON
    openings = [window.next_opening(reached) for window in windows]
    while reached < end:
        openings = [
            window.next_opening(reached) if opening and opening < reached else opening
            for window, opening in zip(windows, openings)
        ]
        opening = min((each for each in openings if each), default=None)
        if opening is None or opening > end:
            return None
        closing = open_until(windows, opening, opening + max(duration, _SECOND))
        if closing - opening >= duration:
            return opening
        reached = closing
    return None


def parse_windows(option: str, values: Sequence[Mapping[str, Any]]) -> tuple[Window, ...]:
    """The windows of an option of WINDOW_SPEC. Raises OptionError."""
    return tuple(parse_window(f"{option}[{index}]", value) for index, value in enumerate(values))


def parse_window(option: str, value: Mapping[str, Any]) -> Window:
    """One window; ``option`` is its path. Raises OptionError."""
    given = {key: each for key, each in value.items() if each is not None}
    for one, other in (("end", "duration"), ("days", "rrule")):
        if one in given and other in given:
            raise OptionError(f"{option}.{other}", given[other], f"{one} or {other}, not both")
    always_start = [name for name in ("duration", "rrule") if name in given]
    if always_start and given.get("day_semantics") == "current":
        raise OptionError(
            f"{option}.day_semantics",
            "current",
            f"start: a window with {always_start[0]} belongs to the day it starts on",
        )
    start = _time(f"{option}.start", str(given.get("start", "00:00")))
    if start == _DAY_SECONDS:
        raise OptionError(f"{option}.start", given["start"], "a time before 24:00, which only an end may be")
    end = None if "duration" in given else _end(option, start, given)
    return Window(
        zone=_zone(f"{option}.time_zone", str(given.get("time_zone", "UTC"))),
        days=_days(f"{option}.days", given.get("days", _DAYS)),
        start=start,
        end=end,
        duration=_duration(f"{option}.duration", given["duration"]) if "duration" in given else None,
        by_start=bool(always_start) or given.get("day_semantics") == "start",
        rule=parse_rule(f"{option}.rrule", given["rrule"]) if "rrule" in given else None,
        excluded=tuple(
            _dates(f"{option}.exclude[{index}]", str(each)) for index, each in enumerate(given.get("exclude", ()))
        ),
    )


def _end(option: str, start: int, given: Mapping[str, Any]) -> int:
    """The first second that is no more in the window: kured's ends are in it to the last of their nanoseconds."""
    text = str(given.get("end", "23:59:59"))
    end = _time(f"{option}.end", text)
    if end == start:
        raise OptionError(
            f"{option}.end",
            text,
            "another time than start (kured is open for one second then); a day is 00:00 to 24:00",
        )
    return min(end + 1, _DAY_SECONDS)


def _duration(option: str, seconds: int) -> dt.timedelta:
    if not 0 < seconds <= _MAX_DURATION:
        raise OptionError(option, seconds, f"seconds, from 1 to {_MAX_DURATION} (a week)")
    return dt.timedelta(seconds=seconds)


def _days(option: str, words: Sequence[str]) -> frozenset[int]:
    """Days as Python counts them, from Monday = 0; kured counts from Sunday = 0 and takes commas in between."""
    found: set[int] = set()
    for word in (part.strip() for each in words for part in str(each).split(",")):
        name = word.lower()
        numbers = [number for number, day in enumerate(_DAYS) if name in (str(number), day, day[:3], day[:2])]
        if word and not numbers:
            raise OptionError(option, word, "days such as mo, mon, monday, or 0 (Sunday) to 6 (Saturday)")
        found.update((number - 1) % 7 for number in numbers)
    if not found:
        raise OptionError(option, list(words), "at least one day, or no such option for all days")
    return frozenset(found)


def _time(option: str, text: str) -> int:
    """Seconds after midnight of ``15``, ``15:04``, ``23:59:59``, ``9am``, ``11:59pm``, ``00:01am``; 86400 for ``24:00``."""
    match = _TIME.fullmatch(text.strip())
    expected = "a time such as 15:04, 23:59:59, 15, 9am or 11:59pm"
    if match is None or (match[3] and match[4]):
        if re.fullmatch(r"[0-9]{2,6}", text, re.ASCII):
            expected += ", in quotes: without them YAML takes 22:00 for the number 1320"
        raise OptionError(option, text, expected)
    hour, minute, second = (int(part or 0) for part in match.groups()[:3])
    if (hour, minute, second, match[4]) == (24, 0, 0, None) and match[2]:
        return _DAY_SECONDS
    if hour > (12 if match[4] else 23) or minute > 59 or second > 59:
        if hour >= 60 and not match[2] and not match[4]:
            expected += ", in quotes: without them YAML takes 1:30 for the number 90"
        raise OptionError(option, text, expected)
    if match[4]:
        hour = hour % 12 + (12 if match[4].lower() == "pm" else 0)
    return hour * 3600 + minute * 60 + second


def _dates(option: str, text: str) -> tuple[dt.date, dt.date]:
    match = _RANGE.fullmatch(text.strip())
    try:
        if match is None:
            raise ValueError
        first = dt.date.fromisoformat(match[1])
        last = dt.date.fromisoformat(match[2] or match[1])
        if last < first:
            raise ValueError
    except ValueError:
        raise OptionError(
            option, text, "a date such as 2026-12-24, or first and last of some, 2026-12-24..2027-01-06"
        ) from None
    return first, last


def _zone(option: str, name: str) -> dt.tzinfo:
    if name.upper() == "UTC":
        # The one that needs no data.
        return dt.timezone.utc
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        expected = "a name of the time zone database, such as Europe/Berlin"
        if not _has_data():
            paths = ", ".join(zoneinfo.TZPATH) or "nowhere"
            expected = (
                f"UTC: the machine that judges the windows has no time zone database (looked for in {paths}, and for "
                "Python's tzdata); install its package tzdata for others"
            )
        raise OptionError(option, name, expected) from error


def _has_data() -> bool:
    if any(os.path.exists(os.path.join(path, "Europe")) for path in zoneinfo.TZPATH):
        return True
    try:
        zoneinfo.ZoneInfo("Europe/London")
    except (zoneinfo.ZoneInfoNotFoundError, OSError):
        return False
    return True


def _utc(moment: dt.datetime) -> dt.datetime:
    if moment.utcoffset() is None:
        raise ValueError(f"{moment} has no time zone")
    return moment.astimezone(dt.timezone.utc)


def _both(zone: dt.tzinfo, day: dt.date, clock: int) -> tuple[dt.datetime, dt.datetime]:
    """The moments at which a clock shows a time: two where it comes twice, and where it is left out those around the gap."""
    shown = dt.datetime(day.year, day.month, day.day, tzinfo=zone) + dt.timedelta(seconds=clock)
    return _utc(shown), _utc(shown.replace(fold=1))


def _moment(zone: dt.tzinfo, day: dt.date, clock: int) -> dt.datetime:
    """When a clock first shows a time, as RFC 5545 (3.3.5) takes one that comes twice; the end of the gap that leaves it out."""
    first, second = _both(zone, day, clock)
    # In a gap the offset after it gives the earlier moment (PEP 495).
    return first if first <= second else _jump(zone, second, first)


def _jump(zone: dt.tzinfo, low: dt.datetime, high: dt.datetime) -> dt.datetime:
    """The moment, to the second, at which the zone's offset becomes another; ``low`` is before it, ``high`` is not."""
    before = low.astimezone(zone).utcoffset()
    while high - low > _SECOND:
        middle = low + dt.timedelta(seconds=(high - low) // _SECOND // 2)
        if middle.astimezone(zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    return high.replace(microsecond=0)
