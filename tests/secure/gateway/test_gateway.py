"""Private models behind OpenAI's format, as the openai package reaches them, beside plain transformers."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import torch
from typer.testing import CliRunner

from secure.api import PrivateModel
from secure.cli import main
from secure.connection import Parties
from secure.gateway.serving import Gateway
from secure.http.callers import KeysFile
from secure.parties.process.exit_codes import ExitCode
from secure.protocols.core.errors import CheckpointError, ConfigurationError, InputError, ModelNotLoaded
from secure.report.receipt import Receipt
from tests.models.images import save_vit
from tests.secure.commands import Process
from tests.secure.letters import LETTERS, due, save_chat_model
from tests.secure.running import Running

ServeHttp = Callable[..., int]
MakeClient = Callable[..., openai.OpenAI]
Begin = Callable[[PrivateModel], openai.OpenAI]
MODEL = "private"
PROMPT = "aQz4"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny GPT-2 with a chat template; a full stop ends a text."""
    path = tmp_path_factory.mktemp("gpt2")
    save_chat_model(path)
    return path


@pytest.fixture(scope="module")
def reference(folder: Path) -> Any:
    from transformers import GPT2LMHeadModel

    return GPT2LMHeadModel.from_pretrained(folder).eval()


@pytest.fixture
def begin(serve_http: ServeHttp, openai_client: MakeClient) -> Iterator[Begin]:
    gateways: list[Gateway] = []

    def made(model: PrivateModel) -> openai.OpenAI:
        gateways.append(Gateway(model, [MODEL]))
        return openai_client(serve_http(gateways[-1].app))

    yield made
    for gateway in gateways:
        gateway.close()


@pytest.fixture
def client(begin: Begin, folder: Path, clear_parties: Parties) -> openai.OpenAI:
    """What is tested of a language model is what the gateway does with logits, whatever computes those."""
    return begin(PrivateModel.from_pretrained(folder, parties=clear_parties))


def greedy(reference: Any, text: str, count: int) -> list[int]:
    ids = torch.tensor([[LETTERS.index(letter) for letter in text]])
    found: list[int] = due(reference, ids, max_new_tokens=count, eos_token_id=0, pad_token_id=0)[
        0, len(text) :
    ].tolist()
    return found


def text_of(ids: list[int]) -> str:
    return "".join(LETTERS[id] for id in ids)


@pytest.mark.parametrize("stream", [False, True])
def test_answers_are_those_of_transformers(client: openai.OpenAI, reference: Any, stream: bool) -> None:
    answer: Any = client.completions.create(
        model=MODEL, prompt=PROMPT, max_tokens=6, temperature=0, logprobs=2, stream=stream
    )
    choices = [part.choices[0] for part in answer] if stream else answer.choices
    ids = greedy(reference, PROMPT, 6)
    shown = [id for id in ids if id != 0]
    assert "".join(choice.text for choice in choices) == text_of(shown)
    assert choices[-1].finish_reason == ("stop" if 0 in ids else "length")
    told = [value for choice in choices if choice.logprobs for value in choice.logprobs.token_logprobs]
    with torch.no_grad():
        rows = reference(torch.tensor([[LETTERS.index(letter) for letter in PROMPT] + ids])).logits[0].log_softmax(-1)
    assert told == pytest.approx([float(rows[len(PROMPT) - 1 + n, id]) for n, id in enumerate(shown)], abs=2e-2)


def test_a_chat_goes_through_the_models_template(client: openai.OpenAI, reference: Any) -> None:
    messages: Any = [{"role": "user", "content": PROMPT}]
    answer = client.chat.completions.create(model=MODEL, messages=messages, max_tokens=3, temperature=0)
    assert answer.choices[0].message.content == text_of([id for id in greedy(reference, PROMPT, 3) if id != 0])
    assert answer.usage is not None and answer.usage.prompt_tokens == len(PROMPT)


def test_the_end_of_a_text_and_ids_that_stop_end_an_answer(client: openai.OpenAI, reference: Any) -> None:
    first, second = greedy(reference, PROMPT, 2)
    stopped = client.completions.create(
        model=MODEL, prompt=PROMPT, max_tokens=9, temperature=0, extra_body={"stop_token_ids": [second]}
    )
    assert stopped.choices[0].finish_reason == "stop"
    assert stopped.usage is not None and stopped.usage.completion_tokens == 2
    cut = client.completions.create(model=MODEL, prompt=PROMPT, max_tokens=9, temperature=0, stop=LETTERS[first])
    assert (cut.choices[0].text, cut.choices[0].finish_reason) == ("", "stop")


def test_a_seed_repeats_a_draw_and_leaves_others_alone(client: openai.OpenAI) -> None:
    asked: Any = {"model": MODEL, "prompt": PROMPT, "max_tokens": 8, "temperature": 1.5}
    one, again, other = (client.completions.create(seed=seed, **asked).choices[0].text for seed in (5, 5, 6))
    assert one == again != other


def test_a_prompt_that_leaves_no_room_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="room for"):
        client.completions.create(model=MODEL, prompt=PROMPT, max_tokens=1000)
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model=MODEL, input=PROMPT)


def test_embeddings_are_those_of_encode(begin: Begin, checkpoint: Path, clear_parties: Parties) -> None:
    model = PrivateModel.from_pretrained(checkpoint, parties=clear_parties)
    texts = ["the cat sat", "rain is cold", "the sun"]
    expected = model.encode(texts)
    client = begin(model)
    made = client.embeddings.create(model=MODEL, input=texts)
    torch.testing.assert_close(torch.tensor([entry.embedding for entry in made.data]), expected, atol=1e-4, rtol=0)
    with pytest.raises(openai.BadRequestError, match="sentence 0 has 30 tokens, this model takes 20"):
        client.embeddings.create(model=MODEL, input=[[7] * 30])
    with pytest.raises(openai.BadRequestError, match="has token 99"):
        client.embeddings.create(model=MODEL, input=[[99]])


def test_costs_and_figures_are_told_to_those_they_are_of(
    checkpoint: Path, clear_parties: Parties, serve_http: ServeHttp, openai_client: MakeClient, tmp_path: Path
) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text('[alice]\nkey = "one"\n[bob]\nkey = "two"\n[ops]\nkey = "three"\noperator = true\n')
    keys.chmod(0o600)
    gateway = Gateway(PrivateModel.from_pretrained(checkpoint, parties=clear_parties), [MODEL], callers=KeysFile(keys))
    port = serve_http(gateway.app)

    def got(path: str, key: str) -> httpx.Response:
        headers = {"authorization": f"Bearer {key}"}
        return httpx.get(f"http://127.0.0.1:{port}{path}", headers=headers, trust_env=False)

    with pytest.raises(openai.AuthenticationError):
        openai_client(port, "four").embeddings.create(model=MODEL, input="the cat")
    raw = openai_client(port, "one").embeddings.with_raw_response.create(model=MODEL, input=["the cat", "the sun"])
    assert raw.headers["secure-sessions"] == "1"
    told = got("/v1/sessions/1", "one").json()
    assert told["rows"] == 2 and set(told["learned"]) == {"p0", "p1", "dealer"}
    assert (got("/v1/sessions/1", "two").status_code, got("/v1/sessions/2", "one").status_code) == (404, 404)
    assert got("/metrics", "one").status_code == 403
    figures = got("/metrics", "three").text
    assert 'secure_gateway_requests_total{caller="alice",path="/v1/embeddings",status="200"} 1.0' in figures
    assert 'secure_gateway_requests_total{caller="unknown",path="/v1/embeddings",status="401"} 1.0' in figures
    assert 'secure_gateway_sessions_total{result="ok"} 1.0' in figures and "secure_gateway_rows_total 2.0" in figures
    ready = httpx.get(f"http://127.0.0.1:{port}/ready", trust_env=False)
    assert (ready.status_code, ready.json()["ready"]) == (200, True)
    gateway.close()


def test_it_is_not_ready_while_a_party_is_away_or_lacks_the_model(
    checkpoint: Path, clear_parties: Parties, serve_http: ServeHttp, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = PrivateModel.from_pretrained(checkpoint, parties=clear_parties)
    health = {"p0": "serving", "p1": "unreachable: refused"}
    monkeypatch.setattr(model, "health", lambda seconds: dict(health))
    monkeypatch.setattr("secure.gateway.told._FRESH_SECONDS", -1.0)
    gateway = Gateway(model, [MODEL])
    url = f"http://127.0.0.1:{serve_http(gateway.app)}/ready"
    away = httpx.get(url, trust_env=False)
    assert (away.status_code, away.json()["reason"]) == (503, "p1 is unreachable: refused")
    health["p1"] = "serving"
    with pytest.raises(ModelNotLoaded), gateway.ledger.session({"anybody"}, 1):
        raise ModelNotLoaded("p1 lost abc")
    lacks = httpx.get(url, trust_env=False)
    assert lacks.status_code == 503 and "abc" in lacks.json()["reason"]
    with gateway.ledger.session({"anybody"}, 1):
        pass
    assert httpx.get(url, trust_env=False).status_code == 200
    gateway.close()


def test_models_that_have_neither_are_refused(
    folder: Path, tmp_path: Path, clear_parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_vit(tmp_path / "vit")
    with pytest.raises(CheckpointError, match="no tokenizer"):
        Gateway(PrivateModel.from_pretrained(tmp_path / "vit", parties=clear_parties), [MODEL])
    model = PrivateModel.from_pretrained(tmp_path / "vit", parties=clear_parties)
    model.tokenizer = PrivateModel.from_pretrained(folder, parties=clear_parties).tokenizer
    with pytest.raises(InputError, match="neither generates text nor has sentence embeddings"):
        Gateway(model, [MODEL])


@pytest.mark.xdist_group("parties")
@pytest.mark.processes
def test_over_real_processes(
    begin: Begin, checkpoint: Path, beaver: Running, reference: Any, folder: Path, tmp_path: Path
) -> None:
    with PrivateModel.from_pretrained(checkpoint, parties=beaver.parties) as model:
        client = begin(model)
        raw = client.embeddings.with_raw_response.create(model=MODEL, input="the cat sat")
        made = raw.parse()
        told = httpx.get(f"{client.base_url}sessions/{raw.headers['secure-sessions']}/receipt", trust_env=False)
        (tmp_path / "receipt.json").write_bytes(told.content)
        receipt = Receipt.load(tmp_path / "receipt.json")
        receipt.verify(beaver.settings.tls_dir / "authority.crt")
        assert receipt.sessions[0].shared("model_digest") == model.manifest.digest and not receipt.sessions[0].answers
        torch.testing.assert_close(
            torch.tensor(made.data[0].embedding), model.encode(["the cat sat"])[0], atol=1e-3, rtol=0
        )
    with PrivateModel.from_pretrained(folder, parties=beaver.parties) as model:
        answer = begin(model).completions.create(model=MODEL, prompt=PROMPT, max_tokens=3, temperature=0)
        assert answer.choices[0].text == text_of([id for id in greedy(reference, PROMPT, 3) if id != 0])


@pytest.mark.slow
@pytest.mark.processes
def test_the_command_serves_until_it_is_interrupted(
    folder: Path, start_process: Callable[..., Process], openai_client: MakeClient, reference: Any
) -> None:
    command = start_process("gateway", str(folder), "--port", "0", "--name", MODEL, SECURE_GATEWAY_API_KEY="word")
    port = command.port(r"gateway on http://127.0.0.1:(\d+)/v1, models: private")
    assert any("for trying: nothing is hidden from it" in line for line in command.lines)
    with pytest.raises(openai.AuthenticationError):
        openai_client(port).models.list()
    answer = openai_client(port, "word").completions.create(model=MODEL, prompt=PROMPT, max_tokens=3, temperature=0)
    assert answer.choices[0].text == text_of([id for id in greedy(reference, PROMPT, 3) if id != 0])
    assert command.end(lambda: command.process.send_signal(signal.SIGINT)) == ExitCode.OK
    assert not any(PROMPT in line for line in command.lines)


def test_an_address_that_others_reach_needs_a_key_before_anything_starts(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secure.connection.launch", lambda **_: pytest.fail("parties were started"))
    error = CliRunner().invoke(main.app, ["gateway", str(folder), "--host", "0.0.0.0"]).exception
    assert isinstance(error, ConfigurationError) and "needs an API key" in str(error)
