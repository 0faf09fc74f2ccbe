# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connection tracking: how full it is, and what it lost. Sources: nf_conntrack-sysctl.rst, nf_conntrack_standalone.c, conntrack(8)."""

from __future__ import annotations

from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import netns
from ansible_collections.bulwark.node.plugins.module_utils.node.rate import HOUR, since_boot
from ansible_collections.bulwark.node.plugins.module_utils.node.request import PASSIVE, Request

__all__ = ["facts"]

_SYSCTL = "/proc/sys/net/netfilter/nf_conntrack"
_STATISTICS = "/proc/net/stat/nf_conntrack"
# NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET_STATS_CPU, and nfgenmsg: family, version, resource id.
_GET_STATS_CPU = 0x104
_NFGENMSG = bytes(4)
# By the names of /proc and conntrack(8); CTA_STATS_* of linux/netfilter/nfnetlink_conntrack.h.
_COUNTERS = {"insert_failed": 9, "drop": 10, "early_drop": 11}


def facts(host: Host, request: Request = PASSIVE) -> dict[str, Any]:
    """The subset ``conntrack``: {loaded, count, max, fullness, insert_failed, drop, early_drop, and two rates, reason}.

    ``fullness`` is count / max. The counters are sums over the CPUs since boot, of our network namespace; the rates are what
    they come to per hour, ``lost_per_hour`` those of ``drop`` and ``early_drop`` together.
    """
    reasons: list[str] = []
    count = maximum = None
    counters: dict[str, int] | None = None
    outside = bool(host.root and netns.foreign(host))
    if outside:
        reasons.append(netns.FOREIGN)
    else:
        count, maximum = host.integer(f"{_SYSCTL}_count"), host.integer(f"{_SYSCTL}_max")
        if count is None:
            reasons.append("nf_conntrack is not loaded")
        else:
            if maximum == 0:
                reasons.append("fullness: nf_conntrack_max is 0, no limit")
            try:
                counters = _from_proc(host) or _from_netlink(host, request)
            except HostError as error:
                reasons.append(f"counters: {error}")
            else:
                if counters is None:
                    reasons.append(
                        "counters: this kernel has no /proc/net/stat/nf_conntrack (CONFIG_NF_CONNTRACK_PROCFS), "
                        "and nf_conntrack_netlink is not loaded, or built in and not to be told: probe: active asks it"
                    )
    return {
        "loaded": None if outside else count is not None,
        "count": count,
        "max": maximum,
        "fullness": round(count / maximum, 4) if count is not None and maximum else None,
        **{name: None if counters is None else counters.get(name) for name in _COUNTERS},
        "insert_failed_per_hour": since_boot(host, counters["insert_failed"] if counters else None, HOUR),
        "lost_per_hour": since_boot(host, counters["drop"] + counters["early_drop"] if counters else None, HOUR),
        "reason": "; ".join(reasons) or None,
    }


def _from_proc(host: Host) -> dict[str, int] | None:
    """The sums of the columns, by their names: their number and order differ between kernels. None where there is no file."""
    text = host.read(_STATISTICS)
    if text is None:
        return None
    rows = [line.split() for line in text.split("\n")]
    header = rows[0]
    try:
        columns = list(zip(*([int(word, 16) for word in row] for row in rows[1:] if row)))
    except ValueError:
        raise HostError(_STATISTICS, f"holds {text[:60]!r}, expected a row of numbers for each CPU") from None
    sums = dict(zip(header, map(sum, columns)))
    if not sums.keys() >= _COUNTERS.keys():
        raise HostError(_STATISTICS, f"has the columns {' '.join(header)[:200]!r}, without {', '.join(_COUNTERS)}")
    return {name: sums[name] for name in _COUNTERS}


def _from_netlink(host: Host, request: Request) -> dict[str, int] | None:
    """The same by netlink, which makes the kernel load nf_conntrack_netlink: not asked when passive, unless it is there."""
    if not request.active and not host.exists("/sys/module/nf_conntrack_netlink"):
        return None
    from ansible_collections.bulwark.node.plugins.module_utils.node import netlink

    answer = netlink.dump(host, netlink.NETFILTER, _GET_STATS_CPU, _NFGENMSG)
    if answer is None:
        return None
    rows = [netlink.attributes(message, len(_NFGENMSG)) for message in netlink.messages(answer)]
    return {name: sum(int.from_bytes(row.get(kind, b""), "big") for row in rows) for name, kind in _COUNTERS.items()}
