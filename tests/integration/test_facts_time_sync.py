# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The subset time_sync on this very machine, beside adjtimex of BusyBox, and on real ones beside timedatectl(1)."""

from __future__ import annotations

import re
import subprocess

from ansible_collections.bulwark.node.tests.hosts.machine import Machine

from .conftest import Module, facts_over_ssh, tool


def test_the_clock_is_what_adjtimex_says(module: Module) -> None:
    busybox = tool("busybox")
    facts = module("node_facts", {"gather_subset": ["time_sync"]})["ansible_facts"]["bulwark"]
    assert facts["errors"] == []
    found = facts["time_sync"]
    printed = subprocess.run([busybox, "adjtimex"], capture_output=True, text=True, timeout=10, check=True).stdout
    flags = re.search(r"status:\s+\d+ \(([^)]*)\)", printed)
    unsynchronized = flags is not None and "UNSYNC" in flags.group(1)
    daemons = [
        name
        for name in ("chronyd", "systemd-timesyn", "ntpd")
        if subprocess.run(["pgrep", "-x", name], capture_output=True, timeout=10, check=False).returncode == 0
    ]
    assert (found["source"] or "")[:15] == (daemons[0] if len(daemons) == 1 else "")
    if found["source"] == "chronyd" and unsynchronized:
        assert found["synchronized"] in (False, None)
    else:
        assert found["synchronized"] is not unsynchronized
    if found["offset_s"] is None:
        assert "offset_s" in found["reason"]


def test_machines_say_what_timedatectl_says(machines: dict[str, Machine]) -> None:
    for machine in machines.values():
        said = machine.run("timedatectl", "show", "--property=NTPSynchronized", "--value").stdout.strip()
        found = facts_over_ssh(machine, "time_sync")
        if found["synchronized"] is None:
            # A container may not ask the kernel. timedatectl takes the refusal for a no; we say that it is one.
            assert "adjtimex: cannot ask the kernel: EPERM" in found["reason"]
            assert machine.run("systemd-detect-virt").stdout.strip() == "systemd-nspawn"
            assert said == "no"
        else:
            assert found["synchronized"] is (said == "yes")
