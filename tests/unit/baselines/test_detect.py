# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which baselines ``auto`` takes for which machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import subsets
from ansible_collections.bulwark.node.plugins.plugin_utils import baseline
from ansible_collections.bulwark.node.tests.unit.baselines.conftest import patched
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import lay, load


def taken(facts: dict[str, Any]) -> set[str]:
    auto = baseline.load((baseline.AUTO,), "")
    found = auto.controls(facts, auto.params, {"name": "x", "groups": []})
    return {control.source.removeprefix("bulwark.node/") for control in found}


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        ("kvm-host", {"common", "kvm_host"}),
        ("el9-sriov", {"common", "kvm_host"}),
        ("kubeadm-containerd", {"common", "kubernetes_node"}),
        ("k3s-dropins", {"common", "kubernetes_node"}),
        # KVM alone makes no host of guests: its module is loaded wherever the CPU has it.
        ("debian12-hybrid", {"common"}),
        ("two-numa-nodes", {"common"}),
    ],
)
def test_a_machine_is_judged_as_what_it_is(tmp_path: Path, tree: str, expected: set[str]) -> None:
    lay(tmp_path, load(tree))
    assert taken(subsets.gather(Host(root=str(tmp_path)), subsets.select(["all"]))) == expected


@pytest.mark.parametrize(
    ("used_by", "users", "expected"),
    [
        ({"guests": 0, "libvirt": False, "virt_handler": True, "reason": None}, {}, {"kubevirt_node"}),
        ({"guests": 2, "libvirt": False, "virt_handler": False, "reason": None}, {}, {"kvm_host"}),
        ({"guests": 0, "libvirt": True, "virt_handler": False, "reason": None}, {}, {"kvm_host"}),
        ({"guests": 0, "libvirt": False, "virt_handler": False, "reason": None}, {"libvirt-qemu": True}, {"kvm_host"}),
        ({"guests": 0, "libvirt": False, "virt_handler": False, "reason": None}, {}, set()),
        # What is not known may be.
        (
            {"guests": None, "libvirt": None, "virt_handler": None, "reason": "hidden"},
            {},
            {"kvm_host", "kubevirt_node"},
        ),
    ],
)
def test_who_uses_kvm_tells_what_a_host_is(used_by: Any, users: Any, expected: set[str]) -> None:
    found = taken(patched({"kvm.used_by": used_by, "kvm.users": users}))
    assert found & {"kvm_host", "kubevirt_node"} == expected
