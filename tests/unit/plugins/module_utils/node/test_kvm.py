# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module kvm on trees whose kernel loads modules and whose groups take members: plans, refusals, owners, the way back."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable
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
from ansible_collections.bulwark.node.plugins.module_utils.manifest import HEADER
from ansible_collections.bulwark.node.plugins.module_utils.node import kvm_facts, kvm_guard, kvm_modules, kvm_persist
from ansible_collections.bulwark.node.plugins.module_utils.node.kvm import Kvm
from ansible_collections.bulwark.node.plugins.module_utils.node.kvm_checks import PROFILES
from ansible_collections.bulwark.node.plugins.module_utils.node.kvm_options import ARGUMENT_SPEC
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import (
    MANIFEST,
    FakeKernel,
    Files,
    Machine,
    WriteFault,
    different,
    failure,
    snapshot,
)
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.test_kvm_facts import FakeKvm

RELEASE = "5.14.0-427.el9.x86_64"
DISK = f"/lib/modules/{RELEASE}"
LOADS = "/etc/modules-load.d/90-bulwark-kvm.conf"
OPTIONS = "/etc/modprobe.d/zz-bulwark-kvm.conf"
RULES = "/etc/udev/rules.d/99-bulwark-kvm.rules"
NESTED = "/sys/module/kvm_intel/parameters/nested"
BOOT = "/proc/sys/kernel/random/boot_id"
MADE_BY_US = {"/var", "/var/lib", "/var/lib/bulwark"}
COMMON = {
    BOOT: "7b3f6f9c-8d5e-4a0c-9d6f-0f8f3a1f2b11",
    "/etc/group": "root:x:0:\nsudo:x:27:\nkvm:x:36:qemu\nqemu:x:107:\npeople:x:1002:\nlibvirt:x:986:admin",
    "/etc/passwd": (
        "root:x:0:0:root:/root:/bin/bash\nqemu:x:107:107::/:/sbin/nologin\nadmin:x:1000:1000::/home/admin:/bin/bash\n"
        "alice:x:1001:1001::/home/alice:/bin/bash\nfirst:x:1003:36::/:/bin/bash"
    ),
    "/proc/sys/kernel/osrelease": RELEASE,
    f"{DISK}/modules.dep": (
        "kernel/arch/x86/kvm/kvm.ko.xz: kernel/virt/lib/irqbypass.ko.xz\nkernel/arch/x86/kvm/kvm-intel.ko.xz: x\n"
        "kernel/drivers/vhost/vhost_net.ko.xz: kernel/drivers/vhost/vhost.ko.xz\nkernel/drivers/vhost/vhost_vsock.ko: x"
    ),
    f"{DISK}/modules.builtin": "kernel/drivers/net/tun.ko",
    "/run/systemd/system/.keep": "",
    "/run/udev/control": "",
    "/usr/sbin/modprobe": "",
    "/usr/bin/gpasswd": "",
    "/proc/modules": "",
}
KVM_LOADED = {
    "/sys/module/kvm/initstate": "live",
    "/sys/module/kvm_intel/initstate": "live",
    "/sys/module/kvm_intel/refcnt": "0",
    NESTED: "N",
}
NO_VHOST = ["/dev/vhost-net", "/dev/vhost-vsock"]
NO_KVM = ["/sys/class/misc/kvm", "/sys/module", "/dev/kvm"]


class Kvmed(FakeKernel):
    """A machine with modprobe(8), gpasswd(1), getent(1) and a node whose owner and mode can be set without being root."""

    device: tuple[int, int, int]
    # What a module answers to being loaded.
    broken: frozenset[str] = frozenset()
    directory: str = ""

    def device_number(self, path: str) -> str | None:
        return "10:232" if path == "/dev/kvm" and self.exists(path) else super().device_number(path)

    def mode_and_owner(self, path: str) -> tuple[int, int, int] | None:
        found = super().mode_and_owner(path)
        return self.device if path == "/dev/kvm" and found else found

    def give(self, path: str, mode: int, owner: tuple[int, int]) -> None:
        with self._faulty("give", path):
            self.device = (mode, *owner)

    def path(self, path: str) -> Path:
        return Path(self.root + path)

    def put(self, path: str, text: str) -> None:
        self.path(path).parent.mkdir(parents=True, exist_ok=True)
        self.path(path).write_text(text, encoding="utf-8")

    def _command(self, command: list[str]) -> Completed:
        self.commands.append(command)
        if command[:2] == ["modprobe", "-r"]:
            return self._unload(command[2])
        if command[0] == "modprobe":
            return self._insert(command[1], dict(word.split("=") for word in command[2:]))
        if command[0] == "gpasswd":
            return self._gpasswd(*command[1:])
        if command[0] == "getent":
            return Completed(0 if self.directory else 2, self.directory, "")
        return Completed(0, "", "")

    def _insert(self, name: str, parameters: dict[str, str]) -> Completed:
        if name in self.broken:
            return Completed(1, "", f"modprobe: ERROR: could not insert '{name}': Operation not supported\n")
        if not self.exists(f"/sys/module/{name}"):
            self.put(f"/sys/module/{name}/initstate", "live\n")
            node = {"kvm_intel": "/dev/kvm", "vhost_net": "/dev/vhost-net", "vhost_vsock": "/dev/vhost-vsock"}.get(name)
            if node:
                self.put(node, "")
            if name == "kvm_intel":
                self.put("/sys/class/misc/kvm/dev", "10:232\n")
                self.put("/sys/module/kvm_intel/refcnt", "0\n")
                found = re.search(r"kvm_intel nested=(\d)", self.read(OPTIONS) or "")
                value = parameters.get("nested") or (found.group(1) if found else "1")
                self.put(NESTED, "Y\n" if value == "1" else "N\n")
                self.device = (0o666, 0, 36)
        return Completed(0, "", "")

    def _unload(self, name: str) -> Completed:
        if (self.integer(f"/sys/module/{name}/refcnt") or 0) > 0:
            return Completed(1, "", f"modprobe: FATAL: Module {name} is in use.\n")
        for folder in (f"/sys/module/{name}", "/sys/class/misc/kvm"):
            shutil.rmtree(self.path(folder))
        self.path("/dev/kvm").unlink()
        return Completed(0, "", "")

    def _gpasswd(self, how: str, user: str, group: str) -> Completed:
        lines = (self.read("/etc/group") or "").splitlines()
        for index, line in enumerate(lines):
            name, password, gid, members = line.split(":")
            if name == group:
                found = [member for member in members.split(",") if member and member != user]
                found += [user] if how == "-a" else []
                lines[index] = ":".join((name, password, gid, ",".join(found)))
        self.path("/etc/group").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return Completed(0, "", "")


Node = Callable[..., Kvmed]


@pytest.fixture(autouse=True)
def answers(monkeypatch: pytest.MonkeyPatch) -> FakeKvm:
    """A KVM that answers, on x86."""
    fake = FakeKvm()
    monkeypatch.setattr(fcntl, "ioctl", fake.ioctl)
    monkeypatch.setattr(kvm_facts, "_machine", lambda: "x86_64")
    return fake


@pytest.fixture
def node(machine: Machine) -> Node:
    """``node()`` has KVM loaded and no vhost; ``node(loaded=False)`` has it on disk alone."""

    def make(
        files: Files | None = None, without: Iterable[str] = (), loaded: bool = True, tree: str = "el9-sriov"
    ) -> Kvmed:
        have = {**COMMON, **(KVM_LOADED if loaded else {}), **(files or {})}
        gone = [*without, "/sys/module/kvm_intel/parameters/tdx", *NO_VHOST, *([] if loaded else NO_KVM)]
        have = {
            path: text for path, text in have.items() if not any(path.startswith(path_gone) for path_gone in without)
        }
        host = Kvmed(machine(tree, have, gone).root)
        host.device = (0o600, 0, 0)
        return host

    return make


def params(**given: Any) -> dict[str, Any]:
    none = dict.fromkeys(("vhost_net", "vhost_vsock", "tun", "nested", "device", "users", "require", "probe"))
    return {**none, "reload": False, "persist": True, "state": "present", **given}


def device(owner: str | None = None, group: str | None = None, mode: str | None = None) -> dict[str, Any]:
    return {"owner": owner, "group": group, "mode": mode}


def run(host: Kvmed, check: bool = False, **given: Any) -> Result:
    return converge(Kvm(host), params(**given), check)


def seen(host: Kvmed, but: Iterable[str] = ()) -> dict[str, Any]:
    return {**snapshot(host, but), "/dev/kvm": (host.device, host.exists("/dev/kvm"))}


def changes(result: Result) -> list[tuple[str, str]]:
    return [(change.kind, change.target) for change in result.changes]


def guest(host: Kvmed, pid: int, name: str, *links: str) -> None:
    host.put(f"/proc/{pid}/comm", f"{name}\n")
    host.path(f"/proc/{pid}/fd").mkdir()
    for number, link in enumerate(links):
        host.path(f"/proc/{pid}/fd/{number}").symlink_to(link)


def process(host: Kvmed, pid: int, name: str, uid: int, groups: str, unit: str = "") -> None:
    host.put(f"/proc/{pid}/comm", f"{name}\n")
    host.put(
        f"/proc/{pid}/status",
        f"Name:\t{name}\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nGid:\t{uid}\t\nGroups:\t{groups} \nNSpid:\t{pid}\n",
    )
    host.put(f"/proc/{pid}/cgroup", f"0::/system.slice/{unit}\n")


ALL: dict[str, Any] = {
    "vhost_net": True,
    "vhost_vsock": True,
    "tun": True,
    "nested": True,
    "device": device(None, "kvm", "0660"),
    "users": ["alice", "first"],
}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "modules alone": ({}, {}),
    "everything": ({}, ALL),
    "nested at once": ({}, {**ALL, "reload": True}),
    "not persisted": ({}, {**ALL, "nested": None, "persist": False}),
    "required": ({}, {**ALL, "require": "kubevirt"}),
    "loaded": ({"loaded": False}, {"vhost_net": True, "probe": "passive"}),
    "loaded nested": (
        {"loaded": False},
        {"nested": False, "device": device("root", "kvm", "0660"), "probe": "passive"},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_check_mode_changes_nothing_and_foretells_the_run_which_a_second_run_leaves_alone(
    node: Node, case: str
) -> None:
    how, given = CASES[case]
    host = node(**how)
    untouched = seen(host)
    foretold = run(host, check=True, **given)
    assert seen(host) == untouched
    assert not [command for command in host.commands if command[0] != "getent"]
    real = run(host, **given)
    assert real.changed
    assert foretold.changes == real.changes
    told, found = dict(foretold.after), dict(real.after)
    if not how.get("loaded", True):
        # What KVM answers once it is loaded, and what udev then makes of the node, is not foretold.
        assert (told["verdict"], found["api_version"]) == ("unproven", 12)
        unknown = (
            "verdict",
            "proven",
            "reasons",
            "api_version",
            "profiles",
            *(() if given.get("device") else ("device", "users", "group")),
        )
        unknown += () if "nested" in given else ("nested",)
        told, found = ({key: value for key, value in facts.items() if key not in unknown} for facts in (told, found))
    assert told == found
    applied = seen(host)
    for check in (True, False):
        again = run(host, check, **given)
        assert (again.changed, again.changes, again.diff) == (False, (), ())
    assert seen(host) == applied


@pytest.mark.parametrize("case", CASES)
def test_absent_puts_all_back_but_modules_which_stay_loaded_and_are_named(node: Node, case: str) -> None:
    how, given = CASES[case]
    host = node(**how)
    before = seen(host)
    run(host, **given)
    loaded = [name for name in ("kvm", "kvm_intel", "vhost_net", "vhost_vsock") if host.exists(f"/sys/module/{name}")]
    result = run(host, state="absent")
    left = {path for path in different(before, seen(host)) if not path.startswith(("/sys", "/dev/vhost", "/var"))}
    folders = {"/etc/modules-load.d", "/etc/modprobe.d", "/etc/udev", "/etc/udev/rules.d", "/etc"}
    assert left - folders - ({"/dev/kvm"} if how else set()) == set()
    assert not host.exists(MANIFEST)
    assert ["modprobe", "-r"] not in [command[:2] for command in host.commands[-3:]]
    if given.get("persist", True):
        assert (
            f"{', '.join(loaded)} stay loaded until the next boot: no module is unloaded unasked"
            in result.verdict.warnings
        )
    assert not run(host, state="absent").changed


def test_the_files_come_first_and_hold_what_boots_read(node: Node) -> None:
    host = node()
    result = run(host, **ALL)
    assert changes(result) == [
        ("file", OPTIONS),
        ("file", RULES),
        ("file", LOADS),
        ("module", "vhost_net"),
        ("module", "vhost_vsock"),
        ("device", "/dev/kvm"),
        ("member", "kvm/alice"),
    ]
    texts = {path: (host.read(path) or "").splitlines() for path in (OPTIONS, RULES, LOADS)}
    assert all(lines[0].startswith(HEADER) for lines in texts.values())
    assert texts[OPTIONS][1:] == ["options kvm_intel nested=1"]
    # tun is built in.
    assert texts[LOADS][1:] == ["kvm", "kvm_intel", "vhost_net", "vhost_vsock"]
    assert texts[RULES][1:] == [
        'SUBSYSTEM=="misc", KERNEL=="kvm", GROUP="kvm"',
        'SUBSYSTEM=="misc", KERNEL=="kvm", MODE="0660"',
    ]
    assert host.device == (0o660, 0, 36)
    assert result.after["group"] == {"name": "kvm", "members": ["alice", "qemu"]}
    assert result.after["persisted"] == {
        "modules": ["kvm", "kvm_intel", "vhost_net", "vhost_vsock"],
        "nested": True,
        "device": {"group": "kvm", "mode": "0660"},
    }
    manifest = json.loads(host.read(MANIFEST) or "")
    assert manifest["devices"] == {
        "/dev/kvm": {"before": "0600 0 0", "by": "kvm", "after": "0660 0 36", "boot": (host.read(BOOT) or "").strip()}
    }
    assert manifest["members"] == {"kvm/alice": {"before": None, "by": "kvm"}}


def test_a_later_run_keeps_what_it_does_not_name_and_false_takes_a_module_from_the_next_boot(node: Node) -> None:
    host = node()
    run(host, **ALL)
    run(host, device=device(mode="0600"))
    assert host.device == (0o600, 0, 36)
    result = run(host, vhost_vsock=False)
    assert result.after["persisted"]["modules"] == ["kvm", "kvm_intel", "vhost_net"]
    assert result.after["modules"]["vhost_vsock"] == "loaded"
    assert result.verdict.warnings == ("vhost_vsock stays loaded until the next boot: no module is unloaded unasked",)
    assert 'KERNEL=="kvm", GROUP="kvm"' in (host.read(RULES) or "")


# options


@pytest.mark.parametrize(
    ("given", "option", "expected"),
    [
        ({"state": "absent", "tun": True}, "tun", "no value beside state absent"),
        ({"state": "absent", "require": "qemu"}, "require", "no value beside state absent"),
        ({"state": "absent", "users": []}, "users", "no value beside state absent"),
        ({"device": device()}, "device", "owner, group or mode"),
        # YAML reads an unquoted 0660 as the number 432.
        ({"device": device(mode="432")}, "device.mode", "four octal digits in quotes"),
        ({"device": device(mode="0680")}, "device.mode", "four octal digits in quotes"),
        ({"device": device(mode="4755")}, "device.mode", "four octal digits in quotes"),
        ({"device": device(mode="٠٦٦٠")}, "device.mode", "four octal digits in quotes"),
        ({"device": device(group="-r")}, "device.group", "a name"),
        ({"device": device(group="kvm", owner='x"\n')}, "device.owner", "a name"),
        ({"device": device(group="nobodys")}, "device.group", "a group of /etc/group"),
        ({"device": device(owner="nobodys")}, "device.owner", "a user of /etc/passwd"),
        ({"users": ["alice", "-d"]}, "users[1]", "a name"),
        ({"users": ["a:b"]}, "users[0]", "a name"),
        ({"users": ["a,b"]}, "users[0]", "a name"),
        ({"users": ["a/b"]}, "users[0]", "a name"),
        ({"device": device(group="kvm"), "users": ["alice", "ghost"]}, "users[1]", "a user that this machine knows"),
        # /dev/kvm is root's.
        ({"users": ["alice"]}, "device.group", "the group that users are to join"),
        ({"device": device(group="root"), "users": ["alice"]}, "device.group", "another group than root's"),
        ({"device": device(group="sudo"), "users": ["alice"]}, "device.group", "a group without other rights"),
        ({"reload": True}, "nested", "a value"),
        ({"nested": True, "persist": False}, "nested", "reload or persist to be true"),
    ],
)
def test_a_refused_option_is_named_with_what_is_expected(
    node: Node, given: dict[str, Any], option: str, expected: str
) -> None:
    host = node()
    before = seen(host)
    for check in (True, False):
        with pytest.raises(OptionError) as caught:
            run(host, check, **given)
        assert caught.value.details["option"] == option
        assert expected in caught.value.details["expected"]
    assert seen(host) == before


# modules


def test_modules_are_loaded_where_they_are_not_and_nothing_is_where_all_are_built_in(node: Node) -> None:
    host = node(loaded=False)
    run(host, vhost_net=True, tun=True)
    assert [command for command in host.commands if command[0] == "modprobe"] == [
        ["modprobe", "kvm"],
        ["modprobe", "kvm_intel"],
        ["modprobe", "vhost_net"],
    ]
    # What this machine was captured from: kvm_pvm built in, and no /proc/modules.
    built_in = node({}, ["/proc/modules"], tree="debian12-hybrid")
    shutil.rmtree(built_in.path("/sys/module/kvm_intel"))
    built_in.path("/sys/module/kvm/initstate").unlink()
    result = run(built_in, tun=True)
    assert (result.changed, built_in.commands) == (False, [])
    assert result.after["modules"]["kvm_pvm"] == "built_in"


@pytest.mark.parametrize(
    ("files", "links", "expected"),
    [
        ({"/sys/module/tun/initstate": "live"}, [], "loaded"),
        ({"/proc/modules": "tun 61440 2 vhost_net, Live 0x0"}, [], "loaded"),
        ({"/sys/module/tun/parameters/x": "1"}, [], "built_in"),
        ({"/sys/class/misc/tun/dev": "10:200"}, [], "built_in"),
        ({f"{DISK}/modules.builtin": "kernel/drivers/net/tun.ko"}, [], "built_in"),
        ({f"{DISK}/modules.dep": "kernel/drivers/net/tun.ko.zst: x"}, [], "available"),
        ({f"{DISK}/modules.dep": "/lib/modules/x/tun.ko:"}, [], "available"),
        ({f"{DISK}/modules.dep": "kernel/drivers/net/atun.ko: tun.ko"}, [], "missing"),
        ({"/proc/sys/kernel/osrelease": "../../etc"}, [], "missing"),
        ({"/proc/modules": "atun 1 2\nxtun 1 2"}, [], "missing"),
        ({}, [], "missing"),
    ],
)
def test_what_a_module_is(machine: Machine, files: Files, links: list[str], expected: str) -> None:
    host = machine("no-hugepages", {"/proc/sys/kernel/osrelease": RELEASE, **files})
    assert kvm_modules.states(host, ["tun"]) == {"tun": expected}


def test_all_modules_that_are_nowhere_are_refused_at_once_before_the_first_write(node: Node) -> None:
    host = node({f"{DISK}/modules.dep": "", "/etc/modprobe.d/no.conf": "install vhost-net /bin/false"})
    before = seen(host)
    for check in (True, False):
        with pytest.raises(UnmetError) as caught:
            run(host, check, vhost_net=True, vhost_vsock=True, device=device(mode="0660"))
        unmet = caught.value.details["unmet"]
        assert [(item["target"], item["wanted"], item["got"]) for item in unmet] == [
            ("vhost_net", "loaded", "missing"),
            ("vhost_vsock", "loaded", "missing"),
        ]
        assert "/etc/modprobe.d/no.conf holds 'install vhost-net /bin/false'" in unmet[0]["reason"]
    assert seen(host) == before


@pytest.mark.parametrize(
    ("files", "without", "reason"),
    [
        ({"/proc/sys/kernel/modules_disabled": "1"}, [], "kernel.modules_disabled is 1"),
        ({}, ["/proc/modules"], "this kernel has no loadable modules"),
    ],
)
def test_a_kernel_that_loads_no_modules_is_told(node: Node, files: Files, without: list[str], reason: str) -> None:
    host = node(files, without)
    with pytest.raises(UnmetError, match=reason):
        run(host, vhost_net=True)
    assert not host.commands


@pytest.mark.parametrize(
    ("files", "persist", "refused"),
    [
        ({"/etc/modprobe.d/a.conf": "blacklist vhost-net"}, True, "/etc/modprobe.d/a.conf holds 'blacklist vhost-net'"),
        # modprobe by name does not care.
        ({"/etc/modprobe.d/a.conf": "blacklist vhost_net"}, False, None),
        ({"/usr/lib/modprobe.d/a.conf": "install vhost_net /usr/bin/true"}, False, "vhost_net is not loaded. Remove"),
        ({"/lib/modprobe.d/a.conf": "install \\\nvhost_net /bin/false"}, True, "'install vhost_net /bin/false'"),
        ({"/etc/modprobe.d/a.conf": "install vhost_net /sbin/modprobe --ignore-install vhost_net"}, True, None),
        ({"/etc/modprobe.d/a.conf": "#blacklist vhost_net\nblacklist vhost"}, True, None),
        ({"/etc/modprobe.d/a.conf": "", "/usr/lib/modprobe.d/a.conf": "blacklist vhost_net"}, True, None),
        ({"/etc/modprobe.d/a.bak": "blacklist vhost_net"}, True, None),
        ({"/proc/cmdline": "quiet modprobe.blacklist=x,vhost-net"}, True, "/proc/cmdline holds"),
        ({"/proc/cmdline": "quiet module_blacklist=vhost_net"}, False, "/proc/cmdline holds"),
    ],
)
def test_who_denies_a_module_is_named(node: Node, files: Files, persist: bool, refused: str | None) -> None:
    host = node(files)
    if refused is None:
        assert run(host, vhost_net=True, persist=persist).changed
        return
    before = seen(host)
    with pytest.raises(OwnerError, match=re.escape(refused)):
        run(host, True, vhost_net=True, persist=persist)
    assert seen(host) == before


def test_a_cpu_without_virtualization_is_told_before_a_module_is_tried(node: Node) -> None:
    host = node({"/proc/cpuinfo": "vendor_id : GenuineIntel\nflags : fpu"}, loaded=False)
    with pytest.raises(UnmetError, match="the CPU does not show svm or vmx"):
        run(host)
    assert not host.commands


def test_kvm_that_is_built_in_and_does_not_work_is_told(node: Node) -> None:
    host = node({"/sys/module/kvm/x": "", "/sys/module/kvm_intel/x": ""}, loaded=False)
    host.put("/sys/module/kvm/x", "")
    host.put("/sys/module/kvm_intel/x", "")
    with pytest.raises(UnmetError, match="module: the kernel has registered no KVM"):
        run(host, True)


def test_a_node_that_is_not_there_though_kvm_is_cannot_be_given_to_a_group(node: Node) -> None:
    with pytest.raises(UnmetError, match="device: /dev/kvm is not there, though the kernel has KVM"):
        run(node(without=["/dev/kvm"]), True, device=device(mode="0660"))


def test_a_container_that_is_shown_no_modules_has_kvm_all_the_same(node: Node) -> None:
    host = node(without=["/sys/module", "/proc/modules", "/lib/modules"])
    result = run(host, device=device(None, "kvm", "0660"), persist=False, require="passthrough")
    assert changes(result) == [("device", "/dev/kvm")]
    assert (result.after["module"], result.after["modules"]["kvm"]) == (None, "built_in")


def test_a_module_that_was_loaded_before_a_later_failure_stays_and_is_named(node: Node) -> None:
    host = node(loaded=False)
    host.broken = frozenset({"kvm_intel"})
    before = seen(host)
    with pytest.raises(HostError, match="Operation not supported") as caught:
        run(host, device=device(mode="0660"))
    assert caught.value.details["not_undone"] == [
        {"what": "kvm", "reason": "it was loaded and stays so: no module is unloaded unasked"}
    ]
    assert {p for p in different(before, seen(host)) if p.startswith("/etc") and host.is_file(p)} == set()
    assert not host.exists(MANIFEST)


@pytest.mark.parametrize(
    ("without", "given", "message"),
    [
        (["/usr/sbin/modprobe"], {"vhost_net": True}, "install the package kmod"),
        (["/usr/bin/gpasswd"], {"device": device(group="kvm"), "users": ["alice"]}, "install the package passwd"),
        (["/run/systemd"], {}, "nothing here loads modules of modules-load.d at boot"),
        (["/run/udev"], {"device": device(group="kvm")}, "no udev runs here"),
    ],
)
def test_what_this_machine_cannot_do_is_told_before_the_first_write(
    node: Node, without: list[str], given: dict[str, Any], message: str
) -> None:
    host = node({}, without)
    before = seen(host)
    for check in (True, False):
        with pytest.raises(BulwarkError, match=message):
            run(host, check, **given)
    assert seen(host) == before


# nested


def test_nested_is_staged_and_says_that_a_reload_is_needed_also_the_second_time(node: Node) -> None:
    host = node()
    for changed in (True, False):
        result = run(host, nested=True)
        assert (result.changed, result.verdict.reboot_required, result.verdict.disruptive) == (changed, True, ())
        assert result.after["nested"] is False
        assert [(item.target, item.wanted, item.got) for item in result.verdict.unmet] == [("nested", True, False)]
    assert not [command for command in host.commands if command[0] == "modprobe"]


def test_a_reload_is_a_consent_is_listed_and_keeps_the_node_as_it_was(node: Node) -> None:
    host = node()
    host.device = (0o640, 0, 107)
    for check in (True, False):
        result = run(host, check, nested=True, reload=True)
        assert [item["target"] for item in result.verdict.disruptive] == ["kvm_intel"]
        assert (result.after["nested"], result.verdict.reboot_required, result.verdict.unmet) == (True, False, ())
    assert [command for command in host.commands if command[0] == "modprobe"] == [
        ["modprobe", "-r", "kvm_intel"],
        ["modprobe", "kvm_intel", "nested=1"],
    ]
    assert host.device == (0o640, 0, 107)


@pytest.mark.parametrize("reload", [False, True])
def test_nested_is_refused_while_guests_run_which_are_named(node: Node, reload: bool) -> None:
    host = node({"/sys/module/kvm_intel/refcnt": "4"})
    guest(host, 812, "qemu-kvm", "/dev/kvm", "anon_inode:kvm-vm", "anon_inode:kvm-vcpu:0")
    guest(host, 9, "other", "/dev/null", "anon_inode:[eventfd]")
    before = seen(host)
    for check in (True, False):
        with pytest.raises(BulwarkError, match=r"guests run, .* again: 'qemu-kvm' \(process 812\)\. Stop or move"):
            run(host, check, nested=True, reload=reload)
    assert seen(host) == before
    # What it has it may keep.
    assert run(host, nested=False).verdict.reboot_required is False


def test_a_guest_that_was_started_after_staging_does_not_fail_the_next_run(node: Node) -> None:
    host = node()
    run(host, nested=True)
    host.put("/sys/module/kvm_intel/refcnt", "4")
    guest(host, 812, "qemu-kvm", "anon_inode:kvm-vm")
    result = run(host, nested=True)
    assert (result.changed, result.verdict.reboot_required) == (False, True)


def test_what_holds_the_device_without_a_guest_is_in_the_way_of_a_reload_alone(node: Node) -> None:
    host = node({"/sys/module/kvm_intel/refcnt": "1"})
    guest(host, 77, "libvirtd", "/dev/kvm")
    with pytest.raises(BulwarkError, match=r"in use by 'libvirtd' \(process 77\)"):
        run(host, True, nested=True, reload=True)
    assert run(host, nested=True).changed


def test_a_module_in_use_by_what_is_not_seen_is_taken_for_a_guest(node: Node) -> None:
    with pytest.raises(BulwarkError, match="in use by something that is not seen here"):
        run(node({"/sys/module/kvm_intel/refcnt": "2"}), True, nested=True)


def test_nested_of_a_module_that_is_built_in_is_an_argument_of_the_boot(node: Node) -> None:
    host = node()
    for name in ("kvm", "kvm_intel"):
        host.path(f"/sys/module/{name}/initstate").unlink()
    with pytest.raises(OptionError, match=r"must be booted with kvm_intel\.nested=1"):
        run(host, nested=True)
    assert run(host, nested=False).changed is False


def test_nested_of_a_module_without_the_parameter_is_refused(node: Node) -> None:
    host = node(without=[NESTED])
    with pytest.raises(OptionError, match="kvm_intel shows no parameter nested"):
        run(host, True, nested=True)


@pytest.mark.parametrize(
    ("files", "refused", "warned"),
    [
        ({"/proc/cmdline": "quiet kvm-intel.nested=0"}, "/proc/cmdline sets kvm_intel.nested to 0 and wins", None),
        ({"/proc/cmdline": "kvm_intel.nested=0 kvm_intel.nested=1"}, None, None),
        ({"/etc/modprobe.d/zzz.conf": "options kvm-intel ept=1 nested=0"}, "/etc/modprobe.d/zzz.conf sets", None),
        ({"/etc/modprobe.d/zzz.conf": "options kvm_intel nested"}, None, None),
        ({"/lib/modprobe.d/zzz.conf": "options kvm_intel \\\n nested=N"}, "/lib/modprobe.d/zzz.conf sets", None),
        (
            {"/etc/modprobe.d/kvm.conf": "options kvm_intel nested=0"},
            None,
            "/etc/modprobe.d/kvm.conf sets kvm_intel.nested to 0",
        ),
        ({"/etc/modprobe.d/kvm.conf": "options kvm_amd nested=0"}, None, None),
    ],
)
def test_who_else_sets_nested_wins_or_is_a_warning(
    node: Node, files: Files, refused: str | None, warned: str | None
) -> None:
    host = node(files)
    if refused:
        with pytest.raises(OwnerError, match=re.escape(refused)):
            run(host, True, nested=True)
        return
    warnings = run(host, nested=True).verdict.warnings
    assert [warned in warning for warning in warnings] == [True] if warned else not warnings


# the device and its users


@pytest.mark.parametrize(
    ("files", "refused", "warned"),
    [
        ({"/usr/lib/udev/rules.d/50-udev-default.rules": 'KERNEL=="kvm", GROUP="kvm", MODE="0666"'}, None, 0),
        ({"/etc/udev/rules.d/65-kvm.rules": 'KERNEL=="kvm", GROUP="qemu", MODE="0666"'}, None, 2),
        ({"/etc/udev/rules.d/65-kvm.rules": 'KERNEL=="kvm", MODE="660"'}, None, 0),
        (
            {"/etc/udev/rules.d/99-kvm.rules": 'KERNEL=="kvm", MODE="0666"'},
            "99-kvm.rules sets MODE to 0666 and wins",
            0,
        ),
        ({"/lib/udev/rules.d/99-z.rules": 'KERNEL=="k*", SUBSYSTEM=="misc", GROUP="qemu"'}, "sets GROUP to qemu", 0),
        (
            {"/lib/udev/rules.d/40-x.rules": 'KERNEL=="kvm|tun", MODE:="0666"'},
            "40-x.rules sets MODE to 0666 and wins",
            0,
        ),
        ({"/lib/udev/rules.d/99-z.rules": 'KERNEL=="kvm", SUBSYSTEM=="block", GROUP="qemu"'}, None, 0),
        ({"/lib/udev/rules.d/99-z.rules": '#KERNEL=="kvm", GROUP="qemu"\nKERNEL!="kvm", GROUP="qemu"'}, None, 0),
        ({"/lib/udev/rules.d/99-z.rules": 'KERNEL=="kvm", \\\n  GROUP="qemu"'}, "sets GROUP to qemu", 0),
        ({"/lib/udev/rules.d/99-z.rules": 'KERNEL=="kvm", RUN+="/bin/x GROUP=qemu"'}, None, 0),
        ({"/lib/udev/rules.d/99-z.rules": 'KERNEL=="[z-a]|kv[", GROUP="qemu"\nKERNEL=="kvm, GROUP='}, None, 0),
    ],
)
def test_who_else_sets_the_node_wins_or_is_a_warning(
    node: Node, files: Files, refused: str | None, warned: int
) -> None:
    host, given = node(files), device("root", "kvm", "0660")
    if refused:
        with pytest.raises(OwnerError, match=re.escape(refused)):
            run(host, True, device=given)
        assert run(host, device=given, persist=False).changed
    else:
        assert len(run(host, device=given).verdict.warnings) == warned


def test_a_mode_that_lets_everybody_in_and_one_that_keeps_members_out_are_warnings(node: Node) -> None:
    host = node()
    assert run(host, True, device=device(None, "kvm", "0666")).verdict.warnings == (
        "/dev/kvm has the mode 0666: every local user may run guests",
    )
    assert run(host, True, device=device(group="kvm"), users=["alice"]).verdict.warnings == (
        "/dev/kvm has the mode 0600: members of kvm may not read and write it",
    )
    (warning,) = run(host, True, device=device(None, "people", "0660")).verdict.warnings
    assert warning.startswith("device.group: people (1002) is none of the system's")


def test_absent_ends_only_the_memberships_that_we_began(node: Node) -> None:
    host = node()
    host.device = (0o660, 0, 36)
    assert run(host, users=["qemu", "first", "alice"]).after["group"] == {"name": "kvm", "members": ["alice", "qemu"]}
    # The one is a member already, and the other has it as the first group.
    assert [command[1:] for command in host.commands if command[0] == "gpasswd"] == [["-a", "alice", "kvm"]]
    run(host, state="absent")
    assert "kvm:x:36:qemu\n" in (host.read("/etc/group") or "")


@pytest.mark.parametrize("persist", [True, False])
@pytest.mark.parametrize("booted", [True, False])
@pytest.mark.parametrize("changed", [True, False])
def test_absent_gives_back_only_a_node_that_is_still_as_we_set_it(
    node: Node, persist: bool, booted: bool, changed: bool
) -> None:
    host = node()
    run(host, device=device(None, "kvm", "0660"), persist=persist)
    if changed:
        host.device = (0o666, 0, 1002)
    if booted:
        host.put(BOOT, "00000000-0000-4000-8000-000000000000\n")
    left = host.device
    ours = not changed and (persist or not booted)
    foretold = run(host, True, state="absent")
    real = run(host, state="absent")
    assert (foretold.changes, foretold.after, foretold.verdict) == (real.changes, real.after, real.verdict)
    assert host.device == ((0o600, 0, 0) if ours else left)
    told = [text for text in real.verdict.warnings if text.startswith("/dev/kvm")]
    what = "0666 root:people" if changed else "0660 root:kvm"
    because = (
        f"/dev/kvm: forgotten, not given back: it is {what}, made anew or changed by another since this module set it"
    )
    assert told == ([] if ours else [because])
    assert not host.exists(MANIFEST)
    again = run(host, state="absent")
    assert (again.changed, again.verdict.warnings, host.device) == (False, (), (0o600, 0, 0) if ours else left)


def test_absent_leaves_what_is_of_others_in_our_files_and_names_it(node: Node) -> None:
    host = node()
    run(host, device=device(None, "kvm", "0660"), vhost_net=True)
    for path in (LOADS, RULES):
        assert host.read(path) is not None
    host.put(LOADS, (host.read(LOADS) or "").split("\n", 1)[1])
    theirs = 'KERNEL=="tun", MODE="0666"\n'
    host.put(RULES, (host.read(RULES) or "") + theirs)
    foretold, real = run(host, True, state="absent"), run(host, state="absent")
    assert (foretold.changes, foretold.verdict) == (real.changes, real.verdict)
    assert host.read(RULES) == theirs
    assert host.read(LOADS) is not None
    (lost,) = [text for text in real.verdict.warnings if text.startswith(LOADS)]
    assert "forgotten, not given back" in lost
    assert [text for text in real.verdict.warnings if text.startswith(RULES)] == [
        f"{RULES} keeps the lines in it that are not this collection's, and is not ours any more"
    ]
    assert not host.exists(MANIFEST)
    assert not run(host, state="absent").changed


def test_what_was_before_is_of_this_boot(node: Node) -> None:
    host = node()
    run(host, device=device(mode="0660"), persist=False)
    host.put(BOOT, "00000000-0000-4000-8000-000000000000\n")
    host.device = (0o640, 0, 36)
    run(host, device=device(mode="0666"), persist=False)
    run(host, device=device(mode="0662"), persist=False)
    run(host, state="absent")
    assert host.device == (0o640, 0, 36)


def test_a_node_that_was_being_given_back_is_given_back(node: Node) -> None:
    host = node()
    run(host, device=device(mode="0660"))
    host.fault = WriteFault(1, False, False)
    for number in itertools.count(1):
        host.log.clear()
        host.fault = WriteFault(number, False, False)
        if failure(partial(run, host, state="absent")) is None:
            break
        assert host.device == (0o660, 0, 0)
    host.fault = None
    run(host, state="absent")
    assert (host.device, host.exists(MANIFEST)) == ((0o600, 0, 0), False)


@pytest.mark.parametrize("given", [ALL, {"device": device(mode="0660"), "users": [], "persist": False}])
def test_absent_settles_what_a_killed_run_recorded_and_never_wrote(node: Node, given: dict[str, Any]) -> None:
    host = node()
    before = snapshot(host, [MANIFEST])
    run(host, **given)
    manifest = host.read(MANIFEST) or ""
    run(host, state="absent")
    host.put(MANIFEST, manifest)
    assert not run(host, True, state="absent").changed
    assert host.exists(MANIFEST)
    assert not run(host, state="absent").changed
    assert not host.exists(MANIFEST)
    assert {path for path in different(before, snapshot(host, [MANIFEST])) if host.is_file(path)} <= {
        path for path in snapshot(host) if path.startswith(("/sys", "/dev/vhost", "/etc/group"))
    }


@pytest.mark.parametrize("group", sorted(kvm_guard._PRIVILEGED))
def test_a_device_may_have_a_group_that_nobody_may_join_for_it(node: Node, group: str) -> None:
    host = node({"/etc/group": f"root:x:0:\n{group}:x:36:\n"})
    assert run(host, True, device=device(None, group, "0660")).changed
    before = seen(host)
    for check in (True, False):
        with pytest.raises(OptionError, match=r"device\.group: got .*, expected a group without other rights"):
            run(host, check, device=device(group=group), users=["alice"])
    assert seen(host) == before


def test_a_user_of_a_directory_may_join_but_a_directorys_group_is_set_elsewhere(node: Node) -> None:
    host = node()
    host.directory = "corp:*:70001:70001::/home/corp:/bin/sh\n"
    assert changes(run(host, device=device(group="kvm"), users=["corp"]))[-1] == ("member", "kvm/corp")
    host.directory = "corporal:*:70001:70001::/:/bin/sh\n"
    with pytest.raises(OptionError, match=r"users\[0\]"):
        run(host, users=["corpora"], device=device(group="kvm"))
    host.device = (0o660, 0, 70000)
    with pytest.raises(OptionError, match=r"device\.group: got '70000', expected a group of /etc/group"):
        run(host, users=["alice"])


def test_what_runs_without_the_membership_is_listed_until_it_is_started_again(node: Node) -> None:
    host = node()
    process(host, 40, "qemu", 107, "107", "guest.service")
    process(host, 41, "bash", 1001, "1001", "session-3.scope")
    process(host, 42, "vim", 1001, "1001 27", "session-3.scope")
    process(host, 43, "cron", 1001, "1001 36", "cron.service")
    process(host, 44, "sh", 1001, "", "")
    expected = (
        {"unit": "session-3.scope", "reason": "it began before alice was in kvm: bash (41), vim (42)"},
        {"unit": "sh (44)", "reason": "it began before alice was in kvm: sh (44)"},
    )
    given = {"device": device(None, "kvm", "0660"), "users": ["alice"]}
    for check in (True, False, False):
        assert run(host, check, **given).verdict.restart_required == expected


# require


def test_each_profile_can_be_required() -> None:
    # Its options are read on every node that settings runs on, which the rules of the profiles need not be.
    assert ARGUMENT_SPEC["require"]["choices"] == list(PROFILES)


def test_everything_that_a_use_lacks_is_told_at_once_and_nothing_is_changed(node: Node, answers: FakeKvm) -> None:
    answers.refuses = {0xAE01: 16}
    host = node(without=["/dev/net/tun"])
    host.device = (0o600, 0, 36)
    before = seen(host)
    for check in (True, False):
        with pytest.raises(UnmetError) as caught:
            run(host, check, require="qemu", device=device(group="kvm"))
        assert [(item["target"], item["got"]) for item in caught.value.details["unmet"]] == [
            ("vm", "unavailable"),
            ("qemu_user", "fail"),
            ("tun", "fail"),
        ]
        assert "another hypervisor holds" in str(caught.value)
        assert "Set tun to true." in str(caught.value)
    assert seen(host) == before


def test_what_the_run_sets_right_is_not_missing(node: Node) -> None:
    host = node()
    with pytest.raises(UnmetError, match="kubevirt_vhost_net"):
        run(host, True, require="kubevirt")
    result = run(host, require="kubevirt", vhost_net=True)
    assert result.after["profiles"]["kubevirt"] == {"verdict": "ready", "reasons": []}
    assert result.after["proven"][-1] == "real_mode_guest"
    with pytest.raises(UnmetError, match="qemu_user"):
        run(host, True, require="qemu")
    assert run(host, require="qemu", device=device(None, "kvm", "0660")).after["users"] == {"qemu": True}


def test_what_only_slows_guests_down_is_a_warning(node: Node) -> None:
    result = run(node(), require="qemu", device=device(None, "kvm", "0660"))
    assert result.verdict.warnings == (
        "qemu: /dev/vhost-net is not there: load the module vhost_net: networks of guests are slow without it",
    )


def test_kvm_that_is_yet_to_be_loaded_is_proven_afterwards_and_undone_where_it_fails(
    node: Node, answers: FakeKvm
) -> None:
    host = node(loaded=False)
    assert run(host, True, require="passthrough").after["verdict"] == "unproven"
    answers.refuses = {0xAE01: 16}
    with pytest.raises(UnmetError, match="another hypervisor holds") as caught:
        run(host, require="passthrough")
    assert [item["what"] for item in caught.value.details["not_undone"]] == ["kvm_intel", "kvm"]
    assert not host.exists(LOADS)
    answers.refuses = {}
    assert run(host, require="passthrough").after["verdict"] == "ready"


def test_passive_requires_without_a_proof_and_says_so(node: Node) -> None:
    result = run(node(), require="passthrough", probe="passive")
    assert result.after["verdict"] == "unproven"
    assert result.verdict.warnings == ("passthrough: no virtual machine was made: set probe to active",)


@pytest.mark.parametrize("given", [{}, {"probe": "passive"}])
def test_without_require_no_guest_is_made(node: Node, given: dict[str, Any]) -> None:
    assert run(node(), **given).after["proven"] == ["open", "api"]


# files of others, lost manifests, failures


@pytest.mark.parametrize("path", [LOADS, OPTIONS, RULES])
def test_a_file_of_somebody_else_at_our_path_is_not_touched(node: Node, path: str) -> None:
    host = node({path: "# theirs\n"})
    before = seen(host)
    with pytest.raises(OwnerError, match=f"{path} is there and is not ours"):
        run(host, **ALL)
    assert seen(host) == before


@pytest.mark.parametrize("path", [LOADS, OPTIONS, RULES])
def test_a_symlink_at_our_path_that_leads_elsewhere_is_refused(node: Node, path: str) -> None:
    host = node()
    host.path(path).parent.mkdir(parents=True)
    host.path(path).symlink_to("../../root/x.conf")
    before = seen(host)
    with pytest.raises(HostError, match="outside of its folder"):
        run(host, **ALL)
    assert seen(host) == before


def test_a_lost_manifest_is_told_once(node: Node) -> None:
    host = node()
    run(host, **ALL)
    host.remove(MANIFEST)
    warnings = run(host, nested=False).verdict.warnings
    assert [f"before {OPTIONS}" in warning for warning in warnings] == [True]
    assert run(host, nested=False).verdict.warnings == ()


def test_not_to_persist_warns_of_what_an_earlier_run_persisted_otherwise(node: Node) -> None:
    host = node()
    run(host, device=device(mode="0660"))
    assert run(host, device=device(mode="0600"), persist=False).verdict.warnings == (
        f"{RULES} still sets MODE to 0660 at the next boot",
    )


@pytest.mark.parametrize(
    "entry",
    [
        {"before": 7, "by": "kvm", "after": "", "boot": ""},
        {"before": None, "by": "kvm", "after": "", "boot": ""},
        {"by": "kvm", "after": "", "boot": ""},
        {"before": "0600 0 0", "by": "kvm", "boot": ""},
        {"before": "0600 0 0", "by": "kvm", "after": "", "boot": 1},
    ],
)
def test_a_manifest_that_is_none_is_told_and_not_overwritten(node: Node, entry: dict[str, Any]) -> None:
    text = json.dumps({"schema": 1, "devices": {"/dev/kvm": entry}})
    host = node({MANIFEST: text})
    with pytest.raises(HostError, match="is not a manifest of schema 1"):
        run(host, **ALL)
    assert (host.read(MANIFEST) or "").strip() == text


def test_a_membership_that_does_not_stay_fails_the_run_and_all_goes_back(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = node()
    before = seen(host)
    monkeypatch.setattr(host, "_gpasswd", lambda *words: Completed(0, "", ""))
    with pytest.raises(UnmetError, match="kvm/alice: 'member' was written and None read back"):
        run(host, device=device(None, "kvm", "0660"), users=["alice"])
    assert different(before, seen(host)) <= MADE_BY_US


def test_a_signal_undoes_what_was_done(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    host = node()
    before = seen(host)
    command = host._gpasswd

    def stopped(how: str, user: str, group: str) -> Completed:
        command(how, user, group)
        if how == "-a":
            raise Interrupted("stopped by SIGTERM")
        return Completed(0, "", "")

    monkeypatch.setattr(host, "_gpasswd", stopped)
    with pytest.raises(Interrupted) as caught:
        run(host, device=device(None, "kvm", "0660"), users=["alice"])
    assert caught.value.details["not_undone"] == []
    assert {path for path in different(before, seen(host)) if host.is_file(path)} == set()
    assert host.device == (0o600, 0, 0)


@pytest.mark.parametrize(("after", "on"), [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("what", ["present", "absent", "reload", "load"])
def test_whichever_write_fails_the_machine_is_as_before_or_the_rest_is_named(
    node: Node, after: bool, on: bool, what: str
) -> None:
    given: dict[str, Any] = {**ALL, "vhost_vsock": None, "nested": True, "reload": what == "reload"}
    wanted = {"state": "absent"} if what == "absent" else given
    for number in itertools.count(1):
        host = node(loaded=what != "load")
        if what == "absent":
            run(host, **given)
            host.log.clear()
        before = seen(host)
        host.fault = WriteFault(number, after, on)
        error = failure(partial(run, host, **wanted))
        if error is None:
            assert number > len(host.log), f"write {number} failed unnoticed"
            break
        left = {path for path in different(before, seen(host)) - MADE_BY_US if not re.search(r"^/(etc|sys|dev)$", path)}
        named = [item["what"] for item in error.details["not_undone"]]
        stays = {"kvm", "kvm_intel", "vhost_net"}.intersection(named)
        if set(named) - stays:
            left.discard(MANIFEST)
        left -= {
            path for path in left if path.startswith(("/sys/module/vhost_net", "/dev/vhost")) and "vhost_net" in stays
        }
        if {"kvm", "kvm_intel"} & stays or NESTED in named:
            left -= {path for path in left if path.startswith(("/sys/", "/dev/kvm"))}
        if "/etc/modules-load.d" in named or on:
            left -= {"/etc/modules-load.d", "/etc/modprobe.d", "/etc/udev", "/etc/udev/rules.d"}
        if "kvm/alice" in named:
            left.discard("/etc/group")
        assert on or after or not set(named) - stays, (number, host.log, named)
        assert left <= set(named), (number, left, host.log, error.details)
    assert number > 4


def test_our_reading_of_modprobe_d_holds_several_files_and_parameters(node: Node) -> None:
    host = node(
        {
            "/etc/modprobe.d/b.conf": "options kvm_intel nested=0 ept=0\noptions kvm-intel nested=1",
            "/usr/lib/modprobe.d/a.conf": "options kvm_intel nested=0",
            "/etc/modprobe.d/c.conf.rpmsave": "options kvm_intel nested=0",
        }
    )
    owners = kvm_persist.observe_options(host, ["kvm_intel.nested"]).owners
    assert [(owner.path, owner.value, owner.wins) for owner in owners] == [
        ("/usr/lib/modprobe.d/a.conf", "0", False),
        ("/etc/modprobe.d/b.conf", "0", False),
        ("/etc/modprobe.d/b.conf", "1", False),
    ]


def test_the_node_of_another_architecture_is_kvm_alone(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kvm_facts, "_machine", lambda: "aarch64")
    host = node({"/proc/cpuinfo": "CPU implementer : 0x41\nFeatures : fp"}, loaded=False)
    assert os.path.exists(host.path(f"{DISK}/modules.dep"))
    assert changes(run(host, True)) == [("file", LOADS), ("module", "kvm")]


def test_a_module_that_is_loaded_for_nested_is_loaded_once_and_with_it(node: Node) -> None:
    host = node(loaded=False)
    run(host, nested=False, persist=False)
    assert [command for command in host.commands if command[0] == "modprobe"] == [
        ["modprobe", "kvm"],
        ["modprobe", "kvm_intel", "nested=0"],
    ]


def test_a_reload_of_what_was_prepared_is_refused_while_guests_run(node: Node) -> None:
    host = node()
    run(host, nested=True)
    guest(host, 812, "qemu\n-kvm", "anon_inode:kvm-vm")
    with pytest.raises(BulwarkError, match=r"'qemu.{1,3}-kvm' .process 812."):
        run(host, nested=True, reload=True)


def test_a_device_that_cannot_be_opened_is_one_missing_piece(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    host = node()
    monkeypatch.setattr(host, "device_number", lambda path: "10:200")
    with pytest.raises(UnmetError) as caught:
        run(host, True, require="passthrough")
    assert [item["target"] for item in caught.value.details["unmet"]] == ["open"]


def test_what_udev_makes_of_a_node_that_is_yet_to_be_made_is_no_missing_piece(node: Node) -> None:
    host = node(loaded=False)
    assert run(host, True, require="qemu").after["verdict"] == "unproven"
    assert run(host, require="qemu").after["users"] == {"qemu": True}


def test_a_node_that_udev_made_so_from_the_first_stays_so_until_the_next_boot_and_that_is_told(node: Node) -> None:
    host = node(loaded=False)
    run(host, device=device(None, "kvm", "0666"))
    assert json.loads(host.read(MANIFEST) or "")["devices"] == {}
    warnings = run(host, state="absent").verdict.warnings
    assert warnings[-1] == "/dev/kvm keeps the mode 0666, its owner and its group until the next boot"
    assert host.device == (0o666, 0, 36)
    other = node()
    run(other, device=device(None, "kvm", "0666"))
    assert not [text for text in run(other, state="absent").verdict.warnings if text.startswith("/dev/kvm")]


def test_only_udev_minds_a_group_that_is_none_of_the_systems(node: Node) -> None:
    assert run(node(), True, device=device(None, "people", "0660"), persist=False).verdict.warnings == ()


def test_the_command_line_wins_over_files_that_sort_after_ours(node: Node) -> None:
    files = {"/proc/cmdline": "kvm_intel.nested=1", "/etc/modprobe.d/zzz.conf": "options kvm_intel nested=0"}
    (warning,) = run(node(files), nested=True).verdict.warnings
    assert warning.startswith("/etc/modprobe.d/zzz.conf sets kvm_intel.nested to 0")


def test_a_release_that_is_a_path_leads_nowhere(machine: Machine) -> None:
    host = machine("no-hugepages", {"/proc/sys/kernel/osrelease": "../../x", "/x/modules.dep": "kernel/tun.ko:"})
    assert kvm_modules.states(host, ["tun"]) == {"tun": "missing"}


def test_neither_a_containers_process_nor_one_whose_first_group_it_is_lacks_it(node: Node) -> None:
    host = node()
    process(host, 41, "sleep", 1001, "1001", "pod.scope")
    host.put("/proc/41/status", "Uid:\t1001\t1001\t1001\t1001\nGid:\t1001\nGroups:\t\nNSpid:\t41\t1\n")
    host.put("/proc/42/comm", "sg\n")
    host.put("/proc/42/status", "Uid:\t1001\t1001\t1001\t1001\nGid:\t36\t36\t36\t36\nGroups:\t1001\nNSpid:\t42\n")
    assert run(host, device=device(group="kvm", mode="0660"), users=["alice"]).verdict.restart_required == ()
