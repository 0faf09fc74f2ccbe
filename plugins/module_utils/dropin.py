# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings persisted in drop-in folders: our file in it, and the other files that set the same.

Two formats: tmpfiles.d(5), whose *first* line wins for a path, and sysctl.d(5), whose *last* one wins for a key. The files
count in the order of their names; a folder earlier in the search order hides a file of the same name in a later one.
Globs: tmpfiles.d applies different patterns one after the other, in sysctl.d a key by its name beats every pattern.
Held against systemd-tmpfiles 252, and against tmpfiles.c and sysctl.c.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from io import StringIO
from typing import NamedTuple

from ansible_collections.bulwark.node.plugins.module_utils.converge import Change
from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError, OwnerError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.manifest import HEADER, MANIFEST, is_ours

__all__ = ["SYSCTL", "TMPFILES", "Dropin", "Owner", "Persisted", "matches"]

_HEADER = HEADER + "; its modules add and remove lines here. See {manual}.\n"


@dataclass(frozen=True)
class Owner:
    """Another file that sets one of our keys. ``wins``: its value is the one after the next boot, for ``certain`` or maybe."""

    path: str
    key: str
    value: str
    wins: bool
    certain: bool = True


class _Line(NamedTuple):
    """A line of a file, for one of the keys that its pattern matches."""

    key: str
    path: str
    pattern: str
    value: str


@dataclass(frozen=True)
class Dropin:
    """One drop-in format: where its files are, how a line is read and written, which of two lines wins."""

    manual: str
    folders: tuple[str, ...]
    first_wins: bool
    separator: str
    """What parts a key's names: no ``*`` reaches beyond it."""
    names_beat_globs: bool
    parse: Callable[[str], tuple[str, str] | None]
    render: Callable[[str, str], str]
    last: tuple[str, ...] = ()
    """Files outside of the folders that are read after all of them."""
    suffix: str = ".conf"
    """How the names of its files end."""

    def observe(self, host: Host, path: str, keys: Iterable[str], ours: str = ".*") -> Persisted:
        """Our file as it is, and every other file that sets one of the keys. ``ours`` matches each key that our module may set."""
        text = host.read(path)
        return Persisted(self, path, text, self.values(text or "", ours), tuple(self.owners(host, path, keys)), ours)

    def text(self, settings: Mapping[str, str], foreign: str = "") -> str | None:
        """The file that holds these settings, sorted by key, and the lines of others, where ours win over them.

        Without settings it is no file of ours: the lines of others, or None (no file). Raises BulwarkError where a key or value
        cannot be written in this format (a line break, say).
        """
        if not settings:
            return foreign or None
        lines = [self.render(key, settings[key]) for key in sorted(settings)]
        for key, line in zip(sorted(settings), lines):
            if self.settings(line) != [(key, settings[key])]:
                raise BulwarkError(f"{self.manual} has no way to write {key!r} with the value {settings[key]!r}")
        own = "".join(f"{line}\n" for line in lines)
        return _HEADER.format(manual=self.manual) + (own + foreign if self.first_wins else foreign + own)

    def foreign(self, text: str | None, ours: str) -> str:
        """The lines in a file of ours that our module would not write, with their comments: they are somebody's, and stay."""
        if not is_ours(text):
            return ""
        lines = [line for line in (text or "").split("\n")[1:] if line.strip() and not self._sets(line, ours)]
        return "".join(f"{line}\n" for line in lines) if any(line.strip()[0] not in "#;" for line in lines) else ""

    def _sets(self, line: str, ours: str) -> bool:
        keys = [key for key, _value in self.settings(line)]
        return bool(keys) and all(re.fullmatch(ours, key) for key in keys)

    def owners(self, host: Host, ours: str, keys: Iterable[str]) -> list[Owner]:
        """Every other file that sets one of the keys, in the order in which they are read; ``ours`` is "" where we have none.

        We are taken to set every key at the place of our file, there or not yet.
        """
        wanted = sorted(set(keys))
        read: list[_Line] = []
        for path in self.files(host, ours):
            text = host.read(path) if path != ours and host.is_file(path) else ""
            settings = [(key, "") for key in wanted] if path == ours else self.settings(text or "")
            read.extend(
                _Line(key, path, pattern, value)
                for pattern, value in settings
                for key in wanted
                if matches(key, pattern, self.separator)
            )
        winners = {key: self._winner(key, [line for line in read if line.key == key]) for key in wanted}
        return [Owner(line.path, line.key, line.value, line is winners[line.key]) for line in read if line.path != ours]

    def _winner(self, key: str, lines: Sequence[_Line]) -> _Line | None:
        """Which of the lines for one key has the last word."""
        counting: dict[str, _Line] = {}
        for line in lines:
            if not self.first_wins:
                counting.pop(line.pattern, None)
            counting.setdefault(line.pattern, line)
        if self.names_beat_globs and key in counting:
            return counting[key]
        return list(counting.values())[-1] if counting else None

    def files(self, host: Host, ours: str = "") -> list[str]:
        """The files that count in the order of their names, ours among them and those that are hidden left out."""
        paths = {ours.rpartition("/")[2]: ours} if ours else {}
        for folder in self.folders:
            for name in host.names(folder):
                path = f"{folder}/{name}"
                # A symlink to /dev/null hides the files of its name; a folder or a FIFO is nothing, as for systemd.
                if name.endswith(self.suffix) and (host.is_file(path) or host.resolved(path) == "/dev/null"):
                    paths.setdefault(name, path)
        return [paths[name] for name in sorted(paths)] + [path for path in self.last if host.is_file(path)]

    def settings(self, text: str) -> list[tuple[str, str]]:
        """The (key, value) of each line that sets something."""
        parsed = (self.parse(line.strip()) for line in text.split("\n"))
        return [setting for setting in parsed if setting is not None]

    def values(self, text: str, ours: str = ".*") -> dict[str, str]:
        """What one file sets of such keys, of a key's lines the one that wins."""
        settings = [setting for setting in self.settings(text) if re.fullmatch(ours, setting[0])]
        return dict(reversed(settings) if self.first_wins else settings)


@dataclass(frozen=True)
class Persisted:
    """What is persisted for one domain: our file (``text`` None where there is none), and who else sets the same keys.

    ``settings`` are those in it whose key matches ``ours``; its other lines are somebody's.
    """

    dropin: Dropin
    path: str
    text: str | None
    settings: Mapping[str, str]
    owners: tuple[Owner, ...]
    ours: str = ".*"

    @property
    def mine(self) -> Mapping[str, str]:
        """The settings that are ours: none where the file begins as another's by now."""
        return self.settings if is_ours(self.text) else {}

    def plan(self, settings: Mapping[str, str]) -> list[Change]:
        """The change that makes our file hold exactly these settings; none where it does, or nothing is wanted of another's."""
        if dict(self.settings) == dict(settings) if settings else not is_ours(self.text):
            return []
        foreign = self.dropin.foreign(self.text, self.ours)
        return [Change("file", self.path, self.text, self.dropin.text(settings, foreign))]

    def predict(self, changes: Iterable[Change]) -> Persisted:
        """The same after the changes."""
        for change in changes:
            if change.target == self.path:
                return replace(self, text=change.after, settings=self.dropin.values(change.after or "", self.ours))
        return self

    def refuse_winners(self, settings: Mapping[str, str]) -> None:
        """Raise OwnerError where another file's value would replace one of these settings at the next boot."""
        for owner in self.owners:
            if owner.wins and settings.get(owner.key, owner.value) != owner.value:
                raise OwnerError(
                    f"{owner.path} sets {owner.key} to {owner.value} and {'wins' if owner.certain else 'may win'} over "
                    f"{self.path} at boot. "
                    "Change it there, or set persist to false"
                )

    def warnings(self, settings: Mapping[str, str]) -> tuple[str, ...]:
        """A sentence for each other file that sets one of these settings to something else and loses."""
        return tuple(
            f"{owner.path} sets {owner.key} to {owner.value}; {self.path} wins over it at boot"
            for owner in self.owners
            if not owner.wins and settings.get(owner.key, owner.value) != owner.value
        )

    def contradictions(self, settings: Mapping[str, str]) -> tuple[str, ...]:
        """A sentence for each line of our file, left as it is, that sets something else than these settings at boot."""
        return tuple(
            f"{self.path} still sets {key} to {value} at the next boot"
            for key, value in self.settings.items()
            if settings.get(key) != value
        )

    def others(self, settings: Mapping[str, str]) -> tuple[str, ...]:
        """A sentence for each other file that sets something else than these settings at boot, where we set nothing."""
        return tuple(
            f"{owner.path} sets {owner.key} to {owner.value}, which {'counts' if owner.wins and owner.certain else 'may count'} "
            "at the next boot"
            for owner in self.owners
            if settings.get(owner.key, owner.value) != owner.value and (owner.wins or owner.key not in self.settings)
        )

    def forgotten(self) -> str:
        """The sentence for where the manifest that knew what was before our lines is lost."""
        values = ", ".join(f"{key} ({value})" for key, value in sorted(self.settings.items()))
        return (
            f"{MANIFEST} does not know what was there before {self.path}: what that set cannot be given back: {values}"
        )


def matches(key: str, pattern: str, separator: str) -> bool:
    """glob(3) over the names of a key: a wildcard stays within one name."""
    if not re.search(r"[*?[]", pattern):
        return key == pattern
    names, patterns = key.split(separator), pattern.split(separator)
    try:
        return len(names) == len(patterns) and all(map(fnmatchcase, names, patterns))
    except re.error:  # "[z-a]" in somebody's file
        return False


def _parse_tmpfiles(line: str) -> tuple[str, str] | None:
    """Path and argument of a line that writes to existing files (``w``, ``w!``, ``w+``…); other types set no attribute.

    The fields may be quoted; the argument is the rest of the line, quotes and all.
    """
    source = StringIO(line)
    lexer = shlex.shlex(source, posix=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        fields = [lexer.get_token() or "" for _dummy in range(6)]
    except ValueError:  # an open quote: systemd leaves such a line out as well
        return None
    argument = source.read().strip()
    if not re.fullmatch(r"w[-!+=~^$]*", fields[0]) or argument in ("", "-"):
        return None
    return re.sub(r"//+", "/", fields[1].replace("%%", "%")), _unescape(argument)


def _render_tmpfiles(path: str, value: str) -> str:
    # "!": at boot only. A later "systemd-tmpfiles --create" must not take pages from running guests.
    return f"w! {_escape(path)} - - - - {_escape(value)}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "%%")


def _unescape(text: str) -> str:
    return re.sub(r"\\\\|%%", lambda match: match.group()[0], text)


def _parse_sysctl(line: str) -> tuple[str, str] | None:
    match = re.fullmatch(r"-?\s*([^-#;=\s][^=]*?)\s*=\s*(.*)", line)
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
    separator="/",
    names_beat_globs=False,
    parse=_parse_tmpfiles,
    render=_render_tmpfiles,
)
SYSCTL = Dropin(
    manual="sysctl.d(5)",
    folders=("/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d"),
    first_wins=False,
    separator=".",
    names_beat_globs=True,
    parse=_parse_sysctl,
    render=lambda key, value: f"{key} = {value}",
    last=("/etc/sysctl.conf",),
)
