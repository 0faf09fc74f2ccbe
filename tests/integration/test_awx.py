# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The job templates of extensions/awx, run by ansible-runner with answers to their surveys. Nodes are actors.

Reboots take real machines: test_reboot_playbook.py has them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.tests.fakes.actors import RUNS, UNIT, WELL, Stage, facts, settings
from ansible_collections.bulwark.node.tests.fakes.awx import injected, sliced
from ansible_collections.bulwark.node.tests.fakes.awx_job import HOME, Job, artifacts, injectors, template
from ansible_collections.bulwark.node.tests.fakes.compute_api import FakeCompute, nat
from ansible_collections.bulwark.node.tests.fakes.kube_api import FakeKube
from ansible_collections.bulwark.node.tests.fakes.kube_objects import node
from ansible_collections.bulwark.node.tests.hosts.adhoc import inventory

NAMES = ("a", "b", "c", "d", "e")


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def job(stage: Stage, name: str, answers: dict[str, Any], hosts: tuple[str, ...] = NAMES, **more: Any) -> Job:
    """A job of these actors, whose reports go to the folder ``reports``."""
    number = more.setdefault("number", 41)
    folder = stage.folder / str(number)
    folder.mkdir()
    # Variables of hosts are those of the inventory, and AWX's jobs get become as an argument.
    about = {
        host: {**json.loads((stage.folder / f"host_vars/{host}.json").read_text()), "ansible_become": False}
        for host in hosts
    }
    inventory = folder / "inventory.json"
    inventory.write_text(json.dumps({"all": {"hosts": about}}))
    reports = str(stage.folder / "reports")
    return Job(folder / "runner", template(name, bulwark_reports=reports), answers, inventory, **more)


def report(stage: Stage, kind: str, number: int = 41) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((stage.folder / f"reports/{kind}/{number}/report.json").read_text())
    return found


def test_an_audit_in_slices_leaves_a_report_and_a_summary_of_each(stage: Stage) -> None:
    for name in NAMES:
        stage.actor(name, {"node_facts": facts()})
    stage.actor("down", {"node_facts": {"failed": True, "msg": "no facts"}})
    everyone = [*NAMES, "down"]
    seen: list[str] = []
    for number in (1, 2):
        mine = tuple(sliced(everyone, number, 2))
        ran = job(stage, "Bulwark audit", {"audit_fail_on": "critical", "audit_compare": ""}, mine, number=number).run()
        print(ran.stdout.read())
        assert ran.status == ("failed" if "down" in mine else "successful")
        made = report(stage, "audit", number)
        assert tuple(made["hosts"]) == mine
        told = artifacts(ran)["bulwark_audit"]
        assert told["path"] == str(stage.folder / f"reports/audit/{number}/report.json")
        assert told["summary"] == made["summary"]
        assert told["hosts_failed"] == [name for name in mine if name == "down"]
        assert len(json.dumps(told)) < 2000
        seen += mine
    assert sorted(seen) == sorted(everyone)


def test_a_check_of_harden_takes_yes_and_no_for_what_they_are(stage: Stage) -> None:
    stage.actor("a", {**WELL, "settings": settings(UNIT), "systemd_service": RUNS}, harden_kvm={"tun": True})
    ran = job(
        stage,
        "Bulwark harden check",
        {
            "bulwark_target": "a",
            "harden_profile": "kubernetes_node",
            "harden_restart_units": [UNIT],
            "harden_install_packages": "no",
        },
        ("a",),
    ).run()
    said = ran.stdout.read()
    print(said)
    assert ran.status == "successful"
    assert f"disruptive {UNIT}" in " ".join(said.split())
    told = artifacts(ran)["bulwark_harden"]
    # A check writes no report.
    assert (told["hosts_changed"], "path" in told, (stage.folder / "reports").exists()) == (["a"], False, False)
    assert "package" not in stage.calls("a")


def test_a_harden_that_is_cancelled_leaves_a_report_of_who_was_not_begun(stage: Stage) -> None:
    for name in NAMES:
        stage.actor(name, WELL)
    # An actor that does not end by itself.
    python = stage.folder / "actors/b/python"
    python.write_text(
        python.read_text().replace('cat "$said"', 'test "$module" != settings || exec sleep 60\ncat "$said"')
    )
    ran = job(stage, "Bulwark harden", {"bulwark_target": "all", "harden_profile": "kubernetes_node"}).run(
        lambda: "settings" in stage.calls("b")
    )
    assert ran.status == "canceled"
    made = report(stage, "harden")
    statuses = {name: host["outcome"]["status"] for name, host in made["hosts"].items()}
    assert statuses == {"a": "changed", "b": "begun", **dict.fromkeys(("c", "d", "e"), "not_begun")}
    assert [stage.calls(name) for name in ("c", "d", "e")] == [[], [], []]


def test_cloud_nat_is_sized_by_answers_and_the_credential(stage: Stage) -> None:
    row = {"protocol": "tcp", "address": "203.0.113.10", "port": 443, "concurrent": 700, "ports": 3100}
    flows = {
        "changed": False,
        "source": "netfilter",
        "reason": None,
        "left_out": 0,
        "destinations": [{**row, "new_per_second": 20.0, "time_wait": 0, "unreplied": 0}],
    }
    for name in ("a", "b"):
        stage.actor(name, {"nat_flows_info": flows})
    with FakeCompute() as compute:
        compute.add(nat())
        ran = job(
            stage,
            "Bulwark Cloud NAT",
            {
                "cloud_nat_region": "europe-west3",
                "cloud_nat_router": "a-router",
                "cloud_nat_name": "a-nat",
                "cloud_nat_nodes": 40,
                "cloud_nat_headroom": 1.25,
            },
            ("a", "b"),
            environment={
                "GCP_PROJECT": "a-project",
                "GCP_AUTH_KIND": "accesstoken",
                "GCP_ACCESS_TOKEN": "given-token",
                "GCP_API_ENDPOINT": compute.url,
                "GCP_MONITORING_ENDPOINT": compute.url,
            },
        ).run()
        print(ran.stdout.read())
        assert ran.status == "successful"
        assert compute.calls("patch") == []
    told = artifacts(ran)["bulwark_cloud_nat"]
    assert (told["plan"]["min_ports_per_vm"], told["applied"]) == (4096, False)


def test_the_nodes_of_the_credentials_cluster_are_the_inventory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeKube() as kube:
        kube.store.add("nodes", node("worker-1"))
        kubeconfig = {
            "current-context": "a",
            "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
            "clusters": [{"name": "a", "cluster": {"server": kube.url}}],
            "users": [{"name": "a", "user": {"token": "cluster-admin"}}],
        }
        file = tmp_path / "kubeconfig"
        given = injected(injectors("Bulwark kubeconfig"), {"kubeconfig": json.dumps(kubeconfig)}, str(file))
        file.write_text(given["file"]["template"])
        for name, value in {**given["env"], "no_proxy": "*"}.items():
            monkeypatch.setenv(name, value)
        found, said = inventory("-i", str(HOME / "templates/project/inventory/kubernetes_nodes.yml"), "--list")
    listed = json.loads(found)
    assert listed["kubernetes_nodes"]["hosts"] == ["worker-1"], said
    # The file is gone with the job that had it: the next has its own.
    assert "reboot_cluster" not in listed["_meta"]["hostvars"]["worker-1"]
