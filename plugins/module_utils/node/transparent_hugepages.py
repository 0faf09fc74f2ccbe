# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Transparent hugepages: what the kernel says, and how it is set. One file: the facts are the attributes that we set.

Source: admin-guide/mm/transhuge.rst. There is no sysctl: it is persisted by tmpfiles.d(5), and so under systemd alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.converge import Change, Params, Undos, Unmet, Verdict
from ansible_collections.bulwark.node.plugins.module_utils.dropin import TMPFILES, Persisted
from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError, OptionError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.manifest import Manifest
from ansible_collections.bulwark.node.plugins.module_utils.node import tuned
from ansible_collections.bulwark.node.plugins.module_utils.node.request import PASSIVE, Request
from ansible_collections.bulwark.node.plugins.module_utils.node.system import has_systemd
from ansible_collections.bulwark.node.plugins.module_utils.units import format_size, parse_size

__all__ = ["ARGUMENT_SPEC", "TransparentHugepages", "facts"]

_POLICIES = ("enabled", "defrag", "shmem_enabled")
_SIZE_POLICIES = ("enabled", "shmem_enabled")
_KHUGEPAGED = (
    "defrag",
    "pages_to_scan",
    "scan_sleep_millisecs",
    "alloc_sleep_millisecs",
    "max_ptes_none",
    "max_ptes_swap",
    "max_ptes_shared",
)

_UINT_MAX = (1 << 32) - 1
_BOUNDS = {"defrag": (0, 1), "pages_to_scan": (1, _UINT_MAX)}

ARGUMENT_SPEC: dict[str, Any] = {
    "enabled": {"type": "str", "choices": ["always", "madvise", "never"]},
    "defrag": {"type": "str", "choices": ["always", "defer", "defer+madvise", "madvise", "never"]},
    "shmem_enabled": {"type": "str", "choices": ["always", "within_size", "advise", "never", "deny", "force"]},
    "khugepaged": {"type": "dict", "options": {name: {"type": "int"} for name in _KHUGEPAGED}},
    "sizes": {
        "type": "list",
        "elements": "dict",
        "options": {
            "size": {"type": "str", "required": True},
            "enabled": {"type": "str", "choices": ["always", "inherit", "madvise", "never"]},
            "shmem_enabled": {"type": "str", "choices": ["always", "inherit", "within_size", "advise", "never"]},
        },
    },
    "persist": {"type": "bool", "default": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}

ROOT = "/sys/kernel/mm/transparent_hugepage"
_TUNED = {
    ("vm", f"{option}{suffix}"): f"{ROOT}/{attribute}"
    for option in ("transparent_hugepage", "transparent_hugepages")
    for suffix, attribute in (("", "enabled"), (".defrag", "defrag"))
}
_TMPFILES_PATH = "/etc/tmpfiles.d/10-bulwark-transparent-hugepages.conf"


@dataclass(frozen=True)
class Wanted:
    """The value of one attribute, and the option that asks for it."""

    option: str
    value: str


@dataclass(frozen=True)
class Desired:
    """The attributes by path. With ``present`` false all that we ever set goes back."""

    attributes: Mapping[str, Wanted]
    present: bool
    persist: bool


@dataclass(frozen=True)
class State:
    """All attributes by path, what those that we set were before us, our file, and the bound of khugepaged/max_ptes_*."""

    attributes: Mapping[str, str]
    offered: Mapping[str, tuple[str, ...]]
    firsts: Mapping[str, str]
    persisted: Persisted
    max_ptes: int | None
    systemd: bool

    def facts(self) -> dict[str, Any]:
        """The subset ``transparent_hugepages`` of the facts."""
        return _facts(self.attributes)

    def files(self) -> Mapping[str, str | None]:
        """Our drop-in file."""
        return {self.persisted.path: self.persisted.text}


def facts(host: Host, request: Request = PASSIVE) -> dict[str, Any]:
    """The subset ``transparent_hugepages``."""
    return _facts({path: value for path, value, dummy in _attributes(host)})


class TransparentHugepages:
    """The domain of the module ``transparent_hugepages``."""

    name = "transparent_hugepages"

    def __init__(self, host: Host) -> None:
        self._host = host
        self._manifest = Manifest(host, self.name)

    def desired(self, params: Params) -> Desired:
        """The attributes that the options name; raises OptionError."""
        present = params["state"] == "present"
        attributes = {f"{ROOT}/{name}": Wanted(name, params[name]) for name in _POLICIES if params[name] is not None}
        for name, value in (params["khugepaged"] or {}).items():
            if value is not None:
                low, high = _BOUNDS.get(name, (0, _UINT_MAX))
                if not low <= value <= high:
                    raise OptionError(f"khugepaged.{name}", value, f"{low} to {high}")
                attributes[f"{ROOT}/khugepaged/{name}"] = Wanted(f"khugepaged.{name}", str(value))
        for index, entry in enumerate(params["sizes"] or ()):
            _add_size(f"sizes[{index}]", entry, attributes)
        if present and not attributes:
            raise OptionError("enabled", None, "a value here, or in defrag, shmem_enabled, khugepaged or sizes")
        if attributes and not present:
            wanted = next(iter(attributes.values()))
            raise OptionError(wanted.option, wanted.value, "no value beside state absent: all that was set goes back")
        return Desired(attributes, present, params["persist"])

    def observe(self, desired: Desired) -> State:
        """The attributes and our file; nothing is forked."""
        host = self._host
        rows = list(_attributes(host))
        persisted = TMPFILES.observe(host, _TMPFILES_PATH, [row[0] for row in rows])
        keys = {**{("sysfs", row[0]): row[0] for row in rows}, **_TUNED}
        pmd_size = host.integer(f"{ROOT}/hpage_pmd_size")
        return State(
            attributes={path: value for path, value, dummy in rows},
            offered={path: offered for path, dummy, offered in rows if offered},
            firsts={
                path: entry["before"]
                for path, entry in self._manifest.entries()["kernel"].items()
                if entry["by"] == self.name
            },
            persisted=replace(persisted, owners=persisted.owners + tuned.owners(host, keys)),
            max_ptes=pmd_size // os.sysconf("SC_PAGE_SIZE") - 1 if pmd_size else None,
            systemd=has_systemd(host),
        )

    def check(self, state: State, desired: Desired) -> None:
        """The kernel has each attribute and takes the value, it can be persisted, and nobody else wins at boot."""
        for path, wanted in desired.attributes.items():
            if path not in state.attributes:
                raise OptionError(wanted.option, wanted.value, f"nothing: this kernel has no {path}")
            offered = state.offered.get(path)
            if offered and wanted.value not in offered:
                raise OptionError(wanted.option, wanted.value, f"what this kernel offers: {', '.join(offered)}")
            if "max_ptes" in path and state.max_ptes is not None and int(wanted.value) > state.max_ptes:
                raise OptionError(
                    wanted.option, wanted.value, f"0 to {state.max_ptes}, the pages of one hugepage less one"
                )
        if desired.persist and desired.present:
            if not state.systemd:
                raise BulwarkError(
                    "persist: without systemd nothing sets transparent hugepages at boot. "
                    "Set persist to false, or boot with transparent_hugepage="
                )
            state.persisted.refuse_winners(_agreeing(state, desired))

    def plan(self, state: State, desired: Desired) -> list[Change]:
        """The attributes in the order of their paths, then our file."""
        goals = {path: wanted.value for path, wanted in desired.attributes.items()} if desired.present else state.firsts
        changes = [
            Change("attribute", path, state.attributes[path], value)
            for path, value in sorted(goals.items())
            if state.attributes.get(path, value) != value
        ]
        if desired.persist or not desired.present:
            changes += state.persisted.plan(_settings(state, desired))
        return changes

    def predict(self, state: State, changes: Sequence[Change]) -> State:
        """The state after the changes."""
        new = {change.target: change.after for change in changes if change.kind == "attribute"}
        return replace(state, attributes={**state.attributes, **new}, persisted=state.persisted.predict(changes))

    def apply(self, change: Change, desired: Desired, undos: Undos) -> None:
        """One attribute, or our file."""
        if change.kind == "attribute":
            self._manifest.kernel(change.target, change.after, undos)
        else:
            self._manifest.file(change.target, change.after, undos)

    def judge(self, before: State, after: State, left: Sequence[Change], desired: Desired) -> Verdict:
        """Nothing here falls short by itself: what is left fails the run."""
        unmet = tuple(
            Unmet(
                change.target,
                change.after,
                change.before,
                f"{change.after!r} was written and {change.before!r} read back",
                "Look who else writes it.",
            )
            for change in left
        )
        settings = _settings(after, desired)
        if desired.present and desired.persist:
            warnings = after.persisted.warnings(_agreeing(after, desired))
        else:
            warnings = tuple(
                f"{after.persisted.path} still sets {path} to {value} at the next boot"
                for path, value in after.persisted.settings.items()
                if settings.get(path) != value and desired.present
            )
        return Verdict(unmet=unmet, warnings=warnings, failed=bool(unmet))


def _facts(attributes: Mapping[str, str]) -> dict[str, Any]:
    sizes: dict[int, dict[str, str]] = {}
    for path, value in attributes.items():
        match = re.fullmatch(rf"{ROOT}/hugepages-([0-9]+)kB/(\w+)", path)
        if match:
            sizes.setdefault(int(match.group(1)) * 1024, {})[match.group(2)] = value
    prefix = f"{ROOT}/khugepaged/"
    return {
        **{name: attributes.get(f"{ROOT}/{name}") for name in _POLICIES},
        "khugepaged": {
            path[len(prefix) :]: int(value) for path, value in sorted(attributes.items()) if path.startswith(prefix)
        },
        "sizes": [
            {"size": format_size(size), "size_bytes": size, **{name: values.get(name) for name in _SIZE_POLICIES}}
            for size, values in sorted(sizes.items())
        ],
        "reason": None if f"{ROOT}/enabled" in attributes else "this kernel has no transparent hugepages",
    }


def _attributes(host: Host) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """(path, value, the words that the kernel offers) of each attribute that is there and can be set."""
    paths = [f"{ROOT}/{name}" for name in _POLICIES]
    paths += [f"{ROOT}/khugepaged/{name}" for name in _KHUGEPAGED]
    paths += [
        f"{ROOT}/{name}/{policy}"
        for name in host.names(ROOT)
        if re.fullmatch(r"hugepages-[0-9]{1,12}kB", name)
        for policy in _SIZE_POLICIES
    ]
    for path in paths:
        text = host.read(path)
        if text is None:
            continue
        chosen = re.search(r"\[([^\]\s]+)\]", text)
        if chosen:
            yield path, chosen.group(1), tuple(text.replace("[", "").replace("]", "").split())
        elif re.fullmatch(r"\s*[0-9]{1,20}\s*", text, re.ASCII):
            yield path, text.strip(), ()


def _add_size(option: str, entry: Mapping[str, Any], attributes: dict[str, Wanted]) -> None:
    try:
        size = parse_size(entry["size"])
    except ValueError as error:
        raise OptionError(f"{option}.size", entry["size"], str(error).replace("expected ", "", 1)) from None
    named = False
    for name in _SIZE_POLICIES:
        if entry[name] is not None:
            named = True
            path = f"{ROOT}/hugepages-{size // 1024}kB/{name}"
            if path in attributes:
                raise OptionError(f"{option}.size", entry["size"], f"another size than {attributes[path].option} names")
            attributes[path] = Wanted(f"{option}.{name}", entry[name])
    if not named:
        raise OptionError(f"{option}.enabled", None, "a value here or in shmem_enabled")


def _agreeing(state: State, desired: Desired) -> dict[str, str]:
    """For each attribute that another file sets, the value with which it would agree with ours: its own, where we set none."""
    return {
        owner.key: desired.attributes[owner.key].value if owner.key in desired.attributes else owner.value
        for owner in state.persisted.owners
    }


def _settings(state: State, desired: Desired) -> dict[str, str]:
    """What our file shall hold."""
    if not desired.present:
        return {}
    return {**state.persisted.settings, **{path: wanted.value for path, wanted in desired.attributes.items()}}
