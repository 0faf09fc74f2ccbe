# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is foretold of budgets is what the API server then does, on clusters at random, in any order of the evictions."""

from __future__ import annotations

import random
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.kube.budgets import judge
from ansible_collections.bulwark.node.tests.fakes.kube_cluster import Cluster
from ansible_collections.bulwark.node.tests.fakes.kube_rules import Problem
from ansible_collections.bulwark.node.tests.fakes.kube_store import Store

APPS: list[dict[str, str]] = [{}, {"app": "web"}, {"app": "web"}, {"app": "db"}, {"app": "web", "tier": "x"}]
SPECS: list[dict[str, Any]] = [
    *({"minAvailable": each} for each in (0, 1, 2, 3, "50%", "100%")),
    *({"maxUnavailable": each} for each in (0, 1, 2, "0%", "50%")),
]
SELECTORS: list[dict[str, str]] = [{"app": "web"}, {"app": "db"}, {"tier": "x"}, {}]
UNHEALTHY: list[dict[str, Any]] = [
    {},
    {"unhealthyPodEvictionPolicy": "AlwaysAllow"},
    {"unhealthyPodEvictionPolicy": "IfHealthyBudget"},
]
PHASES = ["Running", "Running", "Running", "Pending", "Succeeded"]


@pytest.mark.parametrize("seed", range(8))
def test_what_is_possible_goes_and_of_the_rest_some_does_not(seed: int) -> None:
    dice = random.Random(seed)
    for _cluster in range(40):
        foretold(dice)


def foretold(dice: random.Random) -> None:
    cluster = Cluster(Store())
    for number in range(dice.randint(1, 7)):
        where, ready = dice.choice("aab"), dice.random() < 0.7
        cluster.pod(f"p{number}", where, labels=dice.choice(APPS), ready=ready, phase=dice.choice(PHASES))
    for number in range(dice.randint(0, 3)):
        cluster.budget(f"b{number}", dice.choice(SELECTORS), **dice.choice(SPECS), **dice.choice(UNHEALTHY))
        if dice.random() < 0.2:
            # Its controller has not come to it.
            cluster.store.edit(
                "poddisruptionbudgets.policy", "default", f"b{number}", {"status": {"observedGeneration": 0}}
            )
    found = [pod for pod in cluster.store.all("pods") if pod["spec"]["nodeName"] == "a"]
    verdicts = judge(found, cluster.store.all("poddisruptionbudgets.policy"))
    before = {each["metadata"]["name"]: each for each in cluster.store.all("poddisruptionbudgets.policy")}
    refused = set()
    for pod in dice.sample(found, len(found)):
        try:
            cluster.store.evict("default", pod["metadata"]["name"], {})
        except Problem:
            refused.add(pod["metadata"]["uid"])
    groups: dict[str | None, list[str]] = {}
    for uid, verdict in verdicts.items():
        if verdict.verdict == "possible":
            assert uid not in refused
        elif "no pod with more than one" in str(verdict.reason):
            assert uid in refused
        else:
            groups.setdefault(verdict.budget, []).append(uid)
    for name, uids in groups.items():
        kept = refused & set(uids)
        assert kept
        status = before[name or ""]["status"]
        looked = status["observedGeneration"] >= before[name or ""]["metadata"]["generation"]
        assert len(uids) - len(kept) == (status["disruptionsAllowed"] if looked else 0)
