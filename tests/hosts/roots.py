# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The root file systems of the test machines: Debian, made once by mmdebstrap and kept in .cache/hosts.

A root is a plain folder that nobody writes to: machines boot from an overlay over it. Nothing is mounted in it, so that
``make clean`` may remove it. Its name ends with a hash of what it was made by: with another recipe it is made anew.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "CACHE",
    "OPTIONS",
    "RELEASES",
    "TOOLS",
    "VARIANTS",
    "CannotBuild",
    "Release",
    "build",
    "command",
    "mirror",
    "missing_tools",
]

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "hosts"

# What the machines, their start and the tests on them take: see bindep.txt.
TOOLS = ("mmdebstrap", "systemd-nspawn", "unshare", "nsenter", "setpriv", "ip", "ssh", "ssh-keygen")

# For mmdebstrap, whatever it makes. Nobody needs a root that was being made when this machine lost its power.
OPTIONS = (
    *("--quiet", "--mode=root", "--variant=minbase", "--format=directory", "--aptopt=Acquire::Languages none"),
    *("--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=force-unsafe-io"),
)

# What a server of Debian has beyond what mmdebstrap's smallest variant has. No udev: it would ask the kernel to
# announce the devices of the real machine again.
_PACKAGES = (
    *("systemd-sysv", "dbus", "libpam-systemd", "openssh-server", "python3", "iproute2", "procps", "kmod"),
    *("ca-certificates", "netbase"),
)

# Timers that fire at a moment of their own choice; machines have no way to the internet, and tests compare files.
_MASKED = ("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer")

_HOOKS = (
    'chroot "$1" systemctl --quiet enable systemd-networkd.service',
    f'chroot "$1" systemctl --quiet mask {" ".join(_MASKED)}',
    # ssh is told the one host key to expect. The machine gets its own name and machine-id when it is made.
    'rm -f "$1"/etc/ssh/ssh_host_rsa_key* "$1"/etc/ssh/ssh_host_ecdsa_key* "$1"/etc/resolv.conf "$1"/etc/hostname',
)
_REQUIREMENTS = Path(__file__).parents[2] / "requirements.txt"
_CONTROLLER_HOOKS = (
    'mkdir "$1/wheels" && cp "$WHEELS"/*.whl "$1/wheels"',
    'chroot "$1" python3 -m venv /opt/ansible',
    'chroot "$1" sh -c "/opt/ansible/bin/pip install --quiet --no-index /wheels/*.whl"',
    'rm -r "$1/wheels"',
)


class CannotBuild(Exception):
    """A root cannot be made here, and why."""


@dataclass(frozen=True)
class Release:
    """A release of Debian: ``python`` is that of its python3; a ``controller`` has ansible-core in /opt/ansible.

    ``packages`` are those beyond what all have.
    """

    suite: str
    python: str
    controller: bool = False
    packages: tuple[str, ...] = ()


RELEASES = {
    "11": Release("bullseye", "3.9"),
    "12": Release("bookworm", "3.11"),
    "13": Release("trixie", "3.13", controller=True),
}
VARIANTS = {
    "12+ifupdown": Release("bookworm", "3.11", packages=("ifupdown", "bridge-utils", "netplan.io")),
    "12+networkmanager": Release("bookworm", "3.11", packages=("network-manager", "ifupdown2")),
}
"""Releases with other managers of the network, for the tests that name them."""


def missing_tools() -> list[str]:
    return [tool for tool in TOOLS if shutil.which(tool) is None]


def build(version: str) -> Path:
    """Return the root of Debian ``version``, a variant or not, made first where it is not there yet: that takes half a minute.

    One is made at a time, also by test runs side by side, since each takes a processor and the mirror's patience.
    Raises CannotBuild.
    """
    release = {**RELEASES, **VARIANTS}[version]
    recipe = _recipe(release)
    key = hashlib.sha256(json.dumps([release.suite, *recipe]).encode()).hexdigest()[:16]
    root = CACHE / f"debian{version}-{key}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.is_dir():
            _make(release, recipe, root)
            for old in set(CACHE.glob(f"debian{version}-*")) - {root}:
                shutil.rmtree(old)
    return root


def _recipe(release: Release) -> list[str]:
    """The options of mmdebstrap."""
    hooks = (*_HOOKS, *(_CONTROLLER_HOOKS if release.controller else ()))
    packages = (*_PACKAGES, *(("python3-venv", "openssh-client") if release.controller else ()), *release.packages)
    return [*OPTIONS, f"--include={','.join(packages)}", *(f"--customize-hook={hook}" for hook in hooks)]


def _make(release: Release, recipe: list[str], root: Path) -> None:
    """Make it under another name: what was interrupted is not taken for a root."""
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="making-") as folder:
        target, wheels = Path(folder, "root"), Path(folder, "wheels")
        if release.controller:
            _download_ansible(release, wheels)
        # What mmdebstrap mounts below the target goes with the mount namespace, even when mmdebstrap is killed.
        command(
            ["unshare", "--mount", "--propagation", "private", "mmdebstrap", *recipe, release.suite, target, mirror()],
            WHEELS=str(wheels),
        )
        # It is 0700 like all that mkdtemp makes, and / of a machine would be as well.
        target.chmod(0o755)
        target.rename(root)


def _download_ansible(release: Release, folder: Path) -> None:
    """Get the newest ansible-core for the release's Python, and what the collection needs beside it, with this machine's pip,
    which knows from where and how."""
    platforms = [f"manylinux_2_{minor}_{platform.machine()}" for minor in (17, 28, 34)]
    command(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:"),
            *("--python-version", release.python, *(f"--platform={name}" for name in platforms)),
            *("--platform=manylinux2014_" + platform.machine(), "--dest", folder, "ansible-core"),
            *("-r", _REQUIREMENTS),
        ]
    )


def mirror() -> str:
    """The address that apt of this machine, a Debian too, has its release from: all releases are there. Or $DEBIAN_MIRROR."""
    if named := os.environ.get("DEBIAN_MIRROR"):
        return named
    system = platform.freedesktop_os_release()
    if system["ID"] != "debian":
        raise CannotBuild("this machine is no Debian: DEBIAN_MIRROR=<address> names the mirror to build from")
    only = ("Identifier: Packages", "Component: main", f"Release: {system['VERSION_CODENAME']}")
    addresses = command(["apt-get", "indextargets", "--format", "$(REPO_URI)", *only]).split()
    if not addresses:
        raise CannotBuild("apt of this machine knows no mirror of its release: DEBIAN_MIRROR=<address> names one")
    return addresses[0]


def command(argv: list[str | Path], **environment: str) -> str:
    """Run it, at most a quarter of an hour, and return what it printed. Raises CannotBuild."""
    done = subprocess.run(
        argv, capture_output=True, text=True, check=False, timeout=900, env={**os.environ, **environment}
    )
    if done.returncode != 0:
        raise CannotBuild(f"{' '.join(map(str, argv[:6]))} … failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout
