# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The computer that QEMU emulates: in software alone, so that it is the same wherever the tests run."""

from __future__ import annotations

__all__ = ["QEMU", "emulator"]

QEMU = "qemu-system-x86_64"

# Of two NUMA nodes. With the processor's features come pages of 1 GiB, and AMD's virtualization for guests of its own.
_MEMORY = 2048
_NODES = 2


def emulator() -> list[str]:
    """The command of a computer without disk and network."""
    nodes = [
        option
        for node in range(_NODES)
        for option in (
            *("-object", f"memory-backend-ram,id=memory{node},size={_MEMORY}M"),
            *("-numa", f"node,nodeid={node},cpus={node},memdev=memory{node}"),
        )
    ]
    return [
        *(QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35", "-accel", "tcg,thread=multi"),
        *("-cpu", "max", "-smp", f"{_NODES},sockets={_NODES}", "-m", f"{_NODES * _MEMORY}M", *nodes),
    ]
