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
    the kernel would shrink for good, bonds, and who manages the links. So are links that nobody names, and that change with the
    named ones, such as another bridge on a VLAN of this one, and macvlans that pods have in their own network namespaces. A
    namespace that cannot be looked at is warned of.
  - After a second links, addresses and routes are looked at again. What did not stay fails the module, and all is put back.
  - A link that carries the connection to the machine or a default route, of whatever routing table, is refused. See
    O(allow_management_link). To pin such a bridge at the MTU that it has is not, though it has another one for a moment.
    RV(disruptive) names it.
  - Ports that guests and pods brought (C(vnet), C(veth), C(cali), C(tap)) are left alone unless they are named.
  - Where ssh is the way to the machine, and nobody tells by which connection, no link is changed. The login shell is asked for
    C(SSH_CONNECTION), for sudo and its like may hide it from the module.
  - What was there before is kept in C(/var/lib/bulwark/manifest.json), by the names of the links, and what was set since.
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
  action:
    description: Has an action plugin, which runs the module once more on a new connection where it armed a timer.
    support: full
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
          - The ports that get the same MTU, or V(all) for all but those of guests and pods. A bond gives it to its own ports.
          - A frame that is larger than the MTU of the port by which it would leave is dropped without a word. A warning names the
            ports that stay smaller.
          - What a VLAN among them stands on grows with it.
        type: list
        elements: str
      uppers:
        description: The links on the bridge that get the same MTU, such as VLANs, or V(all) for all but tunnels (C(vxlan)).
        type: list
        elements: str
      pin:
        description:
          - Whether the bridge keeps its MTU when ports come and go.
          - With V(false) it is not set, and follows its ports, the smallest of which must have that MTU. A bridge that is pinned
            cannot be unpinned while it lives. One that is known to be is set.
        type: bool
        default: true
  persist:
    description:
      - Whether the MTUs are set at boot as well, by files for the manager that owns each link. They count from the next boot on,
        for nothing is reloaded.
      - For systemd-networkd these are a drop-in for each C(.network) file, also where netplan or cloud-init writes that, and for
        each bridge that is pinned C(/etc/systemd/system/bulwark-bridge-mtu-<bridge>.service), since systemd-networkd pins it by
        chance. A bridge that is removed and made anew while the machine runs is pinned by the next boot, or the next run.
      - For ifupdown it is C(/etc/network/if-up.d/zz-bulwark-bridge-mtu), which sets and pins whenever one of the links comes up.
      - A C(.network) file that other links have as well, and another file that would win, are refused by name.
      - Refused with the lines to write are NetworkManager, netplan and nmstate on it, ifupdown2, networks of libvirt, and links of
        which it is not known what sets them up, such as those made by hand.
    type: bool
    default: true
  allow_management_link:
    description:
      - Whether a link may be changed that carries the connection to the machine or a default route.
      - A timer on the machine then puts the old MTUs back after O(revert_after), unless a new connection from the controller comes
        through before, and large packets on it in both directions. Only then the MTUs are persisted.
      - Refused before the first write, in check mode too, where no new connection can come. This is so with
        C(ansible_connection=local) and all that is not ssh, and where ssh gives the same connection again after a reset, which is
        tried first. There it takes a O(probe) beyond the link instead, which must answer before the timer is cancelled.
      - Where nobody confirms the MTUs, the module fails and says what is live, what the timer puts back and when, and which pins
        stay. It is C(changed) as long as new MTUs are live, or a pin stays.
      - The timer is one of C(systemd-run). Without systemd, or in another network namespace than its, it is a process of its own.
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
      - It must be reached through one of the links, and where it has to prove that the machine is still reached, through one that
        carries the machine.
      - With O(state=absent) the packets have the MTU from before.
    type: str
  confirm:
    description:
      - The token of the armed timer. The module's action plugin runs the module a second time and gives it, on the new connection.
        A playbook never does.
    type: str
  ssh_connection:
    description:
      - What the login shell says of the connection in C(SSH_CONNECTION). The module's action plugin gives it. A playbook never does.
      - It counts where no process above the module tells, as when sudo, su or machinectl have taken it away.
    type: str
  fresh_connection:
    description:
      - Whether the action plugin can confirm on a new connection. It gives this itself. A playbook never does.
      - V(shared) is ssh that gives the same connection again after a reset, V(none) no ssh at all.
    type: str
    choices:
      - possible
      - shared
      - none
    default: none
  state:
    description:
      - V(present) sets what is named, and leaves the rest alone.
      - V(absent) gives the bridges, their ports and what stands on them the MTUs from before this module, and removes what it
        persisted.
      - A link that has neither what was set here in this boot nor what is persisted was set by somebody else since. It is left
        as it is, with a warning.
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

- name: The same where the play runs on the machine itself
  bulwark.node.bridge_mtu:
    bridges:
      - name: br0
        mtu: 1450
        ports: [all]
    allow_management_link: true
    probe: 192.0.2.1

- name: Put back what was there before
  bulwark.node.bridge_mtu:
    state: absent
"""

RETURN = r"""
before:
  description: The bridges as they were.
  returned: success, or failure to confirm
  type: dict
  contains:
    bridges:
      description:
        - The named bridges, each as in the subset C(bridges) of M(bulwark.node.node_facts).
        - With O(state=absent) and no O(bridges) those that this module had set.
      type: list
      elements: dict
      sample:
        - name: br0
          mtu: 1500
          effective_mtu: 1500
          pinned: null
          pinned_reason: "its MTU is the smallest of its ports: it follows them, or was set to the same"
          ports:
            - {name: eth1, mtu: 1500, kind: null, dynamic: false}
            - {name: vnet0, mtu: 1500, kind: tun, dynamic: true}
          mismatched: []
          vlan_filtering: false
          stp: false
          uppers:
            - {name: br0.100, mtu: 1500, kind: vlan}
    revert:
      description: The armed timer. V(null) where none is, as before and after each task that did not fail.
      type: dict
      sample: null
      contains:
        token:
          description: Its token.
          type: str
          sample: "9364201718363841037"
        seconds:
          description: How long it still waits.
          type: int
          sample: 95
        links:
          description: The links that it sets, in this order, what each has now (C(mtu)) and what it gets (C(old)).
          type: list
          elements: dict
          sample:
            - {name: br0, mtu: 9000, old: 1500}
            - {name: eth1, mtu: 9000, old: 1500}
    probe:
      description: What came of O(probe). V(null) where none was asked for, or the MTUs are not there yet.
      type: dict
      sample: null
      contains:
        address:
          description: The address.
          type: str
          sample: 192.0.2.10
        size:
          description: The bytes of each packet, with its IP header.
          type: int
          sample: 9000
        passed:
          description: Whether one came back.
          type: bool
          sample: false
        path_mtu:
          description: What a router said would fit. V(null) where none said so.
          type: int
          sample: 1500
        hop:
          description: The first hop that packets of this size do not reach, while small ones do. V(null) where that cannot be told.
          type: int
          sample: 2
        hop_address:
          description: The address of that hop.
          type: str
          sample: 198.51.100.2
after:
  description:
    - The same afterwards, read back after a second, or in check mode as predicted.
    - Of a module that failed to confirm what is live. V(null) where the machine was not reached any more.
  returned: success, or failure to confirm or for a timer of an earlier run
  type: dict
  contains:
    bridges:
      description: As in RV(before).
      type: list
      elements: dict
      sample:
        - name: br0
          mtu: 9000
          effective_mtu: 1500
          pinned: true
          pinned_reason: bulwark.node pinned it
          ports:
            - {name: eth1, mtu: 9000, kind: null, dynamic: false}
            - {name: vnet0, mtu: 1500, kind: tun, dynamic: true}
          mismatched: [vnet0]
          vlan_filtering: false
          stp: false
          uppers:
            - {name: br0.100, mtu: 9000, kind: vlan}
    revert:
      description: As in RV(before).
      type: dict
      sample: null
    probe:
      description: As in RV(before).
      type: dict
      sample: {address: 192.0.2.10, size: 9000, passed: true, path_mtu: null, hop: null, hop_address: null}
changes:
  description: What was done, or in check mode would be done, in this order.
  returned: success, or failure to confirm
  type: list
  elements: dict
  contains:
    kind:
      description:
        - V(mtu), V(pin) for a bridge that has the MTU and is pinned by another one for a moment, V(file) or V(link) for what is
          persisted, V(forget) for a first MTU that need not be kept any more or that somebody replaced since, V(timer) in a run that
          does nothing but confirm.
      type: str
      sample: mtu
    target:
      description: The link or the file.
      type: str
      sample: br0
    before:
      description: The value before. V(null) where there was nothing.
      type: raw
      sample: 1500
    after:
      description: The value asked for. V(null) where nothing is to be left.
      type: raw
      sample: 9000
unmet:
  description: What the machine did not take, or lost by the change. Each fails the module, and all is put back.
  returned: success, or failure for that reason
  type: list
  elements: dict
  contains:
    target:
      description: The link, the file or the option.
      type: str
      sample: eth1
    wanted:
      description: The MTU asked for, or the address or route that was lost.
      type: raw
      sample: 9000
    got:
      description: The value read back.
      type: raw
      sample: 1500
    reason:
      description: Why.
      type: str
      sample: 9000 was written and 1500 read back
    remedy:
      description: What helps.
      type: str
      sample: Look who else writes it.
    evidence:
      description: The numbers behind the reason, for O(probe) those of its result.
      type: dict
      sample: {}
reboot_required:
  description: Whether the wanted state takes a reboot. It never does.
  returned: success
  type: bool
  sample: false
restart_required:
  description: The units that must be restarted to see the new state. There are none.
  returned: success
  type: list
  elements: dict
  sample: []
disruptive:
  description: The links whose change may be felt, in check mode too.
  returned: success
  type: list
  elements: dict
  contains:
    target:
      description: The link.
      type: str
      sample: br0
    reason:
      description: It carries the connection or a default route, or it is hardware, whose driver may reset it.
      type: str
      sample: it carries this connection
undone:
  description: What had been changed and was put back, when the module failed.
  returned: failure
  type: list
  elements: str
  sample: ["/sys/class/net/eth1/mtu", "the timer"]
not_undone:
  description: What had been changed and could not be put back. The message names it too.
  returned: failure
  type: list
  elements: dict
  contains:
    what:
      description: The object.
      type: str
      sample: the pin of br0
    reason:
      description: Why it could not be put back.
      type: str
      sample: "it stays pinned: the kernel does not forget it while the bridge lives"
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
