# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of pins: it holds for one boot and one network namespace, and what is no record says nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import bridge_pins
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import lay

BOOT = "0d5cf5c8-5b1e-4b9c-8a11-6c7d8e9f0a1b"
HERE = {"boot_id": BOOT, "netns": "net:[4026531840]"}


@pytest.fixture
def host(tree: Path) -> Host:
    files = {"/proc/sys/kernel/random/boot_id": BOOT}
    lay(tree, {"files": files, "links": {"/proc/self/ns/net": HERE["netns"]}, "folders": ["/run"]})
    return Host(str(tree))


def record(host: Host, content: Any) -> None:
    Path(f"{host.root}{bridge_pins.PINS}").write_text(content if isinstance(content, str) else json.dumps(content))


def test_pins_are_added_one_by_one(host: Host) -> None:
    assert bridge_pins.read(host) == frozenset()
    bridge_pins.add(host, 7, "br0")
    bridge_pins.add(host, 12, 'b"r\\xff')
    bridge_pins.add(host, 7, "br0")
    assert bridge_pins.read(host) == {7, 12}
    assert json.loads(host.read(bridge_pins.PINS) or "") == {**HERE, "pins": {"7": "br0", "12": 'b"r\\xff'}}
    assert host.mode_and_owner(bridge_pins.PINS) is not None
    assert (host.mode_and_owner(bridge_pins.PINS) or (0,))[0] == 0o600


@pytest.mark.parametrize("other", [{"boot_id": "another"}, {"netns": "net:[1]"}, {"netns": None}])
def test_a_record_of_another_boot_or_namespace_says_nothing_and_is_begun_anew(
    host: Host, other: dict[str, Any]
) -> None:
    record(host, {**HERE, **other, "pins": {"7": "br0"}})
    assert bridge_pins.read(host) == frozenset()
    bridge_pins.add(host, 8, "br1")
    assert bridge_pins.read(host) == {8}


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", "null", "7", "[" * 100_000, "\x00"),
        HERE,
        {**HERE, "pins": []},
        {**HERE, "pins": {"x": "br0"}},
        {**HERE, "pins": None},
        {"pins": {"7": "br0"}},
    ],
)
def test_what_is_no_record_says_nothing(host: Host, content: Any) -> None:
    record(host, content)
    assert bridge_pins.read(host) == frozenset()
    bridge_pins.add(host, 8, "br1")
    assert bridge_pins.read(host) == {8}


def test_what_was_pinned_at_boot_counts_as_well(host: Host) -> None:
    here = f"{BOOT}\n{HERE['netns']}\n"
    for name, text in {"9": here, "10": f"another\n{HERE['netns']}\n", "x": here, "11": here[:-1], "12 ": here}.items():
        Path(f"{host.root}{bridge_pins.AT_BOOT}{name}").write_text(text)
    bridge_pins.add(host, 7, "br0")
    assert bridge_pins.read(host) == {7, 9}
