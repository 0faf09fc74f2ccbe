# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be done with one Cloud NAT gateway: its load beside its settings, and which consents that takes. Pure.

A plan only ever gives more: fewer ports may reset connections, and fewer addresses do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.gcp.nat_forms import link
from ansible_collections.bulwark.node.plugins.module_utils.gcp.nat_limits import next_power
from ansible_collections.bulwark.node.plugins.plugin_utils import nat_ports
from ansible_collections.bulwark.node.plugins.plugin_utils.nat_ports import NatError
from ansible_collections.bulwark.node.plugins.plugin_utils.plain import is_whole
from ansible_collections.bulwark.node.plugins.plugin_utils.report_table import escape

__all__ = ["Wishes", "told"]

_LONGEST_TIME_WAIT = 120
_ALLOW_UNMEASURED, _ALLOW_NEW_ADDRESSES = "cloud_nat_allow_unmeasured", "cloud_nat_allow_new_addresses"


@dataclass(frozen=True)
class Wishes:
    """What the user said of the gateway. ``nodes`` and ``dynamic`` are None for as many as there are, and as it is."""

    nodes: int | None = None
    headroom: Any = None
    dynamic: bool | None = None
    new_addresses: Any = ()
    """Names or links, in a list or, as -e NAME=VALUE and surveys have it, in a text with commas."""


@dataclass(frozen=True)
class _Gateway:
    """A NAT as gcp_compute_router_nat_info has it."""

    least: int
    most: int | None
    dynamic: bool
    alias_ranges: bool
    time_wait_s: int
    independent: bool
    """Endpoint-independent mapping."""
    automatic: bool
    addresses: list[str]
    in_use: int | None
    """How many addresses there are now, also of an automatic one; None where that is not known."""
    endpoints: int | None


def told(router: Any, nat: Any, load: Any, wishes: Wishes) -> dict[str, Any]:
    """What docs/schemas.md has as a gateway, of ``router`` and one of ``nats`` of the module, and of what nat_load returned. Raises NatError."""
    gateway, measured = _gateway(nat), _mapping("load", load)
    blocked: list[dict[str, Any]] = []
    nodes = wishes.nodes or max(gateway.endpoints or 0, _whole(measured, "measured") or 0) or 1
    dynamic = gateway.dynamic if wishes.dynamic is None else wishes.dynamic
    carried = {
        **measured,
        "nodes": nodes,
        "nodes_known": wishes.nodes is not None,
        "time_wait_s": gateway.time_wait_s,
    }
    result = {
        "gateway": {
            key: escape(str(value))
            for key, value in (
                ("project", _mapping("router", router).get("project")),
                ("region", router.get("region")),
                ("router", router.get("name")),
                ("name", nat.get("name")),
            )
        },
        "load": carried,
        "plan": None,
        "settings": {},
        "new_addresses": 0,
        "blocked": blocked,
    }
    if unmeasured := _list("unmeasured", measured.get("unmeasured")):
        told_of = [_mapping("unmeasured", each) for each in unmeasured[:5]]
        names = ", ".join(f"{each.get('name')} ({each.get('reason')})" for each in told_of)
        blocked.append(_block("unmeasured", f"{len(unmeasured)} were not measured: {names}", _ALLOW_UNMEASURED))
    if measured.get("concurrent") is None:
        blocked.append(_block("load", "nothing was measured, and so nothing is planned"))
        return result
    given = {
        "nodes": nodes,
        "concurrent": measured["concurrent"],
        "new_per_second": measured.get("new_per_second"),
        "typical": measured.get("typical"),
        "time_wait_s": gateway.time_wait_s,
        "headroom": wishes.headroom,
        "alias_ranges": gateway.alias_ranges,
    }
    made = nat_ports.plan(nat_ports.load_of({**given, "dynamic": dynamic}))
    now = {"min_ports_per_vm": gateway.least, "max_ports_per_vm": gateway.most}
    now["addresses"] = None if gateway.automatic else len(gateway.addresses)
    made["now"] = nat_ports.breaking(nat_ports.load_of({**given, "dynamic": gateway.dynamic}), now)
    settings, ports = _settings(gateway, made, dynamic)
    if measured.get("dropped_packets"):
        # It has failed already, and what it could not carry was not measured.
        made["now"]["verdict"] = "short"
    # What it has already is kept, and takes as many addresses.
    addresses = max(made["addresses"], 0 if dynamic else nat_ports.addresses_for(nodes, next_power(ports)))
    named = _named(wishes.new_addresses, f"projects/{router.get('project')}/regions/{router.get('region')}")
    new = _addresses(gateway, addresses, named, settings, blocked)
    _obstacles(router, gateway, made, dynamic, settings, blocked)
    return {**result, "plan": {**made, "addresses": addresses}, "settings": settings, "new_addresses": new}


def _settings(gateway: _Gateway, made: Mapping[str, Any], dynamic: bool) -> tuple[dict[str, Any], int]:
    """The options of gcp_compute_router_nat that change, and how many ports each VM then has at least."""
    # With the other kind of allocation its numbers mean something else.
    kept = gateway if dynamic == gateway.dynamic else None
    least = max(made["min_ports_per_vm"], kept.least if kept else 0)
    settings: dict[str, Any] = {}
    if kept is None:
        settings["enable_dynamic_port_allocation"] = dynamic
    if least != gateway.least:
        settings["min_ports_per_vm"] = least
    if dynamic:
        most = max(made["max_ports_per_vm"], kept.most or 0 if kept else 0)
        if most != gateway.most:
            settings["max_ports_per_vm"] = most
    return settings, least


def _addresses(
    gateway: _Gateway, wanted: int, named: Sequence[str], settings: dict[str, Any], blocked: list[dict[str, Any]]
) -> int:
    """How many addresses the gateway gets that it does not have, put into ``settings`` where they are named."""
    have = gateway.in_use if gateway.automatic else len(gateway.addresses)
    if have is None:
        detail = f"it takes {wanted} addresses, and how many it has is not known: it may add some by itself"
        blocked.append(_block("new_addresses", detail, _ALLOW_NEW_ADDRESSES))
        return wanted
    new = max(0, wanted - have)
    if not new:
        return 0
    detail = f"it has {have} of the {wanted} addresses that it takes: connections will come from {new} that nobody outside knows"
    blocked.append(_block("new_addresses", detail, _ALLOW_NEW_ADDRESSES))
    if not gateway.automatic:
        unused = [path for path in named if path not in map(link, gateway.addresses)]
        if len(unused) < new:
            blocked.append(
                _block(
                    "addresses", f"name {new} reserved addresses in cloud_nat_new_addresses: {len(unused)} are named"
                )
            )
        if unused:
            settings["nat_ips"] = [*gateway.addresses, *unused[:new]]
    return new


def _obstacles(
    router: Mapping[str, Any],
    gateway: _Gateway,
    made: Mapping[str, Any],
    dynamic: bool,
    settings: Mapping[str, Any],
    blocked: list[dict[str, Any]],
) -> None:
    if not made["feasible"]:
        blocked.append(_block("limit", f"{made['need']} ports are needed, which no VM can have"))
    if dynamic and gateway.independent:
        detail = "endpoint-independent mapping is on, which excludes dynamic allocation: turn one of them off"
        blocked.append(_block("endpoint_independent_mapping", detail))
    owner = router.get("owner")
    if isinstance(owner, Mapping) and settings:
        who = f"{escape(str(owner.get('tool')))} ({escape(str(owner.get('evidence')))})"
        blocked.append(_block("owner", f"{who} has the router: give it what cloud_nat_emit prints"))


def _gateway(nat: Any) -> _Gateway:
    effective = _mapping("effective", _mapping("nat", nat).get("effective"))
    if effective.get("type") == "PRIVATE":
        raise NatError(f"nat: {escape(str(nat.get('name')))} is a private one, whose addresses are those of a subnet")
    dynamic = effective.get("enable_dynamic_port_allocation") is True
    least = _whole(effective, "min_ports_per_vm")
    if least is None:
        raise NatError("nat: effective.min_ports_per_vm is missing")
    listed = nat.get("addresses")
    status = nat.get("status")
    return _Gateway(
        least=least,
        most=_whole(effective, "max_ports_per_vm") if dynamic else None,
        dynamic=dynamic,
        alias_ranges=nat.get("alias_ranges") is not False,
        time_wait_s=_whole(effective, "tcp_time_wait_timeout_sec") or _LONGEST_TIME_WAIT,
        independent=effective.get("enable_endpoint_independent_mapping") is True,
        automatic=effective.get("nat_ip_allocate_option") != "MANUAL_ONLY",
        addresses=[str(each) for each in _list("nat_ips", effective.get("nat_ips"))],
        in_use=sum(_mapping("address", each).get("draining") is not True for each in listed)
        if isinstance(listed, list)
        else None,
        endpoints=_whole(status, "vm_endpoints") if isinstance(status, Mapping) else None,
    )


def _mapping(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise NatError(f"{name}: is {escape(repr(value)[:100])}; expected a dictionary")
    return value


def _list(name: str, value: Any) -> list[Any]:
    if value is not None and not isinstance(value, list):
        raise NatError(f"{name}: is {escape(repr(value)[:100])}; expected a list")
    return value or []


def _whole(values: Mapping[str, Any], name: str) -> int | None:
    value = values.get(name)
    if value is not None and (not is_whole(value) or value < 0):
        raise NatError(f"{name}: is {escape(repr(value)[:100])}; expected a whole number")
    return value


def _named(given: Any, region: str) -> list[str]:
    """The paths of addresses, each once. Raises NatError."""
    if isinstance(given, str):
        given = [name for name in given.split(",") if name.strip()]
    names = list(given) if isinstance(given, (list, tuple)) else [given]
    if not all(isinstance(name, str) and name.strip() for name in names):
        raise NatError(f"new_addresses: is {escape(repr(given)[:100])}; expected a list of names of addresses")
    return list(dict.fromkeys(link(name.strip(), region, "addresses") for name in names))


def _block(source: str, detail: str, consent: str | None = None) -> dict[str, Any]:
    return {"source": source, "detail": detail, "consent": consent}
