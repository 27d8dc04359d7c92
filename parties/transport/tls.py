"""Mutual TLS: one authority, one certificate per role, and what a certificate must say.

The role stands in the certificate's common name, in a SAN URI (`urn:secure-inference:role:p0`) and in a SAN DNS name
equal to the role. Dialling sides ask TLS to verify that DNS name, so a connection to p1's address that is answered with
the dealer's certificate fails before any frame is sent, also when all parties share one host.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from secure.parties.config import ROLES
from secure.parties.transport.identity import Identity
from secure.protocols.core.errors import ConfigurationError, HandshakeError

AUTHORITY = "authority"
ROLE_URI = "urn:secure-inference:role:"
_CLIENT_URI = "urn:secure-inference:client:"
_OTHERS = 0o077
"""The bits of a file's mode that let its group and everybody else in."""


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
    _check_hosts(hosts, roles)
    for name in clients:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", name):
            raise ConfigurationError(f"a client cannot be called {name!r}; use up to 64 letters, digits, . _ @ and -")
    authority_key = ec.generate_private_key(ec.SECP256R1())
    # A name of its own, so that TLS tells two authorities apart by name and its messages stay clear.
    authority_name = f"secure-inference authority {os.urandom(4).hex()}"
    authority = _certificate(authority_name, authority_key, None, authority_key, [], days)
    files = {f"{AUTHORITY}.crt": authority.public_bytes(serialization.Encoding.PEM)}
    named: dict[str, tuple[str, list[x509.GeneralName]]] = {
        f"client-{name}": ("client", [x509.UniformResourceIdentifier(_CLIENT_URI + name)]) for name in clients
    }
    plain: dict[str, tuple[str, list[x509.GeneralName]]] = {
        role: (role, []) for role in roles if role != "client" or not clients
    }
    for file, (role, identity) in {**plain, **named}.items():
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName(role), x509.UniformResourceIdentifier(ROLE_URI + role), *identity]
        certificate = _certificate(
            role, key, authority, authority_key, names + [_general_name(host) for host in hosts.get(role, [])], days
        )
        files[f"{file}.crt"] = certificate.public_bytes(serialization.Encoding.PEM)
        files[f"{file}.key"] = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    _write(out_dir, files)


def server_credentials(tls_dir: Path, role: str) -> grpc.ServerCredentials:
    """Credentials that `role` listens with; callers need a certificate of the same authority."""
    authority, certificate, key = read_identity(tls_dir, role)
    return grpc.ssl_server_credentials([(key, certificate)], authority, require_client_auth=True)


def channel_credentials(tls_dir: Path, role: str) -> grpc.ChannelCredentials:
    """Credentials that `role` dials with. Raises ConfigurationError."""
    authority, certificate, key = read_identity(tls_dir, role)
    return grpc.ssl_channel_credentials(authority, key, certificate)


def channel_name_options(peer: str) -> list[tuple[str, str]]:
    """gRPC options that make TLS accept `peer`'s certificate only."""
    return [("grpc.ssl_target_name_override", peer), ("grpc.default_authority", peer)]


def certificate_role(auth_context: Mapping[str, Any], roles: tuple[str, ...] = ROLES) -> str:
    """The role in the certificate of a connected peer, from gRPC's `auth_context()`. Raises HandshakeError."""
    common_names = [name.decode() for name in auth_context.get("x509_common_name", [])]
    role = common_names[0] if len(common_names) == 1 else ""
    if role not in roles or ROLE_URI + role not in _alternative_names(auth_context):
        raise HandshakeError(
            "certificate name", f"a role ({', '.join(roles)}) as common name and URI", ", ".join(common_names), "TLS"
        )
    return role


def certificate_identity(auth_context: Mapping[str, Any], roles: tuple[str, ...] = ROLES) -> Identity:
    """The role of a connected peer, and a client's own name. Raises HandshakeError."""
    role = certificate_role(auth_context, roles)
    uris = [name for name in _alternative_names(auth_context) if name.startswith(_CLIENT_URI)]
    return Identity(role, uris[0].removeprefix(_CLIENT_URI) if role == "client" and len(uris) == 1 else role)


def _alternative_names(auth_context: Mapping[str, Any]) -> list[str]:
    return [name.decode() for name in auth_context.get("x509_subject_alternative_name", [])]


def check_certificates(tls_dir: Path, roles: tuple[str, ...] = ROLES) -> list[str]:
    """What is wrong with the certificates of `roles` in `tls_dir`, one sentence each; empty when all is well."""
    findings: list[str] = []
    for role in roles:
        try:
            read_identity(tls_dir, role)
        except ConfigurationError as error:
            findings.append(f"{role}: {error}")
    return findings


def check_key_file(path: Path) -> None:
    """Raise ConfigurationError where other users of this machine may read a key. Windows has no such modes."""
    mode = path.stat().st_mode
    if os.name == "posix" and mode & _OTHERS:
        raise ConfigurationError(
            f"other users may read {path} (mode {mode & 0o777:04o}); run: chmod 600 {path}, and where somebody may "
            "have copied it, make all certificates again"
        )


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate | None,
    issuer_key: ec.EllipticCurvePrivateKey,
    names: list[x509.GeneralName],
    days: int,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # Clocks of different hosts may be a little apart.
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(
            x509.BasicConstraints(ca=issuer is None, path_length=0 if issuer is None else None), critical=True
        )
    )
    if issuer is not None:
        usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        builder = builder.add_extension(usages, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _check_hosts(hosts: Mapping[str, list[str]], roles: tuple[str, ...]) -> None:
    """Raise ConfigurationError for an unknown role, and for a host that TLS would take for another role."""
    for role, names in hosts.items():
        if role not in roles:
            raise ConfigurationError(f"unknown role {role!r}; roles are {', '.join(roles)}")
        for name in names:
            # TLS compares names like this.
            other = name.rstrip(".").lower()
            if other in roles and other != role:
                raise ConfigurationError(
                    f"{role}'s machine cannot be called {name!r}: {role}'s certificate would then pass for {other}'s; "
                    "give another name, or an address"
                )


def _write(out_dir: Path, files: Mapping[str, bytes]) -> None:
    """All of them or, where one cannot be written, none. Raises ConfigurationError for one that is there already."""
    out_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    out_dir.chmod(0o700)
    written: list[Path] = []
    try:
        for name, data in files.items():
            path = out_dir / name
            # The mode is set at creation, so that a key is never readable by others, not even briefly. O_EXCL: a file
            # that is there would keep its own mode, and a link would lead elsewhere.
            mode = 0o600 if path.suffix == ".key" else 0o644
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            written.append(path)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
    except BaseException as error:
        for done in written:
            done.unlink()
        if isinstance(error, FileExistsError):
            raise ConfigurationError(
                f"{out_dir} already holds certificates ({name}); choose another folder or remove them first"
            ) from None
        raise


def read_identity(tls_dir: Path, role: str) -> tuple[bytes, bytes, bytes]:
    """PEM bytes of the authority, the role's certificate and its key. Raises ConfigurationError that names the file."""
    try:
        authority, certificate, key = (
            (tls_dir / f"{AUTHORITY}.crt").read_bytes(),
            (tls_dir / f"{role}.crt").read_bytes(),
            (tls_dir / f"{role}.key").read_bytes(),
        )
    except OSError as error:
        raise ConfigurationError(
            f"{error.filename}: cannot be read: {error.strerror}; make certificates with: "
            f"secure{' ee' if role == 'server' else ''} certs --out {tls_dir}"
        ) from None
    _check(tls_dir / role, authority, certificate, key)
    return authority, certificate, key


def _check(path: Path, authority_pem: bytes, certificate_pem: bytes, key_pem: bytes) -> None:
    """Raise ConfigurationError unless the role that `path` ends in can use them, together and today."""
    role = path.name
    again = f"make all of them again, in a new folder, with secure{' ee' if role == 'server' else ''} certs"
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority_pem))
    except (ValueError, TypeError, InvalidSignature):
        raise ConfigurationError(
            f"{path}.crt was not issued by the authority in {path.with_name(AUTHORITY)}.crt; "
            "all roles need certificates that were made together"
        ) from None
    names = [attribute.value for attribute in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if names != [role]:
        raise ConfigurationError(f"{path}.crt is made out to {names}, not to {role}; copy {role}.crt to this host")
    now = datetime.datetime.now(datetime.UTC)
    if now < (begin := certificate.not_valid_before_utc):
        raise ConfigurationError(f"{path}.crt is valid only from {begin:%Y-%m-%d %H:%M} UTC; check this host's clock")
    if now > (end := certificate.not_valid_after_utc):
        raise ConfigurationError(f"{path}.crt ended on {end:%Y-%m-%d}; {again}")
    try:
        fits = serialization.load_pem_private_key(key_pem, None).public_key() == certificate.public_key()
    except (ValueError, TypeError):
        fits = False
    if not fits:
        raise ConfigurationError(
            f"{path}.key is not the key of {path}.crt; copy the two that belong together, or {again}"
        )
    check_key_file(path.with_name(f"{role}.key"))
