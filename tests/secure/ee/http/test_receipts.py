"""Receipts over HTTP: what an endpoint of ids signs, and what its client does not take."""

from __future__ import annotations

import contextvars
import dataclasses
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import httpx
import openai
import pytest

from secure.ee.http import signed_answers
from secure.ee.http.ids_server import ids_app
from secure.ee.http.proxy import proxy_app
from secure.ee.http.proxy_receipts import ProxyReceipts
from secure.ee.http.runner import HttpReceipts, HttpRunner
from secure.ee.http.serving import runner_at
from secure.ee.http.signed_answers import RECEIPT_EVENT, SIGNED, asked_for
from secure.http.callers import ASKED, Asked, Caller
from secure.http.kept_receipts import KEPT, KeptReceipts
from secure.parties.client.receipt import SessionReceipt
from secure.parties.encrypted.limits import Admission, GenerationLimits
from secure.parties.encrypted.receipts import SESSION, ServedCall, manifest_digest
from secure.parties.encrypted.tokens import SamplingParameters
from secure.parties.transport.certificates.own import LiveCertificates
from secure.parties.transport.certificates.trust import read_trust
from secure.parties.transport.signing import Signer
from secure.protocols.core.errors import ConfigurationError, ReceiptRefused
from secure.report.receipt import Receipt
from tests.secure.ee.fakes import FakeEngine
from tests.secure.ee.serving import Start
from tests.secure.ee.tiny import Tiny

Connect = Callable[..., HttpRunner]


@pytest.fixture
def watched(engine: FakeEngine, tiny: Tiny) -> FakeEngine:
    """An engine that counts, with the checkpoint of `tiny`."""
    manifest = (tiny.encrypted / "encryption.json").read_text()
    engine.served = dataclasses.replace(engine.served, key_check=tiny.key.check_value, manifest=manifest)
    return engine


@pytest.fixture
def port(watched: FakeEngine, certificates: Path, serve_http: Callable[..., int]) -> int:
    signer = Signer(LiveCertificates(certificates, "server"))
    return serve_http(ids_app(watched, Admission(watched.served, GenerationLimits()), signer=signer))


@pytest.fixture
def connect(tiny: Tiny, certificates: Path) -> Iterator[Connect]:
    def dial(port: int, taken: list[SessionReceipt]) -> HttpRunner:
        client = partial(httpx.Client, base_url=f"http://127.0.0.1:{port}", timeout=60)
        receipts = HttpReceipts(read_trust(certificates), taken.append)
        return HttpRunner(client, tiny.checkpoint, None, unchecked=False, receipts=receipts)

    return dial


@pytest.mark.parametrize("at_once", [True, False])
def test_every_answer_is_signed_and_verified_offline(
    port: int, connect: Connect, watched: FakeEngine, certificates: Path, tmp_path: Path, at_once: bool
) -> None:
    taken: list[SessionReceipt] = []
    pieces = connect(port, taken).generate([7], SamplingParameters(3, logprobs=1), at_once=at_once)
    assert [token for piece in pieces for token in piece.ids] == [8, 9, 10]
    receipt = Receipt(tuple(taken))
    said = receipt.sessions[0].signed["server"].statement
    assert (said["kind"], said["client"], said["request"]) == ("generate", "anybody", "1 tokens, 3 new at most")
    assert said["model_digest"] == manifest_digest(watched.served.manifest) and said["protocol"] == "equivariant"
    assert said["cost"]["online_bytes"] == said["bytes_sent"]["client"] + said["bytes_received"]["client"] > 0
    receipt.save(tmp_path / "receipt.json", answer=True)
    loaded = Receipt.load(tmp_path / "receipt.json")
    loaded.verify(certificates / "authority.crt")
    answers = [json.loads(message) for message in loaded.sessions[0].answers["server"].messages]
    assert [token for each in answers for token in each["choices"][0]["token_ids"]] == [8, 9, 10]


def test_a_caller_is_not_given_the_end_of_an_answer_before_its_receipt_was_checked(
    port: int, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign = ServedCall.sign
    monkeypatch.setattr(ServedCall, "sign", lambda self, request, signer: sign(self, "another request", signer))
    taken: list[SessionReceipt] = []
    found = []
    with pytest.raises(ReceiptRefused, match="request: the roles signed 'another request'"):
        for piece in connect(port, taken).generate([7], SamplingParameters(2)):
            found.append(piece)
    assert [piece.finish for piece in found] == [None] * 2 and taken == []


@pytest.mark.parametrize("at_once", [True, False])
def test_an_answer_that_is_changed_on_its_way_is_refused(
    port: int, connect: Connect, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    """What is between both, such as a proxy that ends TLS, can change an answer, and not what was signed."""
    went_out = ServedCall.went_out
    monkeypatch.setattr(ServedCall, "went_out", lambda self, data: went_out(self, data.replace(b"8", b"6", 1)))
    with pytest.raises(ReceiptRefused, match="server signed other messages than this client sent to it and got from"):
        list(connect(port, []).generate([7], SamplingParameters(2), at_once=at_once))


def test_an_endpoint_that_signs_nothing_is_refused_where_receipts_are_taken(
    watched: FakeEngine, serve_http: Callable[..., int], connect: Connect, tiny: Tiny, certificates: Path
) -> None:
    unsigned = serve_http(ids_app(watched, Admission(watched.served, GenerationLimits())))
    for at_once in (True, False):
        with pytest.raises(ReceiptRefused, match="server signed nothing; it runs another version"):
            list(connect(unsigned, []).generate([7], SamplingParameters(2), at_once=at_once))
    asked = len(watched.prompts)

    def plain(request: httpx.Request) -> httpx.Response:
        assert request.method == "GET", "no id leaves"
        return httpx.Response(200, json={"data": [{"id": "m", "max_model_len": 99}]})

    foreign = partial(httpx.Client, base_url="http://other", transport=httpx.MockTransport(plain))
    receipts = HttpReceipts(read_trust(certificates), [].append)
    runner = HttpRunner(foreign, tiny.checkpoint, None, unchecked=True, receipts=receipts)
    with pytest.raises(ReceiptRefused, match="no secure ee serve, and signs nothing"):
        runner.generate([7], SamplingParameters(2))
    assert len(watched.prompts) == asked


def test_other_programs_get_the_answers_that_they_got_before(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(stream: bool, **headers: str) -> httpx.Response:
        asked = {"model": "fake", "prompt": [5], "max_tokens": 2, "stream": stream}
        return httpx.post(f"http://127.0.0.1:{port}/v1/completions", json=asked, headers=headers)

    for session in ({}, {SESSION: "no id of a session"}):
        whole, stream = ask(False, **session), ask(True, **session)
        assert SIGNED not in whole.headers and RECEIPT_EVENT not in stream.text
        assert whole.json()["choices"][0]["token_ids"] == [6, 7] and stream.text.endswith("data: [DONE]\n\n")
    named = {SESSION: "ab" * 16}
    assert ask(False, **named).headers[SIGNED] and f"event: {RECEIPT_EVENT}\ndata: " in ask(True, **named).text
    wrong = httpx.post(f"http://127.0.0.1:{port}/v1/completions", json={"model": "none"}, headers=named)
    assert wrong.status_code == 404 and SIGNED not in wrong.headers

    def cannot(self: Signer, statement: bytes) -> tuple[bytes, bytes]:
        raise ConfigurationError("this key cannot sign")

    monkeypatch.setattr(Signer, "sign", cannot)
    assert ask(False, **named).status_code == 200 and SIGNED not in ask(False, **named).headers


@pytest.mark.parametrize("kind", ["grpc", "http"])
def test_programs_have_the_receipts_of_a_proxys_backend(
    kind: str,
    port: int,
    watched: FakeEngine,
    start: Start,
    serve_http: Callable[..., int],
    openai_client: Callable[..., openai.OpenAI],
    tiny: Tiny,
    certificates: Path,
    tmp_path: Path,
) -> None:
    receipts, limits = ProxyReceipts(), GenerationLimits()
    url = f"grpc://127.0.0.1:{start(watched, limits)}" if kind == "grpc" else f"http://127.0.0.1:{port}/v1"
    runner = runner_at(
        url,
        tiny.checkpoint,
        certificates=certificates,
        api_key=None,
        model=None,
        unchecked=False,
        take_receipt=receipts.take,
    )
    served = serve_http(proxy_app(tiny.checkpoint, runner, ["text"], receipts=receipts))
    client = openai_client(served).completions.with_raw_response
    whole = client.create(model="text", prompt=["the cat", "the mat"], max_tokens=3)
    stream = client.create(model="text", prompt="the cat", max_tokens=3, stream=True)
    assert list(stream.parse())
    assert (whole.headers["secure-sessions"], stream.headers["secure-sessions"]) == ("1, 2", "3")
    signed = set()
    for number in (1, 2, 3):
        told = httpx.get(f"http://127.0.0.1:{served}/v1/sessions/{number}/receipt", trust_env=False)
        (tmp_path / "receipt.json").write_bytes(told.content)
        receipt = Receipt.load(tmp_path / "receipt.json")
        receipt.verify(certificates / "authority.crt")
        signed.add(receipt.sessions[0].shared("session"))
    assert len(signed) == 3
    missing = httpx.get(f"http://127.0.0.1:{served}/v1/sessions/4/receipt", trust_env=False)
    assert missing.status_code == 404 and "no session of yours" in missing.json()["error"]["message"]


def test_a_request_of_several_sessions_has_a_receipt_of_each() -> None:
    receipts, alice = ProxyReceipts(), Asked(Caller("alice"))
    receipts.take(SessionReceipt({}))
    context = contextvars.copy_context()
    context.run(ASKED.set, alice)
    for _ in range(2):
        context.run(receipts.take, SessionReceipt({}))
    begun = context.run(receipts.number)
    assert begun not in receipts.kept
    context.run(receipts.take, SessionReceipt({}))
    assert alice.sessions == [1, 2, 3] and all(number in receipts.kept for number in alice.sessions)


def test_receipts_are_told_to_those_they_are_of() -> None:
    kept, receipt = KeptReceipts(), Receipt((SessionReceipt({}),))
    for number in range(KEPT + 1):
        kept.keep(number, ["alice"], receipt)
    assert kept.find(KEPT, Caller("alice")) == kept.find(KEPT, Caller("ops", operator=True)) == receipt
    assert kept.find(KEPT, Caller("bob")) is None and kept.find(0, Caller("alice")) is None


def test_receipts_over_http_need_an_authority(tiny: Tiny) -> None:
    with pytest.raises(ConfigurationError, match="receipts need --certificates"):
        runner_at(
            "http://127.0.0.1:1",
            tiny.checkpoint,
            certificates=None,
            api_key=None,
            model=None,
            unchecked=False,
            take_receipt=[].append,
        )


def test_a_request_is_told_by_its_counts() -> None:
    def told(**fields: object) -> str:
        return asked_for(json.dumps(fields).encode())

    assert told(prompt=[1, 2], max_tokens=9) == "2 tokens, 9 new at most"
    assert told(prompt=[[1, 2], [3]], n=2) == "2 rows, 3 tokens, no number new at most, 2 answers"
    with pytest.raises(ReceiptRefused, match="no base64"):
        signed_answers.signed_of("?")
