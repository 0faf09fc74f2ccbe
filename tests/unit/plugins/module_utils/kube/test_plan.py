# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of a cluster's reboots: what becomes of each node, and what holds of any plan."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.bulwark.node.plugins.module_utils.errors import OptionError
from ansible_collections.bulwark.node.plugins.module_utils.kube.obstacles import LIMITS_SPEC, Limits, limits, obstacles
from ansible_collections.bulwark.node.plugins.module_utils.kube.plan import NODES_SPEC, ZONE, Plan, hosts, plan
from ansible_collections.bulwark.node.plugins.module_utils.kube.snapshot import Snapshot, take
from ansible_collections.bulwark.node.plugins.module_utils.reboot.fleet import NodeState
from ansible_collections.bulwark.node.plugins.module_utils.reboot.gate import Reason, Subject, decide
from ansible_collections.bulwark.node.plugins.module_utils.reboot.plan_table import table
from ansible_collections.bulwark.node.tests.fakes.kube_api import FakeKube
from ansible_collections.bulwark.node.tests.fakes.kube_objects import CUSTOM, condition, node, pod
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.kube.conftest import Time, connected
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.kube.test_obstacles import (
    HOSTILE,
    changed,
    leaves,
)

NOW = dt.datetime(2026, 11, 21, 13, 0, tzinfo=dt.timezone.utc)
CONTROL = {"node-role.kubernetes.io/control-plane": ""}
REBOOTING = {"bulwark.node/rebooting": '{"run": "r", "at": "2026-11-21T12:00:00Z", "boot_id": "b", "pods": []}'}
QUARANTINED = {
    "bulwark.node/quarantined": '{"run": "r", "at": "2026-11-21T12:30:00Z", "reason": "not Ready"}',
    **REBOOTING,
}
OURS = {"bulwark.node/cordon": '{"run": "r", "at": "2026-11-21T12:00:00Z"}'}


def row(name: str, **given_: Any) -> dict[str, Any]:
    """A node of the option ``nodes`` that needs a reboot."""
    return {**{key: spec.get("default") for key, spec in NODES_SPEC.items()}, "name": name, "required": True, **given_}


def wanted(**given_: Any) -> Limits:
    return limits("limits", {**{key: spec.get("default") for key, spec in LIMITS_SPEC.items()}, **given_})


def cluster(*nodes: Any, **more: Any) -> Snapshot:
    return Snapshot("https://x", {each["metadata"]["name"]: each for each in nodes}, **more)


def planned(snapshot: Snapshot, *rows: dict[str, Any], most: int = 1, **limits_: Any) -> Plan:
    """By default for all nodes of the cluster, each of which needs a reboot."""
    asked = rows or tuple(map(row, snapshot.nodes or {}))
    return plan(snapshot, hosts("nodes", asked), wanted(**limits_), most, ZONE, NOW)


def named(found: Plan) -> list[tuple[str, ...]]:
    return [batch.names for batch in found.batches]


def result(found: Plan) -> dict[str, Any]:
    """As the module gives it."""
    gate = decide(NOW, [], dt.timedelta(0), found.reasons)
    return {**gate.as_dict(), **found.as_dict(gate.open)}


def may_begin(found: Plan) -> list[bool]:
    return [batch["may_begin"] for batch in result(found)["batches"]]


# Options


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"name": "A"}], r"nodes\[0\].name: got 'A', expected the name of a Node"),
        ([{"name": "a"}, {"name": "a"}], r"nodes\[1\].name: got 'a', expected one of its own: nodes\[0\] has it too"),
        ([{"name": "a"}, {"name": "b", "host": "a"}], r"nodes\[1\].host: got 'a'"),
        ([{"name": "a", "boot_id": " "}], r"nodes\[0\].boot_id: got ' '"),
    ],
)
def test_a_wrong_row_is_refused_by_its_path(rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        hosts("nodes", [row(**each) for each in rows])


# One node


@pytest.mark.parametrize(
    ("annotations", "given_", "state", "sources"),
    [
        ({}, {}, "planned", []),
        ({}, {"required": False}, "not_required", []),
        # What is in its way is of no interest then.
        ({}, {"required": False, "boot_id": "another", "blocked": ["dpkg"]}, "not_required", []),
        ({}, {"required": None}, "unknown", ["host"]),
        ({}, {"error": "no route to host"}, "not_asked", ["host"]),
        ({}, {"required": None, "error": "no route to host"}, "not_asked", ["host"]),
        ({}, {"error": " "}, "planned", []),
        ({}, {"blocked": ["dpkg is running", " "]}, "blocked", ["host"]),
        ({}, {"boot_id": "another"}, "blocked", ["node"]),
        ({"bulwark.node/reboot-paused": "x"}, {}, "blocked", ["pause"]),
        (REBOOTING, {}, "interrupted", []),
        (REBOOTING, {"required": False}, "interrupted", []),
        (REBOOTING, {"required": None}, "interrupted", ["host"]),
        # It cannot be healed by who cannot reach it.
        (REBOOTING, {"error": "no route to host"}, "not_asked", ["host"]),
        ({"bulwark.node/rebooting": "nonsense"}, {}, "interrupted", []),
        (QUARANTINED, {}, "quarantined", ["quarantine"]),
        (QUARANTINED, {"required": False}, "quarantined", ["quarantine"]),
        (QUARANTINED, {"error": "no route to host"}, "quarantined", ["host", "quarantine"]),
        # kured's own is not ours to end.
        ({"weave.works/kured-reboot-in-progress": "x"}, {}, "planned", []),
    ],
)
def test_what_becomes_of_a_node(
    annotations: dict[str, str], given_: dict[str, Any], state: str, sources: list[str]
) -> None:
    found = planned(cluster(node("a", annotations=annotations), node("b")), row("a", **given_))
    (each,) = result(found)["nodes"]
    assert (each["state"], [reason["source"] for reason in each["reasons"]]) == (state, sources)
    assert each["batch"] == (1 if state in ("planned", "interrupted") else None)
    assert each["required"] is {"required": True, **given_}["required"]


def test_a_node_that_the_cluster_does_not_have_is_absent() -> None:
    found = planned(cluster(node("a"), node("b")), row("gone"), row("a", required=False))
    assert [(each["name"], each["state"]) for each in result(found)["nodes"]] == [
        ("a", "not_required"),
        ("gone", "absent"),
    ]
    assert found.nodes["gone"].reasons[0].error


def test_a_node_is_told_with_its_host_zone_and_place() -> None:
    labels = {ZONE: "x\x1b[2J" + "y" * 99}
    found = planned(cluster(node("a", labels=labels), node("b")), row("a", host="a.example.org", since=5))
    (each,) = result(found)["nodes"]
    assert each == {
        "name": "a",
        "host": "a.example.org",
        "required": True,
        "state": "planned",
        "batch": 1,
        "zone": "x [2J" + "y" * 58 + "…",
        "control_plane": False,
        "since": 5,
        "reasons": [],
    }
    (batch,) = result(found)["batches"]
    assert batch == {"number": 1, "nodes": ["a"], "hosts": ["a.example.org"], "interrupted": False, "may_begin": True}


def test_who_may_have_a_member_of_etcd_goes_alone_and_last() -> None:
    etcd = {each: pod(f"etcd-{each}", each, "kube-system") for each in ("a", "m1", "m2")}
    nodes = (
        node("a"),
        node("b", labels={"node-role.kubernetes.io/etcd": ""}),
        *(node(name, labels=CONTROL) for name in ("m1", "m2")),
        *map(node, "cd"),
    )
    everyone = cluster(*nodes, etcd=etcd)
    found = planned(everyone, most=9, etcd="external")
    assert named(found) == [("c", "d"), ("a",), ("b",), ("m1",), ("m2",)]
    assert [name for name, each in found.nodes.items() if each.control_plane] == ["a", "b", "m1", "m2"]


# All of them


def test_what_holds_for_all_takes_nobody_s_place_but_nothing_begins() -> None:
    nodes = (node("a"), node("b"), node("c", annotations=REBOOTING), node("m", labels=CONTROL))
    found = planned(cluster(*nodes, errors=[Reason("pods", "refused", error=True)]), row("a"), row("b"), row("c"))
    assert named(found) == [("c",), ("a",), ("b",)]
    assert [reason.source for reason in found.reasons] == ["pods"]
    # What was begun has to be ended.
    assert may_begin(found) == [True, False, False]
    assert all(not each.reasons for each in found.nodes.values())


def test_etcd_that_cannot_be_asked_is_in_the_way_of_its_members_alone() -> None:
    errors = [Reason("etcd", "refused", error=True)]
    found = planned(cluster(node("a"), node("b"), node("m", labels=CONTROL), errors=errors), allow_outage=True)
    assert [(name, each.state) for name, each in found.nodes.items()] == [
        ("a", "planned"),
        ("b", "planned"),
        ("m", "blocked"),
    ]
    assert (found.reasons, found.nodes["m"].reasons) == ([], errors)


def test_without_its_nodes_nothing_is_planned() -> None:
    snapshot = Snapshot("x", errors=[Reason("node", "refused", error=True)])
    found = planned(snapshot, row("a"), row("b", required=False), row("c", error="gone"))
    assert [each.state for each in found.nodes.values()] == ["blocked", "not_required", "not_asked"]
    assert found.nodes["a"].reasons[0].error
    assert (named(found), found.down, [reason.source for reason in found.reasons]) == ([], {}, ["node"])


def test_what_is_counted_is_waited_for() -> None:
    found = planned(cluster(node("a"), node("b"), node("c", ready=False)), row("a"), row("b"), max_unavailable="1")
    assert named(found) == [("a",), ("b",)]
    assert may_begin(found) == [False, False]
    assert [reason.source for reason in found.nodes["a"].reasons] == ["max_unavailable"]
    came_up = node("c", since="2026-11-21T12:59:00Z")
    found = planned(cluster(node("a"), came_up), row("a"), spacing=120)
    assert (named(found), may_begin(found)) == ([("a",)], [False])
    assert result(found)["nodes"][0]["reasons"][0]["until"] == int(NOW.timestamp()) + 60


def test_what_can_not_be_counted_takes_a_node_out() -> None:
    found = planned(cluster(node("a"), node("b", labels={"of": "it"})), max_unavailable="1", pool="of=it")
    assert (named(found), found.nodes["a"].state) == ([("b",)], "blocked")


def test_a_batch_leaves_what_max_unavailable_allows_beside_what_is_down() -> None:
    nodes = [node(f"n{number}", unschedulable=number == 0) for number in range(10)]
    rows = [row(f"n{number}") for number in range(1, 6)]
    found = planned(cluster(*nodes), *rows, most=9, max_unavailable="30%")
    assert named(found) == [("n1", "n2"), ("n3", "n4"), ("n5",)]
    assert may_begin(found) == [True] * 3
    assert found.down == {"n0": "n0 is cordoned"}


# Interrupted


def test_all_after_what_was_interrupted_is_planned_as_if_that_were_up() -> None:
    etcd = {name: pod(f"etcd-{name}", name, "kube-system", ready=name != "m1") for name in ("m1", "m2", "m3")}
    nodes = [node(name, labels=CONTROL) for name in ("m2", "m3")]
    away = node("m1", ready=False, labels=CONTROL, annotations={**REBOOTING, **OURS}, unschedulable=True)
    found = planned(cluster(away, *nodes, etcd=etcd), max_unavailable="1")
    assert named(found) == [("m1",), ("m2",), ("m3",)]
    assert may_begin(found) == [True] * 3
    assert found.down == {"m1": "m1 is NotReady and cordoned and being rebooted"}
    # Whoever cannot be asked will not be healed.
    found = planned(cluster(away, *nodes, etcd=etcd), row("m1", error="gone"), row("m2"), max_unavailable="1")
    assert named(found) == []
    assert [reason.source for reason in found.nodes["m2"].reasons] == ["max_unavailable", "etcd"]


def test_a_cordon_that_is_not_ours_stays_when_a_node_is_healed() -> None:
    away = node("a", annotations=REBOOTING, unschedulable=True)
    found = planned(cluster(away, node("b"), node("c")), max_unavailable="1")
    assert (named(found), may_begin(found)) == ([("a",), ("b",), ("c",)], [True, False, False])


# Quarantine


def test_a_node_in_quarantine_stops_all_others_by_the_failure_budget() -> None:
    bad = node("a", annotations=QUARANTINED)
    found = planned(cluster(bad, node("b"), node("c", annotations=REBOOTING)))
    assert [reason.source for reason in found.reasons] == ["failure_budget"]
    assert found.reasons[0].subject == Subject("Node", "a")
    assert (named(found), may_begin(found)) == ([("c",), ("b",)], [True, False])
    found = planned(cluster(bad, node("b"), node("c")), row("b"), failure_budget=1)
    assert (found.reasons, may_begin(found)) == ([], [True])
    # It need not be one of those that are planned.
    assert planned(cluster(bad, node("b")), row("b")).reasons


def test_a_quarantine_that_is_lifted_is_ended_first_and_stops_nobody() -> None:
    bad = node("a", annotations=QUARANTINED)
    found = planned(cluster(bad, node("b"), node("c")), row("a"), row("b"), lift_quarantine=True)
    assert (named(found), may_begin(found), found.reasons) == ([("a",), ("b",)], [True, True], [])
    # The others are.
    found = planned(cluster(bad, node("b")), row("b"), lift_quarantine=True)
    assert [reason.source for reason in found.reasons] == ["failure_budget"]
    found = planned(cluster(bad, node("b")), row("a", error="gone"), row("b"), lift_quarantine=True)
    assert [reason.source for reason in found.reasons] == ["failure_budget"]


# Through the server


def test_a_cluster_is_asked_once_for_all_of_it(kube: FakeKube, time: Time) -> None:
    for resource in CUSTOM:
        kube.store.register(resource)
    for name in ("a", "b"):
        kube.store.add("nodes", node(name))
        kube.store.add("pods", pod(f"web-{name}", name, labels={"app": "web"}))
        kube.store.add("pods", pod(f"db-{name}", name, labels={"app": "db"}))
    kube.store.add("namespaces", {"metadata": {"name": "medik8s-leases"}})
    spec = {"holderIdentity": "x", "leaseDurationSeconds": 60, "renewTime": "2026-11-21T13:00:00.000000Z"}
    kube.store.add(
        "leases.coordination.k8s.io", {"metadata": {"namespace": "medik8s-leases", "name": "node-b"}, "spec": spec}
    )
    rules = wanted(blocking_pod_selectors=["app=db"])
    snapshot = take(connected(kube, time), rules.wanted(None))
    # No more of it is kept than counts.
    assert {name: [each["metadata"]["name"] for each in found] for name, found in snapshot.pods.items()} == {
        "a": ["db-a"],
        "b": ["db-b"],
    }
    found = plan(snapshot, hosts("nodes", [row("a"), row("b")]), rules, 1, ZONE, NOW)
    assert {name: [reason.source for reason in each.reasons] for name, each in found.nodes.items()} == {
        "a": ["pods"],
        "b": ["pods", "medik8s_lease"],
    }
    assert len([request for request in kube.requests if request.path.endswith("/pods")]) == 2


def test_a_server_that_is_gone_is_asked_for_nothing_more(kube: FakeKube, time: Time) -> None:
    snapshot = take(connected(kube, time, host="http://127.0.0.1:9"), wanted().wanted(None))
    assert [(error.source, error.error) for error in snapshot.errors] == [("node", True)]


def test_a_slow_cluster_has_longer_to_tell_of_all_its_nodes_than_of_one(kube: FakeKube, time: Time) -> None:
    kube.store.add("nodes", node("a"))
    rules = wanted(safe_to_evict=True)
    for asked, late in ((None, False), ("a", True)):
        for path in ("/api/v1/nodes", "/api/v1/pods"):
            kube.fault(path=path, status=429, reason="TooManyRequests", retry_after="40")
        snapshot = take(connected(kube, time), rules.wanted(asked))
        assert ("pods" in [error.source for error in snapshot.errors]) is bool(snapshot.errors) is late


# Whatever the cluster


@st.composite
def clusters(draw: st.DrawFn) -> tuple[Snapshot, list[dict[str, Any]], dict[str, Any], int]:
    """A cluster, what its hosts say, and what is allowed."""
    nodes, rows, etcd = [], [], {}
    for number in range(draw(st.integers(1, 8))):
        name = f"n{number}"
        control = draw(st.sampled_from([False, False, True]))
        labels = {**(CONTROL if control else {}), **draw(st.sampled_from([{}, {ZONE: "x"}, {ZONE: "y"}]))}
        annotations = draw(st.sampled_from([{}, {}, {}, {}, REBOOTING, {**REBOOTING, **OURS}, QUARANTINED]))
        item = node(name, draw(st.sampled_from([True] * 5 + [False])), labels, annotations)
        item["spec"]["unschedulable"] = draw(st.sampled_from([False] * 5 + [True]))
        nodes.append(item)
        if control:
            etcd[name] = pod(f"etcd-{name}", name, "kube-system", ready=draw(st.sampled_from([True] * 5 + [False])))
        if draw(st.sampled_from([True, True, True, False])):
            rows.append(
                row(
                    name,
                    required=draw(st.sampled_from([True, True, True, False, None])),
                    since=draw(st.one_of(st.none(), st.integers(0, 2))),
                    error=draw(st.sampled_from([None] * 5 + ["gone"])),
                )
            )
    allowed = {
        "max_unavailable": draw(st.sampled_from([None, "1", "2", "50%"])),
        "allow_outage": draw(st.booleans()),
        "lift_quarantine": draw(st.booleans()),
        "failure_budget": draw(st.sampled_from([0, 1])),
    }
    return cluster(*nodes, etcd=etcd), rows, allowed, draw(st.integers(1, 4))


@settings(max_examples=150)
@given(clusters(), st.randoms(use_true_random=False))
def test_of_any_cluster_a_plan_is_one_that_its_gates_let(
    case: tuple[Snapshot, list[dict[str, Any]], dict[str, Any], int], chance: Any
) -> None:
    snapshot, rows, allowed, most = case
    if not rows:
        return
    found = planned(snapshot, *rows, most=most, **allowed)
    told = result(found)
    shuffled = list(rows)
    chance.shuffle(shuffled)
    again = Snapshot("https://x", dict(reversed(list((snapshot.nodes or {}).items()))), etcd=snapshot.etcd)
    assert result(planned(again, *shuffled, most=most, **allowed)) == told
    placed = list(itertools.chain(*named(found)))
    assert len(placed) == len(set(placed))
    for each in told["nodes"]:
        assert (each["name"] in placed) is (each["state"] in ("interrupted", "planned")) is (each["batch"] is not None)
        assert each["required"] is not True or each["name"] in placed or each["reasons"]
    rules, healed = wanted(**allowed), snapshot
    for batch in told["batches"]:
        controllers = [name for name in batch["nodes"] if found.nodes[name].control_plane]
        assert len(batch["nodes"]) <= (1 if controllers or batch["interrupted"] else most)
        if batch["interrupted"]:
            healed = after(healed, batch["nodes"])
        elif batch["may_begin"]:
            # One after the other, each with those before it down, none is stopped by its own gate.
            for name in batch["nodes"]:
                others = [other for other in batch["nodes"] if other != name]
                assert obstacles(away(healed, others), name, rules, NOW) == []


def after(snapshot: Snapshot, names: list[str]) -> Snapshot:
    """These are up again: their records, their quarantine and our cordons are gone."""
    nodes = dict(snapshot.nodes or {})
    for name in names:
        own = dict(nodes[name]["metadata"]["annotations"])
        ours = own.pop("bulwark.node/cordon", None)
        for annotation in QUARANTINED:
            own.pop(annotation, None)
        item = node(name, labels=nodes[name]["metadata"]["labels"], annotations=own)
        item["spec"]["unschedulable"] = nodes[name]["spec"]["unschedulable"] and not ours
        nodes[name] = item
    etcd = {name: pod("etcd", name) if name in names else each for name, each in (snapshot.etcd or {}).items()}
    return Snapshot(snapshot.server, nodes, etcd=etcd)


def away(snapshot: Snapshot, names: list[str]) -> Snapshot:
    """These are down."""
    nodes = dict(snapshot.nodes or {})
    for name in names:
        nodes[name] = {**nodes[name], "status": {"conditions": [condition("Ready", False)]}}
    return Snapshot(snapshot.server, nodes, etcd=snapshot.etcd)


def test_no_object_makes_it_fall_over_and_no_text_of_one_reaches_a_terminal() -> None:
    item = node("a", labels={**CONTROL, ZONE: "x"}, annotations={**QUARANTINED, **OURS}, unschedulable=True)
    item["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    for path in leaves(item):
        for value in HOSTILE:
            broken = changed(item, path, value) if path else value
            if not isinstance(broken, dict):
                continue
            snapshot = Snapshot("https://x", {"a": broken, "b": node("b")})
            for lift in (False, True):
                told = result(planned(snapshot, max_unavailable="1", spacing=60, lift_quarantine=lift))
                assert len(told["nodes"]) == 2
                assert all(line.isprintable() for line in table(told)), (path, value)


# For people


def test_the_table_fits_a_terminal_and_names_every_reason() -> None:
    nodes = [
        node("a" * 60, labels={ZONE: "z" * 40}),
        node("b", annotations={"bulwark.node/reboot-paused": "the team asked for it " * 9}),
        node("c", annotations=QUARANTINED),
        node("d"),
    ]
    rows = [
        row("a" * 60, host="h" * 60, since=int(NOW.timestamp()) - 7200),
        row("b"),
        row("c"),
        row("d", required=False),
    ]
    told = result(planned(cluster(*nodes), *rows))
    lines = table(told)
    assert max(map(len, lines)) <= 100
    assert lines[:3] == [
        "1 of 4 nodes are to be rebooted; batches: 1",
        "down: c is being rebooted",
        "in the way of all of them:",
    ]
    assert lines[3].startswith("  failure_budget: 1 of 4 nodes failed to prove themselves after their reboots (c)")
    shown = [line.split() for line in lines[lines.index("") + 2 :] if not line.startswith(" ")]
    assert [(texts[0], texts[-2:]) for texts in shown] == [
        ("1", ["2", "h"]),
        ("-", ["blocked", "-"]),
        ("-", ["quarantined", "-"]),
    ]
    assert not any(line.startswith("d ") for line in lines)
    text = " ".join(lines)
    assert "pause: b is paused" in text
    assert "quarantine: c did not prove itself" in text


def test_the_table_of_thousands_is_cut() -> None:
    told = result(planned(cluster(*(node(f"n{number:03}", number < 100) for number in range(300)))))
    lines = table(told)
    assert lines[-1] == "and 100 more"
    assert "and 190 more" in " ".join(lines[:12])


def test_thousands_that_are_all_down_take_one_look_at_each(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = 0
    why = NodeState.why

    def counted(self: NodeState) -> str:
        nonlocal looked
        looked += 1
        return why(self)

    monkeypatch.setattr(NodeState, "why", counted)
    own = {"bulwark.node/rebooted": "?"}
    everyone = cluster(*(node(f"n{number:04}", False, annotations=own) for number in range(1500)))
    found = planned(everyone, max_unavailable="10%", spacing=60)
    assert {each.state for each in found.nodes.values()} == {"blocked"}
    # Once for each pool that is counted, and for what is shown.
    assert looked <= 4 * 1500
