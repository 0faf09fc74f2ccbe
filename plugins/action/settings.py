# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module settings, and where bridges are set tells it by which connection, so that those that carry it are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.bulwark.node.plugins.plugin_utils.ssh import connection_of, is_ssh

__all__ = ["ActionModule"]


_NOTHING = (
    "settings: nothing is asked for; expected one of hugepages, transparent_hugepages, kernel_args, kvm, bridges and rlimits, or in the"
    " role harden a harden_profile, or one of these with harden_ before it"
)


class ActionModule(ActionBase):
    """The action of ``bulwark.node.settings``."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's result."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments, bridges = dict(self._task.args), self._task.args.get("bridges")
        # Without a word to the node: nothing that it says could help.
        if not any(arguments.values()):
            return {**result, "failed": True, "msg": _NOTHING}
        if isinstance(bridges, Mapping):
            by_ssh = is_ssh(self._connection)
            ways = {
                "ssh_connection": connection_of(self) if by_ssh else None,
                "fresh_connection": "possible" if by_ssh else "none",
            }
            arguments["bridges"] = {**bridges, **ways}
        return {**result, **self._execute_module(module_args=arguments, task_vars=task_vars)}
