# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeps the module ``kvm`` from doing what it is asked for, and what a use of KVM lacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ansible_collections.bulwark.node.plugins.module_utils.converge import Unmet
from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError, OptionError, OwnerError
from ansible_collections.bulwark.node.plugins.module_utils.manifest import forgotten
from ansible_collections.bulwark.node.plugins.module_utils.node.kvm_checks import DEVICE
from ansible_collections.bulwark.node.plugins.module_utils.node.kvm_modules import (
    AVAILABLE,
    BUILT_IN,
    LOADED,
    MISSING,
    Denial,
)
from ansible_collections.bulwark.node.plugins.module_utils.node.kvm_options import Desired
from ansible_collections.bulwark.node.plugins.module_utils.node.kvm_state import State
from ansible_collections.bulwark.node.plugins.module_utils.node.kvm_users import described, device_text

__all__ = [
    "check_names",
    "check_nested",
    "check_owners",
    "check_programs",
    "missing",
    "required",
    "unserved",
    "warnings",
]

_FIRST_NORMAL_ID = 1000
# Members of these read the kernel's memory, disks or logs, or become root.
_PRIVILEGED = frozenset(("sudo", "wheel", "adm", "disk", "shadow", "docker", "lxd", "kmem", "systemd-journal", "staff"))
_CAUSES = ("hardware_virtualization", "firmware_lock")
# What of this module mends what a check found; of other causes the check itself says what to do.
_REMEDIES = {
    "tun": "Set tun to true.",
    "vhost_net": "Set vhost_net to true.",
    "kubevirt_vhost_net": "Set vhost_net to true.",
    "qemu_user": "Set device, or users.",
}
_NO_NODE = "Make the node, or give it to this container."
_REMEDY = "Put it right there, and run this again."


def check_names(state: State, desired: Desired) -> None:
    """Owner, group and users are known to this machine. Raises OptionError."""
    accounts = state.kvm.accounts
    # udev resolves names before any directory service can be reached.
    if desired.owner is not None and desired.owner not in set(accounts.users) - accounts.strangers:
        raise OptionError("device.owner", desired.owner, "a user of /etc/passwd: udev knows no other one at boot")
    if desired.group is not None and desired.group not in accounts.groups:
        raise OptionError(
            "device.group", desired.group, "a group of /etc/group: make it with ansible.builtin.group, system: true"
        )
    for index, user in enumerate(desired.users):
        if user not in accounts.users:
            raise OptionError(f"users[{index}]", user, "a user that this machine knows")
    if desired.users and state.group is None:
        raise OptionError("device.group", None, f"the group that users are to join, for {DEVICE} has none but root's")
    if desired.users and accounts.groups.get(state.group or "", (None, ()))[0] == 0:
        raise OptionError(
            "device.group", state.group, "another group than root's for users to join: it opens more than KVM"
        )
    if desired.users and state.group in _PRIVILEGED:
        raise OptionError(
            "device.group", state.group, "a group without other rights for users to join: it opens more than KVM"
        )
    if desired.users and state.group not in accounts.groups:
        raise OptionError(
            "device.group", state.group, "a group of /etc/group: members of another one are set elsewhere"
        )


def check_nested(state: State, desired: Desired) -> None:
    """The module takes it, and no guest is in the way of a reload. Raises BulwarkError."""
    module, wanted = state.nested_of, desired.nested
    if wanted is None:
        return
    if module is None:
        raise OptionError("nested", wanted, f"nothing: {state.kvm.module or 'KVM'} shows no parameter nested")
    what, text = state.modules[module], f"{wanted:d}"
    if state.kvm.nested == wanted or what not in (LOADED, BUILT_IN):
        return
    if what == BUILT_IN:
        argument = f"{state.nested_key}={text}"
        raise OptionError(
            "nested", wanted, f"another way: {module} is built into this kernel, which must be booted with {argument}"
        )
    if not (desired.persist or desired.reload):
        raise OptionError("nested", wanted, f"reload or persist to be true: {module} is loaded, and takes it only then")
    # What an earlier run prepared needs no quiet moment.
    if desired.reload or state.options.settings.get(state.nested_key) != text:
        _check_unused(state, module, desired.reload)


def _check_unused(state: State, module: str, reload: bool) -> None:
    """A process that merely has the device open is in the way of a reload alone."""
    guests, others = (
        # A process names itself as it likes.
        ", ".join(f"{holder.name!r} (process {holder.pid})" for holder in state.holders if holder.guest == kind)
        for kind in (True, False)
    )
    if guests:
        raise BulwarkError(
            f"nested: guests run, and {module} cannot be loaded again: {guests}. Stop or move them first"
        )
    if state.references and (reload or not others):
        who = others or "something that is not seen here"
        raise BulwarkError(f"nested: {module} is in use by {who} and cannot be loaded again. Stop that first")


def check_programs(state: State, kinds: set[str]) -> None:
    """The commands that the plan takes are there. Raises BulwarkError."""
    for kind, program, package in (
        ("module", "modprobe", "kmod"),
        ("nested", "modprobe", "kmod"),
        ("member", "gpasswd", "passwd (on EL shadow-utils)"),
    ):
        if kind in kinds and program not in state.programs:
            raise BulwarkError(f"{program} is not there: install the package {package}")


def check_owners(state: State, desired: Desired) -> None:
    """What is persisted is what counts at boot. Raises BulwarkError."""
    options, rules, _loads = state.settings(desired)
    wanted = [name for name in state.wanted(desired) if state.modules[name] in (LOADED, AVAILABLE)]
    for name in wanted:
        denial = state.denials.get(name)
        if denial and (desired.persist or (denial.always and state.modules[name] == AVAILABLE)):
            raise OwnerError(_denied(name, denial))
    if not desired.persist:
        return
    if wanted and not state.loader:
        raise BulwarkError(
            f"persist: nothing here loads modules of modules-load.d at boot ({', '.join(wanted)}). Set persist to false"
        )
    if desired.device and not state.udev:
        raise BulwarkError(f"persist: no udev runs here that would set up {DEVICE} at boot. Set persist to false")
    if desired.nested is not None:
        state.options.refuse_winners(options)
    if desired.device:
        state.rules.refuse_winners(rules)


def _denied(name: str, denial: Denial) -> str:
    when = "" if denial.always else " at boot"
    return f"{denial.path} holds {denial.line!r}: {name} is not loaded{when}. Remove it there"


def missing(state: State, desired: Desired) -> Iterator[Unmet]:
    """The modules that are nowhere, or that cannot make KVM on this CPU: all of them."""
    for name in state.wanted(desired):
        if state.modules[name] == MISSING and not (name == "kvm" and state.kvm.registered):
            denial = state.denials.get(name)
            reason = f"{name} is neither loaded, nor built in, nor in the modules.dep of the running kernel"
            reason = f"{reason}; {_denied(name, denial)}" if denial else reason
            remedy = (
                "Install the kernel's package of modules, or reboot where a newer kernel has replaced the running one."
            )
            yield Unmet(name, LOADED, MISSING, reason, remedy)
        elif state.modules[name] == AVAILABLE and state.unloadable:
            yield Unmet(
                name,
                LOADED,
                AVAILABLE,
                f"{name} is not loaded: {state.unloadable}",
                "Boot a kernel that loads modules.",
            )
    if desired.device and state.kvm.device is None and state.kvm.registered:
        yield Unmet("device", desired.device, None, f"{DEVICE} is not there, though the kernel has KVM", _NO_NODE)
    if not state.kvm.registered:
        for check in state.kvm.checks:
            if check["name"] in _CAUSES and check["status"] == "fail":
                yield Unmet(
                    check["name"],
                    "pass",
                    "fail",
                    check["detail"],
                    "Turn it on in the firmware, or choose another machine.",
                )


def unserved(state: State) -> Iterator[Unmet]:
    """All modules are there, and yet the kernel has no KVM."""
    if not state.kvm.registered and all(state.modules[name] in (LOADED, BUILT_IN) for name in state.base):
        reason = state.kvm.trial.failed[1] if state.kvm.trial.failed else ""
        yield Unmet("module", state.base[-1], None, reason, "The kernel's log says why: journalctl -k --grep kvm.")


def required(state: State, desired: Desired) -> Iterator[Unmet]:
    """Everything that the named use of KVM lacks. What loading KVM will bring is not counted."""
    if desired.require is None:
        return
    trial = state.kvm.trial
    proven = trial.failed is None or (trial.failed[0] == "vm" and not desired.active)
    if not (proven or state.loading) and trial.failed:
        step, detail = trial.failed
        yield Unmet(step, "ready", trial.verdict, detail, _REMEDY, {"profile": desired.require})
    for check in state.kvm.checks:
        name = check["name"]
        unknown = state.loading and state.kvm.device is None and name == "qemu_user"
        # The trial itself said it, with its reason.
        told = name == "kvm_access" and not proven
        if desired.require in check["profiles"] and check["status"] == "fail" and not (unknown or told):
            remedy = _REMEDIES.get(name, _REMEDY)
            yield Unmet(name, "pass", "fail", check["detail"], remedy, {"profile": desired.require})


def warnings(before: State, after: State, desired: Desired) -> Iterator[str]:
    """What an operator should know."""
    wanted = before.settings(desired)
    for persisted, settings in zip(after.persisted, wanted):
        agreeing = {owner.key: settings.get(owner.key, owner.value) for owner in persisted.owners}
        if desired.present and desired.persist:
            yield from persisted.warnings(agreeing)
        else:
            yield from persisted.others(agreeing)
        if desired.present and not desired.persist:
            yield from persisted.contradictions(settings)
        if persisted.path in before.lost and before.files()[persisted.path] != persisted.text:
            yield persisted.forgotten()
    dropped = sorted(set(before.loads.settings) - set(after.loads.settings))
    loaded = [name for name in dropped if after.modules.get(name) == LOADED]
    if loaded:
        yield f"{', '.join(loaded)} {'stays' if len(loaded) == 1 else 'stay'} loaded until the next boot: no module is unloaded unasked"
    if not desired.present:
        if before.options.settings and after.modules.get(after.nested_of or "") == LOADED:
            yield f"{after.nested_of} keeps nested as it is until it is loaded again"
        device = after.kvm.device
        if before.first_device is None and before.recorded_device not in (None, device_text(device)) and device:
            left = described(device, after.kvm.accounts)
            reason = f"it is {left['mode']} {left['owner']}:{left['group']}, made anew or changed by another since this module set it"
            yield forgotten([DEVICE], reason)
        # udev made the node so from the first, and nothing else is known of it.
        elif before.rules.settings and before.first_device is None and device:
            yield f"{DEVICE} keeps the mode {device[0]:04o}, its owner and its group until the next boot"
        return
    yield from _device_warnings(after, desired)
    if desired.require:
        profile = after.kvm.profiles()[desired.require]
        seen: Mapping[str, str] = {reason["source"]: reason["detail"] for reason in profile["reasons"]}
        for check in after.kvm.checks:
            if desired.require in check["profiles"] and check["status"] == "warn" and check["name"] in seen:
                yield f"{desired.require}: {check['detail']}"
        if after.kvm.trial.failed and not desired.active:
            yield f"{desired.require}: {after.kvm.trial.failed[1]}"


def _device_warnings(after: State, desired: Desired) -> Iterator[str]:
    device, accounts = after.kvm.device, after.kvm.accounts
    if device and desired.mode is not None and device[0] & 0o002:
        yield f"{DEVICE} has the mode {device[0]:04o}: every local user may run guests"
    if device and desired.users and device[0] & 0o060 != 0o060:
        yield f"{DEVICE} has the mode {device[0]:04o}: members of {after.group} may not read and write it"
    gid = accounts.groups.get(desired.group or "", (0, ()))[0]
    uid = accounts.users.get(desired.owner or "", (0, 0))[0]
    for option, name, number in (("group", desired.group, gid), ("owner", desired.owner, uid)):
        if desired.persist and _FIRST_NORMAL_ID <= number < 65534:
            yield f"device.{option}: {name} ({number}) is none of the system's: udev 258 and 259 leave it out at boot, later ones warn"
