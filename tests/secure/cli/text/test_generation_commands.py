"""`secure generate` and `secure chat`, beside what plain transformers says."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from secure import connection
from secure.cli import main
from secure.connection import Parties
from secure.protocols.core.errors import CheckpointError
from tests.models.decoders import save_decoder
from tests.secure.clear_client import ClearClient
from tests.secure.letters import LETTERS, due, save_chat_model, save_tokenizer

NEW = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gpt2")
    save_chat_model(path)
    return path


@pytest.fixture(autouse=True)
def launched(monkeypatch: pytest.MonkeyPatch, clear_client: ClearClient) -> list[str]:
    """Stands for the parties that a command starts. The protocols of those that were started."""
    started: list[str] = []

    def launch(*, protocol: str, profile: str | None) -> Parties:
        started.append(protocol)
        return Parties(clear_client)

    monkeypatch.setattr(connection, "launch", launch)
    return started


@pytest.fixture
def answer(folder: Path) -> Callable[[str], str]:
    """What plain transformers says after a text."""
    from transformers import GPT2LMHeadModel

    reference: Any = GPT2LMHeadModel.from_pretrained(folder).eval()

    def after(text: str) -> str:
        ids = torch.tensor([[LETTERS.index(letter) for letter in text]])
        found = due(reference, ids, max_new_tokens=NEW, eos_token_id=0, pad_token_id=0)[0, len(text) :].tolist()
        return "".join(LETTERS[id] for id in found if id != 0)

    return after


def test_a_text_goes_on_as_in_transformers(
    folder: Path, tmp_path: Path, launched: list[str], answer: Callable[[str], str]
) -> None:
    (tmp_path / "prompt.txt").write_text("aQz4\n")
    asked = [str(folder), str(tmp_path / "prompt.txt"), "--new-tokens", str(NEW)]
    result = CliRunner().invoke(main.app, ["generate", *asked])
    assert result.exit_code == 0, result.output
    assert result.stdout == answer("aQz4") + "\n"
    assert "Rounds" in result.stderr and launched == ["beaver"]


def test_a_seed_repeats_what_is_drawn(folder: Path) -> None:
    asked = ["generate", str(folder), "--text", "aQ", "--temperature", "2", "--new-tokens", "9", "--seed"]
    one, again, other = (CliRunner().invoke(main.app, [*asked, seed]).stdout for seed in ("3", "3", "4"))
    assert one == again != other


def test_a_conversation_is_remembered(folder: Path, answer: Callable[[str], str]) -> None:
    first = answer("aQ")
    result = CliRunner().invoke(main.app, ["chat", str(folder), "--new-tokens", str(NEW)], input="aQ\n\nz4\n")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{first}\n{answer('aQ' + first + 'z4')}\n"
    assert result.stderr.count("rounds") == 2 and "you>" not in result.stderr


def test_at_a_terminal_it_asks(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Terminal(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal(io.BytesIO(b"aQ\n")))
    main.app(["chat", str(folder), "--new-tokens", "1"], standalone_mode=False)
    assert capsys.readouterr().err.count("you> ") == 2


def test_a_model_without_a_template_is_refused_before_anything_starts(tmp_path: Path, launched: list[str]) -> None:
    save_decoder(tmp_path, "gpt2")
    save_tokenizer(tmp_path)
    error = CliRunner().invoke(main.app, ["chat", str(tmp_path)], input="a\n").exception
    assert isinstance(error, CheckpointError) and "no chat template; use secure generate" in str(error)
    assert launched == []
