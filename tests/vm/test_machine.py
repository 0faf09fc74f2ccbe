# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine itself."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys

import pytest

from ansible_collections.bulwark.node.tests.hosts.remote import until

ORPHAN = """
import os, signal
from ansible_collections.bulwark.node.tests.hosts.remote import Slot
from ansible_collections.bulwark.node.tests.vm.machine import Vm
machine = Vm(Slot("vm"))
machine.start()
print(machine.address, machine.port, machine.site.folder, flush=True)
input()
os.kill(os.getpid(), signal.SIGKILL)
"""


def listens(address: str, port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex((address, port)) == 0


@pytest.mark.usefixtures("vms")
def test_the_machine_of_a_killed_test_run_dies_with_it() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ORPHAN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdin is not None
        assert run.stdout is not None
        address, port, folder = run.stdout.readline().split()
        assert until(lambda: listens(address, int(port)), timeout=20)
        run.stdin.write("\n")
        run.stdin.close()
        assert run.wait(20) == -signal.SIGKILL
    assert until(lambda: not listens(address, int(port)), timeout=20)
    # The next run of that number would.
    shutil.rmtree(folder)
