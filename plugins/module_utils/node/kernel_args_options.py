# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of kernel_args: groups of arguments that every boot loader carries to the kernel as they are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.converge import Params
from ansible_collections.bulwark.node.plugins.module_utils.errors import OptionError
from ansible_collections.bulwark.node.plugins.module_utils.node import kernel_cmdline
from ansible_collections.bulwark.node.plugins.module_utils.node.kernel_cmdline import SIZES, Group, key
from ansible_collections.bulwark.node.plugins.module_utils.node.redact import redacted
from ansible_collections.bulwark.node.plugins.module_utils.units import size_option

__all__ = ["ARGUMENT_SPEC", "Desired", "parse"]

ARGUMENT_SPEC: dict[str, Any] = {
    "arguments": {"type": "list", "elements": "str"},
    "memory_reserve": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}

# Not "$", "`", a backslash or "'" anywhere: a shell, GRUB's own and echo(1) of kernel-install read these on their way.
_PLAIN = r"[A-Za-z0-9!%()*+,./:=?@\[\]^_~-]"
_QUOTED = r'"[A-Za-z0-9!%()*+,./:=?@\[\]^_~ #&;<>{|}-]*"'
_ARGUMENT = re.compile(rf"(?!-|=){_PLAIN}+|[A-Za-z0-9_.-]+={_QUOTED}")
_WORD = re.compile(r'(?:[^ "]|"[^"]*(?:"|$))+')
_EXPECTED = (
    "arguments of letters, digits and !%()*+,./:=?@[]^_~-, such as isolcpus=2-7, and in double quotes after name= also of spaces and #&;<>{|}; "
    "not every boot loader carries others to the kernel unchanged"
)
_PAGES = re.compile(r"hugepages=(?:[0-9]{1,12}|[0-9]{1,4}:[0-9]{1,12}(?:,[0-9]{1,4}:[0-9]{1,12})*)")


@dataclass(frozen=True)
class Desired:
    """The groups in the order of the option. With ``present`` false they go, and without groups all that was ever set.

    ``memory_reserve`` in bytes, None for the default.
    """

    groups: tuple[Group, ...]
    present: bool
    memory_reserve: int | None = None

    @property
    def everything(self) -> bool:
        """Whether all goes back."""
        return not self.groups


def parse(params: Params) -> Desired:
    """The options, checked against each other. Raises OptionError."""
    present = params["state"] == "present"
    values: Sequence[str] | None = params["arguments"]
    if values is not None and not values:
        raise OptionError("arguments", values, "at least one argument" + ("" if present else ", or no list at all"))
    if present and values is None:
        raise OptionError("arguments", None, "a list of arguments")
    groups = tuple(_group(f"arguments[{index}]", value, present) for index, value in enumerate(values or ()))
    _refuse_rivals(groups, values or ())
    reserve = params["memory_reserve"]
    return Desired(groups, present, None if reserve is None else size_option("memory_reserve", reserve))


def _group(option: str, value: str, present: bool) -> Group:
    words = _WORD.findall(value)
    if not words or not all(_ARGUMENT.fullmatch(word) for word in words) or value.strip(" ") != value:
        if "--" in words:
            raise _refused(option, value, "no --: what follows it is for init, not for the kernel")
        raise _refused(option, value, _EXPECTED)
    group = kernel_cmdline.split(value)
    sized = False
    for argument in group:
        name, equals = argument.partition("=")[:2]
        if kernel_cmdline.ROOTS.fullmatch(key(name)):
            raise _refused(
                option,
                value,
                f"an argument that a boot can do without: by {name} the machine finds its root file system. Change it by hand, in "
                "/etc/default/grub (then update-grub) or /etc/kernel/cmdline (then kernel-install add), with another entry to boot from",
            )
        if key(name) in SIZES:
            sized = True
            if (equals or present) and not isinstance(kernel_cmdline.size_of(argument), int):
                raise _refused(option, value, f"a size in {name}=, such as 1G")
        elif key(name) == "hugepages":
            if not sized:
                raise _refused(
                    option,
                    value,
                    f"hugepagesz=SIZE before {argument} in the same group: it counts for the size before it",
                )
            if not _PAGES.fullmatch(argument):
                raise _refused(option, value, "hugepages=COUNT, or hugepages=NODE:COUNT,…")
    return group


def _refused(option: str, value: str, expected: str) -> OptionError:
    """The error with the value up to its first secret: in what is refused nothing tells where that ends."""
    words = _WORD.findall(value)
    shown = redacted(words)
    secret = next((i for i, word in enumerate(words) if shown[i] != word), None)
    return OptionError(option, value if secret is None else " ".join(shown[: secret + 1]), expected)


def _refuse_rivals(groups: Sequence[Group], values: Sequence[str]) -> None:
    """Two arguments of one call must not replace each other."""
    seen: dict[tuple[str, object], int] = {}
    for index, group in enumerate(groups):
        for argument in group:
            name = key(argument)
            if name not in SIZES and not kernel_cmdline.is_single(name):
                continue
            identity = (name, kernel_cmdline.size_of(argument) if name == "hugepagesz" else None)
            if identity in seen:
                raise _refused(
                    f"arguments[{index}]", values[index], f"no {name} beside that of arguments[{seen[identity]}]"
                )
            seen[identity] = index
    if len(set(groups)) < len(groups):
        index = next(i for i, group in enumerate(groups) if group in groups[:i])
        raise _refused(f"arguments[{index}]", values[index], "each group once")
