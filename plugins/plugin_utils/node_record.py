# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an inventory tells of a Node, and under which address its machine is reached. Pure; the cluster is not trusted.

The shape is that of ``kubernetes_node`` in docs/schemas.md: what changes with each heartbeat is left out, so that an
inventory is the same twice.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.kube.objects import (
    annotations_of,
    field_of,
    labels_of,
    mapping,
    mappings,
    name_of,
    text,
)
from ansible_collections.bulwark.node.plugins.module_utils.units import parse_cores, parse_quantity

__all__ = ["address_of", "reachable", "record"]

# https://kubernetes.io/docs/reference/labels-annotations-taints/, each with its names before 1.17.
_ZONE = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone")
_REGION = ("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region")
_INSTANCE_TYPE = ("node.kubernetes.io/instance-type", "beta.kubernetes.io/instance-type")
_ROLE = "node-role.kubernetes.io/"
# Of kops and of kubeadm before 1.15: the role is the value.
_LEGACY_ROLE = "kubernetes.io/role"

_LABEL = r"[A-Za-z0-9_](?:[-A-Za-z0-9_]{0,61}[A-Za-z0-9_])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*", re.ASCII)
# Where a template, or its header of other delimiters, would begin. No name, label or taint of Kubernetes can hold any.
_TEMPLATE = re.compile(r"(?<=\{)(?=[{%#])|(?<=\A#)(?=jinja2:)")
# inet_aton(3) takes 127.1 and 0x7f000001 for addresses.
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*", re.ASCII)


def record(node: Any, annotations: Sequence[str] = ()) -> dict[str, Any]:
    """What is told of a Node, with no annotations but these; in the types of JSON, ``None`` where the Node does not say it.

    What begins a template has a space in it. No mark of Ansible's would do: AWX keeps variables as JSON, and hands them to its jobs
    as its own, of which each core makes templates.
    """
    labels, spec, status = labels_of(node), mapping(node, "spec"), mapping(node, "status")
    conditions = _conditions(status)
    info = mapping(status, "nodeInfo")
    found: dict[str, Any] = {
        "name": name_of(node),
        "uid": _said(node, "metadata", "uid"),
        "created": _said(node, "metadata", "creationTimestamp"),
        "labels": labels,
        "annotations": {name: value for name, value in annotations_of(node).items() if name in annotations},
        "roles": _roles(labels),
        "zone": _first(labels, _ZONE),
        "region": _first(labels, _REGION),
        "instance_type": _first(labels, _INSTANCE_TYPE),
        "unschedulable": spec.get("unschedulable") is True,
        "taints": [
            {"key": text(taint, "key"), "value": text(taint, "value"), "effect": text(taint, "effect")}
            for taint in mappings(spec, "taints")
        ],
        "ready": {"True": True, "False": False}.get(field_of(conditions, "Ready", "status")),
        "conditions": conditions,
        "addresses": [
            {"type": text(address, "type"), "address": text(address, "address")}
            for address in mappings(status, "addresses")
        ],
        "capacity": _amounts(mapping(status, "capacity")),
        "allocatable": _amounts(mapping(status, "allocatable")),
        "kubelet_version": _said(info, "kubeletVersion"),
        "container_runtime": _said(info, "containerRuntimeVersion"),
        "kernel_version": _said(info, "kernelVersion"),
        "os_image": _said(info, "osImage"),
        "operating_system": _said(info, "operatingSystem"),
        "architecture": _said(info, "architecture"),
        "boot_id": _said(info, "bootID"),
        "machine_id": _said(info, "machineID"),
        "provider_id": _said(spec, "providerID"),
        "pod_cidrs": [each for each in _list(spec, "podCIDRs") if isinstance(each, str)],
    }
    return {key: _no_template(value) for key, value in found.items()}


def _no_template(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_no_template(key): _no_template(each) for key, each in value.items()}
    if isinstance(value, list):
        return list(map(_no_template, value))
    return _TEMPLATE.sub(" ", value) if isinstance(value, str) else value


def address_of(found: Mapping[str, Any], types: Sequence[str], families: Sequence[str]) -> str | None:
    """The address of a record: of the first of these types (NodeAddressType of core/v1, or ``Name``) that has one, there of the
    first of these families.

    Without families it is the Node's first, whose order is that of the cluster's families. A name is of any family.
    ``None`` where there is none of these, or none that may be one.
    """
    for kind in types:
        given = [found["name"]] if kind == "Name" else [x["address"] for x in found["addresses"] if x["type"] == kind]
        usable = list(filter(None, map(reachable, given)))
        for family in families or (None,):
            for address in usable:
                if family is None or _family(address) in (family, None):
                    return address
    return None


def reachable(host: str) -> str | None:
    """The address or name as Ansible may be given it; ``None`` where it is neither, or names the machine that Ansible runs on.

    A node says itself what its addresses are. kubelet takes none either that is loopback, link-local, multicast or
    unspecified (validateNodeIP of its pkg/kubelet/kubelet_node_status.go).
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host if _is_host_name(host) else None
    plain = getattr(address, "ipv4_mapped", None) or address
    local = plain.is_loopback or plain.is_link_local or plain.is_multicast or plain.is_unspecified
    return None if local else str(address)


def _is_host_name(name: str) -> bool:
    last = name.lower().rpartition(".")[2]
    return bool(_HOST_NAME.fullmatch(name)) and last != "localhost" and not _NUMBER.fullmatch(last)


def _family(address: str) -> str | None:
    """``ipv4`` or ``ipv6``; ``None`` of a name."""
    try:
        return f"ipv{ipaddress.ip_address(address).version}"
    except ValueError:
        return None


def _roles(labels: Mapping[str, str]) -> list[str]:
    """The roles as ``kubectl get nodes`` has them (findNodeRoles of its pkg/printers): by keys, and by the legacy label."""
    named = {key.removeprefix(_ROLE) for key in labels if key.startswith(_ROLE)} | {labels.get(_LEGACY_ROLE, "")}
    return sorted(named - {""})


def _conditions(status: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        text(each, "type"): {
            "status": text(each, "status"),
            "reason": _said(each, "reason"),
            "since": _said(each, "lastTransitionTime"),
        }
        for each in mappings(status, "conditions")
        if text(each, "type")
    }


def _amounts(resources: Mapping[str, Any]) -> dict[str, float | int | None]:
    """Cores of ``cpu``, bytes of memory, storage and hugepages, else numbers; ``None`` of what is no quantity."""
    found: dict[str, float | int | None] = {}
    for name, quantity in resources.items():
        try:
            found[name] = parse_cores(quantity) if name == "cpu" else parse_quantity(quantity)
        except ValueError:
            found[name] = None
    return found


def _first(labels: Mapping[str, str], names: Sequence[str]) -> str | None:
    return next(filter(None, map(labels.get, names)), None)


def _said(item: Any, *path: str) -> str | None:
    return text(item, *path) or None


def _list(item: Mapping[str, Any], key: str) -> list[Any]:
    found = item.get(key)
    return found if isinstance(found, list) else []
