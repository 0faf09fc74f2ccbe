# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""KVM tried out: a virtual machine, a virtual CPU and, on x86, five bytes of guest. Source: virt/kvm/api.rst.

It runs in a process of its own, which is killed when it takes too long: what KVM does wrong costs nobody else.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import select
import signal
import struct
import time

__all__ = ["GUEST", "try_out"]

SECONDS = 5.0
"""How long it may take altogether; a working KVM needs milliseconds."""
GUEST = "real_mode_guest"

_CREATE_VM, _CHECK_EXTENSION, _GET_VCPU_MMAP_SIZE = 0xAE01, 0xAE03, 0xAE04
_CREATE_VCPU, _SET_TSS_ADDR, _SET_USER_MEMORY_REGION = 0xAE41, 0xAE47, 0x4020AE46
_RUN, _SET_REGS, _GET_SREGS, _SET_SREGS = 0xAE80, 0x4090AE82, 0x8138AE83, 0x4138AE84
_CAP_USER_MEMORY = 3
_EXIT_IO, _EXIT_HLT = 2, 5
_EXIT_REASON, _EXIT_IO_FIELDS = 8, 32
_PAGE = 4096
_START = 0x1000
# Far from the guest's memory; ioctl() of Python takes no more than 31 bits.
_TSS = 0x7FFB0000
_PORT, _VALUE = 0x10, 42
# mov $42,%al; out %al,$0x10; hlt
_CODE = bytes((0xB0, _VALUE, 0xE6, _PORT, 0xF4))


class _Wrong(Exception):
    """KVM did something, but not what its documentation says."""


def try_out(kvm: int, x86: bool) -> tuple[list[str], tuple[str, str] | None]:
    """What was proven of ``vm``, ``vcpu`` and ``real_mode_guest`` (x86 alone), and the step that failed with its reason.

    ``kvm`` is a descriptor of /dev/kvm. Nothing is left of it.
    """
    steps = ["vm", "vcpu"] + ([GUEST] if x86 else [])
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _child(kvm, writer, x86)
    os.close(writer)
    try:
        said, ended = _listen(reader, time.monotonic() + SECONDS)
    finally:
        os.close(reader)
        status = _end(child)
    lines = said.decode("utf-8", "replace").split("\n")
    proven = [step for step in steps if step in lines]
    if proven == steps:
        return proven, None
    wrong = next((line[1:] for line in lines if line.startswith("!")), None)
    if wrong is None and ended and status is not None and os.WIFSIGNALED(status):
        wrong = f"the process that tried it was ended by signal {os.WTERMSIG(status)}"
    return proven, (steps[len(proven)], wrong or f"it did not end within {SECONDS:g} s")


def _listen(reader: int, deadline: float) -> tuple[bytes, bool]:
    """What the child says until the deadline, and whether it came to its end."""
    said = b""
    while select.select([reader], [], [], max(0.0, deadline - time.monotonic()))[0]:
        block = os.read(reader, _PAGE)
        if not block:
            return said, True
        said += block
    return said, False


def _end(child: int) -> int | None:
    """End the child: its wait status, or None where the kernel holds on to it."""
    for attempt in range(1000):
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return status
        # It has a moment to end by itself. Until it is waited for, its number is nobody else's.
        if attempt == 100:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.001)
    return None


def _child(kvm: int, writer: int, x86: bool) -> None:
    """Try each step and say so; never returns."""
    try:
        # Where the kernel holds on to us, the connection must not wait for our end.
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in {0, 1, 2} - {kvm, writer}:
            os.dup2(nowhere, stream)
        # Our parent may be ended before it can end us.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(int(SECONDS) + 1)
        _steps(kvm, writer, x86)
    except OSError as error:
        code = errno.errorcode.get(error.errno or 0, "error")
        hint = ": another hypervisor holds the CPU's virtualization" if error.errno == errno.EBUSY else ""
        os.write(writer, f"!{code} ({os.strerror(error.errno or 0)}){hint}\n".encode())
    except Exception as error:  # noqa: BLE001 - whatever it is, our parent is told of it
        os.write(writer, f"!{type(error).__name__}: {error}".partition("\n")[0].encode() + b"\n")
    finally:
        os._exit(0)


def _steps(kvm: int, writer: int, x86: bool) -> None:
    machine = _create_vm(kvm)
    if fcntl.ioctl(kvm, _CHECK_EXTENSION, _CAP_USER_MEMORY) != 1:
        raise _Wrong("KVM lacks the capability KVM_CAP_USER_MEMORY")
    os.write(writer, b"vm\n")
    cpu = fcntl.ioctl(machine, _CREATE_VCPU, 0)
    os.write(writer, b"vcpu\n")
    if x86:
        _run_guest(machine, cpu, fcntl.ioctl(kvm, _GET_VCPU_MMAP_SIZE, 0))
        os.write(writer, f"{GUEST}\n".encode())


def _create_vm(kvm: int) -> int:
    for remaining in (2, 1, 0):
        try:
            return fcntl.ioctl(kvm, _CREATE_VM, 0)
        except InterruptedError:
            # A signal at the wrong time, which says nothing of KVM.
            if not remaining:
                raise
    raise AssertionError


def _run_guest(machine: int, cpu: int, size: int) -> None:
    """Run the five bytes: one byte written to a port, then halt. Raises _Wrong or OSError."""
    memory = mmap.mmap(-1, _PAGE)
    memory.write(_CODE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    with contextlib.suppress(OSError):
        # An Intel CPU without "unrestricted guest" emulates real mode and needs three pages for it; others do not ask.
        fcntl.ioctl(machine, _SET_TSS_ADDR, _TSS)
    fcntl.ioctl(machine, _SET_USER_MEMORY_REGION, struct.pack("=IIQQQ", 0, 0, _START, _PAGE, address))
    special = bytearray(312)
    fcntl.ioctl(cpu, _GET_SREGS, special)
    # The segment cs comes first: base (64 bits), limit (32), selector (16).
    struct.pack_into("=Q", special, 0, 0)
    struct.pack_into("=H", special, 12, 0)
    fcntl.ioctl(cpu, _SET_SREGS, bytes(special))
    # Sixteen registers, then rip and rflags, of which bit 1 is always set.
    fcntl.ioctl(cpu, _SET_REGS, struct.pack("=18Q", *[0] * 16, _START, 2))
    state = mmap.mmap(cpu, size)
    fcntl.ioctl(cpu, _RUN, 0)
    reason = struct.unpack_from("=I", state, _EXIT_REASON)[0]
    if reason != _EXIT_IO:
        raise _Wrong(f"the guest ended with KVM exit {reason} instead of writing to a port")
    direction, width, port, count, offset = struct.unpack_from("=BBHIQ", state, _EXIT_IO_FIELDS)
    if (direction, width, port, count, state[offset]) != (1, 1, _PORT, 1, _VALUE):
        raise _Wrong("the guest wrote something else to a port than it was told")
    fcntl.ioctl(cpu, _RUN, 0)
    reason = struct.unpack_from("=I", state, _EXIT_REASON)[0]
    if reason != _EXIT_HLT:
        raise _Wrong(f"the guest ended with KVM exit {reason} instead of halting")
