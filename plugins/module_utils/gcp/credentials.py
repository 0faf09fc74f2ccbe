# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The package google-auth as we use it: credentials of each ``auth_kind``, and the header that they give.

What it starts in the background by itself (``before_request``) is left alone: a token is asked for, and nothing else.
"""

from __future__ import annotations

import functools
import json
import os
import traceback
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import missing_required_lib

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError, OptionError
from ansible_collections.bulwark.node.plugins.module_utils.gcp.errors import printable

__all__ = ["AUTH_KINDS", "Credentials", "CredentialsError", "check", "credentials"]

AUTH_KINDS = ("application", "machineaccount", "serviceaccount", "accesstoken")

_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
_SECONDS = 15
# Which option belongs to which kind.
_OWN = {
    "service_account_email": "machineaccount",
    "service_account_file": "serviceaccount",
    "service_account_contents": "serviceaccount",
    "access_token": "accesstoken",
}
_KEY_EXAMPLE = (
    "a service account's key as Google Cloud makes it: JSON with type, client_email, private_key and token_uri"
)


class CredentialsError(BulwarkError):
    """No token was to be had. ``passing``: another try may have one."""

    def __init__(self, text: str, passing: bool = False) -> None:
        super().__init__(text)
        self.passing = passing


def check(params: Mapping[str, Any]) -> None:
    """What can be said of the options alone. Raises OptionError, without values that are secrets."""
    kind = params["auth_kind"]
    for option, owner in _OWN.items():
        if params.get(option) is not None and kind != owner:
            raise OptionError(option, "a value", f"none with auth_kind {kind}: it is for {owner}")
    token = params.get("access_token")
    if kind == "accesstoken" and not token:
        raise OptionError("access_token", None, "an access token, which auth_kind accesstoken takes (GCP_ACCESS_TOKEN)")
    if token and (" " in token or not token.isprintable() or not token.isascii()):
        # A newline comes with a file that was read.
        raise OptionError(
            "access_token", "what no header can carry", "a token of ASCII alone, without spaces and newlines"
        )
    file, contents = params.get("service_account_file"), params.get("service_account_contents")
    if kind == "serviceaccount" and (file is None) == (contents is None):
        got = None if file is None else "beside service_account_contents"
        raise OptionError("service_account_file", got, "one of service_account_file and service_account_contents")


class Credentials:
    """One account's token, renewed where it has run out."""

    def __init__(self, found: Any, kind: str) -> None:
        import requests
        from google.auth.transport.requests import Request

        self._found = found
        self.kind = kind
        self._request = functools.partial(Request(requests.Session()), timeout=_SECONDS)

    def headers(self, renew: bool = False) -> dict[str, str]:
        """The headers that say who we are; with ``renew`` of a new token. Raises CredentialsError."""
        from google.auth.exceptions import GoogleAuthError, TransportError

        headers: dict[str, str] = {}
        try:
            if self.kind != "accesstoken" and (renew or not self._found.valid):
                self._found.refresh(self._request)
            self._found.apply(headers)
        except GoogleAuthError as error:
            # The metadata server google-auth has asked several times already.
            lost = isinstance(error, TransportError) and self.kind != "machineaccount"
            passing = lost or bool(getattr(error, "retryable", False))
            raise CredentialsError(_said(self.kind, error), passing) from None
        except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
            # Their texts may quote what was answered, a token among it.
            raise CredentialsError(f"auth_kind {self.kind}: no token could be had ({type(error).__name__})") from None
        return headers

    @property
    def can_renew(self) -> bool:
        """Whether another token may be had."""
        return self.kind != "accesstoken"

    def scrub(self, text: str) -> str:
        """A text without the token."""
        token = getattr(self._found, "token", None)
        return text.replace(token, "********") if isinstance(token, str) and token else text


def credentials(params: Mapping[str, Any]) -> Credentials:
    """The credentials that the options name, which ``check`` has passed. No token is asked for yet. Raises BulwarkError."""
    try:
        import requests  # noqa: F401 - what google-auth sends by
        from google.auth.exceptions import GoogleAuthError
    except ImportError:
        what = missing_required_lib("google-auth and requests")
        raise BulwarkError(what, {"exception": traceback.format_exc()}) from None
    kind = params["auth_kind"]
    try:
        return Credentials(_MAKERS[kind](params, params.get("scopes") or list(_SCOPES)), kind)
    except GoogleAuthError as error:
        raise CredentialsError(_said(kind, error)) from None


def _application(params: Mapping[str, Any], scopes: list[str]) -> Any:
    import google.auth

    try:
        return google.auth.default(scopes=scopes)[0]
    except (ValueError, OSError) as error:
        named = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS", "the application default credentials")
        raise CredentialsError(f"auth_kind application: {named}: cannot be read ({type(error).__name__})") from None


def _machine_account(params: Mapping[str, Any], scopes: list[str]) -> Any:
    from google.auth.compute_engine.credentials import Credentials as MachineCredentials

    return MachineCredentials(service_account_email=params.get("service_account_email") or "default", scopes=scopes)


def _service_account(params: Mapping[str, Any], scopes: list[str]) -> Any:
    from google.oauth2.service_account import Credentials as AccountCredentials

    file = params.get("service_account_file")
    option = "service_account_contents" if file is None else "service_account_file"
    if file is None:
        text = params["service_account_contents"]
    else:
        try:
            with open(os.path.expanduser(file), encoding="utf-8") as stream:
                text = stream.read()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no text"
            raise OptionError(
                option, file, f"a file that can be read on the host that runs the module ({why})"
            ) from None
    shown = "a text" if file is None else file
    try:
        info = json.loads(text)
        if not isinstance(info, dict):
            raise ValueError
        return AccountCredentials.from_service_account_info(info, scopes=scopes)
    # Not shown, nor its cause: it is a key.
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise OptionError(option, shown, _KEY_EXAMPLE) from None


def _access_token(params: Mapping[str, Any], scopes: list[str]) -> Any:
    from google.oauth2.credentials import Credentials as TokenCredentials

    return TokenCredentials(params["access_token"])


_MAKERS = dict(zip(AUTH_KINDS, (_application, _machine_account, _service_account, _access_token)))


def _said(kind: str, error: Exception) -> str:
    """What google-auth says, but for an answer that it quotes as a whole, which may hold a token."""
    said = str(error.args[0]) if error.args else type(error).__name__
    shown = printable(said).strip()
    if "token" in said and "{" in said:
        shown = f"the answer is none to a request for a token ({type(error).__name__})"
    return f"auth_kind {kind}: no token could be had: {shown}"
