# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""KVM made ready: its modules now and at boot, nested guests, who may open the device, and what a use of it takes.

No module is unloaded unasked. What udev(7) and modprobe(8) read at boot is written before modules are loaded, for loading reads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.converge import (
    Change,
    Params,
    Undos,
    Unmet,
    Verdict,
    other_value,
    unmet_error,
)
from ansible_collections.bulwark.node.plugins.module_utils.dropin import Persisted
from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError, HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.manifest import Manifest, released
from ansible_collections.bulwark.node.plugins.module_utils.node import (
    kvm_facts,
    kvm_guard,
    kvm_modules,
    kvm_options,
    kvm_persist,
    kvm_users,
)
from ansible_collections.bulwark.node.plugins.module_utils.node.kvm_checks import DEVICE, MODULES, NODES, Trial, switch
from ansible_collections.bulwark.node.plugins.module_utils.node.kvm_modules import AVAILABLE, LOADED
from ansible_collections.bulwark.node.plugins.module_utils.node.kvm_options import ARGUMENT_SPEC, EXTRA, Desired
from ansible_collections.bulwark.node.plugins.module_utils.node.kvm_state import State
from ansible_collections.bulwark.node.plugins.module_utils.node.system import has_systemd

__all__ = ["ARGUMENT_SPEC", "Kvm"]

# How long udev may take to make the node what its rules say.
_SETTLE = ["udevadm", "settle", "--timeout=10"]
_UDEV = "/run/udev/control"
_PROGRAMS = ("modprobe", "gpasswd")
_FOLDERS = ("/usr/sbin", "/sbin", "/usr/bin", "/bin")
# What reads modules-load.d where systemd does not.
_INIT_SCRIPTS = ("/etc/init.d/kmod", "/etc/init.d/modules")


class Kvm:
    """The domain of the module ``kvm``."""

    name = "kvm"

    def __init__(self, host: Host) -> None:
        self._host = host
        self._manifest = Manifest(host, self.name)

    def desired(self, params: Params) -> Desired:
        """The options; raises OptionError."""
        return kvm_options.desired(params)

    def observe(self, desired: Desired) -> State:
        """KVM, its modules and our files; only users that no file of the machine knows cost a command."""
        host = self._host
        kvm = kvm_facts.observe(host, desired.active)
        base = kvm_modules.base_modules(kvm.machine, kvm.rows.get("vendor_id", ""))
        if kvm.registered:
            base = tuple(dict.fromkeys(("kvm", kvm.module or "kvm")))
        modules = kvm_modules.states(host, (*base, *EXTRA))
        nested_of = self._nested_of(kvm.module) if kvm.registered else base[-1]
        reloads = desired.nested not in (None, kvm.nested) and modules.get(nested_of or "") == LOADED
        loads = kvm_persist.observe_loads(host, modules)
        options = kvm_persist.observe_options(host, [f"{nested_of}.nested"] if nested_of else [])
        rules = kvm_persist.observe_rules(host)
        entry = self._manifest.mine("devices").get(DEVICE)
        accounts = kvm.accounts.with_strangers(kvm_users.strangers(host, kvm.accounts, desired.users))
        group = desired.group or kvm_users.group_of(accounts, kvm.device)
        return State(
            kvm=replace(kvm, accounts=accounts),
            base=base,
            modules=modules,
            unloadable=kvm_modules.unloadable(host),
            denials=kvm_modules.denials(host, kvm_persist.MODPROBE.files(host), modules),
            nested_of=nested_of,
            references=kvm_modules.references(host, nested_of) if reloads and nested_of else None,
            holders=tuple(kvm_modules.holders(host)) if reloads else (),
            loads=loads,
            options=options,
            rules=rules,
            first_device=entry["before"] if entry and self._is_ours(entry, kvm.device, rules) else None,
            recorded_device=entry["before"] if entry else None,
            added=tuple(sorted(self._manifest.mine("members"))),
            group=group,
            lacking=kvm_users.lacking(host, accounts, desired.users, group),
            udev=host.exists(_UDEV),
            loader=has_systemd(host) or any(map(host.exists, _INIT_SCRIPTS)),
            programs=frozenset(p for p in _PROGRAMS if any(host.exists(f"{folder}/{p}") for folder in _FOLDERS)),
            estranged=() if desired.present else self._manifest.estranged(),
            lost=tuple(p.path for p in (loads, options, rules) if self._manifest.lost(p.path, p.text)),
        )

    def _is_ours(self, entry: Mapping[str, str], device: kvm_users.Device | None, rules: Persisted) -> bool:
        """Whether the node is still as we set it: in this boot, or by our rule since an earlier one."""
        same = entry["boot"] == self._host.boot_id() or bool(rules.settings)
        return same and kvm_users.device_text(device) == entry["after"]

    def _nested_of(self, module: str | None) -> str | None:
        """The module that has the parameter."""
        return next((m for m in (module, "kvm") if self._host.exists(f"{MODULES}/{m}/parameters/nested")), None)

    def check(self, state: State, desired: Desired) -> None:
        """Users and groups exist, modules are there, no guest is in the way, nobody else wins, and what is required will be there."""
        changes = self.plan(state, desired)
        if desired.present:
            kvm_guard.check_names(state, desired)
            kvm_guard.check_nested(state, desired)
        # gpasswd(1) replaces this one.
        groups = [Change("edit", "/etc/group", None, None) for change in changes if change.kind == "member"]
        self._manifest.check([*changes, *groups[:1]])
        if desired.present:
            after = self.predict(state, changes)
            missing = [
                *kvm_guard.missing(state, desired),
                *kvm_guard.unserved(after),
                *kvm_guard.required(after, desired),
            ]
            if missing:
                raise unmet_error(missing)
            kvm_guard.check_owners(state, desired)
        kvm_guard.check_programs(state, {change.kind for change in changes})

    def plan(self, state: State, desired: Desired) -> list[Change]:
        """Files first, for loading a module reads them; then modules, nested, the device and members."""
        files = [
            change
            for persisted, settings in zip(state.persisted, state.settings(desired))
            for change in persisted.plan(settings)
        ]
        if not desired.present:
            return [*_device_back(state), *_members_back(state), *files]
        nested = list(_nested(state, desired))
        return [
            *(files if desired.persist else []),
            *(
                Change("module", name, AVAILABLE, LOADED)
                for name in state.wanted(desired)
                if state.modules[name] == AVAILABLE and not (nested and name == state.nested_of)
            ),
            *nested,
            *_device(state, desired),
            *(
                Change("member", f"{state.group}/{user}", None, "member")
                for user in desired.users
                if state.group and not state.is_member(state.group, user)
            ),
        ]

    def predict(self, state: State, changes: Sequence[Change]) -> State:
        """The state after the changes. What KVM will answer once it is loaded is not foretold: ``unproven``."""
        for change in changes:
            state = replace(state, **_predicted(state, change))
        return state

    def apply(self, change: Change, desired: Desired, undos: Undos) -> None:
        """One change."""
        if change.kind == "module":
            self._load(undos, change.target)
        elif change.kind == "nested":
            self._set_nested(change, undos)
        elif change.kind == "device":
            self._give(change, desired, undos)
        elif change.kind == "member":
            self._join(change, undos)
        else:
            self._manifest.file(change.target, change.after, undos)

    def _load(self, undos: Undos, name: str, *parameters: str) -> None:
        def undo() -> None:
            if kvm_modules.states(self._host, [name])[name] == LOADED:
                raise BulwarkError("it was loaded and stays so: no module is unloaded unasked")

        undos.push(name, undo)
        self._host.run(["modprobe", name, *parameters])
        self._settle()

    def _set_nested(self, change: Change, undos: Undos) -> None:
        """Load the module with it, again where it is loaded. What modprobe is given wins over all files."""
        module = _module_of(change)
        if change.before is None:
            self._load(undos, module, f"nested={change.after:d}")
            return

        device = self._host.mode_and_owner(DEVICE)

        def undo() -> None:
            if switch(self._host, module, "nested") != change.before:
                self._reload(module, change.before, device)

        undos.push(change.target, undo)
        self._reload(module, change.after, device)

    def _reload(self, module: str, nested: bool, device: kvm_users.Device | None) -> None:
        if self._host.exists(f"{MODULES}/{module}"):
            self._host.run(["modprobe", "-r", module])
        self._host.run(["modprobe", module, f"nested={nested:d}"])
        self._settle()
        # The node was made anew, and where no rule says otherwise with other permissions.
        if device and self._host.mode_and_owner(DEVICE) not in (None, device):
            self._host.give(DEVICE, device[0], device[1:])

    def _settle(self) -> None:
        if self._host.exists(_UDEV):
            self._host.run(_SETTLE)

    def _give(self, change: Change, desired: Desired, undos: Undos) -> None:
        old, accounts = self._host.mode_and_owner(DEVICE), kvm_users.accounts(self._host)
        if old is None:
            raise HostError(DEVICE, "is not there, though KVM is loaded", "ENOENT")
        new = kvm_users.with_changes(old, change.after, accounts)
        boot, entry = self._host.boot_id(), self._manifest.mine("devices").get(DEVICE)
        if entry and entry["boot"] != boot and not self._is_ours(entry, old, kvm_persist.observe_rules(self._host)):
            # The node of which it speaks is no more.
            self._manifest.forget("devices", [DEVICE])
        self._manifest.change(
            "devices",
            [DEVICE],
            read=lambda path: kvm_users.device_text(self._host.mode_and_owner(path)),
            write=lambda: self._host.give(DEVICE, new[0], new[1:]),
            undo=lambda: self._host.give(DEVICE, old[0], old[1:]),
            undos=undos,
            # Giving it back is no other value of ours: where that is cut short, the next run goes on.
            more={"after": kvm_users.device_text(new) or "", "boot": boot} if desired.present else None,
        )

    def _join(self, change: Change, undos: Undos) -> None:
        group, user = change.target.split("/", 1)
        there, back = ("-a", "-d") if change.after else ("-d", "-a")

        def run(how: str) -> None:
            self._host.run(["gpasswd", how, user, group])

        def read(key: str) -> str | None:
            return "member" if user in kvm_users.accounts(self._host).members(group) else None

        self._manifest.change("members", [change.target], read, lambda: run(there), lambda: run(back), undos)

    def settle(self, desired: Desired) -> None:
        """Entries of what is as it was, or another's by now, go with the rest."""
        if not desired.present:
            self._manifest.settle()

    def judge(self, before: State, after: State, left: Sequence[Change], desired: Desired) -> Verdict:
        """What is left, and what is required and missing, fails the run; nested that waits for a boot does not."""
        failing = [other_value(change) for change in left]
        if desired.present:
            failing += [*kvm_guard.unserved(after), *kvm_guard.required(after, desired)]
        waiting = list(_waiting(after, desired))
        return Verdict(
            unmet=tuple(failing + waiting),
            warnings=(
                *kvm_guard.warnings(before, after, desired),
                *before.estranged,
                *released(before.files(), after.files()),
            ),
            reboot_required=bool(waiting),
            restart_required=after.lacking,
            disruptive=tuple(
                {
                    "target": _module_of(change),
                    "reason": "it is unloaded and loaded again: no guest can start meanwhile",
                }
                for change in _nested(before, desired)
                if change.before is not None
            ),
            failed=bool(failing),
        )


# the plan


def _module_of(change: Change) -> str:
    return change.target.split("/")[3]


def _nested(state: State, desired: Desired) -> Iterator[Change]:
    """A module that is loaded takes it by a reload alone; one that is yet to be loaded, by that."""
    module = state.nested_of
    if not desired.present or desired.nested in (None, state.kvm.nested) or module is None:
        return
    if state.modules[module] == AVAILABLE or (state.modules[module] == LOADED and desired.reload):
        yield Change("nested", f"{MODULES}/{module}/parameters/nested", state.kvm.nested, desired.nested)


def _device(state: State, desired: Desired) -> Iterator[Change]:
    """Of the node that loading KVM makes, nothing is known before."""
    wanted = desired.device
    if not wanted:
        return
    if state.kvm.device is None or not state.kvm.registered:
        if any(state.modules[name] == AVAILABLE for name in state.base):
            yield Change("device", DEVICE, None, wanted)
        return
    known = kvm_users.described(state.kvm.device, state.kvm.accounts)
    if any(known[key] != value for key, value in wanted.items()):
        yield Change("device", DEVICE, {key: known[key] for key in wanted}, wanted)


def _device_back(state: State) -> Iterator[Change]:
    first = kvm_users.parse_device(state.first_device)
    if first and state.kvm.device and first != state.kvm.device:
        now, then = (kvm_users.described(device, state.kvm.accounts) for device in (state.kvm.device, first))
        yield Change("device", DEVICE, now, then)


def _members_back(state: State) -> Iterator[Change]:
    for key in state.added:
        group, _slash, user = key.partition("/")
        if user in state.kvm.accounts.members(group):
            yield Change("member", key, "member", None)


# the prediction


def _predicted(state: State, change: Change) -> dict[str, Any]:
    """The fields of the state that a change changes."""
    kvm = state.kvm
    if change.kind == "module":
        return _predicted_module(state, change.target)
    if change.kind == "nested":
        more = _predicted_module(state, _module_of(change)) if change.before is None else {}
        return {**more, "kvm": replace(more.get("kvm", kvm), nested=change.after)}
    if change.kind == "device":
        old = kvm.device or (0o600, 0, 0)
        new = kvm_users.with_changes(old, change.after, kvm.accounts)
        named = state.group == change.after.get("group", state.group)
        group = state.group if named else kvm_users.group_of(kvm.accounts, new)
        return {"kvm": replace(kvm, device=new), "group": group}
    if change.kind == "member":
        group, _slash, user = change.target.partition("/")
        return {"kvm": replace(kvm, accounts=kvm.accounts.with_member(group, user, bool(change.after)))}
    return {name: getattr(state, name).predict([change]) for name in ("loads", "options", "rules")}


def _predicted_module(state: State, name: str) -> dict[str, Any]:
    kvm, modules = state.kvm, {**state.modules, name: LOADED}
    if name not in state.base:
        paths = {path for option, path, *_rest in NODES if option == name}
        return {"modules": modules, "kvm": replace(kvm, nodes=kvm.nodes | paths)}
    trial = Trial("unproven", failed=("open", f"{' and '.join(state.base)} must be loaded first"))
    # Who may use the node that udev will set up, nobody can tell.
    device = kvm.device if state.loading else None
    served = replace(
        kvm, trial=trial, registered=True, module=state.base[-1], nodes=kvm.nodes | {DEVICE}, device=device
    )
    return {"modules": modules, "loading": True, "kvm": served}


def _waiting(state: State, desired: Desired) -> Iterator[Unmet]:
    """Nested that the loaded module does not have yet."""
    if desired.present and desired.nested not in (None, state.kvm.nested) and state.nested_of:
        yield Unmet(
            "nested",
            desired.nested,
            state.kvm.nested,
            f"{state.nested_of} takes it only when it is loaded, and is loaded already",
            "Reboot, or set reload to true while no guest runs.",
        )
