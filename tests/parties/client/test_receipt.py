"""Receipts: what three servers in this process sign, and every way in which a receipt does not hold."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from secure.parties.client.client import Client
from secure.parties.client.receipt import Opening, SessionReceipt, SignedStatement
from secure.parties.client.signatures import Witness, asked_of
from secure.parties.session.statement import canonical
from secure.parties.session.transcript import Transcript
from secure.parties.transport.certificates.own import LiveCertificates
from secure.parties.transport.certificates.trust import read_trust, trust_of
from secure.parties.transport.signing import Signer, check_signed
from secure.parties.transport.wire_pb2 import Hello, Kind, Signed
from secure.protocols.core.errors import ConfigurationError, ReceiptRefused
from tests.parties.fakes import FakeManifest, FakeRequest

ROLES = ("p0", "p1", "dealer")
AGREED = {
    "schema": 1,
    "kind": "predict",
    "session": "ab" * 16,
    "client": "client",
    "protocol": "beaver",
    "security": "semi-honest",
    "wire_version": 5,
    "model_digest": "11",
    "policy_digest": "22",
    "load_id": "cd" * 16,
    "request": "{}",
    "deal": "",
}
INPUTS, ANSWERS = (b"in 0", b"in 1"), (b"out 0", b"out 1")
HELLO = Hello(
    session="ab" * 16,
    kind=Kind.KIND_PREDICT,
    family="beaver",
    model_digest="11",
    policy_digest="22",
    load_id="cd" * 16,
    request="{}",
)


def statement(role: str, **changes: Any) -> dict[str, Any]:
    """What `role` signs of a session with one step."""
    transcript, index = Transcript(), ROLES.index(role)
    if role != "dealer":
        transcript.came_in(INPUTS[index])
        transcript.went_out(ANSWERS[index])
    inputs, answers = transcript.digests(b"salt of inputs", b"salt of answers")
    traffic = {"bytes_sent": {"p0": 9, "p1": 9}, "bytes_received": {"p0": 9, "p1": 9}}
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    own = {"role": role, "signed_at": now, "input_digest": inputs, "answer_digest": answers, **traffic}
    return {**AGREED, **own, **changes}


def signed(certificates: Path, role: str, signer: str | None = None, **changes: Any) -> SignedStatement:
    said = statement(role, **changes)
    by = Signer(LiveCertificates(certificates, signer or role))
    return SignedStatement(said, *by.sign(canonical(said)))


def receipt(certificates: Path, **changes: SignedStatement) -> SessionReceipt:
    return SessionReceipt({**{role: signed(certificates, role) for role in ROLES}, **changes})


def test_every_session_has_a_receipt_that_all_roles_signed(
    client: Client, manifest: FakeManifest, certificates: Path
) -> None:
    with client.converse(manifest.digest, manifest.policy.digest(), FakeRequest(steps=2), 2) as conversation:
        conversation.step((b"ab", b"cd"))
        conversation.step((b"ef", b"gh"))
    found = conversation.costs.receipt
    assert found is not None and set(found.signed) == set(ROLES)
    authority = read_trust(certificates)
    found.check(authority)
    assert found.shared("model_digest") == manifest.digest and found.shared("security") == "semi-honest"
    assert found.answers["p1"].messages == (b"dc", b"hg"), "what p1 answered, step by step"
    other = replace(found, answers={**found.answers, "p1": replace(found.answers["p1"], messages=(b"dc", b"hh"))})
    with pytest.raises(ReceiptRefused, match="p1: the answer shown is not the one whose digest it signed"):
        other.check(authority)
    salted = Opening(b"", found.answers["p0"].messages).digest
    assert salted != found.signed["p0"].statement["answer_digest"], "nobody finds an answer by trying without the salt"


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (
            lambda c: receipt(c, p1=replace(signed(c, "p1"), statement=statement("p1", model_digest="33"))),
            "p1: the sig",
        ),
        (lambda c: receipt(c, p1=signed(c, "p1", model_digest="33")), "model_digest differs: p0 signed '11', p1 '33'"),
        (lambda c: receipt(c, p1=signed(c, "p1", request="[]")), "request differs"),
        (lambda c: receipt(c, p1=signed(c, "p1", signer="p0")), "p1: its certificate is made out to p0"),
        (lambda c: receipt(c, p1=signed(c, "p0")), "p1: its statement is of another schema, or another role's"),
        (lambda c: receipt(c, p1=signed(c, "p1", signed_at="2001-01-01T00:00:00Z")), "p1: signed_at is 2001-01-01"),
        (lambda c: receipt(c, p1=signed(c, "p1", signed_at="noon")), "signed_at is no time"),
        (lambda c: receipt(c, p1=signed(c, "p1", bytes_received={"p0": 8})), "bytes_sent: p0 signed 9 to p1, which"),
        (lambda c: receipt(c, p2=signed(c, "p0")), "p2 signed, which had no part"),
        (lambda c: SessionReceipt({r: signed(c, r) for r in ("p0", "dealer")}), "p1 is missing: the protocol 'beaver'"),
        (lambda c: SessionReceipt({r: signed(c, r) for r in ("p0", "p1")}), "dealer is missing"),
        (lambda c: SessionReceipt({r: signed(c, r, security="malicious") for r in ROLES}), "security: the protocol"),
        (lambda c: SessionReceipt({r: signed(c, r, protocol="none") for r in ROLES}), "protocol: the receipt names"),
        (lambda c: SessionReceipt({}), "nobody signed"),
    ],
)
def test_what_does_not_hold_is_refused_with_its_role_and_field(
    broken: Callable[[Path], SessionReceipt], words: str, certificates: Path
) -> None:
    receipt(certificates).check(read_trust(certificates))
    with pytest.raises(ReceiptRefused) as caught:
        broken(certificates).check(read_trust(certificates))
    assert words in str(caught.value)


def test_a_changed_field_is_named_where_the_others_tell_it(certificates: Path) -> None:
    forged = replace(signed(certificates, "p1"), statement=statement("p1", model_digest="33"))
    with pytest.raises(ReceiptRefused, match=r"p1: the signature is not of this .*differs from the others in model_d"):
        receipt(certificates, p1=forged).check(read_trust(certificates))


def test_a_deal_from_stock_needs_no_dealer(certificates: Path) -> None:
    stocked = {role: signed(certificates, role, deal="ee" * 16) for role in ("p0", "p1")}
    SessionReceipt(stocked).check(read_trust(certificates))
    with pytest.raises(ReceiptRefused, match="dealer signed, which had no part in the session"):
        SessionReceipt({**stocked, "dealer": signed(certificates, "dealer")}).check(read_trust(certificates))


def test_another_authority_is_refused(certificates: Path, other_certificates: Path) -> None:
    with pytest.raises(ReceiptRefused, match="p0: its certificate was not issued by this authority"):
        receipt(certificates).check(read_trust(other_certificates))
    with pytest.raises(ConfigurationError, match="authority's certificate is no certificate"):
        receipt(certificates).check(trust_of(b"no certificate"))


def test_a_signature_of_something_else_is_none(certificates: Path) -> None:
    """Without the context in front, as a signature made for another purpose would be."""
    by, said = Signer(LiveCertificates(certificates, "p0")), canonical(statement("p0"))
    now, authority = datetime.datetime.now(datetime.UTC), read_trust(certificates)
    check_signed("p0", said, *by.sign(said), authority, now)
    with pytest.raises(ReceiptRefused, match="the signature is not of this statement"):
        check_signed("p0", said, *by.sign(said + b" "), authority, now)


@pytest.mark.parametrize(
    ("changes", "hello", "words"),
    [
        ({}, {}, None),
        ({"input_digest": "00"}, {}, "p1 signed other messages than this client sent to it and got from it"),
        ({"answer_digest": "00"}, {}, "p1 signed other messages"),
        ({}, {"session": "ef" * 16}, f"session: the roles signed '{'ab' * 16}', this client asked for"),
        ({}, {"request": "[]"}, "request: the roles signed"),
        ({}, {"model_digest": "33"}, "model_digest: the roles signed"),
        (None, {}, "p1 signed nothing; it runs another version"),
    ],
)
def test_a_client_takes_what_it_saw_and_nothing_else(
    changes: dict[str, Any] | None, hello: dict[str, str], words: str | None, certificates: Path
) -> None:
    witness = Witness(("p0", "p1"))
    witness.step(INPUTS, ANSWERS)
    reports = {}
    for role in ROLES:
        said = signed(certificates, role, **((changes or {}) if role == "p1" else {}))
        report = Signed(
            statement=canonical(dict(said.statement)),
            signature=said.signature,
            certificate=said.certificate,
            input_salt=b"salt of inputs",
            answer_salt=b"salt of answers",
        )
        reports[role] = Signed() if changes is None and role == "p1" else report
    asked = Hello()
    asked.CopyFrom(HELLO)
    asked.MergeFrom(Hello(**hello))
    if words is None:
        assert witness.receipt(asked_of(asked), reports, read_trust(certificates)).answers["p0"].messages == (
            ANSWERS[0],
        )
        return
    with pytest.raises(ReceiptRefused, match=words):
        witness.receipt(asked_of(asked), reports, read_trust(certificates))
