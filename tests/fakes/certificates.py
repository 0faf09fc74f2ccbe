# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates for a fake server, and for a client of it."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

__all__ = ["Certificates", "make"]


@dataclass(frozen=True)
class Certificates:
    """Paths of PEM files: the authority, the server's certificate with its key, a client's certificate and key."""

    authority: str
    server: str
    client: str
    client_key: str


def make(folder: Path) -> Certificates:
    """Write them into a folder; they are good for a day, and for 127.0.0.1."""
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
        if authority:
            # Python 3.13 takes none without it.
            builder = builder.add_extension(_signs(), critical=True)
        if who[0].isdigit():
            address = x509.IPAddress(ipaddress.ip_address(who))
            builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
        return builder.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    return sign


def _signs() -> x509.KeyUsage:
    others = (
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(digital_signature=True, key_cert_sign=True, crl_sign=True, **dict.fromkeys(others, False))


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
