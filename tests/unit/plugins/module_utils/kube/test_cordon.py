# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose a cordon is, and that only ours is taken away."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.kube import cordon
from ansible_collections.bulwark.node.plugins.module_utils.kube.annotations import CORDON, DRAIN
from ansible_collections.bulwark.node.plugins.module_utils.kube.client import Client
from ansible_collections.bulwark.node.tests.fakes.kube_api import FakeKube
from ansible_collections.bulwark.node.tests.fakes.kube_cluster import Cluster
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.kube.conftest import before_next_patch

NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
MINE = cordon.Record("run-1", NOW)
TEXT = '{"run": "run-1", "at": "2026-01-02T03:04:05Z"}'


def node(unschedulable: bool = False, managers: tuple[str, ...] = (), record: str | None = None) -> dict[str, Any]:
    ours = {} if record is None else {CORDON: record}
    metadata: dict[str, Any] = {"name": "a", "annotations": {"other": "x", **ours}}
    spec = {"unschedulable": True} if unschedulable else {}
    if managers:
        fields: dict[str, Any] = {"f:spec": {"f:unschedulable": {}}}
        others = {"manager": "kubelet", "operation": "Update", "fieldsV1": {"f:status": {}}}
        mine = [{"manager": each, "operation": "Update", "fieldsV1": fields} for each in managers]
        metadata["managedFields"] = [others, *mine]
    return {"metadata": metadata, "spec": spec}


@pytest.mark.parametrize(
    ("before", "ours"),
    [
        (node(), False),
        (node(True), False),
        (node(True, record=TEXT), True),
        (node(False, record=TEXT), False),
        (node(True, ("bulwark.node",), record=TEXT), True),
        (node(True, ("bulwark.node", "kubectl-cordon"), record=TEXT), True),
        # Somebody opened it and closed it again: the field is theirs now.
        (node(True, ("kubectl-cordon",), record=TEXT), False),
        (node(True, ("bulwark.node",)), False),
    ],
)
def test_whose_a_cordon_is(before: dict[str, Any], ours: bool) -> None:
    assert cordon.is_ours(before) is ours
    after = cordon.uncordoned(before)
    assert after["metadata"]["annotations"] == {"other": "x"}
    assert cordon.is_cordoned(after) is (cordon.is_cordoned(before) and not ours)


def test_a_cordon_says_whose_it_is_in_the_same_write(client: Client, kube: FakeKube) -> None:
    Cluster(kube.store).node("a")
    cordon.cordon(client, "a", MINE)
    (patch,) = [each.body for each in kube.requests if each.method == "PATCH"]
    del patch["metadata"]["resourceVersion"]
    assert patch == {"metadata": {"annotations": {CORDON: TEXT}}, "spec": {"unschedulable": True}}
    assert cordon.record(cordon.start(client, "a", cordon.Record("run-2", NOW)), CORDON) == MINE
    kube.requests.clear()
    cordon.uncordon(client, "a")
    (patch,) = [each.body for each in kube.requests if each.method == "PATCH"]
    del patch["metadata"]["resourceVersion"]
    assert patch == {"metadata": {"annotations": {CORDON: None, DRAIN: None}}, "spec": {"unschedulable": None}}


def test_a_cordon_of_another_in_between_is_seen(client: Client, kube: FakeKube) -> None:
    Cluster(kube.store).node("a")
    before_next_patch(kube, lambda: kube.store.edit("nodes", "", "a", {"spec": {"unschedulable": True}}))
    assert cordon.is_ours(cordon.cordon(client, "a", MINE)) is False


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '{"run": "x"}', '{"run": "x", "at": "now"}', '{"run": "x", "at": 3}', "null", "[" * 100_000],
)
def test_a_record_that_is_not_ours_in_form_is_none(text: str) -> None:
    assert cordon.record(node(True, record=text), CORDON) is None


def test_a_record_says_nothing_that_is_not_printable() -> None:
    found = cordon.record(node(True, record='{"run": "a\\u001b[2J", "at": "2026-01-02T03:04:05Z"}'), CORDON)
    assert found == cordon.Record("a [2J", NOW)


def test_a_drain_of_the_same_run_keeps_its_time_and_another_gets_its_own() -> None:
    first = cordon.begun(node(), MINE)
    later = NOW + datetime.timedelta(minutes=5)
    assert cordon.begun(first, cordon.Record("run-1", later)) == first
    other = cordon.begun(first, cordon.Record("run-2", later))
    assert cordon.record(other, DRAIN) == cordon.Record("run-2", later)
    assert cordon.record(other, CORDON) == MINE
