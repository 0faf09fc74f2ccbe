# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What compute makes of the NATs of a router: merge patch, what it refuses, and what it says of them.

Source: compute/v1 routers, and https://cloud.google.com/nat/docs/ports-and-addresses for ranges and exclusions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["HOST", "merged", "refusals", "shown"]

Object = dict[str, Any]

_DEFAULTS: Mapping[str, Any] = {
    "type": "PUBLIC",
    "endpointTypes": ["ENDPOINT_TYPE_VM"],
    "minPortsPerVm": 64,
    "enableDynamicPortAllocation": False,
    "enableEndpointIndependentMapping": False,
    "udpIdleTimeoutSec": 30,
    "icmpIdleTimeoutSec": 30,
    "tcpEstablishedIdleTimeoutSec": 1200,
    "tcpTransitoryIdleTimeoutSec": 30,
    "logConfig": {"enable": False, "filter": "ALL"},
}
# What gcloud shows of a NAT that was made without them.
_SAID = {
    "autoNetworkTier": "PREMIUM",
    "enableDynamicPortAllocation": False,
    "enableEndpointIndependentMapping": False,
    "endpointTypes": ["ENDPOINT_TYPE_VM"],
    "logConfig": {"enable": False, "filter": "ALL"},
    "type": "PUBLIC",
}
HOST = "https://www.googleapis.com/compute/v1/"


def merged(target: Any, patch: Any) -> Any:
    """RFC 7386: objects are merged, null removes, and all else, lists too, is replaced whole. Links are kept as paths."""
    if isinstance(patch, str):
        return patch.removeprefix(HOST)
    if isinstance(patch, list):
        return [merged(None, each) for each in patch]
    if not isinstance(patch, Mapping):
        return patch
    found = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = merged(found.get(key), value)
    return found


def shown(nat: Mapping[str, Any], time_wait: int, forgetful: bool, talkative: bool = False) -> Object:
    """A NAT as GET gives it: no empty lists, links under another host, and what is in force for TIME_WAIT.

    ``forgetful``: what was set to its default is not given back, either. ``talkative``: some defaults are, though nobody set them.
    """
    found = {key: _absolute(value) for key, value in nat.items() if value not in ([], {})}
    if forgetful:
        dynamic = bool(nat.get("enableDynamicPortAllocation"))
        defaults = {**_DEFAULTS, "minPortsPerVm": 32, "maxPortsPerVm": 65536} if dynamic else _DEFAULTS
        found = {key: value for key, value in found.items() if value != defaults.get(key)}
    if talkative:
        found = {**_SAID, **found}
    return {**found, "effectiveTcpTimeWaitTimeoutSec": nat.get("tcpTimeWaitTimeoutSec", time_wait)}


def _absolute(value: Any) -> Any:
    if isinstance(value, list):
        return [_absolute(each) for each in value]
    if isinstance(value, Mapping):
        return {key: _absolute(each) for key, each in value.items()}
    return HOST + value if isinstance(value, str) and value.startswith("projects/") else value


def refusals(nat: Mapping[str, Any], before: Mapping[str, Any] | None) -> Iterator[str]:
    """What compute says to a NAT that it does not take (400 invalid)."""
    yield from _of_ports(nat)
    dynamic, independent = (
        bool(nat.get(f"enable{name}")) for name in ("DynamicPortAllocation", "EndpointIndependentMapping")
    )
    if dynamic and independent:
        yield "enableEndpointIndependentMapping cannot be set with enableDynamicPortAllocation"
    if independent and nat.get("rules"):
        yield "rules cannot be set with enableEndpointIndependentMapping"
    if "effectiveTcpTimeWaitTimeoutSec" in nat:
        yield "effectiveTcpTimeWaitTimeoutSec is output only"
    yield from _of_addresses(nat, before)
    listed = nat.get("sourceSubnetworkIpRangesToNat") == "LIST_OF_SUBNETWORKS"
    if "sourceSubnetworkIpRangesToNat" not in nat or listed != bool(nat.get("subnetworks")):
        yield "subnetworks and sourceSubnetworkIpRangesToNat do not go together"
    for each in nat.get("subnetworks", ()):
        if ("LIST_OF_SECONDARY_IP_RANGES" in each["sourceIpRangesToNat"]) != bool(each.get("secondaryIpRangeNames")):
            yield "secondaryIpRangeNames and sourceIpRangesToNat do not go together"
    numbers = [rule["ruleNumber"] for rule in nat.get("rules", ())]
    if len(numbers) != len(set(numbers)) or any(not 0 <= number <= 65000 for number in numbers):
        yield "ruleNumber is not unique, or not from 0 to 65000"


def _of_ports(nat: Mapping[str, Any]) -> Iterator[str]:
    least, most = nat.get("minPortsPerVm"), nat.get("maxPortsPerVm")
    if not nat.get("enableDynamicPortAllocation"):
        if least is not None and not 2 <= least <= 57344:
            yield "minPortsPerVm is not from 2 to 57344"
        return
    least = 32 if least is None else least
    most = 65536 if most is None else most
    if least.bit_count() != 1 or not 32 <= least <= 32768:
        yield "minPortsPerVm is no power of two from 32 to 32768"
    if most.bit_count() != 1 or not 64 <= most <= 65536 or most <= least:
        yield "maxPortsPerVm is no power of two from 64 to 65536 above minPortsPerVm"


def _of_addresses(nat: Mapping[str, Any], before: Mapping[str, Any] | None) -> Iterator[str]:
    active, draining = set(nat.get("natIps", ())), set(nat.get("drainNatIps", ()))
    if nat.get("type") == "PRIVATE":
        if active or draining or "natIpAllocateOption" in nat:
            yield "a private NAT has no addresses"
        return
    if nat.get("natIpAllocateOption") == "MANUAL_ONLY":
        if not active:
            yield "natIps is empty with MANUAL_ONLY"
    elif nat.get("natIpAllocateOption") != "AUTO_ONLY" or active or draining:
        yield "natIps is not empty with AUTO_ONLY, or natIpAllocateOption is missing"
    had = {*(before or {}).get("natIps", ()), *(before or {}).get("drainNatIps", ())}
    if draining - had or draining & active:
        yield "drainNatIps has an address that was not assigned to the NAT, or is active"
