# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module rlimit: live processes and fs.nr_open of this machine, logins and services of machines under systemd."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node.processes import process_of
from ansible_collections.bulwark.node.plugins.module_utils.node.rlimit_processes import Prlimit
from ansible_collections.bulwark.node.tests.hosts.adhoc import Ran, call
from ansible_collections.bulwark.node.tests.hosts.machine import Machine, Site, until

from .conftest import WITHOUT_SYSTEMD, Module, snapshot

MANIFEST = Path("/var/lib/bulwark/manifest.json")
NR_OPEN = Path("/proc/sys/fs/nr_open")
SYSCTL = Path("/etc/sysctl.d/90-bulwark-rlimit.conf")
# A process of root's without the capability; what runs after it is ansible.
WITHOUT_CAPABILITY = f'{WITHOUT_SYSTEMD}\nset -- setpriv --bounding-set=-sys_resource --inh-caps=-sys_resource -- "$@"'
NAME = "bulwark-sleeper"
NAMED = {
    "nofile": resource.RLIMIT_NOFILE,
    "core": resource.RLIMIT_CORE,
    "stack": resource.RLIMIT_STACK,
    "rttime": resource.RLIMIT_RTTIME,
}
Limits = dict[str, tuple[int, int]]


def same(predicted: Ran, done: Ran) -> None:
    """Field by field."""
    assert not predicted.failed, predicted["msg"]
    assert not done.failed, done["msg"]
    for key in ("changed", "before", "after", "changes", "unmet", "reboot_required", "restart_required", "disruptive"):
        assert predicted[key] == done[key], key
    assert predicted.result.get("warnings") == done.result.get("warnings")


def kinds(ran: Ran) -> list[str]:
    return [change["kind"] for change in ran["changes"]]


# --- live processes of this machine


@pytest.fixture
def sleepers(tmp_path: Path) -> Iterator[Callable[[], int]]:
    """Each call starts another process of the same name, with limits of its own."""
    program = tmp_path / NAME
    shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
    started = []

    def start() -> int:
        child = subprocess.Popen([program, "600"])
        started.append(child)
        resource.prlimit(child.pid, resource.RLIMIT_NOFILE, (512, 2048))
        resource.prlimit(child.pid, resource.RLIMIT_CORE, (4096, 65536))
        return child.pid

    yield start
    for child in started:
        child.kill()
        child.wait()


def limits_of(pid: int) -> Limits:
    return {name: resource.prlimit(pid, number) for name, number in NAMED.items()}


def softer(pid: int) -> dict[str, Any]:
    """Limits that differ from what the process has in their soft values alone, which takes no capability."""
    hard = {name: "unlimited" if limit[1] == -1 else limit[1] for name, limit in limits_of(pid).items()}
    soft = {"nofile": 300, "core": 0, "stack": "4M", "rttime": 100000}
    return {name: {"soft": value, "hard": hard[name]} for name, value in soft.items()}


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("key", ["pid", "name"])
def test_check_predicts_what_the_run_does_to_live_processes_and_absent_puts_all_back(
    module: Module, sleepers: Callable[[], int], key: str
) -> None:
    first, second = sleepers(), sleepers()
    meant, others = ([first], [second]) if key == "pid" else ([first, second], [])
    targets = {"processes": [{key: first if key == "pid" else NAME}]}
    limits = softer(first)
    options = {"limits": limits, **targets}
    before, were = snapshot(), limits_of(first)
    predicted = module("rlimit", options, check=True, inside=WITHOUT_SYSTEMD)
    assert (limits_of(first), snapshot()) == (were, before)
    done = module("rlimit", options, inside=WITHOUT_SYSTEMD)
    same(predicted, done)
    assert kinds(done) == ["limit"] * len(limits) * len(meant)
    wanted = {
        "nofile": (300, 2048),
        "core": (0, 65536),
        "stack": (4 << 20, were["stack"][1]),
        "rttime": (100000, were["rttime"][1]),
    }
    assert [limits_of(pid) for pid in meant] == [wanted] * len(meant)
    assert [limits_of(pid) for pid in others] == [were] * len(others)
    assert [row["pid"] for row in done["after"]["processes"]] == meant
    assert done["after"]["processes"][0]["limits"]["nofile"] == {"soft": 300, "hard": 2048}
    settled = snapshot()
    for check in (True, False):
        again = module("rlimit", options, check=check, inside=WITHOUT_SYSTEMD)
        assert (again["changed"], again["changes"], again["after"]) == (False, [], done["after"])
    assert snapshot() == settled
    # One limit first, then the rest.
    gone = {"limits": {"core": 0}, **targets, "state": "absent"}
    same(module("rlimit", gone, check=True, inside=WITHOUT_SYSTEMD), module("rlimit", gone, inside=WITHOUT_SYSTEMD))
    assert limits_of(first) == {**wanted, "core": were["core"]}
    rest = {**targets, "state": "absent"}
    same(module("rlimit", rest, check=True, inside=WITHOUT_SYSTEMD), module("rlimit", rest, inside=WITHOUT_SYSTEMD))
    assert not module("rlimit", rest, inside=WITHOUT_SYSTEMD)["changed"]
    assert [limits_of(pid) for pid in (first, second)] == [were] * 2
    assert (snapshot(), MANIFEST.exists()) == (before, False)


@pytest.mark.usefixtures("kernel")
def test_absent_without_a_target_gives_back_what_lives_and_forgets_what_ended(
    module: Module, sleepers: Callable[[], int]
) -> None:
    ends, lives = sleepers(), sleepers()
    before, were = snapshot(), limits_of(lives)
    options = {"limits": {"nofile": {"soft": 300, "hard": 2048}}, "processes": [{"name": NAME}]}
    assert module("rlimit", options, inside=WITHOUT_SYSTEMD)["changed"]
    os.kill(ends, 9)
    os.waitpid(ends, 0)
    absent = {"state": "absent"}
    predicted = module("rlimit", absent, check=True, inside=WITHOUT_SYSTEMD)
    done = module("rlimit", absent, inside=WITHOUT_SYSTEMD)
    same(predicted, done)
    assert kinds(done) == ["limit", "forget"]
    assert (limits_of(lives), snapshot()) == (were, before)
    assert not module("rlimit", absent, inside=WITHOUT_SYSTEMD)["changed"]


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("hard", [4096, 1024])
def test_a_hard_limit_is_not_touched_without_the_capability(
    module: Module, sleepers: Callable[[], int], hard: int
) -> None:
    """Not to be raised, nor lowered by a run that could not raise it again."""
    pid = sleepers()
    before, were = snapshot(), limits_of(pid)
    options = {"limits": {"nofile": {"soft": 300, "hard": hard}}, "processes": [{"pid": pid}]}
    for check in (True, False):
        refused = module("rlimit", options, check=check, inside=WITHOUT_CAPABILITY)
        assert refused.failed
        assert f"from 512:2048 to 300:{hard} takes CAP_SYS_RESOURCE" in refused["msg"]
    assert (limits_of(pid), snapshot()) == (were, before)


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("hard", [4096, 1024])
def test_a_hard_limit_is_raised_and_lowered_with_the_capability(
    module: Module, sleepers: Callable[[], int], hard: int
) -> None:
    if not Prlimit(Host()).capable():
        pytest.skip("hardware: root of this machine has no CAP_SYS_RESOURCE")
    pid = sleepers()
    before, were = snapshot(), limits_of(pid)
    target = {"processes": [{"pid": pid}]}
    options = {"limits": {"nofile": {"soft": 300, "hard": hard}}, **target}
    same(
        module("rlimit", options, check=True, inside=WITHOUT_SYSTEMD),
        module("rlimit", options, inside=WITHOUT_SYSTEMD),
    )
    assert limits_of(pid)["nofile"] == (300, hard)
    assert module("rlimit", {**target, "state": "absent"}, inside=WITHOUT_SYSTEMD)["changed"]
    assert (limits_of(pid), snapshot()) == (were, before)


def kernel_thread() -> int:
    """The number of a thread of the kernel's own."""
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdecimal()):
        process = process_of(Host(), pid)
        if process and process.is_kernel_thread:
            return pid
    pytest.skip("hardware: this machine shows no threads of its kernel")


@pytest.mark.usefixtures("kernel")
def test_processes_that_are_never_touched_are_refused_by_name(
    module: Module, sleepers: Callable[[], int], tmp_path: Path
) -> None:
    ended = sleepers()
    os.kill(ended, 9)
    os.waitpid(ended, 0)
    before = snapshot()
    cases = [
        ({"pid": 1}, "processes[0].pid: got 1, expected another process: what PID 1 starts"),
        ({"pid": kernel_thread()}, "is a thread of the kernel"),
        ({"pid": ended}, f"processes[0].pid: got {ended}, expected a process that runs"),
        ({"name": "no-such-process"}, "processes[0].name: got 'no-such-process', expected a process that runs"),
        ({"unit": "no-such.service"}, "processes[0].unit: got 'no-such.service', expected a process that runs"),
        ({"name": NAME, "pid": 1}, "expected one of name, unit and pid"),
    ]
    for selector, message in cases:
        for check in (True, False):
            options = {"limits": {"core": 0}, "processes": [selector]}
            refused = module("rlimit", options, check=check, inside=WITHOUT_SYSTEMD)
            assert refused.failed
            assert message in refused["msg"]
    # The run itself, which is all that has this name.
    myself = tmp_path / "bulwark-myself"
    myself.symlink_to(sys.executable)
    here = ("localhost", "-c", "local", "-i", "localhost,", "-e", f"ansible_python_interpreter={myself}")
    options = {"limits": {"core": 0}, "processes": [{"name": myself.name}]}
    refused = call("rlimit", options, here, inside=WITHOUT_SYSTEMD)
    assert "processes[0].name: got 'bulwark-myself', expected a process that runs" in refused["msg"]
    assert snapshot() == before


# --- fs.nr_open of this machine


@pytest.fixture
def nr_open(kernel: None) -> Iterator[int]:
    """Consent to raise it; it is put back."""
    before = int(NR_OPEN.read_text())
    yield before
    left = int(NR_OPEN.read_text())
    NR_OPEN.write_text(str(before))
    assert left == before, f"a test left fs.nr_open at {left}"


def test_a_ceiling_is_refused_without_consent_and_given_back_in_the_end(module: Module, nr_open: int) -> None:
    more = nr_open + 8
    # A file number that no login of this machine ever gets.
    options = {"limits": {"nofile": {"soft": 1024, "hard": more}}, "pam": {"domain": "nobody"}}
    before = snapshot()
    for check in (True, False):
        refused = module("rlimit", options, check=check, inside=WITHOUT_SYSTEMD)
        assert f"limits.nofile: got {more}, expected at most fs.nr_open, which is {nr_open}" in refused["msg"]
        far = {**options, "limits": {"nofile": 1 << 31}, "raise_ceilings": True}
        assert "as far as fs.nr_open goes" in module("rlimit", far, check=check, inside=WITHOUT_SYSTEMD)["msg"]
    options["raise_ceilings"] = True
    fault = f"{WITHOUT_SYSTEMD}\nmount --bind /proc/sys /proc/sys\nmount -o remount,bind,ro /proc/sys"
    for check in (True, False):
        assert "EROFS" in module("rlimit", options, check=check, inside=fault)["msg"]
    assert (snapshot(), int(NR_OPEN.read_text())) == (before, nr_open)
    predicted = module("rlimit", options, check=True, inside=WITHOUT_SYSTEMD)
    assert (snapshot(), int(NR_OPEN.read_text())) == (before, nr_open)
    done = module("rlimit", options, inside=WITHOUT_SYSTEMD)
    same(predicted, done)
    assert (int(NR_OPEN.read_text()), done["after"]["ceilings"]["nr_open"]) == (more, more)
    settled = snapshot()
    for check in (True, False):
        assert module("rlimit", options, check=check, inside=WITHOUT_SYSTEMD)["changes"] == []
    assert snapshot() == settled
    # As at boot.
    NR_OPEN.write_text(str(nr_open))
    subprocess.run(["sysctl", "--quiet", "--load", str(SYSCTL)], check=True, timeout=60)
    assert int(NR_OPEN.read_text()) == more
    same(
        module("rlimit", {"state": "absent"}, check=True, inside=WITHOUT_SYSTEMD),
        module("rlimit", {"state": "absent"}, inside=WITHOUT_SYSTEMD),
    )
    assert not module("rlimit", {"state": "absent"}, inside=WITHOUT_SYSTEMD)["changed"]
    assert (snapshot(), int(NR_OPEN.read_text())) == (before, nr_open)


# --- machines under systemd: logins, services, the manager's defaults, reboots

PAM = "/etc/security/limits.d/95-bulwark-rlimit.conf"
UNIT = "/etc/systemd/system/idle.service.d/95-bulwark-rlimit.conf"
MANAGER = "/etc/systemd/system.conf.d/95-bulwark-rlimit.conf"
SERVICE = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"
CONSENT = {"daemon_reload": True, "restart": True}


@pytest.fixture(scope="module")
def debians(site: Site) -> Iterator[dict[str, Machine]]:
    """One of each release with a user alice, whom the key lets in, and three services."""
    made = {version: site.machine(version, f"rlimit{version}") for version in ("11", "12", "13")}
    for machine in made.values():
        for name in ("idle", "plain"):
            machine.write(f"/etc/systemd/system/{name}.service", SERVICE)
        machine.write("/etc/systemd/system/fixed.service", f"{SERVICE}[Service]\nLimitNOFILE=700:800\n")
        # Else root's user@0.service, which follows the manager too, comes and goes with our own logins.
        machine.write("/var/lib/systemd/linger/root", "")
        machine.start()
    for machine in made.values():
        machine.wait()
        machine.run("useradd", "--create-home", "--shell", "/bin/bash", "alice")
        machine.run("cp", "-r", "/root/.ssh", "/home/alice/.ssh")
        machine.run("chown", "-R", "alice:alice", "/home/alice/.ssh")
        machine.run("systemctl", "daemon-reload")
        machine.run("systemctl", "enable", "--now", *(f"{name}.service" for name in ("idle", "plain", "fixed")))
    yield made
    for machine in made.values():
        machine.close()


@pytest.fixture
def debian(debians: dict[str, Machine]) -> Machine:
    return debians["12"]


def over_ssh(machine: Machine, options: dict[str, Any], check: bool = False) -> Ran:
    inventory = machine.site.folder / "rlimit.ini"
    inventory.write_text(f"{machine.inventory()}\n")
    return call("rlimit", options, (machine.name, "-i", str(inventory)), check)


def both(machine: Machine, options: dict[str, Any]) -> Ran:
    """Check, which changes nothing, then the run, which does just that."""
    before = tree(machine)
    predicted = over_ssh(machine, options, check=True)
    assert tree(machine) == before
    done = over_ssh(machine, options)
    same(predicted, done)
    return done


def settled(machine: Machine, options: dict[str, Any], done: Ran) -> Ran:
    """Another run, and its check, which find nothing to do."""
    before = tree(machine)
    for check in (True, False):
        again = over_ssh(machine, options, check)
        assert (again["changed"], again["changes"], again["disruptive"]) == (False, [], [])
        assert again["after"] == done["after"]
    assert tree(machine) == before
    return again


def tree(machine: Machine) -> str:
    """/etc and the manifest, each file with mode, owner and content."""
    script = (
        "find /etc /var/lib/bulwark -printf '%p %y %m %U %G %l\\n' 2>&1 | sort; "
        "find /etc /var/lib/bulwark -type f -exec sha256sum {} + 2>&1 | sort"
    )
    return machine.run("sh", "-c", script).stdout


def login(machine: Machine, user: str, *flags: str) -> list[str]:
    """What a real login by ssh gets of the shell's own ulimit."""
    script = "; ".join(f"ulimit {flag}" for flag in flags)
    command = ["ssh", *machine.ssh_options, f"{user}@{machine.address}", script]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.split()


def shown(machine: Machine, unit: str, *properties: str) -> list[str]:
    """What systemd has loaded of a unit, or with an empty name of itself."""
    said = machine.run(
        "systemctl", "show", *(f"--property={name}" for name in properties), *([unit] if unit else [])
    ).stdout
    found = dict(line.split("=", 1) for line in said.splitlines())
    return [found[name] for name in properties]


def live(machine: Machine, unit: str, words: str = "Max open files") -> list[str]:
    """Soft and hard limit of a unit's main process, as the kernel says it once that is its program."""
    (pid,) = shown(machine, unit, "MainPID")
    # A moment after it was forked it has PID 1's.
    assert until(lambda: "/systemd/" not in machine.run("readlink", f"/proc/{pid}/exe").stdout, 30)
    lines = machine.run("cat", f"/proc/{pid}/limits").stdout.splitlines()
    return next(line for line in lines if line.startswith(words))[len(words) :].split()[:2]


FLAGS = ("-Sn", "-Hn", "-Sl", "-Hl", "-Sc")


@pytest.mark.parametrize("version", ["11", "12", "13"])
def test_a_login_by_ssh_has_the_limits_and_root_has_not(debians: dict[str, Machine], version: str) -> None:
    machine = debians[version]
    before, user, root = tree(machine), login(machine, "alice", *FLAGS), login(machine, "root", *FLAGS)
    limits = {"nofile": {"soft": 1234, "hard": 2345}, "memlock": "64K", "core": "8K"}
    options = {"limits": limits, "pam": {"domain": "*"}}
    done = both(machine, options)
    assert [change["target"] for change in done["changes"]] == [PAM]
    assert done.warns("pam.domain * is not for root")
    assert login(machine, "alice", *FLAGS) == ["1234", "2345", "64", "64", "8"]
    assert login(machine, "root", *FLAGS) == root
    settled(machine, options, done)
    mine = {"limits": {"nofile": {"soft": 1111, "hard": 2222}}, "pam": {"domain": "root"}}
    settled(machine, mine, both(machine, mine))
    assert login(machine, "root", *FLAGS) == ["1111", "2222", *root[2:]]
    assert login(machine, "alice", *FLAGS) == ["1234", "2345", "64", "64", "8"]
    both(machine, {"pam": {"domain": "root"}, "state": "absent"})
    assert login(machine, "root", *FLAGS) == root
    both(machine, {"limits": {"memlock": 0}, "pam": {"domain": "*"}, "state": "absent"})
    assert login(machine, "alice", *FLAGS) == ["1234", "2345", *user[2:4], "8"]
    both(machine, {"state": "absent"})
    assert not over_ssh(machine, {"state": "absent"})["changed"]
    assert (tree(machine), login(machine, "alice", *FLAGS)) == (before, user)


def test_a_line_of_another_that_wins_at_a_login_is_refused_by_its_name(debian: Machine) -> None:
    other = "/etc/security/limits.d/99-site.conf"
    options = {"limits": {"nofile": {"soft": 1234, "hard": 2345}}, "pam": {"domain": "*"}}
    debian.write(other, "# site\n* soft nofile 777\n")
    try:
        assert over_ssh(debian, {**options, "pam": {"domain": "alice"}})["changed"]
        # A user's line wins over one for all.
        assert login(debian, "alice", "-Sn") == ["1234"]
        assert over_ssh(debian, {"state": "absent"})["changed"]
        assert login(debian, "alice", "-Sn") == ["777"]
        before = tree(debian)
        for check in (True, False):
            refused = over_ssh(debian, options, check)
            assert f"{other}:2 sets soft nofile of * to 777 and wins over {PAM}" in refused["msg"]
        assert tree(debian) == before
    finally:
        debian.run("mv", other, "/etc/security/limits.d/50-site.conf")
    try:
        assert both(debian, options).warns(f"50-site.conf:2 sets soft nofile of * to 777; {PAM} wins over it")
        assert login(debian, "alice", "-Sn") == ["1234"]
    finally:
        debian.run("rm", "/etc/security/limits.d/50-site.conf")
        over_ssh(debian, {"state": "absent"})


def test_logins_without_pam_limits_are_warned_of_and_none_at_all_is_refused(debian: Machine) -> None:
    options = {"limits": {"nofile": {"soft": 1234, "hard": 2345}}, "pam": {"domain": "alice"}}
    folder = debian.path("/etc/pam.d")
    texts = {path: path.read_text() for path in folder.iterdir() if "pam_limits.so" in path.read_text()}
    assert folder / "sshd" in texts
    user = login(debian, "alice", "-Sn", "-Hn")
    try:
        (folder / "sshd").write_text(texts[folder / "sshd"].replace("pam_limits.so", "pam_permit.so"))
        assert both(debian, options).warns("sshd does not use pam_limits: who logs in by it does not get these limits")
        assert login(debian, "alice", "-Sn", "-Hn") == user
        over_ssh(debian, {"state": "absent"})
        for path, text in texts.items():
            path.write_text(text.replace("pam_limits.so", "pam_permit.so"))
        for check in (True, False):
            refused = over_ssh(debian, options, check)
            assert "no service of /etc/pam.d that logs in loads pam_limits.so" in refused["msg"]
    finally:
        for path, text in texts.items():
            path.write_text(text)
        over_ssh(debian, {"state": "absent"})


@pytest.mark.parametrize("version", ["11", "12", "13"])
def test_a_unit_is_reloaded_and_restarted_with_consent_alone(debians: dict[str, Machine], version: str) -> None:
    machine, unit = debians[version], "idle.service"
    before, had, loaded = tree(machine), live(machine, unit), shown(machine, unit, "MainPID", "LimitNOFILE")
    options: dict[str, Any] = {"limits": {"nofile": {"soft": 1111, "hard": 2222}}, "systemd_units": [unit]}
    done = both(machine, options)
    assert (kinds(done), done["disruptive"]) == (["file"], [])
    assert [entry["unit"] for entry in done["restart_required"]] == ["systemd", unit]
    again = settled(machine, options, done)
    assert again["restart_required"] == done["restart_required"]
    assert (live(machine, unit), shown(machine, unit, "MainPID", "LimitNOFILE")) == (had, loaded)
    # systemd has read it, the process runs as before.
    options["daemon_reload"] = True
    done = both(machine, options)
    assert (kinds(done), [entry["target"] for entry in done["disruptive"]]) == (["daemon_reload"], ["systemd"])
    assert [entry["unit"] for entry in done["restart_required"]] == [unit]
    assert "nofile" in done["restart_required"][0]["reason"]
    assert shown(machine, unit, "MainPID", "LimitNOFILE", "LimitNOFILESoft") == [loaded[0], "2222", "1111"]
    assert live(machine, unit) == had
    assert settled(machine, options, done)["restart_required"] == done["restart_required"]
    options["restart"] = True
    done = both(machine, options)
    assert (kinds(done), [entry["target"] for entry in done["disruptive"]]) == (["restart"], [unit])
    assert done["restart_required"] == []
    assert live(machine, unit) == ["1111", "2222"]
    assert shown(machine, unit, "MainPID")[0] != loaded[0]
    assert settled(machine, options, done)["restart_required"] == []
    gone = both(machine, {"systemd_units": [unit], "state": "absent", **CONSENT})
    assert kinds(gone) == ["file", "daemon_reload", "restart"]
    assert (live(machine, unit), shown(machine, unit, "LimitNOFILE"), tree(machine)) == (had, loaded[1:], before)
    assert not over_ssh(machine, {"state": "absent", **CONSENT})["changed"]


def test_a_drop_in_of_another_that_wins_is_refused_by_its_name(debian: Machine) -> None:
    options = {"limits": {"nofile": {"soft": 1111, "hard": 2222}}}
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"systemd_units": ["idle.service"]}, "/etc/systemd/system/idle.service.d/99-site.conf", "[Service]\nLimit"),
        ({"systemd_manager": True}, "/etc/systemd/system.conf.d/99-site.conf", "[Manager]\nDefaultLimit"),
    ]
    for target, path, prefix in cases:
        debian.write(path, f"{prefix}NOFILE=999\n")
        try:
            before = tree(debian)
            for check in (True, False):
                refused = over_ssh(debian, {**options, **target, **CONSENT}, check)
                assert refused.failed
                assert f"{path} sets {prefix.split()[1]}NOFILE=999:999 and wins over" in refused["msg"]
            assert tree(debian) == before
        finally:
            debian.run("rm", path)
            debian.run("rmdir", os.path.dirname(path))


@pytest.mark.parametrize("version", ["11", "12", "13"])
def test_the_managers_default_reaches_what_starts_after_the_reload(debians: dict[str, Machine], version: str) -> None:
    machine = debians[version]
    before, had = tree(machine), live(machine, "plain.service")
    default = shown(machine, "", "DefaultLimitNOFILE")
    options: dict[str, Any] = {"limits": {"nofile": {"soft": 1111, "hard": 2222}}, "systemd_manager": True}
    done = both(machine, options)
    assert kinds(done) == ["file"]
    assert done["restart_required"][0]["unit"] == "systemd"
    assert settled(machine, options, done)["restart_required"] == done["restart_required"]
    assert shown(machine, "", "DefaultLimitNOFILE") == default
    options.update(CONSENT)
    done = both(machine, options)
    assert kinds(done) == ["daemon_reload"]
    assert shown(machine, "", "DefaultLimitNOFILE", "DefaultLimitNOFILESoft") == ["2222", "1111"]
    waiting = [entry["unit"] for entry in done["restart_required"]]
    # What sets the limit itself does not wait for it, and what follows is never restarted.
    assert ("plain.service" in waiting, "fixed.service" in waiting, "systemd" in waiting) == (True, False, False)
    assert live(machine, "plain.service") == had
    machine.run("systemctl", "restart", "plain.service", "fixed.service")
    assert (live(machine, "plain.service"), live(machine, "fixed.service")) == (["1111", "2222"], ["700", "800"])
    assert "plain.service" not in [entry["unit"] for entry in settled(machine, options, done)["restart_required"]]
    gone = both(machine, {"state": "absent", **CONSENT})
    assert kinds(gone) == ["file", "daemon_reload"]
    assert tree(machine) == before
    machine.run("systemctl", "restart", "plain.service")
    assert live(machine, "plain.service") == had


def test_all_targets_in_one_call_hold_across_a_reboot(debian: Machine) -> None:
    before, user, had = tree(debian), login(debian, "alice", *FLAGS), live(debian, "idle.service")
    limits = {"nofile": {"soft": 1111, "hard": 2222}, "memlock": "64K"}
    options = {
        "limits": limits,
        "pam": {"domain": "alice"},
        "systemd_manager": True,
        "systemd_units": ["idle.service"],
        **CONSENT,
    }
    done = both(debian, options)
    assert kinds(done) == ["file", "file", "file", "daemon_reload", "restart"]
    assert [change["target"] for change in done["changes"][:3]] == [PAM, MANAGER, UNIT]
    assert live(debian, "idle.service") == ["1111", "2222"]
    debian.reboot()
    assert login(debian, "alice", *FLAGS)[:4] == ["1111", "2222", "64", "64"]
    for name in ("idle.service", "plain.service"):
        assert live(debian, name) == ["1111", "2222"]
        assert live(debian, name, "Max locked memory") == ["65536", "65536"]
        assert shown(debian, name, "LimitNOFILE", "LimitMEMLOCK") == ["2222", "65536"]
    after = settled(debian, options, done)
    assert after["restart_required"] == []
    gone = both(debian, {"state": "absent", **CONSENT})
    assert kinds(gone) == ["file", "file", "file", "daemon_reload", "restart"]
    assert (tree(debian), live(debian, "idle.service")) == (before, had)
    debian.reboot()
    assert (tree(debian), login(debian, "alice", *FLAGS)) == (before, user)
    assert (live(debian, "idle.service"), live(debian, "plain.service")) == (had, had)


def test_the_processes_of_a_unit_are_set_live_and_forgotten_after_a_reboot(debian: Machine) -> None:
    before, had = tree(debian), live(debian, "plain.service")
    options = {
        "limits": {"nofile": {"soft": 300, "hard": int(had[1])}},
        "processes": [{"unit": "plain.service"}],
    }
    done = both(debian, options)
    assert (kinds(done), live(debian, "plain.service")) == (["limit"], ["300", had[1]])
    settled(debian, options, done)
    both(debian, {"processes": [{"unit": "plain.service"}], "state": "absent"})
    assert (live(debian, "plain.service"), tree(debian)) == (had, before)
    assert over_ssh(debian, options)["changed"]
    debian.reboot()
    assert kinds(both(debian, {"state": "absent"})) == ["forget"]
    assert (live(debian, "plain.service"), tree(debian)) == (had, before)


def test_a_ceiling_that_a_machine_may_not_raise_is_refused(debian: Machine) -> None:
    more = int(NR_OPEN.read_text()) + 8
    options = {"limits": {"nofile": more}, "pam": {"domain": "alice"}, "raise_ceilings": True}
    before = tree(debian)
    for check in (True, False):
        assert "is mounted read-only (EROFS)" in over_ssh(debian, options, check)["msg"]
    assert tree(debian) == before


def test_a_limit_that_pid_1_cannot_give_is_refused_or_else_reaches_the_login(debian: Machine) -> None:
    """Without the capability a login by ssh gets nothing of such a line."""
    other, more = "/etc/security/limits.d/95-site.conf", int(live(debian, "plain.service")[1]) + 1000
    debian.write(other, f"alice - nofile {more}\n")
    try:
        given = login(debian, "alice", "-Hn") == [str(more)]
    finally:
        debian.run("rm", other)
    before = tree(debian)
    for target in ({"pam": {"domain": "alice"}}, {"systemd_manager": True}, {"systemd_units": ["idle.service"]}):
        tried = over_ssh(debian, {"limits": {"nofile": more}, **target}, check=True)
        assert tried.failed != given
        assert not tried.failed or "the hard limit of PID 1: without CAP_SYS_RESOURCE" in tried["msg"]
    assert tree(debian) == before


def test_a_unit_that_does_not_start_again_gets_its_old_limits_back(debian: Machine) -> None:
    """The service refuses to run with few files."""
    debian.write(
        "/etc/systemd/system/choosy.service",
        "[Service]\nType=notify\nNotifyAccess=all\n"
        "ExecStart=/bin/sh -c '[ $$(ulimit -n) -gt 99 ] && systemd-notify --ready && exec sleep infinity'\n",
    )
    debian.run("systemctl", "daemon-reload")
    debian.run("systemctl", "start", "choosy.service")
    before, had = tree(debian), live(debian, "choosy.service")
    try:
        options = {"limits": {"nofile": 50}, "systemd_units": ["choosy.service"], **CONSENT}
        failed = over_ssh(debian, options)
        assert failed.failed
        assert "choosy.service" in failed["msg"]
        assert failed["not_undone"] == []
        assert (tree(debian), live(debian, "choosy.service")) == (before, had)
        assert shown(debian, "choosy.service", "ActiveState") == ["active"]
    finally:
        debian.run("systemctl", "stop", "choosy.service")
        debian.run("rm", "-f", "/etc/systemd/system/choosy.service")
        debian.run("systemctl", "daemon-reload")
