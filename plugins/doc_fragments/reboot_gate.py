# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a reboot may begin: the options that the gate of one node and the plan of a cluster have in common."""

from __future__ import annotations

import textwrap

# What has to be so of a node: LIMITS_SPEC of module_utils/kube/obstacles.py. WHERE is the option that holds them.
_LIMITS = r"""
blocking_pod_selectors:
  description:
    - Label selectors, as of C(kubectl -l). Pods on the node, of any namespace, that one of them selects are in the way until they are
      C(Succeeded) or C(Failed), as with kured's C(--blocking-pod-selector).
    - A pod whose phase is C(Unknown), which kured lets pass, is in the way.
    - Give a list, also of one. A string is split at its commas, which are parts of a selector.
  type: list
  elements: str
  default: []
safe_to_evict:
  description:
    - Whether pods on the node that are not finished and have the annotation C(cluster-autoscaler.kubernetes.io/safe-to-evict) with
      C(false) are in the way.
  type: bool
  default: false
max_unavailable:
  description:
    - How many nodes may be down with this one, as a number or as a share such as V(10%), which is rounded down, to one at least, as a
      MachineConfigPool's.
    - Down are those that are not C(Ready), those that are cordoned, and those that are being rebooted by the annotation
      C(bulwark.node/rebooting) or kured's C(weave.works/kured-reboot-in-progress). The node itself counts once, down already or not.
    - Without it nothing is counted.
  type: str
spacing:
  description:
    - How many seconds have to pass after a node came up. That is when its condition C(Ready) became true, or what the annotation
      C(bulwark.node/rebooted) says, whichever is later.
    - A node that has just joined counts as well, and so does this one.
  type: int
  default: 0
pool:
  description:
    - A label selector of the nodes that O(WHERE.max_unavailable) and O(WHERE.spacing) are about, which has to take this one too.
    - All nodes by default.
  type: str
pause_annotation:
  description:
    - An annotation of the Node that stops it, with its value as the reason. V(false) stops nothing.
    - Those who pause nodes for Flatcar's operator take C(flatcar-linux-update.v1.flatcar-linux.net/reboot-paused).
  type: str
  default: bulwark.node/reboot-paused
accepted_remediators:
  description:
    - Who may act on this node while it is away. All others are in the way where they would, each with what makes them leave it alone.
    - V(cluster_api) and V(openshift) are MachineHealthChecks (C(cluster.x-k8s.io), C(machine.openshift.io)) that select its Machine, but
      for those with the annotation C(cluster.x-k8s.io/paused), and Machines of C(cluster.x-k8s.io) with it or
      C(cluster.x-k8s.io/skip-remediation). A Machine in a management cluster is seen by the Node's annotation alone, and in the way.
    - V(medik8s) are NodeHealthChecks that select it, but for those with C(pauseRequests), and a Node with the label
      C(remediation.medik8s.io/exclude-from-remediation) as V(true).
    - V(metal3) is a BareMetalHost of it that has C(reboot.metal3.io).
    - V(karpenter) removes nodes that a drain has emptied, unless the Node or its NodeClaim has C(karpenter.sh/do-not-disrupt) as V(true). Its
      node repair, where that is on, heeds it not.
    - V(gke), V(eks) and V(aks) are told by the labels of their node pools alone. Whether repair is on there no cluster knows.
    - Those that are accepted are not asked for.
  type: list
  elements: str
  choices:
    - cluster_api
    - openshift
    - metal3
    - medik8s
    - karpenter
    - gke
    - eks
    - aks
  default: []
etcd:
  description:
    - Where etcd runs, whose quorum has to hold without the member on this node. It is asked for of nodes of the control plane, and of
      those with the label C(node-role.kubernetes.io/etcd).
    - With V(stacked) the members are the nodes with that label, else those of the control plane, where any pod of
      C(component=etcd) is seen in C(kube-system). A member is healthy where its node is C(Ready) and its pod, if there are any. Where
      none is seen, the quorum is unknown, which is in the way.
    - With V(control_plane) each node of the control plane has one that is not seen, as with Talos or OpenShift, healthy where the node
      is C(Ready).
    - With V(external) none is on a node of this cluster.
  type: str
  choices:
    - stacked
    - control_plane
    - external
  default: stacked
allow_outage:
  description:
    - Whether the cluster may be without its only node for pods, its only node of the control plane, or its quorum where etcd has no more
      than two members, for as long as this one reboots.
    - Where there are others that are merely down, they are waited for all the same.
  type: bool
  default: false
failure_budget:
  description:
    - How many nodes of the cluster may have failed to prove themselves after their reboots, which is what the annotation
      C(bulwark.node/quarantined) says. With more of them no other node is to be rebooted, by whichever run.
  type: int
  default: 0
lift_quarantine:
  description:
    - Whether a node may be rebooted that did not prove itself after a reboot. Such nodes are in the way of others all the same, until they
      have proved themselves.
  type: bool
  default: false
"""


def _limits(where: str) -> str:
    return textwrap.indent(_LIMITS.replace("WHERE", where), " " * 6)


class ModuleDocFragment:
    """The fragments C(bulwark.node.reboot_gate*)."""

    # GATE_SPEC of module_utils/reboot/gate_options.py.
    DOCUMENTATION = r"""
options:
  windows:
    description:
      - When a reboot may begin. Without any window it may at all times. With several, one of them has to be open.
      - A window is open whenever the clock of its zone shows a time in it. An hour that the zone leaves out in spring is in no window, and one
        that comes twice in autumn is in it twice.
    type: list
    elements: dict
    default: []
    suboptions:
      days:
        description:
          - Days of the week as kured spells them. V(mo), V(mon) and V(Monday) are one day, as is V(1), counted from V(0) for Sunday.
          - All days by default.
          - Mutually exclusive with O(windows[].rrule).
        type: list
        elements: str
      start:
        description:
          - When it opens, as kured spells it, such as V(9am), V(11:59pm), V(15), V(15:04) or V(23:59:59). By default at midnight.
          - Put it in quotes. YAML takes V(22:00) without them for the number 1320.
        type: str
      end:
        description:
          - When it closes, spelled as O(windows[].start), or V(24:00). By default V(23:59:59).
          - The second that it names is in the window, as with kured.
          - Where it is before O(windows[].start) the window goes through midnight.
        type: str
      duration:
        description:
          - For how many seconds it is open from O(windows[].start) on, up to a week, instead of O(windows[].end).
          - Where the zone leaves out the start, it opens right after the gap. Where the start comes twice, it opens at the first.
        type: int
      time_zone:
        description:
          - The zone of days, times and dates, such as V(Europe/Berlin).
          - All but V(UTC) take the time zone database of the machine that the module runs on, on Debian its package C(tzdata).
        type: str
        default: UTC
      day_semantics:
        description:
          - What O(windows[].days) mean for a window through midnight.
          - With V(current) a day is the one that it is at the moment, as with kured. From 23:00 to 02:00 on V(fri) is then open in the first two hours
            of Friday and in its last.
          - With V(start) it is the day on which the window starts, so that it is open from Friday 23:00 to Saturday 02:00.
          - V(current) by default, and always V(start) with O(windows[].duration) or O(windows[].rrule).
        type: str
        choices:
          - current
          - start
      rrule:
        description:
          - The days on which it starts as a rule of RFC 5545, instead of O(windows[].days), such as V(FREQ=MONTHLY;BYDAY=2TU).
          - It takes C(FREQ) of C(DAILY), C(WEEKLY) or C(MONTHLY), C(BYDAY) (in months with ordinals), C(BYMONTHDAY), C(INTERVAL), and C(UNTIL) or
            C(COUNT). All else is refused by name.
          - What is counted takes a start before it, V(DTSTART:20260105 RRULE:FREQ=WEEKLY;INTERVAL=2;BYDAY=MO). Dates have neither time nor zone here.
        type: str
      exclude:
        description:
          - Dates on which this window is closed, and on which none starts, such as V(2026-12-24), or the first and the last of some,
            V(2026-12-24..2027-01-06).
        type: list
        elements: str
        default: []
  reboot_duration:
    description:
      - How many seconds the reboot may take, drain and all. The windows have to be open as long as that.
      - With V(0) a window has to be open at this moment alone, as with kured.
    type: int
    default: 0
  prometheus:
    description:
      - Whom to ask for alerts, which are in the way while they are pending or firing.
      - An error is in the way, and so is an answer that warns that it may not be whole.
    type: dict
    suboptions:
      url:
        description: The address, without C(/api/v1). Redirects are not followed.
        type: str
        required: true
      query:
        description:
          - The PromQL to ask. Each of its samples that is not 0 is in the way.
          - Alerts that are silenced in the Alertmanager are among C(ALERTS) all the same.
        type: str
        default: ALERTS
      ignore:
        description:
          - A regular expression. An alert in whose name it is found is not in the way, as with kured's C(--alert-filter-regexp).
          - It is Python's, found anywhere in the name unless C(^) and C($) say otherwise. Go's, which kured takes, are mostly the same.
          - Where Go's mean something else or nothing in Python they are refused. These are C([[:alpha:]]) and its like, C(\p), C(\Q), C(\z), C(\C), and
            flags elsewhere than at the beginning. C(\d), C(\w), C(\s) and C(\b) know ASCII alone, as in Go.
          - What Go refuses is taken, such as C((?!) and C(\1).
        type: str
      match:
        description:
          - A regular expression as of O(prometheus.ignore). Only alerts in whose name it is found are in the way, as with kured's C(--alert-filter-match-only).
          - What O(prometheus.ignore) finds as well is not in the way.
        type: str
      firing_only:
        description: Whether alerts that are still pending are not in the way.
        type: bool
        default: false
      labels:
        description: Labels with their values. Only alerts that have all of them are in the way. An empty value is that of a label that is not there.
        type: dict
        default: {}
      bearer_token:
        description: A token to be sent. Mutually exclusive with O(prometheus.username).
        type: str
      username:
        description: The user for basic authentication, together with O(prometheus.password).
        type: str
      password:
        description: The password for O(prometheus.username).
        type: str
      validate_certs:
        description: Whether the server's certificate has to be valid.
        type: bool
        default: true
      ca_path:
        description: A file of certificates that are trusted beside the machine's own.
        type: path
      use_proxy:
        description: Whether proxies of the environment (C(https_proxy)) are used.
        type: bool
        default: true
      timeout:
        description: How many seconds it has to answer.
        type: int
        default: 10
"""

    # Annotated: in a plain assignment ansible-test's yamllint takes plain text alone.
    NODE: str = r"""
options:
  node:
    description:
      - The Kubernetes Node that would be rebooted. It alone lets a cluster be asked.
      - In the way is then always that there is no such Node; its pause annotation; what replaces a node that is slow to come back
        (O(node.accepted_remediators)); a Lease of medik8s on it that is held (C(medik8s-leases/node-NAME)), asked for where the cluster has
        an API of C(medik8s.io); that no other node would be left for pods or of the control plane; that etcd would lose its quorum; and that
        it (O(node.lift_quarantine)) or others (O(node.failure_budget)) did not prove themselves after a reboot.
      - What else is in the way is asked for by an option each.
      - The rights that it takes are in C(roles/reboot/files/rbac.yml) of this collection.
    type: dict
    suboptions:
      name:
        description: Its name in the cluster.
        type: str
        required: true
      boot_id:
        description:
          - What the machine says in C(/proc/sys/kernel/random/boot_id), as M(bulwark.node.reboot_info) returns it.
          - Where the Node has another, it is another machine's, or has not heard of the last boot. Both are in the way.
        type: str
      machine_id:
        description: What the machine says in C(/etc/machine-id). Where the Node has another, it is another machine's, which is in the way.
        type: str
""" + _limits("node")

    LIMITS: str = r"""
options:
  limits:
    description:
      - What has to be so of a node that is to be rebooted, and of those around it.
      - In the way is always that there is no such Node, or that it is another machine's; its pause annotation; what replaces a node that is
        slow to come back (O(limits.accepted_remediators)); a Lease of medik8s on it that is held; that no other node would be left for pods or
        of the control plane; that etcd would lose its quorum; and that it (O(limits.lift_quarantine)) or others (O(limits.failure_budget)) did
        not prove themselves after a reboot.
      - What else is in the way is asked for by an option each.
    type: dict
    suboptions:
""" + _limits("limits")
