# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PCI devices, and the virtual functions of those that have SR-IOV. Source: ABI/testing/sysfs-bus-pci."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import numa
from ansible_collections.bulwark.node.plugins.module_utils.node.request import PASSIVE, Request

__all__ = ["facts"]

_DEVICES = "/sys/bus/pci/devices"
# The domain has more than four digits behind some bridges (Intel VMD).
_ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
# vfio-pci, and those that bring a vendor's own: mlx5_vfio_pci, nvgrace-gpu-vfio-pci.
_VFIO = re.compile(r"(?:.*[-_])?vfio[-_]pci")
_UEVENT = re.compile(r"^(DRIVER|PCI_CLASS|PCI_ID)=(\S{1,64})$", re.MULTILINE | re.ASCII)


def facts(host: Host, request: Request = PASSIVE) -> dict[str, Any]:
    """The subset ``pci``: {devices[], sriov[], reason}, in the order of the addresses."""
    devices, sriov = [], []
    for address in filter(_ADDRESS.fullmatch, host.names(_DEVICES)):
        try:
            device, functions = _device(host, address), _functions(host, address)
        except HostError as error:
            # A device that is pulled out, or whose driver lets go of it, while we read.
            if error.code is None:
                raise
            continue
        if device is not None:
            devices.append(device)
            sriov.extend(functions)
    return {
        "devices": devices,
        "sriov": sriov,
        "without_hugepages": _without_hugepages(host, devices),
        "reason": None if devices else "this machine shows no PCI device",
    }


def _without_hugepages(host: Host, devices: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Devices for guests on a NUMA node that has no hugepage while another one has: {address, numa_node, nodes[]}."""
    near = [each for each in devices if each["for_guests"] and each["numa_node"] is not None]
    nodes = [node for node in numa.numbers(host) if _has_hugepages(host, node)] if near else []
    return [
        {"address": each["address"], "numa_node": each["numa_node"], "nodes": nodes}
        for each in near
        if nodes and each["numa_node"] not in nodes
    ]


def _has_hugepages(host: Host, node: int) -> bool:
    folder = f"{numa.NODES}/node{node}/hugepages"
    return any(host.integer(f"{folder}/{name}/nr_hugepages") for name in host.names(folder))


def _device(host: Host, address: str) -> dict[str, Any] | None:
    """One device; None where it is gone. ``class``, ``vendor`` and ``device`` are hexadecimal as in its files of these names."""
    folder = f"{_DEVICES}/{address}"
    # One file for four: on a node with hundreds of virtual functions each read counts.
    event = dict(_UEVENT.findall(host.read(f"{folder}/uevent", 8192) or ""))
    vendor, colon, device = event.get("PCI_ID", "").lower().partition(":")
    if not colon:
        return None
    numa = host.integer(f"{folder}/numa_node")
    group = posixpath.basename(host.link_target(f"{folder}/iommu_group") or "")
    return {
        "address": address,
        "class": f"0x{event.get('PCI_CLASS', '').lower():0>6}",
        "vendor": f"0x{vendor}",
        "device": f"0x{device}",
        "driver": event.get("DRIVER"),
        "for_guests": _VFIO.fullmatch(event.get("DRIVER", "")) is not None,
        # -1 is NUMA_NO_NODE: the firmware does not say.
        "numa_node": None if numa is None or numa < 0 else numa,
        "iommu_group": int(group) if group.isdecimal() else None,
        "physical_function": posixpath.basename(host.link_target(f"{folder}/physfn") or "") or None,
    }


def _functions(host: Host, address: str) -> list[dict[str, Any]]:
    """The SR-IOV of one device as a list of one; empty where it has none. ``vfs`` are addresses, in the order of their numbers."""
    folder = f"{_DEVICES}/{address}"
    total = host.integer(f"{folder}/sriov_totalvfs")
    if total is None:
        return []
    # Not sriov_numvfs: since 5.12 that waits, and nothing can end it, while the driver adds or removes them.
    numbers = sorted(int(name[6:]) for name in host.names(folder) if re.fullmatch(r"virtfn[0-9]{1,5}", name))
    links = (host.link_target(f"{folder}/virtfn{number}") for number in numbers)
    vfs = [posixpath.basename(link) for link in links if link]
    return [{"address": address, "totalvfs": total, "numvfs": len(vfs), "vfs": vfs}]
