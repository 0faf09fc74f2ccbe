# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who gives a link its MTU at boot: its manager, the file that we may add to it, what else is set there, or the lines for it.

Sources: systemd.network(5), networkd-network.c (MTUBytes= turns UseMTU= off, in every release), interfaces(5), main.c of
ifupdown (if-up.d comes after a stanza's own lines), netplan(5), nmcli(1), nmstate.io.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ansible_collections.bulwark.node.plugins.module_utils.dropin import Owner
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import link_managers
from ansible_collections.bulwark.node.plugins.module_utils.node.interfaces import INTERFACES, texts
from ansible_collections.bulwark.node.plugins.module_utils.node.links import Link
from ansible_collections.bulwark.node.plugins.module_utils.node.unit_files import assignments, in_order

__all__ = ["DROPIN", "HOOK", "MTU", "NETWORKS", "Place", "observe"]

HOOK = "/etc/network/if-up.d/zz-bulwark-bridge-mtu"
"""The last of its folder: run-parts(8) goes by name, and takes no name with a dot."""
MTU = "<mtu>"
NETWORKS = "/etc/systemd/network"
DROPIN = "90-bulwark-bridge-mtu.conf"
_FOLDERS = (NETWORKS, *(f"{top}/systemd/network" for top in ("/run", "/usr/local/lib", "/usr/lib", "/lib")))
_LINKS, _DEVICES = "/run/systemd/netif/links", "/run/NetworkManager/devices"
_LIBVIRT = "/etc/libvirt/qemu/networks"
_NMSTATE = "/etc/nmstate"
_PROFILES = "/etc/NetworkManager/system-connections"
_SECTIONS = {None: "ethernets", "bridge": "bridges", "bond": "bonds", "vlan": "vlans"}
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
# What names a link that ifupdown makes or takes, beside its own stanza.
_NAMING = re.compile(
    r"^[ \t]*(?:iface|auto|allow-\S+|bridge[_-]ports|vlan[_-]raw[_-]device|bond[_-]slaves|slaves)[ \t]+(.+)$",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Place:
    """Where a link gets its MTU at boot.

    ``path`` is our file for it, None where we write none: then ``reason`` says why, and ``remedy`` what to do for an MTU, with
    ``MTU`` in its place. ``others`` set an MTU as well, in the order in which they are read; ``shared`` are the links
    that have it from the same file. ``dhcp``: a server may send one later.
    """

    path: str | None
    reason: str = ""
    remedy: str = ""
    others: tuple[Owner, ...] = ()
    shared: tuple[str, ...] = ()
    dhcp: bool = False

    @property
    def networkd(self) -> bool:
        """Whether systemd-networkd sets it, which pins no bridge."""
        return self.path is not None and self.path != HOOK

    @property
    def without_us(self) -> str | None:
        """The MTU that it would get without our file, None for the kernel's own."""
        return self.others[-1].value if self.others else None


def observe(host: Host, links: Sequence[Link]) -> dict[str, Place]:
    """The places of all links, by name."""
    managers = link_managers.observe(host)
    interfaces = _interfaces(host)
    files = {link.name: _network_file(host, link) for link in links}
    # It does not note what it only adds to a bridge, or puts below a VLAN.
    unclaimed = interfaces.named - managers.ifupdown if managers.ifupdown and not managers.foreign else frozenset()
    later, networks, ifupdown2 = tuple(_later_hooks(host)), _libvirt(host), host.exists(link_managers.IFUPDOWN2)
    found = {}
    for link in links:
        name = link.name
        manager, why = managers.of(link.index, name)
        if manager in ("systemd-networkd", "netplan") and (file := files[name]):
            shared = tuple(other for other, its in files.items() if its == file and other != name)
            path = f"{NETWORKS}/{file.rpartition('/')[2]}.d/{DROPIN}"
            found[name] = Place(path, others=tuple(_networkd(host, name, file)), shared=shared)
        elif ifupdown2 and (manager == "ifupdown" or (manager is None and name in unclaimed)):
            remedy = f"put the line mtu {MTU} below iface {name} in {INTERFACES}"
            found[name] = Place(None, "ifupdown2 has it, which reads other files than we write", remedy)
        elif manager == "ifupdown" or (manager is None and name in unclaimed):
            others = (*interfaces.mtus.get(name, ()), *(replace(owner, key=name) for owner in later))
            found[name] = Place(HOOK, others=others, dhcp=name in interfaces.dhcp)
        elif manager == "netplan":
            remedy = f"run: netplan set {_SECTIONS.get(link.kind, 'ethernets')}.{name}.mtu={MTU}"
            found[name] = Place(None, "netplan has NetworkManager set it up, for which nothing is written", remedy)
        elif manager == "NetworkManager":
            found[name] = Place(None, *_networkmanager(host, link))
        elif name in networks:
            remedy = f"run: virsh net-edit {networks[name]}, and write <mtu size='{MTU}'/> there"
            found[name] = Place(None, f"libvirt makes it, for its network {networks[name]}", remedy)
        else:
            reason = (why or f"{manager} does not say by which file it has it").removeprefix("manager: ")
            found[name] = Place(None, f"{reason}, so that it is not known what sets it up at boot")
    return found


def _network_file(host: Host, link: Link) -> str | None:
    """The .network file that systemd-networkd took for a link."""
    state = host.read(f"{_LINKS}/{link.index}", 1 << 20) or ""
    match = re.search(r"^NETWORK_FILE=(/\S+\.network)$", state, re.MULTILINE)
    return match.group(1) if match else None


def _networkd(host: Host, name: str, file: str) -> Iterator[Owner]:
    """What else sets MTUBytes=: the file itself and its drop-ins, of which the last one counts."""
    base = file.rpartition("/")[2]
    dropins = in_order(host, [f"{folder}/{base}.d" for folder in _FOLDERS])
    for line in assignments(host, [file, *dropins], "Link"):
        own = line.file.rpartition("/")[2]
        if line.name == "MTUBytes" and own != DROPIN:
            yield Owner(line.file, name, _bytes(line.value), wins=line.file != file and own > DROPIN)


def _bytes(value: str) -> str:
    match = re.fullmatch(r"([0-9]{1,9})([KMG]?)", value, re.ASCII)
    # No text of another's file is repeated.
    return str(int(match.group(1)) * _UNITS[match.group(2)]) if match else "something else"


@dataclass(frozen=True)
class _Interfaces:
    """What interfaces(5) says: the links that it names, their MTUs, and those that ask a DHCP server."""

    named: frozenset[str]
    mtus: Mapping[str, tuple[Owner, ...]]
    dhcp: frozenset[str]


def _interfaces(host: Host) -> _Interfaces:
    named: set[str] = set()
    dhcp: set[str] = set()
    mtus: dict[str, tuple[Owner, ...]] = {}
    for path, text in texts(host):
        for match in _NAMING.finditer(text):
            named.update(match.group(1).split())
        for stanza in re.split(
            r"^[ \t]*(?=(?:iface|auto|allow-|mapping|source|no-)\S*[ \t])", text, flags=re.MULTILINE
        ):
            head = re.match(r"iface[ \t]+(\S+)[^\n]*", stanza)
            if head is None:
                continue
            name = head.group(1)
            if re.search(r"\sdhcp\b", head.group()):
                dhcp.add(name)
            for value in re.findall(r"^[ \t]*mtu[ \t]+(\S+)", stanza, re.MULTILINE):
                mtus[name] = (*mtus.get(name, ()), Owner(path, name, _bytes(value), wins=False))
    return _Interfaces(frozenset(named), mtus, frozenset(dhcp))


def _later_hooks(host: Host) -> Iterator[Owner]:
    folder, own = HOOK.rpartition("/")[::2]
    for other in host.names(folder):
        if other > own and host.is_file(path := f"{folder}/{other}") and "mtu" in (host.read(path) or "").lower():
            yield Owner(path, "", "something else", wins=True, certain=False)


def _libvirt(host: Host) -> dict[str, str]:
    """The networks of libvirt, by the bridges that it makes for them."""
    found = {}
    for file in host.names(_LIBVIRT):
        text = host.read(f"{_LIBVIRT}/{file}") or "" if file.endswith(".xml") else ""
        for name in re.findall(r"<bridge\b[^>]*\bname=['\"]([^'\"]+)['\"]", text):
            found[name] = file[: -len(".xml")]
    return found


def _networkmanager(host: Host, link: Link) -> tuple[str, str]:
    reason = "NetworkManager has it, for which nothing is written"
    if any(name.endswith((".yml", ".yaml")) for name in host.names(_NMSTATE)):
        return (
            f"{reason}, and nmstate sets that up",
            f"write in {_NMSTATE}: interfaces: [{{name: {link.name}, mtu: {MTU}}}]",
        )
    state = host.read(f"{_DEVICES}/{link.index}", 1 << 20) or ""
    match = re.search(r"^connection-uuid=([0-9a-f-]{36})$", state, re.MULTILINE)
    connection = match.group(1) if match else f"<the connection of {link.name}>"
    if any(name.startswith("cloud-init-") for name in host.names(_PROFILES)):
        return (
            f"{reason}, and cloud-init writes its connections",
            f"write in cloud-init's network configuration: mtu: {MTU} below {link.name}",
        )
    return reason, f"run: nmcli connection modify {connection} 802-3-ethernet.mtu {MTU}"
