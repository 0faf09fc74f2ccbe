# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: node_facts
short_description: Gathers facts about a Linux machine under Kubernetes or KVM
version_added: 0.1.0
author:
  - The bulwark.node authors (@bulwark)
description:
  - Gathers what decides whether a machine serves its pods and guests, under the one key C(ansible_facts.bulwark).
  - It only reads files of C(/proc), C(/sys) and C(/etc). Nothing is changed, loaded, mounted or executed on the machine.
  - A fact is never guessed. What the machine does not tell is V(null), and a C(reason) beside it says why.
  - A subset that cannot be gathered is V(null) and is listed in C(ansible_facts.bulwark.errors). The others are gathered all the same.
extends_documentation_fragment:
  - bulwark.node.attributes
  - bulwark.node.attributes.info_module
  - bulwark.node.attributes.facts
  - bulwark.node.attributes.actiongroup_node
attributes:
  platform:
    support: full
    platforms: linux
options:
  gather_subset:
    description:
      - The subsets to gather. Their names are V(host), V(hugepages) and V(transparent_hugepages).
      - V(all) means all of them, and a leading V(!) leaves one out. Exclusions alone mean all the others.
      - When this module is run by C(gather_facts), set it by C(module_defaults). The play's own C(gather_subset) does not reach it.
    type: list
    elements: str
    default:
      - all
  probe:
    description:
      - Whether the machine is only looked at, V(passive), or also tried out, V(active).
      - No subset of this release does more when it is V(active).
    type: str
    choices:
      - passive
      - active
    default: passive
seealso:
  - module: bulwark.node.hugepages
  - module: bulwark.node.transparent_hugepages
  - module: ansible.builtin.setup
"""

EXAMPLES = r"""
- name: Gather everything
  bulwark.node.node_facts:

- name: Gather the hugepage pools alone
  bulwark.node.node_facts:
    gather_subset:
      - hugepages

- name: Gather all but transparent hugepages
  bulwark.node.node_facts:
    gather_subset:
      - '!transparent_hugepages'

- name: Refuse a machine whose hugepages the kubelet cannot hand out
  ansible.builtin.assert:
    that: ansible_facts['bulwark']['hugepages']['cgroup']['ready']
    fail_msg: "{{ ansible_facts['bulwark']['hugepages']['cgroup']['reason'] }}"
"""

RETURN = r"""
ansible_facts:
  description: The facts, under the one key C(bulwark).
  returned: always
  type: dict
  contains:
    bulwark:
      description: Everything that was gathered.
      returned: always
      type: dict
      contains:
        schema:
          description: The version of this shape. It grows when a fact changes its meaning or goes away.
          returned: always
          type: int
          sample: 1
        gathered_at:
          description: When it was gathered, in seconds since the epoch, by the machine's own clock.
          returned: always
          type: int
          sample: 1795222981
        errors:
          description: The subsets that could not be gathered.
          returned: always
          type: list
          elements: dict
          contains:
            subset:
              description: The name of the subset, which is V(null) in the facts.
              type: str
              sample: hugepages
            reason:
              description: What went wrong.
              type: str
              sample: "/proc/meminfo: cannot read: EACCES (Permission denied)"
          sample: []
        host:
          description: The machine itself.
          returned: when asked for
          type: dict
          contains:
            kernel_release:
              description: The running kernel, as C(uname -r) prints it.
              type: str
              sample: 6.1.0-28-amd64
            architecture:
              description: The machine's architecture, as C(uname -m) prints it.
              type: str
              sample: x86_64
            os_id:
              description: The distribution, C(ID) of os-release(5).
              type: str
              sample: debian
            os_version:
              description: The distribution's version, C(VERSION_ID) of os-release(5).
              type: str
              sample: "12"
            boot_id:
              description: The identity of this boot. Another value means that the machine was rebooted.
              type: str
              sample: decc24db-dfde-4798-bf1f-b30139e40ef1
            boot_time:
              description: When the machine was booted, in seconds since the epoch.
              type: int
              sample: 1795222981
            uptime_s:
              description: For how long it has been up, in seconds, the time in suspend included.
              type: int
              sample: 86400
            cmdline:
              description: The kernel's command line, split into its arguments. Secrets are replaced by C(<redacted>).
              type: list
              elements: str
              sample: ["root=/dev/vda1", "ro", "hugepagesz=1G", "hugepages=8"]
            cgroup:
              description: The version of control groups, V(v1), V(v2), or V(hybrid) where both are mounted.
              type: str
              sample: v2
            container:
              description: The kind of container that the module ran in, or V(none).
              type: str
              sample: none
            init:
              description: The service manager, V(systemd), or the name of the process with the number 1.
              type: str
              sample: systemd
            reason:
              description: Which of these could not be told, and why.
              type: str
              sample: null
        hugepages:
          description: The pools of hugepages and everything that decides whether they are of use.
          returned: when asked for
          type: dict
          contains:
            default_size_bytes:
              description: The size of a default hugepage in bytes.
              type: int
              sample: 2097152
            pools:
              description: A pool for each page size that the kernel offers. All counts are pages.
              type: list
              elements: dict
              contains:
                size:
                  description: The page size as people write it.
                  type: str
                  sample: 2M
                size_bytes:
                  description: The page size in bytes.
                  type: int
                  sample: 2097152
                total:
                  description: All pages of the pool, surplus ones included.
                  type: int
                  sample: 1024
                free:
                  description: Pages that are not mapped.
                  type: int
                  sample: 512
                reserved:
                  description: Free pages that are promised to a process.
                  type: int
                  sample: 128
                surplus:
                  description: Pages beyond the configured number, which go once they are free.
                  type: int
                  sample: 0
                overcommit:
                  description: How many surplus pages the kernel may add on demand.
                  type: int
                  sample: 0
                unclaimed:
                  description: Free pages that nobody was promised.
                  type: int
                  sample: 384
                nodes:
                  description: The pool's part on each NUMA node. Empty on a kernel without NUMA.
                  type: list
                  elements: dict
                  sample: [{"node": 0, "total": 1024, "free": 512, "surplus": 0}]
            pool_bytes:
              description: The memory in all pools, in bytes.
              type: int
              sample: 2147483648
            memory_total_bytes:
              description: The memory of the machine, in bytes.
              type: int
              sample: 25276514304
            mounts:
              description: Each mounted hugetlbfs with its page size, which is V(null) where the mount does not tell.
              type: list
              elements: dict
              sample: [{"path": "/dev/hugepages", "size": "2M", "size_bytes": 2097152}]
            boot_args:
              description:
                - What the kernel's command line asks for. RV(ansible_facts.bulwark.hugepages.boot_args[].nodes) is set instead of C(count)
                  where it asks per NUMA node.
              type: list
              elements: dict
              contains:
                size:
                  description: The page size that the argument binds to.
                  type: str
                  sample: 1G
                size_bytes:
                  description: The same in bytes.
                  type: int
                  sample: 1073741824
                count:
                  description: The pages asked for on the whole machine.
                  type: int
                  sample: 8
                nodes:
                  description: The pages asked for on each node, by the node's number.
                  type: dict
                  sample: null
            cgroup:
              description: Whether the kubelet can hand hugepages to pods through control groups.
              type: dict
              contains:
                ready:
                  description: V(true) where each file is there that the kubelet writes at its start. V(null) where that cannot be told.
                  type: bool
                  sample: false
                version:
                  description: V(v1), V(v2) or V(hybrid).
                  type: str
                  sample: v1
                reason:
                  description: Why it is not ready.
                  type: str
                  sample: "the kubelet's cgroups lack hugetlb files: an interrupted start left them incomplete"
                missing:
                  description: The files and folders that the next start of the kubelet fails on.
                  type: list
                  elements: str
                  sample: ["/sys/fs/cgroup/hugetlb/kubepods.slice/hugetlb.1GB.limit_in_bytes"]
            kubelet:
              description: Whether the kubelet knows of the pools as they are. It reads them at its start alone.
              type: dict
              contains:
                running:
                  description: Whether a kubelet runs.
                  type: bool
                  sample: true
                unit:
                  description: The unit that runs it.
                  type: str
                  sample: kubelet.service
                restart_needed:
                  description: Whether a pool changed after its start. V(null) where that cannot be told.
                  type: bool
                  sample: true
                reason:
                  description: Why it is needed, or cannot be told.
                  type: str
                  sample: the hugepages module changed a pool after the kubelet started
            reason:
              description: Why there are no pools.
              type: str
              sample: null
        transparent_hugepages:
          description: Transparent hugepages. A value is V(null) where the kernel does not have it.
          returned: when asked for
          type: dict
          contains:
            enabled:
              description: Where memory is given as transparent hugepages.
              type: str
              sample: madvise
            defrag:
              description: Whether a process waits until memory has been compacted.
              type: str
              sample: madvise
            shmem_enabled:
              description: The same as C(enabled), for shared memory.
              type: str
              sample: never
            khugepaged:
              description: The numbers that steer khugepaged.
              type: dict
              sample: {"defrag": 1, "max_ptes_none": 511, "pages_to_scan": 4096}
            sizes:
              description: The policy for each size of multi-size transparent hugepages.
              type: list
              elements: dict
              sample: [{"size": "64K", "size_bytes": 65536, "enabled": "never", "shmem_enabled": "never"}]
            reason:
              description: Why there are none.
              type: str
              sample: null
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.module import command_runner, fail
from ansible_collections.bulwark.node.plugins.module_utils.node import subsets


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "gather_subset": {"type": "list", "elements": "str", "default": ["all"]},
            "probe": {"type": "str", "choices": ["passive", "active"], "default": "passive"},
        },
        supports_check_mode=True,
    )
    try:
        facts = subsets.gather(Host(run=command_runner(module)), subsets.select(module.params["gather_subset"]))
    except BulwarkError as error:
        fail(module, "node_facts", error)
    module.exit_json(ansible_facts={"bulwark": facts})


if __name__ == "__main__":
    main()
