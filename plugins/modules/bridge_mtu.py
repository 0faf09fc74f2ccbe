# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bridge_mtu
short_description: Sets the MTU of bridges and their ports, and keeps it
version_added: 0.1.0
author:
  - The bulwark.node authors (@bulwark)
description:
  - Sets the MTU of Linux bridges, of the ports that are named and of links on them, in an order in which no link is larger than
    what carries its frames. No link is taken down.
  - A bridge follows the smallest MTU of its ports until its own is changed by hand, and from then on never again. This module pins
    it so, where the MTU is already the wanted one by setting another one for a moment, and notes that in C(/run).
  - Everything is checked before the first write. The bounds of each driver, IPv6, which needs 1280 bytes, VLANs and their like, which
    the kernel would shrink for good, bonds, and who manages the links.
  - After a second links, addresses and routes are looked at again. What did not stay fails the module, and all is put back.
  - A link that carries the connection to the machine or a default route is refused. See O(allow_management_link).
  - Ports that guests and pods brought (C(vnet), C(veth), C(cali), C(tap)) are left alone unless they are named.
  - What was there before is kept in C(/var/lib/bulwark/manifest.json).
extends_documentation_fragment:
  - bulwark.node.attributes
  - bulwark.node.attributes.actiongroup_node
attributes:
  check_mode:
    support: full
    details:
      - O(probe) is tried only where the MTUs are already as asked for.
  diff_mode:
    support: full
  idempotent:
    support: full
  platform:
    support: full
    platforms: Linux
options:
  bridges:
    description:
      - The bridges. Those of Open vSwitch are refused.
      - Without it O(state=absent) takes back all that this module ever set.
    type: list
    elements: dict
    suboptions:
      name:
        description: The name of the bridge.
        type: str
        required: true
      mtu:
        description: The MTU in bytes. Required with O(state=present).
        type: int
      ports:
        description:
          - The ports that get the same MTU, or V(all) for all but those of guests and pods.
          - A frame that is larger than the MTU of the port by which it would leave is dropped without a word. A warning names the
            ports that stay smaller.
          - What a VLAN among them stands on grows with it.
        type: list
        elements: str
      uppers:
        description: The links on the bridge that get the same MTU, such as VLANs, or V(all).
        type: list
        elements: str
      pin:
        description:
          - Whether the bridge keeps its MTU when ports come and go.
          - With V(false) it is not set, and follows its ports, which must have that MTU. A bridge that is pinned cannot be unpinned
            while it lives.
        type: bool
        default: true
  persist:
    description:
      - Whether the MTUs are set at boot as well, by files for the manager that owns each link.
      - Those of systemd-networkd, netplan on it, and ifupdown are written. For others the lines to write are in the error.
    type: bool
    default: true
  allow_management_link:
    description:
      - Whether a link may be changed that carries the connection to the machine or a default route.
      - A timer on the machine then puts the old MTUs back after O(revert_after), unless a new connection from the controller comes
        through before. Only then the MTUs are persisted.
    type: bool
    default: false
  revert_after:
    description: The seconds of that timer, 10 to 3600.
    type: int
    default: 120
  probe:
    description:
      - An address to which packets of the MTU are sent unfragmented. If none comes back, the module fails, says at which hop they
        are lost, and puts the old MTUs back.
      - It must be reached through one of the links.
    type: str
  confirm:
    description: The token of the armed timer. The module's action plugin gives it, on the new connection.
    type: str
  state:
    description:
      - V(present) sets what is named, and leaves the rest alone.
      - V(absent) gives the bridges, their ports and what stands on them the MTUs from before this module, and removes what it
        persisted.
    type: str
    choices:
      - present
      - absent
    default: present
seealso:
  - module: bulwark.node.node_facts
  - name: bridge_mtu and its peers
    description: What nmcli and ip link do in the same cases.
    link: https://github.com/bulwark/node/blob/main/docs/comparison.md
"""

EXAMPLES = r"""
- name: Jumbo frames on the bridge of the guests and its uplink
  bulwark.node.bridge_mtu:
    bridges:
      - name: br0
        mtu: 9000
        ports: [all]

- name: Also a VLAN on it, proved as far as the storage
  bulwark.node.bridge_mtu:
    bridges:
      - name: br0
        mtu: 9000
        ports: [eth1]
        uppers: [br0.100]
    probe: 192.0.2.10

- name: The bridge that carries ssh, with a way back
  bulwark.node.bridge_mtu:
    bridges:
      - name: br0
        mtu: 1450
        ports: [all]
    allow_management_link: true
    revert_after: 60

- name: Put back what was there before
  bulwark.node.bridge_mtu:
    state: absent
"""

RETURN = r"""
before:
  description: The subset C(bridge_mtu) of M(bulwark.node.node_facts) as it was.
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
from ansible_collections.bulwark.node.plugins.module_utils.node import bridge_mtu


def main() -> None:
    module = AnsibleModule(argument_spec=bridge_mtu.ARGUMENT_SPEC, supports_check_mode=True)
    run(module, bridge_mtu.BridgeMtu)


if __name__ == "__main__":
    main()
