"""Log probabilities in OpenAI's formats, as the openai package reads them, beside those of the plain model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import torch

from secure.ee.client.model import EncryptedModel
from secure.ee.client.plain_tokens import PlainTokens
from secure.ee.client.split import SplitTokens
from secure.ee.engine.server_engine import TransformersEngine
from secure.ee.files.checkpoint import open_checkpoint
from secure.ee.http.ids_server import ids_app
from secure.ee.http.proxy import proxy_app
from secure.ee.http.runner import HttpRunner
from secure.ee.owner.encrypt import encrypt_checkpoint
from secure.http.token_texts import TokenTexts
from secure.parties.encrypted.client import GenerationClient
from secure.parties.encrypted.limits import Admission, GenerationLimits
from secure.parties.encrypted.runner import EngineRunner, Runner
from secure.parties.encrypted.tokens import SamplingParameters, TokenGenerator, TokenLogprobs
from secure.protocols.core.errors import InputError, SessionError
from tests.secure.ee.scripted import MODEL, Scripted
from tests.secure.ee.serving import Start
from tests.secure.ee.tiny import Tiny

ServeHttp = Callable[..., int]
MakeClient = Callable[..., openai.OpenAI]
PROMPT = "the cat sat"
NEW, COUNT = 9, 3
CLOSE = 1e-4


def plain_logs(tiny: Tiny, prompt: Sequence[int], answer: Sequence[int]) -> torch.Tensor:
    """What the plain model says at the place of each token of an answer. Shapes: [N] -> [N, V]."""
    with torch.no_grad():
        logits = tiny.model(torch.tensor([[*prompt, *answer]])).logits[0]
    return logits[len(prompt) - 1 : -1].float().log_softmax(-1)


def check(tiny: Tiny, prompt: Sequence[int], answer: Sequence[int], told: Sequence[TokenLogprobs], count: int) -> None:
    """Plain ids and their logarithms against the plain model."""
    logs = plain_logs(tiny, prompt, answer)
    assert len(told) == len(answer) > 0
    for row, token, each in zip(logs, answer, told, strict=True):
        assert each.logprob == pytest.approx(float(row[token]), abs=CLOSE)
        values, ids = row.topk(count)
        assert [value for _, value in each.likeliest] == pytest.approx(values.tolist(), abs=CLOSE)
        assert [id for id, _ in each.likeliest] == ids.tolist()


@pytest.fixture(params=["here", "grpc", "http"])
def runner(
    request: pytest.FixtureRequest,
    tiny: Tiny,
    tiny_engine: TransformersEngine,
    start: Start,
    serve_http: ServeHttp,
    certificates: Path,
) -> Runner:
    admission = Admission(tiny_engine.served, GenerationLimits())
    if request.param == "here":
        return EngineRunner(tiny_engine, admission)
    if request.param == "grpc":
        address, named = f"127.0.0.1:{start(tiny_engine, GenerationLimits())}", tiny.checkpoint.check_served
        return GenerationClient(address, certificates, tiny.key.check_value, check_manifest=named)
    address = f"http://127.0.0.1:{serve_http(ids_app(tiny_engine, admission))}"
    return HttpRunner(partial(httpx.Client, base_url=address, timeout=60), tiny.checkpoint, None, unchecked=False)


@pytest.mark.parametrize("at_once", [False, True])
def test_every_runner_tells_what_the_plain_model_says(runner: Runner, tiny: Tiny, at_once: bool) -> None:
    """Drawn or not: temperature and top_p shape the draw alone."""
    with EncryptedModel.from_pretrained(tiny.encrypted, key=tiny.key) as model:
        tokens = PlainTokens(model._cipher, runner)
        prompt = tiny.tokenizer(PROMPT)["input_ids"]
        for sampling in (
            SamplingParameters(NEW, logprobs=COUNT),
            SamplingParameters(NEW, temperature=1.7, top_p=0.9, seed=4, logprobs=COUNT),
            SamplingParameters(NEW, logprobs=0),
        ):
            pieces = list(tokens.generate(prompt, sampling, at_once=at_once))
            answer = [token for piece in pieces for token in piece.ids]
            told = [each for piece in pieces for each in piece.logprobs]
            check(tiny, prompt, answer, told, sampling.logprobs or 0)
        pieces = list(tokens.generate(prompt, SamplingParameters(2), at_once=at_once))
        assert not any(piece.logprobs for piece in pieces)


def test_split_mode_computes_them_at_the_client(tiny: Tiny, tmp_path: Path) -> None:
    encrypt_checkpoint(tiny.plain, tiny.key, tmp_path / "out", assume="none", split=tmp_path / "client")
    checkpoint = open_checkpoint(tmp_path / "client", tiny.key)
    prompt = tiny.tokenizer(PROMPT)["input_ids"]
    with EncryptedModel.from_pretrained(
        tmp_path / "client", key=tiny.key, server=tmp_path / "out", assume="none"
    ) as model:
        split = SplitTokens(checkpoint, EngineRunner(TransformersEngine(tmp_path / "out")))
        tokens = PlainTokens(model._cipher, split)
        pieces = list(tokens.generate(prompt, SamplingParameters(NEW, logprobs=COUNT)))
    answer = [token for piece in pieces for token in piece.ids]
    check(tiny, prompt, answer, [each for piece in pieces for each in piece.logprobs], COUNT)


# through the proxy


@pytest.fixture
def client(
    tiny: Tiny, tiny_engine: TransformersEngine, serve_http: ServeHttp, openai_client: MakeClient
) -> openai.OpenAI:
    return openai_client(serve_http(proxy_app(tiny.checkpoint, EngineRunner(tiny_engine), [MODEL])))


def shown(tiny: Tiny, prompt: Sequence[int]) -> tuple[list[int], torch.Tensor]:
    """The tokens of a greedy answer that its text shows, and what the plain model says at their places."""
    answer = tiny.greedy(list(prompt), NEW)
    logs = plain_logs(tiny, prompt, answer)
    kept = [n for n, token in enumerate(answer) if token not in tiny.tokenizer.all_special_ids]
    return [answer[n] for n in kept], logs[kept]


@pytest.mark.parametrize("stream", [False, True])
def test_chats(client: openai.OpenAI, tiny: Tiny, stream: bool) -> None:
    messages: Any = [{"role": "user", "content": PROMPT}]
    rendered = tiny.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    prompt = tiny.tokenizer(rendered, add_special_tokens=False)["input_ids"]
    answer: Any = client.chat.completions.create(
        model=MODEL,
        messages=messages,
        max_tokens=NEW,
        temperature=0,
        logprobs=True,
        top_logprobs=COUNT,
        stream=stream,
    )
    choices = [part.choices[0] for part in answer] if stream else answer.choices
    entries = [entry for choice in choices if choice.logprobs for entry in choice.logprobs.content]
    text = "".join((choice.delta if stream else choice.message).content or "" for choice in choices)
    tokens, logs = shown(tiny, prompt)
    texts = TokenTexts(tiny.tokenizer)
    assert [entry.token for entry in entries] == [texts.of(token)[0] for token in tokens]
    assert b"".join(bytes(entry.bytes) for entry in entries).decode(errors="replace") == text
    for entry, token, row in zip(entries, tokens, logs, strict=True):
        assert entry.logprob == pytest.approx(float(row[token]), abs=CLOSE)
        values, ids = row.topk(COUNT)
        assert [other.token for other in entry.top_logprobs] == [texts.of(id)[0] for id in ids.tolist()]
        assert [other.logprob for other in entry.top_logprobs] == pytest.approx(values.tolist(), abs=CLOSE)


@pytest.mark.parametrize("stream", [False, True])
def test_completions(client: openai.OpenAI, tiny: Tiny, stream: bool) -> None:
    prompt = tiny.tokenizer(PROMPT)["input_ids"]
    answer: Any = client.completions.create(
        model=MODEL, prompt=PROMPT, max_tokens=NEW, temperature=0, logprobs=COUNT, stream=stream
    )
    told = [part.choices[0].logprobs for part in (answer if stream else [answer]) if part.choices[0].logprobs]
    tokens, logs = shown(tiny, prompt)
    texts = [TokenTexts(tiny.tokenizer).of(token) for token in tokens]
    assert [text for each in told for text in each.tokens] == [text for text, _ in texts]
    found = [value for each in told for value in each.token_logprobs]
    assert found == pytest.approx([float(row[token]) for row, token in zip(logs, tokens, strict=True)], abs=CLOSE)
    ends = [len(b"".join(data or b"" for _, data in texts[:n]).decode(errors="ignore")) for n in range(len(texts))]
    assert [offset for each in told for offset in each.text_offset] == ends
    likeliest = [names for each in told for names in each.top_logprobs]
    for names, token, row in zip(likeliest, tokens, logs, strict=True):
        assert max(names.values()) == pytest.approx(float(row.max()), abs=CLOSE)
        # Ids that are no words have the same text: none.
        assert set(names) == {TokenTexts(tiny.tokenizer).of(id)[0] for id in (*row.topk(COUNT).indices.tolist(), token)}


@pytest.mark.parametrize("stream", [False, True])
def test_responses(client: openai.OpenAI, tiny: Tiny, stream: bool) -> None:
    """They tell what a chat tells, in the answer and, piece by piece, in its events."""
    messages: Any = [{"role": "user", "content": PROMPT}]
    asked: Any = {"model": MODEL, "temperature": 0, "top_logprobs": COUNT}
    chat = client.chat.completions.create(messages=messages, max_tokens=NEW, logprobs=True, **asked)
    assert chat.choices[0].logprobs is not None and chat.choices[0].logprobs.content
    due = [entry.model_dump() for entry in chat.choices[0].logprobs.content]
    answer: Any = client.responses.create(
        input=PROMPT, max_output_tokens=NEW, include=["message.output_text.logprobs"], stream=stream, **asked
    )
    if stream:
        *events, last = answer
        pieces = [each for event in events if event.type == "response.output_text.delta" for each in event.logprobs]
        assert [(each.token, each.logprob) for each in pieces] == [(each["token"], each["logprob"]) for each in due]
        answer = last.response
    [part] = answer.output[0].content
    assert [entry.model_dump() for entry in part.logprobs] == due
    # An answer goes back as it came.
    client.responses.create(
        model=MODEL, input=[*messages, answer.output[0].model_dump(), *messages], max_output_tokens=1
    )


class Told(Scripted):
    """A scripted backend that tells the same of every token, where it is asked to."""

    def generate(self, ids: Sequence[int], sampling: SamplingParameters, *, at_once: bool = False) -> Any:
        self.sampling = sampling
        return super().generate(ids, sampling, at_once=at_once)

    def pieces(self) -> Any:
        for piece in super().pieces():
            told = [TokenLogprobs(-0.5, [(piece.ids[0], -0.5)][: self.sampling.logprobs])] * len(piece.ids)
            yield piece if self.sampling.logprobs is None else type(piece)(piece.ids, piece.finish, told)


def serve(backend: TokenGenerator, tiny: Tiny, serve_http: ServeHttp, openai_client: MakeClient) -> openai.OpenAI:
    return openai_client(serve_http(proxy_app(tiny.checkpoint, backend, [MODEL])))


@pytest.mark.parametrize("stream", [False, True])
def test_tokens_are_told_of_as_far_as_the_text_goes(
    tiny: Tiny, serve_http: ServeHttp, openai_client: MakeClient, stream: bool
) -> None:
    """Neither those of a stop string nor special ones; a character of several tokens has all of them, in bytes."""
    ids = tiny.tokenizer("the 日€ cat on", add_special_tokens=False)["input_ids"]
    client = serve(Told(tiny, ids, "stop"), tiny, serve_http, openai_client)
    messages: Any = [{"role": "user", "content": "x"}]
    answer: Any = client.chat.completions.create(
        model=MODEL, messages=messages, logprobs=True, stop=" on", stream=stream
    )
    choices = [part.choices[0] for part in answer] if stream else answer.choices
    entries = [entry for choice in choices if choice.logprobs for entry in choice.logprobs.content]
    assert b"".join(bytes(entry.bytes) for entry in entries).decode() == "the 日€ cat"
    assert any(entry.token.startswith(r"bytes:\xe2") for entry in entries)
    assert all(entry.top_logprobs == [] for entry in entries)


def test_a_backend_that_tells_nothing_is_found_out(
    tiny: Tiny, serve_http: ServeHttp, openai_client: MakeClient
) -> None:
    client = serve(Scripted(tiny, [10, 11]), tiny, serve_http, openai_client)
    with pytest.raises(openai.APIError, match="tells no log probabilities"):
        client.completions.create(model=MODEL, prompt="x", logprobs=1)


def test_an_endpoint_that_names_texts_instead_of_ids_is_found_out(tiny: Tiny) -> None:
    answer = {"choices": [{"token_ids": [7], "logprobs": {"token_logprobs": [-1.0], "top_logprobs": [{"the": -1.0}]}}]}
    models = {"data": [{"id": "m", "max_model_len": 64}]}

    def respond(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=models if request.url.path == "/v1/models" else answer)

    connect = partial(httpx.Client, base_url="http://backend", transport=httpx.MockTransport(respond))
    runner = HttpRunner(connect, tiny.checkpoint, None, unchecked=True)
    with pytest.raises(SessionError, match="return_tokens_as_token_ids"):
        list(runner.generate([5], SamplingParameters(1, logprobs=1), at_once=True))


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        ("chat", {"logprobs": 3}, "logprobs"),
        ("chat", {"top_logprobs": 3}, "top_logprobs"),
        ("chat", {"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ("text", {"logprobs": True}, "logprobs"),
        ("text", {"logprobs": 21}, "logprobs"),
        ("response", {"top_logprobs": 3}, "top_logprobs"),
        ("response", {"include": [3]}, "include"),
    ],
)
def test_what_is_wrong_is_refused_by_name(
    tiny: Tiny, serve_http: ServeHttp, openai_client: MakeClient, path: str, fields: dict[str, Any], param: str
) -> None:
    client = serve(Scripted(tiny, [10]), tiny, serve_http, openai_client)
    messages: Any = [{"role": "user", "content": "x"}]
    with pytest.raises(openai.BadRequestError) as refused:
        if path == "chat":
            client.chat.completions.create(model=MODEL, messages=messages, extra_body=fields)
        elif path == "response":
            client.responses.create(model=MODEL, input="x", extra_body=fields)
        else:
            client.completions.create(model=MODEL, prompt="x", extra_body=fields)
    assert refused.value.param == param
    with pytest.raises(InputError, match="logprobs is 21"):
        SamplingParameters(1, logprobs=21)
