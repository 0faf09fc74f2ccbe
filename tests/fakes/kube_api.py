# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A kube-apiserver on loopback, to be believed as far as its answers agree with recordings of a real one.

`with FakeKube() as kube:` serves `kube.url` until the block ends, but for `with kube.away():`. `kube.store` is the cluster, its clock and its
controllers; `kube.tokens` and `kube.rules` say who is who and may do what; `kube.fault(…)` breaks the next
requests; `kube.requests` is what came in. tests/unit/fakes replays the recordings.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import re
import socket
import ssl
import threading
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.bulwark.node.tests.fakes import kube_patches
from ansible_collections.bulwark.node.tests.fakes.kube_rules import Object, Problem, Resource
from ansible_collections.bulwark.node.tests.fakes.kube_store import Store

__all__ = ["FakeKube", "Fault", "Request", "User"]

_PATCHES = {
    "application/merge-patch+json": kube_patches.merge,
    "application/strategic-merge-patch+json": kube_patches.strategic,
    "application/json-patch+json": kube_patches.json_patch,
}
_PATH = re.compile(
    r"/(?:api/(?P<core>v1)|apis/(?P<group>[^/]+)/(?P<version>[^/]+))"
    r"(?:/namespaces/(?P<namespace>[^/]+)(?=/[^/]+(?:/|$)))?"
    r"/(?P<plural>[^/]+)(?:/(?P<name>[^/]+))?(?:/(?P<subresource>[^/]+))?"
)
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
# What kube-apiserver's own roles allow: system:basic-user, system:discovery, system:public-info-viewer.
_REVIEWS = ("selfsubjectaccessreviews", "selfsubjectreviews")
_VERSION = {
    "major": "1",
    "minor": "36",
    "emulationMajor": "1",
    "emulationMinor": "36",
    "minCompatibilityMajor": "1",
    "minCompatibilityMinor": "35",
    "gitVersion": "v0.0.0-master+$Format:%H$",
    "gitCommit": "$Format:%H$",
    "gitTreeState": "",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "go1.26.10",
    "compiler": "gc",
    "platform": "linux/amd64",
}
_CRUD = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
_STATUS = ["get", "patch", "update"]


@dataclass(frozen=True)
class User:
    name: str
    groups: tuple[str, ...] = ("system:authenticated",)


_ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))
_ADMIN = User("kubernetes-admin", ("system:masters", "system:authenticated"))


@dataclass
class Fault:
    """What becomes of the next ``times`` requests of this method whose path contains ``path``, or is it where ``exact``.

    ``status`` is answered instead of doing anything (``text`` as it is, or a Status); ``lost`` closes the connection
    ``before`` or ``after`` the request is carried out.
    """

    method: str = ""
    path: str = ""
    exact: bool = False
    times: int = 1
    status: int | None = None
    reason: str = "InternalError"
    text: str | None = None
    retry_after: str | None = None
    lost: str | None = None


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any
    user: str = ""


@dataclass(frozen=True)
class _Place:
    """What a path names. A namespace itself is an object without one."""

    resource: Resource
    namespace: str
    name: str
    subresource: str


@dataclass
class FakeKube:
    """``tls``: the server's certificate and key in one file; ``client_ca``: what signs clients' certificates.

    ``address``: one of this machine, for clients that are not on it.
    """

    tls: str | None = None
    client_ca: str | None = None
    address: str = "127.0.0.1"
    store: Store = field(default_factory=Store)
    tokens: dict[str, User] = field(default_factory=lambda: {"cluster-admin": _ADMIN})
    # By user's name: RBAC rules {verbs, apiGroups, resources, resourceNames?, namespace?}.
    rules: dict[str, list[Object]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    _server: _Server | None = None
    _port: int = 0

    def __enter__(self) -> FakeKube:
        self._open()
        return self

    def __exit__(self, *exc: object) -> None:
        self._close()

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Refuse connections for a while; those that are open end at their next request."""
        self._close()
        try:
            yield
        finally:
            self._open()

    def serves(self, server: object) -> bool:
        """Whether requests to this server are answered (still)."""
        return server is self._server

    def _open(self) -> None:
        owner = self

        class Handler(_Handler):
            kube = owner

        self._server = _Server((self.address, self._port), Handler)
        self._port = self._server.server_address[1]
        if self.tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.tls)
            if self.client_ca:
                context.load_verify_locations(self.client_ca)
                context.verify_mode = ssl.CERT_OPTIONAL
            self._server.context = context
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def _close(self) -> None:
        server, self._server = self._server, None
        assert server is not None
        server.shutdown()
        server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http{'s' if self.tls else ''}://{self.address}:{self._port}"

    def fault(self, **fault: Any) -> None:
        """Add a Fault; faults are tried in the order of their coming."""
        self.faults.append(Fault(**fault))

    def take_fault(self, method: str, path: str) -> Fault | None:
        """The fault that this request meets, if any."""
        with self.store.lock:
            for fault in self.faults:
                met = path == fault.path if fault.exact else fault.path in path
                if fault.times and fault.method in ("", method) and met:
                    fault.times -= 1
                    return fault
        return None

    def user(self, request: Request, certificate: str | None) -> User:
        """Who asks: by token, client certificate, or nobody; then as whom. Raises Problem 401, 403."""
        scheme, _space, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            if token not in self.tokens:
                raise Problem(401, "Unauthorized", "Unauthorized")
            user = self.tokens[token]
        else:
            user = User(certificate) if certificate else _ANONYMOUS
        wanted = request.headers.get("impersonate-user")
        if wanted is None:
            return user
        groups = tuple(filter(None, request.headers.get("impersonate-group", "").split("\n")))
        for plural, name in [("users", wanted), *(("groups", group) for group in groups)]:
            resource = Resource("", "v1", plural, "", namespaced=False)
            self.authorize(user, "impersonate", _Place(resource, "", name, ""))
        return User(wanted, (*groups, "system:authenticated"))

    def allowed(self, user: User, verb: str, group: str, resource: str, namespace: str, name: str) -> bool:
        """``resource`` with its subresource: ``pods/eviction``."""
        if "system:masters" in user.groups:
            return True
        return any(
            verb in rule["verbs"]
            and group in rule["apiGroups"]
            and resource in rule["resources"]
            and name in rule.get("resourceNames", [name])
            and namespace == rule.get("namespace", namespace)
            for rule in self.rules.get(user.name, [])
        )

    def authorize(self, user: User, verb: str, place: _Place) -> None:
        """Raise Problem 403 where RBAC has no rule for it."""
        resource = place.resource
        full = f"{resource.plural}/{place.subresource}" if place.subresource else resource.plural
        if self.allowed(user, verb, resource.group, full, place.namespace, place.name):
            return
        subject = f'{resource.qualified} "{place.name}"' if place.name else resource.qualified
        scope = f'in the namespace "{place.namespace}"' if place.namespace else "at the cluster scope"
        raise Problem(
            403,
            "Forbidden",
            f'{subject} is forbidden: User "{user.name}" cannot {verb} resource "{full}" in API group'
            f' "{resource.group}" {scope}',
            resource.details(place.name),
        )

    def place(self, path: str) -> _Place | None:
        """What a path names, which this server need not have; None where it is no path of a resource."""
        found = _PATH.fullmatch(path)
        if not found:
            return None
        parts = {key: urllib.parse.unquote(value or "") for key, value in found.groupdict().items()}
        qualified = f"{parts['plural']}.{parts['group']}" if parts["group"] else parts["plural"]
        version = parts["version"] or parts["core"]
        resource = self.store.resources.get(qualified)
        if resource is None or resource.version != version:
            resource = Resource(parts["group"], version, parts["plural"], kind="")
        return _Place(resource, parts["namespace"], parts["name"], parts["subresource"])

    def answer(self, request: Request, user: User) -> tuple[int, Any]:
        """The status and body of a request; a watch's body is an iterator. Raises Problem."""
        review = request.path.rpartition("/")[2]
        if review in _REVIEWS and request.method == "POST" and user != _ANONYMOUS:
            return 201, self._review(review, request.body, user)
        if request.method == "GET" and (known := self._discovery(request.path)) is not None:
            if user == _ANONYMOUS and request.path != "/version":
                message = f'forbidden: User "{user.name}" cannot get path "{request.path}"'
                raise Problem(403, "Forbidden", message, {})
            return 200, known
        place = self.place(request.path)
        watching = request.query.get("watch") in ("true", "1")
        if place is not None:
            verb = _VERBS.get(request.method) or ("get" if place.name else "watch" if watching else "list")
            # Before all else: who may not ask does not learn what there is.
            self.authorize(user, verb, place)
        if place is None or place.resource not in self.store.resources.values():
            message = "the server could not find the requested resource"
            raise Problem(404, "NotFound", message, {})
        if verb == "list":
            return 200, self.store.page(place.resource, place.namespace, request.query)
        if verb == "watch":
            wanted = self.store.selector(place.resource, place.namespace, request.query)
            return 200, self.store.watch(place.resource, request.query, wanted)
        if verb == "get":
            return 200, self.store.get(place.resource, place.namespace, place.name)
        answer = self._change(verb, place, request)
        if self.store.prompt:
            self.store.settle()
        return 201 if verb == "create" else 200, answer

    def _change(self, verb: str, place: _Place, request: Request) -> Object:
        resource, namespace, name, body = place.resource, place.namespace, place.name, request.body
        options = body if verb == "delete" else (body or {}).get("deleteOptions") if isinstance(body, dict) else {}
        dry = request.query.get("dryRun") == "All" or (options or {}).get("dryRun") == ["All"]
        if verb == "delete":
            return self.store.delete(resource, namespace, name, body or {}, dry)
        if verb == "patch":
            accepted = {kind: how for kind, how in _PATCHES.items() if not (resource.custom and "strategic" in kind)}
            how = accepted.get(request.headers.get("content-type", ""))
            if how is None:
                message = "the body of the request was in an unknown format - accepted media types include: "
                raise Problem(415, "UnsupportedMediaType", message + ", ".join(sorted(accepted)))
            with_status = place.subresource == "status"
            return self.store.patch(resource, namespace, name, body, how, dry, with_status)
        if not isinstance(body, dict):
            raise Problem(400, "BadRequest", "the body of the request is no object")
        if verb == "update":
            return self.store.replace(resource, namespace, name, body, dry)
        if place.subresource == "eviction":
            return self.store.evict(namespace, name, body, dry)
        return self.store.create(resource, namespace, body, dry)

    def _review(self, review: str, body: Object, user: User) -> Object:
        if review == "selfsubjectreviews":
            info = {"username": user.name, "groups": list(user.groups)}
            kind = {"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"}
            return {**kind, "metadata": {"creationTimestamp": self.store.stamp()}, "status": {"userInfo": info}}
        asked = body["spec"]["resourceAttributes"]
        full = "/".join(filter(None, (asked["resource"], asked.get("subresource"))))
        where = asked.get("namespace", ""), asked.get("name", "")
        allowed = self.allowed(user, asked["verb"], asked.get("group", ""), full, *where)
        return {**body, "metadata": {}, "status": {"allowed": allowed}}

    def _discovery(self, path: str) -> Object | None:
        if path == "/version":
            return dict(_VERSION)
        if path == "/api":
            host = self.url.partition("//")[2]
            servers = [{"clientCIDR": "0.0.0.0/0", "serverAddress": host}]
            return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": servers}
        if path == "/api/v1":
            return {"kind": "APIResourceList", "groupVersion": "v1", "resources": list(_core_resources())}
        groups: dict[str, set[str]] = {}
        for item in self.store.resources.values():
            groups.setdefault(item.group, set()).add(item.version)
        named = [(group, sorted(groups[group], key=_seniority)) for group in sorted(filter(None, groups))]
        if path == "/apis":
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(*each) for each in named]}
        for group, version in ((group, version) for group, versions in named for version in versions):
            if path == f"/apis/{group}/{version}":
                names = [x for x in self.store.resources.values() if (x.group, x.version) == (group, version)]
                listed = [{"name": x.plural, "namespaced": x.namespaced, "kind": x.kind, "verbs": _CRUD} for x in names]
                return {"kind": "APIResourceList", "groupVersion": f"{group}/{version}", "resources": listed}
        return None


def _seniority(version: str) -> tuple[bool, str]:
    """v1 before v1beta1 before v1alpha1, as CompareKubeAwareVersionStrings has them; higher numbers than these nobody has here."""
    return "alpha" in version, version


def _group(group: str, versions: Sequence[str]) -> Object:
    """A group; it prefers the first of its versions, though not all of its resources have that."""
    known = [{"groupVersion": f"{group}/{version}", "version": version} for version in versions]
    return {"name": group, "versions": known, "preferredVersion": known[0]}


def _core_resources() -> Iterator[Object]:
    """Nodes and pods; of the other core resources nobody asks."""
    for plural, kind, namespaced, extra in (
        ("nodes", "Node", False, {"shortNames": ["no"], "storageVersionHash": "XwShjMxG9Fs="}),
        (
            "pods",
            "Pod",
            True,
            {"shortNames": ["po"], "categories": ["all"], "storageVersionHash": "xPOwRZ+Yhw8="},
        ),
    ):
        common = {"namespaced": namespaced, "kind": kind}
        yield {"name": plural, "singularName": kind.lower(), **common, "verbs": _CRUD, **extra}
        if plural == "pods":
            eviction = {"group": "policy", "version": "v1", "kind": "Eviction", "verbs": ["create"]}
            yield {"name": "pods/eviction", "singularName": "", "namespaced": True, **eviction}
        yield {"name": f"{plural}/status", "singularName": "", **common, "verbs": _STATUS}


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    # Closing waits for no client that still holds its connection.
    block_on_close = False
    request_queue_size = 128
    context: ssl.SSLContext | None = None

    def finish_request(self, request: Any, client_address: Any) -> None:
        # In the connection's own thread: a client that never speaks TLS holds up nobody else.
        if self.context:
            try:
                request = self.context.wrap_socket(request, server_side=True)
            except (ssl.SSLError, OSError):
                return
        try:
            super().finish_request(request, client_address)
        except (ConnectionError, ssl.SSLError):
            return  # the client went away
        finally:
            with contextlib.suppress(OSError):
                request.close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    kube: FakeKube

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The header Date: the server's clock is the test's."""
        return super().date_time_string(self.kube.store.now.timestamp() if timestamp is None else timestamp)

    def log_message(self, *_args: object) -> None:
        """Say nothing."""

    def _serve(self) -> None:
        request = self._request()
        if not self.kube.serves(self.server):
            self._hang_up()
            return
        fault = self.kube.take_fault(request.method, self.path)
        if fault and fault.lost == "before":
            self._hang_up()
            return
        if fault and fault.status:
            self._refuse(fault)
            return
        try:
            user = self.kube.user(request, self._certificate())
            # Kept before it is carried out: who sees its effect sees it here.
            self.kube.requests.append(replace(request, user=user.name))
            status, body = self.kube.answer(request, user)
        except Problem as problem:
            status, body = problem.code, problem.body
            extra = {"Retry-After": str(problem.retry_after)} if problem.retry_after else {}
        else:
            extra = {}
        if fault and fault.lost == "after":
            self._hang_up()
        elif isinstance(body, Mapping):
            self._send(status, body, extra)
        else:
            self._stream(body)

    def _request(self) -> Request:
        path, _mark, query = self.path.partition("?")
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length)
        if len(raw) < length:
            raise ConnectionError("the client went away in the middle of its request")
        try:
            body = json.loads(raw) if raw else None
        except ValueError:
            body = None
        # A header that comes several times, as Impersonate-Group does, is joined by newlines.
        headers = {name.lower(): "\n".join(self.headers.get_all(name) or []) for name in self.headers}
        return Request(self.command, path, dict(urllib.parse.parse_qsl(query)), headers, body)

    def _certificate(self) -> str | None:
        """The common name of the client's certificate."""
        if not isinstance(self.connection, ssl.SSLSocket):
            return None
        subject: Any = (self.connection.getpeercert() or {}).get("subject", ())
        names = dict(pair for part in subject for pair in part)
        return names.get("commonName")

    def _refuse(self, fault: Fault) -> None:
        assert fault.status
        extra = {"Retry-After": fault.retry_after} if fault.retry_after else {}
        if fault.text is not None:
            self._write(fault.status, fault.text.encode(), "text/plain; charset=utf-8", extra)
        else:
            problem = Problem(fault.status, fault.reason, f"a fault of {fault.status}")
            self._send(fault.status, problem.body, extra)

    def _hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _send(self, status: int, body: Mapping[str, Any], extra: Mapping[str, str]) -> None:
        self._write(status, json.dumps(body).encode(), "application/json", extra)

    def _write(self, status: int, data: bytes, kind: str, extra: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **extra}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, events: Iterator[Object]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in events:
            line = json.dumps(event).encode() + b"\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")
