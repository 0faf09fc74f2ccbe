# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The MTU of bridges on a kernel that answers as Linux does: prediction, pins, refusals, the timer, the way back."""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.converge import Change, Result, converge
from ansible_collections.bulwark.node.plugins.module_utils.errors import (
    BulwarkError,
    HostError,
    Interrupted,
    OptionError,
    UnmetError,
)
from ansible_collections.bulwark.node.plugins.module_utils.host import Completed
from ansible_collections.bulwark.node.plugins.module_utils.manifest import HEADER
from ansible_collections.bulwark.node.plugins.module_utils.node import (
    bridge_mtu_elsewhere,
    bridge_mtu_options,
    bridge_mtu_persist,
    bridge_pins,
    bridges,
    icmp_probe,
    network,
)
from ansible_collections.bulwark.node.plugins.module_utils.node.bridge_mtu import BridgeMtu
from ansible_collections.bulwark.node.plugins.module_utils.node.bridge_mtu_options import OLD_MTUS, PIN, STAYS_PINNED
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node import dumps
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import (
    MANIFEST,
    FakeKernel,
    Machine,
    WriteFault,
    different,
    failure,
    snapshot,
)
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.fake_links import FakeLink, FakeLinks

TREE = "cgroup-v2-systemd"
NET = "/sys/class/net"
# What a run leaves for the rest of the boot.
OF_THIS_BOOT = {bridge_pins.PINS, "/run"}
MADE_BY_US = {"/var", "/var/lib", "/var/lib/bulwark", *OF_THIS_BOOT}
CONNECTION = "198.51.100.9 50000 192.0.2.2 22"


class Sleep:
    """Instead of the second after which all is looked at again: what somebody else does in it."""

    def __init__(self) -> None:
        self.count = 0
        self.meanwhile: Callable[[], None] = lambda: None

    def __call__(self, seconds: float) -> None:
        self.count += 1
        self.meanwhile()


@pytest.fixture
def sleep(monkeypatch: pytest.MonkeyPatch) -> Sleep:
    made = Sleep()
    monkeypatch.setattr(time, "sleep", made)
    return made


@pytest.fixture
def host(machine: Machine, sleep: Sleep, monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    """A machine that is not in a hurry, and starts no command for real."""
    made = machine(TREE)

    def note(command: list[str]) -> Completed:
        made.commands.append(command)
        return Completed(0, "", "")

    monkeypatch.setattr(made, "_run", note)
    return made


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> FakeLinks:
    """A bridge of two, with a guest and a VLAN on it, and another bridge that nobody names."""
    return FakeLinks(
        monkeypatch,
        FakeLink(1, "br0", "bridge", addresses=["192.0.2.2/24", "2001:db8::2/64"]),
        FakeLink(2, "eth0", master="br0"),
        FakeLink(3, "eth1", master="br0"),
        FakeLink(4, "br0.5", "vlan", lower="br0", addresses=["203.0.113.2/24"]),
        FakeLink(5, "br1", "bridge"),
        FakeLink(6, "eth2", master="br1"),
    )


def bridge(name: str = "br0", mtu: int | None = 9000, **more: Any) -> dict[str, Any]:
    return {"name": name, "mtu": mtu, "ports": None, "uppers": None, "pin": True, **more}


def params(*entries: dict[str, Any], **given: Any) -> dict[str, Any]:
    rest = {"persist": False, "allow_management_link": False, "revert_after": 120, "probe": None, "confirm": None}
    internal = {"ssh_connection": None, "fresh_connection": "none"}
    return {"bridges": list(entries) or None, **rest, **internal, "state": "present", **given}


def run(host: FakeKernel, *entries: dict[str, Any], check: bool = False, **given: Any) -> Result:
    """Where a connection is to be seen, as the action plugin runs it by ssh."""
    fresh = {"fresh_connection": "possible"} if network.connection(host) else {}
    return converge(BridgeMtu(host), params(*entries, **{**fresh, **given}), check)


ALL = bridge(ports=["all"], uppers=["all"])


# --- options


@pytest.mark.parametrize(
    ("given", "option", "expected"),
    [
        ({"bridges": None}, "bridges", "at least one bridge"),
        ({"bridges": []}, "bridges", "at least one bridge"),
        ({"bridges": [], "state": "absent"}, "bridges", "at least one bridge"),
        ({"bridges": [bridge(mtu=None)]}, "bridges[0].mtu", "68 to 65535"),
        ({"bridges": [bridge(mtu=67)]}, "bridges[0].mtu", "68 to 65535"),
        ({"bridges": [bridge(mtu=65536)]}, "bridges[0].mtu", "68 to 65535"),
        ({"bridges": [bridge(), bridge()]}, "bridges[1].name", "another bridge than bridges[0] names"),
        ({"bridges": [bridge(ports=["all", "eth0"])]}, "bridges[0].ports", "names, or all alone"),
        ({"bridges": [bridge(uppers=["a", "a"])]}, "bridges[0].uppers", "each name once"),
        ({"bridges": [bridge()], "revert_after": 9}, "revert_after", "10 to 3600 seconds"),
        ({"bridges": [bridge()], "revert_after": 3601}, "revert_after", "10 to 3600 seconds"),
        ({"bridges": [bridge()], "probe": "storage"}, "probe", "an address such as"),
        ({"bridges": [bridge()], "probe": "198.51.100.1"}, "probe", "reached through one of these links: br0"),
        ({"bridges": [bridge()], "probe": "203.0.113.7"}, "probe", "reached through one of these links: br0"),
        ({"bridges": [bridge()], "ssh_connection": "192.0.2.9 50000"}, "ssh_connection", "client port server port"),
        ({"bridges": [bridge()], "state": "absent"}, "bridges[0].mtu", "nothing beside state absent"),
        ({"bridges": [bridge(mtu=None, ports=[])], "state": "absent"}, "bridges[0].ports", "nothing beside state"),
        ({"bridges": [bridge("br9")]}, "bridges[0].name", "a bridge of this machine: br0, br1"),
        ({"bridges": [bridge(mtu=1400)]}, "bridges[0].mtu", "1500 or more: br0.5 stands on br0"),
        ({"bridges": [bridge(mtu=1279, uppers=["all"])]}, "bridges[0].mtu", "1280 or more: br0 has IPv6 addresses"),
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_a_refused_option_is_named_with_what_is_expected_and_nothing_is_written(
    host: FakeKernel, net: FakeLinks, given: dict[str, Any], option: str, expected: str, check: bool
) -> None:
    before = snapshot(host)
    with pytest.raises(OptionError) as caught:
        converge(BridgeMtu(host), params(**given), check)
    assert caught.value.details["option"] == option
    assert expected in caught.value.details["expected"]
    assert (net.log, snapshot(host)) == ([], before)


# --- what is foretold, done, and left alone the second time

CASES: dict[str, tuple[dict[str, Any], ...]] = {
    "the bridge alone": (bridge(),),
    "raising": (ALL,),
    "lowering": (bridge(mtu=1400, ports=["all"], uppers=["br0.5"]),),
    "one port": (bridge(ports=["eth1"]),),
    "a pin by the same value": (bridge(mtu=1500),),
    "two bridges": (bridge(mtu=4000, ports=["eth0"]), bridge("br1", mtu=1400, ports=["all"])),
    "not pinned": (bridge("br1", ports=["all"], pin=False),),
    "not pinned as it is": (bridge("br1", 1500, pin=False),),
}


@pytest.mark.parametrize("case", CASES)
def test_check_mode_changes_nothing_and_foretells_the_run_which_a_second_run_leaves_alone(
    host: FakeKernel, net: FakeLinks, sleep: Sleep, case: str
) -> None:
    untouched, links = snapshot(host), net.state()
    foretold = run(host, *CASES[case], check=True)
    assert (snapshot(host), net.state(), net.log) == (untouched, links, [])
    real = run(host, *CASES[case])
    assert foretold == real
    named = {entry["name"] for entry in CASES[case]}
    assert real.after["bridges"] == [fact for fact in bridges.facts(host) if fact["name"] in named]
    sleeps = sleep.count
    for check in (True, False):
        net.log.clear()
        again = run(host, *CASES[case], check=check)
        assert (again.changed, again.changes, again.diff, again.before) == (False, (), (), real.after)
        assert (net.log, sleep.count) == ([], sleeps)


def test_links_are_set_in_the_order_of_the_plan_and_the_bridge_is_pinned_by_a_true_change(
    host: FakeKernel, net: FakeLinks
) -> None:
    run(host, ALL)
    # By then it follows its ports: to be set to what it has would not pin it.
    assert net.log == [("eth0", 9000), ("eth1", 9000), ("br0", 9001), ("br0", 9000), ("br0.5", 9000)]
    assert (net["br0"].pinned, net["br1"].pinned) == (True, False)
    net.add(FakeLink(9, "vnet7", "tun", master="br0"))
    assert net["br0"].mtu == 9000


def test_a_bridge_that_has_the_mtu_is_pinned_by_another_one_for_a_moment(host: FakeKernel, net: FakeLinks) -> None:
    result = run(host, bridge(mtu=1500))
    assert net.log == [("br0", 1501), ("br0", 1500)]
    assert [(change.kind, change.target) for change in result.changes] == [("pin", "br0")]
    shown = result.after["bridges"][0]
    assert (shown["pinned"], shown["pinned_reason"]) == (True, "bulwark.node pinned it")
    assert [(fact["name"], fact["pinned"]) for fact in bridges.facts(host)] == [("br0", True), ("br1", None)]


def test_without_a_pin_the_bridge_is_never_set_and_follows_its_ports(host: FakeKernel, net: FakeLinks) -> None:
    result = run(host, bridge("br1", ports=["all"], pin=False))
    assert net.log == [("eth2", 9000)]
    assert (net["br1"].mtu, net["br1"].pinned) == (9000, False)
    assert result.after["bridges"][0]["mtu"] == 9000
    assert run(host, state="absent").changed
    assert (net["br1"].mtu, net["br1"].pinned) == (1500, False)


def test_a_bridge_that_somebody_pinned_cannot_follow_and_all_is_undone(host: FakeKernel, net: FakeLinks) -> None:
    net["br1"].pinned = True
    before = net.state()
    with pytest.raises(
        UnmetError, match="br1: it has no port that is smaller than 9000, and stays at 1500: it was pinned"
    ) as caught:
        run(host, bridge("br1", ports=["all"], pin=False))
    assert "Set pin to true" in str(caught.value)
    assert (net.state(), caught.value.details["not_undone"]) == (before, [])


def test_one_that_we_pinned_is_set_although_no_pin_is_asked_for(host: FakeKernel, net: FakeLinks) -> None:
    run(host, bridge("br1", 1500))
    run(host, bridge("br1", ports=["all"], pin=False))
    assert net["br1"].mtu == 9000


@pytest.mark.parametrize("mtu", [9000, 1400])
def test_absent_gives_all_links_their_first_mtus_and_forgets_them(host: FakeKernel, net: FakeLinks, mtu: int) -> None:
    net["eth1"].mtu = 1600
    links, before = net.state(), snapshot(host)
    run(host, bridge(mtu=4000, ports=["all"], uppers=["all"]))
    run(host, bridge(mtu=mtu, ports=["all"], uppers=["all"]))
    kept = json.loads(host.read(MANIFEST) or "")["kernel"]
    assert {path: entry["before"] for path, entry in kept.items()} == {
        **dict.fromkeys([f"{NET}/br0/mtu", f"{NET}/eth0/mtu", f"{NET}/br0.5/mtu"], "1500"),
        f"{NET}/eth1/mtu": "1600",
    }
    foretold, real = run(host, state="absent", check=True), run(host, state="absent")
    assert foretold == real
    assert [shown["name"] for shown in real.after["bridges"]] == ["br0"]
    assert net.state() == links
    assert different(before, snapshot(host)) <= {"/var", "/var/lib", *OF_THIS_BOOT}
    for check in (True, False):
        assert not run(host, state="absent", check=check).changed


def test_absent_of_one_bridge_leaves_the_other_as_it_is(host: FakeKernel, net: FakeLinks) -> None:
    run(host, ALL, bridge("br1", ports=["all"]))
    assert run(host, bridge("br1", None), state="absent").changed
    assert net.mtus() == {**dict.fromkeys(["br0", "eth0", "eth1", "br0.5"], 9000), "br1": 1500, "eth2": 1500}
    assert run(host, state="absent").changed
    assert set(net.mtus().values()) == {1500}
    assert not host.exists(MANIFEST)


def test_what_is_gone_or_as_it_was_is_forgotten_by_absent(host: FakeKernel, net: FakeLinks) -> None:
    run(host, ALL)
    net.delete("eth1")
    net.set_mtu("eth0", 1500)
    foretold, real = run(host, state="absent", check=True), run(host, state="absent")
    assert foretold == real
    assert [(change.kind, change.target) for change in real.changes][-2:] == [("forget", "eth0"), ("forget", "eth1")]
    assert not host.exists(MANIFEST)
    assert not run(host, state="absent").changed


def kept(host: FakeKernel, name: str) -> dict[str, str] | None:
    found: dict[str, dict[str, str]] = json.loads(host.read(MANIFEST) or "{}").get("kernel", {})
    return found.get(f"{NET}/{name}/mtu")


def reboot(host: FakeKernel, boot: str) -> None:
    Path(f"{host.root}/proc/sys/kernel/random/boot_id").write_text(f"{boot}\n")


def test_absent_leaves_an_mtu_that_somebody_set_since_and_says_so(host: FakeKernel, net: FakeLinks) -> None:
    run(host, ALL)
    entry = {"before": "1500", "by": "bridge_mtu", "after": "9000", "boot": host.boot_id()}
    assert kept(host, "eth1") == entry
    net.set_mtu("eth1", 4000)
    foretold, real = run(host, state="absent", check=True), run(host, state="absent")
    assert foretold == real
    assert net.mtus() == {**dict.fromkeys(net.mtus(), 1500), "eth1": 4000}
    assert ("forget", "eth1") in [(change.kind, change.target) for change in real.changes]
    assert real.verdict.warnings == (
        "eth1 is left at an MTU of 4000, for that is not the one that was set here: somebody set it since. It had 1500 before",
    )
    assert not host.exists(MANIFEST)
    again = run(host, state="absent")
    assert (again.changed, again.verdict.warnings) == (False, ())


def test_what_was_set_before_and_comes_back_by_a_timer_is_no_other_ones(managed: FakeKernel, net: FakeLinks) -> None:
    given: dict[str, Any] = {"allow_management_link": True}
    run(managed, bridge(mtu=4000, ports=["all"], uppers=["all"]), **given)
    forget_timer(managed)
    run(managed, ALL, **given)
    assert (kept(managed, "eth1") or {})["after"] == "4000 9000"
    # As the timer does it.
    forget_timer(managed)
    for name in ("br0.5", "br0", "eth1", "eth0"):
        net.set_mtu(name, 4000)
    assert run(managed, state="absent", check=True, **given).verdict.warnings == ()
    # Of what another has set, only what we set is ours.
    net.set_mtu("eth1", 5000)
    run(managed, ALL, **given)
    forget_timer(managed)
    assert (kept(managed, "eth1") or {})["after"] == "9000"


def forget_timer(host: FakeKernel) -> None:
    for name in host.names("/run"):
        if name.startswith("bulwark-revert"):
            host.remove(f"/run/{name}")


@pytest.mark.parametrize("persisted", [False, True])
def test_after_a_reboot_what_is_persisted_is_ours_and_nothing_else(
    host: FakeKernel, net: FakeLinks, monkeypatch: pytest.MonkeyPatch, persisted: bool
) -> None:
    run(host, ALL)
    reboot(host, "00000000-0000-4000-8000-000000000000")
    if persisted:
        monkeypatch.setattr(
            bridge_mtu_persist.Persisted, "mtus", property(lambda self: dict.fromkeys(net.mtus(), 9000))
        )
        monkeypatch.setattr(bridge_mtu_persist.Persisted, "warnings", lambda *arguments: ())
    net.set_mtu("eth1", 4000)
    warnings = run(host, state="absent").verdict.warnings
    left = {text.split(" ")[0] for text in warnings if "is left at an MTU of" in text}
    if persisted:
        assert (left, net.mtus()) == ({"eth1"}, {**dict.fromkeys(net.mtus(), 1500), "eth1": 4000})
    else:
        assert left == {"br0", "eth0", "eth1", "br0.5"}
        assert net["br0"].mtu == 9000
    assert not host.exists(MANIFEST)


def test_an_entry_of_an_earlier_release_is_given_back_whatever_is_there(host: FakeKernel, net: FakeLinks) -> None:
    run(host, ALL)
    content = json.loads(host.read(MANIFEST) or "")
    for entry in content["kernel"].values():
        del entry["after"], entry["boot"]
    Path(f"{host.root}{MANIFEST}").write_text(json.dumps(content))
    net.set_mtu("eth1", 4000)
    assert run(host, state="absent").verdict.warnings == ()
    assert set(net.mtus().values()) == {1500}


def test_a_bridge_that_goes_back_by_its_ports_is_not_pinned_for_it(host: FakeKernel, net: FakeLinks) -> None:
    run(host, bridge("br1", 1400, ports=["all"]))
    # As after a boot that pinned nothing.
    net["br1"].pinned = False
    host.remove(bridge_pins.PINS)
    net.log.clear()
    assert run(host, state="absent").changed
    assert net.log == [("eth2", 1500)]
    assert (net["br1"].mtu, net["br1"].pinned) == (1500, False)
    assert not host.exists(MANIFEST)


def test_a_lost_record_of_pins_is_made_again_by_a_pin(host: FakeKernel, net: FakeLinks) -> None:
    run(host, bridge(mtu=1500))
    host.remove(bridge_pins.PINS)
    assert run(host, bridge(mtu=1500)).changed
    assert not run(host, bridge(mtu=1500)).changed


@pytest.mark.parametrize(
    "entry", [{"/sys/class/net/br0/mtu": "x"}, {"/sys/class/net/br0": "1"}, {"/proc/sys/x": "1400"}]
)
def test_an_entry_that_is_no_mtu_of_a_link_is_left_alone(
    host: FakeKernel, net: FakeLinks, entry: dict[str, str]
) -> None:
    Path(f"{host.root}/var/lib/bulwark").mkdir(parents=True)
    kernel = {path: {"before": text, "by": "bridge_mtu"} for path, text in entry.items()}
    Path(f"{host.root}{MANIFEST}").write_text(json.dumps({"schema": 1, "kernel": kernel}))
    assert not run(host, state="absent").changed
    assert net.log == []


# --- failures

Given = tuple[tuple[dict[str, Any], ...], dict[str, Any]]
RAISE: Given = ((ALL, bridge("br1", ports=["all"])), {})
LOWER: Given = ((bridge(mtu=1400, ports=["all"], uppers=["all"]), bridge("br1", 1300, ports=["all"])), {})
ABSENT: Given = ((), {"state": "absent"})


def prepared(host: FakeKernel, net: FakeLinks, given: Given) -> dict[str, Any]:
    if given is ABSENT:
        run(host, *RAISE[0])
    net.log.clear()
    host.log.clear()
    return snapshot(host)


def undone(
    before: dict[str, Any], links: dict[str, Any], host: FakeKernel, net: FakeLinks, error: BulwarkError
) -> None:
    """All is as before, but for pins, of which each is named."""
    assert net.state() == links
    left = different(before, snapshot(host)) - MADE_BY_US
    assert left == set()
    for item in error.details["not_undone"]:
        bridge = item["what"].removeprefix(PIN.format(""))
        assert item == {"what": PIN.format(bridge), "reason": STAYS_PINNED}
        assert net[bridge].pinned


@pytest.mark.parametrize("given", [RAISE, LOWER, ABSENT], ids=["raise", "lower", "absent"])
@pytest.mark.parametrize("kind", ["refused", "signal", "signal after"])
def test_whichever_link_refuses_all_is_as_before(host: FakeKernel, net: FakeLinks, given: Given, kind: str) -> None:
    for number in itertools.count(1):
        before = prepared(host, net, given)
        links, pinned = net.state(), {link.name for link in net.links.values() if link.pinned}

        def refuse(name: str, mtu: int, number: int = number) -> HostError | None:
            if len(net.log) != number:
                return None
            if kind == "refused":
                return HostError("netlink", "the kernel says: Invalid argument (EINVAL)", "EINVAL")
            if kind == "signal after":
                net.set_mtu(name, mtu)
            raise Interrupted("stopped by SIGTERM")

        net.refuse = refuse
        error = failure(partial(run, host, *given[0], **given[1]))
        net.refuse = lambda name, mtu: None
        if error is None:
            assert number > len(net.log)
            break
        if kind == "refused":
            name, mtu = net.log[number - 1]
            assert f"{name}: cannot get an MTU of {mtu}: Invalid argument (EINVAL)" in str(error)
        undone(before, links, host, net, error)
        named = {item["what"].removeprefix("the pin of ") for item in error.details["not_undone"]}
        assert named == {link.name for link in net.links.values() if link.pinned} - pinned
        # A pin that stays would be no news the next time.
        for link in net.links.values():
            link.pinned = link.name in pinned
        if given is not ABSENT:
            host.remove(bridge_pins.PINS)
    assert number > 5


def test_a_bridge_that_only_followed_its_ports_is_not_pinned_by_its_undo(host: FakeKernel, net: FakeLinks) -> None:
    net.refuse = lambda name, mtu: HostError("netlink", "no") if (name, mtu) == ("br0", 9001) else None
    with pytest.raises(HostError, match="br0: cannot get an MTU of 9001") as caught:
        run(host, ALL)
    assert (caught.value.details["not_undone"], net["br0"].pinned, net["br0"].mtu) == ([], False, 1500)


@pytest.mark.parametrize(("after", "on"), [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("given", [RAISE, ABSENT], ids=["raise", "absent"])
def test_whichever_file_cannot_be_written_all_is_as_before_or_named(
    host: FakeKernel, net: FakeLinks, given: Given, after: bool, on: bool
) -> None:
    for number in itertools.count(1):
        before = prepared(host, net, given)
        links = net.state()
        host.fault = WriteFault(number, after, on)
        error = failure(partial(run, host, *given[0], **given[1]))
        host.fault = None
        if error is None:
            assert number > len(host.log), f"write {number} failed unnoticed"
            break
        assert net.state() == links
        named = [item["what"] for item in error.details["not_undone"]]
        left = different(before, snapshot(host)) - MADE_BY_US
        if not (on or after):
            assert all(name.startswith("the pin of ") for name in named), (number, host.log, error.details)
        assert left <= {MANIFEST if MANIFEST in named else ""}, (number, host.log, error.details)
        host.log.clear()
        for made in sorted(set(snapshot(host)) - set(before), reverse=True):
            real = Path(f"{host.root}{made}")
            real.rmdir() if real.is_dir() else real.unlink()
        if MANIFEST in before:
            Path(f"{host.root}{MANIFEST}").write_bytes(before[MANIFEST][1])
        for link in net.links.values():
            link.pinned = given is ABSENT and link.kind == "bridge"
    assert number > 4


def test_a_manager_that_sets_its_own_mtu_is_found_after_a_second_and_all_goes_back(
    host: FakeKernel, net: FakeLinks, sleep: Sleep
) -> None:
    before = net.state()
    sleep.meanwhile = lambda: net.set_mtu("eth1", 1500)
    with pytest.raises(
        UnmetError, match=r"eth1: 9000 was written and 1500 read back. Look who else writes it"
    ) as caught:
        run(host, ALL)
    assert (sleep.count, net.state()) == (1, before)
    assert [item["what"] for item in caught.value.details["not_undone"]] == ["the pin of br0"]


@pytest.mark.parametrize("what", ["address", "route"])
def test_an_address_or_a_route_that_is_lost_fails_the_run(
    host: FakeKernel, net: FakeLinks, sleep: Sleep, what: str
) -> None:
    net.routes = [dumps.route(1, "198.51.100.0/24", gateway="192.0.2.1"), dumps.route(6, "10.0.0.0/8")]
    sleep.meanwhile = net["br0"].addresses.clear if what == "address" else net.routes.clear
    with pytest.raises(UnmetError) as caught:
        run(host, ALL)
    got = {(item["target"], item["wanted"]) for item in caught.value.details["unmet"]}
    # Of links that we did not touch it is not our doing.
    assert got == (
        {("br0", "192.0.2.2/24"), ("br0", "2001:db8::2/64")} if what == "address" else {("br0", "198.51.100.0/24")}
    )
    assert set(net.mtus().values()) == {1500}


@pytest.mark.parametrize("again", [False, True])
def test_a_link_that_goes_meanwhile_is_named(host: FakeKernel, net: FakeLinks, again: bool) -> None:
    def gone(name: str, mtu: int) -> None:
        if name == "eth0" and mtu == 9000:
            net.delete("eth1")
            if again:
                net.add(FakeLink(99, "eth1", master="br0"))

    net.refuse = gone
    with pytest.raises(HostError, match="eth1: is gone: somebody removed the link meanwhile"):
        run(host, ALL)
    assert net["eth0"].mtu == 1500


def test_a_read_only_var_is_refused_first(host: FakeKernel, net: FakeLinks, monkeypatch: pytest.MonkeyPatch) -> None:
    class Status:
        f_flag = os.ST_RDONLY

    monkeypatch.setattr(host, "statvfs", lambda path: Status())
    with pytest.raises(HostError, match="read-only"):
        run(host, ALL, check=True)


# --- what is said of others


def test_ports_that_stay_smaller_are_named_and_guests_apart(host: FakeKernel, net: FakeLinks) -> None:
    net.add(FakeLink(10, "vnet0", "tun", master="br0"))
    net.add(FakeLink(11, "port5", "veth", master="br0", elsewhere=True))
    for check in (True, False):
        warnings = run(host, bridge(ports=["eth0"]), check=check).verdict.warnings
        assert [text.split(": ")[1:] for text in warnings] == [
            [
                "these ports of guests and pods keep a smaller MTU than 9000, and larger frames are dropped there without a word",
                "vnet0 (1500), port5 (1500)",
            ],
            [
                "these ports keep a smaller MTU than 9000, and larger frames are dropped there without a word",
                "eth1 (1500)",
            ],
        ]


@pytest.mark.parametrize(("name", "product"), [("cilium_host", "Cilium"), ("cali0123456789a", "Calico")])
def test_pods_that_keep_their_mtu_are_warned_of_once(host: FakeKernel, net: FakeLinks, name: str, product: str) -> None:
    net.add(FakeLink(10, name, "veth"))
    (warning,) = run(host, ALL).verdict.warnings
    assert warning.startswith(f"the pods of {product} that are there keep the MTU")
    assert run(host, ALL).verdict.warnings == ()


def test_hardware_may_reset_its_link(host: FakeKernel, net: FakeLinks) -> None:
    for check in (True, False):
        (item,) = run(host, bridge("br1", ports=["all"]), check=check).verdict.disruptive
        assert item == {"target": "eth2", "reason": "its driver may reset the link to change the MTU"}


# --- the machine's own connection


@pytest.fixture
def managed(host: FakeKernel, net: FakeLinks) -> FakeKernel:
    """br0 has the default route, and this run came over it."""
    net.routes = [dumps.route(1, gateway="192.0.2.1")]
    connect(host, CONNECTION)
    return host


def connect(host: FakeKernel, connection: str | None) -> None:
    folder = Path(f"{host.root}/proc/{os.getpid()}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "environ").write_text(f"PATH=/bin\0SSH_CONNECTION={connection}\0" if connection else "PATH=/bin\0")
    (folder / "stat").write_text(f"{os.getpid()} (python3) R 1 1 1")


def token(result: Result) -> str:
    found: str = result.after["revert"]["token"]
    return found


def tick(host: FakeKernel, seconds: float) -> None:
    """Time goes by."""
    now = host.uptime()
    Path(f"{host.root}/proc/uptime").write_text(f"{now + seconds:.2f} 1.00\n")


@pytest.mark.parametrize("entry", [bridge(), bridge(ports=["eth0"]), bridge(mtu=1500, ports=["eth0"])])
def test_a_link_that_carries_the_machine_is_refused_with_the_reason(
    managed: FakeKernel, net: FakeLinks, entry: dict[str, Any]
) -> None:
    net["eth0"].mtu = 1600
    for check in (True, False):
        with pytest.raises(BulwarkError, match=r"carries this connection|carries a default route") as caught:
            run(managed, entry, check=check)
        assert "With allow_management_link" in str(caught.value)
    assert net.log == []
    # Nothing changes there: there is nothing to refuse.
    assert run(managed, bridge("br1", ports=["all"])).changed
    assert run(managed, bridge(mtu=1500)).changed


def test_with_consent_a_timer_is_armed_first_and_a_fresh_connection_cancels_it(
    managed: FakeKernel, net: FakeLinks
) -> None:
    foretold = run(managed, ALL, check=True, allow_management_link=True)
    assert managed.commands == []
    assert [(item["target"], item["reason"]) for item in foretold.verdict.disruptive] == [
        ("br0", "it carries this connection"),
        ("eth0", "it carries this connection below br0"),
        ("eth1", "it carries this connection below br0"),
    ]
    first = run(managed, ALL, allow_management_link=True, revert_after=60)
    armed = managed.commands.pop()
    script = f"/run/bulwark-revert-{token(first)}.sh"
    assert armed == [
        *("systemd-run", "--quiet", "--collect", f"--unit=bulwark-revert-{token(first)}", "--on-active=60"),
        *("--timer-property=AccuracySec=100ms", "/bin/sh", script),
    ]
    steps = [line for line in (managed.read(script) or "").splitlines() if line.startswith("set_mtu ")]
    assert steps == ["set_mtu br0.5 1500", "set_mtu br0 1500", "set_mtu eth1 1500", "set_mtu eth0 1500"]
    given: dict[str, Any] = {"allow_management_link": True, "confirm": token(first)}
    with pytest.raises(BulwarkError, match="this is the connection that set the MTUs, and proves nothing"):
        run(managed, ALL, **given)
    with pytest.raises(BulwarkError, match=r"an earlier run's timer puts the old MTUs back in 120 s|in 60 s"):
        run(managed, ALL, allow_management_link=True)
    with pytest.raises(BulwarkError, match=r"no timer of that token is armed"):
        run(managed, ALL, allow_management_link=True, confirm="1")
    connect(managed, CONNECTION.replace("50000", "50001"))
    second = run(managed, ALL, **given)
    assert managed.commands == [["systemctl", "stop", f"bulwark-revert-{token(first)}.timer"]]
    assert not managed.exists(script)
    assert [(change.kind, change.after) for change in second.changes] == [("timer", None)]
    # As the action plugin puts them together.
    assert (first.before, first.changes) == (foretold.before, foretold.changes)
    assert second.after == foretold.after
    assert second.after["revert"] is None
    assert not run(managed, ALL, allow_management_link=True).changed


class OneFile:
    """What is persisted, of one file."""

    path, text = "/etc/systemd/network/br0.network.d/x.conf", f"{HEADER}\n"
    names: frozenset[str] = frozenset()
    mtus: dict[str, int] = {}  # noqa: RUF012 - of a class that stands in for a frozen one

    def __init__(self, found: str | None) -> None:
        self.files = {self.path: found}

    def check(self, goals: object) -> None:
        return None

    def plan(self, goals: object) -> list[Change]:
        return [] if self.files[self.path] else [Change("file", self.path, None, self.text)]

    def predict(self, changes: Sequence[Change]) -> OneFile:
        return OneFile(next((change.after for change in changes if change.kind == "file"), self.files[self.path]))

    def warnings(self, goals: object, desired: object) -> tuple[str, ...]:
        return ()


def test_behind_an_armed_timer_nothing_is_persisted_before_it_is_confirmed(
    managed: FakeKernel, net: FakeLinks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge_mtu_persist, "observe", lambda host, links: OneFile(host.read(OneFile.path)))
    given: dict[str, Any] = {"allow_management_link": True, "persist": True}
    foretold = run(managed, ALL, check=True, **given)
    first = run(managed, ALL, **given)
    assert managed.read(OneFile.path) is None
    assert first.verdict.unmet == ()
    connect(managed, CONNECTION.replace("50000", "50001"))
    second = run(managed, ALL, confirm=token(first), **given)
    assert managed.read(OneFile.path) == OneFile.text
    assert [change.kind for change in second.changes] == ["file", "timer"]
    assert (first.changes, second.after) == (foretold.changes, foretold.after)
    # The links apart, which the first run changed.
    assert second.diff[1:] == foretold.diff[1:] != ()
    # Where no link changes that carries the machine, there is no timer to wait for.
    managed.remove(OneFile.path)
    assert run(managed, ALL, **given).after["revert"] is None
    assert managed.read(OneFile.path) == OneFile.text


def test_a_file_that_cannot_be_written_in_the_second_run_leaves_the_timer_armed_and_says_so(
    managed: FakeKernel, net: FakeLinks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge_mtu_persist, "observe", lambda host, links: OneFile(host.read(OneFile.path)))
    given: dict[str, Any] = {"allow_management_link": True, "persist": True}
    first = run(managed, ALL, **given)
    connect(managed, CONNECTION.replace("50000", "50001"))
    managed.fault = WriteFault(1, False, True)
    with pytest.raises(HostError) as caught:
        run(managed, ALL, confirm=token(first), **given)
    managed.fault = None
    assert caught.value.details["after"]["revert"]["token"] == token(first)
    assert managed.exists(f"/run/bulwark-revert-{token(first)}.sh")


def test_a_connection_is_no_proof_when_the_timer_was_faster(managed: FakeKernel, net: FakeLinks) -> None:
    first = run(managed, ALL, allow_management_link=True)
    connect(managed, CONNECTION.replace("50000", "50001"))
    managed.rename(f"/run/bulwark-revert-{token(first)}.sh", "/run/gone")
    with pytest.raises(
        BulwarkError, match=r"no timer of that token is armed any more, and its MTUs are there"
    ) as caught:
        run(managed, ALL, allow_management_link=True, confirm=token(first))
    assert caught.value.details["after"]["revert"] is None
    assert caught.value.details["after"]["bridges"][0]["mtu"] == 9000
    # A script that nobody started: its run died while it armed the timer.
    managed.rename("/run/gone", f"/run/bulwark-revert-{token(first)}.sh")
    tick(managed, 131)
    assert run(managed, bridge("br1", ports=["all"])).changed


@pytest.mark.parametrize("trouble", ["another mtu", "probe"])
def test_what_is_not_confirmed_is_left_to_the_timer(
    managed: FakeKernel, net: FakeLinks, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    first = run(managed, ALL, allow_management_link=True)
    connect(managed, CONNECTION.replace("50000", "50001"))
    given: dict[str, Any] = {"allow_management_link": True, "confirm": token(first)}
    if trouble == "probe":
        monkeypatch.setattr(icmp_probe, "probe", lambda address, size: probed(passed=False, hop=2))
        given["probe"] = "192.0.2.1"
        expected = "no packet of 9000 bytes .* at hop 2 .*: the timer puts the old MTUs back"
    else:
        net.set_mtu("eth1", 1500)
        expected = "eth1 no longer has the MTU 9000 but 1500: the timer puts all of them back"
    managed.commands.clear()
    tick(managed, 20)
    with pytest.raises(BulwarkError, match=expected) as caught:
        run(managed, ALL, **given)
    # What the action plugin needs to say what is live.
    armed = caught.value.details["after"]["revert"]
    assert (armed["token"], armed["seconds"]) == (token(first), 100)
    live = {link["name"]: (link["mtu"], link["old"]) for link in armed["links"]}
    assert live == {
        **dict.fromkeys(["br0.5", "br0", "eth0"], (9000, 1500)),
        "eth1": (9000 if trouble == "probe" else 1500, 1500),
    }
    assert managed.exists(f"/run/bulwark-revert-{token(first)}.sh")
    assert managed.commands == []


def test_a_failure_behind_an_armed_timer_undoes_all_and_disarms_it(managed: FakeKernel, net: FakeLinks) -> None:
    before = net.state()
    net.refuse = lambda name, mtu: (
        HostError("netlink", "the kernel says: no (EINVAL)", "EINVAL") if (name, mtu) == ("eth1", 9000) else None
    )
    with pytest.raises(HostError, match="eth1") as caught:
        run(managed, ALL, allow_management_link=True)
    assert "the timer" in caught.value.details["undone"]
    assert net.state() == before
    assert not [name for name in managed.names("/run") if name.startswith("bulwark-revert")]


def test_a_timer_that_cannot_be_armed_lets_nothing_be_changed(managed: FakeKernel, net: FakeLinks) -> None:
    managed._run = lambda command: Completed(1, "", "Failed to connect to bus")
    with pytest.raises(HostError, match=r"systemd-run .* Failed to connect to bus"):
        run(managed, ALL, allow_management_link=True)
    assert net.log == []
    assert not [name for name in managed.names("/run") if name.startswith("bulwark-revert")]


def test_a_failure_after_the_timer_is_cancelled_puts_the_mtus_back_at_once(managed: FakeKernel, net: FakeLinks) -> None:
    first = run(managed, ALL, allow_management_link=True)
    connect(managed, CONNECTION.replace("50000", "50001"))
    script = f"/run/bulwark-revert-{token(first)}.sh"

    def attempt(command: list[str]) -> Completed:
        if command[0] == "systemctl":
            # In the very moment in which the timer is gone.
            net.set_mtu("eth1", 1500)
        managed.commands.append(command)
        return Completed(0, "", "")

    managed._run = attempt
    with pytest.raises(UnmetError, match="eth1") as caught:
        run(managed, ALL, allow_management_link=True, confirm=token(first))
    assert managed.commands[-1] == ["/bin/sh", script]
    assert "set_mtu br0 1500" in (managed.read(script) or "")
    assert OLD_MTUS in caught.value.details["undone"]


def test_what_a_timer_may_put_back_is_not_forgotten_before_it_is_confirmed(managed: FakeKernel, net: FakeLinks) -> None:
    run(managed, ALL, allow_management_link=True, confirm=None)
    for name in managed.names("/run"):
        if name.startswith("bulwark-revert"):
            managed.remove(f"/run/{name}")
    foretold = run(managed, state="absent", allow_management_link=True, check=True)
    first = run(managed, state="absent", allow_management_link=True)
    assert set(net.mtus().values()) == {1500}
    assert len(json.loads(managed.read(MANIFEST) or "")["kernel"]) == 4
    connect(managed, CONNECTION.replace("50000", "50001"))
    second = run(managed, state="absent", allow_management_link=True, confirm=token(first))
    assert not managed.exists(MANIFEST)
    assert (first.changes, second.after) == (foretold.changes, foretold.after)


@pytest.mark.parametrize("fresh", ["none", "shared"])
@pytest.mark.parametrize("connected", [False, True])
def test_without_a_fresh_connection_it_takes_a_probe_that_passes(
    managed: FakeKernel, net: FakeLinks, monkeypatch: pytest.MonkeyPatch, fresh: str, connected: bool
) -> None:
    if not connected and fresh == "none":
        connect(managed, None)
    given: dict[str, Any] = {"allow_management_link": True, "fresh_connection": fresh}
    found = {"none": "this run comes by no connection of ssh", "shared": "ssh gives the same connection again"}[fresh]
    passed = True
    monkeypatch.setattr(icmp_probe, "probe", lambda address, size: probed(size=size, passed=passed))

    def refused(*entries: dict[str, Any], **more: Any) -> None:
        before = snapshot(managed)
        net.log.clear()
        for check in (True, False):
            with pytest.raises(
                OptionError, match=rf"allow_management_link: got True, expected a probe .* {found}"
            ) as caught:
                run(managed, *entries, check=check, **given, **more)
            assert "Set probe to an address beyond br0" in str(caught.value)
        assert (net.log, different(before, snapshot(managed))) == ([], set())

    refused(ALL)
    first = run(managed, ALL, probe="192.0.2.1", **given)
    # Whoever comes by a connection proves no more by it.
    with pytest.raises(BulwarkError, match="confirm: no connection of ssh armed this timer: it takes a probe"):
        run(managed, ALL, confirm=token(first), **given)
    passed = False
    with pytest.raises(BulwarkError, match=r"confirm: no packet of 9000 bytes .* the timer puts the old MTUs back"):
        run(managed, ALL, confirm=token(first), probe="192.0.2.1", **given)
    passed = True
    assert run(managed, ALL, confirm=token(first), probe="192.0.2.1", **given).after["revert"] is None
    refused(state="absent")
    first = run(managed, state="absent", probe="192.0.2.1", **given)
    assert first.after["probe"] == probed(size=1500)
    second = run(managed, state="absent", confirm=token(first), probe="192.0.2.1", **given)
    assert (second.after["revert"], set(net.mtus().values()), managed.exists(MANIFEST)) == (None, {1500}, False)
    assert not run(managed, state="absent", probe="192.0.2.1", **given).changed


def test_a_probe_that_proves_goes_through_what_carries_the_machine(managed: FakeKernel, net: FakeLinks) -> None:
    net["br1"].addresses = ["198.18.0.2/24"]
    entries = (ALL, bridge("br1", ports=["all"]))
    given: dict[str, Any] = {"allow_management_link": True, "fresh_connection": "none", "check": True}
    with pytest.raises(OptionError, match="an address that is reached through what carries the machine: br0, eth0"):
        run(managed, *entries, probe="198.18.0.1", **given)
    # A VLAN stands on what carries.
    for probe in ("192.0.2.1", "203.0.113.1"):
        assert run(managed, *entries, probe=probe, **given).changed


def test_a_probe_whose_route_leads_elsewhere_by_then_has_not_passed(
    host: FakeKernel, net: FakeLinks, sleep: Sleep
) -> None:
    def moved() -> None:
        net["br1"].addresses, net["br0"].addresses = net["br0"].addresses, []

    sleep.meanwhile = moved
    with pytest.raises(UnmetError, match="probe: no packet of 9000 bytes"):
        run(host, ALL, probe="192.0.2.1")
    assert set(net.mtus().values()) == {1500}


def test_a_connection_that_sudo_hides_is_taken_from_the_login_shell(managed: FakeKernel, net: FakeLinks) -> None:
    net.routes = []
    connect(managed, None)
    given: dict[str, Any] = {"fresh_connection": "possible", "ssh_connection": CONNECTION}
    for check in (True, False):
        with pytest.raises(BulwarkError, match="br0 carries this connection"):
            run(managed, ALL, check=check, **given)
    first = run(managed, ALL, allow_management_link=True, **given)
    with pytest.raises(BulwarkError, match="this is the connection that set the MTUs"):
        run(managed, ALL, allow_management_link=True, confirm=token(first), **given)
    given["ssh_connection"] = None
    with pytest.raises(BulwarkError, match="it cannot be told by which connection this run came"):
        run(managed, ALL, allow_management_link=True, confirm=token(first), **given)
    given["ssh_connection"] = CONNECTION.replace("50000", "50001")
    assert run(managed, ALL, allow_management_link=True, confirm=token(first), **given).after["revert"] is None
    # What the module sees itself is not overruled.
    connect(managed, CONNECTION)
    given["ssh_connection"] = "198.51.100.9 50000 198.51.100.77 22"
    with pytest.raises(BulwarkError, match="br0 carries this connection"):
        run(managed, bridge(mtu=1400, ports=["all"], uppers=["all"]), **given)


@pytest.mark.parametrize("fresh", ["possible", "shared"])
@pytest.mark.parametrize("consent", [False, True])
def test_a_connection_of_ssh_that_cannot_be_told_lets_no_link_be_changed(
    managed: FakeKernel, net: FakeLinks, fresh: str, consent: bool
) -> None:
    connect(managed, "UNKNOWN 65535 UNKNOWN 65535")
    net.routes = []
    for check in (True, False):
        with pytest.raises(BulwarkError, match="SSH_CONNECTION: this run came by ssh, but neither") as caught:
            run(managed, ALL, check=check, fresh_connection=fresh, allow_management_link=consent, probe="192.0.2.1")
        assert "with ansible_connection=local" in str(caught.value)
    assert net.log == []
    # Nothing changes: there is nothing to refuse.
    assert not run(managed, bridge("br1", 1500, pin=False), fresh_connection=fresh).changed


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (CONNECTION, True),
        ("2001:db8::9 50000 2001:db8::2 22", True),
        ("fe80::9%eth0 50000 fe80::2%br0.5 22", True),
        ("::ffff:198.51.100.9 1 ::ffff:192.0.2.2 65535", True),
        ("UNKNOWN 65535 UNKNOWN 65535", False),
        ("198.51.100.9 50000 192.0.2.2", False),
        (f"{CONNECTION} ", False),
        (f"{CONNECTION}\n", False),
        (f"{CONNECTION}; id", False),
        ("198.51.100.9 0 192.0.2.2 22", False),
        ("198.51.100.9 50000 192.0.2.2 65536", False),
        ("198.51.100.9 \u0665\u0660 192.0.2.2 22", False),
        ("198.51.100.999 50000 192.0.2.2 22", False),
        ("fe80::9%$(id) 50000 192.0.2.2 22", False),
        ("", False),
        (None, False),
    ],
)
def test_what_is_said_of_a_connection_has_the_form_that_sshd_gives_it(text: str | None, good: bool) -> None:
    assert bridge_mtu_options.ssh_connection(text) == (text if good else None)


# --- the probe


def probed(**more: Any) -> dict[str, Any]:
    found = {"address": "192.0.2.1", "size": 9000, "passed": True, "path_mtu": None, "hop": None, "hop_address": None}
    return {**found, **more}


def test_the_probe_is_sent_when_the_mtus_are_there_and_its_failure_undoes_them(
    host: FakeKernel, net: FakeLinks, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def probe(address: str, size: int) -> dict[str, Any]:
        asked.append((address, size, net["br0"].mtu))
        return answer

    answer = probed(passed=False, hop=2, hop_address="192.0.2.77", path_mtu=1400)
    monkeypatch.setattr(icmp_probe, "probe", probe)
    before = net.state()
    assert run(host, ALL, probe="192.0.2.1", check=True).after["probe"] is None
    assert asked == []
    with pytest.raises(
        UnmetError, match=r"probe: no packet of 9000 bytes .* is lost at hop 2 \(192.0.2.77\)"
    ) as caught:
        run(host, ALL, probe="192.0.2.1")
    (unmet,) = caught.value.details["unmet"]
    assert (unmet["wanted"], unmet["got"], unmet["evidence"]) == (9000, 1400, answer)
    assert (asked, net.state()) == ([("192.0.2.1", 9000, 9000)], before)
    answer = probed(passed=False)
    with pytest.raises(UnmetError, match="is lost somewhere on the way"):
        run(host, ALL, probe="192.0.2.1")
    answer = probed()
    assert run(host, ALL, probe="192.0.2.1").after["probe"] == answer
    asked.clear()
    host.remove(bridge_pins.PINS)
    assert run(host, ALL, probe="192.0.2.1").changed
    # Before and after, and not once more for the timer, of which a pin needs none.
    assert len(asked) == 2
    again = run(host, ALL, probe="203.0.113.9")
    assert (again.changed, asked[-1][0]) == (False, "203.0.113.9")
    answer = probed(passed=False)
    assert [item.target for item in run(host, ALL, probe="192.0.2.1", check=True).verdict.unmet] == ["probe"]
    with pytest.raises(UnmetError, match="probe"):
        run(host, ALL, probe="192.0.2.1")
    assert net["br0"].mtu == 9000


# --- what merely changes with the links


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> FakeLinks:
    """br1 follows a VLAN of br0, an ipvlan has an MTU of its own until br1 changes, and a slave until its bond does."""
    return FakeLinks(
        monkeypatch,
        FakeLink(1, "br0", "bridge"),
        FakeLink(2, "bond0", "bond", master="br0"),
        FakeLink(3, "eth0", master="bond0", mtu=1600),
        FakeLink(4, "br0.5", "vlan", lower="br0", master="br1"),
        FakeLink(5, "br1", "bridge", addresses=["192.0.2.2/24", "2001:db8::2/64"]),
        FakeLink(6, "ip0", "ipvlan", 1300, lower="br1"),
    )


@pytest.mark.parametrize("mtu", [9000, 1400])
def test_what_followed_goes_back_by_absent_and_is_warned_of(host: FakeKernel, stack: FakeLinks, mtu: int) -> None:
    links, entry = stack.state(), bridge(mtu=mtu, ports=["all"], uppers=["all"])
    foretold = run(host, entry, check=True)
    real = run(host, entry)
    assert foretold == real
    assert set(stack.mtus().values()) == {mtu}
    assert f"br1: it is not pinned, and follows br0.5 from 1500 to {mtu}" in real.verdict.warnings
    assert {item["target"] for item in real.verdict.disruptive} == {"eth0"}
    kept = json.loads(host.read(MANIFEST) or "")["kernel"]
    assert {path.split("/")[4]: entry["before"] for path, entry in kept.items()} == {
        **dict.fromkeys(["br0", "bond0", "br0.5"], "1500"),
        "eth0": "1600",
        "ip0": "1300",
    }
    for check in (True, False):
        again = run(host, entry, check=check)
        assert (again.changed, again.verdict.warnings) == (False, ())
    assert run(host, state="absent", check=True) == run(host, bridge(mtu=None), state="absent")
    assert stack.state() == links
    assert not stack["br1"].pinned
    assert not host.exists(MANIFEST)


def test_an_ipvlan_that_a_pin_changes_goes_back_by_absent(host: FakeKernel, net: FakeLinks) -> None:
    net.add(FakeLink(9, "ip0", "ipvlan", 1300, lower="br0"))
    run(host, bridge(mtu=1500))
    assert net["ip0"].mtu == 1500
    run(host, bridge(mtu=None), state="absent")
    assert (net["ip0"].mtu, host.exists(MANIFEST)) == (1300, False)


def test_absent_records_nothing_of_what_came_after_us(host: FakeKernel, net: FakeLinks) -> None:
    run(host, ALL)
    net.add(FakeLink(9, "ip0", "ipvlan", 9000, lower="br0"))
    run(host, state="absent")
    assert (net["ip0"].mtu, host.exists(MANIFEST)) == (1500, False)


@pytest.mark.parametrize("mtu", [9000, 1400])
@pytest.mark.parametrize("kind", ["refused", "signal after"])
def test_whichever_link_refuses_what_followed_is_as_before(
    host: FakeKernel, stack: FakeLinks, mtu: int, kind: str
) -> None:
    entry = bridge(mtu=mtu, ports=["all"], uppers=["all"])
    for number in itertools.count(1):
        stack.log.clear()
        before, links = snapshot(host), stack.state()

        def refuse(name: str, mtu: int, number: int = number) -> HostError | None:
            if len(stack.log) != number:
                return None
            if kind == "refused":
                return HostError("netlink", "the kernel says: Invalid argument (EINVAL)", "EINVAL")
            stack.set_mtu(name, mtu)
            raise Interrupted("stopped by SIGTERM")

        stack.refuse = refuse
        error = failure(partial(run, host, entry))
        stack.refuse = lambda name, mtu: None
        if error is None:
            break
        undone(before, links, host, stack, error)
        stack["br0"].pinned = False
    assert number > 3


def test_the_addresses_of_what_followed_are_not_lost(host: FakeKernel, stack: FakeLinks, sleep: Sleep) -> None:
    entry = bridge(mtu=1279, ports=["all"], uppers=["all"])
    for check in (True, False):
        with pytest.raises(OptionError, match=r"1280 or more: br1, which follows br0.5, has IPv6 addresses"):
            run(host, entry, check=check)
    sleep.meanwhile = stack["br1"].addresses.clear
    with pytest.raises(UnmetError, match=r"br1: the address 192\.0\.2\.2/24 was lost"):
        run(host, ALL)


def test_what_the_kernel_makes_smaller_unforeseen_fails_the_run_and_is_put_back(
    host: FakeKernel, net: FakeLinks, sleep: Sleep
) -> None:
    net.add(FakeLink(9, "odd0", "odd", lower="br0.5"))
    sleep.meanwhile = lambda: net.set_mtu("odd0", 1400)
    with pytest.raises(UnmetError, match=r"odd0: .* was made smaller with it: it has 1400 and not 1500"):
        run(host, ALL)
    assert set(net.mtus().values()) == {1500}


def test_the_timer_puts_back_last_what_gets_the_mtu_of_another(host: FakeKernel, stack: FakeLinks) -> None:
    stack.routes = [dumps.route(5, gateway="192.0.2.1")]
    connect(host, CONNECTION)
    entry = bridge(ports=["all"], uppers=["all"])
    first = run(host, entry, allow_management_link=True)
    script = host.read(f"/run/bulwark-revert-{token(first)}.sh") or ""
    assert [line.split()[1:] for line in script.splitlines() if line.startswith("set_mtu ")] == [
        *(["br0.5", "1500"], ["br0", "1500"], ["bond0", "1500"]),
        *(["eth0", "1600"], ["ip0", "1300"]),
    ]


def test_routes_that_lead_nowhere_are_missed_as_well(host: FakeKernel, net: FakeLinks, sleep: Sleep) -> None:
    sink = bytearray(dumps.route(1, "198.51.100.0/24"))
    sink[16 + 5 : 16 + 8] = bytes([4, 0, 6])  # static, blackhole
    untold = dumps.message(24, bytes([2, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0]), {30: dumps.number(7)})
    net.routes = [bytes(sink), untold]
    connect(host, CONNECTION)
    sleep.meanwhile = net.routes.clear
    with pytest.raises(UnmetError) as caught:
        run(host, ALL, allow_management_link=True)
    reasons = {item["reason"] for item in caught.value.details["unmet"]}
    assert reasons == {
        "the route blackhole 198.51.100.0/24 table 254 was lost with the change",
        "the route to everywhere was lost with the change",
    }


def test_what_could_not_be_looked_at_elsewhere_is_warned_of_and_not_undone(
    host: FakeKernel, net: FakeLinks, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def check(host: object, goals: object) -> str:
        asked.append(goals)
        return "of process 7 (pod): Operation not permitted"

    monkeypatch.setattr(bridge_mtu_elsewhere, "check", check)
    (warning,) = run(host, bridge("br1", 1400, ports=["all"])).verdict.warnings
    assert warning == (
        "br1, eth2: what stands on it in these network namespaces could not be seen, and is made smaller with it for good: "
        "of process 7 (pod): Operation not permitted"
    )
    net.refuse = lambda name, mtu: HostError("netlink", "no") if (name, mtu) == ("eth2", 1300) else None
    with pytest.raises(HostError) as caught:
        run(host, bridge("br1", 1300, ports=["all"]))
    assert [item["what"] for item in caught.value.details["not_undone"]] == [
        "what stands on the links in other network namespaces"
    ]
