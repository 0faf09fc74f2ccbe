# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of a pod again and again: whose it is, where it stands in its life, and what it keeps on its node."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

__all__ = [
    "controller",
    "deleted_since",
    "finished",
    "is_mirror",
    "key",
    "moment",
    "named",
    "ready",
    "returns_to_cordon",
    "uid",
    "volumes",
]

Object = Mapping[str, Any]

_MIRROR = "kubernetes.io/config.mirror"
_UNSCHEDULABLE = "node.kubernetes.io/unschedulable"


def key(pod: Object) -> tuple[str, str]:
    """Namespace and name."""
    return pod["metadata"]["namespace"], pod["metadata"]["name"]


def named(pod: Object) -> str:
    """``namespace/name``."""
    return "/".join(key(pod))


def uid(pod: Object) -> str:
    """What tells a pod from the next of its name."""
    return str(pod["metadata"]["uid"])


def controller(item: Object) -> Object | None:
    """The owner reference that is the controller (metav1.GetControllerOf), None without one."""
    owners = item["metadata"].get("ownerReferences") or ()
    return next((owner for owner in owners if owner.get("controller")), None)


def finished(pod: Object) -> bool:
    """Whether its containers have all ended for good."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def ready(pod: Object) -> bool:
    """Its condition Ready, which is what a budget takes for healthy."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(item.get("type") == "Ready" and item.get("status") == "True" for item in conditions)


def is_mirror(pod: Object) -> bool:
    """Whether it only shows a static pod of its kubelet."""
    return _MIRROR in (pod["metadata"].get("annotations") or {})


def moment(text: str) -> datetime.datetime:
    """A time as the API writes it."""
    return datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=datetime.timezone.utc)


def deleted_since(pod: Object, now: datetime.datetime) -> float | None:
    """Seconds since its deletionTimestamp, which lies ahead by its grace at first; None where it is not being deleted."""
    at = pod["metadata"].get("deletionTimestamp")
    return (now - moment(at)).total_seconds() if at else None


def volumes(pod: Object, kind: str) -> list[str]:
    """The names of its volumes of a kind: ``emptyDir``, ``hostPath``."""
    return [item["name"] for item in pod["spec"].get("volumes") or () if item.get(kind) is not None]


def returns_to_cordon(pod: Object) -> bool:
    """Whether the scheduler may put its like on a cordoned node: it tolerates the taint of a cordon."""
    return any(
        item.get("effect") in (None, "", "NoSchedule")
        and (item.get("key") == _UNSCHEDULABLE or (not item.get("key") and item.get("operator") == "Exists"))
        for item in pod["spec"].get("tolerations") or ()
    )
