# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The days of a recurrence rule, beside the examples of RFC 5545 (3.8.5.3)."""

from __future__ import annotations

import datetime as dt

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import OptionError
from ansible_collections.bulwark.node.plugins.module_utils.reboot.recurrence import parse_rule


def days(text: str, first: str, last: str) -> list[str]:
    rule, day, end = parse_rule("rrule", text), dt.date.fromisoformat(first), dt.date.fromisoformat(last)
    found = []
    while day <= end:
        found += [f"{day:%m-%d}"] if rule.occurs(day) else []
        day += dt.timedelta(days=1)
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("DTSTART:19970902 RRULE:FREQ=DAILY;COUNT=4", ["09-02", "09-03", "09-04", "09-05"]),
        ("DTSTART:19970902\nRRULE:FREQ=DAILY;INTERVAL=10;COUNT=5", ["09-02", "09-12", "09-22", "10-02", "10-12"]),
        ("DTSTART:19970902 FREQ=WEEKLY;COUNT=3", ["09-02", "09-09", "09-16"]),
        (
            "DTSTART;VALUE=DATE:19970902 FREQ=WEEKLY;UNTIL=19971007;WKST=MO;BYDAY=TU,TH",
            ["09-02", "09-04", "09-09", "09-11", "09-16", "09-18", "09-23", "09-25", "09-30", "10-02", "10-07"],
        ),
        (
            "DTSTART:19970901 RRULE:FREQ=WEEKLY;INTERVAL=2;UNTIL=19971001;BYDAY=MO,WE,FR",
            ["09-01", "09-03", "09-05", "09-15", "09-17", "09-19", "09-29", "10-01"],
        ),
        ("DTSTART:19970905 RRULE:FREQ=MONTHLY;COUNT=3;BYDAY=1FR", ["09-05", "10-03", "11-07"]),
        ("DTSTART:19970907 RRULE:FREQ=MONTHLY;INTERVAL=2;COUNT=4;BYDAY=1SU,-1SU", ["09-07", "09-28", "11-02", "11-30"]),
        ("DTSTART:19970922 RRULE:FREQ=MONTHLY;COUNT=3;BYDAY=-2MO", ["09-22", "10-20", "11-17"]),
        ("DTSTART:19970928 RRULE:FREQ=MONTHLY;BYMONTHDAY=-3;COUNT=3", ["09-28", "10-29", "11-28"]),
        ("DTSTART:19970902 RRULE:FREQ=MONTHLY;COUNT=5;BYMONTHDAY=2,15", ["09-02", "09-15", "10-02", "10-15", "11-02"]),
        ("DTSTART:19970930 RRULE:FREQ=MONTHLY;COUNT=5;BYMONTHDAY=1,-1", ["09-30", "10-01", "10-31", "11-01", "11-30"]),
        # Friday the 13th, and the first Saturday that follows the first Sunday of the month.
        ("DTSTART:19970902 FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13", []),
        (
            "DTSTART:19970913 RRULE:FREQ=MONTHLY;BYDAY=SA;BYMONTHDAY=7,8,9,10,11,12,13;COUNT=3",
            ["09-13", "10-11", "11-08"],
        ),
        ("DTSTART:19970915 FREQ=MONTHLY;COUNT=2", ["09-15", "10-15"]),
        # A month without that day has none.
        ("DTSTART:19970831 FREQ=MONTHLY", ["10-31"]),
        ("freq=monthly;byday=5mo;until=19971101", ["09-29"]),
        ("FREQ=DAILY;BYDAY=SA,SU;UNTIL=19970907", ["09-06", "09-07"]),
        ("FREQ=DAILY;BYMONTHDAY=1", ["09-01", "10-01", "11-01"]),
    ],
)
def test_a_rule_gives_the_days_of_the_rfc(text: str, expected: list[str]) -> None:
    assert days(text, "1997-09-01", "1997-11-30") == expected


def test_weeks_are_counted_from_mondays() -> None:
    # RFC 5545's example of what WKST changes, with its WKST=MO.
    text = "DTSTART:19970805 RRULE:FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=MO"
    assert days(text, "1997-08-01", "1997-12-31") == ["08-05", "08-10", "08-19", "08-24"]
    # The Monday after a Wednesday is in the next week, which has no turn.
    text = "DTSTART:19970903 FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=MO,WE"
    assert days(text, "1997-09-01", "1997-12-31") == ["09-03", "09-15", "09-17", "09-29"]


def test_a_count_beyond_two_centuries_is_none() -> None:
    assert parse_rule("rrule", "DTSTART:20260228 FREQ=MONTHLY;INTERVAL=12;BYMONTHDAY=30;COUNT=1").last is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "a rule with FREQ"),
        ("BYDAY=MO", "a rule with FREQ"),
        ("FREQ=YEARLY", "FREQ=DAILY, WEEKLY or MONTHLY, not YEARLY"),
        ("FREQ=HOURLY", "FREQ=DAILY, WEEKLY or MONTHLY, not HOURLY"),
        ("FREQ=MONTHLY;BYDAY=MO;BYSETPOS=-1", "no BYSETPOS"),
        ("FREQ=DAILY;BYHOUR=2", "no BYHOUR"),
        ("FREQ=DAILY;BYMONTH=2", "no BYMONTH"),
        ("FREQ=DAILY;FREQ=DAILY", "FREQ= once"),
        ("FREQ=", "FREQ= once, with a value"),
        ("FREQ", "FREQ= once, with a value"),
        ("FREQ=DAILY;INTERVAL=0", "INTERVAL from 1 to 1000, not 0"),
        ("FREQ=DAILY;INTERVAL=2", "DTSTART:YYYYMMDD before the rule, which INTERVAL counts from"),
        ("FREQ=DAILY;COUNT=2", "DTSTART:YYYYMMDD before the rule, which COUNT counts from"),
        ("FREQ=WEEKLY", "DTSTART:YYYYMMDD before the rule, which FREQ=WEEKLY without BYDAY counts from"),
        ("FREQ=MONTHLY", "DTSTART:YYYYMMDD before the rule"),
        ("DTSTART:20260101 FREQ=DAILY;COUNT=2;UNTIL=20270101", "UNTIL or COUNT, not both"),
        ("FREQ=DAILY;UNTIL=20270101T000000Z", "UNTIL as a date"),
        ("FREQ=DAILY;UNTIL=20260230", "UNTIL as a date"),
        ("DTSTART:20260101T020000 FREQ=DAILY", "DTSTART as a date"),
        ("DTSTART;TZID=Europe/Berlin:20260101 FREQ=DAILY", "DTSTART as a date"),
        ("DTSTART:99991231 FREQ=DAILY", "DTSTART as a date"),
        ("DTSTART:20260101 DTSTART:20260102 FREQ=DAILY", "one DTSTART"),
        ("FREQ=WEEKLY;BYDAY=2TU", "an ordinal in BYDAY with FREQ=MONTHLY alone, not 2TU"),
        ("FREQ=MONTHLY;BYDAY=6TU", "BYDAY of MO, TU"),
        ("FREQ=MONTHLY;BYDAY=0TU", "BYDAY of MO, TU"),
        ("FREQ=MONTHLY;BYDAY=TUE", "BYDAY of MO, TU"),
        ("FREQ=MONTHLY;BYMONTHDAY=0", "BYMONTHDAY from 1 to 31"),
        ("FREQ=MONTHLY;BYMONTHDAY=32", "BYMONTHDAY from 1 to 31"),
        ("FREQ=WEEKLY;BYMONTHDAY=1", "no BYMONTHDAY with FREQ=WEEKLY"),
        ("FREQ=WEEKLY;BYDAY=MO;WKST=SU", "weeks that begin on Mondays"),
        ("FREQ=DAILY EXDATE:20260101", "no EXDATE: the option exclude"),
        ("FREQ=DAILY RRULE:FREQ=WEEKLY;BYDAY=MO", "one rule"),
    ],
)
def test_what_is_not_in_the_subset_is_refused_by_name(text: str, expected: str) -> None:
    with pytest.raises(OptionError) as caught:
        parse_rule("windows[0].rrule", text)
    assert caught.value.details["option"] == "windows[0].rrule"
    assert caught.value.details["value"] == text
    assert caught.value.details["expected"].startswith(expected)
