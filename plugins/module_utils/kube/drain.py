# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a drain does with each pod: kubectl's filters in kubectl's order (k8s.io/kubectl/pkg/drain/filters.go), and rules.

Pure: what is asked of the cluster comes in as arguments.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.errors import OptionError
from ansible_collections.bulwark.node.plugins.module_utils.kube import pods, selectors
from ansible_collections.bulwark.node.plugins.module_utils.kube.objects import labels_of
from ansible_collections.bulwark.node.plugins.module_utils.kube.pods import Object
from ansible_collections.bulwark.node.plugins.module_utils.kube.selectors import Selector

__all__ = ["DRAIN_SPEC", "Decision", "Options", "Rule", "decide", "parse_options"]

DRAIN_SPEC: dict[str, Any] = {
    "force": {"type": "bool", "default": False},
    "delete_emptydir_data": {"type": "bool", "default": False},
    "ignore_daemonsets": {"type": "bool", "default": True},
    "disable_eviction": {"type": "bool", "default": False},
    "delete_after": {"type": "int"},
    "grace_period": {"type": "int"},
    "skip_wait_for_delete_timeout": {"type": "int", "default": 0},
    "rules": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "selector": {"type": "str", "default": ""},
            "namespaces": {"type": "list", "elements": "str"},
            "action": {"type": "str", "choices": ["evict", "delete", "skip", "wait"], "default": "evict"},
            "grace_period": {"type": "int"},
            "force": {"type": "bool"},
            "delete_emptydir_data": {"type": "bool"},
        },
    },
}


@dataclass(frozen=True)
class Rule:
    """What is done with some pods. None: as it is for the others."""

    selector: Selector = field(default_factory=lambda: Selector(()))
    namespaces: Collection[str] | None = None
    action: str = "evict"
    grace: int | None = None
    force: bool | None = None
    delete_emptydir_data: bool | None = None

    def takes(self, pod: Object) -> bool:
        """Whether it is about this pod."""
        inside = self.namespaces is None or pod["metadata"]["namespace"] in self.namespaces
        return inside and self.selector.matches(labels_of(pod))


@dataclass(frozen=True)
class Options:
    """The consents, and how. ``grace`` in seconds, None for each pod's own; ``delete_after`` in seconds, None for never."""

    force: bool = False
    delete_emptydir_data: bool = False
    ignore_daemonsets: bool = True
    disable_eviction: bool = False
    delete_after: int | None = None
    grace: int | None = None
    skip_deleted: int = 0
    rules: Sequence[Rule] = ()


@dataclass(frozen=True)
class Decision:
    """``action``: evict, delete, wait (until it ends by itself), leave, or refuse, which keeps a drain from beginning.

    ``cause`` is the filter or rule behind a leave or refuse; ``notes`` what is lost with the pod. ``grace`` as in Options.
    """

    action: str
    cause: str | None = None
    reason: str | None = None
    grace: int | None = None
    notes: tuple[str, ...] = ()


def parse_options(params: Mapping[str, Any]) -> Options:
    """The options of DRAIN_SPEC. Raises OptionError."""
    for name in ("delete_after", "grace_period", "skip_wait_for_delete_timeout"):
        _not_negative(name, params[name])
    return Options(
        force=params["force"],
        delete_emptydir_data=params["delete_emptydir_data"],
        ignore_daemonsets=params["ignore_daemonsets"],
        disable_eviction=params["disable_eviction"],
        delete_after=params["delete_after"],
        grace=params["grace_period"],
        skip_deleted=params["skip_wait_for_delete_timeout"],
        rules=tuple(_rule(f"rules[{index}]", given) for index, given in enumerate(params["rules"])),
    )


def _rule(path: str, given: Mapping[str, Any]) -> Rule:
    _not_negative(f"{path}.grace_period", given["grace_period"])
    return Rule(
        selectors.parse(f"{path}.selector", given["selector"]),
        given["namespaces"],
        given["action"],
        given["grace_period"],
        given["force"],
        given["delete_emptydir_data"],
    )


def _not_negative(option: str, value: int | None) -> None:
    if value is not None and value < 0:
        raise OptionError(option, value, "seconds, 0 or more; without it each pod has its own")


def decide(pod: Object, options: Options, missing: Collection[tuple[str, str]], now: datetime.datetime) -> Decision:
    """What becomes of one pod. ``missing``: DaemonSets, by namespace and name, that pods have for controller and that are not there."""
    rule = next((rule for rule in options.rules if rule.takes(pod)), Rule())
    if rule.action == "skip":
        return Decision("leave", "rule", "a rule skips it")
    case = _Case(pod, options, rule, missing, now)
    return next(case.filters(), None) or case.removal()


@dataclass(frozen=True)
class _Case:
    """One pod before the filters; each gives None where it lets the pod through."""

    pod: Object
    options: Options
    rule: Rule
    missing: Collection[tuple[str, str]]
    now: datetime.datetime

    def filters(self) -> Iterator[Decision]:
        """The first that does not let it through has decided, whatever those behind it would say."""
        order = [self.deleted, self.daemon_set, self.mirror]
        # Nothing of what is waited for is deleted by us.
        order += [self.waited_for] if self.rule.action == "wait" else [self.emptydir, self.unmanaged]
        return filter(None, (each() for each in order))

    def removal(self) -> Decision:
        """What is done with a pod that came through them all."""
        kept = pods.finished(self.pod)
        notes = [f"what is in its emptyDir {name} is lost" for name in pods.volumes(self.pod, "emptyDir") if not kept]
        if not kept and (self.orphaned or not pods.controller(self.pod)):
            notes.append("it has no controller, and does not come back")
        action = "delete" if self.options.disable_eviction else self.rule.action
        return Decision(action, grace=self.grace, notes=tuple(notes))

    @property
    def grace(self) -> int | None:
        return self.options.grace if self.rule.grace is None else self.rule.grace

    @property
    def force(self) -> bool:
        return self.options.force if self.rule.force is None else self.rule.force

    @property
    def orphaned(self) -> bool:
        owner = pods.controller(self.pod)
        return owner is not None and (self.pod["metadata"]["namespace"], owner["name"]) in self.missing

    def deleted(self) -> Decision | None:
        """``shouldSkipPod``: long past its end, and its kubelet does not answer."""
        since = pods.deleted_since(self.pod, self.now)
        if self.options.skip_deleted and since is not None and since > self.options.skip_deleted:
            return Decision("leave", "deleted", f"it should have been gone {int(since)} s ago, and is not waited for")
        return None

    def daemon_set(self) -> Decision | None:
        """``daemonSetFilter``."""
        owner = pods.controller(self.pod)
        # By kind alone, as kubectl: those of other APIs (OpenKruise) count as gone, and are not evicted unasked.
        if not owner or owner["kind"] != "DaemonSet":
            return None
        if pods.finished(self.pod):
            return None
        if self.orphaned:
            reason = f"its DaemonSet {owner['name']} is gone, and it would not come back; force lets it be evicted"
            return None if self.force else Decision("refuse", "daemonset", reason)
        if not self.options.ignore_daemonsets:
            return Decision("refuse", "daemonset", "a DaemonSet would bring it back; ignore_daemonsets leaves it")
        return Decision("leave", "daemonset", f"of DaemonSet {owner['name']}")

    def mirror(self) -> Decision | None:
        """``mirrorPodFilter``."""
        return (
            Decision("leave", "mirror", "a static pod, which its kubelet alone ends")
            if pods.is_mirror(self.pod)
            else None
        )

    def waited_for(self) -> Decision | None:
        """By a rule: it ends by itself, or the drain does not."""
        if pods.finished(self.pod):
            return Decision("leave", "rule", "it was waited for, and has ended")
        return Decision("wait", "rule", "a rule waits until it ends by itself")

    def emptydir(self) -> Decision | None:
        """``localStorageFilter``."""
        names = pods.volumes(self.pod, "emptyDir")
        consent = self.rule.delete_emptydir_data
        consent = self.options.delete_emptydir_data if consent is None else consent
        if not names or pods.finished(self.pod) or consent:
            return None
        reason = f"it has emptyDir volumes ({', '.join(names)}), which go with it; delete_emptydir_data lets them"
        return Decision("refuse", "emptydir", reason)

    def unmanaged(self) -> Decision | None:
        """``unreplicatedFilter``."""
        if pods.controller(self.pod) or pods.finished(self.pod) or self.force:
            return None
        return Decision("refuse", "unmanaged", "it has no controller and would not come back; force lets it be evicted")
