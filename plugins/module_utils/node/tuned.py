# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""tuned, which sets kernel attributes from a profile and would set them again after us."""

from __future__ import annotations

from collections.abc import Mapping
from configparser import ConfigParser, Error
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.dropin import Owner, matches
from ansible_collections.bulwark.node.plugins.module_utils.host import Host

__all__ = ["boot_arguments", "owners", "settings"]

_ACTIVE = "/etc/tuned/active_profile"
_WANTS = ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
_FOLDERS = ("/etc/tuned/profiles", "/etc/tuned", "/usr/lib/tuned/profiles", "/usr/lib/tuned")


def settings(host: Host) -> dict[tuple[str, str], tuple[str, str]]:
    """{(section, option): (value, file)} of the active profile and those that it includes; empty without tuned.

    Source: tuned.conf(5), tuned-profiles(7). An included profile is overridden by the one that includes it.
    """
    found: dict[tuple[str, str], tuple[str, str]] = {}
    _collect(host, (host.read(_ACTIVE) or "").split(), found, set())
    return found


def owners(host: Host, keys: Mapping[tuple[str, str], str]) -> tuple[Owner, ...]:
    """Who sets one of our keys, each given by tuned's (section, option) for it; none where tuned neither runs nor is enabled.

    tuned applies its profile once it starts, after tmpfiles.d and sysctl.d, and so wins. A path in its section sysfs may
    be a pattern.
    """
    if not _is_active(host):
        return ()
    return tuple(
        Owner(path, key, value, True)
        for (section, option), (value, path) in settings(host).items()
        for (our_section, ours), key in keys.items()
        if section == our_section and (matches(ours, option, "/") if section == "sysfs" else ours == option)
    )


def boot_arguments(host: Host) -> tuple[str, str]:
    """(arguments, file) that the active profile adds to the kernel's command line: its section bootloader."""
    if not _is_active(host):
        return "", ""
    rows = [row for (section, option), row in settings(host).items() if section == "bootloader" and "cmdline" in option]
    return " ".join(value.lstrip("+- ") for value, dummy in rows), rows[-1][1] if rows else ""


def _is_active(host: Host) -> bool:
    return host.exists("/run/tuned/tuned.pid") or any(
        host.link_target(f"{folder}/multi-user.target.wants/tuned.service") is not None for folder in _WANTS
    )


def _collect(host: Host, profiles: list[str], found: dict[tuple[str, str], tuple[str, str]], seen: set[str]) -> None:
    for profile in profiles:
        # A profile's name comes from a file: it must not lead anywhere else.
        if profile in seen or "/" in profile or profile.startswith("."):
            continue
        seen.add(profile)
        path = next(
            (f"{folder}/{profile}/tuned.conf" for folder in _FOLDERS if host.exists(f"{folder}/{profile}/tuned.conf")),
            None,
        )
        if path is None:
            continue
        parser: Any = ConfigParser(interpolation=None, strict=False, delimiters=("=",), allow_no_value=True)
        # A path in the section sysfs is an option, and has capitals.
        parser.optionxform = str
        try:
            parser.read_string(host.read(path) or "")
        except Error:
            continue
        _collect(host, (parser.get("main", "include", fallback="") or "").replace(",", " ").split(), found, seen)
        for section in parser.sections():
            found.update({(section, option): (value or "", path) for option, value in parser.items(section)})
