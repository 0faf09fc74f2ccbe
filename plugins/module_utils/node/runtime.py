# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The subset ``runtime``: the container runtimes of this machine, which one the kubelet uses, and how it is configured.

Sources: containerd-config.toml(5) and containerd's docs/cri/config.md, crio.conf(5), containers-storage.conf(5), dockerd(8).
"""

from __future__ import annotations

import fnmatch
import json
import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import kubelet, kubelet_config, processes, system
from ansible_collections.bulwark.node.plugins.module_utils.node.kubelet import Kubelet
from ansible_collections.bulwark.node.plugins.module_utils.node.processes import Process
from ansible_collections.bulwark.node.plugins.module_utils.node.request import PASSIVE, Request

__all__ = ["Runtime", "RuntimeConfig", "facts", "observe"]

_KINDS = {"containerd": "containerd", "crio": "cri-o", "dockerd": "docker"}
# Of a runtime of its own, whose configuration lies in its usual place. The others are a Kubernetes distribution's.
_OWN_SOCKETS = {
    "/run/containerd/containerd.sock": "containerd",
    "/run/crio/crio.sock": "cri-o",
    "/run/cri-dockerd.sock": "docker",
    "/run/docker.sock": "docker",
}
_SOCKETS = {
    **_OWN_SOCKETS,
    "/run/k0s/containerd.sock": "containerd",
    "/run/k3s/containerd/containerd.sock": "containerd",
    "/var/snap/microk8s/common/run/containerd.sock": "containerd",
}
# Which one it is where several run. Docker has a containerd of its own, which no kubelet asks.
_WITH_KUBELET = ("containerd", "cri-o", "docker")
_WITHOUT = ("cri-o", "docker", "containerd")
_CONTAINERD = "/etc/containerd/config.toml"
_SECTIONS = {1: ("cri", "cri"), 2: ("io.containerd.grpc.v1.cri", "io.containerd.grpc.v1.cri")}
_SECTIONS_3 = ("io.containerd.cri.v1.runtime", "io.containerd.cri.v1.images")
_LIMIT = 1 << 20
_MAX_FILES = 100


@dataclass(frozen=True)
class RuntimeConfig:
    """What a runtime is configured with; a value is None where the runtime has no such thing, or ``reason`` says why."""

    files: tuple[str, ...] = ()
    cgroup_driver: str | None = None
    disable_hugetlb_controller: bool | None = None
    snapshotter: str | None = None
    root: str | None = None
    reason: str | None = None

    def facts(self) -> dict[str, Any]:
        """{files[], cgroup_driver, disable_hugetlb_controller, snapshotter, root, reason}."""
        return {**vars(self), "files": list(self.files)}


@dataclass(frozen=True)
class Runtime:
    """A runtime: running as ``process``, or known by its socket alone. ``current``: the one that pods or guests are run by."""

    kind: str
    process: Process | None
    socket: str | None
    config: RuntimeConfig
    current: bool
    embedded_in: str | None


def facts(host: Host, request: Request = PASSIVE) -> dict[str, Any]:
    """The subset ``runtime``: the current one."""
    endpoint, runtimes = observe(host)
    current = next((runtime for runtime in runtimes if runtime.current), None)
    version, reason = _version(host, current, request)
    socket = _where(host, current)
    reachable, unreachable = _reachable(current, socket)
    return {
        "kind": current.kind if current else None,
        "running": bool(current and current.process),
        "reachable": reachable,
        "reachable_reason": unreachable,
        "pid": current.process.pid if current and current.process else None,
        "unit": current.process.unit if current and current.process else None,
        "embedded_in": current.embedded_in if current else None,
        "version": version,
        "version_reason": reason,
        "config": (current.config if current else RuntimeConfig()).facts(),
        "changed_since_start": _changed(host, current) if current else None,
        "socket": socket,
        "sockets": [
            {"path": path, "exists": host.exists(path)} for path in sorted({*_SOCKETS, *filter(None, [endpoint])})
        ],
        "reason": None if current else "no container runtime was found",
    }


def _where(host: Host, current: Runtime | None) -> dict[str, Any]:
    """The socket of the runtime, as it or the kubelet was told, or else the usual one of its kind that is there."""
    path = current.socket if current else None
    if current and not path:
        path = next((each for each, kind in _SOCKETS.items() if kind == current.kind and host.exists(each)), None)
    return {"path": path, "exists": host.exists(path) if path else None}


def _reachable(current: Runtime | None, socket: dict[str, Any]) -> tuple[bool | None, str | None]:
    """Whether the kubelet finds somebody to talk to, as far as the node tells without asking; and why not."""
    if current is None:
        return False, "no container runtime was found"
    path = socket["path"]
    if path and not socket["exists"]:
        return False, f"the socket {path} is not there"
    if current.process:
        return (True, None) if path else (None, f"{current.kind} runs, and its socket is not known")
    if path in _SOCKETS:
        return False, f"the socket {path} is there, and no {current.kind} runs"
    return None, f"the socket {path} is of a runtime that is not known here"


def _changed(host: Host, runtime: Runtime) -> list[str] | None:
    """The files that changed after it started, which it has not read as they are; None where its start is not known."""
    after_boot = runtime.process.started_at if runtime.process else None
    return None if after_boot is None else system.changed_since(host, runtime.config.files, after_boot)


def observe(host: Host) -> tuple[str | None, list[Runtime]]:
    """The socket that the kubelet is told to use, and the runtimes."""
    daemons = processes.named(host, {*_KINDS, *kubelet.NAMES})
    agent = kubelet.among(daemons)
    endpoint = _endpoint(host, agent)
    running = [process for process in daemons if process.name in _KINDS and process.is_system]
    current = _current(host, endpoint, running, _WITH_KUBELET if agent else _WITHOUT)
    found = []
    for process in running:
        embedded = agent.flavour if agent and agent.flavour != "kubelet" and process.unit == agent.unit else None
        config = _config(host, _KINDS[process.name], process)
        socket = _socket(process) or (endpoint if process is current else None)
        found.append(Runtime(_KINDS[process.name], process, socket, config, process is current, embedded))
    if isinstance(current, str):
        found.append(Runtime(_kind(current), None, current, _config(host, _kind(current), None, current), True, None))
    return endpoint, found


def _endpoint(host: Host, agent: Kubelet | None) -> str | None:
    """The path of the socket in the kubelet's configuration."""
    setting = kubelet_config.read(host, agent).scalars.get("containerRuntimeEndpoint") if agent else None
    return _path(setting.value) if setting else None


def _path(address: str) -> str:
    return re.sub(r"^/var/run/", "/run/", address.removeprefix("unix://"))


def _current(host: Host, endpoint: str | None, running: list[Process], order: tuple[str, ...]) -> Process | str | None:
    """The process that serves the kubelet, or its socket where no process is seen."""
    for process in running:
        if endpoint and _socket(process) == endpoint:
            return process
    wanted = [_kind(endpoint)] if endpoint else list(order)
    for kind in wanted:
        those = [process for process in running if _KINDS[process.name] == kind]
        if those:
            # One that listens elsewhere, or where a file of its own says, as Docker's containerd, comes last.
            usual = (process for process in those if not (_socket(process) or _option(process, "-c", "--config")))
            return next(usual, those[0])
    if endpoint:
        return endpoint
    there = [path for path in _SOCKETS if host.exists(path)]
    return min(there, key=lambda path: order.index(_SOCKETS[path]), default=None)


def _kind(socket: str) -> str:
    """By the socket's usual path, or by what is in its name."""
    known = _SOCKETS.get(socket)
    return known or next((kind for word, kind in _KINDS.items() if word.removesuffix("d") in socket), "containerd")


def _socket(process: Process) -> str | None:
    address = _option(process, "-a", "--address", "--listen")
    return _path(address) if address else None


def _option(process: Process | None, *names: str) -> str | None:
    """The value of an option on a process's command line, ``--a=b`` or ``--a b``; the last one counts."""
    found = None
    arguments = process.arguments if process else ()
    for index, argument in enumerate(arguments[1:], 1):
        name, equals, value = argument.partition("=")
        if name in names:
            found = value if equals else (*arguments, "")[index + 1]
    return found or None


def _version(host: Host, current: Runtime | None, request: Request) -> tuple[str | None, str | None]:
    if current is None:
        return None, "no container runtime was found"
    if not request.active:
        return None, "asked of the runtime itself only with probe active"
    if not current.socket:
        return None, "its socket is not known"
    try:
        said = host.run(["crictl", "--runtime-endpoint", f"unix://{current.socket}", "version"]).stdout
    except HostError as error:
        return None, str(error)
    match = re.search(r"^RuntimeVersion:\s+(\S+)$", said, re.MULTILINE)
    return (match.group(1), None) if match else (None, "crictl does not say it")


def _config(host: Host, kind: str, process: Process | None, socket: str = "") -> RuntimeConfig:
    if process is None and socket and socket not in _OWN_SOCKETS:
        return RuntimeConfig(reason="its process is not running, and only that tells where its configuration is")
    reader = {"containerd": _containerd, "cri-o": _crio, "docker": _docker}[kind]
    files: list[str] = []
    try:
        return reader(host, process, files)
    except HostError as error:
        return RuntimeConfig(files=tuple(files), reason=str(error))
    except (ValueError, RecursionError) as error:
        return RuntimeConfig(files=tuple(files), reason=f"{files[-1] if files else kind}: {error}")


# containerd


def _containerd(host: Host, process: Process | None, files: list[str]) -> RuntimeConfig:
    """The file and what it imports.

    Containerd 1 replaces a plugin's whole section by an imported one, containerd 2 merges them: where that makes a
    difference and the version is not told by the files, a value is None.
    """
    given = _option(process, "-c", "--config")
    layers = _imports(host, given or _CONTAINERD, files)
    merged: dict[str, Any] = {}
    replaced: dict[str, Any] = {}
    for layer in layers:
        merged.update(layer)
        if layer["cri"]:
            replaced = {key: value for key, value in replaced.items() if key in ("root", "version")}
        replaced.update(layer)
    later = any(layer["version"] >= 3 for layer in layers)
    new, old = _containerd_values(merged), _containerd_values(merged if later else replaced)
    differ = sorted(key for key in new if new[key] != old[key])
    root = _option(process, "--root") or merged.get("root") or "/var/lib/containerd"
    reason = f"containerd 1 and 2 merge imported files differently: {', '.join(differ)}" if differ else None
    return RuntimeConfig(
        files=tuple(files), root=root, reason=reason, **{k: None if k in differ else v for k, v in new.items()}
    )


def _containerd_values(settings: dict[str, Any]) -> dict[str, Any]:
    """With the defaults of containerd."""
    systemd = settings.get(f"systemd of {settings.get('runtime') or 'runc'}", False)
    return {
        "cgroup_driver": "systemd" if systemd else "cgroupfs",
        "disable_hugetlb_controller": settings.get("hugetlb", True),
        "snapshotter": settings.get("snapshotter") or "overlayfs",
    }


def _imports(host: Host, path: str, files: list[str]) -> list[dict[str, Any]]:
    """The settings of a file and of those that it imports, each once, in the order in which containerd merges them."""
    layers, pending = [], [path]
    while pending:
        path = pending.pop(0)
        if path in files:
            continue
        text = host.read(path, _LIMIT)
        if text is None:
            if path == _CONTAINERD:
                continue
            raise HostError(path, "does not exist")
        files.append(path)
        if len(files) > _MAX_FILES:
            raise ValueError(f"more than {_MAX_FILES} files are imported")
        document = _parsed(text)
        layers.append(_settings(document))
        for pattern in document.get("imports") or []:
            pending += _matching(host, posixpath.join(posixpath.dirname(path), str(pattern)))
    return layers


def _matching(host: Host, pattern: str) -> Iterable[str]:
    folder, name = posixpath.split(posixpath.normpath(pattern))
    if "*" in folder:
        raise ValueError("imports with a * in a folder's name are not read")
    if "*" not in name:
        return [posixpath.join(folder, name)]
    return [posixpath.join(folder, each) for each in host.names(folder) if fnmatch.fnmatchcase(each, name)]


def _settings(document: dict[str, Any]) -> dict[str, Any]:
    """What one file sets, by names of our own; ``cri`` says whether it has a section of the CRI plugin."""
    version = _dig(document, int, "version") or 1
    runtime, images = _SECTIONS.get(version, _SECTIONS_3)
    section = _dig(document, dict, "plugins", runtime) or {}
    engine = _dig(section, dict, "containerd") or {}
    snapshotter = (
        _dig(document, str, "plugins", images, "snapshotter") if version >= 3 else _dig(engine, str, "snapshotter")
    )
    found = {
        "root": _dig(document, str, "root"),
        "hugetlb": _dig(section, bool, "disable_hugetlb_controller"),
        "snapshotter": snapshotter,
        "runtime": _dig(engine, str, "default_runtime_name"),
    }
    for name in _dig(engine, dict, "runtimes") or {}:
        found[f"systemd of {name}"] = _dig(engine, bool, "runtimes", name, "options", "SystemdCgroup")
    return {
        **{key: value for key, value in found.items() if value is not None},
        "version": version,
        "cri": bool(section),
    }


def _parsed(text: str) -> dict[str, Any]:
    # Only where there is a file to read: see subsets.py.
    from ansible_collections.bulwark.node.plugins.module_utils.node import toml_subset

    return toml_subset.parse(text)


def _dig(value: Any, kind: type, *keys: str) -> Any:
    """What lies below the keys, None where nothing does. Raises ValueError where it is of another type."""
    for index, key in enumerate(keys):
        if not isinstance(value, dict):
            raise ValueError(f"{keys[index - 1]} is no table")
        value = value.get(key)
        if value is None:
            return None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"{keys[-1]} is no {kind.__name__}")
    return value


# CRI-O and Docker


def _crio(host: Host, process: Process | None, files: list[str]) -> RuntimeConfig:
    """crio.conf, then crio.conf.d in the order of names, then flags; what they leave open is containers-storage.conf(5)'s."""
    main = _option(process, "-c", "--config") or "/etc/crio/crio.conf"
    folder = _option(process, "-d", "--config-dir") or "/etc/crio/crio.conf.d"
    settings: dict[str, Any] = {}
    storage = next(
        (path for path in ("/etc/containers/storage.conf", "/usr/share/containers/storage.conf") if host.exists(path)),
        None,
    )
    for path in [*filter(None, [storage]), main, *(f"{folder}/{name}" for name in host.names(folder))]:
        text = host.read(path, _LIMIT)
        if text is None:
            continue
        files.append(path)
        document = _parsed(text)
        found = {
            "root": _dig(document, str, "crio", "root") or _dig(document, str, "storage", "graphroot"),
            "driver": _dig(document, str, "crio", "storage_driver") or _dig(document, str, "storage", "driver"),
            "cgroup": _dig(document, str, "crio", "runtime", "cgroup_manager"),
        }
        settings.update({key: value for key, value in found.items() if value})
    return RuntimeConfig(
        files=tuple(files),
        cgroup_driver=_option(process, "--cgroup-manager") or settings.get("cgroup", "systemd"),
        snapshotter=_option(process, "-s", "--storage-driver") or settings.get("driver", "overlay"),
        root=_option(process, "-r", "--root") or settings.get("root", "/var/lib/containers/storage"),
    )


def _docker(host: Host, process: Process | None, files: list[str]) -> RuntimeConfig:
    from ansible_collections.bulwark.node.plugins.module_utils.node import cgroups

    path = _option(process, "--config-file") or "/etc/docker/daemon.json"
    text = host.read(path, _LIMIT)
    document: dict[str, Any] = {}
    if text is not None:
        files.append(path)
        document = json.loads(text) if text.strip() else {}
        if not isinstance(document, dict):
            raise ValueError("is no mapping")
    options = [str(option) for option in document.get("exec-opts") or []]
    given = _option(process, "--exec-opt")
    chosen = [o.partition("=")[2] for o in [*options, given or ""] if o.startswith("native.cgroupdriver=")]
    default = "systemd" if cgroups.version(host) == "v2" and system.has_systemd(host) else "cgroupfs"
    return RuntimeConfig(
        files=tuple(files),
        cgroup_driver=chosen[-1] if chosen else default,
        snapshotter=_option(process, "-s", "--storage-driver") or _dig(document, str, "storage-driver"),
        root=_option(process, "--data-root", "-g", "--graph") or _dig(document, str, "data-root") or "/var/lib/docker",
    )
