# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What gathering our facts costs, beside ansible.builtin.ping and ansible.builtin.setup in the same rounds.

usage: node_facts.py [ROUNDS]      run by the environment's Python; prints medians and ratios, asserts nothing

Each round runs all of them once, one after the other, so that whatever else the machine does falls on all alike.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ansible_collections.bulwark.node.tests.hosts.machine import Site
from ansible_collections.bulwark.node.tests.hosts.roots import missing_tools

MODULES = ("ansible.builtin.ping", "ansible.builtin.setup", "bulwark.node.node_facts")
AIMS = {"ansible.builtin.ping": 1.5, "ansible.builtin.setup": 0.7}
BIN = Path(sys.executable).parent


def seconds(module: str, inventory: list[str]) -> float:
    """How long one ad hoc run takes; it must succeed."""
    started = time.perf_counter()
    command = [str(BIN / "ansible"), "all", *inventory, "-m", module]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return time.perf_counter() - started


def measure(name: str, inventory: list[str], rounds: int) -> None:
    """Print the medians of all modules on one host, and what ours is of theirs."""
    times: dict[str, list[float]] = {module: [] for module in MODULES}
    for number in range(rounds + 1):
        for module in MODULES:
            taken = seconds(module, inventory)
            # The first round warms the caches.
            if number:
                times[module].append(taken)
    medians = {module: statistics.median(taken) for module, taken in times.items()}
    print(f"{name}, {rounds} rounds")
    for module in MODULES:
        spread = f"{min(times[module]):.2f} to {max(times[module]):.2f}"
        print(f"  {module:26} {medians[module]:6.2f} s   ({spread})")
    for peer, aim in AIMS.items():
        print(
            f"  node_facts = {medians[MODULES[-1]] / medians[peer]:.2f} x {peer.rpartition('.')[2]} (aim: {aim} or less)"
        )


def main() -> None:
    """Measure this machine, and with root a Debian 12 machine over ssh."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    local = ["-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}"]
    measure("this machine, connection local", local, rounds)
    if os.geteuid() != 0 or missing_tools():
        print(f"over ssh: not measured, it takes root and {', '.join(missing_tools()) or 'nothing else'}")
        return
    with Site() as site, tempfile.TemporaryDirectory() as folder:
        machine = site.machine("12")
        machine.start()
        machine.wait()
        inventory = Path(folder, "hosts.ini")
        inventory.write_text(machine.inventory() + "\n")
        measure("a machine with Debian 12, over ssh", ["-i", str(inventory)], rounds)


if __name__ == "__main__":
    main()
