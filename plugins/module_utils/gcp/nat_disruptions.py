# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a change of a NAT breaks, and who else owns it.

Source: https://cloud.google.com/nat/docs/ports-and-addresses and tune-nat-configuration: which changes reset or close connections.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.gcp.errors import printable
from ansible_collections.bulwark.node.plugins.module_utils.gcp.nat_limits import next_power

__all__ = ["disruptions", "owner"]

Values = Mapping[str, Any]

# What each leaves in a description: of its own label, or of who wrote it there.
_OWNERS = (
    ("terraform", re.compile(r"goog-terraform-provisioned|terraform|opentofu", re.IGNORECASE)),
    ("config_connector", re.compile(r"cnrm|config[-_ ]?connector", re.IGNORECASE)),
)
_MAY_CLOSE = "which may close those that are open"
_CLOSED = "connections through them are closed at once"


def owner(description: object) -> dict[str, str] | None:
    """{tool, evidence} of who manages a router by its description, which is all that can say it; None where nobody is named."""
    text = printable(description or "", 2048)
    for tool, pattern in _OWNERS:
        match = pattern.search(text)
        if match:
            return {"tool": tool, "evidence": f"{match.group()!r} in the description of the router"}
    return None


def disruptions(before: Values | None, after: Values | None) -> list[dict[str, str]]:
    """{target, reason} of each part of a change that closes or resets connections, or takes a VM's way out."""
    if before is None:
        return []
    if after is None:
        return [
            {"target": "state", "reason": "all connections through the NAT are closed, and its VMs have no way out"}
        ]
    found = [
        *_of_ports(before, after),
        *_of_addresses(before, after),
        *_of_rules(before, after),
        *_of_ranges(before, after),
    ]
    return [{"target": target, "reason": reason} for target, reason in found]


def _of_ports(before: Values, after: Values) -> Iterator[tuple[str, str]]:
    was, will = (values["enable_dynamic_port_allocation"] for values in (before, after))
    if was != will:
        yield "enable_dynamic_port_allocation", "ports are allotted anew, and connections are closed"
        return
    old, new = before["min_ports_per_vm"], after["min_ports_per_vm"]
    if was:
        for name in ("min_ports_per_vm", "max_ports_per_vm"):
            if before[name] != after[name]:
                reason = (
                    f"from {before[name]} to {after[name]} with dynamic port allocation, which may close connections"
                )
                yield name, reason
    elif next_power(new) < next_power(old):
        yield "min_ports_per_vm", f"from {old} to {new}: connections on the ports that are taken away might be reset"


def _of_addresses(before: Values, after: Values) -> Iterator[tuple[str, str]]:
    if before["nat_ip_allocate_option"] != after["nat_ip_allocate_option"]:
        yield "nat_ip_allocate_option", f"all addresses are others then: {_CLOSED}"
        return
    if before["auto_network_tier"] != after["auto_network_tier"] and after["nat_ip_allocate_option"] == "AUTO_ONLY":
        yield "auto_network_tier", f"addresses of another tier take the place of those that are there: {_CLOSED}"
    yield from _gone(before, after, "nat_ips", "drain_nat_ips", "")


def _gone(before: Values, after: Values, active: str, draining: str, where: str) -> Iterator[tuple[str, str]]:
    """What is neither active nor draining any more."""
    kept = {*after[active], *after[draining]}
    for name in (active, draining):
        gone = sorted(set(before[name]) - kept)
        if gone:
            yield f"{where}{name}", f"removed: {printable(', '.join(gone))}; {_CLOSED}"


def _of_rules(before: Values, after: Values) -> Iterator[tuple[str, str]]:
    left = {rule["rule_number"]: rule for rule in after["rules"]}
    for number in sorted(set(left) - {rule["rule_number"] for rule in before["rules"]}):
        yield f"rules[{number}]", f"added: connections that match it get its addresses or ranges, {_MAY_CLOSE}"
    for rule in before["rules"]:
        number, action = rule["rule_number"], rule["action"]
        if number not in left:
            yield (
                f"rules[{number}]",
                f"removed: connections by its addresses or ranges are closed: {printable(rule['match'], 100)}",
            )
            continue
        if left[number]["match"] != rule["match"]:
            yield f"rules[{number}].match", f"other connections get its addresses or ranges, {_MAY_CLOSE}"
        for kind in ("ips", "ranges"):
            active, draining = f"source_nat_active_{kind}", f"source_nat_drain_{kind}"
            yield from _gone(action, left[number]["action"], active, draining, f"rules[{number}].action.")


def _of_ranges(before: Values, after: Values) -> Iterator[tuple[str, str]]:
    name = "source_subnetwork_ip_ranges_to_nat"
    old, new = before[name], after[name]
    # All ranges of all subnetworks are the most; of the others none holds another for sure.
    if old != new and new != "ALL_SUBNETWORKS_ALL_IP_RANGES":
        yield name, f"from {old} to {new}: VMs with ranges that are not in the new ones have no way out"
        return
    ranges = {each["name"]: each for each in after["subnetworks"]}
    for each in before["subnetworks"] if old == new else ():
        reason = f"VMs of {printable(each['name'])} have no way out"
        left = ranges.get(each["name"])
        if left is None:
            yield "subnetworks", f"removed: {reason}"
        elif not _covers(left, each):
            yield "subnetworks", f"fewer ranges: {reason} by those that are left out"


def _covers(wide: Values, narrow: Values) -> bool:
    if "ALL_IP_RANGES" in wide["source_ip_ranges_to_nat"]:
        return True
    return all(set(narrow[name]) <= set(wide[name]) for name in ("source_ip_ranges_to_nat", "secondary_ip_range_names"))
