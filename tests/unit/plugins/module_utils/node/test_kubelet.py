# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kubelet: which process it is, and who starts it."""

from __future__ import annotations

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.node import kubelet
from ansible_collections.bulwark.node.plugins.module_utils.node.kubelet import Kubelet
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import Machine

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


@pytest.mark.parametrize(
    ("process", "unit", "flavour"),
    [
        ("kubelet", "kubelet.service", "kubelet"),
        ("kubelet", "session-1.scope", "kubelet"),
        ("kubelet", "rke2-agent.service", "rke2"),
        ("kubelet", "k0sworker.service", "k0s"),
        ("kubelet", "snap.microk8s.daemon-kubelet.service", "microk8s"),
        ("kubelite", "snap.microk8s.daemon-kubelite.service", "microk8s"),
        ("k3s-server", "k3s.service", "k3s"),
        ("k3s-agent", "renamed.service", "k3s"),
    ],
)
def test_the_flavour_is_who_starts_it(process: str, unit: str, flavour: str) -> None:
    assert Kubelet(1, process, unit, 1.0, ()).flavour == flavour


@pytest.mark.parametrize(
    ("links", "enabled"),
    [
        ((), False),
        (("multi-user.target.wants/kubelet.service",), True),
        (("kubelet.service",), False),
        (("multi-user.target.wants/k3s-agent.service",), True),
        (("custom.target.wants/rke2-server.service",), True),
        (("multi-user.target.wants/snap.microk8s.daemon-kubelite.service",), True),
        # A controller of k0s may have no kubelet.
        (("multi-user.target.wants/k0scontroller.service",), False),
        (("multi-user.target.wants/k0sworker.service",), True),
        (("multi-user.target.wants/kubelet.service.d",), False),
        (("kubelet.service.d/kubelet.service",), False),
    ],
)
def test_a_kubelet_is_enabled_where_a_target_wants_its_unit(
    machine: Machine, links: tuple[str, ...], enabled: bool
) -> None:
    host = machine("no-hugepages", {f"/etc/systemd/system/{link}": "" for link in links})
    assert kubelet.is_enabled(host) is enabled
