# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of the options of a cluster is a secret, whatever was given there."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.kube.module import secrets

USER = {
    "token": "t1",
    "password": "p1",
    "username": "u1",
    "client-key-data": "k1",
    "client-certificate-data": "c1",
    "auth-provider": {"name": "oidc", "config": {"id-token": "i1", "refresh-token": "r1"}},
    "exec": {"command": "aws", "env": [{"name": "AWS_SECRET", "value": "e1"}]},
}


def test_secrets_of_a_kubeconfig_and_of_urls_are_told_from_the_rest() -> None:
    params = {
        "kubeconfig": {"apiVersion": "v1", "users": [{"name": "a", "user": USER}, {"user": {"token": 7}}]},
        "host": "https://admin:h%20w@192.0.2.1",
        "proxy": "http://u:w1@192.0.2.2:3128",
    }
    assert secrets(params) == {"t1", "p1", "k1", "i1", "r1", "e1", "7", "h%20w", "h w", "w1"}


@pytest.mark.parametrize("text", ["users:\n- user: {token: t1}", ' {"users": [{"user": {"token": "t1"}}]}'])
def test_a_kubeconfig_as_text_is_a_secret_as_a_whole(text: str) -> None:
    assert secrets({"kubeconfig": text}) == {text}


@pytest.mark.parametrize(
    "kubeconfig",
    [
        None,
        "~/.kube/config",
        [],
        {"users": None},
        {"users": {"a": 1}},
        {"users": [None, {"user": 1}, {"user": {"exec": []}}]},
        {"users": [{"user": {"token": "", "auth-provider": {"config": [1]}, "exec": {"env": [1, {"value": None}]}}}]},
    ],
)
def test_whatever_else_is_given_holds_none(kubeconfig: Any) -> None:
    assert secrets({"kubeconfig": kubeconfig, "host": "https://[", "proxy": None}) == set()
