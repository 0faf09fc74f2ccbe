# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small Prometheus on loopback: what its HTTP API answers to instant queries, and what it was asked.

Source: Prometheus' documentation of the HTTP API, querying/api: format overview, instant queries, instant vectors, scalars.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

__all__ = ["Prometheus", "alert", "failure", "serving", "vector"]


def alert(name: str, state: str = "firing", value: str = "1", **labels: str) -> dict[str, Any]:
    """One sample of the series ALERTS."""
    metric = {"__name__": "ALERTS", "alertname": name, "alertstate": state, **labels}
    return {"metric": metric, "value": [1795266000.123, value]}


def vector(*samples: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """The answer to a query that gives an instant vector."""
    return {"status": "success", "data": {"resultType": "vector", "result": list(samples)}, **more}


def failure(kind: str, error: str) -> dict[str, Any]:
    """The answer to a query that fails."""
    return {"status": "error", "errorType": kind, "error": error}


@dataclass
class Prometheus:
    """One server: ``answer`` (JSON, or bytes as they are) with ``status`` and ``headers``; ``asked`` are its requests.

    ``endless``: it sends its answer again and again until it is closed, block by block.
    """

    url: str = ""
    answer: Any = field(default_factory=vector)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    endless: bool = False
    asked: list[tuple[str, dict[str, list[str]], dict[str, str]]] = field(default_factory=list)


@contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[Prometheus]:
    """A server on a port of its own, with TLS where a context is given; gone at the end."""
    fake = Prometheus()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            fake.asked.append((parts.path, parse_qs(parts.query), headers))
            body = fake.answer if isinstance(fake.answer, bytes) else json.dumps(fake.answer).encode()
            self.send_response(fake.status)
            for name, value in {"Content-Type": "application/json", **fake.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            while fake.endless:
                self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Nobody reads it."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *arguments: object) -> None:
            """A client that hangs up is none."""

    server = Server(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    fake.url = f"http{'' if context is None else 's'}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        fake.endless = False
        server.shutdown()
        server.server_close()
        thread.join()
