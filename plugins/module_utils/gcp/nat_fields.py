# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fields of a router's NAT: their options, what is in force where one is not set, and which values go together.

Source: compute/v1 routers (RouterNat) and https://cloud.google.com/nat/docs/ports-and-addresses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.errors import OptionError
from ansible_collections.bulwark.node.plugins.module_utils.gcp.nat_forms import (
    Links,
    MalformedError,
    Names,
    Scalar,
    Struct,
    Sub,
    Table,
)
from ansible_collections.bulwark.node.plugins.module_utils.gcp.nat_limits import (
    DYNAMIC_MAXIMUM,
    DYNAMIC_MINIMUM,
    STATIC,
    STATIC_DEFAULT,
    next_power,
)

__all__ = [
    "FIELDS_SPEC",
    "NAT",
    "OUTPUT_ONLY",
    "RESETTABLE",
    "UNKNOWN_DEFAULTS",
    "check",
    "defaulted",
    "effective",
    "given",
    "has_alias_ranges",
]

OUTPUT_ONLY = "effectiveTcpTimeWaitTimeoutSec"

_ALL, _PRIMARY, _SECONDARY = "ALL_IP_RANGES", "PRIMARY_IP_RANGE", "LIST_OF_SECONDARY_IP_RANGES"
_LISTED = "LIST_OF_SUBNETWORKS"
_MOST_SECONDS = (1 << 31) - 1
_MOST_RULE = 65000
_NAME = r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?"

_SUBNETWORK = Struct(
    (
        Sub("name", "name", Links("subnetworks", single=True)),
        Sub("source_ip_ranges_to_nat", "sourceIpRangesToNat", Names(), [_ALL]),
        Sub("secondary_ip_range_names", "secondaryIpRangeNames", Names(), []),
    )
)
_ACTION = Struct(
    (
        Sub("source_nat_active_ips", "sourceNatActiveIps", Links("addresses"), []),
        Sub("source_nat_drain_ips", "sourceNatDrainIps", Links("addresses"), []),
        Sub("source_nat_active_ranges", "sourceNatActiveRanges", Links("subnetworks"), []),
        Sub("source_nat_drain_ranges", "sourceNatDrainRanges", Links("subnetworks"), []),
    )
)
_RULE = Struct(
    (
        Sub("rule_number", "ruleNumber", Scalar(int)),
        Sub("description", "description", Scalar(str), ""),
        Sub("match", "match", Scalar(str), ""),
        Sub("action", "action", _ACTION, _ACTION.read({})),
    )
)
_LOG = Struct(
    (
        Sub("enable", "enable", Scalar(bool), False),
        Sub("filter", "filter", Scalar(str), "ALL"),
    )
)
NAT = Struct(
    (
        Sub("type", "type", Scalar(str), "PUBLIC"),
        Sub("endpoint_types", "endpointTypes", Names(), ["ENDPOINT_TYPE_VM"]),
        Sub("nat_ip_allocate_option", "natIpAllocateOption", Scalar(str)),
        Sub("nat_ips", "natIps", Links("addresses"), []),
        Sub("drain_nat_ips", "drainNatIps", Links("addresses"), []),
        Sub("auto_network_tier", "autoNetworkTier", Scalar(str)),
        Sub("source_subnetwork_ip_ranges_to_nat", "sourceSubnetworkIpRangesToNat", Scalar(str)),
        Sub("subnetworks", "subnetworks", Table(_SUBNETWORK, _SUBNETWORK.subs[0]), []),
        Sub("min_ports_per_vm", "minPortsPerVm", Scalar(int)),
        Sub("max_ports_per_vm", "maxPortsPerVm", Scalar(int)),
        Sub("enable_dynamic_port_allocation", "enableDynamicPortAllocation", Scalar(bool), False),
        Sub("enable_endpoint_independent_mapping", "enableEndpointIndependentMapping", Scalar(bool), False),
        Sub("udp_idle_timeout_sec", "udpIdleTimeoutSec", Scalar(int), 30),
        Sub("icmp_idle_timeout_sec", "icmpIdleTimeoutSec", Scalar(int), 30),
        Sub("tcp_established_idle_timeout_sec", "tcpEstablishedIdleTimeoutSec", Scalar(int), 1200),
        Sub("tcp_transitory_idle_timeout_sec", "tcpTransitoryIdleTimeoutSec", Scalar(int), 30),
        # 30 or 120, as the gateway is new or old: the server says it beside.
        Sub("tcp_time_wait_timeout_sec", "tcpTimeWaitTimeoutSec", Scalar(int)),
        Sub("log_config", "logConfig", _LOG, _LOG.read({})),
        Sub("rules", "rules", Table(_RULE, _RULE.subs[0]), []),
    )
)
"""Its fields, in the order in which they are shown."""

_FOREVER = ("type", "endpoint_types", "nat_ip_allocate_option", "nat_ips", "subnetworks")
RESETTABLE = tuple(
    sub.option for sub in NAT.subs if sub.option not in (*_FOREVER, "source_subnetwork_ip_ranges_to_nat")
)
"""What has a default to go back to."""

UNKNOWN_DEFAULTS = ("auto_network_tier", "tcp_time_wait_timeout_sec")
"""Whose default the server alone knows: the project's, and one that depends on the gateway's age."""

TIMEOUTS = tuple(sub.option for sub in NAT.subs if sub.option.endswith("_timeout_sec"))

_LIST = {"type": "list", "elements": "str"}
FIELDS_SPEC: dict[str, Any] = {
    "type": {"type": "str", "choices": ["PUBLIC", "PRIVATE"]},
    "endpoint_types": {
        **_LIST,
        "choices": ["ENDPOINT_TYPE_VM", "ENDPOINT_TYPE_SWG", "ENDPOINT_TYPE_MANAGED_PROXY_LB"],
    },
    "nat_ip_allocate_option": {"type": "str", "choices": ["AUTO_ONLY", "MANUAL_ONLY"]},
    "nat_ips": _LIST,
    "drain_nat_ips": _LIST,
    "auto_network_tier": {"type": "str", "choices": ["PREMIUM", "STANDARD"]},
    "source_subnetwork_ip_ranges_to_nat": {
        "type": "str",
        "choices": ["ALL_SUBNETWORKS_ALL_IP_RANGES", "ALL_SUBNETWORKS_ALL_PRIMARY_IP_RANGES", _LISTED],
    },
    "subnetworks": {
        "type": "list",
        "elements": "dict",
        "options": {
            "name": {"type": "str", "required": True},
            "source_ip_ranges_to_nat": {**_LIST, "choices": [_ALL, _PRIMARY, _SECONDARY]},
            "secondary_ip_range_names": _LIST,
        },
    },
    "min_ports_per_vm": {"type": "int"},
    "max_ports_per_vm": {"type": "int"},
    "enable_dynamic_port_allocation": {"type": "bool"},
    "enable_endpoint_independent_mapping": {"type": "bool"},
    **{name: {"type": "int"} for name in TIMEOUTS},
    "log_config": {
        "type": "dict",
        "options": {
            "enable": {"type": "bool"},
            "filter": {"type": "str", "choices": ["ALL", "ERRORS_ONLY", "TRANSLATIONS_ONLY"]},
        },
    },
    "rules": {
        "type": "list",
        "elements": "dict",
        "options": {
            "rule_number": {"type": "int", "required": True},
            "description": {"type": "str"},
            "match": {"type": "str", "required": True},
            "action": {
                "type": "dict",
                "required": True,
                "options": {sub.option: _LIST for sub in _ACTION.subs},
            },
        },
    },
}


def effective(item: Mapping[str, Any]) -> dict[str, Any]:
    """What is in force of a NAT as the API gives it, by the names of the options, defaults resolved. Raises MalformedError.

    ``tcp_time_wait_timeout_sec`` is None where the server says neither it nor what is in force.
    """
    found = NAT.read(item)
    dynamic = found["enable_dynamic_port_allocation"]
    if found["min_ports_per_vm"] is None:
        found["min_ports_per_vm"] = DYNAMIC_MINIMUM[0] if dynamic else STATIC_DEFAULT
    if not dynamic:
        # It has no effect.
        found["max_ports_per_vm"] = None
    elif found["max_ports_per_vm"] is None:
        found["max_ports_per_vm"] = DYNAMIC_MAXIMUM[1]
    in_force = item.get(OUTPUT_ONLY)
    if found["tcp_time_wait_timeout_sec"] is None and in_force is not None:
        try:
            found["tcp_time_wait_timeout_sec"] = Scalar(int).read(in_force)
        except MalformedError:
            raise MalformedError(OUTPUT_ONLY) from None
    # The order and the doubles of an empty list are no difference.
    found["endpoint_types"] = found["endpoint_types"] or ["ENDPOINT_TYPE_VM"]
    return found


def defaulted(item: Mapping[str, Any]) -> list[str]:
    """The options that the API left out, so that a default is in force."""
    return sorted(sub.option for sub in NAT.subs if item.get(sub.key) is None)


def has_alias_ranges(values: Mapping[str, Any]) -> bool:
    """Whether alias (secondary) ranges are translated: static allocation gives at least 1,024 ports to each VM then."""
    if values["source_subnetwork_ip_ranges_to_nat"] == _LISTED:
        return any({_ALL, _SECONDARY} & set(each["source_ip_ranges_to_nat"]) for each in values["subnetworks"])
    return bool(values["source_subnetwork_ip_ranges_to_nat"] == "ALL_SUBNETWORKS_ALL_IP_RANGES")


def given(params: Mapping[str, Any], base: str) -> dict[str, Any]:
    """The fields that the options set, comparable with ``effective``; ``base`` is the region's path.

    ``log_config`` has only what was said. Lists of addresses to drain in ``rules`` that were not said are None.
    """
    found = {
        sub.option: sub.form.option(params[sub.option], base) for sub in NAT.subs if params[sub.option] is not None
    }
    if "log_config" in found:
        found["log_config"] = {key: value for key, value in params["log_config"].items() if value is not None}
    said = {each["rule_number"]: each["action"] for each in params["rules"] or ()}
    for rule in found.get("rules", ()):
        for name in ("source_nat_drain_ips", "source_nat_drain_ranges"):
            if said[rule["rule_number"]][name] is None:
                rule["action"][name] = None
    return found


def check(values: Mapping[str, Any], whole: bool = False) -> None:
    """Whether values go together: of the options that were given, or with ``whole`` of all that would be in force. Raises OptionError."""
    _check_ports(values)
    for name in TIMEOUTS:
        if values.get(name) is not None and not 1 <= values[name] <= _MOST_SECONDS:
            raise OptionError(name, values[name], f"seconds, from 1 to {_MOST_SECONDS}")
    if values.get("enable_endpoint_independent_mapping"):
        for name in ("enable_dynamic_port_allocation", "rules"):
            if values.get(name):
                raise OptionError(name, "set", "none with enable_endpoint_independent_mapping, which excludes it")
    _check_addresses(values, whole)
    _check_subnetworks(values, whole)
    _check_rules(values)
    if not whole:
        # What the server says of itself, it may say.
        _check_said(values)


def _check_ports(values: Mapping[str, Any]) -> None:
    dynamic, least, most = (
        values.get(name) for name in ("enable_dynamic_port_allocation", "min_ports_per_vm", "max_ports_per_vm")
    )
    if least is not None and dynamic and not _is_power(least, DYNAMIC_MINIMUM):
        expected = f"a power of two from {_between(DYNAMIC_MINIMUM)} with dynamic port allocation"
        raise OptionError("min_ports_per_vm", least, expected)
    if least is not None and not STATIC[0] <= least <= STATIC[1]:
        expected = f"from {_between(STATIC)}, or with dynamic port allocation to {DYNAMIC_MINIMUM[1]}"
        raise OptionError("min_ports_per_vm", least, expected)
    if most is None:
        return
    if dynamic is False:
        raise OptionError("max_ports_per_vm", most, "none without enable_dynamic_port_allocation")
    if not _is_power(most, DYNAMIC_MAXIMUM):
        raise OptionError("max_ports_per_vm", most, f"a power of two from {_between(DYNAMIC_MAXIMUM)}")
    if least is not None and most <= least:
        raise OptionError("max_ports_per_vm", most, f"more than min_ports_per_vm ({least})")


def _is_power(number: int, bounds: tuple[int, int]) -> bool:
    return bounds[0] <= number <= bounds[1] and next_power(number) == number


def _between(bounds: tuple[int, int]) -> str:
    return f"{bounds[0]} to {bounds[1]}"


def _check_addresses(values: Mapping[str, Any], whole: bool) -> None:
    kind, allocation = values.get("type"), values.get("nat_ip_allocate_option")
    active, draining = values.get("nat_ips") or [], values.get("drain_nat_ips") or []
    if kind == "PRIVATE":
        # What the server says of itself, it may say.
        for name in () if whole else ("nat_ip_allocate_option", "nat_ips", "drain_nat_ips", "auto_network_tier"):
            if values.get(name):
                raise OptionError(name, values[name], "none with type PRIVATE, which has no addresses of the internet")
    elif whole and allocation is None:
        raise OptionError("nat_ip_allocate_option", None, "AUTO_ONLY or MANUAL_ONLY for a NAT that is new")
    if allocation == "AUTO_ONLY" and (active or draining):
        name = "nat_ips" if active else "drain_nat_ips"
        raise OptionError(name, active or draining, "none with nat_ip_allocate_option AUTO_ONLY")
    if whole and allocation == "MANUAL_ONLY" and not active:
        raise OptionError("nat_ips", [], "at least one address that stays active, with MANUAL_ONLY")
    both = sorted(set(active) & set(draining))
    if both:
        raise OptionError("drain_nat_ips", both, "addresses that are not in nat_ips as well")


def _check_subnetworks(values: Mapping[str, Any], whole: bool) -> None:
    which, listed = values.get("source_subnetwork_ip_ranges_to_nat"), values.get("subnetworks") or []
    if whole and which is None:
        raise OptionError("source_subnetwork_ip_ranges_to_nat", None, "a value, for a NAT that is new")
    if listed and which not in (None, _LISTED):
        raise OptionError("subnetworks", [each["name"] for each in listed], f"none with {which}")
    if whole and which == _LISTED and not listed:
        raise OptionError("subnetworks", [], f"at least one with {_LISTED}")
    _check_unique("subnetworks", "name", listed)
    for each in listed:
        ranges, names = each["source_ip_ranges_to_nat"], each["secondary_ip_range_names"]
        option = f"subnetworks[{each['name']}]"
        if len(ranges) > 1 and set(ranges) != {_PRIMARY, _SECONDARY}:
            expected = f"one value, or {_PRIMARY} with {_SECONDARY}"
            raise OptionError(f"{option}.source_ip_ranges_to_nat", ranges, expected)
        if bool(names) != (_SECONDARY in ranges):
            expected = f"names with {_SECONDARY} in source_ip_ranges_to_nat, and none without"
            raise OptionError(f"{option}.secondary_ip_range_names", names, expected)


def _check_rules(values: Mapping[str, Any]) -> None:
    rules = values.get("rules") or []
    _check_unique("rules", "rule_number", rules)
    for rule in rules:
        number, action = rule["rule_number"], rule["action"]
        if not 0 <= number <= _MOST_RULE:
            raise OptionError("rules[].rule_number", number, f"a number from 0 to {_MOST_RULE}")
        wrong = {"PRIVATE": "ips", "PUBLIC": "ranges"}.get(values.get("type") or "")
        for name, value in action.items():
            if value and wrong and name.endswith(wrong):
                raise OptionError(f"rules[{number}].action.{name}", value, f"none with type {values['type']}")
        for kind in ("ips", "ranges"):
            both = set(action[f"source_nat_active_{kind}"]) & set(action[f"source_nat_drain_{kind}"] or ())
            if both:
                option = f"rules[{number}].action.source_nat_drain_{kind}"
                raise OptionError(option, sorted(both), "what is not active as well")


def _check_said(values: Mapping[str, Any]) -> None:
    for rule in values.get("rules") or ():
        option, action = f"rules[{rule['rule_number']}]", rule["action"]
        if not rule["match"]:
            raise OptionError(f"{option}.match", "", "an expression")
        if not (action["source_nat_active_ips"] or action["source_nat_active_ranges"]):
            raise OptionError(f"{option}.action", "nothing active", "addresses, or ranges of a PRIVATE one")
    for option, collection, paths in _links(values):
        for path in paths:
            if not re.fullmatch(rf"projects/[^/]+/regions/[^/]+/{collection}/{_NAME}", path):
                expected = (
                    f"the name of one of the {collection} in this region, or its link: no address or range itself"
                )
                raise OptionError(option, path, expected)


def _links(values: Mapping[str, Any]) -> Iterator[tuple[str, str, Sequence[str]]]:
    """(option, collection, paths) of all that names addresses or subnetworks."""
    for option in ("nat_ips", "drain_nat_ips"):
        yield option, "addresses", values.get(option) or ()
    yield "subnetworks[].name", "subnetworks", [each["name"] for each in values.get("subnetworks") or ()]
    for rule in values.get("rules") or ():
        for sub in _ACTION.subs:
            option = f"rules[{rule['rule_number']}].action.{sub.option}"
            yield option, "addresses" if option.endswith("ips") else "subnetworks", rule["action"][sub.option] or ()


def _check_unique(option: str, name: str, items: Sequence[Mapping[str, Any]]) -> None:
    found = [each[name] for each in items]
    twice = sorted({each for each in found if found.count(each) > 1})
    if twice:
        raise OptionError(option, twice, f"each {name} once")
