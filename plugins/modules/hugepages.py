# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: hugepages
short_description: Sets the pools of hugepages, now and for the next boot
version_added: 0.1.0
author:
  - The bulwark.node authors (@bulwark)
description:
  - Sets how many hugepages of each size the machine keeps, in all or per NUMA node, reads back what the kernel gave, and persists it.
  - When the kernel gives fewer pages, it is told why, per node, with the free blocks of that order and the remedy. By default the
    module then fails, and the pools are as they were before.
  - Everything is checked before the first write. The sizes and nodes exist, no page in use is taken away, each NUMA node keeps
    enough memory for what runs and for the system, now and with all that is set at the next boot, and no other file sets the same
    pool then.
  - Pools are persisted by C(/etc/tmpfiles.d/10-bulwark-hugepages.conf), which systemd applies before any kubelet. Without systemd
    it is C(/etc/sysctl.d/90-bulwark-hugepages.conf), which can hold the total of the default size alone. A file of that name that
    is not the module's is refused.
  - Sizes other than the default get a hugetlbfs mount at C(/dev/hugepages1G), for example, and a mount unit, unless one is mounted.
    With O(persist=false), and without systemd, none is made. A count of 0 leaves them, O(state=absent) removes them.
  - What was there before is kept in C(/var/lib/bulwark/manifest.json).
  - Lines of others in a file of the module's stay, also where O(state=absent) takes the module's own. A file that does not begin as the
    module's any more is left alone then. Each is named in a warning.
  - A run that is stopped undoes what it did. After SIGKILL or a loss of power run it again, which goes on from what there is.
extends_documentation_fragment:
  - bulwark.node.attributes
  - bulwark.node.attributes.actiongroup_node
attributes:
  check_mode:
    support: full
    details:
      - Whether the kernel finds enough contiguous memory cannot be known before it is asked. A warning says C(may fall short).
  diff_mode:
    support: full
  idempotent:
    support: full
  platform:
    support: full
    platforms: linux
options:
  pools:
    description:
      - The pools to set. Pools that are not named stay as they are.
      - Required when O(state=present). With O(state=absent) it defaults to every pool that this module set.
    type: list
    elements: dict
    suboptions:
      size:
        description: The page size, such as V(2M), V(1G) or V(2048kB). It must be one that the kernel offers.
        type: str
        required: true
      count:
        description:
          - The number of pages, surplus ones not counted.
          - With O(pools[].node) on that node, else on the whole machine, where the kernel spreads them.
        type: int
      node:
        description:
          - The NUMA node. The other nodes of that size stay as they are, unless they have an entry of their own. Where a total was
            persisted, what each of them has now takes its place.
        type: int
      overcommit:
        description:
          - How many pages more the kernel may add on demand. It is a number for the whole machine, and most kernels have none for pages
            as large as V(1G).
          - No memory is kept for them. A warning has the sum where all of them would be too much.
        type: int
  persist:
    description:
      - Whether the pools are set at boot as well.
      - With V(false) nothing is written to C(/etc), and a warning names what an earlier run persisted otherwise.
    type: bool
    default: true
  on_shortfall:
    description:
      - What to do when the kernel gives fewer pages than asked for.
      - V(fail) puts the pools back as they were and fails.
      - V(warn) keeps what there is, persists the number asked for, and warns.
      - V(reboot) does the same and returns C(reboot_required), since memory is least fragmented after a boot. It takes O(persist=true).
        A number that was already persisted when the machine booted asks for no other reboot.
    type: str
    choices:
      - fail
      - warn
      - reboot
    default: fail
  allow_surplus:
    description:
      - Whether a pool may be set below its pages in use. These stay as surplus pages and are given back once they are free.
    type: bool
    default: false
  compact:
    description: Whether memory is compacted when the kernel gives fewer pages, and the kernel asked again while that brings more.
    type: bool
    default: true
  timeout:
    description: After how many seconds no further compaction is begun.
    type: int
    default: 60
  memory_reserve:
    description:
      - How much memory the pools must leave beside what runs, such as V(8G). Each NUMA node keeps its share of it.
      - The default is what the kubelet reserves, including its eviction threshold. Without a kubelet, or where its configuration cannot
        be read, it is 4 GiB or 10 % of the memory, whichever is more.
    type: str
  state:
    description:
      - V(present) sets the pools.
      - V(absent) empties the named pools, and removes what this module persisted of them.
      - V(absent) without O(pools) gives all pools that it persisted, or set since the boot, the pages from before it, and removes all that
        it persisted and mounted.
    type: str
    choices:
      - present
      - absent
    default: present
seealso:
  - module: bulwark.node.node_facts
  - module: bulwark.node.kernel_args
  - module: bulwark.node.transparent_hugepages
  - name: HugeTLB Pages
    description: The kernel's own documentation.
    link: https://docs.kernel.org/admin-guide/mm/hugetlbpage.html
"""

EXAMPLES = r"""
- name: Keep 1024 pages of 2 MiB
  bulwark.node.hugepages:
    pools:
      - size: 2M
        count: 1024

- name: Keep four pages of 1 GiB on each of two NUMA nodes, with a reboot where memory is too fragmented
  bulwark.node.hugepages:
    pools:
      - size: 1G
        count: 4
        node: 0
      - size: 1G
        count: 4
        node: 1
    on_shortfall: reboot
  register: hugepages

- name: Reboot if it must be
  ansible.builtin.reboot:
  when: hugepages.reboot_required

- name: Give every pool back that this module set
  bulwark.node.hugepages:
    state: absent
"""

RETURN = r"""
before:
  description: The subset C(hugepages) of M(bulwark.node.node_facts) as it was, without C(next_boot).
  returned: success
  type: dict
  sample: {}
after:
  description: The same afterwards, read back from the kernel, or in check mode as predicted.
  returned: success
  type: dict
  sample: {}
changes:
  description: What was done, or in check mode would be done, in this order.
  returned: success
  type: list
  elements: dict
  contains:
    kind:
      description: The kind of change.
      type: str
      sample: pool
    target:
      description: What it acts on.
      type: str
      sample: /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
    before:
      description: The value before. V(null) where there was nothing.
      type: raw
      sample: 0
    after:
      description: The value asked for. V(null) where nothing is to be left.
      type: raw
      sample: 1024
unmet:
  description: What the machine did not take.
  returned: success, or failure for that reason
  type: list
  elements: dict
  contains:
    target:
      description: The option, or the object.
      type: str
      sample: pools[0].count
    wanted:
      description: The value asked for.
      type: raw
      sample: 1024
    got:
      description: The value read back.
      type: raw
      sample: 612
    reason:
      description: Why.
      type: str
      sample: "asked for 1024 pages of 2M on node 1, the kernel gave 612; memory is fragmented or in use (free blocks of that order: 3 on node 1)"
    remedy:
      description: What helps.
      type: str
      sample: "Boot with hugepagesz=2M hugepages=1:1024, or free memory on the node."
    evidence:
      description: The numbers behind the reason.
      type: dict
      sample: {"kernel_counters": {"compact_fail": 2}, "nodes": [{"node": 1, "total": 612, "free_blocks": 3, "block_bytes": 2097152}]}
reboot_required:
  description: Whether the wanted state takes a reboot.
  returned: success
  type: bool
  sample: false
restart_required:
  description: The units that must be restarted to see the new state. None is restarted by this module.
  returned: success
  type: list
  elements: dict
  contains:
    unit:
      description: The unit.
      type: str
      sample: kubelet.service
    reason:
      description: Why.
      type: str
      sample: the hugepages module changed a pool after the kubelet started
  sample: []
disruptive:
  description: The changes that disturb what runs. No change of this module does.
  returned: success
  type: list
  elements: dict
  sample: []
undone:
  description: What had been changed and was put back, when the module failed.
  returned: failure
  type: list
  elements: str
  sample: ["/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages"]
not_undone:
  description: What had been changed and could not be put back. The message names it too.
  returned: failure
  type: list
  elements: dict
  contains:
    what:
      description: The object.
      type: str
      sample: /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
    reason:
      description: Why it could not be put back.
      type: str
      sample: "cannot write '0': EIO (Input/output error)"
  sample: []
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulwark.node.plugins.module_utils.module import run
from ansible_collections.bulwark.node.plugins.module_utils.node import hugepages


def main() -> None:
    module = AnsibleModule(argument_spec=hugepages.ARGUMENT_SPEC, supports_check_mode=True)
    run(module, hugepages.Hugepages)


if __name__ == "__main__":
    main()
