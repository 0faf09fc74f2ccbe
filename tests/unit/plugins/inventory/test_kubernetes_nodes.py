# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory plugin in this process, as Ansible's loader makes it, against the fake API server."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible import constants
from ansible.errors import AnsibleError, AnsibleParserError
from ansible.inventory.data import InventoryData
from ansible.parsing.dataloader import DataLoader

from ansible_collections.bulwark.node.plugins.inventory import kubernetes_nodes
from ansible_collections.bulwark.node.plugins.module_utils.kube.client import ARGUMENT_SPEC
from ansible_collections.bulwark.node.plugins.plugin_utils.node_groups import GROUP_BY
from ansible_collections.bulwark.node.tests.fakes.kube_api import FakeKube, User
from ansible_collections.bulwark.node.tests.unit.plugins.inventory.conftest import Source, add

NAME = "bulwark.node.kubernetes_nodes"
Read = Callable[..., Any]


def documented() -> dict[str, Any]:
    """The options with those of the fragments."""
    found = yaml.safe_load(kubernetes_nodes.DOCUMENTATION)
    options: dict[str, Any] = dict(found["options"])
    for fragment in found["extends_documentation_fragment"]:
        own = fragment.rpartition("bulwark.node.")[2]
        folder = "ansible_collections.bulwark.node" if own != fragment else "ansible"
        module = "plugins.doc_fragments." + own
        text = importlib.import_module(f"{folder}.{module}").ModuleDocFragment.DOCUMENTATION
        options = {**yaml.safe_load(text)["options"], **options}
    return options


class Screen:
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, msg: str) -> None:
        self.warnings.append(msg)

    def vvv(self, msg: str) -> None:
        """What -vvv would show."""

    vvvv = v = vvv


@pytest.fixture
def screen() -> Screen:
    return Screen()


@pytest.fixture
def read(screen: Screen) -> Read:
    """Reads a source into an inventory, a new one if none is given."""
    constants.config.initialize_plugin_configuration_definitions("inventory", NAME, documented())

    def parse(path: str, inventory: InventoryData | None = None, cache: bool = True) -> InventoryData:
        plugin: Any = kubernetes_nodes.InventoryModule()
        plugin._load_name = plugin.ansible_name = NAME
        plugin._redirected_names = [NAME]
        plugin.display = screen
        found = inventory or InventoryData()
        assert plugin.verify_file(path)
        plugin.parse(found, DataLoader(), path, cache)
        if plugin.get_option("cache"):
            plugin.update_cache_if_changed()
        found.reconcile_inventory()
        return found

    return parse


def members(inventory: InventoryData) -> dict[str, list[str]]:
    """The hosts of each group but Ansible's own."""
    groups = {name: sorted(host.name for host in group.hosts) for name, group in inventory.groups.items()}
    return {name: hosts for name, hosts in groups.items() if name not in ("all", "ungrouped")}


def variables(inventory: InventoryData, host: str) -> dict[str, Any]:
    return dict(inventory.hosts[host].vars)


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("kubernetes_nodes.yml", True),
        ("prod.kubernetes_nodes.yaml", True),
        ("prod_kubernetes_nodes.yml", True),
        ("nodes.yml", False),
        ("kubernetes_nodes.json", False),
    ],
)
def test_a_source_is_known_by_the_end_of_its_name(tmp_path: Path, name: str, ours: bool) -> None:
    (tmp_path / name).write_text("")
    plugin = kubernetes_nodes.InventoryModule()
    assert plugin.verify_file(str(tmp_path / name)) is ours
    assert not plugin.verify_file(str(tmp_path / "none.kubernetes_nodes.yml"))


def test_choices_and_connection_options_are_documented() -> None:
    options = documented()
    assert options["group_by"]["choices"] == list(GROUP_BY)
    assert {name: options[name]["type"] for name in ARGUMENT_SPEC} == {
        name: each["type"] for name, each in ARGUMENT_SPEC.items()
    }


def test_hosts_have_an_address_what_the_cluster_says_and_the_name_of_their_node(
    kube: FakeKube, source: Source, read: Read
) -> None:
    labels = {"node-role.kubernetes.io/worker": "", "topology.kubernetes.io/zone": "eu-1", "pool": "big one"}
    uid = add(kube, "worker-1", labels=labels, info={"kubeletVersion": "v1.33.2"}, annotations={"a": "1", "b": "2"})
    found = read(source(group_labels=["pool"], annotations=["a"]))
    host = variables(found, "worker-1")
    assert host["ansible_host"] == "192.0.2.1"
    assert host["reboot_node_name"] == "worker-1"
    assert host["kubernetes_node"]["uid"] == uid
    assert host["kubernetes_node"]["annotations"] == {"a": "1"}
    groups = ["kubernetes_nodes", "role_worker", "zone_eu_1", "condition_ready", "kubelet_1_33", "label_pool_big_one"]
    assert members(found) == {name: ["worker-1"] for name in groups}


def test_prefix_group_and_hostname_tell_clusters_apart(kube: FakeKube, source: Source, read: Read) -> None:
    add(kube, "a", labels={"node-role.kubernetes.io/worker": ""})
    found = read(
        source(hostname="'lab-' ~ kubernetes_node.name", group="lab nodes", group_prefix="lab_", group_by=["role"])
    )
    assert members(found) == {"lab_nodes": ["lab-a"], "lab_role_worker": ["lab-a"]}
    assert variables(found, "lab-a")["reboot_node_name"] == "a"


def test_a_node_without_an_address_is_named_and_has_none(
    kube: FakeKube, source: Source, read: Read, screen: Screen
) -> None:
    add(kube, "a", address=None)
    add(kube, "b", address="127.0.0.1")
    add(kube, "c")
    found = read(source())
    assert {host: "ansible_host" in variables(found, host) for host in "abc"} == {"a": False, "b": False, "c": True}
    assert screen.warnings == [
        f"{NAME}: a, b: no address of InternalIP, ExternalIP that may be used. ansible_host is not set; see address_types"
    ]
    assert variables(read(source(address_types=["InternalIP", "Name"])), "a")["ansible_host"] == "a"


@pytest.mark.parametrize("name", ["all", "ungrouped", "localhost", "127.0.0.1", "127.1", "unschedulable", "kvm", "web"])
def test_a_node_that_would_be_a_group_or_this_machine_is_left_out(
    kube: FakeKube, source: Source, read: Read, screen: Screen, name: str
) -> None:
    add(kube, name)
    add(kube, "other", unschedulable=True)
    inventory = InventoryData()
    inventory.add_group("web")
    found = read(source(groups={"kvm": True}), inventory)
    assert list(found.hosts) == ["other"]
    assert found.groups["all"].vars == {}
    assert screen.warnings == [f"{NAME}: {name}: left out, for no host can be named '{name}'; see hostname"]


def test_two_nodes_of_one_name_are_refused_before_the_first_is_there(
    kube: FakeKube, source: Source, read: Read
) -> None:
    add(kube, "a")
    add(kube, "b")
    inventory = InventoryData()
    with pytest.raises(AnsibleParserError, match=r"hostname: x is the name of a \(uid .*\) and of b \(uid "):
        read(source(hostname="'x'"), inventory)
    assert list(inventory.hosts) == []


def test_hosts_of_another_cluster_keep_their_names_and_their_group(kube: FakeKube, source: Source, read: Read) -> None:
    add(kube, "a")
    inventory = read(source())
    assert list(read(source(label_selector="x!=y"), inventory).hosts) == ["a"]
    with FakeKube() as other:
        add(other, "a")
        with pytest.raises(AnsibleParserError, match="hostname: a is the name of a"):
            read(source(host=other.url), inventory)
        renamed = {"host": other.url, "hostname": "'b-' ~ kubernetes_node.name"}
        assert sorted(read(source(**renamed), inventory).hosts) == ["a", "b-a"]


def test_a_group_whose_hosts_are_looked_for_in_one_cluster_takes_no_other(
    kube: FakeKube, source: Source, read: Read, tmp_path: Path
) -> None:
    files = [kubeconfig(tmp_path / name, kube.url) for name in ("one", "two")]
    inventory = read(source(host=None, api_key=None, kubeconfig=files[0]))
    with pytest.raises(AnsibleParserError, match="group: kubernetes_nodes has the nodes of another cluster"):
        read(source(host=None, api_key=None, kubeconfig=files[1]), inventory)
    read(source(host=None, api_key=None, kubeconfig=files[1], group="two"), inventory)
    assert {name: inventory.groups[name].vars["reboot_cluster"] for name in ("kubernetes_nodes", "two")} == {
        "kubernetes_nodes": {"kubeconfig": files[0]},
        "two": {"kubeconfig": files[1]},
    }


def kubeconfig(path: Path, *servers: str, token: str = "cluster-admin") -> str:
    """A kubeconfig with a context c0, c1 … for each server, the first of which is the current one."""
    named = [(f"c{number}", server) for number, server in enumerate(servers)]
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c0",
        "clusters": [{"name": name, "cluster": {"server": server}} for name, server in named],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": "u"}} for name, _server in named],
    }
    path.write_text(yaml.safe_dump(content))
    return str(path)


def test_the_reboot_role_asks_the_cluster_that_the_source_names_and_gets_no_secret(
    kube: FakeKube, source: Source, read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def handed_on(**options: Any) -> Any:
        return read(source(**{"host": None, "api_key": None, **options})).groups["kubernetes_nodes"].vars

    file = kubeconfig(tmp_path / "k", kube.url)
    monkeypatch.chdir(tmp_path)
    expected = {"kubeconfig": file, "context": "c0", "validate_certs": False}
    assert handed_on(kubeconfig="k", context="c0", verify_ssl="no") == {"reboot_cluster": expected}
    # Modules see the environment themselves, and a secret is not for variables.
    monkeypatch.setenv("K8S_AUTH_KUBECONFIG", file)
    assert handed_on() == {}
    assert handed_on(context="c0") == {"reboot_cluster": {"context": "c0"}}
    assert handed_on(host=kube.url, api_key="cluster-admin") == {}
    assert handed_on(kubeconfig=yaml.safe_load(Path(file).read_text())) == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_selecter": "a=b"}, "label_selecter: no option of bulwark.node.kubernetes_nodes; expected those that"),
        ({"validate_certs": "perhaps"}, "validate_certs"),
        ({"impersonate_groups": ["g"]}, "impersonate_user: is missing, expected a user"),
        ({"ca_cert": "/none"}, "ca_cert: got '/none', expected a file"),
        ({"api_key": "{{ nothing }}"}, "api_key: the template cannot be evaluated: "),
        ({"label_selector": "a in b"}, "list nodes: 400 BadRequest: "),
        ({"host": "192.0.2.1"}, "host: got '192.0.2.1', expected a URL"),
    ],
)
def test_what_is_wrong_with_a_source_is_named_with_its_option(
    kube: FakeKube, source: Source, read: Read, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(AnsibleError) as caught:
        read(source(**options))
    assert message in str(caught.value)
    assert "cluster-admin" not in str(caught.value)


def test_what_a_proxy_quotes_of_a_request_shows_no_token(kube: FakeKube, source: Source, read: Read) -> None:
    kube.fault(status=400, text="cannot parse the header Authorization: Bearer cluster-admin")
    with pytest.raises(AnsibleParserError, match="cannot parse the header Authorization: Bearer") as caught:
        read(source())
    assert "cluster-admin" not in str(caught.value)


def test_templates_are_of_lookups(kube: FakeKube, source: Source, read: Read) -> None:
    add(kube, "a", labels={"pool": "x"})
    add(kube, "b")
    token = "{{ lookup('env', 'CLUSTER_TOKEN') }}"
    assert list(read(source(api_key=token, label_selector="pool={{ 'x' }}")).hosts) == ["a"]


def test_the_right_to_list_nodes_suffices(kube: FakeKube, source: Source, read: Read) -> None:
    add(kube, "a")
    (role,) = [
        each
        for each in yaml.safe_load_all((Path(__file__).parents[4] / "docs/examples/inventory-rbac.yml").read_text())
        for each in each["items"]
        if each["kind"] == "ClusterRole"
    ]
    kube.tokens["reader"] = User("reader")
    kube.rules["reader"] = role["rules"]
    assert list(read(source(api_key="reader")).hosts) == ["a"]
    kube.rules["reader"] = []
    with pytest.raises(
        AnsibleParserError, match=r"The rule that is missing, for a ClusterRole: - .*\"nodes\".*\"list\""
    ):
        read(source(api_key="reader"))


def test_hostname_falls_back_unless_strict(kube: FakeKube, source: Source, read: Read) -> None:
    add(kube, "a")
    for expression in ("kubernetes_node.labels.name", "kubernetes_node.zone"):
        assert list(read(source(hostname=expression)).hosts) == ["a"]
        with pytest.raises(AnsibleParserError, match="hostname: of a: "):
            read(source(hostname=expression, strict=True))


def test_without_strict_what_cannot_be_composed_is_passed_over(kube: FakeKube, source: Source, read: Read) -> None:
    add(kube, "a", labels={"pool": "x"})
    keyed = [{"key": "kubernetes_node.labels.none"}, {"key": "kubernetes_node.labels.pool", "prefix": "pool"}]
    wrong = {"keyed_groups": keyed, "compose": {"x": "kubernetes_node.nothing.there"}, "group_by": []}
    found = read(source(**wrong))
    assert members(found) == {"kubernetes_nodes": ["a"], "pool_x": ["a"]}
    assert "x" not in variables(found, "a")
    with pytest.raises(AnsibleError, match="Could not set x for host a"):
        read(source(strict=True, **wrong))


def test_a_label_that_names_another_node_takes_none_of_its_variables(
    kube: FakeKube, source: Source, read: Read
) -> None:
    add(kube, "a", labels={"pool": "b"})
    add(kube, "b", labels={"pool": "x"})
    keyed = [{"key": "kubernetes_node.labels.pool", "separator": ""}]
    found = read(source(compose={"mine": "kubernetes_node.name"}, keyed_groups=keyed))
    assert {name: variables(found, name)["mine"] for name in found.hosts} == {"a": "a", "b": "b"}
    assert found.groups["b"].vars == {}


def asked(kube: FakeKube) -> int:
    return len([each for each in kube.requests if each.path == "/api/v1/nodes"])


def test_the_cache_is_of_one_cluster_user_and_question_and_plain(
    kube: FakeKube, source: Source, read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(kube, "a", labels={"pool": "{{ 7 * 7 }}"})
    folder = tmp_path / "cache"
    cached: dict[str, Any] = {"cache": True, "cache_plugin": "jsonfile", "cache_connection": str(folder)}
    with FakeKube() as other:
        add(other, "b")
        file = Path(kubeconfig(tmp_path / "k", kube.url, other.url))
        how = {**cached, "host": None, "api_key": None, "kubeconfig": str(file)}

        def hosts(cache: bool = True, **options: Any) -> list[str]:
            return list(read(source(**{**how, **options}), cache=cache).hosts)

        assert [hosts(), hosts(), asked(kube)] == [["a"], ["a"], 1]
        # What is cached is no template either, and says the same.
        assert variables(read(source(**how)), "a") == variables(read(source(**{**how, "cache": False})), "a")
        assert asked(kube) == 2
        assert hosts(context="c1") == ["b"]
        assert hosts(label_selector="none") == []
        assert [hosts(annotations=["a"]), asked(kube)] == [["a"], 4]
        # --flush-cache
        assert [hosts(cache=False), hosts(), asked(kube)] == [["a"], ["a"], 5]
        # kubectl config use-context
        file.write_text(file.read_text().replace("current-context: c0", "current-context: c1"))
        assert hosts() == ["b"]
        assert asked(kube) == 5
        files = [each for each in folder.iterdir() if each.is_file()]
        text = "".join(each.read_text() for each in files)
        assert "cluster-admin" not in text
        for each in files:
            each.write_text(each.read_text().replace("uid", "uuid"))
        assert [hosts(), asked(other)] == [["b"], 3]
        # In a pod nothing else may tell its cluster from another.
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "192.0.2.1")
        assert [hosts(), asked(other)] == [["b"], 4]
