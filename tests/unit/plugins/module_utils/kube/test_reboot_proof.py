# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which DaemonSets select a node: nodeShouldRunDaemonPod of kube-controller-manager, as far as that is the node's own."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.kube.reboot_proof import wants
from ansible_collections.bulwark.node.tests.fakes import kube_objects

NODE = kube_objects.node("a", labels={"zone": "z1", "cores": "8"}, taints=[{"key": "t", "effect": "NoExecute"}])


def term(*expressions: tuple[str, str, list[str]], fields: list[str] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "matchExpressions": [{"key": key, "operator": sign, "values": values} for key, sign, values in expressions]
    }
    if fields is not None:
        found["matchFields"] = [{"key": "metadata.name", "operator": "In", "values": fields}]
    return found


def required(*terms: Any) -> dict[str, Any]:
    selector = {"nodeSelectorTerms": list(terms)}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": selector}}}


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({}, True),
        ({"nodeName": "a"}, True),
        ({"nodeName": "b"}, False),
        ({"nodeSelector": {"zone": "z1"}}, True),
        ({"nodeSelector": {"zone": "z1", "disk": "ssd"}}, False),
        ({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}}, True),
        (required(), False),
        (required({}), False),
        (required(term(("zone", "In", ["z1", "z2"]))), True),
        (required(term(("zone", "NotIn", ["z1"]))), False),
        (required(term(("zone", "In", ["z2"])), term(("cores", "Gt", ["4"]))), True),
        (required(term(("zone", "In", ["z1"]), ("cores", "Lt", ["4"]))), False),
        (required(term(fields=["a"])), True),
        (required(term(fields=["b"])), False),
        (required(term(("zone", "In", ["z1"]), fields=["b"])), False),
        (required(term(("disk", "Exists", []))), False),
        (required(term(("disk", "DoesNotExist", []))), True),
    ],
)
def test_a_daemon_set_selects_a_node(spec: dict[str, Any], wanted: bool) -> None:
    assert bool(wants({"spec": {"template": {"spec": spec}}}, NODE)) is wanted
