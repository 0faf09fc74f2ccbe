# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a gate that are about no node: windows, how long a reboot takes, and alerts. Needs no Kubernetes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable

from ansible_collections.bulwark.node.plugins.module_utils.errors import OptionError
from ansible_collections.bulwark.node.plugins.module_utils.reboot import prometheus
from ansible_collections.bulwark.node.plugins.module_utils.reboot.alerts import alert_reasons, selection
from ansible_collections.bulwark.node.plugins.module_utils.reboot.gate import Gate, Reason, decide
from ansible_collections.bulwark.node.plugins.module_utils.reboot.window import WINDOW_SPEC, Window, parse_windows

__all__ = ["GATE_SPEC", "GateOptions", "gate_options"]

GATE_SPEC: dict[str, Any] = {
    "windows": {"type": "list", "elements": "dict", "default": [], "options": WINDOW_SPEC},
    "reboot_duration": {"type": "int", "default": 0},
    "prometheus": {"type": "dict", "options": prometheus.PROMETHEUS_SPEC},
}

_WEEK = 604800


@dataclass(frozen=True)
class GateOptions:
    """Those of GATE_SPEC, checked. ``ask`` gives the alerts that are in the way; what could not be asked is too."""

    windows: Sequence[Window]
    duration: dt.timedelta
    ask: Callable[[], list[Reason]]

    def gate(self, others: Sequence[Reason]) -> Gate:
        """The gate at this moment, with what else is in the way."""
        return decide(dt.datetime.now(dt.timezone.utc), self.windows, self.duration, others)


def gate_options(params: Mapping[str, Any]) -> GateOptions:
    """The options of a module; nothing is asked yet. Raises OptionError."""
    windows = parse_windows("windows", params["windows"])
    if not 0 <= params["reboot_duration"] <= _WEEK:
        raise OptionError("reboot_duration", params["reboot_duration"], f"seconds, from 0 to {_WEEK} (a week)")
    return GateOptions(windows, dt.timedelta(seconds=params["reboot_duration"]), _asking(params["prometheus"]))


def _asking(options: Mapping[str, Any] | None) -> Callable[[], list[Reason]]:
    if not options:
        return list
    prometheus.check("prometheus", options)
    chosen = selection("prometheus", options)

    def ask() -> list[Reason]:
        try:
            return alert_reasons(prometheus.query(options), chosen)
        except prometheus.PrometheusError as error:
            return [Reason("prometheus", str(error), error=True)]

    return ask
