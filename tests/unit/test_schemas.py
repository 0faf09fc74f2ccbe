# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/schemas.md is the contract: each example there has the keys and types that the code gives."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.converge import Change, Result, Unmet, Verdict
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.manifest import Manifest
from ansible_collections.bulwark.node.plugins.module_utils.node import subsets
from ansible_collections.bulwark.node.plugins.plugin_utils import findings

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


def filled(mine: Any, documented: Any) -> Any:
    """Ours, with what this machine has none of (a mount, a boot argument) taken as documented."""
    if isinstance(mine, dict) and isinstance(documented, dict):
        return {key: filled(item, documented.get(key)) for key, item in mine.items()}
    if isinstance(mine, list) and isinstance(documented, list):
        return [filled(mine[0], documented[0])] if mine and documented else documented
    return mine


def test_facts_have_the_documented_keys() -> None:
    documented = example("facts")
    facts = subsets.gather(Host(), subsets.select(["all"]))
    assert facts["errors"] == []
    assert documented["schema"] == subsets.SCHEMA
    assert shape(filled(facts, documented)) == shape(documented)


def test_findings_have_the_documented_keys() -> None:
    found = findings.judge({"schema": 1})
    assert len(found) == len(findings.CONTROLS)
    for finding in found:
        assert set(finding) == set(example("finding"))


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
