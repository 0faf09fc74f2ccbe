# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The subset image_fs: where images lie, on which mount, and how full it is as the kubelet counts."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.host import Completed, Host
from ansible_collections.bulwark.node.plugins.module_utils.node import image_fs
from ansible_collections.bulwark.node.plugins.module_utils.node.request import Request
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import Machine

SNAPSHOTTER = "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs"
PASSIVE = "asked of the runtime itself only with probe active"


def filesystem(blocks: int, free: int, available: int, inodes: int = 1000, size: int = 4096) -> os.statvfs_result:
    return os.statvfs_result((1 << 20, size, blocks, free, available, inodes, inodes // 2, inodes // 3, 0, 255))


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        # What root alone may use is not available, and the percentage is that of the kubelet, not of df.
        (filesystem(1000, 300, 250), (4096000, 1024000, 1000, 500, 75)),
        (filesystem(1000, 1000, 1000), (4096000, 4096000, 1000, 500, 0)),
        (filesystem(3, 1, 1), (12288, 4096, 1000, 500, 67)),
        (filesystem(1000, 0, 0), (4096000, 0, 1000, 500, 100)),
        (filesystem(1000, 300, 250, inodes=0), (4096000, 1024000, None, None, 75)),  # btrfs
        (filesystem(0, 0, 0), (0, 0, 1000, 500, None)),
        (filesystem(1 << 45, 1 << 44, 1 << 44), (1 << 57, 1 << 56, 1000, 500, 50)),
    ],
)
def test_sizes_are_those_of_statvfs(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, status: os.statvfs_result, expected: tuple[Any, ...]
) -> None:
    host = machine("kubeadm-containerd")
    monkeypatch.setattr(host, "statvfs", lambda path: status if path == SNAPSHOTTER else None)
    (entry,) = image_fs.facts(host)
    assert expected == tuple(
        entry[key] for key in ("capacity_bytes", "available_bytes", "inodes", "inodes_free", "gc_percent")
    )


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        ("kubeadm-containerd", [("containerd", True, SNAPSHOTTER, "/var/lib/containerd", "/dev/disk one", "ext4")]),
        ("k3s-dropins", [("containerd", True, "/var/lib/rancher/k3s/agent/containerd", "/", "/dev/vda1", "ext4")]),
        ("el9-crio", [("cri-o", True, "/var/lib/containers/storage", "/", "/dev/mapper/rhel-root", "xfs")]),
        ("no-hugepages", []),
    ],
)
def test_each_store_is_named_with_its_mount(machine: Machine, tree: str, expected: list[tuple[Any, ...]]) -> None:
    entries = image_fs.facts(machine(tree))
    keys = ("runtime", "current", "path", "mountpoint", "device", "fstype")
    assert [tuple(entry[key] for key in keys) for entry in entries] == expected
    assert all((entry["used_bytes"], entry["reason"]) == (None, PASSIVE) for entry in entries)


def test_what_another_runtime_left_takes_space_too(machine: Machine) -> None:
    host = machine("kubeadm-containerd")
    Path(host.root, "var/lib/docker").mkdir()
    current, left = image_fs.facts(host)
    assert current["current"]
    assert (left["runtime"], left["current"], left["path"], left["mountpoint"]) == (
        None,
        False,
        "/var/lib/docker",
        "/var",
    )
    assert left["reason"] == "only the current runtime can be asked"


def test_a_symlink_is_followed_to_the_mount_that_really_holds_the_images(machine: Machine) -> None:
    mounts = "/dev/vda1 / ext4 rw 0 0\n/dev/vdb /data xfs rw 0 0"
    host = machine("el9-crio", {"/proc/mounts": mounts}, without=["/var/lib/containers/storage"])
    store = Path(host.root, "var/lib/containers/storage")
    store.rmdir()
    Path(host.root, "data/images").mkdir(parents=True)
    store.symlink_to("/data/images")
    (entry,) = image_fs.facts(host)
    assert (entry["path"], entry["mountpoint"], entry["device"]) == ("/data/images", "/data", "/dev/vdb")


@pytest.mark.parametrize(
    ("mounts", "expected"),
    [
        # The last one at a place covers the others; a name that only begins so is another folder.
        ("a / ext4 rw 0 0\nb /var ext4 rw 0 0\nc /var xfs rw 0 0", ("/var", "c")),
        ("a / ext4 rw 0 0\nb /var/lib/containers/stor ext4 rw 0 0", ("/", "a")),
        ("nonsense", (None, None)),
        ("x /var\\012 ext4 rw 0 0\n\\134a / ext4 rw 0 0", ("/", "\\a")),
        ("", (None, None)),
    ],
)
def test_the_mount_is_the_nearest_one_above(machine: Machine, mounts: str, expected: tuple[Any, ...]) -> None:
    (entry,) = image_fs.facts(machine("el9-crio", {"/proc/mounts": mounts}))
    assert (entry["mountpoint"], entry["device"]) == expected


def images(*sizes: str) -> str:
    return json.dumps(
        {"status": {"containerFilesystems": [], "imageFilesystems": [{"usedBytes": {"value": v}} for v in sizes]}}
    )


@pytest.mark.parametrize(
    ("said", "used", "reason"),
    [
        (images("4096"), 4096, None),
        (images("4096", "1"), 4097, None),
        (json.dumps({"status": {"usedBytes": {"value": "7"}}}), 7, None),  # before split file systems
        ("", None, "crictl does not say it"),
        ("[]", None, "crictl does not say it"),
        (images("many"), None, "crictl does not say it"),
        (images(), None, "crictl names no file system"),
        ("[" * 100_000, None, "crictl does not say it"),
    ],
)
def test_used_bytes_are_the_runtimes_own_word(
    machine: Machine, said: str, used: int | None, reason: str | None
) -> None:
    asked = []

    def run(command: list[str]) -> Completed:
        asked.append(command)
        return Completed(0, said, "")

    (entry,) = image_fs.facts(Host(machine("kubeadm-containerd").root, run), Request(active=True))
    assert asked == [
        ["crictl", "--runtime-endpoint", "unix:///run/containerd/containerd.sock", "imagefsinfo", "--output", "json"]
    ]
    assert (entry["used_bytes"], entry["reason"]) == (used, reason)


def test_a_node_without_crictl_is_a_reason(machine: Machine) -> None:
    host = Host(machine("el9-crio").root, lambda command: Completed(127, "", "No such file or directory"))
    (entry,) = image_fs.facts(host, Request(active=True))
    assert entry["used_bytes"] is None
    assert "returned 127" in entry["reason"]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        # 25 % and half of the inodes are left.
        ("", (85, 0.0, 15.0, 10.0, 0.0, 50.0)),
        ("imageGCHighThresholdPercent: 90\n", (90, -5.0, 15.0, 10.0, 0.0, 50.0)),
        (
            "imageGCHighThresholdPercent: 70\nevictionHard: {imagefs.available: 20%, imagefs.inodesFree: 5%}\n",
            (70, 10.0, 20.0, 5.0, 5.0, 45.0),
        ),
        ("maxPods: [\n", (None,) * 6),
    ],
)
def test_what_is_left_until_the_kubelet_collects_and_evicts(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, document: str, expected: tuple[float | None, ...]
) -> None:
    config = "/var/lib/kubelet/config.yaml"
    files = {"/proc/901/cmdline": f"kubelet\0--config={config}\0", config: document}
    host = machine("kubeadm-containerd", files)
    monkeypatch.setattr(host, "statvfs", lambda path: filesystem(1000, 300, 250) if path == SNAPSHOTTER else None)
    (entry,) = image_fs.facts(host)
    keys = (
        "gc_high_percent",
        "gc_margin_percent",
        "eviction_percent",
        "headroom_percent",
        "inodes_eviction_percent",
        "inodes_headroom_percent",
    )
    assert tuple(entry[key] for key in keys) == expected
    assert (entry["available_percent"], entry["inodes_free_percent"]) == (25.0, 50.0)


def test_no_kubelet_measures_what_another_runtime_left(machine: Machine) -> None:
    host = machine("kubeadm-containerd")
    Path(host.root, "var/lib/docker").mkdir()
    left = image_fs.facts(host)[1]
    assert (left["gc_high_percent"], left["headroom_percent"], left["gc_margin_percent"]) == (None, None, None)
