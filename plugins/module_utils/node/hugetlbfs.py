# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""hugetlbfs mounts for the page sizes that systemd does not mount itself: now by mount(8), at boot by a mount unit.

systemd's own dev-hugepages.mount covers the default size. No daemon-reload is needed: systemd sees the mount itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.converge import Change, Undos
from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.manifest import HEADER, Manifest, is_ours
from ansible_collections.bulwark.node.plugins.module_utils.node import hugetlb
from ansible_collections.bulwark.node.plugins.module_utils.node.mounts import mounts
from ansible_collections.bulwark.node.plugins.module_utils.units import format_size, parse_size

__all__ = ["Units", "apply", "mounted_at", "observe"]

_UNITS = "/etc/systemd/system"
_HEADER = HEADER + ".\n"
_UNIT = """\
[Unit]
Description=Huge Pages File System for pages of {size}
Documentation=https://docs.kernel.org/admin-guide/mm/hugetlbpage.html
DefaultDependencies=no
Before=sysinit.target
ConditionPathExists={folder}
ConditionCapability=CAP_SYS_ADMIN

[Mount]
What=hugetlbfs
Where={path}
Type=hugetlbfs
Options={options}

[Install]
WantedBy=sysinit.target
"""


@dataclass(frozen=True)
class Units:
    """The mount units that we may write, by size in bytes: their texts, and the links that enable them.

    ``recorded`` are the sizes of which the manifest knows a mount or a link.
    """

    texts: Mapping[int, str | None]
    links: Mapping[int, str | None]
    recorded: frozenset[int] = frozenset()

    def files(self) -> dict[str, str | None]:
        """The units' texts by path."""
        return {_unit(size): text for size, text in self.texts.items()}

    def ours(self) -> set[int]:
        """The sizes of which something is ours."""
        return {size for size, text in self.texts.items() if size in self.recorded or is_ours(text)}

    def plan(self, wanted: Mapping[int, bool], mounted: Mapping[int, list[str]]) -> list[Change]:
        """For each size: is it to be mounted, and where it is mounted now."""
        changes = []
        for size, present in sorted(wanted.items()):
            changes += (
                self._present(size, mounted.get(size, [])) if present else self._absent(size, mounted.get(size, []))
            )
        return changes

    def predict(self, changes: Iterable[Change]) -> Units:
        """The units after the changes."""
        after = {change.target: change.after for change in changes}
        return replace(
            self,
            texts={size: after.get(_unit(size), text) for size, text in self.texts.items()},
            links={size: after.get(_link(size), target) for size, target in self.links.items()},
        )

    def _present(self, size: int, mounted: list[str]) -> list[Change]:
        path, old = _path(size), self.texts[size]
        changes = [] if mounted else [Change("mount", path, None, format_size(size))]
        # Somebody else's mount, or a unit of that name that is not ours, serves as well.
        if mounted in ([], [path]) and (old is None or is_ours(old)):
            text = _HEADER + _UNIT.format(
                size=format_size(size), folder=hugetlb.attribute_folder(size, None), path=path, options=_options(size)
            )
            if old != text:
                changes.append(Change("file", _unit(size), old, text))
            if self.links[size] is None:
                changes.append(Change("link", _link(size), None, f"../{_name(size)}"))
        return changes

    def _absent(self, size: int, mounted: list[str]) -> list[Change]:
        old, link = self.texts[size], self.links[size]
        if size not in self.ours():
            return []
        changes = [Change("mount", _path(size), format_size(size), None)] if _path(size) in mounted else []
        # A unit that is another's by now keeps its link.
        if link is not None and (old is None or is_ours(old)):
            changes.append(Change("link", _link(size), link, None))
        return [*changes, Change("file", _unit(size), old, None)] if is_ours(old) else changes


def observe(host: Host, entries: Mapping[str, Mapping[str, Any]], sizes: Iterable[int]) -> Units:
    """The units that are there now; ``entries`` are the manifest's."""
    known = list(sizes)
    return Units(
        texts={size: host.read(_unit(size)) for size in known},
        links={size: host.link_target(_link(size)) for size in known},
        recorded=frozenset(
            size for size in known if _path(size) in entries["mounts"] or _link(size) in entries["links"]
        ),
    )


def mounted_at(host: Host, path: str) -> str | None:
    """What the manifest calls a mount at a path; None where there is none."""
    return "" if any(mount.path == path for mount in mounts(host)) else None


def apply(host: Host, manifest: Manifest, change: Change, undos: Undos) -> None:
    """Mount or unmount one hugetlbfs."""
    path, size = change.target, parse_size(change.after or change.before)
    kept = change.before is None and host.exists(path)
    if change.before is None and not kept:
        # Made for a mount that then fails, it would stay.
        undos.push(path, lambda: _remove_folder(host, path))
    manifest.change(
        "mounts",
        [path],
        read=lambda where: mounted_at(host, where),
        write=lambda: _set_mounted(host, path, size, change.after is not None),
        undo=lambda: _set_mounted(host, path, size, change.before is not None, keep_folder=kept),
        undos=undos,
    )


def _set_mounted(host: Host, path: str, size: int, mounted: bool, keep_folder: bool = False) -> None:
    is_mounted = mounted_at(host, path) is not None
    if mounted and not is_mounted:
        host.make_folder(path)
        host.run(["mount", "-t", "hugetlbfs", "-o", _options(size), "hugetlbfs", path])
    elif is_mounted and not mounted:
        try:
            host.run(["umount", path])
        except HostError as error:
            if "busy" in str(error):
                remedy = f"Stop what has files open there, which fuser -vm {path} shows, and run it again"
                raise HostError(path, f"cannot be unmounted: it is in use. {remedy}", "EBUSY") from error
            raise
    if not mounted and not keep_folder:
        host.remove_folder(path)


def _remove_folder(host: Host, path: str) -> None:
    host.remove_folder(path)


def _name(size: int) -> str:
    return f"dev-hugepages{format_size(size)}.mount"


def _path(size: int) -> str:
    return f"/dev/hugepages{format_size(size)}"


def _unit(size: int) -> str:
    return f"{_UNITS}/{_name(size)}"


def _link(size: int) -> str:
    return f"{_UNITS}/sysinit.target.wants/{_name(size)}"


def _options(size: int) -> str:
    return f"pagesize={format_size(size)},nosuid,nodev"
