# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module reboot_info on this very machine, and on others over ssh."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.bulwark.node.tests.hosts.adhoc import call
from ansible_collections.bulwark.node.tests.hosts.machine import Machine

from .conftest import Module

SENTINEL = "/var/run/reboot-required"


def test_it_tells_yes_no_and_error_apart_by_a_sentinel_and_a_command(module: Module, tmp_path: Path) -> None:
    sentinel = tmp_path / "wanted"
    options = {"sentinel": [str(sentinel)]}
    assert module("reboot_info", options)["required"] is False
    sentinel.write_text("")
    for check in (False, True):
        ran = module("reboot_info", options, check=check)
        assert (ran["required"], ran["changed"]) == (True, False)
        assert [reason["detail"] for reason in ran["reasons"]] == [f"{sentinel} exists"]
        assert ran["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        assert ran["since"] == int(sentinel.stat().st_ctime)
    for code, required in ((0, True), (1, False), (2, None)):
        ran = module("reboot_info", {"triggers": ["command"], "command": ["/bin/sh", "-c", f"exit {code}"]})
        assert ran["required"] is required
        assert [error["source"] for error in ran["errors"]] == (["command"] if required is None else [])
    ran = module("reboot_info", {"triggers": ["command"], "command": ["/nowhere/wants-reboot"]})
    assert (ran["required"], ran.failed) == (None, False)


def test_options_that_do_not_go_together_fail_the_task(module: Module) -> None:
    ran = module("reboot_info", {"triggers": ["command"]})
    assert ran.failed
    assert (
        ran["msg"] == "reboot_info: command: is missing, expected a program and its arguments, for the trigger command"
    )


def test_the_default_is_kureds_sentinel(module: Module) -> None:
    if os.geteuid() != 0:
        pytest.skip("a /run of the test's own takes root")
    ran = module(
        "reboot_info", {"triggers": ["sentinel"]}, inside="mount -t tmpfs tmpfs /run\necho x > /run/reboot-required"
    )
    assert ran["required"] is True
    assert ran["reasons"][0]["detail"] == f"{SENTINEL} exists"
    assert module("reboot_info", {"triggers": ["sentinel"]}, inside="mount -t tmpfs tmpfs /run")["required"] is False


def test_machines_are_asked_over_ssh(machines: dict[str, Machine]) -> None:
    for machine in machines.values():
        inventory = machine.site.folder / "reboot.ini"
        inventory.write_text(f"{machine.inventory()}\n")
        there = (machine.name, "-i", str(inventory))
        options = {"triggers": ["sentinel"]}
        try:
            machine.run("touch", SENTINEL)
            ran = call("reboot_info", options, there)
            assert (ran["required"], ran["errors"], ran["blocked"]) == (True, [], [])
            assert ran["boot_id"] == machine.boot_id()
        finally:
            machine.run("rm", SENTINEL)
        assert call("reboot_info", options, there)["required"] is False
