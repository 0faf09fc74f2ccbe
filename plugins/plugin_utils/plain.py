# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values as JSON has them. JMESPath fails on the tagged types of ansible-core 2.19, and JSON readers on other things."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date
from typing import Any, TypeGuard

__all__ = ["PlainError", "is_whole", "plain"]

# Facts are five levels deep. What is much deeper is made to exhaust the stack of whoever walks it.
_MAX_DEPTH = 50


class PlainError(ValueError):
    """A value cannot be JSON; the message says what is wrong with it."""


def plain(value: Any, depth: int = _MAX_DEPTH) -> Any:
    """A copy in dict, list, str, int, float, bool and None alone, whatever subclasses Ansible's tagging made of them.

    Numbers that JSON lacks (NaN, Infinity) become None. Raises PlainError on what is nested deeper than ``depth``, on numbers
    that no reader has room for and on values that JSON has no form for.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        # str() of a tagged string may be a tagged string; this slot always gives the built-in type.
        return str.__str__(value)
    if isinstance(value, int):
        if abs(value) >= 1 << 64:
            raise PlainError("holds a number of more than 64 bits, which no kernel counts")
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, date):
        # YAML makes dates of what looks like one.
        return value.isoformat()
    if depth <= 0:
        raise PlainError("is nested too deeply")
    if isinstance(value, Mapping):
        return {_key(key): plain(item, depth - 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, depth - 1) for item in value]
    raise PlainError(f"holds a value of type {type(value).__name__}, which JSON has no form for")


def is_whole(value: Any) -> TypeGuard[int]:
    """Whether it is an integer, and not true or false, which Python has among them."""
    return isinstance(value, int) and not isinstance(value, bool)


def _key(key: Any) -> str:
    if isinstance(key, str):
        return str.__str__(key)
    raise PlainError(f"has a key of type {type(key).__name__}; expected a string")
