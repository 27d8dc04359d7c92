"""The proxy's text, refusals and failures, over a backend that answers what a test wants."""

from __future__ import annotations

import dataclasses
import http.client
import json
import threading
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from secure.ee.http.proxy import proxy_app
from secure.http.completions import completions_app
from secure.http.text_backend import TextBackend
from secure.parties.encrypted.client import GenerationClient
from secure.parties.encrypted.tokens import SamplingParameters, TokenPiece
from secure.protocols.core.errors import PartyLost
from tests.secure.ee.fakes import FakeEngine
from tests.secure.ee.scripted import MODEL, Scripted
from tests.secure.ee.serving import Start
from tests.secure.ee.tiny import TEMPLATE, Tiny

ServeHttp = Callable[..., int]
MakeClient = Callable[..., openai.OpenAI]
MESSAGES: list[Any] = [{"role": "system", "content": "the mat"}, {"role": "user", "content": "日本 cat?"}]
SECONDS = 60.0


@pytest.fixture
def scripted(tiny: Tiny, serve_http: ServeHttp, openai_client: MakeClient) -> Callable[..., Any]:
    """A proxy over a scripted backend; gives the client and the backend."""

    def make(ids: Sequence[int], **options: Any) -> tuple[openai.OpenAI, Scripted]:
        backend = Scripted(tiny, ids, **options)
        return openai_client(serve_http(proxy_app(tiny.checkpoint, backend, [MODEL]))), backend

    return make


@pytest.mark.parametrize("stream", [False, True])
def test_stop_strings_across_tokens_end_the_backend_too(scripted: Callable[..., Any], tiny: Tiny, stream: bool) -> None:
    ids = tiny.tokenizer("the cat sat on the mat", add_special_tokens=False)["input_ids"]
    client, backend = scripted([*ids, *ids])
    answer: Any = client.completions.create(
        model=MODEL, prompt="x", max_tokens=99, stop=["t on", "nowhere"], stream=stream
    )
    if stream:
        chunks = list(answer)
        text, finish = "".join(chunk.choices[0].text for chunk in chunks), chunks[-1].choices[0].finish_reason
    else:
        text, finish = answer.choices[0].text, answer.choices[0].finish_reason
        # Up to and with the token that completed the stop string.
        assert answer.usage.completion_tokens == backend.given
    assert (text, finish) == ("the cat sa", "stop")
    assert backend.closed.wait(SECONDS)
    assert backend.given < len(ids)


def test_a_stream_never_has_half_a_character(scripted: Callable[..., Any], tiny: Tiny) -> None:
    ids = tiny.tokenizer("a😀日本é!", add_special_tokens=False)["input_ids"]
    assert len(ids) > 6
    client, _ = scripted(ids)
    texts = [chunk.choices[0].text for chunk in client.completions.create(model=MODEL, prompt="x", stream=True)]
    assert [text for text in texts if text] == ["a", "😀", "日本", "é", "!"]


def test_chats_have_the_room_that_is_left_and_completions_sixteen(scripted: Callable[..., Any], tiny: Tiny) -> None:
    client, backend = scripted([10])
    client.chat.completions.create(model=MODEL, messages=MESSAGES)
    client.completions.create(model=MODEL, prompt="x", temperature=0.5, top_p=0.25, seed=3)
    client.completions.create(model=MODEL, prompt="x", stop="y", stream=False)
    (_, chat, _), (_, completion, at_once), (_, _, not_at_once) = backend.asked
    assert chat.max_new_tokens == 100
    assert completion == SamplingParameters(16, 0.5, 0.25, 3)
    assert (at_once, not_at_once) == (True, False)


def test_content_of_text_parts_and_names(scripted: Callable[..., Any], tiny: Tiny) -> None:
    client, backend = scripted([10])
    parts: list[Any] = [{"type": "text", "text": "the "}, {"type": "text", "text": "cat"}]
    client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": parts, "name": "bob"}])
    assert tiny.tokenizer.decode(backend.asked[0][0]) == "<s><|user|>the cat<|end|><|assistant|>"


def test_usage_in_a_stream_is_told_on_request(scripted: Callable[..., Any]) -> None:
    client, _ = scripted([10, 11, 12], finish="stop")
    chunks = list(
        client.chat.completions.create(
            model=MODEL, messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
    )
    assert [chunk.usage.completion_tokens for chunk in chunks if chunk.usage] == [3]
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert len({chunk.id for chunk in chunks}) == 1


# refusals


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("completions", '"prompt": "the \\ud83d"'),
        ("completions", '"prompt": "the", "stop": "\\ude00"'),
        ("chat/completions", '"messages": [{"role": "user", "content": "\\ud83d"}]'),
    ],
)
def test_half_a_character_is_refused(tiny: Tiny, serve_http: ServeHttp, path: str, fields: str) -> None:
    backend = Scripted(tiny, [10])
    with httpx.Client(
        base_url=f"http://127.0.0.1:{serve_http(proxy_app(tiny.checkpoint, backend, [MODEL]))}"
    ) as client:
        body = f'{{"model": "{MODEL}", {fields}}}'
        response = client.post(f"/v1/{path}", content=body, headers={"content-type": "application/json"})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_json")
    assert backend.asked == []


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 65}, "n"),
        ({"top_k": 20}, "top_k"),
        ({"temprature": 0}, "temprature"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logit_bias": {"4": 1}}, "logit_bias"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_completion_tokens"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"stop": ""}, "stop"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": "a", "tool_calls": [1]}]}, "messages[0].tool_calls"),
        ({"messages": [{"content": "a"}]}, "messages[0].role"),
    ],
)
def test_chat_fields_are_refused_by_name(scripted: Callable[..., Any], fields: dict[str, Any], param: str) -> None:
    client, backend = scripted([10])
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=MODEL, messages=MESSAGES, extra_body=fields)
    assert refused.value.param == param
    assert backend.asked == []


def test_too_long_a_prompt(scripted: Callable[..., Any]) -> None:
    client, backend = scripted([10])
    with pytest.raises(openai.BadRequestError, match="room for 256 together") as refused:
        client.completions.create(model=MODEL, prompt="x" * 250, max_tokens=7)
    assert refused.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError, match="the prompt has no tokens"):
        client.completions.create(model=MODEL, prompt="")
    assert backend.asked == []


def test_templates_that_refuse_and_are_missing(tiny: Tiny, serve_http: ServeHttp, openai_client: MakeClient) -> None:
    picky = type(tiny.tokenizer)(tokenizer_object=tiny.tokenizer.backend_tokenizer)
    client = openai_client(serve_http(completions_app(TextBackend(picky, Scripted(tiny, [10]), [MODEL]))))
    with pytest.raises(openai.BadRequestError, match="no chat template"):
        client.chat.completions.create(model=MODEL, messages=MESSAGES)
    picky.chat_template = "{{ raise_exception('roles must alternate') }}" + TEMPLATE
    with pytest.raises(openai.BadRequestError, match="refuses these messages: roles must alternate"):
        client.chat.completions.create(model=MODEL, messages=MESSAGES)


@pytest.mark.parametrize("ids", [[10_000], [10] * 6])
def test_a_backend_that_does_not_keep_to_the_request(
    tiny: Tiny, serve_http: ServeHttp, openai_client: MakeClient, ids: list[int]
) -> None:
    class Raw(Scripted):
        def pieces(self) -> Generator[TokenPiece, None, None]:
            yield TokenPiece(self.ids)

    client = openai_client(serve_http(proxy_app(tiny.checkpoint, Raw(tiny, ids), [MODEL])))
    with pytest.raises(openai.InternalServerError, match="the backend sent"):
        client.completions.create(model=MODEL, prompt="x", max_tokens=5)


def test_a_backend_that_goes_away(tiny: Tiny, serve_http: ServeHttp, openai_client: MakeClient) -> None:
    class Lost(Scripted):
        def pieces(self) -> Generator[TokenPiece, None, None]:
            yield TokenPiece(self._tiny.vocabulary.encrypt_ids([10]))
            raise PartyLost("server", "Generate")

    client = openai_client(serve_http(proxy_app(tiny.checkpoint, Lost(tiny, []), [MODEL])))
    with pytest.raises(openai.InternalServerError, match="server went away during Generate") as gone:
        client.completions.create(model=MODEL, prompt="x")
    assert gone.value.status_code == 503
    with pytest.raises(openai.APIError, match="server went away during Generate"):
        list(client.completions.create(model=MODEL, prompt="x", stream=True))


def test_a_caller_that_goes_away_stops_the_server(
    tiny: Tiny, start: Start, serve_http: ServeHttp, certificates: Path, engine: FakeEngine
) -> None:
    """Through the whole chain: caller, proxy, party, engine."""
    engine.hold = threading.Event()
    engine.served = dataclasses.replace(
        engine.served,
        vocabulary=tiny.vocabulary.size,
        key_check=tiny.key.check_value,
        manifest=(tiny.encrypted / "encryption.json").read_text(),
    )
    party = GenerationClient(f"127.0.0.1:{start(engine)}", certificates, engine.served.key_check)
    port = serve_http(proxy_app(tiny.checkpoint, party, [MODEL]))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    body = json.dumps({"model": MODEL, "prompt": "x", "max_tokens": 4000})
    connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
    assert engine.first_token.wait(SECONDS)
    assert not engine.ended.is_set()
    connection.close()
    assert engine.ended.wait(SECONDS)


def test_a_name_that_merely_points_here_is_refused(tiny: Tiny, serve_http: ServeHttp) -> None:
    """A web page whose name was made to resolve to this machine could otherwise read answers."""
    port = serve_http(proxy_app(tiny.checkpoint, Scripted(tiny, [10]), [MODEL]))
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        assert client.get("/v1/models", headers={"host": f"evil.example:{port}"}).status_code == 403
        assert client.get("/v1/models", headers={"host": f"localhost:{port}"}).json()["data"][0]["id"] == MODEL
