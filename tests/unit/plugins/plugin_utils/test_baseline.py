# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of controls: what is taken for a host, what users add, override and tune, and how bad files are refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.bulwark.node.plugins.plugin_utils import baseline
from ansible_collections.bulwark.node.plugins.plugin_utils.baseline import BaselineError, Baselines, load


def control(**more: Any) -> dict[str, Any]:
    return {
        "id": "own-rule",
        "title": "It is so",
        "why": "Else it breaks.",
        "severity": "low",
        "expect": "facts.x == `1`",
        "evidence": "{x: facts.x}",
        "remedy": "Make it so.",
        "references": ["https://example.com"],
        **more,
    }


@pytest.fixture
def ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Three baselines in the place of the collection's."""
    folder = tmp_path / "ours"
    folder.mkdir()
    files = {
        "common": {"controls": [control(id="a")], "params": {"limit": {"default": 5, "description": "A limit."}}},
        "kvm": {
            "detect": "facts.kvm",
            "includes": ["common"],
            "controls": [control(id="b", expect="facts.x < params.limit")],
        },
        "gke": {"detect": "facts.gke", "includes": ["kvm"], "controls": [control(id="c")], "fleet": [fleet()]},
    }
    for name, text in files.items():
        (folder / f"{name}.yml").write_text(yaml.safe_dump(text))
    monkeypatch.setattr(baseline, "OURS", str(folder))
    monkeypatch.setattr(baseline, "_FACTS", (*baseline._FACTS, "x", "gke"))
    baseline._ours.cache_clear()
    load.cache_clear()
    yield tmp_path
    baseline._ours.cache_clear()
    load.cache_clear()


def fleet(**more: Any) -> dict[str, Any]:
    row = {
        key: value for key, value in control(id="alike", value="facts.x").items() if key not in ("expect", "evidence")
    }
    return {**row, **more}


def ids(baselines: Baselines, facts: Any = None) -> str:
    return " ".join(each.id for each in baselines.controls(facts or {}, baselines.params, {"name": "", "groups": []}))


@pytest.mark.parametrize(
    ("entries", "facts", "taken"),
    [
        (["common"], {}, "a"),
        (["kvm"], {"kvm": False}, "a b"),
        (["gke"], {}, "a b c alike"),
        (["auto"], {"kvm": False, "gke": False}, "a"),
        (["auto"], {"kvm": True, "gke": False}, "a b"),
        (["auto"], {"kvm": False, "gke": True}, "a b c alike"),
        (["auto"], {"gke": False}, "a b"),
        (["auto", "gke"], {"kvm": False, "gke": False}, "a b c alike"),
        ([], {}, ""),
    ],
)
def test_what_a_host_is_judged_by(ours: Path, entries: list[str], facts: dict[str, Any], taken: str) -> None:
    assert sorted(ids(load(tuple(entries), ""), facts).split()) == sorted(taken.split())


def own(ours: Path, name: str = "own.yml", **text: Any) -> str:
    (ours / name).write_text(yaml.safe_dump(text))
    load.cache_clear()
    return name


def test_a_file_adds_controls_and_overrides_some_keys_of_others(ours: Path) -> None:
    rows = [control(), {"id": "a", "severity": "high"}, {"id": "b", "reason": "x is {x}"}]
    name = own(ours, controls=rows, fleet=[{"id": "alike", "severity": "info"}])
    made = load(("auto", name), str(ours))
    controls = {each.id: each for each in made.controls({}, made.params, {})}
    assert list(controls) == ["a", "c", "alike", "b", "own-rule"] or sorted(controls) == [
        "a",
        "alike",
        "b",
        "c",
        "own-rule",
    ]
    assert (controls["a"].severity, controls["a"].title, controls["a"].source) == (
        "high",
        "It is so",
        "bulwark.node/common",
    )
    assert controls["b"].reason == "x is {x}"
    assert controls["alike"].severity == "info"
    assert controls["own-rule"].source == str(ours / name)
    assert load(("auto",), "").controls({}, made.params, {})[0].severity == "low"


def test_a_file_changes_what_goes_with_it(ours: Path) -> None:
    name = own(ours, includes=["kvm"], controls=[{"id": "a", "severity": "high"}, {"id": "b", "title": "New"}])
    made = load((name,), str(ours))
    controls = {each.id: each for each in made.controls({}, {}, {})}
    assert (sorted(controls), controls["a"].severity, controls["b"].title) == (["a", "b"], "high", "New")


def test_a_file_may_stand_alone_detect_include_and_tune(ours: Path) -> None:
    name = own(
        ours,
        includes=["common"],
        params={"mine": {"default": "x"}},
        controls=[control(expect="facts.x == params.mine")],
    )
    made = load((name,), str(ours))
    assert sorted(ids(made).split()) == ["a", "own-rule"]
    assert {name: param.default for name, param in made.params.items()} == {"mine": "x", "limit": 5}
    second = own(
        ours,
        "second.yml",
        controls=[control(id="d", expect="facts.x == params.mine"), {"id": "own-rule", "title": "New"}],
    )
    both = load((name, second), str(ours))
    assert sorted(ids(both).split()) == ["a", "d", "own-rule"]
    assert {each.id: each.title for each in both.controls({}, {}, {})}["own-rule"] == "New"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "own.yml: is a list; expected a dictionary with controls"),
        ("a: [\n", "own.yml: is no YAML: line 2, column 1: "),
        (
            "control: []\n",
            "own.yml: has the key 'control'; expected some of controls, detect, fleet, includes, params, title",
        ),
        ({"controls": {}}, "own.yml: controls: is a dictionary; expected a list"),
        ({"controls": [1]}, "own.yml: controls[0]: is 1; expected a dictionary"),
        ({"controls": [control(id="Own")]}, "own.yml: controls[0]: id: is 'Own'; expected lower case letters"),
        ({"controls": [control(id=7)]}, "own.yml: controls[0]: id: is 7; expected"),
        ({"controls": [control(), control()]}, "own.yml: controls[1] (own-rule): the file has this id twice"),
        ({"controls": [control(tilte="x")]}, "own.yml: controls[0] (own-rule): has the key 'tilte'; expected some of"),
        ({"controls": [control(value="facts.x")]}, "own.yml: controls[0] (own-rule): has the key 'value'"),
        (
            {"controls": [control(title="")]},
            "own.yml: controls[0] (own-rule): title: is an empty text; expected a text",
        ),
        (
            {"controls": [control(severity="bad")]},
            "controls[0] (own-rule): severity: is 'bad'; expected one of critical, high",
        ),
        ({"controls": [control(references="x")]}, "controls[0] (own-rule): references: is 'x'; expected a list"),
        (
            {"controls": [{"id": "new", "title": "x"}]},
            "controls[0] (new): has no evidence, expect, references, remedy, severity, why",
        ),
        (
            {"controls": [control(expect="facts.x ==")]},
            "controls[0] (own-rule): expect: at character 11: something is missing at the end: 'facts.x =='",
        ),
        (
            {"controls": [control(when="fact.x")]},
            "controls[0] (own-rule): when: reads fact: 'fact.x'; a path begins with facts, params, host",
        ),
        (
            {"controls": [control(expect="facts.x > params.y")]},
            "expect: reads params.y: 'facts.x > params.y'; no baseline has a parameter",
        ),
        ({"controls": [control(expect=True)]}, "expect: is true or false; expected a text"),
        ({"controls": [control(evidence="facts.x")]}, "evidence: is 'facts.x'; expected {name: expression, ...}"),
        ({"controls": [control(reason="{y}")]}, "reason: names {y}; expected one of its evidence: x"),
        (
            {"controls": [{"id": "a", "reason": "{y}"}]},
            "controls[0] (a): reason: names {y}; expected one of its evidence: x",
        ),
        ({"fleet": [{"id": "a", "title": "x"}]}, "fleet[0] (a): belongs to controls"),
        ({"controls": [{"id": "alike", "title": "x"}]}, "controls[0] (alike): belongs to fleet"),
        ({"includes": ["none"]}, "own.yml: includes: has 'none'; expected one of common, gke, kvm"),
        ({"detect": "x"}, "own.yml: detect: reads x: 'x'; a path begins with"),
        ({"params": {"X": {"default": 1}}}, "own.yml: params: X: is no name; expected lower case"),
        ({"params": {"x": 1}}, "own.yml: params: x: is 1; expected a dictionary with default and description"),
        (
            {"params": {"x": {"default": 1, "least": 1}}},
            "own.yml: params: x: has the key 'least'; expected some of default, description, max, min",
        ),
    ],
)
def test_a_bad_file_is_refused_with_file_control_and_place(ours: Path, text: Any, message: str) -> None:
    (ours / "own.yml").write_text(text if isinstance(text, str) else yaml.safe_dump(text))
    with pytest.raises(BaselineError) as caught:
        load(("auto", "own.yml"), str(ours))
    assert message in str(caught.value)
    assert str(ours / "own.yml") in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            "kubernetes",
            "baselines: has 'kubernetes'; expected auto, one of common, gke, kvm, or the path of a file that ends in .yml",
        ),
        ("none.yml", "none.yml: cannot be read: No such file or directory"),
        (".yml/", "cannot be read: "),
    ],
)
def test_a_baseline_that_there_is_not_is_named(ours: Path, entry: str, message: str) -> None:
    with pytest.raises(BaselineError) as caught:
        load((entry,), str(ours))
    assert message in str(caught.value)


def test_a_file_without_end_is_not_read(ours: Path) -> None:
    (ours / "own.yml").write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(BaselineError, match="is larger than 1 MiB"):
        load(("own.yml",), str(ours))


def test_without_jmespath_the_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baseline, "HAS_JMESPATH", False)
    load.cache_clear()
    with pytest.raises(BaselineError, match="Failed to import the required Python library \\(jmespath\\)"):
        load(("auto",), "")
