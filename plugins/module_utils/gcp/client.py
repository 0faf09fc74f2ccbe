# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Google API: plain dicts in and out, repeated with the same requestId where that is safe, operations waited for."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import urllib.parse
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable, Protocol, Union

from ansible.module_utils.common.parameters import env_fallback

from ansible_collections.bulwark.node.plugins.module_utils.errors import OptionError
from ansible_collections.bulwark.node.plugins.module_utils.gcp import credentials
from ansible_collections.bulwark.node.plugins.module_utils.gcp.errors import (
    Answer,
    Asked,
    Busy,
    GcpError,
    error_of,
    printable,
)
from ansible_collections.bulwark.node.plugins.module_utils.rest import Clock

__all__ = ["ARGUMENT_SPEC", "Client", "Clock", "Object", "Place", "connect", "place"]

Object = dict[str, Any]
Query = Mapping[str, Union[str, Sequence[str]]]


def _from_environment(name: str) -> Any:
    return env_fallback, [f"GCP_{name}"]


# Names and environment as in google.cloud, so that its users' settings serve here too.
ARGUMENT_SPEC: dict[str, Any] = {
    "project": {"type": "str", "required": True, "fallback": _from_environment("PROJECT")},
    "auth_kind": {
        "type": "str",
        "required": True,
        "choices": list(credentials.AUTH_KINDS),
        "fallback": _from_environment("AUTH_KIND"),
    },
    "service_account_email": {"type": "str", "fallback": _from_environment("SERVICE_ACCOUNT_EMAIL")},
    "service_account_file": {"type": "path", "fallback": _from_environment("SERVICE_ACCOUNT_FILE")},
    # GcpModule hides it: no_log would hide each value of the dictionary, such as the project, wherever it stands.
    "service_account_contents": {
        "type": "jsonarg",
        "no_log": False,
        "fallback": _from_environment("SERVICE_ACCOUNT_CONTENTS"),
    },
    "access_token": {"type": "str", "no_log": True, "fallback": _from_environment("ACCESS_TOKEN")},
    "scopes": {"type": "list", "elements": "str", "fallback": _from_environment("SCOPES")},
    "env_type": {"type": "str", "fallback": _from_environment("ENV_TYPE")},
    "api_endpoint": {
        "type": "str",
        "default": "https://compute.googleapis.com",
        "fallback": _from_environment("API_ENDPOINT"),
    },
    "monitoring_endpoint": {
        "type": "str",
        "default": "https://monitoring.googleapis.com",
        "fallback": _from_environment("MONITORING_ENDPOINT"),
    },
    "timeout": {"type": "int", "default": 300},
}

USER_AGENT = "bulwark.node"
_LONGEST = 3600
_REQUEST_SECONDS = 30.0
# The server itself answers a wait after two minutes.
_WAIT_SECONDS = 130.0
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0
# A name that is wrong is found out before the end of all time.
_SILENT_ATTEMPTS = 6
_MOST_BYTES = 64 << 20
# Of an operation that failed for another one, or for a rate.
_AGAIN = frozenset(
    {
        "CONCURRENT_OPERATIONS_QUOTA_EXCEEDED",
        "RATE_LIMIT_EXCEEDED",
        "RESOURCE_NOT_READY",
        "RESOURCE_OPERATION_RATE_EXCEEDED",
    }
)
_NAME = r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?"
# As the discovery document of compute.v1 has them.
_FORMS = {
    "project": re.compile(
        r"(?:(?:[-a-z0-9]{1,63}\.)*(?:[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?):)?(?:[0-9]{1,19}|(?:[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?))"
    ),
    "region": re.compile(_NAME),
    "router": re.compile(rf"{_NAME}|[1-9][0-9]{{0,19}}"),
    "name": re.compile(_NAME),
}


@dataclass(frozen=True)
class Place:
    """A router."""

    project: str
    region: str
    router: str

    @property
    def path(self) -> str:
        return f"{self.region_path}/routers/{self.router}"

    @property
    def region_path(self) -> str:
        return f"projects/{self.project}/regions/{self.region}"


def check_name(option: str, value: object, kind: str = "") -> None:
    """Whether an option can name such an object: a project, region or router, by ``name`` a NAT. Raises OptionError."""
    kind = kind or option
    if not isinstance(value, str) or not _FORMS[kind].fullmatch(value):
        raise OptionError(option, value, f"the name of a {'NAT' if kind == 'name' else kind}, as in the API's links")


def place(params: Mapping[str, Any]) -> Place:
    """The router that the options name. Raises OptionError."""
    for option in ("project", "region", "router"):
        check_name(option, params[option])
    return Place(params["project"], params["region"], params["router"])


class TransportError(Exception):
    """No answer. ``hopeless``: another try would end alike."""

    def __init__(self, text: str, hopeless: bool = False) -> None:
        super().__init__(text)
        self.hopeless = hopeless


class Sender(Protocol):
    """What ``_Sender`` is, and a test's stand-in."""

    def send(self, method: str, url: str, headers: Mapping[str, str], body: Any, timeout: float) -> Answer:
        """Send once. Raises TransportError."""


class _Sender:
    """The one adapter for sending, by requests: nothing repeated, no redirect followed, no netrc read."""

    def __init__(self) -> None:
        import requests

        self._requests = requests
        self._session = requests.Session()

    def send(self, method: str, url: str, headers: Mapping[str, str], body: Any, timeout: float) -> Answer:
        errors = self._requests.exceptions
        try:
            response = self._session.request(
                method,
                url,
                json=body,
                headers=dict(headers),
                timeout=(min(timeout, _REQUEST_SECONDS), timeout),
                # Another server shall not get the token.
                allow_redirects=False,
                # Without one, requests looks into ~/.netrc and replaces the token.
                auth=lambda request: request,
                stream=True,
            )
            with response:
                content = bytearray()
                for block in response.iter_content(1 << 16):
                    content += block
                    if len(content) > _MOST_BYTES:
                        raise TransportError(f"answered more than {_MOST_BYTES} bytes", hopeless=True)
        except errors.SSLError as error:
            raise TransportError(_cause(error), hopeless=True) from None
        except (errors.InvalidHeader, errors.InvalidURL, errors.InvalidSchema, UnicodeError) as error:
            # Their texts quote the header, and so the token.
            raise TransportError(f"it cannot be sent ({type(error).__name__})", hopeless=True) from None
        except (errors.RequestException, OSError) as error:
            raise TransportError(_cause(error)) from None
        return Answer(
            int(response.status_code), {key.lower(): value for key, value in response.headers.items()}, bytes(content)
        )


def _cause(error: BaseException) -> str:
    return printable(str(error) or type(error).__name__)


@dataclass
class Client:
    """The APIs of one account. Each method raises GcpError (or the class of it that fits).

    What passes (no connection, 429, 5xx, a rate or an operation that is under way) is asked again with growing
    pauses until ``timeout`` seconds are over; a mutation with the requestId of its first attempt, by which the server
    knows it again, so that it is never carried out twice.
    """

    account: credentials.Credentials
    sender: Sender
    endpoint: str
    monitoring: str
    timeout: float
    agent: str = USER_AGENT
    clock: Clock = field(default_factory=Clock)
    _end: float | None = field(default=None, init=False, repr=False)

    @contextlib.contextmanager
    def within(self) -> Iterator[None]:
        """Whatever is asked in the block has one end, in ``timeout`` seconds, or that of a block around it."""
        outer = self._end
        self._end = self.clock.monotonic() + self.timeout if outer is None else outer
        try:
            yield
        finally:
            self._end = outer

    def get(self, call: str, path: str, query: Query | None = None) -> Object:
        """What compute answers to a GET below ``projects/``."""
        return self._ask(Asked(call, path, self.endpoint), "GET", self._compute(path, query))

    def pages(self, call: str, path: str, items: str, query: Query) -> Iterator[Object]:
        """Each object of the list ``items``, page by page."""
        yield from self._pages(Asked(call, path, self.endpoint), items, query, lambda more: self._compute(path, more))

    def series(self, project: str, query: Query) -> Iterator[Object]:
        """The time series of Cloud Monitoring in a project (v3 projects.timeSeries.list). Raises GcpError where they are not all."""
        path = f"projects/{project}/timeSeries"
        asked = Asked("monitoring.timeSeries.list", f"projects/{project}", self.monitoring)
        yield from self._pages(asked, "timeSeries", query, lambda more: f"{self.monitoring}/v3/{path}?{_encoded(more)}")

    def patch(self, call: str, path: str, body: Object, again: Callable[[], bool]) -> Object:
        """Patch an object: the operation. ``again`` is asked before each repetition, for the object may be another by then.

        Raises Busy, with ``conflict`` where somebody else changes the object, which is not repeated.
        """
        url = self._compute(path, {"requestId": str(uuid.uuid4())})
        return self._ask(Asked(call, path, self.endpoint), "PATCH", url, body, again)

    def operations(self, region_path: str) -> list[Object]:
        """The newest operations of a region, a hundred at most."""
        path = f"{region_path}/operations"
        query = {"orderBy": "creationTimestamp desc", "maxResults": "100"}
        items = self.get("compute.regionOperations.list", path, query).get("items", [])
        return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []

    def wait(self, operation: Object, region_path: str) -> None:
        """Wait until a regional operation is done. Raises GcpError with its errors, and where it is not done in time."""
        with self.within():
            name = operation.get("name")
            if not isinstance(name, str) or not _FORMS["name"].fullmatch(name):
                asked = Asked("compute.regionOperations.wait", region_path, self.endpoint)
                raise GcpError(asked, f"the change was answered by no operation: {printable(operation, 100)}")
            asked = Asked("compute.regionOperations.wait", f"{region_path}/operations/{name}", self.endpoint)
            attempt = 0
            while operation.get("status") != "DONE":
                before = self.clock.monotonic()
                operation = self._ask(asked, "POST", self._compute(f"{asked.target}/wait", {}), seconds=_WAIT_SECONDS)
                # It may return early, and must not be asked without end then.
                attempt = attempt + 1 if self.clock.monotonic() - before < _FIRST_PAUSE else 0
                if operation.get("status") != "DONE" and not self.pause(attempt):
                    what = f"it is not done after {self.timeout:g} seconds ({printable(operation.get('status'), 50)})"
                    raise GcpError(asked, what, remedy="It goes on: look at it, or raise timeout")
            _raise_errors(asked, operation)

    def pause(self, attempt: int, asked_for: float | None = None) -> bool:
        """Wait before the next attempt, from 1 on; False, without waiting, where that would be after the end."""
        backoff = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** (max(attempt, 1) - 1))
        # Many who failed together shall not come back together.
        seconds = backoff * (0.5 + self.clock.chance() / 2)
        if asked_for is not None:
            seconds = max(seconds, asked_for)
        if self._end is None or self.clock.monotonic() + seconds >= self._end:
            return False
        self.clock.sleep(seconds)
        return True

    def _compute(self, path: str, query: Query | None) -> str:
        return f"{self.endpoint}/compute/v1/{path}" + (f"?{_encoded(query)}" if query else "")

    def _pages(self, asked: Asked, items: str, query: Query, url: Callable[[Query], str]) -> Iterator[Object]:
        tokens: set[str] = set()
        with self.within():
            while True:
                found = self._ask(asked, "GET", url(query))
                if found.get("executionErrors") or found.get("unreachable"):
                    raise GcpError(asked, "the answer is not whole: some of the servers behind it did not answer")
                each = found.get(items, [])
                if not isinstance(each, list) or not all(isinstance(item, dict) for item in each):
                    raise GcpError(asked, f"answered no list of {items}: check the endpoint")
                yield from each
                token = found.get("nextPageToken")
                if not token:
                    return
                if not isinstance(token, str) or token in tokens:
                    raise GcpError(asked, "answered pages without end: check the endpoint")
                tokens.add(token)
                query = {**query, "pageToken": token}

    def _ask(
        self,
        asked: Asked,
        method: str,
        url: str,
        body: Any = None,
        again: Callable[[], bool] | None = None,
        seconds: float = _REQUEST_SECONDS,
    ) -> Object:
        """Send a request until it is answered, or may not be repeated, or its time is over."""
        with self.within():
            attempt, renew = 0, self.account.can_renew
            while True:
                attempt += 1
                error, waits = self._try(asked, method, url, body, False, seconds)
                if isinstance(error, GcpError) and error.status == 401 and renew:
                    renew = False
                    error, waits = self._try(asked, method, url, body, True, seconds)
                if not isinstance(error, GcpError):
                    return error
                conflict = isinstance(error, Busy) and error.conflict and again is not None
                silent = error.status is None and attempt >= _SILENT_ATTEMPTS
                if waits is None or conflict or silent or not self.pause(attempt, waits):
                    raise error
                # What was sent may have been carried out, or somebody else may have been faster meanwhile.
                if again is not None and not again():
                    raise _overtaken(asked, error)

    def _try(
        self, asked: Asked, method: str, url: str, body: Any, renew: bool, seconds: float
    ) -> tuple[Object | GcpError, float | None]:
        """One attempt: (the answer, or the error; how many seconds to wait at least, None where it is not repeated)."""
        try:
            headers = {"Accept": "application/json", "User-Agent": self.agent, **self.account.headers(renew)}
            answer = self.sender.send(method, url, headers, body, self._request_seconds(seconds))
        except credentials.CredentialsError as error:
            return GcpError(asked, str(error)), 0.0 if error.passing else None
        except TransportError as error:
            what = f"no answer from {asked.server}: {self.account.scrub(str(error))}"
            remedy = "Check the endpoint, the proxy and the network"
            return GcpError(asked, what, remedy=remedy), None if error.hopeless else 0.0
        if answer.status < 300:
            found = answer.json()
            if found or answer.body.strip() == b"{}":
                return found, None
            what = "answered no JSON object of a Google API"
            return GcpError(asked, what, remedy=f"Check the endpoint and the proxy ({asked.server})"), None
        problem = error_of(asked, Answer(answer.status, answer.headers, self._scrubbed(answer.body)))
        return problem, (answer.retry_after or 0.0) if isinstance(problem, Busy) else None

    def _scrubbed(self, body: bytes) -> bytes:
        """A body without the token, which a proxy's page may quote."""
        return self.account.scrub(body.decode("utf-8", "replace")).encode()

    def _request_seconds(self, most: float) -> float:
        """How long one request may take: what is left, but enough for an answer that is under way."""
        left = most if self._end is None else self._end - self.clock.monotonic()
        return max(1.0, min(most, left))


def _encoded(query: Query) -> str:
    return urllib.parse.urlencode(query, doseq=True)


def _overtaken(asked: Asked, error: GcpError) -> Busy:
    return Busy(asked, f"{error.said}; somebody else changed it meanwhile", conflict=True)


def _raise_errors(asked: Asked, operation: Object) -> None:
    """Raise what a finished operation says of its failure (``error.errors[]``)."""
    error = operation.get("error")
    if not error:
        return
    entries = error.get("errors") if isinstance(error, dict) else None
    found = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    said = "; ".join(f"{printable(each.get('code'), 100)}: {printable(each.get('message'))}" for each in found)
    codes = [printable(each.get("code"), 100) for each in found]
    what = f"the operation failed: {said or printable(error)}"
    failure = Busy(asked, what, conflict=True) if _AGAIN & set(codes) else GcpError(asked, what)
    failure.details["reason"] = codes[0] if codes else None
    raise failure


def connect(params: Mapping[str, Any]) -> Client:
    """The client of a module's parameters (``ARGUMENT_SPEC``); nothing is sent yet. Raises BulwarkError, OptionError."""
    check_name("project", params["project"])
    credentials.check(params)
    if not 0 < params["timeout"] <= _LONGEST:
        raise OptionError("timeout", params["timeout"], f"seconds, from 1 to {_LONGEST}")
    compute = _endpoint("api_endpoint", params["api_endpoint"]).removesuffix("/compute/v1")
    monitoring = _endpoint("monitoring_endpoint", params["monitoring_endpoint"]).removesuffix("/v3")
    agent = "-".join(filter(None, (USER_AGENT, params.get("env_type"))))
    if not agent.isprintable() or not agent.isascii():
        raise OptionError("env_type", params["env_type"], "a name of ASCII alone, as a header carries it")
    account = credentials.credentials(params)
    return Client(account, _Sender(), compute, monitoring, float(params["timeout"]), agent)


def _endpoint(option: str, url: str) -> str:
    """The base of an API's URLs, without a slash at its end. Raises OptionError."""
    expected = "a URL such as https://compute.googleapis.com, http on this very machine alone, and no user in it"
    if "@" in url:
        raise OptionError(option, "a user in it", expected)
    try:
        parts = urllib.parse.urlsplit(url)
        # A property that raises ValueError.
        right = bool(parts.hostname) and parts.port != 0 and not (parts.query or parts.fragment)
    except ValueError:
        right = False
    if not right or parts.scheme not in ("http", "https") or (parts.scheme == "http" and not _is_loopback(parts)):
        raise OptionError(option, url, expected)
    return url.rstrip("/")


def _is_loopback(parts: urllib.parse.SplitResult) -> bool:
    try:
        return ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return parts.hostname == "localhost"
