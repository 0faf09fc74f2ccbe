# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which bridges we pinned since boot: the kernel keeps the flag for the life of the device and tells it to nobody."""

from __future__ import annotations

import json

from ansible_collections.bulwark.node.plugins.module_utils.host import Host

__all__ = ["AT_BOOT", "PINS", "add", "read"]

PINS = "/run/bulwark-bridge-pins.json"
"""{boot_id, netns, pins: {ifindex: name}}. During one boot a network namespace gives no index twice."""
AT_BOOT = "/run/bulwark-bridge-pin-"
"""What is pinned at boot is noted by a shell: a file for each index, with the same boot id and network namespace as lines."""


def read(host: Host) -> frozenset[int]:
    """The indexes of the bridges that we pinned; a record of another boot, or that is no record, says nothing."""
    here = "".join(f"{value}\n" for value in _here(host).values())
    folder, prefix = AT_BOOT.rpartition("/")[::2]
    found = [name[len(prefix) :] for name in host.names(folder) if name.startswith(prefix)]
    at_boot = [index for index in found if index.isdecimal() and host.read(f"{AT_BOOT}{index}", 4096) == here]
    return frozenset(map(int, [*_load(host), *at_boot]))


def add(host: Host, index: int, name: str) -> None:
    """Note that a bridge is pinned. Raises HostError."""
    pins = {**_load(host), str(index): name}
    host.replace(PINS, (json.dumps({**_here(host), "pins": pins}, sort_keys=True) + "\n").encode(), 0o600)


def _load(host: Host) -> dict[str, str]:
    try:
        kept = json.loads(host.read(PINS) or "{}")
        pins = {str(int(index)): str(name) for index, name in kept["pins"].items()}
        here = _here(host)
        # Without a boot id nothing tells one boot from another.
        return pins if here["boot_id"] and {key: kept[key] for key in here} == here else {}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _here(host: Host) -> dict[str, str | None]:
    return {"boot_id": host.boot_id(), "netns": host.link_target("/proc/self/ns/net")}
