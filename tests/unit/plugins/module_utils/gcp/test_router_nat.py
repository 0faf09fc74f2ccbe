# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One NAT of a router brought about against compute on loopback: siblings, others who write, failures, and what is read back."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError, UnmetError
from ansible_collections.bulwark.node.plugins.module_utils.gcp.client import Client
from ansible_collections.bulwark.node.plugins.module_utils.gcp.errors import Busy, GcpError
from ansible_collections.bulwark.node.plugins.module_utils.gcp.router_nat import act
from ansible_collections.bulwark.node.tests.fakes.compute_api import ROUTER, FakeCompute, nat

from .conftest import NatParams

BASE = ROUTER.partition("/routers/")[0]
Act = Callable[..., dict[str, Any]]


def addresses(*names: str) -> list[str]:
    return [f"{BASE}/addresses/{name}" for name in names]


@pytest.fixture
def run(client: Client, nat_params: NatParams) -> Act:
    """``run(check=True, min_ports_per_vm=128)``."""

    def ran(check: bool = False, **options: Any) -> dict[str, Any]:
        return act(client, nat_params(**options), check)

    return ran


def patches(compute: FakeCompute) -> list[Any]:
    return [request.body for request in compute.calls("routers.patch")]


def test_a_check_tells_what_a_run_does_and_a_second_run_does_nothing(compute: FakeCompute, run: Act) -> None:
    compute.add(nat("other", natIps=[]), nat())
    ahead = run(check=True, min_ports_per_vm=128)
    assert patches(compute) == []
    done = run(min_ports_per_vm=128)
    assert ahead == done
    assert (done["changed"], done["after"]["min_ports_per_vm"], done["warnings"]) == (True, 128, [])
    assert done["changes"] == [{"kind": "set", "target": "min_ports_per_vm", "before": 64, "after": 128}]
    again = run(min_ports_per_vm=128)
    assert (again["changed"], again["changes"], again["before"]) == (False, [], again["after"])
    assert len(patches(compute)) == 1


def test_only_the_nats_are_sent_and_siblings_as_they_were(compute: FakeCompute, run: Act) -> None:
    others = [nat("a", tcpTimeWaitTimeoutSec=60), nat("z", natIpAllocateOption="MANUAL_ONLY", natIps=addresses("x"))]
    router = compute.add(others[0], nat(), others[1], description="for the nodes")
    before = copy.deepcopy(router)
    assert run(udp_idle_timeout_sec=60)["warnings"] == []
    ((key, nats),) = patches(compute)[0].items()
    assert (key, [each["name"] for each in nats]) == ("nats", ["a", "a-nat", "z"])
    assert compute.routers[ROUTER] == {**before, "nats": [others[0], nat(udpIdleTimeoutSec=60), others[1]]}


def test_a_nat_is_made_and_deleted_and_the_last_one_too(compute: FakeCompute, run: Act) -> None:
    compute.add()
    whole = {
        "nat_ip_allocate_option": "AUTO_ONLY",
        "source_subnetwork_ip_ranges_to_nat": "ALL_SUBNETWORKS_ALL_IP_RANGES",
    }
    made = run(**whole)
    assert (made["changed"], made["before"], made["after"]["tcp_time_wait_timeout_sec"]) == (True, None, 120)
    assert run(**whole)["changed"] is False
    gone = run(state="absent", allow_disruption=True)
    assert (gone["changed"], gone["after"], gone["changes"][0]["kind"]) == (True, None, "delete")
    assert patches(compute)[-1] == {"nats": []}
    assert compute.nats() == {}
    assert run(state="absent")["changed"] is False


def test_a_field_is_reset(compute: FakeCompute, run: Act) -> None:
    compute.time_wait = 30
    compute.add(nat(tcpTimeWaitTimeoutSec=120, udpIdleTimeoutSec=60))
    done = run(reset=["tcp_time_wait_timeout_sec", "udp_idle_timeout_sec"])
    assert [each["kind"] for each in done["changes"]] == ["reset", "reset"]
    assert (done["changed"], done["after"]["tcp_time_wait_timeout_sec"]) == (True, 30)
    assert compute.nats()["a-nat"] == nat()
    assert run(reset=["tcp_time_wait_timeout_sec", "udp_idle_timeout_sec"])["changed"] is False


def test_an_address_drains_in_one_change_and_is_given_up_with_consent(compute: FakeCompute, run: Act) -> None:
    compute.add(nat(natIpAllocateOption="MANUAL_ONLY", natIps=addresses("x", "y")))
    done = run(nat_ips=["y"])
    assert (done["disruptive"], len(patches(compute))) == ([], 1)
    assert compute.nats()["a-nat"]["drainNatIps"] == addresses("x")
    assert run(nat_ips=["y"])["changed"] is False
    with pytest.raises(BulwarkError, match=r"drain_nat_ips: removed: .*addresses/x"):
        run(nat_ips=["y"], drain_nat_ips=[])
    assert run(nat_ips=["y"], drain_nat_ips=[], allow_disruption=True)["after"]["drain_nat_ips"] == []


@pytest.mark.parametrize("check", [False, True])
def test_what_closes_connections_takes_consent(compute: FakeCompute, run: Act, check: bool) -> None:
    compute.add(nat(minPortsPerVm=128))
    with pytest.raises(
        BulwarkError,
        match=r"^a-nat: this would disrupt: min_ports_per_vm: from 128 to 64: .* Allow it with allow_disruption",
    ) as caught:
        run(check=check, min_ports_per_vm=64)
    details = caught.value.details
    assert [each["target"] for each in details["disruptive"]] == ["min_ports_per_vm"]
    assert (details["before"]["min_ports_per_vm"], details["after"]["min_ports_per_vm"]) == (128, 64)
    assert patches(compute) == []
    assert run(check=check, min_ports_per_vm=64, allow_disruption=True)["changed"] is True


def test_another_owner_is_named_and_warned_of(compute: FakeCompute, run: Act) -> None:
    compute.add(nat(), description="Managed by Terraform\x1b[31m")
    done = run(min_ports_per_vm=128)
    assert done["owner"]["tool"] == "terraform"
    assert (
        "managed by terraform ('Terraform' in the description of the router), which would undo this"
        in done["warnings"][0]
    )
    assert run(min_ports_per_vm=128)["warnings"] == []


@pytest.mark.parametrize("form", ["hcl", "gcloud"])
def test_a_change_for_another_tool_is_not_made(compute: FakeCompute, run: Act, form: str) -> None:
    compute.add(nat(minPortsPerVm=128), description="Terraform")
    done = run(emit=form, min_ports_per_vm=64)
    assert (done["changed"], len(done["changes"]), len(done["disruptive"]), done["warnings"]) == (False, 1, 1, [])
    assert "64" in done["emitted"]
    assert patches(compute) == []
    assert run(emit=form, min_ports_per_vm=128)["emitted"] == ""


# Others who write


def write(compute: FakeCompute, name: str, **fields: Any) -> Callable[[], None]:
    """Somebody else changes one NAT."""

    def written() -> None:
        router = compute.routers[ROUTER]
        nats = {**compute.nats(), name: {**compute.nats().get(name, nat(name)), **fields}}
        compute.routers[ROUTER] = {**router, "nats": list(nats.values())}

    return written


def test_who_was_faster_between_the_first_look_and_the_last_is_not_overwritten(compute: FakeCompute, run: Act) -> None:
    compute.add(nat(), nat("other"))
    compute.meanwhile("routers.get", write(compute, "other", minPortsPerVm=256), nth=2)
    compute.meanwhile("routers.get", write(compute, "third"), nth=3)
    done = run(min_ports_per_vm=128)
    assert (done["changed"], done["warnings"]) == (True, [])
    assert {name: each.get("minPortsPerVm") for name, each in compute.nats().items()} == {
        "a-nat": 128,
        "other": 256,
        "third": None,
    }
    assert len(patches(compute)) == 1


def test_who_wrote_in_the_last_moment_is_named_where_operations_may_be_listed(compute: FakeCompute, run: Act) -> None:
    compute.add(nat(), nat("other"))
    compute.meanwhile("routers.patch", lambda: compute.change(nat(), nat("other", minPortsPerVm=256)))
    (warning,) = run(min_ports_per_vm=128)["warnings"]
    assert warning.startswith("operation operation-1763000000000-1 of other@example.org changed the router between")
    # What came before the last look, or after our change, lost nothing.
    compute.meanwhile(
        "routers.get", lambda: compute.change(nat(minPortsPerVm=128), nat("other", minPortsPerVm=512)), nth=2
    )
    assert run(udp_idle_timeout_sec=60)["warnings"] == []
    compute.polls = 0
    compute.meanwhile("routers.get", lambda: compute.change(*compute.nats().values()), nth=3)
    assert run(udp_idle_timeout_sec=90)["warnings"] == []
    compute.denied = {"compute.regionOperations.list"}
    compute.meanwhile("routers.patch", lambda: compute.change(*compute.nats().values()))
    assert run(udp_idle_timeout_sec=120)["warnings"] == []


def test_who_changed_the_same_nat_is_planned_with(compute: FakeCompute, run: Act) -> None:
    compute.add(nat())
    compute.meanwhile("routers.get", write(compute, "a-nat", minPortsPerVm=128, udpIdleTimeoutSec=60), nth=2)
    done = run(min_ports_per_vm=128)
    assert (done["changed"], done["changes"], patches(compute)) == (False, [], [])
    compute.meanwhile("routers.get", write(compute, "a-nat", minPortsPerVm=512), nth=2)
    with pytest.raises(BulwarkError, match="this would disrupt: min_ports_per_vm: from 512 to 256"):
        run(min_ports_per_vm=256)


def test_a_router_that_is_being_changed_is_planned_for_anew(compute: FakeCompute, run: Act) -> None:
    compute.add(nat(), nat("other"))
    compute.fault("routers.patch", status=400, reason="resourceNotReady", times=2)
    compute.meanwhile("routers.patch", write(compute, "other", minPortsPerVm=256))
    assert run(min_ports_per_vm=128)["changed"] is True
    assert compute.nats()["other"]["minPortsPerVm"] == 256
    assert len({request.query["requestId"][0] for request in compute.calls("routers.patch")}) == 3


@pytest.mark.parametrize("polls", [0, 1])
def test_a_lost_answer_is_followed_by_the_same_request(compute: FakeCompute, run: Act, polls: int) -> None:
    compute.add(nat(), nat("other"))
    compute.polls = polls
    compute.fault("routers.patch", lost="after")
    assert run(min_ports_per_vm=128)["changed"] is True
    first, second = (request.query["requestId"] for request in compute.calls("routers.patch"))
    assert first == second


def test_a_lost_request_is_planned_anew_where_somebody_wrote_meanwhile(compute: FakeCompute, run: Act) -> None:
    compute.add(nat(), nat("other"))
    compute.fault("routers.patch", status=503)
    compute.meanwhile("routers.patch", write(compute, "other", minPortsPerVm=256))
    assert run(min_ports_per_vm=128)["changed"] is True
    assert compute.nats()["other"]["minPortsPerVm"] == 256
    assert compute.nats()["a-nat"]["minPortsPerVm"] == 128


def test_an_operation_that_failed_for_another_is_planned_anew(compute: FakeCompute, run: Act) -> None:
    compute.add(nat())
    compute.failing = ["RESOURCE_NOT_READY"]
    assert run(min_ports_per_vm=128)["changed"] is True


def test_a_sibling_that_changes_meanwhile_is_warned_of(compute: FakeCompute, run: Act) -> None:
    compute.add(nat(), nat("other"))
    compute.polls = 0
    compute.meanwhile("routers.get", write(compute, "other", minPortsPerVm=256), nth=3)
    (warning,) = run(min_ports_per_vm=128)["warnings"]
    assert warning.startswith("NAT other is not what it was before this change, which did not touch it")


def test_what_is_overwritten_at_once_is_set_again(compute: FakeCompute, run: Act) -> None:
    compute.add(nat())
    compute.polls = 0
    compute.meanwhile("routers.get", write(compute, "a-nat", minPortsPerVm=96), nth=3)
    done = run(min_ports_per_vm=128, udp_idle_timeout_sec=60)
    assert (done["changed"], done["after"]["min_ports_per_vm"], len(patches(compute))) == (True, 128, 2)
    assert {each["target"]: each["before"] for each in done["changes"]} == {
        "min_ports_per_vm": 64,
        "udp_idle_timeout_sec": 30,
    }


def test_what_the_server_does_not_keep_is_unmet(compute: FakeCompute, run: Act) -> None:
    compute.add(nat())
    compute.polls = 0
    for number in range(1, 100):
        compute.meanwhile("routers.get", write(compute, "a-nat", minPortsPerVm=64), nth=number)
    with pytest.raises(UnmetError, match=r"^a-nat: min_ports_per_vm: sent, and another value read back") as caught:
        run(min_ports_per_vm=128)
    (unmet,) = caught.value.details["unmet"]
    assert (unmet["wanted"], unmet["got"], caught.value.details["changed"]) == (128, 64, True)
    # Each is an operation on a router that works.
    assert len(patches(compute)) == 3


RESET = {"reset": ["enable_endpoint_independent_mapping", "log_config", "min_ports_per_vm"]}


def test_a_reset_is_met_where_the_server_says_defaults(compute: FakeCompute, run: Act) -> None:
    compute.add(nat(enableEndpointIndependentMapping=True, minPortsPerVm=32))
    compute.talkative = True
    assert [each["target"] for each in run(check=True, **RESET)["changes"]] == [
        "min_ports_per_vm",
        "enable_endpoint_independent_mapping",
    ]
    assert (run(**RESET)["changed"], run(**RESET)["changed"], len(patches(compute))) == (True, False, 1)


def test_what_the_server_says_of_its_own_default_is_taken_for_it(compute: FakeCompute, run: Act) -> None:
    compute.add(nat(autoNetworkTier="STANDARD", tcpTimeWaitTimeoutSec=60))
    compute.talkative = True
    done = run(reset=["auto_network_tier", "tcp_time_wait_timeout_sec"], allow_disruption=True)
    assert (done["changed"], done["after"]["auto_network_tier"], len(patches(compute))) == (True, "PREMIUM", 1)
    assert done["after"]["tcp_time_wait_timeout_sec"] == 120
    again = run(reset=["auto_network_tier"], allow_disruption=True)
    assert (again["changed"], again["changes"], len(patches(compute))) == (False, [], 2)


def test_who_never_stops_writing_ends_it(compute: FakeCompute, run: Act) -> None:
    compute.add(nat())
    for number in range(1, 100):
        compute.meanwhile("routers.get", write(compute, "other", minPortsPerVm=number + 1), nth=number)
    with pytest.raises(UnmetError, match="it was changed by others 10 times meanwhile"):
        run(min_ports_per_vm=128)
    assert patches(compute) == []


# Failures


def test_a_refusal_is_told_and_nothing_was_changed(compute: FakeCompute, run: Act) -> None:
    compute.add(nat())
    compute.fault("routers.patch", status=400, reason="invalid")
    with pytest.raises(GcpError, match=r"compute.routers.patch of .*: 400 invalid: broken") as caught:
        run(min_ports_per_vm=128)
    assert (caught.value.details["changed"], caught.value.details["reason"]) == (False, "invalid")


def test_an_operation_that_fails_tells_what_there_is_now(compute: FakeCompute, run: Act) -> None:
    compute.add(nat())
    compute.failing = ["QUOTA_EXCEEDED"]
    with pytest.raises(GcpError, match="the operation failed: QUOTA_EXCEEDED") as caught:
        run(min_ports_per_vm=128)
    details = caught.value.details
    assert (details["changed"], details["before"], details["reason"]) == (False, details["after"], "QUOTA_EXCEEDED")


def test_an_error_after_the_change_says_that_there_was_one(compute: FakeCompute, run: Act) -> None:
    compute.add(nat())
    compute.polls = 0
    compute.fault("routers.get", skip=2, status=200, text='{"name": "another"}')
    with pytest.raises(GcpError, match="answered another object") as caught:
        run(min_ports_per_vm=128)
    details = caught.value.details
    assert (details["changed"], details["after"]["min_ports_per_vm"]) == (True, 128)
    # Somebody raises it at once, so that to set it again would disrupt.
    compute.meanwhile("routers.get", write(compute, "a-nat", minPortsPerVm=512), nth=3)
    with pytest.raises(BulwarkError, match="this would disrupt") as refused:
        run(min_ports_per_vm=256)
    assert refused.value.details["changed"] is True


def test_a_quota_that_stays_exceeded_fails_at_the_end(compute: FakeCompute, run: Act) -> None:
    compute.add(nat())
    compute.fault("routers.patch", status=403, reason="rateLimitExceeded", times=1000)
    with pytest.raises(Busy, match="403 rateLimitExceeded") as caught:
        run(min_ports_per_vm=128)
    assert not caught.value.details["changed"]


def test_without_the_right_to_change_the_right_is_named(compute: FakeCompute, run: Act) -> None:
    compute.add(nat())
    compute.denied = {"compute.routers.patch"}
    with pytest.raises(GcpError, match=r"403 forbidden: Required 'compute.routers.patch' permission .* has the right"):
        run(min_ports_per_vm=128)


def test_a_router_that_is_not_there_is_named(run: Act) -> None:
    with pytest.raises(GcpError, match=r"404 notFound: .*Check project, region and router"):
        run(min_ports_per_vm=128)


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "another"}',
        '{"name": "a-router", "nats": {}}',
        '{"name": "a-router", "nats": [1]}',
        '{"name": "a-router", "nats": [{"name": 1}]}',
        '{"name": "a-router", "nats": [{"name": "a"}, {"name": "a"}]}',
        '{"name": "a-router", "nats": [{"name": "a-nat", "minPortsPerVm": {}}]}',
    ],
)
def test_what_is_no_router_is_not_changed(compute: FakeCompute, run: Act, text: str) -> None:
    compute.fault("routers.get", status=200, text=text)
    with pytest.raises(GcpError, match=r"compute.routers.get of .*: answered "):
        run(min_ports_per_vm=128)
    assert patches(compute) == []
