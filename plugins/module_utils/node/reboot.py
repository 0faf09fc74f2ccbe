# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether this machine wants a reboot, why and since when; and whether packages are being installed right now."""

from __future__ import annotations

import re
import time
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node.mounts import mounts
from ansible_collections.bulwark.node.plugins.module_utils.node.request import PASSIVE, Request

__all__ = [
    "NO_PACKAGE_MANAGER",
    "SENTINEL",
    "facts",
    "flavour",
    "interrupted",
    "kernels",
    "needs_restarting",
    "needs_restarting_command",
    "packages",
    "since_first",
    "transaction",
    "version_key",
]

SENTINEL = "/var/run/reboot-required"
"""What kured and unattended-upgrades look at; the packages that asked for it are in the file beside it, ``.pkgs``."""

# Held, by fcntl(2), as long as dpkg or rpm change packages: the front ends' (apt) and dpkg's own, rpm's old and new place.
_DPKG_LOCKS = ("/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock")
_RPM_LOCKS = ("/var/lib/rpm/.rpm.lock", "/usr/lib/sysimage/rpm/.rpm.lock")
# zypper runs rpm once for each package: between two of them its own lock alone is held, a file with a process' number.
_ZYPP_PID = "/run/zypp.pid"
# dpkg's journal, in files of digits, which is empty between two runs that came to their end (apt looks at it too).
_DPKG_UPDATES = "/var/lib/dpkg/updates"
NO_PACKAGE_MANAGER = "neither dpkg nor rpm is on this machine"
_PACKAGES_NAMED = 100
_IMAGE = re.compile(r"(?:vmlinuz|vmlinux|image)-([0-9].*)", re.IGNORECASE)
# In a kernel's release these name a distribution, a backport or a prerelease, and no flavour.
_NO_FLAVOUR = {"el", "fc", "amzn", "deb", "bpo", "rc"}
_NEEDS_RESTARTING = (
    ("/usr/bin/needs-restarting", ["/usr/bin/needs-restarting", "-r"]),
    ("/usr/bin/dnf", ["/usr/bin/dnf", "needs-restarting", "-r"]),
)


def facts(host: Host, request: Request = PASSIVE) -> dict[str, Any]:
    """The subset ``reboot``: {required, pending_days, reasons[] {source, detail, since}, transaction_running, reason}.

    ``pending_days`` are whole days since the first of the reasons, as far as those have a time.
    ``required`` is None where nothing asks for a reboot, yet not everything could be told.
    """
    reasons, untold = [*_sentinel(host), *_packages(host)], []
    for look in (kernels, needs_restarting) if request.active else (kernels,):
        try:
            found, why = look(host)
        except HostError as error:
            found, why = [], str(error)
        reasons += found
        untold += [why] if why else []
    running, unlocked = transaction(host)
    return {
        "required": True if reasons else None if untold else False,
        "pending_days": _days(reasons),
        "reasons": reasons,
        "transaction_running": running,
        "reason": "; ".join([*untold, *([unlocked] if unlocked else [])]) or None,
    }


def _reason(source: str, detail: str, since: int | None) -> dict[str, Any]:
    return {"source": source, "detail": detail, "since": since}


def since_first(reasons: list[dict[str, Any]]) -> int | None:
    """When the first of the reasons came, in seconds since the epoch, or None where none has a time."""
    return min((reason["since"] for reason in reasons if reason["since"] is not None), default=None)


def _days(reasons: list[dict[str, Any]]) -> int | None:
    since = since_first(reasons)
    return None if since is None else max(0, int(time.time()) - since) // 86400


def _sentinel(host: Host) -> list[dict[str, Any]]:
    since = host.changed_at(SENTINEL)
    return [] if since is None else [_reason("sentinel", f"{SENTINEL} exists", since)]


def _packages(host: Host) -> list[dict[str, Any]]:
    # Without the sentinel nobody asks for anything.
    names = packages(host, SENTINEL) if host.changed_at(SENTINEL) is not None else ""
    return [_reason("packages", names, host.changed_at(f"{SENTINEL}.pkgs"))] if names else []


def packages(host: Host, sentinel: str) -> str:
    """The packages that asked for a reboot by a sentinel, each once, in their order, as a text; empty where none did."""
    names = list(dict.fromkeys((host.read(f"{sentinel}.pkgs") or "").split()))
    more = f" and {len(names) - _PACKAGES_NAMED} more" if len(names) > _PACKAGES_NAMED else ""
    return ", ".join(names[:_PACKAGES_NAMED]) + more


def kernels(host: Host) -> tuple[list[dict[str, Any]], str | None]:
    """The reasons that kernels are, and what could not be told.

    The installed kernels are those with an image in /boot or beside their modules. One of the running kernel's flavour
    that is newer wants a boot; an older one, a fallback, does not. A running kernel that is no longer installed has lost
    the modules that it may still want to load.
    """
    running = (host.read("/proc/sys/kernel/osrelease") or "").strip()
    images = _installed(host)
    if not images:
        if _is_automount(host, "/boot"):
            return [], "/boot is mounted on access, and was not looked into"
        newer = [name for name in host.names("/lib/modules") if _is_newer(name, running)]
        if newer:
            # /boot may be mounted for updates alone (noauto).
            latest = max(newer, key=version_key)
            return [], f"modules of {latest} are installed, but no kernel's image was found: is /boot mounted?"
        return [], None  # booted from elsewhere: no package brings this machine a kernel
    kin = [release for release in images if flavour(release) == flavour(running)]
    if not kin:
        return [], f"no installed kernel is of the flavour of the running one, {running}: it was booted from elsewhere"
    newest = max(kin, key=version_key)
    if version_key(newest) > version_key(running):
        detail = f"{newest} is installed, {running} is running"
        return [_reason("kernel", detail, host.changed_at(images[newest]))], None
    if running not in images:
        return [_reason("kernel", f"{running} is running, but no longer installed", None)], None
    return [], None


def _installed(host: Host) -> dict[str, str]:
    """The image of each installed kernel by its release."""
    found = {
        name: f"/lib/modules/{name}/vmlinuz"
        for name in host.names("/lib/modules")
        if host.exists(f"/lib/modules/{name}/vmlinuz")
    }
    # Looking into it would mount it.
    for name in [] if _is_automount(host, "/boot") else host.names("/boot"):
        match = _IMAGE.fullmatch(name)
        # Debian's .old links, dracut's rescue image and checksums are no kernels of their own.
        if match and not re.search(r"rescue|\.(?:old|hmac|bak|dpkg-.*|signed|sig)$", name):
            found[match.group(1)] = f"/boot/{name}"
    return found


def _is_newer(release: str, running: str) -> bool:
    return flavour(release) == flavour(running) and version_key(release) > version_key(running)


def _is_automount(host: Host, path: str) -> bool:
    """Whether autofs waits at a path, and nothing is mounted there yet."""
    return [mount.fstype for mount in mounts(host) if mount.path == path][-1:] == ["autofs"]


def flavour(release: str) -> tuple[str, ...]:
    """What tells kernels of one version apart: ``amd``, ``cloud amd``, ``generic k``, ``el x rt``.

    The words of a release without their digits, distribution marks and commit ids left out.
    """
    words = [word for word in re.split(r"[-.+_~]", release) if not re.fullmatch(r"g[0-9a-f]{7,40}", word)]
    letters = (re.sub(r"[0-9]", "", word) for word in words)
    return tuple(word for word in letters if word and word not in _NO_FLAVOUR)


def version_key(release: str) -> tuple[tuple[int, int, str], ...]:
    """The order of releases of one flavour: numbers by value, a number after a word, ``~`` and ``rc`` before the end."""

    def rank(token: str) -> tuple[int, int, str]:
        if token.isdigit():
            return (2, int(token), "")
        return (-1, 0, "") if token in ("~", "rc") else (1, 0, token)

    return (*map(rank, re.findall(r"[0-9]{1,18}|rc(?=[0-9])|[A-Za-z]+|~", release, re.ASCII)), (0, 0, ""))


def needs_restarting_command(host: Host) -> list[str] | None:
    """The command that asks dnf's needs-restarting(1), or None on a machine that does not have it."""
    return next((command for path, command in _NEEDS_RESTARTING if host.exists(path)), None)


def needs_restarting(host: Host) -> tuple[list[dict[str, Any]], str | None]:
    """What dnf's needs-restarting(1) says, on a machine that has it. It returns 1 for a reboot and for many an error."""
    command = needs_restarting_command(host)
    if command is None:
        return [], None
    done = host.attempt(command)
    if done.rc == 0:
        return [], None
    if done.rc == 1 and "Reboot is required" in done.stdout:
        names = re.findall(r"^\s*\* (.*\S)", done.stdout, re.MULTILINE)
        return [_reason("packages", ", ".join(names[:_PACKAGES_NAMED]) or "needs-restarting asks for it", None)], None
    said = (done.stderr or done.stdout).strip() or "nothing"
    return [], f"{' '.join(command)} returned {done.rc} and said: {said[:300]}"


def interrupted(host: Host) -> bool:
    """Whether dpkg left off in the middle; only of use where no transaction is running."""
    return any(name.isdigit() for name in host.names(_DPKG_UPDATES))


def transaction(host: Host) -> tuple[bool | None, str | None]:
    """Whether dpkg, rpm or zypper is changing packages at this moment. Their locks are asked for, not taken."""
    unknown = []
    locks: list[bool] = []
    zypper = (host.read(_ZYPP_PID) or "").strip()
    if zypper.isdigit() and host.exists(f"/proc/{zypper}"):
        return True, None
    for path in (*_DPKG_LOCKS, *_RPM_LOCKS):
        try:
            held = host.is_write_locked(path)
        except HostError as error:
            unknown.append(str(error))
        else:
            locks += [] if held is None else [held]
    if any(locks):
        return True, None
    if unknown:
        return None, "; ".join(unknown)
    # Without a lock's file there were no packages changed yet, or there are none.
    if locks or any(host.exists(path.rpartition("/")[0]) for path in (*_DPKG_LOCKS, *_RPM_LOCKS)):
        return False, None
    return None, NO_PACKAGE_MANAGER
