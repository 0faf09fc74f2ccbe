# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a gathering of facts was asked for, beside the subsets."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PASSIVE", "Request"]


@dataclass(frozen=True)
class Request:
    """``active``: the machine may be tried out, not only looked at. ``rlimits_of``: names of further processes."""

    active: bool = False
    rlimits_of: tuple[str, ...] = ()


PASSIVE = Request()
