# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan of reboots as lines for a terminal. Pure."""

from __future__ import annotations

import datetime as dt
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.reboot.gate import shown

__all__ = ["table"]

_WIDTH = 100
_NAME, _ZONE = 48, 20
_ROWS = 200
_REASONS = 3
_DOWN = 10
_HEAD = ("batch", "node", "zone", "state", "pending")


def table(found: Mapping[str, Any]) -> list[str]:
    """The result of a plan in lines of at most a hundred columns: what holds for all, then a row for each node that is concerned.

    Who needs no reboot is only counted.
    """
    rows = [row for row in found["nodes"] if row["state"] != "not_required"]
    lines = [*_summary(found), *_wrapped(_reasons(found["reasons"], len(found["reasons"])), "  ")]
    if not rows:
        return lines
    cells = [_HEAD, *(_cells(row, found["checked_at"]) for row in rows[:_ROWS])]
    widths = [max(len(row[column]) for row in cells) for column in range(len(_HEAD))]
    lines += ["", _line(_HEAD, widths)]
    for row, texts in zip(rows, cells[1:]):
        lines += [_line(texts, widths), *_wrapped(_reasons(row["reasons"], _REASONS), " " * (widths[0] + 2))]
    return [*lines, f"and {len(rows) - _ROWS} more"] if len(rows) > _ROWS else lines


def _summary(found: Mapping[str, Any]) -> Iterator[str]:
    nodes, batches, down = found["nodes"], found["batches"], found["down"]
    placed = sum(len(batch["nodes"]) for batch in batches)
    yield f"{placed} of {len(nodes)} nodes are to be rebooted; batches: {len(batches)}"
    if down:
        more = f" and {len(down) - _DOWN} more" if len(down) > _DOWN else ""
        yield from _wrapped([f"down: {', '.join(each['why'] for each in down[:_DOWN])}{more}"], "")
    if found["closes"] is not None:
        yield f"the window closes at {_at(found['closes'])}"
    elif found["next_opening"] not in (None, found["checked_at"]):
        yield f"the next window opens at {_at(found['next_opening'])}"
    yield "nothing is in the way of all of them" if found["open"] else "in the way of all of them:"


def _reasons(reasons: Sequence[Mapping[str, Any]], most: int) -> list[str]:
    texts = [f"{each['source']}: {each['detail']}" for each in reasons[:most]]
    return [*texts, f"and {len(reasons) - most} more reasons"] if len(reasons) > most else texts


def _wrapped(texts: Sequence[str], indent: str) -> list[str]:
    return [
        line
        for text in texts
        for line in textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  ")
    ]


def _cells(row: Mapping[str, Any], now: int) -> tuple[str, ...]:
    name = row["name"] if row["host"] == row["name"] else f"{row['name']} ({row['host']})"
    return (
        "-" if row["batch"] is None else str(row["batch"]),
        _cut(name, _NAME),
        _cut(row["zone"] or "-", _ZONE),
        row["state"],
        "-" if row["since"] is None else _for(now - row["since"]),
    )


def _line(texts: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(text.ljust(width) for text, width in zip(texts, widths)).rstrip()


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _for(seconds: int) -> str:
    """``12 d``, ``3 h``: how long it has been."""
    return f"{seconds // 86400} d" if seconds >= 86400 else f"{max(0, seconds) // 3600} h"


def _at(seconds: int) -> str:
    return shown(dt.datetime.fromtimestamp(seconds, dt.timezone.utc))
