# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a drain would do and come to, asked before anything is touched: filters, budgets over all pods, server dry runs."""

from __future__ import annotations

import datetime
import os
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.kube import pods
from ansible_collections.bulwark.node.plugins.module_utils.kube.budgets import (
    Verdict,
    answered,
    judge,
    refused,
)
from ansible_collections.bulwark.node.plugins.module_utils.kube.client import (
    BUDGETS,
    DAEMON_SETS,
    PODS,
    VOLUMES,
    Client,
    Forbidden,
)
from ansible_collections.bulwark.node.plugins.module_utils.kube.drain import Decision, Options, decide
from ansible_collections.bulwark.node.plugins.module_utils.kube.eviction import Remover
from ansible_collections.bulwark.node.plugins.module_utils.kube.objects import labels_of
from ansible_collections.bulwark.node.plugins.module_utils.kube.pods import Object
from ansible_collections.bulwark.node.plugins.module_utils.kube.refusals import Refusal

__all__ = ["REMOVED", "DaemonSets", "Own", "Planned", "pods_of", "preflight"]

REMOVED = ("evict", "delete")
"""The actions that end a pod."""
_TRIES = 3
_NAMESPACE_FILE = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
_JOB_LABEL = "ansible-awx-job-id"


@dataclass(frozen=True)
class Own:
    """The pod that this process runs in, as far as it is known: by its uid, by name, or by AWX's job. None: not known."""

    uid: str | None = None
    name: str | None = None
    namespace: str | None = None
    job: str | None = None

    @classmethod
    def of(cls, environment: Mapping[str, str], job: str | None) -> Own:
        """From the downward API's usual names, else in a pod from its hostname, which AWX leaves as it is."""
        name, namespace = environment.get("POD_NAME"), environment.get("POD_NAMESPACE")
        if not name and environment.get("KUBERNETES_SERVICE_HOST"):
            name = socket.gethostname()
        if name and not namespace and os.path.isfile(_NAMESPACE_FILE):
            with open(_NAMESPACE_FILE, encoding="utf-8") as file:
                namespace = file.read().strip()
        return cls(environment.get("POD_UID"), name, namespace, job)

    def is_pod(self, pod: Object) -> bool:
        """Whether this pod is the one."""
        if self.uid and pods.uid(pod) == self.uid:
            return True
        # The pod that a module runs in may be another than the job's.
        if self.job and labels_of(pod).get(_JOB_LABEL) == self.job:
            return True
        namespace, name = pods.key(pod)
        return not self.uid and name == self.name and self.namespace in (None, namespace)


@dataclass(frozen=True)
class Planned:
    """A pod of a node that is to be drained, what will be done with it, and what comes of it."""

    node: str
    pod: Object
    decision: Decision
    verdict: Verdict = field(default_factory=Verdict)


class DaemonSets:
    """Which of them are there: each is asked for once."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._there: dict[tuple[str, str], bool] = {}

    def missing(self, found: Iterable[Object]) -> set[tuple[str, str]]:
        """Those that a pod has for its controller and that are gone. Raises KubeError."""
        for pod in found:
            owner = pods.controller(pod)
            if owner and owner["kind"] == "DaemonSet":
                key = pod["metadata"]["namespace"], owner["name"]
                if key not in self._there:
                    self._there[key] = self._client.find(DAEMON_SETS, owner["name"], key[0]) is not None
        return {key for key, there in self._there.items() if not there}


def pods_of(
    client: Client, pool: ThreadPoolExecutor, nodes: Sequence[str], seconds: float | None = None
) -> dict[str, list[Object]]:
    """By node, all pods that are bound to it, within so many seconds, or the client's own. Raises KubeError."""

    def ask(node: str) -> list[Object]:
        with client.within(client.deadline if seconds is None else seconds):
            return list(client.list(PODS, field_selector=f"spec.nodeName={node}"))

    return dict(zip(nodes, pool.map(ask, nodes)))


def preflight(
    remover: Remover,
    pool: ThreadPoolExecutor,
    options: Options,
    found: Mapping[str, Sequence[Object]],
    now: datetime.datetime,
) -> list[Planned]:
    """Of each pod of each node, in the order of ``found``. Nothing is changed. Raises KubeError."""
    client = remover.client
    missing = DaemonSets(client).missing(pod for each in found.values() for pod in each)
    plan = [Planned(node, pod, decide(pod, options, missing, now)) for node, each in found.items() for pod in each]
    evicted = [each.pod for each in plan if each.decision.action == "evict" and remover.version]
    verdicts = judge(evicted, client.list(BUDGETS) if evicted else ())
    local = _local_claims(client) if any(_claims(each.pod) for each in plan) else {}
    answers = pool.map(lambda each: _ask(remover, each), plan)

    def judged() -> Iterator[Planned]:
        for each, answer in zip(plan, answers):
            if each.decision.action == "refuse":
                yield replace(each, verdict=refused(each.pod, each.decision))
            elif each.decision.action == "wait":
                yield replace(each, verdict=Verdict("waiting", each.decision.reason))
            elif each.decision.action in REMOVED:
                verdict = answered(each.pod, verdicts.get(pods.uid(each.pod), Verdict()), answer)
                notes = (*each.decision.notes, *_left_behind(each.pod, local))
                yield replace(
                    each, decision=replace(each.decision, notes=notes), verdict=_deleted_later(each, verdict, options)
                )
            else:
                yield each

    return list(judged())


def _ask(remover: Remover, each: Planned) -> Refusal | None:
    """What the server says to a dry run; a busy one is asked again, and then not at all."""
    if each.decision.action not in REMOVED:
        return None
    answer = None
    for _attempt in range(_TRIES):
        answer = remover.remove(each.pod, each.decision.action, each.decision.grace, dry_run=True)
        if answer is None or answer.kind != "busy" or answer.after is None:
            break
        remover.client.clock.sleep(answer.after)
    return answer


def _deleted_later(each: Planned, verdict: Verdict, options: Options) -> Verdict:
    """With the consent to delete what is not evicted in time nothing is impossible."""
    if options.delete_after is None or each.decision.action != "evict" or verdict.verdict in ("possible", "slow"):
        return verdict
    how = "slow" if verdict.verdict == "impossible" else verdict.verdict
    reason = f"{verdict.reason}; it is deleted after {options.delete_after} s of the drain"
    return replace(verdict, verdict=how, reason=reason)


def _claims(pod: Object) -> list[str]:
    """The names of its volume claims; one of an ephemeral volume is named by the pod."""
    names = []
    for volume in pod["spec"].get("volumes") or ():
        if volume.get("persistentVolumeClaim"):
            names.append(str(volume["persistentVolumeClaim"]["claimName"]))
        elif volume.get("ephemeral"):
            names.append(f"{pod['metadata']['name']}-{volume['name']}")
    return names


def _local_claims(client: Client) -> dict[tuple[str, str], str]:
    """By namespace and name, the claims whose volume lies on one node. {} where we may not ask: they are named, no more."""
    found = {}
    try:
        for volume in client.list(VOLUMES):
            claim = volume["spec"].get("claimRef")
            if claim and _is_local(volume["spec"]):
                found[claim["namespace"], claim["name"]] = str(volume["metadata"]["name"])
    except Forbidden:
        return {}
    return found


def _is_local(spec: Mapping[str, Any]) -> bool:
    required = (spec.get("nodeAffinity") or {}).get("required") or {}
    terms = required.get("nodeSelectorTerms") or ()
    by_name = any(
        item.get("key") == "kubernetes.io/hostname" for term in terms for item in term.get("matchExpressions") or ()
    )
    return by_name or bool(spec.get("local") or spec.get("hostPath"))


def _left_behind(pod: Object, local: Mapping[tuple[str, str], str]) -> Iterator[str]:
    namespace = pod["metadata"]["namespace"]
    for name in _claims(pod):
        if (namespace, name) in local:
            yield f"its claim {name} is volume {local[namespace, name]} of this node, and its next pod waits for the node"
    for name in pods.volumes(pod, "hostPath"):
        yield f"its hostPath {name} stays on this node"
