# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One module of the collection, run once by the real ansible, and what it returned."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Ran", "call"]


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
    ansible = [
        *(str(Path(sys.executable).parent / "ansible"), *host),
        *("-m", f"bulwark.node.{name}", "-a", json.dumps(options), "--diff"),
        *(["--check"] if check else []),
    ]
    if inside:
        ansible = ["unshare", "--mount", "sh", "-ec", f'{inside}\nexec "$@"', "sh", *ansible]
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(ansible, capture_output=True, text=True, timeout=180, env=environment, check=False)
    assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    arrow, answer = done.stdout.partition(" => ")[1:]
    assert arrow, done.stdout + done.stderr
    return Ran(json.JSONDecoder().raw_decode(answer)[0], done.stdout + done.stderr)
