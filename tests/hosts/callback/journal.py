# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A callback of Ansible: it writes what begins and ends to a file, and stands still where it is told to, to be killed there.

$JOURNAL is that file, of lines of JSON. $JOURNAL_HALT is {"task", "host", "turn"}: nothing goes on once this task of this
host has ended for the turn-th time; the last line then says so.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: journal
type: notification
short_description: Writes what begins and ends to a file
description:
  - For tests alone.
requirements: []
options: {}
"""


class CallbackModule(CallbackBase):
    """The callback ``journal``."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "journal"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._file = open(os.environ["JOURNAL"], "a", buffering=1)  # noqa: SIM115 -- it is open as long as the process lives
        self._halt = json.loads(os.environ.get("JOURNAL_HALT", "{}"))
        self._turns: Counter[tuple[str, str]] = Counter()

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        self._write("start", host, task)

    def v2_runner_on_ok(self, result: Any) -> None:
        self._ended(result, "ok")

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._ended(result, "ignored" if ignore_errors else "failed")

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._ended(result, "unreachable")

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._write("skipped", result._host, result._task)

    def _ended(self, result: Any, status: str) -> None:
        host, task = result._host, result._task
        self._write(
            status, host, task, changed=bool(result._result.get("changed")), msg=str(result._result.get("msg", ""))
        )
        turn = host.get_name(), task.name
        self._turns[turn] += 1
        if turn == (self._halt.get("host"), self._halt.get("task")) and self._turns[turn] == self._halt["turn"]:
            self._write("halt", host, task)
            while True:
                time.sleep(60)

    def _write(self, what: str, host: Any, task: Any, **more: Any) -> None:
        line = {"what": what, "host": host.get_name(), "task": task.name, "action": task.action, **more}
        self._file.write(json.dumps(line) + "\n")
