# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action of settings: where bridges are set the module is told by which connection it comes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible.plugins.action import ActionBase

from ansible_collections.bulwark.node.plugins.action.settings import ActionModule

BRIDGES = {"bridges": [{"name": "br0", "mtu": 9000}]}


@pytest.mark.parametrize(
    ("transport", "arguments", "said", "expected"),
    [
        (
            "ssh",
            {"bridges": BRIDGES},
            "Welcome\n192.0.2.1 5000 192.0.2.2 22\n",
            ("192.0.2.1 5000 192.0.2.2 22", "possible"),
        ),
        ("ssh", {"bridges": BRIDGES}, "\n", (None, "possible")),
        ("ssh", {"bridges": BRIDGES}, "$(reboot)", (None, "possible")),
        ("local", {"bridges": BRIDGES}, "192.0.2.1 5000 192.0.2.2 22", (None, "none")),
        # A playbook does not answer in its place.
        ("local", {"bridges": {**BRIDGES, "fresh_connection": "possible"}}, "", (None, "none")),
        ("ssh", {"kvm": {"tun": True}}, "192.0.2.1 5000 192.0.2.2 22", None),
        ("ssh", {"bridges": None, "kvm": {"tun": True}}, "192.0.2.1 5000 192.0.2.2 22", None),
    ],
)
def test_the_module_learns_of_the_connection_where_bridges_are_set(
    monkeypatch: pytest.MonkeyPatch, transport: str, arguments: dict[str, Any], said: str, expected: Any
) -> None:
    action: Any = ActionModule.__new__(ActionModule)
    action._task = SimpleNamespace(args=arguments)
    action._connection = SimpleNamespace(transport=transport)
    asked: list[str] = []
    given: dict[str, Any] = {}
    monkeypatch.setattr(ActionBase, "run", lambda *args, **kwargs: {})

    def execute(self: Any, module_args: dict[str, Any], task_vars: Any) -> dict[str, Any]:
        given.update(module_args)
        return {"changed": False}

    def command(self: Any, text: str, sudoable: bool) -> dict[str, str]:
        asked.append(text)
        return {"stdout": said}

    monkeypatch.setattr(ActionBase, "_execute_module", execute)
    monkeypatch.setattr(ActionBase, "_low_level_execute_command", command)
    assert action.run(task_vars={}) == {"changed": False}
    if expected is None:
        assert (given, asked) == (arguments, [])
    else:
        assert (given["bridges"]["ssh_connection"], given["bridges"]["fresh_connection"]) == expected
        assert given["bridges"]["bridges"] == BRIDGES["bridges"]
        assert bool(asked) == (transport == "ssh")


@pytest.mark.parametrize("arguments", [{}, {"bridges": None}, {"kvm": {}, "rlimits": []}])
def test_where_nothing_is_asked_for_no_node_is(monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any]) -> None:
    action: Any = ActionModule.__new__(ActionModule)
    action._task = SimpleNamespace(args=arguments)
    monkeypatch.setattr(ActionBase, "run", lambda *args, **kwargs: {})
    result = action.run(task_vars={})
    assert result["failed"] is True
    assert result["msg"].startswith("settings: nothing is asked for; expected one of hugepages")
