# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module kvm on a kernel of its own, with modules that can be loaded, udev, and a true reboot."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.tests.hosts.remote import MachineError, Remote

FILES = (
    "/etc/modules-load.d/90-bulwark-kvm.conf",
    "/etc/modprobe.d/zz-bulwark-kvm.conf",
    "/etc/udev/rules.d/99-bulwark-kvm.rules",
)
# Holds a virtual machine until it is ended.
GUEST = "import fcntl, os, time; guest = fcntl.ioctl(os.open('/dev/kvm', os.O_RDWR), 0xAE01, 0); time.sleep(3600)"
FULL: dict[str, Any] = {
    "vhost_net": True,
    "tun": True,
    "nested": False,
    "device": {"group": "kvm", "mode": "0640"},
    "users": ["alice"],
    "require": "kubevirt",
}


def kvm(vm: Remote[Any], options: dict[str, Any], check: bool = False) -> dict[str, Any]:
    """What the module returned."""
    inventory = vm.site.folder / "kvm.ini"
    inventory.write_text(f"{vm.inventory()}\n")
    ansible = [str(Path(sys.executable).parent / "ansible"), vm.name, "-i", str(inventory)]
    ansible += ["-m", "bulwark.node.kvm", "-a", json.dumps(options), *(["--check"] if check else [])]
    try:
        done = subprocess.run(ansible, capture_output=True, text=True, timeout=300, check=False)
    except subprocess.TimeoutExpired:
        try:
            vm.run("true", timeout=60)
        except MachineError:
            # It happens in one of some runs: the whole machine stands, whatever runs in it.
            pytest.skip("hardware: the emulated processor stopped while a guest ran on it")
        processes = vm.run("ps", "-eo", "pid,ppid,stat,wchan:32,etimes,args").stdout
        pytest.fail(f"the module did not end:\n{processes}\n{vm.run('dmesg').stdout[-5000:]}")
    assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    answer: dict[str, Any] = json.JSONDecoder().raw_decode(done.stdout.partition(" => ")[2])[0]
    return answer


def state(vm: Remote[Any]) -> dict[str, Any]:
    """What the kernel and udev made of it."""
    loaded = {line.split()[0] for line in vm.run("cat", "/proc/modules").stdout.splitlines()}
    return {
        "modules": sorted(loaded & {"kvm", "kvm_amd", "vhost_net", "tun"}),
        "nested": vm.run("cat", "/sys/module/kvm_amd/parameters/nested", check=False).stdout.strip(),
        "node": vm.run("stat", "-c", "%a %U %G", "/dev/kvm", check=False).stdout.strip(),
    }


def test_modules_nested_and_the_node_come_back_after_a_true_reboot_until_absent(vm: Remote[Any]) -> None:
    vm.run("useradd", "alice")
    # udev loaded it for the processor, with its own default.
    vm.run("modprobe", "--remove", "kvm_amd")
    members = vm.run("getent", "group", "kvm").stdout
    predicted = kvm(vm, FULL, check=True)
    assert not [path for path in FILES if vm.run("test", "-e", path, check=False).returncode == 0]
    done = kvm(vm, FULL)
    assert not done.get("failed"), done
    assert predicted["changes"] == done["changes"]
    assert done["after"]["proven"] == ["open", "api", "vm", "vcpu", "real_mode_guest"]
    wanted = {"modules": ["kvm", "kvm_amd", "tun", "vhost_net"], "nested": "0", "node": "640 root kvm"}
    assert state(vm) == wanted
    vm.reboot()
    assert state(vm) == wanted
    for check in (True, False):
        again = kvm(vm, FULL, check)
        assert (again["changed"], again["changes"]) == (False, [])

    # While a guest runs nested stays as it is, and the guest is named; without one it waits, or a reload is asked for.
    vm.run("systemd-run", "--unit=guest", "python3", "-c", GUEST)
    vm.run("sh", "-c", "until grep -q '^kvm_amd [0-9]* [1-9]' /proc/modules; do sleep 0.1; done")
    refused = kvm(vm, {"nested": True, "reload": True})
    assert "guests run, and kvm_amd cannot be loaded again: 'python3'" in refused["msg"]
    vm.run("systemctl", "stop", "guest")
    waiting = kvm(vm, {"nested": True})
    assert (waiting["reboot_required"], waiting["after"]["nested"]) == (True, False)
    reloaded = kvm(vm, {"nested": True, "reload": True})
    assert [item["target"] for item in reloaded["disruptive"]] == ["kvm_amd"]
    assert state(vm) == {**wanted, "nested": "1"}

    # Absent unloads nothing and says so; the next boot has none of it.
    absent = kvm(vm, {"state": "absent"})
    assert absent["changed"]
    assert state(vm)["modules"] == wanted["modules"]
    assert vm.run("getent", "group", "kvm").stdout == members
    vm.reboot()
    after = state(vm)
    assert "vhost_net" not in after["modules"]
    assert after["node"] in ("", "660 root kvm")
    assert not [path for path in FILES if vm.run("test", "-e", path, check=False).returncode == 0]
    vm.run("userdel", "alice")
