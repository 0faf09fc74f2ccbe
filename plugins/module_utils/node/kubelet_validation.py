# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of its configuration the kubelet refuses at its next start; only what each release refuses is reported.

Sources: ValidateKubeletConfiguration() in pkg/kubelet/apis/config/validation, ParseThresholdConfig() in pkg/kubelet/eviction,
NewContainerManager() and setupKernelTunables() in pkg/kubelet/cm, and NewManager() of pkg/kubelet/cm/{cpumanager,memorymanager}.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import cgroups
from ansible_collections.bulwark.node.plugins.module_utils.node.kubelet_config import Config, Setting, reservation
from ansible_collections.bulwark.node.plugins.module_utils.units import parse_quantity

__all__ = ["conflicts"]

# What the kubelet sets at its start, or with protectKernelDefaults insists on.
_KERNEL_DEFAULTS = {
    "kernel.keys.root_maxbytes": 25000000,
    "kernel.keys.root_maxkeys": 1000000,
    "kernel.panic": 10,
    "kernel.panic_on_oops": 1,
    "vm.overcommit_memory": 1,
    "vm.panic_on_oom": 0,
}
_CHOICES = {
    "cpuManagerPolicy": ("none", "static"),
    "memoryManagerPolicy": ("None", "Static"),
    "topologyManagerPolicy": ("none", "best-effort", "restricted", "single-numa-node"),
    "topologyManagerScope": ("container", "pod"),
}
_PERCENT = ("imageGCHighThresholdPercent", "imageGCLowThresholdPercent")
_NONE = Setting(None, None)


@dataclass(frozen=True)
class _Conflict:
    field: str
    reason: str


def conflicts(host: Host, config: Config, memory_total: int) -> list[dict[str, str]] | None:
    """{field, reason} of each; None where the configuration is not known."""
    if config.reason is not None:
        return None
    found = [*_values(config), *_eviction(config), *_managers(config), *_machine(host, config, memory_total)]
    return [vars(each) for each in found]


def _value(config: Config, field: str) -> Any:
    return config.scalars.get(field, _NONE).value


def _values(config: Config) -> Iterator[_Conflict]:
    high, low = (_value(config, field) for field in _PERCENT)
    for field in _PERCENT:
        if not 0 <= _value(config, field) <= 100:
            yield _Conflict(field, f"is {_value(config, field)}, expected 0 to 100")
    if low >= high:
        yield _Conflict(
            "imageGCLowThresholdPercent", f"is {low}, and must be below imageGCHighThresholdPercent, {high}"
        )
    if _value(config, "maxPods") < 0:
        yield _Conflict("maxPods", f"is {_value(config, 'maxPods')}, expected none below 0")
    for field, choices in _CHOICES.items():
        if _value(config, field) not in choices:
            yield _Conflict(field, f"is {str(_value(config, field))[:40]!r}, expected one of {', '.join(choices)}")


def _eviction(config: Config) -> Iterator[_Conflict]:
    for field in ("evictionHard", "evictionSoft"):
        for signal, setting in config.maps.get(field, {}).items():
            if not _is_threshold(setting.value):
                yield _Conflict(field, f"{signal} is {setting.value[:40]!r}, expected a size above 0, or 0% to 100%")
    graces = config.maps.get("evictionSoftGracePeriod", {})
    for signal in config.maps.get("evictionSoft", {}):
        if signal not in graces:
            yield _Conflict("evictionSoftGracePeriod", f"lacks {signal}, which evictionSoft has")


def _is_threshold(text: str) -> bool:
    try:
        return 0 <= float(text[:-1]) <= 100 if text.endswith("%") else parse_quantity(text) > 0
    except (ValueError, OverflowError):
        return False


def _managers(config: Config) -> Iterator[_Conflict]:
    if _value(config, "cpuManagerPolicy") == "static" and not _value(config, "reservedSystemCPUs"):
        reserved = [config.maps.get(field, {}).get("cpu", _NONE).value for field in ("kubeReserved", "systemReserved")]
        if not any(text is not None and _is_some(text) for text in reserved):
            yield _Conflict(
                "cpuManagerPolicy", "is static, which needs a CPU in kubeReserved, systemReserved or reservedSystemCPUs"
            )


def _is_some(text: str) -> bool:
    try:
        return parse_quantity(text) > 0
    except ValueError:
        # Not of a form that we know: no conflict.
        return True


def _machine(host: Host, config: Config, memory_total: int) -> Iterator[_Conflict]:
    reserved = reservation(config, memory_total).size
    if reserved is not None and reserved > memory_total:
        yield _Conflict("kubeReserved", f"{reserved} bytes of memory are reserved, the machine has {memory_total}")
    swaps = [line.split()[0] for line in (host.read("/proc/swaps") or "").split("\n")[1:] if line.strip()]
    if _value(config, "failSwapOn") and swaps:
        yield _Conflict("failSwapOn", f"is true, and swap is on: {', '.join(swaps[:3])[:200]}")
    version = cgroups.version(host)
    if _value(config, "failCgroupV1") and version in ("v1", "hybrid"):
        yield _Conflict("failCgroupV1", f"is true, and the machine runs cgroup {version}")
    if _value(config, "protectKernelDefaults"):
        for name, wanted in _KERNEL_DEFAULTS.items():
            value = host.integer(f"/proc/sys/{name.replace('.', '/')}")
            if value is not None and value != wanted:
                yield _Conflict("protectKernelDefaults", f"is true, and {name} is {value}, expected {wanted}")
