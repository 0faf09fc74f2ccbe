# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands on our links from other network namespaces: which are looked at, what is refused, what could not be seen."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError, OptionError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import bridge_mtu_elsewhere, links
from ansible_collections.bulwark.node.plugins.module_utils.node.bridge_mtu_plan import Goal
from ansible_collections.bulwark.node.plugins.module_utils.node.links import Link
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.test_bridge_mtu_plan import BRIDGE, link

HOME, NAMED, POD = "net:[1]", "net:[2]", "net:[3]"
MOUNTS = (
    "30 20 0:4 net:[2] /run/netns/with\\040space rw shared:1 - nsfs nsfs rw\n"
    "31 20 0:4 mnt:[9] /run/mnt rw shared:1 - nsfs nsfs rw\n"
    "32 20 0:4 net:[1] /run/netns/home rw shared:1 - nsfs nsfs rw\nshort\n"
)


class Namespaces(Host):
    """Two other namespaces: a named one, in which a process is as well, and that of a pod of two processes."""

    def __init__(self) -> None:
        super().__init__()
        self.targets = {
            "/proc/self/ns/net": HOME,
            **{f"/proc/{pid}/ns/net": target for pid, target in ((1, HOME), (5, NAMED), (6, POD), (7, POD))},
        }
        self.entered: list[str] = []

    def link_target(self, path: str) -> str | None:
        return self.targets.get(path)

    def names(self, path: str) -> list[str]:
        return ["1", "5", "6", "7", "8", "self"]

    def read(self, path: str, limit: int = 0) -> str | None:
        return MOUNTS if path == "/proc/self/mountinfo" else "app\n"

    def open(self, path: str, flags: int = os.O_RDONLY) -> int | None:
        if path != "/proc/self/ns/net":
            self.entered.append(path)
        return os.open("/dev/null", flags)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Namespaces:
    made, main = Namespaces(), threading.get_ident()

    def enter(descriptor: int) -> None:
        # What setns(2) does must not reach the rest of the run.
        assert threading.get_ident() != main

    monkeypatch.setattr(bridge_mtu_elsewhere, "_enter", enter)
    return made


def found(monkeypatch: pytest.MonkeyPatch, host: Namespaces, *there: Link) -> None:
    """In the pod's namespace."""
    monkeypatch.setattr(
        links, "standing_on", lambda dummy, home: list(there) if host.entered[-1] == "/proc/6/ns/net" else []
    )


LOWER = [Goal(BRIDGE, 1400, "bridges[0].mtu")]


@pytest.mark.parametrize(
    ("there", "mtu", "expected"),
    [
        (
            link(9, "net1", "macvlan", lower=1),
            1400,
            "1500 or more: net1 in the network namespace of process 6 (app) stands on br0 with an MTU of 1500, and would be made "
            "smaller for good. Make it smaller there first: nsenter --net=/proc/6/ns/net ip link set net1 mtu 1400",
        ),
        (link(9, "net1", "macsec", 1400, lower=1, overhead=32), 1400, "1432 or more: net1 in"),
        (
            link(9, "net1", "ipvlan", lower=1),
            1279,
            "1280 or more: net1 in .* gets its MTU, and would lose IPv6 for good",
        ),
        (link(9, "net1", "macvlan", 1400, lower=1), 1400, None),
        (link(9, "net1", "macvlan", lower=2), 1400, None),
        (link(9, "net1", "ipvlan", lower=1), 1280, None),
        (link(9, "net1", "macvlan", lower=1), 1500, None),
        (link(9, "net1", "macvlan", lower=1), 9000, None),
        (link(9, "vxlan1", "vxlan", lower=1), 1400, None),
    ],
)
def test_what_a_pod_would_lose_for_good_is_refused_with_its_process(
    monkeypatch: pytest.MonkeyPatch, host: Namespaces, there: Link, mtu: int, expected: str | None
) -> None:
    found(monkeypatch, host, there)
    goals = [Goal(BRIDGE, mtu, "bridges[0].mtu")]
    if expected is None:
        assert bridge_mtu_elsewhere.check(host, goals) is None
    else:
        with pytest.raises(
            OptionError,
            match=rf"bridges\[0\].mtu: got {mtu}, expected {expected}".replace("(", r"\(").replace(")", r"\)"),
        ):
            bridge_mtu_elsewhere.check(host, goals)


def test_each_namespace_is_looked_at_once_by_its_name_or_its_process_and_only_where_something_shrinks(
    monkeypatch: pytest.MonkeyPatch, host: Namespaces
) -> None:
    found(monkeypatch, host)
    for mtu in (1500, 9000):
        assert bridge_mtu_elsewhere.check(host, [Goal(BRIDGE, mtu, "x")]) is None
    assert host.entered == []
    assert bridge_mtu_elsewhere.check(host, LOWER) is None
    assert host.entered == ["/run/netns/with space", "/proc/6/ns/net"]


def test_a_tree_has_no_namespaces() -> None:
    assert bridge_mtu_elsewhere.check(Host("/srv"), LOWER) is None


@pytest.mark.parametrize("how", ["enter", "read", "kernel"])
def test_what_cannot_be_looked_at_is_told_and_the_rest_is_looked_at(
    monkeypatch: pytest.MonkeyPatch, host: Namespaces, how: str
) -> None:
    found(monkeypatch, host, link(9, "net1", "macvlan", lower=1))

    def refuse(*arguments: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    def hidden(path: str) -> str | None:
        if path == "/proc/7/ns/net":
            raise HostError(path, "cannot be read", "EACCES")
        return host.targets.get(path)

    def broken(*arguments: Any) -> list[Link]:
        raise HostError("netlink", "no")

    if how == "enter":
        monkeypatch.setattr(bridge_mtu_elsewhere, "_enter", refuse)
        expected = "Operation not permitted; of process 6 (app): "
    elif how == "kernel":
        monkeypatch.setattr(links, "standing_on", broken)
        expected = "/run/netns/with space: netlink: no; of process 6 (app): netlink: no"
    else:
        monkeypatch.setattr(host, "link_target", hidden)
        host.targets["/proc/6/ns/net"] = HOME
        expected = "of process 7 (app): /proc/7/ns/net: cannot be read"
    assert expected in (bridge_mtu_elsewhere.check(host, LOWER) or "")


def test_many_that_cannot_be_looked_at_are_counted(monkeypatch: pytest.MonkeyPatch, host: Namespaces) -> None:
    monkeypatch.setattr(host, "names", lambda path: [str(pid) for pid in range(100, 110)])
    host.targets |= {f"/proc/{pid}/ns/net": f"net:[{pid}]" for pid in range(100, 110)}

    def broken(*arguments: Any) -> list[Link]:
        raise HostError("netlink", "no")

    monkeypatch.setattr(links, "standing_on", broken)
    said = bridge_mtu_elsewhere.check(host, LOWER) or ""
    assert said.endswith(" and 8 more")
    assert len(said.split("; ")) == 3
