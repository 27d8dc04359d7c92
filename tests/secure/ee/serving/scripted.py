"""A backend of the proxy that answers what a test wants."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from secure.ee.http.backends import Backend, Offer, Piece
from secure.ee.http.proxy import Reader
from secure.parties.encrypted.engine import Sampling
from tests.secure.ee.serving.tiny import Tiny

MODEL = "tiny"


class Scripted(Backend):
    """Answers with given plain ids, encrypted, one by one; keeps what it is asked."""

    def __init__(self, tiny: Tiny, ids: Sequence[int], finish: str = "length") -> None:
        self._tiny = tiny
        self.ids = list(ids)
        self.finish: Any = finish
        self.asked: list[tuple[list[int], Sampling, bool]] = []
        self.given = 0
        self.closed = threading.Event()

    async def offer(self) -> Offer:
        return Offer(256, 100)

    async def generate(self, ids: Sequence[int], sampling: Sampling, at_once: bool) -> AsyncGenerator[Piece, None]:
        self.asked.append((self._tiny.vocabulary.decrypt_ids(list(ids)), sampling, at_once))
        try:
            for token in self.ids:
                self.given += 1
                yield Piece(self._tiny.vocabulary.encrypt_ids([token]))
            yield Piece([], self.finish)
        finally:
            self.closed.set()


def reader(tiny: Tiny) -> Reader:
    return Reader(tiny.tokenizer, tiny.vocabulary, [MODEL])
