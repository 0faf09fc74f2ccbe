# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sends pods away, one request a pod: by the eviction API, whose budgets and webhooks are asked, or by deleting them."""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.bulwark.node.plugins.module_utils.kube import pods
from ansible_collections.bulwark.node.plugins.module_utils.kube.client import PODS, Client
from ansible_collections.bulwark.node.plugins.module_utils.kube.errors import KubeError
from ansible_collections.bulwark.node.plugins.module_utils.kube.pods import Object
from ansible_collections.bulwark.node.plugins.module_utils.kube.refusals import Refusal, refusal

__all__ = ["Remover", "eviction_version"]


def eviction_version(client: Client) -> str | None:
    """The version that the server wants an Eviction in, None where it has none and pods can only be deleted.

    As CheckEvictionSupport of kubectl finds it. Raises KubeError.
    """
    for item in client.served():
        if item.get("name") == "pods/eviction" and item.get("kind") == "Eviction":
            group, version = item.get("group"), item.get("version")
            return f"{group}/{version}" if group and version else None
    return None


@dataclass(frozen=True)
class Remover:
    """``version``: of an Eviction, None where there is none."""

    client: Client
    version: str | None

    def remove(self, pod: Object, action: str, grace: int | None, dry_run: bool = False) -> Refusal | None:
        """Evict or delete exactly this pod, not the next of its name; None where the server did it, or would.

        Raises KubeError where nobody may do this as we are, and where a dry run is not answered.
        """
        namespace, name = pods.key(pod)
        options: dict[str, object] = {"preconditions": {"uid": pods.uid(pod)}}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        eviction = {
            "apiVersion": self.version,
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": namespace},
            "deleteOptions": options,
        }
        try:
            if action == "evict" and self.version:
                self.client.create(PODS, eviction, namespace, name, "eviction", dry_run)
            else:
                self.client.delete(PODS, name, namespace, pods.uid(pod), grace, dry_run)
        except KubeError as error:
            if error.status == 401 or "rbac_rule" in error.details or (dry_run and error.status is None):
                raise
            return refusal(error)
        return None
