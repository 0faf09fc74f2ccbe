# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection on real machines, over ssh: Debian 11, 12 and 13 under systemd (see tests/hosts)."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.bulwark.node.tests.hosts import state
from ansible_collections.bulwark.node.tests.hosts.machine import Machine, Site, until

from .test_audit import CONTROLS, Fleet, Run

ROOT = Path(__file__).resolve().parents[2]
STATE = Path(state.__file__).read_text()


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path, closed_port=0)


def audit(fleet: Fleet, machines: dict[str, Machine], *arguments: str) -> Run:
    run = fleet.play(*arguments, **{machine.name: machine.variables() for machine in machines.values()})
    assert run.rc == 0
    return run


def state_of(machine: Machine) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(machine.run("python3", "-", stdin=STATE).stdout)
    return found


def differences(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """What is not the same, small enough to be read."""
    found = {}
    for part in before:
        if isinstance(before[part], dict):
            pairs = {key: (before[part].get(key), after[part].get(key)) for key in {*before[part], *after[part]}}
            found[part] = [(key, *pair) for key, pair in sorted(pairs.items()) if pair[0] != pair[1]]
        else:
            found[part] = sorted(set(before[part]) ^ set(after[part]))
    return {part: what for part, what in found.items() if what}


def test_the_audit_knows_all_releases(fleet: Fleet, machines: dict[str, Machine]) -> None:
    run = audit(fleet, machines)
    made = run.report()
    assert made["summary"]["hosts"] == len(machines)
    for version, machine in machines.items():
        row = made["hosts"][machine.name]
        assert (row["status"], row["reason"]) == ("ok", None)
        facts = row["facts"]
        assert facts["errors"] == []
        told = {key: facts["host"][key] for key in ("os_id", "os_version", "init", "container", "cgroup", "boot_id")}
        assert told == {
            "os_id": "debian",
            "os_version": version,
            "init": "systemd",
            "container": machine.run("systemd-detect-virt").stdout.strip(),
            "cgroup": "v2",
            "boot_id": machine.boot_id(),
        }
        assert machine.run("python3", "--version").stdout.startswith(f"Python {machine.python}.")
        assert {finding["control"] for finding in row["findings"]} >= CONTROLS
        assert not [finding for finding in row["findings"] if finding["status"] == "error"]


@pytest.mark.usefixtures("alone")
def test_a_second_audit_over_ssh_says_the_same(fleet: Fleet, machines: dict[str, Machine]) -> None:
    first, second = (audit(fleet, machines).report() for dummy in range(2))
    # How busy the machines are is another thing each time.
    judged = [
        {
            name: {each["control"]: each["status"] for each in row["findings"] if each["control"] != "memory-no-stall"}
            for name, row in made["hosts"].items()
        }
        for made in (first, second)
    ]
    assert judged[0] == judged[1]


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("version", ["11", "12", "13"])
def test_a_passive_audit_leaves_the_machine_as_it_was(fleet: Fleet, machines: dict[str, Machine], version: str) -> None:
    machine = machines[version]
    fleet.play(playbook=ping(fleet), **{machine.name: machine.variables()})
    before = state_of(machine)
    audit(fleet, {version: machine})
    assert differences(before, state_of(machine)) == {}


def ping(fleet: Fleet) -> str:
    """A playbook that does nothing: what a login and Ansible leave behind is there before the machine is looked at."""
    path = fleet.folder / "ping.yml"
    path.write_text("- hosts: all\n  gather_facts: false\n  tasks:\n    - ansible.builtin.ping:\n")
    return str(path)


# --- settings: of the real kernel, so that consent is asked for, and they are put back

HUGEPAGES = "/etc/tmpfiles.d/10-bulwark-hugepages.conf"
THP = "/etc/tmpfiles.d/10-bulwark-transparent-hugepages.conf"
MANIFEST = "/var/lib/bulwark/manifest.json"
POOL = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
DEFRAG = Path("/sys/kernel/mm/transparent_hugepage/defrag")


@pytest.fixture
def writable(site: Site, kernel: None) -> Iterator[Machine]:
    """A machine that may set the pages of this one, which are put back."""
    if not (POOL.exists() and DEFRAG.exists()):
        pytest.skip("hardware: this kernel has no hugepages of 2 MiB, or no transparent ones")
    pages, defrag = POOL.read_text(), DEFRAG.read_text().partition("[")[2].partition("]")[0]
    machine = site.machine("12", "writable", ["/sys/kernel/mm", "/sys/devices/system/node"])
    machine.start()
    machine.wait()
    yield machine
    machine.close()
    POOL.write_text(pages)
    DEFRAG.write_text(defrag)


def play(fleet: Fleet, machine: Machine, *tasks: dict[str, Any]) -> Run:
    playbook = fleet.folder / "tasks.yml"
    playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    return fleet.play(playbook=str(playbook), **{machine.name: machine.variables()})


def hugepages(count: int) -> dict[str, Any]:
    return {"bulwark.node.hugepages": {"pools": [{"size": "2M", "count": count}]}}


def test_what_was_persisted_is_applied_by_a_real_reboot(fleet: Fleet, writable: Machine) -> None:
    tasks = [hugepages(8), {"bulwark.node.transparent_hugepages": {"defrag": "defer+madvise"}}]
    assert play(fleet, writable, *tasks).rc == 0
    assert POOL.read_text() == "8\n"
    assert "[defer+madvise]" in DEFRAG.read_text()
    assert writable.path(HUGEPAGES).exists()
    assert writable.path(THP).exists()
    # The kernel lives on through this reboot. Forgotten there, they can only come back from the machine's disk.
    POOL.write_text("0")
    DEFRAG.write_text("never")
    booted = writable.boot_id()
    run = play(fleet, writable, {"ansible.builtin.reboot": {"reboot_timeout": 60}})
    assert run.rc == 0
    assert writable.boot_id() != booted
    assert writable.running
    assert POOL.read_text() == "8\n"
    assert "[defer+madvise]" in DEFRAG.read_text()
    again = play(fleet, writable, *tasks)
    assert again.rc == 0
    assert "changed=0" in again.stdout


@pytest.mark.parametrize(
    ("persisted", "watched"), [(None, "/var/lib/bulwark"), (4, "/etc/tmpfiles.d")], ids=["first-run", "second-run"]
)
def test_a_power_cut_in_the_middle_leaves_files_old_or_new(
    fleet: Fleet, writable: Machine, persisted: int | None, watched: str
) -> None:
    if persisted is not None:
        assert play(fleet, writable, hugepages(persisted)).rc == 0
    old = persistent(writable)
    with ThreadPoolExecutor() as pool:
        running = pool.submit(play, fleet, writable, hugepages(6))
        wait_for_change(writable.path(watched), running)
        writable.kill()
        cut = persistent(writable)
        assert running.result().rc != 0, "the module had ended before"
    # Nothing that tmpfiles.d(5) would take for another file of ours.
    assert {path.name for path in writable.path("/etc/tmpfiles.d").glob("*.conf")} <= {Path(HUGEPAGES).name}
    writable.start()
    writable.wait()
    assert writable.run("systemctl", "is-active", "systemd-tmpfiles-setup").stdout == "active\n"
    assert play(fleet, writable, hugepages(6)).rc == 0
    new = persistent(writable)
    assert old != new
    assert cut[HUGEPAGES] in (old[HUGEPAGES], new[HUGEPAGES])
    # It grows by each change before that is made: whole at any moment, and never behind.
    recorded = json.loads(cut[MANIFEST] or b"{}")
    if cut[HUGEPAGES] is not None:
        assert HUGEPAGES in recorded["files"]


def persistent(machine: Machine) -> dict[str, bytes | None]:
    """What the module hugepages keeps on the disk."""
    paths = {name: machine.path(name) for name in (HUGEPAGES, MANIFEST)}
    return {name: path.read_bytes() if path.exists() else None for name, path in paths.items()}


def wait_for_change(folder: Path, running: Future[Run]) -> None:
    """Return at the first moment that a name in the folder comes, goes or stands for another file."""

    def names() -> dict[str, int]:
        with suppress(FileNotFoundError):
            return {entry.name: entry.inode() for entry in os.scandir(folder)}
        return {}

    before = names()
    while names() == before:
        assert not running.done(), f"the run ended and had written nothing to {folder}"


# --- the newest ansible-core as the controller: a machine with the collection's tarball and no checkout


def test_the_newest_core_audits_from_a_machine_that_has_only_the_tarball(machines: dict[str, Machine]) -> None:
    controller = machines["13"]
    tarball = built()
    lend_key(controller)
    controller.path("/opt/collection.tar.gz").write_bytes(tarball.read_bytes())
    ansible = "/opt/ansible/bin/ansible"
    controller.run(f"{ansible}-galaxy", "collection", "install", "--offline", "/opt/collection.tar.gz")
    controller.write("/root/hosts.ini", "".join(f"{machine.inventory()}\n" for machine in machines.values()))
    done = controller.run(
        *(f"{ansible}-playbook", "bulwark.node.audit", "-i", "/root/hosts.ini", "-e", "audit_report_dir=/root/report"),
        timeout=120,
    )
    core = re.search(r"core (\d+)\.(\d+)", controller.run(ansible, "--version").stdout)
    assert core is not None
    assert (int(core[1]), int(core[2])) >= (2, 21)
    assert "[DEPRECATION WARNING]" not in done.stdout + done.stderr
    hosts = json.loads(controller.path("/root/report/report.json").read_text())["hosts"]
    assert {name: row["status"] for name, row in hosts.items()} == {name.name: "ok" for name in machines.values()}
    for version, machine in machines.items():
        assert hosts[machine.name]["facts"]["host"]["os_version"] == version
        assert {finding["control"] for finding in hosts[machine.name]["findings"]} >= CONTROLS


def built() -> Path:
    """The tarball that ``make build`` makes of this checkout."""
    subprocess.run(["make", "build"], cwd=ROOT, check=True, capture_output=True, timeout=120)
    version = yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]
    return ROOT / "dist" / f"bulwark-node-{version}.tar.gz"


def lend_key(controller: Machine) -> None:
    """Let the machine log in to all machines of the site, as this one does."""
    site = controller.site
    controller.run("mkdir", "-p", "-m", "0700", str(site.folder))
    for path in (site.key, site.known_hosts):
        controller.run("install", "-m", "0600", "/dev/stdin", str(path), stdin=path.read_text())


# --- hostile names

EVIL = "\x1b[31m\x1b]0;owned\x07 ]{{ 1 / 0 }}["
# systemd takes these escapes for the name of a unit, and the kernel all but white space, slashes and colons for a link's.
EVIL_UNIT = r"evil\x0a\x1b\x5b31m.service"
EVIL_LINK = "\x1b[31m]){{x}}"
# A process names itself and its arguments, in any bytes. The first seems to be a kubelet.
EVIL_PROCESSES = {
    "evil-kubelet": r"""
import os
os.execv("/srv/evil/kubelet", [b"kubelet", b"-c", b"import time; time.sleep(300)", b"--config=/\n\x1b[31m\xff{{ 1 / 0 }}"])
""",
    "evil-name": r"""
import time
open("/proc/self/comm", "wb").write(b"k\n) R 1 \x1b[2J\xff]")
time.sleep(300)
""",
}


@pytest.fixture
def evil(machines: dict[str, Machine]) -> Iterator[Machine]:
    """A machine with a unit, a link and processes of hostile names, which is cleaned afterwards."""
    machine = machines["12"]
    machine.write(
        f"/etc/systemd/system/{EVIL_UNIT}", f"[Unit]\nDescription={EVIL}\n[Service]\nExecStart=/bin/sleep 300\n"
    )
    machine.path("/srv/evil").mkdir()
    machine.path("/srv/evil/kubelet").symlink_to("/usr/bin/python3")
    try:
        machine.run("ip", "link", "add", "name", EVIL_LINK, "type", "bridge")
        machine.run("systemctl", "start", EVIL_UNIT)
        for name, source in EVIL_PROCESSES.items():
            machine.run("systemd-run", "--quiet", f"--unit={name}", "python3", "-c", source)
        yield machine
    finally:
        machine.run("systemctl", "stop", EVIL_UNIT, *EVIL_PROCESSES, check=False)
        machine.run("ip", "link", "delete", EVIL_LINK, check=False)
        machine.path(f"/etc/systemd/system/{EVIL_UNIT}").unlink()
        machine.path("/srv/evil/kubelet").unlink()
        machine.path("/srv/evil").rmdir()
        machine.run("systemctl", "daemon-reload")


def test_hostile_names_on_a_machine_harm_nothing(fleet: Fleet, machines: dict[str, Machine], evil: Machine) -> None:
    names = ("k\n) R 1 \x1b[2J\udcff]", "--config=/\n\x1b[31m\udcff", EVIL_LINK)
    assert until(lambda: all(name in names_on(evil) for name in names), timeout=10)
    run = audit(fleet, machines)
    assert evil.run("systemctl", "is-active", EVIL_UNIT, *EVIL_PROCESSES).stdout == "active\n" * 3
    assert set(run.statuses().values()) == {"ok"}
    assert run.report()["hosts"][evil.name]["facts"]["errors"] == []
    table = run.stdout[run.stdout.index("HOST ") : run.stdout.index("Report: ")]
    assert table.replace("\n", "").isprintable()
    assert run.path.read_bytes().isascii()


def names_on(machine: Machine) -> str:
    """The names that its processes and links gave themselves."""
    return machine.run("sh", "-c", "cat /proc/[0-9]*/comm /proc/[0-9]*/cmdline 2>/dev/null; ls /sys/class/net").stdout


# --- the machines themselves

ORPHAN = """
import os, signal
from ansible_collections.bulwark.node.tests.hosts.machine import Site
site = Site()
machine = site.machine("11")
machine.start()
machine.wait()
print(site.slot, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.usefixtures("site")
def test_the_machines_of_a_killed_test_run_die_with_it() -> None:
    killed = subprocess.run([sys.executable, "-c", ORPHAN], capture_output=True, text=True, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    slot = killed.stdout.strip()
    # Only what bears the slot's name is left for the next run to sweep: no process is in its cgroup.
    assert until(lambda: not [group for group in cgroups() if group.startswith(f"/bulwark-hosts-{slot}/")], timeout=10)
    with Site() as swept:
        assert swept.slot == int(slot)
        assert swept.machines == []
    assert not Path(f"/run/bulwark-hosts-{slot}").exists()
    assert not Path(f"/sys/class/net/bwhosts{slot}").exists()


def cgroups() -> set[str]:
    """Those that processes of this machine are in."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cgroup"):
        with suppress(OSError):  # it ended
            found |= {row.split(":", 2)[2] for row in path.read_text().splitlines()}
    return found


def test_a_disk_outlives_stop_and_power_cut_and_each_boot_has_its_own_id(site: Site) -> None:
    machine = site.machine("11", "phoenix")
    boots = set()
    for end in (machine.stop, machine.kill, machine.close):
        machine.start()
        machine.wait()
        boots.add(machine.boot_id())
        assert machine.run("cat", "/etc/machine-id").stdout.strip() == machine.machine_id
        machine.run("sh", "-c", "echo booted >>/var/lib/boots; touch /run/volatile")
        assert machine.path("/var/lib/boots").read_text() == "booted\n" * len(boots)
        end()
        assert not machine.running
    assert len(boots) == 3
