# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a node needs a reboot by the triggers that its owner chose, and whether packages are being changed now.

The default is kured's: the sentinel alone. A trigger that a reboot may not cure (an old kernel pinned in GRUB) would
have a machine rebooted for ever.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError, OptionError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import reboot
from ansible_collections.bulwark.node.plugins.module_utils.node.system import boot_time

__all__ = ["ARGUMENT_SPEC", "TRIGGERS", "Asked", "asked", "needed"]

TRIGGERS = ("sentinel", "kernel", "needs_restarting", "command")

ARGUMENT_SPEC: dict[str, Any] = {
    "triggers": {"type": "list", "elements": "str", "choices": list(TRIGGERS), "default": ["sentinel"]},
    "sentinel": {"type": "list", "elements": "path", "default": [reboot.SENTINEL]},
    "command": {"type": "list", "elements": "str"},
}

_SAID = 300
# Where the kubelet looks for it (cadvisor's --machine-id-file).
_MACHINE_ID = ("/etc/machine-id", "/var/lib/dbus/machine-id")
Reasons = list[dict[str, Any]]
"""Each {source, detail, since}: the trigger, what it found, and since when in seconds since the epoch or None."""


@dataclass(frozen=True)
class Asked:
    """The options, checked: each trigger once, absolute paths, and a command where its trigger is asked for."""

    triggers: tuple[str, ...]
    sentinel: tuple[str, ...]
    command: tuple[str, ...]


def asked(params: Mapping[str, Any]) -> Asked:
    """The options against each other. Raises OptionError."""
    triggers = tuple(dict.fromkeys(params["triggers"]))
    command = tuple(params["command"] or ())
    if not triggers:
        raise OptionError("triggers", [], f"at least one of {', '.join(TRIGGERS)}")
    if "sentinel" in triggers and not params["sentinel"]:
        raise OptionError("sentinel", [], f"at least one path, such as {reboot.SENTINEL}")
    for index, path in enumerate(params["sentinel"]):
        if not path.startswith("/"):
            raise OptionError(f"sentinel[{index}]", path, "an absolute path")
    if "command" in triggers and not "".join(command[:1]):
        raise OptionError("command", params["command"], "a program and its arguments, for the trigger command")
    for index, word in enumerate(command):
        if "\0" in word:
            raise OptionError(f"command[{index}]", word, "no NUL, which no argument can hold")
    if command and "command" not in triggers:
        raise OptionError("triggers", list(triggers), "command among them, since the option command is given")
    return Asked(triggers, tuple(dict.fromkeys(params["sentinel"])), command)


def needed(host: Host, options: Asked) -> dict[str, Any]:
    """What the triggers say: {required, reasons[], errors[], blocked[], transaction_running, since, boot_id, booted_at, machine_id}.

    ``required`` is None where no trigger asks for a reboot, yet one failed: an error is never a no. ``errors`` and
    ``blocked`` are {source, detail}. ``transaction_running`` is None where it cannot be told.
    """
    reasons: Reasons = []
    errors = []
    for trigger in options.triggers:
        for look in _looks(host, options, trigger):
            try:
                reasons += look()
            except HostError as error:
                errors.append({"source": trigger, "detail": str(error)})
    running, blocked = _blocked(host)
    return {
        "required": True if reasons else None if errors else False,
        "reasons": reasons,
        "errors": errors,
        "blocked": blocked,
        "transaction_running": running,
        "since": reboot.since_first(reasons),
        "boot_id": host.boot_id() or None,
        "booted_at": boot_time(host),
        "machine_id": _machine_id(host),
    }


def _machine_id(host: Host) -> str | None:
    """What machine-id(5) says; None where it is empty, or nobody may read it."""
    for path in _MACHINE_ID:
        with contextlib.suppress(HostError):
            if found := (host.read(path) or "").strip():
                return found
    return None


def _looks(host: Host, options: Asked, trigger: str) -> list[Callable[[], Reasons]]:
    """What is to be looked at for a trigger; each raises HostError on its own, and costs no other."""
    if trigger == "sentinel":
        return [partial(_sentinel, host, path) for path in options.sentinel]
    if trigger == "kernel":
        return [partial(_kernel, host)]
    if trigger == "needs_restarting":
        return [partial(_needs_restarting, host)]
    return [partial(_command, host, options.command)]


def _sentinel(host: Host, path: str) -> Reasons:
    """A reason where something is at the path, whatever it is: kured asks by stat(2) alone, as we do."""
    since = host.changed_at(path)
    if since is None:
        return []
    try:
        packages = reboot.packages(host, path)
    except HostError:
        # Who asked for it is a mere courtesy.
        packages = ""
    detail = f"{path} exists" + (f", asked for by {packages}" if packages else "")
    return [{"source": "sentinel", "detail": detail, "since": since}]


def _told(trigger: str, answer: tuple[Reasons, str | None]) -> Reasons:
    reasons, untold = answer
    if untold:
        raise HostError(trigger, untold)
    return [{**reason, "source": trigger} for reason in reasons]


def _kernel(host: Host) -> Reasons:
    return _told("kernel", reboot.kernels(host))


def _needs_restarting(host: Host) -> Reasons:
    if reboot.needs_restarting_command(host) is None:
        raise HostError(
            "needs_restarting",
            "neither needs-restarting nor dnf is on this machine; install dnf-utils, or leave it out",
        )
    return _told("needs_restarting", reboot.needs_restarting(host))


def _command(host: Host, command: Sequence[str]) -> Reasons:
    """kured's --reboot-sentinel-command: 0 asks for a reboot and 1 does not; kured takes all else for a no, we do not."""
    done = host.attempt(list(command))
    if done.rc == 1:
        return []
    said = (done.stdout if done.rc == 0 else done.stderr or done.stdout).strip()[:_SAID]
    if done.rc == 0:
        detail = f"{command[0]} returned 0" + (f" and said: {said}" if said else "")
        return [{"source": "command", "detail": detail, "since": None}]
    raise HostError.from_command(
        command, f"returned {done.rc} and said: {said or 'nothing'}; expected 0 (reboot) or 1 (no reboot)"
    )


def _blocked(host: Host) -> tuple[bool | None, list[dict[str, str]]]:
    """Whether packages are being changed, and what forbids a reboot now; what could not be asked forbids it too."""
    running, untold = reboot.transaction(host)
    if running:
        return True, [
            {"source": "transaction", "detail": "packages are being changed: the lock of dpkg, rpm or zypper is held"}
        ]
    if running is None and untold != reboot.NO_PACKAGE_MANAGER:
        return None, [{"source": "transaction", "detail": f"whether packages are being changed is unknown: {untold}"}]
    if reboot.interrupted(host):
        return running, [{"source": "transaction", "detail": "dpkg was interrupted; run dpkg --configure -a first"}]
    return running, []
