# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's settings that decide for Kubernetes, as sysctl(8) names them. Sources: admin-guide/sysctl, networking/ip-sysctl.rst."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import netns
from ansible_collections.bulwark.node.plugins.module_utils.node.request import PASSIVE, Request

__all__ = ["NAMES", "facts"]

NAMES = (
    "fs.aio-max-nr",
    "fs.file-max",
    "fs.inotify.max_queued_events",
    "fs.inotify.max_user_instances",
    "fs.inotify.max_user_watches",
    "fs.nr_open",
    "kernel.keys.root_maxbytes",
    "kernel.keys.root_maxkeys",
    "kernel.panic",
    "kernel.panic_on_oops",
    "kernel.pid_max",
    "kernel.sched_rt_runtime_us",
    "kernel.threads-max",
    "net.bridge.bridge-nf-call-arptables",
    "net.bridge.bridge-nf-call-ip6tables",
    "net.bridge.bridge-nf-call-iptables",
    "net.core.somaxconn",
    "net.ipv4.conf.all.forwarding",
    "net.ipv4.conf.all.rp_filter",
    "net.ipv4.ip_forward",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.neigh.default.gc_thresh1",
    "net.ipv4.neigh.default.gc_thresh2",
    "net.ipv4.neigh.default.gc_thresh3",
    "net.ipv6.conf.all.disable_ipv6",
    "net.ipv6.conf.all.forwarding",
    "net.ipv6.neigh.default.gc_thresh3",
    "net.netfilter.nf_conntrack_buckets",
    "net.netfilter.nf_conntrack_max",
    "net.netfilter.nf_conntrack_tcp_timeout_close_wait",
    "net.netfilter.nf_conntrack_tcp_timeout_established",
    "user.max_user_namespaces",
    "vm.max_map_count",
    "vm.min_free_kbytes",
    "vm.overcommit_memory",
    "vm.panic_on_oom",
    "vm.swappiness",
)
_OWNERS = {
    "net.bridge.": "br_netfilter is not loaded",
    "net.ipv6.": "this kernel runs without IPv6",
    "net.netfilter.": "nf_conntrack is not loaded",
}
_ABSENT = "this kernel has no such setting"
# Kubernetes' own range for NodePorts, unless its API server is given another one (--service-node-port-range).
_NODE_PORTS = range(30000, 32768)
_RESERVED = "/proc/sys/net/ipv4/ip_local_reserved_ports"


def facts(host: Host, request: Request = PASSIVE) -> dict[str, Any]:
    """The subset ``sysctls``: a key for each of NAMES, and ``reasons[]`` {name, reason} of those that are None.

    A number is an int; several are text with single spaces between them. ``bridge_netfilter`` and ``node_ports`` are what
    some of them come to.
    """
    outside = host.root and netns.foreign(host)
    values: dict[str, int | str | None] = {}
    reasons = []
    for name in NAMES:
        text, reason = None, next((why for start, why in _OWNERS.items() if name.startswith(start)), _ABSENT)
        try:
            # Those of the network are the reader's own, whichever /proc he reads.
            if outside and name.startswith("net."):
                reason = netns.FOREIGN
            else:
                text = host.read(f"/proc/sys/{name.replace('.', '/')}", 4096)
        except HostError as error:
            reason = str(error)
        values[name] = None if text is None else _value(text)
        if text is None:
            reasons.append({"name": name, "reason": reason})
    return {
        **values,
        "bridge_netfilter": None if outside else _bridge_netfilter(host, values["net.bridge.bridge-nf-call-iptables"]),
        "node_ports": _node_ports(host, values["net.ipv4.ip_local_port_range"], bool(outside)),
        "reasons": reasons,
    }


def _bridge_netfilter(host: Host, value: int | str | None) -> bool | None:
    """Whether iptables sees what bridges forward. Without br_netfilter there is no such setting, and it does not."""
    if value is None:
        return False if host.exists("/proc/sys/net/ipv4") and not host.exists("/proc/sys/net/bridge") else None
    return value == 1


def _node_ports(host: Host, span: int | str | None, outside: bool) -> dict[str, Any]:
    """{first, last, ephemeral, reason}: how many of the NodePorts the kernel may give to connections that it opens itself."""
    known: dict[str, Any] = {"first": _NODE_PORTS[0], "last": _NODE_PORTS[-1], "ephemeral": None}
    if outside or span is None:
        return {**known, "reason": netns.FOREIGN if outside else "there is no net.ipv4.ip_local_port_range"}
    try:
        taken = _ports(str(span).replace(" ", "-")) & set(_NODE_PORTS)
        kept = _ports((host.read(_RESERVED, 1 << 19) or "").strip())
    except HostError as error:
        return {**known, "reason": str(error)}
    except ValueError:
        return {**known, "reason": "net.ipv4.ip_local_port_range or ip_local_reserved_ports is no list of ports"}
    return {**known, "ephemeral": len(taken - kept), "reason": None}


def _ports(text: str) -> set[int]:
    """The numbers of ``80,1000-2000``. Raises ValueError."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, dash, last = part.partition("-")
        begin, end = int(first), int(last if dash else first)
        if not 0 <= begin <= end <= 0xFFFF:
            raise ValueError(part)
        found.update(range(begin, end + 1))
    return found


def _value(text: str) -> int | str:
    words = text.split()
    if len(words) == 1 and re.fullmatch(r"-?[0-9]{1,20}", words[0]):
        return int(words[0])
    return " ".join(words)
