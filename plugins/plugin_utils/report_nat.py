# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the report shows of Cloud NAT gateways: allotted against needed, and when they break. Pure.

What comes in is ``cloud_nat_result`` of the role cloud_nat, the shape of docs/schemas.md; of another shape what is not there is not shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

__all__ = ["headline", "lines", "rows", "totals"]

_Tone = Literal["bad", "warn", "good", "quiet"]
_TONES: dict[str, _Tone] = {"short": "bad", "tight": "warn", "enough": "good", "unknown": "quiet"}
_MAX_LISTED = 50
_ORDER = list(_TONES)


def rows(gateways: Any) -> list[dict[str, Any]]:
    """A gateway each for the page, the worst first."""
    given = gateways if isinstance(gateways, list) else []
    made = [_row(each) for each in given if isinstance(each, Mapping)]
    return sorted(made, key=lambda row: (_ORDER.index(row["verdict"]), row["name"], row["place"]))


def headline(shown: Sequence[Mapping[str, Any]]) -> str:
    """Which of the rows run short, as one reads it first; empty where none does. What was applied since is short no more."""
    short = [row["name"] for row in shown if row["verdict"] == "short" and not row["applied"]]
    what = f"Cloud NAT {short[0]} is" if len(short) == 1 else f"{len(short)} Cloud NAT gateways are"
    return f"{what} too small" if short else ""


def totals(gateways: Any) -> str:
    """How many gateways there are of each verdict, behind the other totals; empty where there is none."""
    verdicts = [row["verdict"] for row in rows(gateways)]
    counts = [f"{verdicts.count(each)} {each}" for each in _ORDER if each in verdicts]
    return f"; Cloud NAT: {', '.join(counts)}" if counts else ""


def lines(gateways: Any) -> list[tuple[_Tone, str]]:
    """(tone, text) of each gateway for the terminal."""
    return [
        (row["tone"], f"{row['name']} ({row['place']}): {row['verdict']}. {_sentence(row)}") for row in rows(gateways)
    ]


def _row(given: Mapping[str, Any]) -> dict[str, Any]:
    gateway, load, plan = (_mapping(given.get(key)) for key in ("gateway", "load", "plan"))
    now = _mapping(plan.get("now"))
    at, verdict = _mapping(now.get("breaks_at")), str(now.get("verdict"))
    taken, allotted = _number(plan.get("need")), _number(now.get("ports_per_vm"))
    busiest = _mapping(load.get("busiest"))
    return {
        "name": str(gateway.get("name")),
        "place": ", ".join(str(gateway.get(key)) for key in ("router", "region", "project")),
        "verdict": verdict if verdict in _TONES else "unknown",
        "tone": _TONES.get(verdict, "quiet"),
        "share": min(100, round(100 * taken / allotted)) if taken is not None and allotted else None,
        "allotted": [
            ("Ports per VM", allotted, taken),
            ("Addresses", _number(now.get("addresses")), _number(plan.get("addresses"))),
        ],
        "automatic": bool(now) and now.get("addresses") is None,
        "breaks": [
            (
                "Connections of a VM to one destination",
                _number(load.get("concurrent")),
                "from",
                _number(at.get("concurrent")),
            ),
            ("New ones per second", _number(load.get("new_per_second")), "beyond", _number(at.get("new_per_second"))),
            ("VMs", _number(load.get("nodes")), "from", _number(at.get("nodes"))),
        ],
        "factor": _number(now.get("load_factor")),
        "source": str(load.get("source")),
        "busiest": ", ".join(str(busiest[key]) for key in ("name", "protocol", "destination") if busiest.get(key)),
        "dropped": _number(load.get("dropped_packets")),
        "applied": given.get("applied") is True,
        "lists": [(name, tone, shown[:_MAX_LISTED]) for name, tone, shown in _lists(given, load, plan) if shown],
    }


def _lists(
    given: Mapping[str, Any], load: Mapping[str, Any], plan: Mapping[str, Any]
) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """(name, tone, (what, why) of each) of what there is to know."""
    return [
        ("in the way", "bad", _pairs(given.get("blocked"), "source", "detail")),
        ("not measured", "warn", _pairs(load.get("unmeasured"), "name", "reason")),
        ("measured less than the truth", "warn", _pairs(load.get("less"), "name", "reason")),
        ("disruptive", "warn", _pairs(given.get("disruptive"), "target", "reason")),
        (
            "changes",
            "good",
            [
                (str(each.get("target")), f"{each.get('before')} → {each.get('after')}")
                for each in _each(given.get("changes"))
            ],
        ),
        ("why", "good", _pairs(plan.get("reasons"), "source", "detail")),
    ]


def _sentence(row: Mapping[str, Any]) -> str:
    needed = [
        f"{what}: {'as it takes' if has is None else has}, needed {need}" for what, has, need in row["allotted"] if need
    ]
    if not needed:
        return "Nothing is known of its load."
    broken = [f"{what} {word} {at}" for what, _seen, word, at in row["breaks"] if at is not None]
    return f"{'; '.join(needed)}. It breaks at: {'; '.join(broken)}."


def _pairs(values: Any, what: str, why: str) -> list[tuple[str, str]]:
    return [(str(each.get(what)), str(each.get(why))) for each in _each(values)]


def _each(values: Any) -> Sequence[Mapping[str, Any]]:
    return [each for each in values if isinstance(each, Mapping)] if isinstance(values, list) else []


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: Any) -> int | float | None:
    return value if type(value) in (int, float) else None
