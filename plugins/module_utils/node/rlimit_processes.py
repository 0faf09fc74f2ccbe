# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of live processes by prlimit(2), on the process that was meant and on no other that got its number."""

from __future__ import annotations

import os
import re
import resource
import select
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError, OptionError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import processes
from ansible_collections.bulwark.node.plugins.module_utils.node.processes import Process
from ansible_collections.bulwark.node.plugins.module_utils.node.rlimit_options import UNLIMITED, Selector
from ansible_collections.bulwark.node.plugins.module_utils.node.rlimits import LIMITS, Limit, Value, limits_of

__all__ = ["Live", "Prlimit", "as_limit", "as_text", "bounds", "known", "lives", "observe", "selected"]

# RLIMIT_* in include/uapi/asm-generic/resource.h, in its order. Architectures that differ (alpha, mips, sparc) run no Kubernetes.
_NUMBERS = dict(zip(LIMITS, range(16)))
_CAP_SYS_RESOURCE = 1 << 24


@dataclass(frozen=True)
class Live:
    """A process that lives: with its start it is the same one, as long as the machine is up.

    ``highest``: its highest open file, ``locked``: bytes of locked memory; None where that may not be seen. ``foreign``: it has other users
    than we have, so that changing its limits takes CAP_SYS_RESOURCE. ``pids_max``: what its cgroup lets it start.
    """

    pid: int
    ticks: int
    name: str
    unit: str | None
    limits: Mapping[str, Limit]
    foreign: bool = False
    highest: int | None = None
    locked: int | None = None
    pids_max: int | None = None

    def facts(self) -> dict[str, Any]:
        """{name, pid, unit, limits {limit: {soft, hard}}}."""
        limits = {name: limit._asdict() for name, limit in self.limits.items()}
        return {"name": self.name, "pid": self.pid, "unit": self.unit, "limits": limits}

    def with_limit(self, name: str, limit: Limit) -> Live:
        """The same with another limit."""
        return replace(self, limits={**self.limits, name: limit})

    def warnings(self, wanted: Mapping[str, Limit]) -> Iterator[str]:
        """A sentence for each wanted limit that the process is beyond already: the kernel takes nothing away, and gives no more."""
        who = f"process {self.pid} ({self.name})"
        nofile, memlock, nproc = (wanted.get(name) for name in ("nofile", "memlock", "nproc"))
        if nofile and isinstance(nofile.soft, int) and self.highest is not None and self.highest >= nofile.soft:
            yield f"{who} has file {self.highest} open, and below nofile {nofile.soft} can open no more"
        if memlock and isinstance(memlock.soft, int) and self.locked is not None and self.locked > memlock.soft:
            yield f"{who} has {self.locked} bytes locked, and below memlock {memlock.soft} can lock no more"
        if nproc and self.pids_max is not None and (nproc.soft == UNLIMITED or int(nproc.soft) > self.pids_max):
            yield f"{who} is in a cgroup with pids.max {self.pids_max}, which nproc {nproc.soft} does not help against"


class Prlimit:
    """The system call. Tests put another in its place."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def capable(self) -> bool:
        """Whether we have CAP_SYS_RESOURCE, which root may lack: capabilities(7)."""
        return bool(_capable(self._host, "self"))

    def set(self, pid: int, ticks: int, name: str, limit: Limit) -> None:
        """Give the process that started then a limit. Raises HostError where it has gone or the kernel refuses.

        A number is given to another process only after ours was reaped: what shows that it lived on after the call shows that the call
        met it. Where it did not, the process that was met gets its own limit back.
        """
        where = f"/proc/{pid}/limits"
        with self._held(pid) as lives:
            if self._start(pid) != ticks:
                raise HostError(where, f"the process that started at tick {ticks} has ended", "ESRCH")
            before = self._call(pid, name, limit)
            if lives() and self._start(pid) == ticks:
                return
            found = self._start(pid)
            if found is not None and found != ticks:
                self._call(pid, name, before)
                raise HostError(where, "the process ended meanwhile; another one of its number got its own limit back")
        raise HostError(where, "the process ended meanwhile", "ESRCH")

    def _start(self, pid: int) -> int | None:
        process = processes.process_of(self._host, pid)
        return None if process is None else process.start_ticks

    @contextmanager
    def _held(self, pid: int) -> Iterator[Any]:
        """Hold a process; what comes is asked whether it still lives. Without pidfds (before 5.3) the start time alone tells."""
        descriptor = self._open(pid)
        if descriptor is None:
            yield lambda: True
            return
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        try:
            yield lambda: not poll.poll(0)
        finally:
            os.close(descriptor)

    def _open(self, pid: int) -> int | None:
        try:
            return os.pidfd_open(pid)
        except ProcessLookupError as error:
            raise HostError.from_os(f"/proc/{pid}/limits", "hold the process", error) from error
        except (AttributeError, OSError):
            return None

    def _call(self, pid: int, name: str, limit: Limit) -> Limit:
        """One prlimit(2); the limit from before comes back."""
        numbers = (_kernel(limit.soft), _kernel(limit.hard))
        try:
            return Limit(*map(_value, resource.prlimit(pid, _NUMBERS[name], numbers)))
        except OSError as error:
            raise HostError.from_os(f"/proc/{pid}/limits", f"set {name} to {as_text(limit)}", error) from error


def observe(host: Host, selectors: Iterable[Selector]) -> tuple[tuple[Live, ...], dict[str, tuple[Live, ...]]]:
    """The processes that are meant, in the order of their numbers, and which of them each selector met.

    By name and unit never ourselves, a kernel's thread, nor what is in a PID namespace of its own: a container's. Raises OptionError for
    a number of a process that is never touched.
    """
    selectors = tuple(selectors)
    everyone = processes.everyone(host) if any(selector.pid is None for selector in selectors) else []
    met: dict[str, tuple[Live, ...]] = {}
    for selector in selectors:
        if selector.pid is not None:
            process = processes.process_of(host, selector.pid)
            if process:
                _refuse(f"{selector.option}.pid", process)
            candidates = [process] if process else []
        else:
            cut = (selector.name or "").encode()[:15].decode("utf-8", "backslashreplace")
            named = [one for one in everyone if (one.name == cut if selector.name else one.unit == selector.unit)]
            candidates = [one for one in named if one.pid not in (1, os.getpid()) and not one.nested]
        found = (_live(host, process) for process in candidates)
        met[selector.option] = tuple(live for live in found if live)
    everybody = {live.pid: live for found in met.values() for live in found}
    return tuple(everybody[pid] for pid in sorted(everybody)), met


def selected(selectors: Iterable[Selector], met: Mapping[str, tuple[Live, ...]]) -> None:
    """Raise OptionError where a selector met nobody."""
    for selector in selectors:
        if not met[selector.option]:
            key = "name" if selector.name else "unit" if selector.unit else "pid"
            raise OptionError(
                f"{selector.option}.{key}",
                selector.name or selector.unit or selector.pid,
                "a process that runs; one in a container is named by pid alone",
            )


def known(host: Host, keys: Iterable[str]) -> dict[tuple[int, int], Live]:
    """The processes of these entries of the manifest that live on in this boot: a start time means nothing in another."""
    boot = host.boot_id()
    found = {}
    for key in keys:
        words = key.split(" ")
        if len(words) == 4 and words[0] == boot and words[1].isdecimal() and words[2].isdecimal():
            process = processes.process_of(host, int(words[1]))
            if process and process.start_ticks == int(words[2]) and (live := _live(host, process)):
                found[live.pid, live.ticks] = live
    return found


def lives(host: Host, pid: int, ticks: int) -> bool:
    """Whether the process that started then is still there."""
    process = processes.process_of(host, pid)
    return process is not None and process.start_ticks == ticks and not process.is_ended


def bounds(host: Host) -> dict[str, Limit]:
    """The limits of PID 1 where it lacks CAP_SYS_RESOURCE: no service or login gets a higher hard limit than that. Else empty."""
    return limits_of(host, 1) if _capable(host, "1") is False else {}


def as_text(limit: Limit) -> str:
    """``soft:hard``, as the manifest keeps it."""
    return f"{limit.soft}:{limit.hard}"


def as_limit(text: str) -> Limit | None:
    """The limit of such a text; None where it is none."""
    match = re.fullmatch(r"([0-9]{1,19}|unlimited):([0-9]{1,19}|unlimited)", text, re.ASCII)
    return Limit(*(part if part == UNLIMITED else int(part) for part in match.groups())) if match else None


def _capable(host: Host, process: str) -> bool | None:
    """Whether a process has CAP_SYS_RESOURCE; None where its status does not say."""
    match = re.search(r"^CapEff:\s*([0-9a-f]{1,16})$", host.read(f"/proc/{process}/status") or "", re.MULTILINE)
    return bool(int(match.group(1), 16) & _CAP_SYS_RESOURCE) if match else None


def _live(host: Host, process: Process) -> Live | None:
    limits = limits_of(host, process.pid)
    if process.start_ticks is None or process.is_ended or process.is_kernel_thread or not limits:
        return None
    locked = process.status("VmLck")
    return Live(
        pid=process.pid,
        ticks=process.start_ticks,
        name=process.name,
        unit=process.unit,
        limits=limits,
        foreign=process.uid not in (None, os.geteuid()),
        highest=_highest(host, process.pid),
        locked=None if locked is None else locked * 1024,
        pids_max=_pids_max(host, process.pid),
    )


def _refuse(option: str, process: Process) -> None:
    if process.pid == os.getpid():
        raise OptionError(option, process.pid, "another process than this run's own")
    if process.is_kernel_thread:
        raise OptionError(option, process.pid, f"a program's process; {process.name} is a thread of the kernel")
    if process.pid == 1:
        raise OptionError(
            option, 1, "another process: what PID 1 starts gets its limits by systemd_manager and systemd_units"
        )


def _highest(host: Host, pid: int) -> int | None:
    try:
        numbers = [int(name) for name in host.names(f"/proc/{pid}/fd") if name.isdecimal()]
    except HostError:
        return None
    return max(numbers, default=None)


def _pids_max(host: Host, pid: int) -> int | None:
    """The least of its cgroup and those above it; None on a machine of cgroup v1, or where there is none."""
    match = re.search(r"^0::(/.*)$", host.read(f"/proc/{pid}/cgroup") or "", re.MULTILINE)
    parts = match.group(1).strip("/").split("/") if match else []
    if ".." in parts:
        return None
    found = [
        (host.read("/".join(["/sys/fs/cgroup", *parts[:depth], "pids.max"])) or "").strip()
        for depth in range(1, len(parts) + 1)
    ]
    return min((int(text) for text in found if text.isdecimal()), default=None)


def _kernel(value: Value) -> int:
    return value if isinstance(value, int) else resource.RLIM_INFINITY


def _value(number: int) -> Value:
    return UNLIMITED if number == resource.RLIM_INFINITY else number
