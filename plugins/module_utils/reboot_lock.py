# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock of reboots as the options of a module say it: which backend it is, and who claims it."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError, OptionError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.kube import client as kube
from ansible_collections.bulwark.node.plugins.module_utils.kube.connection import is_configured
from ansible_collections.bulwark.node.plugins.module_utils.kube.kured import KURED_SPEC, find_kured
from ansible_collections.bulwark.node.plugins.module_utils.kube.lock_store import KuredStore, LeaseStore
from ansible_collections.bulwark.node.plugins.module_utils.reboot.lock import (
    GONE,
    Claim,
    Lock,
    Outcome,
    Store,
    holders,
    unreadable,
)
from ansible_collections.bulwark.node.plugins.module_utils.reboot.lock_file import FileStore
from ansible_collections.bulwark.node.plugins.module_utils.reboot.lock_value import decode, identity
from ansible_collections.bulwark.node.plugins.module_utils.reboot.run_id import check_run_id

__all__ = ["CLAIM_SPEC", "STORE_SPEC", "check_node", "look", "open_lock", "open_store", "result_of"]

STORE_SPEC: dict[str, Any] = {
    "backend": {"type": "str", "choices": ["auto", "kured", "lease", "file"], "default": "auto"},
    "kured": {"type": "dict", "apply_defaults": True, "options": KURED_SPEC},
    "lease": {
        "type": "dict",
        "apply_defaults": True,
        "options": {
            "namespace": {"type": "str", "default": "kube-system"},
            "name": {"type": "str", "default": "bulwark-reboot"},
        },
    },
    "path": {"type": "path", "default": "/var/lib/bulwark/reboot-lock.json"},
    **kube.ARGUMENT_SPEC,
}
CLAIM_SPEC: dict[str, Any] = {
    "node": {"type": "str", "required": True},
    "run_id": {"type": "str", "required": True},
    "ttl": {"type": "int", "default": 300},
    "concurrency": {"type": "int"},
    "takeover": {"type": "bool", "default": False},
    "force": {"type": "bool", "default": False},
}

_WEEK = 604800
# Shorter, and a slow API server alone would lose it.
_SHORTEST = 10
_MOST = 1000
# No colon in the run: the id of a holder is split at them.
_NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,252}", re.ASCII)


def open_lock(params: Mapping[str, Any], host: Host) -> Lock:
    """The lock that the options of both specs say. Raises OptionError, BulwarkError, KubeError."""
    claim = _claim(params)
    store = open_store(params, host)
    limit = params["concurrency"] or store.owners or 1
    if store.owners is not None and limit > store.owners:
        raise OptionError(
            "concurrency", limit, f"at most {store.owners}, which is kured's: raise its --concurrency first"
        )
    return Lock(store, replace(claim, limit=limit))


def check_node(lock: Lock) -> None:
    """Raise OptionError where the claim's node is none of the cluster.

    Under a name that is no Node's, such as a host's full one, nobody could tell that the node is cordoned or down: what
    had ended would be taken over while it is.
    """
    node = lock.claim.node
    if lock.store.state(node) == GONE:
        raise OptionError("node", node, "the name of a Node of this cluster; hosts outside of one take backend=file")


def open_store(params: Mapping[str, Any], host: Host) -> Store:
    """Where the lock is kept. ``auto`` asks: what it could not ask is an error, never a no. Raises as ``open_lock``."""
    if not posixpath.isabs(params["path"]):
        raise OptionError("path", params["path"], "an absolute path")
    said = params["kured"]["concurrency"]
    if said is not None and said < 1:
        raise OptionError("kured.concurrency", said, "a number from 1")
    backend = params["backend"]
    if backend == "file" or (backend == "auto" and not is_configured(params)):
        return FileStore(host, params["path"])
    client = kube.connect(params)
    if backend != "lease":
        kured = find_kured(client, params["kured"])
        if kured is not None:
            return KuredStore(client, kured)
        if backend == "kured":
            where = params["kured"]["namespace"]
            raise BulwarkError(
                f"kured: no DaemonSet {f'in namespace {where}' if where else 'of the cluster'} is kured. Say kured.name, or"
                " take backend=lease"
            )
    return LeaseStore(client, params["lease"]["namespace"], params["lease"]["name"])


def result_of(lock: Lock, outcome: Outcome) -> dict[str, Any]:
    """The result of the module reboot_lock; nothing was changed where the lock was refused."""
    problem = None if outcome.after.broken else outcome.before.problem
    return {
        "changed": outcome.changed,
        "held": outcome.held,
        "renewed": outcome.renewed,
        "reason": outcome.after.reason or (problem and unreadable(problem)),
        "holders": holders(outcome.after.entries, outcome.now, lock.claim.run),
        "taken_over": [entry.id for entry in outcome.after.dropped],
        "concurrency": lock.claim.limit,
        "backend": lock.store.backend,
        "place": lock.store.place,
    }


def look(params: Mapping[str, Any], host: Host) -> dict[str, Any]:
    """The result of the module reboot_lock_info. Raises as ``open_lock``."""
    store = open_store(params, host)
    sight = store.look()
    value = decode(sight.text, single=store.owners == 1)
    run, node = params["run_id"], params["node"]
    live = [entry.id for entry in value.entries if not entry.expired(sight.now)]
    known = value.problem is None
    return {
        "held": identity(run, node) in live if known and run and node else None,
        "reason": unreadable(value.problem) if value.problem is not None else None,
        "holders": holders(value.entries, sight.now, run) if known else None,
        "concurrency": store.owners,
        "backend": store.backend,
        "place": store.place,
    }


def _claim(params: Mapping[str, Any]) -> Claim:
    """Who asks, for as many as 1 where that is not said. Raises OptionError."""
    run = check_run_id(params["run_id"])
    if not _NODE.fullmatch(params["node"]):
        raise OptionError("node", params["node"], "the name of a node: letters, digits, '.', '_', ':' and '-'")
    if not _SHORTEST <= params["ttl"] <= _WEEK:
        raise OptionError("ttl", params["ttl"], f"seconds, from {_SHORTEST} to {_WEEK} (a week)")
    limit = params["concurrency"]
    if limit is not None and not 1 <= limit <= _MOST:
        raise OptionError("concurrency", limit, f"a number from 1 to {_MOST}")
    return Claim(run, params["node"], params["ttl"], limit or 1, params["takeover"], params["force"])
