# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One instant query to Prometheus' HTTP API, ``GET /api/v1/query``; also Thanos, Mimir and VictoriaMetrics answer it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit

from ansible.module_utils import urls

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError, OptionError
from ansible_collections.bulwark.node.plugins.module_utils.reboot.alerts import Sample

__all__ = ["PROMETHEUS_SPEC", "PrometheusError", "check", "query"]

PROMETHEUS_SPEC: dict[str, Any] = {
    "url": {"type": "str", "required": True},
    "query": {"type": "str", "default": "ALERTS"},
    "ignore": {"type": "str"},
    "match": {"type": "str"},
    "firing_only": {"type": "bool", "default": False},
    "labels": {"type": "dict", "default": {}},
    "bearer_token": {"type": "str", "no_log": True},
    "username": {"type": "str"},
    "password": {"type": "str", "no_log": True},
    "validate_certs": {"type": "bool", "default": True},
    "ca_path": {"type": "path"},
    "use_proxy": {"type": "bool", "default": True},
    "timeout": {"type": "int", "default": 10},
}

_LIMIT = 16 << 20
_BLOCK = 64 << 10
_SAID = 300


class PrometheusError(BulwarkError):
    """Prometheus could not be asked, or gave no whole answer."""


def check(option: str, values: Mapping[str, Any]) -> None:
    """The options below ``option`` against each other. Raises OptionError."""
    url = values["url"]
    try:
        parts = urlsplit(url)
        # A property that raises ValueError.
        wrong = parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0
    except ValueError:
        wrong = True
    if wrong or any(character.isspace() or not character.isprintable() for character in url):
        raise OptionError(f"{option}.url", url, "an address such as http://prometheus.monitoring:9090")
    if "@" in parts.netloc:
        # Not shown: it is a password.
        raise OptionError(
            f"{option}.url", "a user in it", f"no user in it: {option}.username and password are for that"
        )
    if parts.query or parts.fragment:
        raise OptionError(f"{option}.url", url, "the address alone, without ? and #: the query is an option of its own")
    if values["bearer_token"] and values["username"]:
        raise OptionError(f"{option}.username", values["username"], "a bearer_token or a username, not both")
    if bool(values["username"]) != bool(values["password"]):
        missing = "username" if values["password"] else "password"
        raise OptionError(f"{option}.{missing}", None, "username and password together")
    token = values["bearer_token"] or ""
    if not token.isascii() or not token.isprintable() or " " in token:
        # Not shown: it is a secret. A newline comes with a file that was read.
        raise OptionError(
            f"{option}.bearer_token", "what no header can carry", "a token of ASCII alone, without spaces and newlines"
        )
    if values["ca_path"] and not os.path.isfile(values["ca_path"]):
        raise OptionError(f"{option}.ca_path", values["ca_path"], "a file on the host that runs the module")
    if not values["query"].strip():
        raise OptionError(f"{option}.query", values["query"], "a query such as ALERTS")
    if not 0 < values["timeout"] <= 600:
        raise OptionError(f"{option}.timeout", values["timeout"], "seconds, from 1 to 600")


def query(values: Mapping[str, Any]) -> list[Sample]:
    """The samples that the query gives now; ``values`` are the options of PROMETHEUS_SPEC, checked. Raises PrometheusError."""
    address = f"{values['url'].rstrip('/')}/api/v1/query"
    deadline = time.monotonic() + values["timeout"]
    try:
        body = _get(address, values, deadline)
    except HTTPError as error:
        raise PrometheusError(f"{address}: answered {error.code}: {_refusal(error)}") from error
    except (OSError, HTTPException, urls.ConnectionError, urls.SSLValidationError) as error:
        cause = error.reason if isinstance(error, URLError) else error
        raise PrometheusError(f"{address}: {str(cause) or type(cause).__name__}"[: _SAID * 2]) from error
    except _NotAnAnswerError as error:
        raise PrometheusError(f"{address}: {error}") from error
    except ValueError as error:
        # Its text may quote a header, and so the token.
        raise PrometheusError(f"{address}: cannot be asked ({type(error).__name__})") from None
    try:
        return _samples(json.loads(body))
    except _NotAnAnswerError as error:
        raise PrometheusError(f"{address}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise PrometheusError(f"{address}: answered no JSON of Prometheus' API ({error})"[: _SAID * 2]) from error


class _NotAnAnswerError(Exception):
    """What came is no whole answer."""


def _get(address: str, values: Mapping[str, Any], deadline: float) -> bytes:
    headers = {"Accept": "application/json"}
    if values["bearer_token"]:
        headers["Authorization"] = f"Bearer {values['bearer_token']}"
    response = urls.open_url(
        f"{address}?{urlencode({'query': values['query']})}",
        headers=headers,
        timeout=values["timeout"],
        validate_certs=values["validate_certs"],
        ca_path=values["ca_path"],
        use_proxy=values["use_proxy"],
        url_username=values["username"],
        url_password=values["password"],
        force_basic_auth=bool(values["username"]),
        # Another server shall get neither our credentials nor the say over reboots.
        follow_redirects="none",
        # It would replace what the options give.
        use_netrc=False,
        decompress=False,
        http_agent="bulwark.node",
    )
    with response:
        content = bytearray()
        while block := response.read1(_BLOCK):
            content += block
            if len(content) > _LIMIT:
                raise _NotAnAnswerError(f"answered more than {_LIMIT} bytes")
            # The timeout is one of each read, which a slow server never meets.
            if time.monotonic() > deadline:
                raise _NotAnAnswerError(f"did not answer within {values['timeout']} seconds")
        return bytes(content)


def _refusal(error: HTTPError) -> str:
    """What an error says of itself: Prometheus' own JSON, where a redirect leads, or the reason of the status."""
    location = error.headers.get("Location") if error.headers else None
    if 300 <= error.code < 400 and location:
        return f"a redirect to {location[:_SAID]}, which is not followed; give that address"
    try:
        said = json.loads(error.read(_BLOCK))
        return f"{said['errorType']}: {said['error']}"[:_SAID]
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return str(error.reason)[:_SAID]


def _samples(answer: Any) -> list[Sample]:
    """The samples of an answer. Raises _NotAnAnswerError, also where a part of the servers behind it did not answer."""
    if not isinstance(answer, dict) or answer.get("status") != "success":
        raise _NotAnAnswerError(f"answered no success of Prometheus' API: {json.dumps(answer)[:_SAID]}")
    if answer.get("warnings"):
        raise _NotAnAnswerError(f"warns that the answer may not be whole: {json.dumps(answer['warnings'])[:_SAID]}")
    try:
        kind, result = answer["data"]["resultType"], answer["data"]["result"]
        if kind == "scalar":
            return [Sample({}, float(result[1]))]
        if kind == "vector":
            return [
                Sample({key: str(value) for key, value in each["metric"].items()}, float(each["value"][1]))
                for each in result
            ]
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise _NotAnAnswerError(
            f"answered a result in no form of Prometheus' API ({type(error).__name__}: {error})"
        ) from error
    raise _NotAnAnswerError(f"answered a {kind}, expected a vector or a scalar; such a query says nothing of now")
