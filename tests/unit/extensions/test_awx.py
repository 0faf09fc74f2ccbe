# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""extensions/awx: the playbook configures, by stand-ins of awx.awx's modules, what AWX would take. No AWX is asked."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.bulwark.node.tests.fakes import awx

ROOT = Path(__file__).parents[3]
HOME = ROOT / "extensions/awx"
RECORDED = Path(__file__).with_name("awx_modules.json")
SITE = {
    "bulwark_awx_project_url": "https://git.example/nodes.git",
    "bulwark_awx_kubeconfig": "users: [{name: a, user: {token: not-to-be-seen}}]",
    "bulwark_awx_google_key": '{"private_key": "not-to-be-seen"}',
    "bulwark_awx_google_project": "a-project",
    "bulwark_awx_cloud_nat": True,
    "bulwark_awx_reports": "/reports",
    "bulwark_awx_reports_claim": "bulwark-reports",
    "bulwark_awx_operators": ["Operators"],
    "bulwark_awx_approvers": ["Leads"],
}
# Answers to what has no default.
ANSWERS = {
    "bulwark_target": "workers",
    "harden_profile": "kvm_host",
    "cloud_nat_region": "europe-west3",
    "cloud_nat_router": "a-router",
    "cloud_nat_name": "a-nat",
    "cloud_nat_nodes": 60,
}
Calls = list[dict[str, Any]]


def configure(folder: Path, site: Mapping[str, Any]) -> tuple[int, str, Calls]:
    """How the playbook ended, what it said, and each call of a module of awx.awx: its name and its options."""
    rules = json.loads(RECORDED.read_text())["modules"]
    actions = folder / "ansible_collections/awx/awx/plugins/action"
    actions.mkdir(parents=True)
    for module in rules:
        (actions / f"{module}.py").write_text((ROOT / "tests/fakes/awx_action.py").read_text())
    (folder / "site.json").write_text(json.dumps(site))
    journal = folder / "journal"
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", HOME / "configure.yml", "-e", f"@{folder / 'site.json'}"],
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "ANSIBLE_HOME": str(folder / "home"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_COLLECTIONS_PATH": str(folder),
            "ANSIBLE_LOCALHOST_WARNING": "0",
            # Results are shown, but for those of no_log.
            "ANSIBLE_VERBOSITY": "1",
            "AWX_MODULES": str(RECORDED),
            "AWX_JOURNAL": str(journal),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    print(done.stdout)
    calls = [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []
    return done.returncode, " ".join(done.stdout.split()), calls


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, str, Calls]:
    return configure(tmp_path_factory.mktemp("awx"), SITE)


@pytest.fixture
def calls(configured: tuple[int, str, Calls]) -> Calls:
    assert configured[0] == 0
    return configured[2]


def of(calls: Calls, module: str) -> dict[str, dict[str, Any]]:
    """What a module was asked for, by its name."""
    return {each["options"]["name"]: each["options"] for each in calls if each["module"] == module}


def surveyed(calls: Calls) -> dict[str, dict[str, Any]]:
    return of(calls, "job_template") | of(calls, "workflow_job_template")


def questions(calls: Calls) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, template in surveyed(calls).items():
        for question in template["survey_spec"]["spec"]:
            yield name, question


def nodes(calls: Calls) -> dict[str, dict[str, Any]]:
    return {
        f"{each['options']['workflow_job_template']}: {each['options']['identifier']}": each["options"]
        for each in calls
        if each["module"] == "workflow_job_template_node"
    }


def asked(template: Mapping[str, Any]) -> dict[str, Any]:
    """What the form sends where only what nobody has a default for is answered."""
    survey = template["survey_spec"]["spec"]
    needed = [each["variable"] for each in survey if each["required"] and each.get("default") is None]
    return awx.form(template, {name: ANSWERS[name] for name in needed})


def test_each_survey_is_one_that_awx_takes(calls: Calls) -> None:
    surveys = {name: awx.survey_refusals(template["survey_spec"]) for name, template in surveyed(calls).items()}
    assert len(surveys) == 8
    assert surveys == {name: [] for name in surveys}


def test_a_survey_can_be_left_as_it_comes_up(calls: Calls) -> None:
    # The form of AWX sends an empty text, which no question of choices and no number may be.
    for name, template in surveyed(calls).items():
        assert set(awx.launched(template, asked(template))) >= {
            each["variable"] for each in template["survey_spec"]["spec"] if each["type"] != "multiselect"
        }, name
    kinds = {question["type"] for _name, question in questions(calls) if not question["required"]}
    assert kinds == {"text", "multiselect"}


def test_a_number_or_a_choice_that_is_none_is_refused_before_the_job(calls: Calls) -> None:
    template = of(calls, "job_template")["Bulwark reboot"]
    wrong: list[dict[str, Any]] = [
        {"reboot_gate_timeout": "900"},
        {"reboot_gate_timeout": -1},
        {"reboot_always": True},
        {"bulwark_target": ""},
        {"reboot_force": "yes"},
    ]
    for each in wrong:
        with pytest.raises(awx.Refused, match=next(iter(each))):
            awx.launched(template, {"bulwark_target": "workers", **each})


def arguments(playbook: str) -> dict[str, Any]:
    """The options of the role that a playbook of the collection has."""
    role = Path(playbook).stem
    specs = yaml.safe_load((ROOT / f"roles/{role}/meta/argument_specs.yml").read_text())
    return dict(specs["argument_specs"]["main"]["options"])


def test_each_answer_is_an_option_of_the_role_or_a_variable_of_the_playbook(calls: Calls) -> None:
    for template in of(calls, "job_template").values():
        playbook = (ROOT / "playbooks" / template["playbook"]).read_text()
        options = arguments(template["playbook"])
        for question in template["survey_spec"]["spec"]:
            name = question["variable"]
            option = options.get(name)
            if option is None:
                assert re.search(rf"\b{name}\b", playbook), name
                continue
            kind = option["type"]
            expected = {
                "str": ("text", "multiplechoice"),
                "path": ("text",),
                "int": ("integer",),
                "float": ("float",),
                "bool": ("multiplechoice",),
                "list": ("multiselect",),
            }[kind]
            assert question["type"] in expected, name
            if kind == "bool":
                assert question["choices"] == ["no", "yes"], name
            elif "choices" in option:
                assert set(question["choices"]) <= set(option["choices"]), name
            # What a form comes up with is what the role does without it, where it has a default of its own.
            if option.get("default") is not None and "default" in question:
                mine = {"no": False, "yes": True}.get(question["default"], question["default"])
                assert mine == option["default"], name


def test_what_changes_nodes_has_no_default_target_no_profile_and_no_consent(calls: Calls) -> None:
    for name, question in questions(calls):
        if question["variable"] in ("bulwark_target", "harden_profile"):
            assert "default" not in question, name
        if question.get("choices") == ["no", "yes"]:
            assert question["default"] == "no", name


def test_only_what_reports_on_each_host_alone_may_be_sliced(calls: Calls) -> None:
    templates = of(calls, "job_template")
    assert {name for name, each in templates.items() if each["ask_job_slice_count_on_launch"]} == {
        "Bulwark audit",
        "Bulwark harden check",
    }
    assert {each["job_slice_count"] for each in templates.values()} == {1}


def test_what_changes_nodes_runs_once_at_a_time_and_has_no_time_out(calls: Calls) -> None:
    for name in ("Bulwark harden", "Bulwark reboot"):
        template = of(calls, "job_template")[name]
        assert (template["allow_simultaneous"], template["timeout"], template["job_type"]) == (False, 0, "run")
    assert of(calls, "job_template")["Bulwark Cloud NAT"]["allow_simultaneous"] is False
    for workflow in of(calls, "workflow_job_template").values():
        assert workflow["allow_simultaneous"] is False


def test_the_fact_cache_is_used_with_its_own_execution_environment_alone(calls: Calls) -> None:
    pairs = {(each["use_fact_cache"], each["execution_environment"]) for each in of(calls, "job_template").values()}
    assert pairs == {(True, "Bulwark fact cache"), (False, "Bulwark")}


def test_whatever_is_named_was_made_before(calls: Calls) -> None:
    made = {"Default", "Bulwark nodes", "Bulwark kubeconfig"}
    known: dict[str, set[str]] = {"credential": {"Bulwark nodes"}, "organization": {"Default"}}
    for call in calls:
        module, options = call["module"], call["options"]
        needed = {
            "execution_environment": [options.get("execution_environment"), options.get("default_environment")],
            "credential_type": [options.get("credential_type")],
            "credential": [*(options.get("credentials") or []), options.get("credential")],
            "project": [options.get("project"), options.get("source_project")],
            "inventory": [options.get("inventory")],
            "instance_group": options.get("instance_groups") or [],
            "organization": [options.get("organization")],
            "template": [
                options.get("unified_job_template"),
                *(options.get("job_templates") or []),
                *(options.get("workflows") or []),
                options.get("workflow_job_template"),
            ],
        }
        missing = {kind: set(filter(None, names)) - known.get(kind, set()) for kind, names in needed.items()}
        assert missing == {kind: set() for kind in missing}, call
        if "name" in options:
            known.setdefault("template" if module.endswith("job_template") else module, set()).add(options["name"])
    assert made <= set().union(*known.values())


def test_each_playbook_is_in_the_project(calls: Calls) -> None:
    for template in of(calls, "job_template").values():
        (play,) = yaml.safe_load((HOME / "templates/project" / template["playbook"]).read_text())
        assert play["import_playbook"] == f"bulwark.node.{Path(template['playbook']).stem}"
    (source,) = of(calls, "inventory_source").values()
    assert yaml.safe_load((HOME / "templates/project" / source["source_path"]).read_text())["plugin"].startswith(
        "bulwark.node."
    )


def test_a_schedule_starts_without_anybody_who_answers(calls: Calls) -> None:
    schedules = of(calls, "schedule")
    templates = surveyed(calls)
    for schedule in schedules.values():
        assert awx.rrule_refusals(schedule["rrule"]) == []
        awx.launched(templates[schedule["unified_job_template"]], schedule.get("extra_data") or {})
    assert {name for name, each in schedules.items() if each["enabled"]} == {
        "Bulwark audit nightly",
        "Bulwark reboot plan daily",
    }


def test_an_approval_stands_before_each_change(calls: Calls) -> None:
    graph = nodes(calls)
    for workflow, looks, changes in (
        ("Bulwark harden with approval", "Bulwark harden check", "Bulwark harden"),
        ("Bulwark reboot with approval", "Bulwark reboot plan", "Bulwark reboot"),
    ):
        mine = {each["identifier"]: each for each in graph.values() if each["workflow_job_template"] == workflow}
        (start,) = set(mine) - {after for each in mine.values() for after in each.get("success_nodes") or []}
        (approve,) = mine[start]["success_nodes"]
        (change,) = mine[approve]["success_nodes"]
        assert mine[start]["unified_job_template"] == looks
        assert set(mine[approve]["approval_node"]) == {"name", "description", "timeout"}
        assert mine[approve]["approval_node"]["timeout"] > 0
        assert mine[change]["unified_job_template"] == changes
        # Its answers go to both jobs, which ask for the same.
        template = of(calls, "workflow_job_template")[workflow]
        given = awx.launched(template, asked(template))
        for name in (looks, changes):
            awx.launched(of(calls, "job_template")[name], given)


def test_teams_may_not_change_nodes_but_by_a_workflow_that_others_approve(calls: Calls) -> None:
    roles = {each["options"]["role"]: each["options"] for each in calls if each["module"] == "role"}
    templates, workflows = of(calls, "job_template"), of(calls, "workflow_job_template")
    assert {role: each["teams"] for role, each in roles.items()} == {"execute": ["Operators"], "approval": ["Leads"]}
    # Harden check foretells in check mode, as the plan does; an audit changes nothing.
    looks = {name for name, each in templates.items() if each["job_type"] == "check"} | {"Bulwark audit"}
    assert set(roles["execute"]["job_templates"]) == looks
    assert "job_templates" not in roles["approval"]
    assert set(roles["execute"]["workflows"]) == set(roles["approval"]["workflows"]) == set(workflows)


def test_nodes_are_linked_to_nodes_that_are_there(calls: Calls) -> None:
    seen: set[tuple[str, str]] = set()
    for each in nodes(calls).values():
        workflow = each["workflow_job_template"]
        assert {(workflow, after) for after in each.get("success_nodes") or []} <= seen
        seen.add((workflow, each["identifier"]))


def test_credentials_come_to_a_job_by_the_environment_that_the_modules_read(calls: Calls) -> None:
    types = of(calls, "credential_type")
    for each in types.values():
        assert awx.credential_type_refusals(each["inputs"], each["injectors"]) == []
        assert [name for name in each["inputs"]["fields"] if name["id"] != "project" and not name.get("secret")] == []
    told: dict[str, str] = {}
    for credential in of(calls, "credential").values():
        kind = types[credential["credential_type"]]
        assert set(kind["inputs"]["required"]) <= set(credential["inputs"])
        assert {type(text) for text in credential["inputs"].values()} == {str}
        found = awx.injected(kind["injectors"], credential["inputs"], "/runner/env/key")
        given = SITE["bulwark_awx_google_key" if "key" in credential["inputs"] else "bulwark_awx_kubeconfig"]
        assert yaml.safe_load(found["file"]["template"]) == yaml.safe_load(str(given))
        told |= found["env"]
    assert told == {
        "K8S_AUTH_KUBECONFIG": "/runner/env/key",
        "GCP_AUTH_KIND": "serviceaccount",
        "GCP_SERVICE_ACCOUNT_FILE": "/runner/env/key",
        "GCP_PROJECT": "a-project",
    }
    fragments = "".join((ROOT / f"plugins/doc_fragments/{name}.py").read_text() for name in ("kubernetes", "gcp"))
    assert [name for name in told if f"E({name})" not in fragments] == []


@pytest.mark.parametrize(
    ("injectors", "reason"),
    [
        ({"env": {"ANSIBLE_CONFIG": "x"}}, "env: ANSIBLE_CONFIG is not allowed"),
        ({"env": {"PATH": "x"}}, "env: PATH is not allowed"),
        ({"env": {"A": "{{ other }}"}}, "injectors: 'other' is undefined"),
        ({"env": {"A": "{{ tower.filename }}"}}, "injectors: 'dict object' has no attribute 'filename'"),
        ({"arguments": {}}, "injectors: arguments"),
    ],
)
def test_the_rules_for_credentials_refuse(injectors: dict[str, Any], reason: str) -> None:
    assert awx.credential_type_refusals({"fields": [{"id": "key", "label": "Key"}]}, injectors) == [reason]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"type": "bool"}, "a: type: bool is none"),
        ({"default": True}, "a: default: True is no text"),
        ({"default": "$encrypted$"}, "a: default: $encrypted$ is reserved"),
        ({"min": "1"}, "a: min: expected to be integer"),
        ({"type": "multiplechoice"}, "a: choices: missing"),
        ({"type": "multiplechoice", "choices": ["x"], "default": "y"}, "a: default: none of the choices"),
        ({"required": "yes"}, "a: required: missing, or of another type"),
    ],
)
def test_the_rules_for_surveys_refuse(change: dict[str, Any], reason: str) -> None:
    question = {"type": "text", "question_name": "A", "variable": "a", "required": True, **change}
    assert awx.survey_refusals({"name": "", "description": "", "spec": [question]}) == [reason]


@pytest.mark.parametrize(
    ("rrule", "reason"),
    [
        ("DTSTART:20260101T000000 RRULE:FREQ=DAILY;INTERVAL=1", "DTSTART without a time zone"),
        ("DTSTART:20260101T000000Z RRULE:FREQ=DAILY", "no INTERVAL"),
        ("DTSTART:20260101T000000Z RRULE:FREQ=MONTHLY;INTERVAL=1;BYDAY=2TU", "BYDAY with numeric prefix"),
    ],
)
def test_the_rules_for_schedules_refuse(rrule: str, reason: str) -> None:
    assert awx.rrule_refusals(rrule) == [reason]


def test_reports_go_to_a_volume_of_the_job(calls: Calls) -> None:
    (group,) = of(calls, "instance_group").values()
    pod = json.loads(group["pod_spec_override"])
    (worker,) = pod["spec"]["containers"]
    (mount,) = worker["volumeMounts"]
    (volume,) = pod["spec"]["volumes"]
    claim = volume["persistentVolumeClaim"]["claimName"]
    assert (mount["name"], mount["mountPath"]) == (volume["name"], "/reports")
    assert claim == yaml.safe_load((HOME / "reports.yml").read_text())["metadata"]["name"]
    for template in of(calls, "job_template").values():
        assert template["instance_groups"] == [group["name"]]
        assert template["extra_vars"] == {"bulwark_reports": "/reports"}


def test_it_says_what_it_lacks_before_it_changes_anything(tmp_path: Path) -> None:
    rc, said, made = configure(tmp_path, {})
    assert (rc, made) == (2, [])
    assert "bulwark_awx_project_url: got nothing, expected the git repository with the playbooks" in said


def test_what_a_site_has_not_is_not_asked_for(tmp_path: Path) -> None:
    rc, _said, made = configure(
        tmp_path, {"bulwark_awx_project_url": "https://git.example/nodes.git", "bulwark_awx_cluster": False}
    )
    assert rc == 0
    assert {call["module"] for call in made} & {"credential", "instance_group", "inventory_source", "role"} == set()
    templates = of(made, "job_template")
    assert len(templates) == 5
    assert {tuple(each["credentials"]) for each in templates.values()} == {("Bulwark nodes",)}
    assert {tuple(each["instance_groups"]) for each in templates.values()} == {()}


def test_no_secret_is_shown(configured: tuple[int, str, Calls]) -> None:
    assert configured[0] == 0
    assert "registry.example/bulwark-ee:current" in configured[1]
    assert "not-to-be-seen" not in configured[1]
