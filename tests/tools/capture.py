# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Capture what the subsets of node_facts read on this machine, as a tree for the unit tests.

usage: .venv/bin/python tests/tools/capture.py ABOUT > tests/unit/trees/NAME.yml        as root; ABOUT says which machine it is

What could name the machine, or is a secret, does not leave it: the kernel command line, the boot id, the name and the
cgroup of PID 1 are replaced by plain ones, and of /proc/mounts only kernel file systems are kept. Of /proc/vmstat and
/proc/stat only the lines that are read are kept, and no comments. The newline at the end of a file is left out.
Processes and boot loaders (whose files hold command lines) are not captured: add them by hand. Read the result before you commit it.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

FILES = (
    "/etc/os-release",
    "/etc/tuned/active_profile",
    "/proc/buddyinfo",
    "/proc/cgroups",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/mounts",
    "/proc/stat",
    "/proc/sys/fs/nr_open",
    "/proc/sys/kernel/osrelease",
    "/proc/sys/kernel/sched_rt_runtime_us",
    "/proc/uptime",
    "/proc/vmstat",
    "/run/systemd/container",
    "/sys/class/misc/kvm/dev",
    "/sys/devices/system/cpu/cpu0/microcode/version",
    "/sys/fs/cgroup/cgroup.controllers",
    "/sys/fs/cgroup/cgroup.subtree_control",
    "/sys/fs/cgroup/unified/cgroup.controllers",
)
# As of the shell: they lead through symlinks.
GLOBS = (
    "/sys/bus/pci/devices/*/numa_node",
    "/sys/bus/pci/devices/*/sriov_*vfs",
    "/sys/bus/pci/devices/*/uevent",
)
# Of these only that they are there.
PRESENT = (
    "/dev/kvm",
    "/dev/net/tun",
    "/dev/sev",
    "/dev/vfio/vfio",
    "/dev/vhost-net",
    "/dev/vhost-vsock",
    "/sys/firmware/acpi/tables/*[A-Z]",
)
# Folder and pattern of the files below it, relative to it.
PATTERNS = (
    ("/etc/sysctl.d", r".*\.conf"),
    ("/etc/tmpfiles.d", r".*\.conf"),
    ("/sys/devices/system/node", r"node[0-9]+/(meminfo|hugepages/hugepages-[0-9]+kB/\w+_hugepages)"),
    ("/sys/fs/cgroup", r"(hugetlb/)?kubepods(\.slice)?/([^/]+/)?hugetlb\..*(limit_in_bytes|max)"),
    ("/sys/kernel/mm/hugepages", r"hugepages-[0-9]+kB/(nr|free|resv|surplus|nr_overcommit)_hugepages"),
    ("/sys/module", r"(kvm|kvm_\w+)/parameters/(nested|sev|sev_es|sev_snp|tdx)"),
    ("/sys/kernel/mm/transparent_hugepage", r"\w+|khugepaged/\w+|hugepages-[0-9]+kB/\w+"),
)
LINKS = (
    "/proc/1/root",
    "/proc/self/ns/pid",
    "/sys/bus/pci/devices/*/iommu_group",
    "/sys/bus/pci/devices/*/physfn",
    "/sys/bus/pci/devices/*/virtfn*",
)
FOLDERS = (
    "/dev",
    "/etc/tmpfiles.d",
    "/run",
    "/run/systemd/system",
    "/sys/class/msr",
    "/sys/kernel/iommu_groups/*",
    "/sys/module/kvm*",
)
# What a module would write to, which is no file of its own.
WRITABLE = {"/proc/sys/vm/compact_memory": ""}
KEEP_LINES = {
    "/proc/cpuinfo": r"(vendor_id|model name|cpu|CPU (implementer|part)|[Ff]eatures|flags|facilities)\s*:",
    "/proc/mounts": r"\S+ /(proc|sys|dev)(/\S*)? (cgroup2?|hugetlbfs|proc|sysfs|devtmpfs) ",
    "/proc/stat": r"btime ",
    "/proc/vmstat": r"(htlb|compact)_",
    "/etc/sysctl.d/.*": r"[^#\s]",
    "/etc/tmpfiles.d/.*": r"[^#\s]",
}
NEUTRAL = {
    "/proc/1/cgroup": "0::/init.scope",
    "/proc/1/comm": "init",
    "/proc/cmdline": "root=/dev/vda ro console=ttyS0 quiet mitigations=auto",
    "/proc/sys/kernel/random/boot_id": "6f3c1a52-9b0e-4d7a-8c25-0e1f5a7b9d34",
}


def read(path: str) -> str | None:
    """The text of a file, its lines filtered; None where there is none or it may not be read."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError:
        return None
    if path == "/proc/cpuinfo":
        # The first CPU alone.
        text = text.partition("\n\n")[0]
    if path == "/proc/sys/kernel/osrelease":
        # The version as such: what a vendor appends may name it.
        return re.sub(r"(?<=[0-9])-.*", "-amd64" if os.uname().machine == "x86_64" else "-arm64", text).rstrip()
    kept = next((lines for files, lines in KEEP_LINES.items() if re.fullmatch(files, path)), "")
    return "\n".join(line.rstrip() for line in text.splitlines() if re.match(kept, line))


def found(patterns: Iterable[str]) -> list[str]:
    """The paths that match, as of the shell; a path without a wildcard stays, there or not."""
    return [path for pattern in patterns for path in (sorted(glob.glob(pattern)) if "*" in pattern else [pattern])]


def below(folder: str, pattern: str) -> Iterator[str]:
    """The files below a folder whose relative path matches."""
    for current, _dummy, names in os.walk(folder):
        for name in names:
            path = os.path.join(current, name)
            if re.fullmatch(pattern, os.path.relpath(path, folder)):
                yield path


class Dumper(yaml.SafeDumper):
    """Lists are indented, as yamllint wants them."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def links() -> Iterator[tuple[str, str]]:
    """The symlinks and their targets, where they may be read."""
    for path in found(LINKS):
        with contextlib.suppress(OSError):
            yield path, os.readlink(path)


def literal(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Texts of several lines as blocks, which a reader can compare with the file."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


def main() -> None:
    """Print the tree."""
    paths = {*FILES, *found(GLOBS), *(path for folder, pattern in PATTERNS for path in below(folder, pattern))}
    texts = {path: read(path) for path in sorted(paths)}
    files = {path: text for path, text in texts.items() if text is not None}
    tree = {
        "origin": "captured",
        "about": sys.argv[1],
        "files": dict(
            sorted(
                {**files, **dict.fromkeys(filter(os.path.exists, found(PRESENT)), ""), **WRITABLE, **NEUTRAL}.items()
            )
        ),
        "links": dict(links()),
        "folders": [path for path in found(FOLDERS) if os.path.isdir(path)],
    }
    Dumper.add_representer(str, literal)
    print("# SPDX-FileCopyrightText: The bulwark.node authors\n# SPDX-License-Identifier: GPL-3.0-or-later\n---")
    print(yaml.dump(tree, Dumper=Dumper, sort_keys=False, width=130, allow_unicode=True), end="")


if __name__ == "__main__":
    main()
