# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: transparent_hugepages
short_description: Sets the policy of transparent hugepages, now and for the next boot
version_added: 0.1.0
author:
  - The bulwark.node authors (@bulwark)
description:
  - Sets where the kernel gives memory as transparent hugepages, whether processes wait for compaction, and how khugepaged works.
  - Everything is checked before the first write. The kernel has the attribute and takes the value, and nothing else sets it at boot.
  - A run that is stopped undoes what it did. After SIGKILL or a loss of power run it again, which goes on from what there is.
  - It is persisted by C(/etc/tmpfiles.d/10-bulwark-transparent-hugepages.conf). There is no sysctl for it, so that without systemd
    O(persist=true) is refused. A file of that name that is not the module's is refused as well.
  - What was there before is kept in C(/var/lib/bulwark/manifest.json).
  - Lines of others in a file of the module's stay, also where O(state=absent) takes the module's own. A file that does not begin as the
    module's any more is left alone then. Each is named in a warning.
extends_documentation_fragment:
  - bulwark.node.attributes
  - bulwark.node.attributes.actiongroup_node
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
  platform:
    support: full
    platforms: linux
options:
  enabled:
    description: Where memory is given as transparent hugepages.
    type: str
    choices:
      - always
      - madvise
      - never
  defrag:
    description:
      - Whether a process that could get a hugepage waits until memory has been reclaimed and compacted.
      - V(always) stalls processes. V(defer) leaves it to the kernel's threads.
    type: str
    choices:
      - always
      - defer
      - defer+madvise
      - madvise
      - never
  shmem_enabled:
    description:
      - The policy for shared memory and tmpfs. V(deny) and V(force) are meant for tests.
      - The kernel takes V(force) only where no size but that of a hugepage inherits.
    type: str
    choices:
      - always
      - within_size
      - advise
      - never
      - deny
      - force
  khugepaged:
    description: How the kernel's thread works that joins pages to hugepages.
    type: dict
    suboptions:
      defrag:
        description: V(1) lets it compact memory, V(0) does not.
        type: int
      pages_to_scan:
        description: How many pages it looks at before it sleeps.
        type: int
      scan_sleep_millisecs:
        description: For how many milliseconds it then sleeps.
        type: int
      alloc_sleep_millisecs:
        description: For how many milliseconds it sleeps after it got no hugepage.
        type: int
      max_ptes_none:
        description: How many pages of a hugepage may be empty before, and so grow the memory of a process.
        type: int
      max_ptes_swap:
        description: How many of them may have to be brought back from swap.
        type: int
      max_ptes_shared:
        description: How many of them may be shared between processes.
        type: int
  sizes:
    description: The policy of each size of multi-size transparent hugepages, which kernels have since 6.8.
    type: list
    elements: dict
    suboptions:
      size:
        description: The size, such as V(64K).
        type: str
        required: true
      enabled:
        description: As O(enabled), where V(inherit) means the value of O(enabled).
        type: str
        choices:
          - always
          - inherit
          - madvise
          - never
      shmem_enabled:
        description: As O(shmem_enabled), where V(inherit) means the value of O(shmem_enabled).
        type: str
        choices:
          - always
          - inherit
          - within_size
          - advise
          - never
  persist:
    description:
      - Whether the values are set at boot as well.
      - With V(false) nothing is written to C(/etc), and a warning names what an earlier run persisted otherwise.
    type: bool
    default: true
  state:
    description:
      - V(present) sets what is named, and leaves the rest alone.
      - V(absent) gives everything that this module ever set the value from before it, and removes what it persisted.
    type: str
    choices:
      - present
      - absent
    default: present
seealso:
  - module: bulwark.node.node_facts
  - module: bulwark.node.hugepages
  - name: Transparent Hugepage Support
    description: The kernel's own documentation.
    link: https://docs.kernel.org/admin-guide/mm/transhuge.html
"""

EXAMPLES = r"""
- name: Give transparent hugepages to those who ask for them, and let nobody wait for compaction
  bulwark.node.transparent_hugepages:
    enabled: madvise
    defrag: defer+madvise

- name: Turn them off until the next boot
  bulwark.node.transparent_hugepages:
    enabled: never
    persist: false

- name: Give pages of 64 KiB to all that follow the general policy, and keep khugepaged from growing processes
  bulwark.node.transparent_hugepages:
    sizes:
      - size: 64K
        enabled: inherit
    khugepaged:
      max_ptes_none: 0

- name: Put back what was there before
  bulwark.node.transparent_hugepages:
    state: absent
"""

RETURN = r"""
before:
  description: The subset C(transparent_hugepages) of M(bulwark.node.node_facts) as it was.
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
      sample: attribute
    target:
      description: What it acts on.
      type: str
      sample: /sys/kernel/mm/transparent_hugepage/enabled
    before:
      description: The value before. V(null) where there was nothing.
      type: raw
      sample: always
    after:
      description: The value asked for. V(null) where nothing is to be left.
      type: raw
      sample: madvise
unmet:
  description: What the machine did not take.
  returned: success, or failure for that reason
  type: list
  elements: dict
  contains:
    target:
      description: The option, or the object.
      type: str
      sample: /sys/kernel/mm/transparent_hugepage/enabled
    wanted:
      description: The value asked for.
      type: raw
      sample: madvise
    got:
      description: The value read back.
      type: raw
      sample: always
    reason:
      description: Why.
      type: str
      sample: "'madvise' was written and 'always' read back"
    remedy:
      description: What helps.
      type: str
      sample: Look who else writes it.
    evidence:
      description: The numbers behind the reason.
      type: dict
      sample: {}
reboot_required:
  description: Whether the wanted state takes a reboot.
  returned: success
  type: bool
  sample: false
restart_required:
  description: The units that must be restarted to see the new state. The kernel needs none for this.
  returned: success
  type: list
  elements: dict
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
  sample: ["/sys/kernel/mm/transparent_hugepage/enabled"]
not_undone:
  description: What had been changed and could not be put back. The message names it too.
  returned: failure
  type: list
  elements: dict
  contains:
    what:
      description: The object.
      type: str
      sample: /sys/kernel/mm/transparent_hugepage/enabled
    reason:
      description: Why it could not be put back.
      type: str
      sample: "cannot write '0': EIO (Input/output error)"
  sample: []
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulwark.node.plugins.module_utils.module import run
from ansible_collections.bulwark.node.plugins.module_utils.node import transparent_hugepages


def main() -> None:
    module = AnsibleModule(argument_spec=transparent_hugepages.ARGUMENT_SPEC, supports_check_mode=True)
    run(module, transparent_hugepages.TransparentHugepages)


if __name__ == "__main__":
    main()
