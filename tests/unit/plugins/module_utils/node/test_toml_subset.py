# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The reader of TOML: whatever it accepts means the same to Python's own, and the rest it refuses at once."""

from __future__ import annotations

import json
import random

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.node import toml_subset
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.test_yaml_subset import mutated

CONTAINERD = """\
version = 2
imports = ["/etc/containerd/conf.d/*.toml", 'x']
root = "/var/lib/containerd" # a comment
oom_score = 0
[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
    disable_hugetlb_controller = true
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = true
[timeouts]
  'io.containerd.timeout.shim.load' = '5s'
"""
CRIO = """\
[crio]
[crio.runtime]
cgroup_manager = "systemd"
hooks = [
  "a", # a comment
  "b",
]
n = 1_000
f = 1.5
g = -1e3
i = {a = 1, b.c = "\\u00e9\\n"}
a.b = 1
a.c = 2
[crio.image]
nested = [[1, 2], [], ["a"]]
"""
REFUSED = "x = 1979-05-27\n[[array]]\na = \"\"\"x\ny\"\"\"\nb = '''x'''\nc = inf\nd = 0xff\n[a]\n[a.b]\n[a]\n"


@pytest.mark.parametrize(
    "text", [CONTAINERD, CRIO, "", "# nothing", "a = ''\r\n[b]\r\n", "'a b' = 1\n\"c\" = []", "[a.b]\n[a]\nc = 1"]
)
def test_what_it_reads_is_what_python_reads(text: str) -> None:
    tomllib = pytest.importorskip("tomllib")
    assert toml_subset.parse(text) == tomllib.loads(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a = 1\na = 2\n", "line 2: gives a key a second time"),
        ("[a]\n[a]\n", "line 2: gives a table a second time"),
        ("a = 1\n[a]\n", "line 2: adds to what is complete"),
        ("a = {}\n[a]\n", "line 2: adds to what is complete"),
        ("a = {}\n[a.b]\n", "line 2: adds to what is complete"),
        ("[a.b]\n[a]\nb.c = 1\n", "line 3: adds to what is complete"),
        ("[a]\nb.c = 1\n[a.b]\n", "line 3: gives a table a second time"),
        ("[[a]]\n", "line 1: arrays of tables are not read"),
        ("a = 1979-05-27\n", "line 1: is no value"),
        ('a = """x"""\n', "line 1: is no value"),
        ("a = 0xff\n", "line 1: is no value"),
        ("a = 01\n", "line 1: is no value"),
        ("a = inf\n", "line 1: is no value"),
        ("a = [1 2]\n", "line 1: lacks a ,"),
        ("a = {b = 1\n}\n", "line 1: lacks a }"),
        ("a = 'x\n", "line 1: is no value"),
        ('a = "\\U00000041"\n', "line 1: holds an escape"),
        ("a\n", "line 1: lacks a ="),
        ("= 1\n", "line 1: is no key"),
        ("[a\n", "line 1: lacks a ]"),
        ("a = 1 b = 2\n", "line 1: is not understood"),
        ("a = '\0'\n", "control characters"),
    ],
)
def test_what_it_does_not_understand_it_refuses_with_the_line(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        toml_subset.parse(text)


def test_no_refusal_repeats_the_text_which_may_be_a_secret() -> None:
    for text in ("password = hunter2", "hunter2", "a = 'hunter2", "['hunter2"):
        with pytest.raises(ValueError, match="line 1") as caught:
            toml_subset.parse(text)
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 500_000,
        "a = " + "{b = " * 500_000,
        "a = '" + "x" * 1_000_000,
        'a = "' + "\\" * 1_000_001,
        "a" + ".a" * 500_000,
        "#" * 1_000_000 + "\n" + " " * 1_000_000 + "=",
    ],
)
@pytest.mark.usefixtures("bounded")
def test_hostile_text_is_refused_in_no_time(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        toml_subset.parse(text)


def test_text_at_random_is_refused_or_means_the_same_to_python() -> None:
    tomllib = pytest.importorskip("tomllib")
    dice = random.Random(7)
    pieces = [*" \n=#'\"[]{},.\\abe01_+-", "[a]", "[a.b]\n", " = ", "{a=1}", "\t", "\n[t]\n", "a.b=1\n"]
    accepted = 0
    for _round in range(6000):
        text = mutated(dice, [CONTAINERD, CRIO, REFUSED], pieces)
        try:
            mine = toml_subset.parse(text)
        except ValueError:
            continue
        accepted += 1
        assert json.dumps(mine) == json.dumps(tomllib.loads(text), default=str), text
    assert accepted > 500
