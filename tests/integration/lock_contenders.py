# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes that contend for the lock of reboots: ``python lock_contenders.py JOB``, a file of JSON.

Each is killed with SIGKILL now and then and begun anew. They share one clock, the test's, in ``Board``, and there they
write until when they believe to hold the lock: so it shows where two believe it who must not. The last line of the
output is what came of it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import mmap
import os
import random
import signal
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.kube.client import (
    DAEMON_SETS,
    Client,
    Clock,
    Conflict,
    connect,
)
from ansible_collections.bulwark.node.plugins.module_utils.kube.kured import Kured as Place
from ansible_collections.bulwark.node.plugins.module_utils.kube.lock_store import KuredStore, LeaseStore
from ansible_collections.bulwark.node.plugins.module_utils.reboot.lock import Claim, Lock, LockLostError, Store
from ansible_collections.bulwark.node.plugins.module_utils.reboot.lock_file import FileStore
from ansible_collections.bulwark.node.tests.fakes.kured import ANNOTATION, Kured, KuredError

__all__ = ["FASTER", "Board"]

FASTER = 50
"""The clock of the test in seconds of ours."""

_SLOTS = 64
_HEADER = struct.Struct("qq")  # now in nanoseconds, whether to stop
_BELIEF = struct.Struct("qqq")  # until, number of the node, acquisitions


class Board:
    """Memory that all processes share. A belief is written and judged under a lock, which no killed process keeps."""

    def __init__(self, path: str) -> None:
        self._lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(self._lock, _HEADER.size + _SLOTS * _BELIEF.size)
        self._path = path
        self._map = mmap.mmap(self._lock, 0)

    def reopen(self) -> None:
        """After a fork: a lock is of an open file, which both would share."""
        self._lock = os.open(self._path, os.O_RDWR)

    @property
    def now(self) -> int:
        return int(_HEADER.unpack_from(self._map)[0])

    @now.setter
    def now(self, value: int) -> None:
        self._map[:8] = struct.pack("q", value)

    @property
    def stopped(self) -> bool:
        return bool(_HEADER.unpack_from(self._map)[1])

    def stop(self) -> None:
        self._map[8:16] = struct.pack("q", 1)

    def seconds(self) -> float:
        return self.now / 10**9

    @property
    def acquired(self) -> int:
        return sum(belief[2] for belief in self._beliefs())

    @property
    def believing(self) -> list[int]:
        """The slots of those who believe to hold it."""
        return [number for number, each in enumerate(self._beliefs()) if each[0] > self.now]

    def believe(self, slot: int, until: int, node: int, fresh: bool = False) -> list[tuple[int, int]]:
        """Write a belief (until 0: none). The beliefs that hold now, as (slot, node)."""
        with self._alone():
            at = _HEADER.size + slot * _BELIEF.size
            count = _BELIEF.unpack_from(self._map, at)[2] + fresh
            _BELIEF.pack_into(self._map, at, until, node, count)
            now = self.now
            return [(number, each[1]) for number, each in enumerate(self._beliefs()) if each[0] > now]

    def _beliefs(self) -> list[Any]:
        return [_BELIEF.unpack_from(self._map, _HEADER.size + slot * _BELIEF.size) for slot in range(_SLOTS)]

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)


@dataclass
class Contender:
    """One process. What must not be goes into the journal as a line that begins with ``!``."""

    job: dict[str, Any]
    board: Board
    slot: int
    chance: random.Random
    journal: int
    _client: Client | None = None

    def run(self) -> None:
        as_kured, parent = self.slot < self.job["kureds"], os.getppid()
        while not self.board.stopped and os.getppid() == parent:
            with contextlib.suppress(BulwarkError, KuredError):
                (self.kured if as_kured else self.ours)()
            self.rest(self.chance.choice([1, 40, 60]))

    def ours(self) -> None:
        """A run that takes the lock for some node, renews it or sleeps too long, and mostly gives it back."""
        number = self.chance.randrange(self.job["nodes"])
        claim = Claim(f"{os.getpid()}-{self.chance.randrange(1 << 40):x}", f"n{number}", 10, self.job["limit"])
        lock = Lock(self.store(), claim, monotonic=self.board.seconds)
        if not lock.acquire().held:
            return
        self.believe(lock.left, number, fresh=True)
        for _turn in range(self.chance.randrange(4)):
            self.rest(self.chance.choice([1, 1, 1, 8]))
            left = lock.left
            try:
                lock.renew()
            except LockLostError:
                if left and lock.left:
                    self.tell(f"!{claim.id} was taken away {lock.left:.1f} seconds before its end")
                self.believe(0, number)
                return
            except BulwarkError:
                continue
            self.believe(lock.left, number)
        self.believe(0, number)
        if self.chance.random() < 0.8:
            self.tell(f"-{claim.id} {self.board.now}")
            lock.release()

    def kured(self) -> None:
        """The kured of a node of its own, with its own PUT."""
        name = f"k{self.slot}"
        ttl = 15
        kured = Kured(name, self.job["concurrency"], ttl * 10**9)
        client = self.client()
        began = self.board.now
        if not self.put(client, lambda text: kured.acquire(text, self.board.now)):
            return
        # Another life of it may have had the lock: it believes in this one alone.
        held = (began + ttl * 10**9 - self.board.now) / 10**9
        self.believe(held, 1000 + self.slot, fresh=True)
        self.rest(4)
        self.believe(0, 1000 + self.slot)
        self.tell(f"-{name} {self.board.now}")
        self.put(client, lambda text: (True, kured.release(text)))

    def put(self, client: Client, change: Any) -> bool:
        while not self.board.stopped:
            item = client.get(DAEMON_SETS, "kured", "kube-system")
            annotations = item["metadata"].setdefault("annotations", {})
            before = annotations.get(ANNOTATION)
            acquired, text = change(before)
            if text == before:
                # Single kureds know themselves again, and hold what they held.
                return False
            annotations.pop(ANNOTATION, None)
            if text is not None:
                annotations[ANNOTATION] = text
            with contextlib.suppress(Conflict):
                client.replace(DAEMON_SETS, item, "kube-system")
                return bool(acquired)
            self.rest(1)
        return False

    def store(self) -> Store:
        backend = self.job["backend"]
        if backend == "file":
            return FileStore(Host(), self.job["path"], clock=self.board.seconds)
        if backend == "lease":
            return LeaseStore(self.client(), "kube-system", "bulwark-reboot")
        return KuredStore(self.client(), Place("kube-system", "kured", ANNOTATION, self.job["concurrency"]))

    def client(self) -> Client:
        if self._client is None:
            self._client = self.connected()
        return self._client

    def connected(self) -> Client:
        client = connect({"host": self.job["url"], "api_key": "cluster-admin"}, deadline=20)
        skew = self.chance.choice([-86400, -30, 0, 30, 86400])
        client.clock = Clock(
            monotonic=self.board.seconds,
            sleep=lambda seconds: time.sleep(seconds / FASTER),
            wall=lambda: self.board.seconds() + skew,
        )
        return client

    def believe(self, seconds: float, node: int, fresh: bool = False) -> None:
        until = self.board.now + int(seconds * 10**9) if seconds > 0 else 0
        holding = self.board.believe(self.slot, until, node, fresh)
        if until and len(holding) > self.job["limit"]:
            self.tell(f"!{len(holding)} believe to hold it: {holding}")
        nodes = [each for _slot, each in holding]
        if until and len(set(nodes)) < len(nodes):
            self.tell(f"!two hold it for one node: {holding}")

    def rest(self, seconds: float) -> None:
        """About as long, by the test's clock; less where all is over."""
        end = time.monotonic() + 2 * seconds * self.chance.random() / FASTER
        while not self.board.stopped and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))

    def tell(self, line: str) -> None:
        os.write(self.journal, f"{line}\n".encode())


def begin(job: dict[str, Any], board: Board, slot: int, chance: random.Random) -> int:
    """Fork a contender; its id."""
    seed = chance.randrange(1 << 60)
    child = os.fork()
    if child == 0:
        journal = os.open(job["journal"], os.O_WRONLY | os.O_APPEND)
        try:
            # The server and who kills have the same two cores.
            os.nice(10)
            board.reopen()
            Contender(job, board, slot, random.Random(seed), journal).run()
        finally:
            if sys.exc_info()[1]:
                os.write(journal, f"!{sys.exc_info()[1]!r}\n".encode())
            os._exit(0)
    return child


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    board = Board(job["board"])
    chance = random.Random(job["seed"])
    # Once, for all that are forked: it takes longer than all they do.
    if job["url"]:
        connect({"host": job["url"], "api_key": "cluster-admin"})
    alive = {begin(job, board, slot, chance): slot for slot in range(job["contenders"])}
    kills, killed, end = 0, 0, time.monotonic() + job["seconds"]
    test = os.getppid()
    while (
        time.monotonic() < end
        and os.getppid() == test
        and (board.acquired < job["acquisitions"] or kills < job["kills"])
    ):
        time.sleep(0.08)
        # Half of them while they hold it.
        holding = [child for child, slot in alive.items() if slot in board.believing]
        victim = chance.choice(holding if holding and chance.random() < 0.5 else list(alive))
        os.kill(victim, signal.SIGKILL)
        os.waitpid(victim, 0)
        kills, killed = kills + 1, killed + (victim in holding)
        slot = alive.pop(victim)
        alive[begin(job, board, slot, chance)] = slot
    board.stop()
    last = time.monotonic() + 3
    while alive and time.monotonic() < last:
        done, _status = os.waitpid(-1, os.WNOHANG)
        alive.pop(done, None)
        time.sleep(0.005)
    for left in alive:
        os.kill(left, signal.SIGKILL)
        os.waitpid(left, 0)
    print(json.dumps({"acquired": board.acquired, "kills": kills, "holders": killed}))


if __name__ == "__main__":
    main()
