# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel says about transparent hugepages. Source: admin-guide/mm/transhuge.rst."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node.request import PASSIVE, Request
from ansible_collections.bulwark.node.plugins.module_utils.units import bracketed, format_size

__all__ = ["KHUGEPAGED", "POLICIES", "ROOT", "SIZE", "SIZE_POLICIES", "attributes", "facts", "shape"]

ROOT = "/sys/kernel/mm/transparent_hugepage"
SIZE = re.compile(rf"{ROOT}/hugepages-([0-9]+)kB/(\w+)")
POLICIES = ("enabled", "defrag", "shmem_enabled")
SIZE_POLICIES = ("enabled", "shmem_enabled")
KHUGEPAGED = (
    "defrag",
    "pages_to_scan",
    "scan_sleep_millisecs",
    "alloc_sleep_millisecs",
    "max_ptes_none",
    "max_ptes_swap",
    "max_ptes_shared",
)


def facts(host: Host, request: Request = PASSIVE) -> dict[str, Any]:
    """The subset ``transparent_hugepages``."""
    return shape({path: value for path, value, dummy in attributes(host)})


def shape(values: Mapping[str, str]) -> dict[str, Any]:
    """The facts that these values by path are."""
    sizes: dict[int, dict[str, str]] = {}
    for path, value in values.items():
        match = SIZE.fullmatch(path)
        if match:
            sizes.setdefault(int(match.group(1)) * 1024, {})[match.group(2)] = value
    prefix = f"{ROOT}/khugepaged/"
    enabled = values.get(f"{ROOT}/enabled")
    # Without settings for each size the one is for all.
    policies = {format_size(size): chosen.get("enabled") for size, chosen in sorted(sizes.items())} or {
        "all sizes": enabled
    }
    return {
        **{name: values.get(f"{ROOT}/{name}") for name in POLICIES},
        "always_for": [size for size, own in policies.items() if (enabled if own == "inherit" else own) == "always"],
        "khugepaged": {
            path[len(prefix) :]: int(value) for path, value in sorted(values.items()) if path.startswith(prefix)
        },
        "sizes": [
            {"size": format_size(size), "size_bytes": size, **{name: chosen.get(name) for name in SIZE_POLICIES}}
            for size, chosen in sorted(sizes.items())
        ],
        "reason": None if f"{ROOT}/enabled" in values else "this kernel has no transparent hugepages",
    }


def attributes(host: Host) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """(path, value, the words that the kernel offers) of each attribute that is there and can be set."""
    paths = [f"{ROOT}/{name}" for name in POLICIES]
    paths += [f"{ROOT}/khugepaged/{name}" for name in KHUGEPAGED]
    paths += [
        f"{ROOT}/{name}/{policy}"
        for name in host.names(ROOT)
        if re.fullmatch(r"hugepages-[0-9]{1,12}kB", name)
        for policy in SIZE_POLICIES
    ]
    for path in paths:
        text = host.read(path)
        if text is None:
            continue
        chosen = bracketed(text)
        if chosen:
            yield path, *chosen
        elif re.fullmatch(r"\s*[0-9]{1,20}\s*", text, re.ASCII):
            yield path, text.strip(), ()
