# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How full a file system is, as statvfs(3) and the kubelet count: what root alone may use is not available."""

from __future__ import annotations

from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node.mounts import Mount

__all__ = ["measured"]


def measured(host: Host, path: str, mounted: list[Mount]) -> dict[str, Any] | None:
    """The file system below a path, sizes in bytes, shares in percent of the whole; None where nothing is at the path."""
    status = host.statvfs(path)
    if status is None:
        return None
    mount = _mount_of(mounted, path)
    capacity, available = status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize
    # A file system without a fixed number of inodes says 0.
    inodes, inodes_free = (status.f_files, status.f_ffree) if status.f_files else (None, None)
    return {
        "path": path,
        "mountpoint": mount.path if mount else None,
        "device": mount.source if mount else None,
        "fstype": mount.fstype if mount else None,
        "capacity_bytes": capacity,
        "available_bytes": available,
        "available_percent": round(100 * available / capacity, 2) if capacity else None,
        "inodes": inodes,
        "inodes_free": inodes_free,
        "inodes_free_percent": round(100 * status.f_ffree / inodes, 2) if inodes else None,
    }


def _mount_of(mounted: list[Mount], path: str) -> Mount | None:
    """The longest mount point above the path; of several at one place the last, which covers the others."""
    above = [mount for mount in mounted if f"{path}/".startswith(mount.path.rstrip("/") + "/")]
    return max(reversed(above), key=lambda mount: len(mount.path), default=None)
