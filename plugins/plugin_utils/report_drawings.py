# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What report.html draws of one host: numbers of its facts and where they lie on a scale from 0 to 100. Pure.

The facts are a node's own word. One of another type than docs/schemas.md has costs its drawing, which says so, and no
other; one that is null is drawn as not known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ansible_collections.bulwark.node.plugins.module_utils.node import hugetlb

__all__ = ["DRAWINGS", "Drawing", "draw", "glance", "size"]

T = TypeVar("T")

_LADDER = ("open", "api", "vm", "vcpu", "real_mode_guest")
# The classes of devices that people hand to guests and pods (pci.ids): storage, network, display, accelerators.
_CLASSES = {"01": "storage", "02": "network", "03": "display", "0b": "processor", "12": "accelerator"}
_MAX_ROWS = 24
# No machine has as many of anything that is drawn, and one that says so must not make the page too heavy to open.
_MAX_FACTS = 4096
# What is said of an argument that one of these lists of kernel_args has.
_MARKS = {
    "not_made": "configured, not in the boot entry",
    "new_at_boot": "comes with the next boot",
    "lost_at_boot": "gone after the next boot",
}
# Below it a page is a square of its own, above it a pool is one bar.
_MAX_SQUARES = 32
# LONG_MAX: systemd lifts fs.file-max to it.
_MOST = (1 << 63) - 1
_LOWEST_LIMIT = 64
_EXPECTED: dict[type[Any], str] = {
    dict: "a dictionary",
    list: "a list",
    str: "a string",
    int: "a whole number from 0 to 2^64 - 1",
    float: "a number",
    bool: "true or false",
}


class _MalformedError(Exception):
    """A fact is not what the schema has; the message names it, and what was expected."""


class _AbsentError(Exception):
    """There is nothing to draw; the message says why."""


@dataclass(frozen=True)
class Part:
    """A part of a bar: ``value`` in the bar's own unit, ``x`` and ``width`` of 100."""

    name: str
    value: int
    x: float
    width: float


@dataclass(frozen=True)
class Drawing:
    """A drawing: ``data`` for its macro in the template, or None and why there is none. ``odd``: the facts are not the schema's."""

    key: str
    title: str
    data: Any
    reason: str | None = None
    odd: bool = False


def draw(facts: Mapping[str, Any]) -> list[Drawing]:
    """All drawings of a host, in their order; never raises, whatever JSON the facts are."""
    return [_one(key, title, made, facts) for key, title, made in DRAWINGS]


def _one(key: str, title: str, made: Callable[[Mapping[str, Any]], Any], facts: Mapping[str, Any]) -> Drawing:
    try:
        return Drawing(key, title, made(facts))
    except _AbsentError as exc:
        return Drawing(key, title, None, str(exc))
    except _MalformedError as exc:
        return Drawing(key, title, None, str(exc), odd=True)


def size(number: int | None) -> str:
    """Bytes for people: ``8.0 GiB``, ``512 B``; ``unknown`` for None."""
    if number is None:
        return "unknown"
    value, unit = float(number), 0
    while abs(value) >= 1024 and unit < 6:
        value, unit = value / 1024, unit + 1
    return f"{value:.1f} {('B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB')[unit]}" if unit else f"{number} B"


def _typed(value: Any, kind: type[T], where: str) -> T:
    fits = isinstance(value, (int, float) if kind is float else kind)
    # bool is an int in Python, and true pages are no number of pages.
    if not fits or (kind in (int, float) and isinstance(value, bool)):
        raise _MalformedError(f"the fact {where} is of type {type(value).__name__}; expected {_EXPECTED[kind]}")
    if kind is int and not 0 <= value < 1 << 64:
        raise _MalformedError(f"the fact {where} is out of range; expected {_EXPECTED[kind]}")
    typed: T = value
    return typed


def _get(parent: Mapping[str, Any] | None, key: str, kind: type[T], where: str) -> T | None:
    """``parent[key]``, which must be of ``kind``; None where it, or the parent, is null or absent."""
    value = parent.get(key) if parent is not None else None
    return None if value is None else _typed(value, kind, f"{where}.{key}")


def _int(parent: Mapping[str, Any] | None, key: str, where: str) -> int | None:
    return _get(parent, key, int, where)


def _text(parent: Mapping[str, Any] | None, key: str, where: str) -> str | None:
    return _get(parent, key, str, where)


def _map(parent: Mapping[str, Any] | None, key: str, where: str) -> Mapping[str, Any] | None:
    return _get(parent, key, dict, where)


def _rows(parent: Mapping[str, Any] | None, key: str, where: str) -> list[tuple[str, Mapping[str, Any]]]:
    """The dictionaries in the list ``parent[key]``, each with its own address for messages; none where it is null."""
    return _dicts(_get(parent, key, list, where) or [], f"{where}.{key}")


def _dicts(rows: Sequence[Any], where: str) -> list[tuple[str, Mapping[str, Any]]]:
    if len(rows) > _MAX_FACTS:
        raise _MalformedError(f"the fact {where} has {len(rows)} rows; expected at most {_MAX_FACTS}")
    return [(f"{where}[{i}]", _typed(row, dict, f"{where}[{i}]")) for i, row in enumerate(rows)]


def _texts(parent: Mapping[str, Any] | None, key: str, where: str) -> list[str] | None:
    values = _get(parent, key, list, where)
    if values is not None and len(values) > _MAX_FACTS:
        raise _MalformedError(f"the fact {where}.{key} has {len(values)} entries; expected at most {_MAX_FACTS}")
    return None if values is None else [_typed(value, str, f"{where}.{key}[{i}]") for i, value in enumerate(values)]


def _subset(facts: Mapping[str, Any], name: str, kind: type[T]) -> T:
    """``facts[name]``; _AbsentError with the reason where it is null or was not asked for."""
    if name not in facts:
        raise _AbsentError("not gathered")
    value = facts[name]
    if value is not None:
        return _typed(value, kind, name)
    errors = facts.get("errors")
    for error in errors if isinstance(errors, list) else ():
        if isinstance(error, Mapping) and error.get("subset") == name:
            raise _AbsentError(f"not known: {error.get('reason')}")
    raise _AbsentError("not known")


def _dict(facts: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return _subset(facts, name, dict)


def _other(facts: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """A subset that a drawing takes a number from if it is there; None where it is not."""
    try:
        return _dict(facts, name)
    except _AbsentError:
        return None


def _bar(parts: Iterable[tuple[str, int]], whole: int) -> list[Part]:
    """Parts one after the other on a scale whose end is ``whole``; what is nothing is left out, what goes beyond it is cut."""
    made: list[Part] = []
    at = 0.0
    for name, value in parts:
        width = min(100 * value / whole, 100 - at) if whole else 0.0
        if value > 0:
            made.append(Part(name, value, round(at, 2), round(width, 2)))
        at += max(width, 0.0)
    return made


def _less(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else max(one - other, 0)


def _hugepages(facts: Mapping[str, Any]) -> Any:
    subset = _dict(facts, "hugepages")
    pools = [_pool(pool, at) for at, pool in _rows(subset, "pools", "hugepages")]
    shown = [pool for pool in pools if pool["total"] != 0 or pool["overcommit"]]
    if not pools:
        raise _AbsentError("the kernel offers no hugepage size")
    return {
        "pools": shown,
        "empty": [pool["size"] for pool in pools if pool not in shown],
        "pool_bytes": _int(subset, "pool_bytes", "hugepages"),
        "memory_total_bytes": _int(subset, "memory_total_bytes", "hugepages"),
    }


def _pool(pool: Mapping[str, Any], at: str) -> dict[str, Any]:
    total, reserved = _int(pool, "total", at), _int(pool, "reserved", at)
    nodes = list(_rows(pool, "nodes", at))
    per_node = max((_int(node, "total", where) or 0 for where, node in nodes), default=0)
    scale = max(total or 0, per_node)
    # What is reserved the kernel tells of all nodes together.
    rows = [
        _pages(node, where, scale, f"node {_known(_int(node, 'node', where))}", reserved if len(nodes) == 1 else None)
        for where, node in nodes
    ]
    if len(nodes) != 1:
        rows.append(_pages(pool, at, scale, "all nodes" if nodes else "no NUMA nodes", reserved))
    page = _int(pool, "size_bytes", at)
    return {
        "size": _text(pool, "size", at) or "unknown",
        "total": total,
        "bytes": None if total is None or page is None else total * page,
        "overcommit": _int(pool, "overcommit", at),
        "rows": rows,
        "squares": [round(100 * i / scale, 2) for i in range(1, scale)] if 1 < scale <= _MAX_SQUARES else [],
    }


def _pages(row: Mapping[str, Any], at: str, scale: int, name: str, reserved: int | None) -> dict[str, Any]:
    """Pages of a node or of a pool: used, reserved (None where nobody tells), free (and not reserved), surplus (part of the total)."""
    total, free, surplus = _int(row, "total", at), _int(row, "free", at), _int(row, "surplus", at)
    used = _less(total, free)
    unclaimed = free if reserved is None else _less(free, reserved)
    return {
        "name": name,
        "used": used,
        "reserved": reserved,
        "free": unclaimed,
        "surplus": surplus,
        "total": total,
        "bar": _bar([("used", used or 0), ("reserved", reserved or 0), ("free", unclaimed or 0)], scale),
        "over": round(100 * surplus / scale, 2) if surplus and scale else 0,
    }


def _known(number: int | None) -> str:
    return "unknown" if number is None else str(number)


def _memory(facts: Mapping[str, Any]) -> Any:
    subset = _dict(facts, "memory")
    free = _map(subset, "free", "memory")
    mem = _map(free, "mem", "memory.free")
    swap = _map(free, "swap", "memory.free")
    kubelet = _map(subset, "kubelet", "memory")
    total = _int(mem, "total", "memory.free.mem") or _int(
        _map(subset, "meminfo", "memory"), "MemTotal", "memory.meminfo"
    )
    names = ("used", "free", "shared", "buff_cache", "available")
    said = {name: _int(mem, name, "memory.free.mem") for name in names}
    sees = {
        name: _int(kubelet, name, "memory.kubelet")
        for name in ("working_set_bytes", "available_bytes", "available_corrected_bytes")
    }
    pool = _int(_other(facts, "hugepages"), "pool_bytes", "hugepages")
    pool = _less(sees["available_bytes"], sees["available_corrected_bytes"]) if pool is None else pool
    corrected = sees["available_corrected_bytes"]
    eviction = _map(_other(facts, "kubelet"), "memory_eviction", "kubelet")
    reclaimable = _less(said["available"], said["free"]) or 0
    return {
        "total": total,
        "free": said,
        "kubelet": sees,
        "pool": pool,
        "reserved": _int(_other(facts, "kubelet"), "reserved_memory_bytes", "kubelet"),
        "eviction": {
            name: _int(eviction, name, "kubelet.memory_eviction") for name in ("begins_bytes", "headroom_bytes")
        },
        "reason": _text(kubelet, "reason", "memory.kubelet"),
        "swap": {name: _int(swap, name, "memory.free.swap") for name in ("total", "used")},
        "free_bar": _bar(
            [
                ("used", said["used"] or 0),
                ("reclaimable", reclaimable),
                ("unused", (said["available"] or 0) - reclaimable),
            ],
            total or 0,
        ),
        "kubelet_bar": _bar(
            [("working", sees["working_set_bytes"] or 0), ("pools", pool or 0), ("left", corrected or 0)], total or 0
        ),
    }


def _bridges(facts: Mapping[str, Any]) -> Any:
    rows = _dicts(_subset(facts, "bridges", list), "bridges")
    if not rows:
        raise _AbsentError("no bridge is there")
    return [_bridge(bridge, at) for at, bridge in rows]


def _bridge(bridge: Mapping[str, Any], at: str) -> dict[str, Any]:
    wrong = set(_texts(bridge, "mismatched", at) or [])
    ports = [_link(port, where, wrong) for where, port in _rows(bridge, "ports", at)]
    # Of many ports those that differ are what one looks for.
    shown = sorted(ports, key=lambda port: not port["wrong"])[:_MAX_ROWS]
    return {
        "name": _text(bridge, "name", at) or "unknown",
        "mtu": _int(bridge, "mtu", at),
        "effective_mtu": _int(bridge, "effective_mtu", at),
        "pinned": _get(bridge, "pinned", bool, at),
        "pinned_reason": _text(bridge, "pinned_reason", at),
        "ports": shown,
        "more": len(ports) - len(shown),
        "uppers": [_link(upper, where, set()) for where, upper in _rows(bridge, "uppers", at)[:_MAX_ROWS]],
    }


def _link(link: Mapping[str, Any], at: str, wrong: set[str]) -> dict[str, Any]:
    name = _text(link, "name", at) or "unknown"
    return {
        "name": name,
        "mtu": _int(link, "mtu", at),
        "kind": _text(link, "kind", at),
        "dynamic": _get(link, "dynamic", bool, at),
        "wrong": name in wrong,
    }


def _rlimits(facts: Mapping[str, Any]) -> Any:
    subset = _dict(facts, "rlimits")
    ceilings = _map(subset, "ceilings", "rlimits")
    at = "rlimits.ceilings"
    nr_open = _int(ceilings, "nr_open", at)
    rows = [_process(process, where) for where, process in _rows(subset, "processes", "rlimits")]
    default = _map(_map(subset, "manager_defaults", "rlimits"), "nofile", "rlimits.manager_defaults")
    if default is not None:
        where = "rlimits.manager_defaults.nofile"
        rows.append(
            {
                "name": "systemd's default",
                "pid": None,
                "unit": _text(default, "file", where),
                "soft": _limit(default, "soft", where),
                "hard": _limit(default, "hard", where),
                "differs": [],
            }
        )
    if not rows and nr_open is None:
        raise _AbsentError("not known")
    numbers = [value for row in rows for value in (row["soft"], row["hard"]) if isinstance(value, int)]
    top = max([*numbers, nr_open or 0, _LOWEST_LIMIT * 2])
    inotify = _map(ceilings, "inotify", at)
    return {
        "rows": [{**row, **_range(row["soft"], row["hard"], nr_open, top)} for row in rows],
        "ceiling": None if nr_open is None else _log(nr_open, top),
        "nr_open": nr_open,
        "ceilings": [
            (name, "no limit" if value == _MOST else value)
            for name, value in (
                ("fs.file-max", _int(ceilings, "file_max", at)),
                ("open files now", _int(ceilings, "file_nr", at)),
                ("kernel.threads-max", _int(ceilings, "threads_max", at)),
                ("kernel.pid_max", _int(ceilings, "pid_max", at)),
                ("inotify instances", _int(inotify, "max_user_instances", f"{at}.inotify")),
                ("inotify watches", _int(inotify, "max_user_watches", f"{at}.inotify")),
            )
            if value is not None
        ],
    }


def _process(process: Mapping[str, Any], at: str) -> dict[str, Any]:
    where = f"{at}.limits.nofile"
    nofile = _map(_map(process, "limits", at), "nofile", f"{at}.limits")
    return {
        "name": _text(process, "name", at) or "unknown",
        "pid": _int(process, "pid", at),
        "unit": _text(process, "unit", at),
        "soft": _limit(nofile, "soft", where),
        "hard": _limit(nofile, "hard", where),
        "differs": [
            {
                **{key: _text(row, key, there) for key in ("limit", "source", "file")},
                **{key: _limit(row, key, there) for key in ("soft", "hard")},
            }
            for there, row in _rows(process, "differs", at)
        ],
    }


def _limit(parent: Mapping[str, Any] | None, key: str, where: str) -> int | str | None:
    """A limit: a number, ``unlimited``, or None where it is not known."""
    value = parent.get(key) if parent is not None else None
    return "unlimited" if value == "unlimited" else _int(parent, key, where)


def _range(soft: int | str | None, hard: int | str | None, nr_open: int | None, top: int) -> dict[str, Any]:
    """Where a process's limits lie on the logarithmic scale, and whether the hard one is above the ceiling."""
    over = nr_open is not None and (hard == "unlimited" or (isinstance(hard, int) and hard > nr_open))
    return {"soft_x": _log(soft, top), "hard_x": _log(hard, top), "over": over}


def _log(value: int | str | None, top: int) -> float | None:
    """0 to 96 for a number from 64 to ``top``, 100 for unlimited."""
    if not isinstance(value, int):
        return None if value is None else 100.0
    low = math.log2(_LOWEST_LIMIT)
    return round(96 * (math.log2(max(value, _LOWEST_LIMIT)) - low) / (math.log2(top) - low), 2)


def _kvm(facts: Mapping[str, Any]) -> Any:
    subset = _dict(facts, "kvm")
    proven = _texts(subset, "proven", "kvm") or []
    reasons = _reasons(subset, "kvm")
    verdict = _text(subset, "verdict", "kvm") or "unknown"
    # What is unproven was not tried.
    against = {reason["source"] for reason in reasons if verdict != "unproven"}
    steps = [
        {"name": step, "state": "proven" if step in proven else "stopped" if step in against else "open"}
        for step in _LADDER
    ]
    profiles = _map(subset, "profiles", "kvm") or {}
    return {
        "verdict": verdict,
        "module": _text(subset, "module", "kvm"),
        "nested": _get(subset, "nested", bool, "kvm"),
        "steps": steps,
        "reasons": reasons,
        "profiles": [_profile(name, _map(profiles, name, "kvm.profiles")) for name in list(profiles)[:_MAX_ROWS]],
    }


def _profile(name: str, profile: Mapping[str, Any] | None) -> dict[str, Any]:
    at = f"kvm.profiles.{name}"
    return {"name": name, "verdict": _text(profile, "verdict", at) or "unknown", "reasons": _reasons(profile, at)}


def _reasons(parent: Mapping[str, Any] | None, at: str) -> list[dict[str, Any]]:
    return [
        {"source": _text(row, "source", where), "detail": _text(row, "detail", where)}
        for where, row in _rows(parent, "reasons", at)
    ]


def _image_fs(facts: Mapping[str, Any]) -> Any:
    rows = _dicts(_subset(facts, "image_fs", list), "image_fs")
    if not rows:
        raise _AbsentError("no container runtime's images were found")
    config = _map(_other(facts, "kubelet"), "config", "kubelet")
    return {
        "rows": [_store(row, at) for at, row in rows],
        "low": _threshold(config, "imageGCLowThresholdPercent"),
        "high": _threshold(config, "imageGCHighThresholdPercent"),
    }


def _threshold(config: Mapping[str, Any] | None, name: str) -> int | None:
    at = f"kubelet.config.{name}"
    value = _int(_map(config, name, "kubelet.config"), "value", at)
    if value is not None and value > 100:
        raise _MalformedError(f"the fact {at}.value is {value}; expected a percentage")
    return value


def _store(row: Mapping[str, Any], at: str) -> dict[str, Any]:
    used = _int(row, "gc_percent", at)
    inodes = _int(row, "inodes", at)
    inodes_used = _less(inodes, _int(row, "inodes_free", at))
    return {
        **{key: _text(row, key, at) for key in ("runtime", "path", "mountpoint", "device", "fstype")},
        "current": _get(row, "current", bool, at),
        "percent": used,
        "width": min(used or 0, 100),
        "capacity": _int(row, "capacity_bytes", at),
        "available": _int(row, "available_bytes", at),
        "inodes_percent": None if not inodes or inodes_used is None else 100 * inodes_used // inodes,
    }


def _pci(facts: Mapping[str, Any]) -> Any:
    subset = _dict(facts, "pci")
    virtual = {_text(row, "address", at): (at, row) for at, row in _rows(subset, "sriov", "pci")}
    nodes: dict[int | None, list[dict[str, Any]]] = {}
    count = 0
    for at, device in _rows(subset, "devices", "pci"):
        count += 1
        # The virtual ones are squares of their physical one.
        if _text(device, "physical_function", at) is None:
            made = _device(device, at, virtual)
            if made["kind"] or made["total"]:
                nodes.setdefault(_node(device, at), []).append(made)
    if not nodes:
        raise _AbsentError(f"none of {count} devices is for storage, network, display or virtual functions")
    shown = [
        {"node": node, "devices": devices[:_MAX_ROWS], "more": len(devices[_MAX_ROWS:])}
        for node, devices in sorted(nodes.items(), key=lambda pair: (pair[0] is None, pair[0] or 0))
    ]
    return {"nodes": shown, "count": count}


def _node(device: Mapping[str, Any], at: str) -> int | None:
    """The NUMA node of a device; None where it has none, for which the kernel says -1."""
    return None if device.get("numa_node") == -1 else _int(device, "numa_node", at)


def _device(
    device: Mapping[str, Any], at: str, virtual: Mapping[str | None, tuple[str, Mapping[str, Any]]]
) -> dict[str, Any]:
    address = _text(device, "address", at) or "unknown"
    where, functions = virtual.get(address, (at, None))
    total, made = _int(functions, "totalvfs", where), _int(functions, "numvfs", where)
    return {
        "address": address,
        "kind": _CLASSES.get((_text(device, "class", at) or "")[2:4]),
        "ids": ":".join((_text(device, key, at) or "?").removeprefix("0x") for key in ("vendor", "device")),
        "driver": _text(device, "driver", at),
        "group": _int(device, "iommu_group", at),
        "total": total,
        "made": made,
        "bar": _bar([("made", made or 0)], total or 0),
        "squares": [round(100 * i / total, 2) for i in range(1, total)] if total and 1 < total <= _MAX_SQUARES else [],
    }


def _boot(facts: Mapping[str, Any]) -> Any:
    subset = _dict(facts, "kernel_args")
    named = ("configured", "running", "next_boot")
    states = {name: _texts(subset, name, "kernel_args") for name in named}
    marks = {what: _texts(subset, key, "kernel_args") or [] for key, what in _MARKS.items()}
    # Of the loader itself it says why it is that one, which matters where there is none.
    of_states = [_text(subset, f"{name}_reason", "kernel_args") for name in ("configured", "next_boot")]
    reasons = [_text(subset, "reason", "kernel_args") if any(of_states) else None, *of_states]
    return {
        "loader": _text(subset, "boot_loader", "kernel_args"),
        "reasons": list(dict.fromkeys(reason for reason in reasons if reason is not None)),
        "rows": list(_arguments(states, marks)),
        "pools": _pools_by_boot(facts, states["configured"] or []),
    }


def _arguments(states: Mapping[str, list[str] | None], marks: Mapping[str, list[str]]) -> Iterator[dict[str, Any]]:
    """A row per argument, its states side by side, and what the facts say of it and the next boot."""
    numbered = {name: _numbered(tokens or []) for name, tokens in states.items()}
    keys = list(dict.fromkeys([*numbered["running"], *numbered["next_boot"], *numbered["configured"]]))
    for key in keys:
        row = {name: None if states[name] is None else key in numbered[name] for name in states}
        yield {"text": key[0], **row, "differs": next((what for what in marks if key[0] in marks[what]), None)}


def _numbered(tokens: list[str]) -> dict[tuple[str, int], None]:
    """Tokens told apart where one is given twice, as ``hugepages=8`` for two sizes is."""
    seen: dict[str, int] = {}
    made: dict[tuple[str, int], None] = {}
    for token in tokens:
        seen[token] = seen.get(token, 0) + 1
        made[token, seen[token]] = None
    return made


def _pools_by_boot(facts: Mapping[str, Any], configured: list[str]) -> list[dict[str, Any]]:
    """Hugepages of each size: on the configured command line, asked for at this boot, there now, and there after the next boot."""
    subset = _other(facts, "hugepages")
    pools = {_int(pool, "size_bytes", at): (at, pool) for at, pool in _rows(subset, "pools", "hugepages")}
    sizes = [number for number in pools if number is not None]
    default = _int(subset, "default_size_bytes", "hugepages")
    parsed = {arg.size: _asked(arg.count, arg.nodes) for arg in hugetlb.boot_args(configured, default, sizes)}
    asked = {
        _int(row, "size_bytes", at): _asked(_int(row, "count", at), _map(row, "nodes", at))
        for at, row in _rows(subset, "boot_args", "hugepages")
    }
    later = {_int(row, "size_bytes", at): _int(row, "total", at) for at, row in _rows(subset, "next_boot", "hugepages")}
    rows = []
    for number in sizes:
        at, pool = pools[number]
        now = _less(_int(pool, "total", at), _int(pool, "surplus", at))
        at_boot, after = asked.get(number), later.get(number)
        row = {
            "size": _text(pool, "size", at) or "unknown",
            "configured": parsed.get(number),
            "asked": at_boot,
            "now": now,
            "next_boot": after,
        }
        if any(value not in (None, 0) for value in (row["configured"], at_boot, now, after)):
            short = now is not None and at_boot is not None and at_boot.partition(" (")[0] != str(now)
            rows.append({**row, "differs": short or (None not in (now, after) and now != after)})
    return rows


def _asked(count: int | None, nodes: Mapping[Any, Any] | None) -> str | None:
    """Pages that a command line asks for: ``8``, or ``8 (0:4, 1:4)``."""
    if nodes is None:
        return None if count is None else str(count)
    pairs = [(str(node), _typed(pages, int, "hugepages.boot_args.nodes")) for node, pages in nodes.items()]
    return f"{sum(pages for node, pages in pairs)} ({', '.join(f'{node}:{pages}' for node, pages in pairs)})"


DRAWINGS: tuple[tuple[str, str, Callable[[Mapping[str, Any]], Any]], ...] = (
    ("memory", "Memory", _memory),
    ("hugepages", "Hugepage pools", _hugepages),
    ("boot", "Configured, running, next boot", _boot),
    ("kvm", "KVM", _kvm),
    ("bridges", "Bridges", _bridges),
    ("rlimits", "Open files against their ceiling", _rlimits),
    ("image_fs", "Image file system", _image_fs),
    ("pci", "PCI devices by NUMA node", _pci),
)


def glance(facts: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(what, text, tone) of a host at a glance; tone is ``bad``, ``warn`` or empty. What is odd or not known is left out."""
    found = []
    for what, told in _GLANCES:
        try:
            text, tone = told(facts)
        except (_AbsentError, _MalformedError):
            continue
        if text:
            found.append((what, text, tone))
    return found


def _system(facts: Mapping[str, Any]) -> tuple[str | None, str]:
    host = _dict(facts, "host")
    names = [_text(host, key, "host") for key in ("os_id", "os_version", "architecture")]
    return " ".join(name for name in names if name), ""


def _kernel(facts: Mapping[str, Any]) -> tuple[str | None, str]:
    return _text(_dict(facts, "host"), "kernel_release", "host"), ""


def _cpu(facts: Mapping[str, Any]) -> tuple[str | None, str]:
    return _text(_map(_dict(facts, "kvm"), "cpu", "kvm"), "model", "kvm.cpu"), ""


def _uptime(facts: Mapping[str, Any]) -> tuple[str | None, str]:
    seconds = _get(_dict(facts, "host"), "uptime_s", float, "host")
    if seconds is None or not 0 <= seconds < 1e12:
        return None, ""
    hours = int(seconds // 3600)
    return (f"{hours // 24} days" if hours >= 48 else f"{hours} hours" if hours else "under an hour"), ""


def _kubelet(facts: Mapping[str, Any]) -> tuple[str | None, str]:
    kubelet = _dict(facts, "kubelet")
    if not _get(kubelet, "running", bool, "kubelet"):
        return "not running", ""
    changed = _texts(kubelet, "changed_since_start", "kubelet")
    return ("changed since it started: " + ", ".join(changed), "warn") if changed else ("running", "")


def _runtime(facts: Mapping[str, Any]) -> tuple[str | None, str]:
    runtime = _dict(facts, "runtime")
    kind = _text(runtime, "kind", "runtime")
    running = _get(runtime, "running", bool, "runtime")
    return (kind if running or kind is None else f"{kind}, not running"), ""


def _reboot(facts: Mapping[str, Any]) -> tuple[str | None, str]:
    reboot = _dict(facts, "reboot")
    if not _get(reboot, "required", bool, "reboot"):
        return None, ""
    details = [_text(row, "detail", at) for at, row in _rows(reboot, "reasons", "reboot")]
    return "; ".join(detail for detail in details if detail) or "required", "warn"


def _oom(facts: Mapping[str, Any]) -> tuple[str | None, str]:
    kills = _int(_dict(facts, "oom"), "kills", "oom")
    return (f"{kills} since boot", "warn") if kills else (None, "")


def _conntrack(facts: Mapping[str, Any]) -> tuple[str | None, str]:
    subset = _dict(facts, "conntrack")
    count, most = _int(subset, "count", "conntrack"), _int(subset, "max", "conntrack")
    if count is None or not most:
        return None, ""
    return f"{count} of {most} ({100 * count // most} %)", "warn" if count * 10 >= most * 8 else ""


_GLANCES: tuple[tuple[str, Callable[[Mapping[str, Any]], tuple[str | None, str]]], ...] = (
    ("System", _system),
    ("Kernel", _kernel),
    ("CPU", _cpu),
    ("Up", _uptime),
    ("Kubelet", _kubelet),
    ("Runtime", _runtime),
    ("Conntrack", _conntrack),
    ("Reboot", _reboot),
    ("OOM kills", _oom),
)
