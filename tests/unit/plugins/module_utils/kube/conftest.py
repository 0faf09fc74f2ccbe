# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fake cluster, clients of it whose time passes only while they sleep, and certificates."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ansible_collections.bulwark.node.plugins.module_utils.kube.client import Client, Clock, connect
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


@dataclass(frozen=True)
class Certificates:
    """Paths of PEM files: the authority, the server's certificate with its key, a client's certificate and key."""

    authority: str
    server: str
    client: str
    client_key: str


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("certificates")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority")])
    sign = _signer(name, key)
    own = sign("authority", key, True)
    (folder / "authority.pem").write_bytes(own)
    for who in ("127.0.0.1", "operator"):
        other = ec.generate_private_key(ec.SECP256R1())
        (folder / f"{who}.pem").write_bytes(sign(who, other, False))
        (folder / f"{who}.key").write_bytes(_pem(other))
    both = (folder / "127.0.0.1.pem").read_bytes() + (folder / "127.0.0.1.key").read_bytes()
    (folder / "server.pem").write_bytes(both)
    names = ("authority.pem", "server.pem", "operator.pem", "operator.key")
    return Certificates(*(str(folder / file) for file in names))


def _signer(issuer: x509.Name, issuer_key: ec.EllipticCurvePrivateKey) -> Callable[..., bytes]:
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())

    def sign(who: str, key: ec.EllipticCurvePrivateKey, authority: bool) -> bytes:
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, who)]))
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(identifier, critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        if who[0].isdigit():
            address = x509.IPAddress(ipaddress.ip_address(who))
            builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
        return builder.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    return sign


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
