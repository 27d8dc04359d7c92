"""The proxy, through the openai package: text in and out, over the gRPC party and over the endpoint of ids."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from secure.ee.engine.server_engine import TransformersEngine
from secure.ee.http.ids_server import ids_app
from secure.ee.http.proxy import proxy_app
from secure.ee.http.runner import HttpRunner
from secure.parties.encrypted.client import GenerationClient
from secure.parties.encrypted.limits import Admission, GenerationLimits
from secure.parties.encrypted.runner import Runner
from secure.parties.encrypted.tokens import ContextRoom
from tests.secure.ee.serving.conftest import Start
from tests.secure.ee.serving.fakes import FakeEngine, Relay
from tests.secure.ee.serving.scripted import MODEL, Scripted
from tests.secure.ee.serving.tiny import Tiny

ServeHttp = Callable[..., int]
MakeClient = Callable[..., openai.OpenAI]
MESSAGES: list[Any] = [{"role": "system", "content": "the mat"}, {"role": "user", "content": "日本 cat?"}]
PROMPT = "the cat sat on the mat and"
LIMITS = GenerationLimits()


@pytest.fixture(params=["grpc", "http"])
def real(
    request: pytest.FixtureRequest,
    tiny: Tiny,
    tiny_engine: TransformersEngine,
    start: Start,
    serve_http: ServeHttp,
    openai_client: MakeClient,
    certificates: Path,
) -> tuple[openai.OpenAI, Relay]:
    """A proxy over the encrypted model; gives the client, and what passes between proxy and server."""
    runner: Runner
    if request.param == "grpc":
        relay = Relay(start(tiny_engine))
        runner = grpc_runner(tiny, relay.port, certificates)
    else:
        relay = Relay(serve_http(ids_app(tiny_engine, Admission(tiny_engine.served, LIMITS))))
        runner = http_runner(tiny, relay.port, unchecked=False)
    request.addfinalizer(relay.close)
    return openai_client(serve_http(proxy_app(tiny.checkpoint, runner, [MODEL]))), relay


# equality with plain generation


def expected_text(tiny: Tiny, ids: list[int], count: int) -> str:
    return str(tiny.tokenizer.decode(tiny.greedy(ids, count), skip_special_tokens=True))


@pytest.mark.parametrize("stream", [False, True])
def test_a_completion_equals_plain_generation(real: tuple[openai.OpenAI, Relay], tiny: Tiny, stream: bool) -> None:
    client, _ = real
    ids = tiny.tokenizer(PROMPT)["input_ids"]
    answer: Any = client.completions.create(model=MODEL, prompt=PROMPT, max_tokens=48, temperature=0, stream=stream)
    text = "".join(chunk.choices[0].text for chunk in answer) if stream else answer.choices[0].text
    assert text == expected_text(tiny, ids, 48)
    assert len(text) > 20
    if not stream:
        assert answer.usage.prompt_tokens == len(ids)
        assert answer.usage.completion_tokens == len(tiny.greedy(ids, 48))


@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_equals_plain_generation(real: tuple[openai.OpenAI, Relay], tiny: Tiny, stream: bool) -> None:
    client, _ = real
    text = "<s><|system|>the mat<|end|><|user|>日本 cat?<|end|><|assistant|>"
    ids = tiny.tokenizer(text, add_special_tokens=False)["input_ids"]
    answer: Any = client.chat.completions.create(
        model=MODEL, messages=MESSAGES, max_completion_tokens=40, temperature=0, stream=stream
    )
    if stream:
        deltas = [chunk.choices[0].delta for chunk in answer]
        assert deltas[0].role == "assistant"
        content = "".join(delta.content or "" for delta in deltas)
    else:
        content = answer.choices[0].message.content
        assert answer.choices[0].message.role == "assistant"
    assert content == expected_text(tiny, ids, 40)


def test_lists_of_prompts_and_plain_ids(real: tuple[openai.OpenAI, Relay], tiny: Tiny) -> None:
    client, _ = real
    prompts = [tiny.tokenizer(text)["input_ids"] for text in ("the", "sat on")]
    expected = [expected_text(tiny, ids, 9) for ids in prompts]
    for prompt in (["the", "sat on"], prompts):
        answer = client.completions.create(model=MODEL, prompt=prompt, max_tokens=9, temperature=0)
        assert [choice.text for choice in answer.choices] == expected


# what others see


def test_the_wire_and_the_logs_have_neither_text_nor_plain_ids(
    real: tuple[openai.OpenAI, Relay], tiny: Tiny, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    client, relay = real
    text = "the cat zxqvj sat"
    plain = tiny.tokenizer(text)["input_ids"]
    with caplog.at_level(logging.DEBUG):
        for stream in (False, True):
            answer: Any = client.completions.create(
                model=MODEL, prompt=text, max_tokens=16, temperature=0, stream=stream, user="alice"
            )
            output = "".join(chunk.choices[0].text for chunk in answer) if stream else answer.choices[0].text
    passed = bytes(relay.sent + relay.received)
    for word in ("zxqvj", "the cat", "alice", output):
        assert word.encode() not in passed
        assert json.dumps(word).strip('"').encode() not in passed
    # Plain HTTP between proxy and server: the ids can be read there, and are the encrypted ones.
    if b"HTTP/1.1" in passed:
        seen = json.loads(relay.sent[relay.sent.index(b'{"model"') :].split(b"}")[0] + b"}")
        assert seen["prompt"] == tiny.vocabulary.encrypt_ids(plain)
        assert json.dumps(plain, separators=(",", ":"))[1:-1].encode() not in passed.replace(b" ", b"")
    captured = capfd.readouterr()
    # The openai package in this test's own process logs what it sends; it is the caller.
    own = [r.getMessage() for r in caplog.records if not r.name.startswith(("openai", "httpx", "httpcore", "asyncio"))]
    logs = "\n".join(own) + captured.out + captured.err
    assert "/v1/completions 200" in logs
    encrypted = tiny.vocabulary.encrypt_ids(plain)
    for secret in ("zxqvj", "the cat", "alice", output, str(plain)[1:-1], str(encrypted)[1:-1]):
        assert secret not in logs


def test_a_defect_shows_its_place_and_nothing_else(
    tiny: Tiny, serve_http: ServeHttp, openai_client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Scripted):
        def room(self) -> ContextRoom:
            raise ValueError("zxq" + "vj")

    client = openai_client(serve_http(proxy_app(tiny.checkpoint, Broken(tiny, []), [MODEL])))
    with pytest.raises(openai.InternalServerError, match=r"defect of this program \(ValueError\)"):
        client.completions.create(model=MODEL, prompt="secret")
    own = [record.getMessage() for record in caplog.records if record.name == "secure.http"]
    assert any("failed with ValueError" in line and "room" in line for line in own)
    assert not any("zxqvj" in line or "secret" in line for line in own)


# the key


def grpc_runner(tiny: Tiny, port: int, certificates: Path) -> Runner:
    check = tiny.checkpoint.check_served
    return GenerationClient(f"127.0.0.1:{port}", certificates, tiny.key.check_value, check_manifest=check)


def http_runner(tiny: Tiny, port: int, *, unchecked: bool) -> Runner:
    connect = partial(httpx.Client, base_url=f"http://127.0.0.1:{port}", timeout=60)
    return HttpRunner(connect, tiny.checkpoint, None, unchecked=unchecked)


def refused(client: openai.OpenAI, why: str) -> None:
    """The backend is the wrong one, whether the answer is asked for whole or in pieces."""
    for stream in (False, True):
        with pytest.raises(openai.InternalServerError, match=why) as wrong:
            client.completions.create(model=MODEL, prompt="the cat", stream=stream)
        assert (wrong.value.status_code, wrong.value.code) == (502, "wrong_backend")


@pytest.mark.parametrize("kind", ["grpc", "http"])
def test_a_wrong_key_sends_no_id(
    kind: str,
    tiny: Tiny,
    engine: FakeEngine,
    start: Start,
    serve_http: ServeHttp,
    openai_client: MakeClient,
    certificates: Path,
) -> None:
    runner: Runner
    relay = None
    if kind == "grpc":
        runner = grpc_runner(tiny, start(engine), certificates)
    else:
        relay = Relay(serve_http(ids_app(engine, Admission(engine.served, LIMITS))))
        runner = http_runner(tiny, relay.port, unchecked=False)
    client = openai_client(serve_http(proxy_app(tiny.checkpoint, runner, [MODEL])))
    refused(client, "before the first token: key check value differs")
    assert engine.prompts == []
    if relay is not None:
        assert b"prompt" not in relay.sent
        relay.close()


@pytest.mark.parametrize("kind", ["grpc", "http"])
def test_another_checkpoint_under_the_same_key_sends_no_id(
    kind: str,
    tiny: Tiny,
    engine: FakeEngine,
    start: Start,
    serve_http: ServeHttp,
    openai_client: MakeClient,
    certificates: Path,
) -> None:
    other = dataclasses.replace(tiny.checkpoint.manifest, base_seal="ab" * 32).sealed(tiny.key)
    manifest = json.dumps(dataclasses.asdict(other))
    engine.served = dataclasses.replace(engine.served, key_check=other.key_check, manifest=manifest)
    runner: Runner
    if kind == "grpc":
        runner = grpc_runner(tiny, start(engine), certificates)
    else:
        # A backend that tells its key is checked, whatever else may be let in.
        runner = http_runner(tiny, serve_http(ids_app(engine, Admission(engine.served, LIMITS))), unchecked=True)
    client = openai_client(serve_http(proxy_app(tiny.checkpoint, runner, [MODEL])))
    refused(client, "the server has another checkpoint")
    assert engine.prompts == []


def foreign(key_check: str | None, seen: list[Any]) -> Callable[[], httpx.Client]:
    """Another engine: no key check value, no limits of ours, a last chunk without ids."""

    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/models":
            entry = {"id": "other", "max_model_len": 64} | ({"key_check": key_check} if key_check else {})
            return httpx.Response(200, json={"object": "list", "data": [entry]})
        body = json.loads(request.content)
        seen.append(body)
        choice = {"index": 0, "text": "?", "token_ids": body["prompt"][:2], "finish_reason": None}
        if not body["stream"]:
            return httpx.Response(200, json={"choices": [{**choice, "finish_reason": "length"}]})
        last = {"index": 0, "text": "", "finish_reason": "length"}
        events = [{"object": "text_completion", "choices": [item]} for item in (choice, last)]
        lines = [f"data: {json.dumps(event)}\n\n" for event in events]
        return httpx.Response(200, text=": a comment\n\n" + "".join(lines) + "data: [DONE]\n\n")

    return lambda: httpx.Client(base_url="http://engine", transport=httpx.MockTransport(handle))


@pytest.mark.parametrize("stream", [False, True])
def test_another_engine_must_be_let_in_by_name(
    tiny: Tiny, serve_http: ServeHttp, openai_client: MakeClient, stream: bool
) -> None:
    seen: list[Any] = []
    strict = HttpRunner(foreign(None, seen), tiny.checkpoint, None, unchecked=False)
    client = openai_client(serve_http(proxy_app(tiny.checkpoint, strict, [MODEL])))
    with pytest.raises(openai.InternalServerError, match="key check value differs"):
        client.completions.create(model=MODEL, prompt="the cat", stream=stream)
    assert seen == []
    trusting = HttpRunner(foreign(None, seen), tiny.checkpoint, None, unchecked=True)
    client = openai_client(serve_http(proxy_app(tiny.checkpoint, trusting, [MODEL])))
    answer: Any = client.completions.create(
        model=MODEL, prompt="the cat", stream=stream, max_tokens=5, seed=4, extra_body={"stop_token_ids": [1]}
    )
    text = "".join(chunk.choices[0].text for chunk in answer) if stream else answer.choices[0].text
    assert text == "the "
    assert seen[0] == {
        "model": "other",
        "prompt": tiny.vocabulary.encrypt_ids(tiny.tokenizer("the cat")["input_ids"]),
        "max_tokens": 5,
        "temperature": 1.0,
        "top_p": 1.0,
        "stream": stream,
        "return_token_ids": True,
        "seed": 4,
        "stop_token_ids": tiny.vocabulary.encrypt_ids([1]),
    }
    # One that names another key is never let in.
    wrong = HttpRunner(foreign("ab" * 16, seen), tiny.checkpoint, None, unchecked=True)
    client = openai_client(serve_http(proxy_app(tiny.checkpoint, wrong, [MODEL])))
    with pytest.raises(openai.InternalServerError, match="key check value differs"):
        client.completions.create(model=MODEL, prompt="the cat", stream=stream)
    assert len(seen) == 1
