# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Cloud Monitoring saw of a router's NATs: ports in use, allotted, new connections and drops, by VM.

Source: https://cloud.google.com/nat/docs/monitoring, VM instance metrics; https://cloud.google.com/monitoring/api/ref_v3/rest/v3/projects.timeSeries/list
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Callable

from ansible_collections.bulwark.node.plugins.module_utils.gcp.client import Client
from ansible_collections.bulwark.node.plugins.module_utils.gcp.errors import Asked, GcpError, printable

__all__ = ["VmUsage", "gather", "successive", "total"]

_PREFIX = "compute.googleapis.com/nat/"
_MINUTE = 60
# How old the last figure of what is allotted may be: it is seen after 165 seconds.
_RECENT = 300
_WHO = ("resource.label.instance_id", "resource.label.zone", "metadata.system_labels.name")
_GATEWAY = "metric.label.nat_gateway_name"


@dataclass
class VmUsage:
    """One VM at one NAT. By protocol or reason there is a figure only where one was measured."""

    nat: str
    instance_id: str
    zone: str
    name: str | None
    port_usage: dict[str, int] = field(default_factory=dict)
    allocated_ports: int | None = None
    new_per_second: dict[str, float] = field(default_factory=dict)
    dropped_packets: dict[str, int] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """It as the module returns it."""
        return {
            "zone": self.zone,
            "instance_id": self.instance_id,
            "port_usage": dict(sorted(self.port_usage.items())),
            "allocated_ports": self.allocated_ports,
            "new_per_second": dict(sorted(self.new_per_second.items())),
            "dropped_packets": dict(sorted(self.dropped_packets.items())),
        }


@dataclass(frozen=True)
class _Metric:
    """How one metric is asked for, and where its values go: ``keep(usage, label, values)``, oldest or newest first."""

    name: str
    aligner: str
    reducer: str
    label: str
    keep: Callable[[VmUsage, str, Sequence[float]], None]
    # The period of alignment, and how far back; None is the whole window.
    period: int | None = None
    window: int | None = None


def _keep_usage(usage: VmUsage, label: str, values: Sequence[float]) -> None:
    usage.port_usage[label] = int(max(values))


def _keep_allocated(usage: VmUsage, label: str, values: Sequence[float]) -> None:
    usage.allocated_ports = int(max(values))


def _keep_rate(usage: VmUsage, label: str, values: Sequence[float]) -> None:
    usage.new_per_second[label] = round(max(values) / _MINUTE, 2)


def _keep_drops(usage: VmUsage, label: str, values: Sequence[float]) -> None:
    usage.dropped_packets[label] = int(sum(values))


_METRICS = (
    _Metric("port_usage", "MAX", "MAX", "ip_protocol", _keep_usage),
    # Of each address a VM has ports of.
    _Metric("allocated_ports", "MAX", "SUM", "", _keep_allocated, period=_RECENT, window=_RECENT),
    _Metric("new_connections_count", "SUM", "SUM", "ip_protocol", _keep_rate, period=_MINUTE),
    _Metric("dropped_sent_packets_count", "SUM", "SUM", "reason", _keep_drops),
)


def gather(client: Client, project: str, router_id: str, window: int) -> list[VmUsage]:
    """What was measured in the last ``window`` seconds of each VM at each NAT of a router. Raises GcpError."""
    end = int(client.clock.wall()) // _MINUTE * _MINUTE
    found: dict[tuple[str, str, str], VmUsage] = {}
    with client.within():
        for metric in _METRICS:
            query = _query(metric, router_id, end, window)
            for series in client.series(project, query):
                try:
                    _take(found, metric, series)
                except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
                    asked = Asked("monitoring.timeSeries.list", f"projects/{project}", client.monitoring)
                    raise GcpError(asked, "answered a time series in no form of the API") from None
    return [found[key] for key in sorted(found)]


def _query(metric: _Metric, router_id: str, end: int, window: int) -> Mapping[str, Any]:
    terms = {
        "resource.type": "gce_instance",
        "metric.type": f"{_PREFIX}{metric.name}",
        "metric.label.router_id": router_id,
    }
    label = [f"metric.label.{metric.label}"] if metric.label else []
    return {
        "filter": " AND ".join(f'{key} = "{value}"' for key, value in terms.items()),
        "interval.startTime": _moment(end - (metric.window or window)),
        "interval.endTime": _moment(end),
        "aggregation.alignmentPeriod": f"{metric.period or window}s",
        "aggregation.perSeriesAligner": f"ALIGN_{metric.aligner}",
        "aggregation.crossSeriesReducer": f"REDUCE_{metric.reducer}",
        "aggregation.groupByFields": [*_WHO, _GATEWAY, *label],
    }


def _moment(seconds: int) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _take(found: dict[tuple[str, str, str], VmUsage], metric: _Metric, series: Mapping[str, Any]) -> None:
    """Put one time series in its place. Raises what a form that is not the API's makes of it."""
    resource, labels = series["resource"]["labels"], series["metric"].get("labels", {})
    # What is absent there, the VM does not say any more, being gone.
    system = (series.get("metadata") or {}).get("systemLabels") or {}
    key = (
        printable(labels["nat_gateway_name"], 63),
        printable(resource["zone"], 63),
        printable(resource["instance_id"], 63),
    )
    name = system.get("name")
    usage = found.setdefault(key, VmUsage(key[0], key[2], key[1], None))
    usage.name = usage.name or (printable(name, 63) if isinstance(name, str) else None)
    values = [_value(point["value"]) for point in series["points"]]
    if values:
        metric.keep(usage, printable(labels[metric.label], 63) if metric.label else "", values)


def _value(value: Mapping[str, Any]) -> float:
    """Of a TypedValue."""
    if "int64Value" in value:
        return int(value["int64Value"])
    return float(value["doubleValue"])


def successive(usages: Sequence[VmUsage]) -> VmUsage:
    """What one VM was after another, under one name in one zone, as one: that which is there now."""
    now = max(usages, key=lambda usage: usage.allocated_ports is not None)
    return replace(
        now,
        port_usage=_peaks(usage.port_usage for usage in usages),
        new_per_second=_peaks(usage.new_per_second for usage in usages),
        dropped_packets=_sums(usage.dropped_packets for usage in usages),
    )


def total(usages: Sequence[VmUsage], window: int) -> dict[str, Any]:
    """The same over all VMs of a NAT: of the busiest one what is a peak, and the sum of what is a count."""
    used = [usage for usage in usages if usage.port_usage]
    busiest = max(used, key=lambda usage: max(usage.port_usage.values()), default=None)
    return {
        "window_s": window,
        "port_usage": _peaks(usage.port_usage for usage in usages),
        "busiest_vm": busiest and (busiest.name or busiest.instance_id),
        "new_per_second": _peaks(usage.new_per_second for usage in usages),
        "dropped_packets": _sums(usage.dropped_packets for usage in usages),
        "vms": len(usages),
    }


def _peaks(each: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in (item for values in each for item in values.items()):
        found[key] = max(value, found.get(key, value))
    return dict(sorted(found.items()))


def _sums(each: Iterable[Mapping[str, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for key, value in (item for values in each for item in values.items()):
        found[key] = found.get(key, 0) + value
    return dict(sorted(found.items()))
