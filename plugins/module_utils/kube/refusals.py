# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a refused eviction means: whether to come again, and what it waits for.

kubectl takes all but 404, 429 and a namespace that is terminating for the end; a webhook's denial or a server that is
not there may pass, and are waited for here. Sources: pkg/registry/core/pod/storage/eviction.go of kube-apiserver,
k8s.io/kubectl/pkg/drain, virt-api's pod eviction webhook of KubeVirt.
"""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.bulwark.node.plugins.module_utils.kube.errors import KubeError
from ansible_collections.bulwark.node.plugins.module_utils.kube.objects import printable

__all__ = ["PAUSE", "Refusal", "refusal"]

PAUSE = 5.0
"""Seconds until kubectl tries again what a budget refused; here, unless the server says how many."""
_TWO_BUDGETS = "more than one PodDisruptionBudget"
_WEBHOOK = "admission webhook"
_NO_DRY_RUN = "does not support dry run"
_EVACUATION = "Eviction triggered evacuation of VMI"
_NOT_MIGRATABLE = "is not live-migratable"


@dataclass(frozen=True)
class Refusal:
    """``kind``: gone (404), replaced (another UID, or changed meanwhile), budget, migration, webhook, namespace, busy (the
    whole server), error (of the server, with this pod), unreachable, dry_run (a webhook cannot be asked dry), unmovable or permanent.

    ``after``: seconds until it makes sense to come again, None where never.
    """

    kind: str
    text: str
    after: float | None


def refusal(error: KubeError) -> Refusal:
    """What the answer to an eviction, a deletion or a dry run of one says."""
    text = error.said
    after = PAUSE if error.retry_after is None else error.retry_after
    if error.status is None:
        return Refusal("unreachable", text, 0.0)
    if error.status in (404, 409):
        return Refusal("gone" if error.status == 404 else "replaced", text, 0.0)
    if _NO_DRY_RUN in text:
        return Refusal("dry_run", text, None)
    if _WEBHOOK in text:
        if _NOT_MIGRATABLE in text:
            return Refusal("unmovable", text, after)
        return Refusal("migration" if _EVACUATION in text else "webhook", text, after)
    if error.has_cause("NamespaceTerminating"):
        return Refusal("namespace", text, after)
    if error.status == 429 and error.has_cause("DisruptionBudget"):
        return Refusal("budget", printable("; ".join(str(cause.get("message")) for cause in error.causes)), after)
    if _TWO_BUDGETS in text or 400 <= error.status < 429 or 430 <= error.status < 500:
        return Refusal("permanent", text, None)
    if error.status == 429:
        return Refusal("busy", text, error.retry_after or 1.0)
    return Refusal("error", text, after)
