# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Arguments of the kernel on trees whose boot loader's tools answer: groups, owners, entries, the way back.

The fake of update-grub lets a real sh read the configuration, as grub-mkconfig does, and so holds our own reading to it. That of
kernel-install writes what 90-loaderentry.install of systemd 252 does. That of grubby is built by its manual alone.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.converge import Result, converge
from ansible_collections.bulwark.node.plugins.module_utils.errors import (
    BulwarkError,
    HostError,
    Interrupted,
    OptionError,
    OwnerError,
    UnmetError,
)
from ansible_collections.bulwark.node.plugins.module_utils.host import Completed
from ansible_collections.bulwark.node.plugins.module_utils.manifest import is_ours
from ansible_collections.bulwark.node.plugins.module_utils.node import boot_loader, kernel_args, kernel_cmdline
from ansible_collections.bulwark.node.plugins.module_utils.node.kernel_args import KernelArgs
from ansible_collections.bulwark.node.tests.tools import generate
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import (
    MANIFEST,
    FakeKernel,
    Files,
    WriteFault,
    different,
    failure,
    lay,
    load,
    snapshot,
)

GRUB, SYSTEMD_BOOT, GRUBBY = "debian12-grub", "debian13-systemd-boot", "el9-grubby"
TREES = (GRUB, SYSTEMD_BOOT, GRUBBY)
DEFAULTS = "/etc/default/grub"
DROPIN = "/etc/default/grub.d/99-bulwark-kernel-args.cfg"
CLOUD = "/etc/default/grub.d/50-cloudimg-settings.cfg"
GRUB_CFG = "/boot/grub/grub.cfg"
GRUBENV = "/boot/grub/grubenv"
CMDLINE = "/etc/kernel/cmdline"
RECORD = "/etc/kernel/bulwark-kernel-args"
MADE_BY_US = {"/var", "/var/lib", "/var/lib/bulwark"}
UUID = "root=UUID=1111-2222"
CLOUD_LINE = ["net.ifnames=0", "console=tty0", "console=ttyS0,115200", "consoleblank=0"]


@dataclass
class FakeBoot(FakeKernel):
    """A tree with the boot loader's tools. ``broken``: what a tool returns; ``idle``: it succeeds and does nothing."""

    broken: dict[str, Completed] = field(default_factory=dict)
    idle: bool = False
    sets: bool = False
    """grubby takes away all of a name at each argument that it gives."""
    around: tuple[list[str], list[str]] = ([], [])
    """What 10_linux puts before and after the configured arguments."""

    def _command(self, command: list[str]) -> Completed:
        self.commands.append(command)
        if command[0] in self.broken:
            return self.broken[command[0]]
        if not self.idle:
            tools: dict[str, Callable[..., None]] = {
                "update-grub": self._update_grub,
                "kernel-install": self._kernel_install,
                "grubby": self._grubby,
            }
            tools[command[0]](*command[1:])
        return Completed(0, "", "")

    def _path(self, path: str) -> Path:
        return Path(f"{self.root}{path}")

    def _update_grub(self) -> None:
        script = f"""set -e
            . {self.root}{DEFAULTS}
            for x in {self.root}{DEFAULTS}.d/*.cfg; do [ ! -e "$x" ] || . "$x"; done
            printf '%s\\n' "$GRUB_CMDLINE_LINUX $GRUB_CMDLINE_LINUX_DEFAULT" "single $GRUB_CMDLINE_LINUX" """
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
        normal, recovery = done.stdout.split("\n")[:2]
        normal = " ".join([*self.around[0], normal, *self.around[1]])
        text, section, identity = "", "", ""
        for line in self._path(GRUB_CFG).read_text().splitlines():
            section = line if line.startswith("### BEGIN") else section
            match = re.fullmatch(r"(\s+linux\s+\S+ root=\S+ ro ).*", line) if "10_linux" in section else None
            identity = line if "menuentry '" in line else identity
            text += f"{match[1]}{recovery if '-recovery-' in identity else normal}\n" if match else f"{line}\n"
        self._path(GRUB_CFG).write_text(text)

    def _kernel_install(self, verb: str, version: str, image: str) -> None:
        assert verb == "add"
        assert self._path(image).is_file()
        machine = self._path("/etc/machine-id").read_text().strip()
        path = self._path(CMDLINE)
        options = " ".join(path.read_text().split()) if path.exists() else self._running()
        if "systemd.machine_id=" not in options:
            options += f" systemd.machine_id={machine}"
        entry = self._path(f"/boot/efi/loader/entries/{machine}-{version}.conf")
        entry.write_text(re.sub(r"(?m)^(options +).*$", lambda match: match[1] + options, entry.read_text()))

    def _running(self) -> str:
        words = self._path("/proc/cmdline").read_text().split()
        return " ".join(word for word in words if not word.startswith(("BOOT_IMAGE=", "initrd=")))

    def _grubby(self, kernel: str, change: str) -> None:
        image, (option, text) = kernel.partition("=")[2], change.split("=", 1)
        for entry in self._path("/boot/loader/entries").iterdir():
            content = entry.read_text()
            if f"\nlinux {image}\n" in content:
                line = re.findall(r"(?m)^options (.*)$", content)[0].split()
                given = text.split()
                if option == "--remove-args":
                    line = [word for word in line if word not in given]
                else:
                    for word in given if self.sets else ():
                        line = [*(other for other in line if other.split("=")[0] != word.split("=")[0]), word]
                    line = line if self.sets else [*line, *given]
                entry.write_text(re.sub(r"(?m)^options .*$", f"options {' '.join(line)}", content))


Boot = Callable[..., FakeBoot]


@pytest.fixture
def boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Boot:
    """``boot("tree", files={…}, without=[…])``: that machine, below tmp_path."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    count = iter(range(1_000_000))

    def make(name: str, files: Files | None = None, without: Iterable[str] = (), **options: Any) -> FakeBoot:
        root = tmp_path / str(next(count))
        lay(root, load(name), files, without)
        return FakeBoot(str(root), **options)

    return make


def run(
    host: FakeBoot, *arguments: str, check: bool = False, state: str = "present", reserve: str | None = None
) -> Result:
    return converge(
        KernelArgs(host), {"arguments": list(arguments) or None, "memory_reserve": reserve, "state": state}, check
    )


def absent(host: FakeBoot, *arguments: str, check: bool = False) -> Result:
    return run(host, *arguments, check=check, state="absent")


def next_boot(host: FakeBoot) -> list[str]:
    found: list[str] = boot_loader.facts(host)["next_boot"]
    return found


def line_of(host: FakeBoot) -> str:
    """What our file for GRUB appends."""
    text = (host.read(DROPIN) or "").splitlines()
    assert len(text) <= 2
    return text[-1].partition("$GRUB_CMDLINE_LINUX_DEFAULT ")[2][:-1] if text else ""


# what is refused as an option


@pytest.mark.parametrize(
    ("arguments", "option", "expected"),
    [
        (None, "arguments", "a list of arguments"),
        ([], "arguments", "at least one argument"),
        ([""], "arguments[0]", "arguments of letters"),
        (["quiet", " "], "arguments[1]", "arguments of letters"),
        (["quiet "], "arguments[0]", "arguments of letters"),
        (["a\nb"], "arguments[0]", "arguments of letters"),
        (["a\0b"], "arguments[0]", "arguments of letters"),
        (["a\tb"], "arguments[0]", "arguments of letters"),
        (["größe=1"], "arguments[0]", "arguments of letters"),
        (["memmap=4G$1G"], "arguments[0]", "arguments of letters"),
        (["a=$(reboot)"], "arguments[0]", "arguments of letters"),
        (["a=`reboot`"], "arguments[0]", "arguments of letters"),
        (["a=\\x"], "arguments[0]", "arguments of letters"),
        (["a='b'"], "arguments[0]", "arguments of letters"),
        (['a="b'], "arguments[0]", "arguments of letters"),
        (['a="b"c'], "arguments[0]", "arguments of letters"),
        (["a=b;reboot"], "arguments[0]", "arguments of letters"),
        (["-x"], "arguments[0]", "arguments of letters"),
        (["=x"], "arguments[0]", "arguments of letters"),
        (["quiet -- single"], "arguments[0]", "no --"),
        (["hugepages=8"], "arguments[0]", "hugepagesz=SIZE before hugepages=8 in the same group"),
        (["hugepagesz=1G", "hugepages=8"], "arguments[1]", "hugepagesz=SIZE before"),
        (["hugepagesz=huge hugepages=8"], "arguments[0]", "a size in hugepagesz="),
        (["hugepagesz"], "arguments[0]", "a size in hugepagesz="),
        (["hugepagesz=1G hugepages=all"], "arguments[0]", "hugepages=COUNT"),
        (["isolcpus=1", "quiet isolcpus=2"], "arguments[1]", "no isolcpus beside that of arguments[0]"),
        (["nohz-full=1", "nohz_full=2"], "arguments[1]", "no nohz_full beside that of arguments[0]"),
        (["hugepagesz=1G", "hugepagesz=1024M hugepages=1"], "arguments[1]", "no hugepagesz beside"),
        (["console=tty0", "console=tty0"], "arguments[1]", "each group once"),
    ],
)
def test_a_refused_option_is_named_before_the_first_write(
    boot: Boot, arguments: list[str] | None, option: str, expected: str
) -> None:
    host = boot(GRUB)
    before = snapshot(host)
    for check in (True, False):
        with pytest.raises(OptionError) as caught:
            converge(KernelArgs(host), {"arguments": arguments, "memory_reserve": None, "state": "present"}, check)
        assert caught.value.details["option"] == option
        assert expected in caught.value.details["expected"]
    assert snapshot(host) == before


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [(["hugepages"], "hugepagesz=SIZE before"), (["root"], "can do without"), ([], "or no list at all")],
)
def test_what_cannot_be_absent_is_refused(boot: Boot, arguments: list[str], expected: str) -> None:
    with pytest.raises(OptionError, match=expected):
        converge(KernelArgs(boot(GRUB)), {"arguments": arguments, "memory_reserve": None, "state": "absent"}, False)


# check, apply, again, and back


CASES: dict[str, list[str]] = {
    "a pair": ["hugepagesz=1G hugepages=8"],
    "two pairs": ["default_hugepagesz=1G hugepagesz=1G hugepages=8", "hugepagesz=2M hugepages=0:512,1:512"],
    "single values": ["isolcpus=managed_irq,domain,2-7", "nohz_full=2-7 rcu_nocbs=2-7", "mitigations=off"],
    "consoles": ["console=ttyS1", "console=hvc0"],
    "spaces": ['dyndbg="file drivers/usb/* +p; func x#1 {a}"', 'acpi_osi="!Windows 2012"'],
    "a secret": ["agent.password=hidden", "ip=[2001:db8::1]:::64:host:eth0:none"],
}


@pytest.mark.parametrize(("tree", "case"), [(t, c) for t in TREES for c in CASES if (t, c) != (GRUBBY, "spaces")])
def test_check_mode_changes_nothing_and_foretells_the_run_which_a_second_run_leaves_alone_until_all_goes_back(
    boot: Boot, tree: str, case: str
) -> None:
    host, given = boot(tree), CASES[case]
    untouched = snapshot(host)
    foretold = run(host, *given, check=True)
    assert (snapshot(host), host.commands) == (untouched, [])
    real = run(host, *given)
    assert foretold == real
    assert (real.changed, real.verdict.reboot_required) == (True, True)
    assert {**real.after, "entry_days": 0} == boot_loader.facts(host)
    assert "hidden" not in json.dumps([real.as_dict(), real.diff])
    wanted = [argument.replace('"', "") for argument in re.findall(r'(?:[^ "]|"[^"]*")+', " ".join(given))]
    shown = [a.replace("hidden", "<redacted>") for a in wanted]
    assert [a for a in next_boot(host) if a in shown] == shown
    applied = snapshot(host)
    for check in (True, False):
        again = run(host, *given, check=check)
        assert (again.changed, again.changes, again.diff, again.verdict.reboot_required) == (False, (), (), True)
    assert snapshot(host) == applied
    for result in (absent(host, check=True), absent(host)):
        assert (result.changed, result.verdict.reboot_required) == (True, False)
        assert result.after == foretold.before
    assert different(untouched, snapshot(host)) <= MADE_BY_US
    assert not absent(host).changed


@pytest.mark.parametrize("tree", TREES)
def test_a_later_run_keeps_what_an_earlier_one_added_and_replaces_by_name_and_size(boot: Boot, tree: str) -> None:
    host = boot(tree)
    before = snapshot(host)
    run(host, "hugepagesz=1G hugepages=8", "isolcpus=1", "console=hvc0")
    run(host, "hugepagesz=2M hugepages=512", "isolcpus=2-7", "console=hvc1")
    run(host, "hugepagesz=1024M hugepages=4")
    line = next_boot(host)
    assert "hugepages=8" not in line
    assert "isolcpus=1" not in line
    assert line.index("console=hvc0") < line.index("console=hvc1")
    assert not run(host, "console=hvc0", "console=hvc1").changed
    assert run(host, "console=hvc1", "console=hvc0").changed
    assert next_boot(host).index("console=hvc1") < next_boot(host).index("console=hvc0")
    assert line[line.index("hugepagesz=2M") + 1] == "hugepages=512"
    assert line[line.index("hugepagesz=1024M") + 1] == "hugepages=4"
    absent(host, "hugepagesz=2M", "console=hvc0")
    assert not {"hugepagesz=2M", "hugepages=512", "console=hvc0"} & set(next_boot(host))
    absent(host)
    assert different(before, snapshot(host)) <= MADE_BY_US


def test_what_an_argument_needs_to_count_is_compared_with_what_runs(boot: Boot) -> None:
    running = f"BOOT_IMAGE=/vmlinuz {UUID} ro {' '.join(CLOUD_LINE)} hugepagesz=1G hugepages=8 -- isolcpus=1"
    host = boot(GRUB, {"/proc/cmdline": running})
    assert not run(host, "hugepagesz=1G hugepages=8").verdict.reboot_required
    assert run(host, "hugepagesz=1G hugepages=4").verdict.reboot_required
    assert run(host, "isolcpus=1").verdict.reboot_required
    assert not absent(host, "isolcpus").verdict.reboot_required
    assert absent(host, "hugepagesz=1G").verdict.reboot_required
    for _time in range(2):
        assert absent(host).verdict.reboot_required


def test_what_is_configured_already_is_not_written_twice_and_its_entries_alone_are_made_anew(boot: Boot) -> None:
    host = boot(GRUB)
    assert not run(host, "consoleblank=0", "console=tty0 console=ttyS0,115200").changed
    stale = (host.read(GRUB_CFG) or "").replace(" consoleblank=0", "")
    host = boot(GRUB, {GRUB_CFG: stale})
    result = run(host, "consoleblank=0")
    assert [change.kind for change in result.changes] == ["boot_entries"]
    assert next_boot(host)[2:] == CLOUD_LINE
    assert not host.exists(DROPIN)


@pytest.mark.parametrize("state", ["present", "absent"])
@pytest.mark.parametrize(
    "name",
    [
        *(
            "root",
            "rootflags",
            "rootfstype",
            "init",
            "rdinit",
            "ostree",
            "luks.uuid",
            "rd.luks.name",
            "rd.lvm.lv",
            "rd.md.uuid",
        ),
        *("cryptdevice", "cryptopts", "nfsroot", "netroot", "iscsi_initiator", "rd.iscsi.target.name", "mount.usr"),
    ],
)
def test_what_finds_the_root_file_system_is_changed_by_hand(boot: Boot, state: str, name: str) -> None:
    host = boot(SYSTEMD_BOOT)
    with pytest.raises(
        OptionError, match=rf"arguments\[1\].* by {re.escape(name)} the machine .*by hand, in /etc/default/grub"
    ):
        run(host, "quiet", f"{name}=x", state=state)


def test_the_address_of_a_root_on_the_network_is_changed_by_hand_and_no_other(boot: Boot) -> None:
    assert run(boot(GRUB), "ip=eth0:dhcp", "resume=UUID=1", "init_on_alloc=1", "rootdelay=5", check=True).changed
    host = boot(GRUB, {"/proc/cmdline": "root=/dev/nfs nfsroot=10.0.0.1:/x ip=dhcp"})
    with pytest.raises(OptionError, match=r"arguments\[0\].*no ip: .* on the network"):
        run(host, "ip=eth0:dhcp")


@pytest.mark.parametrize(
    "argument",
    [
        *(
            "agent.password=pa$$hidden",
            "x=$ agent.password='se hidden'",
            "a=$\tagent.token=hidden",
            "root=x agent.key=hidden",
        ),
        *("isolcpus=1 agent.password=hidden", 'x="a$" agent.password="hidden'),
    ],
)
def test_a_refused_argument_is_shown_without_its_secret(boot: Boot, argument: str) -> None:
    with pytest.raises(OptionError) as caught:
        run(boot(GRUB), "isolcpus=2", argument)
    assert "hidden" not in f"{caught.value} {caught.value.details}"
    assert "<redacted>" in caught.value.details["value"]


def test_of_names_that_are_not_known_none_replaces_another(boot: Boot) -> None:
    host = boot(SYSTEMD_BOOT, {CMDLINE: "ro cgroup_enable=cpuset vlan=a:b foo=1"})
    assert run(host, "cgroup_enable=memory", "cgroup_enable=pids", "vlan=c:d", "foo=2").verdict.warnings == ()
    given = "cgroup_enable=cpuset vlan=a:b foo=1 cgroup_enable=memory cgroup_enable=pids vlan=c:d foo=2"
    assert (host.read(CMDLINE) or "").startswith(f"ro {given}")
    host = boot(GRUB, {DEFAULTS: 'GRUB_CMDLINE_LINUX="foo=1 vlan=a:b"', f"{DEFAULTS}.d/10_cloud.cfg": ""})
    (warning,) = run(host, "foo=2", "vlan=c:d").verdict.warnings
    assert warning == f"{DEFAULTS}:1 gives foo=1; both it and foo=2 will be there"


# memory


@pytest.mark.parametrize("tree", TREES)
def test_hugepages_that_leave_too_little_memory_are_refused_with_the_sum_of_all_on_the_line(
    boot: Boot, tree: str
) -> None:
    host = boot(tree)
    run(host, "hugepagesz=1G hugepages=50")
    before = snapshot(host)
    for check in (True, False):
        with pytest.raises(BulwarkError, match=r"hugepagesz=2M hugepages=4096: .* would take 59392 MiB, .* too much"):
            run(host, "hugepagesz=2M hugepages=4096", check=check)
        for count in ("99999", "999999999999", "0:99999"):
            for size in ("1G", "16G"):
                with pytest.raises(BulwarkError, match="set memory_reserve"):
                    run(host, f"hugepagesz={size} hugepages={count}", check=check, reserve="1G")
    assert snapshot(host) == before
    assert run(host, "hugepagesz=2M hugepages=4096", reserve="1G").changed
    # Less, and what is not of memory, goes with what is there already.
    assert run(host, "isolcpus=2").changed
    assert run(host, "hugepagesz=2M hugepages=4000").changed


def test_the_hugepages_of_each_numa_node_must_leave_it_its_share(boot: Boot) -> None:
    files = {"/sys/devices/system/node/online": "0-1"}
    for node in (0, 1):
        folder = f"/sys/devices/system/node/node{node}"
        files[f"{folder}/meminfo"] = f"Node {node} MemTotal: 33554432 kB\nNode {node} MemFree: 33554432 kB\n"
        for name in ("free", "nr", "surplus"):
            files[f"{folder}/hugepages/hugepages-1048576kB/{name}_hugepages"] = "0"
            files[f"{folder}/hugepages/hugepages-2048kB/{name}_hugepages"] = "0"
    host = boot(GRUB, files)
    with pytest.raises(BulwarkError, match=r"node 1 has 32768 MiB .* would take 32768 MiB"):
        run(host, "hugepagesz=1G hugepages=0:8,1:30", "hugepagesz=2M hugepages=1:1024")
    assert run(host, "hugepagesz=1G hugepages=0:20,1:20").changed


def test_hugepages_that_run_or_are_configured_are_never_refused(boot: Boot) -> None:
    running = f"BOOT_IMAGE=/vmlinuz {UUID} ro hugepagesz=1G hugepages=63"
    assert run(boot(GRUB, {"/proc/cmdline": running}), "hugepagesz=1G hugepages=63").changed
    files = {DEFAULTS: 'GRUB_CMDLINE_LINUX="hugepagesz=1G hugepages=63"', f"{DEFAULTS}.d/10_cloud.cfg": ""}
    host = boot(GRUB, files)
    assert run(host, "hugepagesz=1G hugepages=63").changed


# GRUB: other files


def test_what_would_go_to_init_is_refused_with_the_line_that_says_so(boot: Boot) -> None:
    files = {DEFAULTS: '# it\nGRUB_CMDLINE_LINUX="-- nosomething"', f"{DEFAULTS}.d/10_cloud.cfg": ""}
    host = boot(GRUB, files)
    for check in (True, False):
        with pytest.raises(OwnerError, match=rf"{DEFAULTS}:2 gives --, .* for init"):
            run(host, "isolcpus=2", check=check)
    host = boot(GRUB, {f"{DEFAULTS}.d/zz.cfg": 'GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT -- x"'})
    assert run(host, "isolcpus=2").changed
    assert not run(host, "isolcpus=2").changed
    assert next_boot(host)[-3:] == ["isolcpus=2", "--", "x"]


@pytest.mark.parametrize(
    ("files", "arguments", "place"),
    [
        (
            {DEFAULTS: 'GRUB_CMDLINE_LINUX="hugepagesz=1024M hugepages=2"'},
            ["hugepagesz=1G hugepages=8"],
            f"{DEFAULTS}:1",
        ),
        ({DEFAULTS: "\nGRUB_CMDLINE_LINUX=default_hugepagesz=2M"}, ["default_hugepagesz=1G"], f"{DEFAULTS}:2"),
        (
            {f"{DEFAULTS}.d/zz.cfg": 'GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT isolcpus=1"'},
            ["isolcpus=2"],
            f"{DEFAULTS}.d/zz.cfg:1",
        ),
        ({f"{DEFAULTS}.d/zz.cfg": "# it\nGRUB_CMDLINE_LINUX_DEFAULT=quiet"}, ["isolcpus=2"], f"{DEFAULTS}.d/zz.cfg:2"),
    ],
)
def test_another_file_that_counts_instead_of_ours_is_refused_with_its_line(
    boot: Boot, files: dict[str, str], arguments: list[str], place: str
) -> None:
    host = boot(GRUB, {f"{DEFAULTS}.d/10_cloud.cfg": "", **files})
    before = snapshot(host)
    for check in (True, False):
        with pytest.raises(OwnerError, match=re.escape(place)):
            run(host, *arguments, check=check)
    assert snapshot(host) == before


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        (["consoleblank"], f"{CLOUD}:3 gives consoleblank=0"),
        (["console"], f"{CLOUD}:2 gives console=tty0"),
        (["net.ifnames=0"], "10_cloud.cfg:1 gives net.ifnames=0"),
        (["ro"], "a script of /etc/grub.d"),
    ],
)
def test_what_another_file_adds_is_not_taken_away_but_named_with_its_line(
    boot: Boot, arguments: list[str], place: str
) -> None:
    host = boot(GRUB)
    run(host, "quiet")
    before = snapshot(host)
    with pytest.raises(OwnerError, match=re.escape(place)):
        absent(host, "quiet", *arguments)
    assert snapshot(host) == before


def test_what_another_file_sets_and_ours_overrules_is_a_warning(boot: Boot) -> None:
    assert run(boot(GRUB), "consoleblank=60").verdict.warnings == (
        f"{CLOUD}:3 gives consoleblank=0; ours comes later and counts",
    )


def test_a_size_that_the_machine_has_not_is_a_warning(boot: Boot) -> None:
    (warning,) = run(boot(GRUB), "hugepagesz=16M hugepages=1").verdict.warnings
    assert warning == "hugepagesz=16M: this machine has hugepages of 2M, 1G alone, and the kernel ignores others"


@pytest.mark.parametrize(
    ("text", "configured"),
    [
        ("GRUB_CMDLINE_LINUX_DEFAULT=quiet", ["quiet"]),
        ("GRUB_CMDLINE_LINUX_DEFAULT='a b' # no", ["a", "b"]),
        ('GRUB_CMDLINE_LINUX_DEFAULT="a \\\n  b"', ["a", "b"]),
        ('GRUB_CMDLINE_LINUX="x"\nGRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX y"', ["x", "x", "y"]),
        ('export GRUB_CMDLINE_LINUX_DEFAULT="a"', ["a"]),
        ('GRUB_CMDLINE_LINUX_DEFAULT="a=\\"b c\\" d"', ["a=b c", "d"]),
        ('GRUB_CMDLINE_LINUX_DEFAULT="quiet splash \\$vt_handoff"', ["quiet", "splash", "$vt_handoff"]),
        ("GRUB_CMDLINE_LINUX_DEFAULT='$GRUB_CMDLINE_LINUX'", ["$GRUB_CMDLINE_LINUX"]),
        ('GRUB_CMDLINE_LINUX_DEFAULT="$(cat /etc/args)"', None),
        ("GRUB_CMDLINE_LINUX_DEFAULT=`cat /etc/args`", None),
        ("if true; then\n  GRUB_CMDLINE_LINUX_DEFAULT=a\nfi", None),
        ('GRUB_CMDLINE_LINUX_DEFAULT="a$GRUB_CMDLINE_LINUX"', None),
        ('GRUB_CMDLINE_LINUX_DEFAULT="$other a"', None),
        (". /etc/default/more", None),
        ("GRUB_CMDLINE_LINUX_DEFAULT=a; GRUB_TIMEOUT=1", None),
        ("if false; then\nGRUB_CMDLINE_LINUX_DEFAULT=a\nfi", None),
        ("case x in\ny)\nGRUB_CMDLINE_LINUX_DEFAULT=a\n;;\nesac", None),
        ("for x in\ndo\nGRUB_CMDLINE_LINUX_DEFAULT=a\ndone", None),
        ("while false\ndo\nGRUB_CMDLINE_LINUX_DEFAULT=a\ndone", None),
        ("f() {\nGRUB_CMDLINE_LINUX_DEFAULT=a\n}", None),
        ("(\nGRUB_CMDLINE_LINUX_DEFAULT=a\n)", None),
        ("false && {\nGRUB_CMDLINE_LINUX_DEFAULT=a\n}", None),
        ("true ||\nGRUB_CMDLINE_LINUX_DEFAULT=a", None),
        ("cat >/dev/null <<E\nGRUB_CMDLINE_LINUX_DEFAULT=a\nE", None),
        ("X='\nGRUB_CMDLINE_LINUX_DEFAULT=a\n'", None),
        ("eval 'GRUB_CMDLINE_LINUX_DEFAULT'=a", None),
        ("export X=1 GRUB_CMDLINE_LINUX=b", None),
        ("X=1 . /etc/default/more", None),
        ("X=${GRUB_CMDLINE_LINUX:=b}", None),
        ("unset GRUB_CMDLINE_LINUX", None),
        (
            "  # it\nA=1 # b\nB='x y'\nC=`echo a || echo b`\nD=\"$A\"\nE=$(echo a)\nexport A B\nGRUB_CMDLINE_LINUX=q",
            ["q"],
        ),
    ],
)
def test_what_is_configured_is_what_a_shell_makes_of_it_or_not_known(
    boot: Boot, text: str, configured: list[str] | None
) -> None:
    host = boot(GRUB, {DEFAULTS: text, "/etc/default/more": ""}, without=[f"{DEFAULTS}.d"])
    facts = boot_loader.facts(host)
    assert facts["configured"] == configured
    if configured is None:
        assert f"{DEFAULTS}:" in facts["configured_reason"]
    elif "$" not in text.replace("$GRUB_CMDLINE_LINUX y", ""):
        host._update_grub()
        assert boot_loader.facts(host)["next_boot"][2:] == configured


def test_what_is_configured_is_what_a_shell_makes_of_text_at_random(boot: Boot) -> None:
    pieces = [
        "a",
        "b=1",
        '"',
        "'",
        "\\",
        "$GRUB_CMDLINE_LINUX",
        "${GRUB_CMDLINE_LINUX_DEFAULT}",
        " ",
        "#",
        "$x",
        "`",
        ";",
    ]
    pieces += ['\\"', "\\$", "=", "$", "{", "}", "*", "~", "!"]
    chosen = random.Random(7)
    host = boot(GRUB, without=[f"{DEFAULTS}.d"])
    known = 0
    for _time in range(600):
        value = "".join(chosen.choice(pieces) for _piece in range(chosen.randint(1, 7)))
        host._path(DEFAULTS).write_text(
            f"GRUB_CMDLINE_LINUX='l m'\nGRUB_CMDLINE_LINUX_DEFAULT='q r'\nGRUB_CMDLINE_LINUX_DEFAULT={value}\n"
        )
        configured = boot_loader.facts(host)["configured"]
        if configured is not None:
            known += 1
            script = f'. {host.root}{DEFAULTS}; printf "%s" "$GRUB_CMDLINE_LINUX_DEFAULT"'
            done = subprocess.run(["sh", "-ec", script], capture_output=True, text=True, check=True)
            assert configured == ["l", "m", *kernel_cmdline.split(done.stdout)], value
    assert known > 100


def test_where_it_is_not_known_the_entries_decide(boot: Boot) -> None:
    files = {f"{DEFAULTS}.d/60-more.cfg": 'GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT $(echo a)"'}
    host = boot(GRUB, files)
    (warning,) = run(host, "isolcpus=2").verdict.warnings
    assert warning.startswith(f"what is configured is not known: {DEFAULTS}.d/60-more.cfg:1 is more than a plain")
    assert next_boot(host)[-2:] == ["a", "isolcpus=2"]
    assert not run(host, "isolcpus=2").changed
    files = {f"{DEFAULTS}.d/zz.cfg": "if true; then\n GRUB_CMDLINE_LINUX_DEFAULT=none\nfi"}
    host = boot(GRUB, files)
    before = snapshot(host)
    with pytest.raises(UnmetError, match=rf"update-grub made 3 of 3 entries otherwise, the first is {GRUB_CFG}:\d+"):
        run(host, "isolcpus=2")
    assert different(before, snapshot(host)) <= MADE_BY_US


# GRUB: which entry is booted

ADVANCED = "gnulinux-advanced-1111-2222"


@pytest.mark.parametrize(
    ("default", "grubenv", "last"),
    [
        ("0", "", "consoleblank=0"),
        ("Debian GNU/Linux", "", "consoleblank=0"),
        ("1>1", "", "net.ifnames=0"),
        ("1>3", "", "net.ifnames=0"),
        (f"{ADVANCED}>2", "", "consoleblank=0"),
        ("Advanced options for Debian GNU/Linux>Debian GNU/Linux, with Linux 6.1.0-27-amd64", "", "consoleblank=0"),
        ("2", "", "other=1"),
        ("${saved_entry}", "saved_entry=2\n", "other=1"),
        ("${saved_entry}", "", "consoleblank=0"),
        ("0", "next_entry=2\n", "other=1"),
        ("1", "", None),
        ("9", "", None),
    ],
)
def test_the_next_boot_is_that_of_the_default_entry(boot: Boot, default: str, grubenv: str, last: str | None) -> None:
    text = load(GRUB)["files"][GRUB_CFG].replace('set default="0"', f'set default="{default}"')
    facts = boot_loader.facts(boot(GRUB, {GRUB_CFG: text, GRUBENV: f"# GRUB Environment Block\n{grubenv}####"}))
    assert (facts["next_boot"] or [None])[-1] == last
    assert (facts["next_boot_reason"] is None) == (last is not None)


def test_entries_for_recovery_and_those_of_others_stay_as_they_are(boot: Boot) -> None:
    host = boot(GRUB)
    run(host, "isolcpus=2")
    lines = re.findall(r"linux\s+/boot/(\S+) .* (\S+)\n", host.read(GRUB_CFG) or "")
    assert [last for dummy, last in lines] == [
        "isolcpus=2",
        "isolcpus=2",
        "net.ifnames=0",
        "isolcpus=2",
        "net.ifnames=0",
        "other=1",
    ]


@pytest.mark.parametrize(
    ("files", "head", "foot"),
    [
        ({}, [], []),
        # kdump-tools' file sorts after ours, and appends.
        (
            {
                f"{DEFAULTS}.d/kdump-tools.cfg": 'GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT crashkernel=256M"'
            },
            [],
            ["crashkernel=256M"],
        ),
        ({f"{DEFAULTS}.d/zz.cfg": 'GRUB_CMDLINE_LINUX_DEFAULT="a ${GRUB_CMDLINE_LINUX_DEFAULT}"'}, ["a"], []),
        # 10_linux of Ubuntu, and of a root on btrfs.
        ({}, [], ["$vt_handoff"]),
        ({}, ["rootflags=subvol=@"], []),
    ],
)
def test_what_is_put_around_ours_is_foretold(
    boot: Boot, files: dict[str, str], head: list[str], foot: list[str]
) -> None:
    text: str = load(GRUB)["files"][GRUB_CFG]
    host = boot(GRUB, files, around=([], []) if files else (head, foot))
    if files:
        host._update_grub()
    else:
        made = f" ro {' '.join([*head, *CLOUD_LINE, *foot])}\n"
        host._path(GRUB_CFG).write_text(text.replace(f" ro {' '.join(CLOUD_LINE)}\n", made))
    foretold = run(host, "isolcpus=2", check=True)
    assert run(host, "isolcpus=2") == foretold
    line = [a for a in next_boot(host)[2:] if a not in CLOUD_LINE]
    assert line == [*head, "isolcpus=2", *foot]
    assert run(host, "isolcpus=2", "nosmt", check=True) == run(host, "isolcpus=2", "nosmt")


def test_an_entry_that_is_not_made_yet_is_foretold_with_what_is_always_before(boot: Boot) -> None:
    text: str = load(GRUB)["files"][GRUB_CFG]
    stale = text.replace(f" ro {' '.join(CLOUD_LINE)}\n", " ro rootflags=subvol=@ quiet\n")
    host = boot(GRUB, {GRUB_CFG: stale}, around=(["rootflags=subvol=@"], []))
    foretold = run(host, "consoleblank=0", check=True)
    assert foretold.after["next_boot"][2:] == ["rootflags=subvol=@", *CLOUD_LINE]
    assert run(host, "consoleblank=0") == foretold


def test_a_default_that_is_not_made_from_the_configuration_is_a_warning(boot: Boot) -> None:
    host = boot(GRUB, {GRUBENV: "saved_entry=0\nnext_entry=2\n"})
    (warning,) = run(host, "isolcpus=2").verdict.warnings
    place = re.escape(f"{GRUB_CFG}:") + "[0-9]+"
    assert re.fullmatch(
        rf"{place} is booted next \(Another Linux .*\), which update-grub does not make from .*", warning
    )


# kernel-install


ENTRY = "/boot/efi/loader/entries/0123456789abcdef0123456789abcdef-6.12.10-amd64.conf"
OLDER = ENTRY.replace("6.12.10", "6.12.9")
MACHINE_ID = "systemd.machine_id=0123456789abcdef0123456789abcdef"


def options_of(host: FakeBoot, path: str = ENTRY) -> list[str]:
    """The texts of an entry's ``options``."""
    return re.findall(r"^options +(.*)$", host.read(path) or "", re.MULTILINE)


def test_no_image_is_touched_and_no_tool_is_run(boot: Boot) -> None:
    """kernel-install would write kernel and initrd anew, and drop an initrd that it does not find."""
    image = "/boot/efi/0123456789abcdef0123456789abcdef/6.12.10-amd64/initrd.img-6.12.10-amd64"
    host = boot(SYSTEMD_BOOT, {image: "initrd", "/etc/kernel/entry-token": "other", "/etc/kernel/tries": "3"})
    counted = ENTRY.replace(".conf", "+2-1.conf")
    host._path(ENTRY).rename(host._path(counted))
    before = snapshot(host)
    foretold = run(host, "isolcpus=2", check=True)
    assert run(host, "isolcpus=2") == foretold
    assert options_of(host, counted) == [f"root=/dev/vda2 ro quiet isolcpus=2 {MACHINE_ID}"]
    assert different(before, snapshot(host)) - MADE_BY_US == {counted, OLDER, CMDLINE, RECORD, MANIFEST}
    assert host.commands == []
    absent(host)
    assert different(before, snapshot(host)) <= MADE_BY_US


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("linux /x\noptions  a   b\ninitrd /y", "linux /x\noptions  a   b isolcpus=2\ninitrd /y"),
        ("options a\nlinux /x\r\noptions b\r\n# end\n", "options a\nlinux /x\r\noptions b isolcpus=2\r\n# end\n"),
        ("options a -- single\nlinux /x\n", "options a isolcpus=2 -- single\nlinux /x\n"),
        ("options a isolcpus=1\nlinux /x\noptions b\n", "options a\nlinux /x\noptions b isolcpus=2\n"),
        ("options isolcpus=1  b\nlinux /x\n", "options b isolcpus=2\nlinux /x\n"),
        ("options -- single\nlinux /x\n", "options isolcpus=2 -- single\nlinux /x\n"),
        ("linux /x", "linux /x\noptions isolcpus=2\n"),
        ("title \udcff\noptions a\nlinux /x", "title \udcff\noptions a isolcpus=2\nlinux /x"),
    ],
)
def test_of_an_entry_the_options_alone_are_edited_and_all_bytes_come_back(boot: Boot, text: str, after: str) -> None:
    host = boot(SYSTEMD_BOOT, without=[OLDER])
    head = "version 6.12.10-amd64\n"
    host._path(ENTRY).write_bytes((head + text).encode("utf-8", "surrogateescape"))
    before = snapshot(host)
    foretold = run(host, "isolcpus=2", check=True)
    assert run(host, "isolcpus=2") == foretold
    assert host._path(ENTRY).read_bytes() == (head + after).encode("utf-8", "surrogateescape")
    assert not run(host, "isolcpus=2").changed
    absent(host)
    assert different(before, snapshot(host)) <= MADE_BY_US


def test_what_follows_two_dashes_in_the_line_for_new_kernels_stays_behind_ours(boot: Boot) -> None:
    host = boot(SYSTEMD_BOOT, {CMDLINE: "root=/dev/vda2 ro -- single\n"})
    before = snapshot(host)
    run(host, "isolcpus=2")
    assert host.read(CMDLINE) == "root=/dev/vda2 ro isolcpus=2 -- single\n"
    absent(host)
    assert different(before, snapshot(host)) <= MADE_BY_US


def test_grubby_would_append_after_two_dashes_which_is_refused_with_the_line(boot: Boot) -> None:
    path = next(path for path in load(GRUBBY)["files"] if path.endswith("427.el9.x86_64.conf"))
    host = boot(GRUBBY, {path: load(GRUBBY)["files"][path].replace(" quiet", " quiet -- single")})
    with pytest.raises(OwnerError, match=rf"{re.escape(path)}:5 has --"):
        run(host, "isolcpus=2", check=True)


def test_a_one_off_boot_does_not_become_the_line_of_new_kernels(boot: Boot) -> None:
    running = f"root=/dev/vda2 ro quiet {MACHINE_ID} systemd.unit=rescue.target init=/bin/bash"
    host = boot(SYSTEMD_BOOT, {"/proc/cmdline": running}, without=[CMDLINE])
    run(host, "isolcpus=2")
    assert host.read(CMDLINE) == "root=/dev/vda2 ro quiet isolcpus=2\n"
    assert options_of(host) == [f"root=/dev/vda2 ro quiet isolcpus=2 {MACHINE_ID}"]


def test_entries_that_differ_are_no_line_to_start_from_and_the_difference_is_named(boot: Boot) -> None:
    text = load(SYSTEMD_BOOT)["files"][OLDER].replace("quiet", "debug rd.password=hidden")
    host = boot(SYSTEMD_BOOT, {OLDER: text}, without=[CMDLINE])
    before = snapshot(host)
    assert not absent(host).changed
    for check in (True, False):
        with pytest.raises(
            BulwarkError, match=f'{OLDER} differ in debug quiet rd.password="<redacted>": write the line'
        ):
            run(host, "isolcpus=2", check=check)
    assert snapshot(host) == before
    host = boot(SYSTEMD_BOOT, {OLDER: text})
    before = snapshot(host)
    assert run(host, "isolcpus=2").changed
    absent(host)
    assert different(before, snapshot(host)) <= MADE_BY_US


def test_what_ours_replaced_in_one_entry_alone_comes_back_and_in_that_of_a_new_kernel_nothing(boot: Boot) -> None:
    text = load(SYSTEMD_BOOT)["files"][ENTRY].replace("quiet", "isolcpus=5 quiet")
    host = boot(SYSTEMD_BOOT, {ENTRY: text})
    before = snapshot(host)
    run(host, "isolcpus=2")
    newer = ENTRY.replace("6.12.10", "6.12.11")
    host._path(newer).write_text((host.read(ENTRY) or "").replace("6.12.10", "6.12.11"))
    host._path("/boot/vmlinuz-6.12.11-amd64").write_text("MZ")
    run(host, "isolcpus=3")
    assert options_of(host, newer) == [f"root=/dev/vda2 ro quiet isolcpus=3 {MACHINE_ID}"]
    absent(host)
    assert options_of(host, newer) == [f"root=/dev/vda2 ro quiet {MACHINE_ID}"]
    assert different(before, snapshot(host)) - MADE_BY_US == {newer, "/boot/vmlinuz-6.12.11-amd64"}


def test_a_full_esp_has_room_for_an_entry_and_not_for_less(boot: Boot, monkeypatch: pytest.MonkeyPatch) -> None:
    host = boot(SYSTEMD_BOOT)
    true, free = host.statvfs, 4

    def statvfs(path: str) -> os.statvfs_result | None:
        status = os.statvfs_result((4096, 4096, 1 << 20, free, free, 0, 0, 0, 0, 255))
        return status if path.startswith("/boot") else true(path)

    monkeypatch.setattr(host, "statvfs", statvfs)
    assert run(host, "isolcpus=2", check=True).changed
    free = 3
    with pytest.raises(HostError, match=r"\(ENOSPC\), and its files are written anew; free 16K"):
        run(host, "isolcpus=2", check=True)


def test_an_entry_that_leads_elsewhere_is_refused_before_the_first_write(boot: Boot) -> None:
    host = boot(SYSTEMD_BOOT)
    text = host.read(ENTRY) or ""
    host._path(ENTRY).unlink()
    host._path("/etc/entry").write_text(text)
    host._path(ENTRY).symlink_to("/etc/entry")
    before = snapshot(host)
    with pytest.raises(HostError, match="outside of its folder"):
        run(host, "isolcpus=2", check=True)
    assert snapshot(host) == before


def test_without_a_line_of_its_own_kernel_install_gets_that_of_the_entries(boot: Boot) -> None:
    host = boot(SYSTEMD_BOOT, {"/etc/kernel/tries": "3"}, without=[CMDLINE])
    before = snapshot(host)
    foretold = run(host, "isolcpus=2", check=True)
    assert run(host, "isolcpus=2") == foretold
    assert host.read(CMDLINE) == "root=/dev/vda2 ro quiet isolcpus=2\n"
    absent(host)
    assert different(before, snapshot(host)) <= MADE_BY_US


@pytest.mark.parametrize("tree", [SYSTEMD_BOOT, GRUBBY])
def test_what_others_set_in_the_line_is_taken_away_and_comes_back(boot: Boot, tree: str) -> None:
    host = boot(tree)
    before, line = snapshot(host), next_boot(host)
    assert absent(host, "quiet").changed
    assert "quiet" not in next_boot(host)
    assert "quiet" not in (host.read(CMDLINE) or "")
    assert not absent(host, "quiet").changed
    absent(host)
    left = different(before, snapshot(host)) - MADE_BY_US
    if tree == GRUBBY:
        # It gives to the end of an entry what it took out of its middle.
        assert sorted(next_boot(host)) == sorted(line)
        left = {path for path in left if "/loader/entries/" not in path}
    assert not left


def test_what_somebody_else_adds_to_the_line_after_us_stays(boot: Boot) -> None:
    host = boot(SYSTEMD_BOOT)
    run(host, "isolcpus=2", "quiet")
    host._path(CMDLINE).write_text((host.read(CMDLINE) or "").strip() + " audit=1\n")
    absent(host)
    assert host.read(CMDLINE) == "root=/dev/vda2 ro quiet audit=1\n"
    assert not host.exists(MANIFEST)
    assert next_boot(host) == ["root=/dev/vda2", "ro", "quiet", MACHINE_ID]


def test_a_new_kernel_gets_the_arguments_too(boot: Boot) -> None:
    host = boot(SYSTEMD_BOOT)
    run(host, "hugepagesz=1G hugepages=8")
    old = "/boot/efi/loader/entries/0123456789abcdef0123456789abcdef-6.12.10-amd64.conf"
    new = old.replace("6.12.10", "6.12.11")
    host._path(new).write_text((host.read(old) or "").replace("6.12.10", "6.12.11"))
    host._path("/boot/vmlinuz-6.12.11-amd64").write_text("MZ")
    host._kernel_install("add", "6.12.11-amd64", "/boot/vmlinuz-6.12.11-amd64")
    assert not run(host, "hugepagesz=1G hugepages=8").changed
    absent(host)
    assert "hugepages" not in (host.read(new) or "")


def test_the_entry_that_loader_conf_names_is_booted_next(boot: Boot) -> None:
    entries = load(SYSTEMD_BOOT)["files"]
    old = next(path for path in entries if path.endswith("-6.12.9-amd64.conf"))
    files = {old: entries[old].replace("quiet", "debug")}
    assert "names none" in boot_loader.facts(boot(SYSTEMD_BOOT, files))["next_boot_reason"]
    files["/boot/efi/loader/loader.conf"] = "timeout 3\ndefault *-6.12.9-*"
    assert "debug" in next_boot(boot(SYSTEMD_BOOT, files))


# grubby


def test_a_grubby_that_takes_arguments_for_a_set_fails_the_run_and_all_goes_back(boot: Boot) -> None:
    host = boot(GRUBBY, sets=True)
    before = snapshot(host)
    assert run(host, "hugepagesz=1G hugepages=8").changed
    absent(host)
    with pytest.raises(UnmetError, match=r"grubby --update-kernel=ALL made 2 of 2 entries otherwise"):
        run(host, "hugepagesz=1G hugepages=8", "hugepagesz=2M hugepages=512")
    assert different(before, snapshot(host)) <= MADE_BY_US


def test_grubby_gets_a_pair_whole_where_one_of_the_two_differs(boot: Boot) -> None:
    host = boot(GRUBBY)
    run(host, "hugepagesz=1G hugepages=8")
    run(host, "hugepagesz=1024M hugepages=8")
    line = next_boot(host)
    assert line[line.index("hugepagesz=1024M") + 1] == "hugepages=8"
    assert "hugepagesz=1G" not in line


def test_grubby_parts_arguments_at_spaces_so_that_none_may_have_them(boot: Boot) -> None:
    host = boot(GRUBBY)
    before = snapshot(host)
    with pytest.raises(
        OptionError, match=r"arguments\[1\]: got 'dyndbg=\"file a\"', expected an argument without spaces"
    ):
        run(host, "quiet", 'dyndbg="file a"', check=True)
    assert snapshot(host) == before


# which boot loader


@pytest.mark.parametrize(
    ("tree", "files", "without", "reason"),
    [
        (GRUB, {"/run/systemd/container": "systemd-nspawn"}, ["/proc/self"], "this is a container (systemd-nspawn)"),
        (
            GRUB,
            {"/etc/os-release": "ID=talos"},
            [],
            "talos has its arguments in an image: set machine.install.extraKernelArgs",
        ),
        (GRUB, {"/etc/os-release": "ID=bottlerocket"}, [], "apiclient set boot.kernel-parameters"),
        (GRUB, {"/run/ostree-booted": "", "/usr/bin/rpm-ostree": ""}, [], "rpm-ostree kargs --append-if-missing"),
        (GRUB, {"/run/ostree-booted": "", "/usr/bin/bootc": ""}, [], "/usr/lib/bootc/kargs.d"),
        (GRUB, {"/run/ostree-booted": ""}, [], "ostree admin kargs"),
        (GRUB, {}, ["/usr/sbin/update-grub"], "update-grub is not; install grub2-common"),
        (GRUB, {"/usr/sbin/grub-mkconfig": ""}, [], "reads no /etc/default/grub.d"),
        (GRUB, {}, ["/boot"], "there is neither /boot/grub/grub.cfg nor a folder loader/entries"),
        (SYSTEMD_BOOT, {}, ["/usr/bin/kernel-install"], "neither kernel-install nor grubby"),
        (SYSTEMD_BOOT, {GRUB_CFG: "", "/proc/cmdline": "root=/dev/vda2"}, [], "nothing tells which of them"),
        (GRUBBY, {}, ["/usr/sbin/grubby", "/boot/loader"], "grub2-mkconfig -o /boot/grub2/grub.cfg"),
    ],
)
def test_what_is_no_boot_loader_of_ours_is_refused_by_name(
    boot: Boot, tree: str, files: dict[str, str], without: list[str], reason: str
) -> None:
    host = boot(tree, files)
    for path in without:
        subprocess.run(["rm", "-r", f"{host.root}{path}"], check=True)
    before = snapshot(host)
    facts = boot_loader.facts(host)
    assert reason in facts["reason"]
    assert (facts["boot_loader"], facts["configured"], facts["next_boot"]) == (None, None, None)
    for check in (True, False):
        with pytest.raises(OwnerError, match=re.escape(reason)):
            run(host, "quiet", check=check)
        with pytest.raises(OwnerError, match=re.escape(reason)):
            absent(host, "quiet", check=check)
        # Nothing of ours is there.
        assert not absent(host, check=check).changed
    assert snapshot(host) == before


EFI = "/sys/firmware/efi/efivars"
STUB = f"{EFI}/StubInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
LOADER = f"{EFI}/LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
SECURE = f"{EFI}/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"


@pytest.mark.parametrize(("secure", "reason"), [(b"\x01", "signature seals"), (b"\x00", "holds the arguments itself")])
def test_a_unified_kernel_image_is_refused(boot: Boot, secure: bytes, reason: str) -> None:
    files = {STUB: b"\x06\0\0\0s\0", SECURE: b"\x06\0\0\0" + secure}
    with pytest.raises(OwnerError, match=reason):
        run(boot(SYSTEMD_BOOT, files), "quiet")


def test_of_two_boot_loaders_the_one_that_booted_is_used(boot: Boot) -> None:
    info = b"\x06\0\0\0" + "systemd-boot 257.5".encode("utf-16-le") + b"\0\0"
    found = boot_loader.detect(boot(SYSTEMD_BOOT, {GRUB_CFG: "", LOADER: info}))
    assert (found.name, found.reason[-41:]) == ("kernel_install", "and systemd-boot 257.5 booted the machine")
    files = {path: text for path, text in load(SYSTEMD_BOOT)["files"].items() if "/loader/" in path}
    assert boot_loader.detect(boot(GRUB, files)).name == "grub"


# what stands in the way of a write


def test_a_file_of_somebody_else_at_our_path_is_not_touched_or_shown(boot: Boot) -> None:
    for tree, path in ((GRUB, DROPIN), (SYSTEMD_BOOT, RECORD)):
        host = boot(tree, {path: "password=x"})
        before = snapshot(host)
        with pytest.raises(OwnerError, match=f"{path} is there and is not ours"):
            run(host, "isolcpus=2", check=True)
        assert snapshot(host) == before


def test_the_files_that_absent_looks_for_are_those_that_are_written(boot: Boot) -> None:
    written = set()
    for tree in (GRUB, SYSTEMD_BOOT):
        host = boot(tree)
        before = snapshot(host)
        run(host, "isolcpus=2")
        written |= {
            path for path in different(before, snapshot(host)) if host.is_file(path) and is_ours(host.read(path))
        }
    assert written == set(boot_loader.RECORDS)


def test_a_symlink_at_our_path_is_not_followed_elsewhere(boot: Boot) -> None:
    host = boot(GRUB)
    host._path(DROPIN).symlink_to("/etc/fstab")
    before = snapshot(host)
    with pytest.raises(HostError, match="outside of its folder"):
        run(host, "isolcpus=2")
    assert snapshot(host) == before


def test_a_boot_folder_that_is_not_mounted_is_refused(boot: Boot) -> None:
    for tree, fstab in ((GRUB, "/dev/sda2 /boot ext4 defaults 0 2"), (SYSTEMD_BOOT, "/dev/vda9 /boot/efi/ vfat rw")):
        host = boot(tree, {"/etc/fstab": fstab, "/proc/mounts": "/dev/sda1 / ext4 rw 0 0"})
        with pytest.raises(HostError, match="is in /etc/fstab and is not mounted"):
            run(host, "isolcpus=2", check=True)


@pytest.mark.parametrize(("flags", "free", "code"), [(os.ST_RDONLY, 1 << 20, "EROFS"), (0, 3, "ENOSPC")])
@pytest.mark.parametrize("check", [True, False])
def test_a_boot_folder_that_takes_no_file_is_told_before_the_first_write(
    boot: Boot, monkeypatch: pytest.MonkeyPatch, flags: int, free: int, code: str, check: bool
) -> None:
    host = boot(GRUB)
    true = host.statvfs

    def statvfs(path: str) -> os.statvfs_result | None:
        if not path.startswith("/boot"):
            return true(path)
        return os.statvfs_result((4096, 4096, 1 << 20, free, free, 0, 0, 0, flags, 255))

    monkeypatch.setattr(host, "statvfs", statvfs)
    before = snapshot(host)
    with pytest.raises(HostError, match=code):
        run(host, "isolcpus=2", check=check)
    assert snapshot(host) == before


def test_a_line_longer_than_the_kernel_takes_is_refused_with_its_length(
    boot: Boot, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = boot(GRUB)
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "", "", "", "x86_64")))
    fixed = len(f"BOOT_IMAGE=/boot/vmlinuz-6.1.0-28-amd64 {UUID} ro {' '.join(CLOUD_LINE)} ")
    assert run(host, "x" * (2047 - fixed), check=True).changed
    with pytest.raises(BulwarkError, match="would have 2048 bytes, and this kernel takes 2047"):
        run(host, "x" * (2048 - fixed), check=True)
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "", "", "", "s390x")))
    assert run(host, "x" * (2048 - fixed), check=True).changed


def test_tuned_that_adds_another_value_is_an_owner(boot: Boot) -> None:
    files = {
        "/etc/tuned/active_profile": "x",
        "/run/tuned/tuned.pid": "1",
        "/etc/tuned/x/tuned.conf": "[bootloader]\ncmdline_x=+isolcpus=1 skew_tick=1",
    }
    host = boot(GRUBBY, files)
    with pytest.raises(
        OwnerError, match=r"/etc/tuned/x/tuned.conf gives isolcpus=1, which counts instead of isolcpus=2"
    ):
        run(host, "isolcpus=2")
    with pytest.raises(OwnerError, match=r"/etc/tuned/x/tuned.conf gives skew_tick=1, which is not ours"):
        absent(host, "skew_tick")
    assert run(host, "skew_tick=1", "nohz_full=2").changed


# when it goes wrong


@pytest.mark.parametrize(
    ("tree", "tool", "rc"),
    [(GRUB, "update-grub", 1), (GRUB, "update-grub", 127), (GRUBBY, "grubby", 1)],
)
def test_a_tool_that_fails_is_named_with_what_it_said_and_all_goes_back(
    boot: Boot, tree: str, tool: str, rc: int
) -> None:
    host = boot(tree, broken={tool: Completed(rc, "", "Syntax errors are detected in generated GRUB config file.")})
    before = snapshot(host)
    with pytest.raises(HostError, match=rf"{tool}.*: returned {rc} and said: Syntax errors"):
        run(host, "isolcpus=2")
    assert different(before, snapshot(host)) <= MADE_BY_US


@pytest.mark.parametrize("tree", [GRUB, GRUBBY])
def test_a_tool_that_does_nothing_fails_the_run_and_all_goes_back(boot: Boot, tree: str) -> None:
    host = boot(tree, idle=True)
    before = snapshot(host)
    with pytest.raises(UnmetError) as caught:
        run(host, "isolcpus=2")
    (unmet,) = caught.value.details["unmet"]
    assert (unmet["wanted"][-1], "isolcpus=2" in unmet["got"]) != ("isolcpus=2", True)
    assert different(before, snapshot(host)) <= MADE_BY_US


def test_a_tool_that_breaks_off_in_the_middle_leaves_the_old_entries(
    boot: Boot, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = boot(GRUB)

    def broken() -> None:
        host._path(GRUB_CFG).write_text("half")
        host._path(f"{GRUB_CFG}.new").write_text("half")
        raise Interrupted("stopped by SIGTERM")

    monkeypatch.setattr(host, "_update_grub", broken)
    before = snapshot(host)
    with pytest.raises(Interrupted):
        run(host, "isolcpus=2")
    assert different(before, snapshot(host)) <= MADE_BY_US


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("back", [False, True])
def test_after_a_kill_at_any_write_the_next_run_goes_on_from_what_there_is(boot: Boot, tree: str, back: bool) -> None:
    """From some write on none is done, nor undone."""
    for number in itertools.count(1):
        host = boot(tree)
        before = snapshot(host)
        again = partial(absent, host) if back else partial(run, host, "hugepagesz=1G hugepages=8", "isolcpus=2")
        if back:
            run(host, "hugepagesz=1G hugepages=8", "isolcpus=2")
            host.log.clear()
        host.fault = WriteFault(number, on=True)
        error = failure(again)
        host.fault = None
        if error is None:
            break
        again()
        if not back:
            assert {"hugepagesz=1G", "hugepages=8", "isolcpus=2"} <= set(next_boot(host)), number
        assert not again().changed
        absent(host)
        left = different(before, snapshot(host)) - MADE_BY_US
        if left:
            # Cut between the removal of our own file and that of its entry, which says that nothing was there before.
            ours = DROPIN if tree == GRUB else RECORD
            files = json.loads(host.read(MANIFEST) or "")["files"]
            assert (left, files) == ({MANIFEST}, {ours: {"before": None, "by": "kernel_args"}}), number
    assert number > 4


def test_a_lost_manifest_costs_nothing_that_our_own_file_knows(boot: Boot) -> None:
    for tree in TREES:
        host = boot(tree)
        run(host, "isolcpus=2")
        host.remove(MANIFEST)
        assert absent(host).changed
        assert "isolcpus=2" not in next_boot(host)
        assert not host.exists(DROPIN)
        assert not host.exists(RECORD)
        assert not host.exists(MANIFEST)


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize(("after", "on"), [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("back", [False, True])
def test_whichever_write_fails_the_machine_is_as_before_or_the_rest_is_named(
    boot: Boot, tree: str, after: bool, on: bool, back: bool
) -> None:
    for number in itertools.count(1):
        host = boot(tree)
        if back:
            run(host, "hugepagesz=1G hugepages=8", "isolcpus=2")
            host.log.clear()
        before = snapshot(host)
        host.fault = WriteFault(number, after, on)
        error = failure(
            partial(absent, host) if back else partial(run, host, "hugepagesz=1G hugepages=8", "isolcpus=2")
        )
        if error is None:
            assert number > len(host.log), f"write {number} failed unnoticed"
            break
        left = different(before, snapshot(host)) - MADE_BY_US
        named = [item["what"] for item in error.details["not_undone"]]
        if named:
            left.discard(MANIFEST)
        assert on or after or not named, (number, host.log)
        assert all(any(path == what or path.startswith(f"{what}/") for what in named) for path in left), (
            number,
            host.log,
        )
    assert number > 4


def test_the_spec_offers_what_is_documented() -> None:
    assert set(kernel_args.ARGUMENT_SPEC) == set(generate.documentation("kernel_args")["options"])


@pytest.mark.parametrize(
    ("now", "configured", "upcoming", "lost", "new", "not_made"),
    [
        ("root=x ro quiet", "quiet", "root=x ro quiet", [], [], []),
        # By another name of the same disk nothing is lost.
        ("root=PARTUUID=1 ro", "", "root=UUID=2 ro rd.lvm.lv=vg/root", [], [], []),
        # What the boot loader itself adds is no argument that is lost.
        ("BOOT_IMAGE=/vmlinuz initrd=a vt.handoff=7 ro", "", "ro $vt_handoff", [], [], []),
        ("ro isolcpus=2-7", "", "ro", ["isolcpus=2-7"], [], []),
        ("ro", "quiet", "ro quiet", [], ["quiet"], []),
        ("ro", "quiet", "ro", [], [], ["quiet"]),
        # Twice is not once: each size of hugepages has its number.
        (
            "hugepagesz=1G hugepages=4 hugepagesz=2M hugepages=4",
            "hugepagesz=1G hugepages=4",
            "hugepagesz=1G hugepages=4",
            ["hugepagesz=2M", "hugepages=4"],
            [],
            [],
        ),
        ("ro a.password=x", None, "ro", ["a.password=<redacted>"], [], None),
        # What a variable of GRUB holds is told by a boot alone.
        ("ro foo", "", "ro $extra", None, [], []),
        ("ro foo", "quiet", None, None, None, None),
    ],
)
def test_what_the_next_boot_loses_and_adds(
    now: str, configured: str | None, upcoming: str | None, lost: Any, new: Any, not_made: Any
) -> None:
    def line(text: str | None) -> Any:
        return None if text is None else tuple(text.split())

    entries = () if upcoming is None else (boot_loader.Entry("x", "/x", line(upcoming), True),)
    observed = boot_loader.Boot(
        *("/r", None, {}, (), ()),
        configured=line(configured),
        configured_reason=None,
        sources=(),
        place=0,
        entries=entries,
        default=0 if entries else None,
        default_reason=None,
        made="/x",
    )
    found = boot_loader.shape(boot_loader.Detected("grub", "x"), observed, line(now))
    assert [found[key] for key in ("lost_at_boot", "new_at_boot", "not_made")] == [lost, new, not_made]


def test_arguments_that_name_no_machine_are_those_to_compare_machines_by() -> None:
    now = (
        *("BOOT_IMAGE=/vmlinuz", "root=UUID=1", "ro", "quiet", "rd.luks.uuid=2", "resume=UUID=3", "ip=192.0.2.1::::n1"),
        *("isolcpus=2-7", "systemd.machine-id=4", "a.password=x", "root"),
    )
    found = boot_loader.shape(boot_loader.Detected(None, "x"), None, now)
    assert found["shared"] == ["ro", "quiet", "isolcpus=2-7", "a.password=<redacted>"]
