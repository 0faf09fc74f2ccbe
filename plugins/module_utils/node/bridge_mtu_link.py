# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One link on its way to another MTU, and back. Source: net/bridge/br_if.c and br_device.c for what a bridge does by itself."""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import bridge_pins, links
from ansible_collections.bulwark.node.plugins.module_utils.node.bridge_mtu_options import STAYS_PINNED
from ansible_collections.bulwark.node.plugins.module_utils.node.links import Link

__all__ = ["Setting"]


class Setting:
    """What the manifest needs to change the MTU of a link: ``read``, ``write`` and ``undo``.

    A bridge that nobody pinned follows its ports, and so may have moved before its own turn comes. What it did by itself is
    neither recorded nor undone: it goes back with its ports, and to set it would pin it.
    """

    def __init__(self, host: Host, link: Link, steps: Sequence[int]) -> None:
        """``link`` as it was before the run; ``steps``: the MTUs that it gets in turn, none where it has come to it by itself."""
        self._host = host
        self._link = link
        self._steps = steps
        self._came_to = links.read_mtu(host, link.index)
        self._by_itself = True
        self._was_set = False

    def read(self, path: str) -> str:
        """The MTU that the link has, but for what it came to by itself: of that the one from before the run."""
        now = links.read_mtu(self._host, self._link.index)
        return str(self._link.mtu or 0 if self._by_itself and now == self._came_to else now)

    def write(self) -> None:
        """Give it each MTU, and note a bridge that is pinned by that. Raises HostError."""
        self._by_itself = False
        for mtu in self._steps:
            self._set(mtu)
        if self._steps and self._link.kind == "bridge":
            bridge_pins.add(self._host, self._link.index, self._link.name)

    def undo(self) -> None:
        """Give it back the MTU from before the run. Raises HostError."""
        self._by_itself = not self._was_set and links.read_mtu(self._host, self._link.index) == self._came_to
        if not self._by_itself:
            self._set(self._link.mtu or 0)

    def undo_pin(self) -> None:
        """Raises BulwarkError where the bridge was set, for that stays."""
        if self._was_set:
            raise BulwarkError(STAYS_PINNED)

    def _set(self, mtu: int) -> None:
        links.set_mtu(self._host, self._link, mtu)
        self._was_set = True
