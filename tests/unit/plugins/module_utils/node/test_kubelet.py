# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kubelet: which process it is, and what it keeps from pods."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.node import kubelet, kubelet_config
from ansible_collections.bulwark.node.plugins.module_utils.node.kubelet import Kubelet
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import Machine

MIB = 1 << 20
TOTAL = 10000 * MIB
CONFIG = "/var/lib/kubelet/config.yaml"


@pytest.mark.parametrize(
    ("tree", "found"),
    [
        ("cgroup-v2-systemd", None),
        (
            "kubelet-cgroup-v1",
            Kubelet(
                812,
                "kubelet",
                "kubelet.service",
                1200.0,
                ("/usr/bin/kubelet", f"--config={CONFIG}", "--kube-reserved=memory=1Gi,cpu=500m"),
            ),
        ),
        (
            "kubelet-cgroup-v2",
            Kubelet(901, "kubelet", "kubelet.service", 3000.0, ("/usr/bin/kubelet", "--config", CONFIG)),
        ),
        ("k3s-cgroup-v2", Kubelet(77, "k3s-server", "k3s.service", 10.0, ("/usr/local/bin/k3s server",))),
        # Another user's, names that only begin so, a container's, one that is gone: none of them.
        ("hostile", Kubelet(200, "kubelet", "rke2-server.service", 4500.5, ("/usr/bin/kubelet", "--v=2"))),
    ],
)
def test_only_roots_process_of_that_very_name_is_the_kubelet(
    machine: Machine, tree: str, found: Kubelet | None
) -> None:
    assert kubelet.find(machine(tree)) == found


@pytest.mark.parametrize(
    ("comm", "cgroup", "unit"),
    [
        ("kubelet", "0::/kubelet.slice", "kubelet.service"),
        ("kubelet", "0::/system.slice/k0sworker.service", "k0sworker.service"),
        ("k3s-agent", "", "k3s-agent.service"),
        ("kubelite", "0::/", "snap.microk8s.daemon-kubelite.service"),
        (
            "kubelet",
            "4:memory:/system.slice/other.service\n1:name=systemd:/system.slice/kubelet.service",
            "kubelet.service",
        ),
    ],
)
def test_the_unit_is_the_cgroups_or_else_the_usual_one(machine: Machine, comm: str, cgroup: str, unit: str) -> None:
    host = machine("kubelet-cgroup-v2", {"/proc/901/comm": comm, "/proc/901/cgroup": cgroup})
    agent = kubelet.find(host)
    assert agent is not None
    assert agent.unit == unit


@pytest.mark.parametrize("stat", ["", "901 (kubelet", "901 (kubelet) S 1", "901 (kubelet) " + "x " * 30])
def test_a_process_without_a_start_time_is_none(machine: Machine, stat: str) -> None:
    assert kubelet.find(machine("kubelet-cgroup-v2", {"/proc/901/stat": stat})) is None


def reserved(
    machine: Machine, *arguments: str, config: Any = None, process: str = "kubelet"
) -> kubelet_config.Reservation:
    host = machine("no-hugepages", {} if config is None else {CONFIG: config})
    agent = Kubelet(1, process, "kubelet.service", 1.0, ("kubelet", *arguments))
    return kubelet_config.reservation(kubelet_config.read(host, agent), TOTAL)


@pytest.mark.parametrize(
    ("arguments", "config", "mib"),
    [
        ([], None, 100),  # the default threshold alone
        (["--kube-reserved=memory=1Gi,cpu=1"], None, 1124),
        (["--kube-reserved", "cpu=1,memory=1Gi", "--system-reserved", "memory=512Mi"], None, 1636),
        (["--kube-reserved=memory=1Gi", "--kube-reserved=cpu=1"], None, 1124),  # several times: together
        (["--eviction-hard=memory.available<500Mi,nodefs.available<10%"], None, 500),
        (["--eviction-hard=memory.available<5%"], None, 500),
        (["--eviction-hard="], None, 0),
        (["--eviction-hard=memory.available<0%"], None, 0),
        (["--eviction-hard=memory.available<100%"], None, 0),
        (["--eviction-hard=nodefs.available<10%"], None, 0),  # one threshold takes the others' defaults away
        ([f"--config={CONFIG}"], "kubeReserved: {memory: 1Gi}\nsystemReserved: {memory: 24Mi}\n", 1148),
        (["--config", CONFIG], "evictionHard: {memory.available: 200Mi}\n", 200),
        (["--config", CONFIG], "evictionHard: {nodefs.available: 5%}\n", 0),
        (["--config", CONFIG], "evictionHard: {nodefs.available: 5%}\nmergeDefaultEvictionSettings: true\n", 100),
        (["--config", CONFIG], "evictionHard: {}\n", 0),
        (["--config", CONFIG], "evictionHard:\nkubeReserved:\n", 100),
        (["--config", CONFIG], "", 100),
        # A flag replaces the whole map of the file.
        (["--config", CONFIG, "--kube-reserved=cpu=1"], "kubeReserved: {memory: 1Gi}\n", 100),
        (["--config=/nowhere", f"--config={CONFIG}"], "kubeReserved: {memory: 1Gi}\n", 1124),
    ],
)
def test_reservations_and_threshold_are_summed(
    machine: Machine, arguments: list[str], config: str | None, mib: int
) -> None:
    assert reserved(machine, *arguments, config=config) == kubelet_config.Reservation(mib * MIB, None)


@pytest.mark.parametrize(
    ("arguments", "config", "named"),
    [
        (["--config=/nowhere"], None, "/nowhere"),
        (["--config=relative"], None, "relative"),
        (["--config", CONFIG], "a: [", CONFIG),
        (["--config", CONFIG], "- a\n", CONFIG),
        (["--config", CONFIG], "text", CONFIG),
        (["--config", CONFIG], "kubeReserved: [1]", "kubeReserved"),
        (["--config", CONFIG], "kubeReserved: {memory: many}", "reservations"),
        (["--config", CONFIG], "kubeReserved: {memory: {a: 1}}", "kubeReserved"),
        (["--config", CONFIG], b"\xff\xfe\x00", CONFIG),
        (["--config", CONFIG], b"x" * (5 << 20), CONFIG),
        (["--kube-reserved=memory=lots"], None, "reservations"),
        (["--eviction-hard=memory.available<inf%"], None, "reservations"),
        (["--eviction-hard=memory.available<nan%"], None, "reservations"),
    ],
)
def test_what_cannot_be_read_is_none_with_a_reason(
    machine: Machine, arguments: list[str], config: Any, named: str
) -> None:
    result = reserved(machine, *arguments, config=config)
    assert result.size is None
    assert named in (result.reason or "")


def test_a_python_without_yaml_reads_it_as_well(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    result = reserved(machine, "--config", CONFIG, config="kubeReserved: {memory: 1Gi}")
    assert result == kubelet_config.Reservation(1124 * MIB, None)


def test_a_kubelet_that_hides_its_command_line_reserves_nobody_knows_what(machine: Machine) -> None:
    result = reserved(machine, process="k3s-server")
    assert result.size is None
    assert "hides its command line" in (result.reason or "")
