# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A router and its NATs as the API gives them, nothing taken for granted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.gcp import nat_fields
from ansible_collections.bulwark.node.plugins.module_utils.gcp.client import Client, Object, Place
from ansible_collections.bulwark.node.plugins.module_utils.gcp.errors import Asked, GcpError, printable
from ansible_collections.bulwark.node.plugins.module_utils.gcp.nat_disruptions import owner
from ansible_collections.bulwark.node.plugins.module_utils.gcp.nat_forms import MalformedError, link

__all__ = ["Router", "canonical", "observe", "values_of"]


@dataclass(frozen=True)
class Router:
    """A router as the API gave it: ``nats`` are its items, by name, in their order."""

    raw: Object
    nats: Mapping[str, Object]

    @property
    def owner(self) -> dict[str, str] | None:
        return owner(self.raw.get("description"))


def observe(client: Client, where: Place) -> Router:
    """The router now. Raises GcpError, also where the answer is none."""
    asked = Asked("compute.routers.get", where.path, client.endpoint)
    found = client.get(asked.call, where.path)
    if where.router not in (found.get("name"), found.get("id")):
        raise GcpError(asked, "answered another object than this router: check api_endpoint and the proxy")
    nats = found.get("nats", [])
    if not isinstance(nats, list) or not all(
        isinstance(item, dict) and isinstance(item.get("name"), str) for item in nats
    ):
        raise GcpError(asked, "answered NATs in no form of the API")
    by_name = {item["name"]: item for item in nats}
    if len(by_name) != len(nats):
        raise GcpError(asked, "answered two NATs of one name")
    return Router(found, by_name)


def values_of(item: Mapping[str, Any], where: Place) -> dict[str, Any]:
    """What is in force of a NAT. Raises GcpError where a field is of no form that the API has."""
    try:
        return nat_fields.effective(item)
    except MalformedError as error:
        asked = Asked("compute.routers.get", where.path)
        name = f"nats[{printable(item.get('name'), 100)}].{'.'.join(map(str, error.args))}"
        raise GcpError(asked, f"answered {name} in no form of the API") from None


def canonical(value: Any) -> Any:
    """What of NATs is compared: links without host and version, and nothing that only the server says."""
    if isinstance(value, Mapping):
        return {key: canonical(each) for key, each in value.items() if key != nat_fields.OUTPUT_ONLY}
    if isinstance(value, list):
        return [canonical(each) for each in value]
    return link(value) if isinstance(value, str) else value
