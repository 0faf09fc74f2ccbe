# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether pods may be evicted, by budgets added up over all of them: pure arithmetic, before anything is touched.

An eviction asks about one pod alone, and so a dry run says yes to each of three pods whose budget allows one. The rules
are those of pkg/registry/core/pod/storage/eviction.go of kube-apiserver.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.kube import pods
from ansible_collections.bulwark.node.plugins.module_utils.kube.drain import Decision
from ansible_collections.bulwark.node.plugins.module_utils.kube.objects import labels_of, printable
from ansible_collections.bulwark.node.plugins.module_utils.kube.pods import Object
from ansible_collections.bulwark.node.plugins.module_utils.kube.refusals import Refusal
from ansible_collections.bulwark.node.plugins.module_utils.kube.selectors import of_object

__all__ = ["Verdict", "answered", "judge", "refused", "show", "worst"]

_VERDICTS = ("possible", "slow", "migrating", "waiting", "impossible")
"""From the best to the worst: now; as others become ready elsewhere; once its guest is elsewhere; once something else has
happened; never, unless somebody changes it."""

_KUBEVIRT = ("kubevirt.io", "virt-launcher")
# Which label's value says that a controller of a storage moves its budgets as the data are safe elsewhere.
_STORAGE: Mapping[str, tuple[str, ...]] = {
    "app": ("rook-ceph-osd", "rook-ceph-mon", "rook-ceph-mgr", "rook-ceph-mds"),
    "longhorn.io/component": ("instance-manager",),
}
_STORAGE_OWNERS = ("ceph.rook.io/", "longhorn.io/")


@dataclass(frozen=True)
class Verdict:
    """``budget`` is a name in the pod's namespace and ``owner`` the {kind, name} of whom the budget is, ``command`` shows it."""

    verdict: str = "possible"
    reason: str | None = None
    budget: str | None = None
    owner: Mapping[str, str] | None = None
    command: str | None = None


def worst(verdicts: Iterable[str]) -> str:
    """The last of _VERDICTS that is among them, ``possible`` where there are none."""
    return max(verdicts, key=_VERDICTS.index, default="possible")


def judge(evicted: Sequence[Object], budgets: Iterable[Object]) -> dict[str, Verdict]:
    """By pod's uid. ``evicted`` are all pods that a drain will evict, of all of its nodes."""
    by_namespace: dict[str, list[Object]] = {}
    for budget in budgets:
        by_namespace.setdefault(budget["metadata"]["namespace"], []).append(budget)
    verdicts: dict[str, Verdict] = {}
    guarded: dict[str, _Guarded] = {}
    for pod in evicted:
        over = [each for each in by_namespace.get(pod["metadata"]["namespace"], ()) if _is_over(each, pod)]
        if not over or _bypasses(pod):
            verdicts[pods.uid(pod)] = Verdict()
        elif len(over) > 1:
            verdicts[pods.uid(pod)] = _two(pod, over)
        elif _passes_unready(pod, over[0]):
            verdicts[pods.uid(pod)] = Verdict(budget=over[0]["metadata"]["name"])
        else:
            guarded.setdefault(pods.uid(over[0]), _Guarded(over[0])).pods.append(pod)
    for group in guarded.values():
        verdicts.update(dict.fromkeys(map(pods.uid, group.pods), group.verdict()))
    return verdicts


@dataclass
class _Guarded:
    """A budget and the pods that have to ask it."""

    budget: Object
    pods: list[Object] = field(default_factory=list)

    def verdict(self) -> Verdict:
        """One for all of them, as nobody knows who will be first."""
        metadata = self.budget["metadata"]
        how, reason = self._judged()
        owner = pods.controller(self.budget) or next(iter(metadata.get("ownerReferences") or ()), None)
        return Verdict(
            how,
            reason,
            metadata["name"],
            {"kind": owner["kind"], "name": owner["name"]} if owner else None,
            show("poddisruptionbudget", metadata["namespace"], metadata["name"]),
        )

    def _judged(self) -> tuple[str, str | None]:
        """Verdict and reason, by the budget's status; percentages are resolved there already."""
        metadata, status = self.budget["metadata"], self.budget.get("status") or {}
        name, asking = metadata["name"], len(self.pods)
        allowed = max(0, status.get("disruptionsAllowed", 0))
        healthy, needed = status.get("currentHealthy", 0), status.get("desiredHealthy", 0)
        there = status.get("expectedPods", 0)
        if status.get("observedGeneration", 0) < metadata.get("generation", 0):
            return "waiting", f"budget {name} was changed, and its controller has not looked at it yet"
        if allowed >= asking:
            return "possible", None
        told = f"budget {name} needs {needed} healthy pods, and has {healthy} of {there}"
        if any(map(_is_guest, self.pods)):
            return "migrating", f"{told}; KubeVirt migrates the guest away when it is evicted"
        if _is_storage(self.budget, self.pods):
            return "waiting", f"{told}; its storage opens it once the data are safe elsewhere"
        if failed := _sync_failed(status):
            return "impossible", f"budget {name} allows nothing, because its controller fails: {failed}"
        if there <= needed:
            return "impossible", f"{told}: it never allows one to go"
        if not allowed:
            return "waiting", f"{told}: it opens when more are ready"
        if not any(map(pods.controller, self.pods)):
            return "impossible", f"{told}: of {asking} pods it lets {allowed} go, and nothing brings others up for them"
        return "slow", f"{told}: of {asking} pods it lets {allowed} go at a time"


def _is_over(budget: Object, pod: Object) -> bool:
    """``getPodDisruptionBudgets``: a pod without labels has none."""
    selector, labels = budget["spec"].get("selector"), labels_of(pod)
    return selector is not None and bool(labels) and of_object(selector).matches(labels)


def _bypasses(pod: Object) -> bool:
    """``canIgnorePDB``."""
    pending = (pod.get("status") or {}).get("phase") == "Pending"
    return pending or pods.finished(pod) or "deletionTimestamp" in pod["metadata"]


def _passes_unready(pod: Object, budget: Object) -> bool:
    """An unready pod is no loss by AlwaysAllow, or where enough others are healthy."""
    if pods.ready(pod):
        return False
    status = budget.get("status") or {}
    enough: bool = status.get("currentHealthy", 0) >= status.get("desiredHealthy", 0) > 0
    return enough or budget["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow"


def _two(pod: Object, over: Sequence[Object]) -> Verdict:
    names = sorted(str(budget["metadata"]["name"]) for budget in over)
    namespace = pod["metadata"]["namespace"]
    return Verdict(
        "impossible",
        f"budgets {', '.join(names)} are over it, and no pod with more than one can be evicted",
        names[0],
        None,
        show("poddisruptionbudget", namespace, *names),
    )


def _sync_failed(status: Mapping[str, Any]) -> str | None:
    """What the disruption controller says where it cannot work a budget out, such as a percentage of bare pods."""
    for condition in status.get("conditions") or ():
        if condition.get("reason") == "SyncFailed" and condition.get("status") == "False":
            return printable(str(condition.get("message")))
    return None


def _is_guest(pod: Object) -> bool:
    """Whether it is a virtual machine of KubeVirt."""
    label, value = _KUBEVIRT
    return labels_of(pod).get(label) == value


def _is_storage(budget: Object, guarded: Sequence[Object]) -> bool:
    """Whether Rook or Longhorn keep the budget, and move it by themselves."""
    owners = budget["metadata"].get("ownerReferences") or ()
    if any(owner["apiVersion"].startswith(_STORAGE_OWNERS) for owner in owners):
        return True
    return any(labels_of(pod).get(key) in values for pod in guarded for key, values in _STORAGE.items())


def show(kind: str, namespace: str, *names: str) -> str:
    """The command by which one looks at what is in the way."""
    return shlex.join(["kubectl", "--namespace", namespace, "describe", kind, *names])


def refused(pod: Object, decision: Decision) -> Verdict:
    """Of a pod that the filters do not let a drain begin with."""
    return Verdict("impossible", decision.reason, None, None, show("pod", *pods.key(pod)))


def answered(pod: Object, verdict: Verdict, answer: Refusal | None) -> Verdict:
    """A verdict in the light of what a dry run of the eviction was answered; None where it would have been done."""
    if answer is None or answer.kind in ("gone", "replaced", "dry_run", "busy"):
        return verdict
    if answer.kind == "budget":
        # The arithmetic knows why; unless it does not know of it, for the budget has just changed.
        return verdict if verdict.verdict != "possible" else _found(pod, verdict, "waiting", answer.text)
    kinds = {"migration": "migrating", "unmovable": "impossible", "permanent": "impossible"}
    how = kinds.get(answer.kind, "waiting")
    if verdict.verdict == "impossible" or (verdict.verdict == how and verdict.reason):
        return verdict
    return _found(pod, verdict, how, answer.text)


def _found(pod: Object, verdict: Verdict, how: str, reason: str) -> Verdict:
    guest = (pod["metadata"].get("annotations") or {}).get("kubevirt.io/domain")
    namespace, name = pods.key(pod)
    command = show("virtualmachineinstance", namespace, guest) if guest else show("pod", namespace, name)
    return replace(verdict, verdict=how, reason=reason, command=verdict.command or command)
