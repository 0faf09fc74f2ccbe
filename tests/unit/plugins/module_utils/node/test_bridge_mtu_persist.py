# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What bridge_mtu persists, for whom, and whom it refuses, on hand-built trees; and that whichever write fails, all goes back."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.converge import (
    Change,
    Params,
    Result,
    Undos,
    Verdict,
    converge,
    other_value,
)
from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError, HostError, OwnerError
from ansible_collections.bulwark.node.plugins.module_utils.manifest import HEADER, Manifest
from ansible_collections.bulwark.node.plugins.module_utils.node import bridge_mtu_persist, bridge_mtu_state, bridge_pins
from ansible_collections.bulwark.node.plugins.module_utils.node.bridge_mtu_options import Desired
from ansible_collections.bulwark.node.plugins.module_utils.node.bridge_mtu_persist import Persisted
from ansible_collections.bulwark.node.plugins.module_utils.node.bridge_mtu_plan import Goal
from ansible_collections.bulwark.node.plugins.module_utils.node.links import Link
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import (
    MANIFEST,
    FakeKernel,
    Files,
    Machine,
    WriteFault,
    different,
    failure,
    snapshot,
)

NETWORKS = "/etc/systemd/network"
UNITS = "/etc/systemd/system"
HOOK = "/etc/network/if-up.d/zz-bulwark-bridge-mtu"
MADE_BY_US = {"/var", "/var/lib", "/var/lib/bulwark", NETWORKS}
IFSTATE = "/run/network/ifstate"
INTERFACES = "/etc/network/interfaces"


def link(index: int, name: str, kind: str | None = None, master: int | None = None, lower: int | None = None) -> Link:
    return Link(index, name, f"/sys/class/net/{name}", kind, 1500, 68, 65535, master, lower)


BR0, ETH1, BR1, ETH2 = (
    link(2, "br0", "bridge"),
    link(3, "eth1", None, 2),
    link(4, "br1", "bridge"),
    link(5, "eth2", None, 4),
)
LINKS = (BR0, ETH1, BR1, ETH2)


def networkd(**files: str) -> dict[str, str]:
    """The state of systemd-networkd, by the names of links and of the files that they have."""
    return {
        f"/run/systemd/netif/links/{one.index}": f"ADMIN_STATE=configured\nNETWORK_FILE={files[one.name]}\n"
        for one in LINKS
        if one.name in files
    }


def own(name: str, folder: str = NETWORKS) -> str:
    return f"{folder}/20-{name}.network"


def dropin(name: str) -> str:
    return f"{NETWORKS}/20-{name}.network.d/90-bulwark-bridge-mtu.conf"


def unit(name: str) -> str:
    return f"{UNITS}/bulwark-bridge-mtu-{name}.service"


def wants(name: str) -> str:
    return f"{UNITS}/multi-user.target.wants/bulwark-bridge-mtu-{name}.service"


ALL_NETWORKD = networkd(**{one.name: own(one.name) for one in LINKS})
ALL_IFUPDOWN = {
    IFSTATE: "lo=lo\nbr0=br0\nbr1=br1\neth2=eth2\n",
    INTERFACES: "iface br0 inet manual\n bridge_ports eth1\n",
}


def goals(mtu: int, *links: Link, pin: bool = True) -> list[Goal]:
    return [
        Goal(one, mtu, f"bridges[0].{'mtu' if one.kind == 'bridge' else 'ports'}", pin and one.kind == "bridge")
        for one in links
    ]


DESIRED = Desired(None, True, True, False, 120, None, None)


@dataclass(frozen=True)
class State:
    persisted: Persisted

    def facts(self) -> dict[str, Any]:
        return {}

    def files(self) -> Mapping[str, str | None]:
        return self.persisted.files


class Domain:
    """The persisting part of bridge_mtu: what is wanted is {goals} or {remove}, and with ``persist`` false neither."""

    name = "bridge_mtu"

    def __init__(self, host: FakeKernel, links: Sequence[Link]) -> None:
        self._host, self._links = host, links
        self._manifest = Manifest(host, self.name)

    def desired(self, params: Params) -> dict[str, Any]:
        return dict(params)

    def observe(self, desired: dict[str, Any]) -> State:
        return State(bridge_mtu_persist.observe(self._host, self._links))

    def check(self, state: State, desired: dict[str, Any]) -> None:
        self._manifest.check(self.plan(state, desired))
        if desired["persist"] and desired["remove"] is None:
            state.persisted.check(desired["goals"])

    def plan(self, state: State, desired: dict[str, Any]) -> list[Change]:
        if desired["remove"] is not None:
            return state.persisted.remove(desired["remove"])
        return state.persisted.plan(desired["goals"]) if desired["persist"] else []

    def predict(self, state: State, changes: Sequence[Change]) -> State:
        return State(state.persisted.predict(changes))

    def apply(self, change: Change, desired: dict[str, Any], undos: Undos) -> None:
        bridge_mtu_persist.apply(self._manifest, change, undos)

    def judge(self, before: State, after: State, left: Sequence[Change], desired: dict[str, Any]) -> Verdict:
        said = replace(DESIRED, present=desired["remove"] is None, persist=desired["persist"])
        unmet = tuple(other_value(change) for change in left)
        return Verdict(unmet, tuple(after.persisted.warnings(desired["goals"], said)), failed=bool(unmet))

    def settle(self, desired: dict[str, Any]) -> None:
        pass


def run(
    host: FakeKernel,
    wanted: Iterable[Goal] = (),
    remove: Iterable[str] | None = None,
    persist: bool = True,
    check: bool = False,
    links: Sequence[Link] = LINKS,
) -> Result:
    params = {"goals": list(wanted), "remove": None if remove is None else set(remove), "persist": persist}
    return converge(Domain(host, links), params, check)


def make(machine: Machine, files: Files) -> FakeKernel:
    return machine(
        "cgroup-v2-systemd", {f"{UNITS}/multi-user.target.wants/x": "", "/etc/network/if-up.d/x": "", **files}
    )


def ours(host: FakeKernel) -> dict[str, str]:
    """Our files and links, by path."""
    found = {}
    for path, content in snapshot(host).items():
        if "bulwark" in path and path.startswith("/etc"):
            found[path] = content if isinstance(content, str) else content[1].decode()
    return found


# --- what is written


def test_networkd_gets_a_drop_in_for_each_link_and_a_unit_that_pins(machine: Machine) -> None:
    host = make(machine, ALL_NETWORKD)
    run(host, goals(9000, BR0, ETH1))
    written = ours(host)
    assert set(written) == {dropin("br0"), dropin("eth1"), unit("br0"), wants("br0")}
    assert all(text.startswith(HEADER) for path, text in written.items() if path != wants("br0"))
    assert written[dropin("eth1")].splitlines()[1:] == ["# eth1: 9000", "[Link]", "MTUBytes=9000"]
    assert written[wants("br0")] == "../bulwark-bridge-mtu-br0.service"
    lines = written[unit("br0")].splitlines()
    assert "# br0: 9001 then 9000" in lines
    assert "After=systemd-networkd.service" in lines
    assert "$1" not in written[unit("br0")].replace("$$", "")


def test_a_bridge_at_the_largest_mtu_is_pinned_from_below(machine: Machine) -> None:
    host = make(machine, ALL_NETWORKD)
    run(host, goals(65535, BR0))
    assert "# br0: 65534 then 65535" in ours(host)[unit("br0")]


def test_a_bridge_that_follows_its_ports_is_not_set_at_boot(machine: Machine) -> None:
    host = make(machine, ALL_NETWORKD)
    run(host, goals(9000, BR0, ETH1))
    run(host, goals(9000, BR0, ETH1, pin=False))
    assert set(ours(host)) == {dropin("eth1")}


def test_a_bridge_below_a_port_is_pinned_at_boot_as_it_is_now(machine: Machine) -> None:
    host = make(machine, ALL_NETWORKD)
    run(host, [Goal(BR1, 9000, "bridges[0].ports")])
    assert set(ours(host)) == {dropin("br1"), unit("br1"), wants("br1")}


def test_netplan_and_cloud_init_on_networkd_get_drop_ins_of_the_files_that_they_make(machine: Machine) -> None:
    made = {"br0": "/run/systemd/network/10-netplan-br0.network", "eth1": f"{NETWORKS}/10-cloud-init-eth1.network"}
    host = make(machine, networkd(**made))
    run(host, goals(9000, BR0, ETH1))
    assert {path for path in ours(host) if path.startswith(NETWORKS)} == {
        f"{NETWORKS}/10-netplan-br0.network.d/90-bulwark-bridge-mtu.conf",
        f"{NETWORKS}/10-cloud-init-eth1.network.d/90-bulwark-bridge-mtu.conf",
    }


VLAN = (link(2, "br0", "bridge"), link(3, "eth1"), link(6, "eth1.7", "vlan", 2, 3), link(7, "br0.9", "vlan", None, 2))


def test_ifupdown_gets_one_hook_in_which_no_link_comes_before_what_carries_it(machine: Machine) -> None:
    host = make(machine, {IFSTATE: "br0=br0\neth1=eth1\neth1.7=eth1.7\nbr0.9=br0.9\n"})
    bridge, lower, port, upper = VLAN
    for wanted in (goals(9000, bridge), goals(9000, upper), goals(9000, port), goals(9000, lower)):
        run(host, wanted, links=VLAN)
    lines = [line for line in ours(host)[HOOK].splitlines() if line.startswith(("pin ", "set_mtu "))]
    assert lines == ["set_mtu eth1 9000", "set_mtu eth1.7 9000", "pin br0 9001 9000", "set_mtu br0.9 9000"]
    assert (host.mode_and_owner(HOOK) or (0,))[0] == 0o755
    applied = snapshot(host)
    assert not run(host, goals(9000, *reversed(VLAN)), links=VLAN).changed
    assert snapshot(host) == applied


# bindep.txt has them all; where a release's own Python is tried, there are those that it has.
@pytest.fixture(params=[name for name in ("dash", "bash", "busybox") if shutil.which(name)])
def shell(request: pytest.FixtureRequest) -> list[str]:
    return [request.param, *(["sh"] if request.param == "busybox" else [])]


def act(
    folder: Path, shell: Sequence[str], script: str, ip: str = "true", **environment: str
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run a script of ours where ``ip`` does nothing but this, after it noted what it was told; nothing of this machine is set."""
    programs = folder / "programs"
    programs.mkdir()
    said = folder / "said"
    said.touch()
    texts = {"ip": f'echo "$@" >>{said}\n{ip}', "cat": "echo 1", "sleep": "true"}
    for name, text in texts.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    path = folder / "script"
    path.write_text(script.replace("/run/bulwark", f"{folder}/bulwark").replace("/sys/class/net", str(folder)))
    variables = {"PATH": f"{programs}:{os.environ['PATH']}", **environment}
    done = subprocess.run([*shell, str(path)], capture_output=True, text=True, env=variables, check=False, timeout=60)
    return done, [line.removeprefix("link set dev ") for line in said.read_text().splitlines()]


@pytest.mark.parametrize(
    ("interface", "acts"), [("eth1", True), ("br0", True), ("--all", True), ("eth9", False), ("", False)]
)
def test_the_hook_sets_what_it_says_whichever_of_its_links_comes_up(
    machine: Machine, tmp_path: Path, shell: list[str], interface: str, acts: bool
) -> None:
    host = make(machine, ALL_IFUPDOWN)
    run(host, goals(9000, BR0, ETH1))
    done, said = act(tmp_path, shell, ours(host)[HOOK], IFACE=interface)
    assert (done.returncode, done.stderr) == (0, "")
    assert said == (["eth1 mtu 9000", "br0 mtu 9001", "br0 mtu 9000"] if acts else [])
    assert (tmp_path / "bulwark-bridge-pin-1").exists() == acts


@pytest.mark.parametrize(("at", "code"), [(1, 0), (7, 0), (10_000, 1)])
def test_the_unit_waits_for_its_bridge_but_not_for_ever(
    machine: Machine, tmp_path: Path, shell: list[str], at: int, code: int
) -> None:
    host = make(machine, ALL_NETWORKD)
    run(host, goals(9000, BR0))
    # As systemd reads it: lines joined, "$$" one dollar.
    command = ours(host)[unit("br0")].replace("\\\n", " ").replace("$$", "$").partition("ExecStart=")[2].split("\n")[0]
    script = command.removeprefix("/bin/sh -c '").removesuffix("'")
    done, said = act(tmp_path, shell, script, f'[ "$(wc -l <{tmp_path}/said)" -ge {at} ]')
    assert done.returncode == code
    assert said[-2:] == (["br0 mtu 9001", "br0 mtu 9000"] if code == 0 else ["br0 mtu 9001"] * 2)
    assert done.stderr == ("" if code == 0 else "br0 did not come, or not take an MTU of 9000\n")
    assert (tmp_path / "bulwark-bridge-pin-1").exists() == (code == 0)


def test_a_second_bridge_keeps_the_first_ones_lines_and_each_goes_alone(machine: Machine) -> None:
    for files in (ALL_NETWORKD, ALL_IFUPDOWN):
        host = make(machine, files)
        untouched = snapshot(host)
        run(host, goals(9000, BR0, ETH1))
        first = ours(host)
        run(host, goals(1400, BR1, ETH2))
        both = snapshot(host)
        assert not run(host, goals(9000, BR0, ETH1)).changed
        assert snapshot(host) == both
        run(host, remove=["br1", "eth2"])
        assert ours(host) == first
        assert run(host, remove=["br0", "eth1"]).changed
        assert different(untouched, snapshot(host)) <= MADE_BY_US
        assert not run(host, remove=["br0", "eth1"]).changed


def test_a_link_that_has_another_file_now_leaves_nothing_in_the_old_one(machine: Machine) -> None:
    host = make(machine, ALL_NETWORKD)
    run(host, goals(9000, BR0, ETH1))
    for path, text in {**networkd(eth1=own("new")), IFSTATE: "br0=br0\n"}.items():
        Path(f"{host.root}{path}").parent.mkdir(parents=True, exist_ok=True)
        Path(f"{host.root}{path}").write_text(text)
    Path(f"{host.root}/run/systemd/netif/links/2").unlink()
    run(host, goals(9000, BR0, ETH1))
    assert set(ours(host)) == {dropin("new"), HOOK}
    assert not host.exists(f"{NETWORKS}/20-eth1.network.d")


@pytest.mark.parametrize("files", [ALL_NETWORKD, ALL_IFUPDOWN], ids=["networkd", "ifupdown"])
def test_check_mode_foretells_the_run_which_a_second_run_leaves_alone(machine: Machine, files: Files) -> None:
    host = make(machine, files)
    untouched = snapshot(host)
    steps: list[dict[str, Any]] = [
        {"wanted": goals(9000, BR0, ETH1)},
        {"wanted": goals(1400, BR0, BR1, ETH1, ETH2)},
        {"wanted": goals(1400, BR0, ETH1, pin=False)},
        {"remove": ["br0", "eth1", "br1", "eth2"]},
    ]
    for step in steps:
        before = snapshot(host)
        foretold = run(host, check=True, **step)
        assert snapshot(host) == before
        real = run(host, **step)
        assert (foretold.changes, foretold.diff, real.changed) == (real.changes, real.diff, True)
        assert {diff["after_header"] for diff in real.diff} - {"/dev/null"} <= set(ours(host))
        again = run(host, **step)
        assert (again.changed, again.changes, again.diff) == (False, (), ())
    assert different(untouched, snapshot(host)) <= MADE_BY_US


# --- who is refused

UUID = "0f3a0c1e-5a3c-4a55-9c3e-1d2f3a4b5c6d"
BY_NM = {
    f"/run/NetworkManager/devices/{index}": f"[device]\nmanaged=true\nconnection-uuid={UUID}\n" for index in (2, 3)
}
REFUSED: dict[str, tuple[Files, str]] = {
    "NetworkManager": (
        BY_NM,
        "bridges[0].mtu: br0, eth1: NetworkManager has it, for which nothing is written. Set persist to false, and run: nmcli "
        f"connection modify {UUID} 802-3-ethernet.mtu 9000; run: nmcli connection modify {UUID} 802-3-ethernet.mtu 9000",
    ),
    "NetworkManager, connection unknown": (
        dict.fromkeys(BY_NM, "[device]\nmanaged=true\n"),
        "nmcli connection modify <the connection of br0> 802-3-ethernet.mtu 9000",
    ),
    "nmstate": (
        {**BY_NM, "/etc/nmstate/br.yml": "secret"},
        "nmstate sets that up. Set persist to false, and write in /etc/nmstate: interfaces: [{name: br0, mtu: 9000}]",
    ),
    "cloud-init": (
        {**BY_NM, "/etc/NetworkManager/system-connections/cloud-init-eth1.nmconnection": "secret"},
        "cloud-init writes its connections. Set persist to false, and write in cloud-init's network configuration: mtu: 9000",
    ),
    "netplan": (
        {**BY_NM, "/run/NetworkManager/system-connections/netplan-x.nmconnection": f"[connection]\nuuid={UUID}\n"},
        "netplan has NetworkManager set it up, for which nothing is written. Set persist to false, and run: netplan set "
        "bridges.br0.mtu=9000; run: netplan set ethernets.eth1.mtu=9000",
    ),
    "ifupdown2": (
        {"/run/network/ifstatelock": "", INTERFACES: "auto br0\niface br0\n  bridge-ports eth1\niface eth1\n"},
        "br0, eth1: ifupdown2 has it, which reads other files than we write. Set persist to false, and put the line mtu 9000 "
        "below iface br0 in /etc/network/interfaces; put the line mtu 9000 below iface eth1",
    ),
    "a port that ifupdown2's bridge alone names": (
        {"/run/network/ifstatelock": "", INTERFACES: "auto br0\niface br0\n  bridge-ports eth1\n"},
        "br0, eth1: ifupdown2 has it",
    ),
    "ifupdown2's bridge in a file that is sourced": (
        {
            "/run/network/ifstatelock": "",
            INTERFACES: "auto lo\niface lo inet loopback\nsource site.d/*.cfg\n",
            "/etc/network/site.d/lan.cfg": "auto br0\niface br0\n  bridge-ports eth1\n",
        },
        "br0, eth1: ifupdown2 has it",
    ),
    "nobody": (
        {},
        "bridges[0].mtu: br0, eth1: neither systemd-networkd, NetworkManager nor ifupdown has it, so that it is",
    ),
    "networkd does not manage it": (
        {f"/run/systemd/netif/links/{index}": "ADMIN_STATE=unmanaged\n" for index in (2, 3)},
        "neither systemd-networkd",
    ),
    "two": ({**ALL_NETWORKD, **BY_NM}, "systemd-networkd and NetworkManager both have it"),
    "libvirt": (
        {"/etc/libvirt/qemu/networks/lab.xml": "<network><name>lab</name><bridge name='br0' stp='on'/></network>"},
        "br0: libvirt makes it, for its network lab. Set persist to false, and run: virsh net-edit lab, and write <mtu "
        "size='9000'/>",
    ),
    "a port of networkd's bridge": (
        {path: text for path, text in ALL_NETWORKD.items() if not path.endswith("/3")},
        "bridges[0].ports: eth1: neither",
    ),
    "a port that ifupdown's bridge does not name": (
        {IFSTATE: "br0=br0\n", INTERFACES: "iface br0 inet manual\n bridge_ports eth7\n"},
        "bridges[0].ports: eth1: neither",
    ),
    "interfaces without ifupdown": ({INTERFACES: "iface br0 inet manual\n bridge_ports eth1\n"}, "br0, eth1: neither"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_managers_that_nothing_is_written_for_are_refused_with_the_lines(machine: Machine, case: str) -> None:
    files, message = REFUSED[case]
    host = make(machine, files)
    before = snapshot(host)
    for check in (True, False):
        error = failure(partial(run, host, goals(9000, BR0, ETH1), check=check))
        assert isinstance(error, OwnerError)
        assert message in str(error)
        assert "secret" not in str(error)
        assert not str(error).endswith((" ", ";"))
    assert snapshot(host) == before
    assert not run(host, goals(9000, BR0, ETH1), persist=False).changed


@pytest.mark.parametrize(
    ("name", "persisted"),
    [("br0", True), ("br-lan_1.2", True), ("br$0", False), ("br'0", False), ("br%i", False), ("a@b", False)],
)
def test_a_link_whose_name_would_need_quotes_is_refused(machine: Machine, name: str, persisted: bool) -> None:
    odd = replace(BR0, name=name)
    host = make(machine, {"/run/systemd/netif/links/2": f"ADMIN_STATE=configured\nNETWORK_FILE={own('odd')}\n"})
    error = failure(lambda: run(host, goals(9000, odd), links=(odd,)))
    assert (error is None) is persisted
    if error:
        assert f"no file is written for a link of such a name: {name!r}" in str(error)


# --- other files


def conf(value: str, section: str = "Link") -> str:
    return f"[Match]\nName=x\n[{section}]\nMTUBytes={value}\n"


SAYS = "sets the MTU of eth1 to 1400"
RIVALS: dict[str, tuple[dict[str, str], str | None, str | None]] = {
    "main file": ({own("eth1"): conf("1400")}, None, f"{own('eth1')} {SAYS}; {dropin('eth1')} wins over it at boot"),
    "same": ({own("eth1"): conf("9000")}, None, None),
    "suffix": ({own("eth1"): conf("9K")}, None, "to 9216; "),
    "other section": ({own("eth1"): conf("1400", "Network")}, None, None),
    "earlier": ({f"{own('eth1')}.d/10-a.conf": conf("1400")}, None, f"{own('eth1')}.d/10-a.conf {SAYS}; "),
    "later": ({f"{own('eth1')}.d/95-a.conf": conf("1400")}, f"95-a.conf {SAYS} and wins over {dropin('eth1')}", None),
    "later, same": ({f"{own('eth1')}.d/95-a.conf": conf("9000")}, None, None),
    "later in /run": (
        {f"{own('eth1', '/run/systemd/network')}.d/z.conf": conf("1400")},
        f"z.conf {SAYS} and wins",
        None,
    ),
    "later in /usr": ({f"{own('eth1', '/usr/lib/systemd/network')}.d/z.conf": conf("1400")}, f"{SAYS} and wins", None),
    "hidden by ours": (
        {f"{own('eth1', '/run/systemd/network')}.d/90-bulwark-bridge-mtu.conf": conf("1400")},
        None,
        None,
    ),
    "reset later": ({f"{own('eth1')}.d/95-a.conf": conf("")}, "wins over", None),
    "garbage": ({own("eth1"): conf("secret")}, None, "to something else; "),
    "of another link": ({own("eth2"): conf("1400")}, None, None),
}


@pytest.mark.parametrize("case", RIVALS)
def test_another_file_that_wins_is_refused_and_one_that_loses_named(machine: Machine, case: str) -> None:
    files, refused, warned = RIVALS[case]
    host = make(machine, {**ALL_NETWORKD, **files})
    before = snapshot(host)
    if refused:
        with pytest.raises(OwnerError) as caught:
            run(host, goals(9000, BR0, ETH1))
        assert refused in str(caught.value)
        assert snapshot(host) == before
    else:
        warnings = run(host, goals(9000, BR0, ETH1)).verdict.warnings
        assert len(warnings) == (warned is not None)
        assert all((warned or "") in warning for warning in warnings)


STANZAS: dict[str, tuple[dict[str, str], str | None]] = {
    "mtu of the stanza": (
        {
            INTERFACES: "auto br0\niface br0 inet manual\n  bridge_ports eth1\n\tmtu 1400\niface eth9 inet manual\n mtu 1\n"
        },
        f"{INTERFACES} sets the MTU of br0 to 1400; {HOOK} wins over it at boot",
    ),
    "sourced": (
        {
            INTERFACES: "source interfaces.d/*.cfg\niface br0 inet manual\n  bridge_ports eth1\n",
            "/etc/network/interfaces.d/a.cfg": "iface eth1 inet manual\n  mtu 1400\n",
            "/etc/network/interfaces.d/b": "iface eth1 inet manual\n  mtu 1300\n",
        },
        "/etc/network/interfaces.d/a.cfg sets the MTU of eth1 to 1400; ",
    ),
    "folder": (
        {
            INTERFACES: "source-directory /etc/network/x\n",
            "/etc/network/x/one": "iface br0 inet static\n  bridge-ports eth1\n",
        },
        None,
    ),
    "continued": ({INTERFACES: "iface br0 inet manual\n  bridge_ports \\\n   eth1\n"}, None),
    "a VLAN's lower": ({INTERFACES: "iface x inet manual\n  vlan-raw-device eth1\n"}, None),
    "dhcp": (
        {INTERFACES: "iface br0 inet dhcp\n  bridge_ports eth1\n"},
        "br0 asks a DHCP server, whose MTU (option 26), if it sends one, replaces 9000 later",
    ),
    "an earlier hook": ({**ALL_IFUPDOWN, "/etc/network/if-up.d/a": "mtu"}, None),
    "a later hook without": ({**ALL_IFUPDOWN, "/etc/network/if-up.d/zzz": "x"}, None),
}


@pytest.mark.parametrize("case", STANZAS)
def test_what_interfaces_says_of_a_link(machine: Machine, case: str) -> None:
    files, warned = STANZAS[case]
    host = make(machine, {IFSTATE: "br0=br0\n", **files})
    warnings = run(host, goals(9000, BR0, ETH1)).verdict.warnings
    assert set(ours(host)) == {HOOK}
    assert len(warnings) == (warned is not None)
    assert all((warned or "") in warning for warning in warnings)


def test_a_hook_that_comes_after_ours_is_refused(machine: Machine) -> None:
    host = make(
        machine, {**ALL_IFUPDOWN, "/etc/network/if-up.d/zzz": "#!/bin/sh\n# secret\nip link set br0 mtu 1400\n"}
    )
    with pytest.raises(OwnerError, match=r"/etc/network/if-up.d/zzz sets the MTU of .* may win") as caught:
        run(host, goals(9000, BR0))
    assert "secret" not in str(caught.value)


def test_a_hook_of_ours_that_may_not_be_executed_is_told(machine: Machine) -> None:
    host = make(machine, ALL_IFUPDOWN)
    run(host, goals(9000, BR0))
    Path(f"{host.root}{HOOK}").chmod(0o644)
    again = run(host, goals(9000, BR0))
    assert again.verdict.warnings == (f"{HOOK} may not be executed, and so does nothing: make it executable",)


def test_a_file_that_other_links_have_too_is_refused_with_their_names(machine: Machine) -> None:
    shared = networkd(br0=own("br0"), eth1=own("en"), eth2=own("en"))
    host = make(machine, shared)
    before = snapshot(host)
    with pytest.raises(
        OwnerError, match=r"ports: eth1 has its settings from the same file as eth2.* before 20-en.network"
    ):
        run(host, goals(9000, BR0, ETH1))
    assert snapshot(host) == before
    run(host, goals(9000, BR0, ETH1, ETH2))
    # The other one had the same from us.
    assert not run(host, goals(9000, BR0, ETH1)).changed
    with pytest.raises(OwnerError, match="eth2"):
        run(host, goals(1400, BR0, ETH1))
    run(host, remove=["eth1"])
    assert "# eth2: 9000" in ours(host)[dropin("en")]
    # What all of them have anyway may be said again.
    host = make(machine, {**shared, own("en"): conf("9000")})
    assert run(host, goals(9000, BR0, ETH1)).changed


def test_not_to_persist_warns_of_what_counts_at_the_next_boot(machine: Machine) -> None:
    host = make(machine, {**ALL_NETWORKD, own("eth2"): conf("1400")})
    run(host, goals(9000, BR0, ETH1))
    done = run(host, goals(9100, BR0, ETH1, ETH2), persist=False)
    assert not done.changed
    assert list(done.verdict.warnings) == [
        f"{dropin('br0')} still sets the MTU of br0 to 9000 at the next boot",
        f"{unit('br0')} still sets the MTU of br0 to 9000 at the next boot",
        f"{dropin('eth1')} still sets the MTU of eth1 to 9000 at the next boot",
        f"{own('eth2')} sets the MTU of eth2 to 1400, which counts at the next boot",
    ]
    assert run(host, goals(9000, BR0, ETH1), persist=False).verdict.warnings == ()


def test_absent_names_who_still_sets_another_mtu(machine: Machine) -> None:
    host = make(machine, {**ALL_NETWORKD, own("eth1"): conf("1400")})
    run(host, goals(9000, BR0, ETH1))
    done = run(host, goals(1500, BR0, ETH1), remove=["br0", "eth1"])
    assert done.verdict.warnings == (f"{own('eth1')} sets the MTU of eth1 to 1400, which counts at the next boot",)


def test_what_an_earlier_run_raised_below_a_port_is_persisted_with_it() -> None:
    lower, port = replace(VLAN[1], mtu=9000), replace(VLAN[2], mtu=9000)
    state: Any = SimpleNamespace(links=(lower, port), firsts={"eth1": 1500})
    wanted = {port.index: Goal(port, 9000, "bridges[0].ports")}
    assert [(goal.link.name, goal.mtu) for goal in bridge_mtu_state.lasting(state, wanted)] == [
        ("eth1.7", 9000),
        ("eth1", 9000),
    ]
    state.firsts = {}
    assert [goal.link.name for goal in bridge_mtu_state.lasting(state, wanted)] == ["eth1.7"]


# --- the way back


@pytest.mark.parametrize("path", [dropin("eth1"), unit("br0")])
def test_a_file_of_somebody_else_at_our_path_is_not_touched(machine: Machine, path: str) -> None:
    host = make(machine, {**ALL_NETWORKD, path: "# eth1: 9000\n# br0: 9000\nsecret\n"})
    Path(f"{host.root}{wants('br0')}").symlink_to("../bulwark-bridge-mtu-br0.service")
    before = snapshot(host)
    for check in (True, False):
        with pytest.raises(OwnerError, match=f"{path} is there and is not ours") as caught:
            run(host, goals(9000, BR0, ETH1), check=check)
        assert "secret" not in str(caught.value)
    for names in (["br0"], ["br0", "eth1"]):
        assert not run(host, remove=names).changed
    assert snapshot(host) == before


def test_a_symlink_at_our_path_that_leads_elsewhere_is_refused(machine: Machine) -> None:
    host = make(machine, ALL_IFUPDOWN)
    Path(f"{host.root}{HOOK}").symlink_to("/etc/passwd")
    before = snapshot(host)
    with pytest.raises(HostError, match=f"{HOOK}: is a symlink to /etc/passwd"):
        run(host, goals(9000, BR0), check=True)
    assert snapshot(host) == before


def test_without_its_manifest_our_files_are_nothing_to_go_back_to(machine: Machine) -> None:
    for files in (ALL_NETWORKD, ALL_IFUPDOWN):
        host = make(machine, files)
        untouched = snapshot(host)
        run(host, goals(9000, BR0, ETH1))
        host.remove(MANIFEST)
        run(host, goals(1400, BR0, ETH1))
        run(host, remove=["br0", "eth1"])
        left = different(untouched, snapshot(host)) - MADE_BY_US - {MANIFEST}
        # Nobody knows any more who made them.
        assert all(path.endswith(".network.d") and not host.names(path) for path in left)
        host.remove(MANIFEST)
        run(host, goals(9000, BR0, ETH1))
        host.remove(MANIFEST)
        run(host, remove=["br0", "eth1"])
        # Nor is anything that was ours taken for what was there before.
        assert host.read(MANIFEST) is None


@pytest.mark.parametrize("files", [ALL_NETWORKD, ALL_IFUPDOWN], ids=["networkd", "ifupdown"])
@pytest.mark.parametrize(("after", "on"), [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("absent", [False, True])
def test_whichever_write_fails_the_files_are_as_before_or_the_rest_is_named(
    machine: Machine, files: Files, after: bool, on: bool, absent: bool
) -> None:
    wanted: dict[str, Any] = {"wanted": goals(9000, BR0, ETH1)}
    for number in itertools.count(1):
        host = make(machine, files)
        if absent:
            run(host, **wanted)
            host.log.clear()
        before = snapshot(host)
        host.fault = WriteFault(number, after, on)
        error = failure(partial(run, host, **({"remove": ["br0", "eth1"]} if absent else wanted)))
        if error is None:
            assert number > len(host.log), f"write {number} failed unnoticed"
            break
        left = different(before, snapshot(host)) - MADE_BY_US
        named = [item["what"] for item in error.details["not_undone"]]
        if named:
            left.discard(MANIFEST)
        assert on or after or not named, (number, host.log)
        assert all(any(path == name or path.startswith(f"{name}/") for name in named) for path in left), (
            number,
            left,
            named,
        )
    assert number > 3


def test_a_pin_of_the_boot_counts_for_its_boot_and_network_alone(machine: Machine) -> None:
    here = "1b9d0a6c-0000-4000-8000-000000000001\nnet:[4026531840]\n"
    files = {
        "/proc/sys/kernel/random/boot_id": here.split()[0],
        f"{bridge_pins.AT_BOOT}2": here,
        f"{bridge_pins.AT_BOOT}3": here.replace("0001", "0002"),
        f"{bridge_pins.AT_BOOT}4": here.replace("40]", "41]"),
        f"{bridge_pins.AT_BOOT}x": here,
        f"{bridge_pins.AT_BOOT}5": "",
    }
    host = make(machine, files)
    namespace = Path(f"{host.root}/proc/self/ns/net")
    namespace.parent.mkdir(parents=True, exist_ok=True)
    namespace.unlink(missing_ok=True)
    namespace.symlink_to(here.split()[1])
    assert bridge_pins.read(host) == {2}
    bridge_pins.add(host, 7, "br7")
    assert bridge_pins.read(host) == {2, 7}


@pytest.mark.parametrize("name", ["{0}", "{mtu}", "<mtu>", "%s", "a'b"])
def test_a_name_that_looks_like_a_form_is_told_as_it_is(machine: Machine, name: str) -> None:
    odd = replace(BR0, name=name)
    for files in (BY_NM, dict.fromkeys(BY_NM, "managed=true\n"), {**BY_NM, "/etc/nmstate/br.yml": ""}, {}):
        error = failure(partial(run, make(machine, files), goals(9000, odd), links=(odd,)))
        assert isinstance(error, OwnerError)
        assert f"bridges[0].mtu: {name}: " in str(error)


def test_a_link_that_nobody_knows_is_refused_and_no_reason_for_a_traceback() -> None:
    with pytest.raises(BulwarkError, match="br0: it is not known who sets it up"):
        Persisted().check(goals(9000, BR0))
    assert Persisted().plan(goals(9000, BR0)) == Persisted().remove(["br0"]) == []
