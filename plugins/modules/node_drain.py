# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: node_drain
short_description: Drains, cordons and uncordons Kubernetes nodes, and tells before what would be in the way
version_added: 0.1.0
author:
  - The bulwark.node authors (@bulwark)
description:
  - Drains as C(kubectl drain) does, by the same filters and the eviction API, several pods at a time, and not before it knows what would come of it.
  - Before the first node is cordoned it adds up the disruption budgets over all pods of all nodes, and asks the server for a dry run of each
    eviction. A pod that can never go fails the task there, and nothing is touched.
  - It marks the cordons that it sets by an annotation, and takes only these away again.
  - A node with the pod that this very job runs in, as AWX's jobs do, is deferred. Nothing is evicted there, and the task
    succeeds. Look at RV(nodes[].state) before a reboot.
  - An action plugin calls the module in slices of at most 20 seconds, and shows the pods that are left and what each waits for.
  - All that it goes on from is in the cluster. A drain that was killed is taken up by the next run. Where that cannot begin, it uncordons what
    was left, once the time of the killed drain is over.
  - It looks from where it runs, and so is best delegated to one that reaches the API server.
extends_documentation_fragment:
  - bulwark.node.attributes
  - bulwark.node.attributes.actiongroup_kubernetes
  - bulwark.node.kubernetes
attributes:
  check_mode:
    support: full
    details:
      - It is the pre-flight of a drain and nothing else, and fails where the drain would not begin.
      - Dry runs of evictions are asked of the server. They count no budget down.
  diff_mode:
    support: full
  idempotent:
    support: full
    details:
      - With O(state=drained) as long as nothing new comes to the node. It is cordoned.
  platform:
    support: full
    platforms: posix
options:
  state:
    description:
      - With V(cordoned) nothing new is scheduled on the nodes.
      - With V(drained) they are cordoned, and all goes from them but what the filters and O(rules) leave.
      - With V(uncordoned) they are opened again, where it was this collection that cordoned them.
    type: str
    choices:
      - cordoned
      - drained
      - uncordoned
    required: true
  nodes:
    description:
      - Names of nodes. They are drained together, as the budgets are for all of them.
    type: list
    elements: str
    required: true
  timeout:
    description:
      - How many seconds the whole drain may take, evictions and waiting, as C(--timeout) of C(kubectl drain). It has no end there by default.
    type: int
    default: 1800
  on_failure:
    description:
      - What becomes of the nodes where the drain fails or runs out of time.
      - With V(uncordon) those that this drain cordoned are opened again, and what a killed one left. With V(keep) they stay cordoned.
    type: str
    choices:
      - uncordon
      - keep
    default: uncordon
  preflight:
    description:
      - With V(enforce) a drain that has pods with the verdict V(impossible) does not begin.
      - With V(report) it begins all the same, and waits for them until O(timeout).
      - Pods with the action V(refuse) let no drain begin, as with C(kubectl drain).
    type: str
    choices:
      - enforce
      - report
    default: enforce
  force:
    description:
      - Whether pods without a controller are evicted, which nothing brings back, and those whose DaemonSet is gone.
    type: bool
    default: false
  delete_emptydir_data:
    description:
      - Whether pods with emptyDir volumes are evicted, whose content is lost.
    type: bool
    default: false
  ignore_daemonsets:
    description:
      - Whether pods of DaemonSets are left where they are. Otherwise they keep a drain from beginning.
      - C(kubectl drain) wants this said, where this module takes it for granted.
    type: bool
    default: true
  disable_eviction:
    description:
      - Whether pods are deleted rather than evicted. No budget is asked then.
    type: bool
    default: false
  delete_after:
    description:
      - After how many seconds of the drain pods that could not be evicted until then are deleted, whatever their budgets say.
      - Without it none ever is.
    type: int
  grace_period:
    description:
      - How many seconds the pods have to end. V(0) ends them at once.
      - By default as many as each says itself.
    type: int
  skip_wait_for_delete_timeout:
    description:
      - Pods that should have been gone for more than this many seconds are not waited for, such as those of a node that does not answer.
      - With V(0) all are waited for.
    type: int
    default: 0
  rules:
    description:
      - What is done with some pods. The first that takes a pod decides.
    type: list
    elements: dict
    default: []
    suboptions:
      selector:
        description:
          - Labels of the pods, as C(kubectl --selector) takes them. Without it all.
        type: str
        default: ''
      namespaces:
        description:
          - Namespaces of the pods. Without it all.
        type: list
        elements: str
      action:
        description:
          - With V(evict) they are evicted, with V(delete) deleted without asking their budgets.
          - With V(skip) they are left where they are.
          - With V(wait) they are left to end by themselves, and waited for. This is for jobs.
        type: str
        choices:
          - evict
          - delete
          - skip
          - wait
        default: evict
      grace_period:
        description:
          - In place of O(grace_period).
        type: int
      force:
        description:
          - In place of O(force).
        type: bool
      delete_emptydir_data:
        description:
          - In place of O(delete_emptydir_data).
        type: bool
  parallel:
    description:
      - How many requests are sent at the same time. When the server says that it has too many, all of them pause as long as it asks for.
    type: int
    default: 10
  job_id:
    description:
      - The AWX job that this is, whose pod is not evicted.
      - By default what AWX says itself, and beside it the pod that this runs in, by C(POD_NAME) or its hostname.
    type: str
  run_id:
    description:
      - What the cordons are marked with. Calls with the same one go on with the same drain, and with its time.
      - By default each task has its own.
    type: str
  lock:
    description:
      - The lock of reboots that this run holds, by the options of M(bulwark.node.reboot_lock), of which C(node) and C(run_id) tell which it is.
        The options by which the API server is found are those of this task, where the lock says no others.
      - It is renewed before the first slice, and then at a third of its C(ttl), which has to be three times the slice or more. Where it is lost
        nothing is evicted any more, and the task fails.
      - In check mode it is not renewed.
    type: dict
  slice:
    description:
      - For how many seconds one call of the module goes on at most. The action plugin calls it until the drain is done.
      - More than 20 is taken for 20.
    type: int
    default: 20
  continues:
    description:
      - Whether this goes on with a drain that O(run_id) began, as the action plugin says from the second slice on.
      - Nodes that somebody uncordoned since, or that another run drains, are left as they are then, and a drain with such a node fails.
    type: bool
    default: false
notes:
  - It takes the rights to get and patch nodes, to list pods and budgets, to get DaemonSets, to create C(pods/eviction) and, where pods are
    deleted, to delete pods. The right to list persistent volumes lets it name those that stay on the node.
seealso:
  - module: bulwark.node.reboot_gate_info
"""

EXAMPLES = r"""
- name: See what would be in the way of a drain
  bulwark.node.node_drain:
    state: drained
    nodes: [worker-1, worker-2]
  check_mode: true
  delegate_to: localhost
  register: ahead
  failed_when: ahead is failed and ahead.pods is not defined

- name: Show the pods that would not go at once
  ansible.builtin.debug:
    msg: "{{ ahead.pods | rejectattr('verdict', 'in', [none, 'possible']) | map(attribute='reason') | list }}"

- name: Drain a node, wait for its jobs, and lose what caches keep
  bulwark.node.node_drain:
    state: drained
    nodes: [worker-1]
    timeout: 3600
    rules:
      - selector: batch.kubernetes.io/job-name
        action: wait
      - selector: app in (cache, proxy)
        delete_emptydir_data: true
        grace_period: 10
  delegate_to: localhost

- name: Drain it under the lock of reboots, which is renewed meanwhile
  bulwark.node.node_drain:
    state: drained
    nodes: [worker-1]
    run_id: "{{ awx_job_id }}"
    lock:
      node: worker-1
      run_id: "{{ awx_job_id }}"
  delegate_to: localhost

- name: Open it again, unless an administrator had closed it
  bulwark.node.node_drain:
    state: uncordoned
    nodes: [worker-1]
  delegate_to: localhost
"""

RETURN = r"""
finished:
  description: Whether the drain is over. A slice that is not the last says V(false), which a task never returns.
  returned: success, and where a drain failed
  type: bool
  sample: true
nodes:
  description: The nodes, in the order of O(nodes).
  returned: success, and where a drain failed
  type: list
  elements: dict
  contains:
    name:
      description: Its name.
      type: str
      sample: worker-1
    state:
      description:
        - V(drained), V(failed), V(deferred) for the node of this very job, and V(stopped) where another of the nodes failed.
        - V(cordoned) or V(schedulable) with the other values of O(state). V(draining) in a slice that is not the last, and
          in a check of pods that are V(impossible), with O(preflight=report).
      type: str
      sample: drained
    reason:
      description: Why it failed, was deferred, or stays cordoned.
      type: str
      sample: null
    verdict:
      description:
        - The worst verdict of its pods, see RV(pods[].verdict). V(null) without a drain.
      type: str
      sample: slow
    cordoned:
      description: Whether it is cordoned now.
      type: bool
      sample: true
    cordoned_by:
      description: V(bulwark.node), V(other), or V(null) where it is not cordoned.
      type: str
      sample: bulwark.node
    run_id:
      description: The run that cordoned it, where it was of this collection.
      type: str
      sample: 4f0c1f0e2a6b4a8f9d0c5b7e6a1d2c3b
    pods_left:
      description: How many pods are still to go. V(null) without a drain.
      type: int
      sample: 0
pods:
  description: The pods of all nodes but those that are deferred, by node, namespace and name.
  returned: success, and where a drain failed
  type: list
  elements: dict
  contains:
    node:
      description: The node it is on, or was.
      type: str
      sample: worker-1
    namespace:
      description: Its namespace.
      type: str
      sample: default
    name:
      description: Its name.
      type: str
      sample: web-6d6fdd7dd9-6bjq8
    uid:
      description: Its uid.
      type: str
      sample: 895c7e12-e427-486f-a901-7f0fbede64bb
    owner:
      description: Kind and name of its controller.
      type: dict
      sample:
        kind: ReplicaSet
        name: web-6d6fdd7dd9
    action:
      description: V(evict), V(delete), V(wait), V(leave), or V(refuse), with which a drain does not begin.
      type: str
      sample: evict
    reason:
      description: What is behind the action, or behind the verdict.
      type: str
      sample: "budget web needs 2 healthy pods, and has 3 of 3: of 2 pods it lets 1 go at a time"
    verdict:
      description:
        - What is to be expected, of the budgets over all pods of all nodes and of what the server says. V(null) for what is left.
        - V(possible) goes at once.
        - V(slow) goes as others become ready elsewhere.
        - V(migrating) goes once KubeVirt has migrated its guest.
        - V(waiting) goes once something else has happened, such as storage of Rook or Longhorn that is safe elsewhere.
        - V(impossible) does not go, unless somebody changes something.
      type: str
      sample: slow
    budget:
      description: The disruption budget over it, in its namespace.
      type: str
      sample: web
    budget_owner:
      description: Kind and name of the owner of the budget.
      type: dict
      sample: null
    command:
      description: The command that shows what is in the way.
      type: str
      sample: kubectl --namespace default describe poddisruptionbudget web
    notes:
      description: What is lost with it, or stays on the node.
      type: list
      elements: str
      sample: []
    state:
      description: V(there), V(leaving), V(gone), V(failed), or V(left) where it is not waited for any more.
      type: str
      sample: gone
    waits_for:
      description:
        - What it waits for. V(null) where it waits for nothing.
      type: dict
      contains:
        kind:
          description:
            - V(budget), V(migration), V(unmovable), V(webhook), V(namespace), V(busy), V(error), V(unreachable), V(replaced) and V(permanent) are
              what an eviction was refused with.
            - V(termination) is for the pod to end, V(completion) for a job to.
          type: str
          sample: budget
        detail:
          description: It in words, where there are some of the server's.
          type: str
          sample: The disruption budget web needs 2 healthy pods and has 2 currently
      sample: null
    waited:
      description: For how many seconds it was waited for.
      type: float
      sample: 12.4
    attempts:
      description: How often it was tried.
      type: int
      sample: 2
seconds_left:
  description: How many seconds of O(timeout) were left. V(null) where nothing had to be waited for.
  returned: success, and where a drain failed
  type: int
  sample: 1740
"""

import os

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError
from ansible_collections.bulwark.node.plugins.module_utils.kube.client import ARGUMENT_SPEC, connect
from ansible_collections.bulwark.node.plugins.module_utils.kube.module import KubeModule
from ansible_collections.bulwark.node.plugins.module_utils.kube.node_drain import NODE_DRAIN_SPEC, act


def main() -> None:
    module = KubeModule(argument_spec={**NODE_DRAIN_SPEC, **ARGUMENT_SPEC}, supports_check_mode=True)
    try:
        done = act(connect(module.params), module.params, module.check_mode, os.environ)
    except BulwarkError as error:
        module.fail_json(**{"changed": False, **error.details, "msg": f"node_drain: {error}"})
    for node in done["nodes"]:
        if node["state"] == "deferred":
            module.warn(f"{node['name']} is not drained: {node['reason']}")
    module.exit_json(**done)


if __name__ == "__main__":
    main()
