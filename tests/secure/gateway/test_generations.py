"""Answers of several callers in one session: each is what it would be alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from secure.api import PrivateModel
from secure.connection import Parties
from secure.gateway import generations
from secure.gateway.generations import PrivateTokens
from secure.parties.encrypted.tokens import SamplingParameters, TokenPiece
from secure.protocols.core.errors import InputError, SessionError
from tests.parties.local import eventually
from tests.secure.letters import LETTERS, due, save_chat_model


class HeldModel:
    """A model whose sessions each begin when the test lets them; what they were given is kept."""

    def __init__(self, model: PrivateModel) -> None:
        self._model = model
        self.manifest = model.manifest
        self.eos_token_ids = model.eos_token_ids
        self.go_on = threading.Semaphore(0)
        self.asked: list[tuple[Tensor, Tensor | None, int]] = []
        self.ended = 0

    def stream(self, ids: Tensor, mask: Tensor | None, **options: Any) -> Iterator[Tensor]:
        self.asked.append((ids, mask, options["max_new_tokens"]))
        assert self.go_on.acquire(timeout=30)
        try:
            yield from self._model.stream(ids, mask, **options)
        finally:
            self.ended += 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gpt2")
    save_chat_model(path)
    return path


@pytest.fixture
def model(folder: Path, clear_parties: Parties) -> HeldModel:
    return HeldModel(PrivateModel.from_pretrained(folder, parties=clear_parties))


@pytest.fixture
def tokens(model: HeldModel, monkeypatch: pytest.MonkeyPatch) -> Iterator[PrivateTokens]:
    monkeypatch.setattr(generations, "SESSIONS_AT_A_TIME", 1)
    made = PrivateTokens(model, 20, len(LETTERS), most_rows=8)  # type: ignore[arg-type] # stands for a PrivateModel
    yield made
    made.close()
    model.go_on.release(100)


def ids_of(text: str) -> list[int]:
    return [LETTERS.index(letter) for letter in text]


def found(pieces: Iterator[TokenPiece]) -> list[int]:
    return [id for piece in pieces for id in piece.ids]


@pytest.fixture(scope="module")
def reference(folder: Path) -> Any:
    from transformers import GPT2LMHeadModel

    return GPT2LMHeadModel.from_pretrained(folder).eval()


def alone(reference: Any, text: str, count: int) -> list[int]:
    """What plain transformers say after this prompt, with no other row beside it."""
    ids = torch.tensor([ids_of(text)])
    after: list[int] = due(reference, ids, max_new_tokens=count, eos_token_id=0, pad_token_id=0)[
        0, len(text) :
    ].tolist()
    return after[: after.index(0) + 1] if 0 in after else after


def test_requests_of_one_shape_go_out_together_and_are_answered_as_alone(
    tokens: PrivateTokens, model: HeldModel, reference: Any
) -> None:
    asked = [("aQz4x", 6), ("bcdefg", 5), ("XyZab", 8), ("hijklmno", 7)]
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(found, tokens.generate(ids_of("qrstu"), SamplingParameters(8)))
        eventually(lambda: len(model.asked) == 1)
        waiting = [tokens.generate(ids_of(text), SamplingParameters(count)) for text, count in asked]
        others = [pool.submit(found, pieces) for pieces in waiting]
        model.go_on.release(2)
        answers = [other.result(60) for other in others]
    assert first.result() == alone(reference, "qrstu", 8)
    assert answers == [alone(reference, text, count) for text, count in asked]
    ids, mask, steps = model.asked[1]
    assert ids.shape == (4, 8) and steps == 8 and mask is not None
    assert mask.sum(1).tolist() == [5, 6, 5, 8]


def test_another_shape_has_a_session_of_its_own(tokens: PrivateTokens, model: HeldModel) -> None:
    for text, count in (("ab", 2), ("ab" * 8, 2), ("ab", 16)):
        tokens.generate(ids_of(text), SamplingParameters(count))
    eventually(lambda: len(model.asked) == 3)
    assert sorted(ids.shape[1] for ids, *_ in model.asked) == [2, 2, 16]


def test_a_draw_is_of_its_request_alone(tokens: PrivateTokens, model: HeldModel) -> None:
    model.go_on.release(3)
    sampling = SamplingParameters(8, temperature=1.5, seed=5)
    before = found(tokens.generate(ids_of("aQz4"), sampling))
    with ThreadPoolExecutor(3) as pool:
        model.go_on = threading.Semaphore(0)
        held = pool.submit(found, tokens.generate(ids_of("bcde"), SamplingParameters(8)))
        eventually(lambda: len(model.asked) == 2)
        beside = pool.submit(
            found, tokens.generate(ids_of("fghij"[:4]), SamplingParameters(8, temperature=2.0, seed=9))
        )
        again = pool.submit(found, tokens.generate(ids_of("aQz4"), sampling))
        model.go_on.release(2)
        assert again.result(60) == before
        assert held.result(60) and beside.result(60)
    assert model.asked[2][0].shape == (2, 4)


def test_a_session_ends_when_nobody_reads_it(tokens: PrivateTokens, model: HeldModel) -> None:
    model.go_on.release()
    pieces = tokens.generate(ids_of("aQz4"), SamplingParameters(12))
    next(pieces)
    pieces.close()
    eventually(lambda: model.ended == 1)
    # One who leaves while others go on takes nothing from them; one who leaves before takes no place.
    tokens.generate(ids_of("bcde"), SamplingParameters(12))
    eventually(lambda: len(model.asked) == 2)
    tokens.generate(ids_of("cdef"), SamplingParameters(12)).close()
    stays = tokens.generate(ids_of("defg"), SamplingParameters(12))
    model.go_on.release(2)
    assert found(stays)
    assert model.asked[2][0].tolist() == [ids_of("defg")]


def test_what_is_wrong_is_said_to_its_own_caller_and_an_end_to_all(tokens: PrivateTokens, model: HeldModel) -> None:
    with pytest.raises(InputError, match="token 9999"):
        tokens.generate([9999], SamplingParameters(2))
    tokens.generate(ids_of("ab"), SamplingParameters(2))
    eventually(lambda: len(model.asked) == 1)
    waiting = tokens.generate(ids_of("cd"), SamplingParameters(2))
    tokens.close()
    with pytest.raises(SessionError, match="stopping"):
        next(waiting)
    with pytest.raises(SessionError, match="stopping"):
        tokens.generate(ids_of("ab"), SamplingParameters(2))
