"""A role's word about a session, signed with the key of its certificate.

TLS uses the same key. Neither can be taken for the other: what is signed here begins with `CONTEXT`, while a signature
of TLS 1.3 is of 64 spaces and a text of its own, and one of TLS 1.2 has 32 bytes in its second place that the signing
side drew, where `CONTEXT` is followed by JSON.
"""

from __future__ import annotations

import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from secure.parties.transport.certificates.names import alternative_names, role_of
from secure.parties.transport.certificates.own import LiveCertificates
from secure.parties.transport.certificates.trust import Trust
from secure.protocols.core.errors import ConfigurationError, ReceiptRefused

CONTEXT = b"secure-inference: a role's statement about one session\n"


class Signer:
    """Signs for one role, with the key that it has now. The key stays in memory."""

    def __init__(self, live: LiveCertificates) -> None:
        self._live = live

    def sign(self, statement: bytes) -> tuple[bytes, bytes]:
        """ECDSA with SHA-256 over the context and the statement, DER-encoded, and the certificate for it in PEM.

        Raises ConfigurationError for a key that is not of elliptic curves.
        """
        own = self._live.current()
        key = serialization.load_pem_private_key(own.key, None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ConfigurationError(
                f"{self._live.folder / self._live.role}.key cannot sign receipts; use a key that secure certs makes"
            )
        return key.sign(CONTEXT + statement, ec.ECDSA(hashes.SHA256())), own.certificate


def fingerprint(certificate_pem: bytes) -> str:
    """SHA-256 of a certificate, in hex, as `openssl x509 -fingerprint -sha256` shows it without the colons."""
    return x509.load_pem_x509_certificate(certificate_pem).fingerprint(hashes.SHA256()).hex()


def check_signed(
    role: str, statement: bytes, signature: bytes, certificate_pem: bytes, trust: Trust, when: datetime.datetime
) -> None:
    """Raise ReceiptRefused unless the role's certificate is an authority's that is trusted for it, was valid at `when`,
    and signed that."""
    certificate = trust.vouched(certificate_pem, role)
    if certificate is None:
        raise ReceiptRefused(f"{role}: its certificate was not issued by this authority")
    named = role_of(certificate.subject, alternative_names(certificate))
    if named != role:
        raise ReceiptRefused(f"{role}: its certificate is made out to {named or 'no role'}")
    if not certificate.not_valid_before_utc <= when <= certificate.not_valid_after_utc:
        raise ReceiptRefused(f"{role}: signed_at is {when:%Y-%m-%d %H:%M} UTC, when its certificate was not valid")
    key = certificate.public_key()
    try:
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise InvalidSignature
        key.verify(signature, CONTEXT + statement, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise ReceiptRefused(f"{role}: the signature is not of this statement, a field of which was changed") from None
