# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one boundary between the collection's code and Ansible: errors, results and signals are mapped here."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from types import FrameType
from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulwark.node.plugins.module_utils.converge import Domain, converge
from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError, Interrupted
from ansible_collections.bulwark.node.plugins.module_utils.host import Completed, Host, Runner

__all__ = ["command_runner", "fail", "run"]

_LOCK = "/run/bulwark.lock"
_LOCK_SECONDS = 60
_COMMAND_LOCALE = {"LC_ALL": "C", "LANGUAGE": "C"}


def run(module: AnsibleModule, domain: Callable[[Host], Domain[Any, Any]]) -> None:
    """Converge one domain with the module's parameters, and exit or fail the module with the result."""
    host = Host(run=command_runner(module))
    instance = domain(host)
    try:
        # A cut connection or a cancelled job must leave the machine as it was, not half changed.
        _handle_signals(_interrupt)
        if module.check_mode:
            result = converge(instance, module.params, check=True)
        else:
            with host.locked(_LOCK, _LOCK_SECONDS):
                result = converge(instance, module.params, check=False)
                # It is done: from here on a signal has nothing to undo, and must not cost the result.
                _handle_signals(signal.SIG_IGN)
    except BulwarkError as error:
        fail(module, instance.name, error)
    for warning in result.verdict.warnings:
        module.warn(warning)
    module.exit_json(diff=list(result.diff), **result.as_dict())


def fail(module: AnsibleModule, name: str, error: BulwarkError) -> None:
    """Fail the module with an error of ours: its text, its data, and what could not be undone."""
    details: Mapping[str, Any] = error.details
    message = f"{name}: {error}"
    for item in details.get("not_undone", ()):
        # An error of the host names its path itself.
        what = "" if item["reason"].startswith(item["what"]) else f"{item['what']}: "
        message += f" NOT UNDONE: {what}{item['reason']}."
    module.fail_json(msg=message, changed=bool(details.get("not_undone")), **details)


def command_runner(module: AnsibleModule) -> Runner:
    """Commands by ``run_command``: a list, never a shell, locale C; a missing program is rc 127."""

    def runner(command: list[str]) -> Completed:
        try:
            return Completed(
                *module.run_command(
                    command, environ_update=_COMMAND_LOCALE, handle_exceptions=False, expand_user_and_vars=False
                )
            )
        except OSError as error:
            return Completed(127, "", str(error))

    return runner


def _handle_signals(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    # Once only: a second signal must not cut the undoing short.
    _handle_signals(signal.SIG_IGN)
    raise Interrupted(f"stopped by {signal.Signals(number).name}")
