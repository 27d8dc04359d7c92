"""The endpoint of ids, through the openai package and through plain HTTP."""

from __future__ import annotations

import http.client
import json
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import openai
import pytest

from secure.ee.engine.server_engine import TransformersEngine
from secure.ee.http.ids_server import ids_app
from secure.http.app import MOST_BODY_BYTES
from secure.http.openai_fields import ONLY
from secure.parties.encrypted.engine import GenerationEngine
from secure.parties.encrypted.limits import Admission, GenerationLimits
from tests.secure.ee.fakes import FakeEngine
from tests.secure.ee.tiny import Tiny

ServeHttp = Callable[..., int]
MakeClient = Callable[..., openai.OpenAI]
SECONDS = 60.0


def app(engine: GenerationEngine, limits: GenerationLimits | None = None, **options: Any) -> Any:
    return ids_app(engine, Admission(engine.served, limits or GenerationLimits()), **options)


@pytest.fixture
def post(serve_http: ServeHttp, engine: FakeEngine) -> Iterator[Callable[..., httpx.Response]]:
    """Send a completion request to a server over the fake engine: fields beside model and prompt."""
    with httpx.Client(base_url=f"http://127.0.0.1:{serve_http(app(engine))}", timeout=60) as client:

        def send(headers: dict[str, str] | None = None, **fields: object) -> httpx.Response:
            return client.post("/v1/completions", json={"model": "fake", "prompt": [5], **fields}, headers=headers)

        yield send


# the openai package


def test_greedy_completions_equal_plain_generation(
    serve_http: ServeHttp, openai_client: MakeClient, tiny: Tiny, tiny_engine: TransformersEngine
) -> None:
    client = openai_client(serve_http(app(tiny_engine)))
    prompts = [tiny.tokenizer(text)["input_ids"] for text in ("the cat", "日本 sat on the mat")]
    encrypted = [tiny.vocabulary.encrypt_ids(prompt) for prompt in prompts]
    expected = [tiny.greedy(prompt, 24) for prompt in prompts]
    whole = client.completions.create(model="encrypted", prompt=encrypted, max_tokens=24, temperature=0)
    assert [tiny.vocabulary.decrypt_ids(choice.token_ids) for choice in whole.choices] == expected
    assert [choice.text for choice in whole.choices] == ["", ""]
    sizes = [len(row) for row in expected]
    assert [choice.finish_reason for choice in whole.choices] == ["length" if n == 24 else "stop" for n in sizes]
    assert whole.usage is not None
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (sum(map(len, prompts)), sum(sizes))
    stream = client.completions.create(
        model="encrypted",
        prompt=encrypted,
        max_tokens=24,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    rows: list[list[int]] = [[], []]
    chunks = list(stream)
    for chunk in chunks[:-1]:
        rows[chunk.choices[0].index] += chunk.choices[0].token_ids
    assert [tiny.vocabulary.decrypt_ids(row) for row in rows] == expected
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert len(chunks) == sum(sizes) + 3  # one for each token, two that say why, one with usage


def test_models(serve_http: ServeHttp, openai_client: MakeClient, tiny: Tiny, tiny_engine: TransformersEngine) -> None:
    (model,) = openai_client(serve_http(app(tiny_engine))).models.list().data
    assert (model.id, model.object, model.owned_by) == ("encrypted", "model", "secure-inference")
    assert model.model_extra is not None
    assert model.model_extra["key_check"] == tiny.key.check_value
    assert model.model_extra["max_model_len"] == 256
    assert model.model_extra["manifest"] == (tiny.encrypted / "encryption.json").read_text()


def test_stop_ids_and_seed(
    serve_http: ServeHttp, openai_client: MakeClient, engine: FakeEngine, tiny_engine: TransformersEngine
) -> None:
    client = openai_client(serve_http(app(engine)))
    answer = client.completions.create(
        model="fake", prompt=[10], max_tokens=9, extra_body={"stop_token_ids": [13], "return_token_ids": True}
    )
    assert answer.choices[0].token_ids == [11, 12, 13]
    assert answer.choices[0].finish_reason == "stop"
    other = openai_client(serve_http(app(tiny_engine)))

    def draw(seed: int) -> list[int]:
        answer = other.completions.create(model="encrypted", prompt=[9, 8], max_tokens=16, temperature=2, seed=seed)
        return list(answer.choices[0].token_ids)

    assert draw(3) == draw(3) != draw(4)


def test_errors_reach_the_openai_client_as_its_own(
    serve_http: ServeHttp, openai_client: MakeClient, engine: FakeEngine
) -> None:
    port = serve_http(app(engine, GenerationLimits(prompt_tokens=4), api_key="right"))
    with pytest.raises(openai.AuthenticationError, match="API key is missing or wrong"):
        openai_client(port, "wrong").models.list()
    client = openai_client(port, "right")
    with pytest.raises(openai.NotFoundError, match="served are: fake") as missing:
        client.completions.create(model="gpt", prompt=[1])
    assert (missing.value.param, missing.value.code) == ("model", "model_not_found")
    with pytest.raises(openai.BadRequestError, match="prompt has 5 tokens; this server takes at most 4"):
        client.completions.create(model="fake", prompt=[1, 2, 3, 4, 5])
    with pytest.raises(openai.NotFoundError, match="no such path"):
        client.embeddings.create(model="fake", input="text")
    assert engine.prompts == []


def test_a_busy_server_is_a_rate_limit(serve_http: ServeHttp, openai_client: MakeClient, engine: FakeEngine) -> None:
    engine.hold = threading.Event()
    client = openai_client(serve_http(app(engine, GenerationLimits(requests=1))))
    with client.completions.create(model="fake", prompt=[1], max_tokens=3, stream=True) as stream:
        first = next(iter(stream))
        assert first.choices[0].token_ids == [2]
        with pytest.raises(openai.RateLimitError, match="computes 1 requests already") as busy:
            client.completions.create(model="fake", prompt=[1])
        assert busy.value.response.headers["retry-after"] == "1"
        engine.hold.set()
        assert [chunk.choices[0].token_ids for chunk in stream] == [[3], [4], []]


@pytest.mark.parametrize("stream", [True, False])
def test_a_caller_that_goes_away_stops_the_engine(
    serve_http: ServeHttp, openai_client: MakeClient, engine: FakeEngine, stream: bool
) -> None:
    engine.hold = threading.Event()
    port = serve_http(app(engine, GenerationLimits(requests=1)))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    body = json.dumps({"model": "fake", "prompt": [1], "max_tokens": 4000, "stream": stream})
    connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
    assert engine.first_token.wait(SECONDS)
    if stream:
        response = connection.getresponse()
        assert response.read(6) == b"data: "
        response.close()
    assert not engine.ended.is_set()
    connection.close()
    assert engine.ended.wait(SECONDS)


def test_an_error_in_the_middle_of_a_stream_is_an_event(
    serve_http: ServeHttp, openai_client: MakeClient, engine: FakeEngine
) -> None:
    engine.hold = threading.Event()
    client = openai_client(serve_http(app(engine)))
    stream = client.completions.create(model="fake", prompt=[1], max_tokens=9, stream=True)
    assert next(iter(stream)).choices[0].token_ids == [2]
    engine.error = ValueError("secret 77")
    engine.hold.set()
    with pytest.raises(openai.APIError, match=r"defect of this program \(ValueError\)") as failed:
        list(stream)
    assert "77" not in str(failed.value)


# fields


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"n": 65}, "n", "invalid_value"),
        ({"n": True}, "n", "invalid_value"),
        ({"best_of": 3}, "best_of", "unsupported_parameter"),
        ({"logprobs": True}, "logprobs", "invalid_value"),
        ({"top_logprobs": 1}, "top_logprobs", "unsupported_parameter"),
        ({"logit_bias": {"5": 1}}, "logit_bias", "unsupported_parameter"),
        ({"presence_penalty": 0.5}, "presence_penalty", "unsupported_parameter"),
        ({"frequency_penalty": -1}, "frequency_penalty", "unsupported_parameter"),
        ({"echo": True}, "echo", "unsupported_parameter"),
        ({"suffix": "end"}, "suffix", "unsupported_parameter"),
        ({"tools": [{}]}, "tools", "unsupported_parameter"),
        ({"top_k": 5}, "top_k", "unsupported_parameter"),
        ({"stop": ["x"]}, "stop", "unknown_parameter"),
        ({"temperature": 3}, "temperature", "invalid_value"),
        ({"temperature": True}, "temperature", "invalid_value"),
        ({"top_p": 0}, "top_p", "invalid_value"),
        ({"seed": "a"}, "seed", "invalid_value"),
        ({"max_tokens": 0}, "max_tokens", "invalid_value"),
        ({"stream": "yes"}, "stream", "invalid_value"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "invalid_value"),
        ({"stream": True, "stream_options": {"more": 1}}, "stream_options.more", "unknown_parameter"),
        ({"stop_token_ids": ["a"]}, "stop_token_ids", "invalid_value"),
        ({"prompt": "text"}, "prompt", "invalid_value"),
        ({"prompt": []}, "prompt", "invalid_value"),
        ({"prompt": [[1], []]}, "prompt", "invalid_value"),
        ({"prompt": [1, -1]}, "prompt", "invalid_value"),
        ({"prompt": [1, True]}, "prompt", "invalid_value"),
        ({"prompt": [[1]] * 65}, "prompt", "invalid_value"),
        ({"model": None}, "model", "invalid_value"),
    ],
)
def test_fields_are_refused_by_name(
    post: Callable[..., httpx.Response], engine: FakeEngine, fields: dict[str, Any], param: str, code: str
) -> None:
    response = post(**fields)
    error = response.json()["error"]
    assert (response.status_code, error["type"]) == (400, "invalid_request_error")
    assert (error["param"], error["code"]) == (param, code)
    assert engine.prompts == []


def test_fields_that_ask_for_nothing_are_let_through(post: Callable[..., httpx.Response], engine: FakeEngine) -> None:
    fields = {name: values[0] for name, values in ONLY.items()}
    response = post(**fields, user="somebody", metadata={"a": "b"}, seed=None, max_tokens=2)
    assert response.status_code == 200
    assert response.json()["choices"][0]["token_ids"] == [6, 7]


def test_a_request_for_another_checkpoint_is_refused(post: Callable[..., httpx.Response], engine: FakeEngine) -> None:
    response = post(headers={"secure-key-check": "ab" * 16})
    assert (response.status_code, response.json()["error"]["code"]) == (412, "wrong_key")
    assert engine.prompts == []
    assert post(headers={"secure-key-check": engine.served.key_check}).status_code == 200


def test_bodies_that_are_no_json_objects(serve_http: ServeHttp, engine: FakeEngine) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{serve_http(app(engine))}", timeout=60) as client:

        def code(content: bytes, kind: str = "application/json") -> tuple[int, str]:
            response = client.post("/v1/completions", content=content, headers={"content-type": kind})
            return response.status_code, response.json()["error"]["code"]

        assert code(b"{") == (400, "invalid_json")
        assert code(b"[1]") == (400, "invalid_json")
        assert code(b"[" * 100_000) == (400, "invalid_json")
        # What a web page could send without asking.
        assert code(b"{}", "text/plain") == (415, "invalid_content_type")
        assert code(b" " * (MOST_BODY_BYTES + 1)) == (413, "request_too_large")
        assert client.get("/v1/completions").status_code == 405
        assert client.get("/nowhere").json()["error"]["code"] == "unknown_url"


def test_the_log_has_no_ids(post: Callable[..., httpx.Response], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        assert post(prompt=[712_345], max_tokens=3, user="somebody").status_code == 200
        assert post(prompt=[712_345], max_tokens=3, top_k=712_345).status_code == 400
    own = [record.getMessage() for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    assert any("/v1/completions 200" in line for line in own)
    assert not any("7123" in line or "somebody" in line for line in own)
