# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults: a machine whose calls fail, and processes that die, at a chosen step."""

from __future__ import annotations

import os
import signal
import traceback
from pathlib import Path
from typing import Any, Callable

import pytest

from ansible_collections.bulwark.node.plugins.module_utils import host as host_module

Fault = Callable[..., Any]


class FaultyOs:
    """The module ``os`` as host.py sees it. ``faults`` says what the nth call of a name does instead; ``calls`` logs all."""

    def __init__(self, faults: dict[tuple[str, int], Fault]) -> None:
        self.faults = faults
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name == "O_TRUNC":
            # A kernel attribute, for which a file stands in a test, loses nothing by being opened.
            return 0
        if not callable(real) or isinstance(real, type):
            return real

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append((name, args))
            nth = sum(1 for each, _dummy in self.calls if each == name)
            fault = self.faults.get((name, nth)) or self.faults.get((name, 0))
            return fault(*args, **kwargs) if fault else real(*args, **kwargs)

        return call

    def count(self, name: str) -> int:
        """How often a function was called."""
        return sum(1 for each, _dummy in self.calls if each == name)


def refuse(code: int) -> Fault:
    """A call that the kernel refuses."""

    def fault(*args: Any, **kwargs: Any) -> Any:
        raise OSError(code, os.strerror(code))

    return fault


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FaultyOs]:
    """Put faults in: ``faulty(("fsync", 2), errno.EIO)``; the call number 0 is every call. An errno or a function."""

    def install(step: tuple[str, int] | None = None, fault: int | Fault = 0) -> FaultyOs:
        faults = {} if step is None else {step: refuse(fault) if isinstance(fault, int) else fault}
        proxy = FaultyOs(faults)
        monkeypatch.setattr(host_module, "os", proxy)
        return proxy

    return install


@pytest.fixture
def in_child() -> Callable[[Callable[[], object]], int]:
    """Run a function in a forked process: its exit code, or the negative number of the signal that ended it."""

    def run(action: Callable[[], object]) -> int:
        pid = os.fork()
        if pid == 0:
            try:
                # A function that hangs fails by SIGALRM.
                signal.alarm(10)
                action()
                os._exit(0)
            except BaseException:  # noqa: BLE001 - the child must never return into pytest
                traceback.print_exc()
                os._exit(1)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    return run


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """An empty root, in a folder of its own: what lies beside it is outside."""
    root = tmp_path / "root"
    root.mkdir()
    return root
