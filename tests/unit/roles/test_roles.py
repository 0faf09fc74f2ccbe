# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The roles' specifications are those of the modules, and each value of a profile has its reason."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.bulwark.node.plugins.module_utils import settings
from ansible_collections.bulwark.node.plugins.module_utils.node import bridge_mtu_options
from ansible_collections.bulwark.node.tests.tools import generate

ROOT = Path(__file__).parents[3]
PROFILES: dict[str, Any] = yaml.safe_load((ROOT / "roles/harden/vars/main.yml").read_text())["__harden_profiles"]
SPECS = {generate.PARTS[name]: part["options"] for name, part in settings.ARGUMENT_SPEC.items()}
SPECS["bridge_mtu"] = {
    name: each for name, each in bridge_mtu_options.ARGUMENT_SPEC.items() if name not in generate.LEFT_OUT
}


def shape(options: dict[str, Any]) -> dict[str, Any]:
    """What a specification says of each option that counts when it is validated."""
    return {
        name: {
            **{key: option[key] for key in ("type", "elements", "choices", "default", "required") if key in option},
            **({"options": shape(option["options"])} if option.get("options") else {}),
        }
        for name, option in options.items()
    }


@pytest.mark.parametrize("role", generate.ROLES)
def test_the_specification_of_a_role_is_that_of_its_modules(role: str) -> None:
    options = generate.specification(role)
    for variable, module in generate.ROLES[role].items():
        if variable:
            found = options[f"{role}_{variable.removesuffix('[]')}"]["options"]
        else:
            found = {name.removeprefix(f"{role}_"): each for name, each in options.items()}
        expected = shape(SPECS[module])
        assert {name: each for name, each in shape(found).items() if name in expected} == expected


@pytest.mark.parametrize(
    ("role", "consents"),
    [
        ("hugepages", {"restart_units": [], "allow_surplus": False}),
        ("kvm", {"restart_units": [], "install_packages": False, "reload": False}),
        ("bridge_mtu", {"allow_management_link": False}),
        ("rlimits", {"restart_units": []}),
        ("harden", {"restart_units": [], "install_packages": False}),
        ("reboot", {"always": False, "force": False, "takeover": False, "lift_quarantine": False, "guests": "refuse"}),
        (
            "cloud_nat",
            dict.fromkeys(("apply", "allow_new_addresses", "allow_disruption", "allow_unmeasured"), False),
        ),
    ],
)
def test_consent_is_asked_for(role: str, consents: dict[str, Any]) -> None:
    options = generate.specification(role)
    assert {name: options[f"{role}_{name}"]["default"] for name in consents} == consents
    consent = re.compile(
        rf"{role}_(?:allow_\w+|install_\w+|restart_\w+|reload|apply|always|force|takeover|lift_\w+|guests)"
    )
    assert {name.removeprefix(f"{role}_") for name in options if consent.fullmatch(name)} == set(consents)


def test_harden_has_a_variable_for_each_option_of_settings_which_its_task_gives() -> None:
    options = generate.specification("harden")
    tasks = yaml.safe_load((ROOT / "roles/harden/tasks/main.yml").read_text())
    given = next(task["bulwark.node.settings"] for task in tasks if "bulwark.node.settings" in task)
    assert set(given) == set(settings.ARGUMENT_SPEC)
    for name, part in settings.ARGUMENT_SPEC.items():
        assert options[f"harden_{name}"]["type"] == part["type"]
        assert f"harden_{name}" in given[name]
    assert options["harden_profile"]["choices"] == list(PROFILES)
    assert "default" not in options["harden_profile"]


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """(option, value) of each value of a profile. An entry of rlimits is named by its one unit."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from leaves(each, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for entry in value:
            (unit,) = entry["systemd_units"]
            rest = {key: each for key, each in entry.items() if key != "systemd_units"}
            yield from leaves(rest, f"{path}[{unit}]")
    else:
        yield path, str(value).lower() if isinstance(value, bool) else str(value)


def documented() -> dict[str, set[tuple[str, str]]]:
    """{profile: its options and values} as docs/profiles.md has them; each row names a reason that is there."""
    text = (ROOT / "docs/profiles.md").read_text()
    found: dict[str, set[tuple[str, str]]] = {}
    for row in re.findall(r"^\| `.*", text, re.M):
        profiles, option, value, why = [cell.strip() for cell in row.strip("|").split("|")]
        reasons = re.findall(r"\[(\w+)\]\(#(\w+)\)", why)
        assert reasons, row
        assert all(f"\n### {name}\n" in text and anchor == name.lower() for name, anchor in reasons), row
        for profile in re.findall(r"`(\w+)`", profiles):
            found.setdefault(profile, set()).add((option.strip("`"), value.strip("`")))
    return found


def test_each_value_of_a_profile_is_in_its_document_with_a_reason_and_nothing_else_is() -> None:
    assert documented() == {name: set(leaves(profile)) for name, profile in PROFILES.items()}


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_sets_nothing_that_depends_on_the_machine_and_disturbs_nothing(name: str) -> None:
    assert set(PROFILES[name]) <= {"transparent_hugepages", "kvm", "rlimits"}
    result = ArgumentSpecValidator(settings.ARGUMENT_SPEC).validate(PROFILES[name])
    assert result.error_messages == []
    found = result.validated_parameters
    assert found["kvm"] is None or (found["kvm"]["nested"], found["kvm"]["reload"]) == (None, False)
    for entry in found["rlimits"] or ():
        assert not any(entry[key] for key in ("restart", "daemon_reload", "raise_ceilings", "processes"))
        assert len(entry["systemd_units"]) == 1
