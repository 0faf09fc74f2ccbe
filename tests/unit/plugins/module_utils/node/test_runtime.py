# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The subset runtime: which runtime the kubelet uses, and what its own files and flags make of it."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.host import Completed, Host
from ansible_collections.bulwark.node.plugins.module_utils.node import runtime
from ansible_collections.bulwark.node.plugins.module_utils.node.request import Request
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import Files, Machine

CONTAINERD = "/etc/containerd/config.toml"
IMPORTED = "/etc/containerd/conf.d/10.toml"
V2 = '[plugins."io.containerd.grpc.v1.cri"]\n'
OPTIONS = '[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]\nSystemdCgroup = %s\n'


def process(pid: int, comm: str, *arguments: str, unit: str | None = None, uid: int = 0) -> Files:
    """A daemon of that name, as /proc shows it."""
    return {
        f"/proc/{pid}/comm": comm,
        f"/proc/{pid}/cmdline": "\0".join((comm, *arguments)) + "\0",
        f"/proc/{pid}/cgroup": f"0::/system.slice/{unit or comm + '.service'}",
        f"/proc/{pid}/status": f"Name:\t{comm}\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nNSpid:\t{pid}",
        f"/proc/{pid}/stat": f"{pid} ({comm}) S 1 " + "0 " * 17 + "2000 0",
    }


def config(machine: Machine, files: Files, tree: str = "kubeadm-containerd") -> dict[str, Any]:
    found: dict[str, Any] = runtime.facts(machine(tree, files))["config"]
    return found


@pytest.mark.parametrize(
    ("tree", "kind", "pid", "unit", "embedded"),
    [
        ("kubeadm-containerd", "containerd", 500, "containerd.service", None),
        ("k3s-dropins", "containerd", 310, "k3s.service", "k3s"),
        ("el9-crio", "cri-o", 950, "crio.service", None),
        ("no-hugepages", None, None, None, None),
    ],
)
def test_the_runtime_of_the_kubelet(
    machine: Machine, tree: str, kind: str | None, pid: int | None, unit: str | None, embedded: str | None
) -> None:
    facts = runtime.facts(machine(tree))
    assert (facts["kind"], facts["pid"], facts["unit"], facts["embedded_in"]) == (kind, pid, unit, embedded)
    assert facts["running"] is (kind is not None)
    assert facts["reason"] == (None if kind else "no container runtime was found")


@pytest.mark.parametrize(
    ("files", "without", "found"),
    [
        # By the kubelet's endpoint, whatever else runs.
        (process(600, "dockerd"), (), ("containerd", 500)),
        (
            {
                "/proc/901/cmdline": "kubelet\0--container-runtime-endpoint=unix:///run/crio/crio.sock\0",
                **process(700, "crio"),
            },
            (),
            ("cri-o", 700),
        ),
        # Docker's own containerd is another one's, by its address or by its configuration.
        (process(499, "containerd", "--address", "/run/docker/containerd/containerd.sock"), (), ("containerd", 500)),
        (process(499, "containerd", "--config", "/run/docker/containerd/containerd.toml"), (), ("containerd", 500)),
        # What listens there is it, whatever the socket's name says.
        (
            {
                "/proc/901/cmdline": "kubelet\0--container-runtime-endpoint=unix:///run/own.sock\0",
                **process(700, "crio", "--listen", "/run/own.sock"),
            },
            (),
            ("cri-o", 700),
        ),
        (
            {
                **process(499, "containerd", "-a", "/run/own.sock"),
                **process(501, "containerd", "-a=/run/containerd/containerd.sock"),
            },
            (),
            ("containerd", 501),
        ),
        # Without one, the kubelet's default before Docker's.
        ({"/proc/901/cmdline": "kubelet\0", **process(600, "dockerd")}, (), ("containerd", 500)),
        # Without a kubelet Docker before its own containerd.
        (process(600, "dockerd"), ("/proc/901",), ("docker", 600)),
        # Another user's process of the name is none.
        (process(499, "crio", uid=1000), ("/proc/901", "/proc/500", "/run"), (None, None)),
        # It does not run, but its socket is there.
        ({}, ("/proc/500",), ("containerd", None)),
        ({}, ("/proc/500", "/proc/901"), ("containerd", None)),
        (
            {"/proc/901/cmdline": "kubelet\0--container-runtime-endpoint=unix:///var/run/crio/crio.sock\0"},
            (),
            ("cri-o", None),
        ),
    ],
)
def test_which_runtime_it_is_where_several_are_there(
    machine: Machine, files: Files, without: tuple[str, ...], found: tuple[str | None, int | None]
) -> None:
    facts = runtime.facts(machine("kubeadm-containerd", files, without))
    assert (facts["kind"], facts["pid"]) == found


def test_an_endpoint_of_its_own_is_among_the_sockets(machine: Machine) -> None:
    files = {"/proc/901/cmdline": "kubelet\0--container-runtime-endpoint=unix:///run/own/containerd.sock\0"}
    facts = runtime.facts(machine("kubeadm-containerd", files, without=["/proc/500"]))
    assert {"path": "/run/own/containerd.sock", "exists": False} in facts["sockets"]
    assert {"path": "/run/containerd/containerd.sock", "exists": True} in facts["sockets"]
    assert facts["config"]["reason"] == "its process is not running, and only that tells where its configuration is"


# containerd


def test_defaults_are_containerds_own(machine: Machine) -> None:
    host = machine("kubeadm-containerd", without=[CONTAINERD])
    assert runtime.facts(host)["config"] == {
        "files": [],
        "cgroup_driver": "cgroupfs",
        "disable_hugetlb_controller": True,
        "snapshotter": "overlayfs",
        "root": "/var/lib/containerd",
        "reason": None,
    }


@pytest.mark.parametrize(
    ("text", "driver", "hugetlb", "snapshotter"),
    [
        (
            "version = 2\n" + V2 + "disable_hugetlb_controller = false\n" + OPTIONS % "true",
            "systemd",
            False,
            "overlayfs",
        ),
        ("version = 2\n" + OPTIONS % "false", "cgroupfs", True, "overlayfs"),
        ('[plugins.cri.containerd]\nsnapshotter = "native"\n', "cgroupfs", True, "native"),  # version 1
        (
            "version = 3\n[plugins.'io.containerd.cri.v1.images']\nsnapshotter = 'zfs'\n[plugins.'io.containerd.cri.v1.runtime']\n"
            "disable_hugetlb_controller = false\n[plugins.'io.containerd.cri.v1.runtime'.containerd]\ndefault_runtime_name = 'crun'\n"
            "[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.crun.options]\nSystemdCgroup = true\n",
            "systemd",
            False,
            "zfs",
        ),
        # The section of another version is none.
        (
            "version = 3\n" + V2 + "disable_hugetlb_controller = false\n" + OPTIONS % "true",
            "cgroupfs",
            True,
            "overlayfs",
        ),
        # The options of a runtime that is not the default one.
        (
            'version = 2\n[plugins."io.containerd.grpc.v1.cri".containerd]\ndefault_runtime_name = "kata"\n'
            + OPTIONS % "true",
            "cgroupfs",
            True,
            "overlayfs",
        ),
    ],
)
def test_each_version_of_the_file_has_its_sections(
    machine: Machine, text: str, driver: str, hugetlb: bool, snapshotter: str
) -> None:
    found = config(machine, {CONTAINERD: text})
    assert (found["cgroup_driver"], found["disable_hugetlb_controller"], found["snapshotter"]) == (
        driver,
        hugetlb,
        snapshotter,
    )
    assert found["reason"] is None


MAIN = 'version = 2\nimports = ["conf.d/*.toml"]\n'


@pytest.mark.parametrize(
    ("main", "imported", "driver", "hugetlb", "reason"),
    [
        # Only one of them has the section.
        (MAIN, "version = 2\n" + OPTIONS % "true", "systemd", True, None),
        (MAIN + OPTIONS % "true", 'version = 2\nroot = "/data"\n', "systemd", True, None),
        # Both have it: containerd 1 drops the first one, containerd 2 keeps what the second does not set.
        (
            MAIN + OPTIONS % "true",
            "version = 2\n" + V2 + "disable_hugetlb_controller = false\n",
            None,
            False,
            "containerd 1 and 2 merge imported files differently: cgroup_driver",
        ),
        # Only containerd 2 reads version 3.
        (
            MAIN + OPTIONS % "true",
            "version = 3\n[plugins.'io.containerd.cri.v1.runtime']\ndisable_hugetlb_controller = false\n",
            "systemd",
            False,
            None,
        ),
    ],
)
def test_imports_are_merged_where_both_releases_agree(
    machine: Machine, main: str, imported: str, driver: str | None, hugetlb: bool, reason: str | None
) -> None:
    found = config(machine, {CONTAINERD: main, IMPORTED: imported, "/etc/containerd/conf.d/notes.txt": "x"})
    assert found["files"] == [CONTAINERD, IMPORTED]
    assert (found["cgroup_driver"], found["disable_hugetlb_controller"], found["reason"]) == (driver, hugetlb, reason)


def test_imports_that_import_one_another_end(machine: Machine) -> None:
    found = config(
        machine, {CONTAINERD: MAIN, IMPORTED: f'version = 2\nimports = ["{CONTAINERD}", "10.toml"]\nroot = "/data"\n'}
    )
    assert (found["files"], found["root"], found["reason"]) == ([CONTAINERD, IMPORTED], "/data", None)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("version = 2\n[[x]]\n", f"{CONTAINERD}: line 2: arrays of tables are not read"),
        ("version = true\n", f"{CONTAINERD}: version is no int"),
        ("plugins = 1\n", f"{CONTAINERD}: plugins is no table"),
        ("version = 2\n" + OPTIONS % '"yes"', f"{CONTAINERD}: SystemdCgroup is no bool"),
        ('imports = ["/nowhere.toml"]\n', "/nowhere.toml: does not exist"),
        ('imports = ["/etc/*/x.toml"]\n', f"{CONTAINERD}: imports with a * in a folder's name are not read"),
        ("x" * (10 << 20), f"{CONTAINERD}: holds more than"),
        (b"\x00\xff", f"{CONTAINERD}: holds control characters"),
    ],
)
def test_a_file_that_is_not_understood_is_a_reason_and_no_default_is_claimed(
    machine: Machine, text: Any, reason: str
) -> None:
    found = config(machine, {CONTAINERD: text})
    assert found["reason"].startswith(reason)
    assert [found[key] for key in ("cgroup_driver", "disable_hugetlb_controller", "snapshotter", "root")] == [None] * 4


def test_flags_of_the_process_win(machine: Machine) -> None:
    files = {
        **process(500, "containerd", "--config=/opt/c.toml", "--root", "/data/c"),
        "/opt/c.toml": 'root = "/other"\n',
    }
    found = config(machine, files)
    assert (found["files"], found["root"]) == (["/opt/c.toml"], "/data/c")


# CRI-O and Docker


def test_cri_o_reads_its_folder_after_its_file(machine: Machine) -> None:
    found = config(machine, {}, "el9-crio")
    assert found == {
        "files": [
            "/etc/containers/storage.conf",
            "/etc/crio/crio.conf.d/10-crio.conf",
            "/etc/crio/crio.conf.d/90-site.conf",
        ],
        "cgroup_driver": "cgroupfs",
        "disable_hugetlb_controller": None,
        "snapshotter": "overlay",
        "root": "/var/lib/containers/storage",
        "reason": None,
    }


def test_cri_os_own_root_and_flags_win_over_the_librarys(machine: Machine) -> None:
    files = {"/etc/crio/crio.conf": '[crio]\nroot = "/data/crio"\nstorage_driver = "btrfs"\n'}
    assert [config(machine, files, "el9-crio")[key] for key in ("root", "snapshotter")] == ["/data/crio", "btrfs"]
    files.update(process(950, "crio", "--root=/flag", "--cgroup-manager", "systemd"))
    assert [config(machine, files, "el9-crio")[key] for key in ("root", "cgroup_driver")] == ["/flag", "systemd"]


@pytest.mark.parametrize(
    ("tree", "text", "arguments", "driver", "root"),
    [
        ("cgroup-v2-systemd", None, [], "systemd", "/var/lib/docker"),
        ("kubelet-cgroup-v1", None, [], "cgroupfs", "/var/lib/docker"),
        (
            "kubelet-cgroup-v1",
            '{"exec-opts": ["native.cgroupdriver=systemd"], "data-root": "/data"}',
            [],
            "systemd",
            "/data",
        ),
        (
            "cgroup-v2-systemd",
            '{"data-root": "/data"}',
            ["--data-root=/flag", "--exec-opt", "native.cgroupdriver=cgroupfs"],
            "cgroupfs",
            "/flag",
        ),
        ("cgroup-v2-systemd", "", [], "systemd", "/var/lib/docker"),
        ("cgroup-v2-systemd", "{", [], None, None),
        ("cgroup-v2-systemd", "[1]", [], None, None),
    ],
)
def test_docker(
    machine: Machine, tree: str, text: str | None, arguments: list[str], driver: str | None, root: str | None
) -> None:
    files = {**process(600, "dockerd", *arguments), **({} if text is None else {"/etc/docker/daemon.json": text})}
    facts = runtime.facts(machine(tree, files))
    assert (facts["kind"], facts["config"]["cgroup_driver"], facts["config"]["root"]) == ("docker", driver, root)
    assert (facts["config"]["reason"] is None) is (root is not None)


# asking the runtime


@pytest.mark.parametrize(
    ("answer", "version", "reason"),
    [
        (
            Completed(
                0, "Version:  0.1.0\nRuntimeName:  containerd\nRuntimeVersion:  v1.7.24\nRuntimeApiVersion:  v1\n", ""
            ),
            "v1.7.24",
            None,
        ),
        (Completed(0, "nothing", ""), None, "crictl does not say it"),
        (Completed(127, "", "No such file"), None, "returned 127 and said: No such file"),
    ],
)
def test_the_version_is_the_runtimes_own_word(
    machine: Machine, answer: Completed, version: str | None, reason: str | None
) -> None:
    asked = []

    def run(command: list[str]) -> Completed:
        asked.append(command)
        return answer

    host = Host(machine("kubeadm-containerd").root, run)
    facts = runtime.facts(host, Request(active=True))
    assert asked == [["crictl", "--runtime-endpoint", "unix:///run/containerd/containerd.sock", "version"]]
    assert facts["version"] == version
    assert (reason or "") in (facts["version_reason"] or "")


def test_nobody_is_asked_passively(machine: Machine) -> None:
    # A tree runs no command: it would be an error.
    facts = runtime.facts(Host(machine("kubeadm-containerd").root))
    assert (facts["version"], facts["version_reason"]) == (None, "asked of the runtime itself only with probe active")


def test_files_that_changed_after_its_start_are_not_in_effect(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # btime 1790000000, and containerd started 20 seconds after the boot.
    monkeypatch.setattr(Host, "changed_at", lambda self, path: 1790000022 + (path == CONTAINERD))
    assert runtime.facts(machine("kubeadm-containerd"))["changed_since_start"] == [CONTAINERD]
    monkeypatch.setattr(Host, "changed_at", lambda self, path: 1790000022)
    assert runtime.facts(machine("kubeadm-containerd"))["changed_since_start"] == []
    assert runtime.facts(machine("kubeadm-containerd", {"/proc/stat": ""}))["changed_since_start"] is None
    assert runtime.facts(machine("kubeadm-containerd", without=["/proc/500"]))["changed_since_start"] is None


@pytest.mark.parametrize(
    ("tree", "files", "without", "socket"),
    [
        ("kubeadm-containerd", {}, (), ("/run/containerd/containerd.sock", True)),
        ("kubeadm-containerd", {}, ("/run/containerd",), ("/run/containerd/containerd.sock", False)),
        (
            "kubeadm-containerd",
            {"/proc/500/cmdline": "containerd\0--address\0/run/own.sock\0", "/run/own.sock": ""},
            ("/proc/901",),
            ("/run/own.sock", True),
        ),
        # Nobody was told: the usual one of its kind, where it is there.
        ("kubeadm-containerd", {}, ("/proc/901",), ("/run/containerd/containerd.sock", True)),
        ("kubeadm-containerd", {}, ("/proc/901", "/run/containerd"), (None, None)),
        ("no-hugepages", {}, (), (None, None)),
    ],
)
def test_the_socket_that_the_runtime_is_reached_by(
    machine: Machine, tree: str, files: Files, without: tuple[str, ...], socket: tuple[str | None, bool | None]
) -> None:
    found = runtime.facts(machine(tree, files, without))["socket"]
    assert (found["path"], found["exists"]) == socket


OWN = "kubelet\0--container-runtime-endpoint=unix:///run/isulad.sock\0"


@pytest.mark.parametrize(
    ("tree", "files", "without", "reachable", "reason"),
    [
        ("kubeadm-containerd", {}, (), True, None),
        (
            "kubeadm-containerd",
            {},
            ("/run/containerd",),
            False,
            "the socket /run/containerd/containerd.sock is not there",
        ),
        (
            "kubeadm-containerd",
            {},
            ("/proc/500",),
            False,
            "the socket /run/containerd/containerd.sock is there, and no containerd runs",
        ),
        (
            "kubeadm-containerd",
            {},
            ("/proc/901", "/run/containerd"),
            None,
            "containerd runs, and its socket is not known",
        ),
        (
            "kubeadm-containerd",
            {"/proc/901/cmdline": OWN, "/run/isulad.sock": ""},
            ("/proc/500",),
            None,
            "the socket /run/isulad.sock is of a runtime that is not known here",
        ),
        ("no-hugepages", {}, (), False, "no container runtime was found"),
    ],
)
def test_a_runtime_is_reachable_where_its_socket_and_its_process_are_there(
    machine: Machine, tree: str, files: Files, without: tuple[str, ...], reachable: bool | None, reason: str | None
) -> None:
    found = runtime.facts(machine(tree, files, without))
    assert (found["reachable"], found["reachable_reason"]) == (reachable, reason)
