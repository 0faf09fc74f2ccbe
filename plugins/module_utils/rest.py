# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the clients of HTTP's APIs have in common: an answer, and a clock."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable

__all__ = ["Answer", "Clock"]


@dataclass(frozen=True)
class Answer:
    """What came back: the status, the headers by lower-case name, and the body as it is."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        """The body; {} where it is no JSON object (a proxy's page)."""
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def retry_after(self) -> float | None:
        """Seconds of the header ``Retry-After``; None without one, or where it is a date (the APIs that we ask send none)."""
        text = self.headers.get("retry-after", "")
        return float(text) if text.isdecimal() else None


@dataclass(frozen=True)
class Clock:
    """Where time and chance come from: ``monotonic``, ``sleep`` and ``wall`` in seconds, ``chance`` in [0, 1)."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random
    wall: Callable[[], float] = time.time
