"""The receipt of one session: what every role signed of it, and the check that it holds together.

A receipt says who answered with what. It does not say that the answer is right.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from secure.parties.session.statement import SCHEMA, SHARED, TIME_FORMAT, canonical
from secure.parties.session.transcript import Transcript
from secure.parties.transport.certificates.names import SERVER
from secure.parties.transport.certificates.trust import Trust
from secure.parties.transport.signing import check_signed
from secure.protocols.core.errors import ConfigurationError, ReceiptRefused
from secure.protocols.families import family

MOST_KEPT_BYTES = 16 << 20
"""A client keeps a session's answers for its receipt up to here. The scores of a long generation are far more."""


@dataclass(frozen=True)
class SignedStatement:
    """One role's statement, its signature and the certificate, PEM, whose key signed."""

    statement: Mapping[str, Any]
    signature: bytes
    certificate: bytes


@dataclass(frozen=True)
class Signers:
    """Who signs a session of one protocol. computing: those of all roles that answer the client."""

    protocol: str
    security: str
    roles: tuple[str, ...]
    computing: tuple[str, ...]


ENCRYPTED = Signers("equivariant", "semi-honest", (SERVER,), (SERVER,))
"""One server with an encrypted checkpoint. What is asked of it is that it computes what it was asked for, as of parties
without a witness: nothing else than its word says that it did."""


@dataclass(frozen=True)
class Opening:
    """What one party answered, and the salt of its digest: it shows this part of the answer to whoever gets it."""

    salt: bytes
    messages: tuple[bytes, ...]

    @property
    def digest(self) -> str:
        """What the party's statement has as `answer_digest`."""
        transcript = Transcript()
        for message in self.messages:
            transcript.went_out(message)
        return transcript.digests(b"", self.salt)[1]


@dataclass(frozen=True)
class SessionReceipt:
    """Role → what it signed. answers: of the computing parties, where the client kept them and wants them shown."""

    signed: Mapping[str, SignedStatement]
    answers: Mapping[str, Opening] = field(default_factory=dict)

    def shared(self, name: str) -> Any:
        """A field in which all roles agree, once `check` has found that they do."""
        return next(iter(self.signed.values())).statement[name]

    def check(self, trust: Trust) -> None:
        """Raise ReceiptRefused, which names role and field, unless every role of the protocol signed the same session.

        Offline: nobody is asked.
        """
        signers = self._signers()
        for role, signed in self.signed.items():
            statement = signed.statement
            if statement.get("schema") != SCHEMA or statement.get("role") != role:
                raise ReceiptRefused(f"{role}: its statement is of another schema, or another role's")
            try:
                check_signed(
                    role, canonical(dict(statement)), signed.signature, signed.certificate, trust, _when(signed)
                )
            except ReceiptRefused as error:
                raise ReceiptRefused(f"{error}{self._odd_fields(role)}") from None
        computing = list(signers.roles)
        for name in SHARED:
            for role in computing[1:]:
                ours, theirs = (self.signed[each].statement.get(name) for each in (computing[0], role))
                if ours != theirs:
                    raise ReceiptRefused(f"{name} differs: {computing[0]} signed {ours!r}, {role} {theirs!r}")
        if self.shared("security") != signers.security:
            raise ReceiptRefused(
                f"security: the protocol {signers.protocol!r} does not have {self.shared('security')!r}"
            )
        self._check_traffic(signers)
        for role, opening in self.answers.items():
            if role not in signers.computing or opening.digest != self.signed[role].statement["answer_digest"]:
                raise ReceiptRefused(f"{role}: the answer shown is not the one whose digest it signed")

    def _signers(self) -> Signers:
        """Who had a part in the session, all of whom signed."""
        if not self.signed:
            raise ReceiptRefused("nobody signed: the receipt is empty")
        try:
            signers = self._of_protocol(str(self.shared("protocol")))
        except (KeyError, ConfigurationError):
            raise ReceiptRefused("protocol: the receipt names none that is known, or says nothing of a deal") from None
        due = signers.roles
        for role in (*due, *self.signed):
            if role not in self.signed:
                raise ReceiptRefused(f"{role} is missing: the protocol {signers.protocol!r} has {', '.join(due)}")
            if role not in due:
                raise ReceiptRefused(f"{role} signed, which had no part in the session: that had {', '.join(due)}")
        return signers

    def _of_protocol(self, protocol: str) -> Signers:
        """The protocol's roles, without dealers where a deal came from stock. Raises KeyError without a deal.

        Where a protocol has no stock, all its roles are due, whatever the statements say of a deal.
        """
        if protocol == ENCRYPTED.protocol:
            return ENCRYPTED
        of_family = family(protocol)
        roles = of_family.computing if self.shared("deal") and of_family.stocks else of_family.roles
        return Signers(protocol, of_family.security, tuple(roles), tuple(of_family.computing))

    def _odd_fields(self, role: str) -> str:
        """Where the statement of `role` differs from all others, for an error about it."""
        others = [signed.statement for name, signed in self.signed.items() if name != role]
        mine = self.signed[role].statement
        odd = [name for name in SHARED if others and all(mine.get(name) != other.get(name) for other in others)]
        return f" (it differs from the others in {', '.join(odd)})" if odd else ""

    def _check_traffic(self, signers: Signers) -> None:
        """What one computing party says that it sent to another, that one received."""
        for sender in signers.computing:
            for receiver in set(signers.computing) - {sender}:
                sent = self.signed[sender].statement["bytes_sent"].get(receiver, 0)
                received = self.signed[receiver].statement["bytes_received"].get(sender, 0)
                if sent != received:
                    raise ReceiptRefused(
                        f"bytes_sent: {sender} signed {sent} to {receiver}, which signed {received} received"
                    )


def _when(signed: SignedStatement) -> datetime.datetime:
    try:
        when = datetime.datetime.strptime(signed.statement["signed_at"], TIME_FORMAT)
    except (KeyError, TypeError, ValueError):
        raise ReceiptRefused("signed_at is no time") from None
    return when.replace(tzinfo=datetime.UTC)
