"""What a role signs of a session: what it was asked for, with which model, for whom, and what it sent and received.

A statement is JSON in one form, `canonical`, of texts and whole numbers. It holds nothing that the client did not send
to the role or get from it. It does not say that the answer is right: a role cannot know that.
"""

from __future__ import annotations

import datetime
import json
from typing import Any

from secure.parties.session.handshake import KIND_NAMES, PROTOCOL_VERSION
from secure.parties.session.session import Session
from secure.parties.session.transcript import Transcript, new_salt
from secure.parties.transport.signing import Signer
from secure.parties.transport.wire_pb2 import Report, Signed
from secure.protocols.families import family
from secure.protocols.version import VERSION

SCHEMA = 1
TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
SHARED = (
    "schema",
    "kind",
    "session",
    "client",
    "protocol",
    "security",
    "wire_version",
    "model_digest",
    "policy_digest",
    "load_id",
    "request",
    "deal",
)
"""Fields in which all roles of a session agree. One server's statement has those that it knows."""


def signed(session: Session, report: Report, signer: Signer) -> Signed:
    """The statement of a session that is over, and its signature. report: what else the role tells the client."""
    rows = json.loads(report.rows_json)
    hello = session.hello
    fields = {
        "role": session.role,
        "kind": KIND_NAMES[hello.kind],
        "session": session.id,
        "client": session.identity.name,
        "protocol": hello.family,
        "security": family(hello.family).security,
        "wire_version": PROTOCOL_VERSION,
        "model_digest": hello.model_digest,
        "policy_digest": hello.policy_digest,
        "load_id": hello.load_id,
        "request": hello.request,
        "deal": hello.deal,
        "cost": {name: sum(row.get(name, 0) for row in rows) for name in ("rounds", "online_bytes", "dealer_bytes")},
        "bytes_sent": dict(report.bytes_sent),
        "bytes_received": dict(report.bytes_received),
    }
    return signed_fields(fields, session.transcript, signer)


def signed_fields(fields: dict[str, Any], transcript: Transcript, signer: Signer) -> Signed:
    """The statement of these fields, of the software, the time and what was sent and received, and its signature."""
    input_salt, answer_salt = new_salt(), new_salt()
    inputs, answers = transcript.digests(input_salt, answer_salt)
    common = {
        "schema": SCHEMA,
        "version": VERSION,
        "signed_at": datetime.datetime.now(datetime.UTC).strftime(TIME_FORMAT),
        "input_digest": inputs,
        "answer_digest": answers,
    }
    statement = canonical({**fields, **common})
    signature, certificate = signer.sign(statement)
    return Signed(
        statement=statement,
        signature=signature,
        certificate=certificate,
        input_salt=input_salt,
        answer_salt=answer_salt,
    )


def canonical(statement: dict[str, Any]) -> bytes:
    """The one text of a statement: keys sorted, no spaces, ASCII."""
    return json.dumps(statement, sort_keys=True, separators=(",", ":")).encode()
