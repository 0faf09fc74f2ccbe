# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A virtual machine for the tests that take a kernel of their own: Debian 12 with GRUB, emulated by QEMU.

    with Slot("vm") as slot:
        machine = Vm(slot)
        machine.start()
        machine.wait()
        machine.run("uname", "-r")

All of it is real but the computer: boot loader, kernel and its arguments, modules, memory of two NUMA nodes, udev, systemd,
PAM, sshd. It has one processor a node, no way to any network, and ssh on a loopback address of this machine. It is slow:
compare seconds with nothing. Its disk has no name here, so that nothing of a killed test run is left.

A power cut loses what the machine had not yet handed to its disk.
"""

from __future__ import annotations

import base64
import os
import shlex
import subprocess
from pathlib import Path

from ansible_collections.bulwark.node.tests.hosts.remote import MachineError, Remote, Slot

from .image import CACHE, build
from .qemu import emulator

__all__ = ["UPGRADE", "MachineError", "Vm"]

# The folder in it that has the package of a newer kernel.
UPGRADE = "/srv/upgrade"

_SCRIPT = Path(__file__).with_name("power.sh")
_PORT = 2222


class Vm(Remote[Slot]):
    """One machine, off, with a fresh disk that lives as long as it does: through stop, reboot and kill, and goes with close.

    The image is built first where it has not been. Raises CannotBuild.
    Start it from the thread that lives longest: it dies with the thread that started it, however that dies.
    """

    def __init__(self, slot: Slot, name: str = "vm") -> None:
        image = build()
        # Nobody else listens on addresses of a slot of the loopback network, which has 16 million.
        super().__init__(slot, name, f"127.198.{slot.slot}.{len(slot.machines) + 1}", _PORT, patience=4)
        self._expect_host_key((image / "host_key.pub").read_text())
        self._disk = os.open(CACHE, os.O_TMPFILE | os.O_RDWR, 0o600)
        copy = ["cp", "--sparse=always", "--reflink=auto", str(image / "disk.img"), f"/proc/self/fd/{self._disk}"]
        subprocess.run(copy, check=True, timeout=120, pass_fds=[self._disk])
        self._power: subprocess.Popen[bytes] | None = None

    # --- power

    @property
    def running(self) -> bool:
        return self._power is not None and self._power.poll() is None

    def start(self) -> None:
        """Switch it on, and do not wait."""
        if self.running:
            raise MachineError(f"{self.name} is running")
        # systemd(1) takes credentials from the firmware's tables, and systemd-tmpfiles(8) makes this one root's authorized_keys.
        key = base64.b64encode(self.site.key.with_suffix(".pub").read_bytes()).decode()
        network = f"user,id=network,restrict=on,hostfwd=tcp:{self.address}:{self.port}-:22"
        qemu = [
            *emulator(),
            "-no-reboot",
            *("-drive", f"file=/proc/self/fd/{self._disk},format=raw,if=virtio,cache=unsafe"),
            *("-netdev", network, "-device", "virtio-net-pci,netdev=network,romfile="),
            *("-smbios", f"type=11,value=io.systemd.credential.binary:ssh.authorized_keys.root={key}"),
            *("-chardev", f"file,id=console,path={self.log},append=on", "-serial", "chardev:console", "-qmp", "stdio"),
        ]
        self._power = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "sh", str(_SCRIPT), str(self.log), *qemu],
            pass_fds=[self._disk],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

    def wait(self, timeout: float = 180) -> None:
        super().wait(timeout)

    def reboot(self, timeout: float = 180) -> None:
        super().reboot(timeout)

    def stop(self, timeout: float = 90) -> None:
        """Shut it down in order, by its power button."""
        if self._power is None or not self.running:
            raise self._error("it is off")
        Path(f"{self.log}.commands").write_text('{"execute": "system_powerdown"}')
        try:
            self._power.wait(timeout)
        except subprocess.TimeoutExpired:
            raise self._error(f"it did not stop in {timeout} s") from None
        self.kill()

    def kill(self) -> None:
        """Cut its power."""
        if self._power is not None:
            self._power.terminate()
            self._power.wait(10)
            self._power = None

    def close(self) -> None:
        """Cut its power and throw its disk away."""
        self.kill()
        os.close(self._disk)
        super().close()

    def _ask_for_reboot(self) -> None:
        # The connection may end before the command does.
        self.run("systemctl", "--no-block", "reboot", check=False)

    # --- commands

    def run(
        self, *argv: str, stdin: str | None = None, check: bool = True, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Over ssh."""
        try:
            done = subprocess.run(
                ["ssh", *self.ssh_options, f"root@{self.address}", f"LC_ALL=C.UTF-8 {shlex.join(argv)}"],
                input="" if stdin is None else stdin,
                capture_output=True,
                encoding="utf-8",
                errors="surrogateescape",
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise self._error(f"{shlex.join(argv)} did not end in {timeout} s") from None
        if check and done.returncode != 0:
            raise self._error(f"{shlex.join(argv)} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def write(self, inside: str, text: str) -> None:
        """Write a file, and the folders that it takes."""
        self.run("install", "-D", "-m", "0644", "/dev/stdin", inside, stdin=text)

    def read(self, inside: str) -> str:
        """The text of a file."""
        return self.run("cat", inside).stdout
