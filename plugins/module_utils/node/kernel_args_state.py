# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What kernel_args observes, and what it comes to with what was asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError
from ansible_collections.bulwark.node.plugins.module_utils.manifest import is_ours
from ansible_collections.bulwark.node.plugins.module_utils.node import boot_loader, kernel_cmdline
from ansible_collections.bulwark.node.plugins.module_utils.node.boot_loader import Boot, Goal, Source
from ansible_collections.bulwark.node.plugins.module_utils.node.kernel_args_options import Desired
from ansible_collections.bulwark.node.plugins.module_utils.node.kernel_cmdline import Line
from ansible_collections.bulwark.node.plugins.module_utils.node.redact import REDACTED, redacted

__all__ = ["State", "goal_of", "is_stale", "lines", "maker", "predicted", "safe", "shown"]


@dataclass(frozen=True)
class State:
    """What the boot loader is configured to do, what runs, and what stands in the way.

    ``first`` is the text of the edited file before us: "" where there was none, None where that is not known. ``records``:
    files of ours, also of a boot loader that is gone. ``sizes``: bytes of the hugepages that this kernel has. ``tuned``: what
    it adds at boot.
    """

    wanted: Desired
    verdict: boot_loader.Detected
    boot: Boot | None
    running: Line
    first: str | None
    records: tuple[str, ...]
    sizes: tuple[int, ...]
    tuned: tuple[Source, ...]

    def facts(self) -> dict[str, Any]:
        """The subset ``kernel_args`` of the facts."""
        return boot_loader.shape(self.verdict, self.boot, self.running)

    def files(self) -> Mapping[str, str | None]:
        """What we write, without secrets."""
        if self.boot is None or self.verdict.backend is None:
            return {}
        return {path: shown(self, path, self.boot) for path in self.boot.texts}


def maker(state: State) -> str:
    return state.verdict.backend.maker if state.verdict.backend else ""


def goal_of(state: State, boot: Boot) -> Goal:
    wanted = state.wanted
    if wanted.everything:
        line = None if boot.edited is None else kernel_cmdline.returned(boot.configured or (), boot.ours, boot.taken)
        return Goal(line=line)
    groups = wanted.groups
    if boot.edited is None:
        if wanted.present:
            moving = groups if boot.configured is None else kernel_cmdline.lacking(boot.configured, groups)
            return Goal(ours=kernel_cmdline.present(boot.ours, moving), wanted=groups)
        return Goal(ours=kernel_cmdline.absent(boot.ours, groups), gone=groups)
    line = boot.configured or ()
    if wanted.present:
        moving = kernel_cmdline.lacking(line, groups)
        new = kernel_cmdline.present(line, groups)
        ours = kernel_cmdline.present(boot.ours, moving)
    else:
        new = kernel_cmdline.absent(line, groups)
        ours = kernel_cmdline.absent(boot.ours, groups)
    lost = Counter(line) - Counter(new) - Counter(boot.ours) - Counter(boot.taken)
    taken = (*boot.taken, *lost.elements())
    parts = {"wanted": groups} if wanted.present else {"gone": groups}
    return Goal(ours=ours, taken=taken, line=new, **parts)


def predicted(state: State) -> Boot:
    boot, backend = state.boot, state.verdict.backend
    if boot is None or backend is None:
        raise BulwarkError(f"boot_loader: {state.verdict.reason}")
    goal = goal_of(state, boot)
    texts: dict[str, str | None] = {boot.record: backend.record(goal) if goal.ours or goal.taken else None}
    if boot.edited:
        texts[boot.edited] = _edited_text(state, boot, goal)
    return replace(backend.predict(boot, goal), texts=texts)


def _edited_text(state: State, boot: Boot, goal: Goal) -> str | None:
    """The text of the file that we edit: the first one once its arguments are back, and as it is where they stay."""
    line, text = goal.line or (), boot.texts[boot.edited or ""]
    if not goal.ours and not goal.taken and state.first is not None:
        if state.first == "":
            return None
        if Counter(kernel_cmdline.split(state.first)) == Counter((*line, *boot.init)):
            return state.first
    if text is None and state.wanted.everything:
        return None
    untouched = line == boot.configured and not (text is None and (goal.ours or goal.taken))
    return text if untouched else f"{kernel_cmdline.join((*line, *boot.init))}\n"


def is_stale(line: Line, goal: Goal) -> bool:
    """Whether an entry is not what the configuration asks for, as far as it is ours."""
    return bool(
        kernel_cmdline.missing(line, goal.wanted)
        or any(argument not in line for argument in goal.ours)
        or any(kernel_cmdline.found(line, group) for group in goal.gone)
    )


def lines(boot: Boot) -> list[str] | None:
    """The arguments of the newest kernel's entry, without secrets."""
    return next((redacted(list(entry.line)) for entry in boot.entries if entry.managed), None)


def shown(state: State, path: str, boot: Boot) -> str | None:
    """The text of one of our files without secrets; another's at the path of our own is not shown at all."""
    text, backend = boot.texts[path], state.verdict.backend
    if text is None or backend is None:
        return None
    if path == boot.edited:
        return f"{kernel_cmdline.join(redacted(list(kernel_cmdline.split(text))))}\n"
    if not is_ours(text):
        return REDACTED
    return backend.record(Goal(ours=tuple(redacted(list(boot.ours))), taken=tuple(redacted(list(boot.taken)))))


def safe(line: Line) -> str:
    return kernel_cmdline.join(redacted(list(line)))
