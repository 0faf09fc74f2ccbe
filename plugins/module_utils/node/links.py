# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Network links, by one netlink dump; in a tree by sysfs, which does not tell all. Sources: rtnetlink(7), ip-link(8), sysfs-class-net."""

from __future__ import annotations

import os
import posixpath
import re
import struct
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import netlink
from ansible_collections.bulwark.node.plugins.module_utils.node.request import PASSIVE, Request

__all__ = ["Link", "facts", "observe", "read_mtu", "set_mtu", "standing_on"]

_NET = "/sys/class/net"
_GETLINK, _SETLINK, _GETNSID = 18, 19, 90
_RTGENMSG, _NETNSA_NSID, _NETNSA_FD = 4, 1, 3  # its bytes, and attributes of linux/net_namespace.h
_IFINFO = 16  # bytes of ifinfomsg
# IFLA_*, IFLA_INFO_*, IFLA_BR_*, IFLA_VXLAN_* and IFLA_MACSEC_* of linux/if_link.h
_IFNAME, _MTU, _LINK, _MASTER, _LINKINFO, _EXT_MASK, _LINK_NETNSID, _MIN_MTU, _MAX_MTU = 3, 4, 5, 10, 18, 29, 37, 50, 51
_INFO_KIND, _INFO_DATA = 1, 2
_BR_STP_STATE, _BR_VLAN_FILTERING = 5, 7
_VXLAN_LINK, _VXLAN_GROUP6, _VXLAN_LOCAL6 = 3, 16, 17
_VXLAN_OVERHEAD, _VXLAN6_OVERHEAD = 50, 70  # bytes: VXLAN_HEADROOM and VXLAN6_HEADROOM of net/vxlan.h
_MACSEC_ICV_LEN, _MACSEC_OVERHEAD = 3, 16  # bytes: macsec_extra_len() of drivers/net/macsec.c, and the check value
_SKIP_STATS = struct.pack("=I", 8)  # RTEXT_FILTER_SKIP_STATS
# Their IFLA_LINK is the other end, which they do not stand on.
_PAIRS = ("veth", "netkit")


@dataclass(frozen=True)
class Link:
    """One link. ``master`` and ``lower`` are the ``index`` of another one, None where it has none."""

    index: int
    name: str
    folder: str
    """Its folder in sysfs: ``name`` as the file system has it."""
    kind: str | None
    """As ``ip -d link`` says (``bridge``, ``veth``); None for hardware and the loopback."""
    mtu: int | None
    min_mtu: int | None
    max_mtu: int | None
    """None where it has no bound."""
    master: int | None
    lower: int | None
    overhead: int = 0
    """Bytes that it adds to each frame, of those that its lower link takes."""
    elsewhere: bool = False
    """Whether its lower link, or its other end, is in another network namespace."""
    peer: int | None = None
    """The ``index`` of the other end of a pair (``veth``), where that is here."""
    stp: bool | None = None
    vlan_filtering: bool | None = None
    untold: tuple[str, ...] = ()
    """What could not be read, of the names above."""


def facts(host: Host, request: Request = PASSIVE) -> list[dict[str, Any]]:
    """The subset ``links``, by index: {name, kind, mtu, min_mtu, max_mtu, master, lower, fits_lower, driver, rp_filter, manager, reason}."""
    from ansible_collections.bulwark.node.plugins.module_utils.node import link_managers

    links = observe(host)
    names = {link.index: link.name for link in links}
    mtus = {link.index: link.mtu for link in links}
    managers = link_managers.observe(host)
    shown = []
    for link in links:
        manager, why = managers.of(link.index, link.name)
        reasons = [f"{', '.join(link.untold)}: told by netlink alone"] if link.untold else []
        if link.elsewhere and link.kind not in _PAIRS:
            reasons.append("lower: it is in another network namespace")
        reasons.extend([why] if why else [])
        shown.append(
            {
                "name": link.name,
                "kind": link.kind,
                "mtu": link.mtu,
                "min_mtu": link.min_mtu,
                "max_mtu": link.max_mtu,
                "master": names.get(link.master or 0),
                "lower": names.get(link.lower or 0),
                "fits_lower": _fits(link, mtus.get(link.lower or 0)),
                "driver": None if link.kind else _target(host, f"{link.folder}/device/driver"),
                "rp_filter": _rp_filter(host, posixpath.basename(link.folder)),
                "manager": manager,
                "reason": "; ".join(reasons) or None,
            }
        )
    return shown


def _fits(link: Link, lower: int | None) -> bool | None:
    """Whether its frames, with what it adds to each, are none too large for the link that it stands on; None without one."""
    return None if lower is None or link.mtu is None else link.mtu + link.overhead <= lower


def _rp_filter(host: Host, name: str) -> int | None:
    """The check of source addresses that counts for a link: the larger one of its own and that of all (ip-sysctl.rst)."""
    found = [host.integer(f"/proc/sys/net/ipv4/conf/{each}/rp_filter") for each in ("all", name)]
    return None if None in found else max(filter(None, found), default=0)


def observe(host: Host) -> list[Link]:
    """All links of our network namespace, by index."""
    answer = _dump(host)
    links = _from_sysfs(host) if answer is None else [_link(message) for message in netlink.messages(answer)]
    return sorted(links, key=lambda link: link.index)


def standing_on(host: Host, namespace: int) -> list[Link]:
    """The links here that stand on one of another network namespace, an open descriptor: ``lower`` is its index over there."""
    # The dump comes first: by it the other namespace gets its number here, which a link is told with.
    answer = _dump(host) or b""
    body = bytes(_RTGENMSG) + netlink.attribute(_NETNSA_FD, struct.pack("=I", namespace))
    told = next(netlink.messages(netlink.request(host, netlink.ROUTE, _GETNSID, body)), b"")
    number = netlink.attributes(told, _RTGENMSG).get(_NETNSA_NSID)
    found = []
    for message in netlink.messages(answer):
        attributes, link = netlink.attributes(message, _IFINFO), _link(message)
        if number is not None and attributes.get(_LINK_NETNSID) == number and link.kind not in _PAIRS:
            found.append(replace(link, lower=netlink.number(attributes.get(_LINK))))
    return found


def _dump(host: Host) -> bytes | None:
    request = bytes(_IFINFO) + netlink.attribute(_EXT_MASK, _SKIP_STATS)
    return netlink.dump(host, netlink.ROUTE, _GETLINK, request)


def read_mtu(host: Host, index: int) -> int | None:
    """The MTU of one link now, None where it is gone."""
    return next((link.mtu for link in observe(host) if link.index == index), None)


def set_mtu(host: Host, link: Link, mtu: int) -> None:
    """Give a link an MTU, up or down as it is: by its index, for a name may meanwhile be another's. Raises HostError."""
    body = struct.pack("=BxHiII", 0, 0, link.index, 0, 0) + netlink.attribute(_MTU, struct.pack("=I", mtu))
    try:
        netlink.request(host, netlink.ROUTE, _SETLINK, body)
    except HostError as error:
        reason = str(error).removeprefix("netlink: the kernel says: ")
        raise HostError(link.name, f"cannot get an MTU of {mtu}: {reason}", error.code) from error


def _link(message: bytes) -> Link:
    found = netlink.attributes(message, _IFINFO)
    info = netlink.attributes(found.get(_LINKINFO, b""))
    data = netlink.attributes(info.get(_INFO_DATA, b""))
    kind = _text(info[_INFO_KIND]) if _INFO_KIND in info else None
    # The kernel takes any byte but "/" and white space for a name.
    raw = found.get(_IFNAME, b"").rstrip(b"\0")
    lower = netlink.number(data.get(_VXLAN_LINK) if kind == "vxlan" else found.get(_LINK))
    elsewhere = _LINK_NETNSID in found
    stp = netlink.number(data.get(_BR_STP_STATE)) if kind == "bridge" else None
    filtering = netlink.number(data.get(_BR_VLAN_FILTERING)) if kind == "bridge" else None
    return Link(
        index=netlink.number(message[4:8]) or 0,
        name=_text(raw),
        folder=f"{_NET}/{os.fsdecode(raw)}",
        kind=kind,
        mtu=netlink.number(found.get(_MTU)),
        min_mtu=netlink.number(found.get(_MIN_MTU)),
        max_mtu=netlink.number(found.get(_MAX_MTU)) or None,
        master=netlink.number(found.get(_MASTER)) or None,
        lower=None if elsewhere or kind in _PAIRS else lower or None,
        overhead=_overhead(kind, data),
        elsewhere=elsewhere,
        peer=lower or None if kind in _PAIRS and not elsewhere else None,
        stp=None if stp is None else stp != 0,
        vlan_filtering=None if filtering is None else filtering != 0,
        # Since 4.19.
        untold=() if _MAX_MTU in found else ("min_mtu", "max_mtu"),
    )


def _overhead(kind: str | None, data: dict[int, bytes]) -> int:
    if kind == "macsec":
        return _MACSEC_OVERHEAD + (netlink.number(data.get(_MACSEC_ICV_LEN)) or 0)
    if kind == "vxlan":
        return _VXLAN6_OVERHEAD if _VXLAN_GROUP6 in data or _VXLAN_LOCAL6 in data else _VXLAN_OVERHEAD
    return 0


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode("utf-8", "backslashreplace")


def _from_sysfs(host: Host) -> list[Link]:
    indexes = {name: host.integer(f"{_NET}/{name}/ifindex") for name in host.names(_NET)}
    return [_sysfs_link(host, name, index, indexes) for name, index in indexes.items() if index is not None]


def _sysfs_link(host: Host, name: str, index: int, indexes: dict[str, int | None]) -> Link:
    folder = f"{_NET}/{name}"
    kind = re.search(r"^DEVTYPE=([a-z0-9_]{1,32})$", host.read(f"{folder}/uevent", 8192) or "", re.MULTILINE | re.ASCII)
    lowers = [entry[6:] for entry in host.names(folder) if entry.startswith("lower_")]
    below = [each for each in lowers if _target(host, f"{_NET}/{each}/master") != name]
    hardware = host.exists(f"{folder}/device")
    known = kind is not None or hardware or index == 1
    stp, filtering = (host.integer(f"{folder}/bridge/{what}") for what in ("stp_state", "vlan_filtering"))
    return Link(
        index=index,
        name=name,
        folder=folder,
        kind=kind.group(1) if kind and not hardware else None,
        mtu=host.integer(f"{folder}/mtu"),
        min_mtu=None,
        max_mtu=None,
        master=indexes.get(_target(host, f"{folder}/master") or ""),
        lower=indexes.get(below[0]) if below else None,
        stp=None if stp is None else stp != 0,
        vlan_filtering=None if filtering is None else filtering != 0,
        untold=(*(() if known else ("kind",)), "min_mtu", "max_mtu"),
    )


def _target(host: Host, path: str) -> str | None:
    """The last name of what a symlink of sysfs points to."""
    return posixpath.basename(host.link_target(path) or "") or None
