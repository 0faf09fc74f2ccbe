# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which server is asked, as whom, and what of the package `kubernetes` that takes."""

from __future__ import annotations

import base64
import builtins
import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import urllib3
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from kubernetes.client.configuration import Configuration

from ansible_collections.bulwark.node.plugins.doc_fragments.kubernetes import ModuleDocFragment
from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError, OptionError
from ansible_collections.bulwark.node.plugins.module_utils.kube.client import (
    ARGUMENT_SPEC,
    NODES,
    Unreachable,
    connect,
)
from ansible_collections.bulwark.node.plugins.module_utils.kube.connection import Connection, TransportError
from ansible_collections.bulwark.node.tests.fakes.certificates import Certificates
from ansible_collections.bulwark.node.tests.fakes.kube_api import FakeKube, Request, User
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.kube.conftest import Time, connected


def kubeconfig(url: str, **user: str) -> dict[str, Any]:
    """A kubeconfig of two contexts, `good` for this server and `other` for none; the current one is `other`."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "other",
        "contexts": [
            {"name": "good", "context": {"cluster": "good", "user": "me"}},
            {"name": "other", "context": {"cluster": "other", "user": "me"}},
        ],
        "clusters": [
            {"name": "good", "cluster": {"server": url}},
            {"name": "other", "cluster": {"server": "http://127.0.0.1:9"}},
        ],
        "users": [{"name": "me", "user": user or {"token": "cluster-admin"}}],
    }


def asked(kube: FakeKube, params: Mapping[str, Any]) -> Request:
    """The request of a client of these parameters, as it came in."""
    list(connect(params).list(NODES))
    return kube.requests[-1]


def options(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Parameters as a module gets them."""
    found = ArgumentSpecValidator(ARGUMENT_SPEC).validate(dict(given))
    assert found.error_messages == []
    parameters: Mapping[str, Any] = found.validated_parameters
    return parameters


def test_the_documentation_has_the_options_of_the_argument_spec() -> None:
    documented = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"]
    assert documented.keys() == ARGUMENT_SPEC.keys()
    for name, spec in ARGUMENT_SPEC.items():
        for key in ("type", "aliases", "elements"):
            assert documented[name].get(key) == spec.get(key)
        assert documented[name].get("suboptions", {}).keys() == spec.get("options", {}).keys()


@pytest.mark.parametrize("name", ARGUMENT_SPEC)
def test_the_documentation_names_the_environment(name: str) -> None:
    documented = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"][name]
    for told, spec in [
        (documented, ARGUMENT_SPEC[name]),
        *((documented["suboptions"][key], spec) for key, spec in ARGUMENT_SPEC[name].get("options", {}).items()),
    ]:
        for variable in spec.get("fallback", (None, []))[1]:
            assert f"E({variable})" in " ".join(told["description"])


def test_a_kubeconfig_and_its_context_are_taken(kube: FakeKube, tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(json.dumps(kubeconfig(kube.url)))
    assert asked(kube, options({"kubeconfig": str(file), "context": "good"})).user == "kubernetes-admin"


def test_a_kubeconfig_may_be_a_dictionary(kube: FakeKube) -> None:
    assert asked(kube, options({"kubeconfig": kubeconfig(kube.url), "context": "good"})).user == "kubernetes-admin"


def test_options_win_over_the_kubeconfig(kube: FakeKube) -> None:
    kube.tokens["mine"] = User("me", ("system:masters",))
    given = {"kubeconfig": kubeconfig(kube.url, token="theirs"), "context": "good", "api_key": "mine"}
    assert asked(kube, options(given)).user == "me"
    # The kubeconfig's token is not sent beside ours.
    assert kube.requests[-1].headers["authorization"] == "Bearer mine"
    kube.tokens["theirs"] = User("they", ("system:masters",))
    given = {"kubeconfig": kubeconfig("http://127.0.0.1:9", token="theirs"), "host": f"{kube.url}/"}
    assert asked(kube, options(given)).user == "they"
    assert connect(options(given)).sender.server == kube.url


def test_the_environment_of_kubernetes_core_is_read(kube: FakeKube, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K8S_AUTH_HOST", kube.url)
    monkeypatch.setenv("K8S_AUTH_API_KEY", "cluster-admin")
    monkeypatch.setenv("K8S_AUTH_VERIFY_SSL", "false")
    monkeypatch.setenv("K8S_AUTH_IMPERSONATE_USER", "operator")
    monkeypatch.setenv("K8S_AUTH_IMPERSONATE_GROUPS", "system:masters,others")
    monkeypatch.setenv("K8S_AUTH_PROXY_HEADERS_USER_AGENT", "us")
    given = options({})
    assert given["validate_certs"] is False
    assert given["proxy_headers"]["user_agent"] == "us"
    request = asked(kube, given)
    assert request.user == "operator"
    # Each group is a header of its own.
    assert request.headers["impersonate-group"] == "system:masters\nothers"


@pytest.mark.parametrize("key", ["authorization", "BearerToken"])
def test_a_token_is_sent_wherever_a_release_of_the_package_keeps_it(kube: FakeKube, key: str) -> None:
    configuration = Configuration(host=kube.url)
    configuration.api_key = {key: "Bearer stale"}

    def renew(it: Any) -> None:
        it.api_key[key] = "Bearer cluster-admin"

    configuration.refresh_api_key_hook = renew
    answer = Connection(configuration, {}).send("GET", "/api/v1/nodes", None, "application/json", 5)
    assert answer.status == 200


def test_groups_without_a_user_are_refused(kube: FakeKube) -> None:
    with pytest.raises(OptionError, match="impersonate_user: is missing"):
        connect({"host": kube.url, "api_key": "x", "impersonate_groups": ["a"]})


@pytest.mark.parametrize("host", ["192.0.2.1:6443", "https://", "https://[::1", "https://a:port"])
def test_a_host_is_a_url(host: str) -> None:
    with pytest.raises(OptionError, match=r"host: got '.*', expected a URL") as caught:
        connect({"host": host, "api_key": "x"})
    assert caught.value.details["value"] == host


def test_a_server_without_a_scheme_gets_no_token() -> None:
    # urllib3 would take it for http://.
    with pytest.raises(BulwarkError, match=r"kubeconfig: the server is '192\.0\.2\.1:6443', expected a URL"):
        connect(options({"kubeconfig": kubeconfig("192.0.2.1:6443"), "context": "good"}))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("host", "https://me:secret@192.0.2.1"),
        ("proxy", "http://me:secret@192.0.2.1:3128"),
        ("api_key", "secret\n"),
        ("api_key", "sec ret"),
        ("api_key", "secr\u20act"),
    ],
)
def test_a_secret_that_cannot_be_sent_is_refused_and_not_shown(option: str, value: str) -> None:
    with pytest.raises(OptionError) as caught:
        connect({"host": "https://192.0.2.1", "api_key": "x", option: value})
    assert caught.value.details["option"] == option
    assert "sec" not in str(caught.value)
    assert "sec" not in repr(caught.value.details)


@pytest.mark.parametrize(
    ("more", "option"),
    [
        ({"impersonate_user": "a\nb"}, "impersonate_user"),
        ({"impersonate_user": "a", "impersonate_groups": ["b", "\u20ac"]}, "impersonate_groups[1]"),
    ],
)
def test_who_cannot_be_named_in_a_header_is_refused(more: dict[str, Any], option: str) -> None:
    with pytest.raises(OptionError) as caught:
        connect({"host": "https://192.0.2.1", "api_key": "x", **more})
    assert caught.value.details["option"] == option


def test_a_token_of_a_kubeconfig_that_cannot_be_sent_is_not_shown(kube: FakeKube) -> None:
    client = connect(options({"kubeconfig": kubeconfig(kube.url, token="secret\n"), "context": "good"}))
    with pytest.raises(Unreachable, match="a header that HTTP cannot carry") as caught:
        client.get(NODES, "a")
    assert "secret" not in str(caught.value)
    assert not caught.value.sent


def test_a_proxy_without_a_scheme_is_named() -> None:
    with pytest.raises(BulwarkError, match=r"proxy: .*expected a URL such as http://"):
        connect({"host": "https://192.0.2.1", "api_key": "x", "proxy": "proxy.example:3128"})


def test_a_pod_takes_its_service_account(
    kube: FakeKube, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, certificates: Certificates
) -> None:
    with FakeKube(tls=certificates.server) as inside:
        inside.tokens["account"] = User("system:serviceaccount:default:runner", ("system:masters",))
        (tmp_path / "token").write_text("account")
        host, port = inside.url.partition("//")[2].split(":")
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
        module = "kubernetes.config.incluster_config"
        monkeypatch.setattr(f"{module}.SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
        monkeypatch.setattr(f"{module}.SERVICE_CERT_FILENAME", certificates.authority)
        assert asked(inside, options({})).user == "system:serviceaccount:default:runner"
        # A kubeconfig that is asked for wins.
        (tmp_path / "config").write_text(json.dumps(kubeconfig(kube.url)))
        given = {"kubeconfig": str(tmp_path / "config"), "context": "good"}
        assert asked(kube, options(given)).user == "kubernetes-admin"
        # So does a context of the default one.
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "config"))
        assert connect(options({"context": "good"})).sender.server == kube.url


def test_no_configuration_at_all_says_what_would_be_one() -> None:
    with pytest.raises(BulwarkError, match=r"kubeconfig: no kubeconfig was given: .*Expected kubeconfig"):
        connect(options({}))


@pytest.mark.parametrize(
    ("content", "context"),
    [(None, None), ("{", None), ("", None), ("[]", None), (json.dumps(kubeconfig("x")), "absent")],
)
def test_a_bad_kubeconfig_is_named(tmp_path: Path, content: str | None, context: str | None) -> None:
    file = tmp_path / "config"
    if content is not None:
        file.write_text(content)
    with pytest.raises(BulwarkError, match=f"kubeconfig: {file}"):
        connect(options({"kubeconfig": str(file), "context": context}))


@pytest.mark.parametrize("given", ["users:\n- user: {token: secret}", '{"users": ["secret"]}', ["secret"], 7])
def test_the_text_of_a_kubeconfig_is_no_path_and_not_shown(given: Any) -> None:
    with pytest.raises(OptionError, match=r"kubeconfig: .*, expected the path of a file, or a dictionary") as caught:
        connect(options({"kubeconfig": given, "host": "http://127.0.0.1:9"}))
    assert "secret" not in str(caught.value)


def test_a_client_certificate_says_who_we_are(certificates: Certificates) -> None:
    with FakeKube(tls=certificates.server, client_ca=certificates.authority) as kube:
        kube.rules["operator"] = [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]}]
        given = {
            "host": kube.url,
            "ca_cert": certificates.authority,
            "client_cert": certificates.client,
            "client_key": certificates.client_key,
        }
        assert asked(kube, options(given)).user == "operator"


def test_an_unknown_authority_is_refused_at_once_and_no_check_must_be_asked_for(
    certificates: Certificates, time: Time
) -> None:
    with FakeKube(tls=certificates.server) as kube:
        strict = connected(kube, time)
        with pytest.raises(Unreachable, match="Check host, ca_cert and validate_certs"):
            strict.get(NODES, "a")
        assert time.slept == []
        assert kube.requests == []
        assert asked(kube, {"host": kube.url, "api_key": "cluster-admin", "validate_certs": False})


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_connection_that_is_lost_under_tls_may_have_carried_the_write(
    certificates: Certificates, time: Time, when: str
) -> None:
    with FakeKube(tls=certificates.server) as kube:
        node = kube.store.add("nodes", {"metadata": {"name": "a"}})
        client = connected(kube, time, ca_cert=certificates.authority)
        kube.fault(method="PATCH", lost=when)
        with pytest.raises(Unreachable) as caught:
            client.patch(NODES, node["metadata"]["name"], {"spec": {"unschedulable": True}})
        assert caught.value.sent
        kube.fault(method="GET", lost=when)
        assert client.get(NODES, "a")["spec"].get("unschedulable", False) is (when == "after")


@pytest.mark.parametrize(
    ("cause", "sent", "hopeless"),
    [
        (ssl.SSLCertVerificationError("unknown authority"), False, True),
        (ssl.SSLEOFError("cut"), True, False),
        (ssl.SSLError("wrong version number"), True, True),
    ],
)
def test_only_a_cut_connection_is_worth_another_try_under_tls(
    monkeypatch: pytest.MonkeyPatch, cause: ssl.SSLError, sent: bool, hopeless: bool
) -> None:
    def fail(*_args: Any, **_options: Any) -> None:
        raise urllib3.exceptions.SSLError(cause)

    monkeypatch.setattr("urllib3.PoolManager.request", fail)
    with pytest.raises(TransportError) as caught:
        Connection(Configuration(host="https://192.0.2.1"), {}).send("GET", "/version", None, "application/json", 1)
    assert (caught.value.sent, caught.value.hopeless) == (sent, hopeless)


@pytest.mark.parametrize("option", ["ca_cert", "client_cert", "client_key"])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, option: str) -> None:
    with pytest.raises(OptionError, match=f"{option}: got '{tmp_path}/absent.pem', expected a file"):
        connect({"host": "https://192.0.2.1", "api_key": "x", option: f"{tmp_path}/absent.pem"})


def test_a_proxy_gets_the_request(kube: FakeKube) -> None:
    with FakeKube() as proxy:
        proxied = {"host": "http://api.example:6443", "api_key": "cluster-admin", "proxy": proxy.url}
        proxy.fault(status=500, text="{}", path="http://api.example:6443/api/v1/nodes")
        with pytest.raises(BulwarkError):
            connect({**proxied}, deadline=0.1).get(NODES, "a")
        assert proxy.faults[0].times == 0
    list(
        connect({"host": kube.url, "api_key": "cluster-admin", "proxy": proxy.url, "no_proxy": "127.0.0.1"}).list(NODES)
    )
    assert len(kube.requests) == 1


def test_headers_for_the_proxy_are_sent(kube: FakeKube) -> None:
    headers = {"proxy_basic_auth": "me:secret", "user_agent": "us"}
    given = {"host": "http://192.0.2.1", "api_key": "cluster-admin", "proxy": kube.url, "proxy_headers": headers}
    with pytest.raises(BulwarkError):
        connect(options(given)).get(NODES, "a")
    sent = kube.requests[-1].headers
    assert sent["proxy-authorization"] == f"Basic {base64.b64encode(b'me:secret').decode()}"


@pytest.mark.parametrize(("scheme", "refusing"), [("http", False), ("https", False), ("https", True)])
def test_what_no_proxy_took_was_not_sent(kube: FakeKube, time: Time, scheme: str, refusing: bool) -> None:
    """Nobody listens, or who does lets nothing through (CONNECT is not implemented there)."""
    proxy = kube.url if refusing else "http://127.0.0.1:9"
    client = connected(kube, time, host=f"{scheme}://192.0.2.1", proxy=proxy)
    with pytest.raises(Unreachable, match=r"\(\d+ attempts\)") as caught:
        client.patch(NODES, "a", {"spec": {"unschedulable": True}})
    assert not caught.value.sent
    assert "may have been carried out" not in str(caught.value)


def test_without_the_package_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("kubernetes"):
            raise ImportError(f"No module named '{name}'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(BulwarkError, match=r"Failed to import the required Python library \(kubernetes\)") as caught:
        connect({"host": "https://192.0.2.1", "api_key": "x"})
    assert "No module named" in caught.value.details["exception"]


def test_no_class_of_the_api_is_imported() -> None:
    """They cost more than all the rest; old releases import them with the package, whatever is asked of it."""
    script = (
        "import sys, kubernetes\n"
        "before = set(sys.modules)\n"
        "from ansible_collections.bulwark.node.plugins.module_utils.kube.client import connect\n"
        "connect({'host': 'http://127.0.0.1:9', 'api_key': 'x'})\n"
        "print([name for name in set(sys.modules) - before if name.startswith(('kubernetes.client.api', 'kubernetes.client.models'))])\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    found = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_one_client_serves_several_threads(kube: FakeKube, time: Time) -> None:
    client = connected(kube, time)
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.extend(client.list(NODES))) for _thread in range(8)]
    kube.store.add("nodes", {"metadata": {"name": "a"}})
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
