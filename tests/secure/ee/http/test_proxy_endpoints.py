"""What programs ask beside completions: a model's entry, health, several answers, responses, embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import torch

from secure.demo.sample import model_folder
from secure.ee.client.model import EncryptedModel
from secure.ee.engine.server_engine import TransformersEngine
from secure.ee.files.checkpoint import open_checkpoint
from secure.ee.http.proxy import proxy_app
from secure.ee.owner.encrypt import encrypt_checkpoint
from secure.http.host import check_origins
from secure.parties.encrypted.runner import EngineRunner
from secure.protocols.core.errors import CheckpointError, ConfigurationError
from secure.protocols.equivariant.key import Key
from tests.secure.ee.scripted import MODEL, Scripted
from tests.secure.ee.tiny import Tiny

ServeHttp = Callable[..., int]
MakeClient = Callable[..., openai.OpenAI]
ORIGIN = "https://chat.example"


@pytest.fixture
def scripted(tiny: Tiny, serve_http: ServeHttp, openai_client: MakeClient) -> Callable[..., Any]:
    """A proxy over a scripted backend; gives the client and the backend."""

    def make(ids: Sequence[int], finish: str = "length", **options: Any) -> tuple[openai.OpenAI, Scripted]:
        backend = Scripted(tiny, ids, finish)
        return openai_client(serve_http(proxy_app(tiny.checkpoint, backend, [MODEL, "org/name"], **options))), backend

    return make


@pytest.fixture
def words(tiny: Tiny) -> list[int]:
    return list(tiny.tokenizer("the cat", add_special_tokens=False)["input_ids"])


def asked(client: openai.OpenAI, method: str, path: str, **headers: str) -> httpx.Response:
    return httpx.request(method, str(client.base_url).removesuffix("/v1/") + path, headers=headers)


def test_a_model_by_its_name(scripted: Callable[..., Any]) -> None:
    client, _ = scripted([])
    assert client.models.retrieve(MODEL).id == MODEL
    assert asked(client, "GET", "/v1/models/org/name").json()["id"] == "org/name"
    with pytest.raises(openai.NotFoundError) as missing:
        client.models.retrieve("gpt-4o")
    assert missing.value.code == "model_not_found"


def test_health_needs_no_key_and_tells_nothing(scripted: Callable[..., Any]) -> None:
    client, _ = scripted([], api_key="word")
    assert asked(client, "GET", "/v1/models").status_code == 401
    answer = asked(client, "GET", "/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert asked(client, "GET", "/health", host="evil.example").status_code == 403


def test_other_origins_are_let_in_by_name_alone(scripted: Callable[..., Any]) -> None:
    preflight = {
        "origin": ORIGIN,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization, x-stainless-os",
    }
    client, _ = scripted([])
    closed = asked(client, "OPTIONS", "/v1/completions", **preflight)
    assert (closed.status_code, "access-control-allow-origin" in closed.headers) == (405, False)
    client, _ = scripted([], api_key="word", origins=[ORIGIN])
    allowed = asked(client, "OPTIONS", "/v1/completions", **preflight)
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, ORIGIN)
    assert "x-stainless-os" in allowed.headers["access-control-allow-headers"]
    # A page may read errors as well; without the key it gets nothing else.
    refused = asked(client, "GET", "/v1/models", origin=ORIGIN)
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, ORIGIN)
    other = asked(client, "OPTIONS", "/v1/completions", **(preflight | {"origin": "https://evil.example"}))
    assert (other.status_code, "access-control-allow-origin" in other.headers) == (400, False)


@pytest.mark.parametrize("origin", ["*", "https://*", "chat.example", "https://chat.example/page", "null"])
def test_origins_that_are_none(origin: str) -> None:
    with pytest.raises(ConfigurationError, match="expected the origin of one web page"):
        check_origins([ORIGIN, origin])


@pytest.mark.parametrize("stream", [False, True])
def test_several_answers(scripted: Callable[..., Any], words: list[int], stream: bool) -> None:
    client, backend = scripted(words)
    answer: Any = client.completions.create(model=MODEL, prompt=["x", "y"], n=2, seed=5, max_tokens=9, stream=stream)
    texts = dict.fromkeys(range(4), "")
    for part in answer if stream else [answer]:
        for choice in part.choices:
            texts[choice.index] += choice.text
    assert texts == dict.fromkeys(range(4), "the cat")
    assert [sampling.seed for _, sampling, _ in backend.asked] == [5, 6, 5, 6]
    assert backend.asked[0][0] == backend.asked[1][0] != backend.asked[2][0]
    if not stream:
        prompts = [ids for ids, _, _ in backend.asked[::2]]
        assert answer.usage.prompt_tokens == sum(map(len, prompts))
        assert answer.usage.completion_tokens == 4 * len(words)
    with pytest.raises(openai.BadRequestError, match="at most 64 answers"):
        client.completions.create(model=MODEL, prompt=["x"] * 33, n=2)


def test_fields_that_change_nothing_are_ignored_with_a_note(scripted: Callable[..., Any], words: list[int]) -> None:
    client, _ = scripted(words)
    sent = {"reasoning_effort": "low", "store": True, "metadata": {"a": "b"}, "chat_id": "7", "stream_options": None}
    messages: Any = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y", "annotations": []}]
    answer = client.chat.completions.with_raw_response.create(model=MODEL, messages=messages, extra_body=sent)
    assert set(answer.headers["secure-ignored-fields"].split(", ")) == {
        "reasoning_effort",
        "store",
        "metadata",
        "chat_id",
    }
    plain = client.completions.with_raw_response.create(model=MODEL, prompt="x", extra_body={"top_k": 0})
    assert "secure-ignored-fields" not in plain.headers


# responses


def test_a_response(scripted: Callable[..., Any], tiny: Tiny, words: list[int]) -> None:
    client, backend = scripted(words, "stop")
    answer = client.responses.create(model=MODEL, input="cat", instructions="the mat", max_output_tokens=7)
    assert (answer.output_text, answer.status) == ("the cat", "completed")
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (len(backend.asked[0][0]), len(words))
    assert tiny.tokenizer.decode(backend.asked[0][0]) == "<s><|system|>the mat<|end|><|user|>cat<|end|><|assistant|>"
    assert backend.asked[0][1].max_new_tokens == 7
    # What was answered goes back as it came.
    turns: Any = [{"role": "user", "content": "cat"}, answer.output[0].model_dump(), {"role": "user", "content": "on"}]
    client.responses.create(model=MODEL, input=turns)
    assert "<|assistant|>the cat<|end|><|user|>on" in tiny.tokenizer.decode(backend.asked[1][0])


def test_a_response_in_events(scripted: Callable[..., Any], words: list[int]) -> None:
    client, _ = scripted(words)
    events = list(client.responses.create(model=MODEL, input="cat", stream=True))
    assert [event.type for event in events if "delta" not in event.type] == [
        *("response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"),
        *("response.output_text.done", "response.content_part.done", "response.output_item.done"),
        "response.incomplete",
    ]
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == "the cat"
    last: Any = events[-1]
    assert (last.response.output_text, last.response.incomplete_details.reason) == ("the cat", "max_output_tokens")
    assert [event.sequence_number for event in events] == list(range(len(events)))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"text": {"format": {"type": "json_schema"}}}, "text"),
        ({"input": []}, "input"),
        ({"input": [{"type": "function_call_output", "output": "1"}]}, "input[0]"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0]"),
        ({"n": 2}, "n"),
    ],
)
def test_responses_refuse_by_name(scripted: Callable[..., Any], fields: dict[str, Any], param: str) -> None:
    client, backend = scripted([10])
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model=MODEL, extra_body={"input": "x", **fields})
    assert refused.value.param == param
    assert backend.asked == []


# embeddings


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    encrypt_checkpoint(model_folder(), Key(bytes(range(32))), folder / "encrypted", assume="none")
    return folder / "encrypted"


def test_embeddings_are_those_of_the_api(encoder: Path, serve_http: ServeHttp, openai_client: MakeClient) -> None:
    checkpoint = open_checkpoint(encoder, Key(bytes(range(32))))
    runner = EngineRunner(TransformersEngine(encoder))
    client = openai_client(serve_http(proxy_app(checkpoint, runner, [MODEL])))
    texts = ["rain is cold", "the sun is warm today"]
    due = EncryptedModel.from_pretrained(encoder, key=checkpoint.key).encode(texts)
    for form in ("float", "base64"):
        made = client.embeddings.create(model=MODEL, input=texts, encoding_format=form)  # type: ignore[call-overload]
        if form == "float":
            torch.testing.assert_close(torch.tensor([entry.embedding for entry in made.data]), due)
    by_default = client.embeddings.create(model=MODEL, input=texts[1], user="alice")
    torch.testing.assert_close(torch.tensor(by_default.data[0].embedding), due[1], atol=1e-5, rtol=1e-4)
    assert by_default.usage.total_tokens == len(checkpoint.tokenizer(texts[1])["input_ids"])  # type: ignore[misc]
    with pytest.raises(openai.BadRequestError, match=r"input 1 has .* tokens; this model has room for"):
        client.embeddings.create(model=MODEL, input=["rain", "rain " * 3000])
    with pytest.raises(openai.BadRequestError, match="the size that they have"):
        client.embeddings.create(model=MODEL, input="rain", dimensions=3)
    # It does not generate, and a language model has no embeddings here.
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model=MODEL, prompt="rain")


def test_a_language_model_has_no_embeddings(scripted: Callable[..., Any], tiny: Tiny, encoder: Path) -> None:
    client, backend = scripted([10])
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model=MODEL, input="rain")
    with pytest.raises(CheckpointError, match="generates nothing, and its backend gives no embeddings"):
        proxy_app(open_checkpoint(encoder, Key(bytes(range(32)))), backend, [MODEL])
