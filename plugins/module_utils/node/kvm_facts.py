# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether this machine runs guests with KVM: asked of KVM itself. Flags of the CPU and the firmware are reasons, no verdict.

Sources: virt/kvm/api.rst; the rules of virt-host-validate(1), kvm-ok(1) and of KubeVirt's device plugins.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import processes
from ansible_collections.bulwark.node.plugins.module_utils.node.kvm_checks import (
    DEVICE,
    MODULE_OF,
    MODULES,
    NODES,
    PROFILES,
    Trial,
    device_checks,
    hardware,
    is_x86,
    surroundings,
    switch,
)
from ansible_collections.bulwark.node.plugins.module_utils.node.kvm_users import (
    Accounts,
    Device,
    accounts,
    name_of,
    qemu_config,
    qemu_users,
)
from ansible_collections.bulwark.node.plugins.module_utils.node.request import PASSIVE, Request

__all__ = ["REGISTERED", "Kvm", "facts", "observe"]

REGISTERED = "/sys/class/misc/kvm"
_API_VERSION = 12
_GET_API_VERSION = 0xAE00
_LIBVIRT = ("libvirtd", "virtqemud")
# Linux's own words among the flags of cpuinfo (arch/x86/include/asm/cpufeatures.h), and what no guest is shown.
_NO_FLAGS_OF_A_GUEST = (
    "acc_power acpi amd_dcm amd_lbr_v2 aperfmperf arch_perfmon art bts cat_l2 cat_l3 cdp_l2 cdp_l3 constant_tsc cpb "
    "cpuid cpuid_fault cqm cqm_llc cqm_mbm_local cqm_mbm_total cqm_occup_llc ds_cpl dtes64 dtherm dts epb ept ept_ad "
    "est extd_apicid flexpriority hfi ht hw_pstate hwp hwp_act_window hwp_epp hwp_notify hwp_pkg_req hypervisor ida "
    "intel_ppin mba nonstop_tsc nonstop_tsc_s3 nopl pbe pebs perfmon_v2 pln proc_feedback pti pts rapl rep_good "
    "ring3mwait split_lock_detect tdx_host_platform tm tm2 tpr_shadow tsc_known_freq tsc_reliable up user_shstk vmmcall "
    "vpid xtopology xtpr"
)


@dataclass(frozen=True)
class Kvm:
    """What was seen of KVM. ``nodes``: the device nodes that are there; ``surroundings``: checks of what stands around it.

    ``registered``: the kernel has KVM; ``module`` serves it, None where none does, or where a
    container is not shown /sys/module. ``device``: None where there is no node.
    """

    machine: str
    rows: Mapping[str, str]
    trial: Trial
    registered: bool
    module: str | None
    nested: bool | None
    nodes: frozenset[str]
    device: Device | None
    acl: bytes | None
    accounts: Accounts
    config: Mapping[str, str]
    surroundings: tuple[Mapping[str, Any], ...]

    @property
    def flags(self) -> frozenset[str]:
        """The CPU's, those that only Linux gives it included."""
        return _flags(self.rows)

    @property
    def users(self) -> dict[str, bool]:
        """QEMU's users, and whether they may use the device."""
        return qemu_users(self.config, self.accounts, self.device, self.acl)

    @property
    def checks(self) -> list[Mapping[str, Any]]:
        """Each rule with its status."""
        return [
            *hardware(self.machine, self.flags, self.trial),
            *device_checks(self.nodes, self.trial, self.users),
            *self.surroundings,
        ]

    def profiles(self) -> dict[str, dict[str, Any]]:
        """{profile: {verdict, reasons}}."""
        return {profile: _profile(profile, self.trial, self.checks) for profile in PROFILES}

    def facts(self) -> dict[str, Any]:
        """The subset ``kvm``, as in docs/schemas.md. ``reasons`` also say why a value is None."""
        rows, checks = self.rows, self.checks
        reasons = _reasons(self.trial, checks)
        if self.nested is None:
            reasons.append({"source": "nested", "detail": f"{self.module or 'KVM'} has no parameter of that name"})
        return {
            "verdict": self.trial.verdict,
            "proven": list(self.trial.proven),
            "reasons": reasons,
            "api_version": self.trial.api_version,
            "module": self.module,
            "nested": self.nested,
            "device": self._device(),
            "users": self.users,
            "checks": checks,
            "profiles": self.profiles(),
            "cpu": {
                "vendor": rows.get("vendor_id") or rows.get("CPU implementer"),
                "model": rows.get("model name") or rows.get("cpu") or rows.get("CPU part") or rows.get("processor 0"),
                "flags": sorted(self.flags.difference(_NO_FLAGS_OF_A_GUEST.split())),
            },
        }

    def _device(self) -> dict[str, Any]:
        mode, owner, group = self.device or (None, None, None)
        return {
            "path": DEVICE,
            "exists": DEVICE in self.nodes,
            "mode": None if mode is None else f"{mode:04o}",
            "owner": None if owner is None else name_of(self.accounts.users, owner),
            "group": None if group is None else name_of(self.accounts.groups, group),
        }


def facts(host: Host, request: Request = PASSIVE) -> dict[str, Any]:
    """The subset ``kvm``."""
    return {**observe(host, request.active).facts(), "used_by": _used_by(host)}


def observe(host: Host, active: bool) -> Kvm:
    """Look at all of it; with ``active`` try it out."""
    machine, rows = _machine(), _cpuinfo(host)
    registered = host.exists(REGISTERED)
    module = _module(host, rows) if registered else None
    paths = {DEVICE, *(row[1] for row in NODES)}
    return Kvm(
        machine=machine,
        rows=rows,
        trial=_try(host, active, is_x86(machine)),
        registered=registered,
        module=module,
        nested=switch(host, module, "nested"),
        nodes=frozenset(path for path in paths if host.exists(path)),
        device=host.mode_and_owner(DEVICE),
        acl=host.acl(DEVICE),
        accounts=accounts(host),
        config=qemu_config(host),
        surroundings=tuple(surroundings(host, machine, rows, _flags(rows), module)),
    )


# KVM itself


def _machine() -> str:
    return os.uname().machine


def _try(host: Host, active: bool, x86: bool) -> Trial:
    """Ask KVM. Passive: open it and ask for its version, which changes nothing.

    Only a device that KVM has registered is opened. systemd makes the node of a module that is not loaded as well
    (kmod-static-nodes.service), and to open that one would load the module.
    """
    registered = (host.read(f"{REGISTERED}/dev") or "").strip()
    number = host.device_number(DEVICE)
    if not registered:
        return Trial(
            "unavailable", failed=("open", "the kernel has registered no KVM: no module of it is loaded and works")
        )
    if number != registered:
        why = f"is device {number}" if number else "is no device here"
        detail = f"the kernel has KVM as device {registered}, but {DEVICE} {why}: make it, or give it to this container"
        return Trial("unavailable", failed=("open", detail))
    try:
        descriptor = host.open(DEVICE, os.O_RDWR)
    except HostError as error:
        # Refused to us is not refused to QEMU.
        verdict = "unproven" if error.code in ("EACCES", "EPERM") else "unavailable"
        return Trial(verdict, failed=("open", str(error)))
    if descriptor is None:
        return Trial("unavailable", failed=("open", f"{DEVICE} is gone"))
    try:
        return _ask(descriptor, active, x86)
    finally:
        os.close(descriptor)


def _ask(descriptor: int, active: bool, x86: bool) -> Trial:
    try:
        version = fcntl.ioctl(descriptor, _GET_API_VERSION, 0)
    except OSError as error:
        return Trial(
            "unavailable", ("open",), None, ("api", str(HostError.from_os(DEVICE, "ask for its version", error)))
        )
    if version != _API_VERSION:
        return Trial(
            "unavailable", ("open",), version, ("api", f"KVM speaks version {version}, expected {_API_VERSION}")
        )
    proven = ("open", "api")
    if not active:
        return Trial("unproven", proven, version, ("vm", "no virtual machine was made: set probe to active"))
    from ansible_collections.bulwark.node.plugins.module_utils.node import kvm_probe

    more, failed = kvm_probe.try_out(descriptor, x86)
    verdict = "ready" if failed is None else "degraded" if failed[0] == kvm_probe.GUEST else "unavailable"
    return Trial(verdict, (*proven, *more), version, failed)


def _module(host: Host, rows: dict[str, str]) -> str | None:
    """The module that serves KVM: the CPU's own, another one, or ``kvm`` where it is one piece (arm64, s390x)."""
    found = [name for name in host.names(MODULES) if name.startswith("kvm_")]
    own = MODULE_OF.get(rows.get("vendor_id", ""))
    if own in found and len(found) > 1:
        return own
    return found[0] if found else "kvm" if host.exists(f"{MODULES}/kvm") else None


# the verdict


def _reasons(trial: Trial, checks: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Why KVM is not ready; where it is unavailable, with what CPU and firmware have to do with it."""
    reasons = trial.reasons()
    if trial.verdict == "unavailable":
        causes = ("hardware_virtualization", "firmware_lock")
        reasons += [_reason(check) for check in checks if check["name"] in causes and check["status"] == "fail"]
    return reasons


def _reason(check: Mapping[str, Any]) -> dict[str, str]:
    return {"source": check["name"], "detail": check["detail"]}


def _profile(name: str, trial: Trial, checks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
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


# who uses it


def _used_by(host: Host) -> dict[str, Any]:
    """{guests, libvirt, virt_handler, reason}: QEMU's processes outside of containers, and whether libvirt and KubeVirt serve here.

    libvirt's daemons end when nobody asks (``--timeout 120``): their sockets stay.
    """
    try:
        found = processes.everyone(host)
    except HostError as error:
        return {"guests": None, "libvirt": None, "virt_handler": None, "reason": str(error)}
    daemons = {process.name for process in found if process.name in _LIBVIRT and process.is_system}
    sockets = any(host.exists(f"/run/libvirt/{name}-sock") for name in ("libvirt", "virtqemud"))
    return {
        "guests": sum(1 for process in found if process.name.startswith(processes.QEMU) and not process.nested),
        "libvirt": bool(daemons) or sockets,
        # It runs in a container that shares the machine's processes.
        "virt_handler": any(process.name == "virt-handler" for process in found),
        "reason": None,
    }


# the CPU


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


def _flags(rows: Mapping[str, str]) -> frozenset[str]:
    return frozenset((rows.get("flags") or rows.get("Features") or rows.get("features") or "").split())
