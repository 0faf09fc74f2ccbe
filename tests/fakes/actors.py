# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that are actors: what each module returns is a file, and so a playbook is tried on each ansible-core.

No module runs, and nothing is reached or changed but files below the stage's folder.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["POOLS", "RUNS", "UNIT", "WELL", "Run", "Stage", "facts", "settings"]

# An interpreter that says for each module what the file of its name has, or that of its name and which time it is asked.
ACTOR = """#!/bin/sh
here=${0%/*} module=${1##*/AnsiballZ_} module=${module%.py}
echo "$module" >>"$here/calls"
said=$here/$module.$(grep -cx "$module" "$here/calls")
test -e "$said" || said=$here/$module
cp "$1" "$here/$module.py"
cat "$said"
"""
UNIT = "kubelet.service"
POOLS = "the pools changed after it started"


def facts(**more: Any) -> dict[str, Any]:
    """What node_facts returns of a host where nothing of ours is."""
    managed: dict[str, Any] = {"objects": [], "reason": None}
    return {"ansible_facts": {"bulwark": {"schema": 1, "errors": [], "managed": managed, **more}}}


def settings(*units: str, changed: bool = True) -> dict[str, Any]:
    """What the module settings returns, where these units must be restarted."""
    needed = [{"unit": unit, "reason": POOLS} for unit in units]
    part = {"changed": changed, "changes": [], "restart_required": needed, "reboot_required": False, "disruptive": []}
    return {
        "changed": changed,
        "domains": {"kvm": part},
        "restart_required": needed,
        "reboot_required": False,
        "disruptive": [],
        "unmet": [],
    }


WELL = {"node_facts": facts(), "settings": settings(), "bridge_mtu": {"changed": False, "changes": []}}
RUNS = {"changed": True, "status": {"ActiveState": "active"}}


@dataclass(frozen=True)
class Run:
    """An ended ansible-playbook."""

    rc: int
    said: str
    hosts: dict[str, Any]
    """Those of report.json; empty where there is none."""

    @property
    def statuses(self) -> dict[str, str]:
        return {name: host["outcome"]["status"] for name, host in self.hosts.items()}


class Stage:
    """Actors, and the way to play to them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment: dict[str, str] = {}
        self._inventory = ""

    def actor(self, name: str, answers: dict[str, Any], **variables: Any) -> None:
        """A host, in the group all and the group of its name's first letter."""
        folder = self.folder / "actors" / name
        folder.mkdir(parents=True)
        for module, answer in answers.items():
            (folder / module).write_text(json.dumps(answer))
        python = folder / "python"
        python.write_text(ACTOR)
        python.chmod(0o755)
        self._inventory += f"{name}\n"
        given = {"ansible_connection": "local", "ansible_python_interpreter": str(python), **variables}
        self.variables(f"host_vars/{name}", given)

    def variables(self, path: str, given: dict[str, Any]) -> None:
        """Write variables of a host or group."""
        file = self.folder / f"{path}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(given))

    def calls(self, name: str) -> list[str]:
        """The modules that this host was asked for, in this order."""
        file = self.folder / "actors" / name / "calls"
        return file.read_text().split() if file.exists() else []

    def called(self, name: str, module: str) -> str:
        """The text that was to be run as this module on this host, which has its options."""
        return (self.folder / "actors" / name / f"{module}.py").read_text()

    def play(self, playbook: str, *arguments: str, configuration: str = "", **variables: Any) -> Run:
        (self.folder / "hosts").write_text(self._inventory)
        (self.folder / "ansible.cfg").write_text(f"[defaults]\n{configuration}\n")
        done = subprocess.run(
            [
                Path(sys.executable).parent / "ansible-playbook",
                f"bulwark.node.{playbook}",
                "-i",
                "hosts",
                "-e",
                json.dumps(variables),
                *arguments,
            ],
            cwd=self.folder,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.folder / "home"),
                "LANG": "C.UTF-8",
                "COLUMNS": "200",
                "ANSIBLE_CONFIG": str(self.folder / "ansible.cfg"),
                "ANSIBLE_HOME": str(self.folder / "home"),
                "ANSIBLE_NOCOLOR": "1",
                "ANSIBLE_REMOTE_TMP": str(self.folder / "home" / "remote"),
                **self.environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        print(done.stdout)
        report = self.folder / "bulwark-report" / "report.json"
        hosts = json.loads(report.read_text())["hosts"] if report.exists() else {}
        return Run(done.returncode, " ".join(done.stdout.split()), hosts)
