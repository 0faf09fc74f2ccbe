# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module bridge_mtu and, where it armed a timer, once more on a new connection, which cancels it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase

from ansible_collections.bulwark.node.plugins.module_utils.node.bridge_mtu_options import (
    OLD_MTUS,
    PIN,
    STAYS_PINNED,
)
from ansible_collections.bulwark.node.plugins.plugin_utils.ssh import connection_of, is_ssh

__all__ = ["ActionModule"]

_PAUSE = 2
_LATE = 15
"""Seconds after the timer's time in which the machine may come back by the old MTUs, and say so."""
_LONGEST = 3600
_BYTES = 64 << 10
"""More than one packet of the largest MTU. Random, for ssh may compress them."""
_SAMPLE = f"dd if=/dev/urandom bs=1024 count={_BYTES >> 10} 2>/dev/null | od -An -v -tx1"
_HEALS = "the timer on the machine puts the old MTUs back"


class ActionModule(ActionBase):
    """The action of ``bulwark.node.bridge_mtu``."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's result; of two runs what the first changed and how the second found it."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        consent = boolean(self._task.args.get("allow_management_link") or False, strict=False)
        arguments = {**self._task.args, **self._ways(consent)}
        try:
            first = self._execute_module(module_args=arguments, task_vars=task_vars)
        except AnsibleConnectionFailure as error:
            if consent and not self._task.check_mode:
                raise AnsibleConnectionFailure(f"{error} Where MTUs had been set before that, {_HEALS}.") from error
            raise
        revert = (first.get("after") or {}).get("revert")
        if first.get("failed") or self._task.check_mode or not revert:
            return {**result, **first}
        second = self._confirm({**arguments, "confirm": revert["token"]}, revert["seconds"], task_vars)
        if second.get("failed"):
            return {**result, **_unconfirmed(first, second)}
        return {**result, **_merged(first, second)}

    def _ways(self, consent: bool) -> dict[str, Any]:
        """What the module cannot know: the connection that become may hide from it, and whether there can be a fresh one."""
        if not is_ssh(self._connection):
            return {"ssh_connection": None, "fresh_connection": "none"}
        known = connection_of(self)
        if not (consent and known):
            return {"ssh_connection": known, "fresh_connection": "possible"}
        self._connection.reset()
        again = connection_of(self)
        return {"ssh_connection": again, "fresh_connection": "shared" if again == known else "possible"}

    def _confirm(self, arguments: dict[str, Any], seconds: int, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        """The second run: tried on new connections until the timer has acted.

        It comes as large packets itself. That such a one also comes back is seen before it cancels the timer.
        """
        deadline = time.monotonic() + min(seconds, _LONGEST) + _LATE
        while True:
            try:
                if self._connection.transport != "local":
                    self._connection.reset()
                    self._prove()
                if is_ssh(self._connection):
                    arguments["ssh_connection"] = connection_of(self)
                second: dict[str, Any] = self._execute_module(module_args=arguments, task_vars=task_vars)
                return second
            except AnsibleConnectionFailure as error:
                if time.monotonic() > deadline:
                    return {
                        "failed": True,
                        "msg": f"bridge_mtu: no new connection came through with the new MTUs, and nothing is persisted. Look for a "
                        f"link on the way that does not carry them. The last try: {error}",
                    }
            time.sleep(_PAUSE)

    def _prove(self) -> None:
        """Have full packets sent by the machine. Raises AnsibleConnectionFailure."""
        said = self._low_level_execute_command(_SAMPLE, sudoable=False)
        if len(said["stdout"].split()) != _BYTES:
            raise AnsibleConnectionFailure(f"of {_BYTES} bytes not all came back. {said['stderr'][-300:]}")


def _merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """What one run would have said: the first is before the links were changed, the second after all was persisted."""
    kept = {key: first[key] for key in ("before", "changes", "disruptive")}
    links = {"before": first["before"], "after": second["after"]}
    files = [diff for diff in second.get("diff", []) if "before_header" in diff]
    warnings = dict.fromkeys([*first.get("warnings", []), *second.get("warnings", [])])
    return {
        **second,
        **kept,
        "changed": first["changed"] or second["changed"],
        "diff": [*([links] if links["before"] != links["after"] else []), *files],
        "warnings": list(warnings),
    }


def _unconfirmed(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """The failed second run, and what it leaves: the MTUs that are live, what the timer does with them, and pins."""
    after = second.get("after")
    if after is None and OLD_MTUS in (second.get("undone") or ()):
        after = {**first["after"], "bridges": first["before"]["bridges"], "revert": None}
    revert = (after or first["after"])["revert"]
    not_undone = [*(second.get("not_undone") or ()), *_pins(first["before"], first["after"])]
    pins = "".join(f" {item['what']}: {item['reason']}." for item in not_undone)
    live, told = _told(first, after, revert)
    return {
        **second,
        **{key: first[key] for key in ("before", "changes", "disruptive")},
        "after": after,
        "changed": live or bool(not_undone),
        "not_undone": not_undone,
        "msg": f"{str(second.get('msg')).rstrip('.')}. {told}{pins}",
    }


def _told(first: dict[str, Any], after: Mapping[str, Any] | None, revert: Mapping[str, Any] | None) -> tuple[bool, str]:
    """Whether new MTUs are live, or may be, and a sentence of it."""
    back = _listed({link["name"]: link["old"] for link in (revert or {}).get("links", ())})
    if after is None:
        return True, (
            f"What is live cannot be seen from here: by now the timer on the machine should have put back {back}."
        )
    if revert is None:
        mtus = _mtus(after)
        changed = [item for item in first["changes"] if item["kind"] == "mtu"]
        new = any(mtus.get(item["target"], item["before"]) != item["before"] for item in changed)
        return new, f"Live now: {_listed(mtus)}."
    live = {link["name"]: link["mtu"] for link in revert["links"]}
    new = any(link["mtu"] != link["old"] for link in revert["links"])
    return new, f"Live now: {_listed(live)}. In {revert['seconds']} s the timer on the machine puts back {back}."


def _mtus(after: Mapping[str, Any]) -> dict[str, Any]:
    """Of bridges, their ports and what stands on them, by name."""
    return {
        link["name"]: link["mtu"]
        for bridge in after["bridges"]
        for link in (bridge, *bridge["ports"], *bridge["uppers"])
    }


def _listed(mtus: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {mtu}" for name, mtu in mtus.items())


def _pins(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, str]]:
    """The bridges that the first run pinned."""
    known = {bridge["name"] for bridge in before["bridges"] if bridge["pinned"]}
    new = [bridge["name"] for bridge in after["bridges"] if bridge["pinned"] and bridge["name"] not in known]
    return [{"what": PIN.format(name), "reason": STAYS_PINNED} for name in new]
