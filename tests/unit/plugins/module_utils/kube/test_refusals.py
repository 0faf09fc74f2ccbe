# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the answers to evictions mean, those of a real server among them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.kube.errors import Answer, Asked, KubeError, error_of
from ansible_collections.bulwark.node.plugins.module_utils.kube.refusals import Refusal, refusal

ASKED = Asked("create", "", "pods/eviction", "default", "web-0")
RECORDINGS = Path(__file__).parents[3] / "fakes" / "kube_api_recordings.json"


def answer(status: int, message: str = "", retry: str | None = None, **body: Any) -> Answer:
    found = {"kind": "Status", "status": "Failure", "message": message, "code": status, **body}
    return Answer(status, {"retry-after": retry} if retry else {}, json.dumps(found).encode())


def said(status: int, message: str = "", retry: str | None = None, **body: Any) -> Refusal:
    return refusal(error_of(ASKED, answer(status, message, retry, **body), None))


def caused(reason: str, message: str) -> dict[str, Any]:
    return {"causes": [{"reason": reason, "message": message}]}


BUDGET = caused("DisruptionBudget", "The disruption budget web needs 2 healthy pods and has 2 currently")


@pytest.mark.parametrize(
    ("given", "kind", "after"),
    [
        (said(404), "gone", 0.0),
        (said(409), "replaced", 0.0),
        (said(429, "Cannot evict pod", details=BUDGET), "budget", 5.0),
        (said(429, "Cannot evict pod", "10", details=BUDGET), "budget", 10.0),
        (said(429, "Cannot evict pod", "1", details=BUDGET), "budget", 1.0),
        (said(429, "Too many requests"), "busy", 1.0),
        (said(429, "Too many requests", "7"), "busy", 7.0),
        (said(403, "going", details=caused("NamespaceTerminating", "going")), "namespace", 5.0),
        (said(403, 'admission webhook "x" denied the request: no'), "webhook", 5.0),
        (said(400, 'admission webhook "x" denied the request: no', "30"), "webhook", 30.0),
        (
            said(429, 'admission webhook "x" denied the request: Eviction triggered evacuation of VMI "a/b"'),
            "migration",
            5.0,
        ),
        (said(429, 'admission webhook "x" denied the request: VMI b is not live-migratable'), "unmovable", 5.0),
        (said(400, 'admission webhook "x" does not support dry run'), "dry_run", None),
        (
            said(500, 'Internal error occurred: failed calling webhook "x": timeout', reason="InternalError"),
            "error",
            5.0,
        ),
        (said(500, "This pod has more than one PodDisruptionBudget, which …"), "permanent", None),
        (said(503), "error", 5.0),
        (said(403, "ValidatingAdmissionPolicy 'x' with binding 'y' denied request: no"), "permanent", None),
        (said(422), "permanent", None),
        (refusal(KubeError(ASKED, "no answer")), "unreachable", 0.0),
    ],
)
def test_an_answer(given: Refusal, kind: str, after: float | None) -> None:
    assert (given.kind, given.after) == (kind, after)


def test_a_text_of_the_cluster_is_one_line() -> None:
    assert said(429, details=caused("DisruptionBudget", "a\x1b[2J\nb")).text == "a [2J b"


def test_each_refusal_that_was_recorded_is_known() -> None:
    kinds = {
        "blocked by the budget": "budget",
        "dry run, blocked by the budget": "budget",
        "the budget is used up": "budget",
        "no such pod": "gone",
        "uid precondition does not match": "replaced",
        "two budgets match the pod": "permanent",
        "namespace terminating": "namespace",
    }
    found = {}
    for each in json.loads(RECORDINGS.read_text())["exchanges"]:
        response = each["response"]
        if each["request"]["path"].partition("?")[0].endswith("/eviction") and response["status"] >= 400:
            recorded = Answer(response["status"], {}, json.dumps(response["body"]).encode())
            found[each["note"]] = refusal(error_of(ASKED, recorded, None)).kind
    assert found == kinds
