# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a mount table may hold."""

from __future__ import annotations

from ansible_collections.bulwark.node.plugins.module_utils.node.mounts import mounts
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import Machine


def test_no_path_in_the_mount_table_forges_a_line(machine: Machine) -> None:
    found = [(mount.path, mount.fstype) for mount in mounts(machine("hostile"))]
    assert found[2:] == [
        ("/mnt/a b\nc\\d", "hugetlbfs"),
        ("/mnt/odd", "hugetlbfs"),
        ("/home/x\x0ccgroup\u2028/y", "fuse.x"),
    ]
