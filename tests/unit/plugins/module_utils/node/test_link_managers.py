# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who manages a link, by the state of systemd-networkd, NetworkManager, ifupdown and netplan. All of it is hand-built."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import link_managers
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import lay

NETWORKD = "/run/systemd/netif/links/2"
NM = "/run/NetworkManager/devices/2"
PROFILES = "/run/NetworkManager/system-connections"
UUID = "626dd384-8b3d-3690-9511-192b2c79b3fd"
NONE = "manager: neither systemd-networkd, NetworkManager nor ifupdown has it"


def state(admin: str, file: str = "/etc/systemd/network/lan.network") -> str:
    return f"# This is private data. Do not parse.\nADMIN_STATE={admin}\nOPER_STATE=routable\nNETWORK_FILE={file}\nDNS="


def nm(managed: str, *more: str) -> str:
    return "\n".join(["[device]", f"managed={managed}", *more, "nm-owned=0"])


def manager(tree: Path, files: dict[str, str], name: str = "eth0", **links: str) -> tuple[str | None, str | None]:
    lay(tree, {"files": files, "links": {f"/proc/{pid}/ns/net": to for pid, to in links.items()}, "folders": []})
    return link_managers.observe(Host(root=str(tree))).of(2, name)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({NETWORKD: state("configured")}, "systemd-networkd"),
        ({NETWORKD: state("configuring")}, "systemd-networkd"),
        ({NETWORKD: state("failed")}, "systemd-networkd"),
        ({NETWORKD: state("configured", "/run/systemd/network/10-netplan-eth0.network")}, "netplan"),
        ({NETWORKD: state("configured", "/etc/systemd/network/10-netplan-eth0.network")}, "systemd-networkd"),
        ({NM: nm("true")}, "NetworkManager"),
        ({NM: nm("true", f"connection-uuid={UUID}"), f"{PROFILES}/a.nmconnection": f"uuid={UUID}"}, "NetworkManager"),
        (
            {NM: nm("true", f"connection-uuid={UUID}"), f"{PROFILES}/netplan-a.nmconnection": f"[x]\nuuid={UUID}"},
            "netplan",
        ),
        ({NM: nm("true"), f"{PROFILES}/netplan-eth0.nmconnection": "[connection]\ninterface-name=eth0"}, "netplan"),
        ({NM: nm("true"), f"{PROFILES}/netplan-a.nmconnection": "interface-name=eth01"}, "NetworkManager"),
        ({"/run/network/ifstate": "lo=lo\neth0=eth0"}, "ifupdown"),
        ({"/run/ifstate": "lo=lo\neth0=lan"}, "ifupdown"),
        ({"/run/network/ifstatelock": "", "/etc/network/interfaces": "auto eth0\niface eth0 inet dhcp"}, "ifupdown"),
        (
            {
                "/run/network/ifstatelock": "",
                "/etc/network/interfaces": "source /etc/network/site.d/*\n",
                "/etc/network/site.d/lan": "  iface\teth0 inet dhcp",
            },
            "ifupdown",
        ),
        # NetworkManager keeps a file for what it leaves alone, and so does systemd-networkd.
        ({NM: nm("false"), NETWORKD: state("configured")}, "systemd-networkd"),
        ({NM: nm("true"), NETWORKD: state("unmanaged")}, "NetworkManager"),
    ],
)
def test_the_one_that_has_the_link_is_its_manager(tree: Path, files: dict[str, str], expected: str) -> None:
    assert manager(tree, files) == (expected, None)


@pytest.mark.parametrize(
    "files",
    [
        {},
        *({NETWORKD: state(admin)} for admin in ("pending", "initialized", "unmanaged", "linger")),
        {NETWORKD: "ADMIN_STATE=configuredx"},
        {NM: nm("false")},
        {NM: "managed = true"},
        {"/run/systemd/netif/links/22": state("configured")},
        {"/run/network/ifstate": "eth00=eth0\n=eth0\neth0="},
        # What no line sources is not read.
        {"/run/network/ifstatelock": "", "/etc/network/interfaces.d/lan": "iface eth0 inet dhcp"},
        # What is configured but not up is nobody's.
        {"/etc/network/interfaces": "iface eth0 inet dhcp"},
    ],
)
def test_a_link_that_nobody_has_says_so(tree: Path, files: dict[str, str]) -> None:
    assert manager(tree, files) == (None, NONE)


def test_two_managers_of_one_link_are_named_both(tree: Path) -> None:
    files = {NETWORKD: state("configured"), "/run/network/ifstate": "eth0=eth0"}
    assert manager(tree, files) == (None, "manager: systemd-networkd and ifupdown both have it")


def test_in_another_network_namespace_the_numbers_mean_other_links(tree: Path) -> None:
    namespaces = {"1": "net:[4026531840]", "self": "net:[4026532177]"}
    reason = "manager: this run is in another network namespace than the machine"
    assert manager(tree, {NETWORKD: state("configured")}, **namespaces) == (None, reason)


def test_in_the_machines_own_they_mean_these(tree: Path) -> None:
    namespaces = {"1": "net:[4026531840]", "self": "net:[4026531840]"}
    assert manager(tree, {NETWORKD: state("configured")}, **namespaces) == ("systemd-networkd", None)


@pytest.mark.parametrize("name", ["$(id)", "a=b", ".*", "x\x1b[31m", "a\nb"])
def test_a_hostile_name_is_nobodys(tree: Path, name: str) -> None:
    assert manager(tree, {"/run/network/ifstate": "lo=lo\neth0=eth0", NM: nm("false")}, name) == (None, NONE)


def test_profiles_for_root_s_eyes_hide_netplan_alone(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Host.read

    def refuse(host: Host, path: str, limit: int = 4096) -> str | None:
        if path.startswith(PROFILES):
            raise HostError(path, "cannot read: EACCES (Permission denied)", "EACCES")
        return real(host, path, limit)

    monkeypatch.setattr(Host, "read", refuse)
    profile = f"{PROFILES}/netplan-eth0.nmconnection"
    reason = f"manager: {profile}: cannot read: EACCES (Permission denied)"
    assert manager(tree, {NM: nm("true"), profile: ""}) == (None, reason)
    assert manager(tree, {NM: nm("false"), NETWORKD: state("configured")}) == ("systemd-networkd", None)


def test_state_that_may_not_be_read_is_no_error(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Host.read

    def refuse(host: Host, path: str, limit: int = 4096) -> str | None:
        if path.startswith("/run/NetworkManager"):
            raise HostError(path, "cannot read: EACCES (Permission denied)", "EACCES")
        return real(host, path, limit)

    monkeypatch.setattr(Host, "read", refuse)
    refused = f"manager: {NM}: cannot read: EACCES (Permission denied)"
    assert manager(tree, {f"{PROFILES}/x.nmconnection": ""}) == (None, refused)
