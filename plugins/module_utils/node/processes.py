# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine's processes, found by name: one pass over /proc reads the names, the rest is read of those that were asked for.

A process names itself as it likes, so that a name alone is no proof: see ``Process.is_system``.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node.mounts import mounts

__all__ = ["QEMU", "Process", "everyone", "named", "process_of"]

QEMU = ("qemu-system-", "qemu-kvm")
"""How the names of processes begin that are guests."""
_TICKS = 100  # USER_HZ: 100 on every architecture that Kubernetes supports
_NAME_BYTES = 15  # TASK_COMM_LEN less the NUL
_SYSTEMD_LINE = re.compile(r"^[0-9]+:(?:name=systemd)?:(/.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Process:
    """One process. What is asked of one that has ended meanwhile is None or empty."""

    host: Host = field(repr=False, compare=False)
    pid: int
    name: str
    """Its comm, at most 15 bytes; any text, for each process names itself."""

    @cached_property
    def _status(self) -> str:
        return self.host.read(f"/proc/{self.pid}/status") or ""

    @cached_property
    def _stat(self) -> list[str]:
        # proc_pid_stat(5): the name in brackets may hold anything, a bracket too. Field 3 is the first here.
        return (self.host.read(f"/proc/{self.pid}/stat") or "").rpartition(")")[2].split()

    @property
    def uid(self) -> int | None:
        """The real user."""
        match = re.search(r"^Uid:\t([0-9]{1,10})\t", self._status, re.MULTILINE)
        return int(match.group(1)) if match else None

    @property
    def effective_uid(self) -> int | None:
        """The user whose limits count for what it opens."""
        match = re.search(r"^Uid:\t[0-9]{1,10}\t([0-9]{1,10})\t", self._status, re.MULTILINE)
        return int(match.group(1)) if match else None

    @property
    def nested(self) -> bool:
        """Whether it lives in a PID namespace below ours, a container's: it then has a number in each (proc_pid_status(5))."""
        return re.search(r"^NSpid:\t[0-9]+\t", self._status, re.MULTILINE) is not None

    @property
    def is_system(self) -> bool:
        """Whether it may be the machine's own daemon of that name: root's, and no container's."""
        return self.uid == 0 and not self.nested

    @property
    def parent(self) -> int | None:
        """The number of its parent."""
        return int(self._stat[1]) if len(self._stat) > 1 and self._stat[1].isdigit() else None

    @property
    def start_ticks(self) -> int | None:
        """When it started, in ticks of the clock after boot: with its number it names a process until the next boot."""
        return int(self._stat[19]) if len(self._stat) > 19 and self._stat[19].isdigit() else None

    @property
    def started_at(self) -> float | None:
        """Seconds after boot: a clock that nobody can set."""
        return None if self.start_ticks is None else self.start_ticks / _TICKS

    @property
    def is_ended(self) -> bool:
        """Whether it is a zombie, or gone."""
        return self._stat[:1] in ([], ["Z"], ["X"])

    @property
    def is_kernel_thread(self) -> bool:
        """PF_KTHREAD in include/linux/sched.h."""
        return len(self._stat) > 6 and self._stat[6].isdigit() and bool(int(self._stat[6]) & 0x00200000)

    def status(self, name: str) -> int | None:
        """The number behind ``name`` in /proc/pid/status, as ``VmLck`` in kB; None where there is none."""
        match = re.search(rf"^{name}:\s*([0-9]{{1,20}})\b", self._status, re.MULTILINE)
        return int(match.group(1)) if match else None

    @cached_property
    def arguments(self) -> tuple[str, ...]:
        """Its command line. Not redacted: it may hold secrets."""
        text = self.host.read(f"/proc/{self.pid}/cmdline") or ""
        return tuple(text.removesuffix("\0").split("\0")) if text else ()

    @cached_property
    def unit(self) -> str | None:
        """The system manager's unit that it runs in (``containerd.service``, ``session-1.scope``), None where in none."""
        # On a hybrid machine both of systemd's trees say the same, on v2 the one line is the last.
        lines = _SYSTEMD_LINE.findall(self.host.read(f"/proc/{self.pid}/cgroup") or "")
        return next((unit for unit in map(_unit_of_cgroup, lines) if unit), None)


def named(host: Host, names: Collection[str]) -> list[Process]:
    """The processes of these names, in the order of their numbers. A longer name means one that the kernel cut.

    Raises HostError where /proc hides those of others from us: what is not seen there may run all the same.
    """
    wanted = {_cut(name) for name in names}
    return [process for process in everyone(host) if process.name in wanted]


def everyone(host: Host) -> list[Process]:
    """All processes in the order of their numbers. Raises HostError as ``named`` does."""
    numbers = host.names("/proc")
    if "1" not in numbers and _hides(host):
        raise HostError("/proc", "hides the processes of other users (hidepid): become root")
    pids = sorted(int(number) for number in numbers if number.isdecimal() and number.isascii())
    return [process for process in (process_of(host, pid) for pid in pids) if process]


def process_of(host: Host, pid: int) -> Process | None:
    """The process of that number, or None."""
    name = host.read(f"/proc/{pid}/comm")
    return None if name is None else Process(host, pid, name.removesuffix("\n"))


def _hides(host: Host) -> bool:
    """Whether /proc is mounted so: proc(5)."""
    options = [option for mount in mounts(host) if mount.path == "/proc" for option in mount.options]
    return any(re.fullmatch(r"hidepid=(?:2|4|invisible|ptraceable)", option) for option in options)


def _unit_of_cgroup(path: str) -> str | None:
    """The system unit of a cgroup's path: the first part below the slices, as systemd's cg_path_get_unit() has it."""
    for part in path.removesuffix(" (deleted)").split("/"):
        # Inside of a cgroup namespace what lies above it is shown as "..".
        if part not in ("", "..") and not part.endswith(".slice"):
            # systemd puts "_" before a name that the kernel could take for one of its own files.
            name = part.removeprefix("_")
            return (
                name if re.fullmatch(r"[A-Za-z0-9:_.\\@-]{1,255}\.(?:service|scope|socket|mount|swap)", name) else None
            )
    return None


def _cut(name: str) -> str:
    return name.encode()[:_NAME_BYTES].decode("utf-8", "backslashreplace")
