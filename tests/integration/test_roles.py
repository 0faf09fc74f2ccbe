# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The roles that set something, run by the real ansible-playbook: on this machine's kernel, and harden on a machine under systemd."""

from __future__ import annotations

import base64
import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.tests.hosts.machine import Machine, Site

from .conftest import Namespace

KVM = Path("/dev/kvm")
POOL = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")
HERE = f"here ansible_connection=local ansible_python_interpreter={sys.executable}"
# What the role's module returned, in a form that no callback wraps.
TOLD = "told: {{ %s | default({}) | to_json | b64encode }}"


@dataclass(frozen=True)
class Played:
    """An ended play of one role on one host."""

    rc: int
    output: str

    @property
    def changed(self) -> int:
        """How many tasks changed something."""
        found = re.search(r"changed=(\d+)", self.output)
        assert found, self.output
        return int(found[1])

    @property
    def result(self) -> dict[str, Any]:
        """What the role's module returned, but for its diff, the time it took and the like."""
        found = re.search(r"told: ([A-Za-z0-9+/=]+)", self.output)
        assert found, self.output
        loaded: dict[str, Any] = json.loads(base64.b64decode(found[1]))
        return loaded

    def does(self, task: str) -> bool:
        """Whether a task ran, and was not skipped."""
        found = re.search(rf"^(?:TASK|RUNNING HANDLER) \[[\w.]+ : {re.escape(task)}\] \**\n(\w+)", self.output, re.M)
        return found is not None and found[1] != "skipping"


class Stage:
    """Plays one role on one host."""

    def __init__(self, folder: Path, host: str, inside: str = "") -> None:
        self.folder, self.host, self.inside = folder, host, inside

    def play(self, role: str, variables: dict[str, Any], *flags: str, register: str = "settings") -> Played:
        """The role with these variables, in a play without facts."""
        tell = {"ansible.builtin.debug": {"msg": TOLD % f"__{role}_{register}"}, "name": "Tell"}
        play = {
            "hosts": "all",
            "gather_facts": False,
            "roles": [{"role": f"bulwark.node.{role}", "vars": variables}],
            "post_tasks": [tell],
        }
        (self.folder / "play.yml").write_text(json.dumps([play]))
        (self.folder / "hosts.ini").write_text(f"{self.host}\n")
        command = [str(Path(sys.executable).parent / "ansible-playbook"), "play.yml", "-i", "hosts.ini", *flags]
        if self.inside:
            command = ["sh", "-ec", self.inside, "sh", *command]
        environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "LC_ALL": "C.UTF-8"}
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        print(done.stdout, done.stderr)
        assert "Traceback" not in done.stdout + done.stderr
        return Played(done.returncode, done.stdout + done.stderr)

    def both(self, role: str, variables: dict[str, Any], read: Callable[[], Any]) -> Played:
        """Check, which changes nothing, the run, which does what was foretold, and once more, with nothing to do."""
        before = read()
        predicted = self.play(role, variables, "--check")
        assert (predicted.rc, read()) == (0, before)
        done = self.play(role, variables)
        assert done.rc == 0
        assert (predicted.changed, predicted.result) == (done.changed, done.result)
        assert done.changed
        after = read()
        assert after != before
        again = self.play(role, variables)
        assert (again.rc, again.changed, read()) == (0, 0, after)
        return done


@pytest.fixture
def here(tmp_path: Path) -> Stage:
    return Stage(tmp_path, HERE)


def active(path: Path = THP) -> str:
    return path.read_text().partition("[")[2].partition("]")[0]


def test_hugepages_sets_pools_and_transparent_hugepages_and_gives_both_back(here: Stage, kernel: None) -> None:
    def read() -> tuple[str, str]:
        return POOL.read_text(), active()

    before = read()
    wanted = "never" if active() != "never" else "madvise"
    transparent = {"enabled": wanted, "persist": False}
    pool = {"size": "2M", "count": int(POOL.read_text()) + 2}
    here.both(
        "hugepages",
        {"hugepages_pools": [pool], "hugepages_persist": False, "hugepages_transparent": transparent},
        read,
    )
    assert read() == (f"{pool['count']}\n", wanted)
    # A pool that is not named is not touched.
    alone = here.play("hugepages", {"hugepages_transparent": transparent})
    assert (alone.rc, alone.changed, list(alone.result["domains"])) == (0, 0, ["transparent_hugepages"])
    given_back = here.play(
        "hugepages",
        {"hugepages_pools": [{**pool, "count": int(before[0])}], "hugepages_persist": False},
    )
    assert given_back.rc == 0
    absent = here.play("hugepages", {"hugepages_state": "absent", "hugepages_transparent": {"state": "absent"}})
    assert (absent.rc, read()) == (0, before)


@pytest.mark.skipif(not KVM.is_char_device(), reason="hardware: this machine has no KVM")
def test_kvm_sets_who_may_open_the_device_and_gives_it_back(here: Stage, kernel: None) -> None:
    before = KVM.stat()
    mode = "0660" if before.st_mode & 0o777 != 0o660 else "0666"
    try:
        here.both(
            "kvm", {"kvm_device": {"mode": mode}, "kvm_users": None, "kvm_persist": False}, lambda: KVM.stat().st_mode
        )
        assert f"{KVM.stat().st_mode & 0o7777:04o}" == mode
        absent = here.play("kvm", {"kvm_state": "absent"})
        assert (absent.rc, KVM.stat().st_mode) == (0, before.st_mode)
    finally:
        KVM.chmod(before.st_mode & 0o7777)


def test_bridge_mtu_sets_a_bridge_with_its_port_and_gives_both_back(tmp_path: Path, namespace: Namespace) -> None:
    namespace.run("ip", "link", "add", "br0", "type", "bridge")
    namespace.run("ip", "link", "add", "p0", "type", "veth", "peer", "name", "p0x")
    for link in ("p0x", "p0", "br0"):
        namespace.run("ip", "link", "set", link, "up")
    namespace.run("ip", "link", "set", "p0", "master", "br0")

    def read() -> dict[str, int]:
        return {link["ifname"]: link["mtu"] for link in namespace.json("ip", "-json", "link")}

    before = read()
    stage = Stage(tmp_path, HERE, namespace.inside)
    bridge = {"name": "br0", "mtu": 1400, "ports": ["p0"]}
    stage.both("bridge_mtu", {"bridge_mtu_bridges": [bridge], "bridge_mtu_persist": False}, read)
    assert read() == {**before, "br0": 1400, "p0": 1400}
    absent = stage.play("bridge_mtu", {"bridge_mtu_state": "absent"})
    assert (absent.rc, read()) == (0, before)


def test_rlimits_sets_two_targets_in_one_call_and_gives_them_back(here: Stage, kernel: None) -> None:
    children = [subprocess.Popen(["sleep", "600"]) for number in range(2)]

    def read() -> list[tuple[int, int]]:
        return [resource.prlimit(child.pid, resource.RLIMIT_NOFILE) for child in children]

    def entries(state: str) -> dict[str, Any]:
        return {
            "rlimits_entries": [
                {
                    "limits": {"nofile": {"soft": 300 + number, "hard": 4096}},
                    "processes": [{"pid": child.pid}],
                    "state": state,
                }
                for number, child in enumerate(children)
            ]
        }

    try:
        for child in children:
            resource.prlimit(child.pid, resource.RLIMIT_NOFILE, (512, 4096))
        before = read()
        done = here.both("rlimits", entries("present"), read)
        assert read() == [(300, 4096), (301, 4096)]
        assert len(done.result["domains"]["rlimits"]) == 2
        absent = here.play("rlimits", entries("absent"))
        assert (absent.rc, read()) == (0, before)
    finally:
        for child in children:
            child.kill()
            child.wait()


def test_harden_without_a_profile_or_an_option_says_what_it_takes(here: Stage) -> None:
    played = here.play("harden", {})
    assert played.rc == 2
    assert "settings: nothing is asked for; expected one of hugepages, " in played.output
    assert "or in the role harden a harden_profile, or one of these with harden_ before it" in played.output
    assert "changed=0" in played.output
    played = here.play("harden", {"harden_profile": "database"})
    assert "value of harden_profile must be one of: kubernetes_node, kvm_host, kubevirt_node" in played.output


# --- a machine under systemd, with a container runtime of its own

SERVICE = """\
[Service]
ExecStartPre=/bin/sh -c 'echo >>/root/starts-%p'
ExecStart=/bin/sleep infinity
LimitNOFILE=1024:524288
[Install]
WantedBy=multi-user.target
"""
# A root without CAP_SYS_RESOURCE, as this machine's may be, hands down no more than it has itself.
PROFILE, MINE = 1 << 20, 4096


@pytest.fixture
def node(site: Site, kernel: None) -> Iterator[Machine]:
    """Debian 12 with a unit of containerd's name, which counts its starts, and none of CRI-O's. The kernel's settings are real."""
    machine = site.machine("12", "roles", writable=[str(THP.parent)])
    for name in ("containerd", "other"):
        machine.write(f"/etc/systemd/system/{name}.service", SERVICE)
    machine.start()
    machine.wait()
    machine.run("systemctl", "enable", "--now", "containerd.service", "other.service")
    yield machine
    machine.close()


def limit(machine: Machine, unit: str, words: str = "Max open files") -> list[str]:
    """Soft and hard limit of what runs."""
    pid = machine.run("systemctl", "show", "--value", "--property=MainPID", unit).stdout.strip()
    text = machine.run("cat", f"/proc/{pid}/limits").stdout
    return next(line.removeprefix(words).split()[:2] for line in text.splitlines() if line.startswith(words))


def starts(machine: Machine, unit: str = "containerd") -> int:
    return len(machine.path(f"/root/starts-{unit}").read_text())


def etc(machine: Machine) -> set[str]:
    """Each file of /etc and the manifest with mode, owner and what it leads to or the hash of its content."""
    script = (
        "cd /; for top in etc var/lib/bulwark; do test -e $top || continue; "
        "find $top -printf '%p %y %m %U %G %l\n'; find $top -type f -exec sha256sum {} +; done"
    )
    return set(machine.run("sh", "-c", script).stdout.splitlines())


def drop_in(machine: Machine, unit: str) -> list[str]:
    """The limits that our file sets."""
    text = machine.path(f"/etc/systemd/system/{unit}.d/95-bulwark-rlimit.conf").read_text()
    return re.findall(r"^Limit.*", text, re.M)


def test_harden_restarts_what_it_may_and_once(node: Machine, tmp_path: Path) -> None:
    stage = Stage(tmp_path, node.inventory())
    first, was = etc(node), active()
    THP.write_text("always")
    entries = [
        {"limits": {"nofile": MINE}, "systemd_units": ["containerd.service"]},
        {"limits": {"nofile": 2048}, "systemd_units": ["other.service"]},
        {"limits": {"core": 0}, "systemd_units": ["other.service"]},
    ]
    variables = {"harden_profile": "kubernetes_node", "harden_rlimits": entries}
    done = stage.both("harden", variables, lambda: (etc(node), active()))
    # Of the profile's units the machine has but one, for which the inventory has an entry of its own.
    assert list(done.result["domains"]) == ["transparent_hugepages", "rlimits"]
    assert len(done.result["domains"]["rlimits"]) == 4
    assert active() == "madvise"
    assert drop_in(node, "containerd.service") == [f"LimitNOFILE={MINE}:{MINE}"]
    assert not node.path("/etc/systemd/system/crio.service.d").exists()

    # Nobody said that anything may be restarted.
    assert (starts(node), starts(node, "other")) == (1, 1)
    assert limit(node, "containerd.service")[0] == "1024"
    assert not done.does("Restart units for harden")
    for unit in ("systemd", "containerd.service", "other.service"):
        assert f'"unit": "{unit}"' in done.output

    # The check says what would be restarted, and restarts nothing.
    consent = {**variables, "harden_restart_units": ["other.service", "absent.service"]}
    predicted = stage.play("harden", consent, "--check")
    assert (predicted.rc, starts(node, "other")) == (0, 1)
    # Two limits differ, and it is restarted once; the other unit is not.
    restarted = stage.play("harden", consent)
    assert (restarted.rc, starts(node), starts(node, "other")) == (0, 1, 2)
    assert (limit(node, "other.service"), limit(node, "other.service", "Max core file size")) == (
        ["2048", "2048"],
        ["0", "0"],
    )
    for played in (predicted, restarted):
        assert played.output.count("changed: [roles] => (item=other.service)") == 1
        assert "item=containerd.service" not in played.output

    everything = {**variables, "harden_restart_units": ["containerd.service", "other.service"]}
    assert stage.play("harden", everything).rc == 0
    assert (starts(node), starts(node, "other")) == (2, 2)
    assert limit(node, "containerd.service") == [str(MINE), str(MINE)]
    again = stage.play("harden", everything)
    assert (again.rc, again.changed, again.does("Say what is still needed")) == (0, 0, False)

    absent = {
        "harden_transparent_hugepages": {"state": "absent"},
        "harden_rlimits": [{"state": "absent"}],
        "harden_restart_units": ["containerd.service", "other.service"],
    }
    assert stage.play("harden", absent).rc == 0
    assert (etc(node), active()) == (first, "always")
    assert (starts(node), starts(node, "other")) == (3, 3)
    assert limit(node, "containerd.service")[0] == "1024"
    THP.write_text(was)


def test_a_profile_is_set_whole_or_refused_whole(node: Machine, tmp_path: Path) -> None:
    stage = Stage(tmp_path, node.inventory())
    before, was = etc(node), active()
    THP.write_text("always")
    played = stage.play("harden", {"harden_profile": "kubernetes_node"})
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] >= PROFILE:
        assert (played.rc, active()) == (0, "madvise")
        assert drop_in(node, "containerd.service") == [f"LimitNOFILE={PROFILE}:{PROFILE}"]
    else:
        assert (played.rc, active(), etc(node)) == (2, "always", before)
        assert "rlimits[0]: limits.nofile" in played.output
    # Null takes an option of the profile's away, and with the last one the whole part.
    entry = {"limits": {"nofile": MINE}, "systemd_units": ["containerd.service"]}
    without = {"harden_transparent_hugepages": {"enabled": None}, "harden_rlimits": [entry]}
    played = stage.play("harden", {"harden_profile": "kubernetes_node", **without})
    assert (played.rc, list(played.result["domains"])) == (0, ["rlimits"])
    assert drop_in(node, "containerd.service") == [f"LimitNOFILE={MINE}:{MINE}"]
    stage.play("harden", {"harden_transparent_hugepages": {"state": "absent"}})
    THP.write_text(was)
