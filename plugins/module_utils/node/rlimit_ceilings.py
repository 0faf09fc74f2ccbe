# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""fs.nr_open, above which no process gets a nofile limit, not even root's (proc_sys_fs(5)): now, and after the next boot."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.converge import Change
from ansible_collections.bulwark.node.plugins.module_utils.dropin import SYSCTL, Persisted
from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError, OptionError, OwnerError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import pam_limits
from ansible_collections.bulwark.node.plugins.module_utils.node.rlimit_options import FLOORS, Desired, number
from ansible_collections.bulwark.node.plugins.module_utils.node.rlimits import Limit, configured
from ansible_collections.bulwark.node.plugins.module_utils.node.unit_files import manager_settings

__all__ = ["NR_OPEN", "Ceilings", "observe"]

NR_OPEN = "/proc/sys/fs/nr_open"
_SYSCTL_PATH = "/etc/sysctl.d/90-bulwark-rlimit.conf"
_KEY = "fs.nr_open"
# sysctl_nr_open_max in fs/file.c: INT_MAX, rounded down to whole words of the bitmap.
_MOST = (1 << 31) - 64


@dataclass(frozen=True)
class Ceilings:
    """The kernel's ceilings, what nr_open was before us (None: we never set it), and what others of /etc need of it."""

    nr_open: int | None
    file_max: int | None
    threads_max: int | None
    pid_max: int | None
    first: int | None
    needed_by_others: int
    read_only: bool
    persisted: Persisted

    def facts(self) -> dict[str, Any]:
        """Of ``ceilings`` in the subset ``rlimits`` what does not change by itself."""
        return {name: getattr(self, name) for name in ("nr_open", "file_max", "threads_max", "pid_max")}

    @property
    def at_boot(self) -> int | None:
        """nr_open after the next boot, as far as files tell; without one that sets it what the kernel started with."""
        values = [self.persisted.settings.get(_KEY), *(owner.value for owner in reversed(self.persisted.owners))]
        numbers = [int(value) for value in values if value and value.isdecimal()]
        return next(iter(numbers), self.nr_open if self.first is None else self.first)

    def check(self, desired: Desired) -> None:
        """Raise where the wanted nofile is above what there is or can be, and there is no consent to raise it."""
        need, boot = _needs(desired)
        option = "limits.nofile"
        if desired.processes and "nofile" in desired.limits and need is None:
            raise OptionError(option, "unlimited", "a number beside processes: the kernel has no unlimited nofile")
        if need is None or self.nr_open is None:
            return
        if need > _MOST:
            raise OptionError(option, need, f"at most {_MOST}, as far as fs.nr_open goes")
        short = need > self.nr_open
        lost = boot and self.at_boot is not None and need > self.at_boot
        if (short or lost) and not desired.raise_ceilings:
            found = self.nr_open if short else self.at_boot
            raise OptionError(
                option,
                need,
                f"at most fs.nr_open, which is {found}{'' if short else ' after the next boot'}, or raise_ceilings beside it: "
                "a failed setrlimit can block logins and starts",
            )
        if short and self.read_only:
            raise HostError(
                NR_OPEN, "is mounted read-only (EROFS), so that fs.nr_open cannot be raised from here", "EROFS"
            )
        for owner in self.persisted.owners if boot else ():
            if owner.wins and owner.value.isdecimal() and int(owner.value) < need:
                raise OwnerError(
                    f"{owner.path} sets fs.nr_open to {owner.value} and wins over {_SYSCTL_PATH} at boot. Change it there"
                )

    def plan(self, desired: Desired, nothing_left: bool) -> list[Change]:
        """Raise it, now and where it is for files at boot too; or once nothing of ours is left, give it back."""
        if desired.present:
            need, boot = _needs(desired)
            if need is None or self.nr_open is None:
                return []
            raised = [self._set(need)] if need > self.nr_open else []
            if boot and self.at_boot is not None and need > self.at_boot:
                return raised + self.persisted.plan({_KEY: str(need)})
            return raised
        if not nothing_left:
            return []
        back = self.persisted.plan({})
        if self.first is not None and self.nr_open != self.first and not self.is_needed:
            back.append(self._set(self.first))
        return back

    @property
    def is_needed(self) -> bool:
        """Whether others count on more than there was before us, or set more."""
        set_by_others = [int(owner.value) for owner in self.persisted.owners if owner.value.isdecimal()]
        return self.first is not None and max([self.needed_by_others, *set_by_others]) > self.first

    def predict(self, changes: Sequence[Change]) -> Ceilings:
        """The same after the changes."""
        new = {change.target: change.after for change in changes}
        nr_open = int(new[NR_OPEN]) if NR_OPEN in new else self.nr_open
        return replace(self, nr_open=nr_open, persisted=self.persisted.predict(changes))

    def warnings(self, limits: Mapping[str, Limit]) -> Iterator[str]:
        """What a limit does not help against, and what a large one or a small one breaks."""
        for name, floor in FLOORS.items():
            if name in limits and number(limits[name].soft) < floor:
                yield f"limits.{name} {limits[name].soft} is below {floor}, with which most programs do not work"
        nproc, nofile = limits.get("nproc"), limits.get("nofile")
        for name, most in (("kernel.threads-max", self.threads_max), ("kernel.pid_max", self.pid_max)):
            if nproc and isinstance(nproc.hard, int) and most is not None and nproc.hard > most:
                yield f"limits.nproc {nproc.hard} is above {name}, {most}, which ends all growth first"
        if nofile and (not isinstance(nofile.soft, int) or nofile.soft > 1048576):
            yield (
                f"limits.nofile {nofile.soft} is above 1048576: programs that go through all file numbers, old ones in "
                "containers above all, take minutes and gigabytes"
            )

    def _set(self, value: int) -> Change:
        return Change("attribute", NR_OPEN, str(self.nr_open), str(value))


def observe(host: Host, firsts: Mapping[str, str], ours: Sequence[str]) -> Ceilings:
    """The ceilings; ``firsts`` are the kernel's attributes that we set, by path, ``ours`` our files, which are no others' need."""
    status = host.statvfs(NR_OPEN)
    first = firsts.get(NR_OPEN, "")
    return Ceilings(
        nr_open=host.integer(NR_OPEN),
        file_max=host.integer("/proc/sys/fs/file-max"),
        threads_max=host.integer("/proc/sys/kernel/threads-max"),
        pid_max=host.integer("/proc/sys/kernel/pid_max"),
        first=int(first) if first.isdecimal() else None,
        needed_by_others=_needed_by_others(host, ours) if first else 0,
        read_only=status is not None and bool(status.f_flag & os.ST_RDONLY),
        persisted=SYSCTL.observe(host, _SYSCTL_PATH, [_KEY], re.escape(_KEY)),
    )


def _needed_by_others(host: Host, ours: Sequence[str]) -> int:
    """The largest nofile that PAM's lines or the manager's defaults set, our own left out."""
    lines = [entry for entry in pam_limits.entries(host) if entry["item"] == "nofile" and entry["file"] not in ours]
    needs = [int(entry["value"]) for entry in lines if entry["value"].isdecimal()]
    settings = [setting for setting in manager_settings(host) if setting.file not in ours]
    default = configured(settings, "DefaultLimit").get("nofile")
    return max([0, *needs, *([default.hard] if default and isinstance(default.hard, int) else [])])


def _needs(desired: Desired) -> tuple[int | None, bool]:
    """The nofile that nr_open must allow, and whether at boot too.

    systemd takes ``infinity`` for as much as it has itself; to a login and to a process the kernel refuses it.
    """
    limit = desired.limits.get("nofile")
    files = desired.pam is not None or desired.manager or bool(desired.units)
    return (limit.hard, files) if limit and isinstance(limit.hard, int) else (None, False)
