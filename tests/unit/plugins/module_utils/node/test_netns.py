# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a run sees the machine's own network: PID 1 and we share a namespace."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import netns
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import lay

ONE, OTHER = "net:[4026531840]", "net:[4026532177]"


@pytest.mark.parametrize(
    ("links", "foreign"),
    [
        ({"1": ONE, "self": ONE}, False),
        ({"1": ONE, "self": OTHER}, True),
        # A tree that was captured without them.
        ({"self": OTHER}, False),
        ({}, False),
    ],
)
def test_a_namespace_is_foreign_where_both_are_seen_and_differ(
    tree: Path, links: dict[str, str], foreign: bool
) -> None:
    lay(tree, {"files": {}, "links": {f"/proc/{pid}/ns/net": to for pid, to in links.items()}, "folders": []})
    assert netns.foreign(Host(root=str(tree))) is foreign


def test_what_may_not_be_seen_is_not_taken_for_another(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(host: Host, path: str) -> str | None:
        raise HostError(path, "cannot read the symlink: EACCES (Permission denied)", "EACCES")

    monkeypatch.setattr(Host, "link_target", refuse)
    assert netns.foreign(Host(root=str(tree))) is False
