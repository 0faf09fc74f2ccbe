# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of the module ``bridge_mtu``, checked against each other."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.converge import Params
from ansible_collections.bulwark.node.plugins.module_utils.errors import OptionError

__all__ = [
    "ALL",
    "ARGUMENT_SPEC",
    "IPV6_MINIMUM",
    "OLD_MTUS",
    "PIN",
    "STAYS_PINNED",
    "Desired",
    "Wanted",
    "desired",
    "ssh_connection",
]

ALL = "all"
IPV6_MINIMUM = 1280
OLD_MTUS = "the old MTUs"
"""In ``undone``: the second run has put them back."""
PIN = "the pin of {}"
"""In ``not_undone``, with STAYS_PINNED, of a bridge's name."""
STAYS_PINNED = "it stays pinned: the kernel does not forget it while the bridge lives"
_MINIMUM, _MAXIMUM = 68, 65535  # ETH_MIN_MTU and ETH_MAX_MTU of linux/if_ether.h
_REVERT = (10, 3600)
_PORT = 65535
_SOCKET = r"([0-9A-Fa-f.:]{2,45})(?:%[\w.-]{1,15})? ([0-9]{1,5})"

ARGUMENT_SPEC: dict[str, Any] = {
    "bridges": {
        "type": "list",
        "elements": "dict",
        "options": {
            "name": {"type": "str", "required": True},
            "mtu": {"type": "int"},
            "ports": {"type": "list", "elements": "str"},
            "uppers": {"type": "list", "elements": "str"},
            "pin": {"type": "bool", "default": True},
        },
    },
    "persist": {"type": "bool", "default": True},
    "allow_management_link": {"type": "bool", "default": False},
    "revert_after": {"type": "int", "default": 120},
    "probe": {"type": "str"},
    "confirm": {"type": "str", "no_log": False},
    "ssh_connection": {"type": "str"},
    "fresh_connection": {"type": "str", "choices": ["possible", "shared", "none"], "default": "none"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


@dataclass(frozen=True)
class Wanted:
    """One entry of ``bridges``. ``ports`` and ``uppers`` are names, or ``all`` alone. ``mtu`` None with state absent."""

    option: str
    name: str
    mtu: int | None
    ports: tuple[str, ...]
    uppers: tuple[str, ...]
    pin: bool


@dataclass(frozen=True)
class Desired:
    """The options. ``bridges`` None (state absent alone): every bridge that we set.

    ``ssh_connection`` is the one that the action plugin was told of, ``fresh_connection`` whether it can have another one.
    """

    bridges: tuple[Wanted, ...] | None
    present: bool
    persist: bool
    allow_management_link: bool
    revert_after: int
    probe: str | None
    confirm: str | None
    ssh_connection: str | None = None
    fresh_connection: str = "none"


def desired(params: Params) -> Desired:
    """The options in their form; raises OptionError."""
    present = params["state"] == "present"
    bridges = params["bridges"]
    if not bridges and (present or bridges is not None):
        raise OptionError("bridges", bridges, "at least one bridge")
    if not _REVERT[0] <= params["revert_after"] <= _REVERT[1]:
        raise OptionError("revert_after", params["revert_after"], f"{_REVERT[0]} to {_REVERT[1]} seconds")
    given = params["ssh_connection"]
    if given is not None and ssh_connection(given) is None:
        raise OptionError("ssh_connection", given, "what sshd says: client port server port")
    wanted = [_wanted(f"bridges[{index}]", bridge, present) for index, bridge in enumerate(bridges or ())]
    for index, each in enumerate(wanted):
        earlier = next((other for other in wanted[:index] if other.name == each.name), None)
        if earlier:
            raise OptionError(f"{each.option}.name", each.name, f"another bridge than {earlier.option} names")
    return Desired(
        bridges=None if bridges is None else tuple(wanted),
        present=present,
        persist=params["persist"],
        allow_management_link=params["allow_management_link"],
        revert_after=params["revert_after"],
        probe=_address(params["probe"]),
        confirm=params["confirm"],
        ssh_connection=given,
        fresh_connection=params["fresh_connection"],
    )


def ssh_connection(text: str | None) -> str | None:
    """A value of ``SSH_CONNECTION``, None where it is not of that form: it comes from the node, and may be anything.

    Without a socket of its own sshd says UNKNOWN, which is none. A link-local address has its zone.
    """
    found = re.fullmatch(rf"{_SOCKET} {_SOCKET}", text or "", re.ASCII)
    if found is None:
        return None
    try:
        for address in found.group(1, 3):
            ipaddress.ip_address(address)
    except ValueError:
        return None
    return text if all(0 < int(port) <= _PORT for port in found.group(2, 4)) else None


def _wanted(option: str, bridge: Mapping[str, Any], present: bool) -> Wanted:
    mtu = bridge["mtu"]
    names = {key: _names(f"{option}.{key}", bridge[key]) for key in ("ports", "uppers")}
    if not present:
        for key, value in (("mtu", mtu), ("ports", bridge["ports"]), ("uppers", bridge["uppers"])):
            if value is not None:
                raise OptionError(f"{option}.{key}", value, "nothing beside state absent: all that was set goes back")
    elif mtu is None or not _MINIMUM <= mtu <= _MAXIMUM:
        raise OptionError(f"{option}.mtu", mtu, f"{_MINIMUM} to {_MAXIMUM}")
    return Wanted(option, bridge["name"], mtu, names["ports"], names["uppers"], bridge["pin"])


def _names(option: str, names: Sequence[str] | None) -> tuple[str, ...]:
    found = tuple(names or ())
    if ALL in found and len(found) > 1:
        raise OptionError(option, list(found), f"names, or {ALL} alone")
    for name in found:
        if found.count(name) > 1:
            raise OptionError(option, name, "each name once")
    return found


def _address(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise OptionError("probe", text, "an address such as 192.0.2.1 or 2001:db8::1") from None
