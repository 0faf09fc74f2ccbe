# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this collection wrote on the machine and has not given back: the manifest, without what was there before."""

from __future__ import annotations

from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.manifest import Manifest
from ansible_collections.bulwark.node.plugins.module_utils.node.request import PASSIVE, Request

__all__ = ["facts"]


def facts(host: Host, request: Request = PASSIVE) -> dict[str, Any]:
    """The subset ``managed``: {objects[] {kind, object, by}, reason}; objects None where the manifest cannot be read.

    Texts from before are left out: they are other owners' files, which may hold secrets.
    """
    try:
        entries = Manifest(host, "managed").entries()
    except BulwarkError as error:
        return {"objects": None, "reason": str(error)}
    objects = [
        {"kind": kind, "object": name, "by": of_kind[name]["by"]}
        for kind, of_kind in entries.items()
        for name in sorted(of_kind)
    ]
    return {"objects": objects, "reason": None}
