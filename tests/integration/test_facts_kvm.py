# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The subset kvm on this very machine, beside virt-host-validate, kvm-ok and the kernel's own judgement of access."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import kvm_checks, kvm_users

from .conftest import Module, tool

KVM = Path("/dev/kvm")
REGISTERED = Path("/sys/class/misc/kvm")
# What virt-host-validate calls it, beside what we do.
NAMES = {
    "hardware virtualization": "hardware_virtualization",
    "device /dev/kvm exists": "kvm_device",
    "device /dev/kvm is accessible": "kvm_access",
    "device /dev/vhost-net exists": "vhost_net",
    "device /dev/net/tun exists": "tun",
    "device assignment IOMMU support": "iommu_firmware",
    "IOMMU is enabled by kernel": "iommu_groups",
    "PowerPC KVM module loaded": "powerpc_kvm_hv",
    **{f"cgroup '{name}' controller support": f"cgroup_{name}" for name in kvm_checks.CONTROLLERS},
}
SECURE = ("sev", "tdx", "secure_execution")
# Where we differ on purpose: (name, its word, ours) and why.
DIFFERENT = {
    # It looks at the flag and then asks KVM no more; we asked, and KVM made a virtual machine.
    ("hardware_virtualization", "FAIL", "pass"),
    # It warns, since guests without devices do not care; we fail the one profile that does.
    ("iommu_groups", "WARN", "fail"),
    # It asks BPF whether cgroup v2 can guard devices, which is more than a look.
    ("cgroup_devices", "PASS", "unknown"),
    # Where no flag says whose CPU it is (or on arm64 before libvirt 10.2) it gives up; we go by the maker's name.
    ("iommu_firmware", "WARN", "pass"),
    ("iommu_firmware", "WARN", "unknown"),
}


def gathered(module: Module, probe: str) -> dict[str, Any]:
    facts = module("node_facts", {"gather_subset": ["kvm"], "probe": probe})["ansible_facts"]["bulwark"]
    assert facts["errors"] == []
    kvm_facts: dict[str, Any] = facts["kvm"]
    return kvm_facts


def run(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LC_ALL": "C"}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)


def test_each_check_agrees_with_virt_host_validate(module: Module) -> None:
    said = run(tool("virt-host-validate"), "qemu").stdout
    rows = re.findall(r"QEMU: Checking (?:if |for )?(.+?) *: (PASS|FAIL|WARN|NOTE)", said)
    assert len(rows) >= 10, said
    ours = {check["name"]: check["status"] for check in gathered(module, "active")["checks"]}
    secure = [status for name, status in rows if name == "secure guest support"]
    # One word for all makers: it passes where one of them passes.
    assert secure == ["PASS" if "pass" in [ours[name] for name in SECURE] else "WARN"]
    for theirs, word in rows:
        if theirs not in NAMES:
            assert "secure guest support" in theirs or "Secure Encrypted" in theirs, f"{theirs} is new to us"
            continue
        name = NAMES[theirs]
        assert ours[name] == word.lower() or (name, word, ours[name]) in DIFFERENT, (name, word, ours[name])


def test_the_verdict_agrees_with_kvm_ok_or_was_proven(module: Module) -> None:
    ok = run(tool("kvm-ok")).returncode == 0
    facts = gathered(module, "active")
    if facts["verdict"] == "ready":
        # It says no where the flag is missing, and yes where the device is there: neither asks KVM. We did.
        assert {"open", "api", "vm", "vcpu"} <= set(facts["proven"])
        assert ok or not {"vmx", "svm"} & set(facts["cpu"]["flags"])
    elif not ok:
        assert facts["verdict"] == "unavailable"


def test_active_proves_what_passive_leaves_open(module: Module) -> None:
    if not (REGISTERED.exists() and os.access(KVM, os.R_OK | os.W_OK)):
        pytest.skip("hardware: this machine has no KVM that we may use")
    passive, active = gathered(module, "passive"), gathered(module, "active")
    assert (passive["verdict"], passive["proven"], passive["api_version"]) == ("unproven", ["open", "api"], 12)
    assert active["verdict"] in ("ready", "degraded", "unavailable")
    assert active["proven"][:2] == ["open", "api"]
    assert (active["reasons"] == []) or active["reasons"][0]["source"] not in active["proven"]
    if os.uname().machine == "x86_64":
        assert active["verdict"] != "ready" or active["proven"][-1] == "real_mode_guest"
    assert {key: value for key, value in active.items() if key in ("device", "users", "cpu", "module")} == {
        key: value for key, value in passive.items() if key in ("device", "users", "cpu", "module")
    }


def test_the_device_is_as_ls_shows_it(module: Module) -> None:
    if not KVM.exists():
        pytest.skip("hardware: this machine has no /dev/kvm")
    said = run("stat", "--format=%04a %U %G", str(KVM)).stdout.split()
    device = gathered(module, "passive")["device"]
    assert [device["mode"], device["owner"], device["group"]] == [said[0].rjust(4, "0"), said[1], said[2]]


def test_the_flags_are_flags_that_lscpu_shows_too(module: Module) -> None:
    said = re.search(r"^Flags:\s+(.*)$", run("lscpu").stdout, re.MULTILINE)
    if said is None:
        pytest.skip("hardware: this CPU has no flags")
    cpu = gathered(module, "passive")["cpu"]
    shown = set(said.group(1).split())
    assert set(cpu["flags"]) <= shown
    assert {"fpu", "sse2"} <= set(cpu["flags"]) or os.uname().machine != "x86_64"
    assert not {"hypervisor", "constant_tsc", "nopl"} & set(cpu["flags"])


# 0: nothing, 4: read, 6: read and write
BITS = (0, 4, 6)
ACLS = (
    None,
    "u:1001:rw",
    "u:1001:r,g:1001:rw",
    "g:2002:rw",
    "g:2001:rw,g:2002:r",
    "u:1001:rw,g:2002:rw,m::r",
    "u:1001:rw,g:2002:rw,m::-",
    "g:2001:-,g:2002:-",
)
# (uid, its groups): the owner, one of an ACL, a member of the file's group, a member of two groups of the ACL, a stranger
WHO = ((1000, (9,)), (1001, (1001,)), (1003, (2000,)), (1004, (2001, 2002)), (1005, (9,)))


def test_whether_a_user_may_use_the_device_is_what_the_kernel_says(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("judging as other users takes root")
    tool("setfacl")
    # Its parents may keep others out: only what lies in it is looked for.
    tmp_path.chmod(0o711)
    file = tmp_path / "kvm"
    file.touch()
    os.chown(file, 1000, 2000)
    wrong = []
    modes = [(a << 6 | b << 3 | c) for a, b, c in itertools.product(BITS, BITS, BITS)]
    for acl, mode in itertools.product(ACLS, modes):
        run("setfacl", "--remove-all", str(file))
        file.chmod(mode)
        if acl:
            assert run("setfacl", "--modify", acl, str(file)).returncode == 0
        host = Host()
        seen, extended = host.mode_and_owner(str(file)), host.acl(str(file))
        assert seen is not None
        ours = [kvm_users.may_use(seen, extended, uid, set(groups)) for uid, groups in WHO]
        theirs = _accessible(file)
        if ours != theirs:
            wrong.append((oct(mode), acl, ours, theirs))
    assert wrong == []


def _accessible(file: Path) -> list[bool]:
    """access(2) of each user, in a child that became it."""
    descriptor = os.open(file.parent, os.O_PATH)
    answers = []
    for uid, groups in WHO:
        pid = os.fork()
        if pid == 0:
            try:
                os.setgroups(groups)
                os.setresgid(groups[0], groups[0], groups[0])
                os.setresuid(uid, uid, uid)
                os._exit(0 if os.access(file.name, os.R_OK | os.W_OK, dir_fd=descriptor) else 1)
            finally:
                os._exit(2)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert code in (0, 1)
        answers.append(code == 0)
    os.close(descriptor)
    return answers
