# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""/proc/meminfo, and the NUMA nodes' files of that name."""

from __future__ import annotations

import re

from ansible_collections.bulwark.node.plugins.module_utils.host import Host

__all__ = ["meminfo"]


def meminfo(host: Host, path: str = "/proc/meminfo") -> dict[str, int]:
    """Its lines by the kernel's names: bytes, or numbers where no unit stands. The ``Node N`` of a node's file is dropped."""
    rows = re.findall(
        r"^(?:Node [0-9]+ )?([A-Za-z0-9_()]+):\s+([0-9]{1,20})( kB)?$", host.read(path) or "", re.MULTILINE
    )
    return {name: int(number) * (1024 if unit else 1) for name, number, unit in rows}
