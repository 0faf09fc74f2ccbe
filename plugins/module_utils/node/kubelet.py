# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kubelet on this machine: is one running, as what, and since when. Its configuration is kubelet_config's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import processes

__all__ = ["NAMES", "Kubelet", "among", "find", "is_enabled"]

# By the name of the process; distributions may run the kubelet inside of their own. What the cgroup says comes first:
# RKE2 and k0s start a process of the kubelet's own name in a unit of another one.
_UNITS = {
    "kubelet": "kubelet.service",
    "k3s-server": "k3s.service",
    "k3s-agent": "k3s-agent.service",
    "kubelite": "snap.microk8s.daemon-kubelite.service",
}
NAMES = frozenset(_UNITS)
"""The processes that may be one."""
_FLAVOURS = {"k3s-server": "k3s", "k3s-agent": "k3s", "kubelite": "microk8s"}
_UNIT_FLAVOURS = {"rke2": "rke2", "k0s": "k0s", "snap.microk8s": "microk8s"}


@dataclass(frozen=True)
class Kubelet:
    """The running kubelet. ``process`` is its name, ``started_at`` in seconds after boot."""

    pid: int
    process: str
    unit: str
    started_at: float
    arguments: tuple[str, ...]

    @property
    def flavour(self) -> str:
        """Who starts it: ``kubelet`` (itself), ``k3s``, ``rke2``, ``microk8s`` or ``k0s``."""
        by_unit = (name for prefix, name in _UNIT_FLAVOURS.items() if self.unit.startswith(prefix))
        return _FLAVOURS.get(self.process) or next(by_unit, "kubelet")


# k0scontroller may run without a kubelet.
_ENABLED = frozenset({*_UNITS.values(), "rke2-agent.service", "rke2-server.service", "k0sworker.service"})
_UNIT_FOLDER = "/etc/systemd/system"
# GKE's script makes it at each boot, and starts a unit that it does not enable.
_OF_GKE = "/home/kubernetes/kubelet-config.yaml"


def is_enabled(host: Host) -> bool:
    """Whether a kubelet is to run: a unit of one is wanted by a target, or GKE's script has configured it."""
    if host.exists(_OF_GKE):
        return True
    targets = [name for name in host.names(_UNIT_FOLDER) if name.endswith(".wants")]
    return any(unit in _ENABLED for target in targets for unit in host.names(f"{_UNIT_FOLDER}/{target}"))


def find(host: Host) -> Kubelet | None:
    """The kubelet's process: by name, only root's, since any user may name a process so, and none of a container's (kind)."""
    return among(processes.named(host, NAMES))


def among(found: Iterable[processes.Process]) -> Kubelet | None:
    """The same of processes that were looked for already, be they of other names too."""
    for process in found:
        if process.name in NAMES and process.is_system and process.started_at is not None:
            unit = process.unit or _UNITS[process.name]
            return Kubelet(process.pid, process.name, unit, process.started_at, process.arguments)
    return None
