# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the clock is kept in step, by the kernel's own word. Sources: adjtimex(2), chrony.conf(5) (rtcsync), chronyc(1)."""

from __future__ import annotations

import ctypes
import os
import re
from typing import Any, NamedTuple

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import processes
from ansible_collections.bulwark.node.plugins.module_utils.node.request import PASSIVE, Request

__all__ = ["Clock", "facts", "read_clock"]

_DAEMONS = ("chronyd", "systemd-timesyncd", "ntpd")
_SYSTEM_ACCOUNTS = 1000  # login.defs(5): people have numbers from here on
_CHRONY = ("/etc/chrony/chrony.conf", "/etc/chrony.conf")
_STA_PLL, _STA_UNSYNC, _STA_NANO = 0x1, 0x40, 0x2000


class _Timex(ctypes.Structure):
    # struct timex; what we do not read stands as room for it.
    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_long * 32),
    )


class Clock(NamedTuple):
    """What the kernel says of its clock: STA_* flags, and what it has still to add, in seconds."""

    status: int
    offset: float


def read_clock() -> Clock:
    """Read it, with no bit in ``modes``, which changes nothing. Raises HostError."""
    timex = _Timex()
    if ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex)) < 0:
        code = ctypes.get_errno()
        raise HostError.from_os("adjtimex", "ask the kernel", OSError(code, os.strerror(code)))
    return Clock(timex.status, timex.offset / (1e9 if timex.status & _STA_NANO else 1e6))


def facts(host: Host, request: Request = PASSIVE) -> dict[str, Any]:
    """The subset ``time_sync``: {synchronized, offset_s, source, reason}.

    ``offset_s`` is true time less the clock's, as its keeper last knew it: positive where the clock is slow.
    """
    daemons = _running(host)
    source = daemons[0] if len(daemons) == 1 else None
    reasons = [f"source: {' and '.join(daemons)} run together"] if len(daemons) > 1 else []
    if not daemons:
        reasons.append(f"source: none of {', '.join(_DAEMONS)} runs")
    synchronized: bool | None = None
    offset: float | None = None
    if host.root:
        reasons.append("synchronized, offset_s: a tree has no clock")
    else:
        try:
            synchronized, offset, why = _judged(host, read_clock(), source, request)
            reasons.extend(why)
        except HostError as error:
            reasons.append(f"synchronized, offset_s: {error}")
    return {
        "synchronized": synchronized,
        "offset_s": offset,
        "source": source,
        "reason": "; ".join(reasons) or None,
    }


def _judged(
    host: Host, clock: Clock, source: str | None, request: Request
) -> tuple[bool | None, float | None, list[str]]:
    """(synchronized, offset_s, why one of them is None)."""
    synced: bool | None = not clock.status & _STA_UNSYNC
    if source == "chronyd":
        reasons = ["offset_s: chronyd does not give it to the kernel; probe: active asks chronyc"]
        if request.active:
            try:
                return (*_tracking(host), [])
            except HostError as error:
                reasons = [f"offset_s: {error}"]
        if not synced and not _tells_the_kernel(host):
            # Without rtcsync it leaves the kernel's flag as it was, however well it keeps the clock.
            return None, None, ["synchronized: chronyd tells the kernel with rtcsync alone", *reasons]
        return synced, None, reasons
    if synced and clock.status & _STA_PLL:
        return synced, clock.offset, []
    return synced, None, ["offset_s: the kernel was given none"]


def _running(host: Host) -> list[str]:
    """The daemons that run, as the machine's own: by a system account, and in no container."""
    cut = {name[:15]: name for name in _DAEMONS}
    found = processes.named(host, _DAEMONS)
    own = {p.name for p in found if not p.nested and p.uid is not None and p.uid < _SYSTEM_ACCOUNTS}
    return [name for short, name in cut.items() if short in own]


def _tells_the_kernel(host: Host) -> bool:
    """Whether chrony.conf has ``rtcsync``, as it is delivered; files that it includes are not read."""
    texts = (host.read(path) or "" for path in _CHRONY)
    return any(re.search(r"^[ \t]*rtcsync\b", text, re.MULTILINE | re.IGNORECASE) for text in texts)


def _tracking(host: Host) -> tuple[bool, float]:
    """What ``chronyc -c tracking`` prints: the fifth field is how far the clock is behind, the last the leap status."""
    fields = host.run(["chronyc", "-n", "-c", "tracking"]).stdout.strip().split(",")
    try:
        return fields[13] in ("Normal", "Insert second", "Delete second"), float(fields[4])
    except (IndexError, ValueError):
        raise HostError("chronyc", f"printed {','.join(fields)[:200]!r}, expected the fields of tracking") from None
