# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""roles/reboot/files/rbac.yml: with it the gate, the plan, the lock, the drain and the record work, and no rule of it is one too many."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.kube import snapshot
from ansible_collections.bulwark.node.plugins.module_utils.kube.client import Forbidden
from ansible_collections.bulwark.node.plugins.module_utils.kube.obstacles import NODE_SPEC, Limits, limits, look
from ansible_collections.bulwark.node.plugins.module_utils.reboot.gate import Reason
from ansible_collections.bulwark.node.plugins.module_utils.reboot_lock import look as look_at_lock
from ansible_collections.bulwark.node.plugins.module_utils.reboot_lock import open_lock
from ansible_collections.bulwark.node.tests.fakes.kube_api import FakeKube, User
from ansible_collections.bulwark.node.tests.fakes.kube_cluster import Cluster
from ansible_collections.bulwark.node.tests.fakes.kube_objects import CUSTOM, node, pod
from ansible_collections.bulwark.node.tests.fakes.kube_rbac import bound
from ansible_collections.bulwark.node.tests.fakes.kured import daemon_set
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.kube.conftest import Time, connected
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.kube.test_node_drain import ClusterTime, Run
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.kube.test_node_reboot import (
    AFTER,
    BEFORE,
    LONG_AGO,
    Node,
)
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.kube.test_reboot_lock import params

FILE = Path(__file__).parents[5] / "roles/reboot/files/rbac.yml"
DOCUMENTS: list[dict[str, Any]] = yaml.safe_load(FILE.read_text())["items"]
ACCOUNT, RULES = next(iter(bound(DOCUMENTS).items()))
NOW = dt.datetime(2026, 11, 21, 13, 0, tzinfo=dt.timezone.utc)


def single(rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rules taken apart: one verb of one resource each."""
    return [
        {**rule, "resources": [resource], "verbs": [verb]}
        for rule in rules
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]


SINGLE = single(RULES)


def of(name: str) -> list[dict[str, Any]]:
    """The rules of the roles of one part."""
    roles = [each for each in DOCUMENTS if each["kind"].endswith("Role") and each["metadata"]["name"].endswith(name)]
    return single([rule for role in roles for rule in role["rules"]])


def cluster(kube: FakeKube, rules: list[dict[str, Any]]) -> Limits:
    """A cluster that has all that the gate and the plan ask for, with these rights; and all rules of theirs on."""
    kube.tokens["account"] = User(ACCOUNT)
    kube.rules[ACCOUNT] = rules
    for resource in CUSTOM:
        kube.store.register(resource)
    for name in ("a", "b", "c"):
        kube.store.add("nodes", node(name, labels={"node-role.kubernetes.io/control-plane": ""}))
        kube.store.add("pods", pod(f"etcd-{name}", name, "kube-system", labels={"component": "etcd"}))
    given = {name: spec.get("default") for name, spec in NODE_SPEC.items()}
    given |= {
        "name": "a",
        "blocking_pod_selectors": ["app=db"],
        "safe_to_evict": True,
        "max_unavailable": "1",
        "spacing": 1,
    }
    return limits("node", given)


def gate(kube: FakeKube, time: Time, rules: list[dict[str, Any]]) -> list[Reason]:
    """All parts of the gate, asked with these rights."""
    return look(connected(kube, time, api_key="account"), "a", cluster(kube, rules), NOW)


def plan(kube: FakeKube, time: Time, rules: list[dict[str, Any]]) -> list[Reason]:
    """What could not be asked for a plan with these rights."""
    wanted = cluster(kube, rules).wanted(None)
    return snapshot.take(connected(kube, time, api_key="account"), wanted).errors


def test_with_exactly_these_rights_all_may_be_planned(kube: FakeKube, time: Time) -> None:
    assert plan(kube, time, SINGLE) == []


def test_with_exactly_these_rights_all_may_be_asked(kube: FakeKube, time: Time) -> None:
    assert gate(kube, time, SINGLE) == []
    asked = {request.path.rpartition("/")[2] for request in kube.requests}
    of_machines = {resource.plural for resource in CUSTOM} - {"controlplanemachinesets"}
    assert asked >= {"nodes", "pods", "apis", "node-a", *of_machines}


def _id(rule: Any) -> str:
    return f"{rule['apiGroups'][0]}/{rule['resources'][0]}" if isinstance(rule, dict) else str(rule.__name__)


@pytest.mark.parametrize(
    ("part", "missing"),
    # The plan takes what the gate does, but for the one Lease.
    [
        *((gate, rule) for rule in of("gate")),
        *((plan, rule) for rule in [*of("gate"), *of("plan")] if "get" not in rule["verbs"]),
    ],
    ids=_id,
)
def test_without_any_one_of_them_the_rule_that_is_missing_is_named(
    kube: FakeKube, time: Time, part: Callable[..., list[Reason]], missing: dict[str, Any]
) -> None:
    reasons = part(kube, time, [rule for rule in SINGLE if rule != missing])
    assert reasons
    assert all(reason.error for reason in reasons)
    rule = ", ".join(f"{key}: {json.dumps(missing[key])}" for key in ("apiGroups", "resources", "verbs"))
    for reason in reasons:
        assert ACCOUNT in reason.detail
        assert f"- {{{rule}}}" in reason.detail


def test_each_rule_says_whom_it_is_for() -> None:
    for block in re.split(r"^  - apiVersion", FILE.read_text(), flags=re.MULTILINE):
        comments = re.findall(r"((?:^      #.*\n)+)^      - apiGroups", block, re.MULTILINE)
        assert len(comments) == len(re.findall(r"^      - apiGroups", block, re.MULTILINE))
        named = {"lock": "reboot_lock", "drain": "node_drain", "record": "node_reboot", "plan": "reboot_plan_info"}
        for name, module in named.items():
            if f"name: bulwark-reboot-{name}\n" in block:
                assert all(module in comment for comment in comments)


def without(resource: str, verb: str) -> list[dict[str, Any]]:
    """All rules but those that allow this."""
    return [rule for rule in SINGLE if (rule["resources"], rule["verbs"]) != ([resource], [verb])]


def take(kube: FakeKube, backend: str, rules: list[dict[str, Any]]) -> None:
    """Take the lock of a cluster with kured or without, look, and release it, with these rights."""
    kube.tokens["account"] = User(ACCOUNT)
    kube.rules[ACCOUNT] = rules
    host = Host()
    given = params(kube, api_key="account")
    if backend == "kured":
        kube.store.add("daemonsets.apps", daemon_set())
    look_at_lock(given, host)
    assert open_lock(given, host).acquire().held
    open_lock(given, host).release()


@pytest.mark.parametrize("backend", ["kured", "lease"])
def test_with_exactly_these_rights_the_lock_is_taken_and_given_back(kube: FakeKube, backend: str) -> None:
    take(kube, backend, SINGLE)


@pytest.mark.parametrize(
    ("backend", "resource", "verb"),
    [
        ("kured", "daemonsets", "list"),
        ("kured", "daemonsets", "get"),
        ("kured", "daemonsets", "patch"),
        ("lease", "leases", "get"),
        ("lease", "leases", "create"),
        ("lease", "leases", "patch"),
    ],
)
def test_without_any_one_of_them_the_lock_is_not_taken_and_the_rule_named(
    kube: FakeKube, backend: str, resource: str, verb: str
) -> None:
    with pytest.raises(Forbidden, match=f'resources: \\["{resource}"\\]'):
        take(kube, backend, without(resource, verb))


def test_they_are_one_account_s() -> None:
    assert list(bound(DOCUMENTS)) == ["system:serviceaccount:kube-system:bulwark-reboot"]


def drained(kube: FakeKube, time: ClusterTime, rules: list[dict[str, Any]], **options: Any) -> None:
    """Empty a node of a pod with a budget and of one of a DaemonSet, and open it again, with these rights."""
    kube.tokens["account"] = User(ACCOUNT)
    kube.rules[ACCOUNT] = rules
    cluster = Cluster(kube.store)
    for name in ("a", "spare"):
        cluster.node(name)
    cluster.deployment("web", ["a"], "spare")
    cluster.budget("web", {"app": "web"}, maxUnavailable=1)
    cluster.daemon_set("cni")
    cluster.pod("cni-a", "a", ("DaemonSet", "cni"), "kube-system")
    run = Run(kube, time, connected(kube, time, api_key="account"))
    run(**options)
    assert cluster.names("a") == ["cni-a"]
    run(state="uncordoned")


@pytest.mark.parametrize("options", [{}, {"disable_eviction": True}])
def test_with_exactly_these_rights_a_node_is_drained(kube: FakeKube, options: dict[str, Any]) -> None:
    drained(kube, ClusterTime(kube), SINGLE, **options)


@pytest.mark.parametrize(
    ("resource", "verb", "options"),
    [
        ("nodes", "get", {}),
        ("nodes", "patch", {}),
        ("pods", "list", {}),
        ("pods/eviction", "create", {}),
        ("pods", "delete", {"disable_eviction": True}),
        ("poddisruptionbudgets", "list", {}),
        ("daemonsets", "get", {}),
    ],
)
def test_without_any_one_of_them_no_node_is_drained_and_the_rule_named(
    kube: FakeKube, resource: str, verb: str, options: dict[str, Any]
) -> None:
    with pytest.raises(BulwarkError, match=rf'resources: \["{resource}"\]'):
        drained(kube, ClusterTime(kube), without(resource, verb), **options)


def recorded(kube: FakeKube, rules: list[dict[str, Any]]) -> list[str]:
    """Record the reboot of a node, prove it where one of its two DaemonSets is gone, and end it; what was warned of."""
    kube.tokens["account"] = User(ACCOUNT)
    kube.rules[ACCOUNT] = rules
    node = Node(kube)
    node.client = connected(kube, node.time, api_key="account")
    node.cluster.pod("gone-a", "a", ("DaemonSet", "gone"), "kube-system")
    warnings = node("begun", boot_id=BEFORE)["warnings"]
    node.reboot()
    node.report(False, LONG_AGO, "gone-a")
    warnings += node("proven", boot_id=AFTER, slice=20)["warnings"]
    return [*warnings, *node("ended")["warnings"]]


def test_with_exactly_these_rights_a_reboot_is_recorded_and_proved(kube: FakeKube) -> None:
    assert recorded(kube, of("record")) == []
    assert len(kube.store.all("events")) == 3


@pytest.mark.parametrize(
    ("resource", "verb"), [("nodes", "get"), ("nodes", "patch"), ("pods", "list"), ("daemonsets", "get")]
)
def test_without_any_one_of_them_no_reboot_is_proved_and_the_rule_named(
    kube: FakeKube, resource: str, verb: str
) -> None:
    with pytest.raises(Forbidden, match=rf'resources: \["{resource}"\]'):
        recorded(kube, without(resource, verb))


def test_without_the_right_to_write_events_that_is_warned_of(kube: FakeKube) -> None:
    warnings = recorded(kube, without("events", "create"))
    assert len(warnings) == 3
    assert all(
        'a Role in namespace "default" or a ClusterRole: - {apiGroups: [""], resources: ["events"]' in each
        for each in warnings
    )


def test_nothing_may_be_written_but_the_lock_cordons_and_evictions() -> None:
    writes = [rule for rule in SINGLE if set(rule["verbs"]) - {"get", "list", "watch"} and "resourceNames" not in rule]
    assert sorted((rule["resources"][0], rule["verbs"][0], rule.get("namespace")) for rule in writes) == [
        ("events", "create", "default"),
        ("leases", "create", "kube-system"),
        ("nodes", "patch", None),
        ("nodes", "patch", None),
        ("pods", "delete", None),
        ("pods/eviction", "create", None),
    ]
    everything = json.dumps(DOCUMENTS)
    assert '"*"' not in everything
    assert "secrets" not in everything
