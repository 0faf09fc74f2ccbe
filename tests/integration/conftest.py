# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules run by the real ansible on this machine, and the proof that it is left as it was found."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.tests.hosts.adhoc import Ran, call
from ansible_collections.bulwark.node.tests.hosts.machine import Machine, Site
from ansible_collections.bulwark.node.tests.hosts.roots import RELEASES, missing_tools

_HUGEPAGES = Path("/sys/kernel/mm/hugepages")
_THP = Path("/sys/kernel/mm/transparent_hugepage")
_NODES = Path("/sys/devices/system/node")
# A folder of tests/hosts/remote.py, which is no trace of a module.
_SLOT = re.compile(r"bulwark-[a-z]+-[0-9]+")
# Where our modules write, and so where a test may leave something behind.
_PERSISTENT = tuple(
    Path(path)
    for path in (
        *("/etc/modprobe.d", "/etc/modules-load.d", "/etc/udev/rules.d", "/etc/default/grub.d", "/etc/kernel"),
        *("/etc/security/limits.d", "/etc/sysctl.d", "/etc/tmpfiles.d", "/etc/systemd/system"),
        *("/etc/systemd/system.conf.d", "/etc/systemd/network", "/etc/network/if-up.d"),
        "/var/lib/bulwark",
    )
)

# A machine whose service manager is systemd, as far as sd_booted(3) can tell, for one run.
SYSTEMD = "mount -t tmpfs tmpfs /run\nmkdir -p /run/systemd/system"
WITHOUT_SYSTEMD = "mount -t tmpfs tmpfs /run"
# A kernel may be booted without it.
IPV6 = Path("/proc/net/if_inet6").exists()


Module = Callable[..., Ran]
_TABLES = pytest.StashKey[list[str]]()


def tool(name: str) -> str:
    """The path of a program of this machine; without it the test is skipped."""
    path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if path is None:
        pytest.skip(f"there is no {name} here (bindep.txt names its package)")
    return path


def facts_over_ssh(machine: Machine, subset: str) -> Any:
    """One subset of a machine's facts."""
    inventory = machine.site.folder / "facts.ini"
    inventory.write_text(f"{machine.inventory()}\n")
    ran = call("node_facts", {"gather_subset": [subset]}, (machine.name, "-i", str(inventory)))
    facts = ran["ansible_facts"]["bulwark"]
    assert facts["errors"] == []
    return facts[subset]


@pytest.fixture
def module() -> Module:
    """Run one module on this machine: ``module("hugepages", {options}, check=True)``.

    ``inside`` are shell commands that first prepare a mount namespace of the run's own, which ends with it.
    """

    def run(name: str, options: dict[str, Any], check: bool = False, inside: str = "") -> Ran:
        here = ("localhost", "-c", "local", "-i", "localhost,", "-e", f"ansible_python_interpreter={sys.executable}")
        return call(name, options, here, check, inside)

    return run


def _attributes() -> dict[Path, str]:
    """The settings of the kernel that our modules change, each as it would have to be written."""
    found = {}
    pools = [*_HUGEPAGES.glob("*/nr_overcommit_hugepages"), *_NODES.glob("node*/hugepages/*/nr_hugepages")]
    if not list(_NODES.glob("node*")):
        pools += _HUGEPAGES.glob("*/nr_hugepages")
    for path in pools:
        found[path] = path.read_text().strip()
    for path in [*_THP.glob("*"), *_THP.glob("khugepaged/*"), *_THP.glob("hugepages-*/*")]:
        if path.is_file() and path.stat().st_mode & 0o200:
            text = path.read_text().strip()
            found[path] = text.partition("[")[2].partition("]")[0] or text
    return found


def volatile() -> list[Path]:
    """What our modules keep for one boot."""
    return [path for path in Path("/run").glob("bulwark*") if not _SLOT.fullmatch(path.name)]


def files_of_ours() -> dict[str, tuple[int, int, int, bytes]]:
    """Mode, owner and content of all that is in the folders that we write to."""
    found = {}
    for top in (*_PERSISTENT, *volatile()):
        for path in [top, *top.rglob("*")] if top.exists() else []:
            status = path.lstat()
            content = os.readlink(path).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
            found[str(path)] = (status.st_mode, status.st_uid, status.st_gid, content)
    return found


def snapshot() -> dict[str, Any]:
    """All that a run must not change unasked."""
    return {**{str(path): value for path, value in _attributes().items()}, **files_of_ours()}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs the whole memory comes last: emulated machines may run beside all the others."""
    items.sort(key=lambda item: isinstance(item, pytest.Function) and "whole_memory" in item.fixturenames)


@pytest.fixture
def alone() -> Iterator[None]:
    """No other test run changes the settings of this machine's kernel meanwhile, or compares them."""
    lock = os.open("/sys/kernel/mm", os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


@pytest.fixture
def kernel(alone: None) -> Iterator[None]:
    """Consent to change this machine's kernel settings; they and the files are compared and put back at the end."""
    if os.geteuid() != 0:
        pytest.skip("changing kernel settings takes root")
    if os.environ.get("REQUIRE_ALL") != "1":
        pytest.skip("it changes kernel settings of this very machine, and puts them back: set REQUIRE_ALL=1 to run it")
    if not _HUGEPAGES.is_dir():
        pytest.skip("hardware: this kernel has no hugepages")
    if Path("/var/lib/bulwark").exists():
        pytest.fail("this machine is managed by the collection, which left /var/lib/bulwark: test on another one")
    files, attributes = files_of_ours(), _attributes()
    yield
    left = {path: value for path, value in _attributes().items() if value != attributes[path]}
    for path in left:
        # The kernel says EINVAL to what cannot be set, which then has not changed either.
        with contextlib.suppress(OSError):
            path.write_text(attributes[path])
    for kept in {*map(str, volatile()), *(path for path in files if path.startswith("/run/"))}:
        if kept in files:
            Path(kept).write_bytes(files[kept][3])
            Path(kept).chmod(files[kept][0] & 0o7777)
        else:
            Path(kept).unlink(missing_ok=True)
    now = files_of_ours()
    strays = sorted(path for path in {*files, *now} if files.get(path) != now.get(path))
    for stray in sorted(set(now) - set(files), reverse=True):
        Path(stray).unlink() if not Path(stray).is_dir() else Path(stray).rmdir()
    assert not left, f"settings that the test did not put back: {left}"
    assert not strays, f"files that the test left or changed: {strays}"


@dataclass(frozen=True)
class Namespace:
    """A network namespace, and its network as seen from inside."""

    name: str

    @property
    def inside(self) -> str:
        """For ``module``: the rest of the run is in it."""
        return f'exec ip netns exec {self.name} "$@"'

    def run(self, *command: str | bytes, check: bool = True) -> str:
        done = subprocess.run(
            ["ip", "netns", "exec", self.name, *command], capture_output=True, timeout=30, check=False
        )
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout.decode("utf-8", "surrogateescape")

    def json(self, *command: str) -> list[dict[str, Any]]:
        # ip(8) prints control characters of a name as they are.
        found: list[dict[str, Any]] = json.loads(self.run(*command) or "[]", strict=False)
        return found


@contextlib.contextmanager
def new_namespace(suffix: str = "") -> Iterator[Namespace]:
    """One with lo up, which goes with the block. Those of one test have a suffix each."""
    made = Namespace(f"bulwark{os.getpid()}{suffix}")
    subprocess.run(["ip", "netns", "add", made.name], check=True)
    try:
        made.run("ip", "link", "set", "lo", "up")
        yield made
    finally:
        subprocess.run(["ip", "netns", "del", made.name], check=True)


@pytest.fixture
def namespace(kernel: None) -> Iterator[Namespace]:
    """A new one, with lo up."""
    tool("ip")
    with new_namespace() as made:
        yield made


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """Consent to have machines on a bridge of this one: ``site.machine("12")`` is a new one, to be started."""
    if os.geteuid() != 0:
        pytest.skip("machines take root")
    if os.environ.get("REQUIRE_ALL") != "1":
        pytest.skip("it makes a bridge and boots machines on it, and removes them: set REQUIRE_ALL=1 to run it")
    if missing := missing_tools():
        pytest.skip(f"machines take {', '.join(missing)}: see bindep.txt")
    with Site() as made:
        yield made


@pytest.fixture(scope="session")
def tables(pytestconfig: pytest.Config) -> list[str]:
    """Texts to be shown at the end of the test run."""
    return pytestconfig.stash.setdefault(_TABLES, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show them, also where all went well."""
    for table in config.stash.get(_TABLES, []):
        terminalreporter.write_line(table)


@pytest.fixture(scope="session")
def machines(site: Site) -> dict[str, Machine]:
    """One of each release, up, by version. All tests share them: what one changes it puts back."""
    made = {version: site.machine(version) for version in RELEASES}
    for machine in made.values():
        machine.start()
    for machine in made.values():
        machine.wait()
    return made
