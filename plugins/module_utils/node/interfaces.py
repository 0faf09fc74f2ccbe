# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of interfaces(5), which ifupdown and ifupdown2 read."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator

from ansible_collections.bulwark.node.plugins.module_utils.host import Host

__all__ = ["INTERFACES", "texts"]

INTERFACES = "/etc/network/interfaces"


def texts(host: Host) -> Iterator[tuple[str, str]]:
    """(path, text with its continued lines joined) of INTERFACES and of what it sources, one level deep. Raises HostError."""
    text = _text(host, INTERFACES)
    yield INTERFACES, text
    for word, pattern in re.findall(r"^[ \t]*(source|source-directory)[ \t]+(\S+)", text, re.MULTILINE):
        if not pattern.startswith("/"):
            pattern = f"/etc/network/{pattern}"
        folder, glob = (pattern, "*") if word == "source-directory" else pattern.rpartition("/")[::2]
        for name in host.names(folder):
            if fnmatch.fnmatchcase(name, glob) and host.is_file(path := f"{folder}/{name}"):
                yield path, _text(host, path)


def _text(host: Host, path: str) -> str:
    return re.sub(r"\\\n", " ", host.read(path) or "")
