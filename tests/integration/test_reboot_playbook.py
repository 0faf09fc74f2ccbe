# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook bulwark.node.reboot on real machines that are nodes of a live cluster: killed at each step, and taken up again.

Three machines reboot at the same time, each in a cluster of its own whose other nodes are pretended: all that is asked of
one machine begins when the first test asks for its outcome. Then all three are nodes of one cluster.
"""

from __future__ import annotations

import queue
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Any, TypeVar

import pytest
import yaml

from ansible_collections.bulwark.node.plugins.module_utils.kube.annotations import (
    QUARANTINED,
    REBOOTED,
    REBOOTING,
)
from ansible_collections.bulwark.node.tests.fakes import kured
from ansible_collections.bulwark.node.tests.fakes.awx_job import artifacts, template
from ansible_collections.bulwark.node.tests.fakes.kube_api import User
from ansible_collections.bulwark.node.tests.fakes.kube_rbac import bound
from ansible_collections.bulwark.node.tests.hosts.cluster import LiveCluster, install_agent
from ansible_collections.bulwark.node.tests.hosts.controller import Controller, Halt, Play, Step
from ansible_collections.bulwark.node.tests.hosts.machine import Machine, MachineError, Site, until

T = TypeVar("T")
RBAC = Path(__file__).resolve().parents[2] / "roles" / "reboot" / "files" / "rbac.yml"
ACCOUNT = "system:serviceaccount:kube-system:bulwark-reboot"
# The nodes that are none: pods go to the one, and an administrator has cordoned the other.
SPARE, CLOSED = "spare", "closed"
SENTINEL = "/run/reboot-required"
# The role's default, in seconds.
LOCK_TTL = 300
# That its sentinel comes again at each boot, and that it goes off where it was to reboot.
SURVIVES = "/etc/tmpfiles.d/reboot-required.conf"
GOES_OFF = "/etc/systemd/system/systemd-reboot.service.d/off.conf"
ACTIONS = {
    *("bulwark.node.reboot_lock", "bulwark.node.node_reboot", "bulwark.node.node_drain"),
    *("ansible.builtin.reboot", "reboot"),
}


@contextmanager
def cell(site: Site, *machines: Machine, kureds: Sequence[str] | None = None) -> Iterator[LiveCluster]:
    """A cluster with these machines, which all ask for a reboot; ``kureds``: there is a kured, with these arguments."""
    nodes = {**{machine.name: machine for machine in machines}, SPARE: None, CLOSED: None}
    daemon_sets = () if kureds is None else (kured.daemon_set(*kureds),)
    cluster = LiveCluster(site.gateway, nodes, daemon_sets)
    cluster.kube.tokens["reboots"] = User(ACCOUNT)
    cluster.kube.rules = bound(yaml.safe_load(RBAC.read_text())["items"])
    for machine in machines:
        machine.run("touch", SENTINEL)
    with cluster:
        cluster.make.deployment("web", [machine.name for machine in machines], SPARE)
        cluster.store.edit("nodes", "", CLOSED, {"spec": {"unschedulable": True}})
        yield cluster


def options(cluster: LiveCluster, **more: Any) -> dict[str, Any]:
    return {
        "bulwark_target": "all",
        "reboot_cluster": {"host": cluster.kube.url, "api_key": "reboots"},
        # One is cordoned already.
        "reboot_limits": {"max_unavailable": "2"},
        "reboot_delay": 1,
        "reboot_gate_timeout": 30,
        "reboot_lock_timeout": 30,
        "reboot_ready_timeout": 60,
        "reboot_soak": 2,
        "reboot_options": {"reboot_timeout": 60},
        **more,
    }


def play(site: Site, cluster: LiveCluster, machines: Sequence[Machine], *arguments: str, **more: Any) -> Play:
    """The playbook from a folder of its own; what begins with ``reboot_`` or ``bulwark_`` are variables, the rest is Controller's."""
    ours = {key: more.pop(key) for key in list(more) if key.startswith(("reboot_", "bulwark_"))}
    with Controller(site) as controller:
        return controller.play("bulwark.node.reboot", machines, options(cluster, **ours), *arguments, **more)


def unsound(cluster: LiveCluster, *names: str, reboots: int = 1, at_once: int = 1) -> list[str]:
    """What is not as it has to be once these nodes have been rebooted, whatever happened meanwhile."""
    wrong = []

    def hold(holds: bool, text: str) -> None:
        if not holds:
            wrong.append(text)

    hold(cluster.cordoned() == {CLOSED}, f"cordoned are {sorted(cluster.cordoned())}")
    hold(cluster.most_down(CLOSED) <= at_once, f"{cluster.most_down(CLOSED)} nodes were down at once")
    hold(cluster.most_holders() <= at_once, f"{cluster.most_holders()} held the lock at once")
    hold(cluster.holders() == (), f"the lock is held for {cluster.holders()}")
    for name in names:
        found = cluster.annotations(name)
        hold(cluster.reboots(name) == reboots, f"{name} was rebooted {cluster.reboots(name)} times")
        hold((REBOOTED in found) == (reboots > 0), f"{name} says rebooted: {REBOOTED in found}")
        hold(not {REBOOTING, QUARANTINED} & set(found), f"{name} has {sorted(found)}")
    for boot in cluster.boots:
        hold(boot.cordoned, f"{boot.node} was rebooted without a cordon")
        hold(boot.locked, f"{boot.node} was rebooted without the lock")
        hold(not boot.pods, f"{boot.node} was rebooted under {', '.join(boot.pods)}")
    return wrong


# --- killed at each step


@dataclass(frozen=True)
class Point:
    """Where a controller is killed: after the task has ended for the turn-th time, or else once ``when`` holds."""

    label: str
    turn: int = 0
    when: Callable[[LiveCluster, Machine], bool] | None = None


@dataclass(frozen=True)
class Row:
    """What came of it: what the killed run left, and whether the next one brought it to its end."""

    label: str
    left: str
    resumed: bool
    reboots: int
    down: int
    seconds: float
    wrong: tuple[str, ...]

    def line(self) -> str:
        numbers = f"{self.reboots:>7} {self.down:>4} {self.seconds:>7.0f}"
        return f"{self.label[:52]:52} {self.left[:34]:34} {numbers}  {'; '.join(self.wrong) or 'ok'}"


HEAD = f"{'KILLED AFTER, OR WHILE':52} {'LEFT':34} {'REBOOTS':>7} {'DOWN':>4} {'SECONDS':>7}  THEN"

AMONG = (
    Point(
        "(pods are being evicted)",
        when=lambda cluster, _machine: any("deletionTimestamp" in pod["metadata"] for pod in cluster.store.all("pods")),
    ),
    Point("(the machine goes down)", when=lambda cluster, machine: machine.off or bool(cluster.boots)),
    Point(
        "(the node is not Ready again)",
        when=lambda cluster, machine: bool(cluster.boots) and not cluster.is_ready(machine.name),
    ),
)


def points(clean: Play, host: str) -> list[Point]:
    """After each task of a run that changed something, and in the middle of some."""
    found, turns = [], Counter[str]()
    for step in clean.ended(host):
        turns[step.task] += 1
        if step.changed:
            found.append(Point(step.task, turns[step.task]))
    return [*found, *AMONG]


def left_behind(cluster: LiveCluster, machine: Machine) -> str:
    found = {
        "cordon": machine.name in cluster.cordoned(),
        "record": REBOOTING in cluster.annotations(machine.name),
        "lock": bool(cluster.holders()),
        "rebooted": bool(cluster.boots),
        "down": machine.off,
    }
    return ", ".join(name for name, there in found.items() if there) or "nothing"


def killed(site: Site, machine: Machine, point: Point) -> Row:
    """A cell of the matrix: a run that is killed there, and another that goes on."""
    began = time.monotonic()
    with cell(site, machine, kureds=[]) as cluster:
        when = point.when
        first = play(
            site,
            cluster,
            [machine],
            halt=None if when else Halt(point.label, machine.name, point.turn),
            kill_when=(lambda _steps: when(cluster, machine)) if when else None,
        )
        left = left_behind(cluster, machine)
        # Somebody who knows that the first is dead; it may have left the machine in the middle of its boot.
        machine.wait(120)
        second = play(site, cluster, [machine], reboot_takeover=True)
        if not any(step.changed for step in second.ended(machine.name)):
            # It had nothing to do any more, and so took no lock: that of the first ends by itself, and soon.
            cluster.jump(LOCK_TTL)
        wrong = [] if first.killed else [f"it was not killed: {first.failures}"]
        wrong += [] if second.rc == 0 else [f"the next run failed: {second.failures or second.output[-300:]}"]
        wrong += unsound(cluster, machine.name)
        found = cluster.reboots(machine.name), cluster.most_down(CLOSED)
    return Row(point.label, left, second.rc == 0, *found, time.monotonic() - began, tuple(wrong))


# --- what else may happen to one machine


def refused(play: Play) -> None:
    """It ended by itself, and told that the machine was not rebooted."""
    assert not play.killed, play.output
    assert '"state": "rebooted"' not in play.output


def was_cordoned(cluster: LiveCluster, name: str) -> bool:
    return any(name in moment.cordoned for moment in list(cluster.moments))


def untouched(cluster: LiveCluster, name: str) -> None:
    """Not that it was Ready all the while: a machine that is slow for some seconds is not."""
    assert (cluster.boots, was_cordoned(cluster, name)) == ([], False)
    assert cluster.annotations(name) == {}


def predicts_and_changes_nothing(site: Site, machine: Machine) -> None:
    with cell(site, machine, kureds=[]) as cluster:
        run = play(site, cluster, [machine], "--check", "--diff")
        assert run.rc == 0, run.output
        assert f"1      {machine.name}  -     planned" in run.output
        assert {request.method for request in cluster.kube.requests if request.user == ACCOUNT} <= {"GET", "POST"}
        untouched(cluster, machine.name)
        assert machine.run("ls", SENTINEL, "/var/lib/bulwark", check=False).stdout == f"{SENTINEL}\n"
        machine.run("rm", SENTINEL)
        run = play(site, cluster, [machine])
        assert (run.rc, run.failures) == (0, []), run.output
        assert "changed=0" in run.output
        untouched(cluster, machine.name)


# Ask the server all the time, so that one who is away is met.
ASKING = ACTIONS | {"bulwark.node.reboot_gate_info"} - {"ansible.builtin.reboot", "reboot"}


def budget_never_opens(site: Site, machine: Machine) -> None:
    with cell(site, machine) as cluster:
        cluster.make.deployment("db", [machine.name, machine.name], SPARE)
        cluster.make.budget("db", {"app": "db"}, maxUnavailable=1)
        # What comes for the first pod never becomes Ready.
        cluster.make.wanted["ReplicaSet", "db"] = (2, SPARE, {"ready": False})
        run = play(site, cluster, [machine], reboot_drain={"timeout": 8})
        assert run.rc not in (0, None), run.output
        assert "The disruption budget db needs" in run.output
        assert unsound(cluster, machine.name, reboots=0) == []
        assert any(machine.name in moment.cordoned for moment in cluster.moments)
        assert len([name for name in cluster.make.names(machine.name) if name.startswith("db-")]) == 1


def sentinel_survives(site: Site, machine: Machine) -> None:
    machine.write(SURVIVES, f"f {SENTINEL}\n")
    with cell(site, machine, kureds=[]) as cluster:
        first = play(site, cluster, [machine])
        assert first.rc not in (0, None), first.output
        quarantined(cluster, machine)
        refused(again := play(site, cluster, [machine], reboot_gate_timeout=0, reboot_lock_timeout=0))
        assert machine.name in again.output
        quarantined(cluster, machine)
        machine.run("rm", SURVIVES, SENTINEL)
        healed = play(site, cluster, [machine], reboot_lift_quarantine=True)
        assert healed.rc == 0, healed.output
        assert unsound(cluster, machine.name) == []


def quarantined(cluster: LiveCluster, machine: Machine, reboots: int = 1) -> None:
    """It is left alone as it is, and no kured goes on either."""
    assert cluster.reboots(machine.name) == reboots
    assert cluster.cordoned() == {machine.name, CLOSED}
    assert {QUARANTINED, REBOOTING} <= set(cluster.annotations(machine.name))
    assert cluster.holders() == (machine.name,)


def never_comes_back(site: Site, machine: Machine) -> None:
    machine.write(GOES_OFF, "[Unit]\nSuccessAction=poweroff-force\n")
    machine.run("systemctl", "daemon-reload")
    with cell(site, machine) as cluster:
        first = play(site, cluster, [machine], reboot_options={"reboot_timeout": 8})
        assert first.rc not in (0, None), first.output
        assert not machine.running
        quarantined(cluster, machine, reboots=0)
        refused(play(site, cluster, [machine], reboot_gate_timeout=0, reboot_lock_timeout=0))
        quarantined(cluster, machine, reboots=0)
        machine.path(GOES_OFF).unlink()
        restore(machine)
        healed = play(site, cluster, [machine], reboot_lift_quarantine=True)
        assert healed.rc == 0, healed.output
        assert unsound(cluster, machine.name) == []


def pod_does_not_come_back(site: Site, machine: Machine) -> None:
    with cell(site, machine) as cluster:
        cluster.stuck.add(f"kube-proxy-{machine.name}")
        run = play(site, cluster, [machine], reboot_ready_timeout=8)
        assert run.rc not in (0, None), run.output
        quarantined(cluster, machine)
        assert "kube-system/kube-proxy" in cluster.annotations(machine.name)[QUARANTINED]


def kured_has_the_lock(site: Site, machine: Machine) -> None:
    with cell(site, machine, kureds=[]) as cluster:

        def lock(text: str | None) -> None:
            patch = {"metadata": {"annotations": {kured.ANNOTATION: text}}}
            cluster.store.edit("daemonsets.apps", "kube-system", "kured", patch)

        now = int(cluster.store.now.timestamp() * 10**9)
        dead, _text = kured.Kured(SPARE, ttl=10**9), None
        for text in (
            kured.Kured(SPARE, ttl=3600 * 10**9).acquire(None, now)[1],
            '{"nodeID":',
            '{"nodeID":"x","TTL":1.8e12}',
        ):
            lock(text)
            refused(play(site, cluster, [machine], reboot_lock_timeout=0))
            untouched(cluster, machine.name)
            assert cluster.store.all("daemonsets.apps")[1]["metadata"]["annotations"][kured.ANNOTATION] == text
        lock(dead.acquire(None, now - 60 * 10**9)[1])
        run = play(site, cluster, [machine])
        assert run.rc == 0, run.output
        assert was_cordoned(cluster, machine.name)
        assert unsound(cluster, machine.name) == []


def server_is_away_at_each_step(site: Site, machine: Machine) -> None:
    with cell(site, machine) as cluster:
        met = set[str]()

        def outage(steps: Sequence[Step]) -> bool:
            """Three seconds at each task that asks it, and the boot of the machine, as where the machine has the server."""
            begun = {step.task for step in steps if step.what == "start" and step.action in ASKING}
            if machine.off:
                begun.add("boot")
            if begun - met:
                met.update(begun)
                with cluster.away():
                    time.sleep(3)
            return False

        run = play(site, cluster, [machine], kill_when=outage)
        assert run.rc == 0, run.output
        assert len(met) >= 8
        assert unsound(cluster, machine.name) == []


def successor_waits_for_the_lock(site: Site, machine: Machine) -> None:
    with cell(site, machine, kureds=[]) as cluster:
        first = play(site, cluster, [machine], kill_when=lambda _steps: bool(cluster.boots))
        assert first.killed
        machine.wait(120)
        left = left_behind(cluster, machine)
        refused(play(site, cluster, [machine], reboot_lock_timeout=0))
        # Whoever it was may be alive.
        assert left_behind(cluster, machine) == left == "cordon, record, lock, rebooted"
        cluster.jump(7200)
        run = play(site, cluster, [machine])
        assert run.rc == 0, run.output
        assert unsound(cluster, machine.name) == []


def cancelled_as_awx_does(site: Site, machine: Machine) -> None:
    """ansible-runner kills the group of processes. A worker, which has a session of its own, goes on until its slice ends.

    All answers to the surveys are given as AWX gives them.
    """
    target = {"bulwark_target": "all"}
    with (
        cell(site, machine) as cluster,
        Controller(site) as looks,
        Controller(site) as cancels,
        Controller(site) as ends,
    ):
        said = options(cluster)
        del said["bulwark_target"]
        planned = looks.job(template("Bulwark reboot plan"), target, [machine], said)
        assert planned.status == "successful"
        assert artifacts(planned)["bulwark_reboot_plan"] == {"hosts": [machine.name], "batches": [1]}
        assert left_behind(cluster, machine) == "nothing"
        # So that the drain takes a while.
        cluster.make.pod("slow", machine.name, ("ReplicaSet", "slow"), grace=25)
        cancelled = cancels.job(
            template("Bulwark reboot"), target, [machine], said, cancel=lambda: machine.name in cluster.cordoned()
        )
        assert cancelled.status == "canceled"
        assert left_behind(cluster, machine) == "cordon, record, lock"
        taken_up = ends.job(template("Bulwark reboot"), {**target, "reboot_takeover": "yes"}, [machine], said)
        assert taken_up.status == "successful"
        assert artifacts(taken_up)["bulwark_reboot"][machine.name]["state"] == "rebooted"
        assert unsound(cluster, machine.name) == []
        assert until(lambda: cancels.processes() == [], 40, 0.5)


def hook(folder: Path, name: str, *tasks: object) -> str:
    """A file of tasks that notes its name, and does these."""
    path = folder / f"{name}.yml"
    noted = {"name": name, "ansible.builtin.shell": f"echo {name} >>{folder}/noted", "delegate_to": "localhost"}
    path.write_text(yaml.safe_dump([noted, *tasks]))
    return str(path)


def a_hook_fails_and_all_that_kured_has_is_done(site: Site, machine: Machine) -> None:
    with cell(site, machine) as cluster, Controller(site) as own:
        kinds = ("drain", "before", "after", "failed")
        hooks = {f"reboot_hooks_{kind}": [hook(own.folder, kind)] for kind in kinds}
        more: dict[str, Any] = {
            **hooks,
            "reboot_taint": "example.org/reboot=soon",
            "reboot_pre_labels": {"example.org/state": "rebooting"},
            "reboot_post_labels": {"example.org/state": "done"},
            "reboot_annotate": "true",
            "reboot_windows": [{"start": "0:00", "end": "24:00"}],
        }
        wrong = hook(own.folder, "wrong", {"ansible.builtin.fail": {"msg": "the balancer says no"}})
        run = play(site, cluster, [machine], **{**more, "reboot_hooks_before": [wrong]})
        assert run.rc not in (0, None)
        assert "the balancer says no" in run.output
        assert unsound(cluster, machine.name, reboots=0) == []
        assert (own.folder / "noted").read_text().split() == ["drain", "wrong", "failed"]
        (own.folder / "noted").unlink()
        # Whom an administrator has cordoned stays so.
        cluster.store.edit("nodes", "", machine.name, {"spec": {"unschedulable": True}})
        run = play(site, cluster, [machine], **more)
        assert run.rc == 0, run.output
        assert (own.folder / "noted").read_text().split() == ["drain", "before", "after"]
        assert (cluster.cordoned(), cluster.reboots(machine.name)) == ({machine.name, CLOSED}, 1)
        node = cluster.node(machine.name)
        assert node["metadata"]["labels"]["example.org/state"] == "done"
        assert set(cluster.annotations(machine.name)) == {REBOOTED, "weave.works/kured-most-recent-reboot-needed"}
        assert "example.org/reboot" not in {taint["key"] for taint in node["spec"].get("taints", ())}


def drain_is_refused_and_forced(site: Site, machine: Machine) -> None:
    with cell(site, machine) as cluster:
        cluster.make.pod("bare", machine.name, None)
        run = play(site, cluster, [machine])
        assert run.rc not in (0, None)
        assert "bare" in run.output
        assert unsound(cluster, machine.name, reboots=0) == []
        run = play(site, cluster, [machine], reboot_force=True)
        assert run.rc == 0, run.output
        (boot,) = cluster.boots
        assert (boot.cordoned, boot.locked, "bare" in boot.pods) == (True, True, True)
        assert (cluster.cordoned(), cluster.holders()) == ({CLOSED}, ())


SCENARIOS = (
    predicts_and_changes_nothing,
    budget_never_opens,
    sentinel_survives,
    never_comes_back,
    pod_does_not_come_back,
    kured_has_the_lock,
    server_is_away_at_each_step,
    successor_waits_for_the_lock,
    cancelled_as_awx_does,
    a_hook_fails_and_all_that_kured_has_is_done,
    drain_is_refused_and_forced,
)


def restore(machine: Machine) -> None:
    """Have it up, and as it was made."""
    if not machine.running:
        machine.kill()
        machine.start()
    machine.wait(120)
    machine.run("rm", "-f", SENTINEL, SURVIVES, GOES_OFF)
    machine.run("systemctl", "daemon-reload")


class Lanes:
    """Three machines, and what is done with one of them each: as much at the same time as there are machines."""

    def __init__(self, site: Site, machines: Sequence[Machine]) -> None:
        self.site, self.machines = site, machines
        self._free: queue.SimpleQueue[Machine] = queue.SimpleQueue()
        for machine in machines:
            self._free.put(machine)
        self._pool = ThreadPoolExecutor(len(machines))

    def submit(self, work: Callable[..., T], *arguments: Any) -> Future[T]:
        return self._pool.submit(self._work, work, *arguments)

    def _work(self, work: Callable[..., T], *arguments: Any) -> T:
        machine = self._free.get()
        try:
            return work(self.site, machine, *arguments)
        finally:
            # Whatever became of it: the next takes it as it is.
            with suppress(MachineError, TimeoutExpired):
                restore(machine)
            self._free.put(machine)

    @contextmanager
    def all_of_them(self) -> Iterator[Sequence[Machine]]:
        """Once nothing else is done with any of them."""
        taken = [self._free.get() for _machine in self.machines]
        try:
            yield self.machines
        finally:
            for machine in taken:
                self._free.put(machine)

    def close(self) -> None:
        """Nothing begins any more; what is under way comes to its end."""
        self._pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="module")
def lanes(site: Site) -> Iterator[Lanes]:
    machines = [site.machine("12", f"node-{name}") for name in ("one", "two", "three")]
    for machine in machines:
        install_agent(machine)
        machine.start()
    for machine in machines:
        machine.wait()
    made = Lanes(site, machines)
    yield made
    made.close()
    for machine in machines:
        machine.close()


@pytest.fixture(scope="module")
def running(lanes: Lanes, request: pytest.FixtureRequest) -> dict[str, Future[None]]:
    """The scenarios that were asked for, which have all begun."""
    wanted = {item.callspec.params.get("name") for item in request.session.items if hasattr(item, "callspec")}
    return {each.__name__: lanes.submit(each) for each in SCENARIOS if each.__name__ in wanted}


@pytest.mark.parametrize("name", [each.__name__ for each in SCENARIOS])
def test_one_machine(running: dict[str, Future[None]], name: str) -> None:
    running[name].result()


def clean(site: Site, machine: Machine) -> Play:
    """A run that nobody disturbs."""
    with cell(site, machine, kureds=[]) as cluster:
        run = play(site, cluster, [machine])
        assert run.rc == 0, run.output
        assert unsound(cluster, machine.name) == []
        told = {event["reason"] for event in cluster.store.all("events")}
        assert told == {"RebootBegun", "RebootProven", "RebootEnded"}
    return run


def test_killed_at_any_step_the_next_run_brings_it_to_its_end(lanes: Lanes, tables: list[str]) -> None:
    run = lanes.submit(clean).result()
    (host,) = {step.host for step in run.steps if step.host != "localhost"}
    rows = [lanes.submit(killed, point) for point in points(run, host)]
    found = [row.result() for row in rows]
    tables.append("\n".join(["", HEAD, *(row.line() for row in found)]))
    print(tables[-1])
    assert len(found) >= 10
    assert [row.label for row in found if row.wrong] == []


# --- three nodes


def test_two_controllers_at_once_never_take_two_nodes_down(lanes: Lanes, site: Site) -> None:
    """As slices of a job of AWX, which share nothing."""
    with lanes.all_of_them() as machines, cell(site, *machines, kureds=[]) as cluster, ThreadPoolExecutor(2) as pool:
        patience = {"reboot_gate_timeout": 300, "reboot_lock_timeout": 300}
        slices = [pool.submit(play, site, cluster, part, **patience) for part in (machines[:2], machines[2:])]
        for run in [each.result() for each in slices]:
            assert run.rc == 0, run.output
        assert unsound(cluster, *(machine.name for machine in machines)) == []
        assert len(cluster.boots) == 3


def test_killed_with_two_of_a_batch_down_the_next_run_opens_both_and_goes_on(lanes: Lanes, site: Site) -> None:
    with lanes.all_of_them() as machines, cell(site, *machines, kureds=["--concurrency=2"]) as cluster:
        two = {"reboot_concurrency": 2, "reboot_limits": {"max_unavailable": "3"}}
        first = play(site, cluster, machines, kill_when=lambda _steps: bool(cluster.boots), **two)
        assert first.killed, first.output
        assert len(cluster.cordoned() - {CLOSED}) == 2
        for machine in machines:
            machine.wait(120)
        run = play(site, cluster, machines, reboot_takeover=True, **two)
        assert run.rc == 0, run.output
        assert unsound(cluster, *(machine.name for machine in machines), at_once=2) == []
