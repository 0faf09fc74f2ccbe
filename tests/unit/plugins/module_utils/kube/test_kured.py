# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where kured is found, and what its DaemonSet says of its lock."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError
from ansible_collections.bulwark.node.plugins.module_utils.kube.client import Client, Forbidden, NotFound
from ansible_collections.bulwark.node.plugins.module_utils.kube.kured import Kured, find_kured
from ansible_collections.bulwark.node.tests.fakes.kube_api import FakeKube, User
from ansible_collections.bulwark.node.tests.fakes.kured import ANNOTATION, daemon_set
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.kube.conftest import Time, connected

DEFAULT = Kured("kube-system", "kured", ANNOTATION, 1)


def env(**variables: str) -> dict[str, Any]:
    return {"env": [{"name": name, "value": value} for name, value in variables.items()]}


def variable(name: str, **rest: Any) -> dict[str, Any]:
    return {"env": [{"name": name, **rest}]}


OTHER = Kured("reboots", "k", "x/y", 3)
SAID = {
    "nothing": ([], {}, DEFAULT),
    "equals": (["--ds-namespace=reboots", "--ds-name=k", "--lock-annotation=x/y", "--concurrency=3"], {}, OTHER),
    "words": (["--ds-namespace", "reboots", "--ds-name", "k", "--lock-annotation", "x/y", "--concurrency", "3"], {}, OTHER),
    "the last": (["--concurrency=9", "--concurrency=2"], {}, Kured("kube-system", "kured", ANNOTATION, 2)),
    "a switch before": (["--force-reboot", "--concurrency", "2"], {}, Kured("kube-system", "kured", ANNOTATION, 2)),
    "a value that looks like one": (["--notify-url", "--concurrency=5"], {}, DEFAULT),
    "after the end": (["--", "x", "--concurrency=5"], {}, DEFAULT),
    "none": (["--concurrency=0"], {}, DEFAULT),
    "command": ([], {"command": ["/usr/bin/kured", "--concurrency=2"]}, Kured("kube-system", "kured", ANNOTATION, 2)),
    "environment": (["--concurrency=2"], env(KURED_CONCURRENCY="4"), Kured("kube-system", "kured", ANNOTATION, 4)),
    "all of the environment": (
        [],
        env(KURED_DS_NAMESPACE="reboots", KURED_DS_NAME="k", KURED_LOCK_ANNOTATION="x/y", KURED_CONCURRENCY="3"),
        OTHER,
    ),
    "other environment": ([], env(KURED_START_TIME="9am", CONCURRENCY="7", MY_KURED_CONCURRENCY="7"), DEFAULT),
    "its node": ([], variable("KURED_NODE_ID", valueFrom={"fieldRef": {"fieldPath": "spec.nodeName"}}), DEFAULT),
}  # fmt: skip


@pytest.mark.parametrize("case", SAID)
def test_what_its_daemon_set_says_is_taken(kube: FakeKube, client: Client, case: str) -> None:
    arguments, container, wanted = SAID[case]
    kube.store.add("daemonsets.apps", daemon_set(*arguments, **container))
    assert find_kured(client, {}) == wanted


UNREADABLE = {
    "a ConfigMap": ([], variable("KURED_CONCURRENCY", valueFrom={"configMapKeyRef": {"name": "k", "key": "c"}})),
    "all of a ConfigMap": ([], {"envFrom": [{"configMapRef": {"name": "k"}}]}),
    "a variable": (["--concurrency=$(N)"], {}),
    "a shell": ([], {"command": ["sh", "-c", "exec kured --concurrency=$N"]}),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_is_said_elsewhere_is_asked_for_and_never_guessed(kube: FakeKube, client: Client, case: str) -> None:
    arguments, container = UNREADABLE[case]
    kube.store.add("daemonsets.apps", daemon_set(*arguments, **container))
    with pytest.raises(BulwarkError, match=r"DaemonSet kube-system/kured: --[a-z-]+ cannot be read"):
        find_kured(client, {})
    said = {"name": "kured", "concurrency": 2, "annotation": ANNOTATION}
    assert find_kured(client, said) == Kured("kube-system", "kured", ANNOTATION, 2)


def test_options_win(kube: FakeKube, client: Client) -> None:
    kube.store.add("daemonsets.apps", daemon_set("--concurrency=2"))
    assert find_kured(client, {"annotation": "x/y", "concurrency": 5}) == Kured("kube-system", "kured", "x/y", 5)


@pytest.mark.parametrize(
    "found",
    [
        {"image": "registry.example.org:5000/mirror/kured@sha256:0123", "command": None},
        {"image": "reboots:1", "command": ["/bin/kured"]},
        {"image": "kured"},
    ],
)
def test_it_is_found_in_any_namespace_by_what_it_runs(kube: FakeKube, client: Client, found: dict[str, Any]) -> None:
    kube.store.add("namespaces", {"metadata": {"name": "reboots"}})
    flags = ("--ds-namespace=reboots", "--ds-name=r")
    kube.store.add("daemonsets.apps", daemon_set(*flags, name="r", namespace="reboots", **found))
    other = daemon_set(name="proxy", image="kube-proxy:1", command=["kube-proxy", "--kured"])
    kube.store.add("daemonsets.apps", other)
    assert find_kured(client, {}) == Kured("reboots", "r", ANNOTATION, 1)
    assert find_kured(client, {"namespace": "kube-system"}) is None


def test_without_kured_there_is_none(client: Client) -> None:
    assert find_kured(client, {}) is None


def test_of_several_one_has_to_be_named(kube: FakeKube, client: Client) -> None:
    for name in ("kured", "kured-arm"):
        kube.store.add("daemonsets.apps", daemon_set("--ds-name", name, name=name))
    with pytest.raises(BulwarkError, match=r"\(DaemonSet kube-system/kured, DaemonSet kube-system/kured-arm\)"):
        find_kured(client, {})
    assert find_kured(client, {"name": "kured-arm"}) == Kured("kube-system", "kured-arm", ANNOTATION, 1)


def test_one_that_was_named_and_is_not_there_is_an_error(client: Client) -> None:
    with pytest.raises(NotFound, match=r"kured\.name says that it is there"):
        find_kured(client, {"name": "k"})


def test_not_being_allowed_to_ask_is_no_no(kube: FakeKube, time: Time) -> None:
    kube.tokens["nobody"] = User("nobody")
    with pytest.raises(Forbidden, match="list daemonsets"):
        find_kured(connected(kube, time, api_key="nobody"), {})


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--concurrency=two", "--concurrency is 'two', which kured does not take"),
        ("--concurrency=99999", "--concurrency is 99999, more than the 1000 that an annotation holds"),
        ("--lock-annotation=a\x1b[31m", r"--lock-annotation is 'a\\x1b\[31m'"),
    ],
)
def test_what_kured_does_not_take_is_an_error(kube: FakeKube, client: Client, flag: str, said: str) -> None:
    kube.store.add("daemonsets.apps", daemon_set(flag))
    with pytest.raises(BulwarkError, match=said):
        find_kured(client, {})
