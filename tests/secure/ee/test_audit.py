"""Audits of one untrusted server: encrypted ids over gRPC, plain text over OpenAI's API, and a proxy's own canaries."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from itertools import permutations
from pathlib import Path

import openai
import pytest
import torch
from typer.testing import CliRunner

from secure.audit.canaries import Canaries, prepare
from secure.audit.compare import MOST_TOKENS
from secure.audit.endpoint import Endpoint
from secure.audit.mixing import Audit
from secure.audit.models import ClearModel
from secure.audit.running import AuditLog
from secure.cli import main
from secure.ee.client.answers import EncryptedAnswers
from secure.ee.engine.server_engine import TransformersEngine
from secure.ee.files.keyfile import write_key
from secure.ee.http.proxy import proxy_app
from secure.parties.encrypted.runner import EngineRunner
from secure.parties.encrypted.tokens import ContextRoom, SamplingParameters, TokenGenerator, TokenPieces
from secure.parties.process.exit_codes import ExitCode, exit_code
from secure.protocols.core.errors import ConfigurationError, SessionError
from tests.docs.pages import shell_commands
from tests.parties.local import eventually
from tests.secure.ee.scripted import MODEL
from tests.secure.ee.serving import Start
from tests.secure.ee.tiny import Tiny

WORDS = ("the", "cat", "sat", "mat")
TEXTS = [" ".join(words) for words in permutations(WORDS, 3)]


def call(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(main.app, ["ee", "audit", *map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        return int(exit_code(done.exception)), str(done.exception)
    return done.exit_code, done.output


def in_bfloat16(tiny: Tiny) -> TransformersEngine:
    """A server whose files are right, and whose weights in memory are not."""
    engine = TransformersEngine(tiny.encrypted)
    with torch.no_grad():
        for parameter in engine._model.parameters():
            parameter.copy_(parameter.bfloat16().float())
    return engine


@pytest.fixture
def files(tiny: Tiny, tmp_path: Path) -> dict[str, Path]:
    found = {name: tmp_path / name for name in ("model.key", "texts.txt", "canaries.json")}
    write_key(found["model.key"], tiny.key, None)
    found["texts.txt"].write_text("\n".join(TEXTS))
    return found


def test_a_server_of_other_weights_is_found_by_one_canary(
    tiny: Tiny, tiny_engine: TransformersEngine, start: Start, certificates: Path, files: dict[str, Path]
) -> None:
    ours = ("--encrypted", tiny.encrypted, "--key", files["model.key"])
    code, said = call("prepare", tiny.plain, files["texts.txt"], *ours, "--out", files["canaries.json"], "--honest", 8)
    assert code == 0 and "16 canaries are in" in said, said
    canaries = Canaries.load(files["canaries.json"])
    assert canaries.kind == "next_token" and canaries.threshold < 1e-3
    honest, other = start(tiny_engine), start(in_bfloat16(tiny))

    def run(port: int, count: int) -> tuple[int, str]:
        there = ("--backend", f"grpc://127.0.0.1:{port}", "--certificates", certificates)
        return call("run", files["canaries.json"], *ours, *there, "--count", count)

    code, said = run(honest, 6)
    assert code == 0 and "these 6 canaries would have shown it with 99 % confidence" in said, said
    code, said = run(other, 1)
    assert code == ExitCode.AUDIT and "1 of 7 canaries were answered wrong" in said, said
    assert call("report", files["canaries.json"])[0] == ExitCode.AUDIT
    asked = [entry.canary for entry in AuditLog(f"{files['canaries.json']}.log").entries()]
    assert len(set(asked)) == len(asked) == 7, "no text is sent twice"
    code, said = run(honest, 10)
    assert code == ExitCode.INPUT and "10 canaries are to be asked, 9 are left" in said
    assert call("run", files["canaries.json"], *ours)[0] == ExitCode.CONFIGURATION, "there is no server"
    assert call("run", files["canaries.json"], "--url", "http://127.0.0.1:1/v1")[0] == ExitCode.CONFIGURATION


def test_the_page_is_followed_to_the_letter(
    tiny: Tiny, tiny_engine: TransformersEngine, start: Start, certificates: Path, files: dict[str, Path]
) -> None:
    """Its commands, in their order, with the names of files and the port alone put in their places."""
    files["texts.txt"].write_text("\n".join(" ".join(words) for words in permutations([*WORDS, "on"], 3)))
    places: dict[str, object] = {
        "path/to/base": tiny.plain,
        "encrypted": tiny.encrypted,
        "certs": certificates,
        **files,
    }
    places["grpc://127.0.0.1:7110"] = f"grpc://127.0.0.1:{start(tiny_engine)}"
    commands = [words[3:] for words in shell_commands("docs/audit.md") if words[:3] == ["secure", "ee", "audit"]]
    # The proxy serves until it is stopped: it has a file of tests of its own.
    commands = [words for words in commands if words[0] != "proxy"]
    assert [words[0] for words in commands] == ["prepare", "run", "report"]
    for words in commands:
        code, said = call(*(places.get(word, word) for word in words))
        assert code == 0, (words, said)
    assert "these 5 canaries" in said


def test_a_server_behind_openais_api_is_audited(
    tiny: Tiny, tiny_engine: TransformersEngine, serve_http: Callable[..., int], files: dict[str, Path]
) -> None:
    """The proxy is such a server, of plain text."""
    ports = [
        serve_http(proxy_app(tiny.checkpoint, EngineRunner(engine), [MODEL]))
        for engine in (tiny_engine, in_bfloat16(tiny))
    ]
    honest, other = (("--url", f"http://127.0.0.1:{port}/v1", "--model", MODEL) for port in ports)
    where = ("--out", files["canaries.json"], "--honest", 8)
    code, said = call("prepare", tiny.plain, files["texts.txt"], *honest, *where)
    assert code == 0, said
    assert call("run", files["canaries.json"], *honest)[0] == 0
    code, said = call("run", files["canaries.json"], *other, "--count", 1)
    assert code == ExitCode.AUDIT and "1 of 6 canaries" in said


def test_what_an_endpoint_cannot_be() -> None:
    for url, words in (("ftp://x", "no address of a server"), ("http://far.example/v1", "travel in clear")):
        with pytest.raises(ConfigurationError, match=words):
            Endpoint(url, "m", "embedding", api_key="secret")
    with pytest.raises(ConfigurationError, match="has no classes"):
        Endpoint("https://far.example/v1", "m", "classes")
    with pytest.raises(SessionError, match="gave no answer"):
        Endpoint("http://127.0.0.1:1/v1", "m", "embedding")(["text"])


class Recorded(TokenGenerator):
    """Passes on what it is asked, in the server's ids, and keeps it."""

    def __init__(self, tokens: TokenGenerator) -> None:
        self._tokens = tokens
        self.asked: list[tuple[list[int], SamplingParameters, bool]] = []
        self.lock = threading.Lock()

    def room(self) -> ContextRoom:
        return self._tokens.room()

    def generate(self, ids: Sequence[int], sampling: SamplingParameters, *, at_once: bool = False) -> TokenPieces:
        with self.lock:
            self.asked.append((list(ids), sampling, at_once))
        return self._tokens.generate(ids, sampling, at_once=at_once)

    def close(self) -> None:
        self._tokens.close()


@pytest.mark.parametrize("honest", [True, False])
def test_a_proxy_mixes_canaries_in(
    honest: bool,
    tiny: Tiny,
    tiny_engine: TransformersEngine,
    serve_http: Callable[..., int],
    openai_client: Callable[..., openai.OpenAI],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    here = EngineRunner(tiny_engine)
    canaries = prepare(
        "next_token",
        TEXTS,
        ClearModel(tiny.plain),
        EncryptedAnswers(tiny.checkpoint, here, "next_token"),
        noise_texts=8,
    )
    log = AuditLog(tmp_path / "log")
    server = Recorded(here if honest else EngineRunner(in_bfloat16(tiny)))
    # One canary for each user's request, but for the first: there is no time between two requests yet.
    client = openai_client(serve_http(proxy_app(tiny.checkpoint, server, [MODEL], audit=Audit(canaries, log, 0.5))))
    told = []
    with caplog.at_level(logging.WARNING, "secure.audit"):
        for asked in (None, 2, None):
            answer = client.completions.create(
                model=MODEL, prompt="the mat", max_tokens=3, temperature=0.5, seed=1, logprobs=asked
            )
            told.append(answer.choices[0].logprobs)
        eventually(lambda: len(log.entries()) == 2)
    assert told[0] is None is told[2], "users are told what they asked for"
    assert max(map(len, told[1].top_logprobs)) <= 3
    users = tiny.tokenizer("the mat")["input_ids"]
    plain = [(tiny.vocabulary.decrypt_ids(ids), sampling, at_once) for ids, sampling, at_once in server.asked]
    ours = [each for each in plain if each[0] == users]
    mixed = [each for each in plain if each[0] != users]
    assert len(ours) == 3 and len(mixed) == 2
    assert {sampling for _, sampling, _ in mixed} == {sampling for _, sampling, _ in ours}
    assert {at_once for _, _, at_once in mixed} == {at_once for _, _, at_once in ours}
    assert {sampling.logprobs for _, sampling, _ in ours} == {MOST_TOKENS}
    known = {tuple(tiny.tokenizer(canary.text)["input_ids"]) for canary in canaries.canaries}
    assert {tuple(ids) for ids, _, _ in mixed} < known and len({tuple(ids) for ids, _, _ in mixed}) == 2
    wrong = [record for record in caplog.records if "was answered wrong" in record.getMessage()]
    assert len(wrong) == (0 if honest else 2)


def test_what_cannot_be_mixed_in(tiny: Tiny, tiny_engine: TransformersEngine, tmp_path: Path) -> None:
    log, vectors = AuditLog(tmp_path / "log"), Canaries("embedding", (), (1e-6,))
    for rate in (0.0, 0.6):
        with pytest.raises(ConfigurationError, match="the rate of canaries"):
            Audit(Canaries("next_token", (), (1e-6,)), log, rate)
    with pytest.raises(ConfigurationError, match="canaries of a language model"):
        proxy_app(tiny.checkpoint, EngineRunner(tiny_engine), [MODEL], audit=Audit(vectors, log, 0.1))
