# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The subset ``image_fs``: the file systems that hold the images of containers, as the kubelet measures them.

Capacity and free space are those of statvfs(3); the used bytes are the runtime's own word, for images share layers.
"""

from __future__ import annotations

import json
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import kubelet, kubelet_config, runtime
from ansible_collections.bulwark.node.plugins.module_utils.node.filesystem import measured
from ansible_collections.bulwark.node.plugins.module_utils.node.kubelet_config import Config
from ansible_collections.bulwark.node.plugins.module_utils.node.kubelet_eviction import headroom
from ansible_collections.bulwark.node.plugins.module_utils.node.mounts import Mount, mounts
from ansible_collections.bulwark.node.plugins.module_utils.node.request import PASSIVE, Request
from ansible_collections.bulwark.node.plugins.module_utils.node.runtime import Runtime

__all__ = ["facts"]

# Where runtimes keep their images unless told otherwise. What lies there takes space, whether its runtime runs or is gone.
_USUAL = (
    "/var/lib/containerd",
    "/var/lib/containers/storage",
    "/var/lib/docker",
    "/var/lib/k0s/containerd",
    "/var/lib/rancher/k3s/agent/containerd",
    "/var/lib/rancher/rke2/agent/containerd",
    "/var/snap/microk8s/common/var/lib/containerd",
)


def facts(host: Host, request: Request = PASSIVE) -> list[dict[str, Any]]:
    """An entry for each folder of images, that of the current runtime first. Empty where there is none."""
    stores: dict[str, Runtime | None] = {}
    for each in sorted(runtime.observe(host)[1], key=lambda each: not each.current):
        if each.config.root is not None:
            stores.setdefault(host.resolved(each.config.root), each)
    for path in _USUAL:
        stores.setdefault(host.resolved(path), None)
    mounted, agent = mounts(host), kubelet.find(host)
    config = kubelet_config.read(host, agent) if agent else None
    entries = (_entry(host, path, owner, mounted, config, request) for path, owner in stores.items())
    return [entry for entry in entries if entry]


def _entry(
    host: Host, path: str, owner: Runtime | None, mounted: list[Mount], config: Config | None, request: Request
) -> dict[str, Any] | None:
    """One folder, or None where there is no such folder."""
    if owner and owner.kind == "containerd" and owner.config.snapshotter:
        # Images lie in the snapshotter's own folder, which may be a mount of its own.
        inner = f"{path}/io.containerd.snapshotter.v1.{owner.config.snapshotter}"
        path = host.resolved(inner) if host.exists(inner) else path
    found = measured(host, path, mounted)
    if found is None:
        return None
    capacity, available = found["capacity_bytes"], found["available_bytes"]
    current = bool(owner and owner.current)
    used, reason = _used(host, owner, request)
    # No kubelet measures the store of another runtime.
    kubelets = config if current and config else Config(reason="no kubelet measures it")
    high = kubelets.scalars.get("imageGCHighThresholdPercent")
    room = headroom(kubelets, "imagefs", found)
    evicts = room["eviction_percent"]
    return {
        "runtime": owner.kind if owner else None,
        "current": current,
        **found,
        # What the kubelet holds against imageGCHighThresholdPercent.
        "gc_percent": 100 - available * 100 // capacity if capacity else None,
        "gc_high_percent": high.value if high else None,
        **room,
        # Below 0 eviction comes before images are collected.
        "gc_margin_percent": round(100 - high.value - evicts, 2) if high and evicts is not None else None,
        "used_bytes": used,
        "reason": reason,
    }


def _used(host: Host, owner: Runtime | None, request: Request) -> tuple[int | None, str | None]:
    """Bytes of the images as the runtime counts them, or None and why not."""
    if owner is None or not owner.current:
        return None, "only the current runtime can be asked"
    if not request.active:
        return None, "asked of the runtime itself only with probe active"
    if not owner.socket:
        return None, "the runtime's socket is not known"
    try:
        said = host.run(["crictl", "--runtime-endpoint", f"unix://{owner.socket}", "imagefsinfo", "--output", "json"])
        status = json.loads(said.stdout)["status"]
        # A list since there are split file systems; the object itself before.
        used = [int(each["usedBytes"]["value"]) for each in status.get("imageFilesystems", [status])]
        return (sum(used), None) if used else (None, "crictl names no file system")
    except HostError as error:
        return None, str(error)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None, "crictl does not say it"
