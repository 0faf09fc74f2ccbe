# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may open a device: users and groups of the machine's own files, permission bits and ACLs; and whom libvirt runs QEMU as."""

from __future__ import annotations

import re
import struct
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node.processes import everyone

__all__ = [
    "Accounts",
    "Device",
    "accounts",
    "described",
    "device_text",
    "group_of",
    "lacking",
    "may_use",
    "name_of",
    "parse_device",
    "qemu_config",
    "qemu_users",
    "strangers",
    "with_changes",
]

_SHOWN = 5  # processes of one unit
_QEMU = ("libvirt-qemu", "qemu")
# linux/posix_acl.h
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20


Device = tuple[int, int, int]
"""(permission bits, owner, group)"""


@dataclass(frozen=True)
class Accounts:
    """/etc/passwd as {name: (uid, gid)} and /etc/group as {name: (gid, members)}; no directory service is asked."""

    users: Mapping[str, tuple[int, int]]
    groups: Mapping[str, tuple[int, Sequence[str]]]
    strangers: frozenset[str] = frozenset()
    """The names in ``users`` that are no line of /etc/passwd, but a directory's: see ``with_strangers``."""

    def members(self, group: str) -> list[str]:
        """The users that its line names; not those whose first group it is."""
        return [name for name in self.groups.get(group, (0, ()))[1] if name]

    def with_member(self, group: str, user: str, there: bool) -> Accounts:
        """The same with one membership more or less."""
        gid, others = self.groups[group][0], [name for name in self.members(group) if name != user]
        return replace(self, groups={**self.groups, group: (gid, [*others, user] if there else others)})

    def with_strangers(self, users: Mapping[str, tuple[int, int]]) -> Accounts:
        """The same with users of a directory."""
        return replace(self, users={**self.users, **users}, strangers=frozenset(users))


def accounts(host: Host) -> Accounts:
    """Read both files; lines that are none are left out."""
    users, groups = (
        [
            row
            for row in (line.split(":") for line in (host.read(path) or "").split("\n"))
            if len(row) > 3 and row[2].isdecimal()
        ]
        for path in ("/etc/passwd", "/etc/group")
    )
    return Accounts(
        {row[0]: (int(row[2]), int(row[3])) for row in users if row[3].isdecimal()},
        {row[0]: (int(row[2]), row[3].split(",")) for row in groups},
    )


def strangers(host: Host, known: Accounts, names: Iterable[str]) -> dict[str, tuple[int, int]]:
    """{name: (uid, gid)} of the names that are in no file, asked of the name service: a directory may have them."""
    found = {}
    for name in names:
        if name not in known.users:
            row = host.attempt(["getent", "passwd", name]).stdout.rstrip("\n").split(":")
            if len(row) > 3 and row[0] == name and row[2].isdecimal() and row[3].isdecimal():
                found[name] = (int(row[2]), int(row[3]))
    return found


def group_of(known: Accounts, device: Device | None) -> str | None:
    """The group of a device; None where it is root's, or nobody's."""
    return name_of(known.groups, device[2]) if device and device[2] != 0 else None


def lacking(host: Host, known: Accounts, users: Collection[str], group: str | None) -> tuple[Mapping[str, str], ...]:
    """Units, or processes in none, of these users that do not have the group: it is given at a login or a start alone.

    {unit, reason}. Those in containers have users of their own.
    """
    uids = {known.users[name][0]: name for name in users if name in known.users}
    gid = known.groups.get(group or "", (None, ()))[0]
    found: dict[str, tuple[str, list[str]]] = {}
    for process in everyone(host) if uids and gid is not None else ():
        status = host.read(f"/proc/{process.pid}/status") or ""
        numbers = {key: row.split() for key, row in re.findall(r"^(Uid|Gid|Groups):([\s0-9]*)$", status, re.MULTILINE)}
        uid = int(numbers["Uid"][0]) if numbers.get("Uid") else -1
        if uid in uids and not process.nested and str(gid) not in (*numbers.get("Gid", ()), *numbers.get("Groups", ())):
            named = f"{process.name} ({process.pid})"
            found.setdefault(process.unit or named, (uids[uid], []))[1].append(named)
    return tuple(
        {"unit": unit, "reason": f"it began before {user} was in {group}: {', '.join(names[:_SHOWN])}"}
        for unit, (user, names) in sorted(found.items())
    )


def described(device: Device, known: Accounts) -> dict[str, str]:
    """Owner, group and mode as udev and our options spell them."""
    mode, owner, group = device
    return {"owner": name_of(known.users, owner), "group": name_of(known.groups, group), "mode": f"{mode:04o}"}


def with_changes(device: Device, wanted: Mapping[str, str], known: Accounts) -> Device:
    """The device with what is wanted of it; names that nobody has are numbers."""
    owner, group = _number(known.users, wanted.get("owner", "")), _number(known.groups, wanted.get("group", ""))
    mode = int(wanted["mode"], 8) if "mode" in wanted else device[0]
    return mode, device[1] if owner is None else owner, device[2] if group is None else group


def device_text(device: Device | None) -> str | None:
    """As the manifest holds it: ``0660 0 36``."""
    return f"{device[0]:04o} {device[1]} {device[2]}" if device else None


def parse_device(text: str | None) -> Device | None:
    """The inverse; None where it is none."""
    match = re.fullmatch(r"([0-7]{4}) ([0-9]{1,10}) ([0-9]{1,10})", text or "", re.ASCII)
    return (int(match[1], 8), int(match[2]), int(match[3])) if match else None


def name_of(rows: Mapping[str, tuple[int, Any]], number: int) -> str:
    """The first name of an id, or the id."""
    return next((name for name, row in rows.items() if row[0] == number), str(number))


def _number(rows: Mapping[str, tuple[int, Any]], name: str) -> int | None:
    """The id of a name, or of a number as qemu.conf takes it (``+107``)."""
    digits = name[1:] if name.startswith("+") else name
    return rows[name][0] if name in rows else int(digits) if digits.isdecimal() else None


def qemu_config(host: Host) -> dict[str, str]:
    """``user`` and ``group`` of libvirt's qemu.conf, where it names them."""
    try:
        text = host.read("/etc/libvirt/qemu.conf") or ""
    except HostError:
        text = ""  # for root's eyes
    return dict(re.findall(r'^[ \t]*(user|group)[ \t]*=[ \t]*"([^"\n]{1,64})"', text, re.MULTILINE))


def qemu_users(
    config: Mapping[str, str], accounts: Accounts, device: Device | None, acl: bytes | None
) -> dict[str, bool]:
    """Whether QEMU's users may read and write the device, by permission bits, ACL and groups. AppArmor and SELinux are not asked.

    They are the one that libvirt's qemu.conf names, or else those that distributions have for it.
    """
    names = [config["user"]] if "user" in config else [name for name in _QEMU if name in accounts.users]
    usable = {}
    for name in names:
        uid, primary = _number(accounts.users, name), accounts.users.get(name, (0, -1))[1]
        first = _number(accounts.groups, config["group"]) if "group" in config else primary
        account = name if uid is None else name_of(accounts.users, uid)
        groups = {first} | {row[0] for row in accounts.groups.values() if account in row[1]}
        usable[name] = device is not None and uid is not None and may_use(device, acl, uid, groups)
    return usable


def may_use(file: Device, acl: bytes | None, uid: int, groups: Collection[int | None]) -> bool:
    """Whether a user without capabilities may read and write a file of (permission bits, owner, group): acl(5).

    ``acl`` is the extended attribute (linux/posix_acl_xattr.h), None where there is none.
    """
    mode, owner, group = file
    entries = [(_USER_OBJ, mode >> 6, 0), (_GROUP_OBJ, mode >> 3, 0), (_OTHER, mode, 0)]
    # The kernel looks at no ACL where its mask, which are the group's bits, is empty (acl_permission_check()).
    if acl is not None and mode & 0o070:
        entries = list(struct.iter_unpack("<HHI", acl[4 : 4 + (len(acl) - 4) // 8 * 8]))
    mask = next((bits for tag, bits, dummy in entries if tag == _MASK), 7)
    granted = {tag: bits for tag, bits, dummy in entries}
    if uid == owner:
        return granted[_USER_OBJ] & 6 == 6
    for tag, bits, number in entries:
        if tag == _USER and number == uid:
            return bits & mask & 6 == 6
    matching = [
        bits & mask
        for tag, bits, number in entries
        if (tag == _GROUP_OBJ and group in groups) or (tag == _GROUP and number in groups)
    ]
    if matching:
        return any(bits & 6 == 6 for bits in matching)
    return granted[_OTHER] & 6 == 6
