# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What sets the MTUs at boot: a drop-in for each .network file, a unit that pins a bridge of systemd-networkd, a hook of ifupdown.

systemd-networkd leaves a bridge alone whose MTU is already the wanted one, and so pins it or not as its ports come first or
later. Nothing is reloaded, for that could set links up anew: our files count from the next boot on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ansible_collections.bulwark.node.plugins.module_utils.converge import Change, Undos
from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError, OwnerError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.manifest import HEADER, SHEBANG, Manifest, is_ours
from ansible_collections.bulwark.node.plugins.module_utils.node import bridge_mtu_owners, bridge_mtu_plan
from ansible_collections.bulwark.node.plugins.module_utils.node.bridge_mtu_options import Desired
from ansible_collections.bulwark.node.plugins.module_utils.node.bridge_mtu_owners import (
    DROPIN,
    HOOK,
    MTU,
    NETWORKS,
    Place,
)
from ansible_collections.bulwark.node.plugins.module_utils.node.bridge_mtu_plan import Goal
from ansible_collections.bulwark.node.plugins.module_utils.node.bridge_pins import AT_BOOT
from ansible_collections.bulwark.node.plugins.module_utils.node.links import Link
from ansible_collections.bulwark.node.plugins.module_utils.node.revert import SET_MTU

__all__ = ["Persisted", "apply", "observe"]

_UNITS = "/etc/systemd/system"
_UNIT = "bulwark-bridge-mtu-"
_WANTS = f"{_UNITS}/multi-user.target.wants"
# What needs no quotes in a unit, a shell and a comment: the kernel forbids no more than "/", ":" and white space.
_PLAIN = re.compile(r"[A-Za-z0-9_.-]+")
_NOTE = re.compile(r"^# (\S+): ([0-9]{1,5})(?: then ([0-9]{1,5}))?$", re.MULTILINE)
_ABOUT = f"{HEADER}; its module bridge_mtu adds and removes lines here.\n"
_SHELL = f"""\
{SET_MTU}
note() {{ {{ cat /proc/sys/kernel/random/boot_id; readlink /proc/self/ns/net; }} >"{AT_BOOT}$(cat "/sys/class/net/$1/ifindex")"; }}
pin() {{ set_mtu "$1" "$2" && set_mtu "$1" "$3" && note "$1"; }}
"""
_DROPIN_TEXT = """\
[Link]
MTUBytes={mtu}
"""
_UNIT_TEXT = """\
[Unit]
Description=Pin the MTU of {name} at {mtu}
After=systemd-networkd.service
Before=network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c '{script}'

[Install]
WantedBy=multi-user.target
"""
# The bridge may come late, and a boot must not wait for it for ever.
_WAIT = """\
for try in $(seq 300); do pin {name} {first} {mtu} && exit 0; sleep 0.1; done
echo "{name} did not come, or not take an MTU of {mtu}" >&2
exit 1
"""
_HOOK_TEXT = """\
case "$IFACE" in {names}|--all) ;; *) exit 0 ;; esac
{lines}exit 0
"""

# The MTUs that a link gets one after the other, by name: of a bridge that is pinned two.
Entries = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Persisted:
    """Our files by path, None where there is none, the links that enable units, and the place of each link by its name."""

    files: Mapping[str, str | None] = field(default_factory=dict)
    enabled: Mapping[str, str | None] = field(default_factory=dict)
    places: Mapping[str, Place] = field(default_factory=dict)
    links: tuple[Link, ...] = ()
    idle: bool = False
    """Whether the hook is there and may not be executed."""

    @property
    def names(self) -> frozenset[str]:
        """The links that our files are about."""
        return frozenset(self.mtus)

    @property
    def mtus(self) -> Mapping[str, int]:
        """The MTU that our files give to each link at boot."""
        return {name: mtus[-1] for entries in self._entries().values() for name, mtus in entries.items()}

    def check(self, goals: Iterable[Goal]) -> None:
        """Raise where a link has a manager that we do not write for, shares its file, or another file would win."""
        lasting = [goal for goal in goals if _lasts(goal)]
        refused = [goal for goal in lasting if self._place(goal).path is None]
        if refused:
            self._refuse(refused)
        wanted = {goal.link.name: goal.mtu for goal in lasting}
        for goal in lasting:
            name, place = goal.link.name, self._place(goal)
            if not _PLAIN.fullmatch(name):
                raise BulwarkError(
                    f"{goal.option}: no file is written for a link of such a name: {name!r}. Set persist to false"
                )
            held = self._entries().get(place.path or "", {})
            others = [
                other
                for other in place.shared
                if wanted.get(other, held[other][-1] if other in held else None) != goal.mtu
            ]
            if others and place.without_us != str(goal.mtu):
                raise OwnerError(
                    f"{goal.option}: {name} has its settings from the same file as {', '.join(others)}, which are to keep their "
                    f"MTU: give it a .network file of its own, whose name comes before {_main(place)}, or set persist to false"
                )
            for owner in place.others:
                if owner.wins and owner.value != str(goal.mtu):
                    raise OwnerError(
                        f"{owner.path} sets the MTU of {name} to {owner.value} and {'wins' if owner.certain else 'may win'} over "
                        f"{place.path} at boot. Change it there, or set persist to false"
                    )

    def _refuse(self, refused: Sequence[Goal]) -> None:
        """Name the first one's reason, and for all of that reason what to do."""
        first = self._place(refused[0])
        alike = [goal for goal in refused if self._place(goal).reason == first.reason]
        remedies = [self._place(goal).remedy.replace(MTU, str(goal.mtu)) for goal in alike if self._place(goal).remedy]
        raise OwnerError(
            f"{refused[0].option}: {', '.join(goal.link.name for goal in alike)}: {first.reason}. Set persist to false"
            + (f", and {'; '.join(remedies)}" if remedies else "")
        )

    def plan(self, goals: Iterable[Goal]) -> list[Change]:
        """The changes that make our files say this of these links, and of others what they said."""
        entries = {path: dict(held) for path, held in self._entries().items()}
        for goal in goals:
            name, places = goal.link.name, self._files_for(goal)
            for path in entries:
                if path not in places:
                    entries[path].pop(name, None)
            for path, mtus in places.items():
                entries[path] = self._put(entries.get(path, {}), goal.link, mtus)
        return self._changes(entries)

    def remove(self, names: Iterable[str]) -> list[Change]:
        """The changes that take these links out of our files."""
        gone = set(names)
        return self._changes(
            {
                path: {name: mtus for name, mtus in held.items() if name not in gone}
                for path, held in self._entries().items()
            }
        )

    def predict(self, changes: Sequence[Change]) -> Persisted:
        """The same after the changes."""
        texts = {change.target: change.after for change in changes if change.kind == "file"}
        enabled = {change.target: change.after for change in changes if change.kind == "link"}
        return replace(self, files={**self.files, **texts}, enabled={**self.enabled, **enabled})

    def warnings(self, goals: Iterable[Goal], desired: Desired) -> Sequence[str]:
        """What other files set that does not count, or does where we set nothing."""
        lasting = desired.present and desired.persist
        found = (
            [f"{HOOK} may not be executed, and so does nothing: make it executable"] if lasting and self.idle else []
        )
        for goal in goals:
            name, place = goal.link.name, self._place(goal)
            held = [(path, entries[name][-1]) for path, entries in self._entries().items() if name in entries]
            if not lasting:
                found += [
                    f"{path} still sets the MTU of {name} to {mtu} at the next boot"
                    for path, mtu in held
                    if mtu != goal.mtu
                ]
            for owner in place.others if lasting else place.others[-1:]:
                if owner.value == str(goal.mtu):
                    continue
                if held and not owner.wins:
                    found.append(
                        f"{owner.path} sets the MTU of {name} to {owner.value}; {held[0][0]} wins over it at boot"
                    )
                elif not held and not (lasting and _lasts(goal)):
                    found.append(f"{owner.path} sets the MTU of {name} to {owner.value}, which counts at the next boot")
            if place.dhcp and _lasts(goal) and desired.present:
                found.append(
                    f"{name} asks a DHCP server, whose MTU (option 26), if it sends one, replaces {goal.mtu} later"
                )
        return found

    def _place(self, goal: Goal) -> Place:
        return self.places.get(goal.link.name, Place(None, "it is not known who sets it up at boot"))

    def _files_for(self, goal: Goal) -> dict[str, tuple[int, ...]]:
        """The files that say something of a goal, and the MTUs that they set in turn."""
        place = self._place(goal)
        if place.path is None or not _lasts(goal):
            return {}
        pinned = (bridge_mtu_plan.detour(goal.link, goal.mtu, self.links) if goal.pins else goal.mtu, goal.mtu)
        if not place.networkd:
            return {place.path: pinned if goal.pins else (goal.mtu,)}
        return {place.path: (goal.mtu,), **({_unit(goal.link.name): pinned} if goal.pins else {})}

    def _put(self, held: Entries, link: Link, mtus: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """The entries with one more: before all that stand on it, for no VLAN grows beyond what is below it."""
        if link.name in held:
            return {**held, link.name: mtus}
        above = _above(self.links, link)
        at = next((index for index, name in enumerate(held) if name in above), len(held))
        items = list(held.items())
        return dict([*items[:at], (link.name, mtus), *items[at:]])

    def _entries(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """What our files hold, by path; another's file at such a path holds nothing."""
        return {path: _parse(text) if text and is_ours(text) else {} for path, text in self.files.items()}

    def _changes(self, entries: Mapping[str, Entries]) -> list[Change]:
        changes = []
        for path, held in entries.items():
            old, text = self.files.get(path), _render(path, held)
            mine = old is None or is_ours(old)
            steps = [Change("file", path, old, text)] if text != old and (mine or text is not None) else []
            if path.startswith(_UNITS):
                link, target = _link(path), f"../{path.rpartition('/')[2]}" if held else None
                before = self.enabled.get(link)
                if before != target and (mine or target):
                    # A link is ours by what it leads to: it goes first, and comes last.
                    steps.insert(len(steps) if target else 0, Change("link", link, before, target))
            changes += steps
        return changes


def observe(host: Host, links: Sequence[Link]) -> Persisted:
    """Our files, and the place of each link."""
    paths = [f"{NETWORKS}/{name}/{DROPIN}" for name in host.names(NETWORKS) if name.endswith(".network.d")]
    units = [f"{_UNITS}/{name}" for name in host.names(_UNITS) if name.startswith(_UNIT) and name.endswith(".service")]
    files = {path: text for path in (*paths, *units, HOOK) if (text := host.read(path)) is not None}
    mode = host.mode_and_owner(HOOK)
    return Persisted(
        files=files,
        enabled={
            f"{_WANTS}/{name}": host.link_target(f"{_WANTS}/{name}")
            for name in host.names(_WANTS)
            if name.startswith(_UNIT)
        },
        places=bridge_mtu_owners.observe(host, links),
        links=tuple(links),
        idle=mode is not None and not mode[0] & 0o111,
    )


def apply(manifest: Manifest, change: Change, undos: Undos) -> None:
    """Write or remove one file or link."""
    if change.kind == "link":
        manifest.link(change.target, change.after, undos)
        return
    manifest.file(change.target, change.after, undos, 0o755 if change.target == HOOK else 0o644)


def _lasts(goal: Goal) -> bool:
    """A bridge that is not pinned follows its ports, and is not set: to set it would pin it."""
    return goal.link.kind != "bridge" or goal.pins


def _main(place: Place) -> str:
    return (place.path or "").rpartition("/")[0].rpartition("/")[2][: -len(".d")]


def _unit(name: str) -> str:
    return f"{_UNITS}/{_UNIT}{name}.service"


def _link(unit: str) -> str:
    return f"{_WANTS}/{unit.rpartition('/')[2]}"


def _above(links: Sequence[Link], link: Link) -> set[str]:
    """The names of all links that stand on one, or that it is a port of."""
    found: dict[int, Link] = {}
    waiting = [link]
    while waiting:
        one = waiting.pop()
        for other in links:
            stands = (other.lower == one.index or one.master == other.index) and other.index != link.index
            if stands and other.index not in found:
                found[other.index] = other
                waiting.append(other)
    return {other.name for other in found.values()}


def _parse(text: str) -> dict[str, tuple[int, ...]]:
    """What a file of ours holds: the notes in it."""
    return {name: tuple(int(mtu) for mtu in mtus if mtu) for name, *mtus in _NOTE.findall(text)}


def _render(path: str, entries: Entries) -> str | None:
    """The text of a file of ours, None where it holds nothing."""
    if not entries:
        return None
    notes = "".join(f"# {name}: {' then '.join(map(str, mtus))}\n" for name, mtus in entries.items())
    name, mtus = next(iter(entries.items()))
    if path == HOOK:
        lines = "".join(
            f"{'pin' if len(mtus) > 1 else 'set_mtu'} {name} {' '.join(map(str, mtus))}\n"
            for name, mtus in entries.items()
        )
        return f"{SHEBANG}{_ABOUT}{notes}{_SHELL}" + _HOOK_TEXT.format(names="|".join(entries), lines=lines)
    if path.startswith(_UNITS):
        script = _SHELL + _WAIT.format(name=name, first=mtus[0], mtu=mtus[-1])
        # systemd knows "$" too, and joins the lines.
        script = "; \\\n    ".join(script.replace("$", "$$").splitlines())
        return _ABOUT + notes + _UNIT_TEXT.format(name=name, mtu=mtus[-1], script=script)
    return _ABOUT + notes + _DROPIN_TEXT.format(mtu=mtus[-1])
