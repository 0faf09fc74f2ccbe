# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The limits that PAM gives at a login: limits.conf(5), and the services that load pam_limits(8)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.host import Host

__all__ = ["entries", "facts", "loaded_by", "parse"]

_LIMITS = "/etc/security/limits.conf"
_DROPINS = "/etc/security/limits.d"
# The first that has a service's file wins; pam.conf(5).
_SERVICES = ("/etc/pam.d", "/usr/lib/pam.d", "/usr/share/pam.d")
_LISTED = 1000


def facts(host: Host) -> dict[str, Any]:
    """{entries[] {file, line, domain, type, item, value}, loaded_by[]}."""
    return {"entries": list(entries(host))[:_LISTED], "loaded_by": loaded_by(host)}


def entries(host: Host) -> Iterator[dict[str, Any]]:
    """The lines in the order in which pam_limits reads them: limits.conf, then its drop-ins by name.

    The form ``domain -`` (no limits for them) has neither item nor value.
    """
    for path in (_LIMITS, *(f"{_DROPINS}/{name}" for name in host.names(_DROPINS) if name.endswith(".conf"))):
        for entry in parse(host.read(path) or ""):
            yield {"file": path, **entry}


def parse(text: str) -> Iterator[dict[str, Any]]:
    """The lines of one file that count: {line, domain, type, item, value}."""
    for number, line in enumerate(text.split("\n"), 1):
        words = re.findall(r"\S+", line.partition("#")[0], re.ASCII)
        entry = {"line": number}
        if len(words) >= 4 and words[1].lower() in ("soft", "hard", "-"):
            domain, kind, item, value = words[:4]
            yield {**entry, "domain": domain, "type": kind.lower(), "item": item.lower(), "value": value.lower()}
        elif len(words) == 2 and words[1] == "-":
            yield {**entry, "domain": words[0], "type": "-", "item": None, "value": None}


def loaded_by(host: Host) -> list[str]:
    """The names of the services whose sessions load pam_limits, in their own file or in one that it includes."""
    files = {name: f"{folder}/{name}" for folder in reversed(_SERVICES) for name in host.names(folder)}
    texts = {name: _lines(host.read(path) or "") for name, path in files.items()}
    return sorted(name for name in texts if any(map(_is_limits, _session(texts, name))))


def _is_limits(words: list[str]) -> bool:
    # With a file of its own (conf=) it reads no drop-ins.
    return words[2].rpartition("/")[2] == "pam_limits.so" and not any(word.startswith("conf=") for word in words[3:])


def _session(texts: dict[str, list[list[str]]], name: str) -> Iterator[list[str]]:
    """The session lines of a service and of all that it includes, each file once."""
    waiting, seen = [name], {name}
    while waiting:
        for words in texts.get(waiting.pop(), ()):
            included = None
            if words[0] == "@include":
                included = words[1] if len(words) > 1 else None
            elif words[0].lstrip("-").lower() == "session" and len(words) > 2:
                if words[1] in ("include", "substack"):
                    included = words[2]
                else:
                    yield words
            target = (included or "").rpartition("/")[2]
            if target and target not in seen:
                seen.add(target)
                waiting.append(target)


def _lines(text: str) -> list[list[str]]:
    """The words of each line; a control in brackets, ``[success=ok default=ignore]``, is one word."""
    lines = (line.partition("#")[0] for line in text.replace("\\\n", " ").split("\n"))
    words = (re.findall(r"\[(?:[^\]\\]|\\.)*(?:\]|\\?$)|\S+", line, re.ASCII) for line in lines)
    return [line for line in words if line]
