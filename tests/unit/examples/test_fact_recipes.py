# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The recipes of docs/examples on the real Ansible: facts are gathered and cached, and groups made of them. One run of each for all."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.release import __version__

EXAMPLES = Path(__file__).parents[3] / "docs/examples"
CONSTRUCTED = EXAMPLES / "facts.constructed.yml"
SCHEMAS = EXAMPLES.parent / "schemas.md"
TRUSTS_NO_FACTS = tuple(map(int, __version__.split(".")[:2])) >= (2, 19)
UNKNOWN = {"kvm_unknown", "reboot_unknown", "mtu_unknown", "hugepages_unknown"}


def documented() -> dict[str, Any]:
    """The facts of docs/schemas.md, with nothing wrong on that machine."""
    block = re.search(r"<!-- example: facts -->\n```json\n(.*?)\n```", SCHEMAS.read_text(), re.DOTALL)
    assert block
    facts: dict[str, Any] = json.loads(block.group(1))
    facts["reboot"]["required"] = False
    facts["hugepages"]["boot_unmet"] = []
    for bridge in facts["bridges"]:
        bridge["mismatched"] = []
    return facts


def but(*path: str, value: Any) -> dict[str, Any]:
    """These facts, but for one."""
    facts = documented()
    place: Any = facts
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return facts


def bridge(**keys: Any) -> list[dict[str, Any]]:
    return [{**documented()["bridges"][0], **keys}]


def link(**keys: Any) -> list[dict[str, Any]]:
    return [{**documented()["links"][0], **keys}]


EVIL = "{{{{ lookup('ansible.builtin.pipe', 'touch {}') }}}}"


def hosts(evil: Path) -> dict[str, tuple[Any, set[str]]]:
    """Names of hosts, what they said last (None: nothing), and the groups that they belong to."""
    partly = but("kvm", "verdict", value="unproven")
    partly["reboot"]["required"] = None
    partly["links"] = link(mtu=None, reason="x")
    bad = but("kvm", "verdict", value="degraded")
    bad["reboot"]["required"] = True
    bad["hugepages"]["boot_unmet"] = [{"pool": "1G", "asked": 8, "found": 6}]
    bad["bridges"] = bridge(mismatched=["vnet0"])
    bad["links"] = None
    evil_tunnel = {**but("kvm", "module", value=EVIL.format(evil)), "links": link(fits_lower=False), "bridges": []}
    return {
        "good": (but("links", value=link(fits_lower=None)), {"kvm_ready"}),
        "silent": (None, UNKNOWN),
        "failed": ({"schema": 1, "errors": [], "kvm": None, "reboot": None, "bridges": None}, UNKNOWN),
        "partly": (partly, {"kvm_unknown", "reboot_unknown", "mtu_unknown"}),
        "bad": (bad, {"needs_reboot", "hugepages_short", "mtu_mismatch", "mtu_unknown"}),
        "evil": (evil_tunnel, {"kvm_ready", "mtu_mismatch"}),
    }


PLAYBOOK = """
- ansible.builtin.import_playbook: {examples}/gather_facts.yml
  when: inventory_hostname == 'here'

- hosts: all:!here:!silent
  gather_facts: false
  tasks:
    - ansible.builtin.set_fact:
        bulwark: "{{{{ (lookup('ansible.builtin.file', '{folder}/facts.json') | from_json)[inventory_hostname] }}}}"
        cacheable: true

- ansible.builtin.import_playbook: {examples}/fact_groups.yml

- hosts: here
  gather_facts: false
  tasks:
    - ansible.builtin.copy:
        content: "{{{{ groups | to_json }}}}"
        dest: "{folder}/groups.json"
        mode: "0600"
"""


def run(command: str, *arguments: str, folder: Path) -> str:
    """What a command of Ansible printed, with facts cached below the folder."""
    environment = {
        **os.environ,
        "ANSIBLE_CACHE_PLUGIN": "ansible.builtin.jsonfile",
        "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(folder / "cache"),
        "ANSIBLE_NOCOLOR": "1",
    }
    program = str(Path(sys.executable).with_name(command))
    done = subprocess.run(
        [program, *arguments], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@dataclass(frozen=True)
class Seen:
    """The members of each group as a play has it, and as the inventory of a later run has; and whether either ran a node's text."""

    in_play: dict[str, list[str]]
    as_inventory: dict[str, list[str]]
    play_ran_it: bool
    inventory_ran_it: bool


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    folder = tmp_path_factory.mktemp("recipes")
    evil = folder / "evil"
    said = {host: facts for host, (facts, _groups) in hosts(evil).items()}
    (folder / "facts.json").write_text(json.dumps(said))
    (folder / "play.yml").write_text(PLAYBOOK.format(examples=EXAMPLES, folder=folder))
    own = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": dict.fromkeys(["here", *said]), "vars": own}}))
    source = ("-i", str(folder / "hosts.yml"))
    run("ansible-playbook", *source, str(folder / "play.yml"), folder=folder)
    in_play, ran = json.loads((folder / "groups.json").read_text()), evil.exists()
    listed = json.loads(run("ansible-inventory", *source, "-i", str(CONSTRUCTED), "--list", folder=folder))
    return Seen(
        in_play=in_play,
        as_inventory={name: each.get("hosts", []) for name, each in listed.items()},
        play_ran_it=ran,
        inventory_ran_it=evil.exists(),
    )


def groups_of(members: dict[str, list[str]], host: str) -> set[str]:
    return {name for name, those in members.items() if host in those} - {"all", "ungrouped"}


def test_the_groups_are_what_cached_facts_say_and_no_more(seen: Seen) -> None:
    expected = {host: groups for host, (_facts, groups) in hosts(Path()).items()}
    assert {host: groups_of(seen.as_inventory, host) for host in expected} == expected
    assert {host: groups_of(seen.in_play, host) for host in expected} == expected


def test_this_machine_was_asked_by_gather_facts_with_its_options(seen: Seen) -> None:
    mine = groups_of(seen.as_inventory, "here")
    assert mine == groups_of(seen.in_play, "here")
    assert not mine & {"mtu_unknown", "hugepages_unknown"}
    # With the probe that was asked for nothing is unproven.
    assert os.geteuid() != 0 or "kvm_unknown" not in mine


def test_both_recipes_say_the_same() -> None:
    (play,) = yaml.safe_load((EXAMPLES / "fact_groups.yml").read_text())
    in_play = {name: text.strip("{} ") for name, text in play["vars"]["belongs"].items()}
    of_inventory = yaml.safe_load(CONSTRUCTED.read_text())["groups"]
    assert {name: text.split() for name, text in of_inventory.items()} == {
        name: text.split() for name, text in in_play.items()
    }


def test_what_a_node_writes_into_its_facts_is_run_by_no_play(seen: Seen) -> None:
    assert not seen.play_ran_it
    # Which is why docs/inventory.md wants 2.19 for the inventory.
    assert seen.inventory_ran_it is not TRUSTS_NO_FACTS
