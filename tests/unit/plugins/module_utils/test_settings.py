# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several domains in one trip: what is foretold is what comes, one refusal stops all, one failure undoes itself alone."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils import settings
from ansible_collections.bulwark.node.plugins.module_utils.errors import Interrupted, OptionError
from ansible_collections.bulwark.node.plugins.module_utils.foresight import Foresight
from ansible_collections.bulwark.node.plugins.module_utils.node.transparent_hugepages import TransparentHugepages
from ansible_collections.bulwark.node.plugins.module_utils.settings import Outcome
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import (
    MANIFEST,
    FakeKernel,
    WriteFault,
    different,
    lay,
    load,
    snapshot,
)

PAM = "/etc/security/limits.d/95-bulwark-rlimit.conf"
THP = "/sys/kernel/mm/transparent_hugepage/enabled"
TMPFILES = "/etc/tmpfiles.d/10-bulwark-transparent-hugepages.conf"
POOLS = "/etc/tmpfiles.d/10-bulwark-hugepages.conf"
MADE_BY_US = {"/var", "/var/lib", "/var/lib/bulwark", "/run/bulwark-hugepages-changed"}
FILES = {
    "/proc/sys/fs/nr_open": "1048576",
    "/proc/sys/fs/file-max": "9223372036854775807",
    "/proc/sys/kernel/threads-max": "192731",
    "/proc/sys/kernel/pid_max": "4194304",
    "/proc/self/status": "CapEff:\t000001ffffffffff",
    "/etc/passwd": "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh",
    "/etc/pam.d/sshd": "session required pam_limits.so",
    "/etc/pam.d/login": "session required pam_limits.so",
}

Make = Callable[..., FakeKernel]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    count = iter(range(1_000_000))

    def make(files: dict[str, str] | None = None) -> FakeKernel:
        root = tmp_path / str(next(count))
        lay(root, load("cgroup-v2-systemd"), {**FILES, **(files or {})})
        for folder in ("etc/security/limits.d", "etc/sysctl.d", "etc/tmpfiles.d"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        return FakeKernel(str(root))

    return make


def asked(**given: Any) -> dict[str, Any]:
    """The parameters as Ansible fills them in."""

    def filled(spec: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
        found = {}
        for name, option in spec.items():
            value = values.get(name, option.get("default"))
            if "options" in option and value is not None:
                value = (
                    [filled(option["options"], each) for each in value]
                    if option["type"] == "list"
                    else filled(option["options"], value)
                )
            found[name] = value
        return found

    return filled(settings.ARGUMENT_SPEC, given)


def run(host: FakeKernel, check: bool = False, **given: Any) -> Outcome:
    outcome = Outcome(settings.parts(asked(**given)))
    settings.settle(outcome, lambda: host, Foresight(host.root), check)
    return outcome


def nofile(value: int, domain: str = "*", **more: Any) -> dict[str, Any]:
    return {"limits": {"nofile": value}, "pam": {"domain": domain, "file": PAM}, **more}


ALL: dict[str, Any] = {
    "hugepages": {"pools": [{"size": "2M", "count": 100}]},
    "transparent_hugepages": {"enabled": "never"},
    "rlimits": [nofile(4096), nofile(8192, "alice"), nofile(16384, "root")],
}
ABSENT: dict[str, Any] = {
    "hugepages": {"state": "absent"},
    "transparent_hugepages": {"state": "absent"},
    "rlimits": [{"state": "absent"}],
}


def test_what_a_check_says_is_what_the_run_does_and_a_second_run_changes_nothing(machine: Make) -> None:
    host = machine()
    before = snapshot(host)
    foretold = run(host, True, **ALL)
    assert different(before, snapshot(host)) == set()
    done = run(host, **ALL)
    assert foretold.as_dict() == done.as_dict()
    assert [part.option for part, result in done.results if result.changed] == [
        "hugepages",
        "transparent_hugepages",
        "rlimits[0]",
        "rlimits[1]",
        "rlimits[2]",
    ]
    # The later entries have seen the file that the first one makes, and know it for ours.
    assert not any(
        "does not know" in warning for part, result in foretold.results for warning in result.verdict.warnings
    )
    again = run(host, **ALL)
    assert not again.as_dict()["changed"]
    assert again.as_dict()["diff"] == []


def test_absent_of_all_gives_back_what_was_there(machine: Make) -> None:
    host = machine()
    before = snapshot(host)
    run(host, **ALL)
    foretold, done = run(host, True, **ABSENT), run(host, **ABSENT)
    assert foretold.as_dict() == done.as_dict()
    assert different(before, snapshot(host)) <= MADE_BY_US


def test_nothing_is_written_where_one_part_is_refused_and_all_refusals_are_named(machine: Make) -> None:
    host = machine({"/etc/security/limits.d/99-other.conf": "* - nofile 1024"})
    before = snapshot(host)
    wrong = {**ALL, "hugepages": {"pools": [{"size": "3M", "count": 1}]}}
    for check in (True, False):
        outcome = run(host, check, **wrong)
        assert [part.option for part, error in outcome.errors] == ["hugepages", "rlimits[0]"]
        values = outcome.as_dict()
        assert (values["domains"]["hugepages"]["failed"], values["domains"]["rlimits"][0]["failed"]) == (True, True)
        assert different(before, snapshot(host)) == set()
    assert not values["changed"]


def test_a_part_that_fails_is_undone_alone_and_those_after_it_are_not_begun(machine: Make) -> None:
    host = machine()
    host.refuses[THP] = "EIO"
    outcome = run(host, **ALL)
    values = outcome.as_dict()
    assert values["changed"]
    assert values["domains"]["hugepages"]["changed"]
    assert values["domains"]["transparent_hugepages"]["failed"]
    assert "EIO" in values["domains"]["transparent_hugepages"]["msg"]
    assert values["domains"]["transparent_hugepages"]["not_undone"] == []
    assert values["not_begun"] == ["rlimits[0]", "rlimits[1]", "rlimits[2]"]
    assert values["domains"]["rlimits"] == [None, None, None]
    assert host.read(POOLS) is not None
    assert (host.read(TMPFILES), host.read(PAM)) == (None, None)
    # What was done has its diff.
    assert {diff["after_header"] for diff in values["diff"]} == {"hugepages", POOLS}
    del host.refuses[THP]
    assert run(host, **ALL).as_dict()["changed"]


def test_a_way_back_that_is_refused_or_fails_keeps_no_other_from_it(machine: Make) -> None:
    host = machine()
    run(host, **ALL)
    # Guests are on some pages, and the kernel refuses an attribute.
    host.pools[2 << 20].nodes[0][1] = 40
    host.flush()
    host.refuses[THP] = "EIO"
    for check in (True, False):
        values = run(host, check, **ABSENT).as_dict()
        assert "in use" in values["domains"]["hugepages"]["msg"]
        assert values["not_begun"] == []
    assert "EIO" in values["domains"]["transparent_hugepages"]["msg"]
    assert host.read(PAM) is None
    assert host.read(TMPFILES) is not None


def test_a_bug_in_one_part_hides_no_change_of_another(machine: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*args: Any) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(TransparentHugepages, "apply", bug)
    values = run(machine(), **ALL).as_dict()
    assert (values["changed"], values["domains"]["hugepages"]["changed"]) == (True, True)
    assert re.match(
        r"internal error: KeyError\('a bug'\) in test_settings.py", values["domains"]["transparent_hugepages"]["msg"]
    )
    assert values["not_begun"] == ["rlimits[0]", "rlimits[1]", "rlimits[2]"]


def test_a_signal_ends_a_way_back_too(machine: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    host = machine()
    run(host, **ALL)

    def interrupted(*args: Any) -> None:
        raise Interrupted("stopped by SIGTERM")

    monkeypatch.setattr(TransparentHugepages, "apply", interrupted)
    assert run(host, **ABSENT).as_dict()["not_begun"] == ["rlimits[0]"]


def test_whichever_write_fails_each_part_is_done_or_undone_and_told(machine: Make) -> None:
    whole = machine()
    run(whole, **ALL)
    for at in range(1, len(whole.log) + 1):
        host = machine()
        host.fault = WriteFault(at)
        values = run(host, **ALL).as_dict()
        host.fault = None
        domains = values["domains"]

        def done(value: dict[str, Any] | None) -> bool:
            return value is not None and "failed" not in value

        assert (host.read(POOLS) is not None) == done(domains["hugepages"])
        assert (host.read(TMPFILES) is not None) == done(domains["transparent_hugepages"])
        written = sum(map(done, domains["rlimits"]))
        # What failed is the last that was begun.
        begun = [domains["hugepages"], domains["transparent_hugepages"], *domains["rlimits"]]
        begun = begun[: len(begun) - len(values["not_begun"])]
        assert all(map(done, begun[:-1]))
        assert (host.read(PAM) or "").count("hard") == written
        run(host, **ABSENT)
        assert host.read(MANIFEST) is None


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([nofile(1024), nofile(2048)], r"limits.nofile: got .*1024.* for \* in /etc/.*, as rlimits\[0\] has it"),
        ([nofile(1024), nofile(1024, state="absent")], r"as rlimits\[0\] has it"),
        ([nofile(1024), {"state": "absent"}], "state: got 'absent', expected a target"),
        ([{"state": "absent"}, nofile(1024)], "state: got 'absent', expected a target"),
    ],
)
def test_entries_that_would_undo_one_another_are_refused(
    machine: Make, entries: list[dict[str, Any]], expected: str
) -> None:
    outcome = run(machine(), rlimits=entries)
    ((part, error),) = outcome.errors
    assert part.option == "rlimits[1]"
    assert re.search(expected, str(error))


def test_entries_that_agree_are_not_rivals(machine: Make) -> None:
    host = machine()
    assert not run(host, rlimits=[nofile(1024), nofile(1024)]).errors
    assert not run(host, rlimits=[nofile(1024), nofile(1024, "alice")]).errors


def test_a_domain_of_another_name_is_not_taken_for_one_of_ours(machine: Make) -> None:
    outcome = Outcome([settings.Part("rlimit", "rlimit", {"state": "present"})])
    settings.settle(outcome, machine, Foresight(machine().root), False)
    ((_part, error),) = outcome.errors
    assert "no domain has the name rlimit" in str(error)


def test_to_ask_for_nothing_is_refused() -> None:
    with pytest.raises(OptionError, match="hugepages: is missing, expected one of hugepages, transparent_hugepages, k"):
        settings.parts(asked())


def test_a_bridge_has_no_way_here_to_be_changed_under_its_own_connection() -> None:
    options = settings.ARGUMENT_SPEC["bridges"]["options"]
    assert {"bridges", "persist", "probe", "state", "ssh_connection", "fresh_connection"} == set(options)
    (part,) = settings.parts(asked(bridges={"bridges": []}))
    assert (part.params["allow_management_link"], part.params["revert_after"], part.params["confirm"]) == (
        False,
        120,
        None,
    )
