# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print, as JSON, all of a machine that a passive run must leave as it was. It is run inside, by its Python (3.9 or later).

Every file of the folders below, with its owner, times and hash; kernel modules, sysctls, hugepage settings, mounts, namespaces,
links, cgroups, units. A login by ssh, and time, leave their own traces: these are left out, each for the reason given.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

FOLDERS = ("/boot", "/etc", "/home", "/lib/modules", "/opt/ansible/bin", "/root", "/run", "/srv", "/usr/local", "/var")
LOGIN = (
    "/run/log/journal",  # what sshd and logind say
    "/run/motd.dynamic",
    "/run/systemd/journal",
    "/run/systemd/netif",  # links as networkd saw them last; an IPv6 address is settled after a second
    "/run/systemd/sessions",
    "/run/systemd/users",
    "/run/systemd/transient",  # the scope of a session
    "/run/systemd/units",  # invocation ids, of the user's manager too
    "/run/user",
    "/run/utmp",
    "/var/log",  # wtmp, lastlog
)
# Counters and what the kernel draws anew; the rest of /proc/sys holds settings.
COUNTERS = (
    "fs/dentry-state",
    "fs/file-nr",
    "fs/inode-nr",
    "fs/inode-state",
    "fs/quota",
    "kernel/ns_last_pid",
    "kernel/pty/nr",
    "kernel/random",
    "net/netfilter/nf_conntrack_count",
)


def files() -> dict[str, Any]:
    found = {}
    for top in FOLDERS:
        for folder, folders, names in os.walk(top):
            folders[:] = [name for name in folders if os.path.join(folder, name) not in LOGIN]
            for path in [folder, *(os.path.join(folder, name) for name in names)]:
                if path not in LOGIN:
                    found[path] = _file(path)
    return found


def _file(path: str) -> list[Any]:
    status = os.lstat(path)
    owner = [oct(status.st_mode), status.st_uid, status.st_gid]
    if os.path.islink(path):
        return [*owner, os.readlink(path)]
    if os.path.isfile(path):
        try:
            with open(path, "rb") as file:
                return [*owner, status.st_mtime_ns, hashlib.sha256(file.read()).hexdigest()]
        except OSError:  # a namespace that is mounted
            return [*owner, "unreadable"]
    # A folder's time would tell of sessions in it; that names come and go is seen without it.
    return owner


def settings(top: str, counters: tuple[str, ...] = ()) -> dict[str, str]:
    found = {}
    for folder, folders, names in os.walk(top):
        here = os.path.relpath(folder, top)
        folders[:] = [name for name in folders if os.path.normpath(os.path.join(here, name)) not in counters]
        for name in names:
            if os.path.normpath(os.path.join(here, name)) not in counters:
                try:
                    found[os.path.join(folder, name)] = Path(folder, name).read_text(errors="replace")
                except OSError:  # write-only, or not for a container
                    found[os.path.join(folder, name)] = "unreadable"
    return found


def namespaces() -> list[str]:
    """All that a process is in. Those of this script and of sessions are the machine's own."""
    found = set()
    for link in Path("/proc").glob("[0-9]*/ns/*"):
        try:
            found.add(os.readlink(link))
        except OSError:  # it ended
            continue
    return sorted(found)


def mounts() -> list[str]:
    """Fields 3 to 6 and the end of proc_pid_mountinfo(5), without the folder of a logged-in user."""
    rows = [row.split() for row in Path("/proc/1/mountinfo").read_text().splitlines()]
    return sorted(" ".join(row[2:]) for row in rows if not row[4].startswith("/run/user/"))


def cgroups() -> list[str]:
    return sorted(folder for folder, *dummy in os.walk("/sys/fs/cgroup") if "/user.slice" not in folder)


def links() -> dict[str, str]:
    return {path.name: (path / "mtu").read_text() for path in Path("/sys/class/net").iterdir() if path.is_dir()}


def modules() -> list[str]:
    """Of the kernel, which may be built without any; nspawn shows no /sys/module."""
    path = Path("/proc/modules")
    return sorted(row.split()[0] for row in path.read_text().splitlines()) if path.exists() else []


def units() -> list[str]:
    """Units that are there and how they are, without those of sessions."""
    command = ["systemctl", "list-units", "--all", "--state=loaded", "--plain", "--no-legend", "--no-pager"]
    rows = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return sorted(
        " ".join(row.split()[:4])
        for row in rows
        if not row.startswith(("session-", "user-", "user@", "run-user-", "systemd-tmpfiles-clean"))
    )


def state() -> dict[str, Any]:
    hugepages = {
        path: text
        for path, text in settings("/sys/kernel/mm/hugepages").items()
        if os.path.basename(path).startswith("nr_")
    }
    return {
        "files": files(),
        "modules": modules(),
        "sysctls": settings("/proc/sys", COUNTERS),
        "hugepages": hugepages,
        "transparent_hugepages": {
            path: text
            for path, text in settings("/sys/kernel/mm/transparent_hugepage").items()
            if "/stats/" not in path and os.path.basename(path) not in ("full_scans", "pages_collapsed")
        },
        "mounts": mounts(),
        "namespaces": namespaces(),
        "links": links(),
        "cgroups": cgroups(),
        "units": units(),
    }


if __name__ == "__main__":
    print(json.dumps(state()))
