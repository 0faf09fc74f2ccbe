# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The subset pci on this very machine, beside lspci and sysfs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .conftest import Module, tool

DEVICES = Path("/sys/bus/pci/devices")


@pytest.fixture
def pci(module: Module) -> dict[str, Any]:
    """The subset, of a machine that has PCI."""
    facts = module("node_facts", {"gather_subset": ["pci"]})["ansible_facts"]["bulwark"]
    assert facts["errors"] == []
    if not (DEVICES.is_dir() and any(DEVICES.iterdir())):
        assert facts["pci"] == {"devices": [], "sriov": [], "reason": "this machine shows no PCI device"}
        pytest.skip("hardware: this machine has no PCI device")
    subset: dict[str, Any] = facts["pci"]
    return subset


def test_devices_are_those_of_lspci(pci: dict[str, Any]) -> None:
    lspci = tool("lspci")
    done = subprocess.run([lspci, "-D", "-vmm", "-n", "-k"], capture_output=True, text=True, timeout=60, check=True)
    rows = [
        dict(line.split(":\t", 1) for line in block.splitlines() if ":\t" in line)
        for block in done.stdout.strip().split("\n\n")
    ]
    theirs = [
        (
            row["Slot"],
            f"0x{row['Class']}{row.get('ProgIf', '00')}",
            f"0x{row['Vendor']}",
            f"0x{row['Device']}",
            row.get("Driver"),
            row.get("NUMANode"),
            row.get("IOMMUGroup"),
        )
        for row in rows
    ]
    ours = [
        (
            *(device[key] for key in ("address", "class", "vendor", "device", "driver")),
            *(None if device[key] is None else str(device[key]) for key in ("numa_node", "iommu_group")),
        )
        for device in pci["devices"]
    ]
    assert sorted(ours) == sorted(theirs)


def test_devices_are_as_their_files_in_sysfs(pci: dict[str, Any]) -> None:
    for device in pci["devices"]:
        folder = DEVICES / device["address"]
        for key in ("class", "vendor", "device"):
            assert device[key] == (folder / key).read_text().strip()
        driver = folder / "driver"
        assert device["driver"] == (os.path.basename(os.readlink(driver)) if driver.is_symlink() else None)


def test_virtual_functions_are_those_of_sysfs(pci: dict[str, Any]) -> None:
    capable = {path.parent.name for path in DEVICES.glob("*/sriov_totalvfs")}
    assert {each["address"] for each in pci["sriov"]} == capable
    if not capable:
        pytest.skip("hardware: no device of this machine has SR-IOV")
    for each in pci["sriov"]:
        folder = DEVICES / each["address"]
        assert each["totalvfs"] == int((folder / "sriov_totalvfs").read_text())
        assert each["numvfs"] == int((folder / "sriov_numvfs").read_text()) == len(each["vfs"])
        assert set(each["vfs"]) == {os.path.basename(os.readlink(path)) for path in folder.glob("virtfn*")}
        functions = [d["address"] for d in pci["devices"] if d["physical_function"] == each["address"]]
        assert sorted(functions) == sorted(each["vfs"])
