# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mount units and mounts of the sizes that systemd leaves alone."""

from __future__ import annotations

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.converge import Change, Undos
from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Completed, Host
from ansible_collections.bulwark.node.plugins.module_utils.manifest import Manifest
from ansible_collections.bulwark.node.plugins.module_utils.node import hugetlbfs, mounts
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import Machine, different, snapshot

GIB = 1 << 30
PATH = "/dev/hugepages1G"
UNIT = "/etc/systemd/system/dev-hugepages1G.mount"
LINK = "/etc/systemd/system/sysinit.target.wants/dev-hugepages1G.mount"
# The folders of a manifest that is gone again.
MADE = {"/var", "/var/lib"}
UP, DOWN = Change("mount", PATH, None, "1G"), Change("mount", PATH, "1G", None)


def observed(host: Host) -> hugetlbfs.Units:
    return hugetlbfs.observe(host, Manifest(host, "hugepages").entries(), [GIB])


def planned(units: hugetlbfs.Units, present: bool, mounted: list[str]) -> list[tuple[str, str]]:
    return [(change.kind, change.target) for change in units.plan({GIB: present}, {GIB: mounted})]


def test_only_what_is_missing_is_planned(machine: Machine) -> None:
    bare = observed(machine("cgroup-v2-systemd"))
    assert planned(bare, True, []) == [("mount", PATH), ("file", UNIT), ("link", LINK)]
    assert planned(bare, True, [PATH]) == [("file", UNIT), ("link", LINK)]
    assert planned(bare, True, ["/mnt/other"]) == []
    assert planned(bare, False, [PATH]) == []
    full = bare.predict(bare.plan({GIB: True}, {}))
    assert planned(full, True, [PATH]) == []
    assert planned(full, False, [PATH]) == [("mount", PATH), ("link", LINK), ("file", UNIT)]
    assert planned(full, False, []) == [("link", LINK), ("file", UNIT)]


def test_a_unit_of_ours_that_was_edited_is_written_again_and_a_foreign_one_is_not(machine: Machine) -> None:
    ours = "# Written by the bulwark.node collection.\n[Mount]\nOptions=pagesize=2M"
    assert planned(observed(machine("cgroup-v2-systemd", {UNIT: ours})), True, [PATH]) == [
        ("file", UNIT),
        ("link", LINK),
    ]
    assert planned(observed(machine("cgroup-v2-systemd", {UNIT: "[Mount]"})), True, [PATH]) == []


def test_what_the_manifest_knows_is_taken_back_also_where_our_unit_is_gone(machine: Machine) -> None:
    host = machine("cgroup-v2-systemd")
    manifest, before = Manifest(host, "hugepages"), snapshot(host)
    hugetlbfs.apply(host, manifest, UP, Undos())
    assert list(manifest.entries()["mounts"]) == [PATH]
    manifest.link(LINK, "../dev-hugepages1G.mount", Undos())
    assert planned(observed(host), False, [PATH]) == [("mount", PATH), ("link", LINK)]
    # By now somebody else's unit, whose link it is.
    host.replace(UNIT, b"[Mount]\n")
    assert planned(observed(host), False, [PATH]) == [("mount", PATH)]
    host.remove(UNIT)
    manifest.link(LINK, None, Undos())
    hugetlbfs.apply(host, manifest, DOWN, Undos())
    assert different(before, snapshot(host)) <= MADE


def test_mounting_and_its_undo_leave_no_trace(machine: Machine) -> None:
    host = machine("cgroup-v2-systemd")
    before, undos = snapshot(host), Undos()
    hugetlbfs.apply(host, Manifest(host, "hugepages"), UP, undos)
    assert [mount.path for mount in mounts.mounts(host)][-1] == PATH
    assert {failure for _dummy, failure in undos.run()} == {None}
    assert different(before, snapshot(host)) <= MADE
    assert host.commands == [
        ["mount", "-t", "hugetlbfs", "-o", "pagesize=1G,nosuid,nodev", "hugetlbfs", PATH],
        ["umount", PATH],
    ]


def test_a_folder_that_was_there_before_stays_when_the_mount_is_undone(machine: Machine) -> None:
    host = machine("cgroup-v2-systemd")
    host.make_folder(PATH)
    before, undos = snapshot(host), Undos()
    hugetlbfs.apply(host, Manifest(host, "hugepages"), UP, undos)
    list(undos.run())
    assert different(before, snapshot(host)) <= MADE


def test_unmounting_is_undone_by_mounting_again(machine: Machine) -> None:
    host = machine("cgroup-v2-systemd")
    hugetlbfs.apply(host, Manifest(host, "hugepages"), UP, Undos())
    before, undos = snapshot(host), Undos()
    hugetlbfs.apply(host, Manifest(host, "hugepages"), DOWN, undos)
    assert not host.exists(PATH)
    assert {failure for _dummy, failure in undos.run()} == {None}
    assert snapshot(host) == before


@pytest.mark.parametrize("change", [UP, DOWN])
def test_a_refusal_of_mount_is_told_in_its_own_words(machine: Machine, change: Change) -> None:
    tree = machine("cgroup-v2-systemd")
    if change is DOWN:
        hugetlbfs.apply(tree, Manifest(tree, "hugepages"), UP, Undos())
    host = Host(tree.root, run=lambda command: Completed(32, "", "permission denied."))
    before, undos = snapshot(host), Undos()
    with pytest.raises(HostError, match="returned 32 and said: permission denied"):
        hugetlbfs.apply(host, Manifest(host, "hugepages"), change, undos)
    list(undos.run())
    assert different(before, snapshot(host)) <= MADE
