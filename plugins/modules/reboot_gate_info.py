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
  - bulwark.node.reboot_gate
  - bulwark.node.reboot_gate.node
  - bulwark.node.kubernetes
  - bulwark.node.attributes
  - bulwark.node.attributes.info_module
  - bulwark.node.attributes.actiongroup_kubernetes
attributes:
  platform:
    support: full
    platforms: posix
notes:
  - The package C(kubernetes) is needed with O(node) alone.
seealso:
  - module: bulwark.node.reboot_info
  - module: bulwark.node.reboot_plan_info
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
          V(max_unavailable), V(spacing), V(last_node), V(etcd), V(medik8s_lease), V(remediators), V(quarantine) (it did not prove itself after
          a reboot) or V(failure_budget) (others did not).
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

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError
from ansible_collections.bulwark.node.plugins.module_utils.kube import obstacles
from ansible_collections.bulwark.node.plugins.module_utils.kube.client import ARGUMENT_SPEC, connect
from ansible_collections.bulwark.node.plugins.module_utils.kube.module import KubeModule
from ansible_collections.bulwark.node.plugins.module_utils.module import fail
from ansible_collections.bulwark.node.plugins.module_utils.reboot.gate import Gate
from ansible_collections.bulwark.node.plugins.module_utils.reboot.gate_options import GATE_SPEC, gate_options


def main() -> None:
    module = KubeModule(
        argument_spec={**GATE_SPEC, "node": {"type": "dict", "options": obstacles.NODE_SPEC}, **ARGUMENT_SPEC},
        supports_check_mode=True,
    )
    try:
        gate = look(module.params)
    except BulwarkError as error:
        fail(module, "reboot_gate_info", error)
    module.exit_json(changed=False, **gate.as_dict())


def look(params: dict[str, Any]) -> Gate:
    """All options first, so that a wrong one costs no request; then all that is asked. Raises BulwarkError, OptionError."""
    options, node = gate_options(params), params["node"]
    if node:
        limits = obstacles.limits("node", node)
        client = connect(params)
    reasons = options.ask()
    if node:
        reasons += obstacles.look(client, node["name"], limits, datetime.datetime.now(datetime.timezone.utc))
    return options.gate(reasons)


if __name__ == "__main__":
    main()
