# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fifty processes contend for the lock, are killed, sleep too long, lose the API server and have wrong clocks.

Two proofs: what the processes believe (``lock_contenders.Board``), and what the server's texts say one after another.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.kube.annotations import HOLDERS
from ansible_collections.bulwark.node.plugins.module_utils.reboot.lock_value import NANO, Entry, decode
from ansible_collections.bulwark.node.tests.fakes.kube_api import FakeKube, Fault
from ansible_collections.bulwark.node.tests.fakes.kube_store import Store
from ansible_collections.bulwark.node.tests.fakes.kured import ANNOTATION, daemon_set, multiple, single

from . import lock_contenders
from .lock_contenders import FASTER, Board

NODES = 30
CONTENDERS = 50
TICK = 0.005


class History(Store):
    """A store that notes each text of the lock with the time at which it was written."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[tuple[int, str | None]] = []

    def _write(self, resource: Any, item: Any, dry: bool, kind: str = "MODIFIED") -> Any:
        if resource.kind in ("DaemonSet", "Lease"):
            annotations = item["metadata"].get("annotations") or {}
            self.texts.append((nanoseconds(self.now), annotations.get(ANNOTATION) or annotations.get(HOLDERS)))
        return super()._write(resource, item, dry, kind)


def nanoseconds(moment: datetime.datetime) -> int:
    return int(moment.timestamp() * 1000) * 10**6


@pytest.fixture
def kube() -> Iterator[FakeKube]:
    with FakeKube(store=History()) as server:
        server.store.add("daemonsets.apps", daemon_set())
        for name in [*(f"n{number}" for number in range(NODES)), *(f"k{number}" for number in range(10))]:
            server.store.add("nodes", {"metadata": {"name": name}})
            ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
            server.store.edit("nodes", "", name, ready)
        yield server


@contextlib.contextmanager
def beside(do: Callable[[], None]) -> Iterator[None]:
    """Do something again and again in a thread, until the block ends."""
    over = threading.Event()

    def loop() -> None:
        while not over.is_set():
            do()

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def passing(board: Board, store: Store | None) -> Callable[[], None]:
    """Time, for the processes first: none of them shall believe longer than the server does."""
    start, began = board.now, time.monotonic()

    def tick() -> None:
        time.sleep(TICK)
        board.now = start + int((time.monotonic() - began) * FASTER * 10**9)
        if store is not None:
            with store.lock:
                store.now = datetime.datetime.fromtimestamp(board.now / 10**9, datetime.timezone.utc)

    return tick


def trouble(kube: FakeKube, chance: random.Random) -> Callable[[], None]:
    """What happens to servers and nodes."""

    def happen() -> None:
        time.sleep(0.05)
        what = chance.randrange(12)
        if what == 0:
            away = Fault(times=1 << 30, lost="before")
            with kube.store.lock:
                kube.faults.append(away)
            time.sleep(0.15)
            away.times = 0
        elif what == 1:
            for number in chance.sample(range(NODES), 5):
                kube.store.edit("nodes", "", f"n{number}", {"spec": {"unschedulable": True}})
        elif what == 2:
            for number in range(NODES):
                kube.store.edit("nodes", "", f"n{number}", {"spec": {"unschedulable": None}})
        elif what < 7:
            kube.fault(method="PATCH", lost=chance.choice(["before", "after"]))
        elif what < 9:
            kube.fault(method=chance.choice(["GET", "PUT"]), lost=chance.choice(["before", "after"]))
        else:
            kube.fault(status=chance.choice([429, 500, 503, 504]))
        kube.faults[:] = [fault for fault in kube.faults if fault.times]

    return happen


def contend(folder: Path, kube: FakeKube | None, board: Board, **job: Any) -> list[str]:
    """Let them contend; the lines of their journal."""
    journal = folder / "journal"
    journal.write_text("")
    job = {
        "contenders": CONTENDERS,
        "nodes": NODES,
        "kureds": 0,
        "concurrency": 1,
        "seed": 8,
        "url": kube and kube.url,
        "board": str(folder / "board"),
        "journal": str(journal),
        "seconds": 90,
        **job,
    }
    (folder / "job").write_text(json.dumps(job))
    command = [sys.executable, lock_contenders.__file__, str(folder / "job")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        output, _none = process.communicate(timeout=120)
    except BaseException:
        # The processes that it forked, too.
        os.killpg(process.pid, signal.SIGKILL)
        raise
    assert process.returncode == 0
    came = json.loads(output.splitlines()[-1])
    assert came["acquired"] >= job["acquisitions"]
    assert came["kills"] >= job["kills"]
    lines = journal.read_text().splitlines()
    assert [line for line in lines if line.startswith("!")] == []
    return lines


def releases(lines: list[str]) -> dict[str, list[int]]:
    """When each holder said that it gives the lock up: kureds have one name in all their lives."""
    found: dict[str, list[int]] = {}
    for name, moment in (line[1:].split() for line in lines if line.startswith("-")):
        found.setdefault(name, []).append(int(moment))
    return found


def check_history(texts: list[tuple[int, str | None]], one: bool, limit: int, released: dict[str, list[int]]) -> None:
    """At each write no more live holders than the limit, and none that lived gone but by its own will."""
    before: dict[str, Entry] = {}
    for moment, text in texts:
        entries = decode(text, one).entries
        live = [entry for entry in entries if not entry.expired(moment)]
        assert len(live) <= limit, (moment, text)
        ids = {entry.id for entry in entries}
        for lost in (entry for held, entry in before.items() if not entry.expired(moment) and held not in ids):
            # Since this life of it began; the server's time is a tick behind the processes'.
            said = [each for each in released.get(lost.id, ()) if lost.created <= each <= moment + NANO]
            assert said, (moment, lost)
        before = {entry.id: entry for entry in entries}


@pytest.mark.parametrize(
    ("backend", "concurrency", "limit"), [("kured", 1, 1), ("kured", 3, 3), ("lease", 1, 2)], ids=str
)
def test_never_more_hold_it_than_may_and_none_is_lost(
    kube: FakeKube, tmp_path: Path, backend: str, concurrency: int, limit: int
) -> None:
    board = Board(str(tmp_path / "board"))
    board.now = nanoseconds(kube.store.now)
    with beside(passing(board, kube.store)), beside(trouble(kube, random.Random(8))):
        lines = contend(
            tmp_path,
            kube,
            board,
            backend=backend,
            concurrency=concurrency,
            limit=limit,
            kureds=8 if backend == "kured" else 0,
            acquisitions=30,
            kills=20,
        )
    assert isinstance(kube.store, History)
    texts = kube.store.texts
    check_history(texts, concurrency == 1 and backend == "kured", limit, releases(lines))
    if backend == "kured":
        written = [text for _moment, text in texts if text is not None]
        for text in written:
            # Whoever wrote it, kured can read it, not one slot is too many, and beside ours none is free.
            assert single(text) if concurrency == 1 else len(multiple(text)) <= concurrency
            assert len(multiple(text)) == concurrency or not text.startswith('{"nodeID":"ansible:')
        assert any("ansible:" in text for text in written)
        assert any('"nodeID":"k' in text for text in written)


def test_in_a_file_never_more_hold_it_than_may_and_none_is_lost(tmp_path: Path) -> None:
    board = Board(str(tmp_path / "board"))
    board.now = 1767323045 * 10**9
    shm = Path("/dev/shm")
    # A disk would be waited for with each of some hundred fsyncs.
    with tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else tmp_path) as folder, beside(passing(board, None)):
        path = f"{folder}/lock.json"
        contend(tmp_path, None, board, backend="file", limit=2, acquisitions=40, kills=20, path=path)
