# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: nat_flows_info
short_description: Counts a machine's connections to the outside, by destination
version_added: 0.1.0
author:
  - The bulwark.node authors (@bulwark)
description:
  - Watches the connections over TCP and UDP that begin on this machine, its pods' among them, and counts them by protocol, address and port of
    where they go. It is what a gateway such as Cloud NAT has to have ports for, and what the filter P(bulwark.node.nat_ports#filter) takes.
  - A port of Cloud NAT serves one connection to each destination at a time, and over TCP is not used for the same destination again before the
    gateway's TIME_WAIT is over. So the busiest destination tells how many ports a machine needs.
  - A destination is who sends the replies, so that rules that send a connection elsewhere (DNAT) are seen through. Private and special addresses,
    those of Private Google Access, and the machine's own are left out.
  - Of IPv6 it counts what goes to C(64:ff9b::/96) (NAT64) alone, for nothing else is translated.
  - It asks conntrack, C(conntrack) of M(bulwark.node.node_facts). Where conntrack cannot tell, RV(source) is V(none) and RV(reason) says why. It never
    returns zero for what it does not see.
  - SYNs without an answer can mean that the gateway has no ports left, or that the destination is down. From here these look alike.
    The metric C(nat/dropped_sent_packets_count) of Cloud Monitoring tells them apart.
  - It takes root.
extends_documentation_fragment:
  - bulwark.node.attributes
  - bulwark.node.attributes.info_module
  - bulwark.node.attributes.actiongroup_node
attributes:
  platform:
    support: full
    platforms: linux
options:
  window:
    description:
      - For how many seconds it watches, at most 3600. The task takes as long, and for more than some minutes wants C(async), so that nobody cuts its
        idle connection.
      - With V(0) it looks once, and cannot tell new connections.
      - Choose a time in which the load is at its peak.
    type: int
    default: 60
  interval:
    description:
      - Seconds between two looks, from 1 to 10. What comes and goes in between is seen afterwards, for conntrack remembers closed
        connections for ten seconds or more.
      - A look takes about a second for each 30,000 connections.
    type: int
    default: 5
  exclude:
    description:
      - Further ranges of addresses that are not translated, such as V(203.0.113.0/24). A connection that begins in one of them is one of this
        machine's.
      - Name the cluster's ranges here where they are public addresses that are used privately, and the addresses of Google's APIs where
        the subnet has Private Google Access.
    type: list
    elements: str
    default: []
  time_wait:
    description:
      - After how many seconds the gateway uses the port of a closed connection for the same destination again, its
        C(effectiveTcpTimeWaitTimeoutSec). That is 120 for older gateways, and 30 for those made since the end of September 2026.
    type: int
    default: 120
  established_idle:
    description: After how many idle seconds the gateway forgets an established connection. conntrack has it for days, and it is not counted.
    type: int
    default: 1200
  transitory_idle:
    description: After how many idle seconds the gateway forgets a connection that is not established yet.
    type: int
    default: 30
  udp_idle:
    description: After how many idle seconds the gateway forgets what was sent over UDP.
    type: int
    default: 30
  top:
    description: How many destinations are returned, those that take most ports first.
    type: int
    default: 20
  probe:
    description:
      - V(passive) loads nothing. V(active) asks by ctnetlink, for which the kernel may load its module C(nf_conntrack_netlink), which then stays.
    type: str
    choices:
      - passive
      - active
    default: passive
notes:
  - At most 131072 connections to the outside are remembered at a time. RV(left_out) counts those beyond.
seealso:
  - plugin: bulwark.node.nat_ports
    plugin_type: filter
  - module: bulwark.node.node_facts
"""

EXAMPLES = r"""
- name: Watch a machine's connections for a minute
  bulwark.node.nat_flows_info:
  become: true
  register: flows

- name: See what its busiest destination takes
  ansible.builtin.debug:
    msg: "{{ flows.destinations[0] if flows.destinations else flows.reason }}"

- name: Watch for ten minutes behind a gateway that waits for 30 seconds, in a cluster with public addresses of its own
  bulwark.node.nat_flows_info:
    window: 600
    interval: 10
    time_wait: 30
    exclude:
      - 192.0.2.0/24
      - 198.51.100.0/24
  become: true
"""

RETURN = r"""
source:
  description: Who told it. V(none) where nothing could be told, and all else but RV(reason) and RV(witnesses) is V(null) then.
  returned: success
  type: str
  sample: netfilter
method:
  description: How conntrack was asked, V(ctnetlink) or V(proc) (C(/proc/net/nf_conntrack)).
  returned: success
  type: str
  sample: ctnetlink
reason:
  description: Why nothing could be told, or what of the result is less than the truth. V(null) where nothing is.
  returned: success
  type: str
  sample: null
window:
  description: The seconds between the first look and the last one. V(0.0) where there was one look alone.
  returned: success
  type: float
  sample: 60.002
looks:
  description: How many looks there were.
  returned: success
  type: int
  sample: 13
connections:
  description: The most connections to all destinations at a time.
  returned: success
  type: int
  sample: 912
destinations_seen:
  description: How many destinations there were.
  returned: success
  type: int
  sample: 41
destinations:
  description: The destinations that take most ports, at most O(top), in that order. An empty list where nothing goes outside.
  returned: success
  type: list
  elements: dict
  contains:
    protocol:
      description: V(tcp) or V(udp).
      type: str
      sample: tcp
    address:
      description: Where the replies come from.
      type: str
      sample: 203.0.113.10
    port:
      description: Its port.
      type: int
      sample: 443
    concurrent:
      description: The most connections at a time, without those that were closed.
      type: int
      sample: 700
    new_per_second:
      description: New connections per second, over the whole window. V(null) where there was one look alone, or RV(left_out) is not 0.
      type: float
      sample: 20.117
    time_wait:
      description: The most connections at a time that had been closed for less than O(time_wait) seconds.
      type: int
      sample: 1804
    unreplied:
      description: The most connections at a time whose SYN had no answer.
      type: int
      sample: 0
    ports:
      description:
        - How many ports they take, without headroom. It is RV(destinations[].concurrent), and over TCP RV(destinations[].new_per_second)
          multiplied by O(time_wait) beside it, or what was seen open and closed at a time, if that is more.
      type: int
      sample: 3115
left_out:
  description: How many connections were too many to be remembered. Where it is not 0, the counts may be too low.
  returned: success
  type: int
  sample: 0
witnesses:
  description:
    - What tells whether conntrack sees the traffic at all, established connections over TCP to the outside that processes on this machine hold.
    - Where more than a quarter of them is missing, RV(source) is V(none).
  returned: success
  type: dict
  sample: {held: 96, missing: 0}
  contains:
    held:
      description: How many they held before the first look and after it. V(null) where nobody looked.
      type: int
      sample: 96
    missing:
      description: How many of these conntrack did not know.
      type: int
      sample: 0
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.module import fail
from ansible_collections.bulwark.node.plugins.module_utils.node import nat_flows


def main() -> None:
    module = AnsibleModule(argument_spec=nat_flows.ARGUMENT_SPEC, supports_check_mode=True)
    try:
        found = nat_flows.measured(Host(), nat_flows.asked(module.params))
    except BulwarkError as error:
        fail(module, "nat_flows_info", error)
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
