# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cordons that tell whose they are: only ours is taken away again.

``kubectl cordon`` sets ``spec.unschedulable`` and says nothing, so that whoever uncordons may let pods onto a node that an
administrator keeps empty. Ours brings an annotation, in the same write.
"""

from __future__ import annotations

import copy
import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.kube.annotations import CORDON, DRAIN
from ansible_collections.bulwark.node.plugins.module_utils.kube.client import NODES, Client, Object
from ansible_collections.bulwark.node.plugins.module_utils.kube.connection import USER_AGENT
from ansible_collections.bulwark.node.plugins.module_utils.kube.objects import printable
from ansible_collections.bulwark.node.plugins.module_utils.kube.pods import moment

__all__ = [
    "Record",
    "begun",
    "cordon",
    "cordoned",
    "drains",
    "is_cordoned",
    "is_ours",
    "record",
    "start",
    "stop",
    "uncordon",
    "uncordoned",
]


@dataclass(frozen=True)
class Record:
    """What an annotation holds: the run's id, and when it wrote it."""

    run: str
    at: datetime.datetime

    def __str__(self) -> str:
        """``{"run": "…", "at": "2026-01-02T03:04:05Z"}``."""
        return json.dumps({"run": self.run, "at": self.at.strftime("%Y-%m-%dT%H:%M:%SZ")})


def record(node: Mapping[str, Any], annotation: str) -> Record | None:
    """The record in an annotation of a node, None without one and where it is not as we write it."""
    try:
        found = json.loads((node["metadata"].get("annotations") or {})[annotation])
        return Record(printable(str(found["run"])), moment(found["at"]))
    except (KeyError, TypeError, ValueError, RecursionError):
        return None


def is_cordoned(node: Mapping[str, Any]) -> bool:
    """Whether nothing new is scheduled there."""
    return bool(node["spec"].get("unschedulable"))


def is_ours(node: Mapping[str, Any]) -> bool:
    """Whether the cordon is of this collection, by whichever run: a later one takes up what another left.

    Somebody who opened the node meanwhile and closed it again left our annotation there; whose the field is the server
    knows (``managedFields``: https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management).
    """
    owners = [
        each.get("manager")
        for each in node["metadata"].get("managedFields") or ()
        if "f:unschedulable" in ((each.get("fieldsV1") or {}).get("f:spec") or {})
    ]
    known = CORDON in (node["metadata"].get("annotations") or {})
    return is_cordoned(node) and known and (not owners or USER_AGENT in owners)


def cordoned(node: Object, mine: Record) -> Object:
    """The node with a cordon of ours; as it is where it has one, whosever it is."""
    if is_cordoned(node):
        return node
    new = _annotated(node, CORDON, str(mine))
    new["spec"]["unschedulable"] = True
    return new


def uncordoned(node: Object, run: str | None = None) -> Object:
    """The node without our cordon and without our records; a cordon of others stays.

    With ``run`` as it is where that does not drain it any more: who took it over has the cordon too.
    """
    if not _is_of(node, run):
        return node
    new = _annotated(_annotated(node, CORDON, None), DRAIN, None)
    if is_ours(node):
        new["spec"].pop("unschedulable")
    return new


def begun(node: Object, mine: Record) -> Object:
    """The cordoned node with the record of our drain; that of the same run stays as it is, and its time goes on."""
    new = cordoned(node, mine)
    return new if drains(node, mine.run) else _annotated(new, DRAIN, str(mine))


def cordon(client: Client, name: str, mine: Record) -> Object:
    """Cordon a node, if nobody has. Raises KubeError."""
    return client.change(NODES, name, lambda node: cordoned(node, mine))


def uncordon(client: Client, name: str, run: str | None = None) -> Object:
    """Take our cordon and our records away, with ``run`` only where that drains it. Raises KubeError."""
    return client.change(NODES, name, lambda node: uncordoned(node, run))


def start(client: Client, name: str, mine: Record) -> Object:
    """Cordon a node for a drain, and record since when it is drained. Raises KubeError."""
    return client.change(NODES, name, lambda node: begun(node, mine))


def stop(client: Client, name: str, run: str | None = None) -> Object:
    """The drain is over, with ``run`` only that one's; the cordon stays. Raises KubeError."""
    return client.change(NODES, name, lambda node: _annotated(node, DRAIN, None) if _is_of(node, run) else node)


def drains(node: Mapping[str, Any], run: str) -> bool:
    """Whether this run drains the node: it began to, and no other has since."""
    known = record(node, DRAIN)
    return known is not None and known.run == run


def _is_of(node: Mapping[str, Any], run: str | None) -> bool:
    return run is None or drains(node, run)


def _annotated(node: Object, key: str, value: str | None) -> Object:
    """A copy of the node with this annotation, or without it."""
    new = copy.deepcopy(node)
    kept = new["metadata"].get("annotations") or {}
    if value is None and key not in kept:
        return new
    new["metadata"]["annotations"] = {name: text for name, text in kept.items() if name != key}
    if value is not None:
        new["metadata"]["annotations"][key] = value
    return new
