# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines for the tests of the node's domains: the trees of tests/unit/trees, and a kernel that answers to writes.

A tree is one YAML file: {origin: captured | hand-built, about, files: {path: text}, links: {path: target}, folders: []}.
A text gets the newline at its end that the file leaves out; bytes (``!!binary``) stay as they are.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError, HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Completed, Host

TREES = Path(__file__).parents[3] / "trees"
POOLS = "/sys/kernel/mm/hugepages"
NODES = "/sys/devices/system/node"
CHANGED = "/run/bulwark-hugepages-changed"
MANIFEST = "/var/lib/bulwark/manifest.json"

Files = Mapping[str, Any]


@functools.cache
def load(name: str) -> dict[str, Any]:
    """One tree as it stands in its file."""
    tree: dict[str, Any] = yaml.safe_load((TREES / f"{name}.yml").read_text(encoding="utf-8"))
    return tree


def lay(root: Path, tree: Mapping[str, Any], files: Files | None = None, without: Iterable[str] = ()) -> None:
    """Make a tree below ``root``, with ``files`` put over it and those below a path of ``without`` left out."""
    for folder in tree["folders"]:
        (root / folder[1:]).mkdir(parents=True, exist_ok=True)
    for path, content in {**tree["files"], **(files or {})}.items():
        if not any(path == gone or path.startswith(f"{gone}/") for gone in without):
            target = root / path[1:]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content if isinstance(content, bytes) else _text(str(content)).encode())
    for path, link in tree["links"].items():
        target = root / path[1:]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(link)


def _text(text: str) -> str:
    return text if not text or text.endswith(("\n", "\0")) else f"{text}\n"


Machine = Callable[..., "FakeKernel"]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """``machine("tree", files={...}, without=[...])``: that machine, below tmp_path."""
    # It costs half of the time, and what it is for is tested with Host.
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    count = iter(range(1_000_000))

    def make(name: str, files: Files | None = None, without: Iterable[str] = ()) -> FakeKernel:
        root = tmp_path / str(next(count))
        lay(root, load(name), files, without)
        return FakeKernel(str(root))

    return make


def snapshot(host: Host, but: Iterable[str] = ()) -> dict[str, Any]:
    """Everything in the tree: {path: (mode, content), a symlink's target, or None for a folder}."""
    found: dict[str, Any] = {}
    for current, folders, names in os.walk(host.root):
        for name in folders + names:
            real = os.path.join(current, name)
            path = real[len(host.root) :]
            if path in but:
                continue
            if os.path.islink(real):
                found[path] = os.readlink(real)
            elif os.path.isdir(real):
                found[path] = None
            else:
                found[path] = (os.stat(real).st_mode, Path(real).read_bytes())
    return found


def failure(call: Callable[[], object]) -> BulwarkError | None:
    """The error of ours that a call raises, or None."""
    try:
        call()
    except BulwarkError as error:
        return error
    return None


def different(before: Mapping[str, Any], after: Mapping[str, Any]) -> set[str]:
    """The paths in which two snapshots differ."""
    return {path for path in {*before, *after} if before.get(path, "absent") != after.get(path, "absent")}


@dataclass
class FakePool:
    """What mm/hugetlb.c keeps of one page size: [total, free, surplus] of each node, and the reservations of all."""

    nodes: dict[int, list[int]]
    reserved: int
    overcommit: int

    def sum(self, index: int) -> int:
        return sum(numbers[index] for numbers in self.nodes.values())

    @property
    def persistent(self) -> int:
        return self.sum(0) - self.sum(2)


@dataclass
class WriteFault:
    """The ``at``-th write fails, before it is done or ``after`` it; with ``on`` so does each later one."""

    at: int
    after: bool = False
    on: bool = False


@dataclass
class FakeKernel(Host):
    """A tree whose kernel attributes answer to writes as Linux does, with mount(8) and umount(8).

    ``room``: the most pages of a size in bytes on a node; ``compaction``: pages that one compaction adds to it.
    ``refuses``: attributes whose write fails with that errno. ``log``: every write, command and removal in turn.
    """

    tree: str
    room: dict[tuple[int, int], int] = field(default_factory=dict)
    compaction: int = 0
    refuses: dict[str, str] = field(default_factory=dict)
    fault: WriteFault | None = None
    log: list[tuple[str, ...]] = field(default_factory=list)
    commands: list[list[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(self.tree, self._command)
        self._shown: dict[str, int] = {}
        self._numa = any(re.fullmatch(r"node[0-9]+", name) for name in self.names(NODES))
        self.pools = {int(n[10:-2]) * 1024: self._load(n) for n in self.names(POOLS)}

    # every way to change the machine

    def write(self, path: str, value: str) -> None:
        with self._faulty("write", path):
            self._kernel_write(path, value)

    def replace(self, path: str, *args: Any, **kwargs: Any) -> None:
        with self._faulty("replace", path):
            super().replace(path, *args, **kwargs)

    def symlink(self, target: str, path: str) -> None:
        with self._faulty("symlink", path):
            super().symlink(target, path)

    def remove(self, path: str) -> None:
        with self._faulty("remove", path):
            super().remove(path)

    def make_folder(self, path: str, mode: int = 0o755) -> list[str]:
        with self._faulty("make_folder", path):
            return super().make_folder(path, mode)

    def remove_folder(self, path: str) -> bool:
        with self._faulty("remove_folder", path):
            return super().remove_folder(path)

    def run(self, command: list[str]) -> Completed:
        with self._faulty("run", *command):
            return super().run(command)

    def _faulty(self, *what: str) -> _Fault:
        self.log.append(what)
        return _Fault(self.fault, len(self.log), what)

    # the kernel

    def _kernel_write(self, path: str, value: str) -> None:
        if path in self.refuses:
            raise HostError(path, f"cannot write {value!r}: {self.refuses[path]}", self.refuses[path])
        match = re.fullmatch(r".*?(?:/node([0-9]+)/hugepages)?/hugepages-([0-9]+)kB/(\w+)_hugepages", path)
        if path.endswith(("/compact_memory", "/compact")):
            self.room = {key: room + self.compaction for key, room in self.room.items()}
        elif match and match[3] == "nr_overcommit":
            self.pools[int(match[2]) * 1024].overcommit = int(value)
        elif match:
            self.set_max_huge_pages(int(match[2]) * 1024, int(value), None if match[1] is None else int(match[1]))
        else:
            self._choose(path, value)
        self.flush()

    def _choose(self, path: str, value: str) -> None:
        text = self.read(path) or ""
        if "[" in text:
            words = text.replace("[", "").replace("]", "").split()
            if value not in words:
                raise HostError(path, f"cannot write {value!r}: EINVAL", "EINVAL")
            value = " ".join(f"[{word}]" if word == value else word for word in words)
        super().write(path, f"{value}\n")

    def set_max_huge_pages(self, size: int, count: int, node: int | None) -> None:
        """The function of that name in mm/hugetlb.c, page by page."""
        pool = self.pools[size]
        numbers = list(pool.nodes.values()) if node is None else [pool.nodes[node]]
        if node is not None:
            count += pool.persistent - (numbers[0][0] - numbers[0][2])
        while count > pool.persistent and (part := _next(numbers, lambda n: n[2] > 0, 2)):
            part[2] -= 1
        rooms = {id(n): self.room.get((size, number), 1 << 30) for number, n in pool.nodes.items()}
        while count > pool.persistent and (part := _next(numbers, lambda n: n[0] < rooms[id(n)], 3)):
            part[0] += 1
            part[1] += 1
        least = max(count, pool.reserved + pool.sum(0) - pool.sum(1))
        while least < pool.persistent and (part := _next(numbers, lambda n: n[1] > 0, 4)):
            part[0] -= 1
            part[1] -= 1
        while count < pool.persistent and (part := _next(numbers, lambda n: n[2] < n[0], 5)):
            part[2] += 1
        for part in numbers:
            del part[3:]

    def _load(self, name: str) -> FakePool:
        def number(folder: str, what: str) -> int:
            return self.integer(f"{folder}/{name}/{what}_hugepages") or 0

        folders = {int(n[4:]): f"{NODES}/{n}/hugepages" for n in self.names(NODES) if re.fullmatch(r"node[0-9]+", n)}
        folders = folders or {0: POOLS}
        nodes = {node: [number(path, what) for what in ("nr", "free", "surplus")] for node, path in folders.items()}
        return FakePool(nodes, number(POOLS, "resv"), number(POOLS, "nr_overcommit"))

    def flush(self) -> None:
        """Show the pools in /sys."""
        for size, pool in self.pools.items():
            name = f"hugepages-{size // 1024}kB"
            shown = {f"{POOLS}/{name}/{what}": pool.sum(i) for i, what in enumerate(("nr", "free", "surplus"))}
            shown |= {f"{POOLS}/{name}/resv": pool.reserved, f"{POOLS}/{name}/nr_overcommit": pool.overcommit}
            for node, numbers in pool.nodes.items() if self._numa else ():
                folder = f"{NODES}/node{node}/hugepages/{name}"
                shown |= {f"{folder}/{what}": numbers[i] for i, what in enumerate(("nr", "free", "surplus"))}
            for path, number in shown.items():
                if self._shown.get(path) != number:
                    self._shown[path] = number
                    Path(f"{self.root}{path}_hugepages").write_text(f"{number}\n", encoding="utf-8")

    # mount(8)

    def _command(self, command: list[str]) -> Completed:
        self.commands.append(command)
        mounts = Path(self.root, "proc/mounts")
        text = mounts.read_text(encoding="utf-8")
        if command[0] == "mount":
            options = f"rw,relatime,{command[4].replace('pagesize=1G', 'pagesize=1024M')}"
            text += f"{command[5]} {command[6]} {command[2]} {options} 0 0\n"
        elif command[0] == "umount":
            text = "".join(line for line in text.splitlines(True) if line.split(" ")[1] != command[1])
        mounts.write_text(text, encoding="utf-8")
        return Completed(0, "", "")


class _Fault:
    """Around one write: whether and when it fails."""

    def __init__(self, fault: WriteFault | None, number: int, what: tuple[str, ...]) -> None:
        hit = fault is not None and (number == fault.at or (fault.on and number > fault.at))
        self._before, self._after = hit and not (fault and fault.after), hit and bool(fault and fault.after)
        self._error = HostError(" ".join(what), f"write {number} fails by order", "EIO")

    def __enter__(self) -> None:
        if self._before:
            raise self._error

    def __exit__(self, kind: object, *rest: object) -> None:
        if self._after and kind is None:
            raise self._error


def _next(numbers: list[list[int]], able: Callable[[list[int]], bool], slot: int) -> list[int] | None:
    """The next node in turn that is able; whose turn it is, is kept behind the numbers themselves."""
    for part in numbers:
        part.extend([0] * (6 - len(part)))
    ready = [part for part in numbers if able(part)]
    if not ready:
        return None
    chosen = min(ready, key=lambda part: part[slot] if slot > 2 else -part[2])
    if slot > 2:
        chosen[slot] += 1
    return chosen
