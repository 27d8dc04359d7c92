"""Receipts as files: who answered with what, signed by every role, for whoever has the authority's certificate."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from secure.json_files import read_json
from secure.parties.client.receipt import Opening, SessionReceipt, SignedStatement
from secure.parties.transport.certificates.trust import read_trust, trust_of
from secure.parties.transport.signing import fingerprint
from secure.protocols.core.errors import ConfigurationError, InputError, ReceiptRefused

SCHEMA = 1


@dataclass(frozen=True)
class Receipt:
    """The receipt of one call: one session's, or several's where the call was split into batches.

    Every role signs, with the key of its certificate: the session's id, the client's name, the digests of manifest and
    policy, the request (its shapes), protocol and security, its software version, the rounds and bytes that it counted,
    and salted digests of what the client sent to it and got from it. That says who answered with what. It does not say
    that the answer is right, nor that a role computed by the protocol.
    """

    sessions: tuple[SessionReceipt, ...]

    def verify(self, authority: Path | str) -> None:
        """Check everything offline against `authority.crt` of one authority for all roles, or a host's folder of
        certificates, which says whom it trusts for which.

        Raises ReceiptRefused, which names the session, the role and the field, and ConfigurationError for a certificate
        that cannot be read.
        """
        path = Path(authority)
        try:
            alone = None if path.is_dir() else path.read_bytes()
        except OSError as error:
            raise ConfigurationError(f"{authority}: cannot be read: {error.strerror}") from None
        if not self.sessions:
            raise ReceiptRefused("the receipt is of no session")
        trust = read_trust(path) if alone is None else trust_of(alone)
        for number, session in enumerate(self.sessions, 1):
            try:
                session.check(trust)
            except ReceiptRefused as error:
                raise ReceiptRefused(f"session {number} of {len(self.sessions)}: {error}") from None

    def save(self, path: Path | str, *, answer: bool = False) -> None:
        """Write the receipt as JSON.

        answer: along with what the parties answered, so that whoever has the file has the answer, and sees that it is
        the one they signed. Without it nobody learns input or answer from the file.

        Raises InputError for answers that were too long to be kept, and ConfigurationError where it cannot be written.
        """
        if answer and not all(session.answers for session in self.sessions):
            raise InputError("the answer is not here: it was too long to be kept, or came without it from a file")
        shown = self if answer else self.without_answers()
        try:
            Path(path).write_text(json.dumps(shown.document(), indent=1), encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"{path}: cannot be written: {error.strerror}") from None

    def without_answers(self) -> Receipt:
        """The receipt, from which nobody learns what was answered."""
        return Receipt(tuple(replace(session, answers={}) for session in self.sessions))

    def document(self) -> dict[str, Any]:
        """What a file of it has, as JSON's types, with the answers that are here."""
        return {"schema": SCHEMA, "sessions": [_to_json(session) for session in self.sessions]}

    @classmethod
    def load(cls, path: Path | str) -> Receipt:
        """A receipt from its file, not verified. Raises ConfigurationError and ReceiptRefused."""
        value = read_json(path, ReceiptRefused, "is no receipt")
        try:
            if value["schema"] != SCHEMA:
                raise ReceiptRefused(f"{path}: has schema {value['schema']!r}, this version reads {SCHEMA}")
            return cls(tuple(_from_json(session) for session in value["sessions"]))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ReceiptRefused(f"{path}: is no receipt: {type(error).__name__} at {error}") from None

    @classmethod
    def total(cls, receipts: Iterable[Receipt | None]) -> Receipt | None:
        """All sessions together; None where one of them has no receipt."""
        found = list(receipts)
        some = [receipt for receipt in found if receipt is not None]
        return cls(tuple(session for each in some for session in each.sessions)) if len(some) == len(found) else None

    def describe(self) -> str:
        """What it says, in lines; of a receipt that was verified."""
        lines = []
        for session in self.sessions:
            any_of = next(iter(session.signed.values())).statement
            lines += [
                f"session {any_of['session']} for client {any_of['client']!r}",
                f"  model {any_of['model_digest']}",
                f"  protocol {any_of['protocol']}, security {any_of['security']}, request {any_of['request']}",
            ]
            for role, signed in session.signed.items():
                said, cost = signed.statement, signed.statement["cost"]
                lines.append(
                    f"  {role}, version {said['version']}, at {said['signed_at']}: {cost['rounds']} rounds, "
                    f"{cost['online_bytes']} bytes online, {cost['dealer_bytes']} dealt; certificate "
                    f"{fingerprint(signed.certificate)}"
                )
            if session.answers:
                lines.append("  the answer is shown, and is the one that was signed")
        return "\n".join(lines)


def _to_json(session: SessionReceipt) -> dict[str, Any]:
    return {
        role: {
            "statement": dict(signed.statement),
            "signature": _text(signed.signature),
            "certificate": signed.certificate.decode(),
            **(_shown(session.answers[role]) if role in session.answers else {}),
        }
        for role, signed in session.signed.items()
    }


def _shown(opening: Opening) -> dict[str, Any]:
    return {"answer": {"salt": _text(opening.salt), "messages": [_text(message) for message in opening.messages]}}


def _from_json(value: dict[str, Any]) -> SessionReceipt:
    signed = {
        role: SignedStatement(dict(each["statement"]), _bytes(each["signature"]), each["certificate"].encode())
        for role, each in value.items()
    }
    answers = {
        role: Opening(_bytes(each["answer"]["salt"]), tuple(_bytes(text) for text in each["answer"]["messages"]))
        for role, each in value.items()
        if "answer" in each
    }
    return SessionReceipt(signed, answers)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
