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
_REVERT_AFTER = 120
"""Seconds: the module's own default, of which a task that names none says nothing to us."""
_BYTES = 64 << 10
"""More than one packet of the largest MTU. Random, for ssh may compress them."""
_SAMPLE = f"dd if=/dev/urandom bs=1024 count={_BYTES >> 10} 2>/dev/null | od -An -v -tx1"
_HEALS = "the timer on the machine puts the old MTUs back"


class ActionModule(ActionBase):
    """The action of ``bulwark.node.bridge_mtu``."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's result; of two runs what the first changed and how the second found it."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        started = time.monotonic()
        try:
            first = self._execute_module(task_vars=task_vars)
        except AnsibleConnectionFailure as error:
            if self._task.args.get("allow_management_link") and not self._task.check_mode:
                raise AnsibleConnectionFailure(f"{error} Where MTUs had been set before that, {_HEALS}.") from error
            raise
        revert = (first.get("after") or {}).get("revert")
        if first.get("failed") or self._task.check_mode or not revert:
            return {**result, **first}
        seconds = int(self._task.args.get("revert_after") or _REVERT_AFTER)
        second = self._confirm(revert["token"], started + seconds, task_vars)
        if second.get("failed"):
            return {**result, **second, "changed": bool(second.get("not_undone"))}
        return {**result, **_merged(first, second)}

    def _confirm(self, token: str, deadline: float, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        """The second run: tried on new connections until the timer has acted.

        It comes as large packets itself. That such a one also comes back is seen before it cancels the timer.
        """
        arguments = {**self._task.args, "confirm": token}
        while True:
            try:
                if self._connection.transport != "local":
                    self._connection.reset()
                    self._prove()
                second: dict[str, Any] = self._execute_module(module_args=arguments, task_vars=task_vars)
                return second
            except AnsibleConnectionFailure as error:
                if time.monotonic() > deadline:
                    return {
                        "failed": True,
                        "msg": f"bridge_mtu: no new connection came through with the new MTUs: {_HEALS}, and nothing is "
                        f"persisted. Look for a link on the way that does not carry them. The last try: {error}",
                    }
            time.sleep(_PAUSE)

    def _prove(self) -> None:
        """Have full packets sent by the machine. Raises AnsibleConnectionFailure."""
        said = self._low_level_execute_command(_SAMPLE, sudoable=False)
        if len(said["stdout"].split()) != _BYTES:
            raise AnsibleConnectionFailure(f"of {_BYTES} bytes not all came back. {said['stderr'][-300:]}")


def _merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """What one run would have said: the first is before the links were changed, the second after all was persisted."""
    kept = {key: first[key] for key in ("before", "changes", "disruptive")}
    links = {"before": first["before"], "after": second["after"]}
    files = [diff for diff in second.get("diff", []) if "before_header" in diff]
    warnings = dict.fromkeys([*first.get("warnings", []), *second.get("warnings", [])])
    return {
        **second,
        **kept,
        "changed": first["changed"] or second["changed"],
        "diff": [*([links] if links["before"] != links["after"] else []), *files],
        "warnings": list(warnings),
    }
