# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module node_reboot slice by slice until the node has proved itself, and shows what is missing meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.bulwark.node.plugins.plugin_utils.slices import SlicedAction

__all__ = ["ActionModule"]

_SHOWN = 10
"""How much of what is missing one message names."""


class ActionModule(SlicedAction):
    """The action of ``bulwark.node.node_reboot``."""

    MODULE = "node_reboot"
    UNFINISHED = "The reboot is not over: its record is on the node, and the next run takes it up"
    LOST = "the reboot is not this run's any more"

    def arguments(self, task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """The task's; the time of the whole wait begins."""
        self._started = time.monotonic()
        return super().arguments(task_vars)

    def begins(self, arguments: Mapping[str, Any]) -> bool:
        """The others are about a reboot that is under way, and an API server may be away with the very node."""
        return arguments.get("state") in ("pending", "begun")

    def follow(self, arguments: dict[str, Any], so_far: Mapping[str, Any], ago: float) -> None:
        """The whole wait has one timeout, and what held at the end of a slice is taken to have held until the next."""
        arguments["waited"] = time.monotonic() - self._started
        arguments["held"] = None if so_far["held"] is None else so_far["held"] + ago

    def merged(self, before: dict[str, Any] | None, ran: dict[str, Any]) -> dict[str, Any]:
        """The last; nothing is changed before that."""
        return {**(before or {}), **ran}

    def progress(self, ran: Mapping[str, Any]) -> Iterator[str]:
        """A line for the node, and one for each of the first that it lacks."""
        missing = ran["missing"]
        yield f"node_reboot: {ran['name']}: not proved yet, seconds of the timeout: {ran['seconds_left']}"
        for each in missing[:_SHOWN]:
            yield f"  {each['what']}: {each['detail']}"
        if len(missing) > _SHOWN:
            yield f"  and {len(missing) - _SHOWN} more"
