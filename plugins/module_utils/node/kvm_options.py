# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of the module ``kvm``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.converge import Params
from ansible_collections.bulwark.node.plugins.module_utils.errors import OptionError

__all__ = ["ARGUMENT_SPEC", "EXTRA", "Desired", "desired"]

EXTRA = ("vhost_net", "vhost_vsock", "tun")
"""The modules that have an option of their own name."""
_DEVICE = ("owner", "group", "mode")
_PROBES = ("passive", "active")

ARGUMENT_SPEC: dict[str, Any] = {
    **{name: {"type": "bool"} for name in EXTRA},
    "nested": {"type": "bool"},
    "reload": {"type": "bool", "default": False},
    "device": {"type": "dict", "options": {name: {"type": "str"} for name in _DEVICE}},
    "users": {"type": "list", "elements": "str"},
    "require": {"type": "str", "choices": ["qemu", "kubevirt", "passthrough"]},
    "probe": {"type": "str", "choices": list(_PROBES)},
    "persist": {"type": "bool", "default": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}
# useradd(8), and what directories add to it; neither an option of a command nor a field of a file.
_NAME = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.@\\-]{0,255}\$?")


@dataclass(frozen=True)
class Desired:
    """What is asked for; None leaves alone. ``modules``: by name, whether it is to be loaded. ``active``: KVM is tried out."""

    modules: Mapping[str, bool]
    nested: bool | None
    reload: bool
    owner: str | None
    group: str | None
    mode: int | None
    users: tuple[str, ...]
    require: str | None
    active: bool
    persist: bool
    present: bool

    @property
    def device(self) -> dict[str, str]:
        """What is asked for of the device."""
        wanted = {"owner": self.owner, "group": self.group, "mode": None if self.mode is None else f"{self.mode:04o}"}
        return {key: value for key, value in wanted.items() if value is not None}


def desired(params: Params) -> Desired:
    """The options, checked against each other; raises OptionError."""
    device: Mapping[str, str | None] = params["device"] or {}
    modules = {name: params[name] for name in EXTRA if params[name] is not None}
    present = params["state"] == "present"
    if not present:
        for name in (*EXTRA, "nested", "device", "users", "require"):
            if params[name] is not None:
                raise OptionError(name, params[name], "no value beside state absent: all that was set goes back")
    if params["device"] is not None and not any(device.values()):
        raise OptionError("device", params["device"], "owner, group or mode")
    mode = device.get("mode")
    if mode is not None and not re.fullmatch(r"0[0-7]{3}", mode, re.ASCII):
        raise OptionError("device.mode", mode, "four octal digits in quotes, such as '0660'")
    for option, name in (
        *((f"device.{key}", device.get(key)) for key in ("owner", "group")),
        *((f"users[{index}]", name) for index, name in enumerate(params["users"] or ())),
    ):
        if name is not None and not _NAME.fullmatch(name):
            raise OptionError(option, name, "a name")
    if params["reload"] and params["nested"] is None:
        raise OptionError("nested", None, "a value, for that is what a reload is for")
    return Desired(
        modules=modules,
        nested=params["nested"],
        reload=params["reload"],
        owner=device.get("owner"),
        group=device.get("group"),
        mode=int(mode, 8) if mode else None,
        users=tuple(dict.fromkeys(params["users"] or ())),
        require=params["require"],
        # Asking for it is asking for the proof.
        active=(params["probe"] or ("active" if params["require"] else "passive")) == "active",
        persist=params["persist"],
        present=present,
    )
