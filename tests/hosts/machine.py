# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real machines for the tests: Debian under systemd, in systemd-nspawn, each with an address and an sshd of its own.

    with Site() as site:
        machine = site.machine("12")
        machine.start()
        machine.wait()
        machine.run("systemctl", "is-system-running")

What is real: systemd as PID 1, units, boots and reboots, users and PAM, sshd, files, the network with its links. What is the
kernel's is this machine's own: settings below /proc/sys (but ``net``) and /sys, memory, processors. Machines see those read-only,
unless ``writable`` names some: then the test answers for the real machine and puts them back.

A power cut ends all processes at once; it does not lose what was written and not yet synced, for the kernel lives on.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .roots import RELEASES, build

__all__ = ["Machine", "MachineError", "Site", "until"]

_SCRIPT = Path(__file__).with_name("machine.sh")
# The test runs of one machine that can have machines at the same time.
_SLOTS = 16

# Set in systemd's own source, as offsets from SIGRTMIN: systemd(1), signals.
_POWEROFF, _REBOOT = 4, 5

_NETWORK = """\
[Match]
Name=host0

[Network]
Address={address}/24
LinkLocalAddressing=ipv6
IPv6AcceptRA=no
"""
# PID 1 raises fs.nr_open and fs.file-max where it can, and systemd-networkd waits for udev where /sys is writable: so
# nothing is while they start, and SYSTEMD_NSPAWN_API_VFS_WRITABLE is no way. A unit opens the named folders to all that follows.
_WRITABLE = """\
[Unit]
DefaultDependencies=no
Before=systemd-sysctl.service systemd-tmpfiles-setup.service sysinit.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -ec 'for folder in {folders}; do mount --bind $$folder $$folder; mount -o remount,rw $$folder; done'
"""


class MachineError(Exception):
    """A machine did not do what was asked of it in time, with the end of what it printed."""


def _command(*argv: str | Path) -> None:
    subprocess.run(argv, check=True, timeout=60, capture_output=True, text=True)


def until(condition: Callable[[], bool], timeout: float) -> bool:
    """Wait until it holds, at most ``timeout`` seconds; return whether it does."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


class Site:
    """A bridge of this machine, the machines on it, and the key that opens them: one for a test run. Takes root.

    Runs side by side have a slot each, which names all that they make. A lock is held on it, so that what a killed run left
    behind (its processes die with it, its mounts and links with these) is known to be nobody's and removed by the next.
    """

    def __init__(self) -> None:
        self.slot, self.folder, self._lock = _take_slot()
        self.bridge = f"bwhosts{self.slot}"
        self.machines: list[Machine] = []
        self._numbers = itertools.count(10)
        self._sweep()
        # RFC 2544 set this network aside for tests of devices: no real one is hidden.
        self.network = f"198.18.{self.slot}"
        _command("ip", "link", "add", self.bridge, "type", "bridge")
        _command("ip", "address", "add", f"{self.network}.1/24", "dev", self.bridge)
        _command("ip", "link", "set", self.bridge, "up")
        self.key = self.folder / "key"
        _command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bulwark tests", "-f", self.key)
        self.known_hosts = self.folder / "known_hosts"

    def machine(self, version: str, name: str | None = None, writable: Sequence[str] = ()) -> Machine:
        """A new machine of Debian ``version``, off, with a fresh disk; ``writable`` are folders below /proc/sys and /sys.

        The root file system is built first where it has not been. Raises CannotBuild.
        """
        machine = Machine(self, version, name or f"debian{version}", next(self._numbers), writable)
        self.machines.append(machine)
        return machine

    def close(self) -> None:
        """Throw all machines and the bridge away."""
        for machine in tuple(self.machines):
            machine.close()
        self._sweep()
        shutil.rmtree(self.folder)
        os.close(self._lock)

    def __enter__(self) -> Site:
        return self

    def __exit__(self, *dummy: object) -> None:
        self.close()

    def _sweep(self) -> None:
        """Remove what bears the slot's name. Links and mounts of machines end with their processes."""
        _command("unshare", "--mount", "--propagation", "private", "sh", _SCRIPT, "sweep", f"bulwark-hosts-{self.slot}")
        if Path("/sys/class/net", self.bridge).exists():
            _command("ip", "link", "delete", self.bridge)
        for path in self.folder.iterdir():
            path.unlink()


def _take_slot() -> tuple[int, Path, int]:
    """The first free slot, its folder, and the lock on that."""
    for slot in range(_SLOTS):
        folder = Path(f"/run/bulwark-hosts-{slot}")
        folder.mkdir(mode=0o700, exist_ok=True)
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Another run may have removed the folder before its lock was ours.
            if folder.stat().st_ino == os.fstat(lock).st_ino:
                return slot, folder, lock
        os.close(lock)
    raise MachineError(f"all {_SLOTS} slots for test runs are taken: /run/bulwark-hosts-*")


class Machine:
    """One machine. Its disk lives as long as it does: it stays through stop, reboot and kill, and goes with close.

    Start it from the thread that lives longest: its processes die with the thread that started them, however that dies.
    """

    def __init__(self, site: Site, version: str, name: str, number: int, writable: Sequence[str] = ()) -> None:
        self.site, self.version, self.name = site, version, name
        self.python = RELEASES[version].python
        self.address = f"{site.network}.{number}"
        # Short, since nspawn names the link after it, and names of links have at most 15 bytes.
        self._id = f"bw{site.slot}-{number}"
        self.machine_id = secrets.token_hex(16)
        self.log = site.folder / f"{name}.log"
        self._link = f"vb-{self._id}"
        self._power: subprocess.Popen[bytes] | None = None
        self._case = subprocess.Popen(
            [
                *("unshare", "--mount", "--propagation", "private", "setpriv", "--pdeathsig", "KILL"),
                *("sh", str(_SCRIPT), "case", str(build(version))),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert self._case.stdout is not None
        if (said := self._case.stdout.readline()) != b"ready\n":
            self._case.wait(10)
            raise MachineError(f"{name}: no case: {said.decode()}{self._case.stdout.read().decode()}")
        self.root = Path(f"/proc/{self._case.pid}/root/run/root")
        self._cgroup = Path(f"/sys/fs/cgroup/bulwark-hosts-{site.slot}/{name}")
        self._furnish(writable)

    def _furnish(self, writable: Sequence[str]) -> None:
        """Write what makes this machine another than the others of its release."""
        self.write("/etc/hostname", f"{self.name}\n")
        self.write("/etc/hosts", f"127.0.0.1 localhost\n::1 localhost\n{self.address} {self.name}\n")
        self.write("/etc/machine-id", f"{self.machine_id}\n")
        self.write("/etc/systemd/network/10-host0.network", _NETWORK.format(address=self.address))
        self.write("/root/.ssh/authorized_keys", self.site.key.with_suffix(".pub").read_text())
        if writable:
            unit = "/etc/systemd/system/writable.service"
            self.write(unit, _WRITABLE.format(folders=shlex.join(writable)))
            wants = self.path("/etc/systemd/system/sysinit.target.wants")
            wants.mkdir(exist_ok=True)
            (wants / "writable.service").symlink_to(unit)
        host_key = self.path("/etc/ssh/ssh_host_ed25519_key.pub").read_text()
        with self.site.known_hosts.open("a") as known:
            known.write(f"{self.address} {host_key}")

    # --- its disk, running or not

    def path(self, inside: str) -> Path:
        """Where a file of its disk is found from here, also while it is off; /run, /tmp, /proc and /sys are not on the disk."""
        return self.root / inside.lstrip("/")

    def write(self, inside: str, text: str) -> None:
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    # --- power

    @property
    def running(self) -> bool:
        return self._power is not None and self._power.poll() is None

    def start(self) -> None:
        """Switch it on, and do not wait: several machines boot at the same time."""
        if self.running:
            raise MachineError(f"{self.name} is running")
        nspawn = [
            *("--quiet", "--settings=no", "--register=no", "--keep-unit", "--boot", "--console=pipe"),
            *(f"--machine={self._id}", f"--hostname={self.name}", "--directory=/run/root"),
            *(f"--uuid={self.machine_id}", f"--network-bridge={self.site.bridge}"),
            *("--link-journal=no", "--resolv-conf=off", "--timezone=off"),
        ]
        with self.log.open("ab") as log:
            self._power = subprocess.Popen(
                [
                    *("nsenter", "--target", str(self._case.pid), "--mount", "setpriv", "--pdeathsig", "KILL"),
                    # PID 1 of a machine outlives an nspawn that is killed. It does not outlive the PID namespace around both.
                    *("unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc"),
                    *("sh", str(_SCRIPT), "power", str(self._cgroup), *nspawn),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait(self, timeout: float = 60) -> None:
        """Wait until it has booted and ssh lets us in. Raises MachineError after ``timeout`` seconds, or when it ended."""
        end = time.monotonic() + timeout
        if not until(lambda: not self.running or self._ssh_answers(), timeout) or not self.running:
            raise self._error("ssh does not answer" if self.running else "it ended while it booted")
        # The status speaks of failed units; only the time is asked for here.
        self.run("systemctl", "is-system-running", "--wait", check=False, timeout=max(1, end - time.monotonic()))

    def stop(self, timeout: float = 30) -> None:
        """Shut it down in order, as its power button would."""
        self._signal(_POWEROFF)
        assert self._power is not None
        try:
            self._power.wait(timeout)
        except subprocess.TimeoutExpired:
            raise self._error(f"it did not stop in {timeout} s") from None
        self._wait_until_gone()

    def reboot(self, timeout: float = 60) -> None:
        """Reboot it in order and wait until it is back with another boot id."""
        before = self.boot_id()
        self._signal(_REBOOT)
        end = time.monotonic() + timeout

        def back() -> bool:
            with contextlib.suppress(MachineError):
                return self._ssh_answers() and self.boot_id() != before
            return False

        if not until(back, timeout):
            raise self._error(f"it did not reboot in {timeout} s")
        self.wait(end - time.monotonic())

    def kill(self) -> None:
        """Cut its power: all its processes get SIGKILL."""
        if self._power is not None:
            self._power.kill()
            self._power.wait(10)
        self._wait_until_gone()

    def close(self) -> None:
        """Cut its power and throw its disk away."""
        self.kill()
        self._case.kill()
        self._case.communicate(timeout=10)
        self.site.machines.remove(self)

    # --- commands

    def run(
        self, *argv: str, stdin: str | None = None, check: bool = True, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside as root, past ssh: stdout and stderr come back as text, and nothing of a login is left behind.

        Bytes that are no UTF-8 become surrogates. Raises MachineError where ``check`` and the status is not 0.
        """
        clean = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
        environment = [f"{name}={value}" for name, value in {**clean, "HOME": "/root"}.items()]
        done = subprocess.run(
            ["nsenter", "--target", str(self._init()), "--all", "--root", "--wd", "env", "-i", *environment, *argv],
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=timeout,
            check=False,
        )
        if check and done.returncode != 0:
            raise self._error(f"{shlex.join(argv)} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def boot_id(self) -> str:
        """Of this boot: nspawn makes one for each."""
        return self.run("cat", "/proc/sys/kernel/random/boot_id").stdout.strip()

    @property
    def ssh_options(self) -> list[str]:
        """For ssh, which is told the host key to expect and reads no configuration of this machine."""
        return [
            *("-F", "none", "-i", str(self.site.key)),
            *("-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=5"),
            *("-o", f"UserKnownHostsFile={self.site.known_hosts}", "-o", "GlobalKnownHostsFile=/dev/null"),
        ]

    def variables(self, **more: str) -> str:
        """What Ansible has to know of it, as in an inventory in INI form; ``more`` are further variables."""
        variables: dict[str, Any] = {
            "ansible_host": self.address,
            "ansible_user": "root",
            "ansible_ssh_common_args": shlex.join(self.ssh_options),
            # Ours, since a socket's path may have some 100 bytes; and short-lived, since machines reboot and die.
            "ansible_control_path_dir": self.site.folder,
            "ansible_ssh_args": "-C -o ControlMaster=auto -o ControlPersist=10s",
            "ansible_python_interpreter": "/usr/bin/python3",
            **more,
        }
        return " ".join(f"{name}={shlex.quote(str(value))}" for name, value in variables.items())

    def inventory(self, **more: str) -> str:
        """Its line of such an inventory."""
        return f"{self.name} {self.variables(**more)}"

    # --- inwards

    def _ssh_answers(self) -> bool:
        command = ["ssh", *self.ssh_options, "-o", "ConnectTimeout=1", f"root@{self.address}", "true"]
        try:
            done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=5, check=False)
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0

    def _group(self) -> Path:
        """Its cgroup, as seen from here."""
        return Path(f"/proc/{self._case.pid}/root", *self._cgroup.parts[1:])

    def _init(self) -> int:
        """The process that is PID 1 in it. Raises MachineError where there is none (yet)."""
        with contextlib.suppress(OSError):
            for pid in (self._group() / "payload/init.scope/cgroup.procs").read_text().split():
                status = Path("/proc", pid, "status").read_text()
                # Its number here, around nspawn, and in the machine.
                if status.partition("\nNSpid:")[2].split("\n")[0].split()[2:] == ["1"]:
                    return int(pid)
        raise self._error("it is off")

    def _signal(self, offset: int) -> None:
        os.kill(self._init(), signal.SIGRTMIN + offset)

    def _wait_until_gone(self) -> None:
        """Its processes are all reaped, and its link is removed: the next boot makes one of the same name."""

        def gone() -> bool:
            with contextlib.suppress(OSError):
                return "populated 0" in (self._group() / "cgroup.events").read_text()
            return True

        if not until(gone, 20):
            raise self._error("it did not end")
        # The kernel would, when the last connection has timed out, which may take a quarter of a minute.
        subprocess.run(["ip", "link", "delete", self._link], capture_output=True, timeout=60, check=False)

    def _error(self, text: str) -> MachineError:
        printed = self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""
        return MachineError(f"{self.name}: {text}\n{printed}")
