# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Events of a Node, which ``kubectl describe node`` shows: what was done to it, when and by which run."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from ansible_collections.bulwark.node.plugins.module_utils.kube.client import EVENTS, Client, KubeError
from ansible_collections.bulwark.node.plugins.module_utils.kube.connection import USER_AGENT
from ansible_collections.bulwark.node.plugins.module_utils.kube.objects import printable

__all__ = ["Happened", "tell"]

# Nodes are in no namespace, and events of what is in none are in this one (pkg/apis/core/validation/events.go).
_NAMESPACE = "default"
# In characters, of which each may take four of the 1024 bytes there (NoteLengthLimit).
_LONGEST = 250
_SECONDS = 10.0


@dataclass(frozen=True)
class Happened:
    """What an event tells: its reason, which is one word, and a sentence."""

    reason: str
    message: str
    warning: bool = False


def tell(client: Client, node: str, run: str, happened: Happened) -> str | None:
    """Write an event. What happened has happened without it too, so that an error is given as its text; None without one."""
    stamp = dt.datetime.fromtimestamp(client.now(), dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        # The server cuts off what would be too long.
        "metadata": {"generateName": f"{node}.", "namespace": _NAMESPACE},
        # The uid of a node in events is its name, as kubelet writes them; kubectl looks for both.
        "involvedObject": {"apiVersion": "v1", "kind": "Node", "name": node, "uid": node},
        "reason": happened.reason,
        "message": printable(happened.message, _LONGEST),
        "type": "Warning" if happened.warning else "Normal",
        "source": {"component": USER_AGENT},
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
        "reportingComponent": USER_AGENT,
        "reportingInstance": run,
    }
    try:
        with client.within(_SECONDS):
            client.create(EVENTS, event, _NAMESPACE)
    except KubeError as error:
        return f"the event {happened.reason} was not written: {error}"
    return None
