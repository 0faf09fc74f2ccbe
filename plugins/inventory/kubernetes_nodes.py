# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory plugin C(bulwark.node.kubernetes_nodes)."""

from __future__ import annotations

DOCUMENTATION = r"""
name: kubernetes_nodes
short_description: The nodes of a Kubernetes cluster as hosts
version_added: 0.1.0
author:
  - The bulwark.node authors (@bulwark)
description:
  - Asks the API server for its Nodes, and makes a host of each, with the address that it is reached under, and groups by what the cluster
    says of it.
  - The source is a YAML file whose name ends in C(kubernetes_nodes.yml) or C(kubernetes_nodes.yaml).
  - Each host has the variables C(kubernetes_node), what the cluster says of it, by the keys that C(docs/schemas.md) of the collection has;
    C(ansible_host), unless the node has none of O(address_types); and C(reboot_node_name), by which the role P(bulwark.node.reboot#role)
    finds the Node of the host.
  - The group of all hosts has the variable C(reboot_cluster), by which that role asks the same cluster, where the source says how that is
    reached. A source that holds a secret (O(api_key), O(proxy_headers), O(kubeconfig) as a dictionary) does not hand it on, and sets none. As a
    variable of a group it yields to those of C(group_vars).
  - Connection options may be templates, and secrets come from lookups or from Ansible Vault. Templates see the extra variables alone.
  - What a cluster says is text. No variable that comes of it is ever taken for a template, in AWX neither, and so what begins one has a space in it.
extends_documentation_fragment:
  - bulwark.node.kubernetes
  - constructed
  - inventory_cache
options:
  plugin:
    description:
      - That the file is meant for this plugin.
    type: str
    required: true
    choices:
      - bulwark.node.kubernetes_nodes
  label_selector:
    description:
      - Only nodes with these labels, as C(kubectl -l) takes it. May be a template.
      - Nodes of Windows are hosts too; V(kubernetes.io/os=linux) leaves them out.
    type: str
    default: ""
  field_selector:
    description:
      - Only nodes with these fields, such as V(spec.unschedulable=false). May be a template.
    type: str
    default: ""
  annotations:
    description:
      - The annotations that C(kubernetes_node.annotations) has. Others are left out, for they may be large.
    type: list
    elements: str
    default: []
  hostname:
    description:
      - A Jinja2 expression for the name of a host, over C(kubernetes_node). By default it is the Node's name.
      - Two nodes of one name are an error. One whose name no host can have, such as V(localhost) or that of a group, is left out with a warning.
      - Where it fails for a node, that is an error with O(strict=true), and else the Node's name is taken.
    type: str
  group:
    description:
      - The group that has all hosts of this source. Each cluster needs one of its own, for its variables say how the cluster is reached.
    type: str
    default: kubernetes_nodes
  address_types:
    description:
      - Which address of a node is C(ansible_host), the first of these types that it has. V(Name) is the Node's name.
      - A node that has none of these has no C(ansible_host), and a warning names it. So it is with what cannot be the address of another machine, such as
        that of a loopback.
    type: list
    elements: str
    choices:
      - InternalIP
      - ExternalIP
      - Hostname
      - InternalDNS
      - ExternalDNS
      - Name
    default:
      - InternalIP
      - ExternalIP
  address_families:
    description:
      - Which of several addresses of a type is taken, the first of these families. One that is not named is not taken.
      - Without any it is the first that the node has, which is of the cluster's own first family. A name is of any family.
    type: list
    elements: str
    choices:
      - ipv4
      - ipv6
    default: []
  group_by:
    description:
      - What groups are made of. A node is in no group of what it does not say.
      - V(role) makes C(role_<name>), of labels C(node-role.kubernetes.io/<name>) and C(kubernetes.io/role).
      - V(zone), V(region) and V(instance_type) make C(zone_<name>), C(region_<name>) and C(instance_type_<name>), of the well-known labels.
      - V(taint) makes C(taint_<key>_<value>_<effect>).
      - V(condition) makes C(condition_ready), C(condition_not_ready), C(condition_disk_pressure) and so on of what holds, and
        C(condition_ready_unknown) and so on of what nobody knows.
      - V(unschedulable) makes C(unschedulable), of nodes that are cordoned.
      - V(kubelet) and V(runtime) make C(kubelet_1_33) and C(runtime_containerd_1_7), of their minor releases.
      - V(kernel), V(os_image), V(operating_system) and V(architecture) make C(kernel_<release>), C(os_image_<name>), C(os_linux) and C(arch_amd64).
      - Characters that no name of a group can have become underscores.
    type: list
    elements: str
    choices:
      - role
      - zone
      - region
      - instance_type
      - taint
      - condition
      - unschedulable
      - kubelet
      - runtime
      - kernel
      - os_image
      - operating_system
      - architecture
    default:
      - role
      - zone
      - region
      - condition
      - unschedulable
      - kubelet
  group_labels:
    description:
      - Labels that groups C(label_<key>_<value>) are made of.
    type: list
    elements: str
    default: []
  group_prefix:
    description:
      - What the names of the groups of O(group_by) and O(group_labels) begin with.
    type: str
    default: ""
notes:
  - It takes the right to C(list) the C(nodes) of the cluster, and no other. The README of the collection links to a ClusterRole.
  - Requirements are those of the host that Ansible runs on.
  - The cache has what the cluster said, and no secrets. It is asked anew where the source, the environment or the kubeconfig say another cluster or
    another user, another selector, with C(--flush-cache), and by the task C(meta) with C(refresh_inventory).
  - Ansible goes on without a source that fails. With E(ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED) it ends there.
seealso:
  - module: bulwark.node.reboot_plan_info
"""

EXAMPLES = r"""
# prod.kubernetes_nodes.yml: the current context of the kubeconfig, each node under its internal address
plugin: bulwark.node.kubernetes_nodes

# A context by name, the workers of Linux that are not cordoned, and a cache that outlives the run
# ---
# plugin: bulwark.node.kubernetes_nodes
# context: prod
# label_selector: kubernetes.io/os=linux,!node-role.kubernetes.io/control-plane
# field_selector: spec.unschedulable=false
# cache: true
# cache_plugin: ansible.builtin.jsonfile
# cache_connection: ~/.cache/ansible-inventory
# cache_timeout: 300

# A token from the environment, external addresses first, IPv6 where there is any, groups by more than the default
# ---
# plugin: bulwark.node.kubernetes_nodes
# host: https://192.0.2.1:6443
# api_key: "{{ lookup('ansible.builtin.env', 'CLUSTER_TOKEN') }}"
# ca_cert: ~/.kube/prod-ca.crt
# address_types: [ExternalIP, InternalIP]
# address_families: [ipv6, ipv4]
# group_by: [role, zone, condition, taint, runtime, architecture]
# group_labels: [pool]

# Names that tell two clusters apart, and groups and variables of one's own
# ---
# plugin: bulwark.node.kubernetes_nodes
# context: lab
# hostname: "'lab-' ~ kubernetes_node.name"
# group: lab_nodes
# group_prefix: lab_
# strict: true
# compose:
#   ansible_user: "'root' if kubernetes_node.os_image is search('Debian') else 'core'"
#   audit_pool: kubernetes_node.labels.pool | default('none')
# groups:
#   hugepages: kubernetes_node.allocatable['hugepages-1Gi'] | default(0, true) > 0
# keyed_groups:
#   - key: kubernetes_node.labels.pool | default('')
#     prefix: pool
#     default_value: none
"""

import functools
import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError, AnsibleParserError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.parameters import remove_values
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError
from ansible_collections.bulwark.node.plugins.module_utils.kube.client import ARGUMENT_SPEC, NODES, connect
from ansible_collections.bulwark.node.plugins.module_utils.kube.module import secrets
from ansible_collections.bulwark.node.plugins.module_utils.kube.objects import field_of, printable
from ansible_collections.bulwark.node.plugins.plugin_utils.node_groups import groups_of
from ansible_collections.bulwark.node.plugins.plugin_utils.node_record import address_of, reachable, record
from ansible_collections.bulwark.node.plugins.plugin_utils.text_only import text_only

_ENDINGS = ("kubernetes_nodes.yml", "kubernetes_nodes.yaml")
_SELECTORS = ("label_selector", "field_selector")
_SECRETS = ("api_key", "proxy_headers")
_PATHS = ("ca_cert", "client_cert", "client_key")
# Of what is cached. Another one leaves what an earlier release cached where it is.
_FORMAT = 1

Record = dict[str, Any]


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    """The Nodes of one cluster."""

    NAME = "bulwark.node.kubernetes_nodes"
    # Set by parse() of the base class, before which nothing here runs.
    inventory: Any

    def verify_file(self, path: str) -> bool:
        """Whether the file is named as one of ours."""
        return bool(super().verify_file(path)) and path.endswith(_ENDINGS)

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Add the hosts. Nothing was added where it raises AnsibleParserError before the first."""
        super().parse(inventory, loader, path, cache)
        given = self._read_config_data(path)
        self._refuse_unknown(given)
        asked = {name: self._templated(name, given[name]) for name in given if name in _connection_options()}
        hidden = secrets(asked)
        try:
            params, more = _validated(asked)
            hidden |= more
            nodes = self._cached(params, path, cache)
        except BulwarkError as error:
            # What the library said is in the text, and its own words might hold more than that.
            raise AnsibleParserError(remove_values(str(error), hidden)) from None
        self._populate(nodes, _handed_on(asked, params))

    def _refuse_unknown(self, given: Mapping[str, Any]) -> None:
        """Ansible overlooks what it does not know, and a selector that is misspelt would select all."""
        known = {name for key, each in self.option_definitions.items() for name in (key, *each.get("aliases", ()))}
        unknown = sorted(set(map(str, given)) - known)
        if unknown:
            raise AnsibleParserError(
                f"{', '.join(unknown)}: no option of {self.NAME}; expected those that `ansible-doc -t inventory {self.NAME}` has"
            )

    def _templated(self, option: str, value: Any) -> Any:
        """An option as a template makes it, in plain types."""
        self.templar.available_variables = self._vars or {}
        try:
            return _plain(self.templar.template(value))
        except AnsibleError as error:
            raise AnsibleParserError(f"{option}: the template cannot be evaluated: {error}") from None

    def _cached(self, params: Mapping[str, Any], path: str, cache: bool) -> list[Record]:
        """The records of all nodes, in the order of their names: cached ones where that is asked for, and they are there."""
        selectors = {name: str(self._templated(name, self.get_option(name))) for name in _SELECTORS}
        annotations = sorted(self.get_option("annotations"))
        if not self.get_option("cache"):
            return _asked(params, selectors, annotations)
        self.load_cache_plugin()
        asked = {"format": _FORMAT, "params": _whose(params), "selectors": selectors, "annotations": annotations}
        key = f"{self.get_cache_key(path)}_{_digest(json.dumps(asked, sort_keys=True).encode())}"
        found: Any = self._cache.get(key) if cache else None
        if not _is_records(found):
            found = self._cache[key] = _asked(params, selectors, annotations)
        return list(found)

    def _populate(self, nodes: list[Record], cluster: Mapping[str, Any]) -> None:
        group = self._sanitize_group_name(self.get_option("group"))
        own = map(self._sanitize_group_name, self.get_option("groups"))
        taken = {group, *own, *(name for each in nodes for name in self._groups(each))}
        # Before anything is added: a source that fails in the middle leaves what it added.
        hosts = self._hosts(nodes, taken | set(self.inventory.groups))
        self._refuse_shared(group, cluster)
        self.inventory.add_group(group)
        if cluster:
            self.inventory.set_variable(group, "reboot_cluster", text_only(cluster))
        for host, each in hosts.items():
            self._add(host, each, [group, *self._groups(each)])
        lost = [each["name"] for host, each in hosts.items() if not self._address(each)]
        if lost:
            types = ", ".join(self.get_option("address_types"))
            self.display.warning(
                f"{self.NAME}: {_listed(lost)}: no address of {types} that may be used. ansible_host is not set; see address_types"
            )
        self._construct(hosts)

    def _add(self, host: str, each: Record, groups: list[str]) -> None:
        self.inventory.add_host(host)
        for name in groups:
            self.inventory.add_host(host, group=self.inventory.add_group(name))
        self.inventory.set_variable(host, "kubernetes_node", text_only(each))
        self.inventory.set_variable(host, "reboot_node_name", text_only(each["name"]))
        address = self._address(each)
        if address:
            self.inventory.set_variable(host, "ansible_host", address)

    def _construct(self, hosts: Collection[str]) -> None:
        """What the source composes of the variables that are there."""
        strict = self.get_option("strict")
        for host in hosts:
            self._set_composite_vars(self.get_option("compose"), self._known(host), host, strict=strict)
        # After all variables: a keyed group that is named as a host would be given those of the host.
        for host in hosts:
            self._add_host_to_composed_groups(self.get_option("groups"), self._known(host), host, strict=strict)
            self._add_host_to_keyed_groups(self.get_option("keyed_groups"), self._known(host), host, strict=strict)

    def _known(self, host: str) -> dict[str, Any]:
        return dict(self.inventory.get_host(host).get_vars())

    def _groups(self, each: Record) -> list[str]:
        names = groups_of(each, self.get_option("group_by"), self.get_option("group_labels"))
        return [self._sanitize_group_name(self.get_option("group_prefix") + name) for name in names]

    def _address(self, each: Record) -> str | None:
        return address_of(each, self.get_option("address_types"), self.get_option("address_families"))

    def _hosts(self, nodes: list[Record], groups: set[str]) -> dict[str, Record]:
        """The records by the names of their hosts. Raises AnsibleParserError where one is another node's."""
        hosts: dict[str, Record] = {}
        for each in nodes:
            host = self._hostname(each)
            # Variables of a host that is named as a group would become the group's, and whoever may register a Node might have the
            # tasks of localhost sent to it, which is not reachable() by any of its names (constants.LOCALHOST).
            if host in groups or not reachable(host):
                self.display.warning(
                    f"{self.NAME}: {printable(each['name'])}: left out, for no host can be named {printable(host)!r}; see hostname"
                )
                continue
            known = self.inventory.hosts.get(host)
            other = known.vars.get("kubernetes_node", each) if known else hosts.get(host, each)
            if field_of(other, "uid") != each["uid"]:
                raise AnsibleParserError(
                    f"hostname: {host} is the name of {_told(other)} and of {_told(each)}, expected a name for each;"
                    " such as \"'prod-' ~ kubernetes_node.name\""
                )
            hosts[host] = each
        return hosts

    def _hostname(self, each: Record) -> str:
        expression = self.get_option("hostname")
        if not expression:
            return str(each["name"])
        try:
            name = self._compose(expression, {"kubernetes_node": text_only(each)})
            if name in (None, ""):
                raise AnsibleParserError("it gives nothing")
        except AnsibleError as error:
            if self.get_option("strict"):
                raise AnsibleParserError(f"hostname: of {printable(each['name'])}: {error}") from None
            return str(each["name"])
        return str(name)

    def _refuse_shared(self, group: str, cluster: Mapping[str, Any]) -> None:
        """A group whose variables say another cluster would have its nodes looked for there."""
        known = self.inventory.groups.get(group)
        if known and known.vars.get("reboot_cluster", cluster) != cluster:
            raise AnsibleParserError(
                f"group: {group} has the nodes of another cluster, expected a group of their own for these; such as group: lab_nodes"
            )


@functools.cache
def _connection_options() -> frozenset[str]:
    return frozenset(name for key, each in ARGUMENT_SPEC.items() for name in (key, *each.get("aliases", ())))


def _validated(asked: Mapping[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """The connection options in their types, with what the environment adds, as a module has them; and their secrets. Raises BulwarkError."""
    result = ArgumentSpecValidator(ARGUMENT_SPEC).validate(dict(asked))
    hidden = secrets(result.validated_parameters) | result._no_log_values
    if result.error_messages:
        raise BulwarkError(remove_values("; ".join(result.error_messages), hidden))
    return result.validated_parameters, hidden


def _asked(params: Mapping[str, Any], selectors: Mapping[str, str], annotations: list[str]) -> list[Record]:
    """The records of all nodes of the cluster. Raises BulwarkError."""
    labels, fields = (selectors[name] for name in _SELECTORS)
    nodes = connect(params).list(NODES, label_selector=labels, field_selector=fields)
    return sorted((record(node, annotations) for node in nodes), key=lambda each: each["name"])


def _handed_on(asked: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """How the source says that the cluster is reached, for modules of later tasks; empty where that holds a secret."""
    if any(name in asked for name in _SECRETS) or isinstance(params["kubeconfig"], Mapping):
        return {}
    said = {
        name: params[name]
        for name, each in ARGUMENT_SPEC.items()
        if any(given in asked for given in (name, *each.get("aliases", ()))) and params[name] is not None
    }
    # Where such a task runs is another folder.
    paths = {name: os.path.abspath(os.path.expanduser(said[name])) for name in ("kubeconfig", *_PATHS) if name in said}
    return {**said, **paths}


def _whose(params: Mapping[str, Any]) -> dict[str, Any]:
    """What tells clusters and users apart, without asking any: but for secrets the options, and the kubeconfigs as they are now.

    Which context of a kubeconfig is the current one is nowhere else.
    """
    named = params["kubeconfig"] if isinstance(params["kubeconfig"], str) else None
    files = (named or os.environ.get("KUBECONFIG") or "~/.kube/config").split(os.pathsep)
    return {
        **{name: value for name, value in params.items() if name not in _SECRETS},
        "files": [_digest(_content(Path(os.path.expanduser(file)))) for file in files],
        "pod": os.environ.get("KUBERNETES_SERVICE_HOST"),
    }


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def _is_records(found: Any) -> bool:
    """Whether it has the form of what we cached."""
    keys = record({}).keys()
    return isinstance(found, list) and all(isinstance(each, Mapping) and each.keys() == keys for each in found)


def _plain(value: Any) -> Any:
    """What a template gave as Python's own types: strings of Ansible's may be tagged, or still encrypted."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    # The inner one decrypts; the outer one gives the built-in type.
    return str.__str__(str(value))


def _told(node: Any) -> str:
    return f"{printable(field_of(node, 'name'))} (uid {printable(field_of(node, 'uid'))})"


def _listed(names: list[str], most: int = 10) -> str:
    more: Iterator[str] = iter([f"and {len(names) - most} more"] if len(names) > most else [])
    return ", ".join([*map(printable, names[:most]), *more])
