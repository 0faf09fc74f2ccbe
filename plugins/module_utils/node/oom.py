# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How often the kernel killed for want of memory: on the machine since its boot, and in the pods."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import cgroups
from ansible_collections.bulwark.node.plugins.module_utils.node.rate import DAY, since_boot
from ansible_collections.bulwark.node.plugins.module_utils.node.request import PASSIVE, Request

__all__ = ["facts"]

_LISTED = 50
_VISITED = 4096


def facts(host: Host, request: Request = PASSIVE) -> dict[str, Any]:
    """The subset ``oom``: {kills, outside_pods, pods {kills, kills_per_day, reason}, cgroups[] {path, kills}, reason}.

    ``outside_pods`` are the kills that hit none of the pods: None where those of pods that are gone are not counted.
    Only groups of pods that still exist can be listed, those with the most kills first.
    """
    kills = _number(host, "/proc/vmstat")
    pods, groups, cut = _pods(host)
    reason = None if kills is not None else "/proc/vmstat has no oom_kill: Linux 4.13 is the first that counts"
    if cut:
        reason = "; ".join(filter(None, (reason, f"of the groups of pods the first {_VISITED} were looked at")))
    whole = kills is not None and pods["kills"] is not None and pods["reason"] is None
    return {
        "kills": kills,
        "outside_pods": kills - pods["kills"] if whole and kills is not None else None,
        "pods": {**pods, "kills_per_day": since_boot(host, pods["kills"], DAY)},
        "cgroups": sorted(groups, key=lambda group: (-group["kills"], group["path"]))[:_LISTED],
        "reason": reason,
    }


def _pods(host: Host) -> tuple[dict[str, Any], list[dict[str, Any]], bool]:
    """The sum of all pods, the groups that had kills, and whether there were too many groups to look at all of them."""
    tree = cgroups.tree(host, "memory")
    tops = [path for path, dummy in cgroups.kubepods(host, tree.root)] if tree else []
    if tree is None or not tops:
        return {"kills": None, "reason": "this machine has no cgroup of all pods"}, [], False
    found, cut = [], False
    for top in tops:
        for index, path in enumerate(_below(host, tree.root, top)):
            if index >= _VISITED:
                cut = True
                break
            count = _own(host, f"{tree.root}/{path}", tree.version)
            if count:
                found.append({"path": path, "kills": count})
    if tree.version == "v2":
        # The counts of a group include all below it, also those that are gone.
        counts = [_number(host, f"{tree.root}/{top}/memory.events") for top in tops]
        known = [count for count in counts if count is not None]
        return (
            {
                "kills": sum(known) if known else None,
                "reason": None if known else "memory.events has no oom_kill",
            },
            found,
            cut,
        )
    reason = "on cgroup v1 only the groups that still exist are counted, not those of containers that are gone"
    return {"kills": sum(group["kills"] for group in found), "reason": reason}, found, cut


def _own(host: Host, folder: str, version: str) -> int | None:
    """The kills of a group itself, without those of the groups in it."""
    if version == "v1":
        return _number(host, f"{folder}/memory.oom_control")
    own = _number(host, f"{folder}/memory.events.local")
    # Before Linux 5.2 there are hierarchical numbers alone.
    return _number(host, f"{folder}/memory.events") if own is None and not host.folders(folder) else own


def _below(host: Host, root: str, top: str) -> Iterator[str]:
    """A group and all in it, from the top."""
    waiting = [top]
    while waiting:
        path = waiting.pop(0)
        yield path
        waiting.extend(f"{path}/{name}" for name in host.folders(f"{root}/{path}"))


def _number(host: Host, path: str) -> int | None:
    match = re.search(r"^oom_kill ([0-9]{1,20})$", host.read(path) or "", re.MULTILINE)
    return int(match.group(1)) if match else None
