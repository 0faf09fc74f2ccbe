# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The subsets of ``node_facts``. Each is imported when it is asked for, and a broken one never costs another."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError, OptionError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host

__all__ = ["SCHEMA", "SUBSETS", "gather", "select"]

SCHEMA = 1
"""The version of the facts' shape; see docs/schemas.md."""

# The imports stand inside of the functions: a module's zip has no compiled code, so each import costs its source's size.


def _host(host: Host) -> dict[str, Any]:
    from ansible_collections.bulwark.node.plugins.module_utils.node import system

    return system.facts(host)


def _hugepages(host: Host) -> dict[str, Any]:
    from ansible_collections.bulwark.node.plugins.module_utils.node import hugetlb

    return hugetlb.facts(host)


def _transparent_hugepages(host: Host) -> dict[str, Any]:
    from ansible_collections.bulwark.node.plugins.module_utils.node import transparent_hugepages

    return transparent_hugepages.facts(host)


SUBSETS: dict[str, Callable[[Host], dict[str, Any]]] = {
    "host": _host,
    "hugepages": _hugepages,
    "transparent_hugepages": _transparent_hugepages,
}


def select(wanted: Sequence[str]) -> list[str]:
    """The names that a ``gather_subset`` means, in the order of SUBSETS.

    ``all`` and ``!all``, names and ``!names``: what is excluded stays out; exclusions alone mean all the others.
    Raises OptionError.
    """
    for index, item in enumerate(wanted):
        if item.lstrip("!") not in SUBSETS and item not in ("all", "!all"):
            raise OptionError(
                f"gather_subset[{index}]", item, f"all, or one of {', '.join(SUBSETS)}, each also with a leading !"
            )
    excluded = {item[1:] for item in wanted if item.startswith("!")}
    included = {item for item in wanted if not item.startswith("!")}
    if "all" in included or (not included and "all" not in excluded):
        included = set(SUBSETS)
    return [name for name in SUBSETS if name in included and name not in excluded]


def gather(host: Host, names: Sequence[str]) -> dict[str, Any]:
    """The facts of the named subsets: {schema, gathered_at, errors[] {subset, reason}, and a key for each subset}.

    A subset that fails is None, and its error says why.
    """
    facts: dict[str, Any] = {"schema": SCHEMA, "gathered_at": int(time.time()), "errors": []}
    for name in names:
        try:
            facts[name] = SUBSETS[name](host)
        except BulwarkError as error:
            facts[name] = None
            facts["errors"].append({"subset": name, "reason": str(error)})
        except Exception as error:  # noqa: BLE001 - text of the machine that we did not foresee costs its own subset alone
            facts[name] = None
            facts["errors"].append({"subset": name, "reason": f"unexpected {type(error).__name__}: {error}"})
    return facts
