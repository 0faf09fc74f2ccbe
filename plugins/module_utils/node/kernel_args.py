# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's arguments, staged for the next boot: written where the boot loader's entries come from, and these made anew."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ansible_collections.bulwark.node.plugins.module_utils.converge import (
    Change,
    Params,
    Undos,
    Unmet,
    Verdict,
    other_value,
)
from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError, OwnerError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.manifest import MANIFEST, Manifest
from ansible_collections.bulwark.node.plugins.module_utils.node import boot_loader, kernel_cmdline, tuned
from ansible_collections.bulwark.node.plugins.module_utils.node.boot_loader import Goal, Source
from ansible_collections.bulwark.node.plugins.module_utils.node.kernel_args_checks import (
    check_length,
    check_memory,
    check_target,
    refuse_lines,
    refuse_owners,
    refuse_spaces,
)
from ansible_collections.bulwark.node.plugins.module_utils.node.kernel_args_options import (
    ARGUMENT_SPEC,
    Desired,
    parse,
)
from ansible_collections.bulwark.node.plugins.module_utils.node.kernel_args_state import (
    State,
    goal_of,
    is_stale,
    lines,
    maker,
    predicted,
    safe,
    shown,
)
from ansible_collections.bulwark.node.plugins.module_utils.node.kernel_cmdline import key
from ansible_collections.bulwark.node.plugins.module_utils.units import format_size

__all__ = ["ARGUMENT_SPEC", "KernelArgs"]

_POOLS = "/sys/kernel/mm/hugepages"
_LOADERS_OWN = ("BOOT_IMAGE", "initrd")


class KernelArgs:
    """The domain of the module ``kernel_args``."""

    name = "kernel_args"

    def __init__(self, host: Host) -> None:
        self._host = host
        self._manifest = Manifest(host, self.name)
        self._fresh = False

    def desired(self, params: Params) -> Desired:
        """The groups that the options name; raises OptionError."""
        return parse(params)

    def observe(self, desired: Desired) -> State:
        """Files alone; nothing is forked."""
        host = self._host
        verdict = boot_loader.detect(host)
        boot = verdict.backend.observe(host) if verdict.backend else None
        known = {
            path: "" if entry["before"] is None else entry["before"]["text"]
            for path, entry in self._manifest.mine("files").items()
        }
        if boot:
            boot = replace(boot, entries=tuple(replace(entry, first=known.get(entry.path)) for entry in boot.entries))
        pools = (re.fullmatch(r"hugepages-([0-9]+)kB", name) for name in host.names(_POOLS))
        arguments, path = tuned.boot_arguments(host)
        return State(
            wanted=desired,
            verdict=verdict,
            boot=boot,
            running=boot_loader.running(host),
            first=known.get(boot.edited) if boot and boot.edited else None,
            records=tuple(path for path in boot_loader.RECORDS if host.exists(path)),
            sizes=tuple(int(match.group(1)) * 1024 for match in pools if match),
            tuned=tuple(Source(argument, path, 0, True) for argument in kernel_cmdline.split(arguments)),
        )

    def check(self, state: State, desired: Desired) -> None:
        """The boot loader is one that we serve, nobody else has the last word, and what is to be written can be."""
        if state.boot is None:
            if desired.everything and not state.records:
                return
            raise OwnerError(f"boot_loader: {state.verdict.reason}")
        if state.verdict.name == "grubby":
            refuse_spaces(desired)
        self._fresh = state.boot.texts[state.boot.record] is None
        if not desired.everything:
            refuse_lines(self._host, state)
        changes = self.plan(state, desired)
        self._manifest.check(changes)
        after = predicted(state)
        refuse_owners(state, after)
        if desired.present and not any(entry.managed for entry in state.boot.entries):
            raise BulwarkError(
                f"{state.boot.made} has no entry that {maker(state)} makes: nothing would boot with the arguments"
            )
        if changes:
            check_target(self._host, state)
            check_length(after)
            check_memory(self._host, state, after)

    def plan(self, state: State, desired: Desired) -> list[Change]:
        """Our file, the line that we edit, the entries; our file goes last where nothing of ours is left."""
        boot, backend = state.boot, state.verdict.backend
        if boot is None or backend is None:
            return []
        goal, after = goal_of(state, boot), predicted(state)
        old, new = shown(state, boot.record, boot), shown(state, boot.record, after)
        leaving = boot.texts[boot.record] is not None and new is None
        emptied = backend.record(Goal())
        changes = []
        if leaving and boot.edited is None and boot.ours:
            changes.append(Change("file", boot.record, old, emptied))
            old = emptied
        elif not leaving and (boot.ours, boot.taken) != (goal.ours, goal.taken):
            changes.append(Change("file", boot.record, old, new))
        # Killed before its entry in the manifest went, the file is written again, and the entry goes.
        unsettled = leaving and state.first is not None
        if boot.edited and (boot.texts[boot.edited] != after.texts[boot.edited] or unsettled):
            before = shown(state, boot.edited, boot)
            changes.append(Change("edit", boot.edited, before, shown(state, boot.edited, after)))
        if changes or leaving or any(is_stale(entry.line, goal) for entry in boot.entries if entry.managed):
            changes.append(Change("boot_entries", boot.made, lines(boot), lines(after)))
        if leaving:
            changes.append(Change("file", boot.record, old, None))
        return changes

    def predict(self, state: State, changes: Sequence[Change]) -> State:
        """The state after the changes."""
        return replace(state, boot=predicted(state)) if changes else state

    def apply(self, change: Change, desired: Desired, undos: Undos) -> None:
        """One file, or all entries by the boot loader's own tool."""
        # What a change says is without secrets: what is written comes from the machine again.
        state = self.observe(desired)
        boot, backend = state.boot, state.verdict.backend
        if boot is None or backend is None:
            raise BulwarkError(f"boot_loader: {state.verdict.reason}")
        goal, boot = goal_of(state, boot), replace(boot, fresh=self._fresh)
        if change.kind == "file":
            self._manifest.file(change.target, None if change.after is None else backend.record(goal), undos)
        elif change.kind == "edit":
            self._manifest.file(change.target, predicted(state).texts[change.target], undos)
            if not goal.ours and not goal.taken:
                # Nothing of ours is left in it: what others wrote since is not ours to take back.
                self._manifest.forget("files", [change.target])
        else:
            backend.make(self._host, self._manifest, boot, goal, undos)

    def judge(self, before: State, after: State, left: Sequence[Change], desired: Desired) -> Verdict:
        """What is left fails the run: the entries are as the tool made them."""
        unmet = tuple(
            _not_made(after, change) if change.kind == "boot_entries" else other_value(change) for change in left
        )
        warnings = list(_warnings(after))
        edited = before.boot.edited if before.boot and before.boot.ours else None
        if edited and before.first is None and before.files() != after.files():
            warnings.append(
                f"{MANIFEST} does not know {edited}: its arguments can be given back, its text from before cannot"
            )
        return Verdict(
            unmet=unmet,
            warnings=tuple(warnings),
            reboot_required=_needs_reboot(before, after),
            failed=bool(unmet),
        )

    def settle(self, desired: Desired) -> None:
        """Entries of what is as it was go with the rest."""
        if not desired.present:
            self._manifest.settle(edits=True)


# what to say


def _not_made(after: State, change: Change) -> Unmet:
    """The entries are not as the configuration asks for, though they were made anew."""
    boot = after.boot
    goal = goal_of(after, boot) if boot else Goal()
    stale = [entry for entry in boot.entries if entry.managed and is_stale(entry.line, goal)] if boot else []
    total = sum(entry.managed for entry in boot.entries) if boot else 0
    reason = f"{maker(after)} made {len(stale)} of {total} entries otherwise, the first is {stale[0].path if stale else boot and boot.made}"
    return Unmet(
        change.target,
        change.after,
        change.before,
        reason,
        "Look which file sets the arguments after ours, and whether the tool keeps their order.",
        {"entries": [entry.name for entry in stale]},
    )


def _warnings(after: State) -> Iterator[str]:
    boot, wanted = after.boot, after.wanted
    if boot is None:
        return
    if boot.configured is None:
        yield f"what is configured is not known: {boot.configured_reason}"
    upcoming = None if boot.default is None else boot.entries[boot.default]
    if upcoming and not upcoming.managed and wanted.present:
        yield f"{upcoming.path} is booted next ({upcoming.name}), which {maker(after)} does not make from the configuration"
    for argument in boot.ours:
        for source in boot.sources if boot.edited is None else ():
            if key(source.argument) != key(argument) or source.argument in (*boot.ours, ""):
                continue
            given = f"{source.path}:{source.line} gives {safe((source.argument,))}"
            if kernel_cmdline.is_single(key(argument)):
                if not source.later:
                    yield f"{given}; ours comes later and counts"
            elif not kernel_cmdline.adds_up(key(argument)):
                yield f"{given}; both it and {safe((argument,))} will be there"
    for argument in (argument for group in wanted.groups for argument in group if wanted.present):
        size = kernel_cmdline.size_of(argument) if key(argument) in kernel_cmdline.SIZES else None
        if after.sizes and isinstance(size, int) and size not in after.sizes:
            offered = ", ".join(map(format_size, sorted(after.sizes)))
            yield f"{argument}: this machine has hugepages of {offered} alone, and the kernel ignores others"


def _needs_reboot(before: State, after: State) -> bool:
    """Whether what was asked for is not what runs: from the running line, whoever changed what."""
    wanted, boot = after.wanted, after.boot
    if not wanted.everything:
        if wanted.present:
            return bool(kernel_cmdline.missing(after.running, wanted.groups))
        return any(kernel_cmdline.found(after.running, group) for group in wanted.groups)
    if boot is None or boot.default is None:
        return before.boot is not None and any(argument in after.running for argument in before.boot.ours)
    now = tuple(argument for argument in after.running if key(argument) not in _LOADERS_OWN)
    return now != tuple(argument for argument in boot.entries[boot.default].line if not argument.startswith("$"))
