# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The limits of the machine, of its daemons, and where they come from."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.node import rlimits
from ansible_collections.bulwark.node.plugins.module_utils.node.request import Request
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import Machine

UNLIMITED = "unlimited"
UNIT = "/usr/lib/systemd/system/crio.service"
DROPIN = "/etc/systemd/system/crio.service.d/limits.conf"
MANAGER = "/etc/systemd/system.conf.d/x.conf"


def shown(nofile: str = "1024 524288", core: str = "0 unlimited") -> str:
    """A /proc/pid/limits."""
    rows = ["Limit                     Soft Limit           Hard Limit           Units     "]
    given = {"Max open files": nofile, "Max core file size": core}
    for title in rlimits.LIMITS.values():
        soft, hard = given.get(title, "unlimited unlimited").split()
        rows.append(f"{title:<26}{soft:<21}{hard:<21}{'' if 'priority' in title else 'units':<10}")
    return "\n".join(rows)


def crio(machine: Machine, files: dict[str, str], nofile: str = "1024 524288") -> dict[str, Any]:
    """The fact of CRI-O on an enterprise Linux 9, which runs with that nofile."""
    host = machine("el9-crio", {"/proc/1/limits": shown("1024 1073741816"), "/proc/950/limits": shown(nofile), **files})
    (found,) = rlimits.facts(host)["processes"]
    assert (found["name"], found["pid"], found["unit"]) == ("crio", 950, "crio.service")
    process: dict[str, Any] = found
    return process


def test_the_ceilings_of_a_captured_machine(machine: Machine) -> None:
    found = rlimits.facts(machine("debian12-memory"))["ceilings"]
    assert (found["nr_open"], found["threads_max"], found["pid_max"]) == (1048576, 192731, 32768)
    assert 0 < found["file_nr"] < found["file_max"]
    assert found["inotify"] == {"max_user_instances": 128, "max_user_watches": 192536, "max_queued_events": 16384}


def test_a_kernel_that_hides_its_ceilings(machine: Machine) -> None:
    found = rlimits.facts(machine("no-hugepages"))["ceilings"]
    assert set(found.pop("inotify").values()) | set(found.values()) == {None}


def test_all_limits_are_shown_by_their_names(machine: Machine) -> None:
    limits = crio(machine, {})["limits"]
    assert list(limits) == list(rlimits.LIMITS)
    assert len(limits) == 16
    assert limits["nofile"] == {"soft": 1024, "hard": 524288, "source": None}
    assert limits["core"] == {"soft": 0, "hard": UNLIMITED, "source": None}
    assert limits["nice"] == limits["rttime"] == {"soft": UNLIMITED, "hard": UNLIMITED, "source": None}


def says(value: str) -> str:
    return f"[Service]\nLimitNOFILE={value}"


@pytest.mark.parametrize(
    ("files", "nofile", "source", "wanted"),
    [
        ({UNIT: says("1048576")}, "1048576 1048576", "unit", None),
        ({UNIT: says("1048576"), DROPIN: says("65536")}, "65536 65536", "unit", None),
        ({UNIT: says("1048576"), MANAGER: "[Manager]\nDefaultLimitNOFILE=2:3"}, "1048576 1048576", "unit", None),
        ({UNIT: "[Service]", MANAGER: "[Manager]\nDefaultLimitNOFILE=2:3"}, "2 3", "manager_default", None),
        # As programs in Go raise it themselves.
        ({UNIT: says("1024:4096")}, "4096 4096", "unit", None),
        # The hard limit of PID 1 is as far as systemd goes.
        ({UNIT: says("infinity")}, "1073741816 1073741816", "unit", None),
        ({UNIT: says("1048576")}, "1024 524288", None, ("unit", 1048576, 1048576, UNIT)),
        ({UNIT: says("9:1048576"), DROPIN: says("7")}, "9 1048576", None, ("unit", 7, 7, DROPIN)),
        ({MANAGER: "[Manager]\nDefaultLimitNOFILE=2:3"}, "1024 3", None, ("manager_default", 2, 3, MANAGER)),
        # What systemd refuses is not there.
        ({UNIT: says("9:1")}, "1024 524288", None, None),
        ({UNIT: "[Service]\nLimitnofile=1024:524288"}, "1024 524288", None, None),
        ({UNIT: "[Unit]\nLimitNOFILE=1024:524288"}, "1024 524288", None, None),
    ],
)
def test_where_a_limit_comes_from(
    machine: Machine, files: dict[str, str], nofile: str, source: str | None, wanted: tuple[Any, ...] | None
) -> None:
    found = crio(machine, files, nofile)
    assert found["limits"]["nofile"]["source"] == source
    assert [tuple(entry.values()) for entry in found["differs"]] == ([("nofile", *wanted, 0)] if wanted else [])


def test_the_manager_s_defaults(machine: Machine) -> None:
    files = {
        "/etc/systemd/system.conf": "[Manager]\nDefaultLimitNOFILE=1024:524288\nDefaultLimitCORE=infinity\n#DefaultLimitCPU=1",
        MANAGER: "[Manager]\nDefaultLimitNOFILE=65536\nDefaultLimitCORE=nonsense",
    }
    found = rlimits.facts(machine("no-hugepages", files))["manager_defaults"]
    assert list(found) == list(rlimits.LIMITS)
    assert found["nofile"] == {"soft": 65536, "hard": 65536, "file": MANAGER}
    assert found["core"] == {"soft": UNLIMITED, "hard": UNLIMITED, "file": "/etc/systemd/system.conf"}
    assert found["cpu"] is None


def process(pid: int, name: str, parent: int = 1, uid: int = 1000, cgroup: str = "/") -> dict[str, str]:
    return {
        f"/proc/{pid}/comm": name,
        f"/proc/{pid}/stat": f"{pid} ({name}) S {parent} 1 1 0 -1 4194560 1 0 0 0 10 5 0 0 20 0 20 0 4000 100 200",
        f"/proc/{pid}/status": f"Uid:\t{uid}\t0\t0\t0\nNSpid:\t{pid}",
        f"/proc/{pid}/cgroup": f"0::{cgroup}",
        f"/proc/{pid}/limits": shown(),
    }


def listed(machine: Machine, files: dict[str, str], *names: str) -> list[tuple[str, int, str | None]]:
    facts = rlimits.facts(machine("no-hugepages", files), Request(rlimits_of=names))
    return [(found["name"], found["pid"], found["unit"]) for found in facts["processes"]]


def test_daemons_are_root_s_and_further_names_anybody_s(machine: Machine) -> None:
    files = {
        **process(5, "containerd", uid=1000),
        **process(6, "qemu-system-x86", uid=107),
        **process(7, "sshd", uid=0),
    }
    assert listed(machine, files) == [("sshd", 7, None)]
    assert listed(machine, files, "qemu-system-x86_64") == [("qemu-system-x86", 6, None), ("sshd", 7, None)]


def test_sessions_of_sshd_are_left_out_and_k3s_containerd_is_not(machine: Machine) -> None:
    files = {
        **process(7, "sshd", uid=0, cgroup="/system.slice/ssh.service"),
        **process(70, "sshd", parent=7, uid=0, cgroup="/user.slice/user-0.slice/session-1.scope"),
        **process(71, "sshd", parent=70, uid=0, cgroup="/user.slice/user-0.slice/session-1.scope"),
        **process(80, "k3s-server", uid=0, cgroup="/system.slice/k3s.service"),
        **process(81, "containerd", parent=80, uid=0, cgroup="/system.slice/k3s.service"),
    }
    assert listed(machine, files) == [
        ("sshd", 7, "ssh.service"),
        ("k3s-server", 80, "k3s.service"),
        ("containerd", 81, "k3s.service"),
    ]


def test_a_user_s_own_unit_of_a_system_unit_s_name_sets_nothing(machine: Machine) -> None:
    files = {
        **process(5, "x", cgroup="/user.slice/user-1000.slice/user@1000.service/app.slice/crio.service"),
        **process(6, "x", cgroup="/user.slice/user-1000.slice/session-2.scope"),
        "/usr/lib/systemd/system/user@.service": says("1024:524288"),
        MANAGER: "[Manager]\nDefaultLimitNOFILE=1024:524288",
    }
    found = rlimits.facts(machine("no-hugepages", files), Request(rlimits_of=("x",)))["processes"]
    assert [entry["limits"]["nofile"]["source"] for entry in found] == [None, None]


def test_hostile_names_and_many_processes(machine: Machine) -> None:
    name = "\x1b[31m)\n{{x}}"
    files = {path: text for pid in range(100, 230) for path, text in process(pid, name, uid=0).items()}
    found = listed(machine, files, name)
    assert len(found) == 100
    assert found[0] == (name, 100, None)


def test_a_process_that_has_ended_meanwhile_is_left_out(machine: Machine) -> None:
    files = process(7, "sshd", uid=0)
    del files["/proc/7/limits"]
    assert listed(machine, files) == []


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("nofile", "1024:524288", (1024, 524288)),
        ("nofile", "infinity", (UNLIMITED, UNLIMITED)),
        ("nofile", "5:infinity", (5, UNLIMITED)),
        ("nofile", "infinity:5", None),
        ("nofile", "0x10", (16, 16)),
        ("nofile", "010", (8, 8)),
        ("nofile", "09", None),
        ("nofile", "64K", None),
        ("nofile", "", None),
        ("nofile", "1:2:3", None),
        ("nofile", "1" * 30, None),
        ("memlock", "64M", (64 << 20, 64 << 20)),
        ("memlock", "1.5G", (3 << 29, 3 << 29)),
        ("memlock", "1" * 30, None),
        ("memlock", "5X", None),
        ("cpu", "1min 30s", (90, 90)),
        ("cpu", "1ms", (1, 1)),
        ("rttime", "5", (5, 5)),
        ("rttime", "1s:2s", (1000000, 2000000)),
        ("nice", "-5", (25, 25)),
        ("nice", "+19:-20", (1, 40)),
        ("nice", "-21", None),
        ("nice", "15", (15, 15)),
    ],
)
def test_a_limit_is_read_as_systemd_reads_it(name: str, text: str, expected: tuple[Any, Any] | None) -> None:
    assert rlimits.parse_assignment(name, text) == expected


def test_a_hostile_limit_is_refused_in_no_time() -> None:
    assert rlimits.parse_assignment("cpu", "1 " * 50000 + "x" * 50000) is None


def test_k3s_and_its_containerd_have_their_one_unit_s_limits(machine: Machine) -> None:
    files = {
        "/proc/77/limits": shown("1048576 1048576", "unlimited unlimited"),
        "/proc/310/limits": shown("65536 1048576"),
        "/etc/systemd/system/k3s.service.d/limits.conf": "[Service]\nLimitNOFILE=1048576\nLimitCORE=infinity",
    }
    k3s, containerd = rlimits.facts(machine("k3s-dropins", files))["processes"]
    assert [(found["name"], found["unit"]) for found in (k3s, containerd)] == [
        ("k3s-server", "k3s.service"),
        ("containerd", "k3s.service"),
    ]
    assert [k3s["limits"][name]["source"] for name in ("nofile", "core", "nproc")] == ["unit", "unit", None]
    assert [entry["limit"] for entry in containerd["differs"]] == ["core", "nofile"]


def test_the_qemu_that_is_nearest_to_its_limit_of_open_files_is_shown(machine: Machine) -> None:
    found = rlimits.facts(machine("kvm-host"))["qemu"]
    assert found == {"processes": 2, "open_files": 4, "nofile": 5, "percent": 80.0, "pid": 4242, "reason": None}
    none = rlimits.facts(machine("kvm-host", without=["/proc/4242", "/proc/4300"]))["qemu"]
    assert (none["processes"], none["percent"], none["reason"]) == (0, None, "no QEMU is running")


def test_open_files_that_cannot_be_counted_are_unknown(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    host = machine("kvm-host")
    names = host.names

    def refused(path: str) -> list[str]:
        if path == "/proc/4300/fd":
            raise HostError(path, "cannot list: EACCES (Permission denied)", "EACCES")
        return names(path)

    monkeypatch.setattr(host, "names", refused)
    found = rlimits.facts(host)["qemu"]
    assert (found["processes"], found["percent"]) == (2, None)
    assert found["reason"] == "/proc/4300/fd: cannot list: EACCES (Permission denied)"


def test_limits_of_logins_above_what_the_kernel_allows_are_named(machine: Machine) -> None:
    path = "/etc/security/limits.d/90-nofile.conf"
    found = rlimits.facts(machine("kvm-host"))
    assert found["above_nr_open"] == [
        {"file": path, "line": 2, "domain": "*", "value": 2097152},
        {"file": path, "line": 5, "domain": "@ops", "value": 3000000},
    ]
    assert found["above_nr_open_reason"] is None
    raised = rlimits.facts(machine("kvm-host", {"/proc/sys/fs/nr_open": "3000000"}))
    assert raised["above_nr_open"] == []
    unknown = rlimits.facts(machine("kvm-host", without=["/proc/sys/fs/nr_open"]))
    assert (unknown["above_nr_open"], unknown["above_nr_open_reason"]) == (None, "fs.nr_open cannot be read")
