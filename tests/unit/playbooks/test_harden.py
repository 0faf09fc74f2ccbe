# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks harden and undo on hosts that are actors."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.tests.fakes.actors import POOLS, RUNS, UNIT, WELL, Run, Stage, facts, settings

HARDENED: dict[str, Any] = {"harden_kvm": {"tun": True}}


def thp(enabled: str) -> dict[str, Any]:
    return facts(
        transparent_hugepages={
            "enabled": enabled,
            "defrag": enabled,
            "sizes": [],
            "always_for": ["all sizes"] if enabled == "always" else [],
        }
    )


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def harden(stage: Stage, *arguments: str, **variables: Any) -> Run:
    return stage.play("harden", *arguments, **{"bulwark_target": "all", **HARDENED, **variables})


def kept(run: Run, name: str) -> dict[str, Any]:
    """What the run leaves for what comes after it, in AWX the artifacts."""
    found: dict[str, Any] = json.JSONDecoder().raw_decode(run.said.partition(f'"{name}": ')[2])[0]
    return found


STATS = {"ANSIBLE_SHOW_CUSTOM_STATS": "1"}
BROKEN = {"failed": True, "msg": f"Unable to restart service {UNIT}: it timed out"}
DIED = {"changed": False, "status": {"ActiveState": "failed"}}


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ({"systemd_service": BROKEN}, f"Restart units for harden: {UNIT}: {BROKEN['msg']}"),
        (
            {"systemd_service.1": RUNS, "systemd_service": DIED},
            f"See that restarted units run for harden: {UNIT}: it is failed after its restart",
        ),
    ],
    ids=["not restarted", "died"],
)
def test_a_restart_that_fails_is_a_host_that_failed_and_the_report_says_why(
    stage: Stage, answers: dict[str, Any], reason: str
) -> None:
    stage.actor("a", {**WELL, "settings": settings(UNIT), **answers})
    stage.actor("b", WELL)
    stage.environment = STATS
    run = harden(stage, harden_restart_units=[UNIT])
    told = kept(run, "bulwark_harden")
    assert (told["hosts_failed"], told["hosts_not_begun"]) == (["a"], ["b"])
    assert told["path"] == str(stage.folder / "bulwark-report/report.json")
    assert run.rc == 2
    assert run.statuses == {"a": "failed", "b": "not_begun"}
    # ansible-core 2.16 and 2.18 do not say which handler it was.
    cause = reason.partition(": ")[2]
    assert run.hosts["a"]["outcome"]["reason"].endswith(f": {cause}")
    assert f"failed: a ({run.hosts['a']['outcome']['reason']}); not begun: b" in run.said
    assert stage.calls("a")[-1] == "node_facts"
    assert stage.calls("b") == []


@pytest.mark.parametrize("check", [False, True])
def test_a_restart_is_done_and_told_and_foretold(stage: Stage, check: bool) -> None:
    stage.actor(
        "a", {**WELL, "settings": settings("systemd", UNIT, "other.service", changed=False), "systemd_service": RUNS}
    )
    # A survey of AWX answers with a text.
    given = {"harden_restart_units": [UNIT], "harden_install_packages": "no"}
    run = harden(stage, *(["--check"] if check else []), **given)
    assert run.rc == 0
    assert f"disruptive {UNIT} it is restarted: {POOLS}" in run.said
    assert f"disruptive systemd it reads its files again: {POOLS}" in run.said
    assert f"restart other.service {POOLS}" in run.said
    assert f"restart {UNIT}" not in run.said
    assert stage.calls("a").count("systemd_service") == (2 if check else 3)
    assert "1 changed" in run.said
    assert bool(run.hosts) is not check
    if not check:
        assert [entry["unit"] for entry in run.hosts["a"]["outcome"]["restart_required"]] == ["other.service"]


@pytest.mark.parametrize(
    ("variables", "reason", "check"),
    [
        ({"harden_profile": "tpyo"}, "value of harden_profile must be one of: kubernetes_node, kvm_host", True),
        ({"harden_kvm": None}, "argument 'harden_kvm' is of type", False),
        ({"harden_kvm": {}}, "settings: nothing is asked for; expected one of hugepages", False),
        ({"harden_install_packages": "yes"}, "Install what loads modules of the kernel: ", False),
    ],
    ids=["profile", "null", "nothing", "package"],
)
def test_a_failure_before_the_settings_is_a_row_and_hides_no_other_host(
    stage: Stage, variables: dict[str, Any], reason: str, check: bool
) -> None:
    stage.actor("a", WELL, **{**HARDENED, **variables})
    stage.actor("b", WELL, **HARDENED)
    run = stage.play("harden", *(["--check"] if check else []), bulwark_target="all")
    assert run.rc == 2
    assert "1 of 2 hosts are not as they should be; failed: a (" in run.said
    assert "settings" not in stage.calls("a")
    if check:
        assert reason in run.said.partition("are not as they should be")[2]
        assert "settings" in stage.calls("b")
    else:
        assert run.statuses == {"a": "failed", "b": "not_begun"}
        assert reason in run.hosts["a"]["outcome"]["reason"]


@pytest.mark.parametrize("playbook", ["harden", "undo"])
@pytest.mark.parametrize("variable", ["bulwark_target", "{}_serial"])
def test_what_the_inventory_says_too_late_is_refused(stage: Stage, playbook: str, variable: str) -> None:
    name = variable.format(playbook)
    stage.actor("a", WELL)
    stage.actor("b", WELL)
    stage.variables("group_vars/all", {"bulwark_target": "all"} if name == "bulwark_target" else {name: ["50%"]})
    given = {} if name == "bulwark_target" else {"bulwark_target": "all"}
    run = stage.play(playbook, **HARDENED, **given)
    assert run.rc == 2
    assert f"Nothing was touched. {name} stands in the inventory" in run.said
    assert stage.calls("a") == stage.calls("b") == []


def test_what_the_command_line_says_wins_over_the_inventory(stage: Stage) -> None:
    stage.actor("a", WELL)
    stage.actor("b", WELL)
    stage.variables("group_vars/all", {"bulwark_target": "all", "harden_serial": 1})
    run = harden(stage, bulwark_target="b", harden_serial="50%")
    assert (run.rc, run.statuses) == (0, {"b": "changed"})


def test_each_host_bears_the_controls_that_are_accepted_for_it(stage: Stage) -> None:
    control = "thp-direct-compaction"
    worse = {**WELL, "node_facts.1": thp("madvise"), "node_facts": thp("always")}
    stage.actor("a", worse, harden_accept_worse=[control])
    stage.actor("b", worse)
    run = harden(stage, harden_serial="100%")
    assert run.rc == 2
    assert run.statuses == {"a": "changed", "b": "worse"}


@pytest.mark.parametrize("playbook", ["harden", "undo"])
def test_there_is_one_report_and_so_one_folder(stage: Stage, playbook: str) -> None:
    stage.actor("a", WELL)
    stage.actor("b", WELL, **{f"{playbook}_report_dir": "elsewhere"})
    run = stage.play(playbook, bulwark_target="all", **HARDENED)
    assert run.rc == 2
    assert (
        f"{playbook}_report_dir is not the same for all hosts, and there is one report: bulwark-report, elsewhere."
        in run.said
    )
    assert stage.calls("a") == []


@pytest.mark.parametrize("playbook", ["harden", "undo"])
def test_the_strategy_of_the_configuration_does_not_count(stage: Stage, playbook: str) -> None:
    stage.actor("a", WELL)
    stage.actor("b", WELL)
    given = {**HARDENED, f"{playbook}_serial": "100%"}
    run = stage.play(playbook, configuration="strategy = free", bulwark_target="all", **given)
    assert run.rc == 0
    assert run.statuses == {"a": "changed", "b": "changed"}
    # Once before the change and once after it, not for each host.
    assert run.said.count(" Report: ") == 2


@pytest.mark.parametrize("consent", [False, True])
def test_undo_takes_bridges_back_though_the_manifest_says_nothing_and_leaves_surplus_with_consent_alone(
    stage: Stage, consent: bool
) -> None:
    lost = facts(managed={"objects": None, "reason": "EACCES"})
    bridges = {"changed": True, "changes": [{"kind": "file", "target": "/etc/br0", "before": "x", "after": None}]}
    stage.actor("a", {**WELL, "node_facts.1": lost, "bridge_mtu": bridges})
    given: dict[str, Any] = {"undo_allow_surplus": True} if consent else {}
    stage.environment = STATS
    run = stage.play("undo", bulwark_target="all", **given)
    assert run.rc == 0
    assert kept(run, "bulwark_undo")["hosts_changed"] == ["a"]
    assert {domain["name"]: domain["status"] for domain in run.hosts["a"]["outcome"]["domains"]}["bridges"] == "changed"
    assert re.findall(r"allow_surplus\W+(\w+)", stage.called("a", "settings").lower()) == [str(consent).lower()]
