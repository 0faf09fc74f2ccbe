# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What AWX says to configuration and answers before it starts a job, by the rules of its source, which each function names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jinja2 import StrictUndefined
from jinja2.exceptions import UndefinedError
from jinja2.sandbox import ImmutableSandboxedEnvironment

__all__ = [
    "Refused",
    "credential_type_refusals",
    "form",
    "injected",
    "launched",
    "rrule_refusals",
    "sliced",
    "survey_refusals",
]

_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("text", "textarea", "password", "multiplechoice", "multiselect"), (str,)),
    "integer": (int,),
    "float": (float,),
}
# awx/main/constants.py, ENV_BLOCKLIST
_NO_ENVIRONMENT = re.compile(
    "VIRTUAL_ENV|PATH|PYTHONPATH|JOB_ID|INVENTORY_ID|INVENTORY_SOURCE_ID|INVENTORY_UPDATE_ID|AD_HOC_COMMAND_ID|REST_API_URL|"
    "REST_API_TOKEN|MAX_EVENT_RES|CALLBACK_QUEUE|CALLBACK_CONNECTION|CACHE|JOB_CALLBACK_DEBUG|INVENTORY_HOSTVARS|"
    "AWX_HOST|PROJECT_REVISION|SUPERVISOR_CONFIG_PATH"
)


class Refused(Exception):
    """AWX does not start the job; the message has each reason."""


def survey_refusals(survey: Mapping[str, Any]) -> list[str]:
    """Why this is no survey (awx/api/views/__init__.py, JobTemplateSurveySpec._validate_spec_data)."""
    found = [
        f"{name}: expected {kind.__name__}"
        for name, kind in (("name", str), ("description", str), ("spec", list))
        if not isinstance(survey.get(name), kind)
    ]
    if found or not survey["spec"]:
        return found or ["spec: doesn't contain any items"]
    variables = [question.get("variable") for question in survey["spec"]]
    found += [f"{name}: duplicated" for name in set(variables) if variables.count(name) > 1]
    return found + [f"{each.get('variable')}: {why}" for each in survey["spec"] for why in _question_refusals(each)]


def _question_refusals(question: Mapping[str, Any]) -> Iterator[str]:
    for name in ("type", "question_name", "variable", "required"):
        if not isinstance(question.get(name), bool if name == "required" else str):
            yield f"{name}: missing, or of another type"
    kind = str(question.get("type"))
    if kind not in _TYPES:
        yield f"type: {kind} is none"
        return
    default = question.get("default", "")
    if default != "" and (not isinstance(default, _TYPES[kind]) or isinstance(default, bool)):
        yield f"default: {default!r} is no {kind}"
    if str(default).startswith("$encrypted$"):
        yield "default: $encrypted$ is reserved"
    for name in ("min", "max"):
        if name in question and (not isinstance(question[name], int) or isinstance(question[name], bool)):
            yield f"{name}: expected to be integer"
    if kind in ("multiplechoice", "multiselect"):
        if "choices" not in question:
            yield "choices: missing"
        elif any(line not in _choices(question) for line in str(default).splitlines() if line.strip()):
            yield "default: none of the choices"
        if kind == "multiplechoice" and len(str(default).splitlines()) > 1:
            yield "default: more than one"


def _choices(question: Mapping[str, Any]) -> list[str]:
    choices = question["choices"]
    return [each for each in choices.splitlines() if each.strip()] if isinstance(choices, str) else list(choices)


def _answer_refusal(question: Mapping[str, Any], answer: Any) -> str | None:
    """Why this is no answer (awx/main/models/mixins.py, SurveyJobTemplateMixin._survey_element_validation)."""
    kind = question["type"]
    if kind in ("text", "textarea", "password"):
        if not isinstance(answer, str):
            return f"{answer!r} expected to be a string"
        return _out_of_bounds(question, len(answer))
    if kind in ("integer", "float"):
        if type(answer) not in ((int,) if kind == "integer" else (int, float)):
            return f"{answer!r} expected to be {kind}"
        return _out_of_bounds(question, answer)
    if kind == "multiselect" and not isinstance(answer, list):
        return f"{answer!r} is expected to be a list"
    strange = [each for each in (answer if kind == "multiselect" else [answer]) if each not in _choices(question)]
    return f"{strange!r} expected to be one of {_choices(question)!r}" if strange else None


def _out_of_bounds(question: Mapping[str, Any], size: float) -> str | None:
    least, most = question.get("min"), question.get("max")
    if (least is not None and size < least) or (most is not None and size > most):
        return f"{size} is not within {least} and {most}"
    return None


def launched(template: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The variables of a job of this template, launched with these (mixins.py, _accept_or_ignore_variables and
    _update_unified_job_kwargs): those of the template, the survey's defaults, then what was given."""
    survey = template["survey_spec"]["spec"] if template.get("survey_enabled") else []
    errors, defaults = [], {}
    for question in survey:
        name = question["variable"]
        if name in given:
            why = _answer_refusal(question, given[name])
            errors += [f"{name}: {why}"] if why else []
        elif question["required"]:
            # The form fills in a default, and nobody else does before this is asked: neither a schedule nor a program.
            errors.append(f"{name}: value missing")
        if question.get("default") is not None and not _answer_refusal(question, question["default"]):
            defaults[name] = question["default"]
    unknown = sorted(set(given) - {question["variable"] for question in survey})
    if unknown and not template.get("ask_variables_on_launch"):
        errors.append(f"{', '.join(unknown)}: not allowed on launch")
    if errors:
        raise Refused("; ".join(errors))
    return {**(template.get("extra_vars") or {}), **defaults, **given}


def form(template: Mapping[str, Any], answers: Mapping[str, Any]) -> dict[str, Any]:
    """What the form of AWX sends of a survey where only these were answered: defaults as they came up."""
    survey = template["survey_spec"]["spec"] if template.get("survey_enabled") else []
    return {each["variable"]: each["default"] for each in survey if each.get("default") is not None} | dict(answers)


def credential_type_refusals(inputs: Mapping[str, Any], injectors: Mapping[str, Any]) -> list[str]:
    """Why this is no type of credentials (awx/main/fields.py, CredentialTypeInputField and CredentialTypeInjectorField)."""
    found = [f"inputs: {name}" for name in inputs if name not in ("fields", "required")]
    fields = inputs.get("fields", [])
    known = {
        "type",
        "format",
        "choices",
        "id",
        "label",
        "help_text",
        "multiline",
        "secret",
        "ask_at_runtime",
        "default",
    }
    for each in fields:
        found += [f"{each['id']}: {name}" for name in each if name not in known]
        if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", each["id"]) or each["id"] == "tower" or "label" not in each:
            found.append(f"{each['id']}: no id, or no label")
        if each.get("type", "string") not in ("string", "boolean"):
            found.append(f"{each['id']}: type {each['type']}")
        if each.get("type") == "boolean" and {"choices", "multiline", "format", "secret"} & set(each):
            found.append(f"{each['id']}: not for a boolean")
    ids = [each["id"] for each in fields]
    found += [f"{name}: not unique" for name in set(ids) if ids.count(name) > 1]
    found += [f"{name}: required, and no field" for name in inputs.get("required", []) if name not in ids]
    found += [f"injectors: {name}" for name in injectors if name not in ("env", "extra_vars", "file")]
    for name in injectors.get("env", {}):
        if name.startswith("ANSIBLE_") or _NO_ENVIRONMENT.fullmatch(name) or not re.fullmatch(r"[a-zA-Z_]\w*", name):
            found.append(f"env: {name} is not allowed")
    if set(injectors.get("file", {})) - {"template"}:
        found.append("file: one file, named template, is all that is used here")
    try:
        injected(injectors, dict.fromkeys(ids, "EXAMPLE"), "EXAMPLE_FILENAME")
    except UndefinedError as error:
        found.append(f"injectors: {error}")
    return found


def injected(injectors: Mapping[str, Any], inputs: Mapping[str, str], filename: str) -> dict[str, dict[str, str]]:
    """What a job gets of a credential (awx_plugins, inject_credential): its env, and the file's text as ``file``."""
    tower = {"filename": filename} if "file" in injectors else {}
    render = ImmutableSandboxedEnvironment(undefined=StrictUndefined).from_string
    return {
        kind: {name: render(text).render({**inputs, "tower": tower}) for name, text in each.items()}
        for kind, each in injectors.items()
    }


def rrule_refusals(rrule: str) -> list[str]:
    """Why AWX does not schedule by this rule (awx/api/serializers.py, SchedulePreviewSerializer.validate_rrule)."""
    rules = re.findall(r"RULE:[^\s]*", rrule)
    return [
        why
        for why, wrong in {
            "no DTSTART, or several": len(re.findall(r"DTSTART(?:;[^:]+)?:[0-9]+T[0-9]+Z?", rrule)) != 1,
            "DTSTART without a time zone": bool(re.search(r"DTSTART:[0-9]+T[0-9]+(?!\d|Z)", rrule)),
            "EXDATE, RDATE": bool(re.search("exdate:|rdate:", rrule, re.IGNORECASE)),
            "no rule": not rules,
            "no INTERVAL": any("INTERVAL" not in rule for rule in rules),
            "SECONDLY": "SECONDLY" in rrule,
            "BYDAY with numeric prefix": bool(re.search(r"BYDAY[:=]-?[0-9]", rrule)),
            "COUNT and UNTIL": any("COUNT" in rule and "UNTIL" in rule for rule in rules),
        }.items()
        if wrong
    ]


def sliced(hosts: Sequence[str], number: int, count: int) -> list[str]:
    """The hosts of slice ``number`` (from 1) of ``count`` (awx/main/models/inventory.py, Inventory.get_sliced_hosts)."""
    return sorted(hosts)[number - 1 :: count]
