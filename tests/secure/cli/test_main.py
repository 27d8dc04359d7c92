"""The command line: help with examples, exit codes, one-sentence errors."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from typer.testing import CliRunner

import secure
from secure import connection
from secure.cli import main
from secure.connection import Parties
from secure.demo import demo as search
from secure.models.checkpoint.conversion import read_manifest
from secure.parties import launcher
from secure.parties.process import main as party_process
from secure.parties.process.exit_codes import ExitCode
from secure.protocols.core.errors import ConfigurationError
from tests.secure.fakes import InProcessClient

COMMANDS = ("demo", "launch", "party", "certs", "split", "predict", "generate", "chat", "gateway", "doctor")
Run = Callable[..., int]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Call main with arguments; gives the exit code."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def call(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["secure", *arguments])
        with pytest.raises(SystemExit) as caught:
            main.main()
        return int(caught.value.code or 0)

    yield call
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_has_an_example(command: str) -> None:
    result = CliRunner().invoke(main.app, [command, "--help"], env={"COLUMNS": "100", "TERM": "dumb"})
    assert result.exit_code == 0
    assert "Examples" in result.output
    assert re.search(rf"^ *secure {command}\b", result.output, re.MULTILINE)


def test_help_lists_every_command() -> None:
    result = CliRunner().invoke(main.app, ["--help"])
    assert all(f" {command} " in result.output for command in COMMANDS)


def test_version(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"secure-inference {secure.__version__}\n"


def test_usage_error(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("party", "p7", "--config", "parties.toml") == ExitCode.USAGE
    assert "p7" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("predict", "--text", ""), ExitCode.INPUT, "sentence 0 is empty"),
        (
            ("predict", "--config", "missing.toml", "--text", "cat"),
            ExitCode.CONFIGURATION,
            "missing.toml: cannot be read",
        ),
        (("launch", "--config", "missing.toml"), ExitCode.CONFIGURATION, "missing.toml: cannot be read"),
        (("party", "p0", "--config", "missing.toml"), ExitCode.CONFIGURATION, "missing.toml: cannot be read"),
        (
            ("split", "nowhere", "--out", "shares"),
            ExitCode.CHECKPOINT,
            "nowhere is no folder; it should be a checkpoint. Download",
        ),
        (("certs", "--out", "certs", "--host", "p0"), ExitCode.CONFIGURATION, "expected ROLE=NAME"),
        (("certs", "--out", "certs", "--host", "p7=here"), ExitCode.CONFIGURATION, "unknown role 'p7'"),
        (("doctor", "--config", "missing.toml"), ExitCode.CONFIGURATION, "cannot be read"),
    ],
)
def test_errors_are_one_sentence_and_a_code(
    run: Run,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: tuple[str, ...],
    code: ExitCode,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == code
    found = capsys.readouterr()
    # A party logs what the others print.
    assert message in " ".join((found.out + found.err + caplog.text).split())
    assert "Traceback" not in found.err
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--debug", "predict", "--text", " ") == ExitCode.INPUT
    assert "Traceback" in capsys.readouterr().err


def test_options_reach_the_party(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[list[str]] = []
    monkeypatch.setattr(party_process, "main", lambda arguments, engine: given.append(arguments) or ExitCode.OK)
    assert run("party", "p0", "--config", "p.toml") == 0
    assert run("party", "p1", "--config", "p.toml", "--memory-gb", "2.5", "--threads", "3") == 0
    assert run("party", "dealer", "--config", "p.toml", "--device", "cuda:1") == 0
    assert run("party", "p1", "--config", "p.toml", "--memory-gb", "0.01") == ExitCode.USAGE
    assert given == [
        ["p0", "--config", "p.toml"],
        ["p1", "--config", "p.toml", "--threads", "3", "--memory-bytes", "2500000000"],
        ["dealer", "--config", "p.toml", "--device", "cuda:1"],
    ]


def test_launch_limits_every_party_and_says_its_device(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    def launch(config: Path | None, **options: Any) -> NoReturn:
        given.append((options["memory_bytes"], options["device"]))
        raise ConfigurationError("enough")

    monkeypatch.setattr(launcher, "launch", launch)
    assert run("launch") == run("launch", "--memory-gb", "8", "--device", "cuda") == ExitCode.CONFIGURATION
    assert given == [(None, None), (8_000_000_000, "cuda")]


def test_certs_split_and_doctor(run: Run, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("certs", "--out", str(tmp_path / "certs"), "--host", "p0=localhost", "--host", "p0=127.0.0.1") == 0
    assert run("certs", "--out", str(tmp_path / "certs")) == ExitCode.CONFIGURATION
    assert run("split", str(checkpoint), "--out", str(tmp_path / "shares"), "--weights", "public") == 0
    assert run("split", str(checkpoint), "--out", str(tmp_path / "shares")) == ExitCode.CHECKPOINT
    assert "public weights" in capsys.readouterr().out
    assert run("split", str(checkpoint), "--out", str(tmp_path / "owner"), "--weights", "server") == 0
    assert "server weights" in capsys.readouterr().out
    assert read_manifest(tmp_path / "owner").checks_one_hot
    trusting = "split", str(checkpoint), "--out", str(tmp_path / "trusting"), "--unchecked-one-hot"
    assert run(*trusting) == 0
    assert "a client can read the word table" in capsys.readouterr().out
    assert not read_manifest(tmp_path / "trusting").checks_one_hot
    assert run("doctor") == 0
    assert "0 failed" in capsys.readouterr().out


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> InProcessClient:
    client = InProcessClient()
    monkeypatch.setattr(connection, "launch", lambda **_: Parties(client))
    monkeypatch.setattr(connection, "connect", lambda _, **__: Parties(client))
    return client


def test_predict(
    run: Run, client: InProcessClient, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "result.json"
    assert (
        run(
            "predict",
            "--model",
            str(checkpoint),
            "--json",
            "--out",
            str(out),
            "--text",
            "the cat",
            "--text",
            "a dog is warm",
        )
        == 0
    )
    value = json.loads(capsys.readouterr().out)
    assert json.loads(out.read_text()) == value
    assert [len(row) for row in value["embeddings"]] == [24, 24]
    assert secure.Report.from_json(json.dumps(value["report"])).sequences == 2
    assert run("predict", "--model", str(checkpoint), "--weights", "public", "--text", "the cat") == 0
    assert "24 numbers]  the cat" in capsys.readouterr().out
    assert client.closed == 2


@pytest.mark.parametrize(("sentence", "code"), [("the cat", 0), ("the cat " * 20, ExitCode.INPUT)])
def test_predict_leaves_no_model_at_parties_that_stay(
    run: Run, client: InProcessClient, checkpoint: Path, tmp_path: Path, sentence: str, code: int
) -> None:
    at_parties = ("predict", "--config", "parties.toml", "--model")
    assert run(*at_parties, str(checkpoint), "--text", sentence) == code
    assert len(client.uploaded) == 1
    assert not client.models
    # One that others may use, and that takes the same room whoever loads it, stays.
    assert run("split", str(checkpoint), "--out", str(tmp_path / "shares")) == 0
    assert run(*at_parties, str(tmp_path / "shares"), "--text", sentence) == code
    assert len(client.models) == 1


def test_interrupted_predict_leaves_no_model_at_parties_that_stay(
    run: Run, client: InProcessClient, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> NoReturn:
        assert client.models
        raise KeyboardInterrupt

    monkeypatch.setattr(secure.PrivateModel, "encode", interrupted)
    assert (
        run("predict", "--config", "parties.toml", "--model", str(checkpoint), "--text", "the cat")
        == ExitCode.INTERRUPTED
    )
    assert not client.models


def test_predict_to_a_file_that_cannot_be_written(
    run: Run, client: InProcessClient, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        run("predict", "--model", str(checkpoint), "--out", str(tmp_path), "--text", "the cat")
        == ExitCode.CONFIGURATION
    )
    assert "cannot be written" in capsys.readouterr().err


def test_keyboard_interrupt(run: Run, monkeypatch: pytest.MonkeyPatch, checkpoint: Path) -> None:
    def interrupted(**_: object) -> Parties:
        raise KeyboardInterrupt

    monkeypatch.setattr(connection, "launch", interrupted)
    assert run("predict", "--model", str(checkpoint), "--text", "the cat") == ExitCode.INTERRUPTED


def test_termination_unwinds(run: Run, monkeypatch: pytest.MonkeyPatch, checkpoint: Path) -> None:
    client = InProcessClient()

    def terminated(**_: object) -> Parties:
        signal.raise_signal(signal.SIGTERM)
        return Parties(client)

    monkeypatch.setattr(connection, "launch", terminated)
    assert run("predict", "--model", str(checkpoint), "--text", "the cat") == 128 + signal.SIGTERM


def test_demo_exit_code_follows_its_accuracy(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for agrees, code in ((True, ExitCode.OK), (False, ExitCode.DEFECT)):
        monkeypatch.setattr(search, "run_demo", lambda *_, agrees=agrees, **__: agrees)
        assert run("demo", "--query", "cats") == code
