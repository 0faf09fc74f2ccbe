# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The errors that a user may see: each names the object, the value, the cause and the remedy.

Everything below the module boundary raises these; ``module.run`` alone turns them into ``fail_json``.
"""

from __future__ import annotations

import errno as errno_names
import os
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["BulwarkError", "HostError", "Interrupted", "OptionError", "OwnerError", "UnmetError"]


class BulwarkError(Exception):
    """Base of all errors of this collection.

    ``details`` is structured data for the result of the failed task, never needed to understand the message.
    """

    def __init__(self, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.details: dict[str, Any] = dict(details or {})


class OptionError(BulwarkError):
    """An option's value is refused before anything was written.

    ``option`` is the path as the user wrote it (``pools[1].size``), ``expected`` what would have been accepted.
    """

    def __init__(self, option: str, value: object, expected: str) -> None:
        got = "is missing" if value is None else f"got {value!r}"
        super().__init__(f"{option}: {got}, expected {expected}")
        self.details = {"option": option, "value": value, "expected": expected}


class OwnerError(BulwarkError):
    """Somebody else owns the setting and would win over us; we never fight them."""


class UnmetError(BulwarkError):
    """The machine did not take the wanted state; ``details["unmet"]`` lists what is left, with reasons."""


class Interrupted(BulwarkError):
    """A signal asked the module to stop: what was done so far is undone."""


class HostError(BulwarkError):
    """The machine refused: a file could not be read or written, or a command failed.

    ``code`` is the symbolic errno (``ENOSPC``), or None where the content, not the call, was wrong.
    """

    def __init__(self, path: str, what: str, code: str | None = None) -> None:
        super().__init__(f"{path}: {what}")
        self.path = path
        self.code = code
        # Not "path": fail_json would add the mode and owner of a file of that name, whatever the object is.
        self.details = {"object": path, "errno": code}

    @classmethod
    def from_command(cls, command: Sequence[str], what: str) -> HostError:
        """What became of a command."""
        text = " ".join(command)
        error = cls(text, what)
        error.details = {"command": text}
        return error

    @classmethod
    def from_os(cls, path: str, verb: str, error: OSError) -> HostError:
        """What the kernel said to ``verb`` (``read``, ``write``) on ``path``: ``/x: cannot write: ENOSPC (No space …)``."""
        code = errno_names.errorcode.get(error.errno or 0)
        text = os.strerror(error.errno) if error.errno else str(error)
        return cls(path, f"cannot {verb}: {code or 'error'} ({text})", code)
