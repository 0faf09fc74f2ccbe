# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The boundary to Ansible, run as Ansible runs a module: a process, JSON in, JSON out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

# A module whose one change is the text of a file, and what its arguments let go wrong.
MODULE = """
import json, os, signal, sys, time
from dataclasses import dataclass

from ansible.module_utils import basic

from ansible_collections.bulwark.node.plugins.module_utils import module as boundary
from ansible_collections.bulwark.node.plugins.module_utils.converge import Change, Unmet, Verdict
from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError, HostError, OptionError


@dataclass(frozen=True)
class State:
    text: str

    def facts(self):
        return {"text": self.text}

    def files(self):
        return {}


class Domain:
    name = "sample"

    def __init__(self, host):
        self.host = host

    def desired(self, params):
        if params["text"] == "bad":
            raise OptionError("text", "bad", "a good one")
        self.how = params["how"]
        self.path = params["path"]
        return params["text"]

    def observe(self, desired):
        return State(self.host.read(self.path) or "")

    def check(self, state, desired):
        pass

    def plan(self, state, desired):
        return [Change("text", self.path, state.text, desired)] if state.text != desired else []

    def predict(self, state, changes):
        return State(changes[-1].after) if changes else state

    def apply(self, change, desired, undos):
        def undo():
            if "lingering" in self.how:
                sys.stderr.write("undoing\\n")
                sys.stderr.flush()
                time.sleep(0.3)
            if "stuck" in self.how:
                raise HostError(self.path, "is stuck")
            self.host.replace(self.path, change.before.encode())

        undos.push(self.path, undo)
        self.host.replace(self.path, desired.encode())
        if "slow" in self.how:
            sys.stderr.write("changed\\n")
            sys.stderr.flush()
            time.sleep(30)
        if "run" in self.how:
            self.host.run(self.how.split(" ")[1:])
        if "error" in self.how:
            raise BulwarkError("half way", {"number": 5})
        if "bug" in self.how:
            raise KeyError("a bug")

    def judge(self, before, after, left, desired):
        failed = self.how == "unmet"
        unmet = (Unmet("text", desired, after.text, "it is so", "Try again."),) if failed else ()
        return Verdict(unmet, warnings=("beware",), failed=failed)

    def settle(self, desired):
        pass


def main():
    module = basic.AnsibleModule(
        argument_spec={"path": {"type": "str"}, "text": {"type": "str"}, "how": {"type": "str", "default": ""}},
        supports_check_mode=True,
    )
    if module.params["how"].startswith("try"):
        found = boundary.command_runner(module)(module.params["how"].split(" ")[1:])
        module.exit_json(rc=found.rc, stdout=found.stdout, stderr=found.stderr)
    if "late" in module.params["how"]:
        answer = module.exit_json

        def interrupted(**values):
            os.kill(os.getpid(), signal.SIGTERM)
            answer(**values)

        module.exit_json = interrupted
    boundary.run(module, Domain)


# What the wrapper of a module does on the node: 2.19 also names how the answer is serialised.
basic._ANSIBLE_ARGS = sys.stdin.buffer.read()
basic._ANSIBLE_PROFILE = "legacy"
boundary._LOCK = sys.argv[1]
boundary._LOCK_SECONDS = float(sys.argv[2])
main()
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file that the module changes."""
    path = tmp_path / "file"
    path.write_text("old")
    return path


@pytest.fixture
def start(tmp_path: Path, path: Path) -> Iterator[Start]:
    """Start the module with its arguments."""
    script = tmp_path / "module.py"
    script.write_text(MODULE)
    started: list[subprocess.Popen[str]] = []

    def run(
        text: str = "new", how: str = "", check: bool = False, seconds: float = 5, lock: str = "lock"
    ) -> subprocess.Popen[str]:
        arguments = {
            "path": str(path),
            "text": text,
            "how": how,
            "_ansible_check_mode": check,
            "_ansible_remote_tmp": str(tmp_path),
        }
        process = subprocess.Popen(
            [sys.executable, str(script), str(tmp_path / lock), str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "LC_ALL": "C.UTF-8", "LANGUAGE": "de"},
        )
        started.append(process)
        assert process.stdin is not None
        process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": arguments}))
        process.stdin.close()
        process.stdin = None
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()


def _answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The one JSON object that the module prints, and nothing beside it."""
    out, err = process.communicate(timeout=20)
    answer: dict[str, Any] = json.loads(out)
    assert "Traceback" not in err
    assert "Traceback" not in out
    assert process.returncode == (1 if answer.get("failed") else 0)
    return answer


def _warnings(answer: dict[str, Any]) -> list[str]:
    return [w["event"]["msg"] if isinstance(w, dict) else w for w in answer["warnings"]]


def test_a_change_is_made_and_told_and_again_is_none(start: Start, path: Path) -> None:
    answer = _answer(start())
    assert path.read_text() == "new"
    assert answer["changed"] is True
    assert (answer["before"], answer["after"]) == ({"text": "old"}, {"text": "new"})
    assert answer["changes"] == [{"kind": "text", "target": str(path), "before": "old", "after": "new"}]
    assert answer["diff"] == [{"before": {"text": "old"}, "after": {"text": "new"}}]
    assert (answer["unmet"], answer["reboot_required"], answer["disruptive"]) == ([], False, [])
    assert answer["restart_required"] == []
    assert len(_warnings(answer)) == 1
    again = _answer(start())
    assert (again["changed"], again["diff"], again["changes"]) == (False, [], [])


def test_check_mode_tells_the_same_changes_nothing_and_takes_no_lock(start: Start, path: Path) -> None:
    answer = _answer(start(check=True))
    assert answer["changed"] is True
    assert answer["after"] == {"text": "new"}
    assert path.read_text() == "old"
    assert sorted(os.listdir(path.parent)) == ["file", "module.py"]


@pytest.mark.parametrize("check", [True, False])
def test_who_may_not_write_is_refused_in_check_mode_too(start: Start, path: Path, check: bool) -> None:
    answer = _answer(start(check=check, lock="missing/lock"))
    assert answer["msg"] == f"sample: {path.parent}/missing: may not be written (EACCES): run this as root, with become"
    assert path.read_text() == "old"


@pytest.mark.parametrize(
    ("text", "how", "message", "extra"),
    [
        ("bad", "", "sample: text: got 'bad', expected a good one", {"option": "text", "expected": "a good one"}),
        ("new", "error", "sample: half way", {"number": 5, "not_undone": []}),
        ("new", "unmet", "sample: text: it is so. Try again.", {"not_undone": []}),
        ("new", "run no-such-program-here x", "sample: no-such-program-here x: returned 127 and said: ", {}),
        (
            "new",
            "run cat /nonexistent",
            "sample: cat /nonexistent: returned 1 and said: cat: /nonexistent: No such",
            {},
        ),
    ],
)
def test_an_error_is_a_failed_task_with_its_data_and_without_a_traceback(
    start: Start, path: Path, text: str, how: str, message: str, extra: dict[str, Any]
) -> None:
    answer = _answer(start(text, how))
    assert answer["failed"] is True
    assert answer["changed"] is False
    assert answer["msg"].startswith(message)
    assert {key: answer[key] for key in extra} == extra
    assert "NOT UNDONE" not in answer["msg"]
    assert path.read_text() == "old"
    assert answer.get("undone", []) == ([] if text == "bad" else [str(path)])
    if how == "unmet":
        assert [item["target"] for item in answer["unmet"]] == ["text"]


@pytest.mark.parametrize(
    ("how", "cause"), [("error stuck", "half way"), ("bug stuck", "internal error: KeyError('a bug')")]
)
def test_what_could_not_be_undone_is_named_and_is_a_change(start: Start, path: Path, how: str, cause: str) -> None:
    answer = _answer(start(how=how))
    assert answer["failed"] is True
    assert answer["changed"] is True
    assert answer["msg"] == f"sample: {cause} NOT UNDONE: {path}: is stuck."
    assert answer["not_undone"] == [{"what": str(path), "reason": f"{path}: is stuck"}]
    assert path.read_text() == "new"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_in_the_middle_undoes_and_says_so(start: Start, path: Path, number: signal.Signals) -> None:
    process = start(how="slow")
    assert process.stderr is not None
    assert process.stderr.readline() == "changed\n"
    assert path.read_text() == "new"
    process.send_signal(number)
    answer = _answer(process)
    assert answer["failed"] is True
    assert answer["changed"] is False
    assert answer["msg"] == f"sample: stopped by {number.name}"
    assert (answer["undone"], answer["not_undone"]) == ([str(path)], [])
    assert path.read_text() == "old"


def test_a_second_signal_does_not_cut_the_undoing_short(start: Start, path: Path) -> None:
    process = start(how="slow lingering")
    assert process.stderr is not None
    for line, number in (("changed", signal.SIGTERM), ("undoing", signal.SIGHUP)):
        assert process.stderr.readline() == f"{line}\n"
        process.send_signal(number)
    answer = _answer(process)
    assert answer["msg"] == "sample: stopped by SIGTERM"
    assert answer["undone"] == [str(path)]
    assert path.read_text() == "old"


def test_a_signal_after_the_last_change_does_not_cost_the_result(start: Start, path: Path) -> None:
    answer = _answer(start(how="late"))
    assert answer["changed"] is True
    assert path.read_text() == "new"


def test_two_runs_at_once_are_refused_by_the_number_of_the_first(start: Start, path: Path) -> None:
    first = start(how="slow")
    assert first.stderr is not None
    assert first.stderr.readline() == "changed\n"
    answer = _answer(start("other", seconds=0.2))
    assert answer["failed"] is True
    assert f"another run (process {first.pid}) is changing this node" in answer["msg"]
    assert path.read_text() == "new"
    first.kill()
    first.wait()
    assert _answer(start("other"))["changed"] is True


@pytest.mark.parametrize(
    ("command", "rc", "output"),
    [
        ("echo $HOME ~ *.py ;", 0, "$HOME ~ *.py ;\n"),
        ("printenv LC_ALL LANGUAGE", 0, "C\nC\n"),
        ("false", 1, ""),
        # What is no UTF-8 is told, for a result cannot hold it (core 2.19 fails the task).
        ("printf \\377x", 0, "\\xffx"),
        ("no-such-program-here", 127, ""),
        ("/dev/null", 127, ""),
    ],
)
def test_commands_are_lists_without_a_shell_in_locale_c(start: Start, command: str, rc: int, output: str) -> None:
    answer = _answer(start(how=f"try {command}"))
    assert (answer["rc"], answer["stdout"]) == (rc, output)
    assert bool(answer["stderr"]) is (rc == 127)
