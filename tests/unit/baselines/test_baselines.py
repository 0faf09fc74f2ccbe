# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each control of our baselines passes, fails and is unknown where it should, and asks for facts that there are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.bulwark.node.plugins.module_utils import settings
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import (
    bridge_mtu_options,
    hugepages_options,
    kernel_args_options,
    kvm_options,
    rlimit_options,
    subsets,
    transparent_hugepages_options,
)
from ansible_collections.bulwark.node.plugins.plugin_utils import assess, baseline
from ansible_collections.bulwark.node.plugins.plugin_utils.baseline import Control
from ansible_collections.bulwark.node.plugins.plugin_utils.expressions import Expression, names
from ansible_collections.bulwark.node.tests.unit.baselines import conftest
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import TREES, lay, load

CONTROLS = conftest.controls()
CASES = [(name, row) for name in conftest.names() for row in conftest.cases(name)]
FLEET = {control.id for _name, control in CONTROLS if control.value is not None}
BY_ID = pytest.mark.parametrize(("name", "control"), CONTROLS, ids=[control.id for _name, control in CONTROLS])


def rows(*kinds: str) -> pytest.MarkDecorator:
    found = [
        pytest.param(name, row, kind, id=f"{row['control']}-{kind}")
        for name, row in CASES
        for kind in kinds
        if kind in row and row["control"] not in FLEET
    ]
    return pytest.mark.parametrize(("name", "row", "kind"), found)


def test_each_control_has_its_cases_and_each_case_its_control() -> None:
    for name in conftest.names():
        known = {control.id: control for control in conftest.of(name).controls}
        given = Counter(row["control"] for row in conftest.cases(name))
        assert given == Counter(list(known)), f"tests/unit/baselines/{name}.yml"
        for row in conftest.cases(name):
            control = known[row["control"]]
            needed = {*conftest.KINDS, "reason"}
            needed |= {"not_applicable"} if control.when is not None and control.value is None else set()
            assert needed <= set(row) <= {*needed, "control", "params"}, f"{name}: {control.id}"


@rows("pass", "fail", "unknown", "not_applicable")
def test_a_control_says_what_its_case_expects(name: str, row: dict[str, Any], kind: str) -> None:
    # What no parameter asks for is not judged.
    params = None if kind == "not_applicable" else row.get("params")
    finding = conftest.judged(name, row["control"], row[kind], params)
    assert (finding["status"], finding["reason"] or "") == (kind, finding["reason"] or "")
    if kind == "fail":
        assert finding["reason"] == row["reason"]
        assert finding["why"]
        assert finding["remedy"]
    if kind == "unknown":
        assert "is not known" in str(finding["reason"]) or "facts subset" in str(finding["reason"])


def test_a_fleet_control_finds_the_host_that_differs() -> None:
    for name, row in CASES:
        if row["control"] in FLEET:
            pool = {"one": row["pass"], "two": row["pass"], "odd": row["fail"], "dark": row["unknown"]}
            found = conftest.judged_pool(name, row["control"], pool, row.get("params"))
            assert {host: finding["status"] for host, finding in found.items()} == {
                "one": "pass",
                "two": "pass",
                "odd": "fail",
                "dark": "unknown",
            }, row["control"]
            assert found["odd"]["reason"] == row["reason"]


def test_ids_are_given_once() -> None:
    assert [each for each, times in Counter(control.id for _name, control in CONTROLS).items() if times > 1] == []


@BY_ID
def test_each_control_says_where_it_comes_from_and_reads_well(name: str, control: Control) -> None:
    assert control.references
    assert all(re.fullmatch(r"https://[a-z0-9.-]+/\S+", each) for each in control.references)
    assert not control.title.endswith(".")
    for text in (control.why, control.remedy):
        assert text.strip().endswith((".", ")")), text
    if control.playbook is not None:
        tasks = yaml.safe_load(control.playbook)
        assert tasks
        for task in tasks:
            assert task["name"]
            assert any(re.fullmatch(r"[a-z]+\.[a-z]+\.[a-z_]+", key) for key in task), task


SPECS: dict[str, tuple[dict[str, Any], Callable[[Any], Any]]] = {
    "hugepages": (hugepages_options.ARGUMENT_SPEC, hugepages_options.desired),
    "transparent_hugepages": (
        transparent_hugepages_options.ARGUMENT_SPEC,
        transparent_hugepages_options.desired,
    ),
    "kernel_args": (kernel_args_options.ARGUMENT_SPEC, kernel_args_options.parse),
    "kvm": (kvm_options.ARGUMENT_SPEC, kvm_options.desired),
    "bridge_mtu": (bridge_mtu_options.ARGUMENT_SPEC, bridge_mtu_options.desired),
    "rlimit": (rlimit_options.ARGUMENT_SPEC, rlimit_options.desired),
    "settings": (settings.ARGUMENT_SPEC, settings.parts),
}


@BY_ID
def test_what_a_playbook_asks_of_our_modules_they_take(name: str, control: Control) -> None:
    for task in yaml.safe_load(control.playbook or "[]"):
        for key, options in task.items():
            module = str(key).removeprefix("bulwark.node.")
            if module != key:
                spec, desired = SPECS[module]
                checked = ArgumentSpecValidator(spec).validate(options)
                assert checked.error_messages == []
                desired(checked.validated_parameters)


def test_an_option_that_there_is_not_is_found() -> None:
    spec, _desired = SPECS["rlimit"]
    assert ArgumentSpecValidator(spec).validate({"units": ["containerd.service"]}).error_messages


@BY_ID
def test_each_fact_that_a_control_asks_for_is_documented(name: str, control: Control) -> None:
    asked = [each for each in (control.when, control.expect, control.evidence, control.value) if each is not None]
    assert list(_missing(asked)) == []


@pytest.mark.parametrize("name", conftest.names())
def test_each_parameter_is_asked_for(name: str) -> None:
    made = conftest.of(name)
    asked = [each for control in made.controls for each in (control.when, control.expect, control.value) if each]
    assert set(made.params) <= {param for each in asked for param in names(each.tree, "params")}


@pytest.mark.parametrize("name", conftest.names())
def test_each_fact_that_a_baseline_is_chosen_by_is_documented(name: str) -> None:
    detect = conftest.of(name).detect
    assert list(_missing([detect] if detect else [])) == []


def test_a_fact_that_there_is_not_is_found_wherever_it_stands() -> None:
    wrong = [
        "facts.kubelet.runing",
        "length(facts.image_fs[?curent])",
        "facts.image_fs[?current].{free: available}",
        'facts.sysctls."net.ipv4.ip_forwad" == `1` && facts.kubelet.running',
        "facts.links[?mtu > facts.bridges[0].mtuu]",
        "!(facts.reboot.requird)",
        "facts.image_fs[?current].eviction_prcent | [0]",
    ]
    assert [len(list(_missing([Expression(text)]))) for text in wrong] == [1] * len(wrong)


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        ("no-hugepages", {"common"}),
        ("kubeadm-containerd", {"common", "kubernetes_node"}),
        ("k3s-dropins", {"common", "kubernetes_node"}),
        ("gke-cos", {"common", "kubernetes_node", "gke_node"}),
        ("kvm-host", {"common", "kvm_host"}),
    ],
)
def test_a_machine_is_judged_by_the_baselines_that_are_meant_for_it(
    tmp_path: Path, tree: str, expected: set[str]
) -> None:
    lay(tmp_path, load(tree))
    facts = subsets.gather(Host(root=str(tmp_path)), subsets.select(["all"]))
    found = assess.assess(facts, assess.subject(tree, baseline.load((baseline.AUTO,), "")), conftest.TODAY)
    assert {each["source"] for each in found} == {f"bulwark.node/{name}" for name in expected}


def test_on_a_node_of_gke_what_is_told_is_true(tmp_path: Path) -> None:
    lay(tmp_path, load("gke-cos"))
    facts = subsets.gather(Host(root=str(tmp_path)), subsets.select(["all"]))
    assert facts["errors"] == []
    found = assess.assess(facts, assess.subject("gke", baseline.load((baseline.AUTO,), "")), conftest.TODAY)
    failed = {each["control"]: each["reason"] for each in found if each["status"] == "fail"}
    assert failed["gke-cos-etc-stateless"] == "gone after the next boot: /etc/sysctl.d/90-bulwark-rlimit.conf"
    assert failed["gke-node-recreated"] == "set on this node alone: /etc/sysctl.d/90-bulwark-rlimit.conf"
    passed = {each["control"] for each in found if each["status"] == "pass"}
    assert {"runtime-reachable", "cgroup-driver-match", "cgroup-controllers", "cgroup-v2", "kubelet-swap-off"} <= passed


@pytest.mark.parametrize("tree", sorted(path.stem for path in TREES.glob("*.yml")))
def test_on_every_machine_each_control_has_a_verdict(tmp_path: Path, tree: str) -> None:
    lay(tmp_path, load(tree))
    facts = subsets.gather(Host(root=str(tmp_path)), subsets.select(["all"]))
    who = assess.subject(tree, baseline.load(tuple(conftest.names()), ""))
    found = assess.assess(facts, who, conftest.TODAY)
    assert {each["control"]: each["reason"] for each in found if each["status"] == "error"} == {}
    assert len(found) == len(CONTROLS) - len(FLEET)


def _missing(expressions: list[Expression]) -> Iterator[str]:
    """The paths of facts in these expressions that the example of docs/schemas.md does not have."""
    facts = conftest.example()
    for expression in expressions:
        lost: list[str] = []
        _look(expression.tree, [facts], {"facts": facts, "params": None, "host": None}, lost)
        yield from lost


def _look(node: dict[str, Any], here: list[Any], roots: dict[str, Any], lost: list[str]) -> list[Any]:
    """What a part of an expression may give, of the example's values; of a list that is projected, those of its items."""
    kind, children = node["type"], [child for child in node.get("children", []) if isinstance(child, dict)]
    if kind == "root":
        return [roots[node["value"]]]
    if kind == "field":
        return list(_field(str(node["value"]), here, lost))
    if kind in ("subexpression", "pipe", "index_expression"):
        for child in children:
            here = _look(child, here, roots, lost)
        return here
    if kind in ("projection", "filter_projection", "value_projection"):
        below = _items(_look(children[0], here, roots, lost))
        for condition in children[2:]:
            _look(condition, below, roots, lost)
        return [_look(children[1], below, roots, lost)]
    if kind in ("flatten", "index", "slice"):
        inner = _look(children[0], here, roots, lost) if children else here
        return _items(inner)
    if kind in ("current", "identity"):
        return here
    given = [value for child in children for value in _look(child, here, roots, lost)]
    return given if kind == "or_expression" else []


def _field(name: str, here: list[Any], lost: list[str]) -> Iterator[Any]:
    objects = [value for value in here if isinstance(value, dict)]
    if objects and not any(name in value for value in objects):
        lost.append(name)
    for value in objects:
        if value.get(name) is not None:
            yield value[name]


def _items(values: list[Any]) -> list[Any]:
    return [item for value in values if isinstance(value, (list, tuple)) for item in value]
