# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The subset reboot on this very machine, beside lslocks(1) and dpkg."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.node import reboot

from .conftest import Module

LOCK = Path("/var/lib/dpkg/lock-frontend")


def gather(module: Module) -> dict[str, Any]:
    facts = module("node_facts", {"gather_subset": ["reboot"]})["ansible_facts"]["bulwark"]
    assert facts["errors"] == []
    subset: dict[str, Any] = facts["reboot"]
    return subset


def lslocks() -> set[str]:
    done = subprocess.run(
        ["lslocks", "--json", "--output", "MODE,PATH"], capture_output=True, text=True, timeout=60, check=True
    )
    locks = json.loads(done.stdout)["locks"] if done.stdout.strip() else []
    return {lock["path"] for lock in locks if lock["mode"].startswith("WRITE")}


def test_a_running_dpkg_is_seen_by_its_lock(module: Module, kernel: None) -> None:
    if shutil.which("lslocks") is None or not LOCK.exists():
        pytest.skip("it takes lslocks and dpkg")
    assert gather(module)["transaction_running"] is False
    holder = (
        "import fcntl, sys\n"
        f"file = open({str(LOCK)!r}, 'r+b')\n"
        "fcntl.lockf(file, fcntl.LOCK_EX)\n"
        "print(flush=True)\n"
        "sys.stdin.read()\n"
    )
    child = subprocess.Popen([sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        child.stdout.readline()
        assert str(LOCK) in lslocks()
        assert gather(module)["transaction_running"] is True
        # It was asked for and not taken: the holder still has it, and has it alone.
        assert str(LOCK) in lslocks()
        with LOCK.open("r+b") as file, pytest.raises(BlockingIOError):
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        child.communicate()
    assert str(LOCK) not in lslocks()
    assert gather(module)["transaction_running"] is False


def test_the_sentinel_asks_for_a_reboot(module: Module) -> None:
    if os.geteuid() != 0:
        pytest.skip("a /run of the test's own takes root")
    inside = "mount -t tmpfs tmpfs /run\necho x > /run/reboot-required\necho libc6 > /run/reboot-required.pkgs"
    facts = module("node_facts", {"gather_subset": ["reboot"]}, inside=inside)["ansible_facts"]["bulwark"]
    assert facts["reboot"]["required"] is True
    assert [(reason["source"], reason["detail"]) for reason in facts["reboot"]["reasons"]][:2] == [
        ("sentinel", "/var/run/reboot-required exists"),
        ("packages", "libc6"),
    ]
    assert abs(facts["reboot"]["reasons"][0]["since"] - facts["gathered_at"]) < 120


@pytest.mark.parametrize(
    "releases",
    [
        ["6.1.0-9-amd64", "6.1.0-28-amd64", "6.1.0-31-amd64", "6.10.11+bpo-amd64", "6.12.9+bpo-amd64"],
        ["6.12~rc6-amd64", "6.12.3-amd64", "6.12.38+deb13-amd64"],
        ["6.8.0-45-generic", "6.8.0-101-generic", "6.11.0-8-generic"],
        ["6.8.12-4-pve", "6.8.12-10-pve", "6.14.0-1-pve"],
    ],
)
def test_kernels_are_ordered_as_dpkg_orders_their_versions(releases: list[str]) -> None:
    if shutil.which("dpkg") is None:
        pytest.skip("there is no dpkg here")
    for one in releases:
        for other in releases:
            theirs = (
                subprocess.run(["dpkg", "--compare-versions", one, "lt", other], timeout=60, check=False).returncode
                == 0
            )
            assert (reboot.version_key(one) < reboot.version_key(other)) is theirs, (one, other)
