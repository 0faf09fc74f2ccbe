# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a router as it is, and what is wanted of one of its NATs, to the change: pure, and total but for options that are wrong."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.errors import OptionError
from ansible_collections.bulwark.node.plugins.module_utils.gcp import nat_fields
from ansible_collections.bulwark.node.plugins.module_utils.gcp.client import Object, Place, check_name
from ansible_collections.bulwark.node.plugins.module_utils.gcp.nat_disruptions import disruptions
from ansible_collections.bulwark.node.plugins.module_utils.gcp.routers import Router, values_of

__all__ = ["KEYS", "Desired", "Plan", "desired", "joined", "plan"]

# What must be another NAT then.
_FIXED = ("type", "endpoint_types")


@dataclass(frozen=True)
class Desired:
    """What the options ask of one NAT. ``fields`` are comparable with what is in force."""

    name: str
    present: bool
    fields: Mapping[str, Any] = field(default_factory=dict)
    reset: Sequence[str] = ()
    drain: bool = True


def desired(params: Mapping[str, Any], where: Place) -> Desired:
    """The options, checked against each other. Raises OptionError."""
    check_name("name", params["name"])
    fields = nat_fields.given(params, where.region_path)
    nat_fields.check(fields)
    for name in params["reset"]:
        if name in fields:
            raise OptionError(f"reset: {name}", "set as well", "a field that is not set")
    return Desired(params["name"], params["state"] == "present", fields, tuple(params["reset"]), params["drain"])


@dataclass(frozen=True)
class Plan:
    """From one observation of a router to what is wanted of one NAT: ``item`` is what to send of it, None for none."""

    name: str
    item: Object | None
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    changes: Sequence[Mapping[str, Any]]
    disruptive: Sequence[Mapping[str, str]]

    def nats(self, router: Router) -> list[Object]:
        """All NATs of the router as they are to be sent: its own one in its place, the others as they were."""
        sent = {name: _sendable(item) for name, item in router.nats.items() if name != self.name or self.item}
        if self.item is not None:
            sent[self.name] = self.item
        return list(sent.values())


def plan(router: Router, wanted: Desired, where: Place) -> Plan:
    """What is to be done: pure. Raises OptionError where the outcome would not go together."""
    item = router.nats.get(wanted.name)
    before = None if item is None else values_of(item, where)
    changes: list[Mapping[str, Any]] = []
    if not wanted.present:
        if item is not None:
            changes.append({"kind": "delete", "target": wanted.name, "before": before, "after": None})
        return Plan(wanted.name, None, before, None, changes, disruptions(before, None))
    fields = _filled(wanted, before)
    gone = [*wanted.reset, *_dropped({**_left_out(wanted.reset), **fields}, before)]
    told = [name for name, value in fields.items() if before is None or before[name] != value]
    predicted = _predicted(item, {name: fields[name] for name in told}, gone, wanted.name)
    after = values_of(predicted, where)
    if any(after[name] != value for name, value in fields.items()):
        # With what was changed, other defaults are in force.
        predicted = _predicted(item, fields, gone, wanted.name)
        after = values_of(predicted, where)
    if fields.get("max_ports_per_vm") is not None and not after["enable_dynamic_port_allocation"]:
        raise OptionError("max_ports_per_vm", fields["max_ports_per_vm"], "none without enable_dynamic_port_allocation")
    if before is None or item is None:
        _check(fields, before, after)
        changes.append({"kind": "create", "target": wanted.name, "before": None, "after": after})
        return Plan(wanted.name, _sendable(predicted), before, after, changes, [])
    changes = _changes(before, after, wanted.reset)
    if changes:
        # Else the server has judged it.
        _check(fields, before, after)
    return Plan(wanted.name, _sendable(predicted), before, after, changes, disruptions(before, after))


def _left_out(names: Sequence[str]) -> dict[str, Any]:
    return {sub.option: sub.left_out() for sub in nat_fields.NAT.subs if sub.option in names}


def _predicted(item: Object | None, fields: Mapping[str, Any], gone: Sequence[str], name: str) -> Object:
    """A NAT with these fields, and without those that are gone, as the API would give it."""
    found = nat_fields.NAT.write(fields, item)
    for each in gone:
        found.pop(KEYS[each], None)
    if "tcp_time_wait_timeout_sec" in gone and KEYS["tcp_time_wait_timeout_sec"] in (item or {}):
        # What is in force then the server alone knows.
        found.pop(nat_fields.OUTPUT_ONLY, None)
    found["name"] = name
    return found


KEYS = {sub.option: sub.key for sub in nat_fields.NAT.subs}


def _sendable(item: Mapping[str, Any]) -> Object:
    """A NAT without what only the server says."""
    return {key: copy.deepcopy(value) for key, value in item.items() if key != nat_fields.OUTPUT_ONLY}


def _filled(wanted: Desired, before: Mapping[str, Any] | None) -> dict[str, Any]:
    """The fields that are wanted, with what follows from them: the rest of log_config, and addresses that drain."""
    fields = copy.deepcopy(dict(wanted.fields))
    old = before or {}
    if "log_config" in fields:
        fields["log_config"] = {
            **_left_out(["log_config"])["log_config"],
            **old.get("log_config", {}),
            **fields["log_config"],
        }
    # Google's own addresses take the place of all others.
    if fields.get("nat_ip_allocate_option") != "AUTO_ONLY":
        _drain(fields, old, "nat_ips", "drain_nat_ips", wanted.drain)
    # What drains from now on is active no more, without being said twice.
    if "drain_nat_ips" in fields and "nat_ips" not in fields and old:
        fields["nat_ips"] = [each for each in old["nat_ips"] if each not in fields["drain_nat_ips"]]
    actions = {rule["rule_number"]: rule["action"] for rule in old.get("rules", ())}
    for rule in fields.get("rules", ()):
        for kind in ("ips", "ranges"):
            names = f"source_nat_active_{kind}", f"source_nat_drain_{kind}"
            _drain(rule["action"], actions.get(rule["rule_number"], {}), *names, wanted.drain)
    return fields


def _drain(fields: dict[str, Any], before: Mapping[str, Any], active: str, draining: str, drain: bool) -> None:
    """Have drain what is active no more, and no longer what is active again, unless it was said what shall."""
    if active not in fields or fields.get(draining) is not None:
        return
    removed = before.get(active, ()) if drain and fields[active] else ()
    fields[draining] = sorted({*before.get(draining, ()), *removed} - set(fields[active]))


def _dropped(fields: Mapping[str, Any], before: Mapping[str, Any] | None) -> list[str]:
    """What loses its meaning by a change of another field, and what the server would refuse beside it."""
    found: list[str] = []
    for name, value, useless in (
        ("nat_ip_allocate_option", "AUTO_ONLY", ("nat_ips", "drain_nat_ips")),
        ("nat_ip_allocate_option", "MANUAL_ONLY", ("auto_network_tier",)),
        ("enable_dynamic_port_allocation", False, ("max_ports_per_vm",)),
        ("source_subnetwork_ip_ranges_to_nat", "ALL_SUBNETWORKS_ALL_IP_RANGES", ("subnetworks",)),
        ("source_subnetwork_ip_ranges_to_nat", "ALL_SUBNETWORKS_ALL_PRIMARY_IP_RANGES", ("subnetworks",)),
    ):
        if before and fields.get(name, before[name]) == value != before[name]:
            found += [other for other in useless if not fields.get(other)]
    return found


def _check(fields: Mapping[str, Any], before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> None:
    """What can be said now that the rest of the NAT is known. Raises OptionError."""
    for name in _FIXED:
        if before is not None and before[name] != after[name]:
            raise OptionError(name, after[name], f"{before[name]}, which no change of a NAT changes: make another one")
    old = before or {"nat_ips": (), "drain_nat_ips": ()}
    if before is None and (fields.get("drain_nat_ips") or _drains(fields)):
        raise OptionError("drain_nat_ips", "set", "none for a NAT that is new: nothing drains yet")
    strange = sorted(set(fields.get("drain_nat_ips") or ()) - {*old["nat_ips"], *old["drain_nat_ips"]})
    if strange:
        raise OptionError("drain_nat_ips", strange, "addresses that the NAT has")
    nat_fields.check({**fields, "type": after["type"]})
    nat_fields.check(after, whole=True)


def _drains(fields: Mapping[str, Any]) -> bool:
    actions = [rule["action"] for rule in fields.get("rules", ())]
    return any(action["source_nat_drain_ips"] or action["source_nat_drain_ranges"] for action in actions)


def _changes(before: Mapping[str, Any], after: Mapping[str, Any], reset: Sequence[str]) -> list[Mapping[str, Any]]:
    """The fields that get another value. One of ``reset`` that has the default already is none: the server may say defaults."""
    return [
        {"kind": "reset" if name in reset else "set", "target": name, "before": before[name], "after": after[name]}
        for name in before
        if before[name] != after[name]
    ]


def joined(first: Plan, last: Plan) -> Plan:
    """Two changes of one run as one."""
    targets = {change["target"]: change for change in first.changes}
    changes: list[Mapping[str, Any]] = [
        {**change, "before": targets.get(change["target"], change)["before"]} for change in last.changes
    ]
    changes += [change for change in first.changes if change["target"] not in {each["target"] for each in changes}]
    disruptive = list(
        {(each["target"], each["reason"]): each for each in (*first.disruptive, *last.disruptive)}.values()
    )
    return Plan(last.name, last.item, first.before, last.after, changes, disruptive)
