# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts for the tests of the report: what their facts tasks returned."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from ansible_collections.bulwark.node.plugins.plugin_utils import report, report_table
from ansible_collections.bulwark.node.plugins.plugin_utils.assess import Subject, subject
from ansible_collections.bulwark.node.plugins.plugin_utils.baseline import load
from ansible_collections.bulwark.node.plugins.plugin_utils.outcomes import Run

NOW = datetime(2026, 3, 1, 13, 5, 7, 999, tzinfo=timezone(timedelta(hours=1)))
MIB = 1 << 20
FIVE = str(Path(__file__).with_name("five.yml"))


def node(*, thp: str = "madvise", restart: bool = False, reason: str | None = None, **more: Any) -> dict[str, Any]:
    """What node_facts returns: of five controls three pass, boot arguments do not apply; ``thp`` and ``restart`` make failures."""
    pools = [{"size": "2M", "size_bytes": 2 * MIB, "total": 9, "surplus": 0, "unclaimed": 0, "nodes": []}]
    hugepages = {
        "pools": pools,
        "memory_total_bytes": 1 << 36,
        "boot_args": [],
        "cgroup": {"ready": True, "version": "v2", "reason": None, "missing": []},
        "kubelet": {"running": True, "restart_needed": restart, "reason": reason},
    }
    facts = {
        "schema": 1,
        "errors": [],
        "host": {"uptime_s": 1},
        "hugepages": hugepages,
        "transparent_hugepages": {"enabled": thp, "defrag": thp, "sizes": []},
        **more,
    }
    return {"changed": False, "ansible_facts": {"bulwark": facts}}


DOWN = {"unreachable": True, "changed": False, "msg": "Failed to connect to the host via ssh: Connection refused"}
BROKEN = {
    "failed": True,
    "msg": "The module failed.\nSee stderr",
    "module_stderr": "/bin/sh: python: not found\n",
    "rc": 127,
}


def subjects(*hosts: str) -> dict[str, Subject]:
    """They are judged by the five controls."""
    return {host: subject(host, load((FIVE,), "")) for host in hosts}


def build(hosts: dict[str, Any], run: Run | None = None) -> dict[str, Any]:
    return report.build(hosts, NOW, run, subjects(*hosts))


def built(**hosts: Any) -> dict[str, Any]:
    return build(hosts)


def text(made: dict[str, Any], width: int = 200) -> list[str]:
    return [line.text for line in report_table.table(made, width)]
