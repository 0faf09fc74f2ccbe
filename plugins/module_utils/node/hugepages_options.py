# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of the module ``hugepages``, checked against each other and in normal units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.converge import Params
from ansible_collections.bulwark.node.plugins.module_utils.errors import OptionError
from ansible_collections.bulwark.node.plugins.module_utils.units import format_size, size_option

__all__ = ["ARGUMENT_SPEC", "Desired", "Wanted", "desired"]

ARGUMENT_SPEC: dict[str, Any] = {
    "pools": {
        "type": "list",
        "elements": "dict",
        "options": {
            "size": {"type": "str", "required": True},
            "count": {"type": "int"},
            "node": {"type": "int"},
            "overcommit": {"type": "int"},
        },
    },
    "persist": {"type": "bool", "default": True},
    "on_shortfall": {"type": "str", "choices": ["fail", "warn", "reboot"], "default": "fail"},
    "allow_surplus": {"type": "bool", "default": False},
    "compact": {"type": "bool", "default": True},
    "timeout": {"type": "int", "default": 60},
    "memory_reserve": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


@dataclass(frozen=True)
class Wanted:
    """One entry of ``pools``: pages of ``size`` bytes on ``node`` (None: the machine); None leaves a number alone."""

    option: str
    size: int
    node: int | None
    count: int | None
    overcommit: int | None


@dataclass(frozen=True)
class Desired:
    """The options. ``pools`` None (state absent alone): every pool that we set."""

    pools: tuple[Wanted, ...] | None
    present: bool
    persist: bool
    on_shortfall: str
    allow_surplus: bool
    compact: bool
    timeout: int
    memory_reserve: int | None


def desired(params: Params) -> Desired:
    """Each option in its normal unit; raises OptionError."""
    present = params["state"] == "present"
    pools = params["pools"]
    if not pools and (present or pools is not None):
        raise OptionError("pools", pools, "at least one pool")
    if params["timeout"] < 0:
        raise OptionError("timeout", params["timeout"], "0 seconds or more")
    if present and params["on_shortfall"] == "reboot" and not params["persist"]:
        raise OptionError("on_shortfall", "reboot", "persist beside it: the next boot sets only what is persisted")
    wanted = None if pools is None else tuple(_wanted(f"pools[{i}]", pool, present) for i, pool in enumerate(pools))
    _refuse_overlaps(wanted or ())
    return Desired(
        pools=wanted,
        present=present,
        persist=params["persist"],
        on_shortfall=params["on_shortfall"],
        allow_surplus=params["allow_surplus"],
        compact=params["compact"],
        timeout=params["timeout"],
        memory_reserve=None
        if params["memory_reserve"] is None
        else size_option("memory_reserve", params["memory_reserve"]),
    )


def _wanted(option: str, pool: Mapping[str, Any], present: bool) -> Wanted:
    for name in ("count", "node", "overcommit"):
        if pool[name] is not None and pool[name] < 0:
            raise OptionError(f"{option}.{name}", pool[name], "0 or more")
    if pool["overcommit"] is not None and pool["node"] is not None:
        raise OptionError(
            f"{option}.overcommit",
            pool["overcommit"],
            "no node beside it: the kernel overcommits for the whole machine",
        )
    size = size_option(f"{option}.size", pool["size"])
    if present:
        if pool["count"] is None and pool["overcommit"] is None:
            raise OptionError(f"{option}.count", None, "a number of pages in count, overcommit, or both")
        return Wanted(option, size, pool["node"], pool["count"], pool["overcommit"])
    if pool["count"] or pool["overcommit"]:
        raise OptionError(f"{option}.count", pool["count"] or pool["overcommit"], "no number beside state absent")
    return Wanted(option, size, pool["node"], 0, 0 if pool["node"] is None else None)


def _refuse_overlaps(pools: Sequence[Wanted]) -> None:
    """Each number is given once: a total beside a node's count of the same size contradicts it."""
    counts: dict[int, dict[int | None, str]] = {}
    overcommits: dict[int, str] = {}
    for wanted in pools:
        if wanted.count is not None:
            nodes = counts.setdefault(wanted.size, {})
            if wanted.node in nodes:
                raise OptionError(
                    wanted.option, format_size(wanted.size), f"another size or node than {nodes[wanted.node]} names"
                )
            nodes[wanted.node] = wanted.option
            if None in nodes and len(nodes) > 1:
                raise OptionError(
                    wanted.option, format_size(wanted.size), "a count for the machine, or one for each node, not both"
                )
        if wanted.overcommit is not None and wanted.node is None:
            if wanted.size in overcommits:
                raise OptionError(
                    f"{wanted.option}.overcommit",
                    wanted.overcommit,
                    f"another size than {overcommits[wanted.size]} names",
                )
            overcommits[wanted.size] = wanted.option
