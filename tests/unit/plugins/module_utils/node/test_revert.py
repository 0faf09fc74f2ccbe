# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The timer: what is armed, who is first, and what its script does when it is run."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError, HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Completed, Host
from ansible_collections.bulwark.node.plugins.module_utils.node import revert
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import lay

STATE = "/run/bulwark-revert.json"
OURS, THEIRS = "net:[4026531840]", "net:[4026532000]"
MTUS = [("br0", 1500), ("a'b`id`", 1400), (os.fsdecode(b"\xff$x"), 1300)]


class Machine(Host):
    """``commands`` are those that ran, ``detached`` those that were started to outlive us."""

    def __init__(self, root: Path, rc: int = 0) -> None:
        super().__init__(str(root), self._answer)
        self.rc = rc
        self.commands: list[list[str]] = []
        self.detached: list[list[str]] = []

    def _answer(self, command: list[str]) -> Completed:
        self.commands.append(command)
        return Completed(self.rc, "", "Failed to connect to bus")

    def detach(self, command: list[str]) -> None:
        self.detached.append(command)


def machine(tree: Path, systemd: bool = True, init: str = OURS, rc: int = 0) -> Machine:
    links = {"/proc/self/ns/net": OURS, "/proc/1/ns/net": init}
    folders = ["/run/systemd/system"] if systemd else ["/run"]
    lay(tree, {"files": {"/proc/uptime": "1000.00 1.00"}, "links": links, "folders": folders})
    return Machine(tree, rc)


def at(host: Host, uptime: float) -> None:
    Path(f"{host.root}/proc/uptime").write_text(f"{uptime} 1.00\n")


def test_it_is_a_timer_of_systemd_where_there_is_one(tree: Path) -> None:
    host = machine(tree)
    armed = revert.arm(host, MTUS, 60, "a 1 b 22")
    assert host.commands == [
        [
            *("systemd-run", "--quiet", "--collect", f"--unit=bulwark-revert-{armed.token}", "--on-active=60"),
            *("--timer-property=AccuracySec=100ms", "/bin/sh", armed.script),
        ]
    ]
    assert host.detached == []
    assert revert.pending(host) == armed == revert.Pending(armed.token, "a 1 b 22", 1060.0, tuple(MTUS))
    for now, seconds in ((1000, 60), (1059.6, 0), (1070, 0)):
        at(host, now)
        assert armed.seconds(host) == seconds
    assert (host.mode_and_owner(armed.script) or (0,))[0] == 0o600


@pytest.mark.parametrize(("systemd", "init"), [(False, OURS), (True, THEIRS)])
def test_without_systemd_or_in_another_namespace_it_is_a_process(tree: Path, systemd: bool, init: str) -> None:
    host = machine(tree, systemd, init)
    armed = revert.arm(host, MTUS, 60, None)
    assert host.commands == []
    assert host.detached == [["/bin/sh", "-c", 'sleep "$0"; exec /bin/sh "$1"', "60", armed.script]]
    assert revert.pending(host) == armed


def test_a_timer_that_is_refused_is_an_error_and_can_be_cancelled(tree: Path) -> None:
    host = machine(tree, rc=1)
    with pytest.raises(HostError, match=r"systemd-run .* Failed to connect to bus"):
        revert.arm(host, MTUS, 60, None)
    armed = revert.pending(host)
    assert armed
    assert revert.cancel(host, armed)
    assert host.names("/run") == ["systemd"]


def test_who_cancels_it_first_has_its_script_and_nothing_is_left(tree: Path) -> None:
    host = machine(tree)
    armed = revert.arm(host, MTUS, 60, None)
    script = host.read_bytes(armed.script)
    assert revert.cancel(host, armed)
    assert host.commands[1:] == [["systemctl", "stop", f"bulwark-revert-{armed.token}.timer"]]
    assert not revert.cancel(host, armed)
    assert revert.pending(host) is None
    assert host.names("/run") == ["systemd"]
    revert.act(host, armed, script or b"")
    assert host.commands[-1] == ["/bin/sh", armed.script]
    assert host.read_bytes(armed.script) == script


def test_it_is_pending_until_its_script_has_gone_or_should_have(tree: Path) -> None:
    host = machine(tree)
    armed = revert.arm(host, MTUS, 60, None)
    for uptime, is_pending in ((1059, True), (1069, True), (1071, False)):
        at(host, uptime)
        assert bool(revert.pending(host)) == is_pending
    at(host, 1001)
    host.rename(armed.script, f"{armed.script}.running")
    assert revert.pending(host) is None


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '{"token": "x", "connection": null, "deadline": 1}', '{"token": "1", "deadline": 1}'],
)
def test_a_state_that_is_not_ours_is_refused(tree: Path, content: str) -> None:
    host = machine(tree)
    Path(f"{tree}{STATE}").write_text(content)
    with pytest.raises(BulwarkError, match="is not what we wrote"):
        revert.pending(host)


def run(folder: Path, script: bytes, fails: bool = False) -> list[bytes]:
    """Run a script below a folder, with an ``ip`` and a ``logger`` that only note what they are asked."""
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    for name in ("ip", "logger"):
        status = 1 if fails else 0
        (programs / name).write_text(
            f'#!/bin/sh\nprintf "%s " {name} "$@" >>{folder}/log; echo >>{folder}/log\nexit {status}\n'
        )
        (programs / name).chmod(0o755)
    path = folder / "script.sh"
    path.write_bytes(script)
    environment = {"PATH": f"{programs}:{os.environ['PATH']}"}
    done = subprocess.run(["/bin/sh", path], env=environment, capture_output=True, timeout=20, check=True)
    assert done.stderr == b""
    return (folder / "log").read_bytes().splitlines() if (folder / "log").exists() else []


def relocated(host: Machine, armed: revert.Pending, sysfs: str) -> bytes:
    """The script with its paths below the tree."""
    script = (host.read_bytes(armed.script) or b"").replace(b"/run/", f"{host.root}/run/".encode())
    return script.replace(b"/sys/class/net", sysfs.encode())


def test_its_script_sets_each_link_whatever_its_name_and_cleans_up(tree: Path, tmp_path: Path) -> None:
    host = machine(tree)
    armed = revert.arm(host, MTUS, 60, None)
    script = relocated(host, armed, "/none")
    log = run(tmp_path, script)
    assert log[:3] == [
        b"ip link set dev br0 mtu 1500 ",
        b"ip link set dev a'b`id` mtu 1400 ",
        b"ip link set dev \xff$x mtu 1300 ",
    ]
    assert log[3].startswith(b"logger -t bulwark nobody confirmed")
    assert host.names("/run") == ["systemd"]
    # Another one that was slower finds nothing to do.
    (tmp_path / "log").unlink()
    assert run(tmp_path, script) == []


def test_without_ip_its_script_writes_to_sysfs(tree: Path, tmp_path: Path) -> None:
    host = machine(tree)
    armed = revert.arm(host, [("br0", 1500)], 60, None)
    (tmp_path / "net" / "br0").mkdir(parents=True)
    run(tmp_path, relocated(host, armed, str(tmp_path / "net")), fails=True)
    assert (tmp_path / "net" / "br0" / "mtu").read_text() == "1500\n"
    assert host.names("/run") == ["systemd"]


def test_a_script_that_was_cancelled_does_nothing_and_touches_no_other_timer(tree: Path, tmp_path: Path) -> None:
    host = machine(tree, systemd=False)
    first = revert.arm(host, MTUS, 60, None)
    script = relocated(host, first, "/none")
    assert revert.cancel(host, first)
    second = revert.arm(host, MTUS, 60, None)
    assert run(tmp_path, script) == []
    assert revert.pending(host) == second
    state: dict[str, Any] = json.loads(host.read(STATE) or "")
    assert state["token"] == second.token != first.token
