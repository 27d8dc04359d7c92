"""What a certificate says of its owner: a role, a client's or owner's own name, and names of its machine."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from cryptography import x509
from cryptography.x509.oid import NameOID

from secure.parties.config import ALL_PARTIES, CALLERS
from secure.protocols.core.errors import ConfigurationError

ROLE_URI = "urn:secure-inference:role:"
SERVER = "server"
"""The role of a machine that serves an encrypted checkpoint."""
EVERY_ROLE = (*ALL_PARTIES, *CALLERS, SERVER)
"""Whoever can have a certificate."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


def caller_uri(role: str) -> str:
    """What stands before the own name of a client, or of an owner, in its URI."""
    return f"urn:secure-inference:{role}:"


def general_names(role: str, name: str | None = None, hosts: Sequence[str] = ()) -> list[x509.GeneralName]:
    """The alternative names of a role's certificate. `name` is a caller's own."""
    own = [] if name is None else [x509.UniformResourceIdentifier(caller_uri(role) + name)]
    return [x509.DNSName(role), x509.UniformResourceIdentifier(ROLE_URI + role), *own, *map(_host, hosts)]


def check_name(role: str, name: str | None) -> None:
    """Raise ConfigurationError for a name that cannot stand in a certificate, or in one of that role."""
    if name is None:
        return
    if role not in CALLERS:
        raise ConfigurationError(f"{role} is one party and has no other name; leave out {name!r}")
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"a {role} cannot be called {name!r}; use up to 64 letters, digits, . _ @ and -")


def check_hosts(role: str, hosts: Sequence[str], roles: Sequence[str] = EVERY_ROLE) -> None:
    """Raise ConfigurationError for a role that is none of `roles`, and for a host that TLS would take for another."""
    if role not in roles:
        raise ConfigurationError(f"unknown role {role!r}; roles are {', '.join(roles)}")
    for host in hosts:
        # TLS compares names like this.
        other = host.rstrip(".").lower()
        if other in roles and other != role:
            raise ConfigurationError(
                f"{role}'s machine cannot be called {host!r}: {role}'s certificate would then pass for {other}'s; "
                "give another name, or an address"
            )


def role_of(subject: x509.Name, names: x509.SubjectAlternativeName) -> str | None:
    """The role that a certificate or a request names, in all three places; None where they differ."""
    common = [attribute.value for attribute in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    named = [uri.removeprefix(ROLE_URI) for uri in _uris(names) if uri.startswith(ROLE_URI)]
    if len(common) != 1 or named != common or named[0] not in EVERY_ROLE:
        return None
    return named[0] if named[0] in names.get_values_for_type(x509.DNSName) else None


def name_of(role: str, names: x509.SubjectAlternativeName) -> str | None:
    """A caller's own name; None where the certificate has none."""
    own = [uri.removeprefix(caller_uri(role)) for uri in _uris(names) if uri.startswith(caller_uri(role))]
    return own[0] if role in CALLERS and len(own) == 1 else None


def hosts_of(role: str, names: x509.SubjectAlternativeName) -> list[str]:
    """Names and addresses of the role's machine."""
    addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    return [host for host in names.get_values_for_type(x509.DNSName) if host != role] + addresses


def alternative_names(holder: x509.Certificate | x509.CertificateSigningRequest) -> x509.SubjectAlternativeName:
    """The alternative names; none where it has none."""
    try:
        return holder.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return x509.SubjectAlternativeName([])


def _uris(names: x509.SubjectAlternativeName) -> list[str]:
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
