# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One module of the collection, run once by the real ansible, and what it returned; and ansible-inventory.

Ansible is started once for all runs, by ansible_server.py, which forks.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Ran", "call", "inventory"]

# Seconds that a run may take.
_TIMEOUT = 180


@dataclass(frozen=True)
class Ran:
    """What one module returned, and what ansible printed around it."""

    result: dict[str, Any]
    output: str

    def __getitem__(self, key: str) -> Any:
        return self.result[key]

    @property
    def failed(self) -> bool:
        return " | FAILED! => " in self.output

    def warns(self, text: str) -> bool:
        """Whether ansible printed the text, which it wraps at the width of the terminal."""
        return text in " ".join(self.output.split())


def call(name: str, options: dict[str, Any], host: Sequence[str], check: bool = False, inside: str = "") -> Ran:
    """Run the module ``name`` with a diff; ``host`` are the arguments for ansible that name one host and its inventory.

    ``inside`` are shell commands that first prepare a mount namespace of the run's own, which ends with it.
    """
    arguments = [
        *host,
        "-m",
        f"bulwark.node.{name}",
        "-a",
        json.dumps(options),
        "--diff",
        *(["--check"] if check else []),
    ]
    with _prepared(inside) as process:
        stdout, stderr = _run("ansible", arguments, process)
    assert "Traceback" not in stdout + stderr, stdout + stderr
    arrow, answer = stdout.partition(" => ")[1:]
    assert arrow, stdout + stderr
    return Ran(json.JSONDecoder().raw_decode(answer)[0], stdout + stderr)


def inventory(*arguments: str) -> tuple[str, str]:
    """What ansible-inventory printed to stdout and stderr."""
    return _run("ansible-inventory", arguments, 0)


@contextlib.contextmanager
def _prepared(inside: str) -> Iterator[int]:
    """The number of a process in a mount namespace, prepared by these commands, that ends with this; 0 without commands."""
    if not inside:
        yield 0
        return
    command = ["unshare", "--mount", "sh", "-ec", f'{inside}\nexec "$@"', "sh", "sh", "-c", "echo; exec cat"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline(), f"these commands failed: {inside}"
        yield process.pid


@functools.cache
def _server(environment: tuple[tuple[str, str], ...]) -> subprocess.Popen[str]:
    """Ansible, started in this environment: it ends with this process, whose pipe it reads."""
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("ansible_server.py"))],
        env=dict(environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _run(command: str, arguments: Sequence[str], process: int) -> tuple[str, str]:
    """What a command printed to stdout and stderr, run in the namespaces of ``process``."""
    # Pytest notes there which test it is at.
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    server = _server(tuple(sorted({**environment, "ANSIBLE_NOCOLOR": "1", "LC_ALL": "C.UTF-8"}.items())))
    assert server.stdin is not None
    assert server.stdout is not None
    with tempfile.TemporaryDirectory() as folder:
        printed = [Path(folder, name) for name in ("stdout", "stderr")]
        print(json.dumps([command, arguments, os.getcwd(), *map(str, printed), process]), file=server.stdin, flush=True)
        if not select.select([server.stdout], [], [], _TIMEOUT)[0]:
            os.killpg(server.pid, signal.SIGKILL)
            _server.cache_clear()
            raise subprocess.TimeoutExpired(list(arguments), _TIMEOUT)
        assert server.stdout.readline(), "the server of ansible ended"
        stdout, stderr = (path.read_text("utf-8") for path in printed)
        return stdout, stderr
