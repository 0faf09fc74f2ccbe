# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the next boot makes of the hugepage pools: our drop-in file, those of others, tuned, the kernel command line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.dropin import SYSCTL, TMPFILES, Owner, Persisted
from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import hugetlb, tuned
from ansible_collections.bulwark.node.plugins.module_utils.node.hugepages_options import Wanted
from ansible_collections.bulwark.node.plugins.module_utils.node.hugetlb import NodePool, Pool, Pools
from ansible_collections.bulwark.node.plugins.module_utils.node.hugetlb_resize import (
    ATTRIBUTE,
    parse_attribute,
    resized,
)
from ansible_collections.bulwark.node.plugins.module_utils.node.system import has_systemd
from ansible_collections.bulwark.node.plugins.module_utils.units import format_size

__all__ = ["agreeing", "at_boot", "key_of", "next_boot", "observe", "parse_key", "settings"]

_TMPFILES_PATH = "/etc/tmpfiles.d/10-bulwark-hugepages.conf"
_SYSCTL_PATH = "/etc/sysctl.d/90-bulwark-hugepages.conf"
_UNITS = "/etc/systemd/system"
_RC_LOCAL = ("/etc/rc.local", "/etc/rc.d/rc.local")
_OURS = rf"{ATTRIBUTE.pattern}|vm\.nr(?:_overcommit)?_hugepages"
# Page size in bytes, and node or None for the machine.
_Name = tuple[int, "int | None"]


def observe(host: Host, kernel: Pools, systemd: bool) -> Persisted:
    """Our file, and every other that sets one of the pools."""
    keys = [key for pool in kernel.pools for key in _all_keys(kernel, pool.size)]
    dropin, path = (TMPFILES, _TMPFILES_PATH) if systemd else (SYSCTL, _SYSCTL_PATH)
    persisted = dropin.observe(host, path, keys, _OURS)
    owners = list(persisted.owners)
    if systemd:
        # systemd-sysctl and systemd-tmpfiles-setup run in no fixed order: a line of the former may be the last word.
        owners += [replace(rival, certain=False) for rival in SYSCTL.owners(host, "", keys) if rival.wins]
    owners += tuned.owners(host, {("sysctl" if key.startswith("vm.") else "sysfs", key): key for key in keys})
    arguments, path = tuned.boot_arguments(host)
    for argument in hugetlb.boot_args(arguments.split(), kernel.default_size, [pool.size for pool in kernel.pools]):
        owners += [
            Owner(path, f"{hugetlb.attribute_folder(argument.size, node)}/nr_hugepages", str(count), False)
            for node, count in argument.counts
        ]
    return replace(persisted, owners=tuple(owners))


def key_of(persisted: Persisted, size: int, node: int | None, what: str = "nr_hugepages") -> str:
    """The key of our file: a sysfs path, or without systemd a sysctl."""
    return f"{hugetlb.attribute_folder(size, node)}/{what}" if persisted.dropin is TMPFILES else f"vm.{what}"


def parse_key(kernel: Pools, key: str) -> _Name | None:
    """Size and node of a key of our file or of another's; None where it is no pool's."""
    if key.startswith(("vm.", "/proc/sys/vm/")):
        return (kernel.default_size, None) if kernel.default_size else None
    return parse_attribute(key) if ATTRIBUTE.fullmatch(key) else None


def settings(kernel: Pools, persisted: Persisted, targets: Sequence[Wanted], present: bool) -> dict[str, str]:
    """What our file shall hold: what it held, with the named pools put in or taken out."""
    found = dict(persisted.settings)
    for wanted in targets:
        if wanted.count is not None:
            _part(kernel, persisted, wanted, found)
        numbers = (("nr_hugepages", wanted.node, wanted.count), ("nr_overcommit_hugepages", None, wanted.overcommit))
        for name, node, number in numbers:
            if number is not None:
                key = key_of(persisted, wanted.size, node, name)
                if present:
                    found[key] = str(number)
                else:
                    found.pop(key, None)
    return found


def _part(kernel: Pools, persisted: Persisted, wanted: Wanted, found: dict[str, str]) -> None:
    """A total and a node's count of the same size would fight at boot: a total gives way to what each node has now."""
    rivals = [
        key
        for key in found
        if key.endswith("nr_hugepages")
        and (name := parse_key(kernel, key)) is not None
        and name[0] == wanted.size
        and (name[1] is None) != (wanted.node is None)
    ]
    for key in rivals:
        del found[key]
    if rivals and wanted.node is not None and persisted.dropin is TMPFILES:
        for part in kernel.pool(wanted.size).nodes:
            found[key_of(persisted, wanted.size, part.node)] = str(part.persistent)


def agreeing(kernel: Pools, owners: Iterable[Owner], targets: Sequence[Wanted]) -> dict[str, str]:
    """For each key that another file sets, the value with which it would agree with ours: its own, where we set nothing there."""
    found = {}
    for owner in owners:
        found[owner.key] = owner.value
        name = parse_key(kernel, owner.key)
        for wanted in targets:
            number = wanted.overcommit if owner.key.endswith("nr_overcommit_hugepages") else wanted.count
            if name and number is not None and name[0] == wanted.size:
                if name[1] == wanted.node:
                    found[owner.key] = str(number)
                elif None in (name[1], wanted.node):
                    # A total and a node's count: whichever comes last spoils the other.
                    found[owner.key] = "not at all"
    return found


def at_boot(kernel: Pools, owners: Iterable[Owner], ours: Mapping[str, str]) -> Pools:
    """The pools after the next boot, as far as memory goes: the command line, then what others set where we do not, then ours.

    Of several others the largest number counts.
    """
    pools = {pool.size: _empty(pool) for pool in kernel.pools}
    for argument in kernel.boot_args:
        _set(pools, {(argument.size, node): count for node, count in argument.counts})
    mine = _numbers(kernel, ours.items())
    others = _numbers(kernel, [(owner.key, owner.value) for owner in owners])
    _set(pools, {name: count for name, count in others.items() if name not in mine})
    _set(pools, mine)
    return replace(kernel, pools=tuple(pools.values()))


def next_boot(host: Host, kernel: Pools) -> dict[str, Any]:
    """{next_boot[] {size, size_bytes, now, total}, next_boot_reason}: pages of each size, surplus ones not counted, now and after a boot.

    It is taken that the arguments that run come back: whether they do is told by the subset kernel_args. None where it cannot
    be told, with the reason.
    """
    try:
        owners, reason = _last_words(host, kernel)
        script = next(_scripts(host), None)
        reason = f"{script} may set them" if script else reason
    except BulwarkError as error:
        return {"next_boot": None, "next_boot_reason": str(error)}
    if reason:
        return {"next_boot": None, "next_boot_reason": reason}
    after = at_boot(kernel, owners, {})
    rows = [
        {"size": format_size(pool.size), "size_bytes": pool.size, "now": pool.persistent, "total": new.persistent}
        for pool, new in zip(kernel.pools, after.pools)
    ]
    return {"next_boot": rows, "next_boot_reason": None}


def _scripts(host: Host) -> Iterator[str]:
    """What of a machine's own may set pools at boot, and is not read: units by their names, and rc.local."""
    names = host.names(_UNITS)
    for folder in (_UNITS, *(f"{_UNITS}/{name}" for name in names if name.endswith(".wants"))):
        yield from (f"{folder}/{name}" for name in host.names(folder) if re.fullmatch(r".*huge.*\.service", name))
    for path in _RC_LOCAL:
        if "hugepages" in ((host.read(path) if host.is_file(path) else None) or ""):
            yield path


def _last_words(host: Host, kernel: Pools) -> tuple[list[Owner], str | None]:
    """Which file sets each number at boot, ours or another's; else why that cannot be told.

    tuned comes last. systemd-sysctl and systemd-tmpfiles-setup run in no fixed order.
    """
    keys = [key for pool in kernel.pools for key in _all_keys(kernel, pool.size) if key.endswith("nr_hugepages")]
    by_tuned = tuned.owners(host, {("sysctl" if key.startswith("vm.") else "sysfs", key): key for key in keys})
    found = {parse_key(kernel, owner.key): owner for owner in by_tuned}
    last: dict[_Name | None, Owner] = {}
    for dropin in (TMPFILES, SYSCTL) if has_systemd(host) else (SYSCTL,):
        for owner in dropin.owners(host, "", keys):
            other = last.setdefault(parse_key(kernel, owner.key), owner) if owner.wins else owner
            if other.value != owner.value and parse_key(kernel, owner.key) not in found:
                one, two = (f"{each.path} sets {each.key} to {each.value}" for each in (other, owner))
                return [], f"{one} and {two}: either may be the last"
    return list({**last, **found}.values()), None


def _empty(pool: Pool) -> Pool:
    nodes = tuple(NodePool(part.node, 0, 0, 0) for part in pool.nodes)
    return replace(pool, total=0, free=0, reserved=0, surplus=0, nodes=nodes)


def _set(pools: dict[int, Pool], counts: Mapping[_Name, int]) -> None:
    """Totals first: a node's own count after them is the last word."""
    for (size, node), count in sorted(counts.items(), key=lambda item: (item[0][1] is not None, item[0])):
        if size in pools and (node is None or node in [part.node for part in pools[size].nodes]):
            pools[size] = resized(pools[size], node, count)


def _numbers(kernel: Pools, lines: Iterable[tuple[str, str]]) -> dict[_Name, int]:
    found: dict[_Name, int] = {}
    for key, value in lines:
        name = parse_key(kernel, key) if key.endswith("nr_hugepages") else None
        if name and re.fullmatch(r"[0-9]{1,15}", value.strip(), re.ASCII):
            found[name] = max(found.get(name, 0), int(value))
    return found


def _all_keys(kernel: Pools, size: int) -> list[str]:
    """Every name under which a pool's numbers can be set, by us or by others."""
    names = ("nr_hugepages", "nr_overcommit_hugepages")
    keys = [f"{hugetlb.attribute_folder(size, None)}/{name}" for name in names]
    keys += [f"{hugetlb.attribute_folder(size, part.node)}/nr_hugepages" for part in kernel.pool(size).nodes]
    if size == kernel.default_size:
        keys += [f"{prefix}{name}" for prefix in ("vm.", "/proc/sys/vm/") for name in names]
    return keys
