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
import itertools
import os
import secrets
import shlex
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .remote import MachineError, Remote, Slot, until
from .roots import RELEASES, VARIANTS, build

__all__ = ["Machine", "MachineError", "Site", "until"]

_SCRIPT = Path(__file__).with_name("machine.sh")

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


def _command(*argv: str | Path) -> None:
    subprocess.run(argv, check=True, timeout=60, capture_output=True, text=True)


class Site(Slot):
    """A bridge of this machine, the machines on it, and the key that opens them: one for a test run. Takes root.

    What a killed run left behind ends with its processes, mounts and links with these; the next removes the rest.
    """

    def __init__(self) -> None:
        super().__init__("hosts")
        self._numbers = itertools.count(10)
        # RFC 2544 set this network aside for tests of devices: no real one is hidden.
        self.network = f"198.18.{self.slot}"
        _command("ip", "link", "add", self.bridge, "type", "bridge")
        _command("ip", "address", "add", f"{self.gateway}/24", "dev", self.bridge)
        _command("ip", "link", "set", self.bridge, "up")

    @property
    def bridge(self) -> str:
        return f"bwhosts{self.slot}"

    @property
    def gateway(self) -> str:
        """The address under which machines reach this one."""
        return f"{self.network}.1"

    def machine(self, version: str, name: str | None = None, writable: Sequence[str] = ()) -> Machine:
        """A new machine of Debian ``version``, off, with a fresh disk; ``writable`` are folders below /proc/sys and /sys.

        The root file system is built first where it has not been. Raises CannotBuild.
        """
        return Machine(self, version, name or f"debian{version}", next(self._numbers), writable)

    def _sweep(self) -> None:
        """Remove what bears the slot's name. Links and mounts of machines end with their processes."""
        _command("unshare", "--mount", "--propagation", "private", "sh", _SCRIPT, "sweep", f"bulwark-hosts-{self.slot}")
        if Path("/sys/class/net", self.bridge).exists():
            _command("ip", "link", "delete", self.bridge)
        super()._sweep()


class Machine(Remote[Site]):
    """One machine. Its disk lives as long as it does: it stays through stop, reboot and kill, and goes with close.

    Start it from the thread that lives longest: its processes die with the thread that started them, however that dies.
    """

    def __init__(self, site: Site, version: str, name: str, number: int, writable: Sequence[str] = ()) -> None:
        super().__init__(site, name, f"{site.network}.{number}")
        self.version, self.python = version, {**RELEASES, **VARIANTS}[version].python
        # Short, since nspawn names the link after it, and names of links have at most 15 bytes.
        self._id = f"bw{site.slot}-{number}"
        self.machine_id = secrets.token_hex(16)
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
        self._expect_host_key(self.path("/etc/ssh/ssh_host_ed25519_key.pub").read_text())

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

    def stop(self, timeout: float = 30) -> None:
        """Shut it down in order, as its power button would."""
        self._signal(_POWEROFF)
        assert self._power is not None
        try:
            self._power.wait(timeout)
        except subprocess.TimeoutExpired:
            raise self._error(f"it did not stop in {timeout} s") from None
        self._wait_until_gone()

    def _ask_for_reboot(self) -> None:
        self._signal(_REBOOT)

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
        super().close()

    # --- commands

    def run(
        self, *argv: str, stdin: str | None = None, check: bool = True, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Past ssh: nothing of a login is left behind."""
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

    # --- inwards

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
