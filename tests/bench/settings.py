# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role harden costs on a node that needs nothing, beside the peers' playbook for the same state and a play of one ping.

usage: settings.py PEERS [ROUNDS]      PEERS is the bin of an environment with the package ``ansible``; takes root

Two machines over ssh, one for each way, since the files of the one would be others' to the other. The kernel is this machine's
own: its pools of 2M pages, which are put back. Prints medians and ratios, asserts nothing.
"""

from __future__ import annotations

import fcntl
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ansible_collections.bulwark.node.tests.hosts.machine import Site

# Not named .yml: linters would look for the peers' modules, which are no dependency of ours.
PLAYS = Path(__file__).with_suffix("")
POOL = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
WRITABLE = ["/proc/sys/vm", "/sys/kernel/mm/hugepages", "/sys/devices/system/node"]
AIMS = {"peers": 1 / 3, "ping": 1.6}


def played(program: Path, play: str, inventory: Path) -> tuple[float, str]:
    """The seconds of one playbook, which must succeed, and what it printed."""
    started = time.perf_counter()
    command = [str(program / "ansible-playbook"), "-i", str(inventory), str(PLAYS / f"{play}.play")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return time.perf_counter() - started, done.stdout


@contextmanager
def kept() -> Iterator[None]:
    """This machine's pool of 2M pages is put back; no test changes it meanwhile, for they take the same lock."""
    lock = os.open("/sys/kernel/mm", os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    paths = [POOL / "nr_hugepages", POOL / "nr_overcommit_hugepages"]
    before = [path.read_text() for path in paths]
    try:
        yield
    finally:
        for path, text in zip(paths, before):
            path.write_text(text)
        os.close(lock)


def main() -> None:
    """Bring both to the state, then measure the runs that change nothing."""
    peers, rounds = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 5
    ways = {"ping": Path(sys.executable).parent, "peers": peers, "ours": Path(sys.executable).parent}
    with kept(), Site() as site, tempfile.TemporaryDirectory() as folder:
        inventory = Path(folder, "hosts.ini")
        lines = []
        for name in ("ours", "peers"):
            machine = site.machine("12", name, writable=WRITABLE)
            machine.start()
            machine.wait()
            machine.run(
                "mkdir",
                "-p",
                "/etc/systemd/system.conf.d",
                *map("/etc/systemd/system/{}.service.d".format, ("ssh", "dbus")),
            )
            lines += [f"[{name}]", machine.inventory().replace(machine.name, f"{name}1", 1)]
        inventory.write_text("\n".join(lines) + "\n")
        times: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(rounds + 1):
            for way, program in ways.items():
                taken, said = played(program, way, inventory)
                # The first round makes the changes, and warms the caches.
                if number:
                    times[way].append(taken)
                    if "changed=0" not in said:
                        sys.exit(f"{way} changed something again:\n{said}")
    medians = {way: statistics.median(taken) for way, taken in times.items()}
    print(f"a converged node with Debian 12 over ssh, {rounds} rounds")
    for way, taken in times.items():
        print(f"  {way:6} {medians[way]:6.2f} s   ({min(taken):.2f} to {max(taken):.2f})")
    for way, aim in AIMS.items():
        print(f"  ours = {medians['ours'] / medians[way]:.2f} x {way} (aim: {aim:.2f} or less)")


if __name__ == "__main__":
    main()
