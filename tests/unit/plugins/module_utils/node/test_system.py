# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The subset ``host``: exact facts of each tree, what is redacted of a command line, containers, os-release."""

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
        "architecture": os.uname().machine,
        "os_id": os_id,
        "os_version": version,
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


HIDDEN = system.REDACTED
SECRETS = (
    "rd.iscsi.password",
    "rd.iscsi.in.password",
    "rd.luks.key",
    "luks.key",
    "cryptkey",
    "systemd.set_credential",
    "inst.vncpassword",
    "systemd.set_credential_binary",
    "systemd.random_seed",
    "passwd",
    "rootpw",
    "rootpwd",
    "rootpass",
    "luks-passphrase",
    "wifi.psk",
    "k3s.token",
    "TOKEN",
    "api_key",
    "apikey",
    "private-key",
    "authkey",
    "client_secret",
    "aws.creds",
    "my_credentials",
    "--token",
    "--PASSWORD",
)


@pytest.mark.parametrize(
    ("token", "shown"),
    [(f"{name}=s3cr3t", f"{name}={HIDDEN}") for name in SECRETS]
    + [
        ("netroot=iscsi:user:s3cr3t@10.0.0.1::3260::iqn.x", f"netroot=iscsi:{HIDDEN}@10.0.0.1::3260::iqn.x"),
        ("netroot=iscsi:user:s3c/r3:t@h:in:s3cr3t@10.0.0.1::iqn", f"netroot=iscsi:{HIDDEN}@10.0.0.1::iqn"),
        ("root=cifs://user:s3cr3t@server/share", f"root=cifs://{HIDDEN}@server/share"),
        ("inst.ks=http://user:s3cr3t@host/ks.cfg", f"inst.ks=http://{HIDDEN}@host/ks.cfg"),
        ("inst.ks=https://s3cr3t@host/ks.cfg", f"inst.ks=https://{HIDDEN}@host/ks.cfg"),
        ("url=https://h/x?a=1&token=s3cr3t&b=2", f"url=https://h/x?a=1&token={HIDDEN}&b=2"),
        ("url=https://h/x?X-Amz-Signature=s3cr3t", f"url=https://h/x?X-Amz-Signature={HIDDEN}"),
        ("rootflags=username=x,password=s3c,,r3t,vers=3", f"rootflags=username=x,password={HIDDEN},vers=3"),
        ("rootflags=user=x,passwd=s3cr3t", f"rootflags=user=x,passwd={HIDDEN}"),
        ("systemd.setenv=DB_PASSWORD=s3cr3t", f"systemd.setenv=DB_PASSWORD={HIDDEN}"),
        ('systemd.setenv="TOKEN=s3c r3t"', f'systemd.setenv="TOKEN={HIDDEN}'),
        ('"rd.iscsi.password=s3c r3t"', f'"rd.iscsi.password={HIDDEN}'),
        ('header="X: Bearer s3cr3t"', f'header="X: Bearer {HIDDEN}"'),
        ("http://user:s3cr3t@host/", f"http://{HIDDEN}@host/"),
    ],
)
def test_a_secret_on_the_command_line_is_not_shown(token: str, shown: str) -> None:
    assert system.redacted([token]) == [shown]
    assert "s3c" not in shown
    assert "r3t" not in shown


@pytest.mark.parametrize(
    "token",
    [
        "console=ttyS0,115200n8",
        "keymap=de",
        "vconsole.keymap=us",
        "rd.vconsole.keymap=us",
        "keyboard=de",
        "hugepages=0:4,1:4",
        "default_hugepagesz=1G",
        "root=UUID=6f3c1a52-9b0e-4d7a-8c25-0e1f5a7b9d34",
        "rd.luks.uuid=luks-6f3c",
        "rd.luks.name=6f3c=root",
        "crashkernel=1G-4G:192M,4G-64G:256M",
        "iommu.passthrough=1",
        "spec_store_bypass_disable=on",
        "module.sig_enforce=1",
        "ip=10.0.0.2::10.0.0.1:255.255.255.0:node1:eth0:none",
        "netroot=iscsi:10.0.0.1::3260::iqn.2003-01.org.x:disk",
        "nfsroot=10.0.0.1:/export/root,vers=3",
        "inst.repo=http://mirror:8080/debian",
        "mitigations=auto,nosmt",
        "quiet",
        "--",
        "isolcpus=managed_irq,2-7",
    ],
)
def test_what_is_no_secret_is_shown(token: str) -> None:
    assert system.redacted([token]) == [token]


@pytest.mark.parametrize(
    ("tokens", "shown"),
    [
        (["--token", "s3cr3t", "ro"], ["--token", HIDDEN, "ro"]),
        (["--token", "-s3cr3t", "ro"], ["--token", HIDDEN, "ro"]),
        (["--token", "--quiet", "x"], ["--token", "--quiet", "x"]),
        (["--password"], ["--password"]),
        (["token", "visible"], ["token", "visible"]),
    ],
)
def test_the_word_after_a_secret_flag_is_not_shown(tokens: list[str], shown: list[str]) -> None:
    assert system.redacted(tokens) == shown


def test_redaction_takes_no_time_on_a_hostile_line() -> None:
    for text in ("a" * 4000, ":" * 4000, "x=" * 2000, "://@:" * 800, "key," * 1000, "bearer  " * 500):
        system.redacted([f"a={text}", text])


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
