# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The subset ``kubelet``: the process, its configuration, and whether its next start will fail on what it remembers.

The CPU and the memory manager keep their assignments in a file and refuse to start on another policy or another machine
(kubernetes#109996): see validateState() in pkg/kubelet/cm/{cpumanager,memorymanager}/policy_static.go.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import (
    cgroups,
    kubelet,
    kubelet_config,
    kubelet_eviction,
    kubelet_validation,
    numa,
)
from ansible_collections.bulwark.node.plugins.module_utils.node.filesystem import measured
from ansible_collections.bulwark.node.plugins.module_utils.node.kubelet_config import Config
from ansible_collections.bulwark.node.plugins.module_utils.node.meminfo import meminfo
from ansible_collections.bulwark.node.plugins.module_utils.node.mounts import mounts
from ansible_collections.bulwark.node.plugins.module_utils.node.request import PASSIVE, Request
from ansible_collections.bulwark.node.plugins.module_utils.node.system import boot_time, changed_since
from ansible_collections.bulwark.node.plugins.module_utils.units import format_size, parse_quantity

__all__ = ["facts"]

# Manager: the field of its policy. What the last one keeps has none, and must be JSON (kubernetes#135711).
_OF_K3S = re.compile(r"/agent/etc/kubelet\.conf\.d/(?:00-k3s|10-cli|20-cli)")
_MANAGERS = {"cpu": "cpuManagerPolicy", "memory": "memoryManagerPolicy", "pod_status": ""}


@dataclass(frozen=True)
class _State:
    """A manager's file. ``content`` is None where it cannot be read, and ``reason`` says why."""

    manager: str
    path: str
    content: dict[str, Any] | None
    reason: str | None
    corrupt: bool = False

    @property
    def policy(self) -> str | None:
        policy = (self.content or {}).get("policyName")
        return policy if isinstance(policy, str) else None


def _read_at_start(agent: kubelet.Kubelet, files: Iterable[str]) -> list[str]:
    """What others write for it. k3s makes drop-ins of its own configuration at each start (docs.k3s.io, "Configuration Options")."""
    return [path for path in files if agent.flavour != "k3s" or not _OF_K3S.search(path)]


def facts(host: Host, request: Request = PASSIVE) -> dict[str, Any]:
    """The subset ``kubelet``. State files are looked at without a running kubelet too: they may be why it does not run."""
    agent = kubelet.find(host)
    # Only its command line tells where the configuration is.
    config = kubelet_config.read(host, agent) if agent else Config(reason="no kubelet is running")
    booted = boot_time(host)
    total = _memory_total(host) if agent else 0
    reserved = kubelet_config.reservation(config, total)
    states = [state for manager in _MANAGERS if (state := _state(host, manager, config.root_dir))]
    started_at = int(booted + agent.started_at) if agent and booted is not None else None
    return {
        "running": agent is not None,
        "enabled": kubelet.is_enabled(host),
        "flavour": agent.flavour if agent else None,
        "pid": agent.pid if agent else None,
        "started_at": started_at,
        "started_after_boot_s": agent.started_at if agent else None,
        "unit": agent.unit if agent else None,
        "config": config.facts(),
        # The running kubelet does not know of these as they are: it reads them at its start alone.
        "changed_since_start": changed_since(host, _read_at_start(agent, config.files), agent.started_at)
        if agent
        else None,
        "config_conflicts": kubelet_validation.conflicts(host, config, total),
        "reserved_memory_bytes": reserved.size,
        "reserved_memory_reason": reserved.reason,
        "evictions": kubelet_eviction.evictions(config, total),
        "memory_eviction": kubelet_eviction.memory_headroom(host, config),
        "node_fs": _node_fs(host, config),
        "pod_pids": _pod_pids(host, config),
        "state_files": [
            {"manager": state.manager, "path": state.path, "policy": state.policy, "reason": state.reason}
            for state in states
        ],
        "state_conflicts": [
            {"path": state.path, "reason": reason} for state in states for reason in _conflicts(host, state, config)
        ],
        "reason": None if agent else "no kubelet is running",
    }


def _node_fs(host: Host, config: Config) -> dict[str, Any] | None:
    """The file system of the kubelet's own folder, ``nodefs``; None where there is no such folder."""
    found = measured(host, host.resolved(config.root_dir), mounts(host))
    return None if found is None else {**found, **kubelet_eviction.headroom(config, "nodefs", found)}


def _pod_pids(host: Host, config: Config) -> dict[str, Any]:
    """{most, machine_max, ratio, reason}: what all pods together may take, each at its limit, beside what the machine has."""
    pods, each = (config.scalars.get(name) for name in ("maxPods", "podPidsLimit"))
    machine, reason, most = cgroups.tasks_max(host), config.reason, None
    if pods and each and each.value > 0:
        most = pods.value * each.value
    elif reason is None:
        reason = "podPidsLimit sets no limit"
    ratio = round(most / machine, 3) if most is not None and machine else None
    return {"most": most, "machine_max": machine, "ratio": ratio, "reason": reason}


def _state(host: Host, manager: str, folder: str) -> _State | None:
    path = f"{folder}/{manager}_manager_state"
    try:
        text = host.read(path)
        if text is None:
            return None
        content = json.loads(text)
    except HostError as error:
        return _State(manager, path, None, str(error))
    except (ValueError, RecursionError):
        return _State(manager, path, None, "is no valid JSON", corrupt=True)
    if not isinstance(content, dict):
        return _State(manager, path, None, "holds no state")
    return _State(manager, path, content, None)


def _conflicts(host: Host, state: _State, config: Config) -> list[str]:
    """Why the next start of the kubelet fails on this file, as far as the node tells."""
    if state.corrupt:
        return ["the file is no valid JSON: the kubelet takes it for a corrupt checkpoint"]
    if state.content is None or state.policy is None:
        return []
    configured = config.scalars.get(_MANAGERS[state.manager])
    if configured and configured.value != state.policy:
        return [f"the configured policy is {configured.value}, the file was written by {state.policy}"]
    try:
        if state.policy == "static":
            return list(_cpu_conflicts(host, state.content, config))
        if state.policy == "Static":
            return list(_memory_conflicts(host, state.content, config))
    except (KeyError, TypeError, AttributeError, ValueError):
        # Of a release that writes another form, or by no kubelet at all.
        return []
    return []


def _cpu_conflicts(host: Host, content: dict[str, Any], config: Config) -> Iterator[str]:
    """The CPUs that the file deals out must be those of the machine; with strict-cpu-reservation, without the reserved ones."""
    if content.get("podEntries"):
        raise ValueError("CPUs of whole pods")
    assigned = [cpus for pod in (content.get("entries") or {}).values() for cpus in _texts(pod)]
    shared = content["defaultCpuSet"]
    if not shared:
        if assigned:
            yield "CPUs are assigned, but none is shared"
        return
    known = set().union(*(_cpus(text) for text in (shared, *assigned)))
    online = _cpus((host.read("/sys/devices/system/cpu/online") or "").strip())
    options = config.maps.get("cpuManagerPolicyOptions", {})
    strict = config.reason is not None or "strict-cpu-reservation" in options
    if online and (known - online if strict else known != online):
        yield f"the file knows the CPUs {_ranges(known)}, the machine has {_ranges(online)}"


def _texts(value: Any) -> list[str]:
    """A container's CPUs, or those of each container of a pod."""
    return [value] if isinstance(value, str) else list(value.values())


def _memory_conflicts(host: Host, content: dict[str, Any], config: Config) -> Iterator[str]:
    """Each NUMA node's memory and hugepages must be what the file says, and so must what is reserved there."""
    remembered = {int(node): state["memoryMap"] for node, state in (content.get("machineState") or {}).items()}
    if not remembered:
        return
    machine = _machine(host)
    if set(remembered) != set(machine):
        yield f"the file knows the NUMA nodes {sorted(remembered)}, the machine has {sorted(machine)}"
        return
    reserved = None if config.reason else _reserved_memory(config.reserved_memory)
    for node, resources in sorted(remembered.items()):
        for name in sorted({*resources, *machine[node]}):
            was, now = resources[name]["total"] if name in resources else None, machine[node].get(name)
            if was != now:
                yield f"node {node}: the file says {_bytes(was)} of {name}, the machine has {_bytes(now)}"
            elif reserved is not None and resources[name]["systemReserved"] != reserved.get((node, name), 0):
                yield (
                    f"node {node}: {resources[name]['systemReserved']} bytes of {name} are reserved by the file, "
                    f"{reserved.get((node, name), 0)} by the configuration"
                )


def _bytes(size: int | None) -> str:
    return "nothing" if size is None else f"{size} bytes"


def _machine(host: Host) -> dict[int, dict[str, int]]:
    """Bytes by resource and NUMA node, as the kubelet counts them: the node's own MemTotal, and all pages of each pool."""
    folders = {node: f"{numa.NODES}/node{node}" for node in numa.numbers(host)}
    pools = {node: f"{folder}/hugepages" for node, folder in folders.items()} or {0: "/sys/kernel/mm/hugepages"}
    found = {}
    for node, pool in pools.items():
        found[node] = {"memory": _memory_total(host, f"{folders[node]}/meminfo" if folders else "/proc/meminfo")}
        for name in host.names(pool):
            match = re.fullmatch(r"hugepages-([0-9]{1,12})kB", name)
            if match:
                size = int(match.group(1)) * 1024
                found[node][f"hugepages-{format_size(size)}i"] = size * (
                    host.integer(f"{pool}/{name}/nr_hugepages") or 0
                )
    return found


def _memory_total(host: Host, path: str = "/proc/meminfo") -> int:
    total = meminfo(host, path).get("MemTotal")
    if total is None:
        raise HostError(path, "lacks the line MemTotal")
    return total


def _reserved_memory(value: Any) -> dict[tuple[int, str], int]:
    """Bytes by NUMA node and resource: reservedMemory[] {numaNode, limits}, or the flag's ``0:memory=1Gi,…;1:…``."""
    if isinstance(value, str):
        rows = [row.partition(":") for row in value.split(";") if row]
        value = [
            {"numaNode": int(node), "limits": dict(pair.split("=", 1) for pair in limits.split(","))}
            for node, dummy, limits in rows
        ]
    found: dict[tuple[int, str], int] = {}
    for row in value or ():
        for name, quantity in row["limits"].items():
            key = (row["numaNode"], name)
            found[key] = found.get(key, 0) + parse_quantity(quantity)
    return found


def _cpus(text: str) -> set[int]:
    """The numbers of a list such as ``0-3,8`` (cpuset(7)). Raises ValueError."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, dash, last = part.partition("-")
        begin, end = int(first), int(last if dash else first)
        if not 0 <= begin <= end <= 1 << 16:
            raise ValueError(text)
        found.update(range(begin, end + 1))
    return found


def _ranges(numbers: set[int]) -> str:
    """The list again: ``0-3,8``."""
    starts = sorted(n for n in numbers if n - 1 not in numbers)
    ends = sorted(n for n in numbers if n + 1 not in numbers)
    return ",".join(str(start) if start == end else f"{start}-{end}" for start, end in zip(starts, ends))
