# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The subset ``time_sync``: the kernel's word on its clock, and what each daemon makes of that word."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Completed, Host
from ansible_collections.bulwark.node.plugins.module_utils.node import time_sync
from ansible_collections.bulwark.node.plugins.module_utils.node.request import Request
from ansible_collections.bulwark.node.plugins.module_utils.node.time_sync import Clock
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import lay

PLL, UNSYNC, NANO = 0x1, 0x40, 0x2000
KEPT, FREE = Clock(PLL | NANO, 0.00025), Clock(UNSYNC, 0.0)
# What chronyc 4.3 printed of a clock that was 4.8 s slow; captured.
TRACKING = (
    "7F7F0101,,10,1795227056.433057612,4.801765442,-4.801765442,4.801765442,0.000,0.000,0.000,"
    "0.000000000,0.000000000,0.0,Normal\n"
)
NO_OFFSET = "offset_s: the kernel was given none"
NO_DAEMON = "source: none of chronyd, systemd-timesyncd, ntpd runs"
ASK_CHRONYC = "offset_s: chronyd does not give it to the kernel; probe: active asks chronyc"


class Machine(Host):
    """A tree that passes for the machine itself, but for its clock and commands."""

    def __init__(self, tree: Path, files: dict[str, str], completed: Completed | None = None) -> None:
        lay(tree, {"files": files, "links": {}, "folders": []})
        super().__init__("/", None if completed is None else self._answer)
        self._tree, self._completed = tree, completed
        self.commands: list[list[str]] = []

    def _real(self, path: str) -> str:
        return f"{self._tree}{path}"

    def _answer(self, command: list[str]) -> Completed:
        self.commands.append(command)
        assert self._completed is not None
        return self._completed


def daemon(pid: int, name: str, uid: int = 105, nspid: str = "") -> dict[str, str]:
    status = f"Name:\t{name}\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nNSpid:\t{pid}{nspid}"
    return {f"/proc/{pid}/comm": name, f"/proc/{pid}/status": status}


CHRONYD = daemon(7, "chronyd")


def facts(
    monkeypatch: pytest.MonkeyPatch, host: Host, clock: Clock = FREE, active: bool = False
) -> tuple[bool | None, float | None, str | None, str | None]:
    monkeypatch.setattr(time_sync, "read_clock", lambda: clock)
    found = time_sync.facts(host, Request(active=active))
    assert list(found) == ["synchronized", "offset_s", "source", "reason"]
    return found["synchronized"], found["offset_s"], found["source"], found["reason"]


@pytest.mark.parametrize(
    ("files", "clock", "expected"),
    [
        ({}, FREE, (False, None, None, f"{NO_DAEMON}; {NO_OFFSET}")),
        # Another's, a hypervisor's tool for example.
        ({}, KEPT, (True, 0.00025, None, NO_DAEMON)),
        (daemon(7, "systemd-timesyn"), KEPT, (True, 0.00025, "systemd-timesyncd", None)),
        (daemon(7, "systemd-timesyn"), FREE, (False, None, "systemd-timesyncd", NO_OFFSET)),
        (daemon(7, "ntpd", 0), KEPT, (True, 0.00025, "ntpd", None)),
        (daemon(7, "ntpd", 0), Clock(NANO, 0.0), (True, None, "ntpd", NO_OFFSET)),
        (CHRONYD, Clock(0, 0.0), (True, None, "chronyd", ASK_CHRONYC)),
        ({**CHRONYD, "/etc/chrony.conf": " rtcsync # x"}, FREE, (False, None, "chronyd", ASK_CHRONYC)),
        ({**CHRONYD, "/etc/chrony/chrony.conf": "pool x\nrtcsync"}, FREE, (False, None, "chronyd", ASK_CHRONYC)),
        (
            {**CHRONYD, "/etc/chrony.conf": "#rtcsync\nrtcsyncx"},
            FREE,
            (None, None, "chronyd", f"synchronized: chronyd tells the kernel with rtcsync alone; {ASK_CHRONYC}"),
        ),
        # A person's process, a container's, and one of a longer name.
        (daemon(7, "chronyd", 1000), KEPT, (True, 0.00025, None, NO_DAEMON)),
        (daemon(7, "chronyd", 105, "\t1"), KEPT, (True, 0.00025, None, NO_DAEMON)),
        (daemon(7, "ntpd-x", 0), KEPT, (True, 0.00025, None, NO_DAEMON)),
        ({"/proc/7/comm": "ntpd"}, KEPT, (True, 0.00025, None, NO_DAEMON)),
        (
            {**CHRONYD, **daemon(8, "ntpd")},
            KEPT,
            (True, 0.00025, None, "source: chronyd and ntpd run together"),
        ),
    ],
)
def test_what_is_told_passively(
    monkeypatch: pytest.MonkeyPatch, tree: Path, files: dict[str, str], clock: Clock, expected: tuple[Any, ...]
) -> None:
    host = Machine(tree, files, Completed(1, "", ""))
    assert facts(monkeypatch, host, clock) == expected
    assert host.commands == []


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        (TRACKING, (True, 4.801765442, "chronyd", None)),
        (TRACKING.replace("Normal", "Insert second"), (True, 4.801765442, "chronyd", None)),
        (TRACKING.replace("Normal", "Not synchronised"), (False, 4.801765442, "chronyd", None)),
    ],
)
def test_an_active_probe_asks_chronyd(
    monkeypatch: pytest.MonkeyPatch, tree: Path, printed: str, expected: tuple[Any, ...]
) -> None:
    host = Machine(tree, CHRONYD, Completed(0, printed, ""))
    assert facts(monkeypatch, host, FREE, active=True) == expected
    assert host.commands == [["chronyc", "-n", "-c", "tracking"]]


@pytest.mark.parametrize(
    ("completed", "reason"),
    [
        (Completed(1, "506 Cannot talk to daemon\n", ""), "506 Cannot talk to daemon"),
        (Completed(0, "a,b", ""), "printed 'a,b'"),
        (Completed(0, TRACKING.replace("4.801765442", "x"), ""), "expected the fields of tracking"),
    ],
)
def test_a_chronyc_that_fails_leaves_the_kernels_word(
    monkeypatch: pytest.MonkeyPatch, tree: Path, completed: Completed, reason: str
) -> None:
    host = Machine(tree, {**CHRONYD, "/etc/chrony.conf": "rtcsync"}, completed)
    synchronized, offset, source, why = facts(monkeypatch, host, FREE, active=True)
    assert (synchronized, offset, source) == (False, None, "chronyd")
    assert why is not None
    assert why.startswith("offset_s: chronyc")
    assert reason in why


def test_an_active_probe_of_another_daemon_runs_nothing(monkeypatch: pytest.MonkeyPatch, tree: Path) -> None:
    host = Machine(tree, daemon(7, "systemd-timesyn"), Completed(0, TRACKING, ""))
    assert facts(monkeypatch, host, KEPT, active=True) == (True, 0.00025, "systemd-timesyncd", None)
    assert host.commands == []


def test_a_kernel_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch, tree: Path) -> None:
    def refuse() -> Clock:
        raise HostError("adjtimex", "cannot ask the kernel: EPERM (Operation not permitted)", "EPERM")

    monkeypatch.setattr(time_sync, "read_clock", refuse)
    assert time_sync.facts(Machine(tree, daemon(7, "ntpd"))) == {
        "synchronized": None,
        "offset_s": None,
        "source": "ntpd",
        "reason": "synchronized, offset_s: adjtimex: cannot ask the kernel: EPERM (Operation not permitted)",
    }


def test_a_tree_has_daemons_but_no_clock(tree: Path) -> None:
    lay(tree, {"files": CHRONYD, "links": {}, "folders": []})
    assert time_sync.facts(Host(root=str(tree))) == {
        "synchronized": None,
        "offset_s": None,
        "source": "chronyd",
        "reason": "synchronized, offset_s: a tree has no clock",
    }


def test_the_kernels_clock_is_read_in_its_own_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        def __init__(self, status: int, offset: int, rc: int = 0) -> None:
            self.status, self.offset, self.rc = status, offset, rc

        def adjtimex(self, pointer: Any) -> int:
            timex = pointer._obj
            assert timex.modes == 0
            timex.status, timex.offset = self.status, self.offset
            return self.rc

    for status, offset, expected in ((PLL, 250, 0.00025), (PLL | NANO, 250_000, 0.00025), (PLL, -1_000_000, -1.0)):
        library = Library(status, offset)
        monkeypatch.setattr(ctypes, "CDLL", lambda *rest, library=library, **more: library)
        clock = time_sync.read_clock()
        assert clock.status == status
        assert clock.offset == pytest.approx(expected)
    # The states of adjtimex(2) are no errors; 5 is TIME_ERROR, as of every clock that nobody keeps.
    monkeypatch.setattr(ctypes, "CDLL", lambda *rest, **more: Library(UNSYNC, 0, 5))
    assert time_sync.read_clock() == (UNSYNC, 0.0)
    monkeypatch.setattr(ctypes, "CDLL", lambda *rest, **more: Library(0, 0, -1))
    with pytest.raises(HostError, match="adjtimex: cannot ask the kernel"):
        time_sync.read_clock()
