# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module rlimit on a tree whose systemd and whose processes answer: options, plans, owners, ceilings, the way back."""

from __future__ import annotations

import itertools
import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.converge import Result, converge
from ansible_collections.bulwark.node.plugins.module_utils.errors import (
    BulwarkError,
    HostError,
    Interrupted,
    OptionError,
    OwnerError,
    UnmetError,
)
from ansible_collections.bulwark.node.plugins.module_utils.host import Completed
from ansible_collections.bulwark.node.plugins.module_utils.node import rlimit_options
from ansible_collections.bulwark.node.plugins.module_utils.node.rlimit import Rlimit
from ansible_collections.bulwark.node.plugins.module_utils.node.rlimit_processes import Prlimit
from ansible_collections.bulwark.node.plugins.module_utils.node.rlimits import LIMITS, Limit, configured, limits_of
from ansible_collections.bulwark.node.plugins.module_utils.node.unit_files import UnitFiles, manager_settings
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import (
    MANIFEST,
    FakeKernel,
    WriteFault,
    different,
    failure,
    lay,
    load,
    snapshot,
)

BOOT = "0b9c6d1e-2f3a-4b5c-8d7e-9f0a1b2c3d4e"
UNLIMITED = "unlimited"
PAM = "/etc/security/limits.d/95-bulwark-rlimit.conf"
MANAGER = "/etc/systemd/system.conf.d/95-bulwark-rlimit.conf"
UNIT = "/etc/systemd/system/containerd.service.d/95-bulwark-rlimit.conf"
SYSCTL = "/etc/sysctl.d/90-bulwark-rlimit.conf"
NR_OPEN = "/proc/sys/fs/nr_open"
MADE_BY_US = {"/var", "/var/lib", "/var/lib/bulwark"}
HEADER = "# Written by the bulwark.node collection; its module rlimit adds and removes lines here. See "
ALL_CAPS = "000001ffffffffff"
WITHOUT_SYS_RESOURCE = "000001fffeffffff"


def table(**limits: tuple[Any, Any]) -> str:
    """A /proc/pid/limits."""
    default = {"nofile": (1024, 524288), "memlock": (8388608, 8388608), "nice": (0, 0), "rtprio": (0, 0)}
    rows = ["Limit                     Soft Limit           Hard Limit           Units     "]
    for name, title in LIMITS.items():
        soft, hard = {**default, **limits}.get(name, (UNLIMITED, UNLIMITED))
        rows.append(f"{title:<26}{soft:<21}{hard:<21}units")
    return "\n".join(rows)


def process(
    pid: int, name: str, unit: str = "", ticks: int = 4000, parent: int = 1, nested: bool = False, **limits: Any
) -> dict[str, str]:
    numbers = f"{pid}\t1" if nested else f"{pid}"
    return {
        f"/proc/{pid}/comm": name,
        f"/proc/{pid}/stat": f"{pid} ({name}) S {parent} 1 1 0 -1 4194560 1 0 0 0 10 5 0 0 20 0 20 0 {ticks} 100 200",
        f"/proc/{pid}/status": f"Uid:\t{os.geteuid()}\t0\t0\t0\nVmLck:\t      64 kB\nNSpid:\t{numbers}",
        f"/proc/{pid}/cgroup": f"0::/system.slice/{unit}" if unit else "0::/",
        f"/proc/{pid}/limits": table(**limits),
    }


FILES = {
    **process(1, "systemd", nofile=(1024, 1073741816)),
    **process(700, "containerd", "containerd.service"),
    **process(701, "containerd-shim", "containerd.service", parent=700),
    **process(702, "containerd", "containerd.service", nested=True),
    **process(800, "cron", "cron.service"),
    **process(900, "app", ticks=5000),
    **process(901, "app", ticks=5001, nofile=(333, 777)),
    "/proc/900/fd/512": "",
    "/proc/sys/fs/nr_open": "1048576",
    "/proc/sys/fs/file-max": "9223372036854775807",
    "/proc/sys/kernel/threads-max": "192731",
    "/proc/sys/kernel/pid_max": "4194304",
    "/proc/self/status": f"CapEff:\t{ALL_CAPS}",
    "/etc/passwd": "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh",
    "/etc/security/limits.conf": "# nothing",
    "/etc/pam.d/sshd": "session required pam_limits.so",
    "/etc/pam.d/login": "session required pam_limits.so",
    "/etc/systemd/system.conf": "[Manager]\n#DefaultLimitCPU=",
    "/usr/lib/systemd/system/containerd.service": "[Service]\nExecStart=/usr/bin/containerd\nLimitNPROC=infinity\nLimitCORE=infinity",
    "/usr/lib/systemd/system/cron.service": "[Service]\nExecStart=/usr/sbin/cron",
    "/usr/lib/systemd/system/web@.service": "[Service]\nExecStart=/usr/bin/web",
    "/usr/lib/systemd/system/data.mount": "[Mount]\nWhat=/dev/x",
}


@dataclass
class FakeSystemd(FakeKernel):
    """A tree in which systemctl answers as systemd would, and prlimit(2) as the kernel.

    ``mains`` are the main processes, ``ignores`` units whose program sets its limits itself, ``fails`` those that do not start,
    ``slow`` what the process of a unit is called before it is the program, for so many looks.
    ``meanwhile`` runs in the middle of each prlimit(2).
    """

    mains: dict[str, int] = field(default_factory=lambda: {"containerd.service": 700, "cron.service": 800})
    ignores: set[str] = field(default_factory=set)
    fails: set[str] = field(default_factory=set)
    slow: dict[str, list[str]] = field(default_factory=dict)
    meanwhile: Callable[[int], None] = lambda pid: None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.reload()

    def reload(self) -> None:
        builtin = {name: Limit(UNLIMITED, UNLIMITED) for name in LIMITS}
        builtin |= {"nofile": Limit(1024, 524288), "memlock": Limit(8388608, 8388608)}
        builtin |= {"nice": Limit(0, 0), "rtprio": Limit(0, 0)}
        set_by = {
            name: Limit(one.soft, one.hard) for name, one in configured(manager_settings(self), "DefaultLimit").items()
        }
        self.defaults = {**builtin, **set_by}
        files = UnitFiles(self)
        self.loaded = {}
        for unit in [*self.mains, "data.mount"]:
            own = configured(files.settings(unit), "Limit")
            self.loaded[unit] = {**self.defaults, **{name: Limit(one.soft, one.hard) for name, one in own.items()}}

    def _command(self, command: list[str]) -> Completed:
        if command[0] != "systemctl":
            return super()._command(command)
        self.commands.append(command)
        units = command[command.index("--") + 1 :] if "--" in command else []
        if command[1] == "daemon-reload":
            self.reload()
        elif command[1] == "restart":
            for unit in units:
                if unit in self.fails and (self.read(UNIT) or self.fails == {"always", unit}):
                    return Completed(1, "", f"Job for {unit} failed.")
                if unit not in self.ignores and unit not in self.slow:
                    self._start(unit)
        elif command[1] == "show":
            for unit in self.slow.keys() & units:
                self._grow(unit)
            return Completed(0, self._show(units), "")
        return Completed(0, "", "")

    def _start(self, unit: str) -> None:
        limits = {name: (limit.soft, limit.hard) for name, limit in self.loaded[unit].items()}
        pid = self.mains[unit]
        Path(f"{self.root}/proc/{pid}/limits").write_text(f"{table(**limits)}\n")

    def _grow(self, unit: str) -> None:
        """A look at a unit that is slow to start."""
        if [command[1] for command in self.commands].count("restart"):
            name = self.slow[unit].pop(0) if self.slow[unit] else "program"
            Path(f"{self.root}/proc/{self.mains[unit]}/comm").write_text(f"{name}\n")
            if name == "program":
                self._start(unit)

    def _show(self, units: list[str]) -> str:
        def lines(limits: dict[str, Limit], prefix: str) -> str:
            found = ""
            for name, limit in limits.items():
                soft, hard = (str(value).replace(UNLIMITED, "infinity") for value in limit)
                found += f"{prefix}{name.upper()}={hard}\n{prefix}{name.upper()}Soft={soft}\n"
            return found

        if not units:
            return lines(self.defaults, "DefaultLimit")
        patterns = [unit.replace("*", ".*") for unit in units]
        blocks = []
        for unit, limits in self.loaded.items():
            if any(re.fullmatch(pattern, unit) for pattern in patterns):
                main = f"MainPID={self.mains[unit]}\n" if unit in self.mains else ""
                blocks.append(f"{main}Id={unit}\nNeedDaemonReload=no\n{lines(limits, 'Limit')}")
        return "\n".join(blocks)


class FakePrlimit(Prlimit):
    """The kernel's answer in a tree."""

    host: FakeSystemd

    def __init__(self, host: Any) -> None:
        super().__init__(host)
        self.host = host

    def _open(self, pid: int) -> int | None:
        return None

    def _call(self, pid: int, name: str, limit: Limit) -> Limit:
        with self.host._faulty("prlimit", str(pid), name):
            old = limits_of(self.host, pid)
            if not old:
                raise HostError(f"/proc/{pid}/limits", "cannot set: ESRCH", "ESRCH")
            new = {key: (value.soft, value.hard) for key, value in {**old, name: limit}.items()}
            Path(f"{self.host.root}/proc/{pid}/limits").write_text(f"{table(**new)}\n")
            self.host.meanwhile(pid)
            return old[name]


Make = Callable[..., FakeSystemd]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    count = itertools.count()

    def make(files: dict[str, str] | None = None, without: tuple[str, ...] = ()) -> FakeSystemd:
        root = tmp_path / str(next(count))
        lay(root, load("cgroup-v2-systemd"), {**FILES, **(files or {})}, without)
        if not without:
            for folder in ("etc/security/limits.d", "etc/sysctl.d"):
                (root / folder).mkdir(exist_ok=True)
        return FakeSystemd(str(root))

    return make


def params(**given: Any) -> dict[str, Any]:
    none = dict.fromkeys(("limits", "pam", "systemd_units", "processes"))
    no = dict.fromkeys(("systemd_manager", "raise_ceilings", "daemon_reload", "restart", "skip_missing_units"), False)
    return {**none, **no, "state": "present", **given}


def run(host: FakeSystemd, check: bool = False, **given: Any) -> Result:
    return converge(Rlimit(host, FakePrlimit), params(**given), check)


def pam(domain: str = "*", file: str = PAM) -> dict[str, str]:
    return {"domain": domain, "file": file}


def by(**given: Any) -> dict[str, Any]:
    return {"name": None, "unit": None, "pid": None, **given}


def nofile(soft: Any, hard: Any = None) -> dict[str, Any]:
    return {"nofile": soft if hard is None else {"soft": soft, "hard": hard}}


# --- options

EVERYWHERE: dict[str, Any] = {"pam": pam(), "systemd_manager": True, "systemd_units": ["containerd.service"]}


@pytest.mark.parametrize(
    ("name", "given", "limit"),
    [
        ("nofile", 65536, Limit(65536, 65536)),
        ("nofile", "65536", Limit(65536, 65536)),
        ("nofile", {"soft": 1000, "hard": "2000"}, Limit(1000, 2000)),
        *(("memlock", word, Limit(UNLIMITED, UNLIMITED)) for word in ("unlimited", "infinity", "-1", -1)),
        ("memlock", "64K", Limit(65536, 65536)),
        ("memlock", {"soft": "8M", "hard": "1GiB"}, Limit(8 << 20, 1 << 30)),
        ("memlock", {"soft": 0, "hard": -1}, Limit(0, UNLIMITED)),
        ("cpu", 60, Limit(60, 60)),
        ("nice", 40, Limit(40, 40)),
        ("rtprio", "99", Limit(99, 99)),
        ("rttime", 200000, Limit(200000, 200000)),
        ("core", 0, Limit(0, 0)),
    ],
)
def test_values_are_the_kernel_s(name: str, given: Any, limit: Limit) -> None:
    assert rlimit_options.desired(params(limits={name: given}, systemd_manager=True)).limits == {name: limit}


@pytest.mark.parametrize(
    ("given", "option", "expected"),
    [
        ({"pam": pam()}, "limits", "at least one limit"),
        ({"limits": {"nofile": None}, "pam": pam()}, "limits", "at least one limit"),
        ({"limits": nofile(1)}, "pam", "a target here"),
        ({"limits": nofile(1), "state": "absent"}, "limits", "without one all goes back"),
        ({"limits": nofile("x"), "pam": pam()}, "limits.nofile", "a number of 0 or more, or unlimited"),
        ({"limits": nofile(True), "pam": pam()}, "limits.nofile", "a number of 0 or more"),
        ({"limits": nofile(-2), "pam": pam()}, "limits.nofile", "a number of 0 or more"),
        ({"limits": nofile("1M"), "pam": pam()}, "limits.nofile", "a number of 0 or more"),
        ({"limits": nofile([1]), "pam": pam()}, "limits.nofile", "a number of 0 or more"),
        ({"limits": nofile(2, 1), "pam": pam()}, "limits.nofile.soft", "at most the hard limit, 1"),
        ({"limits": nofile("unlimited", 1), "pam": pam()}, "limits.nofile.soft", "at most the hard limit"),
        ({"limits": {"nofile": {"soft": 1}}, "pam": pam()}, "limits.nofile.hard", "soft and hard, or one value"),
        ({"limits": {"nofile": {"soft": 1, "hart": 1}}, "pam": pam()}, "limits.nofile.hart", "soft and hard alone"),
        ({"limits": {"memlock": "12X"}, "pam": pam()}, "limits.memlock", "a size such as"),
        ({"limits": {"memlock": -5}, "pam": pam()}, "limits.memlock", "a size such as 64M, or unlimited"),
        ({"limits": {"memlock": 1 << 63}, "systemd_manager": True}, "limits.memlock", "at most 9223372036854775807"),
        ({"limits": {"nice": 41}, "systemd_manager": True}, "limits.nice", "0 to 40, which is 20 less"),
        ({"limits": {"nice": -5}, "systemd_manager": True}, "limits.nice", "0 to 40, which is 20 less"),
        ({"limits": {"rtprio": 100}, "systemd_manager": True}, "limits.rtprio", "0 to 99"),
        *(
            ({"limits": nofile(1), "pam": pam(domain)}, "pam.domain", "a domain of limits.conf")
            for domain in ("", "a b", "a\nb", "#x", "@", "a:b", "-", "**", ":", "x\x1b")
        ),
        *(
            ({"limits": nofile(1), "pam": pam("*", file)}, "pam.file", "a file in /etc/security/limits.d")
            for file in (
                "/etc/security/limits.conf",
                "/etc/security/limits.d/x",
                "/etc/security/limits.d/../x.conf",
                "x.conf",
            )
        ),
        *(
            ({"limits": nofile(1), "systemd_units": [unit]}, "systemd_units[0]", "the full name")
            for unit in ("containerd", "x.scope", "x.slice", "../x.service", "a b.service", "x.timer")
        ),
        ({"limits": nofile(1), "systemd_units": ["cron.service"] * 2}, "systemd_units[1]", "each unit once"),
        ({"limits": nofile(1), "systemd_units": ["no.service"]}, "systemd_units[0]", "a unit of this machine"),
        ({"limits": nofile(1), "processes": [by()]}, "processes[0]", "one of name, unit and pid"),
        ({"limits": nofile(1), "processes": [by(name="x", pid=3)]}, "processes[0]", "one of name, unit and pid"),
        ({"limits": nofile(1), "processes": [by(pid=0)]}, "processes[0].pid", "the number of a process"),
        ({"limits": nofile(1), "processes": [by(name="")]}, "processes[0].name", "not empty"),
        ({"limits": nofile(1), "processes": [by(name="nobody")]}, "processes[0].name", "a process that runs"),
        ({"limits": nofile(1), "processes": [by(unit="no.service")]}, "processes[0].unit", "a process that runs"),
        ({"limits": nofile(1), "processes": [by(pid=900), by(pid=44)]}, "processes[1].pid", "a process that runs"),
        ({"limits": nofile(1), "processes": [by(pid=1)]}, "processes[0].pid", "another process: what PID 1 starts"),
        ({"limits": nofile(1), "restart": True, **EVERYWHERE}, "restart", "daemon_reload beside it"),
        (
            {
                "limits": nofile(1),
                "restart": True,
                "daemon_reload": True,
                "systemd_units": ["cron.service"],
                "processes": [by(unit="cron.service")],
            },
            "processes[0].unit",
            "another unit than restart ends",
        ),
        # what a target cannot say, or what no kernel gives
        ({"limits": {"memlock": 1000}, "pam": pam()}, "limits.memlock", "a multiple of 1024 beside pam"),
        ({"limits": {"cpu": 90}, "pam": pam()}, "limits.cpu", "a multiple of 60 beside pam"),
        ({"limits": {"nice": 0}, "pam": pam()}, "limits.nice", "1 to 40 beside pam"),
        ({"limits": {"nice": "unlimited"}, "pam": pam()}, "limits.nice", "1 to 40 beside pam"),
        ({"limits": {"rttime": 1}, "pam": pam()}, "limits.rttime", "no rttime beside pam"),
        ({"limits": nofile("unlimited"), "pam": pam()}, "limits.nofile", "a failed setrlimit can block logins"),
        ({"limits": nofile("unlimited"), "processes": [by(pid=900)]}, "limits.nofile", "no unlimited nofile"),
        (
            {"limits": nofile(1048577), "pam": pam()},
            "limits.nofile",
            "at most fs.nr_open, which is 1048576, or raise_ceilings",
        ),
        ({"limits": nofile(1, 1048577), "processes": [by(pid=900)]}, "limits.nofile", "or raise_ceilings beside it"),
        ({"limits": nofile(1 << 31), "pam": pam(), "raise_ceilings": True}, "limits.nofile", "at most 2147483584"),
        *(
            ({"limits": nofile(4096), "pam": pam(domain)}, "pam.domain", "a domain of limits.conf(5)")
            for domain in ("%", "%qemu")
        ),
    ],
)
def test_a_refused_option_is_named_with_what_is_expected_before_the_first_write(
    machine: Make, given: dict[str, Any], option: str, expected: str
) -> None:
    host = machine()
    before = snapshot(host)
    for check in (True, False):
        with pytest.raises(OptionError) as caught:
            run(host, check, **given)
        assert caught.value.details["option"] == option
        assert expected in caught.value.details["expected"]
    assert snapshot(host) == before


@pytest.mark.parametrize(
    "domain", ["*", "alice", "@qemu", "1000:1999", "1000:", ":1000", "@5:9", "svc_x.y", "DOM\\u", "a@b"]
)
def test_domains_of_all_forms_are_taken(domain: str) -> None:
    assert rlimit_options.desired(params(limits=nofile(4096), pam=pam(domain))).pam == rlimit_options.Pam(domain, PAM)


# --- files

ALL_LIMITS: dict[str, Any] = {
    "cpu": 3600,
    "fsize": "1G",
    "data": "unlimited",
    "stack": {"soft": "8M", "hard": "unlimited"},
    "core": 0,
    "rss": -1,
    "nproc": 4096,
    "nofile": {"soft": 65536, "hard": 524288},
    "memlock": "64M",
    "as": "infinity",
    "locks": 10,
    "sigpending": 100,
    "msgqueue": 819200,
    "nice": 25,
    "rtprio": 50,
    "rttime": 200000,
}


def test_all_limits_in_the_units_of_each_target(machine: Make) -> None:
    host = machine({"/usr/lib/x86_64-linux-gnu/security/pam_limits.so": "\x7fELF rtprio rttime"})
    run(host, limits=ALL_LIMITS, **EVERYWHERE)
    lines = (host.read(PAM) or "").splitlines()
    assert lines[0] == f"{HEADER}limits.conf(5)."
    hard = {line.split("\t")[2]: line.split("\t")[3] for line in lines[1:] if line.split("\t")[1] == "hard"}
    assert hard == {
        "cpu": "60",
        "fsize": "1048576",
        "data": UNLIMITED,
        "stack": UNLIMITED,
        "core": "0",
        "rss": UNLIMITED,
        "nproc": "4096",
        "nofile": "524288",
        "memlock": "65536",
        "as": UNLIMITED,
        "locks": "10",
        "sigpending": "100",
        "msgqueue": "819200",
        "nice": "-5",
        "rtprio": "50",
        "rttime": "200000",
    }
    assert "*\tsoft\tstack\t8192" in lines
    expected = [
        "CPU=3600:3600",
        "FSIZE=1073741824:1073741824",
        "DATA=infinity:infinity",
        "STACK=8388608:infinity",
        "CORE=0:0",
        "RSS=infinity:infinity",
        "NPROC=4096:4096",
        "NOFILE=65536:524288",
        "MEMLOCK=67108864:67108864",
        "AS=infinity:infinity",
        "LOCKS=10:10",
        "SIGPENDING=100:100",
        "MSGQUEUE=819200:819200",
        "NICE=25:25",
        "RTPRIO=50:50",
        "RTTIME=200000:200000",
    ]
    for path, section, prefix in ((MANAGER, "Manager", "DefaultLimit"), (UNIT, "Service", "Limit")):
        assert (host.read(path) or "").splitlines() == [
            f"{HEADER}systemd.exec(5).",
            f"[{section}]",
            *(prefix + line for line in expected),
        ]


def test_a_mount_has_its_own_section(machine: Make) -> None:
    host = machine()
    run(host, limits={"core": 0}, systemd_units=["data.mount"])
    assert "[Mount]\nLimitCORE=0:0\n" in (host.read("/etc/systemd/system/data.mount.d/95-bulwark-rlimit.conf") or "")


CASES: dict[str, dict[str, Any]] = {
    "pam": {"limits": nofile(4096), "pam": pam("@qemu")},
    "files": {"limits": {**nofile(65536, 524288), "memlock": "unlimited"}, **EVERYWHERE},
    "with reload": {"limits": nofile(65536), "daemon_reload": True, **EVERYWHERE},
    "with restart": {"limits": nofile(65536), "daemon_reload": True, "restart": True, **EVERYWHERE},
    "processes": {
        "limits": {**nofile(2000, 3000), "core": 0},
        "processes": [by(name="app"), by(unit="containerd.service")],
    },
    "ceiling": {"limits": nofile(2000000), "pam": pam(), "processes": [by(pid=900)], "raise_ceilings": True},
    "ceiling for a process alone": {"limits": nofile(2000000), "processes": [by(pid=900)], "raise_ceilings": True},
}


@pytest.mark.parametrize("case", CASES)
def test_check_mode_changes_nothing_and_foretells_the_run_which_a_second_run_leaves_alone(
    machine: Make, case: str
) -> None:
    host, given = machine(), CASES[case]
    untouched = snapshot(host)
    foretold = run(host, True, **given)
    assert snapshot(host) == untouched
    real = run(host, **given)
    assert foretold == real
    assert real.changed
    applied = snapshot(host)
    for check in (True, False):
        again = run(host, check, **given)
        assert (again.changed, again.changes, again.diff) == (False, (), ())
        assert again.verdict.restart_required == real.verdict.restart_required
    assert snapshot(host) == applied


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("named", [False, True])
def test_absent_gives_the_machine_back_as_it_was(machine: Make, case: str, named: bool) -> None:
    host, given = machine(), CASES[case]
    before = snapshot(host)
    run(host, **given)
    consent = {key: value for key, value in given.items() if key in ("daemon_reload", "restart")}
    wanted = {**given, "limits": None} if named else consent
    foretold = run(host, True, state="absent", **wanted)
    real = run(host, state="absent", **wanted)
    assert (foretold.changed, foretold.changes, foretold.after) == (True, real.changes, real.after)
    assert different(before, snapshot(host)) <= {"/var", "/var/lib", "/etc/systemd/system.conf.d"} - {
        "/etc/systemd/system.conf.d"
    }
    again = run(host, state="absent", **wanted)
    assert (again.changed, again.changes) == (False, ())


def test_a_file_keeps_the_lines_of_other_domains_and_of_other_limits(machine: Make) -> None:
    host = machine()
    run(host, limits={**nofile(1000), "core": 0}, pam=pam("*"))
    run(host, limits=nofile(2000), pam=pam("@qemu"))
    result = run(host, limits=nofile(3000), pam=pam("*"))
    assert (host.read(PAM) or "").splitlines()[1:] == [
        "*\thard\tcore\t0",
        "*\tsoft\tcore\t0",
        "*\thard\tnofile\t3000",
        "*\tsoft\tnofile\t3000",
        "@qemu\thard\tnofile\t2000",
        "@qemu\tsoft\tnofile\t2000",
    ]
    assert [entry["item"] for entry in result.after["pam"]["entries"]] == ["core", "core", "nofile", "nofile"]
    run(host, limits={"nofile": 7}, pam=pam("*"), state="absent")
    assert "*\thard\tcore\t0" in (host.read(PAM) or "")
    assert "*\thard\tnofile" not in (host.read(PAM) or "")
    run(host, pam=pam("*"), state="absent")
    assert (host.read(PAM) or "").splitlines()[1:] == ["@qemu\thard\tnofile\t2000", "@qemu\tsoft\tnofile\t2000"]


def test_a_drop_in_keeps_its_other_limits(machine: Make) -> None:
    host = machine()
    run(host, limits={**nofile(1000), "core": 0}, systemd_units=["containerd.service"])
    run(host, limits=nofile(2000, 3000), systemd_units=["containerd.service"])
    assert (host.read(UNIT) or "").splitlines()[1:] == ["[Service]", "LimitCORE=0:0", "LimitNOFILE=2000:3000"]
    run(host, limits={"core": 0}, systemd_units=["containerd.service"], state="absent")
    assert (host.read(UNIT) or "").splitlines()[1:] == ["[Service]", "LimitNOFILE=2000:3000"]


# --- PAM: who wins

LATER, EARLIER = "/etc/security/limits.d/99-late.conf", "/etc/security/limits.d/10-early.conf"


@pytest.mark.parametrize(
    ("file", "line", "domain", "outcome"),
    [
        (LATER, "* soft nofile 1", "*", "refused"),
        (LATER, "* - nofile 1", "*", "refused"),
        (LATER, "* - nofile 4096", "*", None),
        (LATER, "* - nofile 04096", "*", None),
        (LATER, "* soft nproc 1", "*", None),
        (EARLIER, "* soft nofile 1", "*", "wins over it"),
        ("/etc/security/limits.conf", "* soft nofile 1", "*", "wins over it"),
        (EARLIER, "alice soft nofile 1", "*", "for those of * that it names"),
        (LATER, "@qemu soft nofile 1", "*", "for those of * that it names"),
        (LATER, "root soft nofile 1", "*", None),
        (LATER, "* soft nofile 1", "alice", None),
        (LATER, "@qemu soft nofile 1", "alice", None),
        (LATER, "bob soft nofile 1", "alice", None),
        (LATER, "alice hard nofile unlimited", "alice", "refused"),
        (LATER, "1000:1999 soft nofile 1", "alice", "refused"),
        (LATER, ":1000 soft nofile 1", "alice", "refused"),
        (LATER, "2000:2999 soft nofile 1", "alice", None),
        (EARLIER, "1000:1999 soft nofile 1", "alice", "wins over it"),
        (LATER, "alice soft nofile 1", "1000:1999", "for those of 1000:1999"),
        (LATER, "@kvm soft nofile 1", "@qemu", "for those of @qemu"),
        (EARLIER, "@kvm soft nofile 1", "@qemu", None),
        (LATER, "%qemu soft nofile 1", "@qemu", None),
        (EARLIER, "alice -", "alice", "refused"),
        (EARLIER, "alice -", "*", "gives alice no limits at all, which wins"),
        (EARLIER, "@qemu -", "alice", "gives @qemu no limits at all, which wins"),
        (EARLIER, "bob -", "alice", None),
    ],
)
def test_which_line_of_another_file_wins(machine: Make, file: str, line: str, domain: str, outcome: str | None) -> None:
    host = machine({file: line, "/etc/passwd": f"{FILES['/etc/passwd']}\nbob:x:1500:1500::/:/bin/sh"} | {})
    if domain == "alice" and line.startswith("2000"):
        assert "bob" in (host.read("/etc/passwd") or "")
    given: dict[str, Any] = {"limits": nofile(4096), "pam": pam(domain)}
    before = snapshot(host)
    if outcome == "refused":
        with pytest.raises(OwnerError, match=re.escape(f"{file}:1 ")):
            run(host, True, **given)
        assert snapshot(host) == before
        return
    warnings = [text for text in run(host, **given).verdict.warnings if text.startswith(file)]
    assert bool(warnings) == (outcome is not None)
    assert not outcome or outcome in warnings[0]


def test_a_file_that_sorts_after_the_winner_is_the_way_out(machine: Make) -> None:
    host = machine({LATER: "* - nofile 1"})
    run(host, limits=nofile(4096), pam=pam("*", "/etc/security/limits.d/zz-bulwark.conf"))
    assert host.exists("/etc/security/limits.d/zz-bulwark.conf")
    run(host, state="absent")
    assert not host.exists("/etc/security/limits.d/zz-bulwark.conf")


def test_logins_without_pam_limits_are_named(machine: Make) -> None:
    given: dict[str, Any] = {"limits": nofile(4096), "pam": pam("alice")}
    assert run(machine(), **given).verdict.warnings == ()
    # What a login starts beside itself.
    user = {"/usr/lib/pam.d/systemd-user": "session required pam_limits.so"}
    with pytest.raises(BulwarkError, match=r"pam: no service of /etc/pam.d that logs in loads pam_limits.so"):
        run(machine({"/etc/pam.d/sshd": "", "/etc/pam.d/login": "", **user}), True, **given)
    (warning,) = run(machine({"/etc/pam.d/login": "session required pam_unix.so"}), **given).verdict.warnings
    assert warning.startswith("login does not use pam_limits")
    config = {"/etc/ssh/sshd_config": "usepam no\nUsePAM yes"}
    (warning,) = run(machine(config), **given).verdict.warnings
    assert warning.startswith("sshd does not use pam_limits")
    config["/etc/ssh/sshd_config.d/a.conf"] = "UsePAM yes"
    assert run(machine(config), **given).verdict.warnings == ()
    (warning,) = run(machine(), limits=nofile(4096), pam=pam("*")).verdict.warnings
    assert "not for root" in warning


@pytest.mark.parametrize(
    "target", [{"pam": pam("alice")}, {"systemd_manager": True}, {"systemd_units": ["cron.service"]}]
)
def test_what_pid_1_cannot_give_is_refused(machine: Make, target: dict[str, Any]) -> None:
    status = "/proc/1/status"
    wanted: dict[str, Any] = {"limits": {"memlock": 8388608 * 2}, **target}
    host = machine({status: f"{FILES[status]}\nCapEff:\t{WITHOUT_SYS_RESOURCE}"})
    before = snapshot(host)
    for check in (True, False):
        with pytest.raises(
            OptionError, match=r"limits.memlock: got 16777216, expected at most 8388608, the hard limit of PID 1"
        ):
            run(host, check, **wanted)
    assert snapshot(host) == before
    run(host, True, **{**wanted, "limits": {"memlock": 8388608}})
    # A live process is another's business, and with the capability there is no such bound.
    run(host, True, limits={"memlock": 8388608 * 2}, processes=[by(pid=900)])
    run(machine({status: f"{FILES[status]}\nCapEff:\t{ALL_CAPS}"}), True, **wanted)
    if "pam" not in target:
        run(host, True, limits={"nofile": UNLIMITED}, **target)


# --- systemd


def test_a_later_drop_in_of_another_wins_and_is_refused(machine: Make) -> None:
    late = "/run/systemd/system/containerd.service.d/99-late.conf"
    given: dict[str, Any] = {"limits": nofile(4096), "systemd_units": ["containerd.service"]}
    host = machine({late: "[Service]\nLimitNOFILE=1"})
    before = snapshot(host)
    with pytest.raises(OwnerError, match=rf"{late} sets LimitNOFILE=1:1 and wins over {UNIT}"):
        run(host, True, **given)
    assert snapshot(host) == before
    assert run(machine({late: "[Service]\nLimitNOFILE=4096"}), **given).changed
    early = late.replace("99", "10")
    (warning,) = run(machine({early: "[Service]\nLimitNOFILE=1"}), **given).verdict.warnings
    assert warning == f"{early} sets LimitNOFILE=1:1; {UNIT} wins over it"
    manager = "/run/systemd/system.conf.d/99.conf"
    with pytest.raises(OwnerError, match=rf"{manager} sets DefaultLimitNOFILE=1:2 and wins over {MANAGER}"):
        run(machine({manager: "[Manager]\nDefaultLimitNOFILE=1:2"}), limits=nofile(4096), systemd_manager=True)


def test_units_that_cannot_be_set_are_told_by_what_they_are(machine: Make) -> None:
    host = machine()
    os.symlink("/dev/null", f"{host.root}/etc/systemd/system/masked.service")
    os.symlink("/usr/lib/systemd/system/cron.service", f"{host.root}/etc/systemd/system/crond.service")
    for unit, expected in (("masked.service", "not masked"), ("crond.service", "cron.service, of which it is another")):
        with pytest.raises(OptionError, match=expected):
            run(host, True, limits=nofile(1), systemd_units=[unit])


def test_units_that_may_be_missing_are_left_out_and_the_others_are_set(machine: Make) -> None:
    host = machine()
    os.symlink("/dev/null", f"{host.root}/etc/systemd/system/masked.service")
    units = ["masked.service", "containerd.service", "none.service"]
    given: dict[str, Any] = {"limits": nofile(4096), "systemd_units": units, "skip_missing_units": True}
    foretold, result = run(host, True, **given), run(host, **given)
    assert [change.target for change in result.changes] == [UNIT]
    assert (foretold.changes, foretold.after) == (result.changes, result.after)
    assert [entry["unit"] for entry in result.after["systemd_units"]] == ["containerd.service"]
    assert not run(host, **given).changed
    nothing = run(host, limits=nofile(4096), systemd_units=["none.service"], skip_missing_units=True)
    assert (nothing.changed, nothing.after["systemd_units"]) == (False, [])


def test_without_systemd_no_unit_is_there_that_may_be_missing(machine: Make) -> None:
    host = machine(without=("/run",))
    (Path(host.root) / "run/systemd/system").rmdir()
    assert not run(host, limits=nofile(4096), systemd_units=["cron.service"], skip_missing_units=True).changed


def test_without_systemd_its_targets_are_refused_by_name(machine: Make) -> None:
    host = machine(without=("/run",))
    (Path(host.root) / "run/systemd/system").rmdir()
    for given, name in (
        ({"systemd_manager": True}, "systemd_manager"),
        ({"systemd_units": ["cron.service"]}, "systemd_units"),
    ):
        with pytest.raises(BulwarkError, match=rf"^{name}: systemd is not the service manager here$"):
            run(host, True, limits=nofile(4096), **given)
    assert not run(host, state="absent").changed


def test_nothing_is_reloaded_or_restarted_without_consent_and_a_second_run_still_says_what_is_needed(
    machine: Make,
) -> None:
    host = machine()
    for _dummy in range(2):
        result = run(host, limits=nofile(65536), systemd_units=["containerd.service"])
        assert result.verdict.disruptive == ()
        assert [entry["unit"] for entry in result.verdict.restart_required] == ["systemd", "containerd.service"]
        assert "nofile 1024:524288, its files say 65536:65536" in result.verdict.restart_required[1]["reason"]
    assert {command[1] for command in host.commands} == {"show"}
    result = run(host, limits=nofile(65536), systemd_units=["containerd.service"], daemon_reload=True)
    assert [entry["target"] for entry in result.verdict.disruptive] == ["systemd"]
    assert [entry["unit"] for entry in result.verdict.restart_required] == ["containerd.service"]
    result = run(host, limits=nofile(65536), systemd_units=["containerd.service"], daemon_reload=True, restart=True)
    assert [change.kind for change in result.changes] == ["restart"]
    assert [entry["target"] for entry in result.verdict.disruptive] == ["containerd.service"]
    assert result.verdict.restart_required == ()
    assert limits_of(host, 700)["nofile"] == Limit(65536, 65536)


@pytest.mark.parametrize("name", ["(containerd)", "systemd-executo", "systemd"])
@pytest.mark.parametrize("arguments", ["/sbin/init\0", ""])
def test_a_unit_s_process_is_looked_at_when_it_is_the_unit_s_program(
    machine: Make, name: str, arguments: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    host = machine({"/proc/1/cmdline": "/sbin/init\0", "/proc/700/cmdline": arguments})
    host.slow = {"containerd.service": [name, name]}
    run(host, limits=nofile(65536), systemd_units=["containerd.service"], daemon_reload=True, restart=True)
    assert limits_of(host, 700)["nofile"] == Limit(65536, 65536)


def test_a_process_that_becomes_another_while_it_is_looked_at_is_looked_at_again(
    machine: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    host = machine({"/proc/1/cmdline": "/sbin/init\0", "/proc/700/cmdline": "/sbin/init\0"})
    host.slow = {"containerd.service": ["systemd", "systemd-executo"]}
    read = host.read

    def becoming(path: str, *most: int) -> str | None:
        if path == "/proc/700/cmdline" and read("/proc/700/comm") == "systemd\n":
            host.write("/proc/700/comm", "systemd-executo\n")
            return "/usr/lib/systemd/systemd-executor\0"
        return read(path, *most)

    monkeypatch.setattr(host, "read", becoming)
    run(host, limits=nofile(65536), systemd_units=["containerd.service"], daemon_reload=True, restart=True)
    assert limits_of(host, 700)["nofile"] == Limit(65536, 65536)


def test_a_unit_that_is_never_its_program_is_waited_for_no_longer_than_bearable(
    machine: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    host = machine()
    host.slow = {"containerd.service": ["systemd-executo"] * 100}
    with pytest.raises(UnmetError, match=r"containerd.service: it was restarted, and its main process has {'nofile'"):
        run(host, limits=nofile(65536), systemd_units=["containerd.service"], daemon_reload=True, restart=True)


def test_the_manager_s_defaults_name_the_services_that_follow_them_and_restart_none(machine: Make) -> None:
    host = machine({"/etc/systemd/system/containerd.service.d/x.conf": "[Service]\nLimitNOFILE=1024:524288"})
    result = run(host, limits=nofile(65536), systemd_manager=True, daemon_reload=True, restart=True)
    assert [change.kind for change in result.changes] == ["file", "daemon_reload"]
    assert [entry["unit"] for entry in result.verdict.restart_required] == ["cron.service"]
    absent = run(host, systemd_manager=True, daemon_reload=True, state="absent")
    assert absent.verdict.restart_required == ()
    assert host.defaults["nofile"] == Limit(1024, 524288)


def test_a_template_is_for_all_its_instances(machine: Make) -> None:
    host = machine(process(850, "web", "web@a.service"))
    host.mains["web@a.service"] = 850
    host.reload()
    given: dict[str, Any] = {
        "limits": nofile(65536),
        "systemd_units": ["web@.service"],
        "daemon_reload": True,
        "restart": True,
    }
    result = run(host, **given)
    assert [change.target for change in result.changes if change.kind == "restart"] == ["web@a.service"]
    assert limits_of(host, 850)["nofile"] == Limit(65536, 65536)


def test_a_restart_that_fails_is_named_and_the_unit_is_back_with_its_old_files(machine: Make) -> None:
    host = machine()
    host.fails = {"containerd.service"}
    before = snapshot(host)
    with pytest.raises(HostError, match=r"systemctl restart -- containerd.service: returned 1 and said: Job for"):
        run(host, limits=nofile(65536), systemd_units=["containerd.service"], daemon_reload=True, restart=True)
    assert different(before, snapshot(host)) <= MADE_BY_US
    assert [command[1] for command in host.commands if command[1] != "show"] == [
        "daemon-reload",
        "restart",
        "daemon-reload",
        "reset-failed",
        "restart",
    ]
    assert host.loaded["containerd.service"]["nofile"] == Limit(1024, 524288)


def test_a_unit_that_does_not_come_back_is_named_as_not_undone(machine: Make) -> None:
    host = machine()
    host.fails = {"containerd.service", "always"}
    with pytest.raises(HostError) as caught:
        run(host, limits=nofile(65536), systemd_units=["containerd.service"], daemon_reload=True, restart=True)
    assert [item["what"] for item in caught.value.details["not_undone"]] == ["systemd"]


def test_a_program_that_sets_its_limits_itself_fails_the_restart_and_all_goes_back(machine: Make) -> None:
    host = machine()
    host.ignores = {"containerd.service"}
    before = snapshot(host)
    with pytest.raises(UnmetError, match="it was restarted, and its main process has"):
        run(host, limits=nofile(65536), systemd_units=["containerd.service"], daemon_reload=True, restart=True)
    assert different(before, snapshot(host)) <= MADE_BY_US


# --- live processes


def test_processes_by_name_unit_and_number(machine: Make) -> None:
    host = machine()
    result = run(host, limits=nofile(2000), processes=[by(name="app"), by(unit="containerd.service")])
    assert [one["pid"] for one in result.after["processes"]] == [700, 701, 900, 901]
    assert limits_of(host, 702)["nofile"] == Limit(1024, 524288), "a container's process"
    assert [change.target for change in result.changes][-1] == f"{BOOT} 901 5001 nofile"
    assert json.loads(host.read(MANIFEST) or "")["limits"][f"{BOOT} 901 5001 nofile"] == {
        "before": "333:777",
        "by": "rlimit",
    }
    assert run(host, limits=nofile(2000), processes=[by(pid=702)]).changed


def test_the_first_limits_are_given_back_whatever_came_between(machine: Make) -> None:
    host = machine()
    before = snapshot(host)
    run(host, limits=nofile(2000), processes=[by(pid=900)])
    run(host, limits=nofile(3000), processes=[by(pid=900)])
    run(host, limits={"core": 0}, processes=[by(pid=901)])
    run(host, limits=nofile(1), processes=[by(pid=900)], state="absent")
    assert limits_of(host, 900)["nofile"] == Limit(1024, 524288)
    assert limits_of(host, 901)["core"] == Limit(0, 0)
    run(host, state="absent")
    assert different(before, snapshot(host)) <= {"/var", "/var/lib"}


def test_entries_of_processes_that_have_ended_go_with_the_next_write(machine: Make) -> None:
    host = machine()
    run(host, limits=nofile(2000), processes=[by(name="app")])
    limits = Path(f"{host.root}/proc/901/stat")
    limits.write_text(limits.read_text().replace(" 5001 ", " 9999 "))
    assert not run(host, limits=nofile(2000), processes=[by(pid=900)]).changed
    result = run(host, limits={"core": 0}, processes=[by(pid=900)])
    assert [(change.kind, change.before) for change in result.changes][-1] == ("forget", [f"{BOOT} 901 5001 nofile"])
    assert sorted(json.loads(host.read(MANIFEST) or "")["limits"]) == [
        f"{BOOT} 900 5000 core",
        f"{BOOT} 900 5000 nofile",
    ]
    Path(f"{host.root}/proc/sys/kernel/random/boot_id").write_text("11111111-2f3a-4b5c-8d7e-9f0a1b2c3d4e\n")
    result = run(host, state="absent")
    assert [change.kind for change in result.changes] == ["forget"]
    assert not host.exists(MANIFEST)


def test_raising_a_hard_limit_takes_the_capability_not_the_user(machine: Make) -> None:
    host = machine({"/proc/self/status": f"CapEff:\t{WITHOUT_SYS_RESOURCE}"})
    before = snapshot(host)
    for hard in (524289, 100000):
        with pytest.raises(BulwarkError, match=r"nofile of process 900 \(app\).*takes CAP_SYS_RESOURCE"):
            run(host, True, limits=nofile(100, hard), processes=[by(pid=900)])
    assert snapshot(host) == before
    assert run(host, limits=nofile(2000, 524288), processes=[by(pid=900)]).changed
    stranger = process(950, "app2")
    stranger["/proc/950/status"] = "Uid:\t54321\t0\t0\t0\nNSpid:\t950"
    host = machine({"/proc/self/status": f"CapEff:\t{WITHOUT_SYS_RESOURCE}", **stranger})
    with pytest.raises(BulwarkError, match="CAP_SYS_RESOURCE"):
        run(host, True, limits=nofile(2000, 524288), processes=[by(pid=950)])


def test_a_limit_below_what_is_in_use_is_warned_of(machine: Make) -> None:
    files = {"/sys/fs/cgroup/system.slice/pids.max": "max", "/sys/fs/cgroup/system.slice/cron.service/pids.max": "55"}
    host = machine(files)
    wanted = {**nofile(512), "memlock": 4096, "nproc": 200}
    warnings = run(host, True, limits=wanted, processes=[by(pid=900), by(unit="cron.service")]).verdict.warnings
    assert [text for text in warnings if "(app)" in text] == [
        "process 900 (app) has file 512 open, and below nofile 512 can open no more",
        "process 900 (app) has 65536 bytes locked, and below memlock 4096 can lock no more",
    ]
    assert "process 800 (cron) is in a cgroup with pids.max 55, which nproc 200 does not help against" in warnings


def test_a_number_given_to_another_process_is_noticed_and_that_one_gets_its_limit_back(machine: Make) -> None:
    host = machine()

    def reuse(pid: int) -> None:
        for path, text in process(pid, "other", ticks=8888).items():
            if not path.endswith("/limits"):
                Path(f"{host.root}{path}").write_text(text + "\n")

    host.meanwhile = reuse
    with pytest.raises(
        HostError, match="the process ended meanwhile; another one of its number got its own limit back"
    ):
        run(host, limits=nofile(2000), processes=[by(pid=900)])
    assert limits_of(host, 900)["nofile"] == Limit(1024, 524288)
    assert not host.exists(MANIFEST)


def test_a_process_that_ends_in_the_middle_undoes_the_others(machine: Make) -> None:
    host = machine()

    def end(pid: int) -> None:
        if pid == 901:
            for path in Path(f"{host.root}/proc/901").iterdir():
                path.unlink()

    host.meanwhile = end
    with pytest.raises(HostError, match="/proc/901/limits: the process ended meanwhile") as caught:
        run(host, limits=nofile(2000), processes=[by(name="app")])
    assert limits_of(host, 900)["nofile"] == Limit(1024, 524288)
    assert caught.value.details["not_undone"] == []
    assert not host.exists(MANIFEST)


def test_processes_of_a_name_may_come_and_go_meanwhile(machine: Make) -> None:
    host = machine()

    def turn(pid: int) -> None:
        if pid != 900:
            return
        for path in Path(f"{host.root}/proc/901").iterdir():
            path.unlink()
        for name, text in process(955, "app", ticks=9999).items():
            where = Path(f"{host.root}{name}")
            where.parent.mkdir(exist_ok=True)
            where.write_text(text + "\n")

    host.meanwhile = turn
    result = run(host, limits=nofile(2000), pam=pam(), processes=[by(name="app")])
    assert result.changed
    assert limits_of(host, 900)["nofile"] == Limit(2000, 2000)
    assert limits_of(host, 955)["nofile"] == Limit(1024, 524288)
    assert result.verdict.unmet == ()
    assert "process 955 started meanwhile with nofile 1024:524288: run this again for it" in result.verdict.warnings
    assert host.exists(PAM)


def test_a_process_that_ended_before_its_turn_is_told(machine: Make) -> None:
    host = machine()
    with pytest.raises(HostError, match="the process that started at tick 1 has ended"):
        FakePrlimit(host).set(900, 1, "nofile", Limit(1, 1))
    assert limits_of(host, 900)["nofile"] == Limit(1024, 524288)


# --- ceilings


def test_a_ceiling_is_raised_first_persisted_where_files_need_it_and_goes_with_the_last_of_ours(machine: Make) -> None:
    host = machine()
    result = run(host, limits=nofile(2000000), pam=pam("alice"), processes=[by(pid=900)], raise_ceilings=True)
    assert [change.target for change in result.changes][:3] == [NR_OPEN, SYSCTL, PAM]
    assert host.read(NR_OPEN) == "2000000\n"
    assert "fs.nr_open = 2000000" in (host.read(SYSCTL) or "")
    run(host, limits=nofile(1200000), pam=pam("alice"), raise_ceilings=True)
    assert host.read(NR_OPEN) == "2000000\n", "never lowered"
    run(host, pam=pam("alice"), state="absent")
    assert host.read(NR_OPEN) == "2000000\n", "a process of ours still needs it"
    run(host, processes=[by(pid=900)], state="absent")
    assert host.read(NR_OPEN) == "1048576\n"
    assert not host.exists(SYSCTL)


def test_a_ceiling_raised_for_a_process_is_not_there_at_boot_for_logins(machine: Make) -> None:
    host = machine()
    run(host, limits=nofile(2000000), processes=[by(pid=900)], raise_ceilings=True)
    assert not host.exists(SYSCTL)
    with pytest.raises(OptionError, match=r"at most fs\.nr_open, which is 1048576 after the next boot"):
        run(host, limits=nofile(2000000), pam=pam("alice"))
    run(host, limits=nofile(2000000), pam=pam("alice"), raise_ceilings=True)
    assert "fs.nr_open = 2000000" in (host.read(SYSCTL) or "")


def test_a_sysctl_of_another_that_lowers_it_at_boot_is_refused_by_name(machine: Make) -> None:
    late = "/etc/sysctl.d/99-x.conf"
    given: dict[str, Any] = {"limits": nofile(2000000), "pam": pam("alice"), "raise_ceilings": True}
    with pytest.raises(OwnerError, match=f"{late} sets fs.nr_open to 1048576 and wins"):
        run(machine({late: "fs.nr_open = 1048576"}), True, **given)
    host = machine({late: "fs.nr_open = 3000000"})
    run(host, **given)
    assert not host.exists(SYSCTL)


def test_a_ceiling_that_others_need_stays(machine: Make) -> None:
    host = machine()
    run(host, limits=nofile(2000000), pam=pam("alice"), raise_ceilings=True)
    Path(f"{host.root}/etc/security/limits.conf").write_text("bob hard nofile 1500000\n")
    result = run(host, state="absent")
    assert host.read(NR_OPEN) == "2000000\n"
    assert result.verdict.warnings == (
        "fs.nr_open stays 2000000: others set it, or nofile, to more than there was before",
    )


def test_a_ceiling_that_another_file_sets_higher_stays(machine: Make) -> None:
    host = machine()
    run(host, limits=nofile(2000000), pam=pam("alice"), raise_ceilings=True)
    Path(f"{host.root}/etc/sysctl.d/99-db.conf").write_text("fs.nr_open = 3000000\n")
    Path(f"{host.root}{NR_OPEN}").write_text("3000000\n")
    result = run(host, state="absent")
    assert host.read(NR_OPEN) == "3000000\n"
    assert "fs.nr_open stays 3000000" in result.verdict.warnings[0]


@pytest.mark.parametrize("target", [{"pam": pam("alice")}, {"systemd_manager": True}])
@pytest.mark.parametrize(
    "limits", [nofile(0), nofile(255), {"as": "64"}, {"stack": 8}, {"nproc": 1}, {"data": {"soft": 0, "hard": "1G"}}]
)
def test_what_would_end_logins_or_the_boot_is_refused(
    machine: Make, limits: dict[str, Any], target: dict[str, Any]
) -> None:
    host = machine()
    before = snapshot(host)
    with pytest.raises(OptionError, match=r"or more beside (pam|systemd_manager)"):
        run(host, True, limits=limits, **target)
    assert snapshot(host) == before


def test_a_small_limit_of_a_unit_or_a_process_is_warned_of(machine: Make) -> None:
    warnings = run(machine(), True, limits=nofile(16), systemd_units=["containerd.service"]).verdict.warnings
    assert "limits.nofile 16 is below 256, with which most programs do not work" in warnings


def test_of_our_own_lines_the_narrower_domain_counts(machine: Make) -> None:
    host = machine()
    for domain, number in (("1001:1001", 4000), ("1:5000", 3000), ("1000:", 3500)):
        run(host, limits=nofile(number), pam=pam(domain))
    domains = [line.split("\t")[0] for line in (host.read(PAM) or "").split("\n")[1:-1]]
    assert list(dict.fromkeys(domains)) == ["1000:", "1:5000", "1001:1001"]


def test_systemd_takes_infinity_and_large_numbers_are_warned_of(machine: Make) -> None:
    warnings = run(
        machine(), True, limits={**nofile("infinity"), "nproc": 999999999}, systemd_manager=True
    ).verdict.warnings
    assert [text.partition(" is ")[0] for text in warnings] == [
        "limits.nproc 999999999",
        "limits.nproc 999999999",
        "limits.nofile unlimited",
    ]


# --- faults


@pytest.mark.parametrize("path", [PAM, MANAGER, UNIT])
def test_a_file_of_somebody_else_at_our_path_is_not_touched(machine: Make, path: str) -> None:
    host = machine({path: "# mine\n"})
    before = snapshot(host)
    with pytest.raises(OwnerError, match=f"{path} is there and is not ours"):
        run(host, True, limits=nofile(4096), **EVERYWHERE)
    assert snapshot(host) == before
    assert not run(host, state="absent").changed


@pytest.mark.parametrize("path", [PAM, MANAGER, UNIT])
def test_a_symlink_that_leads_elsewhere_is_refused(machine: Make, path: str) -> None:
    host = machine()
    link = Path(f"{host.root}{path}")
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to("/etc/passwd")
    before = snapshot(host)
    with pytest.raises(BulwarkError, match=r"outside of its folder|is not ours"):
        run(host, True, limits=nofile(4096), **EVERYWHERE)
    assert snapshot(host) == before


def test_a_broken_manifest_is_told_in_check_mode(machine: Make) -> None:
    host = machine({MANIFEST: "{"})
    with pytest.raises(HostError, match="is not a manifest of schema 1"):
        run(host, True, limits=nofile(4096), **EVERYWHERE)


def test_a_lost_manifest_costs_nothing_but_the_limits_of_processes_and_who_made_a_folder(machine: Make) -> None:
    host = machine()
    given: dict[str, Any] = {"limits": nofile(4096), **EVERYWHERE}
    before = snapshot(host)
    run(host, **given)
    host.remove(MANIFEST)
    assert not run(host, **given).changed
    run(host, state="absent")
    empty = {"/etc/systemd/system.conf.d", "/etc/systemd/system/containerd.service.d"}
    assert different(before, snapshot(host)) <= MADE_BY_US | empty
    assert all(not host.names(folder) for folder in empty)


FAULTS: dict[str, dict[str, Any]] = {
    "all": {
        "limits": {**nofile(2000000), "core": 0},
        "daemon_reload": True,
        "restart": True,
        "raise_ceilings": True,
        "processes": [by(name="app")],
        **EVERYWHERE,
    },
}


@pytest.mark.parametrize(("after", "on"), [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("absent", [False, True])
def test_whichever_write_fails_the_machine_is_as_before_or_the_rest_is_named(
    machine: Make, after: bool, on: bool, absent: bool
) -> None:
    given = FAULTS["all"]
    for number in itertools.count(1):
        host = machine()
        if absent:
            run(host, **given)
            host.log.clear()
        before = snapshot(host)
        host.fault = WriteFault(number, after, on)
        wanted: dict[str, Any] = {"state": "absent", "daemon_reload": True, "restart": True} if absent else given
        error = failure(partial(run, host, **wanted))
        if error is None:
            assert number > len(host.log), f"step {number} failed unnoticed"
            break
        left = different(before, snapshot(host)) - MADE_BY_US
        named = [item["what"] for item in error.details.get("not_undone", ())]
        if named:
            left.discard(MANIFEST)
        if "systemd" in named:
            left.discard("/proc/700/limits")
        left = {entry(host, path) for path in left}
        assert on or after or not named, (number, host.log, error.details)
        assert left <= {entry(host, name) for name in named} | set(named), (number, host.log, error.details)
    assert number > 20


def entry(host: FakeSystemd, path: str) -> str:
    """The number of a process by its path, or by an entry of the manifest; other paths as they are."""
    found = re.fullmatch(r"/proc/([0-9]+)/limits|\S+ ([0-9]+) [0-9]+ \w+", path)
    return (found[1] or found[2]) if found else path


def test_a_signal_between_any_two_steps_undoes_all(machine: Make) -> None:
    class Stopped(Rlimit):
        left = 0

        def apply(self, *args: Any) -> None:
            super().apply(*args)
            self.left -= 1
            if self.left == 0:
                raise Interrupted("stopped by SIGTERM")

    steps = len(run(machine(), True, **FAULTS["all"]).changes)
    for step in range(1, steps + 1):
        host = machine()
        before = snapshot(host)
        domain = Stopped(host, FakePrlimit)
        domain.left = step
        with pytest.raises(Interrupted) as caught:
            converge(domain, params(**FAULTS["all"]), False)
        assert caught.value.details["not_undone"] == []
        assert different(before, snapshot(host)) <= MADE_BY_US


# files changed by hand


IN_FILES: dict[str, Any] = {
    "limits": nofile(4096),
    "pam": pam("*"),
    "systemd_manager": True,
    "systemd_units": ["containerd.service"],
}


def alike(host: FakeSystemd, **given: Any) -> Result:
    """The run, held to what its check foretold."""
    foretold = run(host, True, **given)
    done = run(host, **given)
    assert (done.changes, done.after, done.diff) == (foretold.changes, foretold.after, foretold.diff)
    assert done.verdict.warnings == foretold.verdict.warnings
    return done


@pytest.mark.parametrize("path", [PAM, MANAGER, UNIT])
def test_absent_names_a_file_of_which_our_first_line_has_gone_and_forgets_it(machine: Make, path: str) -> None:
    host = machine()
    run(host, **IN_FILES)
    theirs = (host.read(path) or "").split("\n", 1)[1]
    host.replace(path, theirs.encode())
    (said,) = [text for text in alike(host, state="absent").verdict.warnings if text.startswith(path)]
    assert said.startswith(f"{path}: forgotten, not given back: it was changed by hand")
    assert host.read(path) == theirs
    assert not host.exists(MANIFEST)
    again = alike(host, state="absent")
    assert (again.changed, again.verdict.warnings) == (False, ())


@pytest.mark.parametrize(
    ("path", "lines", "kept"),
    [
        (PAM, "# for bob\nbob - nofile 5\n\n", "# for bob\nbob - nofile 5\n"),
        (PAM, "@dev hard maxlogins 2\n", "@dev hard maxlogins 2\n"),
        (PAM, "# a note\n", None),
        (UNIT, "Nice=5\n[Unit]\n# why\nAfter=x.service\n", "[Service]\nNice=5\n[Unit]\n# why\nAfter=x.service\n"),
        (UNIT, "[Unit]\nAfter=x.service\n", "[Unit]\nAfter=x.service\n"),
        (UNIT, "; a note\n", None),
        (MANAGER, "LogLevel=debug\n", "[Manager]\nLogLevel=debug\n"),
    ],
)
def test_lines_of_others_in_a_file_of_ours_stay_through_every_run(
    machine: Make, path: str, lines: str, kept: str | None
) -> None:
    host = machine()
    run(host, **IN_FILES)
    host.replace(path, ((host.read(path) or "") + lines).encode())
    assert not run(host, **IN_FILES).changed
    for limits in ({"core": 0}, {"nproc": 4096}):
        assert alike(host, **{**IN_FILES, "limits": limits}).changed
        assert kept is None or (host.read(path) or "").startswith(HEADER)
        assert kept is None or (host.read(path) or "").count(kept) == 1
    assert not alike(host, **{**IN_FILES, "limits": {"nproc": 4096}}).changed
    said = [text for text in alike(host, state="absent").verdict.warnings if text.startswith(path)]
    assert len(said) == (kept is not None)
    assert host.read(path) == kept
    assert not host.exists(MANIFEST)
    assert not alike(host, state="absent").changed
