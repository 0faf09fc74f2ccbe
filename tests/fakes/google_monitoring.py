# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cloud Monitoring's timeSeries.list, over points that a test gives: filters of equalities, alignment, reduction, pages.

Source: https://cloud.google.com/monitoring/api/v3/filters and .../rest/v3/projects.timeSeries/list.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Monitoring", "Series"]

Query = Mapping[str, list[str]]
_TERM = re.compile(r'([a-z_.]+)\s*=\s*"((?:[^"\\]|\\.)*)"')
_COMBINE = {"MAX": max, "SUM": sum}


@dataclass
class Series:
    """What was measured: values by how many seconds ago."""

    metric: str
    labels: dict[str, str]
    instance: str
    zone: str = "europe-west3-a"
    name: str | None = None
    points: Mapping[int, int] = field(default_factory=dict)
    project: str = "a-project"

    def fields(self) -> dict[str, str | None]:
        """What a filter and a group can name."""
        found: dict[str, str | None] = {
            "metric.type": self.metric,
            "resource.type": "gce_instance",
            "metadata.system_labels.name": self.name,
            "resource.label.instance_id": self.instance,
            "resource.label.zone": self.zone,
            "resource.label.project_id": self.project,
        }
        return {**found, **{f"metric.label.{key}": value for key, value in self.labels.items()}}


@dataclass
class Monitoring:
    """``page``: how many series a page has at most; ``unreachable``: regions that did not answer."""

    series: list[Series] = field(default_factory=list)
    page: int = 1000
    unreachable: list[str] = field(default_factory=list)

    def answer(self, project: str, query: Query) -> dict[str, Any]:
        """ListTimeSeriesResponse."""
        wanted = {name.replace(".labels.", ".label."): value for name, value in _TERM.findall(query["filter"][0])}
        start, end = (_time(query[f"interval.{each}Time"][0]) for each in ("start", "end"))
        period = int(query["aggregation.alignmentPeriod"][0].removesuffix("s"))
        assert period >= 60
        groups: dict[tuple[str | None, ...], list[dict[int, int]]] = {}
        names = query["aggregation.groupByFields"]
        chosen: dict[tuple[str | None, ...], Series] = {}
        for series in self.series:
            fields = series.fields()
            if series.project == project and all(fields.get(key) == value for key, value in wanted.items()):
                key = tuple(fields.get(name) for name in names)
                align = _COMBINE[query["aggregation.perSeriesAligner"][0].removeprefix("ALIGN_")]
                groups.setdefault(key, []).append(_aligned(series.points, int(end - start), period, align))
                chosen[key] = series
        reduce = _COMBINE[query["aggregation.crossSeriesReducer"][0].removeprefix("REDUCE_")]
        found = [_series(names, key, chosen[key].metric, _reduced(each, reduce), end) for key, each in groups.items()]
        first = int(query.get("pageToken", ["0"])[0])
        last = first + self.page
        answer: dict[str, Any] = {"timeSeries": [each for each in found if each["points"]][first:last], "unit": "1"}
        if last < len(found):
            answer["nextPageToken"] = str(last)
        return {**answer, "unreachable": self.unreachable} if self.unreachable else answer


def _time(text: str) -> float:
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def _aligned(points: Mapping[int, int], window: int, period: int, combine: Any) -> dict[int, int]:
    """By the end of each period, in seconds ago, the combined value."""
    periods: dict[int, list[int]] = {}
    for ago, value in points.items():
        if ago < window:
            periods.setdefault(ago // period * period, []).append(value)
    return {ago: combine(values) for ago, values in periods.items()}


def _reduced(each: list[dict[int, int]], combine: Any) -> dict[int, int]:
    return {
        ago: combine(one[ago] for one in each if ago in one) for ago in sorted({key for one in each for key in one})
    }


def _series(
    names: list[str], key: tuple[str | None, ...], metric: str, points: Mapping[int, int], end: float
) -> dict[str, Any]:
    labels = {name: value for name, value in zip(names, key) if value is not None}

    def part(prefix: str) -> dict[str, str]:
        return {name.removeprefix(prefix): value for name, value in labels.items() if name.startswith(prefix)}

    moments = {ago: datetime.datetime.fromtimestamp(end - ago, datetime.timezone.utc).isoformat() for ago in points}
    return {
        "metric": {"type": metric, "labels": part("metric.label.")},
        "resource": {"type": "gce_instance", "labels": part("resource.label.")},
        "metadata": {"systemLabels": part("metadata.system_labels.")},
        "metricKind": "GAUGE",
        "valueType": "INT64",
        "points": [
            {"interval": {"startTime": moments[ago], "endTime": moments[ago]}, "value": {"int64Value": str(value)}}
            for ago, value in points.items()
        ],
    }
