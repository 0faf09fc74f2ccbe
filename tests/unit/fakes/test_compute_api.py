# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the fake compute takes for wrong: requests and answers that are not as the discovery document has them."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from ansible_collections.bulwark.node.tests.fakes import compute_nat, discovery
from ansible_collections.bulwark.node.tests.fakes.compute_api import ROUTER, FakeCompute, nat

PATH = f"/compute/v1/{ROUTER}"


@pytest.mark.parametrize(
    ("verb", "path", "body", "problem"),
    [
        ("PATCH", PATH, {"nats": [{**nat(), "minPorts": 1}]}, "compute.routers.patch.nats[0]: no field minPorts"),
        (
            "PATCH",
            PATH,
            {"nats": [nat(minPortsPerVm="64")]},
            "compute.routers.patch.nats[0].minPortsPerVm: '64' is no integer",
        ),
        (
            "PATCH",
            PATH,
            {"nats": [nat(minPortsPerVm=1 << 31)]},
            "compute.routers.patch.nats[0].minPortsPerVm: 2147483648 is beyond int32",
        ),
        ("PATCH", PATH, {"nats": [nat("A")]}, "compute.routers.patch.nats[0].name: 'A' does not match "),
        ("PATCH", PATH, {"nats": [nat(type="OTHER")]}, "compute.routers.patch.nats[0].type: 'OTHER' is none of "),
        ("GET", f"{PATH}?requestId=1", None, "compute.routers.get: no parameter requestId"),
        (
            "GET",
            f"{PATH}/getNatMappingInfo?maxResults=all",
            None,
            "compute.routers.getNatMappingInfo: maxResults: 'all' is no number",
        ),
        ("GET", f"/compute/v1/{ROUTER}/nats", None, f"no method: GET /compute/v1/{ROUTER}/nats"),
        (
            "GET",
            "/v3/projects/p/timeSeries?interval=1",
            None,
            "monitoring.projects.timeSeries.list: no parameter interval",
        ),
    ],
)
def test_a_request_that_the_document_does_not_have_is_a_problem(verb: str, path: str, body: Any, problem: str) -> None:
    with FakeCompute() as compute:
        compute.add()
        compute.fault("", status=500)
        requests.request(
            verb, compute.url + path, json=body, headers={"Authorization": "Bearer given-token"}, timeout=10
        )
        assert [found for found in compute.problems if found.startswith(problem)]
        compute.problems.clear()


def test_a_test_fails_whose_requests_were_not_right() -> None:
    with pytest.raises(AssertionError, match="no method"), FakeCompute() as compute:
        requests.get(f"{compute.url}/compute/v1/x", timeout=10)


def test_an_answer_that_the_document_does_not_have_is_a_problem() -> None:
    api = discovery.load("compute.v1")
    method = api.route("GET", PATH)
    assert method is not None
    found = list(api.response_problems(method, {"id": 7, "nats": {}, "etag": "x"}))
    assert [each.partition("answered")[2] for each in found] == [
        ".id: 7 is no string",
        ".nats: {} is no array",
        ": no field etag",
    ]


def test_a_merge_patch_is_that_of_the_rfc() -> None:
    before = {"a": "b", "c": {"d": "e", "f": "g"}, "h": [{"i": 1}]}
    assert compute_nat.merged(before, {"a": "z", "c": {"f": None}, "h": [2]}) == {"a": "z", "c": {"d": "e"}, "h": [2]}
