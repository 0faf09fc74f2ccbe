# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one boundary between the collection's code and Ansible: errors, results and signals are mapped here."""

from __future__ import annotations

import contextlib
import posixpath
import signal
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulwark.node.plugins.module_utils.converge import Domain, converge
from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError, HostError, Interrupted
from ansible_collections.bulwark.node.plugins.module_utils.host import Completed, Host, Runner

__all__ = ["command_runner", "fail", "guarded", "run", "told"]

_LOCK = "/run/bulwark.lock"
_LOCK_SECONDS = 60
_COMMAND_LOCALE = {"LC_ALL": "C", "LANGUAGE": "C"}


def run(module: AnsibleModule, domain: Callable[[Host], Domain[Any, Any]]) -> None:
    """Converge one domain with the module's parameters, and exit or fail the module with the result."""
    host = Host(run=command_runner(module))
    instance = domain(host)
    try:
        with guarded(host, module.check_mode):
            result = converge(instance, module.params, module.check_mode)
    except BulwarkError as error:
        fail(module, instance.name, error)
    for warning in result.verdict.warnings:
        module.warn(warning)
    module.exit_json(diff=list(result.diff), **result.as_dict())


@contextlib.contextmanager
def guarded(host: Host, check: bool) -> Iterator[None]:
    """Alone on this node, unless it is a mere check, and by a signal interrupted, not ended.

    A cut connection or a cancelled job must leave the machine as it was, not half changed. Raises HostError, Interrupted.
    """
    folder = posixpath.dirname(_LOCK)
    # A check foretells the run, which would be refused.
    if not host.may_write(folder):
        raise HostError(folder, "may not be written (EACCES): run this as root, with become", "EACCES")
    _handle_signals(_interrupt)
    with contextlib.nullcontext() if check else host.locked(_LOCK, _LOCK_SECONDS):
        yield
        # It is done: from here on a signal has nothing to undo, and must not cost the result.
        _handle_signals(signal.SIG_IGN)


def fail(module: AnsibleModule, name: str, error: BulwarkError) -> None:
    """Fail the module with an error of ours: its text, its data, and what could not be undone."""
    details: Mapping[str, Any] = error.details
    module.fail_json(msg=f"{name}: {told(error)}", changed=bool(details.get("not_undone")), **details)


def told(error: BulwarkError) -> str:
    """The text of an error, with what could not be undone."""
    message = str(error)
    for item in error.details.get("not_undone", ()):
        # An error of the host names its path itself.
        what = "" if item["reason"].startswith(item["what"]) else f"{item['what']}: "
        message += f" NOT UNDONE: {what}{item['reason']}."
    return message


def command_runner(module: AnsibleModule) -> Runner:
    """Commands by ``run_command``: a list, never a shell, locale C; a missing program is rc 127."""

    def runner(command: list[str]) -> Completed:
        try:
            return Completed(
                *module.run_command(
                    command,
                    environ_update=_COMMAND_LOCALE,
                    handle_exceptions=False,
                    expand_user_and_vars=False,
                    # As Host reads files: a result that is no UTF-8 would fail the task.
                    errors="backslashreplace",
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
