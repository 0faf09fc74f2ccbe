# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Cloud NAT gateway has to carry for its busiest VM, of what nodes or Cloud Monitoring told. Pure.

Nodes are not trusted: one that says nonsense is one that was not measured, by name.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulwark.node.plugins.plugin_utils.plain import is_whole
from ansible_collections.bulwark.node.plugins.plugin_utils.report_table import escape

__all__ = ["from_nodes", "from_usage"]

_MAX_TEXT = 300
_MOST = 1 << 31
_PROTOCOLS = ("tcp", "udp")


class _Unusable(ValueError):
    """What was told is no measurement; the message says why."""


@dataclass(frozen=True)
class _Peak:
    """One VM's load on its busiest destination, or over all of them where the destination is not known."""

    name: str
    protocol: str | None
    destination: str | None
    concurrent: int
    new_per_second: float
    ports: int


def from_nodes(results: Any, time_wait_s: int) -> dict[str, Any]:
    """The load by what ``nat_flows_info`` returned, per name of a host, with ``time_wait_s`` as it was told to it.

    Returns what docs/schemas.md has as ``load`` of a gateway, without the last three. Where a host could not tell, it is in ``unmeasured``.
    """
    peaks, unmeasured, less = [], [], []
    for name, result in _named(results):
        try:
            peaks.append(_of_node(name, result, time_wait_s))
        except _Unusable as exc:
            unmeasured.append({"name": name, "reason": _text(exc)})
            continue
        if result.get("reason"):
            less.append({"name": name, "reason": _text(result["reason"])})
    return _load("nodes", peaks, unmeasured, less, None)


def _named(results: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(results, Mapping):
        raise ValueError(f"was given {_text(results)}; expected a dictionary")
    for name in sorted(map(str, results)):
        yield _text(name), results[name]


def _of_node(name: str, result: Any, time_wait_s: int) -> _Peak:
    if not isinstance(result, Mapping) or not result:
        raise _Unusable("there is no result: the host left the play before")
    if result.get("source") != "netfilter":
        told = result.get("reason") or result.get("msg") or "the result is none of nat_flows_info"
        raise _Unusable(_text(told))
    if result.get("left_out"):
        raise _Unusable("it had too many connections to remember, so that the counts may be too low")
    rows = result.get("destinations")
    if not isinstance(rows, list):
        raise _Unusable("the result has no list of destinations")
    if not rows:
        return _Peak(name, None, None, 0, 0.0, 0)
    return max((_of_destination(name, row, time_wait_s) for row in rows), key=lambda peak: peak.ports)


def _of_destination(name: str, row: Any, time_wait_s: int) -> _Peak:
    if not isinstance(row, Mapping) or row.get("protocol") not in _PROTOCOLS:
        raise _Unusable("a destination has no protocol, tcp or udp")
    concurrent, ports = _number(row, "concurrent"), _number(row, "ports")
    waiting = ports - concurrent
    new = 0.0
    if row["protocol"] == "tcp":
        if row.get("new_per_second") is None:
            raise _Unusable("it looked once, which tells no new connections: give nat_flows_info a window")
        new = float(_number(row, "new_per_second", (int, float)))
        # What was closed before it looked may have been more.
        if waiting > math.ceil(new * time_wait_s):
            new = waiting / time_wait_s
    return _Peak(name, str(row["protocol"]), _text(f"{row.get('address')}:{row.get('port')}"), concurrent, new, ports)


def from_usage(nat: Any, time_wait_s: int) -> dict[str, Any]:
    """The same by one of ``nats`` of gcp_compute_router_nat_info, as Cloud Monitoring saw its VMs."""
    if not isinstance(nat, Mapping):
        raise ValueError(f"was given {_text(nat)}; expected one of nats of gcp_compute_router_nat_info")
    usage, vms = nat.get("usage"), nat.get("vms")
    if not isinstance(usage, Mapping):
        reason = _text(nat.get("usage_reason") or "the result has no usage")
        return _load("monitoring", [], [{"name": _text(nat.get("name")), "reason": reason}], [], None)
    peaks, unmeasured = [], []
    for vm in vms if isinstance(vms, list) else []:
        try:
            peaks += _of_vm(vm, time_wait_s)
        except _Unusable as exc:
            unmeasured.append({"name": _text(vm.get("name") if isinstance(vm, Mapping) else vm), "reason": _text(exc)})
    dropped = usage.get("dropped_packets")
    lost = dropped.get("OUT_OF_RESOURCES") if isinstance(dropped, Mapping) else None
    lost = lost if is_whole(lost) and lost >= 0 else None
    reason = f"{lost} packets were dropped for want of ports: there would have been more connections"
    less = [{"name": _text(nat.get("name")), "reason": reason}] if lost else []
    if not peaks and not unmeasured:
        unmeasured.append({"name": _text(nat.get("name")), "reason": "Cloud Monitoring has no figure of any VM"})
    return _load("monitoring", peaks, unmeasured, less, lost)


def _of_vm(vm: Any, time_wait_s: int) -> list[_Peak]:
    """The load of one VM; none of one that is gone, and has no ports any more."""
    if not isinstance(vm, Mapping):
        raise _Unusable("is no VM")
    usage = vm.get("usage")
    if not isinstance(usage, Mapping):
        if vm.get("mapped") is False:
            return []
        raise _Unusable(str(vm.get("usage_reason") or "it has no figures"))
    held, new = usage.get("port_usage"), usage.get("new_per_second")
    if not isinstance(held, Mapping) or not isinstance(new, Mapping) or not held:
        raise _Unusable("Cloud Monitoring has no figure of its ports")
    found = []
    for protocol in _PROTOCOLS:
        key = protocol.upper()
        if key not in held:
            continue
        if protocol == "tcp" and key not in new:
            raise _Unusable("Cloud Monitoring has no figure of its new connections")
        rate = float(_number(new, key, (int, float))) if protocol == "tcp" else 0.0
        open_ones = _number(held, key)
        ports = open_ones + math.ceil(rate * time_wait_s)
        found.append(_Peak(_text(vm.get("name")), protocol, None, open_ones, rate, ports))
    return [max(found, key=lambda peak: peak.ports)] if found else []


def _load(
    source: str,
    peaks: list[_Peak],
    unmeasured: list[dict[str, str]],
    less: list[dict[str, str]],
    dropped: int | None,
) -> dict[str, Any]:
    busiest = max(peaks, key=lambda peak: peak.ports, default=None)
    return {
        "source": source,
        "measured": len(peaks),
        "unmeasured": unmeasured,
        "less": less,
        "concurrent": busiest.concurrent if busiest else None,
        "new_per_second": round(busiest.new_per_second, 3) if busiest else None,
        "typical": statistics.median_high([peak.ports for peak in peaks]) if peaks else None,
        "busiest": {
            "name": busiest.name,
            "protocol": busiest.protocol,
            "destination": busiest.destination,
            "ports": busiest.ports,
        }
        if busiest
        else None,
        "dropped_packets": dropped,
    }


def _number(row: Mapping[str, Any], key: str, kinds: tuple[type, ...] = (int,)) -> Any:
    value: Any = row.get(key)
    if type(value) not in kinds or not 0 <= value < _MOST:
        raise _Unusable(f"{key} is {value!r}; expected a number")
    return value


def _text(value: Any) -> str:
    return escape(str(value)[:_MAX_TEXT])
