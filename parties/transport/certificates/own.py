"""A role's own certificate and key, and whom it trusts, as its folder has them now: they may change while it runs."""

from __future__ import annotations

import datetime
import logging
import threading
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID

from secure.parties.config import ROLES
from secure.parties.transport.certificates.files import check_key_file, read_file
from secure.parties.transport.certificates.making import AUTHORITY
from secure.parties.transport.certificates.names import SERVER
from secure.parties.transport.certificates.trust import REVOKED, TRUSTED, Trust, read_trust
from secure.protocols.core.errors import ConfigurationError

_LOG = logging.getLogger("parties")
_Stamp = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True)
class Own:
    """What a role shows and whom it takes, all of one moment. certificate, key: in PEM."""

    certificate: bytes
    key: bytes
    trust: Trust

    def __repr__(self) -> str:
        return "Own(...)"  # no key in a log


def read_own(folder: Path, role: str) -> Own:
    """Read and check all of it. Raises ConfigurationError that names the file and the remedy."""
    make = f"make certificates with: secure{' ee' if role == SERVER else ''} certs --out {folder}"
    trust = read_trust(folder)
    certificate = read_file(folder / f"{role}.crt", make)
    key = read_file(folder / f"{role}.key", make)
    _check(folder / role, trust, certificate, key)
    return Own(certificate, key, trust)


def check_certificates(folder: Path, roles: tuple[str, ...] = ROLES) -> list[str]:
    """What is wrong with the certificates of `roles` in `folder`, one sentence each; empty when all is well."""
    findings: list[str] = []
    for role in roles:
        try:
            read_own(folder, role)
        except ConfigurationError as error:
            findings.append(f"{role}: {error}")
    return findings


class LiveCertificates:
    """The newest that is whole. Safe to use from several threads.

    A rotation replaces files one after the other: what does not fit together is left alone until it does, and what was
    read before goes on to be used. That is logged once.
    """

    def __init__(self, folder: Path, role: str) -> None:
        """Raises ConfigurationError as `read_own`."""
        self.folder, self.role = folder, role
        self._stamp = _stamp(folder, role)
        self._own = read_own(folder, role)
        self._lock = threading.Lock()

    def current(self) -> Own:
        """What is to be used for the next connection; the same object while nothing has changed."""
        with self._lock:
            stamp = _stamp(self.folder, self.role)
            if stamp != self._stamp:
                try:
                    self._own = read_own(self.folder, self.role)
                    _LOG.info("certificates were read again")
                except ConfigurationError as error:
                    _LOG.warning("new certificates are not used, the old ones are: %s", error)
                self._stamp = stamp
            return self._own


def _stamp(folder: Path, role: str) -> _Stamp:
    """Tells apart two states of the files, without reading them."""
    paths = [folder / f"{role}.crt", folder / f"{role}.key", folder / f"{AUTHORITY}.crt"]
    paths += sorted((folder / TRUSTED).glob("*/*.crt")) + sorted((folder / REVOKED).glob("*.crl"))
    marks: list[tuple[str, int, int, int]] = []
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            continue
        marks.append((str(path), status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(marks)


def _check(path: Path, trust: Trust, certificate_pem: bytes, key_pem: bytes) -> None:
    """Raise ConfigurationError unless the role that `path` ends in can use them, together and today."""
    role = path.name
    again = f"make all of them again, in a new folder, with secure{' ee' if role == SERVER else ''} certs"
    certificate = trust.vouched(certificate_pem, role)
    if certificate is None:
        if path.with_name(TRUSTED).is_dir():
            raise ConfigurationError(
                f"{path}.crt was not issued by an authority that this host trusts for {role}; run: "
                f"secure certs trust AUTHORITY.crt --role {role} --dir {path.parent}"
            )
        raise ConfigurationError(
            f"{path}.crt was not issued by the authority in {path.with_name(AUTHORITY)}.crt; "
            "all roles need certificates that were made together"
        )
    names = [attribute.value for attribute in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if names != [role]:
        raise ConfigurationError(f"{path}.crt is made out to {names}, not to {role}; copy {role}.crt to this host")
    now = datetime.datetime.now(datetime.UTC)
    if now < (begin := certificate.not_valid_before_utc):
        raise ConfigurationError(f"{path}.crt is valid only from {begin:%Y-%m-%d %H:%M} UTC; check this host's clock")
    if now > (end := certificate.not_valid_after_utc):
        raise ConfigurationError(f"{path}.crt ended on {end:%Y-%m-%d}; {again}")
    if trust.took_back(certificate):
        raise ConfigurationError(
            f"{path}.crt was revoked by its authority; ask for another one: secure certs request {role}"
        )
    try:
        fits = serialization.load_pem_private_key(key_pem, None).public_key() == certificate.public_key()
    except (ValueError, TypeError):
        fits = False
    if not fits:
        raise ConfigurationError(
            f"{path}.key is not the key of {path}.crt; copy the two that belong together, or {again}"
        )
    check_key_file(path.with_name(f"{role}.key"))
