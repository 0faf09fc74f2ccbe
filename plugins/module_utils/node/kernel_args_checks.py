# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What kernel_args refuses before the first write: owners of arguments, a boot folder that takes none, a line too long."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ansible_collections.bulwark.node.plugins.module_utils.errors import (
    BulwarkError,
    HostError,
    OptionError,
    OwnerError,
)
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import kernel_cmdline
from ansible_collections.bulwark.node.plugins.module_utils.node.boot_loader import Boot, Source
from ansible_collections.bulwark.node.plugins.module_utils.node.kernel_args_options import Desired
from ansible_collections.bulwark.node.plugins.module_utils.node.kernel_args_state import State, maker, safe
from ansible_collections.bulwark.node.plugins.module_utils.node.kernel_cmdline import Group, key
from ansible_collections.bulwark.node.plugins.module_utils.node.mounts import mounts
from ansible_collections.bulwark.node.plugins.module_utils.units import format_size

__all__ = ["check_length", "check_target", "refuse_owners", "refuse_spaces"]

# COMMAND_LINE_SIZE of each architecture, with the NUL at its end; 2048 where it is not named.
_LINE_SIZES = {"armv7l": 1024, "riscv64": 1024, "s390x": 4096, "loongarch64": 4096}
# What a boot loader's tools write beside the old file before they replace it.
_ROOM = 1 << 20


def refuse_spaces(desired: Desired) -> None:
    """grubby is a shell script that parts arguments at spaces, in quotes or not."""
    for index, group in enumerate(desired.groups):
        if any(" " in argument for argument in group):
            value = kernel_cmdline.join(group)
            raise OptionError(
                f"arguments[{index}]",
                value,
                "an argument without spaces: grubby, which edits the entries, parts it there",
            )


def refuse_owners(state: State, after: Boot) -> None:
    """Raise OwnerError where somebody else's argument counts instead of ours, or stays."""
    wanted, boot = state.wanted, state.boot
    if wanted.everything or boot is None:
        return
    others = (*boot.sources, *state.tuned)
    dropped = next((source for source in others if not source.argument), None)
    if dropped and after.ours and wanted.present:
        raise OwnerError(
            f"{dropped.path}:{dropped.line} sets the arguments without those from before, and so drops ours in {boot.record}. "
            "Let it append, or give it a name that sorts before"
        )
    line = (*(after.ours if after.configured is None else after.configured), *(s.argument for s in state.tuned))
    for group in wanted.groups:
        if wanted.present and kernel_cmdline.missing(line, [group]):
            raise _owner(state, group, others, f"counts instead of {safe(group)}. Change it there")
        left = any(entry.managed and kernel_cmdline.found(entry.line, group) for entry in after.entries)
        if not wanted.present and (left or kernel_cmdline.found(line, group)):
            raise _owner(state, group, others, "is not ours to take away. Remove it there")


def _owner(state: State, group: Group, others: Sequence[Source], what: str) -> OwnerError:
    """The error that names the file with the argument that stands in a group's way."""
    for source in others:
        for part in group if source.argument else ():
            sized = key(part) == "hugepagesz" and "=" in part
            same = not sized or kernel_cmdline.size_of(part) == kernel_cmdline.size_of(source.argument)
            if key(part) == key(source.argument) and key(part) != "hugepages" and same:
                # tuned has no lines, and is asked for by its profile.
                place, then = (
                    (f"{source.path}:{source.line}", f", then run {maker(state)}") if source.line else (source.path, "")
                )
                return OwnerError(f"{place} gives {safe((source.argument,))}, which {what}{then}")
    return OwnerError(
        f"{safe(group)}: another argument, which no file sets that can be read here, {what}: a script of /etc/grub.d, say"
    )


def check_length(after: Boot) -> None:
    """The kernel takes a line of COMMAND_LINE_SIZE bytes, and cuts off the rest without a word."""
    size = _LINE_SIZES.get(os.uname().machine, 2048)
    for entry in after.entries:
        length = entry.overhead + len(kernel_cmdline.join(entry.line).encode("utf-8", "surrogateescape"))
        if entry.managed and length >= size:
            raise BulwarkError(
                f"arguments: the line of {entry.name} would have {length} bytes, and this kernel takes {size - 1}; name fewer"
            )


def check_target(host: Host, boot: Boot) -> None:
    """The folder of the boot loader is the one that boots, and takes a file."""
    folder = boot.made.rpartition("/")[0]
    mounted = {mount.path for mount in mounts(host)}
    for line in (host.read("/etc/fstab") or "").split("\n"):
        fields = line.split()
        point = fields[1].rstrip("/") if len(fields) > 1 and not fields[0].startswith("#") else ""
        if point not in ("", "none", "swap") and f"{folder}/".startswith(f"{point}/") and point not in mounted:
            raise HostError(
                point,
                f"is in /etc/fstab and is not mounted, so that {boot.made} is not the one that boots; mount it",
            )
    status = host.statvfs(folder)
    if status is not None and status.f_flag & os.ST_RDONLY:
        raise HostError(
            boot.made, "lies on a file system that is mounted read-only (EROFS); mount it writable", "EROFS"
        )
    if status is not None and status.f_bavail * status.f_frsize < _ROOM:
        free = format_size(status.f_bavail * status.f_frsize)
        raise HostError(
            folder,
            f"has {free} bytes left (ENOSPC), and its files are written anew; free {format_size(_ROOM)}",
            "ENOSPC",
        )
