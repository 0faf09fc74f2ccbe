# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of a Node, and the address that is chosen."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.plugin_utils.node_record import address_of, reachable, record

INTERNAL = ("InternalIP", "192.0.2.7")
INTERNAL_6 = ("InternalIP", "2001:db8::7")
EXTERNAL = ("ExternalIP", "198.51.100.7")
NAMED = ("Hostname", "worker-7")


def found(*addresses: tuple[str, str], name: str = "worker-7") -> dict[str, Any]:
    return {"name": name, "addresses": [{"type": kind, "address": address} for kind, address in addresses]}


@pytest.mark.parametrize(
    ("addresses", "types", "families", "chosen"),
    [
        ([NAMED, EXTERNAL, INTERNAL], ["InternalIP", "ExternalIP"], [], "192.0.2.7"),
        ([NAMED, EXTERNAL, INTERNAL], ["ExternalIP", "InternalIP"], [], "198.51.100.7"),
        ([NAMED, INTERNAL], ["ExternalIP", "InternalIP"], [], "192.0.2.7"),
        ([NAMED], ["InternalIP", "ExternalIP"], [], None),
        ([], ["InternalIP"], [], None),
        ([NAMED], ["InternalIP", "Hostname"], [], "worker-7"),
        ([], ["InternalIP", "Name"], [], "worker-7"),
        # The node's own order, then ours; a family that is not named is not taken, and a type that has none of ours is passed over.
        ([INTERNAL_6, INTERNAL], ["InternalIP"], [], "2001:db8::7"),
        ([INTERNAL_6, INTERNAL], ["InternalIP"], ["ipv4"], "192.0.2.7"),
        ([INTERNAL, INTERNAL_6], ["InternalIP"], ["ipv6", "ipv4"], "2001:db8::7"),
        ([INTERNAL], ["InternalIP"], ["ipv6", "ipv4"], "192.0.2.7"),
        ([INTERNAL], ["InternalIP"], ["ipv6"], None),
        ([INTERNAL, ("ExternalIP", "2001:db8::8")], ["InternalIP", "ExternalIP"], ["ipv6"], "2001:db8::8"),
        ([NAMED], ["Hostname"], ["ipv6"], "worker-7"),
        # One that cannot be is none, and the next is taken.
        ([("InternalIP", "127.0.0.1"), INTERNAL], ["InternalIP"], [], "192.0.2.7"),
        ([("InternalIP", "-oProxyCommand=id"), EXTERNAL], ["InternalIP", "ExternalIP"], [], "198.51.100.7"),
    ],
)
def test_an_address_is_chosen_by_type_and_family_and_never_guessed(
    addresses: list[tuple[str, str]], types: list[str], families: list[str], chosen: str | None
) -> None:
    assert address_of(found(*addresses), types, families) == chosen


@pytest.mark.parametrize(
    ("host", "taken"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:0DB8::0001", "2001:db8::1"),
        ("node-1.example.org", "node-1.example.org"),
        ("ip-10-0-0-1.ec2.internal", "ip-10-0-0-1.ec2.internal"),
        ("1node", "1node"),
        ("prod_node-1", "prod_node-1"),
        *(
            (host, None)
            for host in (
                *("", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::", "224.0.0.1", "169.254.1.1"),
                *("fe80::1", "fe80::1%eth0", "localhost", "LOCALHOST", "evil.localhost", "127.1", "2130706433"),
                *("0x7f000001", "0x7f.1", "-oProxyCommand=id", "a b", "a,b", "a:b", "a[1:3]", "{{ 7 * 7 }}", "a\n"),
                *(".a", "a.", "a..b", f"{'a' * 64}", f"{'a.' * 127}aa", "ä", "root@a", "a/b", "٣"),
            )
        ),
    ],
)
def test_no_address_leads_to_the_machine_that_asks_or_anywhere_but_to_a_host(host: str, taken: str | None) -> None:
    assert reachable(host) == taken


def test_a_node_is_told_in_full() -> None:
    status = {
        "addresses": [{"type": "InternalIP", "address": "192.0.2.7"}],
        "capacity": {"cpu": "4", "memory": "16Gi", "hugepages-1Gi": "2Gi", "pods": "110", "odd": "many"},
        "allocatable": {"cpu": "3920m", "nvidia.com/gpu": "1"},
        "conditions": [
            {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastTransitionTime": "2026-01-01T00:00:00Z"},
            {"type": "DiskPressure", "status": "Unknown", "message": "x", "lastHeartbeatTime": "2026-01-01T00:00:00Z"},
        ],
        "nodeInfo": {"kubeletVersion": "v1.33.2", "bootID": "b", "machineID": "m", "osImage": "Debian 12"},
    }
    metadata = {
        "name": "worker-7",
        "uid": "u",
        "labels": {
            "node-role.kubernetes.io/worker": "",
            "kubernetes.io/role": "node",
            "failure-domain.beta.kubernetes.io/zone": "old",
            "topology.kubernetes.io/zone": "a",
        },
        "annotations": {"kept": "1", "large": "x" * 9},
    }
    spec = {
        "unschedulable": True,
        "taints": [{"key": "k", "effect": "NoSchedule", "timeAdded": "x"}],
        "podCIDRs": ["192.0.2.0/24"],
    }
    told = record({"metadata": metadata, "spec": spec, "status": status}, ["kept"])
    assert told == {
        "name": "worker-7",
        "uid": "u",
        "created": None,
        "labels": metadata["labels"],
        "annotations": {"kept": "1"},
        "roles": ["node", "worker"],
        "zone": "a",
        "region": None,
        "instance_type": None,
        "unschedulable": True,
        "taints": [{"key": "k", "value": "", "effect": "NoSchedule"}],
        "ready": True,
        "conditions": {
            "Ready": {"status": "True", "reason": "KubeletReady", "since": "2026-01-01T00:00:00Z"},
            "DiskPressure": {"status": "Unknown", "reason": None, "since": None},
        },
        "addresses": [{"type": "InternalIP", "address": "192.0.2.7"}],
        "capacity": {"cpu": 4.0, "memory": 16 << 30, "hugepages-1Gi": 2 << 30, "pods": 110, "odd": None},
        "allocatable": {"cpu": 3.92, "nvidia.com/gpu": 1},
        "kubelet_version": "v1.33.2",
        "container_runtime": None,
        "kernel_version": None,
        "os_image": "Debian 12",
        "operating_system": None,
        "architecture": None,
        "boot_id": "b",
        "machine_id": "m",
        "provider_id": None,
        "pod_cidrs": ["192.0.2.0/24"],
    }


@pytest.mark.parametrize(
    "node",
    [
        {},
        {"metadata": None, "spec": [], "status": "x"},
        {"metadata": {"name": 1, "labels": {"a": 1}}, "spec": {"taints": {"a": 1}, "podCIDRs": {"a": 1}}},
        {"status": {"addresses": [1, {"type": 1}], "conditions": [{}, None], "capacity": {"cpu": [], "memory": None}}},
    ],
)
def test_a_node_of_any_shape_is_told_of_as_json_in_the_same_keys(node: Any) -> None:
    told = record(node)
    assert set(told) == set(record({"metadata": {"name": "a"}}))
    json.dumps(told, allow_nan=False)
    assert told["ready"] is None
    assert address_of(told, ["InternalIP", "Name"], []) is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{{ 1 }}", "{ { 1 }}"),
        ("{{{% x {#", "{ { { % x { #"),
        ("#jinja2: variable_start_string:'[['\n[[ 1 ]]", "# jinja2: variable_start_string:'[['\n[[ 1 ]]"),
        ('{"a": {"b": "#jinja2:"}}', '{"a": {"b": "#jinja2:"}}'),
    ],
)
def test_no_text_begins_a_template_also_where_its_mark_is_lost(text: str, told: str) -> None:
    node = {
        "metadata": {"name": "a", "annotations": {"note": text}},
        "status": {"nodeInfo": {"osImage": text}, "conditions": [{"type": text, "status": "True", "reason": text}]},
    }
    found = record(node, ["note"])
    assert (found["os_image"], found["annotations"]) == (told, {"note": told})
    assert found["conditions"] == {told: {"status": "True", "reason": told, "since": None}}
