"""Receipts of an encrypted checkpoint's server: what it signs of a call, and what its client does not take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from secure.parties.client.receipt import SessionReceipt
from secure.parties.encrypted import receipts
from secure.parties.encrypted.client import GenerationClient
from secure.parties.encrypted.engine import EncoderInputs
from secure.parties.encrypted.generation_pb2 import EncodeRequest, GenerateRequest, Row, Tokens, Values
from secure.parties.encrypted.receipts import ServedCall, manifest_digest, request_text
from secure.parties.encrypted.tokens import SamplingParameters
from secure.parties.encrypted.values import from_values
from secure.parties.transport.certificates.trust import read_trust
from secure.parties.transport.signing import Signer
from secure.protocols.core.errors import InputError, ReceiptRefused
from secure.protocols.version import VERSION
from tests.secure.ee.fakes import KEY_CHECK, FakeEngine
from tests.secure.ee.serving import Start

Connect = Callable[..., GenerationClient]
INPUTS = EncoderInputs([[3, 4], [5]])


def test_the_server_signs_every_call(start: Start, connect: Connect, engine: FakeEngine, certificates: Path) -> None:
    taken: list[SessionReceipt] = []
    client = connect(start(engine), KEY_CHECK, take_receipt=taken.append)
    embedded, classes = client.embed(INPUTS), client.classify(INPUTS)
    tokens = [
        token
        for at_once in (True, False)
        for piece in client.generate([7], SamplingParameters(3), at_once=at_once)
        for token in piece.ids
    ]
    assert embedded.tolist() == classes.tolist() == [[7.0], [5.0]] and tokens == [8, 9, 10] * 2
    assert [receipt.shared("kind") for receipt in taken] == ["embed", "classify", "generate", "generate"]
    assert [receipt.shared("request") for receipt in taken] == [
        "2 rows, 3 tokens, pooling mean",
        "2 rows, 3 tokens",
        "1 tokens, 3 new at most",
        "1 tokens, 3 new at most",
    ]
    assert len({receipt.shared("session") for receipt in taken}) == 4
    for receipt in taken:
        receipt.check(read_trust(certificates))
        assert set(receipt.signed) == {"server"} and receipt.shared("protocol") == "equivariant"
        assert receipt.shared("model_digest") == manifest_digest(engine.served.manifest)
        said = receipt.signed["server"].statement
        assert said["version"] == VERSION and said["client"] == "client"
        assert said["cost"]["online_bytes"] == said["bytes_sent"]["client"] + said["bytes_received"]["client"] > 0
    (answer,) = taken[1].answers["server"].messages
    assert from_values(Values.FromString(answer)).tolist() == classes.tolist()
    streamed = [Tokens.FromString(message) for message in taken[3].answers["server"].messages]
    assert [token for message in streamed for token in message.ids] == tokens[3:] and streamed[-1].finish == "length"


def test_a_sequence_of_split_mode_has_one_receipt(
    start: Start, connect: Connect, engine: FakeEngine, certificates: Path
) -> None:
    taken: list[SessionReceipt] = []
    client = connect(start(engine), KEY_CHECK, take_receipt=taken.append)
    with client.sequence() as sequence:
        hidden = [sequence.extend(torch.ones(count, 4)) for count in (2, 1)]
    (receipt,) = taken
    receipt.check(read_trust(certificates))
    said = receipt.signed["server"].statement
    assert (said["kind"], said["request"], said["cost"]["rounds"]) == ("continue", "3 positions", 2)
    answers = receipt.answers["server"].messages
    assert [from_values(Values.FromString(each)).tolist() for each in answers] == [each.tolist() for each in hidden]
    with client.sequence():
        pass
    with pytest.raises(InputError, match=r"must be \[positions, 4\]"), client.sequence() as sequence:
        sequence.extend(torch.ones(2, 5))
    assert len(taken) == 1, "what was never asked, or ended with an error, has none"


def test_nothing_is_signed_for_who_wants_no_receipt(
    start: Start, connect: Connect, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed: list[bytes] = []
    sign = Signer.sign
    monkeypatch.setattr(Signer, "sign", lambda self, said: signed.append(said) or sign(self, said))
    port = start(engine)
    connect(port, KEY_CHECK).classify(INPUTS)
    list(connect(port, KEY_CHECK).generate([7], SamplingParameters(3)))
    assert signed == []
    connect(port, KEY_CHECK, take_receipt=lambda _: None).classify(INPUTS)
    assert len(signed) == 1


def test_an_answer_that_is_not_read_to_its_end_has_no_receipt(
    start: Start, connect: Connect, engine: FakeEngine
) -> None:
    taken: list[SessionReceipt] = []
    stream = connect(start(engine), KEY_CHECK, take_receipt=taken.append).generate([7], SamplingParameters(1000))
    assert next(stream).ids == [8]
    stream.close()
    assert engine.ended.wait(10) and list(stream) == [] and taken == []


def _signs_nothing(self: ServedCall, *_: Any) -> None:
    """An older server."""


def _of_another_answer(sign: Callable[..., Any]) -> Callable[..., Any]:
    def signs(self: ServedCall, *given: Any) -> Any:
        self._transcript.went_out(b"what it never sent")
        return sign(self, *given)

    return signs


def _of_another_model(sign: Callable[..., Any]) -> Callable[..., Any]:
    def signs(self: ServedCall, *given: Any) -> Any:
        self._manifest = "another"
        return sign(self, *given)

    return signs


def _of_another_session(sign: Callable[..., Any]) -> Callable[..., Any]:
    def signs(self: ServedCall, *given: Any) -> Any:
        self._session = "ab" * 16
        return sign(self, *given)

    return signs


def _of_a_smaller_request(sign: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, _, signer: sign(self, "0 rows, 0 tokens", signer)


def _of_fewer_bytes(sign: Callable[..., Any]) -> Callable[..., Any]:
    def signs(self: ServedCall, *given: Any) -> Any:
        self._sent -= 1
        return sign(self, *given)

    return signs


@pytest.mark.parametrize(
    ("signs", "words"),
    [
        (lambda _: _signs_nothing, "server signed nothing; it runs another version"),
        (_of_another_answer, "server signed other messages than this client sent to it and got from it"),
        (_of_another_model, "model_digest: the roles signed"),
        (_of_another_session, "session: the roles signed"),
        (_of_a_smaller_request, "request: the roles signed"),
        (_of_fewer_bytes, "bytes_sent: the roles signed"),
    ],
    ids=["nothing", "answer", "model", "session", "request", "bytes"],
)
def test_a_client_takes_what_it_saw_and_nothing_else(
    signs: Callable[..., Any],
    words: str,
    start: Start,
    connect: Connect,
    engine: FakeEngine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(receipts.ServedCall, "sign", signs(ServedCall.sign))
    taken: list[SessionReceipt] = []
    client = connect(start(engine), KEY_CHECK, take_receipt=taken.append)
    with pytest.raises(ReceiptRefused, match=words):
        client.classify(INPUTS)
    stream = client.generate([7], SamplingParameters(2), at_once=True)
    with pytest.raises(ReceiptRefused, match=words):
        list(stream)
    with pytest.raises(ReceiptRefused, match=words), client.sequence() as sequence:
        sequence.extend(torch.ones(2, 4))
    assert taken == []


def test_a_request_is_told_by_its_counts() -> None:
    assert request_text(GenerateRequest(ids=[1, 2], max_new_tokens=9)) == "2 tokens, 9 new at most"
    assert request_text(EncodeRequest(rows=[Row(ids=[1, 2]), Row(ids=[3])], pooling="last")) == (
        "2 rows, 3 tokens, pooling last"
    )
    assert request_text(EncodeRequest(pixels=Values(shape=[5, 3, 8, 8]))) == "5 images"
