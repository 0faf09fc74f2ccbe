# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""bridge_mtu on a machine whose bridge carries ssh: what cuts it off heals by itself, what does not is confirmed and stays."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.tests.hosts.adhoc import Ran
from ansible_collections.bulwark.node.tests.hosts.machine import Machine, Site, until

NETDEV = "[NetDev]\nName=br0\nKind=bridge\n"
PORT = "[Match]\nName=host0\n\n[Network]\nBridge=br0\n"
NETWORK = "[Match]\nName=br0\n\n[Network]\nAddress={}/24\nLinkLocalAddressing=ipv6\nIPv6AcceptRA=no\n"


@pytest.fixture(scope="module")
def bridged(site: Site) -> Iterator[Machine]:
    """A machine that has its address on br0, of which host0 is the port."""
    machine = site.machine("12", "bridged")
    machine.write("/etc/systemd/network/10-host0.network", PORT)
    machine.write("/etc/systemd/network/20-br0.netdev", NETDEV)
    machine.write("/etc/systemd/network/20-br0.network", NETWORK.format(machine.address))
    machine.start()
    machine.wait()
    yield machine
    machine.close()


def mtus(machine: Machine) -> dict[str, int]:
    links = json.loads(machine.run("ip", "-json", "link").stdout)
    return {link["ifname"]: link["mtu"] for link in links if link["ifname"] != "lo"}


def bridge_mtu(
    machine: Machine, mtu: int, check: bool = False, variables: dict[str, Any] | None = None, **more: Any
) -> Ran:
    inventory = machine.site.folder / "bridged.ini"
    inventory.write_text(f"{machine.inventory()}\n")
    options = {"bridges": [{"name": "br0", "mtu": mtu, "ports": ["host0"]}], "persist": False}
    options |= {"allow_management_link": True, "revert_after": 10, **more}
    ansible = [str(Path(sys.executable).parent / "ansible"), machine.name, "-i", str(inventory)]
    arguments = ["-m", "bulwark.node.bridge_mtu", "-a", json.dumps(options), *(["--check"] if check else [])]
    arguments += ["-e", json.dumps(variables or {})]
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "LC_ALL": "C.UTF-8", "ANSIBLE_BECOME_ALLOW_SAME_USER": "1"}
    done = subprocess.run(
        [*ansible, *arguments], capture_output=True, text=True, timeout=240, env=environment, check=False
    )
    assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    arrow, answer = done.stdout.partition(" => ")[1:]
    assert arrow, done.stdout + done.stderr
    return Ran(json.JSONDecoder().raw_decode(answer)[0], done.stdout + done.stderr)


def left_over(machine: Machine) -> str:
    """Timers, units and files of ours that are still there, and units that failed."""
    found = [
        machine.run("sh", "-c", "ls -d /run/bulwark-revert* 2>/dev/null", check=False).stdout,
        machine.run("systemctl", "--no-legend", "--all", "list-units", "bulwark-*").stdout,
        machine.run("systemctl", "--no-legend", "--failed").stdout,
    ]
    return "".join(found)


def logins(machine: Machine) -> list[str]:
    """The ports of all clients that sshd let in since it started."""
    machine.run("journalctl", "--sync", check=False)
    return re.findall(r"Accepted publickey .* port (\d+)", machine.run("journalctl", "-b", "-u", "ssh").stdout)


@contextmanager
def meanwhile(machine: Machine, mtu: int, on: list[str], off: list[str]) -> Iterator[threading.Event]:
    """Runs ``ip on`` here as soon as the machine's bridge has this MTU, and ``ip off`` when it has not any more. Set: it did."""
    done, did = threading.Event(), threading.Event()

    def watch() -> None:
        while not done.is_set():
            # Past the network, by the machine's namespaces.
            if mtus(machine)["br0"] == mtu:
                break
        else:
            return
        subprocess.run(["ip", *on], check=True)
        did.set()
        until(lambda: done.is_set() or mtus(machine)["br0"] != mtu, timeout=60)
        subprocess.run(["ip", *off], check=True)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield did
    finally:
        done.set()
        watcher.join()


def test_a_change_that_cuts_ssh_heals_itself(bridged: Machine) -> None:
    before = mtus(bridged)
    link = ["link", "set", bridged._link]
    with meanwhile(bridged, 9000, [*link, "nomaster"], [*link, "master", bridged.site.bridge]) as did:
        failed = bridge_mtu(bridged, 9000)
        assert did.is_set()
    assert failed.failed, failed.output
    assert "nothing is persisted" in failed["msg"]
    assert "old MTUs" in failed["msg"]
    assert "Live now: br0 1500, host0 1500." in failed["msg"]
    # The pin stays, and nothing else.
    assert (failed["changed"], [item["what"] for item in failed["not_undone"]]) == (True, ["the pin of br0"])
    assert mtus(bridged) == before
    assert until(lambda: left_over(bridged) == "", timeout=10), left_over(bridged)
    assert "nobody confirmed the new MTUs" in bridged.run("journalctl", "-b", "-t", "bulwark").stdout


def test_a_path_that_loses_large_packets_of_one_direction_is_no_way_either(bridged: Machine) -> None:
    """Small ones pass: those that open a connection, and all of the old one. The other end of the link takes no large ones."""
    before = mtus(bridged)
    # Packets leave one by one, for a veth does not look how large those are that are yet to be cut.
    bridged.run("ip", "link", "set", "br0", "gso_max_segs", "1")
    route = [f"{bridged.address}/32", "dev", bridged.site.bridge, "advmss", "8960"]
    with meanwhile(bridged, 9000, ["route", "add", *route], ["route", "delete", *route]) as did:
        failed = bridge_mtu(bridged, 9000)
        assert did.is_set()
    assert failed.failed, failed.output
    assert "nothing is persisted" in failed["msg"]
    # It was pinned before.
    assert not failed["changed"]
    assert mtus(bridged) == before
    assert until(lambda: left_over(bridged) == "", timeout=10), left_over(bridged)


def test_a_good_change_is_confirmed_by_a_connection_of_its_own_and_stays(bridged: Machine) -> None:
    refused = bridge_mtu(bridged, 1400, allow_management_link=False)
    assert "br0 carries this connection" in refused["msg"]
    predicted = bridge_mtu(bridged, 1400, check=True)
    earlier = logins(bridged)
    assert len(set(earlier)) == len(earlier)
    done = bridge_mtu(bridged, 1400)
    assert not done.failed, done["msg"]
    for key in ("before", "after", "changes", "disruptive", "changed"):
        assert predicted[key] == done[key], key
    assert {item["reason"] for item in done["disruptive"]} == {
        "it carries this connection",
        "it carries this connection below br0",
    }
    # A master that still lingered may have served the first run: the second one came by another.
    assert len(logins(bridged)) > len(earlier)
    assert left_over(bridged) == ""
    # Longer than the timer would have had.
    assert not until(lambda: mtus(bridged) != {"br0": 1400, "host0": 1400}, timeout=12)
    assert not bridge_mtu(bridged, 1400)["changed"]
    assert bridge_mtu(bridged, 1500)["changed"]
    assert left_over(bridged) == ""


def test_absent_over_the_bridge_itself_is_confirmed_too(bridged: Machine) -> None:
    assert bridge_mtu(bridged, 1400)["changed"]
    inventory = bridged.site.folder / "bridged.ini"
    ansible = [str(Path(sys.executable).parent / "ansible"), bridged.name, "-i", str(inventory)]
    options = json.dumps({"state": "absent", "allow_management_link": True})
    done = subprocess.run(
        [*ansible, "-m", "bulwark.node.bridge_mtu", "-a", options],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert " | CHANGED => " in done.stdout, done.stdout + done.stderr
    assert set(mtus(bridged).values()) == {1500}
    assert not bridged.path("/var/lib/bulwark").exists()
    assert left_over(bridged) == ""


HIDE = '#!/bin/sh\n# root -c command: run by PID 1, which has nothing of the connection.\nexec systemd-run --quiet --pipe --wait --collect /bin/sh -c "$3"\n'


def test_a_become_that_hides_the_connection_hides_no_link_that_carries_it(bridged: Machine) -> None:
    bridged.write("/usr/local/bin/hide", HIDE)
    bridged.path("/usr/local/bin/hide").chmod(0o755)
    become = {"ansible_become": True, "ansible_become_method": "su", "ansible_become_exe": "/usr/local/bin/hide"}
    for check in (True, False):
        refused = bridge_mtu(bridged, 1400, check, become, allow_management_link=False)
        assert "br0 carries this connection" in refused["msg"], refused.output
    done = bridge_mtu(bridged, 1400, variables=become)
    assert not done.failed, done["msg"]
    assert (done["after"]["revert"], set(mtus(bridged).values())) == (None, {1400})
    assert left_over(bridged) == ""
    assert bridge_mtu(bridged, 1500, variables=become)["changed"]


def test_a_connection_that_no_reset_ends_is_refused_before_the_first_write(bridged: Machine, tmp_path: Path) -> None:
    """Whoever keeps the master alive: to Ansible there is none."""
    before = mtus(bridged)
    lasting = tmp_path / "ssh"
    lasting.write_text('#!/bin/sh\ncase " $* " in *" -O "*) exit 1 ;; esac\nexec ssh "$@"\n')
    lasting.chmod(0o755)
    shared = {"ansible_ssh_executable": str(lasting)}
    control = ["-o", f"ControlPath={bridged.site.folder}/m"]
    shared["ansible_ssh_args"] = " ".join(["-o ControlMaster=auto -o ControlPersist=60", *control])
    for check in (True, False):
        refused = bridge_mtu(bridged, 1400, check, shared)
        assert "allow_management_link: got True, expected a probe beside it" in refused["msg"], refused.output
        assert "ssh gives the same connection again after a reset of it" in refused["msg"]
        assert not refused["changed"]
    assert mtus(bridged) == before
    # Where no link is to change, there is nothing to prove.
    assert not bridge_mtu(bridged, 1500, variables=shared)["changed"]
    subprocess.run(["ssh", *control, "-O", "exit", "any"], check=True)


def test_a_confirmation_that_fails_says_what_is_live_and_when_it_goes(bridged: Machine) -> None:
    """Somebody sets a port while the packets come that prove the new connection."""
    od = bridged.path("/usr/local/bin/od")
    bridged.write("/usr/local/bin/od", '#!/bin/sh\n/sbin/ip link set host0 mtu 1500\nexec /usr/bin/od "$@"\n')
    od.chmod(0o755)
    try:
        failed = bridge_mtu(bridged, 1400)
    finally:
        od.unlink()
    assert failed.failed, failed.output
    assert "host0 no longer has the MTU 1400 but 1500" in failed["msg"]
    assert re.search(r"Live now: .*br0 1400.* In \d+ s the timer on the machine puts back .*br0 1500", failed["msg"])
    assert failed["changed"]
    assert {link["name"]: link["old"] for link in failed["after"]["revert"]["links"]} == {"br0": 1500, "host0": 1500}
    assert until(lambda: set(mtus(bridged).values()) == {1500}, timeout=20)
    assert until(lambda: left_over(bridged) == "", timeout=10), left_over(bridged)
