# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The subset image_fs on this very machine, beside df(1) and stat(1): file systems are mounted for it in a namespace of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .conftest import Module

STORE = "/var/lib/docker"
# All of it ends with the namespace. One more mount has a name that a reader of lines stumbles over.
PREPARE = """
mount -t tmpfs tmpfs /var/lib
mkdir -p {store} "/var/lib/a
b - c"
mount -t tmpfs tmpfs "/var/lib/a
b - c"
{mount}
df --block-size=1 --output=source,fstype,size,avail,itotal,iavail,target {store} > {said}
stat --file-system --format='%S %b %a %c %d' {store} >> {said}
"""


def gathered(module: Module, said: Path, mount: str) -> tuple[dict[str, Any], list[str], list[int]]:
    """Our entry, the row of df, and the numbers of stat, all of one mount."""
    prepare = PREPARE.format(store=STORE, mount=mount, said=said)
    facts = module("node_facts", {"gather_subset": ["image_fs"]}, inside=prepare)["ansible_facts"]["bulwark"]
    assert facts["errors"] == []
    (entry,) = [entry for entry in facts["image_fs"] if entry["path"] == STORE]
    row, numbers = said.read_text().splitlines()[1:]
    return entry, row.split(), [int(number) for number in numbers.split()]


@pytest.mark.usefixtures("kernel")
def test_a_file_system_of_its_own_is_as_df_and_stat_say(module: Module, tmp_path: Path) -> None:
    mount = f"mount -t tmpfs -o size=64m,nr_inodes=1000 one {STORE}\nhead -c 20000001 /dev/zero > {STORE}/layer"
    entry, row, (size, blocks, available, inodes, free) = gathered(module, tmp_path / "said", mount)
    keys = ("device", "fstype", "capacity_bytes", "available_bytes", "inodes", "inodes_free", "mountpoint")
    assert [str(entry[key]) for key in keys] == row
    assert (entry["capacity_bytes"], entry["available_bytes"]) == (size * blocks, size * available)
    assert (entry["inodes"], entry["inodes_free"]) == (inodes, free)
    # 100 - int(available * 100 / capacity): 20 of 64 MiB, counted up.
    assert entry["gc_percent"] == 30
    assert (entry["runtime"], entry["current"], entry["used_bytes"]) == (None, False, None)


@pytest.mark.usefixtures("kernel")
def test_a_folder_of_the_machines_own_disk_is_as_df_says(module: Module, tmp_path: Path) -> None:
    entry, row = gathered(module, tmp_path / "said", f"mount --bind /usr {STORE}")[:2]
    assert [entry[key] for key in ("device", "fstype", "mountpoint")] == [row[0], row[1], row[6]]
    assert str(entry["capacity_bytes"]) == row[2]
    # The disk is in use meanwhile.
    assert entry["available_bytes"] == pytest.approx(int(row[3]), rel=0.02)
    assert str(entry["inodes"] or 0) == row[4]


def test_a_machine_without_images_has_no_entry(module: Module) -> None:
    stores = (
        "/var/lib/containerd",
        "/var/lib/containers/storage",
        STORE,
        "/var/lib/rancher",
        "/var/snap/microk8s",
        "/var/lib/k0s",
    )
    if any(Path(store).exists() for store in stores):
        pytest.skip("hardware: this machine has images of containers")
    assert module("node_facts", {"gather_subset": ["image_fs"]})["ansible_facts"]["bulwark"]["image_fs"] == []
