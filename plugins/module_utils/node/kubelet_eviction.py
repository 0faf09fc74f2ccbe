# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When the kubelet evicts: its thresholds beside what there is. Source: kubernetes.io "Node-pressure Eviction"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import memory
from ansible_collections.bulwark.node.plugins.module_utils.node.kubelet_config import Config, threshold
from ansible_collections.bulwark.node.plugins.module_utils.node.meminfo import meminfo

__all__ = ["evictions", "headroom", "memory_headroom"]


def evictions(config: Config, memory_total: int) -> list[dict[str, Any]] | None:
    """For each signal {signal, hard, soft, contradicts}: a soft threshold that is not above the hard one never acts.

    None where the configuration is not known. ``contradicts`` is None where the two are of different kinds, a share and a size, and the whole is not known.
    """
    if config.reason is not None:
        return None
    hard, soft = (_texts(config, key) for key in ("evictionHard", "evictionSoft"))
    return [
        {
            "signal": signal,
            "hard": hard.get(signal),
            "soft": soft.get(signal),
            "contradicts": _contradicts(
                hard.get(signal), soft.get(signal), memory_total if signal == "memory.available" else None
            ),
        }
        for signal in sorted({*hard, *soft})
    ]


def headroom(config: Config, system: str, found: Mapping[str, Any]) -> dict[str, float | None]:
    """Percent of a file system (``nodefs``, ``imagefs``) at which the kubelet evicts, and what is left until then.

    ``found`` is as filesystem.measured() gives it. A threshold of 0 is none. All are None where the configuration is not known.
    """
    signals = (
        ("", f"{system}.available", found["capacity_bytes"], found["available_percent"]),
        ("inodes_", f"{system}.inodesFree", found["inodes"], found["inodes_free_percent"]),
    )
    shown: dict[str, float | None] = {}
    for prefix, signal, capacity, left in signals:
        limit = _limit(config, signal, capacity)
        share = None if limit is None or not capacity else round(100 * limit / capacity, 2)
        shown[f"{prefix}eviction_percent"] = share
        shown[f"{prefix}headroom_percent"] = None if share is None or left is None else round(left - share, 2)
    return shown


def memory_headroom(host: Host, config: Config) -> dict[str, Any]:
    """{hard_bytes, soft_bytes, begins_bytes, available_bytes, headroom_bytes, headroom_percent, reason}.

    Eviction begins at the higher one of the two thresholds, held against what the kubelet takes for available.
    """
    lines = meminfo(host)
    total = lines.get("MemTotal")
    hard, soft = (_limit(config, "memory.available", total, key) for key in ("evictionHard", "evictionSoft"))
    begins = None if hard is None or soft is None else max(hard, soft)
    unseen: dict[str, Any] = {"available_bytes": None, "reason": "the size of the memory is not known"}
    seen = memory.as_the_kubelet(host, lines) if total else unseen
    available = seen["available_bytes"]
    left = None if begins is None or available is None else available - begins
    return {
        "hard_bytes": hard,
        "soft_bytes": soft,
        "begins_bytes": begins,
        "available_bytes": available,
        "headroom_bytes": left,
        "headroom_percent": None if left is None or not total else round(100 * left / total, 2),
        "reason": config.reason or ("a threshold cannot be read" if begins is None else seen["reason"]),
    }


def _texts(config: Config, key: str) -> dict[str, str]:
    return {name: str(setting.value) for name, setting in config.maps.get(key, {}).items()}


def _limit(config: Config, signal: str, capacity: int | None, key: str = "evictionHard") -> int | None:
    """A threshold in bytes, or in inodes; 0 where there is none, None where that is not known."""
    if config.reason is not None:
        return None
    text = _texts(config, key).get(signal)
    if text is None:
        return 0
    if capacity is None and text.endswith("%"):
        return None
    try:
        return threshold(text, capacity or 0)
    except (ValueError, OverflowError):
        return None


def _contradicts(hard: str | None, soft: str | None, whole: int | None) -> bool | None:
    if hard is None or soft is None:
        return False
    shares = hard.endswith("%"), soft.endswith("%")
    if shares[0] != shares[1] and whole is None:
        return None
    # Of two shares any whole gives the order.
    size = whole or 10**6
    try:
        low, high = threshold(hard, size), threshold(soft, size)
    except (ValueError, OverflowError):
        return None
    return bool(low and high and high <= low)
