# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The subset ``inotify``: instances and watches of each user, whoever's processes they are in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import inotify
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import lay

INSTANCES = "/proc/sys/fs/inotify/max_user_instances"
WATCHES = "/proc/sys/fs/inotify/max_user_watches"
LIMITS = {INSTANCES: "8", WATCHES: "100"}
WATCH = "inotify wd:1 ino:2 sdev:1 mask:fce ignored_mask:0\n"


def process(pid: int, name: str, uid: int, *watches: int, other: str = "socket:[1]") -> dict[str, Any]:
    """A process with an instance for each number of watches, and another open file."""
    files = {f"/proc/{pid}/comm": name, f"/proc/{pid}/status": f"Uid:\t0\t{uid}\t{uid}\t{uid}\n"}
    files |= {f"/proc/{pid}/fdinfo/{fd}": f"pos: 0\n{WATCH * count}" for fd, count in enumerate(watches)}
    links = {f"/proc/{pid}/fd/{fd}": "anon_inode:inotify" for fd in range(len(watches))}
    return {"files": files, "links": {**links, f"/proc/{pid}/fd/99": other}}


def facts(tree: Path, *made: dict[str, Any], limits: dict[str, str] | None = None) -> dict[str, Any]:
    files = {path: text for each in made for path, text in each["files"].items()}
    links = {path: target for each in made for path, target in each["links"].items()}
    lay(tree, {"files": {**(LIMITS if limits is None else limits), **files}, "links": links, "folders": ["/proc"]})
    return inotify.facts(Host(root=str(tree)))


def test_instances_and_watches_are_the_users_not_the_processes(tree: Path) -> None:
    found = facts(
        tree,
        process(901, "kubelet", 0, 10, 0, 5),
        process(950, "containerd-shim", 0, 1, 1),
        process(1200, "agent", 1000, 25),
        process(1300, "idle", 0),
    )
    assert found == {
        "max_user_instances": 8,
        "max_user_watches": 100,
        "users": [
            {
                "uid": 0,
                "instances": 5,
                "watches": 17,
                "instances_fullness": 0.625,
                "watches_fullness": 0.17,
                "processes": [
                    {"name": "kubelet", "pid": 901, "instances": 3},
                    {"name": "containerd-shim", "pid": 950, "instances": 2},
                ],
            },
            {
                "uid": 1000,
                "instances": 1,
                "watches": 25,
                "instances_fullness": 0.125,
                "watches_fullness": 0.25,
                "processes": [{"name": "agent", "pid": 1200, "instances": 1}],
            },
        ],
        "complete": True,
        "reason": None,
    }


def test_other_files_are_no_instances(tree: Path) -> None:
    lookalike = process(5, "x", 0, other="anon_inode:[eventpoll]"), process(6, "y", 0, other="/tmp/anon_inode:inotify")
    assert facts(tree, *lookalike)["users"] == []


def test_of_the_processes_the_first_are_listed(tree: Path) -> None:
    (user,) = facts(tree, *(process(pid, "shim", 0, 1) for pid in range(10, 30)))["users"]
    assert (user["instances"], len(user["processes"]), user["processes"][0]["pid"]) == (20, 5, 10)


def test_many_files_are_bounded(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inotify, "_MOST_FILES", 2)
    found = facts(tree, process(10, "a", 0, 1, 1, 1, 1))
    assert (found["users"][0]["instances"], found["complete"]) == (2, None)
    assert found["reason"] == "of the open files the first 2 were looked at"


@pytest.mark.parametrize(
    ("hidden", "reason"),
    [
        (("/proc/10/fd",), "/proc/10/fd: cannot list: EACCES (Permission denied)"),
        (
            ("/proc/10/fd", "/proc/11/fd"),
            "/proc/10/fd: cannot list: EACCES (Permission denied), and those of 1 more processes are hidden",
        ),
    ],
)
def test_files_that_are_hidden_are_told_and_cost_no_others(
    tree: Path, monkeypatch: pytest.MonkeyPatch, hidden: tuple[str, ...], reason: str
) -> None:
    def refuse(host: Host, path: str) -> list[str]:
        if path in hidden:
            raise HostError(path, "cannot list: EACCES (Permission denied)", "EACCES")
        return real(host, path)

    real = Host.names
    monkeypatch.setattr(Host, "names", refuse)
    found = facts(tree, process(10, "a", 0, 1), process(11, "b", 0), process(12, "c", 0, 1, 1))
    assert (found["users"][0]["instances"], found["complete"], found["reason"]) == (2, None, reason)


def test_without_limits_there_is_no_fullness(tree: Path) -> None:
    (user,) = facts(tree, process(10, "a", 0, 1), limits={})["users"]
    assert (user["instances"], user["instances_fullness"], user["watches_fullness"]) == (1, None, None)


def test_a_process_without_a_user_has_ended(tree: Path) -> None:
    gone = process(10, "a", 0, 1)
    del gone["files"]["/proc/10/status"]
    assert facts(tree, gone)["users"] == []
