# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Google API refused, as errors that name the call, the object, the reason and the remedy.

The one place that reads an error of a Google API (https://cloud.google.com/compute/docs/api/how-tos/error-codes): Compute Engine's
``errors[].reason``, and the ``status`` and ``details[].reason`` (google.rpc.ErrorInfo) that newer services, such as Cloud Monitoring, say instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils import rest
from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError

__all__ = ["Answer", "Asked", "Busy", "Forbidden", "GcpError", "NotFound", "error_of", "printable", "shown"]

# Of a quota that refills, or of an operation that ends, by itself.
_BUSY = frozenset(
    {
        "concurrentOperationsQuotaExceeded",
        "operationInProgress",
        "rateLimitExceeded",
        "resourceNotReady",
        "userRateLimitExceeded",
        "CONCURRENT_OPERATIONS_QUOTA_EXCEEDED",
        "RATE_LIMIT_EXCEEDED",
    }
)
# Somebody else changes the object at this moment: what was planned may be old.
_CONFLICT = frozenset({"conditionNotMet", "operationInProgress", "resourceNotReady"})
_TEXT_LENGTH = 500
# The most that a text of a router has, the match of a rule.
_LONG_TEXT = 2048


def printable(text: object, length: int = _TEXT_LENGTH) -> str:
    """A text of the API as it may be shown: in one line, without control characters, and not endless."""
    shown = "".join(char if char.isprintable() else " " for char in str(text)[: length + 1])
    return shown if len(shown) <= length else f"{shown[:length]}…"


def shown(values: Any) -> Any:
    """Values of the API with each text, keys too, as it may be shown."""
    if isinstance(values, Mapping):
        return {shown(key): shown(value) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [shown(value) for value in values]
    return printable(values, _LONG_TEXT) if isinstance(values, str) else values


@dataclass(frozen=True)
class Answer(rest.Answer):
    """What came back of a Google API."""

    @property
    def reasons(self) -> frozenset[str]:
        """Each reason that the error names, as in ``rateLimitExceeded``."""
        return frozenset(_reasons(self.json().get("error")))

    @property
    def is_busy(self) -> bool:
        """Whether the same may be asked again later: 429, 5xx, a rate, another operation on the object."""
        return self.status == 429 or self.status >= 500 or bool(self.reasons & _BUSY)

    @property
    def is_conflict(self) -> bool:
        """Whether somebody else changes the object at this moment."""
        return self.status == 412 or bool(self.reasons & _CONFLICT)


def _reasons(error: Any) -> Iterator[str]:
    if not isinstance(error, Mapping):
        return
    entries = [entry for key in ("errors", "details") for entry in _items(error.get(key))]
    for entry in (error, *entries):
        yield from (value for value in (entry.get("reason"), entry.get("status")) if isinstance(value, str))


def _items(value: Any) -> Sequence[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


@dataclass(frozen=True)
class Asked:
    """A request in words: the method's id in the API (``compute.routers.patch``), and what it was asked of."""

    call: str
    target: str
    server: str = ""

    def __str__(self) -> str:
        return f"{self.call} of {self.target}"


class GcpError(BulwarkError):
    """A Google API refused, or did not answer; or what it answered is not what was asked for.

    ``details`` has {call, target, status, reason}; ``status`` and ``reason`` are None without an answer.
    """

    def __init__(self, asked: Asked, what: str, answer: Answer | None = None, remedy: str = "") -> None:
        self.asked = asked
        self.said = what
        self.status = answer.status if answer else None
        reasons = sorted(answer.reasons) if answer else []
        details = {"call": asked.call, "target": asked.target, "status": self.status}
        details["reason"] = printable(reasons[0], 100) if reasons else None
        super().__init__(f"{asked}: {what}{remedy and f'. {remedy}'}", details)


class NotFound(GcpError):
    """404: there is no such object, or no right to know of it."""


class Forbidden(GcpError):
    """403 that no waiting cures: a right is missing, or the API is not enabled."""


class Busy(GcpError):
    """It is busy, or somebody else changes the object, and stayed so until the end. ``conflict`` tells the second."""

    def __init__(
        self, asked: Asked, what: str, answer: Answer | None = None, remedy: str = "", conflict: bool = False
    ) -> None:
        super().__init__(asked, what, answer, remedy)
        self.conflict = conflict or (answer is not None and answer.is_conflict)


def error_of(asked: Asked, answer: Answer) -> GcpError:
    """The error of an answer that is no success."""
    kind: type[GcpError] = GcpError
    if answer.is_busy or answer.is_conflict:
        kind = Busy
    elif answer.status in (403, 404):
        kind = NotFound if answer.status == 404 else Forbidden
    return kind(asked, _said(answer), answer, _remedy(asked, answer))


def _said(answer: Answer) -> str:
    error = answer.json().get("error")
    message = error.get("message") if isinstance(error, Mapping) else None
    shown = printable(message or answer.body[: 4 * _TEXT_LENGTH].decode("utf-8", "replace")).strip()
    head = " ".join([str(answer.status), *sorted(printable(reason, 100) for reason in answer.reasons)])
    return f"{head}: {shown}" if shown else head


def _remedy(asked: Asked, answer: Answer) -> str:
    if answer.status == 401:
        return f"{asked.server} does not take the credentials: check auth_kind, and that the token is not expired"
    if not isinstance(answer.json().get("error"), Mapping):
        return f"This was no Google API: check the endpoint and the proxy ({asked.server})"
    if answer.status in (403, 404) and not answer.is_busy:
        return "Check project, region and router, and that the account has the right" + (
            f" {asked.call}" if answer.status == 403 else ""
        )
    return ""
