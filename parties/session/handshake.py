"""What two roles must agree on before a session computes anything, and who may open which stream."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

from secure.parties.transport.wire_pb2 import Hello, Kind
from secure.protocols.core.errors import HandshakeError, ProtocolError
from secure.protocols.core.family import Family
from secure.protocols.core.profile import AUTO, PROFILES

PROTOCOL_VERSION = 9
SESSION_BYTES = 16

CALLERS = {
    "Run": ("client", "owner"),
    "Queue": ("client", "owner"),
    "Abandon": ("client", "owner"),
    "Deal": ("dealer",),
    "Digests": ("dealer2",),
    "Stock": ("dealer",),
    "Make": ("p0",),
    "Reconcile": ("p0",),
    "Status": ("p0", "p1", "p2", "dealer", "dealer2", "owner"),
    "Probe": ("client", "owner", "p0", "p1", "p2", "dealer", "dealer2"),
}
"""Stream → roles that may open it. Exchange is for one computing party, the one before the party that is dialled."""

KIND_NAMES = {
    Kind.KIND_LOAD: "load",
    Kind.KIND_PREDICT: "predict",
    Kind.KIND_UNLOAD: "unload",
    Kind.KIND_DEAL: "deal",
    Kind.KIND_STOCK: "stock",
}
OPERATORS_KINDS = (Kind.KIND_DEAL, Kind.KIND_STOCK)
"""What a party does for whoever holds its own certificate, and for nobody else."""


def new_session_id() -> str:
    """A fresh session id, from the operating system's randomness."""
    return os.urandom(SESSION_BYTES).hex()


def callers(stream: str, role: str, family: Family) -> tuple[str, ...]:
    """Who may open that stream at `role`."""
    if stream == "Run":
        return (*CALLERS[stream], role)
    if stream != "Exchange":
        return CALLERS[stream]
    return (family.computing[family.computing.index(role) - 1],)


def met_on(role: str, family: Family) -> tuple[str, ...]:
    """Streams that peers open to `role` in a session. One of two parties is dialled by the other, and each of three."""
    computing, (first, *others) = family.computing, family.dealers or ("",)
    exchanges = role in computing and (len(computing) > 2 or role != computing[0])
    found = {"Exchange": exchanges, "Deal": bool(first) and role != first, "Digests": others and role in computing}
    return tuple(stream for stream, opened in found.items() if opened)


def check_caller(stream: str, claimed: str, certified: str, callers: Sequence[str], where: str) -> None:
    """Raise HandshakeError unless the caller's certificate has the role it claims, and that is one of `callers`."""
    if claimed != certified:
        raise HandshakeError("role (this side: the certificate's)", certified, claimed, where)
    if claimed not in callers:
        raise HandshakeError("role", f"{stream} is for {' or '.join(callers)}", claimed, where)


def check_kind(hello: Hello, served_by: str, where: str) -> None:
    """Raise HandshakeError when a model owner asks for more than to load and unload, or anybody but the party's own
    operator for what operators do.
    """
    if (hello.kind in OPERATORS_KINDS) != (hello.role == served_by):
        raise HandshakeError("role", f"deal and stock are for the operator of {served_by}", hello.role, where)
    if hello.role == "owner" and hello.kind == Kind.KIND_PREDICT:
        raise HandshakeError("role", "predict is for client", hello.role, where)


def check_version(theirs: Hello, where: str) -> None:
    """Raise HandshakeError when the other side speaks another version. Before anything else is read from its Hello."""
    if theirs.protocol_version != PROTOCOL_VERSION:
        raise HandshakeError("protocol version", str(PROTOCOL_VERSION), str(theirs.protocol_version), where)


def check_family(theirs: Hello, ours: str, where: str) -> None:
    """Raise HandshakeError when the other side computes by another protocol than this side's settings name."""
    if theirs.family != ours:
        raise HandshakeError("protocol", ours, theirs.family, where)


def check_profile(theirs: Hello, ours: str, where: str) -> None:
    """Raise HandshakeError when the other side asks for another network profile than this side's settings allow."""
    if theirs.profile not in (PROFILES if ours == AUTO else (ours,)):
        raise HandshakeError("network profile", ours, theirs.profile, where)


def check_session_id(session: str, where: str) -> None:
    """Raise ProtocolError when `session` is not 16 bytes in lower-case hex."""
    if len(session) != 2 * SESSION_BYTES or not set(session) <= set("0123456789abcdef"):
        raise ProtocolError(f"{where}: a session id must be {SESSION_BYTES} bytes in hex")


def compare(ours: Hello, theirs: Hello, where: str) -> None:
    """Raise HandshakeError that names the first field in which two views of one session differ."""
    check_version(theirs, where)
    for field, our_value, their_value in (
        ("protocol", ours.family, theirs.family),
        ("session id", ours.session, theirs.session),
        ("kind of session", KIND_NAMES.get(ours.kind, "?"), KIND_NAMES.get(theirs.kind, "?")),
        ("model digest", ours.model_digest, theirs.model_digest),
        ("policy digest", ours.policy_digest, theirs.policy_digest),
        ("load id", ours.load_id, theirs.load_id),
        ("network profile", ours.profile, theirs.profile),
        ("SHA-256 of the request", ours.request_digest, theirs.request_digest),
        ("source of correlations", _source(ours), _source(theirs)),
        ("deal", ours.deal, theirs.deal),
        ("who garbles", ours.garbler, theirs.garbler),
    ):
        if our_value != their_value:
            raise HandshakeError(field, our_value, their_value, where)


def as_role(hello: Hello, role: str) -> Hello:
    """The client's Hello as `role` states it to a peer: of the request its digest, and nothing for the client alone."""
    return Hello(
        protocol_version=PROTOCOL_VERSION,
        session=hello.session,
        role=role,
        kind=hello.kind,
        model_digest=hello.model_digest,
        policy_digest=hello.policy_digest,
        load_id=hello.load_id,
        family=hello.family,
        request_digest=digest_of_request(hello.request),
        from_stock=hello.from_stock,
        deal=hello.deal,
        profile=hello.profile,
    )


def digest_of_request(request_json: str) -> str:
    """SHA-256 of a request, as parties compare it."""
    return hashlib.sha256(request_json.encode()).hexdigest()


def _source(hello: Hello) -> str:
    return "stock" if hello.from_stock else "the dealer"
