# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes, pods and custom resources as clusters have them, to be put into a fake one."""

from __future__ import annotations

from typing import Any

from ansible_collections.bulwark.node.tests.fakes.kube_rules import Object, custom_resource

__all__ = ["CAPI", "CUSTOM", "KARPENTER", "MEDIK8S", "METAL3", "OPENSHIFT", "condition", "node", "pod"]

CAPI = (
    custom_resource("cluster.x-k8s.io", "v1beta2", "machinehealthchecks", "MachineHealthCheck"),
    custom_resource("cluster.x-k8s.io", "v1beta2", "machines", "Machine"),
)
# Its group prefers v1, which has neither of the other two (openshift/api, machine/v1).
OPENSHIFT = (
    custom_resource("machine.openshift.io", "v1", "controlplanemachinesets", "ControlPlaneMachineSet"),
    custom_resource("machine.openshift.io", "v1beta1", "machinehealthchecks", "MachineHealthCheck"),
    custom_resource("machine.openshift.io", "v1beta1", "machines", "Machine"),
)
METAL3 = (custom_resource("metal3.io", "v1alpha1", "baremetalhosts", "BareMetalHost"),)
MEDIK8S = (
    custom_resource("remediation.medik8s.io", "v1alpha1", "nodehealthchecks", "NodeHealthCheck", namespaced=False),
)
KARPENTER = (custom_resource("karpenter.sh", "v1", "nodeclaims", "NodeClaim", namespaced=False),)
CUSTOM = (*CAPI, *OPENSHIFT, *METAL3, *MEDIK8S, *KARPENTER)


def condition(kind: str, holds: bool = True, since: str = "2026-01-01T00:00:00Z") -> Object:
    return {"type": kind, "status": str(holds), "lastTransitionTime": since}


def node(
    name: str,
    ready: bool = True,
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    since: str = "2026-01-01T00:00:00Z",
    **spec: Any,
) -> Object:
    metadata = {"name": name, "labels": labels or {}, "annotations": annotations or {}}
    info = {"bootID": f"boot-of-{name}", "machineID": f"machine-of-{name}"}
    status = {"conditions": [condition("Ready", ready, since)], "nodeInfo": info}
    return {"metadata": metadata, "spec": spec, "status": status}


def pod(
    name: str,
    on: str = "a",
    namespace: str = "default",
    phase: str = "Running",
    ready: bool = True,
    **metadata: Any,
) -> Object:
    spec = {"nodeName": on, "containers": [{"name": "c", "image": "x"}]}
    status = {"phase": phase, "conditions": [condition("Ready", ready)]}
    return {"metadata": {"name": name, "namespace": namespace, **metadata}, "spec": spec, "status": status}
