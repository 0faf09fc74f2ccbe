# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this collection wrote on the machine and has not given back: the manifest, without what was there before, and files that it lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.dropin import SYSCTL, TMPFILES, Dropin
from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.manifest import MANIFEST, entries_of, is_ours
from ansible_collections.bulwark.node.plugins.module_utils.node.request import PASSIVE, Request
from ansible_collections.bulwark.node.plugins.module_utils.units import bracketed

__all__ = ["PLACES", "facts"]

PLACES = (
    ("/etc/default/grub.d", "99-bulwark-kernel-args.cfg", "kernel_args"),
    ("/etc/kernel", "bulwark-kernel-args", "kernel_args"),
    ("/etc/modprobe.d", "zz-bulwark-kvm.conf", "kvm"),
    ("/etc/modules-load.d", "90-bulwark-kvm.conf", "kvm"),
    ("/etc/network/if-up.d", "zz-bulwark-bridge-mtu", "bridge_mtu"),
    ("/etc/security/limits.d", "*.conf", "rlimit"),
    ("/etc/sysctl.d", "90-bulwark-hugepages.conf", "hugepages"),
    ("/etc/sysctl.d", "90-bulwark-rlimit.conf", "rlimit"),
    ("/etc/systemd/network", "*.network.d/90-bulwark-bridge-mtu.conf", "bridge_mtu"),
    ("/etc/systemd/system", "*.d/95-bulwark-rlimit.conf", "rlimit"),
    ("/etc/systemd/system", "bulwark-bridge-mtu-*.service", "bridge_mtu"),
    ("/etc/systemd/system", "dev-hugepages*.mount", "hugepages"),
    ("/etc/systemd/system.conf.d", "95-bulwark-rlimit.conf", "rlimit"),
    ("/etc/tmpfiles.d", "10-bulwark-hugepages.conf", "hugepages"),
    ("/etc/tmpfiles.d", "10-bulwark-transparent-hugepages.conf", "transparent_hugepages"),
    ("/etc/udev/rules.d", "99-bulwark-kvm.rules", "kvm"),
)
"""Where files of ours lie: folder, name or folder and name in it as a glob, module."""


# Not of pools, which may well have fewer pages than they were given: the subset hugepages has what the next boot makes of them.
_DROPINS: tuple[tuple[Dropin, str], ...] = (
    (SYSCTL, "/etc/sysctl.d/90-bulwark-rlimit.conf"),
    (TMPFILES, "/etc/tmpfiles.d/10-bulwark-transparent-hugepages.conf"),
)


def facts(host: Host, request: Request = PASSIVE) -> dict[str, Any]:
    """The subset ``managed``: {objects[] {kind, object, by}, unknown[], drifted[], reason}; lists None where the manifest cannot be read.

    A file that begins as ours and that the manifest does not know is an object too, and in ``unknown``.
    Texts from before are left out: they are other owners' files, which may hold secrets.
    """
    try:
        entries = entries_of(host)
    except BulwarkError as error:
        return {"objects": None, "unknown": None, "drifted": None, "reason": str(error)}
    lost = dict(_lost(host, entries["files"]))
    objects = [
        {"kind": kind, "object": name, "by": of_kind[name]}
        for kind, found in entries.items()
        for of_kind in [{**{name: found[name]["by"] for name in found}, **(lost if kind == "files" else {})}]
        for name in sorted(of_kind)
    ]
    reason = f"{MANIFEST} does not know {', '.join(sorted(lost))}: what was there before is lost" if lost else None
    drifted = [*_changed_files(host, entries), *_changed_links(host, entries["kernel"]), *_changed_values(host)]
    return {"objects": objects, "unknown": sorted(lost), "drifted": drifted, "reason": reason}


def _changed_files(host: Host, entries: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, str]]:
    """Files and links that we made and that another has removed or made his own: {kind, object, by, detail}."""
    for kind in ("files", "links"):
        for path, entry in sorted(entries[kind].items()):
            edited = entry["by"] == "kernel_args" and not any(
                path == f"{folder}/{name}" for folder, name, _by in PLACES
            )
            if entry["before"] is None and not edited:
                if not host.is_file(path):
                    yield {"kind": kind, "object": path, "by": entry["by"], "detail": "it was removed"}
                elif not _begins_as_ours(host, path):
                    yield {
                        "kind": kind,
                        "object": path,
                        "by": entry["by"],
                        "detail": "it does not begin as ours any more",
                    }


def _changed_links(host: Host, entries: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """MTUs that we set in this boot and that are others by now; a link that is gone is none."""
    for path, entry in sorted(entries.items()):
        ours = entry.get("after", "").split() if entry.get("boot") == host.boot_id() else []
        found = str(host.integer(path)) if ours and host.is_file(path) else None
        if found is not None and found not in ours:
            detail = f"it was set to {ours[-1]} and is {found}"
            yield {"kind": "kernel", "object": path, "by": entry["by"], "detail": detail}


def _changed_values(host: Host) -> Iterator[dict[str, str]]:
    """Attributes of the kernel that have another value than our drop-in files give them at boot."""
    for dropin, path in _DROPINS:
        text = host.read(path) if host.is_file(path) else None
        for key, wanted in sorted(dropin.values(text or "").items()) if is_ours(text) else ():
            attribute = key if key.startswith("/") else f"/proc/sys/{key.replace('.', '/')}"
            found = (host.read(attribute) or "").strip() if host.is_file(attribute) else None
            chosen = bracketed(found or "")
            found = chosen[0] if chosen else found
            if found is not None and found != wanted:
                by = path.rpartition("bulwark-")[2].removesuffix(".conf").replace("-", "_")
                detail = f"{path} sets it to {wanted} and it is {found}"
                yield {"kind": "kernel", "object": attribute, "by": by, "detail": detail}


def _lost(host: Host, known: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(path, module) of each file that begins as ours and is not known."""
    for folder, pattern, by in PLACES:
        inner, _slash, last = pattern.rpartition("/")
        folders = [f"{folder}/{name}" for name in host.names(folder) if fnmatchcase(name, inner)] if inner else [folder]
        for path in (f"{place}/{name}" for place in folders for name in host.names(place) if fnmatchcase(name, last)):
            if path not in known and host.resolved(path) not in known and _begins_as_ours(host, path):
                yield path, by


def _begins_as_ours(host: Host, path: str) -> bool:
    try:
        return host.is_file(path) and is_ours(host.read(path))
    except BulwarkError:
        return False
