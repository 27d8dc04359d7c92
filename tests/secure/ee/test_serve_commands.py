"""The commands: help with examples, what is refused before anything listens, and real processes with signals."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import openai
import pytest
from starlette.applications import Starlette
from typer.testing import CliRunner

from secure.cli import main, options
from secure.ee.engine.server_engine import TransformersEngine
from secure.ee.files.keyfile import write_key
from secure.ee.http.ids_server import ids_app
from secure.ee.http.serving import runner_at
from secure.parties.encrypted.client import GenerationClient
from secure.parties.encrypted.limits import Admission, GenerationLimits
from secure.parties.process.exit_codes import ExitCode
from secure.protocols.core.errors import CheckpointError, ConfigurationError, PortInUse, SecureInferenceError
from secure.protocols.equivariant.key import Key
from tests.secure.commands import Process
from tests.secure.ee.fakes import Relay
from tests.secure.ee.tiny import POSITIONS, Tiny


def run(*arguments: str) -> Exception | None:
    """The error that a command ends with."""
    error = CliRunner().invoke(main.app, ["ee", *arguments]).exception
    return error if isinstance(error, Exception) else None


@pytest.mark.parametrize("command", ["serve", "proxy", "certs"])
def test_help_has_an_example(command: str) -> None:
    result = CliRunner().invoke(main.app, ["ee", command, "--help"], env={"COLUMNS": "100", "TERM": "dumb"})
    assert result.exit_code == 0
    assert re.search(rf"^ *secure ee {command}\b", result.output, re.MULTILINE)
    # Keys never on the command line, where other users see them.
    assert not re.search(r"--(backend-)?api-key\s", result.output)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name --certificates DIR to serve gRPC, or --http"),
        (["--https", "0.0.0.0:1", "--http", "127.0.0.1:1"], "--https needs --certificates"),
        (["--http", "0.0.0.0:8000"], "could be reached by other machines; use --https"),
        (["--https", "0.0.0.0:1", "--certificates", "certs"], "so it needs an API key"),
        (["--http", "8000"], 'expected "host:port"'),
        (["--http", "127.0.0.1:0", "--device", "tpu"], "unknown device 'tpu'"),
        (["--http", "127.0.0.1:0", "--device", "cuda:99"], "device cuda:99 is not there"),
        (["--http", "127.0.0.1:0", "--api-key-file", "/nowhere"], "API key file /nowhere cannot be read"),
    ],
)
def test_servers_that_do_not_start(tiny: Tiny, arguments: list[str], message: str) -> None:
    error = run("serve", str(tiny.encrypted), *arguments)
    assert isinstance(error, ConfigurationError)
    assert message in str(error)


def test_a_plain_checkpoint_is_not_served(tiny: Tiny) -> None:
    error = run("serve", str(tiny.plain), "--http", "127.0.0.1:0")
    assert isinstance(error, CheckpointError)
    assert "is no encrypted checkpoint" in str(error)


def test_a_changed_checkpoint_is_not_served(tiny: Tiny, tmp_path: Path) -> None:
    for path in tiny.encrypted.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = tmp_path / "model.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    with pytest.raises(CheckpointError, match=r"model\.safetensors is not the file that was encrypted"):
        TransformersEngine(tmp_path)


@pytest.fixture
def key_file(tiny: Tiny, tmp_path: Path) -> Path:
    write_key(tmp_path / "model.key", tiny.key, None)
    return tmp_path / "model.key"


def test_a_proxy_with_a_wrong_key_does_not_start(tiny: Tiny, tmp_path: Path) -> None:
    write_key(tmp_path / "other.key", Key(bytes(32)), None)
    error = run("proxy", str(tiny.encrypted), "--key", str(tmp_path / "other.key"), "--backend", "http://127.0.0.1:1")
    assert isinstance(error, CheckpointError)
    assert "wrong key" in str(error)


@pytest.mark.parametrize(
    ("backend", "arguments", "message"),
    [
        ("ftp://host", [], "expected grpc://HOST:PORT, https://HOST:PORT or http://HOST:PORT"),
        ("host:7110", [], "expected grpc://HOST:PORT"),
        ("grpc://host:7110", [], "a grpc backend needs --certificates"),
        ("grpc://host", ["--certificates", "certs"], 'expected "host:port"'),
        ("https://user:word@host", [], "must not have a password"),
        ("http://host:8000", ["--backend-api-key-file", "KEY"], "the API key would travel in clear; use https"),
        ("https://host", ["--certificates", "nowhere"], r"authority.crt is missing"),
        ("http://127.0.0.1:1", ["--listen", "0.0.0.0:8080"], "so it needs an API key"),
    ],
)
def test_proxies_that_do_not_start(
    tiny: Tiny, key_file: Path, tmp_path: Path, backend: str, arguments: list[str], message: str
) -> None:
    (tmp_path / "api").write_text("word")
    words = [str(tmp_path / "api") if word == "KEY" else word for word in arguments]
    error = run("proxy", str(tiny.encrypted), "--key", str(key_file), "--backend", backend, *words)
    assert isinstance(error, ConfigurationError)
    assert message in str(error)


def test_the_proxy_obeys_the_red_team(tiny: Tiny, key_file: Path, tmp_path: Path, no_red_team: Path) -> None:
    verdict = {"status": "broken", "figure": "A4 reads 97%"}
    no_red_team.write_text(json.dumps({"format": 1, "verdicts": {"T0": {"full": verdict}}}))
    # Where the proxy would listen is refused, too, but after the tier.
    words = [str(tiny.encrypted), "--key", str(key_file), "--backend", "http://127.0.0.1:1", "--listen", "0.0.0.0:1"]
    for more in ([], ["--assume", "T0"]):
        error = run("proxy", *words, *more)
        assert isinstance(error, ConfigurationError)
        assert "'full' is broken at T0 (an observer of wire or logs): A4 reads 97%" in str(error)
    assert "so it needs an API key" in str(run("proxy", *words, "--assume", "none"))


def test_a_taken_port(tiny: Tiny, serve_http: Callable[..., int]) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    port = serve_http(Starlette())
    error = run("serve", str(tiny.encrypted), "--http", f"127.0.0.1:{port}")
    for number, handler in before.items():
        signal.signal(number, handler)
    assert isinstance(error, PortInUse)
    assert f"cannot listen on 127.0.0.1:{port}" in str(error)


class Exited(Exception):
    """In place of the process's end."""


@pytest.mark.parametrize("sessions", [0, 1])
def test_the_servers_process_is_as_careful_as_a_partys(
    sessions: int, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No core dump; what still computes at the end ends without the interpreter."""
    done: list[str] = []

    def leave(code: int) -> NoReturn:
        done.append(f"exit {code}")
        raise Exited

    monkeypatch.setattr("secure.models.storage.system.dump_no_core", lambda: done.append("no core"))
    monkeypatch.setattr("secure.ee.http.serving.wait_until_set", lambda stopping: None)
    monkeypatch.setattr(Admission, "running", sessions)
    monkeypatch.setattr(os, "_exit", leave)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    error = run("serve", str(tiny.encrypted), "--http", "127.0.0.1:0")
    for number, handler in before.items():
        signal.signal(number, handler)
    assert isinstance(error, Exited) == bool(sessions)
    assert done == ["no core", "exit 0"][: 1 + sessions]


def test_missing_packages_are_named(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "find_spec", lambda package: None if package == "uvicorn" else package)
    error = run("serve", str(tiny.encrypted))
    assert isinstance(error, ConfigurationError)
    assert "pip install 'secure-inference[serve]'" in str(error)


def test_a_grpc_backend_is_made_from_its_url(tiny: Tiny, certificates: Path) -> None:
    runner = runner_at(
        "grpc://127.0.0.1:7110", tiny.checkpoint, certificates=certificates, api_key=None, model=None, unchecked=False
    )
    assert isinstance(runner, GenerationClient)


def test_no_proxy_of_the_environment_gets_the_api_key(
    tiny: Tiny, tiny_engine: TransformersEngine, serve_http: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    third = Relay(9)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{third.port}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    app = ids_app(tiny_engine, Admission(tiny_engine.served, GenerationLimits()), api_key="word")
    url = f"http://127.0.0.1:{serve_http(app)}"
    with runner_at(url, tiny.checkpoint, certificates=None, api_key="word", model=None, unchecked=False) as runner:
        assert runner.room().context_tokens == POSITIONS
    assert not third.sent
    third.close()


def test_certs(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        main.app, ["ee", "certs", "--out", str(tmp_path / "certs"), "--host", "gpu.example.org"]
    )
    assert result.exit_code == 0
    names = {path.name for path in (tmp_path / "certs").iterdir()}
    assert names == {"authority.crt", "server.crt", "server.key", "client.crt", "client.key"}
    assert isinstance(run("certs", "--out", str(tmp_path / "certs")), SecureInferenceError)


# processes


@pytest.mark.processes
def test_an_openai_client_reaches_an_encrypted_model_in_another_process(
    tiny: Tiny, key_file: Path, certificates: Path, start_process: Callable[..., Process]
) -> None:
    server = start_process(
        "ee",
        "serve",
        str(tiny.encrypted),
        *("--certificates", str(certificates), "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--threads", "1"),
        SECURE_EE_API_KEY="word",
    )
    grpc, http = server.port(r"gRPC on 127.0.0.1:(\d+)"), server.port(r"HTTP on 127.0.0.1:(\d+)")
    proxy = start_process(
        *(
            "ee",
            "proxy",
            str(tiny.encrypted),
            "--key",
            str(key_file),
            "--listen",
            "127.0.0.1:0",
            "--name",
            "a",
            "--assume",
            "none",
        ),
        *("--backend", f"grpc://127.0.0.1:{grpc}", "--certificates", str(certificates)),
    )
    ids = tiny.tokenizer("the cat sat")["input_ids"]
    expected = tiny.tokenizer.decode(tiny.greedy(ids, 16), skip_special_tokens=True)
    with openai.OpenAI(base_url=f"http://127.0.0.1:{http}/v1", api_key="word", max_retries=0) as client:
        direct = client.completions.create(
            model="encrypted", prompt=tiny.vocabulary.encrypt_ids(ids), max_tokens=16, temperature=0
        )
    assert tiny.vocabulary.decrypt_ids(direct.choices[0].token_ids) == tiny.greedy(ids, 16)
    port = proxy.port(r"proxy on http://127.0.0.1:(\d+)/v1, models: a")
    with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="unused", max_retries=0) as client:
        answer = client.completions.create(model="a", prompt="the cat sat", max_tokens=16, temperature=0)
    assert answer.choices[0].text == expected
    # Ctrl-C, and a parent that is gone. SIGTERM takes the way of Ctrl-C.
    assert proxy.end(lambda: proxy.process.send_signal(signal.SIGINT)) == ExitCode.OK
    assert server.process.stdin is not None
    assert server.end(server.process.stdin.close) == ExitCode.OK
    logs = "\n".join(server.lines + proxy.lines)
    assert "the cat" not in logs
    assert expected not in logs
    assert "word" not in logs
