# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tools look at before they call a machine fit for guests: the rules of virt-host-validate(1), kvm-ok(1) and of KubeVirt's
device plugins, one by one. Flags of the CPU and the firmware are reasons, no verdict.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node.mounts import mounts

__all__ = [
    "CONTROLLERS",
    "DEVICE",
    "MODULES",
    "MODULE_OF",
    "NODES",
    "PROFILES",
    "Trial",
    "device_checks",
    "hardware",
    "is_x86",
    "surroundings",
    "switch",
]

PROFILES = ("qemu", "kubevirt", "passthrough")
DEVICE = "/dev/kvm"
MODULES = "/sys/module"
# By the CPU's own name: where several are built into a kernel, this one is in use.
MODULE_OF = {
    "GenuineIntel": "kvm_intel",
    "CentaurHauls": "kvm_intel",
    "Shanghai": "kvm_intel",
    "AuthenticAMD": "kvm_amd",
    "HygonGenuine": "kvm_amd",
}
_X86 = re.compile(r"x86_64|i[3-6]86")
_ARM = re.compile(r"aarch64|arm.*")
# name, path, status where it is not there, profiles, what to do
NODES = (
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
CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "devices", "blkio")
_REALTIME = "/proc/sys/kernel/sched_rt_runtime_us"


@dataclass(frozen=True)
class Trial:
    """What KVM itself answered. ``failed``: the step that did not succeed and why; None where all did."""

    verdict: str
    proven: tuple[str, ...] = ()
    api_version: int | None = None
    failed: tuple[str, str] | None = None

    def reasons(self) -> list[dict[str, str]]:
        """Why it is not ready: one or none."""
        return [{"source": self.failed[0], "detail": self.failed[1]}] if self.failed else []


def _check(name: str, status: str, detail: str, *profiles: str) -> dict[str, Any]:
    return {"name": name, "status": status, "detail": detail, "profiles": list(profiles)}


def switch(host: Host, module: str | None, name: str) -> bool | None:
    """A parameter of the module, or of kvm, that is on or off; None where there is none."""
    for owner in (module, "kvm"):
        text = host.read(f"{MODULES}/{owner}/parameters/{name}", 64) if owner else None
        if text:
            return text.strip() in ("Y", "y", "1")
    return None


def is_x86(machine: str) -> bool:
    """Whether ``uname -m`` names an x86."""
    return _X86.fullmatch(machine) is not None


def hardware(machine: str, flags: Collection[str], trial: Trial) -> Iterator[dict[str, Any]]:
    """What the CPU's flags say, beside what KVM itself said: it has the last word."""
    name = "hardware_virtualization"
    wanted = {"vmx", "svm"} if is_x86(machine) else {"sie"} if machine.startswith("s390") else set()
    if machine.startswith("ppc64"):
        yield _check(name, "pass", "each CPU of this architecture has it", *PROFILES)
    elif not wanted:
        yield _check(name, "not_applicable", f"no flag of {machine} tells it: KVM itself does", *PROFILES)
    elif wanted & set(flags):
        yield _check(name, "pass", f"the CPU has {' '.join(sorted(wanted & set(flags)))}", *PROFILES)
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


def surroundings(
    host: Host, machine: str, rows: Mapping[str, str], flags: Collection[str], module: str | None
) -> Iterator[dict[str, Any]]:
    """What stands around KVM: firmware, cgroups, IOMMU, secure guests."""
    yield _firmware_lock(host, is_x86(machine), rows.get("vendor_id", ""), module)
    name = "powerpc_kvm_hv"
    if not machine.startswith("ppc64"):
        yield _check(name, "not_applicable", f"this is {machine}")
    elif host.exists(f"{MODULES}/kvm_hv"):
        yield _check(name, "pass", "kvm_hv is loaded", "qemu")
    else:
        yield _check(name, "warn", "load the module kvm_hv: guests are slow without it", "qemu")
    yield _realtime_check(host)
    yield from _cgroup_checks(host)
    yield from _iommu_checks(host, machine, rows)
    yield from _secure_guest_checks(host, machine, rows, flags)


def _firmware_lock(host: Host, x86: bool, vendor: str, module: str | None) -> dict[str, Any]:
    """Whether the firmware switched virtualization off: kvm-ok's question. The kernel's log is not read: it forgets."""
    name = "firmware_lock"
    own = MODULE_OF.get(vendor)
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


def device_checks(nodes: Collection[str], trial: Trial, users: Mapping[str, bool]) -> Iterator[dict[str, Any]]:
    """``nodes`` are the paths that are there, of ``DEVICE`` and ``NODES``; ``users``: QEMU's, and whether they may use it."""
    there = DEVICE in nodes
    yield _check("kvm_device", "pass" if there else "fail", f"{DEVICE} {'is' if there else 'is not'} there", *PROFILES)
    if "open" in trial.proven:
        yield _check("kvm_access", "pass", f"{DEVICE} was opened", *PROFILES)
    else:
        status = "unknown" if trial.verdict == "unproven" else "fail"
        yield _check("kvm_access", status, trial.failed[1] if trial.failed else "", *PROFILES)
    denied = sorted(name for name, usable in users.items() if not usable)
    if not users:
        yield _check("qemu_user", "not_applicable", "libvirt's users of QEMU do not exist here", "qemu")
    elif denied:
        yield _check("qemu_user", "fail", f"{DEVICE} may not be read and written by {', '.join(denied)}", "qemu")
    else:
        yield _check("qemu_user", "pass", f"{DEVICE} may be read and written by {', '.join(sorted(users))}", "qemu")
    for name, path, missing, profiles, remedy in NODES:
        if path in nodes:
            yield _check(name, "pass", f"{path} is there", *profiles)
        else:
            yield _check(name, missing, f"{path} is not there: {remedy}", *profiles)


def _realtime_check(host: Host) -> dict[str, Any]:
    name, runtime = "kubevirt_realtime", host.integer(_REALTIME)
    if runtime is None:
        return _check(name, "unknown", f"{_REALTIME} does not exist")
    if runtime == -1:
        return _check(name, "pass", "kernel.sched_rt_runtime_us is -1")
    return _check(name, "warn", f"realtime guests want kernel.sched_rt_runtime_us -1, it is {runtime}")


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
    for name in CONTROLLERS:
        if name in found:
            yield _check(f"cgroup_{name}", "pass", f"the controller {name} can be used", "qemu")
        elif name == "devices" and any(mount.fstype == "cgroup2" for mount in trees):
            yield _check(
                "cgroup_devices", "unknown", "in cgroup v2 it is a program of BPF, which is not tried out", "qemu"
            )
        else:
            yield _check(f"cgroup_{name}", "warn", f"no tree of cgroups has the controller {name}", "qemu")


def _iommu_checks(host: Host, machine: str, rows: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    own = MODULE_OF.get(rows.get("vendor_id", ""))
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


def _secure_guest_checks(
    host: Host, machine: str, rows: Mapping[str, str], flags: Collection[str]
) -> Iterator[dict[str, Any]]:
    if "sev" not in flags:
        yield _check("sev", "not_applicable", "the CPU does not show sev")
    elif not switch(host, "kvm_amd", "sev"):
        yield _check("sev", "warn", "kvm_amd does not offer it: boot with kvm_amd.sev=1")
    elif not host.exists("/dev/sev"):
        yield _check("sev", "warn", "/dev/sev is not there: switched off in the firmware, or ccp is not loaded")
    else:
        more = [name for name in ("sev_es", "sev_snp") if switch(host, "kvm_amd", name)]
        yield _check("sev", "pass", f"kvm_amd offers {', '.join(['sev', *more])}")
    tdx = switch(host, "kvm_intel", "tdx")
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
