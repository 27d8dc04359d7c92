"""A host's certificates and whom it trusts, in rows for a table."""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509

from secure.parties.transport.certificates.names import EVERY_ROLE, alternative_names, name_of
from secure.parties.transport.certificates.own import check_certificates
from secure.parties.transport.certificates.trust import fingerprint, read_trust, subject


def own_certificates(folder: Path) -> list[tuple[str, str, str, str, str, str, str]]:
    """Rows of role, own name, authority, serial, last day, days left, and what is wrong if any."""
    rows: list[tuple[str, str, str, str, str, str, str]] = []
    for role in EVERY_ROLE:
        path = folder / f"{role}.crt"
        if not path.is_file():
            if (folder / f"{role}.csr").is_file():
                rows.append((role, "", "", "", "", "", "waits for its certificate"))
            continue
        wrong = check_certificates(folder, (role,))
        state = wrong[0].removeprefix(f"{role}: ") if wrong else "ok"
        try:
            certificate = x509.load_pem_x509_certificate(path.read_bytes())
        except ValueError:
            rows.append((role, "", "", "", "", "", state))
            continue
        end = certificate.not_valid_after_utc
        left = (end - datetime.datetime.now(datetime.UTC)).days
        own = name_of(role, alternative_names(certificate)) or ""
        issuer = certificate.issuer.rfc4514_string().removeprefix("CN=")
        rows.append((role, own, issuer, f"{certificate.serial_number:x}", f"{end:%Y-%m-%d}", str(left), state))
    return rows


def trusted(folder: Path) -> list[tuple[str, str, str]]:
    """Rows of a role, the authorities that may vouch for it, and how many certificates they have taken back."""
    trust = read_trust(folder)
    return [
        (
            role,
            ", ".join(map(subject, some)),
            str(sum(len(trust.revoked.get(fingerprint(one), ())) for one in some)),
        )
        for role, some in trust.authorities.items()
        if some
    ]
