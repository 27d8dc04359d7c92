"""Canaries among a proxy's requests, as users send them: the same fields, at times like theirs, each text once."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from dataclasses import replace

from secure.audit.compare import MOST_TOKENS
from secure.audit.mixing import Audit, Turn, Turns
from secure.ee.client.answers import likeliest_told
from secure.ee.client.cipher import Cipher
from secure.http.token_texts import TokenTexts
from secure.parties.encrypted.tokens import (
    ContextRoom,
    GeneratedPieces,
    SamplingParameters,
    TokenGenerator,
    TokenLogprobs,
    TokenPiece,
    TokenPieces,
)
from secure.protocols.core.errors import ConfigurationError, SecureInferenceError


class AuditedTokens(TokenGenerator):
    """Users' requests go through, and now and then one of a canary follows, with the fields of the one before.

    Every request asks for the likeliest tokens with their probabilities, so that a canary's does not stand out; users
    are told what they asked for. A canary waits for as long as some user's request came after another one.
    """

    def __init__(self, tokens: TokenGenerator, cipher: Cipher, audit: Audit) -> None:
        """tokens: with plain ids. Raises ConfigurationError for a log that cannot be read, and for other canaries."""
        if audit.canaries.kind != "next_token":
            raise ConfigurationError("the proxy mixes in canaries of a language model; these are of another kind")
        self._tokens, self._cipher, self._turns = tokens, cipher, Turns(audit)
        self._names = TokenTexts(cipher.tokenizer)
        self._closed = threading.Event()

    def room(self) -> ContextRoom:
        return self._tokens.room()

    def generate(self, ids: Sequence[int], sampling: SamplingParameters, *, at_once: bool = False) -> TokenPieces:
        wanted = replace(sampling, logprobs=MOST_TOKENS)
        pieces = self._tokens.generate(ids, wanted, at_once=at_once)
        turn = self._turns.after_request()
        if turn is not None:
            threading.Thread(target=self._ask, args=(turn, wanted, at_once), name="canary", daemon=True).start()
        return GeneratedPieces(_as_asked(pieces, sampling.logprobs), pieces.close)

    def close(self) -> None:
        self._closed.set()
        self._tokens.close()

    def _ask(self, turn: Turn, wanted: SamplingParameters, at_once: bool) -> None:
        """Thread: one canary."""
        if self._closed.wait(turn.seconds):
            return
        try:
            (row,) = self._cipher.tokenized([turn.canary.text], truncate=False)
            most = max(1, min(wanted.max_new_tokens, self._tokens.room().context_tokens - len(row)))
            told: list[TokenLogprobs] = []
            with self._tokens.generate(row, replace(wanted, max_new_tokens=most), at_once=at_once) as pieces:
                for piece in pieces:
                    told += piece.logprobs
            self._turns.note(turn, likeliest_told(told, self._names))
        except SecureInferenceError as error:
            self._turns.unanswered(error)


def _as_asked(pieces: TokenPieces, asked: int | None) -> Generator[TokenPiece, None, None]:
    for piece in pieces:
        told = [] if asked is None else [TokenLogprobs(each.logprob, each.likeliest[:asked]) for each in piece.logprobs]
        yield replace(piece, logprobs=told)
