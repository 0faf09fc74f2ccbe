# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cloud NAT gateways as gcp_compute_router_nat_info tells them, and what nat_load makes of their VMs."""

from __future__ import annotations

from typing import Any

__all__ = ["LOAD", "PLACE", "info"]

PLACE = "projects/a-project/regions/europe-west3/addresses"
LOAD = {
    "source": "nodes",
    "measured": 3,
    "unmeasured": [],
    "less": [],
    "concurrent": 700,
    "new_per_second": 20.0,
    "typical": 90,
    "busiest": {"name": "n1", "protocol": "tcp", "destination": "203.0.113.10:443", "ports": 3100},
    "dropped_packets": None,
}


def info(ips: int | None = 1, owner: Any = None, endpoints: int | None = 12, **effective: Any) -> dict[str, Any]:
    """A gateway with ``ips`` addresses of its own; None: it adds them by itself, and has two."""
    names = [f"{PLACE}/nat-{number + 1}" for number in range(ips or 0)]
    fields = {
        "type": "PUBLIC",
        "nat_ip_allocate_option": "AUTO_ONLY" if ips is None else "MANUAL_ONLY",
        "nat_ips": names,
        "min_ports_per_vm": 64,
        "max_ports_per_vm": None,
        "enable_dynamic_port_allocation": False,
        "enable_endpoint_independent_mapping": False,
        "tcp_time_wait_timeout_sec": 120,
    }
    addresses = [
        {"address": f"203.0.113.{number + 1}", "draining": False} for number in range(2 if ips is None else ips)
    ]
    nat = {
        "name": "a-nat",
        "effective": {**fields, **effective},
        "alias_ranges": True,
        "addresses": addresses,
        "status": None if endpoints is None else {"vm_endpoints": endpoints},
    }
    router = {"project": "a-project", "region": "europe-west3", "name": "a-router", "owner": owner}
    return {"changed": False, "router": router, "nats": [nat]}
