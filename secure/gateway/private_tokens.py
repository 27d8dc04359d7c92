"""Tokens for the endpoints in OpenAI's format, made by a model that the parties hold in shares."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Sequence

import torch
from torch import Tensor

from secure.api import PrivateModel
from secure.generation.token_draw import TokenDraw, logprobs_of
from secure.parties.encrypted.tokens import (
    ContextRoom,
    GeneratedPieces,
    SamplingParameters,
    TokenGenerator,
    TokenLogprobs,
    TokenPiece,
    TokenPieces,
)


class PrivateTokens(TokenGenerator):
    """One session with the parties for each request."""

    def __init__(self, model: PrivateModel, context_tokens: int) -> None:
        """model: one that generates. context_tokens: that it takes, those of prompt and answer together."""
        self._model = model
        self._context_tokens = context_tokens
        self._ends = frozenset(model.eos_token_ids)

    def room(self) -> ContextRoom:
        return ContextRoom(self._context_tokens)

    def generate(self, ids: Sequence[int], sampling: SamplingParameters, *, at_once: bool = False) -> TokenPieces:
        drawn, gone = _Drawn(sampling), threading.Event()
        tokens = self._model.stream(
            torch.tensor([list(ids)]),
            max_new_tokens=sampling.max_new_tokens,
            do_sample=False,
            logits_processor=[drawn],
            progress=False,
        )
        pieces = self._pieces(tokens, drawn, self._ends.union(sampling.stop_ids), gone)
        return GeneratedPieces(_joined(pieces) if at_once else pieces, gone.set)

    def close(self) -> None:
        """Whoever loaded the model unloads it."""

    def _pieces(
        self, tokens: Iterator[Tensor], drawn: _Drawn, ends: frozenset[int], gone: threading.Event
    ) -> Generator[TokenPiece, None, None]:
        """Each token as it is drawn. Where it returns early the session ends, too: `tokens` is closed."""
        for column in tokens:
            token = int(column)
            yield TokenPiece([token], "stop" if token in ends else None, drawn.told)
            if token in ends or gone.is_set():
                return


class _Drawn:
    """What chooses a token, in place of the model's own ways: from a generator of this request alone.

    `told` is of the last token, where the request asks for it.
    """

    def __init__(self, sampling: SamplingParameters) -> None:
        self._draw = TokenDraw(sampling)
        self._count = sampling.logprobs
        self.told: list[TokenLogprobs] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores by which nothing but the token that was drawn can follow. Shapes: [1, T], [1, V] -> [1, V]."""
        token = self._draw(scores)
        if self._count is not None:
            self.told = [logprobs_of(scores[0], int(token), self._count)]
        return torch.full_like(scores, -torch.inf).scatter(1, token.unsqueeze(1), 0.0)


def _joined(pieces: Iterator[TokenPiece]) -> Generator[TokenPiece, None, None]:
    """All of it in one piece at the end."""
    parts = list(pieces)
    ids, told = [id for part in parts for id in part.ids], [each for part in parts for each in part.logprobs]
    yield TokenPiece(ids, parts[-1].finish, told)
