# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text of nodes, clusters and APIs, which becomes variables, and must be no template there.

What a module returns Ansible marks by itself. What a plugin on the controller makes of it is new text, and has no mark.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible import template

__all__ = ["text_only"]


def text_only(value: Any) -> Any:
    """A value whose strings no core takes for templates: from 2.19 on none is that does not come from who writes playbooks."""
    if hasattr(template, "trust_as_template"):
        return value
    return _marked(value)


def _marked(value: Any) -> Any:
    # Not with the import of all: the name goes with a later core.
    from ansible.utils.unsafe_proxy import wrap_var

    if isinstance(value, Mapping):
        return {_marked(key): _marked(each) for key, each in value.items()}
    if isinstance(value, list):
        return list(map(_marked, value))
    # A template has a brace. To mark all would have `ansible-inventory --list` show each string as an object.
    return wrap_var(value) if isinstance(value, str) and "{" in value else value
