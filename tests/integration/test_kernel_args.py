# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module kernel_args with the real update-grub and the real kernel-install of Debian, in a mount namespace of each run's own.

There /boot, /etc/default, /etc/kernel and what the module keeps are folders of the test. The kernels are files of no content.
grub-probe is a stand-in: it would look for the disk below.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.tests.hosts.adhoc import Ran
from ansible_collections.bulwark.node.tests.hosts.machine import Site

from .conftest import Module, facts_over_ssh, snapshot, tool

RUNNING = "BOOT_IMAGE=/vmlinuz-6.1.0-28-amd64 root=/dev/vda1 ro quiet"
MACHINE = "0123456789abcdef0123456789abcdef"
PROBE = """\
#!/bin/sh
case "$*" in
*target=device*) echo /dev/vda1 ;;
*target=fs_uuid*) echo 1111-2222 ;;
*target=fs*) echo ext2 ;;
*target=partmap*) echo gpt ;;
esac
"""
CLOUD = """\
# Cloud Image specific Grub settings for Generic Cloud Images
GRUB_CMDLINE_LINUX_DEFAULT="console=tty1 console=ttyS0"
GRUB_TERMINAL="console serial"
"""
GROUPS = [
    "hugepagesz=1G hugepages=8",
    "isolcpus=managed_irq,domain,2-7",
    'dyndbg="file drivers/usb/* +p; func a#b {c}"',
]
PLAIN = [
    "hugepagesz=1G",
    "hugepages=8",
    "isolcpus=managed_irq,domain,2-7",
    "dyndbg=file drivers/usb/* +p; func a#b {c}",
]

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="a mount namespace takes root"),
    pytest.mark.skipif(
        os.readlink("/proc/self/ns/pid") != "pid:[4026531836]",
        reason="hardware: a container, which has no kernel of its own",
    ),
]


@dataclass
class Tree:
    """A machine's folders below ``root``, and runs on it."""

    root: Path
    module: Module
    mounts: dict[str, str]

    def path(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def inside(self) -> str:
        binds = [
            f"mount --bind {shlex.quote(str(self.root / own))} {shlex.quote(at)}" for at, own in self.mounts.items()
        ]
        return "\n".join(
            [
                "mount -t tmpfs tmpfs /run",
                "[ ! -d /sys/firmware/efi ] || mount -t tmpfs tmpfs /sys/firmware/efi",
                *binds,
            ]
        )

    def run(self, check: bool = False, more: str = "", **options: Any) -> Ran:
        return self.module("kernel_args", options, check=check, inside=f"{self.inside()}\n{more}")

    def sh(self, *command: str) -> None:
        script = f'{self.inside()}\nexec "$@"'
        subprocess.run(
            ["unshare", "--mount", "sh", "-ec", script, "sh", *command], check=True, capture_output=True, timeout=60
        )

    def state(self) -> dict[str, tuple[int, bytes]]:
        """Mode and content of each file, and of each folder that it is there."""
        return {
            str(path.relative_to(self.root)): (path.stat().st_mode, b"" if path.is_dir() else path.read_bytes())
            for path in self.root.rglob("*")
        }


@pytest.fixture
def tree(tmp_path: Path, module: Module) -> Callable[..., Tree]:
    """``tree({at: folder or file below tmp_path})``, with kernels in /boot."""

    def make(mounts: dict[str, str]) -> Tree:
        common = {"/boot": "boot", "/var/lib": "lib", "/proc/cmdline": "cmdline", "/etc/fstab": "fstab"}
        made = Tree(tmp_path, module, {**common, **mounts})
        for name in ("boot", "lib"):
            (tmp_path / name).mkdir()
        (tmp_path / "cmdline").write_text(f"{RUNNING}\n")
        (tmp_path / "fstab").write_text("/dev/vda1 / ext4 rw 0 1\n")
        for version in ("6.1.0-27-amd64", "6.1.0-28-amd64"):
            add_kernel(made, version)
        return made

    return make


def add_kernel(tree: Tree, version: str) -> None:
    tree.path(f"boot/vmlinuz-{version}").write_text("MZ")
    tree.path(f"boot/initrd.img-{version}").write_text("initrd")


@pytest.fixture
def grub(tree: Callable[..., Tree]) -> Tree:
    """A cloud's Debian whose grub.cfg the real update-grub made."""
    probe = tool("grub-probe")
    tool("update-grub")
    made = tree({"/etc/default": "default", probe: "probe"})
    folder = made.path("default/grub.d")
    folder.mkdir(parents=True)
    made.path("default/grub").write_text(Path("/usr/share/grub/default/grub").read_text())
    (folder / "50-cloudimg-settings.cfg").write_text(CLOUD)
    (folder / "init-select.cfg").write_text("# This file does nothing.\n")
    made.path("probe").write_text(PROBE)
    made.path("probe").chmod(0o755)
    made.path("boot/grub").mkdir()
    made.sh("update-grub")
    return made


def lines(tree: Tree) -> list[tuple[str, str]]:
    """(kernel, arguments) of each entry of grub.cfg, as they stand there."""
    return re.findall(
        r"^\s*linux\s+\S*/vmlinuz-(\S+) root=/dev/vda1 ro\s+(.*?)\s*$",
        tree.path("boot/grub/grub.cfg").read_text(),
        re.M,
    )


def converge_and_back(tree: Tree, **options: Any) -> Ran:
    """Check, apply, check again, apply again, then back: what must hold for every boot loader. Returns the first run."""
    machine, before = snapshot(), tree.state()
    predicted = tree.run(check=True, **options)
    assert not predicted.failed, predicted["msg"]
    assert tree.state() == before
    done = tree.run(**options)
    assert not done.failed, done["msg"]
    for key in (
        "changed",
        "before",
        "after",
        "changes",
        "unmet",
        "reboot_required",
        "restart_required",
        "disruptive",
    ):
        assert predicted[key] == done[key], key
    assert (done["changed"], done["reboot_required"]) == (True, True)
    settled = tree.state()
    for check in (True, False):
        again = tree.run(check=check, **options)
        assert (again["changed"], again["changes"], again["before"]) == (False, [], done["after"])
    assert tree.state() == settled
    for check in (True, False):
        back = tree.run(check=check, state="absent")
        assert (back["changed"], back["after"]) == (True, done["before"])
    assert tree.state() == before
    assert not tree.run(state="absent")["changed"]
    assert snapshot() == machine
    return done


@pytest.mark.usefixtures("alone")
def test_grub_gets_the_arguments_in_order_and_all_files_come_back_as_they_were(grub: Tree) -> None:
    done = converge_and_back(grub, arguments=GROUPS)
    assert done["before"]["boot_loader"] == "grub"
    assert done["before"]["configured"] == ["console=tty1", "console=ttyS0"]
    assert done["after"]["configured"] == ["console=tty1", "console=ttyS0", *PLAIN]
    assert done["after"]["next_boot"] == ["root=/dev/vda1", "ro", "console=tty1", "console=ttyS0", *PLAIN]
    assert done["after"]["running"] == RUNNING.split()
    assert [change["kind"] for change in done["changes"]] == ["file", "boot_entries"]


def test_grub_keeps_them_over_an_upgrade_of_the_kernel_and_recovery_goes_without(grub: Tree) -> None:
    grub.run(arguments=GROUPS)
    add_kernel(grub, "6.1.0-29-amd64")
    grub.sh("update-grub")
    asked = f"console=tty1 console=ttyS0 {' '.join(GROUPS)}"
    normal = [(version, asked) for version in ("6.1.0-29-amd64", "6.1.0-28-amd64", "6.1.0-27-amd64")]
    assert [line for line in lines(grub) if line[1] != "single"] == [normal[0], *normal]
    assert [version for version, line in lines(grub) if line == "single"] == [version for version, dummy in normal]
    again = grub.run(arguments=GROUPS)
    assert (again["changed"], again["reboot_required"]) == (False, True)
    grub.path("cmdline").write_text(f"BOOT_IMAGE=/vmlinuz-6.1.0-29-amd64 root=/dev/vda1 ro {asked}\n")
    assert not grub.run(arguments=GROUPS)["reboot_required"]
    assert grub.run(state="absent")["reboot_required"]


def test_what_update_grub_has_not_made_yet_is_seen_and_made(grub: Tree) -> None:
    """As after a kill between our file and update-grub."""
    stale = grub.path("boot/grub/grub.cfg").read_bytes()
    grub.run(arguments=GROUPS)
    made = grub.state()
    grub.path("boot/grub/grub.cfg").write_bytes(stale)
    again = grub.run(arguments=GROUPS)
    assert [change["kind"] for change in again["changes"]] == ["boot_entries"]
    assert grub.state() == made


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("exit 3\n", "update-grub: returned 3"),
        ('GRUB_TERMINAL="nonsense"\n', "Invalid output terminal"),
        ("if true; then\n  GRUB_CMDLINE_LINUX_DEFAULT=quiet\nfi\n", "update-grub made 3 of 3 entries otherwise"),
    ],
)
def test_where_update_grub_fails_or_another_file_wins_all_is_undone(grub: Tree, text: str, message: str) -> None:
    grub.path("default/grub.d/zz-other.cfg").write_text(text)
    before = grub.state()
    failed = grub.run(arguments=GROUPS)
    assert failed.failed
    assert message in failed["msg"]
    assert failed["not_undone"] == []
    assert set(failed["undone"]) >= {"/boot/grub/grub.cfg", "/etc/default/grub.d/99-bulwark-kernel-args.cfg"}
    assert grub.state() == before


def test_where_boot_fills_up_under_update_grub_the_old_entries_are_there_again(grub: Tree) -> None:
    filler = grub.path("default/grub.d/zz-fill.cfg")
    filler.write_text("dd if=/dev/zero of=/boot/grub/filler bs=4k 2>/dev/null || true\n")
    before = grub.state()
    found = grub.path("found")
    full = f"mkdir /run/old\nmount --bind /boot/grub /run/old\nmount -t tmpfs -o size=2m tmpfs /boot/grub\ncp -p /run/old/* /boot/grub\nexport FOUND={found}"
    script = 'trap \'cp -p /boot/grub/grub.cfg "$FOUND"; ls /boot/grub >"$FOUND.names"\' EXIT'
    failed = grub.run(more=f'{full}\n{script}\nset +e\n"$@"\nexit 0', arguments=GROUPS)
    assert failed.failed
    assert "No space left on device" in failed["msg"]
    assert failed["not_undone"] == []
    assert found.read_bytes() == before["boot/grub/grub.cfg"][1]
    found.unlink()
    names = grub.path("found.names")
    assert "grub.cfg.new" not in names.read_text().split()
    names.unlink()
    assert grub.state() == before


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    ("options", "more", "message"),
    [
        ({"arguments": ["a=$(reboot)"]}, "", "arguments[0]: got 'a=$(reboot)', expected arguments of letters"),
        ({"arguments": ["hugepages=8"]}, "", "hugepagesz=SIZE before hugepages=8 in the same group"),
        ({"arguments": ["x" * 2040]}, "", "and this kernel takes 2047"),
        (
            {"arguments": ["console"], "state": "absent"},
            "",
            "/etc/default/grub.d/50-cloudimg-settings.cfg:2 gives console=tty1",
        ),
        ({"arguments": ["nosmt"]}, "mount -o remount,bind,ro /boot", "mounted read-only (EROFS)"),
        (
            {"arguments": ["nosmt"]},
            "mount -t tmpfs -o size=512k tmpfs /boot/grub\ncp $OLDPWD/grub.cfg /boot/grub",
            "(ENOSPC)",
        ),
        (
            {"arguments": ["nosmt"]},
            "echo '/dev/vda2 /boot/grub ext4 rw 0 2' >>/etc/fstab",
            "is in /etc/fstab and is not mounted",
        ),
        ({"arguments": ["nosmt"]}, "umount /boot", "boot_loader: there is neither /boot/grub/grub.cfg nor"),
    ],
    ids=["shell", "order", "length", "owner", "read-only", "full", "unmounted", "none"],
)
def test_what_is_bound_to_fail_is_refused_before_the_first_write(
    grub: Tree, options: dict[str, Any], more: str, message: str, check: bool
) -> None:
    fstab = grub.path("fstab").read_text()
    before = grub.state()
    refused = grub.run(check=check, more=more.replace("$OLDPWD", str(grub.path("boot/grub"))), **options)
    grub.path("fstab").write_text(fstab)
    assert refused.failed
    assert message in refused["msg"]
    assert grub.state() == before


def test_a_machine_in_a_container_is_refused_by_name(site: Site) -> None:
    machine = site.machine("12", "contained")
    machine.start()
    machine.wait()
    facts = facts_over_ssh(machine, "kernel_args")
    machine.close()
    assert facts["reason"].startswith("this is a container (systemd-nspawn)")
    assert (facts["boot_loader"], facts["configured"], facts["next_boot"]) == (None, None, None)


@pytest.fixture
def kernel_install(tree: Callable[..., Tree]) -> Tree:
    """A machine whose entries the real kernel-install made."""
    tool("kernel-install")
    made = tree({"/etc/kernel": "kernel"})
    made.path("kernel").mkdir()
    made.path("kernel/install.conf").write_text(f"layout=bls\nMACHINE_ID={MACHINE}\nBOOT_ROOT=/boot\n")
    made.path("kernel/cmdline").write_text("root=/dev/vda1   ro quiet\n")
    made.path("boot/loader/entries").mkdir(parents=True)
    made.path(f"boot/{MACHINE}").mkdir()
    for version in ("6.1.0-27-amd64", "6.1.0-28-amd64"):
        made.sh("kernel-install", "add", version, f"/boot/vmlinuz-{version}")
    return made


def options_of(tree: Tree) -> dict[str, str]:
    """The arguments of each kernel's entry."""
    folder = tree.path("boot/loader/entries")
    return {
        path.stem.partition("-")[2]: re.findall(r"^options\s+(.*)$", path.read_text(), re.M)[0]
        for path in folder.iterdir()
    }


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("cmdline", [True, False], ids=["with a line", "without"])
def test_kernel_install_gets_the_arguments_in_order_and_all_files_come_back(
    kernel_install: Tree, cmdline: bool
) -> None:
    if not cmdline:
        kernel_install.path("kernel/cmdline").unlink()
    done = converge_and_back(kernel_install, arguments=GROUPS)
    assert done["before"]["boot_loader"] == "kernel_install"
    assert done["after"]["configured"] == ["root=/dev/vda1", "ro", "quiet", *PLAIN]
    assert done["after"]["next_boot"] == ["root=/dev/vda1", "ro", "quiet", *PLAIN, f"systemd.machine_id={MACHINE}"]
    assert [change["kind"] for change in done["changes"]] == ["file", "edit", "boot_entries"]


def test_kernel_install_gives_them_to_a_new_kernel_and_takes_others_away(kernel_install: Tree) -> None:
    kernel_install.run(arguments=GROUPS)
    assert kernel_install.run(arguments=["quiet"], state="absent")["changed"]
    add_kernel(kernel_install, "6.1.0-29-amd64")
    kernel_install.sh("kernel-install", "add", "6.1.0-29-amd64", "/boot/vmlinuz-6.1.0-29-amd64")
    asked = f"root=/dev/vda1 ro {' '.join(GROUPS)} systemd.machine_id={MACHINE}"
    assert options_of(kernel_install) == dict.fromkeys(("6.1.0-27-amd64", "6.1.0-28-amd64", "6.1.0-29-amd64"), asked)
    assert not kernel_install.run(arguments=GROUPS)["changed"]
    kernel_install.run(state="absent")
    assert kernel_install.path("kernel/cmdline").read_text() == "root=/dev/vda1   ro quiet\n"
    assert set(options_of(kernel_install).values()) == {f"root=/dev/vda1 ro quiet systemd.machine_id={MACHINE}"}


def test_images_stay_as_they_are_where_those_of_boot_have_changed_and_kernel_install_would_fail(
    kernel_install: Tree,
) -> None:
    plugin = kernel_install.path("kernel/install.d/99-fails.install")
    plugin.parent.mkdir()
    plugin.write_text("#!/bin/sh\nexit 7\n")
    plugin.chmod(0o755)
    kernel_install.path("kernel/entry-token").write_text("other\n")
    kernel_install.path("kernel/tries").write_text("3\n")
    kernel_install.path("boot/initrd.img-6.1.0-27-amd64").unlink()
    kernel_install.path("boot/initrd.img-6.1.0-28-amd64").write_text("grown" * 1000)
    before = kernel_install.state()
    converge_and_back(kernel_install, arguments=GROUPS)
    kernel_install.run(arguments=GROUPS)
    after = kernel_install.state()
    changed = {path for path in {*before, *after} if before.get(path) != after.get(path)}
    entries = {f"boot/loader/entries/{MACHINE}-{version}.conf" for version in options_of(kernel_install)}
    assert {path for path in changed if path.startswith("boot")} == entries
    assert len(entries) == 2


def test_the_line_of_a_rescue_is_not_what_a_new_kernel_gets(kernel_install: Tree) -> None:
    kernel_install.path("kernel/cmdline").unlink()
    kernel_install.path("cmdline").write_text(f"{RUNNING} systemd.unit=rescue.target init=/bin/bash\n")
    kernel_install.run(arguments=GROUPS)
    add_kernel(kernel_install, "6.1.0-29-amd64")
    kernel_install.sh("kernel-install", "add", "6.1.0-29-amd64", "/boot/vmlinuz-6.1.0-29-amd64")
    asked = f"root=/dev/vda1 ro quiet {' '.join(GROUPS)} systemd.machine_id={MACHINE}"
    assert options_of(kernel_install) == dict.fromkeys(("6.1.0-27-amd64", "6.1.0-28-amd64", "6.1.0-29-amd64"), asked)


def test_what_a_new_kernel_gives_to_init_stays_behind_ours(kernel_install: Tree) -> None:
    line = f"root=/dev/vda1 ro -- x systemd.machine_id={MACHINE}"
    kernel_install.path("kernel/cmdline").write_text("root=/dev/vda1 ro -- x\n")
    for version in ("6.1.0-27-amd64", "6.1.0-28-amd64"):
        kernel_install.sh("kernel-install", "add", version, f"/boot/vmlinuz-{version}")
    assert set(options_of(kernel_install).values()) == {line}
    converge_and_back(kernel_install, arguments=GROUPS)
    kernel_install.run(arguments=GROUPS)
    add_kernel(kernel_install, "6.1.0-29-amd64")
    kernel_install.sh("kernel-install", "add", "6.1.0-29-amd64", "/boot/vmlinuz-6.1.0-29-amd64")
    assert set(options_of(kernel_install).values()) == {line.replace(" --", f" {' '.join(GROUPS)} --")}
    assert len(options_of(kernel_install)) == 3
