# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""KVM's verdict on captured and hand-built machines, with a KVM that answers, refuses, lies or hangs at each step."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import kvm_checks, kvm_facts, kvm_probe, kvm_users
from ansible_collections.bulwark.node.plugins.module_utils.node.request import Request
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import Machine

PASSIVE, ACTIVE = Request(), Request(active=True)
ALL = ["open", "api", "vm", "vcpu", "real_mode_guest"]
# The ioctls of virt/kvm/api.rst, by their numbers in linux/kvm.h.
API, VM, EXTENSION, SIZE, VCPU = 0xAE00, 0xAE01, 0xAE03, 0xAE04, 0xAE41
RUN, SET_SREGS, SET_REGS, MEMORY = 0xAE80, 0x4138AE84, 0x4090AE82, 0x4020AE46
OUT = (2, (1, 1, 0x10, 1, 64), 42)
GUEST_FLAGS = (
    "aes apic arat avx avx2 avx512f cx8 de fpu lm mce msr nx pae popcnt pse rdtscp sse sse2 sse4_1 sse4_2 ssse3 "
    "syscall tsc vme vmx x2apic xsave"
)
HALT = (5, (0, 0, 0, 0, 0), 0)


class Machined(Host):
    """A tree whose /dev/kvm, where it is there, is the device of this number: only root could make a real one."""

    number: str | None = "10:232"

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.opened: list[str] = []

    def open(self, path: str, flags: int = os.O_RDONLY) -> int | None:
        self.opened.append(path)
        return super().open(path, flags)

    def device_number(self, path: str) -> str | None:
        return self.number if path == "/dev/kvm" and self.exists(path) else super().device_number(path)


@dataclass
class FakeKvm:
    """KVM as its documentation says. ``refuses``: {ioctl: errno}; ``exits``: why the guest leaves, run by run."""

    refuses: dict[int, int] = field(default_factory=dict)
    api: int = 12
    capability: int = 1
    interrupts: int = 0
    exits: list[tuple[int, tuple[int, ...], int]] = field(default_factory=lambda: [OUT, HALT])
    hangs_at: int | None = None
    dies_at: int | None = None
    dies_by: int = signal.SIGTERM
    asked: list[int] = field(default_factory=list)

    def ioctl(self, descriptor: int, request: int, argument: Any = 0) -> int:
        self.asked.append(request)
        if request == VM and self.interrupts:
            self.interrupts -= 1
            raise InterruptedError(errno.EINTR, os.strerror(errno.EINTR))
        if request in self.refuses:
            raise OSError(self.refuses[request], os.strerror(self.refuses[request]))
        if request == self.hangs_at:
            time.sleep(60)
        if request == self.dies_at:
            os.kill(os.getpid(), self.dies_by)
        if request == RUN:
            reason, fields, value = self.exits.pop(0)
            os.pwrite(descriptor, struct.pack("=I", reason), 8)
            os.pwrite(descriptor, struct.pack("=BBHIQ", *fields), 32)
            os.pwrite(descriptor, bytes([value]), 64)
        if request in (VM, VCPU):
            made = os.memfd_create("kvm")
            os.truncate(made, 4096)
            return made
        return {API: self.api, EXTENSION: self.capability, SIZE: 4096}.get(request, 0)


Answers = Callable[..., FakeKvm]


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """Put a KVM in: ``answers(refuses={VM: errno.EBUSY})``."""

    def put(**how: Any) -> FakeKvm:
        fake = FakeKvm(**how)
        monkeypatch.setattr(fcntl, "ioctl", fake.ioctl)
        return fake

    return put


@pytest.fixture
def on(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Machined]:
    """A machine of an architecture: ``on("arm64-kvm", "aarch64", {files})``."""

    def make(tree: str, architecture: str = "x86_64", *args: Any, **more: Any) -> Machined:
        monkeypatch.setattr(kvm_facts, "_machine", lambda: architecture)
        return Machined(machine(tree, *args, **more).root)

    return make


On = Callable[..., Machined]


def statuses(facts: dict[str, Any]) -> dict[str, str]:
    return {check["name"]: check["status"] for check in facts["checks"]}


def verdicts(facts: dict[str, Any]) -> dict[str, str]:
    return {name: profile["verdict"] for name, profile in facts["profiles"].items()}


def sources(reasons: list[dict[str, str]]) -> list[str]:
    return [reason["source"] for reason in reasons]


# whole machines


def test_kvm_that_works_without_the_flag_is_ready_as_it_proved_itself(on: On, answers: Answers) -> None:
    answers()
    facts = kvm_facts.facts(on("debian12-hybrid"), ACTIVE)
    assert (facts["verdict"], facts["proven"], facts["api_version"]) == ("ready", ALL, 12)
    assert (facts["module"], facts["nested"]) == ("kvm_pvm", None)
    assert facts["reasons"] == [{"source": "nested", "detail": "kvm_pvm has no parameter of that name"}]
    assert verdicts(facts) == {"qemu": "degraded", "kubevirt": "unavailable", "passthrough": "unavailable"}
    assert sources(facts["profiles"]["kubevirt"]["reasons"]) == ["kubevirt_vhost_net"]
    assert sources(facts["profiles"]["passthrough"]["reasons"]) == ["iommu_groups", "vfio"]
    found = statuses(facts)
    assert {name for name, status in found.items() if status == "fail"} == {"kubevirt_vhost_net", "iommu_groups"}
    assert {name for name, status in found.items() if status == "unknown"} == {"firmware_lock"}
    assert found["hardware_virtualization"] == "pass"


def test_passive_opens_kvm_and_asks_for_its_version_alone(on: On, answers: Answers) -> None:
    fake = answers()
    facts = kvm_facts.facts(on("debian12-hybrid"), PASSIVE)
    assert (facts["verdict"], facts["proven"]) == ("unproven", ["open", "api"])
    assert fake.asked == [API]
    assert sources(facts["reasons"]) == ["vm", "nested"]
    # A warning, for it may yet turn out either way.
    assert statuses(facts)["hardware_virtualization"] == "warn"
    assert verdicts(facts)["qemu"] == "unproven"


def test_an_el9_host_is_ready_for_all_three_uses(on: On, answers: Answers) -> None:
    answers()
    host = on("el9-sriov")
    os.chmod(f"{host.root}/dev/kvm", 0o666)
    facts = kvm_facts.facts(host, ACTIVE)
    assert (facts["verdict"], facts["module"], facts["nested"], facts["reasons"]) == ("ready", "kvm_intel", True, [])
    assert verdicts(facts) == dict.fromkeys(kvm_checks.PROFILES, "ready")
    assert facts["users"] == {"qemu": True}
    assert facts["cpu"] == {
        "vendor": "GenuineIntel",
        "model": "Intel(R) Xeon(R) Gold 6348 CPU @ 2.60GHz",
        # Without ht, tm, pbe, constant_tsc, ept, hwp and their like: no guest sees them.
        "flags": GUEST_FLAGS.split(" "),
    }
    # In cgroup v2 the controller of devices is a program, of which no file tells.
    assert {name for name, status in statuses(facts).items() if status == "unknown"} == {"cgroup_devices"}
    assert statuses(facts)["firmware_lock"] == "pass"
    assert statuses(facts)["kubevirt_realtime"] == "pass"


def test_arm64_is_judged_without_flags_and_without_a_guest(on: On, answers: Answers) -> None:
    fake = answers()
    facts = kvm_facts.facts(on("arm64-kvm", "aarch64"), ACTIVE)
    assert (facts["verdict"], facts["proven"], facts["module"]) == ("ready", ["open", "api", "vm", "vcpu"], "kvm")
    assert RUN not in fake.asked
    found = statuses(facts)
    assert found["hardware_virtualization"] == found["firmware_lock"] == found["sev"] == "not_applicable"
    assert (found["iommu_firmware"], found["iommu_groups"]) == ("pass", "pass")
    assert (facts["cpu"]["vendor"], facts["cpu"]["model"]) == ("0x41", "0xd0c")
    assert "atomics" in facts["cpu"]["flags"]


# KVM's answers


@pytest.mark.parametrize(
    ("how", "verdict", "proven", "reason"),
    [
        ({"refuses": {API: errno.ENOTTY}}, "unavailable", 1, "cannot ask for its version: ENOTTY"),
        ({"api": 11}, "unavailable", 1, "KVM speaks version 11, expected 12"),
        ({"refuses": {VM: errno.EBUSY}}, "unavailable", 2, "EBUSY (Device or resource busy): another hypervisor holds"),
        ({"refuses": {VM: errno.ENOMEM}}, "unavailable", 2, "ENOMEM (Cannot allocate memory)"),
        ({"interrupts": 3}, "unavailable", 2, "EINTR (Interrupted system call)"),
        ({"capability": 0}, "unavailable", 2, "KVM lacks the capability KVM_CAP_USER_MEMORY"),
        ({"refuses": {VCPU: errno.EINVAL}}, "unavailable", 3, "EINVAL (Invalid argument)"),
        ({"dies_at": VCPU}, "unavailable", 3, "the process that tried it was ended by signal 15"),
        # As the kernel does when memory is short.
        ({"dies_at": VM, "dies_by": signal.SIGKILL}, "unavailable", 2, "was ended by signal 9"),
        ({"refuses": {MEMORY: errno.EINVAL}}, "degraded", 4, "EINVAL (Invalid argument)"),
        ({"refuses": {RUN: errno.EFAULT}}, "degraded", 4, "EFAULT (Bad address)"),
        ({"exits": [(17, (0, 0, 0, 0, 0), 0)]}, "degraded", 4, "ended with KVM exit 17 instead of writing to a port"),
        ({"exits": [OUT, OUT]}, "degraded", 4, "ended with KVM exit 2 instead of halting"),
        ({"exits": [(2, (1, 1, 0x10, 1, 64), 41)]}, "degraded", 4, "wrote something else to a port"),
        ({"exits": [(2, (0, 1, 0x10, 1, 64), 42)]}, "degraded", 4, "wrote something else to a port"),
    ],
)
def test_each_step_that_fails_is_named_with_its_reason(
    on: On, answers: Answers, how: dict[str, Any], verdict: str, proven: int, reason: str
) -> None:
    answers(**how)
    host = on("el9-sriov")
    os.chmod(f"{host.root}/dev/kvm", 0o666)
    facts = kvm_facts.facts(host, ACTIVE)
    assert (facts["verdict"], facts["proven"]) == (verdict, ALL[:proven])
    assert facts["reasons"][0]["source"] == ALL[proven]
    assert reason in facts["reasons"][0]["detail"]
    assert set(verdicts(facts).values()) == {verdict}


def test_a_signal_while_a_machine_is_made_says_nothing_of_kvm(on: On, answers: Answers) -> None:
    answers(interrupts=2)
    assert kvm_facts.facts(on("el9-sriov"), ACTIVE)["verdict"] == "ready"


@pytest.mark.parametrize(("step", "proven"), [(VM, 2), (VCPU, 3), (RUN, 4)])
def test_a_kvm_that_hangs_is_given_up(
    on: On, answers: Answers, monkeypatch: pytest.MonkeyPatch, step: int, proven: int
) -> None:
    answers(hangs_at=step)
    monkeypatch.setattr(kvm_probe, "SECONDS", 0.3)
    # What ends the child when its parent was ended before it.
    monkeypatch.setattr(signal, "alarm", lambda seconds: 0)
    fork, children = os.fork, [0]

    def noted() -> int:
        children[0] = fork()
        return children[0]

    monkeypatch.setattr(os, "fork", noted)
    facts = kvm_facts.facts(on("el9-sriov"), ACTIVE)
    assert facts["proven"] == ALL[:proven]
    assert facts["reasons"][0] == {"source": ALL[proven], "detail": "it did not end within 0.3 s"}
    # No child is left.
    with pytest.raises(ChildProcessError):
        os.waitpid(children[0], os.WNOHANG)


def test_the_guest_is_started_where_its_code_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeKvm()
    given: dict[int, bytes] = {}

    def ioctl(descriptor: int, request: int, argument: Any = 0) -> int:
        given[request] = bytes(argument) if isinstance(argument, (bytes, bytearray)) else b""
        return fake.ioctl(descriptor, request, argument)

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    machine, cpu = fake.ioctl(0, VM), fake.ioctl(0, VCPU)
    kvm_probe._run_guest(machine, cpu, 4096)
    slot, flags, start, size, address = struct.unpack("=IIQQQ", given[MEMORY])
    assert (slot, flags, start, size, address % 4096) == (0, 0, 0x1000, 4096, 0)
    assert struct.unpack("=18Q", given[SET_REGS])[16:] == (start, 2)
    assert (len(given[SET_SREGS]), given[SET_SREGS][:8], given[SET_SREGS][12:14]) == (312, bytes(8), bytes(2))


# the device


@pytest.mark.parametrize(
    ("number", "without", "files", "verdict", "reason"),
    [
        ("10:232", ["/sys/class/misc/kvm"], {}, "unavailable", "the kernel has registered no KVM"),
        (
            "10:232",
            ["/dev/kvm"],
            {},
            "unavailable",
            "the kernel has KVM as device 10:232, but /dev/kvm is no device here",
        ),
        ("10:200", [], {}, "unavailable", "but /dev/kvm is device 10:200"),
        (None, [], {}, "unavailable", "but /dev/kvm is no device here"),
    ],
)
def test_only_the_device_that_kvm_registered_is_opened(
    on: On,
    answers: Answers,
    number: str | None,
    without: list[str],
    files: dict[str, str],
    verdict: str,
    reason: str,
) -> None:
    fake = answers()
    host = on("el9-sriov", "x86_64", files, without)
    host.number = number
    facts = kvm_facts.facts(host, ACTIVE)
    assert (facts["verdict"], facts["proven"], fake.asked) == (verdict, [], [])
    assert reason in facts["reasons"][0]["detail"]
    # To open the node of a module that is not loaded would load it, even when active.
    assert "/dev/kvm" not in host.opened
    assert statuses(facts)["kvm_access"] == "fail"


@pytest.mark.parametrize(
    ("code", "verdict", "access"), [("EACCES", "unproven", "unknown"), ("EBUSY", "unavailable", "fail")]
)
def test_a_device_that_is_refused_to_us_says_nothing_of_qemu(
    on: On, answers: Answers, code: str, verdict: str, access: str
) -> None:
    answers()
    host = on("el9-sriov")
    really = os.open

    def refuse(path: Any, *rest: Any, **more: Any) -> int:
        if str(path).endswith("/dev/kvm"):
            raise OSError(getattr(errno, code), "no")
        return really(path, *rest, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", refuse)
        facts = kvm_facts.facts(host, ACTIVE)
    assert (facts["verdict"], facts["proven"]) == (verdict, [])
    assert facts["reasons"][0]["detail"].startswith(f"/dev/kvm: cannot open: {code}")
    assert statuses(facts)["kvm_access"] == access


def test_a_cpu_without_flags_is_no_verdict_where_kvm_may_not_be_asked(on: On, answers: Answers) -> None:
    answers()
    host = on("debian12-hybrid", "x86_64")

    def refuse(path: str, flags: int = os.O_RDONLY) -> int | None:
        if path == "/dev/kvm":
            raise HostError(path, "cannot open: EACCES (Permission denied)", "EACCES")
        return type(host).open(host, path, flags)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host, "open", refuse)
        facts = kvm_facts.facts(host, ACTIVE)
    assert facts["verdict"] == verdicts(facts)["qemu"] == "unproven"
    assert statuses(facts)["hardware_virtualization"] == "unknown"


def test_a_machine_without_kvm_says_what_the_cpu_lacks(on: On, answers: Answers) -> None:
    answers()
    facts = kvm_facts.facts(
        on("debian12-hybrid", "x86_64", {}, ["/dev/kvm", "/sys/class/misc", "/sys/module"]), PASSIVE
    )
    assert (facts["verdict"], facts["module"], facts["api_version"]) == ("unavailable", None, None)
    assert facts["device"] == {"path": "/dev/kvm", "exists": False, "mode": None, "owner": None, "group": None}
    assert sources(facts["reasons"]) == ["open", "hardware_virtualization", "nested"]
    assert set(verdicts(facts).values()) == {"unavailable"}


# who may use it


def test_mode_owner_and_group_are_names(on: On, answers: Answers) -> None:
    answers()
    ids = {"/etc/passwd": f"box:x:{os.getuid()}:9::/:/bin/sh", "/etc/group": "", "/etc/shadow": ""}
    host = on("el9-sriov", "x86_64", ids)
    os.chmod(f"{host.root}/dev/kvm", 0o660)
    gid = os.stat(f"{host.root}/dev/kvm").st_gid
    device = kvm_facts.facts(host)["device"]
    assert device == {"path": "/dev/kvm", "exists": True, "mode": "0660", "owner": "box", "group": str(gid)}


US, THEM, OUR_GROUP = os.getuid(), os.getuid() + 1, os.getgid()


@pytest.mark.parametrize(
    ("mode", "passwd", "group", "config", "users"),
    [
        (0o660, f"qemu:x:{THEM}:7::/:/", f"kvm:x:{OUR_GROUP}:qemu", "", {"qemu": True}),
        (0o660, f"qemu:x:{THEM}:{OUR_GROUP}::/:/", "", "", {"qemu": True}),
        (0o660, f"qemu:x:{THEM}:7::/:/", f"kvm:x:{OUR_GROUP}:other", "", {"qemu": False}),
        (0o666, f"qemu:x:{THEM}:7::/:/", "", "", {"qemu": True}),
        # Members of the group are not others.
        (0o606, f"qemu:x:{THEM}:{OUR_GROUP}::/:/", "", "", {"qemu": False}),
        (0o640, f"qemu:x:{THEM}:{OUR_GROUP}::/:/", "", "", {"qemu": False}),
        (0o600, f"qemu:x:{US}:7::/:/", "", "", {"qemu": True}),
        (0o066, f"qemu:x:{US}:7::/:/", "", "", {"qemu": False}),
        (0o600, f"libvirt-qemu:x:{THEM}:7::/:/\nqemu:x:{US}:7::/:/", "", "", {"libvirt-qemu": False, "qemu": True}),
        (0o600, "admin:x:1000:7::/:/", "", "", {}),
        # libvirt's own word
        (0o600, f"qemu:x:{THEM}:7::/:/\nbox:x:{US}:7::/:/", "", 'user = "box"', {"box": True}),
        (0o600, "", "", f'user = "+{US}"', {f"+{US}": True}),
        (0o600, "", "", f' user="{THEM}" # who', {str(THEM): False}),
        (0o600, "", "", 'user = "nobody-has-it"', {"nobody-has-it": False}),
        (0o660, f"qemu:x:{THEM}:7::/:/", f"kvm:x:{OUR_GROUP}:", 'group = "kvm"', {"qemu": True}),
        (0o660, f"qemu:x:{THEM}:{OUR_GROUP}::/:/", "kvm:x:8:", 'group = "kvm"', {"qemu": False}),
        (0o660, f"qemu:x:{THEM}:7::/:/", "", f'group = "+{OUR_GROUP}"', {"qemu": True}),
        # Text that is none
        (0o666, f"qemu:x:{THEM}:x::/:/\n\nqemu\n::::\n+::::::", "kvm:x\n::", "", {}),
    ],
)
def test_whether_qemus_user_may_use_it(
    on: On,
    answers: Answers,
    mode: int,
    passwd: str,
    group: str,
    config: str,
    users: dict[str, bool],
) -> None:
    answers()
    files = {"/etc/passwd": passwd, "/etc/group": group, "/etc/libvirt/qemu.conf": config}
    host = on("el9-sriov", "x86_64", files)
    os.chmod(f"{host.root}/dev/kvm", mode)
    os.chown(f"{host.root}/dev/kvm", US, OUR_GROUP)
    said, device = kvm_users.qemu_config(host), host.mode_and_owner("/dev/kvm")
    assert kvm_users.qemu_users(said, kvm_users.accounts(host), device, None) == users


def test_a_device_that_qemus_user_may_not_use_is_no_use_to_qemu(on: On, answers: Answers) -> None:
    answers()
    host = on("el9-sriov", "x86_64", {"/etc/passwd": f"qemu:x:{THEM}:7::/:/", "/etc/group": ""})
    os.chmod(f"{host.root}/dev/kvm", 0o600)
    facts = kvm_facts.facts(host, ACTIVE)
    assert verdicts(facts) == {"qemu": "unavailable", "kubevirt": "ready", "passthrough": "ready"}
    assert facts["profiles"]["qemu"]["reasons"] == [
        {"source": "qemu_user", "detail": "/dev/kvm may not be read and written by qemu"}
    ]
    assert facts["verdict"] == "ready"


# what stands around it


def _msr(path: Path, register: int, value: int) -> None:
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        file.seek(register)
        file.write(struct.pack("<Q", value))


@pytest.mark.parametrize(
    ("vendor", "register", "value", "status"),
    [
        ("GenuineIntel", 0x3A, 0x1, "fail"),
        ("GenuineIntel", 0x3A, 0x5, "pass"),
        ("GenuineIntel", 0x3A, 0x0, "pass"),
        ("Shanghai", 0x3A, 0x1, "fail"),
        ("AuthenticAMD", 0xC0010114, 0x18, "fail"),
        ("AuthenticAMD", 0xC0010114, 0x8, "pass"),
    ],
)
def test_the_lock_of_the_firmware_is_read_where_the_registers_are(
    on: On, answers: Answers, vendor: str, register: int, value: int, status: str
) -> None:
    answers()
    host = on(
        "el9-sriov",
        "x86_64",
        {"/proc/cpuinfo": f"vendor_id\t: {vendor}  \nflags\t: fpu"},
        ["/sys/module", "/sys/class/misc"],
    )
    os.makedirs(f"{host.root}/sys/class/msr")
    _msr(Path(f"{host.root}/dev/cpu/0/msr"), register, value)
    facts = kvm_facts.facts(host)
    assert statuses(facts)["firmware_lock"] == status
    assert ("firmware_lock" in sources(facts["reasons"])) == (status == "fail")


def test_registers_are_not_read_where_that_would_load_a_module(on: On, answers: Answers) -> None:
    answers()
    host = on("el9-sriov", "x86_64", {"/dev/cpu/0/msr": bytes(0x42)}, ["/sys/module", "/sys/class/misc"])
    assert statuses(kvm_facts.facts(host))["firmware_lock"] == "unknown"
    assert "/dev/cpu/0/msr" not in host.opened


@pytest.mark.parametrize("content", [None, b"", bytes(0x3C)])
def test_registers_that_do_not_answer_leave_it_unknown(on: On, answers: Answers, content: bytes | None) -> None:
    answers()
    files: dict[str, Any] = {} if content is None else {"/dev/cpu/0/msr": content}
    host = on("el9-sriov", "x86_64", files, ["/sys/module", "/sys/class/misc"])
    os.makedirs(f"{host.root}/sys/class/msr")
    assert statuses(kvm_facts.facts(host))["firmware_lock"] == "unknown"


@pytest.mark.parametrize(
    ("architecture", "files", "expected"),
    [
        ("x86_64", {"/proc/cpuinfo": "vendor_id : AuthenticAMD\nflags : svm"}, {"sev": "not_applicable"}),
        ("x86_64", {"/proc/cpuinfo": "vendor_id : AuthenticAMD\nflags : svm sev"}, {"sev": "warn"}),
        (
            "x86_64",
            {
                "/proc/cpuinfo": "vendor_id : AuthenticAMD\nflags : svm sev",
                "/sys/module/kvm_amd/parameters/sev": "Y",
            },
            {"sev": "warn"},
        ),
        (
            "x86_64",
            {
                "/proc/cpuinfo": "vendor_id : AuthenticAMD\nflags : svm sev",
                "/sys/module/kvm_amd/parameters/sev": "1",
                "/sys/module/kvm_amd/parameters/sev_snp": "Y",
                "/dev/sev": "",
            },
            {"sev": "pass"},
        ),
        ("x86_64", {}, {"tdx": "not_applicable"}),
        ("x86_64", {"/sys/module/kvm_intel/parameters/tdx": "Y"}, {"tdx": "pass"}),
        ("x86_64", {"/proc/cpuinfo": "flags : vmx tdx_host_platform"}, {"tdx": "warn"}),
        ("s390x", {"/proc/cpuinfo": "vendor_id : IBM/S390\nfeatures : esan3 sie"}, {"secure_execution": "warn"}),
        (
            "s390x",
            {"/proc/cpuinfo": "features : sie\nfacilities : 0 1 158", "/sys/firmware/uv/prot_virt_host": "1"},
            {"secure_execution": "pass", "hardware_virtualization": "pass", "firmware_lock": "not_applicable"},
        ),
        ("ppc64le", {}, {"hardware_virtualization": "pass", "powerpc_kvm_hv": "warn", "iommu_firmware": "pass"}),
        ("ppc64le", {"/sys/module/kvm_hv/parameters/nested": "N"}, {"powerpc_kvm_hv": "pass"}),
        ("riscv64", {}, {"hardware_virtualization": "not_applicable"}),
    ],
)
def test_each_architecture_has_its_own_checks(
    on: On, answers: Answers, architecture: str, files: dict[str, str], expected: dict[str, str]
) -> None:
    answers()
    found = statuses(kvm_facts.facts(on("el9-sriov", architecture, files)))
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("built_in", "vendor", "module"),
    [
        (["kvm", "kvm_amd", "kvm_intel"], "GenuineIntel", "kvm_intel"),
        (["kvm", "kvm_amd", "kvm_intel"], "AuthenticAMD", "kvm_amd"),
        (["kvm", "kvm_pvm"], "GenuineIntel", "kvm_pvm"),
        (["kvm"], "", "kvm"),
        (["kvmgt"], "", None),
    ],
)
def test_the_module_is_the_one_that_serves_this_cpu(
    on: On, answers: Answers, built_in: list[str], vendor: str, module: str | None
) -> None:
    answers()
    host = on("el9-sriov", "x86_64", {"/proc/cpuinfo": f"vendor_id : {vendor}"}, ["/sys/module"])
    for name in built_in:
        os.makedirs(f"{host.root}/sys/module/{name}")
    assert kvm_facts.facts(host)["module"] == module


def test_every_check_is_named_once_and_stands_for_known_profiles(on: On, answers: Answers) -> None:
    answers()
    checks = kvm_facts.facts(on("debian12-hybrid"), ACTIVE)["checks"]
    assert len({check["name"] for check in checks}) == len(checks)
    assert {profile for check in checks for profile in check["profiles"]} == set(kvm_checks.PROFILES)
    assert {check["status"] for check in checks} <= {"pass", "warn", "fail", "unknown", "not_applicable"}


def test_hostile_text_of_the_cpu_does_no_harm(on: On, answers: Answers) -> None:
    answers()
    hostile = b"vendor_id\t: \xff\x1b[31m\nmodel name:a:b\x00\nflags : vmx\nno colon\n" + b"x" * 100_000
    facts = kvm_facts.facts(on("el9-sriov", "x86_64", {"/proc/cpuinfo": hostile}))
    assert (facts["cpu"]["vendor"], facts["cpu"]["model"]) == ("\\xff\x1b[31m", "a:b\x00")
    assert facts["cpu"]["flags"] == ["vmx"]


@pytest.mark.parametrize(
    ("files", "without", "used_by"),
    [
        # The QEMU that has a number in a namespace of its own is a container's.
        ({}, [], {"guests": 1, "libvirt": True, "virt_handler": False, "reason": None}),
        ({}, ["/proc/700", "/proc/4242"], {"guests": 0, "libvirt": False, "virt_handler": False, "reason": None}),
        # A daemon that went to sleep is started by its socket.
        (
            {"/run/libvirt/virtqemud-sock": ""},
            ["/proc/700"],
            {"guests": 1, "libvirt": True, "virt_handler": False, "reason": None},
        ),
        (
            {"/proc/800/comm": "virt-handler", "/proc/800/status": "Uid:\t0\t0\t0\t0\nNSpid:\t800\t1\n"},
            [],
            {"guests": 1, "libvirt": True, "virt_handler": True, "reason": None},
        ),
        # Any user may call a process so.
        (
            {"/proc/700/status": "Uid:\t1000\t1000\t1000\t1000\nNSpid:\t700\n"},
            [],
            {"guests": 1, "libvirt": False, "virt_handler": False, "reason": None},
        ),
    ],
)
def test_who_runs_guests_here(machine: Machine, files: Any, without: Any, used_by: Any) -> None:
    assert kvm_facts.facts(machine("kvm-host", files, without))["used_by"] == used_by


def test_where_processes_are_hidden_nobody_knows_who_runs_guests(machine: Machine) -> None:
    host = machine("arm64-kvm", {"/proc/mounts": "proc /proc proc rw,hidepid=2 0 0"})
    assert kvm_facts.facts(host)["used_by"] == {
        "guests": None,
        "libvirt": None,
        "virt_handler": None,
        "reason": "/proc: hides the processes of other users (hidepid): become root",
    }
