# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reboots of a node of a fake cluster, whose time passes while the module sleeps; and runs that are killed in them."""

from __future__ import annotations

import copy
import email.utils
import json
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError, OptionError
from ansible_collections.bulwark.node.plugins.module_utils.kube import cordon
from ansible_collections.bulwark.node.plugins.module_utils.kube.annotations import (
    CORDON,
    QUARANTINED,
    REBOOTED,
    REBOOTING,
)
from ansible_collections.bulwark.node.plugins.module_utils.kube.client import (
    Client,
    Forbidden,
    NotFound,
    Unreachable,
)
from ansible_collections.bulwark.node.plugins.module_utils.kube.errors import Answer
from ansible_collections.bulwark.node.plugins.module_utils.kube.node_reboot import NODE_REBOOT_SPEC, act
from ansible_collections.bulwark.node.tests.fakes import kube_objects
from ansible_collections.bulwark.node.tests.fakes.kube_api import FakeKube, Request
from ansible_collections.bulwark.node.tests.fakes.kube_cluster import Cluster
from ansible_collections.bulwark.node.tests.fakes.kube_store import Store
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.kube.conftest import before_next_patch, connected
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.kube.test_node_drain import ClusterTime

BEFORE, AFTER = "boot-of-a", "boot-2"
LONG_AGO = "2026-01-01T00:00:00Z"
NODE, EVENTS = "/api/v1/nodes/a", "/api/v1/namespaces/default/events"


class Node:
    """Node a, which has pods of DaemonSet kube-system/cni and of a Deployment, and the module called for it."""

    def __init__(self, kube: FakeKube) -> None:
        self.kube = kube
        self.time = ClusterTime(kube)
        self.client: Client = connected(kube, self.time)
        self.cluster = Cluster(kube.store)
        self.boots = 0
        kube.store.add("nodes", kube_objects.node("a"))
        self.cluster.daemon_set("cni")
        self.cluster.pod("cni-a", "a", ("DaemonSet", "cni"), "kube-system")
        self.cluster.pod("web-a", "a")
        self.report(True, LONG_AGO)

    def report(self, ready: bool, since: str, name: str = "cni-a") -> None:
        """What its kubelet says of a pod."""
        status = {"conditions": [kube_objects.condition("Ready", ready, since)]}
        self.kube.store.edit("pods", "kube-system", name, {"status": status})

    def reboot(self, pods: bool = True, ready: bool = True) -> None:
        """It reboots, and its kubelet reports."""
        self.boots += 1
        since = self.kube.store.stamp()
        status = {"nodeInfo": {"bootID": AFTER}, "conditions": [kube_objects.condition("Ready", ready, since)]}
        self.kube.store.edit("nodes", "", "a", {"status": status})
        if pods:
            self.report(True, since)

    def __call__(
        self, state: str, check: bool = False, run: str = "run-1", client: Client | None = None, **params: Any
    ) -> dict[str, Any]:
        given = {name: spec.get("default") for name, spec in NODE_REBOOT_SPEC.items()}
        given |= {"state": state, "name": "a", "run_id": run, "slice": 10_000, **params}
        return act(client or self.client, given, check)

    def failing(self, *args: Any, **params: Any) -> BulwarkError:
        with pytest.raises(BulwarkError) as caught:
            self(*args, **params)
        return caught.value

    @property
    def item(self) -> dict[str, Any]:
        (found,) = self.kube.store.all("nodes")
        return found

    def annotation(self, name: str) -> Any:
        text = self.item["metadata"]["annotations"].get(name)
        return json.loads(text) if text and text.startswith("{") else text

    def events(self) -> list[str]:
        """Their reasons, in the order of their coming."""
        made = [item for _version, kind, resource, item in self.kube.store.events if resource.kind == "Event"]
        return [item["reason"] for item in made]


@pytest.fixture
def node(kube: FakeKube) -> Node:
    return Node(kube)


def begun(node: Node) -> Node:
    node("begun", boot_id=BEFORE)
    return node


def test_a_reboot_from_its_begin_to_its_end(node: Node) -> None:
    first = node("begun", boot_id=BEFORE)
    assert (first["changed"], first["resumed"], first["rebooted"]) == (True, False, False)
    assert first["ready_pods"] == first["record"]["pods"] == ["kube-system/cni"]
    assert node.annotation(REBOOTING) == {
        "run": "run-1",
        "at": "2026-01-02T03:04:05Z",
        "boot_id": BEFORE,
        "pods": {"kube-system/cni": LONG_AGO},
        "proven": None,
        "cordoned": False,
    }
    node.reboot()
    proven = node("proven", boot_id=AFTER)
    assert (proven["changed"], proven["finished"], proven["missing"], proven["rebooted"]) == (True, True, [], True)
    since = "2026-01-02T03:04:05Z"
    assert proven["proof"] == {"boot_id": AFTER, "ready_since": since, "pods": ["kube-system/cni"], "left": []}
    ended = node("ended")
    assert (ended["changed"], ended["record"]) == (True, None)
    assert (node.annotation(REBOOTING), node.annotation(REBOOTED)) == (None, "2026-01-02T03:04:05Z")
    assert node.events() == ["RebootBegun", "RebootProven", "RebootEnded"]
    assert node.item["spec"].get("unschedulable") is None


@pytest.mark.parametrize("state", ["pending", "begun", "proven", "ended", "abandoned", "quarantined"])
def test_a_check_says_what_the_run_does_and_a_second_run_nothing(node: Node, state: str) -> None:
    params: dict[str, Any] = {"taint": "reboot=soon", "labels": {"l": "v"}, "annotate": True, "reason": "why"}
    if state in ("begun", "proven"):
        params["boot_id"] = BEFORE if state == "begun" else AFTER
    if state not in ("pending", "begun"):
        node("begun", boot_id=BEFORE, taint="reboot=soon", annotate=True)
    if state in ("proven", "ended"):
        node.reboot()
    if state == "ended":
        node("proven", boot_id=AFTER)
    version, events = node.kube.store.version, node.events()
    ahead = node(state, check=True, **params)
    assert (node.kube.store.version, node.events()) == (version, events)
    ran = node(state, **params)
    assert ahead["diff"] == ran["diff"]
    assert ran["diff"]["before"] != ran["diff"]["after"]
    for key in ("changed", "resumed", "rebooted", "ready_pods", "missing", "proof"):
        assert ahead[key] == ran[key]
    assert ran["changed"] is True
    version, events = node.kube.store.version, node.events()
    for check in (True, False):
        assert node(state, check, **params)["changed"] is False
    assert (node.kube.store.version, node.events()) == (version, events)


def test_another_run_takes_it_up_where_it_was_left(node: Node) -> None:
    begun(node).reboot(pods=False)
    node.report(False, "2026-01-02T00:00:00Z")
    taken = node("begun", run="run-2", boot_id=AFTER)
    assert (taken["changed"], taken["resumed"], taken["rebooted"], taken["ready_pods"]) == (True, True, True, [])
    record = taken["record"]
    assert (record["run"], record["boot_id"], record["pods"]) == ("run-2", BEFORE, ["kube-system/cni"])
    again = node("begun", run="run-2", boot_id=AFTER)
    assert (again["changed"], again["resumed"], again["rebooted"]) == (False, True, True)
    assert "run run-2 took its reboot over" in str(node.failing("ended"))
    assert node.events() == ["RebootBegun", "RebootResumed"]


def test_a_node_that_does_not_come_back_is_told_of_and_quarantined(node: Node) -> None:
    error = begun(node).failing("proven", boot_id=AFTER, timeout=20)
    assert str(error) == "a: not proved within 20 s that it is back: the machine has boot-2, the Node boot-of-a"
    assert error.details["missing"] == [{"what": "boot_id", "detail": "the machine has boot-2, the Node boot-of-a"}]
    assert (error.details["seconds_left"], error.details["finished"], error.details["changed"]) == (0, True, False)
    node("quarantined", reason="it did not come back")
    assert node.item["spec"]["unschedulable"] is True
    assert node.annotation(QUARANTINED)["reason"] == "it did not come back"
    assert node.annotation(REBOOTING)["run"] == "run-1"
    assert "quarantined by run run-1" in str(node.failing("begun", run="run-2", boot_id=BEFORE))
    lifted = node("begun", run="run-2", boot_id=BEFORE, lift_quarantine=True)
    assert (lifted["resumed"], lifted["rebooted"], lifted["quarantine"]) == (True, False, None)
    assert lifted["lifted"]["reason"] == "it did not come back"
    assert node.events() == ["RebootBegun", "RebootQuarantined", "RebootResumed"]


# The proof


def ready_at(node: Node, second: float, *what: Callable[[], object]) -> None:
    node.time.at.append((second, lambda: [each() for each in what]))


def waits(error: BulwarkError) -> list[tuple[str, str]]:
    return [(each["what"], each["detail"]) for each in error.details["missing"]]


def test_it_waits_for_the_boot_the_kubelet_and_the_pods(node: Node) -> None:
    begun(node)
    ready_at(node, 10, lambda: node.reboot(pods=False, ready=False))
    assert waits(node.failing("proven", boot_id=AFTER, timeout=12)) == [("ready", "the Node is not Ready")]
    ready_at(node, 20, lambda: node.reboot(pods=False))
    # What the API server says of the pod is of before the reboot.
    late = node.failing("proven", boot_id=AFTER, timeout=20)
    assert waits(late) == [("pod", "DaemonSet kube-system/cni: pod cni-a was not reported since the reboot")]
    node.report(False, node.kube.store.stamp())
    late = node.failing("proven", boot_id=AFTER, timeout=20)
    assert waits(late) == [("pod", "DaemonSet kube-system/cni: pod cni-a is not Ready")]
    node.report(True, node.kube.store.stamp())
    leaving = {"metadata": {"deletionTimestamp": node.kube.store.stamp(3600)}}
    node.kube.store.edit("pods", "kube-system", "cni-a", leaving)
    late = node.failing("proven", boot_id=AFTER, timeout=20)
    assert waits(late) == [("pod", "DaemonSet kube-system/cni: no pod of it is on the node")]
    node.cluster.pod("cni-new", "a", ("DaemonSet", "cni"), "kube-system")
    assert node("proven", boot_id=AFTER)["proof"]["pods"] == ["kube-system/cni"]


def test_pods_of_which_nobody_said_since_when_are_believed(node: Node) -> None:
    node.kube.store.edit(
        "pods", "kube-system", "cni-a", {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    )
    begun(node).reboot(pods=False)
    assert node("proven", boot_id=AFTER)["missing"] == []


def test_only_what_was_ready_before_is_waited_for(node: Node) -> None:
    node.report(False, LONG_AGO)
    node.cluster.pod("other", "a", ("DaemonSet", "other"), "kube-system", ready=True)
    node.kube.store.edit(
        "pods",
        "kube-system",
        "other",
        {
            "metadata": {
                "ownerReferences": [
                    {
                        "apiVersion": "apps.kruise.io/v1",
                        "kind": "DaemonSet",
                        "name": "x",
                        "uid": "u",
                        "controller": True,
                    }
                ]
            }
        },
    )
    assert begun(node)("begun", boot_id=BEFORE)["record"]["pods"] == []
    node.reboot(pods=False)
    assert node("proven", boot_id=AFTER)["proof"]["pods"] == []


def test_daemon_sets_that_are_gone_or_want_it_no_more_are_left(node: Node) -> None:
    for name in ("ends", "logs"):
        node.cluster.daemon_set(name)
        node.cluster.pod(f"{name}-a", "a", ("DaemonSet", name), "kube-system")
    begun(node).reboot(pods=False)
    for name in ("cni-a", "ends-a", "logs-a"):
        node.report(False, node.kube.store.stamp(), name)
    store = node.kube.store
    store.delete(store.resources["daemonsets.apps"], "kube-system", "cni", {})
    ends = {"metadata": {"finalizers": ["example.org/x"], "deletionTimestamp": store.stamp()}}
    store.edit("daemonsets.apps", "kube-system", "ends", ends)
    selector = {"spec": {"template": {"spec": {"nodeSelector": {"logs": "here"}}}}}
    store.edit("daemonsets.apps", "kube-system", "logs", selector)
    proof = node("proven", boot_id=AFTER)["proof"]
    assert (proof["pods"], proof["left"]) == (
        [],
        [
            {"name": "kube-system/cni", "reason": "it is gone"},
            {"name": "kube-system/ends", "reason": "it is gone"},
            {"name": "kube-system/logs", "reason": "it does not select the node any more"},
        ],
    )


def test_all_of_it_has_to_hold_for_as_long_as_is_asked_for(node: Node) -> None:
    begun(node).reboot()
    ready_at(node, 40, lambda: node.report(False, node.kube.store.stamp()))
    ready_at(node, 50, lambda: node.report(True, node.kube.store.stamp()))
    ran = node("proven", boot_id=AFTER, stable_for=60)
    assert ran["held"] == 60
    assert node.time.now == 1000 + 50 + 60
    error = node.failing("proven", boot_id=AFTER, stable_for=60, timeout=61, held=5.0, waited=50.0)
    assert waits(error) == [("stable", "this has held for 16 of 60 s")]
    assert str(error).startswith("a: not proved within 61 s that it is back: this has held for 16 of 60 s")


def test_slices_go_on_where_the_last_ended(node: Node) -> None:
    begun(node).reboot()
    first = node("proven", boot_id=AFTER, stable_for=50, slice=20)
    assert (first["finished"], first["changed"], first["proof"], first["held"]) == (False, False, None, 20)
    assert (first["seconds_left"], first["missing"][0]["what"]) == (1780, "stable")
    second = node("proven", boot_id=AFTER, stable_for=50, slice=20, waited=22.0, held=22.0)
    assert (second["held"], second["seconds_left"]) == (42, 1758)
    third = node("proven", boot_id=AFTER, stable_for=50, slice=20, waited=44.0, held=44.0)
    assert (third["finished"], third["held"], third["proof"]["boot_id"]) == (True, 50, AFTER)


def test_a_check_looks_once_and_fails_for_nothing_that_a_run_would_wait_for(node: Node) -> None:
    begun(node)
    ran = node("proven", check=True, boot_id=AFTER)
    assert (ran["finished"], ran["changed"], ran["proof"], ran["missing"][0]["what"]) == (True, False, None, "boot_id")
    assert node.time.slept == []
    assert "run run-1 took its reboot over" in str(node.failing("proven", check=True, boot_id=AFTER, run="x"))


@pytest.mark.parametrize(
    ("happens", "said"),
    [
        (lambda node: node("begun", run="run-2", boot_id=BEFORE), "a: run run-2 took its reboot over"),
        (lambda node: node("abandoned"), "a: it has no record of a reboot"),
    ],
)
def test_whoever_takes_it_away_ends_the_wait(node: Node, happens: Callable[[Node], object], said: str) -> None:
    begun(node)
    ready_at(node, 30, lambda: happens(node))
    assert str(node.failing("proven", boot_id=AFTER)).startswith(said)
    assert node.time.now <= 1032


def test_a_machine_that_was_not_rebooted_is_not_waited_for(node: Node) -> None:
    text = str(begun(node).failing("proven", boot_id=BEFORE))
    assert text == "a: boot_id: got 'boot-of-a', which it had before: the machine has not been rebooted"
    assert node.time.slept == []


def test_a_node_that_is_gone_is_not_waited_for(node: Node) -> None:
    begun(node)
    node.kube.store.delete(node.kube.store.resources["nodes"], "", "a", {})
    assert isinstance(node.failing("proven", boot_id=AFTER), NotFound)
    assert node.time.slept == []


# Faults


@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 403, "reason": "Forbidden"}, {"lost": "before"}])
def test_an_api_that_comes_up_with_the_node_is_waited_for(node: Node, fault: dict[str, Any]) -> None:
    begun(node).reboot()
    node.kube.fault(times=6, **fault)
    ran = node("proven", boot_id=AFTER, timeout=300)
    assert (ran["finished"], ran["proof"]["boot_id"]) == (True, AFTER)


def test_who_may_not_ask_is_told_so_after_a_slice(node: Node) -> None:
    begun(node).reboot()
    node.kube.fault(times=10_000, status=403, reason="Forbidden")
    assert isinstance(node.failing("proven", boot_id=AFTER, slice=20), Forbidden)
    assert node.time.now <= 1020


def test_who_refuses_after_an_answer_is_asked_again(node: Node) -> None:
    begun(node)
    ready_at(node, 10, lambda: node.kube.fault(times=10_000, status=403, reason="Forbidden"))
    ran = node("proven", boot_id=AFTER, slice=20)
    assert (ran["finished"], ran["missing"][0]["what"]) == (False, "api")


def test_who_may_not_write_is_told_so_at_once(node: Node) -> None:
    begun(node).reboot()
    node.kube.fault(method="PATCH", status=403, reason="Forbidden")
    assert isinstance(node.failing("proven", boot_id=AFTER), Forbidden)
    assert node.time.slept == []


def test_an_api_that_stays_away_is_what_is_missing(node: Node) -> None:
    begun(node).reboot()
    node.kube.fault(times=10_000, lost="before")
    ran = node("proven", boot_id=AFTER, slice=20)
    assert (ran["finished"], ran["record"], ran["missing"][0]["what"], ran["held"]) == (False, None, "api", None)
    error = node.failing("proven", boot_id=AFTER, slice=20, waited=1785.0)
    assert waits(error)[0][0] == "api"
    assert "no answer from" in str(error)


def test_a_proof_that_cannot_be_noted_is_not_over(node: Node) -> None:
    begun(node).reboot()
    node.kube.fault(method="PATCH", times=1000, status=500)
    ran = node("proven", boot_id=AFTER, slice=20)
    assert (ran["finished"], ran["changed"], ran["missing"][0]["what"], ran["held"]) == (False, False, "api", 0)
    node.kube.faults.clear()
    assert node("proven", boot_id=AFTER, held=ran["held"], waited=10.0)["changed"] is True


def test_an_answer_that_is_lost_is_no_second_change(node: Node) -> None:
    node.kube.fault(method="PATCH", lost="after")
    assert node("begun", boot_id=BEFORE)["changed"] is True
    assert node.events() == ["RebootBegun"]
    node.kube.fault(method="PATCH", lost="after")
    assert node("abandoned")["changed"] is True
    assert node.events() == ["RebootBegun", "RebootAbandoned"]


def test_what_others_write_meanwhile_is_kept(node: Node) -> None:
    before_next_patch(
        node.kube, lambda: node.kube.store.edit("nodes", "", "a", {"metadata": {"annotations": {"x": "y"}}})
    )
    assert node("begun", boot_id=BEFORE)["changed"] is True
    assert (node.annotation("x"), node.annotation(REBOOTING)["run"]) == ("y", "run-1")


def test_of_two_runs_that_begin_at_once_one_takes_it_up(node: Node) -> None:
    before_next_patch(node.kube, lambda: node("begun", run="run-2", boot_id=BEFORE))
    assert node("begun", boot_id=BEFORE)["record"]["run"] == "run-1"
    assert node.annotation(REBOOTING)["run"] == "run-1"
    assert "run run-1 took its reboot over" in str(node.failing("abandoned", run="run-2"))


@pytest.mark.parametrize(
    "fault", [{"status": 403}, {"status": 429}, {"status": 500}, {"lost": "before"}, {"lost": "after"}]
)
def test_an_event_that_cannot_be_written_is_a_warning(node: Node, fault: dict[str, Any]) -> None:
    node.kube.fault(path=EVENTS, times=1000, **fault)
    ran = node("begun", boot_id=BEFORE)
    (warning,) = ran["warnings"]
    assert warning.startswith("the event RebootBegun was not written: create events in namespace ")
    assert (ran["changed"], node.annotation(REBOOTING)["run"]) == (True, "run-1")
    assert node.time.now <= 1010


def test_an_event_is_as_kubelet_s_are(node: Node) -> None:
    begun(node)
    (event,) = node.kube.store.all("events")
    assert event["metadata"]["name"].startswith("a.")
    assert event["involvedObject"] == {"apiVersion": "v1", "kind": "Node", "name": "a", "uid": "a"}
    assert (event["type"], event["source"], event["count"]) == ("Normal", {"component": "bulwark.node"}, 1)
    assert event["firstTimestamp"] == event["lastTimestamp"] == "2026-01-02T03:04:05Z"
    assert (event["reportingComponent"], event["reportingInstance"]) == ("bulwark.node", "run-1")


@pytest.mark.parametrize("state", ["begun", "ended", "abandoned", "quarantined"])
def test_without_an_answer_nothing_else_is_known(node: Node, state: str) -> None:
    node.kube.fault(times=10_000, lost="before")
    assert isinstance(node.failing(state, boot_id=BEFORE, reason="x"), Unreachable)


# Options


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"run": "a b"}, "run_id: got 'a b', expected letters"),
        ({"boot_id": None}, "boot_id: is missing, expected a text, as state is begun"),
        ({"boot_id": ""}, "boot_id: got '', expected a text, as state is begun"),
        ({"boot_id": "boot\n"}, "boot_id: got 'boot\\n', expected what the machine's /proc/sys/kernel"),
        ({"state": "proven", "boot_id": None}, "boot_id: is missing, expected a text, as state is proven"),
        ({"state": "quarantined"}, "reason: is missing, expected a text, as state is quarantined"),
        ({"timeout": 0}, "timeout: got 0, expected 1 or more"),
        ({"slice": 0}, "slice: got 0, expected 1 or more"),
        ({"stable_for": -1}, "stable_for: got -1, expected 0 or more"),
        ({"stable_for": 1800}, "stable_for: got 1800, expected 0 or more, and less than timeout, which is 1800"),
        ({"labels": {"l": True}}, "labels.l: got True, expected a string; put it in quotes"),
        ({"taint": "a=b:NoSchedule"}, "taint: got 'a=b:NoSchedule', expected key or key=value"),
        ({"taint": ""}, "taint: got '', expected key"),
    ],
)
def test_bad_options_are_refused_before_anything_is_asked(node: Node, params: dict[str, Any], said: str) -> None:
    error = node.failing(**{"state": "begun", "boot_id": BEFORE, **params})
    assert isinstance(error, OptionError)
    assert str(error).startswith(said)
    assert node.kube.requests == []


# SIGKILL between any two requests


class Killed(BaseException):
    """SIGKILL: nothing catches it, and nothing is cleaned up."""


@dataclass
class Mortal:
    """A connection without a network, whose process is killed when its n-th request was carried out; of 0 it never is.

    To be killed before a request is to be killed after the one before it.
    """

    kube: FakeKube
    left: int = 0
    server: str = "https://fake"

    def send(self, method: str, path: str, body: Any, content_type: str, timeout: float) -> Answer:
        plain, _mark, query = path.partition("?")
        headers = {"content-type": content_type}
        request = Request(method, plain, dict(urllib.parse.parse_qsl(query)), headers, copy.deepcopy(body))
        status, found = self.kube.answer(request, self.kube.tokens["cluster-admin"])
        self.left -= 1
        if self.left == 0:
            raise Killed
        return Answer(status, {"date": email.utils.format_datetime(self.kube.store.now)}, json.dumps(found).encode())


def through(node: Node, run: str, client: Client, lift: bool = False) -> None:
    """What the role does with one node, the drain made short."""
    boot_id = AFTER if node.boots else BEFORE
    begin = node("begun", run=run, client=client, boot_id=boot_id, lift_quarantine=lift)
    if not begin["rebooted"]:
        cordon.cordon(client, "a", cordon.Record(run, node.kube.store.now))
        node.reboot()
    node("proven", run=run, client=client, boot_id=AFTER, stable_for=2)
    cordon.uncordon(client, "a")
    node("ended", run=run, client=client)


def quarantine(node: Node, run: str, client: Client) -> None:
    """What it does with one that is not proved."""
    node("begun", run=run, client=client, boot_id=BEFORE)
    cordon.cordon(client, "a", cordon.Record(run, node.kube.store.now))
    node.reboot(pods=False)
    node("quarantined", run=run, client=client, reason="its pods are not there")


def give_up(node: Node, run: str, client: Client) -> None:
    """What it does with one that was not rebooted."""
    node("begun", run=run, client=client, boot_id=BEFORE)
    cordon.cordon(client, "a", cordon.Record(run, node.kube.store.now))
    cordon.uncordon(client, "a")
    node("abandoned", run=run, client=client)


def killed_at(node: Node, what: Callable[[Node, str, Client], None], request: int) -> bool:
    """Whether a run was killed after this request, and did not come to its end before."""
    try:
        what(node, "run-1", Client(Mortal(node.kube, request), clock=node.time.clock()))
    except Killed:
        return True
    return False


def heal(node: Node) -> None:
    """Another run, which knows of nothing but the cluster, and of a quarantine by whoever looked at the node."""
    quarantined = node.annotation(QUARANTINED) is not None
    if quarantined:
        assert "quarantined by run run-1" in str(node.failing("begun", run="run-2", boot_id=AFTER))
    if node.boots:
        node.report(True, node.kube.store.stamp())
    through(node, "run-2", node.client, quarantined)


@pytest.mark.parametrize(("what", "requests"), [(through, 18), (quarantine, 9), (give_up, 11)])
def test_killed_after_any_request_and_healed_by_the_next_run(
    kube: FakeKube, what: Callable[[Node, str, Client], None], requests: int
) -> None:
    request, killed = 0, True
    while killed:
        request += 1
        kube.store = Store()
        node = Node(kube)
        node.client.sender = Mortal(kube)
        killed = killed_at(node, what, request)
        # Whoever finds a node of ours cordoned finds out why.
        assert not cordon.is_cordoned(node.item) or node.annotation(REBOOTING)
        if node.annotation(REBOOTED) is None:
            heal(node)
        assert (node.annotation(REBOOTING), node.annotation(QUARANTINED), node.annotation(CORDON)) == (None, None, None)
        assert not cordon.is_cordoned(node.item)
        assert node.annotation(REBOOTED)
        assert node.boots == 1
    # At each of them it was.
    assert request - 1 == requests
