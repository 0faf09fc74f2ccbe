# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The subset kubelet: the process, and whether its next start fails on what its managers remember."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import kubelet_facts
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import Files, Machine

GIB = 1 << 30
CONFIG = "/var/lib/kubelet/config.yaml"
CPU, MEMORY = (f"/var/lib/kubelet/{name}_manager_state" for name in ("cpu", "memory"))
# What the tree kubeadm-containerd has: 32 GiB on one node, 64 pages of 2M.
TOTAL, PAGES = 32 * GIB, 128 << 20


def test_a_running_kubelet(machine: Machine) -> None:
    facts = kubelet_facts.facts(machine("kubeadm-containerd"))
    assert {
        key: facts[key] for key in ("running", "flavour", "pid", "started_at", "started_after_boot_s", "unit", "reason")
    } == {
        "running": True,
        "flavour": "kubelet",
        "pid": 901,
        "started_at": 1790000031,
        "started_after_boot_s": 31.5,
        "unit": "kubelet.service",
        "reason": None,
    }
    assert facts["config"]["maxPods"] == {"value": 250, "source": "flag"}
    assert facts["config"]["kubeReserved"] == [
        {"name": "cpu", "value": "500m", "source": "/etc/kubernetes/kubelet.conf.d/20-pods.conf"},
        {"name": "memory", "value": "1Gi", "source": "/etc/kubernetes/kubelet.conf.d/10-memory.conf"},
    ]
    assert (facts["reserved_memory_bytes"], facts["reserved_memory_reason"]) == (GIB + (1012 << 20), None)
    assert (facts["state_files"], facts["state_conflicts"]) == ([], [])


def test_files_that_changed_after_the_start_are_named(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    dropin = "/etc/kubernetes/kubelet.conf.d/20-pods.conf"
    # It started 31.5 seconds after the boot; within two seconds of that nobody can tell.
    monkeypatch.setattr(Host, "changed_at", lambda self, path: 1790000033 + (path == dropin))
    assert kubelet_facts.facts(machine("kubeadm-containerd"))["changed_since_start"] == [dropin]
    assert kubelet_facts.facts(machine("no-hugepages"))["changed_since_start"] is None


def test_what_k3s_writes_at_each_start_is_no_change(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Host, "changed_at", lambda self, path: 1 << 40)
    found = kubelet_facts.facts(machine("k3s-dropins"))
    written = [path for path in found["config"]["files"] if "/agent/etc/kubelet.conf.d/" in path]
    assert written
    assert not set(written) & set(found["changed_since_start"])


def test_without_a_kubelet_each_key_is_there_and_nothing_is_claimed(machine: Machine) -> None:
    facts = kubelet_facts.facts(machine("no-hugepages"))
    running = kubelet_facts.facts(machine("kubeadm-containerd"))
    assert set(facts) == set(running)
    assert set(facts["config"]) == set(running["config"])
    assert facts["running"] is False
    assert facts["reason"] == facts["config"]["reason"] == facts["reserved_memory_reason"] == "no kubelet is running"
    settings = [value for key, value in facts["config"].items() if key not in ("files", "reason")]
    assert all(value in ([], {"value": None, "source": None}) for value in settings)


def cpu(shared: str, entries: Any = None, policy: str = "static", **more: Any) -> str:
    return json.dumps({"policyName": policy, "defaultCpuSet": shared, "entries": entries or {}, "checksum": 1, **more})


def table(total: int, reserved: int = 0) -> dict[str, int]:
    return {"total": total, "systemReserved": reserved, "allocatable": total - reserved, "reserved": 0, "free": 0}


def memory(nodes: dict[str, dict[str, Any]], policy: str = "Static") -> str:
    state = {node: {"numberOfAssignments": 0, "memoryMap": tables, "cells": [0]} for node, tables in nodes.items()}
    return json.dumps({"policyName": policy, "machineState": state, "checksum": 1})


def conflicts(machine: Machine, policies: str, files: Files) -> list[str]:
    found = kubelet_facts.facts(machine("kubeadm-containerd", {CONFIG: policies, **files}))["state_conflicts"]
    assert {item["path"] for item in found} <= set(files)
    return [item["reason"] for item in found]


@pytest.mark.parametrize(
    ("policies", "state", "expected"),
    [
        ("cpuManagerPolicy: static", cpu("0-7"), []),
        ("cpuManagerPolicy: static", cpu("0,4-7", {"pod": {"a": "1-2", "b": "3"}}), []),
        ("cpuManagerPolicy: static", cpu("0,4-7", {"container": "1-3"}), []),  # the first form of the file
        ("cpuManagerPolicy: static", cpu("0-3"), ["the file knows the CPUs 0-3, the machine has 0-7"]),
        ("cpuManagerPolicy: static", cpu("0-7,9"), ["the file knows the CPUs 0-7,9, the machine has 0-7"]),
        ("cpuManagerPolicy: static", cpu(""), []),  # not yet dealt out
        ("cpuManagerPolicy: static", cpu("", {"pod": {"a": "1"}}), ["CPUs are assigned, but none is shared"]),
        ("cpuManagerPolicy: none", cpu("0-7"), ["the configured policy is none, the file was written by static"]),
        ("maxPods: 1", cpu("0-7"), ["the configured policy is none, the file was written by static"]),
        ("maxPods: 1", cpu("", policy="none"), []),
        (
            "cpuManagerPolicy: static",
            cpu("", policy="none"),
            ["the configured policy is static, the file was written by none"],
        ),
        # Reserved CPUs are not in the file then.
        ("cpuManagerPolicy: static\ncpuManagerPolicyOptions: {strict-cpu-reservation: 'true'}", cpu("2-7"), []),
        (
            "cpuManagerPolicy: static\ncpuManagerPolicyOptions: {strict-cpu-reservation: 'true'}",
            cpu("2-9"),
            ["the file knows the CPUs 2-9, the machine has 0-7"],
        ),
        # What is of no known form is no conflict.
        ("cpuManagerPolicy: static", cpu("0-3", podEntries={"pod": {"cpuset": "4-7"}}), []),
        ("cpuManagerPolicy: static", cpu("zero"), []),
        ("cpuManagerPolicy: static", cpu("0-999999999999"), []),
        ("cpuManagerPolicy: static", json.dumps({"policyName": "static"}), []),
        ("cpuManagerPolicy: static", json.dumps({"policyName": ["static"]}), []),
        ("cpuManagerPolicy: static", "[]", []),
        ("cpuManagerPolicy: static", "", ["the file is no valid JSON: the kubelet takes it for a corrupt checkpoint"]),
        (
            "cpuManagerPolicy: static",
            '{"policyName": "stat',
            ["the file is no valid JSON: the kubelet takes it for a corrupt checkpoint"],
        ),
        (
            "cpuManagerPolicy: static",
            "[" * 100_000,
            ["the file is no valid JSON: the kubelet takes it for a corrupt checkpoint"],
        ),
    ],
)
def test_the_cpu_managers_file_must_be_of_this_policy_and_these_cpus(
    machine: Machine, policies: str, state: str, expected: list[str]
) -> None:
    assert conflicts(machine, policies, {CPU: state}) == expected


STATIC = "memoryManagerPolicy: Static\n"
RESERVED = STATIC + "reservedMemory:\n- numaNode: 0\n  limits:\n    memory: 1Gi\n"
GOOD = {"memory": table(TOTAL), "hugepages-2Mi": table(PAGES)}


@pytest.mark.parametrize(
    ("policies", "state", "expected"),
    [
        (STATIC, memory({"0": GOOD}), []),
        (STATIC, memory({}), []),
        (RESERVED, memory({"0": {**GOOD, "memory": table(TOTAL, GIB)}}), []),
        (
            STATIC,
            memory({"0": {**GOOD, "memory": table(TOTAL + 4096)}}),
            [f"node 0: the file says {TOTAL + 4096} bytes of memory, the machine has {TOTAL} bytes"],
        ),
        (
            STATIC,
            memory({"0": {**GOOD, "hugepages-2Mi": table(0)}}),
            [f"node 0: the file says 0 bytes of hugepages-2Mi, the machine has {PAGES} bytes"],
        ),
        (
            STATIC,
            memory({"0": {**GOOD, "hugepages-1Gi": table(GIB)}}),
            [f"node 0: the file says {GIB} bytes of hugepages-1Gi, the machine has nothing"],
        ),
        (
            STATIC,
            memory({"0": {"memory": table(TOTAL)}}),
            [f"node 0: the file says nothing of hugepages-2Mi, the machine has {PAGES} bytes"],
        ),
        (STATIC, memory({"0": GOOD, "1": GOOD}), ["the file knows the NUMA nodes [0, 1], the machine has [0]"]),
        (
            RESERVED,
            memory({"0": GOOD}),
            [f"node 0: 0 bytes of memory are reserved by the file, {GIB} by the configuration"],
        ),
        ("maxPods: 1", memory({"0": GOOD}), ["the configured policy is None, the file was written by Static"]),
        (STATIC, memory({}, "None"), ["the configured policy is Static, the file was written by None"]),
        (STATIC, json.dumps({"policyName": "Static", "machineState": {"0": {}}}), []),
        (STATIC, json.dumps({"policyName": "Static", "machineState": [1]}), []),
        (STATIC, json.dumps({"policyName": "Static", "machineState": {"a": {"memoryMap": {}}}}), []),
    ],
)
def test_the_memory_managers_file_must_be_of_this_policy_and_this_memory(
    machine: Machine, policies: str, state: str, expected: list[str]
) -> None:
    assert conflicts(machine, policies, {MEMORY: state}) == expected


def test_the_flag_of_reserved_memory_counts(machine: Machine) -> None:
    command = f"/usr/bin/kubelet\0--config={CONFIG}\0--reserved-memory\x000:memory=1Gi,hugepages-2Mi=2Mi\0"
    state = memory({"0": {"memory": table(TOTAL, GIB), "hugepages-2Mi": table(PAGES, 2 << 20)}})
    files = {CONFIG: STATIC, MEMORY: state, "/proc/901/cmdline": command}
    assert kubelet_facts.facts(machine("kubeadm-containerd", files))["state_conflicts"] == []


def test_a_kubelet_that_does_not_run_may_have_failed_on_its_state(machine: Machine) -> None:
    state = memory({"0": {**GOOD, "memory": table(1)}})
    facts = kubelet_facts.facts(machine("kubeadm-containerd", {MEMORY: state, CPU: cpu("0-3")}, without=["/proc/901"]))
    assert facts["running"] is False
    assert [item["policy"] for item in facts["state_files"]] == ["static", "Static"]
    # Without the configuration it is not known which CPUs are strictly reserved: fewer than the machine's are no conflict.
    assert facts["state_conflicts"] == [
        {"path": MEMORY, "reason": f"node 0: the file says 1 bytes of memory, the machine has {TOTAL} bytes"}
    ]


def test_the_state_is_where_the_kubelets_root_is(machine: Machine) -> None:
    path = "/data/kubelet/cpu_manager_state"
    files = {"/proc/901/cmdline": "/usr/bin/kubelet\0--root-dir=/data/kubelet\0", path: cpu("0-7"), CPU: cpu("0")}
    facts = kubelet_facts.facts(machine("kubeadm-containerd", files))
    assert [item["path"] for item in facts["state_files"]] == [path]
    assert [item["path"] for item in facts["state_conflicts"]] == [path]


def test_a_machine_without_numa_is_one_node(machine: Machine) -> None:
    pool = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
    files = {CONFIG: STATIC, MEMORY: memory({"0": GOOD}), pool: "64"}
    host = machine("kubeadm-containerd", files, without=["/sys/devices/system/node"])
    assert kubelet_facts.facts(host)["state_conflicts"] == []


POD_STATUS = "/var/lib/kubelet/pod_status_manager_state"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"data":"{}","checksum":1}', []),
        ('{"data":"{}","checksum":1}"', ["the file is no valid JSON: the kubelet takes it for a corrupt checkpoint"]),
        ("", ["the file is no valid JSON: the kubelet takes it for a corrupt checkpoint"]),
    ],
)
def test_what_is_kept_of_pods_must_be_whole(machine: Machine, text: str, expected: list[str]) -> None:
    assert conflicts(machine, "maxPods: 1", {POD_STATUS: text}) == expected
