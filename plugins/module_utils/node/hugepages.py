# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hugepage pools: their size now, per NUMA node if asked, and after the next boot.

Persisted by tmpfiles.d(5), which systemd applies before sysinit.target and so before any kubelet; without systemd by
sysctl.d(5), which knows the default page size alone.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.converge import (
    Change,
    Params,
    Undos,
    Unmet,
    Verdict,
    other_value,
    unmet_error,
)
from ansible_collections.bulwark.node.plugins.module_utils.dropin import TMPFILES, Persisted
from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError, HostError, OptionError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.manifest import Manifest, forgotten, released
from ansible_collections.bulwark.node.plugins.module_utils.node import (
    buddyinfo,
    hugepages_options,
    hugepages_persist,
    hugetlb,
    hugetlbfs,
    memory_guard,
    numa,
    shortfall,
)
from ansible_collections.bulwark.node.plugins.module_utils.node.hugepages_options import ARGUMENT_SPEC, Desired, Wanted
from ansible_collections.bulwark.node.plugins.module_utils.node.hugetlb import HugetlbMount, Pool, Pools
from ansible_collections.bulwark.node.plugins.module_utils.node.hugetlb_resize import parse_attribute, resized
from ansible_collections.bulwark.node.plugins.module_utils.node.memory_guard import Excess, Reserve
from ansible_collections.bulwark.node.plugins.module_utils.node.system import boot_time, has_systemd
from ansible_collections.bulwark.node.plugins.module_utils.units import format_size, parse_size

__all__ = ["ARGUMENT_SPEC", "Hugepages"]

_TRIED = "; this boot was asked for as many and did not give them either, so that another one is not asked for"
# "mm/hugetlb: allow overcommitting gigantic hugepages": before, the kernel says EINVAL to any number.
_OVERCOMMITS_GIGANTIC = (6, 19)
# Two rounds of compaction that bring nothing: a third one will not either.
_FRUITLESS_ROUNDS = 2


@dataclass(frozen=True)
class State:
    """The kernel's side, and the persisted one. ``free_blocks``: per node, the free blocks of each order (buddyinfo).

    ``first`` holds what each attribute was before us, ``unreturned`` are those of them that are not so again. ``tried``: our
    file is older than this boot. ``lost``: it is ours, but the manifest does not know it. ``release``: of the kernel, (6, 12).
    ``estranged``: what to say of files that are not ours any more.
    """

    kernel: Pools
    persisted: Persisted
    units: hugetlbfs.Units
    free_blocks: Mapping[int, tuple[int, ...]]
    failures: Mapping[str, int]
    reserve: Reserve
    first: Mapping[str, int]
    unreturned: tuple[str, ...]
    tried: bool
    lost: bool
    release: tuple[int, ...]
    estranged: tuple[str, ...]
    predicted: bool = False

    @property
    def systemd(self) -> bool:
        """Whether systemd sets the pools at boot."""
        return self.persisted.dropin is TMPFILES

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

    def desired(self, params: Params) -> Desired:
        """Each option in its normal unit; raises OptionError."""
        return hugepages_options.desired(params)

    def observe(self, desired: Desired) -> State:
        """The kernel's pools and our files; nothing is forked."""
        host = self._host
        kernel = hugetlb.observe(host)
        persisted = hugepages_persist.observe(host, kernel, has_systemd(host))
        total = sum(node.total for node in kernel.memory)
        entries = self._manifest.entries()
        first = {
            path: int(entry["before"])
            for path, entry in self._manifest.mine("kernel").items()
            if re.fullmatch("[0-9]{1,15}", entry["before"], re.ASCII)
        }
        booted, written = boot_time(host), host.changed_at(persisted.path)
        release = re.match(r"([0-9]{1,4})\.([0-9]{1,4})", host.read("/proc/sys/kernel/osrelease") or "")
        return State(
            kernel=kernel,
            persisted=persisted,
            units=hugetlbfs.observe(host, entries, [pool.size for pool in kernel.pools]),
            free_blocks=buddyinfo.free_blocks(host),
            failures=buddyinfo.failures(host),
            reserve=memory_guard.reserve(host, total)
            if desired.memory_reserve is None
            else Reserve(desired.memory_reserve, "memory_reserve"),
            first=first,
            unreturned=tuple(self._unreturned(first)),
            tried=booted is not None and written is not None and written < booted,
            lost=self._manifest.lost(persisted.path, persisted.text),
            release=tuple(int(part) for part in release.groups()) if release else (),
            estranged=() if desired.present else self._manifest.estranged(),
        )

    def _unreturned(self, first: Mapping[str, int]) -> Iterator[str]:
        """A pool counts only where our note in /run says that it was changed since the boot."""
        noted = self._host.exists(hugetlb.CHANGED)
        for path, before in first.items():
            if noted or path.endswith("nr_overcommit_hugepages"):
                value = self._manifest.attribute(path)
                if value and value != str(before):
                    yield path

    def check(self, state: State, desired: Desired) -> None:
        """Sizes and nodes exist, pages in use stay, memory suffices now and at boot, nobody else wins then, files can be written."""
        for wanted in _targets(state, desired):
            if desired.pools is not None:
                _check_exists(state.kernel, wanted)
                _check_overcommit(state, wanted)
                _check_parts(state, desired, wanted)
        self._manifest.check(self.plan(state, desired))
        if not desired.allow_surplus:
            self._check_in_use(state, desired)
        if desired.persist and desired.present:
            for wanted in desired.pools or ():
                _check_persistable(state, wanted)
            state.persisted.refuse_winners(_agreeing(state, desired))
        self._check_memory(state, desired)

    def _check_memory(self, state: State, desired: Desired) -> None:
        """Raise with the sum, and with the largest count that would fit."""
        excess = self._excess(state, desired)
        growing = [wanted for wanted in desired.pools or () if wanted.count and _exists(state.kernel, wanted)]
        if excess is None:
            return
        if not growing:
            raise BulwarkError(f"pools: {excess[1]}{excess[0].sum}. Set memory_reserve, or persist to false")
        growing = [wanted for wanted in growing if wanted.node in (None, excess[0].node)] or growing
        most = max(growing, key=lambda wanted: _growth(state.kernel, wanted))
        low, high = -1, most.count or 0
        while high - low > 1:
            middle = (low + high) // 2
            tried = tuple(replace(w, count=middle) if w is most else w for w in desired.pools or ())
            low, high = (middle, high) if self._excess(state, replace(desired, pools=tried)) is None else (low, middle)
        fits = "No number of them fits beside the others" if low < 0 else f"{low} would fit"
        raise BulwarkError(
            f"{most.option}.count: asked for {most.count} pages of {format_size(most.size)}: {excess[1]}{excess[0].sum}. "
            f"{fits}; ask for fewer pages, or set memory_reserve"
        )

    def _excess(self, state: State, desired: Desired) -> tuple[Excess, str] | None:
        """What is too much, and the words that say when: now, or else at the next boot with all that is set then."""
        kernel, persisted = state.kernel, state.persisted
        now = memory_guard.excess([kernel], self.predict(state, self.plan(state, desired)).kernel, state.reserve)
        if now:
            return now, ""
        if not (desired.persist and desired.present):
            return None
        before, after = (
            hugepages_persist.at_boot(kernel, persisted.owners, settings)
            for settings in (persisted.settings, _settings(state, desired))
        )
        later = memory_guard.excess([kernel, before], after, state.reserve)
        return (later, "at the next boot, with all that is set then, ") if later else None

    def _check_in_use(self, state: State, desired: Desired) -> None:
        """In the order of the plan: what one node's pool gives up may be what another's reservations stood on."""
        named = {(wanted.size, wanted.node): wanted for wanted in _targets(state, desired)}
        for change in self.plan(state, desired):
            if change.kind == "pool":
                _check_in_use(state.kernel, named[parse_attribute(change.target)])
                state = self.predict(state, [change])

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
                size, node = parse_attribute(change.target)
                old = kernel.pool(size)
                new = (
                    replace(old, overcommit=change.after)
                    if change.kind == "overcommit"
                    else resized(old, node, change.after)
                )
                kernel = replace(kernel, pools=tuple(new if pool.size == size else pool for pool in kernel.pools))
                if change.kind == "pool" and kernel.kubelet_unit:
                    needed, reason = hugetlb.restart_needed(kernel.pools, kernel.seen, kernel.granted)
                    kernel = replace(kernel, restart_needed=needed, restart_reason=reason)
            elif change.kind == "mount":
                mounts = tuple(mount for mount in kernel.mounts if mount.path != change.target)
                if change.after is not None:
                    mounts += (HugetlbMount(change.target, parse_size(change.after)),)
                kernel = replace(kernel, mounts=mounts)
        units, persisted = state.units.predict(changes), state.persisted.predict(changes)
        return replace(state, kernel=kernel, units=units, persisted=persisted, predicted=True)

    def apply(self, change: Change, desired: Desired, undos: Undos) -> None:
        """One change; a shortfall raises UnmetError where it is to fail the run."""
        if change.kind == "pool":
            self._resize(change, desired, undos)
        elif change.kind == "overcommit":
            try:
                self._manifest.kernel(change.target, str(change.after), undos, record=desired.present)
            except HostError as error:
                if error.code != "EINVAL":
                    raise
                cause = "this kernel may give pages of that size by count alone; leave overcommit out"
                raise HostError(
                    change.target, f"the kernel refuses {change.after} (EINVAL): {cause}", "EINVAL"
                ) from error
        elif change.kind == "mount":
            hugetlbfs.apply(self._host, self._manifest, change, undos)
        elif change.kind == "link":
            self._manifest.link(change.target, change.after, undos)
        else:
            self._manifest.file(change.target, change.after, undos)

    def _resize(self, change: Change, desired: Desired, undos: Undos) -> None:
        size, node = parse_attribute(change.target)
        before = hugetlb.read_pool(self._host, size)
        failures = buddyinfo.failures(self._host)
        forget = self._note_change(undos)
        # Node by node: a total alone would come back spread in another way.
        nodes: list[int | None] = [part.node for part in before.nodes if node in (None, part.node)]
        self._manifest.change(
            "kernel",
            [f"{hugetlb.attribute_folder(size, part)}/nr_hugepages" for part in nodes or [None]],
            read=lambda path: str(_persistent(hugetlb.read_pool(self._host, size), parse_attribute(path)[1])),
            write=lambda: self._ask(change, size, node, desired),
            undo=lambda: self._restore(before),
            undos=undos,
            record=desired.present,
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

        compact = "/proc/sys/vm/compact_memory" if node is None else f"{numa.NODES}/node{node}/compact"
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
        seen = hugetlb.observe(self._host).seen
        self._host.replace(hugetlb.CHANGED, f"{self._host.uptime()}\n{seen}".encode())
        return undo

    def _overcommitted(self, before: State, after: State) -> Iterator[str]:
        """What would be too much once all pages that may come on demand have come: no pool keeps memory for them."""
        kernel = after.kernel
        raised = [(old, new) for old, new in zip(before.kernel.pools, kernel.pools) if new.overcommit > old.overcommit]
        for _dummy, pool in raised:
            full = resized(pool, None, pool.persistent + pool.overcommit)
            pools = tuple(full if each is pool else each for each in kernel.pools)
            excess = memory_guard.excess([kernel], replace(kernel, pools=pools), after.reserve)
            if excess:
                yield f"with all {pool.overcommit} overcommitted pages of {format_size(pool.size)}, {excess.sum}"

    def settle(self, desired: Desired) -> None:
        """Entries of what is as it was go with the rest, and with all of ours those of pools that a boot has made anew."""
        if desired.present:
            return
        self._manifest.settle(lambda path: hugetlbfs.mounted_at(self._host, path))
        if desired.pools is None:
            state = self.observe(desired)
            old = [path for path in state.first if path not in state.unreturned]
            if old:
                self._manifest.forget("kernel", old)

    def judge(self, before: State, after: State, left: Sequence[Change], desired: Desired) -> Verdict:
        """Shortfalls as ``on_shortfall`` says; anything else that is left fails the run."""
        grown = buddyinfo.grown(before.failures, after.failures)
        unmet = [_explain(change, desired, after.kernel, after.free_blocks, grown) for change in left if _short(change)]
        others = [other_value(change) for change in left if not _short(change)]
        surplus = [] if desired.allow_surplus else shortfall.new_surplus(before.kernel, after.kernel)
        warnings: list[str] = []
        agreeing = _agreeing(before, desired)
        if desired.present and desired.persist:
            warnings.extend(after.persisted.warnings(agreeing))
        else:
            warnings.extend(after.persisted.others(agreeing))
        if desired.present and not desired.persist:
            warnings.extend(after.persisted.contradictions(_settings(after, desired)))
        if before.lost and before.persisted.text != after.persisted.text:
            warnings.append(before.persisted.forgotten())
        warnings += [*before.estranged, *released(before.files(), after.files())]
        if not desired.present and desired.pools is None:
            warnings += _made_anew(before, after)
        warnings.extend(self._overcommitted(before, after))
        if after.predicted:
            warnings.extend(shortfall.may_fall_short(before.kernel, after.kernel, before.free_blocks))
        tried = [_tried(before, change) for change in left if _short(change)]
        if desired.on_shortfall != "fail":
            warnings.extend(
                f"{item.target}: {item.reason}{_TRIED if again and desired.on_shortfall == 'reboot' else ''}"
                for item, again in zip(unmet, tried)
            )
        unit, reason = after.kernel.kubelet_unit, after.kernel.restart_reason
        return Verdict(
            unmet=tuple(unmet + others + surplus),
            warnings=tuple(warnings),
            reboot_required=not all(tried) and desired.on_shortfall == "reboot",
            restart_required=({"unit": unit, "reason": reason or ""},) if unit and after.kernel.restart_needed else (),
            failed=bool(others or surplus) or (bool(unmet) and desired.on_shortfall == "fail"),
        )


def _targets(state: State, desired: Desired) -> tuple[Wanted, ...]:
    """The pools that are named, or with ``state: absent`` alone what our file persists and what we set otherwise, as before us."""
    if desired.pools is not None:
        return desired.pools
    found: dict[tuple[int, int | None], Wanted] = {}

    for key in (*state.persisted.mine, *state.unreturned):
        name = hugepages_persist.parse_key(state.kernel, key)
        if name is None:
            continue
        if key.endswith("nr_overcommit_hugepages"):
            before = state.first.get(f"{hugetlb.attribute_folder(name[0], None)}/nr_overcommit_hugepages", 0)
            found[name] = replace(found.get(name, Wanted("pools", *name, None, None)), overcommit=before)
            continue
        for part, before in _first_counts(state, *name).items():
            found[part] = replace(found.get(part, Wanted("pools", *part, None, None)), count=before)
    # A pool that is emptied as a whole has no nodes left to name.
    whole = {wanted.size for wanted in found.values() if wanted.node is None and wanted.count is not None}
    return tuple(wanted for wanted in found.values() if wanted.node is None or wanted.size not in whole)


def _first_counts(state: State, size: int, node: int | None) -> dict[tuple[int, int | None], int]:
    """The pages from before us, node by node where these are known; none where nothing is."""
    known = {
        name: before
        for path, before in state.first.items()
        if path.endswith("/nr_hugepages") and (name := hugepages_persist.parse_key(state.kernel, path))
        if name[0] == size and node in (None, name[1])
    }
    return known or {(size, node): 0}


def _settings(state: State, desired: Desired) -> dict[str, str]:
    if desired.pools is None and not desired.present:
        return {}
    return hugepages_persist.settings(state.kernel, state.persisted, _targets(state, desired), desired.present)


def _agreeing(state: State, desired: Desired) -> dict[str, str]:
    return hugepages_persist.agreeing(state.kernel, state.persisted.owners, _targets(state, desired))


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


def _check_overcommit(state: State, wanted: Wanted) -> None:
    """The kernel takes any number for most sizes, and none for gigantic ones."""
    number = wanted.overcommit
    if number is None or number == state.kernel.pool(wanted.size).overcommit:
        return
    if buddyinfo.is_gigantic(state.free_blocks, wanted.size) and () < state.release < _OVERCOMMITS_GIGANTIC:
        raise OptionError(
            f"{wanted.option}.overcommit",
            number,
            f"none: this kernel gives pages of {format_size(wanted.size)} by count alone",
        )
    most = sum(node.total for node in state.kernel.memory) // wanted.size
    if number > most:
        raise OptionError(
            f"{wanted.option}.overcommit", number, f"0 to {most}: the machine's memory has no more such pages"
        )


def _check_parts(state: State, desired: Desired, wanted: Wanted) -> None:
    """Without systemd our file holds a total, of which one node's part cannot be taken."""
    total = hugepages_persist.key_of(state.persisted, wanted.size, None)
    if not (desired.present or state.systemd or wanted.node is None) and total in state.persisted.settings:
        raise BulwarkError(
            f"{wanted.option}.node: {state.persisted.path} sets the total of pages of {format_size(wanted.size)}, and without "
            "systemd there is no way to set a node's. Leave node out, or set the total that is to stay"
        )


def _check_persistable(state: State, wanted: Wanted) -> None:
    if state.systemd or (wanted.node is None and wanted.size == state.kernel.default_size):
        return
    boot = f", or boot with {shortfall.boot_arguments(wanted.size, wanted.node, wanted.count)}" if wanted.count else ""
    raise BulwarkError(
        f"{wanted.option}: pages of {format_size(wanted.size)}{'' if wanted.node is None else f' on node {wanted.node}'} "
        "cannot be persisted without systemd: sysctl.d knows only the total of the default size. "
        f"Set persist to false{boot}"
    )


def _check_in_use(kernel: Pools, wanted: Wanted) -> None:
    """A pool that shrinks below its pages in use would only turn them into surplus."""
    if wanted.count is None:
        return
    pool = kernel.pool(wanted.size)
    used = pool.floor(wanted.node)
    if wanted.count < min(_persistent(pool, wanted.node), used):
        raise OptionError(
            f"{wanted.option}.count" if "[" in wanted.option else wanted.option,
            wanted.count,
            f"{used} or more: so many pages of {format_size(pool.size)} are in use or reserved. "
            "Stop what uses them, or set allow_surplus to true to give each back once it is free",
        )


def _mounts(state: State, desired: Desired) -> tuple[dict[int, bool], dict[int, list[str]]]:
    """Which sizes are to be mounted, of those that systemd does not mount by itself, and where each is mounted."""
    if not state.systemd:
        return {}, {}
    targets = [wanted for wanted in _targets(state, desired) if _exists(state.kernel, wanted)]
    left = set() if desired.present or desired.pools is not None else state.units.ours()
    wanted_sizes = {
        size: desired.present
        for size in {wanted.size for wanted in targets if wanted.count or not desired.present} | left
        if size != state.kernel.default_size
    }
    # A pod's volume comes and goes with it.
    lasting = [mount for mount in state.kernel.mounts if not mount.path.startswith("/var/lib/kubelet/")]
    return wanted_sizes, {size: [mount.path for mount in lasting if mount.size == size] for size in wanted_sizes}


# outcomes


def _persistent(pool: Pool, node: int | None) -> int:
    """The pages that nr_hugepages holds beside surplus ones, of one node or of the machine."""
    return pool.persistent if node is None else pool.node(node).persistent


def _growth(kernel: Pools, wanted: Wanted) -> int:
    """By how many bytes a pool is to grow."""
    return wanted.size * ((wanted.count or 0) - _persistent(kernel.pool(wanted.size), wanted.node))


def _made_anew(before: State, after: State) -> list[str]:
    """What to say of pools that are not as before us, and that no run of ours made so in this boot."""
    known = {path: parse_attribute(path) for path in before.first if path.endswith("/nr_hugepages")}
    names = [
        path
        for path, (size, node) in known.items()
        if path not in (*before.unreturned, *after.unreturned)
        and _exists(after.kernel, Wanted("", size, node, None, None))
        and _persistent(after.kernel.pool(size), node) != before.first[path]
    ]
    return [forgotten(names, "a boot has made the pools anew since, and not by our file")] if names else []


def _tried(before: State, change: Change) -> bool:
    """Whether this boot already set the pool to the number asked for."""
    key = hugepages_persist.key_of(before.persisted, *parse_attribute(change.target))
    return before.tried and before.persisted.settings.get(key) == str(change.after)


def _explain(
    change: Change, desired: Desired, kernel: Pools, blocks: Mapping[int, tuple[int, ...]], counters: Mapping[str, int]
) -> Unmet:
    name = parse_attribute(change.target)
    option = next((wanted.option for wanted in desired.pools or () if (wanted.size, wanted.node) == name), "pools")
    return shortfall.explain(option, change, kernel.pool(name[0]), blocks, counters)


def _short(change: Change) -> bool:
    """Whether a change that is left is a pool with too few pages."""
    return change.kind == "pool" and change.before < change.after
