# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is mounted on this machine: /proc/mounts."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ansible_collections.bulwark.node.plugins.module_utils.host import Host

__all__ = ["Mount", "mounts", "unescaped"]


@dataclass(frozen=True)
class Mount:
    """A line of /proc/mounts."""

    source: str
    path: str
    fstype: str
    options: tuple[str, ...]


def mounts(host: Host) -> list[Mount]:
    """What is mounted, in the kernel's order; escapes (``\\040``) decoded."""
    found = []
    # Not splitlines(): the kernel escapes the newline in a path, but none of the other characters that end a line there.
    for line in (host.read("/proc/mounts", limit=64 << 20) or "").split("\n"):
        fields = [unescaped(field) for field in line.split(" ")]
        if len(fields) >= 4:
            found.append(Mount(fields[0], fields[1], fields[2], tuple(fields[3].split(","))))
    return found


def unescaped(field: str) -> str:
    """A field of /proc/mounts or /proc/swaps, where the kernel writes space, tab, newline and backslash as ``\\040``."""
    # A node has thousands of mounts, and hardly one with an escape.
    if "\\" not in field:
        return field
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), field)
