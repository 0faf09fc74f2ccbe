# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is foretold of budgets is what the API server then does, on clusters at random, in any order of the evictions."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.bulwark.node.plugins.module_utils.kube.budgets import judge
from ansible_collections.bulwark.node.tests.fakes.kube_cluster import Cluster
from ansible_collections.bulwark.node.tests.fakes.kube_rules import Problem
from ansible_collections.bulwark.node.tests.fakes.kube_store import Store

APPS = st.sampled_from([None, {"app": "web"}, {"app": "db"}, {"app": "web", "tier": "x"}])
PODS = st.lists(
    st.tuples(APPS, st.booleans(), st.sampled_from(["Running", "Running", "Pending", "Succeeded"]), st.booleans()),
    min_size=1,
    max_size=7,
)
SPECS = st.one_of(
    st.fixed_dictionaries({"minAvailable": st.one_of(st.integers(0, 4), st.sampled_from(["50%", "100%"]))}),
    st.fixed_dictionaries({"maxUnavailable": st.one_of(st.integers(0, 3), st.sampled_from(["0%", "50%"]))}),
)
SELECTORS = st.sampled_from([{"app": "web"}, {"app": "db"}, {"tier": "x"}, {}])
BUDGETS = st.lists(
    st.tuples(SPECS, SELECTORS, st.sampled_from([None, "AlwaysAllow", "IfHealthyBudget"]), st.booleans()), max_size=3
)


@settings(max_examples=150, deadline=None)
@given(pods=PODS, budgets=BUDGETS, data=st.data())
def test_what_is_possible_goes_and_of_the_rest_some_does_not(
    pods: list[Any], budgets: list[Any], data: st.DataObject
) -> None:
    cluster = Cluster(Store())
    for number, (labels, ready, phase, here) in enumerate(pods):
        cluster.pod(f"p{number}", "a" if here else "b", labels=labels, ready=ready, phase=phase)
    for number, (spec, labels, unhealthy, seen) in enumerate(budgets):
        policy = {"unhealthyPodEvictionPolicy": unhealthy} if unhealthy else {}
        cluster.budget(f"b{number}", labels, **spec, **policy)
        if not seen:
            # Its controller has not come to it.
            cluster.store.edit(
                "poddisruptionbudgets.policy", "default", f"b{number}", {"status": {"observedGeneration": 0}}
            )
    found = [pod for pod in cluster.store.all("pods") if pod["spec"]["nodeName"] == "a"]
    verdicts = judge(found, cluster.store.all("poddisruptionbudgets.policy"))
    before = {each["metadata"]["name"]: each for each in cluster.store.all("poddisruptionbudgets.policy")}
    refused = set()
    for pod in data.draw(st.permutations(found)):
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
