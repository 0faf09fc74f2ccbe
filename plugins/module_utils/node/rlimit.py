# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resource limits, of logins by PAM, of what systemd starts, and of live processes, in one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Callable

from ansible_collections.bulwark.node.plugins.module_utils.converge import (
    Change,
    Params,
    Undos,
    Unmet,
    Verdict,
    other_value,
)
from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError, HostError, OptionError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.manifest import (
    MANIFEST,
    Manifest,
    forgotten,
    is_ours,
    released,
)
from ansible_collections.bulwark.node.plugins.module_utils.node import rlimit_ceilings as ceilings
from ansible_collections.bulwark.node.plugins.module_utils.node import (
    rlimit_options,
    rlimit_pam,
    rlimit_processes,
    rlimit_systemd,
)
from ansible_collections.bulwark.node.plugins.module_utils.node.rlimit_options import (
    ARGUMENT_SPEC,
    UNLIMITED,
    Desired,
    number,
)
from ansible_collections.bulwark.node.plugins.module_utils.node.rlimit_processes import Live, Prlimit, as_limit, as_text
from ansible_collections.bulwark.node.plugins.module_utils.node.rlimit_systemd import Target
from ansible_collections.bulwark.node.plugins.module_utils.node.rlimits import LIMITS, Limit, is_met, limits_of
from ansible_collections.bulwark.node.plugins.module_utils.node.system import has_systemd

__all__ = ["ARGUMENT_SPEC", "Rlimit"]

_SYSTEMD = "systemd"


@dataclass(frozen=True)
class State:
    """What is there of the named targets.

    ``pam``: the text of each of our files of limits.conf(5), by path. ``first``: the limits of processes before us, by entry of the
    manifest, ``stale`` those of processes that have ended. ``met``: the processes of each option that names some. ``bounds``: limits
    above which PID 1 can give nothing. ``estranged``: what to say of files that are not ours any more.
    """

    ceilings: ceilings.Ceilings
    pam: Mapping[str, str | None]
    logins: rlimit_pam.Logins | None
    targets: tuple[Target, ...]
    live: tuple[Live, ...]
    met: Mapping[str, tuple[Live, ...]]
    boot: str
    first: Mapping[str, str]
    stale: tuple[str, ...]
    elsewhere: bool
    capable: bool
    bounds: Mapping[str, Limit]
    systemd: bool
    domain: str | None
    everything: bool
    estranged: tuple[str, ...]

    def facts(self) -> dict[str, Any]:
        """{ceilings, pam, systemd_manager, systemd_units, processes} of the named targets, each as the subset ``rlimits`` has it."""
        lines = [entry for path, text in self.pam.items() for entry in rlimit_pam.entries(text, path, self.domain)]
        if self.everything:
            lines = [line for line in lines if is_ours(self.pam[line["file"]])]
        # Of all that is ours what has gone is no part any more.
        targets = [target for target in self.targets if is_ours(target.text) or not self.everything]
        kept = {key.rpartition(" ")[0] for key in self.first}
        live = [one for one in self.live if not self.everything or self.key(one, "x").rpartition(" ")[0] in kept]
        managers = [target.facts() for target in targets if target.unit is None]
        return {
            "ceilings": self.ceilings.facts(),
            "pam": {"entries": lines} if lines or self.domain else None,
            "systemd_manager": managers[0] if managers else None,
            "systemd_units": [
                {"unit": target.unit, "limits": target.facts()} for target in targets if target.unit is not None
            ],
            "processes": [one.facts() for one in live],
        }

    def files(self) -> Mapping[str, str | None]:
        """Our files of the named targets, and the one that persists fs.nr_open."""
        persisted = self.ceilings.persisted
        return {**self.pam, **{target.path: target.text for target in self.targets}, persisted.path: persisted.text}

    def key(self, live: Live, name: str) -> str:
        """The name of a live process's limit in the manifest and in changes."""
        return f"{self.boot} {live.pid} {live.ticks} {name}"


class Rlimit:
    """The domain of the module ``rlimit``. ``prlimit`` makes the system call."""

    name = "rlimit"

    def __init__(self, host: Host, prlimit: Callable[[Host], Prlimit] = Prlimit) -> None:
        self._host = host
        self._manifest = Manifest(host, self.name)
        self._prlimit = prlimit(host)
        self._reloaded = False
        self._restarted: list[str] = []
        self._armed = False

    def desired(self, params: Params) -> Desired:
        """The limits and targets that the options name; raises OptionError."""
        return rlimit_options.desired(params)

    def observe(self, desired: Desired) -> State:
        """The named targets; without any, all of ours."""
        host = self._host
        mine = {
            kind: {key: entry["before"] for key, entry in self._manifest.mine(kind).items()}
            for kind in ("kernel", "limits")
        }
        booted = has_systemd(host)
        made = self._manifest.mine("files") if desired.everything else ()
        files, (manager, units) = rlimit_pam.ours(host, made), rlimit_systemd.ours(host, made)
        asked = self._units(desired, booted)
        if desired.present and not booted and (desired.manager or asked):
            raise BulwarkError(
                f"{'systemd_manager' if desired.manager else 'systemd_units'}: systemd is not the service manager here"
            )
        paths = files if desired.everything else [desired.pam.file] if desired.pam else []
        targets = rlimit_systemd.observe(
            host,
            manager if desired.everything else desired.manager,
            units if desired.everything else asked,
            booted,
        )
        known = rlimit_processes.known(host, mine["limits"])
        live, met = rlimit_processes.observe(host, desired.processes)
        boot = host.boot_id()
        keys = {f"{boot} {pid} {ticks}" for pid, ticks in known}
        named = {target.path for target in targets} | set(paths)
        every = [p for p in (*files, *rlimit_systemd.paths(manager, units)) if is_ours(host.read(p))]
        return State(
            ceilings=ceilings.observe(host, mine["kernel"], every),
            pam={path: host.read(path) for path in paths},
            logins=rlimit_pam.observe(host, desired.pam.file) if desired.pam and desired.present else None,
            targets=targets,
            live=tuple(known[key] for key in sorted(known)) if desired.everything else live,
            met=met,
            boot=boot,
            first=mine["limits"],
            stale=tuple(sorted(key for key in mine["limits"] if key.rpartition(" ")[0] not in keys)),
            elsewhere=any(path not in named for path in every),
            capable=self._prlimit.capable(),
            bounds=rlimit_processes.bounds(host),
            systemd=booted,
            domain=desired.pam.domain if desired.pam else None,
            everything=desired.everything,
            estranged=() if desired.present else self._manifest.estranged(),
        )

    def _units(self, desired: Desired, booted: bool) -> Sequence[str]:
        """The units that are meant: of those that may be missing the ones that are there."""
        if not desired.skip_missing or not desired.present:
            return desired.units
        return [unit for unit in desired.units if booted and not rlimit_systemd.expected_of(self._host, unit)]

    def check(self, state: State, desired: Desired) -> None:
        """Each target can be set, nobody wins over us there, and no ceiling is in the way."""
        if desired.present:
            for index, unit in enumerate(() if desired.skip_missing else desired.units):
                expected = rlimit_systemd.expected_of(self._host, unit)
                if expected:
                    raise OptionError(f"systemd_units[{index}]", unit, expected)
            if desired.pam and state.logins:
                lines = rlimit_pam.values(desired.limits, state.logins, desired.pam.domain)
                state.logins.check(desired.pam, lines)
            rlimit_processes.selected(desired.processes, state.met)
            state.ceilings.check(desired)
            if desired.pam or state.targets:
                _check_bounds(state, desired)
            for target in state.targets:
                target.check(desired.limits)
        changes = self.plan(state, desired)
        for change in changes:
            if change.kind == "limit":
                _check_capable(state, change)
        self._manifest.check(changes)

    def plan(self, state: State, desired: Desired) -> list[Change]:
        """Ceilings, files, processes, then what systemd has to read and restart; to take away, the ceilings come last."""
        changes = state.ceilings.plan(desired, False) if desired.present else []
        for path, text in state.pam.items():
            changes += _file(path, text, _pam_text(state, desired, text))
        for target in state.targets:
            wanted = desired.limits if desired.present else {}
            changes += _file(target.path, target.text, target.edited(wanted, desired.names))
        changes += _limits(state, desired)
        changes += _systemd(state, self.predict(state, changes), desired)
        forgotten = _forgotten(state, self.predict(state, changes), desired)
        if forgotten and (changes or not desired.present):
            changes.append(Change("forget", MANIFEST, forgotten, []))
        if not desired.present:
            after = self.predict(state, changes)
            files = [*after.pam.values(), *(target.text for target in after.targets)]
            changes += state.ceilings.plan(desired, not (after.first or after.elsewhere or any(map(is_ours, files))))
        return changes

    def predict(self, state: State, changes: Sequence[Change]) -> State:
        """The state after the changes."""
        files = {change.target: change.after for change in changes if change.kind == "file"}
        targets = [replace(target, text=files.get(target.path, target.text)) for target in state.targets]
        live, first, stale = {one.pid: one for one in state.live}, dict(state.first), state.stale
        for change in changes:
            if change.kind == "daemon_reload":
                targets = [target.reloaded() for target in targets]
            elif change.kind == "restart":
                targets = [target.restarted(change.target) for target in targets]
            elif change.kind == "forget":
                stale = ()
                first = {key: before for key, before in first.items() if key not in change.before}
            elif change.kind == "limit":
                pid, name = int(change.target.split(" ")[1]), change.target.rpartition(" ")[2]
                limit = as_limit(change.after)
                if limit:
                    live[pid] = live[pid].with_limit(name, limit)
                first.setdefault(change.target, change.before)
                if first[change.target] == change.after:
                    del first[change.target]
        return replace(
            state,
            ceilings=state.ceilings.predict(changes),
            pam={path: files.get(path, text) for path, text in state.pam.items()},
            targets=tuple(targets),
            live=tuple(live.values()),
            first=first,
            stale=stale,
        )

    def apply(self, change: Change, desired: Desired, undos: Undos) -> None:
        """One file, one limit of one process, the kernel's ceiling, or one command of systemd's."""
        if change.kind == "attribute":
            self._manifest.kernel(change.target, change.after, undos)
        elif change.kind == "file":
            self._apply_file(change, desired, undos)
        elif change.kind == "limit":
            self._apply_limit(change, desired, undos)
        elif change.kind == "forget":
            self._manifest.forget("limits", change.before)
        elif change.kind == "daemon_reload":
            self._reloaded = True
            self._host.run(["systemctl", "daemon-reload"])
        else:
            self._restarted.append(change.target)
            self._host.run(["systemctl", "restart", "--", change.target])
            rlimit_systemd.await_program(self._host, change.target)

    def judge(self, before: State, after: State, left: Sequence[Change], desired: Desired) -> Verdict:
        """What is left fails the run; what systemd has not read, or a process not got, is named for a restart."""
        planned = self.plan(before, desired)
        born = [change for change in left if _is_of_newcomer(before, change)]
        # What ended meanwhile is forgotten by the next run.
        unmet = tuple(_unmet(change) for change in left if change not in born and change.kind != "forget")
        return Verdict(
            unmet=unmet,
            warnings=tuple(
                dict.fromkeys(
                    [*_warnings(before, desired), *map(_newcomer, born), *released(before.files(), after.files())]
                )
            ),
            restart_required=tuple(_required(before, after, planned, desired)),
            disruptive=tuple(_disruptive(planned)),
            failed=bool(unmet),
        )

    def settle(self, desired: Desired) -> None:
        """With state absent: drop what a run that was killed recorded and never wrote."""
        if not desired.present:
            self._manifest.settle()

    def _apply_file(self, change: Change, desired: Desired, undos: Undos) -> None:
        if change.target.startswith("/etc/systemd/") and desired.daemon_reload and not self._armed:
            self._armed = True
            # Before the files: it is undone after them.
            undos.push(_SYSTEMD, self._bring_systemd_back)
        self._manifest.file(change.target, change.after, undos)

    def _bring_systemd_back(self) -> None:
        """Have systemd read the files that are back, and run with them what was restarted."""
        if self._reloaded:
            self._host.run(["systemctl", "daemon-reload"])
        for unit in self._restarted:
            self._host.attempt(["systemctl", "reset-failed", "--", unit])
            self._host.run(["systemctl", "restart", "--", unit])

    def _apply_limit(self, change: Change, desired: Desired, undos: Undos) -> None:
        pid, ticks, name = change.target.split(" ")[1:]
        by_number = int(pid) in [selector.pid for selector in desired.processes]
        if not by_number and not self._lives(int(pid), int(ticks)):
            # Of a name's or a unit's processes some come and go.
            return

        def read(key: str) -> str:
            # Of a process that has ended nothing is left to be recorded or undone.
            limit = limits_of(self._host, int(pid)).get(name) if self._lives(int(pid), int(ticks)) else None
            return as_text(limit) if limit else change.before

        def put(text: str) -> None:
            limit = as_limit(text)
            if limit is None:
                raise HostError(MANIFEST, f"holds {text[:60]!r} for {change.target}, expected soft:hard")
            self._prlimit.set(int(pid), int(ticks), name, limit)

        def undo() -> None:
            # With the process its limits are gone too.
            if self._lives(int(pid), int(ticks)):
                put(change.before)

        self._manifest.change("limits", [change.target], read, lambda: put(change.after), undo, undos)

    def _lives(self, pid: int, ticks: int) -> bool:
        return rlimit_processes.lives(self._host, pid, ticks)


def _file(path: str, old: str | None, new: str | None) -> list[Change]:
    return [] if old == new else [Change("file", path, old, new)]


def _pam_text(state: State, desired: Desired, text: str | None) -> str | None:
    domain = desired.pam.domain if desired.pam else None
    lines = rlimit_pam.values(desired.limits, state.logins, domain) if state.logins and domain else {}
    return rlimit_pam.edited(text, lines, domain, desired.names)


def _limits(state: State, desired: Desired) -> list[Change]:
    """The limits of live processes: the wanted ones, or those from before us."""
    changes = []
    for live in state.live:
        for name in LIMITS:
            if name not in desired.names or name not in live.limits:
                continue
            key, now = state.key(live, name), as_text(live.limits[name])
            after = as_text(desired.limits[name]) if desired.present else state.first.get(key, now)
            if after != now:
                changes.append(Change("limit", key, now, after))
    return changes


def _forgotten(state: State, after: State, desired: Desired) -> list[str]:
    """Entries of processes that have ended, and of limits to be given back that are back already."""
    back = [
        key
        for live in after.live
        for name in (desired.names if not desired.present else ())
        if after.first.get(key := after.key(live, name)) == as_text(live.limits[name])
    ]
    return sorted({*state.stale, *back})


def _systemd(state: State, written: State, desired: Desired) -> list[Change]:
    """What is to be done after the files are written, as far as there is consent."""
    if not (desired.daemon_reload and state.systemd and state.targets):
        return []
    names = desired.names
    pending = any(target.stale or target.unloaded(names) for target in written.targets)
    changes = []
    if pending or _differing(state, written):
        changes.append(Change("daemon_reload", _SYSTEMD, None, None))
        written = replace(written, targets=tuple(target.reloaded() for target in written.targets))
    if desired.restart:
        found = _outdated(state, written, names)
        changes += [
            Change(
                "restart", unit, {name: pair[0] for name, pair in limits.items()}, {n: p[1] for n, p in limits.items()}
            )
            for target in written.targets
            if target.unit is not None
            for unit, limits in found.get(target.path, {}).items()
        ]
    return changes


def _differing(before: State, after: State) -> list[tuple[Target, Target]]:
    """The targets of which our file is another one."""
    return [(old, new) for old, new in _pairs(before, after) if old.text != new.text]


def _pairs(before: State, after: State) -> list[tuple[Target, Target]]:
    """Each target before and after. Where all of ours was asked for, one of which our file has gone is not seen any more."""
    found = {target.path: target for target in after.targets}
    return [(old, found.get(old.path, replace(old, text=None))) for old in before.targets]


def _outdated(
    before: State, after: State, names: frozenset[str]
) -> dict[str, dict[str, dict[str, tuple[str, str | None]]]]:
    """{path: {unit: {limit: (what its process has, what it gets)}}}. Where our line goes and no file sets the limit, that is None."""
    found: dict[str, dict[str, dict[str, tuple[str, str | None]]]] = {}
    for old, new in _pairs(before, after):
        units = found.setdefault(new.path, {})
        for unit, limits in new.outdated(names).items():
            units[unit] = {name: (as_text(has), as_text(gets)) for name, (has, gets) in limits.items()}
        gone = {name: limit for name, limit in old.mine.items() if name not in new.effective}
        for running in new.running:
            for name, limit in gone.items():
                live = running.live.get(name)
                if live and name in running.loaded and is_met(live, limit, new.init.get(name)):
                    units.setdefault(running.unit, {})[name] = (as_text(live), None)
    return found


def _required(before: State, after: State, planned: Sequence[Change], desired: Desired) -> list[dict[str, str]]:
    """What systemd has still to read, and the units that still run with other limits."""
    required = []
    kinds = {change.kind for change in planned}
    waits = [
        new.path
        for old, new in _pairs(before, after)
        if new.stale or new.unloaded(desired.names) or old.text != new.text
    ]
    if waits and "daemon_reload" not in kinds and after.systemd:
        required.append({"unit": _SYSTEMD, "reason": f"daemon-reload: systemd has not read {', '.join(waits)}"})
    restarted = {change.target for change in planned if change.kind == "restart"}
    units: dict[str, dict[str, tuple[str, str | None]]] = {}
    for found in _outdated(before, after, desired.names).values():
        for unit, limits in found.items():
            if unit not in restarted:
                units.setdefault(unit, {}).update(limits)
    for unit in sorted(units):
        texts = (
            f"{name} {has}, its files say {gets or 'nothing of it any more'}"
            for name, (has, gets) in units[unit].items()
        )
        required.append({"unit": unit, "reason": f"its main process runs with {'; '.join(texts)}"})
    return required


def _disruptive(planned: Sequence[Change]) -> list[dict[str, str]]:
    found = []
    for change in planned:
        if change.kind == "daemon_reload":
            reason = "daemon-reload: containers may lose GPUs that their runtime gave them behind systemd's back"
            found.append({"target": change.target, "reason": reason})
        elif change.kind == "restart":
            found.append(
                {"target": change.target, "reason": f"restart, to run with other limits: {', '.join(change.after)}"}
            )
    return found


def _warnings(state: State, desired: Desired) -> list[str]:
    if not desired.present:
        found = list(state.estranged)
        if state.stale:
            found.append(forgotten(state.stale, "of a process that has ended nothing is left to go back"))
        if state.ceilings.is_needed:
            nr_open = state.ceilings.nr_open
            found.append(f"fs.nr_open stays {nr_open}: others set it, or nofile, to more than there was before")
        return found
    found = list(state.ceilings.warnings(desired.limits))
    if desired.pam and state.logins:
        lines = rlimit_pam.values(desired.limits, state.logins, desired.pam.domain)
        found += state.logins.warnings(desired.pam, lines)
    for target in state.targets:
        found += target.warnings(desired.limits)
    for live in state.live:
        found += live.warnings(desired.limits)
    return found


def _check_bounds(state: State, desired: Desired) -> None:
    """What PID 1 starts has no higher hard limit than itself, if that lacks the capability. systemd's infinite nofile is what there is."""
    for name, limit in desired.limits.items():
        most = state.bounds.get(name)
        if most and number(limit.hard) > number(most.hard) and (name, limit.hard) != ("nofile", UNLIMITED):
            raise OptionError(
                f"limits.{name}",
                limit.hard,
                f"at most {most.hard}, the hard limit of PID 1: without CAP_SYS_RESOURCE (CapEff in /proc/1/status) it gives "
                "no service or login more",
            )


def _check_capable(state: State, change: Change) -> None:
    """Raising a hard limit takes CAP_SYS_RESOURCE, and so does giving one back that was lowered."""
    pid = int(change.target.split(" ")[1])
    live = next(one for one in state.live if one.pid == pid)
    old, new = as_limit(change.before), as_limit(change.after)
    if state.capable or not old or not new or (number(old.hard) == number(new.hard) and not live.foreign):
        return
    raise BulwarkError(
        f"processes: to change {change.target.rpartition(' ')[2]} of process {pid} ({live.name}) from {change.before} to "
        f"{change.after} takes CAP_SYS_RESOURCE, which this run does not have (CapEff in /proc/self/status). "
        "Run it with that capability, or leave the hard limit as it is"
    )


def _is_of_newcomer(before: State, change: Change) -> bool:
    """Whether a limit is that of a process which was not there when the plan was made."""
    known = {before.key(one, "").strip() for one in before.live}
    return change.kind == "limit" and change.target.rpartition(" ")[0] not in known


def _newcomer(change: Change) -> str:
    pid, name = change.target.split(" ")[1], change.target.rpartition(" ")[2]
    return f"process {pid} started meanwhile with {name} {change.before}: run this again for it"


def _unmet(change: Change) -> Unmet:
    if change.kind == "daemon_reload":
        return Unmet(
            change.target, None, None, "systemd was reloaded and still has other limits", "See systemctl show."
        )
    if change.kind == "restart":
        reason = f"it was restarted, and its main process has {change.before}"
        return Unmet(
            change.target, change.after, change.before, reason, "Look whether the program sets its limits itself."
        )
    return other_value(change)
