# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a finding is: the verdict of one control on one node, as report.json holds it (docs/schemas.md)."""

from __future__ import annotations

from typing import Any, Literal, TypedDict

__all__ = ["SEVERITIES", "STATUSES", "Finding", "Severity", "Status", "Waiver"]

Severity = Literal["critical", "high", "medium", "low", "info"]
Status = Literal["fail", "error", "unknown", "waived", "not_applicable", "pass"]

# Both worst first: the order of every table and summary.
SEVERITIES: tuple[Severity, ...] = ("critical", "high", "medium", "low", "info")
STATUSES: tuple[Status, ...] = ("fail", "error", "unknown", "waived", "not_applicable", "pass")


class Waiver(TypedDict):
    """Why somebody bears what fails, and until when (a day, ``2026-12-31``, on which it still holds)."""

    reason: str
    expires: str


class Finding(TypedDict):
    """``reason`` is null on pass; ``why``, ``remedy`` and ``playbook`` on all but fail and waived; ``waiver`` where there is none.

    ``pending``: what fails waits for a restart or a reboot. ``gauge``: it tells how busy or full the machine is.
    """

    control: str
    title: str
    severity: Severity
    status: Status
    evidence: dict[str, Any]
    reason: str | None
    why: str | None
    remedy: str | None
    playbook: str | None
    references: list[str]
    source: str
    waiver: Waiver | None
    pending: bool
    gauge: bool
