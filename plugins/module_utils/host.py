# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The only door to the machine: files, kernel attributes and commands below one root.

Everything takes absolute paths as the machine itself sees them; with another ``root`` (a captured tree, ``/host`` in a
privileged pod) symlinks are resolved inside that root. Nothing here knows what the files mean.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import posixpath
import re
import secrets
import stat
import struct
import time
from collections.abc import Iterator
from typing import Callable, NamedTuple

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError

__all__ = ["READ_LIMIT", "Completed", "Host", "Runner"]

READ_LIMIT = 4 << 20
"""Bytes: no file that we read is larger on a sane machine, and a hostile one shall not fill our memory."""

_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ESRCH, errno.ENODEV}
# The kernel computes these over the content; copied onto another content they would be wrong.
_CONTENT_XATTRS = {"security.ima", "security.evm"}
_NO_XATTRS = {errno.ENOTSUP, errno.ENOSYS}
_MAX_SYMLINKS = 40
# What overlays the permission bits: an inherited one gives to others what the old file did not.
_ACL = "system.posix_acl_access"
_STALE_SECONDS = 3600
# A sysctl allocates the whole buffer that a read offers, and refuses a large one with ENOMEM.
_BLOCK = 64 << 10


class Completed(NamedTuple):
    """What a command left: its return code and its decoded output."""

    rc: int
    stdout: str
    stderr: str


Runner = Callable[[list[str]], Completed]


class Host:
    """One machine, seen from ``root``. ``run`` executes an argument list (never a shell) and is handed in by the boundary."""

    def __init__(self, root: str = "/", run: Runner | None = None) -> None:
        # Free of symlinks, so that what lies below it is told by its prefix.
        self.root = os.path.realpath(root).rstrip("/")
        self._run = run

    # reading

    def read_bytes(self, path: str, limit: int = READ_LIMIT) -> bytes | None:
        """The content of a file, or None where it does not exist (or its process or device is gone).

        Raises HostError where it cannot be read, is a FIFO, or holds more than ``limit`` bytes.
        """
        descriptor = self.open(path)
        if descriptor is None:
            return None
        try:
            if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
                raise HostError(path, "is a FIFO, expected a file")
            content = bytearray()
            while len(content) <= limit:
                block = os.read(descriptor, _BLOCK)
                if not block:
                    return bytes(content)
                content += block
        except OSError as error:
            if error.errno in _GONE:
                return None
            raise HostError.from_os(path, "read", error) from error
        finally:
            os.close(descriptor)
        raise HostError(path, f"holds more than {limit} bytes; nothing that large is expected here")

    def open(self, path: str, flags: int = os.O_RDONLY) -> int | None:
        """A descriptor, which the caller closes, for what is no text (ioctl, pread); None as in ``read_bytes``. Raises HostError."""
        try:
            # O_NONBLOCK: a FIFO in the place of a file must not hang the run.
            return os.open(self._real(path), flags | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno in _GONE:
                return None
            raise HostError.from_os(path, "open" if flags else "read", error) from error

    def read(self, path: str, limit: int = READ_LIMIT) -> str | None:
        """The text of a file, or None where it does not exist. Bytes that are not UTF-8 come as ``\\xNN``."""
        content = self.read_bytes(path, limit)
        return None if content is None else content.decode("utf-8", "backslashreplace")

    def lines(self, path: str) -> Iterator[str]:
        """The lines of a file as they are read, however many there are; none where it does not exist. Raises HostError.

        A line of more than 64 KiB comes in pieces.
        """
        descriptor = self.open(path)
        if descriptor is None:
            return
        rest = b""
        try:
            while True:
                block = os.read(descriptor, _BLOCK)
                *whole, rest = (rest + block).split(b"\n")
                if rest and (not block or len(rest) > _BLOCK):
                    whole, rest = [*whole, rest], b""
                yield from (line.decode("utf-8", "backslashreplace") for line in whole)
                if not block:
                    return
        except OSError as error:
            if error.errno not in _GONE:
                raise HostError.from_os(path, "read", error) from error
        finally:
            os.close(descriptor)

    def integer(self, path: str) -> int | None:
        """The decimal number that a file holds alone, or None where the file does not exist."""
        text = self.read(path, 4096)
        if text is None:
            return None
        if not re.fullmatch(r"\s*-?[0-9]{1,20}\s*", text, re.ASCII):
            raise HostError(path, f"holds {text.strip()[:60]!r}, expected a number")
        return int(text)

    def names(self, path: str) -> list[str]:
        """The sorted names in a folder; empty where there is no such folder."""
        try:
            return sorted(
                os.fsencode(name).decode("utf-8", "backslashreplace") for name in os.listdir(self._real(path))
            )
        except OSError as error:
            if error.errno in _GONE:
                return []
            raise HostError.from_os(path, "list", error) from error

    def folders(self, path: str) -> list[str]:
        """The sorted names of the folders in a folder, symlinks to folders left out; empty where there is no such folder."""
        try:
            with os.scandir(self._real(path)) as entries:
                found = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError as error:
            if error.errno in _GONE:
                return []
            raise HostError.from_os(path, "list", error) from error
        # What has no UTF-8 name cannot be named to us either.
        return sorted(name for name in found if name.isprintable())

    def exists(self, path: str) -> bool:
        """True where something is at the path, a dangling symlink not counted. Raises HostError where it may not be seen."""
        return self.mode_and_owner(path) is not None

    def is_file(self, path: str) -> bool:
        """True where a regular file is at the path, or a symlink to one."""
        status = self._stat(path)
        return status is not None and stat.S_ISREG(status.st_mode)

    def link_target(self, path: str) -> str | None:
        """What a symlink holds, or None where the path is no symlink."""
        try:
            return os.readlink(self._real_parent(path))
        except OSError as error:
            if error.errno in _GONE or error.errno == errno.EINVAL:
                return None
            raise HostError.from_os(path, "read the symlink", error) from error

    def mode_and_owner(self, path: str) -> tuple[int, int, int] | None:
        """(permission bits, uid, gid) of what is at the path, or None."""
        status = self._stat(path)
        return None if status is None else (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)

    def device_number(self, path: str) -> str | None:
        """``major:minor`` of a character device, as its ``dev`` in /sys says it; None where the path is none."""
        status = self._stat(path)
        if status is None or not stat.S_ISCHR(status.st_mode):
            return None
        return f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"

    def acl(self, path: str) -> bytes | None:
        """The access ACL of a file in the kernel's own form (linux/posix_acl_xattr.h), or None where it has none."""
        try:
            return os.getxattr(self._real(path), _ACL)
        except OSError as error:
            if error.errno in _GONE | _NO_XATTRS | {errno.ENODATA}:
                return None
            raise HostError.from_os(path, "read the ACL", error) from error

    def resolved(self, path: str) -> str:
        """The path without symlinks, as the machine itself sees it, whether something is there or not."""
        return os.path.realpath(self._real(path))[len(self.root) :] or "/"

    def statvfs(self, path: str) -> os.statvfs_result | None:
        """What the file system says of itself, as statvfs(3) does, or None where nothing is at the path."""
        try:
            return os.statvfs(self._real(path))
        except OSError as error:
            if error.errno in _GONE:
                return None
            raise HostError.from_os(path, "statvfs", error) from error

    def changed_at(self, path: str) -> int | None:
        """When what is at the path came there or last changed, in seconds since the epoch, or None where nothing is.

        The time of the inode's last change: packages and archives set the other ones to times of their own.
        """
        status = self._stat(path)
        return None if status is None else int(status.st_ctime)

    def days_unchanged(self, path: str) -> int | None:
        """For how many whole days what is at the path has been there unchanged, by the machine's clock; None where nothing is."""
        changed = self.changed_at(path)
        return None if changed is None else max(0, int(time.time() - changed) // 86400)

    def is_write_locked(self, path: str) -> bool | None:
        """Whether a process holds a record lock for writing on a file (fcntl(2)); None where there is no such file.

        It is only asked for (F_GETLK), no lock is taken. Raises HostError where the file may not be opened.
        """
        descriptor = self.open(path)
        if descriptor is None:
            return None
        try:
            # struct flock: a lock for reading, of the whole file, conflicts with those for writing alone.
            asked = struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
            answer = fcntl.fcntl(descriptor, fcntl.F_GETLK, asked)
        except OSError as error:
            raise HostError.from_os(path, "ask for locks", error) from error
        finally:
            os.close(descriptor)
        return bool(struct.unpack_from("h", answer)[0] != fcntl.F_UNLCK)

    def _stat(self, path: str) -> os.stat_result | None:
        try:
            return os.stat(self._real(path))
        except OSError as error:
            if error.errno in _GONE:
                return None
            raise HostError.from_os(path, "stat", error) from error

    def may_write(self, path: str) -> bool:
        """Whether we may write what is at the path, or into the folder that is there."""
        return os.access(self._real(path), os.W_OK)

    def same_file(self, one: str, other: str) -> bool | None:
        """Whether two paths lead to the same file or folder; None where that is not there or may not be seen."""
        try:
            return os.path.samefile(self._real(one), self._real(other))
        except OSError:
            return None

    def uptime(self) -> float:
        """Seconds since boot, suspend included: the clock of process start times, which nobody can set."""
        text = self.read("/proc/uptime")
        try:
            return float((text or "").split()[0])
        except (ValueError, IndexError):
            raise HostError("/proc/uptime", f"holds {(text or '')[:60]!r}, expected seconds") from None

    def boot_id(self) -> str:
        """Which boot this is, empty where the kernel does not tell."""
        return (self.read("/proc/sys/kernel/random/boot_id") or "").strip()

    # writing

    def write(self, path: str, value: str) -> None:
        """Give a value to a kernel attribute (/proc/sys, /sys): one write(2), no file is ever created."""
        try:
            descriptor = os.open(self._real(path), os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
            try:
                data = value.encode()
                written = os.write(descriptor, data)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise HostError.from_os(path, f"write {value!r}", error) from error
        if written != len(data):
            raise HostError(path, f"took {written} of the {len(data)} bytes of {value!r}")

    def give(self, path: str, mode: int, owner: tuple[int, int]) -> None:
        """Give what is at the path to (uid, gid), with these permission bits: of a device's node, which ``replace`` cannot make."""
        try:
            os.chown(self._real(path), *owner)
            # After chown, which clears the set-id bits.
            os.chmod(self._real(path), mode)
        except OSError as error:
            raise HostError.from_os(path, f"give mode {mode:04o} and owner {owner[0]}:{owner[1]}", error) from error

    def replace(self, path: str, content: bytes, mode: int = 0o644, owner: tuple[int, int] | None = None) -> None:
        """Give a file a new content, whole or not at all, and durable: temporary file, fsync, rename, fsync of the folder.

        Mode, owner, ACL, SELinux label and other extended attributes of the old file are kept; a new file gets
        ``mode``, ``owner`` (uid, gid; None: ours) and what the folder gives. A symlink is followed only to a file in its
        own folder. On a HostError the old file is untouched, unless the last fsync failed: then the new one is there,
        and it alone is not known to be durable.
        """
        folder, name = self._destination(path)
        try:
            directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise HostError.from_os(path, "open the folder", error) from error
        temporary = f".{name}.bulwark-{secrets.token_hex(8)}"
        try:
            _sweep(directory, name)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(temporary, flags, 0o600, dir_fd=directory)
            try:
                view = memoryview(content)
                while view:
                    view = view[os.write(descriptor, view) :]
                # After the content: a write takes set-id bits and capabilities away.
                if not _keep_attributes(directory, name, descriptor):
                    if owner is not None:
                        os.fchown(descriptor, *owner)
                    os.fchmod(descriptor, mode)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
            os.fsync(directory)
        except BaseException as error:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=directory)
            if isinstance(error, OSError):
                raise HostError.from_os(path, "write", error) from error
            raise
        finally:
            os.close(directory)

    def symlink(self, target: str, path: str) -> None:
        """Make a symlink where nothing is yet. Raises HostError where something is."""
        try:
            os.symlink(target, self._real_parent(path))
        except OSError as error:
            raise HostError.from_os(path, "make the symlink", error) from error

    def remove(self, path: str) -> None:
        """Remove a file or a symlink (itself, not what it points to); nothing happens where there is none."""
        real = self._real_parent(path)
        try:
            os.unlink(real)
            directory = os.open(posixpath.dirname(real), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            if error.errno not in _GONE:
                raise HostError.from_os(path, "remove", error) from error

    def rename(self, path: str, new: str) -> bool:
        """Give a file another name in its folder; False where it is not there. Of two who try it one succeeds."""
        try:
            os.rename(self._real_parent(path), self._real_parent(new))
        except OSError as error:
            if error.errno in _GONE:
                return False
            raise HostError.from_os(path, "rename", error) from error
        return True

    def make_folder(self, path: str, mode: int = 0o755) -> list[str]:
        """Make a folder of this mode, whatever the umask, and those above it with 0755; what was made comes back, the topmost first.

        Raises HostError where one cannot be made, or is no folder; then none is left.
        """
        made: list[str] = []
        parts = path.strip("/").split("/")
        try:
            for depth in range(1, len(parts) + 1):
                current = "/" + "/".join(parts[:depth])
                try:
                    os.mkdir(self._real_parent(current), 0o700)
                    made.append(current)
                    os.chmod(self._real(current), mode if depth == len(parts) else 0o755)
                except OSError as error:
                    if not (error.errno == errno.EEXIST and os.path.isdir(self._real(current))):
                        raise HostError.from_os(current, "make the folder", error) from error
        except BaseException:
            for folder in reversed(made):
                with contextlib.suppress(HostError):
                    self.remove_folder(folder)
            raise
        return made

    def remove_folder(self, path: str) -> bool:
        """Remove a folder if it is empty; False where it is not, or is not there."""
        try:
            os.rmdir(self._real_parent(path))
        except OSError as error:
            if error.errno in _GONE or error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY):
                return False
            raise HostError.from_os(path, "remove the folder", error) from error
        return True

    @contextlib.contextmanager
    def locked(self, path: str, seconds: float) -> Iterator[None]:
        """Hold an advisory lock; HostError naming the process that keeps it longer than ``seconds``. It dies with us."""
        try:
            descriptor = os.open(self._real(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise HostError.from_os(path, "open", error) from error
        try:
            deadline = time.monotonic() + seconds
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError as error:
                    if error.errno not in (errno.EAGAIN, errno.EACCES):
                        raise HostError.from_os(path, "lock", error) from error
                if time.monotonic() >= deadline:
                    holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
                    raise HostError(
                        path,
                        f"another run{holder and f' (process {holder})'} is changing this node and did not finish in "
                        f"{seconds:.0f} s; try again",
                    )
                time.sleep(0.1)
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(descriptor)

    # commands

    def attempt(self, command: list[str]) -> Completed:
        """Run a command to its end, whatever it returns (127: it could not be started). Raises HostError in a mere tree."""
        if self._run is None:
            raise HostError.from_command(command[:1], "no command can be run in this tree")
        return self._run(command)

    def run(self, command: list[str]) -> Completed:
        """Run a command to its end. Raises HostError where it cannot be started or does not return 0."""
        completed = self.attempt(command)
        if completed.rc != 0:
            said = (completed.stderr or completed.stdout).strip() or "nothing"
            raise HostError.from_command(command, f"returned {completed.rc} and said: {said[:500]}")
        return completed

    def detach(self, command: list[str]) -> None:
        """Start a program, by its path, that outlives us, in a session of its own and with no file of ours. Raises HostError."""
        if not os.access(command[0], os.X_OK):
            raise HostError.from_command(command, f"cannot be started: {os.strerror(errno.ENOENT)}")
        child = os.fork()
        if child == 0:
            try:
                os.chdir("/")
                nothing = os.open("/dev/null", os.O_RDWR)
                for descriptor in range(3):
                    os.dup2(nothing, descriptor)
                os.closerange(3, 1 << 16)
                # Nobody of ours is left to wait for it: that is init's.
                if os.fork() == 0:
                    os.setsid()
                    os.execv(command[0], command)
            finally:
                os._exit(0)
        os.waitpid(child, 0)

    # paths

    def _real(self, path: str) -> str:
        """Where a path of the machine lies, its symlinks resolved as the machine would."""
        _refuse_nul(path)
        if not self.root:
            return path
        done, todo, hops = "", path.split("/"), 0
        while todo:
            part = todo.pop(0)
            if part in ("", "."):
                continue
            if part == "..":
                done = posixpath.dirname(done).rstrip("/")
                continue
            candidate = f"{done}/{part}"
            try:
                target = os.readlink(self.root + candidate)
            except OSError:
                done = candidate
                continue
            hops += 1
            if hops > _MAX_SYMLINKS:
                raise HostError(path, "too many symlinks", "ELOOP")
            if target.startswith("/"):
                done = ""
            todo = target.split("/") + todo
        return self.root + (done or "/")

    def _real_parent(self, path: str) -> str:
        """As ``_real``, but the last name is not followed."""
        _refuse_nul(path)
        folder, name = posixpath.split(path)
        return posixpath.join(self._real(folder), name)

    def destination(self, path: str) -> str:
        """The file that ``replace`` replaces: of a symlink the one in its folder that it leads to, there or not yet.

        Raises HostError where it leads out of its folder, or to what is no regular file.
        """
        return posixpath.join(posixpath.dirname(path), self._destination(path)[1])

    def _destination(self, path: str) -> tuple[str, str]:
        """Real folder and name of the file that a replacement of ``path`` replaces."""
        folder, name = posixpath.split(path)
        real_folder = os.path.realpath(self._real(folder))
        if self.link_target(path) is not None:
            real = os.path.realpath(self._real(path))
            if posixpath.dirname(real) != real_folder:
                raise HostError(path, f"is a symlink to {real[len(self.root) :]}, outside of its folder; refused")
            name = posixpath.basename(real)
        try:
            mode = os.stat(posixpath.join(real_folder, name), follow_symlinks=False).st_mode
        except OSError as error:
            if error.errno not in _GONE:
                raise HostError.from_os(path, "stat", error) from error
        else:
            if not stat.S_ISREG(mode):
                raise HostError(path, "is not a regular file; refused")
        return real_folder, name


def _refuse_nul(path: str) -> None:
    """A path from a hostile file may hold what the kernel's paths cannot; Python raises no OSError for it."""
    if "\0" in path:
        raise HostError(path.replace("\0", "\\0"), "is no path: it holds a NUL", "EINVAL")


def _keep_attributes(directory: int, name: str, descriptor: int) -> bool:
    """Give the new file what the old one of that name has; False where there is no old one."""
    try:
        old = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=directory)
    except FileNotFoundError:
        return False
    try:
        status = os.fstat(old)
        os.fchown(descriptor, status.st_uid, status.st_gid)
        # After chown, which clears the set-id bits; before the ACL, whose mask chmod would change.
        os.fchmod(descriptor, stat.S_IMODE(status.st_mode))
        try:
            attributes, inherited = os.listxattr(old), os.listxattr(descriptor)
        except OSError as error:
            if error.errno in _NO_XATTRS:
                return True
            raise
        if _ACL in inherited and _ACL not in attributes:
            os.removexattr(descriptor, _ACL)
        for attribute in attributes:
            if attribute not in _CONTENT_XATTRS:
                os.setxattr(descriptor, attribute, os.getxattr(old, attribute))
    finally:
        os.close(old)
    return True


def _sweep(directory: int, name: str) -> None:
    """Remove the temporary files of that name that a killed run left; a living run's is younger."""
    for found in os.listdir(directory):
        if re.fullmatch(rf"\.{re.escape(name)}\.bulwark-[0-9a-f]{{16}}", found):
            with contextlib.suppress(OSError):
                if os.stat(found, dir_fd=directory, follow_symlinks=False).st_mtime < time.time() - _STALE_SECONDS:
                    os.unlink(found, dir_fd=directory)
