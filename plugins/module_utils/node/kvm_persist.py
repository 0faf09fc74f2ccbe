# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the next boot makes of KVM: modules-load.d(5), modprobe.d(5), udev(7), and who else has a say.

modprobe.d: libkmod reads all files in the order of their names, then the command line; of several values of a parameter the
kernel takes the last. udev: the last assignment counts, but for ``:=``, after which no other one does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ansible_collections.bulwark.node.plugins.module_utils.dropin import Dropin, Owner, Persisted, matches
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node.kvm_modules import (
    boolean,
    boot_parameters,
    joined,
    module_name,
)

__all__ = ["MODPROBE", "observe_loads", "observe_options", "observe_rules"]

_LOADS = "/etc/modules-load.d/90-bulwark-kvm.conf"
# After all others: numbers, names and what distributions call zz-.
_OPTIONS = "/etc/modprobe.d/zz-bulwark-kvm.conf"
_RULES = "/etc/udev/rules.d/99-bulwark-kvm.rules"
_KEYS = ("GROUP", "MODE", "OWNER")
_TOKEN = re.compile(r'([A-Z]+)(?:\{[^}]*\})?\s*(==|!=|\+=|-=|:=|=)\s*e?"((?:[^"\\]|\\.)*)"')


class _Modprobe(Dropin):
    """``options module parameter=value …``: a key is module.parameter."""

    def settings(self, text: str) -> list[tuple[str, str]]:
        found = []
        for line in joined(text):
            words = line.split()
            if len(words) > 2 and words[0] == "options":
                for word in words[2:]:
                    name, _dummy, value = word.partition("=")
                    found.append((f"{module_name(words[1])}.{name}", boolean(value.strip('"')) or ""))
        return found


class _Udev(Dropin):
    """Rules for the node /dev/kvm: a key is OWNER, GROUP or MODE."""

    def settings(self, text: str) -> list[tuple[str, str]]:
        return [(key, value) for key, _dummy, value in _assignments(text)]

    def owners(self, host: Host, ours: str, keys: Iterable[str]) -> list[Owner]:
        """As in the other formats, where an earlier ``:=`` wins as well."""
        found: list[Owner] = []
        last: dict[str, int] = {}
        final: set[str] = set()
        for path in self.files(host, ours):
            text = host.read(path) if path != ours and host.is_file(path) else ""
            rows = [(key, "=", "") for key in keys] if path == ours else _assignments(text or "")
            for key, operator, value in rows:
                if key in keys and key not in final:
                    last[key] = len(found) if path != ours else -1
                    if operator == ":=":
                        final.add(key)
                if path != ours and key in keys:
                    found.append(Owner(path, key, value, False))
        return [
            Owner(owner.path, owner.key, owner.value, last.get(owner.key) == index) for index, owner in enumerate(found)
        ]


def _assignments(text: str) -> list[tuple[str, str, str]]:
    """(key, operator, value) of the rules that reach /dev/kvm, as far as its name and subsystem tell."""
    found = []
    for line in joined(text):
        if line.lstrip().startswith("#"):
            continue
        tokens = _TOKEN.findall(line)
        subject = {key: value for key, operator, value in tokens if operator == "==" and key in ("KERNEL", "SUBSYSTEM")}
        name, subsystem = subject.get("KERNEL"), subject.get("SUBSYSTEM", "misc")
        if name is not None and _matches("kvm", name) and _matches("misc", subsystem):
            found += [(k, op, _value(k, value)) for k, op, value in tokens if k in _KEYS and op in ("=", ":=")]
    return found


def _value(key: str, value: str) -> str:
    return f"{int(value, 8):04o}" if key == "MODE" and re.fullmatch(r"[0-7]{1,4}", value, re.ASCII) else value


def _matches(name: str, patterns: str) -> bool:
    return any(matches(name, pattern, "/") for pattern in patterns.split("|"))


def _load_line(line: str) -> tuple[str, str] | None:
    return None if not line or line[0] in "#;" else (module_name(line), "")


def _options_line(key: str, value: str) -> str:
    module, _dummy, parameter = key.partition(".")
    return f"options {module} {parameter}={value}"


_MODULES_LOAD = Dropin(
    manual="modules-load.d(5)",
    folders=(
        "/etc/modules-load.d",
        "/run/modules-load.d",
        "/usr/local/lib/modules-load.d",
        "/usr/lib/modules-load.d",
        "/lib/modules-load.d",
    ),
    first_wins=False,
    separator=".",
    names_beat_globs=False,
    parse=_load_line,
    render=lambda key, value: key,
)
MODPROBE = _Modprobe(
    manual="modprobe.d(5)",
    folders=(
        "/etc/modprobe.d",
        "/run/modprobe.d",
        "/usr/local/lib/modprobe.d",
        "/usr/lib/modprobe.d",
        "/lib/modprobe.d",
    ),
    first_wins=False,
    separator=".",
    names_beat_globs=False,
    parse=lambda line: None,
    render=_options_line,
)
_UDEV = _Udev(
    manual="udev(7)",
    folders=(
        "/etc/udev/rules.d",
        "/run/udev/rules.d",
        "/usr/local/lib/udev/rules.d",
        "/usr/lib/udev/rules.d",
        "/lib/udev/rules.d",
    ),
    first_wins=False,
    separator="/",
    names_beat_globs=False,
    parse=lambda line: None,
    render=lambda key, value: f'SUBSYSTEM=="misc", KERNEL=="kvm", {key}="{value}"',
    suffix=".rules",
)


def observe_loads(host: Host, names: Iterable[str]) -> Persisted:
    """The modules that our file has loaded at boot."""
    return _MODULES_LOAD.observe(host, _LOADS, names)


def observe_options(host: Host, keys: Iterable[str]) -> Persisted:
    """The parameters (module.parameter) that our file gives, and who else does: the command line has the last word."""
    wanted = set(keys)
    persisted = MODPROBE.observe(host, _OPTIONS, wanted)
    booted: Mapping[str, str] = {key: value for key, value in boot_parameters(host).items() if key in wanted}
    owners = [Owner(o.path, o.key, o.value, o.wins and o.key not in booted) for o in persisted.owners]
    owners += [Owner("/proc/cmdline", key, value, True) for key, value in sorted(booted.items())]
    return Persisted(MODPROBE, persisted.path, persisted.text, persisted.settings, tuple(owners))


def observe_rules(host: Host) -> Persisted:
    """Owner, group and mode of /dev/kvm in our rules, and who else sets them. What a distribution brings and loses is no rival."""
    persisted = _UDEV.observe(host, _RULES, _KEYS)
    owners = [owner for owner in persisted.owners if owner.wins or owner.path.startswith(("/etc/", "/run/"))]
    return Persisted(_UDEV, persisted.path, persisted.text, persisted.settings, tuple(owners))
