# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Events of a Node, which ``kubectl describe node`` shows: what was done to it, when and by which run."""

from __future__ import annotations

import datetime as dt

from ansible_collections.bulwark.node.plugins.module_utils.kube.client import EVENTS, Client, KubeError, Object
from ansible_collections.bulwark.node.plugins.module_utils.kube.connection import USER_AGENT
from ansible_collections.bulwark.node.plugins.module_utils.kube.objects import printable

__all__ = ["tell"]

# Nodes are in no namespace, and events of what is in none are in this one (pkg/apis/core/validation/events.go).
_NAMESPACE = "default"
# NoteLengthLimit and ReportingInstanceLengthLimit there, in bytes, of which a character may take four.
_MESSAGE_LENGTH = 250
_INSTANCE_LENGTH = 30
_SECONDS = 10.0


def tell(client: Client, node: str, reason: str, message: str, run: str, warning: bool = False) -> str | None:
    """Write an event; what was done is done without it too, so that an error is given as its text. None where it is written."""
    stamp = dt.datetime.fromtimestamp(client.now(), dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    # The uid of a node in events is its name, as kubelet writes them; kubectl looks for both.
    about: Object = {"apiVersion": "v1", "kind": "Node", "name": node, "uid": node}
    event: Object = {
        "apiVersion": "v1",
        "kind": "Event",
        # The server cuts off what would be too long.
        "metadata": {"generateName": f"{node}.", "namespace": _NAMESPACE},
        "involvedObject": about,
        "reason": reason,
        "message": printable(message, _MESSAGE_LENGTH),
        "type": "Warning" if warning else "Normal",
        "source": {"component": USER_AGENT},
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
        "reportingComponent": USER_AGENT,
        "reportingInstance": printable(run, _INSTANCE_LENGTH),
    }
    try:
        with client.within(_SECONDS):
            client.create(EVENTS, event, _NAMESPACE)
    except KubeError as error:
        return f"the event {reason} was not written: {error}"
    return None
