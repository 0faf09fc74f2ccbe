# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A profile on a machine with modules of the kernel, whose root may raise every limit: set, read back, and taken back."""

from __future__ import annotations

from .conftest import Play
from .machine import Vm
from .test_boot import files

PROFILE = {"harden_profile": "kubevirt_node", "harden_restart_units": ["containerd.service"]}
SHOWN = """
    prlimit --noheadings --output SOFT,HARD --nofile --pid $(systemctl show -P MainPID containerd) | xargs
    cat /sys/kernel/mm/transparent_hugepage/enabled
    for name in vhost_net tun; do [ -d /sys/module/$name ] && echo $name; done | xargs
"""


def test_the_values_of_a_profile_are_there_after_a_restart_and_go_back(vm: Vm, play: Play) -> None:
    vm.write("/etc/systemd/system/containerd.service", "[Service]\nExecStart=/bin/sleep infinity\n")
    vm.run("systemctl", "daemon-reload")
    vm.run("systemctl", "start", "containerd.service")
    enabled = "cat /sys/kernel/mm/transparent_hugepage/enabled"
    before, thp = files(vm), vm.run("sh", "-c", enabled).stdout
    play("harden", **PROFILE)
    shown = vm.run("sh", stdin=SHOWN).stdout.splitlines()
    assert shown[:3] == ["1048576 1048576", "always [madvise] never", "vhost_net tun"]
    assert "changed=0" in play("harden", **PROFILE)
    play("undo")
    assert files(vm) == before
    assert vm.run("sh", "-c", enabled).stdout == thp
    vm.run("systemctl", "stop", "containerd.service")
    vm.run("rm", "/etc/systemd/system/containerd.service")
