# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drains of a fake cluster, whose time passes while the drain sleeps."""

from __future__ import annotations

import dataclasses
import datetime
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError
from ansible_collections.bulwark.node.plugins.module_utils.kube.annotations import DRAIN
from ansible_collections.bulwark.node.plugins.module_utils.kube.client import Client, Forbidden, Unreachable
from ansible_collections.bulwark.node.plugins.module_utils.kube.node_drain import NODE_DRAIN_SPEC, act
from ansible_collections.bulwark.node.tests.fakes.kube_api import FakeKube, User
from ansible_collections.bulwark.node.tests.fakes.kube_cluster import Cluster, denied
from ansible_collections.bulwark.node.tests.fakes.kube_rules import Problem
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.kube.conftest import (
    Time,
    before_next_patch,
    connected,
)

EVICTIONS = "/eviction"


class ClusterTime(Time):
    """The drain's sleep is the cluster's time. ``at``: what happens at a second of it."""

    def __init__(self, kube: FakeKube) -> None:
        super().__init__()
        self.kube = kube
        self.at: list[tuple[float, Callable[[], object]]] = []
        self._lock = threading.Lock()

    def sleep(self, seconds: float) -> None:
        with self._lock:
            super().sleep(seconds)
            for due in [each for each in self.at if each[0] <= self.now - 1000]:
                self.at.remove(due)
                due[1]()
            self.kube.store.advance(seconds)


@pytest.fixture
def time(kube: FakeKube) -> ClusterTime:
    return ClusterTime(kube)


@pytest.fixture
def cluster(kube: FakeKube) -> Cluster:
    """Nodes a, b and spare; whatever is refused shows at once in the budgets."""
    kube.store.prompt = True
    built = Cluster(kube.store)
    for name in ("a", "b", "spare"):
        built.node(name)
    return built


@dataclasses.dataclass
class Run:
    """Calls of the module, as its action plugin makes them."""

    kube: FakeKube
    time: ClusterTime
    client: Client
    environment: dict[str, str] = dataclasses.field(default_factory=dict)

    def __call__(self, state: str = "drained", check: bool = False, client: Client | None = None, **params: Any) -> Any:
        given = {name: spec.get("default") for name, spec in NODE_DRAIN_SPEC.items()}
        given |= {"state": state, "nodes": ["a"], "run_id": "run-1", "slice": 10_000, **params}
        given["rules"] = [
            {**{name: each.get("default") for name, each in NODE_DRAIN_SPEC["rules"]["options"].items()}, **rule}
            for rule in given["rules"]
        ]
        return act(client or self.client, given, check, self.environment)

    def failing(self, **params: Any) -> BulwarkError:
        with pytest.raises(BulwarkError) as caught:
            self(**params)
        return caught.value


@pytest.fixture
def drain(kube: FakeKube, time: ClusterTime, client: Client) -> Run:
    return Run(kube, time, client)


def node(kube: FakeKube, name: str = "a") -> dict[str, Any]:
    (found,) = [each for each in kube.store.all("nodes") if each["metadata"]["name"] == name]
    ours = {key: value for key, value in found["metadata"]["annotations"].items() if key.startswith("bulwark")}
    return {"cordoned": found["spec"].get("unschedulable", False), "ours": sorted(ours)}


def evicted(kube: FakeKube) -> list[str]:
    """Names of the pods whose eviction was asked for, dry runs left out."""
    asked = [each for each in kube.requests if each.path.endswith(EVICTIONS) and "dryRun" not in each.query]
    return [each.path.split("/")[-2] for each in asked]


def state(ran: Any, name: str) -> Any:
    (row,) = [each for each in ran["pods"] if each["name"] == name]
    return row


def test_a_node_is_cordoned_and_emptied_and_told_of(drain: Run, cluster: Cluster, kube: FakeKube) -> None:
    cluster.deployment("web", ["a", "a", "b"], "spare")
    cluster.daemon_set("cni")
    cluster.pod("cni-a", "a", ("DaemonSet", "cni"), "kube-system")
    cluster.pod("etcd-a", "a", None, "kube-system", annotations={"kubernetes.io/config.mirror": "x"})
    cluster.pod("done", "a", ("Job", "j"), phase="Succeeded")
    ran = drain()
    assert cluster.names("a") == ["cni-a", "etcd-a"]
    assert node(kube) == {"cordoned": True, "ours": ["bulwark.node/cordon"]}
    assert sorted(evicted(kube)) == ["done", "web-0", "web-1"]
    assert {row["name"]: (row["action"], row["state"]) for row in ran["pods"]} == {
        "cni-a": ("leave", "there"),
        "done": ("evict", "gone"),
        "etcd-a": ("leave", "there"),
        "web-0": ("evict", "gone"),
        "web-1": ("evict", "gone"),
    }
    (told,) = ran["nodes"]
    assert told == {
        "name": "a",
        "state": "drained",
        "reason": None,
        "verdict": "possible",
        "cordoned": True,
        "cordoned_by": "bulwark.node",
        "run_id": "run-1",
        "pods_left": 0,
    }
    assert (ran["changed"], ran["finished"]) == (True, True)


def test_each_eviction_is_of_exactly_that_pod(drain: Run, cluster: Cluster, kube: FakeKube) -> None:
    pod = cluster.pod("web-0", "a")
    drain(grace_period=7)
    asked = [each.body for each in kube.requests if each.path.endswith(EVICTIONS)]
    options = {"preconditions": {"uid": pod["metadata"]["uid"]}, "gracePeriodSeconds": 7}
    assert [each["deleteOptions"] for each in asked] == [options, options]
    assert {each["apiVersion"] for each in asked} == {"policy/v1"}


@pytest.mark.parametrize("owner", [True, False])
def test_check_is_the_pre_flight_and_says_what_the_run_does(
    drain: Run, cluster: Cluster, kube: FakeKube, owner: bool
) -> None:
    cluster.deployment("web", ["a", "b"], "spare")
    if not owner:
        cluster.pod("bare", "a", None)
    before = kube.store.version
    ahead = drain(check=True, force=True)
    assert kube.store.version == before
    ran = drain(force=True)
    assert ahead["changed"] is ran["changed"] is True
    assert ahead["diff"] == ran["diff"]
    keys = ("name", "action", "verdict", "reason", "notes", "state", "budget", "command")
    assert [{key: row[key] for key in keys} for row in ahead["pods"]] == [
        {key: row[key] for key in keys} for row in ran["pods"]
    ]
    assert ahead["nodes"] == ran["nodes"]
    for check in (True, False):
        again = drain(check=check, force=True, run_id="run-2")
        assert (again["changed"], again["diff"]["before"]) == (False, again["diff"]["after"])


def test_what_cannot_come_to_its_end_does_not_begin(drain: Run, cluster: Cluster, kube: FakeKube) -> None:
    cluster.deployment("web", ["a", "b"], "spare")
    cluster.deployment("db", ["b", "b"], "spare")
    cluster.budget("db", {"app": "db"}, minAvailable=2)
    before = kube.store.version
    for check in (True, False):
        error = drain.failing(nodes=["a", "b"], check=check)
        assert str(error) == (
            "this cannot come to its end, and nothing was evicted: "
            "b: default/db-0: budget db needs 2 healthy pods, and has 2 of 2: it never allows one to go"
        )
        assert [each["state"] for each in error.details["nodes"]] == ["stopped", "failed"]
        assert [each["verdict"] for each in error.details["nodes"]] == ["possible", "impossible"]
        assert error.details["changed"] is False
        row = state(error.details, "db-1")
        assert (row["budget"], row["command"]) == ("db", "kubectl --namespace default describe poddisruptionbudget db")
    assert kube.store.version == before


@pytest.mark.parametrize("params", [{}, {"preflight": "report"}])
def test_what_the_filters_refuse_keeps_all_from_beginning(
    drain: Run, cluster: Cluster, kube: FakeKube, params: dict[str, Any]
) -> None:
    cluster.deployment("web", ["a"], "spare")
    cluster.pod("cache", "a", volumes=[{"name": "data", "emptyDir": {}}])
    before = kube.store.version
    error = drain.failing(**params)
    assert "default/cache: it has emptyDir volumes (data), which go with it; delete_emptydir_data lets them" in str(
        error
    )
    assert kube.store.version == before
    assert state(error.details, "cache")["action"] == "refuse"


def test_a_budget_lets_pods_go_one_after_another(drain: Run, cluster: Cluster, time: ClusterTime) -> None:
    cluster.deployment("web", ["a", "a", "a"], "spare")
    cluster.budget("web", {"app": "web"}, maxUnavailable=1)
    assert {row["verdict"] for row in drain(check=True)["pods"]} == {"slow"}
    ran = drain()
    assert [row["state"] for row in ran["pods"]] == ["gone"] * 3
    assert max(row["attempts"] for row in ran["pods"]) > 1
    # As kubectl, five seconds until the next try.
    assert 5 <= sum(time.slept) < 30


def test_a_budget_that_is_closed_for_minutes_is_waited_for(drain: Run, cluster: Cluster, time: ClusterTime) -> None:
    cluster.deployment("web", ["a", "b"], "spare")
    cluster.pod("web-2", "b", labels={"app": "web"}, ready=False)
    cluster.budget("web", {"app": "web"}, minAvailable=2)

    def recovered() -> None:
        cluster.store.edit(
            "pods", "default", "web-2", {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
        )

    time.at.append((400, recovered))
    assert drain(check=True)["nodes"][0]["verdict"] == "waiting"
    ran = drain()
    row = state(ran, "web-0")
    assert row["state"] == "gone"
    assert 400 < row["waited"] < 420
    # About every five seconds, not more often.
    assert 60 < row["attempts"] <= 82


def test_a_check_tells_what_would_be_left(drain: Run, cluster: Cluster, time: ClusterTime) -> None:
    cluster.deployment("web", ["a"], "spare")
    cluster.budget("web", {"app": "web"}, minAvailable=1)
    cluster.pod("batch", "b", ("Job", "batch"), labels={"app": "batch"})
    rules = [{"selector": "app=batch", "action": "wait"}]
    ahead = drain(nodes=["a", "b"], check=True, preflight="report", rules=rules)
    assert [(each["state"], each["pods_left"]) for each in ahead["nodes"]] == [("draining", 1), ("drained", 0)]
    assert [row["state"] for row in ahead["pods"]] == ["there", "left"]
    done = {"status": {"phase": "Succeeded"}}
    time.at.append((30, lambda: cluster.store.edit("pods", "default", "batch", done)))
    assert drain(nodes=["b"], rules=rules)["nodes"][0]["pods_left"] == 0


def test_its_time_over_it_opens_what_is_its_own_and_says_what_waits(
    drain: Run, cluster: Cluster, kube: FakeKube
) -> None:
    cluster.deployment("web", ["a", "b"], "spare")
    cluster.deployment("db", ["a", "b"], "spare")
    cluster.pod("db-2", "b", labels={"app": "db"}, ready=False)
    cluster.budget("db", {"app": "db"}, minAvailable=2)
    error = drain.failing(timeout=60)
    assert str(error) == (
        "not drained within 60 s: a: default/db-0: budget: The disruption budget db needs 2 healthy pods and has 2 currently"
    )
    assert node(kube) == {"cordoned": False, "ours": []}
    row = state(error.details, "db-0")
    assert (row["state"], row["waits_for"]["kind"]) == ("there", "budget")
    assert row["waited"] == pytest.approx(60, abs=5)
    assert error.details["seconds_left"] == 0
    assert error.details["changed"] is True  # web-0 is gone
    error = drain.failing(timeout=60, on_failure="keep", run_id="run-2")
    assert node(kube) == {"cordoned": True, "ours": ["bulwark.node/cordon"]}


def test_a_cordon_of_others_stays_on_every_exit(drain: Run, cluster: Cluster, kube: FakeKube) -> None:
    cluster.deployment("web", ["a", "b"], "spare")
    cluster.store.edit("nodes", "", "a", {"spec": {"unschedulable": True}})
    assert drain()["nodes"][0]["cordoned_by"] == "other"
    assert node(kube) == {"cordoned": True, "ours": []}
    opened = drain(state="uncordoned")
    assert (opened["changed"], opened["nodes"][0]["reason"]) == (False, "others cordoned it, and may uncordon it")
    assert node(kube)["cordoned"] is True
    cluster.pod("stuck", "a", finalizers=["example.org/x"])
    error = drain.failing(timeout=30)
    assert node(kube) == {"cordoned": True, "ours": []}
    assert state(error.details, "stuck")["waits_for"] == {
        "kind": "termination",
        "detail": "its finalizers (example.org/x)",
    }


def test_a_stateful_sets_next_pod_has_the_name_and_is_not_the_same(
    drain: Run, cluster: Cluster, kube: FakeKube
) -> None:
    cluster.stateful_set("db", "a", "spare")
    ran = drain()
    assert state(ran, "db-0")["state"] == "gone"
    assert cluster.names("spare") == ["db-0"]
    assert evicted(kube) == ["db-0"]


def test_a_pod_that_was_replaced_meanwhile_is_left_alone(
    drain: Run, cluster: Cluster, kube: FakeKube, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.stateful_set("db", "a", "b")
    real = kube.store.evict

    def faster(namespace: str, name: str, eviction: Any, dry: bool = False) -> Any:
        if not dry:
            monkeypatch.setattr(kube.store, "evict", real)
            kube.store.delete(kube.store.resources["pods"], namespace, name, {"gracePeriodSeconds": 0})
            kube.store.settle()
        return real(namespace, name, eviction, dry)

    monkeypatch.setattr(kube.store, "evict", faster)
    assert state(drain(), "db-0")["state"] == "gone"
    assert cluster.names("b") == ["db-0"]


def test_two_budgets_are_for_ever_whether_it_begins_or_not(drain: Run, cluster: Cluster, time: ClusterTime) -> None:
    cluster.deployment("web", ["a", "b", "b"], "spare")
    cluster.deployment("api", ["a"], "spare")
    cluster.budget("one", {"app": "web"}, minAvailable=1)
    cluster.budget("two", {"app": "web"}, minAvailable=1)
    assert "budgets one, two are over it" in str(drain.failing())
    error = drain.failing(preflight="report")
    assert str(error).startswith(
        "some pods cannot be evicted: a: default/web-0: permanent: 500: This pod has more than one"
    )
    assert state(error.details, "web-0")["attempts"] == 1
    # The rest went, as with kubectl, and nobody waited for the timeout.
    assert cluster.names("a") == ["web-0"]
    assert sum(time.slept) < 20


def test_a_namespace_that_is_terminating_is_waited_for(drain: Run, cluster: Cluster, time: ClusterTime) -> None:
    cluster.store.add("namespaces", {"metadata": {"name": "going"}})
    pod = cluster.pod("stay", "a", namespace="going", grace=30)
    cluster.store.edit("namespaces", "", "going", {"status": {"phase": "Terminating"}})
    assert drain(check=True)["nodes"][0]["verdict"] == "waiting"
    pods = cluster.store.resources["pods"]
    time.at.append((60, lambda: cluster.store.delete(pods, "going", pod["metadata"]["name"], {})))
    ran = drain()
    assert state(ran, "stay")["state"] == "gone"
    # Once it is being deleted nobody asks for that any more.
    assert 85 < sum(time.slept) < 100
    assert state(ran, "stay")["attempts"] < 15


def test_a_webhook_that_denies_is_what_the_pod_waits_for(
    drain: Run, cluster: Cluster, kube: FakeKube, time: ClusterTime
) -> None:
    cluster.deployment("web", ["a"], "spare")
    denials: list[Any] = [denied("guard.example.org", "not while the leader", 403, "Forbidden")]

    def guard(pod: Any, dry: bool) -> None:
        if denials:
            raise denials[0]

    kube.store.webhooks.append(guard)
    assert drain(check=True)["pods"][0]["verdict"] == "waiting"
    error = drain.failing(timeout=30)
    assert (
        'webhook: 403 Forbidden: admission webhook "guard.example.org" denied the request: not while the leader'
        in str(error)
    )
    time.at.append((sum(time.slept) + 30, denials.clear))
    assert state(drain(run_id="run-2"), "web-0")["state"] == "gone"


def test_a_guest_of_kubevirt_is_migrated_away(drain: Run, cluster: Cluster, kube: FakeKube, time: ClusterTime) -> None:
    labels, annotations = {"kubevirt.io": "virt-launcher"}, {"kubevirt.io/domain": "vm"}
    cluster.pod("virt-launcher-vm-x", "a", ("VirtualMachineInstance", "vm"), labels=labels, annotations=annotations)
    cluster.budget("kubevirt-disruption-budget-x", labels, owner=("VirtualMachineInstance", "vm"), minAvailable=1)
    marked: list[str] = []

    def admitter(pod: Any, dry: bool) -> None:
        if pod["status"]["phase"] == "Succeeded":
            return
        marked.extend([] if dry or marked else [pod["metadata"]["name"]])
        raise denied(
            "virt-launcher-eviction-interceptor.kubevirt.io", 'Eviction triggered evacuation of VMI "default/vm"'
        )

    kube.store.webhooks.append(admitter)
    row = state(drain(check=True), "virt-launcher-vm-x")
    assert (row["verdict"], marked) == ("migrating", [])
    assert row["budget_owner"] == {"kind": "VirtualMachineInstance", "name": "vm"}

    def migrated() -> None:
        cluster.store.edit("pods", "default", "virt-launcher-vm-x", {"status": {"phase": "Succeeded"}})

    time.at.append((40, migrated))
    assert state(drain(), "virt-launcher-vm-x")["state"] == "gone"
    assert marked


def test_a_guest_that_cannot_migrate_is_impossible(drain: Run, cluster: Cluster, kube: FakeKube) -> None:
    cluster.pod("virt-launcher-vm-x", "a", ("VirtualMachineInstance", "vm"), annotations={"kubevirt.io/domain": "vm"})

    def admitter(pod: Any, dry: bool) -> None:
        raise denied("v.kubevirt.io", "VMI vm is configured with an eviction strategy but is not live-migratable")

    kube.store.webhooks.append(admitter)
    error = drain.failing()
    row = state(error.details, "virt-launcher-vm-x")
    assert (row["verdict"], row["command"]) == (
        "impossible",
        "kubectl --namespace default describe virtualmachineinstance vm",
    )
    assert node(kube) == {"cordoned": False, "ours": []}


def test_the_api_may_be_gone_in_the_middle(drain: Run, cluster: Cluster, kube: FakeKube, time: ClusterTime) -> None:
    cluster.deployment("web", ["a", "a", "b"], "spare")
    cluster.budget("web", {"app": "web"}, maxUnavailable=1)
    lost = {"lost": "before", "times": 1000}
    time.at.append((1, lambda: kube.fault(**lost)))
    time.at.append((90, kube.faults.clear))
    ran = drain()
    assert [row["state"] for row in ran["pods"]] == ["gone", "gone"]
    assert 90 < sum(time.slept) < 120


def test_an_answer_that_is_lost_does_not_cost_another_pod(drain: Run, cluster: Cluster, kube: FakeKube) -> None:
    cluster.stateful_set("db", "a", "a", tolerations=[{"operator": "Exists"}], grace=0)
    kube.fault(method="POST", path=EVICTIONS, lost="after", times=1)
    kube.fault(method="POST", path=EVICTIONS, lost="after", times=1)
    ran = drain()
    assert {row["state"] for row in ran["pods"]} <= {"gone", "there"}
    # The next of its name, which comes back to the very node, was never touched.
    assert cluster.names("a") == ["db-0"]
    assert cluster.count == 1


def test_the_api_gone_for_good_fails_in_time_and_the_next_run_heals(
    drain: Run, cluster: Cluster, kube: FakeKube, time: ClusterTime
) -> None:
    cluster.deployment("web", ["a", "a", "b"], "spare")
    cluster.budget("web", {"app": "web"}, maxUnavailable=1)
    time.at.append((1, lambda: kube.fault(lost="before", times=100_000)))
    error = drain.failing(timeout=120)
    assert str(error).startswith("not drained within 120 s: a: ")
    assert "a is still cordoned by this run, and the next uncordons it: " in str(error)
    kube.faults.clear()
    assert node(kube) == {"cordoned": True, "ours": ["bulwark.node/cordon", "bulwark.node/drain"]}
    assert drain(state="uncordoned", run_id="run-2")["changed"] is True
    assert node(kube) == {"cordoned": False, "ours": []}


def test_without_an_answer_at_the_start_it_says_so(drain: Run, cluster: Cluster, kube: FakeKube) -> None:
    kube.fault(lost="before", times=1000)
    with pytest.raises(Unreachable):
        drain()


def test_it_goes_on_slice_by_slice_with_one_time_for_all(
    drain: Run, cluster: Cluster, kube: FakeKube, time: ClusterTime
) -> None:
    cluster.deployment("web", ["a", "b"], "spare")
    cluster.pod("web-2", "b", labels={"app": "web"}, ready=False)
    cluster.budget("web", {"app": "web"}, minAvailable=2)
    first = drain(slice=20, timeout=50)
    assert (first["finished"], first["seconds_left"]) == (False, 30)
    assert first["nodes"][0]["state"] == "draining"
    assert node(kube)["ours"] == ["bulwark.node/cordon", "bulwark.node/drain"]
    dry = [each for each in kube.requests if "dryRun" in each.query]
    second = drain(slice=20, timeout=50)
    assert second["seconds_left"] == 10
    # The pre-flight is of the first alone.
    assert [each for each in kube.requests if "dryRun" in each.query] == dry
    assert "not drained within 50 s" in str(drain.failing(slice=20, timeout=50))
    assert node(kube) == {"cordoned": False, "ours": []}


def test_who_opens_the_node_meanwhile_is_not_fought(drain: Run, cluster: Cluster, kube: FakeKube) -> None:
    cluster.deployment("web", ["a", "b"], "spare")
    cluster.pod("web-2", "b", labels={"app": "web"}, ready=False)
    cluster.budget("web", {"app": "web"}, minAvailable=2)
    drain(slice=20)
    cluster.store.edit("nodes", "", "a", {"spec": {"unschedulable": None}})
    error = drain.failing(slice=20)
    assert str(error) == "the drain was stopped: a: somebody uncordoned it meanwhile"
    assert node(kube) == {"cordoned": False, "ours": []}


class Killed(BaseException):
    """What ends a run wherever it is."""


@pytest.mark.parametrize("after", range(12))
def test_killed_after_any_change_it_is_taken_up_by_another_run(
    drain: Run, cluster: Cluster, kube: FakeKube, time: ClusterTime, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    cluster.deployment("web", ["a", "a", "b"], "spare")
    cluster.budget("web", {"app": "web"}, maxUnavailable=1)
    client = connected(kube, time)
    real, writes = client.sender.send, [0]

    def send(method: str, path: str, *rest: Any) -> Any:
        if method != "GET" and "dryRun" not in path:
            writes[0] += 1
            if writes[0] > after:
                raise Killed
        return real(method, path, *rest)

    monkeypatch.setattr(client.sender, "send", send)
    try:
        drain(client=client, nodes=["a", "b"], parallel=1)
    except Killed:
        ran = drain(nodes=["a", "b"], run_id="run-2")
        assert ran["finished"] is True
    assert cluster.names("a") == cluster.names("b") == []
    for name in ("a", "b"):
        assert node(kube, name) == {"cordoned": True, "ours": ["bulwark.node/cordon"]}
    drain(state="uncordoned", nodes=["a", "b"], run_id="run-3")
    for name in ("a", "b"):
        assert node(kube, name) == {"cordoned": False, "ours": []}


@pytest.mark.parametrize(
    ("record", "opened"),
    [
        # Cordoned on purpose, or drained to be rebooted.
        (None, False),
        ({"run": "run-0", "at": 0}, False),
        ({"run": "run-0", "at": -1801}, True),
        ({"run": "run-1", "at": 0}, True),
    ],
)
def test_what_a_killed_run_left_is_opened_where_the_next_cannot_begin(
    drain: Run, cluster: Cluster, kube: FakeKube, record: dict[str, Any] | None, opened: bool
) -> None:
    drain(state="cordoned", run_id="run-0")
    if record:
        begun = kube.store.now + datetime.timedelta(seconds=record["at"])
        text = json.dumps({"run": record["run"], "at": f"{begun:%Y-%m-%dT%H:%M:%SZ}"})
        kube.store.edit("nodes", "", "a", {"metadata": {"annotations": {DRAIN: text}}})
    cluster.pod("bare", "a", None)
    assert "cannot come to its end" in str(drain.failing(nodes=["a", "b"]))
    left = ["bulwark.node/cordon", *(["bulwark.node/drain"] if record else [])]
    assert node(kube) == ({"cordoned": False, "ours": []} if opened else {"cordoned": True, "ours": left})


@pytest.mark.parametrize(("on_failure", "closed"), [("uncordon", False), ("keep", True)])
def test_a_slice_that_is_refused_leaves_the_node_as_it_is_told_to(
    drain: Run, cluster: Cluster, kube: FakeKube, on_failure: str, closed: bool
) -> None:
    cluster.deployment("web", ["a", "a"], "spare")
    cluster.budget("web", {"app": "web"}, maxUnavailable=1)
    drain(slice=1)
    assert node(kube)["cordoned"] is True
    kube.fault(method="GET", path="/api/v1/pods", status=403, text="no more")
    error = drain.failing(continues=True, on_failure=on_failure)
    assert str(error).startswith("the drain was stopped: a: list pods")
    assert node(kube) == {"cordoned": closed, "ours": ["bulwark.node/cordon"] if closed else []}
    assert error.details["finished"] is True


def test_nodes_that_are_no_names_are_refused_by_their_place(drain: Run, kube: FakeKube) -> None:
    assert str(drain.failing(nodes=["a", "b/c"])) == "nodes[1]: got 'b/c', expected the name of a Node"
    assert str(drain.failing(nodes=[])) == "nodes: got [], expected at least one node"
    assert kube.requests == []


def test_the_node_of_this_very_job_is_deferred(drain: Run, cluster: Cluster, kube: FakeKube) -> None:
    cluster.deployment("web", ["a", "b"], "spare")
    cluster.pod("automation-job-7-x", "a", None, labels={"ansible-awx-job-id": "7"})
    for job in ("7", None):
        drain.environment = {} if job else {"POD_NAME": "automation-job-7-x"}
        for check in (True, False):
            ran = drain(nodes=["a", "b"], check=check, job_id=job)
            assert [each["state"] for each in ran["nodes"]] == ["deferred", "drained"]
            assert ran["nodes"][0]["reason"] == "pod default/automation-job-7-x on it runs this very job"
            assert node(kube) == {"cordoned": False, "ours": []}
    assert cluster.names("a") == ["automation-job-7-x", "web-0"]
    assert evicted(kube) == ["web-1"]
    drain.environment = {}
    assert drain(nodes=["a"], job_id="8", force=True)["nodes"][0]["state"] == "drained"


@pytest.mark.parametrize("job", ["7", None])
def test_the_pod_that_runs_this_and_the_pod_of_its_job_are_both_its_own(
    drain: Run, cluster: Cluster, kube: FakeKube, job: str | None
) -> None:
    runner = cluster.pod("runner", "a", None, labels={"ansible-awx-job-id": "8"})
    cluster.pod("automation-job-7-x", "b", None, labels={"ansible-awx-job-id": "7"})
    cluster.pod("other", "spare", None)
    drain.environment = {"POD_UID": runner["metadata"]["uid"], "POD_NAME": "other"}
    ran = drain(nodes=["a", "b", "spare"], check=True, job_id=job, force=True)
    assert [each["state"] for each in ran["nodes"]] == ["deferred", "deferred" if job else "drained", "drained"]


def test_in_a_pod_its_hostname_tells_which_it_is(drain: Run, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "runner")
    cluster.pod("runner", "a", None)
    for environment, told in (({}, "drained"), ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "deferred")):
        drain.environment = environment
        assert drain(check=True, force=True)["nodes"][0]["state"] == told


def test_without_evictions_pods_are_deleted(
    drain: Run, cluster: Cluster, kube: FakeKube, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.deployment("web", ["a", "b"], "spare")
    cluster.budget("web", {"app": "web"}, minAvailable=2)
    for disable in (True, False):
        kube.requests.clear()
        ran = drain(run_id=str(disable), disable_eviction=disable)
        assert evicted(kube) == []
        deleted = [each for each in kube.requests if each.method == "DELETE" and "dryRun" not in each.query]
        assert len(deleted) == 1
        assert "uid" in deleted[0].body["preconditions"]
        assert ran["pods"][0]["state"] == "gone"
        cluster.pod("web-9", "a", labels={"app": "web"})
        monkeypatch.setattr(
            kube,
            "_discovery",
            lambda path: (
                {"kind": "APIResourceList", "groupVersion": "v1", "resources": []} if path == "/api/v1" else None
            ),
        )


def test_with_consent_what_was_not_evicted_is_deleted(
    drain: Run, cluster: Cluster, kube: FakeKube, time: ClusterTime
) -> None:
    cluster.deployment("web", ["a", "b"], "spare")
    cluster.budget("web", {"app": "web"}, minAvailable=2)
    ahead = drain(check=True, delete_after=60)
    assert (ahead["pods"][0]["verdict"], ahead["pods"][0]["budget"]) == ("slow", "web")
    assert ahead["pods"][0]["reason"].endswith("; it is deleted after 60 s of the drain")
    ran = drain(delete_after=60, slice=30)
    assert ran["finished"] is False
    ran = drain(delete_after=60)
    assert ran["pods"][0]["state"] == "gone"
    assert 60 <= sum(time.slept) < 75


def test_what_no_eviction_will_do_for_is_deleted_with_that_consent_too(
    drain: Run, cluster: Cluster, kube: FakeKube, time: ClusterTime
) -> None:
    cluster.deployment("web", ["a", "b", "b"], "spare")
    for name in ("one", "two"):
        cluster.budget(name, {"app": "web"}, minAvailable=1)
    assert drain(check=True, delete_after=60)["pods"][0]["verdict"] == "slow"
    assert drain(delete_after=60, slice=30)["finished"] is False
    ran = drain(delete_after=60)
    assert ran["pods"][0]["state"] == "gone"
    assert 60 <= sum(time.slept) < 75
    # Once a slice, for the answer is for ever.
    assert evicted(kube) == ["web-0"] * 2


def test_a_busy_server_is_left_alone_as_long_as_it_asks_for(
    drain: Run, cluster: Cluster, kube: FakeKube, time: ClusterTime
) -> None:
    for number in range(30):
        cluster.pod(f"web-{number}", "a")

    def busy() -> None:
        kube.fault(
            method="POST",
            path=EVICTIONS,
            status=429,
            text="Too many requests, please try again later.\n",
            retry_after="20",
            times=9,
        )

    # The pre-flight is over when the cordon is set.
    before_next_patch(kube, busy)
    ran = drain(parallel=3)
    assert {row["state"] for row in ran["pods"]} == {"gone"}
    # At most three ask until the first is told, and then nobody for twenty seconds.
    assert len(evicted(kube)) == 30
    assert [fault.times for fault in kube.faults] == [0]
    assert 60 <= sum(time.slept) < 200


def test_pods_of_rules_are_left_waited_for_and_deleted(
    drain: Run, cluster: Cluster, kube: FakeKube, time: ClusterTime
) -> None:
    cluster.pod("agent", "a", labels={"app": "agent"})
    cluster.pod("batch", "a", ("Job", "batch"), labels={"app": "batch"}, volumes=[{"name": "x", "emptyDir": {}}])
    cluster.pod("web", "a", labels={"app": "web"})
    cluster.budget("web", {"app": "web"}, minAvailable=1)
    rules = [
        {"selector": "app=agent", "action": "skip"},
        {"selector": "app=batch", "action": "wait"},
        {"selector": "app=web", "action": "delete", "grace_period": 3},
    ]
    version = kube.store.version
    assert drain(check=True, rules=rules)["nodes"][0]["verdict"] == "waiting"
    assert kube.store.version == version

    def done() -> None:
        cluster.store.edit("pods", "default", "batch", {"status": {"phase": "Succeeded"}})

    time.at.append((300, done))
    ran = drain(rules=rules)
    assert {row["name"]: (row["action"], row["state"]) for row in ran["pods"]} == {
        "agent": ("leave", "there"),
        "batch": ("wait", "left"),
        "web": ("delete", "gone"),
    }
    assert evicted(kube) == []
    assert cluster.names("a") == ["agent", "batch"]


def test_who_may_not_evict_is_told_before_the_cordon(
    drain: Run, cluster: Cluster, kube: FakeKube, time: ClusterTime
) -> None:
    cluster.deployment("web", ["a"], "spare")
    kube.tokens["weak"] = User("weak")
    kube.rules["weak"] = [
        {"verbs": ["get", "patch"], "apiGroups": [""], "resources": ["nodes"]},
        {"verbs": ["list"], "apiGroups": ["", "policy"], "resources": ["pods", "poddisruptionbudgets"]},
    ]
    with pytest.raises(Forbidden) as caught:
        drain(client=connected(kube, time, api_key="weak"))
    assert caught.value.details["rbac_rule"] == {"apiGroups": [""], "resources": ["pods/eviction"], "verbs": ["create"]}
    assert node(kube)["cordoned"] is False


def test_what_stays_on_the_node_is_named(drain: Run, cluster: Cluster) -> None:
    terms = [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["a"]}]}]
    specs: dict[str, dict[str, Any]] = {
        "pv-local": {"nodeAffinity": {"required": {"nodeSelectorTerms": terms}}},
        "pv-net": {"csi": {"driver": "x"}},
    }
    for name, spec in specs.items():
        claim = {"namespace": "default", "name": name.replace("pv-", "")}
        cluster.store.add("persistentvolumes", {"metadata": {"name": name}, "spec": {**spec, "claimRef": claim}})
    volumes = [
        {"name": "one", "persistentVolumeClaim": {"claimName": "local"}},
        {"name": "two", "persistentVolumeClaim": {"claimName": "net"}},
        {"name": "logs", "hostPath": {"path": "/var/log"}},
        {"name": "cache", "emptyDir": {}},
    ]
    cluster.pod("db", "a", volumes=volumes)
    notes = drain(check=True, delete_emptydir_data=True)["pods"][0]["notes"]
    assert notes == [
        "what is in its emptyDir cache is lost",
        "its claim local is volume pv-local of this node, and its next pod waits for the node",
        "its hostPath logs stays on this node",
    ]


@pytest.mark.parametrize("check", [True, False])
def test_a_webhook_that_knows_no_dry_run_is_asked_in_earnest_alone(
    drain: Run, cluster: Cluster, kube: FakeKube, check: bool
) -> None:
    cluster.deployment("web", ["a"], "spare")

    def old(pod: Any, dry: bool) -> None:
        if dry:
            raise Problem(400, "BadRequest", 'admission webhook "x" does not support dry run')

    kube.store.webhooks.append(old)
    assert drain(check=check)["pods"][0]["state"] == "gone"


def test_cordons_alone(drain: Run, cluster: Cluster, kube: FakeKube) -> None:
    for wanted, cordoned in (("cordoned", True), ("uncordoned", False)):
        version = kube.store.version
        ahead = drain(state=wanted, check=True)
        assert kube.store.version == version
        ran = drain(state=wanted)
        assert ahead == ran
        assert ran["changed"] is True
        assert node(kube) == {"cordoned": cordoned, "ours": ["bulwark.node/cordon"] if cordoned else []}
        assert drain(state=wanted, run_id="run-2")["changed"] is False
    with pytest.raises(BulwarkError, match='get nodes "nobody"'):
        drain(state="cordoned", nodes=["a", "nobody"])
    assert node(kube)["cordoned"] is False


def test_a_cordon_that_fails_in_the_middle_tells_what_is_done(drain: Run, cluster: Cluster, kube: FakeKube) -> None:
    kube.fault(method="PATCH", path="nodes/b", status=403, reason="Forbidden")
    details = drain.failing(state="cordoned", nodes=["a", "b"]).details
    assert details["changed"] is True
    assert [each["state"] for each in details["nodes"]] == ["cordoned", "schedulable"]


def test_a_record_that_is_older_than_the_cordon_of_another_is_written_anew(
    drain: Run, cluster: Cluster, kube: FakeKube
) -> None:
    drain(state="cordoned")
    cluster.store.edit("nodes", "", "a", {"spec": {"unschedulable": None}})
    # Nobody's cordon is there, and so none to take away; the record goes.
    assert drain(state="uncordoned")["nodes"][0]["state"] == "schedulable"
    assert node(kube) == {"cordoned": False, "ours": []}


@pytest.mark.parametrize(
    ("toleration", "left"),
    [
        ({"operator": "Exists"}, True),
        ({"key": "node.kubernetes.io/unschedulable", "operator": "Exists", "effect": "NoSchedule"}, True),
        ({"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}, True),
        ({"operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "node.kubernetes.io/not-ready", "operator": "Exists"}, False),
    ],
)
def test_a_pod_that_comes_while_it_drains_is_evicted_unless_it_tolerates_the_cordon(
    drain: Run, cluster: Cluster, kube: FakeKube, time: ClusterTime, toleration: dict[str, str], left: bool
) -> None:
    cluster.pod("slow", "a", grace=30)
    time.at.append((5, lambda: cluster.pod("late", "a", tolerations=[toleration])))
    ran = drain()
    assert cluster.names("a") == (["late"] if left else [])
    assert [row["name"] for row in ran["pods"]] == (["slow"] if left else ["late", "slow"])


def test_a_pod_that_is_bound_to_an_empty_node_before_its_cordon_goes_too(
    drain: Run, cluster: Cluster, kube: FakeKube
) -> None:
    before_next_patch(kube, lambda: cluster.pod("late", "a"))
    ran = drain()
    assert (ran["nodes"][0]["state"], state(ran, "late")["state"]) == ("drained", "gone")
    assert cluster.names("a") == []


def test_a_node_that_is_gone_at_the_end_hides_no_pod_that_went(
    drain: Run, cluster: Cluster, kube: FakeKube, time: ClusterTime
) -> None:
    cluster.pod("web", "a")
    cluster.pod("slow", "a", grace=30)
    time.at.append((5, lambda: cluster.store.delete(cluster.store.resources["nodes"], "", "a", {})))
    error = drain.failing()
    assert (error.details["status"], error.details["changed"]) == (404, True)
    assert [row["state"] for row in error.details["pods"]] == ["gone", "gone"]


@pytest.mark.parametrize(("grace", "seconds", "asked"), [(None, 60, []), (90, 60, []), (5, 5, ["slow"])])
def test_who_is_being_deleted_is_hurried_where_a_shorter_grace_was_asked_for(
    drain: Run, cluster: Cluster, kube: FakeKube, time: ClusterTime, grace: int | None, seconds: int, asked: list[str]
) -> None:
    cluster.pod("slow", "a", grace=60)
    cluster.store.delete(cluster.store.resources["pods"], "default", "slow", {})
    assert drain(grace_period=grace)["pods"][0]["state"] == "gone"
    assert sum(time.slept) == pytest.approx(seconds, abs=3)
    assert evicted(kube) == asked


# Those of the module's documentation.
RIGHTS = [
    {"verbs": ["get", "patch"], "apiGroups": [""], "resources": ["nodes"]},
    {"verbs": ["list", "delete"], "apiGroups": [""], "resources": ["pods"]},
    {"verbs": ["create"], "apiGroups": [""], "resources": ["pods/eviction"]},
    {"verbs": ["list"], "apiGroups": ["policy"], "resources": ["poddisruptionbudgets"]},
    {"verbs": ["get"], "apiGroups": ["apps"], "resources": ["daemonsets"]},
]


def test_the_rights_that_are_documented_suffice(
    drain: Run, cluster: Cluster, kube: FakeKube, time: ClusterTime
) -> None:
    kube.tokens["least"] = User("least")
    kube.rules["least"] = RIGHTS
    cluster.deployment("web", ["a", "b"], "spare")
    cluster.budget("web", {"app": "web"}, maxUnavailable=1)
    cluster.daemon_set("cni")
    cluster.pod("cni-a", "a", ("DaemonSet", "cni"), "kube-system")
    claim = {"name": "x", "persistentVolumeClaim": {"claimName": "x"}}
    cluster.pod("db", "a", volumes=[claim], labels={"app": "db"})
    client = connected(kube, time, api_key="least")
    ran = drain(client=client, rules=[{"selector": "app=db", "action": "delete"}])
    assert ran["nodes"][0]["state"] == "drained"
    assert drain(client=client, state="uncordoned")["changed"] is True


def test_a_right_that_is_lost_in_the_middle_stops_it_and_opens_the_node(
    drain: Run, cluster: Cluster, kube: FakeKube, time: ClusterTime
) -> None:
    kube.tokens["least"] = User("least")
    kube.rules["least"] = list(RIGHTS)
    cluster.deployment("web", ["a", "a", "b"], "spare")
    cluster.budget("web", {"app": "web"}, maxUnavailable=1)
    time.at.append((1, lambda: kube.rules["least"].pop(2)))
    error = drain.failing(client=connected(kube, time, api_key="least"))
    assert str(error).startswith("the drain was stopped: a: create pods/eviction ")
    assert 'verbs: ["create"]' in str(error)
    assert sorted(each["state"] for each in error.details["pods"]) == ["gone", "there"]
    assert node(kube) == {"cordoned": False, "ours": []}


def test_what_was_evicted_is_told_where_another_eviction_stops_it(
    drain: Run, cluster: Cluster, kube: FakeKube, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.pod("web", "a")
    cluster.pod("api", "a")
    real = kube.store.evict

    def expired(namespace: str, name: str, eviction: Any, dry: bool = False) -> Any:
        if name == "api" and not dry:
            raise Problem(401, "Unauthorized", "Unauthorized")
        return real(namespace, name, eviction, dry)

    monkeypatch.setattr(kube.store, "evict", expired)
    error = drain.failing()
    assert str(error).startswith("the drain was stopped: a: create pods/eviction ")
    assert {row["name"]: row["state"] for row in error.details["pods"]} == {"api": "there", "web": "leaving"}
    assert error.details["changed"] is True


def closed_budget(cluster: Cluster) -> None:
    """A pod on a, and on b, that cannot go for now."""
    cluster.deployment("web", ["a", "b"], "spare")
    cluster.pod("web-2", "spare", labels={"app": "web"}, ready=False)
    cluster.budget("web", {"app": "web"}, minAvailable=2)


@pytest.mark.parametrize(
    ("state", "reason", "left"),
    [
        ("uncordoned", "somebody uncordoned it, or replaced it", []),
        ("drained", "run run-2 drains it now", ["bulwark.node/cordon", "bulwark.node/drain"]),
    ],
)
def test_whoever_ends_a_drain_between_its_slices_is_not_overruled(
    drain: Run, cluster: Cluster, kube: FakeKube, state: str, reason: str, left: list[str]
) -> None:
    closed_budget(cluster)
    assert drain(slice=20, nodes=["a", "b"])["finished"] is False
    drain(state=state, slice=20, run_id="run-2")
    asked = len(evicted(kube))
    error = drain.failing(slice=20, nodes=["a", "b"], continues=True)
    assert str(error) == f"the drain is not this run's any more, and no pod is evicted from now on: a: {reason}"
    assert [each["state"] for each in error.details["nodes"]] == ["failed", "stopped"]
    assert len(evicted(kube)) == asked
    assert node(kube) == {"cordoned": bool(left), "ours": left}
    # It was this run's alone.
    assert node(kube, "b") == {"cordoned": False, "ours": []}


def test_a_drain_whose_end_was_not_answered_goes_on(drain: Run, cluster: Cluster, kube: FakeKube) -> None:
    cluster.pod("slow", "a", grace=30)
    assert drain(slice=20, nodes=["a", "b"])["finished"] is False
    before_next_patch(kube, lambda: kube.fault(lost="before", times=1000))
    assert drain.failing(slice=20, nodes=["a", "b"], continues=True).details["status"] is None
    kube.faults.clear()
    assert node(kube) == {"cordoned": True, "ours": ["bulwark.node/cordon"]}
    ran = drain(slice=20, nodes=["a", "b"], continues=True)
    assert [each["state"] for each in ran["nodes"]] == ["drained"] * 2


@pytest.mark.parametrize("on_failure", ["uncordon", "keep"])
def test_what_another_run_took_over_within_a_slice_stays_its_own(
    drain: Run, cluster: Cluster, kube: FakeKube, time: ClusterTime, on_failure: str
) -> None:
    closed_budget(cluster)
    record = {"bulwark.node/drain": '{"run": "run-2", "at": "2026-01-02T03:04:05Z"}'}
    time.at.append((5, lambda: cluster.store.edit("nodes", "", "a", {"metadata": {"annotations": record}})))
    assert "not drained within 30 s" in str(drain.failing(timeout=30, on_failure=on_failure))
    assert node(kube) == {"cordoned": True, "ours": ["bulwark.node/cordon", "bulwark.node/drain"]}


@pytest.mark.parametrize(("run", "cordoned"), [("run-1", False), ("run-2", True)])
def test_a_run_that_lost_its_lock_opens_what_it_drains_alone(
    drain: Run, cluster: Cluster, kube: FakeKube, run: str, cordoned: bool
) -> None:
    closed_budget(cluster)
    assert drain(slice=20)["finished"] is False
    assert drain(state="uncordoned", run_id=run, continues=True)["changed"] is not cordoned
    assert node(kube)["cordoned"] is cordoned


@pytest.mark.parametrize("seconds", [60, 1800])
def test_a_deletion_that_the_timeout_comes_before_is_no_option(drain: Run, cluster: Cluster, seconds: int) -> None:
    error = drain.failing(check=True, delete_after=seconds, timeout=60)
    assert str(error) == f"delete_after: got {seconds}, expected less than timeout, which is 60"


@pytest.mark.parametrize("wrong", [-3600, 3600])
def test_a_wrong_clock_of_ours_changes_nothing(
    drain: Run, cluster: Cluster, kube: FakeKube, time: ClusterTime, wrong: int
) -> None:
    # Young, and free to come back: not to be taken for one that did.
    cluster.deployment("web", ["a"], "spare", tolerations=[{"operator": "Exists"}])
    clock = time.clock()
    drain.client.clock = dataclasses.replace(clock, wall=lambda: kube.store.now.timestamp() + wrong)
    drain()
    assert cluster.names("a") == []
