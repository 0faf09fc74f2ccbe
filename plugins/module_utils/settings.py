# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All domains in one trip: each is looked at before the first is changed, and each is undone on its own."""

from __future__ import annotations

import contextlib
import posixpath
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulwark.node.plugins.module_utils.converge import Domain, Params, Planned, Result, planned
from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError, Interrupted, OptionError
from ansible_collections.bulwark.node.plugins.module_utils.foresight import Foresight
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.module import command_runner, guarded, told
from ansible_collections.bulwark.node.plugins.module_utils.node import (
    bridge_mtu_options,
    hugepages_options,
    kernel_args_options,
    kvm_options,
    rlimit_options,
    transparent_hugepages_options,
)

__all__ = ["ARGUMENT_SPEC", "Outcome", "Part", "parts", "run", "settle"]

_NAME = "settings"
# A link that carries the connection takes a second run on a new one, which the module bridge_mtu's own action makes.
_ITS_OWN_ACTION = ("allow_management_link", "revert_after", "confirm")
_SPECS: Mapping[str, Mapping[str, Any]] = {
    "hugepages": hugepages_options.ARGUMENT_SPEC,
    "transparent_hugepages": transparent_hugepages_options.ARGUMENT_SPEC,
    "kernel_args": kernel_args_options.ARGUMENT_SPEC,
    "kvm": kvm_options.ARGUMENT_SPEC,
    "bridges": bridge_mtu_options.ARGUMENT_SPEC,
    "rlimits": rlimit_options.ARGUMENT_SPEC,
}
"""In the order in which they are done."""
_LISTS = ("rlimits",)

ARGUMENT_SPEC: dict[str, Any] = {
    name: {
        **({"type": "list", "elements": "dict"} if name in _LISTS else {"type": "dict"}),
        "options": {option: each for option, each in spec.items() if option not in _ITS_OWN_ACTION},
    }
    for name, spec in _SPECS.items()
}


@dataclass(frozen=True)
class Part:
    """One call of a domain. ``option`` is how the user wrote it: ``kvm``, ``rlimits[1]``."""

    name: str
    option: str
    params: Params


@dataclass
class Outcome:
    """What became of the parts that were asked for: the result, or the error of one that was refused or failed. Others were not begun."""

    asked: Sequence[Part]
    became: dict[str, Result | BulwarkError] = field(default_factory=dict)

    @property
    def results(self) -> list[tuple[Part, Result]]:
        """Of the parts that were done."""
        return [(part, got) for part, got in self._known() if isinstance(got, Result)]

    @property
    def errors(self) -> list[tuple[Part, BulwarkError]]:
        """Of the parts that were not."""
        return [(part, got) for part, got in self._known() if isinstance(got, BulwarkError)]

    def _known(self) -> list[tuple[Part, Result | BulwarkError]]:
        return [(part, self.became[part.option]) for part in self.asked if part.option in self.became]

    def as_dict(self) -> dict[str, Any]:
        """The module's return values, but for warnings and the message."""
        values = {part.option: result.as_dict() for part, result in self.results}
        joined = {
            key: [entry for value in values.values() for entry in value[key]]
            for key in ("unmet", "restart_required", "disruptive")
        }
        for part, error in self.errors:
            left = bool(error.details.get("not_undone"))
            values[part.option] = {**error.details, "failed": True, "changed": left, "msg": told(error)}
        domains: dict[str, Any] = {}
        for part in self.asked:
            value = values.get(part.option)
            if part.name in _LISTS:
                domains.setdefault(part.name, []).append(value)
            else:
                domains[part.name] = value
        return {
            "changed": any(value["changed"] for value in values.values()),
            # Not "results": to Ansible that is the list of a loop's.
            "domains": domains,
            "not_begun": [part.option for part in self.asked if part.option not in self.became],
            "reboot_required": any(result.verdict.reboot_required for part, result in self.results),
            **{
                key: [entry for at, entry in enumerate(found) if entry not in found[:at]]
                for key, found in joined.items()
            },
            "diff": [_named(part, diff) for part, result in self.results for diff in result.diff],
        }


def run(module: AnsibleModule) -> None:
    """Converge all that the module's parameters name, and exit or fail the module."""
    runner = command_runner(module)
    outcome = Outcome(())
    error: BulwarkError | None = None
    try:
        outcome = Outcome(parts(module.params))
        with guarded(Host(run=runner), module.check_mode):
            settle(outcome, lambda: Host(run=runner), Foresight(run=runner), module.check_mode)
    except BulwarkError as caught:
        error = caught
    for part, result in outcome.results:
        for warning in result.verdict.warnings:
            module.warn(f"{part.option}: {warning}")
    messages = [f"{part.option}: {told(failure)}" for part, failure in outcome.errors] + (
        [told(error)] if error else []
    )
    if messages:
        module.fail_json(msg=f"{_NAME}: {' '.join(map(_sentence, messages))}", **outcome.as_dict())
    module.exit_json(**outcome.as_dict())


def parts(params: Params) -> list[Part]:
    """What is asked for, in its order. Raises OptionError where that is nothing."""
    found = []
    for name, spec in _SPECS.items():
        given = params[name]
        if given is None:
            continue
        entries = enumerate(given) if name in _LISTS else [(None, given)]
        for index, options in entries:
            # What has an action of its own has its default here.
            whole = {**{option: each.get("default") for option, each in spec.items()}, **options}
            found.append(Part(name, name if index is None else f"{name}[{index}]", whole))
    if not found:
        raise OptionError("hugepages", None, f"one of {', '.join(_SPECS)}")
    return found


def settle(outcome: Outcome, host: Callable[[], Host], foresight: Foresight, check: bool) -> None:
    """Look at all parts, and only where none is refused bring them about one by one.

    A part sees what those before it would write. The first that fails ends it: what came before stays. Where all parts
    are to go back none of them keeps the others from it.
    """
    way_back = all(part.params["state"] == "absent" for part in outcome.asked)
    plans: list[tuple[Part, Planned[Any, Any]]] = []
    for part in outcome.asked:
        with _caught(outcome, part):
            plan = planned(_domain(part.name, foresight), part.params)
            _refuse_rivals(part, plan, plans)
            foresight.add(plan)
            plans.append((part, plan))
    if check:
        outcome.became.update({part.option: plan.foretold() for part, plan in plans})
    if check or (outcome.became and not way_back):
        return
    unchanged = not any(plan.changes for part, plan in plans)
    for part, plan in plans:
        with _caught(outcome, part):
            # What was seen counts as long as nothing has been written.
            now = plan if unchanged else planned(_domain(part.name, host()), part.params)
            outcome.became[part.option] = now.carried_out()
        if isinstance(outcome.became[part.option], Interrupted) or (outcome.errors and not way_back):
            return


@contextlib.contextmanager
def _caught(outcome: Outcome, part: Part) -> Iterator[None]:
    """The error of a part is its own. So is a bug: it must not hide what others have changed."""
    try:
        yield
    except BulwarkError as error:
        outcome.became[part.option] = error
    except Exception as error:  # noqa: BLE001
        where = traceback.extract_tb(error.__traceback__)[-1]
        outcome.became[part.option] = BulwarkError(
            f"internal error: {error!r} in {posixpath.basename(where.filename)}, line {where.lineno}"
        )


def _domain(name: str, host: Host) -> Domain[Any, Any]:
    """Each is imported where it is asked for: a module's code costs time on every node."""
    if name == "hugepages":
        from ansible_collections.bulwark.node.plugins.module_utils.node.hugepages import Hugepages

        return Hugepages(host)
    if name == "transparent_hugepages":
        from ansible_collections.bulwark.node.plugins.module_utils.node.transparent_hugepages import (
            TransparentHugepages,
        )

        return TransparentHugepages(host)
    if name == "kernel_args":
        from ansible_collections.bulwark.node.plugins.module_utils.node.kernel_args import KernelArgs

        return KernelArgs(host)
    if name == "kvm":
        from ansible_collections.bulwark.node.plugins.module_utils.node.kvm import Kvm

        return Kvm(host)
    if name == "bridges":
        from ansible_collections.bulwark.node.plugins.module_utils.node.bridge_mtu import BridgeMtu

        return BridgeMtu(host)
    if name == "rlimits":
        from ansible_collections.bulwark.node.plugins.module_utils.node.rlimit import Rlimit

        return Rlimit(host)
    raise LookupError(f"no domain has the name {name}")


def _refuse_rivals(part: Part, plan: Planned[Any, Any], earlier: Sequence[tuple[Part, Planned[Any, Any]]]) -> None:
    """Two entries of ``rlimits`` that set the same to different values would undo one another, run by run."""
    for other, other_plan in earlier:
        if not part.name == other.name == "rlimits":
            continue
        if plan.desired.everything or other_plan.desired.everything:
            raise OptionError("state", "absent", "a target beside it, or no other entry: without one all goes back")
        mine, theirs = plan.desired.settings(), other_plan.desired.settings()
        for key, limit in mine.items():
            if key in theirs and theirs[key] != limit:
                target, name = key
                raise OptionError(f"limits.{name}", limit, f"{theirs[key]} for {target}, as {other.option} has it")


def _named(part: Part, diff: Mapping[str, Any]) -> dict[str, Any]:
    """A diff of facts has no header of its own."""
    return {"before_header": part.option, "after_header": part.option, **diff}


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."
