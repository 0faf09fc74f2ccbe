# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The MTUs that links had before us, as the manifest has them, and whether what they have now is still our doing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["First", "noted", "path", "read"]

_NET = "/sys/class/net"


@dataclass(frozen=True)
class First:
    """``mtu`` is from before us, ``ours`` are those that we set since, or set at boot; None where an entry does not tell."""

    mtu: int
    ours: frozenset[int] | None

    def is_ours(self, mtu: int | None) -> bool:
        """Whether a link with this MTU has it from us, or as it had it before us."""
        return self.ours is None or mtu in (self.mtu, *self.ours)


def path(name: str) -> str:
    """Under which name the manifest has a link."""
    return f"{_NET}/{name}/mtu"


def read(entries: Mapping[str, Mapping[str, Any]], boot: str, at_boot: Mapping[str, int]) -> dict[str, First]:
    """By the names of the links. ``entries`` are ours of the kernel, ``at_boot`` the MTUs that our files set.

    What we set in an earlier boot is gone with it.
    """
    found = {}
    for key, entry in entries.items():
        name = re.fullmatch(f"{_NET}/(.+)/mtu", key, re.DOTALL)
        if name is None or not entry["before"].isdecimal():
            continue
        ours = None
        if "after" in entry:
            set_by_us = entry["after"].split() if entry.get("boot") == boot else []
            ours = frozenset({int(mtu) for mtu in set_by_us if mtu.isdecimal()} | {at_boot.get(name[1], 0)})
        found[name[1]] = First(int(entry["before"]), ours)
    return found


def noted(first: First | None, old: int | None, new: int, boot: str) -> dict[str, str]:
    """What an entry says beside ``before``: the MTU that we set, and the one that we had set, which a timer may put back."""
    known = first is not None and old is not None and (first.ours is None or old in first.ours)
    return {"after": f"{old} {new}" if known and old != new else str(new), "boot": boot}
