# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The subsets kubelet and runtime on this very machine: processes of those names stand in, beside ps, lscpu and PyYAML."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import Module, snapshot

NOBODY = 65534
CONFIG = """\
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: systemd
clusterDNS:
- 10.96.0.10
cpuManagerPolicy: static
evictionHard:
  memory.available: "500Mi"
failSwapOn: false
maxPods: 90
memoryManagerPolicy: Static
topologyManagerPolicy: single-numa-node
"""
DROPIN = """\
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
systemReserved: {memory: 256Mi, cpu: 100m}
maxPods: 91
"""


@pytest.fixture(autouse=True)
def _no_node() -> None:
    """A real kubelet or runtime would be found before ours."""
    for name in ("kubelet", "kubelite", "k3s-server", "k3s-agent", "containerd", "crio", "dockerd"):
        if subprocess.run(["pgrep", "-x", name], capture_output=True, check=False).returncode == 0:
            pytest.skip(f"hardware: {name} runs on this machine")


@contextlib.contextmanager
def daemon(folder: Path, name: str, *arguments: str, user: int | None = None) -> Iterator[int]:
    """A process of that name, with these arguments, in that folder, that only waits: a shell by another name."""
    with tempfile.TemporaryDirectory() as place:
        # The folders of pytest are root's alone.
        Path(place).chmod(0o755)
        program, script = Path(place, name), Path(place, "wait.sh")
        script.write_text("trap 'kill $!; exit' TERM\nsleep 300 &\nwait\n")
        shutil.copy("/bin/dash", program)
        command = [str(program), str(script), *arguments]
        process = subprocess.Popen(command, user=user, cwd=folder if user is None else place)
        try:
            while Path(f"/proc/{process.pid}/comm").read_text() != f"{name}\n":
                time.sleep(0.01)
            yield process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(10)


def gathered(module: Module, *subsets: str) -> dict[str, Any]:
    facts: dict[str, Any] = module("node_facts", {"gather_subset": list(subsets)})["ansible_facts"]["bulwark"]
    assert facts["errors"] == []
    return facts


def test_a_machine_without_kubelet_and_runtime_says_so(module: Module) -> None:
    facts = gathered(module, "kubelet", "runtime")
    assert (facts["kubelet"]["running"], facts["kubelet"]["reason"]) == (False, "no kubelet is running")
    if not any(item["exists"] for item in facts["runtime"]["sockets"]):
        assert (facts["runtime"]["kind"], facts["runtime"]["reason"]) == (None, "no container runtime was found")


@pytest.mark.usefixtures("kernel")
def test_a_kubelet_is_found_and_its_configuration_merged(module: Module, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    dropins = tmp_path / "kubelet.conf.d"
    dropins.mkdir()
    (dropins / "10.conf").write_text(DROPIN)
    before = snapshot()
    # A path that is relative to the kubelet's own folder, and a flag that wins.
    with daemon(tmp_path, "kubelet", "--config=config.yaml", "--config-dir", str(dropins), "--max-pods=92") as pid:
        kubelet = gathered(module, "kubelet")["kubelet"]
        started = subprocess.run(
            ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=True, env={"LC_ALL": "C"}
        ).stdout
    assert (kubelet["running"], kubelet["flavour"], kubelet["pid"]) == (True, "kubelet", pid)
    assert abs(kubelet["started_at"] - time.mktime(time.strptime(started.strip()))) <= 1
    config = kubelet["config"]
    assert config["reason"] is None
    assert config["files"] == [f"{tmp_path}/config.yaml", f"{dropins}/10.conf"]
    theirs = {**yaml.safe_load(CONFIG), **yaml.safe_load(DROPIN), "maxPods": 92}
    scalars = {
        key: field["value"] for key, field in config.items() if isinstance(field, dict) and field["source"] != "default"
    }
    assert {key: value for key, value in scalars.items() if value is not None} == {
        key: value for key, value in theirs.items() if key in scalars
    }
    for key in ("evictionHard", "systemReserved"):
        assert {item["name"]: item["value"] for item in config[key]} == theirs[key]
    assert config["maxPods"]["source"] == "flag"
    assert kubelet["reserved_memory_bytes"] == (500 + 256) << 20
    assert snapshot() == before


def machine_state() -> dict[str, Any]:
    """What a kubelet would have written about this machine's memory: as numactl -H has it, in bytes."""
    nodes = sorted(Path("/sys/devices/system/node").glob("node[0-9]*")) or [Path("/proc")]
    state = {}
    for index, node in enumerate(nodes):
        pools = node / "hugepages" if node != Path("/proc") else Path("/sys/kernel/mm/hugepages")
        match = re.search(r"MemTotal:\s+([0-9]+) kB", (node / "meminfo").read_text())
        assert match
        sizes = {"memory": int(match.group(1)) * 1024}
        for pool in pools.glob("hugepages-*"):
            size = int(pool.name[10:-2]) * 1024
            name = f"{size >> 30}Gi" if size >= 1 << 30 else f"{size >> 20}Mi" if size >= 1 << 20 else f"{size >> 10}Ki"
            sizes[f"hugepages-{name}"] = size * int((pool / "nr_hugepages").read_text())
        number = int(node.name[4:]) if node != Path("/proc") else index
        tables = {name: {"total": total, "systemReserved": 0} for name, total in sizes.items()}
        state[str(number)] = {"memoryMap": tables}
    return state


@pytest.mark.usefixtures("kernel")
def test_the_next_start_is_predicted_from_this_machines_own_cpus_and_memory(module: Module, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    rows = subprocess.run(["lscpu", "--online", "--parse=CPU"], capture_output=True, text=True, check=True).stdout
    cpus = ",".join(row for row in rows.splitlines() if not row.startswith("#"))
    memory = machine_state()

    def conflicts() -> list[str]:
        (tmp_path / "cpu_manager_state").write_text(
            json.dumps({"policyName": "static", "defaultCpuSet": cpus, "entries": {}})
        )
        (tmp_path / "memory_manager_state").write_text(json.dumps({"policyName": "Static", "machineState": memory}))
        found = gathered(module, "kubelet")["kubelet"]
        assert [state["policy"] for state in found["state_files"]] == ["static", "Static"]
        return [item["reason"] for item in found["state_conflicts"]]

    with daemon(tmp_path, "kubelet", f"--config={tmp_path}/config.yaml", f"--root-dir={tmp_path}"):
        assert conflicts() == []
        cpus += f",{os.cpu_count()}"
        table = next(iter(memory.values()))["memoryMap"]["memory"]
        table["total"] += 4096
        cpu, total = conflicts()
    assert "the file knows the CPUs" in cpu
    assert f"the file says {table['total']} bytes of memory, the machine has {table['total'] - 4096} bytes" in total


@pytest.mark.usefixtures("kernel")
def test_a_process_that_only_calls_itself_so_is_no_kubelet(module: Module, tmp_path: Path) -> None:
    with daemon(tmp_path, "kubelet", "--max-pods=1", user=NOBODY):
        assert gathered(module, "kubelet")["kubelet"]["running"] is False


@pytest.mark.usefixtures("kernel")
def test_a_runtime_is_found_by_the_kubelets_endpoint_and_its_own_flags(module: Module, tmp_path: Path) -> None:
    socket, folder = tmp_path / "containerd.sock", tmp_path / "d"
    socket.touch()
    folder.mkdir()
    (folder / "config.toml").write_text(
        'version = 2\n[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]\nSystemdCgroup = true\n'
    )
    command = ("--config", f"{folder}/config.toml", f"--address={socket}", "--root", str(folder))
    with (
        daemon(folder, "containerd", *command) as pid,
        daemon(tmp_path, "kubelet", f"--container-runtime-endpoint=unix://{socket}"),
    ):
        facts = gathered(module, "runtime", "image_fs")
    runtime, (store, *others) = facts["runtime"], facts["image_fs"]
    assert (runtime["kind"], runtime["running"], runtime["pid"]) == ("containerd", True, pid)
    assert {"path": str(socket), "exists": True} in runtime["sockets"]
    assert runtime["config"] == {
        "files": [f"{folder}/config.toml"],
        "cgroup_driver": "systemd",
        "disable_hugetlb_controller": True,
        "snapshotter": "overlayfs",
        "root": str(folder),
        "reason": None,
    }
    assert (store["runtime"], store["current"], store["path"]) == ("containerd", True, str(folder))
    df = subprocess.run(
        ["df", "--output=source,target", str(folder)], capture_output=True, text=True, check=True
    ).stdout
    assert [store["device"], store["mountpoint"]] == df.splitlines()[1].split()
    assert not any(other["current"] for other in others)
