# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a drain does with each pod, as kubectl's filters have it and in their order."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import OptionError
from ansible_collections.bulwark.node.plugins.module_utils.kube.drain import (
    DRAIN_SPEC,
    Decision,
    Options,
    decide,
    parse_options,
)

NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
SET = {"ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "controller": True}]}
DAEMON = {"ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "cni", "controller": True}]}
MIRROR = {"annotations": {"kubernetes.io/config.mirror": "x"}}
EMPTYDIR = {"volumes": [{"name": "cache", "emptyDir": {}}]}


def pod(metadata: dict[str, Any], spec: dict[str, Any] | None = None, phase: str = "Running") -> dict[str, Any]:
    return {
        "metadata": {"namespace": "default", "name": "p", "uid": "u", **metadata},
        "spec": spec or {},
        "status": {"phase": phase},
    }


def given(**params: Any) -> Options:
    rules = [
        {**{name: each.get("default") for name, each in DRAIN_SPEC["rules"]["options"].items()}, **rule}
        for rule in params.pop("rules", [])
    ]
    return parse_options({**{name: each.get("default") for name, each in DRAIN_SPEC.items()}, **params, "rules": rules})


def decided(which: dict[str, Any], missing: set[tuple[str, str]] | None = None, **params: Any) -> Decision:
    return decide(which, given(**params), missing or set(), NOW)


GONE_AT = {"deletionTimestamp": "2026-01-02T03:03:05Z"}


@pytest.mark.parametrize(
    ("which", "params", "action", "cause"),
    [
        (pod(SET), {}, "evict", None),
        (pod(SET), {"disable_eviction": True}, "delete", None),
        (pod({}), {}, "refuse", "unmanaged"),
        (pod({}), {"force": True}, "evict", None),
        (pod({}, phase="Succeeded"), {}, "evict", None),
        # Any owner but the controller does not bring it back.
        (pod({"ownerReferences": [{**SET["ownerReferences"][0], "controller": False}]}), {}, "refuse", "unmanaged"),
        (pod(DAEMON), {}, "leave", "daemonset"),
        (pod(DAEMON), {"force": True, "delete_emptydir_data": True}, "leave", "daemonset"),
        (pod(DAEMON), {"ignore_daemonsets": False}, "refuse", "daemonset"),
        (
            pod({"ownerReferences": [{**DAEMON["ownerReferences"][0], "apiVersion": "apps.kruise.io/v1alpha1"}]}),
            {},
            "leave",
            "daemonset",
        ),
        (pod(DAEMON, phase="Failed"), {"ignore_daemonsets": False}, "evict", None),
        (pod(MIRROR), {}, "leave", "mirror"),
        (pod(MIRROR, EMPTYDIR), {}, "leave", "mirror"),
        (pod({**MIRROR, **DAEMON}), {"ignore_daemonsets": False}, "refuse", "daemonset"),
        (pod(SET, EMPTYDIR), {}, "refuse", "emptydir"),
        (pod(SET, EMPTYDIR), {"force": True}, "refuse", "emptydir"),
        (pod(SET, EMPTYDIR), {"delete_emptydir_data": True}, "evict", None),
        (pod(SET, EMPTYDIR, "Failed"), {}, "evict", None),
        # The first that refuses has said it.
        (pod({}, EMPTYDIR), {}, "refuse", "emptydir"),
        (pod({}, EMPTYDIR), {"delete_emptydir_data": True}, "refuse", "unmanaged"),
        (pod({**SET, **GONE_AT}), {}, "evict", None),
        (pod({**SET, **GONE_AT}), {"skip_wait_for_delete_timeout": 59}, "leave", "deleted"),
        (pod({**SET, **GONE_AT}), {"skip_wait_for_delete_timeout": 60}, "evict", None),
        (pod({**GONE_AT}, EMPTYDIR), {"skip_wait_for_delete_timeout": 59}, "leave", "deleted"),
    ],
)
def test_the_filters(which: dict[str, Any], params: dict[str, Any], action: str, cause: str | None) -> None:
    decision = decided(which, **params)
    assert (decision.action, decision.cause) == (action, cause)
    assert bool(decision.reason) is (action not in ("evict", "delete"))


def test_a_pod_whose_daemonset_is_gone_goes_by_force_alone() -> None:
    missing = {("default", "cni")}
    assert decided(pod(DAEMON), missing).action == "refuse"
    assert decided(pod(DAEMON), {("kube-system", "cni")}).action == "leave"
    forced = decided(pod(DAEMON), missing, force=True)
    assert forced.action == "evict"
    assert forced.notes == ("it has no controller, and does not come back",)
    # It is not through with the filters.
    assert decided(pod(DAEMON, EMPTYDIR), missing, force=True).cause == "emptydir"


def test_what_is_lost_with_a_pod_is_named() -> None:
    notes = decided(pod({}, EMPTYDIR), force=True, delete_emptydir_data=True).notes
    assert notes == ("what is in its emptyDir cache is lost", "it has no controller, and does not come back")
    assert decided(pod({}, EMPTYDIR, "Succeeded")).notes == ()


@pytest.mark.parametrize(
    ("rules", "action", "cause"),
    [
        ([{"selector": "app=job", "action": "skip"}], "leave", "rule"),
        ([{"selector": "app=web", "action": "skip"}], "refuse", "emptydir"),
        ([{"namespaces": ["kube-system"], "action": "skip"}], "refuse", "emptydir"),
        ([{"namespaces": ["default"], "action": "skip"}], "leave", "rule"),
        ([{"action": "wait"}], "wait", "rule"),
        ([{"selector": "app", "delete_emptydir_data": True, "force": True}], "evict", None),
        ([{"delete_emptydir_data": True, "force": True, "action": "delete"}], "delete", None),
        # The first decides, and says nothing where it says nothing.
        ([{"selector": "app=job"}, {"action": "skip"}], "refuse", "emptydir"),
        ([{"selector": "!app"}, {"action": "skip"}], "leave", "rule"),
    ],
)
def test_a_rule_decides_for_the_pods_that_it_takes(rules: list[dict[str, Any]], action: str, cause: str | None) -> None:
    decision = decided(pod({"labels": {"app": "job"}}, EMPTYDIR), rules=rules)
    assert (decision.action, decision.cause) == (action, cause)


def test_a_rule_takes_a_consent_back() -> None:
    rules = [{"selector": "app=db", "delete_emptydir_data": False}]
    labels = {"labels": {"app": "db"}, **SET}
    assert decided(pod(labels, EMPTYDIR), delete_emptydir_data=True, rules=rules).cause == "emptydir"


def test_a_rule_that_waits_waits_for_no_daemonset_and_for_nothing_that_has_ended() -> None:
    rules = [{"action": "wait"}]
    assert decided(pod(DAEMON), rules=rules).cause == "daemonset"
    assert decided(pod(MIRROR), rules=rules).cause == "mirror"
    assert decided(pod({}, phase="Succeeded"), rules=rules).action == "leave"


def test_the_grace_is_the_rules_else_the_options_else_the_pods() -> None:
    assert decided(pod(SET)).grace is None
    assert decided(pod(SET), grace_period=0).grace == 0
    assert decided(pod(SET), grace_period=9, rules=[{"grace_period": 0}]).grace == 0
    assert decided(pod(SET), grace_period=9, rules=[{}]).grace == 9


@pytest.mark.parametrize(
    ("params", "option"),
    [
        ({"grace_period": -1}, "grace_period"),
        ({"delete_after": -1}, "delete_after"),
        ({"rules": [{}, {"grace_period": -2}]}, r"rules\[1\]\.grace_period"),
        ({"rules": [{"selector": "a b"}]}, r"rules\[0\]\.selector"),
    ],
)
def test_wrong_options_are_refused_by_their_path(params: dict[str, Any], option: str) -> None:
    with pytest.raises(OptionError, match=rf"^{option}: got"):
        given(**params)
