# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the running kubelet was started with: its flags, its configuration file and the folder of drop-ins.

Sources: kubernetes.io, "kubelet" of the command line tools; docs.k3s.io "Configuration Options"; the snap microk8s.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node.kubelet import Kubelet

__all__ = ["Start", "document", "start"]

_LIMIT = 1 << 20  # bytes of one file
_MICROK8S = {"SNAP_DATA": "/var/snap/microk8s/current", "SNAP_COMMON": "/var/snap/microk8s/common"}


@dataclass(frozen=True)
class Start:
    """The values of each flag, the file's and the drop-ins' path (None: it has none).

    ``gap`` says why there may be more that nothing on the node shows.
    """

    flags: Mapping[str, list[str]]
    config: str | None
    folder: str | None
    gap: str | None = None


def start(host: Host, agent: Kubelet, booleans: Collection[str]) -> Start:
    """``booleans`` are the flags that take no word of their own. Raises ValueError or HostError where it cannot be read."""
    if agent.process.startswith("k3s"):
        return _start_k3s(host, agent)
    flags = _flags(agent.arguments[1:], booleans)
    if agent.process == "kubelite":
        path = flags.get("kubelet-args-file", [f"{_MICROK8S['SNAP_DATA']}/args/kubelet"])[-1]
        text = host.read(path, _LIMIT)
        if text is None:
            raise HostError(path, "does not exist")
        text = re.sub(r"\$\{?(SNAP_DATA|SNAP_COMMON)\b\}?", lambda match: _MICROK8S[match.group(1)], text)
        flags = _flags(shlex.split(text, comments=True), booleans)
    folder = host.link_target(f"/proc/{agent.pid}/cwd") or ""
    config, dropins = (flags.get(name, [""])[-1] for name in ("config", "config-dir"))
    return Start(flags, *(posixpath.join(folder, path) if path else None for path in (config, dropins)))


def _start_k3s(host: Host, agent: Kubelet) -> Start:
    """k3s runs the kubelet inside of itself, with drop-ins that it writes at each start and the user's ``kubelet-arg``.

    Of the command line only ``k3s server`` is left, since it may hold the token: the unit has it. A file or a folder that
    ``kubelet-arg`` names is copied to the drop-ins. Before 1.32 there are none, and its own flags are nowhere to be seen.
    """
    words = [word for word in agent.arguments if word]
    environment = dict(
        pair.partition("=")[::2] for pair in (host.read(f"/proc/{agent.pid}/environ") or "").split("\0") if "=" in pair
    )
    gap = None
    if len(words) == 1:
        command = _exec_start(host, agent.unit)
        if command is None:
            gap = f"k3s hides its command line, and no unit {agent.unit} shows it"
        words = command or words
    given = _flags([{"-c": "--config", "-d": "--data-dir"}.get(word, word) for word in words[1:]])
    main = (given.get("config") or [environment.get("K3S_CONFIG_FILE") or "/etc/rancher/k3s/config.yaml"])[-1]
    options = {"data-dir": [environment.get("K3S_DATA_DIR") or "/var/lib/rancher/k3s"]}
    for path in [main, *(f"{main}.d/{name}" for name in host.names(f"{main}.d") if name.endswith((".yaml", ".yml")))]:
        if host.exists(path):
            try:
                _take_options(options, document(host, path))
            except ValueError as error:
                raise HostError(path, str(error)) from None
    options.update(given)
    flags: dict[str, list[str]] = {}
    for argument in options.get("kubelet-arg", []):
        name, equals, value = argument.removeprefix("--").partition("=")
        # A sign at the name's end joins the value to what k3s itself would give.
        flags.setdefault(name.rstrip("+-").replace("_", "-"), []).append(value if equals else "true")
    folder = f"{options['data-dir'][-1]}/agent/etc/kubelet.conf.d"
    if not gap and not host.exists(f"{folder}/00-k3s-defaults.conf"):
        gap = f"{folder} holds no defaults of k3s: this release gives its kubelet flags that nothing on the node shows"
    return Start(flags, None, folder, gap)


def _take_options(options: dict[str, list[str]], settings: Mapping[str, Any]) -> None:
    """Options of a configuration file of k3s: a later one replaces an earlier one, with a + at its name it is added."""
    for key, value in settings.items():
        values = [("true" if each is True else str(each)) for each in (value if isinstance(value, list) else [value])]
        name = key.rstrip("+")
        options[name] = [*options.get(name, []), *values] if key.endswith("+") else values


def _exec_start(host: Host, unit: str) -> list[str] | None:
    """The command line of a unit; None where there is no such unit. See systemd.service(5)."""
    from ansible_collections.bulwark.node.plugins.module_utils.node.unit_files import UnitFiles

    commands = [each.value for each in UnitFiles(host).settings(unit) if each.name == "ExecStart" and each.value]
    if not commands:
        return None
    return [word.replace("%%", "%") for word in shlex.split(commands[-1].lstrip("-@:+!"))]


def _flags(arguments: Sequence[str], booleans: Collection[str] = ()) -> dict[str, list[str]]:
    """The values of each long option of a command line, ``--a=b`` or ``--a b``; a boolean one needs no value."""
    found: dict[str, list[str]] = {}
    for index, argument in enumerate(arguments):
        if argument.startswith("--"):
            name, equals, value = argument[2:].partition("=")
            name = name.replace("_", "-")
            if not equals:
                value = "true" if name in booleans else (*arguments, "")[index + 1]
            found.setdefault(name, []).append(value)
    return found


def document(host: Host, path: str) -> Mapping[str, Any]:
    """The mapping that a YAML or JSON file holds. Raises HostError where there is no such file, ValueError where it is another."""
    text = host.read(path, _LIMIT) if path.startswith("/") else None
    if text is None:
        raise HostError(path, "does not exist")
    # Only where there is a file to read: see subsets.py.
    from ansible_collections.bulwark.node.plugins.module_utils.node import yaml_subset

    value = yaml_subset.parse(text)
    if not isinstance(value, dict) and value is not None:
        raise ValueError("is no mapping")
    return value or {}
