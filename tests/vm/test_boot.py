# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules set outlives true reboots, an upgrade of the kernel and a loss of power, and goes when it shall."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Module, Play
from .machine import UPGRADE, Vm

HUGEPAGES = "/sys/devices/system/node/node{}/hugepages/hugepages-{}kB/nr_hugepages"
ARGUMENTS = ["default_hugepagesz=2M", "hugepagesz=1G hugepages=1", "transparent_hugepage=madvise"]
GRUB = "/boot/grub/grub.cfg"

SETTINGS: dict[str, Any] = {
    "hugepages": {
        "pools": [{"size": "2M", "count": 32, "node": 0}, {"size": "2M", "count": 16, "node": 1}],
        "memory_reserve": "512M",
    },
    "transparent_hugepages": {"defrag": "defer+madvise", "khugepaged": {"pages_to_scan": 512}},
    "kernel_args": {"arguments": ARGUMENTS, "memory_reserve": "512M"},
    "kvm": {
        "vhost_net": True,
        "tun": True,
        "nested": False,
        "device": {"owner": "root", "group": "kvm", "mode": "0666"},
        "users": ["games"],
    },
    "rlimits": [
        {"limits": {"nofile": {"soft": 4000, "hard": 8000}}, "pam": {"domain": "root"}},
        {
            "limits": {"nofile": {"soft": 4000, "hard": 8000}},
            "systemd_units": ["sample.service"],
            "daemon_reload": True,
            "restart": True,
        },
    ],
}
# Of these something waits for the next boot.
STAGED = {"kernel_args", "kvm"}
# By hand, at night.
DRIFT = f"""
    echo 7 >{HUGEPAGES.format(1, 2048)}
    echo never >/sys/kernel/mm/transparent_hugepage/defrag
    rm /etc/modules-load.d/90-bulwark-kvm.conf /etc/security/limits.d/95-bulwark-rlimit.conf
    chmod 0600 /dev/kvm
    rm /etc/default/grub.d/99-bulwark-kernel-args.cfg
    update-grub
"""

# What the machine shows of them, by names of our own: each is what a shell prints.
SHOWN = {
    **{f"2M on {node}": f"cat {HUGEPAGES.format(node, 2048)}" for node in (0, 1)},
    "1G": "cat /sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages",
    "enabled": "cat /sys/kernel/mm/transparent_hugepage/enabled",
    "defrag": "cat /sys/kernel/mm/transparent_hugepage/defrag",
    "pages_to_scan": "cat /sys/kernel/mm/transparent_hugepage/khugepaged/pages_to_scan",
    "login": "echo $(ulimit -Sn) $(ulimit -Hn)",
    "unit": "prlimit --noheadings --output SOFT,HARD --nofile --pid $(systemctl show -P MainPID sample) | xargs",
    "device": "stat -c '%U %G %a' /dev/kvm",
    "nested": "cat /sys/module/kvm_amd/parameters/nested",
    "modules": "for name in vhost_net tun; do [ -d /sys/module/$name ] && echo $name; done | xargs",
    "members": "getent group kvm | cut -d : -f 4",
    "arguments": r"tr ' ' '\n' </proc/cmdline | sed 1,2d | xargs",
}
AS_SET = {
    "2M on 0": "32",
    "2M on 1": "16",
    "1G": "1",
    "enabled": "always [madvise] never",
    "defrag": "always defer [defer+madvise] madvise never",
    "pages_to_scan": "512",
    "login": "4000 8000",
    "unit": "4000 8000",
    "device": "root kvm 666",
    "nested": "0",
    "modules": "vhost_net tun",
    "members": "games",
    "arguments": " ".join(["ro console=ttyS0 quiet", *ARGUMENTS]),
}
# These are the next boot's.
WAITING = ("1G", "enabled", "nested", "arguments")


def shown(vm: Vm) -> dict[str, str]:
    script = "".join(f"{{ {command}; }} 2>&1 | tr '\\n' ' '; echo\n" for command in SHOWN.values())
    return dict(zip(SHOWN, (line.strip() for line in vm.run("sh", stdin=script).stdout.splitlines())))


def files(vm: Vm) -> list[str]:
    """Mode, owner, name and hash of all below /etc, and whether we keep a manifest. Backups of users' files are not ours."""
    script = """
        ls -d /var/lib/bulwark 2>/dev/null
        find /etc -type f ! -name '*-' -printf '%m %u %g %p\\n' -exec sha256sum {} + | sort
    """
    return vm.run("sh", stdin=script).stdout.splitlines()


def entries(vm: Vm, release: str) -> list[str]:
    """The command lines of a kernel in GRUB's menu, in order, without its path."""
    rows = (row.split() for row in vm.read(GRUB).splitlines())
    return [" ".join(row[2:]) for row in rows if row[:2] == ["linux", f"/boot/vmlinuz-{release}"]]


@pytest.fixture
def sample(vm: Vm) -> None:
    """A service that does nothing, to be given limits."""
    vm.write(
        "/etc/systemd/system/sample.service",
        "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n",
    )
    vm.run("systemctl", "enable", "--quiet", "--now", "sample.service")


@pytest.mark.usefixtures("sample")
def test_settings_outlive_reboots_drift_and_a_new_kernel_and_go_when_they_are_undone(
    vm: Vm, module: Module, play: Play
) -> None:
    first, files_at_first = shown(vm), files(vm)
    old = vm.run("uname", "-r").stdout.strip()
    [plain, *_others] = entries(vm, old)

    foretold, ran = module("settings", SETTINGS, check=True), module("settings", SETTINGS)
    assert not ran.failed, ran.output
    assert set(foretold["domains"]) == set(SETTINGS)
    for name, result in ran["domains"].items():
        for is_now, was_said in zip(
            *([each] if isinstance(each, dict) else each for each in (result, foretold["domains"][name]))
        ):
            for key in ("changed", "changes", "before", "after", "reboot_required", "disruptive"):
                assert was_said[key] == is_now[key], (name, key)
            assert is_now["changed"], name
            assert is_now["reboot_required"] is (name in STAGED), name
    now = shown(vm)
    assert now == {**AS_SET, **{key: first[key] for key in WAITING}}

    def unchanged() -> None:
        again = module("settings", SETTINGS)
        assert not again.failed, again.output
        assert (again["changed"], again["reboot_required"]) == (False, False), again.output
        results = [
            each for found in again["domains"].values() for each in (found if isinstance(found, list) else [found])
        ]
        assert not [result for result in results if result["changes"]], again.output

    vm.reboot()
    assert shown(vm) == AS_SET
    unchanged()

    vm.run("sh", "-ec", DRIFT)
    assert module("settings", SETTINGS)["changed"]
    vm.run("sh", "-c", f"dpkg --install {UPGRADE}/*.deb", timeout=400)
    vm.reboot()
    new = vm.run("uname", "-r").stdout.strip()
    assert new != old
    assert vm.run("dpkg", "--compare-versions", new, "gt", old).returncode == 0
    assert shown(vm) == AS_SET
    unchanged()

    play("undo")
    assert entries(vm, new)[0] == entries(vm, old)[0] == plain
    vm.reboot()
    assert shown(vm) == first
    assert files(vm) == files_at_first


def test_a_loss_of_power_after_staging_leaves_a_machine_that_boots(vm: Vm, module: Module) -> None:
    options = {"arguments": ["hugepagesz=1G hugepages=1"], "memory_reserve": "512M"}
    assert module("kernel_args", options)["reboot_required"] is True
    booted = vm.boot_id()
    vm.kill()
    vm.start()
    vm.wait()
    assert vm.boot_id() != booted
    # Whether the disk had it in time or not, it is whole and can be gone on from.
    assert not module("kernel_args", options).failed
    ran = module("kernel_args", {"state": "absent"})
    assert not ran.failed, ran.output
    assert "hugepages=1" not in vm.read(GRUB)
