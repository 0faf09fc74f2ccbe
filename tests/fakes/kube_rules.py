# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What kube-apiserver knows of each kind: its resources, the defaults that it fills in, and what it refuses."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["RESOURCES", "Object", "Problem", "Resource", "complete", "custom_resource", "invalid", "validate"]

Object = dict[str, Any]


@dataclass(frozen=True)
class Resource:
    """One resource of the API. ``unconditional``: a PUT without resourceVersion replaces whatever is there.

    ``custom``: it is made by a CustomResourceDefinition (``custom_resource``).
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    unconditional: bool = True
    has_generation: bool = False
    short: str = ""
    custom: bool = False

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """The name in messages: ``nodes``, ``daemonsets.apps``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def details(self, name: str = "", kind: str = "") -> Object:
        """``details`` of a Status about this resource, or about the object of that name."""
        found = {"name": name, "group": self.group, "kind": kind or self.plural}
        return {key: value for key, value in found.items() if value}


def custom_resource(group: str, version: str, plural: str, kind: str, namespaced: bool = True) -> Resource:
    """What a CustomResourceDefinition makes: no unconditional update, a generation, no strategic merge patch."""
    return Resource(group, version, plural, kind, namespaced, unconditional=False, has_generation=True, custom=True)


RESOURCES = (
    Resource("", "v1", "namespaces", "Namespace", namespaced=False),
    Resource("", "v1", "nodes", "Node", namespaced=False),
    Resource("", "v1", "pods", "Pod", has_generation=True),
    Resource("", "v1", "persistentvolumes", "PersistentVolume", namespaced=False),
    Resource("", "v1", "events", "Event"),
    Resource("apps", "v1", "daemonsets", "DaemonSet", has_generation=True),
    Resource("coordination.k8s.io", "v1", "leases", "Lease", unconditional=False),
    Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", unconditional=False, has_generation=True),
)


class Problem(Exception):
    """An answer that is a Status of failure; ``retry_after`` in seconds becomes the header."""

    def __init__(
        self,
        code: int,
        reason: str | None,
        message: str,
        details: Object | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after
        self.body: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
        self.body["message"] = message
        if reason:
            self.body["reason"] = reason
        if details is not None:
            self.body["details"] = details
        if retry_after:
            self.body.setdefault("details", {})["retryAfterSeconds"] = retry_after
        self.body["code"] = code


def invalid(subject: str, details: Object, field: str, what: str, times: int = 1) -> Problem:
    """422 of ``subject`` (``Node "a"``), whose ``field`` is wrong in the way that ``what`` says."""
    causes = [{"reason": "FieldValueInvalid", "message": what, "field": field}] * times
    return Problem(422, "Invalid", f"{subject} is invalid: {field}: {what}", {**details, "causes": causes})


_NAME_PART = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_BAD_NAME = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric"
    f" character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{_NAME_PART}')"
)
# Go's structs and types of the fields that somebody may get wrong.
_TYPES: dict[str, dict[str, tuple[str, type | tuple[type, ...], str]]] = {
    "Node": {"spec.unschedulable": ("NodeSpec", bool, "bool"), "spec.podCIDR": ("NodeSpec", str, "string")},
    "Pod": {"spec.nodeName": ("PodSpec", str, "string")},
    "Lease": {
        "spec.holderIdentity": ("LeaseSpec", str, "string"),
        "spec.leaseDurationSeconds": ("LeaseSpec", int, "int32"),
    },
}
_GO_NAMES: dict[type, str] = {
    bool: "bool",
    str: "string",
    int: "number",
    float: "number",
    list: "array",
    dict: "object",
}
# Of an Event with an eventTime: the field as errors name it, its key in core/v1, and how many bytes it may have.
_OF_EVENTS = (
    ("reportingController", "reportingComponent", 253),
    ("reportingInstance", "reportingInstance", 128),
    ("action", "action", 128),
    ("reason", "reason", 128),
    ("message", "message", 1024),
)
_MICRO_TIMES = {"Lease": ("acquireTime", "renewTime")}
_SECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
_MICROSECONDS = re.compile(_SECONDS.pattern + r"\.\d{6}(Z|[+-]\d\d:\d\d)")
# How often the registry of a kind validates the metadata again, each time with a cause of its own.
_LABEL_CAUSES = {"Node": 4}


def validate(resource: Resource, item: Object, refuse: Callable[[str], Problem]) -> None:
    """Raise the Problem of what is wrong with an object; ``refuse`` makes that of a wrong type of its text."""
    for path, (struct, wanted, name) in _TYPES.get(resource.kind, {}).items():
        value = _at(item, path)
        if value is not None and (not isinstance(value, wanted) or (wanted is int and isinstance(value, bool))):
            go = _GO_NAMES[type(value)]
            raise refuse(f"json: cannot unmarshal {go} into Go struct field {struct}.{path} of type {name}")
    for field in _MICRO_TIMES.get(resource.kind, ()):
        _micro_time(resource, (item.get("spec") or {}).get(field))
    if resource.kind == "Event":
        _event(resource, item)
    _labels(resource, item["metadata"])


def _event(resource: Resource, event: Object) -> None:
    """legacyValidateEvent of pkg/apis/core/validation/events.go, which is all that core/v1 has."""
    metadata, about = event["metadata"], event.get("involvedObject") or {}
    modern = event.get("eventTime") is not None
    namespace = about.get("namespace", "")
    # What is in no namespace has its events in these.
    allowed = (namespace,) if namespace else ("default", "kube-system") if modern else ("default",)
    subject, details = f'Event "{metadata["name"]}"', resource.details(metadata["name"], resource.kind)
    if metadata["namespace"] not in allowed and not (namespace and modern):
        what = f'Invalid value: "{namespace}": does not match event.namespace'
        raise invalid(subject, details, "involvedObject.namespace", what)
    for field, key, longest in _OF_EVENTS if modern else ():
        value = event.get(key) or ""
        if not value and field != "message":
            causes = [{"reason": "FieldValueRequired", "message": "Required value", "field": field}]
            raise Problem(
                422, "Invalid", f"{subject} is invalid: {field}: Required value", {**details, "causes": causes}
            )
        if len(value.encode()) > longest:
            raise invalid(subject, details, field, f'Invalid value: "": can have at most {longest} characters')


def _at(item: Any, path: str) -> Any:
    for step in path.split("."):
        item = item.get(step) if isinstance(item, dict) else None
    return item


def _micro_time(resource: Resource, value: str | None) -> None:
    if value is None or _MICROSECONDS.fullmatch(value):
        return
    found = _SECONDS.match(value)
    rest = value[found.end() :] if found else value
    layout = "2006-01-02T15:04:05.000000Z07:00"
    raise Problem(
        400,
        "BadRequest",
        f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: parsing time "{value}" as '
        f'"{layout}": cannot parse "{rest}" as "{".000000" if found else "2006"}"',
    )


def _labels(resource: Resource, metadata: Object) -> None:
    for key in metadata.get("labels") or {}:
        if not re.fullmatch(_NAME_PART, key.rpartition("/")[2]):
            raise invalid(
                f'{resource.kind} "{metadata["name"]}"',
                resource.details(metadata["name"], resource.kind),
                "metadata.labels",
                f'Invalid value: "{key}": {_BAD_NAME}',
                _LABEL_CAUSES.get(resource.kind, 1),
            )


def complete(resource: Resource, item: Object) -> None:
    """Fill in what a new object of this kind leaves out."""
    defaults: dict[str, Callable[[Object], None]] = {
        "Node": _node,
        "Pod": _pod,
        "DaemonSet": _daemon_set,
        "Event": _event_fields,
        "Namespace": lambda namespace: namespace.setdefault("status", {}).setdefault("phase", "Active"),
        "PodDisruptionBudget": lambda budget: _fill(budget.setdefault("status", {}), _NO_DISRUPTIONS),
    }
    if resource.kind in defaults:
        defaults[resource.kind](item)


_NODE_INFO = (
    "machineID systemUUID bootID kernelVersion osImage containerRuntimeVersion kubeletVersion kubeProxyVersion"
    " operatingSystem architecture"
)
_NO_DISRUPTIONS = {"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0}


def _fill(target: Object, defaults: Mapping[str, Any]) -> None:
    for key, value in defaults.items():
        target.setdefault(key, value)


def _node(node: Object) -> None:
    # The admission plugin TaintNodesByCondition: nothing is scheduled before a kubelet says that it is ready.
    node.setdefault("spec", {}).setdefault("taints", []).append(
        {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
    )
    status = node.setdefault("status", {})
    _fill(status, {"daemonEndpoints": {"kubeletEndpoint": {"Port": 0}}, "nodeInfo": {}})
    _fill(status["nodeInfo"], dict.fromkeys(_NODE_INFO.split(), ""))


def _event_fields(event: Object) -> None:
    # What Go writes of fields that are not set (core/v1 Event has them without omitempty, or as structs).
    _fill(event, {"source": {}, "firstTimestamp": None, "lastTimestamp": None, "eventTime": None})
    _fill(event, {"reportingComponent": "", "reportingInstance": ""})


def _pod_spec(spec: Object) -> None:
    for container in spec.get("containers", []):
        tag = container["image"].rpartition("/")[2].partition(":")[2]
        _fill(
            container,
            {
                "resources": {},
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
                "imagePullPolicy": "Always" if tag in ("", "latest") else "IfNotPresent",
            },
        )
    _fill(
        spec,
        {
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
            "dnsPolicy": "ClusterFirst",
            "securityContext": {},
            "schedulerName": "default-scheduler",
        },
    )


def _pod(pod: Object) -> None:
    spec = pod.setdefault("spec", {})
    _pod_spec(spec)
    _fill(spec, {"priority": 0, "enableServiceLinks": True, "preemptionPolicy": "PreemptLowerPriority"})
    _fill(pod.setdefault("status", {}), {"phase": "Pending", "qosClass": "BestEffort"})


def _daemon_set(item: Object) -> None:
    item["metadata"].setdefault("annotations", {}).setdefault("deprecated.daemonset.template.generation", "1")
    _pod_spec(item["spec"]["template"].setdefault("spec", {}))
    _fill(
        item["spec"],
        {
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
            "revisionHistoryLimit": 10,
        },
    )
    _fill(
        item.setdefault("status", {}),
        dict.fromkeys(("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady"), 0),
    )
