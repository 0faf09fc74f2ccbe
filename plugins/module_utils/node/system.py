# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine itself: kernel, distribution, boot, command line, cgroup version, container, init."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import cgroups
from ansible_collections.bulwark.node.plugins.module_utils.node.redact import redacted
from ansible_collections.bulwark.node.plugins.module_utils.node.request import PASSIVE, Request

__all__ = ["boot_time", "changed_since", "command_line", "container", "facts", "has_systemd", "os_release"]

# ABI/testing/sysfs-devices-system-cpu; not there in a guest.
_MICROCODE = "/sys/devices/system/cpu/cpu0/microcode/version"
# PROC_PID_INIT_INO in include/linux/proc_ns.h
_INITIAL_PID_NAMESPACE = "pid:[4026531836]"
_SLACK_S = 2


def facts(host: Host, request: Request = PASSIVE) -> dict[str, Any]:
    """The subset ``host``; a value that the machine does not tell is None, and ``reason`` says which and why."""
    release = os_release(host)
    kernel = host.read("/proc/sys/kernel/osrelease")
    boot_id = host.boot_id() or None
    booted = boot_time(host)
    version = cgroups.version(host)
    microcode = (host.read(_MICROCODE) or "").strip()
    version_of = re.match(r"([0-9]{1,4})\.([0-9]{1,4})(?![0-9])", kernel or "")
    missing = [
        name
        for name, value in (
            ("kernel_release", kernel),
            ("boot_id", boot_id),
            ("boot_time", booted),
            ("cgroup", version),
        )
        if value is None
    ]
    return {
        "kernel_release": kernel.strip() if kernel else None,
        "kernel_major": int(version_of.group(1)) if version_of else None,
        "kernel_minor": int(version_of.group(2)) if version_of else None,
        "architecture": os.uname().machine,
        "os_id": release.get("ID"),
        "os_version": release.get("VERSION_ID"),
        "microcode": microcode or None,
        "boot_id": boot_id,
        "boot_time": booted,
        "uptime_s": int(host.uptime()),
        "cmdline": redacted(command_line(host)),
        "cgroup": version,
        "container": container(host),
        "init": "systemd" if has_systemd(host) else (host.read("/proc/1/comm") or "").strip() or None,
        "reason": f"/proc does not tell: {', '.join(missing)}" if missing else None,
    }


def os_release(host: Host) -> dict[str, str]:
    """os-release(5) as a dict; empty where there is none."""
    text = host.read("/etc/os-release") or host.read("/usr/lib/os-release") or ""
    values = {}
    for line in text.split("\n"):
        name, equals, value = line.partition("=")
        if equals and re.fullmatch(r"[A-Z][A-Z0-9_]*", name):
            try:
                values[name] = "".join(shlex.split(value))
            except ValueError:
                values[name] = value.strip().strip("\"'")
    return values


def command_line(host: Host) -> list[str]:
    """The kernel's command line, split as the kernel does: spaces inside of double quotes do not separate."""
    text = (host.read("/proc/cmdline") or "").strip()
    return re.findall(r'(?:[^\s"]|"[^"]*(?:"|$))+', text)


def has_systemd(host: Host) -> bool:
    """Whether systemd is the service manager: the test of sd_booted(3)."""
    return host.exists("/run/systemd/system")


def changed_since(host: Host, paths: Iterable[str], after_boot: float) -> list[str] | None:
    """Those that changed later than so many seconds after boot; None where the time of the boot is not known.

    The kernel tells that time in whole seconds, rounded down, and a unit is often started in the second in which its file is written.
    """
    booted = boot_time(host)
    return (
        None
        if booted is None
        else [path for path in paths if (host.changed_at(path) or 0) > booted + after_boot + _SLACK_S]
    )


def boot_time(host: Host) -> int | None:
    """When the machine was booted, in whole seconds since the epoch, as its clock says now; None where /proc/stat does not tell."""
    match = re.search(r"^btime ([0-9]{1,20})$", host.read("/proc/stat") or "", re.MULTILINE)
    return int(match.group(1)) if match else None


def container(host: Host) -> str:
    """The kind of container that we run in, or ``none``. See systemd-detect-virt(1)."""
    # An image's marker files stay when the image is booted as a machine: the kernel's word comes first.
    initial = host.link_target("/proc/self/ns/pid") == _INITIAL_PID_NAMESPACE
    if initial and host.same_file("/proc/1/root", "/") is not False:
        return "none"
    noted = (host.read("/run/systemd/container") or "").strip()
    if noted:
        return noted
    if host.exists("/run/.containerenv"):
        return "podman"
    if host.exists("/.dockerenv"):
        return "docker"
    if re.search(r"kubepods|/docker[-/]|/lxc[./]|libpod", host.read("/proc/1/cgroup") or ""):
        return "container"
    return "none" if initial else "container"
