# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hugepage pools: their size now, per NUMA node if asked, and after the next boot.

Persisted by tmpfiles.d(5), which systemd applies before sysinit.target and so before any kubelet; without systemd by
sysctl.d(5), which knows the default page size alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.converge import (
    Change,
    Params,
    Undos,
    Unmet,
    Verdict,
    unmet_error,
)
from ansible_collections.bulwark.node.plugins.module_utils.dropin import SYSCTL, TMPFILES, Persisted
from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError, HostError, OptionError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.manifest import Manifest
from ansible_collections.bulwark.node.plugins.module_utils.node import (
    buddyinfo,
    hugetlb,
    hugetlbfs,
    memory_guard,
    shortfall,
    tuned,
)
from ansible_collections.bulwark.node.plugins.module_utils.node.hugetlb import HugetlbMount, Pool, Pools
from ansible_collections.bulwark.node.plugins.module_utils.node.memory_guard import Reserve
from ansible_collections.bulwark.node.plugins.module_utils.node.system import has_systemd
from ansible_collections.bulwark.node.plugins.module_utils.units import format_size, parse_size

__all__ = ["ARGUMENT_SPEC", "Hugepages"]

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

_TMPFILES_PATH = "/etc/tmpfiles.d/10-bulwark-hugepages.conf"
_SYSCTL_PATH = "/etc/sysctl.d/90-bulwark-hugepages.conf"
# Two rounds of compaction that bring nothing: a third one will not either.
_FRUITLESS_ROUNDS = 2


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
    """The options. ``pools`` None (state absent alone): every pool that our file persists."""

    pools: tuple[Wanted, ...] | None
    present: bool
    persist: bool
    on_shortfall: str
    allow_surplus: bool
    compact: bool
    timeout: int
    memory_reserve: int | None


@dataclass(frozen=True)
class State:
    """The kernel's side, and the persisted one. ``free_blocks``: per node, the free blocks of each order (buddyinfo)."""

    kernel: Pools
    persisted: Persisted
    units: hugetlbfs.Units
    free_blocks: Mapping[int, tuple[int, ...]]
    failures: Mapping[str, int]
    reserve: Reserve
    systemd: bool
    predicted: bool = False

    def facts(self) -> dict[str, Any]:
        """The subset ``hugepages`` of the facts."""
        return self.kernel.facts()

    def files(self) -> Mapping[str, str | None]:
        """Our drop-in file and mount units."""
        return {self.persisted.path: self.persisted.text, **self.units.files()}


class Hugepages:
    """The domain of the module ``hugepages``."""

    name = "hugepages"

    def __init__(self, host: Host) -> None:
        self._host = host
        self._manifest = Manifest(host, self.name)

    # options

    def desired(self, params: Params) -> Desired:
        """Each option in its normal unit; raises OptionError."""
        present = params["state"] == "present"
        pools = params["pools"]
        if not pools and (present or pools is not None):
            raise OptionError("pools", pools, "at least one pool")
        if params["timeout"] < 0:
            raise OptionError("timeout", params["timeout"], "0 seconds or more")
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
            else _size("memory_reserve", params["memory_reserve"]),
        )

    # observe

    def observe(self, desired: Desired) -> State:
        """The kernel's pools and our files; nothing is forked."""
        host = self._host
        kernel = hugetlb.observe(host)
        systemd = has_systemd(host)
        keys = [key for pool in kernel.pools for key in _all_keys(kernel, pool.size)]
        dropin, path = (TMPFILES, _TMPFILES_PATH) if systemd else (SYSCTL, _SYSCTL_PATH)
        persisted = dropin.observe(host, path, keys)
        if systemd:
            # systemd-sysctl and systemd-tmpfiles-setup run in no fixed order: a line of the former may be the last word.
            rivals = tuple(rival for rival in SYSCTL.owners(host, "", keys) if rival.wins)
            persisted = replace(persisted, owners=persisted.owners + rivals)
        tuned_keys = {("sysctl" if key.startswith("vm.") else "sysfs", key): key for key in keys}
        total = sum(node.total for node in kernel.memory)
        return State(
            kernel=kernel,
            persisted=replace(persisted, owners=persisted.owners + tuned.owners(host, tuned_keys)),
            units=hugetlbfs.observe(host, [pool.size for pool in kernel.pools]),
            free_blocks=buddyinfo.free_blocks(host),
            failures=buddyinfo.failures(host),
            reserve=memory_guard.reserve(host, total)
            if desired.memory_reserve is None
            else Reserve(desired.memory_reserve, "memory_reserve"),
            systemd=systemd,
        )

    # check

    def check(self, state: State, desired: Desired) -> None:
        """Sizes and nodes exist, pages in use stay, memory suffices, nobody else wins at boot."""
        targets = _targets(state, desired)
        for wanted in targets:
            if desired.pools is not None:
                _check_exists(state.kernel, wanted)
        if not desired.allow_surplus:
            self._check_in_use(state, desired)
        memory_guard.check(state.kernel, self.predict(state, self.plan(state, desired)).kernel, state.reserve)
        if desired.persist and desired.present:
            for wanted in targets:
                if not state.systemd and (wanted.node is not None or wanted.size != state.kernel.default_size):
                    raise BulwarkError(
                        f"{wanted.option}: pages of {format_size(wanted.size)}"
                        f"{'' if wanted.node is None else f' on node {wanted.node}'} cannot be persisted without systemd: "
                        "sysctl.d knows only the total of the default size. Set persist to false, or boot with "
                        f"{shortfall.boot_arguments(wanted.size, wanted.node, wanted.count or 0)}"
                    )
            state.persisted.refuse_winners(_agreeing(state, desired))

    def _check_in_use(self, state: State, desired: Desired) -> None:
        """In the order of the plan: what one node's pool gives up may be what another's reservations stood on."""
        named = {(wanted.size, wanted.node): wanted for wanted in _targets(state, desired)}
        for change in self.plan(state, desired):
            if change.kind == "pool":
                _check_in_use(state.kernel, named[hugetlb.parse_attribute(change.target)])
                state = self.predict(state, [change])

    # plan

    def plan(self, state: State, desired: Desired) -> list[Change]:
        """Shrink, then grow with the largest pages first, then overcommit, mounts and files."""
        pools: list[tuple[int, Change]] = []
        overcommits: list[Change] = []
        for wanted in _targets(state, desired):
            if not _exists(state.kernel, wanted):
                continue
            pool = state.kernel.pool(wanted.size)
            have = _persistent(pool, wanted.node)
            if wanted.count is not None and wanted.count != have:
                path = f"{hugetlb.attribute_folder(wanted.size, wanted.node)}/nr_hugepages"
                growing = wanted.count > have
                pools.append((wanted.size if growing else 0, Change("pool", path, have, wanted.count)))
            if wanted.overcommit is not None and wanted.overcommit != pool.overcommit:
                path = f"{hugetlb.attribute_folder(wanted.size, None)}/nr_overcommit_hugepages"
                overcommits.append(Change("overcommit", path, pool.overcommit, wanted.overcommit))
        ordered = [change for dummy, change in sorted(pools, key=lambda item: (item[0] > 0, -item[0]))]
        if not desired.persist and desired.present:
            return ordered + overcommits
        return (
            ordered
            + overcommits
            + state.units.plan(*_mounts(state, desired))
            + state.persisted.plan(_settings(state, desired))
        )

    def predict(self, state: State, changes: Sequence[Change]) -> State:
        """The state after the changes; a total that is spread over nodes is taken to spread evenly."""
        kernel = state.kernel
        for change in changes:
            if change.kind in ("pool", "overcommit"):
                size, node = hugetlb.parse_attribute(change.target)
                old = kernel.pool(size)
                new = (
                    replace(old, overcommit=change.after)
                    if change.kind == "overcommit"
                    else hugetlb.resized(old, node, change.after)
                )
                kernel = replace(kernel, pools=tuple(new if pool.size == size else pool for pool in kernel.pools))
                if change.kind == "pool" and kernel.kubelet_unit:
                    kernel = replace(kernel, restart_needed=True, restart_reason=hugetlb.CHANGED_SINCE_START)
            elif change.kind == "mount":
                mounts = tuple(mount for mount in kernel.mounts if mount.path != change.target)
                if change.after is not None:
                    mounts += (HugetlbMount(change.target, parse_size(change.after)),)
                kernel = replace(kernel, mounts=mounts)
        units, persisted = state.units.predict(changes), state.persisted.predict(changes)
        return replace(state, kernel=kernel, units=units, persisted=persisted, predicted=True)

    # apply

    def apply(self, change: Change, desired: Desired, undos: Undos) -> None:
        """One change; a shortfall raises UnmetError where it is to fail the run."""
        if change.kind == "pool":
            self._resize(change, desired, undos)
        elif change.kind == "overcommit":
            self._manifest.kernel(change.target, str(change.after), undos)
        elif change.kind == "mount":
            hugetlbfs.apply(self._host, change, undos)
        elif change.kind == "link":
            self._manifest.link(change.target, change.after, undos)
        else:
            self._manifest.file(change.target, change.after, undos)

    def _resize(self, change: Change, desired: Desired, undos: Undos) -> None:
        size, node = hugetlb.parse_attribute(change.target)
        before = hugetlb.read_pool(self._host, size)
        failures = buddyinfo.failures(self._host)
        forget = self._note_change(undos)
        # Node by node: a total alone would come back spread in another way.
        nodes: list[int | None] = [part.node for part in before.nodes if node in (None, part.node)]
        self._manifest.kernel_group(
            [f"{hugetlb.attribute_folder(size, part)}/nr_hugepages" for part in nodes or [None]],
            read=lambda path: str(_persistent(hugetlb.read_pool(self._host, size), hugetlb.parse_attribute(path)[1])),
            write=lambda: self._ask(change, size, node, desired),
            undo=lambda: self._restore(before),
            undos=undos,
        )
        after = hugetlb.read_pool(self._host, size)
        if after == before:
            forget()
        if _persistent(after, node) < change.after and desired.on_shortfall == "fail":
            counters = buddyinfo.grown(failures, buddyinfo.failures(self._host))
            raise unmet_error(
                [_explain(change, desired, hugetlb.observe(self._host), buddyinfo.free_blocks(self._host), counters)]
            )

    def _ask(self, change: Change, size: int, node: int | None, desired: Desired) -> None:
        """Write, read back, and while the kernel gives less: compact and write again, until it brings nothing more."""

        def ask() -> int:
            try:
                self._host.write(change.target, str(change.after))
            except HostError as error:
                # Where the kernel gives such pages at boot alone, it refuses to grow the pool.
                if error.code != "EINVAL" or change.after < change.before:
                    raise
            return _persistent(hugetlb.read_pool(self._host, size), node)

        compact = "/proc/sys/vm/compact_memory" if node is None else f"{hugetlb.NODES}/node{node}/compact"
        deadline = time.monotonic() + desired.timeout
        got, fruitless = ask(), 0
        while got < change.after and desired.compact and fruitless < _FRUITLESS_ROUNDS and time.monotonic() < deadline:
            if self._host.exists(compact):
                self._host.write(compact, "1")
            again = ask()
            fruitless = 0 if again > got else fruitless + 1
            got = again

    def _restore(self, before: Pool) -> None:
        """Give every node its pages back."""

        def counts(pool: Pool) -> dict[int | None, int]:
            return {part.node: part.persistent for part in pool.nodes} or {None: pool.persistent}

        wanted, now = counts(before), counts(hugetlb.read_pool(self._host, before.size))
        for node, count in wanted.items():
            if now.get(node) != count:
                self._host.write(f"{hugetlb.attribute_folder(before.size, node)}/nr_hugepages", str(count))
        now = counts(hugetlb.read_pool(self._host, before.size))
        if now != wanted:
            raise HostError(
                hugetlb.attribute_folder(before.size, None),
                f"had {sum(wanted.values())} pages and now has {sum(now.values())}; the kernel did not take them back",
            )

    def _note_change(self, undos: Undos) -> Callable[[], None]:
        """Note the time of the change for the kubelet's sake; it lies in /run, and so is gone after a boot.

        What comes back takes the note away again, for where the kernel changed nothing.
        """
        old = self._host.read_bytes(hugetlb.CHANGED)

        def undo() -> None:
            if old is None:
                self._host.remove(hugetlb.CHANGED)
            else:
                self._host.replace(hugetlb.CHANGED, old)

        undos.push(hugetlb.CHANGED, undo)
        self._host.replace(hugetlb.CHANGED, f"{self._host.uptime()}\n".encode())
        return undo

    # judge

    def judge(self, before: State, after: State, left: Sequence[Change], desired: Desired) -> Verdict:
        """Shortfalls as ``on_shortfall`` says; anything else that is left fails the run."""
        grown = buddyinfo.grown(before.failures, after.failures)
        unmet = [_explain(change, desired, after.kernel, after.free_blocks, grown) for change in left if _short(change)]
        others = [shortfall.other_value(change) for change in left if not _short(change)]
        surplus = [] if desired.allow_surplus else shortfall.new_surplus(before.kernel, after.kernel)
        warnings: list[str] = []
        if desired.present:
            lasting = after.persisted.warnings(_agreeing(after, desired))
            warnings.extend(lasting if desired.persist else _contradictions(after, desired))
        if after.predicted:
            warnings.extend(shortfall.may_fall_short(before.kernel, after.kernel, before.free_blocks))
        if desired.on_shortfall == "warn":
            warnings.extend(f"{item.target}: {item.reason}" for item in unmet)
        unit, reason = after.kernel.kubelet_unit, after.kernel.restart_reason
        return Verdict(
            unmet=tuple(unmet + others + surplus),
            warnings=tuple(warnings),
            reboot_required=bool(unmet) and desired.on_shortfall == "reboot",
            restart_required=({"unit": unit, "reason": reason or ""},) if unit and after.kernel.restart_needed else (),
            failed=bool(others or surplus) or (bool(unmet) and desired.on_shortfall == "fail"),
        )


def _size(option: str, text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise OptionError(option, text, str(error).replace("expected ", "", 1)) from None


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
    size = _size(f"{option}.size", pool["size"])
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


def _targets(state: State, desired: Desired) -> tuple[Wanted, ...]:
    """The pools that are named, or with ``state: absent`` alone what our file persists."""
    if desired.pools is not None:
        return desired.pools
    found: dict[tuple[int, int | None], Wanted] = {}
    for key in state.persisted.settings:
        name = _parse_key(state.kernel, key)
        if name:
            old = found.get(name, Wanted(state.persisted.path, *name, None, None))
            overcommit = key.endswith("nr_overcommit_hugepages")
            found[name] = replace(old, overcommit=0) if overcommit else replace(old, count=0)
    return tuple(found.values())


# checks


def _exists(kernel: Pools, wanted: Wanted) -> bool:
    try:
        pool = kernel.pool(wanted.size)
        if wanted.node is not None:
            pool.node(wanted.node)
    except KeyError:
        return False
    return True


def _check_exists(kernel: Pools, wanted: Wanted) -> None:
    sizes = {pool.size: pool for pool in kernel.pools}
    if wanted.size not in sizes:
        offered = ", ".join(format_size(size) for size in sorted(sizes)) or "no hugepages at all"
        raise OptionError(f"{wanted.option}.size", format_size(wanted.size), f"a size of this kernel: {offered}")
    if wanted.node is not None and not _exists(kernel, wanted):
        nodes = ", ".join(str(part.node) for part in sizes[wanted.size].nodes) or "none, this kernel has no NUMA"
        raise OptionError(f"{wanted.option}.node", wanted.node, f"a NUMA node of this machine: {nodes}")


def _check_in_use(kernel: Pools, wanted: Wanted) -> None:
    """A pool that shrinks below its pages in use would only turn them into surplus."""
    if wanted.count is None:
        return
    pool = kernel.pool(wanted.size)
    used = pool.floor(wanted.node)
    if wanted.count < min(_persistent(pool, wanted.node), used):
        raise OptionError(
            f"{wanted.option}.count",
            wanted.count,
            f"{used} or more: so many pages of {format_size(pool.size)} are in use or reserved. "
            "Stop what uses them, or set allow_surplus to true to give each back once it is free",
        )


# persisting


def _key(state: State, size: int, node: int | None, what: str) -> str:
    """The key of our file: a sysfs path, or without systemd a sysctl."""
    if state.systemd:
        return f"{hugetlb.attribute_folder(size, node)}/{what}"
    return f"vm.{what}"


def _parse_key(kernel: Pools, key: str) -> tuple[int, int | None] | None:
    if key.startswith(("vm.", "/proc/sys/vm/")):
        return (kernel.default_size, None) if kernel.default_size else None
    return hugetlb.parse_attribute(key) if hugetlb.ATTRIBUTE.fullmatch(key) else None


def _all_keys(kernel: Pools, size: int) -> list[str]:
    """Every name under which a pool's numbers can be set, by us or by others."""
    names = ("nr_hugepages", "nr_overcommit_hugepages")
    keys = [f"{hugetlb.attribute_folder(size, None)}/{name}" for name in names]
    keys += [f"{hugetlb.attribute_folder(size, part.node)}/nr_hugepages" for part in kernel.pool(size).nodes]
    if size == kernel.default_size:
        keys += [f"{prefix}{name}" for prefix in ("vm.", "/proc/sys/vm/") for name in names]
    return keys


def _settings(state: State, desired: Desired) -> dict[str, str]:
    """What our file shall hold: what it held, with the named pools put in or taken out."""
    settings = dict(state.persisted.settings)
    for wanted in _targets(state, desired):
        if wanted.count is not None:
            # A total and a node's count of the same size would fight at boot.
            for key in [key for key in settings if key.endswith("nr_hugepages") and _rivals(state, key, wanted)]:
                del settings[key]
        numbers = (("nr_hugepages", wanted.node, wanted.count), ("nr_overcommit_hugepages", None, wanted.overcommit))
        for name, node, number in numbers:
            if number is not None:
                key = _key(state, wanted.size, node, name)
                if desired.present:
                    settings[key] = str(number)
                else:
                    settings.pop(key, None)
    return settings


def _rivals(state: State, key: str, wanted: Wanted) -> bool:
    parsed = _parse_key(state.kernel, key)
    return parsed is not None and parsed[0] == wanted.size and (parsed[1] is None) != (wanted.node is None)


def _agreeing(state: State, desired: Desired) -> dict[str, str]:
    """For each key that another file sets, the value with which it would agree with ours: its own, where we set nothing there."""
    agreeing = {}
    for owner in state.persisted.owners:
        agreeing[owner.key] = owner.value
        parsed = _parse_key(state.kernel, owner.key)
        for wanted in _targets(state, desired):
            number = wanted.overcommit if owner.key.endswith("nr_overcommit_hugepages") else wanted.count
            if parsed and number is not None and parsed[0] == wanted.size:
                if parsed[1] == wanted.node:
                    agreeing[owner.key] = str(number)
                elif None in (parsed[1], wanted.node):
                    # A total and a node's count: whichever comes last spoils the other.
                    agreeing[owner.key] = "not at all"
    return agreeing


def _contradictions(state: State, desired: Desired) -> list[str]:
    """With ``persist: false``: lines of our file that bring another number back at boot."""
    settings = _settings(state, desired)
    return [
        f"{state.persisted.path} still sets {key} to {value} at the next boot"
        for key, value in state.persisted.settings.items()
        if settings.get(key) != value
    ]


def _mounts(state: State, desired: Desired) -> tuple[dict[int, bool], dict[int, list[str]]]:
    """Which sizes are to be mounted, of those that systemd does not mount by itself, and where each is mounted."""
    if not state.systemd:
        return {}, {}
    targets = [wanted for wanted in _targets(state, desired) if _exists(state.kernel, wanted)]
    wanted_sizes = {
        size: desired.present
        for size in {wanted.size for wanted in targets if wanted.count or not desired.present}
        if size != state.kernel.default_size
    }
    # A pod's volume comes and goes with it.
    lasting = [mount for mount in state.kernel.mounts if not mount.path.startswith("/var/lib/kubelet/")]
    return wanted_sizes, {size: [mount.path for mount in lasting if mount.size == size] for size in wanted_sizes}


# outcomes


def _persistent(pool: Pool, node: int | None) -> int:
    """The pages that nr_hugepages holds beside surplus ones, of one node or of the machine."""
    return pool.persistent if node is None else pool.node(node).persistent


def _explain(
    change: Change, desired: Desired, kernel: Pools, blocks: Mapping[int, tuple[int, ...]], counters: Mapping[str, int]
) -> Unmet:
    name = hugetlb.parse_attribute(change.target)
    option = next((wanted.option for wanted in desired.pools or () if (wanted.size, wanted.node) == name), "pools")
    return shortfall.explain(option, change, kernel.pool(name[0]), blocks, counters)


def _short(change: Change) -> bool:
    """Whether a change that is left is a pool with too few pages."""
    return change.kind == "pool" and change.before < change.after
