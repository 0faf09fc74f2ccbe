# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The groups that are made of what a cluster says."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.plugin_utils.node_groups import GROUP_BY, groups_of
from ansible_collections.bulwark.node.plugins.plugin_utils.node_record import record


def groups(
    *by: str,
    labels: dict[str, str] | None = None,
    of_labels: tuple[str, ...] = (),
    conditions: dict[str, str] | None = None,
    info: dict[str, str] | None = None,
    **spec: Any,
) -> list[str]:
    rows = [{"type": kind, "status": status} for kind, status in (conditions or {}).items()]
    node = {
        "metadata": {"name": "a", "labels": labels or {}},
        "spec": spec,
        "status": {"conditions": rows, "nodeInfo": info or {}},
    }
    return groups_of(record(node), by, of_labels)


@pytest.mark.parametrize(
    ("key", "says", "expected"),
    [
        (
            "role",
            {"labels": {"node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/etcd": "true"}},
            ["role_etcd", "role_worker"],
        ),
        ("role", {"labels": {"kubernetes.io/role": "master", "node-role.kubernetes.io/": ""}}, ["role_master"]),
        (
            "role",
            {"labels": {"kubernetes.io/role": "worker", "node-role.kubernetes.io/worker": ""}},
            ["role_worker"],
        ),
        ("zone", {"labels": {"topology.kubernetes.io/zone": "eu-west1-b"}}, ["zone_eu-west1-b"]),
        ("zone", {"labels": {"failure-domain.beta.kubernetes.io/zone": "b"}}, ["zone_b"]),
        ("region", {"labels": {"topology.kubernetes.io/region": "eu"}}, ["region_eu"]),
        ("instance_type", {"labels": {"node.kubernetes.io/instance-type": "m5"}}, ["instance_type_m5"]),
        (
            "taint",
            {"taints": [{"key": "k", "value": "v", "effect": "NoExecute"}, {"key": "k", "effect": "NoSchedule"}]},
            ["taint_k_v_NoExecute", "taint_k_NoSchedule"],
        ),
        (
            "condition",
            {
                "conditions": {
                    "Ready": "True",
                    "DiskPressure": "False",
                    "PIDPressure": "True",
                    "MemoryPressure": "Unknown",
                }
            },
            ["condition_ready", "condition_pid_pressure", "condition_memory_pressure_unknown"],
        ),
        ("condition", {"conditions": {"Ready": "False"}}, ["condition_not_ready"]),
        ("condition", {"conditions": {"Ready": "Unknown"}}, ["condition_ready_unknown"]),
        ("condition", {"conditions": {"Ready": "perhaps"}}, ["condition_ready_unknown"]),
        ("condition", {}, ["condition_ready_unknown"]),
        ("unschedulable", {"unschedulable": True}, ["unschedulable"]),
        ("kubelet", {"info": {"kubeletVersion": "v1.33.2-gke.100"}}, ["kubelet_1_33"]),
        ("kubelet", {"info": {"kubeletVersion": "latest"}}, []),
        ("runtime", {"info": {"containerRuntimeVersion": "containerd://1.7.24"}}, ["runtime_containerd_1_7"]),
        ("runtime", {"info": {"containerRuntimeVersion": "cri-o://1.33.1"}}, ["runtime_cri-o_1_33"]),
        ("runtime", {"info": {"containerRuntimeVersion": "containerd://main"}}, ["runtime_containerd_main"]),
        ("runtime", {"info": {"containerRuntimeVersion": "?"}}, ["runtime_?"]),
        ("kernel", {"info": {"kernelVersion": "6.1.0-28-amd64"}}, ["kernel_6.1.0-28-amd64"]),
        ("os_image", {"info": {"osImage": "Debian 12 (x)"}}, ["os_image_Debian 12 (x)"]),
        ("operating_system", {"info": {"operatingSystem": "linux"}}, ["os_linux"]),
        ("architecture", {"info": {"architecture": "arm64"}}, ["arch_arm64"]),
    ],
)
def test_groups_are_made_of_what_a_node_says(key: str, says: dict[str, Any], expected: list[str]) -> None:
    assert groups(key, **says) == expected


@pytest.mark.parametrize("key", sorted(set(GROUP_BY) - {"condition"}))
def test_a_node_is_in_no_group_of_what_it_does_not_say(key: str) -> None:
    assert groups(key) == []


def test_labels_that_are_asked_for_make_groups() -> None:
    labels = {"pool": "a", "example.org/gpu": "", "other": "x"}
    assert groups(labels=labels, of_labels=("pool", "example.org/gpu", "none")) == [
        "label_pool_a",
        "label_example.org/gpu",
    ]


def test_no_name_is_endless() -> None:
    assert [len(name) for name in groups("os_image", info={"osImage": "x" * 100_000})] == [200]
