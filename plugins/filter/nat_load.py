# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter ``bulwark.node.nat_load``; nat_load.yml documents it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.bulwark.node.plugins.plugin_utils.nat_load import from_nodes, from_usage
from ansible_collections.bulwark.node.plugins.plugin_utils.plain import plain
from ansible_collections.bulwark.node.plugins.plugin_utils.text_only import text_only

__all__ = ["FilterModule"]

_SOURCES = {"nodes": from_nodes, "monitoring": from_usage}


def _nat_load(told: Any, source: str = "nodes", time_wait_s: int = 120) -> Any:
    try:
        if source not in _SOURCES:
            raise ValueError(f"source: is {source!r}; expected one of {', '.join(_SOURCES)}")
        if isinstance(time_wait_s, bool) or not isinstance(time_wait_s, int) or time_wait_s < 1:
            raise ValueError(f"time_wait_s: is {time_wait_s!r}; expected seconds, at least 1")
        return text_only(_SOURCES[source](plain(told), int(time_wait_s)))
    except ValueError as exc:
        raise AnsibleFilterError(f"bulwark.node.nat_load: {exc}") from exc


class FilterModule:
    """Filters on what was measured of a gateway's load."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """By the names that users give them."""
        return {"nat_load": _nat_load}
