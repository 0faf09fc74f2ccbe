# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resource limits: the kernel's ceilings, the service manager's defaults, what daemons run with and why, and PAM's.

A limit is an int in the kernel's own unit (setrlimit(2)), or the string ``unlimited``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Union

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import pam_limits, processes
from ansible_collections.bulwark.node.plugins.module_utils.node.processes import Process
from ansible_collections.bulwark.node.plugins.module_utils.node.request import PASSIVE, Request
from ansible_collections.bulwark.node.plugins.module_utils.node.unit_files import (
    Assignment,
    UnitFiles,
    manager_settings,
)

__all__ = [
    "BYTES",
    "LIMITS",
    "Configured",
    "Limit",
    "Value",
    "configured",
    "facts",
    "is_met",
    "limits_of",
    "parse_assignment",
]

LIMITS = {
    "cpu": "Max cpu time",
    "fsize": "Max file size",
    "data": "Max data size",
    "stack": "Max stack size",
    "core": "Max core file size",
    "rss": "Max resident set",
    "nproc": "Max processes",
    "nofile": "Max open files",
    "memlock": "Max locked memory",
    "as": "Max address space",
    "locks": "Max file locks",
    "sigpending": "Max pending signals",
    "msgqueue": "Max msgqueue size",
    "nice": "Max nice priority",
    "rtprio": "Max realtime priority",
    "rttime": "Max realtime timeout",
}
"""RLIMIT_* in small letters, and their names in /proc/pid/limits."""

# As the kernel shows them, 15 bytes at most.
_DAEMONS = (
    *("kubelet", "kubelite", "k3s", "k3s-server", "k3s-agent", "rke2"),
    *("containerd", "crio", "dockerd", "libvirtd", "virtqemud", "sshd"),
)
_LISTED = 100
BYTES = frozenset({"fsize", "data", "stack", "core", "rss", "memlock", "as", "msgqueue"})
"""Those that the kernel counts in bytes."""
_SIZES = {"": 1, "B": 1, **{unit: 1 << (10 * power) for power, unit in enumerate("KMGTPE", 1)}}
_MICROSECONDS = {
    **dict.fromkeys(("us", "usec", "µs", "μs"), 1),
    **dict.fromkeys(("ms", "msec"), 1000),
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1_000_000),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60_000_000),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 3_600_000_000),
    **dict.fromkeys(("d", "day", "days"), 86_400_000_000),
    **dict.fromkeys(("w", "week", "weeks"), 604_800_000_000),
}
_QUANTITY = re.compile(r"(?<![0-9.])([0-9]{1,20})(?:\.([0-9]{1,9}))?(?![0-9])\s*([A-Za-zµμ]*)")
_ROW = re.compile(r"^(Max [a-z ]+?)\s{2,}([0-9]{1,20}|unlimited)\s+([0-9]{1,20}|unlimited)(?:\s|$)", re.MULTILINE)

Value = Union[int, str]


class Limit(NamedTuple):
    """A soft and a hard limit."""

    soft: Value
    hard: Value


class Configured(NamedTuple):
    """A limit that a file sets."""

    soft: Value
    hard: Value
    file: str


def facts(host: Host, request: Request = PASSIVE) -> dict[str, Any]:
    """The subset ``rlimits``: {ceilings, manager_defaults, processes[], qemu, pam, above_nr_open[]}."""
    defaults = configured(manager_settings(host), "DefaultLimit")
    ceilings, pam = _ceilings(host), pam_limits.facts(host)
    return {
        "ceilings": ceilings,
        "manager_defaults": {name: defaults[name]._asdict() if name in defaults else None for name in LIMITS},
        "processes": _processes(host, request.rlimits_of, defaults),
        "qemu": _qemu(host),
        "pam": pam,
        "above_nr_open": None if ceilings["nr_open"] is None else list(_above(ceilings["nr_open"], pam["entries"])),
        "above_nr_open_reason": "fs.nr_open cannot be read" if ceilings["nr_open"] is None else None,
    }


def _above(nr_open: int, entries: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """PAM's hard limits of nofile that the kernel refuses, and with them the login: {file, line, domain, value}.

    pam_limits takes ``unlimited`` for fs.nr_open itself, and systemd sets as much as it can.
    """
    for entry in entries:
        value = entry["value"] or ""
        if entry["item"] == "nofile" and entry["type"] != "soft" and value.isdecimal() and int(value) > nr_open:
            yield {"file": entry["file"], "line": entry["line"], "domain": entry["domain"], "value": int(value)}


def _qemu(host: Host) -> dict[str, Any]:
    """QEMU's processes, containers' too, and the fullest table of open files: {processes, open_files, nofile, percent, pid, reason}."""
    found = [process for process in processes.everyone(host) if process.name.startswith(processes.QEMU)]
    reason = None if found else "no QEMU is running"
    rows: list[dict[str, Any]] = []
    for process in found:
        nofile = limits_of(host, process.pid).get("nofile")
        try:
            opened = len(host.names(f"/proc/{process.pid}/fd"))
        except HostError as error:
            reason = str(error)
            continue
        if nofile and isinstance(nofile.soft, int) and nofile.soft > 0:
            percent = round(100 * opened / nofile.soft, 1)
            rows.append({"open_files": opened, "nofile": nofile.soft, "percent": percent, "pid": process.pid})
    # One that could not be looked at may be the fullest.
    known = rows if reason is None else []
    unknown = dict.fromkeys(("open_files", "nofile", "percent", "pid"))
    return {"processes": len(found), **max(known, key=lambda row: row["percent"], default=unknown), "reason": reason}


def _ceilings(host: Host) -> dict[str, Any]:
    """What no limit helps against. ``file_nr``: the open files of the whole machine (proc_sys_fs(5))."""
    allocated = re.match(r"([0-9]{1,20})\s", host.read("/proc/sys/fs/file-nr") or "")
    inotify = ("max_user_instances", "max_user_watches", "max_queued_events")
    return {
        "nr_open": host.integer("/proc/sys/fs/nr_open"),
        "file_max": host.integer("/proc/sys/fs/file-max"),
        "file_nr": int(allocated.group(1)) if allocated else None,
        "threads_max": host.integer("/proc/sys/kernel/threads-max"),
        "pid_max": host.integer("/proc/sys/kernel/pid_max"),
        "inotify": {name: host.integer(f"/proc/sys/fs/inotify/{name}") for name in inotify},
    }


def _processes(host: Host, further: Sequence[str], defaults: Mapping[str, Configured]) -> list[dict[str, Any]]:
    """The machine's own daemons and, of the further names, whoever's they are; children of one of the same name left out."""
    found = processes.named(host, {*_DAEMONS, *further})
    known = {(process.pid, process.name) for process in found}
    files, init = UnitFiles(host), limits_of(host, 1)
    listed: list[dict[str, Any]] = []
    for process in found:
        if len(listed) == _LISTED:
            break
        if (process.parent, process.name) in known or not (process.name not in _DAEMONS or process.is_system):
            continue
        limits = limits_of(host, process.pid)
        if limits:
            wanted: Mapping[str, Configured] = {}
            # systemd gives limits to what it starts: not to scopes, nor to what a user's own manager starts.
            if process.unit and process.unit.endswith(".service") and not process.unit.startswith("user@"):
                wanted = {**defaults, **configured(files.settings(process.unit), "Limit")}
            listed.append(_fact(host, process, limits, wanted, defaults, init))
    return listed


def _fact(
    host: Host,
    process: Process,
    limits: Mapping[str, Limit],
    wanted: Mapping[str, Configured],
    defaults: Mapping[str, Configured],
    init: Mapping[str, Limit],
) -> dict[str, Any]:
    """One process, and where each limit comes from.

    A limit is the unit's or the manager's where that sets it and the process has it. Where the process has another one,
    it was started before the file said so, or was changed since: ``differs`` names what the file says, and for how many days.
    """
    shown: dict[str, Any] = {}
    differs = []
    for name, limit in limits.items():
        source, asked = None, wanted.get(name)
        if asked:
            source = "manager_default" if asked is defaults.get(name) else "unit"
            if not is_met(limit, Limit(asked.soft, asked.hard), init.get(name)):
                days = host.days_unchanged(asked.file)
                differs.append({"limit": name, "source": source, **asked._asdict(), "days": days})
                source = None
        shown[name] = {**limit._asdict(), "source": source}
    return {"name": process.name, "pid": process.pid, "unit": process.unit, "limits": shown, "differs": differs}


def is_met(limit: Limit, wanted: Limit, init: Limit | None) -> bool:
    """Whether a process runs with what was asked for.

    systemd sets at most its own hard limit where the kernel refuses more (setrlimit_closest()); programs, those in Go of
    themselves, raise their soft limit up to the hard one.
    """
    for most in ("unlimited", init.hard if init else "unlimited"):
        soft, hard = (_least(value, most) for value in wanted)
        if limit.hard == hard and limit.soft in (soft, hard):
            return True
    return False


def _least(one: Value, other: Value) -> Value:
    if isinstance(one, int) and isinstance(other, int):
        return min(one, other)
    return other if one == "unlimited" else one


def limits_of(host: Host, pid: int) -> dict[str, Limit]:
    """/proc/pid/limits, empty where the process has gone. An old kernel may lack some."""
    rows = {row[0]: row[1:] for row in _ROW.findall(host.read(f"/proc/{pid}/limits") or "")}
    return {name: Limit(*map(_value, rows[title])) for name, title in LIMITS.items() if title in rows}


def _value(text: str) -> Value:
    return text if text == "unlimited" else int(text)


def configured(settings: Sequence[Assignment], prefix: str) -> dict[str, Configured]:
    """The limits that are set. A line that systemd would refuse leaves the earlier one."""
    found = {}
    for setting in settings:
        name = setting.name[len(prefix) :].lower()
        limit = parse_assignment(name, setting.value) if name in LIMITS else None
        if limit and setting.name == f"{prefix}{name.upper()}":
            found[name] = Configured(*limit, setting.file)
    return found


def parse_assignment(name: str, text: str) -> Limit | None:
    """``soft:hard``, or one value for both, as systemd.exec(5) has ``Limit…=``; None where systemd refuses it."""
    soft, colon, hard = text.partition(":")
    values = [_parse(name, part) for part in ((soft, hard) if colon else (soft, soft))]
    if values[0] is None or values[1] is None or _least(values[0], values[1]) != values[0]:
        return None
    return Limit(values[0], values[1])


def _parse(name: str, text: str) -> Value | None:
    if text == "infinity":
        return "unlimited"
    if name == "nice" and re.fullmatch(r"[+-][0-9]{1,2}", text):
        return 20 - int(text) if -20 <= int(text) <= 19 else None
    if name in BYTES:
        return _sum(text, _SIZES, 1)
    if name in ("cpu", "rttime"):
        unit = _MICROSECONDS["s"] if name == "cpu" else 1
        return _sum(text, {**_MICROSECONDS, "": unit}, unit)
    # strtoull() with base 0: hexadecimal and octal numbers too.
    number = re.fullmatch(r"(0x)?([0-9a-f]{1,20})", text, re.ASCII | re.IGNORECASE)
    try:
        return int(number[2], 16 if number[1] else 8 if number[2][0] == "0" else 10) if number else None
    except ValueError:
        return None


def _sum(text: str, units: Mapping[str, int], of: int) -> int | None:
    """The sum of numbers with units (``1min 30s``, ``1.5G``) in units of ``of``, rounded up; None where it is none."""
    parts = _QUANTITY.findall(text)
    if not parts or _QUANTITY.sub("", text).strip() or any(part[2] not in units for part in parts):
        return None
    total = sum(int(whole + fraction.ljust(9, "0")) * units[unit] for whole, fraction, unit in parts)
    return -(-total // (of * 10**9))
