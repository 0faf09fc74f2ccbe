# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""PCI devices and SR-IOV, of captured and hand-built machines, and while devices go."""

from __future__ import annotations

import os
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.node import pci
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import Machine

FOLDER = "/sys/bus/pci/devices"


def device(address: str, kind: str, name: str, driver: str | None = None, **more: Any) -> dict[str, Any]:
    vendor, number = name.split(":")
    return {
        "address": address,
        "class": kind,
        "vendor": f"0x{vendor}",
        "device": f"0x{number}",
        "driver": driver,
        "for_guests": driver == "vfio-pci",
        "numa_node": None,
        "iommu_group": None,
        "physical_function": None,
        **more,
    }


def test_a_card_with_sriov_shows_its_functions_and_they_show_it(machine: Machine) -> None:
    assert pci.facts(machine("el9-sriov")) == {
        "devices": [
            device("0000:3b:00.0", "0x020000", "8086:1572", "i40e", numa_node=1, iommu_group=30),
            device("0000:3b:00.1", "0x020000", "8086:1572", None, numa_node=1, iommu_group=31),
            device(
                *("0000:3b:02.0", "0x020000", "8086:154c", "vfio-pci"),
                numa_node=1,
                iommu_group=140,
                physical_function="0000:3b:00.0",
            ),
            device(
                *("0000:3b:02.1", "0x020000", "8086:154c", "iavf"),
                numa_node=1,
                iommu_group=141,
                physical_function="0000:3b:00.0",
            ),
            device("10000:e1:00.0", "0x010802", "8086:0a54", "nvme"),
        ],
        "sriov": [
            {"address": "0000:3b:00.0", "totalvfs": 64, "numvfs": 2, "vfs": ["0000:3b:02.0", "0000:3b:02.1"]},
            {"address": "0000:3b:00.1", "totalvfs": 64, "numvfs": 0, "vfs": []},
        ],
        "without_hugepages": [],
        "reason": None,
    }


def test_a_virtual_machine_shows_plain_devices(machine: Machine) -> None:
    facts = pci.facts(machine("debian12-hybrid"))
    assert facts["devices"][0] == device("0000:00:00.0", "0x060000", "8086:0d57")
    assert facts["devices"][3] == device("0000:00:03.0", "0x020000", "1af4:1041", "virtio-pci")
    assert (len(facts["devices"]), facts["sriov"], facts["reason"]) == (6, [], None)


def test_a_machine_without_pci_says_so(machine: Machine) -> None:
    facts = pci.facts(machine("no-hugepages"))
    assert facts == {
        "devices": [],
        "sriov": [],
        "without_hugepages": [],
        "reason": "this machine shows no PCI device",
    }


NUMA = "/sys/devices/system/node"


@pytest.mark.parametrize(
    ("files", "away"),
    [
        # The device is on node 1, the pages on node 0.
        ({}, [{"address": "0000:3b:02.0", "numa_node": 1, "nodes": [0]}]),
        ({f"{NUMA}/node1/hugepages/hugepages-1048576kB/nr_hugepages": "1"}, []),
        ({f"{NUMA}/node0/hugepages/hugepages-1048576kB/nr_hugepages": "0"}, []),
        ({f"{FOLDER}/0000:3b:02.0/numa_node": "-1"}, []),
        ({f"{FOLDER}/0000:3b:02.0/uevent": "DRIVER=mlx5_core\nPCI_CLASS=20000\nPCI_ID=15B3:101E"}, []),
    ],
)
def test_a_device_for_guests_away_from_the_hugepages_is_named(machine: Machine, files: Any, away: Any) -> None:
    assert pci.facts(machine("kvm-host", files))["without_hugepages"] == away


@pytest.mark.parametrize(
    ("driver", "for_guests"),
    [
        ("vfio-pci", True),
        ("mlx5_vfio_pci", True),
        ("nvgrace-gpu-vfio-pci", True),
        ("vfio", False),
        ("vfio-pci-x", False),
    ],
)
def test_drivers_that_hand_a_device_to_guests(machine: Machine, driver: str, for_guests: bool) -> None:
    files = {f"{FOLDER}/0000:3b:02.0/uevent": f"DRIVER={driver}\nPCI_CLASS=20000\nPCI_ID=15B3:101E"}
    assert pci.facts(machine("kvm-host", files))["devices"][0]["for_guests"] is for_guests


def test_virtual_functions_beyond_nine_keep_their_order(machine: Machine) -> None:
    host = machine("el9-sriov")
    for number in range(2, 12):
        os.symlink(f"../0000:3b:03.{number % 8}", f"{host.root}{FOLDER}/0000:3b:00.0/virtfn{number}")
    assert pci.facts(host)["sriov"][0]["vfs"] == ["0000:3b:02.0", "0000:3b:02.1"] + [
        f"0000:3b:03.{number % 8}" for number in range(2, 12)
    ]


def test_nothing_is_read_that_waits_for_the_driver(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    host = machine("el9-sriov")
    read = host.read

    def waiting(path: str, *rest: Any) -> str | None:
        assert not path.endswith("/sriov_numvfs")
        return read(path, *rest)

    monkeypatch.setattr(host, "read", waiting)
    assert [each["numvfs"] for each in pci.facts(host)["sriov"]] == [2, 0]


@pytest.mark.parametrize(
    "files",
    [
        {f"{FOLDER}/0000:3b:00.1/uevent": ""},
        {f"{FOLDER}/not an address/uevent": "PCI_CLASS=20000\nPCI_ID=8086:1572"},
        {f"{FOLDER}/0000:3b:00.1/uevent": "DRIVER=x\nPCI_CLASS=20000"},
    ],
)
def test_what_is_no_device_or_gone_costs_nobody_else(machine: Machine, files: dict[str, str]) -> None:
    facts = pci.facts(machine("el9-sriov", files))
    gone = 0 if "not an address" in next(iter(files)) else 1
    assert (len(facts["devices"]), len(facts["sriov"])) == (5 - gone, 2 - gone)


def test_a_device_that_cannot_be_read_any_more_is_left_out(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    host = machine("el9-sriov")
    read = host.read

    def failing(path: str, *rest: Any) -> str | None:
        if path == f"{FOLDER}/0000:3b:00.0/uevent":
            raise HostError(path, "cannot read: EIO", "EIO")
        return read(path, *rest)

    monkeypatch.setattr(host, "read", failing)
    assert next(each["address"] for each in pci.facts(host)["devices"]) == "0000:3b:00.1"


def test_a_number_that_is_none_is_an_error_not_a_guess(machine: Machine) -> None:
    host = machine("el9-sriov", {f"{FOLDER}/0000:3b:00.0/numa_node": "one"})
    with pytest.raises(HostError, match="holds 'one', expected a number"):
        pci.facts(host)


def test_a_hostile_driver_name_is_no_driver(machine: Machine) -> None:
    hostile = "DRIVER=a b\x1b[31m\nPCI_CLASS=20000\nPCI_ID=8086:1572"
    facts = pci.facts(machine("el9-sriov", {f"{FOLDER}/0000:3b:00.0/uevent": hostile}))
    assert facts["devices"][0]["driver"] is None
