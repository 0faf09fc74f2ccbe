# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of systemd's units and of its manager: our drop-ins, what wins over them, what systemd has loaded, and what runs.

Sources: systemd.exec(5), systemd-system.conf(5), systemd.unit(5). ``daemon-reload`` makes the manager read system.conf again too.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.errors import OwnerError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.manifest import HEADER, is_ours
from ansible_collections.bulwark.node.plugins.module_utils.node.rlimit_options import UNLIMITED
from ansible_collections.bulwark.node.plugins.module_utils.node.rlimits import (
    LIMITS,
    Configured,
    Limit,
    Value,
    configured,
    is_met,
    limits_of,
    parse_assignment,
)
from ansible_collections.bulwark.node.plugins.module_utils.node.unit_files import (
    Assignment,
    UnitFiles,
    manager_settings,
)

__all__ = ["Running", "Target", "await_program", "expected_of", "observe", "ours", "paths"]

NAME = "95-bulwark-rlimit.conf"
_MANAGER = f"/etc/systemd/system.conf.d/{NAME}"
_UNITS = "/etc/systemd/system"
_LINE = re.compile(r"^(?:Default)?Limit([A-Z]+)=(.*)$", re.MULTILINE)
# What a unit's main process is called until it is the unit's program, from systemd 255 on; before, it is that name in brackets.
_EXECUTOR = "systemd-executor"[:15]
_STARTS_S = 10
_HEADER = f"{HEADER}; its module rlimit adds and removes lines here. See systemd.exec(5).\n"


@dataclass(frozen=True)
class Running:
    """A unit with a main process: the limits that systemd has loaded for it, and those that the process has."""

    unit: str
    loaded: Mapping[str, Limit]
    live: Mapping[str, Limit]


@dataclass(frozen=True)
class Target:
    """A unit, or with ``unit`` None the manager: our drop-in and who else sets limits there.

    ``others`` are the limits that hold without our file, ``rivals`` all drop-ins of others. ``loaded`` is what systemd has read,
    empty of a unit that it has not loaded. ``running`` are the processes that the limits are for; of the manager those of services that
    set no such limit themselves. ``stale``: systemd knows that its files have changed. ``init``: the limits of PID 1.
    """

    unit: str | None
    path: str
    text: str | None
    others: Mapping[str, Configured]
    rivals: tuple[tuple[str, Configured], ...]
    loaded: Mapping[str, Limit]
    running: tuple[Running, ...]
    stale: bool
    init: Mapping[str, Limit]

    @property
    def mine(self) -> dict[str, Limit]:
        """What our file sets."""
        found = {}
        for key, value in _LINE.findall(self.text or ""):
            limit = parse_assignment(key.lower(), value) if key.lower() in LIMITS else None
            if limit:
                found[key.lower()] = limit
        return found

    def edited(self, wanted: Mapping[str, Limit], names: Collection[str]) -> str | None:
        """Our file with ``wanted`` in the place of the named limits; None where nothing is left to set.

        Lines that this module would not write are somebody's, and stay, before ours, which win over them.
        """
        if not wanted and not is_ours(self.text):
            return self.text
        lines = {**{name: limit for name, limit in self.mine.items() if name not in names}, **wanted}
        if lines == self.mine and lines:
            return self.text
        foreign = _foreign(self.text)
        if not lines:
            return foreign or None
        section, prefix = ("Manager", "DefaultLimit") if self.unit is None else (_section(self.unit), "Limit")
        settings = (f"{prefix}{name.upper()}={_text(lines[name])}\n" for name in LIMITS if name in lines)
        return f"{_HEADER}{foreign}[{section}]\n" + "".join(settings)

    @property
    def effective(self) -> dict[str, Configured]:
        """What the files come to."""
        mine = {name: Configured(*limit, self.path) for name, limit in self.mine.items()}
        return {**mine, **{name: found for name, found in self.others.items() if name not in mine or self._wins(found)}}

    def facts(self) -> dict[str, Any]:
        """{limit: {soft, hard, file} or None}, as ``manager_defaults`` of the facts."""
        found = self.effective
        return {name: found[name]._asdict() if name in found else None for name in LIMITS}

    def check(self, wanted: Mapping[str, Limit]) -> None:
        """Raise where a drop-in that comes after ours sets another limit."""
        for name, limit in wanted.items():
            other = self.others.get(name)
            if other and self._wins(other) and Limit(other.soft, other.hard) != limit:
                raise OwnerError(
                    f"{other.file} sets {self._key(name)}={_text(Limit(other.soft, other.hard))} and wins over {self.path}. "
                    "Change it there"
                )

    def warnings(self, wanted: Mapping[str, Limit]) -> Iterator[str]:
        """A sentence for each drop-in of another that sets one of the limits to something else and loses."""
        for name, other in self.rivals:
            limit = Limit(other.soft, other.hard)
            if name in wanted and not self._wins(other) and limit != wanted[name]:
                yield f"{other.file} sets {self._key(name)}={_text(limit)}; {self.path} wins over it"

    def unloaded(self, names: Iterable[str]) -> list[str]:
        """The limits of which systemd has not read what the files say."""
        found = self.effective
        loaded = [self.loaded] if self.unit is None else [running.loaded for running in self.running] or [self.loaded]
        return [
            name
            for name in names
            if name in found
            for values in loaded
            if name in values and values[name] != Limit(found[name].soft, found[name].hard)
        ]

    def outdated(self, names: Collection[str]) -> dict[str, dict[str, tuple[Limit, Limit]]]:
        """{unit: {limit: (what its main process has, what the files say)}} where these differ."""
        found = self.effective
        outdated: dict[str, dict[str, tuple[Limit, Limit]]] = {}
        for running in self.running:
            for name in LIMITS:
                limit, wanted = running.live.get(name), found.get(name)
                # What the manager's default would be for a service that sets the limit itself is nothing to it.
                if name not in names or not limit or not wanted or (self.unit is None and name not in running.loaded):
                    continue
                if not is_met(limit, Limit(wanted.soft, wanted.hard), self.init.get(name)):
                    outdated.setdefault(running.unit, {})[name] = (limit, Limit(wanted.soft, wanted.hard))
        return outdated

    def reloaded(self) -> Target:
        """The same once systemd has read the files; a limit that none sets keeps what it was."""
        new = {name: Limit(found.soft, found.hard) for name, found in self.effective.items()}

        def read(values: Mapping[str, Limit]) -> dict[str, Limit]:
            return {name: new.get(name, limit) for name, limit in values.items()}

        running = tuple(replace(entry, loaded=read(entry.loaded)) for entry in self.running)
        return replace(self, loaded=read(self.loaded), running=running, stale=False)

    def restarted(self, unit: str) -> Target:
        """The same once that unit runs with what systemd has loaded."""
        running = tuple(
            replace(entry, live={**entry.live, **entry.loaded}) if entry.unit == unit else entry
            for entry in self.running
        )
        return replace(self, running=running)

    def _wins(self, other: Configured) -> bool:
        """Drop-ins count in the order of their names, whatever folder they are in; a main file comes before all."""
        folder, name = other.file.rsplit("/", 1)
        return folder.endswith(".d") and name >= NAME

    def _key(self, name: str) -> str:
        return f"{'DefaultLimit' if self.unit is None else 'Limit'}{name.upper()}"


def observe(host: Host, manager: bool, units: Sequence[str], booted: bool) -> tuple[Target, ...]:
    """The manager, if it is asked for, and the units, in this order; not ``booted``: their files alone.

    Raises HostError where systemd does not answer.
    """
    if not manager and not units:
        return ()
    files, init = UnitFiles(host), limits_of(host, 1)
    asked = [unit.replace("@.", "@*.") for unit in units] + (["*.service"] if manager else [])
    shown = _show(host, asked, "Limit") if booted else []
    targets = []
    if manager:
        settings = manager_settings(host)
        loaded = _shown_limits(_show(host, [], "DefaultLimit")[0], "DefaultLimit") if booted else {}
        running = []
        for row in shown:
            if row["Id"].endswith(".service") and (entry := _running(host, row)):
                # Only what the unit leaves to the manager.
                own = configured(files.settings(entry.unit), "Limit")
                inherited = {name: limit for name, limit in entry.loaded.items() if name not in own}
                running.append(replace(entry, loaded=inherited))
        targets.append(_target(host, None, _MANAGER, settings, loaded, tuple(running), False, init))
    for unit in units:
        rows = [row for row in shown if _is_of(row["Id"], unit)]
        found = [entry for entry in (_running(host, row) for row in rows) if entry]
        targets.append(
            _target(
                host,
                unit,
                f"{_UNITS}/{unit}.d/{NAME}",
                files.settings(unit),
                _shown_limits(rows[0], "Limit") if rows else {},
                tuple(found),
                any(row.get("NeedDaemonReload") == "yes" for row in rows),
                init,
            )
        )
    return tuple(targets)


def ours(host: Host, known: Container[str]) -> tuple[bool, list[str]]:
    """Whether the manager has a drop-in of ours, or of which is known that it was, and the units that have one."""

    def found(path: str) -> bool:
        return host.is_file(path) and (path in known or is_ours(host.read(path)))

    folders = [name for name in host.folders(_UNITS) if name.endswith(".d")]
    return found(_MANAGER), [name[:-2] for name in folders if found(f"{_UNITS}/{name}/{NAME}")]


def paths(manager: bool, units: Iterable[str]) -> list[str]:
    """Our drop-ins of the manager and of these units."""
    return [*([_MANAGER] if manager else []), *(f"{_UNITS}/{unit}.d/{NAME}" for unit in units)]


def expected_of(host: Host, unit: str) -> str | None:
    """What a unit would have to be that can have limits; None where it is: there, not masked, and no other one's second name."""
    fragment = UnitFiles(host).fragment(unit)
    if fragment is None:
        return "a unit of this machine: it has no file of that name"
    if host.resolved(fragment) == "/dev/null":
        return f"a unit that is not masked, as {fragment} does"
    target = (host.link_target(fragment) or "").rpartition("/")[2]
    name = fragment.rpartition("/")[2]
    if target and target != name and _section(target) == _section(name) and "@" not in name:
        return f"{target}, of which it is another name"
    return None


def await_program(host: Host, unit: str) -> None:
    """Wait until the main process of a unit that was just started is its program, which has the unit's limits.

    Of Type=simple ``systemctl restart`` returns as soon as there is a process (systemd.service(5)). Who waits for ten seconds in
    vain goes on: what the process has then is judged as ever.
    """
    deadline = time.monotonic() + _STARTS_S
    while any(_is_starting(host, row) for row in _show(host, [unit], "Limit")) and time.monotonic() < deadline:
        time.sleep(0.05)


def _is_starting(host: Host, row: Mapping[str, str]) -> bool:
    proc = f"/proc/{row.get('MainPID', '0')}"
    before, arguments, after = (host.read(f"{proc}/{file}") for file in ("comm", "cmdline", "comm"))
    name = (before or "").rstrip("\n")
    if name == "systemd":
        # A moment after it was forked it is PID 1 in all but its number; then it becomes its executor, not all at one time.
        return before != after or arguments in ("", host.read("/proc/1/cmdline"))
    return name.startswith("(") or name == _EXECUTOR


def _target(
    host: Host,
    unit: str | None,
    path: str,
    settings: Sequence[Assignment],
    loaded: Mapping[str, Limit],
    running: tuple[Running, ...],
    stale: bool,
    init: Mapping[str, Limit],
) -> Target:
    prefix = "DefaultLimit" if unit is None else "Limit"
    others = [setting for setting in settings if setting.file != path]
    rivals = [
        (name, found)
        for setting in others
        if setting.file.rpartition("/")[0].endswith(".d")
        for name, found in configured([setting], prefix).items()
    ]
    return Target(unit, path, host.read(path), configured(others, prefix), tuple(rivals), loaded, running, stale, init)


def _show(host: Host, units: Sequence[str], prefix: str) -> list[dict[str, str]]:
    """What systemd has loaded of the units, or of the manager where none are named: a dict for each."""
    names = [f"{prefix}{name.upper()}{end}" for name in LIMITS for end in ("", "Soft")]
    extra = ["Id", "MainPID", "NeedDaemonReload"] if units else []
    said = host.run(["systemctl", "show", f"--property={','.join([*extra, *names])}", "--", *units]).stdout
    rows = [dict(line.split("=", 1) for line in block.split("\n") if "=" in line) for block in said.split("\n\n")]
    return [row for row in rows if "Id" in row or not units] or [{}] * (not units)


def _shown_limits(row: Mapping[str, str], prefix: str) -> dict[str, Limit]:
    found = {}
    for name in LIMITS:
        soft, hard = (_number(row.get(f"{prefix}{name.upper()}{end}", "")) for end in ("Soft", ""))
        if soft is not None and hard is not None:
            found[name] = Limit(soft, hard)
    return found


def _number(text: str) -> Value | None:
    if text in ("infinity", str((1 << 64) - 1)):
        return UNLIMITED
    return int(text) if re.fullmatch(r"[0-9]{1,20}", text, re.ASCII) else None


def _running(host: Host, row: Mapping[str, str]) -> Running | None:
    pid = _number(row.get("MainPID", ""))
    live = limits_of(host, pid) if isinstance(pid, int) and pid else {}
    return Running(row["Id"], _shown_limits(row, "Limit"), live) if live else None


def _is_of(found: str, unit: str) -> bool:
    """Whether a loaded unit is the named one, or an instance of the named template."""
    prefix, at, suffix = unit.partition("@.")
    return found.startswith(f"{prefix}@") and found.endswith(f".{suffix}") if at else found == unit


def _foreign(text: str | None) -> str:
    """The lines of a file of ours that set no limit, and the sections in which they are; comments alone are none."""
    lines: list[str] = []
    for line in reversed((text or "").split("\n")[1:] if is_ours(text) else []):
        bare = line.strip()
        of_section = bare.startswith("[")
        # A section of which nothing is left goes with what was in it.
        if bare and not _LINE.match(line) and not (of_section and (not lines or lines[-1].startswith("["))):
            lines.append(line)
    sets = any(not line.strip().startswith(("[", "#", ";")) for line in lines)
    return "".join(f"{line}\n" for line in reversed(lines)) if sets else ""


def _section(unit: str) -> str:
    return unit.rpartition(".")[2].capitalize()


def _text(limit: Limit) -> str:
    """``soft:hard`` in the kernel's units, which are those that systemd takes for plain numbers."""
    return ":".join("infinity" if value == UNLIMITED else str(value) for value in limit)
