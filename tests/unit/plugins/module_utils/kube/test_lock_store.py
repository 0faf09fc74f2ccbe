# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock in a cluster: kured's annotation and our Lease, whatever becomes of a request."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.kube.annotations import HOLDERS
from ansible_collections.bulwark.node.plugins.module_utils.kube.client import Client, Forbidden, NotFound, Unreachable
from ansible_collections.bulwark.node.plugins.module_utils.kube.kured import Kured
from ansible_collections.bulwark.node.plugins.module_utils.kube.lock_store import KuredStore, LeaseStore
from ansible_collections.bulwark.node.plugins.module_utils.reboot.lock import Claim, Lock
from ansible_collections.bulwark.node.plugins.module_utils.reboot.lock_value import NANO, decode
from ansible_collections.bulwark.node.tests.fakes import kured
from ansible_collections.bulwark.node.tests.fakes.kube_api import FakeKube, User
from ansible_collections.bulwark.node.tests.fakes.kured import ANNOTATION
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.kube.conftest import Time, connected

BACKENDS = ("kured", "several", "lease")
START = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc).timestamp()


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, kube: FakeKube) -> str:
    if request.param != "lease":
        kube.store.add("daemonsets.apps", kured.daemon_set())
    return str(request.param)


def store_of(backend: str, client: Client) -> KuredStore | LeaseStore:
    if backend == "lease":
        return LeaseStore(client, "kube-system", "bulwark-reboot")
    return KuredStore(client, Kured("kube-system", "kured", ANNOTATION, 1 if backend == "kured" else 3))


def lock_of(backend: str, client: Client, node: str = "a", **claim: Any) -> Lock:
    return Lock(store_of(backend, client), Claim(claim.pop("run", "r"), node, **claim))


def noted(kube: FakeKube, backend: str) -> dict[str, str]:
    (item,) = kube.store.all("leases.coordination.k8s.io" if backend == "lease" else "daemonsets.apps")
    return item["metadata"].get("annotations") or {}


def ids(kube: FakeKube, backend: str) -> list[str]:
    text = noted(kube, backend).get(HOLDERS if backend == "lease" else ANNOTATION)
    return [entry.id for entry in decode(text, backend == "kured").entries]


def node(kube: FakeKube, name: str, ready: str = "True", **spec: Any) -> None:
    kube.store.add("nodes", {"metadata": {"name": name}, "spec": spec})
    kube.store.edit("nodes", "", name, {"status": {"conditions": [{"type": "Ready", "status": ready}]}})


def writes(kube: FakeKube) -> list[str]:
    return [request.method for request in kube.requests if request.method != "GET"]


def test_it_is_taken_renewed_and_released(kube: FakeKube, client: Client, backend: str) -> None:
    lock = lock_of(backend, client)
    assert lock.acquire().held
    assert ids(kube, backend) == ["ansible:r:a"]
    refused = lock_of(backend, client, "b", run="s").acquire()
    assert refused.after.reason == "1 of 1 hold it: 'ansible:r:a' (until 2026-01-02T03:09:05Z)"
    kube.store.advance(100)
    assert lock.acquire().renewed
    assert lock.release().changed
    assert ids(kube, backend) == []
    assert ANNOTATION not in noted(kube, backend)
    kube.requests.clear()
    assert not lock.release().changed
    assert writes(kube) == []


def test_each_write_names_the_version_that_it_is_made_of(kube: FakeKube, client: Client, backend: str) -> None:
    lock = lock_of(backend, client)
    for write in (lock.acquire, lock.renew, lock.release):
        write()
        kube.store.advance(1)
    changes = [request for request in kube.requests if request.method != "GET"]
    assert [change.method for change in changes] == [
        "POST" if backend == "lease" else "PATCH",
        "PATCH",
        "PATCH",
    ]
    assert all(change.body["metadata"].get("resourceVersion") for change in changes if change.method == "PATCH")


def test_a_check_asks_and_writes_nothing(kube: FakeKube, client: Client, backend: str) -> None:
    assert lock_of(backend, client).acquire(check=True).changed
    lock_of(backend, client).release(check=True)
    assert writes(kube) == []


@pytest.mark.parametrize("skew", [-86400.0, 0.0, 86400.0])
def test_times_are_the_servers_whatever_the_clock_here_says(kube: FakeKube, backend: str, skew: float) -> None:
    time = Time()
    wrong = connected(kube, time)
    wrong.clock = type(wrong.clock)(wrong.clock.monotonic, wrong.clock.sleep, wrong.clock.chance, lambda: START + skew)
    lock_of(backend, wrong, ttl=60).acquire()
    entry = decode(next(iter(value for key, value in noted(kube, backend).items() if "{" in value))).entries[0]
    assert entry.created == START * NANO
    node(kube, "a")
    for passed, held in ((59, False), (1, True)):
        kube.store.advance(passed)
        assert lock_of(backend, wrong, "b", run="s").acquire().held is held


@pytest.mark.parametrize("lost", ["before", "after"])
def test_a_write_whose_answer_is_lost_is_made_once(kube: FakeKube, client: Client, backend: str, lost: str) -> None:
    lock = lock_of(backend, client)
    lock.acquire()
    lock.release()
    kube.fault(method="PATCH", lost=lost)
    taken = lock.acquire()
    assert (taken.held, taken.changed, taken.renewed) == (True, True, False)
    kube.fault(method="PATCH", lost=lost)
    assert lock.release().changed
    assert ids(kube, backend) == []


def test_a_first_lease_that_may_have_been_made_is_an_error_that_says_so(kube: FakeKube, client: Client) -> None:
    kube.fault(method="POST", lost="after")
    lock = lock_of("lease", client)
    with pytest.raises(Unreachable, match="It may have been carried out"):
        lock.acquire()
    assert lock.acquire().renewed


@pytest.mark.parametrize("rival", ["ours", "kured"])
def test_of_two_who_write_at_once_one_gets_it(
    kube: FakeKube, time: Time, backend: str, rival: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if (rival, backend) == ("kured", "lease"):
        return
    node(kube, "n1")
    client = connected(kube, time)
    lock, asked = lock_of(backend, client), client.sender.send

    def race(method: str, *rest: Any) -> Any:
        if method in ("PATCH", "POST"):
            monkeypatch.setattr(client.sender, "send", asked)
            if rival == "ours":
                assert lock_of(backend, connected(kube, time), "b", run="s").acquire().held
            else:
                text = kured.Kured("n1", 1 if backend == "kured" else 3).acquire(None, int(START * NANO))[1]
                patch = {"metadata": {"annotations": {ANNOTATION: text}}}
                kube.store.edit("daemonsets.apps", "kube-system", "kured", patch)
        return asked(method, *rest)

    monkeypatch.setattr(client.sender, "send", race)
    ran = lock.acquire()
    assert (ran.held, ran.changed) == (False, False)
    assert ids(kube, backend) == ["ansible:s:b" if rival == "ours" else "n1"]


@pytest.mark.parametrize(
    ("ready", "spec", "taken"),
    [
        ("True", {}, True),
        ("True", {"unschedulable": True}, False),
        ("False", {}, False),
        ("Unknown", {}, False),
        (None, {}, True),
    ],
)
def test_what_has_ended_is_taken_over_by_what_the_node_is_like(
    kube: FakeKube, client: Client, backend: str, ready: str | None, spec: dict[str, Any], taken: bool
) -> None:
    if ready is not None:
        node(kube, "a", ready, **spec)
    lock_of(backend, client).acquire()
    kube.store.advance(300)
    assert lock_of(backend, client, "b", run="s").acquire().held is taken


@pytest.mark.parametrize("backend", ["kured", "several"], indirect=True)
def test_kured_that_is_gone_with_its_node_holds_nothing(kube: FakeKube, client: Client, backend: str) -> None:
    text = kured.Kured("n1", 1 if backend == "kured" else 3).acquire(None, 0)[1]
    kube.store.edit("daemonsets.apps", "kube-system", "kured", {"metadata": {"annotations": {ANNOTATION: text}}})
    taken = lock_of(backend, client).acquire()
    assert ([entry.id for entry in taken.after.dropped], ids(kube, backend)) == (["n1"], ["ansible:r:a"])


@pytest.mark.parametrize("backend", ["kured", "several"], indirect=True)
def test_a_proxy_s_page_does_not_make_a_node_be_gone(kube: FakeKube, client: Client, backend: str) -> None:
    text = kured.Kured("n1", 1 if backend == "kured" else 3).acquire(None, 0)[1]
    kube.store.edit("daemonsets.apps", "kube-system", "kured", {"metadata": {"annotations": {ANNOTATION: text}}})
    kube.fault(path="/nodes/n1", status=404, text="<h1>404 Not Found</h1>")
    with pytest.raises(NotFound, match="This was no Kubernetes API"):
        lock_of(backend, client).acquire()
    assert ids(kube, backend) == ["n1"]


@pytest.mark.parametrize("name", ["../pods", "a/b", "%2e", "", "N1", "x:y", "a" * 300])
def test_a_holder_that_can_be_no_node_is_not_asked_for(kube: FakeKube, client: Client, name: str) -> None:
    kube.store.add("daemonsets.apps", kured.daemon_set())
    text = kured.Kured(name).acquire(None, 0)[1]
    kube.store.edit("daemonsets.apps", "kube-system", "kured", {"metadata": {"annotations": {ANNOTATION: text}}})
    assert not lock_of("kured", client).acquire().held
    assert [request.path for request in kube.requests if "/nodes" in request.path] == []


def test_what_may_not_be_asked_is_an_error_with_the_rule(kube: FakeKube, client: Client, time: Time) -> None:
    kube.store.add("daemonsets.apps", kured.daemon_set())
    lock_of("kured", client).acquire()
    kube.store.advance(300)
    kube.tokens["ci"] = User("ci")
    kube.rules["ci"] = [{"apiGroups": ["apps"], "resources": ["daemonsets"], "verbs": ["get", "patch"]}]
    with pytest.raises(Forbidden, match='get nodes "a" as ci'):
        lock_of("kured", connected(kube, time, api_key="ci"), "b", run="s").acquire()
    assert ids(kube, "kured") == ["ansible:r:a"]


def test_a_daemon_set_that_is_gone_is_an_error(client: Client) -> None:
    with pytest.raises(NotFound):
        lock_of("kured", client).acquire()


def test_other_annotations_stay_as_they_are(kube: FakeKube, client: Client, backend: str) -> None:
    lock = lock_of(backend, client)
    lock.acquire()
    resource = "leases.coordination.k8s.io" if backend == "lease" else "daemonsets.apps"
    name = "bulwark-reboot" if backend == "lease" else "kured"
    kube.store.edit(resource, "kube-system", name, {"metadata": {"annotations": {"x": "y"}, "labels": {"l": "m"}}})
    lock.renew()
    lock.release()
    (item,) = kube.store.all(resource)
    assert (item["metadata"]["annotations"]["x"], item["metadata"]["labels"]) == ("y", {"l": "m"})


def test_a_lease_shows_in_its_spec_who_ends_last(kube: FakeKube, client: Client) -> None:
    lock_of("lease", client, "a", limit=2, ttl=60).acquire()
    kube.store.advance(0.25)
    lock_of("lease", client, "b", limit=2, ttl=90).acquire()
    (lease,) = kube.store.all("leases.coordination.k8s.io")
    assert lease["spec"] == {
        "holderIdentity": "ansible:r:b",
        "leaseDurationSeconds": 90,
        "acquireTime": "2026-01-02T03:04:05.000000Z",
        "renewTime": "2026-01-02T03:04:05.000000Z",
    }
    for name in "ab":
        lock_of("lease", client, name).release()
    (lease,) = kube.store.all("leases.coordination.k8s.io")
    assert (lease["spec"], lease["metadata"].get("annotations")) == ({}, None)


@pytest.mark.parametrize("renewed", [None, "2026-01-02T03:04:05.000000Z"])
def test_a_lease_that_another_holds_by_its_spec_alone_is_held(
    kube: FakeKube, client: Client, renewed: str | None
) -> None:
    spec = {"holderIdentity": "operator-7f", "leaseDurationSeconds": 60, "renewTime": renewed}
    lease = {"metadata": {"name": "bulwark-reboot", "namespace": "kube-system"}, "spec": spec}
    kube.store.add("leases.coordination.k8s.io", lease)
    until = "until 2026-01-02T03:05:05Z" if renewed else "without end"
    lock = lock_of("lease", client)
    assert lock.acquire().after.reason == f"1 of 1 hold it: 'operator-7f' ({until})"
    kube.store.advance(60)
    assert lock.acquire().held is (renewed is not None)


@pytest.mark.parametrize(
    ("created", "shown"),
    [
        ("0001-01-01T00:00:00Z", "1970-01-01T00:00:00.000000Z"),
        ("0001-01-01T00:00:00+01:00", "1970-01-01T00:00:00.000000Z"),
        ("9999-12-31T23:59:59-01:00", "9999-12-31T23:59:59.000000Z"),
    ],
)
def test_a_holder_of_a_year_that_no_clock_shows_is_no_obstacle_to_another(
    kube: FakeKube, client: Client, created: str, shown: str
) -> None:
    text = f'{{"locks":[{{"nodeID":"x","created":"{created}","TTL":0}}]}}'
    metadata = {"name": "bulwark-reboot", "namespace": "kube-system", "annotations": {HOLDERS: text}}
    kube.store.add("leases.coordination.k8s.io", {"metadata": metadata, "spec": {}})
    assert lock_of("lease", client, limit=2).acquire().held
    assert ids(kube, "lease") == ["x", "ansible:r:a"]
    (lease,) = kube.store.all("leases.coordination.k8s.io")
    assert (lease["spec"]["holderIdentity"], lease["spec"]["renewTime"]) == ("x", shown)


def test_a_text_of_a_lease_that_nobody_can_read_is_held(kube: FakeKube, client: Client) -> None:
    metadata = {"name": "bulwark-reboot", "namespace": "kube-system", "annotations": {HOLDERS: "{"}}
    kube.store.add("leases.coordination.k8s.io", {"metadata": metadata, "spec": {}})
    assert "its holder is unknown" in str(lock_of("lease", client).acquire().after.reason)
    assert lock_of("lease", client, force=True).acquire().held
