# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the three kinds of PATCH make of an object, as kube-apiserver does them."""

from __future__ import annotations

import copy
from typing import Any

__all__ = ["PatchError", "json_patch", "merge", "strategic"]

# patchMergeKey of the lists in k8s.io/api/core/v1; a list that is not here is replaced (taints are).
_MERGE_KEYS = {
    "addresses": "type",
    "conditions": "type",
    "containers": "name",
    "initContainers": "name",
    "ownerReferences": "uid",
}


class PatchError(Exception):
    """The patch does not fit the object."""


def merge(target: Any, patch: Any) -> Any:
    """RFC 7386: null takes a key away, a list is replaced."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def strategic(target: Any, patch: Any) -> Any:
    """As ``merge``, but lists with a merge key and the finalizers are merged; ``$patch: delete | replace`` are known."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    if patch.get("$patch") == "replace":
        return {key: copy.deepcopy(value) for key, value in patch.items() if key != "$patch"}
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif key in _MERGE_KEYS and isinstance(value, list):
            result[key] = _merge_list(result.get(key) or [], value, _MERGE_KEYS[key])
        elif key == "finalizers":
            result[key] = list(dict.fromkeys([*(result.get(key) or []), *value]))
        else:
            result[key] = strategic(result.get(key), value)
    return result


def _merge_list(target: list[Any], patch: list[Any], key: str) -> list[Any]:
    result = list(target)
    for item in patch:
        places = [place for place, old in enumerate(result) if old.get(key) == item.get(key)]
        if item.get("$patch") == "delete":
            result = [old for place, old in enumerate(result) if place not in places]
        elif places:
            result[places[0]] = strategic(result[places[0]], item)
        else:
            result.append(copy.deepcopy(item))
    return result


def json_patch(target: Any, operations: list[dict[str, Any]]) -> Any:
    """RFC 6902: add, remove, replace and test. Raises PatchError where a path is missing or a test fails."""
    document = {"": copy.deepcopy(target)}
    for operation in operations:
        steps = ["", *(part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:])]
        parent: Any = document
        for step in steps[:-1]:
            parent = _child(parent, step)
        _apply(operation, parent, steps[-1])
    return document[""]


def _child(parent: Any, step: str) -> Any:
    try:
        return parent[int(step)] if isinstance(parent, list) else parent[step]
    except (KeyError, IndexError, ValueError, TypeError):
        raise PatchError(step) from None


def _apply(operation: dict[str, Any], parent: Any, step: str) -> None:
    kind = operation["op"]
    if kind == "add" and isinstance(parent, list):
        parent.insert(len(parent) if step == "-" else int(step), operation["value"])
        return
    if kind == "add":
        parent[step] = operation["value"]
        return
    found = _child(parent, step)
    place: Any = int(step) if isinstance(parent, list) else step
    if kind == "remove":
        del parent[place]
    elif kind == "replace":
        parent[place] = operation["value"]
    elif kind != "test" or found != operation["value"]:
        raise PatchError(step)
