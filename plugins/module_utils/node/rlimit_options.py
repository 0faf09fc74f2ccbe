# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of the module ``rlimit``, checked against each other, and limits in the kernel's units (setrlimit(2))."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.converge import Params
from ansible_collections.bulwark.node.plugins.module_utils.errors import OptionError
from ansible_collections.bulwark.node.plugins.module_utils.node.rlimits import BYTES, LIMITS, Limit, Value
from ansible_collections.bulwark.node.plugins.module_utils.units import size_option

__all__ = ["ARGUMENT_SPEC", "FLOORS", "UNLIMITED", "Desired", "Pam", "Selector", "desired", "number"]

UNLIMITED = "unlimited"

ARGUMENT_SPEC: dict[str, Any] = {
    "limits": {"type": "dict", "options": {name: {"type": "raw"} for name in LIMITS}},
    "pam": {
        "type": "dict",
        "options": {
            "domain": {"type": "str", "required": True},
            "file": {"type": "path", "default": "/etc/security/limits.d/95-bulwark-rlimit.conf"},
        },
    },
    "systemd_manager": {"type": "bool", "default": False},
    "systemd_units": {"type": "list", "elements": "str"},
    "processes": {
        "type": "list",
        "elements": "dict",
        "options": {"name": {"type": "str"}, "unit": {"type": "str"}, "pid": {"type": "int"}},
    },
    "raise_ceilings": {"type": "bool", "default": False},
    "daemon_reload": {"type": "bool", "default": False},
    "restart": {"type": "bool", "default": False},
    "skip_missing_units": {"type": "bool", "default": False},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}

FLOORS = {
    "as": 256 << 20,
    "data": 64 << 20,
    "fsize": 1 << 20,
    "nofile": 256,
    "nproc": 64,
    "sigpending": 64,
    "stack": 128 << 10,
}
"""Soft limits with less of which a shell, a daemon or systemd itself does not start or not work."""

_EQUAL = {"unlimited", "infinity", "-1"}
# The largest that setrlimit(2) takes for another number than RLIM_INFINITY from Python.
_MOST = (1 << 63) - 1
_BOUNDS = {"nice": (40, "0 to 40, which is 20 less the nice value"), "rtprio": (99, "0 to 99")}
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]{1,245}\.(?:service|socket|mount|swap)", re.ASCII)
# Not "%" and "%group": pam_limits takes them for maxlogins alone.
_DOMAIN = re.compile(r"\*|@?[^\s#:@%*\"-][^\s#:%*\"]*|@?(?:[0-9]{1,10}:[0-9]{0,10}|:[0-9]{1,10})")
_PAM_FILE = re.compile(r"/etc/security/limits\.d/[A-Za-z0-9_][A-Za-z0-9_.@+-]*\.conf", re.ASCII)


@dataclass(frozen=True)
class Pam:
    """Whom the lines of limits.conf(5) are for, and the file that they stand in."""

    domain: str
    file: str


@dataclass(frozen=True)
class Selector:
    """Which live processes: one of ``name``, ``unit`` and ``pid``."""

    option: str
    name: str | None
    unit: str | None
    pid: int | None


@dataclass(frozen=True)
class Desired:
    """The options. With ``present`` false the limits' names alone count, none means all of them.

    ``everything``: no target is named beside ``state: absent``, so that all that we ever set goes.
    """

    limits: Mapping[str, Limit]
    pam: Pam | None
    manager: bool
    units: tuple[str, ...]
    processes: tuple[Selector, ...]
    raise_ceilings: bool
    daemon_reload: bool
    restart: bool
    skip_missing: bool
    present: bool
    everything: bool

    @property
    def names(self) -> frozenset[str]:
        """The limits that are meant."""
        return frozenset(self.limits) or frozenset(LIMITS)

    def settings(self) -> dict[tuple[str, str], Limit | None]:
        """{(target, limit): the value, None to take it away}."""
        targets = [*self.units, *(["the manager"] if self.manager else [])]
        if self.pam:
            targets.append(f"{self.pam.domain} in {self.pam.file}")
        targets += [f"processes {entry.name or entry.unit or entry.pid}" for entry in self.processes]
        wanted = self.limits if self.present else {}
        return {(target, name): wanted.get(name) for target in targets for name in self.names}


def desired(params: Params) -> Desired:
    """The limits in the kernel's units and the targets; raises OptionError."""
    present = params["state"] == "present"
    given = {name: value for name, value in (params["limits"] or {}).items() if value is not None}
    if present and not given:
        raise OptionError("limits", params["limits"], "at least one limit")
    targets = [params[name] for name in ("pam", "systemd_manager", "systemd_units", "processes")]
    if not any(targets):
        if present:
            raise OptionError("pam", None, "a target here, or in systemd_manager, systemd_units or processes")
        if given:
            raise OptionError("limits", sorted(given), "no limits, or a target beside them: without one all goes back")
    if params["restart"] and not params["daemon_reload"]:
        raise OptionError("restart", True, "daemon_reload beside it: systemd restarts a unit with what it has loaded")
    wanted = Desired(
        limits={name: _limit(f"limits.{name}", name, given[name]) for name in LIMITS if name in given},
        pam=_pam(params["pam"]) if params["pam"] else None,
        manager=params["systemd_manager"],
        units=_units(params["systemd_units"] or ()),
        processes=tuple(_selector(f"processes[{i}]", entry) for i, entry in enumerate(params["processes"] or ())),
        raise_ceilings=params["raise_ceilings"],
        daemon_reload=params["daemon_reload"],
        restart=params["restart"],
        skip_missing=params["skip_missing_units"],
        present=present,
        everything=not any(targets),
    )
    if present and (wanted.pam or wanted.manager):
        _refuse_low(wanted)
    for selector in wanted.processes:
        if wanted.restart and selector.unit in wanted.units:
            raise OptionError(
                f"{selector.option}.unit",
                selector.unit,
                "another unit than restart ends, which then has its new limits",
            )
    return wanted


def _refuse_low(wanted: Desired) -> None:
    """What is for everybody must not end logins or the boot: limits(1) and limits.conf(5) count in KiB, the kernel in bytes."""
    for name, floor in FLOORS.items():
        limit = wanted.limits.get(name)
        if limit and number(limit.soft) < floor:
            unit = "bytes" if name in BYTES else "of them"
            raise OptionError(
                f"limits.{name}",
                limit.soft,
                f"{floor} {unit} or more beside {'pam' if wanted.pam else 'systemd_manager'}: with fewer nobody could log in, "
                "or nothing start",
            )


def number(value: Value) -> float:
    """A limit to compare with others."""
    return value if isinstance(value, int) else float("inf")


def _limit(option: str, name: str, given: Any) -> Limit:
    if not isinstance(given, Mapping):
        value = _value(option, name, given)
        return Limit(value, value)
    for key in (*given, "soft", "hard"):
        if key not in ("soft", "hard"):
            raise OptionError(f"{option}.{key}", given[key], "soft and hard alone")
        if given.get(key) is None:
            raise OptionError(f"{option}.{key}", None, "soft and hard, or one value for both")
    limit = Limit(*(_value(f"{option}.{key}", name, given[key]) for key in ("soft", "hard")))
    if number(limit.soft) > number(limit.hard):
        raise OptionError(f"{option}.soft", given["soft"], f"at most the hard limit, {given['hard']}")
    return limit


def _value(option: str, name: str, given: Any) -> Value:
    """One value in the kernel's unit. Of sizes K, M, G … are powers of 1024; the others are plain numbers."""
    most, expected = _BOUNDS.get(name, (_MOST, "a number of 0 or more, or unlimited"))
    text = str(given).strip() if isinstance(given, (int, str)) and not isinstance(given, bool) else ""
    if text in _EQUAL:
        return UNLIMITED
    if name in BYTES and text and not text.startswith("-"):
        value = size_option(option, text)
    elif re.fullmatch(r"[0-9]{1,20}", text, re.ASCII):
        value = int(text)
    else:
        raise OptionError(option, given, "a size such as 64M, or unlimited" if name in BYTES else expected)
    if value > most:
        raise OptionError(option, given, expected if name in _BOUNDS else f"at most {most}, or unlimited")
    return value


def _pam(given: Mapping[str, Any]) -> Pam:
    domain, file = given["domain"], given["file"]
    if not _DOMAIN.fullmatch(domain) or not domain.isprintable():
        raise OptionError(
            "pam.domain", domain, "a domain of limits.conf(5): a user, @group, *, or ids such as 1000:1999"
        )
    if not _PAM_FILE.fullmatch(file):
        raise OptionError("pam.file", file, "a file in /etc/security/limits.d whose name ends with .conf")
    return Pam(domain, file)


def _units(given: Any) -> tuple[str, ...]:
    for index, unit in enumerate(given):
        if not _UNIT.fullmatch(unit):
            raise OptionError(
                f"systemd_units[{index}]", unit, "the full name of a service, socket, mount or swap: containerd.service"
            )
        if unit in given[:index]:
            raise OptionError(f"systemd_units[{index}]", unit, "each unit once")
    return tuple(given)


def _selector(option: str, given: Mapping[str, Any]) -> Selector:
    named = [key for key in ("name", "unit", "pid") if given[key] is not None]
    if len(named) != 1:
        raise OptionError(option, dict(given), "one of name, unit and pid")
    if named == ["pid"] and not 1 <= given["pid"] < 1 << 22:
        raise OptionError(f"{option}.pid", given["pid"], "the number of a process")
    if not given[named[0]]:
        raise OptionError(f"{option}.{named[0]}", given[named[0]], "one that is not empty")
    return Selector(option, given["name"], given["unit"], given["pid"])
