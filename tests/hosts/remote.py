# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all test machines share, whatever they are made of: a slot for the test run, and a way in by ssh, ours and Ansible's."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import shutil
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

__all__ = ["MachineError", "Remote", "Slot", "until"]

# The test runs of one machine that can have machines at the same time.
_SLOTS = 16


S = TypeVar("S", bound="Slot")


class MachineError(Exception):
    """A machine did not do what was asked of it in time, with the end of what it printed."""


def until(condition: Callable[[], bool], timeout: float, pause: float = 0.02) -> bool:
    """Wait until it holds, at most ``timeout`` seconds, asked for each ``pause``; return whether it does."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(pause)
    return True


class Slot:
    """A number of the test run's own, a folder /run/bulwark-``kind``-``number``, and in it a key that opens its machines.

    Runs side by side have a slot each, which names all that they make. A lock is held on it, so that what a killed run left
    behind is known to be nobody's and removed by the next. Takes root.
    """

    def __init__(self, kind: str) -> None:
        self.slot, self.folder, self._lock = _take_slot(kind)
        self._sweep()
        self.key = self.folder / "key"
        keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bulwark tests", "-f", str(self.key)]
        subprocess.run(keygen, check=True, timeout=60, capture_output=True)
        self.known_hosts = self.folder / "known_hosts"
        self.machines: list[Remote[Any]] = []

    def __enter__(self: S) -> S:
        return self

    def __exit__(self, *dummy: object) -> None:
        self.close()

    def close(self) -> None:
        """Throw the machines and all else that bears the number away, and give it back."""
        for machine in tuple(self.machines):
            machine.close()
        self._sweep()
        shutil.rmtree(self.folder)
        os.close(self._lock)

    def _sweep(self) -> None:
        """Remove what bears the slot's name."""
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def _take_slot(kind: str) -> tuple[int, Path, int]:
    """The first free slot, its folder, and the lock on that."""
    for slot in range(_SLOTS):
        folder = Path(f"/run/bulwark-{kind}-{slot}")
        folder.mkdir(mode=0o700, exist_ok=True)
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Another run may have removed the folder before its lock was ours.
            if folder.stat().st_ino == os.fstat(lock).st_ino:
                return slot, folder, lock
        os.close(lock)
    raise MachineError(f"all {_SLOTS} slots for test runs are taken: /run/bulwark-{kind}-*")


class Remote(ABC, Generic[S]):
    """A machine of a slot that ssh reaches at an address and a port. ``patience`` are the seconds its sshd may take to answer."""

    def __init__(self, site: S, name: str, address: str, port: int = 22, patience: int = 1) -> None:
        self.site, self.name, self.address, self.port, self._patience = site, name, address, port, patience
        self.log = site.folder / f"{name}.log"
        site.machines.append(self)

    # --- power

    @property
    @abstractmethod
    def running(self) -> bool:
        """Whether it has power."""

    def close(self) -> None:
        """Cut its power and throw its disk away."""
        self.site.machines.remove(self)

    @abstractmethod
    def _ask_for_reboot(self) -> None:
        """Have it rebooted in order, and do not wait."""

    def wait(self, timeout: float = 60) -> None:
        """Wait until it has booted and ssh lets us in. Raises MachineError after ``timeout`` seconds, or when it ended."""
        end = time.monotonic() + timeout
        if not self._until(lambda: not self.running or self._ssh_answers(), timeout) or not self.running:
            raise self._error("ssh does not answer" if self.running else "it ended while it booted")
        # The status speaks of failed units; only the time is asked for here.
        self.run("systemctl", "is-system-running", "--wait", check=False, timeout=max(1, end - time.monotonic()))

    def reboot(self, timeout: float = 60) -> None:
        """Reboot it in order and wait until it is back with another boot id."""
        before = self.boot_id()
        self._ask_for_reboot()
        end = time.monotonic() + timeout

        def back() -> bool:
            # What enters a machine that goes down may hang with it.
            with contextlib.suppress(MachineError, subprocess.TimeoutExpired):
                return self._ssh_answers() and self.boot_id(5 * self._patience) != before
            return False

        if not self._until(back, timeout):
            raise self._error(f"it did not reboot in {timeout} s")
        self.wait(end - time.monotonic())

    # --- commands

    @abstractmethod
    def run(
        self, *argv: str, stdin: str | None = None, check: bool = True, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside as root: stdout and stderr come back as text, bytes that are no UTF-8 as surrogates.

        Raises MachineError where ``check`` and the status is not 0.
        """

    def boot_id(self, timeout: float = 60) -> str:
        """Of this boot: each has its own."""
        return self.run("cat", "/proc/sys/kernel/random/boot_id", timeout=timeout).stdout.strip()

    @property
    def ssh_options(self) -> list[str]:
        """For ssh, which is told the host key to expect and reads no configuration of this machine."""
        return [
            *("-F", "none", "-i", str(self.site.key), "-o", f"Port={self.port}"),
            *("-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", f"ConnectTimeout={5 * self._patience}"),
            *("-o", f"UserKnownHostsFile={self.site.known_hosts}", "-o", "GlobalKnownHostsFile=/dev/null"),
        ]

    def variables(self, **more: str) -> str:
        """What Ansible has to know of it, as in an inventory in INI form; ``more`` are further variables."""
        variables: dict[str, Any] = {
            "ansible_host": self.address,
            "ansible_port": self.port,
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

    def _until(self, condition: Callable[[], bool], timeout: float) -> bool:
        return until(condition, timeout, pause=self._patience * 0.02)

    def _ssh_answers(self) -> bool:
        # Of an option given twice, ssh takes the first. A connection that the machine forgot in a reboot is never answered.
        command = ["ssh", "-o", f"ConnectTimeout={self._patience}", *self.ssh_options, f"root@{self.address}", "true"]
        try:
            done = subprocess.run(
                command, capture_output=True, stdin=subprocess.DEVNULL, timeout=5 * self._patience, check=False
            )
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0

    def _expect_host_key(self, public: str) -> None:
        """Note the key that its sshd has."""
        name = self.address if self.port == 22 else f"[{self.address}]:{self.port}"
        with self.site.known_hosts.open("a") as known:
            known.write(f"{name} {public.strip()}\n")

    def _error(self, text: str) -> MachineError:
        printed = self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""
        return MachineError(f"{self.name}: {text}\n{printed}")
