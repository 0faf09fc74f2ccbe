# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Command lines without their secrets.

No list of names is complete, so that a URL's query is hidden as a whole, and in doubt about where a secret ends, what
follows it as well.
"""

from __future__ import annotations

import re

__all__ = ["REDACTED", "redacted"]

REDACTED = "<redacted>"

_NAME = re.compile(r'"?[\w.\-/\[\]]+')
_SECRET = re.compile(
    r"passw(?:or)?d|passphrase|secret|token|credential|signature|random_?seed|authorization|jwt|unseal|bearer|cookie"
    r"|(?:^|[._?/-])(?:pass|psk|creds?|pin|code|sas|t?otp|hmac)(?:$|[._-])|(?:keys?|(?<!by)pass|pwd?|sig|auth)$"
    r"|(?:^|[._-])keys?[._-]",
    re.IGNORECASE,
)
# Parameters of the kernel in whose values ":" and "@" part numbers and addresses.
_NO_SECRETS = frozenset({"blkdevparts", "crashkernel", "memmap", "mtdparts", "netconsole", "video"})
# iscsi:user:password@host, where the password may hold anything, https://token@host, and user:password@host alone.
_USER_INFO = re.compile(r"(?<=[:/])(?<!:/)[^/:@]*:.*(?=@)|(?<=://)[^/]*(?=@)|(?<![^=,;\"])[^/:@=,;]*:[^/:@]+(?=@)")
_BEARER = re.compile(r"\b(bearer|basic)\s+[^\s\"]+", re.IGNORECASE)
# Secrets that are known by their form: JWT (RFC 7519), bootstrap tokens of Kubernetes, tokens of k3s, GitHub, GitLab,
# Slack and Vault.
_TOKEN = re.compile(
    r"\beyJ[\w-]*\.[\w-]+\.[\w-]*|(?<![\w.])[a-z0-9]{6}\.[a-z0-9]{16}(?![\w.])"
    r"|\bK10[0-9a-f]{64}::\S*|\b(?:gh[a-z]_|github_pat_|glpat-|xox[a-z]-|hv[a-z]\.)[\w-]{16,}"
)
# What parts name=value pairs in a value. In the options of CIFS two commas stand for one.
_SEPARATOR = re.compile(r"((?<!,),(?!,)|[;&])")


def redacted(tokens: list[str]) -> list[str]:
    """The same tokens without secrets.

    That is the value of a secret's name, at the start or inside of another value (``rootflags=password=…``), the word
    after ``--…token``, ``user:password@``, a URL's query, and what has the form of a token.
    """
    shown: list[str] = []
    hide_next = False
    for token in tokens:
        name, equals, value = token.partition("=")
        if hide_next and not token.startswith("--"):
            shown.append(REDACTED)
            hide_next = False
            continue
        hide_next = False
        if not _NAME.fullmatch(name):
            # An address, say, in whose query the first "=" is.
            shown.append(_without_secrets(token))
        elif _SECRET.search(name):
            hide_next = not equals and token.startswith("-")
            shown.append(f"{name}={REDACTED}" if equals else token)
        elif not equals:
            shown.append(_without_secrets(token))
        else:
            shown.append(token if name in _NO_SECRETS else f"{name}={_without_secrets(value)}")
    return shown


def _without_secrets(value: str) -> str:
    before, scheme, rest = value.partition("://")
    mark, query = "", ""
    if scheme:
        address, mark, query = (*re.split(r"([?#])", rest, maxsplit=1), "", "")[:3]
        # Either the query or a password before it holds that mark: nothing tells which.
        value = f"{before}://{REDACTED if '@' in query else address}"
        query = "" if "@" in query else query
    if "@" in value:
        value = _USER_INFO.sub(REDACTED, value)
    value = _BEARER.sub(rf"\1 {REDACTED}", _pairs_without_secrets(value))
    return _TOKEN.sub(REDACTED, value) + (f"{mark}{REDACTED}" if query else "")


def _pairs_without_secrets(value: str) -> str:
    """``a=1,password=x;y&b=2`` as ``a=1,password=<redacted>&b=2``: what has no name and does not follow a comma is the secret's rest."""
    pieces = _SEPARATOR.split(value)
    shown: list[str] = []
    hiding = False
    for separator, pair in zip(["", *pieces[1::2]], pieces[0::2]):
        names = pair.split("=")[:-1]
        if hiding and not names and separator != ",":
            continue
        found = next((i for i, name in enumerate(names) if _SECRET.search(name)), None)
        hiding = found is not None
        shown += [separator, pair if found is None else "=".join([*names[: found + 1], REDACTED])]
    return "".join(shown)
