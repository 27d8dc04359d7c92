"""Why a connection over TLS does not come about, in words for users: from what TLS says, or by trying."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

from secure.parties.config import split_address
from secure.parties.transport.certificates.trust import read_trust

_ANOTHER_PROGRAM = "no TLS: another program has this port"
_PHRASES = (
    ("expired", "one that has ended, or this clock is wrong"),
    ("not yet valid", "one that is not valid yet, or this clock is wrong"),
    ("hostname", "one made out to another role, which has this address"),
    ("verify failed", "one of another authority, made by another run of secure certs"),
    ("verify_failed", "one of another authority, made by another run of secure certs"),
    ("wrong_version_number", _ANOTHER_PROGRAM),
    ("wrong version number", _ANOTHER_PROGRAM),
)
"""What OpenSSL, BoringSSL and gRPC say, in lower case, and what the other side then has. The first that fits counts."""
_REASONS = (
    ("refused", "connection refused"),
    ("dns resolution", "its name does not resolve"),
    ("name or service", "its name does not resolve"),
    ("domain name not found", "its name does not resolve"),
    ("no route", "no route to it"),
    ("network is unreachable", "no route to it"),
)
"""What gRPC says, in lower case, of a connection that did not come about."""


def reason_in_words(detail: str) -> str:
    """Why nobody answers. detail: gRPC's text, which is not repeated."""
    lowered = detail.lower()
    return next((words for phrase, words in _REASONS if phrase in lowered), "no answer")


def in_words(detail: str) -> str:
    """What the other side has in place of the due certificate. detail: a TLS library's text, which is not repeated."""
    lowered = detail.lower()
    return next((words for phrase, words in _PHRASES if phrase in lowered), "something that is no TLS of ours")


def why_not(tls_dir: Path, caller: str, peer: str, address: str, seconds: float) -> str | None:
    """Why `caller` cannot talk to `peer`, with the remedy; None where both accept each other's certificate.

    seconds: for each step. The caller's certificate must have been checked (`check_certificates`).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=read_trust(tls_dir).roots([peer]).decode())
    context.load_cert_chain(tls_dir / f"{caller}.crt", tls_dir / f"{caller}.key")
    context.set_alpn_protocols(["h2"])
    host, port = split_address(address)
    try:
        connection = socket.create_connection((host, port), timeout=seconds)
    except socket.gaierror:
        return f"the name {host!r} does not resolve on this host; correct address, or ask who runs the name service"
    except OSError as error:
        reason = "no answer" if isinstance(error, TimeoutError) else error.strerror or type(error).__name__
        return f"not reachable: {reason}; start it there with: secure party {peer}, and let its port through firewalls"
    with connection:
        try:
            talk = context.wrap_socket(connection, server_hostname=peer)
        except ssl.SSLCertVerificationError as error:
            return (
                f"its certificate is {in_words(str(error))}; give all hosts the certificates of one run of secure certs"
            )
        except OSError:
            return (
                "its port is in use, but not by a party: another program has it; stop that, or give the party another "
                "port in parties.toml on every host"
            )
        with talk:
            try:
                # Only here a server says what it thinks of our certificate. One that takes it begins to speak HTTP/2.
                taken = talk.recv(1) != b""
            except OSError:
                taken = False
    if taken:
        return None
    return (
        f"it refuses {caller}'s certificate, which is of another run of secure certs than its own; give all hosts the "
        "certificates of one run"
    )
