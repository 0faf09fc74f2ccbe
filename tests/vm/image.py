# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The disk image of the virtual machine: Debian 12 with GRUB and a kernel of its own, made once and kept in .cache/vm.

mmdebstrap makes the files, mkfs.ext4 a file system of them, and the machine itself installs GRUB: no loop device, nothing mounted.
The folder's name ends with a hash of what it was made by: with another recipe it is made anew.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import struct
import tempfile
import uuid
from pathlib import Path

from ansible_collections.bulwark.node.tests.hosts import roots
from ansible_collections.bulwark.node.tests.hosts.roots import CannotBuild, command

from .qemu import QEMU, emulator

__all__ = ["CACHE", "CannotBuild", "build", "missing_tools"]

CACHE = roots.CACHE.with_name("vm")

# What the image, the machine and the tests on it take: see bindep.txt.
TOOLS = (*roots.TOOLS, QEMU, "mkfs.ext4")

_SUITE = "bookworm"
_PACKAGES = (
    *(
        "systemd-sysv",
        "dbus",
        "libpam-systemd",
        "udev",
        "openssh-server",
        "python3",
        "iproute2",
        "procps",
        "kmod",
        "netbase",
    ),
    *("grub-pc", "initramfs-tools", "lz4"),
)
_SCRIPT = Path(__file__).with_name("image.sh")
_MIB = 1024 * 1024
_SIZE = 1536 * _MIB
# Where the one partition begins: before it GRUB has its core.
_START = _MIB


def missing_tools() -> list[str]:
    return [tool for tool in TOOLS if shutil.which(tool) is None]


def build() -> Path:
    """Return a folder with disk.img and host_key.pub, made first where it is not there yet: that takes a minute.

    One is made at a time, also by test runs side by side. Raises CannotBuild.
    """
    recipe = json.dumps([_PACKAGES, roots.OPTIONS, _SIZE, _START, _SCRIPT.read_text()])
    folder = CACHE / f"{_SUITE}-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            # Under another name: what was interrupted is not taken for an image.
            with tempfile.TemporaryDirectory(dir=CACHE, prefix="making-") as making:
                _make(Path(making, "root"), made := Path(making, "made"))
                for old in CACHE.glob(f"{_SUITE}-*"):
                    shutil.rmtree(old)
                made.rename(folder)
    return folder


def _make(root: Path, made: Path) -> None:
    made.mkdir()
    identity = str(uuid.uuid4())
    command(
        [
            *("unshare", "--mount", "--propagation", "private", "mmdebstrap", *roots.OPTIONS),
            *(f"--include={','.join(_PACKAGES)}", f'--customize-hook=sh {_SCRIPT} furnish "$1" {identity}'),
            *(_SUITE, root, roots.mirror()),
        ]
    )
    root.chmod(0o755)
    shutil.copy(root / "etc/ssh/ssh_host_ed25519_key.pub", made / "host_key.pub")
    image = made / "disk.img"
    with image.open("wb") as disk:
        disk.truncate(_SIZE)
        disk.write(_master_boot_record())
    blocks = (_SIZE - _START) // 4096
    command(["mkfs.ext4", "-q", "-b", "4096", "-U", identity, "-E", f"offset={_START}", "-d", root, image, str(blocks)])
    said = command(
        [
            *("timeout", "--signal=KILL", "180", *emulator(), "-no-reboot", "-serial", "stdio"),
            *("-drive", f"file={image},format=raw,if=virtio,cache=unsafe"),
            *("-kernel", root / "vmlinuz", "-initrd", root / "initrd.img"),
            *("-append", "root=/dev/vda1 rw console=ttyS0 quiet panic=1 init=/image.sh"),
        ]
    )
    if "\ninstalled" not in said.replace("\r", ""):
        raise CannotBuild(f"the machine did not install GRUB:\n{said[-4000:]}")


def _master_boot_record() -> bytes:
    """One bootable partition of Linux from _START to the end, in sectors: its entry is the first of four, at byte 446."""
    entry = struct.pack(
        "<B3sB3sII", 0x80, b"\xfe\xff\xff", 0x83, b"\xfe\xff\xff", _START // 512, (_SIZE - _START) // 512
    )
    return bytes(446) + entry + bytes(3 * 16) + b"\x55\xaa"
