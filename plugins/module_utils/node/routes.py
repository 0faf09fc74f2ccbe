# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Blackhole routes of Calico's address blocks, and this node's own pods whose traffic falls into them.

Each node of Calico sends its blocks into a blackhole, and each of its pods has a longer route to a link of its own. Where
that route is missing, the pod cannot be reached. What only the other nodes know, a pod of theirs with an address of a
block of ours (projectcalico/calico#3246), cannot be told from here. Sources: rtnetlink(7), the CNI specification.
"""

from __future__ import annotations

import ipaddress
import json
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Union

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import netlink
from ansible_collections.bulwark.node.plugins.module_utils.node.request import PASSIVE, Request

__all__ = ["facts"]

_Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
_Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]

_GETROUTE = 26
_RTMSG = struct.Struct("=BBBBBBBBI")  # family, dst_len, src_len, tos, table, protocol, scope, type, flags
_RTA_DST, _RTA_PRIORITY, _RTA_TABLE = 1, 6, 15
_BLACKHOLE, _MAIN = 6, 254
# RTPROT_BIRD, which Calico's BIRD sets, and the number that Felix uses.
_CALICO = (12, 80)
# Where libcni keeps what the plugins answered, one file for each link of a pod; containerd and CRI-O both leave it there.
_RESULTS = "/var/lib/cni/results"
_RESULT_LIMIT = 1 << 20
_MOST_RESULTS = 4096
_BITS = {2: 32, 10: 128}


@dataclass(frozen=True)
class _Route:
    destination: _Network
    blackhole: bool
    protocol: int
    metric: int


@dataclass(frozen=True)
class _Pod:
    address: _Address
    interface: str
    name: str | None


def facts(host: Host, request: Request = PASSIVE) -> dict[str, Any]:
    """The subset ``routes``: {blackholes[] {destination, protocol}, swallowed[] {address, interface, pod, blackhole}, reason}.

    ``blackholes`` is None where no route can be read, ``swallowed`` where this node's pods are not known.
    """
    answer = _dump(host, _BLACKHOLE)
    if answer is None:
        return {"blackholes": None, "swallowed": None, "reason": "without netlink the kernel does not tell its routes"}
    blocks = [route for route in _routes(answer) if route.blackhole and route.protocol in _CALICO]
    reason, swallowed = None, []
    if blocks:
        try:
            pods = list(_pods(host, blocks))
        except HostError as error:
            reason, pods = f"the pods of this node cannot be read: {error}", []
        if not pods and reason is None and not host.exists(_RESULTS):
            reason = f"the pods of this node are not known: there is no {_RESULTS}"
        if pods:
            table = list(_routes(_dump(host, 0) or b""))
            swallowed = [lost for lost in (_lost(pod, table) for pod in pods) if lost]
    return {
        "blackholes": [{"destination": str(route.destination), "protocol": route.protocol} for route in blocks],
        "swallowed": None if reason else swallowed,
        "reason": reason,
    }


def _dump(host: Host, kind: int) -> bytes | None:
    """The routes of all families; where the kernel filters, those of the main table, and of one type (0: any)."""
    return netlink.dump(host, netlink.ROUTE, _GETROUTE, _RTMSG.pack(0, 0, 0, 0, _MAIN, 0, 0, kind, 0))


def _routes(answer: bytes) -> Iterator[_Route]:
    """The main table of a dump."""
    for message in netlink.messages(answer):
        if len(message) < _RTMSG.size:
            continue
        family, length, table, protocol, kind = (message[at] for at in (0, 1, 4, 5, 7))
        found = netlink.attributes(message, _RTMSG.size)
        if family in _BITS and (netlink.number(found.get(_RTA_TABLE)) or table) == _MAIN:
            # The default route has no destination.
            address = ipaddress.ip_address(found.get(_RTA_DST, bytes(_BITS[family] // 8)))
            destination = ipaddress.ip_network((address, length))
            metric = netlink.number(found.get(_RTA_PRIORITY)) or 0
            yield _Route(destination, kind == _BLACKHOLE, protocol, metric)


def _lost(pod: _Pod, table: list[_Route]) -> dict[str, Any] | None:
    """The pod's entry where the route that the kernel takes for it, the longest and of these the first by metric, is a block's."""
    covering = [route for route in table if pod.address in route.destination]
    taken = min(covering, key=lambda route: (-route.destination.prefixlen, route.metric, route.blackhole), default=None)
    if taken is None or not taken.blackhole or taken.protocol not in _CALICO:
        return None
    return {
        "address": str(pod.address),
        "interface": pod.interface,
        "pod": pod.name,
        "blackhole": str(taken.destination),
    }


def _pods(host: Host, blocks: list[_Route]) -> Iterator[_Pod]:
    """The addresses inside of a block that plugins gave to pods whose link is there. A result outlives its pod after a crash."""
    for name in host.names(_RESULTS)[:_MOST_RESULTS]:
        try:
            kept = json.loads(host.read(f"{_RESULTS}/{name}", _RESULT_LIMIT) or "null")
            result = kept["result"]
            links = [each["name"] for each in result["interfaces"]]
            addresses = [ipaddress.ip_interface(each["address"]).ip for each in result["ips"]]
            arguments = dict(kept.get("cniArgs") or [])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            # Another plugin's, or one that is just being written.
            continue
        link = next((link for link in links if _is_there(host, link)), None)
        words = [arguments.get(key) for key in ("K8S_POD_NAMESPACE", "K8S_POD_NAME")]
        pod = "/".join(str(word) for word in words) if all(words) else None
        for address in addresses if link else []:
            if any(address in block.destination for block in blocks):
                yield _Pod(address, str(link), pod)


def _is_there(host: Host, link: object) -> bool:
    """Whether a link of Calico's has that name."""
    return (
        isinstance(link, str)
        and re.fullmatch(r"cali[0-9a-zA-Z_.-]{1,11}", link) is not None
        and host.exists(f"/sys/class/net/{link}")
    )
