# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What systemd's configuration files say of a unit and of its manager, without asking systemd.

Sources: systemd.unit(5), systemd-system.conf(5), systemd.syntax(7), and unit_file_find_dropin_paths() for the order of drop-ins.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ansible_collections.bulwark.node.plugins.module_utils.host import Host

__all__ = ["Assignment", "UnitFiles", "assignments", "in_order", "manager_settings"]

# The system manager's, the first wins. /lib is its own folder where /usr is not merged.
_FOLDERS = (
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/run/systemd/generator.early",
    "/etc/systemd/system",
    "/etc/systemd/system.attached",
    "/run/systemd/system",
    "/run/systemd/system.attached",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/run/systemd/generator.late",
)
_MANAGER_FOLDERS = ("/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd", "/lib/systemd")


class Assignment(NamedTuple):
    """A line ``name=value`` and the file that it stands in."""

    name: str
    value: str
    file: str


class UnitFiles:
    """The unit files of one machine; the folders are listed once."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._names = {folder: frozenset(host.names(folder)) for folder in _FOLDERS}

    def settings(self, unit: str) -> list[Assignment]:
        """The assignments of the unit's own section in the order in which they apply: a later one replaces an earlier."""
        kind = unit.rpartition(".")[2]
        fragment = self.fragment(unit)
        files = [*([fragment] if fragment else []), *self._dropins(unit)]
        return list(assignments(self._host, files, kind.capitalize()))

    def fragment(self, unit: str) -> str | None:
        """The unit's main file: by its name, for an instance else by its template's."""
        for name in (unit, _template(unit)):
            for folder in self._names:
                if name in self._names[folder]:
                    return f"{folder}/{name}"
        return None

    def _dropins(self, unit: str) -> list[str]:
        """Its drop-ins by their names; of two with one name the first in the search order counts."""
        names = (unit, *self._aliases(unit))
        folders = [
            f"{folder}/{own}.d" for name in names for folder in _FOLDERS for own in self._with_dropins(folder, name)
        ]
        kind = unit.rpartition(".")[2]
        folders += [f"{folder}/{kind}.d" for folder in _FOLDERS if f"{kind}.d" in self._names[folder]]
        return in_order(self._host, folders)

    def _with_dropins(self, folder: str, unit: str) -> list[str]:
        return [name for name in _less_and_less(unit) if f"{name}.d" in self._names[folder]]

    def _aliases(self, unit: str) -> list[str]:
        """The unit's other names that have drop-ins: symlinks to its file."""
        kind = unit.rpartition(".")[2]
        found = {name[:-2] for names in self._names.values() for name in names if name.endswith(f".{kind}.d")}
        return sorted(name for name in found if name != unit and self._leads_to(name, unit))

    def _leads_to(self, alias: str, unit: str) -> bool:
        for folder in _FOLDERS:
            if alias in self._names[folder]:
                target = self._host.link_target(f"{folder}/{alias}") or ""
                return target.rpartition("/")[2] in (unit, _template(unit))
        return False


def manager_settings(host: Host) -> list[Assignment]:
    """The assignments of [Manager] in system.conf and its drop-ins, in the order in which they apply."""
    main = next((path for folder in _MANAGER_FOLDERS if host.exists(path := f"{folder}/system.conf")), None)
    dropins = in_order(host, [f"{folder}/system.conf.d" for folder in _MANAGER_FOLDERS])
    return list(assignments(host, [*([main] if main else []), *dropins], "Manager"))


def in_order(host: Host, folders: Iterable[str]) -> list[str]:
    """The drop-ins of these folders by their names; of two with one name the first folder's counts."""
    paths: dict[str, str] = {}
    for folder in folders:
        # systemd leaves out a folder of such a name.
        no_files = set(host.folders(folder))
        for name in host.names(folder):
            if name.endswith(".conf") and name not in no_files:
                paths.setdefault(name, f"{folder}/{name}")
    return [paths[name] for name in sorted(paths)]


def _template(unit: str) -> str:
    """``foo@.service`` of ``foo@bar.service``; another name as it is."""
    return re.sub(r"@.*(\.[a-z]+)$", r"@\1", unit, flags=re.DOTALL)


def _less_and_less(unit: str) -> list[str]:
    """The names whose drop-ins a unit takes: its own, its template's, and each cut after a dash (``foo-.service``)."""
    found = [unit]
    template = _template(unit)
    if template != unit:
        found += _less_and_less(template)
    # A template's shorter names are those of plain units.
    cut = re.fullmatch(r"([^@]*-)[^-@]+-?(?:(@.+)|@?)(\.[a-z]+)", unit, re.DOTALL)
    if cut:
        found += _less_and_less(cut[1] + (cut[2] or "") + cut[3])
    return list(dict.fromkeys(found))


def assignments(host: Host, files: Iterable[str], wanted: str) -> Iterator[Assignment]:
    """The assignments of one section of these files, in the order in which they stand."""
    for path in files:
        section = None
        for line in _lines(host.read(path) or ""):
            if line.startswith("["):
                section = line.strip("[]")
            elif section == wanted:
                name, equals, value = line.partition("=")
                if equals:
                    yield Assignment(name.strip(), value.strip(), path)


def _lines(text: str) -> Iterator[str]:
    """The lines that count: continued ones joined by a space, comments left out, inside of a continuation too."""
    pending = ""
    for line in text.split("\n"):
        stripped = line.strip()
        if stripped[:1] in ("#", ";"):
            continue
        if line.rstrip("\r").endswith("\\"):
            pending += line.rstrip("\r")[:-1] + " "
            continue
        if joined := (pending + stripped).strip():
            yield joined
        pending = ""
