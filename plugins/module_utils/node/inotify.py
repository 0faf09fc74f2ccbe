# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who uses inotify, beside what a user may. Sources: inotify(7), proc_pid_fdinfo(5).

The limits are each user's, and all containers of root are one user. A descriptor that a child inherited is counted with it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import processes
from ansible_collections.bulwark.node.plugins.module_utils.node.processes import Process
from ansible_collections.bulwark.node.plugins.module_utils.node.request import PASSIVE, Request

__all__ = ["facts"]

_LIMITS = "/proc/sys/fs/inotify"
_LINK = "anon_inode:inotify"
# Half a second of looking; what has more files is no node.
_MOST_FILES = 50_000
_LISTED = 5


@dataclass
class _User:
    """What the processes of one user have, in descriptors and watches."""

    instances: int = 0
    watches: int = 0
    processes: dict[tuple[int, str], int] = field(default_factory=lambda: defaultdict(int))


def facts(host: Host, request: Request = PASSIVE) -> dict[str, Any]:
    """The subset ``inotify``: {max_user_instances, max_user_watches, users[], complete, reason}.

    A user is {uid, instances, watches, instances_fullness, watches_fullness, processes[] {name, pid, instances}}, the one
    with the most instances first, and so are the processes, of which the first are listed. ``complete`` is True, or None
    where not all open files were seen: there may then be more.
    """
    instances, watches = (host.integer(f"{_LIMITS}/{name}") for name in ("max_user_instances", "max_user_watches"))
    users, reason = _users(host)
    return {
        "max_user_instances": instances,
        "max_user_watches": watches,
        "users": [
            {
                "uid": uid,
                "instances": user.instances,
                "watches": user.watches,
                "instances_fullness": round(user.instances / instances, 4) if instances else None,
                "watches_fullness": round(user.watches / watches, 4) if watches else None,
                "processes": [
                    {"name": name, "pid": pid, "instances": count}
                    for (pid, name), count in sorted(user.processes.items(), key=lambda each: (-each[1], each[0]))
                ][:_LISTED],
            }
            for uid, user in sorted(users.items(), key=lambda each: (-each[1].instances, each[0]))
        ],
        "complete": None if reason else True,
        "reason": reason,
    }


def _users(host: Host) -> tuple[dict[int, _User], str | None]:
    """By user, and why some of their files were not seen."""
    found: dict[int, _User] = defaultdict(_User)
    seen, hidden = 0, []
    for process in processes.everyone(host):
        try:
            for number in host.names(f"/proc/{process.pid}/fd"):
                seen += 1
                if seen > _MOST_FILES:
                    return found, f"of the open files the first {_MOST_FILES} were looked at"
                if host.link_target(f"/proc/{process.pid}/fd/{number}") == _LINK:
                    _count(host, process, number, found)
        except HostError as error:
            hidden.append(str(error))
    more = f", and those of {len(hidden) - 1} more processes are hidden" if len(hidden) > 1 else ""
    return found, f"{hidden[0]}{more}" if hidden else None


def _count(host: Host, process: Process, number: str, found: dict[int, _User]) -> None:
    uid = process.effective_uid
    if uid is None:
        return  # it ended meanwhile
    user = found[uid]
    user.instances += 1
    user.watches += len(
        re.findall(r"^inotify wd:", host.read(f"/proc/{process.pid}/fdinfo/{number}") or "", re.MULTILINE)
    )
    user.processes[process.pid, process.name] += 1
