# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Alerts that are in the way, asked of a server on loopback; and all that is no answer."""

from __future__ import annotations

import base64
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.bulwark.node.plugins.module_utils.errors import OptionError
from ansible_collections.bulwark.node.plugins.module_utils.reboot import prometheus
from ansible_collections.bulwark.node.plugins.module_utils.reboot.alerts import alert_reasons, selection
from ansible_collections.bulwark.node.tests.fakes import certificates
from ansible_collections.bulwark.node.tests.fakes.prometheus import Prometheus, alert, failure, serving, vector


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Prometheus]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as fake:
        yield fake


def options(url: str, **more: Any) -> dict[str, Any]:
    """The options as the module gets them."""
    result = ArgumentSpecValidator(prometheus.PROMETHEUS_SPEC).validate({"url": url, **more})
    assert not result.error_messages
    values: dict[str, Any] = result.validated_parameters
    return values


def ask(url: str, **more: Any) -> list[str]:
    """What is in the way."""
    values = options(url, **more)
    prometheus.check("prometheus", values)
    chosen = selection("prometheus", values)
    return [reason.detail for reason in alert_reasons(prometheus.query(values), chosen)]


def refused(url: str, **more: Any) -> str:
    """Why it could not be asked."""
    with pytest.raises(prometheus.PrometheusError) as caught:
        ask(url, **more)
    message = str(caught.value)
    assert message.startswith(f"{url}/api/v1/query: ")
    return message.partition("query: ")[2]


# which alerts are in the way


def test_no_alert_is_in_no_way(server: Prometheus) -> None:
    assert ask(server.url) == []
    ((path, query, headers),) = server.asked
    assert (path, query) == ("/api/v1/query", {"query": ["ALERTS"]})
    assert "authorization" not in headers


ALERTS = (
    alert("Watchdog"),
    alert("HighLoad", instance="b", severity="warning"),
    alert("HighLoad", instance="a", severity="critical"),
    alert("DiskFull", "pending", team="db"),
    alert("Gone", value="0"),
)


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (
            {},
            [
                'alert DiskFull is pending: team="db"',
                'alert HighLoad is firing 2 times: instance="b", severity="warning"; instance="a", severity="critical"',
                "alert Watchdog is firing",
            ],
        ),
        ({"firing_only": True, "ignore": "High"}, ["alert Watchdog is firing"]),
        ({"ignore": "^(Watchdog|HighLoad)$"}, ['alert DiskFull is pending: team="db"']),
        # It is searched for, as Go's MatchString does.
        ({"ignore": "o"}, ['alert DiskFull is pending: team="db"']),
        ({"match": "dog"}, ["alert Watchdog is firing"]),
        ({"match": "(?i)DOG"}, ["alert Watchdog is firing"]),
        ({"match": "dog|Disk", "ignore": "^Watch"}, ['alert DiskFull is pending: team="db"']),
        ({"labels": {"severity": "critical"}}, ['alert HighLoad is firing: instance="a", severity="critical"']),
        ({"labels": {"severity": "", "team": ""}}, ["alert Watchdog is firing"]),
        ({"labels": {"severity": "critical", "team": "db"}}, []),
    ],
)
def test_alerts_are_chosen_by_name_state_and_labels(
    server: Prometheus, chosen: dict[str, Any], expected: list[str]
) -> None:
    server.answer = vector(*ALERTS)
    assert ask(server.url, **chosen) == expected
    # An empty expression is none.
    assert ask(server.url, **{"match": "", "ignore": "", **chosen}) == expected


def test_each_sample_of_a_query_of_ones_own_that_is_not_0_is_in_the_way(server: Prometheus) -> None:
    query = 'up{job="etcd"} == bool 0 & 1'
    server.answer = vector(
        {"metric": {"__name__": "up", "job": "etcd"}, "value": [1, "1"]},
        {"metric": {"job": "x"}, "value": [1, "0"]},
        {"metric": {"job": "y\n"}, "value": [1, "NaN"]},
    )
    assert ask(server.url, query=query) == [
        'the query answers 1 for job="etcd"',
        'the query answers nan for job="y\\n"',
    ]
    assert server.asked[0][1] == {"query": [query]}
    server.answer = {"status": "success", "data": {"resultType": "scalar", "result": [1, "3"]}}
    assert ask(server.url) == ["the query answers 3 for the query"]
    server.answer = {"status": "success", "data": {"resultType": "scalar", "result": [1, "0"]}}
    assert ask(server.url) == []


def test_what_is_no_alert_is_in_the_way_whatever_its_sign_and_without_a_state(server: Prometheus) -> None:
    server.answer = vector({"metric": {"job": "x"}, "value": [1, "-1"]})
    assert ask(server.url, query="free - needed", firing_only=True) == ['the query answers -1 for job="x"']


def test_alerts_without_number_and_labels_without_end_are_cut(server: Prometheus) -> None:
    server.answer = vector(*(alert(f"A{number:03}", text="x" * 1000) for number in range(130)))
    found = ask(server.url)
    assert found[-1] == "30 alerts more"
    assert len(found) == 101
    assert {len(detail) for detail in found[:-1]} == {301}


@pytest.mark.parametrize(
    "text", ["[[:alpha:]]", "[a[:^digit:]]", r"\pL", r"\Qa.b\E", r"\Cx", "a(?i)b", "(", "[[a]b]", "*", "a{2,1}"]
)
def test_a_regular_expression_that_means_something_else_in_go_is_refused(text: str) -> None:
    for name in ("ignore", "match"):
        with pytest.raises(OptionError) as caught:
            selection("prometheus", options("http://x", **{name: text}))
        assert caught.value.details["option"] == f"prometheus.{name}"
        assert caught.value.details["expected"].startswith("a regular expression that Python reads as Go does")


def test_classes_know_ascii_alone_as_in_go() -> None:
    chosen = selection("prometheus", options("http://x", match=r"^\w+$"))
    assert chosen.match
    assert not chosen.match.search("Größe")


# how it is asked


def test_a_token_and_a_password_are_sent_as_they_are_told(server: Prometheus) -> None:
    ask(server.url, bearer_token="abc")
    ask(f"{server.url}/prefix/", username="me", password="päss:word")
    sent = [headers["authorization"] for _path, _query, headers in server.asked]
    assert sent == ["Bearer abc", f"Basic {base64.b64encode('me:päss:word'.encode()).decode()}"]
    assert server.asked[1][0] == "/prefix/api/v1/query"


def test_a_proxy_of_the_environment_is_used_unless_told_otherwise(
    server: Prometheus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert ask(server.url, use_proxy=False) == []
    assert "refused" in refused(server.url)


def test_a_netrc_of_the_user_replaces_nothing(
    server: Prometheus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login other password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    ask(server.url, bearer_token="abc")
    assert server.asked[0][2]["authorization"] == "Bearer abc"


def test_secrets_are_kept_out_of_what_ansible_prints() -> None:
    hidden = {name for name, spec in prometheus.PROMETHEUS_SPEC.items() if spec.get("no_log")}
    assert hidden == {"bearer_token", "password"}


@pytest.mark.parametrize(
    ("more", "option"),
    [
        ({"url": "prometheus:9090"}, "url"),
        ({"url": "file:///etc/passwd"}, "url"),
        ({"url": "http://"}, "url"),
        ({"url": "http://host:port"}, "url"),
        ({"url": "http://host:99999"}, "url"),
        ({"url": "http://host/ path"}, "url"),
        ({"url": "http://host/\r\nX: y"}, "url"),
        ({"url": "http://host/?a=b"}, "url"),
        ({"url": "http://[::1"}, "url"),
        ({"bearer_token": "a", "username": "b", "password": "c"}, "username"),
        ({"username": "b"}, "password"),
        ({"password": "b"}, "username"),
        ({"query": " "}, "query"),
        ({"timeout": 0}, "timeout"),
    ],
)
def test_options_that_cannot_be_are_refused_before_anything_is_asked(more: dict[str, Any], option: str) -> None:
    with pytest.raises(OptionError) as caught:
        prometheus.check("prometheus", options(**{"url": "http://host", **more}))
    assert caught.value.details["option"] == f"prometheus.{option}"


def test_a_password_in_the_address_is_refused_and_not_shown() -> None:
    with pytest.raises(OptionError) as caught:
        prometheus.check("prometheus", options("http://me:secret@host"))
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(caught.value.details)


@pytest.mark.parametrize("token", ["secret\n", "sec\rret", "sec ret", "secr\u20act", "\x00"])
def test_a_token_that_no_header_can_carry_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(OptionError) as caught:
        prometheus.check("prometheus", options("http://host", bearer_token=token))
    assert caught.value.details["option"] == "prometheus.bearer_token"
    assert "sec" not in str(caught.value)
    assert "sec" not in repr(caught.value.details)


def test_what_cannot_be_sent_is_no_answer_and_not_shown(server: Prometheus) -> None:
    values = options(server.url, bearer_token="secret\n")
    with pytest.raises(prometheus.PrometheusError, match=r"cannot be asked \(ValueError\)") as caught:
        prometheus.query(values)
    assert "secret" not in str(caught.value)


def test_a_file_of_certificates_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=f"prometheus.ca_path: got '{tmp_path}/absent'"):
        prometheus.check("prometheus", options("https://host", ca_path=f"{tmp_path}/absent"))


@pytest.mark.parametrize("value", [None, True, 1.1, ["a"], {}])
def test_a_label_that_yaml_made_something_else_is_refused(value: Any) -> None:
    """It would be found in no alert, and so none would be in the way."""
    with pytest.raises(OptionError, match="in quotes") as caught:
        selection("prometheus", options("http://host", labels={"severity": "critical", "paging": value}))
    assert caught.value.details["option"] == "prometheus.labels.paging"


def test_a_number_may_be_the_value_of_a_label(server: Prometheus) -> None:
    server.answer = vector(alert("A", shard="1"), alert("B", shard="2"))
    assert ask(server.url, labels={"shard": 1}) == ['alert A is firing: shard="1"']


# what is no answer


@pytest.mark.parametrize(
    ("status", "answer", "expected"),
    [
        (503, failure("unavailable", "Service Unavailable"), "answered 503: unavailable: Service Unavailable"),
        (422, failure("execution", "query timed out"), "answered 422: execution: query timed out"),
        (401, b"Unauthorized", "answered 401: Unauthorized"),
        (500, b'["x"]', "answered 500: Internal Server Error"),
        (200, failure("bad_data", "parse error"), "answered no success of Prometheus' API: "),
        (200, b"<html>", "answered no JSON of Prometheus' API"),
        (200, b"", "answered no JSON of Prometheus' API"),
        (200, b"[" * 100000, "answered no JSON of Prometheus' API"),
        (200, b"[]", "answered no success of Prometheus' API: []"),
        (200, {"status": "success"}, "answered a result in no form of Prometheus' API (KeyError: 'data')"),
        (
            200,
            {"status": "success", "data": {"resultType": "matrix", "result": []}},
            "answered a matrix, expected a vector or a scalar",
        ),
        (200, vector({"metric": {}}), "answered a result in no form of Prometheus' API (KeyError: 'value')"),
        (200, vector({"metric": [], "value": [1, "1"]}), "answered a result in no form"),
        (200, vector({"metric": {}, "value": [1, "x"]}), "answered a result in no form"),
        (
            200,
            vector(warnings=["one store did not answer"]),
            'warns that the answer may not be whole: ["one store did not answer"]',
        ),
    ],
)
def test_what_is_no_whole_answer_is_an_error(server: Prometheus, status: int, answer: Any, expected: str) -> None:
    server.status, server.answer = status, answer
    assert refused(server.url).startswith(expected)


def test_infos_are_no_warnings(server: Prometheus) -> None:
    server.answer = vector(infos=["metric might not be a counter"])
    assert ask(server.url) == []


def test_a_redirect_is_not_followed(server: Prometheus) -> None:
    server.status, server.headers = 302, {"Location": "http://elsewhere/login"}
    assert refused(server.url, bearer_token="abc") == (
        "answered 302: a redirect to http://elsewhere/login, which is not followed; give that address"
    )
    assert len(server.asked) == 1


def test_an_answer_without_end_is_an_error(server: Prometheus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus, "_LIMIT", 16 << 20)
    server.answer, server.endless = b" " * 65536, True
    assert refused(server.url, timeout=60) == "answered more than 16777216 bytes"
    # Each read is answered in time, and the answer stays small.
    server.answer = b" "
    assert refused(server.url, timeout=1) == "did not answer within 1 seconds"


def test_a_server_that_is_not_there_is_an_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        # Bound, but nobody listens.
        assert "refused" in refused(f"http://127.0.0.1:{taken.getsockname()[1]}", use_proxy=False)


def test_a_server_that_says_nothing_is_an_error() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert "timed out" in refused(f"http://127.0.0.1:{silent.getsockname()[1]}", use_proxy=False, timeout=1)


# TLS


def test_a_certificate_has_to_be_valid_unless_told_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made = certificates.make(tmp_path)
    context.load_cert_chain(made.server)
    with serving(context) as fake:
        fake.answer = vector(alert("A"))
        assert "certificate" in refused(fake.url).lower()
        assert fake.asked == []
        assert ask(fake.url, validate_certs=False) == ["alert A is firing"]
        assert ask(fake.url, ca_path=made.authority) == ["alert A is firing"]
