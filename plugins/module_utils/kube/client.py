# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Kubernetes API server: plain dicts in and out, repeated where that is safe, and errors that say what to do."""

from __future__ import annotations

import builtins
import contextlib
import copy
import threading
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable, Protocol

from ansible.module_utils.common.parameters import env_fallback

from ansible_collections.bulwark.node.plugins.module_utils.errors import OptionError
from ansible_collections.bulwark.node.plugins.module_utils.kube.connection import TransportError, connection
from ansible_collections.bulwark.node.plugins.module_utils.kube.errors import (
    Answer,
    Asked,
    Conflict,
    Expired,
    Forbidden,
    KubeError,
    NotFound,
    Throttled,
    Unreachable,
    error_of,
)
from ansible_collections.bulwark.node.plugins.module_utils.kube.objects import mappings, text
from ansible_collections.bulwark.node.plugins.module_utils.rest import Clock

__all__ = [
    "ARGUMENT_SPEC",
    "BUDGETS",
    "DAEMON_SETS",
    "EVENTS",
    "LEASES",
    "NAMESPACES",
    "NODES",
    "PODS",
    "VOLUMES",
    "Client",
    "Clock",
    "Conflict",
    "Expired",
    "Forbidden",
    "KubeError",
    "NotFound",
    "Object",
    "Resource",
    "Sender",
    "Throttled",
    "Unreachable",
    "connect",
    "merge_patch",
]

Object = dict[str, Any]


def _from_environment(*names: str) -> Any:
    return env_fallback, [f"K8S_AUTH_{name}" for name in names]


# Names, aliases and environment as in kubernetes.core, so that its users' settings serve here too.
ARGUMENT_SPEC: dict[str, Any] = {
    "kubeconfig": {"type": "raw", "fallback": _from_environment("KUBECONFIG")},
    "context": {"type": "str", "fallback": _from_environment("CONTEXT")},
    "host": {"type": "str", "fallback": _from_environment("HOST")},
    "api_key": {"type": "str", "no_log": True, "fallback": _from_environment("API_KEY")},
    "ca_cert": {"type": "path", "aliases": ["ssl_ca_cert"], "fallback": _from_environment("CA_CERT", "SSL_CA_CERT")},
    "client_cert": {
        "type": "path",
        "aliases": ["cert_file"],
        "fallback": _from_environment("CLIENT_CERT", "CERT_FILE"),
    },
    "client_key": {
        "type": "path",
        "aliases": ["key_file"],
        "no_log": False,  # where it lies is no secret
        "fallback": _from_environment("CLIENT_KEY", "KEY_FILE"),
    },
    "validate_certs": {
        "type": "bool",
        "aliases": ["verify_ssl"],
        "fallback": _from_environment("VALIDATE_CERTS", "VERIFY_SSL"),
    },
    "proxy": {"type": "str", "fallback": _from_environment("PROXY")},
    "no_proxy": {"type": "str", "fallback": _from_environment("NO_PROXY")},
    "proxy_headers": {
        "type": "dict",
        "apply_defaults": True,
        "options": {
            "proxy_basic_auth": {
                "type": "str",
                "no_log": True,
                "fallback": _from_environment("PROXY_HEADERS_PROXY_BASIC_AUTH"),
            },
            "basic_auth": {"type": "str", "no_log": True, "fallback": _from_environment("PROXY_HEADERS_BASIC_AUTH")},
            "user_agent": {"type": "str", "fallback": _from_environment("PROXY_HEADERS_USER_AGENT")},
        },
    },
    "impersonate_user": {"type": "str", "fallback": _from_environment("IMPERSONATE_USER")},
    "impersonate_groups": {"type": "list", "elements": "str", "fallback": _from_environment("IMPERSONATE_GROUPS")},
}

_JSON = "application/json"
_PATCHES = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
}
_DEADLINE = 60.0
_REQUEST_SECONDS = 15.0
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 10.0
# Who was too late may try at once: the server is well.
_CONFLICT_PAUSE = 0.05
# The server, or what stands before it, did not get to an answer.
_PASSING = (500, 502, 503, 504)
_PAGE = 500


@dataclass(frozen=True)
class Resource:
    """A resource of the API: ``Resource("apps", "v1", "daemonsets")``; the core group is empty."""

    group: str
    version: str
    plural: str

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The path of a collection, an object or its subresource. Raises OptionError where a name cannot be one."""
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if namespace is not None:
            parts += ["namespaces", _segment("namespace", namespace)]
        # Without a plural it is the group and version itself.
        parts += [self.plural] if self.plural else []
        if name is not None:
            parts.append(_segment("name", name))
        return "/" + "/".join([*parts, subresource] if subresource else parts)


NAMESPACES = Resource("", "v1", "namespaces")
NODES = Resource("", "v1", "nodes")
PODS = Resource("", "v1", "pods")
DAEMON_SETS = Resource("apps", "v1", "daemonsets")
EVENTS = Resource("", "v1", "events")
LEASES = Resource("coordination.k8s.io", "v1", "leases")
VOLUMES = Resource("", "v1", "persistentvolumes")
BUDGETS = Resource("policy", "v1", "poddisruptionbudgets")


class Sender(Protocol):
    """What ``connection.Connection`` is, and a test's stand-in."""

    server: str

    def send(self, method: str, path: str, body: Any, content_type: str, timeout: float) -> Answer:
        """Send once. Raises TransportError."""


@dataclass
class Client:
    """One server. Each method raises KubeError (or the class of it that fits) where ``deadline`` seconds were not enough.

    The last request has at least a second; an answer that comes drop by drop is read for as long as it drips.

    A request is repeated with growing pauses while nothing tells that the server carried it out: it was busy (429,
    with its ``Retry-After``), or never reached. After 5xx and lost connections, which tell nothing, it is repeated
    only where it changes nothing or carries a precondition. An eviction's 429 is its answer, and is raised at once.
    """

    sender: Sender
    deadline: float = _DEADLINE
    clock: Clock = field(default_factory=Clock)
    # As whom, where the server does not say; None where nobody knows.
    user: str | None = None
    _bounds: threading.local = field(default_factory=threading.local, init=False, repr=False)
    # The header Date of the last answer, in seconds since the epoch, and when it came.
    _dated: tuple[float, float] | None = field(default=None, init=False, repr=False)

    def now(self) -> float:
        """Seconds since the epoch by the server's clock, as its last answer had it, in whole seconds; by ours where none had.

        Whoever asks the same server has the same clock, however wrong those of the machines are.
        """
        if self._dated is None:
            return self.clock.wall()
        date, came = self._dated
        return date + self.clock.monotonic() - came

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Whatever this thread asks in the block has one end, in ``seconds``, or that of a block around it."""
        outer: float | None = getattr(self._bounds, "end", None)
        end = self.clock.monotonic() + seconds
        self._bounds.end = end if outer is None else min(outer, end)
        try:
            yield
        finally:
            self._bounds.end = outer

    def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        """One object. Raises NotFound."""
        found = self._send("GET", "get", resource, namespace, name)
        if text(found, "metadata", "name") != name:
            asked = Asked("get", resource.group, resource.plural, namespace, name)
            raise KubeError(
                asked, f"{self.sender.server} answered another object: check host and proxy", user=self.user
            )
        return found

    def served(self, group: str = "", version: str = "v1") -> builtins.list[Object]:
        """What the server serves of a group (APIResource): {name, kind, namespaced, verbs, group?, version?}."""
        found = self._send("GET", "get", Resource(group, version, ""), None)
        return [item for item in found.get("resources") or () if isinstance(item, dict)]

    def find(self, resource: Resource, name: str, namespace: str | None = None) -> Object | None:
        """One object; None where the server itself says that there is none. A 404 that is a proxy's page is raised."""
        try:
            return self.get(resource, name, namespace)
        except NotFound as error:
            if error.reason != "NotFound":
                raise
            return None

    def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        page: int = _PAGE,
    ) -> Iterator[Object]:
        """Each object once, fetched ``page`` at a time; without ``namespace`` those of all.

        Where the server forgets the state of the first page meanwhile, the list is begun anew, unpaged, and what was
        given already is left out: objects that came or went in between may then be there or not.
        """
        query = {"labelSelector": label_selector, "fieldSelector": field_selector, "limit": str(page)}
        seen: set[str] = set()
        while True:
            try:
                found = self._send("GET", "list", resource, namespace, query=query)
            except Expired:
                if "continue" not in query:
                    raise
                query = {key: value for key, value in query.items() if key not in ("limit", "continue")}
                continue
            for item in self._each(found, "items", Asked("list", resource.group, resource.plural, namespace)):
                uid = text(item, "metadata", "uid")
                if uid not in seen:
                    yield item
                # What is computed for each request (metrics) has none.
                seen.update({uid} - {""})
            token = text(found, "metadata", "continue")
            if not token:
                return
            query = {**query, "continue": token}

    def groups(self) -> dict[str, Sequence[str]]:
        """The named API groups that the server has, each with its versions, first the one that it prefers.

        A resource may have another one than that: OpenShift prefers ``machine.openshift.io/v1``, which has no Machines.
        All who are authenticated may ask (the ClusterRole system:discovery).
        """
        asked = Asked("get", "", "API groups", server=self.sender.server)
        groups = self._each(self._answer(asked, "GET", "/apis", None, _JSON, True), "groups", asked)
        return {text(group, "name"): _versions(group) for group in groups}

    def create(
        self,
        resource: Resource,
        item: Mapping[str, Any],
        namespace: str | None = None,
        name: str | None = None,
        subresource: str | None = None,
        dry_run: bool = False,
    ) -> Object:
        """Create an object, or with ``name`` and ``subresource`` an eviction and its like. Raises Conflict, Throttled."""
        return self._send("POST", "create", resource, namespace, name, subresource, item, dry_run=dry_run)

    def replace(
        self, resource: Resource, item: Mapping[str, Any], namespace: str | None = None, dry_run: bool = False
    ) -> Object:
        """Put an object in place of the one of its name; its resourceVersion is the precondition. Raises Conflict.

        After a lost answer the Conflict may be with our own write: ``update`` looks again, and so should who calls this.
        """
        name = item["metadata"]["name"]
        return self._send("PUT", "update", resource, namespace, name, None, item, dry_run=dry_run)

    def patch(
        self,
        resource: Resource,
        name: str,
        patch: Any,
        namespace: str | None = None,
        kind: str = "merge",
        subresource: str | None = None,
        dry_run: bool = False,
    ) -> Object:
        """Patch an object; ``kind`` is merge, strategic or json. ``metadata.resourceVersion`` in it is a precondition."""
        return self._send(
            "PATCH",
            "patch",
            resource,
            namespace,
            name,
            subresource,
            patch,
            dry_run=dry_run,
            content_type=_PATCHES[kind],
        )

    def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        uid: str | None = None,
        grace: int | None = None,
        dry_run: bool = False,
    ) -> Object:
        """Delete an object, where given only the one of this ``uid``; ``grace`` in seconds. Raises NotFound, Conflict."""
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        return self._send("DELETE", "delete", resource, namespace, name, None, options, dry_run=dry_run)

    def update(
        self,
        get: Callable[[], Object | None],
        mutate: Callable[[Object | None], Object | None],
        put: Callable[[Object], Object],
    ) -> Object | None:
        """Compare and swap: what ``get`` gave is changed by ``mutate`` and written by ``put``, anew after each Conflict.

        ``get`` may give None for what is not there yet. ``mutate`` gets a copy, and gives None or the same where
        nothing is to do: it sees its own write where the answer to that was lost, so it must know it again. ``put``
        must carry the version that it was given as its precondition. The result is what is there then.
        """
        with self.within(self.deadline):
            attempt = 0
            while True:
                before = get()
                wanted = mutate(copy.deepcopy(before))
                if wanted is None or wanted == before:
                    return before
                try:
                    return put(wanted)
                except Conflict as conflict:
                    attempt += 1
                    if not self._pause(attempt, None, _CONFLICT_PAUSE):
                        conflict.args = (f"{conflict}. It was changed by others {attempt} times meanwhile",)
                        raise

    def change(
        self,
        resource: Resource,
        name: str,
        mutate: Callable[[Object], Object | None],
        namespace: str | None = None,
    ) -> Object:
        """``update`` of one object that is there, by the smallest merge patch: the right to ``patch`` it suffices."""
        last: Object = {}

        def get() -> Object:
            last.clear()
            last.update(self.get(resource, name, namespace))
            return last

        def put(wanted: Object) -> Object:
            patch = merge_patch(last, wanted)
            patch.setdefault("metadata", {})["resourceVersion"] = last["metadata"]["resourceVersion"]
            return self.patch(resource, name, patch, namespace)

        # There is an object, or get has raised NotFound.
        return self.update(get, lambda item: mutate(item or {}), put) or last

    def whoami(self) -> str | None:
        """The user that the server takes us for; where it cannot tell (before 1.28), what we were told, or None."""
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        path = Resource("authentication.k8s.io", "v1", "selfsubjectreviews").path()
        try:
            # Once: it only adorns an error.
            with self.within(_REQUEST_SECONDS):
                answer = self.sender.send("POST", path, review, _JSON, self._request_seconds())
        except TransportError:
            return self.user
        with contextlib.suppress(KeyError, TypeError):
            self.user = answer.json()["status"]["userInfo"]["username"]
        return self.user

    def _send(
        self,
        method: str,
        verb: str,
        resource: Resource,
        namespace: str | None,
        name: str | None = None,
        subresource: str | None = None,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        dry_run: bool = False,
        content_type: str = _JSON,
    ) -> Object:
        """Ask something of a resource, an object or its subresource."""
        path = resource.path(namespace, name, subresource)
        terms = {key: value for key, value in {**(query or {}), "dryRun": "All" if dry_run else ""}.items() if value}
        if terms:
            path += "?" + urllib.parse.urlencode(terms)
        full = f"{resource.plural}/{subresource}" if subresource else resource.plural or path
        asked = Asked(verb, resource.group, full, namespace, name, self.sender.server)
        return self._answer(
            asked, method, path, body, content_type, method == "GET" or dry_run or _has_precondition(body)
        )

    def _answer(self, asked: Asked, method: str, path: str, body: Any, content_type: str, repeatable: bool) -> Object:
        """Send a request until it is answered, or may not be repeated, or its time is over."""
        with self.within(self.deadline):
            attempt, maybe_done = 0, False
            while True:
                attempt += 1
                try:
                    answer = self.sender.send(method, path, body, content_type, self._request_seconds())
                except TransportError as lost:
                    maybe_done = maybe_done or lost.sent
                    again = not lost.hopeless and (repeatable or not lost.sent)
                    if not again or not self._pause(attempt, None):
                        raise self._unreachable(asked, lost, attempt, maybe_done) from lost
                    continue
                if answer.date is not None:
                    self._dated = answer.date, self.clock.monotonic()
                found = answer.json()
                # A proxy's own page may come with 200, and so may what another service says.
                if answer.status < 300 and found.get("kind"):
                    return found
                # What an eviction is refused with is the budget's answer, or a webhook's.
                passing = answer.status == 429 or (answer.status in _PASSING and repeatable)
                if asked.resource.endswith("/eviction") or not passing or not self._pause(attempt, answer.retry_after):
                    raise error_of(asked, answer, self._user_for(answer))

    def _each(self, found: Object, key: str, asked: Asked) -> Sequence[Object]:
        """The objects of a list. What is no list must not be taken for an empty one; Go writes that as null."""
        items = found.get(key, False)
        if items is None:
            return []
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise KubeError(asked, f"{self.sender.server} answered no list: check host and proxy", user=self.user)
        return items

    def _request_seconds(self) -> float:
        """How long one request may take: what is left, but enough for an answer that is under way."""
        left: float = self._bounds.end - self.clock.monotonic()
        return max(1.0, min(_REQUEST_SECONDS, left))

    def _pause(self, attempt: int, asked_for: float | None, first: float = _FIRST_PAUSE) -> bool:
        """Wait before the next attempt; False, without waiting, where that would be after the end."""
        backoff = min(_LONGEST_PAUSE, first * 2.0 ** (attempt - 1))
        # Many who failed together shall not come back together.
        pause = backoff * (0.5 + self.clock.chance() / 2)
        if asked_for is not None:
            pause = asked_for + pause / 10
        if self.clock.monotonic() + pause >= self._bounds.end:
            return False
        self.clock.sleep(pause)
        return True

    def _user_for(self, answer: Answer) -> str | None:
        """Who to name in an error. The server is asked where that is what matters and the answer does not say it."""
        if answer.status == 403 and self.user is None and 'User "' not in str(answer.json().get("message")):
            return self.whoami()
        return self.user

    def _unreachable(self, asked: Asked, lost: TransportError, attempts: int, maybe_done: bool) -> Unreachable:
        tries = f" ({attempts} attempts)" if attempts > 1 else ""
        remedy = "Check host, kubeconfig and proxy, and that the server runs"
        if lost.hopeless:
            remedy = "Check host, ca_cert and validate_certs, and the credentials"
        elif maybe_done and asked.verb not in ("get", "list"):
            remedy = "It may have been carried out: look before you repeat it"
        error = Unreachable(asked, f"no answer from {asked.server}: {lost}{tries}", user=self.user, remedy=remedy)
        error.sent = maybe_done
        return error


def connect(params: Mapping[str, Any], deadline: float = _DEADLINE) -> Client:
    """The client of a module's parameters (``ARGUMENT_SPEC``); nothing is sent yet. Raises BulwarkError, OptionError."""
    return Client(connection(params), deadline, user=params.get("impersonate_user"))


def merge_patch(before: Mapping[str, Any], after: Mapping[str, Any]) -> Object:
    """The smallest RFC 7386 patch from one object to another; {} where they are alike."""
    patch: Object = {key: None for key in before if key not in after}
    for key, value in after.items():
        if key in before and before[key] == value:
            continue
        if isinstance(value, Mapping) and isinstance(before.get(key), Mapping):
            patch[key] = merge_patch(before[key], value)
        else:
            patch[key] = copy.deepcopy(value)
    return patch


def _versions(group: Mapping[str, Any]) -> Sequence[str]:
    """The versions of an APIGroup, each once."""
    named = (
        text(group, "preferredVersion", "version"),
        *(text(each, "version") for each in mappings(group, "versions")),
    )
    return tuple(dict.fromkeys(filter(None, named)))


def _has_precondition(body: Any) -> bool:
    """Whether a body is refused where somebody changed the object since (PUT, PATCH, DeleteOptions, Eviction)."""
    if not isinstance(body, Mapping):
        return False
    if (body.get("metadata") or {}).get("resourceVersion"):
        return True
    options = body.get("deleteOptions") or body
    return bool(options.get("preconditions"))


def _segment(what: str, text: str) -> str:
    """One segment of a path, as apimachinery's IsValidPathSegmentName has it."""
    if not text or text in (".", "..") or "/" in text or "%" in text:
        raise OptionError(what, text, "the name of an object: no '/', no '%', neither '.' nor '..'")
    return urllib.parse.quote(text, safe="")
