# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a gateway that translates addresses has to hold for this machine: its connections to each destination outside, over a while.

A port of Cloud NAT can serve one connection to each (protocol, address, port) at a time, so that the busiest destination counts,
and is taken until the gateway's own timeout after that. Sources: Cloud NAT's page "IP addresses and ports", nf_conntrack-sysctl.rst,
nf_conntrack_tcp_packet().
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Callable, NamedTuple

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError, OptionError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import conntrack_flows, nat_witnesses, netns
from ansible_collections.bulwark.node.plugins.module_utils.node.conntrack_flows import Flow

__all__ = ["ARGUMENT_SPEC", "Asked", "Ranges", "asked", "measured"]

ARGUMENT_SPEC: dict[str, Any] = {
    "window": {"type": "int", "default": 60},
    "interval": {"type": "int", "default": 5},
    "exclude": {"type": "list", "elements": "str", "default": []},
    "time_wait": {"type": "int", "default": 120},
    "established_idle": {"type": "int", "default": 1200},
    "transitory_idle": {"type": "int", "default": 30},
    "udp_idle": {"type": "int", "default": 30},
    "top": {"type": "int", "default": 20},
    "probe": {"type": "str", "choices": ["passive", "active"], "default": "passive"},
}
_BOUNDS = {
    "window": (0, 3600, "seconds"),
    # Beyond ten seconds conntrack has forgotten connections that ended by a reset.
    "interval": (1, 10, "seconds"),
    "time_wait": (1, 3600, "seconds"),
    "established_idle": (1, 86400, "seconds"),
    "transitory_idle": (1, 3600, "seconds"),
    "udp_idle": (1, 3600, "seconds"),
    "top": (1, 1000, "destinations"),
}
# What no gateway to the internet translates: RFC 6890, class E, and the addresses of Private Google Access.
_INSIDE = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
    *("192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4", "199.36.153.4/30", "199.36.153.8/30"),
)
# IPv6 is translated by NAT64 alone (RFC 6052).
_NAT64 = ipaddress.ip_network("64:ff9b::/96").network_address.packed[:12]
_SYSCTL = "/proc/sys/net/netfilter/nf_conntrack_"
# After how long a connection in this state is forgotten, by the machine and by the gateway. All other states stay as they are.
_FORGOTTEN = {
    "TIME_WAIT": ("tcp_timeout_time_wait", "time_wait"),
    "CLOSE": ("tcp_timeout_close", "time_wait"),
    "ESTABLISHED": ("tcp_timeout_established", "established_idle"),
    "SYN_SENT": ("tcp_timeout_syn_sent", "transitory_idle"),
    "SYN_SENT2": ("tcp_timeout_syn_sent", "transitory_idle"),
    "SYN_RECV": ("tcp_timeout_syn_recv", "transitory_idle"),
    "udp": ("udp_timeout", "udp_idle"),
    "udp_stream": ("udp_timeout_stream", "udp_idle"),
}
_CLOSED = ("TIME_WAIT", "CLOSE")
# An established connection with data that was not acknowledged gets one of these instead.
_UNSURE = ("tcp_timeout_unacknowledged", "tcp_timeout_max_retrans")
_REMEMBERED = 1 << 17
_CACHED = 1 << 16


@dataclass(frozen=True)
class Asked:
    """The options, checked."""

    window: int
    interval: int
    exclude: tuple[str, ...]
    idle: Mapping[str, int]
    """The gateway's timeouts by the names of the options."""
    top: int
    active: bool


def asked(params: Mapping[str, Any]) -> Asked:
    """The options in one value. Raises OptionError."""
    for name, (least, most, unit) in _BOUNDS.items():
        if not least <= params[name] <= most:
            raise OptionError(name, params[name], f"{unit}, from {least} to {most}")
    if 0 < params["window"] < params["interval"]:
        raise OptionError("window", params["window"], "0, or at least interval, which is the time between two looks")
    for number, text in enumerate(params["exclude"]):
        try:
            ipaddress.ip_network(text)
        except ValueError:
            raise OptionError(f"exclude[{number}]", text, "a range of addresses such as 203.0.113.0/24") from None
    return Asked(
        params["window"],
        params["interval"],
        tuple(params["exclude"]),
        {name: params[name] for name in ("time_wait", "established_idle", "transitory_idle", "udp_idle")},
        params["top"],
        params["probe"] == "active",
    )


class Ranges:
    """What lies inside, and is not translated: private and special addresses, what was named, and the machine's own."""

    def __init__(self, named: Iterable[str], own: Iterable[bytes]) -> None:
        networks = [ipaddress.ip_network(text) for text in (*_INSIDE, *named)]
        self._masks = [(network.version, int(network.network_address), int(network.netmask)) for network in networks]
        self.own = frozenset(own)
        self._known: dict[bytes, bool] = {}

    def outside(self, packed: bytes) -> bool:
        """Whether the gateway translates what is sent to this address."""
        known = self._known.get(packed)
        if known is None:
            if len(self._known) >= _CACHED:
                self._known.clear()
            known = self._known[packed] = self._judged(packed)
        return known

    def began(self, source: bytes) -> bool:
        """Whether a connection from there to the outside is one of ours: all IPv6 that NAT64 gets, and IPv4 from the inside."""
        return len(source) == 16 or not self.outside(source)

    def _judged(self, packed: bytes) -> bool:
        if len(packed) not in (4, 16) or packed in self.own:
            return False
        if len(packed) == 16 and packed[:12] != _NAT64:
            return False
        version, number = (4 if len(packed) == 4 else 6), int.from_bytes(packed, "big")
        return not any(each == version and number & mask == network for each, network, mask in self._masks)


class _Key(NamedTuple):
    protocol: str
    address: bytes
    port: int


@dataclass
class _Look:
    """One look at all connections."""

    live: Counter[_Key] = field(default_factory=Counter)
    closed: Counter[_Key] = field(default_factory=Counter)
    unreplied: Counter[_Key] = field(default_factory=Counter)
    seen: dict[int, bool] = field(default_factory=dict)
    """Each connection, and whether it was closed, by the hash of what identifies it."""
    new: Counter[_Key] = field(default_factory=Counter)
    left_out: int = 0
    any: bool = False
    forwarded: bool = False
    """Whether one of the connections has neither end on the machine itself: those of pods."""
    asked: Counter[nat_witnesses.Destination] = field(default_factory=Counter)


@dataclass
class _Most:
    """The most that was seen at a time of one destination."""

    live: int = 0
    closed: int = 0
    both: int = 0
    unreplied: int = 0
    new: int = 0


class _Timeouts:
    """How long ago the last packet of a connection was, by what conntrack counts down."""

    def __init__(self, host: Host, idle: Mapping[str, int]) -> None:
        self.idle = idle
        self.conntrack = {name: host.integer(_SYSCTL + name) for name, _ours in _FORGOTTEN.values()}
        self._unsure = max(host.integer(_SYSCTL + name) or 0 for name in _UNSURE)

    def holds(self, flow: Flow) -> bool:
        """Whether the gateway still has it. What cannot be told it has."""
        state = flow.state or (("udp_stream" if flow.replied else "udp") if flow.protocol == "udp" else "")
        name, ours = _FORGOTTEN.get(state, ("", ""))
        whole = self.conntrack.get(name)
        if whole is None or flow.remaining is None or (state == "ESTABLISHED" and flow.remaining <= self._unsure):
            return True
        return whole - flow.remaining < self.idle[ours]


def measured(
    host: Host,
    options: Asked,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    """What nat_flows_info returns. ``clock`` and ``sleep`` count the same seconds."""
    try:
        by, why = _source(host, options)
        if by is None:
            return _nothing(why)
        return _over_a_while(host, options, by, clock, sleep)
    except HostError as error:
        hint = ": run this as root, with become" if error.code in ("EACCES", "EPERM") else ""
        return _nothing(f"{error}{hint}")


def _source(host: Host, options: Asked) -> tuple[str | None, str]:
    if host.root and netns.foreign(host):
        return None, netns.FOREIGN
    if host.integer(f"{_SYSCTL}count") is None:
        return None, "nf_conntrack is not loaded: nothing here follows connections"
    by = conntrack_flows.method(host, options.active)
    return by, (
        "this kernel has no /proc/net/nf_conntrack (CONFIG_NF_CONNTRACK_PROCFS), and nf_conntrack_netlink is not loaded, "
        "or built in and not to be told: probe: active asks it"
    )


def _over_a_while(
    host: Host, options: Asked, by: str, clock: Callable[[], float], sleep: Callable[[float], None]
) -> dict[str, Any]:
    ranges = Ranges(options.exclude, _own(host))
    timeouts = _Timeouts(host, options.idle)
    held = nat_witnesses.held(host, ranges.outside)
    began = at = clock()
    look = _look(host, by, ranges, timeouts, held, None)
    # Who had it before the look and still has it: conntrack had to know it in between.
    held &= nat_witnesses.held(host, ranges.outside)
    missing = sum((held - look.asked).values())
    if reason := _blind(host, look, sum(held.values()), missing):
        return _nothing(reason, held=sum(held.values()), missing=missing)
    most: dict[_Key, _Most] = {}
    _add(most, look)
    connections, left_out, looks = sum(look.live.values()), look.left_out, 1
    due = float(options.interval)
    while due <= options.window:
        sleep(max(0.0, began + due - clock()))
        at = clock()
        look = _look(host, by, ranges, timeouts, {}, look.seen)
        _add(most, look)
        connections, left_out = max(connections, sum(look.live.values())), max(left_out, look.left_out)
        looks += 1
        # A look may take longer than the interval.
        due = max(due + options.interval, clock() - began)
    elapsed = at - began
    rated = bool(elapsed) and not left_out
    rows = [_row(key, seen, elapsed if rated else None, options.idle["time_wait"]) for key, seen in most.items()]
    rows.sort(key=lambda row: (-row["ports"], -row["concurrent"], row["protocol"], row["address"], row["port"]))
    return {
        "source": "netfilter",
        "method": by,
        "reason": "; ".join(_limits(host, timeouts, elapsed, left_out, missing, sum(held.values()))) or None,
        "window": round(elapsed, 3),
        "looks": looks,
        "connections": connections,
        "destinations_seen": len(rows),
        "destinations": rows[: options.top],
        "left_out": left_out,
        "witnesses": {"held": sum(held.values()), "missing": missing},
    }


def _nothing(reason: str, held: int | None = None, missing: int | None = None) -> dict[str, Any]:
    empty = dict.fromkeys(("method", "window", "looks", "connections", "destinations_seen", "destinations", "left_out"))
    return {"source": "none", **empty, "reason": reason, "witnesses": {"held": held, "missing": missing}}


def _look(
    host: Host,
    by: str,
    ranges: Ranges,
    timeouts: _Timeouts,
    watched: Mapping[nat_witnesses.Destination, int],
    before: Mapping[int, bool] | None,
) -> _Look:
    """Count all connections once. Without those of a look ``before`` none is new."""
    look = _Look()
    for flow in conntrack_flows.flows(host, by):
        look.any = True
        look.forwarded = look.forwarded or not {flow.source, flow.peer[0]} & ranges.own
        if flow.asked in watched:
            look.asked[flow.asked] += 1
        if not ranges.outside(flow.peer[0]) or not ranges.began(flow.source):
            continue
        key = _Key(flow.protocol, *flow.peer)
        # The same again, of another zone of conntrack, or of a table that was resized meanwhile, is one connection.
        identity = hash((flow.protocol, flow.source, flow.source_port, flow.asked))
        if identity in look.seen:
            continue
        if len(look.seen) < _REMEMBERED:
            look.seen[identity] = flow.state in _CLOSED
        else:
            look.left_out += 1
            if key not in look.live and key not in look.closed:
                continue
        _count(look, key, flow, timeouts)
        # Of the same addresses and ports, what lives and was closed is another.
        if before is not None and (identity not in before or (before[identity] and flow.state not in _CLOSED)):
            look.new[key] += 1
    return look


def _count(look: _Look, key: _Key, flow: Flow, timeouts: _Timeouts) -> None:
    if not timeouts.holds(flow):
        return
    if flow.state in _CLOSED:
        look.closed[key] += 1
        return
    look.live[key] += 1
    if flow.state == "SYN_SENT" and not flow.replied:
        look.unreplied[key] += 1


def _add(most: dict[_Key, _Most], look: _Look) -> None:
    for key in {*look.live, *look.closed, *look.new}:
        if key not in most and len(most) >= _REMEMBERED:
            look.left_out += 1
            continue
        seen = most.setdefault(key, _Most())
        live, closed = look.live[key], look.closed[key]
        seen.live, seen.closed = max(seen.live, live), max(seen.closed, closed)
        seen.both, seen.unreplied = max(seen.both, live + closed), max(seen.unreplied, look.unreplied[key])
        seen.new += look.new[key]


def _row(key: _Key, seen: _Most, elapsed: float | None, time_wait: int) -> dict[str, Any]:
    """A destination. A port is taken by each live connection, and over TCP until its time in TIME_WAIT is over."""
    rate = None if elapsed is None else seen.new / elapsed
    waiting = math.ceil((rate or 0) * time_wait) if key.protocol == "tcp" else 0
    return {
        "protocol": key.protocol,
        "address": str(ipaddress.ip_address(key.address)),
        "port": key.port,
        "concurrent": seen.live,
        "new_per_second": None if rate is None else round(rate, 3),
        "time_wait": seen.closed,
        "unreplied": seen.unreplied,
        "ports": max(seen.live + waiting, seen.both),
    }


def _own(host: Host) -> set[bytes]:
    """The machine's own addresses of IPv4: fib_trie_seq_show()."""
    found, last = set(), ""
    for line in host.lines("/proc/net/fib_trie"):
        words = line.split()
        if words[:1] == ["|--"]:
            last = words[-1]
        elif words[-2:] == ["host", "LOCAL"]:
            found.add(ipaddress.IPv4Address(last).packed)
    return found


def _blind(host: Host, look: _Look, held: int, missing: int) -> str | None:
    """Why conntrack does not see what the machine sends, as far as that can be told; None where it seems to."""
    if not look.any:
        return "conntrack follows no connection at all: no rule of this machine uses it, or a data plane passes it by"
    if missing * 4 > held:
        return (
            f"conntrack does not know {missing} of {held} connections to the outside that processes hold: a data plane such as "
            "that of Cilium (Dataplane V2) passes it by, or rules have it left out (NOTRACK)"
        )
    if not look.forwarded and host.exists("/sys/class/net/cilium_host"):
        return (
            "Cilium (Dataplane V2) carries the pods' traffic, and conntrack has no connection of a pod: it is passed by"
        )
    return None


def _limits(host: Host, timeouts: _Timeouts, elapsed: float, left_out: int, missing: int, held: int) -> list[str]:
    """What of the result is less than the truth, and why."""
    found = []
    if not elapsed:
        found.append("new_per_second: there was one look alone (window: 0)")
    if left_out:
        found.append(f"{left_out} connections beyond {_REMEMBERED} at a time were left out, and new ones not counted")
    if missing:
        found.append(f"conntrack does not know {missing} of {held} connections that processes hold")
    kept = timeouts.conntrack["tcp_timeout_time_wait"]
    if kept is not None and kept < timeouts.idle["time_wait"]:
        found.append(
            f"time_wait: conntrack forgets a closed connection after {kept} seconds (nf_conntrack_tcp_timeout_time_wait), "
            f"the gateway after {timeouts.idle['time_wait']}"
        )
    count, most = host.integer(f"{_SYSCTL}count"), host.integer(f"{_SYSCTL}max")
    if count and most and count >= most:
        found.append(f"conntrack is full ({count} of {most}): it drops what is new")
    return found
