# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client against compute on loopback: what it repeats, with which requestId, operations, pages, errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import OptionError
from ansible_collections.bulwark.node.plugins.module_utils.gcp.client import Client, place
from ansible_collections.bulwark.node.plugins.module_utils.gcp.errors import Busy, Forbidden, GcpError, NotFound
from ansible_collections.bulwark.node.tests.fakes.compute_api import ROUTER, FakeCompute, nat

from .conftest import Params, Time, connected

REGION = ROUTER.partition("/routers/")[0]
QUOTA = {"error": {"code": 403, "message": "too many", "status": "RESOURCE_EXHAUSTED", "details": []}}


@pytest.fixture(autouse=True)
def _router(compute: FakeCompute) -> None:
    compute.add(nat())


def get(client: Client) -> Any:
    return client.get("compute.routers.get", ROUTER)


def patch(client: Client, again: Callable[[], bool] = lambda: True, **fields: Any) -> Any:
    return client.patch("compute.routers.patch", ROUTER, {"nats": [nat(**fields)]}, again)


def identifiers(compute: FakeCompute) -> list[str]:
    return [request.query["requestId"][0] for request in compute.calls("routers.patch")]


def test_a_router_is_a_plain_dict(client: Client) -> None:
    assert get(client)["nats"][0]["name"] == "a-nat"


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (429, "rateLimitExceeded"),
        (403, "rateLimitExceeded"),
        (403, "CONCURRENT_OPERATIONS_QUOTA_EXCEEDED"),
        (500, "backendError"),
        (503, "backendError"),
    ],
)
def test_what_passes_is_asked_again_with_growing_pauses(
    client: Client, compute: FakeCompute, time: Time, status: int, reason: str
) -> None:
    compute.fault("routers.get", status=status, reason=reason, times=3)
    assert get(client)["name"] == "a-router"
    assert time.slept == [0.75, 1.5, 3.0]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_lost_connection_is_made_again(client: Client, compute: FakeCompute, when: str) -> None:
    compute.fault("routers.get", lost=when, times=2)
    assert get(client)["name"] == "a-router"


def test_the_server_says_how_long_to_wait(client: Client, compute: FakeCompute, time: Time) -> None:
    compute.fault("routers.get", status=429, headers={"Retry-After": "17"})
    get(client)
    assert time.slept == [17.0]


def test_the_reason_of_a_newer_error_counts_too(client: Client, compute: FakeCompute, time: Time) -> None:
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "RATE_LIMIT_EXCEEDED"}
    body = {"error": {**QUOTA["error"], "details": [info]}}
    compute.fault("routers.get", status=403, text=json.dumps(body))
    assert get(client)["name"] == "a-router"
    assert len(time.slept) == 1


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (403, "forbidden", Forbidden),
        (404, "notFound", NotFound),
        (400, "invalid", GcpError),
        (403, "quotaExceeded", Forbidden),
    ],
)
def test_what_no_waiting_cures_fails_at_once(
    client: Client, compute: FakeCompute, time: Time, status: int, reason: str, kind: type[GcpError]
) -> None:
    compute.fault("routers.get", status=status, reason=reason)
    with pytest.raises(kind, match=f"compute.routers.get of {ROUTER}: {status} {reason}: broken") as caught:
        get(client)
    assert (type(caught.value), caught.value.details["reason"], time.slept) == (kind, reason, [])


def test_it_gives_up_at_its_end(client: Client, compute: FakeCompute, time: Time) -> None:
    compute.fault("routers.get", status=503, times=1000)
    with pytest.raises(Busy, match="503"):
        get(client)
    assert 200 < time.now - 1000 < 300


def test_a_change_is_sent_again_with_the_same_id_and_made_once(client: Client, compute: FakeCompute) -> None:
    compute.fault("routers.patch", lost="after")
    compute.fault("routers.patch", status=503)
    client.wait(patch(client, minPortsPerVm=128), REGION)
    assert len(identifiers(compute)) == 3
    assert len(set(identifiers(compute))) == 1
    assert compute.nats()["a-nat"]["minPortsPerVm"] == 128


def test_each_change_has_an_id_of_its_own(client: Client, compute: FakeCompute) -> None:
    for ports in (128, 256):
        client.wait(patch(client, minPortsPerVm=ports), REGION)
    assert len(set(identifiers(compute))) == 2


def test_a_change_is_not_sent_again_where_it_was_overtaken(client: Client, compute: FakeCompute) -> None:
    compute.fault("routers.patch", status=503)
    with pytest.raises(Busy, match="503 backendError: broken; somebody else changed it meanwhile") as caught:
        patch(client, lambda: False)
    assert caught.value.conflict
    assert len(identifiers(compute)) == 1


@pytest.mark.parametrize(
    ("status", "reason"),
    [(400, "resourceNotReady"), (409, "operationInProgress"), (412, "conditionNotMet"), (412, "other")],
)
def test_a_conflict_is_told_and_not_repeated(
    client: Client, compute: FakeCompute, time: Time, status: int, reason: str
) -> None:
    compute.fault("routers.patch", status=status, reason=reason)
    with pytest.raises(Busy, match=reason) as caught:
        patch(client)
    assert (caught.value.conflict, time.slept) == (True, [])


# Operations


def test_an_operation_is_waited_for_though_the_wait_returns_early(
    client: Client, compute: FakeCompute, time: Time
) -> None:
    compute.polls = 7
    client.wait(patch(client, minPortsPerVm=128), REGION)
    assert len(compute.calls("regionOperations.wait")) == 8
    # Not once more behind the last, where it is done.
    assert len(time.slept) == 7
    assert compute.nats()["a-nat"]["minPortsPerVm"] == 128


def test_an_operation_that_is_done_at_once_is_not_waited_for(client: Client, compute: FakeCompute) -> None:
    compute.polls = 0
    client.wait(patch(client), REGION)
    assert compute.calls("regionOperations.wait") == []


def test_a_wait_that_is_lost_is_begun_again(client: Client, compute: FakeCompute) -> None:
    compute.fault("regionOperations.wait", lost="after")
    compute.fault("regionOperations.wait", status=503)
    client.wait(patch(client, minPortsPerVm=128), REGION)
    assert compute.nats()["a-nat"]["minPortsPerVm"] == 128


def test_an_operation_that_fails_says_why(client: Client, compute: FakeCompute) -> None:
    compute.failing = ["INVALID_USAGE"]
    with pytest.raises(GcpError, match="the operation failed: INVALID_USAGE: It failed: INVALID_USAGE") as caught:
        client.wait(patch(client), REGION)
    assert caught.value.details["reason"] == "INVALID_USAGE"
    assert not isinstance(caught.value, Busy)


def test_an_operation_that_failed_for_another_one_is_a_conflict(client: Client, compute: FakeCompute) -> None:
    compute.failing = ["RESOURCE_NOT_READY"]
    with pytest.raises(Busy) as caught:
        client.wait(patch(client), REGION)
    assert caught.value.conflict


def test_an_operation_that_does_not_end_is_named(client: Client, compute: FakeCompute) -> None:
    compute.polls = 10**6
    with pytest.raises(
        GcpError, match=r"it is not done after 300 seconds \(RUNNING\). It goes on: look at it, or raise timeout"
    ):
        client.wait(patch(client), REGION)


@pytest.mark.parametrize("operation", [{}, {"name": "../x"}, {"name": 7}])
def test_what_is_no_operation_is_not_waited_for(client: Client, operation: Any) -> None:
    with pytest.raises(GcpError, match="answered by no operation"):
        client.wait(operation, REGION)


# Pages


def test_all_pages_are_read(client: Client, compute: FakeCompute) -> None:
    compute.page = 3
    compute.mappings[ROUTER] = [{"instanceName": f"vm-{number}"} for number in range(10)]
    found = client.pages("x", f"{ROUTER}/getNatMappingInfo", "result", {"natName": "a-nat", "maxResults": "500"})
    assert [each["instanceName"] for each in found] == [f"vm-{number}" for number in range(10)]
    assert len(compute.calls("getNatMappingInfo")) == 4


def test_a_page_that_leads_to_itself_ends(client: Client, compute: FakeCompute) -> None:
    page = json.dumps({"result": [], "nextPageToken": "again"})
    compute.fault("getNatMappingInfo", status=200, text=page, times=9)
    with pytest.raises(GcpError, match="pages without end"):
        list(client.pages("x", f"{ROUTER}/getNatMappingInfo", "result", {"natName": "a-nat"}))
    assert len(compute.calls()) == 2


# What is no Google API


@pytest.mark.parametrize("text", ["<html>Welcome</html>", "[1]", "", "{"])
def test_a_page_of_a_proxy_is_no_answer(client: Client, compute: FakeCompute, text: str) -> None:
    compute.fault("routers.get", status=200, text=text)
    with pytest.raises(GcpError, match=r"answered no JSON object of a Google API. Check the endpoint and the proxy"):
        get(client)


def test_a_refusal_of_a_proxy_is_shown_in_one_line(client: Client, compute: FakeCompute) -> None:
    compute.fault("routers.get", status=407, text="<html>\n\x1b[31mWho are you?" + "x" * 5000)
    with pytest.raises(GcpError, match=r"407: <html>  .31mWho are you.*This was no Google API") as caught:
        get(client)
    assert len(str(caught.value)) < 1000
    assert str(caught.value).isprintable()


def test_a_redirect_is_not_followed(client: Client, compute: FakeCompute) -> None:
    compute.fault("routers.get", status=302, headers={"Location": f"{compute.url}/elsewhere"})
    with pytest.raises(GcpError, match="302"):
        get(client)
    assert len(compute.calls()) == 1


def test_nobody_there_is_tried_until_the_end(reach: Params, time: Time) -> None:
    client = connected({**reach, "api_endpoint": "http://127.0.0.1:9"}, time)
    with pytest.raises(GcpError, match=r"no answer from http://127.0.0.1:9: .*refused.*Check the endpoint"):
        get(client)
    assert len(time.slept) == 5


# Options


@pytest.mark.parametrize(
    "url",
    [
        "compute",
        "ftp://127.0.0.1",
        "http://192.0.2.1",
        "http://compute.example.org",
        "https://",
        "https://x:0",
        "https://x?y=1",
        "https://[",
    ],
)
def test_an_endpoint_that_is_none_or_would_show_the_token_is_refused(reach: Params, time: Time, url: str) -> None:
    with pytest.raises(OptionError, match=r"^api_endpoint: got .*http on this very machine alone"):
        connected({**reach, "api_endpoint": url}, time)


def test_an_endpoint_with_a_password_is_refused_and_not_shown(reach: Params, time: Time) -> None:
    with pytest.raises(OptionError, match="no user in it") as caught:
        connected({**reach, "monitoring_endpoint": "https://me:hidden@compute.example.org"}, time)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("more", ["", "/", "/compute/v1", "/compute/v1/"])
def test_an_endpoint_may_be_written_as_gcloud_has_it(
    compute: FakeCompute, reach: Params, time: Time, more: str
) -> None:
    assert get(connected({**reach, "api_endpoint": compute.url + more}, time))["name"] == "a-router"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("project", "a/b"),
        ("project", ""),
        ("region", "Europe"),
        ("region", "a..b"),
        ("router", "x" * 64),
        ("router", "x?y=z"),
    ],
)
def test_a_name_never_leads_to_another_path(option: str, value: str) -> None:
    params = {"project": "a-project", "region": "europe-west3", "router": "a-router", option: value}
    with pytest.raises(OptionError, match=f"^{option}: got"):
        place(params)


@pytest.mark.parametrize("timeout", [0, -1, 3601])
def test_the_timeout_has_bounds(reach: Params, time: Time, timeout: int) -> None:
    with pytest.raises(OptionError, match=r"^timeout: got"):
        connected({**reach, "timeout": timeout}, time)


def test_the_user_agent_names_us_and_what_was_given(compute: FakeCompute, reach: Params, time: Time) -> None:
    get(connected({**reach, "env_type": "tower"}, time))
    assert compute.requests[-1].headers["user-agent"] == "bulwark.node-tower"
    with pytest.raises(OptionError, match=r"^env_type: got"):
        connected({**reach, "env_type": "a\nb"}, time)
