# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What unit files say, held against systemd itself in tests/integration/test_facts_rlimits.py."""

from __future__ import annotations

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.node.unit_files import UnitFiles, manager_settings
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import FakeKernel, Machine

ETC, RUN, USR = (f"{folder}/systemd/system" for folder in ("/etc", "/run", "/usr/lib"))


def says(value: str) -> str:
    return f"[Service]\nValue={value}"


def values(host: FakeKernel, unit: str) -> list[str]:
    return [setting.value for setting in UnitFiles(host).settings(unit)]


def linked(host: FakeKernel, path: str, target: str) -> FakeKernel:
    host.make_folder(path.rpartition("/")[0])
    host.symlink(target, path)
    return host


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({f"{USR}/a.service": says("usr")}, ["usr"]),
        ({f"{USR}/a.service": says("usr"), f"{RUN}/a.service": says("run")}, ["run"]),
        ({f"{RUN}/a.service": says("run"), f"{ETC}/a.service": says("etc")}, ["etc"]),
        ({f"{USR}/a.service": says("usr"), f"{ETC}/a.service.d/x.conf": says("drop")}, ["usr", "drop"]),
        ({f"{ETC}/a.service.d/9.conf": says("9"), f"{USR}/a.service.d/10.conf": says("10")}, ["10", "9"]),
        ({f"{ETC}/a.service.d/x.conf": says("etc"), f"{USR}/a.service.d/x.conf": says("usr")}, ["etc"]),
        ({f"{ETC}/a.service.d/x.conf": "", f"{USR}/a.service.d/x.conf": says("usr")}, []),
        ({f"{ETC}/service.d/x.conf": says("all"), f"{USR}/a.service.d/y.conf": says("own")}, ["all", "own"]),
        ({f"{ETC}/service.d/x.conf": says("all"), f"{USR}/a.service.d/x.conf": says("own")}, ["own"]),
        ({f"{ETC}/a.service.d/x": says("no"), f"{ETC}/b.service.d/x.conf": says("no")}, []),
        ({}, []),
    ],
)
def test_etc_wins_over_run_and_that_over_usr(machine: Machine, files: dict[str, str], expected: list[str]) -> None:
    assert values(machine("no-hugepages", files), "a.service") == expected


def test_an_instance_takes_its_template_s_files(machine: Machine) -> None:
    files = {
        f"{USR}/db-main@.service": says("template"),
        f"{ETC}/db-main@.service.d/2.conf": says("all"),
        f"{ETC}/db-main@one.service.d/3.conf": says("one"),
        f"{ETC}/db-.service.d/1.conf": says("db"),
        f"{ETC}/db-main@two.service.d/3.conf": says("two"),
    }
    assert values(machine("no-hugepages", files), "db-main@one.service") == ["template", "db", "all", "one"]


def test_drop_ins_of_an_alias_count(machine: Machine) -> None:
    files = {f"{USR}/ssh.service": says("usr"), f"{ETC}/sshd.service.d/x.conf": says("alias")}
    host = linked(machine("no-hugepages", files), f"{ETC}/sshd.service", "/usr/lib/systemd/system/ssh.service")
    assert values(host, "ssh.service") == ["usr", "alias"]
    # And not those of another unit that has only such a name.
    assert values(machine("no-hugepages", files), "ssh.service") == ["usr"]


def test_a_masked_unit_says_nothing(machine: Machine) -> None:
    host = linked(machine("no-hugepages", {f"{USR}/a.service": says("usr")}), f"{ETC}/a.service", "/dev/null")
    assert values(host, "a.service") == []


def test_only_the_unit_s_own_section_counts(machine: Machine) -> None:
    text = "Value=0\n[Unit]\nValue=1\n[Service]\n# Value=2\n; Value=3\nValue = 4 \nJunk\nValue=5 \\\n# a comment\n  6\n[X]\nValue=7"
    assert values(machine("no-hugepages", {f"{USR}/a.service": text}), "a.service") == ["4", "5  6"]


@pytest.mark.parametrize(
    "unit", ["a\n.service", "../../../etc/shadow", "", "a", "@.service", "@@@.service", "-.service"]
)
def test_hostile_names_of_units_find_nothing(machine: Machine, unit: str) -> None:
    assert values(machine("no-hugepages", {f"{USR}/a.service": says("usr")}), unit) == []


def test_the_manager_s_drop_ins_come_after_its_file(machine: Machine) -> None:
    files = {
        "/etc/systemd/system.conf": "[Manager]\nA=etc",
        "/usr/lib/systemd/system.conf": "[Manager]\nA=usr",
        "/usr/lib/systemd/system.conf.d/50.conf": "[Manager]\nA=50",
        "/run/systemd/system.conf.d/20.conf": "[Manager]\nA=20",
        "/etc/systemd/system.conf.d/50.conf": "[Manager]\nA=mine\n[Other]\nA=x",
    }
    host = machine("no-hugepages", files)
    assert [(setting.value, setting.file.split("/")[1]) for setting in manager_settings(host)] == [
        ("etc", "etc"),
        ("20", "run"),
        ("mine", "etc"),
    ]
    del files["/etc/systemd/system.conf"]
    assert manager_settings(machine("no-hugepages", files))[0].value == "usr"


def test_a_folder_with_the_name_of_a_drop_in_is_none(machine: Machine) -> None:
    files = {"/etc/systemd/system.conf.d/10.conf/inner": "", "/etc/systemd/system.conf.d/20.conf": "[Manager]\nA=20"}
    assert [setting.value for setting in manager_settings(machine("no-hugepages", files))] == ["20"]
