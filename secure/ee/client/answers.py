"""An encrypted checkpoint as one that is audited: texts in, answers in the base's own terms out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch
from torch.nn.functional import normalize

from secure.audit.compare import MOST_TOKENS, Answer, Kind, named, vectors
from secure.ee.client.cipher import Cipher
from secure.ee.client.inputs import requests
from secure.ee.client.plain_tokens import PlainTokens
from secure.ee.files.checkpoint import OpenedCheckpoint
from secure.parties.encrypted.engine import EncoderInputs
from secure.parties.encrypted.runner import Runner
from secure.parties.encrypted.tokens import SamplingParameters, TokenLogprobs


class EncryptedAnswers:
    """Asks whatever runs a checkpoint, with encrypted ids."""

    def __init__(self, checkpoint: OpenedCheckpoint, runner: Runner, kind: Kind, *, batch_size: int = 8) -> None:
        """batch_size: most texts in one request, as users have it."""
        self._cipher, self._runner, self._kind = Cipher(checkpoint), runner, kind
        self._tokens = PlainTokens(self._cipher, runner)
        self._batch_size = batch_size

    def __call__(self, texts: Sequence[str]) -> list[Answer]:
        """Raises InputError for texts that are too long, and SessionError and its kinds."""
        rows = self._cipher.tokenized(texts, truncate=False)
        if self._kind == "next_token":
            return [self._next_token(row) for row in rows]
        given = requests(EncoderInputs(self._cipher.encrypted(rows)), self._batch_size)
        if self._kind == "classes":
            return vectors(torch.cat([self._runner.classify(part) for part in given]))
        means = torch.cat([self._runner.embed(part, "mean") for part in given])
        return vectors(normalize(self._cipher.plain_hidden(means).float()))

    def _next_token(self, row: list[int]) -> Answer:
        with self._tokens.generate(row, SamplingParameters(1, logprobs=MOST_TOKENS), at_once=True) as pieces:
            told = list(chain.from_iterable(piece.logprobs for piece in pieces))
        return likeliest_told(told, self._cipher)


def likeliest_told(told: Sequence[TokenLogprobs], cipher: Cipher) -> Answer:
    """The answer in what was told of an answer's tokens: the likeliest at the first place. None told: no numbers."""
    first = told[0].likeliest if told else ()
    tokenizer = cipher.tokenizer
    return Answer(tuple(value for _, value in first), tuple(named(tokenizer, token) for token, _ in first))
