"""Mutual TLS of gRPC: credentials that follow the certificates on disk, and who is at the other end."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Mapping
from typing import Any

import grpc
from cryptography import x509

from secure.parties.config import ROLES
from secure.parties.transport.certificates.names import ROLE_URI, caller_uri
from secure.parties.transport.certificates.own import LiveCertificates, Own
from secure.parties.transport.certificates.trust import Trust
from secure.parties.transport.identity import Identity
from secure.protocols.core.errors import HandshakeError


def server_credentials(live: LiveCertificates) -> grpc.ServerCredentials:
    """Credentials that a role listens with; callers need a certificate of an authority that it trusts.

    gRPC asks for the newest at each new connection. Open ones go on.
    """
    used, lock = [live.current()], threading.Lock()

    def newest() -> grpc.ServerCertificateConfiguration | None:
        own = live.current()
        with lock:
            if own is used[0]:
                return None
            used[0] = own
        return _configuration(own)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(used[0]),
        newest,  # type: ignore[arg-type]  # None says that nothing has changed, which the stubs leave out
        require_client_authentication=True,
    )


def channel_credentials(own: Own, peer: str) -> grpc.ChannelCredentials:
    """Credentials to dial `peer` with, whose certificate must be of an authority that is trusted for it."""
    return grpc.ssl_channel_credentials(own.trust.roots([peer]), own.key, own.certificate)


def channel_name_options(peer: str) -> list[tuple[str, str]]:
    """gRPC options that make TLS accept `peer`'s certificate only."""
    return [("grpc.ssl_target_name_override", peer), ("grpc.default_authority", peer)]


def certificate_role(
    auth_context: Mapping[str, Any], roles: tuple[str, ...] = ROLES, trust: Trust | None = None
) -> str:
    """The role in the certificate of a connected peer, from gRPC's `auth_context()`.

    trust: the authority must be one that is trusted for this role, and must not have taken the certificate back: a
    connection outlives that. Raises HandshakeError.
    """
    common_names = [name.decode() for name in auth_context.get("x509_common_name", [])]
    role = common_names[0] if len(common_names) == 1 else ""
    if role not in roles or ROLE_URI + role not in _alternative_names(auth_context):
        raise HandshakeError(
            "certificate name", f"a role ({', '.join(roles)}) as common name and URI", ", ".join(common_names), "TLS"
        )
    if trust is not None:
        check_trust(peer_certificate(auth_context), role, trust)
    return role


def check_trust(certificate: x509.Certificate, role: str, trust: Trust) -> None:
    """Raise HandshakeError unless a trusted authority vouches for the certificate today, and has not taken it back."""
    if not trust.vouches(certificate, role):
        raise HandshakeError("certificate", f"{role}'s, from an authority that is trusted for it", "another's", "TLS")
    if trust.took_back(certificate):
        raise HandshakeError("certificate", f"{role}'s, as its authority left it", "one that was revoked", "TLS")
    # A connection outlives the certificate that it was opened with; TLS looks at that once.
    if now() > certificate.not_valid_after_utc:
        raise HandshakeError("certificate", f"{role}'s, of today", "one that has ended, or this clock is wrong", "TLS")


def now() -> datetime.datetime:
    """This host's clock."""
    return datetime.datetime.now(datetime.UTC)


def peer_certificate(auth_context: Mapping[str, Any]) -> x509.Certificate:
    """The certificate of a connected peer, from gRPC's `auth_context()`."""
    return x509.load_pem_x509_certificate(auth_context["x509_pem_cert"][0])


def certificate_identity(auth_context: Mapping[str, Any], roles: tuple[str, ...] = ROLES) -> Identity:
    """The role of a connected peer, and a client's or an owner's own name. Raises HandshakeError."""
    role = certificate_role(auth_context, roles)
    prefix = caller_uri(role)
    own = [name.removeprefix(prefix) for name in _alternative_names(auth_context) if name.startswith(prefix)]
    return Identity(role, own[0] if len(own) == 1 else role)


def _configuration(own: Own) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(own.key, own.certificate)], own.trust.roots())


def _alternative_names(auth_context: Mapping[str, Any]) -> list[str]:
    return [name.decode() for name in auth_context.get("x509_subject_alternative_name", [])]
