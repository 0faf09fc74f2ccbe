# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The AnsibleModule of what asks a Google API: it hides the key of a service account, and of it no more than is secret."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule

__all__ = ["GcpModule", "secrets"]


class GcpModule(AnsibleModule):
    """An AnsibleModule that shows nothing of ``service_account_contents`` but what is no secret.

    ``no_log`` would hide each value of the dictionary, such as its project, wherever it stands in the result.
    """

    def _log_invocation(self) -> None:
        # The earliest moment at which the parameters are right; right after it they are in the journal.
        self.no_log_values.update(secrets(self.params))
        super()._log_invocation()

    def fail_json(self, msg: str, **kwargs: Any) -> Any:
        """Where an option is wrong, this is called with the parameters as they came, and before the above."""
        self.no_log_values.update(secrets(self.params))
        super().fail_json(msg, **kwargs)


def secrets(params: Mapping[str, Any]) -> set[str]:
    """The texts among the parameters that are secrets, though their option as a whole is not."""
    contents = params.get("service_account_contents")
    found = {contents} if isinstance(contents, str) else set()
    if isinstance(contents, str):
        try:
            contents = json.loads(contents)
        except (ValueError, RecursionError):
            contents = None
    if isinstance(contents, Mapping):
        found |= {
            value for value in (contents.get("private_key"), contents.get("private_key_id")) if isinstance(value, str)
        }
    return {text for text in found if text}
