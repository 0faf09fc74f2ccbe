# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way back of links that the kernel changes with those that we set, and does not change back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ansible_collections.bulwark.node.plugins.module_utils.converge import Undos
from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.manifest import Manifest
from ansible_collections.bulwark.node.plugins.module_utils.node import (
    bridge_mtu_firsts,
    bridge_mtu_plan,
    links,
)
from ansible_collections.bulwark.node.plugins.module_utils.node.bridge_mtu_firsts import First
from ansible_collections.bulwark.node.plugins.module_utils.node.bridge_mtu_plan import Goal
from ansible_collections.bulwark.node.plugins.module_utils.node.links import Link

__all__ = ["keep", "last"]


def last(found: Sequence[Link], goals: Mapping[int, Goal], drawn: Mapping[int, Goal]) -> list[Link]:
    """What must be set last where all goes back: with what it hangs on it gets the MTU of that. A bridge goes back by its ports."""
    changed = [goal.link for goal in (*goals.values(), *drawn.values()) if goal.link.mtu != goal.mtu]
    below = bridge_mtu_plan.hanging(found, [*goals, *drawn])
    return [link for link in below if link in changed and bridge_mtu_plan.given(found, link)]


def keep(
    host: Host,
    manifest: Manifest | None,
    found: Sequence[Link],
    goals: Mapping[int, Goal],
    drawn: Mapping[int, Goal],
    known: Mapping[str, First],
    undos: Undos,
) -> None:
    """Push the undo of what hangs on the links, and record what is ``drawn`` and does not go back by itself.

    To be called before the first link is set, so that it comes last. ``known`` are the MTUs from before us; without a
    ``manifest`` nothing is recorded. Raises HostError.
    """
    below = bridge_mtu_plan.hanging(found, [*goals, *drawn])
    late = last(found, goals, drawn)

    def put_back() -> None:
        now = {link.index: link.mtu for link in links.observe(host)}
        left = []
        for link in below:
            mtu = now.get(link.index, link.mtu) or 0
            # What is larger than it was, and takes nobody's MTU, was made so by somebody else.
            if mtu != link.mtu and (link in late or mtu < (link.mtu or 0)):
                try:
                    links.set_mtu(host, link, link.mtu or 0)
                except BulwarkError as error:
                    left.append(str(error))
        if left:
            raise BulwarkError("; ".join(left))

    if below:
        undos.push("what stands on the links", put_back)
    for link in late:
        if manifest and link.index in drawn:
            _record(host, manifest, link, drawn[link.index].mtu, known, put_back, undos)


def _record(
    host: Host,
    manifest: Manifest,
    link: Link,
    mtu: int,
    known: Mapping[str, First],
    put_back: Callable[[], None],
    undos: Undos,
) -> None:
    noted = bridge_mtu_firsts.noted(known.get(link.name), link.mtu, mtu, host.boot_id())
    path = bridge_mtu_firsts.path(link.name)
    # The kernel makes the change later, with that of another link.
    manifest.change(
        "kernel",
        [path],
        lambda dummy: str(links.read_mtu(host, link.index)),
        lambda: None,
        put_back,
        undos,
        more=noted,
        keep=True,
    )
