# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module node_facts on this very machine, held to what other tools say of it."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.node.subsets import SUBSETS

from .conftest import Module, snapshot


def test_the_facts_are_what_other_tools_say(module: Module) -> None:
    facts = module("node_facts", {"gather_subset": ["all"]})["ansible_facts"]["bulwark"]
    assert facts["errors"] == []
    host = facts["host"]
    assert (host["kernel_release"], host["architecture"]) == (platform.release(), platform.machine())
    assert host["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    release = platform.freedesktop_os_release()
    assert (host["os_id"], host["os_version"]) == (release["ID"], release.get("VERSION_ID"))
    # The boot time of /proc/stat is a whole second.
    assert abs(host["boot_time"] + host["uptime_s"] - facts["gathered_at"]) <= 2
    sizes = {f"{pool['size_bytes'] // 1024}kB" for pool in facts["hugepages"]["pools"]}
    folder = Path("/sys/kernel/mm/hugepages")
    assert sizes == {path.name.removeprefix("hugepages-") for path in folder.glob("hugepages-*")}
    assert facts["hugepages"]["memory_total_bytes"] == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    thp = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if thp.exists():
        assert f"[{facts['transparent_hugepages']['enabled']}]" in thp.read_text()


def test_gathering_changes_nothing(module: Module) -> None:
    before = snapshot()
    assert not module("node_facts", {"gather_subset": ["all"]})["changed"]
    assert snapshot() == before


@pytest.mark.parametrize(
    ("subset", "expected"),
    [
        (["host"], {"host"}),
        (["!hugepages"], {*SUBSETS} - {"hugepages"}),
        (["all", "!host"], {*SUBSETS} - {"host"}),
        (["!all"], set()),
    ],
)
def test_subsets_are_chosen_by_name_and_left_out_by_exclamation_mark(
    module: Module, subset: list[str], expected: set[str]
) -> None:
    facts = module("node_facts", {"gather_subset": subset})["ansible_facts"]["bulwark"]
    assert set(facts) - {"schema", "gathered_at", "errors"} == expected


def test_an_unknown_subset_is_refused_by_name(module: Module) -> None:
    refused = module("node_facts", {"gather_subset": ["host", "hugepage"]})
    assert refused.failed
    assert "gather_subset[1]: got 'hugepage', expected all, or one of host, hugepages" in refused["msg"]


def test_it_serves_as_a_facts_module_of_gather_facts(tmp_path: Path) -> None:
    play = [
        {
            "hosts": "all",
            "vars": {"ansible_facts_modules": ["bulwark.node.node_facts"]},
            "module_defaults": {"bulwark.node.node_facts": {"gather_subset": ["host"]}},
            "tasks": [
                {"ansible.builtin.debug": {"msg": "keys={{ ansible_facts['bulwark'] | list | sort | join(',') }}"}}
            ],
        }
    ]
    playbook = tmp_path / "play.json"
    playbook.write_text(json.dumps(play))
    ansible = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "localhost,", "-c", "local", str(playbook)]
    done = subprocess.run(
        [*ansible, "-e", f"ansible_python_interpreter={sys.executable}"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"keys=errors,gathered_at,host,schema\b", done.stdout), done.stdout
