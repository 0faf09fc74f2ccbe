# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin on a stand-in for Ansible's connection: one run or two, and what becomes of both results."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure

from ansible_collections.bulwark.node.plugins.action import bridge_mtu
from ansible_collections.bulwark.node.plugins.module_utils.node.bridge_mtu_options import OLD_MTUS, PIN, STAYS_PINNED

CONSENT: dict[str, Any] = {"bridges": [{"name": "br0", "mtu": 9000}], "allow_management_link": True}
DOWN = AnsibleConnectionFailure("Connection timed out")


OLD, NEW, THIRD = (f"198.51.100.9 {port} 192.0.2.2 22" for port in (50000, 50001, 50002))


def facts(mtu: int, token: str | None = None, pinned: bool | None = None) -> dict[str, Any]:
    ports = [{"name": "eth0", "mtu": mtu}]
    shown = {"name": "br0", "mtu": mtu, "pinned": pinned, "ports": ports, "uppers": []}
    links = [{"name": name, "mtu": mtu, "old": 1500} for name in ("br0", "eth0")]
    armed = {"token": token, "seconds": 120, "links": links}
    return {"bridges": [shown], "revert": armed if token else None, "probe": None}


def answer(before: dict[str, Any], after: dict[str, Any], *kinds: str, **more: Any) -> dict[str, Any]:
    return {
        "changed": bool(kinds),
        "before": before,
        "after": after,
        "changes": [{"kind": kind, "target": "br0", "before": 1500} for kind in kinds],
        "diff": [{"before": before, "after": after}],
        "disruptive": [],
        **more,
    }


FIRST = answer(facts(1500), facts(9000, "7"), "mtu", "file", disruptive=[{"what": "br0"}], warnings=["one"])
FILE = {"before_header": "/dev/null", "after_header": "/etc/x", "before": "", "after": "x"}
SECOND = answer(facts(9000, "7"), facts(9000), "file", "timer", warnings=["one", "two"])
SECOND["diff"].append(FILE)


class Wire:
    """A connection, and what the module says on it, one answer or failure to each run. ``log``: what was done in turn.

    ``told``: what the login shell says of the connection, ``given``: the module's arguments that no playbook gives. A new one
    ``takes`` so many seconds.
    """

    transport = "ssh"

    def __init__(self, *answers: dict[str, Any] | Exception, sample: int = 64 << 10, takes: float = 0) -> None:
        self.answers, self.sample, self.takes = list(answers), sample, takes
        self.told = [f"{OLD}\n", f"{NEW}\n"]
        self.given: list[tuple[str | None, str]] = []
        self.log: list[Any] = []
        self.now = 0.0
        self._shell = SimpleNamespace(tmpdir=None)

    def reset(self) -> None:
        self.log.append("reset")
        self.now += self.takes

    def execute(self, module_args: dict[str, Any] | None = None, task_vars: Any = None) -> dict[str, Any]:
        assert module_args is not None
        self.log.append(module_args.get("confirm", "run"))
        self.given.append((module_args["ssh_connection"], module_args["fresh_connection"]))
        said = self.answers.pop(0)
        if isinstance(said, Exception):
            raise said
        return said

    def command(self, text: str, sudoable: bool) -> dict[str, Any]:
        assert not sudoable
        if "SSH_CONNECTION" in text:
            self.log.append("ask")
            return {"rc": 0, "stdout": self.told.pop(0) if len(self.told) > 1 else self.told[0], "stderr": ""}
        self.log.append("sample")
        return {"rc": 0, "stdout": " 0a" * self.sample + "\n", "stderr": "", "sudoable": sudoable}

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def run(monkeypatch: pytest.MonkeyPatch, wire: Wire, check: bool = False, **args: Any) -> dict[str, Any]:
    task: Any = SimpleNamespace(args=args, async_val=0, check_mode=check, action="bulwark.node.bridge_mtu")
    connection: Any = wire
    unused: Any = None
    action: Any = bridge_mtu.ActionModule(task, connection, unused, unused, unused, unused)
    action._execute_module, action._low_level_execute_command = wire.execute, wire.command
    monkeypatch.setattr(time, "sleep", wire.sleep)
    monkeypatch.setattr(time, "monotonic", lambda: wire.now)
    result: dict[str, Any] = action.run(None, {})
    return result


@pytest.mark.parametrize(
    ("first", "check"),
    [
        (answer(facts(1500), facts(9000), "mtu"), False),
        (FIRST, True),
        ({"failed": True, "msg": "no"}, False),
        ({"failed": True, "msg": "no", "after": facts(9000, "7")}, False),
        ({"unreachable": True}, False),
    ],
)
def test_without_an_armed_timer_there_is_one_run(
    monkeypatch: pytest.MonkeyPatch, first: dict[str, Any], check: bool
) -> None:
    wire = Wire(first)
    assert run(monkeypatch, wire, check, **CONSENT) == first
    assert wire.log == ["ask", "reset", "ask", "run"]


def test_a_timer_is_cancelled_on_a_new_connection_that_carries_large_packets(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire(FIRST, SECOND)
    result = run(monkeypatch, wire, **CONSENT)
    assert wire.log == ["ask", "reset", "ask", "run", "reset", "sample", "ask", "7"]
    assert result == {
        "changed": True,
        "before": facts(1500),
        "after": facts(9000),
        "changes": [{"kind": kind, "target": "br0", "before": 1500} for kind in ("mtu", "file")],
        "disruptive": [{"what": "br0"}],
        "diff": [{"before": facts(1500), "after": facts(9000)}, FILE],
        "warnings": ["one", "two"],
    }


def test_on_this_machine_there_is_no_connection_to_be_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire(FIRST, SECOND)
    wire.transport = "local"
    assert run(monkeypatch, wire, **CONSENT)["changed"]
    assert wire.log == ["run", "7"]
    assert wire.given == [(None, "none")] * 2


@pytest.mark.parametrize("transport", ["ssh", "paramiko_ssh", "paramiko", "smart", "ansible.netcommon.libssh"])
def test_what_sudo_hides_is_asked_of_the_login_shell_and_a_fresh_connection_tried_before_the_first_write(
    monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    wire = Wire(FIRST, SECOND)
    wire.transport = transport
    wire.told = [OLD, NEW, THIRD]
    run(monkeypatch, wire, **CONSENT)
    assert wire.given == [(NEW, "possible"), (THIRD, "possible")]


def test_a_connection_that_stays_the_same_after_a_reset_is_told_before_the_first_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wire = Wire(answer(facts(1500), facts(1500)))
    wire.told = [OLD]
    run(monkeypatch, wire, **CONSENT)
    assert (wire.given, wire.log) == ([(OLD, "shared")], ["ask", "reset", "ask", "run"])


@pytest.mark.parametrize("args", [{}, {"allow_management_link": False}, {"allow_management_link": "no"}])
def test_without_consent_no_connection_is_reset(monkeypatch: pytest.MonkeyPatch, args: dict[str, Any]) -> None:
    wire = Wire(answer(facts(1500), facts(9000), "mtu"))
    run(monkeypatch, wire, bridges=CONSENT["bridges"], **args)
    assert (wire.given, wire.log) == ([(OLD, "possible")], ["ask", "run"])


@pytest.mark.parametrize("transport", ["local", "community.docker.docker", "chroot"])
def test_what_is_no_ssh_is_not_asked(monkeypatch: pytest.MonkeyPatch, transport: str) -> None:
    wire = Wire(answer(facts(1500), facts(9000), "mtu"))
    wire.transport = transport
    run(monkeypatch, wire, **CONSENT, ssh_connection=OLD, fresh_connection="possible")
    assert (wire.given, wire.log) == ([(None, "none")], ["run"])


@pytest.mark.parametrize(
    ("told", "found"),
    [
        (f"Welcome\nLast login: today\n{OLD}\r\n", OLD),
        ("", None),
        ("\n", None),
        ("UNKNOWN 65535 UNKNOWN 65535\n", None),
        (f"{OLD}\nbye\n", None),
        (f"{OLD} {OLD}\n", None),
        ("198.51.100.9 50000 {{ lookup('pipe', 'id') }} 22\n", None),
    ],
)
def test_what_the_login_shell_says_is_taken_in_the_form_of_sshd_alone(
    monkeypatch: pytest.MonkeyPatch, told: str, found: str | None
) -> None:
    wire = Wire(answer(facts(1500), facts(9000), "mtu"))
    wire.told = [told]
    run(monkeypatch, wire, **{**CONSENT, "allow_management_link": False})
    assert wire.given == [(found, "possible")]


def test_it_is_tried_until_the_timer_has_acted_and_the_machine_may_be_back(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire(FIRST, *[DOWN] * 100)
    result = run(monkeypatch, wire, **CONSENT)
    assert wire.log.count("7") == (120 + 15) // 2 + 2
    # Nobody saw the timer act.
    assert (result["failed"], result["changed"], result["after"]) == (True, True, None)
    assert result["msg"].startswith(
        "bridge_mtu: no new connection came through with the new MTUs, and nothing is persisted"
    )
    assert result["msg"].endswith(
        "Connection timed out. What is live cannot be seen from here: by now the timer on the machine should have put back "
        "br0 1500, eth0 1500."
    )
    assert (result["before"], result["changes"]) == (FIRST["before"], FIRST["changes"])


def test_a_machine_that_names_an_endless_timer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    first = answer(facts(1500), facts(9000, "7"), "mtu")
    first["after"]["revert"]["seconds"] = 1 << 40
    wire = Wire(first, *[DOWN] * 2000, takes=30)
    run(monkeypatch, wire, **CONSENT)
    assert wire.now < 3700


def test_a_try_that_fails_is_no_end_while_there_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire(FIRST, DOWN, SECOND)
    assert run(monkeypatch, wire, **CONSENT)["after"] == facts(9000)
    assert wire.log == ["ask", "reset", "ask", "run", *["reset", "sample", "ask", "7"] * 2]


def test_a_connection_that_loses_large_packets_cancels_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire(FIRST, sample=1000)
    result = run(monkeypatch, wire, **CONSENT)
    assert result["failed"]
    assert "of 65536 bytes not all came back" in result["msg"]
    assert "7" not in wire.log


PINNED = {"what": PIN.format("br0"), "reason": STAYS_PINNED}


def refusal(after: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    """A second run that the module failed."""
    live = {"after": after} if after else {}
    return {"failed": True, "changed": False, "msg": "bridge_mtu: confirm: no. Look at it", **live, **more}


@pytest.mark.parametrize(
    ("pinned", "second", "changed", "said"),
    [
        # The timer is armed, and what it will do is told.
        (
            None,
            refusal(facts(9000, "7")),
            True,
            "Live now: br0 9000, eth0 9000. In 120 s the timer on the machine puts back br0 1500, eth0 1500.",
        ),
        (
            True,
            refusal(facts(9000, "7", True)),
            True,
            "Live now: br0 9000, eth0 9000. In 120 s the timer on the machine puts back br0 1500, eth0 1500. the pin of br0: "
            "it stays pinned: the kernel does not forget it while the bridge lives.",
        ),
        # It has acted, whatever else is there.
        (None, refusal(facts(1500)), False, "Live now: br0 1500, eth0 1500."),
        (True, refusal(facts(1500)), True, "Live now: br0 1500, eth0 1500. the pin of br0: it stays pinned"),
        # A run that confirmed them lost its answer.
        (None, refusal(facts(9000)), True, "Live now: br0 9000, eth0 9000."),
        # The second run put them back by itself.
        (None, refusal(None, undone=[OLD_MTUS]), False, "Live now: br0 1500, eth0 1500."),
        (
            None,
            refusal(None, undone=[], not_undone=[{"what": OLD_MTUS, "reason": "no sh"}]),
            True,
            "What is live cannot be seen from here: by now the timer on the machine should have put back br0 1500, eth0 1500. "
            "the old MTUs: no sh.",
        ),
        (None, refusal(None), True, "What is live cannot be seen from here"),
    ],
)
def test_a_second_run_that_fails_says_what_is_live_and_what_the_timer_does(
    monkeypatch: pytest.MonkeyPatch, pinned: bool | None, second: dict[str, Any], changed: bool, said: str
) -> None:
    first = answer(facts(1500), facts(9000, "7", pinned), "mtu")
    result = run(monkeypatch, Wire(first, second), **CONSENT)
    assert (result["failed"], result["changed"]) == (True, changed)
    assert result["msg"].startswith(f"bridge_mtu: confirm: no. Look at it. {said}")
    assert (PINNED in result["not_undone"]) == bool(pinned)
    assert (result["before"], result["changes"]) == (first["before"], first["changes"])


@pytest.mark.parametrize(
    ("args", "check", "told"), [(CONSENT, False, True), (CONSENT, True, False), ({"bridges": []}, False, False)]
)
def test_a_connection_that_is_lost_in_the_first_run_says_what_the_machine_does(
    monkeypatch: pytest.MonkeyPatch, args: dict[str, Any], check: bool, told: bool
) -> None:
    with pytest.raises(AnsibleConnectionFailure) as caught:
        run(monkeypatch, Wire(DOWN), check, **args)
    assert ("puts the old MTUs back" in str(caught.value)) == told
