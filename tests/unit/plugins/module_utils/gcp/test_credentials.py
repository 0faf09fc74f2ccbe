# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tokens of all four kinds of credentials, through the servers that give them, on this machine; and no secret in any text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError, OptionError
from ansible_collections.bulwark.node.plugins.module_utils.gcp.errors import GcpError
from ansible_collections.bulwark.node.plugins.module_utils.gcp.module import secrets
from ansible_collections.bulwark.node.tests.fakes.compute_api import ROUTER, FakeCompute, nat
from ansible_collections.bulwark.node.tests.fakes.google_tokens import ACCOUNT

from .conftest import Params, Time, connected

SCOPE = "https://www.googleapis.com/auth/cloud-platform"


@pytest.fixture
def bare(compute: FakeCompute, reach: Params) -> Params:
    """The options without who we are."""
    compute.add(nat())
    return {name: value for name, value in reach.items() if name not in ("auth_kind", "access_token")}


@pytest.fixture
def metadata(compute: FakeCompute, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine as one of Google's. google-auth looks for it once, as it is imported."""
    monkeypatch.setattr("google.auth.compute_engine._metadata._GCE_METADATA_HOST", compute.address)
    monkeypatch.setenv("GCE_METADATA_IP", compute.address)


def who(compute: FakeCompute, options: Params, time: Time) -> str:
    """Whom compute takes us for."""
    connected(options, time).get("compute.routers.get", ROUTER)
    return compute.tokens.taken[compute.requests[-1].headers["authorization"].removeprefix("Bearer ")]


def test_a_given_token_is_sent_as_it_is(compute: FakeCompute, bare: Params, time: Time) -> None:
    assert who(compute, {**bare, "auth_kind": "accesstoken", "access_token": "given-token"}, time) == "accesstoken"


@pytest.mark.parametrize("form", ["file", "text", "dictionary"])
def test_a_service_account_signs_for_its_token(
    compute: FakeCompute, bare: Params, time: Time, tmp_path: Path, form: str
) -> None:
    key: Any = compute.tokens.service_account
    if form == "file":
        (tmp_path / "key.json").write_text(json.dumps(key))
        given: Params = {"service_account_file": str(tmp_path / "key.json")}
    else:
        given = {"service_account_contents": key if form == "dictionary" else json.dumps(key)}
    assert who(compute, {**bare, "auth_kind": "serviceaccount", **given}, time) == ACCOUNT
    assert compute.tokens.asked == [(ACCOUNT, SCOPE)]


@pytest.mark.usefixtures("metadata")
@pytest.mark.parametrize("email", [None, ACCOUNT])
def test_a_machine_has_its_token_from_the_metadata_server(
    compute: FakeCompute, bare: Params, time: Time, email: str | None
) -> None:
    given = {} if email is None else {"service_account_email": email}
    assert who(compute, {**bare, "auth_kind": "machineaccount", **given}, time) == ACCOUNT


def test_the_application_default_credentials_may_be_a_service_accounts(
    compute: FakeCompute, bare: Params, time: Time, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "adc.json").write_text(json.dumps(compute.tokens.service_account))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "adc.json"))
    assert who(compute, {**bare, "auth_kind": "application"}, time) == ACCOUNT


@pytest.mark.usefixtures("metadata")
def test_the_application_default_credentials_may_be_the_machines(
    compute: FakeCompute, bare: Params, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("google.auth.compute_engine._metadata.is_on_gce", lambda *args, **kwargs: True)
    assert who(compute, {**bare, "auth_kind": "application"}, time) == ACCOUNT


def test_other_scopes_are_asked_for(compute: FakeCompute, bare: Params, time: Time) -> None:
    scopes = ["https://www.googleapis.com/auth/compute", "https://www.googleapis.com/auth/monitoring.read"]
    given = {"service_account_contents": compute.tokens.service_account, "scopes": scopes}
    who(compute, {**bare, "auth_kind": "serviceaccount", **given}, time)
    assert compute.tokens.asked == [(ACCOUNT, " ".join(scopes))]


def test_the_environment_serves_as_with_google_cloud(
    compute: FakeCompute, bare: Params, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"AUTH_KIND": "accesstoken", "ACCESS_TOKEN": "given-token", "PROJECT": "a-project"}.items():
        monkeypatch.setenv(f"GCP_{name}", value)
    assert who(compute, {key: value for key, value in bare.items() if key != "project"}, time) == "accesstoken"


def test_a_token_that_is_refused_is_renewed_once(compute: FakeCompute, bare: Params, time: Time) -> None:
    client = connected(
        {**bare, "auth_kind": "serviceaccount", "service_account_contents": compute.tokens.service_account}, time
    )
    client.get("compute.routers.get", ROUTER)
    compute.tokens.taken.clear()
    client.get("compute.routers.get", ROUTER)
    assert len(compute.tokens.asked) == 2
    compute.fault("routers.get", status=401, reason="authError", times=2)
    with pytest.raises(GcpError, match=r"401 authError: broken. .* does not take the credentials"):
        client.get("compute.routers.get", ROUTER)
    assert len(compute.tokens.asked) == 3


def test_a_given_token_that_is_refused_is_an_error_and_not_shown(
    compute: FakeCompute, bare: Params, time: Time
) -> None:
    client = connected({**bare, "auth_kind": "accesstoken", "access_token": "old-secret-token"}, time)
    compute.fault("routers.get", status=401, text="Who is old-secret-token?")
    with pytest.raises(GcpError, match="401: Who is ") as caught:
        client.get("compute.routers.get", ROUTER)
    assert "old-secret-token" not in f"{caught.value}{caught.value.details}"


@pytest.mark.parametrize(
    "answer",
    [
        (400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}),
        (200, {"id_token": "a-secret-of-google", "token_type": "Bearer"}),
        (200, "a page"),
        (200, {"access_token": "a-secret-of-google", "expires_in": "soon"}),
        (400, {"access_token": "a-secret-of-google"}),
    ],
)
def test_what_the_token_server_says_otherwise_is_an_error_without_secrets(
    compute: FakeCompute, bare: Params, time: Time, answer: tuple[int, Any]
) -> None:
    compute.tokens.refuses = answer
    key = compute.tokens.service_account
    client = connected({**bare, "auth_kind": "serviceaccount", "service_account_contents": key}, time)
    with pytest.raises(GcpError, match="auth_kind serviceaccount: no token could be had") as caught:
        client.get("compute.routers.get", ROUTER)
    text = f"{caught.value}{caught.value.details}"
    assert "a-secret-of-google" not in text
    assert key["private_key"][40:80] not in text
    assert compute.calls() == []


def test_without_any_credentials_the_kind_is_named(bare: Params, time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("google.auth.compute_engine._metadata._NO_GCE_CHECK", False, raising=False)
    monkeypatch.setattr("google.auth.compute_engine._metadata.is_on_gce", lambda *args, **kwargs: False)
    with pytest.raises(BulwarkError, match=r"^auth_kind application: no token could be had: .*default credentials"):
        connected({**bare, "auth_kind": "application"}, time)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"auth_kind": "accesstoken"}, "access_token: is missing"),
        ({"auth_kind": "accesstoken", "access_token": "a b"}, "access_token: got 'what no header can carry'"),
        ({"auth_kind": "accesstoken", "access_token": "secret\n"}, "access_token: got 'what no header can carry'"),
        (
            {"auth_kind": "application", "access_token": "secret"},
            "access_token: got 'a value', expected none with auth_kind application",
        ),
        ({"auth_kind": "serviceaccount"}, "service_account_file: is missing"),
        (
            {"auth_kind": "serviceaccount", "service_account_file": "/x", "service_account_contents": "{}"},
            "service_account_file: got 'beside service_account_contents'",
        ),
        (
            {"auth_kind": "serviceaccount", "service_account_file": "/nowhere"},
            "service_account_file: got '/nowhere', expected a file .*No such",
        ),
        (
            {"auth_kind": "serviceaccount", "service_account_file": "/dev/null"},
            "service_account_file: got '/dev/null', expected a service account's key",
        ),
        (
            {"auth_kind": "application", "service_account_email": "x"},
            "service_account_email: got 'a value', expected none",
        ),
    ],
)
def test_credentials_that_do_not_go_together_are_refused_and_not_shown(
    bare: Params, time: Time, options: Params, text: str
) -> None:
    with pytest.raises(OptionError, match=text) as caught:
        connected({**bare, **options}, time)
    assert "secret" not in f"{caught.value}{caught.value.details}"


@pytest.mark.parametrize(
    "contents",
    [
        "{}",
        "[]",
        '"secret"',
        '{"type": "service_account", "private_key": "secret"}',
        "{secret",
        '{"client_email": 1}',
        "[" * 9999,
    ],
)
def test_what_is_no_key_is_refused_and_not_shown(bare: Params, time: Time, contents: str) -> None:
    options = {**bare, "auth_kind": "serviceaccount", "service_account_contents": contents}
    with pytest.raises(
        OptionError, match="service_account_contents: got 'a text', expected a service account's key"
    ) as caught:
        connected(options, time)
    assert "secret" not in f"{caught.value}{caught.value.details}"


@pytest.mark.parametrize(
    "key", [{"private_key": "k1", "private_key_id": "i1", "project_id": "p"}, None, "[", [], {"private_key": 7}]
)
def test_only_what_is_secret_of_a_key_is_hidden(key: Any) -> None:
    text = json.dumps(key)
    expected = {"k1", "i1"} if isinstance(key, dict) and key["private_key"] == "k1" else set()
    assert secrets({"service_account_contents": text}) == {text, *expected}
    if isinstance(key, dict):
        assert secrets({"service_account_contents": key}) == expected
    assert secrets({}) == set()
