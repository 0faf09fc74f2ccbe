# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether we are in the machine's own network namespace: what /proc and netlink tell of the network is our own one's."""

from __future__ import annotations

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host

__all__ = ["FOREIGN", "foreign"]

FOREIGN = "this run is in another network namespace than the machine"


def foreign(host: Host) -> bool:
    """Whether PID 1 has another network namespace than we have; False where that may not be seen."""
    try:
        theirs = host.link_target("/proc/1/ns/net")
    except HostError:
        return False
    return theirs is not None and theirs != host.link_target("/proc/self/ns/net")
