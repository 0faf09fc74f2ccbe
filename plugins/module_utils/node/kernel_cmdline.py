# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's command line as what it is: an ordered list of arguments, of which some belong together.

A *line* is a tuple of arguments without their quotes, a *group* one of arguments that stand one after the other. Names
are compared as the kernel does: ``-`` and ``_`` are the same (kernel/params.c).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from ansible_collections.bulwark.node.plugins.module_utils.units import parse_size

__all__ = [
    "REPEATABLE",
    "SIZES",
    "Group",
    "Line",
    "absent",
    "found",
    "join",
    "key",
    "lacking",
    "missing",
    "present",
    "returned",
    "running",
    "size_of",
    "split",
]

Line = tuple[str, ...]
Group = tuple[str, ...]

SIZES = ("hugepagesz", "default_hugepagesz")
"""Of these the first one counts, and the ``hugepages`` after it is theirs (mm/hugetlb.c)."""

REPEATABLE = frozenset(
    {
        *("acpi_osi", "console", "crashkernel", "dyndbg", "earlycon", "efi", "hugepages", "hugepagesz", "ip", "memmap"),
        *("modprobe.blacklist", "netconsole", "pci", "rd.driver.blacklist", "rd.driver.post", "rd.driver.pre"),
        *("rd.luks.name", "rd.luks.options", "rd.luks.uuid", "rd.lvm.lv", "rd.lvm.vg", "rd.md.uuid"),
        *("systemd.mask", "systemd.setenv", "systemd.wants", "trace_event", "video"),
    }
)
"""Parameters that the kernel, dracut or systemd take more than once: one does not replace another."""

_WORD = re.compile(r"""(?:[^\s"'\\]|\\.|\\$|"(?:[^"\\]|\\.)*(?:"|$)|'[^']*(?:'|$))+""")
_QUOTES = re.compile(r"""\\(.)|["']""")
_KERNEL_WORD = re.compile(r'(?:[^\s"]|"[^"]*(?:"|$))+')


def split(text: str, kernel: bool = True) -> Line:
    """The arguments of a text as the kernel parts them; else as GRUB's scripts do, with backslashes and both quotes."""
    if kernel:
        return tuple(word.replace('"', "") for word in _KERNEL_WORD.findall(text))
    return tuple(_QUOTES.sub(r"\1", word) for word in _WORD.findall(text))


def join(line: Iterable[str]) -> str:
    """The text of a line, with quotes where an argument holds spaces."""
    return " ".join(map(_quoted, line))


def _quoted(argument: str) -> str:
    if not re.search(r"[\s#&;<>{|}]", argument):
        return argument
    name, equals, value = argument.partition("=")
    return f'{name}="{value}"' if equals and not re.search(r"\s", name) else f'"{argument}"'


def running(line: Line) -> Line:
    """What is for the kernel: an argument ``--`` and what follows it are for init."""
    return line[: line.index("--")] if "--" in line else line


def key(argument: str) -> str:
    """The name of an argument, as names are compared."""
    return argument.partition("=")[0].replace("-", "_")


def missing(line: Line, groups: Sequence[Group]) -> list[Group]:
    """The groups that are not in place in a line.

    One is in place where its arguments stand in the line one after the other, and no other argument takes that away:
    a later one of the same name, where it can be given once, or an earlier one of the same size of hugepages.
    Of groups that share a name that can be repeated the later stands after the earlier.
    """
    ends: dict[str, int] = {}
    lacking = []
    for group in groups:
        names = {key(argument) for argument in group if _orders(argument)}
        floor = max((ends.get(name, 0) for name in names), default=0)
        start = next((i for i in _runs(line, group) if i >= floor and not _is_overruled(line, i, group)), None)
        if start is None:
            lacking.append(group)
        else:
            ends.update(dict.fromkeys(names, start + len(group)))
    return lacking


def lacking(line: Line, groups: Sequence[Group]) -> list[Group]:
    """The groups that are missing, and those whose order with them counts."""
    gone = missing(line, groups)
    names = {key(argument) for group in gone for argument in group if _orders(argument)}
    return [group for group in groups if group in gone or any(key(a) in names for a in group)]


def present(line: Line, groups: Sequence[Group]) -> Line:
    """The line with the groups in place: what is not goes to its end, and what it replaces is taken away."""
    moving = lacking(line, groups)
    gone = {index for group in moving for index in _rivals(line, group)}
    return (*_without(line, gone), *(argument for group in moving for argument in group))


def returned(line: Line, added: Line, taken: Line) -> Line:
    """The line without what was added to it, the last one of each, and with what was taken from it."""
    left = list(reversed(line))
    for argument in added:
        if argument in left:
            left.remove(argument)
    return (*reversed(left), *(argument for argument in taken if argument not in left))


def absent(line: Line, groups: Sequence[Group]) -> Line:
    """The line without what the groups name."""
    return _without(line, {index for group in groups for index in found(line, group)})


def found(line: Line, group: Group) -> list[int]:
    """Where in the line that stands which a group names when it is to be absent.

    A name alone means it with any value, a size of hugepages alone also the numbers that follow it; else the arguments one after the other.
    """
    if len(group) == 1:
        name, equals = group[0].partition("=")[:2]
        if key(name) in SIZES:
            return [i for head, indices in _segments(line) if _same(head, group[0], bool(equals)) for i in indices]
        if not equals:
            return [i for i, argument in enumerate(line) if key(argument) == key(name)]
    return [start + offset for start in _runs(line, group) for offset in range(len(group))]


def _rivals(line: Line, group: Group) -> Iterator[int]:
    """What a group replaces, itself included."""
    for start in _runs(line, group):
        yield from range(start, start + len(group))
    for argument in group:
        if key(argument) in SIZES:
            exact = key(argument) == "hugepagesz"
            yield from (i for head, indices in _segments(line) if _same(head, argument, exact) for i in indices)
        elif key(argument) not in REPEATABLE:
            yield from (i for i, other in enumerate(line) if key(other) == key(argument))


def _is_overruled(line: Line, start: int, group: Group) -> bool:
    end = start + len(group)
    for argument in group:
        name = key(argument)
        if name in SIZES:
            exact = name == "hugepagesz"
            if any(_same(other, argument, exact) for other in line[:start]):
                return True
        elif name not in REPEATABLE and any(key(other) == name and other != argument for other in line[end:]):
            return True
    return False


def _same(one: str, other: str, with_value: bool) -> bool:
    """Whether two arguments that may name a size of hugepages do, and the same one."""
    return key(one) == key(other) and (not with_value or size_of(one) == size_of(other))


def size_of(argument: str) -> int | str:
    """Bytes of the size that an argument names, or its text where that is none."""
    value = argument.partition("=")[2]
    try:
        return parse_size(value)
    except ValueError:
        return value


def _segments(line: Line) -> list[tuple[str, list[int]]]:
    """Each size of hugepages in a line, with its own place and those of the numbers that are its."""
    segments: list[tuple[str, list[int]]] = []
    for index, argument in enumerate(line):
        if key(argument) in SIZES:
            segments.append((argument, [index]))
        elif key(argument) == "hugepages" and segments:
            segments[-1][1].append(index)
    return segments


def _runs(line: Line, group: Group) -> Iterator[int]:
    """Where in the line the arguments of a group stand one after the other."""
    names = [(key(argument), argument.partition("=")[1:]) for argument in line]
    wanted = [(key(argument), argument.partition("=")[1:]) for argument in group]
    return (start for start in range(len(line) - len(group) + 1) if names[start : start + len(group)] == wanted)


def _orders(argument: str) -> bool:
    name = key(argument)
    return name in REPEATABLE and name not in ("hugepages", *SIZES)


def _without(line: Line, indices: Iterable[int]) -> Line:
    gone = set(indices)
    return tuple(argument for index, argument in enumerate(line) if index not in gone)
