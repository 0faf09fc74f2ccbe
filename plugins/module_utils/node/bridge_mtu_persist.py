# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the managers of the links read at boot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.bulwark.node.plugins.module_utils.converge import Change, Undos
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.manifest import Manifest
from ansible_collections.bulwark.node.plugins.module_utils.node.bridge_mtu_options import Desired
from ansible_collections.bulwark.node.plugins.module_utils.node.bridge_mtu_plan import Goal
from ansible_collections.bulwark.node.plugins.module_utils.node.links import Link

__all__ = ["Persisted", "apply", "observe"]


@dataclass(frozen=True)
class Persisted:
    """Our files, by path, None where there is none."""

    files: Mapping[str, str | None] = field(default_factory=dict)
    names: frozenset[str] = frozenset()
    """The links that our files are about."""

    def check(self, goals: Iterable[Goal]) -> None:
        """Raise where a link has a manager that we do not write for, or another file of it would win."""

    def plan(self, goals: Iterable[Goal]) -> list[Change]:
        """The changes that make our files say this, and nothing else of these links."""
        return []

    def remove(self, names: Iterable[str]) -> list[Change]:
        """The changes that take these links out of our files."""
        return []

    def predict(self, changes: Sequence[Change]) -> Persisted:
        """The same after the changes."""
        return self

    def warnings(self, goals: Iterable[Goal], desired: Desired) -> Sequence[str]:
        """What is to be said of other files."""
        return ()


def observe(host: Host, links: Sequence[Link]) -> Persisted:
    """Our files, and who manages each link."""
    return Persisted()


def apply(host: Host, manifest: Manifest, change: Change, undos: Undos) -> None:
    """Write one file."""
    manifest.file(change.target, change.after, undos)
