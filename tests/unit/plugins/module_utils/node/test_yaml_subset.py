# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The reader of YAML: whatever it accepts means the same to PyYAML, and the rest it refuses at once."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
import yaml

from ansible_collections.bulwark.node.plugins.module_utils.node import yaml_subset

KUBEADM = """\
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous:
    enabled: false
  x509:
    clientCAFile: /etc/kubernetes/pki/ca.crt
clusterDNS:
- 10.96.0.10
evictionHard:
  memory.available: "500Mi" # a comment
  nodefs.available: 10%
maxPods: 110
syncFrequency: 0s
registerWithTaints:
- key: dedicated
  value: gpu
  effect: NoSchedule
-   key: other
"""
K3S = """\
---
# a comment	with a tab
token: 'it''s'
node-ip: 2001:db8::1
kubelet-arg:
  - "eviction-hard=memory.available<5%"
  - eviction-hard=memory.available<5%,nodefs.available<5%
kubelet-arg+: max-pods=200
tls-san: [a.example, "b", 10.0.0.1]
limits: {memory: 1Gi, "cpu": [1, 2.5, true, ~]}
empty: []
none:
also: {}
nested:
  - - x
    - w
  -
    z: -1
"""
REFUSED = """\
anchor: &a 1
alias: *a
tag: !!python/object/apply:os.system [id]
block: |
  text
folded: >
  text
<<: {a: 1}
? a
: b
time: 12:30
date: 2024-01-01
hex: 0x1f
float: 1e3
"""


@pytest.mark.parametrize(
    "text",
    [
        KUBEADM,
        K3S,
        "",
        "# nothing\n",
        "---\n",
        "text",
        "- a\n- b\n",
        "a: 1\r\nb: 2\r\n",
        'a: "\\u00e9\\n"',
        "a: -1\nb: 0\nc: 1.5\nd: yes\ne: Off\nf: NULL\n",
        "a: unix:///run/x.sock\nb: 10.0.0.0/16\nc: a#b\nd: a # b\ne: x:y\n",
        json.dumps({"a": [1, {"b": None}], "c": "d", "e": 1.5}, indent=1),
    ],
)
def test_what_it_reads_is_what_pyyaml_reads(text: str) -> None:
    assert yaml_subset.parse(text) == yaml.safe_load(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: &x 1\nb: *x\n", "line 1: is not understood"),
        ("a: !!int 1\n", "line 1: is not understood"),
        ("a: |\n  text\n", "line 1: is not understood"),
        ("a: 1\n---\nb: 1\n", "line 2: directives and several documents"),
        ("%YAML 1.1\n---\na: 1\n", "line 1: directives and several documents"),
        ("a:\n\tb: 1\n", "line 2: holds a tab"),
        ("a: 1\na: 2\n", "line 2: gives a key a second time"),
        ("a: {b: 1, b: 2}\n", "line 1: is not understood"),
        ("a: 1\n  b: 2\n", "line 1: goes on below a value"),
        ("a:\n    b: 1\n  c: 2\n", "line 3: is indented otherwise"),
        ("a: [1,\n 2]\n", "line 1: is not understood"),
        ("a: 'x\n", "line 1: is not understood"),
        ("a: 'x' y\n", "line 1: is not understood"),
        ('a: "\\x41"\n', "line 1: holds an escape"),
        ("<<: {a: 1}\n", "line 1: is not understood"),
        ("on: 1\n", "line 1: is no string as a key"),
        ("a: 0x1f\n", "a string to some readers"),
        ("a: 12:30\n", "a string to some readers"),
        ("a: 1e3\n", "a string to some readers"),
        ("a: 012\n", "a string to some readers"),
        ("a: 2024-01-01\n", "a string to some readers"),
        ("a: y\n", "a string to some readers"),
        ("a: 99999999999999999999\n", "a string to some readers"),
        ("a: \0\n", "control characters"),
        ("a: x\x85b: y\n", "control characters"),
        ('{"a": 1, "a": 2}', "gives a key a second time"),
        ('{"a": NaN}', "is no JSON"),
        ('{"a": ' + "1" * 5000 + "}", "more than 19 digits"),
        ("{a: 1}", "Expecting property name"),
    ],
)
def test_what_it_does_not_understand_it_refuses_with_the_line(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        yaml_subset.parse(text)


def test_no_refusal_repeats_the_text_which_may_be_a_secret() -> None:
    for text in (
        "token: &x hunter2\n",
        "hunter2",
        "token: 'hunter2\n",
        "a: 1\ntoken: {hunter2\n",
        '{"token": "hunter2" x}',
    ):
        try:
            yaml_subset.parse(text)
        except ValueError as error:
            assert "hunter2" not in str(error)  # noqa: PT017 - the lone word is no error


@pytest.mark.parametrize(
    "text",
    [
        # An alias bomb: nine to the power of nine.
        "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"{c}: &{c} [{','.join(['*' + p] * 9)}]\n" for p, c in zip("abcdefgh", "bcdefghi")),
        "- " * 200_000,
        "[" * 500_000,
        "{" * 500_000,
        '{"a":' * 500_000,
        "a: [" + "[" * 500_000,
        "\n".join(" " * n + "a:" for n in range(1000)),
        "a: " + "'" * 1_000_001,
        "a: " + '"' + "\\" * 1_000_001,
        "a: " + "x " * 500_000 + "\n" + ": " * 500_000,
    ],
)
@pytest.mark.usefixtures("bounded")
def test_hostile_text_is_refused_in_no_time(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        yaml_subset.parse(text)


@pytest.mark.usefixtures("bounded")
def test_a_long_text_takes_the_time_of_its_length() -> None:
    assert len(yaml_subset.parse("".join(f"key{n}: value\n" for n in range(60_000)))) == 60_000


def mutated(dice: random.Random, texts: list[str], pieces: list[str]) -> str:
    text = dice.choice(texts)
    for _round in range(dice.randint(0, 3)):
        at, kind = dice.randint(0, len(text)), dice.randint(0, 2)
        if kind == 0:
            text = text[:at] + dice.choice(pieces) + text[at:]
        elif kind == 1:
            text = text[:at] + text[at + dice.randint(1, 3) :]
        else:
            other = dice.choice(texts)
            start = dice.randint(0, len(other))
            text = text[:at] + other[start : start + dice.randint(1, 30)] + text[at:]
    return text


def test_text_at_random_is_refused_or_means_the_same_to_pyyaml() -> None:
    dice = random.Random(7)
    pieces = [
        *" \n:-#'\"[]{},&*!|>%@`?\\abe01._~+<=",
        "\n  ",
        "\n- ",
        "- ",
        ": ",
        " #",
        "\n\n",
        "\t",
        "---\n",
        "0x1f",
        "null",
    ]
    accepted = 0
    for _round in range(4000):
        text = mutated(dice, [KUBEADM, K3S, REFUSED], pieces)
        try:
            mine: Any = yaml_subset.parse(text)
        except ValueError:
            continue
        accepted += 1
        assert json.dumps(mine) == json.dumps(yaml.safe_load(text), default=str), text
    assert accepted > 300
