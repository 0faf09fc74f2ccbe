# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which boot loader gives the kernel its arguments, and what they are: configured, running, after the next boot.

What is configured anew by other means than files (an image, a tool of the distribution) is refused, with these means.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ansible_collections.bulwark.node.plugins.module_utils.converge import Undos
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.manifest import Manifest
from ansible_collections.bulwark.node.plugins.module_utils.node import kernel_cmdline
from ansible_collections.bulwark.node.plugins.module_utils.node.kernel_cmdline import Group, Line
from ansible_collections.bulwark.node.plugins.module_utils.node.redact import redacted
from ansible_collections.bulwark.node.plugins.module_utils.node.request import PASSIVE, Request
from ansible_collections.bulwark.node.plugins.module_utils.node.system import container, os_release

__all__ = [
    "GRUB_CFG",
    "GRUB_RECORD",
    "KERNEL_INSTALL_RECORD",
    "RECORDS",
    "Backend",
    "Boot",
    "Detected",
    "Entry",
    "Goal",
    "Source",
    "detect",
    "facts",
    "grub_environment",
    "running",
    "shape",
]

GRUB_CFG = "/boot/grub/grub.cfg"
GRUB_RECORD = "/etc/default/grub.d/99-bulwark-kernel-args.cfg"
KERNEL_INSTALL_RECORD = "/etc/kernel/bulwark-kernel-args"
RECORDS = (GRUB_RECORD, KERNEL_INSTALL_RECORD)
"""Our own files, one for each of the two that read arguments from files."""

_EFIVARS = "/sys/firmware/efi/efivars"
_LOADER_GUID = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
_GLOBAL_GUID = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
_BIN = ("/usr/sbin", "/usr/bin", "/sbin", "/bin")
_ENTRY_FOLDERS = ("/efi", "/boot", "/boot/efi")
# Systems that are an image: os-release(5) ID, and what sets arguments there.
_IMAGES = {
    "talos": "set machine.install.extraKernelArgs in the machine configuration, then run talosctl upgrade",
    "bottlerocket": "run apiclient set boot.kernel-parameters…, or give settings.boot in the user data",
    "flatcar": "set kernelArguments in its Ignition configuration, or linux_append in /usr/share/oem/grub.cfg",
    "nixos": "set boot.kernelParams in its configuration, then run nixos-rebuild boot",
}


# Boot loaders name the kernel and its initial RAM disk; Ubuntu's GRUB says how the screen is handed over.
_ADDED_AT_BOOT = frozenset({"BOOT_IMAGE", "initrd", "vt.handoff"})
# What names a disk, an address or a machine.
_OF_ONE_MACHINE = frozenset(
    {"resume", "resume_offset", "ip", "ifname", "BOOTIF", "systemd.machine_id", "systemd.hostname"}
)
_GRUB_VARIABLES = frozenset({"$vt_handoff"})


@dataclass(frozen=True)
class Source:
    """An argument that a file of somebody else gives. ``later``: it comes after ours."""

    argument: str
    path: str
    line: int
    later: bool = False


@dataclass(frozen=True)
class Entry:
    """One way to boot, with the kernel's arguments. ``managed``: it is made from the configuration that we write.

    ``prefix`` and ``suffix`` are what of ``line`` the boot loader's own scripts put around the configured arguments,
    ``overhead`` the bytes that the boot loader itself adds at boot. ``init`` is ``--`` and what follows it, which is for init and
    not in ``line``. ``first``: its text before us, None where that is not known.
    """

    name: str
    path: str
    line: Line
    managed: bool
    version: str = ""
    prefix: Line = ()
    suffix: Line = ()
    overhead: int = 0
    init: Line = ()
    first: str | None = None


@dataclass(frozen=True)
class Boot:
    """What one boot loader is configured to do.

    ``record`` is our own file, which holds what we add (``ours``) and took away (``taken``); ``edited`` is the file of others
    of which we change a part, None where there is none. ``texts`` has the text of both. ``configured`` is what the files come
    to, None where ``configured_reason`` says why, ``place`` where in it ours begin. ``default`` is the index of the entry that is booted next.
    """

    record: str
    edited: str | None
    texts: Mapping[str, str | None]
    ours: Line
    taken: Line
    configured: Line | None
    configured_reason: str | None
    sources: tuple[Source, ...]
    place: int
    entries: tuple[Entry, ...]
    default: int | None
    default_reason: str | None
    made: str
    """The file or folder that the boot loader reads, and that is made anew."""
    init: Line = ()
    """What of the edited line is for init: ``--`` and what follows it."""
    fresh: bool = False
    """Whether nothing of ours was there when the run began."""


@dataclass(frozen=True)
class Goal:
    """What shall be: our arguments, what we took away, and of a line that we edit the whole of it.

    ``wanted`` and ``gone`` are the groups that were asked for; without both all that we did goes back.
    """

    ours: Line = ()
    taken: Line = ()
    line: Line | None = None
    wanted: tuple[Group, ...] = ()
    gone: tuple[Group, ...] = ()


class Backend(Protocol):
    """One boot loader and what makes its entries."""

    maker: str
    """The command that makes the entries anew, for people."""

    def observe(self, host: Host) -> Boot:
        """The configuration and the entries; nothing is forked."""

    def record(self, goal: Goal) -> str:
        """The text of our own file."""

    def predict(self, boot: Boot, goal: Goal) -> Boot:
        """The same after the goal is reached: pure, ``texts`` left as they are."""

    def make(self, host: Host, manifest: Manifest, boot: Boot, goal: Goal, undos: Undos) -> None:
        """Make the entries anew from the configuration. Raises HostError."""


@dataclass(frozen=True)
class Detected:
    """Which boot loader is used and why; without a backend ``reason`` says why none can be served."""

    name: str | None
    reason: str
    backend: Backend | None = None


def facts(host: Host, request: Request = PASSIVE) -> dict[str, Any]:
    """The subset ``kernel_args``."""
    verdict = detect(host)
    boot = verdict.backend.observe(host) if verdict.backend else None
    return {**shape(verdict, boot, running(host)), "entry_days": _entry_days(host, boot)}


def _entry_days(host: Host, boot: Boot | None) -> int | None:
    """For how many whole days the entry that is booted next has been as it is; None where that is not known."""
    if boot is None or boot.default is None:
        return None
    return host.days_unchanged(re.sub(r":[0-9]+$", "", boot.entries[boot.default].path))


def shape(verdict: Detected, boot: Boot | None, now: Line) -> dict[str, Any]:
    """The facts of what was observed, without secrets."""
    configured = boot.configured if boot else None
    upcoming = boot.entries[boot.default].line if boot and boot.default is not None else None
    unserved = "no boot loader that can be read: see reason"
    return {
        "boot_loader": verdict.name,
        "reason": verdict.reason,
        "running": redacted(list(now)),
        "shared": redacted([each for each in _settings(now) if kernel_cmdline.key(each) not in _OF_ONE_MACHINE]),
        "configured": None if configured is None else redacted(list(configured)),
        "configured_reason": boot.configured_reason if boot else unserved,
        "next_boot": None if upcoming is None else redacted(list(upcoming)),
        "next_boot_reason": boot.default_reason if boot else unserved,
        **_compared(now, configured, upcoming),
    }


def _compared(now: Line, configured: Line | None, upcoming: Line | None) -> dict[str, list[str] | None]:
    """What the next boot loses and adds, and what is configured and yet in none of its arguments; None where that is not known."""
    # GRUB puts a variable's value there; which one only a boot tells.
    plain = None if upcoming is None else tuple(each for each in upcoming if "$" not in each)
    told = upcoming is not None and plain is not None and {*upcoming} - {*plain} <= _GRUB_VARIABLES
    if upcoming is None or plain is None:
        return {"lost_at_boot": None, "new_at_boot": None, "not_made": None}
    here, then = _settings(now), _settings(plain)
    return {
        "lost_at_boot": redacted(list(_beyond(here, then))) if told else None,
        "new_at_boot": redacted(list(_beyond(then, here))),
        "not_made": None if configured is None else redacted(list(_beyond(configured, upcoming))),
    }


def _settings(line: Line) -> Line:
    """What of a line sets something: not what the boot loader puts there, nor what finds the root file system."""
    names = [(argument, kernel_cmdline.key(argument)) for argument in line]
    return tuple(
        each for each, name in names if name not in _ADDED_AT_BOOT and not kernel_cmdline.ROOTS.fullmatch(name)
    )


def _beyond(line: Line, other: Line) -> Line:
    """What a line has that another one has not, or not as often."""
    left, found = Counter(other), []
    for argument in line:
        if left[argument] > 0:
            left[argument] -= 1
        else:
            found.append(argument)
    return tuple(found)


def running(host: Host) -> Line:
    """The arguments that the kernel was booted with, those for init left out."""
    return kernel_cmdline.running(kernel_cmdline.split(host.read("/proc/cmdline") or ""))


def program(host: Host, name: str) -> str | None:
    """The path of a program of the machine, None where it has none of that name."""
    return next((f"{folder}/{name}" for folder in _BIN if host.is_file(f"{folder}/{name}")), None)


def grub_environment(host: Host, path: str) -> dict[str, str]:
    """GRUB's environment block, such as ``saved_entry``; empty where there is none."""
    return dict(re.findall(r"^(\w+)=(.*)$", host.read(path) or "", re.MULTILINE))


def detect(host: Host) -> Detected:
    """Which boot loader gives the kernel its arguments here."""
    refused = _not_by_files(host)
    if refused:
        return refused
    loader = _efi_text(host, "LoaderInfo")
    entries = next((folder for folder in _ENTRY_FOLDERS if _has_entries(host, folder)), None)
    if entries and program(host, "grubby"):
        from ansible_collections.bulwark.node.plugins.module_utils.node.boot_entries import Grubby

        return Detected("grubby", f"{entries}/loader/entries has entries, and there is grubby", Grubby(entries))
    by_grub = host.is_file(GRUB_CFG) and not loader.startswith("systemd-boot")
    if by_grub and entries and not any(a.startswith("BOOT_IMAGE=") for a in running(host)):
        return Detected(
            None,
            f"both {GRUB_CFG} and {entries}/loader/entries are there, and nothing tells which of them was booted from; "
            "remove the one that is not used",
        )
    if by_grub:
        return _grub(host)
    if entries and program(host, "kernel-install"):
        from ansible_collections.bulwark.node.plugins.module_utils.node.boot_entries import KernelInstall

        because = f", and {loader} booted the machine" if loader else ""
        return Detected(
            "kernel_install",
            f"{entries}/loader/entries has entries that kernel-install makes{because}",
            KernelInstall(entries),
        )
    if entries:
        return Detected(None, f"{entries}/loader/entries has entries, and there is neither kernel-install nor grubby")
    if host.is_file("/boot/grub2/grub.cfg"):
        return Detected(
            None,
            "/boot/grub2/grub.cfg is there without grubby and entries; put the arguments into GRUB_CMDLINE_LINUX of "
            "/etc/default/grub, then run grub2-mkconfig -o /boot/grub2/grub.cfg",
        )
    return Detected(
        None,
        f"there is neither {GRUB_CFG} nor a folder loader/entries below {', '.join(_ENTRY_FOLDERS)}: what boots this "
        "kernel (a hypervisor, firmware, the network) has its arguments; set them there",
    )


def _grub(host: Host) -> Detected:
    maker = program(host, "grub-mkconfig")
    if program(host, "update-grub") is None or maker is None:
        return Detected(None, f"{GRUB_CFG} is there and update-grub is not; install grub2-common")
    if "default/grub.d" not in (host.read(maker) or ""):
        return Detected(
            None,
            f"{maker} of this distribution reads no /etc/default/grub.d; put the arguments into "
            "GRUB_CMDLINE_LINUX_DEFAULT of /etc/default/grub, then run grub-mkconfig -o " + GRUB_CFG,
        )
    from ansible_collections.bulwark.node.plugins.module_utils.node.boot_grub import Grub

    return Detected(
        "grub", f"{GRUB_CFG} is there, update-grub makes it, and grub-mkconfig reads /etc/default/grub.d", Grub()
    )


def _not_by_files(host: Host) -> Detected | None:
    """Where arguments are set by other means, with these."""
    kind = container(host)
    if kind != "none":
        return Detected(None, f"this is a container ({kind}), which has no kernel of its own; set them on its host")
    system = os_release(host).get("ID", "")
    if system in _IMAGES:
        return Detected(None, f"{system} has its arguments in an image: {_IMAGES[system]}")
    if host.exists("/run/ostree-booted"):
        if program(host, "rpm-ostree"):
            return Detected(
                None,
                "rpm-ostree manages the boot loader: run rpm-ostree kargs --append-if-missing=… or --delete-if-present=…",
            )
        if program(host, "bootc"):
            return Detected(
                None,
                "bootc manages the boot loader: list them in /usr/lib/bootc/kargs.d/*.toml of the image, then run bootc upgrade",
            )
        return Detected(None, "ostree manages the boot loader: run ostree admin kargs edit-in-place")
    if _efi(host, "StubInfo", _LOADER_GUID) is not None:
        sealed = (_efi(host, "SecureBoot", _GLOBAL_GUID) or b"\0")[-1:] == b"\1"
        return Detected(
            None,
            "the machine was booted from a unified kernel image under Secure Boot, whose signature seals the arguments: "
            "build and sign the image with others"
            if sealed
            else "the machine was booted from a unified kernel image, which holds the arguments itself: change /etc/kernel/cmdline, then "
            "build the image anew (kernel-install add, ukify, dracut --uefi)",
        )
    return None


def _has_entries(host: Host, folder: str) -> bool:
    return any(name.endswith(".conf") for name in host.names(f"{folder}/loader/entries"))


def _efi(host: Host, name: str, guid: str) -> bytes | None:
    """An EFI variable without the four bytes of its attributes."""
    content = host.read_bytes(f"{_EFIVARS}/{name}-{guid}", 4096)
    return None if content is None else content[4:]


def _efi_text(host: Host, name: str) -> str:
    text = (_efi(host, name, _LOADER_GUID) or b"").decode("utf-16-le", "replace")
    return re.sub(r"[^ -~]", "", text)
