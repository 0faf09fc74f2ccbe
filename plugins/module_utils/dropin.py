# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings persisted in drop-in folders: our file in it, and the other files that set the same.

Two formats: tmpfiles.d(5), whose *first* file by name wins for a path, and sysctl.d(5), whose *last* one wins for a key.
A folder earlier in the search order hides a file of the same name in a later one.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from ansible_collections.bulwark.node.plugins.module_utils.converge import Change
from ansible_collections.bulwark.node.plugins.module_utils.errors import OwnerError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host

__all__ = ["SYSCTL", "TMPFILES", "Dropin", "Owner", "Persisted"]

_HEADER = "# Written by the bulwark.node collection; its modules add and remove lines here. See {manual}.\n"


@dataclass(frozen=True)
class Owner:
    """Another file that sets one of our keys. ``wins``: its value is the one after the next boot."""

    path: str
    key: str
    value: str
    wins: bool


@dataclass(frozen=True)
class Dropin:
    """One drop-in format: where its files are, how a line is read and written, which of two files wins."""

    manual: str
    folders: tuple[str, ...]
    first_wins: bool
    parse: Callable[[str], tuple[str, str] | None]
    render: Callable[[str, str], str]
    last: tuple[str, ...] = ()
    """Files outside of the folders that are read after all of them."""

    def observe(self, host: Host, path: str, keys: Iterable[str]) -> Persisted:
        """Our file as it is, and every other file that sets one of the keys."""
        text = host.read(path)
        return Persisted(self, path, text, dict(self.settings(text or "")), tuple(self.owners(host, path, keys)))

    def text(self, settings: Mapping[str, str]) -> str | None:
        """The file that holds these settings, sorted by key; None (no file) where there are none."""
        if not settings:
            return None
        lines = "".join(self.render(key, settings[key]) + "\n" for key in sorted(settings))
        return _HEADER.format(manual=self.manual) + lines

    def owners(self, host: Host, ours: str, keys: Iterable[str]) -> list[Owner]:
        """Every other file that sets one of the keys, in the order in which they are read."""
        wanted = sorted(set(keys))
        found: list[Owner] = []
        order = self._files(host) + [path for path in self.last if host.exists(path)]
        ours_name = ours.rpartition("/")[2]
        for path in order:
            if path == ours:
                continue
            before_us = path not in self.last and path.rpartition("/")[2] < ours_name
            for pattern, value in self.settings(host.read(path) or ""):
                found.extend(
                    Owner(path, key, value, before_us == self.first_wins) for key in wanted if fnmatchcase(key, pattern)
                )
        return found

    def _files(self, host: Host) -> list[str]:
        """The files that count, sorted by name, the hidden ones left out."""
        paths: dict[str, str] = {}
        for folder in self.folders:
            for name in host.names(folder):
                if name.endswith(".conf"):
                    paths.setdefault(name, f"{folder}/{name}")
        return [paths[name] for name in sorted(paths)]

    def settings(self, text: str) -> list[tuple[str, str]]:
        """The (key, value) of each line that sets something."""
        parsed = (self.parse(line.strip()) for line in text.splitlines())
        return [setting for setting in parsed if setting is not None]


@dataclass(frozen=True)
class Persisted:
    """What is persisted for one domain: our file (``text`` None where there is none), and who else sets the same keys."""

    dropin: Dropin
    path: str
    text: str | None
    settings: Mapping[str, str]
    owners: tuple[Owner, ...]

    def plan(self, settings: Mapping[str, str]) -> list[Change]:
        """The change that makes our file hold exactly these settings; none where it does."""
        if dict(self.settings) == dict(settings):
            return []
        return [Change("file", self.path, self.text, self.dropin.text(settings))]

    def predict(self, changes: Iterable[Change]) -> Persisted:
        """The same after the changes."""
        for change in changes:
            if change.target == self.path:
                return replace(self, text=change.after, settings=dict(self.dropin.settings(change.after or "")))
        return self

    def refuse_winners(self, settings: Mapping[str, str]) -> None:
        """Raise OwnerError where another file's value would replace one of these settings at the next boot."""
        for owner in self.owners:
            if owner.wins and settings.get(owner.key) != owner.value:
                raise OwnerError(
                    f"{owner.path} sets {owner.key} to {owner.value} and wins over {self.path} at boot. "
                    "Change it there, or set persist to false"
                )

    def warnings(self, settings: Mapping[str, str]) -> tuple[str, ...]:
        """A sentence for each other file that sets something else and loses."""
        return tuple(
            f"{owner.path} sets {owner.key} to {owner.value}; {self.path} wins over it at boot"
            for owner in self.owners
            if not owner.wins and settings.get(owner.key) != owner.value
        )


def _parse_tmpfiles(line: str) -> tuple[str, str] | None:
    """Path and argument of a line that writes to existing files (``w``, ``w!``, ``w+``…); other types set no attribute."""
    if not line.startswith("w"):
        return None
    try:
        fields = shlex.split(line)
    except ValueError:
        fields = line.split()
    if len(fields) < 7:
        return None
    return fields[1], " ".join(fields[6:])


def _render_tmpfiles(path: str, value: str) -> str:
    # "!": at boot only. A later "systemd-tmpfiles --create" must not take pages from running guests.
    return f"w! {path} - - - - {value}"


def _parse_sysctl(line: str) -> tuple[str, str] | None:
    match = re.fullmatch(r"-?\s*([^#;=\s][^=]*?)\s*=\s*(.*)", line)
    if match is None:
        return None
    key = match.group(1)
    # sysctl.d(5): with a slash as the first separator, dots belong to the names.
    if "/" in key.split(".")[0]:
        key = key.replace("/", "\0").replace(".", "/").replace("\0", ".")
    return key, match.group(2)


TMPFILES = Dropin(
    manual="tmpfiles.d(5)",
    folders=("/etc/tmpfiles.d", "/run/tmpfiles.d", "/usr/local/lib/tmpfiles.d", "/usr/lib/tmpfiles.d"),
    first_wins=True,
    parse=_parse_tmpfiles,
    render=_render_tmpfiles,
)
SYSCTL = Dropin(
    manual="sysctl.d(5)",
    folders=("/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d"),
    first_wins=False,
    parse=_parse_sysctl,
    render=lambda key, value: f"{key} = {value}",
    last=("/etc/sysctl.conf",),
)
