# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module node_reboot: what a node's reboot has come to, written on the Node, and the proof that it is back."""

from __future__ import annotations

import copy
import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError, OptionError
from ansible_collections.bulwark.node.plugins.module_utils.kube.client import NODES, Client, KubeError, Object
from ansible_collections.bulwark.node.plugins.module_utils.kube.events import tell
from ansible_collections.bulwark.node.plugins.module_utils.kube.reboot_proof import Wait, daemon_pods, unanswered
from ansible_collections.bulwark.node.plugins.module_utils.kube.reboot_record import (
    CHANGES,
    Step,
    quarantine_of,
    record_of,
    seen,
    what_happened,
)
from ansible_collections.bulwark.node.plugins.module_utils.reboot.run_id import RUN_ID, check_run_id

__all__ = ["NODE_REBOOT_SPEC", "act"]

NODE_REBOOT_SPEC: dict[str, Any] = {
    "state": {"type": "str", "choices": list(CHANGES), "required": True},
    "name": {"type": "str", "required": True},
    "run_id": {"type": "str", "required": True},
    "boot_id": {"type": "str"},
    "machine_id": {"type": "str"},
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

# The write of a proof, which the next slice may repeat.
_WRITE_SECONDS = 10.0
_REQUIRED = {"boot_id": ("begun", "proven"), "reason": ("quarantined",)}
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
    # With state=begun: by DaemonSet with a Ready pod there, since when that is.
    ready: dict[str, str | None] | None = None

    @property
    def name(self) -> str:
        """Of the node."""
        return str(self.params["name"])

    @property
    def run(self) -> str:
        """Its id."""
        return str(self.params["run_id"])

    def act(self) -> dict[str, Any]:
        """One call."""
        state = self.params["state"]
        self.check_options(state)
        if state == "proven":
            return self.prove()
        if state == "begun":
            found = daemon_pods(self.client, self.name)
            ready = {name: [pod.since for pod in pods if pod.ready] for name, pods in found.items()}
            self.ready = {name: since[0] for name, since in ready.items() if since}
        return self.told(*self.change(state))

    def check_options(self, state: str) -> None:
        """Raise OptionError where one is missing or out of range."""
        check_run_id(self.params["run_id"])
        for name, states in _REQUIRED.items():
            if state in states and not self.params[name]:
                raise OptionError(name, self.params[name], f"a text, as state is {state}")
        boot_id = self.params["boot_id"]
        if boot_id and not RUN_ID.fullmatch(boot_id):
            raise OptionError("boot_id", boot_id, "what the machine's /proc/sys/kernel/random/boot_id has, in one line")
        for name in ("timeout", "slice"):
            if self.params[name] < 1:
                raise OptionError(name, self.params[name], "1 or more")
        timeout, stable_for = self.params["timeout"], self.params["stable_for"]
        if not 0 <= stable_for < timeout:
            raise OptionError("stable_for", stable_for, f"0 or more, and less than timeout, which is {timeout}")

    def step(self) -> Step:
        """The change that is asked for, at this moment."""
        return Step(
            self.run,
            dt.datetime.fromtimestamp(self.client.now(), dt.timezone.utc),
            self.params["boot_id"],
            self.ready or {},
            self.params["reason"] or "",
            self.labels,
            self.params["annotate"],
            self.taint,
            self.params["lift_quarantine"],
            self.params["machine_id"],
        )

    def change(self, state: str) -> tuple[Object, Object]:
        """The node as it was before our own write, and as it is then; in check mode as it would be. Raises BulwarkError."""
        first: list[Object] = []

        def mutate(node: Object) -> Object:
            first.append(copy.deepcopy(node))
            return CHANGES[state](node, self.step())

        after = (
            mutate(self.client.get(NODES, self.name)) if self.check else self.client.change(NODES, self.name, mutate)
        )
        return first[0], after

    def prove(self) -> dict[str, Any]:
        """Wait for the proof until it is there, or the slice or the time is over; in check mode look once."""
        params, clock = self.params, self.client.clock
        wait = Wait(self.client, self.name, self.run, params["boot_id"], params["stable_for"], params["held"])
        started, left = clock.monotonic(), max(0.0, params["timeout"] - params["waited"])
        found, proven = wait.until(0 if self.check else min(left, params["slice"]))
        before = after = found.node
        if proven:
            try:
                with self.client.within(_WRITE_SECONDS):
                    before, after = self.change("proven")
            except KubeError as error:
                if error.refused:
                    raise
                found, proven = unanswered(error), False
        left = max(0.0, left - (clock.monotonic() - started))
        result = {
            **(self.told(before, after) if before and after else self.result(None, None)),
            "finished": proven or self.check,
            "missing": [dict(each) for each in found.missing],
            "proof": found.proof() if proven else None,
            "held": None if wait.held is None else round(wait.held, 1),
            "seconds_left": int(left),
        }
        if not result["finished"] and not left:
            lacks = "; ".join(each["detail"] for each in found.missing)
            raise BulwarkError(
                f"{self.name}: not proved within {params['timeout']} s that it is back: {lacks}",
                {**result, "finished": True},
            )
        return result

    def told(self, before: Object, after: Object) -> dict[str, Any]:
        """The result of a change, of which an event tells."""
        result = self.result(before, after)
        happened = what_happened(before, after, self.step(), self.params["state"])
        if happened and not self.check:
            failed = tell(self.client, self.name, self.run, happened)
            result["warnings"] = [failed] if failed else []
        return result

    def result(self, before: Object | None, after: Object | None) -> dict[str, Any]:
        """All that is returned. Without a node nobody answered for it."""
        step = self.step()
        views = [seen(node, step) if node else {} for node in (before, after)]
        old, record = (record_of(node) if node else None for node in (before, after))
        quarantines = [quarantine_of(node) if node else None for node in (before, after)]
        return {
            "changed": views[0] != views[1],
            "finished": True,
            "name": self.name,
            "state": self.params["state"],
            "record": record.facts() if record else None,
            "resumed": self.ready is not None and old is not None,
            "rebooted": record.boot_id != step.boot_id if record and step.boot_id else None,
            "ready_pods": sorted(self.ready) if self.ready is not None else None,
            "quarantine": quarantines[1].facts() if quarantines[1] else None,
            "lifted": quarantines[0].facts() if quarantines[0] and not quarantines[1] else None,
            "missing": [],
            "proof": None,
            "held": None,
            "seconds_left": None,
            "warnings": [],
            "diff": {"before": views[0], "after": views[1]},
        }


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
