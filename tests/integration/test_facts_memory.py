# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The subsets memory, oom and cgroups on this very machine, beside free(1), swapon(8) and the kernel's own files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .conftest import Module

# Bytes by which a machine at rest may differ between our look and that of the tool a second later.
SLACK = 256 << 20


def gather(module: Module, *subsets: str) -> dict[str, Any]:
    facts: dict[str, Any] = module("node_facts", {"gather_subset": list(subsets)})["ansible_facts"]["bulwark"]
    assert facts["errors"] == []
    return facts


def test_memory_is_to_the_byte_what_free_and_swapon_print(module: Module, tmp_path: Path) -> None:
    if not all(map(shutil.which, ("free", "swapon"))):
        pytest.skip("there is no free or swapon here (bindep.txt names their packages)")
    if os.geteuid() != 0:
        pytest.skip("it takes root to freeze the numbers for both")
    version = subprocess.run(["free", "--version"], capture_output=True, text=True, timeout=60, check=True).stdout
    swaps = (
        "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
        "/dev/vda3                               partition\t2097148\t\t12\t\t-2\n"
        "/sw\\040ap\\012x\\134y                          file\t\t1024\t\t0\t\t10\n"
    )
    (tmp_path / "swaps").write_text(swaps)
    inside = (
        f"cd {tmp_path}\nsed 's/^SwapTotal:.*/SwapTotal: 2098172 kB/; s/^SwapFree:.*/SwapFree: 2098160 kB/' /proc/meminfo > meminfo\n"
        "for file in meminfo swaps; do mount --bind $file /proc/$file; done\n"
        "free -b > free\nswapon --show=NAME,TYPE,SIZE,USED,PRIO --bytes --raw --noheadings > swapon\ncd /"
    )
    facts = module("node_facts", {"gather_subset": ["memory"]}, inside=inside)["ansible_facts"]["bulwark"]["memory"]
    rows = [[int(n) for n in line.split()[1:]] for line in (tmp_path / "free").read_text().splitlines()[1:]]
    names = ["total", "used", "free", "shared", "buff_cache", "available"]
    # Before 4.0, used left the page cache out.
    if int(re.findall(r"[0-9]+", version)[0]) < 4:
        rows[0][1] = facts["free"]["mem"]["used"]
    assert [facts["free"]["mem"][name] for name in names] == rows[0]
    assert [facts["free"]["swap"][name] for name in names[:3]] == rows[1]
    assert (facts["swap"]["total"], facts["swap"]["free"]) == (rows[1][0], rows[1][2])
    keys = ("path", "type", "size_bytes", "used_bytes", "priority")
    ours = [[str(device[key]) for key in keys] for device in facts["swap"]["devices"]]
    lines = [line.split() for line in (tmp_path / "swapon").read_text().splitlines()]
    assert ours == [[bytes(line[0], "ascii").decode("unicode_escape"), *line[1:]] for line in lines]


def test_the_working_set_is_that_of_the_root_cgroup(module: Module) -> None:
    ours = gather(module, "memory")["memory"]["kubelet"]
    if ours["working_set_bytes"] is None:
        pytest.skip(f"hardware: {ours['reason']}")
    v1, v2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
    if v1.is_dir():
        stat = dict(line.split() for line in (v1 / "memory.stat").read_text().splitlines())
        theirs = int((v1 / "memory.usage_in_bytes").read_text()) - int(stat["total_inactive_file"])
    else:
        stat = dict(line.split() for line in (v2 / "memory.stat").read_text().splitlines())
        theirs = int(stat["anon"]) + int(stat["file"]) - int(stat["inactive_file"])
    assert abs(ours["working_set_bytes"] - theirs) < SLACK


def test_kills_and_controllers_are_those_of_proc(module: Module) -> None:
    facts = gather(module, "oom", "cgroups")
    kills = re.search(r"^oom_kill ([0-9]+)$", Path("/proc/vmstat").read_text(), re.MULTILINE)
    assert facts["oom"]["kills"] == (int(kills.group(1)) if kills else None)
    rows = [line.split() for line in Path("/proc/cgroups").read_text().splitlines()[1:]]
    ours = {row["name"]: (row["hierarchy"], row["enabled"]) for row in facts["cgroups"]["controllers"]}
    for name, hierarchy, enabled in ((row[0], row[1], row[3]) for row in rows):
        assert ours[name] == (int(hierarchy), enabled == "1")
    shown = subprocess.run(
        ["findmnt", "-n", "-t", "cgroup,cgroup2", "-o", "FSTYPE"], capture_output=True, text=True, check=False
    )
    kinds = set(shown.stdout.split())
    expected = {("cgroup",): "v1", ("cgroup2",): "v2", ("cgroup", "cgroup2"): "hybrid", (): None}[tuple(sorted(kinds))]
    assert facts["cgroups"]["version"] == expected or Path("/sys/fs/cgroup/cgroup.controllers").exists()
