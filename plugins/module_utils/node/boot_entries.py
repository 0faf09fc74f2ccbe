# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entries of the Boot Loader Specification (Type #1) that kernel-install(8) makes and we edit, or grubby(8) does.

The line of /etc/kernel/cmdline is what a new kernel gets. Where there is none, kernel-install takes the running line, be it that
of a rescue: then one is written from the entries, which are what boots.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from fnmatch import fnmatchcase

from ansible_collections.bulwark.node.plugins.module_utils.converge import Undos
from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.manifest import HEADER, Manifest
from ansible_collections.bulwark.node.plugins.module_utils.node import kernel_cmdline
from ansible_collections.bulwark.node.plugins.module_utils.node.boot_loader import (
    KERNEL_INSTALL_RECORD,
    Boot,
    Entry,
    Goal,
    Source,
    grub_environment,
)
from ansible_collections.bulwark.node.plugins.module_utils.node.kernel_cmdline import Line
from ansible_collections.bulwark.node.plugins.module_utils.node.redact import redacted

__all__ = ["Grubby", "KernelInstall"]

CMDLINE = "/etc/kernel/cmdline"
_VENDOR_CMDLINE = "/usr/lib/kernel/cmdline"
_GRUBENV = "/boot/grub2/grubenv"
_HEADER = f"{HEADER}; what its module kernel_args added to {CMDLINE}, and what it took away.\n"
_OPTIONS = re.compile(r"^[ \t]*options[ \t]+(.*)$", re.MULTILINE)
_WORD = re.compile(r'(?:[^\s"]|"[^"]*(?:"|$))+')


class KernelInstall:
    """The backend ``kernel_install``; ``root`` is the folder that has ``loader/entries``."""

    maker = "kernel-install"

    def __init__(self, root: str) -> None:
        self._root = root
        self._folder = f"{root}/loader/entries"

    def observe(self, host: Host) -> Boot:
        record, text = host.read(KERNEL_INSTALL_RECORD), host.read(CMDLINE)
        recorded = {
            name: kernel_cmdline.split(rest)
            for name, rest in re.findall(r"^(added|taken) (.*)$", record or "", re.MULTILINE)
        }
        ours, taken = recorded.get("added", ()), recorded.get("taken", ())
        words = kernel_cmdline.split((host.read(_VENDOR_CMDLINE) if text is None else text) or "")
        entries = tuple(self._entries(host, words))
        managed = [entry for entry in entries if entry.managed]
        reason = None
        if text is None and not words:
            words, reason = _common(managed, ours, taken)
        line = kernel_cmdline.running(words)
        default, default_reason = self._default(host, entries)
        theirs = kernel_cmdline.absent(line, [ours]) if ours else line
        return Boot(
            record=KERNEL_INSTALL_RECORD,
            edited=CMDLINE,
            texts={KERNEL_INSTALL_RECORD: record, CMDLINE: text},
            ours=ours,
            taken=taken,
            configured=None if reason else line,
            configured_reason=reason,
            sources=tuple(Source(argument, CMDLINE, 1) for argument in theirs),
            place=len(line),
            entries=entries,
            default=default,
            default_reason=default_reason,
            made=self._folder,
            init=words[len(line) :],
        )

    def record(self, goal: Goal) -> str:
        rows = {"added": goal.ours, "taken": goal.taken}
        return _HEADER + "".join(f"{name} {kernel_cmdline.join(line)}\n" for name, line in rows.items() if line)

    def predict(self, boot: Boot, goal: Goal) -> Boot:
        entries = tuple(
            replace(entry, line=_changed(entry, boot, goal)) if entry.managed else entry for entry in boot.entries
        )
        return replace(boot, ours=goal.ours, taken=goal.taken, configured=goal.line, entries=entries)

    def make(self, host: Host, manifest: Manifest, boot: Boot, goal: Goal, undos: Undos) -> None:
        """Edit the options: ``kernel-install add`` would write kernel and initrd anew too, on a partition that may be full."""
        leaving = not goal.ours and not goal.taken
        for entry in boot.entries:
            old, line = _text(host, entry.path), _changed(entry, boot, goal)
            back = leaving and entry.first is not None
            if entry.managed and (line != entry.line or back):
                first = entry.first if back and entry.first and _words(entry.first) == (*line, *entry.init) else None
                text = first or _rewritten(old, (*line, *entry.init))
                if boot.fresh or entry.first is not None:
                    manifest.file(entry.path, text, undos)
                else:
                    # Of a kernel that came after us: its first text has what is ours in it, and is none to go back to.
                    _edit(host, entry.path, old, text, undos)
            if leaving and entry.managed:
                manifest.forget("files", [entry.path])
        # Of kernels that are gone, and of entries that the boot loader has renamed (boot counting).
        known = [path for path in manifest.mine("files") if path.rpartition("/")[0] == self._folder]
        manifest.forget("files", [path for path in known if not host.exists(path)])

    def _options(self, host: Host, text: str) -> Line:
        return _words(text)

    def _entries(self, host: Host, configured: Line) -> list[Entry]:
        """The entries, the newest kernel first."""
        entries = []
        for name in host.names(self._folder):
            path = f"{self._folder}/{name}"
            if name.endswith(".conf") and host.is_file(path):
                text = _text(host, path)
                fields, words = _fields(text), self._options(host, text)
                version = fields.get("version", "")
                line = kernel_cmdline.running(words)
                init = words[len(line) :]
                # What 90-loaderentry.install adds to the configured line.
                own = (f"systemd.machine_id={fields['machine-id']}",) if "machine-id" in fields else ()
                if "linux" in fields:
                    entries.append(
                        Entry(
                            name=name[: -len(".conf")],
                            path=path,
                            line=line,
                            managed=self._is_managed(host, name, version),
                            version=version,
                            suffix=own if own and line[-1:] == own and own[0] not in configured else (),
                            overhead=len(f"initrd={fields.get('initrd', '')} {kernel_cmdline.join(init)} "),
                            init=init,
                        )
                    )
        return sorted(entries, key=lambda entry: _order(entry.version), reverse=True)

    def _is_managed(self, host: Host, name: str, version: str) -> bool:
        """Whether kernel-install makes it: by its name, and there is the kernel."""
        named = re.fullmatch(rf".+-{re.escape(version)}(?:\+[0-9-]+)?\.conf", name) if version else None
        return named is not None and _image(host, version) is not None

    def _default(self, host: Host, entries: tuple[Entry, ...]) -> tuple[int | None, str | None]:
        path = f"{self._root}/loader/loader.conf"
        chosen = re.search(r"^default\s+(\S+)", host.read(path) or "", re.MULTILINE)
        return _chosen(entries, chosen and chosen.group(1), path)


class Grubby(KernelInstall):
    """The backend ``grubby``: it edits the entries, and /etc/kernel/cmdline is for kernels to come. Built by its manual, not held to EL."""

    maker = "grubby --update-kernel=ALL"

    def _options(self, host: Host, text: str) -> Line:
        return kernel_cmdline.split(_expanded(host, _fields(text).get("options", "")))

    def predict(self, boot: Boot, goal: Goal) -> Boot:
        entries = tuple(replace(entry, line=_edited(entry.line, boot, goal)) for entry in boot.entries)
        return replace(boot, ours=goal.ours, taken=goal.taken, configured=goal.line, entries=entries)

    def make(self, host: Host, manifest: Manifest, boot: Boot, goal: Goal, undos: Undos) -> None:
        self._keep(host, undos)
        for entry in boot.entries:
            wanted = _edited(entry.line, boot, goal)
            names = _moved(entry.line, wanted)
            gone = [a for a in entry.line if kernel_cmdline.key(a) in names]
            new = [a for a in wanted if kernel_cmdline.key(a) in names]
            if names:
                options = [f"--remove-args={kernel_cmdline.join(gone)}"] if gone else []
                options += [f"--args={kernel_cmdline.join(new)}"] if new else []
                for option in options:
                    host.run(["grubby", f"--update-kernel={_kernel_of(host, entry)}", option])

    def _keep(self, host: Host, undos: Undos) -> None:
        """Push the way back: the entries as they are."""
        folder = self._folder
        old = {name: host.read_bytes(f"{folder}/{name}") for name in host.names(folder) if name.endswith(".conf")}

        def restore() -> None:
            for name in {*old, *(name for name in host.names(folder) if name.endswith(".conf"))}:
                content = old.get(name)
                if content is None:
                    host.remove(f"{folder}/{name}")
                elif host.read_bytes(f"{folder}/{name}") != content:
                    host.replace(f"{folder}/{name}", content)

        undos.push(folder, restore)

    def _is_managed(self, host: Host, name: str, version: str) -> bool:
        return True

    def _default(self, host: Host, entries: tuple[Entry, ...]) -> tuple[int | None, str | None]:
        return _chosen(entries, grub_environment(host, _GRUBENV).get("saved_entry"), _GRUBENV)


def _moved(line: Line, wanted: Line) -> set[str]:
    """The names whose arguments differ, or their order: grubby takes arguments for a set, so that all of a name go and come again."""
    names = {kernel_cmdline.key(argument) for argument in (*line, *wanted)}
    moved = {
        n
        for n in names
        if [a for a in line if kernel_cmdline.key(a) == n] != [a for a in wanted if kernel_cmdline.key(a) == n]
    }
    pairs = {*kernel_cmdline.SIZES, "hugepages"}
    return moved | (pairs if moved & pairs else set())


def _edited(line: Line, boot: Boot, goal: Goal) -> Line:
    """A line after what was asked for, and with all that is ours."""
    if not goal.wanted and not goal.gone:
        return kernel_cmdline.returned(line, boot.ours, boot.taken)
    line = kernel_cmdline.absent(line, goal.gone)
    if any(argument not in line for argument in goal.ours):
        line = kernel_cmdline.present(kernel_cmdline.returned(line, goal.ours, ()), [goal.ours])
    return kernel_cmdline.present(line, goal.wanted)


def _changed(entry: Entry, boot: Boot, goal: Goal) -> Line:
    """The line of an entry after what was asked for, in the form in which kernel-install would make it."""
    line = _edited(entry.line[: len(entry.line) - len(entry.suffix)], boot, goal)
    if entry.first is None or goal.wanted or goal.gone:
        return (*line, *entry.suffix)
    first = kernel_cmdline.running(_words(entry.first))
    # What ours replaced in this entry alone.
    names = {kernel_cmdline.key(argument) for argument in boot.ours}
    names = {n for n in names if kernel_cmdline.is_single(n) or n in kernel_cmdline.SIZES or n == "hugepages"}
    lost = [a for a in first if kernel_cmdline.key(a) in names and a not in (*line, *entry.suffix)]
    line = (*line, *lost, *entry.suffix)
    return first if Counter(first) == Counter(line) else line


def _common(entries: list[Entry], ours: Line, taken: Line) -> tuple[Line, str | None]:
    """The line of all entries, with that for init, but without what kernel-install adds; else how they differ."""
    found = [(e, (*e.line[: len(e.line) - len(e.suffix)], *e.init)) for e in entries]
    bare = [Counter(kernel_cmdline.returned(line, ours, taken)) for dummy, line in found]
    for (entry, _line), words in zip(found, bare):
        lacking, more = bare[0] - words, words - bare[0]
        if lacking or more:
            told = kernel_cmdline.join(redacted(sorted({*lacking, *more})))
            return (), f"there is no {CMDLINE}, and {entries[0].path} and {entry.path} differ in {told}"
    return (found[0][1], None) if found else ((), None)


def _edit(host: Host, path: str, old: str, new: str, undos: Undos) -> None:
    def put(text: str) -> None:
        if _text(host, path) != text:
            host.replace(path, text.encode("utf-8", "surrogateescape"))

    undos.push(path, lambda: put(old))
    put(new)


def _text(host: Host, path: str) -> str:
    return (host.read_bytes(path) or b"").decode("utf-8", "surrogateescape")


def _spans(text: str) -> list[tuple[int, int]]:
    """Where in an entry's text the arguments stand; the boot loader joins several ``options``."""
    return [word.span() for found in _OPTIONS.finditer(text) for word in _WORD.finditer(text, *found.span(1))]


def _words(text: str) -> Line:
    return tuple(argument for start, end in _spans(text) for argument in kernel_cmdline.split(text[start:end]))


def _rewritten(text: str, new: Line) -> str:
    """An entry's text with these arguments: all else is kept."""
    spans, old = _spans(text), _words(text)
    if not spans:
        return f"{text}{'' if text.endswith(chr(10)) else chr(10)}options {kernel_cmdline.join(new)}\n"
    from difflib import SequenceMatcher

    for _tag, first, last, start, end in reversed(SequenceMatcher(None, old, new, False).get_opcodes()):
        if old[first:last] != new[start:end]:
            text = _put(text, spans, first, last, kernel_cmdline.join(new[start:end]))
    return text


def _put(text: str, spans: list[tuple[int, int]], first: int, last: int, words: str) -> str:
    """The text with other words instead of some of its own, and with what is between those that stay."""
    for index in reversed(range(first, last)):
        start, end = spans[index]
        if index and "\n" not in text[spans[index - 1][1] : start]:
            start = spans[index - 1][1]
        else:
            end += len(text[end:]) - len(text[end:].lstrip(" \t"))
        text = text[:start] + text[end:]
    if not words:
        return text
    place = spans[first - 1][1] if first else spans[0][0]
    rest = text[place:].split("\n")[0].strip()
    words = f" {words}" if first else f"{words} " if rest else words
    return text[:place] + words + text[place:]


def _fields(text: str) -> dict[str, str]:
    """The fields of an entry; several ``options`` and ``initrd`` are joined."""
    found: dict[str, str] = {}
    for name, value in re.findall(r"^\s*([a-z-]+)[ \t]+(.*?)\s*$", text, re.MULTILINE):
        found[name] = f"{found[name]} {value}" if name in ("options", "initrd") and name in found else value
    return found


def _expanded(host: Host, options: str) -> str:
    """The options with the variables of EL's GRUB in them: ``$kernelopts``, ``$tuned_params``."""
    if "$" not in options:
        return options
    environment = grub_environment(host, _GRUBENV)
    return re.sub(r"\$(kernelopts|tuned_params)\b", lambda match: environment.get(match.group(1), ""), options)


def _chosen(entries: tuple[Entry, ...], pattern: str | None, where: str) -> tuple[int | None, str | None]:
    """The entry that is booted next: the one that is chosen by name, or any where all are alike."""
    if pattern is not None:
        name = pattern[: -len(".conf")] if pattern.endswith(".conf") else pattern
        for index, entry in enumerate(entries):
            if fnmatchcase(re.sub(r"\+[0-9-]+$", "", entry.name), name):
                return index, None
    if entries and all(entry.line == entries[0].line for entry in entries):
        return 0, None
    return None, f"the entries have different arguments, and {where} names none of them"


def _image(host: Host, version: str) -> str | None:
    """The kernel that the distribution's own hooks give to kernel-install."""
    paths = (f"/boot/vmlinuz-{version}", f"/usr/lib/modules/{version}/vmlinuz", f"/lib/modules/{version}/vmlinuz")
    return next((path for path in paths if "/" not in version and host.is_file(path)), None)


def _kernel_of(host: Host, entry: Entry) -> str:
    """The kernel by which grubby knows an entry."""
    linux = _fields(host.read(entry.path) or "").get("linux", "")
    root = entry.path.rpartition("/loader/entries/")[0]
    path = linux if linux.startswith(f"{root}/") else f"{root}{linux}"
    if not host.is_file(path):
        raise HostError(entry.path, f"names the kernel {linux!r}, which is not there")
    return path


def _order(version: str) -> list[tuple[int, int | str]]:
    return [(1, int(part)) if part.isdecimal() else (0, part) for part in re.findall(r"[0-9]{1,18}|[^0-9]+", version)]
