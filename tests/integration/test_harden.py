# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks bulwark.node.harden and bulwark.node.undo, run by the real ansible-playbook on real machines, over ssh."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.tests.hosts import state
from ansible_collections.bulwark.node.tests.hosts.machine import Machine, Site

from .test_audit import Fleet, Run

STATE = Path(state.__file__).read_text()
POOL = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")
DEFRAG = Path("/sys/kernel/mm/transparent_hugepage/defrag")
MANIFEST = "/var/lib/bulwark/manifest.json"
DROPIN = "/etc/systemd/system/containerd.service.d/95-bulwark-rlimit.conf"
NETWORKD = {
    "/etc/systemd/network/20-br9.netdev": "[NetDev]\nName=br9\nKind=bridge\n",
    "/etc/systemd/network/20-br9.network": "[Match]\nName=br9\n\n[Network]\nConfigureWithoutCarrier=yes\nLinkLocalAddressing=no\n",
}
UNIT = "[Service]\nExecStart=/bin/sleep infinity\n"
WRITABLE = ["/sys/kernel/mm", "/sys/devices/system/node"]
PAGES = 11
# What a node is asked for here: files for each domain, and settings of the kernel.
ASKED = {
    "harden_profile": "kubernetes_node",
    "harden_hugepages": {"pools": [{"size": "2M", "count": PAGES}]},
    "harden_transparent_hugepages": {"defrag": "defer+madvise"},
    "harden_bridges": {"bridges": [{"name": "br9", "mtu": 2000}]},
    # The profile's number takes CAP_SYS_RESOURCE, which no machine in a container has.
    "harden_rlimits": [
        {"limits": {"nofile": 8192}, "systemd_units": ["containerd.service"]},
        {"limits": {"core": 0}, "pam": {"domain": "*"}},
    ],
}


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    # Bound and not listening: it refuses connections.
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        yield Fleet(tmp_path, closed.getsockname()[1])


def play(fleet: Fleet, name: str, hosts: dict[str, str], *arguments: str, **variables: Any) -> Run:
    """Run a playbook of the collection on these hosts."""
    given = {"bulwark_target": "all", **variables}
    return fleet.play("-e", json.dumps(given), *arguments, playbook=f"bulwark.node.{name}", **hosts)


def variables(machines: dict[str, Machine]) -> dict[str, str]:
    return {machine.name: machine.variables() for machine in machines.values()}


def outcomes(run: Run) -> dict[str, Any]:
    return {name: host["outcome"] for name, host in run.report()["hosts"].items()}


def statuses(run: Run) -> dict[str, str]:
    return {name: outcome["status"] for name, outcome in outcomes(run).items()}


def settings_of(machine: Machine) -> dict[str, Any]:
    """All that undo must give back: each file of /etc with text, mode and owner, and the kernel's settings."""
    found = json.loads(machine.run("python3", "-", stdin=STATE).stdout)
    files = {path: entry for path, entry in found["files"].items() if path.startswith(("/etc", "/var/lib"))}
    # A boot numbers them anew: what counts is what is mounted where.
    found["mounts"] = sorted(f"{row.split()[2]} {row.partition(' - ')[2].split()[0]}" for row in found["mounts"])
    return {
        # A file that was edited and given back is newer.
        "files": {path: [*entry[:3], *entry[4:]] if len(entry) == 5 else entry for path, entry in files.items()},
        **{part: found[part] for part in ("sysctls", "hugepages", "transparent_hugepages", "mounts", "links")},
    }


def differences(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    pairs = {
        (part, key): (of_part.get(key), after[part].get(key))
        for part, of_part in before.items()
        if isinstance(of_part, dict)
        for key in {*of_part, *after[part]}
    }
    found: dict[str, Any] = {f"{part} {key}": pair for (part, key), pair in pairs.items() if pair[0] != pair[1]}
    if before["mounts"] != after["mounts"]:
        found["mounts"] = sorted({*before["mounts"]} ^ {*after["mounts"]})
    return found


@pytest.fixture
def nodes(site: Site, kernel: None) -> Iterator[dict[str, Machine]]:
    """One of each release with a runtime's unit, which may set this kernel's pages; these are put back."""
    if not (POOL.exists() and DEFRAG.exists()):
        pytest.skip("hardware: this kernel has no hugepages of 2 MiB, or no transparent ones")
    made = {version: site.machine(version, f"node{version}", WRITABLE) for version in ("11", "12", "13")}
    try:
        for machine in made.values():
            for path, text in {"/etc/systemd/system/containerd.service": UNIT, **NETWORKD}.items():
                machine.write(path, text)
            machine.start()
        for machine in made.values():
            machine.wait()
        yield made
    finally:
        for machine in made.values():
            machine.close()


def test_three_releases_are_hardened_drift_is_repaired_and_undo_gives_all_back(
    fleet: Fleet, nodes: dict[str, Machine]
) -> None:
    hosts = variables(nodes)
    before = {name: settings_of(machine) for name, machine in nodes.items()}
    pages, enabled, defrag = POOL.read_text(), THP.read_text(), DEFRAG.read_text()
    first = play(fleet, "harden", hosts, **ASKED)
    assert first.rc == 0
    assert set(statuses(first).values()) == {"changed"}
    assert POOL.read_text() == f"{PAGES}\n"
    for machine in nodes.values():
        assert machine.path(DROPIN).exists()
    again = play(fleet, "harden", hosts, **ASKED)
    assert again.rc == 0
    assert set(statuses(again).values()) == {"unchanged"}
    assert "changed=0" in again.stdout

    for machine in nodes.values():
        machine.reboot()
    rebooted = play(fleet, "harden", hosts, **ASKED)
    assert rebooted.rc == 0
    assert set(statuses(rebooted).values()) == {"unchanged"}

    # By hand: a setting of the kernel, a file that went, a file that was edited.
    POOL.write_text("3")
    nodes["12"].path(DROPIN).unlink()
    limits = next(nodes["13"].path("/etc/security/limits.d").glob("*bulwark*"))
    limits.write_text(limits.read_text().replace("core 0", "core 7"))
    repaired = play(fleet, "harden", hosts, **ASKED)
    assert repaired.rc == 0
    assert POOL.read_text() == f"{PAGES}\n"
    assert nodes["12"].path(DROPIN).exists()
    assert "core 7" not in limits.read_text()

    hardened = {name: settings_of(machine) for name, machine in nodes.items()}
    foretold = play(fleet, "undo", hosts, "--check")
    assert foretold.rc == 0
    assert " to change " in foretold.stdout
    for name, machine in nodes.items():
        assert differences(hardened[name], settings_of(machine)) == {}
    undone = play(fleet, "undo", hosts)
    assert undone.rc == 0
    assert {name: outcome["remains"] for name, outcome in outcomes(undone).items()} == {name: [] for name in hosts}
    assert (POOL.read_text(), THP.read_text(), DEFRAG.read_text()) == (pages, enabled, defrag)
    for name, machine in nodes.items():
        assert differences(before[name], settings_of(machine)) == {}
        given = [entry["object"] for entry in outcomes(undone)[machine.name]["given_back"]]
        assert {DROPIN, "/sys/class/net/br9/mtu"} <= set(given)
    nothing = play(fleet, "undo", hosts)
    assert nothing.rc == 0
    assert set(statuses(nothing).values()) == {"unchanged"}


def test_undo_finds_what_is_written_for_bridges_where_the_manifest_is_lost(
    fleet: Fleet, nodes: dict[str, Machine]
) -> None:
    machine = nodes["12"]
    hosts = {machine.name: machine.variables()}
    assert play(fleet, "harden", hosts, harden_bridges=ASKED["harden_bridges"]).rc == 0
    machine.path(MANIFEST).unlink()
    undone = play(fleet, "undo", hosts)
    assert not machine.path("/etc/systemd/network/20-br9.network.d/90-bulwark-bridge-mtu.conf").exists()
    # The link that enables the unit, and is known by the manifest alone, is named.
    remains = [entry["object"] for entry in outcomes(undone)[machine.name]["remains"]]
    assert undone.rc == (2 if remains else 0)


# Files alone, for machines that all tests share.
LIMITS = {
    "harden_rlimits": [
        {"limits": {"nofile": 8192}, "systemd_units": ["ssh.service"]},
        {"limits": {"core": 0}, "pam": {"domain": "*"}},
    ]
}
SSH = "/etc/systemd/system/ssh.service.d/95-bulwark-rlimit.conf"


@pytest.fixture
def shared(fleet: Fleet, machines: dict[str, Machine]) -> Iterator[dict[str, Machine]]:
    """The machines that all tests share, which are undone afterwards."""
    yield machines
    for machine in machines.values():
        machine.run("umount", "/etc/security/limits.d", check=False)
    assert play(fleet, "undo", variables(machines), undo_serial="100%").rc == 0
    assert not [machine.name for machine in machines.values() if machine.path(MANIFEST).exists()]


def told(run: Run) -> str:
    """What was printed of the task that sets all."""
    return run.stdout.partition(" : Set all that is asked for]")[2].partition("\nTASK ")[0]


def results(run: Run) -> dict[str, dict[str, Any]]:
    """What the module settings returned, per host, of a run with -v."""
    rows = re.findall(r"^changed: \[(.+?)\] => (\{.*\})$", told(run), re.MULTILINE)
    return {name: json.loads(said) for name, said in rows}


def diffs(run: Run) -> list[str]:
    return sorted(re.findall(r"^[-+@].*$", told(run), re.MULTILINE))


def test_a_check_foretells_the_run_field_by_field_and_shows_who_cannot_be_hardened(
    fleet: Fleet, shared: dict[str, Machine]
) -> None:
    hosts = variables(shared)
    before = {name: settings_of(machine) for name, machine in shared.items()}
    names = sorted(hosts)
    sick = {names[0]: hosts[names[0]], "down": fleet.down, "broken": fleet.broken}
    check = play(fleet, "harden", {**sick, **hosts}, "--check", "--diff", "-v", **LIMITS)
    assert check.rc == 2
    assert not check.path.exists()
    for name, machine in shared.items():
        assert differences(before[name], settings_of(machine)) == {}
    table = check.stdout[check.stdout.index("\nHOST ") :].splitlines()
    shown = {tuple(row.split()[:3]) for row in table if row[:1].isalnum()}
    assert {("down", "-", "unreachable"), ("broken", "-", "failed")} <= shown
    assert {(name, "-", "to") for name in names} <= shown
    assert "2 of 5 hosts are not as they should be; unreachable: down (" in check.stdout
    assert "Connection refused" in check.stdout

    run = play(fleet, "harden", hosts, "--diff", "-v", harden_serial="100%", **LIMITS)
    assert run.rc == 0
    foretold, done = results(check), results(run)
    assert set(done) == set(hosts)
    for name in hosts:
        assert foretold[name] == done[name]
    assert diffs(check) == diffs(run) != []


def test_a_host_that_is_down_stops_the_run_before_those_after_it(fleet: Fleet, shared: dict[str, Machine]) -> None:
    first, last = list(shared.values())[:2]
    hosts = {first.name: first.variables(), "down": fleet.down, last.name: last.variables()}
    run = play(fleet, "harden", hosts, **LIMITS)
    assert run.rc == 2
    assert statuses(run) == {first.name: "changed", "down": "unreachable", last.name: "not_begun"}
    assert run.report()["hosts"][last.name]["status"] == "not_begun"
    assert f"not begun: {last.name}" in run.stdout
    assert "Connection refused" in outcomes(run)["down"]["reason"]
    assert not last.path(SSH).exists()


def test_a_host_that_fails_in_the_middle_keeps_what_was_done_and_stops_the_run(
    fleet: Fleet, shared: dict[str, Machine]
) -> None:
    first, middle, last = shared.values()
    middle.run("mount", "-t", "tmpfs", "-o", "nr_inodes=1", "tmpfs", "/etc/security/limits.d")
    run = play(fleet, "harden", variables(shared), **LIMITS)
    assert run.rc == 2
    assert statuses(run) == {first.name: "changed", middle.name: "failed", last.name: "not_begun"}
    outcome = outcomes(run)[middle.name]
    assert [(domain["name"], domain["status"]) for domain in outcome["domains"]] == [
        ("rlimits[0]", "changed"),
        ("rlimits[1]", "failed"),
    ]
    assert "ENOSPC" in outcome["reason"]
    assert middle.path(SSH).exists()
    assert run.report()["hosts"][middle.name]["status"] == "ok"
    middle.run("umount", "/etc/security/limits.d")
    again = play(fleet, "harden", variables(shared), **LIMITS)
    assert again.rc == 0
    assert statuses(again) == {first.name: "unchanged", middle.name: "changed", last.name: "changed"}


def test_undo_leaves_a_file_of_ours_that_another_changed_and_names_it(fleet: Fleet, shared: dict[str, Machine]) -> None:
    machine = shared["12"]
    hosts = {machine.name: machine.variables()}
    assert play(fleet, "harden", hosts, **LIMITS).rc == 0
    machine.path(SSH).write_text("[Service]\n# theirs\n")
    try:
        run = play(fleet, "undo", hosts)
        assert run.rc == 0
        assert any(SSH in warning for warning in outcomes(run)[machine.name]["warnings"])
        assert machine.path(SSH).read_text() == "[Service]\n# theirs\n"
    finally:
        machine.path(SSH).unlink()
        machine.path(SSH).parent.rmdir()


def test_a_host_that_gets_worse_stops_the_run_unless_that_was_accepted(fleet: Fleet, nodes: dict[str, Machine]) -> None:
    hosts = variables(nodes)
    first, *others = hosts
    asked = {"harden_transparent_hugepages": {"enabled": "always", "defrag": "always"}}
    control = "thp-direct-compaction"
    run = play(fleet, "harden", hosts, **asked)
    assert run.rc == 2
    assert statuses(run) == {first: "worse", **dict.fromkeys(others, "not_begun")}
    worse = outcomes(run)[first]["worse"]
    told = {entry["control"]: (entry["before"], entry["after"], entry["accepted"]) for entry in worse}
    # The second is of low severity, which stops no run.
    assert told == {control: ("pass", "fail", False), "thp-only-where-asked": ("pass", "fail", True)}
    assert f"1 of 3 hosts are not as they should be; worse: {first} ({control})" in run.stdout
    for name in others:
        assert not nodes[name.removeprefix("node")].path(MANIFEST).exists()
    accepted = play(fleet, "harden", hosts, harden_accept_worse=[control], **asked)
    assert accepted.rc == 0
    assert set(statuses(accepted).values()) == {"changed", "unchanged"}
    undone = play(fleet, "undo", hosts)
    assert undone.rc == 0


@pytest.mark.parametrize("name", ["harden", "undo"])
@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        ([], "Name the hosts or groups: bulwark_target must"),
        (["-e", "bulwark_target=tpyo"], "The pattern tpyo (bulwark_target) matches no host of the inventory:"),
        (
            ["-e", "bulwark_target=web", "-l", "db"],
            "The pattern web (bulwark_target) matches no host of the inventory within the limit db:",
        ),
    ],
    ids=["none", "typo", "limit"],
)
def test_without_a_target_nothing_is_touched(fleet: Fleet, name: str, arguments: list[str], cause: str) -> None:
    run = fleet.play(*arguments, playbook=f"bulwark.node.{name}", web=fleet.broken, db=fleet.broken)
    assert run.rc == 2
    said = " ".join(run.stdout.split())
    assert "Nothing was touched." in said
    assert cause in said
    assert "Audit the node as it is" not in said
    assert not run.path.exists()


HOSTILE_TEXT = "\x1b[31m\x1b]0;owned\x07\u202e{{ 1 / 0 }}\r\nnode  -  pass"


@pytest.mark.parametrize("failed", [False, True])
@pytest.mark.parametrize("name", ["harden", "undo"])
def test_a_hostile_host_harms_neither_terminal_nor_report_and_its_text_is_no_template(
    fleet: Fleet, name: str, failed: bool
) -> None:
    # It says the same to all modules.
    part = {
        "changed": True,
        "changes": [{"kind": HOSTILE_TEXT, "target": HOSTILE_TEXT}],
        "unmet": [{"reason": HOSTILE_TEXT}],
    }
    facts = {
        "schema": 1,
        "errors": [],
        "managed": {"objects": [{"kind": "files", "object": HOSTILE_TEXT, "by": HOSTILE_TEXT}]},
    }
    answer = {
        "changed": True,
        "ansible_facts": {"bulwark": facts},
        "domains": {"kvm": {**part, "failed": failed, "msg": HOSTILE_TEXT}},
        "warnings": [],
        "reboot_required": False,
        "restart_required": [{"unit": HOSTILE_TEXT, "reason": HOSTILE_TEXT}],
    }
    hosts = {"evil": fleet.hostile(answer), "next": fleet.broken}
    run = play(fleet, name, hosts, harden_kvm={"tun": True})
    assert run.rc == 2
    assert run.path.read_bytes().isascii()
    outcome = outcomes(run)["evil"]
    if failed:
        assert outcome["domains"][0]["reason"] == outcome["reason"] == HOSTILE_TEXT
    else:
        assert outcome["domains"][0]["changes"][0]["target"] == HOSTILE_TEXT
    if name == "undo":
        assert outcome["remains"][0]["object"] == HOSTILE_TEXT
    tables = re.findall(r"^HOST .*?(?=^Report: )", run.stdout, re.MULTILINE | re.DOTALL)
    assert tables
    assert all(table.replace("\n", "").isprintable() for table in tables)


def test_a_run_that_is_killed_leaves_a_report_that_names_the_host_it_was_at(
    fleet: Fleet, shared: dict[str, Machine]
) -> None:
    """The report is there before the first change: whoever looks then sees what a killed run leaves."""
    hosts = variables(shared)
    seen = fleet.folder / "seen.json"
    # The role's first task copies what is there: a value is made when it is asked for.
    copy = f"{{{{ lookup('ansible.builtin.pipe', 'cp {fleet.folder}/bulwark-report/report.json {seen} && echo 8192') | int }}}}"
    run = play(
        fleet,
        "harden",
        hosts,
        harden_serial=1,
        harden_rlimits=[{"limits": {"nofile": copy}, "systemd_units": ["ssh.service"]}],
    )
    assert run.rc == 0
    last = json.loads(seen.read_text())["hosts"]
    assert {name: host["outcome"]["status"] for name, host in last.items()} == {
        **dict.fromkeys(hosts, "changed"),
        [*hosts][-1]: "begun",
    }
