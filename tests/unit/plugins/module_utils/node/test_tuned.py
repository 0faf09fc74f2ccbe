# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tuned's active profile sets, and that no profile's name leads elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.dropin import Owner
from ansible_collections.bulwark.node.plugins.module_utils.node import tuned
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import Machine

OURS = "/etc/tuned/our-virtual-host/tuned.conf"
HOST = "/usr/lib/tuned/profiles/virtual-host/tuned.conf"
BASE = "/usr/lib/tuned/profiles/throughput-performance/tuned.conf"
PATH_1G = "/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages"


def test_a_profile_overrides_what_it_includes_and_paths_keep_their_capitals(machine: Machine) -> None:
    settings = tuned.settings(machine("tuned"))
    assert {name: value for name, value in settings.items() if name[0] != "main"} == {
        ("sysctl", "vm.nr_hugepages"): ("100", OURS),
        ("sysctl", "vm.swappiness"): ("10", BASE),
        ("sysfs", PATH_1G): ("2", OURS),
        ("vm", "transparent_hugepages"): ("never", HOST),
        ("vm", "transparent_hugepage.defrag"): ("always", BASE),
    }


def test_a_machine_without_tuned_has_no_settings(machine: Machine) -> None:
    assert tuned.settings(machine("cgroup-v2-systemd")) == {}


WANTED = "/etc/systemd/system/multi-user.target.wants/tuned.service"


@pytest.mark.parametrize(("running", "enabled"), [(True, False), (False, True), (True, True), (False, False)])
def test_a_tuned_that_runs_or_will_at_boot_wins(machine: Machine, running: bool, enabled: bool) -> None:
    host = machine("tuned", without=[] if running else ["/run/tuned"])
    if enabled:
        Path(host.root + WANTED).parent.mkdir(parents=True)
        Path(host.root + WANTED).symlink_to("/usr/lib/systemd/system/tuned.service")
    keys = {("sysctl", "vm.nr_hugepages"): "a", ("sysfs", PATH_1G): "b", ("vm", "nothing"): "c"}
    assert sorted(tuned.owners(host, keys), key=lambda owner: owner.key) == [
        *([Owner(OURS, "a", "100", True), Owner(OURS, "b", "2", True)] if running or enabled else []),
    ]


def test_a_pattern_in_the_section_sysfs_owns_what_it_matches(machine: Machine) -> None:
    profile = "[sysfs]\n/sys/kernel/mm/hugepages/hugepages-*kB/nr_hugepages=7"
    host = machine("tuned", {OURS: profile})
    keys = {("sysfs", PATH_1G): "a", ("sysfs", "/sys/kernel/mm/other"): "b"}
    assert tuned.owners(host, keys) == (Owner(OURS, "a", "7", True),)


def test_a_profile_adds_to_the_kernels_command_line(machine: Machine) -> None:
    profile = "[bootloader]\ncmdline_huge=+hugepagesz=1G hugepages=4\ncmdline_more=quiet"
    assert tuned.boot_arguments(machine("tuned", {OURS: profile})) == ("hugepagesz=1G hugepages=4 quiet", OURS)
    assert tuned.boot_arguments(machine("tuned")) == ("", "")
    assert tuned.boot_arguments(machine("tuned", {OURS: profile}, without=["/run/tuned"])) == ("", "")


@pytest.mark.parametrize("name", ["../../etc/secret", "/etc/secret", ".hidden", "missing", ""])
def test_a_profiles_name_leads_nowhere_else(machine: Machine, name: str) -> None:
    files = {
        "/etc/tuned/active_profile": name,
        "/etc/secret/tuned.conf": "[a]\nb=c",
        "/etc/tuned/.hidden/tuned.conf": "[a]\nb=c",
    }
    assert tuned.settings(machine("cgroup-v2-systemd", files)) == {}


def test_a_profile_that_includes_itself_or_is_garbage_ends(machine: Machine) -> None:
    files = {
        "/etc/tuned/active_profile": "loop broken",
        "/etc/tuned/loop/tuned.conf": "[main]\ninclude=loop\n[a]\nb=%(x)s",
        "/etc/tuned/broken/tuned.conf": b"no section\xff\n",
    }
    settings = tuned.settings(machine("cgroup-v2-systemd", files))
    assert settings[("a", "b")] == ("%(x)s", "/etc/tuned/loop/tuned.conf")
