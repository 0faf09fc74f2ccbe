# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the hosts of a play registered, for the report. Facts of a fleet are much: each host is asked once, and as seldom as can be."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.bulwark.node.plugins.plugin_utils import report

__all__ = ["Registered"]

# Results of node_facts. Since 2.19 core has in them errors and warnings in types of its own, of which templates make text. The report takes
# the message.
_RESULTS = ("before", "results")
_OF_CORE = ("exception", "warnings", "deprecations")


class Registered:
    """What the report is to be made of, by names of variables instead of values.

    A template of them would walk through all facts of all hosts, copy them, and send them back to the main process with the task.
    """

    def __init__(self, variables: Mapping[str, str | None], task_vars: Mapping[str, Any]) -> None:
        """``variables`` are names by option of the report."""
        self._variables = {option: name for option, name in variables.items() if name is not None}
        self._hostvars = task_vars["hostvars"]
        self._hosts = [str.__str__(host) for host in task_vars["ansible_play_hosts_all"]]
        here = {str.__str__(host) for host in task_vars["ansible_play_batch"]}
        places = [place for place, host in enumerate(self._hosts) if host in here]
        self._begun = self._hosts[: places[-1] + 1] if places else self._hosts
        self._earlier = self._hosts[: places[0]] if places else []

    def done(self, folder: str) -> dict[str, dict[str, Any]]:
        """The rows of the batches before this one, as they were written into a folder. What it does not tell is judged again."""
        if not self._earlier:
            return {}
        try:
            with open(os.path.join(folder, "report.json"), encoding="utf-8") as stream:
                return report.done_before(json.load(stream), self._earlier)
        except (OSError, ValueError, RecursionError):
            return {}

    def options(self, done: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The options of the report on all hosts but those that it has done with. Of hosts that were not begun there is nothing."""
        known = set(done)
        found = self.of(host for host in self._begun if host not in known)
        return {**found, "results": {**{host: {} for host in self._hosts if host not in known}, **found["results"]}}

    def of(self, hosts: Iterable[str]) -> dict[str, dict[str, Any]]:
        """By option, then host, what these hosts have."""
        found: dict[str, dict[str, Any]] = {option: {} for option in self._variables}
        for host in hosts:
            known = self._hostvars.raw_get(host)
            for option, name in self._variables.items():
                if name in known:
                    found[option][host] = _told(known[name]) if option in _RESULTS else known[name]
        return found


def _told(result: Any) -> Any:
    if not isinstance(result, Mapping):
        return result
    return {key: value for key, value in result.items() if key not in _OF_CORE}
