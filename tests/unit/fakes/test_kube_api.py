# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the fake API server does beyond the recordings: time, kubelets, paging, faults, and races."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.bulwark.node.tests.fakes.kube_api import FakeKube, User
from ansible_collections.bulwark.node.tests.fakes.kube_rules import Resource, custom_resource

POD = {"spec": {"containers": [{"name": "c", "image": "x:1"}], "nodeName": "a", "terminationGracePeriodSeconds": 30}}
READY = {"type": "Ready", "status": "True"}


@pytest.fixture
def kube() -> Iterator[FakeKube]:
    with FakeKube() as server:
        yield server


def ask(kube: FakeKube, method: str, path: str, body: Any = None, token: str = "cluster-admin", **headers: str) -> Any:
    """Status and body; `kind` of the headers is a PATCH's."""
    connection = http.client.HTTPConnection(kube.url.partition("//")[2], timeout=20)
    found = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    found.update({name.replace("_", "-"): value for name, value in headers.items()})
    connection.request(method, path, None if body is None else json.dumps(body), found)
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def add(kube: FakeKube, name: str, running: bool = True, **metadata: Any) -> dict[str, Any]:
    item = {**POD, "metadata": {"name": name, "namespace": "default", "labels": {"app": "web"}, **metadata}}
    if running:
        item["status"] = {"phase": "Running", "conditions": [READY]}
    return kube.store.add("pods", item)


def evict(kube: FakeKube, name: str, query: str = "", **options: Any) -> Any:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}, "deleteOptions": options}
    return ask(kube, "POST", f"/api/v1/namespaces/default/pods/{name}/eviction{query}", body)


def there(kube: FakeKube) -> list[str]:
    return [item["metadata"]["name"] for item in kube.store.all("pods")]


def test_a_pod_is_gone_when_its_grace_is_over_and_its_kubelet_runs(kube: FakeKube) -> None:
    for name in ("web", "stuck", "held"):
        add(kube, name, finalizers=["example.com/x"] if name == "held" else [])
    kube.store.edit("pods", "default", "stuck", {"spec": {"nodeName": "b"}})
    kube.store.no_kubelet.add("b")
    for name in there(kube):
        assert evict(kube, name)[0] == 201
    kube.store.advance(29)
    assert there(kube) == ["held", "stuck", "web"]
    kube.store.advance(1)
    assert there(kube) == ["held", "stuck"]


def test_a_dry_run_checks_and_changes_nothing(kube: FakeKube) -> None:
    kube.store.add("nodes", {"metadata": {"name": "a"}})
    add(kube, "web")
    version = kube.store.version
    lease = {"metadata": {"name": "x"}}
    leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases?dryRun=All"
    assert ask(kube, "POST", leases, lease)[0] == 201
    patch = {"spec": {"unschedulable": True}}
    merge = {"Content_Type": "application/merge-patch+json"}
    assert ask(kube, "PATCH", "/api/v1/nodes/a?dryRun=All", patch, **merge)[1]["spec"]["unschedulable"] is True
    assert evict(kube, "web", dryRun=["All"])[0] == 201
    assert ask(kube, "DELETE", "/api/v1/namespaces/default/pods/web?dryRun=All")[0] == 200
    assert ask(kube, "DELETE", "/api/v1/nodes/a?dryRun=All")[0] == 200
    assert ask(kube, "DELETE", "/api/v1/nodes/b?dryRun=All")[0] == 404
    assert kube.store.version == version


@pytest.mark.parametrize("ready", [True, False])
@pytest.mark.parametrize(
    ("spec", "pods", "allowed"),
    [
        ({"minAvailable": 1}, 3, 2),
        ({"minAvailable": "50%"}, 3, 1),
        ({"maxUnavailable": 1}, 3, 1),
        ({"maxUnavailable": "34%"}, 3, 2),
        ({"maxUnavailable": 0}, 3, 0),
        ({"minAvailable": 0}, 0, 0),
    ],
)
def test_a_budget_allows_what_its_numbers_say(
    kube: FakeKube, spec: dict[str, Any], pods: int, allowed: int, ready: bool
) -> None:
    for number in range(pods):
        add(kube, f"web-{number}", running=ready)
    budget = {"metadata": {"name": "web", "namespace": "default"}, "spec": {**spec, "selector": {}}}
    kube.store.add("poddisruptionbudgets.policy", budget)
    kube.store.settle()
    status = kube.store.all("poddisruptionbudgets.policy")[0]["status"]
    assert status["disruptionsAllowed"] == (allowed if ready else 0)
    assert status["expectedPods"] == pods


def test_a_budget_counts_down_before_its_controller_has_looked(kube: FakeKube) -> None:
    for number in range(3):
        add(kube, f"web-{number}")
    budget = {"metadata": {"name": "web", "namespace": "default"}, "spec": {"minAvailable": 2, "selector": {}}}
    kube.store.add("poddisruptionbudgets.policy", budget)
    # Not observed yet.
    status, body = evict(kube, "web-0")
    assert (status, body["details"]["retryAfterSeconds"]) == (429, 10)
    kube.store.settle()
    assert [evict(kube, f"web-{number}", dryRun=["All"])[0] for number in range(3)] == [201, 201, 201]
    assert [evict(kube, f"web-{number}")[0] for number in range(3)] == [201, 429, 429]
    kube.store.settle()
    assert evict(kube, "web-1")[0] == 429


@pytest.mark.parametrize(("policy", "least", "status"), [(None, 1, 429), (None, 0, 429), ("AlwaysAllow", 1, 201)])
def test_a_pod_that_is_not_ready_passes_where_the_policy_allows_it(
    kube: FakeKube, policy: str | None, least: int, status: int
) -> None:
    add(kube, "web")
    kube.store.edit("pods", "default", "web", {"status": {"conditions": []}})
    spec = {"minAvailable": least, "selector": {}, **({"unhealthyPodEvictionPolicy": policy} if policy else {})}
    kube.store.add("poddisruptionbudgets.policy", {"metadata": {"name": "web", "namespace": "default"}, "spec": spec})
    kube.store.settle()
    assert evict(kube, "web")[0] == status


@pytest.mark.parametrize(("phase", "status"), [("Running", 429), ("Pending", 201), ("Succeeded", 201), ("Failed", 201)])
def test_what_does_not_run_has_no_budget(kube: FakeKube, phase: str, status: int) -> None:
    add(kube, "web")
    kube.store.edit("pods", "default", "web", {"status": {"phase": phase}})
    spec = {"maxUnavailable": 0, "selector": {}}
    kube.store.add("poddisruptionbudgets.policy", {"metadata": {"name": "web", "namespace": "default"}, "spec": spec})
    kube.store.settle()
    assert evict(kube, "web")[0] == status


def test_a_page_goes_on_in_the_state_of_the_first(kube: FakeKube) -> None:
    for number in range(4):
        add(kube, f"p{number}")
    first = ask(kube, "GET", "/api/v1/pods?limit=2")[1]
    assert first["metadata"]["remainingItemCount"] == 2
    add(kube, "p2a")
    token = first["metadata"]["continue"]
    second = ask(kube, "GET", f"/api/v1/pods?limit=2&continue={token}")[1]
    assert [item["metadata"]["name"] for item in second["items"]] == ["p2", "p3"]
    assert "continue" not in second["metadata"]
    kube.store.compact()
    status, body = ask(kube, "GET", f"/api/v1/pods?limit=2&continue={token}")
    assert (status, body["reason"]) == (410, "Expired")
    assert ask(kube, "GET", "/api/v1/pods?continue=xyz")[0] == 400


def test_a_watch_of_a_forgotten_past_ends_with_an_error(kube: FakeKube) -> None:
    kube.store.compact()
    body = ask(kube, "GET", "/api/v1/pods?watch=true&resourceVersion=1&timeoutSeconds=3")[1]
    assert (body["type"], body["object"]["code"]) == ("ERROR", 410)


def test_a_watch_ends_with_the_clock(kube: FakeKube) -> None:
    add(kube, "web")
    found: list[Any] = []
    path = "/api/v1/pods?watch=true&resourceVersion=1&timeoutSeconds=3"
    thread = threading.Thread(target=lambda: found.append(ask(kube, "GET", path)))
    thread.start()
    while thread.is_alive():
        kube.store.advance(3)
        thread.join(0.05)
    assert found[0][1]["type"] == "ADDED"


def test_the_label_selectors_of_the_api(kube: FakeKube) -> None:
    for name, labels in (("a", {"x": "1"}), ("b", {"x": "2"}), ("c", {})):
        kube.store.add("nodes", {"metadata": {"name": name, "labels": labels}})
    for selector, names in (
        ("x", "ab"),
        ("!x", "c"),
        ("x=1", "a"),
        ("x!=1", "bc"),
        ("x in (1,2)", "ab"),
        ("x notin (1)", "bc"),
        ("x,x!=2", "a"),
    ):
        found = ask(kube, "GET", "/api/v1/nodes?labelSelector=" + selector.replace(" ", "%20"))[1]["items"]
        assert "".join(item["metadata"]["name"] for item in found) == names


@pytest.mark.parametrize(
    ("kind", "patch", "taints"),
    [
        ("merge", {"spec": {"taints": [{"key": "b", "effect": "NoSchedule"}]}}, ["b"]),
        ("strategic-merge", {"spec": {"taints": [{"key": "b", "effect": "NoSchedule"}]}}, ["b"]),
        ("json", [{"op": "add", "path": "/spec/taints/-", "value": {"key": "b", "effect": "NoSchedule"}}], ["a", "b"]),
        ("json", [{"op": "remove", "path": "/spec/taints/0"}], []),
    ],
)
def test_a_patch_of_taints(kube: FakeKube, kind: str, patch: Any, taints: list[str]) -> None:
    kube.store.add("nodes", {"metadata": {"name": "a"}})
    kube.store.edit("nodes", "", "a", {"spec": {"taints": [{"key": "a", "effect": "NoExecute"}]}})
    status, body = ask(kube, "PATCH", "/api/v1/nodes/a", patch, Content_Type=f"application/{kind}-patch+json")
    assert status == 200
    assert [taint["key"] for taint in body["spec"]["taints"]] == taints


@pytest.mark.parametrize(
    "operation",
    [{"op": "test", "path": "/metadata/name", "value": "b"}, {"op": "remove", "path": "/spec/absent"}],
)
def test_a_json_patch_that_does_not_fit_is_refused(kube: FakeKube, operation: dict[str, Any]) -> None:
    kube.store.add("nodes", {"metadata": {"name": "a"}})
    patched = ask(kube, "PATCH", "/api/v1/nodes/a", [operation], Content_Type="application/json-patch+json")
    assert (patched[0], patched[1]["reason"]) == (422, "Invalid")


def test_conditions_are_merged_by_type_in_a_strategic_patch_of_the_status(kube: FakeKube) -> None:
    kube.store.add(
        "nodes", {"metadata": {"name": "a"}, "status": {"conditions": [{"type": "A", "status": "True"}, READY]}}
    )
    patch = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
    kind = {"Content_Type": "application/strategic-merge-patch+json"}
    unchanged = ask(kube, "PATCH", "/api/v1/nodes/a", patch, **kind)[1]["status"]["conditions"]
    assert unchanged == [{"type": "A", "status": "True"}, READY]
    found = ask(kube, "PATCH", "/api/v1/nodes/a/status", patch, **kind)[1]["status"]["conditions"]
    assert found == [{"type": "A", "status": "True"}, {"type": "Ready", "status": "False"}]
    kube.store.settle()
    taints = [taint["key"] for taint in kube.store.all("nodes")[0]["spec"]["taints"]]
    assert taints == ["node.kubernetes.io/not-ready"]


def test_rights_are_by_user_resource_namespace_and_name(kube: FakeKube) -> None:
    kube.tokens["one"] = User("one")
    rule = {"apiGroups": ["apps"], "resources": ["daemonsets"], "verbs": ["patch", "get"]}
    kube.rules["one"] = [{**rule, "resourceNames": ["kured"], "namespace": "kube-system"}]
    path = "/apis/apps/v1/namespaces/{}/daemonsets/{}"
    assert ask(kube, "GET", path.format("kube-system", "kured"), token="one")[0] == 404
    assert ask(kube, "GET", path.format("kube-system", "other"), token="one")[0] == 403
    assert ask(kube, "GET", path.format("default", "kured"), token="one")[0] == 403


def test_who_may_not_ask_does_not_learn_that_a_resource_is_not_there(kube: FakeKube) -> None:
    kube.tokens["ci"] = User("ci")
    path = "/apis/karpenter.sh/v1/nodeclaims"
    assert [ask(kube, "GET", path, token=token)[0] for token in ("ci", "cluster-admin")] == [403, 404]


def test_a_fault_before_the_write_loses_it_and_one_after_loses_the_answer(kube: FakeKube) -> None:
    kube.store.add("nodes", {"metadata": {"name": "a"}})
    for when, unschedulable in (("before", None), ("after", True)):
        kube.fault(method="PATCH", lost=when)
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            ask(
                kube,
                "PATCH",
                "/api/v1/nodes/a",
                {"spec": {"unschedulable": True}},
                Content_Type="application/merge-patch+json",
            )
        assert kube.store.all("nodes")[0]["spec"].get("unschedulable") is unschedulable


def test_of_writers_with_one_version_one_wins(kube: FakeKube) -> None:
    made = kube.store.add("leases.coordination.k8s.io", {"metadata": {"name": "x", "namespace": "default"}})
    path = "/apis/coordination.k8s.io/v1/namespaces/default/leases/x"
    found: list[int] = []

    def write(number: int) -> None:
        found.append(ask(kube, "PUT", path, {**made, "spec": {"leaseTransitions": number}})[0])

    threads = [threading.Thread(target=write, args=(number,)) for number in range(1, 11)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [200, *[409] * 9]


def test_kinds_of_others_can_be_added(kube: FakeKube) -> None:
    path = "/apis/karpenter.sh/v1/nodeclaims"
    assert ask(kube, "GET", path)[0] == 404
    kube.store.resources["nodeclaims.karpenter.sh"] = Resource(
        "karpenter.sh", "v1", "nodeclaims", "NodeClaim", namespaced=False
    )
    kube.store.add("nodeclaims.karpenter.sh", {"metadata": {"name": "x"}})
    assert [item["metadata"]["name"] for item in ask(kube, "GET", path)[1]["items"]] == ["x"]


def test_a_custom_resource_is_served_as_soon_as_it_is_registered(kube: FakeKube) -> None:
    path = "/apis/karpenter.sh/v1/nodeclaims"
    assert ask(kube, "GET", path)[0] == 404
    kube.store.register(custom_resource("karpenter.sh", "v1", "nodeclaims", "NodeClaim", namespaced=False))
    groups = {group["name"]: group["preferredVersion"]["version"] for group in ask(kube, "GET", "/apis")[1]["groups"]}
    assert groups == {"apps": "v1", "coordination.k8s.io": "v1", "karpenter.sh": "v1", "policy": "v1"}
    assert ask(kube, "GET", "/apis/karpenter.sh/v1")[1]["resources"][0]["name"] == "nodeclaims"
    status, made = ask(kube, "POST", path, {"metadata": {"name": "x"}, "spec": {"a": 1}})
    assert (status, made["metadata"]["generation"], made["kind"]) == (201, 1, "NodeClaim")
    merge, strategic = ("application/merge-patch+json", "application/strategic-merge-patch+json")
    patch = {"spec": {"a": 2}}
    assert ask(kube, "PATCH", f"{path}/x", patch, Content_Type=merge)[1]["metadata"]["generation"] == 2
    # Nobody told the server how to merge its lists.
    assert ask(kube, "PATCH", f"{path}/x", patch, Content_Type=strategic)[0] == 415
    # Nor does it replace what it was not told the version of.
    assert ask(kube, "PUT", f"{path}/x", {"metadata": {"name": "x"}})[0] == 422
    assert ask(kube, "GET", path)[1]["items"][0]["spec"] == {"a": 2}
    assert ask(kube, "DELETE", f"{path}/x")[0] == 200


EVENT = {
    "metadata": {"generateName": "a."},
    "involvedObject": {"kind": "Node", "name": "a"},
    "reason": "R",
    "type": "Normal",
}
MODERN = {
    **EVENT,
    "eventTime": "2026-01-02T03:04:05.000000Z",
    "reportingComponent": "x",
    "reportingInstance": "y",
    "action": "z",
}


@pytest.mark.parametrize(
    ("event", "namespace", "field"),
    [
        (EVENT, "default", None),
        # Old clients need not say more, and may not write elsewhere.
        (EVENT, "kube-system", "involvedObject.namespace"),
        ({**EVENT, "involvedObject": {"kind": "Pod", "name": "p", "namespace": "kube-system"}}, "kube-system", None),
        (
            {**EVENT, "involvedObject": {"kind": "Pod", "name": "p", "namespace": "kube-system"}},
            "default",
            "involvedObject.namespace",
        ),
        (MODERN, "default", None),
        (MODERN, "kube-system", None),
        ({**MODERN, "action": ""}, "default", "action"),
        ({**MODERN, "reportingInstance": "y" * 129}, "default", "reportingInstance"),
        ({**MODERN, "message": "\u00e9" * 513}, "default", "message"),
    ],
)
def test_an_event_is_where_what_it_is_about_is(
    kube: FakeKube, event: dict[str, Any], namespace: str, field: str | None
) -> None:
    status, made = ask(kube, "POST", f"/api/v1/namespaces/{namespace}/events", event)
    assert (status, [cause["field"] for cause in made.get("details", {}).get("causes", [])]) == (
        (422, [field]) if field else (201, [])
    )
    if not field:
        assert made["metadata"]["name"].startswith("a.")
        assert (made["source"], made["firstTimestamp"]) == ({}, None)


def test_a_name_that_is_generated_is_cut_off_before_it(kube: FakeKube) -> None:
    event = {**EVENT, "metadata": {"generateName": "x" * 250 + "."}}
    made = ask(kube, "POST", "/api/v1/namespaces/default/events", event)[1]
    assert made["metadata"]["name"][:58] == "x" * 58
    assert len(made["metadata"]["name"]) == 63


def test_while_it_is_away_it_refuses_and_open_connections_end(kube: FakeKube) -> None:
    url, before = kube.url, http.client.HTTPConnection(kube.url.partition("//")[2], timeout=20)
    before.request("GET", "/version")
    assert before.getresponse().read()
    with kube.away():
        with pytest.raises(ConnectionRefusedError):
            ask(kube, "GET", "/version")
        before.request("GET", "/version")
        with pytest.raises(http.client.RemoteDisconnected):
            before.getresponse()
    assert (kube.url, ask(kube, "GET", "/version")[0]) == (url, 200)
