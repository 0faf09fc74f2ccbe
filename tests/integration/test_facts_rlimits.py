# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The subset rlimits on this very machine, beside prlimit(1) and systemd's own reading of unit files."""

from __future__ import annotations

import os
import random
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import rlimits
from ansible_collections.bulwark.node.plugins.module_utils.node.unit_files import UnitFiles, manager_settings
from ansible_collections.bulwark.node.tests.hosts.machine import Machine

from .conftest import Module, facts_over_ssh, tool

SYSTEMD = Path("/lib/systemd/systemd")
NOBODY = "65534"
FOLDERS = ("etc/systemd/system", "run/systemd/system", "usr/lib/systemd/system")
UNITS = ("web.service", "web-front.service", "web-front-cache.service", "db@main.service", "web-db@one.service")
ALIASES = {"www.service": "web.service", "www-front.service": "web-front.service"}


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process whose name is hostile, and whose limits are its own."""
    script = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (333, 777))\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        "resource.setrlimit(resource.RLIMIT_RTTIME, (5000, 123456))\n"
        "open('/proc/self/comm', 'w').write('a) \\n\\x1b[31m{x')\n"
        "print(flush=True)\n"
        "sys.stdin.read()\n"
    )
    child = subprocess.Popen(["/usr/bin/python3", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    yield child
    child.communicate()


def test_a_process_has_the_limits_that_prlimit_shows(module: Module, sleeper: subprocess.Popen[bytes]) -> None:
    prlimit = tool("prlimit")
    options = {"gather_subset": ["rlimits"], "rlimits_of": ["a) \n\x1b[31m{x"]}
    facts = module("node_facts", options)["ansible_facts"]["bulwark"]
    assert facts["errors"] == []
    (mine,) = (process for process in facts["rlimits"]["processes"] if process["pid"] == sleeper.pid)
    assert mine["name"] == "a) \n\x1b[31m{x"
    shown = subprocess.run(
        [prlimit, "--pid", str(sleeper.pid), "--raw", "--noheadings", "-o", "RESOURCE,SOFT,HARD"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    theirs = {name.lower(): (soft, hard) for name, soft, hard in map(str.split, shown.splitlines())}
    assert {name: (str(limit["soft"]), str(limit["hard"])) for name, limit in mine["limits"].items()} == theirs
    assert (mine["limits"]["nofile"]["soft"], mine["limits"]["nofile"]["hard"]) == (333, 777)


def test_the_ceilings_are_those_of_sysctl(module: Module) -> None:
    facts = module("node_facts", {"gather_subset": ["rlimits"]})["ansible_facts"]["bulwark"]["rlimits"]["ceilings"]
    names = {
        "nr_open": "fs.nr_open",
        "file_max": "fs.file-max",
        "threads_max": "kernel.threads-max",
        "pid_max": "kernel.pid_max",
    }
    theirs = {ours: int(sysctl(name)) for ours, name in names.items()}
    assert {name: facts[name] for name in names} == theirs
    assert facts["inotify"] == {name: int(sysctl(f"fs.inotify.{name}")) for name in facts["inotify"]}
    assert 0 < facts["file_nr"] <= facts["file_max"]


def sysctl(name: str) -> str:
    return subprocess.run([tool("sysctl"), "-n", name], capture_output=True, text=True, timeout=60, check=True).stdout


def some_text(dice: random.Random, section: str, prefix: str) -> str:
    """A file of ours, or of a careless administrator."""
    values = {
        "NOFILE": (
            "1024:524288",
            "infinity",
            "65536",
            "2048:1024",
            "",
            "0x10",
            "12:infinity",
            "1:2:3",
            " 77 ",
            "9 # no",
        ),
        "MEMLOCK": ("64M", "1.5G", "1G512M", "infinity", "8192:16M", "5X", "100 K", "512B", "-1"),
        "CPU": ("90", "1min 30s", "1ms", "infinity", "2h:3h", "5parsec", "1.5s"),
        "RTTIME": ("200ms", "5", "1s:2s", "100us"),
        "NICE": ("+5", "-5", "15", "-21", "+19:-20"),
        "CORE": ("0", "infinity", "0:infinity"),
    }
    lines = []
    for name in dice.choices(sorted(values), k=dice.randint(0, 5)):
        lines.append(f"{prefix}{name}={dice.choice(values[name])}")
        lines.append(
            dice.choice(
                ["", "# LimitNOFILE=3", "; LimitCPU=3", f"{prefix}NOFILE=\\\n  4096", f"{prefix}CORE = 7", "Junk"]
            )
        )
    head = dice.choice(
        [f"[{section}]", f"[Unit]\nDescription=x\n[{section}]", f"\n[{section}]", "[Unit]\nLimitNOFILE=5"]
    )
    return "\n".join([head, *lines, ""])


def plant(root: Path, dice: random.Random) -> None:
    """Units, templates, drop-ins of each kind and aliases."""
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True)
    for unit in UNITS:
        fragment = re.sub("@.*\\.", "@.", unit)
        for folder in dice.sample(FOLDERS, dice.randint(1, 2)):
            (root / folder / fragment).write_text(
                f"{some_text(dice, 'Service', 'Limit')}\n[Service]\nExecStart=/bin/true\n"
            )
    for alias, unit in ALIASES.items():
        (root / FOLDERS[0] / alias).symlink_to(next(f"/{f}/{unit}" for f in FOLDERS if (root / f / unit).exists()))
    names = [
        *UNITS,
        *ALIASES,
        "db@.service",
        "web-.service",
        "web-front-.service",
        "web-db@.service",
        "web-@one.service",
        "service",
    ]
    for folder in dice.choices(FOLDERS, k=25):
        path = root / folder / f"{dice.choice(names)}.d" / dice.choice(["10-a.conf", "50-b.conf", "9.conf", "no.txt"])
        path.parent.mkdir(exist_ok=True)
        if dice.random() < 0.15:
            path.unlink(missing_ok=True)
            path.symlink_to("/dev/null")
        elif not path.is_symlink():
            path.write_text(some_text(dice, "Service", "Limit"))
    wants = "".join(f"Wants={unit}\n" for unit in UNITS)
    (root / FOLDERS[0] / "all.target").write_text(f"[Unit]\n{wants}")
    for folder in ("etc/systemd", "run/systemd"):
        (root / folder / "system.conf.d").mkdir()
        for name in dice.sample(["10-a.conf", "50-b.conf", "no.txt"], 2):
            (root / folder / "system.conf.d" / name).write_text(some_text(dice, "Manager", "DefaultLimit"))
        # What systemd reads under --test, whatever it is to test.
        (root / folder / "user.conf").symlink_to("system.conf")
        (root / folder / "user.conf.d").symlink_to("system.conf.d")
    (root / "etc/systemd/system.conf").write_text(some_text(dice, "Manager", "DefaultLimit"))


def dumped(root: Path) -> dict[str, dict[str, tuple[str, str]]]:
    """The limits of each unit as systemd itself reads the tree: {unit: {limit: (soft, hard)}}."""
    shell = (
        f"mount --bind {root}/usr/lib/systemd/system /usr/lib/systemd/system\n"
        "mount -t tmpfs tmpfs /run\nmkdir /run/systemd\n"
        f"mount --bind {root}/run/systemd /run/systemd\n"
        f"mount --bind {root}/etc/systemd /etc/systemd\n"
        f"exec setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups "
        f"prlimit --nofile=1024:20000 env -i {SYSTEMD} --test --system --unit=all.target\n"
    )
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", shell], capture_output=True, text=True, timeout=120, check=False
    )
    assert "-> Unit all.target" in done.stdout, done.stdout[-500:] + done.stderr[-2000:]
    found = {}
    for block in done.stdout.split("\t-> Unit ")[1:]:
        unit = block.partition(":\n")[0]
        pairs = dict(re.findall(r"^\t+Limit([A-Z]+(?:Soft)?): ([0-9]+)$", block, re.MULTILINE))
        found[unit] = {
            name.lower(): (pairs[f"{name}Soft"], hard) for name, hard in pairs.items() if not name.endswith("Soft")
        }
    return found


def text(value: Any) -> str:
    return str((1 << 64) - 1) if value == "unlimited" else str(value)


@pytest.mark.parametrize("seed", range(12))
def test_unit_files_are_read_as_systemd_reads_them(seed: int) -> None:
    if not SYSTEMD.exists() or os.geteuid() != 0:
        pytest.skip("it takes systemd and root")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        root = Path(name)
        root.chmod(0o755)
        plant(root, random.Random(seed))
        theirs = dumped(root)
        host = Host(name)
        files = UnitFiles(host)
        defaults = rlimits.configured(manager_settings(host), "DefaultLimit")
        for unit in UNITS:
            ours = {**defaults, **rlimits.configured(files.settings(unit), "Limit")}
            for limit, found in ours.items():
                assert theirs[unit][limit] == (text(found.soft), text(found.hard)), (unit, limit, found)
            # What systemd gives of itself where no file says anything.
            assert set(theirs[unit]) - set(ours) <= {"nofile", "memlock"}, unit


@pytest.mark.parametrize("version", ["11", "12", "13"])
def test_a_service_has_the_limits_that_systemctl_shows(machines: dict[str, Machine], version: str) -> None:
    machine, dropin = machines[version], "/etc/systemd/system/ssh.service.d/limits.conf"

    def restarted() -> dict[str, Any]:
        """The facts of the daemon that listens, after a restart by the unit as it is now."""
        machine.run("systemctl", "daemon-reload")
        machine.run("systemctl", "restart", "ssh.service")
        processes = facts_over_ssh(machine, "rlimits")["processes"]
        found: list[dict[str, Any]] = [row["limits"] for row in processes if row["unit"] == "ssh.service"]
        assert len(found) == 1
        return found[0]

    machine.write(dropin, "[Service]\nLimitNOFILE=4096:8192\nLimitCORE=0\n")
    try:
        limits = restarted()
        shown = dict(line.split("=", 1) for line in machine.run("systemctl", "show", "ssh.service").stdout.splitlines())
        theirs = {
            name: {kind: shown[f"Limit{name.upper()}{suffix}"] for kind, suffix in (("soft", "Soft"), ("hard", ""))}
            for name in limits
        }
        ours = {
            name: {kind: str(limit[kind]).replace("unlimited", "infinity") for kind in ("soft", "hard")}
            for name, limit in limits.items()
        }
        assert ours == theirs
        assert (limits["nofile"]["soft"], limits["nofile"]["hard"]) == (4096, 8192)
        assert (limits["nofile"]["source"], limits["core"]["source"]) == ("unit", "unit")
    finally:
        machine.path(dropin).unlink()
        machine.path(dropin).parent.rmdir()
    assert restarted()["nofile"]["source"] != "unit"
