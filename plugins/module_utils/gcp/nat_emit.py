# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A change of a NAT as others' tools have it, for who manages it by them: a resource of Terraform, or commands of gcloud."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.gcp import nat_fields
from ansible_collections.bulwark.node.plugins.module_utils.gcp.client import Place
from ansible_collections.bulwark.node.plugins.module_utils.gcp.errors import printable
from ansible_collections.bulwark.node.plugins.module_utils.gcp.nat_plan import KEYS, Plan

__all__ = ["emit"]

_SWITCHES = {
    "enable_dynamic_port_allocation": "enable-dynamic-port-allocation",
    "enable_endpoint_independent_mapping": "enable-endpoint-independent-mapping",
}
_RANGES = {
    "ALL_SUBNETWORKS_ALL_IP_RANGES": "--nat-all-subnet-ip-ranges",
    "ALL_SUBNETWORKS_ALL_PRIMARY_IP_RANGES": "--nat-primary-subnet-ip-ranges",
}
_LIST = "--nat-custom-subnet-ip-ranges"
_TIME_WAIT = "tcp_time_wait_timeout_sec"
# Beside the fields, what an item always has.
_NAMED = {"name", nat_fields.OUTPUT_ONLY}


def emit(form: str, plan: Plan, where: Place) -> str:
    """The change as ``hcl`` (the resource as it shall be) or ``gcloud`` (commands that make the change)."""
    return _hcl(plan, where) if form == "hcl" else _gcloud(plan, where)


# Terraform, https://registry.terraform.io/providers/hashicorp/google/latest/docs/resources/compute_router_nat


def _hcl(plan: Plan, where: Place) -> str:
    label = re.sub(r"[^a-z0-9_]", "_", plan.name)
    if plan.item is None:
        return f'# Remove resource "google_compute_router_nat" "{label}" ({where.path}, NAT {plan.name}).\n'
    # Left out, Terraform would send 120, whatever is in force.
    time_wait = plan.after[_TIME_WAIT] if plan.after else None
    item = plan.item if time_wait is None else {**plan.item, KEYS[_TIME_WAIT]: time_wait}
    set_here = nat_fields.NAT.read(item)
    named = {"name": plan.name, "project": where.project, "region": where.region, "router": where.router}
    values = {sub.option: set_here[sub.option] for sub in nat_fields.NAT.subs if item.get(sub.key) is not None}
    body = _block({**named, **values})
    return "\n".join((*_remarks(plan, time_wait), f'resource "google_compute_router_nat" "{label}" {{', *body, "}", ""))


def _remarks(plan: Plan, time_wait: int | None) -> Iterator[str]:
    """What the resource does not say, and who takes it over has to know."""
    unknown = sorted(set(plan.item or {}) - set(KEYS.values()) - _NAMED)
    if unknown:
        yield f"# Keep what this does not show: {printable(', '.join(unknown))}."
    if time_wait is None:
        yield f"# Terraform sets {_TIME_WAIT} to 120 where it is not given: give what is wanted."


def _block(values: Mapping[str, Any]) -> list[str]:
    lines: list[str] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            lines += _nested(name, value)
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            # The blocks of a list have the name of one of it, but for rules.
            singular = "subnetwork" if name == "subnetworks" else name
            lines += [line for each in value for line in _nested(singular, each)]
        elif value not in ([], ""):
            lines.append(f"  {name} = {_literal(value)}")
    return lines


def _nested(name: str, values: Mapping[str, Any]) -> list[str]:
    return [f"  {name} {{", *(f"  {line}" for line in _block(values)), "  }"]


def _literal(value: Any) -> str:
    """JSON's literals are HCL's, but for templates in a text."""
    return json.dumps(value, ensure_ascii=False).replace("${", "$${").replace("%{", "%%{")


# gcloud, https://cloud.google.com/sdk/gcloud/reference/compute/routers/nats


def _gcloud(plan: Plan, where: Place) -> str:
    place = [f"--router={where.router}", f"--region={where.region}", f"--project={where.project}"]
    nats = ["gcloud", "compute", "routers", "nats"]
    if plan.after is None:
        return _line([*nats, "delete", plan.name, *place])
    new = plan.before is None
    before = plan.before or {}
    after = plan.after
    changed = [sub.option for sub in nat_fields.NAT.subs if new or before[sub.option] != after[sub.option]]
    # What is not set is what was reset: the server's own default.
    unset = set(nat_fields.defaulted(plan.item or {}))
    if new:
        changed = [name for name in changed if name not in unset]
    flags = list(dict.fromkeys(_flags(changed, after, unset, where, new)))
    lines = [_line([*nats, "create" if new else "update", plan.name, *place, *flags])] if flags or new else []
    if not new and "auto_network_tier" in changed and after["auto_network_tier"] is None:
        lines.append("# gcloud has no flag to reset auto_network_tier.\n")
    old = {rule["rule_number"]: rule for rule in before.get("rules", ())}
    lines += [_line(each) for each in _rules([*nats, "rules"], plan.name, place, old, after["rules"], where)]
    lines += [
        f"# gcloud has no flag for the description of rule {rule['rule_number']}.\n"
        for rule in after["rules"]
        if rule["description"] != old.get(rule["rule_number"], {}).get("description", "")
    ]
    return "".join(lines)


def _line(words: Sequence[str]) -> str:
    return shlex.join(words) + "\n"


def _flags(changed: Sequence[str], after: Mapping[str, Any], unset: set[str], where: Place, new: bool) -> Iterator[str]:
    for name in changed:
        flag, value = name.removesuffix("_sec").replace("_", "-"), after[name]
        if name in _SWITCHES:
            yield f"--{'' if value else 'no-'}{_SWITCHES[name]}"
        elif name in ("min_ports_per_vm", "max_ports_per_vm", *nat_fields.TIMEOUTS):
            yield f"--clear-{flag}" if name in unset else f"--{flag}={value}"
        elif name in ("nat_ip_allocate_option", "nat_ips") and value:
            active = ",".join(_short(each, "addresses", where) for each in after["nat_ips"])
            yield f"--nat-external-ip-pool={active}" if active else "--auto-allocate-nat-external-ips"
        elif name == "drain_nat_ips" and not new:
            draining = ",".join(_short(each, "addresses", where) for each in value)
            yield f"--nat-external-drain-ip-pool={draining}" if draining else "--clear-nat-external-drain-ip-pool"
        elif name in ("source_subnetwork_ip_ranges_to_nat", "subnetworks"):
            yield _RANGES.get(after["source_subnetwork_ip_ranges_to_nat"]) or f"{_LIST}={_subnetworks(after, where)}"
        elif name == "auto_network_tier" and value:
            yield f"--auto-network-tier={value}"
        elif name == "log_config":
            yield f"--{'' if value['enable'] else 'no-'}enable-logging"
            yield f"--log-filter={value['filter']}"
        elif name == "type" and new:
            yield f"--type={value}"
        elif name == "endpoint_types" and new:
            yield f"--endpoint-types={','.join(value)}"


def _short(path: str, collection: str, where: Place) -> str:
    """The name of what is in the region and project of the commands, else its path."""
    return path.removeprefix(f"{where.region_path}/{collection}/")


def _subnetworks(after: Mapping[str, Any], where: Place) -> str:
    found = []
    for each in after["subnetworks"]:
        name = _short(each["name"], "subnetworks", where)
        if "ALL_IP_RANGES" in each["source_ip_ranges_to_nat"]:
            found.append(f"{name}:ALL")
        if "PRIMARY_IP_RANGE" in each["source_ip_ranges_to_nat"]:
            found.append(name)
        found += [f"{name}:{secondary}" for secondary in each["secondary_ip_range_names"]]
    return ",".join(found)


def _rules(
    command: list[str],
    nat: str,
    place: list[str],
    before: Mapping[int, Mapping[str, Any]],
    after: Sequence[Mapping[str, Any]],
    where: Place,
) -> Iterator[list[str]]:
    wanted = {rule["rule_number"]: rule for rule in after}
    at = [f"--nat={nat}", *place]
    for number in before:
        if number not in wanted:
            yield [*command, "delete", str(number), *at]
    for number, rule in wanted.items():
        old = before.get(number)
        if old is None or {**old, "description": rule["description"]} != rule:
            verb = "create" if old is None else "update"
            flags = _action(old and old["action"], rule["action"], where)
            yield [*command, verb, str(number), *at, f"--match={rule['match']}", *flags]


def _action(before: Mapping[str, Any] | None, action: Mapping[str, Any], where: Place) -> Iterator[str]:
    for name, value in action.items():
        flag, collection = name.replace("_", "-"), "addresses" if name.endswith("ips") else "subnetworks"
        if value and not (before is None and "drain" in name):
            yield f"--{flag}={','.join(_short(each, collection, where) for each in value)}"
        elif before and before[name] and "drain" in name:
            yield f"--clear-{flag}"
