# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook reboot for a host of KVM that is in no cluster: guests go, and come back, whatever is killed in between."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.bulwark.node.tests.hosts.controller import Controller, Halt, Play
from ansible_collections.bulwark.node.tests.hosts.machine import Machine, Site

from .conftest import tool

# Guests are files with their state; `stays` does not hear that it is to shut down.
VIRSH = """\
#!/bin/sh
[ "$1 $2" = "--connect qemu:///system" ] || exit 1
cd /var/lib/guests
case $3 in
list) grep -lE 'running|stays' -- * 2>/dev/null; echo ;;
shutdown) sed -i s/running/off/ "$4"; echo "Domain '$4' is being shutdown" ;;
start)
    if ! grep -q off "$4"; then echo 'error: Domain is already active' >&2; exit 1; fi
    echo running >"$4" ;;
esac
"""
RUNNING, OFF = "0b1e1f4e-0d0c-4a6b-8f55-0b2f1b6f3c11", "1b1e1f4e-0d0c-4a6b-8f55-0b2f1b6f3c11"
STAYS = "2b1e1f4e-0d0c-4a6b-8f55-0b2f1b6f3c11"
RECORD = "/var/lib/bulwark/reboot.json"


@pytest.fixture(scope="module")
def machine(site: Site) -> Iterator[Machine]:
    made = site.machine("12", "kvm")
    made.write("/usr/local/bin/virsh", VIRSH)
    made.path("/usr/local/bin/virsh").chmod(0o755)
    made.start()
    made.wait()
    yield made
    made.close()


@pytest.fixture
def host(machine: Machine) -> Machine:
    """It asks for a reboot, and one of its guests runs."""
    machine.write(f"/var/lib/guests/{RUNNING}", "running\n")
    machine.write(f"/var/lib/guests/{OFF}", "off\n")
    machine.path(f"/var/lib/guests/{STAYS}").unlink(missing_ok=True)
    machine.run("touch", "/run/reboot-required")
    return machine


def reboot(site: Site, host: Machine, *arguments: str, halt: Halt | None = None, **more: Any) -> Play:
    options = {
        "bulwark_target": "all",
        # As -e key=value gives them: texts.
        "reboot_kubernetes": "false",
        "reboot_soak": "1",
        "reboot_lock_ttl": "15",
        "reboot_delay": "1",
        "reboot_gate_timeout": "0",
        "reboot_lock": {"path": str(site.folder / "reboot-lock.json")},
        "reboot_options": {"reboot_timeout": 60},
        **more,
    }
    with Controller(site) as controller:
        return controller.play("bulwark.node.reboot", [host], options, *arguments, halt=halt)


def guests(host: Machine) -> dict[str, str]:
    return {path.name: path.read_text().strip() for path in sorted(host.path("/var/lib/guests").iterdir())}


def holders(site: Site) -> list[Any]:
    text = (site.folder / "reboot-lock.json").read_text() if (site.folder / "reboot-lock.json").exists() else ""
    found: list[Any] = json.loads(text)["locks"] if text.strip() else []
    return found


def test_a_running_guest_is_in_the_way(site: Site, host: Machine) -> None:
    boot_id = host.boot_id()
    play = reboot(site, host)
    assert play.rc == 2
    assert any(f"1 guests of libvirt run on it: {RUNNING}" in failure for failure in play.failures)
    assert (host.boot_id(), guests(host)) == (boot_id, {RUNNING: "running", OFF: "off"})
    assert (host.path(RECORD).exists(), holders(site)) == (False, [])


def test_who_was_not_in_the_plan_that_was_approved_is_not_rebooted(site: Site, host: Machine) -> None:
    boot_id = host.boot_id()
    # As a workflow of AWX hands on what the job before left; a survey cannot.
    play = reboot(site, host, reboot_guests="shutdown", bulwark_reboot_plan={"hosts": ["another"], "batches": [1]})
    assert play.rc == 2
    assert any("kvm: would be rebooted, and not in the plan that was approved" in each for each in play.failures)
    assert (host.boot_id(), guests(host)) == (boot_id, {RUNNING: "running", OFF: "off"})
    assert (host.path(RECORD).exists(), holders(site)) == (False, [])


def test_killed_with_its_guests_shut_down_the_next_run_reboots_it_and_starts_them(site: Site, host: Machine) -> None:
    boot_id = host.boot_id()
    play = reboot(site, host, reboot_guests="shutdown", halt=Halt("Shut the guests down", "kvm"))
    assert play.killed
    assert (host.boot_id(), guests(host)[RUNNING], len(holders(site))) == (boot_id, "off", 1)
    play = reboot(site, host, reboot_guests="shutdown", reboot_takeover="true")
    assert play.rc == 0, play.output
    assert host.boot_id() != boot_id
    assert guests(host) == {RUNNING: "running", OFF: "off"}
    assert (host.path(RECORD).exists(), holders(site)) == (False, [])
    play = reboot(site, host, reboot_guests="shutdown")
    assert (play.rc, [step for step in play.steps if step.changed]) == (0, [])


def test_a_guest_that_does_not_go_keeps_all_as_it_was(site: Site, host: Machine) -> None:
    host.write(f"/var/lib/guests/{STAYS}", "stays\n")
    boot_id = host.boot_id()
    play = reboot(site, host, reboot_guests="shutdown", reboot_guests_timeout="2")
    assert play.rc == 2
    assert any("After 2 seconds 1 guests still run" in failure for failure in play.failures), play.failures
    assert (host.boot_id(), guests(host)) == (boot_id, {RUNNING: "running", OFF: "off", STAYS: "stays"})
    assert (host.path(RECORD).exists(), holders(site)) == (False, [])


def test_virsh_itself_answers_as_the_one_of_these_tests() -> None:
    """libvirt's own driver for tests, which has one guest that runs."""
    virsh = [tool("virsh"), "--connect", "test:///default"]
    listed = subprocess.run([*virsh, "list", "--uuid"], capture_output=True, text=True, timeout=60, check=True)
    (guest,) = listed.stdout.split()
    assert listed.stdout == f"{guest}\n\n"
    started = subprocess.run([*virsh, "start", guest], capture_output=True, text=True, timeout=60, check=False)
    assert (started.returncode, started.stderr.strip()) == (1, "error: Domain is already active")
    stopped = subprocess.run([*virsh, "shutdown", guest], capture_output=True, text=True, timeout=60, check=False)
    assert stopped.stdout.strip() == f"Domain '{guest}' is being shutdown"
