# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where kured is in a cluster, and how it was told to lock: by its command, arguments and ``KURED_*`` environment.

Sources: kured's cmd/kured/main.go (flags), internal/cli/envtoflag.go (the environment wins, since 1.18).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError
from ansible_collections.bulwark.node.plugins.module_utils.kube.client import DAEMON_SETS, Client, NotFound, Object

__all__ = ["KURED_SPEC", "Kured", "find_kured"]

KURED_SPEC: dict[str, Any] = {
    "namespace": {"type": "str"},
    "name": {"type": "str"},
    "annotation": {"type": "str"},
    "concurrency": {"type": "int"},
}

_DEFAULTS = {
    "ds-namespace": "kube-system",
    "ds-name": "kured",
    "lock-annotation": "weave.works/kured-node-lock",
    "concurrency": "1",
}
# Which option says in place of kured what a flag would.
_OPTIONS = {"lock-annotation": "annotation", "concurrency": "concurrency"}
# The flags that take no value of their own word (bool of pflag); all others do.
_SWITCHES = {"force-reboot", "alert-filter-match-only", "alert-firing-only", "annotate-nodes"}
# An annotation has 256 KiB, and each slot some 150 bytes.
_MOST = 1000
_INTEGER = re.compile(r"[+-]?[0-9]{1,9}", re.ASCII)


@dataclass(frozen=True)
class Kured:
    """The DaemonSet that has the lock, in which annotation, and how many nodes kured lets hold it at once."""

    namespace: str
    name: str
    annotation: str
    concurrency: int


def find_kured(client: Client, options: Mapping[str, Any]) -> Kured | None:
    """kured's lock; None where the cluster has no kured. ``options`` as KURED_SPEC.

    Without ``name`` it is looked for in all namespaces. Raises KubeError, BulwarkError where what was found does not tell,
    and where a DaemonSet that was named is not there.
    """
    daemon_set = _named(client, options) if options.get("name") else _search(client, options.get("namespace"))
    if daemon_set is None:
        return None
    where = _where(daemon_set)
    found: dict[str, str | None] = {**_DEFAULTS, **_flags(daemon_set)}
    if options.get("name"):
        # Where kured's own arguments cannot be read, this is the one.
        found["ds-namespace"] = found["ds-namespace"] or daemon_set["metadata"]["namespace"]
        found["ds-name"] = found["ds-name"] or daemon_set["metadata"]["name"]
    for flag, option in _OPTIONS.items():
        if options.get(option) is not None:
            found[flag] = str(options[option])
    unknown = sorted(flag for flag, value in found.items() if flag in _DEFAULTS and value is None)
    if unknown:
        raise BulwarkError(
            f"{where}: --{unknown[0]} cannot be read, for it comes from elsewhere (a ConfigMap, a Secret, a variable or a"
            " shell). Say kured.namespace and kured.name of the DaemonSet that it locks, kured.annotation or kured.concurrency"
        )
    said = {flag: str(found[flag]) for flag in _DEFAULTS}
    for flag, value in said.items():
        if not value.isprintable() or (flag == "concurrency" and not _INTEGER.fullmatch(value)):
            raise BulwarkError(f"{where}: --{flag} is {value!r}, which kured does not take")
    # With less than 1 kured locks as with 1.
    concurrency = max(1, int(said["concurrency"]))
    if concurrency > _MOST:
        raise BulwarkError(
            f"{where}: --concurrency is {concurrency}, more than the {_MOST} that an annotation holds. Take backend=lease"
        )
    return Kured(said["ds-namespace"], said["ds-name"], said["lock-annotation"], concurrency)


def _named(client: Client, options: Mapping[str, Any]) -> Object:
    namespace = options.get("namespace") or _DEFAULTS["ds-namespace"]
    try:
        return client.get(DAEMON_SETS, options["name"], namespace)
    except NotFound as error:
        error.args = (f"{error}. kured.name says that it is there",)
        raise


def _search(client: Client, namespace: str | None) -> Object | None:
    """The one DaemonSet that is kured. Raises BulwarkError where there are several."""
    found = [item for item in client.list(DAEMON_SETS, namespace) if _is_kured(item)]
    if len(found) > 1:
        names = ", ".join(sorted(_where(item) for item in found))
        raise BulwarkError(f"kured: {len(found)} DaemonSets are kured ({names}). Say kured.namespace and kured.name")
    return found[0] if found else None


def _is_kured(daemon_set: Mapping[str, Any]) -> bool:
    return daemon_set["metadata"]["name"] == "kured" or any(map(_runs_kured, _containers(daemon_set)))


def _runs_kured(container: Mapping[str, Any]) -> bool:
    command = (container.get("command") or [""])[0]
    image = re.split("[:@]", posixpath.basename(container.get("image") or ""))[0]
    return "kured" in (posixpath.basename(command), image)


def _containers(daemon_set: Mapping[str, Any]) -> list[Object]:
    return (daemon_set["spec"]["template"].get("spec") or {}).get("containers") or []


def _where(daemon_set: Mapping[str, Any]) -> str:
    metadata = daemon_set["metadata"]
    return f"DaemonSet {metadata['namespace']}/{metadata['name']}"


def _flags(daemon_set: Mapping[str, Any]) -> dict[str, str | None]:
    """kured's flags as it was given them; None where the value is said elsewhere than in the DaemonSet."""
    containers = _containers(daemon_set)
    container = next(filter(_runs_kured, containers), containers[0] if len(containers) == 1 else None)
    if container is None:
        raise BulwarkError(f"{_where(daemon_set)}: none of its containers is kured. Say kured.namespace and kured.name")
    found = _arguments([*(container.get("command") or []), *(container.get("args") or [])])
    if container.get("envFrom"):
        # It may have any of them, over the arguments.
        found.update(dict.fromkeys(_DEFAULTS))
    for variable in container.get("env") or ():
        before, _prefix, name = str(variable["name"]).partition("KURED_")
        flag = name.lower().replace("_", "-")
        if not before and flag in _DEFAULTS:
            found[flag] = None if variable.get("valueFrom") else _plain(variable.get("value") or "")
    return found


def _arguments(words: list[str]) -> dict[str, str | None]:
    """Flags of a command line as pflag takes them: ``--flag=value`` or ``--flag value``, the last one wins."""
    found: dict[str, str | None] = {}
    rest = iter(words)
    for word in rest:
        name, equals, value = word[2:].partition("=")
        if word == "--":
            break
        if not word.startswith("--"):
            # A shell's own line: what it comes to, nobody here knows.
            found.update({flag: None for flag in _DEFAULTS if f"--{flag}" in word})
        elif equals:
            found[name] = _plain(value)
        elif name not in _SWITCHES:
            found[name] = _plain(next(rest, ""))
    return found


def _plain(value: str) -> str | None:
    """A value without ``$(VARIABLE)``, which the kubelet puts another text for."""
    return None if "$(" in value else value
