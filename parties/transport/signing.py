"""A role's word about a session, signed with the key of its certificate.

TLS uses the same key. Neither can be taken for the other: what is signed here begins with `CONTEXT`, while a signature
of TLS 1.3 is of 64 spaces and a text of its own, and one of TLS 1.2 has 32 bytes in its second place that the signing
side drew, where `CONTEXT` is followed by JSON.
"""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from secure.parties.transport.tls import AUTHORITY, ROLE_URI, read_identity
from secure.protocols.core.errors import ConfigurationError, ReceiptRefused

CONTEXT = b"secure-inference: a role's statement about one session\n"


class Signer:
    """Signs for one role. The key stays in memory."""

    def __init__(self, tls_dir: Path, role: str) -> None:
        """Raises ConfigurationError where the role has no usable certificate and key of elliptic curves there."""
        _, self.certificate, pem = read_identity(tls_dir, role)
        key = serialization.load_pem_private_key(pem, None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ConfigurationError(f"{tls_dir / role}.key cannot sign receipts; use a key that secure certs makes")
        self._key = key

    def sign(self, statement: bytes) -> bytes:
        """ECDSA with SHA-256 over the context and the statement, DER-encoded."""
        return self._key.sign(CONTEXT + statement, ec.ECDSA(hashes.SHA256()))


def read_authority(tls_dir: Path) -> bytes:
    """The authority's certificate, PEM. Raises ConfigurationError."""
    path = tls_dir / f"{AUTHORITY}.crt"
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None


def fingerprint(certificate_pem: bytes) -> str:
    """SHA-256 of a certificate, in hex, as `openssl x509 -fingerprint -sha256` shows it without the colons."""
    return x509.load_pem_x509_certificate(certificate_pem).fingerprint(hashes.SHA256()).hex()


def check_signed(
    role: str, statement: bytes, signature: bytes, certificate_pem: bytes, authority_pem: bytes, when: datetime.datetime
) -> None:
    """Raise ReceiptRefused unless the role's certificate is the authority's, was valid at `when`, and signed that."""
    try:
        authority = x509.load_pem_x509_certificate(authority_pem)
    except ValueError:
        raise ConfigurationError(
            "the authority's certificate cannot be read; it is authority.crt of its folder"
        ) from None
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        raise ReceiptRefused(f"{role}: its certificate was not issued by this authority") from None
    names = [attribute.value for attribute in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if names != [role] or ROLE_URI + role not in _uris(certificate):
        raise ReceiptRefused(f"{role}: its certificate is made out to {', '.join(map(str, names))}")
    if not certificate.not_valid_before_utc <= when <= certificate.not_valid_after_utc:
        raise ReceiptRefused(f"{role}: signed_at is {when:%Y-%m-%d %H:%M} UTC, when its certificate was not valid")
    key = certificate.public_key()
    try:
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise InvalidSignature
        key.verify(signature, CONTEXT + statement, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise ReceiptRefused(f"{role}: the signature is not of this statement, a field of which was changed") from None


def _uris(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)
