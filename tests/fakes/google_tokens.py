# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where Google's access tokens come from: the token endpoint (RFC 7523) and a machine's metadata server, and whose they are.

Source: https://developers.google.com/identity/protocols/oauth2/service-account and https://cloud.google.com/compute/docs/metadata.
"""

from __future__ import annotations

import base64
import functools
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, parse_qs

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

__all__ = ["ACCOUNT", "Tokens"]

ACCOUNT = "robot@a-project.iam.gserviceaccount.com"
_AUDIENCE = "https://oauth2.googleapis.com/token"
_METADATA = "/computeMetadata/v1/instance/service-accounts/"


@functools.cache
def _rsa_key() -> rsa.RSAPrivateKey:
    """One for the whole test run, for it takes time."""
    return rsa.generate_private_key(65537, 2048)


@dataclass
class Tokens:
    """``taken`` are the tokens that the APIs take, with who got them; ``refuses`` is what the token endpoint says instead."""

    url: str = ""
    taken: dict[str, str] = field(default_factory=lambda: {"given-token": "accesstoken"})
    refuses: tuple[int, Any] | None = None
    # How each token was asked for: the account, with its scopes.
    asked: list[tuple[str, str]] = field(default_factory=list)
    _key: rsa.RSAPrivateKey = field(default_factory=_rsa_key)

    @property
    def service_account(self) -> dict[str, str]:
        """The key of a service account, as Google Cloud makes it."""
        form = serialization.PrivateFormat.PKCS8
        key = self._key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        return {
            "type": "service_account",
            "project_id": "a-project",
            "private_key_id": "0f1e2d3c4b5a",
            "private_key": key.decode(),
            "client_email": ACCOUNT,
            "client_id": "1406292833167995938",
            "token_uri": f"{self.url}/token",
        }

    def takes(self, authorization: str) -> bool:
        """Whether the header is of a token that was given."""
        return authorization.removeprefix("Bearer ") in self.taken and authorization.startswith("Bearer ")

    def serves(self, path: str) -> bool:
        return path == "/token" or path.startswith("/computeMetadata/") or path == "/"

    def answer(self, verb: str, parts: SplitResult, headers: Mapping[str, str], body: Any) -> tuple[int, Any]:
        """(status, body) for a request to one of them."""
        if self.refuses is not None and parts.path != "/":
            return self.refuses
        if parts.path == "/token":
            return self._granted(body or {})
        if headers.get("metadata-flavor") != "Google":
            return 403, "Missing Metadata-Flavor:Google header."
        return self._metadata(parts)

    def _metadata(self, parts: SplitResult) -> tuple[int, Any]:
        rest = parts.path.removeprefix(_METADATA).strip("/")
        if parts.path in ("/", "/computeMetadata/v1/project/project-id"):
            return 200, "a-project"
        name, _slash, what = rest.partition("/")
        if name not in ("default", ACCOUNT):
            return 404, "not found"
        if what == "token":
            scopes = parse_qs(parts.query).get("scopes", [""])[0]
            return 200, self._token(ACCOUNT if name == "default" else name, scopes)
        return 200, {
            "email": ACCOUNT,
            "scopes": ["https://www.googleapis.com/auth/cloud-platform"],
            "aliases": ["default"],
        }

    def _granted(self, body: Mapping[str, str]) -> tuple[int, Any]:
        if body.get("grant_type") == "urn:ietf:params:oauth:grant-type:jwt-bearer":
            claims = self._claims(body["assertion"])
            # Whatever the token_uri, google-auth signs for this one.
            if claims["iss"] == ACCOUNT and claims["aud"] == _AUDIENCE:
                return 200, self._token(ACCOUNT, claims["scope"])
        return 400, {"error": "invalid_grant", "error_description": "Bad Request"}

    def _claims(self, assertion: str) -> dict[str, Any]:
        """The claims of a JWT. Raises InvalidSignature where it is not signed by the account's key."""
        head, payload, signature = assertion.split(".")
        signed = f"{head}.{payload}".encode()
        self._key.public_key().verify(_bytes(signature), signed, padding.PKCS1v15(), hashes.SHA256())
        claims: dict[str, Any] = json.loads(_bytes(payload))
        return claims

    def _token(self, who: str, scopes: str) -> dict[str, Any]:
        token = f"ya29.{secrets.token_hex(16)}"
        self.taken[token] = who
        self.asked.append((who, scopes))
        return {"access_token": token, "expires_in": 3599, "token_type": "Bearer"}


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
