# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in for each module of awx.awx: it checks the options by the module's own rules, and writes them down.

AWX_MODULES names the file with the rules (tests/tools/awx_options.py), AWX_JOURNAL the one that gets a line for each call.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        module = self._task.action.rpartition(".")[2]
        rules = json.loads(Path(os.environ["AWX_MODULES"]).read_text())["modules"][module]
        given = self.validate_argument_spec(**rules)[1]
        with Path(os.environ["AWX_JOURNAL"]).open("a") as journal:
            options = {name: value for name, value in given.items() if name in self._task.args}
            journal.write(json.dumps({"module": module, "options": options}) + "\n")
        # As a module's invocation has them.
        return {**result, "options": options}
