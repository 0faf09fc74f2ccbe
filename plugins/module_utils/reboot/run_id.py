# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tells a run from all others, wherever it is written down: in the lock, in a record, in an event."""

from __future__ import annotations

import re

from ansible_collections.bulwark.node.plugins.module_utils.errors import OptionError

__all__ = ["RUN_ID", "check_run_id"]

RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)


def check_run_id(given: str) -> str:
    """The option run_id as it is. Raises OptionError."""
    if not RUN_ID.fullmatch(given):
        raise OptionError("run_id", given, "letters, digits, '.', '_' and '-', at most 128, the same in the whole run")
    return given
