# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module node_reboot: what a node's reboot has come to, written on the Node, and the proof that it is back."""

from __future__ import annotations

import copy
import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError, OptionError
from ansible_collections.bulwark.node.plugins.module_utils.kube.client import NODES, Client, Object
from ansible_collections.bulwark.node.plugins.module_utils.kube.events import tell
from ansible_collections.bulwark.node.plugins.module_utils.kube.reboot_proof import Look, Wait, daemon_pods
from ansible_collections.bulwark.node.plugins.module_utils.kube.reboot_record import (
    CHANGES,
    Step,
    quarantine_of,
    record_of,
    seen,
    what_happened,
)

__all__ = ["NODE_REBOOT_SPEC", "act"]

NODE_REBOOT_SPEC: dict[str, Any] = {
    "state": {"type": "str", "choices": list(CHANGES), "required": True},
    "name": {"type": "str", "required": True},
    "run_id": {"type": "str", "required": True},
    "boot_id": {"type": "str"},
    "reason": {"type": "str"},
    "labels": {"type": "dict", "default": {}},
    "annotate": {"type": "bool", "default": False},
    "taint": {"type": "str"},
    "lift_quarantine": {"type": "bool", "default": False},
    "timeout": {"type": "int", "default": 1800},
    "stable_for": {"type": "int", "default": 0},
    "slice": {"type": "int", "default": 20},
    "waited": {"type": "float", "default": 0.0},
    "held": {"type": "float"},
    # For the action plugin, which takes it out.
    "lock": {"type": "dict"},
}

# As the API has it: an optional prefix and a name; a value like a label's.
_TAINT = re.compile(r"((?:[a-z0-9][-a-z0-9.]*/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?)(?:=([-A-Za-z0-9_.]*))?")


def act(client: Client, params: Mapping[str, Any], check: bool) -> dict[str, Any]:
    """What the module returns; ``params`` as NODE_REBOOT_SPEC. ``warnings`` are for the user, and no part of the result.

    Raises BulwarkError; one of a node that did not prove itself has all that is returned as its details.
    """
    return _Call(client, params, check, _labels(params), _taint(params["taint"])).act()


@dataclass
class _Call:
    client: Client
    params: Mapping[str, Any]
    check: bool
    labels: Mapping[str, str]
    taint: tuple[str, str] | None
    ready: dict[str, str | None] | None = None
    before: Object = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of the node."""
        return str(self.params["name"])

    def act(self) -> dict[str, Any]:
        """One call."""
        state = self.params["state"]
        self._check_options(state)
        if state == "proven":
            return self._prove()
        if state == "begun":
            pods = daemon_pods(self.client, self.name)
            self.ready = {
                name: next(pod.since for pod in each if pod.ready)
                for name, each in pods.items()
                if any(pod.ready for pod in each)
            }
        return self._result(*self._change(state))

    def _check_options(self, state: str) -> None:
        if not self.params["run_id"]:
            raise OptionError("run_id", "", "what tells this run from all others")
        if state in ("begun", "proven") and not self.params["boot_id"]:
            raise OptionError("boot_id", self.params["boot_id"], f"the machine's boot id, with state={state}")
        if state == "quarantined" and not self.params["reason"]:
            raise OptionError("reason", self.params["reason"], "why it is quarantined, with state=quarantined")
        for name in ("timeout", "slice"):
            if self.params[name] < 1:
                raise OptionError(name, self.params[name], "1 or more")
        if not 0 <= self.params["stable_for"] < self.params["timeout"]:
            raise OptionError(
                "stable_for",
                self.params["stable_for"],
                f"0 or more, and less than timeout, which is {self.params['timeout']}",
            )

    def _step(self) -> Step:
        return Step(
            self.params["run_id"],
            dt.datetime.fromtimestamp(self.client.now(), dt.timezone.utc),
            self.params["boot_id"],
            self.ready or {},
            self.params["reason"] or "",
            self.labels,
            self.params["annotate"],
            self.taint,
            self.params["lift_quarantine"],
        )

    def _change(self, state: str) -> tuple[Object, Object]:
        """The node as it was before our own write, and as it is then; in check mode as it would be."""
        first: list[Object] = []

        def change(node: Object) -> Object:
            first.append(copy.deepcopy(node))
            return CHANGES[state](node, self._step())

        after = (
            change(self.client.get(NODES, self.name)) if self.check else self.client.change(NODES, self.name, change)
        )
        return first[0], after

    def _prove(self) -> dict[str, Any]:
        """Wait for the proof until it is there, or the slice or the time is over; in check mode look once."""
        params, clock = self.params, self.client.clock
        wait = Wait(self.client, self.name, params["run_id"], params["boot_id"], params["stable_for"], params["held"])
        started, left = clock.monotonic(), max(0.0, params["timeout"] - params["waited"])
        found, proven = wait.until(0 if self.check else min(left, params["slice"]))
        left = max(0.0, left - (clock.monotonic() - started))
        before, after = self._change("proven") if proven else (found.node, found.node)
        result = self._result(before, after, found, proven)
        result |= {"held": wait.held, "seconds_left": int(left), "finished": proven or self.check}
        if not proven and not self.check and left == 0:
            what = "; ".join(each["detail"] for each in found.missing)
            raise BulwarkError(
                f"{self.name}: not proved within {params['timeout']} s that it is back: {what}",
                {**result, "finished": True},
            )
        return result

    def _result(
        self, before: Object | None, after: Object | None, found: Look | None = None, proven: bool = False
    ) -> dict[str, Any]:
        """All that is returned. Without a node nobody answered for it."""
        step = self._step()
        views = [seen(node, step) if node else {} for node in (before, after)]
        old, record = (record_of(node) if node else None for node in (before, after))
        quarantine = quarantine_of(after) if after else None
        begins = self.ready is not None
        return {
            "changed": views[0] != views[1],
            "finished": True,
            "name": self.name,
            "state": self.params["state"],
            "record": record.facts() if record else None,
            "resumed": begins and old is not None and old.run != step.run,
            "rebooted": record.boot_id != step.boot_id if record and step.boot_id else None,
            "ready_pods": sorted(self.ready) if self.ready is not None else None,
            "quarantine": quarantine.facts() if quarantine else None,
            "missing": [dict(each) for each in found.missing] if found else [],
            "proof": found.proof() if found and proven else None,
            "held": None,
            "seconds_left": None,
            "warnings": [] if self.check else self._tell(before, after),
            "diff": {"before": views[0], "after": views[1]},
        }

    def _tell(self, before: Object | None, after: Object | None) -> list[str]:
        """Write the event of a change of the node's state; what went wrong with that."""
        run = self.params["run_id"]
        happened = what_happened(before, after, run) if before and after else None
        if not happened:
            return []
        reason, message, warning = happened
        failed = tell(self.client, self.name, reason, message, run, warning)
        return [failed] if failed else []


def _labels(params: Mapping[str, Any]) -> dict[str, str]:
    """The option labels. Raises OptionError: YAML makes more of true and 1 than text."""
    for key, value in params["labels"].items():
        if not isinstance(value, str):
            raise OptionError(f"labels.{key}", value, "a string; put it in quotes")
    return dict(params["labels"])


def _taint(given: str | None) -> tuple[str, str] | None:
    """The option taint as key and value. Raises OptionError."""
    if given is None:
        return None
    found = _TAINT.fullmatch(given)
    if not found:
        raise OptionError("taint", given, "key or key=value; its effect is PreferNoSchedule")
    return found[1], found[2] or ""
