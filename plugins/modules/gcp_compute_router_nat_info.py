# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gcp_compute_router_nat_info
short_description: Tells what is in force of the Cloud NATs of a router, and how far their ports reach
version_added: 0.1.0
author:
  - The bulwark.node authors (@bulwark)
description:
  - Returns the NATs of a Cloud Router with all of their settings, those that the API leaves out as the defaults that are in force.
  - With it come their status, their addresses, the ports that each VM was allotted, and what Cloud Monitoring saw of each VM, which is how many of
    them it used, how fast it made connections, and what was dropped.
  - The right to the router is a must. What else cannot be asked is V(null), with the reason beside it.
extends_documentation_fragment:
  - bulwark.node.gcp
  - bulwark.node.attributes
  - bulwark.node.attributes.info_module
  - bulwark.node.attributes.actiongroup_gcp
attributes:
  platform:
    support: full
    platforms: posix
options:
  region:
    description:
      - The region of the router.
    type: str
    required: true
  router:
    description:
      - The name of the Cloud Router.
    type: str
    required: true
  name:
    description:
      - The name of one NAT, which has to be there. Without it all NATs of the router are returned.
    type: str
  mappings:
    description:
      - Whether the ports of each VM are asked for. A router with thousands of VMs has many pages of them.
    type: bool
    default: true
  usage_window:
    description:
      - How many seconds back Cloud Monitoring is asked, from 60 to 3628800 (six weeks). With V(0) it is not asked.
    type: int
    default: 3600
  metrics_project:
    description:
      - Whose Cloud Monitoring is asked. By default that of O(project).
      - In a Shared VPC the VMs' metrics are in the projects of the VMs.
    type: str
notes:
  - It takes the right C(compute.routers.get), and for what VMs used C(monitoring.timeSeries.list).
  - A VM is found in Cloud Monitoring by its name, which is all that both sides say of it.
seealso:
  - module: bulwark.node.gcp_compute_router_nat
"""

EXAMPLES = r"""
- name: Look at the NATs of a router
  bulwark.node.gcp_compute_router_nat_info:
    project: a-project
    auth_kind: application
    region: europe-west3
    router: a-router
  register: nat

- name: Show the VMs that used more than 80 percent of their ports in the last hour
  ansible.builtin.debug:
    msg: "{{ item.name }}: {{ item.usage.port_usage.values() | max }} of {{ item.ports }}"
  loop: "{{ nat.nats | map(attribute='vms') | select | flatten | selectattr('mapped') }}"
  loop_control:
    label: "{{ item.name }}"
  when:
    - item.usage is not none
    - item.usage.port_usage | length > 0
    - item.usage.port_usage.values() | max > 0.8 * item.ports

- name: Look at a day of one NAT, whose VMs are in another project
  bulwark.node.gcp_compute_router_nat_info:
    project: a-host-project
    metrics_project: a-service-project
    auth_kind: application
    region: europe-west3
    router: a-router
    name: a-nat
    usage_window: 86400
"""

RETURN = r"""
router:
  description: The router.
  returned: success
  type: dict
  contains:
    project:
      description: Its project.
      type: str
      sample: a-project
    region:
      description: Its region.
      type: str
      sample: europe-west3
    name:
      description: Its name.
      type: str
      sample: a-router
    id:
      description: Its number. V(null) where the API does not say it.
      type: str
      sample: "4810412398423984"
    network:
      description: Its network. V(null) where the API does not say it.
      type: str
      sample: projects/a-project/global/networks/default
    description:
      description: Its description.
      type: str
      sample: ""
    owner:
      description: Who else manages it, by the description. V(null) where it names nobody.
      type: dict
      sample: null
      contains:
        tool:
          description: V(terraform) or V(config_connector).
          type: str
          sample: terraform
        evidence:
          description: Where it says so.
          type: str
          sample: "'goog-terraform-provisioned' in the description of the router"
nats:
  description: Its NATs, or the one of O(name).
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Its name.
      type: str
      sample: a-nat
    effective:
      description:
        - What is in force, by the names of the options of M(bulwark.node.gcp_compute_router_nat). All fields are there. Links are paths without a host.
      type: dict
      contains:
        type:
          description: V(PUBLIC) or V(PRIVATE).
          type: str
          sample: PUBLIC
        endpoint_types:
          description: What it serves.
          type: list
          elements: str
          sample: [ENDPOINT_TYPE_VM]
        nat_ip_allocate_option:
          description: V(AUTO_ONLY) or V(MANUAL_ONLY). V(null) of a private one.
          type: str
          sample: MANUAL_ONLY
        nat_ips:
          description: Its static addresses.
          type: list
          elements: str
          sample: [projects/a-project/regions/europe-west3/addresses/nat-1]
        drain_nat_ips:
          description: Those that drain.
          type: list
          elements: str
          sample: []
        auto_network_tier:
          description: The tier of addresses that Google allocates. V(null) is the project's.
          type: str
          sample: null
        source_subnetwork_ip_ranges_to_nat:
          description: Which ranges are translated.
          type: str
          sample: ALL_SUBNETWORKS_ALL_IP_RANGES
        subnetworks:
          description: Of which subnetworks, with their C(source_ip_ranges_to_nat) and C(secondary_ip_range_names).
          type: list
          elements: dict
          sample: []
        min_ports_per_vm:
          description: How many ports a VM has at least, as it is set, or by default.
          type: int
          sample: 64
        max_ports_per_vm:
          description: How many it has at most. V(null) without dynamic allocation.
          type: int
          sample: null
        enable_dynamic_port_allocation:
          description: Whether a VM gets more ports as it needs them.
          type: bool
          sample: false
        enable_endpoint_independent_mapping:
          description: Whether a VM's address and port become the same ones for each destination.
          type: bool
          sample: false
        udp_idle_timeout_sec:
          description: Seconds of an idle mapping of UDP.
          type: int
          sample: 30
        icmp_idle_timeout_sec:
          description: Seconds of an idle mapping of ICMP.
          type: int
          sample: 30
        tcp_established_idle_timeout_sec:
          description: Seconds of an idle connection.
          type: int
          sample: 1200
        tcp_transitory_idle_timeout_sec:
          description: Seconds of a connection that is being opened or closed.
          type: int
          sample: 30
        tcp_time_wait_timeout_sec:
          description: Seconds before a port is used again to the same destination. V(null) where the API says neither what is set nor what is in force.
          type: int
          sample: 120
        log_config:
          description: What is logged.
          type: dict
          sample: {enable: false, filter: ALL}
        rules:
          description: Its rules, with all fields of the option.
          type: list
          elements: dict
          sample: []
    defaulted:
      description: The fields that the API left out, and that are not set.
      type: list
      elements: str
      sample: [min_ports_per_vm, tcp_time_wait_timeout_sec]
    alias_ranges:
      description:
        - Whether alias ranges, such as those of pods, are translated. Then static allocation gives each VM 1024 ports or more.
      type: bool
      sample: true
    status:
      description: The router's status of it.
      type: dict
      contains:
        min_extra_nat_ips_needed:
          description: How many more addresses it takes, for all VMs to have ports. Known with V(MANUAL_ONLY) alone.
          type: int
          sample: 0
        vm_endpoints:
          description: How many interfaces of VMs can use it.
          type: int
          sample: 12
    status_reason:
      description: Why that is not known.
      type: str
      sample: null
    addresses:
      description: Its addresses.
      type: list
      elements: dict
      contains:
        address:
          description: The address.
          type: str
          sample: 203.0.113.11
        mode:
          description: V(AUTO) or V(MANUAL). V(null) where the API does not say it.
          type: str
          sample: MANUAL
        in_use:
          description: Whether a VM uses it. V(null) where the API does not say it.
          type: bool
          sample: true
        draining:
          description: Whether it drains. V(null) where the status is not known.
          type: bool
          sample: false
        resource:
          description: Its resource. V(null) where it has none, or it is not known.
          type: str
          sample: projects/a-project/regions/europe-west3/addresses/nat-1
    addresses_reason:
      description: Why that is not known.
      type: str
      sample: null
    vms:
      description: The VMs that use it, of all pages, by name, and those that only Cloud Monitoring knows any more.
      type: list
      elements: dict
      contains:
        name:
          description: Its name. Of a VM that is gone its number, where nobody knows the name.
          type: str
          sample: node-1
        mapped:
          description: Whether it has ports now.
          type: bool
          sample: true
        ports:
          description: How many ports it has over all its ranges.
          type: int
          sample: 1024
        drain_ports:
          description: How many it has of addresses that drain.
          type: int
          sample: 0
        ranges:
          description: Its ports by range.
          type: list
          elements: dict
          contains:
            source_virtual_ip:
              description: The primary address of the interface.
              type: str
              sample: 10.0.0.2
            source_alias_ip_range:
              description: The alias range. Empty for the primary address.
              type: str
              sample: 10.4.1.0/24
            ports:
              description: How many ports it has.
              type: int
              sample: 512
            drain_ports:
              description: How many it has of addresses that drain.
              type: int
              sample: 0
            nat_ips:
              description: Of which addresses.
              type: list
              elements: str
              sample: [203.0.113.11]
            rules:
              description: Those of them by rule, each with C(rule_number), C(ports) and C(drain_ports).
              type: list
              elements: dict
              sample: []
        usage:
          description: What Cloud Monitoring saw of it in O(usage_window) seconds.
          type: dict
          contains:
            zone:
              description: Its zone.
              type: str
              sample: europe-west3-a
            instance_id:
              description: Its number.
              type: str
              sample: "1406292833167995938"
            port_usage:
              description: How many connections it had to one destination (address and port) at most, by protocol. One without a figure is missing.
              type: dict
              sample: {TCP: 700, UDP: 3}
            allocated_ports:
              description: How many ports it had in the last five minutes. V(null) where there is no figure.
              type: int
              sample: 1024
            new_per_second:
              description: New connections to all destinations per second of the busiest minute, by protocol.
              type: dict
              sample: {TCP: 20.5}
            dropped_packets:
              description: How many packets were dropped, by V(OUT_OF_RESOURCES) and V(ENDPOINT_INDEPENDENCE_CONFLICT).
              type: dict
              sample: {OUT_OF_RESOURCES: 0}
        usage_reason:
          description: Why that is not known.
          type: str
          sample: null
    vms_reason:
      description: Why that is not known.
      type: str
      sample: null
    usage:
      description: The same over all VMs, those that are gone among them.
      type: dict
      contains:
        window_s:
          description: What O(usage_window) was.
          type: int
          sample: 3600
        port_usage:
          description: Of the VM with most, by protocol.
          type: dict
          sample: {TCP: 700, UDP: 3}
        busiest_vm:
          description: Which VM had most connections to one destination. V(null) where there is no figure.
          type: str
          sample: node-1
        new_per_second:
          description: Of the VM with most, by protocol.
          type: dict
          sample: {TCP: 20.5}
        dropped_packets:
          description: The sum of all VMs, by reason.
          type: dict
          sample: {OUT_OF_RESOURCES: 0}
        vms:
          description: Of how many VMs there were figures.
          type: int
          sample: 12
    usage_reason:
      description: Why that is not known.
      type: str
      sample: null
"""

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError
from ansible_collections.bulwark.node.plugins.module_utils.gcp.client import ARGUMENT_SPEC, connect
from ansible_collections.bulwark.node.plugins.module_utils.gcp.module import GcpModule
from ansible_collections.bulwark.node.plugins.module_utils.gcp.nat_info import NAT_INFO_SPEC, look


def main() -> None:
    module = GcpModule(argument_spec={**NAT_INFO_SPEC, **ARGUMENT_SPEC}, supports_check_mode=True)
    try:
        found = look(connect(module.params), module.params)
    except BulwarkError as error:
        module.fail_json(**{**error.details, "msg": f"gcp_compute_router_nat_info: {error}"})
    module.exit_json(**found)


if __name__ == "__main__":
    main()
