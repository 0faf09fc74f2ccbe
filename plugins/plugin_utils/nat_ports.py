# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many ports and addresses a Cloud NAT gateway needs for a load, and when one breaks. Pure.

Sources: Cloud NAT's page "IP addresses and ports" (the arithmetic and its examples), compute/v1 routers (the bounds of the fields).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.gcp.nat_limits import (
    ALIAS_LEAST,
    DYNAMIC_MAXIMUM,
    DYNAMIC_MINIMUM,
    PORTS_PER_ADDRESS,
    STATIC,
    STATIC_DEFAULT,
    next_power,
)
from ansible_collections.bulwark.node.plugins.plugin_utils.plain import is_whole

__all__ = ["Load", "NatError", "addresses_for", "breaking", "load_of", "plan", "vms"]


class NatError(ValueError):
    """A value that cannot be planned with; the message names it and says what was expected."""


@dataclass(frozen=True)
class Load:
    """What a gateway has to carry. ``concurrent`` and ``new_per_second`` are one VM's to its busiest destination."""

    nodes: int
    concurrent: int
    new_per_second: Fraction
    time_wait_s: int
    headroom: Fraction
    alias_ranges: bool
    dynamic: bool
    typical: int | None
    """The ports that most VMs take, without headroom; None where that is not known."""

    @property
    def taken(self) -> int:
        """Ports that are taken at a time: of what is open, and of what was closed within TIME_WAIT."""
        return math.ceil(self.concurrent + self.new_per_second * self.time_wait_s)

    @property
    def need(self) -> int:
        """The same with headroom."""
        return math.ceil((self.concurrent + self.new_per_second * self.time_wait_s) * self.headroom)


_WHOLE = {
    "nodes": (1, 1_000_000, None),
    "concurrent": (0, 1_000_000_000, None),
    "time_wait_s": (1, 86400, 120),
    "typical": (0, 1_000_000_000, None),
}
_FRACTIONS = {"new_per_second": (0, 1_000_000, 0), "headroom": (1, 100, "1.25")}
_FLAGS = {"alias_ranges": True, "dynamic": False}


def load_of(given: Any) -> Load:
    """A load from a dictionary of plain types. Raises NatError."""
    if not isinstance(given, Mapping):
        raise NatError(f"was given {given!r}; expected a dictionary")
    names = {*_WHOLE, *_FRACTIONS, *_FLAGS}
    if strange := sorted(str(name) for name in given if name not in names):
        raise NatError(f"{strange[0]}: is not known; expected some of {', '.join(sorted(names))}")
    optional = {"typical"}
    values: dict[str, Any] = {name: _whole(given, name, name in optional) for name in _WHOLE}
    values |= {name: _fraction(given, name) for name in _FRACTIONS}
    for name, default in _FLAGS.items():
        values[name] = given[name] if given.get(name) is not None else default
        if not isinstance(values[name], bool):
            raise NatError(f"{name}: is {given[name]!r}; expected true or false")
    return Load(**values)


def _whole(given: Mapping[str, Any], name: str, optional: bool) -> int | None:
    least, most, default = _WHOLE[name]
    value = given.get(name) if given.get(name) is not None else default
    if value is None and optional:
        return None
    if not is_whole(value) or not least <= value <= most:
        raise NatError(f"{name}: is {value!r}; expected a whole number from {least} to {most}")
    return value


def _fraction(given: Mapping[str, Any], name: str) -> Fraction:
    least, most, default = _FRACTIONS[name]
    value = given.get(name) if given.get(name) is not None else default
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise NatError(f"{name}: is {value!r}; expected a number from {least} to {most}")
    try:
        # 1.1 is meant, not the double next to it.
        number = Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        raise NatError(f"{name}: is {value!r}; expected a number from {least} to {most}") from None
    if not least <= number <= most:
        raise NatError(f"{name}: is {value!r}; expected a number from {least} to {most}")
    return number


def vms(addresses: int, ports: int) -> int:
    """How many VMs with so many ports each so many addresses serve."""
    return addresses * PORTS_PER_ADDRESS // ports


def addresses_for(nodes: int, ports: int) -> int:
    """The least number of addresses that serves so many VMs with so many ports each."""
    return -(-nodes * ports // PORTS_PER_ADDRESS)


def plan(load: Load) -> dict[str, Any]:
    """What docs/schemas.md has as a plan: the settings of a gateway that carries the load, and why they are these."""
    reasons = [
        _reason(
            "need",
            f"{load.concurrent} connections to the busiest destination and {_number(load.new_per_second)} new ones per second that each "
            f"wait {load.time_wait_s} s take {load.taken} ports; with headroom {_number(load.headroom)} these are {load.need}",
        )
    ]
    least, most, feasible = _dynamic(load, reasons) if load.dynamic else _static(load, reasons)
    # With dynamic allocation all VMs may be at their peak at once; beyond it nothing is reserved.
    ports = min(most, max(least, next_power(load.need))) if most else next_power(least)
    addresses = addresses_for(load.nodes, ports)
    reasons.append(
        _reason(
            "addresses",
            f"{load.nodes} VMs with {ports} ports each: {addresses} x {PORTS_PER_ADDRESS} ports serve {vms(addresses, ports)} of them",
        )
    )
    if load.dynamic and (fewer := addresses_for(load.nodes, least)) < addresses:
        reasons.append(_reason("addresses", f"{fewer} would do as long as all VMs stay at {least} ports"))
    return {
        "need": load.need,
        "feasible": feasible,
        "min_ports_per_vm": least,
        "max_ports_per_vm": most,
        "addresses": addresses,
        "vms_per_address": vms(1, ports),
        "churn_cap_per_second": _rounded(Fraction(most or least, load.time_wait_s)),
        "reasons": reasons,
    }


def _static(load: Load, reasons: list[dict[str, str]]) -> tuple[int, None, bool]:
    wanted = min(max(STATIC_DEFAULT, next_power(load.need)), STATIC[1])
    if load.alias_ranges and wanted < ALIAS_LEAST:
        wanted = ALIAS_LEAST
        reasons.append(
            _reason("alias_ranges", f"a VM whose alias ranges are translated gets at least {ALIAS_LEAST} ports")
        )
    return wanted, None, _fits(load, STATIC[1], reasons)


def _dynamic(load: Load, reasons: list[dict[str, str]]) -> tuple[int, int, bool]:
    peak = min(max(next_power(load.need), DYNAMIC_MAXIMUM[0]), DYNAMIC_MAXIMUM[1])
    if load.typical is None:
        usual = peak // 2
        reasons.append(_reason("dynamic", "what VMs usually take is not known: they begin with half of the peak"))
    else:
        usual = next_power(math.ceil(load.typical * load.headroom))
        reasons.append(_reason("dynamic", f"VMs begin with what they usually take, {load.typical} ports and headroom"))
    least = min(max(usual, DYNAMIC_MINIMUM[0]), DYNAMIC_MINIMUM[1])
    return least, max(peak, 2 * least), _fits(load, DYNAMIC_MAXIMUM[1], reasons)


def _fits(load: Load, most: int, reasons: list[dict[str, str]]) -> bool:
    if load.need <= most:
        return True
    reasons.append(
        _reason(
            "limit",
            f"{load.need} ports are needed, and a VM can have {most}: reuse connections, or spread them over more VMs or destinations",
        )
    )
    return False


def breaking(load: Load, now: Any) -> dict[str, Any]:
    """When a gateway as it is now breaks under a load that grows. Raises NatError.

    ``now`` has ``min_ports_per_vm``, with dynamic allocation ``max_ports_per_vm``, and ``addresses``, None where the gateway adds
    them by itself. The result is what docs/schemas.md has as ``now``: ``verdict`` is ``enough``, ``tight`` (within the headroom) or ``short``.
    """
    if not isinstance(now, Mapping):
        raise NatError(f"now: is {now!r}; expected a dictionary")
    least, most = _ports(now, "min_ports_per_vm"), _ports(now, "max_ports_per_vm") if load.dynamic else None
    if least is None or (load.dynamic and most is None):
        raise NatError(
            "now: lacks min_ports_per_vm, or with dynamic allocation max_ports_per_vm; expected whole numbers"
        )
    addresses = _ports(now, "addresses", 0)
    # Of what is reserved beyond the field's greatest value it promises nothing.
    given = most or max(min(next_power(least), STATIC[1]), least, ALIAS_LEAST if load.alias_ranges else 0)
    # Dynamic allocation gives as many as the addresses have, which they all may want at once.
    served, with_headroom = (
        None
        if addresses is None
        else vms(addresses, min(given, max(least, next_power(ports))) if load.dynamic else next_power(given))
        for ports in (load.taken, load.need)
    )
    growth = None if not load.taken else Fraction(given, load.taken)
    short = load.taken > given or (served is not None and served < load.nodes)
    tight = load.need > given or (with_headroom is not None and with_headroom < load.nodes)
    return {
        "ports_per_vm": given,
        "addresses": addresses,
        "verdict": "short" if short else "tight" if tight else "enough",
        "load_factor": None if growth is None else _rounded(growth),
        "breaks_at": {
            "concurrent": max(0, math.floor(given - load.new_per_second * load.time_wait_s)) + 1,
            "new_per_second": _rounded(max(Fraction(0), Fraction(given - load.concurrent, load.time_wait_s))),
            "nodes": None if served is None else served + 1,
        },
    }


def _ports(now: Mapping[str, Any], name: str, least: int = 1) -> int | None:
    value = now.get(name)
    if value is not None and (not is_whole(value) or not least <= value <= 1 << 31):
        raise NatError(f"now.{name}: is {value!r}; expected a whole number")
    return value


def _reason(source: str, detail: str) -> dict[str, str]:
    return {"source": source, "detail": detail}


def _rounded(number: Fraction) -> float:
    return round(float(number), 2)


def _number(number: Fraction) -> str:
    return f"{float(number):g}"
