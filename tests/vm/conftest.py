# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules run by the real ansible, over ssh, on a machine with a kernel and a boot loader of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.tests.hosts.adhoc import Ran, call
from ansible_collections.bulwark.node.tests.hosts.remote import Slot

from .image import missing_tools
from .machine import Vm

Module = Callable[..., Ran]
Play = Callable[..., str]


@pytest.fixture(scope="session")
def vms(whole_memory: None) -> Iterator[Slot]:
    """Consent to emulate machines: ``Vm(vms, "name")`` is a new one, to be started. Each takes 4 GiB of memory at most."""
    if os.geteuid() != 0:
        pytest.skip("the image of a machine is made by root")
    if os.environ.get("REQUIRE_ALL") != "1":
        pytest.skip("it emulates a machine for some minutes: set REQUIRE_ALL=1 to run it")
    if missing := missing_tools():
        pytest.skip(f"the machine takes {', '.join(missing)}: see bindep.txt")
    with Slot("vm") as made:
        yield made


@pytest.fixture(scope="session")
def vm(vms: Slot) -> Vm:
    """One machine, up. All tests share it, for a boot takes half a minute: what one changes it puts back.

    Its kernel may be the newer one by then, and has loaded kvm_amd.
    """
    machine = Vm(vms)
    machine.start()
    machine.wait()
    return machine


@pytest.fixture
def module(vm: Vm) -> Module:
    """Run one module on the machine: ``module("hugepages", {options}, check=True)``."""
    inventory = vm.site.folder / f"{vm.name}.ini"
    inventory.write_text(f"{vm.inventory(ansible_pipelining='true')}\n")

    def run(name: str, options: dict[str, Any], check: bool = False) -> Ran:
        return call(name, options, (vm.name, "-i", str(inventory)), check)

    return run


@pytest.fixture
def play(vm: Vm, tmp_path: Path) -> Play:
    """Run one playbook of the collection on the machine; it must succeed: ``play("harden", harden_profile="kvm_host")``."""
    inventory = tmp_path / "play.ini"
    inventory.write_text(f"{vm.inventory(ansible_pipelining='true')}\n")

    def run(name: str, **variables: Any) -> str:
        ansible = [str(Path(sys.executable).parent / "ansible-playbook"), f"bulwark.node.{name}", "-i", str(inventory)]
        given = json.dumps({"bulwark_target": vm.name, **variables})
        done = subprocess.run(
            [*ansible, "-e", given], capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run
