# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute Engine's and Cloud Monitoring's APIs on loopback, as far as a NAT takes them, with the token servers of both.

`with FakeCompute() as compute:` serves `compute.url` until the block ends, and fails then where a request or an answer was
not as the discovery document has it. `compute.add(…)` makes a router, `compute.fault(…)` breaks the next requests, and what
`compute.meanwhile(…)` is given happens before the nth request of a method is carried out: a writer who was faster.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import threading
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.bulwark.node.tests.fakes import compute_nat, discovery, google_tokens
from ansible_collections.bulwark.node.tests.fakes.google_monitoring import Monitoring

__all__ = ["ROUTER", "FakeCompute", "Fault", "Request", "nat"]

Object = dict[str, Any]
ROUTER = "projects/a-project/regions/europe-west3/routers/a-router"
_BUSY = "The resource '%s' is not ready"


def nat(name: str = "a-nat", **fields: Any) -> Object:
    """A NAT that compute takes."""
    ranges = "ALL_SUBNETWORKS_ALL_IP_RANGES"
    return {"name": name, "natIpAllocateOption": "AUTO_ONLY", "sourceSubnetworkIpRangesToNat": ranges, **fields}


@dataclass
class Fault:
    """What becomes of the next ``times`` requests of the call: ``compute.routers.patch``, or a part of it.

    ``status`` is answered with ``reason`` (``text`` as it is); ``lost`` closes the connection ``before`` or ``after`` it is
    carried out. ``skip`` requests go through first.
    """

    call: str
    times: int = 1
    skip: int = 0
    status: int | None = None
    reason: str = "backendError"
    text: str | bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    lost: str | None = None


@dataclass(frozen=True)
class Request:
    call: str
    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: Any


class ProblemError(Exception):
    """An error that is answered."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason = status, reason


@dataclass
class FakeCompute:
    """``time_wait``: what is in force for who sets none; ``forgetful``: defaults are not given back, though they were set;
    ``talkative``: some are given back, though they were not.

    ``polls``: how often an operation is RUNNING before it is DONE; ``failing``: errors of the operations to come, each a code.
    ``denied``: calls to which nobody has the right. ``page``: how many VMs a page has at most.
    """

    time_wait: int = 120
    forgetful: bool = False
    talkative: bool = False
    polls: int = 1
    page: int = 500
    routers: dict[str, Object] = field(default_factory=dict)
    failing: list[str] = field(default_factory=list)
    denied: set[str] = field(default_factory=set)
    # By router's path: VmEndpointNatMappings; RouterStatus; NatIpInfo.
    mappings: dict[str, list[Object]] = field(default_factory=dict)
    status: dict[str, Object] = field(default_factory=dict)
    addresses: dict[str, list[Object]] = field(default_factory=dict)
    monitoring: Monitoring = field(default_factory=Monitoring)
    tokens: google_tokens.Tokens = field(default_factory=google_tokens.Tokens)
    requests: list[Request] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    _faults: list[Fault] = field(default_factory=list)
    _meanwhile: list[tuple[str, int, Callable[[], object]]] = field(default_factory=list)
    _operations: dict[str, Object] = field(default_factory=dict)
    # By requestId: the operation, and the body that it came with.
    _asked: dict[str, tuple[Object, Any]] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __enter__(self) -> FakeCompute:
        owner = self

        class Handler(_Handler):
            compute = owner

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self.tokens.url = self.url
        return self

    def __exit__(self, kind: object, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        if kind is None:
            assert self.problems == [], self.problems

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    def add(self, *nats: Object, path: str = ROUTER, **fields: Any) -> Object:
        """A router with these NATs."""
        network = f"{path.partition('/regions/')[0]}/global/networks/default"
        router = {
            "kind": "compute#router",
            "id": "4810412398423984",
            "name": path.rpartition("/")[2],
            "network": compute_nat.HOST + network,
            "selfLink": compute_nat.HOST + path,
            "region": compute_nat.HOST + path.partition("/routers/")[0],
            "bgp": {"asn": 64512},
            "nats": list(nats),
            **fields,
        }
        self.routers[path] = router
        return router

    def nats(self, path: str = ROUTER) -> dict[str, Object]:
        """The NATs as they are kept, by name."""
        return {each["name"]: each for each in self.routers[path].get("nats", ())}

    def fault(self, call: str, **what: Any) -> None:
        """Break the next requests of a call."""
        self._faults.append(Fault(call, **what))

    def meanwhile(self, call: str, happens: Callable[[], object], nth: int = 1) -> None:
        """Have something happen when the nth request of a call from now on has come in, and is not carried out yet."""
        before = sum(1 for request in self.requests if call in request.call)
        self._meanwhile.append((call, before + nth, happens))

    def calls(self, call: str = "") -> list[Request]:
        """The requests of a call."""
        return [request for request in self.requests if call in request.call]

    def answer(self, request: _Handler, body: Any) -> None:
        """Answer one request."""
        parts = urllib.parse.urlsplit(request.path)
        headers = {name.lower(): value for name, value in request.headers.items()}
        if self.tokens.serves(parts.path):
            status, found = self.tokens.answer(request.command, parts, headers, body)
            request.reply(status, found, {"Metadata-Flavor": "Google"})
            return
        api = discovery.load("monitoring.v3" if parts.path.startswith("/v3/") else "compute.v1")
        method = api.route(request.command, parts.path)
        if method is None:
            self.problems.append(f"no method: {request.command} {parts.path}")
            request.reply(404, _error(404, "notFound", "Not Found"))
            return
        asked = Request(
            method.id, request.command, parts.path, urllib.parse.parse_qs(parts.query), headers, copy_of(body)
        )
        with self._lock:
            self.requests.append(asked)
            self.problems += api.request_problems(method, parts.query, body)
            self._happen(asked)
            fault = self._fault(asked)
        if fault is not None and fault.lost == "before":
            request.hang_up()
            return
        if fault is not None and fault.status is not None:
            text = fault.text if fault.text is not None else json.dumps(_error(fault.status, fault.reason, "broken"))
            request.reply(fault.status, text, fault.headers)
            return
        try:
            self._authorize(asked)
            with self._lock:
                found = self._carry_out(method, asked)
        except ProblemError as problem:
            request.reply(problem.status, _error(problem.status, problem.reason, str(problem)))
            return
        self.problems += api.response_problems(method, found)
        if fault is not None and fault.lost == "after":
            request.hang_up()
            return
        request.reply(200, found)

    def _happen(self, asked: Request) -> None:
        for entry in list(self._meanwhile):
            call, nth, happens = entry
            if call in asked.call and len(self.calls(call)) == nth:
                self._meanwhile.remove(entry)
                happens()

    def _fault(self, asked: Request) -> Fault | None:
        for fault in self._faults:
            if fault.call not in asked.call:
                continue
            if fault.skip:
                fault.skip -= 1
                return None
            fault.times -= 1
            if fault.times == 0:
                self._faults.remove(fault)
            return fault
        return None

    def _authorize(self, asked: Request) -> None:
        if not self.tokens.takes(asked.headers.get("authorization", "")):
            raise ProblemError(401, "authError", "Invalid Credentials")
        if asked.call in self.denied or asked.call.removeprefix("monitoring.projects.") in self.denied:
            raise ProblemError(403, "forbidden", f"Required '{asked.call}' permission for '{asked.path}'")

    def _carry_out(self, method: discovery.Method, asked: Request) -> Object:
        if method.id == "monitoring.projects.timeSeries.list":
            return self.monitoring.answer(method.place["projectsId"], asked.query)
        region = f"projects/{method.place['project']}/regions/{method.place['region']}"
        if method.id == "compute.regionOperations.wait":
            return self._wait(method.place["operation"])
        if method.id == "compute.regionOperations.list":
            newest = sorted(self._operations.values(), key=lambda each: str(each["insertTime"]), reverse=True)
            return {"kind": "compute#operationList", "id": region, "items": [_seen(each) for each in newest]}
        path = f"{region}/routers/{method.place['router']}"
        if path not in self.routers:
            raise ProblemError(404, "notFound", f"The resource '{path}' was not found")
        if method.id == "compute.routers.get":
            router = self.routers[path]
            nats = [
                compute_nat.shown(each, self.time_wait, self.forgetful, self.talkative)
                for each in router.get("nats", ())
            ]
            found = {key: value for key, value in router.items() if key != "nats"}
            return {**found, "nats": nats} if nats else found
        if method.id == "compute.routers.patch":
            return self._patch(path, asked)
        if method.id == "compute.routers.getRouterStatus":
            return {"kind": "compute#routerStatusResponse", "result": self.status.get(path, {})}
        if method.id == "compute.routers.getNatIpInfo":
            return {"result": self.addresses.get(path, [])}
        if method.id == "compute.routers.getNatMappingInfo":
            return self._mapped(path, asked)
        raise ProblemError(501, "notImplemented", method.id)

    def _mapped(self, path: str, asked: Request) -> Object:
        """One page of the mappings. They do not say of which NAT they are, so that it must be asked for."""
        found = [
            {key: value for key, value in each.items() if key != "nat"}
            for each in self.mappings.get(path, [])
            if each.get("nat", "a-nat") == asked.query.get("natName", ["a-nat"])[0]
        ]
        first = int(asked.query.get("pageToken", ["0"])[0])
        last = first + min(self.page, int(asked.query.get("maxResults", ["500"])[0]))
        answer: Object = {"kind": "compute#vmEndpointNatMappingsList", "result": found[first:last]}
        return {**answer, "nextPageToken": str(last)} if last < len(found) else answer

    def _patch(self, path: str, asked: Request) -> Object:
        (identifier,) = asked.query.get("requestId", [""])
        if identifier in self._asked:
            operation, body = self._asked[identifier]
            if body != asked.body:
                raise ProblemError(400, "invalid", "requestId was used for another request")
            return _seen(operation)
        if any(each["_path"] == path and each["status"] != "DONE" for each in self._operations.values()):
            raise ProblemError(400, "resourceNotReady", _BUSY % path)
        router = self.routers[path]
        before = self.nats(path)
        after = compute_nat.merged(router, asked.body)
        names = [each["name"] for each in after.get("nats", ())]
        if len(names) != len(set(names)):
            raise ProblemError(400, "invalid", "Invalid value for field 'resource.nats': two of one name")
        for each in after.get("nats", ()):
            for why in compute_nat.refusals(each, before.get(each["name"])):
                raise ProblemError(400, "invalid", f"Invalid value for field 'resource.nats[{each['name']}]': {why}")
        operation = self._operation(path, after)
        self._asked[identifier or operation["name"]] = (operation, asked.body)
        return _seen(operation)

    def change(self, *nats: Object, path: str = ROUTER, user: str = "other@example.org") -> None:
        """Somebody else's change of a router, done at once."""
        self._finish(self._operation(path, {**self.routers[path], "nats": list(nats)}, user))

    def _operation(self, path: str, after: Object, user: str = google_tokens.ACCOUNT) -> Object:
        number = len(self._operations) + 1
        operation: Object = {
            "kind": "compute#operation",
            "id": str(7000 + number),
            "name": f"operation-1763000000000-{number}",
            "operationType": "compute.routers.patch",
            "targetLink": compute_nat.HOST + path,
            "user": user,
            # In the time zone of the server, as real ones are.
            "insertTime": f"2026-11-21T10:00:{number:02}.{number:03}-08:00",
            "status": "RUNNING",
            "progress": 0,
            "_path": path,
            "_after": after,
            "_polls": self.polls,
        }
        self._operations[operation["name"]] = operation
        if self.polls == 0:
            self._finish(operation)
        return operation

    def _wait(self, name: str) -> Object:
        if name not in self._operations:
            raise ProblemError(404, "notFound", f"The resource '{name}' was not found")
        operation = self._operations[name]
        operation["_polls"] -= 1
        if operation["_polls"] < 0 and operation["status"] != "DONE":
            self._finish(operation)
        return _seen(operation)

    def _finish(self, operation: Object) -> None:
        if operation["status"] == "DONE":
            return
        operation.update(status="DONE", progress=100)
        if self.failing:
            code = self.failing.pop(0)
            error = {"errors": [{"code": code, "message": f"It failed: {code}"}]}
            operation.update(error=error, httpErrorStatusCode=400, httpErrorMessage="BAD REQUEST")
        else:
            self.routers[operation["_path"]] = operation["_after"]


def copy_of(body: Any) -> Any:
    return json.loads(json.dumps(body))


def _seen(operation: Object) -> Object:
    return {key: value for key, value in operation.items() if not key.startswith("_")}


def _error(status: int, reason: str, message: str) -> Object:
    errors = [{"domain": "global", "message": message, "reason": reason}]
    return {"error": {"code": status, "errors": errors, "message": message}}


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *arguments: object) -> None:
        """A client that hangs up is none."""


class _Handler(http.server.BaseHTTPRequestHandler):
    compute: FakeCompute
    protocol_version = "HTTP/1.1"
    # Headers and body in one packet: the second of two would wait for the first to be acknowledged.
    wbufsize = -1

    def do_GET(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body: Any = None
        if raw:
            form = "urlencoded" in self.headers.get("Content-Type", "")
            body = dict(urllib.parse.parse_qsl(raw.decode())) if form else json.loads(raw)
        self.compute.answer(self, body)

    def do_POST(self) -> None:
        self.do_GET()

    def do_PATCH(self) -> None:
        self.do_GET()

    def reply(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
        """Send an answer; texts and bytes as they are."""
        raw = body.encode() if isinstance(body, str) else body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(raw)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)

    def hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *arguments: object) -> None:
        """Nobody reads it."""
