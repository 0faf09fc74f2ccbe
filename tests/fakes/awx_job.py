# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A job as AWX hands it to ansible-runner in an execution environment (awx/main/tasks/jobs.py).

ran = Job(folder, template("Bulwark audit"), {"audit_hosts": "workers"}, inventory).run()
assert ran.status == "successful"
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from ansible_runner.interface import run as run_by_runner

from .awx import form, launched

__all__ = ["HOME", "Job", "artifacts", "injectors", "template"]

HOME = Path(__file__).parents[2] / "extensions/awx"


class _Unsafe(yaml.SafeDumper):
    """awx/main/utils/safe_yaml.py: no text that a user gave is a template."""

    def represent_data(self, data: Any) -> Any:
        return self.represent_scalar("!unsafe", data) if isinstance(data, str) else super().represent_data(data)


def _written(variables: Mapping[str, Any], safe: Mapping[str, Any]) -> str:
    """env/extravars of a job; what is in ``safe``, the template's own variables, may be a template (safe_dump)."""
    return "".join(
        yaml.dump({name: value}, Dumper=yaml.SafeDumper if name in safe and safe[name] == value else _Unsafe)
        for name, value in variables.items()
    )


def template(name: str, **extra_vars: Any) -> dict[str, Any]:
    """A job template of extensions/awx, as AWX has it. Of what differs from site to site, only ``extra_vars``."""
    given = yaml.safe_load((HOME / "templates.yml").read_text())
    (found,) = (
        each
        for each in given["bulwark_awx_templates"] + given["bulwark_awx_cloud_nat_templates"]
        if each["name"] == name
    )
    playbook = found["playbook"].rpartition("}}")[2]
    return {**given["bulwark_awx_template"], **found, "playbook": playbook, "extra_vars": extra_vars}


class _Loader(yaml.SafeLoader):
    """As Ansible's, as far as text that is no template goes."""


def _text(loader: _Loader, found: yaml.ScalarNode) -> Any:
    return loader.construct_scalar(found)


_Loader.add_constructor("!unsafe", _text)


def injectors(credential_type: str) -> dict[str, Any]:
    """Those of a type of credentials of extensions/awx."""
    given = yaml.load((HOME / "credential_types.yml").read_text(), Loader=_Loader)
    (found,) = (each for each in given["bulwark_awx_credential_types"] if each["name"] == credential_type)
    return dict(found["injectors"])


def artifacts(ran: Any) -> dict[str, Any]:
    """What the tasks set_stats of a job leave with AWX."""
    (found,) = (event["event_data"] for event in ran.events if event["event"] == "playbook_on_stats")
    return dict(found.get("artifact_data", {}))


@dataclass
class Job:
    """A job with its own ``folder``, of a file of an inventory: all of its hosts, or those of a slice."""

    folder: Path
    template: Mapping[str, Any]
    answers: Mapping[str, Any]
    inventory: Path
    number: int = 41
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(self, cancel: Callable[[], bool] = lambda: False) -> Any:
        """The Runner, which has ended. It is cancelled once ``cancel`` holds."""
        told = {"awx_job_id": self.number, "awx_job_template_name": self.template["name"], "awx_user_name": "somebody"}
        variables = {**told, **launched(self.template, form(self.template, self.answers))}
        for name in ("env", "home"):
            (self.folder / name).mkdir(parents=True)
        safe = {**told, **self.template["extra_vars"]}
        (self.folder / "env/extravars").write_text(_written(variables, safe))
        return run_by_runner(
            private_data_dir=str(self.folder),
            project_dir=str(HOME / "templates/project"),
            playbook=self.template["playbook"],
            inventory=str(self.inventory),
            cmdline=" ".join(self._arguments()),
            envvars={
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "HOME": str(self.folder / "home"),
                "LANG": "C.UTF-8",
                # As the execution environments have it.
                "COLUMNS": "160",
                "no_proxy": "*",
                "ANSIBLEHOME": str(self.folder / "home"),
                "ANSIBLE_NOCOLOR": "1",
                "ANSIBLE_REMOTE_TMP": str(self.folder / "home/remote"),
                **self.environment,
            },
            # Seconds between two looks at whether it is cancelled.
            settings={"pexpect_timeout": 0.2},
            cancel_callback=cancel,
            quiet=True,
        )

    def _arguments(self) -> list[str]:
        given = {
            "--check": self.template.get("job_type") == "check",
            "--diff": self.template.get("diff_mode"),
            "--become": self.template.get("become_enabled"),
        }
        return [name for name, wanted in given.items() if wanted]
