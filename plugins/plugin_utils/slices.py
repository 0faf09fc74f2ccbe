# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a module slice by slice until it is done, shows what it waits for meanwhile, and keeps the lock of reboots."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.bulwark.node.plugins.module_utils.kube.client import ARGUMENT_SPEC

__all__ = ["SlicedAction"]

_SLICE = 20
"""Seconds. AWX takes a job that says nothing for minutes for a dead one, and so do people."""
_TIMEOUT = 1800
_PAUSE = 5.0
_LOCK_MODULE = "bulwark.node.reboot_lock"
_TTL = 300
_SERVER = [name for option, spec in ARGUMENT_SPEC.items() for name in (option, *spec.get("aliases", ()))]

display = Display()


class SlicedAction(ActionBase):
    """An action whose module has the options ``slice`` and ``timeout``, returns ``finished``, and goes on where its last call ended."""

    TRANSFERS_FILES = False
    MODULE = ""
    UNFINISHED = ""
    """What is to be known of a task that ends in the middle."""
    LOST = ""
    """What the loss of the lock means."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """What one call would have returned that goes on for as long as it takes."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = self.arguments(task_vars or {})
        end = time.monotonic() + _number(arguments.get("timeout"), _TIMEOUT)
        lock = Lock.of(self.MODULE, arguments)
        so_far: dict[str, Any] | None = None
        ended_at = 0.0
        parent = os.getppid()
        while True:
            # A worker has a session of its own, and outlives an ansible-playbook that is killed, as ansible-runner cancels.
            # It would keep the lock from who takes the reboot up.
            if os.getppid() != parent:
                raise AnsibleActionFail(f"{self.MODULE}: the run that this is part of was killed. {self.UNFINISHED}")
            if lock and lock.is_due() and (refused := self._renew(lock, arguments, task_vars)):
                said = f"is lost, and {self.LOST}" if lock.known else "could not be renewed, and nothing was begun"
                told = f"{self.MODULE}: the lock {said}: {refused.get('msg')}"
                over = {**(so_far or {"changed": False}), "finished": True, "failed": True, "msg": told}
                return {**result, **(self.stopped(over, arguments, task_vars) if so_far else over)}
            if so_far:
                self.follow(arguments, so_far, time.monotonic() - ended_at)
            ran = self._execute_module(module_args=arguments, task_vars=task_vars)
            if (so_far or not self.begins(arguments)) and unanswered(ran):
                # What goes on has its timeout for that.
                if time.monotonic() < end:
                    display.display(f"{self.MODULE}: no answer, and on it goes: {ran.get('msg')}")
                    time.sleep(_PAUSE)
                    continue
                ran["msg"] = f"{ran.get('msg')}. {self.UNFINISHED}"
            so_far = self.merged(so_far, ran)
            if ran.get("failed") or ran.get("finished", True):
                return {**result, **so_far}
            ended_at = time.monotonic()
            for line in self.progress(ran):
                display.display(line)

    def arguments(self, task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """The task's, as the first slice is given them."""
        given = dict(self._task.args)
        return {**given, "slice": min(_number(given.get("slice"), _SLICE), _SLICE)}

    def begins(self, arguments: Mapping[str, Any]) -> bool:
        """Whether the first call begins something: it needs an answer at once."""
        return True

    def follow(self, arguments: dict[str, Any], so_far: Mapping[str, Any], ago: float) -> None:
        """Tell the next slice what those before came to, of which the last ended so many seconds ago."""
        raise NotImplementedError

    def merged(self, before: dict[str, Any] | None, ran: dict[str, Any]) -> dict[str, Any]:
        """Of what was so far and of another slice one result."""
        raise NotImplementedError

    def progress(self, ran: Mapping[str, Any]) -> Iterable[str]:
        """What a slice that was not the last waits for, as lines."""
        raise NotImplementedError

    def stopped(
        self, over: dict[str, Any], arguments: Mapping[str, Any], task_vars: dict[str, Any] | None
    ) -> dict[str, Any]:
        """The result where the lock was lost in the middle, when what was begun is left as it has to be."""
        return over

    def _renew(
        self, lock: Lock, arguments: Mapping[str, Any], task_vars: dict[str, Any] | None
    ) -> dict[str, Any] | None:
        """Renew the lock, and what the module of it said where that is not ours any more.

        Where nobody answered it is still ours, until its own time is over, and that is tried again after the next slice;
        but at first, when nothing is begun, nobody has said that it is. Who only waits goes on: as long as nobody answers,
        nobody else can take it.
        """
        if self._task.check_mode:
            return None
        ran: dict[str, Any] = self._execute_module(_LOCK_MODULE, lock.arguments, task_vars=task_vars)
        if not ran.get("failed"):
            lock.renewed()
        elif not unanswered(ran) or (self.begins(arguments) and lock.is_over()):
            return ran
        return None


@dataclass
class Lock:
    """A lock that this run holds: how to renew it, and until when it is held if nobody does.

    ``known``: whether it was ever told that it does.
    """

    arguments: dict[str, Any]
    ttl: int
    since: float
    known: bool = False

    @classmethod
    def of(cls, module: str, arguments: dict[str, Any]) -> Lock | None:
        """Take the option O(lock) out of the module's arguments; None without it."""
        given = arguments.pop("lock", None)
        if not given:
            return None
        if not isinstance(given, Mapping):
            raise AnsibleActionFail(f"{module}: lock: got {given!r}, expected the options of bulwark.node.reboot_lock")
        server = {name: arguments[name] for name in _SERVER if arguments.get(name) is not None}
        ttl, least = _number(given.get("ttl"), _TTL), 3 * arguments["slice"]
        if ttl < least:
            # It is renewed between the slices alone.
            raise AnsibleActionFail(
                f"{module}: lock.ttl: got {ttl}, expected at least {least} seconds, three times the slice"
            )
        return cls({**server, **given, "state": "held"}, ttl, time.monotonic() - ttl / 3)

    def is_due(self) -> bool:
        """Whether a third of its time is over; at first, for nobody knows when it was taken."""
        return time.monotonic() >= self.since + self.ttl / 3

    def is_over(self) -> bool:
        return not self.known or time.monotonic() >= self.since + self.ttl

    def renewed(self) -> None:
        self.since, self.known = time.monotonic(), True


def _number(given: Any, default: int) -> int:
    """An option as far as it is a number; what it is not the module says."""
    try:
        return int(given)
    except (TypeError, ValueError):
        return default


def unanswered(ran: Mapping[str, Any]) -> bool:
    """Whether a call failed as nobody answered it, or nobody sound: an error of the client, without a status or with 429 or 5xx."""
    status = ran.get("status")
    return bool(ran.get("failed")) and "verb" in ran and (status is None or status == 429 or status >= 500)
