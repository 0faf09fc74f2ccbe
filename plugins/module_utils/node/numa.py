# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The NUMA nodes of a machine."""

from __future__ import annotations

import re

from ansible_collections.bulwark.node.plugins.module_utils.host import Host

__all__ = ["NODES", "numbers"]

NODES = "/sys/devices/system/node"


def numbers(host: Host) -> list[int]:
    """Those that are online; empty on a kernel without NUMA."""
    return sorted(int(name[4:]) for name in host.names(NODES) if re.fullmatch(r"node[0-9]{1,5}", name))
