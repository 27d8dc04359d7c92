"""An organisation's authority, offline: it signs what its roles ask for, and takes back what it has signed.

Its folder, which belongs on no host of a party, holds authority.crt, which goes to everybody who is to trust it,
authority.key under a passphrase, issued.jsonl, a line for each certificate, and revoked.crl, which goes to everybody as
soon as it changes.
"""

from __future__ import annotations

import datetime
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from secure.parties.transport.certificates.files import (
    check_key_file,
    key_pem,
    new_key,
    read_file,
    replace_file,
    write_new,
)
from secure.parties.transport.certificates.making import AUTHORITY, authority_certificate, pem, role_certificate
from secure.parties.transport.certificates.names import (
    alternative_names,
    check_hosts,
    check_name,
    general_names,
    hosts_of,
    name_of,
    role_of,
)
from secure.parties.transport.certificates.trust import list_number
from secure.protocols.core.errors import ConfigurationError

ISSUED = "issued.jsonl"
REVOKED_LIST = "revoked.crl"
_LIST_DAYS = 3650
"""A list has to name a day. Nobody here refuses an older one: only its number counts."""
_MAKE = "make one with: secure certs authority"


@dataclass(frozen=True)
class Issued:
    """A certificate that was signed. serial: in hexadecimal. ends: the day after which it is not valid."""

    serial: str
    role: str
    name: str | None
    hosts: tuple[str, ...]
    ends: str


class Authority:
    """An authority whose key is at hand."""

    def __init__(self, folder: Path, passphrase: str) -> None:
        """Raises ConfigurationError where there is none in the folder, or the passphrase is another one."""
        self.folder = folder
        self.certificate = x509.load_pem_x509_certificate(read_file(folder / f"{AUTHORITY}.crt", _MAKE))
        path = folder / f"{AUTHORITY}.key"
        data = read_file(path, _MAKE)
        check_key_file(path)
        try:
            key = serialization.load_pem_private_key(data, passphrase.encode())
        except (ValueError, TypeError):
            raise ConfigurationError(f"{path}: the passphrase does not open it") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != self.certificate.public_key():
            raise ConfigurationError(f"{path} is not the key of {folder / AUTHORITY}.crt")
        self._key = key

    @classmethod
    def create(cls, folder: Path, organisation: str, passphrase: str, days: int) -> Authority:
        """A new authority. Raises ConfigurationError where the folder has one, and for an empty passphrase."""
        if not passphrase:
            raise ConfigurationError("an authority's key needs a passphrase: whoever has the key can be every role")
        key = new_key()
        certificate = authority_certificate(key, organisation, days)
        locked = key_pem(key, passphrase.encode())
        write_new(folder, {f"{AUTHORITY}.crt": pem(certificate), f"{AUTHORITY}.key": locked})
        return cls(folder, passphrase)

    def sign(self, request_pem: bytes, role: str, name: str | None, days: int) -> tuple[bytes, Issued]:
        """The certificate that a request asks for, in PEM, and the line of issued.jsonl that tells of it.

        role, name: whom the signer takes the request to come from. The key and the names of the machine are the
        request's; whatever else it asks for is left out. Raises ConfigurationError for a request that says otherwise.
        """
        try:
            request = x509.load_pem_x509_csr(request_pem)
            key, sound = request.public_key(), request.is_signature_valid
        except ValueError:
            raise ConfigurationError("this is no certificate request; make one with: secure certs request") from None
        names = alternative_names(request)
        asked = role_of(request.subject, names)
        if not sound or asked is None or not isinstance(key, ec.EllipticCurvePublicKey):
            raise ConfigurationError("the request is not as secure certs request makes it; have it made again")
        own, hosts = name_of(asked, names), hosts_of(asked, names)
        if (asked, own) != (role, name):
            raise ConfigurationError(
                f"the request is of {_whom(asked, own)}, and you sign for {_whom(role, name)}; ask who sent it, "
                "and say --role and --name as it is to be"
            )
        check_name(role, own)
        check_hosts(role, hosts)
        certificate = role_certificate(role, key, general_names(role, own, hosts), self.certificate, self._key, days)
        ends = f"{certificate.not_valid_after_utc:%Y-%m-%d}"
        line = Issued(f"{certificate.serial_number:x}", role, own, tuple(hosts), ends)
        with (self.folder / ISSUED).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(line)) + "\n")
        return pem(certificate), line

    def revoke(self, serial: int) -> Path:
        """Take a certificate back: the file with the new list, whose number is one higher.

        Raises ConfigurationError for a number that this authority has not signed, or has taken back already.
        """
        known = {int(one.serial, 16) for one in issued(self.folder)}
        if serial not in known:
            raise ConfigurationError(f"{serial:x} is no certificate of this authority; see secure certs show")
        taken = revoked(self.folder)
        if serial in taken:
            raise ConfigurationError(f"{serial:x} was taken back on {taken[serial]:%Y-%m-%d} already")
        now = datetime.datetime.now(datetime.UTC)
        before = _list(self.folder)
        number = 1 if before is None else list_number(before) + 1
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(now)
            .next_update(now + datetime.timedelta(days=_LIST_DAYS))
            .add_extension(x509.CRLNumber(number), critical=False)
        )
        for each, when in (taken | {serial: now}).items():
            entry = x509.RevokedCertificateBuilder().serial_number(each).revocation_date(when).build()
            builder = builder.add_revoked_certificate(entry)
        path = self.folder / REVOKED_LIST
        replace_file(path, builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return path


def issued(folder: Path) -> list[Issued]:
    """What the authority in a folder has signed, oldest first."""
    path = folder / ISSUED
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [Issued(**(row | {"hosts": tuple(row["hosts"])})) for row in map(json.loads, lines)]


def revoked(folder: Path) -> dict[int, datetime.datetime]:
    """Serial numbers that the authority in a folder has taken back, and when."""
    known = _list(folder)
    return {} if known is None else {entry.serial_number: entry.revocation_date_utc for entry in known}


def _list(folder: Path) -> x509.CertificateRevocationList | None:
    path = folder / REVOKED_LIST
    return x509.load_pem_x509_crl(path.read_bytes()) if path.exists() else None


def _whom(role: str, name: str | None) -> str:
    return role if name is None else f"{role} {name!r}"
