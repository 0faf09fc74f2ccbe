# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection to a node, as an action plugin sees it: what become hides from a module there."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.bulwark.node.plugins.module_utils.node.bridge_mtu_options import ssh_connection

__all__ = ["connection_of", "is_ssh"]


def is_ssh(connection: Any) -> bool:
    """Whether a connection plugin goes by ssh."""
    transport = str(connection.transport).rpartition(".")[2]
    return "ssh" in transport or transport in ("paramiko", "smart")


def connection_of(action: ActionBase) -> str | None:
    """``SSH_CONNECTION`` of the login shell, whose start-up files may have said something before. None where it is none."""
    said = action._low_level_execute_command('echo "$SSH_CONNECTION"', sudoable=False)
    return ssh_connection(str(said["stdout"]).strip().rpartition("\n")[2].strip())
