"""Whose certificates a role takes: the authorities that it trusts for each role, and what they have taken back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes

from secure.parties.transport.certificates.files import read_file, replace_file
from secure.parties.transport.certificates.making import AUTHORITY, pem
from secure.parties.transport.certificates.names import EVERY_ROLE
from secure.protocols.core.errors import ConfigurationError

TRUSTED = "trusted"
REVOKED = "revoked"


@dataclass(frozen=True)
class Trust:
    """What a folder says at one moment. revoked: fingerprints of authorities, each with serial numbers."""

    authorities: Mapping[str, tuple[x509.Certificate, ...]]
    revoked: Mapping[bytes, frozenset[int]]

    def roots(self, roles: Iterable[str] = EVERY_ROLE) -> bytes:
        """The authorities that may vouch for one of these roles, in PEM, each once."""
        known = {fingerprint(one): one for role in roles for one in self.authorities.get(role, ())}
        return b"".join(pem(one) for one in known.values())

    def vouches(self, certificate: x509.Certificate, role: str) -> bool:
        """Whether an authority that is trusted for the role has signed the certificate."""
        return any(_signed(certificate, one) for one in self.authorities.get(role, ()))

    def vouched(self, data: bytes, role: str) -> x509.Certificate | None:
        """The certificate in PEM, where an authority that is trusted for the role has signed it."""
        try:
            certificate = x509.load_pem_x509_certificate(data)
        except ValueError:
            return None
        return certificate if self.vouches(certificate, role) else None

    def took_back(self, certificate: x509.Certificate) -> bool:
        """Whether the authority that has signed the certificate has revoked it."""
        return any(
            certificate.serial_number in self.revoked.get(fingerprint(one), ()) and _signed(certificate, one)
            for role in EVERY_ROLE
            for one in self.authorities.get(role, ())
        )


def read_trust(folder: Path) -> Trust:
    """What a role's folder says. Raises ConfigurationError that names the file and the remedy."""
    if (folder / TRUSTED).is_dir():
        authorities = {
            role: tuple(one for path in sorted((folder / TRUSTED / role).glob("*.crt")) for one in _authorities(path))
            for role in EVERY_ROLE
        }
    else:
        authorities = dict.fromkeys(EVERY_ROLE, _authorities(folder / f"{AUTHORITY}.crt"))
    revoked: dict[bytes, frozenset[int]] = {}
    for path in sorted((folder / REVOKED).glob("*.crl")):
        taken = _list(path.read_bytes(), str(path))
        authority = _author(taken, authorities)
        if authority is not None:  # one that is no longer trusted has nothing to take back
            revoked[fingerprint(authority)] = frozenset(entry.serial_number for entry in taken)
    return Trust(authorities, revoked)


def trust_of(data: bytes) -> Trust:
    """One authority, in PEM, for all roles. Raises ConfigurationError."""
    return Trust(dict.fromkeys(EVERY_ROLE, _parsed(data, "what is to be the authority's certificate")), {})


def trust_authority(folder: Path, data: bytes, roles: Iterable[str]) -> str:
    """From now on take certificates of these roles from this authority; its name.

    A folder `trusted` that is new begins with what authority.crt was trusted for, so that nothing else changes. Raises
    ConfigurationError for what is no authority's certificate.
    """
    (certificate,) = _parsed(data, "the file")[:1]
    if not _is_authority(certificate):
        raise ConfigurationError("this certificate is no authority's: ask for the organisation's authority.crt")
    common = folder / f"{AUTHORITY}.crt"
    if not (folder / TRUSTED).is_dir() and common.exists():
        for one in _authorities(common):
            for role in EVERY_ROLE:
                replace_file(_place(folder, one, role), pem(one))
    for role in roles:
        _check_role(role)
        replace_file(_place(folder, certificate, role), pem(certificate))
    return subject(certificate)


def forget_authority(folder: Path, data: bytes, roles: Iterable[str]) -> str:
    """From now on take no certificate of these roles from this authority; its name.

    Raises ConfigurationError where it was not trusted for one of them.
    """
    (certificate,) = _parsed(data, "the file")[:1]
    for role in roles:
        _check_role(role)
        path = _place(folder, certificate, role)
        if not path.exists():
            raise ConfigurationError(
                f"{folder} does not trust {subject(certificate)} for {role}; see secure certs show"
            )
        path.unlink()
    return subject(certificate)


def take_list(folder: Path, data: bytes) -> tuple[str, int]:
    """Heed a list of certificates that an authority takes back; its name, and how many they are.

    Raises ConfigurationError for a list of nobody who is trusted here, and for one that is older than the one here.
    """
    taken = _list(data, "the file")
    authority = _author(taken, read_trust(folder).authorities)
    if authority is None:
        raise ConfigurationError("the list is of no authority that is trusted here; trust it first, or refuse the list")
    path = folder / REVOKED / f"{fingerprint(authority).hex()[:16]}.crl"
    if path.exists() and list_number(_list(path.read_bytes(), str(path))) > list_number(taken):
        raise ConfigurationError("the list is older than the one that is here; ask for the newest")
    replace_file(path, data)
    return subject(authority), len(list(taken))


def list_number(revoked: x509.CertificateRevocationList) -> int:
    """The number of a list; a newer one has a higher one."""
    return revoked.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def subject(certificate: x509.Certificate) -> str:
    """The name that a certificate is made out to, or that of an authority."""
    return str(certificate.subject.rfc4514_string().removeprefix("CN="))


def fingerprint(certificate: x509.Certificate) -> bytes:
    """SHA-256 of a certificate."""
    return certificate.fingerprint(hashes.SHA256())


def _check_role(role: str) -> None:
    if role not in EVERY_ROLE:
        raise ConfigurationError(f"unknown role {role!r}; roles are {', '.join(EVERY_ROLE)}")


def _place(folder: Path, authority: x509.Certificate, role: str) -> Path:
    return folder / TRUSTED / role / f"{fingerprint(authority).hex()[:16]}.crt"


def _authorities(path: Path) -> tuple[x509.Certificate, ...]:
    remedy = f"make certificates with: secure certs --out {path.parent}"
    return _parsed(read_file(path, remedy), str(path))


def _parsed(data: bytes, where: str) -> tuple[x509.Certificate, ...]:
    try:
        return tuple(x509.load_pem_x509_certificates(data))
    except ValueError:
        raise ConfigurationError(f"{where} is no certificate; copy it again") from None


def _list(data: bytes, where: str) -> x509.CertificateRevocationList:
    try:
        taken = x509.load_pem_x509_crl(data)
        list_number(taken)
    except (ValueError, x509.ExtensionNotFound):
        raise ConfigurationError(f"{where} is no list of secure certs revoke; copy it again") from None
    return taken


def _author(
    taken: x509.CertificateRevocationList, authorities: Mapping[str, tuple[x509.Certificate, ...]]
) -> x509.Certificate | None:
    """Who has signed the list, of those who are trusted for something."""
    for one in (one for some in authorities.values() for one in some):
        if one.subject == taken.issuer and taken.is_signature_valid(one.public_key()):  # type: ignore[arg-type]
            return one
    return None


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _signed(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
