# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits at a login: our lines of limits.conf(5), and the lines of others that win over them.

Which line wins is decided in parse_config_file() and process_limit() of pam_limits.c: by the rank of its domain, at an equal rank
the later line, soft and hard apart.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError, OptionError, OwnerError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.manifest import HEADER, is_ours
from ansible_collections.bulwark.node.plugins.module_utils.node import pam_limits
from ansible_collections.bulwark.node.plugins.module_utils.node.rlimit_options import UNLIMITED, Pam
from ansible_collections.bulwark.node.plugins.module_utils.node.rlimits import BYTES, LIMITS, Limit, Value

__all__ = ["FOLDER", "Logins", "edited", "entries", "observe", "ours", "values"]

FOLDER = "/etc/security/limits.d"
_HEADER = f"{HEADER}; its module rlimit adds and removes lines here. See limits.conf(5).\n"
_UNLIMITED = {"-", "-1", "unlimited", "infinity"}
_LOGINS = ("cron", "crond", "login", "sshd", "su")
_MODULES = ("/lib/security", "/lib64/security", "/usr/lib/security", "/usr/lib64/security")
# (domain, item, "soft" or "hard")
_Key = tuple[str, str, str]


@dataclass(frozen=True)
class Logins:
    """What decides at a login: the lines of all other files, the services that load pam_limits and those of logins that do not.

    ``users``: the numbers of the users in /etc/passwd. ``rttime``: whether this pam_limits knows it; it came in 2025.
    """

    others: tuple[Mapping[str, Any], ...]
    loaded_by: tuple[str, ...]
    unloaded: tuple[str, ...]
    users: Mapping[str, int]
    rttime: bool

    def check(self, pam: Pam, wanted: Mapping[_Key, str]) -> None:
        """Raise where no login would get our lines, or a line of another file wins over one of them for all that it names."""
        if not self.loaded_by:
            raise BulwarkError(
                "pam: no service of /etc/pam.d that logs in loads pam_limits.so, so that its limits reach no login. "
                "Add 'session required pam_limits.so' to those that shall"
            )
        for entry, wins in self._rivals(pam, wanted):
            if wins == "all":
                raise OwnerError(
                    f"{entry['file']}:{entry['line']} {_says(entry)} and wins over {pam.file} at each login. "
                    "Change it there, or name a pam.file that sorts after it"
                    if entry["item"]
                    else f"{entry['file']}:{entry['line']} {_says(entry)}. Remove that line"
                )

    def warnings(self, pam: Pam, wanted: Mapping[_Key, str]) -> Iterator[str]:
        """A sentence for each line of another file that wins for some of our logins, or loses; and for who gets no limits."""
        for entry, wins in self._rivals(pam, wanted):
            where = f"{entry['file']}:{entry['line']} {_says(entry)}"
            if wins == "some":
                yield f"{where}, which wins over {pam.file} for those of {pam.domain} that it names"
            elif wins == "none":
                yield f"{where}; {pam.file} wins over it"
        for name in self.unloaded:
            yield f"{name} does not use pam_limits: who logs in by it does not get these limits"
        if pam.domain[0] in "*%@":
            yield f"pam.domain {pam.domain} is not for root, whom pam_limits gives limits by the name root alone"

    def _rivals(self, pam: Pam, wanted: Mapping[_Key, str]) -> Iterator[tuple[Mapping[str, Any], str]]:
        """The lines that say something else, and whether they win for ``all`` of our domain, ``some`` of it, or ``none``."""
        mine = _rank(pam.domain)
        for entry in self.others:
            domain, rank = entry["domain"], _rank(entry["domain"])
            covers, later = self._covers(domain, pam.domain), _order(entry["file"]) > _order(pam.file)
            if domain == "root" and mine:
                continue
            if entry["item"] is None:
                if covers:
                    yield entry, "all"
                elif rank < 2 and self._may_meet(domain, pam.domain):
                    yield entry, "some"
                continue
            kinds = ("soft", "hard") if entry["type"] == "-" else (entry["type"],)
            values = [wanted[key] for kind in kinds if (key := (pam.domain, entry["item"], kind)) in wanted]
            if all(value == _normal(entry["item"], entry["value"]) for value in values):
                continue
            if covers:
                yield entry, "all" if later else "none"
            elif (rank < mine or (rank == mine and later)) and self._may_meet(domain, pam.domain):
                yield entry, "some"

    def _covers(self, other: str, domain: str) -> bool:
        """Whether another domain of our rank names all whom ours names, for sure."""
        if other == domain:
            return True
        theirs, mine = self._ids(other), self._ids(domain)
        return bool(theirs and mine and theirs[0] <= mine[0] and mine[1] <= theirs[1])

    def _may_meet(self, other: str, domain: str) -> bool:
        theirs, mine = self._ids(other), self._ids(domain)
        return not (theirs and mine) or (theirs[0] <= mine[1] and mine[0] <= theirs[1])

    def _ids(self, domain: str) -> tuple[float, float] | None:
        """The first and last user of a user's domain; None where it is a group's, or the user is not known here."""
        if _rank(domain):
            return None
        low, colon, high = domain.partition(":")
        if not colon:
            return None if domain not in self.users else (self.users[domain], self.users[domain])
        if not all(re.fullmatch(r"[0-9]{0,10}", part, re.ASCII) for part in (low, high)) or not low + high:
            return None
        return (int(low or high), int(high) if high else float("inf"))


def observe(host: Host, path: str) -> Logins:
    """What decides at a login beside the file at ``path``."""
    loaded_by = pam_limits.loaded_by(host)
    present = [name for name in _LOGINS if host.exists(f"/etc/pam.d/{name}")]
    unloaded = [name for name in present if name not in loaded_by or (name == "sshd" and not _sshd_uses_pam(host))]
    passwd = re.findall(r"^([^:\n]+):[^:\n]*:([0-9]{1,10}):", host.read("/etc/passwd") or "", re.MULTILINE)
    return Logins(
        others=tuple(entry for entry in pam_limits.entries(host) if entry["file"] != path),
        # That one is for the user's own service manager, which a login starts beside itself.
        loaded_by=tuple(name for name in loaded_by if name != "systemd-user"),
        unloaded=tuple(unloaded),
        users={name: int(uid) for name, uid in passwd},
        rttime=_knows_rttime(host),
    )


def ours(host: Host, known: Container[str]) -> list[str]:
    """The files in limits.d that are ours, or were as far as is known."""
    paths = [f"{FOLDER}/{name}" for name in host.names(FOLDER) if name.endswith(".conf")]
    return [path for path in paths if host.is_file(path) and (path in known or is_ours(host.read(path)))]


def values(limits: Mapping[str, Limit], logins: Logins, domain: str) -> dict[_Key, str]:
    """The lines for one domain, in the units of limits.conf(5). Raises OptionError where it has no way to say a value."""
    return {
        (domain, name, kind): _value(f"limits.{name}", name, value, logins)
        for name, limit in limits.items()
        for kind, value in (("hard", limit.hard), ("soft", limit.soft))
    }


def edited(text: str | None, wanted: Mapping[_Key, str], domain: str | None, names: Collection[str]) -> str | None:
    """Our file with those lines in the place of the domain's (None: everybody's) for the named limits; None where none are left.

    Lines that this module would not write are somebody's, and stay, before ours, which win over them.
    """
    if not wanted and not is_ours(text):
        return text
    old = {_key(entry): entry["value"] for entry in _parse(text)}
    kept = {key: value for key, value in old.items() if key[1] not in names or domain not in (None, key[0])}
    lines = {**kept, **wanted}
    if lines == old and lines:
        return text
    foreign = _foreign(text)
    # Of two domains of one rank the later line wins: who names fewer comes later.
    ordered = sorted(lines, key=lambda key: (-_width(key[0]), key))
    rendered = (f"{domain}\t{kind}\t{item}\t{lines[domain, item, kind]}\n" for domain, item, kind in ordered)
    return _HEADER + foreign + "".join(rendered) if lines else foreign or None


def entries(text: str | None, path: str, domain: str | None) -> list[dict[str, Any]]:
    """The domain's lines in our file (None: all), as the subset ``rlimits`` of the facts shows lines."""
    return [{"file": path, **entry} for entry in _parse(text) if domain in (None, entry["domain"])]


def _parse(text: str | None) -> Iterator[dict[str, Any]]:
    """The lines that are this module's."""
    for entry in pam_limits.parse(text or ""):
        if entry["item"] in LIMITS and entry["type"] in ("hard", "soft"):
            yield entry


def _foreign(text: str | None) -> str:
    """The other lines of a file of ours; comments alone are none."""
    if not is_ours(text):
        return ""
    mine = {1, *(entry["line"] for entry in _parse(text))}
    lines = [line for number, line in enumerate((text or "").split("\n"), 1) if line.strip() and number not in mine]
    return "".join(f"{line}\n" for line in lines) if any(not line.strip().startswith("#") for line in lines) else ""


def _key(entry: Mapping[str, Any]) -> _Key:
    return entry["domain"], entry["item"], entry["type"]


def _value(option: str, name: str, value: Value, logins: Logins) -> str:
    if name == "rttime" and not logins.rttime:
        raise OptionError(option, value, "no rttime beside pam: the pam_limits.so of this machine does not know it")
    if name == "nice":
        # 20 less what the kernel counts; pam_limits has neither a word for 0 nor for unlimited.
        if not isinstance(value, int) or value < 1:
            raise OptionError(option, value, "1 to 40 beside pam, which sets nice values")
        return str(20 - value)
    if not isinstance(value, int):
        if name == "nofile":
            raise OptionError(
                option, value, "a number beside pam, at most fs.nr_open: a failed setrlimit can block logins"
            )
        return UNLIMITED
    unit, word = (1024, "KiB") if name in BYTES - {"msgqueue"} else (60, "minutes") if name == "cpu" else (1, "")
    if value % unit:
        raise OptionError(option, value, f"a multiple of {unit} beside pam, which counts it in {word}")
    return str(value // unit)


def _normal(item: str, value: str) -> str:
    if value in _UNLIMITED and item != "nice":
        return UNLIMITED
    return str(int(value)) if re.fullmatch(r"[+-]?[0-9]{1,20}", value, re.ASCII) else value


def _rank(domain: str) -> int:
    """The lower one wins: users and their numbers, @group, %group, %, then *."""
    return {"*": 4, "%": 3}.get(domain) or {"@": 1, "%": 2}.get(domain[0], 0)


def _width(domain: str) -> float:
    """How many numbers a domain names, at most."""
    low, colon, high = domain.removeprefix("@").partition(":")
    if not colon:
        return float("inf") if domain == "*" else 1
    return int(high) - int(low or 0) + 1 if high else float("inf") if low else 1


def _order(path: str) -> tuple[bool, str]:
    """limits.conf is read before its drop-ins."""
    return path.startswith(f"{FOLDER}/"), path


def _says(entry: Mapping[str, Any]) -> str:
    if entry["item"] is None:
        return f"gives {entry['domain']} no limits at all"
    kind = "" if entry["type"] == "-" else f"{entry['type']} "
    return f"sets {kind}{entry['item']} of {entry['domain']} to {entry['value']}"


def _sshd_uses_pam(host: Host) -> bool:
    """sshd_config(5): the first value counts, and the default is no. Without a configuration nothing is claimed."""
    main = host.read("/etc/ssh/sshd_config")
    if main is None:
        return True
    folder = "/etc/ssh/sshd_config.d"
    texts = [host.read(f"{folder}/{name}") or "" for name in host.names(folder) if name.endswith(".conf")]
    found = re.search(r"^\s*UsePAM[\s=]+\"?(\w+)", "\n".join([*texts, main]), re.MULTILINE | re.IGNORECASE)
    return found is not None and found[1].lower() == "yes"


def _knows_rttime(host: Host) -> bool:
    folders = [*_MODULES, *(f"{top}/{name}/security" for top in ("/lib", "/usr/lib") for name in host.folders(top))]
    return any(b"rttime" in (host.read_bytes(f"{folder}/pam_limits.so") or b"") for folder in folders)
