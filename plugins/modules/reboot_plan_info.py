# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: reboot_plan_info
short_description: Tells in which order the nodes of a cluster are to be rebooted, which of them at once, and what is in the way
version_added: 0.1.0
author:
  - The bulwark.node authors (@bulwark)
description:
  - Takes what the hosts said of themselves (O(nodes)), looks at the cluster once, and returns the batches in which they are to be rebooted and all
    that is in the way, of all of them and of each.
  - Nodes with which a run began that did not end come first, each alone. Then come workers, at last nodes of the control plane and those that
    may have a member of etcd, each alone. A batch is of one zone, and zone follows zone by name. In a zone first comes whoever has waited
    longest, then the oldest node.
  - A batch is never larger than O(concurrency), nor than what O(limits.max_unavailable) leaves with those that are down already, and always leaves a
    node for pods.
  - What is in the way of one node takes it out of the batches. What is in the way of all, or of all that O(limits.max_unavailable) and O(limits.spacing)
    count, does not, for it goes by itself. It is waited for.
  - All after the nodes that were interrupted is planned as if these were up again.
  - It judges as M(bulwark.node.reboot_gate_info) does, which is to be asked again right before each reboot. A plan is of one moment.
  - It does not fail because something is in the way, or because Prometheus or the API server does not answer. It fails on options alone, and where
    no cluster is found in them, the environment or the pod.
extends_documentation_fragment:
  - bulwark.node.reboot_gate
  - bulwark.node.reboot_gate.limits
  - bulwark.node.kubernetes
  - bulwark.node.attributes
  - bulwark.node.attributes.info_module
  - bulwark.node.attributes.actiongroup_kubernetes
attributes:
  platform:
    support: full
    platforms: posix
options:
  nodes:
    description: The nodes that there is to plan for, each once. Those of the cluster that are not among them are not rebooted, but count where they are down.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Its name in the cluster.
        type: str
        required: true
      host:
        description: Its name in the inventory. O(nodes[].name) by default.
        type: str
      required:
        description: Whether it needs a reboot, as M(bulwark.node.reboot_info) returns it. Left out where that could not be told.
        type: bool
      since:
        description: Since when, in seconds since the epoch, as M(bulwark.node.reboot_info) returns it.
        type: int
      boot_id:
        description:
          - What the machine says in C(/proc/sys/kernel/random/boot_id), as M(bulwark.node.reboot_info) returns it.
          - Where the Node has another, it is another machine's, or has not heard of the last boot. Both are in the way.
        type: str
      machine_id:
        description: What the machine says in C(/etc/machine-id). Where the Node has another, it is another machine's, which is in the way.
        type: str
      blocked:
        description: Why the machine must not be rebooted now, as texts, such as those of RV(bulwark.node.reboot_info#module:blocked).
        type: list
        elements: str
        default: []
      error:
        description: Why the machine could not be asked. It is in no batch then, whatever else is known of it.
        type: str
  concurrency:
    description: How many nodes may be rebooted at once.
    type: int
    default: 1
  zone_label:
    description: The label of Nodes that says in which zone they are.
    type: str
    default: topology.kubernetes.io/zone
notes:
  - The rights that it takes are in C(roles/reboot/files/rbac.yml) of this collection.
seealso:
  - module: bulwark.node.reboot_info
  - module: bulwark.node.reboot_gate_info
"""

EXAMPLES = r"""
- name: Ask each host whether it needs a reboot
  bulwark.node.reboot_info:
  become: true
  register: asked
  ignore_errors: true
  ignore_unreachable: true

- name: Note what it said
  ansible.builtin.set_fact:
    reboot_row: >-
      {{ {'name': inventory_hostname, 'required': asked.required | default(none), 'since': asked.since | default(none),
          'blocked': asked.blocked | default([]) | map(attribute='detail') | list,
          'error': '' if asked.required is defined else asked.msg} }}

- name: Plan the reboots of all of them
  bulwark.node.reboot_plan_info:
    kubeconfig: ~/.kube/config
    nodes: "{{ ansible_play_hosts_all | map('extract', hostvars, 'reboot_row') | list }}"
    concurrency: 2
    limits:
      max_unavailable: 10%
      spacing: 300
    windows:
      - days: [mo, tu, we, th]
        start: "22:00"
        duration: 21600
        time_zone: Europe/Berlin
    reboot_duration: 1800
  delegate_to: localhost
  run_once: true
  register: plan

- name: Show it
  ansible.builtin.debug:
    var: plan.table
  run_once: true
"""

RETURN = r"""
nodes:
  description: Each of O(nodes), in the order of the batches, then those that are in none by name.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Its name in the cluster.
      type: str
      sample: worker-3
    host:
      description: Its name in the inventory.
      type: str
      sample: worker-3.example.org
    required:
      description: Whether it needs a reboot. V(null) where that is not known.
      type: bool
      sample: true
    state:
      description:
        - V(interrupted) where a run began with it that did not end (the annotation C(bulwark.node/rebooting)), and V(planned) where it is to be rebooted.
          These are in a batch, all others in none.
        - V(blocked) where something is in its way that is not in the way of all, V(not_required), and V(unknown) where it could not tell whether it
          needs a reboot.
        - V(not_asked) where the host could not be asked, V(absent) where the cluster has no such Node, and V(quarantined) where it did not prove
          itself after a reboot (the annotation C(bulwark.node/quarantined)), unless that is lifted (O(limits.lift_quarantine)).
        - Where the nodes of the cluster could not be asked, what would be planned is V(blocked).
      type: str
      sample: planned
    batch:
      description: The number of its batch. V(null) where it is in none.
      type: int
      sample: 1
    zone:
      description: Its zone. V(null) where it has no such label.
      type: str
      sample: eu-west-1a
    control_plane:
      description: Whether it is of the control plane, or may have a member of etcd, and so is rebooted alone and last.
      type: bool
      sample: false
    since:
      description: Since when it needs a reboot, in seconds since the epoch. V(null) where that is not known.
      type: int
      sample: 1795100000
    reasons:
      description: What is in its way, of which RV(reasons) are no part. Empty where it needs no reboot.
      type: list
      elements: dict
      contains:
        source:
          description:
            - What M(bulwark.node.reboot_gate_info) returns of a Node but for V(failure_budget), or V(host) for what the machine has against it, or why it
              could not be asked.
          type: str
          sample: spacing
        detail:
          description: What it is.
          type: str
          sample: worker-7 came up at 2026-11-21T12:56:40Z, and 300 seconds have to pass after that, until 2026-11-21T13:01:40Z
        until:
          description: When it goes by itself, in seconds since the epoch. V(null) where that is not known.
          type: int
          sample: 1795266100
        error:
          description: Whether it could not be asked, or what was asked cannot be.
          type: bool
          sample: false
        object:
          description: The object of Kubernetes that is in the way. V(null) where it is none, or several.
          type: dict
          sample: {kind: Node, namespace: null, name: worker-7}
          contains:
            kind:
              description: Its kind.
              type: str
              sample: Node
            namespace:
              description: Its namespace. V(null) where it is in none.
              type: str
              sample: null
            name:
              description: Its name.
              type: str
              sample: worker-7
batches:
  description: What is rebooted at once, in the order in which it is to be.
  returned: success
  type: list
  elements: dict
  contains:
    number:
      description: Its number, from 1 on.
      type: int
      sample: 1
    nodes:
      description: Names in the cluster, in the order of the plan.
      type: list
      elements: str
      sample: [worker-3, worker-5]
    hosts:
      description: The same nodes by their names in the inventory.
      type: list
      elements: str
      sample: [worker-3.example.org, worker-5.example.org]
    interrupted:
      description: Whether a run began with its node that did not end.
      type: bool
      sample: false
    may_begin:
      description: Whether nothing that is known now is in the way when its turn comes. Always true where RV(batches[].interrupted) is.
      type: bool
      sample: true
open:
  description: Whether nothing is in the way of all.
  returned: success
  type: bool
  sample: true
reasons:
  description: All that is in the way of all nodes alike, with the keys of RV(nodes[].reasons).
  returned: success
  type: list
  elements: dict
  sample: []
  contains:
    source:
      description:
        - V(windows), V(prometheus), V(failure_budget), or V(node), V(pods), V(remediators) or V(medik8s_lease) where the cluster could not be asked
          for these.
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
      sample: null
      contains:
        kind:
          description: Its kind.
          type: str
          sample: Node
        namespace:
          description: Its namespace. V(null) where it is in none.
          type: str
          sample: null
        name:
          description: Its name.
          type: str
          sample: worker-9
down:
  description: The nodes of the cluster that are down now, whether they are among O(nodes) or not.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Its name.
      type: str
      sample: worker-9
    why:
      description: Why it counts as down.
      type: str
      sample: worker-9 is NotReady and cordoned
table:
  description: The plan as lines for a terminal of a hundred columns. Nodes that need no reboot are left out, and so are those beyond the first 200.
  returned: success
  type: list
  elements: str
  sample:
    - "2 of 3 nodes are to be rebooted; batches: 1"
    - nothing is in the way of all of them
    - ""
    - batch  node      zone        state    pending
    - 1      worker-3  eu-west-1a  planned  1 d
    - 1      worker-5  eu-west-1a  planned  4 h
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
from ansible_collections.bulwark.node.plugins.module_utils.kube.plan import NODES_SPEC, ZONE, hosts, plan
from ansible_collections.bulwark.node.plugins.module_utils.kube.snapshot import take
from ansible_collections.bulwark.node.plugins.module_utils.module import fail
from ansible_collections.bulwark.node.plugins.module_utils.reboot.gate_options import GATE_SPEC, gate_options
from ansible_collections.bulwark.node.plugins.module_utils.reboot.plan_table import table

_MOST = 1000


def main() -> None:
    module = KubeModule(
        argument_spec={
            **GATE_SPEC,
            "nodes": {"type": "list", "elements": "dict", "required": True, "options": NODES_SPEC},
            "limits": {"type": "dict", "apply_defaults": True, "options": obstacles.LIMITS_SPEC},
            "concurrency": {"type": "int", "default": 1},
            "zone_label": {"type": "str", "default": ZONE},
            **ARGUMENT_SPEC,
        },
        supports_check_mode=True,
    )
    try:
        found = look(module.params)
    except BulwarkError as error:
        fail(module, "reboot_plan_info", error)
    module.exit_json(changed=False, **found)


def look(params: dict[str, Any]) -> dict[str, Any]:
    """All options first, so that a wrong one costs no request; then all that is asked. Raises BulwarkError, OptionError."""
    options = gate_options(params)
    limits = obstacles.limits("limits", params["limits"])
    asked = hosts("nodes", params["nodes"])
    if not 1 <= params["concurrency"] <= _MOST:
        raise OptionError("concurrency", params["concurrency"], f"a number of nodes, from 1 to {_MOST}")
    client = connect(params)
    alerts = options.ask()
    snapshot = take(client, limits.wanted(None))
    found = plan(
        snapshot,
        asked,
        limits,
        params["concurrency"],
        params["zone_label"],
        datetime.datetime.now(datetime.timezone.utc),
    )
    gate = options.gate([*alerts, *found.reasons])
    result = {**gate.as_dict(), **found.as_dict(gate.open)}
    return {**result, "table": table(result)}


if __name__ == "__main__":
    main()
