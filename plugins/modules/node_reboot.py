# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: node_reboot
short_description: Records the reboot of a Kubernetes node on its Node, and proves that it is back
version_added: 0.1.0
author:
  - The bulwark.node authors (@bulwark)
description:
  - It reboots nothing. It writes on the Node by which run it is being rebooted and what it was like before, waits for the proof that it is back, and
    takes the record away again. Between the states come the drain, M(ansible.builtin.reboot) and what else there is to do.
  - All that a later run has to know is in that record, so that a run which was killed is taken up by the next, from whichever controller.
    O(state=begun) tells in RV(resumed) and RV(rebooted) where to go on.
  - Each state is one write, which carries the version that it was made of. Each change of the state is told by an Event of the Node, which
    C(kubectl describe node) shows. One that cannot be written is a warning.
  - An action plugin calls the module in slices of at most 20 seconds, and shows what is missing.
  - It looks from where it runs, and so is best delegated to one that reaches the API server.
extends_documentation_fragment:
  - bulwark.node.attributes
  - bulwark.node.attributes.actiongroup_kubernetes
  - bulwark.node.kubernetes
attributes:
  check_mode:
    support: full
    details:
      - It fails where the run would be refused.
      - With O(state=proven) it looks once and tells in RV(missing) what is not there yet. That is no failure, for the run would wait for it.
  diff_mode:
    support: full
    details:
      - It shows the record without its times.
  idempotent:
    support: full
  platform:
    support: full
    platforms: posix
options:
  state:
    description:
      - With V(pending) the node is to be rebooted some time, and O(taint) shows it. No record is written.
      - With V(begun) it is being rebooted by this run. A record of another run is taken over, and what that says of the node before is kept.
      - With V(proven) it is waited until the Node has O(boot_id), which is another one than before, until it is Ready, and until the DaemonSets that
        had a Ready pod there before have one again that became Ready since, for O(stable_for) seconds. The record then has that boot id as proved.
      - With V(ended) it is over. Its record has to be proved.
      - With V(abandoned) it was not rebooted, and is not going to be.
      - With V(quarantined) it is cordoned and stays so with its record, until somebody lifts that.
      - What has no record any more is V(ended) and V(abandoned) already. What another run took over is refused.
    type: str
    choices:
      - pending
      - begun
      - proven
      - ended
      - abandoned
      - quarantined
    required: true
  name:
    description:
      - The name of the Node.
    type: str
    required: true
  run_id:
    description:
      - What tells this run from all others, as of M(bulwark.node.reboot_lock).
    type: str
    required: true
  boot_id:
    description:
      - The machine's boot id as it is now, as C(/proc/sys/kernel/random/boot_id) has it.
      - With O(state=begun) and no record it has to be the Node's. It is required there and with O(state=proven).
    type: str
  machine_id:
    description:
      - The machine's C(/etc/machine-id). With O(state=begun) it has to be the Node's, where that has one.
    type: str
  timeout:
    description:
      - How many seconds O(state=proven) waits, O(stable_for) included.
      - For as long the action plugin waits for an API server that does not answer, but with O(state=pending) and O(state=begun), which fail then.
    type: int
    default: 1800
  stable_for:
    description:
      - For how many seconds all of O(state=proven) has to hold. A moment at which the API server did not answer begins it anew.
    type: int
    default: 0
  reason:
    description:
      - Why it is quarantined, or abandoned, which the event tells as well. It is required with O(state=quarantined).
    type: str
  labels:
    description:
      - Labels that the Node gets together with O(state), as C(--pre-reboot-node-labels) and C(--post-reboot-node-labels) of kured.
    type: dict
    default: {}
  annotate:
    description:
      - Whether the annotations of kured's C(--annotate-nodes) are written, C(weave.works/kured-reboot-in-progress) and
        C(weave.works/kured-most-recent-reboot-needed). The first is taken away with O(state=ended) and O(state=abandoned).
    type: bool
    default: false
  taint:
    description:
      - A taint with the effect C(PreferNoSchedule), as C(--prefer-no-schedule-taint) of kured, by its key or by C(key=value).
      - It is set with O(state=pending) and O(state=begun), and taken away with O(state=ended) and O(state=abandoned), also where there is no record.
    type: str
  lift_quarantine:
    description:
      - Whether O(state=begun) takes a quarantine away. Otherwise a node in quarantine is refused.
    type: bool
    default: false
  lock:
    description:
      - The lock of reboots that this run holds, by the options of M(bulwark.node.reboot_lock), of which C(node) and C(run_id) tell which it is.
        The options by which the API server is found are those of this task, where the lock says no others.
      - It is renewed before the first slice, and then at a third of its C(ttl), which has to be three times the slice or more. Where it is lost the
        task fails.
      - In check mode it is not renewed.
    type: dict
  slice:
    description:
      - For how many seconds one call of the module waits at most. The action plugin calls it until the node has proved itself.
      - More than 20 is taken for 20.
    type: int
    default: 20
  waited:
    description:
      - For how many seconds of O(timeout) it was waited already, as the action plugin says from the second slice on.
    type: float
    default: 0.0
  held:
    description:
      - For how many seconds of O(stable_for) nothing was missing already, as the action plugin says from the second slice on.
    type: float
notes:
  - It takes the rights to get and patch nodes, to list pods, to get DaemonSets, and to create events in the namespace C(default).
  - A DaemonSet is not waited for where it is gone, or does not select the node any more by its name, labels or required affinity. Taints do not count, for
    those of a node that comes up go again.
  - Whoever removes the record by hand says that nobody is rebooting the node. It stays cordoned then.
seealso:
  - module: bulwark.node.reboot_lock
  - module: bulwark.node.node_drain
  - module: ansible.builtin.reboot
"""

EXAMPLES = r"""
- name: Read the machine's boot id
  ansible.builtin.slurp:
    src: /proc/sys/kernel/random/boot_id
  register: boot

- name: Record that the node is being rebooted, or take up where another run was killed
  bulwark.node.node_reboot:
    state: begun
    name: "{{ reboot_node_name }}"
    run_id: "{{ reboot_run }}"
    boot_id: "{{ boot.content | b64decode | trim }}"
  delegate_to: localhost
  register: begun

- name: Reboot it, unless the run before has
  ansible.builtin.reboot:
    reboot_timeout: 1800
  when: not begun.rebooted

- name: Read the boot id that it has now
  ansible.builtin.slurp:
    src: /proc/sys/kernel/random/boot_id
  register: boot

- name: Wait until it is back, under the lock of reboots, which is renewed meanwhile
  bulwark.node.node_reboot:
    state: proven
    name: "{{ reboot_node_name }}"
    run_id: "{{ reboot_run }}"
    boot_id: "{{ boot.content | b64decode | trim }}"
    lock:
      node: "{{ reboot_node_name }}"
      run_id: "{{ reboot_run }}"
  delegate_to: localhost

- name: End its reboot
  bulwark.node.node_reboot:
    state: ended
    name: "{{ reboot_node_name }}"
    run_id: "{{ reboot_run }}"
    labels:
      example.org/patched: "true"
  delegate_to: localhost

- name: Quarantine a node that did not come back
  bulwark.node.node_reboot:
    state: quarantined
    name: worker-3
    run_id: "{{ reboot_run }}"
    reason: it was not reachable within half an hour of its reboot
  delegate_to: localhost
"""

RETURN = r"""
finished:
  description: Whether the call is over. A slice that is not the last says V(false), which a task never returns.
  returned: success, and where a node did not prove itself
  type: bool
  sample: true
name:
  description: The Node.
  returned: success, and where a node did not prove itself
  type: str
  sample: worker-1
state:
  description: O(state).
  returned: success, and where a node did not prove itself
  type: str
  sample: begun
record:
  description: The record that is on the node now. V(null) where there is none, or nobody answered.
  returned: success, and where a node did not prove itself
  type: dict
  contains:
    run:
      description: The run that reboots it.
      type: str
      sample: 4f0c1f0e2a6b4a8f9d0c5b7e6a1d2c3b
    at:
      description: Since when that does, by the clock of the API server.
      type: str
      sample: "2026-01-02T03:04:05Z"
    boot_id:
      description: The boot id from before the reboot.
      type: str
      sample: 5f1c3f6e-0d0c-4a6b-8f55-0b2f1b6f3c11
    pods:
      description: The DaemonSets, by namespace and name, that had a Ready pod there before.
      type: list
      elements: str
      sample: [kube-system/kube-proxy]
    proven:
      description: The boot id that was proved since. V(null) before.
      type: str
      sample: null
    cordoned:
      description:
        - Whether it was cordoned before, by whomever, and so is to stay cordoned. What a killed drain had left is not meant to.
      type: bool
      sample: false
resumed:
  description: Whether O(state=begun) found a record, of this run or another, which it took over then.
  returned: success, and where a node did not prove itself
  type: bool
  sample: false
rebooted:
  description:
    - Whether O(boot_id) is another one than that from before the reboot, so that the machine was rebooted since.
    - V(null) without O(boot_id) or a record.
  returned: success, and where a node did not prove itself
  type: bool
  sample: false
ready_pods:
  description: The DaemonSets, by namespace and name, that have a Ready pod on the node now. V(null) but with O(state=begun).
  returned: success, and where a node did not prove itself
  type: list
  elements: str
  sample: [kube-system/kube-proxy]
quarantine:
  description: Its quarantine. V(null) without, or where nobody answered.
  returned: success, and where a node did not prove itself
  type: dict
  contains:
    run:
      description: The run that wrote it. V(null) where that cannot be read.
      type: str
      sample: 4f0c1f0e2a6b4a8f9d0c5b7e6a1d2c3b
    at:
      description: When. V(null) where that cannot be read.
      type: str
      sample: "2026-01-02T03:34:05Z"
    reason:
      description: Why.
      type: str
      sample: it was not reachable within half an hour of its reboot
  sample: null
lifted:
  description: The quarantine that O(state=begun) took away, with the keys of RV(quarantine). V(null) where there was none.
  returned: success, and where a node did not prove itself
  type: dict
  sample: null
missing:
  description: What O(state=proven) still waits for.
  returned: success, and where a node did not prove itself
  type: list
  elements: dict
  contains:
    what:
      description:
        - V(api) where nobody answered, V(boot_id), V(ready), V(pod) for a DaemonSet, or V(stable) where O(stable_for) is not over.
      type: str
      sample: pod
    detail:
      description: It in words.
      type: str
      sample: "DaemonSet kube-system/cni: pod cni-6bjq8 is not Ready"
proof:
  description: The proof that it is back. V(null) without, and but with O(state=proven).
  returned: success, and where a node did not prove itself
  type: dict
  contains:
    boot_id:
      description: The boot id that the Node has now.
      type: str
      sample: 0c7c1d1e-5c0f-4d39-9c0a-6b7a3d2f9e42
    ready_since:
      description: Since when it is Ready, as its kubelet says. V(null) where that does not.
      type: str
      sample: "2026-01-02T03:09:41Z"
    pods:
      description: The DaemonSets that have a Ready pod there again.
      type: list
      elements: str
      sample: [kube-system/kube-proxy]
    left:
      description: DaemonSets of the record that are not waited for.
      type: list
      elements: dict
      contains:
        name:
          description: Its namespace and name.
          type: str
          sample: kube-system/node-exporter
        reason:
          description: Why not.
          type: str
          sample: it is gone
      sample: []
  sample: null
held:
  description: For how many seconds nothing has been missing. V(null) where something is, and but with O(state=proven).
  returned: success, and where a node did not prove itself
  type: float
  sample: null
seconds_left:
  description: How many seconds of O(timeout) were left. V(null) but with O(state=proven).
  returned: success, and where a node did not prove itself
  type: int
  sample: null
"""

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError
from ansible_collections.bulwark.node.plugins.module_utils.kube.client import ARGUMENT_SPEC, connect
from ansible_collections.bulwark.node.plugins.module_utils.kube.module import KubeModule
from ansible_collections.bulwark.node.plugins.module_utils.kube.node_reboot import NODE_REBOOT_SPEC, act


def main() -> None:
    module = KubeModule(argument_spec={**NODE_REBOOT_SPEC, **ARGUMENT_SPEC}, supports_check_mode=True)
    try:
        done = act(connect(module.params), module.params, module.check_mode)
    except BulwarkError as error:
        details = {name: value for name, value in error.details.items() if name != "warnings"}
        module.fail_json(**{"changed": False, **details, "msg": f"node_reboot: {error}"})
    for warning in done.pop("warnings"):
        module.warn(warning)
    module.exit_json(**done)


if __name__ == "__main__":
    main()
