# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A kernel's links behind netlink: they take an MTU by the rules of net/core/dev.c, net/bridge, net/8021q and their like."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import netlink
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node import dumps

SETLINK = 19
OVERHEAD = 50


@dataclass
class FakeLink:
    """One device. ``pinned`` is the kernel's BROPT_MTU_SET_BY_USER, which it tells to nobody."""

    index: int
    name: str
    kind: str | None = None
    mtu: int = 1500
    low: int = 68
    high: int = 65535
    master: str | None = None
    lower: str | None = None
    pinned: bool = False
    elsewhere: bool = False
    addresses: list[str] = field(default_factory=list)


class FakeLinks:
    """The links of a machine, answering in the place of netlink. ``log``: (name, mtu) of each set, as asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *links: FakeLink) -> None:
        self.links = {link.name: link for link in links}
        self.routes: list[bytes] = []
        self.log: list[tuple[str, int]] = []
        self.refuse: Callable[[str, int], HostError | None] = lambda name, mtu: None
        monkeypatch.setattr(netlink, "dump", self._dump)
        monkeypatch.setattr(netlink, "request", self._request)

    def __getitem__(self, name: str) -> FakeLink:
        return self.links[name]

    def mtus(self) -> dict[str, int]:
        return {link.name: link.mtu for link in self.links.values()}

    def state(self) -> dict[str, tuple[int, list[str]]]:
        """What must be the same before and after what failed."""
        return {link.name: (link.mtu, list(link.addresses)) for link in self.links.values()}

    # the kernel

    def add(self, link: FakeLink) -> None:
        self.links[link.name] = link
        self._adjust(link.master)

    def delete(self, name: str) -> None:
        self._adjust(self.links.pop(name).master)

    def set_mtu(self, name: str, mtu: int) -> None:
        """dev_set_mtu(): with the words of rtnetlink where it refuses."""
        link = self.links[name]
        if mtu == link.mtu:
            return
        if not link.low <= mtu <= link.high:
            raise HostError("netlink", "the kernel says: mtu greater than device maximum (EINVAL)", "EINVAL")
        room = self.links[link.lower].mtu if link.lower else mtu
        if link.kind == "vxlan" and mtu > room - OVERHEAD:
            raise HostError("netlink", "the kernel says: Invalid argument (EINVAL)", "EINVAL")
        if link.kind in ("vlan", "macvlan") and mtu > room:
            code = {"vlan": "ERANGE", "macvlan": "EINVAL"}[link.kind]
            raise HostError("netlink", f"the kernel says: it does not fit ({code})", code)
        if link.kind == "bond":
            for slave in self._with(master=name):
                self.set_mtu(slave.name, mtu)
        link.pinned |= link.kind == "bridge"
        self._change(link, mtu)

    def _change(self, link: FakeLink, mtu: int) -> None:
        link.mtu = mtu
        if mtu < 1280:
            link.addresses = [text for text in link.addresses if ipaddress.ip_interface(text).version == 4]
        for upper in self.links.values():
            if upper.lower == link.name and (
                upper.kind == "ipvlan" or (upper.kind in ("vlan", "macvlan") and upper.mtu > mtu)
            ):
                self._change(upper, mtu)
        self._adjust(link.master)

    def _adjust(self, name: str | None) -> None:
        """br_mtu_auto_adjust()."""
        bridge = self.links.get(name or "")
        if bridge and bridge.kind == "bridge" and not bridge.pinned:
            mtu = min((port.mtu for port in self._with(master=bridge.name)), default=1500)
            if mtu != bridge.mtu:
                self._change(bridge, mtu)

    def _with(self, master: str) -> list[FakeLink]:
        return [link for link in self.links.values() if link.master == master]

    # netlink

    def _dump(self, host: Host, protocol: int, kind: int, body: bytes) -> bytes:
        if kind == dumps.GETROUTE:
            return b"".join(self.routes) + dumps.DONE
        if kind == dumps.GETADDR:
            found = [dumps.address(link.index, text) for link in self.links.values() for text in link.addresses]
            return b"".join(found) + dumps.DONE
        return b"".join(self._message(link) for link in self.links.values()) + dumps.DONE

    def _message(self, link: FakeLink) -> bytes:
        more: dict[str, int] = {"mtu": link.mtu, "low": link.low, "high": link.high}
        if link.master:
            more["master"] = self.links[link.master].index
        lower = self.links[link.lower].index if link.lower else None
        if link.elsewhere:
            more["netnsid"] = 0
        data = {3: dumps.number(lower)} if link.kind == "vxlan" and lower else {}
        if link.kind != "vxlan" and lower:
            more["lower"] = lower
        return dumps.link(link.index, link.name.encode(), link.kind.encode() if link.kind else None, data, **more)

    def _request(self, host: Host, protocol: int, kind: int, body: bytes) -> bytes:
        if kind == dumps.GETROUTE:
            return self._answer(str(ipaddress.ip_address(netlink.attributes(body, 12)[1])))
        assert kind == SETLINK
        index = struct.unpack_from("=i", body, 4)[0]
        mtu = netlink.number(netlink.attributes(body, 16)[4])
        link = next((link for link in self.links.values() if link.index == index), None)
        if link is None:
            raise HostError("netlink", "the kernel says: No such device (ENODEV)", "ENODEV")
        assert mtu is not None
        self.log.append((link.name, mtu))
        for error in filter(None, [self.refuse(link.name, mtu)]):
            raise error
        self.set_mtu(link.name, mtu)
        return b""

    def _answer(self, address: str) -> bytes:
        """The link whose network has the address."""
        for link in self.links.values():
            for text in link.addresses:
                if ipaddress.ip_address(address) in ipaddress.ip_interface(text).network:
                    return dumps.route(link.index, f"{address}/32")
        raise HostError("netlink", "the kernel says: Network is unreachable (ENETUNREACH)", "ENETUNREACH")
