# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Transparent hugepages: how they are set. There is no sysctl: it is persisted by tmpfiles.d(5), and so under systemd alone."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.converge import Change, Params, Undos, Verdict, other_value
from ansible_collections.bulwark.node.plugins.module_utils.dropin import TMPFILES, Persisted
from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError, HostError, OptionError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.manifest import Manifest, released
from ansible_collections.bulwark.node.plugins.module_utils.node import thp, transparent_hugepages_options, tuned
from ansible_collections.bulwark.node.plugins.module_utils.node.system import has_systemd
from ansible_collections.bulwark.node.plugins.module_utils.node.thp import ROOT
from ansible_collections.bulwark.node.plugins.module_utils.node.transparent_hugepages_options import (
    ARGUMENT_SPEC,
    Desired,
    Wanted,
)
from ansible_collections.bulwark.node.plugins.module_utils.units import format_size

__all__ = ["ARGUMENT_SPEC", "TransparentHugepages"]

_TUNED = {
    ("vm", f"{option}{suffix}"): f"{ROOT}/{attribute}"
    for option in ("transparent_hugepage", "transparent_hugepages")
    for suffix, attribute in (("", "enabled"), (".defrag", "defrag"))
}
_FORCE = "beside force in shmem_enabled no size but that of a hugepage may inherit"
_TMPFILES_PATH = "/etc/tmpfiles.d/10-bulwark-transparent-hugepages.conf"


@dataclass(frozen=True)
class State:
    """All attributes by path, what those that we set were before us, our file, and the bound of khugepaged/max_ptes_*.

    ``pmd_size``: bytes of a hugepage. ``lost``: our file is there, but the manifest does not know it. ``estranged``: what to say of
    files that are not ours any more.
    """

    attributes: Mapping[str, str]
    offered: Mapping[str, tuple[str, ...]]
    firsts: Mapping[str, str]
    persisted: Persisted
    max_ptes: int | None
    pmd_size: int | None
    lost: bool
    systemd: bool
    estranged: tuple[str, ...]

    def facts(self) -> dict[str, Any]:
        """The subset ``transparent_hugepages`` of the facts."""
        return thp.shape(self.attributes)

    def files(self) -> Mapping[str, str | None]:
        """Our drop-in file."""
        return {self.persisted.path: self.persisted.text}


class TransparentHugepages:
    """The domain of the module ``transparent_hugepages``."""

    name = "transparent_hugepages"

    def __init__(self, host: Host) -> None:
        self._host = host
        self._manifest = Manifest(host, self.name)

    def desired(self, params: Params) -> Desired:
        """The attributes that the options name; raises OptionError."""
        return transparent_hugepages_options.desired(params)

    def observe(self, desired: Desired) -> State:
        """The attributes and our file; nothing is forked."""
        host = self._host
        rows = list(thp.attributes(host))
        persisted = TMPFILES.observe(host, _TMPFILES_PATH, [row[0] for row in rows], f"{ROOT}/.*")
        keys = {**{("sysfs", row[0]): row[0] for row in rows}, **_TUNED}
        pmd_size = host.integer(f"{ROOT}/hpage_pmd_size")
        return State(
            attributes={path: value for path, value, dummy in rows},
            offered={path: offered for path, dummy, offered in rows if offered},
            firsts={path: entry["before"] for path, entry in self._manifest.mine("kernel").items()},
            persisted=replace(persisted, owners=persisted.owners + tuned.owners(host, keys)),
            max_ptes=pmd_size // os.sysconf("SC_PAGE_SIZE") - 1 if pmd_size else None,
            pmd_size=pmd_size,
            lost=self._manifest.lost(persisted.path, persisted.text),
            systemd=has_systemd(host),
            estranged=() if desired.present else self._manifest.estranged(),
        )

    def check(self, state: State, desired: Desired) -> None:
        """The kernel has each attribute and takes the value, it can be persisted, and nobody else wins at boot."""
        for path, wanted in desired.attributes.items():
            if path not in state.attributes:
                raise _missing(state, path, wanted)
            offered = state.offered.get(path)
            if offered and wanted.value not in offered:
                raise OptionError(wanted.option, wanted.value, f"what this kernel offers: {', '.join(offered)}")
            if "max_ptes" in path and state.max_ptes is not None and int(wanted.value) > state.max_ptes:
                raise OptionError(
                    wanted.option, wanted.value, f"0 to {state.max_ptes}, the pages of one hugepage less one"
                )
        changes = self.plan(state, desired)
        self._manifest.check(changes)
        _check_force(self.predict(state, changes), desired)
        if desired.persist and desired.present:
            if not state.systemd:
                enabled = desired.attributes.get(f"{ROOT}/enabled")
                boot = f", or boot with transparent_hugepage={enabled.value}" if enabled else ""
                rest = ", ".join(wanted.option for wanted in desired.attributes.values() if wanted is not enabled)
                raise BulwarkError(
                    "persist: without systemd nothing sets transparent hugepages at boot. Set persist to false"
                    + boot
                    + (f"; run this again after each boot for {rest}" if rest else "")
                )
            state.persisted.refuse_winners(_agreeing(state, desired))

    def plan(self, state: State, desired: Desired) -> list[Change]:
        """The attributes in the order of their paths, then our file."""
        goals = _goals(state, desired)
        changes = [
            Change("attribute", path, state.attributes[path], value)
            for path, value in sorted(goals.items())
            if state.attributes.get(path, value) != value
        ]
        if desired.persist or not desired.present:
            changes += state.persisted.plan(_settings(state, desired))
        return changes

    def predict(self, state: State, changes: Sequence[Change]) -> State:
        """The state after the changes."""
        new = {change.target: change.after for change in changes if change.kind == "attribute"}
        return replace(state, attributes={**state.attributes, **new}, persisted=state.persisted.predict(changes))

    def apply(self, change: Change, desired: Desired, undos: Undos) -> None:
        """One attribute, or our file."""
        if change.kind == "attribute":
            try:
                self._manifest.kernel(change.target, change.after, undos)
            except HostError as error:
                if error.code != "EINVAL" or not change.target.endswith("/shmem_enabled"):
                    raise
                raise HostError(
                    change.target, f"the kernel refuses {change.after!r} (EINVAL): {_FORCE}", "EINVAL"
                ) from error
        else:
            self._manifest.file(change.target, change.after, undos)

    def settle(self, desired: Desired) -> None:
        """Entries of what is as it was go with the rest."""
        if not desired.present:
            self._manifest.settle()

    def judge(self, before: State, after: State, left: Sequence[Change], desired: Desired) -> Verdict:
        """Nothing here falls short by itself: what is left fails the run."""
        unmet = tuple(other_value(change) for change in left)
        agreeing = _agreeing(before, desired)
        lasting = desired.present and desired.persist
        warnings = list(after.persisted.warnings(agreeing) if lasting else after.persisted.others(agreeing))
        if desired.present and not desired.persist:
            warnings.extend(after.persisted.contradictions(_settings(after, desired)))
        if before.lost and before.persisted.text != after.persisted.text:
            warnings.append(before.persisted.forgotten())
        warnings += [*before.estranged, *released(before.files(), after.files())]
        return Verdict(unmet=unmet, warnings=tuple(warnings), failed=bool(unmet))


def _missing(state: State, path: str, wanted: Wanted) -> OptionError:
    """Why an attribute is not there: its size is none of this kernel's, or the kernel has no such setting."""
    size = thp.SIZE.fullmatch(path)
    offered = {int(match.group(1)) * 1024 for match in map(thp.SIZE.fullmatch, state.attributes) if match}
    if size is None or int(size.group(1)) * 1024 in offered:
        return OptionError(wanted.option, wanted.value, f"nothing: this kernel has no {path}")
    sizes = ", ".join(map(format_size, sorted(offered))) or "none"
    option = wanted.option.rpartition(".")[0]
    return OptionError(f"{option}.size", format_size(int(size.group(1)) * 1024), f"a size of this kernel: {sizes}")


def _check_force(after: State, desired: Desired) -> None:
    """The kernel takes force for hugepages alone: see shmem_enabled_store() in mm/shmem.c."""
    if after.attributes.get(f"{ROOT}/shmem_enabled") != "force":
        return
    for path, value in sorted(after.attributes.items()):
        size = thp.SIZE.fullmatch(path)
        if size and size.group(2) == "shmem_enabled" and value == "inherit":
            found = int(size.group(1)) * 1024
            named = desired.attributes.get(path) or desired.attributes.get(f"{ROOT}/shmem_enabled")
            if found != after.pmd_size and named:
                raise OptionError(named.option, named.value, f"another value: {_FORCE}, and {format_size(found)} does")


def _agreeing(state: State, desired: Desired) -> dict[str, str]:
    """For each attribute that another file sets, the value with which it would agree with ours: its own, where we set none."""
    goals = _goals(state, desired)
    return {owner.key: goals.get(owner.key, owner.value) for owner in state.persisted.owners}


def _goals(state: State, desired: Desired) -> Mapping[str, str]:
    """The values that the attributes shall have."""
    return {path: wanted.value for path, wanted in desired.attributes.items()} if desired.present else state.firsts


def _settings(state: State, desired: Desired) -> dict[str, str]:
    """What our file shall hold."""
    if not desired.present:
        return {}
    return {**state.persisted.settings, **{path: wanted.value for path, wanted in desired.attributes.items()}}
