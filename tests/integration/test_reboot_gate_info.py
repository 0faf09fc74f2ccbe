# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module reboot_gate_info, run by the real ansible, beside a Prometheus on loopback and on machines of three releases."""

from __future__ import annotations

import datetime as dt

import pytest

from ansible_collections.bulwark.node.tests.fakes.kube_api import FakeKube, User
from ansible_collections.bulwark.node.tests.fakes.kube_objects import node, pod
from ansible_collections.bulwark.node.tests.fakes.prometheus import alert, failure, serving, vector
from ansible_collections.bulwark.node.tests.hosts.adhoc import call
from ansible_collections.bulwark.node.tests.hosts.machine import Machine

from .conftest import Module

TOKEN = "a-token-that-nobody-shall-see"


def test_without_options_that_close_it_the_gate_is_open(module: Module) -> None:
    ran = module("reboot_gate_info", {"reboot_duration": 3600})
    assert (ran["open"], ran["changed"], ran["reasons"], ran["closes"]) == (True, False, [], None)
    assert ran["next_opening"] == ran["checked_at"]


@pytest.mark.parametrize("check", [False, True])
def test_every_reason_comes_at_once_and_no_secret_does(
    module: Module, check: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    # Never today, in no zone.
    tomorrow = dt.datetime.now(dt.timezone.utc).date() + dt.timedelta(days=2)
    windows = [{"rrule": f"DTSTART:{tomorrow:%Y%m%d} RRULE:FREQ=DAILY;COUNT=1", "start": "9pm", "duration": 7200}]
    with serving() as fake:
        fake.answer = vector(alert("Watchdog"), alert("DiskFull", team="db"), alert("Slow", "pending"))
        asked = {"url": fake.url, "ignore": "^Watchdog$", "firing_only": True, "bearer_token": TOKEN}
        ran = module(
            "reboot_gate_info", {"windows": windows, "reboot_duration": 1800, "prometheus": asked}, check=check
        )
        assert [headers["authorization"] for _path, _query, headers in fake.asked] == [f"Bearer {TOKEN}"]
    opening = int(dt.datetime(tomorrow.year, tomorrow.month, tomorrow.day, 21, tzinfo=dt.timezone.utc).timestamp())
    assert (ran["open"], ran["next_opening"]) == (False, opening)
    assert [(each["source"], each["until"], each["error"]) for each in ran["reasons"]] == [
        ("windows", opening, False),
        ("prometheus", None, False),
    ]
    assert ran["reasons"][1]["detail"] == 'alert DiskFull is firing: team="db"'
    assert TOKEN not in ran.output


def test_an_error_closes_the_gate_and_does_not_fail_the_task(module: Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as fake:
        fake.status, fake.answer = 503, failure("unavailable", "starting")
        ran = module("reboot_gate_info", {"prometheus": {"url": fake.url}})
    assert (ran.failed, ran["open"]) == (False, False)
    detail = f"{fake.url}/api/v1/query: answered 503: unavailable: starting"
    reason = {"source": "prometheus", "detail": detail, "until": None, "error": True, "object": None}
    assert ran["reasons"] == [reason]


def test_a_wrong_option_fails_the_task_by_its_path(module: Module) -> None:
    ran = module("reboot_gate_info", {"windows": [{}, {"start": "noon"}], "prometheus": {"url": "http://127.0.0.1:1"}})
    assert ran.failed
    assert ran["msg"] == (
        "reboot_gate_info: windows[1].start: got 'noon', expected a time such as 15:04, 23:59:59, 15, 9am or 11:59pm"
    )
    ran = module("reboot_gate_info", {"reboot_duration": -1})
    assert ran["msg"] == "reboot_gate_info: reboot_duration: got -1, expected seconds, from 0 to 604800 (a week)"


def test_windows_are_judged_with_the_time_zones_that_a_machine_has(machines: dict[str, Machine]) -> None:
    for machine in machines.values():
        inventory = machine.site.folder / "reboot.ini"
        inventory.write_text(f"{machine.inventory()}\n")
        there = (machine.name, "-i", str(inventory))
        # All days there are, so that it is open whatever the day is there.
        always = [{"days": days, "time_zone": "Pacific/Auckland"} for days in (["0", "1", "2", "3"], ["4", "5", "6"])]
        known = machine.run("test", "-e", "/usr/share/zoneinfo/Pacific/Auckland", check=False).returncode == 0
        ran = call("reboot_gate_info", {"windows": always}, there)
        if known:
            assert (ran["open"], ran["reasons"]) == (True, [])
        else:
            assert "the machine that judges the windows has no time zone database" in ran["msg"]
        assert call("reboot_gate_info", {"windows": [{"days": ["mo"]}, {}]}, there)["open"] is True


NODE = {"name": "a", "blocking_pod_selectors": ["app=db"], "max_unavailable": "1"}


@pytest.mark.parametrize("check", [False, True])
def test_a_node_of_a_cluster_is_asked_about_and_nothing_is_changed(module: Module, check: bool) -> None:
    with FakeKube() as kube:
        for name in ("a", "b"):
            kube.store.add("nodes", node(name))
        kube.store.add("pods", pod("x", labels={"app": "db"}))
        before = kube.store.version
        ran = module("reboot_gate_info", {"host": kube.url, "api_key": "cluster-admin", "node": NODE}, check=check)
        assert kube.store.version == before
        assert {request.method for request in kube.requests} == {"GET"}
    (reason,) = ran["reasons"]
    assert (ran["open"], ran["changed"], reason["source"]) == (False, False, "pods")
    assert reason["object"] == {"kind": "Pod", "namespace": "default", "name": "x"}


def test_without_a_node_no_cluster_is_asked(module: Module) -> None:
    with FakeKube() as kube:
        assert module("reboot_gate_info", {"host": kube.url, "api_key": "cluster-admin"})["open"] is True
        assert kube.requests == []


def test_a_cluster_that_refuses_closes_the_gate_and_does_not_fail_the_task(module: Module) -> None:
    with FakeKube() as kube:
        kube.tokens[TOKEN] = User("nobody")
        ran = module("reboot_gate_info", {"host": kube.url, "api_key": TOKEN, "node": {"name": "a"}})
    assert (ran.failed, ran["open"]) == (False, False)
    assert [(each["source"], each["error"]) for each in ran["reasons"]] == [("node", True), ("etcd", True)]
    assert (
        'The rule that is missing, for a ClusterRole: - {apiGroups: [""], resources: ["nodes"]'
        in ran["reasons"][0]["detail"]
    )
    assert TOKEN not in ran.output


def test_a_wrong_option_of_the_node_fails_before_anything_is_asked(module: Module) -> None:
    with FakeKube() as kube:
        at = {"host": kube.url, "api_key": "cluster-admin"}
        ran = module("reboot_gate_info", {**at, "node": {"name": "a", "max_unavailable": "none"}})
        assert ran["msg"].startswith("reboot_gate_info: node.max_unavailable: got 'none', expected a number from 1 on")
        ran = module("reboot_gate_info", {**at, "node": {"name": "a", "accepted_remediators": ["nobody"]}})
        assert "value of accepted_remediators must be one or more of" in ran["msg"]
        assert kube.requests == []
    ran = module("reboot_gate_info", {"kubeconfig": "/nowhere", "node": {"name": "a"}})
    assert ran["msg"].startswith("reboot_gate_info: kubeconfig: /nowhere: ")
