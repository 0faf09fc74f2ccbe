# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What we wrote on this machine, and what was there before: ``/var/lib/bulwark/manifest.json``.

Every file and kernel attribute that outlives a boot or a run is written through here. The entry is recorded before the write, keeps the *first* value
from before, and goes when the object is back to it. ``undo.yml`` reads it. Shape: docs/schemas.md.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.converge import Change, Undos
from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError, OwnerError
from ansible_collections.bulwark.node.plugins.module_utils.host import READ_LIMIT, Host
from ansible_collections.bulwark.node.plugins.module_utils.units import bracketed

__all__ = ["HEADER", "MANIFEST", "SHEBANG", "Manifest", "entries_of", "forgotten", "is_ours", "released"]

HEADER = "# Written by the bulwark.node collection"
"""How each file of ours begins."""
SHEBANG = "#!/bin/sh\n"
"""What stands before that in a script."""
FOLDER = "/var/lib/bulwark"
MANIFEST = f"{FOLDER}/manifest.json"
_SCHEMA = 1
_BY_HAND = "Take out what this collection set in it, or remove it"
_KINDS = ("files", "links", "folders", "mounts", "kernel", "devices", "members", "limits")
# Of these there may have been nothing before.
_MAY_BE_NEW = ("files", "links", "folders", "mounts", "members")


def is_ours(text: str | None) -> bool:
    """Whether the text of a file says that we wrote it."""
    return (text or "").removeprefix(SHEBANG).startswith(HEADER)


def forgotten(names: Iterable[str], reason: str) -> str:
    """The sentence for entries that go although what they name did not go back; the report reads it."""
    return f"{', '.join(names)}: forgotten, not given back: {reason}"


def released(before: Mapping[str, str | None], after: Mapping[str, str | None]) -> list[str]:
    """A sentence for each file of ours, of these by path, that stays without our lines for the sake of others' in it."""
    return [
        f"{path} keeps the lines in it that are not this collection's, and is not ours any more"
        for path, text in after.items()
        if text is not None and is_ours(before.get(path)) and not is_ours(text)
    ]


def entries_of(host: Host) -> dict[str, dict[str, dict[str, Any]]]:
    """{kind: {path: {before, by}}}, of ``devices`` with after and boot. Raises HostError where the manifest is not one: it is never overwritten blindly.

    ``folders`` are those that we made, ``mounts`` file systems that we mounted, ``devices`` mode and owner of nodes below
    /dev, ``members`` those of groups, ``limits`` those of live processes.
    MTUs have after and boot too, but for those of an earlier release.
    """
    text = host.read(MANIFEST)
    if text is None:
        return {kind: {} for kind in _KINDS}
    try:
        content = json.loads(text)
        schema, unknown = content["schema"], set(content) - {"schema", *_KINDS}
        if isinstance(schema, int) and (schema > _SCHEMA or (schema == _SCHEMA and unknown)):
            raise HostError(MANIFEST, "was written by a newer release of bulwark.node: use that one")
        found = {kind: content.get(kind, {}) for kind in _KINDS}
        if schema != _SCHEMA or not all(
            isinstance(entry["by"], str)
            and _is_before(kind, entry["before"])
            and all(isinstance(entry.get(key, None if kind == "devices" else ""), str) for key in ("after", "boot"))
            for kind, entries in found.items()
            for entry in entries.values()
        ):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise HostError(
            MANIFEST, "is not a manifest of schema 1; move it away, and what it listed can no longer be undone"
        ) from None
    return found


class Manifest:
    """The writes of one domain, named ``by`` in the entries."""

    def __init__(self, host: Host, by: str) -> None:
        self._host = host
        self._by = by

    def mine(self, kind: str) -> dict[str, dict[str, Any]]:
        """The entries of one kind that this domain made. Raises HostError."""
        return {name: entry for name, entry in self.entries()[kind].items() if entry["by"] == self._by}

    def entries(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Those of all domains, as ``entries_of`` has them."""
        return entries_of(self._host)

    def check(self, changes: Sequence[Change]) -> None:
        """Raise where one of the changes is bound to fail: a file that leads elsewhere, a read-only file system.

        A ``file`` must be ours; another's, of which we change a part, is an ``edit``.
        """
        for change in changes:
            if change.kind in ("file", "edit"):
                self._host.destination(change.target)
                if change.kind == "file" and change.before and not is_ours(change.before):
                    raise OwnerError(
                        f"{change.target} is there and is not ours: it does not begin with {HEADER!r}. "
                        "Move what it sets to a file of another name, then remove it"
                    )
        for path in (MANIFEST, *(change.target for change in changes if change.kind in ("file", "edit", "link"))):
            folder = path.rpartition("/")[0]
            while folder and not self._host.exists(folder):
                folder = folder.rpartition("/")[0]
            status = self._host.statvfs(folder or "/")
            if changes and status is not None and status.f_flag & os.ST_RDONLY:
                raise HostError(
                    path, "lies on a file system that is mounted read-only (EROFS); mount it writable", "EROFS"
                )

    def lost(self, path: str, text: str | None) -> bool:
        """Whether a file is ours and yet not known here, so that what was there before us is forgotten."""
        if not is_ours(text):
            return False
        known = self.entries()["files"]
        return path not in known and self._host.resolved(path) not in known

    def estranged(self) -> tuple[str, ...]:
        """A sentence for each file that we made and that has been made another's since: ``settle`` drops its entry."""
        return tuple(
            forgotten([path], f"it was changed by hand and is not ours any more. {_BY_HAND}")
            for path, entry in self.mine("files").items()
            if self._is_estranged("files", path, entry)
        )

    def _is_estranged(self, kind: str, path: str, entry: Mapping[str, Any]) -> bool:
        """Whether something of ours, be it a link to it, does not begin as ours any more."""
        new = kind in ("files", "links") and entry["before"] is None
        return new and self._host.is_file(path) and not is_ours(self._host.read(path))

    def file(self, path: str, text: str | None, undos: Undos, mode: int = 0o644) -> None:
        """Give a file its text (``mode`` where it is new), or remove it with None.

        A symlink stays: the entry names the file in its folder that it leads to. Raises HostError where it leads elsewhere.
        """
        path = self._host.destination(path)
        old, status = self._host.read_bytes(path), self._host.mode_and_owner(path)
        # Where the undo finds the file removed, it cannot take these from it.
        mode, owner = (status[0], status[1:]) if status else (mode, None)

        def put(content: bytes | None) -> None:
            if content is None:
                self._host.remove(path)
            else:
                self._host.replace(path, content, mode, owner)

        if text is not None:
            self._make_folder_of(path, undos)
        self.change(
            "files",
            [path],
            self._file,
            lambda: put(None if text is None else text.encode("utf-8", "surrogateescape")),
            lambda: put(old),
            undos,
        )
        if text is None:
            self._remove_folders_of(path, undos)

    def link(self, path: str, target: str | None, undos: Undos) -> None:
        """Make a symlink, or remove it with None. Raises HostError where something else is at the path: it stays."""
        old = self._host.link_target(path)

        def put(value: str | None) -> None:
            if self._host.link_target(path) is not None:
                self._host.remove(path)
            if value is not None:
                self._host.symlink(value, path)

        if target is not None:
            self._make_folder_of(path, undos)
        self.change("links", [path], self._host.link_target, lambda: put(target), lambda: put(old), undos)
        if target is None:
            self._remove_folders_of(path, undos)

    def kernel(self, path: str, value: str, undos: Undos, record: bool = True) -> None:
        """Give one kernel attribute a value; ``record`` is that of ``change``."""
        old = self.attribute(path)
        self.change(
            "kernel",
            [path],
            self.attribute,
            lambda: self._host.write(path, value),
            lambda: self._host.write(path, old),
            undos,
            record=record,
        )

    def foretold(self, changes: Sequence[Change]) -> bytes | None:
        """The manifest's text once these files and attributes are changed; None where there will be none."""
        entries = self.entries()
        for change in changes:
            kind = {"file": "files", "edit": "files", "attribute": "kernel"}.get(change.kind)
            if kind and change.target not in entries[kind]:
                before = self._file(change.target) if kind == "files" else change.before
                entries[kind][change.target] = {"before": before, "by": self._by}
        return _render(entries)

    def forget(self, kind: str, names: Collection[str], undos: Undos | None = None) -> None:
        """Drop entries of what can no longer be given back, such as limits of processes that have ended.

        With ``undos`` they come back where the run fails later.
        """
        entries = self.entries()
        gone = {name: entry for name, entry in entries[kind].items() if name in names}

        def put_back() -> None:
            now = self.entries()
            self._write({**now, kind: {**now[kind], **gone}})

        if undos is not None:
            undos.push(MANIFEST, put_back)
        self._write({**entries, kind: {name: entry for name, entry in entries[kind].items() if name not in gone}})

    def settle(self, mounted: Callable[[str], Any] | None = None, edits: bool = False) -> None:
        """At the end of ``state: absent``, drop our entries of what is as it was: a run that was killed before its write left them.

        Of devices and members none is left: what was not given back by now is another's, and so are folders in which nothing is
        ours any more. A file that we made goes too once it does not begin as ours, but in a domain that ``edits`` those of others.
        ``mounted`` reads a mount, where the domain makes some.
        """
        read: Mapping[str, Callable[[str], Any]] = {
            "files": self._file,
            "links": self._host.link_target,
            "mounts": mounted or (lambda dummy: ""),
            "kernel": self.attribute,
        }

        def stays(kind: str, path: str, entry: Mapping[str, Any]) -> bool:
            if kind == "folders":
                return self._host.exists(path) and any(below.startswith(f"{path}/") for below in inside)
            if entry["by"] != self._by or kind == "limits":
                return True
            if not edits and self._is_estranged(kind, path, entry):
                return False
            return kind in read and read[kind](path) != entry["before"]

        entries = self.entries()
        inside = [
            path for kind in ("files", "links") for path, entry in entries[kind].items() if stays(kind, path, entry)
        ]
        for folder in sorted(entries["folders"], reverse=True):
            self._host.remove_folder(folder)
        kept = {
            kind: {path: entry for path, entry in of_kind.items() if stays(kind, path, entry)}
            for kind, of_kind in entries.items()
        }
        if kept != entries:
            self._write(kept)

    def attribute(self, path: str) -> str:
        """The value of an attribute as one would write it: of ``always [madvise] never`` the one in brackets."""
        text = (self._host.read(path) or "").strip()
        chosen = bracketed(text)
        return chosen[0] if chosen else text

    def _file(self, path: str) -> dict[str, Any] | None:
        content, status = self._host.read_bytes(path), self._host.mode_and_owner(path)
        if content is None or status is None:
            return None
        # Bytes that are no UTF-8 survive JSON as lone surrogates.
        text = content.decode("utf-8", "surrogateescape")
        return {"text": text, "mode": f"{status[0]:04o}", "uid": status[1], "gid": status[2]}

    def change(
        self,
        kind: str,
        paths: Sequence[str],
        read: Callable[[str], Any],
        write: Callable[[], object],
        undo: Callable[[], object],
        undos: Undos,
        more: Mapping[str, str] | None = None,
        keep: bool = False,
        record: bool = True,
    ) -> None:
        """Change what is named by ``paths``, all of one kind, and recorded first, with ``more`` beside ``before`` and ``by``.

        ``read`` gives what would have to be written to have it again, None where there is nothing; attributes of the
        kernel that move together are one change. With ``keep`` the entry stays although it is as it was. Without ``record``
        what has no entry gets none: on the way back from a lost manifest, what is there is our own and nothing to go back to.
        """
        entries = self.entries()
        new = [path for path in paths if path not in entries[kind]]

        def settle() -> None:
            """Forget what is again as it was before us."""
            now = self.entries()
            back = [path for path in paths if path in now[kind] and now[kind][path]["before"] == read(path)]
            self._write({**now, kind: {path: entry for path, entry in now[kind].items() if path not in back}})

        old = {path: read(path) for path in paths}

        def undo_entries() -> None:
            """The entries as they were: a way back that was taken and is undone is still a way back."""
            now = self.entries()
            kept = {path: entry for path, entry in now[kind].items() if path not in paths or read(path) != old[path]}
            self._write({**now, kind: {**kept, **{path: entries[kind][path] for path in paths if path not in new}}})

        undos.push(MANIFEST, undo_entries)

        def undo_change() -> None:
            # What refused the change may refuse to be written at all: a read-only file system, a kernel's EINVAL.
            if old != {path: read(path) for path in paths}:
                undo()

        added = {path: {"before": None if self._is_ours(kind, path) else old[path], "by": self._by} for path in new}
        recorded = {**entries[kind], **(added if record else {})}
        marked = {path: {**recorded[path], **(more or {})} for path in paths if path in recorded}
        self._write({**entries, kind: {**recorded, **marked}})
        undos.push(", ".join(paths), undo_change)
        write()
        if not keep:
            settle()

    def _is_ours(self, kind: str, path: str) -> bool:
        """Whether a file, or the one that a link leads to, is our own: so it is found where the manifest was lost.

        A mount is: over another's nothing is mounted.
        """
        return kind == "mounts" or (
            kind in ("files", "links") and self._host.is_file(path) and is_ours(self._host.read(path))
        )

    def _make_folder_of(self, path: str, undos: Undos) -> None:
        folder = path.rpartition("/")[0]
        missing: list[str] = []
        while folder and not self._host.exists(folder):
            missing.append(folder)
            folder = folder.rpartition("/")[0]
        for folder in reversed(missing):
            self._change_folder(folder, True, undos)

    def _remove_folders_of(self, path: str, undos: Undos) -> None:
        """Remove the folders above that we made, as far as nothing else is in them."""
        folder = path.rpartition("/")[0]
        while folder in self.entries()["folders"] and self._host.exists(folder) and not self._host.names(folder):
            self._change_folder(folder, False, undos)
            folder = folder.rpartition("/")[0]

    def _change_folder(self, folder: str, there: bool, undos: Undos) -> None:
        make, remove = partial(self._host.make_folder, folder), partial(self._host.remove_folder, folder)
        write, undo = (make, remove) if there else (remove, make)
        self.change("folders", [folder], self._folder, write, undo, undos)

    def _folder(self, path: str) -> str | None:
        return "" if self._host.exists(path) else None

    def _write(self, entries: Mapping[str, Mapping[str, Any]]) -> None:
        new = _render(entries)
        if new is None:
            self._host.remove(MANIFEST)
            self._host.remove_folder(FOLDER)
        elif len(new) > READ_LIMIT:
            raise HostError(MANIFEST, f"would grow beyond {READ_LIMIT} bytes, and could not be read again")
        elif new != self._host.read_bytes(MANIFEST):
            self._host.make_folder(FOLDER, 0o700)
            # 0600: it holds the text of other owners' files.
            self._host.replace(MANIFEST, new, 0o600)


def _render(entries: Mapping[str, Mapping[str, Any]]) -> bytes | None:
    if not any(entries.values()):
        return None
    return (json.dumps({"schema": _SCHEMA, **entries}, indent=2, sort_keys=True) + "\n").encode()


def _is_before(kind: str, before: Any) -> bool:
    """Whether an entry holds what its kind does: a file {text, mode, uid, gid}, else text; null but where there is always one."""
    if before is None:
        return kind in _MAY_BE_NEW
    if kind != "files":
        return isinstance(before, str)
    return (
        isinstance(before["text"], str)
        and re.fullmatch(r"[0-7]{4}", before["mode"]) is not None
        and all(isinstance(before[name], int) for name in ("uid", "gid"))
    )
