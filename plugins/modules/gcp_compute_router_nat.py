# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gcp_compute_router_nat
short_description: Sets a Cloud NAT of a router, and leaves its siblings as they are
version_added: 0.1.0
author:
  - The bulwark.node authors (@bulwark)
description:
  - Creates, changes and deletes one NAT of a Cloud Router. All that can be checked of its settings is checked before the first request.
  - A router's NATs are one list, which each change replaces whole. So the router is looked at again right before the change, is planned
    anew where somebody else was faster, and is read back afterwards. Fields that this module does not know are kept.
  - Defaults that the API leaves out count as what they are, so that setting one of them is no change.
  - What closes connections is in RV(disruptive), and refused unless O(allow_disruption) is set.
  - Addresses that are taken from O(nat_ips) drain, in the same change. Their connections go on.
  - What is not given is left as it is. To give a field up, name it in O(reset).
extends_documentation_fragment:
  - bulwark.node.attributes
  - bulwark.node.attributes.actiongroup_gcp
  - bulwark.node.gcp
attributes:
  check_mode:
    support: full
    details:
      - It looks at the router and fails where the run would. What the server alone knows, such as addresses that do not exist, it does not tell.
  diff_mode:
    support: full
  idempotent:
    support: full
  platform:
    support: full
    platforms: posix
options:
  state:
    description:
      - With V(present) the NAT is there, and has the fields that are given. With V(absent) it is not, which takes O(allow_disruption).
    type: str
    choices:
      - present
      - absent
    default: present
  region:
    description:
      - The region of the router.
    type: str
    required: true
  router:
    description:
      - The name of the Cloud Router, which has to be there.
    type: str
    required: true
  name:
    description:
      - The name of the NAT.
    type: str
    required: true
  reset:
    description:
      - Fields that get their default back. They must not be given as well. One that has its default is left as it is, whoever set it.
      - The default of O(auto_network_tier) is the project's. Where the server tells it as if it had been set, it is given up in each run.
    type: list
    elements: str
    choices:
      - drain_nat_ips
      - auto_network_tier
      - min_ports_per_vm
      - max_ports_per_vm
      - enable_dynamic_port_allocation
      - enable_endpoint_independent_mapping
      - udp_idle_timeout_sec
      - icmp_idle_timeout_sec
      - tcp_established_idle_timeout_sec
      - tcp_transitory_idle_timeout_sec
      - tcp_time_wait_timeout_sec
      - log_config
      - rules
    default: []
  drain:
    description:
      - Whether addresses (in O(rules) also ranges) that are active no more drain from then on, as long as it is not said otherwise what drains.
        Those that drain are given up by setting O(drain_nat_ips).
      - Otherwise they are removed, which closes their connections at once.
    type: bool
    default: true
  allow_disruption:
    description:
      - Whether to do what closes or resets connections, see RV(disruptive).
    type: bool
    default: false
  emit:
    description:
      - Changes nothing, and returns the change in RV(emitted) for who manages the NAT by another tool.
      - V(hcl) is the resource of Terraform as it shall be, V(gcloud) the commands that make the change.
    type: str
    choices:
      - hcl
      - gcloud
  type:
    description:
      - Whether it translates to addresses of the internet or of other networks. It cannot be changed later.
      - Where it is not set, V(PUBLIC).
    type: str
    choices:
      - PUBLIC
      - PRIVATE
  endpoint_types:
    description:
      - What it serves. It cannot be changed later.
      - Where it is not set, V(ENDPOINT_TYPE_VM).
    type: list
    elements: str
    choices:
      - ENDPOINT_TYPE_VM
      - ENDPOINT_TYPE_SWG
      - ENDPOINT_TYPE_MANAGED_PROXY_LB
  nat_ip_allocate_option:
    description:
      - Whether Google allocates its addresses, or O(nat_ips) has them. A NAT that is made takes it, unless it is V(PRIVATE).
      - To change it closes all connections.
    type: str
    choices:
      - AUTO_ONLY
      - MANUAL_ONLY
  nat_ips:
    description:
      - Static addresses, by their names in this region, or by links. With V(MANUAL_ONLY) one has to stay.
    type: list
    elements: str
  drain_nat_ips:
    description:
      - Addresses that get no new connections, all of them. They are taken out of O(nat_ips) where that is not given.
      - What is in neither list any more is removed, which closes its connections at once.
    type: list
    elements: str
  auto_network_tier:
    description:
      - The tier of addresses that Google allocates. Where it is not set, the project's.
    type: str
    choices:
      - PREMIUM
      - STANDARD
  source_subnetwork_ip_ranges_to_nat:
    description:
      - Which ranges are translated. A NAT that is made takes it.
    type: str
    choices:
      - ALL_SUBNETWORKS_ALL_IP_RANGES
      - ALL_SUBNETWORKS_ALL_PRIMARY_IP_RANGES
      - LIST_OF_SUBNETWORKS
  subnetworks:
    description:
      - The subnetworks, with V(LIST_OF_SUBNETWORKS), all of them.
    type: list
    elements: dict
    suboptions:
      name:
        description: Its name in this region, or a link.
        type: str
        required: true
      source_ip_ranges_to_nat:
        description:
          - Which of its ranges. One value, or V(PRIMARY_IP_RANGE) with V(LIST_OF_SECONDARY_IP_RANGES). By default V(ALL_IP_RANGES).
        type: list
        elements: str
        choices:
          - ALL_IP_RANGES
          - PRIMARY_IP_RANGE
          - LIST_OF_SECONDARY_IP_RANGES
      secondary_ip_range_names:
        description: The secondary ranges, with V(LIST_OF_SECONDARY_IP_RANGES).
        type: list
        elements: str
  min_ports_per_vm:
    description:
      - How many ports a VM has at least, from 2 to 57344. It is rounded up to a power of two, and to 1024 where alias ranges are translated.
      - With O(enable_dynamic_port_allocation) a power of two from 32 to 32768.
      - Where it is not set, 64, or with dynamic allocation 32.
    type: int
  max_ports_per_vm:
    description:
      - How many ports a VM gets at most with O(enable_dynamic_port_allocation), a power of two from 64 to 65536, above O(min_ports_per_vm).
      - Where it is not set, 65536.
    type: int
  enable_dynamic_port_allocation:
    description:
      - Whether a VM gets more ports as it needs them. It excludes O(enable_endpoint_independent_mapping).
      - Where it is not set, V(false). To change it closes connections.
    type: bool
  enable_endpoint_independent_mapping:
    description:
      - Whether a VM's address and port become the same ones for each destination. It excludes O(rules).
      - Where it is not set, V(false).
    type: bool
  udp_idle_timeout_sec:
    description:
      - After how many seconds a mapping of UDP ends. Where it is not set, 30.
    type: int
  icmp_idle_timeout_sec:
    description:
      - After how many seconds a mapping of ICMP ends. Where it is not set, 30.
    type: int
  tcp_established_idle_timeout_sec:
    description:
      - After how many seconds an idle TCP connection is forgotten. Where it is not set, 1200.
    type: int
  tcp_transitory_idle_timeout_sec:
    description:
      - After how many seconds a TCP connection that is being opened or closed is forgotten. Where it is not set, 30.
    type: int
  tcp_time_wait_timeout_sec:
    description:
      - For how many seconds a port is not used again to the same destination after its connection was closed.
      - Where it is not set, 120 for older gateways and 30 for newer ones. The server says which.
    type: int
  log_config:
    description:
      - What is logged. A part that is not given is left as it is.
    type: dict
    suboptions:
      enable:
        description: Whether anything is.
        type: bool
      filter:
        description: Which connections are.
        type: str
        choices:
          - ALL
          - ERRORS_ONLY
          - TRANSLATIONS_ONLY
  rules:
    description:
      - Rules by which some destinations get other addresses or ranges, all of them.
    type: list
    elements: dict
    suboptions:
      rule_number:
        description: Its number, from 0 to 65000. Each once.
        type: int
        required: true
      description:
        description: What it is for.
        type: str
      match:
        description:
          - An expression in CEL, such as V(inIpRange(destination.ip, '192.0.2.0/24')).
        type: str
        required: true
      action:
        description: What is used for what matches.
        type: dict
        required: true
        suboptions:
          source_nat_active_ips:
            description: Addresses, as in O(nat_ips).
            type: list
            elements: str
          source_nat_drain_ips:
            description: Addresses that drain. By default those that were active or draining and are not active, see O(drain).
            type: list
            elements: str
          source_nat_active_ranges:
            description: Subnetworks, of a V(PRIVATE) NAT.
            type: list
            elements: str
          source_nat_drain_ranges:
            description: Subnetworks that drain, as O(rules[].action.source_nat_drain_ips).
            type: list
            elements: str
notes:
  - It takes the rights C(compute.routers.get), C(compute.routers.update), C(compute.networks.updatePolicy) and
    C(compute.regionOperations.get), for O(nat_ips) also C(compute.addresses.use), and for subnetworks C(compute.subnetworks.use).
  - Between the last look at the router and its change somebody else may still be faster by some milliseconds, which the API has no way to exclude.
    With the right C(compute.regionOperations.list) such an operation is warned of, with whose it is.
seealso:
  - module: bulwark.node.gcp_compute_router_nat_info
"""

EXAMPLES = r"""
- name: Give each VM 2048 ports, and see first what that breaks
  bulwark.node.gcp_compute_router_nat:
    project: a-project
    auth_kind: application
    region: europe-west3
    router: a-router
    name: a-nat
    min_ports_per_vm: 2048
  check_mode: true
  register: ahead

- name: Replace an address, and let its connections end by themselves
  bulwark.node.gcp_compute_router_nat:
    project: a-project
    auth_kind: serviceaccount
    service_account_file: /etc/ansible/robot.json
    region: europe-west3
    router: a-router
    name: a-nat
    nat_ips: [nat-2, nat-3]

- name: Go back to the default for TIME_WAIT, and say how Terraform would do it
  bulwark.node.gcp_compute_router_nat:
    project: a-project
    auth_kind: machineaccount
    region: europe-west3
    router: a-router
    name: a-nat
    reset: [tcp_time_wait_timeout_sec]
    emit: hcl
  register: change

- name: Make a NAT for the nodes and the pods of a cluster
  bulwark.node.gcp_compute_router_nat:
    project: a-project
    auth_kind: application
    region: europe-west3
    router: a-router
    name: nodes
    nat_ip_allocate_option: MANUAL_ONLY
    nat_ips: [nat-1]
    source_subnetwork_ip_ranges_to_nat: LIST_OF_SUBNETWORKS
    subnetworks:
      - name: nodes
    enable_dynamic_port_allocation: true
    min_ports_per_vm: 1024
    max_ports_per_vm: 8192
    log_config:
      enable: true
      filter: ERRORS_ONLY
"""

RETURN = r"""
before:
  description:
    - What was in force of the NAT, by the names of the options, defaults resolved, as RV(bulwark.node.gcp_compute_router_nat_info#module:nats[].effective).
    - V(null) where there was none.
  returned: success, and where a change was refused or failed
  type: dict
  sample: {type: PUBLIC, nat_ip_allocate_option: AUTO_ONLY, min_ports_per_vm: 64, max_ports_per_vm: null, tcp_time_wait_timeout_sec: 120}
after:
  description:
    - What is in force of it, read back after the change. In check mode and with O(emit) what would be.
    - Its C(tcp_time_wait_timeout_sec) is V(null) there where the server alone knows it.
  returned: success, and where a change was refused or failed
  type: dict
  sample: {type: PUBLIC, nat_ip_allocate_option: AUTO_ONLY, min_ports_per_vm: 2048, max_ports_per_vm: null, tcp_time_wait_timeout_sec: 120}
changes:
  description: What was changed, or in check mode and with O(emit) would be.
  returned: success, and where a change was refused
  type: list
  elements: dict
  contains:
    kind:
      description: V(set), V(reset) for fields of O(reset), V(create) or V(delete).
      type: str
      sample: set
    target:
      description: The field, or with V(create) and V(delete) the NAT.
      type: str
      sample: min_ports_per_vm
    before:
      description: Its value before.
      type: raw
      sample: 64
    after:
      description: Its value after.
      type: raw
      sample: 2048
disruptive:
  description: What of the change closes or resets connections, or takes VMs their way out.
  returned: success, and where a change was refused
  type: list
  elements: dict
  contains:
    target:
      description: The field.
      type: str
      sample: min_ports_per_vm
    reason:
      description: What it does.
      type: str
      sample: "from 2048 to 1024: connections on the ports that are taken away might be reset"
unmet:
  description: What was sent, and is not so. Where there is any, the task fails.
  returned: success, and where a value was not taken
  type: list
  elements: dict
  sample: []
owner:
  description:
    - Who else manages the router, by its description. V(null) where it names nobody. A change warns of it.
  returned: success, and where a change was refused
  type: dict
  contains:
    tool:
      description: V(terraform) or V(config_connector).
      type: str
      sample: terraform
    evidence:
      description: Where it says so.
      type: str
      sample: "'goog-terraform-provisioned' in the description of the router"
  sample: null
emitted:
  description:
    - The change in the language of O(emit), empty where there is none. V(null) without O(emit).
  returned: success
  type: str
  sample: |
    gcloud compute routers nats update a-nat --router=a-router --region=europe-west3 --project=a-project --min-ports-per-vm=2048
call:
  description: What the API refused.
  returned: where the API refused or did not answer
  type: str
  sample: compute.routers.patch
target:
  description: Of what it was asked.
  returned: where the API refused or did not answer
  type: str
  sample: projects/a-project/regions/europe-west3/routers/a-router
status:
  description: The status of HTTP. V(null) without an answer.
  returned: where the API refused or did not answer
  type: int
  sample: 403
reason:
  description: The API's word for it.
  returned: where the API refused or did not answer
  type: str
  sample: forbidden
"""

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError
from ansible_collections.bulwark.node.plugins.module_utils.gcp.client import ARGUMENT_SPEC, connect
from ansible_collections.bulwark.node.plugins.module_utils.gcp.module import GcpModule
from ansible_collections.bulwark.node.plugins.module_utils.gcp.router_nat import NAT_SPEC, act


def main() -> None:
    module = GcpModule(argument_spec={**NAT_SPEC, **ARGUMENT_SPEC}, supports_check_mode=True)
    try:
        done = act(connect(module.params), module.params, module.check_mode)
    except BulwarkError as error:
        module.fail_json(**{"changed": False, **error.details, "msg": f"gcp_compute_router_nat: {error}"})
    for warning in done.pop("warnings"):
        module.warn(warning)
    differs = done["before"] != done["after"]
    header = f"{module.params['router']}/{module.params['name']}"
    diff = {
        "before": done["before"] or {},
        "after": done["after"] or {},
        "before_header": header,
        "after_header": header,
    }
    module.exit_json(**done, **({"diff": diff} if differs else {}))


if __name__ == "__main__":
    main()
