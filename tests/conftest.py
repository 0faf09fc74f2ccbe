# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What unit and integration tests have in common: with REQUIRE_ALL=1 a skip is a failure."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

# The one reason that stands: the machine lacks the hardware (no /dev/kvm, one NUMA node).
HARDWARE = "hardware: "


# Where files cost no disk; what a test run writes is hundreds of thousands of small ones.
_MEMORY = Path("/dev/shm")
_ENOUGH = 4 << 30

R = TypeVar("R", pytest.TestReport, pytest.CollectReport)


def _no_skip(report: R) -> R:
    """Turn a skip into a failure that gives its reason."""
    if os.environ.get("REQUIRE_ALL") == "1" and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not reason.removeprefix("Skipped: ").startswith(HARDWARE):
            report.outcome = "failed"
            report.longrepr = f"skipped under REQUIRE_ALL=1: {reason}"
    return report


def pytest_configure() -> None:
    """Have temporary folders in memory where there is enough of it, and where files there can have all that files on disks have."""
    with contextlib.suppress(OSError), tempfile.NamedTemporaryFile(dir=_MEMORY) as probe:
        os.setxattr(probe.name, "user.probe", b"")
        if shutil.disk_usage(_MEMORY).free >= _ENOUGH:
            os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))


@pytest.fixture(scope="session")
def whole_memory() -> Iterator[None]:
    """The machine's memory is for one run alone: emulated machines, or tests that ask for more than there is. Waits for it."""
    lock = os.open("/sys/kernel", os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Look at the report of each test, whose mark or body may skip it."""
    return _no_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Look at the report of each file, which may skip itself while it is imported."""
    return _no_skip((yield))
