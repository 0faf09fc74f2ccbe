# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter ``bulwark.node.nat_plan``; nat_plan.yml documents it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.bulwark.node.plugins.plugin_utils.nat_plan import Wishes, told
from ansible_collections.bulwark.node.plugins.plugin_utils.plain import plain
from ansible_collections.bulwark.node.plugins.plugin_utils.text_only import text_only

__all__ = ["FilterModule"]


def _nat_plan(
    info: Any,
    load: Any,
    nodes: int | None = None,
    headroom: Any = None,
    dynamic: bool | None = None,
    new_addresses: Sequence[str] = (),
) -> Any:
    try:
        known = plain(info)
        nats = known.get("nats") if isinstance(known, dict) else None
        if not isinstance(nats, list) or len(nats) != 1:
            raise ValueError("was given no result of gcp_compute_router_nat_info for one NAT; expected one with name")
        wishes = Wishes(plain(nodes), plain(headroom), plain(dynamic), plain(new_addresses))
        return text_only(told(known.get("router"), nats[0], plain(load), wishes))
    except ValueError as exc:
        raise AnsibleFilterError(f"bulwark.node.nat_plan: {exc}") from exc


class FilterModule:
    """Filters on a gateway and its load."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """By the names that users give them."""
        return {"nat_plan": _nat_plan}
