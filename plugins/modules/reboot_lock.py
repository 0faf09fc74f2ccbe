# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: reboot_lock
short_description: Takes, renews and releases the lock under which nodes reboot, beside kured
version_added: 0.1.0
author:
  - The bulwark.node authors (@bulwark)
description:
  - Lets no more nodes of a cluster be taken down at once than are allowed to, whichever runs, controllers and kureds want to.
  - A holder is a run and a node. The run that holds the lock for a node renews it by asking again.
  - It fails where the lock is not to be had, in check mode too, so that nothing goes on without it. Try again with C(until) and C(retries).
  - Beside kured it writes kured's own annotation, in a value that kured with any concurrency reads. While it is held, kured takes no lock that is
    still free. Its holders have no node's name, by which kured there would take the lock for its own.
  - The lock ends by itself after O(ttl), also where the run was killed. Then it can be taken over, but for O(takeover).
  - When it ends is judged by the clock of the API server, for C(backend=file) by that of the machine with the file. The clocks of the machines that the
    module runs on do not matter. Those of several API servers of one cluster have to agree. kured judges by the clocks of its nodes.
extends_documentation_fragment:
  - bulwark.node.attributes
  - bulwark.node.attributes.actiongroup_kubernetes
  - bulwark.node.reboot_lock
  - bulwark.node.kubernetes
attributes:
  check_mode:
    support: full
    details:
      - It looks at the lock as it is now, and fails where it is not to be had.
  diff_mode:
    support: full
    details:
      - It shows the holders, without the times that each renewal changes.
  idempotent:
    support: full
    details:
      - A lock that the run holds already is renewed, which RV(renewed) tells, and which is no change unless O(ttl) is another one.
  platform:
    support: full
    platforms: posix
options:
  state:
    description:
      - V(held) takes the lock for O(node), or renews it.
      - V(absent) releases it where O(run_id) holds it for O(node). What others hold stays.
    type: str
    choices:
      - held
      - absent
    default: held
  node:
    description:
      - The node that the lock is for, by its name in Kubernetes. With O(state=held) there must be such a Node, but for O(backend=file).
    type: str
    required: true
  run_id:
    description:
      - What tells this run from all others, such as the number of the AWX job. It is the same in all tasks of the run.
      - A lock that was taken under one C(run_id) is renewed and released under it alone.
    type: str
    required: true
  ttl:
    description:
      - For how many seconds it is held unless it is renewed, from 10 to 604800. Renew it after a third of that.
      - Before a step that cannot renew it, such as M(ansible.builtin.reboot), take it with the timeout of that step and a margin.
    type: int
    default: 300
  concurrency:
    description:
      - How many may hold it at once, those of kured included.
      - By default as many as kured allows, which it may not exceed. Without kured it is 1. All who share the lock should say the same.
    type: int
  takeover:
    description:
      - Consent to take the lock over from a run that is known not to go on.
      - Without it, one that has ended is taken over, unless its node is still cordoned or not ready. That one counts as held, so that a second node
        does not go down beside it. The same node's is taken over whatever it is like.
      - kured looks at no node. What has ended it takes at once, though the node is still down. Where it reboots nodes as well, give O(ttl) the margin.
      - With it, one that has ended is taken over in any case, and that of another run for the same O(node) before it has ended.
      - That of kured on a node which is no more in the cluster is always taken over.
    type: bool
    default: false
  force:
    description:
      - Consent to remove what another holds for O(node), kured too, whether it has ended or not. Whoever holds it is not told.
      - Also to remove a value that nobody can read, which is held by nobody knows whom. It stops kured for good.
    type: bool
    default: false
notes:
  - kured's lock takes the right to C(get) and C(patch) its DaemonSet, and to C(list) DaemonSets without O(kured.name). A Lease takes C(get), C(create)
    and C(patch). Both take C(get) for nodes, where a lock has ended or kured holds it.
  - Where kured holds one of several slots, it may take another one when it gives that back, until the next renewal.
seealso:
  - module: bulwark.node.reboot_lock_info
  - module: bulwark.node.reboot_gate_info
"""

EXAMPLES = r"""
- name: Name the run once for all hosts
  ansible.builtin.set_fact:
    reboot_run: "{{ awx_job_id | default(now(utc=true).strftime('%Y%m%dT%H%M%S') ~ '-' ~ (99999999 | random)) }}"
  run_once: true

- name: Take the lock, within ten minutes
  bulwark.node.reboot_lock:
    node: "{{ reboot_node_name }}"
    run_id: "{{ reboot_run }}"
  delegate_to: localhost
  register: lock
  until: lock is succeeded
  retries: 40
  delay: 15

- name: Hold it through a reboot, during which nobody renews it
  bulwark.node.reboot_lock:
    node: "{{ reboot_node_name }}"
    run_id: "{{ reboot_run }}"
    ttl: 2400
  delegate_to: localhost

- name: Release it
  bulwark.node.reboot_lock:
    state: absent
    node: "{{ reboot_node_name }}"
    run_id: "{{ reboot_run }}"
  delegate_to: localhost

- name: Take it on a machine that keeps it for hosts without Kubernetes, two at once
  bulwark.node.reboot_lock:
    node: "{{ reboot_node_name }}"
    run_id: "{{ reboot_run }}"
    backend: file
    concurrency: 2
  delegate_to: bastion.example.org
  become: true

- name: Remove what a node holds that never came back
  bulwark.node.reboot_lock:
    state: absent
    node: worker-3
    run_id: operator
    force: true
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
held:
  description: Whether the run holds the lock for O(node) now, or would after a run without check mode. Also returned with a failure to take it.
  returned: success
  type: bool
  sample: true
renewed:
  description: Whether it held the lock before, and does.
  returned: success
  type: bool
  sample: false
reason:
  description: Why the lock was not taken, or for O(state=absent) why nobody knows who holds it. V(null) otherwise.
  returned: success
  type: str
  sample: null
holders:
  description: Who holds the lock then.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: Under which name. That of a run is C(ansible:), the run and the node.
      type: str
      sample: ansible:4711:worker-1
    node:
      description: The node that it is held for. V(null) where it names none.
      type: str
      sample: worker-1
    created:
      description: When it was taken, or renewed, in seconds since the epoch.
      type: int
      sample: 1795266000
    ttl:
      description: For how many seconds from then on. V(null) where it never ends.
      type: int
      sample: 300
    expires:
      description: When it ends, in seconds since the epoch. V(null) where it never does.
      type: int
      sample: 1795266300
    expired:
      description: Whether it has ended, and nobody took it over yet.
      type: bool
      sample: false
    ours:
      description: Whether O(run_id) holds it.
      type: bool
      sample: true
taken_over:
  description: The C(id) of each other holder that was removed.
  returned: success
  type: list
  elements: str
  sample: []
concurrency:
  description: How many may hold it at once.
  returned: success
  type: int
  sample: 1
backend:
  description: Where it is kept, V(kured), V(lease) or V(file).
  returned: success
  type: str
  sample: kured
place:
  description: Where that is, in words.
  returned: success
  type: str
  sample: DaemonSet kube-system/kured, annotation weave.works/kured-node-lock
"""

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.kube.module import KubeModule
from ansible_collections.bulwark.node.plugins.module_utils.module import fail
from ansible_collections.bulwark.node.plugins.module_utils.reboot_lock import (
    CLAIM_SPEC,
    STORE_SPEC,
    check_node,
    open_lock,
    result_of,
)


def main() -> None:
    module = KubeModule(
        argument_spec={
            "state": {"type": "str", "choices": ["held", "absent"], "default": "held"},
            **CLAIM_SPEC,
            **STORE_SPEC,
        },
        supports_check_mode=True,
    )
    try:
        lock = open_lock(module.params, Host())
        if module.params["state"] == "held":
            check_node(lock)
            outcome = lock.acquire(check=module.check_mode)
        else:
            outcome = lock.release(check=module.check_mode)
    except BulwarkError as error:
        fail(module, "reboot_lock", error)
    result = result_of(lock, outcome)
    if outcome.after.reason is not None:
        wanted = f"{lock.store.place}: not taken for {lock.claim.node}"
        module.fail_json(msg=f"reboot_lock: {wanted}: {outcome.after.reason}", **result)
    module.exit_json(diff=outcome.diff, **result)


if __name__ == "__main__":
    main()
