# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine as it will be: what one domain would write is read by the next, and nothing is written.

Files and kernel attributes alone. What a change of them makes of the machine beyond that, such as pages that a pool takes, is not foretold.
"""

from __future__ import annotations

import os
import stat
import time
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.converge import Planned
from ansible_collections.bulwark.node.plugins.module_utils.host import READ_LIMIT, Host, Runner
from ansible_collections.bulwark.node.plugins.module_utils.manifest import MANIFEST, Manifest

__all__ = ["Foresight"]


class Foresight(Host):
    """A machine of which some files are already what they are going to be."""

    def __init__(self, root: str = "/", run: Runner | None = None) -> None:
        super().__init__(root, run)
        # None: it is going to be removed.
        self._files: dict[str, bytes | None] = {}

    def add(self, plan: Planned[Any, Any]) -> None:
        """Count what is planned as done."""
        before, after = plan.before.files(), plan.predicted().files()
        # While the files are still as they were.
        manifest = Manifest(self, plan.domain.name).foretold(plan.changes)
        for path in {path for path in {*before, *after} if before.get(path) != after.get(path)}:
            text = after.get(path)
            self._files[path] = None if text is None else text.encode("utf-8", "surrogateescape")
        for change in plan.changes:
            if change.kind == "attribute":
                self._files[change.target] = f"{change.after}\n".encode()
        if plan.changes:
            self._files[MANIFEST] = manifest

    def read_bytes(self, path: str, limit: int = READ_LIMIT) -> bytes | None:
        """As of any host."""
        return self._files[path] if path in self._files else super().read_bytes(path, limit)

    def names(self, path: str) -> list[str]:
        """As of any host."""
        new = {name for name, there in self._below(path) if there}
        gone = {name for name, there in self._below(path) if not there}
        return sorted({*super().names(path), *new} - (gone - new))

    def folders(self, path: str) -> list[str]:
        """As of any host."""
        new = {name for name, there in self._below(path) if there and f"{path.rstrip('/')}/{name}" not in self._files}
        return sorted({*super().folders(path), *new})

    def _below(self, path: str) -> list[tuple[str, bool]]:
        """Of the files that are not yet what they will be: the name in this folder that each is or lies in, and whether it will be there.

        A folder from which one goes is not said to go.
        """
        prefix = f"{path.rstrip('/')}/"
        rests = ((file[len(prefix) :], content) for file, content in self._files.items() if file.startswith(prefix))
        return [
            (rest.partition("/")[0], content is not None)
            for rest, content in rests
            if content is not None or "/" not in rest
        ]

    def _stat(self, path: str) -> os.stat_result | None:
        found = super()._stat(path)
        if path in self._files:
            content = self._files[path]
            return None if content is None else found or _status(stat.S_IFREG | 0o644, len(content))
        if found is None and any(there for _name, there in self._below(path)):
            return _status(stat.S_IFDIR | 0o755, 0)
        return found


def _status(mode: int, size: int) -> os.stat_result:
    now = int(time.time())
    return os.stat_result((mode, 0, 0, 1, 0, 0, size, now, now, now))
