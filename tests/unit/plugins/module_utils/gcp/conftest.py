# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute on loopback, clients of it whose time passes only while they sleep, and modules' parameters."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.bulwark.node.plugins.module_utils.gcp.client import ARGUMENT_SPEC, Client, Clock, connect
from ansible_collections.bulwark.node.plugins.module_utils.gcp.router_nat import NAT_SPEC
from ansible_collections.bulwark.node.tests.fakes.compute_api import FakeCompute

Params = dict[str, Any]
WHERE = {"region": "europe-west3", "router": "a-router", "name": "a-nat"}


@dataclass
class Time:
    """Monotonic time that passes by sleeping alone; ``slept`` has each pause."""

    now: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def clock(self) -> Clock:
        # Chance at its middle: pauses are three quarters of the back-off.
        return Clock(monotonic=lambda: self.now, sleep=self.sleep, chance=lambda: 0.5, wall=lambda: 1795266000.0)


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No account, proxy or setting of whoever runs the tests."""
    for name in [*os.environ]:
        if name.startswith(("GCP_", "GCE_", "GOOGLE_", "CLOUDSDK_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "no-gcloud"))


@pytest.fixture
def compute() -> Iterator[FakeCompute]:
    with FakeCompute() as server:
        yield server


@pytest.fixture
def time() -> Time:
    return Time()


def checked(spec: Mapping[str, Any], options: Params) -> Params:
    """The parameters that a module gets of such options."""
    result = ArgumentSpecValidator(dict(spec)).validate(options)
    assert result.error_messages == []
    return dict(result.validated_parameters)


@pytest.fixture
def reach(compute: FakeCompute) -> Params:
    """The options that lead to the server."""
    endpoints = {"api_endpoint": compute.url, "monitoring_endpoint": compute.url}
    return {"project": "a-project", "auth_kind": "accesstoken", "access_token": "given-token", **endpoints}


@pytest.fixture
def client(reach: Params, time: Time) -> Client:
    return connected(reach, time)


def connected(options: Params, time: Time) -> Client:
    """A client of options as a module gets them."""
    found = connect(checked(ARGUMENT_SPEC, options))
    found.clock = time.clock()
    return found


NatParams = Callable[..., Params]


@pytest.fixture
def nat_params(reach: Params) -> NatParams:
    """Parameters of gcp_compute_router_nat: ``nat_params(min_ports_per_vm=128)``."""

    def made(**options: Any) -> Params:
        return checked({**ARGUMENT_SPEC, **NAT_SPEC}, {**reach, **WHERE, **options})

    return made
