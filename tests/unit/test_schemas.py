# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/schemas.md is the contract: each example there has the keys and types that the code gives."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.filter.nat_plan import FilterModule
from ansible_collections.bulwark.node.plugins.module_utils.converge import Change, Result, Unmet, Verdict
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.kube import cordon, node_drain, node_reboot
from ansible_collections.bulwark.node.plugins.module_utils.kube.client import connect
from ansible_collections.bulwark.node.plugins.module_utils.kube.obstacles import LIMITS_SPEC, limits
from ansible_collections.bulwark.node.plugins.module_utils.kube.plan import NODES_SPEC, ZONE, hosts, plan
from ansible_collections.bulwark.node.plugins.module_utils.kube.snapshot import Snapshot
from ansible_collections.bulwark.node.plugins.module_utils.manifest import Manifest
from ansible_collections.bulwark.node.plugins.module_utils.node import (
    bridge_pins,
    icmp_probe,
    reboot_needed,
    subsets,
)
from ansible_collections.bulwark.node.plugins.module_utils.reboot.gate import Reason, Subject, decide
from ansible_collections.bulwark.node.plugins.module_utils.reboot.lock import holders
from ansible_collections.bulwark.node.plugins.module_utils.reboot.lock_value import Entry, decode, encode, moment
from ansible_collections.bulwark.node.plugins.module_utils.reboot.plan_table import table
from ansible_collections.bulwark.node.plugins.module_utils.reboot.window import parse_windows
from ansible_collections.bulwark.node.plugins.plugin_utils import outcomes, report
from ansible_collections.bulwark.node.plugins.plugin_utils.assess import subject
from ansible_collections.bulwark.node.plugins.plugin_utils.baseline import load as load_baselines
from ansible_collections.bulwark.node.plugins.plugin_utils.node_record import record
from ansible_collections.bulwark.node.tests.fakes import kube_objects
from ansible_collections.bulwark.node.tests.fakes.gateways import LOAD, PLACE, info
from ansible_collections.bulwark.node.tests.fakes.kube_api import FakeKube
from ansible_collections.bulwark.node.tests.fakes.kube_cluster import Cluster
from ansible_collections.bulwark.node.tests.fakes.kube_objects import node
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import TREES, lay, load
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.test_icmp_probe import Path as FakePath
from ansible_collections.bulwark.node.tests.unit.plugins.plugin_utils.conftest import FIVE, build

# As dicts, their keys are the machine's own names and numbers.
OPEN_MAPS = {"meminfo", "nodes", "users"}
# Of these all values have one shape, whatever the limit's name.
UNIFORM_MAPS = {"manager_defaults", "limits"}
# What active probes alone tell, and what the kernel tells by netlink alone of a network that this machine need not have:
# the tests of these subsets prove it.
ELSEWHERE = re.compile(
    r"(bridges|links)\[\]\.|routes\.(blackholes|swallowed)|intercept\.|image_fs\[\]\.used_bytes|time_sync\.(offset_s|source)"
    r"|runtime\.(version|config\.reason)|kvm\.used_by\.reason"
)
DOCUMENT = Path(__file__).parents[2] / "docs" / "schemas.md"


def example(name: str) -> Any:
    found = re.search(rf"<!-- example: {name} -->\n```json\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert found, f"docs/schemas.md has no example {name}"
    return json.loads(found.group(1))


def shape(value: Any) -> Any:
    """Keys of dicts, and of the first item of a list: what must be the same in the document and in the code."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in sorted(value.items())}
    if isinstance(value, (list, tuple)):
        return [shape(value[0])] if value else []
    return "value"


def keys(value: Any, path: str = "") -> Iterator[tuple[str, bool]]:
    """Each key below a value as a path (``hugepages.pools[].size``), and whether something other than null is there."""
    if isinstance(value, dict):
        for key, item in value.items():
            below = f"{path}.{'*' if path.rpartition('.')[2] in UNIFORM_MAPS else key}".lstrip(".")
            yield below, item is not None
            if not (key in OPEN_MAPS and isinstance(item, dict)):
                yield from keys(item, below)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from keys(item, f"{path}[]")


def test_facts_have_the_documented_keys_and_each_comes_from_some_machine(tmp_path: Path) -> None:
    documented = example("facts")
    assert documented["schema"] == subsets.SCHEMA
    hosts = [Host()]
    for tree in sorted(TREES.glob("*.yml")):
        lay(tmp_path / tree.stem, load(tree.stem))
        hosts.append(Host(root=str(tmp_path / tree.stem)))
    made = [subsets.gather(host, subsets.select(["all"])) for host in hosts]
    assert made[0]["errors"] == []
    seen = {key for facts in made for key in keys(facts)}
    named = {path for path, known in keys(documented)}
    assert {path for path, known in seen} - named == set(), "not documented"
    unseen = named - {path for path, known in seen if known}
    assert {path for path in unseen if not ELSEWHERE.match(path)} == set(), "null or absent on every machine"


def test_the_documented_finding_is_one_that_is_made() -> None:
    documented = example("finding")
    kubelet = {"running": True, "restart_needed": True, "reason": documented["reason"]}
    found = build({"a": {"ansible_facts": {"bulwark": {"schema": 1, "hugepages": {"kubelet": kubelet}}}}})
    told = [{**finding, "source": documented["source"]} for finding in found["hosts"]["a"]["findings"]]
    assert documented in told
    for finding in told:
        assert set(finding) == set(documented)


def test_the_documented_report_is_the_one_that_is_made() -> None:
    documented = example("report")
    results = {name: {"unreachable": True, "msg": host["reason"]} for name, host in documented["hosts"].items()}
    who = {
        name: subject(name, load_baselines((FIVE,), ""), host["groups"]) for name, host in documented["hosts"].items()
    }
    assert report.build(results, datetime.fromisoformat("2026-11-21T02:05:00+00:00"), None, who) == documented


def test_the_documented_comparison_is_one_that_is_made() -> None:
    documented = example("compared")

    def row(status: str) -> dict[str, Any]:
        finding = {"control": "a", "severity": "low", "status": status, "reason": ""}
        return {"status": "ok", "facts": {}, "findings": [finding]}

    then = {"schema": 1, "generated": "", "hosts": {"a": row("pass"), "b": row("fail"), "gone": row("fail")}}
    now = {"hosts": {"a": row("fail"), "b": row("pass"), "new": row("fail")}}
    assert shape(report.compared(now, then, "old")) == shape({**documented, "fixed": documented["worse"]})


def test_the_documented_gateway_is_the_one_that_is_planned() -> None:
    documented = example("cloud_nat")
    named = [f"{PLACE}/nat-2", f"{PLACE}/nat-3"]
    made = FilterModule().filters()["nat_plan"](info(), LOAD, nodes=40, new_addresses=named)
    assert {**made, **{key: documented[key] for key in ("changes", "disruptive", "emitted", "applied")}} == documented


def test_outcomes_have_the_documented_keys() -> None:
    documented = example("outcome")
    assert documented["status"] in outcomes.STATUSES

    def told(thp: str, *objects: str) -> dict[str, Any]:
        managed = [{"kind": "files", "object": name, "by": "hugepages"} for name in objects]
        page_faults = {"enabled": thp, "defrag": thp, "sizes": []}
        pools = {"pools": [{}], "kubelet": {"running": True, "restart_needed": thp != "always", "reason": ""}}
        facts = {"schema": 1, "transparent_hugepages": page_faults, "hugepages": pools}
        return {"ansible_facts": {"bulwark": {**facts, "managed": {"objects": managed, "reason": None}}}}

    part = {key: documented[key] for key in ("not_undone", "restart_required", "disruptive", "unmet")}
    change = documented["domains"][0]["changes"][0]
    result = {"warnings": ["text"], "domains": {"kvm": {**part, "changed": True, "changes": [change]}}}
    made = {
        undo: build(
            {"a": told("madvise", "/y")},
            outcomes.Run(before={"a": told("always", "/x", "/y")}, outcomes={"a": result}, undo=undo),
        )
        for undo in (False, True)
    }
    hardened, undone = (made[undo]["hosts"]["a"]["outcome"] for undo in (False, True))
    assert shape({**hardened, **{key: documented[key] for key in ("remains", "given_back")}}) == shape(documented)
    assert shape(undone["remains"]) == shape(documented["remains"])
    assert shape(undone["given_back"]) == shape(documented["remains"])
    assert set(made[True]["summary"]) == {*example("report")["summary"], "outcomes", "fixed", "worse"}


def test_the_documented_need_of_a_reboot_is_one_that_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documented = example("reboot")
    tree = load("debian12-memory")
    files = {"/var/run/reboot-required": "", "/var/run/reboot-required.pkgs": "libc6"}
    ids = {"/proc/sys/kernel/random/boot_id": documented["boot_id"], "/etc/machine-id": documented["machine_id"]}
    ids["/proc/stat"] = f"btime {documented['booted_at']}\n"
    lay(tmp_path, tree, {**files, **ids})
    monkeypatch.setattr(Host, "changed_at", lambda self, path: documented["since"])
    monkeypatch.setattr(Host, "is_write_locked", lambda self, path: True)
    options = {"triggers": ["sentinel", "needs_restarting"], "sentinel": list(files)[:1], "command": None}
    assert reboot_needed.needed(Host(root=str(tmp_path)), reboot_needed.asked(options)) == documented


def test_the_documented_lock_and_its_text_are_what_is_read_and_written() -> None:
    now = moment("2026-11-21T13:00:00Z")
    ours = Entry.new("ansible:4711:worker-1", now, 300 * 10**9)
    text = encode([ours], 2, fill=True)
    assert json.loads(text or "") == example("lock_text")
    kured = Entry.new("worker-2", now - 1000 * 10**9, 0)
    assert holders(decode(encode([kured, ours], 2, fill=True)).entries, now, "4711") == example("lock")["holders"]


def test_the_documented_gate_is_one_that_is_decided() -> None:
    documented = example("gate")
    windows = parse_windows("windows", [{"days": ["mo"], "start": "9pm"}])
    pod = Subject(documented["reasons"][2]["object"]["kind"], "backup-0", "default")
    others = [
        Reason("prometheus", documented["reasons"][1]["detail"]),
        Reason("pods", documented["reasons"][2]["detail"], subject=pod),
    ]
    now = datetime.fromtimestamp(documented["checked_at"], timezone.utc)
    assert decide(now, windows, timedelta(seconds=1800), others).as_dict() == documented


def test_the_documented_plan_is_one_that_is_made() -> None:
    documented = example("plan")
    rebooting = {"bulwark.node/rebooting": "", "bulwark.node/cordon": ""}
    nodes = {
        "worker-1": node("worker-1", labels={ZONE: "a"}),
        "worker-2": node("worker-2", labels={ZONE: "a"}, annotations=rebooting, unschedulable=True),
        "worker-3": node(
            "worker-3",
            labels={ZONE: "b"},
            annotations={"bulwark.node/reboot-paused": "until the migration is over"},
        ),
    }
    options = {name: spec.get("default") for name, spec in LIMITS_SPEC.items()}
    asked = [
        {**{name: spec.get("default") for name, spec in NODES_SPEC.items()}, **each}
        for each in (
            {key: row[key] for key in ("name", "host", "required", "since")} for row in reversed(documented["nodes"])
        )
    ]
    now = datetime.fromtimestamp(documented["checked_at"], timezone.utc)
    snapshot = Snapshot("https://x", nodes)
    found = plan(snapshot, hosts("nodes", asked), limits("limits", options), 2, ZONE, now)
    gate = decide(now, [], timedelta(0), found.reasons)
    told = {**gate.as_dict(), **found.as_dict(gate.open)}
    assert {**told, "table": table(told)} == documented


def test_the_documented_drain_is_one_that_is_foretold() -> None:
    documented = example("drain")
    with FakeKube() as kube:
        cluster = Cluster(kube.store)
        for name in ("worker-1", "worker-2"):
            cluster.node(name)
        cluster.deployment("web", ["worker-1", "worker-1", "worker-2"], "worker-2")
        cluster.budget("web", {"app": "web"}, maxUnavailable=1)
        params = {name: spec.get("default") for name, spec in node_drain.NODE_DRAIN_SPEC.items()}
        params |= {"state": "drained", "nodes": ["worker-1"], "run_id": documented["nodes"][0]["run_id"]}
        client = connect({"host": kube.url, "api_key": "cluster-admin"})
        found = node_drain.act(client, params, True, {})
        found["pods"] = [{**found["pods"][0], "uid": documented["pods"][0]["uid"]}]
        assert found == documented
        started = cordon.cordoned(kube.store.all("nodes")[0], cordon.Record("4f0c1f0e", kube.store.now))
        assert json.loads(started["metadata"]["annotations"]["bulwark.node/cordon"]) == example("cordon")


def test_the_documented_reboot_is_one_that_is_proved() -> None:
    documented = example("node_reboot")
    before, after = documented["record"]["boot_id"], documented["record"]["proven"]
    with FakeKube() as kube:
        kube.store.add("nodes", kube_objects.node("worker-1", unschedulable=True))
        kube.store.edit("nodes", "", "worker-1", {"status": {"nodeInfo": {"bootID": before}}})
        for name in ("cni", "logs"):
            owner = [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": name, "uid": "u", "controller": True}]
            kube.store.add("pods", kube_objects.pod(f"{name}-1", "worker-1", "kube-system", ownerReferences=owner))
        client = connect({"host": kube.url, "api_key": "cluster-admin"})

        def call(**options: Any) -> dict[str, Any]:
            given = {name: spec.get("default") for name, spec in node_reboot.NODE_REBOOT_SPEC.items()}
            return node_reboot.act(client, {**given, "name": "worker-1", "run_id": "4f0c1f0e", **options}, False)

        call(state="begun", boot_id=before)
        recorded = kube.store.all("nodes")[0]["metadata"]["annotations"]["bulwark.node/rebooting"]
        assert json.loads(recorded) == example("rebooting")
        back = [kube_objects.condition("Ready", since=documented["proof"]["ready_since"])]
        kube.store.edit("nodes", "", "worker-1", {"status": {"nodeInfo": {"bootID": after}, "conditions": back}})
        kube.store.edit("pods", "kube-system", "cni-1", {"status": {"conditions": back}})
        found = call(state="proven", boot_id=after)
        assert found.pop("warnings") == []
        assert found == {**documented, "seconds_left": found["seconds_left"]}
        call(state="quarantined", reason=example("quarantined")["reason"])
        quarantined = kube.store.all("nodes")[0]["metadata"]["annotations"]["bulwark.node/quarantined"]
        assert json.loads(quarantined) == example("quarantined")


def test_the_documented_node_is_one_that_an_inventory_tells_of() -> None:
    told = example("kubernetes_node")
    info = {
        "kubeletVersion": told["kubelet_version"],
        "containerRuntimeVersion": told["container_runtime"],
        "kernelVersion": told["kernel_version"],
        "osImage": told["os_image"],
        "architecture": told["architecture"],
        "operatingSystem": told["operating_system"],
        "bootID": told["boot_id"],
        "machineID": told["machine_id"],
    }
    (ready,) = told["conditions"].values()
    condition = {"type": "Ready", "lastTransitionTime": ready["since"], "status": "True", "reason": ready["reason"]}
    item = {
        "metadata": {
            **{key: told[key] for key in ("name", "uid", "labels", "annotations")},
            "creationTimestamp": told["created"],
        },
        "spec": {"taints": told["taints"], "podCIDRs": told["pod_cidrs"]},
        "status": {
            "conditions": [{**condition, "lastHeartbeatTime": "2026-01-02T00:00:00Z", "message": "x"}],
            "addresses": told["addresses"],
            "capacity": {"cpu": "4", "memory": "16384000Ki", "hugepages-1Gi": "8Gi", "pods": "110"},
            "allocatable": {"cpu": "3920m", "memory": "14680064k", "hugepages-1Gi": "8Gi", "pods": "110"},
            "nodeInfo": info,
            "images": [{"names": ["x"], "sizeBytes": 1}],
        },
    }
    assert record(item, list(told["annotations"])) == told


def test_results_have_the_documented_keys() -> None:
    documented = example("result")
    change, unmet = Change("pool", "path", 0, 1), Unmet("pools[0].count", 1, 0, "reason", "remedy.")
    verdict = Verdict(unmet=(unmet,), restart_required=({"unit": "kubelet.service", "reason": ""},))
    result = Result(True, {}, {}, (change,), verdict, ()).as_dict()
    assert shape(result) == shape(documented)


def test_manifests_have_the_documented_keys(tmp_path: Path) -> None:
    folder = tmp_path / "var/lib/bulwark"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps(example("manifest")))
    entries = Manifest(Host(root=str(tmp_path)), "hugepages").entries()
    assert {"schema": 1, **entries} == example("manifest")


def test_the_record_of_pins_is_the_documented_one(tmp_path: Path) -> None:
    documented = example("pins")
    tree = {"/proc/sys/kernel/random/boot_id": documented["boot_id"]}
    lay(tmp_path, {"files": tree, "links": {"/proc/self/ns/net": documented["netns"]}, "folders": ["/run"]})
    host = Host(root=str(tmp_path))
    bridge_pins.add(host, 7, "br0")
    assert json.loads(host.read(bridge_pins.PINS) or "") == documented


def test_a_probe_has_the_documented_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(icmp_probe, "_ATTEMPTS", 0)
    monkeypatch.setattr("socket.socket", lambda *rest: FakePath([9000]))
    assert list(icmp_probe.probe("192.0.2.10", 9000)) == list(example("probe"))
