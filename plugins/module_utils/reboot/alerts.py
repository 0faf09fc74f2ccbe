# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of Prometheus' alerts are in the way of a reboot. Pure: the samples come in as they were answered.

kured's rules (its pkg/alerts): each alert that is pending or firing blocks, unless its name matches the regular
expression; or only those whose name does. Both may be given here, and labels beside them.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.errors import OptionError
from ansible_collections.bulwark.node.plugins.module_utils.reboot.gate import Reason, at_most

__all__ = ["Sample", "Selection", "alert_reasons", "selection"]

_DETAIL = 300
# Those that Prometheus adds or that are said already.
_OWN_LABELS = ("__name__", "alertname", "alertstate")
# Python takes it for a set of these letters, without a word.
_POSIX_CLASS = re.compile(r"\[:\^?[a-z]+:\]")


@dataclass(frozen=True)
class Sample:
    """One sample of an instant vector, or a scalar, which has no labels."""

    labels: Mapping[str, str]
    value: float

    @property
    def name(self) -> str:
        """The alert's name, or all labels of what is no alert."""
        return self.labels.get("alertname") or self.labels_text() or "the query"

    def labels_text(self) -> str:
        """``instance="a", severity="critical"``, each value quoted and escaped."""
        shown = ((key, value) for key, value in sorted(self.labels.items()) if key not in _OWN_LABELS)
        return ", ".join(f"{key}={json.dumps(value)}" for key, value in shown)


@dataclass(frozen=True)
class Selection:
    """Which alerts block: not those whose name ``ignore`` finds, only those that ``match`` finds, with all of the labels."""

    ignore: re.Pattern[str] | None
    match: re.Pattern[str] | None
    firing_only: bool
    labels: Mapping[str, str]

    def blocks(self, sample: Sample) -> bool:
        """Whether this sample is in the way. Not a number is not nothing."""
        if sample.value == 0 or (self.ignore and self.ignore.search(sample.name)):
            return False
        if self.match and not self.match.search(sample.name):
            return False
        if self.firing_only and sample.labels.get("alertstate", "firing") != "firing":
            return False
        return all(sample.labels.get(key, "") == value for key, value in self.labels.items())


def selection(option: str, values: Mapping[str, Any]) -> Selection:
    """The options ``ignore``, ``match``, ``firing_only`` and ``labels`` below ``option``. Raises OptionError."""
    return Selection(
        ignore=_regexp(f"{option}.ignore", values["ignore"]),
        match=_regexp(f"{option}.match", values["match"]),
        firing_only=values["firing_only"],
        labels={str(key): _label(f"{option}.labels.{key}", value) for key, value in (values["labels"] or {}).items()},
    )


def alert_reasons(samples: Iterable[Sample], chosen: Selection) -> list[Reason]:
    """A reason for each alert that is in the way, by name and state, sorted."""
    found: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        if chosen.blocks(sample):
            found.setdefault((sample.name, sample.labels.get("alertstate", "")), []).append(sample)
    reasons = [
        Reason("prometheus", _detail(*key, each)) for key, each in sorted(found.items(), key=lambda item: item[0])
    ]
    return at_most("prometheus", reasons, "alerts")


def _detail(name: str, state: str, samples: Sequence[Sample]) -> str:
    if "alertname" not in samples[0].labels:
        return f"the query answers {samples[0].value:g} for {name}"[:_DETAIL]
    labels = "; ".join(filter(None, (sample.labels_text() for sample in samples)))
    times = f" {len(samples)} times" if len(samples) > 1 else ""
    detail = f"alert {name} is {state or 'active'}{times}" + (f": {labels}" if labels else "")
    return detail if len(detail) <= _DETAIL else f"{detail[:_DETAIL]}…"


def _label(option: str, value: object) -> str:
    """The value of a label. What YAML made of another one would be found in no alert, and none would be in the way."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise OptionError(option, value, "a text, in quotes where YAML takes it for something else")
    return str(value)


def _regexp(option: str, text: str | None) -> re.Pattern[str] | None:
    """A regular expression that Python reads as Go does, as far as that can be told; kured's are Go's. Empty is none."""
    if not text:
        return None
    expected = "a regular expression that Python reads as Go does"
    if _POSIX_CLASS.search(text):
        raise OptionError(option, text, f"{expected}: a-z for [:lower:] and the like, which Python takes for letters")
    try:
        with warnings.catch_warnings():
            # What older Pythons read in another way than newer ones: flags in the middle, sets in sets.
            warnings.simplefilter("error")
            return re.compile(text, re.ASCII)
    except (re.error, Warning, RecursionError, OverflowError) as error:
        raise OptionError(
            option, text, rf"{expected}, with flags at its beginning and without \p, \Q, \z and \C ({error})"
        ) from error
