# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Budgets added up over all pods of a drain."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.kube.budgets import Verdict, answered, judge, worst
from ansible_collections.bulwark.node.plugins.module_utils.kube.refusals import Refusal

WEB = {"app": "web"}


def pod(
    name: str, ready: bool = True, phase: str = "Running", labels: Any = None, bare: bool = False
) -> dict[str, Any]:
    owners = [] if bare else [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "controller": True}]
    return {
        "metadata": {
            "namespace": "default",
            "name": name,
            "uid": name,
            "labels": WEB if labels is None else labels,
            "ownerReferences": owners,
        },
        "spec": {},
        "status": {"phase": phase, "conditions": [{"type": "Ready", "status": "True" if ready else "False"}]},
    }


def budget(
    allowed: int, healthy: int, needed: int, there: int, name: str = "web", metadata: Any = None, **more: Any
) -> dict[str, Any]:
    status = {
        "observedGeneration": 1,
        "disruptionsAllowed": allowed,
        "currentHealthy": healthy,
        "desiredHealthy": needed,
        "expectedPods": there,
        **more.pop("status", {}),
    }
    return {
        "metadata": {"namespace": "default", "name": name, "uid": name, "generation": 1, **(metadata or {})},
        "spec": {"selector": {"matchLabels": WEB}, **more},
        "status": status,
    }


def verdict(pods: list[dict[str, Any]], *budgets: dict[str, Any]) -> Verdict:
    """The one of all of these pods."""
    found = judge(pods, budgets)
    assert len(set(found)) == len(pods)
    (one,) = {each.reason: each for each in found.values()}.values()
    return one


TWO = [pod("a"), pod("b")]


@pytest.mark.parametrize(
    ("pods", "over", "how", "reason"),
    [
        (TWO, [], "possible", None),
        (TWO, [budget(2, 4, 2, 4)], "possible", None),
        (
            TWO,
            [budget(1, 3, 2, 3)],
            "slow",
            "budget web needs 2 healthy pods, and has 3 of 3: of 2 pods it lets 1 go at a time",
        ),
        (
            TWO,
            [budget(0, 2, 2, 3)],
            "waiting",
            "budget web needs 2 healthy pods, and has 2 of 3: it opens when more are ready",
        ),
        (
            TWO,
            [budget(0, 2, 2, 2)],
            "impossible",
            "budget web needs 2 healthy pods, and has 2 of 2: it never allows one to go",
        ),
        # Not even once all are ready.
        (
            TWO,
            [budget(0, 1, 3, 3)],
            "impossible",
            "budget web needs 3 healthy pods, and has 1 of 3: it never allows one to go",
        ),
        (TWO, [budget(-1, 2, 2, 3)], "waiting", None),
        (
            TWO,
            [budget(1, 3, 2, 3), budget(1, 3, 2, 3, "other")],
            "impossible",
            "budgets other, web are over it, and no pod with more than one can be evicted",
        ),
        (
            [pod("a", bare=True), pod("b", bare=True)],
            [budget(1, 2, 1, 2)],
            "impossible",
            "budget web needs 1 healthy pods, and has 2 of 2: of 2 pods it lets 1 go, and nothing brings others up for them",
        ),
        ([pod("a", bare=True), pod("b")], [budget(1, 2, 1, 2)], "slow", None),
        (TWO, [budget(2, 4, 2, 4, metadata={"generation": 2})], "waiting", None),
        (TWO, [budget(0, 2, 2, 2, metadata={"namespace": "other"})], "possible", None),
        ([pod("a", labels={})], [budget(0, 1, 1, 1, selector={})], "possible", None),
        ([pod("a")], [budget(0, 1, 1, 1, selector={})], "impossible", None),
        ([pod("a")], [budget(0, 1, 1, 1, selector=None)], "possible", None),
    ],
)
def test_what_a_budget_comes_to(pods: list[dict[str, Any]], over: list[Any], how: str, reason: str | None) -> None:
    found = verdict(pods, *over)
    assert found.verdict == how
    if reason:
        assert found.reason == reason


CLOSED = budget(0, 2, 2, 2)


@pytest.mark.parametrize(
    ("which", "over", "how"),
    [
        (pod("a", phase="Pending"), CLOSED, "possible"),
        (pod("a", phase="Succeeded"), CLOSED, "possible"),
        (
            {**pod("a"), "metadata": {**pod("a")["metadata"], "deletionTimestamp": "2026-01-02T03:04:05Z"}},
            CLOSED,
            "possible",
        ),
        # Unready, and two others are healthy.
        (pod("a", ready=False), budget(0, 2, 2, 3), "possible"),
        (pod("a", ready=False), budget(0, 1, 2, 3), "waiting"),
        (pod("a", ready=False), budget(0, 0, 0, 3), "waiting"),
        (pod("a", ready=False), budget(0, 1, 2, 3, unhealthyPodEvictionPolicy="AlwaysAllow"), "possible"),
        (pod("a", ready=False), budget(0, 1, 2, 3, unhealthyPodEvictionPolicy="IfHealthyBudget"), "waiting"),
        (pod("a"), budget(0, 2, 2, 3, unhealthyPodEvictionPolicy="AlwaysAllow"), "waiting"),
    ],
)
def test_who_need_not_ask_the_budget(which: dict[str, Any], over: dict[str, Any], how: str) -> None:
    assert verdict([which], over).verdict == how


def test_who_need_not_ask_takes_nothing_from_the_others() -> None:
    found = judge([pod("a"), pod("b", ready=False), pod("c", phase="Pending")], [budget(1, 2, 1, 3)])
    assert {each.verdict for each in found.values()} == {"possible"}


def test_two_budgets_bother_no_pod_that_asks_none() -> None:
    over = [budget(0, 2, 2, 2), budget(0, 2, 2, 2, "other")]
    assert verdict([pod("a", phase="Pending")], *over).verdict == "possible"
    # The server counts the budgets before it looks at whether the pod is ready.
    assert verdict([pod("a", ready=False)], *over).verdict == "impossible"


def test_the_pods_of_all_nodes_share_the_budget() -> None:
    assert verdict([pod("a")], budget(1, 2, 1, 2)).verdict == "possible"
    assert verdict(TWO, budget(1, 2, 1, 2)).verdict == "slow"


def owned(kind: str, version: str) -> dict[str, Any]:
    return {"ownerReferences": [{"apiVersion": version, "kind": kind, "name": "x"}]}


@pytest.mark.parametrize(
    ("labels", "metadata", "how"),
    [
        ({"kubevirt.io": "virt-launcher", **WEB}, owned("VirtualMachineInstance", "kubevirt.io/v1"), "migrating"),
        ({"app": "rook-ceph-osd", "osd": "0"}, {}, "waiting"),
        ({"app": "rook-ceph-mon"}, {}, "waiting"),
        ({"app": "x"}, owned("CephCluster", "ceph.rook.io/v1"), "waiting"),
        ({"longhorn.io/component": "instance-manager"}, {}, "waiting"),
        ({"app": "x"}, owned("Database", "example.org/v1"), "impossible"),
    ],
)
def test_a_budget_that_somebody_opens_is_not_impossible(labels: dict[str, str], metadata: Any, how: str) -> None:
    over = budget(0, 1, 1, 1, metadata=metadata, selector={"matchLabels": labels})
    found = verdict([pod("a", labels=labels)], over)
    assert found.verdict == how
    assert found.owner == ({"kind": metadata["ownerReferences"][0]["kind"], "name": "x"} if metadata else None)
    assert found.command == "kubectl --namespace default describe poddisruptionbudget web"


def test_a_budget_whose_controller_fails_is_impossible() -> None:
    condition = {
        "type": "DisruptionAllowed",
        "status": "False",
        "reason": "SyncFailed",
        "message": "found\nno controllers",
    }
    found = verdict([pod("a")], budget(0, 0, 0, 0, status={"conditions": [condition]}))
    assert (found.verdict, found.reason) == (
        "impossible",
        "budget web allows nothing, because its controller fails: found no controllers",
    )


@pytest.mark.parametrize(
    ("before", "kind", "how", "reason"),
    [
        ("possible", None, "possible", None),
        ("possible", "budget", "waiting", "said"),
        ("slow", "budget", "slow", "added up"),
        ("impossible", "budget", "impossible", "added up"),
        ("migrating", "migration", "migrating", "added up"),
        ("possible", "migration", "migrating", "said"),
        ("migrating", "unmovable", "impossible", "said"),
        ("slow", "webhook", "waiting", "said"),
        ("impossible", "webhook", "impossible", "added up"),
        ("possible", "namespace", "waiting", "said"),
        ("possible", "permanent", "impossible", "said"),
        ("slow", "gone", "slow", "added up"),
        ("slow", "replaced", "slow", "added up"),
        ("possible", "dry_run", "possible", None),
        ("possible", "error", "waiting", "said"),
    ],
)
def test_what_the_server_says_goes_into_the_verdict(
    before: str, kind: str | None, how: str, reason: str | None
) -> None:
    verdict = Verdict(before, None if before == "possible" else "added up")
    found = answered(pod("a"), verdict, Refusal(kind, "said", 5) if kind else None)
    assert (found.verdict, found.reason) == (how, reason)


def test_a_guest_is_shown_by_its_virtual_machine() -> None:
    guest = pod("virt-launcher-vm-x")
    guest["metadata"]["annotations"] = {"kubevirt.io/domain": "vm"}
    found = answered(guest, Verdict(), Refusal("migration", "said", 5))
    assert found.command == "kubectl --namespace default describe virtualmachineinstance vm"


def test_the_worst_of_nothing_is_possible() -> None:
    assert worst([]) == "possible"
    assert worst(["slow", "impossible", "waiting"]) == "impossible"
