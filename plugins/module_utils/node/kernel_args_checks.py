# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What kernel_args refuses before the first write: owners of arguments, a boot folder that takes none, a line too long."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

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
from ansible_collections.bulwark.node.plugins.module_utils.node.kernel_cmdline import Group, Line, key
from ansible_collections.bulwark.node.plugins.module_utils.node.mounts import mounts
from ansible_collections.bulwark.node.plugins.module_utils.units import format_size

__all__ = ["check_length", "check_memory", "check_target", "refuse_lines", "refuse_owners", "refuse_spaces"]

# COMMAND_LINE_SIZE of each architecture, with the NUL at its end; 2048 where it is not named.
_LINE_SIZES = {"armv7l": 1024, "riscv64": 1024, "s390x": 4096, "loongarch64": 4096}
# What a boot loader's tools write beside the old file before they replace it, and what an entry takes.
_ROOM, _ENTRY_ROOM = 1 << 20, 1 << 14
_POOLS = ("hugepages", *kernel_cmdline.SIZES)
# Where the root file system is on the network, which ip= sets up.
_NETROOT = ("nfsroot", "netroot", "nbdroot", "iscsi_initiator", "rd.iscsi.initiator")


def refuse_spaces(desired: Desired) -> None:
    """grubby is a shell script that parts arguments at spaces, in quotes or not."""
    for index, group in enumerate(desired.groups):
        if any(" " in argument for argument in group):
            raise OptionError(
                f"arguments[{index}]",
                safe(group),
                "an argument without spaces: grubby, which edits the entries, parts it there",
            )


def refuse_lines(host: Host, state: State) -> None:
    """Raise where there is no line to start from, and where a tool would add arguments after ``--``, which are for init."""
    boot = state.boot
    if boot and boot.edited and boot.configured is None:
        raise BulwarkError(f"{boot.configured_reason}: write the line that new kernels are to get into {boot.edited}")
    for entry in boot.entries if boot and state.verdict.name == "grubby" else ():
        for number, line in enumerate((host.read(entry.path) or "").split("\n"), 1):
            if line.startswith("options") and "--" in line.split():
                raise OwnerError(
                    f"{entry.path}:{number} has --, after which arguments are for init, and grubby would add ours there. "
                    "Take it and what follows it out of the line"
                )


def refuse_owners(state: State, after: Boot) -> None:
    """Raise OwnerError where somebody else's argument counts instead of ours, or stays."""
    wanted, boot = state.wanted, state.boot
    if wanted.everything or boot is None:
        return
    others = (*boot.sources, *state.tuned)
    _refuse_addresses(state)
    _refuse_dashes(boot, after)
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


def _refuse_addresses(state: State) -> None:
    """Raise OptionError for ip= where the root file system is on the network."""
    is_net = any(key(argument) in _NETROOT or argument == "root=/dev/nfs" for argument in state.running)
    for index, group in enumerate(state.wanted.groups):
        if is_net and any(key(argument) == "ip" for argument in group):
            expected = "no ip: the machine finds its root file system on the network by it. Change it by hand, with another entry to boot from"
            raise OptionError(f"arguments[{index}]", safe(group), expected)


def _refuse_dashes(boot: Boot, after: Boot) -> None:
    """Raise OwnerError where a file of others ends the kernel's arguments before ours, which would go to init."""
    for source in boot.sources[: max(0, boot.place)] if boot.edited is None and after.ours else ():
        if source.argument == "--":
            raise OwnerError(
                f"{source.path}:{source.line} gives --, and what follows it, as ours would, is for init and not for the kernel. "
                "Move it to a file whose name sorts after, or remove it"
            )


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


def check_memory(host: Host, state: State, after: Boot) -> None:
    """The pages of all sizes on the next line leave each NUMA node what it needs; what is configured or runs is not refused."""
    wanted, boot = state.wanted, state.boot
    asked = [group for group in wanted.groups if any(key(argument) in _POOLS for argument in group)]
    if not (wanted.present and asked and boot):
        return
    from ansible_collections.bulwark.node.plugins.module_utils.node import hugepages_persist, hugetlb, memory_guard

    kernel = hugetlb.observe(host)
    nodes = tuple(hugetlb.NodePool(memory.node, 0, 0, 0) for memory in kernel.memory)

    def pools(line: Line) -> hugetlb.Pools:
        # A size that this kernel lacks counts as well: the next one may have it.
        sizes = {kernel_cmdline.size_of(a) for a in line if key(a) in kernel_cmdline.SIZES} - {
            p.size for p in kernel.pools
        }
        empty = tuple(hugetlb.Pool(size, 0, 0, 0, 0, 0, nodes) for size in sizes if isinstance(size, int))
        every = (*(replace(pool, nodes=pool.nodes or nodes) for pool in kernel.pools), *empty)
        arguments = hugetlb.boot_args(line, kernel.default_size, [pool.size for pool in every])
        return hugepages_persist.at_boot(replace(kernel, pools=every, boot_args=arguments), (), {})

    kept = (
        memory_guard.reserve(host, sum(node.total for node in kernel.memory))
        if wanted.memory_reserve is None
        else memory_guard.Reserve(wanted.memory_reserve, "memory_reserve")
    )
    before = [kernel, *map(pools, (state.running, boot.configured or (), *(e.line for e in boot.entries if e.managed)))]
    for line in {entry.line for entry in after.entries if entry.managed}:
        excess = memory_guard.excess(before, pools(line), kept)
        if excess:
            raise BulwarkError(
                f"arguments: asked for {', '.join(map(safe, asked))}: at the next boot, with all hugepages of its line, {excess.sum}. "
                "Ask for fewer pages, or set memory_reserve"
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


def check_target(host: Host, state: State) -> None:
    """The folder of the boot loader is the one that boots, and takes a file."""
    boot = state.boot
    if boot is None:
        return
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
    ours = state.verdict.name == "kernel_install"
    for entry in boot.entries if ours else ():
        if entry.managed:
            host.destination(entry.path)
    status = host.statvfs(folder)
    if status is not None and status.f_flag & os.ST_RDONLY:
        raise HostError(
            boot.made, "lies on a file system that is mounted read-only (EROFS); mount it writable", "EROFS"
        )
    room = _ENTRY_ROOM if ours else _ROOM
    if status is not None and status.f_bavail * status.f_frsize < room:
        free = format_size(status.f_bavail * status.f_frsize)
        raise HostError(
            folder,
            f"has {free} bytes left (ENOSPC), and its files are written anew; free {format_size(room)}",
            "ENOSPC",
        )
