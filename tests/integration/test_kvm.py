# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module kvm on this machine's own KVM, and on a machine under systemd with users, groups and a reboot."""

from __future__ import annotations

import fcntl
import grp
import itertools
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import kvm_modules, kvm_persist
from ansible_collections.bulwark.node.tests.hosts.adhoc import Ran, call
from ansible_collections.bulwark.node.tests.hosts.machine import Machine, Site

from .conftest import SYSTEMD, WITHOUT_SYSTEMD, Module, snapshot

KVM = Path("/dev/kvm")
CREATE_VM = 0xAE01
# A group of the system that every Debian has.
GROUP = "daemon"
# Opens it as a stranger to root who has one group, and nothing else.
OPENS = "import os; os.close(os.open('/dev/kvm', os.O_RDWR))"

needs_kvm = pytest.mark.skipif(not KVM.is_char_device(), reason="hardware: this machine has no KVM")


def status() -> tuple[int, int, int]:
    found = KVM.stat()
    return found.st_mode & 0o7777, found.st_uid, found.st_gid


def opens(gid: int) -> bool:
    """Whether a user who has nothing but this group may open the device."""
    command = ["setpriv", "--reuid=65534", f"--regid={gid}", "--clear-groups", sys.executable, "-c", OPENS]
    return subprocess.run(command, capture_output=True, timeout=60, check=False, cwd="/").returncode == 0


@pytest.fixture
def own(kernel: None) -> Iterator[tuple[int, int, int]]:
    """Consent to change the node, which is put back."""
    before = status()
    yield before
    left = status()
    os.chown(KVM, *before[1:])
    KVM.chmod(before[0])
    assert left == before, f"a test left /dev/kvm as {left}"


def without_diff(ran: Ran) -> dict[str, Any]:
    return {
        key: ran[key]
        for key in ("before", "after", "changes", "unmet", "reboot_required", "restart_required", "disruptive")
    }


@needs_kvm
def test_check_predicts_what_the_run_does_and_absent_puts_all_back(module: Module, own: tuple[int, int, int]) -> None:
    gid = grp.getgrnam(GROUP).gr_gid
    options = {"device": {"group": GROUP, "mode": "0660"}, "probe": "active", "persist": False}
    before = snapshot()
    predicted = module("kvm", options, check=True, inside=SYSTEMD)
    assert not predicted.failed, predicted["msg"]
    assert (predicted["changed"], status(), snapshot()) == (True, own, before)
    assert not opens(gid)
    done = module("kvm", options, inside=SYSTEMD)
    assert without_diff(predicted) == without_diff(done)
    assert status() == (0o660, own[1], gid)
    assert opens(gid)
    assert not opens(gid + 1)
    assert done["after"]["verdict"] in ("ready", "degraded", "unavailable")
    settled = snapshot()
    for check in (True, False):
        again = module("kvm", options, check=check, inside=SYSTEMD)
        assert (again["changed"], again["changes"]) == (False, [])
    assert (snapshot(), status()) == (settled, (0o660, own[1], gid))
    assert module("kvm", {"state": "absent"}, inside=SYSTEMD)["changed"]
    assert not module("kvm", {"state": "absent"}, inside=SYSTEMD)["changed"]
    assert (snapshot(), status(), opens(gid)) == (before, own, False)


@needs_kvm
@pytest.mark.usefixtures("own")
def test_what_is_built_in_is_neither_loaded_nor_written_down(module: Module) -> None:
    host = Host()
    modules = kvm_modules.states(host, ["kvm", "tun"])
    if set(modules.values()) != {kvm_modules.BUILT_IN}:
        pytest.skip("hardware: KVM is not built into this kernel")
    before = snapshot()
    done = module("kvm", {"tun": True}, inside=SYSTEMD)
    assert (done["changed"], done["after"]["persisted"]["modules"]) == (False, [])
    assert {name: done["after"]["modules"][name] for name in modules} == modules
    assert snapshot() == before


@needs_kvm
@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("profile", ["qemu", "kubevirt", "passthrough"])
def test_require_fails_with_every_piece_that_the_facts_call_missing(module: Module, profile: str) -> None:
    options = {"gather_subset": ["kvm"], "probe": "active"}
    facts = module("node_facts", options)["ansible_facts"]["bulwark"]["kvm"]
    missing = [check["name"] for check in facts["checks"] if profile in check["profiles"] and check["status"] == "fail"]
    before = snapshot()
    for check in (True, False):
        asked = module("kvm", {"require": profile, "persist": False}, check=check, inside=SYSTEMD)
        if facts["verdict"] == "ready":
            assert asked.failed == bool(missing)
            assert [item["target"] for item in (asked["unmet"] if asked.failed else ())] == missing
            assert asked.failed or asked["after"]["proven"][-1] == facts["proven"][-1]
        else:
            assert asked.failed
    assert snapshot() == before


@needs_kvm
@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": {"mode": "660"}}, "device.mode: got '660', expected four octal digits in quotes"),
        ({"device": {"mode": 432}}, "device.mode: got '432', expected four octal digits in quotes"),
        ({"device": {"group": "no-such-group"}, "persist": False}, "device.group: got 'no-such-group'"),
        ({"device": {"mode": "0660"}}, "persist: no udev runs here that would set up /dev/kvm at boot"),
        ({"device": {"group": GROUP}, "users": ["no-such-user"], "persist": False}, "users[0]: got 'no-such-user'"),
        ({"state": "absent", "tun": True}, "tun: got True, expected no value beside state absent"),
        ({"reload": True}, "nested: is missing, expected a value"),
    ],
)
def test_bad_input_is_refused_by_name_before_the_first_write(
    module: Module, options: dict[str, Any], message: str
) -> None:
    before, node = snapshot(), status()
    for check in (True, False):
        refused = module("kvm", options, check=check, inside=WITHOUT_SYSTEMD)
        assert refused.failed
        assert message in refused["msg"]
    assert (snapshot(), status()) == (before, node)


@needs_kvm
@pytest.mark.usefixtures("own")
def test_a_module_that_this_kernel_lacks_is_refused_by_name(module: Module) -> None:
    absent = [
        name for name, what in kvm_modules.states(Host(), ["vhost_net", "vhost_vsock"]).items() if what == "missing"
    ]
    if not absent:
        pytest.skip("hardware: this kernel has vhost_net and vhost_vsock")
    refused = module("kvm", dict.fromkeys(absent, True), inside=SYSTEMD)
    assert refused.failed
    assert [item["target"] for item in refused["unmet"]] == absent


@needs_kvm
@pytest.mark.parametrize("check", [True, False])
def test_a_manifest_that_cannot_be_written_is_told_before_the_first_write(
    module: Module, own: tuple[int, int, int], check: bool
) -> None:
    fault = "mount --bind /var/lib /var/lib\nmount -o remount,bind,ro /var/lib"
    failed = module("kvm", {"device": {"mode": "0660"}, "persist": False}, check=check, inside=fault)
    assert failed.failed
    assert "EROFS" in failed["msg"]
    assert status() == own


@needs_kvm
def test_a_process_with_a_virtual_machine_is_seen_as_one_that_has_a_guest() -> None:
    def mine() -> list[bool]:
        return [holder.guest for holder in kvm_modules.holders(Host()) if holder.pid == os.getpid()]

    try:
        descriptor = os.open(KVM, os.O_RDWR | os.O_CLOEXEC)
    except PermissionError:
        pytest.skip("opening /dev/kvm takes root")
    try:
        assert mine() == [False]
        guest = fcntl.ioctl(descriptor, CREATE_VM, 0)
        assert mine() == [True]
        os.close(guest)
        assert mine() == [False]
    finally:
        os.close(descriptor)
    assert mine() == []


# --- a machine under systemd, with users of its own


@pytest.fixture(scope="module")
def debian(site: Site) -> Iterator[Machine]:
    """Debian 12 with alice, the group kvm, and a node of this machine's KVM that each boot makes anew."""
    machine = site.machine("12", "kvm")
    machine.write("/etc/tmpfiles.d/kvm.conf", "c! /dev/kvm 0600 root root - 10:232\n")
    machine.start()
    machine.wait()
    machine.run("groupadd", "--system", "kvm")
    machine.run("useradd", "--create-home", "alice")
    yield machine
    machine.close()


def over_ssh(machine: Machine, options: dict[str, Any], check: bool = False) -> dict[str, Any]:
    inventory = machine.site.folder / "kvm.ini"
    inventory.write_text(f"{machine.inventory()}\n")
    return call("kvm", options, (machine.name, "-i", str(inventory)), check).result


def files(machine: Machine) -> str:
    """What a run could have changed on the machine."""
    script = (
        "stat -c '%a %u %g' /dev/kvm; cat /etc/group /etc/gshadow; "
        "cd /etc && find modprobe.d modules-load.d udev group gshadow passwd -printf '%p %m %u %g\\n' 2>&1 | sort; "
        "find /var/lib/bulwark 2>&1; true"
    )
    return machine.run("sh", "-c", script).stdout


def may_open(machine: Machine, user: str) -> bool:
    done = machine.run("su", user, "-c", f'python3 -c "{OPENS}"', check=False)
    return done.returncode == 0


@needs_kvm
def test_a_user_in_the_group_may_open_the_device_until_absent(debian: Machine) -> None:
    options = {"device": {"group": "kvm", "mode": "0660"}, "users": ["alice"], "probe": "active", "persist": False}
    before = files(debian)
    assert not may_open(debian, "alice")
    predicted = over_ssh(debian, options, check=True)
    assert files(debian) == before
    done = over_ssh(debian, options)
    assert [predicted[key] for key in ("before", "after", "changes")] == [
        done[key] for key in ("before", "after", "changes")
    ]
    assert [change["kind"] for change in done["changes"]] == ["device", "member"]
    assert may_open(debian, "alice")
    for check in (True, False):
        assert over_ssh(debian, options, check)["changes"] == []
    assert over_ssh(debian, {"state": "absent"})["changed"]
    assert not over_ssh(debian, {"state": "absent"})["changed"]
    assert (files(debian), may_open(debian, "alice")) == (before, False)


@needs_kvm
def test_a_membership_survives_a_reboot_and_absent_ends_ours_alone(debian: Machine) -> None:
    before = debian.run("getent", "group", "kvm").stdout
    debian.run("useradd", "--groups", "kvm", "bob")
    assert over_ssh(debian, {"device": {"group": "kvm"}, "users": ["alice", "bob"], "persist": False})["changed"]
    debian.reboot()
    assert debian.run("getent", "group", "kvm").stdout.strip().endswith(":bob,alice")
    # The node is another one, and root's as the boot made it.
    assert debian.run("stat", "-c", "%G", "/dev/kvm").stdout == "root\n"
    assert over_ssh(debian, {"state": "absent"})["changed"]
    assert debian.run("getent", "group", "kvm").stdout.strip().endswith(":bob")
    debian.run("userdel", "bob")
    assert debian.run("getent", "group", "kvm").stdout == before


@needs_kvm
def test_what_runs_without_the_membership_is_named_by_its_unit(debian: Machine) -> None:
    debian.run("systemd-run", "--unit=old", "--uid=alice", "sleep", "600")
    options = {"device": {"group": "kvm", "mode": "0660"}, "users": ["alice"], "persist": False}
    for check in (True, False):
        lacking = over_ssh(debian, options, check)["restart_required"]
        assert [item["unit"] for item in lacking] == ["old.service"]
    debian.run("systemctl", "stop", "old")
    debian.run("systemd-run", "--unit=new", "--uid=alice", "sleep", "600")
    assert over_ssh(debian, options)["restart_required"] == []
    debian.run("systemctl", "stop", "new")
    over_ssh(debian, {"state": "absent"})


def test_no_udev_is_refused_where_its_rules_would_be_asked_for(debian: Machine) -> None:
    refused = over_ssh(debian, {"device": {"group": "kvm"}})
    assert "persist: no udev runs here" in refused["msg"] or "device: /dev/kvm is not there" in refused["msg"]


FOLDERS = ("/etc/modprobe.d", "/run/modprobe.d", "/usr/lib/modprobe.d")
LINES = (
    "options kvm_intel nested=0",
    "options kvm-intel ept=1 nested=1",
    "options kvm_intel nested=1 \\\n nested=0",
    "#options kvm_intel nested=1",
    "options kvm_amd nested=1",
    "options kvm_intel",
    "",
    "blacklist kvm-intel",
    "install kvm_intel /bin/false",
    "softdep kvm_intel pre: nested=1",
)


def test_our_reading_of_modprobe_d_is_modprobes_own(debian: Machine, tmp_path: Path) -> None:
    """Trees at random: the values in the order in which modprobe has them, of which the kernel takes the last."""
    chance = random.Random(4)
    for number in range(12):
        tree = {
            f"{folder}/{name}": "\n".join(chance.sample(LINES, 3)) + "\n"
            for folder, name in itertools.product(FOLDERS, ("10-a.conf", "b.conf", "zzz.conf", "c.bak"))
            if chance.random() < 0.5
        }
        root = tmp_path / str(number)
        for path, text in tree.items():
            target = root / path[1:]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        remove = "rm -f " + " ".join(f"{folder}/*" for folder in FOLDERS)
        debian.run("sh", "-c", remove)
        for path, text in tree.items():
            debian.run("sh", "-c", f"mkdir -p {os.path.dirname(path)} && cat >{path}", stdin=text)
        said = debian.run("modprobe", "--showconfig", check=False).stdout.splitlines()
        words = [line.split()[2:] for line in said if line.startswith("options kvm_intel ")]
        theirs = [word.partition("=")[2] for word in itertools.chain(*words) if word.startswith("nested=")]
        host = Host(str(root))
        owners = kvm_persist.observe_options(host, ["kvm_intel.nested"]).owners
        assert [owner.value for owner in owners] == theirs, tree
        # Ours would come before zzz.conf alone.
        winners = [owner.path.rpartition("/")[2] for owner in owners if owner.wins]
        assert set(winners) <= {"zzz.conf"}
        denials = kvm_modules.denials(host, kvm_persist.MODPROBE.files(host), ["kvm_intel"])
        told = {
            line.split()[0]
            for line in said
            if line.split()[:2] in (["blacklist", "kvm_intel"], ["install", "kvm_intel"])
        }
        assert bool(denials) == bool(told), tree
        assert bool(denials and denials["kvm_intel"].always) == ("install" in told), tree
