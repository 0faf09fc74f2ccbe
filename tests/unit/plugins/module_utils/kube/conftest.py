# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fake cluster, clients of it whose time passes only while they sleep, and certificates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.kube.client import Client, Clock, connect
from ansible_collections.bulwark.node.tests.fakes import certificates as fake_certificates
from ansible_collections.bulwark.node.tests.fakes.certificates import Certificates
from ansible_collections.bulwark.node.tests.fakes.kube_api import FakeKube


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
        return Clock(monotonic=lambda: self.now, sleep=self.sleep, chance=lambda: 0.5)


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No kubeconfig, pod, proxy or setting of whoever runs the tests."""
    for name in ("KUBERNETES_SERVICE_HOST", "KUBECONFIG"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "no-kubeconfig"))


@pytest.fixture
def kube() -> Iterator[FakeKube]:
    with FakeKube() as server:
        yield server


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def client(kube: FakeKube, time: Time) -> Client:
    return connected(kube, time)


def connected(kube: FakeKube, time: Time, **options: Any) -> Client:
    """A client of the fake; ``options`` over those of the administrator."""
    found = connect({"host": kube.url, "api_key": "cluster-admin", **options})
    found.clock = time.clock()
    return found


def before_next_patch(kube: FakeKube, happens: Callable[[], object]) -> None:
    """Have something happen in the cluster when the next patch has come in, and is not carried out yet."""

    def patch(*args: Any, **kwargs: Any) -> Any:
        patcher.stop()
        happens()
        return kube.store.patch(*args, **kwargs)

    patcher = mock.patch.object(kube.store, "patch", patch)
    patcher.start()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return fake_certificates.make(tmp_path_factory.mktemp("certificates"))
