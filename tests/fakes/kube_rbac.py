# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What manifests of RBAC allow to whom, as the fake API server takes it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ansible_collections.bulwark.node.tests.fakes.kube_rules import Object

__all__ = ["bound"]


def bound(manifests: Iterable[Object]) -> dict[str, list[Object]]:
    """The rules of each service account, by its name as a user; those of a RoleBinding hold in its namespace alone."""
    documents = list(manifests)
    roles = {_key(each): each["rules"] for each in documents if each["kind"] in ("Role", "ClusterRole")}
    found: dict[str, list[Object]] = {}
    for binding in documents:
        if binding["kind"] not in ("RoleBinding", "ClusterRoleBinding"):
            continue
        namespace = binding["metadata"].get("namespace")
        reference = binding["roleRef"]
        key = reference["kind"], namespace if reference["kind"] == "Role" else None, reference["name"]
        scope: dict[str, Any] = {"namespace": namespace} if namespace else {}
        for subject in binding["subjects"]:
            user = f"system:serviceaccount:{subject['namespace']}:{subject['name']}"
            found.setdefault(user, []).extend({**rule, **scope} for rule in roles[key])
    return found


def _key(role: Object) -> tuple[str, str | None, str]:
    return role["kind"], role["metadata"].get("namespace"), role["metadata"]["name"]
