# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The subset ``host``: exact facts of each tree, the command line, containers, os-release."""

from __future__ import annotations

import os
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.node import system
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import Machine

BOOT_ID = "0b9c6d1e-2f3a-4b5c-8d7e-9f0a1b2c3d4e"


def host_facts(release: str, os_id: str, version: str, cmdline: list[str], **more: Any) -> dict[str, Any]:
    return {
        "kernel_release": release,
        "kernel_major": int(release.split(".")[0]),
        "kernel_minor": int(release.split(".")[1]),
        "architecture": os.uname().machine,
        "os_id": os_id,
        "os_version": version,
        "microcode": None,
        "boot_id": BOOT_ID,
        "boot_time": 1790000000,
        "uptime_s": 5000,
        "cmdline": cmdline,
        "cgroup": "v2",
        "container": "none",
        "init": "systemd",
        "reason": None,
        **more,
    }


UBUNTU = "6.8.0-45-generic", "ubuntu", "24.04"
FACTS = {
    "cgroup-v2-systemd": host_facts(*UBUNTU, ["root=LABEL=rootfs", "ro", "quiet"]),
    "rivals": host_facts(*UBUNTU, ["root=LABEL=rootfs", "ro", "quiet"]),
    "two-numa-nodes": host_facts(
        *UBUNTU,
        [
            "root=LABEL=rootfs",
            "ro",
            "hugepagesz=1G",
            "hugepages=0:4,1:2",
            "hugepagesz=2M",
            "hugepages=512",
            "default_hugepagesz=2M",
        ],
    ),
    "arm64-64k-pages": host_facts(
        "6.8.0-45-generic-64k",
        "ubuntu",
        "24.04",
        ["root=/dev/nvme0n1p2", "hugepages=3", "hugepagesz=1G", "hugepages=1", "hugepagesz=32M", "hugepages=2"],
    ),
    "kubelet-cgroup-v1": host_facts("5.4.0-200-generic", "centos", "8", ["root=/dev/sda1", "ro"], cgroup="v1"),
    "kubepods-slice-v1": host_facts("5.4.0-200-generic", "centos", "8", ["root=/dev/sda1", "ro"], cgroup="v1"),
    "kubelet-cgroup-v2": host_facts("6.1.0-25-amd64", "debian", "12", ["root=/dev/vda1", "ro"]),
    "k3s-cgroup-v2": host_facts("6.1.0-25-amd64", "debian", "12", ["root=/dev/vda1", "ro"]),
    "tuned": host_facts("5.14.0-503.el9.x86_64", "rhel", "9.5", ["root=/dev/sda1", "ro"]),
    "no-hugepages": host_facts(
        "6.1.0",
        "alpine",
        "3.20.3",
        ["console=ttyS0"],
        cgroup=None,
        init="init",
        reason="/proc does not tell: cgroup",
    ),
    "hostile": host_facts(
        "6.8.0\x1b[31m-evil",
        'de"bi"an',
        '12 "x"',
        ["root=/dev/vda1", "\\xff\\xfe=\\xc3(", "\x1b[2Jquiet", '"a b=c'],
    ),
    "debian12-hybrid": host_facts(
        "6.18.44-amd64",
        "debian",
        "12",
        ["root=/dev/vda", "ro", "console=ttyS0", "quiet", "mitigations=auto"],
        boot_id="6f3c1a52-9b0e-4d7a-8c25-0e1f5a7b9d34",
        cgroup="hybrid",
        init="init",
        boot_time=1795222981,
    ),
}


@pytest.mark.parametrize("tree", FACTS)
def test_the_facts_of_a_tree(machine: Machine, tree: str) -> None:
    facts = system.facts(machine(tree))
    uptime = FACTS[tree]["uptime_s"] if tree != "debian12-hybrid" else facts["uptime_s"]
    assert facts == {**FACTS[tree], "uptime_s": uptime}


def test_what_the_machine_does_not_tell_is_named(machine: Machine) -> None:
    gone = ["/proc/stat", "/proc/sys", "/etc/os-release", "/proc/1/comm"]
    facts = system.facts(machine("no-hugepages", without=gone))
    assert facts["reason"] == "/proc does not tell: kernel_release, boot_id, boot_time, cgroup"
    assert [facts[key] for key in ("kernel_release", "boot_id", "boot_time", "os_id", "init")] == [None] * 5


@pytest.mark.parametrize("uptime", ["", "soon", "\x00"])
def test_a_machine_whose_uptime_is_garbage_is_an_error_of_ours(machine: Machine, uptime: str) -> None:
    with pytest.raises(HostError, match="/proc/uptime"):
        system.facts(machine("no-hugepages", {"/proc/uptime": uptime}))


@pytest.mark.parametrize(
    ("cmdline", "tokens"),
    [
        ("", []),
        ('a  b="c d" e', ["a", 'b="c d"', "e"]),
        ('a "b c=d" e"f', ["a", '"b c=d"', 'e"f']),
        ('x="never closed and on', ['x="never closed and on']),
    ],
)
def test_spaces_in_quotes_do_not_part_a_token(machine: Machine, cmdline: str, tokens: list[str]) -> None:
    assert system.command_line(machine("no-hugepages", {"/proc/cmdline": cmdline})) == tokens


OUTSIDE = ["/proc/1/root", "/proc/self/ns/pid"]


@pytest.mark.parametrize(
    ("files", "links", "kind"),
    [
        ({"/.dockerenv": ""}, {}, "none"),  # an image booted as a machine keeps the file
        ({"/run/systemd/container": "lxc"}, {"/proc/self/ns/pid": "pid:[4026532200]"}, "lxc"),
        ({"/run/.containerenv": ""}, {"/proc/self/ns/pid": "pid:[4026532200]"}, "podman"),
        ({"/.dockerenv": ""}, {"/proc/self/ns/pid": "pid:[4026532200]"}, "docker"),
        ({"/proc/1/cgroup": "5:cpu:/kubepods/pod1/x"}, {"/proc/self/ns/pid": "pid:[4026532200]"}, "container"),
        ({}, {"/proc/self/ns/pid": "pid:[4026532200]"}, "container"),
        ({"/.dockerenv": ""}, {"/proc/1/root": "/proc"}, "docker"),  # the host's PID namespace, another root
        ({}, {"/proc/1/root": "/proc"}, "none"),  # chroot
    ],
)
def test_a_container_is_told_from_a_machine(
    machine: Machine, files: dict[str, str], links: dict[str, str], kind: str
) -> None:
    host = machine("no-hugepages", files)
    for path, target in links.items():
        host.remove(path)
        host.symlink(target, path)
    assert system.facts(host)["container"] == kind


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("ID=debian", "debian"),
        ('ID="debian"', "debian"),
        ("ID='debian'", "debian"),
        ('ID=de"bi"an', "debian"),
        ('ID="a \\"b\\" c"', 'a "b" c'),
        ('ID="open', "open"),
        (" ID=x", None),
        ("id=x", None),
        ("ID", None),
    ],
)
def test_os_release_is_read_as_a_shell_would(machine: Machine, line: str, value: str | None) -> None:
    host = machine("no-hugepages", {"/etc/os-release": f"# c\n{line}\n"})
    assert system.os_release(host).get("ID") == value


def test_os_release_of_the_vendor_serves_where_there_is_none_in_etc(machine: Machine) -> None:
    host = machine("no-hugepages", {"/usr/lib/os-release": "ID=x"}, without=["/etc/os-release"])
    assert system.os_release(host) == {"ID": "x"}


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ("3.10.0-957.el7.x86_64", (3, 10)),
        ("6.18", (6, 18)),
        ("6.18-rc1", (6, 18)),
        ("v6.1", (None, None)),
        ("6", (None, None)),
        ("6.\u0661", (None, None)),
        ("6.123456", (None, None)),
    ],
)
def test_a_release_that_begins_with_two_numbers_tells_the_version(
    machine: Machine, release: str, expected: tuple[int | None, int | None]
) -> None:
    found = system.facts(machine("no-hugepages", {"/proc/sys/kernel/osrelease": release}))
    assert (found["kernel_major"], found["kernel_minor"]) == expected


def test_the_microcode_of_the_first_cpu(machine: Machine) -> None:
    assert system.facts(machine("kvm-host"))["microcode"] == "0xd000404"
