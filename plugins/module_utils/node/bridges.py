# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bridges: which MTU counts, and whether it was pinned. Source: net/bridge/br_if.c (br_mtu_auto_adjust), br_device.c (br_change_mtu)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import bridge_pins, links
from ansible_collections.bulwark.node.plugins.module_utils.node.links import Link
from ansible_collections.bulwark.node.plugins.module_utils.node.request import PASSIVE, Request

__all__ = ["dynamic", "facts", "pinned", "shape"]

_DEFAULT = 1500
# What libvirt, CNI plugins, Proxmox and Xen make for one guest or pod, and remove with it.
_DYNAMIC = re.compile(r"(?:vnet|veth|cali|tap|lxc|vif|fwpr|fwln)[0-9a-z_.-]", re.IGNORECASE)


def facts(host: Host, request: Request = PASSIVE) -> list[dict[str, Any]]:
    """The subset ``bridges``, by index: those of the kernel, not of Open vSwitch."""
    found = links.observe(host)
    ours = bridge_pins.read(host)
    return [shape(link, found, link.index in ours) for link in found if link.kind == "bridge"]


def shape(bridge: Link, found: Sequence[Link], by_us: bool) -> dict[str, Any]:
    """One bridge among the links; ``by_us``: whether our record says that it was pinned."""
    ports = [link for link in found if link.master == bridge.index]
    uppers = [link for link in found if bridge.index == link.lower or link.index == bridge.master]
    mtus = [port.mtu for port in ports if port.mtu is not None]
    widest = max((link.mtu for link in (bridge, *ports) if link.mtu is not None), default=None)
    narrow = [port for port in ports if port.mtu is not None and widest is not None and port.mtu < widest]
    is_pinned, reason = (True, "bulwark.node pinned it") if by_us else pinned(bridge.mtu, mtus)
    return {
        "name": bridge.name,
        "mtu": bridge.mtu,
        # A frame that is larger than the MTU of the port that it leaves by is dropped without a word.
        "effective_mtu": min(mtus, default=None),
        "pinned": is_pinned,
        "pinned_reason": reason,
        "ports": [{**_shown(port), "dynamic": dynamic(port)} for port in ports],
        "widest_mtu": widest,
        "narrow": [port.name for port in narrow if not dynamic(port)],
        "narrow_dynamic": [port.name for port in narrow if dynamic(port)],
        "mismatched": [port.name for port in ports if None not in (port.mtu, bridge.mtu) and port.mtu != bridge.mtu],
        "vlan_filtering": bridge.vlan_filtering,
        "stp": bridge.stp,
        "uppers": [_shown(upper) for upper in uppers],
    }


def pinned(mtu: int | None, ports: list[int]) -> tuple[bool | None, str]:
    """Whether the MTU was set by hand, after which the bridge no longer follows its ports; and how that is known.

    The kernel (4.17) tells the flag to nobody and never clears it: a difference proves it, nothing disproves it.
    """
    if mtu is None:
        return None, "the bridge's MTU is not known"
    if not ports:
        if mtu == _DEFAULT:
            return None, "it has no ports, and the MTU of a new bridge"
        return None, f"it has no ports: an MTU of {mtu} was set by hand, or was that of the last port"
    if mtu != min(ports):
        return True, f"its MTU is {mtu}, while the smallest of its ports is {min(ports)}: it does not follow them"
    return None, "its MTU is the smallest of its ports: it follows them, or was set to the same"


def _shown(link: Link) -> dict[str, Any]:
    return {"name": link.name, "mtu": link.mtu, "kind": link.kind}


def dynamic(port: Link) -> bool:
    """Whether a guest or a pod brought the port: it is a tap, its other end is in another network namespace, or its name says so."""
    return port.kind == "tun" or port.elsewhere or bool(_DYNAMIC.match(port.name))
