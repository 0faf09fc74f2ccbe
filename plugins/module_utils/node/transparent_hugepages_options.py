# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of the module ``transparent_hugepages``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.converge import Params
from ansible_collections.bulwark.node.plugins.module_utils.errors import OptionError
from ansible_collections.bulwark.node.plugins.module_utils.node import thp
from ansible_collections.bulwark.node.plugins.module_utils.node.thp import ROOT
from ansible_collections.bulwark.node.plugins.module_utils.units import size_option

__all__ = ["ARGUMENT_SPEC", "Desired", "Wanted", "desired"]

_UINT_MAX = (1 << 32) - 1
_BOUNDS = {"defrag": (0, 1), "pages_to_scan": (1, _UINT_MAX)}

ARGUMENT_SPEC: dict[str, Any] = {
    "enabled": {"type": "str", "choices": ["always", "madvise", "never"]},
    "defrag": {"type": "str", "choices": ["always", "defer", "defer+madvise", "madvise", "never"]},
    "shmem_enabled": {"type": "str", "choices": ["always", "within_size", "advise", "never", "deny", "force"]},
    "khugepaged": {"type": "dict", "options": {name: {"type": "int"} for name in thp.KHUGEPAGED}},
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


def desired(params: Params) -> Desired:
    """The attributes that the options name; raises OptionError."""
    present = params["state"] == "present"
    attributes = {f"{ROOT}/{name}": Wanted(name, params[name]) for name in thp.POLICIES if params[name] is not None}
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


def _add_size(option: str, entry: Mapping[str, Any], attributes: dict[str, Wanted]) -> None:
    size = size_option(f"{option}.size", entry["size"])
    named = False
    for name in thp.SIZE_POLICIES:
        if entry[name] is not None:
            named = True
            path = f"{ROOT}/hugepages-{size // 1024}kB/{name}"
            if path in attributes:
                raise OptionError(f"{option}.size", entry["size"], f"another size than {attributes[path].option} names")
            attributes[path] = Wanted(f"{option}.{name}", entry[name])
    if not named:
        raise OptionError(f"{option}.enabled", None, "a value here or in shmem_enabled")
