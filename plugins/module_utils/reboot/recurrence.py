# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The days of a recurrence rule: the part of RFC 5545 (3.3.10) that maintenance windows take, and no other.

FREQ=DAILY|WEEKLY|MONTHLY with INTERVAL, BYDAY (in a month with an ordinal: ``2TU``, ``-1FR``), BYMONTHDAY, UNTIL or COUNT,
and the DTSTART that INTERVAL and COUNT are counted from. A rule gives days alone: times and zones are the window's.
"""

from __future__ import annotations

import calendar
import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ansible_collections.bulwark.node.plugins.module_utils.errors import OptionError

__all__ = ["Rule", "parse_rule"]

_WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_KNOWN = ("FREQ", "INTERVAL", "BYDAY", "BYMONTHDAY", "UNTIL", "COUNT", "WKST")
_NEVER = {"EXDATE", "EXRULE", "RDATE"}
# A rule that is counted is walked day by day, once: so far and no further.
_WALK_DAYS = 200 * 366
_MAX = 1000


@dataclass(frozen=True)
class Rule:
    """A rule, checked. ``weekdays`` are (ordinal in the month or 0, Monday = 0), ``monthdays`` count from the end where negative.

    ``first`` is DTSTART, or None where nothing is counted from it; ``last`` is the last day that it may give, or None.
    """

    frequency: str
    interval: int
    weekdays: tuple[tuple[int, int], ...]
    monthdays: tuple[int, ...]
    first: dt.date | None
    last: dt.date | None

    def occurs(self, day: dt.date) -> bool:
        """Whether the rule gives this day."""
        if (self.first is not None and day < self.first) or (self.last is not None and day > self.last):
            return False
        return self._in_turn(day) and self._by_weekday(day) and self._by_monthday(day)

    def _in_turn(self, day: dt.date) -> bool:
        if self.first is None or self.interval == 1:
            return True
        passed = (day - self.first).days
        if self.frequency == "MONTHLY":
            passed = (day.year - self.first.year) * 12 + day.month - self.first.month
        elif self.frequency == "WEEKLY":
            # Weeks begin on Mondays, not on the day of DTSTART.
            passed = (passed + self.first.weekday()) // 7
        return passed % self.interval == 0

    def _by_weekday(self, day: dt.date) -> bool:
        if not self.weekdays:
            return True
        left = calendar.monthrange(day.year, day.month)[1] - day.day
        ordinals = (0, (day.day - 1) // 7 + 1, -(left // 7 + 1))
        return any((ordinal, day.weekday()) in self.weekdays for ordinal in ordinals)

    def _by_monthday(self, day: dt.date) -> bool:
        length = calendar.monthrange(day.year, day.month)[1]
        return not self.monthdays or day.day in self.monthdays or day.day - length - 1 in self.monthdays


def parse_rule(option: str, text: str) -> Rule:
    """A rule as text, ``FREQ=MONTHLY;BYDAY=2TU``, with ``DTSTART:20260105`` before it where it takes one. Raises OptionError."""
    return _Parser(option, text).rule()


class _Parser:
    """One text on its way to a rule: every refusal names the option and the text."""

    def __init__(self, option: str, text: str) -> None:
        self._option, self._text = option, text

    def rule(self) -> Rule:
        first, parts = self._split()
        frequency = parts["FREQ"]
        if frequency not in ("DAILY", "WEEKLY", "MONTHLY"):
            raise self._refuse(f"FREQ=DAILY, WEEKLY or MONTHLY, not {frequency}")
        if parts.get("WKST", "MO") != "MO":
            raise self._refuse("weeks that begin on Mondays (WKST=MO)")
        if "UNTIL" in parts and "COUNT" in parts:
            raise self._refuse("UNTIL or COUNT, not both")
        interval = self._number("INTERVAL", parts.get("INTERVAL", "1"))
        weekdays = self._weekdays(frequency, parts["BYDAY"]) if "BYDAY" in parts else ()
        monthdays = self._monthdays(frequency, parts["BYMONTHDAY"]) if "BYMONTHDAY" in parts else ()
        last = self._date("UNTIL", parts["UNTIL"]) if "UNTIL" in parts else None
        counted = frequency != "DAILY" and not weekdays and not monthdays
        if first is None and (interval > 1 or "COUNT" in parts or counted):
            what = "INTERVAL" if interval > 1 else "COUNT" if "COUNT" in parts else f"FREQ={frequency} without BYDAY"
            raise self._refuse(f"DTSTART:YYYYMMDD before the rule, which {what} counts from")
        if first is not None and counted:
            weekdays = ((0, first.weekday()),) if frequency == "WEEKLY" else ()
            monthdays = (first.day,) if frequency == "MONTHLY" else ()
        rule = Rule(frequency, interval, weekdays, monthdays, first, last)
        if first is None or "COUNT" not in parts:
            return rule
        return replace(rule, last=_last(rule, first, self._number("COUNT", parts["COUNT"])))

    def _split(self) -> tuple[dt.date | None, Mapping[str, str]]:
        first: dt.date | None = None
        parts: dict[str, str] = {}
        for word in self._text.upper().split():
            name = re.split(r"[:;=]", word)[0]
            if name in _NEVER:
                raise self._refuse(f"no {name}: the option exclude takes dates out")
            if name == "DTSTART":
                if first is not None:
                    raise self._refuse("one DTSTART")
                first = self._date("DTSTART", re.sub(r"^DTSTART(;VALUE=DATE)?:", "", word))
                continue
            if parts:
                raise self._refuse("one rule; several are several windows")
            parts = self._parts(word.removeprefix("RRULE:"))
        if "FREQ" not in parts:
            raise self._refuse("a rule with FREQ, such as FREQ=MONTHLY;BYDAY=2TU")
        return first, parts

    def _parts(self, word: str) -> dict[str, str]:
        parts: dict[str, str] = {}
        for part in word.rstrip(";").split(";"):
            name, equals, value = part.partition("=")
            if name not in _KNOWN:
                raise self._refuse(f"no {name}: of RFC 5545 there are {', '.join(_KNOWN)}")
            if not equals or not value or name in parts:
                raise self._refuse(f"{name}= once, with a value")
            parts[name] = value
        return parts

    def _number(self, name: str, text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,4}", text, re.ASCII) or not 1 <= int(text) <= _MAX:
            raise self._refuse(f"{name} from 1 to {_MAX}, not {text}")
        return int(text)

    def _date(self, name: str, text: str) -> dt.date:
        try:
            # Beyond these years a sum of days may have no date.
            if not re.fullmatch(r"(19|2[01])[0-9]{6}", text, re.ASCII):
                raise ValueError
            return dt.date(int(text[:4]), int(text[4:6]), int(text[6:]))
        except ValueError:
            expected = f"{name} as a date, YYYYMMDD, without time or zone: these are the options start and time_zone"
            raise self._refuse(expected) from None

    def _weekdays(self, frequency: str, text: str) -> tuple[tuple[int, int], ...]:
        found = []
        for word in text.split(","):
            match = re.fullmatch(r"([+-]?[1-5])?([A-Z]{2})", word, re.ASCII)
            if match is None or match[2] not in _WEEKDAYS:
                raise self._refuse(
                    f"BYDAY of {', '.join(_WEEKDAYS)}, in a month with an ordinal from 1 to 5, not {word}"
                )
            if match[1] and frequency != "MONTHLY":
                raise self._refuse(f"an ordinal in BYDAY with FREQ=MONTHLY alone, not {word}")
            found.append((int(match[1] or 0), _WEEKDAYS.index(match[2])))
        return tuple(found)

    def _monthdays(self, frequency: str, text: str) -> tuple[int, ...]:
        if frequency == "WEEKLY":
            raise self._refuse("no BYMONTHDAY with FREQ=WEEKLY, as RFC 5545 has it")
        for word in text.split(","):
            if not re.fullmatch(r"[+-]?[0-9]{1,2}", word, re.ASCII) or not 1 <= abs(int(word)) <= 31:
                raise self._refuse(f"BYMONTHDAY from 1 to 31, or from -31 to -1, not {word}")
        return tuple(int(word) for word in text.split(","))

    def _refuse(self, expected: str) -> OptionError:
        return OptionError(self._option, self._text, expected)


def _last(rule: Rule, first: dt.date, count: int) -> dt.date | None:
    """The ``count``-th day of a rule, or None where it is beyond two centuries."""
    for passed in range(_WALK_DAYS):
        day = first + dt.timedelta(days=passed)
        count -= rule.occurs(day)
        if count == 0:
            return day
    return None
