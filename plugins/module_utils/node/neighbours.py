# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's tables of neighbours (ARP, NDISC): how full they are. Sources: arp(7), networking/ip-sysctl.rst, neigh_stat_seq_show().

There is one table for all network namespaces, the pods' among them, and its bounds are the machine's alone.
"""

from __future__ import annotations

from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import netns
from ansible_collections.bulwark.node.plugins.module_utils.node.request import PASSIVE, Request

__all__ = ["facts"]

_STATISTICS = {"ipv4": "/proc/net/stat/arp_cache", "ipv6": "/proc/net/stat/ndisc_cache"}


def facts(host: Host, request: Request = PASSIVE) -> dict[str, Any]:
    """The subset ``neighbours``: {ipv4, ipv6} of {entries, max, fullness, overflows, reason}.

    ``max`` is gc_thresh3, beyond which no neighbour is added, ``overflows`` how often that was so since boot.
    """
    return {family: _table(host, family) for family in _STATISTICS}


def _table(host: Host, family: str) -> dict[str, Any]:
    table: dict[str, Any] = dict.fromkeys(("entries", "max", "fullness", "overflows", "reason"))
    if host.root and netns.foreign(host):
        return {**table, "reason": netns.FOREIGN}
    table["max"] = host.integer(f"/proc/sys/net/{family}/neigh/default/gc_thresh3")
    if table["max"] is None:
        return {**table, "reason": f"there is no gc_thresh3 of {family} here"}
    try:
        entries, overflows = _statistics(host, _STATISTICS[family])
    except HostError as error:
        return {**table, "reason": str(error)}
    fullness = round(entries / table["max"], 4) if table["max"] else None
    # Before Linux 4.8 the kernel does not count them.
    reason = "overflows: this kernel does not count them" if overflows is None else None
    return {**table, "entries": entries, "fullness": fullness, "overflows": overflows, "reason": reason}


def _statistics(host: Host, path: str) -> tuple[int, int | None]:
    """Entries of the table, which each CPU's row repeats, and the sum of what each CPU counted."""
    header, *rows = [line.split() for line in (host.read(path) or "").split("\n")]
    try:
        columns = dict(zip(header, zip(*([int(word, 16) for word in row] for row in rows if row))))
        return columns["entries"][0], sum(columns["table_fulls"]) if "table_fulls" in columns else None
    except (ValueError, KeyError):
        raise HostError(path, "does not exist, or has no row of numbers for each CPU with the column entries") from None
