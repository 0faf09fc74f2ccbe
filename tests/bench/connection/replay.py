# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A connection of Ansible to nodes that cost nothing: what a module once answered, each of them answers again.

$REPLAY is a folder. A module's answer is in ``MODULE-HOST``, or for all hosts in ``MODULE``, where a module of which there is neither
leaves it, after it ran on this machine. For the bench alone.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from ansible.plugins.connection.local import Connection as Local

DOCUMENTATION = """
name: replay
short_description: Answers as before
description:
  - For the bench alone.
options: {}
"""

_MODULE = re.compile(rb"\bansible(?:_collections\.\w+\.\w+\.plugins)?\.modules\.(\w+)")


class Connection(Local):
    """The connection ``replay``."""

    transport = "replay"

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        """Status, output and errors of a module, which is what Ansible pipes into Python; nothing else is run."""
        named = _MODULE.search(in_data or b"")
        if named is None:
            raise RuntimeError(
                f"replay: {cmd} is no module that is piped: set pipelining and ansible_python_interpreter"
            )
        module = named[1].decode()
        folder = Path(os.environ["REPLAY"])
        for name in (f"{module}-{self._play_context.remote_addr}", module):
            if (folder / name).exists():
                return 0, (folder / name).read_bytes(), b""
        status, output, errors = super().exec_command(cmd, in_data, sudoable)
        if status == 0:
            # Others may be reading.
            part = folder / f".{module}-{os.getpid()}"
            part.write_bytes(output)
            part.replace(folder / module)
        return status, output, errors
