# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Maintenance windows: kured's spellings and days, daylight saving, midnight, exclusions, and what agrees with what."""

from __future__ import annotations

import datetime as dt
import itertools
import zoneinfo
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from ansible_collections.bulwark.node.plugins.module_utils.errors import OptionError
from ansible_collections.bulwark.node.plugins.module_utils.reboot.window import (
    Window,
    next_fit,
    open_until,
    parse_window,
    parse_windows,
)

UTC = dt.timezone.utc
HOUR = dt.timedelta(hours=1)
SECOND = dt.timedelta(seconds=1)
# However slow the machine is.
bounded = settings(
    max_examples=120,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def window(**options: Any) -> Window:
    return parse_window("windows[0]", options)


def at(text: str, zone: str = "UTC", fold: int = 0) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=zoneinfo.ZoneInfo(zone), fold=fold)


def utc(text: str) -> dt.datetime:
    return at(text).astimezone(UTC)


# kured: the cases of its own tests and documentation, asked at the moments that its tests ask at

LA = "America/Los_Angeles"
WORKDAYS = ["mon,tue,wed,thu,fri"]
KURED: list[tuple[list[str], str, str, str, dict[str, bool]]] = [
    (
        WORKDAYS,
        "9am",
        "5pm",
        LA,
        {
            "2019-03-31T10:00-07:00": False,
            "2019-04-04T00:49-07:00": False,
            "2019-04-04T12:00-07:00": True,
            "2019-04-04T11:59+00:00": False,
            "2019-04-05T08:59-07:00": False,
            "2019-04-05T09:01-07:00": True,
        },
    ),
    (
        ["mon", "we", "fri"],
        "10:01",
        "11:30am",
        LA,
        {f"2019-04-{day:02}T10:30-07:00": day in (5, 8, 10) for day in range(5, 12)},
    ),
    (
        ["mo,tu,we,th,fr"],
        "00:00",
        "23:59:59",
        "UTC",
        {"2019-04-18T00:00+00:00": True, "2019-04-18T23:59+00:00": True, "2019-04-20T12:00+00:00": False},
    ),
    (
        WORKDAYS,
        "9pm",
        "5am",
        LA,
        {
            "2019-03-30T04:00-07:00": False,
            "2019-03-31T22:00-07:00": False,
            "2019-04-04T00:49-07:00": True,
            "2019-04-04T12:00-07:00": False,
            "2019-04-04T22:49-07:00": True,
            "2019-04-05T00:49-07:00": True,
            "2019-04-05T08:59-07:00": False,
        },
    ),
    (
        WORKDAYS,
        "11:59pm",
        "00:01am",
        LA,
        {
            "2019-04-04T23:58-07:00": False,
            "2019-04-04T23:59-07:00": True,
            "2019-04-05T00:00-07:00": True,
            "2019-04-05T00:01-07:00": True,
            # The end is in it to the last of its second.
            "2019-04-05T00:01:00.999-07:00": True,
            "2019-04-05T00:01:01-07:00": False,
            "2019-04-05T00:02-07:00": False,
        },
    ),
    # The current day is tested, not the one on which the window started.
    (
        ["mon,tue,wed,fri"],
        "11:59pm",
        "00:01am",
        LA,
        {"2019-04-04T23:59-07:00": False, "2019-04-05T00:00-07:00": True, "2019-04-05T00:02-07:00": False},
    ),
    (
        ["mon,tue,wed,thu"],
        "11:59pm",
        "00:01am",
        LA,
        {"2019-04-04T23:59-07:00": True, "2019-04-05T00:00-07:00": False},
    ),
    # Friday night until Saturday takes both days, and Saturday's evening comes with them.
    (
        ["fr", "sa"],
        "23:00",
        "2am",
        "UTC",
        {
            "2026-11-20T01:00+00:00": True,
            "2026-11-20T23:30+00:00": True,
            "2026-11-21T01:00+00:00": True,
            "2026-11-21T23:30+00:00": True,
            "2026-11-22T01:00+00:00": False,
        },
    ),
]


@pytest.mark.parametrize(
    ("days", "start", "end", "zone", "moment", "expected"),
    [(days, start, end, zone, *case) for days, start, end, zone, cases in KURED for case in cases.items()],
)
def test_a_window_of_kured_is_open_when_kured_has_it_open(
    days: list[str], start: str, end: str, zone: str, moment: str, expected: bool
) -> None:
    asked = window(days=days, start=start, end=end, time_zone=zone)
    assert asked.contains(dt.datetime.fromisoformat(moment)) is expected


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("15", 15 * 3600),
        ("9", 9 * 3600),
        ("9am", 9 * 3600),
        ("09am", 9 * 3600),
        ("12am", 0),
        ("12pm", 12 * 3600),
        ("0pm", 12 * 3600),
        ("9:30", 9 * 3600 + 1800),
        ("15:04", 15 * 3600 + 240),
        ("11:59pm", 23 * 3600 + 59 * 60),
        ("00:01am", 60),
        ("9:30 PM", 21 * 3600 + 1800),
        ("22:59:59", 22 * 3600 + 59 * 60 + 59),
    ],
)
def test_times_are_spelled_as_kured_spells_them(text: str, seconds: int) -> None:
    assert window(start=text).start == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "25",
        "24",
        "24:00",
        "9:5",
        "9:60",
        "9:30:60",
        "13pm",
        "9:30:00am",
        "noon",
        "-1",
        "9.30",
        "\u0661\u0665",
        "15:04Z",
        "1e1",
    ],
)
def test_another_start_is_refused_by_name(text: str) -> None:
    with pytest.raises(OptionError) as caught:
        window(start=text)
    assert caught.value.details["option"] == "windows[0].start"
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(("text", "means"), [("1320", "22:00"), ("86399", "23:59:59"), ("90", "1:30")])
def test_a_time_that_yaml_took_for_a_number_is_refused_with_what_to_do(text: str, means: str) -> None:
    with pytest.raises(OptionError, match=r"in quotes: without them YAML takes"):
        window(start=text)
    assert window(start=means, duration=60)


@pytest.mark.parametrize(
    ("words", "days"),
    [
        (["0,4"], {6, 3}),
        (["su,mo,tu"], {6, 0, 1}),
        (["sunday", "tu", "thu"], {6, 1, 3}),
        (["THURSDAY"], {3}),
        (["we,WED,WeDnEsDaY"], {2}),
        ([" fri ", "", "sa,,"], {4, 5}),
        (["6"], {5}),
    ],
)
def test_days_are_spelled_as_kured_spells_them(words: list[str], days: set[int]) -> None:
    assert window(days=words).days == days


@pytest.mark.parametrize("words", [["15"], ["-8"], ["8"], ["7"], ["mon,fridayyyy"], ["m"], ["thur"], [], [""], [",,"]])
def test_other_days_are_refused_by_name(words: list[str]) -> None:
    with pytest.raises(OptionError) as caught:
        window(days=words)
    assert caught.value.details["option"] == "windows[0].days"


@pytest.mark.parametrize(
    "options", [{}, {"end": "24:00"}, {"end": "23:59:59"}, {"duration": 86400}, {"start": "9am", "end": "8:59:59"}]
)
@bounded
@given(moment=st.datetimes(dt.datetime(2020, 1, 1), dt.datetime(2030, 1, 1), timezones=st.just(UTC)))
def test_a_window_of_24_hours_is_never_closed(options: dict[str, Any], moment: dt.datetime) -> None:
    always = window(**options)
    assert always.contains(moment)
    assert always.fits(moment, 72 * HOUR)


def test_days_may_be_those_on_which_a_window_starts() -> None:
    night = window(days=["fri"], start="23:00", end="2am", day_semantics="start")
    assert [
        night.contains(utc(f"2026-11-{text}")) for text in ("20T01:00", "20T23:30", "21T01:59", "21T02:01", "21T23:30")
    ] == [*(False, True, True, False, False)]


# daylight saving: Berlin's clock leaves out 02:00 to 03:00 on 2026-03-29 (01:00 UTC), and has it twice on 2026-10-25 (00:00 to 02:00 UTC)

BERLIN = "Europe/Berlin"
SPRING, AUTUMN = utc("2026-03-28T22:00"), utc("2026-10-24T20:00")


def openings(asked: Window, after: dt.datetime, hours: int = 12) -> list[str]:
    """What is open in the hours after a moment, in UTC."""
    found, now, end = [], after, after + hours * HOUR
    while (opening := asked.next_opening(now)) and opening < end:
        now = asked.open_until(opening, end)
        found.append(f"{opening:%H:%M:%S}-{now:%H:%M:%S}")
    return found


@pytest.mark.parametrize(
    ("options", "after", "expected"),
    [
        ({"start": "01:30", "end": "02:29:59"}, SPRING, ["00:30:00-01:00:00"]),
        ({"start": "02:30", "end": "03:14:59"}, SPRING, ["01:00:00-01:15:00"]),
        ({"start": "02:10", "end": "02:50"}, SPRING, []),
        ({"start": "01:00", "end": "03:59:59"}, SPRING, ["00:00:00-02:00:00"]),
        ({"start": "02:30", "duration": 3600}, SPRING, ["01:00:00-02:00:00"]),
        ({"start": "01:30", "duration": 3600}, SPRING, ["00:30:00-01:30:00"]),
        ({"start": "01:00", "end": "03:59:59"}, AUTUMN, ["23:00:00-03:00:00"]),
        ({"start": "02:10", "end": "02:19:59"}, AUTUMN, ["00:10:00-00:20:00", "01:10:00-01:20:00"]),
        ({"start": "01:30", "end": "02:29:59"}, AUTUMN, ["23:30:00-00:30:00", "01:00:00-01:30:00"]),
        # Each hour that shows 02 is in it, though it comes before the second 02:30.
        ({"start": "02:30", "end": "03:29:59"}, AUTUMN, ["00:30:00-01:00:00", "01:30:00-02:30:00"]),
        # By duration it opens once, at the first of the two.
        ({"start": "02:30", "duration": 3600}, AUTUMN, ["00:30:00-01:30:00"]),
    ],
)
def test_an_hour_left_out_is_in_no_window_and_one_that_comes_twice_is_in_it_twice(
    options: dict[str, Any], after: dt.datetime, expected: list[str]
) -> None:
    assert openings(window(time_zone=BERLIN, **options), after) == expected


def test_the_two_times_of_one_name_are_told_apart() -> None:
    asked = window(time_zone=BERLIN, start="02:30", duration=1800)
    assert asked.contains(at("2026-10-25T02:45", BERLIN, fold=0))
    assert not asked.contains(at("2026-10-25T02:45", BERLIN, fold=1))


def test_a_day_that_a_zone_left_out_is_in_no_window() -> None:
    # Samoa had no 2011-12-30, a Friday.
    asked = window(time_zone="Pacific/Apia", days=["fri"])
    assert asked.next_opening(at("2011-12-29T12:00", "Pacific/Apia")) == at(
        "2012-01-06T00:00", "Pacific/Apia"
    ).astimezone(UTC)


# exclusions, durations, rules


def test_on_excluded_dates_it_is_closed_and_none_starts() -> None:
    night = {"start": "22:00", "end": "03:59:59", "exclude": ["2026-12-24", "2026-12-31..2027-01-01"]}
    start = window(day_semantics="start", **night)
    assert openings(start, utc("2026-12-23T12:00"), 48) == ["22:00:00-00:00:00"]
    assert openings(start, utc("2026-12-30T12:00"), 72) == ["22:00:00-00:00:00"]
    # By current days the morning after is the next day's own.
    assert openings(window(**night), utc("2026-12-23T12:00"), 48) == ["22:00:00-00:00:00", "00:00:00-04:00:00"]


def test_excluded_dates_cut_a_duration() -> None:
    asked = window(days=["mon"], start="12:00", duration=3 * 86400, exclude=["2026-11-24"])
    assert openings(asked, utc("2026-11-23T00:00"), 120) == ["12:00:00-00:00:00", "00:00:00-12:00:00"]


@pytest.mark.parametrize(
    "text", ["2026-13-01", "24.12.", "2026-12-24..2026-12-20", "20261224", "2026-12-24..", "2026-W01-1"]
)
def test_other_dates_are_refused_by_name(text: str) -> None:
    with pytest.raises(OptionError) as caught:
        window(exclude=["2026-12-24", text])
    assert caught.value.details["option"] == "windows[0].exclude[1]"


def test_a_weekend_by_duration_is_one_window() -> None:
    weekend = window(days=["fri"], start="20:00", duration=48 * 3600)
    assert openings(weekend, utc("2026-11-16T00:00"), 24 * 14) == ["20:00:00-20:00:00"] * 2
    assert weekend.fits(utc("2026-11-20T20:00"), 48 * HOUR)
    assert not weekend.fits(utc("2026-11-20T20:00:01"), 48 * HOUR)


def test_an_hour_by_duration_goes_through_midnight() -> None:
    night = window(days=["fri"], start="23:30", duration=3600)
    assert openings(night, utc("2026-11-20T00:00"), 48) == ["23:30:00-00:30:00"]
    assert [night.contains(utc(f"2026-11-{text}")) for text in ("20T00:10", "21T00:10", "21T00:30")] == [
        *(False, True, False)
    ]


def test_a_jump_of_the_clock_is_a_whole_second_whenever_it_is_asked_for() -> None:
    asked = window(time_zone=BERLIN, start="02:30", end="03:14:59")
    assert asked.next_opening(SPRING + dt.timedelta(microseconds=250000)) == utc("2026-03-29T01:00")


def test_the_second_tuesday_of_a_month() -> None:
    asked = window(rrule="FREQ=MONTHLY;BYDAY=2TU", start="02:00", end="04:59:59", time_zone=BERLIN)
    opening = asked.next_opening(utc("2026-11-11T00:00"))
    assert opening == utc("2026-12-08T01:00")
    assert asked.open_until(opening, opening + 24 * HOUR) == utc("2026-12-08T04:00")


def test_a_rule_that_is_over_never_opens() -> None:
    assert window(rrule="FREQ=DAILY;UNTIL=20261120").next_opening(utc("2026-11-21T00:00")) is None


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"end": "5pm", "duration": 60}, "duration"),
        ({"days": ["mo"], "rrule": "FREQ=DAILY"}, "rrule"),
        ({"duration": 60, "day_semantics": "current"}, "day_semantics"),
        ({"rrule": "FREQ=DAILY", "day_semantics": "current"}, "day_semantics"),
        ({"duration": 0}, "duration"),
        ({"duration": 604801}, "duration"),
        ({"start": "9am", "end": "09:00"}, "end"),
        ({"end": "0:00"}, "end"),
        ({"end": "24:01"}, "end"),
        ({"rrule": "FREQ=YEARLY"}, "rrule"),
        ({"time_zone": "Europe/Nowhere"}, "time_zone"),
        ({"time_zone": "../../etc/passwd"}, "time_zone"),
        ({"time_zone": "Europe"}, "time_zone"),
        ({"time_zone": ""}, "time_zone"),
        ({"time_zone": "Local"}, "time_zone"),
    ],
)
def test_what_does_not_go_together_is_refused_by_the_path_of_the_option(options: dict[str, Any], option: str) -> None:
    with pytest.raises(OptionError) as caught:
        parse_windows("windows", [{}, options])
    assert caught.value.details["option"] == f"windows[1].{option}"


def test_a_machine_without_time_zones_says_so_and_has_utc_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> zoneinfo.ZoneInfo:
        raise zoneinfo.ZoneInfoNotFoundError(name)

    moment = utc("2026-11-21T00:00")
    monkeypatch.setattr(zoneinfo, "ZoneInfo", missing)
    monkeypatch.setattr(zoneinfo, "TZPATH", ("/nowhere/zoneinfo",))
    with pytest.raises(OptionError, match=r"no time zone database \(looked for in /nowhere/zoneinfo, .*package tzdata"):
        window(time_zone=BERLIN)
    assert window(time_zone="utc").contains(moment)


def test_a_moment_without_a_zone_is_no_moment() -> None:
    for ask in (window().contains, window().next_opening):
        with pytest.raises(ValueError, match="has no time zone"):
            ask(dt.datetime(2026, 11, 21))


# several windows


def test_a_reboot_may_go_from_one_window_straight_into_the_next() -> None:
    pair = parse_windows("windows", [{"start": "1am", "end": "02:59:59"}, {"start": "3am", "end": "04:59:59"}])
    opened = utc("2026-11-21T01:30")
    assert open_until(pair, opened, opened + 24 * HOUR) == utc("2026-11-21T05:00")
    assert next_fit(pair, opened, 3 * HOUR) == opened
    assert next_fit(pair, opened, 4 * HOUR) == utc("2026-11-22T01:00")
    assert next_fit(pair, opened, 5 * HOUR) is None
    assert open_until(pair, utc("2026-11-21T06:00"), utc("2026-11-22T06:00")) == utc("2026-11-21T06:00")
    assert next_fit((), opened, HOUR) is None


# what must hold of each window at each moment

ZONES = ("UTC", BERLIN, LA, "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Kolkata", "Pacific/Apia")
# A day and a half before a change of the clocks in each of these zones, and a new year.
NEAR = tuple(
    dt.datetime.fromisoformat(day)
    for day in (
        "2026-03-28",
        "2026-10-24",
        "2026-03-07",
        "2026-10-31",
        "2026-04-04",
        "2018-11-03",
        "2018-02-17",
        "2011-12-29",
        "2027-12-31",
    )
)
clocks = st.builds(
    "{:02}:{:02}:{:02}".format, st.integers(0, 23), st.sampled_from([0, 1, 30, 59]), st.sampled_from([0, 59])
)
moments = st.builds(
    lambda day, seconds: (day + dt.timedelta(seconds=seconds)).replace(tzinfo=UTC),
    st.sampled_from(NEAR),
    st.integers(-86400, 3 * 86400),
)
dates = st.sampled_from([day.date() + dt.timedelta(days=more) for day in NEAR for more in (0, 1, 2)])


@st.composite
def windows(draw: st.DrawFn) -> Window:
    options: dict[str, Any] = {"start": draw(clocks), "time_zone": draw(st.sampled_from(ZONES))}
    kind = draw(st.sampled_from(["current", "start", "duration"]))
    if kind == "duration":
        options["duration"] = draw(st.sampled_from([1, 1800, 3600, 7200, 86399, 86400, 90000, 3 * 86400]))
    else:
        options |= {"end": draw(clocks), "day_semantics": kind}
        assume(options["end"] != options["start"])
    if kind != "current" and draw(st.booleans()):
        options["rrule"] = draw(
            st.sampled_from(["FREQ=DAILY", "FREQ=MONTHLY;BYDAY=-1SU,1SU", "FREQ=MONTHLY;BYMONTHDAY=1,-1,29"])
        )
    else:
        options["days"] = draw(st.lists(st.sampled_from("0123456"), min_size=1))
    options["exclude"] = [f"{day}" for day in draw(st.lists(dates, max_size=2))]
    return window(**options)


def within(low: dt.datetime, high: dt.datetime) -> list[dt.datetime]:
    """Moments of a span, its first and last second among them."""
    seconds = int((high - low) / SECOND)
    return [
        low + SECOND * number for number in sorted({*range(0, seconds, max(1, seconds // 97)), max(0, seconds - 1)})
    ]


@bounded
@given(asked=windows(), moment=moments)
def test_it_opens_next_where_it_is_first_open(asked: Window, moment: dt.datetime) -> None:
    opening = asked.next_opening(moment)
    assert (opening == moment) == asked.contains(moment)
    if opening is not None and opening > moment:
        assert asked.contains(opening)
        assert not any(asked.contains(each) for each in within(moment, opening))


@bounded
@given(asked=windows(), moment=moments)
def test_it_closes_where_it_is_first_closed(asked: Window, moment: dt.datetime) -> None:
    limit = moment + 5 * 24 * HOUR
    closing = asked.open_until(moment, limit)
    assert moment <= closing <= limit
    assert (closing == moment) == (not asked.contains(moment))
    assert closing == limit or not asked.contains(closing)
    if closing > moment:
        assert all(asked.contains(each) for each in within(moment, closing))
        assert asked.fits(moment, closing - moment)
        assert closing == limit or not asked.fits(moment, closing - moment + SECOND)


@bounded
@given(asked=windows(), moment=moments, hours=st.integers(1, 30))
def test_what_fits_is_open_all_the_while(asked: Window, moment: dt.datetime, hours: int) -> None:
    fit = next_fit((asked,), moment, hours * HOUR)
    if fit is not None:
        assert asked.fits(fit, hours * HOUR)
        assert all(asked.contains(each) for each in within(fit, fit + hours * HOUR))
    # No window before it was long enough.
    opening = asked.next_opening(moment)
    for _turn in itertools.repeat(None, 5):
        if opening is None or (fit is not None and opening >= fit):
            break
        closing = asked.open_until(opening, opening + 40 * HOUR)
        assert closing - opening < hours * HOUR
        opening = asked.next_opening(closing)


@bounded
@given(
    start=clocks, end=clocks, days=st.sets(st.integers(0, 6), min_size=1), moment=moments, zone=st.sampled_from(ZONES)
)
def test_by_current_days_a_window_is_what_its_clock_shows(
    start: str, end: str, days: set[int], moment: dt.datetime, zone: str
) -> None:
    assume(start != end)
    clock = moment.astimezone(zoneinfo.ZoneInfo(zone))
    shown = f"{clock:%H:%M:%S}"
    inside = start <= shown <= end if start < end else shown >= start or shown <= end
    asked = window(start=start, end=end, days=[str((day + 1) % 7) for day in days], time_zone=zone)
    assert asked.contains(moment) is (inside and clock.weekday() in days)
