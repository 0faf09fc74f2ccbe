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
from ansible_collections.bulwark.node.plugins.module_utils.node.request import PASSIVE, Request

__all__ = ["SCHEMA", "SUBSETS", "gather", "select"]

SCHEMA = 1
"""The version of the facts' shape; see docs/schemas.md."""

SUBSETS = (
    "host",
    "hugepages",
    "transparent_hugepages",
    "kernel_args",
    "kvm",
    "pci",
    "intercept",
    "links",
    "bridges",
    "routes",
    "conntrack",
    "neighbours",
    "sysctls",
    "inotify",
    "time_sync",
    "kubelet",
    "runtime",
    "image_fs",
    "rlimits",
    "memory",
    "reboot",
    "oom",
    "cgroups",
    "managed",
)


def _gatherer(name: str) -> Callable[[Host, Request], Any]:
    """The function of one subset.

    The imports stand inside: a module's zip has no compiled code, so that each import costs its source's size. They are
    literal: Ansible ships what import statements name.
    """
    facts: Callable[[Host, Request], Any]
    if name == "host":
        from ansible_collections.bulwark.node.plugins.module_utils.node.system import facts
    elif name == "hugepages":
        from ansible_collections.bulwark.node.plugins.module_utils.node.hugetlb import facts
    elif name == "kernel_args":
        from ansible_collections.bulwark.node.plugins.module_utils.node.boot_loader import facts
    elif name == "kvm":
        from ansible_collections.bulwark.node.plugins.module_utils.node.kvm_facts import facts
    elif name == "pci":
        from ansible_collections.bulwark.node.plugins.module_utils.node.pci import facts
    elif name == "intercept":
        from ansible_collections.bulwark.node.plugins.module_utils.node.intercept import facts
    elif name == "links":
        from ansible_collections.bulwark.node.plugins.module_utils.node.links import facts
    elif name == "bridges":
        from ansible_collections.bulwark.node.plugins.module_utils.node.bridges import facts
    elif name == "routes":
        from ansible_collections.bulwark.node.plugins.module_utils.node.routes import facts
    elif name == "conntrack":
        from ansible_collections.bulwark.node.plugins.module_utils.node.conntrack import facts
    elif name == "neighbours":
        from ansible_collections.bulwark.node.plugins.module_utils.node.neighbours import facts
    elif name == "sysctls":
        from ansible_collections.bulwark.node.plugins.module_utils.node.sysctls import facts
    elif name == "inotify":
        from ansible_collections.bulwark.node.plugins.module_utils.node.inotify import facts
    elif name == "time_sync":
        from ansible_collections.bulwark.node.plugins.module_utils.node.time_sync import facts
    elif name == "kubelet":
        from ansible_collections.bulwark.node.plugins.module_utils.node.kubelet_facts import facts
    elif name == "runtime":
        from ansible_collections.bulwark.node.plugins.module_utils.node.runtime import facts
    elif name == "image_fs":
        from ansible_collections.bulwark.node.plugins.module_utils.node.image_fs import facts
    elif name == "rlimits":
        from ansible_collections.bulwark.node.plugins.module_utils.node.rlimits import facts
    elif name == "memory":
        from ansible_collections.bulwark.node.plugins.module_utils.node.memory import facts
    elif name == "reboot":
        from ansible_collections.bulwark.node.plugins.module_utils.node.reboot import facts
    elif name == "oom":
        from ansible_collections.bulwark.node.plugins.module_utils.node.oom import facts
    elif name == "cgroups":
        from ansible_collections.bulwark.node.plugins.module_utils.node.cgroups import facts
    elif name == "managed":
        from ansible_collections.bulwark.node.plugins.module_utils.node.managed import facts
    elif name == "transparent_hugepages":
        from ansible_collections.bulwark.node.plugins.module_utils.node.thp import facts
    else:
        raise LookupError(f"no subset has the name {name}")
    return facts


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


def gather(host: Host, names: Sequence[str], request: Request = PASSIVE) -> dict[str, Any]:
    """The facts of the named subsets: {schema, gathered_at, errors[] {subset, reason}, and a key for each subset}.

    A subset that fails is None, and its error says why.
    """
    facts: dict[str, Any] = {"schema": SCHEMA, "gathered_at": int(time.time()), "errors": []}
    for name in names:
        try:
            facts[name] = _gatherer(name)(host, request)
        except BulwarkError as error:
            facts[name] = None
            facts["errors"].append({"subset": name, "reason": str(error)})
        except Exception as error:  # noqa: BLE001 - text of the machine that we did not foresee costs its own subset alone
            facts[name] = None
            facts["errors"].append({"subset": name, "reason": f"unexpected {type(error).__name__}: {error}"})
    return facts
