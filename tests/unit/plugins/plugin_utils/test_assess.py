# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host's facts are found to be: statuses and their reasons, waivers, parameters, and hosts beside their pool."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.bulwark.node.plugins.plugin_utils import baseline
from ansible_collections.bulwark.node.plugins.plugin_utils.assess import Subject, assess, assess_fleet, subject
from ansible_collections.bulwark.node.plugins.plugin_utils.baseline import BaselineError, Baselines, load
from ansible_collections.bulwark.node.plugins.plugin_utils.findings import Finding

TODAY = date(2026, 11, 21)
RULE = {
    "id": "rule",
    "title": "Swap is off",
    "why": "It pages.",
    "severity": "high",
    "when": "facts.kubelet.running",
    "applies_to": "hosts with a kubelet",
    "expect": "facts.swap.total <= params.most",
    "evidence": "{swap_bytes: facts.swap.total, on: facts.swap.devices[].path, off: facts.swap.off, node: host.name}",
    "reason": "{swap_bytes} of swap on {on}; off is {off}",
    "remedy": "Turn it off.",
    "playbook": "- debug:",
    "references": ["https://example.com"],
}
ALIKE = {
    "id": "alike",
    "title": "Kernels are alike",
    "why": "They differ.",
    "severity": "low",
    "value": "facts.kernel",
    "remedy": "Reboot.",
    "references": ["https://example.com"],
}


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(baseline, "_FACTS", (*baseline._FACTS, "kernel", "swap", "x"))

    def make(rule: dict[str, Any] | None = None, fleet: dict[str, Any] | None = None) -> Baselines:
        params = {
            "most": {"default": 0},
            "names": {"default": ["a"]},
            "flag": {"default": True},
            "share": {"default": 0.5, "min": 0, "max": 1},
        }
        rows = {"controls": [{**RULE, **(rule or {})}], "fleet": [{**ALIKE, **(fleet or {})}]}
        (tmp_path / "own.yml").write_text(yaml.safe_dump({"params": params, **rows}))
        load.cache_clear()
        return load(("own.yml",), str(tmp_path))

    return make


def facts(total: Any = 3 << 30, **more: Any) -> dict[str, Any]:
    swap = {"total": total, "devices": [{"path": f"/dev/sd{each}"} for each in "abcdefg"], "reason": "no /proc/swaps"}
    return {"schema": 1, "kubelet": {"running": True}, "swap": swap, **more}


def judged(baselines: Baselines, told: dict[str, Any], **options: Any) -> Finding:
    (found,) = assess(told, subject("n1", baselines, **options), TODAY)
    return found


@pytest.mark.parametrize(
    ("told", "status", "reason"),
    [
        (facts(0), "pass", None),
        (
            facts(),
            "fail",
            "3.0 GiB of swap on /dev/sda, /dev/sdb, /dev/sdc, /dev/sdd, /dev/sde and 2 more; off is unknown",
        ),
        (facts(512), "fail", "512 bytes of swap on"),
        (facts(None), "unknown", "swap.total is not known: no /proc/swaps"),
        (facts("x"), "error", "expect: facts.swap.total and params.most are compared by size; expected two numbers"),
        (facts(kubelet={"running": False}), "not_applicable", "it is for hosts with a kubelet"),
        (facts(kubelet={"running": None, "reason": "why"}), "unknown", "kubelet.running is not known: why"),
        (facts(kubelet={"running": "x"}), "error", "when: gave x; expected true or false"),
        (facts(swap=None), "unknown", "the facts subset swap failed"),
        (
            facts(swap=None, errors=[{"subset": "swap", "reason": "EACCES"}]),
            "unknown",
            "the facts subset swap failed: EACCES",
        ),
        (facts(swap=None, errors="x"), "unknown", "the facts subset swap failed"),
        (facts(swap=[]), "unknown", "swap.total is not known"),
        ({"schema": 1, "kubelet": {"running": True}}, "unknown", "the facts subset swap was not gathered"),
        ({"schema": 1}, "unknown", "the facts subset kubelet was not gathered"),
    ],
)
def test_a_verdict_has_its_reason(made: Any, told: dict[str, Any], status: str, reason: str | None) -> None:
    finding = judged(made(), told)
    assert finding["status"] == status
    assert (finding["reason"] or "").startswith(reason or "")
    assert (finding["reason"] is None) == (status == "pass")
    helps = (finding["why"], finding["remedy"], finding["playbook"])
    assert helps == (("It pages.", "Turn it off.", "- debug:") if status == "fail" else (None, None, None))
    if status == "fail":
        assert finding["evidence"]["node"] == "n1"


def test_a_list_that_is_null_has_the_reason_beside_it(made: Any) -> None:
    swap = {"total": 0, "devices": None, "devices_reason": "EACCES", "reason": "another"}
    found = judged(made({"expect": "length(facts.swap.devices[?path]) == `0`"}), facts(swap=swap))
    assert (found["status"], found["reason"]) == ("unknown", "swap.devices is not known: EACCES")


def test_without_words_of_its_own_a_failure_tells_its_evidence(made: Any, tmp_path: Path) -> None:
    row = {key: value for key, value in RULE.items() if key != "reason"}
    (tmp_path / "bare.yml").write_text(
        yaml.safe_dump({"controls": [{**row, "expect": "facts.x == `1`", "evidence": "{x: facts.x}"}]})
    )
    found = judged(load(("bare.yml",), str(tmp_path)), facts(x={"a": True, "b": [1.5]}))
    assert found["reason"] == "not so: Swap is off (x is a true b 1.5)"


@pytest.mark.parametrize(
    ("waiver", "status", "reason"),
    [
        ({"expires": "2026-11-21"}, "waived", "3.0 GiB"),
        ({"expires": "2026-11-20"}, "fail", "its waiver expired on 2026-11-20"),
        ({"hosts": ["n1"]}, "waived", "3.0 GiB"),
        ({"hosts": ["web"]}, "waived", "3.0 GiB"),
        ({"hosts": ["n2"]}, "fail", "3.0 GiB"),
        ({"hosts": []}, "fail", "3.0 GiB"),
    ],
)
def test_a_waiver_holds_to_its_last_day_and_for_its_hosts(
    made: Any, waiver: dict[str, Any], status: str, reason: str
) -> None:
    given = {"control": "rule", "reason": " until the move ", "expires": "2026-12-31", **waiver}
    found = judged(made(), facts(), groups=["web", "all"], waivers=[given])
    assert found["status"] == status
    assert reason in str(found["reason"])
    assert found["why"] == "It pages."
    if status == "waived":
        assert found["waiver"] is not None
        assert found["waiver"]["reason"] == "until the move"


def test_what_does_not_fail_is_not_waived(made: Any) -> None:
    given = {"control": "rule", "reason": "x", "expires": "2026-12-31"}
    assert [judged(made(), facts(total), waivers=[given])["status"] for total in (0, None)] == ["pass", "unknown"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"params": {"least": 1}}, "params: has 'least', which no baseline has"),
        ({"params": {"mots": 1}}, "params: has 'mots', which no baseline has; did you mean most"),
        ({"params": {"share": 80}}, "params: share: is 80; expected a number of at least 0 and at most 1"),
        ({"params": {"share": -0.1}}, "params: share: is -0.1; expected a number of at least 0 and at most 1"),
        ({"params": {"most": "1"}}, "params: most: is '1'; expected a value like its default, 0"),
        ({"params": {"most": True}}, "params: most: is True; expected a value like its default, 0"),
        ({"params": {"flag": 1}}, "params: flag: is 1; expected a value like its default, True"),
        ({"params": {"names": "a"}}, "params: names: is 'a'; expected a value like its default, ['a']"),
        ({"params": [1]}, "params: is [1]; expected a dictionary"),
        ({"groups": "web"}, "groups: is 'web'; expected a list of names"),
        ({"pool": 1}, "pool: is 1; expected a name"),
        ({"waivers": {"a": 1}}, "waivers: is {'a': 1}; expected a list of waivers"),
        (
            {"waivers": [{"control": "rule", "reason": "x"}]},
            "waivers[0]: is {'control': 'rule', 'reason': 'x'}; expected control, reason and expires",
        ),
        (
            {"waivers": [{"control": "rul", "reason": "x", "expires": "2026-12-31"}]},
            "waivers[0]: control: is 'rul'; no baseline has a control",
        ),
        (
            {"waivers": [{"control": "rule", "reason": " ", "expires": "2026-12-31"}]},
            "waivers[0]: reason: is ' '; expected why",
        ),
        (
            {"waivers": [{"control": "rule", "reason": "x", "expires": "soon"}]},
            "waivers[0]: expires: is 'soon'; expected the last day",
        ),
        (
            {"waivers": [{"control": "rule", "reason": "x", "expires": None}]},
            "waivers[0]: expires: is None; expected the last day",
        ),
        (
            {"waivers": [{"control": "rule", "reason": "x", "expires": "2026-12-31", "hosts": "n1"}]},
            "waivers[0]: hosts: is 'n1'; expected a list",
        ),
    ],
)
def test_bad_options_are_refused_with_what_was_expected(made: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(BaselineError) as caught:
        subject("n1", made(), **options)
    assert message in str(caught.value)


def test_parameters_are_what_a_host_is_given(made: Any) -> None:
    assert judged(made(), facts(), params={"most": 1 << 40})["status"] == "pass"
    assert judged(made(), facts(), params={"most": 1.5})["status"] == "fail"


def fleet(baselines: Baselines, kernels: dict[str, Any], **pools: str) -> dict[str, Finding]:
    hosts: dict[str, tuple[dict[str, Any], Subject]] = {
        name: ({"schema": 1, "kernel": kernel, "reason": "why"}, subject(name, baselines, ["web"], pools.get(name)))
        for name, kernel in kernels.items()
    }
    return {name: found for name, (found,) in assess_fleet(hosts, TODAY).items()}


@pytest.mark.parametrize(
    ("kernels", "statuses", "reason"),
    [
        (
            {"a": "6.1", "b": "6.1", "c": "6.8"},
            "pass pass fail",
            "it is 6.8 here, and 6.1 on 2 of the 3 hosts of its pool",
        ),
        ({"a": "6.8", "b": "6.8"}, "pass pass", None),
        (
            {"a": "6.1", "b": "6.8"},
            "fail fail",
            "no value is common to most of the 2 hosts of its pool; here it is 6.8",
        ),
        ({"a": "6.1"}, "not_applicable", "no other host of its pool is known to compare it with"),
        ({"a": "6.1", "b": "6.1", "c": None}, "pass pass unknown", "the facts subset kernel failed"),
        ({"a": "6.1", "b": None}, "not_applicable unknown", "the facts subset kernel failed"),
        (
            {"a": ["x", "y"], "b": ["x", "y"], "c": ["x", "z"]},
            "pass pass fail",
            "it lacks y and has also z, unlike on 2 of the 3 hosts of its pool",
        ),
    ],
)
def test_a_host_that_differs_from_its_pool_fails(
    made: Any, kernels: dict[str, Any], statuses: str, reason: str | None
) -> None:
    found = fleet(made(), kernels)
    assert [found[name]["status"] for name in sorted(found)] == statuses.split()
    assert found[max(found)]["reason"] == reason


def test_pools_are_told_apart_and_their_controls_waived_as_others(made: Any) -> None:
    found = fleet(made(), {"a": "1", "b": "1", "c": "2", "d": "2"}, c="other", d="other")
    assert {finding["status"] for finding in found.values()} == {"pass"}
    assert found["a"]["evidence"] == {"value": "1", "common": "1", "alike": 2, "hosts": 2, "pool": "web"}
    assert fleet(made(fleet={"when": "facts.x"}), {"a": "1", "b": "2"})["a"]["status"] == "unknown"
    assert fleet(made(fleet={"when": "facts.kernel == '1'"}), {"a": "1", "b": "2"})["b"]["status"] == "not_applicable"
    waiver = {"control": "alike", "reason": "x", "expires": "9999-01-01"}
    who = {name: ({"kernel": name}, subject(name, made(), waivers=[waiver])) for name in "ab"}
    assert [each["status"] for each in assess_fleet(who, TODAY)["a"]] == ["waived"]
