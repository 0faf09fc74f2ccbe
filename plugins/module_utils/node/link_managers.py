# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who manages a link, by the state that network managers keep in /run; what only could is not asked.

Sources: networkd-state-file.c, NetworkManager's nm-config.c (device state), interfaces(5), netplan(5).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import interfaces, netns

__all__ = ["IFUPDOWN2", "Managers", "observe"]

_NETWORKD = "/run/systemd/netif/links"
_NETWORKMANAGER = "/run/NetworkManager/devices"
_PROFILES = "/run/NetworkManager/system-connections"
# ifupdown's and ifupdown-ng's.
_IFSTATE = ("/run/network/ifstate", "/run/ifstate")
IFUPDOWN2 = "/run/network/ifstatelock"
"""What ifupdown2 leaves when it has set links up. Its state is a pickle, which nobody but itself should load."""
# Of "pending", "initialized", "unmanaged" and "linger" it has not taken hold.
_HELD = re.compile(r"^ADMIN_STATE=(?:configuring|configured|failed)$", re.MULTILINE)
_BY_NETPLAN = re.compile(r"^NETWORK_FILE=/run/systemd/network/(?:[0-9]+-)?netplan-", re.MULTILINE)


@dataclass(frozen=True)
class Managers:
    """The managers' state. ``ifupdown`` are the names that it has brought up, ``netplan`` what netplan wrote for NetworkManager.

    ``hidden`` says why the latter may not be read.
    """

    host: Host
    foreign: bool
    ifupdown: frozenset[str]
    netplan: tuple[str, ...]
    hidden: HostError | None

    def of(self, index: int, name: str) -> tuple[str | None, str | None]:
        """(manager, None), or (None, why that cannot be told)."""
        if self.foreign:
            return None, f"manager: {netns.FOREIGN}"
        try:
            found = [one for one in (self._networkd(index), self._networkmanager(index, name)) if one]
        except HostError as error:
            return None, f"manager: {error}"
        if name in self.ifupdown:
            found.append("ifupdown")
        if len(found) == 1:
            return found[0], None
        if found:
            return None, f"manager: {' and '.join(found)} both have it"
        return None, "manager: neither systemd-networkd, NetworkManager nor ifupdown has it"

    def _networkd(self, index: int) -> str | None:
        state = self.host.read(f"{_NETWORKD}/{index}", 1 << 20) or ""
        if not _HELD.search(state):
            return None
        return "netplan" if _BY_NETPLAN.search(state) else "systemd-networkd"

    def _networkmanager(self, index: int, name: str) -> str | None:
        state = self.host.read(f"{_NETWORKMANAGER}/{index}", 1 << 20) or ""
        if not re.search(r"^managed=true$", state, re.MULTILINE):
            return None
        if self.hidden:
            raise self.hidden
        # Older netplan wrote no uuid.
        keys = {f"interface-name={name}", *re.findall(r"^connection-(uuid=.+)$", state, re.MULTILINE)}
        if any(keys.intersection(profile.split("\n")) for profile in self.netplan):
            return "netplan"
        return "NetworkManager"


def observe(host: Host) -> Managers:
    """Read what is kept for all links in one file."""
    profiles: list[str] = []
    hidden = None
    try:
        profiles = _netplan(host)
    except HostError as error:
        hidden = error  # for root's eyes
    return Managers(host, netns.foreign(host), frozenset(_ifupdown(host)), tuple(profiles), hidden)


def _ifupdown(host: Host) -> set[str]:
    up: set[str] = set()
    for path in _IFSTATE:
        up.update(re.findall(r"^([^=\s]+)=\S", host.read(path) or "", re.MULTILINE))
    if not up and host.exists(IFUPDOWN2):
        for _path, text in interfaces.texts(host):
            up.update(re.findall(r"^[ \t]*iface[ \t]+(\S+)", text, re.MULTILINE))
    return up


def _netplan(host: Host) -> list[str]:
    """The profiles that netplan wrote for NetworkManager; they may hold secrets, and are matched alone."""
    names = [name for name in host.names(_PROFILES) if name.startswith("netplan-")]
    return [text for text in (host.read(f"{_PROFILES}/{name}", 1 << 20) for name in names) if text]
