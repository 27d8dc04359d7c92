"""The proxy before a server of plain text: what passes, which canaries go along, and what is noted."""

from __future__ import annotations

import base64
import json
import logging
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from typer.testing import CliRunner

from secure.audit.canaries import Canaries, Canary, prepare
from secure.audit.compare import Answer
from secure.audit.endpoint import answer_in
from secure.audit.mixing import Audit
from secure.audit.models import ClearModel
from secure.audit.running import AuditLog
from secure.cli import main
from secure.ee.client.answers import EncryptedAnswers
from secure.ee.engine.server_engine import TransformersEngine
from secure.ee.http import audit_proxy, serving
from secure.ee.http.audit_proxy import audit_proxy_app
from secure.ee.http.proxy import proxy_app
from secure.http.app import make_app
from secure.http.callers import callers_with
from secure.parties.encrypted.runner import EngineRunner
from secure.protocols.core.errors import ConfigurationError
from tests.parties.local import eventually
from tests.secure.ee.scripted import MODEL
from tests.secure.ee.test_audit import TEXTS, Recorded, in_bfloat16
from tests.secure.ee.tiny import Tiny

Serve = Callable[..., int]


@pytest.mark.parametrize("honest", [True, False])
def test_canaries_follow_completions_with_their_fields(
    honest: bool,
    tiny: Tiny,
    tiny_engine: TransformersEngine,
    serve_http: Serve,
    openai_client: Callable[..., openai.OpenAI],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The server of plain text is our other proxy, before an engine with the right weights or with others."""
    canaries = prepare(
        "next_token",
        TEXTS,
        ClearModel(tiny.plain),
        EncryptedAnswers(tiny.checkpoint, EngineRunner(tiny_engine), "next_token"),
        noise_texts=8,
    )
    log = AuditLog(tmp_path / "log")
    server = Recorded(EngineRunner(tiny_engine if honest else in_bfloat16(tiny)))
    url = f"http://127.0.0.1:{serve_http(proxy_app(tiny.checkpoint, server, [MODEL]))}/v1"
    # One canary for each user's request, but for the first: there is no time between two requests yet.
    client = openai_client(serve_http(audit_proxy_app(url, Audit(canaries, log, 0.5))))
    assert [model.id for model in client.models.list()] == [MODEL]
    given: dict[str, Any] = {"model": MODEL, "prompt": "the mat", "max_tokens": 3, "temperature": 0.5, "seed": 1}
    with caplog.at_level(logging.WARNING, "secure.audit"):
        first = client.completions.create(**given)
        pieces = list(client.completions.create(**given, stream=True))
        eventually(lambda: len(log.entries()) == 1)
        client.completions.create(**given, logprobs=2)
        eventually(lambda: len(log.entries()) == 2)
    client.completions.create(**{**given, "prompt": ["the", "mat"]})
    assert "".join(piece.choices[0].text for piece in pieces if piece.choices) == first.choices[0].text
    users = tiny.tokenizer("the mat")["input_ids"]
    plain = [(tiny.vocabulary.decrypt_ids(ids), sampling) for ids, sampling, _ in server.asked[:5]]
    ours, mixed = ([each for each in plain if (each[0] == users) is mine] for mine in (True, False))
    assert len(ours) == 3 and len(mixed) == 2 and len(server.asked) == 7, "two texts at once are followed by none"
    assert [sampling for _, sampling in mixed] == [sampling for _, sampling in ours[1:]]
    assert [sampling.logprobs for _, sampling in ours] == [5, 5, 2]
    known = {tuple(tiny.tokenizer(canary.text)["input_ids"]) for canary in canaries.canaries}
    assert {tuple(ids) for ids, _ in mixed} < known and len({tuple(ids) for ids, _ in mixed}) == 2
    wrong = [record for record in caplog.records if "was answered wrong" in record.getMessage()]
    assert len(wrong) == (0 if honest else 2)


def length_server(seen: list[dict[str, Any]], api_key: str, factor: float = 1.0) -> Starlette:
    """Embeds a text as its length and 1, as base64 where that is asked for."""

    async def embeddings(request: Request) -> Response:
        seen.append(asked := await request.json())
        rows = []
        for text in asked["input"] if isinstance(asked["input"], list) else [asked["input"]]:
            row: Any = [factor * len(text), 1.0]
            if asked.get("encoding_format") == "base64":
                row = base64.b64encode(struct.pack("<2f", *row)).decode()
            rows.append({"object": "embedding", "index": len(rows), "embedding": row})
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return JSONResponse({"object": "list", "data": rows, "model": asked["model"], "usage": usage})

    return make_app({"/v1/embeddings": ("POST", embeddings)}, callers_with(api_key), ("127.0.0.1",))


@pytest.mark.parametrize("factor", [1.0, 1.1])
def test_canaries_follow_embeddings(
    factor: float, serve_http: Serve, openai_client: Callable[..., openai.OpenAI], tmp_path: Path
) -> None:
    stored = tuple(Canary(text, Answer((float(len(text)), 1.0))) for text in ("a canary", "another canary"))
    log, seen = AuditLog(tmp_path / "log"), list[dict[str, Any]]()
    url = f"http://127.0.0.1:{serve_http(length_server(seen, 'server key', factor))}/v1"
    audit = Audit(Canaries("embedding", stored, (1e-6,) * 8), log, 0.5)
    app = audit_proxy_app(url, audit, backend_api_key="server key", api_key="own key")
    client = openai_client(serve_http(app), "own key")
    vectors = [client.embeddings.create(model="m", input=text).data[0].embedding for text in ("one", "three", "four")]
    assert [round(vector[0] / factor) for vector in vectors] == [3, 5, 4]
    eventually(lambda: len(log.entries()) == 2)
    assert sorted(each["input"] for each in seen) == ["a canary", "another canary", "four", "one", "three"]
    assert len({json.dumps({**each, "input": ""}) for each in seen}) == 1, "all other fields are the users'"
    assert [entry.distance > audit.canaries.threshold for entry in log.entries()] == [factor != 1.0] * 2


def test_a_server_that_is_not_there_is_an_error_and_no_canary(
    serve_http: Serve, openai_client: Callable[..., openai.OpenAI], tmp_path: Path
) -> None:
    log = AuditLog(tmp_path / "log")
    audit = Audit(Canaries("embedding", (Canary("text", Answer((1.0,))),), (1e-6,)), log, 0.5)
    client = openai_client(serve_http(audit_proxy_app("http://127.0.0.1:1/v1", audit)))
    for _ in range(2):
        with pytest.raises(openai.APIStatusError, match="the server gave no answer"):
            client.embeddings.create(model="m", input="text")
    assert log.entries() == []
    with pytest.raises(ConfigurationError, match="has no classes of texts"):
        audit_proxy_app("http://127.0.0.1:1/v1", Audit(Canaries("classes", (), (1e-6,)), log, 0.1))


def test_answers_are_read_whole_and_in_pieces() -> None:
    told = {"choices": [{"logprobs": {"top_logprobs": [{"a": -0.5, "b": -1}]}}]}
    due = Answer((-0.5, -1.0), ("a", "b"))
    stream = b'data: {"choices": []}\n\ndata: ' + json.dumps(told).encode() + b"\n\ndata: [DONE]\n\n"
    assert answer_in("next_token", json.dumps(told).encode()) == due == answer_in("next_token", stream)
    drawn = {"choices": [{"logprobs": {"top_logprobs": [{"c": -7, "a": -0.5, "b": -1}]}}]}
    assert answer_in("next_token", json.dumps(drawn).encode(), 2) == due, "c was drawn, and is not among the likeliest"
    for other in (b"", b"[]", b"data: [DONE]", b'{"choices": [{"logprobs": null}]}'):
        assert answer_in("next_token", other) == Answer(())
    assert answer_in("embedding", b'{"data": [{"embedding": "no base64!"}]}') == Answer(())


def test_the_command_passes_its_options_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[Any, ...]] = []
    monkeypatch.setattr(serving, "serve_until_stopped", lambda app, listen, *_, **__: ran.append((app, listen)))
    made = audit_proxy.audit_proxy_app
    monkeypatch.setattr(
        serving, "audit_proxy_app", lambda url, audit, **options: ran.append((url, audit, options)) or made(url, audit)
    )
    monkeypatch.setattr(serving, "log_to_stderr", lambda: None)
    (tmp_path / "key").write_text("server-key\n")
    Canaries("embedding", (), (1e-6,)).save(tmp_path / "canaries.json")
    words = ["ee", "audit", "proxy", str(tmp_path / "canaries.json"), "--listen", "127.0.0.1:8123", "--rate", "0.25"]
    words += ["--backend-api-key-file", str(tmp_path / "key")]
    done = CliRunner().invoke(main.app, [*words, "--url", "https://server.example/v1"])
    assert done.exit_code == 0, done.output
    (url, audit, options), (_, listen) = ran
    assert (url, audit.rate, options["backend_api_key"], listen) == (
        "https://server.example/v1",
        0.25,
        "server-key",
        "127.0.0.1:8123",
    )
    done = CliRunner().invoke(main.app, [*words, "--url", "http://server.example/v1"])
    assert isinstance(done.exception, ConfigurationError) and "would travel in clear" in str(done.exception)
