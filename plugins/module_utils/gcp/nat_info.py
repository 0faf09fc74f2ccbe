# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module gcp_compute_router_nat_info: what is in force of a router's NATs, and how far their ports reach.

Only the router itself is a must; what else cannot be asked is None, with the reason beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError, OptionError
from ansible_collections.bulwark.node.plugins.module_utils.gcp import nat_fields, nat_usage
from ansible_collections.bulwark.node.plugins.module_utils.gcp.client import Client, Place, check_name, place
from ansible_collections.bulwark.node.plugins.module_utils.gcp.errors import Asked, GcpError, printable, shown
from ansible_collections.bulwark.node.plugins.module_utils.gcp.nat_forms import link
from ansible_collections.bulwark.node.plugins.module_utils.gcp.nat_usage import VmUsage
from ansible_collections.bulwark.node.plugins.module_utils.gcp.routers import Router, observe, values_of

__all__ = ["NAT_INFO_SPEC", "look"]

NAT_INFO_SPEC: dict[str, Any] = {
    "region": {"type": "str", "required": True},
    "router": {"type": "str", "required": True},
    "name": {"type": "str"},
    "mappings": {"type": "bool", "default": True},
    "usage_window": {"type": "int", "default": 3600},
    "metrics_project": {"type": "str"},
}

# Six weeks, for which Cloud Monitoring keeps these metrics.
_LONGEST_WINDOW = 3628800
_SHORTEST_WINDOW = 60
_NOT_ASKED = "not asked for"

Item = Mapping[str, Any]


def look(client: Client, params: Mapping[str, Any]) -> dict[str, Any]:
    """The module's result. Raises BulwarkError."""
    where, name, window = place(params), params["name"], params["usage_window"]
    if name is not None:
        check_name("name", name)
    if params["metrics_project"] is not None:
        check_name("metrics_project", params["metrics_project"], "project")
    if window and not _SHORTEST_WINDOW <= window <= _LONGEST_WINDOW:
        expected = f"0, or seconds from {_SHORTEST_WINDOW} to {_LONGEST_WINDOW} (six weeks)"
        raise OptionError("usage_window", window, expected)
    with client.within():
        router = observe(client, where)
        if name is not None and name not in router.nats:
            raise BulwarkError(f"{where.path}: has no NAT {name}; it has {printable(', '.join(router.nats) or 'none')}")
        chosen = [item for each, item in router.nats.items() if name in (None, each)]
        asked = _Asked(client, where, router, params)
        return {"changed": False, "router": _described(router, where), "nats": [asked.nat(item) for item in chosen]}


def _described(router: Router, where: Place) -> dict[str, Any]:
    raw = router.raw
    network = raw.get("network")
    return {
        "project": where.project,
        "region": where.region,
        "name": printable(raw.get("name") or where.router, 63),
        "id": printable(raw["id"], 20) if isinstance(raw.get("id"), str) else None,
        "network": printable(link(network)) if isinstance(network, str) else None,
        "description": printable(raw.get("description") or "", 2048),
        "owner": router.owner,
    }


class _Asked:
    """What was asked for once, for all NATs of the router: each part, or why it is not known."""

    def __init__(self, client: Client, where: Place, router: Router, params: Mapping[str, Any]) -> None:
        self._client, self._where, self._mappings = client, where, params["mappings"]
        self._window: int = params["usage_window"]
        self._statuses, self._statuses_reason = self._try(self._status_of_all)
        self._addresses, self._addresses_reason = self._try(self._addresses_of_all)
        identifier = router.raw.get("id")
        self._usages: list[VmUsage] | None = None
        self._usages_reason: str | None = _NOT_ASKED
        if self._window and not (isinstance(identifier, str) and identifier.isdecimal()):
            self._usages_reason = "the API does not say the id of the router"
        elif self._window:
            project = params["metrics_project"] or where.project
            self._usages, self._usages_reason = self._try(
                lambda: nat_usage.gather(client, project, str(identifier), self._window)
            )

    def _try(self, ask: Any) -> tuple[Any, str | None]:
        try:
            return ask(), None
        except GcpError as error:
            return None, str(error)

    def nat(self, item: Item) -> dict[str, Any]:
        """One entry of ``nats``."""
        name, values = item["name"], values_of(item, self._where)
        status = None if self._statuses is None else self._statuses.get(name)
        addresses = None if self._addresses is None else self._addresses.get(name, [])
        usages = None if self._usages is None else [usage for usage in self._usages if usage.nat == name]
        vms, vms_reason = self._try(lambda: self._mapped(name)) if self._mappings else (None, _NOT_ASKED)
        return {
            "name": printable(name, 63),
            "effective": shown(values),
            "defaulted": nat_fields.defaulted(item),
            "alias_ranges": nat_fields.has_alias_ranges(values),
            "status": status and _status(status),
            "status_reason": self._statuses_reason or (None if status else "the status of the router has no such NAT"),
            "addresses": addresses,
            "addresses_reason": self._addresses_reason,
            "vms": vms if vms is None else _joined(vms, usages, self._usages_reason),
            "vms_reason": vms_reason,
            "usage": None if usages is None else nat_usage.total(usages, self._window),
            "usage_reason": self._usages_reason,
        }

    def _status_of_all(self) -> dict[str, Item]:
        """By NAT what getRouterStatus says of it."""
        call = "compute.routers.getRouterStatus"
        found = self._client.get(call, f"{self._where.path}/getRouterStatus").get("result", {})
        return {
            each["name"]: each for each in self._items(call, found, "natStatus") if isinstance(each.get("name"), str)
        }

    def _addresses_of_all(self) -> dict[str, list[dict[str, Any]]]:
        """By NAT its addresses, by getNatIpInfo, and what draining ones and resources getRouterStatus says besides."""
        call = "compute.routers.getNatIpInfo"
        found = self._client.get(call, f"{self._where.path}/getNatIpInfo")
        return {
            each["natName"]: _addresses(self._items(call, each, "natIpInfoMappings"), self._statuses, each["natName"])
            for each in self._items(call, found, "result")
            if isinstance(each.get("natName"), str)
        }

    def _mapped(self, name: str) -> list[dict[str, Any]]:
        """The VMs of a NAT with their ports, by getNatMappingInfo, all pages."""
        call, path = "compute.routers.getNatMappingInfo", f"{self._where.path}/getNatMappingInfo"
        query = {"natName": name, "maxResults": "500"}
        return [
            _vm(
                each,
                [
                    _range(one, self._items(call, one, "ruleMappings"))
                    for one in self._items(call, each, "interfaceNatMappings")
                ],
            )
            for each in self._client.pages(call, path, "result", query)
        ]

    def _items(self, call: str, found: Any, key: str) -> list[Item]:
        """A list of objects in an answer; [] where it says none. Raises GcpError."""
        items = found.get(key, []) if isinstance(found, Mapping) else None
        if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
            raise GcpError(Asked(call, self._where.path), f"answered {key} in no form of the API")
        return items


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _texts(value: Any) -> list[str]:
    return [printable(each) for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _status(status: Item) -> dict[str, Any]:
    return {
        "min_extra_nat_ips_needed": _number(status.get("minExtraNatIpsNeeded", 0)),
        "vm_endpoints": _number(status.get("numVmEndpointsWithNatMappings", 0)),
    }


def _addresses(mappings: Sequence[Item], statuses: Mapping[str, Item] | None, nat: str) -> list[dict[str, Any]]:
    status = (statuses or {}).get(nat, {})
    draining = {*_texts(status.get("drainAutoAllocatedNatIps")), *_texts(status.get("drainUserAllocatedNatIps"))}
    # The lists of addresses and of their resources are in the same order, where all of them are there.
    ips, resources = _texts(status.get("userAllocatedNatIps")), _texts(status.get("userAllocatedNatIpResources"))
    by_ip = dict(zip(ips, map(link, resources))) if len(ips) == len(resources) else {}
    found = []
    for each in mappings:
        address, usage, mode = each.get("natIp"), each.get("usage"), each.get("mode")
        found.append(
            {
                "address": printable(address, 63),
                "mode": mode if mode in ("AUTO", "MANUAL") else None,
                "in_use": {"IN_USE": True, "UNUSED": False}.get(usage) if isinstance(usage, str) else None,
                "draining": None if statuses is None else address in draining,
                "resource": by_ip.get(address) if isinstance(address, str) else None,
            }
        )
    return sorted(found, key=lambda each: str(each["address"]))


def _range(one: Item, rules: Sequence[Item]) -> dict[str, Any]:
    ports = _texts(one.get("natIpPortRanges"))
    return {
        "source_virtual_ip": printable(one.get("sourceVirtualIp") or "", 63),
        "source_alias_ip_range": printable(one.get("sourceAliasIpRange") or "", 63),
        "ports": _number(one.get("numTotalNatPorts", 0)) or 0,
        "drain_ports": _number(one.get("numTotalDrainNatPorts", 0)) or 0,
        "nat_ips": sorted({each.rpartition(":")[0] for each in ports}),
        "rules": [
            {
                "rule_number": _number(each.get("ruleNumber", 0)),
                "ports": _number(each.get("numTotalNatPorts", 0)) or 0,
                "drain_ports": _number(each.get("numTotalDrainNatPorts", 0)) or 0,
            }
            for each in rules
        ],
    }


def _vm(item: Item, ranges: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "name": printable(item.get("instanceName") or "", 63),
        "mapped": True,
        "ports": sum(each["ports"] for each in ranges),
        "drain_ports": sum(each["drain_ports"] for each in ranges),
        "ranges": list(ranges),
    }


def _joined(
    vms: Sequence[Mapping[str, Any]], usages: Sequence[VmUsage] | None, reason: str | None
) -> list[dict[str, Any]]:
    """VMs with what was measured of them, by name, which is all that both have; and those that are only measured."""
    measured: dict[str | None, list[VmUsage]] = {}
    for usage in usages or ():
        measured.setdefault(usage.name, []).append(usage)
    names = [vm["name"] for vm in vms]
    found = [{**vm, **_usage_of(measured.get(vm["name"], []), names.count(vm["name"]), reason)} for vm in vms]
    found += [
        {
            "name": name or usage.instance_id,
            "mapped": False,
            "ports": 0,
            "drain_ports": 0,
            "ranges": [],
            "usage": usage.facts(),
            "usage_reason": None,
        }
        for name, each in measured.items()
        if name not in names
        for usage in each
    ]
    return sorted(found, key=lambda vm: (str(vm["name"]), not vm["mapped"]))


def _usage_of(measured: Sequence[VmUsage], namesakes: int, reason: str | None) -> dict[str, Any]:
    zones = sorted({usage.zone for usage in measured})
    if len(zones) == 1 and namesakes == 1:
        # A zone has one VM of a name at a time: it was made anew meanwhile.
        return {"usage": nat_usage.successive(measured).facts(), "usage_reason": None}
    if measured:
        reason = f"there are several VMs of this name, or there were: {', '.join(zones)}"
    return {"usage": None, "usage_reason": reason or "Cloud Monitoring has no figure of it in this window"}
