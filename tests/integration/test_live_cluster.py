# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of whole reboots stand on: machines as nodes of a live cluster, and controllers that are killed."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from ansible_collections.bulwark.node.tests.hosts.cluster import LiveCluster, install_agent
from ansible_collections.bulwark.node.tests.hosts.controller import Controller, Halt
from ansible_collections.bulwark.node.tests.hosts.machine import Machine, Site, until

REBOOT = {"name": "Reboot", "ansible.builtin.reboot": {"reboot_timeout": 60}}


@pytest.fixture(scope="module")
def machine(site: Site) -> Iterator[Machine]:
    made = site.machine("12", "node-one")
    install_agent(made)
    made.start()
    made.wait()
    yield made
    made.close()


@pytest.fixture
def cluster(site: Site, machine: Machine) -> Iterator[LiveCluster]:
    with LiveCluster(site.gateway, {"node-one": machine, "node-two": None}, grace=3) as made:
        yield made


def playbook(controller: Controller, *tasks: object) -> str:
    path = controller.folder / "play.yml"
    path.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    return str(path)


def test_a_rebooted_machine_is_another_boot_of_its_node_and_ready_again(
    site: Site, machine: Machine, cluster: LiveCluster
) -> None:
    info = cluster.node("node-one")["status"]["nodeInfo"]
    assert (info["bootID"], info["machineID"]) == (machine.boot_id(), machine.machine_id)
    with Controller(site) as controller:
        play = controller.play(playbook(controller, REBOOT), [machine])
    assert play.rc == 0, play.output
    assert [(step.task, step.what, step.changed) for step in play.ended("node-one")] == [("Reboot", "ok", True)]
    assert cluster.wait_ready("node-one")
    (boot,) = cluster.boots
    assert boot.boot_id == machine.boot_id() != info["bootID"]
    assert (boot.cordoned, boot.locked) == (False, False)
    # A kubelet that has just started is not Ready.
    assert cluster.most_down() == 1
    assert cluster.most_down("node-one") == 0
    assert not cluster.moments[-1].down


def test_a_machine_that_is_off_is_a_node_that_nobody_knows_of(machine: Machine, cluster: LiveCluster) -> None:
    machine.kill()
    try:
        assert until(lambda: not cluster.is_ready("node-one"), 20, 0.1)
        (ready,) = cluster.node("node-one")["status"]["conditions"]
        assert ready["status"] == "Unknown"
        assert {taint["key"] for taint in cluster.node("node-one")["spec"]["taints"]} == {
            "node.kubernetes.io/unreachable"
        }
    finally:
        machine.start()
        machine.wait()
    assert cluster.wait_ready("node-one")
    assert cluster.reboots("node-one") == 1


def test_while_the_server_is_away_it_refuses_and_no_node_is_lost(cluster: LiveCluster) -> None:
    url, seen = f"{cluster.kube.url}/version", len(cluster.moments)
    with cluster.away():
        with pytest.raises(urllib.error.URLError, match="refused"):
            urllib.request.urlopen(url, timeout=5)
        # Longer than its grace.
        assert not until(lambda: not cluster.is_ready("node-one"), 4, 0.5)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{cluster.kube.url}/api", timeout=5)
    assert len(cluster.moments) == seen


def test_a_controller_is_killed_after_the_task_that_is_named_and_leaves_no_process(
    site: Site, machine: Machine, cluster: LiveCluster
) -> None:
    tasks = [{"name": "Touch", "ansible.builtin.command": f"touch /run/{each}"} for each in ("one", "two", "three")]
    with Controller(site) as controller:
        play = controller.play(playbook(controller, *tasks), [machine], halt=Halt("Touch", "node-one", turn=2))
        assert play.killed
        assert [step.what for step in play.ended("node-one")] == ["ok", "ok"]
        assert controller.processes() == []
    assert machine.run("ls", "/run/one", "/run/two", "/run/three", check=False).stdout.split() == [
        "/run/one",
        "/run/two",
    ]


def test_a_controller_is_killed_while_a_task_runs(site: Site, machine: Machine, cluster: LiveCluster) -> None:
    with Controller(site) as controller:
        play = controller.play(
            playbook(controller, REBOOT), [machine], kill_when=lambda _steps: cluster.reboots("node-one") == 1
        )
    assert play.killed
    assert play.ended("node-one") == []
    assert [step.what for step in play.steps] == ["start"]
    assert cluster.wait_ready("node-one")
    machine.wait()
