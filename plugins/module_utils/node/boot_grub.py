# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GRUB as Debian and Ubuntu have it: /etc/default/grub, /etc/default/grub.d/*.cfg, and the grub.cfg that update-grub makes of them.

grub-mkconfig sources these files as root's shell, one after the other. They are read here without a shell: plain
assignments alone, and where there is more, what is configured is not known. Source: grub-mkconfig and 10_linux of
Debian 12.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ansible_collections.bulwark.node.plugins.module_utils.converge import Undos
from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.manifest import HEADER, Manifest
from ansible_collections.bulwark.node.plugins.module_utils.node import kernel_cmdline
from ansible_collections.bulwark.node.plugins.module_utils.node.boot_loader import (
    GRUB_CFG,
    GRUB_RECORD,
    Boot,
    Entry,
    Goal,
    Source,
    grub_environment,
)
from ansible_collections.bulwark.node.plugins.module_utils.node.kernel_cmdline import Line

__all__ = ["Grub"]

_GRUBENV = "/boot/grub/grubenv"
# Not GRUB_CMDLINE_LINUX: an entry for recovery must boot without what may have broken the others.
_OURS = "GRUB_CMDLINE_LINUX_DEFAULT"
# In the order in which 10_linux puts them into an entry.
_VARIABLES = ("GRUB_CMDLINE_LINUX", _OURS)
_HEADER = f"{HEADER}; its module kernel_args adds and removes arguments here. Then run update-grub.\n"
_ASSIGNMENT = re.compile(r"(?:export\s+)?(GRUB_CMDLINE_LINUX(?:_DEFAULT)?)=(.*)")
_MENTION = re.compile(r"\bGRUB_CMDLINE_LINUX(?:_DEFAULT)?[+:]?=")
# What a shell does whatever came before it, and what leaves our variables alone: nothing, or another variable's one word.
_PLAIN = re.compile(
    r"""\s*|(?:export\s+)?[A-Za-z_]\w*=(?:'[^']*'|"(?:[^"\\]|\\.)*"|`[^`]*`|\$\([^()'"`]*\)|\\.|[^\s'"\\`;&|<>()])*\s*(?:\s\#.*)?"""
    r"|export(?:\s+[A-Za-z_]\w*)+"
)
_REFERENCE = re.compile(r"(?<!\\)\$(?:\{(GRUB_CMDLINE_LINUX(?:_DEFAULT)?)\}|(GRUB_CMDLINE_LINUX(?:_DEFAULT)?)(?!\w))")
_WORD = re.compile(r"""(?:'([^']*)'|"((?:[^"\\`]|\\.)*)"|([^\s"'\\`;&|<>()$#~]|(?<!\A)#|\$(?=[{\w]))|\\(.))""")
_BEGIN = re.compile(r"### BEGIN (\S+) ###")


@dataclass(frozen=True)
class _Configured:
    """What the files come to: the arguments with their files, ``place``: where ours end, and why that is not known.

    ``dropped``: the file and line that set our variable after us without what it was.
    """

    sources: tuple[Source, ...]
    place: int
    reason: str | None
    dropped: Source | None


class Grub:
    """The backend ``grub``."""

    maker = "update-grub"

    def observe(self, host: Host) -> Boot:
        text = host.read(GRUB_RECORD)
        ours = _ours(text or "")
        found = _configured(host)
        sources = [source for source in found.sources if source.path != GRUB_RECORD]
        line = tuple(source.argument for source in found.sources)
        entries = tuple(_entries(host.read(GRUB_CFG) or "", line))
        default, reason = _default(host, entries)
        return Boot(
            record=GRUB_RECORD,
            edited=None,
            texts={GRUB_RECORD: text},
            ours=ours,
            taken=(),
            configured=None if found.reason else line,
            configured_reason=found.reason,
            sources=(*sources, *([found.dropped] if found.dropped else [])),
            place=found.place - len(ours),
            entries=tuple(entry for entry, _path in entries),
            default=default,
            default_reason=reason,
            made=GRUB_CFG,
        )

    def record(self, goal: Goal) -> str:
        # Between double quotes of sh: kernel_args takes no "$", "`" or backslash.
        text = kernel_cmdline.join(goal.ours).replace('"', '\\"')
        return _HEADER + (f'{_OURS}="${_OURS} {text}"\n' if text else "")

    def predict(self, boot: Boot, goal: Goal) -> Boot:
        lines: list[tuple[Line, Line]]
        if boot.configured is None:
            configured, tail = None, goal.ours
            lines = [(kernel_cmdline.returned(entry.line, boot.ours, ()), ()) for entry in boot.entries]
        else:
            head, rest = boot.configured[: boot.place], boot.configured[boot.place + len(boot.ours) :]
            configured = tail = (*head, *goal.ours, *rest)
            lines = [(entry.prefix, entry.suffix) for entry in boot.entries]
        entries = tuple(
            replace(entry, line=(*before, *tail, *after)) if entry.managed else entry
            for entry, (before, after) in zip(boot.entries, lines)
        )
        return replace(boot, ours=goal.ours, configured=configured, entries=entries)

    def make(self, host: Host, manifest: Manifest, boot: Boot, goal: Goal, undos: Undos) -> None:
        old, status = host.read_bytes(GRUB_CFG), host.mode_and_owner(GRUB_CFG)
        if old is None or status is None:
            raise HostError(GRUB_CFG, "is gone; run update-grub and look what it says")
        there = host.exists(f"{GRUB_CFG}.new")

        def restore() -> None:
            # First, since it may be what filled the file system up.
            if not there:
                host.remove(f"{GRUB_CFG}.new")
            if host.read_bytes(GRUB_CFG) != old:
                host.replace(GRUB_CFG, old, status[0], status[1:])

        undos.push(GRUB_CFG, restore)
        host.run(["update-grub"])


# what is configured


def _ours(text: str) -> Line:
    """The arguments of our own file."""
    assigned = [match for match in map(_ASSIGNMENT.fullmatch, text.split("\n")) if match]
    value = _value(assigned[-1].group(2)) if assigned else None
    return kernel_cmdline.split(_REFERENCE.sub(" ", value or ""))


def _configured(host: Host) -> _Configured:
    values: dict[str, tuple[Source, ...]] = dict.fromkeys(_VARIABLES, ())
    # It goes where our arguments go, there or not yet.
    marker = Source("", GRUB_RECORD, 0)
    reason: str | None = None
    dropped: Source | None = None
    for path in _files(host):
        text = host.read(path) if host.is_file(path) else None
        for number, line in _lines(text or ""):
            match = _ASSIGNMENT.fullmatch(line)
            value = _value(match.group(2)) if match else None
            later = marker in values[_OURS]
            parsed = _arguments(value, values, Source("", path, number, later)) if match and value is not None else None
            if match and parsed is not None:
                values[match.group(1)] = parsed
                if later and marker not in values[_OURS]:
                    dropped = Source("", path, number, True)
            elif _MENTION.search(line) or not _PLAIN.fullmatch(line):
                reason = reason or f"{path}:{number} is more than a plain assignment, which is not evaluated"
        if path == GRUB_RECORD:
            values[_OURS] += (marker,)
    sources = [source for name in _VARIABLES for source in values[name]]
    place = sources.index(marker) if marker in sources else len(sources)
    return _Configured(tuple(source for source in sources if source != marker), place, reason, dropped)


def _files(host: Host) -> list[str]:
    """What grub-mkconfig sources, in that order; our own file at its place, there or not yet."""
    folder, name = GRUB_RECORD.rsplit("/", 1)
    names = sorted({*host.names(folder), name})
    return ["/etc/default/grub", *(f"{folder}/{n}" for n in names if n.endswith(".cfg") and not n.startswith("."))]


def _arguments(value: str, values: dict[str, tuple[Source, ...]], source: Source) -> tuple[Source, ...] | None:
    """The arguments of a value, those of a variable in it in its place; None where a variable is a part of a word."""
    found: list[Source] = []
    if len(_REFERENCE.findall(value)) != len(_REFERENCE.findall(re.sub(r'"[^"]*(?:"|$)', "", value))):
        return None  # in quotes of the kernel's own, which make one word of it
    for word in kernel_cmdline.split(value):
        reference = _REFERENCE.fullmatch(word)
        if reference:
            found.extend(values[reference.group(1) or reference.group(2)])
        elif _REFERENCE.search(word):
            return None
        else:
            found.append(replace(source, argument=word.replace("\\$", "$")))
    return tuple(found)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """(number, line) of a shell script without its comments, continued lines joined under the number of the first."""
    number, whole = 1, ""
    for index, line in enumerate(text.split("\n"), 1):
        number = number if whole else index
        whole += line
        if whole.endswith("\\"):
            whole = whole[:-1]
            continue
        if not whole.lstrip().startswith("#"):
            yield number, whole.rstrip()
        whole = ""


def _value(text: str) -> str | None:
    """The value of an assignment, references to the two variables left in it; None where it takes a shell to tell."""
    value, place = "", 0
    while place < len(text):
        match = _WORD.match(text, place)
        if match is None:
            rest = text[place:]
            if re.fullmatch(r"\s+(?:#.*)?", rest):
                break
            return None
        single, double, plain, escaped = match.groups()
        if single is not None:
            # "$" has no meaning there: it is told from a reference by what GRUB would see, an escaped one.
            value += single.replace("$", "\\$")
        elif double is not None:
            value += re.sub(r'\\(["`\\])', r"\1", double)
        else:
            value += plain or ("\\$" if escaped == "$" else escaped)
        place = match.end()
    rest = _REFERENCE.sub("", value)
    return None if re.search(r"(?<!\\)\$", rest) else value


# what is made of it


def _entries(text: str, configured: Line) -> Iterator[tuple[Entry, tuple[str, ...]]]:
    """Each entry of a grub.cfg that boots Linux, and the names by which it is chosen: its place, id and title, after its submenu's."""
    section, blocks, counts = "", [], [0]
    for number, line in enumerate(text.split("\n"), 1):
        begin = _BEGIN.match(line)
        stripped = line.strip()
        if begin:
            section = begin.group(1)
        elif stripped.endswith("{"):
            words = kernel_cmdline.split(stripped[:-1], kernel=False)
            is_menu = bool(words) and words[0] in ("menuentry", "submenu")
            blocks.append(_names(words, counts[-1]) if is_menu else None)
            if is_menu:
                counts[-1] += 1
            counts.append(0)
        elif stripped == "}" and blocks:
            blocks.pop()
            counts.pop()
        elif re.match(r"linux(?:16|efi)?\s", stripped):
            words = kernel_cmdline.split(stripped, kernel=False)
            path = tuple(block for block in blocks if block)
            identity = path[-1][1] if path else ""
            arguments = words[2:]
            prefix, suffix = _around(arguments, configured)
            managed = bool(re.search(r"/\d+_linux\w*$", section)) and "-recovery-" not in identity
            yield (
                Entry(
                    name=" > ".join(block[-1] for block in path) or f"line {number}",
                    path=f"{GRUB_CFG}:{number}",
                    line=arguments,
                    managed=managed,
                    prefix=prefix,
                    suffix=suffix,
                    overhead=len(f"BOOT_IMAGE={words[1]} ") if len(words) > 1 else 0,
                ),
                tuple("\0".join(block) for block in path),
            )


def _around(line: Line, configured: Line) -> tuple[Line, Line]:
    """What 10_linux puts before and after the configured arguments; of an entry that is not made of them what it always has."""
    for start in range(len(line) - len(configured), 1, -1) if configured else ():
        end = start + len(configured)
        if line[start:end] == configured:
            return line[:start], line[end:]
    head = 3 if len(line) > 2 and line[2].startswith("rootflags=subvol=") else 2
    return line[:head], ()


def _names(words: Line, place: int) -> tuple[str, str, str]:
    """(place, id, title) of a menu entry."""
    title = words[1] if len(words) > 1 else ""
    identity = next((after for word, after in zip(words, words[1:]) if word in ("$menuentry_id_option", "--id")), "")
    return str(place), identity, title


def _default(host: Host, entries: tuple[tuple[Entry, tuple[str, ...]], ...]) -> tuple[int | None, str | None]:
    """The index of the entry that GRUB boots next, or why that is not known."""
    text = host.read(GRUB_CFG) or ""
    environment = grub_environment(host, _GRUBENV)
    chosen = set(re.findall(r'^\s*set default="(?!\$\{next_entry\})([^"]*)"', text, re.MULTILINE))
    wanted = environment.get("next_entry") or (chosen.pop() if len(chosen) == 1 else None)
    if wanted is None:
        return None, f"{GRUB_CFG} chooses its default by more than one value"
    if wanted == "${saved_entry}":
        wanted = environment.get("saved_entry") or "0"
    parts = [part.replace(">>", ">") for part in re.split(r"(?<!>)>(?!>)", wanted)]
    for index, (_entry, path) in enumerate(entries):
        if len(path) == len(parts) and all(part in block.split("\0") for part, block in zip(parts, path)):
            return index, None
    return (
        None,
        f"{GRUB_CFG} boots the entry {wanted!r}, which is no Linux of its menu or is in a submenu of another name",
    )
