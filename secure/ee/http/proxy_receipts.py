"""A proxy's receipts: what its backend signed of each answer, by the session's number in the answer's header."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from secure.http.callers import ASKED
from secure.http.kept_receipts import KeptReceipts
from secure.parties.client.receipt import SessionReceipt
from secure.parties.encrypted.tokens import ContextRoom, SamplingParameters, TokenGenerator, TokenPieces
from secure.report.receipt import Receipt


class ProxyReceipts:
    """`take` is given to what asks the backend, and gets its receipts in the thread that reads the answer."""

    def __init__(self) -> None:
        self.kept = KeptReceipts()
        self._numbers = itertools.count(1)

    def take(self, receipt: SessionReceipt) -> None:
        """One receipt, of the session that was numbered last for the thread's request. A canary has no caller."""
        request = ASKED.get(None)
        if request is None:
            return
        # A session of embeddings has no number before its answer is there.
        begun = request.sessions and request.sessions[-1] not in self.kept
        number = request.sessions[-1] if begun else self.number()
        self.kept.keep(number, [request.caller.name], Receipt((receipt,)))

    def number(self) -> int:
        """Number a session of the request that this thread works for, before its answer begins."""
        number = next(self._numbers)
        if (request := ASKED.get(None)) is not None:
            request.sessions.append(number)
        return number


class NumberedTokens(TokenGenerator):
    """Every answer is a session with a number."""

    def __init__(self, tokens: TokenGenerator, receipts: ProxyReceipts) -> None:
        self._tokens, self._receipts = tokens, receipts

    def room(self) -> ContextRoom:
        return self._tokens.room()

    def generate(self, ids: Sequence[int], sampling: SamplingParameters, *, at_once: bool = False) -> TokenPieces:
        self._receipts.number()
        return self._tokens.generate(ids, sampling, at_once=at_once)

    def close(self) -> None:
        self._tokens.close()
