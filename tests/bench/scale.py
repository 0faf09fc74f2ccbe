# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a controller spends on a fleet: audit and harden beside ansible.builtin.setup alone, for growing numbers of hosts.

usage: scale.py [HOSTS ...]      run by the environment's Python; takes root; prints figures, changes nothing; FORKS=10

The nodes cost nothing, so that all that is measured is the controller's: the connection `replay` hands to each module's call an answer in
the module's place. Those of setup and settings were given by this machine, once, where the only setting is what the kernel has already; as
facts each host has one of 40 sets, of 18 KB of JSON each, with faults in them. All else is as it is in a true run: a fork for each task of each
host, its templates, the module's payload, the answer's JSON, callbacks and files. Not in it is what ssh takes on the controller.

CPU is that of the main process and of its forks. Memory is the peak of the main process and that of its largest fork, which shares
most of it with the main process. The exponent is that of the growth of the CPU since the size before: 1 is as the hosts grow.
"""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.bulwark.node.tests.fakes import fleet

HERE = Path(__file__).parent
THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")
SIZES = [50, 200, 1000]
KINDS = 40
PLAYS = {
    "setup": [str(HERE / "scale" / "setup.play")],
    "audit": ["bulwark.node.audit"],
    "harden --check": ["bulwark.node.harden", "--check"],
    "harden": ["bulwark.node.harden"],
}
# ansible-playbook, which at its end tells what it used. The last of its forks are its own to wait for.
PLAYBOOK = """
import atexit, json, multiprocessing, os, resource
from ansible.cli.playbook import main

def tell():
    for fork in multiprocessing.active_children():
        fork.join(10)
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    with open(os.environ["USED"], "w") as told:
        json.dump([[each.ru_utime + each.ru_stime, each.ru_maxrss / 1024] for each in used], told)

atexit.register(tell)
main()
"""


@dataclass(frozen=True)
class Used:
    """What a run took: seconds, the processor's seconds of the main process and its forks, and their MB."""

    hosts: int
    wall: float
    main: float
    forks: float
    main_mb: float
    fork_mb: float

    @property
    def cpu(self) -> float:
        return self.main + self.forks


def answers(folder: Path) -> None:
    """What the nodes say of themselves."""
    for kind in range(KINDS):
        # One in 40 of a fleet is known to have facts.
        row = fleet.host(kind * 40, "node", 2, random.Random(kind))
        answer = {"changed": False, "ansible_facts": {"bulwark": row["facts"]}}
        (folder / f"node_facts-{kind}").write_text(json.dumps(answer))


def inventory(folder: Path, hosts: int) -> Path:
    path = folder / "hosts.ini"
    lines = [f"node{number:05} ansible_host={number % KINDS}" for number in range(hosts)]
    common = ["[all:vars]", "ansible_connection=replay", f"ansible_python_interpreter={sys.executable}"]
    path.write_text("\n".join([*lines, *common]) + "\n")
    return path


def played(way: str, hosts: int, folder: Path) -> Used:
    """One run of a playbook, which must succeed."""
    enabled = THP.read_text().partition("[")[2].partition("]")[0]
    given = {
        "bulwark_target": "all",
        "audit_report_dir": str(folder / "report"),
        "harden_report_dir": str(folder / "report"),
        "harden_transparent_hugepages": {"enabled": enabled, "persist": False},
    }
    env = {
        **os.environ,
        "REPLAY": str(folder),
        "USED": str(folder / "used"),
        "ANSIBLE_CONNECTION_PLUGINS": str(HERE / "connection"),
        "ANSIBLE_FORKS": os.environ.get("FORKS", "10"),
        "ANSIBLE_PIPELINING": "1",
        "ANSIBLE_HOME": str(folder / "home"),
    }
    command = [
        sys.executable,
        "-c",
        PLAYBOOK,
        *PLAYS[way],
        "-i",
        str(inventory(folder, hosts)),
        "-e",
        json.dumps(given),
    ]
    started = time.perf_counter()
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=3600, check=False)
    taken = time.perf_counter() - started
    if done.returncode or "changed=1" in done.stdout:
        sys.exit(f"{way} of {hosts} hosts ended with {done.returncode}:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    (main, main_mb), (forks, fork_mb) = json.loads((folder / "used").read_text())
    return Used(hosts, taken, main, forks, main_mb, fork_mb)


def show(way: str, used: Used, before: Used | None) -> None:
    growth = "      "
    if before is not None:
        growth = f"{math.log(used.cpu / before.cpu) / math.log(used.hosts / before.hosts):6.2f}"
    print(
        f"  {way:15} {used.wall:7.1f} s {used.main:8.1f} s {used.forks:7.1f} s {1000 * used.cpu / used.hosts:7.0f} ms"
        f"  {growth}  {used.main_mb:6.0f} MB {used.fork_mb:6.0f} MB",
        flush=True,
    )


def main() -> None:
    """Run all ways for each size, one after the other."""
    sizes = sorted(int(each) for each in sys.argv[1:]) or SIZES
    before: dict[str, Used] = {}
    with tempfile.TemporaryDirectory(prefix="bulwark-bench-") as name:
        folder = Path(name)
        answers(folder)
        # What this machine says itself is written down, and caches are warm. The check comes first, so that settings takes no lock.
        for way in PLAYS:
            played(way, 1, folder)
        print("what the controller spends; the nodes are stand-ins, whose answers cost nothing")
        for hosts in sizes:
            print(f"{hosts} hosts            wall     main     forks   CPU a host growth     main  largest fork")
            for way in PLAYS:
                used = played(way, hosts, folder)
                show(way, used, before.get(way))
                before[way] = used


if __name__ == "__main__":
    main()
