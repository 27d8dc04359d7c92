"""Canaries among a proxy's requests, as users send them: the same fields, at times like theirs, each text once."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

from secure.audit.canaries import Canaries
from secure.audit.compare import MOST_TOKENS, distance
from secure.audit.running import AuditLog, Entry
from secure.ee.client.answers import likeliest_told
from secure.ee.client.cipher import Cipher
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

_LOG = logging.getLogger("secure.ee")
_RANDOM = random.SystemRandom()
_GAPS = 64
_MOST_SECONDS = 60.0
"""A canary waits no longer for its turn."""


@dataclass(frozen=True)
class Audit:
    """What is mixed in: canaries, where answers are noted, and which share of all requests are canaries."""

    canaries: Canaries
    log: AuditLog
    rate: float

    def __post_init__(self) -> None:
        """Raises ConfigurationError for what cannot be mixed in."""
        if not 0 < self.rate <= 0.5:
            raise ConfigurationError(f"the rate of canaries is {self.rate}; it must be above 0 and at most 0.5")
        if self.canaries.kind != "next_token":
            raise ConfigurationError(
                "the proxy mixes canaries into a language model's requests; these are of another kind"
            )


class AuditedTokens(TokenGenerator):
    """Users' requests go through, and now and then one of a canary follows, with the fields of the one before.

    Every request asks for the likeliest tokens with their probabilities, so that a canary's does not stand out; users
    are told what they asked for. A canary waits for as long as some user's request came after another one.
    """

    def __init__(self, tokens: TokenGenerator, cipher: Cipher, audit: Audit) -> None:
        """tokens: with plain ids. Raises ConfigurationError for a log that cannot be read."""
        self._tokens, self._cipher, self._audit = tokens, cipher, audit
        used = {entry.canary for entry in audit.log.entries()}
        self._left = [number for number in range(len(audit.canaries.canaries)) if number not in used]
        _RANDOM.shuffle(self._left)
        self._gaps: deque[float] = deque(maxlen=_GAPS)
        self._last: float | None = None
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def room(self) -> ContextRoom:
        return self._tokens.room()

    def generate(self, ids: Sequence[int], sampling: SamplingParameters, *, at_once: bool = False) -> TokenPieces:
        wanted = replace(sampling, logprobs=MOST_TOKENS)
        pieces = self._tokens.generate(ids, wanted, at_once=at_once)
        self._maybe_a_canary(wanted, at_once)
        return GeneratedPieces(_as_asked(pieces, sampling.logprobs), pieces.close)

    def close(self) -> None:
        self._closed.set()
        self._tokens.close()

    def _maybe_a_canary(self, wanted: SamplingParameters, at_once: bool) -> None:
        now = time.monotonic()
        with self._lock:
            if self._last is not None:
                self._gaps.append(min(now - self._last, _MOST_SECONDS))
            self._last = now
            # So many for each user's request are that share of all.
            if not self._gaps or _RANDOM.random() >= self._audit.rate / (1 - self._audit.rate):
                return
            if not self._left:
                _LOG.warning("no canary is left, so nothing is audited any more; make others with secure ee audit")
                return
            number, delay = self._left.pop(), _RANDOM.choice(self._gaps)
        thread = threading.Thread(target=self._ask, args=(number, delay, wanted, at_once), name="canary", daemon=True)
        thread.start()

    def _ask(self, number: int, delay: float, wanted: SamplingParameters, at_once: bool) -> None:
        """Thread: one canary. What goes wrong is logged, and no user's request knows of it."""
        if self._closed.wait(delay):
            return
        canaries = self._audit.canaries
        canary = canaries.canaries[number]
        try:
            (row,) = self._cipher.tokenized([canary.text], truncate=False)
            most = max(1, min(wanted.max_new_tokens, self._tokens.room().context_tokens - len(row)))
            told: list[TokenLogprobs] = []
            with self._tokens.generate(row, replace(wanted, max_new_tokens=most), at_once=at_once) as pieces:
                for piece in pieces:
                    told += piece.logprobs
            found = distance(canaries.kind, canary.answer, likeliest_told(told, self._cipher))
            self._audit.log.add(Entry(number, found))
        except SecureInferenceError as error:
            _LOG.warning("a canary got no answer: %s", error)
            return
        if not found <= canaries.threshold:
            _LOG.error(
                "canary %d was answered wrong: a difference of %.2g, above %.2g; see secure ee audit report",
                number,
                found,
                canaries.threshold,
            )


def _as_asked(pieces: TokenPieces, asked: int | None) -> Generator[TokenPiece, None, None]:
    for piece in pieces:
        told = [] if asked is None else [TokenLogprobs(each.logprob, each.likeliest[:asked]) for each in piece.logprobs]
        yield replace(piece, logprobs=told)
