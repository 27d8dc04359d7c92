"""What a client notes of a session while it runs, and how it takes the roles' signed statements at the end."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from secure.parties.client.receipt import MOST_KEPT_BYTES, Opening, SessionReceipt, SignedStatement
from secure.parties.session.handshake import KIND_NAMES
from secure.parties.session.transcript import Transcript
from secure.parties.transport.certificates.trust import Trust
from secure.parties.transport.wire_pb2 import Hello, Report
from secure.protocols.core.errors import ReceiptRefused


class Witness:
    """The client's own record of what it sent to each computing party and got from it."""

    def __init__(self, computing: Sequence[str]) -> None:
        self._transcripts = {role: Transcript() for role in computing}
        self._answers: dict[str, list[bytes]] = {role: [] for role in computing}
        self._kept_bytes = 0

    def step(self, inputs: Sequence[bytes], answers: Sequence[bytes]) -> None:
        """One step: a message to each computing party, and one from each, in their order."""
        self._kept_bytes += sum(len(answer) for answer in answers)
        if self._kept_bytes > MOST_KEPT_BYTES:
            self._answers = {}
        for (role, transcript), sent, received in zip(self._transcripts.items(), inputs, answers, strict=True):
            transcript.came_in(sent)
            transcript.went_out(received)
            if self._answers:
                self._answers[role].append(received)

    def receipt(self, hello: Hello, reports: Mapping[str, Report], trust: Trust) -> SessionReceipt:
        """The session's receipt. Raises ReceiptRefused where a role did not sign what this client saw."""
        signed = {role: _signed(role, report) for role, report in reports.items()}
        answers = {
            role: Opening(reports[role].signed.answer_salt, tuple(messages)) for role, messages in self._answers.items()
        }
        receipt = SessionReceipt(signed)
        receipt.check(trust)
        for name, ours in (
            ("kind", KIND_NAMES[hello.kind]),
            ("session", hello.session),
            ("protocol", hello.family),
            ("model_digest", hello.model_digest),
            ("policy_digest", hello.policy_digest),
            ("load_id", hello.load_id),
            ("request", hello.request),
        ):
            if receipt.shared(name) != ours:
                raise ReceiptRefused(
                    f"{name}: the roles signed {receipt.shared(name)!r}, this client asked for {ours!r}"
                )
        for role, transcript in self._transcripts.items():
            salts, statement = reports[role].signed, signed[role].statement
            due = transcript.digests(salts.input_salt, salts.answer_salt)
            if (statement["input_digest"], statement["answer_digest"]) != due:
                raise ReceiptRefused(f"{role} signed other messages than this client sent to it and got from it")
        return replace(receipt, answers=answers)


def _signed(role: str, report: Report) -> SignedStatement:
    try:
        statement: Any = json.loads(report.signed.statement)
    except ValueError:
        statement = None
    if not isinstance(statement, dict):
        raise ReceiptRefused(f"{role} signed nothing; it runs another version")
    return SignedStatement(statement, report.signed.signature, report.signed.certificate)
