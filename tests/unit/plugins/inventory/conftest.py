# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fake cluster with nodes, and the source of an inventory that reads it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.bulwark.node.tests.fakes.kube_api import FakeKube
from ansible_collections.bulwark.node.tests.fakes.kube_objects import node

Source = Callable[..., str]


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No cluster, cache or inventory of whoever runs the tests; and no proxy. The same for all, for Ansible is started for each anew."""
    monkeypatch.setenv("KUBECONFIG", "/nonexistent/kubeconfig")
    monkeypatch.setenv("CLUSTER_TOKEN", "cluster-admin")
    own = [name for name in os.environ if name.startswith(("K8S_AUTH_", "ANSIBLE_INVENTORY_", "ANSIBLE_CACHE_"))]
    for name in ("KUBERNETES_SERVICE_HOST", *own):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def kube() -> Iterator[FakeKube]:
    with FakeKube() as server:
        yield server


@pytest.fixture
def source(kube: FakeKube, tmp_path: Path) -> Source:
    """Writes a source for the fake cluster, with these options and these instead of its own; gives its path."""

    def write(name: str = "x.kubernetes_nodes.yml", **options: Any) -> str:
        own = {"plugin": "bulwark.node.kubernetes_nodes", "host": kube.url, "api_key": "cluster-admin"}
        given = {key: value for key, value in {**own, **options}.items() if value is not None}
        (tmp_path / name).write_text(yaml.safe_dump(given))
        return str(tmp_path / name)

    return write


def add(
    kube: FakeKube, name: str, address: str | None = "192.0.2.1", info: dict[str, str] | None = None, **how: Any
) -> str:
    """Have a node in the cluster, and give its uid."""
    item = node(name, **how)
    item["status"]["nodeInfo"].update(info or {})
    item["status"]["addresses"] = [{"type": "InternalIP", "address": address}] if address else []
    return str(kube.store.add("nodes", item)["metadata"]["uid"])
