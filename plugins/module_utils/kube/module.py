# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The AnsibleModule of what asks a Kubernetes API server: it hides the secrets that an option holds among other things."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulwark.node.plugins.module_utils.kube.connection import is_path

__all__ = ["KubeModule", "secrets"]

# Of a kubeconfig's user, https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/#AuthInfo.
_SECRETS = ("token", "password", "client-key-data")


class KubeModule(AnsibleModule):
    """An AnsibleModule that shows no secret of a kubeconfig that is given as a dictionary, and no password in a URL.

    ``no_log`` would hide each value of the kubeconfig, such as ``v1``, wherever it stands in the result.
    """

    def _log_invocation(self) -> None:
        # The earliest moment at which the parameters are known; right after it they are in the journal.
        self.no_log_values.update(secrets(self.params))
        super()._log_invocation()


def secrets(params: Mapping[str, Any]) -> set[str]:
    """The texts among the parameters that are secrets, though their option as a whole is not."""
    return {text for text in (*_of_urls(params), *_of_kubeconfig(params.get("kubeconfig"))) if text}


def _of_urls(params: Mapping[str, Any]) -> Iterator[str]:
    for option in ("host", "proxy"):
        try:
            password = urllib.parse.urlsplit(params.get(option) or "").password
        except ValueError:
            continue
        # As it stands there, and as it is meant.
        yield from (password or "", urllib.parse.unquote(password or ""))


def _of_kubeconfig(kubeconfig: Any) -> Iterator[str]:
    if isinstance(kubeconfig, str) and not is_path(kubeconfig):
        # Its text, which is refused, but shown with the parameters all the same.
        yield kubeconfig
    for entry in _items(_at(kubeconfig, "users")):
        user = _at(entry, "user")
        provider, program = _at(_at(user, "auth-provider"), "config"), _at(user, "exec")
        values = [_at(user, name) for name in _SECRETS]
        values += provider.values() if isinstance(provider, Mapping) else []
        values += [_at(variable, "value") for variable in _items(_at(program, "env"))]
        yield from (str(value) for value in values if isinstance(value, (str, int)))


def _at(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, Mapping) else None


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
