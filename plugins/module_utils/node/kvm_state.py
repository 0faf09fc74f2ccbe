# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module ``kvm`` sees of a machine, and what its files shall hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.dropin import Persisted
from ansible_collections.bulwark.node.plugins.module_utils.node.kvm_facts import Kvm
from ansible_collections.bulwark.node.plugins.module_utils.node.kvm_modules import AVAILABLE, LOADED, Denial, Holder
from ansible_collections.bulwark.node.plugins.module_utils.node.kvm_options import Desired

__all__ = ["State"]

_FACTS = ("verdict", "proven", "reasons", "api_version", "module", "nested", "device", "users", "profiles")


@dataclass(frozen=True)
class State:
    """KVM and what surrounds it.

    ``base``: the modules that make KVM here; ``modules``: what each of ours is; ``unloadable``: why no module can be loaded, None where
    it can; ``denials``: by module, who forbids it. ``nested_of``: the one that takes nested, with
    ``references``, how often it is in use, and ``holders``, both only where it would have to be loaded again.
    ``group``: whose members users are to be; ``lacking``: what runs without a membership that its user has. ``added``:
    group/user, our own. ``first_device``: the node before us, where it still is as we set it; ``recorded_device``: in any case.
    ``udev``: whether it runs here; ``loader``: whether something reads modules-load.d at boot; ``programs``: those that we run, as far as
    they are installed. ``lost``: files of ours that the manifest does not know; ``estranged``: what to say of those
    that are not ours any more.
    ``loading``: predicted, with modules of KVM yet to be loaded.
    """

    kvm: Kvm
    base: tuple[str, ...]
    modules: Mapping[str, str]
    unloadable: str | None
    denials: Mapping[str, Denial]
    nested_of: str | None
    references: int | None
    holders: tuple[Holder, ...]
    loads: Persisted
    options: Persisted
    rules: Persisted
    first_device: str | None
    recorded_device: str | None
    added: tuple[str, ...]
    group: str | None
    lacking: tuple[Mapping[str, str], ...]
    udev: bool
    loader: bool
    programs: frozenset[str]
    lost: tuple[str, ...]
    estranged: tuple[str, ...]
    loading: bool = False

    @property
    def persisted(self) -> tuple[Persisted, Persisted, Persisted]:
        """Our three files."""
        return self.options, self.rules, self.loads

    @property
    def nested_key(self) -> str:
        """The parameter in modprobe.d and on the command line."""
        return f"{self.nested_of}.nested"

    def facts(self) -> dict[str, Any]:
        """The subset ``kvm`` without checks and CPU, then modules, the group, and what is persisted."""
        found = self.kvm.facts()
        nested = self.options.settings.get(self.nested_key)
        return {
            **{name: found[name] for name in _FACTS},
            "modules": dict(self.modules),
            "group": self.group and {"name": self.group, "members": sorted(self.kvm.accounts.members(self.group))},
            "persisted": {
                "modules": sorted(self.loads.settings),
                "nested": None if nested is None else nested == "1",
                "device": {key.lower(): value for key, value in sorted(self.rules.settings.items())},
            },
        }

    def files(self) -> Mapping[str, str | None]:
        """What is persisted."""
        return {persisted.path: persisted.text for persisted in self.persisted}

    def is_member(self, group: str, user: str) -> bool:
        """Whether the user has the group, as the first or as another one."""
        accounts = self.kvm.accounts
        first = accounts.users.get(user, (0, -1))[1]
        return user in accounts.members(group) or accounts.groups.get(group, (None, []))[0] == first

    def wanted(self, desired: Desired) -> list[str]:
        """The modules that shall be there."""
        return [*self.base, *(name for name, there in desired.modules.items() if there)]

    def settings(self, desired: Desired) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
        """What the files of ``persisted`` shall hold. Modules that are built in are no file's business."""
        if not desired.present:
            return {}, {}, {}
        options, rules, loads = (dict(persisted.settings) for persisted in self.persisted)
        if desired.nested is not None and self.modules.get(self.nested_of or "") in (LOADED, AVAILABLE):
            options[self.nested_key] = f"{desired.nested:d}"
        rules.update({key.upper(): value for key, value in desired.device.items()})
        loads.update({name: "" for name in self.wanted(desired) if self.modules[name] in (LOADED, AVAILABLE)})
        for name, there in desired.modules.items():
            if not there:
                loads.pop(name, None)
        return options, rules, loads
