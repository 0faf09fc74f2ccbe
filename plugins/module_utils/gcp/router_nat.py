# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module gcp_compute_router_nat: one NAT of a router brought to what the options say, and its siblings left alone.

A router's NATs are one list, which each PATCH replaces whole, and a router of compute/v1 has no version to compare. So it is
observed again just before each PATCH, a conflict means to plan anew, and what came of it is read back.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError, UnmetError
from ansible_collections.bulwark.node.plugins.module_utils.gcp import nat_emit, nat_fields
from ansible_collections.bulwark.node.plugins.module_utils.gcp.client import Client, Object, Place, place
from ansible_collections.bulwark.node.plugins.module_utils.gcp.errors import Busy, GcpError, printable, shown
from ansible_collections.bulwark.node.plugins.module_utils.gcp.nat_forms import link
from ansible_collections.bulwark.node.plugins.module_utils.gcp.nat_plan import (
    KEYS,
    Desired,
    Plan,
    desired,
    joined,
    plan,
)
from ansible_collections.bulwark.node.plugins.module_utils.gcp.routers import canonical, observe, values_of

__all__ = ["NAT_SPEC", "act"]

NAT_SPEC: dict[str, Any] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "region": {"type": "str", "required": True},
    "router": {"type": "str", "required": True},
    "name": {"type": "str", "required": True},
    "reset": {"type": "list", "elements": "str", "choices": list(nat_fields.RESETTABLE), "default": []},
    "drain": {"type": "bool", "default": True},
    "allow_disruption": {"type": "bool", "default": False},
    "emit": {"type": "str", "choices": ["hcl", "gcloud"]},
    **nat_fields.FIELDS_SPEC,
}

# Others who change the router again and again would keep us here until the end.
_ROUNDS = 10
# What is not kept after so many changes is not kept at all.
_MOST_PATCHES = 3


def act(client: Client, params: Mapping[str, Any], check: bool) -> dict[str, Any]:
    """The module's result; with ``check`` what it would be. ``warnings`` is taken out by the module. Raises BulwarkError."""
    where = place(params)
    wanted = desired(params, where)
    with client.within():
        run = _Run(client, where, wanted, bool(params["allow_disruption"]))
        return run.emitted(params["emit"]) if params["emit"] else run.converged(check)


class _Run:
    """One call: what it found first, and what it did."""

    def __init__(self, client: Client, where: Place, wanted: Desired, consent: bool) -> None:
        self._client, self._where, self._wanted, self._consent = client, where, wanted, consent
        self._warnings: list[str] = []
        self._patched: Plan | None = None
        self._finished = 0
        self._router = observe(client, where)
        self._first = self._own()

    def emitted(self, form: str) -> dict[str, Any]:
        """The change in the language of another tool. Nothing is sent."""
        planned = self._plan()
        return self._result(planned, False, nat_emit.emit(form, planned, self._where) if planned.changes else "")

    def converged(self, check: bool) -> dict[str, Any]:
        """Bring the NAT about. An error says in its details whether something was changed all the same."""
        try:
            return self._rounds(check)
        except BulwarkError as error:
            self._note_changed(error)
            raise

    def _rounds(self, check: bool) -> dict[str, Any]:
        """As many rounds as conflicts with others make of it."""
        for attempt in range(1, _ROUNDS + 1):
            planned = self._plan()
            if not planned.changes:
                # Sent is not done: it may have been refused, and somebody else have brought the same about.
                changed = self._patched is not None and self._own() != self._first
                return self._result(self._patched if self._patched and changed else planned, changed)
            if self._finished == _MOST_PATCHES:
                break
            self._guard(planned)
            if check:
                return self._result(planned, True)
            try:
                self._change(planned)
            except Busy as busy:
                if not busy.conflict or not self._client.pause(attempt):
                    raise
                self._router = observe(self._client, self._where)
        raise self._unmet()

    def _own(self) -> Any:
        """The NAT as it was seen last, comparable; None where there is none."""
        return canonical(self._router.nats.get(self._wanted.name))

    def _plan(self) -> Plan:
        return plan(self._router, self._wanted, self._where)

    def _guard(self, planned: Plan) -> None:
        """Refuse what closes connections, unless it was agreed to."""
        if planned.disruptive and not self._consent:
            reasons = "; ".join(f"{each['target']}: {each['reason']}" for each in planned.disruptive)
            details = {key: value for key, value in self._result(planned, False).items() if key != "changed"}
            raise BulwarkError(
                f"{self._wanted.name}: this would disrupt: {reasons}. Allow it with allow_disruption", details
            )

    def _change(self, planned: Plan) -> None:
        """One PATCH of all NATs, if the router is still what was planned on; then what the router is after it. Raises Busy."""
        based_on, sent = canonical(self._router.nats), planned.nats(self._router)
        operations = self._operations()
        if self._nats_now() != based_on:
            return
        wanted = canonical({item["name"]: item for item in sent})

        def again() -> bool:
            # Ours may have been carried out already: the server knows the requestId then.
            now = self._nats_now()
            return now in (based_on, wanted)

        # What was patched before was patched by us, and the result is from the first to the last.
        self._patched = planned if self._patched is None else joined(self._patched, planned)
        client, where = self._client, self._where
        operation = client.patch("compute.routers.patch", where.path, {"nats": sent}, again)
        client.wait(operation, where.region_path)
        self._finished += 1
        # What the server says of these from now on is its own default.
        known = [name for name in self._wanted.reset if name not in nat_fields.UNKNOWN_DEFAULTS]
        self._wanted = replace(self._wanted, reset=known)
        self._router = observe(client, where)
        self._compare(wanted)
        self._warn_of_lost(operations, operation)

    def _operations(self) -> dict[str, Object] | None:
        """The operations on the router by name; None without the right to list them, which is no must."""
        try:
            found = self._client.operations(self._where.region_path)
        except GcpError:
            return None
        target = self._where.path
        return {str(each.get("name")): each for each in found if link(str(each.get("targetLink"))) == target}

    def _warn_of_lost(self, known: Mapping[str, Object] | None, own: Object) -> None:
        """Warn of operations that came after the last look and before ours, which has replaced what they wrote of the NATs."""
        now = None if known is None else self._operations()
        for name, each in (now or {}).items():
            if name not in (known or {}) and name != own.get("name") and _began(each) <= _began(own):
                who = f"{printable(name, 100)} of {printable(each.get('user') or 'somebody', 100)}"
                self._warnings.append(
                    f"operation {who} changed the router between the last look at it and this change: what it wrote of NATs is lost; look at them"
                )

    def _nats_now(self) -> dict[str, Any]:
        self._router = observe(self._client, self._where)
        return dict(canonical(self._router.nats))

    def _compare(self, sent: Mapping[str, Any]) -> None:
        """Warn where a sibling is not as it was sent. It was sent as it was, so that somebody else changes the router too."""
        now = canonical(self._router.nats)
        own = self._wanted.name
        others = [name for name in {**sent, **now} if name != own and sent.get(name) != now.get(name)]
        known = set(KEYS.values())
        lost = [
            key
            for key, value in sent.get(own, {}).items()
            if key not in known and value != now.get(own, {}).get(key, value)
        ]
        for what in (*(f"NAT {printable(name)}" for name in others), *(f"{own}.{printable(key)}" for key in lost)):
            self._warnings.append(
                f"{what} is not what it was before this change, which did not touch it: somebody else changes the router as well; look at it"
            )

    def _result(self, planned: Plan, changed: bool, emitted: str | None = None) -> dict[str, Any]:
        # The last look, where there was one after a change: what the server made of it.
        own = self._router.nats.get(self._wanted.name)
        after = planned.after
        if self._patched is not None:
            after = None if own is None else values_of(own, self._where)
        return {
            "changed": changed,
            "before": shown(planned.before),
            "after": shown(after),
            "changes": shown(planned.changes),
            "disruptive": list(planned.disruptive),
            "unmet": [],
            "owner": self._router.owner,
            "emitted": emitted,
            "warnings": [*self._owned(planned, emitted), *self._warnings],
        }

    def _owned(self, planned: Plan, emitted: str | None) -> list[str]:
        found = self._router.owner
        if found is None or not planned.changes or emitted is not None:
            return []
        return [
            f"the router is managed by {found['tool']} ({found['evidence']}), which would undo this: change it there; emit prints the change"
        ]

    def _note_changed(self, error: BulwarkError) -> None:
        """Put into an error what is known of the NAT now. Whether something was changed is asked of the server, where it answers."""
        if "changed" in error.details or self._patched is None:
            return
        error.details["changed"] = True
        try:
            self._router = observe(self._client, self._where)
            own = self._router.nats.get(self._wanted.name)
            after = None if own is None else values_of(own, self._where)
        except GcpError:
            return
        changed = self._own() != self._first
        error.details.update(changed=changed, before=shown(self._patched.before), after=shown(after))

    def _unmet(self) -> UnmetError:
        left = self._plan()
        if self._patched is None:
            text = (
                f"{self._where.path}: it was changed by others {_ROUNDS} times meanwhile. Run this when they are done"
            )
            return UnmetError(text, {"unmet": [], "changed": False})
        unmet = [
            {
                "target": change["target"],
                "wanted": shown(change["after"]),
                "got": shown(change["before"]),
                "reason": "it was sent, and another value read back",
                "remedy": "Look who else writes it.",
                "evidence": {},
            }
            for change in left.changes
        ]
        names = ", ".join(str(each["target"]) for each in unmet)
        text = f"{self._wanted.name}: {names}: sent, and another value read back. Look who else writes it"
        return UnmetError(
            text, {"unmet": unmet, "changed": True, "before": shown(self._patched.before), "after": shown(left.before)}
        )


def _began(operation: Object) -> float:
    """When an operation was asked for, in seconds since the epoch; 0 where it does not say."""
    try:
        # Python 3.9 does not know the Z.
        return datetime.datetime.fromisoformat(str(operation.get("insertTime")).replace("Z", "+00:00")).timestamp()
    except (ValueError, OverflowError):
        return 0.0
