# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What in a cluster is in the way of a reboot: each rule, every error, and objects that nobody would write."""

from __future__ import annotations

import copy
import datetime as dt
import json
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import OptionError
from ansible_collections.bulwark.node.plugins.module_utils.kube.client import Client
from ansible_collections.bulwark.node.plugins.module_utils.kube.obstacles import (
    NODE_SPEC,
    Limits,
    limits,
    look,
    obstacles,
)
from ansible_collections.bulwark.node.plugins.module_utils.kube.remediators import Remediators
from ansible_collections.bulwark.node.plugins.module_utils.kube.snapshot import Snapshot, Wanted, state_of, take
from ansible_collections.bulwark.node.plugins.module_utils.reboot.fleet import NodeState
from ansible_collections.bulwark.node.plugins.module_utils.reboot.gate import Reason, Subject
from ansible_collections.bulwark.node.tests.fakes.kube_api import FakeKube
from ansible_collections.bulwark.node.tests.fakes.kube_objects import CUSTOM, MEDIK8S, node, pod
from ansible_collections.bulwark.node.tests.fakes.kube_rules import custom_resource
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.kube.conftest import Time, connected

NOW = dt.datetime(2026, 11, 21, 13, 0, tzinfo=dt.timezone.utc)
CONTROL = {"node-role.kubernetes.io/control-plane": ""}
UNSAFE = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}
LEASE = {"namespace": "medik8s-leases", "name": "node-a"}


def options(**given: Any) -> dict[str, Any]:
    defaults = {name: spec.get("default") for name, spec in NODE_SPEC.items()}
    return {**defaults, "name": "a", **given}


def asked(**given: Any) -> Limits:
    return limits("node", options(**given))


def judged(
    nodes: list[Any], pods: list[Any] | None = None, name: str = "a", etcd: Any = None, **given: Any
) -> list[Reason]:
    """The reasons against one node of a cluster, of which all is known."""
    on: dict[str, list[Any]] = {}
    for each in pods or []:
        on.setdefault(each["spec"]["nodeName"], []).append(each)
    found = Snapshot("https://x", {each["metadata"]["name"]: each for each in nodes}, on, etcd)
    return obstacles(found, name, asked(**given), NOW)


def sources(reasons: list[Reason]) -> list[str]:
    return [reason.source for reason in reasons]


@pytest.fixture
def cluster(kube: FakeKube) -> FakeKube:
    """Three workers, of which ``a`` is asked about, and a control plane of three with etcd."""
    for name in ("a", "b", "c"):
        kube.store.add("nodes", node(name))
    for name in ("m1", "m2", "m3"):
        kube.store.add("nodes", node(name, labels=CONTROL, taints=[{"key": "x", "effect": "NoSchedule"}]))
        kube.store.add("pods", pod(f"etcd-{name}", name, "kube-system", labels={"component": "etcd"}))
    for resource in CUSTOM:
        kube.store.register(resource)
    kube.store.add("namespaces", {"metadata": {"name": "medik8s-leases"}})
    return kube


def taints(key: str, effect: str = "NoSchedule") -> list[dict[str, str]]:
    return [{"key": key, "effect": effect}]


# Options


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "Worker-1"}, "node.name: got 'Worker-1', expected the name of a Node"),
        ({"name": "a,status.phase=Failed"}, "node.name"),
        ({"name": ""}, "node.name"),
        ({"blocking_pod_selectors": ["a=b", "a==="]}, r"node.blocking_pod_selectors\[1\]: got 'a==='"),
        ({"blocking_pod_selectors": [""]}, r"node.blocking_pod_selectors\[0\]: .*an empty one takes all"),
        ({"pool": "a b"}, "node.pool: got 'a b'"),
        ({"boot_id": ""}, "node.boot_id: got '', expected what the machine says"),
        ({"pool": " "}, "node.pool: got ' ', expected a label selector, or no such option"),
        ({"machine_id": " \n"}, r"node.machine_id: got ' \\n', expected what the machine says"),
        ({"max_unavailable": "0"}, "node.max_unavailable: got '0'"),
        ({"spacing": -1}, "node.spacing: got -1"),
        ({"spacing": 604801}, "node.spacing: got 604801"),
        ({"pause_annotation": "not one"}, "node.pause_annotation: got 'not one'"),
        ({"failure_budget": -1}, "node.failure_budget: got -1, expected a number of nodes, from 0 on"),
    ],
)
def test_a_wrong_option_is_refused_by_its_path(given: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        asked(**given)


# The node itself


def test_a_well_node_of_a_well_cluster_may_be_rebooted(client: Client, cluster: FakeKube) -> None:
    everything = {"blocking_pod_selectors": ["app=db"], "safe_to_evict": True, "max_unavailable": "1", "spacing": 60}
    for name in ("a", "m1"):
        assert look(client, name, asked(**everything, boot_id=f"boot-of-{name}"), NOW) == []


def test_a_node_that_is_missing_is_an_error_that_says_which_there_are() -> None:
    (reason,) = judged([node("b"), node("c")])
    assert (reason.source, reason.error) == ("node", True)
    assert reason.detail.startswith('there is no Node "a" at https://x, which has 2: b, c. Check its name')
    (reason,) = judged([])
    assert "which has 0. Check" in reason.detail


@pytest.mark.parametrize(
    ("given", "blocks"),
    [
        ({"boot_id": "boot-of-a", "machine_id": "machine-of-a"}, 0),
        ({"boot_id": "BOOT-of-a\n"}, 0),
        ({"boot_id": "boot-of-b"}, 1),
        ({"boot_id": "boot-of-b", "machine_id": "machine-of-b"}, 2),
    ],
)
def test_a_node_that_is_another_machine_is_an_error(given: dict[str, Any], blocks: int) -> None:
    reasons = judged([node("a"), node("b")], **given)
    assert [(reason.source, reason.error) for reason in reasons] == [("node", True)] * blocks
    for reason in reasons:
        assert "of-a, and the machine " in reason.detail


@pytest.mark.parametrize("option", ["boot_id", "machine_id"])
def test_a_node_that_does_not_say_who_it_is_is_not_proved(option: str) -> None:
    silent = node("a")
    del silent["status"]["nodeInfo"]
    given: dict[str, Any] = {option: "x"}
    (reason,) = judged([silent, node("b")], **given)
    assert (reason.source, reason.error) == ("node", True)
    assert " unknown, and the machine x" in reason.detail


@pytest.mark.parametrize(
    ("annotations", "given", "detail"),
    [
        (
            {"bulwark.node/reboot-paused": "ticket 7"},
            {},
            "a is paused by its annotation bulwark.node/reboot-paused: ticket 7",
        ),
        ({"bulwark.node/reboot-paused": ""}, {}, "a is paused by its annotation bulwark.node/reboot-paused"),
        ({"bulwark.node/reboot-paused": "False"}, {}, None),
        ({"x.org/stop": "true"}, {"pause_annotation": "x.org/stop"}, "a is paused by its annotation x.org/stop: true"),
        ({"bulwark.node/reboot-paused": "true"}, {"pause_annotation": "x.org/stop"}, None),
        (
            {"bulwark.node/reboot-paused": "a\nb\x1b"},
            {},
            "a is paused by its annotation bulwark.node/reboot-paused: a b",
        ),
    ],
)
def test_an_annotation_pauses_a_node_and_says_why(
    annotations: dict[str, str], given: dict[str, Any], detail: str | None
) -> None:
    reasons = judged([node("a", annotations=annotations), node("b")], **given)
    assert [reason.detail for reason in reasons] == ([] if detail is None else [detail])
    assert all(reason.subject == Subject("Node", "a") for reason in reasons)


# Pods


@pytest.mark.parametrize(
    ("phase", "blocks"),
    [("Pending", True), ("Running", True), ("Unknown", True), ("Succeeded", False), ("Failed", False)],
)
def test_an_unfinished_pod_that_is_selected_blocks(client: Client, cluster: FakeKube, phase: str, blocks: bool) -> None:
    for name, on, namespace in (("x", "a", "default"), ("y", "b", "default"), ("z", "a", "kube-system")):
        cluster.store.add("pods", pod(name, on, namespace, phase, labels={"app": "db"}))
    cluster.store.add("pods", pod("w", labels={"app": "web"}))
    reasons = look(client, "a", asked(blocking_pod_selectors=["app=db", "tier=x"]), NOW)
    subjects = [Subject("Pod", "x", "default"), Subject("Pod", "z", "kube-system")]
    assert [reason.subject for reason in reasons] == (subjects if blocks else [])
    assert [reason.detail for reason in reasons][:1] == ["pod default/x runs here and is selected by app=db"] * blocks


def test_a_pod_that_is_unsafe_to_evict_blocks_where_that_is_asked() -> None:
    pods = [
        pod("x", annotations=UNSAFE),
        pod("done", phase="Succeeded", annotations=UNSAFE),
        pod("y", "b", annotations=UNSAFE),
    ]
    pods.append(pod("safe", annotations={"cluster-autoscaler.kubernetes.io/safe-to-evict": "true"}))
    nodes = [node("a"), node("b")]
    assert judged(nodes, pods) == []
    (reason,) = judged(nodes, pods, safe_to_evict=True)
    assert (reason.source, reason.subject) == ("pods", Subject("Pod", "x", "default"))
    assert reason.detail.endswith("has cluster-autoscaler.kubernetes.io/safe-to-evict=false")


def test_pods_are_named_up_to_a_hundred() -> None:
    pods = [pod(f"x{number:03}", labels={"a": ""}) for number in range(150)]
    reasons = judged([node("a"), node("b")], pods, blocking_pod_selectors=["a"])
    assert len(reasons) == 101
    assert reasons[-1].detail == "50 reasons more"


# The pool


def test_what_is_down_in_the_pool_counts() -> None:
    nodes = [
        *(node(name, labels={"pool": "x"}) for name in "ab"),
        node("c", ready=False, labels={"pool": "x"}),
        node("d", unschedulable=True, labels={"pool": "y"}),
        node("e", annotations={"bulwark.node/rebooting": "run"}, labels={"pool": "y"}),
        node("f", annotations={"weave.works/kured-reboot-in-progress": "2026-01-01T00:00:00Z"}),
    ]
    (reason,) = judged(nodes, max_unavailable="1")
    assert "with a, 5 of 6 nodes would be down, and 1 may be: c is NotReady, d is cordoned" in reason.detail
    assert "e is being rebooted, f is being rebooted" in reason.detail
    (reason,) = judged(nodes, max_unavailable="40%", pool="pool=x")
    assert reason.detail == "with a, 2 of 3 nodes would be down, and 1 may be (40%): c is NotReady"
    assert judged(nodes, max_unavailable="2", pool="pool in (x)") == []
    assert judged(nodes) == []


@pytest.mark.parametrize(
    ("source", "given"), [("max_unavailable", {"max_unavailable": "1"}), ("spacing", {"spacing": 1})]
)
def test_a_node_outside_of_its_pool_is_an_error(source: str, given: dict[str, Any]) -> None:
    (reason,) = judged([node("a"), node("b", labels={"pool": "x"})], pool="pool=x", **given)
    assert (reason.source, reason.error) == (source, True)
    assert reason.detail == "a is not in the pool that is counted (pool=x). Check node.pool"


@pytest.mark.parametrize(
    ("b", "until"),
    [
        (node("b", since="2026-11-21T12:59:00Z"), "2026-11-21T13:09:00"),
        (node("b", annotations={"bulwark.node/rebooted": "2026-11-21T12:58:00.5Z"}), "2026-11-21T13:08:00.500000"),
        # The later of both.
        (
            node("b", since="2026-11-21T12:55:00Z", annotations={"bulwark.node/rebooted": "2026-11-21T12:54:00Z"}),
            "2026-11-21T13:05:00",
        ),
        (node("b", since="2026-11-21T12:50:00Z"), None),
        # It has not come up.
        (node("b", ready=False, since="2026-11-21T12:59:00Z"), None),
        (node("b", labels={"pool": "other"}, since="2026-11-21T12:59:00Z"), None),
    ],
)
def test_a_node_that_came_up_lately_is_waited_for(b: dict[str, Any], until: str | None) -> None:
    reasons = judged([node("a"), node("c"), b], spacing=600, pool="pool!=other")
    expected = [] if until is None else [dt.datetime.fromisoformat(f"{until}+00:00")]
    assert [(reason.source, reason.until) for reason in reasons] == [("spacing", each) for each in expected]


def test_a_reboot_whose_time_cannot_be_read_is_an_error() -> None:
    nodes = [node("a"), node("b", annotations={"bulwark.node/rebooted": "yesterday"})]
    (reason,) = judged(nodes, spacing=1)
    assert (reason.source, reason.error, reason.subject) == ("spacing", True, Subject("Node", "b"))
    assert judged(nodes) == []
    assert judged([node("a", labels={"x": ""}), *nodes[1:]], spacing=1, pool="x") == []


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (node("a"), NodeState("a", returned=dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc))),
        (node("a", ready=False), NodeState("a", ready=False)),
        # What no kubelet has said anything of, and one that is not heard of any more.
        ({"metadata": {"name": "a"}}, NodeState("a", ready=False)),
        (
            {"metadata": {"name": "a"}, "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}},
            NodeState("a", ready=False),
        ),
        (
            {
                **node("a", ready=False),
                "spec": {"unschedulable": True, "taints": taints("node.kubernetes.io/unschedulable")},
            },
            NodeState("a", ready=False, cordoned=True),
        ),
        ({**node("a", ready=False), "spec": {"taints": taints("x")}}, NodeState("a", ready=False, tainted=True)),
        (
            {**node("a", ready=False), "spec": {"taints": taints("x", "NoExecute")}},
            NodeState("a", ready=False, tainted=True),
        ),
        ({**node("a", ready=False), "spec": {"taints": taints("x", "PreferNoSchedule")}}, NodeState("a", ready=False)),
        (
            node("a", ready=False, labels={"node-role.kubernetes.io/master": ""}),
            NodeState("a", ready=False, control_plane=True),
        ),
    ],
)
def test_a_node_is_what_it_says_of_itself(item: Any, expected: NodeState) -> None:
    assert state_of(item) == expected


# Who is left


def test_the_only_node_takes_consent() -> None:
    nodes = [node("a", labels=CONTROL)]
    assert sources(judged(nodes, etcd={"a": pod("etcd")})) == ["last_node", "last_node", "etcd"]
    assert judged(nodes, etcd={"a": pod("etcd")}, allow_outage=True) == []


def members(count: int, **sick: str) -> dict[str, Any]:
    return {f"m{n}": pod("etcd", f"m{n}", ready=f"m{n}" not in sick) for n in range(1, count + 1)}


@pytest.mark.parametrize(
    ("controllers", "pods", "not_ready", "blocks"),
    [
        (3, members(3), (), False),
        (3, members(3, m2="sick"), (), True),
        (3, members(3), ("m2",), True),
        (3, members(3, m1="sick"), (), False),
        (5, members(5, m2="sick"), (), False),
        (5, members(5, m2="sick", m3="sick"), (), True),
        # A pod that is not seen is a member that is down.
        (3, members(2), (), True),
        (5, members(4), (), False),
    ],
)
def test_the_quorum_of_stacked_etcd_is_read_from_its_pods(
    controllers: int, pods: dict[str, Any], not_ready: tuple[str, ...], blocks: bool
) -> None:
    names = [f"m{number}" for number in range(1, controllers + 1)]
    nodes = [node("w"), *(node(name, name not in not_ready, labels=CONTROL) for name in names)]
    assert sources(judged(nodes, name="m1", etcd=pods)) == ["etcd"] * blocks
    # It is no matter of a worker's.
    assert judged([*nodes, node("v")], name="w", etcd=pods) == []


def test_a_pod_of_etcd_makes_a_member_of_any_node() -> None:
    nodes = [node("w"), *(node(f"m{number}", labels=CONTROL) for number in (1, 2, 3))]
    assert judged(nodes, name="m1", etcd=members(3)) == []
    (reason,) = judged(nodes, name="m1", etcd={**members(3), "w": pod("etcd", "w", ready=False)})
    assert "2 of 4 members of etcd would be left, and its quorum is 3: no healthy member is seen on w" in reason.detail


def test_etcd_that_is_not_seen_blocks_until_it_is_said_where_it_is() -> None:
    nodes = [node(name, labels=CONTROL) for name in ("a", "b", "c")]
    (reason,) = judged(nodes, etcd={})
    assert (reason.source, reason.error) == ("etcd", False)
    assert "so that its quorum is unknown. Set node.etcd to external" in reason.detail
    # It was refused, which is an error of the snapshot.
    assert judged(nodes, etcd=None) == []
    snapshot = Snapshot("x", {each["metadata"]["name"]: each for each in nodes})
    for mode in ("external", "control_plane"):
        assert obstacles(snapshot, "a", asked(etcd=mode), NOW) == []
        # Also with what others asked the same cluster for.
        assert obstacles(replace(snapshot, etcd={}), "a", asked(etcd=mode), NOW) == []
    snapshot = Snapshot("x", {"a": nodes[0], "b": nodes[1], "c": node("c", ready=False, labels=CONTROL)})
    assert sources(obstacles(snapshot, "a", asked(etcd="control_plane"), NOW)) == ["etcd"]


FAILED = {"bulwark.node/quarantined": '{"run": "r1", "at": "2026-11-21T12:00:00Z", "reason": "it is not Ready"}'}


@pytest.mark.parametrize(
    ("own", "others", "given", "expected"),
    [
        (False, 0, {}, []),
        (False, 1, {}, ["failure_budget"]),
        (False, 1, {"failure_budget": 1}, []),
        (False, 2, {"failure_budget": 1}, ["failure_budget"]),
        # It is about a node's own.
        (False, 1, {"lift_quarantine": True}, ["failure_budget"]),
        (True, 0, {}, ["quarantine"]),
        (True, 0, {"failure_budget": 9}, ["quarantine"]),
        (True, 0, {"lift_quarantine": True}, []),
        # Or nobody could ever be healed where two are in quarantine.
        (True, 2, {}, ["quarantine"]),
        (True, 2, {"lift_quarantine": True}, []),
    ],
)
def test_nodes_that_did_not_prove_themselves_stop_themselves_and_beyond_the_budget_all_others(
    own: bool, others: int, given: dict[str, Any], expected: list[str]
) -> None:
    nodes = [node(name, annotations=FAILED) for name in ("b", "c")[:others]]
    reasons = judged([node("a", annotations=FAILED if own else {}), node("up"), *nodes], **given)
    assert sources(reasons) == expected
    for reason in reasons:
        assert reason.subject == Subject("Node", "a" if own else "b")
        assert "lift_quarantine" in reason.detail
        assert not reason.error


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (FAILED["bulwark.node/quarantined"], "run r1, at 2026-11-21T12:00:00Z, reason it is not Ready. See"),
        ('{"reason": "x\\u001b[2J"}', "reason x [2J. See"),
        ("by hand\n", "by hand. See"),
        ("", "nobody says why. See"),
        ("[" * 99999, "[[["),
        ('{"run": {"a": []}}', "run {'a': []}. See"),
    ],
)
def test_whatever_is_in_its_annotation_a_node_is_in_quarantine(value: str, shown: str) -> None:
    (reason,) = judged([node("a", annotations={"bulwark.node/quarantined": value}), node("b")])
    assert reason.detail.startswith(f"a did not prove itself after a reboot: {shown}")
    assert reason.detail.isprintable()


def test_nodes_that_are_labelled_for_etcd_are_its_members() -> None:
    label = {"node-role.kubernetes.io/etcd": "true"}
    # k3s: no pods. RKE2: of several roles.
    nodes = [
        *(node(name, labels=label) for name in ("e1", "e2", "e3")),
        node("c1", labels=CONTROL),
        node("c2", labels=CONTROL),
    ]
    assert judged(nodes, name="e1", etcd={}) == []
    nodes[1] = node("e2", ready=False, labels=label)
    assert sources(judged(nodes, name="e1", etcd={})) == ["etcd"]
    # Who of the control plane has no label has no member.
    assert judged(nodes, name="c1", etcd={}) == []


# medik8s


def lease(
    holder: str | None = "node-maintenance", renewed: Any = "2026-11-21T12:30:00.000000Z", seconds: Any = 3600
) -> Any:
    return {
        "metadata": LEASE,
        "spec": {"holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": seconds},
    }


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (lease(), (dt.datetime(2026, 11, 21, 13, 30, tzinfo=dt.timezone.utc), False)),
        (lease(seconds=1799), None),
        (lease(seconds=1800), (NOW, False)),
        # Held by nobody knows whom; by a clock that is ahead.
        (lease(holder=None), (dt.datetime(2026, 11, 21, 13, 30, tzinfo=dt.timezone.utc), False)),
        (lease(renewed="2026-11-21T13:30:00Z"), (dt.datetime(2026, 11, 21, 14, 30, tzinfo=dt.timezone.utc), False)),
        (lease(renewed=None), None),
        (lease(seconds=None), None),
        (lease(renewed="soon"), (None, True)),
        (lease(seconds="3600"), (None, True)),
        (lease(seconds=-1), (None, True)),
        (lease(seconds=10**30), (None, True)),
        ({"spec": None}, None),
    ],
)
def test_a_lease_of_medik8s_is_respected_until_it_ends(item: Any, expected: tuple[Any, bool] | None) -> None:
    found = Snapshot("x", {name: node(name) for name in "ab"}, leases={"node-a": item})
    reasons = obstacles(found, "a", asked(), NOW)
    assert [(reason.until, reason.error) for reason in reasons] == ([] if expected is None else [expected])
    assert obstacles(found, "b", asked(), NOW) == []


# What is asked


def requested(kube: FakeKube) -> list[str]:
    return [request.path for request in kube.requests]


def test_no_more_is_asked_than_counts(client: Client, cluster: FakeKube) -> None:
    kinds = ["cluster_api", "openshift", "metal3", "karpenter", "medik8s"]
    look(client, "a", asked(accepted_remediators=kinds), NOW)
    assert requested(cluster) == [
        "/api/v1/nodes",
        "/apis",
        "/apis/coordination.k8s.io/v1/namespaces/medik8s-leases/leases/node-a",
    ]
    cluster.requests.clear()
    look(client, "m1", asked(blocking_pod_selectors=["a", "b"], safe_to_evict=True), NOW)
    assert requested(cluster)[:4] == ["/api/v1/nodes", "/api/v1/pods", "/api/v1/namespaces/kube-system/pods", "/apis"]
    assert cluster.requests[1].query["fieldSelector"] == "spec.nodeName=m1"
    # Both of OpenShift in two versions, and the Lease.
    assert len(cluster.requests) == 4 + 7 + 2 + 1


def test_a_cluster_without_any_of_these_apis_is_asked_for_none(client: Client, kube: FakeKube) -> None:
    for name in "ab":
        kube.store.add("nodes", node(name))
    assert look(client, "a", asked(), NOW) == []
    assert requested(kube) == ["/api/v1/nodes", "/apis"]


def test_a_lease_of_medik8s_is_asked_for_with_any_of_its_parts(client: Client, kube: FakeKube) -> None:
    kube.store.register(custom_resource("self-node-remediation.medik8s.io", "v1alpha1", "x", "X"))
    kube.store.add("namespaces", {"metadata": {"name": "medik8s-leases"}})
    kube.store.add("leases.coordination.k8s.io", lease())
    for name in "ab":
        kube.store.add("nodes", node(name))
    assert sources(look(client, "a", asked(), NOW)) == ["medik8s_lease"]


def test_a_group_of_which_a_part_is_installed_is_no_error(client: Client, cluster: FakeKube) -> None:
    del cluster.store.resources["machinehealthchecks.cluster.x-k8s.io"]
    assert look(client, "a", asked(), NOW) == []


def test_all_is_found_through_the_server(client: Client, cluster: FakeKube) -> None:
    cluster.store.add("namespaces", {"metadata": {"name": "m"}})
    labels = {"role": "worker"}
    for group in ("cluster.x-k8s.io", "machine.openshift.io"):
        of = {"status": {"nodeRef": {"name": "a"}}, "spec": {}}
        cluster.store.add(f"machines.{group}", {"metadata": {"name": "x", "namespace": "m", "labels": labels}, **of})
        spec = {"spec": {"selector": {"matchLabels": labels}}}
        cluster.store.add(f"machinehealthchecks.{group}", {"metadata": {"name": "c", "namespace": "m"}, **spec})
    cluster.store.add("nodehealthchecks.remediation.medik8s.io", {"metadata": {"name": "n"}, "spec": {"selector": {}}})
    cluster.store.add("nodeclaims.karpenter.sh", {"metadata": {"name": "k"}, "status": {"nodeName": "a"}})
    cluster.store.add("leases.coordination.k8s.io", lease())
    reasons = look(client, "a", asked(), NOW)
    assert sources(reasons) == ["medik8s_lease", *["remediators"] * 4]
    assert look(client, "b", asked(accepted_remediators=["medik8s"]), NOW) == []


# Errors


FAULTS: list[dict[str, Any]] = [
    {"status": 403, "reason": "Forbidden"},
    {"status": 500},
    {"status": 503},
    {"status": 401, "reason": "Unauthorized"},
    {"status": 429, "retry_after": "1"},
    {"status": 200, "text": "<html>Sign in</html>"},
    {"status": 200, "text": "{}"},
    {"status": 200, "text": '{"kind": "Status", "status": "Success"}'},
    {"status": 200, "text": '{"items": {}, "groups": "x", "kind": "List"}'},
    {"status": 200, "text": '{"items": [null], "groups": [1]}'},
    {"status": 200, "text": "[" * 100000},
    {"status": 302, "text": "moved"},
    {"status": 404, "text": "404 page not found\n"},
    {"lost": "before"},
    {"lost": "after"},
]
PARTS = {
    "/api/v1/nodes": "node",
    "/api/v1/pods": "pods",
    "/kube-system/pods": "etcd",
    "/apis": "remediators",
    "/machinehealthchecks": "remediators",
    "/leases/": "medik8s_lease",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: "-".join(map(str, fault.values()))[:30])
@pytest.mark.parametrize("path", PARTS)
def test_whatever_fails_is_a_reason_and_hides_no_other(
    client: Client, cluster: FakeKube, path: str, fault: dict[str, Any]
) -> None:
    cluster.store.add("pods", pod("x", "m1", labels={"app": "db"}))
    cluster.store.edit("nodes", "", "m1", {"metadata": {"annotations": {"bulwark.node/reboot-paused": "x"}}})
    cluster.fault(path=path, exact=path == "/apis", times=10**6, **fault)
    found = look(client, "m1", asked(blocking_pod_selectors=["app=db"]), NOW)
    # What a cluster does not have is no error.
    absent = fault.get("status") == 404 and path == "/machinehealthchecks"
    failed = PARTS[path]
    assert {reason.source for reason in found if reason.error} == (set() if absent else {failed})
    others = {"node": {"pods"}, "pods": {"pause"}}.get(failed, {"pods", "pause"})
    assert {reason.source for reason in found if not reason.error} == others


def test_without_a_server_nothing_hangs_and_all_is_an_error(kube: FakeKube, time: Time) -> None:
    gone = connected(kube, time, host="http://127.0.0.1:9")
    start = time.now
    found = look(gone, "a", asked(safe_to_evict=True), NOW)
    assert [(reason.source, reason.error) for reason in found] == [
        (source, True) for source in ("node", "pods", "etcd", "remediators")
    ]
    assert time.now - start <= 60


# Objects that nobody would write


HOSTILE: list[Any] = [
    None,
    "",
    "{{ 7 }}",
    "a\x00\x1b\n",
    "9999-12-31T23:59:59Z",
    "8999-12-31T23:59:59Z",
    2**31 - 1,
    -1,
    10**40,
    1.5,
    True,
    [],
    [None],
    {},
    {"": None},
    ["x"],
    {"a": ["b"]},
]


def leaves(item: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Each place below an object, itself included."""
    yield path
    for key, value in item.items() if isinstance(item, dict) else enumerate(item) if isinstance(item, list) else ():
        yield from leaves(value, (*path, key))


def changed(item: Any, path: tuple[Any, ...], value: Any) -> Any:
    item = copy.deepcopy(item)
    place = item
    for step in path[:-1]:
        place = place[step]
    if value is KeyError:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return item


def full_cluster() -> dict[str, Any]:
    """One of each object that is read, each with all that is read of it."""
    labels = {**CONTROL, "karpenter.sh/nodepool": "p", "cloud.google.com/gke-nodepool": "g"}
    own = {"bulwark.node/rebooted": "2026-11-21T12:59:00Z", "bulwark.node/reboot-paused": "x", **FAILED}
    machine = {"cluster.x-k8s.io/machine": "x", "cluster.x-k8s.io/cluster-namespace": "m"}
    taints = [{"key": "x", "effect": "NoSchedule"}]
    selector = {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}
    metadata = {
        "name": "x",
        "namespace": "m",
        "labels": {"a": "b"},
        "annotations": {"reboot.metal3.io": ""},
        "uid": "u",
    }
    spec = {"selector": selector, "clusterName": "c", "pauseRequests": []}
    status = {"nodeRef": {"name": "a"}, "nodeName": "a"}
    return {
        "node": node("a", labels=labels, annotations={**own, **machine}, taints=taints, providerID="metal3://m/x/y"),
        "pod": pod("x", labels={"app": "db"}, annotations=UNSAFE),
        "etcd": pod("etcd-a", "a", "kube-system"),
        "lease": lease(),
        "custom": {"metadata": metadata, "spec": spec, "status": status},
    }


def judge_all(found: dict[str, Any]) -> list[Reason]:
    custom = {
        (resource.group, resource.plural): [found["custom"]] if isinstance(found["custom"], dict) else []
        for resource in CUSTOM
    }
    snapshot = Snapshot(
        "x",
        {"a": found["node"], "b": node("b")},
        {"a": [found["pod"]]},
        {"a": found["etcd"]},
        Remediators(custom),
        {"node-a": found["lease"]},
    )
    everything = asked(blocking_pod_selectors=["app"], safe_to_evict=True, max_unavailable="1", spacing=60, boot_id="b")
    return obstacles(snapshot, "a", everything, NOW)


def test_no_object_makes_it_fall_over_and_no_text_of_one_reaches_a_terminal() -> None:
    whole = full_cluster()
    assert len(judge_all(whole)) > 10
    for kind, item in whole.items():
        for path in leaves(item):
            for value in [*HOSTILE, *([KeyError] if path else [])]:
                broken = value if not path and value is not KeyError else changed(item, path, value) if path else item
                if not isinstance(broken, dict):
                    continue
                for reason in judge_all({**whole, kind: broken}):
                    assert reason.detail.isprintable(), (kind, path, value)
                    assert len(reason.detail) < 900


def test_several_wrongs_at_once_do_not_either() -> None:
    chance = random.Random(10)
    for _round in range(400):
        found = full_cluster()
        for kind in found:
            for _time in range(3):
                path = chance.choice(list(leaves(found[kind])))
                if path:
                    found[kind] = changed(found[kind], path, chance.choice(HOSTILE))
        judge_all(found)


def test_hostile_objects_pass_through_the_client(client: Client, cluster: FakeKube) -> None:
    chance = random.Random(4)
    for _round in range(30):
        broken = [changed(node("a"), path, chance.choice(HOSTILE)) for path in leaves(node("a")) if path]
        text = json.dumps({"items": broken, "metadata": chance.choice([None, {}, "x", {"continue": None}])})
        cluster.faults[:] = []
        cluster.fault(path="/api/v1/nodes", status=200, text=text)
        take(client, Wanted("a", pods=bool, etcd=True))


# Many


def test_thousands_of_nodes_take_few_requests_and_little_time(client: Client, kube: FakeKube) -> None:
    for resource in MEDIK8S:
        kube.store.register(resource)
    for number in range(1200):
        kube.store.add("nodes", node(f"n{number:04}", labels={"pool": str(number % 3)}))
    snapshot = take(client, asked(blocking_pod_selectors=["a"], max_unavailable="1").wanted(None))
    assert len(kube.requests) == 3 + 1 + 1 + 1 + 1 + 1
    for name in snapshot.nodes or {}:
        assert obstacles(snapshot, name, asked(max_unavailable="1", spacing=60), NOW) == []
