# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real ansible-inventory against the fake API server: each run costs most of a second, so each looks at much."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from ansible.parsing.vault import VaultLib, VaultSecret

from ansible_collections.bulwark.node.plugins.inventory import kubernetes_nodes
from ansible_collections.bulwark.node.tests.fakes.kube_api import FakeKube, User
from ansible_collections.bulwark.node.tests.hosts.adhoc import inventory
from ansible_collections.bulwark.node.tests.unit.plugins.inventory.conftest import Source, add

# More than a page, which has 500.
MANY = 501
EVIL = "{{ lookup('pipe', 'touch /tmp/evil') }}"


def listed(path: str) -> tuple[dict[str, Any], str]:
    """What --list says of a source, and what is printed beside."""
    stdout, stderr = inventory("-i", path, "--list")
    assert "Traceback" not in stderr, stderr
    return json.loads(stdout), " ".join(stderr.split())


def lists(kube: FakeKube) -> list[dict[str, str]]:
    return [dict(each.query) for each in kube.requests if each.path == "/api/v1/nodes"]


def test_more_nodes_than_a_page_has_are_read_once_and_then_from_the_cache(
    kube: FakeKube, source: Source, tmp_path: Path
) -> None:
    for number in range(MANY):
        add(kube, f"n-{number:04}", f"198.18.{number // 250}.{number % 250 + 1}")
    cached = {"cache": True, "cache_plugin": "ansible.builtin.jsonfile", "cache_connection": str(tmp_path / "cache")}
    path = source(group_by=["condition"], **cached)
    # The state of the first page is forgotten before the second: the list is begun anew, in one piece.
    kube.fault(status=410, reason="Expired", path="continue=")
    found, _said = listed(path)
    assert len(found["kubernetes_nodes"]["hosts"]) == MANY
    assert len(found["_meta"]["hostvars"]) == MANY
    assert [sorted(query) for query in lists(kube)] == [["limit"], []]
    assert listed(path)[0] == found
    assert len(lists(kube)) == 2


def test_text_of_the_cluster_is_no_template_and_breaks_no_name(kube: FakeKube, source: Source) -> None:
    labels = {"pool": EVIL, "topology.kubernetes.io/zone": "a:b,!c[1]&d", "node-role.kubernetes.io/a b": ""}
    node = {"metadata": {"name": "a", "uid": "u", "labels": labels, "annotations": {"note": EVIL}}}
    node["status"] = {"nodeInfo": {"osImage": EVIL, "kubeletVersion": "v1.33.2"}}
    # An API server would refuse such labels, and so does the fake.
    kube.fault(status=200, times=9, text=json.dumps({"kind": "NodeList", "items": [node]}))
    path = source(
        annotations=["note"],
        group_by=["role", "zone", "os_image"],
        group_labels=["pool"],
        compose={"composed": "kubernetes_node.labels.pool", "joined": "'x ' ~ kubernetes_node.os_image"},
        keyed_groups=[{"key": "kubernetes_node.labels.pool", "prefix": "pool"}],
        groups={"evil": "kubernetes_node.os_image is search('lookup')"},
    )
    found, _said = listed(path)
    plain = {name for name in found if name not in ("_meta", "all", "kubernetes_nodes", "evil")}
    assert len(plain) == 5
    assert all(re.fullmatch(r"(role|zone|os_image|label_pool|pool)_\w+", name) for name in plain)
    assert found["evil"]["hosts"] == ["a"]
    # As a task sees them.
    expressions = ("composed", "joined", "kubernetes_node.labels.pool", "kubernetes_node.annotations.note")
    message = "<".join(f"{{{{ {each} }}}}" for each in expressions)
    command = [str(Path(sys.executable).with_name("ansible")), "a", "-i", path, "-c", "local", "-m", "debug", "-a"]
    done = subprocess.run(
        [*command, json.dumps({"msg": message})],
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    broken = EVIL.replace("{{", "{ {")
    assert json.loads(done.stdout.partition("=>")[2])["msg"] == "<".join((broken, f"x {broken}", broken, broken))


def test_who_may_not_list_nodes_is_told_what_to_do_and_no_secret(kube: FakeKube, source: Source) -> None:
    kube.tokens["reader-token"] = User("reader")
    sources = (
        source("a.kubernetes_nodes.yml", api_key="wrong-token"),
        source("b.kubernetes_nodes.yml", api_key="reader-token"),
        source("c.kubernetes_nodes.yml", host="http://127.0.0.1:1", proxy="http://u:proxy-secret@127.0.0.1:1"),
        source("d.kubernetes_nodes.yml", lable_selector="x"),
    )
    stdout, stderr = inventory(*(f"-i{path}" for path in sources), "--graph", "-vvvv")
    assert stdout.endswith("@all:\n  |--@ungrouped:\n")
    said = " ".join((stdout + stderr).split())
    assert "401 Unauthorized" in said
    assert "takes neither the token nor the certificate: check api_key, client_cert or the kubeconfig's user" in said
    assert (
        'The rule that is missing, for a ClusterRole: - {apiGroups: [""], resources: ["nodes"], verbs: ["list"]}'
        in said
    )
    assert "proxy: got 'a user in it', expected no user in it" in said
    assert "lable_selector: no option of bulwark.node.kubernetes_nodes" in said
    for secret in ("wrong-token", "reader-token", "proxy-secret", "cluster-admin"):
        assert secret not in said, secret


def test_a_secret_may_come_from_a_vault(kube: FakeKube, source: Source, tmp_path: Path) -> None:
    add(kube, "a")
    (tmp_path / "password").write_text("open")
    encrypted = VaultLib([("default", VaultSecret(b"open"))]).encrypt("cluster-admin").decode().splitlines()
    path = source(api_key=None)
    lines = "\n  ".join(encrypted)
    Path(path).write_text(f"{Path(path).read_text()}api_key: !vault |\n  {lines}\n")
    stdout, stderr = inventory("-i", path, "--vault-password-file", str(tmp_path / "password"), "--host", "a")
    assert json.loads(stdout)["reboot_node_name"] == "a", stderr


def test_strict_refuses_what_else_is_passed_over(kube: FakeKube, source: Source) -> None:
    add(kube, "a")
    _found, said = listed(source(strict=True, compose={"x": "kubernetes_node.nothing.there"}))
    assert "Could not set x for host a" in said


def examples() -> list[dict[str, Any]]:
    # The documentation of a plugin is one document: all but the first are comments.
    first, *others = kubernetes_nodes.EXAMPLES.split("\n# ---\n")
    found = [first, *(re.sub(r"^# ", "", each.partition("\n\n")[0], flags=re.MULTILINE) for each in others)]
    return list(map(yaml.safe_load, found))


def test_the_examples_run(kube: FakeKube, tmp_path: Path) -> None:
    worker = {"kubernetes.io/os": "linux", "pool": "big", "node-role.kubernetes.io/worker": ""}
    add(
        kube,
        "w",
        labels=worker,
        info={"osImage": "Debian GNU/Linux 12", "containerRuntimeVersion": "containerd://1.7.24"},
    )
    add(kube, "c", labels={"kubernetes.io/os": "linux", "node-role.kubernetes.io/control-plane": ""})
    contexts = [{"name": name, "context": {"cluster": "k", "user": "u"}} for name in ("prod", "lab")]
    config = {
        "clusters": [{"name": "k", "cluster": {"server": kube.url}}],
        "users": [{"name": "u", "user": {"token": "cluster-admin"}}],
        "contexts": contexts,
        "current-context": "prod",
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    found = []
    for number, example in enumerate(examples()):
        # In place of an address that nobody has, and of files at home.
        own = {"host": kube.url, "ca_cert": None} if "host" in example else {"kubeconfig": str(tmp_path / "kubeconfig")}
        given = {**example, **own, **({"cache_connection": str(tmp_path)} if "cache" in example else {})}
        path = tmp_path / f"{number}.kubernetes_nodes.yml"
        path.write_text(yaml.safe_dump({key: value for key, value in given.items() if value is not None}))
        answer, said = listed(str(path))
        assert "WARNING" not in said, said
        found.append(answer)
    assert [sorted(each["_meta"]["hostvars"]) for each in found] == [["c", "w"], ["w"], ["c", "w"], ["lab-c", "lab-w"]]
    assert {"label_pool_big", "runtime_containerd_1_7"} <= set(found[2])
    lab = found[3]
    # From 2.19 on it is shown as what is no template.
    assert lab["_meta"]["hostvars"]["lab-w"]["ansible_user"] in ("root", {"__ansible_unsafe": "root"})
    pools = [lab[name]["hosts"] for name in ("pool_big", "pool_none", "lab_role_worker", "lab_nodes")]
    assert pools == [["lab-w"], ["lab-c"], ["lab-w"], ["lab-c", "lab-w"]]
