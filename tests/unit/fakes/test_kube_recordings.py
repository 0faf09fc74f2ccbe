# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fake API server answers each recorded exchange as the real kube-apiserver 1.36 did.

The exchanges are replayed in order. What others did to the cluster in between (kubectl, controllers, kubelets) is in
`MEANWHILE`. Ids, versions, times, addresses and tokens are the server's own: each kind is compared by its form.
"""

from __future__ import annotations

import http.client
import json
import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.tests.fakes.kube_api import FakeKube, User
from ansible_collections.bulwark.node.tests.fakes.kube_store import Store

RECORDINGS = json.loads((Path(__file__).parent / "kube_api_recordings.json").read_text(encoding="utf-8"))
EXCHANGES: list[dict[str, Any]] = RECORDINGS["exchanges"]

_BUDGET = "poddisruptionbudgets.policy"
_EVERYWHERE = [{"operator": "Exists"}]


def pod(name: str, namespace: str = "default", **metadata: Any) -> dict[str, Any]:
    """A pod on node-b whose kubelet gives it one second."""
    spec = {
        "containers": [{"name": "c", "image": "x"}],
        "nodeName": "node-b",
        "terminationGracePeriodSeconds": 1,
        "tolerations": _EVERYWHERE,
    }
    return {"metadata": {"name": name, "namespace": namespace, **metadata}, "spec": spec}


def owned(kind: str, name: str, uid: str) -> dict[str, Any]:
    """What ties a pod to its controller."""
    owner = {"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid}
    return {
        "generateName": f"{name}-",
        "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
    }


def nodes(store: Store) -> None:
    for name in ("node-a", "node-b"):
        store.add("nodes", {"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}})


def kured(store: Store) -> None:
    labels = {"name": "kured"}
    template = {"containers": [{"name": "kured", "image": "kured", "command": ["/usr/bin/kured", "--concurrency=1"]}]}
    daemon_set = store.add(
        "daemonsets.apps",
        {
            "metadata": {"name": "kured", "namespace": "kube-system"},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": template},
            },
        },
    )
    field = {"key": "metadata.name", "operator": "In", "values": ["node-b"]}
    terms = {"nodeSelectorTerms": [{"matchFields": [field]}]}
    made = {"controller-revision-hash": "5476c9b5f4", "pod-template-generation": "1", **labels}
    tolerated = [
        *(("not-ready", "NoExecute"), ("unreachable", "NoExecute"), ("disk-pressure", "NoSchedule")),
        *(("memory-pressure", "NoSchedule"), ("pid-pressure", "NoSchedule"), ("unschedulable", "NoSchedule")),
    ]
    store.add(
        "pods",
        {
            "metadata": {
                "name": "kured-4vlh9",
                "namespace": "kube-system",
                "labels": made,
                **owned("DaemonSet", "kured", daemon_set["metadata"]["uid"]),
            },
            "spec": {
                **template,
                "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}},
                "tolerations": [
                    {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": effect}
                    for key, effect in tolerated
                ],
            },
        },
    )
    store.settle()


def five_pods(store: Store) -> None:
    for number in range(5):
        store.add("pods", pod(f"list-{number}", labels={"app": "list"}))


def run(store: Store, name: str) -> None:
    """What a kubelet says when the containers are up."""
    ready = {"type": "Ready", "status": "True", "lastProbeTime": None, "lastTransitionTime": None}
    store.edit("pods", "default", name, {"status": {"phase": "Running", "conditions": [ready]}})


def web(store: Store) -> None:
    for name in ("6bjq8", "lv8jq"):
        labels = {"app": "web", "pod-template-hash": "6d6fdd7dd9"}
        owner = owned("ReplicaSet", "web-6d6fdd7dd9", "5228eb8e-c63d-4197-8c8d-528d346a0eeb")
        store.add("pods", pod(f"web-6d6fdd7dd9-{name}", labels=labels, **owner))
        run(store, f"web-6d6fdd7dd9-{name}")
    budget(store, "web", 2)


def budget(store: Store, name: str, least: int) -> None:
    spec = {"minAvailable": least, "selector": {"matchLabels": {"app": "web"}}}
    store.add(_BUDGET, {"metadata": {"name": name, "namespace": "default"}, "spec": spec})
    store.settle()


def one_budget(store: Store) -> None:
    store.delete(store.resources[_BUDGET], "default", "second", {})
    store.edit(_BUDGET, "default", "web", {"spec": {"minAvailable": 1}})
    store.settle()


def going(store: Store) -> None:
    store.add("namespaces", {"metadata": {"name": "going"}})
    store.add("pods", {**pod("stay", "going", finalizers=["example.com/stay"])})
    store.delete(store.resources["namespaces"], "", "going", {})


# What happened before the exchange of that place among those of its case.
MEANWHILE: dict[tuple[str, int], Callable[[Store], None]] = {
    ("auth", 0): nodes,
    ("node-patch", 3): Store.settle,
    ("node-patch", 6): Store.settle,
    ("daemonset-annotation", 0): kured,
    ("pod-list", 0): five_pods,
    ("eviction", 0): web,
    ("eviction", 7): lambda store: run(store, "list-1"),
    ("eviction", 10): lambda store: budget(store, "second", 1),
    ("eviction", 11): one_budget,
    ("eviction", 13): Store.settle,
    ("namespace-terminating", 0): going,
}
# What happened while that exchange, a watch, was open.
DURING: dict[tuple[str, int], Callable[[Store], None]] = {
    ("watch", 1): lambda store: void(
        store.delete(store.resources["pods"], "default", "list-2", {"gracePeriodSeconds": 0})
    ),
}
# Tokens that are good from that exchange on.
NEW_TOKENS = {("rbac", 0): {"bad-or-limited": User("system:serviceaccount:kube-system:limited")}}


def void(_value: object) -> None:
    """Take no notice of a result."""


_FORMS = (
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<uid>"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "<time>"),
    (r"\d+\.\d+\.\d+\.\d+:\d+", "<address>"),
)
_QUOTED = re.compile(r'"(\{(?:[^"\\]|\\.)*\})"')


def alike(value: Any, told: Collection[str] = ()) -> Any:
    """An answer with the forms of what is the server's own in place of the values.

    ``told``: the texts that the client itself sent, to both servers alike, which are no values of theirs.
    """
    if isinstance(value, list):
        return [alike(item, told) for item in value]
    if isinstance(value, dict):
        # managedFields were not asked for; only messages that quote an object show them.
        return {key: _alike_member(key, item, told) for key, item in value.items() if key != "managedFields"}
    if isinstance(value, str):
        return _alike_text(value, told)
    return value


def _alike_member(key: str, value: Any, told: Collection[str]) -> Any:
    if key == "resourceVersion":
        return "<version>"
    return "<token>" if key == "continue" else alike(value, told)


def _alike_text(text: str, told: Collection[str]) -> Any:
    quoted = _QUOTED.search(text)
    if quoted:
        # Go and Python order an object's members differently.
        inner = alike(json.loads(json.loads(quoted[0])), told)
        return [_alike_text(text[: quoted.start()], told), inner, _alike_text(text[quoted.end() :], told)]
    if text in told:
        return text
    for form, name in _FORMS:
        text = re.sub(form, name, text)
    return text


def strings(value: Any) -> set[str]:
    """All texts within a value."""
    if isinstance(value, (list, dict)):
        members = value.values() if isinstance(value, dict) else value
        return set().union(*(strings(item) for item in members)) if members else set()
    return {value} if isinstance(value, str) else set()


class Translation:
    """What the recorded server called things, and what this one calls them: learnt from each pair of answers."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.versions: dict[int, str] = {}

    def learn(self, recorded: Any, answered: Any) -> None:
        if isinstance(recorded, dict) and isinstance(answered, dict):
            for key in recorded.keys() & answered.keys():
                if key == "resourceVersion":
                    self.versions[int(recorded[key])] = answered[key]
                elif key in ("uid", "continue", "creationTimestamp"):
                    self.names[recorded[key]] = answered[key]
                self.learn(recorded[key], answered[key])
        elif isinstance(recorded, list) and isinstance(answered, list):
            for one, other in zip(recorded, answered):
                self.learn(one, other)

    def version(self, recorded: str, now: int) -> str:
        """A version that no answer showed is a made-up old one, or what the server was at."""
        known = self.versions.get(int(recorded))
        return known or (recorded if int(recorded) < min(self.versions, default=0) else str(now))

    def request(self, request: Mapping[str, Any], now: int) -> tuple[str, Any]:
        """The path and body to send."""

        def path_version(found: re.Match[str]) -> str:
            return found[1] + self.version(found[2], now)

        path = re.sub(r"([?&]resourceVersion=)(\d+)", path_version, request["path"])
        for recorded, answered in self.names.items():
            path = path.replace(recorded, answered)
        return path, self._body(request.get("body"), now)

    def _body(self, value: Any, now: int) -> Any:
        if isinstance(value, dict):
            return {
                key: self.version(item, now) if key == "resourceVersion" else self._body(item, now)
                for key, item in value.items()
            }
        return self.names.get(value, value) if isinstance(value, str) else value


def send(kube: FakeKube, request: Mapping[str, Any], path: str, body: Any) -> http.client.HTTPResponse:
    headers = {"Content-Type": request.get("content_type", "application/json")}
    if request.get("auth", "cluster-admin") != "none":
        headers["Authorization"] = f"Bearer {request.get('auth', 'cluster-admin')}"
    connection = http.client.HTTPConnection(kube.url.partition("//")[2], timeout=20)
    connection.request(request["method"], path, json.dumps(body) if body is not None else None, headers)
    return connection.getresponse()


def received(response: http.client.HTTPResponse, recorded: Any) -> Any:
    """The body; of a watch as many events as were recorded, for it goes on."""
    if isinstance(recorded, list):
        return [json.loads(response.readline()) for _event in recorded]
    return json.loads(response.read())


def replayed() -> Iterator[tuple[dict[str, Any], http.client.HTTPResponse, Any, Any]]:
    """Each exchange with the fake's response, its body, and the request's body as it was sent."""
    translation, places = Translation(), dict.fromkeys((exchange["case"] for exchange in EXCHANGES), -1)
    with FakeKube() as kube:
        for exchange in EXCHANGES:
            case = exchange["case"]
            places[case] += 1
            place = case, places[case]
            kube.tokens.update(NEW_TOKENS.get(place, {}))
            MEANWHILE.get(place, lambda _store: None)(kube.store)
            path, body = translation.request(exchange["request"], kube.store.version)
            other = threading.Thread(target=DURING.get(place, lambda _store: None), args=(kube.store,))
            other.start()
            response = send(kube, exchange["request"], path, body)
            recorded = exchange["response"]["body"]
            answer = received(response, recorded)
            other.join()
            translation.learn(recorded, answer)
            yield exchange, response, answer, body


@pytest.fixture(scope="module")
def answers() -> list[tuple[dict[str, Any], http.client.HTTPResponse, Any, Any]]:
    return list(replayed())


@pytest.mark.parametrize("number", range(len(EXCHANGES)))
def test_the_fake_answers_as_the_real_server_did(
    answers: list[tuple[dict[str, Any], http.client.HTTPResponse, Any, Any]], number: int
) -> None:
    exchange, response, answer, sent = answers[number]
    recorded = exchange["response"]
    assert response.status == recorded["status"]
    for name, value in recorded.get("headers", {}).items():
        assert response.headers[name] == value
    told = strings(sent) & strings(exchange["request"].get("body"))
    assert alike(answer, told) == alike(recorded["body"], told)
