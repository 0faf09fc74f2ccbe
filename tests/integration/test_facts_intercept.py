# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The subset intercept on this very machine; and that gathering passively asks the kernel for nothing that changes it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import Module, snapshot, tool

NAMES = ("redirect", "tproxy", "socket_match")
# What the kernel says that iptables can use here, by the subset's names.
REGISTERED = {
    "redirect": ("/proc/net/ip_tables_targets", "REDIRECT"),
    "tproxy": ("/proc/net/ip_tables_targets", "TPROXY"),
    "socket_match": ("/proc/net/ip_tables_matches", "socket"),
}
# System calls that make or change something of the machine, or start a process.
CHANGES = (
    "clone,clone3,fork,vfork,execve,execveat,unshare,setns,mount,umount2,init_module,finit_module,delete_module,"
    "mkdir,mkdirat,mknod,mknodat,rename,renameat2,unlink,unlinkat,link,linkat,symlink,symlinkat,chmod,fchmodat,chown,"
    "fchownat,setxattr,sethostname,bpf,ptrace,kill,reboot"
)


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def state() -> dict[str, Any]:
    """What a rule or a namespace that stays would change."""
    lock = Path("/run/xtables.lock")
    netns = Path("/run/netns")
    # Before the modules are listed: nft itself makes the kernel load some. Without counters, which any packet changes.
    rules = said(tool("nft"), "--stateless", "list", "ruleset")
    return {
        **snapshot(),
        "modules": sorted(os.listdir("/sys/module")),
        "rules": rules,
        "lock": lock.stat().st_mtime_ns if lock.exists() else None,
        "netns": sorted(os.listdir(netns)) if netns.is_dir() else [],
        "tables": Path("/proc/net/ip_tables_names").read_text() if Path("/proc/net/ip_tables_names").exists() else "",
    }


def gathered(module: Module, probe: str) -> dict[str, Any]:
    facts = module("node_facts", {"gather_subset": ["intercept"], "probe": probe})["ansible_facts"]["bulwark"]
    assert facts["errors"] == []
    intercept: dict[str, Any] = facts["intercept"]
    return intercept


def test_passive_tries_nothing(module: Module) -> None:
    facts = gathered(module, "passive")
    assert {name: facts[name] for name in NAMES} == dict.fromkeys(NAMES)
    assert facts["tried"] == []


def test_active_agrees_with_what_the_kernel_has_registered(module: Module) -> None:
    if os.geteuid() != 0:
        pytest.skip("making a network namespace takes root")
    tool("iptables")
    facts = gathered(module, "active")
    assert facts["reason"] is None
    for name, (path, word) in REGISTERED.items():
        # The list names what is loaded: the kernel may load more on demand, but never less.
        if Path(path).exists() and word in Path(path).read_text().split():
            works = [each["works"] for each in facts["tried"] if each["name"] == name and each["tool"] == "iptables"]
            assert works == [True]
            assert facts[name] is True


def test_active_leaves_no_rule_and_no_namespace(module: Module) -> None:
    if os.geteuid() != 0:
        pytest.skip("making a network namespace takes root")
    before = state()
    gathered(module, "active")
    after = state()
    # The kernel may load its own modules for a rule, and keeps them.
    new = set(after.pop("modules")) - set(before.pop("modules"))
    assert all(
        re.match(r"nf_|nft_|xt_|x_tables|ip_tables|ip_set|iptable_|ipt_|nfnetlink|(lib)?crc32c", name) for name in new
    )
    assert after == before


def test_a_rule_that_is_taken_sends_traffic_where_it_says() -> None:
    """The rule of REDIRECT, in a namespace of this test's own: that a kernel takes it means that it works."""
    if os.geteuid() != 0:
        pytest.skip("making a network namespace takes root")
    tool("iptables")
    script = """
import socket
server = socket.create_server(("127.0.0.1", 15001))
client = socket.create_connection(("127.0.0.1", 80), timeout=5)
print("redirected", server.accept()[1] == client.getsockname())
"""
    shell = (
        "ip link set lo up && XTABLES_LOCKFILE=/dev/null iptables -t nat -A OUTPUT -p tcp --dport 80 "
        '-j REDIRECT --to-ports 15001 && exec "$@"'
    )
    assert said("unshare", "--net", "sh", "-c", shell, "sh", sys.executable, "-c", script) == "redirected True\n"


def test_gathering_passively_changes_nothing_even_for_a_moment(tmp_path: Path) -> None:
    """All subsets, with each system call that could change the machine written down by strace: there is none."""
    trace = tmp_path / "trace"
    script = """
import subprocess
from ansible_collections.bulwark.node.plugins.module_utils.host import Completed, Host
from ansible_collections.bulwark.node.plugins.module_utils.node import subsets
def run(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return Completed(done.returncode, done.stdout, done.stderr)
print(subsets.gather(Host(run=run), subsets.select(["all"]))["errors"])
"""
    before = state()
    # -B: Python itself would write the compiled code down.
    command = [sys.executable, "-B", "-c", script]
    calls = f"{CHANGES},ioctl,open,openat,creat"
    out = said(tool("strace"), "--follow-forks", f"--output={trace}", f"--trace={calls}", *command)
    assert out == "[]\n"
    assert state() == before
    lines = [line.split(maxsplit=1)[1] for line in trace.read_text().splitlines()]
    names = [line.partition("(")[0] for line in lines if re.match(r"\w+\(", line)]
    # strace starts Python, and nobody starts anything after that.
    assert [name for name in names if name in CHANGES.split(",")] == ["execve"]
    asked = {match.group(1) for line in lines if (match := re.match(r"ioctl\([^,]+, (\w+)", line))}
    # The first three are Python's, for its own descriptors.
    assert asked <= {"TCGETS", "FIOCLEX", "FIONBIO", "KVM_GET_API_VERSION"}
    written = [line for line in lines if re.search(r"O_(WRONLY|RDWR|CREAT|TRUNC)", line) and " = -1 " not in line]
    # KVM gives its version to any descriptor; this one also shows that QEMU's way to open it works.
    assert [line for line in written if '"/dev/kvm"' not in line] == []
