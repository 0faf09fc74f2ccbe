# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module bridge_mtu and, where it armed a timer, once more on a new connection, which cancels it."""

from __future__ import annotations

import time
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

__all__ = ["ActionModule"]

_PAUSE = 2


class ActionModule(ActionBase):
    """The action of ``bulwark.node.bridge_mtu``."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's result; of two runs what the first changed and how the second found it."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        started = time.monotonic()
        first = self._execute_module(task_vars=task_vars)
        revert = (first.get("after") or {}).get("revert")
        if first.get("failed") or self._task.check_mode or not revert:
            return {**result, **first}
        # The module read its default where the task names none.
        seconds = int(self._task.args.get("revert_after") or 120)
        second = self._confirm(revert["token"], started + seconds, task_vars)
        if second.get("failed"):
            # What the first run changed is put back by the timer.
            return {**result, **second, "changed": bool(second.get("not_undone"))}
        kept = {key: first[key] for key in ("before", "changes", "disruptive")}
        merged = {**result, **second, **kept, "changed": first["changed"] or second["changed"]}
        merged["diff"] = [*first.get("diff", []), *second.get("diff", [])]
        merged["warnings"] = list(dict.fromkeys([*first.get("warnings", []), *second.get("warnings", [])]))
        return merged

    def _confirm(self, token: str, deadline: float, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        """The second run: tried on new connections until the timer has acted."""
        while True:
            if self._connection.transport != "local":
                self._connection.reset()
            try:
                arguments = {**self._task.args, "confirm": token}
                return self._execute_module(module_args=arguments, task_vars=task_vars)
            except AnsibleConnectionFailure as error:
                if time.monotonic() > deadline:
                    return {
                        "failed": True,
                        "msg": "bridge_mtu: no new connection came through with the new MTUs, so that the machine's timer puts "
                        f"the old ones back. Nothing is persisted. The last try: {error}",
                    }
            time.sleep(_PAUSE)
