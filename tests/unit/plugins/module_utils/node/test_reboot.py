# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a machine wants a reboot, and whether packages are being installed."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Completed, Host
from ansible_collections.bulwark.node.plugins.module_utils.node import reboot
from ansible_collections.bulwark.node.plugins.module_utils.node.request import Request
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import Machine

RUNNING = "6.1.0-28-amd64"
OSRELEASE = "/proc/sys/kernel/osrelease"
TREE = "debian12-memory"


def kernels(machine: Machine, running: str, boot: Sequence[str]) -> list[tuple[str, str]]:
    files: dict[str, Any] = {OSRELEASE: running, **{f"/boot/{name}": "" for name in boot}}
    facts = reboot.facts(machine(TREE, files))
    return [(reason["source"], reason["detail"]) for reason in facts["reasons"]]


def newer(installed: str, running: str) -> list[tuple[str, str]]:
    return [("kernel", f"{installed} is installed, {running} is running")]


def gone(running: str) -> list[tuple[str, str]]:
    return [("kernel", f"{running} is running, but no longer installed")]


def test_a_machine_that_wants_nothing(machine: Machine) -> None:
    assert reboot.facts(machine(TREE, {f"/boot/vmlinuz-{RUNNING}": ""})) == {
        "required": False,
        "pending_days": None,
        "reasons": [],
        "transaction_running": False,
        "reason": None,
    }


def test_the_sentinel_and_the_packages_that_asked_for_it(machine: Machine) -> None:
    files = {
        "/var/run/reboot-required": "*** System restart required ***",
        "/var/run/reboot-required.pkgs": "linux-image-6.1.0-31-amd64\nlibc6\nlibc6\nlinux-base\n",
    }
    facts = reboot.facts(machine(TREE, files))
    assert facts["required"] is True
    assert [(reason["source"], reason["detail"]) for reason in facts["reasons"]] == [
        ("sentinel", "/var/run/reboot-required exists"),
        ("packages", "linux-image-6.1.0-31-amd64, libc6, linux-base"),
    ]
    assert all(abs(reason["since"] - time.time()) < 60 for reason in facts["reasons"])


def test_a_long_list_of_packages_is_cut(machine: Machine) -> None:
    text = "\n".join(f"package{number}" for number in range(5000))
    detail = reboot.facts(machine(TREE, {"/var/run/reboot-required.pkgs": text, reboot.SENTINEL: ""}))["reasons"][1][
        "detail"
    ]
    assert detail.endswith("package99 and 4900 more")


@pytest.mark.parametrize(
    ("running", "boot", "expected"),
    [
        (RUNNING, ["vmlinuz-6.1.0-28-amd64", "vmlinuz-6.1.0-31-amd64"], newer("6.1.0-31-amd64", RUNNING)),
        # An older one is the fallback, and 9 is less than 28.
        (RUNNING, ["vmlinuz-6.1.0-28-amd64", "vmlinuz-6.1.0-9-amd64"], []),
        (RUNNING, ["vmlinuz-6.1.0-28-amd64", "vmlinuz-6.1.0-31-cloud-amd64", "vmlinuz-6.1.0-31-rt-amd64"], []),
        (
            RUNNING,
            ["vmlinuz-6.1.0-28-amd64", "System.map-6.1.0-99-amd64", "vmlinuz.old", "vmlinuz-6.9.0-1-amd64.old"],
            [],
        ),
        (RUNNING, ["vmlinuz-6.1.0-9-amd64"], gone(RUNNING)),
        (RUNNING, [], []),
        (
            "5.14.0-427.el9.x86_64",
            [
                "vmlinuz-5.14.0-427.el9.x86_64",
                "vmlinuz-5.14.0-503.11.1.el9_5.x86_64",
                "vmlinuz-0-rescue-0123456789abcdef",
            ],
            newer("5.14.0-503.11.1.el9_5.x86_64", "5.14.0-427.el9.x86_64"),
        ),
        (
            "5.14.0-427.el9.x86_64",
            [
                "vmlinuz-5.14.0-427.el9.x86_64",
                "vmlinuz-5.14.0-503.el9.x86_64+rt",
                "vmlinuz-5.15.0-300.163.18.el9uek.x86_64",
            ],
            [],
        ),
        ("6.8.0-45-generic", ["vmlinuz-6.8.0-45-generic", "vmlinuz-6.8.0-50-generic-64k"], []),
        (
            "6.8.0-45-generic",
            ["vmlinuz-6.8.0-45-generic", "vmlinuz-6.8.0-101-generic"],
            newer("6.8.0-101-generic", "6.8.0-45-generic"),
        ),
        ("6.6.51+rpt-rpi-v8", ["vmlinuz-6.6.51+rpt-rpi-v8", "vmlinuz-6.6.74+rpt-rpi-2712"], []),
    ],
)
def test_a_newer_kernel_of_the_same_flavour(
    machine: Machine, running: str, boot: list[str], expected: list[tuple[str, str]]
) -> None:
    assert kernels(machine, running, boot) == expected


def test_a_kernel_beside_its_modules_is_installed_and_modules_alone_are_not(machine: Machine) -> None:
    files = {
        OSRELEASE: "6.11.4-301.fc41.x86_64",
        "/lib/modules/6.11.4-301.fc41.x86_64/vmlinuz": "",
        "/lib/modules/6.12.4-200.fc41.x86_64/modules.dep": "",
    }
    assert reboot.facts(machine(TREE, files))["reasons"] == []
    files["/lib/modules/6.11.10-300.fc41.x86_64/vmlinuz"] = ""
    facts = reboot.facts(machine(TREE, files))
    assert facts["reasons"][0]["detail"] == "6.11.10-300.fc41.x86_64 is installed, 6.11.4-301.fc41.x86_64 is running"
    assert abs(facts["reasons"][0]["since"] - time.time()) < 60


def test_a_kernel_from_elsewhere_leaves_it_open(machine: Machine) -> None:
    facts = reboot.facts(machine(TREE, {OSRELEASE: "6.12.1-microvm", "/boot/vmlinuz-6.1.0-28-amd64": ""}))
    assert facts["required"] is None
    assert "booted from elsewhere" in facts["reason"]


def test_boot_is_not_looked_into_where_that_would_mount_it(machine: Machine) -> None:
    files = {"/proc/mounts": "systemd-1 /boot autofs rw 0 0", "/boot/vmlinuz-9.9.9-1-amd64": ""}
    facts = reboot.facts(machine(TREE, files))
    assert (facts["required"], facts["reason"]) == (None, "/boot is mounted on access, and was not looked into")
    files["/proc/mounts"] += "\n/dev/vda1 /boot vfat rw 0 0"
    assert reboot.facts(machine(TREE, files))["required"] is True


def test_a_boot_that_may_not_be_listed_costs_the_kernels_alone(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = machine(TREE, {"/var/run/reboot-required": ""})
    names = host.names

    def refused(path: str) -> list[str]:
        if path == "/boot":
            raise HostError(path, "cannot list: EACCES (Permission denied)", "EACCES")
        return names(path)

    monkeypatch.setattr(host, "names", refused)
    facts = reboot.facts(host)
    assert (facts["required"], facts["reason"]) == (True, "/boot: cannot list: EACCES (Permission denied)")


@pytest.mark.parametrize(
    "ascending",
    [
        ["6.1.0-rc3-amd64", "6.1.0-amd64", "6.1.0-9-amd64", "6.1.0-28-amd64", "6.10.0-1-amd64"],
        ["6.12~rc6-amd64", "6.12-amd64", "6.12.3-amd64"],
        ["6.12.9+deb13-amd64", "6.12.38+deb13-amd64"],
        [
            "5.14.0-70.el9.x86_64",
            "5.14.0-503.el9.x86_64",
            "5.14.0-503.11.1.el9_5.x86_64",
            "5.14.0-503.38.1.el9_5.x86_64",
        ],
        ["6.8.12-4-pve", "6.8.12-10-pve"],
        ["6.4.0-150600.21-default", "6.4.0-150600.23.22-default"],
        ["6.11.5-arch1-1", "6.11.5-arch2-1", "6.11.10-arch1-1"],
    ],
)
def test_releases_are_ordered_as_people_read_them(ascending: list[str]) -> None:
    assert len({reboot.flavour(release) for release in ascending}) == 1
    for older, later in combinations(ascending, 2):
        assert reboot.version_key(older) < reboot.version_key(later), (older, later)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("6.1.0-28-amd64", "6.1.0-28-cloud-amd64"),
        ("6.8.0-45-generic", "6.8.0-45-lowlatency"),
        ("6.8.0-45-generic", "6.8.0-45-generic-64k"),
        ("5.14.0-503.el9.x86_64", "5.14.0-503.el9.x86_64+debug"),
        ("5.14.0-503.el9.aarch64", "5.14.0-503.el9.aarch64+64k"),
        ("4.18.0-553.el8.x86_64", "4.18.0-553.rt7.342.el8.x86_64"),
    ],
)
def test_flavours_are_told_apart(one: str, other: str) -> None:
    assert reboot.flavour(one) != reboot.flavour(other)


@pytest.mark.parametrize(
    ("modules", "reason"),
    [
        (
            ["6.1.0-31-amd64"],
            "modules of 6.1.0-31-amd64 are installed, but no kernel's image was found: is /boot mounted?",
        ),
        (["6.1.0-27-amd64", RUNNING, "6.1.0-31-rt-amd64"], None),
    ],
)
def test_modules_of_a_newer_kernel_without_any_image_leave_it_open(
    machine: Machine, modules: list[str], reason: str | None
) -> None:
    files = {f"/lib/modules/{name}/modules.dep": "" for name in modules}
    assert reboot.kernels(machine("no-hugepages", {OSRELEASE: RUNNING, **files})) == ([], reason)


LOCKS = (
    "/var/lib/dpkg/lock-frontend",
    "/var/lib/dpkg/lock",
    "/var/lib/rpm/.rpm.lock",
    "/usr/lib/sysimage/rpm/.rpm.lock",
)


@pytest.mark.parametrize("there", ["it alone", "the others too"])
@pytest.mark.parametrize("path", LOCKS)
def test_a_lock_that_is_held_for_writing_is_a_transaction(machine: Machine, path: str, there: str) -> None:
    # While apt downloads it holds the front ends' lock alone.
    host = machine(TREE, dict.fromkeys([path] if there == "it alone" else LOCKS, ""))
    assert reboot.facts(host)["transaction_running"] is False
    with held(host, path, fcntl.LOCK_EX):
        assert reboot.facts(host)["transaction_running"] is True
    with held(host, path, fcntl.LOCK_SH):
        assert reboot.facts(host)["transaction_running"] is False


def test_a_lock_that_may_not_be_asked_for_is_unknown_unless_another_is_held(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: dict[str, bool] = {LOCKS[1]: False}

    def ask(self: Host, path: str) -> bool | None:
        if path == LOCKS[0]:
            raise HostError(path, "cannot read: EACCES (Permission denied)", "EACCES")
        return answers.get(path)

    monkeypatch.setattr(Host, "is_write_locked", ask)
    host = machine(TREE)
    assert reboot.transaction(host) == (None, f"{LOCKS[0]}: cannot read: EACCES (Permission denied)")
    answers[LOCKS[1]] = True
    assert reboot.transaction(host) == (True, None)


@pytest.mark.parametrize(("text", "running"), [("42\n", True), ("43\n", False), ("", False), ("none\n", False)])
def test_zypper_s_own_lock_names_a_process(machine: Machine, text: str, running: bool) -> None:
    host = machine(TREE, {"/run/zypp.pid": text, "/proc/42/stat": "", LOCKS[2]: ""})
    assert reboot.transaction(host) == (running, None)


@pytest.mark.parametrize(("name", "interrupted"), [("0001", True), ("tmp.i", False), (None, False)])
def test_dpkg_that_left_off_leaves_its_journal(machine: Machine, name: str | None, interrupted: bool) -> None:
    host = machine(TREE, {f"/var/lib/dpkg/updates/{name}": ""} if name else {})
    assert reboot.interrupted(host) is interrupted


def test_packages_without_the_sentinel_ask_for_nothing(machine: Machine) -> None:
    assert reboot.facts(machine(TREE, {"/var/run/reboot-required.pkgs": "linux-base"}))["required"] is False


class held:  # noqa: N801 - reads as a word
    """Another process holds a record lock, as dpkg and rpm do."""

    def __init__(self, host: Host, path: str, kind: int) -> None:
        self._path, self._kind = Path(host.root + path), kind

    def __enter__(self) -> None:
        ready, tell = os.pipe()
        self._wait, self._go = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            os.close(self._go)
            with self._path.open("r+b") as file:
                fcntl.lockf(file, self._kind)
                os.write(tell, b"x")
                os.read(self._wait, 1)
            os._exit(0)
        os.read(ready, 1)
        os.close(ready)
        os.close(tell)

    def __exit__(self, *dummy: object) -> None:
        os.close(self._go)
        os.waitpid(self._child, 0)
        os.close(self._wait)


def test_without_a_package_manager_it_cannot_be_told(machine: Machine) -> None:
    facts = reboot.facts(machine("no-hugepages", {OSRELEASE: RUNNING}))
    assert (facts["transaction_running"], facts["reason"]) == (None, "neither dpkg nor rpm is on this machine")


DNF = "Core libraries or services have been updated since boot-up:\n  * kernel\n  * glibc\n\n{end}\n"


@pytest.mark.parametrize(
    ("answer", "required", "detail", "reason"),
    [
        (Completed(0, "No core libraries…", ""), False, None, None),
        (
            Completed(1, DNF.format(end="Reboot is required to fully utilize these updates."), ""),
            True,
            "kernel, glibc",
            None,
        ),
        # It returns 1 where it fails as well.
        (
            Completed(1, "", "Error: cannot read"),
            None,
            None,
            "/usr/bin/needs-restarting -r returned 1 and said: Error: cannot read",
        ),
    ],
)
def test_needs_restarting_is_asked_only_when_active(
    machine: Machine, answer: Completed, required: bool | None, detail: str | None, reason: str | None
) -> None:
    asked: list[list[str]] = []

    def run(command: list[str]) -> Completed:
        asked.append(command)
        return answer

    tree = machine(TREE, {"/usr/bin/needs-restarting": ""})
    host = Host(tree.root, run)
    assert reboot.facts(host)["required"] is False
    assert asked == []
    facts = reboot.facts(host, Request(active=True))
    assert asked == [["/usr/bin/needs-restarting", "-r"]]
    assert (facts["required"], facts["reason"]) == (required, reason)
    assert [found["detail"] for found in facts["reasons"]] == ([detail] if detail else [])


def test_an_active_look_at_a_machine_without_dnf_runs_nothing(machine: Machine) -> None:
    host = machine(TREE)
    assert reboot.facts(host, Request(active=True))["required"] is False
    assert host.commands == []


@pytest.mark.parametrize(("ago", "days"), [(0, 0), (86399, 0), (86400, 1), (86400 * 40 + 5, 40), (-500, 0)])
def test_it_is_pending_since_the_first_reason(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, ago: int, days: int
) -> None:
    host = machine(TREE, {"/var/run/reboot-required": "", "/var/run/reboot-required.pkgs": "linux-base"})
    since = {"/var/run/reboot-required": 1795000000 + 60, "/var/run/reboot-required.pkgs": 1795000000}
    monkeypatch.setattr(Host, "changed_at", lambda self, path: since.get(path))
    monkeypatch.setattr("time.time", lambda: 1795000000.9 + ago)
    assert reboot.facts(host)["pending_days"] == days


def test_a_reason_without_a_time_is_pending_for_an_unknown_time(machine: Machine) -> None:
    found = reboot.facts(machine(TREE, {"/boot/vmlinuz-1.0-amd64": "", OSRELEASE: "2.0-amd64"}))
    assert (found["required"], found["pending_days"]) == (True, None)
