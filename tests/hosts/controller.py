# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A controller for a single run, such as a container that AWX starts: it can be killed at any moment, and all of it dies at once.

    with Controller(site) as controller:
        play = controller.play("bulwark.node.reboot", [machine], {…}, halt=Halt("Reboot", "one"))
        assert play.killed

Each has an empty folder, its own connections, and processes that no other sees.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.bulwark.node.tests.fakes.awx_job import Job

from .machine import Machine, Site

__all__ = ["Controller", "Halt", "Play", "Step"]

_CALLBACKS = Path(__file__).with_name("callback")


@dataclass(frozen=True)
class Step:
    """A task of a host: ``what`` is start, skipped, ok, ignored, failed, unreachable, or halt where the run stood still after it."""

    what: str
    host: str
    task: str
    action: str
    changed: bool = False
    msg: str = ""


@dataclass(frozen=True)
class Halt:
    """Right after this task ended on this host for the turn-th time."""

    task: str
    host: str
    turn: int = 1


@dataclass(frozen=True)
class Play:
    """A run that is over; ``rc`` is None where it was killed."""

    rc: int | None
    output: str
    steps: tuple[Step, ...]

    @property
    def killed(self) -> bool:
        return self.rc is None

    def ended(self, host: str) -> list[Step]:
        """What was carried out for a host, in order."""
        return [step for step in self.steps if step.host == host and step.what not in ("start", "skipped", "halt")]

    @property
    def failures(self) -> list[str]:
        return [
            f"{step.host}: {step.task}: {step.msg}" for step in self.steps if step.what in ("failed", "unreachable")
        ]


class Controller:
    """A folder, and what runs in it."""

    def __init__(self, site: Site) -> None:
        # Short, since names of the sockets of ssh may have some 100 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="c", dir=site.folder))

    def __enter__(self) -> Controller:
        return self

    def __exit__(self, *exc: object) -> None:
        shutil.rmtree(self.folder)

    def play(
        self,
        playbook: str,
        machines: Sequence[Machine],
        variables: Mapping[str, Any] | None = None,
        *arguments: str,
        halt: Halt | None = None,
        kill_when: Callable[[Sequence[Step]], bool] | None = None,
        timeout: float = 600,
    ) -> Play:
        """Run a playbook to its end, or kill it: after ``halt``, once ``kill_when`` holds for the steps so far, or after ``timeout``."""
        self._furnish(machines, variables or {})
        command = [str(Path(sys.executable).parent / "ansible-playbook"), playbook, "-i", "hosts.ini"]
        with (self.folder / "output").open("wb") as output:
            running = subprocess.Popen(
                [
                    *("setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child", "--mount-proc"),
                    # As PID 1 it would ignore signals that it has no handler for.
                    *("sh", "-c", '"$@"; exit "$?"', "sh", *command, "-e", "@variables.json", *arguments),
                ],
                cwd=self.folder,
                env=self._environment(halt),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            rc = self._watch(running, kill_when or (lambda _steps: False), time.monotonic() + timeout)
        return Play(rc, (self.folder / "output").read_text(errors="replace"), tuple(self.steps()))

    def job(
        self,
        template: Mapping[str, Any],
        answers: Mapping[str, Any],
        machines: Sequence[Machine],
        variables: Mapping[str, Any],
        cancel: Callable[[], bool] = lambda: False,
    ) -> Any:
        """Run a job template with answers to its survey by ansible-runner, as AWX does; the inventory has the variables.

        It is cancelled once ``cancel`` holds. The Runner, which has ended.
        """
        self._furnish(machines, variables)
        (self.folder / "group_vars").mkdir()
        (self.folder / "variables.json").rename(self.folder / "group_vars/all.json")
        ran = Job(
            self.folder / "runner", template, answers, self.folder / "hosts.ini", environment=self._environment(None)
        ).run(cancel)
        print(ran.stdout.read())
        return ran

    def processes(self) -> list[int]:
        """What runs of it."""
        found, mine = [], f"JOURNAL={self.folder}/".encode()
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):  # it has ended
                if mine in path.read_bytes():
                    found.append(int(path.parent.name))
        return found

    def steps(self) -> list[Step]:
        """Those so far."""
        path = self.folder / "journal"
        # The last line may be half there.
        lines = path.read_text().rpartition("\n")[0].splitlines() if path.exists() else []
        return [Step(**json.loads(line)) for line in lines]

    def _furnish(self, machines: Sequence[Machine], variables: Mapping[str, Any]) -> None:
        (self.folder / "ansible.cfg").write_text("[defaults]\n")
        own = {"ansible_control_path_dir": str(self.folder)}
        (self.folder / "hosts.ini").write_text("".join(f"{machine.inventory(**own)}\n" for machine in machines))
        (self.folder / "variables.json").write_text(json.dumps(dict(variables)))

    def _watch(
        self, running: subprocess.Popen[bytes], kill_when: Callable[[Sequence[Step]], bool], end: float
    ) -> int | None:
        while running.poll() is None:
            time.sleep(0.05)
            steps = self.steps()
            if (steps and steps[-1].what == "halt") or kill_when(steps) or time.monotonic() > end:
                _end(running)
                return None
        return running.returncode

    def _environment(self, halt: Halt | None) -> dict[str, str]:
        return {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self.folder / "home"),
            "LANG": "C.UTF-8",
            "COLUMNS": "132",
            "no_proxy": "*",
            "ANSIBLE_CONFIG": str(self.folder / "ansible.cfg"),
            "ANSIBLE_HOME": str(self.folder / "home"),
            "ANSIBLE_NOCOLOR": "1",
            # A run that is killed leaves its modules' files behind.
            "ANSIBLE_REMOTE_TMP": str(self.folder / "remote"),
            "ANSIBLE_SSH_RETRIES": "0",
            "ANSIBLE_CALLBACK_PLUGINS": str(_CALLBACKS),
            "ANSIBLE_CALLBACKS_ENABLED": "journal",
            "JOURNAL": str(self.folder / "journal"),
            **({"JOURNAL_HALT": json.dumps(vars(halt))} if halt else {}),
        }


def _end(running: subprocess.Popen[bytes]) -> None:
    """Kill it, and wait for PID 1 of its namespace, which ends as the last."""
    (child,) = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    first = os.pidfd_open(int(child))
    try:
        running.kill()
        running.wait()
        select.select([first], [], [], 20)
    finally:
        os.close(first)
