# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules of the kernel: whether they are there, loaded or built in; their parameters; who forbids them; who holds KVM.

Sources: modules.dep(5), modprobe.d(5), modprobe(8), and Documentation/ABI/stable/sysfs-module of the kernel.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node.kvm_checks import DEVICE, MODULE_OF, MODULES, is_x86
from ansible_collections.bulwark.node.plugins.module_utils.node.processes import everyone
from ansible_collections.bulwark.node.plugins.module_utils.node.system import command_line

__all__ = [
    "AVAILABLE",
    "BUILT_IN",
    "LOADED",
    "MISSING",
    "Denial",
    "Holder",
    "base_modules",
    "boolean",
    "boot_parameters",
    "denials",
    "holders",
    "joined",
    "module_name",
    "references",
    "states",
    "unloadable",
]

LOADED, BUILT_IN, AVAILABLE, MISSING = "loaded", "built_in", "available", "missing"
_RELEASE = "/proc/sys/kernel/osrelease"
_DISABLED = "/proc/sys/kernel/modules_disabled"
# What a module registers as a device, where it does: some that are built in have no folder in /sys/module.
_REGISTERS = {"kvm": "kvm", "vhost_net": "vhost-net", "vhost_vsock": "vhost-vsock", "tun": "tun"}
# Commands in the place of a module that never load it.
_NOTHING = ("false", "true", ":", "exit")


@dataclass(frozen=True)
class Denial:
    """A line that keeps a module from being loaded: ``always``, or else at boot alone, when its name is not asked for by modprobe."""

    path: str
    line: str
    always: bool


@dataclass(frozen=True)
class Holder:
    """A process that holds KVM open; with ``guest`` it has a virtual machine."""

    pid: int
    name: str
    guest: bool


def module_name(text: str) -> str:
    """The kernel's spelling: files and users may write a hyphen."""
    return text.replace("-", "_")


def base_modules(machine: str, vendor: str) -> tuple[str, ...]:
    """The modules that make KVM on this CPU, in the order in which they are loaded; kvm alone where its maker is not known."""
    if machine.startswith("ppc64"):
        return ("kvm", "kvm_hv")
    own = MODULE_OF.get(vendor) if is_x86(machine) else None
    return ("kvm", own) if own else ("kvm",)


def states(host: Host, names: Iterable[str]) -> dict[str, str]:
    """What each module is: loaded, built_in, available (on disk, for the running kernel) or missing."""
    release = (host.read(_RELEASE) or "").strip()
    folder = f"/lib/modules/{release}"
    found, rows = {}, host.read("/proc/modules") or ""
    for name in names:
        if host.exists(f"{MODULES}/{name}/initstate") or re.search(rf"^{re.escape(name)} ", rows, re.MULTILINE):
            found[name] = LOADED
        elif host.exists(f"{MODULES}/{name}") or (
            name in _REGISTERS and host.exists(f"/sys/class/misc/{_REGISTERS[name]}")
        ):
            found[name] = BUILT_IN
        else:
            found[name] = ""
    if not all(found.values()) and "/" not in release and release:
        lists = {
            BUILT_IN: host.read(f"{folder}/modules.builtin"),
            AVAILABLE: host.read(f"{folder}/modules.dep", 64 << 20),
        }
        for state, text in lists.items():
            on_disk = set(map(module_name, re.findall(r"^(?:[^:\n]*/)?([^/:\n]+)\.ko\b", text or "", re.MULTILINE)))
            found.update({name: state for name in found if not found[name] and name in on_disk})
    return {name: state or MISSING for name, state in found.items()}


def unloadable(host: Host) -> str | None:
    """Why this kernel loads no module at all; None where it does."""
    if not host.exists("/proc/modules"):
        return "this kernel has no loadable modules: /proc/modules does not exist"
    if host.integer(_DISABLED) == 1:
        return "kernel.modules_disabled is 1, which lasts until the next boot"
    return None


def references(host: Host, name: str) -> int | None:
    """How often a loaded module is in use, by modules and by processes; None where the kernel does not count."""
    return host.integer(f"{MODULES}/{name}/refcnt")


def boolean(text: str | None) -> str | None:
    """A parameter's value as the kernel shows booleans and modprobe.d writes them: ``1``, ``0`` or another text."""
    if text is None:
        return None
    text = text.strip()
    return "1" if text in ("", "Y", "y", "on") else "0" if text in ("N", "n", "off") else text


def joined(text: str) -> list[str]:
    """The lines of a file whose lines go on after a backslash."""
    return text.replace("\\\n", "").split("\n")


def boot_parameters(host: Host) -> Mapping[str, str]:
    """{module.parameter: value} of the kernel's command line, which wins over modprobe.d; the last one counts."""
    found = {}
    for word in command_line(host):
        key, _dummy, value = word.partition("=")
        if "." in key:
            found[module_name(key)] = boolean(value) or ""
    return found


def denials(host: Host, files: Iterable[str], names: Iterable[str]) -> dict[str, Denial]:
    """Who keeps modules from being loaded: lines of modprobe.d, the files given in their order, and the command line."""
    wanted = set(names)
    found: dict[str, Denial] = {}
    for word in command_line(host):
        key, _dummy, value = word.partition("=")
        if key in ("module_blacklist", "modprobe.blacklist"):
            for name in wanted.intersection(map(module_name, value.split(","))):
                found[name] = Denial("/proc/cmdline", word, key == "module_blacklist")
    for path in files:
        for line in joined(host.read(path) or ""):
            words = line.split()
            name = module_name(words[1]) if len(words) > 1 else ""
            if name not in wanted:
                continue
            if words[0] == "blacklist":
                found.setdefault(name, Denial(path, " ".join(words), False))
            elif words[0] == "install" and words[2:] and words[2].rpartition("/")[2] in _NOTHING:
                found[name] = Denial(path, " ".join(words), True)
    return found


def holders(host: Host) -> Iterator[Holder]:
    """The processes that hold KVM open: their descriptors are links to /dev/kvm, and to anon_inode:kvm-vm where they have a guest.

    Those that we may not look into are left out, though we be root: ``references`` counts them.
    """
    for process in everyone(host):
        folder = f"/proc/{process.pid}/fd"
        with contextlib.suppress(HostError):
            links = {host.link_target(f"{folder}/{descriptor}") or "" for descriptor in host.names(folder)}
            guest = any(re.match(r"anon_inode:\[?kvm-(?:vm|vcpu)", link) for link in links)
            if guest or DEVICE in links:
                yield Holder(process.pid, process.name, guest)
