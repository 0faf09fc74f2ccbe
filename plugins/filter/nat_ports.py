# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter ``bulwark.node.nat_ports``; nat_ports.yml documents it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.bulwark.node.plugins.plugin_utils.nat_ports import breaking, load_of, plan
from ansible_collections.bulwark.node.plugins.plugin_utils.plain import plain

__all__ = ["FilterModule"]


def _nat_ports(load: Any, now: Any = None) -> dict[str, Any]:
    try:
        asked = load_of(plain(load))
        return {**plan(asked), "now": None if now is None else breaking(asked, plain(now))}
    except ValueError as exc:
        raise AnsibleFilterError(f"bulwark.node.nat_ports: {exc}") from exc


class FilterModule:
    """Filters on what a gateway has to carry."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """By the names that users give them."""
        return {"nat_ports": _nat_ports}
