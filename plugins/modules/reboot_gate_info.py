# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: reboot_gate_info
short_description: Tells whether a reboot may begin now, and every reason why not
version_added: 0.1.0
author:
  - The bulwark.node authors (@bulwark)
description:
  - Looks at maintenance windows, at Prometheus' alerts and at a node of Kubernetes, each where it is given, and returns all that is in the way
    at once.
  - What could not be asked is in the way too.
  - It needs no Kubernetes. No cluster is asked without O(node), whatever else is set, the environment (E(K8S_AUTH_KUBECONFIG)) included.
  - It looks from where it runs, by the clock of that machine, and so is best delegated to one that reaches Prometheus and the API server.
  - It does not fail because the gate is closed, or because Prometheus or the API server does not answer. It fails on options alone, and
    where O(node) is given and no cluster is found in the options, the environment or the pod.
  - Without any option it is open.
extends_documentation_fragment:
  - bulwark.node.kubernetes
  - bulwark.node.attributes
  - bulwark.node.attributes.info_module
  - bulwark.node.attributes.actiongroup_kubernetes
attributes:
  platform:
    support: full
    platforms: posix
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
  node:
    description:
      - The Kubernetes Node that would be rebooted. It alone lets a cluster be asked.
      - In the way is then always that there is no such Node; its pause annotation; what replaces a node that is slow to come back
        (O(node.accepted_remediators)); a Lease of medik8s on it that is held (C(medik8s-leases/node-NAME)), asked for where the cluster has
        an API of C(medik8s.io); that no other node would be left for pods or of the control plane; and that etcd would lose its quorum.
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
          - A label selector of the nodes that O(node.max_unavailable) and O(node.spacing) are about, which has to take this one too.
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
notes:
  - The package C(kubernetes) is needed with O(node) alone.
seealso:
  - module: bulwark.node.reboot_info
"""

EXAMPLES = r"""
- name: Ask once for all hosts whether a reboot of half an hour may begin
  bulwark.node.reboot_gate_info:
    windows:
      - days: [mo, tu, we, th]
        start: "22:00"
        end: 4am
        time_zone: Europe/Berlin
        day_semantics: start
        exclude: [2026-12-24..2027-01-06]
      - rrule: FREQ=MONTHLY;BYDAY=2SA
        duration: 86400
    reboot_duration: 1800
    prometheus:
      url: https://prometheus.example.org
      ignore: ^(Watchdog|RebootRequired)$
      firing_only: true
      bearer_token: "{{ prometheus_token }}"
  delegate_to: localhost
  run_once: true
  register: gate

- name: Stop where it may not, with every reason
  ansible.builtin.fail:
    msg: "{{ gate.reasons | map(attribute='detail') | list }}"
  when: not gate.open

- name: Let critical alerts of the payment team alone be in the way
  bulwark.node.reboot_gate_info:
    prometheus:
      url: http://prometheus.monitoring:9090
      labels:
        severity: critical
        team: payment
  delegate_to: localhost

- name: Ask whether this node of a cluster may be rebooted now
  bulwark.node.reboot_gate_info:
    kubeconfig: ~/.kube/config
    node:
      name: "{{ inventory_hostname }}"
      blocking_pod_selectors: [app=backup, "tier in (database,queue)"]
      safe_to_evict: true
      max_unavailable: 10%
      pool: "!node-role.kubernetes.io/control-plane"
      spacing: 600
  delegate_to: localhost
"""

RETURN = r"""
open:
  description: Whether nothing is in the way.
  returned: success
  type: bool
  sample: false
reasons:
  description: All that is in the way.
  returned: success
  type: list
  elements: dict
  contains:
    source:
      description:
        - V(windows) or V(prometheus). Of a Node V(node) (it is missing or another, or the nodes could not be asked), V(pause), V(pods),
          V(max_unavailable), V(spacing), V(last_node), V(etcd), V(medik8s_lease) or V(remediators).
      type: str
      sample: windows
    detail:
      description: What it is.
      type: str
      sample: no window is open; the next that has 1800 seconds opens at 2026-11-23T21:00:00Z
    until:
      description: When it goes by itself, in seconds since the epoch. V(null) where that is not known.
      type: int
      sample: 1795467600
    error:
      description: Whether it could not be asked, or what was asked cannot be.
      type: bool
      sample: false
    object:
      description: The object of Kubernetes that is in the way. V(null) where it is none, or several.
      type: dict
      sample: {kind: Pod, namespace: default, name: backup-29012345-x2k7p}
      contains:
        kind:
          description: Its kind.
          type: str
          sample: Pod
        namespace:
          description: Its namespace. V(null) where it is in none.
          type: str
          sample: default
        name:
          description: Its name.
          type: str
          sample: backup-29012345-x2k7p
next_opening:
  description:
    - The first moment at which the windows let a reboot of O(reboot_duration) begin, in seconds since the epoch.
    - It is now where they do, or where there are none.
    - V(null) where they do not within 731 days. What else is in the way is not foretold.
  returned: success
  type: int
  sample: 1795467600
closes:
  description:
    - When the windows that are open now close, in seconds since the epoch.
    - V(null) where none is open, where there are none, and where it is more than a week until then.
  returned: success
  type: int
  sample: null
checked_at:
  description: The moment that all of this is about, in seconds since the epoch.
  returned: success
  type: int
  sample: 1795266000
"""

import datetime
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError, OptionError
from ansible_collections.bulwark.node.plugins.module_utils.kube import obstacles
from ansible_collections.bulwark.node.plugins.module_utils.kube.client import ARGUMENT_SPEC, connect
from ansible_collections.bulwark.node.plugins.module_utils.kube.module import KubeModule
from ansible_collections.bulwark.node.plugins.module_utils.module import fail
from ansible_collections.bulwark.node.plugins.module_utils.reboot import prometheus
from ansible_collections.bulwark.node.plugins.module_utils.reboot.alerts import alert_reasons, selection
from ansible_collections.bulwark.node.plugins.module_utils.reboot.gate import Gate, Reason, decide
from ansible_collections.bulwark.node.plugins.module_utils.reboot.window import WINDOW_SPEC, parse_windows

_WEEK = 604800


def main() -> None:
    module = KubeModule(
        argument_spec={
            "windows": {"type": "list", "elements": "dict", "default": [], "options": WINDOW_SPEC},
            "reboot_duration": {"type": "int", "default": 0},
            "prometheus": {"type": "dict", "options": prometheus.PROMETHEUS_SPEC},
            "node": {"type": "dict", "options": obstacles.NODE_SPEC},
            **ARGUMENT_SPEC,
        },
        supports_check_mode=True,
    )
    try:
        gate = look(module.params)
    except BulwarkError as error:
        fail(module, "reboot_gate_info", error)
    module.exit_json(changed=False, **gate.as_dict())


def look(params: dict[str, Any]) -> Gate:
    """All options first, so that a wrong one costs no request; then all that is asked. Raises BulwarkError, OptionError."""
    windows = parse_windows("windows", params["windows"])
    if not 0 <= params["reboot_duration"] <= _WEEK:
        raise OptionError("reboot_duration", params["reboot_duration"], f"seconds, from 0 to {_WEEK} (a week)")
    alerts, node = params["prometheus"], params["node"]
    if alerts:
        prometheus.check("prometheus", alerts)
        chosen = selection("prometheus", alerts)
    if node:
        limits = obstacles.limits("node", node)
        client = connect(params)
    reasons: list[Reason] = []
    if alerts:
        try:
            reasons += alert_reasons(prometheus.query(alerts), chosen)
        except prometheus.PrometheusError as error:
            reasons.append(Reason("prometheus", str(error), error=True))
    if node:
        reasons += obstacles.look(client, node["name"], limits, datetime.datetime.now(datetime.timezone.utc))
    moment = datetime.datetime.now(datetime.timezone.utc)
    return decide(moment, windows, datetime.timedelta(seconds=params["reboot_duration"]), reasons)


if __name__ == "__main__":
    main()
