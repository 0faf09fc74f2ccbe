# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock in a file of one machine, for hosts without Kubernetes: all who want it ask that machine, and have its clock."""

from __future__ import annotations

import posixpath
import time
from dataclasses import dataclass
from typing import Callable

from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.reboot.lock import Sight

__all__ = ["FileStore"]

_SECONDS = 30


@dataclass
class FileStore:
    """A file, replaced whole under a lock of the kernel on one beside it: whoever is killed leaves the old text or the new."""

    host: Host
    path: str
    clock: Callable[[], float] = time.time
    backend: str = "file"
    owners: None = None

    @property
    def place(self) -> str:
        """The file."""
        return self.path

    def look(self) -> Sight:
        """What the file has. Raises HostError."""
        return Sight(self.host.read(self.path), int(self.clock() * 1000) * 10**6)

    def swap(self, change: Callable[[Sight], str | None]) -> None:
        """Write another text while nobody else does. Raises HostError."""
        sight = self.look()
        # Where nothing is to be written, neither folder nor file is made for it.
        if change(sight) == sight.text:
            return
        self.host.make_folder(posixpath.dirname(self.path), 0o700)
        with self.host.locked(f"{self.path}.lock", _SECONDS):
            sight = self.look()
            text = change(sight)
            if text is None:
                self.host.remove(self.path)
            elif text != sight.text:
                # 0644: who holds the lock is no secret.
                self.host.replace(self.path, text.encode(), 0o644)

    def state(self, node: str) -> str | None:
        """Nobody here knows."""
        return None
