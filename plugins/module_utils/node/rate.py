# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a counter of the kernel comes to per hour or day since boot."""

from __future__ import annotations

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host

__all__ = ["DAY", "HOUR", "since_boot"]

HOUR, DAY = 3600, 86400


def since_boot(host: Host, count: int | None, seconds: int) -> float | None:
    """Per so many seconds; the first of these counts as a whole one. None where the count or the uptime is not known."""
    try:
        periods = max(host.uptime() / seconds, 1.0)
    except HostError:
        return None
    return None if count is None else round(count / periods, 2)
