# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Kubernetes API server refused, as errors that name the verb, the object, the user and the remedy.

The one place that reads a ``Status`` (https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/).
"""

from __future__ import annotations

import email.utils
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.bulwark.node.plugins.module_utils import rest
from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError

__all__ = [
    "Answer",
    "Asked",
    "Conflict",
    "Expired",
    "Forbidden",
    "KubeError",
    "NotFound",
    "Throttled",
    "Unreachable",
    "error_of",
]

# What RBAC says (apiserver/pkg/endpoints/handlers/responsewriters/errors.go).
_DENIED = re.compile(
    r'(?: "(?P<name>[^"]+)" is forbidden: )?User "(?P<user>.*?)" cannot (?P<verb>\S+) resource "(?P<resource>[^"]+)" in API group "(?P<group>[^"]*)"'
    r'(?: in the namespace "(?P<namespace>[^"]+)")?'
)
_ANONYMOUS = "system:anonymous"
_CREDENTIALS = "check api_key, client_cert or the kubeconfig's user"
_TEXT_LENGTH = 300


@dataclass(frozen=True)
class Answer(rest.Answer):
    """What came back of a Kubernetes API server."""

    @property
    def date(self) -> float | None:
        """The server's clock when it answered, the header ``Date`` in seconds since the epoch; None without one."""
        try:
            return email.utils.parsedate_to_datetime(self.headers.get("date", "")).timestamp()
        # TypeError: what Python 3.9 says of what is no date.
        except (ValueError, TypeError, OverflowError):
            return None

    @property
    def causes(self) -> list[dict[str, str]]:
        """``details.causes``: {reason, message, field?}."""
        details = self.json().get("details")
        causes = details.get("causes") if isinstance(details, dict) else None
        return [cause for cause in causes if isinstance(cause, dict)] if isinstance(causes, list) else []


@dataclass(frozen=True)
class Asked:
    """A request in words: ``verb`` as RBAC has it, the resource with its subresource, and what it was asked of."""

    verb: str
    group: str
    resource: str
    namespace: str | None = None
    name: str | None = None
    server: str = ""

    def __str__(self) -> str:
        """``patch nodes "a"``, ``create pods/eviction "web" in namespace "default"``."""
        text = f"{self.verb} {self.resource}{'.' if self.group else ''}{self.group}"
        text += f' "{self.name}"' if self.name else ""
        return text + (f' in namespace "{self.namespace}"' if self.namespace else "")


class KubeError(BulwarkError):
    """The API server refused, or did not answer.

    ``status`` is None without an answer; ``reason`` and ``causes`` are the Status's own, ``retry_after`` seconds or None;
    ``said`` is the text without who asked for what, and without a remedy.
    ``details`` has {verb, object, namespace, user, status, reason, causes} and, where RBAC refused, rbac_rule.
    """

    def __init__(
        self, asked: Asked, what: str, answer: Answer | None = None, user: str | None = None, remedy: str = ""
    ) -> None:
        found = answer.json() if answer else {}
        self.status = answer.status if answer else None
        self.reason: str | None = found.get("reason")
        self.causes = answer.causes if answer else []
        self.retry_after = answer.retry_after if answer else None
        self.asked = asked
        self.said = what
        super().__init__(
            f"{asked}{f' as {user}' if user else ''}: {what}{remedy and f'. {remedy}'}",
            {
                "verb": asked.verb,
                "object": f"{asked.resource}/{asked.name}" if asked.name else asked.resource,
                "namespace": asked.namespace,
                "user": user,
                "status": self.status,
                "reason": self.reason,
                "causes": self.causes,
            },
        )

    @property
    def refused(self) -> bool:
        """Whether the server itself said no, which time alone does not change: neither busy nor unwell, nor silent."""
        return self.status is not None and self.status != 429 and self.status < 500

    def has_cause(self, reason: str) -> bool:
        """Whether the server named this cause (``DisruptionBudget``, ``NamespaceTerminating``)."""
        return any(cause.get("reason") == reason for cause in self.causes)


class NotFound(KubeError):
    """404: there is no such object; or the server knows no such resource."""


class Conflict(KubeError):
    """409: somebody else was faster, a precondition does not hold, or the object exists already."""


class Expired(KubeError):
    """410: the state that a page or a watch goes on from is forgotten."""


class Throttled(KubeError):
    """429: the server is busy; of an eviction, that a budget does not allow it now."""


class Forbidden(KubeError):
    """403: by RBAC, whose missing rule is in ``details["rbac_rule"]``, or by admission."""


class Unreachable(KubeError):
    """No answer came. ``sent`` says whether the server may have done it."""

    sent = False


_CLASSES: Mapping[int, type[KubeError]] = {
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Expired,
    429: Throttled,
}


def error_of(asked: Asked, answer: Answer, user: str | None) -> KubeError:
    """The error of an answer that is no success; ``user`` as the client knows it, None where it does not."""
    denied = _DENIED.search(str(answer.json().get("message", ""))) if answer.status == 403 else None
    remedy = _remedy(asked, answer)
    rule = None
    if denied:
        user = denied["user"]
        rule = _missing_rule(denied) if user != _ANONYMOUS else None
        remedy = _advice(denied, rule) if rule else f"No credentials were sent: {_CREDENTIALS}"
    error = _CLASSES.get(answer.status, KubeError)(asked, _said(answer), answer, user, remedy)
    if rule:
        error.details["rbac_rule"] = rule
    return error


def _said(answer: Answer) -> str:
    """Status and message in one line, without control characters: the text may be a proxy's."""
    found = answer.json()
    message = str(found.get("message") or answer.body[: 4 * _TEXT_LENGTH].decode("utf-8", "replace")).strip()
    line = _one_line(message)
    causes = "; ".join(str(cause.get("message")) for cause in answer.causes if str(cause.get("message")) not in line)
    head = " ".join(filter(None, (str(answer.status), str(found.get("reason") or ""))))
    return ": ".join(filter(None, (head, line))) + (f" ({_one_line(causes)})" if causes else "")


def _one_line(text: str) -> str:
    """A text of the cluster as it may be shown: without control characters, and not endless."""
    return "".join(char if char.isprintable() else " " for char in text)[:_TEXT_LENGTH]


def _missing_rule(denied: re.Match[str]) -> dict[str, list[str]]:
    """The rule as the server names it, which is another one than was asked for where impersonation was refused."""
    rule = {"apiGroups": [denied["group"]], "resources": [denied["resource"]], "verbs": [denied["verb"]]}
    # Who may impersonate all users may do all that any of them may.
    only = {"resourceNames": [denied["name"]]} if denied["verb"] == "impersonate" and denied["name"] else {}
    return {**rule, **only}


def _advice(denied: re.Match[str], rule: Mapping[str, list[str]]) -> str:
    # Lists of JSON are lists of YAML.
    text = ", ".join(f"{key}: {json.dumps(value)}" for key, value in rule.items())
    where = f'a Role in namespace "{denied["namespace"]}" or a ClusterRole' if denied["namespace"] else "a ClusterRole"
    return f"The rule that is missing, for {where}: - {{{text}}}"


def _remedy(asked: Asked, answer: Answer) -> str:
    if answer.status == 401:
        return f"{asked.server} takes neither the token nor the certificate: {_CREDENTIALS}"
    if answer.json().get("kind") != "Status":
        return f"This was no Kubernetes API: check host and proxy ({asked.server})"
    return ""
