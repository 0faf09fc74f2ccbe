# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which links get which MTU, in which order, and what is refused: tables over links as netlink tells them."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError, OptionError
from ansible_collections.bulwark.node.plugins.module_utils.node import bridge_mtu_plan
from ansible_collections.bulwark.node.plugins.module_utils.node.bridge_mtu_options import Wanted
from ansible_collections.bulwark.node.plugins.module_utils.node.bridge_mtu_plan import Goal
from ansible_collections.bulwark.node.plugins.module_utils.node.links import Link


def link(index: int, name: str, kind: str | None = None, mtu: int = 1500, **more: Any) -> Link:
    return Link(
        **{
            "index": index,
            "name": name,
            "folder": f"/sys/class/net/{name}",
            "kind": kind,
            "mtu": mtu,
            "min_mtu": 68,
            "max_mtu": 65535,
            "master": None,
            "lower": None,
            **more,
        }
    )


def wanted(name: str = "br0", mtu: int = 9000, at: int = 0, **more: Any) -> Wanted:
    return Wanted(
        **{"option": f"bridges[{at}]", "name": name, "mtu": mtu, "ports": (), "uppers": (), "pin": True, **more}
    )


BRIDGE = link(1, "br0", "bridge")
ETH0 = link(2, "eth0", master=1)
ETH1 = link(3, "eth1", master=1)
VNET = link(4, "vnet0", "tun", master=1)
PAIR = link(5, "port5", "veth", master=1, elsewhere=True)
VLAN = link(6, "br0.5", "vlan", lower=1)
LINKS = (BRIDGE, ETH0, ETH1, VNET, PAIR, VLAN)
# eth2 carries a VLAN, which is a port; a bond of two carries another one.
TAGGED = (
    BRIDGE,
    link(10, "eth2"),
    link(11, "eth2.7", "vlan", lower=10, master=1),
    link(12, "bond0", "bond"),
    link(13, "eth3", master=12, max_mtu=9000),
    link(14, "eth4", master=12),
    link(15, "bond0.7", "vlan", lower=12, master=1),
)


def check(links: tuple[Link, ...], goals: dict[int, Goal], with_ipv6: tuple[int, ...] = ()) -> None:
    drawn = bridge_mtu_plan.drawn(links, goals, bridge_mtu_plan.pinned_ones(links, ()))
    bridge_mtu_plan.check(links, goals, drawn, with_ipv6)


def plan(links: tuple[Link, ...], *entries: Wanted) -> list[tuple[str, int]]:
    goals = bridge_mtu_plan.goals(links, entries, bridge_mtu_plan.pinned_ones(links, ()))
    check(links, goals)
    return [(goal.link.name, goal.mtu) for goal in bridge_mtu_plan.in_order(links, goals)]


ORDERS: dict[str, tuple[tuple[Link, ...], tuple[Wanted, ...], list[str]]] = {
    "the bridge alone": (LINKS, (wanted(),), ["br0"]),
    "raising: from the bottom": (LINKS, (wanted(ports=("eth1",), uppers=("all",)),), ["eth1", "br0", "br0.5"]),
    "all leaves guests alone": (LINKS, (wanted(ports=("all",)),), ["eth0", "eth1", "br0"]),
    "a guest that is named": (LINKS, (wanted(ports=("vnet0", "port5")),), ["vnet0", "port5", "br0"]),
    "lowering: from the top": (
        (BRIDGE, ETH0, ETH1, VLAN),
        (wanted(mtu=1400, ports=("all",), uppers=("br0.5",)),),
        ["br0.5", "br0", "eth0", "eth1"],
    ),
    "what a VLAN stands on grows first": (TAGGED, (wanted(ports=("eth2.7",)),), ["eth2", "eth2.7", "br0"]),
    "and never shrinks for it": (TAGGED, (wanted(mtu=1400, ports=("eth2.7",)),), ["br0", "eth2.7"]),
    "slaves go with their bond": (TAGGED, (wanted(ports=("bond0.7",)),), ["bond0", "bond0.7", "br0"]),
    "the highest of two wishes for one lower link": (
        (*TAGGED, link(20, "br1", "bridge"), link(21, "eth2.8", "vlan", lower=10, master=20)),
        (wanted(mtu=3000, ports=("eth2.7",)), wanted("br1", ports=("eth2.8",), at=1)),
        ["eth2", "eth2.7", "eth2.8", "br1", "br0"],
    ),
    "one grows while another shrinks": (
        (*LINKS, link(20, "br1", "bridge", 9000), link(21, "eth9", mtu=9000, master=20)),
        (wanted(ports=("eth0",)), wanted("br1", mtu=1500, ports=("all",), at=1)),
        ["br1", "eth9", "eth0", "br0"],
    ),
    "what is there already": ((link(1, "br0", "bridge", 9000), ETH0), (wanted(),), []),
    "a bridge that follows is not set": ((BRIDGE, ETH0), (wanted(pin=False, ports=("all",)),), ["eth0"]),
    "one that is known to be pinned is": (
        (link(1, "br0", "bridge", 1400), ETH0),
        (wanted(pin=False, ports=("all",)),),
        ["eth0", "br0"],
    ),
}


@pytest.mark.parametrize("case", ORDERS)
def test_no_link_is_ever_larger_than_what_carries_its_frames(case: str) -> None:
    links, entries, order = ORDERS[case]
    assert [name for name, _mtu in plan(links, *entries)] == order


REFUSED: dict[str, tuple[tuple[Link, ...], tuple[Wanted, ...], str, str]] = {
    "no such bridge": (LINKS, (wanted("br9"),), r"bridges\[0\].name", "a bridge of this machine: br0"),
    "no bridge": (LINKS, (wanted("eth0"),), r"bridges\[0\].name", "a bridge of this machine: br0"),
    "no port": (LINKS, (wanted(ports=("br0.5",)),), r"bridges\[0\].ports", "a port of br0: eth0, eth1, vnet0, port5"),
    "no upper": (LINKS, (wanted(uppers=("eth0",)),), r"bridges\[0\].uppers", r"a link on br0: br0\.5"),
    "two that disagree on a link": (
        (BRIDGE, link(20, "br1", "bridge"), link(6, "br0.5", "vlan", lower=1, master=20)),
        (wanted(uppers=("all",)), wanted("br1", mtu=1400, ports=("all",), at=1)),
        r"bridges\[1\].ports",
        r"9000 for br0.5, as bridges\[0\].uppers has it",
    ),
    "more than the driver takes": (
        (BRIDGE, link(2, "eth0", master=1, max_mtu=4000)),
        (wanted(ports=("eth0",)),),
        r"bridges\[0\].ports",
        "68 to 4000, which the driver of eth0 takes",
    ),
    "less than the driver takes": (
        (BRIDGE, link(2, "eth0", master=1, min_mtu=1300)),
        (wanted(mtu=1280, ports=("eth0",)),),
        r"bridges\[0\].ports",
        "1300 to 65535, which the driver of eth0 takes",
    ),
    "more than the driver of a slave takes": (
        TAGGED,
        (wanted(mtu=9001, ports=("bond0.7",)),),
        r"bridges\[0\].ports",
        "68 to 9000, which the driver of eth3 takes",
    ),
    "a VLAN that would be clamped": (
        LINKS,
        (wanted(mtu=1400),),
        r"bridges\[0\].mtu",
        "1500 or more: br0.5 .* Name it in",
    ),
    "a VLAN above a bridge that stays": (
        (BRIDGE, link(20, "br1", "bridge"), link(6, "br0.5", "vlan", lower=1, master=20)),
        (wanted(mtu=1500), wanted("br1", ports=("all",), at=1)),
        r"bridges\[1\].ports",
        "at most 1500: br0.5 stands on br0, whose MTU is to be 1500",
    ),
    "a vxlan and what it adds": (
        (BRIDGE, link(9, "eth9", mtu=9000), link(2, "vxlan5", "vxlan", lower=9, master=1, overhead=70)),
        (wanted(mtu=8931, ports=("all",)),),
        r"bridges\[0\].ports",
        "at most 8930: vxlan5 stands on eth9, whose MTU is 9000, and adds 70 bytes",
    ),
    "a bridge that would follow another port": (
        LINKS,
        (wanted(pin=False, ports=("eth0",)),),
        r"bridges\[0\].pin",
        "ports of which the smallest is 9000: br0 would follow 1500",
    ),
    "a bridge without ports that shall follow": ((BRIDGE,), (wanted(pin=False),), r"bridges\[0\].pin", "follow None"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_kernel_would_refuse_or_clamp_is_refused_by_option(case: str) -> None:
    links, entries, option, expected = REFUSED[case]
    with pytest.raises(OptionError, match=rf"^{option}: got .*{expected}"):
        plan(links, *entries)


def test_a_vxlan_that_fits_is_no_matter_and_neither_is_one_above() -> None:
    links = (BRIDGE, link(9, "eth9", mtu=9000), link(2, "vxlan5", "vxlan", lower=9, master=1, overhead=70))
    assert plan(links, wanted(mtu=8930, ports=("all",))) == [("vxlan5", 8930), ("br0", 8930)]
    above = (BRIDGE, ETH0, link(3, "vxlan6", "vxlan", lower=1, overhead=50))
    assert plan(above, wanted(mtu=1400, uppers=("all",))) == [("br0", 1400)]
    with pytest.raises(OptionError, match="at most 1350: vxlan6 stands on br0, whose MTU is to be 1400"):
        plan(above, wanted(mtu=1400, uppers=("vxlan6",)))


def test_an_mtu_below_ipv6_is_refused_only_where_there_are_addresses_of_it() -> None:
    links = (BRIDGE, ETH0)
    entries = [wanted(mtu=1279, ports=("eth0",))]
    goals = bridge_mtu_plan.goals(links, entries, ())
    check(links, goals)
    for index, option in ((1, "mtu"), (2, "ports")):
        with pytest.raises(OptionError, match=rf"bridges\[0\].{option}: got 1279, expected 1280 or more: .* IPv6"):
            check(links, goals, (index,))
    small = (link(1, "br0", "bridge", 1279), ETH0)
    check(small, bridge_mtu_plan.goals(small, [wanted(mtu=1000)], ()), (1,))


@pytest.mark.parametrize(
    "links", [(link(1, "ovsbr", "openvswitch"),), (link(1, "ovsbr"), link(2, "ovs-system", "openvswitch"))]
)
def test_a_bridge_of_open_vswitch_is_refused_with_its_own_command(links: tuple[Link, ...]) -> None:
    with pytest.raises(BulwarkError, match="ovs-vsctl set interface ovsbr mtu_request=9000"):
        plan(links, wanted("ovsbr"))


@pytest.mark.parametrize(
    ("bridge", "mtu", "upper", "expected"),
    [
        (BRIDGE, 1500, None, 1501),
        (link(1, "br0", "bridge", max_mtu=None), 65535, None, 65536),
        (link(1, "br0", "bridge", max_mtu=1500), 1500, None, 1499),
        (BRIDGE, 65535, link(6, "br0.5", "vlan", lower=1), 65534),
        (BRIDGE, 65535, link(6, "br0.5", "vlan", 65535, lower=1), None),
        (BRIDGE, 65535, link(6, "ip0", "ipvlan", 65535, lower=1), 65534),
    ],
)
def test_the_detour_goes_up_or_where_it_cannot_down_and_clamps_nothing(
    bridge: Link, mtu: int, upper: Link | None, expected: int | None
) -> None:
    links = (bridge, upper) if upper else (bridge,)
    if expected is None:
        with pytest.raises(BulwarkError, match="cannot be pinned at its largest MTU, 65535"):
            bridge_mtu_plan.detour(bridge, mtu, links)
    else:
        assert bridge_mtu_plan.detour(bridge, mtu, links) == expected


@pytest.mark.parametrize(
    ("mtus", "pinned", "expected"),
    [
        ({2: 9000}, (), {"br0": 1500, "eth0": 9000}),
        ({2: 9000, 3: 9000}, (), {"br0": 9000, "eth0": 9000, "eth1": 9000, "ip0": 9000}),
        ({2: 9000, 3: 9000}, (1,), {"br0": 1500, "eth0": 9000, "eth1": 9000}),
        ({1: 4000, 2: 9000}, (1,), {"br0": 4000, "eth0": 9000, "ip0": 4000}),
        # A pin sets the bridge, and so what mirrors it.
        ({1: 1500}, (1,), {"ip0": 1500}),
        ({}, (), {}),
    ],
)
def test_a_bridge_that_is_not_pinned_follows_and_an_ipvlan_mirrors(
    mtus: dict[int, int], pinned: tuple[int, ...], expected: dict[str, int]
) -> None:
    links = (BRIDGE, ETH0, ETH1, link(7, "ip0", "ipvlan", 1300, lower=1), VLAN)
    before = {each.name: each.mtu for each in links}
    assert {each.name: each.mtu for each in bridge_mtu_plan.settle(links, mtus, pinned)} == {**before, **expected}


# br1 follows a VLAN of br0 that is its port, and carries a VLAN of its own, and an ipvlan; nobody names them.
STACK = (
    BRIDGE,
    ETH0,
    VLAN5 := link(6, "br0.5", "vlan", lower=1, master=20),
    link(20, "br1", "bridge"),
    link(21, "br1.7", "vlan", lower=20),
    link(22, "ip7", "ipvlan", 1300, lower=20),
)
BONDED = (
    BRIDGE,
    link(12, "bond0", "bond", master=1),
    link(13, "eth3", master=12, min_mtu=1300),
    link(14, "eth3.7", "vlan", lower=13),
)


@pytest.mark.parametrize(
    ("links", "entry", "expected"),
    [
        (STACK, wanted(uppers=("all",)), [("br1", 9000, "br0.5"), ("ip7", 9000, "br0.5")]),
        (
            STACK,
            wanted(mtu=1400, uppers=("all",)),
            [("br1", 1400, "br0.5"), ("br1.7", 1400, "br0.5"), ("ip7", 1400, "br0.5")],
        ),
        # A VLAN that stays small keeps br1 where it is, and so does a pin.
        (STACK, wanted(), []),
        ((*STACK[:3], link(20, "br1", "bridge", 1450), *STACK[4:]), wanted(mtu=1460, uppers=("all",)), []),
        (BONDED, wanted(mtu=1400, ports=("bond0",)), [("eth3", 1400, "bond0"), ("eth3.7", 1400, "bond0")]),
        # What a pin sets for a moment mirrors it afterwards.
        ((BRIDGE, link(7, "ip0", "ipvlan", 1300, lower=1)), wanted(mtu=1500), [("ip0", 1500, "br0")]),
        ((BRIDGE, link(7, "sec0", "macsec", 1468, lower=1, overhead=32)), wanted(mtu=1400), [("sec0", 1368, "br0")]),
    ],
)
def test_what_changes_with_the_goals_is_known(
    links: tuple[Link, ...], entry: Wanted, expected: list[tuple[str, int, str]]
) -> None:
    pinned = bridge_mtu_plan.pinned_ones(links, ())
    goals = bridge_mtu_plan.goals(links, [entry], pinned)
    found = bridge_mtu_plan.drawn(links, goals, pinned).values()
    assert [(goal.link.name, goal.mtu, goal.drawn_by) for goal in found] == expected


@pytest.mark.parametrize(
    ("links", "entry", "ipv6", "option", "expected"),
    [
        (
            STACK,
            wanted(mtu=1400, uppers=("all",)),
            (),
            "uppers",
            "1500 or more: br1.7 stands on br1, which follows br0.5, with an MTU of 1500. Make it smaller first: "
            "ip link set br1.7 mtu 1400",
        ),
        (
            STACK[:4],
            wanted(mtu=1279, uppers=("all",)),
            (20,),
            "uppers",
            "1280 or more: br1, which follows br0.5, has IPv6 addresses",
        ),
        (
            BONDED,
            wanted(mtu=1400, ports=("all",)),
            (),
            "ports",
            "1500 or more: eth3.7 stands on eth3, which follows bond0,",
        ),
        (BONDED[:3], wanted(mtu=1290, ports=("all",)), (), "ports", "1300 to 65535, which the driver of eth3 takes"),
        (
            (BRIDGE, link(7, "sec0", "macsec", 1468, lower=1, overhead=32)),
            wanted(mtu=1499),
            (),
            "mtu",
            "1500 or more: sec0 stands on br0 with an MTU of 1468. Name it in uppers, or make it smaller first: "
            "ip link set sec0 mtu 1467",
        ),
    ],
)
def test_a_loss_of_what_merely_follows_is_refused(
    links: tuple[Link, ...], entry: Wanted, ipv6: tuple[int, ...], option: str, expected: str
) -> None:
    goals = bridge_mtu_plan.goals(links, [entry], ())
    with pytest.raises(OptionError) as caught:
        check(links, goals, ipv6)
    assert caught.value.details["option"] == f"bridges[0].{option}"
    assert expected in caught.value.details["expected"]


def test_what_a_macsec_stands_on_grows_by_what_that_adds() -> None:
    links = (BRIDGE, link(2, "eth0"), link(7, "sec0", "macsec", 1468, lower=2, master=1, overhead=32))
    assert plan(links, wanted(ports=("all",))) == [("eth0", 9032), ("sec0", 9000), ("br0", 9000)]


def test_a_macsec_that_is_named_is_told_what_fits() -> None:
    links = (BRIDGE, link(7, "sec0", "macsec", 1468, lower=1, overhead=32))
    with pytest.raises(OptionError, match=r"uppers: got 9000, expected at most 8968: sec0 stands on br0"):
        plan(links, wanted(uppers=("sec0",)))


@pytest.mark.parametrize("mtu", [1400, 9000])
def test_what_gets_the_mtu_of_another_is_set_after_it(mtu: int) -> None:
    links = (BRIDGE, link(7, "ip0", "ipvlan", lower=1))
    assert plan(links, wanted(mtu=mtu, uppers=("all",))) == [("br0", mtu), ("ip0", mtu)]


def test_what_hangs_on_a_link_is_found_from_the_bottom() -> None:
    assert [each.name for each in bridge_mtu_plan.hanging(BONDED, [12])] == ["eth3", "eth3.7"]
    # A bridge is none of it: it follows its ports, up and down.
    assert [each.name for each in bridge_mtu_plan.hanging(STACK, [1])] == ["br0.5"]
    loop = (link(1, "a", "vlan", lower=2), link(2, "b", "vlan", lower=1))
    assert {each.name for each in bridge_mtu_plan.hanging(loop, [1])} == {"a", "b"}


def test_a_loop_of_masters_and_lowers_ends() -> None:
    links = (link(1, "br0", "bridge", lower=2), link(2, "eth0", "vlan", lower=1, master=1))
    assert {name for name, _mtu in plan(links, wanted(ports=("all",)))} == {"br0", "eth0"}
