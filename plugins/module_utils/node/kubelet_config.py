# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the running kubelet is configured with: defaults, file, drop-ins and flags merged as the kubelet itself merges them.

Source: kubernetes.io "Kubelet Configuration (v1beta1)" and "Kubelet Configuration Directory Merging", and what
cmd/kubelet/app/server.go does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import kubelet_start
from ansible_collections.bulwark.node.plugins.module_utils.node.kubelet import Kubelet
from ansible_collections.bulwark.node.plugins.module_utils.units import parse_quantity

__all__ = ["Config", "Reservation", "Setting", "read", "reservation", "threshold"]


class _Field(NamedTuple):
    """A field's flag, its type, and the default that every release has had: None where they differ, or there is none."""

    flag: str
    kind: type
    default: Any


# Since 1.31 the runtime may say which cgroup driver where nothing is set; 1.35 is the first that refuses cgroup v1 by itself.
_SCALARS: Mapping[str, _Field] = {
    "cgroupDriver": _Field("cgroup-driver", str, None),
    "containerRuntimeEndpoint": _Field("container-runtime-endpoint", str, None),
    "cpuManagerPolicy": _Field("cpu-manager-policy", str, "none"),
    "failCgroupV1": _Field("fail-cgroupv1", bool, None),
    "failSwapOn": _Field("fail-swap-on", bool, True),
    "imageGCHighThresholdPercent": _Field("image-gc-high-threshold", int, 85),
    "imageGCLowThresholdPercent": _Field("image-gc-low-threshold", int, 80),
    "maxPods": _Field("max-pods", int, 110),
    "memoryManagerPolicy": _Field("memory-manager-policy", str, "None"),
    "podPidsLimit": _Field("pod-max-pids", int, -1),
    "protectKernelDefaults": _Field("protect-kernel-defaults", bool, False),
    "reservedSystemCPUs": _Field("reserved-cpus", str, None),
    "topologyManagerPolicy": _Field("topology-manager-policy", str, "none"),
    "topologyManagerScope": _Field("topology-manager-scope", str, "container"),
}
_BOOLEAN_FLAGS = frozenset(each.flag for each in _SCALARS.values() if each.kind is bool)
# Field: its flag, and what stands between a name and its value there.
_MAPS = {
    "cpuManagerPolicyOptions": ("cpu-manager-policy-options", "="),
    "evictionHard": ("eviction-hard", "<"),
    "evictionSoft": ("eviction-soft", "<"),
    "evictionSoftGracePeriod": ("eviction-soft-grace-period", "="),
    "kubeReserved": ("kube-reserved", "="),
    "systemReserved": ("system-reserved", "="),
}
# Later releases add imagefs.inodesFree.
_EVICTION_HARD = {
    "memory.available": "100Mi",
    "nodefs.available": "10%",
    "nodefs.inodesFree": "5%",
    "imagefs.available": "15%",
}
_BOOLEANS = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}
_MAX_FILES = 200


@dataclass(frozen=True)
class Setting:
    """A value and where it comes from: ``default``, ``flag``, or the path of a file."""

    value: Any
    source: str | None


@dataclass
class Config:
    """The merged configuration. ``files`` were read, in that order. With a ``reason`` only what flags say is known."""

    scalars: dict[str, Setting] = field(default_factory=dict)
    maps: dict[str, dict[str, Setting]] = field(default_factory=dict)
    reserved_memory: Any = None
    files: tuple[str, ...] = ()
    root_dir: str = "/var/lib/kubelet"
    reason: str | None = None

    def facts(self) -> dict[str, Any]:
        """{files[], reason, for each field {value, source}, and a list of {name, value, source} for each map}."""
        none = Setting(None, None)
        fields: dict[str, Any] = {key: vars(self.scalars.get(key, none)) for key in _SCALARS}
        for key in _MAPS:
            fields[key] = [{"name": name, **vars(each)} for name, each in sorted(self.maps.get(key, {}).items())]
        return {"files": list(self.files), **fields, "reason": self.reason}


@dataclass(frozen=True)
class Reservation:
    """Bytes that the kubelet keeps from pods, or None with the ``reason`` why that cannot be told."""

    size: int | None
    reason: str | None


def read(host: Host, agent: Kubelet) -> Config:
    """The effective configuration. What cannot be read is no error: ``reason`` says what, and only flags are sure then."""
    merged, files, start = Config(), [], None
    try:
        start = kubelet_start.start(host, agent, _BOOLEAN_FLAGS)
        if start.config is not None:
            files.append(start.config)
            _read_file(host, merged, start.config)
        for path in _dropins(host, start.folder) if start.folder else ():
            files.append(path)
            _overlay(merged, kubelet_start.document(host, path), path)
        reason = start.gap
    except HostError as error:
        reason = str(error)
    except ValueError as error:
        reason = f"{files[-1]}: {error}" if files else str(error)
    flags = start.flags if start else {}
    if reason:
        merged = Config()
    else:
        _default(merged, with_file=start is not None and start.config is not None)
    try:
        _take_flags(merged, flags)
    except ValueError as error:
        merged, reason = Config(), str(error)
    merged.files, merged.reason = tuple(files), reason
    merged.root_dir = flags.get("root-dir", [""])[-1] or merged.root_dir
    return merged


def reservation(config: Config, memory_total: int) -> Reservation:
    """kubeReserved + systemReserved + evictionHard of memory, in bytes."""
    if config.reason is not None:
        return Reservation(None, config.reason)

    def memory(key: str, name: str = "memory") -> str:
        setting = config.maps.get(key, {}).get(name)
        return setting.value if setting else "0"

    try:
        size = parse_quantity(memory("kubeReserved")) + parse_quantity(memory("systemReserved"))
        return Reservation(size + threshold(memory("evictionHard", "memory.available"), memory_total), None)
    except (ValueError, OverflowError) as error:
        return Reservation(None, f"the kubelet's reservations cannot be read: {error}")


def threshold(text: str, whole: int) -> int:
    """What a threshold of eviction comes to: a quantity, or a percentage of the whole; 0 % and 100 % switch it off, and are 0."""
    if not text.endswith("%"):
        return parse_quantity(text)
    percent = float(text[:-1])
    return 0 if percent in (0, 100) else int(whole * percent / 100)


# merging


def _read_file(host: Host, merged: Config, path: str) -> None:
    """The configuration file. The default thresholds are the file's own: drop-ins are merged into them."""
    document = kubelet_start.document(host, path)
    _overlay(merged, document, path)
    if "evictionHard" not in merged.maps or document.get("mergeDefaultEvictionSettings") is True:
        merged.maps["evictionHard"] = {**_settings(_EVICTION_HARD, "default"), **merged.maps.get("evictionHard", {})}


def _dropins(host: Host, folder: str, depth: int = 0) -> Iterator[str]:
    """The files ``*.conf`` of a folder and of those in it, in the order of their names."""
    for name in host.names(folder):
        path = f"{folder}/{name}"
        # The kubelet does not follow a symlink to a folder.
        inner = [] if host.link_target(path) is not None or depth > 5 else list(_dropins(host, path, depth + 1))
        found = inner or ([path] if name.endswith(".conf") else [])
        if len(found) > _MAX_FILES:
            raise HostError(folder, f"holds more than {_MAX_FILES} files")
        yield from found


def _overlay(merged: Config, document: Mapping[str, Any], source: str) -> None:
    """Put a document over what is there: a JSON merge patch (RFC 7396), in which null takes a value away."""
    for key, each in _SCALARS.items():
        if key in document:
            value = document[key]
            merged.scalars.pop(key, None)
            if value is not None:
                if not isinstance(value, each.kind) or (each.kind is int and isinstance(value, bool)):
                    raise ValueError(f"{key} is no {each.kind.__name__}")
                merged.scalars[key] = Setting(value, source)
    for key in _MAPS:
        if key in document:
            pairs = document[key]
            if pairs is None:
                merged.maps.pop(key, None)
                continue
            if not isinstance(pairs, dict):
                raise ValueError(f"{key} is no mapping")
            gone = {name for name, value in pairs.items() if value is None}
            texts = {name: _text(key, value) for name, value in pairs.items() if value is not None}
            kept = {name: old for name, old in merged.maps.get(key, {}).items() if name not in gone}
            merged.maps[key] = {**kept, **_settings(texts, source)}
    merged.reserved_memory = document.get("reservedMemory", merged.reserved_memory)


def _text(key: str, value: Any) -> str:
    if isinstance(value, (bool, dict, list)):
        raise ValueError(f"{key} holds what is no text")
    return str(value)


def _settings(texts: Mapping[str, str], source: str) -> dict[str, Setting]:
    return {name: Setting(value, source) for name, value in texts.items()}


def _default(merged: Config, with_file: bool) -> None:
    """The defaults, as SetDefaults_KubeletConfiguration() gives them to what is unset or has Go's zero value."""
    for key, each in _SCALARS.items():
        setting = merged.scalars.get(key)
        empty = setting is None or setting.value == "" or (key == "maxPods" and setting.value == 0)
        if key == "podPidsLimit" and setting is not None and setting.value < 0:
            merged.scalars[key] = Setting(-1, setting.source)
        elif empty:
            merged.scalars.pop(key, None)
            if each.default is not None:
                merged.scalars[key] = Setting(each.default, "default")
    if not with_file and "evictionHard" not in merged.maps:
        merged.maps["evictionHard"] = _settings(_EVICTION_HARD, "default")


def _take_flags(merged: Config, flags: Mapping[str, list[str]]) -> None:
    """Flags come last: one replaces a whole map, and together with its own repetitions."""
    for key, each in _SCALARS.items():
        if each.flag in flags:
            merged.scalars[key] = Setting(_flag_value(each.flag, each.kind, flags[each.flag][-1]), "flag")
    for key, (flag, separator) in _MAPS.items():
        if flag in flags:
            pairs = [pair.partition(separator) for pair in ",".join(flags[flag]).split(",") if pair.strip()]
            merged.maps[key] = _settings({name.strip(): value.strip() for name, dummy, value in pairs}, "flag")
    if "reserved-memory" in flags:
        merged.reserved_memory = ";".join(flags["reserved-memory"])


def _flag_value(flag: str, kind: type, text: str) -> Any:
    if kind is bool and text in _BOOLEANS:
        return _BOOLEANS[text]
    if kind is int and re.fullmatch(r"[+-]?[0-9]{1,18}", text, re.ASCII):
        return int(text)
    if kind is str:
        return text
    raise ValueError(f"the flag --{flag} holds {text[:40]!r}")
