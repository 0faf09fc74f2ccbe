# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a documentation becomes a part of another file."""

from __future__ import annotations

import pytest
import yaml

from ansible_collections.bulwark.node.plugins.module_utils import settings
from ansible_collections.bulwark.node.plugins.module_utils.node import bridge_mtu_options
from ansible_collections.bulwark.node.tests.tools import generate

TEMPLATE = """\
options:
  first: by hand
  # generated: rest
  old: text
  # generated: end
last: by hand
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("with O(state=absent).", "with O(kvm.state=absent)."),
        ("as O(pools[].node) is", "as O(kvm.pools[].node) is"),
        ("RV(before), RV(changes[].kind)", "RV(domains.kvm.before), RV(domains.kvm.changes[].kind)"),
        ("O(a), O(b=c)", "O(kvm.a), O(kvm.b=c)"),
        # What names its plugin, and what is no reference.
        ("O(bulwark.node.kvm#module:nested)", "O(bulwark.node.kvm#module:nested)"),
        ("RV(ignore:ansible_facts.bulwark)", "RV(ignore:ansible_facts.bulwark)"),
        ("V(state), C(O), FOO(x), M(a.b.c)", "V(state), C(O), FOO(x), M(a.b.c)"),
    ],
)
def test_references_are_moved(text: str, expected: str) -> None:
    def place(kind: str, name: str) -> str:
        return f"kvm.{name}" if kind == "O" else f"domains.kvm.{name}"

    assert generate.moved({"description": text}, place) == {"description": expected}
    assert generate.moved([{"a": {"description": [text]}}], place) == [{"a": {"description": [expected]}}]


def test_only_descriptions_are_rewritten() -> None:
    given = {"default": "O(a)", "choices": ["O(a)"], "type": "str"}
    assert generate.moved(given, lambda kind, name: "other") == given


def test_an_option_that_settings_does_not_have_is_referred_to_in_its_module() -> None:
    text = yaml.safe_dump(generate.settings_options(), width=10**6)
    missing = set(bridge_mtu_options.ARGUMENT_SPEC) - set(settings.ARGUMENT_SPEC["bridges"]["options"])
    assert missing
    for option in missing:
        assert f"O(bulwark.node.bridge_mtu#module:{option})" in text
        assert f"O(bridges.{option})" not in text
    assert "O(rlimits[].systemd_units)" in text


def test_settings_has_the_options_of_its_specification_and_their_results() -> None:
    options = generate.settings_options()
    assert list(options) == list(settings.ARGUMENT_SPEC) == list(generate.settings_domains())
    for name, option in options.items():
        assert set(option["suboptions"]) == set(settings.ARGUMENT_SPEC[name]["options"])


def test_a_generated_part_is_replaced_with_the_indentation_of_its_mark() -> None:
    filled = generate.filled(TEMPLATE, {"rest": {"a": [1, "{{ b }}"]}})
    assert filled == TEMPLATE.replace("  old: text\n", '  a:\n    - 1\n    - "{{ b }}"\n')
    assert generate.filled(filled, {"rest": "  old: text\n"}) == TEMPLATE


@pytest.mark.parametrize("parts", [{}, {"other": ""}, {"rest": "", "other": ""}])
def test_a_file_has_exactly_the_parts_that_are_generated(parts: dict[str, str]) -> None:
    with pytest.raises(LookupError, match="generated parts"):
        generate.filled(TEMPLATE, parts)


def test_a_table_has_a_row_for_each_variable_and_each_option_in_it() -> None:
    options = {
        "role_list": {
            "description": ["The O(role_list[].a) | V(b).", "See M(c.d.e)."],
            "type": "list",
            "elements": "dict",
            "options": {"a": {"description": "A.", "type": "int", "required": True}},
        },
        "role_word": {
            "description": "RV(c.d.e#module:f)",
            "type": "str",
            "choices": ["x", "y"],
            "default": "x",
        },
        "role_none": {"description": "N.", "type": "bool"},
    }
    assert generate.table(options).strip().splitlines()[2:] == [
        r"| `role_list` | list of dict |  | The `role_list[].a` \| `b`. See `c.d.e`. |",
        "| `role_list[].a` | int | required | A. |",
        "| `role_word` | str, one of `x`, `y` | `x` | `f` of `c.d.e` |",
        "| `role_none` | bool |  | N. |",
    ]


def test_what_must_be_given_and_what_has_choices_alone_has_no_default() -> None:
    options = {
        "given": {"type": "list", "required": True},
        "chosen": {"type": "str", "choices": ["a"]},
        "off": {"type": "bool", "default": False},
        "null": {"type": "str"},
    }
    assert generate.defaults(options) == {"off": False, "null": None}


def test_a_sample_stands_on_one_line_and_nothing_is_an_alias() -> None:
    shared = {"b": [1, 2]}
    made = generate.moved({"x": {"sample": shared}, "y": {"sample": shared}, "z": [shared, shared]}, lambda *given: "")
    text = generate._yaml(made)
    assert "sample: {b: [1, 2]}" in text
    assert "&" not in text
    assert yaml.safe_load(text)["y"] == {"sample": shared}
