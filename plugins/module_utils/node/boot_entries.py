# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entries of the Boot Loader Specification (Type #1), made from /etc/kernel/cmdline by kernel-install(8), or edited by grubby(8).

The line of /etc/kernel/cmdline is what a new kernel gets. Where there is none, kernel-install takes the running line: then one
is written first, so that a new kernel does not lose what is only staged.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase

from ansible_collections.bulwark.node.plugins.module_utils.converge import Undos
from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.manifest import HEADER
from ansible_collections.bulwark.node.plugins.module_utils.node import kernel_cmdline
from ansible_collections.bulwark.node.plugins.module_utils.node.boot_loader import Boot, Entry, Goal, Source
from ansible_collections.bulwark.node.plugins.module_utils.node.kernel_cmdline import Line

__all__ = ["Grubby", "KernelInstall"]

CMDLINE = "/etc/kernel/cmdline"
RECORD = "/etc/kernel/bulwark-kernel-args"
_VENDOR_CMDLINE = "/usr/lib/kernel/cmdline"
_GRUBENV = "/boot/grub2/grubenv"
_HEADER = f"{HEADER}; what its module kernel_args added to {CMDLINE}, and what it took away.\n"
# What the boot loader adds to the running line by itself.
_LOADERS_OWN = ("BOOT_IMAGE", "initrd")


class KernelInstall:
    """The backend ``kernel_install``; ``root`` is the folder that has ``loader/entries``."""

    maker = "kernel-install add"

    def __init__(self, root: str) -> None:
        self._root = root
        self._folder = f"{root}/loader/entries"

    def observe(self, host: Host) -> Boot:
        record, text = host.read(RECORD), host.read(CMDLINE)
        recorded = {
            name: kernel_cmdline.split(rest)
            for name, rest in re.findall(r"^(added|taken) (.*)$", record or "", re.MULTILINE)
        }
        line = _configured(host, text)
        ours = recorded.get("added", ())
        entries = tuple(self._entries(host))
        default, reason = self._default(host, entries)
        theirs = kernel_cmdline.absent(line, [ours]) if ours else line
        return Boot(
            record=RECORD,
            edited=CMDLINE,
            texts={RECORD: record, CMDLINE: text},
            ours=ours,
            taken=recorded.get("taken", ()),
            configured=line,
            configured_reason=None,
            sources=tuple(Source(argument, CMDLINE, 1) for argument in theirs),
            place=len(line),
            entries=entries,
            default=default,
            default_reason=reason,
            made=self._folder,
        )

    def record(self, goal: Goal) -> str:
        rows = {"added": goal.ours, "taken": goal.taken}
        return _HEADER + "".join(f"{name} {kernel_cmdline.join(line)}\n" for name, line in rows.items() if line)

    def predict(self, boot: Boot, goal: Goal) -> Boot:
        line = goal.line or ()
        # 90-loaderentry.install adds it where the line has none.
        entries = tuple(
            replace(
                entry,
                line=(*line, *(a for a in entry.prefix if kernel_cmdline.key(a) not in map(kernel_cmdline.key, line))),
            )
            if entry.managed
            else entry
            for entry in boot.entries
        )
        return replace(boot, ours=goal.ours, taken=goal.taken, configured=line, entries=entries)

    def make(self, host: Host, boot: Boot, goal: Goal, undos: Undos) -> None:
        self._keep(host, undos)
        for entry in boot.entries:
            if entry.managed:
                host.run(["kernel-install", "add", entry.version, _image(host, entry.version) or ""])

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

    def _entries(self, host: Host) -> list[Entry]:
        """The entries, the newest kernel first."""
        entries = []
        for name in host.names(self._folder):
            path = f"{self._folder}/{name}"
            if name.endswith(".conf") and host.is_file(path):
                fields = _fields(host.read(path) or "")
                version = fields.get("version", "")
                line = kernel_cmdline.split(_expanded(host, fields.get("options", "")))
                if "linux" in fields:
                    entries.append(
                        Entry(
                            name=name[: -len(".conf")],
                            path=path,
                            line=line,
                            managed=self._is_managed(host, name, version),
                            version=version,
                            prefix=tuple(a for a in line if kernel_cmdline.key(a) == "systemd.machine_id"),
                            overhead=len(f"initrd={fields.get('initrd', '')} "),
                        )
                    )
        return sorted(entries, key=lambda entry: _order(entry.version), reverse=True)

    def _is_managed(self, host: Host, name: str, version: str) -> bool:
        """Whether kernel-install makes it: by its name, and there is the kernel."""
        named = re.fullmatch(rf".+-{re.escape(version)}(?:\+[0-9-]+)?\.conf", name) if version else None
        return named is not None and _image(host, version) is not None

    def _default(self, host: Host, entries: tuple[Entry, ...]) -> tuple[int | None, str | None]:
        chosen = next(
            (
                match
                for match in re.findall(
                    r"^default\s+(\S+)", host.read(f"{self._root}/loader/loader.conf") or "", re.MULTILINE
                )
            ),
            None,
        )
        return _chosen(entries, chosen, f"{self._root}/loader/loader.conf")


class Grubby(KernelInstall):
    """The backend ``grubby``: it edits the entries, and /etc/kernel/cmdline is for kernels to come. Built by its manual, not held to EL."""

    maker = "grubby --update-kernel=ALL"

    def predict(self, boot: Boot, goal: Goal) -> Boot:
        entries = tuple(replace(entry, line=_edited(entry.line, boot, goal)) for entry in boot.entries)
        return replace(boot, ours=goal.ours, taken=goal.taken, configured=goal.line, entries=entries)

    def make(self, host: Host, boot: Boot, goal: Goal, undos: Undos) -> None:
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

    def _is_managed(self, host: Host, name: str, version: str) -> bool:
        return True

    def _default(self, host: Host, entries: tuple[Entry, ...]) -> tuple[int | None, str | None]:
        return _chosen(entries, _environment(host).get("saved_entry"), _GRUBENV)


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
    """An entry's line after what was asked for."""
    if goal.wanted or goal.gone:
        return kernel_cmdline.present(kernel_cmdline.absent(line, goal.gone), goal.wanted)
    return kernel_cmdline.returned(line, boot.ours, boot.taken)


def _configured(host: Host, text: str | None) -> Line:
    """The line that kernel-install takes: of /etc, of /usr, else the running one."""
    if text is None:
        text = host.read(_VENDOR_CMDLINE)
    if text is not None:
        return kernel_cmdline.split(text)
    line = kernel_cmdline.split(host.read("/proc/cmdline") or "")
    return tuple(a for a in kernel_cmdline.running(line) if kernel_cmdline.key(a) not in _LOADERS_OWN)


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
    environment = _environment(host)
    return re.sub(r"\$(kernelopts|tuned_params)\b", lambda match: environment.get(match.group(1), ""), options)


def _environment(host: Host) -> Mapping[str, str]:
    return dict(re.findall(r"^(\w+)=(.*)$", host.read(_GRUBENV) or "", re.MULTILINE))


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
    """The kernel that kernel-install is given, as the distribution's own hooks do."""
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
