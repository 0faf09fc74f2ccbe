# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether this machine runs guests with KVM: asked of KVM itself. Flags of the CPU and the firmware are reasons, no verdict.

Sources: virt/kvm/api.rst; the rules of virt-host-validate(1), kvm-ok(1) and of KubeVirt's device plugins.
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node.mounts import mounts
from ansible_collections.bulwark.node.plugins.module_utils.node.request import PASSIVE, Request

__all__ = ["PROFILES", "facts", "may_use"]

PROFILES = ("qemu", "kubevirt", "passthrough")

_DEVICE = "/dev/kvm"
_API_VERSION = 12
_GET_API_VERSION = 0xAE00
_MODULES = "/sys/module"
# By the CPU's own name: where several are built into a kernel, this one is in use.
_MODULE_OF = {
    "GenuineIntel": "kvm_intel",
    "CentaurHauls": "kvm_intel",
    "Shanghai": "kvm_intel",
    "AuthenticAMD": "kvm_amd",
    "HygonGenuine": "kvm_amd",
}
_QEMU = ("libvirt-qemu", "qemu")
# Linux's own words among the flags of cpuinfo (arch/x86/include/asm/cpufeatures.h), and what no guest is shown.
_NO_FLAGS_OF_A_GUEST = (
    "acc_power acpi amd_dcm amd_lbr_v2 aperfmperf arch_perfmon art bts cat_l2 cat_l3 cdp_l2 cdp_l3 constant_tsc cpb "
    "cpuid cpuid_fault cqm cqm_llc cqm_mbm_local cqm_mbm_total cqm_occup_llc ds_cpl dtes64 dtherm dts epb ept ept_ad "
    "est extd_apicid flexpriority hfi ht hw_pstate hwp hwp_act_window hwp_epp hwp_notify hwp_pkg_req hypervisor ida "
    "intel_ppin mba nonstop_tsc nonstop_tsc_s3 nopl pbe pebs perfmon_v2 pln proc_feedback pti pts rapl rep_good "
    "ring3mwait split_lock_detect tdx_host_platform tm tm2 tpr_shadow tsc_known_freq tsc_reliable up user_shstk vmmcall "
    "vpid xtopology xtpr"
)
_X86 = re.compile(r"x86_64|i[3-6]86")
_ARM = re.compile(r"aarch64|arm.*")
# name, path, status where it is not there, profiles, what to do
_NODES = (
    ("tun", "/dev/net/tun", "fail", ("qemu", "kubevirt"), "load the module tun: guests have no network without it"),
    (
        "vhost_net",
        "/dev/vhost-net",
        "warn",
        ("qemu",),
        "load the module vhost_net: networks of guests are slow without it",
    ),
    (
        "kubevirt_vhost_net",
        "/dev/vhost-net",
        "fail",
        ("kubevirt",),
        "load the module vhost_net: a guest with a virtio network is not scheduled to this node without it",
    ),
    ("vhost_vsock", "/dev/vhost-vsock", "warn", (), "load the module vhost_vsock, if guests are to have vsock"),
    ("vfio", "/dev/vfio/vfio", "warn", ("passthrough",), "load the module vfio-pci"),
)
_CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "devices", "blkio")
# linux/posix_acl.h
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_REALTIME = "/proc/sys/kernel/sched_rt_runtime_us"


@dataclass(frozen=True)
class _Trial:
    """What KVM itself answered. ``failed``: the step that did not succeed and why; None where all did."""

    verdict: str
    proven: tuple[str, ...] = ()
    api_version: int | None = None
    failed: tuple[str, str] | None = None

    def reasons(self) -> list[dict[str, str]]:
        """Why it is not ready: one or none."""
        return [{"source": self.failed[0], "detail": self.failed[1]}] if self.failed else []


def facts(host: Host, request: Request = PASSIVE) -> dict[str, Any]:
    """The subset ``kvm``, as in docs/schemas.md. ``reasons`` also say why a value is None."""
    machine, rows = _machine(), _cpuinfo(host)
    flags = set((rows.get("flags") or rows.get("Features") or rows.get("features") or "").split())
    trial = _try(host, request.active, bool(_X86.fullmatch(machine)))
    module = _module(host, rows) if host.exists("/sys/class/misc/kvm") else None
    nested = _switch(host, module, "nested")
    accounts = _accounts(host)
    users = _users(host, accounts)
    checks = [
        *_processor(host, machine, rows, flags, trial, module),
        *_device_checks(host, trial, users),
        *_cgroup_checks(host),
        *_iommu_checks(host, machine, rows),
        *_secure_guest_checks(host, machine, rows, flags),
    ]
    reasons = _reasons(trial, checks)
    if nested is None:
        reasons.append({"source": "nested", "detail": f"{module or 'KVM'} has no parameter of that name"})
    return {
        "verdict": trial.verdict,
        "proven": list(trial.proven),
        "reasons": reasons,
        "api_version": trial.api_version,
        "module": module,
        "nested": nested,
        "device": _device(host, accounts),
        "users": users,
        "checks": checks,
        "profiles": {profile: _profile(profile, trial, checks) for profile in PROFILES},
        "cpu": {
            "vendor": rows.get("vendor_id") or rows.get("CPU implementer"),
            "model": rows.get("model name") or rows.get("cpu") or rows.get("CPU part") or rows.get("processor 0"),
            "flags": sorted(flags.difference(_NO_FLAGS_OF_A_GUEST.split())),
        },
    }


# KVM itself


def _machine() -> str:
    return os.uname().machine


def _try(host: Host, active: bool, x86: bool) -> _Trial:
    """Ask KVM. Passive: open it and ask for its version, which changes nothing.

    Only a device that KVM has registered is opened. systemd makes the node of a module that is not loaded as well
    (kmod-static-nodes.service), and to open that one would load the module.
    """
    registered = (host.read("/sys/class/misc/kvm/dev") or "").strip()
    number = host.device_number(_DEVICE)
    if not registered:
        return _Trial(
            "unavailable", failed=("open", "the kernel has registered no KVM: no module of it is loaded and works")
        )
    if number != registered:
        why = f"is device {number}" if number else "is no device here"
        detail = (
            f"the kernel has KVM as device {registered}, but {_DEVICE} {why}: make it, or give it to this container"
        )
        return _Trial("unavailable", failed=("open", detail))
    try:
        descriptor = host.open(_DEVICE, os.O_RDWR)
    except HostError as error:
        # Refused to us is not refused to QEMU.
        verdict = "unproven" if error.code in ("EACCES", "EPERM") else "unavailable"
        return _Trial(verdict, failed=("open", str(error)))
    if descriptor is None:
        return _Trial("unavailable", failed=("open", f"{_DEVICE} is gone"))
    try:
        return _ask(descriptor, active, x86)
    finally:
        os.close(descriptor)


def _ask(descriptor: int, active: bool, x86: bool) -> _Trial:
    try:
        version = fcntl.ioctl(descriptor, _GET_API_VERSION, 0)
    except OSError as error:
        return _Trial(
            "unavailable", ("open",), None, ("api", str(HostError.from_os(_DEVICE, "ask for its version", error)))
        )
    if version != _API_VERSION:
        return _Trial(
            "unavailable", ("open",), version, ("api", f"KVM speaks version {version}, expected {_API_VERSION}")
        )
    proven = ("open", "api")
    if not active:
        return _Trial("unproven", proven, version, ("vm", "no virtual machine was made: set probe to active"))
    from ansible_collections.bulwark.node.plugins.module_utils.node import kvm_probe

    more, failed = kvm_probe.try_out(descriptor, x86)
    verdict = "ready" if failed is None else "degraded" if failed[0] == kvm_probe.GUEST else "unavailable"
    return _Trial(verdict, (*proven, *more), version, failed)


def _module(host: Host, rows: dict[str, str]) -> str | None:
    """The module that serves KVM: the CPU's own, another one, or ``kvm`` where it is one piece (arm64, s390x)."""
    found = [name for name in host.names(_MODULES) if name.startswith("kvm_")]
    own = _MODULE_OF.get(rows.get("vendor_id", ""))
    if own in found and len(found) > 1:
        return own
    return found[0] if found else "kvm" if host.exists(f"{_MODULES}/kvm") else None


def _switch(host: Host, module: str | None, name: str) -> bool | None:
    """A parameter of the module, or of kvm, that is on or off; None where there is none."""
    for owner in (module, "kvm"):
        text = host.read(f"{_MODULES}/{owner}/parameters/{name}", 64) if owner else None
        if text:
            return text.strip() in ("Y", "y", "1")
    return None


# the verdict


def _check(name: str, status: str, detail: str, *profiles: str) -> dict[str, Any]:
    return {"name": name, "status": status, "detail": detail, "profiles": list(profiles)}


def _reasons(trial: _Trial, checks: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Why KVM is not ready; where it is unavailable, with what CPU and firmware have to do with it."""
    reasons = trial.reasons()
    if trial.verdict == "unavailable":
        causes = ("hardware_virtualization", "firmware_lock")
        reasons += [_reason(check) for check in checks if check["name"] in causes and check["status"] == "fail"]
    return reasons


def _reason(check: dict[str, Any]) -> dict[str, str]:
    return {"source": check["name"], "detail": check["detail"]}


def _profile(name: str, trial: _Trial, checks: list[dict[str, Any]]) -> dict[str, Any]:
    """The verdict on KVM, made worse by the checks that this profile stands on."""
    stands_on = [check for check in checks if name in check["profiles"]]
    failed = [_reason(check) for check in stands_on if check["status"] == "fail"]
    warned = [_reason(check) for check in stands_on if check["status"] == "warn"]
    verdict = trial.verdict
    if failed:
        verdict = "unavailable"
    elif warned and verdict == "ready":
        verdict = "degraded"
    return {"verdict": verdict, "reasons": [*trial.reasons(), *failed, *warned]}


# the CPU and its firmware


def _cpuinfo(host: Host) -> dict[str, str]:
    """The rows of the first CPU. The kernel gives a few CPUs a read: with hundreds of them the whole file costs."""
    descriptor = host.open("/proc/cpuinfo")
    if descriptor is None:
        return {}
    try:
        text = os.read(descriptor, 64 << 10).decode("utf-8", "backslashreplace")
    finally:
        os.close(descriptor)
    rows: dict[str, str] = {}
    for line in text.split("\n"):
        name, colon, value = line.partition(":")
        if colon:
            rows.setdefault(name.strip(), value.strip())
    return rows


def _processor(
    host: Host, machine: str, rows: dict[str, str], flags: set[str], trial: _Trial, module: str | None
) -> Iterator[dict[str, Any]]:
    name = "hardware_virtualization"
    x86 = _X86.fullmatch(machine)
    wanted = {"vmx", "svm"} if x86 else {"sie"} if machine.startswith("s390") else set()
    if machine.startswith("ppc64"):
        yield _check(name, "pass", "each CPU of this architecture has it", *PROFILES)
    elif not wanted:
        yield _check(name, "not_applicable", f"no flag of {machine} tells it: KVM itself does", *PROFILES)
    elif wanted & flags:
        yield _check(name, "pass", f"the CPU has {' '.join(sorted(wanted & flags))}", *PROFILES)
    else:
        lacks = f"the CPU does not show {' or '.join(sorted(wanted))}"
        if "vm" in trial.proven:
            yield _check(name, "pass", f"{lacks}, and yet KVM made a virtual machine", *PROFILES)
        elif "api" in trial.proven:
            yield _check(name, "warn", f"{lacks}, and yet KVM answers: set probe to active", *PROFILES)
        elif trial.verdict == "unproven":
            yield _check(name, "unknown", f"{lacks}, and yet the kernel has KVM, which we may not ask", *PROFILES)
        else:
            yield _check(name, "fail", f"{lacks}: guests can only be emulated", *PROFILES)
    yield _firmware_lock(host, bool(x86), rows.get("vendor_id", ""), module)
    name = "powerpc_kvm_hv"
    if not machine.startswith("ppc64"):
        yield _check(name, "not_applicable", f"this is {machine}")
    elif host.exists(f"{_MODULES}/kvm_hv"):
        yield _check(name, "pass", "kvm_hv is loaded", "qemu")
    else:
        yield _check(name, "warn", "load the module kvm_hv: guests are slow without it", "qemu")


def _firmware_lock(host: Host, x86: bool, vendor: str, module: str | None) -> dict[str, Any]:
    """Whether the firmware switched virtualization off: kvm-ok's question. The kernel's log is not read: it forgets."""
    name = "firmware_lock"
    own = _MODULE_OF.get(vendor)
    if not x86 or own is None:
        return _check(name, "not_applicable", "only the firmware of x86 locks it")
    if module == own:
        return _check(name, "pass", f"{own} serves KVM, which it does only where the firmware allows it")
    # IA32_FEATURE_CONTROL: locked, and not enabled outside of SMX; VM_CR: SVMDIS.
    register, mask, locked = (0x3A, 0b101, 0b001) if own == "kvm_intel" else (0xC0010114, 1 << 4, 1 << 4)
    value = _msr(host, register)
    if isinstance(value, str):
        return _check(name, "unknown", value)
    if value & mask == locked:
        return _check(name, "fail", f"the firmware switched it off (register {register:#x} is {value:#x})")
    return _check(name, "pass", f"the firmware allows it (register {register:#x} is {value:#x})")


def _msr(host: Host, register: int) -> int | str:
    """A register of the first CPU, or why it cannot be told."""
    path = "/dev/cpu/0/msr"
    # As with KVM: only what is registered is opened, lest that loads a module.
    if not host.exists("/sys/class/msr"):
        return "the registers of the CPU cannot be read: the module msr is not loaded"
    try:
        descriptor = host.open(path)
    except HostError as error:
        return str(error)
    if descriptor is None:
        return f"{path} does not exist"
    try:
        content = os.pread(descriptor, 8, register)
    except OSError as error:
        return str(HostError.from_os(path, f"read register {register:#x}", error))
    finally:
        os.close(descriptor)
    return int(struct.unpack("<Q", content)[0]) if len(content) == 8 else f"{path} gave {len(content)} of 8 bytes"


# the device and its users


def _device(host: Host, accounts: _Accounts) -> dict[str, Any]:
    found = host.mode_and_owner(_DEVICE)
    mode, owner, group = found or (None, None, None)
    return {
        "path": _DEVICE,
        "exists": found is not None,
        "mode": None if mode is None else f"{mode:04o}",
        "owner": None if owner is None else _name(accounts.users, owner),
        "group": None if group is None else _name(accounts.groups, group),
    }


def _device_checks(host: Host, trial: _Trial, users: dict[str, bool]) -> Iterator[dict[str, Any]]:
    there = host.exists(_DEVICE)
    yield _check("kvm_device", "pass" if there else "fail", f"{_DEVICE} {'is' if there else 'is not'} there", *PROFILES)
    if "open" in trial.proven:
        yield _check("kvm_access", "pass", f"{_DEVICE} was opened", *PROFILES)
    else:
        status = "unknown" if trial.verdict == "unproven" else "fail"
        yield _check("kvm_access", status, trial.failed[1] if trial.failed else "", *PROFILES)
    denied = sorted(name for name, usable in users.items() if not usable)
    if not users:
        yield _check("qemu_user", "not_applicable", "libvirt's users of QEMU do not exist here", "qemu")
    elif denied:
        yield _check("qemu_user", "fail", f"{_DEVICE} may not be read and written by {', '.join(denied)}", "qemu")
    else:
        yield _check("qemu_user", "pass", f"{_DEVICE} may be read and written by {', '.join(sorted(users))}", "qemu")
    for name, path, missing, profiles, remedy in _NODES:
        if host.exists(path):
            yield _check(name, "pass", f"{path} is there", *profiles)
        else:
            yield _check(name, missing, f"{path} is not there: {remedy}", *profiles)
    runtime = host.integer(_REALTIME)
    if runtime is None:
        yield _check("kubevirt_realtime", "unknown", f"{_REALTIME} does not exist")
    elif runtime == -1:
        yield _check("kubevirt_realtime", "pass", "kernel.sched_rt_runtime_us is -1")
    else:
        yield _check(
            "kubevirt_realtime", "warn", f"realtime guests want kernel.sched_rt_runtime_us -1, it is {runtime}"
        )


@dataclass(frozen=True)
class _Accounts:
    """/etc/passwd as {name: (uid, gid)} and /etc/group as {name: (gid, members)}; no directory service is asked."""

    users: dict[str, tuple[int, int]]
    groups: dict[str, tuple[int, list[str]]]


def _accounts(host: Host) -> _Accounts:
    users, groups = (
        [
            row
            for row in (line.split(":") for line in (host.read(path) or "").split("\n"))
            if len(row) > 3 and row[2].isdecimal()
        ]
        for path in ("/etc/passwd", "/etc/group")
    )
    return _Accounts(
        {row[0]: (int(row[2]), int(row[3])) for row in users if row[3].isdecimal()},
        {row[0]: (int(row[2]), row[3].split(",")) for row in groups},
    )


def _name(rows: Mapping[str, tuple[int, Any]], number: int) -> str:
    return next((name for name, row in rows.items() if row[0] == number), str(number))


def _number(rows: Mapping[str, tuple[int, Any]], name: str) -> int | None:
    """The id of a name, or of a number as qemu.conf takes it (``+107``)."""
    digits = name[1:] if name.startswith("+") else name
    return rows[name][0] if name in rows else int(digits) if digits.isdecimal() else None


def _users(host: Host, accounts: _Accounts) -> dict[str, bool]:
    """Whether QEMU's users may read and write the device, by permission bits, ACL and groups. AppArmor and SELinux are not asked.

    They are the one that libvirt's qemu.conf names, or else those that distributions have for it.
    """
    try:
        text = host.read("/etc/libvirt/qemu.conf") or ""
    except HostError:
        text = ""  # for root's eyes
    config = dict(re.findall(r'^[ \t]*(user|group)[ \t]*=[ \t]*"([^"\n]{1,64})"', text, re.MULTILINE))
    names = [config["user"]] if "user" in config else [name for name in _QEMU if name in accounts.users]
    file, acl = host.mode_and_owner(_DEVICE), host.acl(_DEVICE)
    usable = {}
    for name in names:
        uid, primary = _number(accounts.users, name), accounts.users.get(name, (0, -1))[1]
        first = _number(accounts.groups, config["group"]) if "group" in config else primary
        account = name if uid is None else _name(accounts.users, uid)
        groups = {first} | {row[0] for row in accounts.groups.values() if account in row[1]}
        usable[name] = file is not None and uid is not None and may_use(file, acl, uid, groups)
    return usable


def may_use(file: tuple[int, int, int], acl: bytes | None, uid: int, groups: Collection[int | None]) -> bool:
    """Whether a user without capabilities may read and write a file of (permission bits, owner, group): acl(5).

    ``acl`` is the extended attribute (linux/posix_acl_xattr.h), None where there is none.
    """
    mode, owner, group = file
    entries = [(_USER_OBJ, mode >> 6, 0), (_GROUP_OBJ, mode >> 3, 0), (_OTHER, mode, 0)]
    # The kernel looks at no ACL where its mask, which are the group's bits, is empty (acl_permission_check()).
    if acl is not None and mode & 0o070:
        entries = list(struct.iter_unpack("<HHI", acl[4 : 4 + (len(acl) - 4) // 8 * 8]))
    mask = next((bits for tag, bits, dummy in entries if tag == _MASK), 7)
    granted = {tag: bits for tag, bits, dummy in entries}
    if uid == owner:
        return granted[_USER_OBJ] & 6 == 6
    for tag, bits, number in entries:
        if tag == _USER and number == uid:
            return bits & mask & 6 == 6
    matching = [
        bits & mask
        for tag, bits, number in entries
        if (tag == _GROUP_OBJ and group in groups) or (tag == _GROUP and number in groups)
    ]
    if matching:
        return any(bits & 6 == 6 for bits in matching)
    return granted[_OTHER] & 6 == 6


# what stands around KVM


def _cgroup_checks(host: Host) -> Iterator[dict[str, Any]]:
    trees = [mount for mount in mounts(host) if mount.fstype in ("cgroup", "cgroup2")]
    found: set[str] = set()
    for mount in trees:
        if mount.fstype == "cgroup":
            found.update(mount.options)
        else:
            words = (host.read(f"{mount.path}/cgroup.controllers") or "").split()
            # In the one tree cpu accounts as well, and io is what was blkio.
            found.update(words, ["cpuacct"] if "cpu" in words else [], ["blkio"] if "io" in words else [])
    for name in _CONTROLLERS:
        if name in found:
            yield _check(f"cgroup_{name}", "pass", f"the controller {name} can be used", "qemu")
        elif name == "devices" and any(mount.fstype == "cgroup2" for mount in trees):
            yield _check(
                "cgroup_devices", "unknown", "in cgroup v2 it is a program of BPF, which is not tried out", "qemu"
            )
        else:
            yield _check(f"cgroup_{name}", "warn", f"no tree of cgroups has the controller {name}", "qemu")


def _iommu_checks(host: Host, machine: str, rows: dict[str, str]) -> Iterator[dict[str, Any]]:
    own = _MODULE_OF.get(rows.get("vendor_id", ""))
    table = {"kvm_intel": "DMAR", "kvm_amd": "IVRS"}.get(own or "", "IORT" if _ARM.fullmatch(machine) else None)
    name, groups = "iommu_firmware", host.names("/sys/kernel/iommu_groups")
    if table:
        there = host.exists(f"/sys/firmware/acpi/tables/{table}")
        detail = f"the firmware {'has' if there else 'lacks'} the ACPI table {table}"
        yield _check(name, "pass" if there else "warn", detail)
    elif machine.startswith("ppc64"):
        yield _check(name, "pass", "each machine of this architecture has one")
    else:
        yield _check(name, "unknown", f"nothing tells it on {machine}")
    if groups:
        yield _check("iommu_groups", "pass", f"the kernel has {len(groups)} IOMMU groups", "passthrough")
    else:
        remedy = {"DMAR": ": boot with intel_iommu=on", "IVRS": ": switch the IOMMU on in the firmware"}.get(
            table or "", ""
        )
        yield _check("iommu_groups", "fail", f"the kernel has no IOMMU group{remedy}", "passthrough")


def _secure_guest_checks(host: Host, machine: str, rows: dict[str, str], flags: set[str]) -> Iterator[dict[str, Any]]:
    if "sev" not in flags:
        yield _check("sev", "not_applicable", "the CPU does not show sev")
    elif not _switch(host, "kvm_amd", "sev"):
        yield _check("sev", "warn", "kvm_amd does not offer it: boot with kvm_amd.sev=1")
    elif not host.exists("/dev/sev"):
        yield _check("sev", "warn", "/dev/sev is not there: switched off in the firmware, or ccp is not loaded")
    else:
        more = [name for name in ("sev_es", "sev_snp") if _switch(host, "kvm_amd", name)]
        yield _check("sev", "pass", f"kvm_amd offers {', '.join(['sev', *more])}")
    tdx = _switch(host, "kvm_intel", "tdx")
    if tdx:
        yield _check("tdx", "pass", "kvm_intel offers it")
    elif "tdx_host_platform" in flags:
        yield _check("tdx", "warn", "kvm_intel does not offer it: boot with kvm_intel.tdx=1 and a kernel that has it")
    else:
        yield _check("tdx", "not_applicable", "the CPU does not show tdx_host_platform")
    if not machine.startswith("s390"):
        yield _check("secure_execution", "not_applicable", f"this is {machine}")
    elif "158" in rows.get("facilities", "").split() and host.integer("/sys/firmware/uv/prot_virt_host") == 1:
        yield _check("secure_execution", "pass", "the ultravisor serves this host")
    else:
        yield _check("secure_execution", "warn", "hardware or firmware lack it, or the kernel lacks prot_virt=1")
