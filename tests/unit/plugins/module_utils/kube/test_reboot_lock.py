# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of reboot_lock and reboot_lock_info: which backend they come to, what they refuse, and the result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError, OptionError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.kube.client import Forbidden
from ansible_collections.bulwark.node.plugins.module_utils.reboot_lock import (
    check_node,
    look,
    open_lock,
    open_store,
    result_of,
)
from ansible_collections.bulwark.node.tests.fakes import kured
from ansible_collections.bulwark.node.tests.fakes.kube_api import FakeKube, User
from ansible_collections.bulwark.node.tests.fakes.kured import ANNOTATION


def params(kube: FakeKube | None = None, **options: Any) -> dict[str, Any]:
    """All options at their defaults, and these."""
    reached = {"host": kube.url, "api_key": "cluster-admin"} if kube else {}
    nothing = dict.fromkeys(("namespace", "name", "annotation", "concurrency"))
    return {
        "node": "a",
        "run_id": "r",
        "ttl": 300,
        "concurrency": None,
        "takeover": False,
        "force": False,
        "backend": "auto",
        "kured": nothing,
        "path": "/var/lib/bulwark/reboot-lock.json",
        "lease": {"namespace": "kube-system", "name": "bulwark-reboot"},
        **reached,
        **options,
    }


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(str(tmp_path))


@pytest.fixture(autouse=True)
def _no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))


def test_auto_is_kured_where_there_is_one_else_a_lease(kube: FakeKube, host: Host) -> None:
    assert open_store(params(kube), host).place == "Lease kube-system/bulwark-reboot"
    kube.store.add("daemonsets.apps", kured.daemon_set("--lock-annotation=x/y"))
    assert open_store(params(kube), host).place == "DaemonSet kube-system/kured, annotation x/y"
    assert open_store(params(kube, backend="lease"), host).backend == "lease"
    assert open_store(params(kube, backend="file"), host).backend == "file"


def test_without_anything_that_names_a_server_auto_is_a_file(host: Host) -> None:
    assert open_store(params(), host).place == "/var/lib/bulwark/reboot-lock.json"


@pytest.mark.parametrize("named", ["option", "environment", "pod", "home"])
def test_a_server_that_is_named_and_not_reached_is_an_error(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    given: dict[str, Any] = {"kubeconfig": str(tmp_path / "none")} if named == "option" else {}
    if named == "home":
        (tmp_path / ".kube").mkdir()
        (tmp_path / ".kube/config").write_text("{}")
    elif named != "option":
        variable = "KUBECONFIG" if named == "environment" else "KUBERNETES_SERVICE_HOST"
        monkeypatch.setenv(variable, str(tmp_path / "none"))
    with pytest.raises(BulwarkError, match="kubeconfig"):
        open_store(params(**given), host)


def test_an_error_is_never_taken_for_no_kured(kube: FakeKube, host: Host) -> None:
    kube.tokens["ci"] = User("ci")
    with pytest.raises(Forbidden):
        open_store(params(kube, api_key="ci"), host)
    kube.fault(method="GET", status=403, text="a proxy's page")
    with pytest.raises(Forbidden):
        open_store(params(kube), host)


def test_kured_that_is_wanted_and_not_there_is_an_error(kube: FakeKube, host: Host) -> None:
    with pytest.raises(BulwarkError, match="no DaemonSet of the cluster is kured"):
        open_store(params(kube, backend="kured"), host)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"run_id": "a:b"}, "run_id: got 'a:b', expected letters"),
        ({"run_id": ""}, "run_id: got '', expected letters"),
        ({"node": "a b"}, "node: got 'a b', expected the name of a node"),
        ({"ttl": 9}, r"ttl: got 9, expected seconds, from 10 to 604800 \(a week\)"),
        ({"ttl": 604801}, "ttl: got 604801"),
        ({"concurrency": 0}, "concurrency: got 0, expected a number from 1 to 1000"),
        ({"concurrency": 3}, "concurrency: got 3, expected at most 2, which is kured's"),
        ({"path": "lock.json"}, "path: got 'lock.json', expected an absolute path"),
        ({"kured": {"concurrency": 0}}, r"kured\.concurrency: got 0, expected a number from 1"),
    ],
)
def test_wrong_options_are_refused_by_name(kube: FakeKube, host: Host, options: dict[str, Any], said: str) -> None:
    kube.store.add("daemonsets.apps", kured.daemon_set("--concurrency=2"))
    with pytest.raises(OptionError, match=said):
        open_lock(params(kube, **options), host)
    assert [request for request in kube.requests if request.method != "GET"] == []


@pytest.mark.parametrize(("said", "limit"), [(None, 3), (1, 1), (3, 3)])
def test_as_many_may_hold_it_as_kured_allows_unless_fewer_are_said(
    kube: FakeKube, host: Host, said: int | None, limit: int
) -> None:
    kube.store.add("daemonsets.apps", kured.daemon_set("--concurrency=3"))
    lock = open_lock(params(kube, concurrency=said), host)
    assert (lock.claim.limit, lock.store.owners) == (limit, 3)
    assert open_lock(params(kube, backend="lease", concurrency=said), host).claim.limit == (said or 1)


def test_the_result_and_what_the_info_says_agree(kube: FakeKube, host: Host) -> None:
    kube.store.add("daemonsets.apps", kured.daemon_set())
    asked = params(kube)
    lock = open_lock(asked, host)
    ran = result_of(lock, lock.acquire())
    found = look(asked, host)
    assert {**found, "held": True} == {key: ran[key] for key in found}
    assert look({**asked, "node": None}, host)["held"] is None
    assert look({**asked, "run_id": "s"}, host)["held"] is False
    kube.store.advance(400)
    assert look(asked, host)["held"] is False
    assert look(asked, host)["holders"][0]["expired"]


def test_what_nobody_can_read_has_no_holders_and_a_reason(kube: FakeKube, host: Host) -> None:
    kube.store.add("daemonsets.apps", kured.daemon_set())
    broken = '{"nodeID":"n1","created":"2026-01-02T03:04:05Z","TTL":1.8e12}'
    kube.store.edit("daemonsets.apps", "kube-system", "kured", {"metadata": {"annotations": {ANNOTATION: broken}}})
    found = look(params(kube), host)
    assert (found["holders"], found["held"]) == (None, None)
    wanted = (
        "its holder is unknown, for it cannot be read: a number is 1800000000000.0, which kured does not take."
        " Nobody can take it as it is; force=true removes it"
    )
    assert found["reason"] == wanted
    lock = open_lock(params(kube), host)
    assert result_of(lock, lock.acquire())["reason"] == wanted
    assert result_of(lock, lock.release())["reason"] == wanted
    forced = open_lock(params(kube, force=True), host)
    ran = result_of(forced, forced.release())
    assert (ran["changed"], ran["reason"], ran["holders"]) == (True, None, [])


def test_a_name_that_is_no_node_s_is_refused_where_nodes_are_known(kube: FakeKube, host: Host) -> None:
    kube.store.add("nodes", {"metadata": {"name": "a"}})
    check_node(open_lock(params(kube), host))
    check_node(open_lock(params(node="a.example.org"), host))
    with pytest.raises(OptionError, match=r"^node: got 'a.example.org', expected the name of a Node of this cluster"):
        check_node(open_lock(params(kube, node="a.example.org"), host))
