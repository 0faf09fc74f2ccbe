# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's command line as what it is: an ordered list of arguments, of which some belong together.

A *line* is a tuple of arguments without their quotes, a *group* one of arguments that stand one after the other. Names
are compared as the kernel does: ``-`` and ``_`` are the same (kernel/params.c).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from ansible_collections.bulwark.node.plugins.module_utils.units import parse_size

__all__ = [
    "ROOTS",
    "SIZES",
    "Group",
    "Line",
    "absent",
    "adds_up",
    "found",
    "is_single",
    "join",
    "key",
    "lacking",
    "missing",
    "present",
    "returned",
    "running",
    "size_of",
    "split",
]

Line = tuple[str, ...]
Group = tuple[str, ...]

SIZES = ("hugepagesz", "default_hugepagesz")
"""Of these the first one counts, and the ``hugepages`` after it is theirs (mm/hugetlb.c)."""

ROOTS = re.compile(
    r"(?:root|rootflags|rootfstype|roothash|usrhash|init|rdinit|ostree|crypt(?:device|opts|root)|(?:nfs|net|nbd)root|luks"
    r"|zfs|bootfs|(?:luks|mount|rd\.(?:dm|iscsi|luks|lvm|md)|systemd\.verity)(?:[._].*)?|iscsi.*)"
)
"""The names, as of ``key``, of what finds the root file system, and of what is run from it."""

_REPEATABLE = frozenset(
    {
        *("acpi_osi", "amd_iommu", "bond", "bridge", "cgroup_disable", "cgroup_enable", "cgroup_no_v1", "console"),
        *("crashkernel", "dyndbg", "earlycon", "efi", "hugepages", "hugepagesz", "ifname", "initcall_blacklist"),
        *(
            "intel_iommu",
            "intel_pstate",
            "iommu",
            "ip",
            "memmap",
            "modprobe.blacklist",
            "module_blacklist",
            "nameserver",
        ),
        *("netconsole", "pci", "systemd.mask", "systemd.mount_extra", "systemd.set_credential", "systemd.setenv"),
        *("systemd.swap_extra", "systemd.wants", "team", "trace_event", "tsc", "video", "vlan"),
    }
)
"""Parameters that are known to add up, as those of dracut (``rd.``) do: two values of one are nothing to warn of."""

_SINGLE = frozenset(
    {
        # What runs where, and how it sleeps.
        *(
            "amd_pstate",
            "clocksource",
            "elevator",
            "hpet",
            "idle",
            "irqaffinity",
            "isolcpus",
            "kthread_cpus",
            "maxcpus",
        ),
        *("nohz", "nohz_full", "nosmt", "nr_cpus", "numa_balancing", "pcie_aspm", "preempt", "psi", "rcu_nocb_poll"),
        *("rcu_nocbs", "skew_tick"),
        # Memory.
        *("default_hugepagesz", "hugetlb_cma", "hugetlb_free_vmemmap", "init_on_alloc", "init_on_free", "page_poison"),
        *("slab_nomerge", "swapaccount", "transparent_hugepage"),
        # What goes wrong, and what is said.
        *(
            "consoleblank",
            "debug",
            "log_buf_len",
            "loglevel",
            "nmi_watchdog",
            "nosoftlockup",
            "nowatchdog",
            "oops",
            "panic",
        ),
        *("panic_on_warn", "quiet", "softlockup_panic", "vga", "watchdog"),
        # Security.
        *(
            "apparmor",
            "audit",
            "audit_backlog_limit",
            "enforcing",
            "gather_data_sampling",
            "kpti",
            "l1tf",
            "lockdown",
            "lsm",
        ),
        *("mds", "mitigations", "mmio_stale_data", "nokaslr", "nopti", "pti", "retbleed", "security", "selinux"),
        *("spec_rstack_overflow", "spec_store_bypass_disable", "spectre_v2", "split_lock_detect", "srbds", "tsx"),
        *("tsx_async_abort", "vsyscall"),
        # Userspace.
        *("biosdevname", "net.ifnames", "resume", "resume_offset", "rootdelay", "systemd.show_status"),
        *("systemd.unified_cgroup_hierarchy", "systemd.unit"),
    }
)
# Whose parameters are numbers, switches or one text: module_param() sets the same variable again.
_MODULES = frozenset(
    {
        *("cpufreq", "cpuidle", "intel_idle", "iommu", "ipv6", "kvm", "kvm_amd", "kvm_intel", "nf_conntrack", "nvme"),
        *(
            "nvme_core",
            "printk",
            "processor",
            "random",
            "rcupdate",
            "rcutree",
            "usbcore",
            "vfio_iommu_type1",
            "vfio_pci",
        ),
        *("workqueue", "zswap"),
    }
)

_WORD = re.compile(r"""(?:[^\s"'\\]|\\.|\\$|"(?:[^"\\]|\\.)*(?:"|$)|'[^']*(?:'|$))+""")
_QUOTES = re.compile(r"""\\(.)|["']""")
_KERNEL_WORD = re.compile(r'(?:[^\s"]|"[^"]*(?:"|$))+')


def split(text: str, kernel: bool = True) -> Line:
    """The arguments of a text as the kernel parts them; else as GRUB's scripts do, with backslashes and both quotes."""
    if kernel:
        return tuple(word.replace('"', "") for word in _KERNEL_WORD.findall(text))
    return tuple(_QUOTES.sub(r"\1", word) for word in _WORD.findall(text))


def join(line: Iterable[str]) -> str:
    """The text of a line, with quotes where an argument holds spaces."""
    return " ".join(map(_quoted, line))


def _quoted(argument: str) -> str:
    if not re.search(r"[\s#&;<>{|}]", argument):
        return argument
    name, equals, value = argument.partition("=")
    return f'{name}="{value}"' if equals and not re.search(r"\s", name) else f'"{argument}"'


def running(line: Line) -> Line:
    """What is for the kernel: an argument ``--`` and what follows it are for init."""
    return line[: line.index("--")] if "--" in line else line


def key(argument: str) -> str:
    """The name of an argument, as names are compared."""
    return argument.partition("=")[0].replace("-", "_")


def is_single(name: str) -> bool:
    """Whether a name, as of ``key``, is known to have one value, of which the last counts. No other is ever replaced."""
    module, dot, parameter = name.partition(".")
    return name in _SINGLE or bool(dot and module in _MODULES and parameter != "dyndbg")


def adds_up(name: str) -> bool:
    """Whether a name, as of ``key``, is known to be given more than once."""
    return name in _REPEATABLE or name.startswith("rd.")


def missing(line: Line, groups: Sequence[Group]) -> list[Group]:
    """The groups that are not in place in a line.

    One is in place where its arguments stand in the line one after the other, and no other argument takes that away:
    a later one of the same name, where that is known to have one value, or an earlier one of the same size of hugepages.
    Of groups that share another name the later stands after the earlier.
    """
    line = running(line)
    ends: dict[str, int] = {}
    lacking = []
    for group in groups:
        names = {key(argument) for argument in group if _orders(argument)}
        floor = max((ends.get(name, 0) for name in names), default=0)
        start = next((i for i in _runs(line, group) if i >= floor and not _is_overruled(line, i, group)), None)
        if start is None:
            lacking.append(group)
        else:
            ends.update(dict.fromkeys(names, start + len(group)))
    return lacking


def lacking(line: Line, groups: Sequence[Group]) -> list[Group]:
    """The groups that are missing, and those whose order with them counts."""
    gone = missing(line, groups)
    names = {key(argument) for group in gone for argument in group if _orders(argument)}
    return [group for group in groups if group in gone or any(key(a) in names for a in group)]


def present(line: Line, groups: Sequence[Group]) -> Line:
    """The line with the groups in place: what is not goes to its end (before what is for init), and what it replaces goes."""
    moving = lacking(line, groups)
    ours, others = running(line), line[len(running(line)) :]
    gone = {index for group in moving for index in _rivals(ours, group)}
    return (*_without(ours, gone), *(argument for group in moving for argument in group), *others)


def returned(line: Line, added: Line, taken: Line) -> Line:
    """The line without what was added to it, the last one of each, and with what was taken from it."""
    left = list(reversed(running(line)))
    for argument in added:
        if argument in left:
            left.remove(argument)
    others = line[len(running(line)) :]
    return (*reversed(left), *(argument for argument in taken if argument not in left), *others)


def absent(line: Line, groups: Sequence[Group]) -> Line:
    """The line without what the groups name."""
    return _without(line, {index for group in groups for index in found(line, group)})


def found(line: Line, group: Group) -> list[int]:
    """Where in the line that stands which a group names when it is to be absent.

    What is for init is not looked at. A name alone means it with any value, a size of hugepages alone also the numbers that
    follow it; else the arguments one after the other.
    """
    line = running(line)
    if len(group) == 1:
        name, equals = group[0].partition("=")[:2]
        if key(name) in SIZES:
            return [i for head, indices in _segments(line) if _same(head, group[0], bool(equals)) for i in indices]
        if not equals:
            return [i for i, argument in enumerate(line) if key(argument) == key(name)]
    return [start + offset for start in _runs(line, group) for offset in range(len(group))]


def _rivals(line: Line, group: Group) -> Iterator[int]:
    """What a group replaces, itself included."""
    for start in _runs(line, group):
        yield from range(start, start + len(group))
    for argument in group:
        if key(argument) in SIZES:
            exact = key(argument) == "hugepagesz"
            yield from (i for head, indices in _segments(line) if _same(head, argument, exact) for i in indices)
        elif is_single(key(argument)):
            yield from (i for i, other in enumerate(line) if key(other) == key(argument))


def _is_overruled(line: Line, start: int, group: Group) -> bool:
    end = start + len(group)
    for argument in group:
        name = key(argument)
        if name in SIZES:
            exact = name == "hugepagesz"
            if any(_same(other, argument, exact) for other in line[:start]):
                return True
        elif is_single(name) and any(key(other) == name and other != argument for other in line[end:]):
            return True
    return False


def _same(one: str, other: str, with_value: bool) -> bool:
    """Whether two arguments that may name a size of hugepages do, and the same one."""
    return key(one) == key(other) and (not with_value or size_of(one) == size_of(other))


def size_of(argument: str) -> int | str:
    """Bytes of the size that an argument names, or its text where that is none."""
    value = argument.partition("=")[2]
    try:
        return parse_size(value)
    except ValueError:
        return value


def _segments(line: Line) -> list[tuple[str, list[int]]]:
    """Each size of hugepages in a line, with its own place and those of the numbers that are its."""
    segments: list[tuple[str, list[int]]] = []
    for index, argument in enumerate(line):
        if key(argument) in SIZES:
            segments.append((argument, [index]))
        elif key(argument) == "hugepages" and segments:
            segments[-1][1].append(index)
    return segments


def _runs(line: Line, group: Group) -> Iterator[int]:
    """Where in the line the arguments of a group stand one after the other."""
    names = [(key(argument), argument.partition("=")[1:]) for argument in line]
    wanted = [(key(argument), argument.partition("=")[1:]) for argument in group]
    return (start for start in range(len(line) - len(group) + 1) if names[start : start + len(group)] == wanted)


def _orders(argument: str) -> bool:
    name = key(argument)
    return not is_single(name) and name not in ("hugepages", *SIZES)


def _without(line: Line, indices: Iterable[int]) -> Line:
    gone = set(indices)
    return tuple(argument for index, argument in enumerate(line) if index not in gone)
