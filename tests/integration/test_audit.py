# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook bulwark.node.audit, run by the real ansible-playbook: on this machine, and on hosts that fail it.

Nothing is reached but this machine and a closed port of its loopback, and all files are below tmp_path.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CONTROLS = {"hugepages-cgroup-ready", "thp-direct-compaction", "facts-complete", "fleet-kernel"}
"""Of those that every host is judged by."""
FILES = ["junit.xml", "report.html", "report.json"]

HOSTILE_TEXT = "\x1b[31m\x1b]0;owned\x07\u202e{{ 1 / 0 }}\r\nnode  -  pass"
# An interpreter that runs no module and says what it likes.
HOSTILE_PYTHON = "#!/bin/sh\ncat <<'END'\n{}\nEND\n"


@dataclass(frozen=True)
class Run:
    """An ended ansible-playbook."""

    rc: int
    stdout: str
    folder: Path

    @property
    def path(self) -> Path:
        """Where the report is by default."""
        return self.folder / "bulwark-report" / "report.json"

    def report(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(self.path.read_text())
        return loaded

    def statuses(self) -> dict[str, str]:
        return {name: host["status"] for name, host in self.report()["hosts"].items()}


class Fleet:
    """An inventory and the way to audit it."""

    def __init__(self, folder: Path, closed_port: int) -> None:
        self.folder = folder
        self.down = (
            f"ansible_host=127.0.0.1 ansible_port={closed_port} ansible_ssh_common_args='-F none -o BatchMode=yes'"
        )
        self.here = f"ansible_connection=local ansible_python_interpreter={sys.executable}"
        self.broken = "ansible_connection=local ansible_python_interpreter=/nonexistent/python"

    def hostile(self, answer: dict[str, Any]) -> str:
        """Variables of a host that answers the facts module's call with ``answer``."""
        python = self.folder / "hostile"
        python.write_text(HOSTILE_PYTHON.format(json.dumps(answer)))
        python.chmod(0o755)
        return f"ansible_connection=local ansible_python_interpreter={python}"

    def play(self, *arguments: str, playbook: str = "bulwark.node.audit", **hosts: str) -> Run:
        """Runs a playbook on ``hosts`` in this order, with the folder as the current one."""
        inventory = self.folder / "hosts.ini"
        inventory.write_text("".join(f"{name} {variables}\n" for name, variables in hosts.items()))
        configuration = self.folder / "ansible.cfg"
        configuration.write_text("[defaults]\n")
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder / "home"),
            "LANG": "C.UTF-8",
            "COLUMNS": "132",
            "ANSIBLE_CONFIG": str(configuration),
            "ANSIBLE_HOME": str(self.folder / "home"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_REMOTE_TMP": str(self.folder / "home" / "remote"),
            "ANSIBLE_SHOW_CUSTOM_STATS": "1",
            "ANSIBLE_SSH_RETRIES": "0",
        }
        done = subprocess.run(
            [str(Path(sys.executable).parent / "ansible-playbook"), playbook, "-i", str(inventory), *arguments],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        print(done.stdout)
        return Run(done.returncode, done.stdout, self.folder)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    if shutil.which("ssh") is None:
        pytest.skip("ssh is missing: install openssh-client")
    # Bound and not listening: nobody else takes the port, and it refuses connections.
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        yield Fleet(tmp_path, closed.getsockname()[1])


def test_this_machine_is_reported_and_nothing_is_changed(fleet: Fleet) -> None:
    run = fleet.play(this=fleet.here)
    assert run.rc == 0
    assert "changed=0" in run.stdout
    made = run.report()
    assert set(made) == {"schema", "generated", "hosts", "summary", "compared", "cloud_nat"}
    host = made["hosts"]["this"]
    assert (host["status"], host["reason"]) == ("ok", None)
    assert host["facts"]["schema"] == 1
    assert host["facts"]["host"]["kernel_release"] == os.uname().release
    controls = {finding["control"]: finding["status"] for finding in host["findings"]}
    assert set(controls) >= CONTROLS
    assert "error" not in controls.values()
    assert made["summary"]["hosts"] == 1
    assert sum(made["summary"]["findings"]["by_status"].values()) == len(controls)
    assert all(control in run.stdout for control, status in controls.items() if status != "not_applicable")
    assert f"Report: {run.path.parent}/report.html" in run.stdout
    assert sorted(os.listdir(run.path.parent)) == FILES
    for name in FILES:
        assert stat.S_IMODE((run.path.parent / name).stat().st_mode) == 0o640


def test_a_second_run_replaces_the_report_and_finds_the_same(fleet: Fleet) -> None:
    first = fleet.play(this=fleet.here).report()
    run = fleet.play(this=fleet.here)
    second = run.report()
    assert run.rc == 0
    assert "changed=0" in run.stdout
    assert second["generated"] > first["generated"]
    # What the machine does meanwhile may change a verdict, not the controls.
    judged = [[finding["control"] for finding in made["hosts"]["this"]["findings"]] for made in (first, second)]
    assert judged[0] == judged[1]
    assert sorted(os.listdir(run.path.parent)) == FILES


def test_unreachable_and_failed_hosts_are_rows_and_fail_the_run(fleet: Fleet) -> None:
    run = fleet.play(down=fleet.down, this=fleet.here, broken=fleet.broken)
    assert run.rc == 2
    assert run.statuses() == {"broken": "failed", "down": "unreachable", "this": "ok"}
    hosts = run.report()["hosts"]
    assert "Connection refused" in hosts["down"]["reason"]
    assert "/nonexistent/python" in hosts["broken"]["reason"]
    assert (hosts["down"]["facts"], hosts["down"]["findings"]) == (None, [])
    assert {finding["control"] for finding in hosts["this"]["findings"]} >= CONTROLS
    assert "2 of 3 hosts could not be audited; unreachable: down; no facts from: broken" in run.stdout
    table = run.stdout[run.stdout.index("HOST ") :].splitlines()
    assert table[1].split()[:3] == ["down", "-", "unreachable"]


def test_all_hosts_unreachable_is_a_report_too(fleet: Fleet) -> None:
    # The task is delegated to localhost, which here cannot be reached either.
    run = fleet.play(localhost=f"ansible_connection=ssh {fleet.down}", other=fleet.down)
    assert run.rc == 2
    assert run.statuses() == {"localhost": "unreachable", "other": "unreachable"}
    assert run.report()["summary"]["unreachable"] == 2


@pytest.mark.parametrize(("limit", "rc", "status"), [("down", 2, "unreachable"), ("this", 0, "ok")])
def test_the_report_is_on_the_hosts_of_the_limit(fleet: Fleet, limit: str, rc: int, status: str) -> None:
    run = fleet.play("--limit", limit, down=fleet.down, this=fleet.here)
    assert run.rc == rc
    assert run.statuses() == {limit: status}


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["-e", "audit_hosts=tpyo"], "The pattern tpyo (audit_hosts) matches no host of the inventory."),
        (
            ["-e", "audit_hosts=web", "-l", "db"],
            "The pattern web (audit_hosts) matches no host of the inventory within the limit db.",
        ),
        (["-i", "/dev/null"], "The pattern all (audit_hosts) matches no host of the inventory."),
    ],
    ids=["typo", "limit", "inventory"],
)
def test_an_audit_of_nobody_fails_and_says_so(fleet: Fleet, arguments: list[str], cause: str) -> None:
    hosts = {} if "-i" in arguments else {"web": fleet.here, "db": fleet.here}
    run = fleet.play(*arguments, **hosts)
    assert run.rc == 2
    assert f"Nothing was audited. {cause}" in run.stdout
    assert not run.path.exists()


def test_a_pattern_may_take_a_part_of_the_limit_in_the_order_of_the_inventory(fleet: Fleet) -> None:
    (fleet.folder / "limit").write_text("c\na\n")
    run = fleet.play("-e", "audit_hosts=all:!b", "-l", "@limit", **dict.fromkeys("abcd", fleet.here))
    assert run.rc == 0
    assert run.statuses() == {"a": "ok", "c": "ok"}


def test_the_implicit_localhost_is_audited_when_it_is_named(fleet: Fleet) -> None:
    run = fleet.play("-e", f"audit_hosts=localhost ansible_python_interpreter={sys.executable}")
    assert run.rc == 0
    assert run.statuses() == {"localhost": "ok"}


def test_check_mode_shows_the_findings_and_writes_nothing(fleet: Fleet) -> None:
    run = fleet.play("--check", this=fleet.here)
    assert run.rc == 0
    assert "thp-direct-compaction" in run.stdout
    assert not run.path.parent.exists()


def test_a_host_that_left_the_play_earlier_is_a_row(fleet: Fleet) -> None:
    playbook = fleet.folder / "own.yml"
    playbook.write_text(
        """
- hosts: all
  gather_facts: false
  pre_tasks:
    - ansible.builtin.fail:
      when: inventory_hostname == 'gone'
  roles:
    - role: bulwark.node.audit
      vars: {audit_report_dir: elsewhere}
"""
    )
    run = fleet.play(playbook=str(playbook), gone=fleet.here, this=fleet.here)
    assert run.rc == 2
    made = json.loads((fleet.folder / "elsewhere" / "report.json").read_text())
    assert made["hosts"]["this"]["status"] == "ok"
    assert made["hosts"]["gone"]["status"] == "failed"
    assert "left the play before the audit" in made["hosts"]["gone"]["reason"]


def test_a_play_in_batches_is_refused_before_it_gathers(fleet: Fleet) -> None:
    playbook = fleet.folder / "own.yml"
    playbook.write_text("- hosts: all\n  gather_facts: false\n  serial: 1\n  roles: [bulwark.node.audit]\n")
    run = fleet.play(playbook=str(playbook), this=fleet.here, other=fleet.here)
    assert run.rc == 2
    assert "Run it in a play without serial" in run.stdout
    assert not run.path.exists()


def test_a_folder_that_cannot_be_written_is_named(fleet: Fleet) -> None:
    (fleet.folder / "file").write_text("")
    run = fleet.play("-e", "audit_report_dir=file/below", this=fleet.here)
    assert run.rc == 2
    assert f"report: dir: cannot write {fleet.folder}/file/below/junit.xml: Not a directory" in run.stdout


def test_only_the_subset_that_was_asked_for_is_judged(fleet: Fleet) -> None:
    run = fleet.play("-e", '{"audit_gather_subset": ["transparent_hugepages"]}', this=fleet.here)
    assert run.rc == 0
    statuses = {finding["control"]: finding["status"] for finding in run.report()["hosts"]["this"]["findings"]}
    known = {control for control, status in statuses.items() if status not in ("unknown", "not_applicable")}
    assert known == {"thp-direct-compaction", "thp-only-where-asked", "facts-complete"}
    assert "error" not in statuses.values()


OWN = """
params:
  most_uptime_s: {default: 0, description: "Seconds."}
controls:
  - id: own-uptime
    title: It has just booted
    why: To try a file of one's own.
    severity: high
    expect: facts.host.uptime_s <= params.most_uptime_s
    evidence: "{uptime: facts.host.uptime_s, groups: host.groups}"
    reason: "up for {uptime} seconds, of {groups}"
    remedy: Boot it.
    references: [https://example.com]
"""


def test_groups_are_judged_by_baselines_parameters_and_waivers_of_their_own(fleet: Fleet) -> None:
    """What fails is shown, keeps its files and its statistics, and is compared with the report before."""
    (fleet.folder / "own.yml").write_text(OWN)
    waiver = {"control": "own-uptime", "reason": "until spring", "expires": "9999-12-31"}
    variables: dict[str, dict[str, Any]] = {
        "bad": {},
        "tuned": {"audit_params": {"most_uptime_s": 1 << 40}},
        "waived": {"audit_waivers": [waiver]},
    }
    for name, own in variables.items():
        folder = fleet.folder / "host_vars"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps({"audit_baselines": ["own.yml"], **own}))
    hosts = {**dict.fromkeys(variables, fleet.here), "plain": fleet.here}
    play = ("-e", "audit_fail_on=high")
    run = fleet.play(*play, **hosts)
    assert run.rc == 2
    assert "1 of 4 hosts have findings of severity high or worse: bad (own-uptime)" in run.stdout
    made = run.report()["hosts"]
    assert {name: [each["status"] for each in made[name]["findings"]] for name in variables} == {
        "bad": ["fail"],
        "tuned": ["pass"],
        "waived": ["waived"],
    }
    assert "own-uptime" not in [each["control"] for each in made["plain"]["findings"]]
    assert sorted(os.listdir(run.path.parent)) == FILES
    # AWX has the statistics of a run that failed too.
    stats = json.loads(run.stdout[run.stdout.index("RUN: ") + 5 :])["bulwark_audit"]
    assert (stats["hosts_failing"], stats["summary"]["hosts"], stats["path"]) == (["bad"], 4, str(run.path))
    assert "own-uptime" in (run.path.parent / "report.html").read_text()
    older = fleet.folder / "older.json"
    run.path.rename(older)
    (fleet.folder / "host_vars" / "bad.json").unlink()
    hosts["bad"] += " audit_baselines='[\"own.yml\"]' audit_params='{\"most_uptime_s\": 1099511627776}'"
    run = fleet.play(*play, "-e", "audit_compare=older.json", **hosts)
    assert run.rc == 0
    compared = run.report()["compared"]
    assert [(each["host"], each["control"]) for each in compared["fixed"]] == [("bad", "own-uptime")]
    assert compared["worse"] == []
    assert "0 worse, 1 fixed" in run.stdout


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"audit_baselines": ["missing.yml"]}, "missing.yml: cannot be read: No such file or directory"),
        ({"audit_params": {"no_such": 1}}, "this: params: has 'no_such', which no baseline has"),
        (
            {"audit_waivers": [{"control": "thp-direct-compaction", "reason": "x"}]},
            "missing required arguments: expires",
        ),
        (
            {"audit_fail_on": "severe"},
            "value of audit_fail_on must be one of: never, critical, high, medium, low, info",
        ),
        ({"audit_compare": "none.json"}, "compare: cannot read none.json: No such file or directory"),
    ],
)
def test_what_it_is_judged_by_is_refused_in_a_sentence(fleet: Fleet, variables: dict[str, Any], message: str) -> None:
    run = fleet.play("-e", json.dumps(variables), this=fleet.here)
    assert run.rc == 2
    assert message in " ".join(run.stdout.split())
    assert "Traceback" not in run.stdout
    assert not run.path.exists()


@pytest.mark.parametrize(
    "facts",
    [
        {"schema": 1, "errors": [{"subset": "host", "reason": HOSTILE_TEXT}], "hugepages": {"pools": HOSTILE_TEXT}},
        {"schema": HOSTILE_TEXT},
        {"schema": 1, "host": json.loads("[" * 60 + "]" * 60)},
        [HOSTILE_TEXT],
    ],
    ids=["text", "schema", "deep", "list"],
)
def test_a_hostile_host_harms_neither_terminal_nor_the_other_host(fleet: Fleet, facts: Any) -> None:
    run = fleet.play(evil=fleet.hostile({"changed": False, "ansible_facts": {"bulwark": facts}}), this=fleet.here)
    assert run.statuses()["this"] == "ok"
    assert "evil" in run.statuses()
    table = run.stdout[run.stdout.index("HOST ") : run.stdout.index("Report: ")]
    assert table.replace("\n", "").isprintable()
    assert run.path.read_bytes().isascii()
