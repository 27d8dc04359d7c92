"""Certificates of all roles at once, on one machine: for trying, and for a group with one operator."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from secure.parties.config import ROLES
from secure.parties.transport.certificates.files import key_pem, new_key, write_new
from secure.parties.transport.certificates.names import check_hosts, check_name, general_names

AUTHORITY = "authority"
_CLOCKS_APART = datetime.timedelta(minutes=5)


def make_certificates(
    out_dir: Path,
    hosts: Mapping[str, list[str]] | None = None,
    days: int = 365,
    roles: tuple[str, ...] = ROLES,
    clients: tuple[str, ...] = (),
) -> None:
    """Write an authority and one certificate and key per role to `out_dir`.

    Args:
        hosts: role → names or addresses of its machine, added to its certificate for tools that check them.
        days: how long the certificates are valid.
        roles: whom to make them for.
        clients: names of clients, each of which gets one of its own, client-NAME.crt and .key, which it calls
            client.crt and client.key on its host. Without names all clients share one, and are one user of models.

    Files are ROLE.crt and ROLE.key for every role, and authority.crt. Keys have mode 0600, the folder 0700. The
    authority's key is never written: to add a role later, make all of them again. Raises ConfigurationError when the
    folder already holds certificates, which stay as they are, and for a host with the name of another role.
    """
    hosts = hosts or {}
    for role, machine in hosts.items():
        check_hosts(role, machine, roles)
    for name in clients:
        check_name("client", name)
    authority_key = new_key()
    authority = authority_certificate(authority_key, AUTHORITY, days)
    files = {f"{AUTHORITY}.crt": pem(authority)}
    plain: dict[str, tuple[str, str | None]] = {role: (role, None) for role in roles if role != "client" or not clients}
    for file, (role, own) in {**plain, **{f"client-{name}": ("client", name) for name in clients}}.items():
        key, names = new_key(), general_names(role, own, hosts.get(role, []))
        files[f"{file}.crt"] = pem(role_certificate(role, key.public_key(), names, authority, authority_key, days))
        files[f"{file}.key"] = key_pem(key)
    write_new(out_dir, files)


def authority_certificate(key: ec.EllipticCurvePrivateKey, organisation: str, days: int) -> x509.Certificate:
    """An authority's own certificate.

    Its name has a random part, so that TLS tells two authorities apart by name and its messages stay clear.
    """
    name = _name(f"secure-inference {organisation} {os.urandom(4).hex()}")
    rule = x509.BasicConstraints(ca=True, path_length=0)
    return _builder(name, name, key.public_key(), days).add_extension(rule, critical=True).sign(key, hashes.SHA256())


def role_certificate(
    role: str,
    key: ec.EllipticCurvePublicKey,
    names: list[x509.GeneralName],
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    days: int,
) -> x509.Certificate:
    """A role's certificate, for both ends of a connection."""
    usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    return (
        _builder(_name(role), authority.subject, key, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(usages, critical=False)
        .sign(authority_key, hashes.SHA256())
    )


def pem(certificate: x509.Certificate) -> bytes:
    """A certificate as its file holds it."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_APART)
        .not_valid_after(now + datetime.timedelta(days=days))
    )
