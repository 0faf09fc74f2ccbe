# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who would replace a node meanwhile, and what makes them leave it alone."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.kube.remediators import KINDS, Remediators, resources
from ansible_collections.bulwark.node.plugins.module_utils.reboot.gate import Subject
from ansible_collections.bulwark.node.tests.fakes.kube_objects import node

PAUSED = {"cluster.x-k8s.io/paused": ""}
SKIPPED = {"cluster.x-k8s.io/skip-remediation": ""}


def item(name: str, namespace: str = "m", spec: Any = None, status: Any = None, **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": namespace, **metadata},
        "spec": {} if spec is None else spec,
        "status": status or {},
    }


def check(namespace: str = "m", selector: Any = None, cluster: str = "", **metadata: Any) -> dict[str, Any]:
    spec = {"selector": {"matchLabels": {"role": "worker"}} if selector is None else selector}
    return item("check", namespace, {**spec, **({"clusterName": cluster} if cluster else {})}, **metadata)


def machine(of: str = "a", cluster: str = "", **metadata: Any) -> dict[str, Any]:
    found = {"labels": {"role": "worker"}, **metadata}
    return item("m-a", spec={"clusterName": cluster}, status={"nodeRef": {"name": of}}, **found)


def found(group: str, checks: list[Any], machines: list[Any], of: dict[str, Any] | None = None) -> list[str]:
    objects = {(group, "machinehealthchecks"): checks, (group, "machines"): machines}
    reasons = Remediators(objects).reasons(of or node("a"))
    assert {reason.source for reason in reasons} <= {"remediators"}
    return [reason.detail for reason in reasons]


@pytest.mark.parametrize(
    ("checks", "machines", "blocks"),
    [
        ([check()], [machine()], True),
        ([], [machine()], False),
        ([check()], [], False),
        ([check()], [machine(of="b")], False),
        ([check(namespace="other")], [machine()], False),
        ([check(selector={"matchLabels": {"role": "db"}})], [machine()], False),
        ([check(selector={})], [machine()], True),
        ([check(annotations=PAUSED)], [machine()], False),
        ([check(annotations=PAUSED), check()], [machine()], True),
    ],
)
@pytest.mark.parametrize("group", ["cluster.x-k8s.io", "machine.openshift.io"])
def test_a_machine_health_check_that_selects_its_machine_blocks_unless_it_is_paused(
    group: str, checks: list[Any], machines: list[Any], blocks: bool
) -> None:
    kind = "openshift" if "openshift" in group else "cluster_api"
    details = found(group, checks, machines)
    assert len(details) == blocks
    for detail in details:
        assert detail.startswith("MachineHealthCheck m/check replaces Machine m/m-a when it is not Ready for long; ")
        assert detail.endswith(f"or accept it (accepted_remediators: {kind})")


@pytest.mark.parametrize("annotations", [PAUSED, SKIPPED])
def test_a_machine_that_cluster_api_leaves_alone_does_not_block(annotations: dict[str, str]) -> None:
    assert found("cluster.x-k8s.io", [check()], [machine(annotations=annotations)]) == []
    # OpenShift's controller knows neither on Machines.
    assert len(found("machine.openshift.io", [check()], [machine(annotations=annotations)])) == 1


@pytest.mark.parametrize(("of", "blocks"), [("x", True), ("y", False), ("", True)])
def test_checks_of_cluster_api_are_about_one_cluster(of: str, blocks: bool) -> None:
    assert bool(found("cluster.x-k8s.io", [check(cluster=of)], [machine(cluster="x")])) is blocks


def test_the_machine_that_the_node_names_is_its_machine() -> None:
    other = item("other", labels={"role": "db"}, status={"nodeRef": {"name": "a"}})
    for group, own in (
        ("cluster.x-k8s.io", {"cluster.x-k8s.io/machine": "other", "cluster.x-k8s.io/cluster-namespace": "m"}),
        ("machine.openshift.io", {"machine.openshift.io/machine": "m/other"}),
    ):
        assert found(group, [check()], [machine(), other], node("a", annotations=own)) == []


def test_a_machine_of_a_management_cluster_blocks_for_its_checks_are_not_seen() -> None:
    annotations = {"cluster.x-k8s.io/machine": "m-a", "cluster.x-k8s.io/cluster-namespace": "fleet"}
    for machines in ([], [machine()]):
        (detail,) = found("cluster.x-k8s.io", [], machines, node("a", annotations=annotations))
        assert "Machine m-a of another, the management cluster" in detail
        assert "annotate that Machine there with cluster.x-k8s.io/skip-remediation" in detail


@pytest.mark.parametrize(
    ("spec", "labels", "blocks"),
    [
        ({"selector": {}}, {}, True),
        ({"selector": {"matchExpressions": [{"key": "w", "operator": "Exists"}]}}, {"w": ""}, True),
        ({"selector": {"matchExpressions": [{"key": "w", "operator": "Exists"}]}}, {}, False),
        ({"selector": {}, "pauseRequests": ["upgrade"]}, {}, False),
        ({"selector": {}, "pauseRequests": []}, {}, True),
        ({"selector": {}}, {"remediation.medik8s.io/exclude-from-remediation": "true"}, False),
        ({"selector": {}}, {"remediation.medik8s.io/exclude-from-remediation": "false"}, True),
    ],
)
def test_a_node_health_check_blocks_unless_it_is_paused_or_the_node_excluded(
    spec: dict[str, Any], labels: dict[str, str], blocks: bool
) -> None:
    objects = {("remediation.medik8s.io", "nodehealthchecks"): [item("nhc", "", spec)]}
    reasons = Remediators(objects).reasons(node("a", labels=labels))
    assert [reason.subject for reason in reasons] == [Subject("NodeHealthCheck", "nhc")] * blocks


@pytest.mark.parametrize(
    ("provider", "annotations", "blocks"),
    [
        ("baremetalhost:///m/host/uid-1", {"reboot.metal3.io": ""}, True),
        ("metal3://m/host/machine", {"reboot.metal3.io/other": '{"mode":"hard"}'}, True),
        ("metal3://uid-1", {"reboot.metal3.io": ""}, True),
        ("metal3://m/host", {"reboot.metal3.io": ""}, True),
        ("metal3://m/host", {"reboot.metal3.iox": ""}, False),
        ("metal3://m/host", {}, False),
        ("metal3://m/host-2/machine", {"reboot.metal3.io": ""}, False),
        ("aws:///zone/i-1", {"reboot.metal3.io": ""}, False),
        ("", {"reboot.metal3.io": ""}, False),
    ],
)
def test_a_power_cycle_by_metal3_blocks(provider: str, annotations: dict[str, str], blocks: bool) -> None:
    host = item("host", annotations=annotations, uid="uid-1")
    nameless = {"metadata": {"annotations": annotations}}
    reasons = Remediators({("metal3.io", "baremetalhosts"): [nameless, host]}).reasons(node("a", providerID=provider))
    assert [reason.subject for reason in reasons] == [Subject("BareMetalHost", "host", "m")] * blocks


KEPT = {"karpenter.sh/do-not-disrupt": "true"}


@pytest.mark.parametrize(
    ("labels", "own", "claim", "blocks"),
    [
        ({"karpenter.sh/nodepool": "p"}, {}, None, True),
        ({"karpenter.sh/provisioner-name": "p"}, {}, None, True),
        ({}, {}, {}, True),
        ({}, {}, None, False),
        ({"karpenter.sh/nodepool": "p"}, KEPT, {}, False),
        ({"karpenter.sh/nodepool": "p"}, {}, KEPT, False),
        ({"karpenter.sh/nodepool": "p"}, {"karpenter.sh/do-not-disrupt": "false"}, None, True),
    ],
)
def test_karpenter_blocks_unless_it_is_told_not_to_disrupt(
    labels: dict[str, str], own: dict[str, str], claim: dict[str, str] | None, blocks: bool
) -> None:
    claims = [] if claim is None else [item("claim", "", status={"nodeName": "a"}, annotations=claim)]
    reasons = Remediators({("karpenter.sh", "nodeclaims"): claims}).reasons(node("a", labels=labels, annotations=own))
    assert len(reasons) == blocks


@pytest.mark.parametrize(
    ("kind", "label", "text"),
    [
        ("gke", "cloud.google.com/gke-nodepool", "--no-enable-autorepair"),
        ("eks", "eks.amazonaws.com/nodegroup", "ReplaceUnhealthy"),
        ("eks", "eks.amazonaws.com/compute-type", "ReplaceUnhealthy"),
        ("aks", "kubernetes.azure.com/agentpool", "back before that"),
    ],
)
def test_pools_of_clouds_are_told_by_their_labels(kind: str, label: str, text: str) -> None:
    here = node("a", labels={label: "pool-1"})
    (reason,) = Remediators({}).reasons(here)
    assert f"it is of {label}=pool-1; " in reason.detail
    assert text in reason.detail
    assert Remediators({}, frozenset({kind})).reasons(here) == []


def test_what_is_accepted_is_neither_asked_for_nor_in_the_way() -> None:
    groups = dict.fromkeys(
        ("cluster.x-k8s.io", "machine.openshift.io", "metal3.io", "remediation.medik8s.io", "karpenter.sh", "apps"),
        ("v9", "v8"),
    )
    all_of_them = resources(groups, ())
    assert len(all_of_them) == 7
    assert {tuple(each.version for each in versions) for versions in all_of_them.values()} == {("v9", "v8")}
    assert resources(groups, KINDS) == {}
    assert resources({"apps": ("v1",)}, ()) == {}
    objects = {key: [check(selector={}), machine()] for key in all_of_them}
    everything = node("a", labels={"karpenter.sh/nodepool": "", "cloud.google.com/gke-nodepool": ""})
    assert len(Remediators(objects).reasons(everything)) > 4
    assert Remediators(objects, frozenset(KINDS)).reasons(everything) == []
