# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a reboot may begin: all reasons at once, from windows and from what else is handed in."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.reboot.gate import (
    Gate,
    Reason,
    Subject,
    at_most,
    decide,
)
from ansible_collections.bulwark.node.plugins.module_utils.reboot.window import parse_windows

# A Saturday.
NOW = dt.datetime(2026, 11, 21, 13, 0, 0, 250000, tzinfo=dt.timezone.utc)
ALERT = Reason("prometheus", "alert A is firing")
BROKEN = Reason("prometheus", "it does not answer", error=True)


def gate(*windows: dict[str, Any], minutes: int = 0, others: tuple[Reason, ...] = ()) -> Gate:
    return decide(NOW, parse_windows("windows", windows), dt.timedelta(minutes=minutes), others)


def epoch(text: str) -> int:
    return int(dt.datetime.fromisoformat(f"{text}+00:00").timestamp())


def test_without_windows_it_is_open_at_all_times() -> None:
    assert gate(minutes=60).as_dict() == {
        "open": True,
        "reasons": [],
        "next_opening": epoch("2026-11-21T13:00"),
        "closes": None,
        "checked_at": epoch("2026-11-21T13:00"),
    }


@pytest.mark.parametrize(
    ("window", "minutes", "detail", "opening", "closes"),
    [
        ({"start": "12:00", "end": "13:59:59"}, 0, None, "2026-11-21T13:00", "2026-11-21T14:00"),
        ({"start": "12:00", "end": "13:59:59"}, 59, None, "2026-11-21T13:00", "2026-11-21T14:00"),
        (
            {"start": "12:00", "end": "13:59:59"},
            60,
            "the window closes in 3599 seconds, at 2026-11-21T14:00:00Z, and the reboot is given 3600; "
            "the next that has 3600 seconds opens at 2026-11-22T12:00:00Z",
            "2026-11-22T12:00",
            "2026-11-21T14:00",
        ),
        (
            {"start": "12:00", "end": "13:59:59"},
            121,
            "the window closes in 3599 seconds, at 2026-11-21T14:00:00Z, and the reboot is given 7260; "
            "none that has 7260 seconds opens within 731 days",
            None,
            "2026-11-21T14:00",
        ),
        (
            {"days": ["mo"], "start": "9pm"},
            0,
            "no window is open; the next opens at 2026-11-23T21:00:00Z",
            "2026-11-23T21:00",
            None,
        ),
        (
            {"days": ["mo"], "start": "9pm"},
            30,
            "no window is open; the next that has 1800 seconds opens at 2026-11-23T21:00:00Z",
            "2026-11-23T21:00",
            None,
        ),
        ({"rrule": "FREQ=DAILY;UNTIL=20260101"}, 0, "no window is open; none opens within 731 days", None, None),
        # Always open: it does not close within the week.
        ({}, 60, None, "2026-11-21T13:00", None),
    ],
)
def test_a_window_is_open_and_long_enough_or_says_when(
    window: dict[str, Any], minutes: int, detail: str | None, opening: str | None, closes: str | None
) -> None:
    found = gate(window, minutes=minutes).as_dict()
    expected = None if opening is None else epoch(opening)
    shut = {"source": "windows", "detail": detail, "until": expected, "error": False, "object": None}
    reasons = [] if detail is None else [shut]
    assert (found["open"], found["reasons"]) == (detail is None, reasons)
    assert found["next_opening"] == expected
    assert found["closes"] == (None if closes is None else epoch(closes))


def test_one_open_window_of_several_is_enough() -> None:
    assert gate({"days": ["mo"]}, {"days": ["sa"]}).open
    assert not gate({"days": ["mo"]}, {"days": ["tu"]}).open


def test_all_reasons_come_at_once_and_an_error_is_one() -> None:
    found = gate({"days": ["mo"]}, others=(ALERT, BROKEN))
    assert [reason.source for reason in found.reasons] == ["windows", "prometheus", "prometheus"]
    assert [reason["error"] for reason in found.as_dict()["reasons"]] == [False, False, True]
    assert not gate(others=(BROKEN,)).open
    pod = Reason("pods", "pod x/y runs here", subject=Subject("Pod", "y", "x"))
    assert gate(others=(pod,)).as_dict()["reasons"][0]["object"] == {"kind": "Pod", "namespace": "x", "name": "y"}
    # What the windows say is not what else is in the way.
    assert gate({"days": ["sa"]}, others=(ALERT,)).next_opening == NOW


def test_reasons_of_one_kind_are_named_up_to_a_hundred() -> None:
    assert at_most("prometheus", [ALERT] * 100, "alerts") == [ALERT] * 100
    assert at_most("prometheus", [ALERT] * 101, "alerts") == [*[ALERT] * 100, Reason("prometheus", "1 alerts more")]
