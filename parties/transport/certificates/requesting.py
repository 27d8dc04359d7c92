"""A role's own key, which never leaves its host: a request for an authority, and what the authority made of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from secure.parties.transport.certificates.files import check_key_file, key_pem, new_key, replace_file, write_new
from secure.parties.transport.certificates.names import (
    alternative_names,
    check_hosts,
    check_name,
    general_names,
    role_of,
)
from secure.parties.transport.certificates.trust import read_trust
from secure.protocols.core.errors import ConfigurationError


def request(folder: Path, role: str, name: str | None = None, hosts: Sequence[str] = ()) -> Path:
    """Write ROLE.new.key and ROLE.csr; the path of the request, which holds nothing secret.

    What the role has goes on working until `install`. Raises ConfigurationError for a role, name or host that cannot
    be, and where a request still waits for its certificate.
    """
    check_hosts(role, hosts)
    check_name(role, name)
    waiting, path = folder / f"{role}.new.key", folder / f"{role}.csr"
    if waiting.exists():
        raise ConfigurationError(
            f"{path} waits for its certificate: have it signed, or remove it and {waiting.name} to begin anew"
        )
    key = new_key()
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, role)])
    )
    names = x509.SubjectAlternativeName(general_names(role, name, hosts))
    made = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    path.unlink(missing_ok=True)  # one that was answered
    write_new(folder, {waiting.name: key_pem(key), path.name: made.public_bytes(serialization.Encoding.PEM)})
    return path


def install(folder: Path, certificate_pem: bytes) -> str:
    """Put a signed certificate, and the key that waited for it, in the place of what the role had; the role.

    A party that runs takes them up by itself. Raises ConfigurationError, and changes nothing, for a certificate of no
    key here, or of an authority that this folder does not trust for the role.
    """
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
    except ValueError:
        raise ConfigurationError("this is no certificate; ask for it again") from None
    role = role_of(certificate.subject, alternative_names(certificate))
    if role is None:
        raise ConfigurationError("this is not a role's certificate")
    waiting, key = folder / f"{role}.new.key", folder / f"{role}.key"
    fitting = next((path for path in (waiting, key) if path.exists() and _fits(path, certificate)), None)
    if fitting is None:
        raise ConfigurationError(
            f"{folder} has no key of this certificate of {role}; it answers a request of another host, or an older one"
        )
    if not read_trust(folder).vouches(certificate, role):
        raise ConfigurationError(
            f"this host does not trust the authority that signed the certificate for {role}; if it is to, first run: "
            f"secure certs trust AUTHORITY.crt --role {role} --dir {folder}"
        )
    # Between the two steps the key does not fit, which whoever reads them takes for a change that is not complete.
    # After a failure between them the same command goes on.
    if fitting == waiting:
        os.replace(waiting, key)
    replace_file(folder / f"{role}.crt", certificate_pem)
    (folder / f"{role}.csr").unlink(missing_ok=True)
    return role


def _fits(path: Path, certificate: x509.Certificate) -> bool:
    check_key_file(path)
    try:
        return serialization.load_pem_private_key(path.read_bytes(), None).public_key() == certificate.public_key()
    except (ValueError, TypeError):
        return False
