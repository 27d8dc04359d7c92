"""Tokens under one key and epoch are counted before they are sent, kept over crashes, and refused or rekeyed beyond."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest
import torch

from secure.ee.client.budget import BudgetedRunner
from secure.ee.client.ledger import TokenLedger, state_folder
from secure.ee.client.model import EncryptedModel
from secure.ee.client.next_epoch import NextEpochs
from secure.ee.engine.server_engine import TransformersEngine
from secure.ee.files.checkpoint import OpenedCheckpoint, open_checkpoint
from secure.ee.files.keyfile import read_key, write_key
from secure.ee.http.proxy import proxy_app
from secure.ee.owner.decrypt import rekey_checkpoint
from secure.ee.owner.encrypt import encrypt_checkpoint
from secure.parties.encrypted.engine import EncoderInputs
from secure.parties.encrypted.runner import EngineRunner
from secure.parties.encrypted.tokens import SamplingParameters
from secure.protocols.core.errors import BudgetSpent, ConfigurationError, ServerBusy
from secure.protocols.equivariant.key import Key
from tests.secure.ee.scripted import MODEL
from tests.secure.ee.tiny import Tiny

LIMIT = 40
IDS = torch.arange(4, 14)[None]


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return state_folder()


@pytest.fixture(autouse=True)
def limited(no_red_team: Path, state: Path) -> None:
    """T0 holds up to LIMIT tokens, T1 as well; nothing is claimed at T2."""
    cell = {"full": {"status": "limited", "figure": "A7 reads 14 %", "tokens_limit": LIMIT}}
    no_red_team.write_text(json.dumps({"format": 1, "verdicts": {"T0": cell, "T1": cell}}))


def opened(folder: Path, key: Key, **options: Any) -> EncryptedModel:
    return EncryptedModel.from_pretrained(folder, key=key, assume="T0", **options)


def tokens(model: EncryptedModel, count: int, ids: torch.Tensor = IDS) -> torch.Tensor:
    return model.generate(ids, max_new_tokens=count, do_sample=False)


# the ledger


def test_the_count_is_on_the_disk_before_anything_is_sent(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[int] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (flushed.append(os.fstat(file).st_size), real(file))[1])
    ledger = TokenLedger("ab" * 16)
    flushed.clear()
    assert ledger.burn(30, LIMIT)
    assert flushed == [(state / ("ab" * 16)).stat().st_size] != [0]
    assert not ledger.burn(11, LIMIT)
    assert ledger.burn(10, LIMIT)
    ledger.give_back(4)
    assert ledger.tokens == TokenLedger("ab" * 16).tokens == 36


@pytest.mark.slow
def test_a_killed_program_has_counted(state: Path) -> None:
    code = (
        "import os, signal; from secure.ee.client.ledger import TokenLedger; "
        "TokenLedger('killed').burn(25, None); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=False, env=os.environ | {"XDG_STATE_HOME": str(state.parents[1])}
    )
    assert TokenLedger("killed").tokens == 25


def test_a_line_that_power_loss_cut_short_is_none(state: Path) -> None:
    ledger = TokenLedger("torn")
    assert ledger.burn(7, None)
    with (state / "torn").open("ab") as file:
        file.write(b"\n+100")
    assert TokenLedger("torn").tokens == 7
    assert ledger.burn(5, None)
    assert ledger.tokens == TokenLedger("torn").tokens == 12


def test_programs_share_a_count(state: Path) -> None:
    one, other = TokenLedger("shared"), TokenLedger("shared")
    assert one.burn(25, LIMIT)
    assert not other.burn(16, LIMIT)
    assert other.burn(15, LIMIT)
    assert one.tokens == 40


def test_a_count_that_cannot_be_kept_sends_nothing(encrypted: Path, key: Key, state: Path) -> None:
    model = opened(encrypted, key)
    (state / key.check_value).unlink()
    with pytest.raises(ConfigurationError, match=r"cannot be kept.*so nothing is sent.*XDG_STATE_HOME"):
        tokens(model, 3)
    state.rmdir()
    state.write_text("in the way")
    with pytest.raises(ConfigurationError, match="cannot be kept"):
        opened(encrypted, key)


def test_the_file_says_how_many_and_nothing_else(encrypted: Path, key: Key, state: Path) -> None:
    tokens(opened(encrypted, key), 3)
    (file,) = state.iterdir()
    assert (file.name, file.stat().st_mode & 0o777) == (key.check_value, 0o600)
    assert file.read_bytes() == b"\n+13;"


# the model


def test_beyond_the_budget_nothing_is_sent(encrypted: Path, key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(encrypted, key) as model:
        tokens(model, 20)
        assert (model.report.budget.tokens, model.report.budget.limit, model.report.budget.epoch) == (30, LIMIT, 0)
        assert "30 of 40 tokens" in str(model.report)
    sent: list[Any] = []
    monkeypatch.setattr(TransformersEngine, "generate", lambda *args: sent.append(args))
    # Another program, later: what has passed is known.
    with (
        opened(encrypted, key) as model,
        pytest.raises(BudgetSpent, match=r"30 of 40 tokens under this key's vocabulary 0.*may take 11"),
    ):
        tokens(model, 1)
    assert sent == []


def test_a_tier_without_a_figure_is_counted_and_not_refused(encrypted: Path, key: Key) -> None:
    model = EncryptedModel.from_pretrained(encrypted, key=key, assume="none")
    tokens(model, 40)
    assert (model.report.budget.tokens, model.report.budget.limit) == (50, None)
    # What passed then counts for who claims something now.
    with pytest.raises(BudgetSpent, match="50 of 40"):
        opened(encrypted, key)(input_ids=IDS[:, :1])


def test_embeddings_and_rows_count(encrypted: Path, key: Key) -> None:
    model = opened(encrypted, key)
    model(input_ids=IDS.repeat(2, 1))
    assert model.report.budget.tokens == 20
    model.encode(["the cat"])
    assert model.report.budget.tokens == 20 + model.report.tokens


def test_half_is_warned_of_once(encrypted: Path, key: Key, caplog: pytest.LogCaptureFixture) -> None:
    model = opened(encrypted, key)
    with caplog.at_level(logging.WARNING, "secure.ee"):
        tokens(model, 9)
        assert caplog.messages == []
        tokens(model, 1, IDS[:, :1])
        tokens(model, 1, IDS[:, :1])
    assert caplog.messages == [
        "half of the budget is spent: 21 of 40 tokens under this key's vocabulary 0; requests beyond it are refused"
    ]


def test_an_answer_gives_back_what_it_did_not_need(tiny: Tiny, tiny_engine: TransformersEngine) -> None:
    runner = BudgetedRunner(tiny.checkpoint, lambda _: EngineRunner(tiny_engine), 1000)
    ids = tiny.vocabulary.encrypt_ids([7, 8, 9])
    first = tiny.vocabulary.encrypt_ids(tiny.greedy([7, 8, 9], 1))
    assert [
        token for piece in runner.generate(ids, SamplingParameters(50, stop_ids=tuple(first))) for token in piece.ids
    ] == first
    assert runner.budget.tokens == 3 + 1
    # One that is cut off keeps what was asked for: the server may have made it.
    with runner.generate(ids, SamplingParameters(50)) as pieces:
        next(pieces)
    assert runner.budget.tokens == 4 + 53


def test_a_request_that_reached_a_busy_server_is_counted(tiny: Tiny, tiny_engine: TransformersEngine) -> None:
    class Busy(EngineRunner):
        def classify(self, inputs: EncoderInputs) -> torch.Tensor:
            raise ServerBusy("busy")

    runner = BudgetedRunner(tiny.checkpoint, lambda _: Busy(tiny_engine), 1000)
    with pytest.raises(ServerBusy):
        runner.classify(EncoderInputs([[1, 2, 3]]))
    assert runner.budget.tokens == 3


def test_split_mode_counts_positions(base: Path, key: Key, tmp_path: Path) -> None:
    encrypt_checkpoint(base, key, tmp_path / "server", split=tmp_path / "client", assume="none")
    model = EncryptedModel.from_pretrained(tmp_path / "client", key=key, server=tmp_path / "server")
    tokens(model, 4)
    # The last token drawn is not sent.
    assert model.report.budget.tokens == 13


# a new vocabulary


def test_rekeying_goes_on_with_the_same_tokens(base: Path, key: Key, tmp_path: Path, caplog: Any) -> None:
    encrypt_checkpoint(base, key, tmp_path / "model", assume="T0")
    write_key(tmp_path / "my.key", key, None)
    options = {"key": tmp_path / "my.key", "assume": "T0", "on_budget": "rekey"}
    with EncryptedModel.from_pretrained(tmp_path / "model", **options) as model:
        made = [tokens(model, 10) for _ in range(5)]
        assert all(torch.equal(each, made[0]) for each in made)
        assert (model.report.budget.epoch, model.report.budget.tokens) == (2, 20)
        hidden = model(input_ids=IDS).last_hidden_state
    plain = EncryptedModel.from_pretrained(tmp_path / "model", key=key, assume="none")
    assert torch.equal(tokens(plain, 10), made[0])
    torch.testing.assert_close(hidden, plain(input_ids=IDS).last_hidden_state)
    assert read_key(tmp_path / "my.epoch2.key") == Key(key.secret, 2)
    assert open_checkpoint(tmp_path / "model.epoch2", Key(key.secret, 2)).manifest.epoch == 2
    # A later run goes on with the vocabulary that was made last, and with its count.
    with EncryptedModel.from_pretrained(tmp_path / "model", **options) as model:
        assert torch.equal(tokens(model, 10), made[0])
        assert (model.report.budget.epoch, model.report.budget.tokens) == (3, 20)


def test_a_request_larger_than_a_whole_budget_does_not_rekey(base: Path, key: Key, tmp_path: Path) -> None:
    encrypt_checkpoint(base, key, tmp_path / "model", assume="T0")
    with opened(tmp_path / "model", key, on_budget="rekey") as model, pytest.raises(BudgetSpent, match="may take 41"):
        tokens(model, 31)
    assert not (tmp_path / "model.epoch1").exists()


def test_rekeying_is_refused_where_it_hides_nothing(encrypted: Path, base: Path, key: Key, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not help at T1: a server that keeps both"):
        EncryptedModel.from_pretrained(encrypted, key=key, assume="T1", on_budget="rekey")
    client = tmp_path / "client"
    client.mkdir()
    for name in ("encryption.json", "client.sealed"):
        (client / name).write_bytes((encrypted / name).read_bytes())
    with pytest.raises(ConfigurationError, match="is not there; use the whole encrypted folder"):
        EncryptedModel.from_pretrained(client, key=key, server=str(client), assume="T0", on_budget="rekey")


def test_the_proxy_waits_for_the_new_vocabulary_at_its_backend(
    tiny: Tiny, serve_http: Callable[..., int], openai_client: Callable[..., openai.OpenAI], tmp_path: Path
) -> None:
    """No id goes out until what runs the model has the new folder; then programs go on."""
    folder = tmp_path / "model"
    encrypt_checkpoint(tiny.plain, tiny.key, folder, assume="T0")
    checkpoint = open_checkpoint(folder, tiny.key)
    asked: list[int] = []

    class Backend(EngineRunner):
        """It serves what `serves` names, and compares keys as a client does."""

        def __init__(self, wanted: OpenedCheckpoint) -> None:
            super().__init__(TransformersEngine(wanted.folder))
            self._wanted = wanted

        def room(self) -> Any:
            if serves[0] != self._wanted.key.check_value:
                raise ServerBusy("another vocabulary")
            return super().room()

        def generate(self, ids: Any, sampling: Any, *, at_once: bool = False) -> Any:
            asked.append(self._wanted.key.epoch)
            return super().generate(ids, sampling, at_once=at_once)

    serves = [tiny.key.check_value]
    runner = BudgetedRunner(checkpoint, Backend, LIMIT, NextEpochs(checkpoint, folder, "T0"))
    client = openai_client(serve_http(proxy_app(checkpoint, runner, [MODEL])))

    def ask() -> str:
        made = client.completions.create(model=MODEL, prompt=list(range(6, 16)), max_tokens=15, temperature=0)
        return str(made.choices[0].text)

    text = ask()
    with pytest.raises(openai.RateLimitError):
        ask()
    assert asked == [0]
    new = Key(tiny.key.secret, 1)
    assert TokenLedger(new.check_value).tokens == 0
    serves[0] = new.check_value
    assert ask() == text
    assert asked == [0, 1]


def test_the_proxy_refuses_by_a_code_and_fills_what_is_left(
    tiny: Tiny,
    tiny_engine: TransformersEngine,
    serve_http: Callable[..., int],
    openai_client: Callable[..., openai.OpenAI],
) -> None:
    runner = BudgetedRunner(tiny.checkpoint, lambda _: EngineRunner(tiny_engine), LIMIT)
    client = openai_client(serve_http(proxy_app(tiny.checkpoint, runner, [MODEL])))
    with pytest.raises(openai.PermissionDeniedError, match="0 of 40 tokens") as refused:
        client.completions.create(model=MODEL, prompt="x", max_tokens=40)
    assert refused.value.code == "token_budget_spent"
    # A chat that names no number has the room that the budget leaves.
    answer = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "x"}], temperature=0)
    assert answer.usage is not None
    assert answer.usage.total_tokens == runner.budget.tokens == LIMIT
    with pytest.raises(openai.PermissionDeniedError, match="40 of 40 tokens"):
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "x"}])


def test_rekeyed_by_hand_is_another_count(encrypted: Path, key: Key, tmp_path: Path) -> None:
    tokens(opened(encrypted, key), 20)
    new, _ = rekey_checkpoint(encrypted, key, tmp_path / "new")
    model = opened(tmp_path / "new", new)
    tokens(model, 20)
    assert (model.report.budget.epoch, model.report.budget.tokens) == (1, 30)
