# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kubelet on this machine: is one running, since when, and how much memory it keeps for the system."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.units import parse_quantity

__all__ = ["Kubelet", "Reservation", "find", "reservation"]

# By the name of the process; distributions may run the kubelet inside of their own. What the cgroup says comes first:
# RKE2 and k0s start a process of the kubelet's own name in a unit of another one.
_UNITS = {
    "kubelet": "kubelet.service",
    "k3s-server": "k3s.service",
    "k3s-agent": "k3s-agent.service",
    "kubelite": "snap.microk8s.daemon-kubelite.service",
}
_TICKS = 100  # USER_HZ: 100 on every architecture that Kubernetes supports
_EVICTION_DEFAULT = "100Mi"
_UNIT = re.compile(r"^[0-9]+:(?:name=systemd)?:/(?:.*/)?([^/]+\.service)$", re.MULTILINE)


@dataclass(frozen=True)
class Kubelet:
    """The running kubelet. ``process`` is its name, ``started_at`` in seconds after boot."""

    pid: int
    process: str
    unit: str
    started_at: float
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class Reservation:
    """Bytes that the kubelet keeps from pods, or None with the ``reason`` why that cannot be told."""

    size: int | None
    reason: str | None


def find(host: Host) -> Kubelet | None:
    """The kubelet's process: by name, only root's, since any user may name a process so, and none of a container's (kind)."""
    for pid in host.names("/proc"):
        if not pid.isdigit():
            continue
        process = (host.read(f"/proc/{pid}/comm") or "").removesuffix("\n")
        if process not in _UNITS:
            continue
        status = host.read(f"/proc/{pid}/status") or ""
        # proc_pid_status(5): a process of a nested PID namespace has a number in each.
        nested = re.search(r"^NSpid:\t[0-9]+\t", status, re.MULTILINE)
        if nested or not re.search(r"^Uid:\t0\t", status, re.MULTILINE):
            continue
        # proc_pid_stat(5): the name in brackets may hold anything, a bracket too; field 22 is the start in ticks.
        fields = (host.read(f"/proc/{pid}/stat") or "").rpartition(")")[2].split()
        if len(fields) > 19 and fields[19].isdigit():
            arguments = (host.read(f"/proc/{pid}/cmdline") or "").rstrip("\0").split("\0")
            unit = _UNIT.search(host.read(f"/proc/{pid}/cgroup") or "")
            name = unit.group(1) if unit else _UNITS[process]
            return Kubelet(int(pid), process, name, int(fields[19]) / _TICKS, tuple(arguments))
    return None


def reservation(host: Host, kubelet: Kubelet, memory_total: int) -> Reservation:
    """kubeReserved + systemReserved + evictionHard of memory, in bytes, from the configuration file, then the flags.

    Source: kubelet.config.k8s.io/v1beta1; flags win over the file.
    """
    if kubelet.process != "kubelet":
        return Reservation(None, f"the configuration of {kubelet.unit} is not read yet")
    flags = _flags(kubelet.arguments)
    if "config-dir" in flags:
        return Reservation(None, f"the kubelet merges the files in {flags['config-dir'][-1]}, which are not read yet")
    config: Mapping[str, Any] = {}
    if "config" in flags:
        path = flags["config"][-1]
        try:
            text = host.read(path) if path.startswith("/") else None
        except HostError as error:
            return Reservation(None, str(error))
        if text is None:
            return Reservation(None, f"{path} does not exist")
        try:
            import yaml
        except ImportError:
            return Reservation(None, f"{path} cannot be read: this machine's Python has no PyYAML")
        try:
            config = yaml.safe_load(text) or {}
        except (yaml.YAMLError, ValueError):
            return Reservation(None, f"{path} is not valid YAML")
    try:
        size = sum(
            parse_quantity(_pairs(flags, config, flag, key, "=").get("memory", 0))
            for flag, key in (("kube-reserved", "kubeReserved"), ("system-reserved", "systemReserved"))
        )
        size += _eviction(flags, config, memory_total)
    except (ValueError, AttributeError, TypeError, OverflowError) as error:
        return Reservation(None, f"the kubelet's reservations cannot be read: {error}")
    return Reservation(size, None)


def _eviction(flags: Mapping[str, list[str]], config: Mapping[str, Any], memory_total: int) -> int:
    """Bytes of the hard threshold for memory. A threshold for anything else takes its default away (kubelet's ``SetDefaults``)."""
    given = "eviction-hard" in flags or config.get("evictionHard") is not None
    default = 0 if given and config.get("mergeDefaultEvictionSettings") is not True else _EVICTION_DEFAULT
    threshold = str(_pairs(flags, config, "eviction-hard", "evictionHard", "<").get("memory.available", default))
    if not threshold.endswith("%"):
        return parse_quantity(threshold)
    percent = float(threshold[:-1])
    # 0% and 100% switch a threshold off.
    return 0 if percent in (0, 100) else int(memory_total * percent / 100)


def _flags(arguments: tuple[str, ...]) -> dict[str, list[str]]:
    """The values of each long option of a command line, ``--a=b`` or ``--a b``."""
    found: dict[str, list[str]] = {}
    for index, argument in enumerate(arguments):
        if argument.startswith("--"):
            name, equals, value = argument[2:].partition("=")
            following = arguments[index + 1] if index + 1 < len(arguments) else ""
            found.setdefault(name, []).append(value if equals else following)
    return found


def _pairs(
    flags: Mapping[str, list[str]], config: Mapping[str, Any], flag: str, key: str, separator: str
) -> Mapping[str, Any]:
    """A map of the configuration, which the flags of the same meaning replace (``memory=1Gi,cpu=1``), together if there are more."""
    if flag in flags:
        pairs = (pair.partition(separator) for pair in ",".join(flags[flag]).split(","))
        return {name.strip(): value.strip() for name, dummy, value in pairs}
    return dict(config.get(key) or {})
