# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of annotations and labels of Nodes, Pods, Machines and our Lease: who reads and who writes them agree here."""

from __future__ import annotations

__all__ = [
    "CONTROL_PLANE",
    "CORDON",
    "DO_NOT_DISRUPT",
    "DRAIN",
    "ETCD",
    "HOLDERS",
    "KURED_NEEDED",
    "KURED_REBOOTING",
    "PAUSED",
    "QUARANTINED",
    "REBOOTED",
    "REBOOTING",
    "SAFE_TO_EVICT",
]

# Ours, on Nodes. The reason why nobody may reboot it, by an administrator.
PAUSED = "bulwark.node/reboot-paused"
# From before the cordon to after the uncordon: who reboots it, since when, and what it was like before.
REBOOTING = "bulwark.node/rebooting"
# When its reboot ended, proof and soak included, as RFC 3339.
REBOOTED = "bulwark.node/rebooted"
# It did not prove itself after its reboot: by which run, when and why. Nobody goes on until it is taken away.
QUARANTINED = "bulwark.node/quarantined"

# By which run it was cordoned, and when. Without it a cordon is somebody else's.
CORDON = "bulwark.node/cordon"
# By which run it is being drained, and since when.
DRAIN = "bulwark.node/drain"

# On our Lease, all who hold the lock; its spec shows the one that ends last.
HOLDERS = "bulwark.node/holders"

# kured's, with --annotate-nodes (its cmd/kured/main.go).
KURED_REBOOTING = "weave.works/kured-reboot-in-progress"
KURED_NEEDED = "weave.works/kured-most-recent-reboot-needed"
# On Pods, the cluster autoscaler's.
SAFE_TO_EVICT = "cluster-autoscaler.kubernetes.io/safe-to-evict"
# On Nodes and NodeClaims, https://karpenter.sh/docs/concepts/disruption/.
DO_NOT_DISRUPT = "karpenter.sh/do-not-disrupt"

# Labels of Nodes whose mere presence counts: kubeadm's of today and before 1.24, and that of k3s and RKE2.
CONTROL_PLANE = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")
ETCD = "node-role.kubernetes.io/etcd"
