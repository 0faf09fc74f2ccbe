# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The groups of an inventory that a Node belongs to. Pure; names are as the cluster says, and not made safe yet."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

__all__ = ["GROUP_BY", "groups_of"]

# What a cluster says is of any length, and a name is not.
_LONGEST = 200
_MINOR = re.compile(r"v?(\d+)\.(\d+)", re.ASCII)
_WORD_BEGINS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def groups_of(found: Mapping[str, Any], by: Sequence[str], labels: Sequence[str]) -> list[str]:
    """The names of the groups of a record by these keys of GROUP_BY and these labels, each once."""
    names = [name for key in by for name in GROUP_BY[key](found)]
    for key in labels:
        value = found["labels"].get(key)
        names += [] if value is None else [_joined("label", key, value)]
    return list(dict.fromkeys(name[:_LONGEST] for name in names))


def _of(prefix: str, key: str) -> Callable[[Mapping[str, Any]], list[str]]:
    """The group of one value, none where it is not known."""
    return lambda found: [_joined(prefix, found[key])] if found[key] else []


def _roles(found: Mapping[str, Any]) -> list[str]:
    return [_joined("role", role) for role in found["roles"]]


def _taints(found: Mapping[str, Any]) -> list[str]:
    return [_joined("taint", taint["key"], taint["value"], taint["effect"]) for taint in found["taints"]]


def _conditions(found: Mapping[str, Any]) -> Iterator[str]:
    """What holds; what nobody knows is a group of its own, and so is not being ready."""
    # A node whose kubelet has said nothing yet has no conditions.
    for kind, condition in {"Ready": {"status": "Unknown"}, **found["conditions"]}.items():
        name = _WORD_BEGINS.sub("_", kind).lower()
        if condition["status"] == "True":
            yield _joined("condition", name)
        elif condition["status"] != "False":
            yield _joined("condition", name, "unknown")
        elif kind == "Ready":
            yield _joined("condition", "not_ready")


def _unschedulable(found: Mapping[str, Any]) -> list[str]:
    return ["unschedulable"] if found["unschedulable"] else []


def _kubelet(found: Mapping[str, Any]) -> list[str]:
    version = _MINOR.match(found["kubelet_version"] or "")
    return [_joined("kubelet", *version.groups())] if version else []


def _runtime(found: Mapping[str, Any]) -> list[str]:
    """``runtime_containerd_1_7`` of ``containerd://1.7.24``."""
    name, _slashes, version = (found["container_runtime"] or "").partition("://")
    minor = _MINOR.match(version)
    return [_joined("runtime", name, *(minor.groups() if minor else (version,)))] if name else []


def _joined(*parts: str) -> str:
    return "_".join(filter(None, parts))


GROUP_BY: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "role": _roles,
    "zone": _of("zone", "zone"),
    "region": _of("region", "region"),
    "instance_type": _of("instance_type", "instance_type"),
    "taint": _taints,
    "condition": _conditions,
    "unschedulable": _unschedulable,
    "kubelet": _kubelet,
    "runtime": _runtime,
    "kernel": _of("kernel", "kernel_version"),
    "os_image": _of("os_image", "os_image"),
    "operating_system": _of("os", "operating_system"),
    "architecture": _of("arch", "architecture"),
}
