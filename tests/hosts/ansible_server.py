# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands `ansible` and `ansible-inventory`, many times: half of what a run costs is the start of Ansible, which is here once, and forked.

usage: ansible_server.py        each line of stdin is a JSON list: the command, its arguments, the working folder, files for stdout and
                                stderr, and the number of a process whose namespaces to run in, or 0

It says when one has ended, and how, by a line, and ends with its stdin. A run reads its command line, inventory and plugins itself; what
it has of the server is the configuration, and the environment.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import sys
import traceback
from pathlib import Path

from ansible.cli import adhoc, inventory

# What a run has to have loaded before it can begin.
for _module in (
    *("executor.module_common", "executor.task_queue_manager", "plugins.action.normal", "plugins.callback.minimal"),
    *("plugins.connection.local", "plugins.connection.ssh", "plugins.shell.sh", "plugins.strategy.linear"),
):
    importlib.import_module(f"ansible.{_module}")

_COMMANDS = {"ansible": adhoc, "ansible-inventory": inventory}

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_CAPBSET_DROP = 24


def enter(process: int) -> None:
    """Join the mount and the network namespace of a process, and have what runs here no capability that it may not have."""
    namespaces = [os.open(f"/proc/{process}/ns/{kind}", os.O_RDONLY) for kind in ("net", "mnt")]
    lost = bounding("self") & ~bounding(process)
    for namespace in namespaces:
        call(_LIBC.setns(namespace, 0))
        os.close(namespace)
    for capability in range(lost.bit_length()):
        if lost >> capability & 1:
            call(_LIBC.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0))


def bounding(process: int | str) -> int:
    """The capabilities that what a process executes may have: capabilities(7)."""
    rows = dict(row.split(":\t", 1) for row in Path(f"/proc/{process}/status").read_text().splitlines())
    return int(rows["CapBnd"], 16)


def call(returned: int) -> None:
    if returned != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def run(command: str, arguments: list[str], folder: str, stdout: str, stderr: str, process: int) -> int:
    """In a fork: the whole of one run."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, path in ((1, stdout), (2, stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), number)
    if process:
        enter(process)
    os.chdir(folder)
    sys.argv = [command, *arguments]
    try:
        _COMMANDS[command].main(sys.argv)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0


def main() -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = run(*json.loads(line))
            except BaseException:
                traceback.print_exc()
                raise
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
