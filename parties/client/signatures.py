"""What a client notes of a session while it runs, and how it takes the roles' signed statements at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from secure.models.contract.json_text import read_json
from secure.parties.client.receipt import MOST_KEPT_BYTES, Opening, SessionReceipt, SignedStatement
from secure.parties.session.handshake import KIND_NAMES
from secure.parties.session.transcript import Transcript
from secure.parties.transport.certificates.trust import Trust
from secure.parties.transport.wire_pb2 import Hello, Signed
from secure.protocols.core.errors import ReceiptRefused


class Witness:
    """The client's own record of what it sent to each computing party and got from it."""

    def __init__(self, computing: Sequence[str]) -> None:
        self._transcripts = {role: Transcript() for role in computing}
        self._answers: dict[str, list[bytes]] = {role: [] for role in computing}
        self._kept_bytes = 0

    def step(self, inputs: Sequence[bytes], answers: Sequence[bytes]) -> None:
        """One step: a message to each computing party, and one from each, in their order."""
        for role, sent, received in zip(self._transcripts, inputs, answers, strict=True):
            self.sent(role, sent)
            self.got(role, received)

    def sent(self, role: str, message: bytes) -> None:
        """The next message to a computing party."""
        self._transcripts[role].came_in(message)

    def got(self, role: str, message: bytes) -> None:
        """The next message from a computing party."""
        self._transcripts[role].went_out(message)
        self._kept_bytes += len(message)
        if self._kept_bytes > MOST_KEPT_BYTES:
            self._answers = {}
        if self._answers:
            self._answers[role].append(message)

    def receipt(self, asked: Mapping[str, Any], said: Mapping[str, Signed], trust: Trust) -> SessionReceipt:
        """The session's receipt.

        asked: the fields that this client knows, as for parties `asked_of` gives them. said: what each role signed.

        Raises ReceiptRefused where a role did not sign what this client saw.
        """
        signed = {role: _signed(role, each) for role, each in said.items()}
        answers = {role: Opening(said[role].answer_salt, tuple(messages)) for role, messages in self._answers.items()}
        receipt = SessionReceipt(signed)
        receipt.check(trust)
        for name, ours in asked.items():
            theirs = next(iter(signed.values())).statement.get(name)
            if theirs != ours:
                raise ReceiptRefused(f"{name}: the roles signed {theirs!r}, this client asked for {ours!r}")
        for role, transcript in self._transcripts.items():
            statement = signed[role].statement
            due = transcript.digests(said[role].input_salt, said[role].answer_salt)
            if (statement.get("input_digest"), statement.get("answer_digest")) != due:
                raise ReceiptRefused(f"{role} signed other messages than this client sent to it and got from it")
        return replace(receipt, answers=answers)


def asked_of(hello: Hello) -> dict[str, Any]:
    """What the client of a session with parties knows of it, by the names of a statement's fields."""
    return {
        "kind": KIND_NAMES[hello.kind],
        "session": hello.session,
        "protocol": hello.family,
        "model_digest": hello.model_digest,
        "policy_digest": hello.policy_digest,
        "load_id": hello.load_id,
        "request": hello.request,
    }


def _signed(role: str, said: Signed) -> SignedStatement:
    try:
        statement: Any = read_json(said.statement)
    except ValueError:
        statement = None
    if not isinstance(statement, dict):
        raise ReceiptRefused(f"{role} signed nothing; it runs another version")
    return SignedStatement(statement, said.signature, said.certificate)
