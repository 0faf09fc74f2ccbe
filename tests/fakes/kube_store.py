# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The objects of the fake cluster: versions, conflicts, deletion, eviction, and the controllers that the tests need.

Time is the test's: ``now`` moves by ``advance(seconds)`` alone, which also lets the kubelets finish what they
delete. Controllers run when ``settle()`` is called, and after each request where ``prompt`` is true.
"""

from __future__ import annotations

import base64
import copy
import datetime
import json
import math
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.bulwark.node.tests.fakes import kube_patches, kube_selectors
from ansible_collections.bulwark.node.tests.fakes.kube_rules import (
    RESOURCES,
    Object,
    Problem,
    Resource,
    complete,
    invalid,
    validate,
)

__all__ = ["Event", "Store"]

Key = tuple[str, str, str]
Event = tuple[int, str, Resource, Object]

_START = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
_TAKEN = "the object has been modified; please apply your changes to the latest version and try again"
_BUDGET = "Cannot evict pod as it would violate the pod's disruption budget."
_TAINTS = {  # node conditions that the node lifecycle controller makes taints of
    ("Ready", "False"): "node.kubernetes.io/not-ready",
    ("Ready", "Unknown"): "node.kubernetes.io/unreachable",
    ("MemoryPressure", "True"): "node.kubernetes.io/memory-pressure",
    ("DiskPressure", "True"): "node.kubernetes.io/disk-pressure",
    ("PIDPressure", "True"): "node.kubernetes.io/pid-pressure",
}


class Store:
    """All objects, and each event since the start. Methods take the lock themselves; a Problem leaves all as it was."""

    def __init__(self) -> None:
        self.lock = threading.Condition(threading.RLock())
        self.resources: dict[str, Resource] = {resource.qualified: resource for resource in RESOURCES}
        self.now = _START
        self.version = 1
        self.compacted = 0  # events up to this version are forgotten
        self.events: list[Event] = []
        self.prompt = False
        self.no_kubelet: set[str] = set()  # names of nodes whose pods nobody finishes
        self.controllers: list[Callable[[Store], None]] = []  # what else runs in settle(), before the budgets
        # Asked with the pod and whether it is dry before an eviction is done; it refuses by a Problem.
        self.webhooks: list[Callable[[Object, bool], None]] = []
        self._objects: dict[Key, Object] = {}
        for name in ("default", "kube-system"):
            self.add("namespaces", {"metadata": {"name": name}})

    # Time, kubelets and controllers

    def advance(self, seconds: float) -> None:
        """Let time pass; pods whose grace is over go, where their node has a kubelet."""
        with self.lock:
            self.now += datetime.timedelta(seconds=seconds)
            for pod in self.all("pods"):
                metadata = pod["metadata"]
                node = pod["spec"].get("nodeName", "")
                over = metadata.get("deletionTimestamp", "9") <= self.stamp()
                if over and node not in self.no_kubelet and not metadata.get("finalizers"):
                    self._remove(self.resources["pods"], pod)
            self.settle()
            self.lock.notify_all()

    def settle(self) -> None:
        """Let the controllers do what they do soon after a change."""
        with self.lock:
            for controller in self.controllers:
                controller(self)
            for node in self.all("nodes"):
                self._write_if_changed("nodes", node, self._tainted(node))
            for daemon_set in self.all("daemonsets.apps"):
                self._write_if_changed("daemonsets.apps", daemon_set, self._counted(daemon_set))
            for budget in self.all("poddisruptionbudgets.policy"):
                self._write_if_changed("poddisruptionbudgets.policy", budget, self._budgeted(budget))
            for namespace in self.all("namespaces"):
                name = namespace["metadata"]["name"]
                if namespace["status"]["phase"] == "Terminating" and not any(key[1] == name for key in self._objects):
                    self._remove(self.resources["namespaces"], namespace)

    def stamp(self, seconds: float = 0) -> str:
        """The time in ``seconds`` as the API writes it."""
        return (self.now + datetime.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")

    # What tests do past the API

    def register(self, resource: Resource) -> None:
        """Serve another resource from now on, as after a CustomResourceDefinition."""
        with self.lock:
            self.resources[resource.qualified] = resource

    def add(self, resource: str, item: Mapping[str, Any]) -> Object:
        """Create an object with whatever status it brings."""
        found = self.resources[resource]
        return self.create(found, item.get("metadata", {}).get("namespace", ""), dict(item), with_status=True)

    def edit(self, resource: str, namespace: str, name: str, patch: Mapping[str, Any]) -> Object:
        """Merge a patch into an object, its status included."""
        return self.patch(self.resources[resource], namespace, name, dict(patch), kube_patches.merge, with_status=True)

    def all(self, resource: str) -> list[Object]:
        """Copies of all objects of a resource, by namespace and name."""
        with self.lock:
            return [copy.deepcopy(item) for key, item in sorted(self._objects.items()) if key[0] == resource]

    def compact(self) -> None:
        """Forget the past: older resourceVersions and continue tokens are answered with 410."""
        with self.lock:
            self.compacted = self.version

    # The verbs

    def get(self, resource: Resource, namespace: str, name: str) -> Object:
        with self.lock:
            found = self._objects.get((resource.qualified, namespace, name))
            if found is None:
                raise Problem(404, "NotFound", f'{resource.qualified} "{name}" not found', resource.details(name))
            return copy.deepcopy(found)

    def page(self, resource: Resource, namespace: str, query: Mapping[str, str]) -> Object:
        """A page; ``continue`` goes on in the state of the first page."""
        wanted = self.selector(resource, namespace, query)
        with self.lock:
            version, start = self.version, ""
            if query.get("continue"):
                version, start = self._resumed(query["continue"])
            found = sorted(
                (f"{item['metadata'].get('namespace', '')}/{item['metadata']['name']}", item)
                for item in self._state_at(resource, version)
                if wanted(item)
            )
            rest = [pair for pair in found if pair[0] > start]
            limit = int(query.get("limit") or 0) or len(rest)
            metadata: Object = {"resourceVersion": str(version)}
            if rest[limit:]:
                metadata["continue"] = _token(version, rest[limit - 1][0])
                if not query.get("fieldSelector") and not query.get("labelSelector"):
                    metadata["remainingItemCount"] = len(rest) - limit
        # A list names the kind of its items once.
        bare = [{key: value for key, value in item.items() if key not in ("kind", "apiVersion")} for _key, item in rest]
        kind = f"{resource.kind}List"
        return {"kind": kind, "apiVersion": resource.api_version, "metadata": metadata, "items": bare[:limit]}

    def create(
        self, resource: Resource, namespace: str, item: Object, dry: bool = False, with_status: bool = False
    ) -> Object:
        with self.lock:
            item = {"kind": resource.kind, "apiVersion": resource.api_version, **copy.deepcopy(item)}
            metadata = item.setdefault("metadata", {})
            if resource.namespaced:
                self._check_namespace(resource, namespace, metadata.get("name", ""))
                metadata["namespace"] = namespace
            if not metadata.get("name"):
                # apiserver/pkg/storage/names/generate.go.
                metadata["name"] = metadata["generateName"][:58] + uuid.uuid4().hex[:5]
            name = metadata["name"]
            if (resource.qualified, namespace, name) in self._objects:
                message = f'{resource.qualified} "{name}" already exists'
                raise Problem(409, "AlreadyExists", message, resource.details(name))
            if not with_status and resource.kind != "Node":
                item.pop("status", None)
            metadata.update(uid=str(uuid.uuid4()), creationTimestamp=self.stamp())
            if resource.has_generation:
                metadata["generation"] = 1
            validate(resource, item, _unreadable)
            complete(resource, item)
            written = self._write(resource, item, dry, "ADDED")
            if resource.kind == "Node" and not dry:
                # The TTL controller of a small cluster.
                self.edit("nodes", "", name, {"metadata": {"annotations": {"node.alpha.kubernetes.io/ttl": "0"}}})
            return written

    def replace(self, resource: Resource, namespace: str, name: str, item: Object, dry: bool = False) -> Object:
        with self.lock:
            old = self.get(resource, namespace, name)
            if not item.get("metadata", {}).get("resourceVersion") and not resource.unconditional:
                raise invalid(
                    f'{resource.qualified} "{name}"',
                    resource.details(name),
                    "metadata.resourceVersion",
                    "Invalid value: 0: must be specified for an update",
                )
            new = {"kind": resource.kind, "apiVersion": resource.api_version, **copy.deepcopy(item)}
            if "status" in old:
                new["status"] = old["status"]
            return self._update(resource, old, new, dry, _unreadable)

    def patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        patch: Any,
        how: Callable[[Any, Any], Any],
        dry: bool = False,
        with_status: bool = False,
    ) -> Object:
        """``with_status``: as the subresource ``status`` does, which alone may change that."""
        with self.lock:
            old = self.get(resource, namespace, name)
            try:
                new = how(old, patch)
            except kube_patches.PatchError:
                message = "the server rejected our request due to an error in our request"
                raise Problem(422, "Invalid", message, {}) from None
            if not with_status and "status" in old:
                new["status"] = old["status"]

            def refuse(text: str) -> Problem:
                what = f"Invalid value: {json.dumps(json.dumps(new))}: {text}"
                return invalid(' ""', {}, "patch", what)

            return self._update(resource, old, new, dry, refuse)

    def delete(
        self, resource: Resource, namespace: str, name: str, options: Mapping[str, Any], dry: bool = False
    ) -> Object:
        """The object where it is still there or was a pod, else a Status of success."""
        with self.lock:
            old = self.get(resource, namespace, name)
            metadata = old["metadata"]
            self._check_preconditions(resource, old, options.get("preconditions") or {})
            if resource.kind == "Namespace":
                old["status"]["phase"] = "Terminating"
            elif resource.kind != "Pod" and not metadata.get("finalizers"):
                if not dry:
                    self._remove(resource, old)
                details = {**resource.details(name), "uid": metadata["uid"]}
                return {
                    "kind": "Status",
                    "apiVersion": "v1",
                    "metadata": {},
                    "status": "Success",
                    "details": details,
                }
            grace = _grace(old, options.get("gracePeriodSeconds")) if resource.kind == "Pod" else 0
            written = self._mark_deleted(resource, old, grace, dry)
            if resource.kind == "Pod" and grace == 0 and not metadata.get("finalizers") and not dry:
                self._remove(resource, written)
            return written

    def evict(self, namespace: str, name: str, eviction: Mapping[str, Any], dry: bool = False) -> Object:
        """What pkg/registry/core/pod/storage/eviction.go does."""
        pods = self.resources["pods"]
        with self.lock:
            self._check_namespace(pods, namespace, name, creating=True)
            pod = self.get(pods, namespace, name)
            options = eviction.get("deleteOptions") or {}
            for webhook in self.webhooks:
                webhook(pod, dry)
            self._check_preconditions(pods, pod, options.get("preconditions") or {})
            finished = pod["status"]["phase"] in ("Pending", "Succeeded", "Failed")
            if not finished and "deletionTimestamp" not in pod["metadata"]:
                self._take_from_budget(pod, dry)
                if not dry:
                    conditions = pod["status"].setdefault("conditions", [])
                    conditions.append(
                        {
                            "type": "DisruptionTarget",
                            "status": "True",
                            "lastProbeTime": None,
                            "lastTransitionTime": self.stamp(),
                            "reason": "EvictionByEvictionAPI",
                            "message": "Eviction API: evicting",
                        }
                    )
                    self.edit("pods", namespace, name, {"status": {"conditions": conditions}})
            # The preconditions held; the resourceVersion is another one by now.
            self.delete(pods, namespace, name, {**options, "preconditions": None}, dry)
            return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}

    def watch(self, resource: Resource, query: Mapping[str, str], wanted: Callable[[Object], bool]) -> Iterator[Object]:
        """Events after ``resourceVersion``, until ``timeoutSeconds`` of the test's clock are over."""
        since = int(query.get("resourceVersion") or self.version)
        with self.lock:
            end = self.now + datetime.timedelta(seconds=int(query.get("timeoutSeconds") or 1800))
            if since < self.compacted:
                problem = Problem(410, "Expired", f"too old resource version: {since} ({self.compacted})")
                yield {"type": "ERROR", "object": problem.body}
                return
        sent = 0
        while True:
            with self.lock:
                fresh, sent = self.events[sent:], len(self.events)
                if not fresh and self.now >= end:
                    return
                if not fresh:
                    self.lock.wait(0.2)
            for version, kind, found, item in fresh:
                if version > since and found == resource and wanted(item):
                    yield {"type": kind, "object": item}

    def selector(self, resource: Resource, namespace: str, query: Mapping[str, str]) -> Callable[[Object], bool]:
        """The test of a list or watch. Raises Problem 400 where a selector is bad."""
        try:
            tests = [
                kube_selectors.fields(query.get("fieldSelector", ""), resource.kind),
                kube_selectors.labels(query.get("labelSelector", "")),
            ]
        except kube_selectors.SelectorError as error:
            raise Problem(400, "BadRequest", str(error)) from None
        return lambda item: (
            namespace in ("", item["metadata"].get("namespace", "")) and all(test(item) for test in tests)
        )

    # Below the verbs

    def _write(self, resource: Resource, item: Object, dry: bool, kind: str = "MODIFIED") -> Object:
        if dry:
            return item
        metadata = item["metadata"]
        self.version += 1
        metadata["resourceVersion"] = str(self.version)
        self._objects[(resource.qualified, metadata.get("namespace", ""), metadata["name"])] = item
        self.events.append((self.version, kind, resource, copy.deepcopy(item)))
        self.lock.notify_all()
        return copy.deepcopy(item)

    def _remove(self, resource: Resource, item: Object) -> None:
        metadata = item["metadata"]
        del self._objects[(resource.qualified, metadata.get("namespace", ""), metadata["name"])]
        self.version += 1
        gone = copy.deepcopy(item)
        gone["metadata"]["resourceVersion"] = str(self.version)
        self.events.append((self.version, "DELETED", resource, gone))
        self.lock.notify_all()

    def _update(
        self, resource: Resource, old: Object, new: Object, dry: bool, refuse: Callable[[str], Problem]
    ) -> Object:
        metadata = new["metadata"]
        name = old["metadata"]["name"]
        if metadata.get("resourceVersion") not in (None, "", old["metadata"]["resourceVersion"]):
            message = f'Operation cannot be fulfilled on {resource.qualified} "{name}": {_TAKEN}'
            raise Problem(409, "Conflict", message, resource.details(name))
        if metadata.get("uid") not in (None, "", old["metadata"]["uid"]):
            message = (
                f'Operation cannot be fulfilled on {resource.qualified} "{name}": Precondition failed: '
                f"UID in precondition: {metadata['uid']}, UID in object meta: {old['metadata']['uid']}"
            )
            raise Problem(409, "Conflict", message, resource.details(name))
        for key in ("namespace", "uid", "resourceVersion", "creationTimestamp", "generation", "deletionTimestamp"):
            if key in old["metadata"]:
                metadata[key] = old["metadata"][key]
        for key in ("labels", "annotations", "finalizers"):
            if key in metadata and not metadata[key]:
                del metadata[key]
        validate(resource, new, refuse)
        if new == old:
            return new
        if resource.has_generation and new.get("spec") != old.get("spec"):
            metadata["generation"] += 1
        written = self._write(resource, new, dry)
        if "deletionTimestamp" in metadata and resource.kind != "Pod" and not metadata.get("finalizers") and not dry:
            self._remove(resource, written)
        return written

    def _check_namespace(self, resource: Resource, namespace: str, name: str, creating: bool = True) -> None:
        found = self.get(self.resources["namespaces"], "", namespace)
        if creating and found["status"]["phase"] == "Terminating":
            cause = {
                "reason": "NamespaceTerminating",
                "message": f"namespace {namespace} is being terminated",
                "field": "metadata.namespace",
            }
            raise Problem(
                403,
                "Forbidden",
                f'{resource.qualified} "{name}" is forbidden: unable to create new content in namespace {namespace}'
                " because it is being terminated",
                {**resource.details(name), "causes": [cause]},
            )

    def _check_preconditions(self, resource: Resource, item: Object, wanted: Mapping[str, str]) -> None:
        metadata = item["metadata"]
        about = f'Operation cannot be fulfilled on {resource.kind}{"." if resource.group else ""}{resource.group} "{metadata["name"]}"'
        for field, word, guess in (
            ("uid", "UID", "deleted and then recreated"),
            ("resourceVersion", "ResourceVersion", "modified"),
        ):
            if wanted.get(field) not in (None, metadata[field]):
                raise Problem(
                    409,
                    "Conflict",
                    f"{about}: the {word} in the precondition ({wanted[field]}) does not match the {word} in record"
                    f" ({metadata[field]}). The object might have been {guess}",
                    resource.details(metadata["name"], resource.kind),
                )

    def _mark_deleted(self, resource: Resource, item: Object, grace: int, dry: bool) -> Object:
        metadata = item["metadata"]
        if "deletionTimestamp" in metadata:
            shorter = metadata["deletionGracePeriodSeconds"] - grace
            if shorter <= 0:
                return item
            end = datetime.datetime.strptime(metadata["deletionTimestamp"], "%Y-%m-%dT%H:%M:%S%z")
            metadata["deletionTimestamp"] = (end - datetime.timedelta(seconds=shorter)).strftime("%Y-%m-%dT%H:%M:%SZ")
        else:
            metadata["deletionTimestamp"] = self.stamp(grace)
            if resource.has_generation:
                metadata["generation"] += 1
        metadata["deletionGracePeriodSeconds"] = grace
        return self._write(resource, item, dry)

    def _take_from_budget(self, pod: Object, dry: bool) -> None:
        budgets = [
            budget
            for budget in self.all("poddisruptionbudgets.policy")
            # getPodDisruptionBudgets asks about no pod without labels.
            if pod["metadata"].get("labels")
            and budget["metadata"]["namespace"] == pod["metadata"]["namespace"]
            and kube_selectors.matches(budget["spec"].get("selector") or {}, pod["metadata"].get("labels") or {})
        ]
        if len(budgets) > 1:
            message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
            raise Problem(500, None, message)
        for budget in budgets:
            name, status = budget["metadata"]["name"], budget["status"]
            healthy = status["currentHealthy"] >= status["desiredHealthy"] > 0
            if not _ready(pod) and (healthy or budget["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow"):
                return
            if status.get("observedGeneration", 0) < budget["metadata"]["generation"]:
                message = f"The disruption budget {name} is still being processed by the server."
                raise _over_budget(message, 10)
            if status["disruptionsAllowed"] == 0:
                raise _over_budget(
                    f"The disruption budget {name} needs {status['desiredHealthy']} healthy pods and has"
                    f" {status['currentHealthy']} currently"
                )
            if not dry:
                taken = {
                    "disruptionsAllowed": status["disruptionsAllowed"] - 1,
                    "disruptedPods": {pod["metadata"]["name"]: self.stamp()},
                }
                namespace = budget["metadata"]["namespace"]
                self.edit("poddisruptionbudgets.policy", namespace, name, {"status": taken})

    # Paging

    def _resumed(self, token: str) -> tuple[int, str]:
        try:
            found = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
            version, start = int(found["rv"]), str(found["start"]).rstrip("\0")
        except (ValueError, KeyError, TypeError):
            raise Problem(400, "BadRequest", "continue key is not valid: illegal base64 data") from None
        if version < self.compacted:
            message = (
                "The provided continue parameter is too old to display a consistent list result. You can start a new list "
                "without the continue parameter, or use the continue token in this response to retrieve the remainder of "
                "the results. Continuing with the provided token results in an inconsistent list - objects that were "
                "created, modified, or deleted between the time the first chunk was returned and now may show up in the list."
            )
            problem = Problem(410, "Expired", message)
            problem.body["metadata"] = {"continue": _token(self.version, start)}
            raise problem
        return version, start

    def _state_at(self, resource: Resource, version: int) -> Iterable[Object]:
        state: dict[tuple[str, str], Object] = {}
        for at, kind, found, item in self.events:
            if found != resource or at > version:
                continue
            key = item["metadata"].get("namespace", ""), item["metadata"]["name"]
            state.pop(key, None)
            if kind != "DELETED":
                state[key] = item
        return state.values()

    # Controllers

    def _write_if_changed(self, resource: str, old: Object, new: Object) -> None:
        if new != old:
            self._write(self.resources[resource], new, dry=False)

    def _tainted(self, node: Object) -> Object:
        """The node lifecycle controller: taints by conditions and by ``spec.unschedulable``."""
        new = copy.deepcopy(node)
        states = {(item["type"], item["status"]) for item in node["status"].get("conditions", [])}
        wanted = [key for state, key in _TAINTS.items() if state in states]
        if node["spec"].get("unschedulable"):
            wanted.append("node.kubernetes.io/unschedulable")
        ours = {*_TAINTS.values(), "node.kubernetes.io/unschedulable"}

        def mine(taint: Object) -> bool:
            return taint["key"] in ours and taint["effect"] == "NoSchedule"

        kept = [taint for taint in node["spec"].get("taints", []) if not mine(taint) or taint["key"] in wanted]
        have = {taint["key"] for taint in kept if mine(taint)}
        kept += [{"key": key, "effect": "NoSchedule", "timeAdded": self.stamp()} for key in wanted if key not in have]
        new["spec"]["taints"] = kept
        if not kept:
            del new["spec"]["taints"]
        return new

    def _counted(self, daemon_set: Object) -> Object:
        """The DaemonSet controller's count, as if its pods were on each node."""
        new = copy.deepcopy(daemon_set)
        nodes = len(self.all("nodes"))
        uid = daemon_set["metadata"]["uid"]
        pods = [pod for pod in self.all("pods") if uid in [owner["uid"] for owner in _owners(pod)]]
        ready = sum(map(_ready, pods))
        counts = {
            "currentNumberScheduled": nodes,
            "numberMisscheduled": 0,
            "desiredNumberScheduled": nodes,
            "numberReady": ready,
            "observedGeneration": daemon_set["metadata"]["generation"],
            "updatedNumberScheduled": nodes,
        }
        if ready:
            counts["numberAvailable"] = ready
        if nodes > ready:
            counts["numberUnavailable"] = nodes - ready
        new["status"] = counts
        return new

    def _budgeted(self, budget: Object) -> Object:
        """The disruption controller. A percentage is of the pods that there are, not of their owners' scale."""
        new = copy.deepcopy(budget)
        metadata, spec, status = budget["metadata"], budget["spec"], budget["status"]
        pods = [
            pod
            for pod in self.all("pods")
            if pod["metadata"]["namespace"] == metadata["namespace"]
            and pod["status"]["phase"] not in ("Succeeded", "Failed")
            and kube_selectors.matches(spec.get("selector") or {}, pod["metadata"].get("labels") or {})
        ]
        staying = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
        disrupted = {
            name: at
            for name, at in (status.get("disruptedPods") or {}).items()
            if any(pod["metadata"]["name"] == name for pod in staying)
        }
        current = sum(1 for pod in staying if _ready(pod) and pod["metadata"]["name"] not in disrupted)
        if "maxUnavailable" in spec:
            desired = max(0, len(pods) - _scaled(spec["maxUnavailable"], len(pods)))
        else:
            desired = _scaled(spec.get("minAvailable", 1), len(pods))
        allowed = max(0, current - desired) if pods else 0
        state = "True" if allowed else "False"
        before = next(iter(status.get("conditions", [])), {"status": None})
        new["status"] = {
            "observedGeneration": metadata["generation"],
            "disruptionsAllowed": allowed,
            "currentHealthy": current,
            "desiredHealthy": desired,
            "expectedPods": len(pods),
            "conditions": [
                {
                    "type": "DisruptionAllowed",
                    "status": state,
                    "observedGeneration": metadata["generation"],
                    "lastTransitionTime": before["lastTransitionTime"] if before["status"] == state else self.stamp(),
                    "reason": "SufficientPods" if allowed else "InsufficientPods",
                    "message": "",
                }
            ],
        }
        if disrupted:
            new["status"]["disruptedPods"] = disrupted
        return new


def _unreadable(text: str) -> Problem:
    return Problem(400, "BadRequest", text)


def _token(version: int, start: str) -> str:
    text = json.dumps({"v": "meta.k8s.io/v1", "rv": version, "start": f"{start}\0"}, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _grace(pod: Object, asked: int | None) -> int:
    if not pod["spec"].get("nodeName") or pod["status"]["phase"] in ("Succeeded", "Failed"):
        return 0
    return int(pod["spec"]["terminationGracePeriodSeconds"] if asked is None else asked)


def _ready(pod: Object) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)


def _owners(pod: Object) -> list[Object]:
    owners: list[Object] = pod["metadata"].get("ownerReferences", [])
    return owners


def _scaled(value: int | str, total: int) -> int:
    return math.ceil(int(value.rstrip("%")) * total / 100) if isinstance(value, str) else value


def _over_budget(cause: str, retry_after: int | None = None) -> Problem:
    details = {"causes": [{"reason": "DisruptionBudget", "message": cause}]}
    return Problem(429, "TooManyRequests", _BUDGET, details, retry_after)
