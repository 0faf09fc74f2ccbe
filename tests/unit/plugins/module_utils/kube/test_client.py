# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client against the fake API server: what it repeats and what never, paging, compare-and-swap, errors."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest
import yaml

from ansible_collections.bulwark.node.plugins.module_utils.errors import OptionError
from ansible_collections.bulwark.node.plugins.module_utils.kube.client import (
    DAEMON_SETS,
    LEASES,
    NAMESPACES,
    NODES,
    PODS,
    Client,
    Conflict,
    Expired,
    Forbidden,
    KubeError,
    NotFound,
    Resource,
    Throttled,
    Unreachable,
    merge_patch,
)
from ansible_collections.bulwark.node.plugins.module_utils.kube.connection import TransportError
from ansible_collections.bulwark.node.plugins.module_utils.kube.errors import Answer
from ansible_collections.bulwark.node.tests.fakes.kube_api import FakeKube, User
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.kube.conftest import Time, connected

CORDON = {"spec": {"unschedulable": True}}
EVICTION = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "web", "namespace": "default"}}


@pytest.fixture
def node(kube: FakeKube) -> dict[str, Any]:
    kube.store.add("nodes", {"metadata": {"name": "a"}})
    return kube.store.all("nodes")[0]


def pod(kube: FakeKube, name: str, **metadata: Any) -> dict[str, Any]:
    spec = {"containers": [{"name": "c", "image": "x"}], "nodeName": "a"}
    metadata = {"name": name, "namespace": "default", **metadata}
    return kube.store.add("pods", {"metadata": metadata, "spec": spec, "status": {"phase": "Running"}})


def sent(kube: FakeKube, method: str) -> int:
    return sum(1 for request in kube.requests if request.method == method)


def test_an_object_is_a_plain_dict(client: Client, node: dict[str, Any]) -> None:
    assert client.get(NODES, "a") == node


def test_objects_are_created_replaced_patched_and_deleted(client: Client) -> None:
    lease = {"metadata": {"name": "lock"}, "spec": {"holderIdentity": "x"}}
    made = client.create(LEASES, lease, "default")
    made["spec"]["holderIdentity"] = "y"
    assert client.replace(LEASES, made, "default")["spec"] == {"holderIdentity": "y"}
    patched = client.patch(LEASES, "lock", {"spec": {"leaseDurationSeconds": 5}}, "default")
    assert patched["spec"] == {"holderIdentity": "y", "leaseDurationSeconds": 5}
    client.delete(LEASES, "lock", "default", uid=made["metadata"]["uid"])
    with pytest.raises(NotFound):
        client.get(LEASES, "lock", "default")


@pytest.mark.parametrize(
    ("kind", "patch"),
    [("merge", CORDON), ("strategic", CORDON), ("json", [{"op": "add", "path": "/spec/unschedulable", "value": True}])],
)
def test_each_kind_of_patch_is_sent_as_what_it_is(client: Client, node: dict[str, Any], kind: str, patch: Any) -> None:
    assert client.patch(NODES, node["metadata"]["name"], patch, kind=kind)["spec"]["unschedulable"] is True


def test_a_dry_run_changes_nothing(client: Client, node: dict[str, Any]) -> None:
    assert client.patch(NODES, "a", CORDON, dry_run=True)["spec"]["unschedulable"] is True
    assert client.get(NODES, "a") == node


@pytest.mark.parametrize("name", ["", "..", "a/b", "a%2fb"])
def test_a_name_never_leads_to_another_path(client: Client, kube: FakeKube, name: str) -> None:
    with pytest.raises(OptionError, match="name: got"):
        client.get(NODES, name)
    assert kube.requests == []


# What is repeated


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_get_is_repeated_after_a_passing_error(
    client: Client, kube: FakeKube, node: dict[str, Any], time: Time, status: int
) -> None:
    kube.fault(status=status, times=3)
    assert client.get(NODES, "a") == node
    # Back-off doubles.
    assert time.slept == [0.375, 0.75, 1.5]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_get_is_repeated_after_a_lost_connection(
    client: Client, kube: FakeKube, node: dict[str, Any], when: str
) -> None:
    kube.fault(lost=when, times=2)
    assert client.get(NODES, "a") == node


def test_the_server_says_how_long_to_wait(client: Client, kube: FakeKube, node: dict[str, Any], time: Time) -> None:
    kube.fault(status=429, retry_after="7", text="Too many requests, please try again later.\n")
    assert client.get(NODES, "a") == node
    assert 7 <= time.slept[0] < 8


def test_a_write_that_a_busy_server_turned_away_is_repeated(
    client: Client, kube: FakeKube, node: dict[str, Any]
) -> None:
    kube.fault(status=429, retry_after="1")
    assert client.patch(NODES, "a", CORDON)["spec"]["unschedulable"] is True


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 503}, {"lost": "before"}, {"lost": "after"}])
def test_a_write_without_precondition_is_sent_once(
    client: Client, kube: FakeKube, node: dict[str, Any], time: Time, fault: dict[str, Any]
) -> None:
    kube.fault(method="PATCH", times=5, **fault)
    with pytest.raises(KubeError) as caught:
        client.patch(NODES, "a", CORDON)
    assert kube.faults[0].times == 4
    assert time.slept == []
    if "lost" in fault:
        assert isinstance(caught.value, Unreachable)
        assert caught.value.sent
        assert "It may have been carried out" in str(caught.value)


@pytest.mark.parametrize("fault", [{"status": 503}, {"lost": "before"}])
def test_a_write_with_a_precondition_is_repeated(
    client: Client, kube: FakeKube, node: dict[str, Any], fault: dict[str, Any]
) -> None:
    kube.fault(method="PATCH", times=2, **fault)
    version = {"resourceVersion": node["metadata"]["resourceVersion"]}
    assert client.patch(NODES, "a", {"metadata": version, **CORDON})["spec"]["unschedulable"] is True


def test_a_delete_of_one_uid_is_repeated_and_hits_no_successor(client: Client, kube: FakeKube) -> None:
    old = pod(kube, "web")
    kube.store.delete(kube.store.resources["pods"], "default", "web", {"gracePeriodSeconds": 0})
    pod(kube, "web")
    kube.fault(method="DELETE", lost="before")
    with pytest.raises(Conflict, match="UID in the precondition"):
        client.delete(PODS, "web", "default", uid=old["metadata"]["uid"])
    assert "deletionTimestamp" not in client.get(PODS, "web", "default")["metadata"]


@pytest.mark.parametrize("precondition", [True, False])
def test_an_eviction_of_one_uid_is_repeated_after_a_lost_connection(
    client: Client, kube: FakeKube, precondition: bool
) -> None:
    options = {"preconditions": {"uid": pod(kube, "web")["metadata"]["uid"]}} if precondition else {}
    kube.fault(method="POST", lost="before")
    eviction = {**EVICTION, "deleteOptions": options}
    if precondition:
        assert client.create(PODS, eviction, "default", "web", "eviction")["status"] == "Success"
    else:
        with pytest.raises(Unreachable, match="It may have been carried out"):
            client.create(PODS, eviction, "default", "web", "eviction")


def test_no_request_waits_longer_than_there_is_time(time: Time) -> None:
    given: list[float] = []

    class Silent:
        server = "https://192.0.2.1"

        def send(self, *request: Any) -> Answer:
            given.append(request[-1])
            time.now += request[-1]
            raise TransportError("timed out", True)

    client = Client(Silent(), deadline=20, clock=time.clock())
    with pytest.raises(Unreachable):
        client.get(NODES, "a")
    assert given[0] == 15
    assert given[1] < 5
    assert time.now <= 1021


def test_what_never_reached_the_server_is_repeated_whatever_it_is(kube: FakeKube, time: Time) -> None:
    gone = connected(kube, time, host="http://127.0.0.1:9")
    with pytest.raises(Unreachable, match=r"no answer from http://127\.0\.0\.1:9: .* \(\d+ attempts\)") as caught:
        gone.patch(NODES, "a", CORDON)
    assert not caught.value.sent
    assert len(time.slept) > 3


def test_the_deadline_ends_it(client: Client, kube: FakeKube, time: Time) -> None:
    kube.fault(status=503, times=1000)
    start = time.now
    with pytest.raises(KubeError, match="503"):
        client.get(NODES, "a")
    assert 40 < time.now - start <= 60


def test_a_pause_that_would_end_too_late_is_not_made(client: Client, kube: FakeKube, time: Time) -> None:
    kube.fault(status=429, retry_after="100")
    with pytest.raises(Throttled):
        client.get(NODES, "a")
    assert time.slept == []


def test_a_block_has_one_end(client: Client, kube: FakeKube, time: Time) -> None:
    kube.fault(status=503, times=1000)
    start = time.now
    with client.within(20):
        for _attempt in range(3):
            with pytest.raises(KubeError):
                client.get(NODES, "a")
    assert time.now - start <= 20


def test_the_answer_of_a_budget_is_given_at_once(client: Client, kube: FakeKube, time: Time) -> None:
    pod(kube, "web", labels={"app": "web"})
    kube.store.edit("pods", "default", "web", {"status": {"conditions": [{"type": "Ready", "status": "True"}]}})
    spec = {"minAvailable": 1, "selector": {}}
    kube.store.add("poddisruptionbudgets.policy", {"metadata": {"name": "all", "namespace": "default"}, "spec": spec})
    with pytest.raises(Throttled, match="still being processed") as caught:
        client.create(PODS, EVICTION, "default", "web", "eviction")
    assert caught.value.retry_after == 10
    kube.store.settle()
    with pytest.raises(Throttled, match="needs 1 healthy pods and has 1 currently") as caught:
        client.create(PODS, EVICTION, "default", "web", "eviction")
    assert caught.value.has_cause("DisruptionBudget")
    assert sent(kube, "POST") == 2
    assert time.slept == []


# Paging


def test_all_pages_are_read_and_no_more_than_needed(client: Client, kube: FakeKube) -> None:
    for number in range(7):
        pod(kube, f"p{number}")
    pages = client.list(PODS, field_selector="spec.nodeName=a", page=3)
    assert next(pages)["metadata"]["name"] == "p0"
    assert sent(kube, "GET") == 1
    assert [item["metadata"]["name"] for item in pages] == [f"p{number}" for number in range(1, 7)]
    assert sent(kube, "GET") == 3


def test_pages_are_of_one_moment(client: Client, kube: FakeKube) -> None:
    for number in range(4):
        pod(kube, f"p{number}")
    pages = client.list(PODS, page=2)
    first = next(pages)
    kube.store.delete(kube.store.resources["pods"], "default", "p3", {"gracePeriodSeconds": 0})
    assert [item["metadata"]["name"] for item in (first, *pages)] == ["p0", "p1", "p2", "p3"]


def test_a_list_that_expires_begins_anew_and_gives_nothing_twice(client: Client, kube: FakeKube) -> None:
    for number in range(5):
        pod(kube, f"p{number}")
    pages = client.list(PODS, page=2)
    first = [next(pages), next(pages)]
    pod(kube, "p5")
    kube.store.compact()
    assert [item["metadata"]["name"] for item in (*first, *pages)] == [f"p{number}" for number in range(6)]
    # In one piece, which cannot expire again.
    assert kube.requests[-1].query == {}


def test_what_has_no_uid_is_listed_too(client: Client, kube: FakeKube) -> None:
    items = '[{"metadata": {"name": "a"}}, {"metadata": {"name": "b"}}]'
    kube.fault(status=200, text=f'{{"kind": "NodeMetricsList", "metadata": {{}}, "items": {items}}}')
    assert [item["metadata"]["name"] for item in client.list(NODES)] == ["a", "b"]


def test_a_list_that_expires_from_the_start_is_an_error(client: Client, kube: FakeKube) -> None:
    kube.fault(status=410, reason="Expired")
    with pytest.raises(Expired):
        list(client.list(PODS))


def test_a_selector_that_the_server_refuses_is_named(client: Client) -> None:
    with pytest.raises(KubeError, match=r"list pods: 400 BadRequest: field label not supported: spec.bogus"):
        list(client.list(PODS, field_selector="spec.bogus=x"))


# Compare and swap


def held(name: str) -> Any:
    """A change that adds a holder once."""

    def mutate(item: dict[str, Any]) -> dict[str, Any]:
        annotations = item["metadata"].setdefault("annotations", {})
        names = [*filter(None, annotations.get("holders", "").split(","))]
        annotations["holders"] = ",".join([*names, *([] if name in names else [name])])
        return item

    return mutate


def test_no_change_of_many_is_lost(kube: FakeKube, node: dict[str, Any]) -> None:
    threads = [
        threading.Thread(target=connected(kube, Time()).change, args=(NODES, "a", held(f"n{number}")))
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    holders = kube.store.all("nodes")[0]["metadata"]["annotations"]["holders"].split(",")
    assert sorted(holders) == [f"n{number}" for number in range(8)]


def test_a_change_whose_answer_was_lost_is_made_once(client: Client, kube: FakeKube, node: dict[str, Any]) -> None:
    kube.fault(method="PATCH", lost="after")
    changed = client.change(NODES, "a", held("me"))
    assert changed["metadata"]["annotations"]["holders"] == "me"
    assert kube.store.all("nodes")[0] == changed


def test_a_change_to_what_is_already_so_writes_nothing(client: Client, kube: FakeKube, node: dict[str, Any]) -> None:
    assert client.change(NODES, "a", lambda item: item) == node
    assert client.change(NODES, "a", lambda item: None) == node
    assert sent(kube, "PATCH") == 0


def test_a_change_sends_only_what_changes(client: Client, kube: FakeKube, node: dict[str, Any]) -> None:
    client.change(NODES, "a", held("me"))
    assert kube.requests[-1].body == {
        "metadata": {"resourceVersion": node["metadata"]["resourceVersion"], "annotations": {"holders": "me"}}
    }


def test_an_update_creates_what_is_not_there_and_yields_to_who_was_faster(client: Client, kube: FakeKube) -> None:
    rivals = [{"metadata": {"name": "lock", "namespace": "default"}, "spec": {"holderIdentity": "rival"}}]
    seen = []

    def get() -> dict[str, Any] | None:
        try:
            return client.get(LEASES, "lock", "default")
        except NotFound:
            if rivals:
                kube.store.add("leases.coordination.k8s.io", rivals.pop())
            return None

    def mutate(item: dict[str, Any] | None) -> dict[str, Any] | None:
        seen.append(item and item["spec"]["holderIdentity"])
        return None if item else {"metadata": {"name": "lock"}, "spec": {"holderIdentity": "me"}}

    found = client.update(get, mutate, lambda wanted: client.create(LEASES, wanted, "default"))
    assert seen == [None, "rival"]
    assert found
    assert found["spec"]["holderIdentity"] == "rival"


def test_an_update_that_is_always_late_says_so(
    client: Client, kube: FakeKube, node: dict[str, Any], time: Time
) -> None:
    counter = iter(range(10_000))

    def mutate(item: dict[str, Any]) -> dict[str, Any]:
        kube.store.edit("nodes", "", "a", {"metadata": {"annotations": {"other": str(next(counter))}}})
        item["spec"]["unschedulable"] = True
        return item

    start = time.now
    with pytest.raises(Conflict, match=r"has been modified.* It was changed by others \d+ times meanwhile"):
        client.change(NODES, "a", mutate)
    assert time.now - start <= client.deadline


@pytest.mark.parametrize(
    ("before", "after", "patch"),
    [
        ({"a": 1}, {"a": 1}, {}),
        ({"a": 1, "b": 2}, {"a": 1}, {"b": None}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, {"a": {"c": 3}}),
        ({"a": [1]}, {"a": [1, 2]}, {"a": [1, 2]}),
        ({}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"a": {"b": 1}}, {"a": 1}, {"a": 1}),
    ],
)
def test_a_merge_patch_is_the_smallest(before: Any, after: Any, patch: Any) -> None:
    assert merge_patch(before, after) == patch


# Errors


def limited(kube: FakeKube, time: Time, **options: Any) -> Client:
    kube.tokens["limited"] = User("system:serviceaccount:kube-system:limited")
    return connected(kube, time, api_key="limited", **options)


def pasted(error: KubeError) -> Any:
    """The rule that an error offers, read as YAML."""
    return yaml.safe_load(str(error).partition("Role: ")[2])


@pytest.mark.parametrize(
    ("ask", "text", "rule"),
    [
        (
            lambda client: client.patch(NODES, "a", CORDON),
            'patch nodes "a" as system:serviceaccount:kube-system:limited: 403 Forbidden: ',
            {"apiGroups": [""], "resources": ["nodes"], "verbs": ["patch"]},
        ),
        (
            lambda client: list(client.list(PODS)),
            "list pods as system:serviceaccount:kube-system:limited: 403",
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
        ),
        (
            lambda client: client.create(PODS, EVICTION, "default", "web", "eviction"),
            'create pods/eviction "web" in namespace "default" as system:serviceaccount:kube-system:limited: 403',
            {"apiGroups": [""], "resources": ["pods/eviction"], "verbs": ["create"]},
        ),
        (
            lambda client: client.get(DAEMON_SETS, "kured", "kube-system"),
            'get daemonsets.apps "kured" in namespace "kube-system" as system:serviceaccount:kube-system:limited: 403',
            {"apiGroups": ["apps"], "resources": ["daemonsets"], "verbs": ["get"]},
        ),
    ],
)
def test_a_missing_right_comes_with_the_rule_to_paste(
    kube: FakeKube, time: Time, ask: Any, text: str, rule: dict[str, Any]
) -> None:
    with pytest.raises(Forbidden) as caught:
        ask(limited(kube, time))
    assert str(caught.value).startswith(text)
    assert pasted(caught.value) == [rule]
    assert caught.value.details["rbac_rule"] == rule


def test_the_rule_that_was_pasted_is_enough(kube: FakeKube, node: dict[str, Any], time: Time) -> None:
    client = limited(kube, time)
    with pytest.raises(Forbidden) as caught:
        client.get(NODES, "a")
    kube.rules["system:serviceaccount:kube-system:limited"] = pasted(caught.value)
    assert client.get(NODES, "a") == node


def test_without_the_right_to_impersonate_that_rule_is_the_missing_one(kube: FakeKube, time: Time) -> None:
    with pytest.raises(Forbidden) as caught:
        limited(kube, time, impersonate_user="operator").get(NODES, "a")
    rule = {"apiGroups": [""], "resources": ["users"], "verbs": ["impersonate"], "resourceNames": ["operator"]}
    assert pasted(caught.value) == [rule]


def test_where_a_rule_belongs_is_read_from_the_refusal_too(kube: FakeKube, time: Time) -> None:
    with pytest.raises(Forbidden, match="is missing, for a ClusterRole: - ") as caught:
        limited(kube, time, impersonate_user="operator").get(PODS, "web", "default")
    kube.rules["system:serviceaccount:kube-system:limited"] = pasted(caught.value)
    with pytest.raises(Forbidden, match=r'as operator: .* for a Role in namespace "default" or a ClusterRole: - '):
        limited(kube, time, impersonate_user="operator").get(PODS, "web", "default")


def test_nobody_is_told_to_give_rights_to_the_anonymous(kube: FakeKube, time: Time) -> None:
    """A kubeconfig's plugin that fails or a certificate that is gone leaves us without a name; the package says nothing."""
    client = connected(kube, time)
    client.sender._configuration.api_key.clear()  # type: ignore[attr-defined]
    with pytest.raises(Forbidden, match="No credentials were sent") as caught:
        client.get(NODES, "a")
    assert "rbac_rule" not in caught.value.details
    assert "ClusterRole" not in str(caught.value)


def test_a_refusal_that_is_not_of_rbac_has_no_rule_but_the_user(kube: FakeKube, client: Client) -> None:
    pod(kube, "web", finalizers=["example.com/stay"])
    kube.store.delete(kube.store.resources["namespaces"], "", "default", {})
    with pytest.raises(Forbidden, match='"web" in namespace "default" as kubernetes-admin: 403') as caught:
        client.create(PODS, EVICTION, "default", "web", "eviction")
    assert caught.value.has_cause("NamespaceTerminating")
    assert "rbac_rule" not in caught.value.details


def test_bad_credentials_are_called_that(kube: FakeKube, time: Time) -> None:
    with pytest.raises(KubeError, match=r'get nodes "a": 401 Unauthorized: Unauthorized\. .*check api_key'):
        connected(kube, time, api_key="stale").get(NODES, "a")


def test_an_answer_of_something_else_is_shown_without_control_characters(client: Client, kube: FakeKube) -> None:
    kube.fault(status=407, text="<html>\x1b[31mproxy\nsays no</html>")
    with pytest.raises(KubeError, match=r"407: <html> .31mproxy says no</html>. This was no Kubernetes API") as caught:
        client.get(NODES, "a")
    assert "\x1b" not in str(caught.value)


def test_a_page_that_comes_with_success_is_none(client: Client, kube: FakeKube) -> None:
    kube.fault(status=200, text="<html>log in</html>")
    with pytest.raises(KubeError, match=r"200: <html>log in</html>\. This was no Kubernetes API"):
        list(client.list(PODS))


def test_a_write_that_may_have_come_through_once_is_not_said_to_be_undone(kube: FakeKube, time: Time) -> None:
    class Lossy:
        """First the answer is lost, then the server is gone."""

        server = "http://192.0.2.1"

        def __init__(self) -> None:
            self.sent = iter([True, False, False, False, False, False, False, False, False, False])

        def send(self, *_request: Any) -> Answer:
            raise TransportError("gone", next(self.sent))

    client = Client(Lossy(), deadline=10, clock=time.clock())
    with pytest.raises(Unreachable, match="It may have been carried out") as caught:
        client.patch(NODES, "a", {"metadata": {"resourceVersion": "1"}})
    assert caught.value.sent


def test_what_the_server_lists_as_causes_is_told(client: Client, node: dict[str, Any]) -> None:
    with pytest.raises(KubeError, match=r'422 Invalid: Node "a" is invalid: metadata.labels') as caught:
        client.patch(NODES, "a", {"metadata": {"labels": {"bad label!": "x"}}})
    assert caught.value.status == 422
    assert caught.value.details["causes"][0]["field"] == "metadata.labels"


def test_a_resource_that_the_server_lacks_is_not_found(client: Client) -> None:
    with pytest.raises(NotFound, match="could not find the requested resource"):
        client.get(Resource("karpenter.sh", "v1", "nodeclaims"), "x")


@pytest.mark.parametrize("text", ['{"a": 1}', '{"metadata": null, "items": [{}]}', "[" * 100000, "[1]", "<html>"])
def test_an_answer_that_is_no_object_of_the_api_is_an_error(client: Client, kube: FakeKube, text: str) -> None:
    for ask in (lambda: client.get(NODES, "a"), lambda: list(client.list(NODES))):
        kube.fault(status=200, text=text)
        with pytest.raises(KubeError, match="This was no Kubernetes API"):
            ask()


@pytest.mark.parametrize("text", ["<html>", '{"status": "x"}', '{"status": {"userInfo": {}}}'])
def test_who_we_are_may_stay_unknown(client: Client, kube: FakeKube, text: str) -> None:
    kube.fault(status=403, text="denied by the proxy")
    kube.fault(method="POST", status=201, text=text)
    with pytest.raises(Forbidden, match=r'^get nodes "a": 403: denied by the proxy'):
        client.get(NODES, "a")


@pytest.mark.parametrize("details", ['["x"]', '{"causes": {"a": "b"}}', '"x"', '{"causes": ["x"]}'])
def test_a_status_in_another_form_is_an_error_all_the_same(client: Client, kube: FakeKube, details: str) -> None:
    kube.fault(status=409, text=f'{{"kind": "Status", "message": {{"a": 1}}, "details": {details}}}')
    with pytest.raises(Conflict) as caught:
        client.get(NODES, "a")
    assert caught.value.causes == []


def test_who_we_are_is_asked_of_the_server(kube: FakeKube, time: Time) -> None:
    assert limited(kube, time).whoami() == "system:serviceaccount:kube-system:limited"
    assert connected(kube, time, impersonate_user="operator").whoami() == "operator"
    assert connected(kube, time, api_key="stale").whoami() is None


def test_the_servers_clock_is_that_of_its_last_answer_and_goes_on(client: Client, kube: FakeKube, time: Time) -> None:
    client.clock = replace(client.clock, wall=lambda: 7.0)
    assert client.now() == 7.0
    client.get(NAMESPACES, "default")
    assert client.now() == kube.store.now.timestamp()
    time.sleep(3)
    assert client.now() == kube.store.now.timestamp() + 3
    kube.store.advance(60)
    with pytest.raises(NotFound):
        client.get(NODES, "a")
    assert client.now() == kube.store.now.timestamp()


@pytest.mark.parametrize("date", ["", "today", "Fri, 99 Jan 2026 03:04:05 GMT", "Fri, 02 Jan 99999 03:04:05 GMT"])
def test_a_date_that_is_none_is_no_clock(date: str) -> None:
    assert Answer(200, {"date": date} if date else {}, b"").date is None
