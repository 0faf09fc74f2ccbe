# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many ports Cloud NAT lets a VM have: least and most of the fields, and what is allotted for them. Pure.

Sources: compute/v1 routers (minPortsPerVm, maxPortsPerVm), https://cloud.google.com/nat/docs/ports-and-addresses.
"""

from __future__ import annotations

__all__ = [
    "ALIAS_LEAST",
    "DYNAMIC_MAXIMUM",
    "DYNAMIC_MINIMUM",
    "PORTS_PER_ADDRESS",
    "STATIC",
    "STATIC_DEFAULT",
    "next_power",
]

PORTS_PER_ADDRESS = 64512
"""Of TCP, and as many of UDP: 65,536 without the well-known 1,024."""
STATIC = (2, 57344)
STATIC_DEFAULT = 64
ALIAS_LEAST = 1024
"""A VM whose alias ranges are translated never gets fewer, with static allocation."""
DYNAMIC_MINIMUM = (32, 32768)
DYNAMIC_MAXIMUM = (64, 65536)
"""Least and most of each. With dynamic allocation they are powers of two, and by default the least minimum and the most maximum."""


def next_power(number: int) -> int:
    """The least power of two that is not less, which is what is allotted for a static minimum."""
    return 1 << max(0, number - 1).bit_length()
